//! What a transport is told and what it tells: configuration, inputs, outputs.
//!
//! All types here are plain data. Inputs are owned, so that a driver can write them down and play
//! them again.

use core::fmt;
use core::time::Duration;

use base::{Incarnation, Instant, Medium, Member, NetworkId, NodeId, NodeSet, Timing};

use crate::ring::Watch;

/// Everything a transport needs to know about itself and its peers.
#[derive(Clone)]
pub struct Config {
    /// This node.
    pub local: NodeId,
    /// Which life of this node; grows with each life.
    pub incarnation: Incarnation,
    /// Random for each incarnation, never used twice: keys and nonces depend on it.
    pub session: [u8; 16],
    /// The cluster's number; frames of other clusters are counted and dropped.
    pub cluster: u32,
    /// The cluster keys. Two slots, so that a new key can be spread before it is used.
    pub keys: [Option<[u8; 32]>; 2],
    /// The slot whose key seals what is sent, 0 or 1; its key must be present.
    pub active_key: u8,
    /// Intervals and timeouts.
    pub timing: Timing,
    /// The other nodes and the paths to them.
    pub peers: Vec<PeerConfig>,
}

impl fmt::Debug for Config {
    // By hand, so that no log line can ever contain a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("local", &self.local)
            .field("incarnation", &self.incarnation)
            .field("cluster", &self.cluster)
            .field("active_key", &self.active_key)
            .field("timing", &self.timing)
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

/// A peer and how it can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// The peer; not the local node, and named once.
    pub node: NodeId,
    /// One path for each network that both are on, at most `PATHS_PER_PEER_MAX`.
    pub paths: Vec<PathConfig>,
}

/// One path to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathConfig {
    /// The network it runs over.
    pub network: NetworkId,
    /// What that is made of: disks and serial lines get more time.
    pub medium: Medium,
    /// Whether it carries data.
    pub priority: Priority,
    /// On a network that is monitored as a ring: how many steps up the ring the peer is, counted
    /// from this node through all nodes of the network by address. Nothing in a mesh.
    pub ring: Option<u8>,
    /// To whom heartbeats go; the same for all paths of a network.
    pub heartbeats: Heartbeats,
}

impl PathConfig {
    /// Whether heartbeats go to everybody. A ring has them for single neighbours.
    pub(crate) fn is_shared(&self) -> bool {
        self.heartbeats == Heartbeats::Shared && self.ring.is_none()
    }
}

/// To whom the heartbeats of a network go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heartbeats {
    /// One to each peer.
    #[default]
    Each,
    /// One for all peers, on a medium that carries a frame to everybody.
    Shared,
}

/// What a path is used for. Says nothing about liveness: a peer is lost only when all its paths
/// are dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Heartbeats at the full rate, and data.
    High,
    /// Heartbeats at the low rate; data only while no high path to that peer is usable.
    Low,
}

/// One way from this node to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathId {
    /// Where it leads.
    pub peer: NodeId,
    /// Over which network.
    pub network: NetworkId,
}

/// One of the two independent sequences of messages between two nodes. Each arrives in the order
/// of sending, exactly once; there is no order between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Short and pressing: sent on all usable paths at once, the first to arrive wins.
    Urgent,
    /// Everything else: spread over the usable paths and paced, behind heartbeats and urgent.
    Bulk,
}

impl Lane {
    /// Both lanes, urgent first: the order in which they are sent.
    pub const ALL: [Lane; 2] = [Lane::Urgent, Lane::Bulk];
}

/// What the driver feeds in.
#[derive(Clone, Debug)]
pub enum Input {
    /// The end of one turn of the driver's loop: everything to be sent is sent now, and timers
    /// fire. Feed it after the inputs of a turn, and at [`deadline`](crate::Transport::deadline).
    Turn {
        /// Whether all sockets were read until they were empty. Only then does the turn count as
        /// time in which a peer could have been heard.
        drained: bool,
    },
    /// A datagram as it came.
    Receive {
        /// The network whose socket it was read from.
        network: NetworkId,
        /// All its bytes. The buffer goes to the free list.
        bytes: Vec<u8>,
    },
    /// Queues a message for a peer's present life; sent at the next turn. A message for a peer
    /// of which no life is known is dropped and counted.
    Send {
        /// The peer.
        to: NodeId,
        /// The sequence it belongs to.
        lane: Lane,
        /// At most `MESSAGE_SIZE_MAX` bytes (asserted).
        message: Vec<u8>,
    },
    /// The local interface of a network lost or regained its carrier. Down takes all paths of the
    /// network down at once; up only sends heartbeats, and the paths come back by their echoes.
    Link {
        /// The network.
        network: NetworkId,
        /// Whether it is up.
        up: bool,
    },
    /// Whom to watch on networks that are monitored as rings; everybody until this is told.
    Watch(Watch),
    /// The peer's kernel answered that nobody listens (ICMP port unreachable). A hint: the path is
    /// in trouble at once, but only silence makes it dead.
    Unreachable {
        /// The path on which it came.
        path: PathId,
    },
}

