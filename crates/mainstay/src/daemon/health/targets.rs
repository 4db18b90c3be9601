//! The second opinion: machines on the wire that answer each interface, or do not.
//!
//! Nodes that poll each other cannot tell who of two is at fault, and an interface that hears and is not heard
//! looks well to itself. So each interface asks the network's targets, twice in a poll, by an ARP probe (RFC 5227
//! section 2.1.1): a question without a sender's address, so that a standby can ask it too and nobody remembers
//! anything for it. The answer goes to the interface that asked, which is how it is told from what a
//! target says to all. What an answer means is decided by [`network::health`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use base::{Instant, NetworkId};
use network::health::NetStatus;
use network::wire::{self, Heard, Mac};
use os::ethernet::Ethernet;

/// Frames taken from one interface at a time.
const FRAMES_PER_LOOK: usize = 64;

/// The targets of each network that has some.
pub(super) type Wanted = BTreeMap<NetworkId, Vec<Ipv4Addr>>;

/// Asks, and hears answers.
#[derive(Debug, Default)]
pub(super) struct Targets {
    wanted: Wanted,
    /// When to ask next.
    due: BTreeMap<NetworkId, Instant>,
    /// The interfaces that have asked, by number.
    ears: BTreeMap<u32, Ear>,
}

#[derive(Debug)]
struct Ear {
    socket: Ethernet,
    mac: Mac,
    targets: Vec<Ipv4Addr>,
}

impl Targets {
    /// Other targets.
    pub(super) fn configure(&mut self, wanted: Wanted) {
        self.wanted = wanted;
        self.due.clear();
        self.ears.clear();
    }

    /// The interfaces that were answered since the last look.
    pub(super) fn answered(&mut self) -> Vec<u32> {
        let mut answered = Vec::new();
        self.ears.retain(|interface, ear| {
            let mut is_answer = false;
            let heard = ear.socket.drain(FRAMES_PER_LOOK, |frame| {
                is_answer |= is_answer_to(ear.mac, &ear.targets, frame);
            });
            if is_answer {
                answered.push(*interface);
            }
            // One that is gone is opened anew when there is another of its name.
            heard.is_ok()
        });
        answered
    }

    /// Asks on all interfaces of the networks whose turn it is. Returns those that did, and why another one
    /// cannot ask at all, in words.
    pub(super) fn ask(&mut self, now: Instant, nets: &[NetStatus]) -> (Vec<u32>, Option<String>) {
        let (mut asked, mut trouble) = (Vec::new(), None);
        let is_there = |index: u32| {
            let mut cards = nets.iter().flat_map(|net| &net.cards);
            cards.any(|card| card.seen.as_ref().is_some_and(|seen| seen.index == index))
        };
        self.ears.retain(|index, _| is_there(*index));
        for net in nets {
            let Some(targets) = self.wanted.get(&net.number) else { continue };
            if self.due.get(&net.number).is_some_and(|due| now < *due) {
                continue;
            }
            self.due.insert(net.number, now + twice_in(net.poll_interval));
            let cards = net.cards.iter().filter_map(|card| card.seen.as_ref());
            for card in cards.filter(|card| card.up && card.carrier) {
                let Some(mac) = card.mac else { continue };
                let is_known = self.ears.get(&card.index).is_some_and(|ear| ear.mac == mac);
                if !is_known {
                    let socket = match Ethernet::open(card.index) {
                        Ok(socket) => socket,
                        Err(error) => {
                            trouble = Some(format!("{} asks no targets: {error}", card.name));
                            continue;
                        }
                    };
                    self.ears.insert(card.index, Ear { socket, mac, targets: targets.clone() });
                }
                let ear = &self.ears[&card.index];
                let probes = targets.iter().map(|target| wire::probe(mac, IpAddr::V4(*target)));
                // What the kernel does not take was no question.
                let sent = probes.filter(|probe| ear.socket.send(probe).is_ok()).count();
                if sent > 0 {
                    asked.push(card.index);
                }
            }
        }
        (asked, trouble)
    }
}

/// So often that each poll has a question in it whenever it begins.
fn twice_in(poll_interval: Duration) -> Duration {
    poll_interval / 2
}

/// Whether a frame is what one of the targets says to this station alone.
fn is_answer_to(mac: Mac, targets: &[Ipv4Addr], frame: &[u8]) -> bool {
    frame.get(..6) == Some(&mac[..])
        && matches!(
            wire::decode(frame),
            Ok(Some(Heard::Uses { address: IpAddr::V4(address), .. })) if targets.contains(&address)
        )
}

#[cfg(test)]
mod tests;
