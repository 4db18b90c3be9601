//! Networks that fail: for this node, for others, or for all.
//!
//! Polls of its own interfaces leave one question to a node: when none of them hears anything, are they
//! dead, or is the network? All members say how they see each network, in the order of all entries, and
//! from that every node works out the same answer (`engine::NetworkFault`). This module says it for this
//! node, waits until the answer has stood for the network's **grace**, because reports of one fault do
//! not come in the same instant, and acts on it: a silent network that others prove does not work here,
//! so its interfaces fail and what needs it leaves. A network that fails for all moves nothing.
//!
//! Paths over such a network stay as they are: heartbeats find out for themselves what they reach.

use std::collections::{BTreeMap, BTreeSet};

use base::{Instant, NetworkId, NodeId, NodeSet};
use engine::{NetworkFault, NetworkState, NetworkStates};
use network::Condition;

use super::{Node, Work};
use crate::config::{LocalEnd, NetworkSpec};
use crate::{About, EventKind};

/// What the interfaces of a network that failed here do, in words that follow their names.
const FAILED: &str = "hears nothing, and other nodes do";

/// What is known of the networks.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// What polls say of this node's interfaces.
    conditions: BTreeMap<String, Condition>,
    /// How this node sees its networks.
    states: NetworkStates,
    answers: BTreeMap<NetworkId, Answer>,
    /// Networks that are silent here and not elsewhere.
    failed: BTreeSet<NetworkId>,
    /// A member has said something since the answers were worked out.
    is_news: bool,
}

/// Where a network has failed.
#[derive(Debug, Default)]
struct Answer {
    /// What is acted on.
    stands: NetworkFault,
    /// What the members' reports say otherwise, and since when.
    next: Option<(NetworkFault, Instant)>,
}

impl Node {
    /// The driver says what polls have found. What is known beside that is added.
    pub(super) fn see_conditions(&mut self, conditions: BTreeMap<String, Condition>) {
        self.faults.conditions = conditions;
        self.tell_conditions();
    }

    fn tell_conditions(&mut self) {
        let mut conditions = self.faults.conditions.clone();
        for network in &self.birth.cluster.networks {
            if !self.faults.failed.contains(&network.id) {
                continue;
            }
            let Some(end) = &network.local else { continue };
            let seats = self.interfaces.iter().filter(|interface| interface.carries(end));
            let seats = seats.map(|interface| &interface.name);
            let standbys = network.standby.iter().flat_map(|standby| &standby.cards);
            let cards = standbys.chain(self.birth.cluster.sharing(network));
            for name in seats.chain(cards) {
                let condition = conditions.entry(name.clone()).or_default();
                if *condition == Condition::Silent {
                    *condition = Condition::Fails(FAILED.to_owned());
                }
            }
        }
        self.work.push_back(Work::Network(network::Input::Health(conditions)));
    }

    /// Tells the members how this node sees its networks, after its interfaces changed.
    pub(super) fn see_networks(&mut self) {
        let mut states = NetworkStates::new();
        for network in &self.birth.cluster.networks {
            let (Some(_), Some(end)) = (network.grace, &network.local) else { continue };
            let about_to_switch = matches!(
                end, LocalEnd::Address(address) if self.network.is_about_to_switch(*address));
            let state = match self.faults.states.get(&network.id) {
                // As before, until it has gone well or not.
                Some(state) if about_to_switch => *state,
                _ => self.network_state(network),
            };
            states.insert(network.id, state);
        }
        if states != self.faults.states {
            self.faults.states.clone_from(&states);
            self.work.push_back(Work::Engine(engine::Input::Networks(states)));
            self.mind_failed();
        }
    }

    /// The best of this node's interfaces in the network; without what other nodes say of it.
    fn network_state(&self, network: &NetworkSpec) -> NetworkState {
        let states = self.seats(network).map(|interface| {
            match self.faults.conditions.get(&interface.name).unwrap_or(&Condition::Unpolled) {
                Condition::Works => NetworkState::Up,
                Condition::Unpolled | Condition::Unproven => NetworkState::Connected,
                Condition::Silent => NetworkState::Silent,
                Condition::Fails(_) => NetworkState::Down,
            }
        });
        states.min().unwrap_or(NetworkState::Down)
    }

    /// A new life tells the members anew.
    pub(super) fn say_networks_again(&mut self) {
        let states = self.faults.states.clone();
        self.work.push_back(Work::Engine(engine::Input::Networks(states)));
        self.faults.is_news = true;
    }

