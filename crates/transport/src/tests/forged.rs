//! One transport against a peer whose every frame is written by hand: what the echo rule, the
//! channel numbers and the sessions let through, one condition at a time.

use core::time::Duration;

use base::{Incarnation, Instant, Medium, Member, NetworkId, NodeId, NodeSet, Preset, Prng};

use crate::Transport;
use crate::config::{
    Config, Heartbeats, Input, Lane, LostReason, Output, PathConfig, PathState, PeerConfig,
    Priority,
};
use crate::seal::Key;
use crate::session::tag;
use crate::stats::Count;
use crate::wire::{Ack, HEADER_SIZE, Header, Heartbeat, Item, Kind, Proof, encode_acks};

const OWN: [u8; 16] = *b"our own session!";
const PEER: [u8; 16] = *b"the peer's first";
const NEXT: [u8; 16] = *b"and its next one";
const KEY: [u8; 32] = [4; 32];
const STARTED: Instant = Instant::from_millis(50_000);

struct Scene {
    now: Instant,
    transport: Transport,
    counter: u64,
    /// Stamps of the heartbeats that left, and which session each was meant for.
    stamps: Vec<(Instant, [u8; 4])>,
    /// The newest channel number of ours that the peer was told.
    channel: u32,
    outputs: Vec<Output>,
}

impl Scene {
    fn new() -> Scene {
        let path = PathConfig {
            network: NetworkId(0),
            medium: Medium::Network,
            priority: Priority::High,
            ring: None,
            heartbeats: Heartbeats::Each,
        };
        let config = Config {
            local: NodeId(0),
            incarnation: Incarnation(7),
            session: OWN,
            cluster: 10,
            keys: [Some(KEY), None],
            active_key: 0,
            timing: Preset::Fast.timing(),
            peers: vec![PeerConfig { node: NodeId(1), paths: vec![path] }],
        };
        Scene {
            now: STARTED,
            transport: Transport::new(config, Prng::new(1), STARTED),
            counter: 0,
            stamps: Vec::new(),
            channel: 0,
            outputs: Vec::new(),
        }
    }

