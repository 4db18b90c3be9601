//! The all-seeing observer of the lineage model.
//!
//! It watches every delivery and every installed view and knows what no node can know: the one
//! history. The nodes never see it. Whatever contradicts the history is a violation.

use super::{Entry, Generation, History, Lineage, State, Value};
use crate::set::{NodeId, NodeSet};
use std::sync::Arc;

/// The one history, as far as anybody has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Observer {
    /// Per generation: the longest sequence that any node delivered.
    delivered: Vec<Vec<Entry>>,
    /// Per generation: members and history of the view, as first installed.
    installed: Vec<Option<(NodeSet, Arc<History>)>>,
}

impl Observer {
    /// `generations` counts generation 0, which is never used.
    pub(super) fn new(founders: NodeSet, generations: usize) -> Observer {
        let mut installed = vec![None; generations];
        installed[1] = Some((founders, Arc::new(Vec::new())));
        Observer { delivered: vec![Vec::new(); generations], installed }
    }

    /// The history that a view of this generation began with, if anybody installed one.
    pub(super) fn history(&self, generation: Generation) -> Option<&History> {
        self.installed[generation as usize].as_ref().map(|(_, history)| history.as_ref())
    }

    /// The longest sequence delivered in a generation.
    pub(super) fn delivered(&self, generation: Generation) -> &[Entry] {
        &self.delivered[generation as usize]
    }
}

fn entries_of(history: &History, generation: Generation) -> Vec<Entry> {
    history.iter().filter(|(from, _)| *from == generation).map(|(_, entry)| *entry).collect()
}

fn agree(left: &[Entry], right: &[Entry]) -> bool {
    left.iter().zip(right).all(|(left, right)| left == right)
}

impl Lineage {
    /// A node has delivered the first entries of a generation, up to and including `entries`.
    pub(super) fn observe_delivery(
        &self,
        state: &mut State,
        generation: Generation,
        entries: &[Entry],
    ) {
        let seen = &mut state.observer.delivered[generation as usize];
        if generation < state.refounded && entries.len() > seen.len() {
            state.violation = Some("a former lineage commits after a cold start");
            return;
        }
        if !agree(seen, entries) {
            state.violation = Some("two nodes deliver different entries at one position");
            return;
        }
        if entries.len() > seen.len() {
            *seen = entries.to_vec();
        }
        let kept = state.observer.history(generation + 1).map(|next| entries_of(next, generation));
        if kept.is_some_and(|kept| kept.len() < state.observer.delivered(generation).len()) {
            state.violation = Some("a delivered entry is missing in the next view");
        }
    }

    /// `node` enters the view `value` of `generation` with `history`; the node itself is changed
    /// here too, so that nothing can be installed unseen.
    pub(super) fn install(
        &self,
        state: &mut State,
        node: NodeId,
        generation: Generation,
        value: &Value,
        history: Arc<History>,
    ) {
        let known = &mut state.observer.installed[generation as usize];
        if generation < state.refounded && known.is_none() {
            state.violation = Some("a former lineage forms a view after a cold start");
        }
        match known {
            None => *known = Some((value.members, history.clone())),
            Some((members, _)) if *members != value.members => {
                state.violation = Some("two different views have one generation");
            }
            Some((_, first)) if *first != history => {
                state.violation = Some("members enter one view with different histories");
            }
            Some(_) => {}
        }
        for former in state.refounded.max(1)..generation {
            let kept = entries_of(&history, former);
            let seen = &mut state.observer.delivered[former as usize];
            if kept.len() < seen.len() || !agree(seen, &kept) {
                state.violation = Some("a delivered entry is missing in an installed view");
            } else {
                *seen = kept;
            }
        }
        if state.nodes[node as usize].generation >= generation {
            state.violation = Some("the generation of a node goes back");
        }
        state.nodes[node as usize].enter(generation, value, history);
    }
}
