//! A machine's kernel: interfaces, service addresses with their lifetimes, and the answers that it
//! gives to questions for them, whatever its daemon is doing.

use core::net::{IpAddr, Ipv4Addr};

use base::{Instant, NetworkId};
use network::{AddressSeen, Failure, Input as NetworkInput, Interface, Output as NetworkOutput};
use node::Input;

use crate::cards::card_name;
use crate::event::Event;
use crate::machine::{Address, Card, Cover, Daemon};
use crate::setup::{name, nanos, own_address};
use crate::world::World;

/// Until the daemon sees a change of interfaces or addresses.
const PICTURE_DELAY_MAX: u64 = 8_000_000;
/// The kernel lets go of an address up to so long after its lifetime.
const LIFETIME_LATENESS: u64 = 1_000_000_000;
const BROADCAST: [u8; 6] = [0xff; 6];
const ARP: [u8; 2] = [0x08, 0x06];

/// From one card of a machine to its other one, over their switch.
const SWITCH_DELAY: u64 = 50_000;

/// What an ARP frame asks or says: sender's and target's protocol address.
fn arp(bytes: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, [u8; 6])> {
    if bytes.get(12..14)? != ARP {
        return None;
    }
    let address =
        |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
    let mac = <[u8; 6]>::try_from(bytes.get(22..28)?).ok()?;
    Some((address(28)?, address(38)?, mac))
}

/// The answer of the machine that has the address.
fn arp_reply(from: [u8; 6], address: Ipv4Addr, to: [u8; 6], target: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60);
    frame.extend(to);
    frame.extend(from);
    frame.extend(ARP);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 2]);
    frame.extend(from);
    frame.extend(address.octets());
    frame.extend(to);
    frame.extend(target.octets());
    frame.resize(60, 0);
    frame
}

impl World {
    /// All interfaces of a machine.
    pub(crate) fn interfaces(&self, number: usize) -> Vec<Interface> {
        let networks = (0..self.wires.count()).filter(|network| self.wires.is_on(*network, number));
        let cards = networks.flat_map(|network| {
            let cards = 0..self.setup.second(network).cards();
            cards.map(move |card| Card { network: NetworkId(network as u16), card })
        });
        cards.map(|card| self.interface(number, card)).collect()
    }

    fn interface(&self, number: usize, card: Card) -> Interface {
        let machine = &self.machines[number];
        let network = usize::from(card.network.0);
        let own = machine.own.iter().filter(|own| own.card == card);
        let own =
            own.map(|own| AddressSeen { address: own.address, prefix: own.prefix, lifetime: None });
        let services = machine.addresses.iter().filter(|address| address.card == card);
        let services = services.map(|address| AddressSeen {
            address: address.address,
            prefix: address.prefix,
            lifetime: Some(core::time::Duration::from_nanos(
                address.expires.saturating_sub(self.now),
            )),
        });
        Interface {
            index: card.index(),
            name: card_name(network, card.card),
            up: true,
            carrier: self.wires.has_carrier(network, number, card.card),
            condition: network::Condition::Unpolled,
            mac: Some(machine.mac(card)),
            addresses: own.chain(services).collect(),
        }
    }

    /// Something about interfaces or addresses has changed; the daemon will see it.
    pub(crate) fn picture_soon(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        if machine.is_on && !machine.picture_due {
            machine.picture_due = true;
            let at = self.now + self.prng.range(100_000..=PICTURE_DELAY_MAX);
            self.queue.push(at, Event::Picture(number, machine.boots));
        }
    }

    /// The daemon gets to see its interfaces.
    pub(crate) fn picture(&mut self, number: usize, boot: u32) {
        if self.machines[number].boots != boot {
            return;
        }
        self.machines[number].picture_due = false;
        let interfaces = self.interfaces(number);
        self.tell(number, Input::Network(NetworkInput::Interfaces(interfaces)));
    }

    /// The gateway of a machine's first network falls silent, or answers again: its daemon has
    /// noticed.
    pub(crate) fn gateway_fault(&mut self, number: usize, is_silent: bool) {
        self.machines[number].is_gateway_silent = is_silent;
        let silent = self.silent_gateways(number);
        self.tell(number, silent);
    }

