//! Views: promises, decisions, entries, joins, restarts.
//!
//! That a view has one successor is the subject of [`crate::lineage`]; here a decision is one step,
//! taken on any quorum of promises, at any time after them. What a coordinator proposes and what is
//! decided in the end are the same value, so the model may skip the ballots in between. A sealed
//! node may promise a later ballot at any moment, and its ages run on as it hears nothing more;
//! so the worst case, a last promise right before the decision, is the one that is modelled.

use super::ledger::{Absence, Entry, Ledger, Life};
use super::{Action, Carry, Generation, HeardFrom, Lease, Mutant, NODES_MAX, Node, State};
use crate::set::{NodeId, NodeSet};

/// A decided view.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct View {
    /// Incarnation of each member; 0 for a node that is not one.
    pub(super) members: [u8; NODES_MAX],
    /// Members that enter with a snapshot.
    pub(super) joiners: NodeSet,
    /// Members that have entered.
    pub(super) entered: NodeSet,
    pub(super) hub: NodeId,
    /// The books at the beginning.
    pub(super) ledger: Ledger,
    /// What the hub ordered.
    pub(super) entries: Vec<Entry>,
    /// How many entries each member acknowledged.
    pub(super) acknowledged: [u8; NODES_MAX],
    /// Promises of members that restarted afterwards: still in the network, and good.
    pub(super) bequests: Vec<Bequest>,
}

/// A promise that has outlived its node, with the ages in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bequest {
    node: NodeId,
    heard: [u8; NODES_MAX],
}

impl View {
    pub(super) fn lives(&self) -> impl Iterator<Item = Life> {
        let members = (0..).zip(&self.members).filter(|(_, incarnation)| **incarnation > 0);
        members.map(|(node, incarnation)| Life { node, incarnation: *incarnation })
    }

    pub(super) fn has(&self, life: Life) -> bool {
        self.members[life.node as usize] == life.incarnation
    }

    pub(super) fn size(&self) -> u8 {
        self.lives().count() as u8
    }

    /// How many entries every member has acknowledged.
    pub(super) fn committed(&self) -> u8 {
        let counts = self.lives().map(|life| self.acknowledged[life.node as usize]);
        counts.min().expect("a view has members")
    }
}

impl Lease {
    pub(super) fn view_actions(&self, state: &State, id: NodeId, actions: &mut Vec<Action>) {
        let node = state.node(id);
        if node.paused {
            return;
        }
        let life = state.life(id);
        if node.generation == 0 {
            for generation in node.record + 1..state.views.len() as Generation {
                if let Some(view) = state.decided(generation)
                    && view.has(life)
                    && view.joiners.contains(id)
                    && !view.entered.is_empty()
                {
                    actions.push(Action::Enter(id, generation));
                }
            }
            return;
        }
        match state.decided(node.generation + 1) {
            None => {
                let member = state.view(node.generation).has(life);
                if member && !node.sealed && node.generation < self.last_generation {
                    actions.push(Action::Promise(id));
                }
            }
            Some(next) if node.sealed && next.has(life) && !next.joiners.contains(id) => {
                actions.push(Action::Enter(id, node.generation + 1));
            }
            Some(_) => {}
        }
        let later = node.generation as usize + 1..state.views.len();
        let out = |generation: usize| {
            state.decided(generation as Generation).is_some_and(|view| !view.has(life))
        };
        if self.joins && later.into_iter().any(out) {
            actions.push(Action::LeaveView(id));
        }
    }

    pub(super) fn promise(&self, state: &mut State, id: NodeId) {
        let node = state.node_mut(id);
        node.sealed = true;
        node.pledged = 0;
    }

