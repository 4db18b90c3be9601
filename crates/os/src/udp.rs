//! Datagram sockets: one per network of this node, bound to its local address.
//!
//! What the kernel says about a datagram is a hint at most. A send that fails because a queue or the
//! neighbour table is full (`ENOBUFS`, `EAGAIN`) says nothing about the peer, and neither does an
//! address that went away with its interface; both are counted and the path's own timeout decides.
//! An ICMP error arrives in the socket's error queue (ip(7), `IP_RECVERR`) and is passed on as a
//! [`Hint`]; anybody can forge one, so it may only make a path *suspicious*.
//!
//! The socket is bound with `IP_FREEBIND`: a daemon may start before its interface has the address,
//! and the socket goes on working when the address leaves and returns. Only an interface that was
//! made anew needs [`Udp::rebind`], because link-local scopes and device bindings are by its number.
//! Datagrams are marked as network control (class selector 6, RFC 2474 and RFC 4594 section 3.1) and
//! never carry "don't fragment", so a forged or stale path MTU cannot stop a heartbeat.

mod everybody;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with};

use crate::sys::{self, Batch};

/// Bytes of room for datagrams that wait in the kernel, where it lets us have them.
const RECEIVE_BUFFER: i32 = 4 << 20;
/// Bytes of the largest datagram of interest, that of a large Ethernet frame; larger ones are cut and
/// fail their seal above.
pub const DATAGRAM_MAX: usize = 9_216;
/// Queued errors taken per turn.
const HINTS_PER_TURN: usize = 64;
/// Class selector 6 in the upper six bits of the traffic class.
const NETWORK_CONTROL: i32 = 0xc0;

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The kernel took it.
    Taken,
    /// A queue, the memory or the neighbour table is full: lost, and says nothing about the peer.
    Full,
    /// The local address or interface is not there at the moment, or there is no route: lost.
    NoWay,
    /// The kernel refused it for another reason (error number): lost.
    Refused(i32),
}

/// What a turn took from a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Datagrams taken.
    pub count: usize,
    /// The bound ended the turn: there may be more.
    pub more: bool,
}

/// An unauthenticated word of the network about one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Nobody listens at that address and port.
    PortUnreachable,
    /// No way to that address.
    HostUnreachable,
    /// Something else (error number).
    Other(i32),
}

/// How often what happened, since the socket was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams received.
    pub received: u64,
    /// Lost to a full queue or table.
    pub full: u64,
    /// Lost for want of the local address, the interface or a route.
    pub no_way: u64,
    /// Refused for another reason.
    pub refused: u64,
    /// Entries of the error queue.
    pub hints: u64,
    /// Times the socket was made anew.
    pub rebinds: u64,
}

/// The socket of one network.
#[derive(Debug)]
pub struct Udp {
    socket: UdpSocket,
    local: SocketAddr,
    device: Option<String>,
    counters: Counters,
    batch: Batch,
}

impl Udp {
    /// A non-blocking socket at `local`, whether the address is there already or not; `device`
    /// confines it to the interface of that name.
    ///
    /// # Errors
    /// When another socket has the port, or the interface called `device` is missing.
    pub fn bind(local: SocketAddr, device: Option<&str>) -> io::Result<Udp> {
        let socket = open_shared(local, device, false)?;
        let local = socket.local_addr()?;
        Ok(Udp {
            socket,
            local,
            device: device.map(str::to_owned),
            counters: Counters::default(),
            batch: Batch::new(DATAGRAM_MAX),
        })
    }

    /// Makes the socket anew at `local`: after its interface was made anew. The loop must add the
    /// new descriptor. On failure the old socket stays.
    ///
    /// # Errors
    /// As [`Udp::bind`].
    pub fn rebind(&mut self, local: SocketAddr) -> io::Result<()> {
        // For a moment both sockets have the address. Linux allows that when both say so, and asks
        // only when the second one binds; nobody else can slip in later.
        set_shared(self.socket.as_fd(), true)?;
        let replacement = open_shared(local, self.device.as_deref(), true);
        set_shared(self.socket.as_fd(), false)?;
        let replacement = replacement?;
        set_shared(replacement.as_fd(), false)?;
        self.socket = replacement;
        self.local = self.socket.local_addr()?;
        self.counters.rebinds += 1;
        Ok(())
    }

    /// Where the socket is bound.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Sends one datagram; never waits.
    pub fn send_to(&mut self, bytes: &[u8], to: SocketAddr) -> Sent {
        let mut result = self.socket.send_to(bytes, to);
        // With IP_RECVERR an earlier datagram's error is reported by whichever call comes next, and
        // that call does nothing else: once more, for this datagram.
        if result.is_err() {
            result = self.socket.send_to(bytes, to);
        }
        match result {
            Ok(_) => {
                self.counters.sent += 1;
                Sent::Taken
            }
            Err(error) => {
                let sent = classify(&error);
                match sent {
                    Sent::Taken => {}
                    Sent::Full => self.counters.full += 1,
                    Sent::NoWay => self.counters.no_way += 1,
                    Sent::Refused(_) => self.counters.refused += 1,
                }
                sent
            }
        }
    }

    /// Sends one datagram that may not be cut into fragments on its way, to learn how large one may
    /// be: larger ones than the interface takes are refused with `EMSGSIZE`.
    ///
    /// # Errors
    /// When the kernel does not let the socket's mode be changed.
    pub fn send_whole(&mut self, bytes: &[u8], to: SocketAddr) -> io::Result<Sent> {
        // "Probe": never fragmented, and no path MTU that was learned counts (ip(7), ipv6(7)).
        self.set_discovery(libc::IP_PMTUDISC_PROBE, libc::IPV6_PMTUDISC_PROBE)?;
        let sent = self.send_to(bytes, to);
        self.set_discovery(libc::IP_PMTUDISC_DONT, libc::IPV6_PMTUDISC_DONT)?;
        Ok(sent)
    }

