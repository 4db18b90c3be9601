//! What all peers share: who we are, our keys, the free buffers, the outputs.
//!
//! Buffers circulate: a heartbeat is written and sealed in a buffer of the free list, the driver
//! hands it back, and buffers of received datagrams join the list. So heartbeats allocate nothing
//! once the list is warm (`tests/allocation.rs`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::limits::{DATAGRAM_SIZE_MAX, REPORT_SIZE_MAX};
use base::{Incarnation, Instant, Member, NetworkId, NodeId, NodeSet, Prng, Timing};

use crate::config::{Config, Output, PathId};
use crate::path::Path;
use crate::seal::NONCE_SIZE;
use crate::session::{ClusterKeys, SessionKeys, Strangers, tag};
use crate::shared::Round;
use crate::stats::Counters;
use crate::wire::{HEADER_SIZE, Header, Kind, Proof, report_name};

/// Buffers kept for reuse.
const FREE_BUFFERS_MAX: usize = 256;

/// This node in its present life.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Incarnation,
    pub(crate) session: [u8; 16],
    pub(crate) timing: Timing,
    /// When this life began: no stamp is older.
    pub(crate) started: Instant,
    pub(crate) prng: Prng,
    pub(crate) keys: ClusterKeys,
    own_keys: SessionKeys,
    active_key: u8,
    pub(crate) strangers: Strangers,
    pub(crate) outputs: VecDeque<Output>,
    free: Vec<Vec<u8>>,
    pub(crate) report: Vec<u8>,
    /// What names it in heartbeats.
    pub(crate) report_name: u32,
    /// The evidence whose age heartbeats tell.
    pub(crate) evidence: Option<Instant>,
    /// Peers connected now, and whether that changed since all were told.
    pub(crate) row: NodeSet,
    pub(crate) row_changed: bool,
    pub(crate) counters: Counters,
    /// Networks whose link is down.
    pub(crate) links_down: BTreeSet<NetworkId>,
    /// Bulk datagrams that may still leave in this turn, to all peers together.
    pub(crate) bulk_left: usize,
    /// Space for the sequence numbers of one datagram.
    pub(crate) batch: Vec<u64>,
    channels: u32,
    /// Where the counters of removed paths stood: a nonce is never used twice in a life.
    retired: BTreeMap<PathId, (u64, u64)>,
    /// Heartbeats to everybody, by network; kept when a network is removed, for their counters.
    pub(crate) rounds: BTreeMap<NetworkId, Round>,
    /// When the report was set.
    pub(crate) report_since: Instant,
}

/// A frame whose body is being written.
#[derive(Debug)]
pub(crate) struct Frame {
    path: PathId,
    nonce: [u8; NONCE_SIZE],
    pub(crate) bytes: Vec<u8>,
}

impl Local {
    pub(crate) fn new(config: &Config, prng: Prng, now: Instant) -> Local {
        let mut local = Local {
            node: config.local,
            incarnation: config.incarnation,
            session: config.session,
            timing: config.timing,
            started: now,
            prng: prng.child("transport"),
            keys: ClusterKeys { cluster: config.cluster, slots: [None, None] },
            own_keys: SessionKeys::new(config.local, config.session),
            active_key: 0,
            strangers: Strangers::default(),
            outputs: VecDeque::with_capacity(64),
            free: Vec::with_capacity(FREE_BUFFERS_MAX),
            report: Vec::with_capacity(REPORT_SIZE_MAX),
            report_name: report_name(b""),
            evidence: None,
            row: NodeSet::EMPTY,
            row_changed: false,
            counters: Counters::default(),
            links_down: BTreeSet::new(),
            bulk_left: 0,
            batch: Vec::new(),
            channels: 0,
            retired: BTreeMap::new(),
            rounds: BTreeMap::new(),
            report_since: now,
        };
        local.set_keys(config.keys, config.active_key);
        local
    }

    /// Replaces the cluster keys; true for each slot whose key is another one now.
    pub(crate) fn set_keys(&mut self, keys: [Option<[u8; 32]>; 2], active: u8) -> [bool; 2] {
        assert!(active < 2 && keys[usize::from(active)].is_some(), "the active slot has a key");
        let changed = [keys[0] != self.keys.slots[0], keys[1] != self.keys.slots[1]];
        self.keys.slots = keys;
        self.active_key = active;
        for slot in (0..2).filter(|&slot| changed[slot]) {
            self.own_keys.forget(slot);
            self.strangers.forget(slot);
        }
        changed
    }

