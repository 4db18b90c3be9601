//! The world of one run: its time, its machines, its networks, and what happens next.

use core::fmt;
use std::collections::BTreeMap;

use base::{Instant, NetworkId, NodeSet, Prng};

use crate::arbiters::{Arbiters, Operation};
use crate::check::Checker;
use crate::clock::{Clock, RATE_ERROR_MAX};
use crate::event::{Datagram, Event, Queue};
use crate::fault::{Kind, Mix};
use crate::machine::{Disk, Guard, Item, Machine, Memory};
use crate::media::Media;
use crate::setup::{Options, Setup, name, node_id};
use crate::wires::Wires;

/// Datagrams that a socket holds; more are dropped, as a kernel does.
pub(crate) const SOCKET_MAX: usize = 1_024;
/// The usual lateness of a loop.
pub(crate) const LATENESS: u64 = 1_000_000;
/// The usual time that a write takes.
pub(crate) const DISK_DELAY: u64 = 3_000_000;

/// What is wrong when a run fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something happened that must never happen.
    Safety,
    /// Something did not happen in time.
    Liveness,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// How bad.
    pub severity: Severity,
    /// The rule, as a sentence.
    pub rule: &'static str,
    /// What was seen.
    pub detail: String,
    /// When, in nanoseconds of real time.
    pub at: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sort = match self.severity {
            Severity::Safety => "SAFETY",
            Severity::Liveness => "LIVENESS",
        };
        let Violation { rule, detail, at, .. } = self;
        write!(f, "{sort}: {rule}, at {}: {detail}", Stamp(*at))
    }
}

/// Seconds of real time, for people.
pub(crate) struct Stamp(pub(crate) u64);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000_000, self.0 / 1_000 % 1_000_000)
    }
}

/// Sums over a run, or over many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Runs.
    pub runs: u64,
    /// Simulated nanoseconds.
    pub time: u64,
    /// Different views.
    pub views: u64,
    /// Services that started on another machine than the one before.
    pub failovers: u64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Single faults.
    pub faults: u64,
    /// Turns of all loops.
    pub turns: u64,
    /// Entries delivered, each counted once.
    pub entries: u64,
}

impl Totals {
    /// Adds the sums of another run.
    pub fn add(&mut self, other: &Totals) {
        self.runs += other.runs;
        self.time += other.time;
        self.views += other.views;
        self.failovers += other.failovers;
        self.datagrams += other.datagrams;
        self.faults += other.faults;
        self.turns += other.turns;
        self.entries += other.entries;
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first broken rule.
    pub violation: Option<Violation>,
    /// The kinds of faults that were at work.
    pub mix: Mix,
    /// How many single faults were at work.
    pub faults: usize,
    /// Sums.
    pub totals: Totals,
    /// What began and ended to work where, in order.
    pub history: Vec<Change>,
    /// When commands were answered with success, in nanoseconds of real time.
    pub answers: Vec<u64>,
    /// What arbiters have executed, in order.
    pub operations: Vec<Operation>,
    /// How the machines stood when the faults were over, before anything was repaired; empty when
    /// the run ended before that.
    pub standings: Vec<Standing>,
}

/// How one machine stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The generation of its view and who is in it, while that view can go on.
    pub view: Option<(u64, NodeSet)>,
    /// What it waits for, for people.
    pub waiting: Option<String>,
}

/// A part of a service begins or ends to work on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When, in nanoseconds of real time.
    pub at: u64,
    /// Which service.
    pub service: String,
    /// The process, or the address.
    pub part: String,
    /// Where.
    pub machine: usize,
    /// Whether it works from now on.
    pub works: bool,
}

