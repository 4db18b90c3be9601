//! Time of the lab: it measures real daemons, so it reads the real clock.
//!
//! `CLOCK_BOOTTIME`, the clock that the daemons use for their leases. All figures of the lab are
//! durations since boot, in nanoseconds where they are stored, in milliseconds where they are shown.

use std::time::Duration;

use rustix::thread::{ClockId, NanosleepRelativeResult, Timespec, clock_nanosleep_relative};
use rustix::time::clock_gettime;

/// Time since the machine was started.
pub fn now() -> Duration {
    duration(clock_gettime(ClockId::Boottime))
}

/// The wall clock, only to convert the kernel's receive stamps (they are wall-clock stamps).
pub(crate) fn wall() -> Duration {
    duration(clock_gettime(ClockId::Realtime))
}

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
