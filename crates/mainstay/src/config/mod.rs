//! The configuration: one TOML file, the same on all nodes.
//!
//! [`parse`] reads the text of `etc/mainstay/cluster.toml` and either gives a [`Cluster`] or says
//! what is wrong, all of it at once, each finding with its place and a way out. Nothing is guessed:
//! a key that is not known is an error, since a misspelt key that is silently skipped is a setting
//! that its author believes to be in force.
//!
//! How it works: the text becomes a tree whose every key and value knows where it stands
//! (`toml`'s spanned tables). A [`reader`](read) takes keys out of a table one by one and turns
//! what is left over into errors. Findings are collected in one list ([`diagnostic`]) and sorted by
//! place.

pub mod diagnostic;
pub mod duration;
pub mod edit;
mod fence;
pub mod files;
mod gateway;
mod global;
mod heartbeat;
pub mod hook;
pub mod hosts;
mod later;
pub mod network;
pub mod own;
mod placing;
mod polling;
mod read;
mod replacement;
mod reservation;
mod section;
pub mod service;
mod standby;
mod subnets;
pub mod suggest;
pub mod tie;
mod watchdog;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ::network::OnConflict;
use base::{Medium, NetworkId, NodeId, NodeSet, Preset, Timing};

pub use diagnostic::{Diagnostics, Finding};
pub use hook::Hook;
pub use later::later;
pub(crate) use network::subnet;
pub use placing::{Placing, Shared};
pub use polling::Polling;
pub(crate) use read::name_error;
pub use section::{TEXT_SIZE_MAX, parse};
pub use subnets::SERVICE_ADDRESSES_MAX;
pub use tie::Tie;
pub use watchdog::Watchdog;

/// The port that nodes talk on unless the configuration says otherwise.
pub const PORT_DEFAULT: u16 = 7420;

/// A whole configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Name of the cluster.
    pub name: String,
    /// Number that all datagrams carry; not 0.
    pub id: u32,
    /// The times in force: the preset's, with the overrides.
    pub timing: Timing,
    /// The preset that they started from.
    pub preset: Preset,
    /// UDP port of the paths and TCP port for joining.
    pub port: u16,
    /// How many nodes must be in contact to form the first view by themselves.
    pub seed: usize,
    /// Who decides when exactly half of the last view is left.
    pub tie: Tie,
    /// The nodes, in order of id.
    pub nodes: Vec<Node>,
    /// The networks, in the file's order.
    pub networks: Vec<Network>,
    /// What is done with a machine that was turned off.
    pub fence_policy: node::FencePolicy,
    /// How often each node asks the fence agents of the others whether they answer; none: never by itself.
    pub fence_verify: Option<Duration>,
    /// What becomes of the services of a node that was lost with its last path.
    pub jeopardy: Option<engine::Jeopardy>,
    /// How machines are turned off, in order of node and level.
    pub fences: Vec<Fence>,
    /// The nodes that have a watchdog, and which.
    pub watchdogs: BTreeMap<NodeId, Watchdog>,
    /// The services, in the file's order.
    pub services: Vec<engine::Service>,
    /// The service addresses of networks that share them out over interfaces.
    pub shared: BTreeMap<IpAddr, Shared>,
    /// What is run before and after events of networks, in the file's order.
    pub hooks: Vec<Hook>,
    /// What is done about conflicts of service addresses, where it is not to defend them.
    pub conflicts: BTreeMap<IpAddr, OnConflict>,
    /// The text that all this was read from.
    pub text: String,
    /// Version of the configuration: not in the text, grows with each change.
    pub version: u64,
    /// First 8 bytes of the SHA-256 of the text, big-endian.
    pub checksum: u64,
}

