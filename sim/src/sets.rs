//! A gate whose open times are relative: nftables (`os::gate`, its module `sets`).
//!
//! The daemon's thread looks at the clock, subtracts, and tells the kernel for how long an address is to
//! stay open. Between the two it may be stopped, alone or with the machine, for longer than the lease.
//! **Rule:** the kernel acts only on what passes a fence that was up before the look at the clock and
//! falls by itself, and what it opens is shorter by as long as the fence lasts. So an address is silent
//! at the deadline, whoever was stopped when.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use base::Instant;

use crate::event::Event;
use crate::setup::nanos;
use crate::world::World;

/// How long a fence is up: `os::gate::FENCE`.
const FENCE: Duration = Duration::from_millis(30);
/// A deadline that is later by so much is told at once.
const LEAP: Duration = Duration::from_millis(50);
/// How often the thread comes by otherwise: this part of what is left, within these bounds.
const PART: u32 = 6;
const PACE_MIN: Duration = Duration::from_millis(10);
const PACE_MAX: Duration = Duration::from_millis(250);
/// How long the thread takes from its look at the clock to the kernel when nothing hinders it.
const DELAY: u64 = 2_000_000;
/// When a stopped thread is looked at again.
const STOPPED: u64 = 5_000_000;

/// What a daemon's loop has said to its thread.
#[derive(Clone, Debug, Default)]
pub struct Sets {
    /// Which life of which daemon.
    life: (u32, u32),
    deadlines: BTreeMap<IpAddr, Instant>,
    /// When the thread comes by, in real time.
    comes_by: Option<u64>,
    /// Until when it is at work.
    works_until: u64,
}

/// What a daemon's thread says to the kernel.
#[derive(Clone, Debug)]
pub struct Opening {
    machine: usize,
    life: (u32, u32),
    /// What the thread's clock showed.
    clock: Instant,
    deadlines: BTreeMap<IpAddr, Instant>,
}

impl World {
    /// Has the addresses of a service open until then, as soon as the thread comes by.
    pub(crate) fn push_sets(&mut self, number: usize, service: &str, until: Instant) {
        let machine = &mut self.machines[number];
        let now = machine.clock.local(self.now);
        let life = (machine.boots, machine.daemons);
        if machine.sets.life != life {
            machine.sets = Sets { life, ..Sets::default() };
        }
        let mut rings = false;
        for own in machine.addresses.iter().filter(|own| own.service == service) {
            let former = machine.sets.deadlines.insert(own.address, until).unwrap_or_default();
            rings |= until < former || until.since(former) >= LEAP;
        }
        let open = machine.sets.deadlines.values().filter(|until| **until > now);
        let left = open.map(|until| until.since(now)).min();
        let pace = left.map_or(PACE_MAX, |left| (left / PART).clamp(PACE_MIN, PACE_MAX));
        self.come_by(number, if rings { 0 } else { nanos(pace) });
    }

    /// The thread comes by after that time, or when it has done what it is doing.
    fn come_by(&mut self, number: usize, after: u64) {
        let sets = &mut self.machines[number].sets;
        let at = (self.now + after).max(sets.works_until);
        if sets.comes_by.is_none_or(|before| before > at) {
            sets.comes_by = Some(at);
            let life = sets.life;
            self.queue.push(at, Event::ComesBy(number, life));
        }
    }

    /// The thread looks at the clock and at what it was told.
    pub(crate) fn comes_by(&mut self, number: usize, life: (u32, u32)) {
        let lease = nanos(self.setup.timing.lease);
        let machine = &mut self.machines[number];
        let Some(daemon) = &machine.daemon else { return };
        if (machine.boots, machine.daemons) != life || machine.sets.comes_by != Some(self.now) {
            return;
        }
        machine.sets.comes_by = None;
        if daemon.is_paused || machine.frozen_until.is_some() {
            return self.come_by(number, STOPPED);
        }
        let clock = machine.clock.local(self.now);
        let deadlines = machine.sets.deadlines.clone();
        let after = match self.prng.range(0..=63) {
            0 => self.prng.range(0..=lease),
            _ => self.prng.range(0..=DELAY),
        };
        self.machines[number].sets.works_until = self.now + after;
        let opening = Opening { machine: number, life, clock, deadlines };
        self.queue.push(self.now + after, Event::Opens(Box::new(opening)));
    }

    /// The kernel hears of it.
    pub(crate) fn opens(&mut self, opening: Box<Opening>) {
        let number = opening.machine;
        let machine = &mut self.machines[number];
        let Some(daemon) = &machine.daemon else { return };
        if (machine.boots, machine.daemons) != opening.life {
            return;
        }
        if daemon.is_paused || machine.frozen_until.is_some() {
            // Its thread is stopped as well.
            let at = self.now + STOPPED;
            machine.sets.works_until = at;
            return self.queue.push(at, Event::Opens(opening));
        }
        let handled = machine.clock.local(self.now);
        if handled.since(opening.clock) >= FENCE {
            // The fence has fallen: it begins anew.
            return self.come_by(number, 0);
        }
        for (address, until) in &opening.deadlines {
            self.open_set(number, *address, (opening.clock, *until), handled);
        }
    }

    fn open_set(
        &mut self,
        number: usize,
        address: IpAddr,
        (clock, until): (Instant, Instant),
        handled: Instant,
    ) {
        let machine = &mut self.machines[number];
        let Some(own) = machine.addresses.iter().find(|own| own.address == address) else {
            machine.sets.deadlines.remove(&address);
            return;
        };
        let service = own.service.clone();
        let was_open = machine.answers(address, self.now);
        let slot = machine.gate.entry(address).or_default();
        slot.grant = clock;
        let left = until.since(clock).saturating_sub(FENCE);
        // What is over is not said at all.
        slot.deadline = if left.is_zero() { Instant::ZERO } else { handled + left };
        self.check_told(number, &service, address);
        if !was_open {
            self.check_owner(number, &service);
        }
    }
}
