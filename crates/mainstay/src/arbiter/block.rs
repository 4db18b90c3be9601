//! A node's part of a disk that is an acceptor: the bytes of a `group::disk::Memory`.
//!
//! A node writes only in its own slot: the run of the slot to itself in the layout of
//! `transport::disk`, where block 0 is for tests of writing. Behind it are two copies of three
//! blocks; a write goes over the older one, so that a torn write leaves what was there before.
//!
//! ```text
//!  run of a slot to itself   | test | copy 0: 3 blocks | copy 1: 3 blocks | unused |
//!
//!  copy   0        4         8      9          12         20       24              12256
//!         | "MSAB" | cluster | node | 0 0 0    | sequence | length | CBOR, zeros … | SHA-256 |
//! ```
//!
//! A copy whose digest is right is whole, whatever a torn write left beside it; of two the greater
//! sequence counts. **Two copies that are both damaged are no answer**: a torn write damages one, so
//! something else has happened, and what was promised there is not known. One damaged beside one
//! that was never written is a first write that did not land, and nobody was told of it.

use base::NodeId;
use base::codec::{self, Reader};
use group::VALUE_SIZE_MAX;
use group::disk::Memory;
use ring::digest::{SHA256, digest};
use transport::disk::{BLOCK_SIZE, PAIR_BLOCKS};

/// The first block of copy 0 in the run.
pub const FIRST_BLOCK: u64 = 1;
/// Blocks of a copy.
pub const COPY_BLOCKS: u64 = 3;
/// Copies.
pub const COPIES: u64 = 2;
/// Bytes of a copy.
pub const COPY_SIZE: usize = COPY_BLOCKS as usize * BLOCK_SIZE;

const MAGIC: [u8; 4] = *b"MSAB";
const BODY_AT: usize = 24;
const DIGEST_AT: usize = COPY_SIZE - 32;
const BODY_SIZE_MAX: usize = DIGEST_AT - BODY_AT;

const _: () = assert!(FIRST_BLOCK + COPIES * COPY_BLOCKS <= PAIR_BLOCKS);
const _: () = assert!(VALUE_SIZE_MAX + 512 < BODY_SIZE_MAX, "the newest election always fits");

/// Both copies of a run, as they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Of the newest write; 0 when there was none.
    pub sequence: u64,
    /// What it wrote.
    pub memory: Memory,
    /// The copy that the next write goes to.
    pub older: u64,
}

/// Neither copy is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

enum Found {
    Blank,
    Damaged,
    /// Whole, and of another cluster or node: it was here before the area was made.
    Foreign,
    Whole(u64, Memory),
}

/// The bytes of one copy.
#[must_use]
pub fn encode(cluster: u32, node: NodeId, sequence: u64, memory: &Memory) -> Vec<u8> {
    let mut memory = memory.clone();
    let mut body = codec::encode(&memory);
    while body.len() > BODY_SIZE_MAX {
        memory.forget_oldest();
        body = codec::encode(&memory);
    }
    let mut bytes = Vec::with_capacity(COPY_SIZE);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&cluster.to_be_bytes());
    bytes.extend_from_slice(&[node.0, 0, 0, 0]);
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&body);
    bytes.resize(DIGEST_AT, 0);
    let sum = digest(&SHA256, &bytes);
    bytes.extend_from_slice(sum.as_ref());
    bytes
}

fn find(cluster: u32, node: NodeId, bytes: &[u8]) -> Found {
    if bytes.iter().all(|byte| *byte == 0) {
        return Found::Blank;
    }
    let (content, sum) = bytes.split_at(DIGEST_AT);
    if content[..4] != MAGIC || digest(&SHA256, content).as_ref() != sum {
        return Found::Damaged;
    }
    let read = || {
        let mut reader = Reader::new(&content[4..]);
        let whose = (reader.u32()?, reader.u8()?);
        reader.take(3)?;
        let (sequence, length) = (reader.u64()?, reader.u32()? as usize);
        let memory: Memory = codec::decode(reader.take(length)?)?;
        Ok::<_, codec::Malformed>((whose, sequence, memory))
    };
    match read() {
        Ok((whose, sequence, memory)) if whose == (cluster, node.0) => {
            Found::Whole(sequence, memory)
        }
        Ok(_) => Found::Foreign,
        Err(codec::Malformed) => Found::Damaged,
    }
}

/// What the two copies of a node say. `copies`: `COPIES * COPY_SIZE` bytes.
///
/// # Errors
/// When neither is whole although both were written.
pub fn decode(cluster: u32, node: NodeId, copies: &[u8]) -> Result<Run, Damaged> {
    assert_eq!(copies.len(), COPIES as usize * COPY_SIZE, "both copies are read");
    let mut run = Run::default();
    let mut damaged = 0;
    for (place, copy) in (0..).zip(copies.chunks_exact(COPY_SIZE)) {
        match find(cluster, node, copy) {
            Found::Whole(sequence, memory) if sequence > run.sequence => {
                run = Run { sequence, memory, older: 1 - place };
            }
            Found::Damaged => damaged += 1,
            Found::Whole(..) | Found::Blank | Found::Foreign => {}
        }
    }
    if damaged == COPIES { Err(Damaged) } else { Ok(run) }
}

#[cfg(test)]
mod tests;
