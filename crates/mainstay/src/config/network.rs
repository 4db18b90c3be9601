//! `[[network]]`: which node has which address in which network.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use base::limits::{NETWORKS_MAX, PATHS_PER_PEER_MAX};
use base::{Medium, NetworkId, NodeId, Timing};
use toml::de::DeValue;

use super::diagnostic::Diagnostics;
use super::heartbeat::{check_heartbeat, heartbeat};
use super::polling::{check_targets, polling};
use super::read::{self, Placed, Section, Span, Value};
use super::section::{Names, duplicate};
use super::{
    Endpoint, Host, Kind, Network, Priority, duration, gateway, global, placing, standby, subnets,
};

/// The longest name that Linux gives an interface (IFNAMSIZ without its zero).
const INTERFACE_SIZE_MAX: usize = 15;
/// For local experiments and private protocols (IEEE 802, clause 9.2.4).
pub const ETHERTYPE_DEFAULT: u16 = 0x88b5;
/// IPv4, ARP, VLAN tags and IPv6: a socket of that type would see everything.
const TAKEN_TYPES: [u16; 5] = [0x0800, 0x0806, 0x8100, 0x86dd, 0x88a8];
/// Bits per second of a serial line unless something else is written.
pub const BAUD_DEFAULT: u32 = 115_200;

/// An address that something in the file claims, with its place.
pub(super) struct Claimed {
    pub(super) address: IpAddr,
    /// Length of the prefix of the subnet that it brings to its interface; all bits where it brings none.
    pub(super) prefix: u8,
    pub(super) owner: String,
    pub(super) span: Span,
}

