//! The member's side: one connection for one question.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use base::NodeId;
use group::{Reply, Request};
use os::clock;

use super::stream;
use super::wire::{Key, Mark, Question, Response};
use crate::arbiter::{Arbiter, Asker};

/// The least time for a connection: a lost SYN is sent again after a second.
const CONNECT_MIN: Duration = Duration::from_secs(1);

/// A witness, as one node asks it.
pub struct Client {
    address: String,
    cluster: u32,
    local: NodeId,
    name: String,
    key: Key,
    budget: Duration,
}

impl Client {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(address: String, asker: &Asker) -> Client {
        Client {
            address,
            cluster: asker.cluster,
            local: asker.local,
            name: asker.name.clone(),
            key: Key::of_cluster(&asker.key),
            budget: asker.budget,
        }
    }

    fn exchange(&self, request: Option<Request>) -> io::Result<Response> {
        let mut stream = self.connect()?;
        stream.set_nodelay(true)?;
        // The group waits for twice the budget; what comes later is of no use.
        let until = clock::boottime() + self.budget * 2;
        let mut mark: Mark = [0; 12];
        clock::random(&mut mark);
        let question = Question { node: self.local, name: self.name.clone(), request };
        let frame = self.key.seal_question(self.cluster, &question, mark);
        stream::write(&mut stream, &frame, until)?;
        let frame = stream::read(&mut stream, until).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => io::Error::new(
                error.kind(),
                "it does not know this cluster, or under another key: `mainstay witness add` there \
                 takes what `mainstay witness key` prints here",
            ),
            _ => error,
        })?;
        self.key.open_response(&frame, mark).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "its answer was not made by the witness")
        })
    }

    /// Tries all addresses of the name.
    fn connect(&self) -> io::Result<TcpStream> {
        let limit = self.budget.max(CONNECT_MIN);
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, limit) {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

impl Arbiter for Client {
    fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        match self.exchange(Some(request.clone()))? {
            Response::Reply(reply) => Ok(reply),
            Response::Unable(why) => Err(io::Error::other(format!("it says: {why}"))),
            Response::Ready => Err(io::Error::other("it answers another question")),
        }
    }

    fn probe(&mut self) -> io::Result<()> {
        match self.exchange(None)? {
            Response::Ready => Ok(()),
            Response::Unable(why) => Err(io::Error::other(format!("it says: {why}"))),
            Response::Reply(_) => Err(io::Error::other("it answers another question")),
        }
    }
}
