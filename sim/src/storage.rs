//! What only death stops: mounts, and machines with a watchdog.
//!
//! A storage service has a mount here, or says of itself that it writes. A mount is an entry among the
//! processes that accepts nothing and that the guard cannot end: it stays when the service was
//! killed, until a daemon takes it away or the machine goes off. Whatever is left of a storage
//! service, a process that stands still or cannot be killed included, may write at any time.
//!
//! A watchdog is fed by the guard: with evidence that is fresh, or when nothing of a storage service is
//! left. A machine that stands still feeds nothing. When nothing has come for its timeout, the machine
//! is reset.

use core::time::Duration;

use base::Prng;
use engine::{Check, Class, Resource, ResourceKind, Service, Watchdog};
use node::Input;

use crate::event::Event;
use crate::machine::{Daemon, Item, Machine};
use crate::setup::{Setup, name, nanos};
use crate::world::{Severity, World};

/// The guard feeds so often within the timeout.
const FEEDINGS: u64 = 8;

/// An armed watchdog.
#[derive(Clone, Copy, Debug)]
pub struct Feeding {
    /// Without feeding for so long it resets the machine, in nanoseconds.
    pub timeout: u64,
    /// When it was fed last, in real time.
    pub fed_at: u64,
}

/// Makes some services of a run ones of storage, and gives some machines a watchdog.
pub(crate) fn draw(
    draw: &mut Prng,
    services: &mut [&mut Service],
    nodes: usize,
    least: Duration,
) -> Vec<Option<Duration>> {
    for service in services {
        match draw.range(0..=3) {
            0 => {}
            1 => service.class = Some(Class::Storage),
            _ => {
                let kind = ResourceKind::Mount {
                    device: format!("/dev/{}", service.name),
                    directory: format!("/srv/{}", service.name),
                    filesystem: "ext4".to_owned(),
                    options: String::new(),
                    check: Check::Auto,
                };
                let place = draw.range(0..=1).min(service.resources.len() as u64) as usize;
                service.resources.insert(place, Resource { name: "mount".to_owned(), kind });
            }
        }
    }
    let has_watchdogs = draw.chance(2, 3);
    let one = |_| {
        let more = Duration::from_millis(draw.range(0..=2_000));
        (has_watchdogs && draw.chance(5, 6)).then_some(least + more)
    };
    (0..nodes).map(one).collect()
}

impl Setup {
    /// Whether the service is one of storage, by the run's configuration.
    pub(crate) fn is_storage(&self, service: &str) -> bool {
        let mut services = self.intent.services.iter().chain(&self.spare);
        services.any(|spec| spec.name == service && spec.class().0 == Class::Storage)
    }
}

impl Machine {
    /// Whether anything here can write to the storage of the service.
    #[must_use]
    pub fn may_write(&self, service: &str) -> bool {
        self.processes.keys().any(|(name, _)| name == service)
    }
}

impl World {
    /// A daemon wants the watchdog to be armed.
    pub(crate) fn arm(&mut self, number: usize, daemon: &mut Daemon) {
        let timeout = self.setup.watchdogs[number].expect("only what is ready is armed");
        let watchdog = if self.prng.chance(1, 8) {
            Watchdog::Failed { reason: "it is busy".to_owned() }
        } else {
            let feeding = Feeding { timeout: nanos(timeout), fed_at: self.now };
            self.machines[number].guard.watchdog = Some(feeding);
            self.trace(|| format!("{} arms its watchdog: {timeout:?}", name(number)));
            let boot = self.machines[number].boots;
            self.queue.push(self.now + feeding.timeout / FEEDINGS, Event::Watchdog(number, boot));
            Watchdog::Armed { timeout }
        };
        daemon.inbox.push_back(Item::Input(Input::Watchdog(watchdog)));
    }

    /// What a starting daemon learns of the watchdog.
    pub(crate) fn watchdog_of(&self, number: usize) -> Watchdog {
        match (self.machines[number].guard.watchdog, self.setup.watchdogs[number]) {
            (Some(_), Some(timeout)) => Watchdog::Armed { timeout },
            (_, None) => Watchdog::Absent,
            (None, Some(_)) => Watchdog::Ready,
        }
    }

    /// The guard feeds the watchdog if it may, and the watchdog looks whether it was fed.
    pub(crate) fn feed_watchdog(&mut self, number: usize, boot: u32) {
        let may_feed = self.may_feed(number);
        let machine = &mut self.machines[number];
        if !machine.is_on || machine.boots != boot {
            return;
        }
        let Some(feeding) = &mut machine.guard.watchdog else { return };
        if may_feed {
            feeding.fed_at = self.now;
        }
        let resets_at = feeding.fed_at + feeding.timeout;
        let next = (self.now + feeding.timeout / FEEDINGS).min(resets_at);
        if self.now < resets_at {
            return self.queue.push(next, Event::Watchdog(number, boot));
        }
        self.trace(|| format!("{} is reset by its watchdog", name(number)));
        let back = self.prng.range(self.setup.unit..=self.setup.unit * 6);
        self.power_off(number, Some(back));
    }

    fn may_feed(&self, number: usize) -> bool {
        let machine = &self.machines[number];
        if machine.frozen_until.is_some() {
            return false;
        }
        let services = machine.processes.keys().map(|(service, _)| service);
        if !services.into_iter().any(|service| self.setup.is_storage(service)) {
            return true;
        }
        let timing = &self.setup.timing;
        let covers = machine.guard.covers.iter();
        let held = covers.filter(|(service, _)| self.setup.is_storage(service));
        let evidence = held.map(|(_, cover)| cover.deadline.minus(timing.lease)).max();
        let now = machine.local(self.now);
        evidence.is_some_and(|evidence| now.since(evidence) <= timing.feeding_evidence())
    }

    /// Something of a service is about to begin on a machine.
    pub(crate) fn check_writer(&mut self, number: usize, service: &str) {
        if !self.setup.is_storage(service) {
            return;
        }
        let mut others = self.machines.iter().filter(|machine| machine.number != number);
        let verdict = match others.find(|machine| machine.may_write(service)) {
            None => Ok(()),
            Some(other) => Err(format!(
                "{service} starts on {}, and something of it is left on {}",
                name(number),
                other.node()
            )),
        };
        let rule = "a storage service is never started while another machine could still write";
        self.require(Severity::Safety, rule, verdict);
    }
}
