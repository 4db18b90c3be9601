//! Probes by ARP (RFC 826) and ICMP echo (RFC 792), answered by kernels: who answered is read from
//! the hardware address of the frame.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use super::{Asker, received_at};
use crate::netlink::{Hardware, RouteSocket};
use crate::spec;
use crate::sys;

pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
const EVERYBODY: [u8; 6] = [0xff; 6];

/// A socket for one protocol on the client's interface, with receive stamps.
pub(crate) fn open(network: &str, protocol: u16) -> Result<(OwnedFd, u32)> {
    let (index, _) = RouteSocket::open()?.interface(network)?;
    let socket = sys::bind_to_interface(index, protocol).context("opening a frame socket")?;
    sys::set_number(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
        .context("asking for receive stamps")?;
    Ok((socket, index))
}

/// All frames that are there, as (bytes, hardware address, time of receipt).
pub(crate) fn receive_all(
    socket: &OwnedFd,
    mut each: impl FnMut(&[u8], [u8; 6], Duration),
) -> io::Result<()> {
    let mut buffer = [0; 256];
    loop {
        match sys::receive_frame(socket, &mut buffer) {
            Ok(frame) => {
                each(&buffer[..frame.length], frame.hardware, received_at(frame.stamp));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // The interface went down: an outage like any other.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Asks whose hardware address an IPv4 address has.
///
/// A reply carries no number: it is taken as the answer to the latest request, which is right
/// unless it is older than the interval.
pub(super) struct Arp {
    socket: OwnedFd,
    interface: u32,
    request: [u8; 28],
    target: Ipv4Addr,
    latest: u64,
    naming: Naming,
}

/// What the owner of a hardware address is called.
pub(super) type Naming = fn(Hardware) -> String;

impl Arp {
    pub(super) fn open(target: Ipv4Addr, host: u8, naming: Naming) -> Result<Self> {
        let network = spec::network_of(target.into());
        let (socket, interface) = open(&spec::network_name(network), ETHERTYPE_ARP)?;
        let own = spec::hardware(network, host);
        let request = arp_request(own, spec::node_address(network, host), target);
        Ok(Self { socket, interface, request, target, latest: 0, naming })
    }
}

fn arp_request(hardware: Hardware, sender: Ipv4Addr, target: Ipv4Addr) -> [u8; 28] {
    let mut request = [0; 28];
    // Ethernet, IPv4, lengths 6 and 4, operation 1: request.
    request[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    request[8..14].copy_from_slice(&hardware);
    request[14..18].copy_from_slice(&sender.octets());
    request[24..].copy_from_slice(&target.octets());
    request
}

/// Says once that an address is at this machine now (the calling thread is in it): a gratuitous
/// ARP request, sender = target (RFC 5227, section 3).
pub(crate) fn announce(network: &str, hardware: Hardware, address: Ipv4Addr) -> Result<()> {
    let (socket, interface) = open(network, ETHERTYPE_ARP)?;
    let request = arp_request(hardware, address, address);
    sys::send_frame(&socket, &request, interface, ETHERTYPE_ARP, EVERYBODY)
        .with_context(|| format!("announcing {address}"))
}

impl Asker for Arp {
    fn send(&mut self, number: u64, _now: Duration) -> io::Result<()> {
        self.latest = number;
        sys::send_frame(&self.socket, &self.request, self.interface, ETHERTYPE_ARP, EVERYBODY)
    }

    fn waits(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        vec![(self.socket.as_fd(), PollFlags::IN)]
    }

    fn receive(&mut self, each: &mut dyn FnMut(u64, &str, u32, Duration)) -> io::Result<()> {
        let (target, latest, naming) = (self.target, self.latest, self.naming);
        receive_all(&self.socket, |bytes, _, at| {
            if let Some(owner) = arp_reply(bytes, target) {
                each(latest, &naming(owner), 0, at);
            }
        })
    }
}

/// The hardware address that an announcement gives for an address: sender = target.
pub(crate) fn announced(bytes: &[u8]) -> Option<(Hardware, Ipv4Addr)> {
    let head = bytes.get(..8)?;
    let is_arp = head[..7] == [0, 1, 8, 0, 6, 4, 0] && matches!(head[7], 1 | 2);
    let (sender, target) = (bytes.get(14..18)?, bytes.get(24..28)?);
    let address: [u8; 4] = sender.try_into().ok()?;
    (is_arp && sender == target).then_some((bytes[8..14].try_into().ok()?, address.into()))
}

/// The hardware address in a reply about `target`.
fn arp_reply(bytes: &[u8], target: Ipv4Addr) -> Option<[u8; 6]> {
    let reply = bytes.get(..8)? == [0, 1, 8, 0, 6, 4, 0, 2];
    let sender: [u8; 6] = bytes.get(8..14)?.try_into().ok()?;
    (reply && bytes.get(14..18)? == target.octets()).then_some(sender)
}

/// Asks by ICMP echo: sent through the kernel (which finds the neighbour), received as a frame.
pub(super) struct Echo {
    send: OwnedFd,
    receive: OwnedFd,
    target: Ipv4Addr,
    identifier: u16,
}

impl Echo {
    pub(super) fn open(target: Ipv4Addr) -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let send = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::RAW,
            flags,
            Some(ipproto::ICMP),
        )
        .context("opening an ICMP socket")?;
        let (receive, _) =
            open(&spec::network_name(spec::network_of(target.into())), ETHERTYPE_IPV4)?;
        // Distinguishes probes that run at the same time.
        let identifier = (crate::clock::now().as_nanos() >> 10) as u16;
        Ok(Self { send, receive, target, identifier })
    }
}

impl Asker for Echo {
    fn send(&mut self, number: u64, _now: Duration) -> io::Result<()> {
        // Type 8, code 0, checksum, identifier, sequence, and our number as the content.
        let mut bytes = vec![8, 0, 0, 0];
        bytes.extend(self.identifier.to_be_bytes());
        bytes.extend((number as u16).to_be_bytes());
        bytes.extend(number.to_be_bytes());
        let sum = checksum(&bytes).to_be_bytes();
        bytes[2..4].copy_from_slice(&sum);
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
fn echo_reply(bytes: &[u8], target: Ipv4Addr, identifier: u16) -> Option<u64> {
    let header = usize::from(bytes.first()? & 15) * 4;
    let icmp = bytes.get(header..)?;
    let ours = bytes.get(9)? == &1
        && bytes.get(12..16)? == target.octets()
        && icmp.get(..2)? == [0, 0]
        && icmp.get(4..6)? == identifier.to_be_bytes();
    let number = icmp.get(8..16)?.try_into().ok()?;
    ours.then(|| u64::from_be_bytes(number))
}

/// The checksum of the internet protocols (RFC 1071).
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests;
