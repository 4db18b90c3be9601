//! What one machine knows of those on its wires: a state machine without I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use base::Instant;
use os::netlink::{Interface, NetlinkError};

use super::wire::{
    ADDRESSES_MAX, ARRIVALS_MAX, Address, Announcement, Arrival, Attempt, HEARD_MAX, Heard, Net,
};

/// Other machines that are remembered.
pub const MACHINES_MAX: usize = 128;
/// Those that nobody vouches for, in a daemon.
pub const STRANGERS_MAX: usize = 16;
/// The run of a machine that has been silent for so long is over.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Interfaces of each.
pub const INTERFACES_MAX: usize = 32;
/// Entries of each list that grows with what others send.
pub const ENTRIES_MAX: usize = 4_096;
/// Entries of each list that is kept of what one other machine says that it has seen.
pub const ENTRIES_OF_OTHER_MAX: usize = 1_024;
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
    /// Where attempts are answered at each of them; another machine's only.
    pub ports: Vec<u16>,
}

/// Another machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its cluster.
    pub cluster: Option<String>,
    /// When it was heard last.
    pub newest: Instant,
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
    /// UDP ports on which this machine answers, by its addresses.
    pub ports: BTreeMap<Address, u16>,
    /// The others by their numbers.
    pub machines: BTreeMap<u64, Machine>,
    /// What was heard here.
    pub heard: BTreeSet<Heard>,
    /// What arrived here.
    pub arrivals: BTreeMap<(u64, Address, Address), u32>,
    /// What of ours arrived, by the receipts that came back: at a machine, from an own address, to
    /// one of its.
    pub receipts: BTreeMap<(u64, Address, Address), u32>,
    /// Own announcements that came back: from which interface, on which.
    pub looped: BTreeSet<(String, String)>,
    /// What did not leave.
    pub stopped: BTreeMap<(Address, Address), Stopped>,
    round: usize,
    /// Only answers: of others it keeps that they are there.
    is_answering: bool,
    machines_max: usize,
}

/// What the interfaces looked like last: one failed look is no reason to end.
#[derive(Debug, Default)]
pub struct Seen {
    /// The last picture.
    pub interfaces: Vec<Interface>,
    is_blind: bool,
}