    /// What a daemon sees of the gateways.
    pub(crate) fn silent_gateways(&self, number: usize) -> Input {
        let is_silent = self.machines[number].is_gateway_silent;
        Input::Gateways(is_silent.then_some(NetworkId(0)).into_iter().collect())
    }

    /// What a daemon wants done about addresses.
    pub(crate) fn network_output(
        &mut self,
        number: usize,
        daemon: &mut Daemon,
        output: NetworkOutput,
    ) {
        match output {
            NetworkOutput::Listen { interface, on } => {
                if on {
                    daemon.listening.insert(interface);
                } else {
                    daemon.listening.remove(&interface);
                }
            }
            NetworkOutput::Send { interface, bytes } => {
                self.broadcast(number, Card::of(interface), &bytes);
            }
            NetworkOutput::Add { operation, interface, address, prefix, lifetime, taking } => {
                let card = Card::of(interface);
                let added = self.add(number, daemon, card, (address, prefix), nanos(lifetime));
                if added.is_ok() {
                    self.take(number, card, &taking);
                }
                self.trace(|| format!("{} add {address} on {card:?}: {added:?}", name(number)));
                done(daemon, operation, added);
            }
            NetworkOutput::Refresh { interface, address, lifetime, .. } => {
                let expires = self.now + nanos(lifetime);
                let machine = &mut self.machines[number];
                let local = machine.clock.local(self.now);
                let covers = &machine.guard.covers;
                let card = Card::of(interface);
                let mut all = machine.addresses.iter_mut();
                let own = all.find(|own| own.address == address && own.card == card);
                // What is stopped refreshes nothing.
                if let Some(own) = own
                    && covers.get(&own.service).is_some_and(|cover| local < cover.deadline)
                {
                    own.expires = expires;
                }
            }
            NetworkOutput::Remove { operation, interface, address, gives, .. } => {
                let card = Card::of(interface);
                // What cannot be put back does not keep a service address.
                let given = if gives { self.give(number, card) } else { Ok(()) };
                self.remove_address_on(number, address, card);
                let what = format!("remove {address} on {card:?}, put back: {given:?}");
                self.trace(|| format!("{} {what}", name(number)));
                done(daemon, operation, Ok::<(), Failure>(()));
            }
            NetworkOutput::Switch { operation, from, to, addresses, .. } => {
                let result = self.switch(number, Card::of(from), Card::of(to), &addresses);
                self.trace(|| format!("{} switch {from} to {to}: {result:?}", name(number)));
                done(daemon, operation, result);
            }
            NetworkOutput::Give { operation, interface } => {
                let result = self.give(number, Card::of(interface));
                self.trace(|| format!("{} put back on {interface}: {result:?}", name(number)));
                done(daemon, operation, result);
            }
            NetworkOutput::Ask { .. } => unreachable!("no network here verifies its gateways"),
            NetworkOutput::Gateway { .. }
            | NetworkOutput::Claimed { .. }
            | NetworkOutput::Moved { .. }
            | NetworkOutput::Switched { .. }
            | NetworkOutput::StandbyJoined { .. }
            | NetworkOutput::StandbyFailed { .. }
            | NetworkOutput::NotNow { .. }
            | NetworkOutput::Failed { .. }
            | NetworkOutput::Released { .. }
            | NetworkOutput::Lost { .. }
            | NetworkOutput::Yielded { .. }
            | NetworkOutput::Conflict { .. } => unreachable!("the node keeps these to itself"),
        }
    }

