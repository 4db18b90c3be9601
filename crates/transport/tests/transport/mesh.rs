//! Nodes, networks and a clock in one thread: every delay, loss and cut comes from one seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::{Incarnation, Instant, Medium, NetworkId, NodeId, Preset, Prng, Timing};
use transport::{
    Config, Heartbeats, Input, Lane, Output, PathConfig, PathId, PeerConfig, Priority, Status,
    Transport,
};

pub(crate) const CLUSTER: u32 = 10;
pub(crate) const KEY: [u8; 32] = [7; 32];

/// What the networks do to datagrams.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    pub(crate) loss_permille: u64,
    pub(crate) duplicate_permille: u64,
    pub(crate) delay: std::ops::RangeInclusive<Duration>,
}

impl Weather {
    pub(crate) fn fair() -> Weather {
        Weather {
            loss_permille: 0,
            duplicate_permille: 0,
            delay: Duration::from_micros(100)..=Duration::from_micros(300),
        }
    }
}

pub(crate) struct Mesh {
    pub(crate) now: Instant,
    pub(crate) timing: Timing,
    pub(crate) nodes: Vec<Option<Transport>>,
    /// Everything but datagrams and heartbeats, with time and node.
    pub(crate) log: Vec<(Instant, u8, Output)>,
    pub(crate) weather: Weather,
    /// One-way cuts: from, to, network.
    pub(crate) cuts: BTreeSet<(u8, u8, u8)>,
    /// Nodes that take only datagrams of so many bytes.
    pub(crate) takes: BTreeMap<u8, usize>,
    /// Stopped nodes; what arrives waits in their sockets.
    pub(crate) paused: BTreeSet<u8>,
    /// Datagrams that were sent, by (from, to, network); kept only while `keeps` is set.
    pub(crate) sent: Vec<(Instant, u8, PathId, Vec<u8>)>,
    pub(crate) keeps: bool,
    pub(crate) heard: Vec<(Instant, u8, Output)>,
    prng: Prng,
    flying: BTreeMap<(Instant, u64), (u8, NetworkId, Vec<u8>)>,
    sockets: Vec<VecDeque<(NetworkId, Vec<u8>)>>,
    number: u64,
    lives: u64,
    networks: u8,
    low: BTreeSet<u8>,
    ring: bool,
    /// Networks with one heartbeat for all.
    pub(crate) shared: BTreeSet<u8>,
    /// Who does not hear what is for all, though the rest arrives: from, to, network.
    pub(crate) deaf: BTreeSet<(u8, u8, u8)>,
    /// Frames to all that were sent, by whom; kept only while `keeps` is set.
    pub(crate) sent_to_all: Vec<(Instant, u8, NetworkId, Vec<u8>)>,
}

impl Mesh {
    pub(crate) fn new(preset: Preset, nodes: u8, networks: u8, seed: u64) -> Mesh {
        Mesh::with_low(preset, nodes, networks, &[], seed)
    }

    /// All networks are monitored as rings.
    pub(crate) fn ring(preset: Preset, nodes: u8, networks: u8, seed: u64) -> Mesh {
        Mesh::build(preset, (nodes, networks), &[], &[], true, seed)
    }

    /// `low` names the networks of low priority.
    pub(crate) fn with_low(preset: Preset, nodes: u8, networks: u8, low: &[u8], seed: u64) -> Mesh {
        Mesh::with(preset, (nodes, networks), low, &[], seed)
    }

    /// `shared` names the networks with one heartbeat for all.
    pub(crate) fn with(
        preset: Preset,
        counts: (u8, u8),
        low: &[u8],
        shared: &[u8],
        seed: u64,
    ) -> Mesh {
        Mesh::build(preset, counts, low, shared, false, seed)
    }

