//! `config check` on a node: service addresses that somebody has already, and hardware addresses that a card of
//! this machine has.
//!
//! Asked as a claim asks (RFC 5227 §2.1.1, RFC 4861 §7.2.4): by a probe that teaches nobody a wrong
//! answer, on interfaces whose own subnet has the address. What runs in the cluster has its address by
//! right, so services that a daemon here says to run are left out; where none answers, an answer
//! may be a node's of this cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use network::wire::{self, Heard, Mac};
use os::ethernet::Ethernet;
use os::netlink::{Interface, Netlink};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::config::{Cluster, Diagnostics, addresses_of, subnet};

/// How often each address is asked for.
const PROBES: u32 = 3;
/// How long answers to one round are waited for.
const ROUND: Duration = Duration::from_millis(100);
/// Frames taken at a time.
const FRAMES: usize = 256;

/// Finds what is in use, and says so. `running`: services that run in the cluster; none when that is not known.
pub(super) fn check(
    cluster: &Cluster,
    running: Option<&BTreeSet<String>>,
    text: &str,
    found: &mut Diagnostics,
) {
    let mut netlink = match Netlink::open() {
        Ok(netlink) => netlink,
        Err(error) => return unasked(found, &error.to_string()),
    };
    let interfaces = match netlink.interfaces() {
        Ok(interfaces) => interfaces,
        Err(error) => return unasked(found, &error.whole()),
    };
    let is_free =
        |service: &&engine::Service| running.is_none_or(|running| !running.contains(&service.name));
    let addresses: Vec<(&str, IpAddr)> = cluster
        .services
        .iter()
        .filter(is_free)
        .flat_map(|service| addresses_of(service).map(|address| (service.name.as_str(), address)))
        .collect();
    let all: BTreeSet<IpAddr> = cluster.service_addresses().collect();
    let is_here = |address: IpAddr| {
        interfaces.iter().any(|one| one.addresses.iter().any(|seen| seen.address == address))
    };
    let mut asked: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
    for (_, address) in addresses.iter().filter(|(_, address)| !is_here(*address)) {
        for interface in interfaces.iter().filter(|one| reaches(one, *address, &all)) {
            asked.entry(interface.index).or_default().push(*address);
        }
    }
    let mut heard: BTreeMap<IpAddr, (String, Mac)> = BTreeMap::new();
    for (index, wanted) in asked {
        let interface = interfaces.iter().find(|one| one.index == index).expect("it was just seen");
        match ask(interface, &wanted, &interfaces) {
            Ok(answers) => heard.extend(
                answers.into_iter().map(|(address, mac)| (address, (interface.name.clone(), mac))),
            ),
            Err(error) => return unasked(found, &format!("{}: {error}", interface.name)),
        }
    }
    for (service, address) in addresses {
        let Some((interface, mac)) = heard.get(&address) else { continue };
        let mac = wire::text(*mac);
        let whose = match running {
            Some(_) => "",
            None => "if no node of this cluster has it: ",
        };
        found
            .warning(
                place(text, &address.to_string()),
                format!("{address} of {service} is in use: {mac} answers for it on {interface}"),
            )
            .help(format!(
                "{whose}a start of {service} waits for it and fails, and connections to two machines of one \
                 address break at random; take it from that machine, or choose another one"
            ));
    }
    for (address, mac) in cluster.shared.iter().filter_map(|(a, one)| Some((a, one.hardware?))) {
        let owner = interfaces.iter().find(|one| one.mac == Some(mac) && !is_here(*address));
        if let Some(owner) = owner {
            found
                .warning(
                    place(text, &wire::text(mac)),
                    format!("{} of {address} is the hardware address of {}", wire::text(mac), owner.name),
                )
                .help(
                    "two stations of one hardware address on a wire take each other's frames: choose one \
                     that no card has",
                );
        }
    }
}

fn unasked(found: &mut Diagnostics, why: &str) {
    found
        .warning(0..0, format!("nobody was asked whether service addresses are in use: {why}"))
        .help("run it as root on a node");
}

/// Where something stands in quotes, with a prefix or without.
fn place(text: &str, what: &str) -> std::ops::Range<usize> {
    let quoted = format!("\"{what}");
    let mut places = text.match_indices(&quoted).map(|(at, _)| at + 1);
    let ends = |at: &usize| text[at + what.len()..].starts_with(['/', '"']);
    places.find(ends).map_or(0..0, |at| at..at + what.len())
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
fn ask(
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
        #[expect(clippy::disallowed_methods, reason = "a command waits for answers")]
        let end = Instant::now() + ROUND;
        loop {
            #[expect(clippy::disallowed_methods, reason = "a command waits for answers")]
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
