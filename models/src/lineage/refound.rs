//! Lost memory: restarts, and the two rules by which a cluster comes back without an operator.
//!
//! *Cold start*: all members of the newest view that anybody here has recorded are here, all of
//! them restarted. *Return*: every member of a view either lives in it, or is here as a newer
//! incarnation than the view lists, with no later record. Both found generation g + 2: a value for
//! g + 1 may have been decided and never seen, and its number must not be used twice.

use super::{Action, Lineage, Mutant, State, Value};
use crate::set::{NodeId, NodeSet};
use std::sync::Arc;

impl Lineage {
    pub(super) fn restart(&self, state: &mut State, id: NodeId) {
        state.restarts += 1;
        let node = &mut state.nodes[id as usize];
        node.incarnation += 1;
        node.forget_view();
        if self.is(Mutant::RestartedNodeVotes) {
            return;
        }
        if self.is(Mutant::RecordAndIncarnationLost) {
            node.generation = 0;
        }
        node.seeded = false;
    }

    pub(super) fn cold_start_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for nodes in self.all().subsets() {
            let present = || nodes.iter().map(|id| &state.nodes[id as usize]);
            if nodes.is_empty() || present().any(|node| node.seeded) {
                continue;
            }
            let newest = present().map(|node| node.generation).max().unwrap_or(0);
            let recorded = present()
                .filter(|node| node.generation == newest)
                .fold(NodeSet::EMPTY, |all, node| all.union(node.members));
            let allowed = if self.is(Mutant::StaticMajorityFounds) {
                2 * nodes.len() > self.nodes
            } else {
                recorded.is_subset_of(nodes)
            };
            if allowed && (newest as usize) + 2 < self.generations() {
                actions.push(Action::ColdStart(nodes));
            }
        }
    }

    pub(super) fn cold_start(&self, state: &mut State, nodes: NodeSet) {
        let newest = nodes.iter().map(|id| state.nodes[id as usize].generation).max();
        let generation = newest.expect("a cold start has nodes") + 2;
        // From here on nobody may act for the former lineage; the observer sees to it.
        state.refounded = generation;
        let value = Value {
            members: nodes,
            joiners: NodeSet::EMPTY,
            hub: nodes.lowest().expect("a cold start has nodes"),
            trim: Vec::new(),
            incarnations: state.nodes.iter().map(|node| node.incarnation).collect(),
        };
        for id in nodes.iter() {
            self.install(state, id, generation, &value, Arc::default());
        }
    }

    pub(super) fn return_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for id in self.all().iter() {
            let node = &state.nodes[id as usize];
            let same_view = |other: NodeId| {
                let other = &state.nodes[other as usize];
                other.seeded && other.generation == node.generation
            };
            // One candidate per view is enough.
            if !node.seeded || (0..id).any(same_view) {
                continue;
            }
            let mut living = NodeSet::EMPTY;
            let mut returned = NodeSet::EMPTY;
            let mut missing = NodeSet::EMPTY;
            for member in node.members.iter() {
                let there = &state.nodes[member as usize];
                let newer = there.incarnation > node.incarnations[member as usize]
                    || self.is(Mutant::JoinerTakenForRestarted);
                let no_later_record = there.generation <= node.generation
                    || self.is(Mutant::RecordsOfReturnedIgnored);
                if same_view(member) {
                    living = living.with(member);
                } else if !there.seeded && newer && no_later_record {
                    returned = returned.with(member);
                } else {
                    missing = missing.with(member);
                }
            }
            let allowed = missing.is_empty() || self.is(Mutant::MissingMembersTolerated);
            let room = (node.generation as usize) + 2 < self.generations();
            if allowed && !returned.is_empty() && room {
                actions.push(Action::Return(living, returned));
            }
        }
    }

    pub(super) fn return_to(&self, state: &mut State, living: NodeSet, returned: NodeSet) {
        let hub = living.lowest().expect("somebody lives in the view");
        let node = &state.nodes[hub as usize];
        let generation = node.generation;
        let shortest = living
            .iter()
            .map(|id| &state.nodes[id as usize].log)
            .min_by_key(|log| log.len())
            .expect("somebody lives in the view")
            .clone();
        let history = node.history_with(&shortest);
        let value = Value {
            members: living.union(returned),
            joiners: returned,
            hub,
            trim: shortest,
            incarnations: state.nodes.iter().map(|node| node.incarnation).collect(),
        };
        self.observe_delivery(state, generation, &value.trim);
        for id in living.iter() {
            self.install(state, id, generation + 2, &value, history.clone());
        }
        state.refounded = generation + 2;
        state.send_snapshot(generation + 2, Arc::new(value), history);
    }
}
