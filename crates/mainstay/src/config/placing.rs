//! How service addresses are shared out over a node's interfaces: `distribution` and what goes with it.
//!
//! Of a network of which nothing of this is said, nothing changes: an address belongs to the interface
//! that has its subnet.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ::network::place::{Distribution, Takeover};
use ::network::wire::Mac;
use base::{NetworkId, NodeId};

use super::diagnostic::Diagnostics;
use super::network::{self, Claimed, interface};
use super::read::{self, Placed, Section, Span, Value};
use super::section::Names;
use super::{Kind, Network, replacement, subnets, suggest};

/// Interfaces of one node that share the addresses of a network.
const SHARING_MAX: usize = 24;
/// Persistent addresses of one node in a network.
const PERSISTENT_MAX: usize = 8;

/// What service addresses are to their interface.
const TAKEOVERS: [(&str, Takeover); 2] =
    [("alias", Takeover::Alias), ("replacement", Takeover::Replacement)];

/// What is said about the service addresses of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placing {
    /// How they are shared out unless their service says otherwise.
    pub distribution: Distribution,
    /// What they are to their interface.
    pub takeover: Takeover,
    /// The address that some distributions look at.
    pub source: Option<IpAddr>,
    /// Whether an interface that works again gets its share back.
    pub rebalances: bool,
    /// Each node's further interfaces.
    pub also: BTreeMap<NodeId, Vec<String>>,
    /// Each node's own addresses in the network, which the daemon keeps on one of its interfaces.
    pub persistent: BTreeMap<NodeId, Vec<(IpAddr, u8)>>,
}

/// A service address of a network that shares them out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The network.
    pub network: NetworkId,
    /// The distribution of its service, where that has one.
    pub distribution: Option<Distribution>,
    /// The hardware address that it brings to its interface.
    pub hardware: Option<Mac>,
}

/// What a service says of one of its addresses.
pub(super) struct Wish<'a> {
    pub(super) address: IpAddr,
    pub(super) span: Span,
    pub(super) network: Option<Placed<&'a str>>,
    pub(super) distribution: Option<Placed<Distribution>>,
    pub(super) hardware: Option<Placed<Mac>>,
    /// Which service it is of, and where that may run.
    pub(super) service: usize,
    pub(super) nodes: Vec<NodeId>,
}

/// Reads `distribution` of a network or a service.
pub(super) fn distribution(
    section: &mut Section<'_>,
    found: &mut Diagnostics,
) -> Option<Placed<Distribution>> {
    let written = section.text("distribution", found)?;
    let value = read::choice(&written, "distribution", &Distribution::NAMED, found)?;
    Some(Placed { value, span: written.span })
}

/// Reads what a `[[network]]` says of its service addresses; none when it says nothing.
pub(super) fn placing<'a>(
    section: &mut Section<'a>,
    kind: Kind,
    nodes: &Names<'a, NodeId>,
    claimed: &mut Vec<Claimed>,
    found: &mut Diagnostics,
) -> Option<(Placing, Span)> {
    if kind != Kind::Udp {
        return None;
    }
    let distribution = distribution(section, found);
    let takeover = section.text("takeover", found);
    let source = source(section, found);
    let rebalances = section.boolean("rebalance", found);
    let also = section.take("also");
    let persistent = section.take("persistent");
    let places = [
        distribution.as_ref().map(|written| written.span.clone()),
        takeover.as_ref().map(|written| written.span.clone()),
        source.as_ref().map(|written| written.span.clone()),
        rebalances.as_ref().map(|written| written.span.clone()),
        also.map(Value::span),
        persistent.map(Value::span),
    ];
    let span = places.into_iter().flatten().next()?;
    let also = also.map(|value| each(value, "also", nodes, found, also_of));
    let persistent = persistent.map(|value| {
        each(value, "persistent", nodes, found, |value, found| persistent_of(value, claimed, found))
    });
    let placing = Placing {
        distribution: distribution.map(|written| written.value).unwrap_or_default(),
        takeover: takeover
            .and_then(|written| read::choice(&written, "takeover", &TAKEOVERS, found))
            .unwrap_or_default(),
        source: source.map(|written| written.value),
        rebalances: rebalances.is_some_and(|written| written.value),
        also: also.unwrap_or_default(),
        persistent: persistent.unwrap_or_default(),
    };
    Some((placing, span))
}

fn source(section: &mut Section<'_>, found: &mut Diagnostics) -> Option<Placed<IpAddr>> {
    let written = section.text("source", found)?;
    let Ok(value) = written.value.parse() else {
        found
            .error(written.span, format!("\"{}\" is no IPv4 or IPv6 address", written.value))
            .help("`source` is one of the service addresses of this network, without its prefix");
        return None;
    };
    Some(Placed { value, span: written.span })
}

