//! The arbiters of a run: acceptors outside the cluster, with the code that ships.
//!
//! A daemon has a thread for each of them, which asks one question at a time; of those that come
//! meanwhile it keeps the newest, as `crates/mainstay/src/arbiter` does. A question is a number of
//! operations ([`store`]), each of which takes its time, and what goes over a network may get lost.
//!
//! An arbiter that is down answers nobody; one that a node cannot reach is down for that node alone.
//! It is **silent** or **refuses**: a server that is silent is given up after a while, a disk that is
//! silent hangs, and goes on with what it was asked when it is back. What an arbiter has kept it
//! knows when it is back; what it had not is gone.
//!
//! Besides the faults that are drawn there may be one [`Blow`]: before or after an operation that is
//! named by its number the arbiter dies that executes it, or the machine that asks for it.

mod store;

use core::time::Duration;
use std::collections::BTreeMap;

use base::{NodeId, NodeSet, Prng, Tie};
use group::{Reply, Request};
use node::Input;

use crate::event::Event;
use crate::fault::Kind;
use crate::machine::Daemon;
use crate::setup::{Setup, name, nanos, node_id};
use crate::world::World;

pub use store::Sort;
use store::{Step, Store};

/// The least time in which a server is given up.
const CONNECT_MIN: Duration = Duration::from_secs(1);

/// Something dies at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blow {
    /// At which one, counted from 0 over all arbiters.
    pub operation: usize,
    /// The operation is executed, and nobody hears of it: what it was for does not go on.
    pub after: bool,
    /// Who dies.
    pub victim: Victim,
}

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// The arbiter.
    Arbiter {
        /// It is silent and does not refuse.
        silent: bool,
        /// It is back after so many nanoseconds, or when all faults are over.
        back: Option<u64>,
        /// It comes back without any memory. That is beyond the promise: it shows that somebody
        /// would notice.
        forgets: bool,
    },
    /// The machine that asks loses its power, until all faults are over.
    Asker,
}

/// An operation that an arbiter has executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// When, in nanoseconds of real time.
    pub at: u64,
    /// Of which arbiter.
    pub arbiter: u8,
    /// For which machine.
    pub machine: usize,
    /// Its name.
    pub name: &'static str,
    /// It serves a request to accept and not one to promise.
    pub accepts: bool,
}

/// A question to one arbiter.
#[derive(Clone, Debug)]
pub struct Call {
    machine: usize,
    daemon: u32,
    /// Names the question; 0: the network has repeated it.
    number: u64,
    /// The tie-breaker's name, and the arbiter's number in it.
    arbiter: Place,
    request: Request,
    /// The arbiter's life in which it took the question; only a server has one.
    life: Option<u32>,
    step: Step,
}

impl Call {
    fn thread(&self) -> (usize, Place) {
        (self.machine, self.arbiter)
    }
}

type Place = (u64, u8);

/// A daemon's thread for an arbiter.
#[derive(Debug, Default)]
struct Thread {
    daemon: u32,
    /// The question that is being asked.
    asks: Option<u64>,
    next: Option<Request>,
}

struct Arbiter {
    store: Store,
    /// Grows when it comes back.
    life: u32,
    /// It is dead, and silent about it.
    dead: Option<bool>,
    forgets: bool,
    /// Operations of a disk that hang.
    hanging: Vec<Call>,
}

struct Unreachable {
    arbiter: u8,
    nodes: NodeSet,
    silent: bool,
    fault: usize,
}

/// All arbiters of a run.
pub(crate) struct Arbiters {
    arbiters: BTreeMap<Place, Arbiter>,
    threads: BTreeMap<(usize, Place), Thread>,
    /// Which cannot be reached by whom.
    unreachable: Vec<Unreachable>,
    blow: Option<Blow>,
    operations: Vec<Operation>,
    calls: u64,
    prng: Prng,
    budget: u64,
    /// The usual and the longest time of one way, in nanoseconds.
    delay: (u64, u64),
    losses: bool,
    repeats: bool,
}

