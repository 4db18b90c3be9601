//! Who decides at exactly half: `tie = "…"`, `[tiebreaker]`, or three times `[[tiebreaker]]`.
//!
//! `none`, `manual` and `prefer` stand alone. Arbiters are outside the cluster, and there are one or
//! three of any kinds: of three two must agree, so one may be away; of two or four a majority would
//! need as many to be there as of three, and fail more often.
//!
//! The group puts into each view *which* arbiters decide about its successor, as a hash
//! ([`name`]). It is taken over what tells one arbiter's memory from another's, in order, and not
//! over what only opens the door to it (passwords, certificates): with another password it is still
//! the same register, and asking it goes on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use base::{NodeId, NodeSet};
use toml::de::DeValue;

use super::diagnostic::Diagnostics;
use super::read::{self, Placed, Section, Span, Value};
use super::section::Names;
use super::{Cluster, network};
use crate::arbiter::etcd::tls;

/// Who decides when exactly half of the last view is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tie {
    /// Nobody: neither half goes on. Safe, and nothing moves.
    #[default]
    None,
    /// A person, with `mainstay node confirm-down`.
    Manual,
    /// This node's half goes on.
    Prefer(NodeId),
    /// More than half of these: one or three.
    Arbiters(Vec<Arbiter>),
}

/// An acceptor outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arbiter {
    /// A shared disk with the area of this cluster.
    Disk {
        /// Each node's name for it.
        devices: BTreeMap<NodeId, String>,
    },
    /// A `mainstay witness serve` somewhere.
    Witness {
        /// `10.0.0.9:7402`, `[fd00::9]:7402`, `host:7402`.
        address: String,
    },
    /// A register in etcd.
    Etcd(Etcd),
}

/// How to reach an etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Etcd {
    /// `https://10.0.0.9:2379`; members of one etcd, tried in this order.
    pub endpoints: Vec<String>,
    /// For etcd's own users: the name, and the file with the password.
    pub login: Option<(String, PathBuf)>,
    /// For https://.
    pub tls: tls::Files,
}

impl fmt::Display for Arbiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arbiter::Disk { devices } => {
                let mut names: Vec<&str> = devices.values().map(String::as_str).collect();
                names.sort_unstable();
                names.dedup();
                write!(f, "disk {}", names.join(" "))
            }
            Arbiter::Witness { address } => write!(f, "witness {address}"),
            Arbiter::Etcd(etcd) => write!(f, "etcd {}", etcd.endpoints.join(" ")),
        }
    }
}

/// What a view calls these arbiters: a hash over which they are, in order.
#[must_use]
pub fn name(arbiters: &[Arbiter]) -> u64 {
    let lines: String = arbiters.iter().map(|arbiter| format!("{arbiter}\n")).collect();
    super::checksum(&lines)
}

const SUPPORTED: &str = "none, manual, prefer, disk, witness, etcd";

/// `tie = "none"`, `"manual"`, `"prefer:n1"`.
pub(super) fn word(
    value: &Value<'_>,
    nodes: &Names<'_, NodeId>,
    found: &mut Diagnostics,
) -> Option<Tie> {
    let written = read::text(value, "tie", found)?;
    match (written.value, written.value.split_once(':')) {
        ("none", _) => Some(Tie::None),
        ("manual", _) => Some(Tie::Manual),
        (_, Some(("prefer", node))) => {
            let node = Placed { value: node, span: written.span.clone() };
            nodes.find(&node, "node", found).map(Tie::Prefer)
        }
        ("prefer", None) => {
            found.error(written.span, "`prefer` needs a node").help("write tie = \"prefer:n1\"");
            None
        }
        ("disk" | "witness" | "etcd", _) => {
            let kind = written.value;
            found
                .error(written.span, format!("a {kind} needs more than a word"))
                .help(format!("write a table: [tiebreaker] with kind = \"{kind}\""));
            None
        }
        _ => {
            network::unsupported(&written, "tie-breaker", SUPPORTED, found);
            None
        }
    }
}

/// What one table is.
enum One {
    /// It decides alone.
    Alone(Tie),
    One(Arbiter),
}

