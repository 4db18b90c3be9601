//! What an operator does by hand on a machine, where there is no `ip` and no `arping`: addresses of
//! the machine that the calling process is on. For stand-ins that play a cluster manager, and for
//! mistakes that a cluster must survive.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use crate::netlink::RouteSocket;
use crate::spec;

/// `ip address add ADDRESS/PREFIX dev INTERFACE`; no error if it is there.
///
/// # Errors
/// When the kernel refuses.
pub fn add_address(interface: &str, address: IpAddr, prefix: u8) -> Result<()> {
    RouteSocket::open()?.add_address(interface, address, prefix)
}

/// `ip address del ADDRESS/PREFIX dev INTERFACE`
///
/// # Errors
/// When it is not there.
pub fn remove_address(interface: &str, address: IpAddr, prefix: u8) -> Result<()> {
    RouteSocket::open()?.remove_address(interface, address, prefix)
}

/// `arping -U -c 1 -I INTERFACE ADDRESS`, from node number `id` of the lab.
///
/// # Errors
/// When the interface is down.
pub fn announce(interface: &str, network: u8, id: u8, address: Ipv4Addr) -> Result<()> {
    crate::client::announce(interface, spec::hardware(network, id), address)
}
