//! What can be known about paths and peers: quality figures, counters, and the status made of
//! them.
//!
//! - **Round trip** from echoes: now − echoed stamp − how long the peer held it. Smoothed as in
//!   RFC 6298 §2.3 (one eighth of each new sample).
//! - **Loss** per direction from gaps in the frame counters, in blocks of [`LOSS_BLOCK`] frames,
//!   smoothed by a quarter. The receiver measures; its heartbeats tell the sender.
//! - **Jitter** as in RFC 3550 §6.4.1: the smoothed difference of transit times of neighbouring
//!   frames (one sixteenth of each new sample). The two clocks' offset cancels.
//!
//! Everything is integers: microseconds and permille.

use core::time::Duration;

use base::{Incarnation, Instant, Member, NodeId, NodeSet};

use crate::config::{Direction, Lane, PathId, PathState, Priority};

/// Frames after which a new figure of loss is made.
pub(crate) const LOSS_BLOCK: u64 = 32;

/// Something that was wrong with a frame or a request, and is counted instead of reported each
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Count {
    /// Not a frame, or an authentic one with a body that cannot be read.
    Malformed,
    /// Another cluster's number.
    WrongCluster,
    /// The sender's versions and ours do not overlap.
    Version,
    /// Not sealed with our key.
    WrongKey,
    /// A frame that was received before.
    Replay,
    /// A frame of a life of the sender that is over, or that gives no proof of being lived now.
    EarlierLife,
    /// Two machines run under one node number.
    DuplicateNodeId,
    /// A frame of our own came back.
    Reflected,
    /// A frame for another node.
    Misdirected,
    /// A frame came over another network than it was sent on.
    Crossed,
    /// A frame from a node, or over a network, that is not configured.
    UnknownPath,
    /// A fragment came beyond the window or twice.
    Surplus,
    /// A message for a peer of which no life is known.
    Unsendable,
}

impl Count {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Count; 13] = [
        Count::Malformed,
        Count::WrongCluster,
        Count::Version,
        Count::WrongKey,
        Count::Replay,
        Count::EarlierLife,
        Count::DuplicateNodeId,
        Count::Reflected,
        Count::Misdirected,
        Count::Crossed,
        Count::UnknownPath,
        Count::Surplus,
        Count::Unsendable,
    ];

    /// The name used by metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Count::Malformed => "malformed",
            Count::WrongCluster => "wrong_cluster",
            Count::Version => "version",
            Count::WrongKey => "wrong_key",
            Count::Replay => "replay",
            Count::EarlierLife => "earlier_life",
            Count::DuplicateNodeId => "duplicate_node_id",
            Count::Reflected => "reflected",
            Count::Misdirected => "misdirected",
            Count::Crossed => "crossed",
            Count::UnknownPath => "unknown_path",
            Count::Surplus => "surplus",
            Count::Unsendable => "unsendable",
        }
    }

    /// What it means and what to do about it, in one sentence.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Count::Malformed => {
                "Datagrams that are no frames of ours arrived; something else sends to this port."
            }
            Count::WrongCluster => {
                "Frames of another cluster arrived; two clusters share a network and a port."
            }
            Count::Version => {
                "A node speaks no protocol version that this one speaks; upgrade the older of the two."
            }
            Count::WrongKey => {
                "Frames could not be opened; the sender has another cluster key, or frames are forged or damaged."
            }
            Count::Replay => "Frames arrived twice; the network duplicates, or somebody replays.",
            Count::EarlierLife => {
                "Frames of an earlier life of a node arrived late or were replayed."
            }
            Count::DuplicateNodeId => {
                "Two machines run under the same node number; stop one and correct its configuration."
            }
            Count::Reflected => {
                "Our own frames came back; a switch loops, or an address is configured twice."
            }
            Count::Misdirected => {
                "Frames for another node arrived; an address is configured on the wrong node."
            }
            Count::Crossed => {
                "Frames arrived over another network than they were sent on; cables or VLANs are crossed."
            }
            Count::UnknownPath => {
                "Frames came from a node or over a network that is not in the configuration."
            }
            Count::Surplus => {
                "Fragments arrived that were not needed any more, as is normal for retransmissions and urgent messages."
            }
            Count::Unsendable => {
                "Messages were dropped, because no life of their receiver is known."
            }
        }
    }
}

/// A count with its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// What is counted.
    pub kind: Count,
    /// How often it happened since start.
    pub count: u64,
}

impl Counter {
    /// What it means, in one sentence.
    #[must_use]
    pub const fn text(&self) -> &'static str {
        self.kind.text()
    }
}

/// A table of all counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters([u64; Count::ALL.len()]);

impl Counters {
    pub(crate) fn add(&mut self, kind: Count) {
        self.0[kind as usize] += 1;
    }

    pub(crate) fn all(&self) -> Vec<Counter> {
        Count::ALL.into_iter().map(|kind| Counter { kind, count: self.0[kind as usize] }).collect()
    }

    pub(crate) fn nonzero(&self) -> Vec<Counter> {
        self.all().into_iter().filter(|counter| counter.count > 0).collect()
    }
}

/// Round-trip times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// The newest.
    pub last: u32,
    /// The least since the present life of the peer began.
    pub min: u32,
    /// Smoothed.
    pub average: u32,
    /// The greatest since the present life of the peer began.
    pub max: u32,
}

