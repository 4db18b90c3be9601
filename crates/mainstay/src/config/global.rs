//! Networks that are more than they are written as: several that are monitored as one, and heartbeats
//! over addresses of their own.
//!
//! **Global networks.** Nodes in different subnets with routers between them can watch each other as
//! if they were on one network: each `[[network]]` that names the same `global` is a part of it, and
//! what is monitored is the whole. Only UDP crosses routers, so only it can be global.
//!
//! **Aliases.** To tell one interface from another, each needs a subnet of its own, which the
//! addresses that administrators gave often do not have. With `heartbeat_alias = "10.200.0.0/16"`
//! heartbeats leave those alone: the network's number and the node's id make an address from the
//! range, which the daemon adds to the interface and takes away again.
//!
//! ```text
//!   IPv4   base/P  | network number (24 - P bits) | node id + 1 (8 bits)     subnet /24
//!   IPv6   base/P  | network number (64 - P bits) | node id + 1 (64 bits)    subnet /64
//! ```
//!
//! All nodes find the same addresses without a word between them. The range must be nobody else's.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use base::{NetworkId, NodeId};

use super::diagnostic::Diagnostics;
use super::network::{Claimed, subnet};
use super::read::{Placed, Span};
use super::section::Names;
use super::{Alias, Endpoint, Kind, Network, Part};

/// Bits of the subnet that one network gets.
const SUBNET_V4: u8 = 24;
const SUBNET_V6: u8 = 64;

/// A range that addresses are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AliasBase {
    base: IpAddr,
}

/// Reads `heartbeat_alias`.
pub(super) fn alias_base(
    written: &Placed<&str>,
    id: NetworkId,
    found: &mut Diagnostics,
) -> Option<AliasBase> {
    let example = "for instance \"10.200.0.0/16\" or \"fd00:200::/48\"";
    let mut refuse = |why: String| {
        found.error(written.span.clone(), format!("`heartbeat_alias`: {why}")).help(example);
        None
    };
    let Some((address, prefix)) = written.value.split_once('/') else {
        return refuse(format!("\"{}\" has no prefix length", written.value));
    };
    let (Ok(base), Ok(prefix)) = (address.parse::<IpAddr>(), prefix.parse::<u8>()) else {
        return refuse(format!("\"{}\" is no range of addresses", written.value));
    };
    let most = if base.is_ipv4() { SUBNET_V4 } else { SUBNET_V6 };
    if prefix == 0 || prefix > most {
        return refuse(format!("/{prefix} leaves no room: 1 to {most}"));
    }
    if subnet(base, prefix) != base || base.is_loopback() || base.is_multicast() {
        return refuse(format!("{base}/{prefix} is not the beginning of a usable range"));
    }
    let room = 1_u64.checked_shl(u32::from(most - prefix)).unwrap_or(u64::MAX);
    if u64::from(id.0) >= room {
        return refuse(format!(
            "/{prefix} has room for {room} networks, and this is number {}",
            id.0
        ));
    }
    Some(AliasBase { base })
}

impl AliasBase {
    /// The end with the alias in place of what is written.
    pub(super) fn endpoint(
        self,
        written: Endpoint,
        network: NetworkId,
        node: NodeId,
        span: &Span,
        found: &mut Diagnostics,
    ) -> Endpoint {
        if written.host.is_some() {
            found
                .error(span.clone(), "an alias needs an interface, and a name says none")
                .help("write the address that the interface has, or { interface = \"eth1\" }");
        }
        let (address, prefix) = self.address(network, node);
        let boot = written.has_address().then_some((written.address, written.prefix));
        Endpoint { alias: Some(Alias { boot }), host: None, address, prefix, ..written }
    }

    /// The address of a node in a network.
    fn address(self, network: NetworkId, node: NodeId) -> (IpAddr, u8) {
        let last = u32::from(node.0) + 1;
        match self.base {
            IpAddr::V4(base) => {
                let bits = u32::from(base) | u32::from(network.0) << 8 | last;
                (IpAddr::V4(bits.into()), SUBNET_V4)
            }
            IpAddr::V6(base) => {
                let bits = u128::from(base) | u128::from(network.0) << 64 | u128::from(last);
                (IpAddr::V6(bits.into()), SUBNET_V6)
            }
        }
    }
}

