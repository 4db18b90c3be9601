//! A serial line as a way to one peer: frames cut into chunks, chunks into bytes, and back.
//!
//! ```text
//!  frame (1–1,200 bytes)   |............|............|.....|
//!                              chunk 7      chunk 8    chunk 9      of its stream
//!  chunk, 7–126 bytes
//!  0       1        2                      n - 4      n
//!  | flags | number | payload, 1–120 bytes | CRC-32   |
//!     │        └ one up with each chunk of the stream, wraps after 255
//!     └ 1 first of its frame, 2 last of its frame, 4 ordinary stream; the others are zero
//!
//!  on the line
//!  | 00 | chunk in COBS, 8–127 bytes without a zero | 00 |
//!    └ before the first chunk of a frame only         └ ends every chunk
//! ```
//!
//! A line has no datagrams, is slow, and makes noise. Three things follow.
//!
//! **Zero ends a chunk and stands nowhere else.** Consistent overhead byte stuffing (Cheshire and
//! Baker, IEEE/ACM Transactions on Networking 7(2), 1999) replaces each zero by the distance to the
//! next one, for one byte per chunk. So a receiver that is plugged in late, or lost its way in noise,
//! knows after the next zero where it is. A frame begins with a zero of its own: noise on the idle
//! line before it, which nothing ended, must not cost the frame. Two zeros in a row mean nothing.
//!
//! **A heartbeat does not wait for data.** There are two streams, pressing and ordinary. After each
//! chunk the sender begins again with the pressing one, so a heartbeat waits for one chunk at most:
//! 129 bytes, 11 ms at 115,200 baud. An old heartbeat is worth nothing once there is a newer one, so
//! the few that wait push each other out, while ordinary frames that find no room are refused.
//! A line so slow that heartbeats fill it carries no data.
//!
//! **Damage costs the frame and no more.** A chunk with a wrong checksum or shape is noise and
//! dropped. A frame of which a chunk is missing is torn and dropped; the numbers tell, per stream,
//! so a torn data frame does not touch the heartbeat that went through its middle. Just 256 chunks
//! lost in a row in the middle of a frame would go unseen here; the seal of the frame sees them.
//!
//! Nothing is sent twice and nothing is believed: repeating and authenticating are the transport's.
//!
//! **Assumed of the driver:** it asks for chunks one at a time, when the kernel has room for one, so
//! that chunks wait here, where they can be overtaken, and not there.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use base::limits::DATAGRAM_SIZE_MAX;

use crate::crc::crc32;

/// Pressing frames that wait, besides the one that is being sent.
pub const PRESSING_FRAMES_MAX: usize = 4;
/// Bytes of ordinary frames that wait, with the one that is being sent.
pub const ORDINARY_BYTES_MAX: usize = 8 * 1_024;
/// Bytes of a frame in one chunk.
pub const PAYLOAD_SIZE_MAX: usize = 120;
/// Bytes that [`Line::next_chunk`] appends at most.
pub const CHUNK_SIZE_MAX: usize = 1 + ENCODED_SIZE_MAX + 1;

const HEADER_SIZE: usize = 2;
const CHECKSUM_SIZE: usize = 4;
const PLAIN_SIZE_MAX: usize = HEADER_SIZE + PAYLOAD_SIZE_MAX + CHECKSUM_SIZE;
const ENCODED_SIZE_MAX: usize = PLAIN_SIZE_MAX + 1;

// The code for "254 bytes and no zero" never occurs, so each chunk has one encoding only.
const _: () = assert!(PLAIN_SIZE_MAX < 254);
const _: () = assert!(ORDINARY_BYTES_MAX >= DATAGRAM_SIZE_MAX);
// A frame has far fewer chunks than there are numbers.
const _: () = assert!(DATAGRAM_SIZE_MAX.div_ceil(PAYLOAD_SIZE_MAX) < 128);

const FIRST: u8 = 1;
const LAST: u8 = 2;
const ORDINARY: u8 = 4;

/// How often what happened on a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames whose last chunk was handed out.
    pub sent: u64,
    /// Frames that came whole.
    pub received: u64,
    /// Frames that found no room: ordinary ones refused, pressing ones pushed out by newer ones.
    pub dropped_full: u64,
    /// Stretches of bytes between two zeros that are no chunk of ours, and frames that grew beyond
    /// the limit.
    pub noise: u64,
    /// Frames dropped because a chunk was missing. A frame of which nothing came is not seen.
    pub torn: u64,
}

