//! `lltconfig -c` and `-U`: from llttab to a node that runs, and back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use api::client::{Client, ClientError};
use api::v1;
use base::{NodeId, Preset, Timing};

use super::tab::{self, Mistake, Tab, Who};
use super::{Done, Failure, hosts, listen, picture};
use crate::config::files::{self, Root};
use crate::config::own::{self, EVERYBODY, OwnPath};
use crate::config::{self, Cluster, duration};

/// Bytes of a file of LLT's that are read.
const FILE_SIZE_MAX: u64 = 64 << 10;
/// How long a node may take until it answers, and until it has left.
const WAIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(100);
/// Lines of the log that are shown when a node does not start.
const LINES_SHOWN: usize = 8;

/// `lltconfig -c`
pub(super) fn configure(root: &Root, llttab: Option<&Path>) -> Done {
    let client = Client::new(root.socket());
    if client.status().is_ok() {
        eprintln!("lltconfig: it runs already; `lltconfig -U` first, to have llttab read anew");
        return Ok(());
    }
    let file = llttab.map_or_else(|| root.directory().join("etc/llttab"), Path::to_owned);
    let tab = tab::parse(&read(&file)?).map_err(|mistakes| wrong(&file, &mistakes))?;
    for note in &tab.notes {
        eprintln!("lltconfig: {}: {note}", file.display());
    }
    let hosts_file = root.directory().join("etc/llthosts");
    let nodes = hosts::parse(&read(&hosts_file)?).map_err(|found| wrong(&hosts_file, &found))?;
    let nodes: Vec<(u8, String)> =
        nodes.into_iter().filter(|(id, _)| tab.exists[usize::from(*id)]).collect();
    let (id, name) = local(root, &file, &tab, &nodes)?;
    let interfaces = picture::interfaces()?;
    let paths = paths(&file, &tab, &nodes, id, &interfaces)?;
    let key = files::read_key(root).map_err(|error| {
        let key = root.key();
        let key = key.display();
        let help = format!(
            "all nodes share a key, which LLT has not: make one on one node (openssl rand -hex 32 \
             >{key}; chmod 600 {key}) and copy it to the others"
        );
        Failure::refused(error.message, Some(&help))
    })?;
    let (cluster, is_new) = cluster(root, &file, &tab, &nodes)?;
    if cluster.node(&name) != Some(NodeId(id)) {
        let (shown, number) = (root.cluster(), cluster.id);
        return Err(Failure::Refused(format!(
            "{} is of a cluster {number} without a node {name} of id {id}",
            shown.display()
        )));
    }
    let local = NodeId(id);
    let of_tab = (paths.iter())
        .map(|path| path.network(&cluster, local).map_err(Failure::Refused))
        .collect::<Done<Vec<_>>>()?;
    let missing = listen::for_another(&cluster, local, &key, &of_tab, &interfaces)?;
    for tag in missing {
        eprintln!("lltconfig: link {tag}: its interface is not there; it is used when it comes");
    }
    write(root, &name, paths, is_new.then_some(cluster.text.as_str()))?;
    start(root, &client)
}

/// `lltconfig -U`
pub(super) fn unconfigure(client: &Client) -> Done {
    let request = v1::LeaveRequest { reason: Some("lltconfig -U".into()) };
    client.post::<v1::CommandReply>("/v1/leave", &request)?;
    let until = os::clock::boottime() + WAIT;
    while os::clock::boottime() < until {
        if matches!(client.status(), Err(ClientError::Unreachable { .. })) {
            return Ok(());
        }
        step();
    }
    Err(Failure::Refused(format!("it has not left within {} s", WAIT.as_secs())))
}

fn step() {
    #[expect(clippy::disallowed_methods, reason = "the wait is bounded, and a signal ends it")]
    std::thread::sleep(STEP);
}

fn wrong(file: &Path, mistakes: &[Mistake]) -> Failure {
    let lines = mistakes.iter().map(|mistake| format!("{}: {mistake}", file.display()));
    Failure::Refused(lines.collect::<Vec<_>>().join("\nlltconfig: "))
}

