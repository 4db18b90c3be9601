//! The composition: what comes out of one layer goes into the others.

mod convert;
mod faults;
mod fence;
mod interfaces;
mod jeopardy;
mod layers;
mod life;
mod weight;
mod words;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::{Incarnation, Instant, Member, NetworkId, NodeId, NodeSet, Prng, View};
use engine::{Engine, ResourceKind, Verb, Watchdog};
use group::{Group, Rejected};
use network::Network;
use transport::{Lane, Transport};

use crate::config::{Birth, Cluster};
use crate::fencing::Fencing;
use crate::report::Report;
use crate::status::{PeerReport, Status};
use crate::{About, Durable, Event, EventKind, Input, Output, Timer};
use faults::Faults;
use interfaces::Connected;
use layers::layers;
use words::{broken_direction, path_state, refused};

/// Engine entries that the group could not take yet; beyond this, commands of people are refused.
pub(crate) const UNSUBMITTED_MAX: usize = 256;

/// Begins what drivers tell each other. The group's messages are CBOR, which never begins so
/// (RFC 8949, section 3.2.1: a "break" outside of anything).
const TOLD: u8 = 0xff;

/// One node. Feed one input, drain all outputs.
pub struct Node {
    birth: Birth,
    local: Member,
    now: Instant,
    outputs: VecDeque<Output>,
    work: VecDeque<Work>,
    transport: Transport,
    group: Group,
    engine: Engine,
    network: Network,
    fencing: Fencing,
    /// This machine's own watchdog.
    watchdog: Watchdog,
    /// When the watchdog of a lost machine has reset it.
    watchdogs_due: Option<Instant>,
    /// The last turn.
    turned_at: Instant,
    /// A path has come or gone since who has one left was counted.
    paths_changed: bool,
    /// Since when one path is left to whom.
    single: BTreeMap<NodeId, Instant>,
    /// All are to be told, if this is the hub.
    jeopardy_due: bool,
    /// The position at which that was last done.
    jeopardy_said_at: u64,
    prng: Prng,
    record: Option<View>,
    report: Report,
    peer_reports: BTreeMap<NodeId, (Member, Report)>,
    /// The engine has been fed since its digest was taken.
    engine_changed: bool,
    /// Whom the transport was told to watch on rings, and connected peers that it watches no more.
    watch: transport::Watch,
    unwatched: NodeSet,
    lease: Instant,
    unsubmitted: VecDeque<Vec<u8>>,
    /// The interfaces that have a signal, for networks that come and go.
    interfaces: Vec<Connected>,
    /// Networks whose local interface has no signal: no frame goes over them.
    links_down: BTreeSet<NetworkId>,
    /// Networks that are of no use here: those, and those whose interface was found not to work.
    networks_down: BTreeSet<NetworkId>,
    /// Which networks fail, and where.
    faults: Faults,
    /// On these no gateway answers.
    gateways_silent: BTreeSet<NetworkId>,
    /// What the engine was told that cannot run here, and why.
    unable: BTreeMap<String, String>,
    life: Life,
    last_token: u64,
    tokens: BTreeMap<u64, Token>,
}

/// Where the node is between two lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// In one.
    Lived,
    /// An operator wants it to end; services are being moved away.
    Draining,
    /// Nothing runs here; waiting for the view that lets this node go.
    Leaving,
    /// Left out: everything is being stopped. Then a new life, and a view by hand if so wished.
    Stopping { seed: bool },
    /// The new incarnation is on its way to the disk.
    Rebirth { seed: bool },
    /// Let go: stopping what may still be there, then the end.
    Ending,
    /// Over.
    Over,
}

/// One step inside the node.
enum Work {
    Transport(transport::Input),
    Group(group::Input),
    Engine(engine::Input),
    Network(network::Input),
    TakeSnapshot,
    Restore(engine::ViewChange, Vec<u8>),
}

/// Whom a finished write concerns.
enum Token {
    Group(u64),
    Rebirth(Incarnation),
}

