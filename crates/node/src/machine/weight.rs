//! What this half of a cluster is worth, for who asks the tie-breaker first.

use std::collections::BTreeSet;

use base::NetworkId;
use group::Outside;

use super::Node;
use crate::EventKind;
use crate::config::LocalEnd;

impl Node {
    /// Tells the group what every node carries, and what this one reaches of those that it works for.
    pub(super) fn weigh(&mut self) {
        let outside = match (self.is_isolated(), self.has_silent_gateway()) {
            (true, _) => Outside::NoCarrier,
            (false, true) => Outside::NoGateway,
            (false, false) => Outside::Reached,
        };
        self.group.weigh(self.engine.loads(), outside);
    }

    /// Whether every interface of this node that belongs to a network is down.
    fn is_isolated(&self) -> bool {
        let mut linked = self.birth.cluster.networks.iter().filter(|network| {
            matches!(network.local, Some(LocalEnd::Address(_) | LocalEnd::Interface(_)))
        });
        let is_down = |id| self.networks_down.contains(&id);
        linked.clone().next().is_some() && linked.all(|network| is_down(network.id))
    }

    fn has_silent_gateway(&self) -> bool {
        let networks = &self.birth.cluster.networks;
        networks.iter().any(|network| self.gateways_silent.contains(&network.id))
    }

    /// Another picture of the gateways.
    pub(super) fn see_gateways(&mut self, silent: BTreeSet<NetworkId>) {
        let before = core::mem::replace(&mut self.gateways_silent, silent);
        let name = |id: &NetworkId| self.birth.cluster.network_name(*id);
        let new = self.gateways_silent.difference(&before).map(|id| {
            let network = name(id);
            format!("no gateway of {network} answers: this node asks a tie-breaker later")
        });
        let over = before.difference(&self.gateways_silent);
        let over = over.map(|id| format!("a gateway of {} answers again", name(id)));
        for sentence in new.chain(over).collect::<Vec<_>>() {
            self.event(EventKind::Interface, None, sentence);
        }
        self.weigh();
    }
}
