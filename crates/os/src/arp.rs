//! Which interface answers ARP for an address of this machine.
//!
//! To Linux an address belongs to the machine, not to an interface: a question that reaches any
//! interface is answered there, with the hardware address of that one (`arp_ignore` = 0, ip-sysctl).
//! With two interfaces on one wire both answer, whoever asked keeps the first answer, and half of the
//! neighbours send to an interface that does not have the address: its failure would cut them off and
//! be nobody's fault. With `arp_ignore` = 1 only the interface answers that has the address.
//!
//! Of IPv6 nothing like this is needed: neighbour discovery answers for addresses of the interface.

use std::fs;
use std::io;

/// Has an interface answer for its own addresses only. True when that had to be set; what is stricter
/// already stays.
///
/// # Errors
/// When there is no such interface, or this process may not write below `/proc/sys`.
pub fn answer_for_own(interface: &str) -> io::Result<bool> {
    // The kernel takes the larger one of the two.
    if level("all")? > 0 || level(interface)? > 0 {
        return Ok(false);
    }
    fs::write(path(interface), "1")?;
    Ok(true)
}

fn path(interface: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{interface}/arp_ignore")
}

fn level(interface: &str) -> io::Result<u8> {
    let text = fs::read_to_string(path(interface))?;
    text.trim().parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {text}", path(interface)))
    })
}
