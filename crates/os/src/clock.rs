//! The clocks and the kernel's randomness.
//!
//! The cluster's time is `CLOCK_BOOTTIME`: it never steps, and unlike `CLOCK_MONOTONIC` it goes on
//! while the machine is suspended, so a lease cannot be slept through. No clock of a virtual machine
//! goes on while the hypervisor holds it; that is not repaired here.
//!
//! The wall clock steps and may be wrong by years. Its only lawful uses: a floor for the durable
//! incarnation number, and times that people read.

use base::Instant;
use rustix::time::{ClockId, clock_gettime};

/// The moment now on `CLOCK_BOOTTIME`.
#[must_use]
pub fn boottime() -> Instant {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).expect("CLOCK_BOOTTIME starts at zero");
    let nanos = u64::try_from(now.tv_nsec).expect("nanoseconds are not negative");
    Instant::from_nanos(seconds * 1_000_000_000 + nanos)
}

/// Milliseconds since 1970 by the wall clock, zero if it is set before that.
#[must_use]
pub fn wall_millis() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).expect("nanoseconds are not negative");
    seconds * 1_000 + nanos / 1_000_000
}

/// Fills `bytes` from the kernel's random generator.
///
/// Waits only in the first second of a machine's life, before the generator is seeded.
///
/// # Panics
/// When the kernel has no `getrandom` (older than 3.17).
pub fn random(bytes: &mut [u8]) {
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("the kernel's random generator does not answer: {error}"),
        }
    }
}
