//! The other side of a test: answers asks and keeps their tally.
//!
//! Who asks has the cluster's key, or plays back what such a one sent. Either way little can be had
//! here: so many answers in a second, so many runs remembered. An ask that comes when there were too
//! many is counted and not answered, and the tally, which has an allowance of its own, says so: a busy
//! node is not taken for a bad path.

use std::collections::BTreeSet;
use std::time::Duration;

use base::{Instant, NodeId};

use super::wire::{Body, Flags, SIZE_MIN};

/// Runs that are remembered at one time; the one that was silent for longest makes room.
pub const RUNS_MAX: usize = 32;
/// Asks of one run that are counted.
pub const COUNTED_MAX: usize = 2_000;
/// Answers in one second, to all.
pub const ANSWERS_PER_SECOND: u32 = 500;
/// Tallies told in one second, to all.
pub const TALLIES_PER_SECOND: u32 = 100;

/// Tallies of the runs of others.
#[derive(Debug, Default)]
pub struct Responder {
    runs: Vec<Run>,
    second: Instant,
    answers: u32,
    tallies: u32,
    /// Asks that were not answered because there were too many.
    pub dropped: u64,
}

#[derive(Debug)]
struct Run {
    source: NodeId,
    run: u64,
    newest: Instant,
    got: BTreeSet<u32>,
    answered: u32,
    largest: u16,
    /// Asks of it came that were not answered.
    is_surplus: bool,
}

/// An answer to be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub body: Body,
    /// How many bytes it shall have.
    pub size: usize,
    /// Whether it must not be cut into fragments.
    pub whole: bool,
}

impl Responder {
    /// The answer to an ask of `size` bytes; none when there were too many.
    pub fn ask(
        &mut self,
        now: Instant,
        source: NodeId,
        body: &Body,
        size: usize,
    ) -> Option<Answer> {
        if now.since(self.second) >= Duration::from_secs(1) {
            (self.second, self.answers, self.tallies) = (now, 0, 0);
        }
        let is_tally = body.flags.has(Flags::TALLY);
        let (spent, most) = match is_tally {
            true => (&mut self.tallies, TALLIES_PER_SECOND),
            false => (&mut self.answers, ANSWERS_PER_SECOND),
        };
        let is_surplus = *spent == most;
        *spent += u32::from(!is_surplus);
        self.dropped += u64::from(is_surplus);
        if is_surplus && is_tally {
            return None;
        }
        let found = self.runs.iter().position(|run| (run.source, run.run) == (source, body.run));
        let place = match found {
            Some(place) => place,
            None if is_tally => {
                // Nothing of that run has come.
                let body = Body { got: 0, answered: 0, largest: 0, ..*body };
                return Some(Answer { body, size: SIZE_MIN, whole: false });
            }
            None => self.begin(now, source, body.run),
        };
        let run = &mut self.runs[place];
        run.newest = now;
        if !is_tally {
            run.largest = run.largest.max(u16::try_from(size).unwrap_or(u16::MAX));
        }
        let counts = body.flags.has(Flags::COUNTS) && run.got.len() < COUNTED_MAX;
        if counts && run.got.insert(body.sequence) {
            run.answered += u32::from(!is_surplus);
        }
        run.is_surplus |= is_surplus;
        if is_surplus {
            return None;
        }
        let got = u32::try_from(run.got.len()).expect("few are counted");
        let (answered, largest) = (run.answered, run.largest);
        let busy = if run.is_surplus { Flags::BUSY } else { Flags::default() };
        let flags = body.flags.with(busy);
        let body = Body { got, answered, largest, flags, ..*body };
        let whole = body.flags.has(Flags::WHOLE);
        Some(Answer { body, size: usize::from(body.want).max(SIZE_MIN), whole })
    }

    fn begin(&mut self, now: Instant, source: NodeId, run: u64) -> usize {
        if self.runs.len() == RUNS_MAX {
            let oldest = self.runs.iter().enumerate().min_by_key(|(_, run)| run.newest);
            let (oldest, _) = oldest.expect("there are some");
            self.runs.swap_remove(oldest);
        }
        let got = BTreeSet::new();
        let (answered, largest, is_surplus) = (0, 0, false);
        self.runs.push(Run { source, run, newest: now, got, answered, largest, is_surplus });
        self.runs.len() - 1
    }
}
