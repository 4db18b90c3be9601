//! `takeover = "replacement"` and `hardware_address`: service addresses that take the place of a boot address.
//!
//! The rules are the opposite of those for aliases (HACMP, seed 004). The service address is *in* the subnet of a boot
//! address, since it takes its place for those who are in that subnet; an interface that stands by is in another one.
//! While it is there the boot address is gone, and with it whatever goes over it: so the network's heartbeats
//! need an address of their own.

use std::net::IpAddr;

use ::network::place::Takeover;
use ::network::wire::{Mac, text};
use base::NodeId;

use super::Network;
use super::diagnostic::Diagnostics;
use super::network::subnet;
use super::placing::Wish;
use super::read::{Placed, Section, Span};
use super::section::Names;

/// In the first byte: not given by a maker of cards (IEEE 802, clause 8.4.2).
const LOCAL: u8 = 2;
/// In the first byte: of a group of stations.
const GROUP: u8 = 1;

/// Reads `hardware_address` of a resource.
pub(super) fn hardware(section: &mut Section<'_>, found: &mut Diagnostics) -> Option<Placed<Mac>> {
    let written = section.text("hardware_address", found)?;
    let mut refuse = |why: &str| {
        found
            .error(written.span.clone(), format!("the hardware address {} {why}", written.value))
            .help(
                "write six bytes, the first of which ends in 2, 6, a or e, and which no machine on the \
                 wire has: \"02:00:0a:4d:00:64\"",
            );
        None
    };
    let Some(mac) = parse(written.value) else { return refuse("is none") };
    if mac[0] & GROUP != 0 {
        return refuse("is one of a group, which no station can have");
    }
    if mac[0] & LOCAL == 0 {
        return refuse("belongs to a maker of cards: a card on the wire may have it");
    }
    Some(Placed { value: mac, span: written.span })
}

fn parse(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = part
            .chars()
            .all(|c| c.is_ascii_hexdigit())
            .then(|| u8::from_str_radix(part, 16))?
            .ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// A network whose service addresses replace boot addresses.
pub(super) fn check_network(network: &Network, span: &Span, found: &mut Diagnostics) {
    if !is_replacement(network) {
        return;
    }
    if network.endpoints.values().any(|end| end.alias.is_none()) {
        found
            .error(
                span.clone(),
                format!(
                    "service addresses of network {} replace boot addresses, and its heartbeats go \
                     over those",
                    network.name
                ),
            )
            .help(
                "a node would be silent on this network while it has a service: write \
                 `heartbeat_alias = \"10.200.0.0/16\"`, a range that nothing else uses, and heartbeats \
                 go over addresses that stay",
            );
    }
    let without = network.endpoints.values().any(|end| match &end.alias {
        Some(alias) => alias.boot.is_none(),
        None => !end.has_address(),
    });
    if without {
        found
            .error(
                span.clone(),
                format!("not all ends of network {} have a boot address written", network.name),
            )
            .help(
                "a service address replaces one: write \
                 { address = \"10.77.0.1/24\", interface = \"eth0\" }",
            );
    }
}

/// A service address that replaces, and nodes where it would find nothing to replace.
pub(super) fn check_inside(
    wish: &Wish<'_>,
    network: &Network,
    nodes: &Names<'_, NodeId>,
    found: &mut Diagnostics,
) {
    let is_inside = |node: &NodeId| {
        let end = network.endpoints.get(node);
        let boot = end.and_then(super::Endpoint::written);
        boot.is_some_and(|boot| contains(boot, wish.address))
    };
    let outside: Vec<&str> = nodes
        .iter()
        .filter(|(_, node)| wish.nodes.contains(node) && !is_inside(node))
        .map(|(name, _)| name)
        .collect();
    if outside.is_empty() {
        return;
    }
    found
        .error(
            wish.span.clone(),
            format!(
                "{} replaces a boot address, and is in the subnet of none in network {} on {}",
                wish.address,
                network.name,
                outside.join(", ")
            ),
        )
        .help(
            "those in that subnet would not find it: take an address of the subnet that the nodes have \
             under `nodes`, or `takeover = \"alias\"`",
        );
}

/// A hardware address where nothing is replaced.
pub(super) fn check_use(wish: &Wish<'_>, network: Option<&Network>, found: &mut Diagnostics) {
    let Some(written) = &wish.hardware else { return };
    if network.is_some_and(is_replacement) {
        return;
    }
    found
        .error(
            written.span.clone(),
            format!("{} brings a hardware address, and may share its interface", wish.address),
        )
        .help(
            "an interface has one hardware address: give the network of the address \
             `takeover = \"replacement\"`, where each service address has an interface to itself, or \
             leave `hardware_address` out; announcements tell neighbours who has the address",
        );
}

/// A hardware address that two services, or two interfaces of a node, would have at the same time.
pub(super) fn check_hardware(wishes: &[Wish<'_>], found: &mut Diagnostics) {
    for (index, wish) in wishes.iter().enumerate() {
        let Some(written) = &wish.hardware else { continue };
        let same = |other: &&Wish<'_>| {
            other.hardware.as_ref().is_some_and(|other| other.value == written.value)
        };
        if let Some(other) = wishes[..index].iter().find(same) {
            let of_one = other.service == wish.service;
            found
                .error(
                    written.span.clone(),
                    format!("{} brings {} as well", other.address, text(written.value)),
                )
                .help(match of_one {
                    true => "each address has an interface to itself: give each its own",
                    false => {
                        "two stations of one hardware address on a wire take each other's frames: give \
                         each its own"
                    }
                });
        }
    }
}

fn is_replacement(network: &Network) -> bool {
    network.placing.as_ref().is_some_and(|placing| placing.takeover == Takeover::Replacement)
}

fn contains((own, prefix): (IpAddr, u8), address: IpAddr) -> bool {
    own.is_ipv4() == address.is_ipv4() && subnet(own, prefix) == subnet(address, prefix)
}
