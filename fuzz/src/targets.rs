//! The pure layers, each fed bytes from outside. None may panic; what is understood must have one
//! encoding only, and must mean the same when it is read again.
//!
//! [`TARGETS`] pairs each target with valid bytes to start from.

use core::net::IpAddr;
use core::time::Duration;

use base::codec::{self, Malformed};
use base::{Incarnation, Instant, Medium, Member, NetworkId, NodeId, NodeSet, Preset, Prng, View};

/// A target, its name, and where its mutations start.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets.
pub const TARGETS: &[Target] = &[
    ("codec", codec, codec_golden),
    ("disk", disk, disk_golden),
    ("engine_entry", engine_entry, engine_golden),
    ("group_message", group_message, group_golden),
    ("health_frame", health_frame, health_golden),
    ("network_frame", network_frame, network_golden),
    ("node_input", node_input, node_golden),
    ("serial", serial, serial_golden),
    ("transport_datagram", transport_datagram, transport_golden),
];

/// Decodes; what can be decoded can be encoded, and comes back equal. Whether it was decoded.
macro_rules! same_again {
    ($type:ty, $bytes:expr) => {
        match codec::decode::<$type>($bytes) {
            Ok(value) => {
                assert_eq!(codec::decode::<$type>(&codec::encode(&value)).as_ref(), Ok(&value));
                true
            }
            Err(Malformed) => false,
        }
    };
}

/// Identities and views.
pub fn codec(bytes: &[u8]) {
    same_again!(Member, bytes);
    same_again!(NodeSet, bytes);
    same_again!(View, bytes);
}

fn codec_golden() -> Vec<Vec<u8>> {
    let nodes: NodeSet = [NodeId(1), NodeId(2), NodeId(127)].into_iter().collect();
    vec![codec::encode(&member(1)), codec::encode(&nodes), codec::encode(&view())]
}

/// Messages and digests of a peer's group. Well-formed lies of a member are no matter of decoding;
/// malformed ones must change nothing.
pub fn group_message(bytes: &[u8]) {
    same_again!(group::Digest, bytes);
    if !same_again!(group::Message, bytes) {
        let mut group = group::Group::new(group_config(), Prng::new(1), NOW);
        drain(|| group.poll_output());
        group.handle(NOW, group::Input::Connected(member(2)));
        drain(|| group.poll_output());
        group.handle(NOW, group::Input::Message { from: member(2), bytes: bytes.to_vec() });
        let answers = core::iter::from_fn(|| group.poll_output()).count();
        assert_eq!(answers, 0, "malformed bytes are dropped");
    }
}

fn group_golden() -> Vec<Vec<u8>> {
    use group::{Absence, Ballot, Content, Entry, Message, Order, Promise, Proof, Scope, Snapshot};
    use group::{Value, Wait};
    let scope = Scope { lineage: 7, generation: 3 };
    let ballot = Ballot { round: 2, node: 1 };
    let absence = Absence { node: NodeId(3), incarnation: Incarnation(9), generation: 3 };
    let waits = vec![Wait { absence, age_ms: 878, is_lapsed: true }];
    let value = Value {
        view: view(),
        joiners: vec![member(2)],
        left: vec![member(3)],
        trim: 40,
        trim_hash: u64::MAX,
        waits: waits.clone(),
    };
    let entry = |content| Entry { origin: member(1), number: 1, content };
    let entries = vec![
        entry(Content::Payload(vec![1, 2, 3])),
        entry(Content::Durable(vec![4])),
        entry(Content::Fence(absence, Proof::Operator)),
    ];
    let promise = Promise {
        accepted: Some((ballot, value.clone())),
        have: 41,
        ages: vec![(NodeId(2), 5)],
        waits: waits.clone(),
    };
    let snapshot =
        Snapshot { position: 40, delivered: vec![(member(1), 9)], waits, state: vec![0; 40] };
    let messages = [
        Message::Prepare(scope, ballot, NodeSet::from_iter([NodeId(1), NodeId(2)])),
        Message::Promise(scope, ballot, Box::new(promise)),
        Message::Refuse(scope, ballot, Ballot::default()),
        Message::Accept(scope, ballot, Box::new(value.clone())),
        Message::Decided(scope, Box::new(value.clone())),
        Message::Install(scope, Box::new(value), Box::new(snapshot)),
        Message::Submit(scope, entries.clone()),
        Message::Order(scope, Order { first: 41, commit: 40, entries }),
        Message::Ack(scope, 43),
        Message::Form(1, view()),
    ];
    let mut golden: Vec<_> = messages.iter().map(codec::encode).collect();
    let record = Some((7, 3, 11));
    golden.push(codec::encode(&group::Digest { record, ..group::Digest::default() }));
    golden
}

