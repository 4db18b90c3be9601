//! What comes from the peers: each run is looked at whole, and what is newer is taken.

use core::cmp::Ordering;

use base::NodeId;

use super::block::{Block, Found, Frames, Kind, find};
use super::{BLOCK_SIZE, DATA_BLOCKS, Layout, Mark, RUN_SIZE};

/// Takes frames from the runs to one node.
#[derive(Clone, Debug)]
pub struct Reader {
    layout: Layout,
    local: NodeId,
    /// By the writer's number.
    peers: Vec<From>,
    counters: ReaderCounters,
}

/// What is known of one writer.
#[derive(Clone, Copy, Debug, Default)]
struct From {
    heartbeat: Mark,
    data: Mark,
    /// What it says that it took of us.
    taken: Mark,
}

/// What was found in blocks, each time that they were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderCounters {
    /// Frames taken.
    pub frames: u64,
    /// Blocks that were taken before.
    pub repeated: u64,
    /// Blocks of a former life, or older than those taken before: a late write, or a copy.
    pub older: u64,
    /// Blocks that are not whole.
    pub torn: u64,
    /// Blocks of somebody else, or at another block's place.
    pub foreign: u64,
    /// Data blocks that were overwritten before they were seen.
    pub missed: u64,
}

impl Reader {
    /// Reads for `local`, which has a slot.
    #[must_use]
    pub fn new(layout: Layout, local: NodeId) -> Reader {
        assert!(layout.has(local), "the node has a slot");
        let peers = vec![From::default(); usize::from(layout.slots)];
        Reader { layout, local, peers, counters: ReaderCounters::default() }
    }

    /// Looks at the run of `from` to us (`RUN_SIZE` bytes) and appends its new frames: the
    /// heartbeat first, then data in their order. Whatever is in the bytes, at most 22 frames.
    pub fn take(&mut self, from: NodeId, run: &[u8], frames: &mut Vec<Vec<u8>>) {
        assert!(self.layout.has(from) && from != self.local, "a peer with a slot");
        assert_eq!(run.len(), RUN_SIZE, "a run is read whole");
        let mut blocks: Vec<Block<Frames<'_>>> = Vec::new();
        for (index, bytes) in (0..).zip(run.chunks_exact(BLOCK_SIZE)) {
            match find(self.layout, from, self.local, index, bytes) {
                Found::Blank => {}
                Found::Torn => self.counters.torn += 1,
                Found::Foreign => self.counters.foreign += 1,
                Found::Block(block) => blocks.push(block),
            }
        }
        let peer = &mut self.peers[usize::from(from.0)];
        let known = peer.heartbeat.epoch.max(peer.data.epoch);
        let epoch = blocks.iter().map(|block| block.mark.epoch).fold(known, Ord::max);
        // The heartbeat is the first block of the run; the sort keeps it there.
        blocks.sort_by_key(|block| (block.kind as u8, block.mark));
        for block in blocks {
            let newest = match block.kind {
                Kind::Heartbeat => &mut peer.heartbeat,
                Kind::Data => &mut peer.data,
            };
            let mark = block.mark;
            if mark.epoch < epoch {
                self.counters.older += 1;
                continue;
            }
            peer.taken = peer.taken.max(block.taken);
            match mark.cmp(newest) {
                Ordering::Greater => {}
                Ordering::Equal => {
                    self.counters.repeated += 1;
                    continue;
                }
                // The others of the ring are still there, which is how it should be.
                Ordering::Less => {
                    let is_ring = newest.sequence - mark.sequence < DATA_BLOCKS;
                    match block.kind {
                        Kind::Data if is_ring => self.counters.repeated += 1,
                        _ => self.counters.older += 1,
                    }
                    continue;
                }
            }
            if block.kind == Kind::Data && newest.epoch == mark.epoch && newest.sequence > 0 {
                let gap = mark.sequence - newest.sequence - 1;
                self.counters.missed = self.counters.missed.saturating_add(gap);
            }
            *newest = mark;
            for frame in block.frames {
                self.counters.frames += 1;
                frames.push(frame.to_vec());
            }
        }
    }

    /// What was found so far.
    #[must_use]
    pub fn counters(&self) -> ReaderCounters {
        self.counters
    }

    /// The newest data block that was taken from a peer.
    pub(super) fn newest(&self, from: NodeId) -> Mark {
        self.peers[usize::from(from.0)].data
    }

    /// What a peer says that it took of us.
    pub(super) fn taken(&self, from: NodeId) -> Mark {
        self.peers[usize::from(from.0)].taken
    }
}
