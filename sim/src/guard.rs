//! The guard of a machine, and the processes of its services.
//!
//! The guard believes only deadlines: when one is over, it kills what is left of the service and
//! removes its addresses within the time R that the fence wait allows it. On machines whose kernel has
//! a gate it is stopped together with daemon and processes now and then: then nobody acts, and the
//! addresses are silent all the same. On others that is left out: there only the kernel's lifetime of
//! addresses would hold, and I1 is not promised.

use engine::{Act, Found, Outcome, Resource, ResourceChange, ResourceKind, Verb};
use node::Input;

use crate::event::Event;
use crate::fault::Kind;
use crate::machine::{Daemon, Item, Machine, Process, Transition};
use crate::setup::{name, nanos};
use crate::world::World;

impl Machine {
    /// What a starting daemon finds: everything of which the guard knows that it still works.
    pub(crate) fn found(&self) -> Vec<Found> {
        let processes = self.processes.iter().map(|((service, _), process)| Found {
            service: service.clone(),
            resource: process.resource.clone(),
        });
        let addresses = self.addresses.iter().map(|own| Found {
            service: own.service.clone(),
            resource: Resource {
                name: "address".to_owned(),
                kind: ResourceKind::Address { address: own.address, prefix: own.prefix },
            },
        });
        processes.chain(addresses).collect()
    }
}

impl World {
    /// What a daemon wants done about a process.
    pub(crate) fn process_act(&mut self, number: usize, daemon: &mut Daemon, act: Act) {
        let key = (act.service.clone(), act.resource.name.clone());
        let (id, verb) = (act.id, act.verb);
        self.trace(|| format!("{} {verb:?} {}/{}", name(number), key.0, key.1));
        let answer = match verb {
            Verb::Start => self.start_process(number, daemon, key, act),
            Verb::Stop | Verb::Kill => self.end_process(number, key, &act),
        };
        if let Some(outcome) = answer {
            daemon.inbox.push_back(Item::Input(Input::Acted { id, outcome }));
        }
    }

    fn start_process(
        &mut self,
        number: usize,
        daemon: &Daemon,
        key: (String, String),
        act: Act,
    ) -> Option<Outcome> {
        if self.machines[number].processes.contains_key(&key) {
            let reason = "something of it is still there".to_owned();
            return Some(Outcome::Failed { reason });
        }
        if let Err(reason) = self.cover(number, daemon, &act.service) {
            return Some(Outcome::NotNow { reason });
        }
        let deaf = self.mix.has(Kind::StopHangs) && self.prng.chance(1, 4);
        let unkillable = self.mix.has(Kind::Unkillable) && self.prng.chance(1, 8);
        let is_mount = matches!(act.resource.kind, ResourceKind::Mount { .. });
        let process = Process {
            resource: act.resource,
            accepts: !is_mount,
            next: None,
            is_deaf: deaf || unkillable,
            is_unkillable: unkillable,
            owed: None,
        };
        let fails = self.mix.has(Kind::StartFails) && self.prng.chance(1, 4);
        let after = match self.prng.range(0..=3) {
            0 => self.prng.range(0..=200_000_000),
            _ => self.prng.range(100_000..=5_000_000),
        };
        let next = match fails {
            true => Transition::StartFailed(act.id),
            false => Transition::Started(act.id),
        };
        self.machines[number].processes.insert(key.clone(), process);
        if !is_mount {
            self.note_part(number, &key.0, &key.1, true);
        }
        self.schedule(number, &key, after, next);
        self.check_owner(number, &key.0);
        self.check_writer(number, &key.0);
        None
    }

    fn end_process(&mut self, number: usize, key: (String, String), act: &Act) -> Option<Outcome> {
        let daemons = self.machines[number].daemons;
        let Some(process) = self.machines[number].processes.get_mut(&key) else {
            return Some(Outcome::Done);
        };
        if act.verb == Verb::Kill {
            // What is killed executes nothing any more, even when it cannot end.
            let worked = core::mem::take(&mut process.accepts);
            if process.is_unkillable {
                process.owed = Some((act.id, daemons));
                self.cancel(number, &key);
            }
            let is_unkillable = self.machines[number].processes[&key].is_unkillable;
            if worked {
                self.note_part(number, &key.0, &key.1, false);
            }
            if is_unkillable {
                return None;
            }
            let after = self.prng.range(50_000..=10_000_000);
            self.schedule(number, &key, after, Transition::Ended(act.id));
        } else if process.is_deaf {
            self.cancel(number, &key);
        } else {
            let after = match self.prng.range(0..=3) {
                0 => self.prng.range(0..=300_000_000),
                _ => self.prng.range(100_000..=10_000_000),
            };
            self.schedule(number, &key, after, Transition::Ended(act.id));
        }
        None
    }