/// `[tiebreaker]`, or `[[tiebreaker]]` once or three times.
pub(super) fn tables(
    value: &Value<'_>,
    nodes: &Names<'_, NodeId>,
    found: &mut Diagnostics,
) -> Option<Tie> {
    let items = match value.get_ref() {
        DeValue::Array(items) => items.iter().collect(),
        _ => vec![value],
    };
    if !matches!(items.len(), 1 | 3) {
        found
            .error(value.span(), format!("there are {} tie-breakers", items.len()))
            .label("1 or 3")
            .help(
                "more than half must agree: two of two, like two of three, so the second only adds \
                 a failure",
            );
        return None;
    }
    let read: Vec<(Option<One>, Span)> =
        items.iter().map(|item| (one(item, nodes, found), item.span())).collect();
    let mut arbiters: Vec<(Arbiter, Span)> = Vec::new();
    for (read, span) in read {
        match read? {
            One::Alone(tie) if items.len() == 1 => return Some(tie),
            One::Alone(_) => {
                found
                    .error(span, "this tie-breaker decides alone")
                    .help("three that vote are each a disk, a witness or an etcd");
                return None;
            }
            One::One(arbiter) => {
                if let Some((_, first)) = arbiters.iter().find(|(other, _)| *other == arbiter) {
                    found
                        .error(span, format!("{arbiter} is there twice"))
                        .related(first.clone(), "first here")
                        .help("it would fail as one and vote as two");
                    return None;
                }
                arbiters.push((arbiter, span));
            }
        }
    }
    Some(Tie::Arbiters(arbiters.into_iter().map(|(arbiter, _)| arbiter).collect()))
}

fn one(value: &Value<'_>, nodes: &Names<'_, NodeId>, found: &mut Diagnostics) -> Option<One> {
    let mut section = read::table(value, "[tiebreaker]", found)?;
    section.require("kind", "\"witness\"", found);
    let kind = section.text("kind", found)?;
    let read = match kind.value {
        "none" => Some(One::Alone(Tie::None)),
        "manual" => Some(One::Alone(Tie::Manual)),
        "prefer" => {
            section.require("node", "\"n1\"", found);
            let node = section.text("node", found);
            let node = node.and_then(|node| nodes.find(&node, "node", found));
            node.map(|node| One::Alone(Tie::Prefer(node)))
        }
        "disk" => disk(&mut section, nodes, found).map(One::One),
        "witness" => witness(&mut section, found).map(One::One),
        "etcd" => etcd(&mut section, found).map(One::One),
        _ => {
            network::unsupported(&kind, "tie-breaker", SUPPORTED, found);
            return None;
        }
    };
    section.finish(found);
    read
}

/// `device` where all nodes call it the same, else `nodes`.
fn disk(
    section: &mut Section<'_>,
    nodes: &Names<'_, NodeId>,
    found: &mut Diagnostics,
) -> Option<Arbiter> {
    let place = section.span.clone();
    let same = section.text("device", found);
    let each = section.take("nodes");
    let mut devices = BTreeMap::new();
    match (same, each) {
        (Some(device), None) => {
            path(&device, "device", found)?;
            devices.extend(nodes.iter().map(|(_, node)| (node, device.value.to_owned())));
        }
        (None, Some(each)) => {
            for (name, value) in read::table(each, "`nodes`", found)?.entries() {
                let device = read::text(value, name.value, found)?;
                path(&device, "device", found)?;
                devices.insert(nodes.find(&name, "node", found)?, device.value.to_owned());
            }
            let blind = nodes.iter().filter(|(_, node)| !devices.contains_key(node));
            let blind: Vec<&str> = blind.map(|(name, _)| name).collect();
            if !blind.is_empty() {
                found
                    .warning(each.span(), format!("{} can not ask this disk", blind.join(", ")))
                    .help("name the device of every node");
            }
        }
        (Some(_), Some(each)) => {
            found.error(each.span(), "the device is given twice").help("`device` or `nodes`");
            return None;
        }
        (None, None) => {
            found
                .error(place, "[tiebreaker] has no `device`")
                .help("add `device = \"/dev/disk/by-id/shared\"`");
            return None;
        }
    }
    Some(Arbiter::Disk { devices })
}

fn path(written: &Placed<&str>, key: &str, found: &mut Diagnostics) -> Option<()> {
    if written.value.starts_with('/') {
        return Some(());
    }
    found
        .error(written.span.clone(), format!("`{key}` must be a whole path"))
        .help("begin with `/`, as /dev/disk/by-id/shared");
    None
}