/// Entries of the total order, delivered to a seeded engine.
pub fn engine_entry(bytes: &[u8]) {
    same_again!(engine::Entry, bytes);
    let _: bool = engine::is_configuration(bytes);
    let mut engine =
        engine::Engine::new(member(1), intent(), String::new(), timing(), Vec::new(), NOW);
    let formed = engine::ViewChange {
        view: view(),
        joined: view().members,
        left: Vec::new(),
        lost: Vec::new(),
        formed: true,
    };
    engine.handle(NOW, engine::Input::Lease { until: Instant::FAR });
    drain(|| engine.poll_output());
    engine.handle(NOW, engine::Input::View(formed));
    drain(|| engine.poll_output());
    let settled = codec::encode(&engine::Entry::Settled);
    let payloads = [bytes.to_vec(), settled, bytes.to_vec()];
    for (position, payload) in (1..).zip(payloads) {
        let origin = member(2);
        engine.handle(NOW, engine::Input::Delivered { position, origin, payload });
        drain(|| engine.poll_output());
    }
    // Whatever was delivered, the state can be handed to a joiner, who is then equal.
    let mut joiner =
        engine::Engine::new(member(2), intent(), String::new(), timing(), Vec::new(), NOW);
    joiner.restore(NOW, &engine.snapshot()).expect("a snapshot can be restored");
    assert_eq!(joiner.checksum(), engine.checksum());
    // Bytes that are no snapshot are refused.
    let mut other =
        engine::Engine::new(member(3), intent(), String::new(), timing(), Vec::new(), NOW);
    let _: Result<(), Malformed> = other.restore(NOW, bytes);
}

fn engine_golden() -> Vec<Vec<u8>> {
    use engine::{Claim, Command, Ending, Entry};
    let service = || "web".to_owned();
    let configure = Command::Configure {
        expected: 1,
        intent: Box::new(engine::Intent { version: 2, ..intent() }),
        text: "[cluster]".into(),
    };
    let commands = [
        Command::Start { service: service(), node: Some("n2".into()) },
        Command::Stop { service: service() },
        Command::Move { service: service(), to: None },
        Command::Clear { service: service(), node: None },
        Command::Standby { node: "n1".into() },
        configure,
    ];
    let mut entries: Vec<Entry> =
        commands.into_iter().map(|command| Entry::Command { request: 1, command }).collect();
    let running = vec!["ip".into(), "server".into()];
    entries.push(Entry::Report { claims: vec![Claim { service: service(), running }] });
    entries.push(Entry::Settled);
    let result = Ending::StartFailed { reason: "no lease".into() };
    entries.push(Entry::Outcome { service: service(), decision: None, result });
    entries.push(Entry::Remark { service: service(), text: "seen".into() });
    let mut golden: Vec<_> = entries.iter().map(codec::encode).collect();
    let engine = engine::Engine::new(member(1), intent(), String::new(), timing(), Vec::new(), NOW);
    golden.push(engine.snapshot());
    golden
}

/// Ethernet frames, heard while one address is being probed for and another is owned.
pub fn network_frame(bytes: &[u8]) {
    let _ = network::wire::decode(bytes);
    let mut network = owner();
    network.handle(NOW, network::Input::Frame { interface: 1, bytes: bytes.to_vec() });
    for output in core::iter::from_fn(|| network.poll_output()) {
        let answers =
            matches!(output, network::Output::Conflict { .. } | network::Output::Send { .. });
        assert!(answers, "a stranger's frame moves nothing: {output:?}");
    }
}

fn network_golden() -> Vec<Vec<u8>> {
    let stranger = [2, 0, 0, 0, 0, 9];
    let mut reply = network::wire::announcement(stranger, SERVICE_ADDRESS);
    reply[21] = 2;
    let ipv6: IpAddr = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 0x100]);
    vec![
        network::wire::announcement(stranger, SERVICE_ADDRESS),
        network::wire::probe(stranger, SERVICE_ADDRESS),
        reply,
        network::wire::announcement(stranger, ipv6),
        network::wire::probe(stranger, ipv6),
    ]
}

