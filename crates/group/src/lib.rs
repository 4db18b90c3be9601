//! One view, one order: agreed membership, atomic broadcast, and who may act.
//!
//! ```text
//!                        accepted by all founders
//!            ┌──────────┐  or installed by a hub   ┌────────┐ promises a ballot ┌────────┐
//!  start ───►│ unseeded ├─────────────────────────►│ member │──────────────────►│ sealed │
//!            └──────────┘                          └───▲────┘                   └─┬────┬─┘
//!                 ▲                                    └──── the decided view ────┘    │
//!                 │  a new incarnation    ┌─────┐        installed with us in it       │
//!                 └───────────────────────┤ out │◄──────── … without us ───────────────┘
//!                                         └─────┘
//! ```
//!
//! **Views.** Each view decides its single successor by one Paxos instance whose acceptors are
//! its members (Lamport, "Paxos Made Simple"). So more than half of the *previous members* goes
//! on; exactly half needs the tie-breaker; less stops. A restarted node is a new incarnation: a
//! joiner, and no acceptor of its former view, so that promises need no disk. Whoever coordinates
//! the change is the hub of the new view (`change`).
//!
//! **Order.** Members submit to the hub, the hub gives out sequence numbers, and an entry is
//! delivered when every member of the view holds it (`order`). A view change cuts the log at the
//! shortest log among those who promised: whatever anybody delivered, all of them hold; the rest
//! is rolled back everywhere and submitted again by its origin.
//!
//! **Leases.** A member may own services for a bounded time after the newest own stamp that more
//! than half of its view has echoed; the survivors of a change wait that bound out, counted from
//! their own last contact (`lease`).
//!
//! **Formation.** With no view anywhere, founders accept a first one unanimously; after a power
//! failure, all members of the newest recorded view do (`form`).
//!
//! Where this differs from the textbook: a promise, once given, also stops ordering,
//! acknowledging and lease evidence (it "seals" the member); accepted values are not durable,
//! installed views are; a value is chosen by its proposer from promises and not from a client.
//!
//! **Invariants** kept here: at most one value is decided per lineage and generation;
//! generations only grow at a node; entries are delivered in one order, once, by all members of
//! their view or by none that goes on; nothing is ordered, acknowledged or granted while sealed;
//! a view is durable before anybody is told that its member has it.

mod arbiter;
mod asking;
mod behind;
mod change;
pub mod disk;
mod enter;
mod exchange;
mod form;
mod join;
mod lease;
mod order;
mod status;
mod tie;
mod watch;
mod wire;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::{Incarnation, Instant, Member, NodeId, NodeSet, Prng, Tie, Timing, View, codec};

pub use arbiter::{Accepted, Acceptor, Answer, LINEAGES_MAX, Reply, Request, VALUE_SIZE_MAX};
pub use exchange::{Durable, Input, Output, Rejected, Timer, ViewChange};
pub use status::{Progress, Queues, Status, WaitStatus};
pub use tie::{Vote, vote};
pub use watch::Watch;
pub use wire::{
    Absence, Ballot, Content, Digest, Entry, Message, Order, Outside, Promise, Proof, Scope,
    Snapshot, Standing, Value, Wait,
};

use change::Attempt;
use form::Unseeded;
use lease::Evidence;
use order::Log;

/// Own submissions that are not delivered yet; beyond this [`Rejected::Busy`].
pub const SUBMISSIONS_MAX: usize = 64;
/// Their bytes; one submission is always let through.
const SUBMISSIONS_BYTES_MAX: usize = 4 << 20;
/// Messages of a view that is not installed here yet, kept until it is.
const EARLY_MESSAGES_MAX: usize = 1024;

/// What a group is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node in this life.
    pub local: Member,
    /// All configured nodes.
    pub nodes: NodeSet,
    /// How many nodes in mutual contact form the first view.
    pub seed: usize,
    /// Who decides at exactly half.
    pub tie: Tie,
    /// Times.
    pub timing: Timing,
    /// The newest view that this node has recorded in a former life.
    pub record: Option<View>,
    /// Version of the configuration here; the newest is taken at a cold start.
    pub configuration: u64,
    /// The guard has restarted this daemon after a crash.
    pub certified: bool,
}

