//! Faults begin and end: power, daemons, cuts, carriers, processes; and in the end all is repaired.
//!
//! **Lost memory.** A state directory that is wiped, or whose newest file is damaged, makes a node
//! that cannot know which views it was in. The first cannot be told from a node that never ran;
//! the second is noticed when the file is read (checksum), and the daemon then goes on without a
//! record. Both take an incarnation that was never used, from the wall clock. A directory that is
//! rolled back so that nobody can notice (a restored backup) breaks assumption A5 of the protocol
//! and is not simulated.

use base::{Incarnation, NetworkId, Prng, View};

use crate::clock::Clock;
use crate::event::Event;
use crate::fault::{Fault, Kind, Mix};
use crate::machine::{Disk, Guard, Machine, Memory, Strike, Transition};
use crate::setup::{name, nanos};
use crate::world::{DISK_DELAY, LATENESS, World};

/// A guard starts the daemon again after so long.
const RESTART_MIN: u64 = 10_000_000;
const RESTART_MAX: u64 = 100_000_000;
/// A daemon that will not be back before this is said goodbye for.
const GOODBYE_AFTER: u64 = 1_000_000_000;
/// Shared disks and serial lines get more time until a path counts as dead; their faults, too.
const MEDIA_PATIENCE: u64 = 4;
/// An armed strike that met no output strikes after so long in any case.
const STRIKE_OUTPUTS_MAX: u64 = 24;

impl World {
    /// A machine gets power: kernel, guard, daemon.
    pub(crate) fn power_on(&mut self, number: usize, boot: u32) {
        let machine = &mut self.machines[number];
        if machine.is_on || machine.boots != boot {
            return;
        }
        machine.is_on = true;
        machine.cut.clear();
        machine.boots += 1;
        let base = self.prng.range(1_000_000_000..=20_000_000_000);
        machine.clock = Clock::new(self.now, base, machine.rate);
        machine.guard = Guard::default();
        machine.own = self.setup.own(machine.node());
        machine.macs.clear();
        machine.taken.clear();
        self.seat(number);
        self.trace(|| format!("{} power on", name(number)));
        let after = self.prng.range(1_000_000..=30_000_000);
        self.start_daemon_after(number, after);
    }

    fn start_daemon_after(&mut self, number: usize, after: u64) {
        let machine = &self.machines[number];
        let event = Event::DaemonStart(number, machine.boots, machine.daemons);
        self.queue.push(self.now + after, event);
    }

    /// What strikes in the middle of a turn, or at once.
    pub(crate) fn strike(&mut self, number: usize, strike: Strike) {
        match strike {
            Strike::PowerOff(back) => self.power_off(number, back),
            Strike::Kill(back) => self.kill_daemon(number, back),
            Strike::Freeze(lasts) => {
                let machine = &mut self.machines[number];
                if machine.has_gate && machine.daemon.is_some() && machine.frozen_until.is_none() {
                    machine.frozen_until = Some(self.now + lasts);
                    let boot = machine.boots;
                    self.queue.push(self.now + lasts, Event::Thaw(number, boot));
                    self.trace(|| format!("{} stands still", name(number)));
                }
                self.strike(number, Strike::Pause(lasts));
            }
            Strike::Pause(lasts) => {
                if let Some(daemon) = &mut self.machines[number].daemon {
                    let exchanged = self.wires.exchanges_over_living(number, &daemon.node);
                    daemon.is_paused = true;
                    daemon.was_paused.get_or_insert(exchanged);
                    daemon.wakes_at = None;
                    let event = Event::Resume(number, daemon.number);
                    self.queue.push(self.now + lasts, event);
                    self.trace(|| format!("{} daemon stopped", name(number)));
                }
            }
        }
    }