impl Cluster {
    /// The id of the node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().find(|node| node.name == name).map(|node| node.id)
    }

    /// The network of that number.
    #[must_use]
    pub fn network(&self, id: NetworkId) -> Option<&Network> {
        self.networks.iter().find(|network| network.id == id)
    }

    /// The agents of a node at a level, in their order.
    pub fn fences_at(&self, node: NodeId, level: u8) -> impl Iterator<Item = &Fence> {
        self.fences.iter().filter(move |fence| (fence.node, fence.level) == (node, level))
    }

    /// All service addresses.
    pub fn service_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.services.iter().flat_map(addresses_of)
    }

    /// All addresses that a node must not take for its own: other nodes' and services'.
    #[must_use]
    pub fn foreign_addresses(&self, local: NodeId) -> BTreeSet<IpAddr> {
        let mut foreign: BTreeSet<IpAddr> = self.service_addresses().collect();
        for network in &self.networks {
            let others = network.endpoints.iter().filter(|(node, _)| **node != local);
            for (_, end) in others {
                foreign.extend(end.has_address().then_some(end.address));
                foreign.extend(end.written().map(|(address, _)| address));
            }
            let persistent = network.placing.iter().flat_map(|placing| &placing.persistent);
            let others = persistent.filter(|(node, _)| **node != local);
            foreign.extend(others.flat_map(|(_, own)| own).map(|(address, _)| *address));
        }
        foreign
    }

    /// The name of that node; `#3` for one that is not configured.
    #[must_use]
    pub fn name_of(&self, id: NodeId) -> String {
        match self.nodes.iter().find(|node| node.id == id) {
            Some(node) => node.name.clone(),
            None => id.to_string(),
        }
    }
}

/// The addresses of one service.
pub fn addresses_of(service: &engine::Service) -> impl Iterator<Item = IpAddr> + '_ {
    service.resources.iter().filter_map(|resource| match &resource.kind {
        engine::ResourceKind::Address { address, .. } => Some(*address),
        engine::ResourceKind::Process { .. }
        | engine::ResourceKind::Mount { .. }
        | engine::ResourceKind::Reservation { .. } => None,
    })
}

/// One agent that can turn off the machine of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Whose machine.
    pub node: NodeId,
    /// When it is tried; all agents of one level must succeed.
    pub level: u8,
    /// The program: a name, or a whole path.
    pub agent: String,
    /// How long its level may take; the longest of a level counts.
    pub timeout: Duration,
    /// What it is given besides the action.
    pub options: BTreeMap<String, String>,
}

/// A configured node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its name.
    pub name: String,
}

/// A network: the paths between all pairs of nodes that have an end on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The number that its frames carry; stays the same while the configuration changes.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// What its paths are used for.
    pub priority: Priority,
    /// Whether each node watches its neighbours by address only, its hub and the hub's deputy.
    pub ring: bool,
    /// What it is made of.
    pub kind: Kind,
    /// To whom its heartbeats go, for [`Kind::Udp`].
    pub heartbeat: Heartbeat,
    /// Its UDP port; none: the cluster's.
    pub port: Option<u16>,
    /// For a path that this node alone defines: its order among them.
    pub rank: Option<u8>,
    /// How its interfaces are polled.
    pub polling: Polling,
    /// For a global network: the networks that it consists of.
    pub parts: Vec<Part>,
    /// Each node's address, for [`Kind::Udp`].
    pub endpoints: BTreeMap<NodeId, Endpoint>,
    /// How its service addresses are shared out, where it says so.
    pub placing: Option<Placing>,
    /// Each node's interface, disk or terminal, for the other kinds.
    pub devices: BTreeMap<NodeId, String>,
    /// What a node asks there to see whether it is cut off, for [`Kind::Udp`].
    pub gateways: BTreeMap<NodeId, Vec<IpAddr>>,
    /// Whether they are asked if they have learned where a service address has gone.
    pub verify_gateways: bool,
}

/// A network that is monitored as a part of a global one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// The nodes that have their end there.
    pub nodes: NodeSet,
}

/// What a network is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// UDP datagrams between addresses.
    #[default]
    Udp,
    /// Raw Ethernet frames of this type between interfaces.
    Ethernet {
        /// The EtherType, 0x0600 or above.
        ethertype: u16,
    },
    /// Blocks of a disk or file that all nodes share.
    Disk,
    /// A serial line between two nodes.
    Serial {
        /// Bits per second.
        baud: u32,
        /// Whether both ends stop each other by RTS and CTS.
        flow: bool,
    },
}

/// To whom the heartbeats of a network of kind `udp` go. On raw Ethernet they go to all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heartbeat {
    /// One to each node.
    #[default]
    Unicast,
    /// One to a group that all nodes have joined.
    Multicast {
        /// None: one that follows from the cluster's number.
        group: Option<IpAddr>,
        /// None: the network's.
        port: Option<u16>,
    },
    /// One to the whole IPv4 subnet.
    Broadcast,
}

