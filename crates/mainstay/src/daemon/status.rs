//! The node's status in the form of the API.

use std::collections::BTreeMap;

use api::v1::{self, Verdict};
use base::NodeId;
use group::Standing;

use super::drive::Daemon;
use super::placed::conflict_warnings;
use super::standby::STRICT_HELP;
use crate::config::Kind;

/// A write of some kilobytes that takes longer is worth a word.
const DISK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

impl Daemon {
    /// Everything that `mainstay status` shows.
    pub(super) fn status(&self) -> v1::Status {
        let status = self.node.status();
        let is_primary = status.engine.primary
            && matches!(
                status.group.standing,
                Standing::Member | Standing::Sealed | Standing::Leaving
            )
            && status.group.waiting.is_none();
        let nodes = self.nodes(&status);
        let services = self.services(&status, is_primary);
        let paths = self.paths(&status);
        let local = self.cluster.name_of(status.local.node);
        let addresses = self.addresses_part(&status.network, None);
        let (verdict, reasons) = verdict(is_primary, &nodes, &paths, &services, &status, &local);
        v1::Status {
            schema: v1::SCHEMA,
            verdict,
            reasons,
            cluster: self.cluster_part(&status),
            node: v1::LocalNode {
                name: self.cluster.name_of(status.local.node),
                id: status.local.node.0,
                state: state(status.group.standing, status.group.is_joining),
                incarnation: status.local.incarnation.0,
                uptime_ms: millis(self.uptime()),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                gate: self.gate_kind(),
            },
            view: self.view(&status, is_primary),
            leaving: self.leaving_part(),
            nodes,
            paths,
            services,
            warnings: self.warnings(&status, &addresses),
            addresses,
            health: v1::Health {
                persistence: self.disk_trouble(),
                realtime: self.realtime.clone(),
                guard: self.guard_trouble(),
                tie_breaker: self.tie_breaker_trouble(),
                lag_ms: millis(self.node.lag()),
            },
            counters: (status.transport.counters.iter())
                .filter(|counter| counter.count > 0)
                .map(|counter| v1::Counter {
                    name: counter.kind.name().to_owned(),
                    value: counter.count,
                    text: counter.text().to_owned(),
                })
                .chain(self.probe_counters())
                .chain(self.fence_counters())
                .chain(self.hook_counters())
                .collect(),
        }
    }

    fn cluster_part(&self, status: &node::Status) -> v1::Cluster {
        let (version, checksum) = (status.engine.version, status.engine.checksum);
        let mismatch = status.peers.iter().any(|peer| {
            let digest = &peer.report.engine;
            peer.report.group.standing == Standing::Member
                && (digest.version, digest.checksum) != (version, checksum)
        });
        v1::Cluster {
            name: self.cluster.name.clone(),
            id: self.cluster.id,
            config_version: version,
            config_checksum: crate::config::checksum_text(checksum),
            config_mismatch: mismatch,
            detection: self.cluster.preset.name().to_owned(),
        }
    }

    fn view(&self, status: &node::Status, is_primary: bool) -> v1::View {
        let name = |node: NodeId| self.cluster.name_of(node);
        let view = status.group.view.as_ref();
        v1::View {
            generation: view.map_or(0, |view| view.generation),
            lineage: view.map_or(String::new(), |view| format!("{:08x}", view.lineage)),
            hub: view.map(|view| name(view.hub)),
            members: view
                .map(|view| view.members.iter().map(|member| name(member.node)).collect())
                .unwrap_or_default(),
            waiting: status.waiting.clone().filter(|text| !text.is_empty()),
            primary: is_primary,
            lease_ms: view.map(|_| status.group.lease.map_or(0, millis)),
            since_ms: view.map(|_| millis(status.at.since(self.view_since.1))),
            tie_breaker: view.and_then(|view| self.tie_breaker_of(view.tie)),
        }
    }

