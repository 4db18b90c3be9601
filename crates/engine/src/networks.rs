//! Networks as their nodes see them, and where the fault is when one fails.
//!
//! A node that hears nothing on a network cannot tell its own interface from the switch. The others can:
//! each member says of each network whether it proved its end of it, and from all these reports follows
//! whether the network failed on **some** nodes or for **all** (design §6, "local or global failure").
//! The first moves what needs the network there, the second moves nothing.
//!
//! **Rule.** Who has no signal, or only interfaces that were found not to work, has failed in any case. Who
//! hears nothing has failed only if another member *proves* that there is something to hear: a signal alone
//! proves nothing, and a member whose interfaces nobody polls is no witness. When no member proves the
//! network and all who are on it have failed or hear nothing, it is of use to none of them, whatever the reason
//! of each: nothing moves, because nowhere would it be better.
//!
//! The reports need not travel over the network that they are about. There is no time in here: reports
//! of one fault do not come in the same instant, so whoever acts on the verdict waits first.

use std::collections::BTreeMap;

use base::limits::NETWORKS_MAX;
use base::{Member, NetworkId, NodeSet};
use minicbor::{Decode, Encode};

use crate::observation::Observation;
use crate::replica::Replica;

#[cfg(test)]
mod tests;

/// A member's end of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum NetworkState {
    /// An interface there is proven: something comes in.
    #[n(0)]
    Up,
    /// There is a signal, and nothing is known beyond that.
    #[n(1)]
    Connected,
    /// There is a signal, and nothing comes in.
    #[n(2)]
    Silent,
    /// There is no signal, or what there is does not work.
    #[n(3)]
    Down,
}

/// What a member says of its networks.
pub type NetworkStates = BTreeMap<NetworkId, NetworkState>;

/// Where a network has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetworkFault {
    /// Nowhere, as far as is known.
    #[default]
    None,
    /// On these members alone.
    Local(NodeSet),
    /// For all that are on it, of which there are several.
    Global,
}

impl Observation {
    /// The members that say one of these of the network.
    #[must_use]
    pub fn network_is(&self, network: NetworkId, wanted: &[NetworkState]) -> NodeSet {
        let said = self
            .networks
            .iter()
            .filter(|(_, states)| states.get(&network).is_some_and(|state| wanted.contains(state)));
        said.map(|(node, _)| *node).collect()
    }

    /// Where the network has failed, by what the members say of it.
    #[must_use]
    pub fn network_fault(&self, network: NetworkId) -> NetworkFault {
        let of = |wanted: &[NetworkState]| self.network_is(network, wanted);
        let witnesses = of(&[NetworkState::Up]);
        let failed = match witnesses.is_empty() {
            true => of(&[NetworkState::Down]),
            false => of(&[NetworkState::Down, NetworkState::Silent]),
        };
        let in_doubt = of(&[NetworkState::Up, NetworkState::Connected]);
        let bad = of(&[NetworkState::Down, NetworkState::Silent]);
        if in_doubt.is_empty() && bad.len() > 1 {
            NetworkFault::Global
        } else if failed.is_empty() {
            NetworkFault::None
        } else {
            NetworkFault::Local(failed)
        }
    }
}

impl Replica {
    /// A member says how it sees its networks.
    pub(crate) fn networks(&mut self, origin: Member, networks: NetworkStates) {
        if self.observation.member(origin.node) != Some(origin) {
            return;
        }
        let networks = networks.into_iter().take(NETWORKS_MAX).collect();
        self.observation.networks.insert(origin.node, networks);
    }
}