/// One run.
pub struct World {
    pub(crate) setup: Setup,
    /// Kinds of faults at work; none once the faults are over.
    pub(crate) mix: Mix,
    /// Real time.
    pub(crate) now: u64,
    pub(crate) queue: Queue,
    pub(crate) machines: Vec<Machine>,
    pub(crate) wires: Wires,
    pub(crate) media: Media,
    pub(crate) arbiters: Arbiters,
    pub(crate) check: Checker,
    /// For what happens inside machines.
    pub(crate) prng: Prng,
    /// Since when there are no faults any more.
    pub(crate) healed_at: Option<u64>,
    /// Since when all has been well.
    pub(crate) well_since: Option<u64>,
    /// When operators last repaired something.
    pub(crate) mended_at: u64,
    pub(crate) mends: usize,
    /// Some machine came up without (all of) its memory.
    pub(crate) memory_lost: bool,
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    /// Faults that strike whoever decides next.
    pub(crate) at_decision: Vec<usize>,
    /// Faults that wait for a change of the configuration.
    pub(crate) at_change: Vec<usize>,
    /// Machines that each of these has cut off before they heard of the change.
    pub(crate) late_sides: BTreeMap<usize, Vec<usize>>,
    pub(crate) violation: Option<Violation>,
    pub(crate) totals: Totals,
    pub(crate) history: Vec<Change>,
    pub(crate) answers: Vec<u64>,
    pub(crate) standings: Vec<Standing>,
    pub(crate) is_traced: bool,
    is_over: bool,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Outcome {
    World::new(seed, options).run()
}

impl World {
    /// The world of this seed before anything has happened.
    #[must_use]
    pub fn new(seed: u64, options: &Options) -> World {
        World::of(Setup::draw(seed, options), options.trace)
    }

    /// The world of this setup before anything has happened.
    #[must_use]
    pub fn of(setup: Setup, is_traced: bool) -> World {
        let prng = setup.prng.child("machines");
        let mut draw = prng.clone();
        let machines = (0..setup.nodes).map(|number| machine(&setup, &mut draw, number)).collect();
        let mut queue = Queue::default();
        for number in 0..setup.nodes {
            let at = if draw.chance(1, 3) { 0 } else { draw.range(0..=setup.unit * 2) };
            queue.push(at, Event::PowerOn(number, 0));
        }
        for (number, fault) in setup.faults.iter().enumerate() {
            queue.push(fault.at, Event::Fault(number));
        }
        queue.push(setup.heal_at, Event::Heal);
        queue.push(setup.unit, Event::Sample);
        let wires = Wires::new(
            setup.nodes,
            setup.networks.clone(),
            &setup.media,
            setup.mix,
            &setup.prng,
            setup.unit,
        );
        let media = Media::new(&setup);
        World {
            mix: setup.mix,
            now: 0,
            queue,
            machines,
            wires,
            media,
            arbiters: Arbiters::new(&setup),
            check: Checker::new(&setup),
            prng: draw.child("world"),
            healed_at: None,
            well_since: None,
            mended_at: 0,
            mends: 0,
            memory_lost: false,
            requests: 0,
            tokens: 0,
            at_decision: Vec::new(),
            at_change: Vec::new(),
            late_sides: BTreeMap::new(),
            violation: None,
            totals: Totals { runs: 1, faults: setup.faults.len() as u64, ..Totals::default() },
            history: Vec::new(),
            answers: Vec::new(),
            standings: Vec::new(),
            is_traced,
            is_over: false,
            setup,
        }
    }

    /// Lets everything happen.
    #[must_use]
    pub fn run(mut self) -> Outcome {
        if self.is_traced {
            self.describe();
        }
        while self.violation.is_none() && !self.is_over {
            let Some((at, event)) = self.queue.pop() else { break };
            self.now = at;
            self.happen(event);
        }
        self.totals.time = self.now;
        self.totals.views = self.check.views();
        self.totals.entries = self.check.entries();
        self.totals.datagrams = self.wires.sent;
        Outcome {
            violation: self.violation,
            mix: self.setup.mix,
            faults: self.setup.faults.len(),
            totals: self.totals,
            history: self.history,
            answers: self.answers,
            operations: self.arbiters.into_operations(),
            standings: self.standings,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake(machine) => self.wake(machine),
            Event::Datagram(to, datagram) => self.arrive(to, datagram),
            Event::Frame(to, card, bytes) => self.frame_arrives(to, card, bytes),
            Event::Device(machine, daemon, network, order) => {
                self.device(machine, daemon, network, order);
            }
            Event::Late(place, block) => self.media.land(place, block),
            Event::Bytes(to, network, bytes) => self.bytes_arrive(to, network, bytes),
            Event::Arbiter(call) => self.arbiter_operates(*call),
            Event::ArbiterGivenUp(call) => self.arbiter_given_up(&call),
            Event::ArbiterBack(arbiter) => self.arbiter_back(arbiter),
            Event::Agent(machine, daemon, run) => self.agent_ends(machine, daemon, run),
            Event::LateOff(machine, level, agent) => self.switch_off(machine, level, agent),
            Event::Disk(machine, boot) => self.written(machine, boot),
            Event::Process(machine, token) => self.transition(machine, token),
            Event::Guard(machine) => self.guard_looks(machine),
            Event::Watchdog(machine, boot) => self.feed_watchdog(machine, boot),
            Event::Killed(machine, boot, service) => self.guard_killed(machine, boot, &service),
            Event::Picture(machine, boot) => self.picture(machine, boot),
            Event::Opens(opening) => self.opens(opening),
            Event::ComesBy(number, life) => self.comes_by(number, life),
            Event::Lifetimes(machine, boot) => self.lifetimes(machine, boot),
            Event::PowerOn(machine, boot) => self.power_on(machine, boot),
            Event::DaemonStart(machine, boot, number) => self.start_daemon(machine, boot, number),
            Event::Resume(machine, number) => self.resume(machine, number),
            Event::Thaw(machine, boot) => self.thaw(machine, boot),
            Event::Fault(number) => self.fault(number),
            Event::Repair(number) => self.repair(number),
            Event::Sample => {
                self.polls();
                self.sample();
            }
            Event::Heal => self.heal(),
        }
    }