    /// No power any more: everything but the disk is gone.
    pub(crate) fn power_off(&mut self, number: usize, back: Option<u64>) {
        let machine = &mut self.machines[number];
        if !machine.is_on {
            return;
        }
        machine.is_on = false;
        let daemon = machine.daemon.take();
        if let Some(daemon) = daemon {
            self.close_ports(*daemon, true);
        }
        let machine = &mut self.machines[number];
        machine.transitions.clear();
        let addresses = core::mem::take(&mut machine.addresses);
        let processes = core::mem::take(&mut machine.processes);
        for own in addresses {
            self.note_part(number, &own.service, "address", false);
        }
        for ((service, part), _) in processes.iter().filter(|(_, process)| process.accepts) {
            self.note_part(number, service, part, false);
        }
        let machine = &mut self.machines[number];
        machine.picture_due = false;
        machine.strike = None;
        machine.gate.clear();
        machine.frozen_until = None;
        machine.guard = Guard::default();
        self.interrupt_writes(number);
        self.check.life_ended(number);
        self.check.machine_stopped(number);
        self.trace(|| format!("{} power off", name(number)));
        if let Some(back) = back {
            let boot = self.machines[number].boots;
            self.queue.push(self.now + back, Event::PowerOn(number, boot));
        }
    }

    /// Of the writes that were asked for, the first is done or not; the others are not.
    fn interrupt_writes(&mut self, number: usize) {
        let is_done = self.prng.chance(1, 2);
        let disk = &mut self.machines[number].disk;
        if let (Some(write), true) = (disk.writes.pop_front(), is_done) {
            disk.apply(write.what);
        }
        disk.writes.clear();
    }

    /// The daemon is killed; the guard and the services go on.
    fn kill_daemon(&mut self, number: usize, back: u64) {
        let machine = &mut self.machines[number];
        let Some(daemon) = machine.daemon.take() else { return };
        self.close_ports(*daemon, false);
        let machine = &mut self.machines[number];
        machine.strike = None;
        machine.guard.owes_goodbye = back >= GOODBYE_AFTER;
        self.interrupt_writes(number);
        self.check.life_ended(number);
        self.trace(|| format!("{} daemon killed", name(number)));
        self.start_daemon_after(number, back);
        self.say_goodbye(number);
    }

    /// The daemon has left: its guard ends what there may still be, says goodbye, and ends too.
    pub(crate) fn daemon_ended(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        machine.strike = None;
        machine.guard.owes_goodbye = true;
        machine.guard.has_restarted = false;
        self.interrupt_writes(number);
        self.check.life_ended(number);
        let machine = &self.machines[number];
        let services: Vec<String> = machine.guard.covers.keys().cloned().collect();
        for service in services {
            self.guard_kills(number, service);
        }
        self.say_goodbye(number);
        let after = self.prng.range(self.setup.unit..=self.setup.unit * 8);
        self.start_daemon_after(number, after);
    }

    /// A stopped daemon goes on.
    pub(crate) fn resume(&mut self, number: usize, daemon_number: u32) {
        if self.machines[number].frozen_until.is_some() {
            return;
        }
        let Some(daemon) = &mut self.machines[number].daemon else { return };
        if daemon.number == daemon_number && daemon.is_paused {
            daemon.is_paused = false;
            self.machines[number].calm_since = self.now;
            self.trace(|| format!("{} daemon goes on", name(number)));
            self.ports_go_on(number);
            self.wake_soon(number);
        }
    }

    fn draw_machine(&self, prng: &mut Prng) -> usize {
        prng.range(0..=self.setup.nodes as u64 - 1) as usize
    }

    /// The machine that a fault strikes.
    fn struck(&self, place: usize, prng: &mut Prng) -> usize {
        let drawn = self.draw_machine(prng);
        self.setup.faults[place].machine.unwrap_or(drawn)
    }

