//! Captured frames, and what can be made of them.
//!
//! ```text
//!  | Ethernet 14 | IPv4 20 | UDP 8 | 40 clear header | sealed …   over UDP
//!  | Ethernet 14 |                   40 clear header | sealed …   raw
//! ```
//!
//! The clear header is that of `transport`'s wire.rs: "MS", versions, cluster, source, destination,
//! network, slot, kind, session, counter. The lab knows these places and nothing of the key.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::card::Card;
use crate::client::checksum;
use crate::lab::Lab;
use crate::line::Chance;
use crate::netlink::{Hardware, RouteSocket};
use crate::spec;
use crate::sys;
use crate::wait;

/// The daemons' port and EtherType, as their configuration has them when it says nothing.
pub(crate) const PORT: u16 = 7420;
const ETHERTYPE: u16 = 0x88b5;
const ETHERTYPE_IPV4: u16 = 0x0800;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
/// Shortest frame on an Ethernet, without its checksum.
const SHORTEST: usize = 60;

/// Places in the clear header.
const VERSIONS: usize = 2;
const CLUSTER: usize = 4;
const SOURCE: usize = 8;
const DESTINATION: usize = 9;
const SESSION: usize = 16;
const COUNTER: usize = 32;
const HEADER: usize = 40;

/// How long a capture may take: slow presets beat twice a second.
const PATIENCE: Duration = Duration::from_secs(20);
/// Captured frames kept for each pair of nodes.
const KEPT: usize = 32;

/// One frame as it was on the wire, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Captured {
    destination: Hardware,
    /// Source and destination of its IPv4 header; none over raw Ethernet.
    addresses: Option<(Ipv4Addr, Ipv4Addr)>,
    payload: Vec<u8>,
}

impl Captured {
    pub(crate) fn source(&self) -> u8 {
        self.payload[SOURCE]
    }

    pub(crate) fn target(&self) -> u8 {
        self.payload[DESTINATION]
    }

    /// Takes a frame apart; none if it is not of ours.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let destination = bytes.get(..6)?.try_into().ok()?;
        let ethertype = u16::from_be_bytes(bytes.get(12..ETHERNET)?.try_into().ok()?);
        let (addresses, payload) = match ethertype {
            ETHERTYPE => (None, &bytes[ETHERNET..]),
            ETHERTYPE_IPV4 => {
                let ip = &bytes[ETHERNET..];
                // No options, UDP, not a fragment.
                if ip.first()? != &0x45 || ip.get(9)? != &17 || ip.get(6)? & 0x3f != 0 {
                    return None;
                }
                let address = |at: usize| {
                    let octets: Option<[u8; 4]> = ip.get(at..at + 4)?.try_into().ok();
                    octets.map(Ipv4Addr::from)
                };
                let udp = ip.get(IPV4..)?;
                let length = u16::from_be_bytes(udp.get(4..6)?.try_into().ok()?);
                if udp.get(2..4)? != PORT.to_be_bytes() {
                    return None;
                }
                (Some((address(12)?, address(16)?)), udp.get(UDP..usize::from(length))?)
            }
            _ => return None,
        };
        let is_ours = payload.len() > HEADER && payload.starts_with(b"MS");
        is_ours.then(|| Self { destination, addresses, payload: payload.to_vec() })
    }

    /// The same from the stranger's hardware address, with another payload.
    fn with(&self, network: u8, payload: &[u8], fresh: Fresh) -> Frame {
        let own = spec::hardware(network, spec::STRANGER_HOST);
        let mut bytes = [self.destination, own].concat();
        match self.addresses {
            None => bytes.extend(ETHERTYPE.to_be_bytes()),
            Some(addresses) => {
                bytes.extend(ETHERTYPE_IPV4.to_be_bytes());
                bytes.extend(ipv4_udp(addresses, payload.len()));
            }
        }
        let payload_at = bytes.len();
        bytes.extend(payload);
        bytes.resize(bytes.len().max(SHORTEST), 0);
        Frame { bytes, payload_at, fresh }
    }

    pub(crate) fn made_into(&self, network: u8, kind: Kind, chance: &mut Chance) -> Frame {
        let mut payload = self.payload.clone();
        match kind {
            Kind::Replayed => self.with(network, &payload, Fresh::Nothing),
            Kind::Stub => {
                payload.truncate(1 + chance.below(HEADER as u64 - 1) as usize);
                self.with(network, &payload, Fresh::Nothing)
            }
            Kind::Truncated => {
                let shortest = HEADER as u64 + 56;
                let span = (payload.len() as u64).saturating_sub(shortest).max(1);
                payload.truncate((shortest + chance.below(span)) as usize);
                self.with(network, &payload, Fresh::Counter)
            }
            Kind::Flipped => {
                // Which one is decided each time that it is sent.
                self.with(network, &payload, Fresh::Flip { flipped: None })
            }
            Kind::Forged => self.with(network, &payload, Fresh::SessionAndBody),
            Kind::ForeignCluster => {
                payload[CLUSTER] ^= 0xff;
                self.with(network, &payload, Fresh::Counter)
            }
            Kind::ForeignVersion => {
                payload[VERSIONS..VERSIONS + 2].copy_from_slice(&[200, 201]);
                self.with(network, &payload, Fresh::Counter)
            }
        }
    }
}

/// What a frame is made into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As it was.
    Replayed,
    /// Cut within the clear header.
    Stub,
    /// Cut behind it, with a counter that was not seen yet.
    Truncated,
    /// With one bit of it changed, anywhere.
    Flipped,
    /// With a right header, a session and a body of its own.
    Forged,
    /// Of another cluster.
    ForeignCluster,
    /// Of a version that nobody speaks.
    ForeignVersion,
}

