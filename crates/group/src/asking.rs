//! How the coordinator of exactly half of a view asks the arbiters.
//!
//! First for their promises, together with those of the half; then, when the whole half has accepted
//! the value, for their acceptance. More than half of the arbiters must agree each time. Which
//! half asks first protects only what carries more; safety rests on the ballots.

use core::cmp::Ordering;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use base::{Instant, NodeId, NodeSet, Tie, View};

use crate::arbiter::{Answer, Reply, Request};
use crate::wire::{Ballot, Outside, Scope, Value};
use crate::{Group, Output, Phase, Timer};

/// Rounds of ballots in one view: ten a second for years.
const ROUND_MAX: u32 = u32::MAX / 2;

/// What the arbiters have answered in one ballot.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) since: Instant,
    /// Who has promised, and what it had accepted.
    pub(crate) promised: BTreeMap<u8, Option<(Ballot, Value)>>,
    /// They were asked to accept the proposal; who has.
    pub(crate) accepting: bool,
    pub(crate) accepted: BTreeSet<u8>,
}

impl Group {
    /// Asks the arbiters whether this half may decide: at once if it carries more than the other
    /// one, else a little later, so that the other one is asked about first.
    pub(crate) fn ask_for_promises(&mut self, answered: NodeSet) {
        let now = self.now;
        let Phase::Member(membership) = &self.phase else { return };
        let Some(attempt) = &membership.attempt else { return };
        let patience = self.config.timing.tie_budget * 2;
        let until = match &attempt.asked {
            Some(asked) => asked.since + patience,
            None => attempt.since + self.courtesy(&membership.view, answered),
        };
        if now < until {
            return self.wake_at(until, Timer::Change);
        }
        if attempt.asked.is_some() {
            return self.give_up();
        }
        let Tie::Arbiters { name: arbiters, .. } = membership.view.tie else { return };
        let scope = Scope::of(&membership.view);
        let request = Request { arbiters, scope, ballot: attempt.ballot, value: None };
        self.ask(request, Asked { since: now, ..Asked::default() });
        self.wake_at(now + patience, Timer::Change);
    }

    /// The whole half has accepted: asks the arbiters to accept as well. False if they were asked, or
    /// have not promised: then more than half of the members had, and the rest may only be late.
    pub(crate) fn ask_for_acceptance(&mut self) -> bool {
        let now = self.now;
        let Phase::Member(membership) = &mut self.phase else { return false };
        let Some(attempt) = &mut membership.attempt else { return false };
        let Some(proposal) = &attempt.proposal else { return false };
        if attempt.asked.as_ref().is_none_or(|asked| asked.accepting) {
            return false;
        }
        let Tie::Arbiters { name: arbiters, .. } = membership.view.tie else { return false };
        let request = Request {
            arbiters,
            scope: Scope::of(&membership.view),
            ballot: attempt.ballot,
            value: Some(base::codec::encode(&proposal.value)),
        };
        let asked = Asked { since: now, accepting: true, ..Asked::default() };
        self.ask(request, asked);
        self.wake_at(now + self.config.timing.tie_budget * 2, Timer::Change);
        true
    }

    fn ask(&mut self, request: Request, asked: Asked) {
        let Phase::Member(membership) = &mut self.phase else { return };
        let Some(attempt) = &mut membership.attempt else { return };
        attempt.asked = Some(asked);
        self.outputs.push_back(Output::Ask(request));
    }

    /// How long this half leaves the arbiters to the other one. What a half reaches comes before what it
    /// carries: a service that nobody can reach is of no use. A half reaches what one of its nodes does.
    /// Both halves compare what everybody had said before they were separated, but for themselves.
    fn courtesy(&self, view: &View, half: NodeSet) -> Duration {
        let timing = &self.config.timing;
        let load = |nodes: NodeSet| -> u64 {
            nodes.into_iter().filter_map(|node| self.loads.get(&node)).copied().map(u64::from).sum()
        };
        let others = view.nodes().difference(half);
        // Without a carrier there is nobody to be served, and more time than the budget is lost for
        // nothing only when the other half is dead as well.
        if self.outside == Outside::NoCarrier {
            return timing.tie_courtesy() * 2;
        }
        let reach = |nodes: NodeSet| nodes.into_iter().map(|node| self.outside_of(node)).min();
        match reach(half).cmp(&reach(others)) {
            Ordering::Less => return Duration::ZERO,
            Ordering::Greater => return timing.tie_handicap,
            Ordering::Equal => {}
        }
        let is_first = match load(half).cmp(&load(others)) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => half.contains(view.hub),
        };
        if is_first { Duration::ZERO } else { timing.tie_courtesy() }
    }

    /// What a node reaches outside of the cluster, as far as it has said so.
    fn outside_of(&self, node: NodeId) -> Outside {
        if node == self.config.local.node {
            return self.outside;
        }
        self.outsides.get(&node).copied().unwrap_or_default()
    }

    /// An arbiter has answered.
    pub(crate) fn on_arbiter(&mut self, arbiter: u8, reply: Reply) {
        let Reply { arbiters, scope, ballot, answer } = reply;
        let Phase::Member(membership) = &mut self.phase else { return };
        let Tie::Arbiters { count, name } = membership.view.tie else { return };
        let Some(attempt) = &mut membership.attempt else { return };
        let here = Scope::of(&membership.view);
        let is_ours = arbiters == name && scope == here && ballot == attempt.ballot;
        let Some(asked) = attempt.asked.as_mut().filter(|_| is_ours && arbiter < count) else {
            return;
        };
        match answer {
            Answer::Promised(None) => {
                asked.promised.insert(arbiter, None);
            }
            // One that cannot be read, or can be no successor of this view, may be of a newer version
            // or a damaged arbiter's: it must not be overruled, and not be followed.
            Answer::Promised(Some(accepted)) => {
                if let Ok(value) = base::codec::decode::<Value>(&accepted.value)
                    && value.succeeds(&membership.view)
                {
                    asked.promised.insert(arbiter, Some((accepted.ballot, value)));
                }
            }
            Answer::Accepted => {
                if asked.accepting {
                    asked.accepted.insert(arbiter);
                }
            }
            // No honest coordinator has come so far.
            Answer::Refused(promised) if promised.round > ROUND_MAX => {}
            Answer::Refused(promised) => self.on_refuse(ballot, promised),
            Answer::Past(generation) => self.exclude(format!(
                "left out: the tie-breaker knows generation {generation} of this cluster"
            )),
        }
    }
}

/// Whether so many arbiters are more than half of those of this view.
pub(crate) fn is_most_arbiters(view: &View, arbiters: usize) -> bool {
    matches!(view.tie, Tie::Arbiters { count, .. } if 2 * arbiters > usize::from(count))
}
