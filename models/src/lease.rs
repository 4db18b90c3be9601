//! Stop before start, any number of nodes, view after view.
//!
//! # The rule
//!
//! A node runs the service under a *guard*, which stops it when the lease ends, whatever the daemon
//! does. The lease ends `L` after X, the *evidence*: the newest own stamp that more than half of
//! the view, the node included, has echoed in this view. When a member is lost, the others may
//! start what it held after `F`, counted from when they last heard it: each promise for the next
//! view carries the ages of the last receptions, the decided value the wait `F - least age`, and
//! the hub of the new view counts that wait from its own entry.
//!
//! Why that should be enough, in one view: more than half echoed X, a quorum promised, so somebody
//! did both, echoed before it promised, and heard the stamp before it echoed. What this model is
//! for is everything around it: evidence that outlives a view, members that never enter the view
//! they promised, quorums that shrink until the somebody is gone, waits that outlive a view,
//! joiners that have heard nobody, daemons that come back and find their service still running.
//!
//! **Relayed evidence.** In a large cluster most members watch only a few others and their hub, so
//! more than half cannot echo them directly. The hub is echoed by more than half; what it says of
//! its own evidence it says for those whose stamps it echoes. A member counts the hub's echo of a
//! stamp as X, made older by the age that the hub's own evidence had when it sent the echo. The somebody of the argument above has then heard the *hub* at X or later, so where the
//! hub is not among those who promised, its ages count for all who are lost with it.
//!
//! Three clocks take part: the holder's runs the lease, that of the last one who heard it measures
//! the age, the hub's counts the rest. With clocks that err by `drift` ticks in all, `F = L + 3
//! drift` is enough and one tick less is not. A fourth clock measures the age that a hub relays, and
//! pays for its own error: the age is relayed greater by that much. With clocks that err by a rate, the age and the rest
//! are two parts of one stretch of time, so `F = L (1 + rate) / (1 - rate)`.
//!
//! # What is modelled
//!
//! * Real time in ticks; a clock per node that may gain or lose `drift` ticks in all. Ages are
//!   relative and saturate, so time never ends. `L` contains the time that the guard needs to stop.
//! * The network: every stamp and every echo that was sent in a view stays in it, and is received
//!   at any later time or never. With `newest_only` an older one is forgotten when a newer one is
//!   on the same way; that leaves out nothing bad, since a newer stamp makes a longer lease at
//!   equal ages.
//! * A daemon may stop at any point: no action is ever due. `pauses` makes it a state of its own,
//!   in which a node sends no stamps either. The guard does not stop.
//! * Views: promises at any time, decisions on any quorum (with a tie-breaker: or exactly half),
//!   entered late or never (`views`); the order of entries inside a view (`ledger`).
//! * Joiners, restarts of daemons (the guard keeps the service) and of machines, members that learn
//!   that they are out, services that are moved by agreement, adoption, return and cold start
//!   (`refound`).
//!
//! Invariant: at no instant do two nodes run the service.
//!
//! # Where it is bolder than the group needs
//!
//! The wait of an absence is carried into later views in full, or less what the coordinator itself
//! has spent in the view that began it ([`Carry`]). The members of a view count as heard when one
//! enters it, or when its value is decided ([`HeardFrom`]); both are safe. Counting them from one's
//! own promise is not: see [`HeardFrom::Promise`].

mod evidence;
mod ledger;
mod mutant;
mod refound;
mod swarm;
mod views;

use crate::explore::SAFE;
use crate::set::{NodeId, NodeSet};
use crate::walk::Swarm;
pub use ledger::{Entry, Life};
use ledger::{Holder, Ledger};
pub use mutant::{MUTANTS, Mutant};
use stateright::{Model, Property};
use views::View;

/// The most nodes that a model may have.
pub const NODES_MAX: usize = 5;

/// Number of a view, from 1; 0 for a node that lives in none.
pub type Generation = u8;

/// From when on the members of a new view count as heard, for one that goes on into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeardFrom {
    /// From one's own promise. **Not safe**: another member may have promised later and gained
    /// evidence until then, from nodes that are not in the new view.
    Promise,
    /// From the decision, which is after all promises: a node sees it when the value is proposed
    /// to it.
    Decision,
    /// From one's own entry into the view.
    Entry,
}

