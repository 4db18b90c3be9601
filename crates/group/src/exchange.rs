//! What goes into a group and what comes out of it.

use core::time::Duration;

use base::{Instant, Member, NodeId, NodeSet, View};

use crate::arbiter::{Reply, Request};
use crate::wire::{Absence, Digest, Proof};

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The end of one turn of the driver's loop.
    Turn,
    /// A peer can be reached in both directions.
    Connected(Member),
    /// It cannot be reached any more.
    Lost(Member),
    /// A peer's digest has changed.
    Digest(Member, Digest),
    /// A heartbeat of a peer: the newest stamp of ours that it echoes, and whom it reaches.
    Heard {
        /// The sender.
        from: Member,
        /// Our own stamp, on our clock.
        echo: Option<Instant>,
        /// How old the sender's own evidence was when it sent this echo.
        evidence_age: Option<Duration>,
        /// The peers that the sender reaches in both directions.
        row: NodeSet,
    },
    /// A message of a peer's group.
    Message {
        /// The sender.
        from: Member,
        /// The bytes of one [`Message`](crate::wire::Message).
        bytes: Vec<u8>,
    },
    /// What [`Output::Persist`] asked for is on the disk.
    Persisted(u64),
    /// The state that [`Output::TakeSnapshot`] asked for.
    Snapshot(Vec<u8>),
    /// A guard says that this life is over and runs nothing.
    Goodbye(Member),
    /// It was proven, after this absence had begun, that nothing of that life is left. Counts only
    /// while exactly this absence is waited for. Not [`Proof::Time`], which the group counts itself.
    Fenced(Absence, Proof),
    /// What the arbiter of that number answers to an [`Output::Ask`].
    Arbiter(u8, Reply),
}

/// What the driver must do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send over the reliable channel to this connected peer.
    Send {
        /// The peer.
        to: NodeId,
        /// Large and not urgent.
        bulk: bool,
        /// The bytes.
        message: Vec<u8>,
    },
    /// Make durable, then feed [`Input::Persisted`].
    Persist {
        /// Names this request.
        token: u64,
        /// What.
        what: Durable,
    },
    /// A new view, at this place in the order.
    View(ViewChange),
    /// An entry, at this place in the order.
    Deliver {
        /// How many entries of this history came before, plus one.
        position: u64,
        /// Who submitted it.
        origin: Member,
        /// The origin's own number for it.
        number: u64,
        /// What was submitted.
        payload: Vec<u8>,
    },
    /// An absent node can act no more; at this place in the order. With [`Proof::Time`] its lease is
    /// over, and the absence lasts: what a lease cannot end may go on. With any other proof it ends.
    Fenced {
        /// Which absence.
        absence: Absence,
        /// How it is known.
        proof: Proof,
    },
    /// Put this to every arbiter of the view's tie-breaker, and feed each answer as
    /// [`Input::Arbiter`]. One that does not answer is not waited for; a newer request replaces an
    /// older one.
    Ask(Request),
    /// Take the state as it is after all outputs before this one, and feed [`Input::Snapshot`]
    /// once all outputs are drained.
    TakeSnapshot,
    /// Take this state instead of the own one; it already contains the view change.
    Restore {
        /// The view that this node is in now.
        change: ViewChange,
        /// The bytes of [`Input::Snapshot`] on the hub.
        state: Vec<u8>,
    },
    /// This node has no part in the primary view any more: stop everything.
    Excluded {
        /// Why, as a sentence for people.
        reason: String,
    },
    /// The view that let this node go is recorded here: the daemon may end.
    Left,
}

/// What is to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Durable {
    /// The newest view of this node, or none when a formation was called off.
    Record(Option<View>),
    /// The payload of an entry that was submitted as durable.
    Entry(Vec<u8>),
}

/// A new view and how it differs from the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewChange {
    /// The view.
    pub view: View,
    /// Members that were not members of the one before.
    pub joined: Vec<Member>,
    /// Members that have left in order, with nothing running.
    pub left: Vec<Member>,
    /// Members that were lost, and, at a formation, configured nodes that are not there.
    pub lost: Vec<Absence>,
    /// There is no state from before.
    pub formed: bool,
}

/// Why a wish was refused. Nothing has changed when one is returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Too many own submissions are on their way; try again when some are delivered.
    Busy,
    /// This node is not in a primary view; the text says what it waits for.
    NoView(String),
    /// A seeded cluster is in reach: this node will join it.
    SeededPeer(NodeId),
    /// That node was heard so long ago and is not down.
    Alive(NodeId, Duration),
    /// The first node is heard by the second one and is not down.
    HeardBy(NodeId, NodeId),
    /// This node has a view already.
    Seeded,
    /// No such node in the configuration.
    UnknownNode(NodeId),
}

/// Why the driver should wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A view change should be started or continued.
    Change,
    /// A joiner has been held down long enough.
    Join,
    /// A fence wait is over.
    Fence,
    /// A formation should be started or called off.
    Form,
}