    pub(crate) fn member(&self) -> Member {
        Member { node: self.node, incarnation: self.incarnation }
    }

    /// What names this life in frames that are meant for it.
    pub(crate) fn tag(&self) -> [u8; 4] {
        tag(&self.session)
    }

    /// The number of a new channel.
    pub(crate) fn next_channel(&mut self) -> u32 {
        self.channels = self.channels.checked_add(1).expect("no life sees so many channels");
        self.channels
    }

    pub(crate) fn is_link_up(&self, network: NetworkId) -> bool {
        !self.links_down.contains(&network)
    }

    /// Remembers where a path's counters stand.
    pub(crate) fn retire(&mut self, path: &Path) {
        self.retired.insert(path.id, (path.counter, path.goodbyes));
    }

    /// Lets a path go on where it was when it was removed.
    pub(crate) fn reinstate(&mut self, path: &mut Path) {
        if let Some((counter, goodbyes)) = self.retired.remove(&path.id) {
            path.counter = counter;
            path.goodbyes = goodbyes;
        }
        path.link_up = self.is_link_up(path.id.network);
    }

    /// Begins a frame: header and proof.
    pub(crate) fn start(&mut self, path: &mut Path, kind: Kind, proof: &Proof) -> Frame {
        let counter = match kind {
            Kind::Heartbeat | Kind::Data => &mut path.counter,
            Kind::Goodbye => &mut path.goodbyes,
            Kind::Shared => unreachable!("it belongs to no path"),
        };
        let header = Header {
            cluster: self.keys.cluster,
            source: self.node,
            destination: path.id.peer,
            network: path.id.network,
            slot: self.active_key,
            kind,
            session: self.session,
            counter: *counter,
        };
        *counter += 1;
        let mut bytes = self.take_buffer();
        header.encode(&mut bytes);
        proof.encode(&mut bytes);
        Frame { path: path.id, nonce: header.nonce(), bytes }
    }

    /// Begins a frame to everybody: the header.
    pub(crate) fn start_shared(&mut self, network: NetworkId) -> Frame {
        let round = self.rounds.get_mut(&network).expect("a network with shared heartbeats");
        let header = Header {
            cluster: self.keys.cluster,
            source: self.node,
            destination: NodeId(0),
            network,
            slot: self.active_key,
            kind: Kind::Shared,
            session: self.session,
            counter: round.counter,
        };
        round.counter += 1;
        let mut bytes = self.take_buffer();
        header.encode(&mut bytes);
        Frame { path: PathId { peer: NodeId(0), network }, nonce: header.nonce(), bytes }
    }

    /// Seals a frame to everybody and hands it to the driver.
    pub(crate) fn transmit_shared(&mut self, network: NetworkId, frame: Frame) {
        let (_, bytes) = self.seal(frame);
        self.outputs.push_back(Output::TransmitAll { network, bytes });
    }

    /// Seals a frame whose body is complete.
    pub(crate) fn seal(&mut self, frame: Frame) -> (PathId, Vec<u8>) {
        let mut bytes = frame.bytes;
        let key = self.own_keys.key(&self.keys, self.active_key).expect("set_keys checked it");
        key.seal(frame.nonce, HEADER_SIZE, &mut bytes);
        assert!(bytes.len() <= DATAGRAM_SIZE_MAX, "a frame fits a datagram");
        (frame.path, bytes)
    }

    /// Seals a frame and hands it to the driver.
    pub(crate) fn transmit(&mut self, frame: Frame) {
        let (path, bytes) = self.seal(frame);
        self.outputs.push_back(Output::Transmit { path, bytes });
    }

    /// An empty buffer with room for a datagram.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_else(|| Vec::with_capacity(DATAGRAM_SIZE_MAX))
    }

    /// Keeps a buffer for reuse.
    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        let is_usual = (DATAGRAM_SIZE_MAX..=2 * DATAGRAM_SIZE_MAX).contains(&buffer.capacity());
        if is_usual && self.free.len() < FREE_BUFFERS_MAX {
            buffer.clear();
            self.free.push(buffer);
        }
    }

    #[cfg(test)]
    pub(crate) fn strangers(&self) -> usize {
        self.strangers.len()
    }
}
