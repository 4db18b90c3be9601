//! How long a failure can keep a service away, computed from the configuration and nothing else.
//!
//! A node is lost at moment 0, and its last sign of life came just before. Then two things run
//! beside each other on the survivors:
//!
//! ```text
//! 0 ── detection ──► silence noticed ── view change ──► agreed
//! 0 ── F: lease L, release R, clock rates, granularity ──► the lost node has provably stopped
//! ```
//!
//! The start may be decided when both are over; then the decision is ordered (one more heartbeat
//! bounds a lost message) and the service has its start timeout. F is `base::Timing::fence_wait`
//! (the protocol's section on leases); it counts from the survivors' last contact, which is not
//! after moment 0, so it is over at F at the latest.

use std::collections::BTreeSet;
use std::time::Duration;

use api::v1;
use base::{CLOCK_RATE_ERROR_PERMILLE, Timing};
use engine::{Class, Mode, Service};

use crate::config::duration::format;
use crate::config::{Cluster, Tie};

/// The bounds of all services.
#[must_use]
pub fn bound(cluster: &Cluster) -> v1::Bound {
    let timing = &cluster.timing;
    let changed = *timing != cluster.preset.timing();
    let changed = if changed { " with changes" } else { "" };
    v1::Bound {
        schema: v1::SCHEMA,
        detection: format!("{}{changed}", cluster.preset.name()),
        timing: table(timing),
        services: cluster.services.iter().map(|service| of_service(cluster, service)).collect(),
        assumptions: assumptions(cluster),
    }
}

fn of_service(cluster: &Cluster, service: &Service) -> v1::ServiceBound {
    let timing = &cluster.timing;
    let detection = timing.path_timeout + timing.heartbeat_high;
    let tie = needs_tie(cluster);
    let view_change = timing.collect + if tie { timing.tie_budget } else { Duration::ZERO };
    let (class, by) = service.class();
    let fence_wait = match class {
        Class::Contained | Class::Reserved => Some(timing.fence_wait()),
        Class::Storage => {
            watchdog(cluster, service).map(|timeout| timing.storage_fence_wait(timeout))
        }
    };
    let order = timing.heartbeat_high;
    let free = fence_wait.map(|wait| (detection + view_change).max(wait) + order);
    let mut why = vec![
        format!(
            "detection {}: path timeout {} and one heartbeat {}",
            format(detection),
            format(timing.path_timeout),
            format(timing.heartbeat_high)
        ),
        format!(
            "view change {}: the members' promises{}",
            format(view_change),
            if tie { " and the tie-breaker" } else { "" }
        ),
    ];
    match fence_wait {
        Some(wait) if class == Class::Storage => {
            why.push(format!(
                "class storage ({}): F {}: the longest watchdog of its nodes {} + evidence {}, {} ‰ for \
                 the clocks' rates, {} granularity; where a watchdog cannot be armed only a proof \
                 frees it",
                cause(by),
                format(wait),
                format(watchdog(cluster, service).unwrap_or_default()),
                format(timing.feeding_evidence()),
                2 * CLOCK_RATE_ERROR_PERMILLE,
                format(base::CLOCK_GRANULARITY)
            ));
        }
        Some(wait) => {
            why.push(format!(
                "F {}: lease {} + release {}, {} ‰ for the clocks' rates, {} granularity; counted \
                 from the last contact, so it runs beside the two above",
                format(wait),
                format(timing.lease),
                format(timing.release),
                2 * CLOCK_RATE_ERROR_PERMILLE,
                format(base::CLOCK_GRANULARITY)
            ));
            if class == Class::Reserved {
                why.push(format!(
                    "class reserved ({}): the start elsewhere takes the disks away first, and nothing of it is \
                     started unless they confirm it",
                    cause(by)
                ));
            }
            why.push(match wait > detection + view_change {
                true => "F is the longer one: a shorter lease makes the takeover faster".into(),
                false => "detection and view change are longer than F".into(),
            });
        }
        None => why.extend(by_proof(cluster, service, by)),
    }
    why.push(format!(
        "start budget {}: start_timeout; a start that takes less is done earlier",
        format(service.start_timeout)
    ));
    if service.nodes.len() == 1 {
        why.push("it has one node: nothing takes it over, and there is no bound".into());
    }
    if service.mode == Mode::Manual {
        why.push("its mode is manual: it starts elsewhere only when told".into());
    }
    if cluster.nodes.len() == 2 && cluster.tie != Tie::None {
        why.push(match &cluster.tie {
            Tie::Prefer(node) => {
                let node = cluster.name_of(*node);
                format!("two nodes: only {node} goes on alone, the other one never does")
            }
            Tie::Arbiters(arbiters) => {
                let names: Vec<String> = arbiters.iter().map(ToString::to_string).collect();
                let needed = if arbiters.len() > 1 { "two of " } else { "" };
                format!(
                    "two nodes: {needed}{} must answer within the tie budget {}; the half that \
                     carries less asks {} later{}",
                    names.join(", "),
                    format(timing.tie_budget),
                    format(timing.tie_courtesy()),
                    handicap(cluster)
                )
            }
            Tie::None | Tie::Manual => "two nodes: a person decides, so there is no bound".into(),
        });
    } else if cluster.nodes.len() == 2 {
        why.push("two nodes without a tie-breaker: the other one stops too, no bound".into());
    }
    let names = service.nodes.iter().map(|node| cluster.name_of(*node));
    v1::ServiceBound {
        name: service.name.clone(),
        detection_ms: millis(detection),
        view_change_ms: millis(view_change),
        class: class.name().to_owned(),
        fence_wait_ms: fence_wait.map(millis),
        free_ms: free.map(millis),
        start_budget_ms: millis(service.start_timeout),
        sum_ms: free.map(|free| millis(free + service.start_timeout)),
        nodes: names.collect(),
        why,
    }
}

