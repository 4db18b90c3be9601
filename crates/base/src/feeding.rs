//! When a watchdog may be armed, fed and disarmed.
//!
//! Intuition: a storage service writes until its machine dies, so survivors must know when the machine
//! of a lost node is dead for sure. A watchdog resets it at most w after it was fed for the last time. If
//! it is fed **only on fresh evidence** that the others still know this node (X, at most δ old), then a
//! lost node is reset by X + δ + w, whatever became of its processes, and the survivors wait
//! (w + δ)(1 + 2ρ) + ε after their own last contact ([`crate::Timing::storage_fence_wait`]).
//!
//! **Rules**
//! - While anything of a storage service is here, or may be, a feeding needs evidence that is newer than
//!   that of the feeding before and at most δ old *when it reaches the device*: whoever carries out the
//!   order looks again just before ([`Feeding::may`]), and once more afterwards ([`Feeding::overdue`]). One
//!   that came through too late, because somebody stopped the guard between the two, is mended by a
//!   timeout that is shorter by as much. Setting it is a feeding, too, and may be held up like one: so it
//!   is looked at again, and what counts is when the device would reset the machine by now.
//! - After a storage service was killed nothing feeds until it is confirmed that all of it is gone: evidence
//!   of a life that came later says nothing about what the former one has left.
//! - On a clean machine, where nothing is left that could write, it is always fed: being out of the
//!   cluster is no reason for a reset.
//! - Arming is a feeding: opening the device starts its timer.
//! - It is disarmed at the end of the guard, on a clean machine, and never else.
//!
//! Assumes that the clock is the strict one, which does not stop while the machine sleeps, and that a
//! storage service is only entered while evidence is at most δ old: then the last feeding of the clean
//! machine came before X + δ, too. Plain state; the guard and the simulator drive it.

use core::time::Duration;

use crate::{CLOCK_GRANULARITY, Instant};

/// A reset that is late by less than this comes in time: ε of the fence wait.
const TOLERANCE: Duration = CLOCK_GRANULARITY;
/// Devices count in seconds, and none is too few.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Feedings per timeout: so many may fail in a row, nearly.
const FEEDINGS: u32 = 8;
/// A device is not fed more seldom than this, however long its timeout: the time left says something.
const INTERVAL_MAX: Duration = Duration::from_secs(5);
/// How soon an attempt is repeated that failed.
const RETRY: Duration = Duration::from_millis(500);

/// What the guard sees at one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// X: the newest own stamp that more than half of the view has echoed. [`Instant::ZERO`]: none.
    pub evidence: Instant,
    /// δ. Zero: no daemon has said it, nor entered what a former one has left here.
    pub freshness: Duration,
    /// Something of a storage service is here, or may be: entered, and not confirmed to be gone.
    pub storage: bool,
    /// ... and of one that was killed.
    pub killed: bool,
}

/// What is to be done with the device. Answer each with [`Feeding::done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Open it and set its timeout, if it [may](Feeding::may) be.
    Arm,
    /// Feed it, if it [may](Feeding::may) be.
    Feed,
}

/// What came of an [`Act`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is armed with this timeout.
    Armed(Duration),
    /// It was fed.
    Fed,
    /// It was not: too late, or the device refused.
    NotFed,
    /// It could not be armed.
    Off,
}

/// A device that would reset this machine later than the others count on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// By how much later.
    pub by: Duration,
    /// The timeout that it needs, in whole seconds; none: it has the shortest one that there is.
    pub shorter: Option<Duration>,
}

/// Why a watchdog is fed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No storage service is here: it is fed.
    Clean,
    /// Evidence is fresh: it is fed.
    Fresh,
    /// A storage service was killed and is not confirmed to be gone: it is not fed.
    Killed,
    /// Evidence is too old: it is not fed.
    Stale,
    /// There is no evidence, or no daemon has looked yet what is here: it is not fed.
    None,
}