    fn nodes(&self, status: &node::Status) -> Vec<v1::Node> {
        let view = status.group.view.as_ref();
        let waits = &status.group.waits;
        (self.cluster.nodes.iter())
            .map(|configured| {
                let id = configured.id;
                let is_local = id == status.local.node;
                let peer = status.peers.iter().find(|peer| peer.node == id);
                let transport = status.transport.peers.iter().find(|peer| peer.node == id);
                let connected = transport.is_some_and(|peer| peer.connected);
                let is_member = view.is_some_and(|view| view.nodes().contains(id));
                let lasts = |wait: &&group::WaitStatus| wait.absence.node == id && !wait.is_lapsed;
                let wait = waits.iter().find(lasts);
                let node_state = if is_local {
                    state(status.group.standing, status.group.is_joining)
                } else if connected {
                    let standing =
                        peer.map_or(Standing::Unseeded, |peer| peer.report.group.standing);
                    state(standing, view.is_some() && standing == Standing::Unseeded)
                } else if is_member && status.group.present.contains(id) {
                    // On a ring, watched by others.
                    v1::NodeState::Member
                } else if peer.is_some_and(|peer| peer.age.is_some()) || is_member || wait.is_some()
                {
                    v1::NodeState::Lost
                } else {
                    v1::NodeState::Unknown
                };
                let engine = status.engine.nodes.iter().find(|node| node.node == id);
                let usable = transport.map_or(0, |peer| {
                    let alive =
                        |path: &&transport::PathStatus| path.state == transport::PathState::Alive;
                    peer.paths.iter().filter(alive).count()
                });
                v1::Node {
                    name: configured.name.clone(),
                    id: id.0,
                    state: node_state,
                    age_ms: if is_local {
                        Some(0)
                    } else {
                        peer.and_then(|peer| peer.age).map(millis)
                    },
                    incarnation: if is_local {
                        Some(status.local.incarnation.0)
                    } else {
                        transport.and_then(|peer| peer.incarnation).map(|life| life.0)
                    },
                    online: engine.is_none_or(|node| !node.standby && !node.draining),
                    waiting: if is_local { status.waiting.clone() } else { None },
                    jeopardy: !is_local && is_member && connected && usable == 1,
                    fence_wait_ms: wait.map(|wait| millis(wait.remaining)),
                    fence: self.fence_proof(id),
                }
            })
            .collect()
    }

    fn paths(&self, status: &node::Status) -> Vec<v1::Path> {
        let local = status.local.node;
        let peers = status.transport.peers.iter();
        peers
            .flat_map(|peer| &peer.paths)
            .filter_map(|path| {
                let network = self.cluster.network(path.path.network)?;
                let end = |node| network.end(node, self.cluster.port);
                let round_trip = path.round_trip;
                let remote = match network.kind {
                    Kind::Ethernet { .. } => {
                        self.media.station(path.path).map(station).unwrap_or_default()
                    }
                    Kind::Udp | Kind::Disk | Kind::Serial { .. } => end(path.path.peer)?,
                };
                let share = |permille: u16| f64::from(permille) / 1000.0;
                Some(v1::Path {
                    peer: self.cluster.name_of(path.path.peer),
                    network: network.name.clone(),
                    kind: network.kind.name().to_owned(),
                    local: end(local)?,
                    remote,
                    rank: network.rank,
                    priority: match path.priority {
                        transport::Priority::High => v1::Priority::High,
                        transport::Priority::Low => v1::Priority::Low,
                    },
                    state: match path.state {
                        transport::PathState::Alive => v1::PathState::Alive,
                        transport::PathState::Trouble => v1::PathState::Trouble,
                        transport::PathState::Dead => v1::PathState::Dead,
                        transport::PathState::Resting => v1::PathState::Resting,
                    },
                    direction: match path.direction {
                        Some(transport::Direction::Incoming) => Some(v1::Direction::NotHeard),
                        Some(transport::Direction::Outgoing) => Some(v1::Direction::NotHearingUs),
                        Some(transport::Direction::Both) | None => None,
                    },
                    rtt_us: round_trip.map(|times| u64::from(times.last)),
                    loss: share(path.incoming.loss_permille),
                    rtt_min_avg_max_us: round_trip
                        .map(|times| [times.min, times.average, times.max].map(u64::from)),
                    loss_out: Some(share(path.outgoing.loss_permille)),
                    jitter_us: Some(u64::from(path.incoming.jitter)),
                    age_ms: path.last_heard.map(|at| millis(status.at.since(at))),
                    echoes_wanted: path.damped.and(path.echoes_wanted),
                    damped_ms: path.damped.map(millis),
                    peer_has_half: network.rank.and_then(|_| self.peer_has_half(path.path)),
                })
            })
            .collect()
    }