/// Reads all `[[network]]`, and the `[[path]]` that are written for single devices.
pub(super) fn networks<'a>(
    sections: Vec<Section<'a>>,
    paths: Vec<Section<'a>>,
    nodes: &Names<'a, NodeId>,
    claimed: &mut Vec<Claimed>,
    found: &mut Diagnostics,
) -> Vec<Network> {
    let mut networks: Vec<Network> = Vec::new();
    let mut globals: Vec<(usize, Placed<&'a str>)> = Vec::new();
    let mut spans: Vec<Span> = Vec::new();
    let mut names: BTreeMap<&str, Span> = BTreeMap::new();
    let mut numbers = BTreeMap::new();
    let written = sections.into_iter().map(|section| (section, false));
    let written = written.chain(paths.into_iter().map(|section| (section, true)));
    for (index, (mut section, is_path)) in written.enumerate() {
        if index == NETWORKS_MAX {
            found
                .error(
                    section.span.clone(),
                    format!("there are more than {NETWORKS_MAX} networks"),
                )
                .help(format!(
                    "a cluster has at most {NETWORKS_MAX}, `[[path]]` counted: leave some out, or make \
                     two clusters"
                ));
            break;
        }
        if !is_path {
            section.require("name", "\"net0\"", found);
        } else if section.require("kind", "\"disk\"", found).is_none() {
            continue;
        }
        let name = section.text("name", found).and_then(|written| {
            duplicate(&mut names, &written, "networks", found);
            read::name(&written, "a network", found)
        });
        let id = number(&mut section, index, &mut numbers, found);
        let kind = kind(&mut section, found);
        let priority = priority(&mut section, kind, found);
        let ring = is_ring(&mut section, kind, found);
        let port = match kind {
            Kind::Udp => section.number("port", 1..=65_535, found).map(|read| read.value as u16),
            Kind::Ethernet { .. } | Kind::Disk | Kind::Serial { .. } => None,
        };
        let (heartbeat, heartbeat_span) = heartbeat(&mut section, kind, found);
        let polling = polling(&mut section, kind, found);
        let global = section.text("global", found);
        let alias = match kind {
            Kind::Udp => section.text("heartbeat_alias", found),
            Kind::Ethernet { .. } | Kind::Disk | Kind::Serial { .. } => None,
        };
        let has_alias = alias.is_some();
        let auto_return = match kind {
            Kind::Udp => section.boolean("auto_return", found),
            Kind::Ethernet { .. } | Kind::Disk | Kind::Serial { .. } => None,
        };
        let alias = alias.and_then(|written| global::alias_base(&written, id, found));
        let span = section.span.clone();
        let place = span.clone();
        let mut network = Network {
            id,
            name: name.unwrap_or_else(|| format!("{}{index}", kind.name())),
            priority,
            ring,
            kind,
            heartbeat,
            port,
            rank: None,
            polling,
            parts: Vec::new(),
            endpoints: BTreeMap::new(),
            placing: None,
            devices: BTreeMap::new(),
            gateways: BTreeMap::new(),
            verify_gateways: false,
        };
        let gateways = gateway::gateways(&mut section, kind, found);
        let verify = gateway::verify(&mut section, kind, found);
        ends(&mut section, &mut network, (has_alias, alias.as_ref()), nodes, claimed, found);
        let placing = placing::placing(&mut section, kind, nodes, claimed, found);
        let is_shared = placing.is_some();
        if let Some((placing, span)) = placing {
            network.placing = Some(placing);
            placing::check(&network, &span, nodes, found);
        }
        section.finish(found);
        gateway::assign(gateways, verify, &mut network, found);
        standby::auto_return(auto_return, &mut network, found);
        check_targets(&network, &span, found);
        if let Some(span) = heartbeat_span {
            check_heartbeat(&network, global.is_some(), span, found);
        }
        if !found.has_errors() && global.is_none() {
            check_network(&network, span, nodes, found);
        }
        if let Some(global) = &global
            && is_shared
        {
            found
                .error(global.span.clone(), "a part of a global network shares no addresses out")
                .help("leave `distribution`, `also`, `persistent` and the like out of it");
        }
        if let Some(global) = global
            && read::name(&global, "a global network", found).is_some()
        {
            globals.push((networks.len(), global));
        }
        networks.push(network);
        spans.push(place);
    }
    standby::check_standbys(&networks, &spans, nodes, found);
    placing::check_also(&networks, &spans, nodes, found);
    subnets::check_interfaces(&networks, &spans, nodes, found);
    global::merged(networks, &globals, (&names, nodes), found)
}

/// The number that a network's frames carry. Written, or else the place in the file.
fn number(
    section: &mut Section<'_>,
    index: usize,
    numbers: &mut BTreeMap<u64, Span>,
    found: &mut Diagnostics,
) -> NetworkId {
    let span = section.span.clone();
    let written = section.number("id", 0..=NETWORKS_MAX as u64 - 1, found);
    let (number, span) = written.map_or((index as u64, span), |read| (read.value, read.span));
    if let Some(other) = numbers.insert(number, span.clone()) {
        found
            .error(span, format!("two networks have the number {number}"))
            .related(other, "this one too")
            .help("give each network an `id` of its own; without one it is the place in the file");
    }
    NetworkId(number as u16)
}

fn kind(section: &mut Section<'_>, found: &mut Diagnostics) -> Kind {
    let words = [
        ("udp", Kind::Udp),
        ("ethernet", Kind::Ethernet { ethertype: ETHERTYPE_DEFAULT }),
        ("disk", Kind::Disk),
        ("serial", Kind::Serial { baud: BAUD_DEFAULT, flow: false }),
    ];
    let written = section.text("kind", found);
    let kind = written.and_then(|written| read::choice(&written, "kind", &words, found));
    match kind.unwrap_or_default() {
        Kind::Ethernet { .. } => {
            let written = section.text("ethertype", found);
            let ethertype = written.and_then(|written| ethertype(&written, found));
            Kind::Ethernet { ethertype: ethertype.unwrap_or(ETHERTYPE_DEFAULT) }
        }
        Kind::Serial { .. } => {
            let baud = section.number("baud", 300..=4_000_000, found);
            let words = [("none", false), ("rtscts", true)];
            let flow = section.text("flow", found);
            let flow = flow.and_then(|written| read::choice(&written, "flow", &words, found));
            Kind::Serial {
                baud: baud.map_or(BAUD_DEFAULT, |read| read.value as u32),
                flow: flow.unwrap_or(false),
            }
        }
        kind @ (Kind::Udp | Kind::Disk) => kind,
    }
}

/// Reads `"0x88b5"`.
pub(super) fn ethertype(written: &Placed<&str>, found: &mut Diagnostics) -> Option<u16> {
    let digits = written.value.strip_prefix("0x").or_else(|| written.value.strip_prefix("0X"));
    let number = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let usable = number.filter(|number| is_usable_ethertype(*number));
    if usable.is_none() {
        found
            .error(written.span.clone(), format!("\"{}\" is no usable EtherType", written.value))
            .help("write \"0x88b5\" (for local experiments, the default) or \"0xcafe\" (LLT)");
    }
    usable
}

/// Whether a socket of that type is ours alone.
#[must_use]
pub fn is_usable_ethertype(number: u16) -> bool {
    // Below that the field is a length (IEEE 802.3, clause 3.2.6).
    number >= 0x0600 && !TAKEN_TYPES.contains(&number)
}

/// Reads `monitor`.
fn is_ring(section: &mut Section<'_>, kind: Kind, found: &mut Diagnostics) -> bool {
    let words = [("mesh", false), ("ring", true)];
    let Some(written) = section.text("monitor", found) else { return false };
    let is_ring = read::choice(&written, "monitor", &words, found).unwrap_or(false);
    if is_ring && kind != Kind::Udp {
        found
            .error(
                written.span,
                format!("a network of kind \"{}\" cannot be monitored as a ring", kind.name()),
            )
            .help("remove `monitor`: rings are for networks of kind \"udp\" with many nodes");
        return false;
    }
    is_ring
}

fn priority(section: &mut Section<'_>, kind: Kind, found: &mut Diagnostics) -> Priority {
    let is_slow = kind.medium() != Medium::Network;
    let default = if is_slow { Priority::Low } else { Priority::High };
    let Some(written) = section.text("priority", found) else { return default };
    let words = [("high", Priority::High), ("low", Priority::Low)];
    let priority = read::choice(&written, "priority", &words, found).unwrap_or(default);
    if is_slow && priority == Priority::High {
        found
            .error(
                written.span,
                format!("a network of kind \"{}\" is of low priority", kind.name()),
            )
            .help("remove `priority`: it carries data when no faster path is left");
    }
    priority
}

/// Reads `nodes`: each node's end.
fn ends<'a>(
    section: &mut Section<'a>,
    network: &mut Network,
    (has_alias, alias): (bool, Option<&global::AliasBase>),
    nodes: &Names<'a, NodeId>,
    claimed: &mut Vec<Claimed>,
    found: &mut Diagnostics,
) {
    let example = match network.kind {
        Kind::Udp => "{ n1 = \"10.77.0.1/24\", n2 = \"10.77.0.2/24\" }",
        Kind::Ethernet { .. } => "{ n1 = \"eth1\", n2 = \"eth1\" }",
        Kind::Disk => "{ n1 = \"/dev/disk/by-id/…\", n2 = \"/dev/disk/by-id/…\" }",
        Kind::Serial { .. } => "{ n1 = \"/dev/ttyS0\", n2 = \"/dev/ttyS0\" }",
    };
    let span = section.span.clone();
    if network.kind == Kind::Disk
        && let Some(value) = section.take("device")
    {
        // The same name on all nodes.
        if let Some(nodes) = section.take("nodes") {
            found
                .error(nodes.span(), "a disk has `device` or `nodes`, not both")
                .help("remove `device` and give each node its own name of the disk");
        }
        if let Some(device) = device(value, network.kind, found) {
            network.devices = nodes.iter().map(|(_, id)| (id, device.clone())).collect();
        }
        return;
    }
    let Some(value) = section.require("nodes", example, found) else { return };
    let Some(table) = read::table(value, "`nodes` of a network", found) else { return };
    let mut ends = 0;
    for (node, value) in table.entries() {
        ends += 1;
        let id = nodes.find(&node, "node", found);
        if network.kind == Kind::Udp {
            let Some((mut endpoint, span)) = endpoint(value, has_alias, found) else {
                continue;
            };
            let owner = format!("node {}", node.value);
            if endpoint.has_address() {
                let own = (endpoint.address, endpoint.prefix);
                claim(claimed, own, owner.clone(), span.clone(), found);
            }
            if let (Some(base), Some(id)) = (alias, id) {
                endpoint = base.endpoint(endpoint, network.id, id, &span, found);
                let alias = (endpoint.address, endpoint.prefix);
                claim(claimed, alias, format!("{owner} (alias)"), span, found);
            }
            if let Some(id) = id {
                network.endpoints.insert(id, endpoint);
            }
        } else if let Some(device) = device(value, network.kind, found)
            && let Some(id) = id
        {
            network.devices.insert(id, device);
        }
    }
    if matches!(network.kind, Kind::Serial { .. }) && ends != 2 {
        found
            .error(span, format!("a serial line has two ends, and {ends} are given"))
            .help("one [[network]] for each line between two nodes");
    }
}

