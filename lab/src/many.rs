//! Very many addresses on one node, which go to the others at once.
//!
//! Measured from outside: from the moment when their node loses its power until each of them has been
//! announced by another one, on the wire. And inside: whether the heartbeats of those that are left
//! kept their step meanwhile.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::clock::{self, milliseconds};
use crate::cluster::{Resource, Service};
use crate::lab::Lab;
use crate::listener::{Heard, Listener, Sound};
use crate::spec;
use crate::wait;

/// The network that they are in.
const NETWORK: u8 = 0;
/// The network on which heartbeats are counted: nothing else is said on it.
const QUIET: u8 = 1;
/// Until the last one is announced.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bits of the subnet that they are in.
pub const PREFIX: u8 = 16;

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Many {
    /// Services.
    pub services: usize,
    /// Addresses of all of them together.
    pub addresses: usize,
}

impl Many {
    /// The limit of the document that this was modelled on, MC/LockManager's network manager.
    pub const SEED: Self = Self { services: 30, addresses: 200 };
    /// Ours.
    pub const LIMIT: Self = Self { services: 500, addresses: 1_000 };

    /// All of them.
    pub fn list(self) -> Vec<Ipv4Addr> {
        // 250 in each third octet, from 10.88.1.1 on.
        let address = |place: usize| subnet(1 + place / 250, 1 + place % 250);
        (0..self.addresses).map(address).collect()
    }

    /// Services that have them in turns and run on the first node as long as it is there.
    pub fn services(self, lab: &Lab) -> Vec<Service> {
        let addresses = self.list();
        let service = |number: usize| Service {
            name: format!("many{number}"),
            nodes: lab.node_names(),
            head: String::new(),
            resources: (addresses.iter().skip(number).step_by(self.services).enumerate())
                .map(|(place, address)| Resource::Address {
                    name: format!("ip{place}"),
                    address: format!("{address}/{PREFIX}"),
                })
                .collect(),
        };
        (0..self.services).map(service).collect()
    }
}

fn subnet(third: usize, fourth: usize) -> Ipv4Addr {
    let octet = |number: usize| u8::try_from(number).expect("there are not that many");
    Ipv4Addr::new(10, 88, octet(third), octet(fourth))
}

/// Gives a node that was switched on an address in the subnet.
///
/// # Errors
/// When it has no power.
pub fn furnish(lab: &mut Lab, node: &str) -> Result<()> {
    let number = usize::from(lab.node(node)?.id);
    lab.add_address(node, &spec::network_name(NETWORK), subnet(0, number).into(), PREFIX)
}

/// What the loss of their node cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Takeover {
    /// From the loss until the first address was announced by another node, milliseconds.
    pub first: f64,
    /// Until half of them were.
    pub half: f64,
    /// Until all were.
    pub last: f64,
    /// The longest time in which one of the nodes that are left heard nothing of another one on the
    /// other network, milliseconds; none where nothing is said on it.
    pub silence: Option<f64>,
}

impl Takeover {
    /// Heartbeats that should have come in the longest silence, and did not; none where nobody was heard.
    pub fn missed(&self, interval: Duration) -> Option<u32> {
        // The one that ends the silence may be late by nearly an interval, and is none that is missing.
        let in_silence =
            |silence: f64| ((silence / milliseconds(interval)) as u32).saturating_sub(1);
        self.silence.map(in_silence)
    }

    /// What is wrong when heartbeats come this far apart; nothing when none of them was missing.
    pub fn complaint(&self, interval: Duration) -> Option<String> {
        let (missed, silence) = match (self.missed(interval), self.silence) {
            (Some(0), _) => return None,
            (Some(missed), Some(silence)) => (missed, silence),
            (None, _) | (_, None) => {
                return Some(
                    "two of the nodes that are left heard no heartbeat of each other".to_owned(),
                );
            }
        };
        let limit = milliseconds(interval) * 2.0;
        Some(format!(
            "{missed} heartbeats were missed between the nodes that are left: {silence:.0} ms without one, \
             the limit is {limit:.0} ms"
        ))
    }
}

