//! Probes by UDP: a number and a time go out, come back with the name of who answered.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::PollFlags;

use super::{Asker, received_at};
use crate::sys;

const ASK: &[u8; 4] = b"MLq1";
const ANSWER: &[u8; 4] = b"MLa1";
/// Longest name in an answer.
pub(crate) const NAME_MAX: usize = 64;
/// Longest datagram of either kind.
pub(crate) const DATAGRAM_MAX: usize = 24 + NAME_MAX;

/// `MLq1`, number (8 bytes), time (8 bytes), all big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Which probe it is.
    pub number: u64,
    /// When it was sent, nanoseconds since boot.
    pub sent: u64,
}

impl Question {
    /// Its bytes.
    pub fn encode(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(ASK);
        bytes[4..12].copy_from_slice(&self.number.to_be_bytes());
        bytes[12..].copy_from_slice(&self.sent.to_be_bytes());
        bytes
    }

    /// What these bytes ask, if they do.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(ASK)?;
        let (number, rest) = rest.split_first_chunk()?;
        let sent = rest.try_into().ok()?;
        Some(Self { number: u64::from_be_bytes(*number), sent: u64::from_be_bytes(sent) })
    }
}

/// `MLa1`, number and time as asked, process id (4 bytes), name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// What was asked.
    pub question: Question,
    /// Of the process that answers.
    pub pid: u32,
    /// Of the machine that it runs on.
    pub name: &'a str,
}

impl<'a> Reply<'a> {
    /// Its bytes.
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = ANSWER.to_vec();
        bytes.extend(self.question.number.to_be_bytes());
        bytes.extend(self.question.sent.to_be_bytes());
        bytes.extend(self.pid.to_be_bytes());
        bytes.extend(self.name.as_bytes().iter().take(NAME_MAX));
        bytes
    }

    /// What these bytes answer, if they do.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(ANSWER)?;
        let (number, rest) = rest.split_first_chunk()?;
        let (sent, rest) = rest.split_first_chunk()?;
        let (pid, name) = rest.split_first_chunk()?;
        let question =
            Question { number: u64::from_be_bytes(*number), sent: u64::from_be_bytes(*sent) };
        let name = str::from_utf8(name).ok()?;
        Some(Self { question, pid: u32::from_be_bytes(*pid), name })
    }
}

/// Asks by UDP.
pub(super) struct Udp {
    socket: UdpSocket,
    target: SocketAddr,
}

impl Udp {
    pub(super) fn open(address: IpAddr, port: u16) -> Result<Self> {
        let any: IpAddr = match address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).context("opening the client's socket")?;
        sys::set_number(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
            .context("asking for receive stamps")?;
        Ok(Self { socket, target: SocketAddr::new(address, port) })
    }
}

impl Asker for Udp {
    fn send(&mut self, number: u64, now: Duration) -> io::Result<()> {
        let question = Question { number, sent: now.as_nanos() as u64 };
        sys::send_datagram(&self.socket, &question.encode(), self.target, None)
    }

    fn waits(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        vec![(self.socket.as_fd(), PollFlags::IN)]
    }

    fn receive(&mut self, each: &mut dyn FnMut(u64, &str, u32, Duration)) -> io::Result<()> {
        let mut buffer = [0; DATAGRAM_MAX];
        loop {
            let datagram = match sys::receive_datagram(&self.socket, &mut buffer) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            // An answer from another address than the one asked is no answer of the service.
            if datagram.source != self.target {
                continue;
            }
            if let Some(reply) = Reply::decode(&buffer[..datagram.length]) {
                let at = received_at(datagram.stamp);
                each(reply.question.number, reply.name, reply.pid, at);
            }
        }
    }
}

#[cfg(test)]
mod tests;
