//! Time, stamps, echoes, evidence and the guard.
//!
//! All ages are relative and stop growing where they no longer matter, so time has no end and still
//! the number of states has. Each is kept on the clock of its owner: the ages of a node's own
//! stamps, wherever the stamps are, on that node's clock; the age of a reception on the receiver's.
//!
//! A node sends a stamp at every tick, and everybody echoes at once whatever they hear; that is no
//! restriction, because a stamp need not be heard and an echo need not arrive.

use super::{Action, Lease, Mutant, NODES_MAX, State};
use crate::set::NodeId;

/// Ages of stamps that are in the network: bit k for "k ticks ago".
pub(super) type Ages = u8;

impl Lease {
    /// The stamps that still can make a lease last beyond now.
    fn useful(&self) -> Ages {
        ((1u16 << self.lease) - 1) as Ages
    }

    pub(super) fn tick_actions(&self, state: &State, actions: &mut Vec<Action>) {
        let mut ticks = vec![[1u8; NODES_MAX]];
        for id in 0..self.nodes as usize {
            if state.nodes[id].drift_left == 0 {
                continue;
            }
            for index in 0..ticks.len() {
                for steps in [0, 2] {
                    let mut tick = ticks[index];
                    tick[id] = steps;
                    ticks.push(tick);
                }
            }
        }
        actions.extend(ticks.into_iter().map(Action::Tick));
    }

    pub(super) fn tick(&self, state: &mut State, ticks: [u8; NODES_MAX]) {
        for id in 0..self.nodes {
            let view =
                (state.node(id).generation > 0).then(|| state.view(state.node(id).generation));
            let members = view.map_or([0; NODES_MAX], |view| view.members);
            let waits = view.is_some_and(|view| {
                !view.ledger.absences.is_empty() && (view.hub == id || self.carries_remaining())
            });
            let (lease, wait, useful) = (self.lease, self.wait, self.useful());
            let pledge = self.tracks_pledge();
            let node = state.node_mut(id);
            let mut steps = ticks[id as usize];
            node.drift_left -= steps.abs_diff(1);
            if self.is(Mutant::ClockPausesWithMachine) && node.paused {
                steps = 0;
            }
            let older = |age: u8, most: u8| (age + steps).min(most);
            let later = |ages: Ages| ((u16::from(ages) << steps) as Ages) & useful;
            node.stamps = later(node.stamps);
            if node.generation > 0 && !node.paused {
                node.stamps |= 1;
            }
            node.told = later(node.told);
            node.relayed = later(node.relayed);
            node.evidence = older(node.evidence, lease);
            node.guard = node.guard.saturating_sub(steps);
            if waits {
                node.in_view = older(node.in_view, wait);
            }
            if pledge {
                node.pledged = older(node.pledged, wait);
            }
            for (peer, member) in members.iter().enumerate() {
                node.echoes[peer] = later(node.echoes[peer]);
                node.confirmed[peer] = older(node.confirmed[peer], lease);
                if peer != id as usize && *member > 0 {
                    node.heard[peer] = older(node.heard[peer], wait);
                }
            }
        }
    }

    /// Stamps of others that can reach `id` now.
    pub(super) fn hear_actions(&self, state: &State, id: NodeId, actions: &mut Vec<Action>) {
        let node = state.node(id);
        if node.generation == 0 || node.paused {
            return;
        }
        let relays = self.is(Mutant::SealedRelays) && state.view(node.generation).hub == id;
        if node.sealed && !relays && !self.is(Mutant::SealedEchoes) {
            return;
        }
        for from in (0..self.nodes).filter(|from| *from != id) {
            let sender = state.node(from);
            let same_view = sender.generation == node.generation
                && state.view(node.generation).has(state.life(from));
            let other_view = sender.generation > 0 && self.is(Mutant::EchoFromOtherView);
            if !same_view && !other_view {
                continue;
            }
            // A stamp that is not newer than one already echoed changes nothing for the worse.
            let newest = sender.echoes[id as usize].trailing_zeros().min(self.lease.into()) as u8;
            let mut newer = (0..newest).filter(|age| sender.stamps >> age & 1 == 1);
            if self.newest_only {
                actions.extend(newer.next().map(|age| Action::Hear { node: id, from, age }));
            } else {
                actions.extend(newer.map(|age| Action::Hear { node: id, from, age }));
            }
        }
    }

    pub(super) fn hear(&self, state: &mut State, id: NodeId, from: NodeId, age: u8) {
        let sender = state.node_mut(from);
        let echoes = &mut sender.echoes[id as usize];
        *echoes = if self.newest_only { 1 << age } else { *echoes | 1 << age };
        let generation = sender.generation;
        if self.relays && state.view(generation).hub == id {
            let told = &mut state.node_mut(from).told;
            *told = if self.newest_only { 1 << age } else { *told | 1 << age };
        }
        let node = state.node_mut(id);
        // The ages that a sealed node reports are those of its promise.
        if !node.sealed {
            node.heard[from as usize] = 0;
        }
    }

    /// Echoes of own stamps that can reach `id` now.
    pub(super) fn confirm_actions(&self, state: &State, id: NodeId, actions: &mut Vec<Action>) {
        let node = state.node(id);
        let closed = node.sealed && !self.is(Mutant::SealedGains);
        if node.generation == 0 || node.paused || closed {
            return;
        }
        let view = state.view(node.generation);
        if !view.has(state.life(id)) {
            return;
        }
        if view.size() == 1 && node.evidence > 0 {
            // Alone: the node itself is more than half of the view.
            actions.push(Action::Confirm { node: id, by: id, age: 0 });
        }
        for by in view.lives().map(|life| life.node).filter(|by| *by != id) {
            let mut newer = (0..node.confirmed[by as usize])
                .filter(|age| node.echoes[by as usize] >> age & 1 == 1);
            if self.newest_only {
                actions.extend(newer.next().map(|age| Action::Confirm { node: id, by, age }));
            } else {
                actions.extend(newer.map(|age| Action::Confirm { node: id, by, age }));
            }
        }
    }

