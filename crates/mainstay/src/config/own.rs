//! `etc/mainstay/paths.toml`: halves of paths that this node alone defines.
//!
//! A network in the shared configuration makes the halves of all its nodes. A path can also be
//! defined one half at a time, on each node by itself, before there is any view in which nodes could
//! agree (as LifeKeeper's `lkcli commpath` does). Both halves get the same number without a word
//! between them: it is a hash of what both know, the pair of addresses, so that halves that do not
//! mirror each other never meet.
//!
//! ```toml
//! [[path]]
//! peer = "n2"
//! kind = "udp"
//! local = "10.1.6.88"
//! remote = "10.1.6.89"
//! port = 7365               # the same at both ends; default: the cluster's
//! rank = 1                  # order in lists; messages take all paths of high priority
//! ```
//!
//! A *link* over Ethernet leads to whichever nodes are on the wire, and needs no address: its peer is
//! `*`. Its rank is its number there, so it must have the same one on all nodes (as the place of a
//! `link` in LLT's llttab); what each node calls its interface is its own business.
//!
//! ```toml
//! [[path]]
//! peer = "*"
//! kind = "ethernet"
//! name = "qfe0"
//! local = "eth1"
//! ethertype = "0xcafe"      # default: 0x88b5
//! rank = 1                  # 1 to 8
//! priority = "low"          # default: high
//! ```
//!
//! A *disk* leads to all nodes that have it, and is numbered likewise; what each calls it is its own
//! business.
//!
//! ```toml
//! [[path]]
//! peer = "*"
//! kind = "disk"
//! local = "/dev/disk/by-id/shared"
//! rank = 1                  # 1 to 8
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::limits::PATHS_PER_PEER_MAX;
use base::{NetworkId, NodeId};
use toml::de::DeTable;

use super::diagnostic::Diagnostics;
use super::read::{self, Section};
use super::{Cluster, Endpoint, Heartbeat, Kind, Network, Polling, Priority, network};

/// Numbers from here on belong to paths; those of networks are small.
const NUMBERS: u16 = 0x8000;
/// Numbers from here on belong to links over Ethernet.
const LINKS: u16 = 0x4000;
/// Numbers from here on belong to disks.
const DISKS: u16 = 0x2000;
/// The peer of a link: whoever is there.
pub const EVERYBODY: &str = "*";
/// How many links a node can have.
pub const LINKS_MAX: u8 = PATHS_PER_PEER_MAX as u8;
/// Bytes of the file.
const TEXT_SIZE_MAX: usize = 64 << 10;
/// The greatest rank, as LifeKeeper has it.
pub const RANK_MAX: u8 = 99;

/// One half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnPath {
    /// The other node's name.
    pub peer: String,
    /// What it runs over.
    pub over: Over,
    /// Order in lists: 1 is first. For a link, its number on the wire, to [`LINKS_MAX`].
    pub rank: u8,
    /// Of low priority. Serial lines always are.
    pub low: bool,
}

/// What a path runs over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// UDP between two addresses.
    Udp {
        /// Of this node.
        local: IpAddr,
        /// Of the peer.
        remote: IpAddr,
        /// Of both; none: the cluster's.
        port: Option<u16>,
    },
    /// A serial line.
    Serial {
        /// The device here.
        device: String,
        /// Bits per second.
        baud: u32,
    },
    /// A shared disk, to all nodes that have it.
    Disk {
        /// The device here.
        device: String,
    },
    /// Raw Ethernet, to all nodes that are there: a link.
    Ethernet {
        /// The name of the link.
        name: String,
        /// The interface here.
        interface: String,
        /// What its frames are marked with.
        ethertype: u16,
    },
}