    /// Notes a broken rule; the first one counts.
    pub(crate) fn require(
        &mut self,
        severity: Severity,
        rule: &'static str,
        verdict: Result<(), String>,
    ) {
        if let (Err(detail), None) = (verdict, &self.violation) {
            self.trace(|| format!("VIOLATION {rule}: {detail}"));
            for machine in &self.machines {
                if let Some(daemon) = &machine.daemon {
                    self.trace(|| format!("{}: {:?}", machine.shown(), daemon.node.group()));
                }
            }
            self.violation = Some(Violation { severity, rule, detail, at: self.now });
        }
    }

    /// A part of a service begins or ends to work.
    pub(crate) fn note_part(&mut self, machine: usize, service: &str, part: &str, works: bool) {
        let (service, part) = (service.to_owned(), part.to_owned());
        self.history.push(Change { at: self.now, service, part, machine, works });
    }

    /// Prints a line about what happens, when somebody wants to see it.
    pub(crate) fn trace(&self, line: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{} {}", Stamp(self.now), line());
        }
    }

    /// A datagram reaches a socket.
    fn arrive(&mut self, to: usize, datagram: Datagram) {
        let machine = &mut self.machines[to];
        let Some(daemon) = &mut machine.daemon else { return };
        if daemon.inbox.len() < SOCKET_MAX {
            daemon.inbox.push_back(Item::Datagram(datagram));
            self.wake_soon(to);
        }
    }

    /// The loop of a machine's daemon wakes up as soon as it gets the processor.
    pub(crate) fn wake_soon(&mut self, machine: usize) {
        self.wake_at(machine, self.now);
    }

    /// The loop wakes up at that time, or a little later, if it does not before.
    pub(crate) fn wake_at(&mut self, number: usize, at: u64) {
        let lateness = self.machines[number].lateness;
        let Some(daemon) = &mut self.machines[number].daemon else { return };
        if daemon.is_paused || daemon.wakes_at.is_some_and(|wakes| wakes <= at) {
            return;
        }
        let at = at.max(self.now) + (self.prng.next_u64() >> 32) * lateness / (1 << 32);
        if daemon.wakes_at.is_none_or(|wakes| at < wakes) {
            daemon.wakes_at = Some(at);
            self.queue.push(at, Event::Wake(number));
        }
    }

    /// Sends a datagram over the networks.
    pub(crate) fn transmit(&mut self, from: usize, to: usize, network: NetworkId, bytes: Vec<u8>) {
        self.wires.sent += 1;
        let [first, second] = self.wires.send(network, from, to);
        let Some(first) = first else {
            // The buffer goes back to where it came from.
            if let Some(daemon) = &mut self.machines[from].daemon {
                daemon.node.recycle(bytes);
            }
            return;
        };
        let (id, captured) = self.wires.name(second.is_some());
        let mut datagram = Datagram { network, bytes, id, is_broken: false };
        if captured {
            self.wires.capture(to, &datagram);
        }
        if let Some(second) = second {
            self.queue.push(self.now + second.delay, Event::Datagram(to, datagram.clone()));
        }
        if first.is_broken {
            datagram.is_broken = true;
            self.wires.flip(&mut datagram.bytes);
        }
        self.queue.push(self.now + first.delay, Event::Datagram(to, datagram));
    }