/// Reads the name of an interface, or the path of a device.
fn device(value: &Value<'_>, kind: Kind, found: &mut Diagnostics) -> Option<String> {
    let what = match kind {
        Kind::Ethernet { .. } => "interface",
        Kind::Udp | Kind::Disk | Kind::Serial { .. } => "device",
    };
    let written = read::text(value, what, found)?;
    if let Kind::Ethernet { .. } = kind {
        return interface(&written, found);
    }
    if !written.value.starts_with('/') || written.value.contains('\0') {
        found
            .error(written.span, format!("\"{}\" is no path of a device", written.value))
            .help("write it from the root on: \"/dev/ttyS0\"");
        return None;
    }
    Some(written.value.to_owned())
}

/// What is odd about one network on its own.
fn check_network(
    network: &Network,
    span: Span,
    nodes: &Names<'_, NodeId>,
    found: &mut Diagnostics,
) {
    let absent: Vec<&str> = nodes
        .iter()
        .filter(|(_, id)| !network.nodes().contains(*id))
        .map(|(name, _)| name)
        .collect();
    let is_line = matches!(network.kind, Kind::Serial { .. });
    if !absent.is_empty() && !network.nodes().is_empty() && !is_line {
        found
            .warning(
                span.clone(),
                format!(
                    "network {} has no end for {}: no path over it leads there",
                    network.name,
                    absent.join(", ")
                ),
            )
            .help("add it under `nodes`, or leave it so if the node has no such interface");
    }
    let mut subnets = network
        .endpoints
        .values()
        // What stands behind a name is known when the hosts file is read.
        .filter(|endpoint| endpoint.host.is_none())
        .map(|endpoint| (subnet(endpoint.address, endpoint.prefix), endpoint.prefix));
    if let Some(first) = subnets.next()
        && subnets.any(|other| other != first)
    {
        found
            .warning(
                span,
                format!("the addresses of network {} are in different subnets", network.name),
            )
            .help("that works when a router connects them; service addresses need one subnet");
    }
}

