//! Members that have missed a change, nodes that were left out, and views that must yield.
//!
//! A member learns of a change that it has missed from whoever is ahead: the decision, if it is in
//! the new view, or the word that it is left out. Two primary views can meet only after a person
//! has forced one; then the lower one yields.

use base::{Member, NodeId};

use crate::change::TELL_INTERVAL;
use crate::tie;
use crate::wire::{Message, Scope, Standing};
use crate::{Group, Membership, Peer, Phase, Rejected, Timer};

impl Group {
    /// Members of the last view that have missed its end, and nodes that were left out.
    pub(crate) fn tell_laggards(&mut self) {
        let Phase::Member(membership) = &self.phase else { return };
        let here = Scope::of(&membership.view);
        let lagging = self.peers.iter().filter(|(_, peer)| {
            let digest = &peer.digest;
            matches!(digest.standing, Standing::Member | Standing::Sealed | Standing::Leaving)
                && digest.lineage == here.lineage
                && digest.generation < here.generation
        });
        let lagging: Vec<(Member, Scope)> = lagging
            .map(|(node, peer)| {
                let member = Member { node: *node, incarnation: peer.incarnation };
                let generation = peer.digest.generation;
                (member, Scope { lineage: here.lineage, generation })
            })
            .collect();
        for (member, scope) in lagging {
            self.tell_laggard(member, scope);
        }
    }

    pub(crate) fn tell_laggard(&mut self, to: Member, scope: Scope) {
        let now = self.now;
        if self.told_at.get(&to.node).is_some_and(|at| now.since(*at) < TELL_INTERVAL) {
            return;
        }
        let Phase::Member(membership) = &self.phase else { return };
        let value = &membership.value;
        // Whoever goes on with this decision, or was let go by it, promised in the view that it
        // ended. A joiner that is in an earlier view came into that one too late.
        let is_concerned = value.view.has(to) || value.left.contains(&to);
        let message = if is_concerned && !value.joiners.contains(&to) {
            Message::Decided(scope, Box::new(value.clone()))
        } else {
            Message::LeftOut(Scope::of(&membership.view))
        };
        self.told_at.insert(to.node, now);
        self.send(to.node, &message);
    }

    pub(crate) fn on_left_out(&mut self, from: Member, scope: Scope) {
        let Phase::Member(membership) = &self.phase else { return };
        let here = Scope::of(&membership.view);
        if scope.lineage == here.lineage && scope.generation > here.generation {
            let generation = scope.generation;
            self.exclude(format!("left out: {} is in generation {generation}", from.node));
        }
    }

    /// A person seeds a new view where this one had a member: nobody waits in it any longer.
    pub(crate) fn on_dissolve(&mut self, from: Member, scope: Scope) {
        let Phase::Member(membership) = &self.phase else { return };
        let is_stuck = self.no_quorum_reason(membership).is_some();
        if scope == Scope::of(&membership.view) && is_stuck && self.persisting.is_none() {
            self.exclude(format!("a person is seeding a new view at {}", from.node));
        }
    }

    /// Two primary views can meet only after a person has forced one. The lower one yields.
    pub(crate) fn yield_to_stronger_primary(&mut self) {
        let Phase::Member(membership) = &self.phase else { return };
        let view = &membership.view;
        let own = (view.members.len() as u8, view.generation, view.lineage);
        // Without a quorum this side is none, however many members its view once had.
        let is_alive = self.is_quorum(view, self.present(view));
        let stronger = self.peers.iter().find(|(_, peer)| {
            let digest = &peer.digest;
            digest.standing == Standing::Member
                && digest.lineage != view.lineage
                && (!is_alive || (digest.members, digest.generation, digest.lineage) > own)
        });
        if let Some((node, peer)) = stronger {
            let reason = format!(
                "{node} is in another primary view, of {} members: this side was the lower one",
                peer.digest.members
            );
            self.exclude(reason);
        }
    }

    /// A record of a later view proves that this one has a successor. Its members tell those that
    /// were left behind; when none of them lives any more this member would wait for ever, and
    /// keep the others from founding the next one. Likewise when all configured nodes are here,
    /// but too many members of this view have come back without their memory.
    pub(crate) fn give_up_a_past_view(&mut self) {
        let now = self.now;
        let patience = self.config.timing.path_timeout * 2 + TELL_INTERVAL * 2;
        let Phase::Member(membership) = &self.phase else { return };
        let here = Scope::of(&membership.view);
        let later = |lineage, generation| lineage == here.lineage && generation > here.generation;
        let is_past = (self.peers.values()).any(|peer| {
            peer.digest.record.is_some_and(|(lineage, generation, _)| later(lineage, generation))
        });
        let is_told = self.peers.values().any(|Peer { digest, .. }| {
            !matches!(digest.standing, Standing::Unseeded | Standing::Out)
                && later(digest.lineage, digest.generation)
        });
        let is_past = is_past || self.is_forgotten(membership);
        let is_stranded = is_past && !is_told && self.persisting.is_none();
        let Phase::Member(membership) = &mut self.phase else { return };
        if !is_stranded {
            membership.stranded_since = None;
            return;
        }
        let since = *membership.stranded_since.get_or_insert(now);
        if now.since(since) >= patience {
            self.exclude("left behind: everybody who could go on has restarted".into());
        } else {
            self.wake_at(since + patience, Timer::Change);
        }
    }

    /// Whether this view can never go on although all configured nodes are here.
    fn is_forgotten(&self, membership: &Membership) -> bool {
        let view = &membership.view;
        let reach = self.present(view);
        let is_without_view = |node: NodeId| self.standing(node) == Some(Standing::Unseeded);
        let mut absent = self.config.nodes.difference(reach).into_iter();
        let has_forgotten = |node: NodeId| {
            let remembers = |(lineage, ..): (u32, u64, u64)| lineage == view.lineage;
            self.peers.get(&node).is_some_and(|peer| !peer.digest.record.is_some_and(remembers))
        };
        !self.may_have_quorum(view, reach)
            && self.returned(membership, reach).is_none()
            && view.nodes().difference(reach).into_iter().any(has_forgotten)
            && absent.all(is_without_view)
    }

    /// What a half or less of a view waits for.
    pub(crate) fn no_quorum_reason(&self, membership: &Membership) -> Option<String> {
        let view = &membership.view;
        let reach = self.present(view);
        if self.is_quorum(view, reach) {
            return None;
        }
        let missing: Vec<String> =
            view.nodes().difference(reach).into_iter().map(|node| node.to_string()).collect();
        let share = if 2 * reach.len() == view.members.len() {
            format!(
                "exactly half of generation {}, and {}",
                view.generation,
                tie::waits_for(view.tie)
            )
        } else {
            format!(
                "{} of {} members of generation {}",
                reach.len(),
                view.members.len(),
                view.generation
            )
        };
        Some(format!("{share}; waiting for {}", missing.join(", ")))
    }

    /// # Errors
    /// [`Rejected::Seeded`] when this member's view is alive.
    pub(crate) fn check_unseedable(&self) -> Result<(), Rejected> {
        match &self.phase {
            Phase::Member(membership) if self.no_quorum_reason(membership).is_none() => {
                Err(Rejected::Seeded)
            }
            _ => Ok(()),
        }
    }
}
