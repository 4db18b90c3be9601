//! Stories over a clock that only the test moves.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use base::Instant;

use crate::wire;
use crate::{AddressSeen, Condition, Config, Failure, Input, Interface, Network, Output, Taken};

mod claims;
mod fuzz;
mod homes;
mod learned;
mod left;
mod owning;
mod places;
mod replaced;
mod returned;
mod shares;
mod standbys;
mod subnets;
mod switches;
mod wires;

const MAC: wire::Mac = [2, 0, 0, 0, 0, 1];
const OTHER_MAC: wire::Mac = [2, 0, 0, 0, 0, 9];
const ADDRESS: &str = "10.77.0.100";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address in a test")
}

fn seen(address: &str, prefix: u8) -> AddressSeen {
    AddressSeen { address: ip(address), prefix, lifetime: None }
}

fn interface(index: u32, mac: wire::Mac, own: &[(&str, u8)]) -> Interface {
    Interface {
        index,
        name: format!("eth{index}"),
        up: true,
        carrier: true,
        condition: Condition::Unpolled,
        mac: Some(mac),
        addresses: own.iter().map(|(address, prefix)| seen(address, *prefix)).collect(),
    }
}

/// A node with one interface, a driver that obeys, and the kernel's view of it.
struct Node {
    network: Network,
    now: Instant,
    interfaces: Vec<Interface>,
    /// Operations that were asked for and not answered.
    asked: Vec<(u64, Output)>,
    next_id: u64,
    /// What the "driver" wrote down of what it took.
    record: BTreeMap<u32, Taken>,
}

impl Node {
    /// Interface 1 with 10.77.0.1/24 and fd00::1/64, a lease for ever, and a picture fed.
    fn new() -> Node {
        let mut node = Node::blind();
        node.picture();
        node
    }

    /// As [`Node::new`], before the first picture.
    fn blind() -> Node {
        let config = Config {
            lease: Duration::from_millis(750),
            addresses: vec![ip(ADDRESS), ip("fd00::100"), ip("10.77.0.101")],
            nets: Vec::new(),
            fixed: Vec::new(),
            conflicts: BTreeMap::new(),
            verify: BTreeMap::new(),
            shares: Vec::new(),
            taken: BTreeMap::new(),
        };
        let now = Instant::from_millis(1_000);
        let mut network = Network::new(config, now);
        network.set_lease(Instant::FAR);
        let own = [("10.77.0.1", 24), ("fd00::1", 64)];
        let interfaces = vec![interface(1, MAC, &own)];
        Node { network, now, interfaces, asked: Vec::new(), next_id: 0, record: BTreeMap::new() }
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        self.network.handle(self.now, input);
        let outputs: Vec<Output> = std::iter::from_fn(|| self.network.poll_output()).collect();
        for output in &outputs {
            if let Output::Add { operation, .. }
            | Output::Remove { operation, .. }
            | Output::Give { operation, .. }
            | Output::Switch { operation, .. } = output
            {
                self.asked.push((*operation, output.clone()));
            }
        }
        outputs
    }

    fn picture(&mut self) -> Vec<Output> {
        self.feed(Input::Interfaces(self.interfaces.clone()))
    }

    fn claim(&mut self, address: &str) -> Vec<Output> {
        self.claim_until(address, self.now + Duration::from_secs(30))
    }

    fn claim_until(&mut self, address: &str, deadline: Instant) -> Vec<Output> {
        self.next_id += 1;
        let (id, service) = (self.next_id, "web".into());
        self.feed(Input::Claim { id, service, address: ip(address), prefix: 24, deadline })
    }

    fn release(&mut self, address: &str) -> Vec<Output> {
        self.next_id += 1;
        self.feed(Input::Release { id: self.next_id, address: ip(address) })
    }

    /// Answers the oldest operation, and does it in the "kernel" when it succeeds.
    fn done(&mut self, result: Result<(), &str>) -> Vec<Output> {
        let (operation, output) = self.asked.remove(0);
        if result.is_ok() {
            self.obey(&output);
        }
        self.feed(Input::Done { operation, result: result.map_err(Failure::from) })
    }

    /// The driver does not do the oldest operation.
    fn refuse(&mut self, failure: Failure) -> Vec<Output> {
        let (operation, _) = self.asked.remove(0);
        self.feed(Input::Done { operation, result: Err(failure) })
    }