    /// What happens to a process next, instead of what was going to happen.
    pub(crate) fn schedule(
        &mut self,
        number: usize,
        key: &(String, String),
        after: u64,
        transition: Transition,
    ) {
        self.cancel(number, key);
        self.tokens += 1;
        let token = self.tokens;
        let machine = &mut self.machines[number];
        machine.transitions.insert(token, (key.clone(), transition, machine.daemons));
        let process = machine.processes.get_mut(key).expect("the caller has seen it");
        process.next = Some(token);
        self.queue.push(self.now + after, Event::Process(number, token));
    }

    fn cancel(&mut self, number: usize, key: &(String, String)) {
        let machine = &mut self.machines[number];
        if let Some(process) = machine.processes.get_mut(key)
            && let Some(token) = process.next.take()
        {
            machine.transitions.remove(&token);
        }
    }

    /// Something happens to a process.
    pub(crate) fn transition(&mut self, number: usize, token: u64) {
        let machine = &mut self.machines[number];
        let Some((key, transition, by)) = machine.transitions.remove(&token) else { return };
        self.trace(|| format!("{} {}/{}: {transition:?}", name(number), key.0, key.1));
        let machine = &mut self.machines[number];
        // A daemon that was started since then does not know of the act.
        let is_awaited = machine.daemons == by;
        match transition {
            Transition::Started(_) => {
                let process = machine.processes.get_mut(&key).expect("it has a transition");
                process.next = None;
            }
            Transition::StartFailed(_) | Transition::Ended(_) | Transition::Dies => {
                if machine.processes.remove(&key).is_some_and(|process| process.accepts) {
                    self.note_part(number, &key.0, &key.1, false);
                }
            }
        }
        let (id, outcome) = match transition {
            Transition::Started(id) | Transition::Ended(id) => (id, Outcome::Done),
            Transition::StartFailed(id) => {
                (id, Outcome::Failed { reason: "exited with code 1".to_owned() })
            }
            Transition::Dies => return self.tell_of_end(number, key, Some(1), None),
        };
        if is_awaited {
            self.tell(number, Input::Acted { id, outcome });
        } else if !matches!(transition, Transition::Started(_)) {
            self.tell_of_end(number, key, Some(1), None);
        }
    }

    fn tell_of_end(
        &mut self,
        number: usize,
        (service, resource): (String, String),
        code: Option<i32>,
        signal: Option<i32>,
    ) {
        let change = ResourceChange::Exited { code, signal };
        self.tell(number, Input::ResourceChanged { service, resource, change });
    }

    /// The guard will look at its deadlines in time.
    pub(crate) fn guard_soon(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        let covers = machine.guard.covers.values();
        let next = covers.filter(|cover| !cover.is_killed).map(|cover| cover.deadline).min();
        let Some(next) = next else { return };
        let at = machine.real(next).max(self.now);
        if machine.guard.looks_at.is_none_or(|looks| at < looks) {
            machine.guard.looks_at = Some(at);
            self.queue.push(at, Event::Guard(number));
        }
    }

    /// The guard looks at its deadlines.
    pub(crate) fn guard_looks(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        if machine.guard.looks_at != Some(self.now) {
            return;
        }
        machine.guard.looks_at = None;
        if machine.frozen_until.is_some() {
            // It looks when it goes on.
            return;
        }
        let local = machine.clock.local(self.now);
        let over = machine.guard.covers.iter().filter(|(_, c)| !c.is_killed && c.deadline <= local);
        let over: Vec<String> = over.map(|(service, _)| service.clone()).collect();
        for service in over {
            self.guard_kills(number, service);
        }
        self.guard_soon(number);
    }

    /// The guard ends a service, within the time that it has for it.
    pub(crate) fn guard_kills(&mut self, number: usize, service: String) {
        let machine = &mut self.machines[number];
        if !machine.has(&service) {
            machine.guard.covers.remove(&service);
            return;
        }
        if let Some(cover) = machine.guard.covers.get_mut(&service) {
            cover.is_killed = true;
        }
        let revoked = machine.clock.local(self.now);
        for own in machine.addresses.iter().filter(|own| own.service == service) {
            machine.gate.entry(own.address).or_default().revoked = revoked;
        }
        self.trace(|| format!("{} guard ends {service}", name(number)));
        let most = nanos(self.setup.timing.release) * 9 / 10;
        let after = match self.prng.range(0..=2) {
            0 => most,
            _ => self.prng.range(0..=most / 4),
        };
        let boot = self.machines[number].boots;
        self.queue.push(self.now + after, Event::Killed(number, boot, service));
    }

