//! Total order inside a view: the hub orders, all members acknowledge, the hub commits.

use super::{Action, Entry, Lineage, Mutant, State};
use crate::set::NodeId;

impl Lineage {
    pub(super) fn order_actions(&self, state: &State, id: NodeId, actions: &mut Vec<Action>) {
        let node = &state.nodes[id as usize];
        if !node.seeded {
            return;
        }
        let traffic = &state.traffic[node.generation as usize];
        if node.hub == id {
            if !node.sealed && (node.log.len() as u8) < self.entries {
                actions.push(Action::Order(id));
            }
            if (node.committed as usize) < node.log.len() && self.may_commit(state, id) {
                actions.push(Action::Commit(id));
            }
        } else if !node.sealed || self.is(Mutant::AcknowledgeWhileSealed) {
            let next = node.log.len() as u8;
            let orders = traffic.orders.iter().filter(|entry| entry.index == next);
            actions.extend(orders.map(|entry| Action::Acknowledge(id, *entry)));
        }
        let known = traffic.committed.min(node.log.len() as u8);
        actions.extend((node.committed + 1..=known).map(|count| Action::Deliver(id, count)));
    }

    fn may_commit(&self, state: &State, hub: NodeId) -> bool {
        let node = &state.nodes[hub as usize];
        let acknowledged = &state.traffic[node.generation as usize].acknowledged;
        let missing = node
            .members
            .without(hub)
            .iter()
            .filter(|member| acknowledged[*member as usize] <= node.committed)
            .count();
        missing <= usize::from(self.is(Mutant::CommitWithoutOne))
    }

    pub(super) fn order(&self, state: &mut State, hub: NodeId) {
        let node = &mut state.nodes[hub as usize];
        let entry = Entry { index: node.log.len() as u8, ordered_by: node.incarnation };
        node.log.push(entry);
        state.traffic[node.generation as usize].orders.insert(entry);
    }

    pub(super) fn acknowledge(&self, state: &mut State, id: NodeId, entry: Entry) {
        let node = &mut state.nodes[id as usize];
        node.log.push(entry);
        let acknowledged = &mut state.traffic[node.generation as usize].acknowledged[id as usize];
        *acknowledged = (*acknowledged).max(node.log.len() as u8);
    }

    pub(super) fn commit(&self, state: &mut State, hub: NodeId) {
        let node = &mut state.nodes[hub as usize];
        node.committed += 1;
        let (generation, count) = (node.generation, node.committed);
        let entries = node.log[..count as usize].to_vec();
        let announced = &mut state.traffic[generation as usize].committed;
        *announced = (*announced).max(count);
        self.observe_delivery(state, generation, &entries);
    }

    pub(super) fn deliver(&self, state: &mut State, id: NodeId, count: u8) {
        let node = &mut state.nodes[id as usize];
        node.committed = count;
        let (generation, entries) = (node.generation, node.log[..count as usize].to_vec());
        self.observe_delivery(state, generation, &entries);
    }
}