/// The service address, which is being probed for on interface 1.
fn owner() -> network::Network {
    let config = network::Config {
        lease: timing().lease,
        addresses: vec![SERVICE_ADDRESS],
        nets: Vec::new(),
        fixed: Vec::new(),
        conflicts: std::collections::BTreeMap::new(),
        verify: std::collections::BTreeMap::new(),
        shares: Vec::new(),
        taken: std::collections::BTreeMap::new(),
    };
    let mut network = network::Network::new(config, NOW);
    network.set_lease(Instant::FAR);
    network.handle(NOW, network::Input::Interfaces(interfaces()));
    let (id, service, address, prefix) = (1, "web".into(), SERVICE_ADDRESS, 24);
    let deadline = Instant::FAR;
    network.handle(NOW, network::Input::Claim { id, service, address, prefix, deadline });
    drain(|| network.poll_output());
    network
}

fn interfaces() -> Vec<network::Interface> {
    let own = IpAddr::from([10, 77, 0, 1]);
    let seen = network::AddressSeen { address: own, prefix: 24, lifetime: None };
    vec![network::Interface {
        index: 1,
        name: "eth0".into(),
        up: true,
        carrier: true,
        condition: network::Condition::Unpolled,
        mac: Some([2, 0, 0, 0, 0, 1]),
        addresses: vec![seen],
    }]
}

/// Bodies of health frames, heard by a node with two cards: they move nothing at once.
pub fn health_frame(bytes: &[u8]) {
    use network::health::{Card, Config, Health, Input, Net, Output, wire::Frame};
    if let Ok(frame) = Frame::decode(bytes) {
        assert_eq!(frame.encode(), bytes, "one way to write a frame");
    }
    let cards = ["eth0", "eth1"].map(String::from);
    let net = Net {
        number: NetworkId(0),
        cards: cards.to_vec(),
        sharing: Vec::new(),
        poll_interval: core::time::Duration::from_secs(1),
        polls: 3,
        detection: network::health::Detection::InOnlyOrInOut,
    };
    let config = Config { cluster: 7, node: NodeId(0), life: 100, nets: vec![net] };
    let mut health = Health::new(config, NOW);
    let seen = (0..).zip(cards).map(|(index, name)| Card {
        index,
        name,
        mac: Some([2, 0, 0, 0, 0, 1]),
        up: true,
        carrier: true,
        rx: 0,
        tx: 0,
        errors: 0,
    });
    for input in [Input::Sample(seen.collect()), Input::Tick] {
        health.handle(NOW, input);
        drain(|| health.poll_output());
    }
    health.handle(NOW, Input::Frame { interface: 1, bytes: bytes.to_vec() });
    for output in core::iter::from_fn(|| health.poll_output()) {
        assert!(matches!(output, Output::Send { .. }), "a frame is no verdict: {output:?}");
    }
}

fn health_golden() -> Vec<Vec<u8>> {
    use network::health::wire::{Frame, Says, Station};
    let station = |node, interface| Station { node: NodeId(node), interface };
    let says = [
        Says::Notice,
        Says::Poll(NodeSet::EMPTY),
        Says::Answer { to: station(0, 1), heard: vec![0, 1] },
    ];
    let frame = |says| Frame {
        cluster: 7,
        net: NetworkId(0),
        from: station(1, 2),
        mac: [2, 0, 0, 0, 1, 0],
        life: 100,
        sequence: 1,
        says,
    };
    says.map(|says| frame(says).encode()).into()
}

/// Datagrams: as they are, and as what a line did to one that a peer really sent.
pub fn transport_datagram(bytes: &[u8]) {
    let mut local = transport(1, 2);
    let mut peer = transport(2, 1);
    let sent = heartbeats(&mut peer);
    let mangled = sent.into_iter().map(|mut frame| {
        for (byte, change) in frame.iter_mut().zip(bytes) {
            *byte ^= change;
        }
        let is_whole = bytes.iter().take(frame.len()).all(|change| *change == 0);
        (frame, is_whole)
    });
    let frames = mangled.chain([(bytes.to_vec(), false)]);
    for (bytes, is_whole) in frames {
        let network = transport::network_of(&bytes).unwrap_or(NetworkId(0));
        local.handle(NOW, transport::Input::Receive { network, bytes });
        for output in core::iter::from_fn(|| local.poll_output()) {
            let harmless = is_whole
                || matches!(
                    output,
                    transport::Output::Transmit { .. } | transport::Output::TransmitAll { .. }
                );
            assert!(harmless, "a frame that nobody sealed was believed: {output:?}");
        }
    }
}