    /// A fault begins.
    pub(crate) fn fault(&mut self, place: usize) {
        let Fault { kind, lasts, mut prng, .. } = self.setup.faults[place].clone();
        self.trace(|| format!("fault {place}: {}", kind.name()));
        match kind {
            Kind::AllDown => {
                for (network, from, to) in self.edges(place) {
                    self.wires.block(network, from, to, true);
                }
                self.queue.push(self.now + lasts * MEDIA_PATIENCE, Event::Repair(place));
            }
            Kind::DiskTrouble | Kind::Unplug => {
                let machine = self.struck(place, &mut prng);
                self.media.fault(kind, machine, &mut prng, true);
                self.queue.push(self.now + lasts * MEDIA_PATIENCE, Event::Repair(place));
            }
            Kind::Cut | Kind::OneWay | Kind::NetworkDown | Kind::Split | Kind::Storage => {
                for (network, from, to) in self.edges(place) {
                    self.wires.block(network, from, to, true);
                }
                self.queue.push(self.now + lasts, Event::Repair(place));
            }
            Kind::ArbiterDown => {
                let nodes = self.setup.nodes;
                let mut prng = self.setup.faults[place].prng.clone();
                self.arbiters.fail(place, nodes, &mut prng);
                self.queue.push(self.now + lasts, Event::Repair(place));
            }
            Kind::Deaf => {
                for (network, from, to) in self.edges(place) {
                    self.wires.deafen(network, from, to, true);
                }
                self.queue.push(self.now + lasts, Event::Repair(place));
            }
            Kind::Carrier => {
                let (network, machine) = self.interface_hit(place);
                let card = self.card_hit(place, network);
                if self.wires.carrier_fault(network, (machine, card), true, self.now) {
                    self.picture_soon(machine);
                }
                self.queue.push(self.now + lasts, Event::Repair(place));
            }
            Kind::PowerOff => {
                let machine = self.struck(place, &mut prng);
                let returns = !prng.chance(1, 5) || self.is_exact(place);
                let back = returns.then_some(lasts);
                self.strike_or_arm(place, machine, Strike::PowerOff(back), &mut prng);
                if !self.machines[machine].is_on {
                    self.lose_memory(machine, &mut prng);
                }
            }
            Kind::Blackout => {
                for machine in 0..self.machines.len() {
                    let back =
                        (!prng.chance(1, 6)).then(|| lasts + prng.range(0..=self.setup.unit * 4));
                    self.power_off(machine, back);
                    if prng.chance(1, 3) {
                        self.lose_memory(machine, &mut prng);
                    }
                }
            }
            Kind::DaemonKill => {
                let machine = self.struck(place, &mut prng);
                let back = match prng.range(0..=3) {
                    0 if !self.is_exact(place) => {
                        prng.range(GOODBYE_AFTER..=GOODBYE_AFTER + self.setup.unit * 12)
                    }
                    _ => prng.range(RESTART_MIN..=RESTART_MAX),
                };
                self.strike_or_arm(place, machine, Strike::Kill(back), &mut prng);
            }
            Kind::Pause => {
                let machine = self.struck(place, &mut prng);
                self.strike_or_arm(place, machine, Strike::Pause(lasts), &mut prng);
            }
            Kind::Freeze => {
                let machine = self.struck(place, &mut prng);
                self.strike_or_arm(place, machine, Strike::Freeze(lasts), &mut prng);
            }
            Kind::Slow => {
                let machine = self.struck(place, &mut prng);
                self.machines[machine].lateness = prng.range(LATENESS..=self.setup.unit / 2);
                self.queue.push(self.now + lasts, Event::Repair(place));
            }
            Kind::SlowDisk => {
                let machine = self.struck(place, &mut prng);
                self.machines[machine].disk_delay = prng.range(DISK_DELAY..=self.setup.unit * 4);
                self.queue.push(self.now + lasts * 2, Event::Repair(place));
            }
            Kind::Gateway => {
                let machine = self.struck(place, &mut prng);
                self.gateway_fault(machine, true);
                self.queue.push(self.now + lasts, Event::Repair(place));
            }
            Kind::Decision => self.at_decision.push(place),
            Kind::Between => {
                self.at_change.push(place);
                self.configure(&mut prng);
            }
            Kind::Replay => self.replay(&mut prng),
            Kind::Crash => self.crash_process(&mut prng),
            Kind::Operator => self.operator_acts(&mut prng),
            Kind::Configure => self.configure(&mut prng),
            Kind::Leave => {
                let machine = self.struck(place, &mut prng);
                self.command(machine, node::Command::Leave);
            }
            Kind::Drift
            | Kind::Loss
            | Kind::Duplication
            | Kind::Reordering
            | Kind::Corruption
            | Kind::Delay
            | Kind::Media
            | Kind::Cards
            | Kind::Shared
            | Kind::Arbiters
            | Kind::Fencing
            | Kind::FenceTrouble
            | Kind::DiskDamage
            | Kind::LineNoise
            | Kind::Wipe
            | Kind::Stale
            | Kind::StartFails
            | Kind::StopHangs
            | Kind::Unkillable => unreachable!("these do not come as single faults"),
        }
    }