    /// Everything goes on. The guard is the first to run: what has no lease any more is dead before it
    /// did anything.
    pub(crate) fn thaw(&mut self, number: usize, boot: u32) {
        let machine = &mut self.machines[number];
        if machine.boots != boot || machine.frozen_until.take().is_none() {
            return;
        }
        self.trace(|| format!("{} goes on", name(number)));
        let machine = &mut self.machines[number];
        let local = machine.clock.local(self.now);
        let over = machine.guard.covers.iter_mut().filter(|(_, cover)| cover.deadline <= local);
        let over: Vec<String> = over
            .map(|(service, cover)| {
                cover.is_killed = true;
                service.clone()
            })
            .collect();
        for service in over {
            self.guard_killed(number, boot, &service);
        }
        // What goes on works again, and nothing else asks about it.
        let machine = &self.machines[number];
        let parts = machine.processes.keys().map(|(service, _)| service);
        let parts = parts.chain(machine.addresses.iter().map(|own| &own.service));
        let services: std::collections::BTreeSet<String> = parts.cloned().collect();
        for service in services {
            self.check_owner(number, &service);
        }
        self.guard_soon(number);
        if let Some(id) = self.machines[number].daemon.as_ref().map(|daemon| daemon.number) {
            self.resume(number, id);
        }
    }

    /// The guard's kill is done.
    pub(crate) fn guard_killed(&mut self, number: usize, boot: u32, service: &str) {
        let machine = &mut self.machines[number];
        if machine.boots != boot || !machine.is_on {
            return;
        }
        if let Some(until) = machine.frozen_until {
            self.queue.push(until, Event::Killed(number, boot, service.to_owned()));
            return;
        }
        // A mount is nothing that a kill ends.
        let killed = machine.processes.iter().filter(|((name, _), process)| {
            name == service && !matches!(process.resource.kind, ResourceKind::Mount { .. })
        });
        let keys: Vec<(String, String)> = killed.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let machine = &mut self.machines[number];
            let process = machine.processes.get_mut(&key).expect("it was just listed");
            let (worked, is_unkillable) =
                (core::mem::take(&mut process.accepts), process.is_unkillable);
            let next = if is_unkillable { None } else { process.next.take() };
            let pending = next.and_then(|token| machine.transitions.remove(&token));
            if !is_unkillable {
                machine.processes.remove(&key);
            }
            if worked {
                self.note_part(number, &key.0, &key.1, false);
            }
            if is_unkillable {
                continue;
            }
            match pending {
                Some((_, Transition::Ended(id), by)) if by == self.machines[number].daemons => {
                    self.tell(number, Input::Acted { id, outcome: Outcome::Done });
                }
                _ => self.tell_of_end(number, key, None, Some(9)),
            }
        }
        let machine = &mut self.machines[number];
        let addresses = machine.addresses.iter().filter(|own| own.service == service);
        let addresses: Vec<_> = addresses.map(|own| own.address).collect();
        for address in addresses {
            self.remove_address(number, address);
        }
        self.settle_covers(number);
        self.say_goodbye(number);
    }

    /// Services of which nothing is left are under the guard no more, unless more may come.
    pub(crate) fn settle_covers(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        if machine.guard.covers.is_empty() {
            return;
        }
        let mut covers = core::mem::take(&mut machine.guard.covers);
        let daemon = machine.daemon.as_deref();
        covers.retain(|service, cover| {
            machine.has(service)
                || !cover.is_killed
                    && daemon
                        .is_some_and(|daemon| daemon.node.leases().1.any(|held| held == service))
        });
        machine.guard.covers = covers;
    }

    /// The guard of a dead daemon says goodbye for it once nothing is left.
    pub(crate) fn say_goodbye(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        let is_due = machine.is_on
            && machine.frozen_until.is_none()
            && machine.guard.owes_goodbye
            && machine.daemon.is_none()
            && machine.processes.is_empty()
            && machine.addresses.is_empty();
        if !is_due {
            return;
        }
        machine.guard.owes_goodbye = false;
        let frames = machine.guard.goodbyes.clone();
        self.trace(|| format!("{} guard says goodbye", name(number)));
        for (path, bytes) in frames {
            // The guard has nothing but datagrams.
            if self.media.has(path.network) {
                continue;
            }
            let to = crate::setup::machine_of(path.peer);
            self.transmit(number, to, path.network, bytes);
        }
    }
}
