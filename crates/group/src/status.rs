//! What a group says about itself.

use core::time::Duration;

use base::{Instant, NodeId, NodeSet, View};

use crate::wire::{Absence, Standing};
use crate::{Group, Phase};

/// Where this node stands, for people and for the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where this node stands.
    pub standing: Standing,
    /// Whether it is being let in right now, or is about to be.
    pub is_joining: bool,
    /// Its view.
    pub view: Option<View>,
    /// The members of that view that are there, as far as this node or its hub can reach them.
    pub present: NodeSet,
    /// Why it is not in a view, or why its view cannot go on.
    pub waiting: Option<String>,
    /// Until its lease is over, when it has one.
    pub lease: Option<Duration>,
    /// Absent nodes of which it is not proven that nothing of them is left.
    pub waits: Vec<WaitStatus>,
    /// Where each peer says that it stands.
    pub peers: Vec<(NodeId, Standing)>,
    /// Delivered entries of this history.
    pub position: u64,
    /// Own submissions that are not delivered yet.
    pub submissions: usize,
}

/// How far a member's log is in its present view; cheap to look at, for checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The lineage of the view.
    pub lineage: u32,
    /// Its generation.
    pub generation: u64,
    /// Whether this member has promised a ballot.
    pub is_sealed: bool,
    /// Entries of this view that were ever received here.
    pub length: u64,
    /// Entries of this view that this member holds, on disk where they have to be.
    pub held: u64,
    /// Entries of this view that are delivered here.
    pub delivered: u64,
    /// Hash chain over those.
    pub hash: u64,
}

/// What waits inside a group; all of it is bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queues {
    /// Own submissions that are not delivered yet.
    pub submissions: usize,
    /// Messages of a view that is not installed here yet.
    pub early: usize,
    /// Entries that are ordered and not delivered here.
    pub undelivered: usize,
    /// Submissions that the windows do not let through yet.
    pub unordered: usize,
}

/// An absent node and how long until its lease is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitStatus {
    /// Who.
    pub absence: Absence,
    /// How long.
    pub remaining: Duration,
    /// Since the last contact that anybody had, at most.
    pub age: Duration,
    /// The lease is over; only a proof ends the absence.
    pub is_lapsed: bool,
}

impl Group {
    /// Where this node stands now.
    #[must_use]
    pub fn status(&self) -> Status {
        let now = self.now;
        let peers = self.peers.iter().map(|(node, peer)| (*node, peer.digest.standing));
        let waits = match &self.phase {
            Phase::Member(membership) => membership.waits.iter(),
            Phase::Unseeded(_) | Phase::Out => Default::default(),
        };
        let lease_until = self.lease_until(now);
        let near_view = self.peers.values().any(|peer| peer.digest.standing == Standing::Member);
        Status {
            standing: self.digest().standing,
            is_joining: matches!(self.phase, Phase::Unseeded(_))
                && (near_view || self.persisting.is_some()),
            view: self.view().cloned(),
            present: match &self.phase {
                Phase::Member(membership) => self.present(&membership.view),
                Phase::Unseeded(_) | Phase::Out => NodeSet::EMPTY,
            },
            waiting: self.waiting(),
            lease: (lease_until > now).then(|| lease_until.since(now)),
            waits: waits
                .map(|(absence, absent)| WaitStatus {
                    absence: *absence,
                    remaining: self.lapses_at(absent).since(now),
                    age: now.since(absent.heard),
                    is_lapsed: absent.is_lapsed,
                })
                .collect(),
            peers: peers.collect(),
            position: self.position,
            submissions: self.submissions.len(),
        }
    }

    /// How far the log of the present view is, while this node is in one.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let Phase::Member(membership) = &self.phase else { return None };
        let [length, held, delivered, hash] = membership.log.progress();
        Some(Progress {
            lineage: membership.view.lineage,
            generation: membership.view.generation,
            is_sealed: membership.sealed_at.is_some(),
            length,
            held,
            delivered,
            hash,
        })
    }

    /// What waits here.
    #[must_use]
    pub fn queues(&self) -> Queues {
        let (undelivered, unordered) = match &self.phase {
            Phase::Member(membership) => membership.log.waiting(),
            Phase::Unseeded(_) | Phase::Out => (0, 0),
        };
        let (submissions, early) = (self.submissions.len(), self.early.len());
        Queues { submissions, early, undelivered, unordered }
    }

    /// Delivered entries of this history.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The absences that this member has to end by force, if it can: all that are waited for, while
    /// it is the hub and its lease lasts. None when it must not: a member that the others may have
    /// left behind could turn off a node that is back with them, and of two halves only the one that
    /// has the view may turn off anybody.
    #[must_use]
    pub fn to_fence(&self) -> Option<impl Iterator<Item = Absence>> {
        let view = self.view()?;
        let may = view.hub == self.config.local.node && self.lease_until(self.now) > self.now;
        may.then(|| self.waits())
    }

    /// The absences of which the lease is over, each with the last contact that anybody had, or later,
    /// on this clock.
    pub fn lapsed(&self) -> impl Iterator<Item = (Absence, Instant)> {
        let membership = match &self.phase {
            Phase::Member(membership) => Some(membership),
            Phase::Unseeded(_) | Phase::Out => None,
        };
        let waits = membership.into_iter().flat_map(|membership| &membership.waits);
        waits.filter(|(_, absent)| absent.is_lapsed).map(|(absence, a)| (*absence, a.heard))
    }

    /// The absences that are not proven to be over, whether their leases are or not.
    pub fn waits(&self) -> impl Iterator<Item = Absence> {
        let membership = match &self.phase {
            Phase::Member(membership) => Some(membership),
            Phase::Unseeded(_) | Phase::Out => None,
        };
        membership.into_iter().flat_map(|membership| membership.waits.keys().copied())
    }
}