    fn obey(&mut self, output: &Output) {
        match output {
            Output::Add { interface, address, prefix, lifetime, taking, .. } => {
                let lifetime = Some(*lifetime);
                let seen = AddressSeen { address: *address, prefix: *prefix, lifetime };
                self.on(*interface).retain(|there| there.address != *address);
                self.on(*interface).push(seen);
                self.take(*interface, taking);
            }
            Output::Give { interface, .. } => self.give(*interface),
            Output::Switch { from, to, addresses, .. } => {
                for (address, prefix) in addresses {
                    let seen = AddressSeen { address: *address, prefix: *prefix, lifetime: None };
                    let place = (*address, *prefix);
                    self.on(*from).retain(|seen| (seen.address, seen.prefix) != place);
                    self.on(*to).retain(|seen| (seen.address, seen.prefix) != place);
                    self.on(*to).push(seen);
                }
            }
            Output::Remove { interface, address, prefix, gives, .. } => {
                if *gives {
                    self.give(*interface);
                }
                let gone = (*address, *prefix);
                self.on(*interface).retain(|seen| (seen.address, seen.prefix) != gone);
            }
            other => panic!("not an operation: {other:?}"),
        }
    }

    fn take(&mut self, interface: u32, taking: &crate::Taking) {
        if *taking == crate::Taking::default() {
            return;
        }
        let card = self.interfaces.iter_mut().find(|card| card.index == interface);
        let card = card.expect("an interface of the test");
        let taken = self.record.entry(interface).or_default();
        taken.boot.extend(&taking.boot);
        if let Some(mac) = taking.mac {
            taken.mac = taken.mac.or(card.mac);
            card.mac = Some(mac);
        }
        card.addresses.retain(|seen| !taking.boot.contains(&(seen.address, seen.prefix)));
    }

    fn give(&mut self, interface: u32) {
        let Some(taken) = self.record.remove(&interface) else { return };
        let card = self.interfaces.iter_mut().find(|card| card.index == interface);
        let card = card.expect("an interface of the test");
        card.mac = taken.mac.or(card.mac);
        for (address, prefix) in taken.boot {
            if !card.addresses.iter().any(|seen| seen.address == address) {
                card.addresses.push(AddressSeen { address, prefix, lifetime: None });
            }
        }
    }

    fn on(&mut self, index: u32) -> &mut Vec<AddressSeen> {
        let mut interfaces = self.interfaces.iter_mut();
        let found = interfaces.find(|interface| interface.index == index);
        &mut found.expect("an interface of the test").addresses
    }

    fn vanish(&mut self, address: &str) {
        let address = ip(address);
        for interface in &mut self.interfaces {
            interface.addresses.retain(|seen| seen.address != address);
        }
    }

    /// Lets time pass until `millis` from now, waking the node exactly when it wants to be woken.
    /// Gives each output with the milliseconds since the call.
    fn pass(&mut self, millis: u64) -> Vec<(u64, Output)> {
        let start = self.now;
        let end = start + Duration::from_millis(millis);
        let mut all = Vec::new();
        for _ in 0..10_000 {
            let next = self.network.deadline().map_or(end, |(at, _)| at.min(end)).max(self.now);
            self.now = next;
            let at = next.since(start).as_millis() as u64;
            all.extend(self.feed(Input::Tick).into_iter().map(|output| (at, output)));
            let woken_again = self.network.deadline().is_some_and(|(at, _)| at <= self.now);
            if self.now == end && !woken_again {
                return all;
            }
        }
        panic!("the node wants to be woken without end: {:?}", self.network.deadline());
    }

    /// Claims and owns an address, answering everything with success.
    fn own(&mut self, address: &str) {
        self.claim(address);
        self.pass(30);
        self.done(Ok(()));
        assert!(self.is_owned(address));
    }

    fn is_owned(&self, address: &str) -> bool {
        let mut addresses = self.network.status().addresses.into_iter();
        addresses.any(|a| a.address == ip(address) && a.phase == crate::Phase::Owned)
    }

    fn hears(&mut self, bytes: Vec<u8>) -> Vec<Output> {
        self.feed(Input::Frame { interface: 1, bytes })
    }
}

/// An ARP reply that says where an address is.
fn arp_reply(mac: wire::Mac, sender: &str, to: wire::Mac, target: &str) -> Vec<u8> {
    let mut frame = wire::announcement(mac, ip(sender));
    let IpAddr::V4(target) = ip(target) else { panic!("ARP is for IPv4") };
    frame[..6].copy_from_slice(&to);
    frame[21] = 2;
    frame[32..38].copy_from_slice(&to);
    frame[38..42].copy_from_slice(&target.octets());
    frame
}

/// The milliseconds at which announcements of the address were sent.
fn announcements(outputs: &[(u64, Output)], address: &str) -> Vec<u64> {
    let frame = wire::announcement(MAC, ip(address));
    let sent = |output: &Output| matches!(output, Output::Send { bytes, .. } if *bytes == frame);
    outputs.iter().filter(|(_, output)| sent(output)).map(|(at, _)| *at).collect()
}

fn reason(output: &Output) -> &str {
    match output {
        Output::Failed { reason, .. } | Output::NotNow { reason, .. } => reason,
        other => panic!("not a failure: {other:?}"),
    }
}
