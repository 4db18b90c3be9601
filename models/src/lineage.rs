//! One history: views, total order and memory loss.
//!
//! **What is modelled.** Each view decides its single successor by one instance of Paxos. The
//! acceptors are the members of the view and, if configured, tie-breakers that tip an even
//! split. Inside a view the hub orders entries, all members acknowledge, the hub commits, members
//! deliver. A node that promised a ballot is sealed: it neither orders nor acknowledges. The value
//! that is decided names the members of the next view (those who promised), its hub (whoever
//! coordinated) and the trim: the shortest log among those who promised. Entries up to the trim are
//! delivered, the rest is rolled back. Joiners get a snapshot, sent only by a member that has
//! recorded the new view. A restarted node is a new incarnation: it votes no more in its old view,
//! remembers only the record of its newest view, and comes back as a joiner or by one of two rules:
//! cold start (*all* members of the newest recorded view are back) and return (every other member
//! of a living view is back as a newer incarnation).
//!
//! **The network** keeps every message for ever and delivers any of them at any time, or never:
//! that is loss, duplication, reordering and delay in one. A crash is a node that is never
//! scheduled again.
//!
//! **What is checked** (`observer`): one view per generation; members enter it with one history;
//! deliveries of any two nodes agree; what anyone delivered is in every later view; after a cold
//! start nobody carries on the former lineage.
//!
//! **What is not**: cold start and return are one atomic step here (they are unanimous ballots in
//! the group); weights; how a disk is an acceptor ([`crate::disk`]).

mod election;
mod observer;
mod order;
mod refound;

use crate::explore::SAFE;
use crate::set::{NodeId, NodeSet};
use crate::walk::Swarm;
use election::{Acceptor, BallotTraffic};
use observer::Observer;
use stateright::{Model, Property};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Number of a view, from 1.
pub type Generation = u8;
/// Number of a ballot, from 1; ballot `b` belongs to node `(b - 1) % nodes`. 0 is below all.
pub type Ballot = u8;

/// The names of all mutants, for command lines.
pub const MUTANTS: [(&str, Mutant); 15] = [
    ("ignore-accepted-value", Mutant::IgnoreAcceptedValue),
    ("longest-log-without-transfer", Mutant::LongestLogWithoutTransfer),
    ("acknowledge-while-sealed", Mutant::AcknowledgeWhileSealed),
    ("commit-without-one", Mutant::CommitWithoutOne),
    ("half-is-enough", Mutant::HalfIsEnough),
    ("keep-known-commits-only", Mutant::KeepKnownCommitsOnly),
    ("tie-breaker-forgets", Mutant::TieBreakerForgets),
    ("one-tie-breaker-is-enough", Mutant::OneTieBreakerIsEnough),
    ("restarted-node-votes", Mutant::RestartedNodeVotes),
    ("record-and-incarnation-lost", Mutant::RecordAndIncarnationLost),
    ("snapshot-before-record", Mutant::SnapshotBeforeRecord),
    ("static-majority-founds", Mutant::StaticMajorityFounds),
    ("records-of-returned-ignored", Mutant::RecordsOfReturnedIgnored),
    ("missing-members-tolerated", Mutant::MissingMembersTolerated),
    ("joiner-taken-for-restarted", Mutant::JoinerTakenForRestarted),
];

/// One rule broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A coordinator proposes its own value although a promise carries an accepted one.
    IgnoreAcceptedValue,
    /// The trim is the longest log among those who promised, and nothing is transferred.
    LongestLogWithoutTransfer,
    /// A sealed node takes and acknowledges entries.
    AcknowledgeWhileSealed,
    /// The hub commits although the acknowledgement of one member is missing.
    CommitWithoutOne,
    /// Exactly half of the members is a quorum, without the tie-breaker.
    HalfIsEnough,
    /// The trim is what the coordinator knows to be committed.
    KeepKnownCommitsOnly,
    /// A tie-breaker forgets what it accepted.
    TieBreakerForgets,
    /// One tie-breaker of three is enough.
    OneTieBreakerIsEnough,
    /// A restarted node votes on as a member of its old view, with an empty memory.
    RestartedNodeVotes,
    /// The record of the newest view is not durable, and a joiner's incarnation is not compared.
    RecordAndIncarnationLost,
    /// The snapshot for joiners is sent before its sender has recorded the new view.
    SnapshotBeforeRecord,
    /// A majority of all configured nodes may start cold, whatever their records say.
    StaticMajorityFounds,
    /// The return rule does not look at the records of the nodes that came back.
    RecordsOfReturnedIgnored,
    /// The return rule goes ahead although a member is unaccounted for.
    MissingMembersTolerated,
    /// The return rule takes a joiner that has not entered yet for a restarted member.
    JoinerTakenForRestarted,
}