impl OwnPath {
    /// What people call it: `10.1.6.88/10.1.6.89`, or the device. One for each pair of addresses.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.over {
            Over::Udp { local, remote, .. } => format!("{local}/{remote}"),
            Over::Serial { device, .. } | Over::Disk { device } => device.clone(),
            Over::Ethernet { name, .. } => name.clone(),
        }
    }

    /// Whether it leads to all nodes, and has a number that all share.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.over, Over::Ethernet { .. } | Over::Disk { .. })
    }

    /// Whether both are the same way for the node that defines them.
    #[must_use]
    pub fn is_same(&self, other: &OwnPath) -> bool {
        self.peer == other.peer && self.name() == other.name()
    }

    /// The network of this one path.
    ///
    /// # Errors
    /// When the peer is not another node of the cluster.
    pub fn network(&self, cluster: &Cluster, local: NodeId) -> Result<Network, String> {
        let unknown = || format!("there is no other node {}", self.peer);
        let mut network = Network {
            ring: false,
            id: NetworkId(0),
            name: self.name(),
            priority: if self.low { Priority::Low } else { Priority::High },
            kind: Kind::Udp,
            heartbeat: Heartbeat::Unicast,
            port: None,
            rank: Some(self.rank),
            polling: Polling::default(),
            parts: Vec::new(),
            endpoints: BTreeMap::new(),
            placing: None,
            devices: BTreeMap::new(),
            gateways: BTreeMap::new(),
            verify_gateways: false,
        };
        if let Over::Ethernet { interface, ethertype, .. } = &self.over {
            network.id = NetworkId(LINKS + u16::from(self.rank) - 1);
            network.kind = Kind::Ethernet { ethertype: *ethertype };
            // What the others call their ends is their own business.
            let end = |node| if node == local { interface.clone() } else { String::new() };
            network.devices = cluster.nodes.iter().map(|node| (node.id, end(node.id))).collect();
            return Ok(network);
        }
        if let Over::Disk { device } = &self.over {
            network.id = NetworkId(DISKS + u16::from(self.rank) - 1);
            network.kind = Kind::Disk;
            network.priority = Priority::Low;
            let end = |node| if node == local { device } else { "the same disk there" };
            let nodes = cluster.nodes.iter();
            network.devices = nodes.map(|node| (node.id, end(node.id).to_owned())).collect();
            return Ok(network);
        }
        let peer = cluster.node(&self.peer).filter(|peer| *peer != local).ok_or_else(unknown)?;
        network.id = self.number(local, peer, cluster.port);
        match &self.over {
            Over::Ethernet { .. } | Over::Disk { .. } => unreachable!("those were above"),
            Over::Udp { local: here, remote: there, port } => {
                network.port = *port;
                for (node, address) in [(local, *here), (peer, *there)] {
                    let prefix = if address.is_ipv4() { 32 } else { 128 };
                    let endpoint = Endpoint::new(address, prefix);
                    network.endpoints.insert(node, endpoint);
                }
            }
            Over::Serial { device, baud } => {
                network.kind = Kind::Serial { baud: *baud, flow: false };
                network.priority = Priority::Low;
                network.devices.insert(local, device.clone());
                // What the peer calls its end is its own business.
                network.devices.insert(peer, "the peer's end".to_owned());
            }
        }
        Ok(network)
    }

    /// The number that both halves find.
    fn number(&self, local: NodeId, peer: NodeId, default: u16) -> NetworkId {
        let mut text = match &self.over {
            Over::Udp { local, remote, port } => {
                let (one, other) = (local.min(remote), local.max(remote));
                format!("udp {one} {other} {}", port.unwrap_or(default))
            }
            Over::Serial { .. } => "serial".to_owned(),
            Over::Ethernet { .. } | Over::Disk { .. } => {
                unreachable!("those are numbered by their rank")
            }
        };
        text += &format!(" {} {}", local.min(peer), local.max(peer));
        // FNV-1a, folded.
        let fold = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let hash = text.bytes().fold(0x811c_9dc5, fold);
        NetworkId(NUMBERS | ((hash ^ hash >> 15) & 0x7fff) as u16)
    }
}

/// The configuration with the networks of these paths, and what cannot be used of them.
#[must_use]
pub fn with_own(mut cluster: Cluster, paths: &[OwnPath], local: NodeId) -> (Cluster, Vec<String>) {
    let mut unusable = Vec::new();
    for path in paths {
        match path.network(&cluster, local).and_then(|network| fits(&cluster, network, local)) {
            Ok(network) => cluster.networks.push(network),
            Err(why) => unusable.push(format!("path {} to {}: {why}", path.name(), path.peer)),
        }
    }
    (cluster, unusable)
}