    /// A fault ends.
    pub(crate) fn repair(&mut self, place: usize) {
        if self.healed_at.is_some() {
            return;
        }
        let Fault { kind, mut prng, .. } = self.setup.faults[place].clone();
        self.trace(|| format!("repair {place}: {}", kind.name()));
        match kind {
            Kind::Carrier => {
                let (network, machine) = self.interface_hit(place);
                let card = self.card_hit(place, network);
                if self.wires.carrier_fault(network, (machine, card), false, self.now) {
                    self.picture_soon(machine);
                }
            }
            Kind::Slow => {
                let machine = self.struck(place, &mut prng);
                self.machines[machine].lateness = LATENESS;
                self.machines[machine].calm_since = self.now;
            }
            Kind::SlowDisk => {
                let machine = self.struck(place, &mut prng);
                self.machines[machine].disk_delay = DISK_DELAY;
            }
            Kind::Gateway => {
                let machine = self.struck(place, &mut prng);
                self.gateway_fault(machine, false);
            }
            Kind::DiskTrouble | Kind::Unplug => {
                let machine = self.struck(place, &mut prng);
                self.media.fault(kind, machine, &mut prng, false);
            }
            Kind::ArbiterDown => self.arbiter_repaired(place),
            Kind::Deaf => {
                for (network, from, to) in self.edges(place) {
                    self.wires.deafen(network, from, to, false);
                }
            }
            _ => {
                for (network, from, to) in self.edges(place) {
                    self.wires.block(network, from, to, false);
                }
            }
        }
    }

    /// A machine is about to record a view that nobody else knows of: its news are still in the
    /// machine, and that is when it hurts to lose it. Faults of the very beginning wait for a first
    /// view, the others for a successor.
    pub(crate) fn note_record(&mut self, number: usize, record: Option<&View>) {
        let (Some(view), Some(place)) = (record, self.at_decision.last().copied()) else { return };
        let known = self.machines.iter().filter_map(|machine| machine.disk.memory.record.as_ref());
        let is_first = self.setup.faults[place].at == 0;
        let is_successor =
            self.machines[number].disk.memory.record.as_ref().is_some_and(|before| {
                before.lineage == view.lineage && before.generation < view.generation
            });
        if is_first == is_successor || known.into_iter().any(|known| known == view) {
            return;
        }
        self.at_decision.pop();
        self.trace(|| format!("{} is cut off with its decision", name(number)));
        let fault = &mut self.setup.faults[place];
        // A first view is lost by halves: some of those who form it fall apart from the others.
        fault.machine = (!is_first).then_some(number);
        let lasts = fault.lasts;
        let mut prng = fault.prng.child("afterwards");
        for (network, from, to) in self.edges(place) {
            self.wires.block(network, from, to, true);
        }
        self.queue.push(self.now + lasts, Event::Repair(place));
        if prng.chance(1, 3) && self.machines[number].strike.is_none() {
            let outputs = prng.range(0..=STRIKE_OUTPUTS_MAX) as u32;
            self.machines[number].strike = Some((outputs, Strike::PowerOff(Some(lasts))));
        }
    }

    /// A change of the configuration is in force on a machine. As long as half of the nodes have not
    /// heard of it, that is when a tie is most dangerous: each half has another idea of who breaks it.
    pub(crate) fn note_change(&mut self, number: usize, version: u64) {
        let Some(place) = self.at_change.last().copied() else { return };
        let count = self.machines.len();
        let is_late = |machine: &usize| {
            let daemon = self.machines[*machine].daemon.as_ref();
            daemon.is_some_and(|daemon| daemon.node.engine().intent().version < version)
        };
        let mut late: Vec<usize> =
            (0..count).filter(|machine| *machine != number && is_late(machine)).collect();
        if late.is_empty() || 2 * late.len() < count {
            return;
        }
        self.at_change.pop();
        let mut prng = self.setup.faults[place].prng.child("sides");
        while 2 * late.len() > count {
            late.swap_remove(prng.range(0..=late.len() as u64 - 1) as usize);
        }
        self.trace(|| format!("version {version} reaches {}: cut off from {late:?}", name(number)));
        self.late_sides.insert(place, late);
        // Long enough for both to make up their minds.
        let lasts = self.setup.faults[place].lasts.max(self.setup.unit * 6);
        for (network, from, to) in self.edges(place) {
            self.wires.block(network, from, to, true);
        }
        self.queue.push(self.now + lasts, Event::Repair(place));
    }

