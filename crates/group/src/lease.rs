//! Who may act, and how long the others wait before they do.
//!
//! A member's **evidence** X is the newest own stamp that more than half of its view, itself
//! included, has echoed in this view. It may own services until X + L on its own strict clock.
//! When a member is lost, the survivors wait F, counted from their own last contact with it: the
//! majority that echoed X and the quorum that decided the successor share a member, and that
//! member had heard the lost one at X or later. Clock *rates* are all that matters; F contains
//! their error.
//!
//! Not every member hears every other one: cables are cut, and in a large cluster most members watch
//! a few others only. But each hears its hub. So the hub's evidence is **relayed**: when the hub
//! echoes a stamp and says how old its own evidence is, that stamp, made older by that age, is
//! evidence for its sender. Somebody who promised has then heard the hub at X or later. That may be
//! the hub itself, which has heard the lost member by then; where the hub has not promised, what
//! the others say of the hub counts for everybody who is lost with it (`models`, lease with
//! `relays`).
//!
//! Three rules carry the argument over consecutive views:
//! * a sealed member's evidence is frozen, and it grants none: else it could live on the echoes
//!   of a member that was left behind while the view after next frees its services;
//! * only stamps that were sent and echoed in the same view count; what a member had when it
//!   promised stays valid;
//! * at its installation, all members of a view count as heard. (Not at the own promise: another
//!   member may have gained evidence between our promise and its own. The installation comes
//!   after all promises.)

use core::time::Duration;
use std::collections::BTreeMap;

use base::limits::NODES_MAX;
use base::{Incarnation, Instant, Member, NodeId, View};

use crate::wire::{Absence, Content, Proof, Wait};
use crate::{Absent, Group, Membership, Phase, Timer};

/// What a member knows about being known.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// The evidence with which this view began.
    inherited: Instant,
    /// The newest own stamp of this view that each other member has echoed.
    echoes: BTreeMap<NodeId, Instant>,
    /// The newest one through the hub.
    relayed: Instant,
    frozen: Option<Instant>,
}

impl Evidence {
    pub(crate) fn starting_with(inherited: Instant) -> Evidence {
        Evidence { inherited, echoes: BTreeMap::new(), relayed: Instant::ZERO, frozen: None }
    }

    /// A member has echoed this stamp of ours.
    pub(crate) fn grant(&mut self, by: NodeId, stamp: Instant) {
        if self.frozen.is_none() {
            let newest = self.echoes.entry(by).or_insert(stamp);
            *newest = stamp.max(*newest);
        }
    }

    /// The hub has echoed this stamp of ours when its own evidence was so old.
    pub(crate) fn relay(&mut self, stamp: Instant, age: Duration) {
        if self.frozen.is_none() {
            // Two clocks have measured, and none of them runs wrong by more than one in 200.
            let age = age + age / 64;
            self.relayed = self.relayed.max(stamp.minus(age));
        }
    }

    /// From now on nothing changes any more.
    pub(crate) fn freeze(&mut self, view: &View, local: Member, now: Instant) {
        self.frozen = Some(self.newest(view, local, now));
    }

    /// X. [`Instant::ZERO`] before there is any.
    pub(crate) fn newest(&self, view: &View, local: Member, now: Instant) -> Instant {
        if let Some(frozen) = self.frozen {
            return frozen;
        }
        let others = view.members.len() / 2;
        let Some(last) = others.checked_sub(1) else { return now };
        // Asked for in each turn, so nothing is allocated for it.
        let mut stamps = [Instant::ZERO; NODES_MAX];
        let echoed = (view.members.iter())
            .filter(|member| **member != local)
            .filter_map(|member| self.echoes.get(&member.node));
        stamps.iter_mut().zip(echoed).for_each(|(place, stamp)| *place = *stamp);
        let (_, newest, _) = stamps.select_nth_unstable_by(last, |a, b| b.cmp(a));
        self.inherited.max(self.relayed).max(*newest)
    }
}

impl Group {
    /// Milliseconds, rounded down, since this member last heard each other one of its view.
    pub(crate) fn ages(&self, membership: &Membership) -> Vec<(NodeId, u64)> {
        let others = membership.view.members.iter().filter(|member| **member != self.local());
        others
            .map(|member| {
                let contact = self.contacts.get(member).copied().unwrap_or(Instant::ZERO);
                let heard = contact.max(membership.installed_at);
                (member.node, self.now.since(heard).as_millis() as u64)
            })
            .collect()
    }

    /// What this member still waits for, in milliseconds since the last contact.
    pub(crate) fn lasting_waits(&self, membership: &Membership) -> Vec<Wait> {
        let waits = membership.waits.iter();
        waits
            .map(|(absence, absent)| Wait {
                absence: *absence,
                age_ms: self.now.since(absent.heard).as_millis() as u64,
                is_lapsed: absent.is_lapsed,
            })
            .collect()
    }

    /// When this absence has lasted for F. Whether it is then over, or only its lease is, the layer
    /// above knows.
    pub(crate) fn lapses_at(&self, absent: &Absent) -> Instant {
        absent.heard + self.config.timing.fence_wait()
    }

    /// Submits the end of each lease that is over and of each absence that was proven needless. Time
    /// is the hub's to tell; anybody may bring a proof.
    pub(crate) fn submit_due_fences(&mut self) {
        let local = self.local().node;
        let Phase::Member(membership) = &self.phase else { return };
        if membership.sealed_at.is_some() {
            return;
        }
        let is_hub = membership.view.hub == local;
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for (absence, absent) in &membership.waits {
            let was_submitted =
                |is_time: bool| membership.fences_submitted.contains(&(*absence, is_time));
            if was_submitted(false) {
                continue;
            }
            let is_timed = is_hub && !absent.is_lapsed && !was_submitted(true);
            let until = self.lapses_at(absent);
            match self.proof_of(absence) {
                Some(proof) => due.push((*absence, proof)),
                None if is_timed && self.now >= until => due.push((*absence, Proof::Time)),
                None if is_timed => next = Some(next.map_or(until, |next| next.min(until))),
                None => {}
            }
        }
        for (absence, proof) in due {
            let Phase::Member(membership) = &mut self.phase else { return };
            membership.fences_submitted.insert((absence, proof == Proof::Time));
            self.submit_content(Content::Fence(absence, proof));
        }
        if let Some(until) = next {
            self.wake_at(until, Timer::Fence);
        }
    }

    /// The absences of lives that have said goodbye, and are not proven to be over. Whether that is a proof
    /// the layer above knows: then [`Input::Fenced`](crate::Input::Fenced).
    pub fn said_goodbye(&self) -> impl Iterator<Item = Absence> {
        let has_said = |absence: &Absence| {
            self.goodbyes.iter().any(|member| {
                member.node == absence.node
                    && absence.incarnation != Incarnation(u64::MAX)
                    && member.incarnation >= absence.incarnation
            })
        };
        self.waits().filter(has_said).filter(|absence| !self.proven.contains_key(absence))
    }

    fn proof_of(&self, absence: &Absence) -> Option<Proof> {
        if let Some(proof) = self.proven.get(absence) {
            Some(*proof)
        } else if self.down.contains(absence.node) {
            Some(Proof::Operator)
        } else {
            None
        }
    }
}
