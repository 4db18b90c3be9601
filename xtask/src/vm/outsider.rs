//! A machine outside the cluster, made of frames alone: it asks a service address and notes who
//! answers.
//!
//! It asks every machine by its own hardware address, whatever the caches of a real client would
//! say: whoever believes to own the address answers, and two of them are seen at once. Besides it
//! asks by ARP (RFC 826), whose the address is. What it sends is what the lab's client sends
//! ([`Question`]), in datagrams with a header each for Ethernet, IPv4 (RFC 791) and UDP (RFC 768).

use std::net::Ipv4Addr;
use std::time::Duration;

use lab::client::{Question, Reply, checksum};
use lab::{Hardware, Trace, spec};

/// Between two questions.
const INTERVAL: Duration = Duration::from_millis(50);
/// Its port.
const PORT: u16 = 7701;
const ETHERTYPE_IPV4: [u8; 2] = [8, 0];
const ETHERTYPE_ARP: [u8; 2] = [8, 6];
const UDP: u8 = 17;

/// What it has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Who answered questions.
    pub(crate) answers: Trace,
    /// Who said by ARP that the address is there.
    pub(crate) owners: Trace,
}

/// The machine.
pub(crate) struct Outsider {
    address: Ipv4Addr,
    hardware: Hardware,
    target: Ipv4Addr,
    port: u16,
    /// Of the machines that it asks.
    machines: Vec<Hardware>,
    seen: Seen,
    number: u64,
    next: Duration,
}

impl Outsider {
    /// One in network 0 that asks `target`, at these machines, whether a service answers there.
    #[must_use]
    pub(crate) fn new(target: Ipv4Addr, port: u16, machines: Vec<Hardware>) -> Self {
        Self {
            address: spec::client_address(0),
            hardware: spec::hardware(0, 254),
            target,
            port,
            machines,
            seen: Seen::default(),
            number: 0,
            next: Duration::ZERO,
        }
    }

    /// What it has seen so far.
    #[must_use]
    pub(crate) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The frames that it sends now.
    pub(crate) fn ask(&mut self, now: Duration) -> Vec<Vec<u8>> {
        if now < self.next {
            return Vec::new();
        }
        self.next = now + INTERVAL;
        let question = Question { number: self.number, sent: now.as_nanos() as u64 };
        self.number += 1;
        self.seen.answers.note_sent(now, true);
        self.seen.owners.note_sent(now, true);
        let mut frames: Vec<Vec<u8>> =
            self.machines.iter().map(|to| self.datagram(*to, &question.encode())).collect();
        let nobody = [0; 6];
        frames.push(self.arp(1, [0xff; 6], nobody, self.target));
        frames
    }

    /// Takes a frame; what it answers.
    pub(crate) fn hear(&mut self, frame: &[u8], now: Duration) -> Option<Vec<u8>> {
        let sender: Hardware = *frame.get(6..)?.first_chunk()?;
        let (kind, content) = frame.get(12..)?.split_first_chunk::<2>()?;
        match *kind {
            ETHERTYPE_ARP => self.hear_arp(content, now),
            ETHERTYPE_IPV4 => {
                self.hear_datagram(sender, content, now);
                None
            }
            _ => None,
        }
    }

    fn hear_arp(&mut self, content: &[u8], now: Duration) -> Option<Vec<u8>> {
        let (head, rest) = content.split_first_chunk::<8>()?;
        let hardware: Hardware = *rest.first_chunk()?;
        let sender = Ipv4Addr::from(*rest.get(6..)?.first_chunk::<4>()?);
        let asked = Ipv4Addr::from(*rest.get(16..)?.first_chunk::<4>()?);
        match head {
            // Somebody wants to answer us.
            [0, 1, 8, 0, 6, 4, 0, 1] if asked == self.address && sender != self.address => {
                Some(self.arp(2, hardware, hardware, sender))
            }
            [0, 1, 8, 0, 6, 4, 0, 2] if sender == self.target && asked == self.address => {
                let owner = spec::hardware_owner(hardware);
                let latest = self.number.saturating_sub(1);
                self.seen.owners.note_answer(latest, &owner, 0, now);
                None
            }
            _ => None,
        }
    }

    fn hear_datagram(&mut self, sender: Hardware, content: &[u8], now: Duration) {
        let Some(said) = self.answer(content) else { return };
        if let Some(reply) = Reply::decode(said) {
            // The name that it gives is that of the machine; the station is what it really is.
            let owner = spec::hardware_owner(sender);
            self.seen.answers.note_answer(reply.question.number, &owner, reply.pid, now);
        }
    }

    /// The content of a datagram from the service to us.
    fn answer<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let header = usize::from(packet.first()? & 15) * 4;
        let udp = packet.get(header..)?;
        let is_ours = packet.get(9)? == &UDP
            && packet.get(12..16)? == self.target.octets()
            && packet.get(16..20)? == self.address.octets()
            && udp.get(..2)? == self.port.to_be_bytes()
            && udp.get(2..4)? == PORT.to_be_bytes();
        let length = usize::from(u16::from_be_bytes(*udp.get(4..)?.first_chunk()?));
        if is_ours { udp.get(8..length) } else { None }
    }

    /// A datagram to the service, for one machine.
    fn datagram(&self, to: Hardware, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(28 + content.len()).expect("a question is short");
        let mut header = vec![0x45, 0];
        header.extend(length.to_be_bytes());
        // No identification, not to be cut into fragments, 64 hops, checksum to come.
        header.extend([0, 0, 0x40, 0, 64, UDP, 0, 0]);
        header.extend(self.address.octets());
        header.extend(self.target.octets());
        let sum = checksum(&header).to_be_bytes();
        header[10..12].copy_from_slice(&sum);
        let mut frame = ethernet(to, self.hardware, ETHERTYPE_IPV4);
        frame.extend(header);
        frame.extend(PORT.to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        frame.extend((length - 20).to_be_bytes());
        // No checksum: over IPv4 it may be left out.
        frame.extend([0, 0]);
        frame.extend(content);
        frame
    }

    /// An ARP message: 1 asks, 2 replies.
    fn arp(&self, operation: u8, to: Hardware, about: Hardware, target: Ipv4Addr) -> Vec<u8> {
        let mut frame = ethernet(to, self.hardware, ETHERTYPE_ARP);
        frame.extend([0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend(self.hardware);
        frame.extend(self.address.octets());
        frame.extend(about);
        frame.extend(target.octets());
        frame
    }
}

fn ethernet(to: Hardware, from: Hardware, kind: [u8; 2]) -> Vec<u8> {
    to.into_iter().chain(from).chain(kind).collect()
}

#[cfg(test)]
mod tests;
