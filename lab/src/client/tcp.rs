//! Probes by TCP: connect, read who it is. A connection per probe, many at a time, so that an
//! outage is seen as finely as by datagrams.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::Asker;
use crate::clock;

/// Connections under way at most; the oldest is given up for a new one.
const CONNECTIONS_MAX: usize = 256;
/// After this time a connection is given up. The first retransmission of a lost SYN is after 1 s.
const PATIENCE: Duration = Duration::from_millis(900);

struct Attempt {
    number: u64,
    started: Duration,
    stream: TcpStream,
    text: Vec<u8>,
}

/// Asks by TCP.
pub(super) struct Tcp {
    target: SocketAddr,
    attempts: Vec<Attempt>,
}

impl Tcp {
    pub(super) fn new(address: IpAddr, port: u16) -> Self {
        Self { target: SocketAddr::new(address, port), attempts: Vec::new() }
    }
}

impl Asker for Tcp {
    fn send(&mut self, number: u64, now: Duration) -> io::Result<()> {
        self.attempts.retain(|attempt| now.saturating_sub(attempt.started) < PATIENCE);
        if self.attempts.len() >= CONNECTIONS_MAX {
            self.attempts.remove(0);
        }
        let family = match self.target {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&socket, &self.target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let stream = TcpStream::from(socket);
        self.attempts.push(Attempt { number, started: now, stream, text: Vec::new() });
        Ok(())
    }

    fn waits(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        self.attempts.iter().map(|attempt| (attempt.stream.as_fd(), PollFlags::IN)).collect()
    }

    fn receive(&mut self, each: &mut dyn FnMut(u64, &str, u32, Duration)) -> io::Result<()> {
        self.attempts.retain_mut(|attempt| {
            let mut part = [0; 128];
            match attempt.stream.read(&mut part) {
                Ok(0) => {
                    if let Some((name, pid)) = parse(&attempt.text) {
                        each(attempt.number, name, pid, clock::now());
                    }
                    false
                }
                Ok(length) => {
                    attempt.text.extend(&part[..length]);
                    attempt.text.len() <= part.len()
                }
                // Refused, reset, unreachable: this probe has no answer.
                Err(error) => {
                    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
                }
            }
        });
        Ok(())
    }
}

/// `name pid\n`
fn parse(text: &[u8]) -> Option<(&str, u32)> {
    let line = str::from_utf8(text).ok()?.strip_suffix('\n')?;
    let (name, pid) = line.rsplit_once(' ')?;
    Some((name, pid.parse().ok()?))
}

#[cfg(test)]
mod tests;
