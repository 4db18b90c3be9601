//! `heartbeat` of a network: one to each node, or one for all.
//!
//! What is for all reaches whoever is on the same wire and nobody else (one hop). So all ends must
//! have addresses of one subnet and of one family, and what cannot work is an error here and not
//! silence later.

use std::net::IpAddr;

use super::diagnostic::Diagnostics;
use super::network::subnet;
use super::read::{self, Placed, Section, Span};
use super::{Heartbeat, Kind, Network};

/// The words of the key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Unicast,
    Multicast,
    Broadcast,
}

/// Reads `heartbeat`, `group` and `group_port`; the place, when it is written.
pub(super) fn heartbeat(
    section: &mut Section<'_>,
    kind: Kind,
    found: &mut Diagnostics,
) -> (Heartbeat, Option<Span>) {
    let Some(written) = section.text("heartbeat", found) else {
        return (Heartbeat::Unicast, None);
    };
    let words = [
        ("unicast", Word::Unicast),
        ("multicast", Word::Multicast),
        ("broadcast", Word::Broadcast),
    ];
    let word = read::choice(&written, "heartbeat", &words, found).unwrap_or(Word::Unicast);
    let (group, port) = match word {
        Word::Multicast => {
            let group = section.text("group", found).and_then(|written| group(&written, found));
            let port = section.number("group_port", 1..=65_535, found);
            (group, port.map(|read| read.value as u16))
        }
        Word::Unicast | Word::Broadcast => (None, None),
    };
    let heartbeat = match (kind, word) {
        (Kind::Udp, Word::Unicast) => Heartbeat::Unicast,
        (Kind::Udp, Word::Multicast) => Heartbeat::Multicast { group, port },
        (Kind::Udp, Word::Broadcast) => Heartbeat::Broadcast,
        // That is what it does.
        (Kind::Ethernet { .. }, Word::Broadcast) => Heartbeat::Unicast,
        (Kind::Ethernet { .. } | Kind::Disk | Kind::Serial { .. }, _) => {
            let only = match kind {
                Kind::Ethernet { .. } => "go to all stations and to nobody else",
                _ => "go to one node each",
            };
            found
                .error(
                    written.span.clone(),
                    format!("heartbeats of a network of kind \"{}\" {only}", kind.name()),
                )
                .help("remove `heartbeat`");
            Heartbeat::Unicast
        }
    };
    (heartbeat, Some(written.span))
}

fn group(written: &Placed<&str>, found: &mut Diagnostics) -> Option<IpAddr> {
    let parsed: Option<IpAddr> = written.value.parse().ok();
    let usable = parsed.filter(|group| group.is_multicast() && !is_of_protocols(*group));
    if usable.is_none() {
        found
            .error(written.span.clone(), format!("\"{}\" is no group for us", written.value))
            .help(
                "write one of 239.192.0.0/14 or ff12::/16, or remove `group`: \
                 the default follows from the cluster's number",
            );
    }
    usable
}

/// Groups that belong to the protocols of the network itself (RFC 5771 section 4; RFC 4291 section
/// 2.7.1: well-known ones).
fn is_of_protocols(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group.octets()[..3] == [224, 0, 0],
        IpAddr::V6(group) => group.octets()[1] & 0xf0 == 0,
    }
}

/// Whether one frame can reach all ends.
pub(super) fn check_heartbeat(
    network: &Network,
    is_global: bool,
    span: Span,
    found: &mut Diagnostics,
) {
    let group = match network.heartbeat {
        Heartbeat::Unicast => return,
        Heartbeat::Multicast { group, .. } => group,
        Heartbeat::Broadcast => None,
    };
    let name = &network.name;
    if network.ring {
        found
            .error(
                span,
                format!("network {name} is monitored as a ring, in which nobody speaks to all"),
            )
            .help("remove `monitor`: one heartbeat for all is fewer frames than a ring");
        return;
    }
    if is_global {
        found
            .error(span, format!("network {name} is part of a global one, and routers are between"))
            .help("remove `heartbeat`: what is for all does not pass a router");
        return;
    }
    if network.heartbeat == Heartbeat::Broadcast
        && let Some(host) = network.endpoints.values().find_map(|end| end.host.as_ref())
    {
        let host = &host.name;
        found
            .error(span, format!("the name {host} on network {name} says nothing of a subnet"))
            .help("write addresses with their prefixes, or heartbeat = \"multicast\"");
        return;
    }
    // What stands behind a name is known when the hosts file is read.
    let ends = || network.endpoints.values().filter(|end| end.host.is_none());
    if network.heartbeat == Heartbeat::Broadcast && ends().any(|end| end.address.is_ipv6()) {
        found
            .error(span, format!("network {name} has IPv6 addresses, and IPv6 has no broadcast"))
            .help("write heartbeat = \"multicast\"");
        return;
    }
    if network.heartbeat == Heartbeat::Broadcast && ends().any(|end| end.prefix > 30) {
        found
            .error(span, format!("a subnet of network {name} has no broadcast address"))
            .help("a prefix of at most /30, or heartbeat = \"unicast\"");
        return;
    }
    let mut subnets = ends().map(|end| (subnet(end.address, end.prefix), end.prefix));
    let first = subnets.next();
    if subnets.any(|other| Some(other) != first) {
        found
            .error(
                span,
                format!("one heartbeat for all does not reach all subnets of network {name}"),
            )
            .help("give all nodes addresses of one subnet, or write heartbeat = \"unicast\"");
        return;
    }
    let is_four = first.map(|(subnet, _)| subnet.is_ipv4());
    if group.is_some_and(|group| is_four.is_some_and(|is_four| is_four != group.is_ipv4())) {
        found
            .error(span, format!("group and addresses of network {name} are of two families"))
            .help("remove `group`, or write one of the family of the addresses");
    }
}