/// What becomes of a wait that is not over when the next view begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// The next hub counts all of it again.
    Whole,
    /// Less the time that the coordinator of the next view has spent in this one, counted from its
    /// own entry. Where clocks err by a number of ticks, every such view adds one more clock.
    Remaining,
}

/// Parameters and bounds. Times are in ticks.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Number of nodes.
    pub nodes: u8,
    /// Members of the first view. Node 0 is one of them and holds the service,
    /// the last one is the hub.
    pub founders: NodeSet,
    /// Is there a tie-breaker for even splits?
    pub tie_breaker: bool,
    /// The newest view that an election may form.
    pub last_generation: Generation,
    /// L, at most 8.
    pub lease: u8,
    /// F.
    pub wait: u8,
    /// How many ticks each clock may gain or lose in all.
    pub drift: u8,
    /// See [`HeardFrom`].
    pub heard_from: HeardFrom,
    /// See [`Carry`].
    pub carry: Carry,
    /// Forget stamps and echoes that a newer one has overtaken.
    pub newest_only: bool,
    /// Entries that a hub may order per view.
    pub entries: u8,
    /// Restarts of daemons or machines in all.
    pub restarts: u8,
    /// Does a hub relay its evidence?
    pub relays: bool,
    /// May nodes join, and leave when they learn that they are out?
    pub joins: bool,
    /// May a holder stop the service on its own account?
    pub moves: bool,
    /// May daemons pause?
    pub pauses: bool,
    /// Are return and cold start allowed?
    pub refounding: bool,
    /// The broken rule, if any.
    pub mutant: Option<Mutant>,
}

/// A machine: its daemon, its clock and its guard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    incarnation: u8,
    generation: Generation,
    /// The newest view that any life of this node has entered; durable.
    record: Generation,
    sealed: bool,
    paused: bool,
    drift_left: u8,
    /// Ages of the stamps sent in this view.
    stamps: evidence::Ages,
    /// Per peer: ages of the own stamps in echoes that the peer sent in this view.
    echoes: [evidence::Ages; NODES_MAX],
    /// Per peer: age of the newest own stamp whose echo arrived; `lease` and above is none.
    confirmed: [u8; NODES_MAX],
    /// Ages of the own stamps of this view that the hub has heard, and of relayed evidence that is
    /// on its way here.
    told: evidence::Ages,
    relayed: evidence::Ages,
    /// Age of X; `lease` and above is none.
    evidence: u8,
    /// Per peer: ticks since it was last heard, up to `wait`.
    heard: [u8; NODES_MAX],
    /// Ticks since the promise, since the decision, or since the daemon started; kept only where
    /// the rule or mutant needs it.
    pledged: u8,
    /// Ticks since it entered the view, up to `wait`; kept only where a wait may be counted.
    in_view: u8,
    /// Entries of the view that were delivered.
    delivered: u8,
    /// The newest start that this daemon has ended on its own account.
    stopped: u8,
    /// This life found the service running when it joined, and reports so.
    reported: bool,
    /// The guard: ticks until it stops the service; 0 if the service does not run here.
    guard: u8,
}

impl Node {
    /// A daemon in its first life that lives in no view.
    fn new(model: &Lease) -> Node {
        Node {
            incarnation: 1,
            generation: 0,
            record: 0,
            sealed: false,
            paused: false,
            drift_left: model.drift,
            stamps: 0,
            echoes: [0; NODES_MAX],
            confirmed: [model.lease; NODES_MAX],
            told: 0,
            relayed: 0,
            evidence: model.lease,
            heard: [0; NODES_MAX],
            pledged: 0,
            in_view: 0,
            delivered: 0,
            stopped: 0,
            reported: false,
            guard: 0,
        }
    }
}

/// All machines, and all views that were decided, at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    nodes: Vec<Node>,
    /// By generation.
    views: Vec<Option<View>>,
    restarts: u8,
}