fn transport_golden() -> Vec<Vec<u8>> {
    let mut golden = heartbeats(&mut transport(2, 1));
    golden.push(vec![0; 64]);
    golden
}

fn transport(local: u8, peer: u8) -> transport::Transport {
    let config = transport::Config {
        local: NodeId(local),
        incarnation: Incarnation(1),
        session: [local; 16],
        cluster: 10,
        keys: [Some(KEY), None],
        active_key: 0,
        timing: timing(),
        peers: peers(peer),
    };
    transport::Transport::new(config, Prng::new(1), NOW)
}

fn peers(peer: u8) -> Vec<transport::PeerConfig> {
    let priority = transport::Priority::High;
    let heartbeats = [transport::Heartbeats::Each, transport::Heartbeats::Shared];
    let paths = (0..).zip(heartbeats).map(|(network, heartbeats)| transport::PathConfig {
        network: NetworkId(network),
        medium: Medium::Network,
        priority,
        heartbeats,
        ring: None,
    });
    let paths = paths.collect();
    vec![transport::PeerConfig { node: NodeId(peer), paths }]
}

fn heartbeats(transport: &mut transport::Transport) -> Vec<Vec<u8>> {
    let at = NOW + timing().heartbeat_high * 2;
    transport.handle(at, transport::Input::Turn { drained: true });
    let outputs = core::iter::from_fn(|| transport.poll_output());
    let frames = outputs.filter_map(|output| match output {
        transport::Output::Transmit { bytes, .. }
        | transport::Output::TransmitAll { bytes, .. } => Some(bytes),
        _ => None,
    });
    let frames: Vec<Vec<u8>> = frames.collect();
    assert!(!frames.is_empty(), "two intervals are time for a heartbeat");
    frames
}

/// A run of a shared disk, and its header. The bytes are pieces, each a length (2) and the start of
/// a block; the first byte says for which blocks a right checksum is put behind them.
pub fn disk(bytes: &[u8]) {
    use transport::disk::{BLOCK_SIZE, Layout, RUN_SIZE, Reader, Writer};
    let Some((checked, mut rest)) = bytes.split_first() else { return };
    let mut run = Vec::with_capacity(RUN_SIZE);
    for index in 0..RUN_SIZE / BLOCK_SIZE {
        let mut block = piece(&mut rest).to_vec();
        block.resize(BLOCK_SIZE - 4, 0);
        let right = checked & 1 << index != 0 && block.iter().any(|byte| *byte != 0);
        let checksum = if right { checksum(&block) } else { 0 };
        block.extend_from_slice(&checksum.to_be_bytes());
        if let Ok(layout) = Layout::decode_header(&block) {
            assert_eq!(layout.encode_header(), block, "one layout, one header");
        }
        run.extend_from_slice(&block);
    }
    let (layout, local, peer) = (Layout::new(10, 3), NodeId(1), NodeId(2));
    let mut reader = Reader::new(layout, local);
    let mut frames = Vec::new();
    reader.take(peer, &run, &mut frames);
    assert!(frames.len() <= 22, "{} frames of one run", frames.len());
    let fits = |frame: &Vec<u8>| (1..=base::limits::DATAGRAM_SIZE_MAX).contains(&frame.len());
    assert!(frames.iter().all(fits));
    let (counters, seen) = (reader.counters(), layout.examine(peer, local, &run));
    assert_eq!(counters.frames, frames.len() as u64);
    assert_eq!((counters.torn, counters.foreign), (seen.torn.into(), seen.foreign.into()));
    assert!(frames.is_empty() == (seen.heartbeat.max(seen.data).is_none()));
    let count = frames.len();
    reader.take(peer, &run, &mut frames);
    assert_eq!(frames.len(), count, "what was taken is no news");
    // Whatever the peer says that it took, heartbeats are written, and data in the end.
    let mut writer = Writer::new(layout, local, Incarnation(1));
    let mut block = [0; BLOCK_SIZE];
    for _ in 0..12 {
        assert!(writer.push(peer, b"data", false));
        writer.learn(&reader);
        assert!(writer.push(peer, b"heartbeat", true));
        while writer.next_write(&mut block).is_some() {}
    }
    assert!(writer.counters().frames >= 20, "{:?}", writer.counters());
}

