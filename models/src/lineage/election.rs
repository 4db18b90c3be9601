//! The election of the next view: Paxos among the members of this one.
//!
//! Two quorums of one view always share an acceptor: more than half of the members, or exactly half
//! and more than half of the tie-breakers. Nodes keep their promises in memory only, which is enough because a
//! restarted node is no acceptor any more. Whoever promised is sealed until it enters a later view.

use super::{Action, Ballot, Entry, Generation, Lineage, Mutant, State, Value};
use crate::set::{NodeId, NodeSet};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an acceptor remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Acceptor {
    pub(super) promised: Ballot,
    pub(super) accepted: Option<(Ballot, Arc<Value>)>,
}

/// A promise, as its coordinator gets it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Promise {
    accepted: Option<(Ballot, Arc<Value>)>,
    /// The log when the promise was made; the tie-breaker has none.
    log: Vec<Entry>,
}

/// All messages of one ballot. Its mere presence is the request for promises.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct BallotTraffic {
    promises: BTreeMap<NodeId, Promise>,
    value: Option<Arc<Value>>,
    accepted: NodeSet,
}

impl Lineage {
    fn coordinator(&self, ballot: Ballot) -> NodeId {
        (ballot - 1) % self.nodes
    }

    fn next_ballot(&self, promised: Ballot, node: NodeId) -> Option<Ballot> {
        (0..self.rounds).map(|round| round * self.nodes + node + 1).find(|next| *next > promised)
    }

    /// Do these acceptors decide for a view with `members`?
    fn is_quorum(&self, acceptors: NodeSet, members: NodeSet) -> bool {
        let votes = 2 * acceptors.intersection(members).len();
        let outside = acceptors.difference(self.all()).len();
        let tie_broken = 2 * outside > self.tie_breakers
            || (outside > 0 && self.is(Mutant::OneTieBreakerIsEnough))
            || self.is(Mutant::HalfIsEnough);
        votes > members.len() || (votes == members.len() && tie_broken)
    }

    /// The values that were decided in a view with `members`: at most one, if all is well.
    pub(super) fn decided(
        &self,
        state: &State,
        generation: Generation,
        members: NodeSet,
    ) -> Vec<Arc<Value>> {
        let mut decided: Vec<Arc<Value>> = Vec::new();
        for ballot in state.traffic[generation as usize].ballots.values() {
            if let Some(value) = &ballot.value
                && self.is_quorum(ballot.accepted, members)
                && !decided.contains(value)
            {
                decided.push(value.clone());
            }
        }
        decided
    }

    pub(super) fn election_actions(&self, state: &State, id: NodeId, actions: &mut Vec<Action>) {
        let node = &state.nodes[id as usize];
        for generation in node.generation + 1..self.generations() as Generation {
            let invited = |incarnation: u8| {
                incarnation == node.incarnation || self.is(Mutant::RecordAndIncarnationLost)
            };
            let sent = &state.traffic[generation as usize].snapshots;
            if sent.iter().any(|(value, _)| {
                value.joiners.contains(id) && invited(value.incarnations[id as usize])
            }) {
                actions.push(Action::InstallSnapshot(id, generation));
            }
        }
        if !node.seeded {
            return;
        }
        let generation = node.generation;
        if generation < self.last_generation {
            if self.next_ballot(node.acceptor.promised, id).is_some() {
                actions.push(Action::Propose(id));
            }
            self.offers(state, id, actions);
        }
        for (ballot, traffic) in &state.traffic[generation as usize].ballots {
            self.answers(&node.acceptor, id, generation, *ballot, traffic, actions);
        }
        for value in self.decided(state, generation, node.members) {
            if value.members.contains(id) && !value.joiners.contains(id) {
                actions.push(Action::Install(id, value));
            }
        }
    }

