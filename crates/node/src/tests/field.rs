//! Nodes with the least that a driver must do: a wire that delivers in the next step, a disk and
//! agents that answer at once unless a test stops them, and one rule that is checked in every step:
//! a service runs on one node at a time.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::{Incarnation, Instant, Member, NodeId, Preset, View};
use engine::{
    Act, Failback, Intent, Mode, NodeSpec, Outcome, Resource, ResourceKind, RestartLimit, Service,
    Verb,
};

use crate::{
    Birth, Cluster, Command, Durable, Event, EventKind, Input, LocalEnd, NetworkSpec, Node, Output,
    Refused,
};

/// The networks that all nodes are on.
const NETWORKS: [&str; 2] = ["blue", "green"];
/// The interface that shares the addresses of the second one, or stands by, where there is one.
const FURTHER: &str = "violet";
const FURTHER_INDEX: u32 = 9;

/// One node's place: what survives its process, and its process.
pub(super) struct Seat {
    pub(super) node: Option<Node>,
    inbox: VecDeque<Input>,
    /// What its disk holds.
    pub(super) memory: (Incarnation, Option<View>),
    /// Writes that were asked for and are not done, oldest first.
    pub(super) writes: VecDeque<(u64, Durable)>,
    pub(super) is_disk_stuck: bool,
    /// Acts on processes that are not done.
    pub(super) acts: VecDeque<Act>,
    pub(super) are_agents_stuck: bool,
    /// What runs here, by service.
    pub(super) running: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    /// What the guard would send.
    pub(super) goodbyes: Vec<(transport::PathId, Vec<u8>)>,
    pub(super) events: Vec<Event>,
    pub(super) answers: Vec<(u64, Result<String, Refused>)>,
    /// What other drivers told this one.
    pub(super) heard: Vec<(Member, Vec<u8>)>,
    /// Fence agents that run, and what came of those that ran.
    pub(super) fence_runs: Vec<crate::FenceRun>,
    pub(super) fence_records: Vec<crate::FenceRecord>,
    /// How often the node said that it has left.
    pub(super) left: usize,
    /// Whom its datagrams do not reach, nor theirs it.
    pub(super) cut_from: BTreeSet<NodeId>,
    /// The own address in the second network is on the further interface.
    is_switched: bool,
    /// Networks whose cable is pulled here. Datagrams find another way.
    pub(super) pulled: BTreeSet<u8>,
}

impl Seat {
    /// The sentences of one sort of event.
    pub(super) fn told(&self, kind: EventKind) -> Vec<&str> {
        let events = self.events.iter().filter(|event| event.kind == kind);
        events.map(|event| event.sentence.as_str()).collect()
    }

    pub(super) fn node(&self) -> &Node {
        self.node.as_ref().expect("this node has a process")
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        self.node().local().incarnation
    }

    pub(super) fn members(&self) -> Vec<NodeId> {
        self.node().view().map_or(Vec::new(), |view| view.nodes().into_iter().collect())
    }
}

/// The timeout of all watchdogs.
pub(super) const WATCHDOG: Duration = Duration::from_secs(10);

/// The nodes and what is between them.
pub(super) struct Field {
    pub(super) now: Instant,
    pub(super) seats: BTreeMap<NodeId, Seat>,
    /// Configurations by their text.
    pub(super) texts: BTreeMap<String, Intent>,
    /// How machines can be turned off.
    pub(super) fencing: Vec<crate::FenceSpec>,
    /// A network on which nothing arrives.
    pub(super) dead: Option<base::NetworkId>,
    /// Each node has one more interface, which shares the addresses of the second network.
    is_shared: bool,
    /// Or that one stands by for the second network.
    stands_by: bool,
    count: u8,
    last_request: u64,
}