/// What is odd about all networks together: pairs of nodes without a path, and with too many.
/// Only for files without errors: half a picture looks odd everywhere.
pub(super) fn check_paths(
    networks: &[Network],
    span: Span,
    nodes: &Names<'_, NodeId>,
    found: &mut Diagnostics,
) {
    const PAIRS_SHOWN: usize = 4;
    let all: Vec<(&str, NodeId)> = nodes.iter().collect();
    let mut without = Vec::new();
    for (index, (from, from_id)) in all.iter().enumerate() {
        for (to, to_id) in &all[index + 1..] {
            let both = |network: &&Network| {
                let nodes = network.nodes();
                nodes.contains(*from_id) && nodes.contains(*to_id)
            };
            let common: Vec<&Network> = networks.iter().filter(both).collect();
            match common.len() {
                0 => without.push(format!("{from} and {to}")),
                1..=PATHS_PER_PEER_MAX => {}
                paths => {
                    let beyond: Vec<&str> =
                        common[PATHS_PER_PEER_MAX..].iter().map(|one| one.name.as_str()).collect();
                    found
                        .error(
                            span.clone(),
                            format!(
                                "{from} and {to} have {paths} networks in common; each heartbeat has room \
                                 for {PATHS_PER_PEER_MAX} paths between two nodes"
                            ),
                        )
                        .help(format!(
                            "beyond that are {}: leave one of the two nodes out of them; for a subnet that \
                             has service addresses only, give a network a `persistent` address in it",
                            beyond.join(", ")
                        ));
                }
            }
        }
    }
    if without.is_empty() {
        return;
    }
    let more = without.len().saturating_sub(PAIRS_SHOWN);
    let shown = without[..without.len().min(PAIRS_SHOWN)].join(", between ");
    let more = if more > 0 { format!(", nor between {more} other pairs") } else { String::new() };
    found
        .warning(span, format!("there is no path between {shown}{more}"))
        .help("such nodes can never be in one view; give both an address in one network");
}

