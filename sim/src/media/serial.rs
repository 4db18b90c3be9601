//! A serial line: bytes take their time, and some of them do not arrive as they left.

use base::Prng;
use transport::serial::{CHUNK_SIZE_MAX, Line};

/// Bytes that wait in the sender's kernel at most (`os::serial`).
const KERNEL_BYTES_MAX: u64 = 256;
/// Bytes that the receiver's kernel keeps.
const RECEIVED_MAX: usize = 4_096;

/// A daemon's end of a line.
#[derive(Debug)]
pub struct LinePort {
    line: Line,
    /// Nanoseconds for each byte.
    byte: u64,
    /// When the last byte that the kernel has is on the wire.
    free_at: u64,
    /// Bytes that the daemon has not read yet.
    unread: usize,
    order: u64,
    is_waiting: bool,
}

impl LinePort {
    pub(super) fn new(baud: u32, now: u64) -> LinePort {
        // A start bit, eight of data, a stop bit.
        let byte = 10_000_000_000 / u64::from(baud);
        LinePort { line: Line::new(), byte, free_at: now, unread: 0, order: 0, is_waiting: false }
    }

    pub(super) fn push(&mut self, frame: &[u8]) {
        let _counted = self.line.push(frame, transport::is_pressing(frame));
    }

    fn in_kernel(&self, now: u64) -> u64 {
        self.free_at.saturating_sub(now).div_ceil(self.byte)
    }

    /// The next bytes that the kernel takes, and when they are through.
    pub(super) fn next_bytes(&mut self, now: u64) -> Option<(u64, Vec<u8>)> {
        if self.in_kernel(now) + CHUNK_SIZE_MAX as u64 > KERNEL_BYTES_MAX {
            return None;
        }
        let mut bytes = Vec::with_capacity(CHUNK_SIZE_MAX);
        if !self.line.next_chunk(&mut bytes) {
            return None;
        }
        self.free_at = self.free_at.max(now) + bytes.len() as u64 * self.byte;
        Some((self.free_at, bytes))
    }

    /// When to come back with more, unless somebody comes back already.
    pub(super) fn waits(&mut self, now: u64) -> Option<(u64, u64)> {
        if self.line.is_idle() || self.is_waiting {
            return None;
        }
        self.is_waiting = true;
        self.order += 1;
        let room = KERNEL_BYTES_MAX - CHUNK_SIZE_MAX as u64;
        Some((self.free_at.saturating_sub(room * self.byte).max(now + self.byte), self.order))
    }

    /// Whether this is what was waited for.
    pub(super) fn is_current(&mut self, order: u64) -> bool {
        let is_current = order == self.order;
        if is_current {
            self.is_waiting = false;
        }
        is_current
    }

    pub(super) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// Whether the kernel has room for what came; then it is taken.
    pub(super) fn has_room(&mut self, bytes: usize) -> bool {
        let fits = self.unread + bytes <= RECEIVED_MAX;
        if fits {
            self.unread += bytes;
        }
        fits
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.unread -= bytes.len();
        let mut frames = Vec::new();
        self.line.receive(bytes, &mut frames);
        frames
    }
}

/// One in sixteen chunks suffers.
pub(super) fn add_noise(bytes: &mut Vec<u8>, prng: &mut Prng) {
    let dice = prng.next_u64();
    if dice & 0xf != 0 {
        return;
    }
    let place = (dice >> 32) as usize % bytes.len();
    match dice >> 4 & 3 {
        0 => bytes[place] ^= 1 << (dice >> 8 & 7),
        1 => drop(bytes.remove(place)),
        2 => bytes.insert(place, (dice >> 8) as u8),
        _ => bytes.truncate(place),
    }
}