    fn input(&mut self, input: Input) {
        self.transport.handle(self.now, input);
        while let Some(output) = self.transport.poll_output() {
            if let Output::Transmit { mut bytes, .. } = output {
                let header = Header::decode(&bytes).expect("our own frame");
                let key = Key::derive(&KEY, &OWN, 10, NodeId(0));
                let plain = key.open(header.nonce(), HEADER_SIZE, &mut bytes).expect("our key");
                let proof = Proof::decode(&mut base::codec::Reader::new(plain)).expect("whole");
                self.channel = self.channel.max(proof.channel);
                if header.kind == Kind::Heartbeat {
                    self.stamps.push((Instant::from_nanos(proof.stamp), proof.tag));
                }
            } else {
                self.outputs.push(output);
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += Duration::from_millis(1);
            self.input(Input::Turn { drained: true });
        }
    }

    fn receive(&mut self, session: [u8; 16], kind: Kind, proof: &Proof, body: &[u8]) {
        let header = Header {
            cluster: 10,
            source: NodeId(1),
            destination: NodeId(0),
            network: NetworkId(0),
            slot: 0,
            kind,
            session,
            counter: self.counter,
        };
        self.counter += 1;
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        proof.encode(&mut bytes);
        bytes.extend_from_slice(body);
        Key::derive(&KEY, &session, 10, NodeId(1)).seal(header.nonce(), HEADER_SIZE, &mut bytes);
        self.input(Input::Receive { network: NetworkId(0), bytes });
    }

    fn heartbeat(&mut self, session: [u8; 16], proof: &Proof) {
        let mut body = Vec::new();
        let row = NodeSet::EMPTY;
        let (name, report) = (crate::wire::report_name(b""), Some(&b""[..]));
        let heard = [NetworkId(0)].into_iter().collect();
        let evidence_age = None;
        Heartbeat {
            row,
            heard,
            loss: 0,
            jitter: 0,
            name,
            known: 0,
            watches: true,
            evidence_age,
            report,
        }
        .encode(&mut body);
        self.receive(session, Kind::Heartbeat, proof, &body);
    }

    /// A proof that echoes our newest stamp and knows everything.
    fn proof(&self) -> Proof {
        Proof {
            incarnation: Incarnation(3),
            stamp: self.now.as_nanos(),
            tag: tag(&OWN),
            channel: 5,
            known: self.channel,
            echo: self.stamps.last().map_or(0, |(stamp, _)| stamp.as_nanos()),
            held: 0,
        }
    }

    fn state(&self) -> PathState {
        self.transport.status().peers[0].paths[0].state
    }

    fn connect(&mut self) {
        for _ in 0..6 {
            self.pass(50);
            let proof = self.proof();
            self.heartbeat(PEER, &proof);
        }
        assert_eq!(self.transport.connected(NodeId(1)), Some(member(3)));
        self.outputs.clear();
    }

    /// What came of the last frame, besides heartbeats being passed on.
    fn outcome(&mut self) -> Vec<Output> {
        let mut outputs = core::mem::take(&mut self.outputs);
        outputs.retain(|output| !matches!(output, Output::Heard { .. }));
        outputs
    }

    fn count(&self, kind: Count) -> u64 {
        let counters = self.transport.status().counters;
        counters.into_iter().find(|counter| counter.kind == kind).expect("all are there").count
    }
}

fn member(incarnation: u64) -> Member {
    Member { node: NodeId(1), incarnation: Incarnation(incarnation) }
}

/// Ten heartbeats 20 ms apart, each with what `change` makes of a good proof.
fn state_after(change: impl Fn(&mut Proof, u64)) -> PathState {
    let mut scene = Scene::new();
    // One good frame makes the session current, so that only the path is in question.
    scene.pass(20);
    let proof = scene.proof();
    scene.heartbeat(PEER, &proof);
    for number in 0..10 {
        scene.pass(20);
        let mut proof = scene.proof();
        change(&mut proof, number);
        scene.heartbeat(PEER, &proof);
    }
    scene.state()
}

#[test]
fn only_different_recent_stamps_of_this_life_bring_a_path_alive() {
    assert_eq!(state_after(|_, _| {}), PathState::Alive);
    let first = STARTED.as_nanos() + 1_000_000;
    assert_eq!(state_after(|proof, _| proof.echo = first), PathState::Dead, "always the same");
    assert_eq!(state_after(|proof, _| proof.echo = 0), PathState::Dead, "no echo");
    assert_eq!(state_after(|proof, _| proof.tag = *b"else"), PathState::Dead, "another life");
    assert_eq!(
        state_after(|proof, number| proof.echo += 1_000_000_000 + number),
        PathState::Dead,
        "stamps of the future"
    );
}

#[test]
fn stamps_from_before_a_long_pause_prove_nothing() {
    let mut scene = Scene::new();
    for _ in 0..5 {
        scene.pass(20);
    }
    let stamps = scene.stamps.clone();
    assert!(stamps.len() >= 2);
    // The patient clock does not see the pause, so only the stamps' real age tells.
    scene.now += Duration::from_secs(10);
    for number in 0..5 {
        let mut proof = scene.proof();
        proof.echo = stamps[0].0.as_nanos() + number;
        scene.heartbeat(PEER, &proof);
    }
    assert_eq!(scene.transport.status().peers[0].incarnation, None, "nor a life");
    // One good echo makes the life count; the path wants two more.
    scene.pass(1);
    let proof = scene.proof();
    scene.heartbeat(PEER, &proof);
    scene.pass(20);
    scene.now += Duration::from_secs(10);
    for number in 1..6 {
        let mut old = scene.proof();
        old.echo = proof.echo + number;
        scene.heartbeat(PEER, &old);
    }
    assert_eq!(scene.transport.status().peers[0].incarnation, Some(Incarnation(3)));
    assert_eq!(scene.state(), PathState::Dead);
}

#[test]
fn after_a_link_came_down_only_newer_stamps_count() {
    let mut scene = Scene::new();
    scene.connect();
    scene.pass(1);
    let down = scene.now.as_nanos();
    scene.input(Input::Link { network: NetworkId(0), up: false });
    for number in 0..5 {
        let mut proof = scene.proof();
        proof.echo = down - 5 + number;
        scene.heartbeat(PEER, &proof);
    }
    assert_eq!(scene.state(), PathState::Dead);
    for _ in 0..4 {
        scene.pass(50);
        let proof = scene.proof();
        scene.heartbeat(PEER, &proof);
    }
    assert_eq!(scene.state(), PathState::Alive);
}

#[test]
fn a_peer_is_connected_only_when_both_ends_know_the_channel() {
    let mut scene = Scene::new();
    for _ in 0..6 {
        scene.pass(50);
        let proof = Proof { known: 0, ..scene.proof() };
        scene.heartbeat(PEER, &proof);
    }
    assert_eq!(scene.state(), PathState::Alive);
    assert_eq!(scene.transport.connected(NodeId(1)), None);
    let proof = scene.proof();
    scene.heartbeat(PEER, &proof);
    assert_eq!(scene.transport.connected(NodeId(1)), Some(member(3)));
}

#[test]
fn data_of_another_channel_or_life_is_not_delivered() {
    let mut scene = Scene::new();
    scene.connect();
    let data = || {
        let mut body = Vec::new();
        encode_acks(&[Ack::default(); 2], &mut body);
        let lane = Lane::Bulk;
        Item { lane, first: true, last: true, sequence: 0, piece: None, bytes: b"hello" }
            .encode(&mut body);
        body
    };
    let changes: [fn(&mut Proof); 4] = [
        |proof| proof.known += 1,
        |proof| proof.known -= 1,
        |proof| proof.channel -= 1,
        |proof| proof.tag = *b"else",
    ];
    for change in changes {
        let mut proof = scene.proof();
        change(&mut proof);
        let before = scene.count(Count::Surplus);
        scene.receive(PEER, Kind::Data, &proof, &data());
        assert_eq!(scene.outcome(), []);
        assert_eq!(scene.count(Count::Surplus), before + 1);
    }
    let proof = scene.proof();
    scene.receive(PEER, Kind::Data, &proof, &data());
    let message = b"hello".to_vec();
    assert_eq!(scene.outcome(), [Output::Message { from: member(3), lane: Lane::Bulk, message }]);
}

#[test]
fn a_new_end_of_the_channel_is_a_reset() {
    let mut scene = Scene::new();
    scene.connect();
    let proof = Proof { channel: 6, ..scene.proof() };
    scene.heartbeat(PEER, &proof);
    let peer = member(3);
    let expected = [Output::Lost { peer, why: LostReason::Reset }, Output::Connected { peer }];
    assert_eq!(scene.outcome(), expected);
    // The old end speaks no more.
    let proof = Proof { channel: 5, ..scene.proof() };
    scene.heartbeat(PEER, &proof);
    assert_eq!(scene.outcome(), []);
}

#[test]
fn fragments_that_make_no_message_and_acknowledgements_of_nothing_are_malformed() {
    let mut scene = Scene::new();
    scene.connect();
    let proof = scene.proof();
    let mut body = Vec::new();
    encode_acks(&[Ack { next: 1, map: [0; 4] }, Ack::default()], &mut body);
    scene.receive(PEER, Kind::Data, &proof, &body);
    assert_eq!((scene.outcome(), scene.count(Count::Malformed)), (vec![], 1));
    let mut body = Vec::new();
    encode_acks(&[Ack::default(), Ack { next: 0, map: [1, 0, 0, 0] }], &mut body);
    scene.receive(PEER, Kind::Data, &proof, &body);
    assert_eq!((scene.outcome(), scene.count(Count::Malformed)), (vec![], 2));
    let mut body = Vec::new();
    encode_acks(&[Ack::default(); 2], &mut body);
    let lane = Lane::Urgent;
    Item { lane, first: false, last: true, sequence: 0, piece: None, bytes: b"tail" }
        .encode(&mut body);
    scene.receive(PEER, Kind::Data, &proof, &body);
    let lost = Output::Lost { peer: member(3), why: LostReason::Reset };
    assert_eq!((scene.outcome(), scene.count(Count::Malformed)), (vec![lost], 3));
}

#[test]
fn heartbeats_echo_the_current_life_and_a_fresh_candidate_in_turn() {
    let mut scene = Scene::new();
    scene.connect();
    let proof = Proof { incarnation: Incarnation(4), echo: 0, ..scene.proof() };
    scene.heartbeat(NEXT, &proof);
    assert_eq!(scene.transport.status().peers[0].candidate, Some(Incarnation(4)));
    scene.stamps.clear();
    scene.pass(200);
    let tags: Vec<_> = scene.stamps.iter().map(|(_, tag)| *tag).collect();
    assert!(tags.len() >= 4);
    assert!(tags.windows(2).all(|pair| pair[0] != pair[1]), "{tags:?}");
    assert!(tags.iter().all(|to| *to == tag(&PEER) || *to == tag(&NEXT)));
    // It falls silent, and is forgotten.
    scene.pass(300);
    scene.stamps.clear();
    scene.pass(200);
    assert!(scene.stamps.iter().all(|(_, to)| *to == tag(&PEER)));
}

#[test]
fn a_candidate_gives_way_only_to_a_higher_one_while_it_is_fresh() {
    let mut scene = Scene::new();
    scene.pass(20);
    let proof = |scene: &Scene, incarnation| Proof {
        incarnation: Incarnation(incarnation),
        echo: 0,
        ..scene.proof()
    };
    let candidate = |scene: &Scene| scene.transport.status().peers[0].candidate;
    for (session, incarnation, expected) in
        [([1; 16], 5, 5), ([2; 16], 4, 5), ([3; 16], 5, 5), ([4; 16], 9, 9)]
    {
        let proof = proof(&scene, incarnation);
        scene.heartbeat(session, &proof);
        assert_eq!(candidate(&scene), Some(Incarnation(expected)));
    }
    scene.pass(300);
    let proof = proof(&scene, 1);
    scene.heartbeat([5; 16], &proof);
    assert_eq!(candidate(&scene), Some(Incarnation(1)));
}

#[test]
fn a_new_life_proves_its_paths_anew() {
    let mut scene = Scene::new();
    scene.connect();
    // The one before has missed two heartbeats.
    scene.pass(100);
    for number in 1..=3 {
        scene.pass(60);
        let proof = Proof { incarnation: Incarnation(4), known: scene.channel, ..scene.proof() };
        scene.heartbeat(NEXT, &proof);
        let expected = if number < 3 { PathState::Dead } else { PathState::Alive };
        assert_eq!(scene.state(), expected, "after {number} echoes");
    }
    let changes = scene.outcome();
    let lost = Output::Lost { peer: member(3), why: LostReason::Superseded };
    assert!(changes.contains(&lost), "{changes:?}");
    assert_eq!(scene.transport.connected(NodeId(1)), Some(member(4)));
}

#[test]
fn a_life_that_goes_on_is_not_followed_by_a_higher_one_which_is_a_twin() {
    let mut scene = Scene::new();
    scene.connect();
    scene.outputs.clear();
    let twin = |scene: &Scene| Proof { incarnation: Incarnation(4), ..scene.proof() };
    for number in 0..20 {
        scene.pass(30);
        let proof = scene.proof();
        scene.heartbeat(PEER, &proof);
        scene.pass(20);
        // It hears all that is said to the other one.
        let proof = twin(&scene);
        scene.heartbeat(NEXT, &proof);
        // The first one may be the next life of a peer that was just killed.
        assert_eq!(scene.count(Count::DuplicateNodeId), number, "after {number}");
    }
    assert_eq!(scene.transport.connected(NodeId(1)), Some(member(3)));
    let lost = |output: &Output| matches!(output, Output::Lost { .. });
    assert!(!scene.outputs.iter().any(lost), "{:?}", scene.outputs);
    // Nothing is echoed to a twin.
    scene.stamps.clear();
    scene.pass(50);
    assert!(scene.stamps.iter().all(|(_, to)| *to == tag(&PEER)), "{:?}", scene.stamps);
    // When the one that was here first is gone, it may be a restart after all.
    for _ in 0..8 {
        scene.pass(60);
        let proof = Proof { known: scene.channel, ..twin(&scene) };
        scene.heartbeat(NEXT, &proof);
    }
    assert_eq!(scene.transport.connected(NodeId(1)), Some(member(4)));
}

#[test]
fn stamps_of_a_life_that_ended_just_before_prove_nothing() {
    let mut scene = Scene::new();
    for number in 0..5 {
        scene.pass(10);
        let mut proof = scene.proof();
        proof.echo = STARTED.as_nanos() - 10 + number;
        scene.heartbeat(PEER, &proof);
    }
    assert_eq!(scene.transport.status().peers[0].incarnation, None);
}

#[test]
fn silence_is_noticed_when_it_has_lasted_long_enough_and_not_a_turn_later() {
    let mut scene = Scene::new();
    scene.connect();
    let silent_since = scene.now;
    let lost = Output::Lost { peer: member(3), why: LostReason::Silent };
    while !scene.outcome().contains(&lost) {
        scene.now = scene.transport.deadline().expect("there is a peer").0.max(scene.now);
        scene.input(Input::Turn { drained: true });
        assert!(scene.now.since(silent_since) < Duration::from_secs(1));
    }
    let took = scene.now.since(silent_since);
    // The patient clock stands at the turn before the last frame, one millisecond back at most.
    let timeout = Preset::Fast.timing().path_timeout;
    assert!(took + Duration::from_millis(1) >= timeout, "{took:?}");
    assert!(took <= timeout + Duration::from_micros(1), "{took:?}");
}

#[test]
fn an_echo_counts_only_with_the_report_of_its_sender() {
    let mut scene = Scene::new();
    scene.connect();
    let told = |scene: &mut Scene, stamp: u64, name: u32, report: Option<&[u8]>| {
        scene.pass(60);
        scene.outputs.clear();
        let proof = Proof { stamp, ..scene.proof() };
        let mut body = Vec::new();
        let heard = [NetworkId(0)].into_iter().collect();
        let row = NodeSet::EMPTY;
        let evidence_age = None;
        Heartbeat {
            row,
            heard,
            loss: 0,
            jitter: 0,
            name,
            known: 0,
            watches: true,
            evidence_age,
            report,
        }
        .encode(&mut body);
        scene.receive(PEER, Kind::Heartbeat, &proof, &body);
        let echoed = |output: &Output| match output {
            Output::Heard { echo, .. } => Some(echo.is_some()),
            _ => None,
        };
        scene.outputs.iter().find_map(echoed).expect("it is authentic")
    };
    let name = crate::wire::report_name;
    let (member, sealed) = (&b"member"[..], &b"sealed"[..]);
    assert!(told(&mut scene, 1 << 62, name(member), Some(member)));
    assert!(told(&mut scene, (1 << 62) + 1, name(member), None), "the known report is left out");
    assert!(!told(&mut scene, (1 << 62) + 2, name(sealed), None), "its new one is not here yet");
    assert!(told(&mut scene, (1 << 62) + 3, name(sealed), Some(sealed)));
    // The report of before comes late, over a slow path.
    assert!(!told(&mut scene, (1 << 62) + 1, name(member), Some(member)));
    assert_eq!(scene.transport.report(NodeId(1)), Some(sealed));
    assert!(told(&mut scene, (1 << 62) + 4, name(sealed), None));
}