/// A lost node is noticed when its slowest path is dead. Whoever needs its echo for a lease, because
/// exactly half of the view is left, has none by then.
pub(super) fn check_slow(
    networks: &[Network],
    timing: &Timing,
    span: Span,
    found: &mut Diagnostics,
) {
    let slow = networks.iter().filter(|network| network.kind.medium() != Medium::Network);
    let Some(slowest) = slow.max_by_key(|network| timing.timeout(network.kind.medium())) else {
        return;
    };
    let medium = slowest.kind.medium();
    let change = timing.heartbeat_high + timing.collect + timing.tie_budget;
    let needed = timing.timeout(medium) + change;
    if timing.lease > needed {
        return;
    }
    let (lease, needed) = (duration::format(timing.lease), duration::format(needed));
    let (name, kind) = (&slowest.name, slowest.kind.name());
    found
        .warning(
            span,
            format!(
                "a lost node is noticed only when its path over {name} ({kind}) is silent for {}: \
                 longer than the lease of {lease}",
                duration::format(timing.timeout(medium))
            ),
        )
        .help(format!(
            "where that matters is a view of which exactly half is lost (two nodes, say): the other \
             half's services stop and start again; to avoid it give `[detection]` a lease of more \
             than {needed}, which a takeover then waits for"
        ));
}

/// Reads one end: an address with its prefix, a name of the hosts file, or a table. Where aliases are
/// made, the name of the interface is enough.
fn endpoint(
    value: &Value<'_>,
    is_alias: bool,
    found: &mut Diagnostics,
) -> Option<(Endpoint, Span)> {
    if let DeValue::String(_) = value.get_ref() {
        let written = read::text(value, "address", found)?;
        return Some((place(&written, found)?, written.span));
    }
    let span = value.span();
    let mut section = read::table(value, "an address of a network", found)?;
    if !is_alias {
        section.require("address", "\"10.77.0.1/24\"", found);
    }
    let written = section.text("address", found);
    let parsed = written.as_ref().map(|written| place(written, found));
    let interface = section.text("interface", found).and_then(|written| interface(&written, found));
    let standby = standby::standby(&mut section, interface.as_deref(), is_alias, found);
    section.finish(found);
    let endpoint = match parsed {
        Some(parsed) => parsed?,
        // Then it has an interface to carry the alias.
        None if interface.is_some() => Endpoint::new(Ipv4Addr::UNSPECIFIED.into(), 32),
        None => {
            if is_alias {
                found
                    .error(span, "neither an address nor an interface is given")
                    .help("write { interface = \"eth1\" }");
            }
            return None;
        }
    };
    let span = written.map_or(span, |written| written.span);
    Some((Endpoint { interface, standby, ..endpoint }, span))
}

/// An address, or a name that the hosts file has one for.
fn place(written: &Placed<&str>, found: &mut Diagnostics) -> Option<Endpoint> {
    let name = written.value;
    let is_name = name.contains(|c: char| c.is_ascii_alphabetic())
        && !name.contains(['/', ':'])
        && read::name_error(name).is_none();
    if !is_name {
        let (address, prefix) = address(written, "address", found)?;
        return Some(Endpoint::new(address, prefix));
    }
    let host = Host { name: name.to_owned(), trouble: None };
    Some(Endpoint { host: Some(host), ..Endpoint::new(Ipv4Addr::UNSPECIFIED.into(), 32) })
}

