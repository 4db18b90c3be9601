//! A machine's kernel: interfaces, service addresses with their lifetimes, and the answers that it
//! gives to questions for them, whatever its daemon is doing.

use core::net::{IpAddr, Ipv4Addr};

use base::{Instant, NetworkId};
use network::{AddressSeen, Input as NetworkInput, Interface, Output as NetworkOutput};
use node::Input;

use crate::event::Event;
use crate::machine::{Address, Cover, Daemon};
use crate::setup::{name, nanos, own_address};
use crate::world::World;

/// Until the daemon sees a change of interfaces or addresses.
const PICTURE_DELAY_MAX: u64 = 8_000_000;
/// The kernel lets go of an address up to so long after its lifetime.
const LIFETIME_LATENESS: u64 = 1_000_000_000;
const BROADCAST: [u8; 6] = [0xff; 6];
const ARP: [u8; 2] = [0x08, 0x06];

/// The kernel's number of a network's interface, on all machines.
fn interface_of(network: NetworkId) -> u32 {
    u32::from(network.0) + 1
}

fn network_of(interface: u32) -> NetworkId {
    NetworkId(interface as u16 - 1)
}

fn mac_of(network: NetworkId, machine: usize) -> [u8; 6] {
    [2, 0, 0, 0, network.0 as u8, machine as u8 + 1]
}

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
        let machine = &self.machines[number];
        let networks = (0..self.wires.count()).filter(|network| self.wires.is_on(*network, number));
        networks
            .map(|network| {
                let id = NetworkId(network as u16);
                let own = AddressSeen {
                    address: own_address(id, machine.node()),
                    prefix: 24,
                    lifetime: None,
                };
                let services = machine.addresses.iter().filter(|address| address.network == id);
                let services = services.map(|address| AddressSeen {
                    address: address.address,
                    prefix: address.prefix,
                    lifetime: Some(core::time::Duration::from_nanos(
                        address.expires.saturating_sub(self.now),
                    )),
                });
                Interface {
                    index: interface_of(id),
                    name: format!("eth{network}"),
                    up: true,
                    carrier: self.wires.has_carrier(network, number),
                    condition: network::Condition::Unpolled,
                    mac: Some(mac_of(id, number)),
                    addresses: core::iter::once(own).chain(services).collect(),
                }
            })
            .collect()
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
                self.broadcast(number, network_of(interface), &bytes);
            }
            NetworkOutput::Add { operation, interface, address, prefix, lifetime, .. } => {
                let network = network_of(interface);
                let added = self.add(number, daemon, network, address, prefix, nanos(lifetime));
                self.trace(|| format!("{} add {address}: {added:?}", name(number)));
                let done = NetworkInput::Done { operation, result: added };
                let done = crate::machine::Item::Input(Input::Network(done));
                daemon.inbox.push_back(done);
            }
            NetworkOutput::Refresh { address, lifetime, .. } => {
                let expires = self.now + nanos(lifetime);
                let machine = &mut self.machines[number];
                let local = machine.clock.local(self.now);
                let covers = &machine.guard.covers;
                let own = machine.addresses.iter_mut().find(|own| own.address == address);
                // What is stopped refreshes nothing.
                if let Some(own) = own
                    && covers.get(&own.service).is_some_and(|cover| local < cover.deadline)
                {
                    own.expires = expires;
                }
            }
            NetworkOutput::Remove { operation, address, .. } => {
                self.remove_address(number, address);
                self.trace(|| format!("{} remove {address}", name(number)));
                let done = NetworkInput::Done { operation, result: Ok(()) };
                daemon.inbox.push_back(crate::machine::Item::Input(Input::Network(done)));
            }
            NetworkOutput::Switch { .. } => unreachable!("no machine here has standby interfaces"),
            NetworkOutput::Give { .. } => {
                unreachable!("no address here takes the place of another")
            }
            NetworkOutput::Claimed { .. }
            | NetworkOutput::Moved { .. }
            | NetworkOutput::Switched { .. }
            | NetworkOutput::StandbyJoined { .. }
            | NetworkOutput::StandbyFailed { .. }
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
        network: NetworkId,
        address: IpAddr,
        prefix: u8,
        lifetime: u64,
    ) -> Result<(), String> {
        let has = |resource: &engine::Resource| matches!(&resource.kind, engine::ResourceKind::Address { address: own, .. } if *own == address);
        let services = &daemon.node.engine().intent().services;
        let service = services.iter().find(|service| service.resources.iter().any(has));
        let Some(service) = service.map(|service| service.name.clone()) else {
            return Err("no service has this address".into());
        };
        self.cover(number, daemon, &service)?;
        let expires = self.now + lifetime;
        let machine = &mut self.machines[number];
        machine.addresses.retain(|own| own.address != address);
        machine.addresses.push(Address {
            address,
            service: service.clone(),
            network,
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

    pub(crate) fn remove_address(&mut self, number: usize, address: IpAddr) {
        let addresses = &mut self.machines[number].addresses;
        let Some(place) = addresses.iter().position(|own| own.address == address) else { return };
        let gone = addresses.remove(place);
        self.machines[number].gate.remove(&address);
        self.note_part(number, &gone.service, "address", false);
        self.picture_soon(number);
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
        let over: Vec<IpAddr> = over.map(|own| own.address).collect();
        for address in over {
            self.trace(|| format!("{} kernel lets go of {address}", name(number)));
            self.remove_address(number, address);
        }
        if let Some(next) = self.machines[number].addresses.iter().map(|own| own.expires).min() {
            self.queue.push((next + late).max(now + 1), Event::Lifetimes(number, boot));
        }
    }

    /// A frame goes to all machines on the network; the one that has the address that is asked
    /// for answers.
    fn broadcast(&mut self, from: usize, network: NetworkId, bytes: &[u8]) {
        // A closed address is not spoken for either; a probe speaks for nobody.
        if let Some((sender, ..)) = arp(bytes)
            && !sender.is_unspecified()
            && sender != own_address(network, self.machines[from].node())
            && !self.machines[from].answers(sender.into(), self.now)
        {
            return;
        }
        let machines: Vec<usize> = self.wires.machines_on(usize::from(network.0)).collect();
        for to in machines.into_iter().filter(|to| *to != from) {
            self.frame(from, to, network, bytes.to_vec());
        }
    }

    fn frame(&mut self, from: usize, to: usize, network: NetworkId, bytes: Vec<u8>) {
        debug_assert!(bytes[..6] == BROADCAST || bytes[..6] == mac_of(network, to));
        if let [Some(arrival), _] = self.wires.send(network, from, to) {
            self.queue.push(self.now + arrival.delay, Event::Frame(to, network, bytes));
        }
    }

    /// A frame reaches a machine: its kernel, and its daemon if that listens.
    pub(crate) fn frame_arrives(&mut self, number: usize, network: NetworkId, bytes: Vec<u8>) {
        let machine = &self.machines[number];
        if !machine.is_on {
            return;
        }
        if let Some((sender, target, mac)) = arp(&bytes) {
            let mut addresses = machine.addresses.iter();
            let has =
                addresses.any(|own| own.address == IpAddr::V4(target) && own.network == network);
            let is_open = machine.answers(target.into(), self.now);
            if has && is_open && sender != target && bytes[..6] == BROADCAST {
                let to = usize::from(mac[5]) - 1;
                let reply = arp_reply(mac_of(network, number), target, mac, sender);
                self.frame(number, to, network, reply);
            }
        }
        let listens = |daemon: &Daemon| daemon.listening.contains(&interface_of(network));
        if self.machines[number].daemon.as_deref().is_some_and(listens) {
            let interface = interface_of(network);
            self.tell(number, Input::Network(NetworkInput::Frame { interface, bytes }));
        }
    }
}