    fn services(&self, status: &node::Status, is_primary: bool) -> Vec<v1::Service> {
        let name = |node: NodeId| self.cluster.name_of(node);
        (status.engine.services.iter())
            .map(|service| {
                let spec = self.cluster.services.iter().find(|spec| spec.name == service.name);
                let modes: BTreeMap<String, v1::ServiceMode> = (service.modes.iter())
                    .map(|(node, mode)| {
                        let mode = match mode {
                            engine::Mode::Automatic => v1::ServiceMode::Automatic,
                            engine::Mode::Manual => v1::ServiceMode::Manual,
                        };
                        (name(*node), mode)
                    })
                    .collect();
                let blocked = service.blocked.iter();
                let reason = match &service.pending_fence {
                    Some(pending) => pending.clone(),
                    None => service.reason.clone(),
                };
                v1::Service {
                    name: service.name.clone(),
                    // Outside the primary view nothing is known but what was; the guard has ended
                    // whatever ran here.
                    state: if is_primary {
                        service_state(service.state)
                    } else {
                        v1::ServiceState::Unknown
                    },
                    node: service.node.map(name).filter(|_| is_primary),
                    since_ms: Some(millis(status.at.since(service.since_here))),
                    mode: modes,
                    blocked: blocked.map(|(node, why)| (name(*node), why.clone())).collect(),
                    reason: Some(reason).filter(|reason| !reason.is_empty()),
                    nodes: spec
                        .map(|spec| spec.nodes.iter().map(|node| name(*node)).collect())
                        .unwrap_or_default(),
                    resources: resources(service, spec),
                    age_ms: is_primary.then_some(0),
                    failures: BTreeMap::new(),
                }
            })
            .collect()
    }

    fn warnings(&self, status: &node::Status, addresses: &[v1::Address]) -> Vec<v1::Warning> {
        let mut warnings = Vec::new();
        let mut warn = |code: &str, text: String, help: Option<&str>| {
            let help = help.map(str::to_owned);
            warnings.push(v1::Warning { code: code.to_owned(), text, help });
        };
        let local = status.local.node;
        for network in &self.cluster.networks {
            for endpoint in network.endpoints.values() {
                let trouble = endpoint.host.as_ref().and_then(|host| host.trouble.as_ref());
                if let Some(why) = trouble {
                    let text = format!("network {}: {why}", network.name);
                    warn("name-without-address", text, Some(&why.help));
                }
            }
            let own = network.endpoints.get(&local).filter(|own| own.has_address());
            let host = own.and_then(|own| own.host.as_ref().map(|host| (own.address, host)));
            if let Some((address, host)) = host
                && !self.interfaces.is_empty()
                && !self
                    .interfaces
                    .iter()
                    .any(|one| one.addresses.iter().any(|seen| seen.address == address))
            {
                let (name, file) = (&host.name, self.hosts.file.display());
                let text = format!(
                    "network {}: {name} is {address} in {file}, and no interface of this node has \
                     that address",
                    network.name
                );
                let help = "give the interface that address, or correct the line";
                warn("name-elsewhere", text, Some(help));
            }
            if let Some(why) = self.media.broken(network.id) {
                warn("network-broken", format!("network {}: {why}", network.name), None);
            }
        }
        for text in self.gateway_warnings(status) {
            warn("gateway", text, Some("look at the router, and at what is on the way to it"));
        }
        for net in &status.network.nets {
            let interfaces = status.network.interfaces.as_deref().unwrap_or_default();
            for text in standby_warnings(net, interfaces) {
                warn("standby", format!("network {}: {text}", net.name), None);
            }
        }
        for text in conflict_warnings(&status.network) {
            let help = "take the address from that machine; see on_conflict in the configuration";
            warn("address-conflict", text, Some(help));
        }
        for (code, text, help) in Self::learned_warnings(&status.network) {
            warn(code, text, Some(help));
        }
        for text in self.placement_warnings(addresses) {
            warn("placement", text, Some("mainstay why SERVICE"));
        }
        for text in self.strict_warnings() {
            warn("reverse-path", text, Some(STRICT_HELP));
        }
        for (code, text, help) in self.fence_warnings() {
            warn(code, text, Some(&help));
        }
        for text in self.hook_warnings() {
            let help = "mainstay events; this goes when the hook next ends with 0";
            warn("hook", text, Some(help));
        }
        for (code, text) in self.watchdog_warnings() {
            warn(code, text, Some("mainstay watchdog show"));
        }
        for text in self.cover.guard().promises.weaknesses() {
            warn("weak-guard", text, None);
        }
        if let Some(refused) = self.cover.guard().gate_refused {
            let text = self.gate_refused(refused);
            let help =
                "see \"mainstay gate\"; free the place of the filter, or take the interface away";
            warn("gate-refused", text, Some(help));
        }
        if let Some(interface) = self.cover.guard().gate_behind {
            let text = self.gate_behind(interface);
            let help = "see \"mainstay gate\" for its name; give it a later place, or take it away";
            warn("gate-not-first", text, Some(help));
        }
        if self.cluster.preset <= base::Preset::Fast
            && let Some(reason) = &self.realtime
        {
            let text = format!(
                "preset {} without a real-time class ({reason}): a busy machine may be declared lost",
                self.cluster.preset.name()
            );
            warn("no-realtime", text, Some("allow SCHED_RR, or use preset normal"));
        }
        if self.cluster.nodes.len() == 2 && self.cluster.tie == crate::config::Tie::None {
            let text = "two nodes without a tie-breaker: when one is lost the other stops as well";
            warn("no-tie-breaker", text.into(), Some("configure [tiebreaker], or confirm by hand"));
        }
        if let Some(text) = self.tie_breaker_trouble() {
            warn(
                "tie-breaker",
                text,
                Some("look at it now: it is needed when half of the nodes are lost"),
            );
        }
        if status.engine.malformed > 0 {
            let text = format!("{} delivered entries could not be read", status.engine.malformed);
            warn("malformed-entries", text, Some("run the same release on all nodes"));
        }
        warnings
    }

