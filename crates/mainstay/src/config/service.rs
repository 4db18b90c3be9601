//! `[[service]]` and `[[service.resource]]`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ::network::OnConflict;
use base::limits::{RESOURCES_PER_SERVICE_MAX, SERVICES_MAX};
use base::{NetworkId, NodeId};
use engine::{
    Check, Class, Failback, Mode, PRIORITY_DEFAULT, PRIORITY_MAX, RESTARTS_MAX, Resource,
    ResourceKind, RestartLimit, Service,
};
use os::shared::ADDRESSES_MAX;

use super::diagnostic::Diagnostics;
use super::network::{self, Claimed};
use super::placing::{self, Wish};
use super::read::{self, Placed, Section, Span};
use super::section::{Names, duplicate};
use super::{Kind, Network, replacement, reservation, suggest};

/// Restarts in place before a service moves, unless it says otherwise.
pub const RESTART_DEFAULT: RestartLimit =
    RestartLimit { count: 3, window: Duration::from_secs(600) };
/// How long the start of a service may take, unless it says otherwise.
pub const START_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// How long the stop of a resource may take, unless the service says otherwise.
pub const STOP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Arguments and environment variables of one process.
const WORDS_MAX: usize = 1_024;

/// What addresses are claimed, and what is wished for those of services.
pub(super) struct Seen<'a> {
    pub(super) claimed: Vec<Claimed>,
    pub(super) wishes: Vec<Wish<'a>>,
    /// Services so far.
    pub(super) services: usize,
    /// What is done about conflicts, where it is not to defend.
    pub(super) conflicts: BTreeMap<IpAddr, OnConflict>,
}

/// Reads all services.
pub(super) fn services<'a>(
    sections: Vec<Section<'a>>,
    nodes: &Names<'a, NodeId>,
    networks: &[Network],
    seen: &mut Seen<'a>,
    found: &mut Diagnostics,
) -> Vec<Service> {
    let mut services = Vec::new();
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    for (index, section) in sections.into_iter().enumerate() {
        if index == SERVICES_MAX {
            found
                .error(section.span, format!("there are more than {SERVICES_MAX} services"))
                .help(format!(
                    "a cluster has at most {SERVICES_MAX}: put what always runs together into one, or \
                     make two clusters"
                ));
            break;
        }
        let span = section.span.clone();
        let service = service(section, &mut names, (nodes, networks), seen, found);
        reservation::check(&services, &service, &span, found);
        seen.services += 1;
        services.push(service);
    }
    services
}

fn service<'a>(
    mut section: Section<'a>,
    names: &mut BTreeMap<&'a str, Span>,
    (nodes, networks): (&Names<'a, NodeId>, &[Network]),
    seen: &mut Seen<'a>,
    found: &mut Diagnostics,
) -> Service {
    section.require("name", "\"web\"", found);
    let name = section.text("name", found).and_then(|written| {
        duplicate(names, &written, "services", found);
        read::name(&written, "a service", found)
    });
    let name = name.unwrap_or_default();
    let service_nodes = service_nodes(&mut section, nodes, found);
    let mode = section.text("mode", found).and_then(|written| {
        let words = [("automatic", Mode::Automatic), ("manual", Mode::Manual)];
        read::choice(&written, "mode", &words, found)
    });
    let failback = section.text("failback", found).and_then(|written| {
        let words = [("never", Failback::Never), ("automatic", Failback::Automatic)];
        read::choice(&written, "failback", &words, found)
    });
    let restart = restart(&mut section, found);
    let timeouts = TIMEOUT_MIN..=TIMEOUT_MAX;
    let start_timeout = section.duration("start_timeout", timeouts.clone(), found);
    let stop_timeout = section.duration("stop_timeout", timeouts, found);
    let priority = section.number("priority", 0..=u64::from(PRIORITY_MAX), found);
    let class = class(&mut section, found);
    let local_switch = section.boolean("local_switch", found);
    let networks = needed_networks(&mut section, networks, &service_nodes, found);
    let span = section.span.clone();
    let distribution = placing::distribution(&mut section, found);
    let on_conflict = on_conflict(&mut section, found);
    let first = seen.wishes.len();
    let resources = resources(&mut section, &name, seen, found);
    for wish in &mut seen.wishes[first..] {
        wish.distribution.clone_from(&distribution);
        wish.nodes.clone_from(&service_nodes);
    }
    for wish in &seen.wishes[first..] {
        if on_conflict != OnConflict::Defend {
            seen.conflicts.insert(wish.address, on_conflict);
        }
    }
    if resources.is_empty() {
        found
            .error(span, format!("service {name} has no resource"))
            .help("add a [[service.resource]] with name and kind below it");
    }
    section.finish(found);
    Service {
        name,
        nodes: service_nodes,
        resources,
        mode: mode.unwrap_or_default(),
        failback: failback.unwrap_or_default(),
        restart,
        start_timeout: start_timeout.map_or(START_TIMEOUT_DEFAULT, |placed| placed.value),
        stop_timeout: stop_timeout.map_or(STOP_TIMEOUT_DEFAULT, |placed| placed.value),
        priority: priority.map_or(PRIORITY_DEFAULT, |placed| placed.value as u16),
        class,
        networks,
        is_fixed: local_switch.is_some_and(|allowed| !allowed.value),
    }
}

