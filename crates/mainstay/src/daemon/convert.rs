//! The configuration as people write it, in the form that the core works with.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use base::NodeId;
use engine::{Intent, NodeSpec};

use crate::config::{Cluster, Heartbeat, Kind, Network, Priority, Tie, tie as arbiters};

/// The least time for which all nodes' reports of a network must agree: as long as an inability lasts
/// before anything moves.
const GRACE_MIN: Duration = engine::LASTS_AFTER;

/// The core's form of a configuration, as seen from `local`.
pub(super) fn cluster(cluster: &Cluster, local: NodeId) -> node::Cluster {
    let nodes = cluster.nodes.iter();
    let networks = cluster.networks.iter();
    node::Cluster {
        id: cluster.id,
        timing: cluster.timing,
        seed: cluster.seed,
        tie: tie(&cluster.tie),
        fencing: fencing(cluster),
        networks: networks
            .map(|network| node::NetworkSpec {
                id: network.id,
                medium: network.kind.medium(),
                name: network.name.clone(),
                priority: match network.priority {
                    Priority::High => transport::Priority::High,
                    Priority::Low => transport::Priority::Low,
                },
                heartbeats: heartbeats(network),
                nodes: network.nodes(),
                ring: if network.ring { network.by_address() } else { Vec::new() },
                local: local_end(network, local),
                standby: standby(network, local),
                grace: grace(network),
            })
            .collect(),
        intent: Intent {
            nodes: nodes.map(|node| NodeSpec { id: node.id, name: node.name.clone() }).collect(),
            services: cluster.services.clone(),
            version: cluster.version,
            checksum: cluster.checksum,
            jeopardy: cluster.jeopardy,
        },
        text: cluster.text.clone(),
        shares: shares(cluster, local),
        conflicts: cluster.conflicts.clone(),
        verify: verify(cluster, local),
    }
}

/// Who decides at exactly half.
pub(super) fn tie(tie: &Tie) -> base::Tie {
    match tie {
        Tie::None => base::Tie::None,
        Tie::Manual => base::Tie::Manual,
        Tie::Prefer(node) => base::Tie::Prefer(*node),
        Tie::Arbiters(list) => {
            base::Tie::Arbiters { count: list.len() as u8, name: arbiters::name(list) }
        }
    }
}

/// The ladder of each node that has one.
fn fencing(cluster: &Cluster) -> Vec<node::FenceSpec> {
    let mut specs: Vec<node::FenceSpec> = Vec::new();
    for fence in &cluster.fences {
        if specs.last().is_none_or(|spec| spec.node != fence.node) {
            let policy = cluster.fence_policy;
            specs.push(node::FenceSpec { node: fence.node, policy, levels: Vec::new() });
        }
        let levels = &mut specs.last_mut().expect("one was just pushed").levels;
        if levels.last().is_none_or(|level| level.number != fence.level) {
            levels.push(node::FenceLevel {
                number: fence.level,
                timeout: fence.timeout,
                agents: Vec::new(),
            });
        }
        let level = levels.last_mut().expect("one was just pushed");
        level.timeout = level.timeout.max(fence.timeout);
        // The program alone: where it stands is long.
        let name = fence.agent.rsplit('/').next().unwrap_or(&fence.agent);
        level.agents.push(name.to_owned());
    }
    specs
}

/// What is for all goes to all where a medium carries it.
fn heartbeats(network: &Network) -> transport::Heartbeats {
    match (network.kind, network.heartbeat) {
        (Kind::Ethernet { .. }, _) => transport::Heartbeats::Shared,
        (Kind::Udp, Heartbeat::Multicast { .. } | Heartbeat::Broadcast) => {
            transport::Heartbeats::Shared
        }
        (Kind::Udp | Kind::Disk | Kind::Serial { .. }, _) => transport::Heartbeats::Each,
    }
}