impl Seen {
    /// Takes the result of a look. Gives what to say: of several failed ones in a row only the first.
    pub fn take(&mut self, look: Result<Vec<Interface>, NetlinkError>) -> Option<String> {
        match look {
            Ok(interfaces) => {
                *self = Seen { interfaces, is_blind: false };
                None
            }
            Err(error) => {
                let is_first = !std::mem::replace(&mut self.is_blind, true);
                is_first.then(|| format!("discovery sees the interfaces as they were: {error}"))
            }
        }
    }
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
        Survey { own, machines_max: MACHINES_MAX, ..Survey::default() }
    }

    /// One that answers and makes no report: what others hear and where they are is not kept.
    #[must_use]
    pub fn answering(own: Own, machines_max: usize) -> Survey {
        Survey { own, machines_max, is_answering: true, ..Survey::default() }
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
                (one.index, (one.name.clone(), Face { mtu: one.mtu, addresses, ports: Vec::new() }))
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
        let port = |net: &Net| self.ports.get(&net.address).copied().unwrap_or(0);
        let one = |(index, (name, face)): (&u32, &(String, Face))| {
            let announcement = Announcement {
                machine: own.machine,
                name: own.name.clone(),
                cluster: own.cluster.clone(),
                interface: name.clone(),
                mtu: face.mtu,
                addresses: face.addresses.clone(),
                ports: face.addresses.iter().map(port).collect(),
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
                    let faces = machine.interfaces.values();
                    let theirs = faces.flat_map(|face| face.addresses.iter().zip(&face.ports));
                    let near = |(other, port): &(&Net, &u16)| {
                        is_same_subnet(net.address.0, other.address.0, net.prefix)
                            && net.address != other.address
                            && **port != 0
                    };
                    for (other, port) in theirs.filter(near) {
                        let headers = if net.address.0.is_ipv4() { 28 } else { 48 };
                        for size in [
                            SHORT,
                            face.mtu.saturating_sub(headers).min(os::udp::DATAGRAM_MAX as u32),
                        ] {
                            let (from, to) = (net.address, other.address);
                            let attempt = Attempt { machine: own, from, to, size };
                            attempts.push((attempt, *port));
                        }
                    }
                }
            }
        }
        attempts.truncate(ENTRIES_MAX);
        attempts
    }

    /// An announcement came in on an interface.
    pub fn announced(&mut self, now: Instant, index: u32, said: Announcement) {
        let Some((here, _)) = self.interfaces.get(&index) else { return };
        let here = here.clone();
        if said.machine == self.own.machine {
            if said.interface != here && self.looped.len() < ENTRIES_MAX {
                self.looped.insert((said.interface, here));
            }
            return;
        }
        let is_full = self.machines.len() >= self.machines_max;
        if is_full && !self.machines.contains_key(&said.machine) {
            return;
        }
        let (own, known) = (self.own.machine, |number: u64| self.machines.contains_key(&number));
        let heard = said.heard.into_iter().take(HEARD_MAX);
        let heard: Vec<Heard> =
            heard.filter(|heard| heard.machine == own || known(heard.machine)).collect();
        let arrivals = said.arrivals.into_iter().take(ARRIVALS_MAX);
        let arrivals: Vec<Arrival> =
            arrivals.filter(|one| one.machine == own || known(one.machine)).collect();
        let machine = self.machines.entry(said.machine).or_default();
        machine.newest = now;
        let interface = bounded(&said.interface);
        if machine.interfaces.len() >= INTERFACES_MAX
            && !machine.interfaces.contains_key(&interface)
        {
            return;
        }
        if self.heard.len() < ENTRIES_MAX {
            let from = interface.clone();
            self.heard.insert(Heard { interface: here, machine: said.machine, from });
        }
        if self.is_answering {
            machine.interfaces.insert(interface, Face::default());
            return;
        }
        machine.name = bounded(&said.name);
        machine.cluster = said.cluster.as_deref().map(bounded);
        machine.looped_name = said.looped_name.map(|address| address.0);
        let (mut addresses, mut ports) = (said.addresses, said.ports);
        addresses.truncate(ADDRESSES_MAX);
        ports.resize(addresses.len(), 0);
        machine.interfaces.insert(interface, Face { mtu: said.mtu, addresses, ports });
        for heard in heard {
            if machine.hears.len() < ENTRIES_OF_OTHER_MAX {
                machine.hears.insert(heard);
            }
        }
        for arrival in arrivals {
            let key = (arrival.machine, arrival.from, arrival.to);
            note(&mut machine.arrivals, ENTRIES_OF_OTHER_MAX, key, arrival.largest);
        }
    }

    /// Forgets runs that are over, and what was noted about them. One that makes a report remembers
    /// the last run of each machine: it is there, whether its command still runs or not.
    pub fn forget(&mut self, now: Instant) {
        let mut last: BTreeMap<String, Instant> = BTreeMap::new();
        for machine in self.machines.values().filter(|_| !self.is_answering) {
            let newest = last.entry(machine.name.clone()).or_default();
            *newest = machine.newest.max(*newest);
        }
        self.machines.retain(|_, machine| {
            let is_last = last.get(&machine.name) == Some(&machine.newest);
            is_last || now.since(machine.newest) < SILENCE_MAX
        });
        let left: BTreeSet<u64> = self.machines.keys().copied().chain([self.own.machine]).collect();
        self.heard.retain(|heard| left.contains(&heard.machine));
        self.arrivals.retain(|(from, _, _), _| left.contains(from));
        self.receipts.retain(|(at, _, _), _| left.contains(at));
        for machine in self.machines.values_mut() {
            machine.hears.retain(|heard| left.contains(&heard.machine));
            machine.arrivals.retain(|(from, _, _), _| left.contains(from));
        }
    }

    /// A datagram of `size` bytes came from one address to another. Gives the receipt for it; it is
    /// noted when the machine is known.
    pub fn tried(&mut self, mut attempt: Attempt, size: usize) -> Attempt {
        attempt.size = u32::try_from(size).unwrap_or(u32::MAX);
        if self.machines.contains_key(&attempt.machine) {
            let key = (attempt.machine, attempt.from, attempt.to);
            note(&mut self.arrivals, ENTRIES_MAX, key, attempt.size);
        }
        attempt
    }

    /// A receipt came back from a machine.
    pub fn received(&mut self, attempt: &Attempt, machine: u64, size: usize) {
        if attempt.machine != self.own.machine || !self.machines.contains_key(&machine) {
            return;
        }
        let key = (machine, attempt.from, attempt.to);
        note(&mut self.receipts, ENTRIES_MAX, key, attempt.size);
        // It went the other way, so that works too.
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        note(&mut self.arrivals, ENTRIES_MAX, (machine, attempt.to, attempt.from), size);
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
            || self.receipts.keys().any(|(at, _, _)| *at == machine)
    }
}

fn note<K: Ord>(map: &mut BTreeMap<K, u32>, most: usize, key: K, size: u32) {
    if map.len() < most || map.contains_key(&key) {
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