impl Arbiters {
    pub(crate) fn new(setup: &Setup) -> Arbiters {
        let budget = nanos(setup.timing.tie_budget);
        let mut arbiters = BTreeMap::new();
        for tie in &setup.ties {
            let Tie::Arbiters { count, name } = *tie else { continue };
            for number in 0..count {
                let store = Store::new(setup.sorts[usize::from(number)], setup.nodes);
                let arbiter =
                    Arbiter { store, life: 1, dead: None, forgets: false, hanging: Vec::new() };
                arbiters.insert((name, number), arbiter);
            }
        }
        let slow = if setup.mix.has(Kind::Delay) { budget * 2 } else { budget / 8 };
        Arbiters {
            arbiters,
            threads: BTreeMap::new(),
            unreachable: Vec::new(),
            blow: setup.blow,
            operations: Vec::new(),
            calls: 0,
            prng: setup.prng.child("asking"),
            budget,
            delay: (budget / 50, slow),
            losses: setup.mix.has(Kind::Loss),
            repeats: setup.mix.has(Kind::Arbiters),
        }
    }

    /// What was executed so far.
    pub(crate) fn into_operations(self) -> Vec<Operation> {
        self.operations
    }

    fn of(&mut self, place: Place) -> &mut Arbiter {
        self.arbiters.get_mut(&place).expect("only those that there are are asked")
    }

    /// Whether this node cannot reach it, and hears nothing of that.
    fn is_unreachable(&self, (_, number): Place, node: NodeId) -> Option<bool> {
        let one = |it: &&Unreachable| it.arbiter == number && it.nodes.contains(node);
        self.unreachable.iter().find(one).map(|it| it.silent)
    }

    /// How long one way takes.
    fn way(&mut self) -> u64 {
        let (usual, longest) = self.delay;
        let most = if self.prng.chance(1, 10) { longest } else { usual };
        self.prng.range(usual / 10..=most.max(usual / 10))
    }

    /// After how long a server is given up.
    fn patience(&self, sort: Sort) -> u64 {
        match sort {
            Sort::Witness => self.budget * 2,
            Sort::Etcd | Sort::Disk => self.budget.max(nanos(CONNECT_MIN)),
        }
    }

    /// A fault begins: an arbiter is down for everybody, or for some.
    pub(crate) fn fail(&mut self, fault: usize, nodes: usize, prng: &mut Prng) {
        let Some(last) = self.arbiters.keys().map(|(_, number)| *number).max() else { return };
        let arbiter = prng.range(0..=u64::from(last)) as u8;
        let everybody: NodeSet = (0..nodes).map(node_id).collect();
        let one = node_id(prng.range(0..=nodes as u64 - 1) as usize);
        let nodes = if prng.chance(1, 2) { everybody } else { NodeSet::from_iter([one]) };
        let silent = prng.chance(1, 2);
        self.unreachable.push(Unreachable { arbiter, nodes, silent, fault });
    }
}

impl World {
    /// A daemon asks all arbiters.
    pub(crate) fn ask_arbiters(&mut self, number: usize, daemon: &Daemon, request: &Request) {
        // A daemon knows the arbiters of the configuration in force.
        let Tie::Arbiters { name: tie, count } = daemon.node.cluster().tie else { return };
        if tie != request.arbiters {
            return;
        }
        self.trace(|| {
            let Request { scope, ballot, value, .. } = request;
            let what = if value.is_some() { "to accept" } else { "to promise" };
            let shown = self.machines[number].shown();
            format!("{shown} asks the arbiters {what}: {scope:?} {ballot:?}")
        });
        for arbiter in 0..count {
            let thread = self.arbiters.threads.entry((number, (tie, arbiter))).or_default();
            if thread.daemon != daemon.number {
                *thread = Thread { daemon: daemon.number, ..Thread::default() };
            }
            if thread.asks.is_some() {
                thread.next = Some(request.clone());
                continue;
            }
            self.begin_call(number, daemon.number, (tie, arbiter), request.clone());
        }
    }