/// The watchdog of one machine, as its guard knows it.
#[derive(Clone, Debug, Default)]
pub struct Feeding {
    wanted: bool,
    armed: Option<Armed>,
    /// The evidence that an act rests on which is not answered yet.
    running: Option<Instant>,
    /// Not before this.
    next: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    timeout: Duration,
    /// The evidence that it was fed on last.
    evidence: Instant,
}

impl Feeding {
    /// A watchdog that is not armed, and nobody wants it to be.
    #[must_use]
    pub fn new() -> Feeding {
        Feeding::default()
    }

    /// From now on it is to be armed, as soon as that may be.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Its timeout, while it is armed.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.armed.map(|armed| armed.timeout)
    }

    /// Whether an act is not answered yet.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.running.is_some()
    }

    /// Why it is fed, or is not.
    #[must_use]
    pub fn reason(now: Instant, sight: &Sight) -> Reason {
        if sight.freshness.is_zero() {
            Reason::None
        } else if !sight.storage {
            Reason::Clean
        } else if sight.killed {
            Reason::Killed
        } else if sight.evidence == Instant::ZERO {
            Reason::None
        } else if now <= sight.evidence + sight.freshness {
            Reason::Fresh
        } else {
            Reason::Stale
        }
    }

    /// Whether the device may be fed, or armed, now.
    #[must_use]
    pub fn may(now: Instant, sight: &Sight) -> bool {
        matches!(Feeding::reason(now, sight), Reason::Clean | Reason::Fresh)
    }

    /// Whether a device that has just taken a feeding, or a timeout, would reset this machine too late: the
    /// others count on `timeout` after X + δ, and `in_force` is what it counts from now, at the latest.
    #[must_use]
    pub fn overdue(
        now: Instant,
        sight: &Sight,
        timeout: Duration,
        in_force: Duration,
    ) -> Option<Overdue> {
        let due = sight.evidence + sight.freshness + timeout;
        let by = (now + in_force).since(due);
        if !sight.storage || by <= TOLERANCE {
            return None;
        }
        let left = Duration::from_secs(due.since(now).as_secs()).max(TIMEOUT_MIN);
        Some(Overdue { by, shorter: Some(left).filter(|left| *left < in_force) })
    }

    /// What is to be done now, if anything.
    pub fn turn(&mut self, now: Instant, sight: &Sight) -> Option<Act> {
        if self.running.is_some() || self.next.is_some_and(|next| now < next) {
            return None;
        }
        if !Feeding::may(now, sight) {
            return None;
        }
        let act = match &self.armed {
            Some(armed) if sight.storage && sight.evidence <= armed.evidence => return None,
            Some(_) => Act::Feed,
            None if self.wanted => Act::Arm,
            None => return None,
        };
        self.running = Some(sight.evidence);
        Some(act)
    }

    /// Whether the device may be stopped, which only the end of the guard is a reason for: not while
    /// anything of a storage service may be left.
    #[must_use]
    pub fn may_disarm(sight: &Sight) -> bool {
        !sight.storage
    }

    /// What came of the act that was ordered last.
    ///
    /// # Panics
    /// When none was.
    pub fn done(&mut self, now: Instant, outcome: Outcome) {
        let evidence = self.running.take().expect("an answer follows an act");
        match outcome {
            Outcome::Armed(timeout) => {
                self.armed = Some(Armed { timeout, evidence });
                self.next = Some(now + interval(timeout));
            }
            Outcome::Fed => {
                let armed = self.armed.as_mut().expect("only what is armed is fed");
                armed.evidence = evidence;
                self.next = Some(now + interval(armed.timeout));
            }
            // On the same evidence it may be tried again, as long as that is fresh.
            Outcome::NotFed => self.next = Some(now + RETRY),
            Outcome::Off => {
                // Whoever wanted it armed is told, and says so again.
                self.wanted = false;
                self.next = Some(now + RETRY);
            }
        }
    }
}

/// Between two feedings.
#[must_use]
pub fn interval(timeout: Duration) -> Duration {
    (timeout / FEEDINGS).min(INTERVAL_MAX)
}

#[cfg(test)]
mod tests;