/// Bounds of the model.
#[derive(Clone, Debug)]
pub struct Lineage {
    /// Number of nodes, all members of the first view.
    pub nodes: u8,
    /// How many tie-breakers there are; more than half of them must agree.
    pub tie_breakers: u8,
    /// The newest view that an election may form.
    pub last_generation: Generation,
    /// Ballots that a node may start per view.
    pub rounds: u8,
    /// Entries that a hub may order per view.
    pub entries: u8,
    /// Restarts in all.
    pub restarts: u8,
    /// May an election add joiners?
    pub joins: bool,
    /// The broken rule, if any.
    pub mutant: Option<Mutant>,
}

/// An ordered entry. Position and incarnation of the hub identify its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// Position in the view, from 0.
    index: u8,
    /// Incarnation of the hub that ordered it.
    ordered_by: u8,
}

/// All entries before a view, with the view that ordered each.
type History = Vec<(Generation, Entry)>;

/// What an election decides: the next view and where the log of this one is cut.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    members: NodeSet,
    /// Members that need a snapshot.
    joiners: NodeSet,
    hub: NodeId,
    trim: Vec<Entry>,
    /// Incarnations of all nodes as the coordinator saw them.
    incarnations: Vec<u8>,
}

/// A node. After a restart only `incarnation`, `generation` and `members` still mean something.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    incarnation: u8,
    /// Does it live in a view?
    seeded: bool,
    /// Its view, or the record of its newest one.
    generation: Generation,
    members: NodeSet,
    incarnations: Vec<u8>,
    hub: NodeId,
    acceptor: Acceptor,
    sealed: bool,
    log: Vec<Entry>,
    /// How many entries of `log` it knows to be committed.
    committed: u8,
    /// Everything before this view.
    history: Arc<History>,
}

impl Node {
    fn enter(&mut self, generation: Generation, value: &Value, history: Arc<History>) {
        self.seeded = true;
        self.generation = generation;
        self.members = value.members;
        self.incarnations = value.incarnations.clone();
        self.hub = value.hub;
        self.forget_view();
        self.sealed = false;
        self.history = history;
    }

    /// Drops what belongs to one view; the node is sealed until it enters the next.
    fn forget_view(&mut self) {
        self.acceptor = Acceptor::default();
        self.sealed = true;
        self.log.clear();
        self.committed = 0;
    }

    /// The history with these entries of the node's view added.
    fn history_with(&self, entries: &[Entry]) -> Arc<History> {
        let mut history = (*self.history).clone();
        history.extend(entries.iter().map(|entry| (self.generation, *entry)));
        Arc::new(history)
    }
}

/// All messages ever sent that belong to one view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Traffic {
    ballots: BTreeMap<Ballot, BallotTraffic>,
    orders: BTreeSet<Entry>,
    /// Per node: how many entries it acknowledged.
    acknowledged: Vec<u8>,
    /// How many entries the hub announced as committed.
    committed: u8,
    /// Snapshots for the joiners of *this* view.
    snapshots: Vec<(Arc<Value>, Arc<History>)>,
}

/// Nodes, tie-breaker, network and observer at one instant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    nodes: Vec<Node>,
    /// The memory of each tie-breaker, per view.
    tie_breakers: Vec<Vec<Acceptor>>,
    /// Per view.
    traffic: Vec<Traffic>,
    restarts: u8,
    /// Generation of the view that a cold start or return founded; 0 before.
    refounded: Generation,
    observer: Observer,
    violation: Option<&'static str>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A node starts its next ballot.
    Propose(NodeId),
    /// An acceptor answers the coordinator of a ballot. The tie-breakers have the indices after
    /// the last node.
    Promise(NodeId, Generation, Ballot),
    /// A coordinator proposes a value on these promises, with these joiners.
    Offer {
        /// The coordinator.
        node: NodeId,
        /// Its ballot.
        ballot: Ballot,
        /// The promises it counts.
        promises: NodeSet,
        /// Nodes to be added.
        joiners: NodeSet,
    },
    /// An acceptor accepts the value of a ballot.
    Accept(NodeId, Generation, Ballot),
    /// A member learns a decided value and enters the next view.
    Install(NodeId, Arc<Value>),
    /// A joiner enters a view with a snapshot.
    InstallSnapshot(NodeId, Generation),
    /// The hub orders a new entry.
    Order(NodeId),
    /// A member takes and acknowledges an entry.
    Acknowledge(NodeId, Entry),
    /// The hub commits its next entry.
    Commit(NodeId),
    /// A member learns that this many entries are committed.
    Deliver(NodeId, u8),
    /// A node loses its memory.
    Restart(NodeId),
    /// Cold start of these nodes.
    ColdStart(NodeSet),
    /// Return of the nodes of the second set to the living ones of the first.
    Return(NodeSet, NodeSet),
}

impl Lineage {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn all(&self) -> NodeSet {
        NodeSet::first(self.nodes)
    }