impl State {
    fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id as usize]
    }

    fn life(&self, id: NodeId) -> Life {
        Life { node: id, incarnation: self.node(id).incarnation }
    }

    fn decided(&self, generation: Generation) -> Option<&View> {
        self.views.get(generation as usize)?.as_ref()
    }

    fn view(&self, generation: Generation) -> &View {
        self.decided(generation).expect("a node lives in a decided view")
    }

    fn view_mut(&mut self, generation: Generation) -> &mut View {
        self.views[generation as usize].as_mut().expect("a node lives in a decided view")
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Real time goes on by one, the clock of each node by 0, 1 or 2.
    Tick([u8; NODES_MAX]),
    /// A stamp reaches a member, which echoes it.
    Hear {
        /// The receiver.
        node: NodeId,
        /// Whose stamp.
        from: NodeId,
        /// How old it is on its sender's clock.
        age: u8,
    },
    /// The echo of an own stamp reaches a member.
    Confirm {
        /// The receiver.
        node: NodeId,
        /// Who echoed.
        by: NodeId,
        /// How old the stamp is.
        age: u8,
    },
    /// The hub echoes a member's stamp once more and says how old its own evidence is.
    Relay {
        /// Whose stamp.
        to: NodeId,
        /// How old it is on that member's clock.
        age: u8,
    },
    /// What the hub relayed arrives.
    Take {
        /// The receiver.
        node: NodeId,
        /// How old the evidence is there.
        age: u8,
    },
    /// A member promises the next view: it is sealed.
    Promise(NodeId),
    /// The next view is decided.
    Decide {
        /// The view that decides.
        generation: Generation,
        /// Whose promises count; they are the members that go on.
        promises: NodeSet,
        /// The coordinator, hub of the next view.
        hub: NodeId,
        /// New members.
        joiners: NodeSet,
    },
    /// A member enters a decided view.
    Enter(NodeId, Generation),
    /// The hub orders an entry.
    Order(NodeId, Entry),
    /// A member acknowledges the next entry.
    Acknowledge(NodeId),
    /// A member delivers the next entry.
    Deliver(NodeId),
    /// The holder starts the service.
    Start(NodeId),
    /// The holder stops the service for good.
    Stop(NodeId),
    /// A daemon stops running.
    Pause(NodeId),
    /// It runs again.
    Resume(NodeId),
    /// A daemon dies and is started again, or (`true`) the whole machine is.
    Restart(NodeId, bool),
    /// A member learns that it is out, and stops everything.
    LeaveView(NodeId),
    /// Restarted members of this view come back to the living ones.
    Return(Generation),
    /// These nodes start cold.
    ColdStart(NodeSet),
}

impl Lease {
    /// Three nodes, one lease tick, nothing but views and time: the smallest interesting model.
    pub fn smallest() -> Lease {
        Lease {
            nodes: 3,
            founders: NodeSet::first(3),
            tie_breaker: false,
            last_generation: 3,
            lease: 1,
            wait: 1,
            drift: 0,
            heard_from: HeardFrom::Entry,
            carry: Carry::Whole,
            newest_only: true,
            entries: 2,
            relays: false,
            restarts: 0,
            joins: false,
            moves: false,
            pauses: false,
            refounding: false,
            mutant: None,
        }
    }

