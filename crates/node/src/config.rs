//! What a node is told when it is born, and the configuration that it shares with the others.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use base::{Incarnation, Medium, Member, NetworkId, NodeId, NodeSet, Tie, Timing, View};
use engine::{Found, Intent, ResourceKind, Service};
use transport::{Heartbeats, PathConfig, PeerConfig, Priority};

use crate::fencing::FenceSpec;

/// The shared configuration, in the neutral form that the core works with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The number that all datagrams carry.
    pub id: u32,
    /// The times in force.
    pub timing: Timing,
    /// How many nodes in contact form the first view.
    pub seed: usize,
    /// Who decides at exactly half.
    pub tie: Tie,
    /// The networks.
    pub networks: Vec<NetworkSpec>,
    /// The nodes whose machines can be turned off from outside, each once.
    pub fencing: Vec<FenceSpec>,
    /// Nodes and services.
    pub intent: Intent,
    /// The file that all this was read from.
    pub text: String,
    /// How service addresses are shared out over interfaces of the local node.
    pub shares: Vec<network::Share>,
    /// What is done about conflicts of service addresses, where it is not to defend them.
    pub conflicts: BTreeMap<IpAddr, network::OnConflict>,
    /// The service addresses of which gateways are asked whether they have learned where they are.
    pub verify: BTreeMap<IpAddr, network::Verify>,
}

/// A network as the core sees it: who is on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Its number, which stays the same while the configuration changes.
    pub id: NetworkId,
    /// What people call it.
    pub name: String,
    /// What it is made of.
    pub medium: Medium,
    /// What its paths are used for.
    pub priority: Priority,
    /// To whom heartbeats go.
    pub heartbeats: Heartbeats,
    /// The nodes that have an end on it.
    pub nodes: NodeSet,
    /// When it is monitored as a ring: its nodes in the order of the ring. Empty for a mesh.
    pub ring: Vec<NodeId>,
    /// Where the local node is connected to it.
    pub local: Option<LocalEnd>,
    /// How long all nodes' reports of it must agree before anybody acts on them; none where nothing is
    /// reported.
    pub grace: Option<Duration>,
    /// Interfaces of the local node that may take over from each other there.
    pub standby: Option<Standby>,
}

/// Interfaces of the local node in a network, of which one has its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// Their names: the primary, then the standbys in the order in which they are tried.
    pub cards: Vec<String>,
    /// Whether the addresses go back by themselves when the primary works again.
    pub auto_return: bool,
}

impl NetworkSpec {
    /// How many steps up the ring `to` is from `from`, where there is a ring.
    fn step(&self, from: NodeId, to: NodeId) -> Option<u8> {
        let place = |node| self.ring.iter().position(|other| *other == node);
        let (from, to) = (place(from)?, place(to)?);
        let steps = (to + self.ring.len() - from) % self.ring.len();
        Some(u8::try_from(steps).expect("NODES_MAX fits"))
    }
}

/// Where this node is connected to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalEnd {
    /// At the interface that carries this address.
    Address(IpAddr),
    /// At the interface of this name.
    Interface(String),
    /// At a device that has no link to watch.
    Device,
}

impl Cluster {
    /// All configured nodes.
    #[must_use]
    pub fn nodes(&self) -> NodeSet {
        self.intent.nodes.iter().map(|node| node.id).collect()
    }

    /// What people call a node.
    #[must_use]
    pub fn name(&self, id: NodeId) -> String {
        let node = self.intent.nodes.iter().find(|node| node.id == id);
        node.map_or_else(|| id.to_string(), |node| node.name.clone())
    }

    /// The network of that number.
    #[must_use]
    pub fn network(&self, id: NetworkId) -> Option<&NetworkSpec> {
        self.networks.iter().find(|network| network.id == id)
    }

    /// The local node's interfaces that share the service addresses of a network.
    pub fn sharing(&self, network: &NetworkSpec) -> impl Iterator<Item = &String> {
        let shares = self.shares.iter().filter(|share| share.net == network.name);
        shares.flat_map(|share| &share.cards)
    }