fn try_read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_SIZE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read(path: &Path) -> Done<String> {
    try_read(path)
        .map_err(|error| Failure::Refused(format!("cannot read {}: {error}", path.display())))
}

/// Which node this is: `set-node`, which `sysname` may not contradict.
fn local(root: &Root, file: &Path, tab: &Tab, nodes: &[(u8, String)]) -> Done<(u8, String)> {
    let word = match &tab.node {
        Who::Id(id) => Err(*id),
        Who::Name(name) => Ok(name.clone()),
        Who::File(path) => {
            let path = root.directory().join(path.trim_start_matches('/'));
            Ok(hosts::parse_name(&read(&path)?).map_err(|mistake| wrong(&path, &[mistake]))?)
        }
    };
    let is_it = |node: &&(u8, String)| match &word {
        Ok(name) => node.1 == *name,
        Err(id) => node.0 == *id,
    };
    let Some(found) = nodes.iter().find(is_it) else {
        let names: Vec<String> = nodes.iter().map(|(id, name)| format!("{id} {name}")).collect();
        let word = word.unwrap_or_else(|id| id.to_string());
        return Err(Failure::Refused(format!(
            "{}: set-node {word} is not in llthosts, or excluded: there are {}",
            file.display(),
            names.join(", ")
        )));
    };
    // The later one wins.
    let mut called = None;
    for place in ["etc/sysname", "etc/VRTSvcs/conf/sysname"] {
        let path = root.directory().join(place);
        match try_read(&path) {
            Ok(text) => {
                let name = hosts::parse_name(&text).map_err(|mistake| wrong(&path, &[mistake]))?;
                called = Some((path, name));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Failure::Refused(format!("cannot read {}: {error}", path.display())));
            }
        }
    }
    if let Some((path, name)) = called
        && name != found.1
    {
        let path = path.display();
        let (file, set) = (file.display(), &found.1);
        return Err(Failure::Refused(format!("{path} says {name}, and {file} is for {set}")));
    }
    Ok(found.clone())
}

/// The links of llttab as this node's own paths.
fn paths(
    file: &Path,
    tab: &Tab,
    nodes: &[(u8, String)],
    local: u8,
    interfaces: &[os::netlink::Interface],
) -> Done<Vec<OwnPath>> {
    let mut paths = Vec::new();
    // A link that this node does not use keeps its place: the file is the same on all nodes.
    let used = tab.links.iter().enumerate().filter(|(_, link)| link.nodes[usize::from(local)]);
    for (place, link) in used {
        let rank = u8::try_from(place + 1).expect("there are few links");
        let wrong = |text: String| wrong(file, &[Mistake { line: link.line, text }]);
        match &link.over {
            tab::Over::Ether { device, ethertype } => {
                let interface = resolve(device, interfaces).map_err(wrong)?;
                let (name, ethertype) = (link.tag.clone(), *ethertype);
                if let Some(why) = own::link_error(&name, &interface, ethertype) {
                    return Err(wrong(format!("device `{device}`: {why}")));
                }
                let over = own::Over::Ethernet { name, interface, ethertype };
                paths.push(OwnPath { peer: EVERYBODY.to_owned(), over, rank, low: link.low });
            }
            tab::Over::Udp { port, local: here } => {
                let is_end = |id: u8| id != local && link.nodes[usize::from(id)];
                for (id, name) in nodes.iter().filter(|(id, _)| is_end(*id)) {
                    let is_it = |(node, tag, _): &&(u8, String, _)| node == id && *tag == link.tag;
                    let Some((.., there)) = tab.addresses.iter().find(is_it) else {
                        let tag = &link.tag;
                        return Err(wrong(format!(
                            "link `{tag}`: no set-addr for node {id} {name}"
                        )));
                    };
                    if there.is_ipv4() != here.is_ipv4() || there == here {
                        return Err(wrong(format!("there is no way from {here} to {there}")));
                    }
                    let over = own::Over::Udp { local: *here, remote: *there, port: Some(*port) };
                    paths.push(OwnPath { peer: name.clone(), over, rank, low: link.low });
                }
            }
        }
    }
    if paths.is_empty() {
        let text = format!("no link leads from node {local} to another one");
        return Err(wrong(file, &[Mistake { line: 0, text }]));
    }
    Ok(paths)
}