    /// Room for the views of elections, of one refoundation two above, and for generation 0.
    fn generations(&self) -> usize {
        self.last_generation as usize + 4
    }
}

impl Model for Lineage {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        assert!(self.nodes + self.tie_breakers <= 8, "an acceptor set has eight places");
        let node = Node {
            incarnation: 0,
            seeded: true,
            generation: 1,
            members: self.all(),
            incarnations: vec![0; self.nodes as usize],
            hub: 0,
            acceptor: Acceptor::default(),
            sealed: false,
            log: Vec::new(),
            committed: 0,
            history: Arc::new(Vec::new()),
        };
        let quiet = Traffic { acknowledged: vec![0; self.nodes as usize], ..Traffic::default() };
        vec![State {
            nodes: vec![node; self.nodes as usize],
            tie_breakers: vec![
                vec![Acceptor::default(); self.tie_breakers.into()];
                self.generations()
            ],
            traffic: vec![quiet; self.generations()],
            restarts: 0,
            refounded: 0,
            observer: Observer::new(self.all(), self.generations()),
            violation: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.violation.is_some() {
            return;
        }
        for node in self.all().iter() {
            self.election_actions(state, node, actions);
            self.order_actions(state, node, actions);
            if state.nodes[node as usize].seeded && state.restarts < self.restarts {
                actions.push(Action::Restart(node));
            }
        }
        self.tie_breaker_actions(state, actions);
        if state.refounded == 0 {
            self.cold_start_actions(state, actions);
            self.return_actions(state, actions);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Propose(node) => self.propose(&mut state, node),
            Action::Promise(acceptor, generation, ballot) => {
                self.promise(&mut state, acceptor, generation, ballot);
            }
            Action::Offer { node, ballot, promises, joiners } => {
                self.offer(&mut state, node, ballot, promises, joiners);
            }
            Action::Accept(acceptor, generation, ballot) => {
                self.accept(&mut state, acceptor, generation, ballot);
            }
            Action::Install(node, value) => self.install_decided(&mut state, node, value),
            Action::InstallSnapshot(node, generation) => {
                self.install_snapshot(&mut state, node, generation);
            }
            Action::Order(node) => self.order(&mut state, node),
            Action::Acknowledge(node, entry) => self.acknowledge(&mut state, node, entry),
            Action::Commit(node) => self.commit(&mut state, node),
            Action::Deliver(node, count) => self.deliver(&mut state, node, count),
            Action::Restart(node) => self.restart(&mut state, node),
            Action::ColdStart(nodes) => self.cold_start(&mut state, nodes),
            Action::Return(living, returned) => self.return_to(&mut state, living, returned),
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(SAFE, |_, state: &State| state.violation.is_none())]
    }
}

const COMMIT: u32 = 1 << 0;
const SECOND_VIEW: u32 = 1 << 1;
const THIRD_VIEW: u32 = 1 << 2;
const ROLLBACK: u32 = 1 << 3;
const COMPLETED: u32 = 1 << 4;
const COLD_START: u32 = 1 << 5;
const RETURN: u32 = 1 << 6;
const JOIN: u32 = 1 << 7;

impl Swarm for Lineage {
    fn habits(&self) -> usize {
        13
    }

    fn habit(&self, action: &Action) -> usize {
        match action {
            Action::Propose(_) => 0,
            Action::Promise(..) => 1,
            Action::Offer { .. } => 2,
            Action::Accept(..) => 3,
            Action::Install(..) => 4,
            Action::InstallSnapshot(..) => 5,
            Action::Order(_) => 6,
            Action::Acknowledge(..) => 7,
            Action::Commit(_) => 8,
            Action::Deliver(..) => 9,
            Action::Restart(_) => 10,
            Action::ColdStart(_) => 11,
            Action::Return(..) => 12,
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        state.violation
    }

    fn milestones(&self) -> &'static [&'static str] {
        &[
            "an entry is committed",
            "a second view forms",
            "a third view forms",
            "an entry is rolled back",
            "an entry is completed by the next view",
            "a cold start",
            "a return",
            "a joiner enters",
        ]
    }

    fn reached(&self, before: &State, action: &Action, after: &State) -> u32 {
        let mut reached = match action {
            Action::Commit(_) => COMMIT,
            Action::ColdStart(_) => COLD_START,
            Action::Return(..) => RETURN,
            Action::InstallSnapshot(..) => JOIN,
            _ => 0,
        };
        if let Action::Install(node, value) = action {
            let former = &before.nodes[*node as usize];
            reached |= match former.generation {
                1 => SECOND_VIEW,
                2 => THIRD_VIEW,
                _ => 0,
            };
            if former.log.len() > value.trim.len() {
                reached |= ROLLBACK;
            }
            if value.trim.len() > after.traffic[former.generation as usize].committed as usize {
                reached |= COMPLETED;
            }
        }
        reached
    }
}