    /// Ends the run: all is well.
    pub(crate) fn end(&mut self) {
        self.is_over = true;
    }

    fn describe(&self) {
        let Setup { nodes, networks, media, timing, ties, seed_count, mix, intent, .. } =
            &self.setup;
        println!(
            "{nodes} nodes, {} networks, {media:?}, path timeout {:?}, ties {ties:?}, {seed_count} to seed",
            networks.len(),
            timing.path_timeout,
        );
        for service in &intent.services {
            let nodes: Vec<String> = service.nodes.iter().map(|node| node.to_string()).collect();
            let parts: Vec<&str> =
                service.resources.iter().map(|resource| resource.name.as_str()).collect();
            println!("service {}: {} on {}", service.name, parts.join(" "), nodes.join(" "));
        }
        let kinds: Vec<&str> = mix.kinds().map(Kind::name).collect();
        println!("faults: {}", kinds.join(" "));
        for (number, fault) in self.setup.faults.iter().enumerate() {
            let (at, lasts) = (Stamp(fault.at), Stamp(fault.lasts));
            println!("  {number}: {} at {at} for {lasts}", fault.kind.name());
        }
    }
}

fn machine(setup: &Setup, draw: &mut Prng, number: usize) -> Machine {
    let most = if setup.mix.has(Kind::Drift) { RATE_ERROR_MAX } else { 100 };
    // Half of the drifting clocks drift as much as is allowed.
    let rate = match draw.range(0..=3) {
        0 => most,
        1 => -most,
        _ => draw.range(0..=2 * most as u64) as i64 - most,
    };
    let agreed = setup.intent.clone();
    Machine {
        number,
        is_on: false,
        cut: Default::default(),
        boots: 0,
        clock: Clock::new(0, 0, rate),
        rate,
        // Wall clocks differ by hours; nothing but the first incarnation depends on them.
        wall: 1_700_000_000_000 + draw.range(0..=40_000_000),
        disk: Disk {
            memory: Memory::default(),
            before: base::Incarnation(0),
            agreed,
            pending: None,
            writes: Default::default(),
        },
        guard: Guard::default(),
        addresses: Vec::new(),
        own: Vec::new(),
        macs: Default::default(),
        taken: Default::default(),
        // Where there is none, only the guard ends addresses.
        has_gate: draw.child("gate").chance(3, 4),
        has_sets: draw.child("sets").chance(1, 4),
        sets: Default::default(),
        gate: Default::default(),
        frozen_until: None,
        picture_due: false,
        processes: Default::default(),
        transitions: Default::default(),
        daemon: None,
        daemons: 0,
        lateness: LATENESS,
        calm_since: 0,
        disk_delay: DISK_DELAY,
        is_gateway_silent: false,
        strike: None,
    }
}

impl Machine {
    /// The machine and its node for the trace.
    pub(crate) fn shown(&self) -> String {
        match self.daemon.as_ref().and_then(|daemon| daemon.node.view()) {
            Some(view) => format!("{}@{}", name(self.number), view.generation),
            None => name(self.number),
        }
    }

    /// How it stands.
    pub(crate) fn standing(&self) -> Standing {
        let group = self.daemon.as_ref().map(|daemon| daemon.node.group());
        let status = group.map(group::Group::status);
        let goes_on = group.and_then(group::Group::progress).is_some_and(|it| !it.is_sealed);
        let view = status.as_ref().and_then(|status| status.view.as_ref()).filter(|_| goes_on);
        Standing {
            view: view.map(|view| (view.generation, view.nodes())),
            waiting: status.and_then(|status| status.waiting),
        }
    }

    /// The node id.
    pub(crate) fn node(&self) -> base::NodeId {
        node_id(self.number)
    }

    /// What the wall clock shows, in milliseconds.
    pub(crate) fn wall_clock(&self, real: u64) -> u64 {
        self.wall + real / 1_000_000
    }

    /// A real time from an instant of this machine's clock.
    pub(crate) fn real(&self, local: Instant) -> u64 {
        self.clock.real(local)
    }
}
