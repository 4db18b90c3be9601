//! One node as one state machine: transport, group, engine and network composed, without I/O.
//!
//! **Start reading here.** The daemon and the simulator drive exactly this type: what ships is
//! what is simulated.
//!
//! ```text
//!          datagrams                    service addresses, frames        processes
//!              │ ▲                                 │ ▲                      │ ▲
//!  ┌───────────▼─┴──────────┐             ┌────────▼─┴────────┐             │ │
//!  │ transport              │             │ network           │             │ │
//!  │ who can be reached     │             │ where they sit    │             │ │
//!  └─┬──────────────────▲───┘             └────────▲─┬────────┘             │ │
//!    │ heard, messages  │ send                     │ │ claimed, lost        │ │
//!  ┌─▼──────────────────┴───┐  views, entries  ┌───┴─▼──────────────────────▼─┴──┐
//!  │ group                  ├─────────────────►│ engine                          │
//!  │ one view, one order,   │◄─────────────────┤ what should run where, and why  │
//!  │ who may act            │  submit          └─────────────────────────────────┘
//!  └────────────────────────┘
//! ```
//!
//! Each layer takes one input at a time and is drained before it gets the next; what comes out of
//! one goes to the others in the order in which it came out. The driver's loop is: read all
//! sockets (`Receive`), feed what else happened, then `Turn`, and carry out the outputs in order.
//!
//! **Lives.** A node that was left out of a view stops everything, takes a new incarnation, makes
//! it durable, and starts over with a new transport, group and engine: it "is reborn" in the same
//! process. So every joiner is a new member, and nobody votes twice.
//!
//! **Invariant:** nothing here knows what a socket, a file or a clock is.

mod config;
mod fencing;
mod machine;
mod report;
mod status;

use core::net::IpAddr;
use std::collections::BTreeSet;

use base::{Incarnation, NetworkId, NodeId, View};

pub use config::{Birth, Cluster, LocalEnd, NetworkSpec, Standby};
pub use fencing::{
    FenceAnswer, FenceLevel, FencePolicy, FenceRecord, FenceRun, FenceSpec, FenceState, FenceVerb,
};
pub use machine::Node;
pub use report::Report;
pub use status::{PeerReport, Status};

/// Bytes that a driver may tell another one at a time.
pub const TELL_SIZE_MAX: usize = 16 << 10;

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The end of one turn of the driver's loop.
    Turn {
        /// Whether all sockets were read until they were empty.
        drained: bool,
    },
    /// A datagram as it came.
    Receive {
        /// The network whose socket it was read from.
        network: NetworkId,
        /// All its bytes.
        bytes: Vec<u8>,
    },
    /// A peer's kernel says that nobody listens.
    Unreachable(transport::PathId),
    /// What [`Output::Persist`] asked for is on the disk.
    Persisted(u64),
    /// Interfaces, frames and outcomes for the addresses. Claims and releases come from the
    /// engine, not from here.
    Network(network::Input),
    /// What came of an [`Output::Process`].
    Acted {
        /// Which act.
        id: engine::ActionId,
        /// What came of it.
        outcome: engine::Outcome,
    },
    /// A process of a service has ended by itself.
    ResourceChanged {
        /// The service.
        service: String,
        /// The resource.
        resource: String,
        /// What happened.
        change: engine::ResourceChange,
    },
    /// Somebody wants something; answered by [`Output::Answer`].
    Command {
        /// Names the answer.
        request: u64,
        /// What.
        command: Command,
    },
    /// Say something to a peer's driver; it comes out there as [`Output::Told`]. Arrives in order
    /// and once, or not at all when the peer cannot be reached or has another life meanwhile: who
    /// wants an answer waits for it with a limit. At most [`TELL_SIZE_MAX`] bytes (asserted).
    Tell {
        /// The peer.
        to: NodeId,
        /// Whatever the drivers agreed on.
        bytes: Vec<u8>,
    },
    /// What the arbiter of that number answers to an [`Output::Ask`].
    Arbiter(u8, group::Reply),
    /// What came of an [`Output::Fence`].
    Fence {
        /// Which run.
        run: u64,
        /// What the agent says.
        answer: FenceAnswer,
    },
    /// What the watchdog of this machine does; [`engine::Watchdog::Absent`] until something else is
    /// said.
    Watchdog(engine::Watchdog),
    /// The networks of this node on which none of the configured gateways answers; none of them until
    /// something else is said.
    Gateways(BTreeSet<NetworkId>),
    /// The configuration that [`Output::Configured`] announced, as read from its text.
    Configured(Box<Cluster>),
}

/// What people can ask a node for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Something about services, nodes or the configuration.
    Engine(engine::Command),
    /// Form a view of the nodes present.
    Seed,
    /// Move everything away, leave the view, end.
    Leave,
    /// That node is down: believe it.
    ConfirmDown(NodeId),
    /// Turn the machine of that node off, and see that it is off.
    FenceOff(NodeId),
    /// Turn it on.
    FenceOn(NodeId),
    /// Turn it off and on again: refused unless it is in standby and runs nothing.
    FenceReset(NodeId),
    /// Stop everything here and end, whether the others let this node go or not.
    Quit,
}