/// A service of one process and one address that may run everywhere, rather on the first node.
pub(super) fn service(name: &str, last: u8, nodes: u8) -> Service {
    let process = ResourceKind::Process {
        command: vec!["/bin/true".to_owned()],
        directory: None,
        environment: Vec::new(),
        user: None,
    };
    let address = ResourceKind::Address { address: IpAddr::from([10, 77, 0, last]), prefix: 24 };
    Service {
        name: name.to_owned(),
        nodes: (1..=nodes).map(NodeId).collect(),
        resources: vec![
            Resource { name: "ip".to_owned(), kind: address },
            Resource { name: "server".to_owned(), kind: process },
        ],
        mode: Mode::Automatic,
        failback: Failback::Never,
        restart: RestartLimit { count: 3, window: Duration::from_secs(60) },
        start_timeout: Duration::from_secs(60),
        stop_timeout: Duration::from_secs(60),
        priority: engine::PRIORITY_DEFAULT,
        class: None,
        is_fixed: false,
        networks: Vec::new(),
    }
}

impl Field {
    /// So many nodes with service `web`, all started now.
    pub(super) fn new(count: u8) -> Field {
        let nodes = (1..=count).map(|id| NodeSpec { id: NodeId(id), name: format!("n{id}") });
        let services = vec![service("web", 100, count)];
        let intent =
            Intent { nodes: nodes.collect(), services, version: 1, checksum: 1, jeopardy: None };
        let mut field = Field {
            now: Instant::from_nanos(1_000_000_000),
            seats: BTreeMap::new(),
            texts: BTreeMap::from([("one".to_owned(), intent)]),
            fencing: Vec::new(),
            dead: None,
            is_shared: false,
            stands_by: false,
            count,
            last_request: 0,
        };
        for id in (1..=count).map(NodeId) {
            let seat = Seat {
                node: None,
                inbox: VecDeque::new(),
                memory: (Incarnation(0), None),
                writes: VecDeque::new(),
                is_disk_stuck: false,
                acts: VecDeque::new(),
                are_agents_stuck: false,
                running: BTreeSet::new(),
                addresses: BTreeSet::new(),
                goodbyes: Vec::new(),
                events: Vec::new(),
                answers: Vec::new(),
                fence_runs: Vec::new(),
                fence_records: Vec::new(),
                heard: Vec::new(),
                left: 0,
                cut_from: BTreeSet::new(),
                is_switched: false,
                pulled: BTreeSet::new(),
            };
            field.seats.insert(id, seat);
            field.start(id);
        }
        field
    }

    /// The same, and each machine can be turned off by one agent.
    pub(super) fn fenced(count: u8) -> Field {
        let mut field = Field::new(count);
        let spec = |node| crate::FenceSpec {
            node,
            policy: crate::FencePolicy::Off,
            levels: vec![crate::FenceLevel {
                number: 1,
                timeout: Duration::from_secs(20),
                agents: vec!["board".to_owned()],
            }],
        };
        field.fencing = (1..=count).map(NodeId).map(spec).collect();
        for id in (1..=count).map(NodeId) {
            field.kill(id);
            field.start(id);
        }
        field.until("web runs", |field| field.where_runs("web") == [NodeId(1)]);
        field
    }

    /// The same, where a lost machine is turned on again.
    pub(super) fn rebooting(count: u8) -> Field {
        let mut field = Field::fenced(count);
        for spec in &mut field.fencing {
            spec.policy = crate::FencePolicy::Reboot;
        }
        for id in (1..=count).map(NodeId) {
            field.kill(id);
            field.start(id);
        }
        field.until("web runs", |field| field.where_runs("web") == [NodeId(1)]);
        field
    }

    /// The same, where `web` is a storage service, on nodes with a watchdog or without.
    pub(super) fn storing(count: u8, watchdogs: bool) -> Field {
        let mut field = Field::fenced(count);
        let intent = field.texts.get_mut("one").expect("the first configuration");
        intent.services[0].class = Some(engine::Class::Storage);
        for id in (1..=count).map(NodeId) {
            field.kill(id);
            field.start(id);
            if watchdogs {
                field.feed(id, Input::Watchdog(engine::Watchdog::Ready));
            }
        }
        field.until("web runs", |field| field.where_runs("web") == [NodeId(1)]);
        field
    }