/// What the driver must do or pass on, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this datagram, then hand the buffer back to
    /// [`recycle`](crate::Transport::recycle).
    Transmit {
        /// Which peer, over which network.
        path: PathId,
        /// At most `DATAGRAM_SIZE_MAX` bytes.
        bytes: Vec<u8>,
    },
    /// Send this datagram to everybody on a network, then hand the buffer back as above.
    TransmitAll {
        /// Over which network.
        network: NetworkId,
        /// At most `HEARTBEAT_SIZE_MAX` bytes.
        bytes: Vec<u8>,
    },
    /// An authentic heartbeat of a peer's present life.
    Heard {
        /// Who sent it.
        from: Member,
        /// Over which network it came.
        network: NetworkId,
        /// The newest of our own stamps that it echoes, on our clock, when it is of this life and
        /// no older than the path timeout: the sender heard us at or after that moment.
        echo: Option<Instant>,
        /// With an echo: how old the sender's own evidence of life was when it sent this, where it
        /// gave one.
        evidence_age: Option<Duration>,
        /// Whom the sender reaches both ways, without itself.
        row: NodeSet,
        /// Whether [`report`](crate::Transport::report) now gives other bytes than before.
        report_changed: bool,
    },
    /// A peer can be reached both ways.
    Connected {
        /// Which life of it.
        peer: Member,
    },
    /// A peer that was connected is not any more.
    Lost {
        /// Which life of it.
        peer: Member,
        /// Why.
        why: LostReason,
    },
    /// The next message of a lane.
    Message {
        /// Who sent it; connected.
        from: Member,
        /// The sequence it belongs to.
        lane: Lane,
        /// As it was given to `Send`.
        message: Vec<u8>,
    },
    /// A path changed its state, or became known to be broken in another direction.
    PathChanged {
        /// Which path.
        path: PathId,
        /// Its state now.
        state: PathState,
        /// The direction that does not work, where that is known; nothing for an alive path.
        direction: Option<Direction>,
    },
    /// A peer's guard declared that this life is over and that nothing of it runs. A `Lost` of
    /// the same life follows when it was connected.
    Goodbye {
        /// Which life ended.
        from: Member,
    },
}

/// Why a peer is not connected any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LostReason {
    /// All its paths are dead. Its channel is kept: when this life comes back, what was queued is
    /// delivered as if nothing had been.
    Silent,
    /// A newer life of it took over; what was queued for the old one is dropped.
    Superseded,
    /// Neither end watches the other on the paths that are left (see [`Watch`]). The channel is
    /// kept.
    Unwatched,
    /// Its guard said goodbye for it.
    Goodbye,
    /// More was sent to it than a lane may hold. Its channel is replaced by a new one, on which
    /// this life may connect again: messages are missing between the two.
    Overflow,
    /// The peer replaced its end of the channel, for overflow or because we had been removed from
    /// its configuration meanwhile. As after `Overflow`, messages are missing.
    Reset,
    /// It was removed from the configuration.
    Removed,
}

impl LostReason {
    /// Whether the channel outlives this: a later `Connected` of the same life continues it.
    #[must_use]
    pub const fn keeps_channel(self) -> bool {
        matches!(self, LostReason::Silent | LostReason::Unwatched)
    }

    /// One sentence for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            LostReason::Silent => "nothing was heard from it on any path",
            LostReason::Unwatched => "no path to it is watched",
            LostReason::Superseded => "a newer life of this node took over",
            LostReason::Goodbye => "its guard said goodbye",
            LostReason::Overflow => "it did not take its messages, and the queue is full",
            LostReason::Reset => "it started the channel to us anew",
            LostReason::Removed => "it was removed from the configuration",
        }
    }
}

/// How well a path works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathState {
    /// Both directions work.
    Alive,
    /// Silent for a while, or reported unreachable: no data, heartbeats go on.
    Trouble,
    /// Silent for the whole timeout, never heard, or its link is down.
    Dead,
    /// On a ring, and neither end watches the other: nothing is known and nothing is sent. Or just
    /// woken, and not known yet.
    Resting,
}

/// The direction of a path that does not work, as seen from this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Nothing arrives from the peer.
    Incoming,
    /// The peer is heard but does not hear us.
    Outgoing,
    /// Neither hears the other (the peer said so over another path).
    Both,
}

/// What [`deadline`](crate::Transport::deadline) is for. All of them want an `Input::Turn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Queued messages or acknowledgements want to be sent.
    Flush,
    /// A heartbeat is due.
    Heartbeat,
    /// A fragment was not acknowledged in time.
    Retransmit,
    /// A path has been silent for long.
    Silence,
    /// The patient clock must be advanced.
    Turn,
}

/// Largest number of bytes queued in a lane while it is
/// [writable](crate::Transport::is_writable). A lane may hold twice as much, or one message more,
/// before its channel breaks.
#[must_use]
pub const fn window(lane: Lane) -> usize {
    match lane {
        Lane::Urgent => 1 << 20,
        Lane::Bulk => 4 << 20,
    }
}

/// The longest that bulk data waits between two bursts to one peer.
pub(crate) const PACE_INTERVAL: Duration = Duration::from_millis(1);
/// Datagrams of bulk data to one peer in one burst.
pub(crate) const BURST_DATAGRAMS_MAX: usize = 32;
