//! Who has an address.
//!
//! Asked as a claim asks (RFC 5227 §2.1.1, RFC 4861 §7.2.4): by a probe that teaches nobody a wrong
//! answer, on interfaces whose own subnet has the address.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use network::wire::{self, Heard, Mac};
use os::ethernet::Ethernet;
use os::netlink::Interface;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Cause, Fact, Subject};
use crate::config::subnet;

/// How often each address is asked for.
const PROBES: u32 = 3;
/// How long answers to one round are waited for.
const ROUND: Duration = Duration::from_millis(100);
/// Frames taken at a time.
const FRAMES: usize = 256;
/// Interfaces asked on at one time: as many as a configuration has networks. Each has a socket, and each part of a question
/// its own.
const WIRES_AT_ONCE: usize = base::limits::NETWORKS_MAX;

/// Asks for all addresses that are not here.
pub(super) fn ask(
    addresses: &[IpAddr],
    interfaces: &[Interface],
    services: &BTreeSet<IpAddr>,
) -> Vec<Fact> {
    let is_here = |address: IpAddr| {
        interfaces.iter().any(|one| one.addresses.iter().any(|seen| seen.address == address))
    };
    let absent: Vec<IpAddr> = addresses.iter().copied().filter(|one| !is_here(*one)).collect();
    let wires = interfaces.iter().filter_map(|interface| {
        let reached = absent.iter().copied().filter(|one| reaches(interface, *one, services));
        let wanted: BTreeSet<IpAddr> = reached.collect();
        (!wanted.is_empty()).then_some((interface, wanted))
    });
    let wires: Vec<(&Interface, BTreeSet<IpAddr>)> = wires.collect();
    let own: BTreeSet<Mac> = interfaces.iter().filter_map(|one| one.mac).collect();
    let mut facts = Vec::new();
    let mut found = BTreeSet::new();
    for some in wires.chunks(WIRES_AT_ONCE) {
        for wire in ask_on(some, &own) {
            for (address, mac) in wire.heard {
                if found.insert(address) {
                    facts.push(Fact::InUse { address, interface: wire.name.clone(), mac });
                }
            }
            // What was heard there before, and on the other wires, is no less true.
            if let Err(error) = wire.socket {
                let cause = match error.kind() {
                    // It is so on all of them.
                    io::ErrorKind::PermissionDenied => Cause::NotAllowed(error.to_string()),
                    _ => Cause::Failed(format!("{}: {error}", wire.name)),
                };
                let fact = Fact::Unasked { subject: Subject::Addresses, cause };
                if !facts.contains(&fact) {
                    facts.push(fact);
                }
            }
        }
    }
    facts
}

/// Whether the interface works and has the address's subnet of its own.
fn reaches(interface: &Interface, address: IpAddr, services: &BTreeSet<IpAddr>) -> bool {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let has = interface.addresses.iter().any(|own| {
        own.prefix < bits
            && own.address.is_ipv4() == address.is_ipv4()
            && !services.contains(&own.address)
            && subnet(own.address, own.prefix) == subnet(address, own.prefix)
    });
    interface.up && interface.carrier && !interface.loopback && interface.mac.is_some() && has
}

/// An interface on which addresses are asked for.
struct Wire<'a> {
    name: String,
    mac: Mac,
    /// Or why nobody is asked there any more.
    socket: io::Result<Ethernet>,
    wanted: &'a BTreeSet<IpAddr>,
    heard: BTreeMap<IpAddr, Mac>,
}

impl Wire<'_> {
    /// Asks once for what nobody has answered for.
    fn probe(&self, socket: &Ethernet) -> io::Result<()> {
        for address in self.wanted.iter().filter(|address| !self.heard.contains_key(*address)) {
            socket.send(&wire::probe(self.mac, *address))?;
        }
        Ok(())
    }

    /// Takes what has come. `own`: the hardware addresses of this machine, which may hear itself.
    fn hear(&mut self, own: &BTreeSet<Mac>) {
        let Ok(socket) = &self.socket else { return };
        let drained = socket.drain(FRAMES, |frame| {
            if let Ok(Some(Heard::Uses { address, mac })) = wire::decode(frame)
                && self.wanted.contains(&address)
                && !own.contains(&mac)
            {
                self.heard.insert(address, mac);
            }
        });
        if let Err(error) = drained {
            self.socket = Err(error);
        }
    }
}

/// Who says on these interfaces that addresses are theirs. All are asked before any answer is waited for: however
/// many there are, it takes as long as one.
fn ask_on<'a>(wires: &'a [(&Interface, BTreeSet<IpAddr>)], own: &BTreeSet<Mac>) -> Vec<Wire<'a>> {
    let wire = |(interface, wanted): &'a (&Interface, BTreeSet<IpAddr>)| Wire {
        name: interface.name.clone(),
        mac: interface.mac.expect("the caller has seen it"),
        socket: Ethernet::open(interface.index),
        wanted,
        heard: BTreeMap::new(),
    };
    let mut wires: Vec<Wire<'a>> = wires.iter().map(wire).collect();
    for _ in 0..PROBES {
        for wire in &mut wires {
            let Ok(socket) = &wire.socket else { continue };
            if let Err(error) = wire.probe(socket) {
                wire.socket = Err(error);
            }
        }
        #[expect(clippy::disallowed_methods, reason = "a thread of its own waits for answers")]
        let end = Instant::now() + ROUND;
        loop {
            #[expect(clippy::disallowed_methods, reason = "a thread of its own waits for answers")]
            let left = end.saturating_duration_since(Instant::now());
            let sockets = wires.iter().filter_map(|wire| wire.socket.as_ref().ok());
            let sockets: Vec<&Ethernet> = sockets.collect();
            if left.is_zero() || sockets.is_empty() {
                break;
            }
            let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
            let watched = sockets.iter().map(|socket| PollFd::new(*socket, PollFlags::IN));
            let polled = poll(&mut watched.collect::<Vec<_>>(), Some(&timeout));
            match polled {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    // Nobody can be waited for, on any of them.
                    for wire in &mut wires {
                        if wire.socket.is_ok() {
                            wire.socket = Err(error.into());
                        }
                    }
                    break;
                }
            }
            wires.iter_mut().for_each(|wire| wire.hear(own));
        }
    }
    wires
}