    /// A field in which a node that is lost with its last path keeps its services.
    pub(super) fn holding(count: u8) -> Field {
        let mut field = Field::new(count);
        let intent = field.texts.get_mut("one").expect("the first configuration");
        intent.jeopardy = Some(engine::Jeopardy::Hold);
        for id in (1..=count).map(NodeId) {
            field.kill(id);
            field.start(id);
        }
        field.until("web runs", |field| field.where_runs("web") == [NodeId(1)]);
        field
    }

    /// The same, where `web` needs the second network as well.
    pub(super) fn needing(count: u8) -> Field {
        let mut field = Field::new(count);
        let intent = field.texts.get_mut("one").expect("the first configuration");
        intent.services[0].networks = vec![base::NetworkId(1)];
        for id in (1..=count).map(NodeId) {
            field.kill(id);
            field.start(id);
        }
        field.until("web runs", |field| field.where_runs("web") == [NodeId(1)]);
        field
    }

    /// The same, and each node has a further interface in the second network.
    pub(super) fn sharing(count: u8) -> Field {
        let mut field = Field::needing(count);
        field.is_shared = true;
        for id in (1..=count).map(NodeId) {
            field.kill(id);
            field.start(id);
        }
        field.until("web runs", |field| field.where_runs("web") == [NodeId(1)]);
        field
    }

    /// The same, where the further interface stands by for the second network.
    pub(super) fn standing_by(count: u8) -> Field {
        let mut field = Field::needing(count);
        field.stands_by = true;
        for id in (1..=count).map(NodeId) {
            field.kill(id);
            field.start(id);
        }
        field.until("web runs", |field| field.where_runs("web") == [NodeId(1)]);
        field
    }

    /// Pulls the cable of a network, or puts it back.
    pub(super) fn pull(&mut self, id: NodeId, network: u8, on: bool) {
        let seat = self.seats.get_mut(&id).expect("there is such a seat");
        match on {
            true => seat.pulled.insert(network),
            false => seat.pulled.remove(&network),
        };
        self.picture(id);
    }

    /// What the polls of a node's interfaces say, by network, then of the further one.
    pub(super) fn polls_say<const N: usize>(
        &mut self,
        id: NodeId,
        conditions: [network::Condition; N],
    ) {
        let names = NETWORKS.into_iter().chain([FURTHER]).map(str::to_owned);
        let health = network::Input::Health(names.zip(conditions).collect());
        let seat = self.seats.get_mut(&id).expect("there is such a seat");
        seat.inbox.push_back(Input::Network(health));
    }

    /// A field in which the view has formed and `web` runs on the first node.
    pub(super) fn formed(count: u8) -> Field {
        let mut field = Field::new(count);
        field.until("web runs", |field| field.where_runs("web") == [NodeId(1)]);
        field
    }

    pub(super) fn timing() -> base::Timing {
        Preset::Fast.timing()
    }

    pub(super) fn cluster(&self, text: &str, local: NodeId) -> Cluster {
        let networks = (0..).zip(NETWORKS).map(|(number, name)| NetworkSpec {
            id: base::NetworkId(number),
            name: name.to_owned(),
            medium: base::Medium::Network,
            priority: transport::Priority::High,
            ring: Vec::new(),
            heartbeats: transport::Heartbeats::Each,
            nodes: (1..=self.count).map(NodeId).collect(),
            local: Some(LocalEnd::Address(own_address(number as u8, local))),
            standby: (self.stands_by && number == 1).then(|| crate::Standby {
                cards: vec![NETWORKS[1].to_owned(), FURTHER.to_owned()],
                auto_return: true,
            }),
            grace: Some(Duration::from_secs(1)),
        });
        Cluster {
            id: 7,
            timing: Field::timing(),
            seed: usize::from(self.count),
            tie: base::Tie::None,
            fencing: self.fencing.clone(),
            networks: networks.collect(),
            intent: self.texts[text].clone(),
            text: text.to_owned(),
            shares: self.is_shared.then(share).into_iter().collect(),
            conflicts: std::collections::BTreeMap::new(),
            verify: std::collections::BTreeMap::new(),
        }
    }

