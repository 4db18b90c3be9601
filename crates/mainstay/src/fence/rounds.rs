//! When the agents of a node are asked by themselves whether they would answer.
//!
//! A password that was changed, or a board that is on no network any more, is found out by asking, or by a
//! takeover that does not happen. So each node asks the agents of all others, once in each interval: any of
//! them may be the one that has to turn a machine off, and what one of them gets through to another may not.
//!
//! **Rule.** Wall-clock time is cut into slots of one interval; a check is due when the last one was in another
//! slot than the present moment. The slots of each node begin at a moment of their own, a fraction of the
//! interval apart, so that a device is not asked by all at once, however long they run; nothing has to be
//! agreed on or remembered but when the last check was. A clock that is set asks once too often at worst.
//! What failed is asked more often, since a person is mending it, or it was a moment's trouble.

use std::time::Duration;

/// How soon what failed is asked again, if the interval is longer.
const RETRY: Duration = Duration::from_secs(300);
/// A daemon that has just started has other things to do.
const FIRST: Duration = Duration::from_secs(10);
/// Between the first checks of one node and the next.
const FIRST_STEP: Duration = Duration::from_secs(5);

/// One of the nodes that ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Its place among them.
    pub place: usize,
    /// How many there are.
    pub of: usize,
    /// How long its daemon has been up.
    pub uptime: Duration,
}

/// The last check of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// When it was, milliseconds since 1970.
    pub at_ms: u64,
    /// All agents answered.
    pub ok: bool,
}

/// How long until the next check is due, at this time (milliseconds since 1970); zero: now.
///
/// # Panics
/// When the asker is not one of those that it is counted among.
#[must_use]
pub fn wait(last: Option<Last>, now_ms: u64, interval: Duration, asker: Asker) -> Duration {
    assert!(asker.place < asker.of, "{asker:?} has a place among those who ask");
    let places = |count: usize| u32::try_from(count).expect("a cluster is small");
    let Some(last) = last else {
        return (FIRST + FIRST_STEP * places(asker.place)).saturating_sub(asker.uptime);
    };
    let period = if last.ok { interval } else { interval.min(RETRY) };
    let offset = millis(period * places(asker.place) / places(asker.of));
    let period = millis(period).max(1);
    // Later than any offset, so nothing here is negative.
    let slot = |at: u64| (at.saturating_add(period) - offset) / period;
    if slot(last.at_ms) != slot(now_ms) {
        return Duration::ZERO;
    }
    Duration::from_millis(period - (now_ms.saturating_add(period) - offset) % period)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
