//! What this half of a cluster is worth, for who asks the tie-breaker first.

use super::Node;
use crate::config::LocalEnd;

impl Node {
    /// Tells the group what every node carries, and whether this one is cut off from everybody
    /// that it could work for.
    pub(super) fn weigh(&mut self) {
        self.group.weigh(self.engine.loads(), self.is_isolated());
    }

    /// Whether every interface of this node that belongs to a network is down.
    fn is_isolated(&self) -> bool {
        let mut linked = self.birth.cluster.networks.iter().filter(|network| {
            matches!(network.local, Some(LocalEnd::Address(_) | LocalEnd::Interface(_)))
        });
        let is_down = |id| self.networks_down.contains(&id);
        linked.clone().next().is_some() && linked.all(|network| is_down(network.id))
    }
}