    /// Starts the process of a node.
    pub(super) fn start(&mut self, id: NodeId) {
        let cluster = self.cluster("one", id);
        let seat = self.seats.get_mut(&id).expect("there is such a seat");
        seat.memory.0 = Incarnation(seat.memory.0.0 + 1);
        let incarnation = seat.memory.0;
        let mut entropy = [id.0; 16];
        entropy[8..].copy_from_slice(&incarnation.0.to_be_bytes());
        let birth = Birth {
            local: Member { node: id, incarnation },
            cluster,
            keys: [Some([7; 32]), None],
            entropy,
            seed: u64::from(id.0) << 32 | incarnation.0,
            record: seat.memory.1.clone(),
            found: Vec::new(),
            taken: std::collections::BTreeMap::new(),
            certified: false,
        };
        seat.left = 0;
        seat.node = Some(Node::new(birth, self.now));
        self.carry_out(id);
        self.picture(id);
    }

    /// Power off.
    pub(super) fn kill(&mut self, id: NodeId) {
        let seat = self.seats.get_mut(&id).expect("there is such a seat");
        seat.node = None;
        seat.inbox.clear();
        seat.writes.clear();
        seat.acts.clear();
        seat.running.clear();
        seat.addresses.clear();
    }

    /// No datagram between `id` and all others any more, or again.
    pub(super) fn cut(&mut self, id: NodeId, on: bool) {
        let others: BTreeSet<NodeId> =
            self.seats.keys().copied().filter(|other| *other != id).collect();
        self.seats.get_mut(&id).expect("there is such a seat").cut_from =
            if on { others } else { BTreeSet::new() };
    }

    /// Gives the frames that the guard of `id` has to all others.
    pub(super) fn say_goodbye(&mut self, id: NodeId) {
        for (path, bytes) in self.seats[&id].goodbyes.clone() {
            let peer = self.seats.get_mut(&path.peer).expect("paths lead to seats");
            peer.inbox.push_back(Input::Receive { network: path.network, bytes });
        }
    }

    /// The disk does all it was asked for.
    pub(super) fn free_disk(&mut self, id: NodeId) {
        let seat = self.seats.get_mut(&id).expect("there is such a seat");
        seat.is_disk_stuck = false;
        while let Some((token, what)) = seat.writes.pop_front() {
            seat.write(token, what);
        }
    }

    /// The agents do all they were asked for.
    pub(super) fn free_agents(&mut self, id: NodeId) {
        let seat = self.seats.get_mut(&id).expect("there is such a seat");
        seat.are_agents_stuck = false;
        while let Some(act) = seat.acts.pop_front() {
            seat.act(&act);
        }
    }

    /// Feeds a command; its answer if there is one at once.
    pub(super) fn command(
        &mut self,
        id: NodeId,
        command: Command,
    ) -> Option<Result<String, Refused>> {
        self.last_request += 1;
        let request = self.last_request;
        self.feed(id, Input::Command { request, command });
        let answers = &self.seats[&id].answers;
        answers.iter().find(|(of, _)| *of == request).map(|(_, result)| result.clone())
    }

    pub(super) fn feed(&mut self, id: NodeId, input: Input) {
        let seat = self.seats.get_mut(&id).expect("there is such a seat");
        seat.node.as_mut().expect("this node has a process").handle(self.now, input);
        self.carry_out(id);
    }

    /// One turn of everybody's loop.
    pub(super) fn step(&mut self) {
        self.now += Field::timing().turn();
        let ids: Vec<NodeId> = self.seats.keys().copied().collect();
        for id in ids {
            let arrived = {
                let seat = self.seats.get_mut(&id).expect("there is such a seat");
                core::mem::take(&mut seat.inbox)
            };
            if self.seats[&id].node.is_none() {
                continue;
            }
            for input in arrived {
                self.feed(id, input);
            }
            self.feed(id, Input::Turn { drained: true });
            if self.seats[&id].left > 0 {
                self.seats.get_mut(&id).expect("it was just seen").node = None;
            }
        }
        for name in ["web", "mail"] {
            let places = self.where_runs(name);
            assert!(places.len() < 2, "{name} runs on {places:?}");
        }
    }