    pub(super) fn confirm(&self, state: &mut State, id: NodeId, by: NodeId, age: u8) {
        let view = state.view(state.node(id).generation).clone();
        let node = state.node_mut(id);
        node.confirmed[by as usize] = if self.is(Mutant::LeaseFromReception) { 0 } else { age };
        if self.newest_only {
            node.echoes[by as usize] = 0;
        }
        // The newest own stamp that more than half of the view has echoed, oneself included.
        let confirmed_within = |age: u8| {
            let others = view.lives().filter(|life| life.node != id);
            1 + others.filter(|life| node.confirmed[life.node as usize] <= age).count() as u8
        };
        let enough = |count: u8| {
            2 * count > view.size() || (2 * count == view.size() && self.is(Mutant::HalfIsEvidence))
        };
        let evidence = (0..self.lease).find(|age| enough(confirmed_within(*age)));
        node.evidence = node.evidence.min(evidence.unwrap_or(self.lease));
        if self.is(Mutant::EvidenceThroughHub) && by == view.hub {
            node.evidence = node.evidence.min(age);
        }
        self.extend(state, id);
    }

    /// What the hub of its view could say to `id` now, and what of it can arrive.
    pub(super) fn relay_actions(&self, state: &State, id: NodeId, actions: &mut Vec<Action>) {
        let node = state.node(id);
        if !self.relays || node.generation == 0 {
            return;
        }
        let view = state.view(node.generation);
        if !view.has(state.life(id)) {
            return;
        }
        let can_take = !node.paused && !node.sealed;
        let newer = |ages: Ages| (0..node.evidence).filter(move |age| ages >> age & 1 == 1);
        if can_take {
            actions.extend(newer(node.relayed).map(|age| Action::Take { node: id, age }));
        }
        let told = newer(node.told).filter(|age| {
            let relayed = self.relayed_age(state, id, *age);
            relayed.is_some_and(|age| node.relayed >> age & 1 == 0)
        });
        actions.extend(told.map(|age| Action::Relay { to: id, age }));
    }

    /// How old the evidence is that the hub can relay to `id` for a stamp of this age.
    fn relayed_age(&self, state: &State, id: NodeId, age: u8) -> Option<u8> {
        let generation = state.node(id).generation;
        let view = state.view(generation);
        let hub = state.node(view.hub);
        let is_there =
            hub.generation == generation && view.has(state.life(view.hub)) && !hub.paused;
        let is_closed = hub.sealed && !self.is(Mutant::SealedRelays);
        if view.hub == id || !is_there || is_closed {
            return None;
        }
        if hub.evidence >= self.lease {
            return None;
        }
        let older = if self.is(Mutant::RelayUndiscounted) { 0 } else { hub.evidence };
        let sum = age + older + self.drift.min(older);
        (sum < self.lease).then_some(sum)
    }

    pub(super) fn relay(&self, state: &mut State, id: NodeId, age: u8) {
        let age = self.relayed_age(state, id, age).expect("it was possible");
        let relayed = &mut state.node_mut(id).relayed;
        *relayed = if self.newest_only { 1 << age } else { *relayed | 1 << age };
    }

    pub(super) fn take(&self, state: &mut State, id: NodeId, age: u8) {
        let node = state.node_mut(id);
        if self.newest_only {
            node.relayed = 0;
        }
        node.evidence = node.evidence.min(age);
        self.extend(state, id);
    }

    /// The daemon writes the deadline of a service that it knows itself to hold; the guard never
    /// takes a deadline back.
    pub(super) fn extend(&self, state: &mut State, id: NodeId) {
        let known = self.known_holder(state, id).is_some_and(|holder| {
            let early = self.is(Mutant::ExtendBeforeAdopted) && holder.life.node == id;
            holder.life == state.life(id) || early
        });
        let lease = self.lease;
        let node = state.node_mut(id);
        if known && node.guard > 0 {
            node.guard = node.guard.max(lease - node.evidence);
        }
    }

    /// A holder that does not run the service starts it, if its evidence is good for a lease.
    pub(super) fn start_actions(&self, state: &State, id: NodeId, actions: &mut Vec<Action>) {
        let node = state.node(id);
        if node.generation == 0 || node.paused || !self.holds(state, id) {
            return;
        }
        let start = self.known_holder(state, id).map_or(0, |holder| holder.start);
        let leased = node.evidence < self.lease || self.is(Mutant::StartWithoutEvidence);
        if node.guard == 0 && start > node.stopped && leased {
            actions.push(Action::Start(id));
        }
        if self.moves && start > node.stopped {
            actions.push(Action::Stop(id));
        }
    }

    pub(super) fn start(&self, state: &mut State, id: NodeId) {
        let whole = self.is(Mutant::StartWithoutEvidence);
        let lease = self.lease;
        let node = state.node_mut(id);
        node.guard = if whole { lease } else { lease - node.evidence };
    }

    pub(super) fn stop(&self, state: &mut State, id: NodeId) {
        let start = self.known_holder(state, id).map_or(0, |holder| holder.start);
        let node = state.node_mut(id);
        node.guard = 0;
        node.stopped = start;
    }
}
