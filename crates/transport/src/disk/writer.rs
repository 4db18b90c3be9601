//! What goes to the peers: which block is written next, and with what.

use std::collections::VecDeque;

use base::limits::DATAGRAM_SIZE_MAX;
use base::{Incarnation, NodeId};

use super::block::{Block, Kind, place};
use super::{DATA_BLOCKS, FRAMES_PER_BLOCK_MAX, Layout, Mark, PENDING_FRAMES_MAX, Reader};

/// Heartbeats that are written to a peer while its ring is full and nothing is taken from it,
/// before the ring counts as free.
const PATIENCE: u8 = 4;

/// Lays frames into the runs from one node.
#[derive(Clone, Debug)]
pub struct Writer {
    layout: Layout,
    local: NodeId,
    epoch: Incarnation,
    /// By the reader's number.
    peers: Vec<To>,
    /// Who was served last: the next one goes first, so that a slow device starves nobody.
    last: [usize; 2],
    counters: WriterCounters,
}

/// What waits for one reader.
#[derive(Clone, Debug, Default)]
struct To {
    heartbeat: Option<Vec<u8>>,
    heartbeats: u64,
    data: VecDeque<Vec<u8>>,
    sequence: u64,
    /// Up to which data block the reader took all, or is not waited for any more.
    taken: u64,
    /// Heartbeats since something moved.
    waited: u8,
    /// What we took of the reader.
    seen: Mark,
}

impl To {
    fn has_room(&self) -> bool {
        self.sequence - self.taken < DATA_BLOCKS
    }
}

/// What became of the frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterCounters {
    /// Frames laid into blocks.
    pub frames: u64,
    /// Heartbeats that a newer one replaced before they were written: the device is slow.
    pub replaced: u64,
    /// Data frames that found the queue full.
    pub full: u64,
    /// Frames for nodes without a slot.
    pub no_slot: u64,
    /// How often a reader that took nothing was no longer waited for.
    pub impatient: u64,
}

impl Writer {
    /// Writes for `local`, which has a slot, in the life `epoch`. A block of a lower epoch is never
    /// read again, so it must grow with each start.
    #[must_use]
    pub fn new(layout: Layout, local: NodeId, epoch: Incarnation) -> Writer {
        assert!(layout.has(local), "the node has a slot");
        let peers = vec![To::default(); usize::from(layout.slots)];
        let counters = WriterCounters::default();
        Writer { layout, local, epoch, peers, last: [0; 2], counters }
    }

    /// Queues a frame of at most `DATAGRAM_SIZE_MAX` bytes. False when it was dropped: the peer
    /// has no slot, or too much waits for it already. A heartbeat replaces the one before.
    pub fn push(&mut self, to: NodeId, frame: &[u8], heartbeat: bool) -> bool {
        assert!(!frame.is_empty() && frame.len() <= DATAGRAM_SIZE_MAX, "the transport's frames");
        if !self.layout.has(to) || to == self.local {
            self.counters.no_slot += 1;
            return false;
        }
        let peer = &mut self.peers[usize::from(to.0)];
        if heartbeat {
            if peer.heartbeat.replace(frame.to_vec()).is_some() {
                self.counters.replaced += 1;
            }
        } else if peer.data.len() < PENDING_FRAMES_MAX {
            peer.data.push_back(frame.to_vec());
        } else {
            self.counters.full += 1;
            return false;
        }
        true
    }

    /// Learns from a reader of the same node what the peers took, and what to tell them that was
    /// taken from them. After each round of reads; without it data flow a ring at a time.
    pub fn learn(&mut self, reader: &Reader) {
        for (number, peer) in (0..).zip(&mut self.peers) {
            peer.seen = reader.newest(NodeId(number));
            let taken = reader.taken(NodeId(number));
            // A lie about the future would hold nothing back, so it is cut.
            let sequence = taken.sequence.min(peer.sequence);
            if taken.epoch == self.epoch && sequence > peer.taken {
                peer.taken = sequence;
                peer.waited = 0;
            }
        }
    }

    /// Fills `block` (`BLOCK_SIZE` bytes) with what to write next and says where; None when
    /// nothing waits, or data only for readers whose ring is full. Heartbeats to all peers go
    /// before data.
    pub fn next_write(&mut self, block: &mut [u8]) -> Option<u64> {
        if let Some(to) = self.next(Kind::Heartbeat, |peer| peer.heartbeat.is_some()) {
            let peer = &mut self.peers[usize::from(to.0)];
            let frame = peer.heartbeat.take().expect("it has one");
            peer.heartbeats += 1;
            peer.waited += u8::from(!peer.has_room());
            if peer.waited >= PATIENCE {
                peer.taken = peer.sequence;
                peer.waited = 0;
                self.counters.impatient += 1;
            }
            let sequence = peer.heartbeats;
            self.encode(to, Kind::Heartbeat, sequence, &[&frame], block);
            return Some(self.layout.run(self.local, to));
        }
        let can_go = |peer: &To| !peer.data.is_empty() && peer.has_room();
        let to = self.next(Kind::Data, can_go)?;
        let peer = &mut self.peers[usize::from(to.0)];
        peer.sequence += 1;
        let sequence = peer.sequence;
        let count = peer.data.len().min(FRAMES_PER_BLOCK_MAX);
        let frames: Vec<Vec<u8>> = peer.data.drain(..count).collect();
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        self.encode(to, Kind::Data, sequence, &frames, block);
        Some(self.layout.run(self.local, to) + place(sequence))
    }

    /// Whether anything waits that [`Writer::next_write`] would give out now.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let waits =
            |peer: &To| peer.heartbeat.is_some() || (!peer.data.is_empty() && peer.has_room());
        !self.peers.iter().any(waits)
    }

    /// What became of the frames so far.
    #[must_use]
    pub fn counters(&self) -> WriterCounters {
        self.counters
    }

    /// Who comes next for a kind of blocks.
    fn next(&mut self, kind: Kind, can_go: impl Fn(&To) -> bool) -> Option<NodeId> {
        let last = &mut self.last[kind as usize - 1];
        let count = self.peers.len();
        let mut others = (1..=count).map(|step| (*last + step) % count);
        let number = others.find(|number| can_go(&self.peers[*number]))?;
        *last = number;
        Some(NodeId(number as u8))
    }

    fn encode(
        &mut self,
        to: NodeId,
        kind: Kind,
        sequence: u64,
        frames: &[&[u8]],
        block: &mut [u8],
    ) {
        self.counters.frames += frames.len() as u64;
        let mark = Mark { epoch: self.epoch, sequence };
        let taken = self.peers[usize::from(to.0)].seen;
        let (cluster, from) = (self.layout.cluster, self.local);
        Block { cluster, from, to, kind, mark, taken, frames }.encode(block);
    }
}
