//! The far end of streams: it compares what comes with what must come, and sends as many bytes back.
//!
//! It is polled by its owner together with other sockets and never waits. A connection that carries
//! anything else is reset, so that the client sees an error instead of an end.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::net::sockopt;

use super::content::{self, Content};
use super::{BUFFER, HEAD, MAGIC, is_passing};

/// Connections at once; more are refused.
const CONNECTIONS_MAX: usize = 64;

/// All connections to one responder.
pub(crate) struct Server {
    listeners: Vec<TcpListener>,
    connections: Vec<Connection>,
}

struct Connection {
    socket: TcpStream,
    head: Vec<u8>,
    /// Both streams, once the head is there: what comes, what goes back.
    streams: Option<(Content, Content)>,
    at_end: bool,
}

/// What became of a connection.
enum Fate {
    Open,
    Done,
    Wrong,
}

impl Server {
    /// With listeners that do not block.
    pub(crate) fn new(listeners: Vec<TcpListener>) -> Self {
        Self { listeners, connections: Vec::new() }
    }

    /// What to wait for.
    pub(crate) fn waits(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listeners = self.listeners.iter().map(|socket| (socket.as_fd(), PollFlags::IN));
        let connections = self.connections.iter().map(|one| {
            let room = if one.owes() > 0 { PollFlags::OUT } else { PollFlags::empty() };
            let more = if one.at_end { PollFlags::empty() } else { PollFlags::IN };
            (one.socket.as_fd(), room | more)
        });
        listeners.chain(connections)
    }

    /// Does all that can be done without waiting.
    pub(crate) fn serve(&mut self) {
        for listener in &self.listeners {
            while let Ok((socket, _)) = listener.accept() {
                // One that cannot be set up, or is one too many, is closed at once.
                let usable = socket.set_nonblocking(true).and(socket.set_nodelay(true)).is_ok();
                if usable && self.connections.len() < CONNECTIONS_MAX {
                    let head = Vec::new();
                    let connection = Connection { socket, head, streams: None, at_end: false };
                    self.connections.push(connection);
                }
            }
        }
        self.connections.retain_mut(|connection| match connection.go_on() {
            Ok(Fate::Open) => true,
            Ok(Fate::Done) => false,
            Ok(Fate::Wrong) | Err(_) => {
                // To linger for no time at all is to reset (socket(7)); a dead one is dead already.
                let _ = sockopt::set_socket_linger(&connection.socket, Some(Duration::ZERO));
                false
            }
        });
    }
}

impl Connection {
    /// Bytes that were right and are not answered yet.
    fn owes(&self) -> u64 {
        self.streams.as_ref().map_or(0, |(came, back)| came.place() - back.place())
    }

    fn go_on(&mut self) -> io::Result<Fate> {
        let mut bytes = [0; BUFFER];
        while !self.at_end {
            match self.socket.read(&mut bytes) {
                Ok(0) => self.at_end = true,
                Ok(length) => {
                    if !self.take(&bytes[..length]) {
                        return Ok(Fate::Wrong);
                    }
                }
                Err(error) if is_passing(&error) => break,
                Err(error) => return Err(error),
            }
        }
        while self.owes() > 0 {
            let length = (self.owes().min(BUFFER as u64)) as usize;
            let Some((_, back)) = &mut self.streams else { break };
            back.fill(&mut bytes[..length]);
            match self.socket.write(&bytes[..length]) {
                Ok(written) => back.advance(written),
                Err(error) if is_passing(&error) => return Ok(Fate::Open),
                Err(error) => return Err(error),
            }
        }
        Ok(if self.at_end { Fate::Done } else { Fate::Open })
    }

    /// False when something is not as it must be.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        if self.streams.is_none() {
            let missing = HEAD - self.head.len();
            let (part, rest) = bytes.split_at(missing.min(bytes.len()));
            self.head.extend(part);
            bytes = rest;
            if self.head.len() < HEAD {
                return true;
            }
            let seed = self.head.strip_prefix(MAGIC).and_then(|seed| seed.try_into().ok());
            let Some(seed) = seed.map(u64::from_be_bytes) else { return false };
            self.streams = Some(content::pair(seed));
        }
        let (came, _) = self.streams.as_mut().expect("set above");
        came.compare(bytes).is_ok()
    }
}