/// The interface of a device as llttab names it.
pub(super) fn resolve(
    device: &str,
    interfaces: &[os::netlink::Interface],
) -> Result<String, String> {
    tab::interface(device).or_else(|station| {
        let has = |interface: &&os::netlink::Interface| {
            let mac = interface.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":"));
            mac.as_ref() == Some(&station)
        };
        let found = interfaces.iter().find(has).map(|interface| interface.name.clone());
        found.ok_or_else(|| format!("no interface has the address `{station}`"))
    })
}

/// The cluster's configuration: the one that is there, or one from LLT's files. Whether it is new.
fn cluster(root: &Root, file: &Path, tab: &Tab, nodes: &[(u8, String)]) -> Done<(Cluster, bool)> {
    let (detection, timing) = detection(&tab.timers);
    timing.check().map_err(|error| {
        Failure::refused(
            format!("{}: set-timer: {} does not hold", file.display(), error.rule),
            Some(&format!(
                "{} on the left, at least {} needed",
                duration::format(error.left),
                duration::format(error.right)
            )),
        )
    })?;
    let path = root.cluster();
    let (text, is_new) = match path.try_exists() {
        Ok(true) => (files::read_cluster(root)?, false),
        Ok(false) => (text(tab.cluster, &detection, nodes), true),
        Err(error) => {
            return Err(Failure::Refused(format!("cannot look at {}: {error}", path.display())));
        }
    };
    let shown = path.display().to_string();
    let (cluster, _warnings) =
        config::parse(&text, &shown, 0).map_err(|found| Failure::Refused(found.render(false)))?;
    if cluster.id != tab.cluster {
        let (file, is, says) =
            (file.display(), tab::cluster_shown(cluster.id), tab::cluster_shown(tab.cluster));
        return Err(Failure::Refused(format!("{shown} is of cluster {is}, and {file} of {says}")));
    }
    if cluster.timing != timing && !tab.timers.is_empty() {
        eprintln!(
            "lltconfig: set-timer is not used: the times in force are those of {shown}, the same on \
             all nodes"
        );
    }
    Ok((cluster, is_new))
}

/// What the timers make of preset `classic`: what the configuration says, and what it means.
///
/// Times that are not given follow those that are, as LLT's defaults stand to each other: a low link
/// beats half as often, and is in trouble after twice the time and never after it is dead; the lease
/// outlasts the path timeout as far as in `classic`.
fn detection(timers: &std::collections::BTreeMap<&'static str, u64>) -> (String, Timing) {
    let classic = Preset::Classic.timing();
    let mut timing = classic;
    if timers.is_empty() {
        return ("\"classic\"".to_owned(), timing);
    }
    let given = |name| timers.get(name).map(|hundredths| Duration::from_millis(hundredths * 10));
    timing.heartbeat_high = given("heartbeat").unwrap_or(timing.heartbeat_high);
    let low = timing.heartbeat_low.min(timing.heartbeat_high * 2).max(timing.heartbeat_high);
    timing.heartbeat_low = given("heartbeatlo").unwrap_or(low);
    timing.path_timeout = given("peerinact").unwrap_or(timing.path_timeout);
    let high = timing.trouble_high.min(timing.path_timeout);
    timing.trouble_high = given("peertrouble").unwrap_or(high);
    let low = timing.trouble_low.min(timing.trouble_high * 2).min(timing.path_timeout);
    timing.trouble_low = given("peertroublelo").unwrap_or(low);
    let margin = classic.lease - classic.path_timeout - classic.heartbeat_high;
    timing.lease = timing.path_timeout + timing.heartbeat_high + margin;
    timing.disk_timeout = timing.disk_timeout.max(timing.path_timeout);
    timing.serial_timeout = timing.serial_timeout.max(timing.path_timeout);
    let fields = [
        ("heartbeat_high", timing.heartbeat_high, classic.heartbeat_high),
        ("heartbeat_low", timing.heartbeat_low, classic.heartbeat_low),
        ("trouble_high", timing.trouble_high, classic.trouble_high),
        ("trouble_low", timing.trouble_low, classic.trouble_low),
        ("path_timeout", timing.path_timeout, classic.path_timeout),
        ("lease", timing.lease, classic.lease),
        ("disk_timeout", timing.disk_timeout, classic.disk_timeout),
        ("serial_timeout", timing.serial_timeout, classic.serial_timeout),
    ];
    let changed = fields.iter().filter(|(_, now, before)| now != before);
    let overrides =
        changed.map(|(key, now, _)| format!(", {key} = \"{}\"", duration::format(*now)));
    (format!("{{ preset = \"classic\"{} }}", overrides.collect::<String>()), timing)
}

