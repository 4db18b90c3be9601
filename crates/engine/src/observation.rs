//! What is known, by delivered entries alone: who holds what, what failed where, what operators
//! asked for. Equal on all members at equal positions.
//!
//! The one safety-relevant fact is the **holder** of a service: the member, in one of its lives,
//! that may be running any part of it. It is set by the delivery that decides a start, before
//! anything is done, and cleared only by a confirmed stop, by a fence, by a clean leave, or by a
//! newer life of the same node that says it runs nothing of it. A service is started only when it
//! has no holder, when nobody else was caught running it, and when it is known of every configured
//! node what it runs (no **suspects**). For a storage service (`class`) the end of a lease proves
//! nothing: its holder stays, and whoever was a suspect until then is **doubtful**.

use std::collections::BTreeMap;

use base::{Incarnation, Member, NodeId, NodeSet, View};
use minicbor::{Decode, Encode};

use crate::class::{Armed, Class};
use crate::inability::Inability;
use crate::intent::{Intent, Mode, Service};
use crate::networks::NetworkStates;
use crate::plan;

/// A decision to start or stop a service on a member; unique in the life of a cluster, so that an
/// outcome answers exactly one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct DecisionId(#[n(0)] pub u64);

/// A life that ended without a word, to be fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Absence {
    /// Whose.
    #[n(0)]
    pub node: NodeId,
    /// Which life; `u64::MAX` stands for any.
    #[n(1)]
    pub incarnation: Incarnation,
    /// The generation of the view that went on without it.
    #[n(2)]
    pub generation: u64,
}

/// Everything observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Observation {
    /// The primary view; none before the first.
    #[n(0)]
    pub view: Option<View>,
    /// Configured nodes of which it is not known what they run. While there is one, nothing is
    /// started anywhere.
    #[n(1)]
    pub suspects: NodeSet,
    /// Members that have not yet said what they run. Nothing is placed on them.
    #[n(2)]
    pub unreported: NodeSet,
    /// Whether services may be placed: after the formation, once all nodes are members or the hub
    /// has waited long enough.
    #[n(3)]
    pub settled: bool,
    /// The newest absence of each node of which nothing proves that it is over.
    #[n(4)]
    pub absences: BTreeMap<NodeId, Absence>,
    /// Nodes that an operator put into standby.
    #[n(5)]
    pub standby: NodeSet,
    /// Members about to leave.
    #[n(6)]
    pub draining: BTreeMap<NodeId, Incarnation>,
    /// The configured services, and those removed from the configuration that still run somewhere.
    #[n(7)]
    pub services: BTreeMap<String, ServiceState>,
    /// Of the absent nodes those whose leases are over.
    #[n(8)]
    pub lapsed: NodeSet,
    /// Of these the ones of which it was never known what they run: they may write to the storage of
    /// any service on their lists.
    #[n(9)]
    pub doubtful: NodeSet,
    /// The watchdogs that members have told of.
    #[n(10)]
    pub watchdogs: BTreeMap<NodeId, Armed>,
    /// What members cannot run for now, by service.
    #[n(11)]
    pub unable: BTreeMap<NodeId, BTreeMap<String, Inability>>,
    /// Members to which one path is left, and lost ones to which it was.
    #[n(12)]
    pub jeopardy: NodeSet,
    /// How members see their networks.
    #[n(13)]
    pub networks: BTreeMap<NodeId, NetworkStates>,
}

/// What is known of one service.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ServiceState {
    /// Whether it shall run at all.
    #[n(0)]
    pub wish: Wish,
    /// What it is doing, and who holds it.
    #[n(1)]
    pub phase: Phase,
    /// The modes that an operator set; the service's own mode elsewhere.
    #[n(2)]
    pub modes: BTreeMap<NodeId, Mode>,
    /// What failed where.
    #[n(3)]
    pub failures: BTreeMap<NodeId, Failures>,
    /// Where it shall go at its next start; once.
    #[n(4)]
    pub request: Option<Request>,
    /// It is where an operator put it, or its node list changed while it ran: no failback before
    /// its next start.
    #[n(5)]
    pub stays: bool,
    /// Members that run something of it without holding it; they stop it.
    #[n(6)]
    pub intruders: Vec<Member>,
    /// Position of the last change of its phase.
    #[n(7)]
    pub since: u64,
    /// Why it does what it does.
    #[n(8)]
    pub reason: String,
    /// The note that says so.
    #[n(9)]
    pub note: Option<u64>,
    /// Its class when it was last started or adopted.
    #[n(10)]
    pub class: Option<Class>,
    /// Whether it was one of storage before anything of it ran: then its node's watchdog was not fed
    /// without evidence from that moment on, and its reset is a proof.
    #[n(11)]
    pub watched: bool,
    /// Lost nodes that ran it and were freed by the end of their lease alone, though it writes: the
    /// reservation of its disks is all that keeps them from it.
    #[n(12)]
    pub unfenced: NodeSet,
}

