//! Who has an address.
//!
//! Asked as a claim asks (RFC 5227 §2.1.1, RFC 4861 §7.2.4): by a probe that teaches nobody a wrong
//! answer, on interfaces whose own subnet has the address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use network::wire::{self, Heard, Mac};
use os::ethernet::Ethernet;
use os::netlink::Interface;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Fact;
use crate::config::subnet;

/// How often each address is asked for.
const PROBES: u32 = 3;
/// How long answers to one round are waited for.
const ROUND: Duration = Duration::from_millis(100);
/// Frames taken at a time.
const FRAMES: usize = 256;

/// Asks for all addresses that are not here.
pub(super) fn ask(
    addresses: &[IpAddr],
    interfaces: &[Interface],
    services: &BTreeSet<IpAddr>,
) -> Vec<Fact> {
    let is_here = |address: IpAddr| {
        interfaces.iter().any(|one| one.addresses.iter().any(|seen| seen.address == address))
    };
    let mut asked: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
    for address in addresses.iter().filter(|address| !is_here(**address)) {
        for interface in interfaces.iter().filter(|one| reaches(one, *address, services)) {
            asked.entry(interface.index).or_default().push(*address);
        }
    }
    let mut heard: BTreeMap<IpAddr, (String, Mac)> = BTreeMap::new();
    for (index, wanted) in asked {
        let interface = interfaces.iter().find(|one| one.index == index).expect("it was just seen");
        match ask_on(interface, &wanted, interfaces) {
            Ok(answers) => heard.extend(
                answers.into_iter().map(|(address, mac)| (address, (interface.name.clone(), mac))),
            ),
            Err(error) => {
                return vec![Fact::Unasked { why: format!("{}: {error}", interface.name) }];
            }
        }
    }
    let found = heard.into_iter();
    found.map(|(address, (interface, mac))| Fact::InUse { address, interface, mac }).collect()
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

/// Who says on one interface that the addresses are theirs.
fn ask_on(
    interface: &Interface,
    wanted: &[IpAddr],
    interfaces: &[Interface],
) -> std::io::Result<BTreeMap<IpAddr, Mac>> {
    let mac = interface.mac.expect("the caller has seen it");
    let socket = Ethernet::open(interface.index)?;
    let mut heard = BTreeMap::new();
    for _ in 0..PROBES {
        for address in wanted.iter().filter(|address| !heard.contains_key(*address)) {
            socket.send(&wire::probe(mac, *address))?;
        }
        #[expect(clippy::disallowed_methods, reason = "a thread of its own waits for answers")]
        let end = Instant::now() + ROUND;
        loop {
            #[expect(clippy::disallowed_methods, reason = "a thread of its own waits for answers")]
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
            poll(&mut [PollFd::new(&socket.as_fd(), PollFlags::IN)], Some(&timeout))?;
            socket.drain(FRAMES, |frame| {
                if let Ok(Some(Heard::Uses { address, mac })) = wire::decode(frame)
                    && wanted.contains(&address)
                    && !interfaces.iter().any(|own| own.mac == Some(mac))
                {
                    heard.insert(address, mac);
                }
            })?;
        }
    }
    Ok(heard)
}
