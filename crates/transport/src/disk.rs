//! Frames over a shared disk: an area of blocks in which each block has one writer and one reader.
//!
//! Nodes that share a disk but no network any more can still tell each other that they live. Each
//! ordered pair of nodes has a *run* of blocks, written by the one and read by the other:
//!
//! ```text
//!  block 0     1                          1 + slots × 8               (blocks of 4,096 bytes)
//!  | header    | runs to slot 0           | runs to slot 1           | …
//!
//!  runs to slot 1: from slot 0, from slot 1 (unused, see below), from slot 2, …
//!
//!  a run       | newest heartbeat | data | data | data | data | data | data | data |
//!  data blocks are a ring: the block of sequence n is at 1 + n mod 7
//!
//!  header
//!  0            8         10     12        16      17      18                 4092
//!  | "MNSTDISK" | layout  | size | cluster | slots | run   | zeros …          | CRC-32 |
//!
//!  block
//!  0        4         8      9    10     11      12      20         28      36      44        4092
//!  | "MSDB" | cluster | from | to | kind | count | epoch | sequence | taken, of to   | frames… | CRC-32 |
//!                                                                   | epoch | number |
//!  frame: | length (2) | bytes |, the rest is zeros.      Numbers are big-endian.
//! ```
//!
//! **The intuition** is a mailbox with a lid that only its owner writes on. Nothing is ever locked,
//! no clock is in it, and nobody waits for anybody: a reader looks at its runs from time to time and
//! takes what is *newer*, that is, what has a greater (epoch, sequence); `epoch` is the life of the
//! writer, and each life counts heartbeats and data blocks from 1. Everything else is *no news*,
//! whatever it is: a block whose write was cut in the middle, one of another cluster, one that was
//! taken before, one that a stuck controller wrote a minute late. Liveness is not judged here at all:
//! frames carry echoed stamps (see [`crate`]), so a stale block that looks new proves nothing.
//!
//! **Heartbeats** overwrite each other: only the newest matters, on the disk and in the writer.
//! **Data** must not be overwritten before the reader saw it, else most of a burst were lost. So
//! each block says in `taken` which data block of the other direction was seen last, and a writer
//! holds data back while a whole ring is on its way. When four heartbeats have been written and
//! nothing moved, the reader is gone, or blind for a bad block: the ring counts as free, and what is
//! lost is sent again by the channel.
//!
//! Runs are ordered by reader, so that one read gets all that came for a node. The run of a slot to
//! itself is never read by a peer: its node tests there whether the device takes writes.
//!
//! **Assumed of the device:** a write of one block may tear at any sector, be lost, be repeated or
//! land late; a write that was acknowledged is seen by reads that start later (hence direct I/O, and
//! no caches of hosts). Authenticity is the seal's business: whoever can write to the disk can stop
//! this path, and no more.
//!
//! Source: the heartbeat block per node is that of SBD and RSCT; the run per pair, with a ring of
//! acknowledged blocks, is ours (protocol paper §3.2, disk path).

mod block;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use core::fmt;

use base::limits::NODES_MAX;
use base::{Incarnation, NodeId};

use crate::crc::crc32;

use block::{Block, Found, Kind};
pub use reader::{Reader, ReaderCounters};
pub use writer::{Writer, WriterCounters};

/// Bytes of a block: what disks with large sectors write at once, and a multiple of what others do.
pub const BLOCK_SIZE: usize = 4_096;
/// Blocks of the run of one ordered pair.
pub const PAIR_BLOCKS: u64 = 8;
/// Bytes of a run.
pub const RUN_SIZE: usize = PAIR_BLOCKS as usize * BLOCK_SIZE;
/// Data blocks of a run.
pub const DATA_BLOCKS: u64 = PAIR_BLOCKS - 1;
/// Frames in one block.
pub const FRAMES_PER_BLOCK_MAX: usize = 3;
/// Data frames that wait for their turn, for each peer: two rings.
pub const PENDING_FRAMES_MAX: usize = 2 * DATA_BLOCKS as usize * FRAMES_PER_BLOCK_MAX;
/// The layout that this program reads and writes.
pub const LAYOUT_VERSION: u16 = 1;
/// Slots that an area has unless higher node ids need more: room for nodes that join later.
pub const SLOTS_LEAST: u8 = 16;