fn local_end(network: &Network, local: NodeId) -> Option<node::LocalEnd> {
    let address = network.endpoints.get(&local);
    let device = network.devices.get(&local);
    match network.kind {
        Kind::Udp => address.map(|endpoint| node::LocalEnd::Address(endpoint.address)),
        Kind::Ethernet { .. } => device.map(|name| node::LocalEnd::Interface(name.clone())),
        Kind::Disk | Kind::Serial { .. } => device.map(|_| node::LocalEnd::Device),
    }
}

/// Two polls, because nodes do not poll in the same instant. Disks and serial lines have no interfaces, and
/// a path that one node alone defines is nobody else's.
fn grace(network: &Network) -> Option<Duration> {
    let is_shared =
        network.rank.is_none() && matches!(network.kind, Kind::Udp | Kind::Ethernet { .. });
    is_shared.then(|| GRACE_MIN.max(network.polling.interval * 2))
}

/// The primary interface and what stands by for it.
fn standby(network: &Network, local: NodeId) -> Option<node::Standby> {
    let end = network.endpoints.get(&local)?;
    let (primary, standby) = (end.interface.as_ref()?, end.standby.as_ref()?);
    let cards = core::iter::once(primary).chain(&standby.interfaces).cloned().collect();
    Some(node::Standby { cards, auto_return: standby.auto_return })
}

/// How addresses are shared out over interfaces of the local node.
fn shares(cluster: &Cluster, local: NodeId) -> Vec<network::Share> {
    // Heartbeats go over these; a boot address that has an alias for them is none.
    let ends = cluster.networks.iter().filter_map(|network| network.endpoints.get(&local));
    let spared: Vec<_> = ends.map(|end| end.address).collect();
    let shares = cluster.networks.iter().filter_map(|network| {
        let placing = network.placing.as_ref()?;
        let end = network.endpoints.get(&local)?;
        let also = placing.also.get(&local).into_iter().flatten();
        let standbys = end.standby.iter().flat_map(|standby| &standby.interfaces);
        let shared = cluster.shared.iter().filter(|(_, shared)| shared.network == network.id);
        Some(network::Share {
            net: network.name.clone(),
            cards: end.interface.iter().chain(also).cloned().collect(),
            standbys: standbys.cloned().collect(),
            distribution: placing.distribution,
            takeover: placing.takeover,
            source: placing.source,
            rebalances: placing.rebalances,
            persistent: placing.persistent.get(&local).cloned().unwrap_or_default(),
            hardware: shared
                .clone()
                .filter_map(|(address, shared)| Some((*address, shared.hardware?)))
                .collect(),
            spared: spared.clone(),
            addresses: shared.map(|(address, shared)| (*address, shared.distribution)).collect(),
        })
    });
    shares.collect()
}

/// Of which service addresses the local node asks gateways whether they know where they are.
fn verify(cluster: &Cluster, local: NodeId) -> BTreeMap<IpAddr, network::Verify> {
    let mut verify = BTreeMap::new();
    for network in &cluster.networks {
        let (Some(end), Some(gateways)) =
            (network.endpoints.get(&local), network.gateways.get(&local))
        else {
            continue;
        };
        for address in cluster.verified(network, local) {
            let asked = network::Verify { gateways: gateways.clone(), own: end.address };
            verify.entry(address).or_insert(asked);
        }
    }
    verify
}

/// The core's picture of an interface.
pub(super) fn interface(interface: os::netlink::Interface) -> network::Interface {
    let addresses = interface.addresses.into_iter();
    network::Interface {
        index: interface.index,
        name: interface.name,
        up: interface.up,
        carrier: interface.carrier,
        condition: network::Condition::Unpolled,
        mac: if interface.loopback { None } else { interface.mac },
        addresses: addresses
            .map(|seen| network::AddressSeen {
                address: seen.address,
                prefix: seen.prefix,
                lifetime: seen.lifetime,
            })
            .collect(),
    }
}
