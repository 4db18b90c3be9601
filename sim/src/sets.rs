//! A gate whose open times are relative: nftables (`os::gate`, its module `sets`).
//!
//! The daemon's thread looks at the clock, subtracts, and tells the kernel for how long an address is to
//! stay open. Between the two it may be stopped, alone or with the machine, for longer than the lease.
//! **Rule:** the kernel acts only on what passes a fence that was up before the look at the clock and
//! falls by itself, and what it opens is shorter by as long as the fence lasts. So an address is silent
//! at the deadline, whoever was stopped when.

use std::net::IpAddr;
use std::time::Duration;

use base::Instant;

use crate::event::Event;
use crate::setup::nanos;
use crate::world::World;

/// How long a fence is up: `os::gate::FENCE`.
const FENCE: Duration = Duration::from_millis(30);
/// How long the thread takes from its look at the clock to the kernel when nothing hinders it.
const DELAY: u64 = 2_000_000;
/// When a stopped thread is looked at again.
const STOPPED: u64 = 5_000_000;

/// What a daemon's thread says to the kernel.
#[derive(Clone, Debug)]
pub struct Opening {
    machine: usize,
    boot: u32,
    daemon: u32,
    address: IpAddr,
    /// What the thread's clock showed.
    clock: Instant,
    /// Until when the lease lasts.
    until: Instant,
}

impl World {
    /// Has the addresses of a service open until then, as soon as the thread comes by. It does one thing
    /// after the other: what it was stopped in keeps all that comes later waiting.
    pub(crate) fn push_sets(&mut self, number: usize, service: &str, until: Instant) {
        let lease = nanos(self.setup.timing.lease);
        let machine = &self.machines[number];
        let start = self.now.max(machine.pushes_until);
        if start > self.now + lease {
            // What it will find when it comes by is newer.
            return;
        }
        let clock = machine.clock.local(start);
        let (boot, daemon) = (machine.boots, machine.daemons);
        let own = machine.addresses.iter().filter(|own| own.service == service);
        let addresses: Vec<IpAddr> = own.map(|own| own.address).collect();
        let after = match self.prng.range(0..=63) {
            0 => self.prng.range(0..=lease),
            _ => self.prng.range(0..=DELAY),
        };
        self.machines[number].pushes_until = start + after;
        for address in addresses {
            let opening = Opening { machine: number, boot, daemon, address, clock, until };
            self.queue.push(start + after, Event::Opens(Box::new(opening)));
        }
    }

    /// The kernel hears of it.
    pub(crate) fn opens(&mut self, opening: Box<Opening>) {
        let number = opening.machine;
        let machine = &mut self.machines[number];
        if machine.boots != opening.boot || machine.daemons != opening.daemon {
            return;
        }
        let Some(daemon) = &machine.daemon else { return };
        if daemon.is_paused || machine.frozen_until.is_some() {
            // Its thread is stopped as well.
            return self.queue.push(self.now + STOPPED, Event::Opens(opening));
        }
        let handled = machine.clock.local(self.now);
        if handled.since(opening.clock) >= FENCE {
            return;
        }
        let Some(own) = machine.addresses.iter().find(|own| own.address == opening.address) else {
            return;
        };
        let service = own.service.clone();
        let was_open = machine.answers(opening.address, self.now);
        let slot = machine.gate.entry(opening.address).or_default();
        if slot.grant > opening.clock {
            // The thread has said something newer.
            return;
        }
        slot.grant = opening.clock;
        let left = opening.until.since(opening.clock).saturating_sub(FENCE);
        // What is over is not said at all.
        slot.deadline = if left.is_zero() { Instant::ZERO } else { handled + left };
        self.check_told(number, &service, opening.address);
        if !was_open {
            self.check_owner(number, &service);
        }
    }
}