/// What is done when another machine uses an address of the service.
fn on_conflict(section: &mut Section<'_>, found: &mut Diagnostics) -> OnConflict {
    let written = section.text("on_conflict", found);
    let policy = written
        .and_then(|written| read::choice(&written, "on_conflict", &OnConflict::NAMED, found));
    policy.unwrap_or_default()
}

/// `class = "storage"` of a service whose processes write to something shared. Its resources can make
/// it one of storage, too, and nothing can make it contained then.
fn class(section: &mut Section<'_>, found: &mut Diagnostics) -> Option<Class> {
    let written = section.text("class", found)?;
    match written.value {
        "storage" => Some(Class::Storage),
        "contained" => {
            found
                .error(written.span, "`class = \"contained\"` is what a service is by itself")
                .help("leave it out; a mount makes its service one of storage in any case");
            None
        }
        _ => read::choice(&written, "class", &[("storage", Class::Storage)], found),
    }
}

fn service_nodes<'a>(
    section: &mut Section<'a>,
    nodes: &Names<'a, NodeId>,
    found: &mut Diagnostics,
) -> Vec<NodeId> {
    let all: Vec<String> = nodes.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let Some(value) = section.require("nodes", &format!("[{}]", all.join(", ")), found) else {
        return Vec::new();
    };
    let Some(written) = read::texts(value, "nodes", found) else { return Vec::new() };
    if written.is_empty() {
        found
            .error(value.span(), "the service can run nowhere")
            .help("name its nodes, the preferred one first");
    }
    let mut read: Vec<NodeId> = Vec::new();
    for word in written {
        let Some(node) = nodes.find(&word, "node", found) else { continue };
        if read.contains(&node) {
            found.error(word.span, format!("{} is named twice", word.value));
        } else {
            read.push(node);
        }
    }
    read
}

/// Reads `networks`: those that must be up on the node where the service runs.
fn needed_networks(
    section: &mut Section<'_>,
    networks: &[Network],
    nodes: &[NodeId],
    found: &mut Diagnostics,
) -> Vec<NetworkId> {
    let written = section.take("networks").and_then(|value| read::texts(value, "networks", found));
    let mut read: Vec<NetworkId> = Vec::new();
    for word in written.unwrap_or_default() {
        let is_it = |network: &&Network| {
            network.name == word.value || network.written().any(|(name, _)| name == word.value)
        };
        let Some(network) = networks.iter().find(is_it) else {
            let finding = found.error(word.span, format!("there is no network {}", word.value));
            let names = || networks.iter().flat_map(|network| network.written());
            if let Some(near) = suggest::nearest(word.value, names().map(|(name, _)| name)) {
                finding.help(format!("did you mean \"{near}\"?"));
            } else {
                finding.help(
                    "name a [[network]]; that of the service's own address need not be named",
                );
            }
            continue;
        };
        if let Kind::Disk | Kind::Serial { .. } = network.kind {
            found
                .error(word.span, format!("{} carries heartbeats and no services", word.value))
                .help("name a network of kind \"udp\" or \"ethernet\"");
            continue;
        }
        let has_end = network.nodes();
        let without = nodes.iter().find(|node| !has_end.contains(**node));
        if without.is_some() {
            found
                .warning(
                    word.span.clone(),
                    format!("not all nodes of the service are on network {}", word.value),
                )
                .help("it never runs on those that are not: give them an end, or leave them out");
        }
        if read.contains(&network.id) {
            found.error(word.span, format!("{} is named twice", word.value));
        } else {
            read.push(network.id);
        }
    }
    read
}