/// How late a half asks that can reach nobody.
fn handicap(cluster: &Cluster) -> String {
    let gateways = cluster.networks.iter().flat_map(|network| network.gateways.values().flatten());
    let gateways: BTreeSet<String> = gateways.map(ToString::to_string).collect();
    if gateways.is_empty() {
        return String::new();
    }
    let gateways: Vec<String> = gateways.into_iter().collect();
    format!(
        ", and one that reaches no gateway ({}) while the other one does {} later, whatever it carries",
        gateways.join(", "),
        format(cluster.timing.tie_handicap)
    )
}

/// The longest timeout of the watchdogs of a service's nodes, if all have one.
fn watchdog(cluster: &Cluster, service: &Service) -> Option<Duration> {
    let timeouts = service.nodes.iter().map(|node| cluster.watchdogs.get(node));
    let timeouts: Option<Vec<Duration>> =
        timeouts.map(|watchdog| watchdog.map(|watchdog| watchdog.timeout)).collect();
    timeouts?.into_iter().max()
}

/// Why a service is one of storage.
fn cause(by: Option<&str>) -> String {
    match by {
        Some(resource) => format!("its resource {resource} writes until it is gone"),
        None => "the configuration says so".to_owned(),
    }
}

/// Why no time frees a storage service, and what does.
fn by_proof(cluster: &Cluster, service: &Service, by: Option<&str>) -> Vec<String> {
    let cause = cause(by);
    let unfenced: Vec<String> = (service.nodes.iter())
        .filter(|node| !cluster.fences.iter().any(|fence| fence.node == **node))
        .map(|node| cluster.name_of(*node))
        .collect();
    let mut why = vec![format!(
        "class storage ({cause}): only a proof frees it, so there is no bound; a node that leaves or \
         is back in order is one, and `mainstay node confirm-down`"
    )];
    why.push(match unfenced.is_empty() {
        true => "all of its nodes have fence agents: the first that has seen the lost one off \
                 frees it"
            .to_owned(),
        false => format!(
            "no fence agent can turn off {}: without a person it stays down when that node is lost; \
             a [[fence]] mends that",
            unfenced.join(", ")
        ),
    });
    let unwatched: Vec<String> = (service.nodes.iter())
        .filter(|node| !cluster.watchdogs.contains_key(node))
        .map(|node| cluster.name_of(*node))
        .collect();
    why.push(format!(
        "no watchdog is configured for {}: with one on each of its nodes there is a bound ([watchdog])",
        unwatched.join(", ")
    ));
    why
}

/// With an even number of nodes a view can be halved.
fn needs_tie(cluster: &Cluster) -> bool {
    cluster.tie != Tie::None && cluster.nodes.len().is_multiple_of(2)
}

fn assumptions(cluster: &Cluster) -> Vec<String> {
    let per_mille = CLOCK_RATE_ERROR_PERMILLE;
    let switched = cluster
        .networks
        .iter()
        .filter(|network| network.endpoints.values().any(|endpoint| endpoint.standby.is_some()));
    let waits = switched.filter_map(|network| {
        let waits = format(cluster.switch_waits(&network.name)?);
        Some(format!(
            "when an interface of {} fails its addresses wait up to {waits} for the hooks before \
             swap_adapter; a service leaves the node only when they cannot go to a standby",
            network.name
        ))
    });
    let assumptions = [
        "more than half of the last view goes on, and its members reach each other".into(),
        format!(
            "clocks of nodes run equally fast within {}.{} %; their dates do not matter",
            per_mille / 10,
            per_mille % 10
        ),
        format!(
            "on the lost node the guard still runs, or the whole node has stopped: it needs up to \
             {} to stop the service",
            format(cluster.timing.release)
        ),
        "when the guard is stopped as well, the kernel closes the service's addresses at the end of the \
         lease where \"mainstay gate\" shows a gate; elsewhere they may answer up to 2 s longer"
            .into(),
        "a virtual machine that its host froze may answer for the rest of its lease when it wakes"
            .into(),
    ];
    assumptions.into_iter().chain(waits).collect()
}

fn table(timing: &Timing) -> v1::TimingTable {
    v1::TimingTable {
        heartbeat_ms: millis(timing.heartbeat_high),
        heartbeat_low_ms: millis(timing.heartbeat_low),
        path_timeout_ms: millis(timing.path_timeout),
        collect_ms: millis(timing.collect),
        tie_budget_ms: millis(timing.tie_budget),
        lease_ms: millis(timing.lease),
        release_ms: millis(timing.release),
        fence_wait_ms: millis(timing.fence_wait()),
    }
}

/// Whole milliseconds, rounded up: a bound must not be too short.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
