//! `lltconfig`: start and stop, the address table, the times, and links while the node runs.

use std::path::Path;

use api::client::Client;
use api::v1;

use super::picture::{self, Picture};
use super::{Done, Failure, start, tab};
use crate::config;
use crate::config::files::Root;
use crate::config::own::EVERYBODY;

const USAGE: &str = "write: lltconfig [-c [-f LLTTAB] | -U | -a list | -T query | -t TAG -d DEVICE \
                     -b ether [-s SAP] [-m MTU] [-l] | -u TAG]";

/// Options of LLT's that are not here, and what there is instead.
const OTHERS: [(&str, &str); 19] = [
    ("-C", "the cluster's number is set-cluster in llttab"),
    ("-n", "the node is set-node in llttab"),
    ("-i", "write include into llttab"),
    ("-x", "write exclude into llttab"),
    ("-o", "start with -c"),
    ("-F", "there is no flow control to set"),
    ("-L", "links are of low priority by link-lowpri, or -l"),
    ("-K", "frames are sealed always"),
    ("-E", "use -c"),
    ("-A", "stations are learned"),
    ("-k", "see `mainstay status`"),
    ("-j", "see `mainstay status`"),
    ("-v", "see `mainstay events`"),
    ("-V", "see `mainstay --version`"),
    ("-W", "see `mainstay events`"),
    ("-M", "the size of frames is fixed"),
    ("-N", "see llthosts"),
    ("-I", "links over UDP are in llttab, or `mainstay path create`"),
    ("-B", "links over UDP are in llttab, or `mainstay path create`"),
];

pub(super) fn main(root: &Root, words: &[&str]) -> Done {
    let client = Client::new(root.socket());
    match words {
        [] => {
            client.status()?;
            println!("LLT is running");
            Ok(())
        }
        ["-c"] => start::configure(root, None),
        ["-c", "-f", file] | ["-f", file, "-c"] => start::configure(root, Some(Path::new(file))),
        ["-U"] => start::unconfigure(&client),
        ["-a", "list"] => list(&client),
        ["-a", other, ..] => Err(refused(&format!("-a {other}"), "stations are learned")),
        ["-T", "query"] => query(&client),
        ["-T", setting] => Err(set_timer(setting)),
        ["-u", tag] => remove(&client, tag),
        words if words.contains(&"-t") => add(&client, words),
        [word, ..] => match OTHERS.iter().find(|(option, _)| option == word) {
            Some((option, instead)) => Err(refused(option, instead)),
            None => Err(Failure::Usage(format!("`{word}`: {USAGE}"))),
        },
    }
}

fn refused(option: &str, instead: &str) -> Failure {
    Failure::Refused(format!("{option} is not there: {instead}"))
}

fn set_timer(setting: &str) -> Failure {
    Failure::refused(
        format!("-T {setting}: times belong to the whole cluster and are not set on one node"),
        Some(
            "change `detection` in the configuration (`mainstay config show`), then `mainstay config \
             apply FILE`",
        ),
    )
}

/// The status, as one guide has it, and the table, as the manual has it.
fn list(client: &Client) -> Done {
    let picture = picture::look(client)?;
    print!("llt is running\n{}", table(&picture));
    Ok(())
}

fn table(picture: &Picture) -> String {
    let mut text = String::new();
    for (place, link) in picture.links.iter().enumerate() {
        text += &format!("Link {place} ({}):\n", link.tag);
        for node in &picture.status.nodes {
            let (_, address) = picture.end(link, Some(node));
            if address.is_empty() {
                continue;
            }
            let own = if picture.is_local(node) { " permanent" } else { "" };
            text += &format!("  Node {:>3} {:<16} : {address}{own}\n", node.id, node.name);
        }
    }
    text
}

fn query(client: &Client) -> Done {
    let shown: v1::ConfigShow = client.get("/v1/config")?;
    let parsed = config::parse(&shown.text, "the configuration in force", shown.version);
    let (cluster, _) = parsed.map_err(|found| Failure::Refused(found.render(false)))?;
    let timing = cluster.timing;
    println!("Current LLT timer values (.01 sec units):");
    let times = [
        timing.heartbeat_high,
        timing.heartbeat_low,
        timing.trouble_high,
        timing.trouble_low,
        timing.path_timeout,
    ];
    for (name, time) in tab::TIMERS.iter().zip(times) {
        println!("  {name:<11} = {}", time.as_millis() / 10);
    }
    Ok(())
}

/// `-t TAG -d DEVICE -b ether [-s SAP] [-m MTU] [-l]`
fn add(client: &Client, words: &[&str]) -> Done {
    let [mut tag, mut device, mut kind, mut sap, mut mtu] = [None; 5];
    let mut low = false;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let place = match *word {
            "-l" => {
                low = true;
                continue;
            }
            "-t" => &mut tag,
            "-d" => &mut device,
            "-b" => &mut kind,
            "-s" => &mut sap,
            "-m" => &mut mtu,
            other => match OTHERS.iter().find(|(option, _)| *option == other) {
                Some((option, instead)) => return Err(refused(option, instead)),
                None => return Err(Failure::Usage(format!("`{other}`: {USAGE}"))),
            },
        };
        let value = rest.next().ok_or_else(|| Failure::Usage(format!("{word}: {USAGE}")))?;
        if place.replace(*value).is_some() {
            return Err(Failure::Usage(format!("{word} twice: {USAGE}")));
        }
    }
    let (Some(tag), Some(device), Some(kind)) = (tag, device, kind) else {
        return Err(Failure::Usage(USAGE.into()));
    };
    match kind {
        "ether" => {}
        "udp" | "udp6" => {
            return Err(refused("-b udp", "give set-addr in llttab, or `mainstay path create`"));
        }
        other => return Err(Failure::Usage(format!("`{other}`: {USAGE}"))),
    }
    tab::check_mtu(mtu.unwrap_or("-")).map_err(Failure::Usage)?;
    let ethertype = tab::ethertype(sap.unwrap_or("-")).map_err(Failure::Usage)?;
    let interface = start::resolve(device, &picture::interfaces()?).map_err(Failure::Refused)?;
    let request = v1::PathRequest {
        peer: EVERYBODY.to_owned(),
        kind: "ethernet".to_owned(),
        local: interface,
        name: tag.to_owned(),
        ethertype: Some(ethertype),
        low,
        ..v1::PathRequest::default()
    };
    client.post::<v1::CommandReply>("/v1/paths/create", &request)?;
    Ok(())
}

fn remove(client: &Client, tag: &str) -> Done {
    let request = v1::PathRequest {
        peer: EVERYBODY.to_owned(),
        kind: "ethernet".to_owned(),
        name: tag.to_owned(),
        ..v1::PathRequest::default()
    };
    client.post::<v1::CommandReply>("/v1/paths/delete", &request)?;
    Ok(())
}