    /// Why the state directory does not take what it should.
    fn disk_trouble(&self) -> Option<String> {
        let waits = self.disk_running.since(os::clock::boottime());
        let hangs = waits.filter(|waits| *waits > DISK_PATIENCE).map(|waits| {
            format!("a write has been on its way for {} s: the disk hangs", waits.as_secs())
        });
        self.disk_refuses.clone().or(hangs)
    }

    fn guard_trouble(&self) -> Option<String> {
        let guard = self.cover.guard();
        let silent = os::clock::boottime().since(guard.tick);
        (silent > os::shared::GUARD_TICK * 20).then(|| {
            format!(
                "the guard (process {}) has not looked for {} ms",
                guard.pid,
                silent.as_millis()
            )
        })
    }
}

fn resources(service: &engine::ServiceStatus, spec: Option<&engine::Service>) -> Vec<v1::Resource> {
    (service.resources.iter())
        .map(|resource| {
            let spec =
                spec.and_then(|spec| spec.resources.iter().find(|r| r.name == resource.name));
            let (kind, what) = match spec.map(|spec| &spec.kind) {
                Some(engine::ResourceKind::Address { address, prefix }) => {
                    ("address", format!("{address}/{prefix}"))
                }
                Some(engine::ResourceKind::Process { command, .. }) => {
                    ("process", command.join(" "))
                }
                Some(engine::ResourceKind::Mount { device, directory, .. }) => {
                    ("mount", format!("{device} on {directory}"))
                }
                Some(engine::ResourceKind::Reservation { disks }) => {
                    ("reservation", disks.join(", "))
                }
                None => ("", String::new()),
            };
            v1::Resource {
                name: resource.name.clone(),
                kind: kind.to_owned(),
                state: match resource.state {
                    "stopped" => v1::ResourceState::Stopped,
                    "starting" => v1::ResourceState::Starting,
                    "running" => v1::ResourceState::Running,
                    "stopping" | "killing" => v1::ResourceState::Stopping,
                    "failed" | "stuck" => v1::ResourceState::Failed,
                    _ => v1::ResourceState::Unknown,
                },
                detail: resource.reason.clone().unwrap_or(what),
            }
        })
        .collect()
}

