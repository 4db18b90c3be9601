//! Members to which one path is left, as the hub sees it, told to all by an entry where that makes a
//! difference.

use core::time::Duration;

use base::{Medium, NodeId};
use engine::{Entry, Jeopardy};
use transport::PathState;

use super::Node;

/// So many times the longest silence that a path bears: a machine that dies is silent on all its paths
/// within that, and is not in jeopardy before.
const SETTLED: u32 = 2;

impl Node {
    /// Looks who has one path left, after paths have changed, and tells what has lasted.
    pub(super) fn mind_jeopardy(&mut self) {
        if core::mem::take(&mut self.paths_changed) {
            let peers = self.transport.status().peers;
            let now = self.now;
            for peer in peers {
                let alive = (peer.paths.iter())
                    .filter(|path| matches!(path.state, PathState::Alive | PathState::Resting));
                match peer.connected && alive.count() == 1 {
                    true => drop(self.single.entry(peer.node).or_insert(now)),
                    false => drop(self.single.remove(&peer.node)),
                }
            }
            self.jeopardy_due = true;
        }
        let is_wished = self.engine.intent().jeopardy == Some(Jeopardy::Hold);
        if !is_wished || !self.jeopardy_due && self.single.is_empty() {
            return;
        }
        let local = self.local.node;
        let is_hub = self.group.view().is_some_and(|view| view.hub == local);
        if !is_hub || self.jeopardy_said_at == self.group.position() {
            return;
        }
        let settled = self.settled_after();
        let observation = self.engine.observation();
        let members = observation.view.as_ref().map(base::View::nodes).unwrap_or_default();
        // The hub itself: when one path is left to each of the others.
        let mut others = members.into_iter().filter(|node| *node != local);
        let own = others.try_fold(None, |latest, node| {
            self.single.get(&node).map(|since| Some(*since).max(latest))
        });
        let changes: Vec<(NodeId, bool)> = (members.into_iter())
            .filter_map(|node| {
                let since = match node == local {
                    true => own.flatten(),
                    false => self.single.get(&node).copied(),
                };
                let lasts = since.map(|since| self.now.since(since) >= settled);
                match (observation.jeopardy.contains(node), lasts) {
                    (false, Some(true)) => Some((node, true)),
                    (true, None) => Some((node, false)),
                    _ => None,
                }
            })
            .collect();
        self.jeopardy_due = false;
        if changes.is_empty() {
            return;
        }
        // Not again before something was delivered: these are on their way.
        self.jeopardy_said_at = self.group.position();
        for (node, is_so) in changes {
            let entry = Entry::Jeopardy { node, is_so };
            self.unsubmitted.push_back(base::codec::encode(&entry));
        }
    }

    fn settled_after(&self) -> Duration {
        let timing = &self.birth.cluster.timing;
        let media = self.birth.cluster.networks.iter().map(|network| network.medium);
        let longest = media.chain([Medium::Network]).map(|medium| timing.timeout(medium)).max();
        longest.unwrap_or_default() * SETTLED
    }
}
