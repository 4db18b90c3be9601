//! The receiving half of a lane: from fragments in any order to whole messages in order.
//!
//! Sequence numbers count fragments, not bytes. What is next is appended to the message under
//! construction; what is early waits, at most [`WINDOW_FRAGMENTS`] of it. First and last fragments
//! are marked, so a message needs no length in front that would have to be believed. A fragment
//! that comes in pieces is put together first, and is nothing before the last piece is there.

use std::collections::BTreeMap;

use base::codec::Malformed;
use base::limits::MESSAGE_SIZE_MAX;

use crate::wire::{Ack, Item, PIECE_SIZE_MAX, Piece, WINDOW_FRAGMENTS};

/// Whether a fragment was of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    New,
    /// It had been received before: the sender has not seen our acknowledgement.
    Again,
    /// It lies beyond what may be sent.
    Beyond,
}

#[derive(Debug)]
struct Early {
    first: bool,
    last: bool,
    bytes: Vec<u8>,
}

/// What came of a piece.
enum Gathered {
    /// It was the last one: the fragment.
    Whole(Vec<u8>),
    Part(Taken),
}

/// A fragment of which pieces have come.
#[derive(Debug)]
struct Partial {
    bytes: Vec<u8>,
    /// One bit for each piece.
    has: u8,
}

impl Partial {
    /// Bits of all its pieces.
    fn all(&self) -> u8 {
        (1 << self.bytes.len().div_ceil(PIECE_SIZE_MAX)) - 1
    }
}

/// What arrives in one lane from one life of a peer.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    next: u64,
    early: BTreeMap<u64, Early>,
    partial: BTreeMap<u64, Partial>,
    /// The message under construction; none between two messages.
    message: Option<Vec<u8>>,
}

impl Incoming {
    /// Takes a fragment and hands out the messages that it completes.
    ///
    /// # Errors
    /// [`Malformed`] when the fragments do not make messages; the lane is of no use any more.
    pub(crate) fn take(
        &mut self,
        item: &Item<'_>,
        mut deliver: impl FnMut(Vec<u8>),
    ) -> Result<Taken, Malformed> {
        if item.sequence < self.next || self.early.contains_key(&item.sequence) {
            return Ok(Taken::Again);
        }
        if item.sequence - self.next >= WINDOW_FRAGMENTS {
            return Ok(Taken::Beyond);
        }
        if let Some(piece) = item.piece {
            return match self.gather(item, piece)? {
                Gathered::Whole(bytes) => {
                    self.take(&Item { piece: None, bytes: &bytes, ..*item }, deliver)
                }
                Gathered::Part(taken) => Ok(taken),
            };
        }
        self.partial.remove(&item.sequence);
        if item.sequence > self.next {
            let early = Early { first: item.first, last: item.last, bytes: item.bytes.to_vec() };
            self.early.insert(item.sequence, early);
            return Ok(Taken::New);
        }
        self.append(item.first, item.last, item.bytes, &mut deliver)?;
        while let Some(early) = self.early.remove(&self.next) {
            self.append(early.first, early.last, &early.bytes, &mut deliver)?;
        }
        Ok(Taken::New)
    }

    /// Puts a piece in its place.
    fn gather(&mut self, item: &Item<'_>, piece: Piece) -> Result<Gathered, Malformed> {
        let fresh = || Partial { bytes: vec![0; piece.whole], has: 0 };
        let partial = self.partial.entry(item.sequence).or_insert_with(fresh);
        if partial.bytes.len() != piece.whole {
            return Err(Malformed);
        }
        let bit = 1 << piece.place;
        if partial.has & bit != 0 {
            return Ok(Gathered::Part(Taken::Again));
        }
        partial.has |= bit;
        partial.bytes[piece.range()].copy_from_slice(item.bytes);
        if partial.has != partial.all() {
            return Ok(Gathered::Part(Taken::New));
        }
        let whole = self.partial.remove(&item.sequence).expect("it was just seen");
        Ok(Gathered::Whole(whole.bytes))
    }

    fn append(
        &mut self,
        first: bool,
        last: bool,
        bytes: &[u8],
        deliver: &mut impl FnMut(Vec<u8>),
    ) -> Result<(), Malformed> {
        let mut message = match (first, self.message.take()) {
            (true, None) => Vec::new(),
            (false, Some(message)) => message,
            (true, Some(_)) | (false, None) => return Err(Malformed),
        };
        if message.len() + bytes.len() > MESSAGE_SIZE_MAX {
            return Err(Malformed);
        }
        message.extend_from_slice(bytes);
        self.next += 1;
        if last {
            deliver(message);
        } else {
            self.message = Some(message);
        }
        Ok(())
    }

    /// What to tell the sender.
    pub(crate) fn ack(&self) -> Ack {
        let mut ack = Ack { next: self.next, map: [0; 4] };
        for sequence in self.early.keys() {
            let bit = sequence - self.next - 1;
            ack.map[(bit / 64) as usize] |= 1 << (bit % 64);
        }
        ack
    }
}
