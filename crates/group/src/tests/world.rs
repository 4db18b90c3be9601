//! A few groups, channels that deliver at once, heartbeats each 50 ms, and a clock.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use base::{Incarnation, Instant, Member, NodeId, NodeSet, Preset, Prng, Tie, View};

use crate::{Acceptor, Answer, Config, Durable, Group, Input, Output, Proof, Request};

const TICK: Duration = Duration::from_millis(10);
const HEARTBEAT_TICKS: u64 = 5;

pub(super) struct World {
    pub(super) now: Instant,
    ticks: u64,
    pub(super) nodes: BTreeMap<u8, Node>,
    cuts: BTreeSet<(u8, u8)>,
    /// The acceptors outside; those that are down answer nobody.
    pub(super) arbiters: Vec<Acceptor>,
    pub(super) arbiters_down: BTreeSet<usize>,
    /// Which answers of arbiters are lost, whatever they have done.
    pub(super) is_lost: fn(&Answer) -> bool,
    count: u8,
    tie: Tie,
    seed: usize,
}

pub(super) struct Node {
    pub(super) group: Group,
    connected: BTreeMap<u8, Member>,
    pub(super) delivered: Vec<(u64, Vec<u8>)>,
    pub(super) views: Vec<View>,
    pub(super) fenced: Vec<(NodeId, Proof)>,
    pub(super) excluded: Option<String>,
    pub(super) left: bool,
    pub(super) record: Option<View>,
    pub(super) disk_is_stuck: bool,
    stuck: Vec<u64>,
}

impl World {
    pub(super) fn new(count: u8, tie: Tie) -> World {
        World::seeded(count, usize::from(count), tie)
    }

    pub(super) fn seeded(count: u8, seed: usize, tie: Tie) -> World {
        World {
            now: Instant::from_millis(1_000),
            ticks: 0,
            nodes: BTreeMap::new(),
            cuts: BTreeSet::new(),
            arbiters: vec![Acceptor::default(); 3],
            arbiters_down: BTreeSet::new(),
            is_lost: |_| false,
            count,
            tie,
            seed,
        }
    }

    /// Starts a node in a new life; the record of its former one is kept.
    pub(super) fn start(&mut self, id: u8, life: u64) {
        let record = self.nodes.remove(&id).and_then(|node| node.record);
        self.forget(id);
        let local = Member { node: NodeId(id), incarnation: Incarnation(life) };
        let config = Config {
            local,
            nodes: (1..=self.count).map(NodeId).collect(),
            seed: self.seed,
            tie: self.tie,
            timing: Preset::Fast.timing(),
            record: record.clone(),
            configuration: 1,
            certified: false,
        };
        let group = Group::new(config, Prng::new(u64::from(id) << 8 | life), self.now);
        let node = Node {
            group,
            connected: BTreeMap::new(),
            delivered: Vec::new(),
            views: Vec::new(),
            fenced: Vec::new(),
            excluded: None,
            left: false,
            record,
            disk_is_stuck: false,
            stuck: Vec::new(),
        };
        self.nodes.insert(id, node);
    }

    pub(super) fn start_all(&mut self) {
        for id in 1..=self.count {
            self.start(id, 1);
        }
    }

    /// Pulls the plug: its record stays for [`World::start`].
    pub(super) fn stop(&mut self, id: u8) -> Option<View> {
        let node = self.nodes.remove(&id).expect("it runs");
        self.forget(id);
        node.record
    }

    /// Starts a stopped node with the record that it had.
    pub(super) fn restart(&mut self, id: u8, life: u64, record: Option<View>) {
        self.start(id, life);
        let node = self.nodes.remove(&id).expect("it was just started");
        let config = Config { record: record.clone(), ..node.group.config.clone() };
        let group = Group::new(config, Prng::new(life), self.now);
        self.nodes.insert(id, Node { group, record, ..node });
    }

    /// The guard starts a crashed daemon again and says so.
    pub(super) fn restart_certified(&mut self, id: u8, life: u64) {
        self.start(id, life);
        let node = self.nodes.remove(&id).expect("it was just started");
        let config = Config { certified: true, ..node.group.config.clone() };
        let group = Group::new(config, Prng::new(life), self.now);
        self.nodes.insert(id, Node { group, ..node });
    }

    fn forget(&mut self, id: u8) {
        let others: Vec<u8> = self.nodes.keys().copied().collect();
        for other in others {
            if let Some(member) = self.node(other).connected.remove(&id) {
                self.feed(other, Input::Lost(member));
            }
        }
    }

    pub(super) fn node(&mut self, id: u8) -> &mut Node {
        self.nodes.get_mut(&id).expect("it runs")
    }

    pub(super) fn cut(&mut self, a: u8, b: u8) {
        self.cuts.extend([(a, b), (b, a)]);
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
    }