    fn build(
        preset: Preset,
        (nodes, networks): (u8, u8),
        low: &[u8],
        shared: &[u8],
        ring: bool,
        seed: u64,
    ) -> Mesh {
        let mut mesh = Mesh {
            now: Instant::from_millis(1_000_000),
            timing: preset.timing(),
            nodes: Vec::new(),
            log: Vec::new(),
            weather: Weather::fair(),
            cuts: BTreeSet::new(),
            takes: BTreeMap::new(),
            paused: BTreeSet::new(),
            sent: Vec::new(),
            keeps: false,
            heard: Vec::new(),
            prng: Prng::new(seed),
            flying: BTreeMap::new(),
            sockets: vec![VecDeque::new(); usize::from(nodes)],
            number: 0,
            lives: 0,
            networks,
            low: low.iter().copied().collect(),
            ring,
            shared: shared.iter().copied().collect(),
            deaf: BTreeSet::new(),
            sent_to_all: Vec::new(),
        };
        mesh.nodes = (0..nodes).map(|_| None).collect();
        (0..nodes).for_each(|node| mesh.start(node));
        mesh
    }

    pub(crate) fn peers(&self, of: u8) -> Vec<PeerConfig> {
        let priority = |network| {
            if self.low.contains(&network) { Priority::Low } else { Priority::High }
        };
        let count = self.nodes.len() as u8;
        let paths = |to: u8| {
            let ring = self.ring.then(|| (to + count - of) % count);
            let path = |network: u8| PathConfig {
                network: NetworkId(network.into()),
                medium: Medium::Network,
                priority: priority(network),
                ring,
                heartbeats: match self.shared.contains(&network) {
                    true => Heartbeats::Shared,
                    false => Heartbeats::Each,
                },
            };
            (0..self.networks).map(path).collect()
        };
        (0..count)
            .filter(|&node| node != of)
            .map(|node| PeerConfig { node: NodeId(node), paths: paths(node) })
            .collect()
    }

    pub(crate) fn config(&mut self, node: u8) -> Config {
        self.lives += 1;
        let mut session = [0; 16];
        session[..8].copy_from_slice(&(self.prng.next_u64() | 1 << 63).to_be_bytes());
        session[8..].copy_from_slice(&self.lives.to_be_bytes());
        Config {
            local: NodeId(node),
            incarnation: Incarnation(self.lives),
            session,
            cluster: CLUSTER,
            keys: [Some(KEY), None],
            active_key: 0,
            timing: self.timing,
            peers: self.peers(node),
        }
    }

    /// Starts a node in a new life.
    pub(crate) fn start(&mut self, node: u8) {
        let config = self.config(node);
        self.start_as(node, config);
    }

    pub(crate) fn start_as(&mut self, node: u8, config: Config) {
        let transport = Transport::new(config, self.prng.child("node"), self.now);
        self.nodes[usize::from(node)] = Some(transport);
        self.sockets[usize::from(node)].clear();
        self.drain(node);
    }

    pub(crate) fn kill(&mut self, node: u8) {
        self.nodes[usize::from(node)] = None;
    }

    pub(crate) fn node(&self, node: u8) -> &Transport {
        self.nodes[usize::from(node)].as_ref().expect("the node runs")
    }

    pub(crate) fn node_mut(&mut self, node: u8) -> &mut Transport {
        self.nodes[usize::from(node)].as_mut().expect("the node runs")
    }

    pub(crate) fn status(&self, node: u8) -> Status {
        self.node(node).status()
    }

    pub(crate) fn input(&mut self, node: u8, input: Input) {
        let now = self.now;
        self.node_mut(node).handle(now, input);
        self.drain(node);
    }

    pub(crate) fn turn(&mut self, node: u8) {
        self.input(node, Input::Turn { drained: true });
    }

    pub(crate) fn send(&mut self, from: u8, to: u8, lane: Lane, message: Vec<u8>) {
        self.input(from, Input::Send { to: NodeId(to), lane, message });
    }

    /// Takes the outputs of a node: datagrams fly, the rest is written down.
    pub(crate) fn drain(&mut self, node: u8) {
        while let Some(output) = self.node_mut(node).poll_output() {
            match output {
                Output::Transmit { path, bytes } => self.transmit(node, path, bytes),
                Output::TransmitAll { network, bytes } => self.transmit_all(node, network, bytes),
                Output::Heard { .. } if !self.keeps => {}
                Output::Heard { .. } => self.heard.push((self.now, node, output)),
                _ => self.log.push((self.now, node, output)),
            }
        }
    }

