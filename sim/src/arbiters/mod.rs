//! The arbiters of a run: acceptors outside the cluster, with the code that ships.
//!
//! A daemon asks all of them; each request and each answer takes its time on the way, may get lost,
//! and may arrive twice. An arbiter that is down answers nobody and forgets nothing; one that a
//! node cannot reach is down for that node alone.

use std::collections::BTreeMap;

use base::{NodeId, NodeSet, Prng, Tie};
use group::{Acceptor, Reply, Request};
use node::Input;

use crate::event::Event;
use crate::fault::Kind;
use crate::machine::Daemon;
use crate::setup::{Setup, node_id};
use crate::world::World;

/// All arbiters of a run.
pub(crate) struct Arbiters {
    /// By the name of their tie-breaker, and by number.
    acceptors: BTreeMap<u64, Vec<Acceptor>>,
    /// Whom each cannot be reached by, with the fault that is the reason.
    unreachable: Vec<(u8, NodeSet, usize)>,
    prng: Prng,
    /// The usual and the longest time of one way, in nanoseconds.
    delay: (u64, u64),
    losses: bool,
}

impl Arbiters {
    pub(crate) fn new(setup: &Setup) -> Arbiters {
        let named = setup.ties.iter().filter_map(|tie| match tie {
            Tie::Arbiters { count, name } => {
                Some((*name, vec![Acceptor::default(); usize::from(*count)]))
            }
            _ => None,
        });
        let budget = crate::setup::nanos(setup.timing.tie_budget);
        let slow = if setup.mix.has(Kind::Delay) { budget * 2 } else { budget / 8 };
        Arbiters {
            acceptors: named.collect(),
            unreachable: Vec::new(),
            prng: setup.prng.child("asking"),
            delay: (budget / 50, slow),
            losses: setup.mix.has(Kind::Loss),
        }
    }

    fn is_reachable(&self, arbiter: u8, node: NodeId) -> bool {
        !self.unreachable.iter().any(|(of, nodes, _)| *of == arbiter && nodes.contains(node))
    }

    /// How long one way takes; nothing when it gets lost.
    fn way(&mut self) -> Option<u64> {
        let (usual, longest) = self.delay;
        if self.losses && self.prng.chance(1, 10) {
            return None;
        }
        let most = if self.prng.chance(1, 10) { longest } else { usual };
        Some(self.prng.range(usual / 10..=most.max(usual / 10)))
    }

    /// A fault begins: an arbiter is down for everybody, or for some.
    pub(crate) fn fail(&mut self, fault: usize, nodes: usize, prng: &mut Prng) {
        let most = self.acceptors.values().map(Vec::len).max().unwrap_or(0);
        let Some(last) = most.checked_sub(1) else { return };
        let arbiter = prng.range(0..=last as u64) as u8;
        let everybody: NodeSet = (0..nodes).map(node_id).collect();
        let one = node_id(prng.range(0..=nodes as u64 - 1) as usize);
        let whom = if prng.chance(1, 2) { everybody } else { NodeSet::from_iter([one]) };
        self.unreachable.push((arbiter, whom, fault));
    }

    /// A fault is over.
    pub(crate) fn repair(&mut self, fault: usize) {
        self.unreachable.retain(|(_, _, of)| *of != fault);
    }

    /// All faults are over.
    pub(crate) fn heal(&mut self) {
        self.unreachable.clear();
        self.losses = false;
        self.delay.1 = self.delay.0;
    }
}

impl World {
    /// A daemon asks all arbiters.
    pub(crate) fn ask_arbiters(&mut self, number: usize, daemon: &Daemon, request: &Request) {
        // A daemon knows the arbiters of the configuration in force.
        let known = match daemon.node.cluster().tie {
            Tie::Arbiters { name, .. } => Some(name),
            _ => None,
        };
        let (daemon, asked) = (daemon.number, self.arbiters.acceptors.get(&request.arbiters));
        let Some(count) = asked.map(Vec::len).filter(|_| known == Some(request.arbiters)) else {
            return;
        };
        self.trace(|| {
            let Request { scope, ballot, value, .. } = request;
            let what = if value.is_some() { "to accept" } else { "to promise" };
            let shown = self.machines[number].shown();
            format!("{shown} asks the arbiters {what}: {scope:?} {ballot:?}")
        });
        for arbiter in 0..count as u8 {
            let copies = if self.arbiters.prng.chance(1, 20) { 2 } else { 1 };
            for _ in 0..copies {
                if let Some(way) = self.arbiters.way() {
                    let asked = Event::Asked(arbiter, number, daemon, request.clone());
                    self.queue.push(self.now + way, asked);
                }
            }
        }
    }

    pub(crate) fn arbiter_asked(
        &mut self,
        arbiter: u8,
        number: usize,
        daemon: u32,
        request: &Request,
    ) {
        if !self.arbiters.is_reachable(arbiter, node_id(number)) {
            return;
        }
        let acceptors = self.arbiters.acceptors.get_mut(&request.arbiters);
        let acceptors = acceptors.expect("only those that there are are asked");
        let reply = acceptors[usize::from(arbiter)].handle(request);
        if let Some(way) = self.arbiters.way() {
            self.queue.push(self.now + way, Event::Replied(arbiter, number, daemon, reply));
        }
    }

    pub(crate) fn arbiter_replied(
        &mut self,
        arbiter: u8,
        number: usize,
        daemon: u32,
        reply: Reply,
    ) {
        let lives = |it: &Daemon| it.number == daemon;
        if self.arbiters.is_reachable(arbiter, node_id(number))
            && self.machines[number].daemon.as_deref().is_some_and(lives)
        {
            self.trace(|| {
                format!("{} arbiter {arbiter}: {:?}", crate::setup::name(number), reply.answer)
            });
            self.tell(number, Input::Arbiter(arbiter, reply));
        }
    }
}