    pub(super) fn run(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.now += TICK;
            self.ticks += 1;
            self.connect();
            if self.ticks.is_multiple_of(HEARTBEAT_TICKS) {
                self.beat();
            }
            for id in self.ids() {
                self.feed(id, Input::Turn);
            }
        }
    }

    fn ids(&self) -> Vec<u8> {
        self.nodes.keys().copied().collect()
    }

    fn pairs(&self) -> Vec<(u8, u8)> {
        let ids = self.ids();
        let pairs = ids.iter().flat_map(|a| ids.iter().map(|b| (*a, *b)));
        pairs.filter(|(a, b)| a != b).collect()
    }

    fn connect(&mut self) {
        for (a, b) in self.pairs() {
            let member = self.node(b).group.local();
            let known = self.node(a).connected.get(&b).copied();
            let open = !self.cuts.contains(&(a, b));
            if known.is_some_and(|known| !open || known != member) {
                let known = self.node(a).connected.remove(&b).expect("it was just seen");
                self.feed(a, Input::Lost(known));
            }
            if open && self.node(a).connected.insert(b, member) != Some(member) {
                self.feed(a, Input::Connected(member));
            }
        }
    }

    /// Each node hears each other and is told that it was heard a moment ago.
    fn beat(&mut self) {
        let now = self.now;
        for (a, b) in self.pairs() {
            if self.cuts.contains(&(a, b)) {
                continue;
            }
            let from = self.node(b).group.local();
            let digest = self.node(b).group.digest();
            let row: NodeSet = self.node(b).connected.keys().map(|id| NodeId(*id)).collect();
            self.node(a).group.note_contact(from, now);
            self.feed(a, Input::Digest(from, digest));
            let echo = Some(now.minus(TICK));
            let evidence = self.node(b).group.evidence_to_relay(now);
            let evidence_age = evidence.map(|evidence| now.since(evidence));
            self.feed(a, Input::Heard { from, echo, evidence_age, row });
        }
    }

    pub(super) fn feed(&mut self, id: u8, input: Input) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.group.handle(now, input);
        self.drain(id);
    }

    /// Carries out what a group wants.
    pub(super) fn drain(&mut self, id: u8) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let local = node.group.local();
        let (mut messages, mut follow_ups) = (Vec::new(), Vec::new());
        let mut asked: Vec<Request> = Vec::new();
        while let Some(output) = node.group.poll_output() {
            match output {
                Output::Send { to, message, .. } => messages.push((to.0, message)),
                Output::Persist { token, what } => {
                    if node.disk_is_stuck {
                        node.stuck.push(token);
                        continue;
                    }
                    if let Durable::Record(record) = what {
                        node.record = record;
                    }
                    follow_ups.push(Input::Persisted(token));
                }
                Output::View(change) => node.views.push(change.view),
                Output::Deliver { position, payload, .. } => {
                    node.delivered.push((position, payload));
                }
                Output::Fenced { absence, proof } => node.fenced.push((absence.node, proof)),
                Output::TakeSnapshot => {
                    follow_ups.push(Input::Snapshot(encode(&node.delivered)));
                }
                Output::Restore { change, state } => {
                    node.delivered = decode(&state);
                    node.views.push(change.view);
                }
                Output::Ask(request) => asked.push(request),
                Output::Excluded { reason } => node.excluded = Some(reason),
                Output::Left => node.left = true,
            }
        }
        for input in follow_ups {
            self.feed(id, input);
        }
        for request in asked {
            self.ask(id, &request);
        }
        for (to, bytes) in messages {
            if !self.cuts.contains(&(id, to)) && self.nodes.contains_key(&to) {
                // A transport connects both ends before it delivers anything.
                if self.node(to).connected.insert(id, local) != Some(local) {
                    self.feed(to, Input::Connected(local));
                }
                self.node(to).group.note_contact(local, now);
                self.feed(to, Input::Message { from: local, bytes });
            }
        }
    }

    fn ask(&mut self, id: u8, request: &Request) {
        let Tie::Arbiters { count, .. } = self.tie else { panic!("there are no arbiters") };
        // Those that the node knows, not those that it asks for.
        let known = match self.node(id).group.config.tie {
            Tie::Arbiters { name, .. } => name,
            _ => 0,
        };
        if request.arbiters != known {
            return;
        }
        for arbiter in 0..count {
            if self.arbiters_down.contains(&usize::from(arbiter)) {
                continue;
            }
            let reply = self.arbiters[usize::from(arbiter)].handle(request);
            if !(self.is_lost)(&reply.answer) {
                self.feed(id, Input::Arbiter(arbiter, reply));
            }
        }
    }

    pub(super) fn submit(&mut self, id: u8, text: &str) {
        let submitted = self.node(id).group.submit(text.as_bytes().to_vec(), false);
        submitted.expect("a member with room takes submissions");
        self.drain(id);
    }

    pub(super) fn members(&mut self, id: u8) -> Vec<u8> {
        let view = self.node(id).group.view();
        let mut members: Vec<u8> =
            view.map_or(Vec::new(), |view| view.members.iter().map(|m| m.node.0).collect());
        members.sort_unstable();
        members
    }

    /// The hub of node 1's view.
    pub(super) fn hub(&mut self) -> u8 {
        self.node(1).group.view().expect("it is in a view").hub.0
    }

    pub(super) fn texts(&mut self, id: u8) -> Vec<String> {
        let delivered = self.node(id).delivered.iter();
        delivered.map(|(_, text)| String::from_utf8_lossy(text).into_owned()).collect()
    }

    pub(super) fn holds_lease(&mut self, id: u8) -> bool {
        let now = self.now;
        self.node(id).group.lease_until(now) > now
    }
}

fn encode(delivered: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let pairs: Vec<(u64, minicbor::bytes::ByteVec)> =
        delivered.iter().map(|(position, text)| (*position, text.clone().into())).collect();
    base::codec::encode(&pairs)
}

fn decode(state: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let pairs: Vec<(u64, minicbor::bytes::ByteVec)> =
        base::codec::decode(state).expect("a snapshot is what encode made");
    pairs.into_iter().map(|(position, text)| (position, text.into())).collect()
}
