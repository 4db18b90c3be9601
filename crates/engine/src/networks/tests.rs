//! One network of up to four members.

use base::{NetworkId, NodeId, NodeSet};

use super::NetworkState::{self, Connected, Down, Silent, Up};
use super::{NetworkFault, NetworkStates};
use crate::observation::Observation;

const NET: NetworkId = NetworkId(3);

fn fault(states: &[Option<NetworkState>]) -> NetworkFault {
    let mut observation = Observation::default();
    for (node, state) in (0..).map(NodeId).zip(states) {
        let states: NetworkStates = state.iter().map(|state| (NET, *state)).collect();
        observation.networks.insert(node, states);
    }
    observation.network_fault(NET)
}

fn local(nodes: &[u8]) -> NetworkFault {
    NetworkFault::Local(nodes.iter().map(|node| NodeId(*node)).collect::<NodeSet>())
}

#[test]
fn who_is_silent_has_failed_when_another_proves_the_network() {
    assert_eq!(fault(&[Some(Silent), Some(Up)]), local(&[0]));
    assert_eq!(fault(&[Some(Silent), Some(Up), Some(Silent), Some(Down)]), local(&[0, 2, 3]));
    assert_eq!(fault(&[Some(Silent), Some(Connected)]), NetworkFault::None);
    assert_eq!(fault(&[Some(Silent), None]), NetworkFault::None);
}

#[test]
fn who_has_no_signal_has_failed_in_any_case() {
    assert_eq!(fault(&[Some(Down)]), local(&[0]));
    assert_eq!(fault(&[Some(Down), Some(Connected), Some(Silent)]), local(&[0]));
    assert_eq!(fault(&[Some(Down), Some(Up)]), local(&[0]));
}

#[test]
fn what_nobody_proves_and_all_miss_is_the_network() {
    assert_eq!(fault(&[Some(Silent), Some(Silent)]), NetworkFault::Global);
    assert_eq!(fault(&[Some(Down), Some(Silent), None]), NetworkFault::Global);
    assert_eq!(fault(&[Some(Down), Some(Down), Some(Down)]), NetworkFault::Global);
    assert_eq!(fault(&[Some(Silent)]), NetworkFault::None, "one alone knows nothing");
    assert_eq!(fault(&[Some(Up), Some(Connected)]), NetworkFault::None);
    assert_eq!(fault(&[]), NetworkFault::None);
}