    /// Members may have said something.
    pub(super) fn note_reports(&mut self) {
        self.faults.is_news = true;
    }

    /// When an answer has stood for long enough.
    pub(super) fn faults_due(&self) -> Option<Instant> {
        let networks = self.birth.cluster.networks.iter();
        let due = networks.filter_map(|network| {
            let (_, since) = self.faults.answers.get(&network.id)?.next?;
            Some(since + network.grace?)
        });
        due.min()
    }

    /// Works out where networks have failed, and acts on what has stood for long enough.
    pub(super) fn mind_faults(&mut self) {
        let is_due = self.faults_due().is_some_and(|at| at <= self.now);
        if !core::mem::take(&mut self.faults.is_news) && !is_due {
            return;
        }
        let mut said = Vec::new();
        let local = self.local.node;
        for network in &self.birth.cluster.networks {
            let Some(grace) = network.grace else { continue };
            let fault = self.engine.observation().network_fault(network.id);
            let answer = self.faults.answers.entry(network.id).or_default();
            if fault == answer.stands {
                answer.next = None;
                continue;
            }
            let since = match answer.next {
                Some((next, since)) if next == fault => since,
                _ => self.now,
            };
            answer.next = Some((fault, since));
            // A node that was blamed for what turns out to be everybody's keeps its services: no patience
            // with that.
            let is_cleared = is_at(local, answer.stands) && !is_at(local, fault);
            if is_cleared || self.now >= since + grace {
                *answer = Answer { stands: fault, next: None };
                said.push((network.id, network.name.clone(), fault));
            }
        }
        let cluster = &self.birth.cluster;
        self.faults.answers.retain(|id, _| cluster.network(*id).is_some());
        for (id, name, fault) in said {
            let mut about = About { network: Some(name.clone()), ..About::default() };
            match fault {
                NetworkFault::None => {
                    let sentence = format!("network_up: {name}");
                    self.event_about(EventKind::NetworkUp, None, sentence, about);
                }
                NetworkFault::Local(nodes) => {
                    let sentence =
                        format!("network_down local: {name} has failed on {}", listed(nodes));
                    let alone = nodes.into_iter().next().filter(|_| nodes.len() == 1);
                    about.nodes = nodes.into_iter().collect();
                    self.event_about(EventKind::NetworkDown, alone, sentence, about);
                }
                NetworkFault::Global => {
                    // Not all for one reason, perhaps.
                    let observation = self.engine.observation();
                    let ends = [(NetworkState::Down, "down"), (NetworkState::Silent, "silent")];
                    let ends =
                        ends.map(|(state, word)| (observation.network_is(id, &[state]), word));
                    let ends = ends.into_iter().filter(|(nodes, _)| !nodes.is_empty());
                    let ends: Vec<String> =
                        ends.map(|(nodes, word)| format!("{word} on {}", listed(nodes))).collect();
                    let ends = ends.join(", ");
                    let sentence =
                        format!("network_down global: {name} has failed for all: {ends}");
                    self.event_about(EventKind::NetworkDown, None, sentence, about);
                }
            }
        }
        self.mind_failed();
    }

    /// Has the interfaces of networks fail that are silent here and not elsewhere.
    fn mind_failed(&mut self) {
        let local = self.local.node;
        let states = &self.faults.states;
        let answers = self.faults.answers.iter();
        let failed = answers.filter(|(id, answer)| {
            is_at(local, answer.stands) && states.get(id) == Some(&NetworkState::Silent)
        });
        let failed: BTreeSet<NetworkId> = failed.map(|(id, _)| *id).collect();
        if failed != self.faults.failed {
            self.faults.failed = failed;
            self.tell_conditions();
        }
    }

    /// Where each network has failed, as this node acts on it.
    pub fn network_faults(&self) -> impl Iterator<Item = (NetworkId, NetworkFault)> + '_ {
        self.faults.answers.iter().map(|(id, answer)| (*id, answer.stands))
    }
}

fn listed(nodes: NodeSet) -> String {
    let names: Vec<String> = nodes.into_iter().map(|node| node.to_string()).collect();
    names.join(", ")
}

/// Whether the network has failed on this node and not everywhere.
fn is_at(node: NodeId, fault: NetworkFault) -> bool {
    match fault {
        NetworkFault::Local(nodes) => nodes.contains(node),
        NetworkFault::None | NetworkFault::Global => false,
    }
}