    /// Every quorum of promises, every coordinator in it, all sets of joiners.
    pub(super) fn decide_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for generation in 1..self.last_generation {
            let Some(view) = state.decided(generation) else { continue };
            if state.decided(generation + 1).is_some() {
                continue;
            }
            let sealed: NodeSet = view
                .lives()
                .filter(|life| state.life(life.node) == *life)
                .map(|life| life.node)
                .filter(|id| state.node(*id).generation == generation && state.node(*id).sealed)
                .collect();
            let bequeathed: NodeSet = view.bequests.iter().map(|bequest| bequest.node).collect();
            let idle: NodeSet = (0..self.nodes)
                .filter(|id| self.joins && state.node(*id).generation == 0)
                .collect();
            for promises in sealed.union(bequeathed).subsets() {
                let half = 2 * promises.len() == view.size() && self.tie_breaker;
                if 2 * promises.len() <= view.size() && !half {
                    continue;
                }
                let hubs = promises.intersection(sealed);
                for hub in hubs.iter().filter(|hub| !state.node(*hub).paused) {
                    for joiners in idle.difference(promises).subsets() {
                        actions.push(Action::Decide { generation, promises, hub, joiners });
                    }
                }
            }
        }
    }

    pub(super) fn decide(
        &self,
        state: &mut State,
        generation: Generation,
        promises: NodeSet,
        hub: NodeId,
        joiners: NodeSet,
    ) {
        let view = state.view(generation);
        let trim = promises.iter().map(|id| view.acknowledged[id as usize]).min();
        let trim = trim.expect("a quorum is not empty") as usize;
        let mut ledger = self.ledger(state, generation, trim);
        for absence in &mut ledger.absences {
            absence.wait = match self.carry {
                _ if self.is(Mutant::WaitDroppedAtNextView) => 0,
                Carry::Whole => absence.wait,
                Carry::Remaining => absence.wait.saturating_sub(state.node(hub).in_view),
            };
        }
        for life in view.lives().filter(|life| !promises.contains(life.node)) {
            let wait = self.wait - self.least_age(state, view, promises, hub, life.node);
            ledger.absences.push(Absence { life, since: generation + 1, wait });
        }
        let mut members = [0; NODES_MAX];
        for id in promises.iter() {
            members[id as usize] = view.members[id as usize];
        }
        self.admit(state, &mut ledger, &mut members, joiners);
        state.views[generation as usize + 1] = Some(new_view(members, joiners, hub, ledger));
        for id in promises.iter() {
            if self.heard_from == HeardFrom::Decision && state.node(id).generation == generation {
                state.node_mut(id).pledged = 0;
            }
        }
    }

    /// How long at least nobody of the quorum has heard `lost`, or the hub, where that is lost too
    /// and may have relayed its evidence.
    fn least_age(
        &self,
        state: &State,
        view: &View,
        promises: NodeSet,
        hub: NodeId,
        lost: NodeId,
    ) -> u8 {
        let hub_is_lost = self.relays && !promises.contains(view.hub);
        let heard_through = hub_is_lost && !self.is(Mutant::LostHubsAgeIgnored);
        let reported = |id: NodeId| {
            let bequest = view.bequests.iter().find(|bequest| bequest.node == id);
            let heard = bequest.map_or(&state.node(id).heard, |bequest| &bequest.heard);
            let through = if heard_through { view.hub } else { lost };
            heard[lost as usize].min(heard[through as usize])
        };
        let ages = promises.iter().map(reported);
        match self.mutant {
            Some(Mutant::OldestAge) => ages.max(),
            Some(Mutant::AgeOfHubOnly) => Some(reported(hub)),
            _ => ages.min(),
        }
        .expect("a quorum is not empty")
    }

    /// Adds joiners. One on whose machine nothing runs ends all absences of its node, and whatever
    /// its earlier lives held is free at once.
    pub(super) fn admit(
        &self,
        state: &State,
        ledger: &mut Ledger,
        members: &mut [u8; NODES_MAX],
        joiners: NodeSet,
    ) {
        for id in joiners.iter() {
            members[id as usize] = state.node(id).incarnation;
            if state.node(id).guard > 0 && !self.is(Mutant::CleanNotVerified) {
                continue;
            }
            if !self.is(Mutant::FreeNamesNoAbsence) {
                ledger.absences.retain(|absence| absence.life.node != id);
            }
            if ledger.holder.is_some_and(|holder| holder.life.node == id) {
                ledger.holder = None;
            }
        }
    }

    /// A member enters a view.
    pub(super) fn enter(&self, state: &mut State, id: NodeId, generation: Generation) {
        let joins = state.view(generation).joiners.contains(id);
        let (lease, wait) = (self.lease, self.wait);
        let node = state.node_mut(id);
        node.generation = generation;
        node.record = generation;
        node.sealed = false;
        node.stamps = u8::from(!node.paused);
        node.echoes = [0; NODES_MAX];
        node.confirmed = [lease; NODES_MAX];
        node.told = 0;
        node.relayed = 0;
        node.in_view = if self.is(Mutant::WaitFromPromise) { node.pledged } else { 0 };
        node.delivered = 0;
        node.heard = [0; NODES_MAX];
        let heard = match (joins, self.heard_from) {
            (true, _) if self.is(Mutant::JoinerNeverHeard) => wait,
            (true, _) if self.is(Mutant::JoinerCountsFromStart) => node.pledged,
            (false, HeardFrom::Promise | HeardFrom::Decision) => node.pledged,
            _ => 0,
        };
        node.pledged = 0;
        if joins {
            node.evidence = lease;
            node.reported = node.guard > 0;
        }
        if self.is(Mutant::FreshAtInstall) {
            node.evidence = 0;
        }
        let view = state.view_mut(generation);
        view.entered = view.entered.with(id);
        let members = view.members;
        for peer in (0..NODES_MAX).filter(|peer| *peer != id as usize && members[*peer] > 0) {
            state.node_mut(id).heard[peer] = heard;
        }
        self.extend(state, id);
    }

    /// The daemon of a node dies and starts again; the guard keeps the service, unless the whole
    /// machine starts again.
    pub(super) fn restart(&self, state: &mut State, id: NodeId, reboot: bool) {
        state.restarts += 1;
        let life = state.life(id);
        let node = state.node(id).clone();
        let mut next = Node::new(self);
        if self.is(Mutant::RestartedMemberStays) {
            next.incarnation = node.incarnation;
            next.generation = node.generation;
            next.delivered = node.delivered;
        } else {
            next.incarnation = node.incarnation + 1;
            let promised = node.sealed && state.decided(node.generation + 1).is_none();
            if promised && state.view(node.generation).has(life) {
                let bequest = Bequest { node: id, heard: node.heard };
                state.view_mut(node.generation).bequests.push(bequest);
            }
        }
        next.record = node.record;
        next.drift_left = node.drift_left;
        next.guard = if reboot { 0 } else { node.guard };
        *state.node_mut(id) = next;
    }

    /// A node has learned that a later view exists without it: it stops what it runs and waits to
    /// be let in again, in the same life.
    pub(super) fn leave_view(&self, state: &mut State, id: NodeId) {
        let node = state.node(id).clone();
        *state.node_mut(id) = Node {
            incarnation: node.incarnation,
            record: node.record,
            drift_left: node.drift_left,
            stopped: node.stopped,
            ..Node::new(self)
        };
    }
}

pub(super) fn new_view(
    members: [u8; NODES_MAX],
    joiners: NodeSet,
    hub: NodeId,
    ledger: Ledger,
) -> View {
    View {
        members,
        joiners,
        entered: NodeSet::EMPTY,
        hub,
        ledger,
        entries: Vec::new(),
        acknowledged: [0; NODES_MAX],
        bequests: Vec::new(),
    }
}