/// Reads a table with something for each node.
fn each<'a, T>(
    value: &'a Value<'a>,
    key: &'static str,
    nodes: &Names<'a, NodeId>,
    found: &mut Diagnostics,
    mut read_one: impl FnMut(&'a Value<'a>, &mut Diagnostics) -> Option<Vec<T>>,
) -> BTreeMap<NodeId, Vec<T>> {
    let mut all = BTreeMap::new();
    let Some(table) = read::table(value, key, found) else { return all };
    for (node, value) in table.entries() {
        let id = nodes.find(&node, "node", found);
        if let (Some(id), Some(one)) = (id, read_one(value, found)) {
            all.insert(id, one);
        }
    }
    all
}

/// `["eth1", "eth2"]`
fn also_of(value: &Value<'_>, found: &mut Diagnostics) -> Option<Vec<String>> {
    let list = read::texts(value, "also", found)?;
    if list.is_empty() || list.len() >= SHARING_MAX {
        found.error(value.span(), format!("{} further interfaces", list.len())).help(format!(
            "1 to {} may be; leave the node out where there is none",
            SHARING_MAX - 1
        ));
        return None;
    }
    list.iter().map(|written| interface(written, found)).collect()
}

/// `"10.9.0.5/24"`, or a list of such.
fn persistent_of(
    value: &Value<'_>,
    claimed: &mut Vec<Claimed>,
    found: &mut Diagnostics,
) -> Option<Vec<(IpAddr, u8)>> {
    let list = match value.get_ref() {
        toml::de::DeValue::String(_) => vec![read::text(value, "persistent", found)?],
        _ => read::texts(value, "persistent", found)?,
    };
    if list.is_empty() || list.len() > PERSISTENT_MAX {
        found
            .error(value.span(), format!("{} persistent addresses of one node", list.len()))
            .help(format!("1 to {PERSISTENT_MAX} may be"));
        return None;
    }
    let mut all = Vec::new();
    for written in list {
        let (address, prefix) = network::address(&written, "persistent", found)?;
        let owner = "a node, as a persistent address".to_owned();
        network::claim(claimed, (address, prefix), owner, written.span, found);
        all.push((address, prefix));
    }
    Some(all)
}

/// What does not fit together in one network that shares addresses out.
pub(super) fn check(
    network: &Network,
    span: &Span,
    nodes: &Names<'_, NodeId>,
    found: &mut Diagnostics,
) {
    let Some(placing) = &network.placing else { return };
    replacement::check_network(network, span, found);
    for (name, node) in nodes.iter() {
        let also = placing.also.get(&node).map_or(&[][..], Vec::as_slice);
        let persistent = placing.persistent.contains_key(&node);
        let Some(end) = network.endpoints.get(&node) else {
            if persistent || !also.is_empty() {
                found
                    .error(span.clone(), format!("{name} has no end in network {}", network.name))
                    .help("give it one under `nodes`, or leave it out here");
            }
            continue;
        };
        let Some(first) = &end.interface else {
            found
                .error(
                    span.clone(),
                    format!(
                        "network {} shares addresses out, and {name} does not name its interface",
                        network.name
                    ),
                )
                .help(format!(
                    "write {name} = {{ address = \"…\", interface = \"eth0\" }} under `nodes`"
                ));
            continue;
        };
        let standbys = end.standby.iter().flat_map(|standby| &standby.interfaces);
        let mut used: Vec<&String> = std::iter::once(first).chain(standbys).collect();
        for interface in also {
            if used.contains(&interface) {
                found
                    .error(span.clone(), format!("{interface} of {name} is named twice"))
                    .help("`also` has the interfaces besides that under `nodes` and its standbys");
            }
            used.push(interface);
        }
    }
}