/// One end of a line, both directions.
#[derive(Debug, Default)]
pub struct Line {
    /// Pressing, then ordinary: the order in which they are sent.
    outgoing: [Outgoing; 2],
    incoming: [Incoming; 2],
    /// Encoded bytes since the last zero.
    gathered: Vec<u8>,
    /// More bytes came since the last zero than a chunk has; they are not kept.
    is_too_long: bool,
    counters: Counters,
}

/// One stream to the peer.
#[derive(Debug, Default)]
struct Outgoing {
    frames: VecDeque<Vec<u8>>,
    /// Bytes in `frames`.
    bytes: usize,
    /// Bytes of the oldest frame that are sent: more than none if it must be finished.
    sent: usize,
    number: u8,
}

/// One stream from the peer.
#[derive(Debug, Default)]
struct Incoming {
    frame: Vec<u8>,
    state: Assembly,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Assembly {
    /// Between frames.
    #[default]
    Idle,
    /// In a frame; the number of its next chunk.
    Gathering(u8),
    /// In a frame that is given up and counted.
    Skipping,
}

impl Line {
    /// A line on which nothing was sent or heard yet.
    #[must_use]
    pub fn new() -> Line {
        Line::default()
    }

    /// Queues a frame of 1 to [`DATAGRAM_SIZE_MAX`] bytes. Returns false if it is dropped, and
    /// counted, because [`ORDINARY_BYTES_MAX`] wait already. A pressing frame always finds room:
    /// of [`PRESSING_FRAMES_MAX`] that wait, the oldest is dropped and counted instead.
    pub fn push(&mut self, frame: &[u8], pressing: bool) -> bool {
        assert!(!frame.is_empty() && frame.len() <= DATAGRAM_SIZE_MAX, "frames are built to fit");
        let stream = &mut self.outgoing[usize::from(!pressing)];
        if pressing {
            // The frame that is being sent is not waiting, and half of it is of no use to anybody.
            let oldest = usize::from(stream.sent > 0);
            if stream.frames.len() - oldest == PRESSING_FRAMES_MAX {
                let dropped = stream.frames.remove(oldest).expect("four frames wait");
                stream.bytes -= dropped.len();
                self.counters.dropped_full += 1;
            }
        } else if stream.bytes + frame.len() > ORDINARY_BYTES_MAX {
            self.counters.dropped_full += 1;
            return false;
        }
        stream.bytes += frame.len();
        stream.frames.push_back(frame.to_vec());
        true
    }

    /// Appends the next chunk, ready for the line, at most [`CHUNK_SIZE_MAX`] bytes; false if
    /// nothing waits. Pressing frames come first.
    pub fn next_chunk(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(which) = self.outgoing.iter().position(|stream| !stream.frames.is_empty()) else {
            return false;
        };
        let stream = &mut self.outgoing[which];
        let frame = stream.frames.front().expect("a frame waits");
        let end = frame.len().min(stream.sent + PAYLOAD_SIZE_MAX);
        let is_first = stream.sent == 0;
        let is_last = end == frame.len();
        let mut flags = if which == 0 { 0 } else { ORDINARY };
        if is_first {
            flags |= FIRST;
            out.push(0);
        }
        if is_last {
            flags |= LAST;
        }
        encode(flags, stream.number, &frame[stream.sent..end], out);
        stream.number = stream.number.wrapping_add(1);
        if is_last {
            stream.bytes -= frame.len();
            stream.frames.pop_front();
            stream.sent = 0;
            self.counters.sent += 1;
        } else {
            stream.sent = end;
        }
        true
    }

    /// Whether nothing waits to be sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.outgoing.iter().all(|stream| stream.frames.is_empty())
    }