impl Default for ServiceState {
    fn default() -> ServiceState {
        ServiceState {
            wish: Wish::Started,
            phase: Phase::Idle,
            modes: BTreeMap::new(),
            failures: BTreeMap::new(),
            request: None,
            stays: false,
            intruders: Vec::new(),
            since: 0,
            reason: String::new(),
            note: None,
            class: None,
            watched: false,
            unfenced: NodeSet::EMPTY,
        }
    }
}

/// Whether a service shall run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Wish {
    /// Wherever the plan says. The default.
    #[default]
    #[n(0)]
    Started,
    /// Nowhere: an operator stopped it.
    #[n(1)]
    Stopped,
}

/// What a service is doing. All but `Idle` have a holder.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Phase {
    /// Nobody holds it.
    #[n(0)]
    Idle,
    /// The holder starts it.
    #[n(1)]
    Starting {
        /// Who.
        #[n(0)]
        holder: Member,
        /// By which decision.
        #[n(1)]
        decision: DecisionId,
        /// Some of its resources were running already: it is being completed.
        #[n(2)]
        partial: bool,
    },
    /// All its resources run.
    #[n(2)]
    Running {
        /// Where.
        #[n(0)]
        holder: Member,
        /// By which decision.
        #[n(1)]
        decision: DecisionId,
    },
    /// A resource failed while it was running; the others still run.
    #[n(3)]
    Failed {
        /// Where.
        #[n(0)]
        holder: Member,
        /// By which decision it was running.
        #[n(1)]
        decision: DecisionId,
        /// Which resource, and what happened.
        #[n(2)]
        reason: String,
    },
    /// The holder stops it.
    #[n(4)]
    Stopping {
        /// Who.
        #[n(0)]
        holder: Member,
        /// By which decision.
        #[n(1)]
        decision: DecisionId,
    },
    /// It could not be stopped: something of it may still run there.
    #[n(5)]
    BrokenUnsafe {
        /// Where.
        #[n(0)]
        holder: Member,
        /// Which resource, and what happened.
        #[n(1)]
        reason: String,
        /// An operator wants the stop tried again.
        #[n(2)]
        retry: bool,
    },
    /// The holder is not a member any more and may still run it, until it is fenced.
    #[n(6)]
    Lost {
        /// Who.
        #[n(0)]
        holder: Member,
    },
}

/// What failed on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Failures {
    /// Failures while running, within the restart window: stamps of that node's own clock in
    /// nanoseconds, ascending.
    #[n(0)]
    pub stamps: Vec<u64>,
    /// Set when the service shall not be started there for now: a start failed, or the restart
    /// limit is used up.
    #[n(1)]
    pub blocked: Option<String>,
    /// The block is forgiven, because the service ran elsewhere for a whole window: it may be
    /// tried here again when it must move, but does not fail back to here.
    #[n(2)]
    pub forgiven: bool,
}

/// Where a service shall go at its next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// To this node, if it can run it by then.
    #[n(0)]
    pub to: Option<NodeId>,
    /// Away from this node, if another can run it.
    #[n(1)]
    pub away: Option<NodeId>,
    /// An operator named the node for a start, so a manual one will do.
    #[n(2)]
    pub manual: bool,
    /// An operator asked for it, so it stays there.
    #[n(3)]
    pub operator: bool,
}

/// The state of a service as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum State {
    /// Nothing of it runs.
    #[n(0)]
    Stopped,
    /// Being started.
    #[n(1)]
    Starting,
    /// All of it runs.
    #[n(2)]
    Running,
    /// Being stopped.
    #[n(3)]
    Stopping,
    /// Some of its resources were found running; the others are being started.
    #[n(4)]
    Partial,
    /// A resource failed, and nothing is done about it.
    #[n(5)]
    Failed,
    /// It could not be started wherever it may run. Nothing of it runs.
    #[n(6)]
    BrokenSafe,
    /// It could not be stopped: something of it may run, so it is started nowhere.
    #[n(7)]
    BrokenUnsafe,
    /// It is not known whether something of it runs.
    #[n(8)]
    Unknown,
}