/// The state machine. Feed one input, drain all outputs.
#[derive(Debug)]
pub struct Group {
    config: Config,
    prng: Prng,
    now: Instant,
    outputs: VecDeque<Output>,
    peers: BTreeMap<NodeId, Peer>,
    /// When any authentic frame of that life was received last; survives a loss of contact.
    contacts: BTreeMap<Member, Instant>,
    phase: Phase,
    record: Option<View>,
    /// What the digest says of it; the digest is asked for in every turn.
    record_name: Option<(u32, u64, u64)>,
    /// Messages of a view that is not installed here yet.
    early: VecDeque<(Member, Message)>,
    /// Own submissions that are not delivered yet, oldest first, with their numbers.
    submissions: VecDeque<(u64, Content)>,
    last_number: u64,
    /// Delivered entries of this history.
    position: u64,
    /// The last number delivered of each origin: part of the replicated state.
    delivered: BTreeMap<Member, u64>,
    goodbyes: BTreeSet<Member>,
    /// Absences of the present view that were proven to be over, and how.
    proven: BTreeMap<Absence, Proof>,
    /// Nodes that a person has declared dead.
    down: NodeSet,
    /// When each node joined and in which life, newest last, for the hold-down.
    joins: BTreeMap<NodeId, Vec<(Instant, Incarnation)>>,
    leaving: bool,
    /// What each node carries, for who asks the arbiters first.
    loads: BTreeMap<NodeId, u32>,
    /// What this node reaches outside of the cluster.
    outside: Outside,
    /// What the others have said that they reach; survives a loss of contact.
    outsides: BTreeMap<NodeId, Outside>,
    /// When peers that lag behind were told so last.
    told_at: BTreeMap<NodeId, Instant>,
    /// Joiners that wait for the state of the layer above, with our part of it.
    snapshot: Option<(Value, Snapshot)>,
    persisting: Option<Write>,
    last_token: u64,
    wake: Option<(Instant, Timer)>,
}

/// A connected peer.
#[derive(Debug)]
struct Peer {
    incarnation: Incarnation,
    since: Instant,
    row: NodeSet,
    digest: Digest,
}

/// A record on its way to the disk. Nobody is told of it before it is there.
#[derive(Debug)]
struct Write {
    token: u64,
    record: Option<View>,
    then: Persisting,
}

#[derive(Debug)]
enum Phase {
    Unseeded(Box<Unseeded>),
    Member(Box<Membership>),
    Out,
}

/// What goes on when the disk has taken it.
#[derive(Debug)]
enum Persisting {
    /// A decided successor.
    Install(Box<Value>),
    /// The view that this node joins.
    Join(Box<Value>, Box<Snapshot>),
    /// The view that lets this node go.
    Leave(Box<Value>),
    /// The own tentative record of a formation that this node coordinates.
    FormTentative,
    /// The same, decided.
    FormDecided,
    /// The tentative record of somebody else's formation.
    FormAccept,
    /// The record from before a formation that was called off.
    FormReverted,
}

/// A member's life in one view.
#[derive(Debug)]
struct Membership {
    view: View,
    /// The decision that led to it.
    value: Value,
    installed_at: Instant,
    log: Log,
    evidence: Evidence,
    promised: Ballot,
    sealed_at: Option<Instant>,
    accepted: Option<(Ballot, Value)>,
    attempt: Option<Attempt>,
    /// Not before this: a ballot was lost, or another member's attempt is under way.
    backoff_until: Instant,
    /// Since when there has been a reason for a change.
    wanted_since: Option<Instant>,
    /// Since when it is known that this view is past, while nobody says what came after it.
    stranded_since: Option<Instant>,
    /// Since when its hub or the hub's deputy is not in this view, or a change is under way.
    unsteady_since: Option<Instant>,
    /// Absences until they are proven to be over or their node is back.
    waits: BTreeMap<Absence, Absent>,
    /// Fence entries that this node has submitted in this view, and whether for time.
    fences_submitted: BTreeSet<(Absence, bool)>,
    /// Members that beat but make no progress (the hub's opinion).
    expelled: NodeSet,
}

