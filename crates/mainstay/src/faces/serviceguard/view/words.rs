//! What is known here, in Serviceguard's words.

use api::v1::{self, InterfaceState, NodeState, ResourceState, ServiceMode, ServiceState};
use engine::{Failback, Service};

/// Where a package is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Anywhere,
    On(&'a str),
    Nowhere,
}

impl Place<'_> {
    pub(super) fn has(self, package: &v1::Service) -> bool {
        match self {
            Place::Anywhere => true,
            Place::On(node) => package.node.as_deref() == Some(node),
            Place::Nowhere => package.node.is_none(),
        }
    }
}

/// up, starting or unknown: who answers runs a daemon, so it is never down.
pub(super) fn cluster_status(status: &v1::Status) -> &'static str {
    match (status.view.primary, status.node.state) {
        (true, _) => "up",
        (false, NodeState::Joining | NodeState::Unseeded | NodeState::Sealed) => "starting",
        (false, NodeState::Member | NodeState::Lost | NodeState::Unknown) => "unknown",
    }
}

/// ok, degraded or critical.
pub(super) fn summary(status: &v1::Status) -> &'static str {
    match status.verdict {
        v1::Verdict::Ok => "ok",
        v1::Verdict::Degraded => "degraded",
        v1::Verdict::Down | v1::Verdict::NoView | v1::Verdict::Unknown => "critical",
    }
}

/// Status and state of a node.
pub(super) fn node_words(state: NodeState) -> (&'static str, &'static str) {
    match state {
        NodeState::Member => ("up", "running"),
        NodeState::Sealed => ("up", "reforming"),
        NodeState::Joining => ("starting", "starting"),
        NodeState::Unseeded => ("down", "halted"),
        NodeState::Lost => ("down", "failed"),
        NodeState::Unknown => ("unknown", "unknown"),
    }
}

/// Status and state of a package.
pub(super) fn package_words(state: ServiceState) -> (&'static str, &'static str) {
    match state {
        ServiceState::Running => ("up", "running"),
        ServiceState::Starting => ("starting", "starting"),
        ServiceState::Stopping => ("halting", "halting"),
        ServiceState::Stopped => ("down", "halted"),
        ServiceState::Failed | ServiceState::BrokenSafe | ServiceState::BrokenUnsafe => {
            ("down", "failed")
        }
        ServiceState::Partial | ServiceState::Unknown => ("unknown", "unknown"),
    }
}

/// Whether the cluster starts it by itself.
pub(super) fn auto_run(package: &v1::Service) -> &'static str {
    let is_given_up = match package.state {
        ServiceState::Stopped
        | ServiceState::Failed
        | ServiceState::BrokenSafe
        | ServiceState::BrokenUnsafe => true,
        ServiceState::Starting
        | ServiceState::Running
        | ServiceState::Stopping
        | ServiceState::Partial
        | ServiceState::Unknown => false,
    };
    let is_automatic = package.mode.values().any(|mode| *mode == ServiceMode::Automatic);
    if is_automatic && !is_given_up { "enabled" } else { "disabled" }
}

/// Whether the cluster may start it on that node.
pub(super) fn switching(package: &v1::Service, node: &str) -> &'static str {
    let is_automatic = package.mode.get(node) == Some(&ServiceMode::Automatic);
    let is_blocked = package.blocked.contains_key(node);
    if is_automatic && !is_blocked { "enabled" } else { "disabled" }
}

/// Whether a package goes back to its first node.
pub(super) fn failback(policy: Option<&Service>) -> &'static str {
    match policy.map(|policy| policy.failback) {
        Some(Failback::Never) => "manual",
        Some(_) => "automatic",
        None => "unknown",
    }
}

pub(super) fn part_status(state: ResourceState) -> &'static str {
    match state {
        ResourceState::Running => "up",
        ResourceState::Unknown => "unknown",
        ResourceState::Stopped
        | ResourceState::Starting
        | ResourceState::Stopping
        | ResourceState::Failed => "down",
    }
}

/// What an interface is to the node: one that shares addresses has some, so it does not stand by.
pub(super) fn role(interface: &v1::NetworkInterface) -> &'static str {
    if interface.role == "standby" { "STANDBY" } else { "PRIMARY" }
}

pub(super) fn up_or_down(state: InterfaceState) -> &'static str {
    match state {
        InterfaceState::Up => "up",
        InterfaceState::Unsure => "unknown",
        InterfaceState::Down => "down",
    }
}

/// Polls are made below IP, so what fails there has failed for both.
pub(super) fn interface_status(interface: &v1::NetworkInterface) -> String {
    match (interface.state, interface.disabled) {
        (InterfaceState::Down, true) => "down (disabled)".to_owned(),
        (InterfaceState::Down, false) => "down (Link and IP)".to_owned(),
        (state, _) => up_or_down(state).to_owned(),
    }
}

/// What a part of a package is called, and its name: addresses are subnets there.
pub(super) fn item(resource: &v1::Resource) -> (&'static str, String) {
    match resource.kind.as_str() {
        "address" => ("Subnet", subnet(&resource.detail).unwrap_or_else(|| resource.name.clone())),
        _ => ("Service", resource.name.clone()),
    }
}

/// The subnet of an address as it is written; none of what is no address.
fn subnet(written: &str) -> Option<String> {
    let (address, prefix) = written.split_once('/')?;
    let (address, prefix) = (address.parse().ok()?, prefix.parse().ok()?);
    Some(crate::config::subnet(address, prefix).to_string())
}