impl Kind {
    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Udp => "udp",
            Kind::Ethernet { .. } => "ethernet",
            Kind::Disk => "disk",
            Kind::Serial { .. } => "serial",
        }
    }

    /// What times depend on.
    #[must_use]
    pub const fn medium(self) -> Medium {
        match self {
            Kind::Udp | Kind::Ethernet { .. } => Medium::Network,
            Kind::Disk => Medium::Disk,
            Kind::Serial { .. } => Medium::Serial,
        }
    }
}

impl Network {
    /// The nodes that have an end on it.
    #[must_use]
    pub fn nodes(&self) -> NodeSet {
        self.endpoints.keys().chain(self.devices.keys()).copied().collect()
    }

    /// Its nodes in the order of their addresses; of their ids where names stand for addresses, since
    /// the order must be the same on all nodes, whatever their hosts files say.
    #[must_use]
    pub fn by_address(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self.endpoints.keys().copied().collect();
        if self.endpoints.values().all(|endpoint| endpoint.host.is_none()) {
            nodes.sort_by_key(|node| self.endpoints[node].address);
        }
        nodes
    }

    /// The networks that addresses are written in: itself, or its parts.
    pub fn written(&self) -> impl Iterator<Item = (&str, NodeSet)> {
        let parts = self.parts.iter().map(|part| (part.name.as_str(), part.nodes));
        parts.chain(self.parts.is_empty().then(|| (self.name.as_str(), self.nodes())))
    }

    /// A node's end for people: address with port, interface, device.
    #[must_use]
    pub fn end(&self, node: NodeId, port: u16) -> Option<String> {
        let port = self.port.unwrap_or(port);
        let address = |endpoint: &Endpoint| match &endpoint.host {
            Some(host) if endpoint.address.is_unspecified() => {
                format!("{} (no address)", host.name)
            }
            _ => SocketAddr::new(endpoint.address, port).to_string(),
        };
        let endpoint = self.endpoints.get(&node).map(address);
        endpoint.or_else(|| self.devices.get(&node).cloned())
    }
}

/// What the paths of a network are used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Data and heartbeats.
    #[default]
    High,
    /// Half the heartbeats; data only when no high path is left.
    Low,
}

/// A node's end of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The node's own, stationary address.
    pub address: IpAddr,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    /// The interface that is meant; None for whichever carries the address.
    pub interface: Option<String>,
    /// It is written as a host name: then the address is unspecified until the hosts file was read.
    pub host: Option<Host>,
    /// It is an alias that this program adds to the interface, beside what is there already.
    pub alias: Option<Alias>,
    /// What takes over from the interface.
    pub standby: Option<Standby>,
}

/// Interfaces without addresses, on the same wire as the one that has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// Their names, in the order in which they are tried.
    pub interfaces: Vec<String>,
    /// Whether the addresses go back by themselves when the primary works again.
    pub auto_return: bool,
}

impl Endpoint {
    /// An address that is on some interface.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Endpoint {
        Endpoint { address, prefix, interface: None, host: None, alias: None, standby: None }
    }

    /// The interface that a socket is bound to, if to one: not where the address may move.
    #[must_use]
    pub fn bound_to(&self) -> Option<&str> {
        self.interface.as_deref().filter(|_| self.standby.is_none())
    }

    /// Whether it is known where it is.
    #[must_use]
    pub fn has_address(&self) -> bool {
        !self.address.is_unspecified()
    }

    /// The address that an administrator gave the node, where one is written.
    #[must_use]
    pub fn written(&self) -> Option<(IpAddr, u8)> {
        match &self.alias {
            Some(alias) => alias.boot,
            None => Some((self.address, self.prefix)),
        }
    }
}

/// A name in a hosts file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The name.
    pub name: String,
    /// Why it has no usable address.
    pub trouble: Option<hosts::NameError>,
}

/// The address of an interface that carries an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The address that the interface has anyway; none where the interface is named.
    pub boot: Option<(IpAddr, u8)>,
}

/// First 8 bytes of the SHA-256 of a configuration's text.
#[must_use]
pub fn checksum(text: &str) -> u64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    let first = digest.as_ref()[..8].try_into().expect("SHA-256 has 32 bytes");
    u64::from_be_bytes(first)
}

/// A checksum as the API writes it: 16 hexadecimal digits.
#[must_use]
pub fn checksum_text(checksum: u64) -> String {
    format!("{checksum:016x}")
}

#[cfg(test)]
mod tests;