impl State {
    /// All states.
    pub const ALL: [State; 9] = [
        State::Stopped,
        State::Starting,
        State::Running,
        State::Stopping,
        State::Partial,
        State::Failed,
        State::BrokenSafe,
        State::BrokenUnsafe,
        State::Unknown,
    ];

    /// The name in files, commands and documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            State::Stopped => "stopped",
            State::Starting => "starting",
            State::Running => "running",
            State::Stopping => "stopping",
            State::Partial => "partial",
            State::Failed => "failed",
            State::BrokenSafe => "broken-safe",
            State::BrokenUnsafe => "broken-unsafe",
            State::Unknown => "unknown",
        }
    }
}

impl Phase {
    /// The member that may be running any part of it.
    #[must_use]
    pub const fn holder(&self) -> Option<Member> {
        match self {
            Phase::Idle => None,
            Phase::Starting { holder, .. }
            | Phase::Running { holder, .. }
            | Phase::Failed { holder, .. }
            | Phase::Stopping { holder, .. }
            | Phase::BrokenUnsafe { holder, .. }
            | Phase::Lost { holder } => Some(*holder),
        }
    }

    /// The decision that the holder carries out or has carried out.
    #[must_use]
    pub const fn decision(&self) -> Option<DecisionId> {
        match self {
            Phase::Starting { decision, .. }
            | Phase::Running { decision, .. }
            | Phase::Failed { decision, .. }
            | Phase::Stopping { decision, .. } => Some(*decision),
            Phase::Idle | Phase::BrokenUnsafe { .. } | Phase::Lost { .. } => None,
        }
    }
}

impl Observation {
    /// Whether some life of the node is a member.
    #[must_use]
    pub fn is_member(&self, node: NodeId) -> bool {
        self.view.as_ref().is_some_and(|view| view.member(node).is_some())
    }

    /// The life of the node that is a member.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<Member> {
        self.view.as_ref().and_then(|view| view.member(node))
    }

    /// Why the node cannot run the service for now.
    #[must_use]
    pub fn inability(&self, node: NodeId, service: &str) -> Option<&Inability> {
        self.unable.get(&node).and_then(|services| services.get(service))
    }

    /// Whether this life of the node is about to leave.
    #[must_use]
    pub fn is_draining(&self, node: NodeId) -> bool {
        let leaving = self.draining.get(&node);
        leaving.is_some_and(|life| self.member(node).is_some_and(|m| m.incarnation == *life))
    }

    /// Whether nothing on this node is held by any of its lives, nor stopped there as an intruder.
    #[must_use]
    pub fn is_idle(&self, node: NodeId) -> bool {
        !self.suspects.contains(node)
            && self.services.values().all(|service| {
                service.phase.holder().is_none_or(|holder| holder.node != node)
                    && service.intruders.iter().all(|member| member.node != node)
            })
    }

    /// The state of the service as people see it.
    #[must_use]
    pub fn state(&self, intent: &Intent, name: &str, service: &ServiceState) -> State {
        match &service.phase {
            Phase::Starting { partial: true, .. } => State::Partial,
            Phase::Starting { .. } => State::Starting,
            Phase::Running { .. } => State::Running,
            Phase::Failed { .. } => State::Failed,
            Phase::Stopping { .. } => State::Stopping,
            Phase::BrokenUnsafe { .. } => State::BrokenUnsafe,
            Phase::Lost { .. } => State::Unknown,
            Phase::Idle if service.intruders.iter().any(|m| !self.is_member(m.node)) => {
                State::Unknown
            }
            Phase::Idle if !service.intruders.is_empty() => State::Stopping,
            Phase::Idle if !self.suspects.is_empty() => State::Unknown,
            Phase::Idle if self.doubt(intent, name).is_some() => State::Unknown,
            Phase::Idle if service.wish == Wish::Stopped => State::Stopped,
            Phase::Idle => match intent.service(name) {
                Some(spec) if plan::is_broken(self, spec, service) => State::BrokenSafe,
                _ => State::Stopped,
            },
        }
    }
}

impl ServiceState {
    /// The mode of the service on the node.
    #[must_use]
    pub fn mode(&self, spec: &Service, node: NodeId) -> Mode {
        self.modes.get(&node).copied().unwrap_or(spec.mode)
    }

    /// Why the service shall not be started on the node for now.
    #[must_use]
    pub fn blocked(&self, node: NodeId) -> Option<&str> {
        let failures = self.failures.get(&node).filter(|failures| !failures.forgiven)?;
        failures.blocked.as_deref()
    }
}