    fn interface_hit(&self, place: usize) -> (usize, usize) {
        let Fault { network, mut prng, .. } = self.setup.faults[place].clone();
        let drawn = prng.range(0..=self.wires.count() as u64 - 1) as usize;
        (network.unwrap_or(drawn), self.struck(place, &mut prng))
    }

    /// The directions that a cut blocks: the same when it begins and when it ends.
    fn edges(&self, place: usize) -> Vec<(usize, usize, usize)> {
        let Fault { kind, mut prng, network, machine, .. } = self.setup.faults[place].clone();
        let (machines, networks) = (self.setup.nodes, self.wires.count());
        let only = match prng.chance(2, 3) {
            true => Some(prng.range(0..=networks as u64 - 1) as usize),
            false => None,
        };
        let only = network.or(only);
        let groups: Vec<u64> = (0..machines).map(|_| prng.range(0..=1)).collect();
        let alone = self.struck(place, &mut prng);
        let is_alone = prng.chance(1, 2) || machine.is_some();
        let bridge = prng.chance(1, 5).then(|| self.draw_machine(&mut prng));
        let bridge = bridge.filter(|_| machine.is_none());
        let share = prng.range(1..=4);
        let is_mute = prng.chance(1, 3);
        let mut edges = Vec::new();
        for network in 0..networks {
            for from in 0..machines {
                for to in (0..machines).filter(|to| *to != from) {
                    // The same draw for both directions of a symmetric cut.
                    let pair = (from.min(to) * machines + from.max(to)) as u64;
                    let key = match kind {
                        Kind::OneWay | Kind::Deaf => (from * machines + to) as u64,
                        _ => pair,
                    };
                    let is_drawn = || {
                        let label = format!("{network} {key}");
                        prng.child(&label).chance(share, 4)
                    };
                    let is_cut = match kind {
                        Kind::Decision if machine.is_none() => groups[from] != groups[to],
                        Kind::Decision => from == alone || (to == alone && !is_mute),
                        Kind::AllDown => true,
                        Kind::Storage => (from == alone) != (to == alone),
                        Kind::Between => {
                            self.late_sides[&place].contains(&from)
                                != self.late_sides[&place].contains(&to)
                        }
                        Kind::NetworkDown => network == only.unwrap_or(0),
                        Kind::Split => {
                            let apart = match is_alone {
                                true => (from == alone) != (to == alone),
                                false => groups[from] != groups[to],
                            };
                            apart && bridge != Some(from) && bridge != Some(to)
                        }
                        _ => only.is_none_or(|only| only == network) && is_drawn(),
                    };
                    if is_cut {
                        edges.push((network, from, to));
                    }
                }
            }
        }
        edges
    }

    /// A fault whose place is given happens as given.
    fn is_exact(&self, place: usize) -> bool {
        self.setup.faults[place].machine.is_some()
    }

    fn strike_or_arm(&mut self, place: usize, number: usize, strike: Strike, prng: &mut Prng) {
        if prng.chance(1, 2) && !self.is_exact(place) {
            let outputs = prng.range(0..=STRIKE_OUTPUTS_MAX) as u32;
            self.machines[number].strike = Some((outputs, strike));
        } else {
            self.strike(number, strike);
        }
    }

