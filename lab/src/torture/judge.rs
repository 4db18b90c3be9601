//! Whether a service had two owners, from what the outside saw, from where its processes ran, and from what they
//! wrote ([`written`]).
//!
//! Services move back and forth here, so "the old one answered after the new one" says nothing by
//! names alone. Three rules that need no knowledge of the cluster:
//!
//! * **Processes.** A service that starts anywhere is a new process. Once a younger process has
//!   answered, a probe that is sent later is never answered by an older one.
//! * **Questions.** No question for the address is answered by two machines.
//! * **Addresses.** While one process answers, from before a question for the address until after its
//!   answer, no other machine says that the address is its own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::settings::{SERVICES, service_name};
use crate::census::Double;
use crate::clock::milliseconds;
use crate::trace::{Answer, Trace};

pub(super) mod written;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Breach {
    /// Which service.
    pub service: String,
    /// What was seen.
    pub what: String,
    /// When, nanoseconds since boot.
    pub at: u64,
}

/// A run of a process: machine, how often that had got power before, pid.
type Life<'a> = (&'a str, usize, u32);

/// What was seen of one service.
pub struct Evidence<'a> {
    /// Its name.
    pub service: &'a str,
    /// The answers of its process.
    pub answers: &'a Trace,
    /// The answers of kernels for its address.
    pub owners: &'a Trace,
    /// When each machine got power again, nanoseconds since boot: pids begin anew.
    pub power: &'a BTreeMap<String, Vec<u64>>,
}

/// While a process answered: from the first to the last time.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: u64,
    last: u64,
}

impl<'a> Evidence<'a> {
    fn life(&self, answer: &Answer) -> Life<'a> {
        let name = self.answers.responders[usize::from(answer.responder)].as_str();
        let times = self.power.get(name).map_or(&[][..], Vec::as_slice);
        (name, times.iter().filter(|at| **at <= answer.received).count(), answer.pid)
    }

    /// The processes in the order in which they were first heard of.
    fn lives(&self) -> Vec<(Life<'a>, Span)> {
        let mut lives: Vec<(Life<'a>, Span)> = Vec::new();
        for answer in &self.answers.answers {
            let life = self.life(answer);
            match lives.iter_mut().find(|(known, _)| *known == life) {
                Some((_, span)) => span.last = answer.received,
                None => {
                    let at = answer.received;
                    lives.push((life, Span { first: at, last: at }));
                }
            }
        }
        lives
    }

    /// Each time that the service came up on another machine than before: from the last answer there to the
    /// first one here, in milliseconds.
    #[must_use]
    pub fn outages(&self) -> Vec<f64> {
        let lives = self.lives();
        let moves = lives.windows(2).filter(|pair| pair[0].0.0 != pair[1].0.0);
        let outage = |pair: &[(Life<'_>, Span)]| {
            milliseconds(Duration::from_nanos(pair[1].1.first.saturating_sub(pair[0].1.last)))
        };
        moves.map(outage).collect()
    }

    /// Who answered probes that were sent in that time (nanoseconds since boot).
    #[must_use]
    pub fn lives_between(&self, (from, to): (u64, u64)) -> Vec<String> {
        let mut lives: Vec<Life<'_>> = Vec::new();
        for answer in &self.answers.answers {
            let life = self.life(answer);
            if answer.sent >= from && answer.sent <= to && !lives.contains(&life) {
                lives.push(life);
            }
        }
        lives.iter().map(|(name, _, pid)| format!("{pid} of {name}")).collect()
    }

    /// Whose kernels said, to questions of that time (nanoseconds since boot), that they have the address.
    #[must_use]
    pub fn owners_between(&self, (from, to): (u64, u64)) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for answer in &self.owners.answers {
            let name = &self.owners.responders[usize::from(answer.responder)];
            if answer.sent >= from && answer.sent <= to && !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// All breaches of all rules.
    #[must_use]
    pub fn breaches(&self) -> Vec<Breach> {
        let lives = self.lives();
        let place = |life: Life<'_>| lives.iter().position(|(known, _)| *known == life);
        let mut breaches = Vec::new();
        let mut breach = |what: String, at: u64| {
            breaches.push(Breach { service: self.service.to_owned(), what, at });
        };
        for answer in &self.answers.answers {
            let life = self.life(answer);
            let place = place(life).expect("every life is listed");
            let younger = lives[place + 1..].iter().find(|(_, span)| span.first < answer.sent);
            if let Some((new, span)) = younger {
                let after = (answer.sent - span.first) / 1_000;
                let what = format!(
                    "{} (pid {}) answered a probe that was sent {after} µs after {} (pid {}) had",
                    life.0, life.2, new.0, new.2
                );
                breach(what, answer.received);
            }
        }
        let contested = self.owners.surplus().1;
        if contested > 0 {
            let at = self.owners.sent.last().copied().unwrap_or_default();
            breach(format!("{contested} ARP requests were answered by two machines"), at);
        }
        for answer in &self.owners.answers {
            let name = self.owners.responders[usize::from(answer.responder)].as_str();
            // An answer that was received before its question was sent is one to an older question, of which
            // it is not known when that was.
            let around = |span: &Span| {
                span.first < answer.sent
                    && answer.sent <= answer.received
                    && answer.received < span.last
            };
            let owner = lives.iter().find(|(life, span)| life.0 != name && around(span));
            if let Some((owner, _)) = owner {
                let what = format!("{name} says that it has the address while {} serves", owner.0);
                breach(what, answer.received);
            }
        }
        breaches
    }
}

/// What the census says of a service: its process ran on several nodes that had a guard.
pub(super) fn ran_twice(double: &Double, port: impl Fn(usize) -> String) -> Breach {
    let index = (0..SERVICES).find(|index| port(*index) == double.port);
    let service = index.map_or_else(|| format!("port {}", double.port), service_name);
    let what = format!("its process ran on {} at once", double.nodes.join(", "));
    Breach { service, what, at: double.at.as_nanos() as u64 }
}

#[cfg(test)]
mod tests;