fn witness(section: &mut Section<'_>, found: &mut Diagnostics) -> Option<Arbiter> {
    section.require("address", "\"10.0.0.9:7402\"", found);
    let written = section.text("address", found)?;
    if !is_address(written.value) {
        found
            .error(written.span, format!("\"{}\" is no address with port", written.value))
            .help("write \"10.0.0.9:7402\", \"[fd00::9]:7402\" or \"name:7402\"");
        return None;
    }
    Some(Arbiter::Witness { address: written.value.to_owned() })
}

/// An IP address or a name, and a port.
fn is_address(text: &str) -> bool {
    if text.parse::<std::net::SocketAddr>().is_ok_and(|address| address.port() != 0) {
        return true;
    }
    let is_name = |name: &str| {
        let allowed = |one: char| one.is_ascii_alphanumeric() || "-.".contains(one);
        !name.is_empty() && name.len() <= 253 && name.chars().all(allowed)
    };
    text.rsplit_once(':').is_some_and(|(name, port)| {
        is_name(name) && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

fn etcd(section: &mut Section<'_>, found: &mut Diagnostics) -> Option<Arbiter> {
    section.require("endpoints", "[\"https://10.0.0.9:2379\"]", found);
    let endpoints = section.take("endpoints");
    let user = section.text("user", found);
    let password = section.text("password_file", found);
    let ca = section.text("ca", found);
    let certificate = section.text("certificate", found);
    let own_key = section.text("key", found);
    let place = section.span.clone();
    let written = read::texts(endpoints?, "endpoints", found)?;
    if written.is_empty() || written.len() > ENDPOINTS_MAX {
        found
            .error(endpoints?.span(), format!("there are {} endpoints", written.len()))
            .label(format!("1 to {ENDPOINTS_MAX}"));
        return None;
    }
    for endpoint in &written {
        let schemes = ["https://", "http://"];
        let address = schemes.iter().find_map(|scheme| endpoint.value.strip_prefix(scheme));
        if !address.is_some_and(is_address) {
            found
                .error(endpoint.span.clone(), format!("\"{}\" is no endpoint", endpoint.value))
                .help("write \"https://10.0.0.9:2379\", or http:// in a network of its own");
            return None;
        }
    }
    for (file, key) in [(&ca, "ca"), (&certificate, "certificate"), (&own_key, "key")] {
        let Some(file) = file else { continue };
        path(file, key, found)?;
        if !written.iter().all(|endpoint| endpoint.value.starts_with("https://")) {
            found
                .error(file.span.clone(), format!("`{key}` is of no use without TLS"))
                .help("write https:// in all endpoints");
            return None;
        }
    }
    let file = |written: Option<Placed<&str>>| written.map(|written| PathBuf::from(written.value));
    let own = match (file(certificate), file(own_key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            found.error(place, "`certificate` and `key` belong together");
            return None;
        }
    };
    let tls = tls::Files { ca: file(ca), own };
    let login = match (user, password) {
        (Some(user), Some(password)) => {
            path(&password, "password_file", found)?;
            Some((user.value.to_owned(), PathBuf::from(password.value)))
        }
        (None, None) => None,
        _ => {
            found.error(place, "`user` and `password_file` belong together");
            return None;
        }
    };
    let endpoints = written.iter().map(|endpoint| endpoint.value.to_owned()).collect();
    Some(Arbiter::Etcd(Etcd { endpoints, login, tls }))
}

/// Members of one etcd; more than seven is not advised by its authors.
const ENDPOINTS_MAX: usize = 9;

/// Two nodes are each other's half: without a tie-breaker the loss of one stops both.
pub(super) fn check(cluster: &Cluster, head: Span, found: &mut Diagnostics) {
    let ids: NodeSet = cluster.nodes.iter().map(|node| node.id).collect();
    if ids.len() == 2 && cluster.tie == Tie::None {
        let first = &cluster.nodes[0].name;
        found
            .warning(head, "two nodes and no tie-breaker: when one is lost, the other stops too")
            .help(
                "[tiebreaker] with kind = \"witness\" (a third machine), \"disk\" or \"etcd\": \
                 exactly one of them goes on",
            )
            .help(format!(
                "tie = \"prefer:{first}\": {first} goes on alone, the other node never does"
            ))
            .help("tie = \"manual\": a person decides with `mainstay node confirm-down`")
            .help("a third node, even one that runs no service: the best answer");
    }
}
