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

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::limits::PATHS_PER_PEER_MAX;
use base::{NetworkId, NodeId};
use toml::de::DeTable;

use super::diagnostic::Diagnostics;
use super::read::{self, Section};
use super::{Cluster, Endpoint, Kind, Network, Priority};

/// Numbers from here on belong to paths; those of networks are small.
const NUMBERS: u16 = 0x8000;
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
    /// Order in lists: 1 is first.
    pub rank: u8,
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
}

impl OwnPath {
    /// What people call it: `10.1.6.88/10.1.6.89`, or the device. One for each pair of addresses.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.over {
            Over::Udp { local, remote, .. } => format!("{local}/{remote}"),
            Over::Serial { device, .. } => device.clone(),
        }
    }

    /// The network of this one path.
    ///
    /// # Errors
    /// When the peer is not another node of the cluster.
    pub fn network(&self, cluster: &Cluster, local: NodeId) -> Result<Network, String> {
        let unknown = || format!("there is no other node {}", self.peer);
        let peer = cluster.node(&self.peer).filter(|peer| *peer != local).ok_or_else(unknown)?;
        let mut network = Network {
            id: self.number(local, peer, cluster.port),
            name: self.name(),
            priority: Priority::High,
            kind: Kind::Udp,
            port: None,
            rank: Some(self.rank),
            endpoints: BTreeMap::new(),
            devices: BTreeMap::new(),
        };
        match &self.over {
            Over::Udp { local: here, remote: there, port } => {
                network.port = *port;
                for (node, address) in [(local, *here), (peer, *there)] {
                    let prefix = if address.is_ipv4() { 32 } else { 128 };
                    let endpoint = Endpoint { address, prefix, interface: None };
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
    let nodes = network.nodes();
    let both = |other: &&Network| {
        let there = other.nodes();
        nodes.into_iter().filter(|node| *node != local).all(|node| there.contains(node))
            && there.contains(local)
    };
    if cluster.networks.iter().filter(both).count() >= PATHS_PER_PEER_MAX {
        return Err(format!("there are {PATHS_PER_PEER_MAX} paths to that node already"));
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
        }
        text += &format!("rank = {}\n", path.rank);
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
            let is_same = |other: &OwnPath| other.peer == path.peer && other.name() == path.name();
            if paths.iter().any(is_same) {
                found.error(span, format!("path {} is defined twice", path.name()));
            }
            paths.push(path);
        }
        root.finish(&mut found);
    }
    if found.has_errors() { Err(Box::new(found)) } else { Ok(paths) }
}

fn path(mut section: Section<'_>, found: &mut Diagnostics) -> Option<OwnPath> {
    section.require("peer", "\"n2\"", found);
    let peer =
        section.text("peer", found).and_then(|written| read::name(&written, "a node", found));
    let words = [("udp", true), ("serial", false)];
    let kind = section.text("kind", found);
    let is_udp =
        kind.map_or(Some(true), |written| read::choice(&written, "kind", &words, found))?;
    let example = if is_udp { "\"10.1.6.88\"" } else { "\"/dev/ttyS0\"" };
    section.require("local", example, found);
    let over = if is_udp {
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
    } else {
        let device = section.text("local", found).map(|written| written.value.to_owned());
        let baud = section.number("baud", 300..=4_000_000, found);
        let baud = baud.map_or(super::network::BAUD_DEFAULT, |read| read.value as u32);
        device.map(|device| Over::Serial { device, baud })
    };
    let rank = section.number("rank", 1..=u64::from(RANK_MAX), found);
    let rank = rank.map_or(1, |read| read.value as u8);
    section.finish(found);
    Some(OwnPath { peer: peer?, over: over?, rank })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(peer: &str, local: &str, remote: &str, rank: u8) -> OwnPath {
        let address = |text: &str| text.parse().expect("an address");
        let over = Over::Udp { local: address(local), remote: address(remote), port: Some(7365) };
        OwnPath { peer: peer.to_owned(), over, rank }
    }

    #[test]
    fn what_is_written_is_read() {
        let over = Over::Serial { device: "/dev/tty\"S0".to_owned(), baud: 9600 };
        let paths = [
            udp("n2", "10.1.6.88", "10.1.6.89", 1),
            udp("n3", "fd00::1", "fd00::2", 2),
            OwnPath { peer: "n2".to_owned(), over, rank: 3 },
        ];
        assert_eq!(parse(&text(&paths), "paths.toml").expect("it is ours"), paths);
        assert_eq!(parse("", "paths.toml").expect("an empty file has no paths"), []);
    }

    #[test]
    fn both_halves_find_the_same_number_and_others_another() {
        let (here, there) = (NodeId(1), NodeId(2));
        let one = udp("n2", "10.1.6.88", "10.1.6.89", 1).number(here, there, 7420);
        let other = udp("n1", "10.1.6.89", "10.1.6.88", 5).number(there, here, 7420);
        assert_eq!(one, other);
        assert!(one.0 >= NUMBERS);
        assert_ne!(one, udp("n2", "10.1.6.88", "10.1.6.90", 1).number(here, there, 7420));
        let over = Over::Udp {
            local: "10.1.6.88".parse().expect("an address"),
            remote: "10.1.6.89".parse().expect("an address"),
            port: None,
        };
        let implied = OwnPath { peer: "n2".to_owned(), over, rank: 1 };
        assert_eq!(implied.number(here, there, 7365), one, "the cluster's port, written or not");
        assert_ne!(one, udp("n3", "10.1.6.88", "10.1.6.89", 1).number(here, NodeId(3), 7420));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let text =
            "[[path]]\npeer = \"n2\"\nlocal = \"10.1\"\nremote = \"10.1.6.89\"\ncolour = 1\n";
        let said = parse(text, "paths.toml").expect_err("two mistakes").render(false);
        assert!(said.contains("paths.toml:3:9") && said.contains("is no address"), "{said}");
        assert!(said.contains("no key `colour`"), "{said}");
    }
}