    fn begin_call(&mut self, machine: usize, daemon: u32, arbiter: Place, request: Request) {
        let all = &mut self.arbiters;
        all.calls += 1;
        let number = all.calls;
        let thread = all.threads.get_mut(&(machine, arbiter)).expect("it asks");
        thread.asks = Some(number);
        let sort = all.of(arbiter).store.sort();
        let step = sort.first();
        let call = Call { machine, daemon, number, arbiter, request, life: None, step };
        if sort != Sort::Disk {
            let until = self.now + all.patience(sort);
            self.queue.push(until, Event::ArbiterGivenUp(Box::new(call.clone())));
            if all.repeats && all.prng.chance(1, 20) {
                self.send_call(Call { number: 0, ..call.clone() }, 1);
            }
        }
        self.send_call(call, 1);
    }

    /// The next operation is on its way.
    fn send_call(&mut self, call: Call, ways: u32) {
        let all = &mut self.arbiters;
        let is_disk = all.of(call.arbiter).store.sort() == Sort::Disk;
        let mut takes = 0;
        for _ in 0..ways.max(1) {
            // A disk's way is short, and nothing gets lost on it.
            if all.losses && !is_disk && ways > 0 && all.prng.chance(1, 10) {
                return;
            }
            takes += if is_disk { all.way() / 4 } else { all.way() };
        }
        self.queue.push(self.now + takes, Event::Arbiter(Box::new(call)));
    }

    fn is_asking(&self, call: &Call) -> bool {
        let thread = self.arbiters.threads.get(&call.thread());
        let lives = |it: &Daemon| it.number == call.daemon;
        thread.is_some_and(|it| it.daemon == call.daemon && it.asks == Some(call.number))
            && self.machines[call.machine].daemon.as_deref().is_some_and(lives)
    }

    /// The next operation of a question is executed.
    pub(crate) fn arbiter_operates(&mut self, mut call: Call) {
        let sort = self.arbiters.of(call.arbiter).store.sort();
        if let Step::Done(reply) = &call.step {
            let (thread, number, daemon) = (call.thread(), call.number, call.daemon);
            return self.arbiter_answered(thread, number, daemon, reply.clone());
        }
        // The operations of a process that is killed end with it, or it does not end.
        if sort == Sort::Disk && !self.is_asking(&call) {
            return;
        }
        let node = node_id(call.machine);
        let unreachable = self.arbiters.is_unreachable(call.arbiter, node);
        let unreachable = unreachable.filter(|_| !call.step.is_inside());
        let arbiter = self.arbiters.of(call.arbiter);
        if let Some(silent) = arbiter.dead.or(unreachable) {
            return self.not_executed(call, silent);
        }
        if call.life.is_some_and(|life| life != arbiter.life) {
            return self.not_executed(call, false);
        }
        if arbiter.store.is_busy(&call.step) {
            return self.send_call(call, 0);
        }
        call.life = (sort != Sort::Disk).then_some(arbiter.life);
        let number = self.arbiters.operations.len();
        let blow = self.arbiters.blow.filter(|blow| blow.operation == number);
        if let Some(blow) = blow.filter(|blow| !blow.after)
            && self.strike_at(&call, blow)
        {
            return;
        }
        let operation = Operation {
            at: self.now,
            arbiter: call.arbiter.1,
            machine: call.machine,
            name: call.step.name(),
            accepts: call.request.value.is_some(),
        };
        self.trace(|| {
            let Operation { arbiter, machine, name: step, .. } = &operation;
            let (asker, sort) = (name(*machine), sort.name());
            format!("operation {number}: arbiter {arbiter} ({sort}) does {step} for {asker}")
        });
        self.arbiters.operations.push(operation);
        let store = &mut self.arbiters.of(call.arbiter).store;
        let next = store.operate(node, &call.request, call.step.clone());
        if let Some(blow) = blow.filter(|blow| blow.after)
            && self.strike_at(&call, blow)
        {
            return;
        }
        let ways = next.ways(&call.step);
        self.send_call(Call { step: next, ..call }, ways);
    }

