//! A machine's `CLOCK_BOOTTIME`: starts somewhere, and runs a little too fast or too slow.
//!
//! Assumption A3 of the protocol bounds the difference of a clock's rate from real time (0.5 %);
//! the simulated clocks use all of it. Real time is nanoseconds since the start of the run.

use base::Instant;

/// The greatest error of a clock's rate, in parts per million: base's bound.
pub const RATE_ERROR_MAX: i64 = base::CLOCK_RATE_ERROR_PERMILLE as i64 * 1_000;

/// One machine's clock since its last power-on.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Real time at power-on.
    began: u64,
    /// What the clock showed then.
    base: u64,
    /// Parts per million that it runs too fast.
    rate: i64,
}

impl Clock {
    /// A clock that shows `base` nanoseconds at real time `began`.
    #[must_use]
    pub fn new(began: u64, base: u64, rate: i64) -> Clock {
        assert!(rate.abs() <= RATE_ERROR_MAX, "beyond the promise");
        Clock { began, base, rate }
    }

    /// What the clock shows at this real time.
    #[must_use]
    pub fn local(&self, real: u64) -> Instant {
        let elapsed = real.saturating_sub(self.began) as i64;
        let error = elapsed / 1_000 * self.rate / 1_000;
        Instant::from_nanos(self.base.saturating_add_signed(elapsed + error))
    }

    /// The earliest real time at which the clock shows at least this.
    #[must_use]
    pub fn real(&self, local: Instant) -> u64 {
        let elapsed = local.as_nanos().saturating_sub(self.base);
        if elapsed > 1 << 60 {
            return u64::MAX;
        }
        let scaled = u128::from(elapsed) * 1_000_000 / (1_000_000 + self.rate) as u128;
        let mut real = self.began + (scaled as u64).saturating_sub(2_000);
        // The clock moves in steps of a microsecond's error, so that a few of them are enough.
        while self.local(real) < local {
            let missing = local.since(self.local(real)).as_nanos() as u64;
            real += (missing / 2).max(1);
        }
        real
    }
}

#[cfg(test)]
mod tests;