    /// Takes bytes as they come from the line, cut anywhere, and appends the frames that they
    /// complete, of 1 to [`DATAGRAM_SIZE_MAX`] bytes each.
    pub fn receive(&mut self, bytes: &[u8], frames: &mut Vec<Vec<u8>>) {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == 0) {
            self.gather(&rest[..end]);
            self.end_chunk(frames);
            rest = &rest[end + 1..];
        }
        self.gather(rest);
    }

    /// Forgets what waits to be sent and what came by halves, and keeps the counters: for a line
    /// that was unplugged and is opened again.
    pub fn clear(&mut self) {
        *self = Line { counters: self.counters, ..Line::default() };
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn gather(&mut self, bytes: &[u8]) {
        if self.gathered.len() + bytes.len() > ENCODED_SIZE_MAX {
            self.is_too_long = true;
        }
        if self.is_too_long {
            self.gathered.clear();
        } else {
            self.gathered.extend_from_slice(bytes);
        }
    }

    /// A zero came.
    fn end_chunk(&mut self, frames: &mut Vec<Vec<u8>>) {
        let is_too_long = core::mem::take(&mut self.is_too_long);
        if self.gathered.is_empty() && !is_too_long {
            return;
        }
        // What was too long is not kept, so it is no chunk either.
        match decode(&self.gathered) {
            Some(chunk) => self.take(&chunk, frames),
            None => self.counters.noise += 1,
        }
        self.gathered.clear();
    }

    fn take(&mut self, chunk: &Chunk, frames: &mut Vec<Vec<u8>>) {
        let is_first = chunk.flags & FIRST != 0;
        let is_last = chunk.flags & LAST != 0;
        let stream = &mut self.incoming[usize::from(chunk.flags & ORDINARY != 0)];
        let is_expected = match stream.state {
            Assembly::Idle => is_first,
            Assembly::Gathering(next) => !is_first && chunk.number == next,
            Assembly::Skipping => true,
        };
        if !is_expected {
            self.counters.torn += 1;
        }
        if is_first {
            stream.frame.clear();
        } else if !is_expected || stream.state == Assembly::Skipping {
            stream.state = if is_last { Assembly::Idle } else { Assembly::Skipping };
            return;
        }
        if stream.frame.len() + chunk.payload().len() > DATAGRAM_SIZE_MAX {
            self.counters.noise += 1;
            stream.state = if is_last { Assembly::Idle } else { Assembly::Skipping };
            return;
        }
        stream.frame.extend_from_slice(chunk.payload());
        if is_last {
            stream.state = Assembly::Idle;
            self.counters.received += 1;
            frames.push(stream.frame.clone());
        } else {
            stream.state = Assembly::Gathering(chunk.number.wrapping_add(1));
        }
    }
}

/// A chunk whose checksum holds.
#[derive(Debug)]
struct Chunk {
    flags: u8,
    number: u8,
    plain: [u8; PLAIN_SIZE_MAX],
    /// Where the payload ends in `plain`.
    end: usize,
}

impl Chunk {
    fn payload(&self) -> &[u8] {
        &self.plain[HEADER_SIZE..self.end]
    }
}

/// Appends a chunk in its form on the line, with the zero that ends it.
fn encode(flags: u8, number: u8, payload: &[u8], out: &mut Vec<u8>) {
    let mut plain = [0; PLAIN_SIZE_MAX];
    let end = HEADER_SIZE + payload.len();
    plain[..HEADER_SIZE].copy_from_slice(&[flags, number]);
    plain[HEADER_SIZE..end].copy_from_slice(payload);
    let checksum = crc32(&plain[..end]);
    plain[end..end + CHECKSUM_SIZE].copy_from_slice(&checksum.to_be_bytes());
    for run in plain[..end + CHECKSUM_SIZE].split(|&byte| byte == 0) {
        out.push(u8::try_from(run.len() + 1).expect("a chunk is shorter than 254 bytes"));
        out.extend_from_slice(run);
    }
    out.push(0);
}

/// The chunk in at most [`ENCODED_SIZE_MAX`] bytes without a zero; none if they are noise.
fn decode(encoded: &[u8]) -> Option<Chunk> {
    let mut plain = [0; PLAIN_SIZE_MAX];
    let mut length = 0;
    let mut rest = encoded;
    loop {
        let (&code, tail) = rest.split_first()?;
        let (run, tail) = tail.split_at_checked(usize::from(code).checked_sub(1)?)?;
        plain[length..length + run.len()].copy_from_slice(run);
        length += run.len();
        rest = tail;
        if rest.is_empty() {
            break;
        }
        // A code stands for the zero before it, and `plain` is full of zeros.
        length += 1;
    }
    let (content, checksum) = plain[..length].split_last_chunk::<CHECKSUM_SIZE>()?;
    if content.len() <= HEADER_SIZE || crc32(content).to_be_bytes() != *checksum {
        return None;
    }
    let [flags, number] = [content[0], content[1]];
    let end = content.len();
    (flags & !(FIRST | LAST | ORDINARY) == 0).then_some(Chunk { flags, number, plain, end })
}
