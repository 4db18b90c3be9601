//! What an outside client saw: every probe, every answer, and what follows from them.
//!
//! The order of answers is the order in which the client's one socket received them, so "an answer
//! of the old one after the first of the new one" needs no clocks of the nodes and no agreement
//! between clocks. Times are the kernel's receive stamps where it gives any.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::milliseconds;

#[cfg(test)]
mod tests;

/// Answers and probes that one trace keeps; at 5 ms that is more than five hours.
pub const ANSWERS_MAX: usize = 4_000_000;

/// How long a probe and its answer may be on their way on a busy machine: a cut in that time loses
/// them.
const ON_ITS_WAY: Duration = Duration::from_millis(25);

/// For so many further questions an unanswered one may still be answered. What comes late without a number of its
/// own (ARP) counts for a later question, which then seems to have two answers.
const LATE_FOR: u64 = 10;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The probe that it answers.
    pub number: u64,
    /// Index in [`Trace::responders`].
    pub responder: u16,
    /// Process that answered, as it calls itself; 0 where the kernel answered.
    pub pid: u32,
    /// When the probe was sent, nanoseconds since boot.
    pub sent: u64,
    /// When the answer was received, nanoseconds since boot.
    pub received: u64,
}

/// Everything that a client saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Names of those who answered, in order of appearance.
    pub responders: Vec<String>,
    /// When each probe was sent, by number (nanoseconds since boot).
    pub sent: Vec<u64>,
    /// Number of the first entry of `sent`.
    pub first_number: u64,
    /// Probes that the client's own kernel refused to send (no route, no carrier).
    pub unsendable: u64,
    /// Answers in the order of arrival.
    pub answers: Vec<Answer>,
    /// Answers and probes beyond [`ANSWERS_MAX`], which were not kept.
    pub dropped: u64,
}

/// A time without answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// When it began, nanoseconds since boot.
    pub from: u64,
    /// Its length in milliseconds.
    pub milliseconds: f64,
}

/// A change of the responder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Who answered before.
    pub from: String,
    /// Who answered from then on.
    pub to: String,
    /// From the last answer of the one to the first of the other, in milliseconds.
    pub milliseconds: f64,
}

/// A stretch of answers of one responder without another in between.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Who answered.
    pub responder: String,
    /// How many answers.
    pub answers: u64,
    /// When the first was received, nanoseconds since boot.
    pub first: u64,
    /// When the last was received, nanoseconds since boot.
    pub last: u64,
}

/// One second of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    /// Seconds since the first probe.
    pub second: u64,
    /// Probes sent.
    pub sent: u64,
    /// Answers received, by responder.
    pub answers: BTreeMap<String, u64>,
}

/// The verdicts on a trace (or a part of one).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Probes sent.
    pub sent: u64,
    /// Probes that nobody answered.
    pub lost: u64,
    /// Who answered at all.
    pub responders: BTreeSet<String>,
    /// The longest time without an answer, from the first probe to the last one answered or lost.
    pub longest_gap: Option<Gap>,
    /// Changes of the responder, in order.
    pub changes: Vec<Change>,
    /// Answers of one that had been followed by another: a second owner.
    pub late_answers: u64,
    /// From the first answer of a new one to the last answer of an old one after it, in
    /// milliseconds: how long there were two. 0 if never.
    pub overlap_milliseconds: f64,
    /// Probes that were answered more than once.
    pub answered_twice: u64,
    /// Answers that no question is left for, although one that came late pays for its own: see
    /// [`Trace::surplus`].
    #[serde(default)]
    pub surplus: u64,
    /// Probes with such an answer that had answers of different responders.
    #[serde(default)]
    pub contested: u64,
    /// Processes that answered, by responder.
    pub pids: BTreeMap<String, BTreeSet<u32>>,
}

impl Trace {
    fn name(&self, index: u16) -> &str {
        &self.responders[usize::from(index)]
    }

