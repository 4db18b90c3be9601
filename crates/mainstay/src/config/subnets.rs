//! Subnets that get in each other's way (HACMP's rules for boot, service and persistent addresses).
//!
//! The kernel sends to a subnet through one interface, whichever has an address in it. Where two
//! interfaces of a node share a subnet, all frames leave through one of them: the other one's silence says
//! nothing, and nobody can tell which of the two has failed. Where a service address may be on several
//! interfaces, it must therefore not be in the subnet of one.

use std::net::IpAddr;

use base::NodeId;

use super::diagnostic::Diagnostics;
use super::network::subnet;
use super::placing::Wish;
use super::read::Span;
use super::section::Names;
use super::{Endpoint, Network};

/// Service addresses of a cluster: one node may have to take over all of them.
pub const SERVICE_ADDRESSES_MAX: usize = 1_000;

/// Two interfaces of a node in one subnet, and one interface in two networks: one subnet for one interface (seed 002).
/// `spans` says where each network is.
pub(super) fn check_interfaces(
    networks: &[Network],
    spans: &[Span],
    nodes: &Names<'_, NodeId>,
    found: &mut Diagnostics,
) {
    for (name, node) in nodes.iter() {
        let ends = (networks.iter().zip(spans))
            .filter_map(|(network, span)| Some((network, span, network.endpoints.get(&node)?)));
        let ends: Vec<(&Network, &Span, &Endpoint)> = ends.collect();
        check_shared(name, &ends, found);
        let ends: Vec<(&Network, &Span, &Endpoint)> = (ends.into_iter())
            .filter(|(.., end)| end.host.is_none() && end.alias.is_none() && end.has_address())
            .collect();
        for (index, (network, span, end)) in ends.iter().enumerate() {
            let is_shared = |(_, _, other): &&(&Network, &Span, &Endpoint)| {
                // Two addresses of one interface are told of already.
                let is_one = end.interface.is_some() && end.interface == other.interface;
                !is_one && end.address != other.address && overlap(end, other)
            };
            if let Some((other, first, there)) = ends[..index].iter().find(is_shared) {
                found
                    .warning(
                        (*span).clone(),
                        format!(
                            "{name} has {}/{} in network {} and {}/{} in network {}: one subnet",
                            end.address,
                            end.prefix,
                            network.name,
                            there.address,
                            there.prefix,
                            other.name
                        ),
                    )
                    .related((*first).clone(), "this one")
                    .help(
                        "all frames to that subnet leave through one interface, so the other one's \
                         failure is not seen and takes both paths or none: give each network a \
                         subnet of its own",
                    );
            }
        }
    }
}

/// Networks that name the same interface of a node. An address of each family is what a machine with both has.
fn check_shared(name: &str, ends: &[(&Network, &Span, &Endpoint)], found: &mut Diagnostics) {
    for (index, (network, span, end)) in ends.iter().enumerate() {
        let Some(interface) = &end.interface else { continue };
        let is_shared = |(_, _, other): &&(&Network, &Span, &Endpoint)| {
            other.interface.as_ref() == Some(interface)
                && other.address.is_ipv4() == end.address.is_ipv4()
                // With a standby it is an error.
                && end.standby.is_none()
                && other.standby.is_none()
        };
        let Some((other, first, _)) = ends[..index].iter().find(is_shared) else { continue };
        found
            .warning(
                (*span).clone(),
                format!(
                    "{interface} of {name} is in network {} and in network {}",
                    network.name, other.name
                ),
            )
            .related((*first).clone(), "this one")
            .help(
                "both fail when it fails, so two paths over it are no more than one: an interface has one \
                 subnet, so give each network an interface of its own, or make one network of both",
            );
    }
}

fn overlap(one: &Endpoint, other: &Endpoint) -> bool {
    let prefix = one.prefix.min(other.prefix);
    one.address.is_ipv4() == other.address.is_ipv4()
        && subnet(one.address, prefix) == subnet(other.address, prefix)
}

/// Service addresses that may be on several interfaces of a node, and are in the subnet of one.
pub(super) fn check_aliases(
    networks: &[Network],
    wish: &Wish<'_>,
    network: &Network,
    found: &mut Diagnostics,
) {
    let Some(placing) = &network.placing else { return };
    let is_spread = |node: &NodeId| placing.also.contains_key(node);
    let boot = networks
        .iter()
        .flat_map(|network| network.endpoints.iter().map(move |(node, end)| (network, node, end)));
    let inside = boot.filter(|(_, node, _)| is_spread(node)).find_map(|(network, _, end)| {
        let (own, prefix) = end.written().filter(|(own, _)| !own.is_unspecified())?;
        contains((own, prefix), wish.address).then_some((network, own, prefix))
    });
    let Some((of, own, prefix)) = inside else { return };
    found
        .error(
            wish.span.clone(),
            format!(
                "{} is shared out over interfaces, and in the subnet of {own}/{prefix} of network {}",
                wish.address, of.name
            ),
        )
        .help(
            "answers to that subnet leave through the interface that has it, wherever the address is, \
             and that interface's health cannot be told: take service addresses of a subnet that no \
             interface has, with `network` in the resource, or leave `also` out",
        );
}

/// More service addresses than a cluster may have.
pub(super) fn check_count(wishes: &[Wish<'_>], found: &mut Diagnostics) {
    if let Some(beyond) = wishes.get(SERVICE_ADDRESSES_MAX) {
        found
            .error(beyond.span.clone(), format!("there are {} service addresses", wishes.len()))
            .label(format!("number {}", SERVICE_ADDRESSES_MAX + 1))
            .help(format!(
                "a cluster has at most {SERVICE_ADDRESSES_MAX}: all of them may have to be taken \
                 over by one node at once"
            ));
    }
}

fn contains((own, prefix): (IpAddr, u8), address: IpAddr) -> bool {
    own.is_ipv4() == address.is_ipv4() && subnet(own, prefix) == subnet(address, prefix)
}