    /// The arbiter or who asks it dies, now; whether the question ends with it.
    fn strike_at(&mut self, call: &Call, blow: Blow) -> bool {
        self.arbiters.blow = None;
        let Victim::Arbiter { silent, back, forgets } = blow.victim else {
            self.power_off(call.machine, None);
            let sort = self.arbiters.of(call.arbiter).store.sort();
            return sort == Sort::Disk;
        };
        self.trace(|| format!("arbiter {} dies", call.arbiter.1));
        let arbiter = self.arbiters.of(call.arbiter);
        arbiter.store.die();
        arbiter.dead = Some(silent);
        arbiter.forgets = forgets;
        if let Some(back) = back {
            self.queue.push(self.now + back, Event::ArbiterBack(call.arbiter));
        }
        self.not_executed(call.clone(), silent);
        true
    }

    fn not_executed(&mut self, call: Call, silent: bool) {
        let arbiter = self.arbiters.of(call.arbiter);
        if !silent {
            let takes = self.arbiters.way();
            self.queue.push(self.now + takes, Event::ArbiterGivenUp(Box::new(call)));
        } else if arbiter.store.sort() == Sort::Disk {
            arbiter.hanging.push(call);
        }
    }

    /// A node gives a question up, or hears that it fails.
    pub(crate) fn arbiter_given_up(&mut self, call: &Call) {
        if self.is_asking(call) {
            self.next_question(call.thread());
        }
    }

    fn next_question(&mut self, (machine, place): (usize, Place)) {
        let thread = self.arbiters.threads.get_mut(&(machine, place)).expect("it has asked");
        thread.asks = None;
        let daemon = thread.daemon;
        if let Some(request) = thread.next.take() {
            self.begin_call(machine, daemon, place, request);
        }
    }

    fn arbiter_answered(
        &mut self,
        (machine, place): (usize, Place),
        number: u64,
        daemon: u32,
        reply: Reply,
    ) {
        let is_disk = self.arbiters.of(place).store.sort() == Sort::Disk;
        if !is_disk && self.arbiters.is_unreachable(place, node_id(machine)).is_some() {
            return;
        }
        let thread = self.arbiters.threads.get(&(machine, place));
        let is_awaited = thread.is_some_and(|it| it.daemon == daemon && it.asks == Some(number));
        let lives = |it: &Daemon| it.number == daemon;
        if !self.machines[machine].daemon.as_deref().is_some_and(lives)
            || !is_awaited && number != 0
        {
            return;
        }
        self.trace(|| format!("{} arbiter {}: {:?}", name(machine), place.1, reply.answer));
        self.tell(machine, Input::Arbiter(place.1, reply));
        if is_awaited {
            self.next_question((machine, place));
        }
    }

    /// A dead arbiter is back.
    pub(crate) fn arbiter_back(&mut self, place: Place) {
        let nodes = self.setup.nodes;
        let arbiter = self.arbiters.of(place);
        if arbiter.dead.take().is_none() {
            return;
        }
        arbiter.life += 1;
        if core::mem::take(&mut arbiter.forgets) {
            arbiter.store = Store::new(arbiter.store.sort(), nodes);
        }
        self.trace(|| format!("arbiter {} is back", place.1));
        self.disks_go_on();
    }

    /// Disks that hung go on; those that still do hang again.
    fn disks_go_on(&mut self) {
        let arbiters = self.arbiters.arbiters.values_mut();
        let hanging: Vec<Call> =
            arbiters.flat_map(|arbiter| core::mem::take(&mut arbiter.hanging)).collect();
        for call in hanging {
            self.send_call(call, 0);
        }
    }

    /// A fault that made an arbiter unreachable is over.
    pub(crate) fn arbiter_repaired(&mut self, fault: usize) {
        self.arbiters.unreachable.retain(|it| it.fault != fault);
        self.disks_go_on();
    }

    /// All faults are over.
    pub(crate) fn heal_arbiters(&mut self) {
        let all = &mut self.arbiters;
        all.unreachable.clear();
        all.losses = false;
        all.delay.1 = all.delay.0;
        all.blow = None;
        let places: Vec<Place> = all.arbiters.keys().copied().collect();
        for place in places {
            self.arbiter_back(place);
        }
        self.disks_go_on();
    }
}