    fn transmit(&mut self, from: u8, path: PathId, bytes: Vec<u8>) {
        if self.keeps {
            self.sent.push((self.now, from, path, bytes.clone()));
        }
        let lost = self.cuts.contains(&(from, path.peer.0, path.network.0 as u8))
            || self.takes.get(&path.peer.0).is_some_and(|most| bytes.len() > *most)
            || self.prng.chance(self.weather.loss_permille, 1000);
        if lost {
            self.node_mut(from).recycle(bytes);
            return;
        }
        if self.prng.chance(self.weather.duplicate_permille, 1000) {
            self.fly(path.peer.0, path.network, bytes.clone());
        }
        self.fly(path.peer.0, path.network, bytes);
    }

    fn transmit_all(&mut self, from: u8, network: NetworkId, bytes: Vec<u8>) {
        if self.keeps {
            self.sent_to_all.push((self.now, from, network, bytes.clone()));
        }
        for to in (0..self.nodes.len() as u8).filter(|to| *to != from) {
            let way = (from, to, network.0 as u8);
            let lost = self.cuts.contains(&way) || self.deaf.contains(&way);
            if lost || self.prng.chance(self.weather.loss_permille, 1000) {
                continue;
            }
            if self.prng.chance(self.weather.duplicate_permille, 1000) {
                self.fly(to, network, bytes.clone());
            }
            self.fly(to, network, bytes.clone());
        }
        self.node_mut(from).recycle(bytes);
    }

    /// Puts a datagram on its way.
    pub(crate) fn fly(&mut self, to: u8, network: NetworkId, bytes: Vec<u8>) {
        let delay = self.prng.duration(self.weather.delay.clone());
        self.number += 1;
        self.flying.insert((self.now + delay, self.number), (to, network, bytes));
    }

    fn is_running(&self, node: u8) -> bool {
        self.nodes[usize::from(node)].is_some() && !self.paused.contains(&node)
    }

    fn next_deadline(&self) -> Option<(Instant, u8)> {
        (0..self.nodes.len() as u8)
            .filter(|&node| self.is_running(node))
            .filter_map(|node| Some((self.node(node).deadline()?.0, node)))
            .min()
    }

    /// Lets all happen that is due within `span`.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let arrival = self.flying.keys().next().map(|key| key.0);
            let deadline = self.next_deadline();
            let next = arrival.into_iter().chain(deadline.map(|(when, _)| when)).min();
            let Some(next) = next.map(|next| next.max(self.now)).filter(|&next| next <= end) else {
                break;
            };
            self.now = next;
            if arrival.is_some_and(|arrival| arrival <= next) {
                let (_, (to, network, bytes)) = self.flying.pop_first().expect("it was seen");
                if self.is_running(to) {
                    self.input(to, Input::Receive { network, bytes });
                } else if self.nodes[usize::from(to)].is_some() {
                    self.sockets[usize::from(to)].push_back((network, bytes));
                }
            } else if let Some((_, node)) = deadline {
                self.turn(node);
            }
            self.check_deadlines();
        }
        self.now = end;
    }

    /// Turns must never be asked for later than the patient clock allows.
    fn check_deadlines(&self) {
        for node in 0..self.nodes.len() as u8 {
            if self.is_running(node) {
                let (when, _) = self.node(node).deadline().expect("it has peers");
                assert!(when <= self.now + self.timing.turn(), "a late deadline");
            }
        }
    }

    pub(crate) fn run_ms(&mut self, ms: u64) {
        self.run(Duration::from_millis(ms));
    }

    pub(crate) fn resume(&mut self, node: u8) {
        self.paused.remove(&node);
        while let Some((network, bytes)) = self.sockets[usize::from(node)].pop_front() {
            self.input(node, Input::Receive { network, bytes });
        }
        self.turn(node);
    }

    /// The log of one node since the last call, without path changes.
    pub(crate) fn take_log(&mut self, node: u8) -> Vec<Output> {
        let mut taken = Vec::new();
        self.log.retain(|(_, of, output)| {
            let matches = *of == node && !matches!(output, Output::PathChanged { .. });
            if matches {
                taken.push(output.clone());
            }
            !matches
        });
        taken
    }

    pub(crate) fn count(&self, node: u8, kind: transport::Count) -> u64 {
        let status = self.status(node);
        status.counters.iter().find(|counter| counter.kind == kind).expect("all are there").count
    }
}

impl Mesh {
    pub(crate) fn lag_of(&self, node: u8) -> Duration {
        self.node(node).lag()
    }
}