/// Waits until one node has announced all addresses since `start`.
///
/// # Errors
/// When that does not happen in time.
pub fn wait_until_announced(
    many: Many,
    listener: &mut Listener,
    start: Duration,
    limit: Duration,
    by: impl Fn(&str) -> bool,
) -> Result<BTreeMap<Ipv4Addr, Duration>> {
    let all = many.list();
    let mut seen = BTreeMap::new();
    let what = format!("{} addresses to be announced", all.len());
    wait::until(&what, limit, || {
        seen = first_announcements(&listener.heard()?, start, &by);
        Ok(all.iter().all(|address| seen.contains_key(address)).then_some(()))
    })?;
    seen.retain(|address, _| all.contains(address));
    Ok(seen)
}

fn first_announcements(
    heard: &[Heard],
    start: Duration,
    by: &impl Fn(&str) -> bool,
) -> BTreeMap<Ipv4Addr, Duration> {
    let mut first = BTreeMap::new();
    for one in heard.iter().filter(|one| one.at >= start && by(&one.from)) {
        if let Some(address) = one.address {
            first.entry(address).or_insert(one.at);
        }
    }
    first
}

/// Takes the power of the node that has them all, and waits for the others to announce them.
///
/// # Errors
/// When not all of them are announced in time.
pub fn take_over(many: Many, lab: &mut Lab, owner: &str) -> Result<Takeover> {
    let mut announcements = lab.listen_outside(NETWORK, Sound::Announcements)?;
    let names = lab.node_names();
    let others: Vec<String> = names.into_iter().filter(|name| name != owner).collect();
    let mut ears = Vec::new();
    if lab.spec().networks > QUIET {
        for node in &others {
            ears.push((node.clone(), lab.listen_on(node, QUIET, Sound::Packets)?));
        }
    }
    // So that a silence that begins with the loss has a beginning.
    clock::pause(Duration::from_secs(1));
    let start = clock::now();
    lab.power_off(owner)?;
    let seen =
        wait_until_announced(many, &mut announcements, start, PATIENCE, |node| node != owner)?;
    let mut times: Vec<Duration> = seen.into_values().collect();
    times.sort_unstable();
    ensure!(!times.is_empty(), "there was nothing to announce");
    let after = |at: Duration| milliseconds(at.saturating_sub(start));
    let last = times[times.len() - 1];
    let mut silences = Vec::new();
    for (node, ear) in &mut ears {
        let heard = ear.heard()?;
        let peers = others.iter().filter(|peer| *peer != node);
        silences.extend(peers.map(|peer| longest_silence(&heard, peer, start, last)));
    }
    // One pair that does not hear each other has no longest silence, and so have all.
    let silence = silences.into_iter().collect::<Option<Vec<Duration>>>();
    let silence = silence.and_then(|silences| silences.into_iter().max());
    Ok(Takeover {
        first: after(times[0]),
        half: after(times[times.len() / 2]),
        last: after(last),
        silence: silence.map(milliseconds),
    })
}

/// The longest time between two frames of a machine, of those that reach into `[from, to]`; none of one
/// that was not heard before.
fn longest_silence(heard: &[Heard], peer: &str, from: Duration, to: Duration) -> Option<Duration> {
    let of_peer = heard.iter().filter(|one| one.from == peer).map(|one| one.at);
    let mut of_peer: Vec<Duration> = of_peer.collect();
    // The kernel's stamps are of the wall clock: converted, two in a microsecond may change places.
    of_peer.sort_unstable();
    let pairs = of_peer.windows(2).filter(|pair| pair[1] >= from && pair[0] <= to);
    of_peer.first().filter(|first| **first < from)?;
    let open = to.saturating_sub(*of_peer.last()?);
    Some(pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or_default().max(open))
}

#[cfg(test)]
mod tests;
