//! What a stream consists of: each eight bytes are a function of a seed and their place (SplitMix64),
//! so that both ends know every byte without keeping any, and nothing that is lost, repeated or swapped
//! looks right.

use std::io;

const WORD: u64 = size_of::<u64>() as u64;
/// What tells the way back from the way out.
const BACK: u64 = 0x6261_636b_6261_636b;

/// A place in a stream.
#[derive(Debug, Clone)]
pub(super) struct Content {
    seed: u64,
    place: u64,
}

/// The stream of a client and the one that answers it.
pub(super) fn pair(seed: u64) -> (Content, Content) {
    (Content { seed, place: 0 }, Content { seed: seed ^ BACK, place: 0 })
}

impl Content {
    /// How many bytes lie behind it.
    pub(super) fn place(&self) -> u64 {
        self.place
    }

    /// The bytes from here on.
    pub(super) fn fill(&self, bytes: &mut [u8]) {
        for (at, byte) in (self.place..).zip(bytes) {
            *byte = self.byte(at);
        }
    }

    /// Goes on.
    pub(super) fn advance(&mut self, length: usize) {
        self.place += length as u64;
    }

    /// Compares with what it must be from here on, and goes on behind it.
    ///
    /// # Errors
    /// At the first byte that is another one, with its place.
    pub(super) fn compare(&mut self, bytes: &[u8]) -> io::Result<()> {
        let wrong = (self.place..).zip(bytes).find(|(at, byte)| self.byte(*at) != **byte);
        if let Some((at, byte)) = wrong {
            let text = format!("byte {at} is {byte:#04x} instead of {:#04x}", self.byte(at));
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.advance(bytes.len());
        Ok(())
    }

    fn byte(&self, at: u64) -> u8 {
        let mut word = self.seed.wrapping_add((at / WORD + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        word.to_be_bytes()[(at % WORD) as usize]
    }
}
