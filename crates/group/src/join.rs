//! How a node comes into a living view.
//!
//! A node without a view says so in its heartbeats. The hub watches its connection for the
//! hold-down, which doubles with each return within ten minutes, so that one sick node cannot
//! churn the rest; a node whose guard certifies that it merely restarted a crashed daemon is let
//! in at once, but once, because what it ran is still running under a lease that will not last
//! long. Then the next view change has it as a joiner, and after the hub has recorded that view it
//! sends the state. (Not before: a joiner must never know of a view that its hub could forget.)

use core::time::Duration;

use base::{Instant, Member, NodeId, View};

use crate::change::TELL_INTERVAL;
use crate::wire::{Digest, Message, Scope, Snapshot, Standing, Value};
use crate::{Group, Output, Persisting, Phase, Timer};

/// Returns within this time count for the hold-down.
const RETURNS_WINDOW: Duration = Duration::from_secs(600);
/// The longest hold-down.
const HOLD_MAX: Duration = Duration::from_secs(300);
/// Joins of one node that are remembered.
pub(crate) const JOINS_REMEMBERED_MAX: usize = 16;

impl Group {
    /// The connected nodes without a view that have been held down long enough.
    pub(crate) fn ready_joiners(&self, view: &View) -> Vec<Member> {
        let peers = self.peers.iter().filter(|(node, _)| self.held_until(**node) <= Some(self.now));
        peers
            .filter_map(|(node, peer)| {
                let member = Member { node: *node, incarnation: peer.incarnation };
                let known = view.member(*node).is_none_or(|old| old.incarnation < peer.incarnation);
                let wants = peer.digest.standing == Standing::Unseeded;
                // A record of this lineage that is newer than our view: somebody went on without
                // us, and we are about to be told.
                let older = peer.digest.record.is_none_or(|(lineage, generation, _)| {
                    lineage != view.lineage || generation <= view.generation
                });
                (known && wants && older && self.held_until(*node).is_some()).then_some(member)
            })
            .collect()
    }

    /// Until when a connected node without a view is held down.
    pub(crate) fn held_until(&self, node: NodeId) -> Option<Instant> {
        let peer = self.peers.get(&node)?;
        if peer.digest.standing != Standing::Unseeded || peer.digest == Default::default() {
            return None;
        }
        let joins = self.joins.get(&node).map_or(&[][..], Vec::as_slice);
        // A life that was let in before and did not stay waits like any other: its disk may be slow,
        // and each try costs everybody two views.
        let is_known = joins.iter().any(|(_, life)| *life == peer.incarnation);
        if peer.digest.certified && !is_known {
            return Some(peer.since);
        }
        let recent = joins.iter().filter(|(at, _)| self.now.since(*at) < RETURNS_WINDOW).count();
        let doubled = self.config.timing.hold * (1 << recent.saturating_sub(1).min(8));
        Some(peer.since + doubled.min(HOLD_MAX))
    }

    /// Wakes the hub when the next joiner is ready.
    pub(crate) fn wake_for_joiners(&mut self) {
        let now = self.now;
        let next =
            self.peers.keys().filter_map(|node| self.held_until(*node)).filter(|at| *at > now);
        if let Some(at) = next.min() {
            self.wake_at(at, Timer::Join);
        }
    }

    /// Asks the layer above for its state, for the joiners of this view.
    pub(crate) fn take_snapshot_for(&mut self, value: &Value) {
        self.snapshot = None;
        if value.view.hub == self.local().node && !value.joiners.is_empty() {
            self.take_snapshot(value.clone());
        }
    }

    /// Members of this view that have not come into it: what was sent to them may be lost, or the
    /// hub that was to send it. Anybody who is in the view can send it again: nothing is delivered
    /// before all members acknowledge it or its successor is recorded, so the state is still that
    /// of the view's start.
    pub(crate) fn call_joiners(&mut self) {
        let Phase::Member(membership) = &self.phase else { return };
        let hub = membership.view.member(membership.view.hub);
        if hub != Some(self.local()) && hub.is_some_and(|hub| self.connected(hub)) {
            return;
        }
        let scope = Scope::of(&membership.view);
        let now = self.now;
        let is_missing = |joiner: &&Member| {
            let Some(peer) = self.peers.get(&joiner.node) else { return false };
            let told_at = self.told_at.get(&joiner.node).copied();
            let since = told_at.unwrap_or(membership.installed_at).max(peer.since);
            let Digest { standing, record, .. } = &peer.digest;
            let is_behind = record.is_none_or(|(lineage, generation, _)| {
                lineage != scope.lineage || generation <= scope.generation
            });
            peer.incarnation == joiner.incarnation
                && *standing == Standing::Unseeded
                && peer.digest != Digest::default()
                && is_behind
                && now.since(since) >= TELL_INTERVAL
        };
        let missing = membership.value.joiners.iter().filter(is_missing);
        let missing: Vec<Member> = missing.copied().collect();
        if missing.is_empty() || self.snapshot.is_some() {
            return;
        }
        let value = membership.value.clone();
        for joiner in missing {
            self.told_at.insert(joiner.node, now);
        }
        self.take_snapshot(value);
    }

    fn take_snapshot(&mut self, value: Value) {
        let Phase::Member(membership) = &self.phase else { return };
        let snapshot = Snapshot {
            position: self.position,
            delivered: self.delivered.iter().map(|(origin, last)| (*origin, *last)).collect(),
            waits: self.lasting_waits(membership),
            state: Vec::new(),
        };
        self.snapshot = Some((value, snapshot));
        self.outputs.push_back(Output::TakeSnapshot);
    }

    pub(crate) fn send_snapshot(&mut self, state: Vec<u8>) {
        let Some((value, mut snapshot)) = self.snapshot.take() else { return };
        snapshot.state = state;
        let joiners = value.joiners.clone();
        let scope = Scope::of(&value.view);
        let install = Message::Install(scope, Box::new(value), Box::new(snapshot));
        for joiner in joiners {
            if self.connected(joiner) {
                self.send(joiner.node, &install);
            }
        }
    }

    pub(crate) fn on_install(
        &mut self,
        from: Member,
        scope: Scope,
        value: Value,
        snapshot: Snapshot,
    ) {
        let is_newer = self.record.as_ref().is_none_or(|record| {
            // A formation that this node accepted has recorded the very view.
            *record == value.view
                || record.lineage != scope.lineage
                || record.generation < scope.generation
        });
        let Phase::Unseeded(unseeded) = &self.phase else { return };
        let is_for_us = value.joiners.contains(&self.local())
            && value.view.has(from)
            && scope == Scope::of(&value.view);
        if !is_for_us || !is_newer || unseeded.is_forming() || self.persisting.is_some() {
            return;
        }
        self.persist(
            Some(value.view.clone()),
            Persisting::Join(Box::new(value), Box::new(snapshot)),
        );
    }

    pub(crate) fn enter_joined(&mut self, value: Value, snapshot: Snapshot) {
        self.position = snapshot.position;
        self.delivered = snapshot.delivered.iter().copied().collect();
        let change = self.enter(&value, &snapshot.waits, Instant::ZERO, false);
        self.outputs.push_back(Output::Restore { change, state: snapshot.state });
        self.settle_in();
    }
}
