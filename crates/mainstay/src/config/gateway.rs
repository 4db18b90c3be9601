//! `gateways` of a network: what must answer for a node to count as one that can be reached.
//!
//! Of two halves that are cut apart, each just as well as the other, the one should go on whose services
//! somebody can use. A router that answers is a sign of that, and no more than a sign: it gives no vote,
//! it only lets a half ask the tie-breaker before the other one (`group`, "asking").
//!
//! `verify_gateways` has them asked for another thing: whether they know where a service address has gone
//! (`network`, "learn").

use std::net::IpAddr;

use base::NodeId;

use super::diagnostic::Diagnostics;
use super::network::subnet;
use super::read::{self, Placed, Section, Span};
use super::{Cluster, Endpoint, Kind, Network, Tie};

/// Gateways of one network; each is asked once a second.
const GATEWAYS_MAX: usize = 4;

/// Takes `gateways` where a network can have them.
pub(super) fn gateways(
    section: &mut Section<'_>,
    kind: Kind,
    found: &mut Diagnostics,
) -> Vec<(IpAddr, Span)> {
    if kind != Kind::Udp {
        return Vec::new();
    }
    let Some(value) = section.take("gateways") else { return Vec::new() };
    let Some(written) = read::texts(value, "gateways", found) else { return Vec::new() };
    if written.is_empty() || written.len() > GATEWAYS_MAX {
        found
            .error(value.span(), format!("there are {} gateways", written.len()))
            .label(format!("1 to {GATEWAYS_MAX}"));
    }
    written.iter().filter_map(|one| Some((gateway(one, found)?, one.span.clone()))).collect()
}

fn gateway(written: &Placed<&str>, found: &mut Diagnostics) -> Option<IpAddr> {
    let mut refuse = |why: &str| {
        found
            .error(written.span.clone(), format!("\"{}\" {why}", written.value))
            .help("write the address of a router that answers an ICMP echo, as \"10.0.0.1\"");
        None
    };
    let Ok(address) = written.value.parse::<IpAddr>() else { return refuse("is no address") };
    let is_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if is_local || address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return refuse("is nobody's address in a network");
    }
    Some(address)
}

/// Takes `verify_gateways` where a network can have gateways.
pub(super) fn verify(
    section: &mut Section<'_>,
    kind: Kind,
    found: &mut Diagnostics,
) -> Option<Placed<bool>> {
    if kind != Kind::Udp {
        return None;
    }
    section.boolean("verify_gateways", found)
}

/// What does not fit the ends of the network; the rest belongs to each of its nodes.
pub(super) fn assign(
    gateways: Vec<(IpAddr, Span)>,
    verify: Option<Placed<bool>>,
    network: &mut Network,
    found: &mut Diagnostics,
) {
    if let Some(verify) = verify {
        network.verify_gateways = verify.value;
        if verify.value && gateways.is_empty() {
            found
                .error(verify.span, format!("network {} has no `gateways` to ask", network.name))
                .help("name them: gateways = [\"10.0.0.1\"], or leave `verify_gateways` out");
        }
    }
    for (address, span) in gateways {
        // What stands behind a name is known when the hosts file is read.
        let known = |endpoint: &Endpoint| endpoint.has_address();
        let mut ends = network.endpoints.values().filter(|endpoint| known(endpoint));
        if ends.clone().any(|end| end.address == address) {
            found
                .error(span, format!("{address} is a node of {}", network.name))
                .help("a gateway tells who is cut off: it must be none of those who are compared");
        } else if ends.any(|end| end.address.is_ipv4() != address.is_ipv4()) {
            found
                .error(
                    span,
                    format!("{address} cannot be asked from the addresses of {}", network.name),
                )
                .help("IPv4 with IPv4, IPv6 with IPv6");
        } else {
            let nodes: Vec<NodeId> = network.endpoints.keys().copied().collect();
            for node in nodes {
                network.gateways.entry(node).or_default().push(address);
            }
        }
    }
}

/// Gateways are looked at for arbiters, and where they are verified.
pub(super) fn check(cluster: &Cluster, head: Span, found: &mut Diagnostics) {
    let idle = |network: &&Network| !network.gateways.is_empty() && !network.verify_gateways;
    let has_idle = cluster.networks.iter().any(|network| idle(&network));
    if has_idle && !matches!(cluster.tie, Tie::Arbiters(_)) {
        found
            .warning(
                head.clone(),
                "`gateways` say which half asks a tie-breaker first, and there is none",
            )
            .help(
                "add [tiebreaker] with kind = \"witness\", \"disk\" or \"etcd\", or `verify_gateways = true` \
                 to have them asked whether they have learned where a service address has gone",
            );
    }
    for network in cluster.networks.iter().filter(|network| network.verify_gateways) {
        // What stands behind a name is known when the hosts file is read.
        let is_known = network.endpoints.values().all(|end| end.host.is_none());
        let mut nodes = network.endpoints.keys();
        if is_known && nodes.all(|node| cluster.verified(network, *node).is_empty()) {
            let name = &network.name;
            found
                .warning(
                    head.clone(),
                    format!("`verify_gateways` of {name}: no service address belongs to that network"),
                )
                .help("give a service an address in the subnet of its nodes there, or leave the key out");
        }
    }
}

impl Cluster {
    /// The service addresses that gateways of a network are asked about by a node: those that the network shares
    /// out, and those in the subnet of the node's own address there that no network does.
    #[must_use]
    pub fn verified(&self, network: &Network, node: NodeId) -> Vec<IpAddr> {
        let end = network.endpoints.get(&node).filter(|end| end.has_address());
        let Some(end) = end.filter(|_| network.verify_gateways) else { return Vec::new() };
        let belongs = |address: &IpAddr| match self.shared.get(address) {
            Some(shared) => shared.network == network.id,
            None => {
                let here = subnet(end.address, end.prefix);
                address.is_ipv4() == end.address.is_ipv4() && subnet(*address, end.prefix) == here
            }
        };
        self.service_addresses().filter(belongs).collect()
    }
}
