//! Paths to the other nodes, and one reliable channel to each: who can be reached, and how well.
//!
//! ```text
//!              Send ▼      ▲ Message, Connected, Lost, Heard, Goodbye
//!   ┌──────────────────────┴────────────────────────────────────────┐
//!   │ Transport   lib.rs: one input in, outputs out; the two clocks │
//!   │                                                               │
//!   │  Peer  peer.rs: which life counts, connected or lost          │
//!   │   ├─ Session    session.rs: keys, replay windows, echoes      │
//!   │   ├─ Channel    channel.rs, fragment.rs: messages ⇄ fragments │
//!   │   ├─ Path ×n    path.rs: alive, trouble, dead; stats.rs       │
//!   │   └─            sending.rs: what leaves, over which path      │
//!   │  Round ×n  shared.rs: one heartbeat for all on a wire         │
//!   │                                                               │
//!   │  Local  local.rs: who we are, buffers     wire.rs    seal.rs  │
//!   └──────────────────────┬────────────────────────────────────────┘
//!          Transmit ▼      ▲ Receive, Link, Unreachable, Turn
//! ```
//!
//! The layer answers one question for those above, whom do I reach *both ways*, and carries their
//! messages to whom it reaches. It decides nothing: a lost peer is a fact about paths, not a
//! verdict about a node.
//!
//! **The echo rule** carries everything. Each frame is stamped and echoes the newest stamp that
//! came over its path. Only a frame that echoes a recent stamp of this life of ours is evidence of
//! anything. So replayed, late, reflected and foreign frames count for nothing without any
//! handshake, every path is two-way or it is dead, and the layers above can hand out leases on the
//! strength of a stamp that came back.
//!
//! **Two clocks.** Silence of others is counted on the patient clock, which advances only in turns
//! that ran and drained their sockets, by at most two turns each. So a node that was stopped
//! declares nobody dead in its first turn. Stamps and ages are on the strict clock.
//!
//! **Assumed of the driver:** it feeds `Turn` after each round of inputs and at the deadline at the
//! latest, gives time that does not go back, and sends outputs in their order. Losing, doubling
//! and reordering datagrams is fine.
//!
//! **Bounded:** two lives of each peer, 64 unknown sessions, 256 fragments each way and lane, the
//! byte windows ([`window`]), one message under construction per lane.
//!
//! Sources: the protocol paper §3.2, 3.3 and 3.9; RFCs at the places where they are used.

mod channel;
mod config;
mod crc;
pub mod disk;
mod fragment;
mod local;
mod path;
mod peer;
mod ring;
mod seal;
mod sending;
mod session;
mod shared;
mod stats;
mod wire;

pub mod serial;

#[cfg(test)]
mod tests;

use core::time::Duration;

use base::limits::{MESSAGE_SIZE_MAX, PATHS_PER_PEER_MAX, REPORT_SIZE_MAX};
use base::{Incarnation, Instant, Member, NetworkId, NodeId, NodeSet, Prng};

pub use config::{
    Config, Direction, Heartbeats, Input, Lane, LostReason, Output, PathConfig, PathId, PathState,
    PeerConfig, Priority, Timer, window,
};
pub use ring::Watch;
pub use stats::{Count, Counter, LaneStatus, PathStatus, PeerStatus, Quality, RoundTrip, Status};
pub use wire::{is_for, is_pressing, network_of, source_of};

use local::Local;
use path::{Moment, Patient};
use peer::Peer;
use seal::Key;
use session::SessionKeys;
use stats::WorstGap;
use wire::{HEADER_SIZE, Header, HeaderError, Kind};

/// Bulk datagrams of one turn, to all peers together.
const BULK_DATAGRAMS_PER_TURN_MAX: usize = 64;

/// The transport of one node in one life. A new life needs a new one, with another session.
#[derive(Debug)]
pub struct Transport {
    local: Local,
    /// By node.
    peers: Vec<Peer>,
    /// The last input, and the last turn, on the strict clock.
    now: Instant,
    turned: Instant,
    patient: Patient,
    watch: Watch,
    gaps: WorstGap,
    /// Which peer sends bulk data first in the next turn.
    first: usize,
}