/// How long a lost life has been absent.
#[derive(Clone, Copy, Debug)]
struct Absent {
    /// The last contact that anybody had, or later, on this clock.
    heard: Instant,
    /// Its lease is over: so says a delivered entry.
    is_lapsed: bool,
}

impl Group {
    /// A group without a view.
    #[must_use]
    pub fn new(config: Config, prng: Prng, now: Instant) -> Group {
        assert!(config.nodes.contains(config.local.node), "the local node is configured");
        Group {
            record_name: config.record.as_ref().map(wire::name),
            record: config.record.clone(),
            config,
            prng,
            now,
            outputs: VecDeque::new(),
            peers: BTreeMap::new(),
            contacts: BTreeMap::new(),
            phase: Phase::Unseeded(Box::default()),
            early: VecDeque::new(),
            submissions: VecDeque::new(),
            last_number: 0,
            position: 0,
            delivered: BTreeMap::new(),
            goodbyes: BTreeSet::new(),
            proven: BTreeMap::new(),
            down: NodeSet::EMPTY,
            joins: BTreeMap::new(),
            leaving: false,
            loads: BTreeMap::new(),
            outside: Outside::default(),
            outsides: BTreeMap::new(),
            told_at: BTreeMap::new(),
            snapshot: None,
            persisting: None,
            last_token: 0,
            wake: None,
        }
    }

    /// Feeds one input. Never fails: what peers send is checked, and dropped when it is not
    /// right.
    pub fn handle(&mut self, now: Instant, input: Input) {
        assert!(self.outputs.is_empty(), "drain the outputs of one input before the next");
        assert!(now >= self.now, "time does not go back");
        self.now = now;
        match input {
            Input::Turn => return self.turn(),
            Input::Connected(member) => self.connect(member),
            Input::Lost(member) => {
                if self.connected(member) {
                    self.peers.remove(&member.node);
                    self.forming_peer_lost(member.node);
                }
            }
            Input::Digest(member, digest) => {
                if self.connected(member) {
                    self.outsides.insert(member.node, digest.outside);
                    let peer = self.peers.get_mut(&member.node).expect("it is connected");
                    peer.digest = digest;
                    self.check_record_of(member);
                }
            }
            Input::Heard { from, echo, evidence_age, row } => {
                return self.heard(from, echo, evidence_age, row);
            }
            Input::Message { from, bytes } => {
                if let (true, Ok(message)) = (self.connected(from), codec::decode(&bytes)) {
                    self.receive(from, message);
                }
            }
            Input::Persisted(token) => self.persisted(token),
            Input::Snapshot(state) => self.send_snapshot(state),
            Input::Arbiter(arbiter, reply) => self.on_arbiter(arbiter, reply),
            Input::Fenced(absence, proof) => {
                assert!(proof != Proof::Time, "the group counts the time of leases itself");
                // What was seen of an older absence says nothing about a later life.
                if self.waits().any(|waited| waited == absence) {
                    self.proven.entry(absence).or_insert(proof);
                }
            }
            Input::Goodbye(member) => {
                if self.config.nodes.contains(member.node) {
                    self.goodbyes.retain(|known| known.node != member.node);
                    self.goodbyes.insert(member);
                }
            }
        }
        self.consider_change();
    }

