//! What is for all nodes of a network of kind `udp`: the address that it goes to, and the socket that
//! hears it.
//!
//! It belongs to the interface that carries the own address. When that is another one than before, or
//! none, the port is opened anew. An ear that cannot be opened, or fails, is tried again; until then
//! this node still speaks to all, and hears what is for it alone.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use os::event::{Interest, Poll, Token};
use os::udp::Udp;

use crate::config::{Endpoint, Heartbeat};

/// Datagrams taken in one turn.
const DATAGRAMS_PER_TURN: usize = 256;

/// The ear of one network.
pub(super) struct Everybody {
    socket: Option<Udp>,
    pub(super) token: u64,
    pub(super) interface: u32,
    /// Where what is for all goes.
    pub(super) to: SocketAddr,
    own: IpAddr,
}

impl Everybody {
    /// Lets `speaker` speak to all on the interface that carries the endpoint's address. Nothing is
    /// heard before [`Everybody::listen`].
    pub(super) fn new(
        to: SocketAddr,
        own: IpAddr,
        interface: u32,
        speaker: &Udp,
        token: u64,
    ) -> io::Result<Everybody> {
        let explain =
            |error: io::Error| io::Error::new(error.kind(), format!("speak to {to}: {error}"));
        speaker.speak_to_all(interface).map_err(explain)?;
        Ok(Everybody { socket: None, token, interface, to, own })
    }

    /// Hears what is for all from now on.
    pub(super) fn listen(&mut self, poll: &Poll) -> io::Result<()> {
        if self.socket.is_some() {
            return Ok(());
        }
        let to = self.to;
        let explain = |error: io::Error| {
            io::Error::new(error.kind(), format!("hear what is for {to}: {error}"))
        };
        let socket = Udp::hear_all(to, self.interface).map_err(explain)?;
        poll.add(&socket, Token(self.token), Interest::Read)?;
        self.socket = Some(socket);
        Ok(())
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Hears nothing until it listens again.
    pub(super) fn close(&mut self) {
        self.socket = None;
    }

    /// Takes what came, but not what this node sent; whether there may be more.
    pub(super) fn take(
        &mut self,
        has_error: bool,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        let own = self.own;
        let Some(socket) = &mut self.socket else { return Ok(false) };
        let drained = socket.drain_after(has_error, DATAGRAMS_PER_TURN, |from, bytes| {
            if from.ip() != own {
                take(bytes);
            }
        })?;
        Ok(drained.more)
    }
}

/// Where what is for all goes; none when each peer gets its own.
pub(super) fn address(
    heartbeat: Heartbeat,
    endpoint: &Endpoint,
    cluster: u32,
    port: u16,
    interface: u32,
) -> Option<SocketAddr> {
    match (heartbeat, endpoint.address) {
        (Heartbeat::Unicast, _) => None,
        (Heartbeat::Broadcast, IpAddr::V4(own)) => {
            let hosts = u32::MAX.checked_shr(endpoint.prefix.into()).unwrap_or(0);
            Some((Ipv4Addr::from_bits(own.to_bits() | hosts), port).into())
        }
        // The configuration says so, and its check refuses it.
        (Heartbeat::Broadcast, IpAddr::V6(_)) => None,
        (Heartbeat::Multicast { group, port: other }, own) => {
            let port = other.unwrap_or(port);
            Some(match group.unwrap_or_else(|| default_group(own, cluster)) {
                IpAddr::V6(group) => SocketAddrV6::new(group, port, 0, interface).into(),
                group => SocketAddr::new(group, port),
            })
        }
    }
}

/// For IPv4 in the block for organisations' own use (RFC 2365 section 6.2), for IPv6 a transient group
/// on the link (RFC 4291 section 2.7), each with the cluster's number.
fn default_group(own: IpAddr, cluster: u32) -> IpAddr {
    let [a, b, c, d] = cluster.to_be_bytes();
    match own {
        IpAddr::V4(_) => Ipv4Addr::new(239, 192 | b & 3, c, d).into(),
        IpAddr::V6(_) => {
            let words = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
            Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0x4d53, words[0], words[1]).into()
        }
    }
}

#[cfg(test)]
mod tests;
