//! How the interfaces of a network are polled: `poll_interval`, `polls`, `failure_detection`, `targets`.

use std::net::Ipv4Addr;
use std::time::Duration;

use network::health::Detection;

use super::diagnostic::Diagnostics;
use super::read::{self, Placed, Section, Span};
use super::{Kind, Network};

/// How the health of a network's interfaces is found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polling {
    /// Time between two polls.
    pub interval: Duration,
    /// After how many an interface is down, or up again.
    pub polls: u32,
    /// What counts as a failure.
    pub detection: Detection,
    /// Machines on the wire that each interface asks for an answer.
    pub targets: Vec<Ipv4Addr>,
}

/// Targets of one network; each interface asks all of them.
const TARGETS_MAX: usize = 4;

impl Default for Polling {
    fn default() -> Polling {
        Polling {
            interval: Duration::from_secs(1),
            polls: 3,
            detection: Detection::InOut,
            targets: Vec::new(),
        }
    }
}

/// Shorter ones would not count on a busy machine, longer ones nobody waits for.
const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(250)..=Duration::from_secs(30);
const POLLS: std::ops::RangeInclusive<u64> = 2..=20;

/// Reads what a network of interfaces says about it.
pub(super) fn polling(section: &mut Section<'_>, kind: Kind, found: &mut Diagnostics) -> Polling {
    let mut polling = Polling::default();
    if matches!(kind, Kind::Disk | Kind::Serial { .. }) {
        return polling;
    }
    if let Some(read) = section.duration("poll_interval", INTERVALS, found) {
        polling.interval = read.value;
    }
    if let Some(read) = section.number("polls", POLLS, found) {
        polling.polls = read.value as u32;
    }
    let words = [Detection::InOut, Detection::InOnlyOrInOut].map(|one| (one.name(), one));
    if let Some(written) = section.text("failure_detection", found)
        && let Some(detection) = read::choice(&written, "failure_detection", &words, found)
    {
        polling.detection = detection;
    }
    polling.targets = targets(section, found);
    polling
}

/// Reads `targets`. They are asked by ARP, so that an interface needs no address for it.
fn targets(section: &mut Section<'_>, found: &mut Diagnostics) -> Vec<Ipv4Addr> {
    let Some(value) = section.take("targets") else { return Vec::new() };
    let Some(written) = read::texts(value, "targets", found) else { return Vec::new() };
    if written.is_empty() || written.len() > TARGETS_MAX {
        found
            .error(value.span(), format!("there are {} targets", written.len()))
            .label(format!("1 to {TARGETS_MAX}"));
    }
    let target = |one: &Placed<&str>| {
        let address = one.value.parse::<Ipv4Addr>().ok().filter(|address| {
            let is_one = !address.is_unspecified() && !address.is_broadcast();
            is_one && !address.is_loopback() && !address.is_multicast()
        });
        if address.is_none() {
            found
                .error(one.span.clone(), format!("\"{}\" is no address to ask", one.value))
                .help(
                    "a target is asked by ARP from each interface: write the IPv4 address of a machine on \
                     the same wire, as \"10.0.0.1\"",
                );
        }
        address
    };
    written.iter().filter_map(target).collect()
}

/// A node is no second opinion on nodes: those poll each other anyway.
pub(super) fn check_targets(network: &Network, span: &Span, found: &mut Diagnostics) {
    for target in &network.polling.targets {
        let mut ends = network.endpoints.values().filter(|end| end.has_address());
        if ends.any(|end| end.address == *target) {
            found
                .error(span.clone(), format!("the target {target} is a node of {}", network.name))
                .help("nodes poll each other anyway; take a router, or another machine that is always there");
        }
    }
}
