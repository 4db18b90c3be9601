//! What is for all on a subnet: IP multicast and IPv4 broadcast.
//!
//! A socket that is bound to an address of its own hears nothing that goes to a group or to all, so
//! that takes a second one, bound to just that address (ip(7)). It *hears*; what is for all is *sent*
//! by the ordinary socket, which has the own address as its source.
//!
//! - Hops are limited to 1 (RFC 1112 section 6.1, the default for IPv4; RFC 3493 section 5.2): what is
//!   for all on a wire is for nobody behind a router.
//! - A group is joined on one interface, by its number: the routing table has no say in it. The
//!   membership ends with that interface; one that was made anew takes another socket.
//! - Own multicast does not come back (`IP_MULTICAST_LOOP`). Own broadcasts do, and are told by their
//!   source.
//! - A group's socket hears only the interface it has joined on (`IP_MULTICAST_ALL`), whatever else
//!   this machine has joined: two networks may use one group and port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;

use rustix::net::sockopt;

use super::{Batch, Counters, DATAGRAM_MAX, Udp, open_shared};
use crate::sys;

impl Udp {
    /// A socket that hears what is sent to `to`, a multicast group or the directed broadcast address
    /// of a subnet, on the interface with this index.
    ///
    /// # Errors
    /// When the interface is gone (`ENODEV`) or the machine can join no more groups (`ENOBUFS`).
    pub fn hear_all(to: SocketAddr, interface: u32) -> io::Result<Udp> {
        let socket = open_shared(scoped(to, interface), None, true)?;
        let fd = socket.as_fd();
        match to.ip() {
            IpAddr::V4(group) if group.is_multicast() => {
                sys::set_number(fd, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, 0)?;
                let anywhere = Ipv4Addr::UNSPECIFIED;
                sockopt::set_ip_add_membership_with_ifindex(fd, &group, &anywhere, interface)?;
            }
            IpAddr::V4(_) => sockopt::set_socket_broadcast(fd, true)?,
            IpAddr::V6(group) => {
                sys::set_number(fd, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL, 0)?;
                sockopt::set_ipv6_add_membership(fd, &group, interface)?;
            }
        }
        let local = socket.local_addr()?;
        let (counters, batch) = (Counters::default(), Batch::new(DATAGRAM_MAX));
        Ok(Udp { socket, local, device: None, counters, batch })
    }

    /// Lets this socket send to all on the interface with this index.
    ///
    /// # Errors
    /// When the interface is gone.
    pub fn speak_to_all(&self, interface: u32) -> io::Result<()> {
        let fd = self.socket.as_fd();
        if self.local.is_ipv4() {
            sockopt::set_socket_broadcast(fd, true)?;
            let anywhere = Ipv4Addr::UNSPECIFIED;
            sockopt::set_ip_multicast_if_with_ifindex(fd, &anywhere, &anywhere, interface)?;
            sockopt::set_ip_multicast_ttl(fd, 1)?;
            sockopt::set_ip_multicast_loop(fd, false)?;
        } else {
            sockopt::set_ipv6_multicast_if(fd, interface)?;
            sockopt::set_ipv6_multicast_hops(fd, 1)?;
            sockopt::set_ipv6_multicast_loop(fd, false)?;
        }
        Ok(())
    }
}

/// A group of link-local scope exists once on each interface.
fn scoped(to: SocketAddr, interface: u32) -> SocketAddr {
    match to {
        SocketAddr::V6(to) => SocketAddrV6::new(*to.ip(), to.port(), 0, interface).into(),
        to => to,
    }
}