const HEADER_MAGIC: [u8; 8] = *b"MNSTDISK";
/// Where the checksum of a block or header stands.
const CHECKSUM_AT: usize = BLOCK_SIZE - 4;

const _: () = assert!(NODES_MAX <= 128, "a number of slots is one byte");

/// Whose area it is, and for how many nodes. Slot and node have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    cluster: u32,
    slots: u8,
}

/// Why block 0 does not begin an area that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Only zeros.
    Blank,
    /// Something that is not ours.
    Foreign,
    /// An area of a version with another layout.
    OtherLayout {
        /// The version of its layout.
        version: u16,
    },
    /// The beginning of a header, and then not the rest of it.
    Damaged,
    /// The area of another cluster.
    OtherCluster {
        /// Whose it is.
        found: u32,
        /// Whose it should be.
        expected: u32,
    },
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::Blank => f.write_str("it is blank: no area was made on it yet"),
            HeaderError::Foreign => f.write_str("it holds something else than an area of Mainstay"),
            HeaderError::OtherLayout { version } => write!(
                f,
                "its area has layout {version}, and this program knows layout {LAYOUT_VERSION}"
            ),
            HeaderError::Damaged => f.write_str("the header of its area is damaged"),
            HeaderError::OtherCluster { found, expected } => {
                write!(f, "its area belongs to cluster {found}, and this is cluster {expected}")
            }
        }
    }
}

impl core::error::Error for HeaderError {}

impl Layout {
    /// The area of a cluster with node ids below `slots`, which is 1 to `NODES_MAX`.
    #[must_use]
    pub fn new(cluster: u32, slots: u8) -> Layout {
        assert!(slots > 0 && usize::from(slots) <= NODES_MAX, "node ids are below NODES_MAX");
        Layout { cluster, slots }
    }

    /// The area that a cluster with this highest node id gets.
    #[must_use]
    pub fn for_nodes(cluster: u32, highest: NodeId) -> Layout {
        Layout::new(cluster, (highest.0 + 1).max(SLOTS_LEAST))
    }

    /// Whose area it is.
    #[must_use]
    pub fn cluster(self) -> u32 {
        self.cluster
    }

    /// For how many nodes.
    #[must_use]
    pub fn slots(self) -> u8 {
        self.slots
    }

    /// Whether the node has a slot.
    #[must_use]
    pub fn has(self, node: NodeId) -> bool {
        node.0 < self.slots
    }

    /// Blocks of the whole area, from the start of the device.
    #[must_use]
    pub fn size(self) -> u64 {
        1 + u64::from(self.slots) * self.column()
    }

    /// Blocks of all runs to one node.
    #[must_use]
    pub fn column(self) -> u64 {
        u64::from(self.slots) * PAIR_BLOCKS
    }

    /// The first block of the runs to a node; they are in order of the writer's number.
    #[must_use]
    pub fn first(self, to: NodeId) -> u64 {
        assert!(self.has(to), "the node has a slot");
        1 + u64::from(to.0) * self.column()
    }

    /// The first block of the run that `from` writes and `to` reads.
    #[must_use]
    pub fn run(self, from: NodeId, to: NodeId) -> u64 {
        assert!(self.has(from), "the node has a slot");
        self.first(to) + u64::from(from.0) * PAIR_BLOCKS
    }