/// The next piece: a length, and as many bytes as are there.
fn piece<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let mut reader = codec::Reader::new(rest);
    let length = usize::from(reader.u16().unwrap_or(0)).min(transport::disk::BLOCK_SIZE - 4);
    let bytes = reader.rest();
    let (piece, after) = bytes.split_at(length.min(bytes.len()));
    *rest = after;
    piece
}

/// CRC-32 of IEEE 802.3, bit by bit.
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |value, byte| {
        (0..8).fold(value ^ u32::from(*byte), |value, _| {
            if value & 1 == 0 { value >> 1 } else { (value >> 1) ^ 0xedb8_8320 }
        })
    })
}

fn disk_golden() -> Vec<Vec<u8>> {
    use transport::disk::{BLOCK_SIZE, Layout, RUN_SIZE, Writer};
    let layout = Layout::new(10, 3);
    let mut writer = Writer::new(layout, NodeId(2), Incarnation(7));
    let mut run = vec![0; RUN_SIZE];
    let mut block = [0; BLOCK_SIZE];
    for round in 0..3_u8 {
        assert!(writer.push(NodeId(1), &[round; 40], true));
        for length in 1..=5 {
            assert!(writer.push(NodeId(1), &vec![round; 50 * length], false));
        }
        while let Some(at) = writer.next_write(&mut block) {
            let start = (at - layout.run(NodeId(2), NodeId(1))) as usize * BLOCK_SIZE;
            run[start..start + BLOCK_SIZE].copy_from_slice(&block);
        }
    }
    let pieces = |blocks: &[u8]| {
        let mut bytes = vec![0xff];
        for block in blocks.chunks(BLOCK_SIZE) {
            let used = block[..BLOCK_SIZE - 4].iter().rposition(|byte| *byte != 0);
            let length = used.map_or(0, |last| last + 1);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
            bytes.extend_from_slice(&block[..length]);
        }
        bytes
    };
    vec![pieces(&run), pieces(&run[..BLOCK_SIZE]), pieces(&layout.encode_header())]
}

/// Bytes of a serial line: however they are cut they mean the same, and a frame that is sent whole
/// after them arrives.
pub fn serial(bytes: &[u8]) {
    let mut whole = transport::serial::Line::new();
    let mut pieces = transport::serial::Line::new();
    let (mut frames, mut same) = (Vec::new(), Vec::new());
    whole.receive(bytes, &mut frames);
    for piece in bytes.chunks(usize::from(bytes.first().copied().unwrap_or(0) % 7) + 1) {
        pieces.receive(piece, &mut same);
    }
    assert_eq!((&frames, whole.counters()), (&same, pieces.counters()));
    let mut sender = transport::serial::Line::new();
    for (number, frame) in frames.iter().chain([&b"heartbeat".to_vec()]).enumerate() {
        assert!(!frame.is_empty() && frame.len() <= base::limits::DATAGRAM_SIZE_MAX);
        assert!(sender.push(frame, number % 2 == 0), "there is room for one at a time");
        let mut line = Vec::new();
        while sender.next_chunk(&mut line) {}
        let mut received = Vec::new();
        whole.receive(&line, &mut received);
        assert_eq!(received.last(), Some(frame));
        // What the bytes left unended may have been one more frame.
        assert!(received.len() == 1 || (number == 0 && received.len() == 2));
    }
}

fn serial_golden() -> Vec<Vec<u8>> {
    let mut line = transport::serial::Line::new();
    let mut golden = Vec::new();
    for (length, pressing) in [(1, true), (130, true), (1_200, false), (90, false)] {
        assert!(line.push(&vec![length as u8; length], pressing), "there is room");
        let mut bytes = Vec::new();
        assert!(line.next_chunk(&mut bytes));
        golden.push(bytes);
    }
    let mut rest = Vec::new();
    while line.next_chunk(&mut rest) {}
    golden.push(rest);
    golden.push(golden.concat());
    golden
}