    pub(super) fn tie_breaker_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (generation, traffic) in state.traffic.iter().enumerate() {
            for (ballot, traffic) in &traffic.ballots {
                for (id, acceptor) in (self.nodes..).zip(&state.tie_breakers[generation]) {
                    let generation = generation as Generation;
                    self.answers(acceptor, id, generation, *ballot, traffic, actions);
                }
            }
        }
    }

    fn answers(
        &self,
        acceptor: &Acceptor,
        id: NodeId,
        generation: Generation,
        ballot: Ballot,
        traffic: &BallotTraffic,
        actions: &mut Vec<Action>,
    ) {
        if ballot > acceptor.promised {
            actions.push(Action::Promise(id, generation, ballot));
        }
        if let Some(value) = &traffic.value
            && ballot >= acceptor.promised
            && acceptor.accepted.as_ref() != Some(&(ballot, value.clone()))
        {
            actions.push(Action::Accept(id, generation, ballot));
        }
    }

    /// Every quorum of promises that a coordinator may go on with.
    fn offers(&self, state: &State, id: NodeId, actions: &mut Vec<Action>) {
        let node = &state.nodes[id as usize];
        for (ballot, traffic) in &state.traffic[node.generation as usize].ballots {
            if self.coordinator(*ballot) != id
                || node.acceptor.promised < *ballot
                || traffic.value.is_some()
            {
                continue;
            }
            let answered: NodeSet = traffic.promises.keys().copied().collect();
            for promises in answered.subsets() {
                if !promises.contains(id) || !self.is_quorum(promises, node.members) {
                    continue;
                }
                let offer =
                    |joiners| Action::Offer { node: id, ballot: *ballot, promises, joiners };
                actions.push(offer(NodeSet::EMPTY));
                let bound = promises.iter().any(|from| traffic.promises[&from].accepted.is_some());
                if self.joins && !bound {
                    let absent = self.all().difference(promises);
                    actions.extend(absent.iter().map(|joiner| offer(NodeSet::of(joiner))));
                }
            }
        }
    }

    pub(super) fn propose(&self, state: &mut State, id: NodeId) {
        let node = &state.nodes[id as usize];
        let ballot = self.next_ballot(node.acceptor.promised, id).expect("a ballot is left");
        state.traffic[node.generation as usize].ballots.entry(ballot).or_default();
    }

    pub(super) fn promise(
        &self,
        state: &mut State,
        id: NodeId,
        generation: Generation,
        ballot: Ballot,
    ) {
        let promise = if id >= self.nodes {
            let place = usize::from(id - self.nodes);
            let acceptor = &mut state.tie_breakers[generation as usize][place];
            acceptor.promised = ballot;
            Promise { accepted: acceptor.accepted.clone(), log: Vec::new() }
        } else {
            let node = &mut state.nodes[id as usize];
            node.acceptor.promised = ballot;
            node.sealed = true;
            Promise { accepted: node.acceptor.accepted.clone(), log: node.log.clone() }
        };
        let traffic = &mut state.traffic[generation as usize];
        traffic.ballots.entry(ballot).or_default().promises.insert(id, promise);
    }

    pub(super) fn offer(
        &self,
        state: &mut State,
        id: NodeId,
        ballot: Ballot,
        promises: NodeSet,
        joiners: NodeSet,
    ) {
        let node = &state.nodes[id as usize];
        let traffic = &state.traffic[node.generation as usize].ballots[&ballot];
        let counted = || promises.iter().map(|from| &traffic.promises[&from]);
        let bound = counted()
            .filter_map(|promise| promise.accepted.as_ref())
            .max_by_key(|(ballot, _)| *ballot)
            .filter(|_| !self.is(Mutant::IgnoreAcceptedValue));
        let voters = promises.intersection(self.all());
        let logs: Vec<&Vec<Entry>> =
            voters.iter().map(|from| &traffic.promises[&from].log).collect();
        let shortest = *logs.iter().min_by_key(|log| log.len()).expect("the coordinator promised");
        let longest = *logs.iter().max_by_key(|log| log.len()).expect("the coordinator promised");
        let diverged = logs.iter().any(|log| !longest.starts_with(log));
        let value = match bound {
            Some((_, value)) => value.clone(),
            None => Arc::new(Value {
                members: voters.intersection(node.members).union(joiners),
                joiners,
                hub: id,
                trim: match self.mutant {
                    Some(Mutant::LongestLogWithoutTransfer) => longest.clone(),
                    Some(Mutant::KeepKnownCommitsOnly) => {
                        shortest.iter().take(node.committed as usize).copied().collect()
                    }
                    _ => shortest.clone(),
                },
                incarnations: state.nodes.iter().map(|node| node.incarnation).collect(),
            }),
        };
        let generation = node.generation as usize;
        state.traffic[generation].ballots.entry(ballot).or_default().value = Some(value);
        if diverged && bound_is_none(&state.traffic[generation].ballots[&ballot], promises) {
            state.violation = Some("two logs of one view differ");
        }
    }

    pub(super) fn accept(
        &self,
        state: &mut State,
        id: NodeId,
        generation: Generation,
        ballot: Ballot,
    ) {
        let traffic =
            state.traffic[generation as usize].ballots.get_mut(&ballot).expect("it has a value");
        let value = traffic.value.clone().expect("only an offered value is accepted");
        traffic.accepted = traffic.accepted.with(id);
        if id >= self.nodes {
            let place = usize::from(id - self.nodes);
            state.tie_breakers[generation as usize][place] = if self.is(Mutant::TieBreakerForgets) {
                Acceptor::default()
            } else {
                Acceptor { promised: ballot, accepted: Some((ballot, value)) }
            };
        } else {
            let node = &mut state.nodes[id as usize];
            node.acceptor = Acceptor { promised: ballot, accepted: Some((ballot, value)) };
            node.sealed = true;
        }
        if self.is(Mutant::SnapshotBeforeRecord) {
            self.send_snapshots_early(state, generation);
        }
    }

    fn send_snapshots_early(&self, state: &mut State, generation: Generation) {
        for id in self.all().iter() {
            let node = &state.nodes[id as usize];
            if !node.seeded || node.generation != generation {
                continue;
            }
            for value in self.decided(state, generation, node.members) {
                if value.hub == id {
                    let history = state.nodes[id as usize].history_with(&value.trim);
                    state.send_snapshot(generation + 1, value, history);
                }
            }
        }
    }

    pub(super) fn install_decided(&self, state: &mut State, id: NodeId, value: Arc<Value>) {
        let node = &state.nodes[id as usize];
        let generation = node.generation;
        if !node.log.starts_with(&value.trim) {
            state.violation = Some("a member lacks an entry that the next view keeps");
            return;
        }
        let history = node.history_with(&value.trim);
        self.observe_delivery(state, generation, &value.trim);
        state.send_snapshot(generation + 1, value.clone(), history.clone());
        self.install(state, id, generation + 1, &value, history);
    }

    pub(super) fn install_snapshot(&self, state: &mut State, id: NodeId, generation: Generation) {
        let sent = &state.traffic[generation as usize].snapshots;
        let (value, history) =
            sent.iter().find(|(value, _)| value.joiners.contains(id)).expect("it was sent").clone();
        self.install(state, id, generation, &value, history);
    }
}

/// Was the coordinator free to choose the value of its ballot?
fn bound_is_none(traffic: &BallotTraffic, promises: NodeSet) -> bool {
    promises.iter().all(|from| traffic.promises[&from].accepted.is_none())
}

impl State {
    /// Sends joiners of the view `generation` what was before it.
    pub(super) fn send_snapshot(
        &mut self,
        generation: Generation,
        value: Arc<Value>,
        history: Arc<super::History>,
    ) {
        let sent = &mut self.traffic[generation as usize].snapshots;
        let snapshot = (value, history);
        // Kept in order, so that equal sets of messages are equal states.
        if let Err(place) = sent.binary_search(&snapshot) {
            sent.insert(place, snapshot);
        }
    }
}