    /// The next thing for the driver to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Turn`] at the latest, and for what.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        self.wake
    }

    /// Notes that an authentic frame of this life was received at that moment. Must be up to date
    /// before each input: the age in a promise counts from here.
    pub fn note_contact(&mut self, member: Member, at: Instant) {
        // By life: what a restarted node sends says nothing about its former life, whose services
        // may still run, and must not hide when that one was heard.
        self.contacts.insert(member, at);
    }

    /// Broadcasts a payload; it is delivered once to all members of the view, this one included,
    /// or this node is excluded. Returns the number with which it will be delivered.
    ///
    /// # Errors
    /// [`Rejected::NoView`] outside the primary view, [`Rejected::Busy`] when too many are on
    /// their way.
    pub fn submit(&mut self, payload: Vec<u8>, durable: bool) -> Result<u64, Rejected> {
        assert!(payload.len() <= base::limits::PAYLOAD_SIZE_MAX, "callers bound their payloads");
        if !matches!(self.phase, Phase::Member(_)) {
            return Err(Rejected::NoView(self.waiting().unwrap_or_default()));
        }
        let bytes: usize = self.submissions.iter().map(|(_, content)| content.size()).sum();
        if self.submissions.len() >= SUBMISSIONS_MAX
            || bytes > 0 && bytes + payload.len() > SUBMISSIONS_BYTES_MAX
        {
            return Err(Rejected::Busy);
        }
        let content = if durable { Content::Durable(payload) } else { Content::Payload(payload) };
        Ok(self.submit_content(content))
    }

    /// Asks to be let go. The node has stopped everything and starts nothing any more.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// This node ends without having been in a view: it founds none and joins none any more.
    pub fn withdraw(&mut self) {
        if matches!(self.phase, Phase::Unseeded(_)) {
            self.phase = Phase::Out;
            self.persisting = None;
        }
    }

    /// A person says that this node is down: it counts as fenced, and as a vote at exactly half.
    ///
    /// # Errors
    /// [`Rejected::Alive`] while the node can be heard here, [`Rejected::HeardBy`] while another
    /// node hears it, [`Rejected::UnknownNode`].
    pub fn confirm_down(&mut self, now: Instant, node: NodeId) -> Result<(), Rejected> {
        if !self.config.nodes.contains(node) || node == self.config.local.node {
            return Err(Rejected::UnknownNode(node));
        }
        if let Some(peer) = self.peers.get(&node) {
            let member = Member { node, incarnation: peer.incarnation };
            let heard = self.contacts.get(&member).copied().unwrap_or(peer.since);
            return Err(Rejected::Alive(node, now.since(heard)));
        }
        if let Some((by, _)) = self.peers.iter().find(|(_, peer)| peer.row.contains(node)) {
            return Err(Rejected::HeardBy(node, *by));
        }
        self.down.insert(node);
        Ok(())
    }

    /// Says what the nodes carry, and what this one reaches of those that it works for. Of two halves
    /// the one that reaches more asks the arbiters first, then the one that carries more; only that
    /// depends on it.
    pub fn weigh(&mut self, loads: BTreeMap<NodeId, u32>, outside: Outside) {
        self.loads = loads;
        self.outside = outside;
    }

    /// Until when this member may own services: the newest evidence plus the lease.
    /// [`Instant::ZERO`] outside a view.
    #[must_use]
    pub fn lease_until(&self, now: Instant) -> Instant {
        match &self.phase {
            Phase::Member(membership) => {
                let evidence = membership.evidence.newest(&membership.view, self.local(), now);
                if evidence == Instant::ZERO {
                    Instant::ZERO
                } else {
                    evidence + self.config.timing.lease
                }
            }
            Phase::Unseeded(_) | Phase::Out => Instant::ZERO,
        }
    }

    /// The evidence that this node may relay to the members of its view: that of an unsealed hub.
    #[must_use]
    pub fn evidence_to_relay(&self, now: Instant) -> Option<Instant> {
        let Phase::Member(membership) = &self.phase else { return None };
        let local = self.local();
        if membership.view.hub != local.node || membership.sealed_at.is_some() {
            return None;
        }
        let evidence = membership.evidence.newest(&membership.view, local, now);
        Some(evidence).filter(|evidence| *evidence != Instant::ZERO)
    }

    /// The view, while this node is in one.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        match &self.phase {
            Phase::Member(membership) => Some(&membership.view),
            Phase::Unseeded(_) | Phase::Out => None,
        }
    }

    /// What to put into heartbeats.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let record = self.record.as_ref();
        let (standing, view) = match &self.phase {
            Phase::Unseeded(_) => (Standing::Unseeded, record),
            Phase::Out => (Standing::Out, record),
            Phase::Member(membership) => {
                let standing = match membership.sealed_at {
                    _ if self.leaving => Standing::Leaving,
                    Some(_) => Standing::Sealed,
                    None => Standing::Member,
                };
                (standing, Some(&membership.view))
            }
        };
        Digest {
            standing,
            lineage: view.map_or(0, |view| view.lineage),
            generation: view.map_or(0, |view| view.generation),
            members: view.map_or(0, |view| view.members.len() as u8),
            record: self.record_name,
            configuration: self.config.configuration,
            certified: self.config.certified,
            outside: self.outside,
        }
    }

    /// The configuration has changed: other nodes, another version. Nodes that have left the
    /// configuration stay members until they leave the view.
    pub fn reconfigure(&mut self, nodes: NodeSet, seed: usize, tie: Tie, version: u64) {
        self.config.nodes = nodes;
        self.config.seed = seed;
        self.config.tie = tie;
        self.config.configuration = version;
    }

    fn local(&self) -> Member {
        self.config.local
    }

    fn connected(&self, member: Member) -> bool {
        self.peers.get(&member.node).is_some_and(|peer| peer.incarnation == member.incarnation)
    }

    fn connect(&mut self, member: Member) {
        if !self.config.nodes.contains(member.node) || member.node == self.local().node {
            return;
        }
        self.down.remove(member.node);
        let peer = Peer {
            incarnation: member.incarnation,
            since: self.now,
            row: NodeSet::EMPTY,
            digest: Digest::default(),
        };
        self.peers.insert(member.node, peer);
        self.catch_up(member);
    }

    fn heard(
        &mut self,
        from: Member,
        echo: Option<Instant>,
        evidence_age: Option<Duration>,
        row: NodeSet,
    ) {
        if !self.connected(from) {
            return;
        }
        let peer = self.peers.get_mut(&from.node).expect("it is connected");
        peer.row = row;
        let Phase::Member(membership) = &mut self.phase else { return };
        let scope = Scope::of(&membership.view);
        let granted = peer.digest.standing == Standing::Member
            && (Scope { lineage: peer.digest.lineage, generation: peer.digest.generation })
                == scope
            && membership.view.has(from)
            && membership.sealed_at.is_none();
        if let (true, Some(stamp)) = (granted, echo) {
            // Stamps from before this view say nothing about it: the peer may have echoed them
            // to a view that has ended.
            if stamp >= membership.installed_at {
                membership.evidence.grant(from.node, stamp);
                let by_hub = evidence_age.filter(|_| from.node == membership.view.hub);
                if let Some(age) = by_hub {
                    membership.evidence.relay(stamp, age);
                }
            }
        }
    }

    fn turn(&mut self) {
        self.wake = None;
        match &self.phase {
            Phase::Unseeded(_) => self.turn_unseeded(),
            Phase::Member(_) => {
                self.wake_for_joiners();
                self.call_joiners();
                self.tell_laggards();
                self.submit_due_fences();
                self.notice_stalled();
                self.consider_change();
                self.flush_order();
                self.yield_to_stronger_primary();
                self.give_up_a_past_view();
                self.note_steadiness();
            }
            Phase::Out => {}
        }
    }

    fn receive(&mut self, from: Member, message: Message) {
        let is_decision = matches!(message, Message::Decided(..));
        match message {
            Message::Form(id, view) => self.on_form(from, id, view),
            Message::FormAccepted(id) => self.on_form_accepted(from, id),
            Message::FormAbort(id) => self.on_form_abort(from, id),
            Message::Install(scope, value, snapshot) => {
                self.on_install(from, scope, *value, *snapshot);
            }
            Message::LeftOut(scope) => self.on_left_out(from, scope),
            Message::Dissolve(scope) => self.on_dissolve(from, scope),
            Message::Prepare(scope, ..)
            | Message::Promise(scope, ..)
            | Message::Refuse(scope, ..)
            | Message::Accept(scope, ..)
            | Message::Accepted(scope, ..)
            | Message::Decided(scope, ..)
            | Message::Submit(scope, ..)
            | Message::Order(scope, ..)
            | Message::Ack(scope, ..) => match self.place(from, scope, is_decision) {
                Place::Here => self.receive_in_view(from, message),
                Place::Later => {
                    if self.early.len() < EARLY_MESSAGES_MAX {
                        self.early.push_back((from, message));
                    }
                }
                Place::Earlier => {
                    if matches!(message, Message::Prepare(..)) {
                        self.tell_laggard(from, scope);
                    }
                }
                Place::Nowhere => {}
            },
        }
    }

    fn receive_in_view(&mut self, from: Member, message: Message) {
        match message {
            Message::Prepare(_, ballot, reach) => self.on_prepare(from, ballot, reach),
            Message::Promise(_, ballot, promise) => self.on_promise(from, ballot, *promise),
            Message::Refuse(_, ballot, promised) => self.on_refuse(ballot, promised),
            Message::Accept(_, ballot, value) => self.on_accept(from, ballot, *value),
            Message::Accepted(_, ballot) => self.on_accepted(from, ballot),
            Message::Decided(_, value) => self.install(*value),
            Message::Submit(_, entries) => self.on_submit(from, entries),
            Message::Order(_, order) => self.on_order(from, order),
            Message::Ack(_, have) => self.on_ack(from, have),
            _ => unreachable!("receive has sorted these out"),
        }
    }

    /// Where a message of this scope belongs, seen from here.
    fn place(&self, from: Member, scope: Scope, is_decision: bool) -> Place {
        match &self.phase {
            Phase::Member(membership) => {
                let here = Scope::of(&membership.view);
                if scope == here {
                    // A decision may come from a joiner of the view that was decided.
                    let belongs = membership.view.has(from) || is_decision;
                    if belongs { Place::Here } else { Place::Nowhere }
                } else if scope.lineage != here.lineage {
                    Place::Nowhere
                } else if scope.generation > here.generation {
                    Place::Later
                } else {
                    Place::Earlier
                }
            }
            // A joiner's hub may order before the joiner's disk has taken the view.
            Phase::Unseeded(_) => Place::Later,
            Phase::Out => Place::Nowhere,
        }
    }

    fn persist(&mut self, record: Option<View>, then: Persisting) {
        assert!(self.persisting.is_none(), "one record at a time");
        self.last_token += 1;
        let token = self.last_token;
        self.persisting = Some(Write { token, record: record.clone(), then });
        self.outputs.push_back(Output::Persist { token, what: Durable::Record(record) });
    }

    fn persisted(&mut self, token: u64) {
        if let Some(write) = self.persisting.take_if(|write| write.token == token) {
            self.record_name = write.record.as_ref().map(wire::name);
            self.record = write.record;
            match write.then {
                Persisting::Install(value) => self.enter_successor(*value),
                Persisting::Join(value, snapshot) => self.enter_joined(*value, *snapshot),
                Persisting::Leave(value) => self.go(*value),
                Persisting::FormTentative => self.form_self_accepted(),
                Persisting::FormDecided => self.enter_formed(),
                Persisting::FormAccept => self.form_accept_recorded(),
                Persisting::FormReverted => {}
            }
        } else {
            self.entry_persisted(token);
        }
    }

    /// No part in the primary any more. The node stops everything, takes a new incarnation and
    /// starts over with a new group.
    fn exclude(&mut self, reason: String) {
        if !matches!(self.phase, Phase::Out) {
            self.phase = Phase::Out;
            self.persisting = None;
            self.outputs.push_back(Output::Excluded { reason });
        }
    }

    fn send(&mut self, to: NodeId, message: &Message) {
        if self.peers.contains_key(&to) {
            let bulk = matches!(message, Message::Install(..));
            self.outputs.push_back(Output::Send { to, bulk, message: codec::encode(message) });
        }
    }

    fn wake_at(&mut self, at: Instant, timer: Timer) {
        if self.wake.is_none_or(|wake| at < wake.0) {
            self.wake = Some((at, timer));
        }
    }
}

/// Where a message belongs.
enum Place {
    Here,
    Later,
    Earlier,
    Nowhere,
}

#[cfg(test)]
mod tests;