/// No address that anybody has may be in a subnet that aliases are in, and no subnet of such an address may contain
/// one: whichever interface has the longer prefix would get the frames of the other.
pub(super) fn check_aliases(networks: &[Network], claimed: &[Claimed], found: &mut Diagnostics) {
    for network in networks {
        let aliases = network.endpoints.values().filter(|endpoint| endpoint.alias.is_some());
        let Some(one) = aliases.clone().next() else { continue };
        let range = subnet(one.address, one.prefix);
        for claim in claimed {
            let is_alias = aliases.clone().any(|alias| alias.address == claim.address);
            let is_same_kind = claim.address.is_ipv4() == range.is_ipv4();
            let common = claim.prefix.min(one.prefix);
            if is_alias || !is_same_kind || subnet(claim.address, common) != subnet(range, common) {
                continue;
            }
            let (address, owner) = (claim.address, &claim.owner);
            let how = match subnet(address, one.prefix) == range {
                true => format!("{address} of {owner} is in"),
                false => format!("the subnet of {address}/{} of {owner} contains", claim.prefix),
            };
            found
                .error(
                    claim.span.clone(),
                    format!(
                        "{how} {range}/{}, which the heartbeat aliases of network {} are made from",
                        one.prefix, network.name
                    ),
                )
                .help("choose another `heartbeat_alias`: a range that nothing else uses");
        }
    }
}

/// The networks, with those of one `global` in place of its first part.
pub(super) fn merged(
    networks: Vec<Network>,
    globals: &[(usize, Placed<&str>)],
    (names, nodes): (&BTreeMap<&str, Span>, &Names<'_, NodeId>),
    found: &mut Diagnostics,
) -> Vec<Network> {
    let mut merged: Vec<Network> = Vec::new();
    // Where each global network stands in the list, and where it was named first.
    let mut places: BTreeMap<&str, (usize, Span)> = BTreeMap::new();
    for (index, network) in networks.into_iter().enumerate() {
        let global = globals.iter().find(|(place, _)| *place == index).map(|(_, global)| global);
        let Some(Placed { value: name, span }) = global else {
            merged.push(network);
            continue;
        };
        if network.kind != Kind::Udp {
            found
                .error(span.clone(), "only a network of kind \"udp\" can be part of a global one")
                .help("what connects the parts are routers, and they pass nothing else on");
        }
        let part = Part { name: network.name.clone(), nodes: network.nodes() };
        match places.get(name) {
            None => {
                if let Some(other) = names.get(name) {
                    found
                        .error(span.clone(), format!("a network is called {name} as well"))
                        .related(other.clone(), "this one")
                        .help("give the global network a name of its own: net_global_01");
                }
                places.insert(name, (merged.len(), span.clone()));
                merged.push(Network { name: (*name).to_owned(), parts: vec![part], ..network });
            }
            Some((place, first)) => {
                let whole = &mut merged[*place];
                let shared = |one: &Network| (one.port, one.priority, one.ring);
                if shared(whole) != shared(&network) {
                    found
                        .error(
                            span.clone(),
                            format!("the parts of {name} differ in port, priority or monitoring"),
                        )
                        .related(first.clone(), "the first part");
                }
                whole.verify_gateways |= network.verify_gateways;
                let mut gateways = network.gateways;
                for (node, endpoint) in network.endpoints {
                    if let Entry::Vacant(place) = whole.endpoints.entry(node) {
                        place.insert(endpoint);
                        if let Some(gateways) = gateways.remove(&node) {
                            whole.gateways.insert(node, gateways);
                        }
                        continue;
                    }
                    let earlier = whole.parts.iter().find(|part| part.nodes.contains(node));
                    let earlier = earlier.map_or("", |part| part.name.as_str());
                    let mut all = nodes.iter();
                    let name = all.find(|(_, id)| *id == node).map_or("", |(name, _)| name);
                    found
                        .warning(
                            span.clone(),
                            format!(
                                "{name} is on {earlier} and on {} of {}: {earlier} counts",
                                part.name, whole.name
                            ),
                        )
                        .help("list it in one of them");
                }
                let before: Vec<NodeId> = whole.parts.iter().flat_map(|part| part.nodes).collect();
                let nodes = part.nodes.into_iter().filter(|node| !before.contains(node)).collect();
                whole.parts.push(Part { nodes, ..part });
            }
        }
    }
    merged
}