/// The configuration: the same on all nodes, so nothing of this one is in it.
fn text(cluster: u32, detection: &str, nodes: &[(u8, String)]) -> String {
    let mut text = format!(
        "# Made by `lltconfig -c` from llttab and llthosts. From now on this file counts; each node's\n\
         # links are in its paths.toml.\n\
         [cluster]\nname = \"llt-{cluster}\"\nid = {cluster}\ndetection = {detection}\n"
    );
    for (id, name) in nodes {
        text += &format!("\n[[node]]\nname = \"{name}\"\nid = {id}\n");
    }
    text
}

/// Writes what the node starts from; the configuration last, since its presence makes this a node.
fn write(root: &Root, name: &str, links: Vec<OwnPath>, cluster: Option<&str>) -> Done {
    if root.node().exists() {
        let there = files::read_node(root)?;
        if there != name {
            let path = root.node();
            let said = format!("{} says {there}, and set-node is {name}", path.display());
            return Err(Failure::Refused(said));
        }
    } else {
        files::replace(&root.node(), &format!("{name}\n"))?;
    }
    // Links are as llttab has them; paths that something else defined stay.
    let mut paths = files::read_paths(root)?;
    paths.retain(|path| path.peer != EVERYBODY && !links.iter().any(|link| link.is_same(path)));
    paths.extend(links);
    paths.sort_by(|a, b| (&a.peer, a.rank).cmp(&(&b.peer, b.rank)));
    files::replace(&root.paths(), &own::text(&paths))?;
    if let Some(text) = cluster {
        files::replace(&root.cluster(), text)?;
    }
    Ok(())
}

/// Starts the node in a session of its own, and waits until it answers.
fn start(root: &Root, client: &Client) -> Done {
    let log = root.directory().join("var/log/mainstay/mainstay.log");
    let failed = |what: &str, error: &io::Error| Failure::Refused(format!("{what}: {error}"));
    let opened = fs::create_dir_all(log.parent().expect("it is in a directory"))
        .and_then(|()| OpenOptions::new().append(true).create(true).open(&log));
    let output = opened.map_err(|error| failed(&log.display().to_string(), &error))?;
    let directory =
        fs::canonicalize(root.directory()).map_err(|error| failed("the root", &error))?;
    let program = std::env::current_exe().map_err(|error| failed("this program", &error))?;
    let errors = output.try_clone().map_err(|error| failed("its output", &error))?;
    let mut child = Command::new("setsid")
        .arg(program)
        .args([Path::new("--root"), &directory, Path::new("run")])
        .current_dir("/")
        .env_remove("MAINSTAY_LAB")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|error| failed("setsid (of util-linux)", &error))?;
    let until = os::clock::boottime() + WAIT;
    while os::clock::boottime() < until {
        if client.status().is_ok() {
            return Ok(());
        }
        let ended = child.try_wait().map_err(|error| failed("wait for the node", &error))?;
        if let Some(exit) = ended {
            let said = last_lines(&log);
            return Err(Failure::Refused(format!("the node ended ({exit}):\n{said}")));
        }
        step();
    }
    let log = log.display();
    Err(Failure::Refused(format!("it does not answer within {} s; see {log}", WAIT.as_secs())))
}

fn last_lines(log: &PathBuf) -> String {
    let text = fs::read(log).unwrap_or_else(|error| format!("{error}").into_bytes());
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
}

#[cfg(test)]
mod tests;