/// Whether one more network has room beside the others.
///
/// # Errors
/// Why it has none.
pub fn fits(cluster: &Cluster, network: Network, local: NodeId) -> Result<Network, String> {
    if let Some(other) = cluster.network(network.id) {
        // The number of a serial path follows from the pair of nodes alone; of the others, two in
        // 32,768 share one.
        return Err(match (network.kind, other.kind) {
            (Kind::Serial { .. }, Kind::Serial { .. }) => {
                "there is a serial line between these nodes already".to_owned()
            }
            _ => format!("its number is that of {}: use another port or address", other.name),
        });
    }
    // A link leads to several.
    for peer in network.nodes().into_iter().filter(|node| *node != local) {
        let both = |other: &&Network| {
            let there = other.nodes();
            there.contains(peer) && there.contains(local)
        };
        if cluster.networks.iter().filter(both).count() >= PATHS_PER_PEER_MAX {
            let peer = cluster.name_of(peer);
            return Err(format!("there are {PATHS_PER_PEER_MAX} paths to {peer} already"));
        }
    }
    Ok(network)
}

/// The file's text.
#[must_use]
pub fn text(paths: &[OwnPath]) -> String {
    let mut text =
        "# Paths that this node alone defines: `mainstay path create` and `delete` write \
                    this file.\n"
            .to_owned();
    for path in paths {
        text += &format!("\n[[path]]\npeer = \"{}\"\n", path.peer);
        match &path.over {
            Over::Udp { local, remote, port } => {
                text += &format!("kind = \"udp\"\nlocal = \"{local}\"\nremote = \"{remote}\"\n");
                if let Some(port) = port {
                    text += &format!("port = {port}\n");
                }
            }
            Over::Serial { device, baud } => {
                let device = toml_edit::Value::from(device.as_str());
                text += &format!("kind = \"serial\"\nlocal = {device}\nbaud = {baud}\n");
            }
            Over::Disk { device } => {
                let device = toml_edit::Value::from(device.as_str());
                text += &format!("kind = \"disk\"\nlocal = {device}\n");
            }
            Over::Ethernet { name, interface, ethertype } => {
                let interface = toml_edit::Value::from(interface.as_str());
                text += &format!("kind = \"ethernet\"\nname = \"{name}\"\nlocal = {interface}\n");
                text += &format!("ethertype = \"{ethertype:#06x}\"\n");
            }
        }
        text += &format!("rank = {}\n", path.rank);
        if path.low && !matches!(path.over, Over::Serial { .. } | Over::Disk { .. }) {
            text += "priority = \"low\"\n";
        }
    }
    text
}

/// Reads the file.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn parse(text: &str, file: &str) -> Result<Vec<OwnPath>, Box<Diagnostics>> {
    let mut found = Diagnostics::new(file, text);
    if text.len() > TEXT_SIZE_MAX {
        found.error_in_file(format!("the file is larger than {TEXT_SIZE_MAX} bytes"));
        return Err(Box::new(found));
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        match error.span() {
            Some(span) => found.error(span, error.message()),
            None => found.error_in_file(error.message()),
        };
    }
    let mut paths: Vec<OwnPath> = Vec::new();
    if !found.has_errors() {
        let mut root = Section::new("the file", tree.get_ref(), tree.span());
        for section in root.tables("path", "a [[path]]", &mut found) {
            let span = section.span.clone();
            let Some(path) = path(section, &mut found) else { continue };
            if paths.iter().any(|other| other.is_same(&path)) {
                found.error(span.clone(), format!("path {} is defined twice", path.name()));
            }
            let is_same_kind = |other: &OwnPath| {
                std::mem::discriminant(&other.over) == std::mem::discriminant(&path.over)
            };
            let takes = |other: &&OwnPath| is_same_kind(other) && other.rank == path.rank;
            if let Some(other) = paths.iter().find(takes).filter(|_| path.is_shared()) {
                let message = format!("{} and {} have one rank", other.name(), path.name());
                found.error(span, message).help("it is their number on the wire or disk");
            }
            paths.push(path);
        }
        root.finish(&mut found);
    }
    if found.has_errors() { Err(Box::new(found)) } else { Ok(paths) }
}