impl Node {
    /// A node at the start of its process.
    #[must_use]
    pub fn new(birth: Birth, now: Instant) -> Node {
        let prng = Prng::new(birth.seed);
        let local = birth.local;
        let cluster = &birth.cluster;
        let addresses = cluster.addresses();
        let (lease, nets, fixed) =
            (cluster.timing.lease, cluster.nets(), cluster.fixed_addresses());
        let shares = cluster.shares.clone();
        let taken = birth.taken.clone();
        let conflicts = cluster.conflicts.clone();
        let verify = cluster.verify.clone();
        let config =
            network::Config { lease, addresses, nets, fixed, conflicts, verify, shares, taken };
        let network = Network::new(config, now);
        let (transport, group, engine) = layers(&birth, local, &prng, now);
        let mut node = Node {
            local,
            now,
            outputs: VecDeque::new(),
            work: VecDeque::new(),
            transport,
            group,
            engine,
            network,
            fencing: Fencing::new(&birth.cluster.fencing),
            watchdog: Watchdog::default(),
            watchdogs_due: None,
            turned_at: now,
            paths_changed: false,
            single: BTreeMap::new(),
            jeopardy_due: false,
            jeopardy_said_at: u64::MAX,
            prng,
            record: birth.record.clone(),
            report: Report::default(),
            peer_reports: BTreeMap::new(),
            engine_changed: true,
            watch: transport::Watch::default(),
            unwatched: NodeSet::EMPTY,
            lease: Instant::ZERO,
            unsubmitted: VecDeque::new(),
            interfaces: Vec::new(),
            links_down: BTreeSet::new(),
            networks_down: BTreeSet::new(),
            faults: Faults::default(),
            gateways_silent: BTreeSet::new(),
            unable: BTreeMap::new(),
            life: Life::Lived,
            last_token: 0,
            tokens: BTreeMap::new(),
            birth,
        };
        for found in node.birth.found.clone() {
            if let ResourceKind::Address { address, .. } = found.resource.kind {
                let service = found.service;
                node.work.push_back(Work::Network(network::Input::Adopt { service, address }));
            }
        }
        node.hand_out_goodbyes();
        node.run();
        node.publish();
        node
    }

    /// Feeds one input.
    pub fn handle(&mut self, now: Instant, input: Input) {
        assert!(self.outputs.is_empty(), "drain the outputs of one input before the next");
        assert!(now >= self.now, "time does not go back");
        self.now = now;
        match input {
            Input::Turn { drained } => self.turn(drained),
            Input::Receive { network, bytes } => {
                self.work.push_back(Work::Transport(transport::Input::Receive { network, bytes }));
            }
            Input::Unreachable(path) => {
                self.work.push_back(Work::Transport(transport::Input::Unreachable { path }));
            }
            Input::Persisted(token) => self.persisted(token),
            Input::Network(network::Input::Health(conditions)) => self.see_conditions(conditions),
            Input::Network(input) => self.work.push_back(Work::Network(input)),
            Input::Acted { id, outcome } => {
                self.work.push_back(Work::Engine(engine::Input::Acted { id, outcome }));
            }
            Input::ResourceChanged { service, resource, change } => {
                let changed = engine::Input::ResourceChanged { service, resource, change };
                self.work.push_back(Work::Engine(changed));
            }
            Input::Command { request, command } => self.command(request, command),
            Input::Tell { to, bytes } => {
                assert!(bytes.len() <= crate::TELL_SIZE_MAX, "drivers tell little");
                let message = [&[TOLD][..], &bytes].concat();
                let send = transport::Input::Send { to, lane: Lane::Bulk, message };
                self.work.push_back(Work::Transport(send));
            }
            Input::Arbiter(arbiter, reply) => {
                self.work.push_back(Work::Group(group::Input::Arbiter(arbiter, reply)));
            }
            Input::Fence { run, answer } => self.fence_answered(run, answer),
            Input::Watchdog(watchdog) => {
                self.watchdog = watchdog.clone();
                self.work.push_back(Work::Engine(engine::Input::Watchdog(watchdog)));
            }
            Input::Gateways(silent) => self.see_gateways(silent),
            Input::Configured(cluster) => self.configured(*cluster),
        }
        self.run();
        self.mind_goodbyes();
        self.run();
        self.go_on_leaving();
        self.run();
    }