impl RoundTrip {
    pub(crate) fn add(this: &mut Option<RoundTrip>, sample: u32) {
        match this {
            None => {
                *this = Some(RoundTrip { last: sample, min: sample, average: sample, max: sample });
            }
            Some(trip) => {
                trip.last = sample;
                trip.min = trip.min.min(sample);
                trip.max = trip.max.max(sample);
                let smoothed = (u64::from(trip.average) * 7 + u64::from(sample)) / 8;
                trip.average = u32::try_from(smoothed).expect("a mean of two u32 fits");
            }
        }
    }
}

/// How well one direction of a path works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// Frames lost, of a thousand.
    pub loss_permille: u16,
    /// Smoothed variation of the transit time, in microseconds.
    pub jitter: u32,
}

/// Measures the incoming direction of one path.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    pub(crate) quality: Quality,
    /// Sixteen times the jitter in nanoseconds, so that small samples are not rounded away.
    jitter_x16: u64,
    /// Counter and number of arrivals at the start of the present block.
    block_start: Option<u64>,
    block_received: u64,
    highest: u64,
    /// Arrival minus stamp of the frame before, modulo 2^64: two unrelated clocks.
    transit: Option<u64>,
}

impl Meter {
    /// Notes an authentic frame that was not received before.
    pub(crate) fn received(&mut self, now: Instant, counter: u64, stamp: u64) {
        let start = *self.block_start.get_or_insert(counter);
        self.block_received += 1;
        self.highest = self.highest.max(counter);
        let expected = (self.highest + 1).saturating_sub(start);
        if expected >= LOSS_BLOCK {
            let lost = expected.saturating_sub(self.block_received);
            let permille = u128::from(lost) * 1000 / u128::from(expected);
            let smoothed = (u128::from(self.quality.loss_permille) * 3 + permille) / 4;
            self.quality.loss_permille = u16::try_from(smoothed).expect("at most 1000");
            self.block_start = Some(self.highest + 1);
            self.block_received = 0;
        }
        let transit = now.as_nanos().wrapping_sub(stamp);
        if let Some(before) = self.transit.replace(transit) {
            let forward = transit.wrapping_sub(before);
            let difference = forward.min(forward.wrapping_neg());
            self.jitter_x16 = (self.jitter_x16 - self.jitter_x16 / 16).saturating_add(difference);
            self.quality.jitter = u32::try_from(self.jitter_x16 / 16_000).unwrap_or(u32::MAX);
        }
    }
}

/// The worst of the last minute, in six pieces of ten seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorstGap {
    worst: [Duration; 6],
    piece: u64,
}

impl WorstGap {
    pub(crate) fn add(&mut self, now: Instant, gap: Duration) {
        let piece = now.as_nanos() / 10_000_000_000;
        for expired in (self.piece + 1..=piece).take(self.worst.len()) {
            self.worst[(expired % 6) as usize] = Duration::ZERO;
        }
        // A jump over more than a minute leaves all pieces cleared above.
        self.piece = self.piece.max(piece);
        let slot = &mut self.worst[(self.piece % 6) as usize];
        *slot = (*slot).max(gap);
    }

    pub(crate) fn worst(&self) -> Duration {
        self.worst.into_iter().max().unwrap_or_default()
    }
}

/// What is known of all peers and paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node in its present life.
    pub local: Member,
    /// The longest gap between two turns of the last minute.
    pub lag: Duration,
    /// All configured peers, by number.
    pub peers: Vec<PeerStatus>,
    /// All counts, over all paths.
    pub counters: Vec<Counter>,
}

/// What is known of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The peer.
    pub node: NodeId,
    /// The life of it that counts, connected or not.
    pub incarnation: Option<Incarnation>,
    /// Whether it can be reached both ways.
    pub connected: bool,
    /// Another life of it that is heard and must still prove itself.
    pub candidate: Option<Incarnation>,
    /// Whom it reaches both ways, by its own word.
    pub row: NodeSet,
    /// When the newest authentic frame of this life came.
    pub last_received: Option<Instant>,
    /// The paths to it, by network.
    pub paths: Vec<PathStatus>,
    /// The two lanes of its channel.
    pub lanes: [LaneStatus; 2],
}

/// What is known of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStatus {
    /// Which path.
    pub path: PathId,
    /// As configured.
    pub priority: Priority,
    /// Whether it carries data now.
    pub carries_data: bool,
    /// Whether it is of low priority and carries data now, for want of a high path.
    pub promoted: bool,
    /// How well it works.
    pub state: PathState,
    /// The direction that does not work, where known.
    pub direction: Option<Direction>,
    /// Whether the local interface has a carrier, as last told.
    pub link_up: bool,
    /// For a path that is not alive: good echoes still wanted before it is. More than three for
    /// a path that kept changing.
    pub echoes_wanted: Option<u32>,
    /// For a path that is heard and kept out of use because it kept changing: how long it takes at
    /// most until it counts again, if nothing more happens.
    pub damped: Option<Duration>,
    /// Round-trip times.
    pub round_trip: Option<RoundTrip>,
    /// From the peer to us, as measured here.
    pub incoming: Quality,
    /// From us to the peer, as the peer measures it.
    pub outgoing: Quality,
    /// When the newest authentic frame of the peer's present life came over it.
    pub last_heard: Option<Instant>,
    /// Counts of this path that are not zero.
    pub counters: Vec<Counter>,
}

/// What is known of one lane of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStatus {
    /// Which lane.
    pub lane: Lane,
    /// Bytes queued or not acknowledged.
    pub queued: usize,
    /// Fragments sent and not acknowledged.
    pub in_flight: usize,
    /// Fragments sent again since this channel began.
    pub retransmitted: u64,
}
