//! Interfaces that work again and get their share of the addresses back, where that is wished.
//!
//! A share went elsewhere because *one* interface failed, so only the end of such a failure brings it back.
//! That polls have proven an interface is no return by itself: a daemon that is started finds all of its
//! interfaces unproven, and a switch (the device) that went silent leaves none proven, and nothing has
//! left its place for either. Nor is it one that a network is back as a whole: a dead switch takes the carriers
//! one after the other, and gives them back so.
//!
//! So an interface has failed alone if another one of the network, proven to work, outlived it by
//! [`SWITCH_AFTER`], or was proven for [`RETURN_AFTER`] while this one did not work: as a local switch tells a
//! card from a switch. Who failed alone returns when it is proven to work.

use core::time::Duration;
use std::collections::BTreeMap;

use base::Instant;

use crate::machine::Network;
use crate::switch::{RETURN_AFTER, SWITCH_AFTER, watched_after};
use crate::{Interface, Share};

/// When the addresses of a network are shared out anew over interfaces that work again.
#[derive(Clone, Debug)]
pub(crate) struct Return {
    pub(crate) due: Option<Instant>,
    /// When an interface failed last, and how long one has to work since.
    failed: Option<Instant>,
    watched: Duration,
    /// Interfaces that have failed in this life of the daemon and are not proven to work again.
    missed: BTreeMap<String, Missed>,
}

/// An interface that has failed.
#[derive(Clone, Copy, Debug)]
struct Missed {
    since: Instant,
    /// It does not even seem to work.
    fails: bool,
    /// It failed, and not the network.
    is_alone: bool,
}

impl Return {
    pub(crate) const NONE: Return =
        Return { due: None, failed: None, watched: RETURN_AFTER, missed: BTreeMap::new() };
}

impl Network {
    /// Notes interfaces that fail, and that work again. To be called with what is seen now while the
    /// picture and what is known of each interface are still those before.
    pub(crate) fn mind_returns(&mut self, interfaces: &[Interface]) {
        let shares = self.shares.all.iter().filter(|share| share.rebalances);
        let noted: Vec<(String, Return)> = shares
            .map(|share| {
                let known = self.shares.returns.get(&share.net);
                let known = known.cloned().unwrap_or(Return::NONE);
                (share.net.clone(), self.note_returns(share, known, interfaces))
            })
            .collect();
        self.shares.returns.extend(noted);
    }

    fn note_returns(&self, share: &Share, known: Return, interfaces: &[Interface]) -> Return {
        let (now, before) = (self.now, self.interfaces());
        let cards = || share.cards.iter().chain(&share.standbys);
        let works = |interface: &Interface| interface.trouble().is_none();
        let mut next = known;
        next.missed.retain(|name, _| cards().any(|card| card == name));
        let mut returns = false;
        if cards().any(|name| has(before, name, works) && !has(interfaces, name, works)) {
            next.watched = watched_after(next.failed, next.watched, now);
            next.failed = Some(now);
            // One that has come back meanwhile waits as long as this one will.
            next.due = next.due.map(|_| now + next.watched);
        }
        for name in cards() {
            let fails = !has(interfaces, name, works);
            if let Some(missed) = next.missed.get_mut(name)
                && missed.fails
            {
                let others = || cards().filter(|other| *other != name);
                missed.is_alone |= others().any(|other| {
                    let is_beside = !fails && has(interfaces, other, works);
                    self.outlived(other, *missed, is_beside)
                });
            }
            if fails {
                // What was so at the first look was so for ever.
                let since = if self.picture.is_none() { Instant::ZERO } else { now };
                let fresh = Missed { since, fails, is_alone: false };
                let missed = next.missed.entry(name.clone()).or_insert(fresh);
                if !missed.fails {
                    *missed = Missed { is_alone: missed.is_alone, ..fresh };
                }
            } else if has(interfaces, name, Interface::is_proven) {
                returns |= next.missed.remove(name).is_some_and(|missed| missed.is_alone);
            } else if let Some(missed) = next.missed.get_mut(name) {
                missed.fails = false;
            }
        }
        if returns {
            next.due = Some(now + next.watched);
        }
        next
    }

    /// Whether an interface was of use for long enough while another one was not; that one works by now, and
    /// so does this one still, if it `is_beside`.
    fn outlived(&self, name: &str, missed: Missed, is_beside: bool) -> bool {
        let interface = self.interfaces().iter().find(|interface| interface.name == name);
        let proven = interface.and_then(|one| self.switches.proven_since(one.index));
        proven.is_some_and(|proven| {
            let has_stayed = is_beside || self.now.since(missed.since) >= SWITCH_AFTER;
            let both = proven.max(missed.since);
            (proven <= missed.since && has_stayed) || self.now.since(both) >= RETURN_AFTER
        })
    }
}

fn has(interfaces: &[Interface], name: &str, is_so: impl Fn(&Interface) -> bool) -> bool {
    interfaces.iter().any(|interface| interface.name == name && is_so(interface))
}