    /// Block 0.
    #[must_use]
    pub fn encode_header(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK_SIZE);
        bytes.extend_from_slice(&HEADER_MAGIC);
        bytes.extend_from_slice(&LAYOUT_VERSION.to_be_bytes());
        bytes.extend_from_slice(&(BLOCK_SIZE as u16).to_be_bytes());
        bytes.extend_from_slice(&self.cluster.to_be_bytes());
        bytes.extend_from_slice(&[self.slots, PAIR_BLOCKS as u8]);
        bytes.resize(CHECKSUM_AT, 0);
        let checksum = crc32(&bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// What block 0 says, whosever area it is.
    ///
    /// # Errors
    /// All but [`HeaderError::OtherCluster`].
    pub fn decode_header(block: &[u8]) -> Result<Layout, HeaderError> {
        if block.iter().all(|byte| *byte == 0) {
            return Err(HeaderError::Blank);
        }
        if block.len() != BLOCK_SIZE || block[..8] != HEADER_MAGIC {
            return Err(HeaderError::Foreign);
        }
        // Another layout may keep its checksum elsewhere.
        let version = u16::from_be_bytes([block[8], block[9]]);
        if version != LAYOUT_VERSION {
            return Err(HeaderError::OtherLayout { version });
        }
        let cluster = u32::from_be_bytes([block[12], block[13], block[14], block[15]]);
        let slots = block[16];
        if slots == 0 || usize::from(slots) > NODES_MAX {
            return Err(HeaderError::Damaged);
        }
        let layout = Layout { cluster, slots };
        // One area has one header: everything is compared, the checksum with it.
        if layout.encode_header() != block { Err(HeaderError::Damaged) } else { Ok(layout) }
    }

    /// What block 0 says of the area of this cluster.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn of_cluster(block: &[u8], cluster: u32) -> Result<Layout, HeaderError> {
        let layout = Layout::decode_header(block)?;
        let expected = cluster;
        match layout.cluster {
            found if found != expected => Err(HeaderError::OtherCluster { found, expected }),
            _ => Ok(layout),
        }
    }

    /// What is in a run (`RUN_SIZE` bytes), for people: no block is taken by it.
    #[must_use]
    pub fn examine(self, from: NodeId, to: NodeId, run: &[u8]) -> RunSeen {
        assert_eq!(run.len(), RUN_SIZE, "a run is read whole");
        let mut seen = RunSeen::default();
        for (index, bytes) in (0..).zip(run.chunks_exact(BLOCK_SIZE)) {
            match block::find(self, from, to, index, bytes) {
                Found::Blank => seen.blank += 1,
                Found::Torn => seen.torn += 1,
                Found::Foreign => seen.foreign += 1,
                Found::Block(block) => {
                    let place = match block.kind {
                        Kind::Heartbeat => &mut seen.heartbeat,
                        Kind::Data => &mut seen.data,
                    };
                    *place = (*place).max(Some(block.mark));
                }
            }
        }
        seen
    }

    /// A block with which a node tests the device, for the first block of its run to itself.
    /// Another number makes another block.
    #[must_use]
    pub fn test_block(self, local: NodeId, number: u64) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK_SIZE];
        let mark = Mark { epoch: Incarnation(0), sequence: number };
        let taken = Mark::default();
        let (cluster, from, to, kind) = (self.cluster, local, local, Kind::Heartbeat);
        let frames: &[&[u8]] = &[&number.to_be_bytes()];
        Block { cluster, from, to, kind, mark, taken, frames }.encode(&mut bytes);
        bytes
    }
}

/// Which block of a writer it is. The greater is the newer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The life of the writer.
    pub epoch: Incarnation,
    /// Counts the blocks of this kind in that life from 1; 0 for none.
    pub sequence: u64,
}

/// What is in a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSeen {
    /// The heartbeat.
    pub heartbeat: Option<Mark>,
    /// The newest data block.
    pub data: Option<Mark>,
    /// Blocks never written.
    pub blank: u8,
    /// Blocks that are not whole; one may be being written.
    pub torn: u8,
    /// Blocks of somebody else, or at another block's place.
    pub foreign: u8,
}
