//! Probes by neighbour discovery (RFC 4861) and ICMPv6 echo (RFC 4443), answered by kernels: who
//! answered is read from the hardware address of the frame.

use std::io;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use super::Asker;
use super::frames::{Naming, checksum, open, receive_all};
use crate::spec;
use crate::sys;

const ETHERTYPE: u16 = 0x86dd;
const ICMPV6: u8 = 58;
const HEADER: usize = 40;
const ECHO: u8 = 128;
const ECHO_REPLY: u8 = 129;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Source, and the ICMPv6 message, of an IPv6 packet without extension headers.
fn message(bytes: &[u8]) -> Option<(Ipv6Addr, &[u8])> {
    let is_message = bytes.get(6)? == &ICMPV6;
    let source = <[u8; 16]>::try_from(bytes.get(8..24)?).ok()?;
    is_message.then_some((source.into(), bytes.get(HEADER..)?))
}

/// Asks whose hardware address an IPv6 address has. As with ARP a reply carries no number: it is
/// taken as the answer to the latest request.
pub(super) struct Solicit {
    socket: OwnedFd,
    interface: u32,
    request: Vec<u8>,
    group: [u8; 6],
    target: Ipv6Addr,
    latest: u64,
    naming: Naming,
}

impl Solicit {
    pub(super) fn open(target: Ipv6Addr, host: u8, naming: Naming) -> Result<Self> {
        let network = spec::network_of(target.into());
        let (socket, interface) = open(&spec::network_name(network), ETHERTYPE)?;
        let own = (spec::node_address_v6(network, host), spec::hardware(network, host));
        let [.., a, b, c] = target.octets();
        let group = [0x33, 0x33, 0xff, a, b, c];
        let request = solicitation(own, target);
        Ok(Self { socket, interface, request, group, target, latest: 0, naming })
    }
}

/// To the solicited-node multicast address (RFC 4291, section 2.7.1).
fn solicitation((own, hardware): (Ipv6Addr, [u8; 6]), target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), 0);
    let mut group = group.octets();
    group[14..].copy_from_slice(&[b, c]);
    let mut body = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    body.extend(target.octets());
    body.extend([1, 1]);
    body.extend(hardware);
    let length = body.len() as u8;
    let pseudo = [&own.octets()[..], &group, &[0, 0, 0, length, 0, 0, 0, ICMPV6], &body].concat();
    body[2..4].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0, 0, length, ICMPV6, 255];
    packet.extend(own.octets());
    packet.extend(group);
    packet.extend(body);
    packet
}

impl Asker for Solicit {
    fn send(&mut self, number: u64, _now: Duration) -> io::Result<()> {
        self.latest = number;
        sys::send_frame(&self.socket, &self.request, self.interface, ETHERTYPE, self.group)
    }

    fn waits(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        vec![(self.socket.as_fd(), PollFlags::IN)]
    }

    fn receive(&mut self, each: &mut dyn FnMut(u64, &str, u32, Duration)) -> io::Result<()> {
        let (target, latest, naming) = (self.target, self.latest, self.naming);
        receive_all(&self.socket, |bytes, hardware, at| {
            if advertised(bytes) == Some(target) {
                each(latest, &naming(hardware), 0, at);
            }
        })
    }
}

/// The target of an advertisement that answers a solicitation.
fn advertised(bytes: &[u8]) -> Option<Ipv6Addr> {
    const SOLICITED: u8 = 0x40;
    let (_, message) = message(bytes)?;
    let answers = message.first()? == &ADVERTISEMENT && message.get(4)? & SOLICITED != 0;
    let target = <[u8; 16]>::try_from(message.get(8..24)?).ok()?;
    answers.then_some(target.into())
}

/// Asks by ICMPv6 echo: sent through the kernel (which finds the neighbour), received as a frame.
pub(super) struct Echo {
    send: OwnedFd,
    receive: OwnedFd,
    target: Ipv6Addr,
    identifier: u16,
}

impl Echo {
    pub(super) fn open(target: Ipv6Addr) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = (AddressFamily::INET6, SocketType::RAW);
        let send = rustix::net::socket_with(kind.0, kind.1, flags, Some(ipproto::ICMPV6))
            .context("opening an ICMPv6 socket")?;
        let (receive, _) = open(&spec::network_name(spec::network_of(target.into())), ETHERTYPE)?;
        // Distinguishes probes that run at the same time.
        let identifier = (crate::clock::now().as_nanos() >> 10) as u16;
        Ok(Self { send, receive, target, identifier })
    }
}

impl Asker for Echo {
    fn send(&mut self, number: u64, _now: Duration) -> io::Result<()> {
        // Type 128, code 0, the checksum (which the kernel fills in), identifier, sequence, and our
        // number as the content.
        let mut bytes = vec![ECHO, 0, 0, 0];
        bytes.extend(self.identifier.to_be_bytes());
        bytes.extend((number as u16).to_be_bytes());
        bytes.extend(number.to_be_bytes());
        sys::send_datagram(&self.send, &bytes, (self.target, 0).into(), None)
    }

    fn waits(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        vec![(self.receive.as_fd(), PollFlags::IN)]
    }

    fn receive(&mut self, each: &mut dyn FnMut(u64, &str, u32, Duration)) -> io::Result<()> {
        // The kernel hands each reply to the sending socket too: empty that.
        let mut buffer = [0; 256];
        while sys::receive_datagram(&self.send, &mut buffer).is_ok() {}
        let (target, identifier) = (self.target, self.identifier);
        receive_all(&self.receive, |bytes, hardware, at| {
            if let Some(number) = echo_reply(bytes, target, identifier) {
                each(number, &spec::hardware_owner(hardware), 0, at);
            }
        })
    }
}

/// The number in an echo reply of `target` to us.
fn echo_reply(bytes: &[u8], target: Ipv6Addr, identifier: u16) -> Option<u64> {
    let (source, message) = message(bytes)?;
    let ours = source == target
        && message.get(..2)? == [ECHO_REPLY, 0]
        && message.get(4..6)? == identifier.to_be_bytes();
    let number = message.get(8..16)?.try_into().ok()?;
    ours.then(|| u64::from_be_bytes(number))
}

#[cfg(test)]
mod tests;