    fn add(
        &mut self,
        number: usize,
        daemon: &Daemon,
        card: Card,
        (address, prefix): (IpAddr, u8),
        lifetime: u64,
    ) -> Result<(), Failure> {
        let has = |resource: &engine::Resource| matches!(&resource.kind, engine::ResourceKind::Address { address: own, .. } if *own == address);
        let services = &daemon.node.engine().intent().services;
        let service = services.iter().find(|service| service.resources.iter().any(has));
        let Some(service) = service.map(|service| service.name.clone()) else {
            return Err("no service has this address".into());
        };
        self.cover(number, daemon, &service).map_err(Failure::NotNow)?;
        let expires = self.now + lifetime;
        let machine = &mut self.machines[number];
        machine.addresses.retain(|own| own.address != address || own.card != card);
        machine.addresses.push(Address {
            address,
            service: service.clone(),
            card,
            prefix,
            expires,
        });
        self.queue.push(expires, Event::Lifetimes(number, machine.boots));
        self.open(number, address, &service);
        self.note_part(number, &service, "address", true);
        self.picture_soon(number);
        self.check_owner(number, &service);
        self.check_writer(number, &service);
        Ok(())
    }

    /// Opens the gate for an address that is here now, until the guard's deadline.
    fn open(&mut self, number: usize, address: IpAddr, service: &str) {
        let machine = &mut self.machines[number];
        let grant = machine.clock.local(self.now);
        let Some(cover) = machine.guard.covers.get(service).filter(|cover| !cover.is_killed) else {
            return;
        };
        if machine.has_sets {
            let until = cover.deadline;
            return self.push_sets(number, service, until);
        }
        let slot = machine.gate.entry(address).or_default();
        slot.grant = grant;
        slot.deadline = cover.deadline;
    }

    /// Has the gate of what this machine holds end when the guard's deadline does.
    pub(crate) fn push_gate(&mut self, number: usize, service: &str, until: Instant) {
        if self.machines[number].has_sets {
            return self.push_sets(number, service, until);
        }
        let machine = &mut self.machines[number];
        let own = machine.addresses.iter().filter(|own| own.service == service);
        let mut reopens = false;
        for own in own {
            if let Some(slot) = machine.gate.get_mut(&own.address) {
                reopens |= !slot.is_open(machine.clock.local(self.now));
                slot.deadline = until;
            }
        }
        if reopens {
            self.check_owner(number, service);
        }
    }

    /// Puts a service under the guard, or extends its deadline, before anything of it comes into
    /// being.
    pub(crate) fn cover(
        &mut self,
        number: usize,
        daemon: &Daemon,
        service: &str,
    ) -> Result<(), String> {
        let until = daemon.node.leases().0;
        let machine = &mut self.machines[number];
        if until <= machine.clock.local(self.now) {
            return Err("this node has no lease".into());
        }
        let cover = machine.guard.covers.entry(service.to_owned());
        let cover = cover.or_insert(Cover { deadline: until, is_killed: false });
        if cover.is_killed {
            return Err("the guard has just stopped this service here".into());
        }
        cover.deadline = cover.deadline.max(until);
        self.check.note_lease(number, daemon.node.view(), until);
        self.guard_soon(number);
        Ok(())
    }

    /// It goes from all cards that have it.
    pub(crate) fn remove_address(&mut self, number: usize, address: IpAddr) {
        let all = self.machines[number].addresses.iter().filter(|own| own.address == address);
        let cards: Vec<Card> = all.map(|own| own.card).collect();
        for card in cards {
            self.remove_address_on(number, address, card);
        }
    }

    fn remove_address_on(&mut self, number: usize, address: IpAddr, card: Card) {
        let addresses = &mut self.machines[number].addresses;
        let is_it = |own: &Address| own.address == address && own.card == card;
        let Some(place) = addresses.iter().position(is_it) else { return };
        let gone = addresses.remove(place);
        self.picture_soon(number);
        let machine = &mut self.machines[number];
        if machine.addresses.iter().any(|own| own.address == address) {
            return;
        }
        machine.gate.remove(&address);
        self.note_part(number, &gone.service, "address", false);
    }