/// An interface that shares the addresses of one network belongs to that network alone. `spans` says where each is.
///
/// It is polled there only: on another wire nobody would prove that it works, and the other network's addresses and
/// standbys would be where this one puts its own.
pub(super) fn check_also(
    networks: &[Network],
    spans: &[Span],
    nodes: &Names<'_, NodeId>,
    found: &mut Diagnostics,
) {
    let help = "it is polled on the wire of one network only, and found not to work on the other: leave it out of \
                one of them, or, when both are one wire, make one network of them";
    for (name, node) in nodes.iter() {
        for (index, network) in networks.iter().enumerate() {
            let also = network.placing.iter().filter_map(|placing| placing.also.get(&node));
            for interface in also.flatten() {
                let role = |other: &Network| {
                    let end = other.endpoints.get(&node);
                    let is_primary =
                        end.is_some_and(|end| end.interface.as_ref() == Some(interface));
                    let mut standbys = end.iter().flat_map(|end| &end.standby);
                    let is_standby = standbys.any(|one| one.interfaces.contains(interface));
                    let shares = other.placing.as_ref().and_then(|placing| placing.also.get(&node));
                    let is_shared = shares.is_some_and(|also| also.contains(interface));
                    match (is_primary, is_standby, is_shared) {
                        (true, ..) => Some("has the node's address"),
                        (_, true, _) => Some("is a standby"),
                        (.., true) => Some("shares the addresses"),
                        _ => None,
                    }
                };
                // Two that share are told of once, at the second one.
                let others = networks.iter().zip(spans).enumerate().filter(|(at, _)| *at != index);
                let mut roles = others.filter_map(|(at, (other, span))| {
                    let what = role(other)?;
                    (what != "shares the addresses" || at < index).then_some((other, span, what))
                });
                if let Some((other, first, what)) = roles.next() {
                    found
                        .error(
                            spans[index].clone(),
                            format!(
                                "{interface} of node {name} shares the addresses of network {}, and {what} in \
                                 network {}",
                                network.name, other.name
                            ),
                        )
                        .related(first.clone(), "this one")
                        .help(help);
                }
            }
        }
    }
}

/// Finds the network of each address, and says which wishes lead nowhere.
pub(super) fn shared(
    networks: &[Network],
    wishes: Vec<Wish<'_>>,
    nodes: &Names<'_, NodeId>,
    found: &mut Diagnostics,
) -> BTreeMap<IpAddr, Shared> {
    let mut all = BTreeMap::new();
    subnets::check_count(&wishes, found);
    replacement::check_hardware(&wishes, found);
    for wish in wishes {
        let network = match &wish.network {
            Some(name) => named(networks, name, found),
            None => networks.iter().find(|network| contains(network, wish.address)),
        };
        replacement::check_use(&wish, network, found);
        let Some(network) = network.filter(|network| network.placing.is_some()) else {
            if let Some(written) = &wish.distribution
                && wish.network.is_none()
            {
                found
                    .warning(
                        written.span.clone(),
                        format!("{} is in no network that shares addresses out", wish.address),
                    )
                    .help(
                        "name it: `network = \"net0\"` in the resource, and `also` in the network",
                    );
            }
            continue;
        };
        match network.placing.as_ref().map(|placing| placing.takeover) {
            Some(Takeover::Replacement) => replacement::check_inside(&wish, network, nodes, found),
            _ => subnets::check_aliases(networks, &wish, network, found),
        }
        let distribution = wish.distribution.map(|written| written.value);
        let hardware = wish.hardware.map(|written| written.value);
        all.insert(wish.address, Shared { network: network.id, distribution, hardware });
    }
    for network in networks {
        if let Some(source) = network.placing.as_ref().and_then(|placing| placing.source)
            && all.get(&source).is_none_or(|shared| shared.network != network.id)
        {
            found
                .error_in_file(format!(
                    "the source address {source} of network {} is no service address of it",
                    network.name
                ))
                .help("name one, or leave `source` out");
        }
    }
    all
}

/// The network that an address names.
fn named<'n>(
    networks: &'n [Network],
    name: &Placed<&str>,
    found: &mut Diagnostics,
) -> Option<&'n Network> {
    let Some(network) = networks.iter().find(|network| network.name == name.value) else {
        let finding = found.error(name.span.clone(), format!("there is no network {}", name.value));
        let names = networks.iter().map(|network| network.name.as_str());
        finding.help(match suggest::nearest(name.value, names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "name a [[network]]".to_owned(),
        });
        return None;
    };
    if network.placing.is_none() {
        found
            .warning(
                name.span.clone(),
                format!("network {} says nothing of how addresses are shared out", network.name),
            )
            .help("the address goes where its subnet is; give the network a `distribution`");
    }
    Some(network)
}

/// Whether a node's own or persistent address in the network is in the address's subnet.
fn contains(network: &Network, address: IpAddr) -> bool {
    let Some(placing) = &network.placing else { return false };
    let own = network.endpoints.values().filter_map(super::Endpoint::written);
    let persistent = placing.persistent.values().flatten().copied();
    own.chain(persistent).any(|(own, prefix)| {
        own.is_ipv4() == address.is_ipv4()
            && network::subnet(own, prefix) == network::subnet(address, prefix)
    })
}
