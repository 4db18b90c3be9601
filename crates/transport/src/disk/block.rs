//! One block of a run, in and out. The layout is drawn in the parent module.

use base::codec::{Malformed, Reader};
use base::limits::DATAGRAM_SIZE_MAX;
use base::{Incarnation, NodeId};

use super::{BLOCK_SIZE, CHECKSUM_AT, DATA_BLOCKS, FRAMES_PER_BLOCK_MAX, Layout, Mark, crc32};

const MAGIC: [u8; 4] = *b"MSDB";
const HEADER_SIZE: usize = 44;

const _: () = assert!(
    HEADER_SIZE + FRAMES_PER_BLOCK_MAX * (2 + DATAGRAM_SIZE_MAX) <= CHECKSUM_AT,
    "the longest frames fit"
);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Heartbeat = 1,
    Data = 2,
}

/// A block, with its frames as `F`: slices to write, the bytes in which they stand when read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block<F> {
    pub(super) cluster: u32,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) kind: Kind,
    pub(super) mark: Mark,
    /// The newest data block of the other direction that `from` took.
    pub(super) taken: Mark,
    pub(super) frames: F,
}

/// What stands at the place of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Only zeros.
    Blank,
    /// Not whole.
    Torn,
    /// Whole, and not what belongs there.
    Foreign,
    Block(Block<Frames<'a>>),
}

/// The frames of a block that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frames<'a> {
    count: u8,
    /// From the first of them on.
    bytes: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.count = self.count.checked_sub(1)?;
        let (frame, rest) = split(self.bytes).expect("the block was checked");
        self.bytes = rest;
        Some(frame)
    }
}

/// The first frame, and what follows it.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut reader = Reader::new(bytes);
    let length = usize::from(reader.u16()?);
    if length == 0 || length > DATAGRAM_SIZE_MAX {
        return Err(Malformed);
    }
    let frame = reader.take(length)?;
    Ok((frame, reader.rest()))
}

impl Block<&[&[u8]]> {
    /// Fills `out`, which has `BLOCK_SIZE` bytes.
    pub(super) fn encode(&self, out: &mut [u8]) {
        let frames = self.frames;
        assert!(!frames.is_empty() && frames.len() <= FRAMES_PER_BLOCK_MAX, "as many as fit");
        assert_eq!(out.len(), BLOCK_SIZE, "a block is written whole");
        out.fill(0);
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&MAGIC);
        put(&self.cluster.to_be_bytes());
        put(&[self.from.0, self.to.0, self.kind as u8, frames.len() as u8]);
        for mark in [self.mark, self.taken] {
            put(&mark.epoch.0.to_be_bytes());
            put(&mark.sequence.to_be_bytes());
        }
        for frame in frames {
            assert!(!frame.is_empty() && frame.len() <= DATAGRAM_SIZE_MAX, "checked when pushed");
            put(&(frame.len() as u16).to_be_bytes());
            put(frame);
        }
        let checksum = crc32(&out[..CHECKSUM_AT]);
        out[CHECKSUM_AT..].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// What stands at block `index` of the run from `from` to `to`.
pub(super) fn find(
    layout: Layout,
    from: NodeId,
    to: NodeId,
    index: u64,
    bytes: &[u8],
) -> Found<'_> {
    assert_eq!(bytes.len(), BLOCK_SIZE, "a block is read whole");
    if bytes.iter().all(|byte| *byte == 0) {
        return Found::Blank;
    }
    let (content, checksum) = bytes.split_at(CHECKSUM_AT);
    let is_whole = crc32(content).to_be_bytes() == checksum;
    if !is_whole {
        // A block that tears in its first life begins with our magic or still with zeros.
        return match content[..4] == MAGIC {
            true => Found::Torn,
            false if content[..4] != [0; 4] => Found::Foreign,
            false => Found::Torn,
        };
    }
    match decode(content) {
        Ok(block) if belongs(&block, layout, from, to, index) => Found::Block(block),
        _ => Found::Foreign,
    }
}

fn belongs(
    block: &Block<Frames<'_>>,
    layout: Layout,
    from: NodeId,
    to: NodeId,
    index: u64,
) -> bool {
    let is_ours = (block.cluster, block.from, block.to) == (layout.cluster, from, to);
    is_ours
        && match block.kind {
            Kind::Heartbeat => index == 0 && block.frames.count == 1,
            Kind::Data => index == place(block.mark.sequence),
        }
}

/// Where in the run the data block of a sequence number stands.
pub(super) fn place(sequence: u64) -> u64 {
    1 + sequence % DATA_BLOCKS
}

/// A block without its checksum.
fn decode(content: &[u8]) -> Result<Block<Frames<'_>>, Malformed> {
    let mut reader = Reader::new(content);
    if reader.array::<4>()? != MAGIC {
        return Err(Malformed);
    }
    let cluster = reader.u32()?;
    let [from, to, kind, count] = reader.array()?;
    let kind = match kind {
        1 => Kind::Heartbeat,
        2 => Kind::Data,
        _ => return Err(Malformed),
    };
    let mut mark = || -> Result<Mark, Malformed> {
        Ok(Mark { epoch: Incarnation(reader.u64()?), sequence: reader.u64()? })
    };
    let (newest, taken) = (mark()?, mark()?);
    let bytes = reader.rest();
    let count_fits = (1..=FRAMES_PER_BLOCK_MAX).contains(&usize::from(count));
    if !count_fits || newest.sequence == 0 {
        return Err(Malformed);
    }
    let mut rest = bytes;
    for _ in 0..count {
        (_, rest) = split(rest)?;
    }
    if rest.iter().any(|byte| *byte != 0) {
        return Err(Malformed);
    }
    let frames = Frames { count, bytes };
    Ok(Block { cluster, from: NodeId(from), to: NodeId(to), kind, mark: newest, taken, frames })
}
