//! A view of three nodes in which nothing happens costs no allocation: not in the transport, not in
//! the group that watches leases, not in the composition of the two.
//!
//! The loop of the daemon around a node is measured by `steady.rs` of the program.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base::{Incarnation, Instant, Medium, Member, NetworkId, NodeId, Preset};
use engine::{Intent, NodeSpec};
use node::{Birth, Cluster, Input, LocalEnd, NetworkSpec, Node, Output};
use transport::{PathId, Priority};

const NODES: u8 = 3;

fn birth(node: NodeId) -> Birth {
    let nodes = (1..=NODES).map(|id| NodeSpec { id: NodeId(id), name: format!("n{id}") });
    let intent = Intent {
        nodes: nodes.collect(),
        services: Vec::new(),
        version: 1,
        checksum: 1,
        jeopardy: None,
    };
    let network = |id| NetworkSpec {
        ring: Vec::new(),
        id: NetworkId(id),
        name: format!("net{id}"),
        medium: Medium::Network,
        priority: Priority::High,
        heartbeats: transport::Heartbeats::Each,
        nodes: (1..=NODES).map(NodeId).collect(),
        local: Some(LocalEnd::Device),
        standby: None,
        grace: None,
    };
    Birth {
        local: Member { node, incarnation: Incarnation(1) },
        cluster: Cluster {
            id: 10,
            timing: Preset::Fast.timing(),
            seed: usize::from(NODES),
            tie: base::Tie::None,
            fencing: Vec::new(),
            networks: vec![network(0), network(1)],
            intent,
            text: "text".into(),
            shares: Vec::new(),
            conflicts: std::collections::BTreeMap::new(),
            verify: std::collections::BTreeMap::new(),
        },
        keys: [Some([7; 32]), None],
        entropy: [node.0; 16],
        seed: 1,
        record: None,
        found: Vec::new(),
        taken: std::collections::BTreeMap::new(),
        certified: false,
    }
}

/// The nodes, and the datagrams between them.
struct Trio {
    now: Instant,
    nodes: BTreeMap<NodeId, Node>,
    flying: VecDeque<(NodeId, PathId, Vec<u8>)>,
    /// Written at once.
    written: VecDeque<(NodeId, u64)>,
    datagrams: u64,
}

impl Trio {
    fn step(&mut self) {
        let due = self.nodes.values().filter_map(Node::deadline).map(|(at, _)| at).min();
        self.now = self.now.max(due.expect("a node has peers"));
        for id in (1..=NODES).map(NodeId) {
            self.feed(id, Input::Turn { drained: true });
        }
        self.now += Duration::from_micros(200);
        while let Some((from, path, bytes)) = self.flying.pop_front() {
            self.datagrams += 1;
            let to = self.nodes.get_mut(&path.peer).expect("there is such a node");
            let mut arrived = to.take_buffer();
            arrived.extend_from_slice(&bytes);
            self.feed(path.peer, Input::Receive { network: path.network, bytes: arrived });
            self.nodes.get_mut(&from).expect("it sent this").recycle(bytes);
        }
        while let Some((id, token)) = self.written.pop_front() {
            self.feed(id, Input::Persisted(token));
        }
    }

    fn feed(&mut self, id: NodeId, input: Input) {
        let node = self.nodes.get_mut(&id).expect("there is such a node");
        node.handle(self.now, input);
        self.carry_out(id);
    }

    fn carry_out(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("there is such a node");
        while let Some(output) = node.poll_output() {
            match output {
                Output::Transmit { path, bytes } => self.flying.push_back((id, path, bytes)),
                Output::Persist { token, .. } => self.written.push_back((id, token)),
                _ => {}
            }
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }
}

#[test]
fn a_quiet_view_does_not_allocate() {
    let now = Instant::from_millis(1_000);
    let nodes = (1..=NODES).map(|id| (NodeId(id), Node::new(birth(NodeId(id)), now)));
    let mut trio = Trio {
        now,
        nodes: nodes.collect(),
        flying: VecDeque::with_capacity(64),
        written: VecDeque::new(),
        datagrams: 0,
    };
    (1..=NODES).for_each(|id| trio.carry_out(NodeId(id)));
    trio.run(Duration::from_secs(70));
    let members = |node: &Node| node.view().map(|view| view.members.len());
    assert!(trio.nodes.values().all(|node| members(node) == Some(usize::from(NODES))));
    let before = trio.datagrams;
    let info = allocation_counter::measure(|| trio.run(Duration::from_secs(30)));
    assert!(trio.datagrams - before > 6_000, "{}", trio.datagrams - before);
    assert_eq!(info.count_total, 0, "{info:?}");
    // The measure itself is not blind: a command does allocate.
    let info = allocation_counter::measure(|| {
        let drain = engine::Command::Drain { node: "n1".into() };
        let command = node::Command::Engine(drain);
        trio.feed(NodeId(1), Input::Command { request: 1, command });
        trio.step();
    });
    assert!(info.count_total > 0);
}
