//! The receiving half of a lane: from fragments in any order to whole messages in order.
//!
//! Sequence numbers count fragments, not bytes. What is next is appended to the message under
//! construction; what is early waits, at most [`WINDOW_FRAGMENTS`] of it. First and last fragments
//! are marked, so a message needs no length in front that would have to be believed.

use std::collections::BTreeMap;

use base::codec::Malformed;
use base::limits::MESSAGE_SIZE_MAX;

use crate::wire::{Ack, Item, WINDOW_FRAGMENTS};

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

/// What arrives in one lane from one life of a peer.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    next: u64,
    early: BTreeMap<u64, Early>,
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