    /// The kernel lets go of addresses whose lifetime is over, up to a second late.
    pub(crate) fn lifetimes(&mut self, number: usize, boot: u32) {
        let machine = &mut self.machines[number];
        if machine.boots != boot || !machine.is_on {
            return;
        }
        let now = self.now;
        let late = self.prng.range(0..=LIFETIME_LATENESS / 4);
        let over = machine.addresses.iter().filter(|own| own.expires <= now);
        let over: Vec<(IpAddr, Card)> = over.map(|own| (own.address, own.card)).collect();
        for (address, card) in over {
            self.trace(|| format!("{} kernel lets go of {address} on {card:?}", name(number)));
            self.remove_address_on(number, address, card);
        }
        if let Some(next) = self.machines[number].addresses.iter().map(|own| own.expires).min() {
            self.queue.push((next + late).max(now + 1), Event::Lifetimes(number, boot));
        }
    }

    /// A frame goes to all other cards on the network; the one that has the address that is asked
    /// for answers.
    fn broadcast(&mut self, from: usize, card: Card, bytes: &[u8]) {
        // A closed address is not spoken for either; a probe speaks for nobody.
        let machine = &self.machines[from];
        if let Some((sender, ..)) = arp(bytes)
            && !sender.is_unspecified()
            && !machine.own.iter().any(|own| own.address == sender)
            && sender != own_address(card.network, machine.node())
            && !machine.answers(sender.into(), self.now)
        {
            return;
        }
        let network = usize::from(card.network.0);
        let cards = 0..self.setup.second(network).cards();
        let machines: Vec<usize> = self.wires.machines_on(network).collect();
        for to in machines {
            for there in cards.clone().map(|there| Card { card: there, ..card }) {
                if (to, there) != (from, card) {
                    self.frame((from, card), (to, there), bytes.to_vec());
                }
            }
        }
    }

    fn frame(&mut self, (from, one): (usize, Card), (to, other): (usize, Card), bytes: Vec<u8>) {
        let network = one.network;
        let delay = match from == to {
            true => self
                .wires
                .connects(usize::from(network.0), (from, one.card), (to, other.card))
                .then_some(SWITCH_DELAY),
            false => {
                let [first, _] =
                    self.wires.send_between(network, (from, one.card), (to, other.card));
                first.map(|arrival| arrival.delay)
            }
        };
        if let Some(delay) = delay {
            self.queue.push(self.now + delay, Event::Frame(to, other, bytes));
        }
    }

    /// The cards that have a hardware address.
    fn stations(&self, network: NetworkId, mac: [u8; 6]) -> Vec<(usize, Card)> {
        let number = usize::from(network.0);
        let cards = 0..self.setup.second(number).cards();
        let machines = self.wires.machines_on(number);
        let all = machines
            .flat_map(|machine| cards.clone().map(move |card| (machine, Card { network, card })));
        all.filter(|(machine, card)| self.machines[*machine].mac(*card) == mac).collect()
    }

    /// A frame reaches a card: its kernel, and the daemon if that listens.
    pub(crate) fn frame_arrives(&mut self, number: usize, card: Card, bytes: Vec<u8>) {
        let machine = &self.machines[number];
        if !machine.is_on {
            return;
        }
        if let Some((sender, target, mac)) = arp(&bytes) {
            let mut addresses = machine.addresses.iter();
            let has = addresses.any(|own| own.address == IpAddr::V4(target) && own.card == card);
            let is_open = machine.answers(target.into(), self.now);
            if has && is_open && sender != target && bytes[..6] == BROADCAST {
                let reply = arp_reply(machine.mac(card), target, mac, sender);
                for to in self.stations(card.network, mac) {
                    if to != (number, card) {
                        self.frame((number, card), to, reply.clone());
                    }
                }
            }
        }
        let interface = card.index();
        let listens = |daemon: &Daemon| daemon.listening.contains(&interface);
        if self.machines[number].daemon.as_deref().is_some_and(listens) {
            self.tell(number, Input::Network(NetworkInput::Frame { interface, bytes }));
        }
    }
}

/// The addresses thread answers.
fn done(daemon: &mut Daemon, operation: u64, result: Result<(), impl Into<Failure>>) {
    let result = result.map_err(Into::into);
    let done = NetworkInput::Done { operation, result };
    daemon.inbox.push_back(crate::machine::Item::Input(Input::Network(done)));
}
