//! How the lease model is walked: habits, the invariant, milestones.

use super::ledger::Entry;
use super::{Action, Lease, NODES_MAX, State, refound};
use crate::set::NodeId;
use crate::walk::{Nature, Swarm};

const TAKE_OVER: u32 = 1 << 0;
const LOST_WHILE_RUNNING: u32 = 1 << 1;
const CARRIED_WAIT: u32 = 1 << 2;
const JOIN: u32 = 1 << 3;
const BEQUEST: u32 = 1 << 4;
const ADOPTION: u32 = 1 << 5;
const FREED_AFTER_ADOPTION: u32 = 1 << 6;
const MOVE: u32 = 1 << 7;
const RETURN: u32 = 1 << 8;
const COLD_START: u32 = 1 << 9;
const FIFTH_VIEW: u32 = 1 << 10;
const RELAYED: u32 = 1 << 11;
const LOST_WITH_HUB: u32 = 1 << 12;

/// Kinds of actions that come once per node.
const PER_NODE: usize = 17;
/// The kinds "time goes on, and the clock of this node is slow, or fast".
const SLOW: usize = 13;
const FAST: usize = 14;
/// The kind "daemon restarts" among them.
const RESTART: usize = 10;

impl Swarm for Lease {
    /// Per node its kinds of actions; per pair of nodes the two halves of a heartbeat, so that a
    /// walk may cut single ways; and a few for the cluster.
    fn habits(&self) -> usize {
        4 + PER_NODE * NODES_MAX + 2 * NODES_MAX * NODES_MAX
    }

    fn habit(&self, action: &Action) -> usize {
        let node = |kind: usize, id: NodeId| 4 + kind * NODES_MAX + id as usize;
        let pair = |half: usize, id: NodeId, peer: NodeId| {
            let pairs = 4 + PER_NODE * NODES_MAX + half * NODES_MAX * NODES_MAX;
            pairs + id as usize * NODES_MAX + peer as usize
        };
        match action {
            Action::Tick(steps) => {
                let mut wrong = (0..).zip(steps).filter(|(_, steps)| **steps != 1);
                match (wrong.next(), wrong.next()) {
                    (None, _) => 0,
                    (Some((id, 0)), None) => node(SLOW, id),
                    (Some((id, _)), None) => node(FAST, id),
                    (Some(_), Some(_)) => 1,
                }
            }
            Action::Return(_) => 2,
            Action::ColdStart(_) => 3,
            Action::Promise(id) => node(0, *id),
            Action::Decide { hub, .. } => node(1, *hub),
            Action::Enter(id, _) => node(2, *id),
            Action::Order(_, Entry::Start(life)) => node(3, life.node),
            Action::Order(hub, _) => node(4, *hub),
            Action::Acknowledge(id) => node(5, *id),
            Action::Deliver(id) => node(6, *id),
            Action::Start(id) => node(7, *id),
            Action::Stop(id) => node(8, *id),
            Action::Pause(id) | Action::Resume(id) => node(9, *id),
            Action::Restart(id, false) => node(RESTART, *id),
            Action::Restart(id, true) => node(11, *id),
            Action::LeaveView(id) => node(12, *id),
            Action::Relay { to, .. } => node(15, *to),
            Action::Take { node: id, .. } => node(16, *id),
            Action::Hear { node, from, .. } => pair(0, *node, *from),
            Action::Confirm { node, by, .. } => pair(1, *node, *by),
        }
    }

    fn nature(&self, habit: usize) -> Nature {
        match habit {
            2 | 3 => Nature::Rare,
            0 | 1 => Nature::Common,
            _ => match (habit - 4) / NODES_MAX {
                0 | 1 | 3 => Nature::Common,
                2 | 4..=7 => Nature::Vital,
                // Where few restarts are allowed, their number is limit enough.
                RESTART if self.restarts <= 2 => Nature::Common,
                SLOW | FAST | 15 | 16 => Nature::Common,
                8..PER_NODE => Nature::Rare,
                _ => Nature::Common,
            },
        }
    }

    fn violation(&self, state: &State) -> Option<&'static str> {
        let running = state.nodes.iter().filter(|node| node.guard > 0).count();
        (running > 1).then_some("two nodes run the service at the same instant")
    }

    fn milestones(&self) -> &'static [&'static str] {
        &[
            "a service starts again after a wait",
            "a holder is lost while it runs the service",
            "a wait is carried into a further view",
            "a joiner enters",
            "a promise counts although its node has restarted",
            "a service is adopted while it runs",
            "the old wait ends after an adoption",
            "a service moves by agreement",
            "a return",
            "a cold start",
            "a fifth view forms",
            "relayed evidence is newer than one's own",
            "a holder is lost together with its hub",
        ]
    }

    fn reached(&self, before: &State, action: &Action, after: &State) -> u32 {
        match action {
            Action::Start(id) => {
                let known = self.known_holder(after, *id);
                if known.is_some_and(|holder| holder.start > 1) { TAKE_OVER } else { 0 }
            }
            Action::Stop(_) => MOVE,
            Action::Return(_) => RETURN,
            Action::ColdStart(_) => COLD_START,
            Action::Enter(id, generation) => {
                let joins = after.view(*generation).joiners.contains(*id);
                if joins { JOIN } else { 0 }
            }
            Action::Take { node, .. } => {
                let better = after.node(*node).evidence < before.node(*node).evidence;
                if better { RELAYED } else { 0 }
            }
            Action::Decide { generation, promises, .. } => {
                let next = after.view(generation + 1);
                let hub = before.view(*generation).hub;
                let mut reached = 0;
                for absence in &next.ledger.absences {
                    if absence.since <= *generation {
                        reached |= CARRIED_WAIT;
                    } else if before.node(absence.life.node).guard > 0 {
                        reached |= LOST_WHILE_RUNNING;
                        if absence.life.node != hub && !promises.contains(hub) {
                            reached |= LOST_WITH_HUB;
                        }
                    }
                }
                if promises.iter().any(|id| before.node(id).generation != *generation) {
                    reached |= BEQUEST;
                }
                if *generation >= 4 {
                    reached |= FIFTH_VIEW;
                }
                reached
            }
            Action::Deliver(id) => {
                let adopted = self.holds(after, *id) && !self.holds(before, *id);
                let inherited = refound::runs_inherited(before, *id);
                if adopted && inherited { ADOPTION } else { 0 }
            }
            Action::Order(hub, Entry::Free(life, _)) => {
                let generation = before.node(*hub).generation;
                let view = before.view(generation);
                let holder = self.ledger(before, generation, view.entries.len()).holder;
                let adopted = holder.is_some_and(|holder| {
                    holder.life.node == life.node && holder.life.incarnation > life.incarnation
                });
                if adopted { FREED_AFTER_ADOPTION } else { 0 }
            }
            _ => 0,
        }
    }
}
