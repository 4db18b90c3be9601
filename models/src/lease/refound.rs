//! Return and cold start, as far as leases are concerned.
//!
//! Both found a view without a quorum of promises, so the argument that some reporter of an age has
//! echoed the newest evidence does not hold: two restarted members may have kept each other's lease
//! alive until a moment ago, and their guards still run what they held. So nobody's age counts
//! here: whoever is replaced by a newer life is waited for in full, unless its machine is clean.
//! After a cold start nobody remembers who held the service; it is held by somebody unknown until a
//! whole wait is over, or until a machine reports that it runs it.

use super::ledger::{Absence, Holder, Ledger, Life};
use super::views::new_view;
use super::{Action, Generation, Lease, Mutant, NODES_MAX, State};
use crate::set::{NodeId, NodeSet};

impl Lease {
    pub(super) fn refound_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for generation in 1..state.views.len() as Generation - 2 {
            if self.returned(state, generation).is_some() {
                actions.push(Action::Return(generation));
            }
        }
        for nodes in NodeSet::first(self.nodes).subsets() {
            if nodes.iter().any(|id| state.node(id).generation > 0 || state.node(id).paused) {
                continue;
            }
            let newest = nodes.iter().map(|id| state.node(id).record).max().unwrap_or(0);
            let Some(view) = state.decided(newest) else { continue };
            let complete = view.lives().all(|life| nodes.contains(life.node));
            if complete && (newest as usize) + 2 < state.views.len() {
                actions.push(Action::ColdStart(nodes));
            }
        }
    }

    /// The living and the restarted members of a view, if together they are all of it.
    fn returned(&self, state: &State, generation: Generation) -> Option<(NodeSet, NodeSet)> {
        let view = state.decided(generation)?;
        let mut living = NodeSet::EMPTY;
        let mut returned = NodeSet::EMPTY;
        for life in view.lives() {
            let node = state.node(life.node);
            if state.life(life.node) == life && node.generation == generation && node.sealed {
                living = living.with(life.node);
            } else if node.incarnation > life.incarnation
                && node.generation == 0
                && node.record <= generation
            {
                returned = returned.with(life.node);
            } else {
                return None;
            }
        }
        (!living.is_empty() && !returned.is_empty()).then_some((living, returned))
    }

    pub(super) fn return_to(&self, state: &mut State, generation: Generation) {
        let (living, returned) = self.returned(state, generation).expect("it was possible");
        let view = state.view(generation);
        let trim = living.iter().map(|id| view.acknowledged[id as usize]).min();
        let mut ledger = self.ledger(state, generation, trim.expect("somebody lives") as usize);
        let mut members = [0; NODES_MAX];
        for life in view.lives() {
            if living.contains(life.node) {
                members[life.node as usize] = life.incarnation;
                continue;
            }
            let heard = living.iter().map(|id| state.node(id).heard[life.node as usize]).min();
            let age = heard.filter(|_| self.is(Mutant::ReturnTrustsAges)).unwrap_or(0);
            let since = generation + 2;
            ledger.absences.push(Absence { life, since, wait: self.wait - age });
        }
        self.admit(state, &mut ledger, &mut members, returned);
        let hub = living.lowest().expect("somebody lives");
        self.found(state, generation + 2, members, returned, hub, ledger);
        for id in living.iter() {
            self.enter(state, id, generation + 2);
        }
    }

    pub(super) fn cold_start(&self, state: &mut State, nodes: NodeSet) {
        let newest = nodes.iter().map(|id| state.node(id).record).max();
        let generation = newest.expect("a cold start has nodes") + 2;
        let starts = state.views.iter().flatten().map(|view| view.ledger.starts).max();
        // In reality the numbers carry the lineage; here they must only be new.
        let number = starts.unwrap_or(0) + self.entries + 1;
        let wait = if self.is(Mutant::ColdStartWithoutWait) { 0 } else { self.wait };
        let unknown = Absence { life: Life::UNKNOWN, since: generation, wait };
        let ledger = Ledger {
            holder: Some(Holder { life: Life::UNKNOWN, start: number, since: 0 }),
            absences: vec![unknown],
            starts: number,
        };
        let mut members = [0; NODES_MAX];
        for id in nodes.iter() {
            members[id as usize] = state.node(id).incarnation;
        }
        let hub = nodes.lowest().expect("a cold start has nodes");
        self.found(state, generation, members, nodes, hub, ledger);
        for id in nodes.iter() {
            self.enter(state, id, generation);
        }
    }

    fn found(
        &self,
        state: &mut State,
        generation: Generation,
        members: [u8; NODES_MAX],
        joiners: NodeSet,
        hub: NodeId,
        ledger: Ledger,
    ) {
        let place = &mut state.views[generation as usize];
        assert!(place.is_none(), "a generation is founded once");
        *place = Some(new_view(members, joiners, hub, ledger));
    }
}

/// Does `id` run a service that it has not started in this life?
pub(super) fn runs_inherited(state: &State, id: NodeId) -> bool {
    let node = state.node(id);
    node.guard > 0 && (node.generation == 0 || node.reported)
}
