//! What a new node does to the configuration: pure, the same for `join` and for tests.

use std::net::IpAddr;

use base::NodeId;
use base::limits::NODES_MAX;

use super::wire::{Ask, AskAddress};
use crate::config::{self, Cluster, Network, edit, network::parse_address};

/// Addresses that one node may bring.
pub const ADDRESSES_MAX: usize = base::limits::NETWORKS_MAX;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Put this configuration in force.
    Change {
        /// The new configuration.
        cluster: Box<Cluster>,
        /// The node's id in it.
        id: NodeId,
    },
    /// The node is configured already, with exactly these addresses: an earlier join was cut short.
    AlreadyThere {
        /// The node's id.
        id: NodeId,
    },
}

/// Why the node can not be added, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Why.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

fn refuse<T>(message: impl Into<String>, help: &str) -> Result<T, Refused> {
    Err(Refused { message: message.into(), help: Some(help.to_owned()) })
}

/// How the configuration changes when this node joins.
///
/// # Errors
/// When it can not be added as asked.
pub fn plan(cluster: &Cluster, ask: &Ask) -> Result<Plan, Refused> {
    if ask.addresses.len() > ADDRESSES_MAX {
        return refuse("too many addresses are given", "give one for each network");
    }
    let mut addresses: Vec<(String, String)> = Vec::new();
    for address in &ask.addresses {
        let network = network_of(cluster, address)?;
        if addresses.iter().any(|(name, _)| name == network) {
            return refuse(
                format!("two addresses are given for network {network}"),
                "give one for each network",
            );
        }
        addresses.push((network.to_owned(), address.address.clone()));
    }
    if addresses.is_empty() && !cluster.networks.is_empty() {
        return refuse(
            "no address is given",
            "name the new node's own address in each network: --address 10.77.0.3/24",
        );
    }
    if let Some(id) = cluster.node(&ask.node) {
        return if has_exactly(cluster, id, &addresses) {
            Ok(Plan::AlreadyThere { id })
        } else {
            refuse(
                format!("there is a node {} with other addresses already", ask.node),
                "choose another --node-name, or remove the old one with `mainstay node remove`",
            )
        };
    }
    let used = |id: u8| cluster.nodes.iter().any(|node| node.id.0 == id);
    let Some(id) = (1..NODES_MAX as u8).find(|id| !used(*id)) else {
        return refuse(
            format!("the cluster has {NODES_MAX} nodes, and that is all it can have"),
            "remove one that is no longer needed with `mainstay node remove`",
        );
    };
    let text = edit::add_node(&cluster.text, &ask.node, id, &addresses).map_err(|error| {
        Refused { message: format!("the configuration can not be changed: {error}"), help: None }
    })?;
    match config::parse(&text, "cluster.toml", cluster.version + 1) {
        Ok((cluster, _)) => Ok(Plan::Change { cluster: Box::new(cluster), id: NodeId(id) }),
        Err(found) => {
            let report = found.report();
            let first = report
                .diagnostics
                .iter()
                .find(|finding| finding.severity == api::v1::Severity::Error);
            let first = first.expect("what is refused has an error");
            Err(Refused {
                message: match first.label.as_str() {
                    "" => first.message.clone(),
                    label => format!("{}: {label}", first.message),
                },
                help: first.help.first().cloned(),
            })
        }
    }
}

/// The networks as they are written: a global one by its parts.
fn written(cluster: &Cluster) -> impl Iterator<Item = (&str, &Network, base::NodeSet)> {
    cluster
        .networks
        .iter()
        .flat_map(|network| network.written().map(move |(name, nodes)| (name, network, nodes)))
}

fn network_of<'a>(cluster: &'a Cluster, asked: &AskAddress) -> Result<&'a str, Refused> {
    let (address, prefix) =
        parse_address(&asked.address).map_err(|(message, help)| Refused { message, help })?;
    if let Some(name) = &asked.network {
        let named = written(cluster).find(|(known, ..)| known == name);
        return named.map(|(name, ..)| name).ok_or_else(|| {
            let names: Vec<&str> = written(cluster).map(|(name, ..)| name).collect();
            Refused {
                message: format!("there is no network {name}"),
                help: Some(format!("the cluster has: {}", names.join(", "))),
            }
        });
    }
    let mut fitting = written(cluster).filter(|(_, network, nodes)| {
        let ends = network.endpoints.iter().filter(|(node, _)| nodes.contains(**node));
        ends.filter_map(|(_, endpoint)| endpoint.written())
            .any(|(there, bits)| bits == prefix && same_subnet(there, address, prefix))
    });
    match (fitting.next(), fitting.next()) {
        (Some((network, ..)), None) => Ok(network),
        (Some(first), Some(second)) => refuse(
            format!("{} fits networks {} and {}", asked.address, first.0, second.0),
            "say which: --address net0=10.77.0.3/24",
        ),
        (None, _) => refuse(
            format!("{} is in no network of the cluster", asked.address),
            "use an address in the subnet of the others, or say which network it is for: \
             --address net0=10.77.0.3/24",
        ),
    }
}

fn same_subnet(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let differ = |one: u128, other: u128, bits: u32| {
        let behind = bits - u32::from(prefix).min(bits);
        (one ^ other).checked_shr(behind).unwrap_or(0) != 0
    };
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            !differ(u32::from(one).into(), u32::from(other).into(), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => !differ(one.into(), other.into(), 128),
        _ => false,
    }
}

fn has_exactly(cluster: &Cluster, id: NodeId, addresses: &[(String, String)]) -> bool {
    written(cluster).all(|(name, network, nodes)| {
        let asked = addresses.iter().find(|(asked, _)| asked == name);
        let asked = asked.and_then(|(_, address)| parse_address(address).ok());
        let there = network.endpoints.get(&id).filter(|_| nodes.contains(id));
        asked == there.and_then(config::Endpoint::written)
    })
}
