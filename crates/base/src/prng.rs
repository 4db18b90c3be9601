//! Randomness as an argument: one seed, one labelled child for each user.
//!
//! A child depends on its parent's seed and its label only, so that one more draw in one place
//! does not change every draw in all others, and a failing run can be shrunk.

use core::ops::RangeInclusive;
use core::time::Duration;

/// A small deterministic generator (SplitMix64: Steele, Lea, Flood, OOPSLA 2014). Not for keys.
#[derive(Clone, Debug)]
pub struct Prng {
    seed: u64,
    state: u64,
}

impl Prng {
    /// The generator of `seed`; equal seeds give equal sequences.
    #[must_use]
    pub fn new(seed: u64) -> Prng {
        Prng { seed, state: seed }
    }

    /// A generator of its own for one use, independent of what was drawn here before.
    #[must_use]
    pub fn child(&self, label: &str) -> Prng {
        // FNV-1a keeps labels apart; the mixer below does the rest.
        let hash = label.bytes().fold(self.seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Prng::new(mix(hash))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number of the closed range; the range must not be empty.
    pub fn range(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = (*range.start(), *range.end());
        assert!(low <= high, "an empty range has no numbers");
        match (high - low).checked_add(1) {
            None => self.next_u64(),
            // Multiply-shift; the bias for ranges far below 2^64 does not matter here.
            Some(span) => low + ((u128::from(self.next_u64()) * u128::from(span)) >> 64) as u64,
        }
    }

    /// True in `numerator` of `denominator` cases.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.range(0..=denominator - 1) < numerator
    }

    /// A duration of the closed range.
    pub fn duration(&mut self, range: RangeInclusive<Duration>) -> Duration {
        let nanos = |d: &Duration| u64::try_from(d.as_nanos()).expect("delays are below 584 years");
        Duration::from_nanos(self.range(nanos(range.start())..=nanos(range.end())))
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
