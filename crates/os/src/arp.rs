//! Which interface answers ARP for an address of this machine, in whose name it asks, and from where it takes
//! anything at all.
//!
//! To Linux an address belongs to the machine, not to an interface (ip-sysctl). With several interfaces on one
//! wire three of its defaults are wrong:
//!
//! * `arp_ignore` = 0: a question that reaches any interface is answered there, with the hardware address of
//!   that one. Whoever asked keeps the first answer, and half of the neighbours send to an interface that does
//!   not have the address: its failure would cut them off and be nobody's fault. With 1 only the interface
//!   answers that has the address.
//! * `arp_announce` = 0: the interface that the route to a neighbour leads over asks for that neighbour in the
//!   name of whatever address it has something to send from, and the neighbour learns from the question where
//!   that address is: wrongly, and against every announcement. With 2 it asks in its own name.
//! * `rp_filter` = 1 (RFC 3704 section 2.2; the default of some distributions): what comes for an address on an
//!   interface over which no route leads back is dropped, its ARP as well. Such an address is dead. With 2 a
//!   route over any interface will do. This one is a guard of the machine, so it is only looked at.
//!
//! Of IPv6 nothing like this is needed: neighbour discovery asks and answers for addresses of the interface,
//! and the kernel has no such filter.

use std::fs;
use std::io;

/// Has an interface answer, and ask, for its own addresses only. Returns what had to be set, as `NAME = VALUE`;
/// what is stricter already stays.
///
/// # Errors
/// When there is no such interface, or this process may not write below `/proc/sys`.
pub fn speak_for_own(interface: &str) -> io::Result<Vec<String>> {
    let mut set = Vec::new();
    for (name, wanted) in [("arp_ignore", 1), ("arp_announce", 2)] {
        if level(name, interface)? < wanted {
            fs::write(path(name, interface), wanted.to_string())?;
            set.push(format!("{name} = {wanted}"));
        }
    }
    Ok(set)
}

/// Whether the interface takes only what the machine would answer over the same one.
///
/// # Errors
/// When there is no such interface.
pub fn is_strict(interface: &str) -> io::Result<bool> {
    Ok(level("rp_filter", interface)? == 1)
}

fn path(name: &str, interface: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{interface}/{name}")
}

/// What is in force: of all interfaces or of this one, the larger.
fn level(name: &str, interface: &str) -> io::Result<u8> {
    let read = |interface: &str| {
        let path = path(name, interface);
        let text = fs::read_to_string(&path)?;
        let value = text.trim().parse::<u8>();
        value.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{path}: {text}")))
    };
    Ok(read("all")?.max(read(interface)?))
}