/// The state of things in one word, and why it is not `ok`.
fn verdict(
    is_primary: bool,
    nodes: &[v1::Node],
    paths: &[v1::Path],
    services: &[v1::Service],
    status: &node::Status,
    local: &str,
) -> (Verdict, Vec<String>) {
    if !is_primary {
        let waiting = status.waiting.clone().unwrap_or_else(|| "not in a primary view".into());
        return (Verdict::NoView, vec![waiting]);
    }
    let mut reasons = Vec::new();
    let by_hand = |name: &str| {
        let service = status.engine.services.iter().find(|service| service.name == name);
        service.is_some_and(|service| {
            service.stopped_by_operator
                || service.modes.values().all(|mode| *mode == engine::Mode::Manual)
        })
    };
    let mut is_down = false;
    for service in services {
        if service.state != v1::ServiceState::Running && !by_hand(&service.name) {
            is_down = true;
            let reason = service.reason.as_deref().map_or(String::new(), |why| format!(": {why}"));
            reasons.push(format!("service {} is {}{reason}", service.name, service.state));
        }
    }
    for node in nodes.iter().filter(|node| node.state != v1::NodeState::Member) {
        reasons.push(format!("node {} is {}", node.name, node.state));
    }
    let is_fine =
        |path: &v1::Path| matches!(path.state, v1::PathState::Alive | v1::PathState::Resting);
    for path in paths.iter().filter(|path| !is_fine(path)) {
        let missing = crate::render::missing_half(path, local);
        let missing = missing.map_or(String::new(), |missing| format!(": {missing}"));
        let (peer, network, state) = (&path.peer, &path.network, path.state);
        reasons.push(format!("path to {peer} over {network} is {state}{missing}"));
    }
    let verdict = match (is_down, reasons.is_empty()) {
        (true, _) => Verdict::Down,
        (false, false) => Verdict::Degraded,
        (false, true) => Verdict::Ok,
    };
    (verdict, reasons)
}

fn state(standing: Standing, is_joining: bool) -> v1::NodeState {
    match standing {
        Standing::Member | Standing::Leaving => v1::NodeState::Member,
        Standing::Sealed => v1::NodeState::Sealed,
        Standing::Unseeded if is_joining => v1::NodeState::Joining,
        Standing::Unseeded | Standing::Out => v1::NodeState::Unseeded,
    }
}

fn service_state(state: engine::State) -> v1::ServiceState {
    match state {
        engine::State::Stopped => v1::ServiceState::Stopped,
        engine::State::Starting => v1::ServiceState::Starting,
        engine::State::Running => v1::ServiceState::Running,
        engine::State::Stopping => v1::ServiceState::Stopping,
        engine::State::Partial => v1::ServiceState::Partial,
        engine::State::Failed => v1::ServiceState::Failed,
        engine::State::BrokenSafe => v1::ServiceState::BrokenSafe,
        engine::State::BrokenUnsafe => v1::ServiceState::BrokenUnsafe,
        engine::State::Unknown => v1::ServiceState::Unknown,
    }
}

/// An Ethernet address as it is written.
fn station(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What is to be known of a network with standby interfaces before one of them is needed.
fn standby_warnings(net: &network::NetStatus, interfaces: &[network::Interface]) -> Vec<String> {
    let named = |name: &str| interfaces.iter().find(|interface| interface.name == name);
    let trouble = |name: &str| match named(name) {
        None => Some(format!("there is no {name}")),
        Some(one) => one.trouble().map(|trouble| format!("{name} {trouble}")),
    };
    let mut found = Vec::new();
    let primary = net.cards.first();
    if let (Some(seat), Some(primary)) = (&net.seat, primary)
        && seat != primary
    {
        let why = trouble(primary).unwrap_or_else(|| format!("{primary} works again"));
        found.push(format!("own addresses are on the standby {seat}: {why}"));
    }
    let others = net.cards.iter().skip(1).filter(|name| Some(*name) != net.seat.as_ref());
    for why in others.filter_map(|name| trouble(name)) {
        found.push(format!("{why}, so it cannot take over"));
    }
    found.extend(net.failure.clone());
    found
}