    /// What people call a network.
    #[must_use]
    pub fn network_name(&self, id: NetworkId) -> String {
        let network = self.network(id);
        network.map_or_else(|| format!("number {}", id.0), |network| network.name.clone())
    }

    /// The same text with node numbers (`#3`) replaced by names.
    #[must_use]
    pub fn named(&self, text: &str) -> String {
        let mut named = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('#') {
            let (before, after) = rest.split_at(at);
            named.push_str(before);
            let digits = after[1..].bytes().take_while(u8::is_ascii_digit).count();
            match after[1..=digits].parse() {
                Ok(id) => named.push_str(&self.name(NodeId(id))),
                Err(_) => named.push_str(&after[..=digits]),
            }
            rest = &after[1 + digits..];
        }
        named.push_str(rest);
        named
    }

    /// The peers of `local` and the paths to them.
    #[must_use]
    pub fn peers(&self, local: NodeId) -> Vec<PeerConfig> {
        let others = self.nodes().into_iter().filter(|node| *node != local);
        others
            .map(|node| PeerConfig {
                node,
                paths: (self.networks.iter())
                    .filter(|network| network.nodes.contains(node) && network.nodes.contains(local))
                    .map(|network| PathConfig {
                        network: network.id,
                        medium: network.medium,
                        priority: network.priority,
                        ring: network.step(local, node),
                        heartbeats: network.heartbeats,
                    })
                    .collect(),
            })
            .collect()
    }

    /// All service addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.addresses_of(|_| true)
    }

    /// Service addresses that no standby interface may carry.
    #[must_use]
    pub fn fixed_addresses(&self) -> Vec<IpAddr> {
        self.addresses_of(|service| service.is_fixed)
    }

    fn addresses_of(&self, is_meant: impl Fn(&Service) -> bool) -> Vec<IpAddr> {
        let services = self.intent.services.iter().filter(|service| is_meant(service));
        let resources = services.flat_map(|service| &service.resources);
        resources
            .filter_map(|resource| match &resource.kind {
                ResourceKind::Address { address, .. } => Some(*address),
                ResourceKind::Process { .. }
                | ResourceKind::Mount { .. }
                | ResourceKind::Reservation { .. } => None,
            })
            .collect()
    }

    /// The networks in which the local node has standby interfaces.
    #[must_use]
    pub fn nets(&self) -> Vec<network::Net> {
        let nets = self.networks.iter().filter_map(|network| {
            let Standby { cards, auto_return } = network.standby.clone()?;
            Some(network::Net { name: network.name.clone(), cards, auto_return })
        });
        nets.collect()
    }
}

/// What a node is told when its process starts.
#[derive(Clone)]
pub struct Birth {
    /// Which node, and which life. The driver has made the incarnation durable already.
    pub local: Member,
    /// The shared configuration.
    pub cluster: Cluster,
    /// The cluster keys, two slots.
    pub keys: [Option<[u8; 32]>; 2],
    /// Random for each process: sessions are derived from it.
    pub entropy: [u8; 16],
    /// Seed of everything in the core that is drawn by lot.
    pub seed: u64,
    /// The newest view that was recorded.
    pub record: Option<View>,
    /// What was found running here, watched by the guard.
    pub found: Vec<Found>,
    /// What an earlier life took from interfaces and did not give back, by their numbers.
    pub taken: BTreeMap<u32, network::Taken>,
    /// The guard has restarted this daemon after a crash.
    pub certified: bool,
}

impl Birth {
    /// The session of this incarnation: never used twice, because neither the entropy nor an
    /// incarnation is.
    pub(crate) fn session(&self, incarnation: Incarnation) -> [u8; 16] {
        let mut session = self.entropy;
        for (byte, other) in session.iter_mut().zip(incarnation.0.to_be_bytes()) {
            *byte ^= other;
        }
        session
    }
}