    /// Everything that the model has, for random walks.
    pub fn everything(nodes: u8, lease: u8) -> Lease {
        Lease {
            nodes,
            founders: NodeSet::first(nodes),
            tie_breaker: true,
            last_generation: 7,
            lease,
            wait: lease,
            newest_only: false,
            relays: true,
            entries: 4,
            restarts: 4,
            joins: true,
            moves: true,
            pauses: true,
            refounding: true,
            ..Lease::smallest()
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn carries_remaining(&self) -> bool {
        self.carry == Carry::Remaining
    }

    fn tracks_pledge(&self) -> bool {
        self.heard_from != HeardFrom::Entry
            || self.is(Mutant::JoinerCountsFromStart)
            || self.is(Mutant::WaitFromPromise)
    }

    /// Forgets what can no longer make a difference, so that more states are equal. Only for the
    /// plain model: a mutant may make use of anything.
    fn normalise(&self, state: &mut State) {
        if self.mutant.is_some() {
            return;
        }
        for id in 0..self.nodes as usize {
            let generation = state.nodes[id].generation;
            if generation == 0 {
                continue;
            }
            let succeeded = state.decided(generation + 1).is_some();
            let node = &mut state.nodes[id];
            if node.sealed {
                node.stamps = 0;
                node.echoes = [0; NODES_MAX];
                node.confirmed = [self.lease; NODES_MAX];
                node.told = 0;
                node.relayed = 0;
            }
            for peer in 0..self.nodes as usize {
                node.echoes[peer] &= ((1u16 << node.confirmed[peer]) - 1) as u8;
            }
            if succeeded && !self.refounding {
                node.heard = [0; NODES_MAX];
            }
        }
    }
}

impl Model for Lease {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        assert!((1..=NODES_MAX).contains(&(self.nodes as usize)), "one to five nodes");
        assert!((1..=8).contains(&self.lease), "the ages of stamps are bits of a byte");
        assert!(self.founders.is_subset_of(NodeSet::first(self.nodes)), "founders are nodes");
        assert!(self.founders.contains(0), "node 0 holds the service at first");
        let mut nodes = vec![Node::new(self); self.nodes as usize];
        let mut members = [0; NODES_MAX];
        for id in self.founders.iter() {
            members[id as usize] = 1;
            let node = &mut nodes[id as usize];
            node.generation = 1;
            node.record = 1;
            node.stamps = 1;
        }
        nodes[0].evidence = 0;
        nodes[0].guard = self.lease;
        let life = Life { node: 0, incarnation: 1 };
        let holder = Some(Holder { life, start: 1, since: 1 });
        let ledger = Ledger { holder, absences: Vec::new(), starts: 1 };
        let hub = self.founders.iter().last().expect("node 0 is one of them");
        let mut first = views::new_view(members, NodeSet::EMPTY, hub, ledger);
        first.entered = self.founders;
        let mut views = vec![None; self.last_generation as usize + 3];
        views[1] = Some(first);
        vec![State { nodes, views, restarts: 0 }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if self.violation(state).is_some() {
            return;
        }
        self.tick_actions(state, actions);
        for id in 0..self.nodes {
            self.hear_actions(state, id, actions);
            self.confirm_actions(state, id, actions);
            self.relay_actions(state, id, actions);
            self.view_actions(state, id, actions);
            self.order_actions(state, id, actions);
            self.log_actions(state, id, actions);
            self.start_actions(state, id, actions);
            if self.pauses {
                let paused = state.node(id).paused;
                actions.push(if paused { Action::Resume(id) } else { Action::Pause(id) });
            }
            if state.restarts < self.restarts {
                actions.extend([false, true].map(|reboot| Action::Restart(id, reboot)));
            }
        }
        self.decide_actions(state, actions);
        if self.refounding {
            self.refound_actions(state, actions);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut next = before.clone();
        let state = &mut next;
        match action {
            Action::Tick(steps) => self.tick(state, steps),
            Action::Hear { node, from, age } => self.hear(state, node, from, age),
            Action::Confirm { node, by, age } => self.confirm(state, node, by, age),
            Action::Relay { to, age } => self.relay(state, to, age),
            Action::Take { node, age } => self.take(state, node, age),
            Action::Promise(id) => self.promise(state, id),
            Action::Decide { generation, promises, hub, joiners } => {
                self.decide(state, generation, promises, hub, joiners);
            }
            Action::Enter(id, generation) => self.enter(state, id, generation),
            Action::Order(hub, entry) => self.order(state, hub, entry),
            Action::Acknowledge(id) => {
                let generation = state.node(id).generation;
                state.view_mut(generation).acknowledged[id as usize] += 1;
            }
            Action::Deliver(id) => self.deliver(state, id),
            Action::Start(id) => self.start(state, id),
            Action::Stop(id) => self.stop(state, id),
            Action::Pause(id) => state.node_mut(id).paused = true,
            Action::Resume(id) => state.node_mut(id).paused = false,
            Action::Restart(id, reboot) => self.restart(state, id, reboot),
            Action::LeaveView(id) => self.leave_view(state, id),
            Action::Return(generation) => self.return_to(state, generation),
            Action::ColdStart(nodes) => self.cold_start(state, nodes),
        }
        self.normalise(state);
        (next != *before).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SAFE, |model: &Lease, state| model.violation(state).is_none()),
            Property::sometimes("another node runs the service", |_, state: &State| {
                state.nodes[1..].iter().any(|node| node.guard > 0)
            }),
            Property::sometimes("the last view is entered", |model: &Lease, state: &State| {
                state.nodes.iter().any(|node| node.generation == model.last_generation)
            }),
        ]
    }
}