    /// The next thing for the driver to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Turn`] at the latest, and for whom.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        let transport = self.transport.deadline().map(|(at, _)| (at, Timer::Transport));
        let group = self.group.deadline().map(|(at, _)| (at, Timer::Group));
        let network = self.network.deadline().map(|(at, _)| (at, Timer::Network));
        let engine = self.engine.deadline().map(|(at, _)| (at, Timer::Engine));
        let fencing = self.fencing.deadline().map(|at| (at, Timer::Fencing));
        let watchdogs = self.watchdogs_due.map(|at| (at, Timer::Fencing));
        // A lease is evidence only when somebody looks at it: in a view of one node, which has nobody
        // to send to, too.
        let turn = self.birth.cluster.timing.heartbeat_high;
        let held = self.engine.held().next().map(|_| (self.turned_at + turn, Timer::Group));
        let faults = self.faults_due().map(|at| (at, Timer::Network));
        let all = [transport, group, network, engine, fencing, watchdogs, held, faults];
        all.into_iter().flatten().min()
    }

    /// An empty buffer with room for a datagram, to receive into; it comes back by itself.
    #[must_use]
    pub fn take_buffer(&mut self) -> Vec<u8> {
        self.transport.take_buffer()
    }

    /// Takes back the buffer of an [`Output::Transmit`].
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.transport.recycle(buffer);
    }

    /// Until when each service that this node holds may work; for the guard. A service that is
    /// not named keeps the deadline that it has.
    pub fn leases(&self) -> (Instant, impl Iterator<Item = &str>) {
        (self.group.lease_until(self.now), self.engine.held())
    }

    /// Which node, which life.
    #[must_use]
    pub fn local(&self) -> Member {
        self.local
    }

    /// The view, while this node is in one.
    #[must_use]
    pub fn view(&self) -> Option<&View> {
        self.group.view()
    }

    /// The group, to look at.
    #[must_use]
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// The engine, to look at.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The transport, to look at.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The shared configuration in force here.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.birth.cluster
    }

    /// The layer of the addresses, to look at.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The causal chain of a service, or the whole journal.
    #[must_use]
    pub fn why(&self, service: Option<&str>) -> Vec<engine::Note> {
        self.engine.why(service)
    }

    /// Everything.
    #[must_use]
    pub fn status(&self) -> Status {
        let group = self.group.status();
        let peers = self.birth.cluster.nodes().into_iter().filter(|node| *node != self.local.node);
        let waiting = match self.life {
            Life::Stopping { .. } | Life::Ending => {
                Some("stopping everything before this node starts over".to_owned())
            }
            _ => group.waiting.clone(),
        };
        Status {
            at: self.now,
            local: self.local,
            transport: self.transport.status(),
            engine: self.engine.status(),
            network: self.network.status(),
            fencing: self.fencing.states(self.now),
            peers: peers
                .map(|node| PeerReport {
                    node,
                    member: self.peer_reports.get(&node).map(|(member, _)| *member),
                    age: self.transport.last_received(node).map(|(_, at)| self.now.since(at)),
                    report: self
                        .peer_reports
                        .get(&node)
                        .map(|(_, report)| report.clone())
                        .unwrap_or_default(),
                })
                .collect(),
            waiting: waiting.map(|text| self.birth.cluster.named(&text)),
            is_stopping: matches!(self.life, Life::Stopping { .. } | Life::Rebirth { .. }),
            is_leaving: matches!(self.life, Life::Draining | Life::Leaving | Life::Ending),
            group,
        }
    }

    fn turn(&mut self, drained: bool) {
        self.turned_at = self.now;
        while let Some(payload) = self.unsubmitted.pop_front() {
            if !self.submit(payload.clone()) {
                self.unsubmitted.push_front(payload);
                break;
            }
        }
        self.mind_fencing();
        self.mind_watchdogs();
        self.mind_jeopardy();
        self.mind_faults();
        self.work.push_back(Work::Group(group::Input::Turn));
        let now = self.now;
        if self.engine.deadline().is_some_and(|(at, _)| at <= now) {
            self.work.push_back(Work::Engine(engine::Input::Tick));
        }
        if self.network.deadline().is_some_and(|(at, _)| at <= now) {
            self.work.push_back(Work::Network(network::Input::Tick));
        }
        self.run();
        self.renew_lease();
        self.publish();
        // What a lost peer or a message sets off is sent in the same turn.
        self.work.push_back(Work::Transport(transport::Input::Turn { drained }));
        if self.run() > 1 {
            self.work.push_back(Work::Transport(transport::Input::Turn { drained }));
            self.run();
        }
    }

    fn renew_lease(&mut self) {
        let until = self.group.lease_until(self.now);
        if until != self.lease {
            self.lease = until;
            self.network.set_lease(until);
            self.work.push_back(Work::Engine(engine::Input::Lease { until }));
            self.run();
        }
    }

    /// Puts what changed into the heartbeats.
    fn publish(&mut self) {
        self.transport.set_evidence(self.group.evidence_to_relay(self.now));
        let watch = convert::watch(self.group.watch());
        if watch != self.watch {
            self.watch = watch;
            self.work.push_back(Work::Transport(transport::Input::Watch(watch)));
        }
        let group = self.group.digest();
        if group == self.report.group && !self.engine_changed {
            return;
        }
        let engine = if self.engine_changed {
            self.weigh();
            self.engine.digest()
        } else {
            self.report.engine.clone()
        };
        self.engine_changed = false;
        let report = Report { group, engine };
        if report != self.report {
            self.transport.set_report(&report.encode());
            self.report = report;
        }
    }

    /// Does all work that is queued; returns how many steps that took.
    fn run(&mut self) -> usize {
        let mut steps = 0;
        while let Some(work) = self.work.pop_front() {
            steps += 1;
            match work {
                Work::Transport(input) => {
                    // A datagram may end a peer's life for the transport, which then forgets when
                    // it was heard last.
                    if matches!(input, transport::Input::Receive { .. }) {
                        self.note_contacts();
                    }
                    self.transport.handle(self.now, input);
                    while let Some(output) = self.transport.poll_output() {
                        self.on_transport(output);
                    }
                }
                Work::Group(input) => self.feed_group(input),
                Work::Engine(input) => {
                    self.engine_changed |= !matches!(input, engine::Input::Lease { .. });
                    if let engine::Input::Delivered { .. } | engine::Input::View(_) = input {
                        self.note_reports();
                    }
                    self.engine.handle(self.now, input);
                    self.drain_engine();
                }
                Work::Network(input) => {
                    let is_picture =
                        matches!(input, network::Input::Interfaces(_) | network::Input::Health(_));
                    self.network.handle(self.now, input);
                    if is_picture {
                        self.see_interfaces();
                        self.see_networks();
                        // Before what fails because of it.
                        self.see_inability();
                    }
                    while let Some(output) = self.network.poll_output() {
                        self.on_network(output);
                    }
                }
                Work::TakeSnapshot => {
                    let state = self.engine.snapshot();
                    self.work.push_front(Work::Group(group::Input::Snapshot(state)));
                }
                Work::Restore(change, state) => self.restore(change, &state),
            }
        }
        steps
    }

    fn on_transport(&mut self, output: transport::Output) {
        use transport::Output as Out;
        let group = |input| Work::Group(input);
        match output {
            Out::Transmit { path, bytes } => {
                self.outputs.push_back(Output::Transmit { path, bytes })
            }
            Out::TransmitAll { network, bytes } => {
                self.outputs.push_back(Output::TransmitAll { network, bytes })
            }
            Out::Heard { from, echo, evidence_age, row, report_changed, .. } => {
                if report_changed {
                    let report = self.transport.report(from.node);
                    if let Some(Ok(report)) = report.map(Report::decode) {
                        let digest = report.group.clone();
                        self.peer_reports.insert(from.node, (from, report));
                        self.work.push_back(group(group::Input::Digest(from, digest)));
                    }
                }
                self.work.push_back(group(group::Input::Heard { from, echo, evidence_age, row }));
            }
            Out::Connected { peer } => {
                self.paths_changed = true;
                self.work.push_back(group(group::Input::Connected(peer)));
                // The digest came with the heartbeats that made the connection.
                if let Some((_, report)) =
                    self.peer_reports.get(&peer.node).filter(|(member, _)| *member == peer)
                {
                    let digest = report.group.clone();
                    self.work.push_back(group(group::Input::Digest(peer, digest)));
                }
                let node = peer.node;
                if !self.unwatched.contains(node) {
                    self.event(EventKind::Peer, Some(node), format!("{node} can be reached"));
                }
                self.unwatched.remove(node);
            }
            Out::Lost { peer, why } => {
                self.paths_changed = true;
                self.work.push_back(group(group::Input::Lost(peer)));
                let node = peer.node;
                if why == transport::LostReason::Unwatched {
                    // That is as it should be, and will be so most of the time.
                    self.unwatched.insert(node);
                } else {
                    let sentence = format!("{node} is lost: {}", why.text());
                    self.event(EventKind::Peer, Some(node), sentence);
                }
            }
            Out::Message { from, message, .. } if message.first() == Some(&TOLD) => {
                self.outputs.push_back(Output::Told { from, bytes: message[1..].to_vec() });
            }
            Out::Message { from, message, .. } => {
                self.work.push_back(group(group::Input::Message { from, bytes: message }));
            }
            Out::Goodbye { from } => self.work.push_back(group(group::Input::Goodbye(from))),
            Out::PathChanged { path, state, direction } => {
                self.paths_changed = true;
                if state == transport::PathState::Alive {
                    self.heal(path.network);
                }
                let direction = direction.map_or("", broken_direction);
                let network = self.birth.cluster.network_name(path.network);
                let state = path_state(state);
                let sentence =
                    format!("path to {} over network {network}: {state}{direction}", path.peer);
                self.event(EventKind::Path, Some(path.peer), sentence);
            }
        }
    }

    fn feed_group(&mut self, input: group::Input) {
        // Contacts change with datagrams only, and each datagram notes those before it.
        if matches!(input, group::Input::Turn) {
            self.note_contacts();
        }
        self.group.handle(self.now, input);
        while let Some(output) = self.group.poll_output() {
            self.on_group(output);
        }
    }

    /// The age of the last contact that a promise states must count every frame, also those of
    /// which the transport tells nothing.
    fn note_contacts(&mut self) {
        for node in self.birth.cluster.nodes() {
            if let Some((incarnation, at)) = self.transport.last_received(node) {
                self.group.note_contact(Member { node, incarnation }, at);
            }
        }
    }

    fn on_group(&mut self, output: group::Output) {
        use group::Output as Out;
        match output {
            Out::Send { to, bulk, message } => {
                let lane = if bulk { Lane::Bulk } else { Lane::Urgent };
                self.work.push_back(Work::Transport(transport::Input::Send { to, lane, message }));
            }
            Out::Persist { token, what } => {
                let what = match what {
                    group::Durable::Record(record) => {
                        self.record = record.clone();
                        Durable::State { incarnation: self.local.incarnation, record }
                    }
                    group::Durable::Entry(entry) => Durable::Entry(entry),
                };
                self.persist(what, Token::Group(token));
            }
            Out::Ask(request) => self.outputs.push_back(Output::Ask(request)),
            Out::View(change) => {
                // Another hub sees other paths.
                self.jeopardy_due = true;
                self.jeopardy_said_at = u64::MAX;
                self.view_event(&change.view);
                self.work
                    .push_back(Work::Engine(engine::Input::View(convert::view_change(change))));
            }
            Out::Deliver { position, origin, payload, .. } => {
                let delivered = engine::Input::Delivered { position, origin, payload };
                self.work.push_back(Work::Engine(delivered));
            }
            Out::Fenced { absence, proof } => {
                let how = match proof {
                    group::Proof::Time => engine::Proof::Time,
                    group::Proof::Goodbye => engine::Proof::Goodbye,
                    group::Proof::Operator => engine::Proof::Operator,
                    group::Proof::Agent => engine::Proof::Agent,
                    group::Proof::Watchdog => engine::Proof::Watchdog,
                };
                let node = absence.node;
                let sentence = format!("{node} can act no more: {}", how.name());
                self.event(EventKind::Fenced, Some(node), sentence);
                let absence = convert::absence(absence);
                self.work.push_back(Work::Engine(engine::Input::Fenced { absence, proof: how }));
            }
            Out::TakeSnapshot => self.work.push_back(Work::TakeSnapshot),
            Out::Restore { change, state } => {
                self.view_event(&change.view);
                self.work.push_back(Work::Restore(convert::view_change(change), state));
            }
            Out::Excluded { reason } => {
                self.event(EventKind::Excluded, None, reason);
                if self.life != Life::Over {
                    self.life = match self.life {
                        Life::Draining | Life::Leaving | Life::Ending => Life::Ending,
                        Life::Stopping { seed } | Life::Rebirth { seed } => Life::Stopping { seed },
                        Life::Lived | Life::Over => Life::Stopping { seed: false },
                    };
                }
                self.work.push_back(Work::Engine(engine::Input::Excluded));
            }
            Out::Left => {
                self.life = Life::Ending;
                self.work.push_back(Work::Engine(engine::Input::Excluded));
            }
        }
    }

    fn restore(&mut self, change: engine::ViewChange, state: &[u8]) {
        self.engine_changed = true;
        self.note_reports();
        if self.engine.restore(self.now, state).is_err() {
            // Only a hub of another release can have written what cannot be read here.
            self.event(
                EventKind::Excluded,
                Some(change.view.hub),
                format!("the state that {} sent cannot be read", change.view.hub),
            );
            self.life = Life::Ending;
            self.work.push_back(Work::Engine(engine::Input::Excluded));
            return;
        }
        self.drain_engine();
    }

    fn drain_engine(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            self.on_engine(output);
        }
    }

    fn on_engine(&mut self, output: engine::Output) {
        use engine::Output as Out;
        match output {
            Out::Submit { payload } => {
                // What resources report is never dropped: there is one report for each act.
                let queued = !self.unsubmitted.is_empty();
                if queued || !self.submit(payload.clone()) {
                    self.unsubmitted.push_back(payload);
                }
            }
            Out::Act(act) => match &act.resource.kind {
                ResourceKind::Process { .. }
                | ResourceKind::Mount { .. }
                | ResourceKind::Reservation { .. } => {
                    self.outputs.push_back(Output::Process(act));
                }
                ResourceKind::Address { address, prefix } => {
                    let (id, address, prefix) = (act.id.0, *address, *prefix);
                    let input = match act.verb {
                        Verb::Start => network::Input::Claim {
                            id,
                            service: act.service,
                            address,
                            prefix,
                            deadline: act.deadline,
                        },
                        Verb::Stop | Verb::Kill => network::Input::Release { id, address },
                    };
                    self.work.push_back(Work::Network(input));
                }
            },
            Out::Note(note) => self.outputs.push_back(Output::Note(note)),
            Out::Answer { request, result } => {
                let result = result.map_err(|refusal| refused(&refusal));
                self.outputs.push_back(Output::Answer { request, result });
            }
            Out::Configured { version, checksum, text } => {
                self.outputs.push_back(Output::Configured { version, checksum, text });
            }
            Out::Arm => self.outputs.push_back(Output::ArmWatchdog),
            Out::Clean => self.clean(),
        }
    }

    /// False when it has to be tried again later.
    fn submit(&mut self, payload: Vec<u8>) -> bool {
        let is_durable = engine::is_configuration(&payload);
        match self.group.submit(payload.clone(), is_durable) {
            Ok(_) => {
                while let Some(output) = self.group.poll_output() {
                    self.on_group(output);
                }
                true
            }
            Err(Rejected::Busy) => false,
            // Outside the view nothing that was wanted in it matters.
            Err(_) => true,
        }
    }

    fn configured(&mut self, cluster: Cluster) {
        let before = core::mem::replace(&mut self.birth.cluster, cluster);
        let cluster = &self.birth.cluster;
        let peers = cluster.peers(self.local.node);
        if peers != before.peers(self.local.node) {
            self.transport.reconfigure(self.now, peers);
            while let Some(output) = self.transport.poll_output() {
                self.on_transport(output);
            }
            self.hand_out_goodbyes();
        }
        let cluster = &self.birth.cluster;
        self.links_down.retain(|id| cluster.network(*id).is_some());
        self.networks_down.retain(|id| cluster.network(*id).is_some());
        let version = cluster.intent.version;
        self.group.reconfigure(cluster.nodes(), cluster.seed, cluster.tie, version);
        let (addresses, nets, fixed) =
            (cluster.addresses(), cluster.nets(), cluster.fixed_addresses());
        let shares = cluster.shares.clone();
        let conflicts = cluster.conflicts.clone();
        let verify = cluster.verify.clone();
        let configure =
            network::Input::Configure { addresses, nets, fixed, conflicts, verify, shares };
        self.work.push_back(Work::Network(configure));
        self.fencing.configure(&self.birth.cluster.fencing);
        self.drain_fencing();
        self.note_reports();
        self.see_inability();
    }

    fn view_event(&mut self, view: &View) {
        let members: Vec<String> =
            view.members.iter().map(|member| member.node.to_string()).collect();
        let (generation, hub) = (view.generation, view.hub);
        let sentence = format!("generation {generation}: {} (hub {hub})", members.join(" "));
        self.event(EventKind::View, Some(hub), sentence);
    }

    fn event(&mut self, kind: EventKind, node: Option<NodeId>, sentence: String) {
        self.event_about(kind, node, sentence, About::default());
    }

    fn event_about(
        &mut self,
        kind: EventKind,
        node: Option<NodeId>,
        sentence: String,
        about: About,
    ) {
        let sentence = self.birth.cluster.named(&sentence);
        self.outputs.push_back(Output::Event(Event { kind, node, sentence, about }));
    }

    /// The longest time that this node's loop was away lately.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.transport.lag()
    }
}