    /// The part about the probes that were sent in `[from, to)` (times since boot), with their
    /// answers whenever those came: what happened in one step of a story.
    pub fn between(&self, from: Duration, to: Duration) -> Self {
        let (from, to) = (from.as_nanos() as u64, to.as_nanos() as u64);
        let start = self.sent.partition_point(|sent| *sent < from);
        let end = self.sent.partition_point(|sent| *sent < to);
        let inside = |answer: &&Answer| answer.sent >= from && answer.sent < to;
        Self {
            responders: self.responders.clone(),
            sent: self.sent[start..end].to_vec(),
            first_number: self.first_number + start as u64,
            unsendable: 0,
            answers: self.answers.iter().filter(inside).cloned().collect(),
            dropped: self.dropped,
        }
    }

    /// When the newest probe was sent whose answer was received before `at`.
    pub fn answered_before(&self, at: Duration) -> Option<Duration> {
        let at = at.as_nanos() as u64;
        let before = self.answers.iter().rev().find(|answer| answer.received < at);
        before.map(|answer| Duration::from_nanos(answer.sent))
    }

    /// Stretches of one responder, in order.
    pub fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for answer in &self.answers {
            let responder = self.name(answer.responder);
            match runs.last_mut() {
                Some(run) if run.responder == responder => {
                    run.answers += 1;
                    run.last = answer.received;
                }
                _ => runs.push(Run {
                    responder: responder.to_owned(),
                    answers: 1,
                    first: answer.received,
                    last: answer.received,
                }),
            }
        }
        runs
    }

    /// Who answered last.
    pub fn last_responder(&self) -> Option<&str> {
        self.answers.last().map(|answer| self.name(answer.responder))
    }

    /// Whether one of so many newest probes was answered.
    pub fn is_answered_of(&self, newest: u64) -> bool {
        let end = self.first_number + self.sent.len() as u64;
        self.answers.last().is_some_and(|last| last.number + newest >= end)
    }

    /// Changes of the responder, in order: each gap of a takeover.
    pub fn changes(&self) -> Vec<Change> {
        let runs = self.runs();
        let pairs = runs.windows(2);
        pairs
            .map(|pair| Change {
                from: pair[0].responder.clone(),
                to: pair[1].responder.clone(),
                milliseconds: nanoseconds(pair[1].first.saturating_sub(pair[0].last)),
            })
            .collect()
    }

    /// The longest time without an answer. A silence at the end counts up to the last probe.
    pub fn longest_gap(&self) -> Option<Gap> {
        let first = *self.sent.first()?;
        let last = *self.sent.last()?;
        let mut before = first;
        let mut longest = Gap { from: first, milliseconds: 0.0 };
        let ends = self.answers.iter().map(|answer| answer.received).chain([last]);
        for at in ends {
            let length = nanoseconds(at.saturating_sub(before));
            if length > longest.milliseconds {
                longest = Gap { from: before, milliseconds: length };
            }
            before = before.max(at);
        }
        Some(longest)
    }

    /// Answers of a responder after another had begun to answer, and how long that went on.
    ///
    /// For a part of a trace in which at most one change is meant to happen: a later change back
    /// is counted too.
    pub fn late_answers(&self) -> (u64, f64) {
        let mut superseded: BTreeMap<u16, u64> = BTreeMap::new();
        let mut current: Option<u16> = None;
        let (mut late, mut overlap) = (0, 0.0f64);
        for answer in &self.answers {
            if let Some(since) = superseded.get(&answer.responder) {
                late += 1;
                overlap = overlap.max(nanoseconds(answer.received.saturating_sub(*since)));
                continue;
            }
            match current {
                Some(current) if current == answer.responder => {}
                Some(old) => {
                    superseded.insert(old, answer.received);
                    current = Some(answer.responder);
                }
                None => current = Some(answer.responder),
            }
        }
        (late, overlap)
    }

    /// Answers that no question is left for, and how many questions among them were answered by different
    /// responders: two stations have the address, also where both are called the same.
    ///
    /// For answers without numbers, which count for the latest question: a second answer may be a late
    /// one to a question shortly before, if that had none.
    pub fn surplus(&self) -> (u64, u64) {
        let mut answers: BTreeMap<u64, (u64, BTreeSet<u16>)> = BTreeMap::new();
        for answer in &self.answers {
            let (count, responders) = answers.entry(answer.number).or_default();
            *count += 1;
            responders.insert(answer.responder);
        }
        // The last question before this part, too, may be answered in it.
        let mut open = VecDeque::from_iter(self.first_number.checked_sub(1));
        let (mut surplus, mut contested) = (0, 0);
        for number in self.first_number..self.first_number + self.sent.len() as u64 {
            while open.front().is_some_and(|old| old + LATE_FOR < number) {
                open.pop_front();
            }
            let Some((count, responders)) = answers.get(&number) else {
                open.push_back(number);
                continue;
            };
            let late = (count - 1).min(open.len() as u64);
            open.drain(..late as usize);
            surplus += count - 1 - late;
            contested += u64::from(count - 1 > late && responders.len() > 1);
        }
        (surplus, contested)
    }

    /// When the probes were sent that nobody answered and that were not sent in one of these spans
    /// (times since boot), nor so shortly before one that the answer was still on its way.
    pub fn lost_outside(&self, spans: &[(Duration, Duration)]) -> Vec<Duration> {
        let answered: BTreeSet<u64> = self.answers.iter().map(|answer| answer.number).collect();
        let numbered = (self.first_number..).zip(&self.sent);
        let lost = numbered.filter(|(number, _)| !answered.contains(number));
        let inside = |sent: &Duration| {
            spans.iter().any(|(from, to)| *sent + ON_ITS_WAY >= *from && sent <= to)
        };
        lost.map(|(_, sent)| Duration::from_nanos(*sent)).filter(|sent| !inside(sent)).collect()
    }

    /// All verdicts.
    pub fn verdict(&self) -> Verdict {
        let mut times: BTreeMap<u64, u64> = BTreeMap::new();
        let mut pids: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for answer in &self.answers {
            *times.entry(answer.number).or_default() += 1;
            pids.entry(self.name(answer.responder).to_owned()).or_default().insert(answer.pid);
        }
        let numbers = self.first_number..self.first_number + self.sent.len() as u64;
        let answered = numbers.clone().filter(|number| times.contains_key(number)).count() as u64;
        let (late_answers, overlap_milliseconds) = self.late_answers();
        let (surplus, contested) = self.surplus();
        Verdict {
            sent: self.sent.len() as u64,
            lost: self.sent.len() as u64 - answered,
            responders: pids.keys().cloned().collect(),
            longest_gap: self.longest_gap(),
            changes: self.changes(),
            late_answers,
            overlap_milliseconds,
            answered_twice: times.values().filter(|count| **count > 1).count() as u64,
            surplus,
            contested,
            pids,
        }
    }

    /// One line per second: how many probes, how many answers from whom.
    pub fn per_second(&self) -> Vec<Second> {
        let Some(first) = self.sent.first().copied() else { return Vec::new() };
        let second = |at: u64| at.saturating_sub(first) / 1_000_000_000;
        let mut seconds: BTreeMap<u64, Second> = BTreeMap::new();
        let empty = |second: u64| Second { second, sent: 0, answers: BTreeMap::new() };
        for sent in &self.sent {
            let number = second(*sent);
            seconds.entry(number).or_insert_with(|| empty(number)).sent += 1;
        }
        for answer in &self.answers {
            let number = second(answer.received);
            let entry = seconds.entry(number).or_insert_with(|| empty(number));
            *entry.answers.entry(self.name(answer.responder).to_owned()).or_default() += 1;
        }
        seconds.into_values().collect()
    }

    /// Records a probe; the numbers of probes follow each other.
    pub fn note_sent(&mut self, at: Duration, sendable: bool) {
        if self.sent.len() >= ANSWERS_MAX {
            self.dropped += 1;
            return;
        }
        self.sent.push(at.as_nanos() as u64);
        self.unsendable += u64::from(!sendable);
    }

    /// Records an answer to the probe `number`; one to a probe that was never sent is ignored.
    pub fn note_answer(&mut self, number: u64, name: &str, pid: u32, at: Duration) {
        let Some(sent) = self.sent.get(number as usize).copied() else { return };
        if self.answers.len() >= ANSWERS_MAX {
            self.dropped += 1;
            return;
        }
        let index = self.responders.iter().position(|known| known == name);
        let index = index.unwrap_or_else(|| {
            self.responders.push(name.to_owned());
            self.responders.len() - 1
        });
        let Ok(responder) = u16::try_from(index) else { return };
        self.answers.push(Answer { number, responder, pid, sent, received: at.as_nanos() as u64 });
    }
}

fn nanoseconds(length: u64) -> f64 {
    milliseconds(Duration::from_nanos(length))
}