    /// Steps until something is so; not for ever.
    pub(super) fn until(&mut self, what: &str, is_so: impl Fn(&Field) -> bool) {
        for _ in 0..4_000 {
            if is_so(self) {
                return;
            }
            self.step();
        }
        let shown: Vec<String> = (self.seats.iter())
            .map(|(id, seat)| {
                let state = seat.node.as_ref().map(|node| node.status().group);
                format!("{id}: {state:?}\n  {:?}\n", seat.told(EventKind::View))
            })
            .collect();
        panic!("gave up waiting until {what}\n{}", shown.concat());
    }

    /// Steps for so long.
    pub(super) fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.now < until {
            self.step();
        }
    }

    /// Where a service's process runs.
    pub(super) fn where_runs(&self, service: &str) -> Vec<NodeId> {
        let runs = |(_, seat): &(&NodeId, &Seat)| seat.running.contains(service);
        self.seats.iter().filter(runs).map(|(id, _)| *id).collect()
    }

    fn is_cut(&self, one: NodeId, other: NodeId) -> bool {
        self.seats[&one].cut_from.contains(&other) || self.seats[&other].cut_from.contains(&one)
    }

    /// All interfaces of a node as they are.
    fn picture(&mut self, id: NodeId) {
        let seat = self.seats.get_mut(&id).expect("there is such a seat");
        let interfaces = (0..).zip(NETWORKS).map(|(number, name)| {
            let own = network::AddressSeen {
                address: own_address(number, id),
                prefix: 24,
                lifetime: None,
            };
            let floating = seat.addresses.iter().filter(|_| number == 0);
            let floating = floating.map(|address| network::AddressSeen {
                address: *address,
                prefix: 32,
                lifetime: Some(Duration::from_secs(2)),
            });
            network::Interface {
                index: u32::from(number) + 1,
                name: name.to_owned(),
                up: true,
                carrier: !seat.pulled.contains(&number),
                condition: network::Condition::Unpolled,
                // Where nothing is asked before an address is claimed: that is network's own test.
                mac: None,
                addresses: (Some(own).filter(|_| number == 0 || !seat.is_switched).into_iter())
                    .chain(floating)
                    .collect(),
            }
        });
        let switched =
            network::AddressSeen { address: own_address(1, id), prefix: 24, lifetime: None };
        let further = network::Interface {
            index: FURTHER_INDEX,
            name: FURTHER.to_owned(),
            up: true,
            carrier: true,
            condition: network::Condition::Unpolled,
            mac: None,
            addresses: Some(switched).filter(|_| seat.is_switched).into_iter().collect(),
        };
        let further = Some(further).filter(|_| self.is_shared || self.stands_by);
        let picture = network::Input::Interfaces(interfaces.chain(further).collect());
        seat.inbox.push_back(Input::Network(picture));
    }

    fn carry_out(&mut self, id: NodeId) {
        loop {
            let seat = self.seats.get_mut(&id).expect("there is such a seat");
            let node = seat.node.as_mut().expect("this node has a process");
            let Some(output) = node.poll_output() else { return };
            match output {
                Output::Transmit { path, bytes } => {
                    if !self.is_cut(id, path.peer) && self.dead != Some(path.network) {
                        let peer = self.seats.get_mut(&path.peer).expect("paths lead to seats");
                        let network = path.network;
                        peer.inbox.push_back(Input::Receive { network, bytes });
                    }
                }
                Output::TransmitAll { network, bytes } => {
                    let others: Vec<NodeId> = self.seats.keys().copied().collect();
                    for peer in others.into_iter().filter(|peer| *peer != id) {
                        if !self.is_cut(id, peer) {
                            let peer = self.seats.get_mut(&peer).expect("it was just seen");
                            peer.inbox.push_back(Input::Receive { network, bytes: bytes.clone() });
                        }
                    }
                }
                Output::Persist { token, what } if seat.is_disk_stuck => {
                    seat.writes.push_back((token, what));
                }
                Output::Persist { token, what } => seat.write(token, what),
                Output::Process(act) if seat.are_agents_stuck => seat.acts.push_back(act),
                Output::Process(act) => seat.act(&act),
                Output::Network(network::Output::Add { operation, address, .. }) => {
                    seat.addresses.insert(address);
                    self.changed(id, operation);
                }
                Output::Network(network::Output::Remove { operation, address, .. }) => {
                    seat.addresses.remove(&address);
                    self.changed(id, operation);
                }
                Output::Network(network::Output::Switch { operation, to, .. }) => {
                    seat.is_switched = to == FURTHER_INDEX;
                    self.changed(id, operation);
                }
                Output::ArmWatchdog => {
                    let armed = engine::Watchdog::Armed { timeout: WATCHDOG };
                    seat.inbox.push_back(Input::Watchdog(armed));
                }
                Output::Network(_) | Output::Note(_) => {}
                Output::Answer { request, result } => seat.answers.push((request, result)),
                Output::Event(event) => seat.events.push(event),
                Output::Configured { text, .. } => {
                    if !text.is_empty() {
                        let cluster = Box::new(self.cluster(&text, id));
                        let seat = self.seats.get_mut(&id).expect("it was just seen");
                        seat.inbox.push_back(Input::Configured(cluster));
                    }
                }
                Output::Ask(_) => panic!("these clusters have no arbiters"),
                Output::Fence(run) => seat.fence_runs.push(run),
                Output::FenceStop(stopped) => seat.fence_runs.retain(|run| run.run != stopped),
                Output::FenceRecord(record) => seat.fence_records.push(record),
                Output::Told { from, bytes } => seat.heard.push((from, bytes)),
                Output::Goodbyes(frames) => seat.goodbyes = frames,
                Output::Left => seat.left += 1,
            }
        }
    }

    /// What the only agent that a node runs says.
    pub(super) fn agent_says(
        &mut self,
        id: NodeId,
        verb: crate::FenceVerb,
        says: crate::FenceAnswer,
    ) {
        let seat = self.seats.get_mut(&id).expect("there is such a seat");
        let runs = core::mem::take(&mut seat.fence_runs);
        let [run] = &runs[..] else { panic!("one agent runs, not {runs:?}") };
        assert_eq!(run.verb, verb);
        seat.inbox.push_back(Input::Fence { run: run.run, answer: says });
    }

    /// One driver tells another one something.
    pub(super) fn tell(&mut self, from: NodeId, to: NodeId, bytes: &[u8]) {
        let seat = self.seats.get_mut(&from).expect("there is such a seat");
        seat.inbox.push_back(Input::Tell { to, bytes: bytes.to_vec() });
    }

    fn changed(&mut self, id: NodeId, operation: u64) {
        let seat = self.seats.get_mut(&id).expect("there is such a seat");
        let done = network::Input::Done { operation, result: Ok(()) };
        seat.inbox.push_back(Input::Network(done));
        self.picture(id);
    }
}

impl Seat {
    fn write(&mut self, token: u64, what: Durable) {
        if let Durable::State { incarnation, record } = what {
            self.memory = (incarnation, record);
        }
        self.inbox.push_back(Input::Persisted(token));
    }

    fn act(&mut self, act: &Act) {
        match act.verb {
            Verb::Start => self.running.insert(act.service.clone()),
            Verb::Stop | Verb::Kill => self.running.remove(&act.service),
        };
        self.inbox.push_back(Input::Acted { id: act.id, outcome: Outcome::Done });
    }
}

/// What is said of the second network where it has a further interface.
fn share() -> network::Share {
    network::Share {
        net: NETWORKS[1].to_owned(),
        cards: vec![NETWORKS[1].to_owned(), FURTHER.to_owned()],
        standbys: Vec::new(),
        distribution: network::place::Distribution::LeastLoad,
        takeover: network::place::Takeover::Alias,
        source: None,
        rebalances: false,
        persistent: Vec::new(),
        addresses: Vec::new(),
        hardware: std::collections::BTreeMap::new(),
        spared: Vec::new(),
    }
}

/// A node's own address on a network.
fn own_address(network: u8, node: NodeId) -> IpAddr {
    IpAddr::from([10, 77 + network, 0, node.0])
}
