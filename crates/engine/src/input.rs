//! What goes into an engine and what comes out.
//!
//! Inputs of two kinds: what the group delivered, which is the same in the same order on all
//! members and alone decides what the cluster knows; and what happened on this node, which reaches
//! the others, and this node's own plan, only as an entry.

use std::collections::BTreeMap;

use base::{Instant, Member, View};
use minicbor::{Decode, Encode};

use crate::class::Watchdog;
use crate::command::Refusal;
use crate::intent::Resource;
use crate::journal::Note;
use crate::networks::NetworkStates;
use crate::observation::Absence;

/// What the driver feeds in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The group delivered an engine entry.
    Delivered {
        /// Its position in the total order.
        position: u64,
        /// Who submitted it.
        origin: Member,
        /// The entry.
        payload: Vec<u8>,
    },
    /// A view was installed, in the same order on all members.
    View(ViewChange),
    /// It is known, in the same order on all members, that a lost life runs nothing any more; with
    /// [`Proof::Time`], nothing but what may write.
    Fenced {
        /// Which absence that is about.
        absence: Absence,
        /// How it is known.
        proof: Proof,
    },
    /// What came of an [`Act`].
    Acted {
        /// Of which.
        id: ActionId,
        /// What came of it.
        outcome: Outcome,
    },
    /// Something happened to a resource that runs here.
    ResourceChanged {
        /// The service.
        service: String,
        /// The resource.
        resource: String,
        /// What happened.
        change: ResourceChange,
    },
    /// Until when this node may own anything; `Instant::ZERO` for no lease.
    Lease {
        /// On this node's clock.
        until: Instant,
    },
    /// What this node's watchdog does.
    Watchdog(Watchdog),
    /// What this node cannot run for now, each service with the reason; all others it can, as far
    /// as it knows.
    Unable {
        /// By service.
        services: BTreeMap<String, String>,
    },
    /// How this node sees its networks.
    Networks(NetworkStates),
    /// This node was left out, or is leaving: stop everything, then [`Output::Clean`].
    Excluded,
    /// A deadline has passed.
    Tick,
}

/// A change of view, as the engine needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewChange {
    /// The new view.
    pub view: View,
    /// Members that are new in it.
    pub joined: Vec<Member>,
    /// Former members that left in order: nothing of them runs.
    pub left: Vec<Member>,
    /// Former members that are gone without a word. After a formation: all configured nodes that
    /// are not members.
    pub lost: Vec<Absence>,
    /// First formation, forced seed or cold start: no engine state before it.
    pub formed: bool,
}

/// How it is known that a lost life runs nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Its lease and the time to release are over: that ends what is contained, and lets the next start
    /// end what writes to reserved disks; nothing else.
    Time,
    /// Its guard said goodbye.
    Goodbye,
    /// An operator vouches for it.
    Operator,
    /// A fence agent has seen that its machine is off.
    Agent,
    /// Its watchdog has reset the machine by now, unless its guard had ended all services of storage and fed it on:
    /// what is left then was free at the end of the lease.
    Watchdog,
}

impl Proof {
    /// The proof in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Proof::Time => "its lease is over",
            Proof::Goodbye => "its guard said goodbye",
            Proof::Operator => "an operator vouches for it",
            Proof::Agent => "a fence agent has seen it off",
            Proof::Watchdog => "its watchdog has reset it, or nothing of storage was left there",
        }
    }
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Submit this entry to the group.
    Submit {
        /// The entry.
        payload: Vec<u8>,
    },
    /// Do something to a resource on this node, and say what came of it.
    Act(Act),
    /// A new line of the journal; the same on all members.
    Note(Note),
    /// The answer to a command proposed on this node.
    Answer {
        /// The number it was proposed under.
        request: u64,
        /// A sentence about what happens now, or why nothing does.
        result: Result<String, Refusal>,
    },
    /// The configuration changed, by a delivered entry or a snapshot.
    Configured {
        /// Its version.
        version: u64,
        /// Its checksum.
        checksum: u64,
        /// The file it was read from.
        text: String,
    },
    /// A storage service is about to start: arm the watchdog that is [ready](Watchdog::Ready), and
    /// say what came of it.
    Arm,
    /// After [`Input::Excluded`]: nothing of ours runs here.
    Clean,
}

/// An act on this node; never given to another act of this node, not even in another life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ActionId(#[n(0)] pub u64);

/// One act on one resource. Acts on one resource are carried out in the order given; a stop or
/// kill ends a start that is still under way. Stopping what does not run is a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// Named by the answer.
    pub id: ActionId,
    /// The service that the resource belongs to.
    pub service: String,
    /// The resource, as it was started.
    pub resource: Resource,
    /// What to do.
    pub verb: Verb,
    /// When the engine gives up waiting for it.
    pub deadline: Instant,
}

/// What to do to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Make it work. Done when it does.
    Start,
    /// Ask it to stop. Done when nothing of it is left.
    Stop,
    /// Make it stop by force. Done when nothing of it is left.
    Kill,
}

/// What came of an act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is so.
    Done,
    /// It is not, and this is why.
    Failed {
        /// In words.
        reason: String,
    },
    /// A start was not begun, through no fault of the service: it may be with newer evidence that the
    /// others know this node.
    NotNow {
        /// In words.
        reason: String,
    },
}

/// What happened to a resource without being asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceChange {
    /// The process ended.
    Exited {
        /// Its exit code, if it had one.
        code: Option<i32>,
        /// The signal that ended it, if one did.
        signal: Option<i32>,
    },
    /// It is not there any more.
    Vanished,
    /// It is there and does not work.
    Broken {
        /// Why.
        reason: String,
    },
    /// Somebody else uses it as well. It still works, so nothing is done but saying so.
    Conflict {
        /// Who or what.
        detail: String,
    },
}

/// A resource found running on this node when the daemon started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The service that it belongs to.
    pub service: String,
    /// The resource, as it was started.
    pub resource: Resource,
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// An act, or a whole start, takes too long.
    Act,
    /// Absent nodes have been waited for long enough.
    Settle,
    /// A service has run for a whole restart window.
    Stable,
    /// This node has been unable to run a service for so long that it moves.
    Unable,
}
