//! What one machine knows of those on its wires: a state machine without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::wire::{
    ADDRESSES_MAX, ARRIVALS_MAX, Address, Announcement, Arrival, Attempt, HEARD_MAX, Heard, Net,
};

/// Other machines that are remembered.
pub const MACHINES_MAX: usize = 128;
/// Interfaces of each.
pub const INTERFACES_MAX: usize = 32;
/// Entries of each list that grows with what others send.
pub const ENTRIES_MAX: usize = 4_096;
/// Bytes of a short datagram.
pub const SHORT: u32 = 200;

/// This machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// A number by lot.
    pub machine: u64,
    /// Name of its node, or its host name.
    pub name: String,
    /// The cluster that it is a node of.
    pub cluster: Option<String>,
    /// UDP port on which it answers attempts.
    pub port: u16,
    /// The address that it finds for its own name, if that is one of its loop.
    pub looped_name: Option<IpAddr>,
}

/// One interface of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Face {
    /// Bytes that it takes in one frame.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<Net>,
}

/// Another machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its cluster.
    pub cluster: Option<String>,
    /// Its port.
    pub port: u16,
    /// As in [`Own`].
    pub looped_name: Option<IpAddr>,
    /// Its interfaces by name.
    pub interfaces: BTreeMap<String, Face>,
    /// What it hears.
    pub hears: BTreeSet<Heard>,
    /// The longest datagram that has arrived at it: from a machine, its address, to an own one.
    pub arrivals: BTreeMap<(u64, Address, Address), u32>,
}

/// Why a datagram did not even leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// No route, or the own address is gone.
    NoRoute,
    /// The kernel refused it (error number).
    Refused(i32),
}

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// This machine.
    pub own: Own,
    /// Its interfaces by number, with their names.
    pub interfaces: BTreeMap<u32, (String, Face)>,
    /// The others by their numbers.
    pub machines: BTreeMap<u64, Machine>,
    /// What was heard here.
    pub heard: BTreeSet<Heard>,
    /// What arrived here.
    pub arrivals: BTreeMap<(u64, Address, Address), u32>,
    /// What of ours arrived, by the receipts that came back.
    pub receipts: BTreeMap<(Address, Address), u32>,
    /// Own announcements that came back: from which interface, on which.
    pub looped: BTreeSet<(String, String)>,
    /// What did not leave.
    pub stopped: BTreeMap<(Address, Address), Stopped>,
    round: usize,
}

/// Whether both addresses are in the subnet of that prefix.
#[must_use]
pub fn is_same_subnet(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let differ = |one: u128, other: u128, bits: u32| {
        let behind = bits - u32::from(prefix).min(bits);
        (one ^ other).checked_shr(behind).unwrap_or(0) != 0
    };
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            !differ(u128::from(u32::from(one)), u128::from(u32::from(other)), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => !differ(one.into(), other.into(), 128),
        _ => false,
    }
}

/// Whether a cluster could talk over that address: one of the wire alone needs no subnet.
#[must_use]
pub fn is_usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => !four.is_loopback() && !four.is_link_local(),
        IpAddr::V6(six) => !six.is_loopback() && !six.is_unicast_link_local(),
    }
}

impl Survey {
    /// Nothing heard yet.
    #[must_use]
    pub fn new(own: Own) -> Survey {
        Survey { own, ..Survey::default() }
    }

    /// The own interfaces as they are now; those of the loop and those that are down do not count.
    pub fn see(&mut self, interfaces: &[os::netlink::Interface]) {
        let usable = interfaces.iter().filter(|one| !one.loopback && one.up && one.mac.is_some());
        self.interfaces = usable
            .take(INTERFACES_MAX)
            .map(|one| {
                let nets = one.addresses.iter().filter(|seen| is_usable(seen.address));
                let net = |seen: &os::netlink::AddressSeen| Net {
                    address: Address(seen.address),
                    prefix: seen.prefix,
                };
                let addresses = nets.map(net).take(ADDRESSES_MAX).collect();
                (one.index, (one.name.clone(), Face { mtu: one.mtu, addresses }))
            })
            .collect();
    }

    /// What to announce now on which interface. Lists that do not fit go round.
    pub fn announcements(&mut self) -> Vec<(u32, Announcement)> {
        self.round += 1;
        let round = self.round;
        let heard: Vec<Heard> =
            part(self.heard.iter().cloned(), self.heard.len(), HEARD_MAX, round);
        let arrivals = self.arrivals.iter().map(|((machine, from, to), largest)| Arrival {
            machine: *machine,
            from: *from,
            to: *to,
            largest: *largest,
        });
        let arrivals: Vec<Arrival> = part(arrivals, self.arrivals.len(), ARRIVALS_MAX, round);
        let own = &self.own;
        let one = |(index, (name, face)): (&u32, &(String, Face))| {
            let announcement = Announcement {
                machine: own.machine,
                name: own.name.clone(),
                cluster: own.cluster.clone(),
                interface: name.clone(),
                mtu: face.mtu,
                addresses: face.addresses.clone(),
                port: own.port,
                looped_name: own.looped_name.map(Address),
                heard: heard.clone(),
                arrivals: arrivals.clone(),
            };
            (*index, announcement)
        };
        self.interfaces.iter().map(one).collect()
    }

