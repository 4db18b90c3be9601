//! Networks on which nobody watches everybody.
//!
//! In a mesh each of N nodes sends heartbeats to all others: N² frames in each interval. In a
//! **ring** (HACMP's term) a node watches its two neighbours by address, and the few in the centre
//! whom the layer above names: the hub of its view and the hub's deputy, who both watch everybody.
//! So 2N frames go round, and 4N to and from the centre.
//!
//! ```text
//!        2 ───── 3                  each watches the next one up and down;
//!      ╱    ╲ ╱    ╲                all watch the hub and its deputy
//!     1 ──── hub ── 4
//!      ╲    ╱ ╲    ╱
//!        6 ───── 5
//! ```
//!
//! Both ends of a path decide on their own. Whoever watches says so in its heartbeats and is
//! answered; a path that neither end watches **rests**: it is neither alive nor dead, carries
//! nothing, and costs nothing. It is woken by one heartbeat and alive again after one round trip.
//! A message for a peer that is not connected wakes the paths to it, for as long as it waits and
//! [`WAKE_TIME`] at most: nobody else carries it. While there is no view, or its centre cannot be reached, everybody watches everybody: a ring
//! saves frames in a cluster that is well, and decides nothing in one that is not.

use core::time::Duration;

use base::{NetworkId, NodeSet, Timing};

use crate::path::Moment;
use crate::peer::Peer;

/// How long a message keeps paths awake that would rest.
pub(crate) const WAKE_TIME: Duration = Duration::from_secs(10);

/// Whom a node watches on networks that are monitored as rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// Everybody, as in a mesh.
    #[default]
    Everybody,
    /// The neighbours among the members, and the centre.
    Ring {
        /// Those who are in the ring; the local node may be named.
        members: NodeSet,
        /// Those whom everybody watches.
        centre: NodeSet,
    },
}

impl Watch {
    /// Whether a path over this network that leads so many steps up the ring is watched.
    pub(crate) fn covers(&self, peers: &[Peer], network: NetworkId, peer: &Peer, step: u8) -> bool {
        match self {
            Watch::Everybody => true,
            Watch::Ring { members, centre } => {
                let steps = || {
                    let others = peers.iter().filter(|other| members.contains(other.node));
                    others.filter_map(|other| other.step(network))
                };
                let is_next = steps().min() == Some(step) || steps().max() == Some(step);
                centre.contains(peer.node) || members.contains(peer.node) && is_next
            }
        }
    }
}

impl Peer {
    /// Watches what the layer above wants watched, and what messages wait for.
    pub(crate) fn wake(&mut self, at: Moment, timing: &Timing) {
        let waits = self.channel.outgoing.iter().any(|lane| !lane.is_empty());
        let is_due = waits && at.now < self.wanted_until;
        self.woken = is_due && (self.woken || !self.connected);
        let woken = self.woken;
        self.paths.iter_mut().for_each(|path| path.watch(at, timing, path.chosen || woken));
    }
}