impl Transport {
    /// A transport that knows no life of any peer yet. `now` is when this life begins; heartbeats
    /// are due at once.
    #[must_use]
    pub fn new(config: Config, prng: Prng, now: Instant) -> Transport {
        let mut transport = Transport {
            local: Local::new(&config, prng, now),
            peers: Vec::new(),
            now,
            turned: now,
            patient: Patient::default(),
            watch: Watch::default(),
            gaps: WorstGap::default(),
            first: 0,
        };
        transport.reconfigure(now, config.peers);
        transport
    }

    /// Feeds one input. Never fails: what peers send is checked, counted and dropped.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let at = self.begin(now);
        match input {
            Input::Turn { drained } => self.turn(now, drained),
            Input::Receive { network, mut bytes } => {
                self.receive(at, network, &mut bytes);
                self.local.recycle(bytes);
            }
            Input::Send { to, lane, message } => {
                assert!(message.len() <= MESSAGE_SIZE_MAX, "message sizes are checked above");
                if let Some(place) = self.find(to) {
                    self.peers[place].send(at, &mut self.local, lane, message);
                    self.peers[place].plan(at, &self.local.timing);
                } else {
                    // Removed from the configuration while a layer above still knows it.
                    self.local.counters.add(Count::Unsendable);
                }
            }
            Input::Link { network, up } => self.link(at, network, up),
            Input::Watch(watch) => self.watch(at, watch),
            Input::Unreachable { path } => {
                if let Some((place, index)) = self.find_path(path.peer, path.network) {
                    self.peers[place].unreachable(at, &mut self.local, index);
                    self.peers[place].plan(at, &self.local.timing);
                }
            }
        }
    }

    /// What to do next, until there is nothing more.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.local.outputs.pop_front()
    }

    /// When to feed `Input::Turn` at the latest, and what for. None without peers.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        let due = self.peers.iter().map(|peer| peer.due).min()?;
        let due = self.round_due().map_or(due, |round| due.min((round, Timer::Heartbeat)));
        Some(due.min((self.turned + self.local.timing.turn(), Timer::Turn)))
    }

    /// Sets what heartbeats tell each peer from now on, at most `REPORT_SIZE_MAX` bytes.
    pub fn set_report(&mut self, report: &[u8]) {
        assert!(report.len() <= REPORT_SIZE_MAX, "reports are built to fit");
        self.local.report.clear();
        self.local.report.extend_from_slice(report);
        self.local.report_name = wire::report_name(report);
        self.local.report_since = self.now;
    }

    /// Sets the moment whose age heartbeats tell from now on: how new this node's own evidence is.
    /// Nothing when it may not be relied on.
    pub fn set_evidence(&mut self, evidence: Option<Instant>) {
        self.local.evidence = evidence;
    }

    /// The newest report of the peer's present life.
    #[must_use]
    pub fn report(&self, peer: NodeId) -> Option<&[u8]> {
        self.peers[self.find(peer)?].report()
    }

    /// The peers connected now, without this node.
    #[must_use]
    pub fn row(&self) -> NodeSet {
        self.local.row
    }

    /// The life of a peer that is connected now.
    #[must_use]
    pub fn connected(&self, peer: NodeId) -> Option<Member> {
        let peer = &self.peers[self.find(peer)?];
        peer.member().filter(|_| peer.connected)
    }

    /// The life of a peer that is connected, or to which a path rests: a message wakes it.
    #[must_use]
    pub fn within_reach(&self, peer: NodeId) -> Option<Member> {
        let peer = &self.peers[self.find(peer)?];
        let rests = || peer.paths.iter().any(path::Path::is_resting);
        peer.member().filter(|_| peer.connected || rests())
    }

    /// When the newest authentic frame of the peer's present life came, connected or not.
    #[must_use]
    pub fn last_received(&self, peer: NodeId) -> Option<(Incarnation, Instant)> {
        let session = self.peers[self.find(peer)?].current.as_ref()?;
        Some((session.incarnation, session.heard))
    }

    /// Whether a lane to a peer holds less than its [`window`]. A message sent while it does not
    /// is still queued, up to twice the window; one more breaks the channel
    /// ([`LostReason::Overflow`]).
    #[must_use]
    pub fn is_writable(&self, peer: NodeId, lane: Lane) -> bool {
        self.find(peer).is_some_and(|place| {
            let peer = &self.peers[place];
            peer.member().is_some() && peer.channel.outgoing[lane as usize].is_writable()
        })
    }

    /// Frames for the guard, one per path, sealed in advance: they tell each peer that this life is
    /// over and nothing of it runs. Seal them anew after a change of paths or keys.
    pub fn goodbye_frames(&mut self) -> Vec<(PathId, Vec<u8>)> {
        let mut frames = Vec::new();
        for peer in &mut self.peers {
            peer.goodbyes(&mut self.local, &mut frames);
        }
        frames
    }

    /// Adds and removes peers and paths; all others are untouched. Outputs may follow.
    pub fn reconfigure(&mut self, now: Instant, peers: Vec<PeerConfig>) {
        let at = self.begin(now);
        for (place, peer) in peers.iter().enumerate() {
            let networks = || peer.paths.iter().map(|path| path.network);
            let is_first = |(place, network)| !networks().take(place).any(|other| other == network);
            assert!(peer.node != self.local.node, "a node is no peer of itself");
            assert!(peers[..place].iter().all(|other| other.node != peer.node), "named twice");
            assert!(peer.paths.len() <= PATHS_PER_PEER_MAX, "too many paths to one peer");
            assert!(networks().enumerate().all(is_first), "one path for each network");
        }
        let local = &mut self.local;
        self.peers.retain_mut(|peer| {
            let stays = peers.iter().any(|config| config.node == peer.node);
            if !stays {
                peer.lose(local, LostReason::Removed);
                peer.paths.iter().for_each(|path| local.retire(path));
            }
            stays
        });
        for config in &peers {
            match self.peers.iter_mut().find(|peer| peer.node == config.node) {
                Some(peer) => peer.set_paths(at, local, &config.paths),
                None => self.peers.push(Peer::new(at, local, config)),
            }
        }
        self.peers.sort_by_key(|peer| peer.node);
        self.set_rounds(now);
        self.watch(at, self.watch);
    }

    /// Replaces the cluster keys and the slot whose key seals. Nothing goes down as long as each
    /// node has the key that the others seal with.
    pub fn set_keys(&mut self, keys: [Option<[u8; 32]>; 2], active: u8) {
        let changed = self.local.set_keys(keys, active);
        for slot in (0..changed.len()).filter(|&slot| changed[slot]) {
            self.peers.iter_mut().for_each(|peer| peer.forget_key(slot));
        }
    }

    /// An empty buffer with room for a datagram, for the driver to receive into. With it, and with
    /// [`Transport::recycle`], buffers only circulate.
    #[must_use]
    pub fn take_buffer(&mut self) -> Vec<u8> {
        self.local.take_buffer()
    }

    /// Takes the buffer of a datagram that was sent.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.local.recycle(buffer);
    }

    /// The longest gap between two turns in the last minute.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.gaps.worst()
    }

    /// All that is known of peers and paths.
    #[must_use]
    pub fn status(&self) -> Status {
        let at = Moment { now: self.now, patient: self.patient };
        Status {
            local: self.local.member(),
            lag: self.lag(),
            peers: self.peers.iter().map(|peer| peer.status(at, &self.local.timing)).collect(),
            counters: self.local.counters.all(),
        }
    }

    fn begin(&mut self, now: Instant) -> Moment {
        assert!(self.local.outputs.is_empty(), "outputs are drained before the next input");
        assert!(now >= self.now, "time does not go back");
        self.now = now;
        Moment { now, patient: self.patient }
    }

    fn find(&self, node: NodeId) -> Option<usize> {
        self.peers.binary_search_by_key(&node, |peer| peer.node).ok()
    }

    fn find_path(&self, node: NodeId, network: NetworkId) -> Option<(usize, usize)> {
        let place = self.find(node)?;
        let is = |path: &path::Path| path.id.network == network;
        Some((place, self.peers[place].paths.iter().position(is)?))
    }

    fn turn(&mut self, now: Instant, drained: bool) {
        let gap = now.since(self.turned);
        self.gaps.add(now, gap);
        self.turned = now;
        if drained {
            self.patient.advance(gap.min(self.local.timing.turn() * 2));
        }
        let at = Moment { now, patient: self.patient };
        if core::mem::take(&mut self.local.row_changed) {
            // Whom a node reaches decides who leads a change: all learn it at once, whatever the
            // interval of the path.
            for peer in &mut self.peers {
                let beating =
                    peer.paths.iter_mut().filter(|path| path.beats(at, &self.local.timing));
                let beating = beating.filter(|path| !path.is_shared);
                beating.for_each(|path| path.hurry(now, &self.local.timing));
                peer.plan(at, &self.local.timing);
            }
            self.hurry_rounds(now, None);
        }
        self.send_rounds(at);
        let local = &mut self.local;
        for peer in self.peers.iter_mut().filter(|peer| peer.due.0 <= now) {
            peer.send_first(at, local);
        }
        local.bulk_left = BULK_DATAGRAMS_PER_TURN_MAX;
        self.first = if self.first < self.peers.len() { self.first + 1 } else { 0 };
        let (later, sooner) = self.peers.split_at_mut(self.first);
        for peer in sooner.iter_mut().chain(later).filter(|peer| peer.due.0 <= now) {
            peer.send_rest(at, local);
        }
    }

    fn watch(&mut self, at: Moment, watch: Watch) {
        self.watch = watch;
        for place in 0..self.peers.len() {
            for index in 0..self.peers[place].paths.len() {
                let peer = &self.peers[place];
                let (network, ring) = (peer.paths[index].id.network, peer.paths[index].ring);
                let covers = |step| watch.covers(&self.peers, network, peer, step);
                let watched = ring.is_none_or(covers);
                self.peers[place].paths[index].chosen = watched;
            }
            self.peers[place].plan(at, &self.local.timing);
        }
    }

    fn link(&mut self, at: Moment, network: NetworkId, up: bool) {
        match up {
            true => self.local.links_down.remove(&network),
            false => self.local.links_down.insert(network),
        };
        if up {
            self.hurry_rounds(at.now, Some(network));
        }
        for peer in &mut self.peers {
            if let Some(index) = peer.paths.iter().position(|path| path.id.network == network) {
                peer.link(at, &mut self.local, index, up);
                peer.plan(at, &self.local.timing);
            }
        }
    }

    fn receive(&mut self, at: Moment, network: NetworkId, bytes: &mut [u8]) {
        let mut place = None;
        if let Err(count) = self.receive_frame(at, network, bytes, &mut place) {
            self.local.counters.add(count);
            if let Some((place, index)) = place {
                self.peers[place].paths[index].counters.add(count);
            }
        }
        if let Some((place, _)) = place {
            self.peers[place].plan(at, &self.local.timing);
        }
    }

    /// Checks what stands in the clear, and hands the frame to its peer. `place` is set once the
    /// path is known.
    fn receive_frame(
        &mut self,
        at: Moment,
        network: NetworkId,
        bytes: &mut [u8],
        place: &mut Option<(usize, usize)>,
    ) -> Result<(), Count> {
        let header = Header::decode(bytes).map_err(|error| match error {
            HeaderError::Malformed => Count::Malformed,
            HeaderError::Version => Count::Version,
        })?;
        if header.cluster != self.local.keys.cluster {
            return Err(Count::WrongCluster);
        }
        if header.source == self.local.node {
            return Err(self.receive_own(&header, bytes));
        }
        if header.destination != self.local.node && header.kind != Kind::Shared {
            return Err(Count::Misdirected);
        }
        if header.network != network {
            return Err(Count::Crossed);
        }
        let found = self.find_path(header.source, network).ok_or(Count::UnknownPath)?;
        *place = Some(found);
        self.peers[found.0].receive(at, &mut self.local, found.1, header, bytes)
    }

    /// What a frame is that has our own number as its source.
    fn receive_own(&mut self, header: &Header, bytes: &mut [u8]) -> Count {
        if header.session == self.local.session {
            return Count::Reflected;
        }
        let keys: &mut SessionKeys = self.local.strangers.get(header.source, header.session);
        let open = |key: &Key| key.open(header.nonce(), HEADER_SIZE, bytes).is_some();
        match keys.key(&self.local.keys, header.slot).is_some_and(open) {
            true => Count::DuplicateNodeId,
            false => Count::WrongKey,
        }
    }
}