    /// The datagrams to try now, with the port of the other end: between all pairs of addresses that
    /// are in one subnet, short and as long as the interface takes in one piece.
    #[must_use]
    pub fn attempts(&self) -> Vec<(Attempt, u16)> {
        let (mut attempts, own) = (Vec::new(), self.own.machine);
        for (_, face) in self.interfaces.values() {
            for net in &face.addresses {
                for machine in self.machines.values() {
                    let theirs = machine.interfaces.values().flat_map(|face| &face.addresses);
                    let near = |other: &&Net| {
                        is_same_subnet(net.address.0, other.address.0, net.prefix)
                            && net.address != other.address
                    };
                    for other in theirs.filter(near) {
                        let headers = if net.address.0.is_ipv4() { 28 } else { 48 };
                        for size in [
                            SHORT,
                            face.mtu.saturating_sub(headers).min(os::udp::DATAGRAM_MAX as u32),
                        ] {
                            let (from, to) = (net.address, other.address);
                            let attempt = Attempt { machine: own, from, to, size };
                            attempts.push((attempt, machine.port));
                        }
                    }
                }
            }
        }
        attempts.truncate(ENTRIES_MAX);
        attempts
    }

    /// An announcement came in on an interface.
    pub fn announced(&mut self, index: u32, said: Announcement) {
        let Some((here, _)) = self.interfaces.get(&index) else { return };
        let here = here.clone();
        if said.machine == self.own.machine {
            if said.interface != here && self.looped.len() < ENTRIES_MAX {
                self.looped.insert((said.interface, here));
            }
            return;
        }
        let is_full = self.machines.len() >= MACHINES_MAX;
        if is_full && !self.machines.contains_key(&said.machine) {
            return;
        }
        let machine = self.machines.entry(said.machine).or_default();
        machine.name = bounded(&said.name);
        machine.cluster = said.cluster.as_deref().map(bounded);
        machine.port = said.port;
        machine.looped_name = said.looped_name.map(|address| address.0);
        let interface = bounded(&said.interface);
        if machine.interfaces.len() < INTERFACES_MAX || machine.interfaces.contains_key(&interface)
        {
            let mut addresses = said.addresses;
            addresses.truncate(ADDRESSES_MAX);
            let face = Face { mtu: said.mtu, addresses };
            machine.interfaces.insert(interface.clone(), face);
        }
        for heard in said.heard.into_iter().take(HEARD_MAX) {
            if machine.hears.len() < ENTRIES_MAX {
                machine.hears.insert(heard);
            }
        }
        for arrival in said.arrivals.iter().take(ARRIVALS_MAX) {
            let key = (arrival.machine, arrival.from, arrival.to);
            note(&mut machine.arrivals, key, arrival.largest);
        }
        if self.heard.len() < ENTRIES_MAX {
            self.heard.insert(Heard { interface: here, machine: said.machine, from: interface });
        }
    }

    /// A datagram of `size` bytes came from one address to another. Gives the receipt for it.
    pub fn tried(&mut self, mut attempt: Attempt, size: usize) -> Attempt {
        attempt.size = u32::try_from(size).unwrap_or(u32::MAX);
        note(&mut self.arrivals, (attempt.machine, attempt.from, attempt.to), attempt.size);
        attempt
    }

    /// A receipt came back.
    pub fn received(&mut self, attempt: &Attempt, size: usize) {
        if attempt.machine != self.own.machine {
            return;
        }
        note(&mut self.receipts, (attempt.from, attempt.to), attempt.size);
        // It went the other way, so that works too.
        let has = |face: &Face| face.addresses.iter().any(|net| net.address == attempt.to);
        let mut machines = self.machines.iter();
        let other = machines.find(|(_, machine)| machine.interfaces.values().any(has));
        if let Some((machine, _)) = other {
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            note(&mut self.arrivals, (*machine, attempt.to, attempt.from), size);
        }
    }

    /// A datagram did not leave.
    pub fn stopped(&mut self, attempt: &Attempt, why: Stopped) {
        if self.stopped.len() < ENTRIES_MAX {
            self.stopped.insert((attempt.from, attempt.to), why);
        }
    }

    /// Whether a machine has answered to this run.
    #[must_use]
    pub fn is_proven(&self, machine: u64) -> bool {
        let Some(known) = self.machines.get(&machine) else { return false };
        known.hears.iter().any(|heard| heard.machine == self.own.machine)
            || known.arrivals.keys().any(|(from, _, _)| *from == self.own.machine)
    }
}

fn note<K: Ord>(map: &mut BTreeMap<K, u32>, key: K, size: u32) {
    if map.len() < ENTRIES_MAX || map.contains_key(&key) {
        let largest = map.entry(key).or_default();
        *largest = size.max(*largest);
    }
}

fn part<T>(all: impl Iterator<Item = T>, length: usize, most: usize, round: usize) -> Vec<T> {
    let parts = length.div_ceil(most).max(1);
    all.skip(round % parts * most).take(most).collect()
}

/// A name of somebody else: short, and without characters that move a terminal.
fn bounded(name: &str) -> String {
    let plain = name.chars().filter(|character| !character.is_control());
    plain.take(base::limits::NAME_SIZE_MAX).collect()
}
