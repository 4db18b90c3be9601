//! Whether a service's processes wrote after their successors had begun to.
//!
//! A process must have ended before a successor starts: once a younger life of a service has written a stamp, an
//! older one writes none. The order is that of the file, so no clock is asked.
//!
//! Where guard and daemon of a node are both gone or stopped, nobody can end a process there; that is known and
//! documented, and the kernel closes the address alone, which the other rules judge. So a late stamp is excused exactly
//! where the [census](crate::census) excuses a process: unless the guard of the node, or its daemon without one, was seen
//! at work for the whole time of grace before, and once more afterwards.

use std::collections::BTreeMap;

use super::Breach;
use crate::census::Guarded;
use crate::stamps::{Life, Stamp};

/// What a service has written.
pub(in crate::torture) struct Written<'a> {
    /// Its name.
    pub(in crate::torture) service: &'a str,
    /// In the order of the file.
    pub(in crate::torture) stamps: &'a [Stamp],
    /// When which node's guard was at work.
    pub(in crate::torture) guarded: &'a Guarded,
}

/// The late stamps of one life.
struct Late<'a> {
    first: &'a Stamp,
    /// Who had written before.
    after: &'a Stamp,
    count: u64,
}

impl Written<'_> {
    /// Lives that wrote after a younger one had begun to, each told once, and how many late stamps are excused.
    pub(in crate::torture) fn breaches(&self) -> (Vec<Breach>, u64) {
        // Of each life the first stamp; in the order of these.
        let mut lives: Vec<&Stamp> = Vec::new();
        let mut late: BTreeMap<&Life, Late<'_>> = BTreeMap::new();
        let mut excused = 0;
        for stamp in self.stamps {
            let Some(place) = lives.iter().position(|first| first.life == stamp.life) else {
                lives.push(stamp);
                continue;
            };
            let Some(after) = lives.get(place + 1) else { continue };
            if !self.guarded.covers(&stamp.life.node, stamp.at) {
                excused += 1;
                continue;
            }
            let new = || Late { first: stamp, after, count: 0 };
            late.entry(&stamp.life).or_insert_with(new).count += 1;
        }
        let breach = |(life, Late { first, after, count }): (&Life, Late<'_>)| {
            let behind = first.at.saturating_sub(after.at) / 1_000;
            let what = format!(
                "the process {} of {} wrote {count} stamps after {} of {} had begun to, the first of them {behind} µs later",
                life.pid, life.node, after.life.pid, after.life.node
            );
            Breach { service: self.service.to_owned(), what, at: first.at }
        };
        (late.into_iter().map(breach).collect(), excused)
    }

    /// What makes it no evidence: nothing written, or not all that was.
    pub(in crate::torture) fn complaints(&self) -> Vec<String> {
        let service = self.service;
        if self.stamps.is_empty() {
            return vec![format!("no process of {service} has written a stamp")];
        }
        let mut next: BTreeMap<&Life, u64> = BTreeMap::new();
        let mut complaints = Vec::new();
        for stamp in self.stamps {
            let expected = next.entry(&stamp.life).or_default();
            if stamp.sequence != *expected {
                let (life, found) = (&stamp.life, stamp.sequence);
                complaints.push(format!(
                    "{service}: the stamp after number {expected} of {} of {} has number {found}",
                    life.pid, life.node
                ));
            }
            *expected = stamp.sequence + 1;
        }
        complaints
    }

    /// Who wrote in that time.
    pub(in crate::torture) fn lives_between(&self, (from, to): (u64, u64)) -> Vec<String> {
        let mut lives: Vec<&Life> = Vec::new();
        for stamp in self.stamps.iter().filter(|stamp| stamp.at >= from && stamp.at <= to) {
            if !lives.contains(&&stamp.life) {
                lives.push(&stamp.life);
            }
        }
        lives.iter().map(|life| format!("{} of {}", life.pid, life.node)).collect()
    }
}

#[cfg(test)]
mod tests;