fn path(mut section: Section<'_>, found: &mut Diagnostics) -> Option<OwnPath> {
    #[derive(Clone, Copy, PartialEq)]
    enum Way {
        Udp,
        Serial,
        Ethernet,
        Disk,
    }
    let words = [
        ("udp", Way::Udp),
        ("serial", Way::Serial),
        ("ethernet", Way::Ethernet),
        ("disk", Way::Disk),
    ];
    let kind = section.text("kind", found);
    let kind =
        kind.map_or(Some(Way::Udp), |written| read::choice(&written, "kind", &words, found))?;
    let is_shared = matches!(kind, Way::Ethernet | Way::Disk);
    section.require("peer", if is_shared { "\"*\"" } else { "\"n2\"" }, found);
    let peer = section.text("peer", found).and_then(|written| match kind {
        Way::Ethernet | Way::Disk if written.value == EVERYBODY => Some(EVERYBODY.to_owned()),
        Way::Ethernet | Way::Disk => {
            found
                .error(written.span, "a path over Ethernet or a disk leads to all nodes")
                .help("write peer = \"*\"");
            None
        }
        Way::Udp | Way::Serial => read::name(&written, "a node", found),
    });
    let example = match kind {
        Way::Udp => "\"10.1.6.88\"",
        Way::Serial => "\"/dev/ttyS0\"",
        Way::Ethernet => "\"eth1\"",
        Way::Disk => "\"/dev/disk/by-id/…\"",
    };
    section.require("local", example, found);
    let over = match kind {
        Way::Udp => udp(&mut section, found),
        Way::Serial => {
            let device = section.text("local", found).map(|written| written.value.to_owned());
            let baud = section.number("baud", 300..=4_000_000, found);
            let baud = baud.map_or(network::BAUD_DEFAULT, |read| read.value as u32);
            device.map(|device| Over::Serial { device, baud })
        }
        Way::Ethernet => ethernet(&mut section, found),
        Way::Disk => {
            let device = section.text("local", found).map(|written| written.value.to_owned());
            device.map(|device| Over::Disk { device })
        }
    };
    let ranks = match kind {
        Way::Ethernet | Way::Disk => {
            section.require("rank", "1", found);
            LINKS_MAX
        }
        Way::Udp | Way::Serial => RANK_MAX,
    };
    let rank = section.number("rank", 1..=u64::from(ranks), found);
    let rank = rank.map_or(1, |read| read.value as u8);
    let low = match kind {
        Way::Serial | Way::Disk => true,
        Way::Udp | Way::Ethernet => {
            let words = [("high", false), ("low", true)];
            let written = section.text("priority", found);
            let low = written.and_then(|written| read::choice(&written, "priority", &words, found));
            low.unwrap_or(false)
        }
    };
    section.finish(found);
    Some(OwnPath { peer: peer?, over: over?, rank, low })
}

fn udp(section: &mut Section<'_>, found: &mut Diagnostics) -> Option<Over> {
    section.require("remote", "\"10.1.6.89\"", found);
    let mut address = |key| {
        let written = section.text(key, found)?;
        let address = written.value.parse::<IpAddr>();
        if address.is_err() {
            found.error(written.span, format!("\"{}\" is no address", written.value));
        }
        address.ok()
    };
    let (local, remote) = (address("local"), address("remote"));
    let port = section.number("port", 1..=65_535, found).map(|read| read.value as u16);
    local.zip(remote).map(|(local, remote)| Over::Udp { local, remote, port })
}

fn ethernet(section: &mut Section<'_>, found: &mut Diagnostics) -> Option<Over> {
    let written = section.text("local", found);
    let interface = written.and_then(|written| network::interface(&written, found));
    let name = match section.text("name", found) {
        Some(written) => read::name(&written, "a link", found),
        None => interface.clone(),
    };
    let written = section.text("ethertype", found);
    let ethertype = match written {
        Some(written) => network::ethertype(&written, found),
        None => Some(network::ETHERTYPE_DEFAULT),
    };
    Some(Over::Ethernet { name: name?, interface: interface?, ethertype: ethertype? })
}

/// What a name, an interface and an EtherType of a link have that they must not.
#[must_use]
pub fn link_error(name: &str, interface: &str, ethertype: u16) -> Option<String> {
    if !network::is_interface_name(interface) {
        return Some(format!("\"{interface}\" is no name of an interface"));
    }
    if !network::is_usable_ethertype(ethertype) {
        return Some(format!("{ethertype:#06x} is no usable EtherType"));
    }
    read::name_error(name).map(|why| format!("\"{name}\" is no name of a link: {why}"))
}

#[cfg(test)]
mod tests;
