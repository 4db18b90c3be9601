//! transport
mod config;
mod stats;

pub use config::{
    Config, Direction, Input, Lane, LostReason, Output, PathConfig, PathId, PathState, PeerConfig,
    Priority, Timer, window,
};
pub use stats::{
    Count, Counter, LaneStatus, PathStatus, PeerStatus, Quality, RoundTrip, Status,
};

use base::{Incarnation, Instant, Member, NodeId, NodeSet, Prng};
use core::time::Duration;
use std::collections::VecDeque;

/// The transport of one node in one life.
#[derive(Debug)]
pub struct Transport {
    config: Config,
    outputs: VecDeque<Output>,
    report: Vec<u8>,
    turned_at: Instant,
}

impl Transport {
    /// A transport that knows no peer's life yet.
    #[must_use]
    pub fn new(config: Config, _prng: Prng, now: Instant) -> Transport {
        Transport { config, outputs: VecDeque::new(), report: Vec::new(), turned_at: now }
    }
    /// Feeds one input.
    pub fn handle(&mut self, now: Instant, _input: Input) {
        assert!(self.outputs.is_empty(), "outputs are drained before the next input");
        self.turned_at = now;
    }
    /// The next output.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
    /// When to feed `Input::Turn` at the latest, and what for; none without peers.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        Some((self.turned_at + self.config.timing.turn(), Timer::Turn))
    }
    /// The report for the heartbeats.
    pub fn set_report(&mut self, report: &[u8]) {
        self.report = report.to_vec();
    }
    /// Newest report of the peer's present life.
    #[must_use]
    pub fn report(&self, _peer: NodeId) -> Option<&[u8]> {
        None
    }
    /// Peers connected now, without self.
    #[must_use]
    pub fn row(&self) -> NodeSet {
        NodeSet::EMPTY
    }
    /// The connected life of a peer.
    #[must_use]
    pub fn connected(&self, _peer: NodeId) -> Option<Member> {
        None
    }
    /// When any authentic frame of the peer's present life came last.
    #[must_use]
    pub fn last_received(&self, _peer: NodeId) -> Option<(Incarnation, Instant)> {
        None
    }
    /// Whether the lane's byte window has room.
    #[must_use]
    pub fn is_writable(&self, _peer: NodeId, _lane: Lane) -> bool {
        false
    }
    /// Sealed goodbyes for the guard, one per path.
    pub fn goodbye_frames(&mut self) -> Vec<(PathId, Vec<u8>)> {
        Vec::new()
    }
    /// Adds and removes peers and paths; existing ones are untouched. Outputs may follow.
    pub fn reconfigure(&mut self, _now: Instant, peers: Vec<PeerConfig>) {
        self.config.peers = peers;
    }
    /// Replaces the cluster keys and the slot that seals; for key rotation. Nothing goes down.
    pub fn set_keys(&mut self, keys: [Option<[u8; 32]>; 2], active: u8) {
        self.config.keys = keys;
        self.config.active_key = active;
    }
    /// Takes a buffer back.
    pub fn recycle(&mut self, _buffer: Vec<u8>) {}
    /// Worst gap between turns in the last minute.
    #[must_use]
    pub fn lag(&self) -> Duration {
        Duration::ZERO
    }
    /// Status of all peers and paths.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            local: Member { node: self.config.local, incarnation: self.config.incarnation },
            lag: self.lag(),
            peers: Vec::new(),
            counters: Vec::new(),
        }
    }
}