    /// A machine without power may lose its memory, too.
    fn lose_memory(&mut self, number: usize, prng: &mut Prng) {
        let (wipes, damages) = (prng.chance(1, 2), prng.chance(1, 2));
        let first = self.setup.intent.clone();
        let disk = &mut self.machines[number].disk;
        if wipes && self.mix.has(Kind::Wipe) {
            *disk = Disk {
                memory: Memory::default(),
                before: Incarnation(0),
                agreed: first,
                pending: None,
                writes: Default::default(),
            };
        } else if damages && self.mix.has(Kind::Stale) {
            disk.memory = Memory { incarnation: disk.before, record: None };
        } else {
            return;
        }
        self.memory_lost = true;
        self.check.memory_lost(number);
        self.trace(|| format!("{} has lost its memory", name(number)));
    }

    fn replay(&mut self, prng: &mut Prng) {
        for _ in 0..prng.range(1..=6) {
            let Some(captured) = self.wires.replay(prng) else { return };
            let at = self.now + prng.range(0..=self.setup.unit);
            self.queue.push(at, Event::Datagram(captured.to, captured.datagram));
        }
    }

    fn crash_process(&mut self, prng: &mut Prng) {
        let machine = self.draw_machine(prng);
        let processes = &self.machines[machine].processes;
        let Some(last) = processes.len().checked_sub(1) else { return };
        let place = prng.range(0..=last as u64) as usize;
        let (key, process) = processes.iter().nth(place).expect("the place was drawn from it");
        // One that is starting or being stopped answers for itself.
        if process.next.is_none() && process.accepts {
            let key = key.clone();
            self.schedule(machine, &key, 0, Transition::Dies);
        }
    }

    /// All faults are over: everything is repaired and switched on.
    pub(crate) fn heal(&mut self) {
        self.trace(|| "all faults are over".to_owned());
        self.standings = self.machines.iter().map(Machine::standing).collect();
        self.healed_at = Some(self.now);
        self.mix = Mix::default();
        self.at_decision.clear();
        self.at_change.clear();
        self.wires.heal();
        self.media.heal();
        self.heal_arbiters();
        for number in 0..self.machines.len() {
            let machine = &mut self.machines[number];
            machine.lateness = LATENESS;
            machine.calm_since = self.now;
            machine.disk_delay = DISK_DELAY;
            machine.strike = None;
            if machine.is_gateway_silent {
                self.gateway_fault(number, false);
            }
            let machine = &mut self.machines[number];
            if !machine.is_on {
                let boot = machine.boots;
                let after = self.prng.range(0..=self.setup.unit);
                self.queue.push(self.now + after, Event::PowerOn(number, boot));
                continue;
            }
            let boot = machine.boots;
            self.thaw(number, boot);
            let machine = &mut self.machines[number];
            let stuck: Vec<_> = machine.processes.keys().cloned().collect();
            for key in stuck {
                let machine = &mut self.machines[number];
                let process = machine.processes.get_mut(&key).expect("it was just listed");
                process.is_deaf = false;
                process.is_unkillable = false;
                let daemons = machine.daemons;
                if let Some((id, by)) = process.owed.take()
                    && by == daemons
                {
                    self.schedule(number, &key, 0, Transition::Ended(id));
                } else if !process.accepts
                    && process.next.is_none()
                    && !matches!(process.resource.kind, engine::ResourceKind::Mount { .. })
                {
                    self.schedule(number, &key, 0, Transition::Dies);
                }
            }
            let daemon = self.machines[number].daemon.as_ref();
            if let Some(daemon) = daemon.filter(|daemon| daemon.is_paused) {
                let id = daemon.number;
                self.resume(number, id);
            }
            if self.machines[number].daemon.is_none() {
                let after = self.prng.range(RESTART_MIN..=RESTART_MAX);
                self.start_daemon_after(number, after);
            }
            self.picture_soon(number);
        }
    }

    /// The time R on a clock that runs as slowly as may be.
    pub(crate) fn release_max(&self) -> u64 {
        nanos(self.setup.timing.release)
    }

    /// Nonsense reaches some machine.
    pub(crate) fn send_nonsense(&mut self) {
        let bytes = self.wires.nonsense();
        let to = self.prng.range(0..=self.machines.len() as u64 - 1) as usize;
        let network = NetworkId(self.prng.range(0..=self.wires.count() as u64 - 1) as u16);
        let datagram = crate::event::Datagram { network, bytes, id: 0, is_broken: true };
        self.queue.push(self.now, Event::Datagram(to, datagram));
    }
}
