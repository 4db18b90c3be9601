//! What a group says about itself.

use core::time::Duration;

use base::{NodeId, View};

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
    /// Why it is not in a view, or why its view cannot go on.
    pub waiting: Option<String>,
    /// Until its lease is over, when it has one.
    pub lease: Option<Duration>,
    /// Absent nodes whose leases may still run.
    pub waits: Vec<WaitStatus>,
    /// Where each peer says that it stands.
    pub peers: Vec<(NodeId, Standing)>,
    /// Delivered entries of this history.
    pub position: u64,
    /// Own submissions that are not delivered yet.
    pub submissions: usize,
}

/// An absent node and how long until it counts as fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitStatus {
    /// Who.
    pub absence: Absence,
    /// How long.
    pub remaining: Duration,
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
            waiting: self.waiting(),
            lease: (lease_until > now).then(|| lease_until.since(now)),
            waits: waits
                .map(|(absence, until)| WaitStatus {
                    absence: *absence,
                    remaining: until.since(now),
                })
                .collect(),
            peers: peers.collect(),
            position: self.position,
            submissions: self.submissions.len(),
        }
    }
}