    fn set_discovery(&self, four: i32, six: i32) -> io::Result<()> {
        let fd = self.socket.as_fd();
        if self.local.is_ipv4() {
            sys::set_number(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, four)
        } else {
            sys::set_number(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, six)
        }
    }

    /// Takes up to about `bound` datagrams, each to `take(from, bytes)`.
    ///
    /// # Errors
    /// When the socket itself is broken; errors of earlier datagrams are hints, not errors.
    pub fn drain(
        &mut self,
        bound: usize,
        take: impl FnMut(SocketAddr, &[u8]),
    ) -> io::Result<Drained> {
        self.drain_after(true, bound, take)
    }

    /// As [`Udp::drain`], with what the loop was told: where no error is pending
    /// ([`Ready::error`](crate::event::Ready)) it takes one system call for all that wait, as long as
    /// they fit a batch.
    ///
    /// # Errors
    /// As [`Udp::drain`].
    pub fn drain_after(
        &mut self,
        has_error: bool,
        bound: usize,
        mut take: impl FnMut(SocketAddr, &[u8]),
    ) -> io::Result<Drained> {
        let mut is_doubtful = has_error;
        let mut count = 0;
        // Each pending error takes one call; more of them than datagrams end the turn as well.
        for _ in 0..bound.saturating_mul(2) {
            if count >= bound {
                break;
            }
            match self.batch.receive(self.socket.as_fd(), bound - count) {
                Ok(received) => {
                    count += received.count;
                    self.counters.received += received.count as u64;
                    for place in 0..received.count {
                        take(self.batch.sender(place), self.batch.bytes(place));
                    }
                    if received.is_short && !is_doubtful {
                        return Ok(Drained { count, more: false });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Drained { count, more: false });
                }
                Err(error) if is_of_an_earlier_datagram(&error) => is_doubtful = true,
                Err(error) => return Err(error),
            }
        }
        Ok(Drained { count, more: true })
    }

    /// Takes what the network said about earlier datagrams, each to `take(destination, hint)`.
    ///
    /// # Errors
    /// When the socket itself is broken.
    pub fn hints(&mut self, mut take: impl FnMut(SocketAddr, Hint)) -> io::Result<()> {
        for _ in 0..HINTS_PER_TURN {
            let Some(error) = sys::take_queued_error(self.socket.as_fd())? else { break };
            self.counters.hints += 1;
            let hint = match error.errno {
                libc::ECONNREFUSED => Hint::PortUnreachable,
                libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN => Hint::HostUnreachable,
                other => Hint::Other(other),
            };
            take(error.destination, hint);
        }
        Ok(())
    }
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn set_shared(socket: BorrowedFd<'_>, shared: bool) -> io::Result<()> {
    sys::set_number(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, i32::from(shared))
}

fn open_shared(local: SocketAddr, device: Option<&str>, shared: bool) -> io::Result<UdpSocket> {
    let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket: OwnedFd = socket_with(family, SocketType::DGRAM, flags, Some(ipproto::UDP))?;
    let fd = socket.as_fd();
    if local.is_ipv4() {
        sys::set_number(fd, libc::IPPROTO_IP, libc::IP_FREEBIND, 1)?;
        sys::set_number(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
        sys::set_number(fd, libc::IPPROTO_IP, libc::IP_TOS, NETWORK_CONTROL)?;
        let mode = libc::IP_PMTUDISC_DONT;
        sys::set_number(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, mode)?;
    } else {
        sys::set_number(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
        sys::set_number(fd, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1)?;
        sys::set_number(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
        sys::set_number(fd, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, NETWORK_CONTROL)?;
        let mode = libc::IPV6_PMTUDISC_DONT;
        sys::set_number(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, mode)?;
    }
    if let Some(device) = device {
        sys::bind_to_device(fd, device)?;
    }
    enlarge_receive_buffer(fd)?;
    set_shared(fd, shared)?;
    bind(&socket, &local)?;
    Ok(UdpSocket::from(socket))
}

/// Beyond the machine's limit only with `CAP_NET_ADMIN`; within it for everybody.
pub(crate) fn enlarge_receive_buffer(fd: BorrowedFd<'_>) -> io::Result<()> {
    sys::set_number(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)
        .or_else(|_| sys::set_number(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER))
}

pub(crate) fn classify(error: &io::Error) -> Sent {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => Sent::Full,
        // EINVAL: the bound address is not on this machine now (ip_route_output refuses it).
        Some(
            libc::EINVAL
            | libc::EADDRNOTAVAIL
            | libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::ENODEV
            | libc::ENXIO,
        ) => Sent::NoWay,
        Some(other) => Sent::Refused(other),
        None => Sent::Refused(0),
    }
}

/// Whether it is what ICMP said about a datagram that left before, or a frame that did not come: all
/// that the kernel makes of "destination unreachable" (net/ipv4/icmp.c, `icmp_err_convert`;
/// net/ipv6/icmp.c, `icmpv6_err_convert`). Anybody can forge those.
fn is_of_an_earlier_datagram(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EOPNOTSUPP
                | libc::EPROTO
                | libc::EMSGSIZE
                | libc::ENOPROTOOPT
                | libc::EACCES
                | libc::EINTR
                | libc::ENETDOWN
        )
    )
}

#[cfg(test)]
mod tests;
