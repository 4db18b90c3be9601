//! What only death stops: mounts, and machines with a watchdog.
//!
//! A storage service has a mount here, or says of itself that it writes. A mount is an entry among the
//! processes that accepts nothing and that the guard cannot end: it stays when the service was
//! killed, until a daemon takes it away or the machine goes off. Whatever is left of a storage
//! service, a process that stands still or cannot be killed included, may write at any time.
//!
//! A watchdog is fed by the guard when `base::feeding` says so, which is what ships: with evidence that is
//! fresh, or when nothing of a storage service is left. A machine that stands still feeds nothing. When
//! nothing has come for its timeout, the machine is reset.
//!
//! What the others conclude from that can only be wrong while the machine is lost, and most cuts are over
//! long before they conclude anything. So these runs have faults of their own: a machine is cut off from all
//! others for longer than they wait (`outlast`). And half of the watchdogs have the shortest timeout that
//! there is.

use core::time::Duration;

use base::feeding::{Act, Outcome, Sight};
use base::{Instant, Prng, Timing};
use engine::{Check, Class, Resource, ResourceKind, Service, Watchdog};
use node::Input;

use crate::event::Event;
use crate::fault::{Fault, Kind};
use crate::machine::{Daemon, Item, Machine};
use crate::setup::{Setup, name, nanos};
use crate::world::{Severity, World};

/// The guard looks so often within the timeout.
const LOOKS: u64 = 16;

/// An armed watchdog.
#[derive(Clone, Debug)]
pub struct Feeding {
    /// When it may be fed.
    pub rule: base::feeding::Feeding,
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
        let more = match draw.chance(1, 2) {
            true => Duration::ZERO,
            false => Duration::from_millis(draw.range(0..=2_000)),
        };
        (has_watchdogs && draw.chance(5, 6)).then_some(least + more)
    };
    (0..nodes).map(one).collect()
}

/// Lets those that are lost stay so for longer than it takes until they count as reset. Returns when the
/// last one is over.
pub(crate) fn outlast(
    faults: &mut [Fault],
    watchdogs: &[Option<Duration>],
    timing: &Timing,
) -> Option<u64> {
    let longest = watchdogs.iter().flatten().max().copied().unwrap_or_default();
    let (wait, unit) = (nanos(timing.storage_fence_wait(longest)), nanos(timing.path_timeout));
    let lost = faults.iter_mut().filter(|fault| fault.kind == Kind::Storage);
    let over = lost.map(|fault| {
        fault.lasts = wait + unit * 2 + fault.lasts.min(unit * 6);
        fault.at + fault.lasts
    });
    over.max()
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
            match self.open_watchdog(number, timeout) {
                true => Watchdog::Armed { timeout },
                false => Watchdog::Failed { reason: "evidence is too old".to_owned() },
            }
        };
        daemon.inbox.push_back(Item::Input(Input::Watchdog(watchdog)));
    }

    /// The guard arms the device, if it may now.
    fn open_watchdog(&mut self, number: usize, timeout: Duration) -> bool {
        let local = self.machines[number].local(self.now);
        let mut rule = base::feeding::Feeding::new();
        rule.want();
        if rule.turn(local, &self.sight(number)) != Some(Act::Arm) {
            return false;
        }
        rule.done(local, Outcome::Armed(timeout));
        let feeding = Feeding { rule, timeout: nanos(timeout), fed_at: self.now };
        self.trace(|| format!("{} arms its watchdog: {timeout:?}", name(number)));
        let boot = self.machines[number].boots;
        self.queue.push(self.now + feeding.timeout / LOOKS, Event::Watchdog(number, boot));
        self.machines[number].guard.watchdog = Some(feeding);
        true
    }

    /// What a starting daemon learns of the watchdog.
    pub(crate) fn watchdog_of(&self, number: usize) -> Watchdog {
        match (&self.machines[number].guard.watchdog, self.setup.watchdogs[number]) {
            (Some(_), Some(timeout)) => Watchdog::Armed { timeout },
            (_, None) => Watchdog::Absent,
            (None, Some(_)) => Watchdog::Ready,
        }
    }

    /// The guard feeds the watchdog if it may, and the watchdog looks whether it was fed.
    pub(crate) fn feed_watchdog(&mut self, number: usize, boot: u32) {
        let (now, sight) = (self.now, self.sight(number));
        let machine = &mut self.machines[number];
        if !machine.is_on || machine.boots != boot {
            return;
        }
        let (local, stands_still) = (machine.local(now), machine.frozen_until.is_some());
        let Some(feeding) = &mut machine.guard.watchdog else { return };
        if !stands_still && feeding.rule.turn(local, &sight) == Some(Act::Feed) {
            feeding.rule.done(local, Outcome::Fed);
            feeding.fed_at = now;
        }
        let resets_at = feeding.fed_at + feeding.timeout;
        let next = (now + feeding.timeout / LOOKS).min(resets_at);
        if now < resets_at {
            return self.queue.push(next, Event::Watchdog(number, boot));
        }
        self.trace(|| format!("{} is reset by its watchdog", name(number)));
        let back = self.prng.range(self.setup.unit..=self.setup.unit * 6);
        self.power_off(number, Some(back));
    }

    /// What the guard of a machine sees.
    fn sight(&self, number: usize) -> Sight {
        let (machine, timing) = (&self.machines[number], &self.setup.timing);
        let is_storage = |service: &str| self.setup.is_storage(service);
        let covers = machine.guard.covers.iter().filter(|(service, _)| is_storage(service));
        let deadlines = covers.clone().map(|(_, cover)| cover.deadline.minus(timing.lease));
        let mut left =
            machine.processes.keys().filter(|(service, _)| is_storage(service)).peekable();
        let storage = left.peek().is_some() || covers.clone().next().is_some();
        // What nobody covers any more, the guard has killed.
        let is_killed = |service| machine.guard.covers.get(service).is_none_or(|one| one.is_killed);
        Sight {
            evidence: deadlines.max().unwrap_or(Instant::ZERO),
            freshness: timing.feeding_evidence(),
            storage,
            killed: left.any(|(service, _)| is_killed(service)),
        }
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