/// Whether an interface can have that name.
#[must_use]
pub fn is_interface_name(name: &str) -> bool {
    (1..=INTERFACE_SIZE_MAX).contains(&name.len())
        && !name.contains(|c: char| c == '/' || c.is_whitespace())
        && name != "."
        && name != ".."
}

pub(super) fn interface(written: &Placed<&str>, found: &mut Diagnostics) -> Option<String> {
    let name = written.value;
    if !is_interface_name(name) {
        found
            .error(written.span.clone(), format!("\"{name}\" is no name of an interface"))
            .label(format!("1 to {INTERFACE_SIZE_MAX} bytes, without `/` and blanks"));
        return None;
    }
    Some(name.to_owned())
}

/// Reads `10.77.0.1/24` as the address of a machine.
pub(super) fn address(
    written: &Placed<&str>,
    key: &str,
    found: &mut Diagnostics,
) -> Option<(IpAddr, u8)> {
    match parse_address(written.value) {
        Ok(read) => Some(read),
        Err((sentence, help)) => {
            let finding = found.error(written.span.clone(), format!("`{key}`: {sentence}"));
            if let Some(help) = help {
                finding.help(help);
            }
            None
        }
    }
}

/// Reads an address with its prefix length.
///
/// # Errors
/// What is wrong, and what to do about it.
pub fn parse_address(text: &str) -> Result<(IpAddr, u8), (String, Option<String>)> {
    let Some((address, prefix)) = text.split_once('/') else {
        let help = match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => format!("write the length of the subnet's prefix: \"{text}/24\""),
            Ok(IpAddr::V6(_)) => format!("write the length of the subnet's prefix: \"{text}/64\""),
            Err(_) => "write an address with its prefix: \"10.77.0.1/24\"".to_owned(),
        };
        return Err((format!("\"{text}\" has no prefix length"), Some(help)));
    };
    let parsed: IpAddr =
        address.parse().map_err(|_| (format!("\"{address}\" is no IPv4 or IPv6 address"), None))?;
    let most = if parsed.is_ipv4() { 32 } else { 128 };
    let Some(prefix) = prefix.parse::<u8>().ok().filter(|prefix| (1..=most).contains(prefix))
    else {
        return Err((format!("/{prefix} is no prefix length: 1 to {most}"), None));
    };
    if parsed.is_unspecified() || parsed.is_multicast() {
        return Err((format!("{parsed} is not the address of one machine"), None));
    }
    if let IpAddr::V4(four) = parsed
        && prefix < 31
    {
        let bits = u32::from(four);
        let hosts = u32::MAX >> prefix;
        if bits & hosts == 0 || bits & hosts == hosts {
            let kind =
                if bits & hosts == 0 { "the network itself" } else { "the broadcast address" };
            return Err((format!("{parsed}/{prefix} is {kind}, not a machine in it"), None));
        }
    }
    Ok((parsed, prefix))
}

/// The address with all bits behind the prefix zero.
pub(crate) fn subnet(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(four) & mask).into())
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(six) & mask).into())
        }
    }
}

/// Remembers that `owner` has `address`; a second owner is an error.
pub(super) fn claim(
    claimed: &mut Vec<Claimed>,
    (address, prefix): (IpAddr, u8),
    owner: String,
    span: Span,
    found: &mut Diagnostics,
) {
    match claimed.iter().find(|other| other.address == address) {
        Some(other) => {
            found
                .error(span, format!("{address} belongs to {} already", other.owner))
                .label(format!("and here to {owner}"))
                .related(other.span.clone(), "first here");
        }
        None => claimed.push(Claimed { address, prefix, owner, span }),
    }
}

/// A kind that is planned and not in this version, or a misspelt one.
pub(super) fn unsupported(
    written: &Placed<&str>,
    what: &str,
    supported: &str,
    found: &mut Diagnostics,
) {
    found
        .error(
            written.span.clone(),
            format!("a {what} of kind \"{}\" is not supported by this version", written.value),
        )
        .help(format!("this version supports: {supported}"));
}