/// What a driver feeds a whole node from outside: the first byte chooses the way in.
pub fn node_input(bytes: &[u8]) {
    if let Ok(report) = node::Report::decode(bytes) {
        assert_eq!(node::Report::decode(&report.encode()), Ok(report));
    }
    let mut node = node::Node::new(birth(), NOW);
    drain(|| node.poll_output());
    node.handle(NOW, node::Input::Network(network::Input::Interfaces(interfaces())));
    drain(|| node.poll_output());
    let Some((way, bytes)) = bytes.split_first() else { return };
    let bytes = bytes.to_vec();
    let input = if way % 2 == 0 {
        node::Input::Receive { network: NetworkId(u16::from(way / 2 % 2)), bytes }
    } else {
        node::Input::Network(network::Input::Frame { interface: u32::from(way / 2), bytes })
    };
    node.handle(NOW, input);
    drain(|| node.poll_output());
    node.handle(NOW + timing().turn(), node::Input::Turn { drained: true });
    drain(|| node.poll_output());
}

fn node_golden() -> Vec<Vec<u8>> {
    let with_way = |way: u8| {
        move |mut bytes: Vec<u8>| {
            bytes.insert(0, way);
            bytes
        }
    };
    let frames = network_golden().into_iter().map(with_way(3));
    let datagrams = heartbeats(&mut transport(2, 1)).into_iter().map(with_way(0));
    frames.chain(datagrams).chain([node::Report::default().encode()]).collect()
}

fn birth() -> node::Birth {
    let nodes: NodeSet = view().nodes();
    let network = node::NetworkSpec {
        id: NetworkId(0),
        name: "net0".to_owned(),
        medium: Medium::Network,
        priority: transport::Priority::High,
        ring: Vec::new(),
        heartbeats: transport::Heartbeats::Each,
        nodes,
        local: Some(node::LocalEnd::Address(IpAddr::from([10, 77, 0, 1]))),
        standby: None,
        grace: Some(core::time::Duration::from_secs(1)),
    };
    let cluster = node::Cluster {
        fencing: Vec::new(),
        id: 10,
        timing: timing(),
        seed: 3,
        tie: base::Tie::None,
        networks: vec![network],
        intent: intent(),
        text: String::new(),
        shares: Vec::new(),
        conflicts: std::collections::BTreeMap::new(),
        verify: std::collections::BTreeMap::new(),
    };
    node::Birth {
        local: member(1),
        cluster,
        keys: [Some(KEY), None],
        entropy: [1; 16],
        seed: 1,
        record: None,
        found: Vec::new(),
        taken: std::collections::BTreeMap::new(),
        certified: false,
    }
}

fn group_config() -> group::Config {
    group::Config {
        local: member(1),
        nodes: view().nodes(),
        seed: 3,
        tie: base::Tie::None,
        timing: timing(),
        record: None,
        configuration: 1,
        certified: false,
    }
}

/// Three nodes and a service with an address and a process.
fn intent() -> engine::Intent {
    let specs = [1, 2, 3].map(|id| engine::NodeSpec { id: NodeId(id), name: format!("n{id}") });
    let address = engine::ResourceKind::Address { address: SERVICE_ADDRESS, prefix: 24 };
    let process = engine::ResourceKind::Process {
        command: vec!["server".into()],
        directory: None,
        environment: vec![("A".into(), "b".into())],
        user: None,
    };
    let resource = |name: &str, kind| engine::Resource { name: name.into(), kind };
    let service = engine::Service {
        name: "web".into(),
        nodes: vec![NodeId(1), NodeId(2), NodeId(3)],
        resources: vec![resource("ip", address), resource("server", process)],
        mode: engine::Mode::Automatic,
        failback: engine::Failback::Never,
        restart: engine::RestartLimit { count: 3, window: Duration::from_secs(60) },
        start_timeout: Duration::from_secs(60),
        stop_timeout: Duration::from_secs(60),
        priority: engine::PRIORITY_DEFAULT,
        class: None,
        is_fixed: false,
        networks: Vec::new(),
    };
    engine::Intent {
        nodes: specs.to_vec(),
        services: vec![service],
        version: 1,
        checksum: 5,
        jeopardy: None,
    }
}

fn view() -> View {
    let members = vec![member(1), member(2), member(3)];
    View { lineage: 7, generation: 3, members, hub: NodeId(1), tie: base::Tie::None }
}

fn member(node: u8) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(1) }
}

fn timing() -> base::Timing {
    Preset::Fast.timing()
}

fn drain<T>(poll: impl FnMut() -> Option<T>) {
    core::iter::from_fn(poll).for_each(drop);
}

const NOW: Instant = Instant::from_millis(1_000_000);
const KEY: [u8; 32] = [7; 32];
const SERVICE_ADDRESS: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 77, 0, 100));