fn restart(section: &mut Section<'_>, found: &mut Diagnostics) -> RestartLimit {
    let Some(value) = section.take("restart") else { return RESTART_DEFAULT };
    let Some(mut table) = read::table(value, "`restart`", found) else { return RESTART_DEFAULT };
    let count = table.number("count", 0..=u64::from(RESTARTS_MAX), found);
    let window = table.duration("window", Duration::from_secs(1)..=TIMEOUT_MAX, found);
    table.finish(found);
    RestartLimit {
        count: count.map_or(RESTART_DEFAULT.count, |placed| placed.value as u32),
        window: window.map_or(RESTART_DEFAULT.window, |placed| placed.value),
    }
}

fn resources<'a>(
    section: &mut Section<'a>,
    service: &str,
    seen: &mut Seen<'a>,
    found: &mut Diagnostics,
) -> Vec<Resource> {
    let mut resources = Vec::new();
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    let mut addresses = 0;
    let mut beyond = None;
    let sections = section.tables("resource", "a [[service.resource]]", found);
    for (index, mut section) in sections.into_iter().enumerate() {
        if index == RESOURCES_PER_SERVICE_MAX {
            let message = format!("there are more than {RESOURCES_PER_SERVICE_MAX} resources");
            found.error(section.span, message);
            break;
        }
        section.require("name", "\"ip\"", found);
        let name = section.text("name", found).and_then(|written| {
            duplicate(&mut names, &written, "resources of this service", found);
            read::name(&written, "a resource", found)
        });
        let name = name.unwrap_or_default();
        section.require("kind", "\"address\"", found);
        let Some(kind) = section.text("kind", found) else { continue };
        let kind = match kind.value {
            "address" => address(&mut section, &format!("{service}/{name}"), seen, found),
            "process" => process(&mut section, found),
            "mount" => mount(&mut section, found),
            "reservation" => reservation::disks(&mut section, &format!("{service}/{name}"), found),
            _ => {
                // The other keys belong to a kind that is not known here: nothing to say of them.
                network::unsupported(
                    &kind,
                    "resource",
                    "address, process, mount, reservation",
                    found,
                );
                resources.push(Resource { name, kind: nothing() });
                continue;
            }
        };
        if matches!(kind, Some(ResourceKind::Address { .. })) {
            addresses += 1;
            if addresses > ADDRESSES_MAX {
                beyond.get_or_insert_with(|| section.span.clone());
            }
        }
        section.finish(found);
        resources.push(Resource { name, kind: kind.unwrap_or_else(nothing) });
    }
    if let Some(span) = beyond {
        found
            .error(span, format!("service {service} has {addresses} addresses"))
            .label(format!("number {}", ADDRESSES_MAX + 1))
            .help(format!(
                "its guard looks after {ADDRESSES_MAX} for each service: give the others to a \
                 service of their own"
            ));
    }
    resources
}

/// Stands where an error was found, so that the rest can be checked; never leaves [`super::parse`].
fn nothing() -> ResourceKind {
    ResourceKind::Process {
        command: Vec::new(),
        directory: None,
        environment: Vec::new(),
        user: None,
    }
}

fn address<'a>(
    section: &mut Section<'a>,
    owner: &str,
    seen: &mut Seen<'a>,
    found: &mut Diagnostics,
) -> Option<ResourceKind> {
    section.require("address", "\"10.77.0.100/24\"", found);
    let written = section.text("address", found)?;
    let (address, prefix) = network::address(&written, "address", found)?;
    if address.is_loopback() {
        found.error(written.span, format!("{address} never leaves the machine"));
        return None;
    }
    let span = written.span.clone();
    let network = section.text("network", found);
    let hardware = replacement::hardware(section, found);
    let wish = Wish {
        address,
        span,
        network,
        distribution: None,
        hardware,
        service: seen.services,
        nodes: Vec::new(),
    };
    seen.wishes.push(wish);
    // It is added without its subnet.
    let alone = (address, if address.is_ipv4() { 32 } else { 128 });
    network::claim(&mut seen.claimed, alone, format!("resource {owner}"), written.span, found);
    Some(ResourceKind::Address { address, prefix })
}

/// Reads `command`: a program and its arguments.
pub(super) fn command<'a>(
    section: &mut Section<'a>,
    example: &str,
    found: &mut Diagnostics,
) -> Option<Vec<Placed<&'a str>>> {
    let value = section.require("command", example, found)?;
    let words = read::texts(value, "command", found)?;
    if words.first().is_none_or(|program| program.value.is_empty()) {
        found.error(value.span(), "the command is empty");
        return None;
    }
    if words.len() > WORDS_MAX {
        found.error(value.span(), format!("the command has more than {WORDS_MAX} words"));
        return None;
    }
    if let Some(zero) = words.iter().find(|word| word.value.contains('\0')) {
        found.error(zero.span.clone(), "a command can not contain a zero byte");
        return None;
    }
    Some(words)
}

