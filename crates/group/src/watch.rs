//! Whom a member has to watch, where not everybody can watch everybody.
//!
//! In a view that is well only two things need watching by all: the **hub**, which orders, relays
//! its evidence and leads changes, and its **deputy**, the senior member besides it, who takes over
//! when the hub is lost. These two watch everybody, so either sees a loss and can decide it with
//! more than half. All others need see nobody else; they watch their neighbours as well, so that a
//! cut is noticed from more than two places.
//!
//! Nothing rests on it: a member that watches few only learns less. As soon as neither of the two
//! can be reached, or a change takes longer than one should, everybody watches everybody, and all
//! is as if there had been no ring.

use base::{NodeId, NodeSet};

use crate::wire::{Scope, Standing};
use crate::{Group, Membership, Phase, Timer};

/// Whom this node should watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Everybody.
    Everybody,
    /// The centre, and some of the members.
    Few {
        /// The members of the view.
        members: NodeSet,
        /// The hub and its deputy.
        centre: NodeSet,
    },
}

impl Group {
    /// Whom this node should watch now.
    #[must_use]
    pub fn watch(&self) -> Watch {
        let Phase::Member(membership) = &self.phase else { return Watch::Everybody };
        let centre = centre(membership);
        let reach = self.reach(&membership.view);
        let is_cut_off = centre.intersection(reach).is_empty();
        let patience = self.config.timing.collect * 2;
        let waited = membership.unsteady_since.map(|since| self.now.since(since));
        let is_late = waited.is_some_and(|waited| waited >= patience);
        if centre.contains(self.local().node) || is_cut_off || is_late {
            return Watch::Everybody;
        }
        Watch::Few { members: membership.view.nodes(), centre }
    }

    /// Notes how long this member's view has not been what it should be.
    pub(crate) fn note_steadiness(&mut self) {
        let now = self.now;
        let patience = self.config.timing.collect * 2;
        let Phase::Member(membership) = &self.phase else { return };
        let is_steady = self.is_steady(membership);
        let Phase::Member(membership) = &mut self.phase else { return };
        if is_steady {
            membership.unsteady_since = None;
            return;
        }
        let until = *membership.unsteady_since.get_or_insert(now) + patience;
        if until > now {
            self.wake_at(until, Timer::Change);
        }
    }

    fn is_steady(&self, membership: &Membership) -> bool {
        let view = &membership.view;
        let is_here = |node: NodeId| {
            node == self.local().node
                || self.peers.get(&node).is_some_and(|peer| {
                    let digest = &peer.digest;
                    let scope = Scope { lineage: digest.lineage, generation: digest.generation };
                    digest.standing == Standing::Member && scope == Scope::of(view)
                })
        };
        membership.sealed_at.is_none()
            && !self.leaving
            && centre(membership).into_iter().all(is_here)
    }
}

/// The hub and its deputy.
fn centre(membership: &Membership) -> NodeSet {
    let view = &membership.view;
    let deputy = view.members.iter().map(|member| member.node).find(|node| *node != view.hub);
    deputy.into_iter().chain([view.hub]).collect()
}
