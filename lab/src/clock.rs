//! Time of the lab: it measures real daemons, so it reads the real clock.
//!
//! `CLOCK_BOOTTIME`, the clock that the daemons use for their leases. All figures of the lab are
//! durations since boot, in nanoseconds where they are stored, in milliseconds where they are shown.

use std::time::Duration;

use rustix::thread::{ClockId, NanosleepRelativeResult, Timespec, clock_nanosleep_relative};
use rustix::time::clock_gettime;

#[cfg(test)]
mod tests;

/// Time since the machine was started.
pub fn now() -> Duration {
    duration(clock_gettime(ClockId::Boottime))
}

/// When that was which the kernel has stamped by the wall clock, as it stamps what it receives.
///
/// The two clocks are read one after the other, and a busy machine may stop us in between: then the stamp would be
/// taken for as much too early. So they are read until nothing came between, or as often as is reasonable.
pub(crate) fn of_wall(stamp: Duration) -> Duration {
    let read = || (now(), duration(clock_gettime(ClockId::Realtime)), now());
    on_our_clock(stamp, std::iter::repeat_with(read).take(READINGS_MAX))
}

/// By the first reading (ours, the wall's, ours) that is short, or the shortest one.
fn on_our_clock(
    stamp: Duration,
    readings: impl Iterator<Item = (Duration, Duration, Duration)>,
) -> Duration {
    let mut best = (Duration::ZERO, Duration::MAX, Duration::MAX);
    for reading in readings {
        best = std::cmp::min_by_key(best, reading, |(before, _, after)| *after - *before);
        if best.2 - best.0 <= READING {
            break;
        }
    }
    let (before, wall, after) = best;
    (before + (after - before) / 2).saturating_sub(wall.saturating_sub(stamp))
}

/// Reading the clocks takes less than a microsecond each when nothing comes between.
const READING: Duration = Duration::from_micros(20);
const READINGS_MAX: usize = 16;

/// Sleeps. The lab waits for other processes whose progress has no event that it could wait for.
pub fn pause(length: Duration) {
    let mut request = timespec(length);
    while let NanosleepRelativeResult::Interrupted(rest) =
        clock_nanosleep_relative(ClockId::Monotonic, &request)
    {
        request = rest;
    }
}

/// Milliseconds with their fraction, for people and for JSON.
pub fn milliseconds(length: Duration) -> f64 {
    length.as_nanos() as f64 / 1e6
}

pub(crate) fn timespec(length: Duration) -> Timespec {
    Timespec { tv_sec: length.as_secs() as i64, tv_nsec: i64::from(length.subsec_nanos()) }
}

fn duration(time: Timespec) -> Duration {
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