/// What the driver must do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a datagram, and hand the buffer back with [`Node::recycle`].
    Transmit {
        /// To whom, over which network.
        path: transport::PathId,
        /// All its bytes.
        bytes: Vec<u8>,
    },
    /// Send a datagram to everybody on a network, and hand the buffer back likewise.
    TransmitAll {
        /// Over which network.
        network: NetworkId,
        /// All its bytes.
        bytes: Vec<u8>,
    },
    /// Make durable, then feed [`Input::Persisted`]. Requests are carried out in order.
    Persist {
        /// Names this request.
        token: u64,
        /// What.
        what: Durable,
    },
    /// Put this to every arbiter of the tie-breaker, and feed each answer as [`Input::Arbiter`].
    /// A newer request replaces an older one.
    Ask(group::Request),
    /// Run a fence agent, and feed what it says as [`Input::Fence`].
    Fence(FenceRun),
    /// End that run of a fence agent, if it still runs; it needs no answer any more.
    FenceStop(u64),
    /// A storage service waits for the watchdog: arm it, and feed [`Input::Watchdog`].
    ArmWatchdog,
    /// One level of fence agents was tried; for the history.
    FenceRecord(FenceRecord),
    /// Something to do about addresses.
    Network(network::Output),
    /// Something to do about a process or a mount.
    Process(engine::Act),
    /// The answer to a command.
    Answer {
        /// Of which.
        request: u64,
        /// A sentence about what happens now, or why nothing does.
        result: Result<String, Refused>,
    },
    /// A line for the journal: a decision and its reasons.
    Note(engine::Note),
    /// A line for the journal: something happened to this node or its peers.
    Event(Event),
    /// Another configuration is in force. Write it down, read it, and feed
    /// [`Input::Configured`].
    Configured {
        /// Its version.
        version: u64,
        /// Its checksum.
        checksum: u64,
        /// The file.
        text: String,
    },
    /// A peer's driver said something with [`Input::Tell`].
    Told {
        /// Who.
        from: base::Member,
        /// What.
        bytes: Vec<u8>,
    },
    /// Datagrams for the guard to send when this life is over and nothing runs.
    Goodbyes(Vec<(transport::PathId, Vec<u8>)>),
    /// This node has left: nothing runs here, the process may end.
    Left,
}

/// What is to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Durable {
    /// The node's own memory; replaces what was there.
    State {
        /// The newest life.
        incarnation: Incarnation,
        /// The newest view.
        record: Option<View>,
    },
    /// An entry that changes the configuration, before it is agreed on.
    Entry(Vec<u8>),
}

/// Why a command was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What sort of reason.
    pub kind: RefusedKind,
    /// The reason, for people.
    pub sentence: String,
}

/// Sorts of refusals, for exit codes and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedKind {
    /// This node is not in a primary view.
    NoView,
    /// No such service or node.
    Unknown,
    /// Too much at once.
    Busy,
    /// The configuration has changed meanwhile.
    Stale,
    /// Not in the present situation.
    NotNow,
}

/// Something happened to this node or its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What sort of thing.
    pub kind: EventKind,
    /// The other node, where one is concerned; this one, where its interfaces are.
    pub node: Option<NodeId>,
    /// For people.
    pub sentence: String,
    /// For programs, where it is about a network.
    pub about: About,
}

/// What an event about a network says to programs. What does not belong to its sort is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The network.
    pub network: Option<String>,
    /// The interface that addresses left.
    pub from: Option<String>,
    /// The interface that they went to.
    pub to: Option<String>,
    /// The standby.
    pub interface: Option<String>,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// Why, in a few words.
    pub why: Option<String>,
    /// Why it could not be done.
    pub failure: Option<String>,
    /// The nodes that the network failed on alone; none of them when it failed for all.
    pub nodes: Vec<NodeId>,
}

/// Sorts of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    /// A path came up, went down, or is in trouble.
    Path,
    /// A peer can be reached, or cannot any more.
    Peer,
    /// A view was installed.
    View,
    /// An absent node counts as fenced.
    Fenced,
    /// Fence agents are at work, or were.
    Fencing,
    /// This node was left out.
    Excluded,
    /// This node has taken a new incarnation.
    Reborn,
    /// A service address is in conflict.
    Conflict,
    /// Something about this node's interfaces.
    Interface,
    /// This node's own addresses in a network went from one of its interfaces to another, or could not.
    SwapAdapter,
    /// An interface of this node has become of use as a standby.
    JoinStandby,
    /// An interface of this node is of no use as a standby.
    FailStandby,
    /// A network has failed for some nodes, or for all.
    NetworkDown,
    /// A network works again.
    NetworkUp,
}

impl EventKind {
    /// For people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::Path => "path",
            EventKind::Peer => "peer",
            EventKind::View => "view",
            EventKind::Fenced => "fenced",
            EventKind::Fencing => "fencing",
            EventKind::Excluded => "excluded",
            EventKind::Reborn => "reborn",
            EventKind::Conflict => "conflict",
            EventKind::Interface => "interface",
            EventKind::SwapAdapter => "swap_adapter",
            EventKind::JoinStandby => "join_standby",
            EventKind::FailStandby => "fail_standby",
            EventKind::NetworkDown => "network_down",
            EventKind::NetworkUp => "network_up",
        }
    }
}

/// Why the driver should wake up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Heartbeats, retransmissions, silence.
    Transport,
    /// View changes, joins, fences.
    Group,
    /// Addresses.
    Network,
    /// Acts that take too long.
    Engine,
    /// Fence agents that take too long or are to be tried again, watchdogs of lost machines.
    Fencing,
}

#[cfg(test)]
mod tests;