impl Kind {
    /// What a storm is made of.
    pub(crate) const STORM: [Kind; 5] =
        [Kind::Replayed, Kind::Stub, Kind::Truncated, Kind::Flipped, Kind::Forged];
}

/// What of a frame is another thing each time that it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fresh {
    Nothing,
    Counter,
    SessionAndBody,
    Flip { flipped: Option<usize> },
}

/// A frame to send.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
    payload_at: usize,
    fresh: Fresh,
}

impl Frame {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn freshen(&mut self, chance: &mut Chance) {
        let payload = &mut self.bytes[self.payload_at..];
        let mut noise = |bytes: &mut [u8]| {
            for part in bytes.chunks_mut(8) {
                part.copy_from_slice(&chance.next().to_be_bytes()[..part.len()]);
            }
        };
        match &mut self.fresh {
            Fresh::Nothing => {}
            Fresh::Counter => noise(&mut payload[COUNTER..HEADER]),
            Fresh::SessionAndBody => {
                noise(&mut payload[SESSION..HEADER]);
                noise(&mut payload[HEADER..HEADER + 16]);
            }
            Fresh::Flip { flipped } => {
                let flip = |payload: &mut [u8], bit: usize| payload[bit / 8] ^= 1 << (bit % 8);
                if let Some(bit) = flipped.take() {
                    flip(payload, bit);
                }
                noise(&mut payload[COUNTER..HEADER]);
                let bit = chance.below(payload.len() as u64 * 8) as usize;
                flip(payload, bit);
                *flipped = Some(bit);
            }
        }
    }
}

/// Datagrams of noise for the daemons' port of a node, from the stranger's own address.
pub(crate) fn noise(network: u8, node: u8, length: usize, chance: &mut Chance) -> Frame {
    let addresses =
        (spec::node_address(network, spec::STRANGER_HOST), spec::node_address(network, node));
    let destination = spec::hardware(network, node);
    let payload: Vec<u8> = (0..length).map(|_| chance.next() as u8).collect();
    let shape = Captured { destination, addresses: Some(addresses), payload: Vec::new() };
    shape.with(network, &payload, Fresh::Nothing)
}

/// Headers (RFC 791, RFC 768); a checksum of zero over UDP says that there is none.
fn ipv4_udp((from, to): (Ipv4Addr, Ipv4Addr), payload: usize) -> Vec<u8> {
    let length = |header: usize| ((header + payload) as u16).to_be_bytes();
    let mut bytes = vec![0x45, 0];
    bytes.extend(length(IPV4 + UDP));
    bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    let sum = checksum(&bytes).to_be_bytes();
    bytes[10..12].copy_from_slice(&sum);
    bytes.extend(PORT.to_be_bytes());
    bytes.extend(PORT.to_be_bytes());
    bytes.extend(length(UDP));
    bytes.extend([0, 0]);
    bytes
}

/// Listens at a switch to what one node sends.
pub(crate) struct Ear(OwnedFd);

impl Ear {
    pub(crate) fn at(lab: &Lab, network: u8, node: &str) -> Result<Self> {
        let port = Card::primary(network).port(node);
        lab.switches[usize::from(network)].namespace().run(|| {
            let (index, _) = RouteSocket::open()?.interface(&port)?;
            Ok(Self(sys::bind_raw(index, true).context("listening at a switch")?))
        })
    }

    /// Whether it sent a frame for that node since it was asked last. The port shows both
    /// directions, so the hardware address tells.
    pub(crate) fn hears(&mut self, target: &str) -> bool {
        let mut buffer = [0; 2048];
        let mut heard = false;
        while let Ok(frame) = sys::receive_frame(&self.0, &mut buffer) {
            let is_there = |one: Captured| spec::node_name(one.target()) == target;
            heard |= Captured::parse(&buffer[..frame.length]).is_some_and(is_there);
        }
        heard
    }
}

/// Listens at the switch of a network until every node was heard speaking to every other one.
pub(crate) fn capture(lab: &Lab, network: u8) -> Result<Vec<Captured>> {
    let names = lab.node_names();
    let pairs = names.len() * (names.len() - 1);
    lab.switches[usize::from(network)].namespace().run(|| {
        let mut sockets = Vec::new();
        for name in &names {
            let port = Card::primary(network).port(name);
            let (index, _) = RouteSocket::open()?.interface(&port)?;
            sockets.push(sys::bind_raw(index, true).context("listening at a switch")?);
        }
        let mut found: BTreeMap<(u8, u8), Vec<Captured>> = BTreeMap::new();
        let mut buffer = [0; 2048];
        let what = format!("every node to speak to every other one on net{network}");
        wait::until(&what, PATIENCE, || {
            for socket in &sockets {
                while let Ok(frame) = sys::receive_frame(socket, &mut buffer) {
                    let Some(frame) = Captured::parse(&buffer[..frame.length]) else { continue };
                    let all = 1..=names.len() as u8;
                    let is_for = |node: &u8| match frame.target() {
                        // To everybody: each may be the one to whom it is sent again.
                        0 => *node != frame.source(),
                        target => *node == target,
                    };
                    for node in all.filter(is_for) {
                        let list = found.entry((frame.source(), node)).or_default();
                        if list.len() < KEPT && !list.contains(&frame) {
                            list.push(frame.clone());
                        }
                    }
                }
            }
            let enough = found.len() == pairs && found.values().all(|list| list.len() >= KEPT / 4);
            Ok(enough.then_some(()))
        })?;
        Ok(found.into_values().flatten().collect())
    })
}

#[cfg(test)]
mod tests;
