//! What of a change does not act at once: a preference moves nothing by itself, and what an address brings comes with it.

use super::{Cluster, Shared, addresses_of};

/// Sentences for whoever changes `before` to `after`, each with what makes it act now.
#[must_use]
pub fn later(before: &Cluster, after: &Cluster) -> Vec<String> {
    let mut said = Vec::new();
    for network in &after.networks {
        let Some(old) = before.networks.iter().find(|old| old.name == network.name) else {
            continue;
        };
        let (Some(old), Some(new)) = (&old.placing, &network.placing) else { continue };
        let name = &network.name;
        if (old.distribution, old.source) != (new.distribution, new.source) {
            said.push(format!(
                "network {name}: what stands stays; how addresses are shared out counts for those that have to move \
                 anyway and for new ones, for all by: mainstay network rebalance {name}"
            ));
        }
    }
    for service in &after.services {
        let changed = |differs: &dyn Fn(&Shared, &Shared) -> bool| {
            addresses_of(service).any(|address| {
                let both = before.shared.get(&address).zip(after.shared.get(&address));
                both.is_some_and(|(old, new)| differs(old, new))
            })
        };
        let name = &service.name;
        if changed(&|old, new| old.distribution != new.distribution) {
            said.push(format!(
                "service {name}: what stands stays; its distribution counts for addresses that have to move anyway and \
                 for new ones, for all by: mainstay network rebalance, with the name of its network"
            ));
        }
        if changed(&|old, new| old.hardware != new.hardware) {
            said.push(format!("service {name}: its hardware address counts from its next start"));
        }
    }
    said
}