fn process(section: &mut Section<'_>, found: &mut Diagnostics) -> Option<ResourceKind> {
    let example = "[\"/usr/bin/nginx\", \"-g\", \"daemon off;\"]";
    let command = command(section, example, found)
        .map(|words| words.into_iter().map(|word| word.value.to_owned()).collect());
    let directory = section.text("directory", found).and_then(|written| {
        if written.value.starts_with('/') {
            return Some(written.value.to_owned());
        }
        found.error(written.span, "`directory` must begin with `/`");
        None
    });
    let mut environment = Vec::new();
    if let Some(value) = section.take("environment")
        && let Some(table) = read::table(value, "`environment`", found)
    {
        for (name, value) in table.entries() {
            if name.value.is_empty() || name.value.contains(['=', '\0']) {
                found.error(name.span, format!("\"{}\" is no name of a variable", name.value));
                continue;
            }
            let Some(text) = read::text(value, name.value, found) else { continue };
            environment.push((name.value.to_owned(), text.value.to_owned()));
        }
        if environment.len() > WORDS_MAX {
            found.error(value.span(), format!("there are more than {WORDS_MAX} variables"));
        }
    }
    let user = section.text("user", found).and_then(|written| {
        if !written.value.is_empty() {
            return Some(written.value.to_owned());
        }
        found.error(written.span, "`user` is empty").help("leave it out to run as root");
        None
    });
    Some(ResourceKind::Process { command: command?, directory, environment, user })
}

/// Directories that a mount would take from the system.
const OF_THE_SYSTEM: [&str; 14] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin",
    "/sys", "/usr", "/var",
];

fn mount(section: &mut Section<'_>, found: &mut Diagnostics) -> Option<ResourceKind> {
    section.require("device", "\"/dev/disk/by-id/…\"", found);
    section.require("directory", "\"/srv/data\"", found);
    section.require("filesystem", "\"ext4\"", found);
    let device = section.text("device", found).and_then(|written| {
        let is_named = ["UUID=", "LABEL="].iter().any(|by| {
            let name = written.value.strip_prefix(by);
            name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
        });
        if is_named || written.value.starts_with("/dev/") {
            if is_unstable(written.value) {
                found
                    .warning(
                        written.span,
                        format!("{} may be another disk after a start", written.value),
                    )
                    .help("name it by `/dev/disk/by-id/…`, `UUID=…` or `LABEL=…`");
            }
            return Some(written.value.to_owned());
        }
        found
            .error(written.span, "`device` must be a block device: `/dev/…`, `UUID=…` or `LABEL=…`")
            .help(
                "what is no device of this machine (NFS, SMB) is mounted from a script of your own",
            );
        None
    });
    let directory = section.text("directory", found).and_then(|written| {
        let path = written.value;
        let is_plain = path.starts_with('/')
            && !path.contains("//")
            && !path.split('/').any(|part| part == "." || part == "..")
            && (path == "/" || !path.ends_with('/'))
            && !path.contains('\0');
        if !is_plain {
            found
                .error(written.span, "`directory` must be a whole path")
                .help("begin with `/`, without `.`, `..`, `//` or a `/` at the end");
            return None;
        }
        if OF_THE_SYSTEM.contains(&path) {
            found.error(written.span, format!("a mount on {path} would take it from the system"));
            return None;
        }
        Some(path.to_owned())
    });
    let filesystem = section.text("filesystem", found).and_then(|written| {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
        if !written.value.is_empty() && written.value.chars().all(is_word) {
            return Some(written.value.to_owned());
        }
        found
            .error(written.span, "`filesystem` must be a kind as the kernel calls it, like `ext4`");
        None
    });
    let options = section.text("options", found).map(|written| {
        if written.value.contains([' ', '\0', '\n']) {
            found.error(written.span, "`options` are separated by commas, without blanks");
        }
        written.value.to_owned()
    });
    let check = section.text("check", found).and_then(|written| {
        let words = [("never", Check::Never), ("auto", Check::Auto), ("always", Check::Always)];
        read::choice(&written, "check", &words, found)
    });
    Some(ResourceKind::Mount {
        device: device?,
        directory: directory?,
        filesystem: filesystem?,
        options: options.unwrap_or_default(),
        check: check.unwrap_or_default(),
    })
}

/// Names that the kernel gives in the order in which it finds disks.
pub(super) fn is_unstable(device: &str) -> bool {
    let name = device.strip_prefix("/dev/").unwrap_or_default();
    ["sd", "vd", "hd", "xvd", "nvme"].iter().any(|kind| name.starts_with(kind))
}
