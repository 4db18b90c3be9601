//! What is for all nodes of a network of kind `udp`: the address that it goes to, and the socket that
//! hears it.
//!
//! It belongs to the interface that carries the own address. When that is another one than before, or
//! none, the port is opened anew.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use os::event::{Interest, Poll, Token};
use os::udp::Udp;

use crate::config::{Endpoint, Heartbeat};

/// Datagrams taken in one turn.
const DATAGRAMS_PER_TURN: usize = 256;

/// The ear of one network.
pub(super) struct Everybody {
    socket: Udp,
    pub(super) token: u64,
    pub(super) interface: u32,
    /// Where what is for all goes.
    pub(super) to: SocketAddr,
    own: IpAddr,
}

impl Everybody {
    /// Hears on the interface that carries the endpoint's address, and lets `speaker` speak to all.
    pub(super) fn open(
        to: SocketAddr,
        own: IpAddr,
        interface: u32,
        speaker: &Udp,
        token: u64,
        poll: &Poll,
    ) -> io::Result<Everybody> {
        let explain = |error: io::Error| {
            io::Error::new(error.kind(), format!("hear what is for {to}: {error}"))
        };
        let socket = Udp::hear_all(to, interface).map_err(explain)?;
        speaker.speak_to_all(interface).map_err(explain)?;
        poll.add(&socket, Token(token), Interest::Read)?;
        Ok(Everybody { socket, token, interface, to, own })
    }

    /// Takes what came, but not what this node sent; whether there may be more.
    pub(super) fn take(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
        let own = self.own;
        let drained = self.socket.drain(DATAGRAMS_PER_TURN, |from, bytes| {
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
