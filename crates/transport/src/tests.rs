mod cost;
mod forged;
mod shared;

use core::time::Duration;

use base::codec::{Malformed, Reader};
use base::limits::{HEARTBEAT_SIZE_MAX, MESSAGE_SIZE_MAX, REPORT_SIZE_MAX};
use base::{Incarnation, Instant, Medium, NetworkId, NodeId, NodeSet, Preset, Prng};

use crate::config::{Config, Heartbeats, Input, Lane, PathConfig, PeerConfig, Priority};
use crate::fragment::{Incoming, Taken};
use crate::seal::{Key, TAG_SIZE};
use crate::session::{REPLAY_WINDOW, STRANGERS_MAX, Window};
use crate::stats::{Count, Meter, WorstGap};
use crate::wire::{
    Ack, Data, FRAGMENT_SIZE_MAX, HEADER_SIZE, Header, HeaderError, Heard, Heartbeat, Item, Kind,
    PIECE_SIZE_MAX, PROOF_SIZE, Piece, Proof, SMALL_DATAGRAM_SIZE_MAX, WINDOW_FRAGMENTS,
    encode_acks, report_name,
};
use crate::{Output, Transport};

fn header() -> Header {
    Header {
        cluster: 0x0102_0304,
        source: NodeId(5),
        destination: NodeId(6),
        network: NetworkId(0x0708),
        slot: 1,
        kind: Kind::Data,
        session: *b"sixteen bytes ok",
        counter: 0x1122_3344_5566_7788,
    }
}

fn proof() -> Proof {
    Proof {
        incarnation: Incarnation(0x0a0b_0c0d),
        stamp: 0x1000_0000_0000_0001,
        tag: *b"peer",
        channel: 2,
        known: 3,
        echo: 0x2000_0000_0000_0002,
        held: 0x0403_0201,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_clear_header_has_these_bytes() {
    let mut bytes = Vec::new();
    header().encode(&mut bytes);
    assert_eq!(
        hex(&bytes),
        "4d530101010203040506070801020000\
         7369787465656e206279746573206f6b\
         1122334455667788"
    );
    assert_eq!(bytes.len(), HEADER_SIZE);
    assert_eq!(Header::decode(&bytes), Err(HeaderError::Malformed), "no body");
    bytes.resize(HEADER_SIZE + PROOF_SIZE + TAG_SIZE, 0);
    assert_eq!(Header::decode(&bytes), Ok(header()));
    assert_eq!(hex(&header().nonce()), "000607081122334455667788");
    let goodbye = Header { kind: Kind::Goodbye, ..header() };
    assert_eq!(hex(&goodbye.nonce()), "010607081122334455667788");
    for (place, value, error) in [
        (0, b'X', HeaderError::Malformed),
        (2, 2, HeaderError::Malformed),
        (3, 0, HeaderError::Malformed),
        (12, 2, HeaderError::Malformed),
        (13, 9, HeaderError::Malformed),
        (14, 1, HeaderError::Malformed),
    ] {
        let mut bytes = bytes.clone();
        bytes[place] = value;
        assert_eq!(Header::decode(&bytes), Err(error), "byte {place}");
    }
    bytes[2..4].copy_from_slice(&[2, 3]);
    assert_eq!(Header::decode(&bytes), Err(HeaderError::Version));
    bytes[2..4].copy_from_slice(&[0, 0]);
    assert_eq!(Header::decode(&bytes), Err(HeaderError::Version));
    bytes[2..4].copy_from_slice(&[0, 9]);
    assert_eq!(Header::decode(&bytes), Ok(header()), "versions overlap");
}

#[test]
fn a_heartbeat_has_these_bytes() {
    let heartbeat = Heartbeat {
        row: [NodeId(0), NodeId(127)].into_iter().collect(),
        heard: [NetworkId(2), NetworkId(0x0304)].into_iter().collect(),
        loss: 1000,
        jitter: 0x0001_0203,
        name: report_name(b"ok"),
        known: 0x0405_0607,
        watches: true,
        evidence_age: Some(core::time::Duration::from_micros(0x0607_0809)),
        report: Some(b"ok"),
    };
    let mut bytes = Vec::new();
    proof().encode(&mut bytes);
    heartbeat.encode(&mut bytes);
    assert_eq!(
        hex(&bytes),
        "000000000a0b0c0d10000000000000017065657200000002000000032000000000000002\
         04030201\
         80000000000000000000000000000001\
         03e800010203\
         663437af040506070607080901\
         0200020304\
         0002\
         6f6b"
    );
    let mut reader = Reader::new(&bytes);
    assert_eq!(Proof::decode(&mut reader), Ok(proof()));
    assert_eq!(Heartbeat::decode(reader), Ok(heartbeat));
    for end in 0..bytes.len() {
        let mut reader = Reader::new(&bytes[..end]);
        let decoded = Proof::decode(&mut reader).and_then(|_| Heartbeat::decode(reader));
        assert_eq!(decoded, Err(Malformed), "cut to {end}");
    }
    bytes.push(0);
    assert_eq!(Heartbeat::decode(Reader::new(&bytes[PROOF_SIZE..])), Err(Malformed));
    let misnamed = Heartbeat { name: 1, ..heartbeat };
    assert_eq!(decoded(&misnamed), Err(Malformed));
    let short = Heartbeat { name: 1, report: None, ..heartbeat };
    assert_eq!(decoded(&short), Ok(short));
}

fn decoded<'a>(heartbeat: &Heartbeat<'a>) -> Result<Heartbeat<'a>, Malformed> {
    let mut bytes = Vec::new();
    heartbeat.encode(&mut bytes);
    Heartbeat::decode(Reader::new(bytes.leak()))
}

#[test]
fn a_data_body_has_these_bytes() {
    let acks = [Ack { next: 5, map: [0; 4] }, Ack { next: 0x0100, map: [0b101, 0, 0, 1 << 63] }];
    let items = [
        Item {
            lane: Lane::Bulk,
            first: true,
            last: false,
            sequence: 9,
            piece: None,
            bytes: b"abc",
        },
        Item { lane: Lane::Urgent, first: false, last: true, sequence: 1, piece: None, bytes: b"" },
    ];
    let mut bytes = Vec::new();
    encode_acks(&acks, &mut bytes);
    items.iter().for_each(|item| item.encode(&mut bytes));
    assert_eq!(
        hex(&bytes),
        "02\
         00000000000000050000000000000100\
         0000000000000005000000000000000000000000000000008000000000000000\
         030000000000000009000361626304000000000000000100\
         00"
    );
    let data = Data::decode(Reader::new(&bytes)).expect("it is whole");
    assert_eq!(data.acks, acks);
    assert!(data.items().eq(items));
    assert!(acks[1].beyond().eq([0x101, 0x103, 0x100 + 1 + 255]));
    assert_eq!(acks[0].beyond().count(), 0);
    bytes.push(0);
    assert!(Data::decode(Reader::new(&bytes)).is_err());
}

#[test]
fn a_piece_of_a_fragment_has_these_bytes_and_no_other_cuts() {
    let whole: Vec<u8> = (0..FRAGMENT_SIZE_MAX).map(|place| place as u8).collect();
    let item = |place| {
        let piece = Piece { place, whole: whole.len() };
        let bytes = &whole[piece.range()];
        Item { lane: Lane::Bulk, first: true, last: false, sequence: 9, piece: Some(piece), bytes }
    };
    let encode = |item: &Item<'_>| {
        let mut bytes = Vec::new();
        encode_acks(&[Ack::default(); 2], &mut bytes);
        item.encode(&mut bytes);
        bytes
    };
    let bytes = encode(&item(1));
    assert_eq!(hex(&bytes[17..33]), "0b00000000000000090164016403f464");
    assert_eq!(PIECE_SIZE_MAX, 0x164);
    for place in 0..3 {
        let bytes = encode(&item(place));
        let size = HEADER_SIZE + PROOF_SIZE + bytes.len() + 64 + TAG_SIZE;
        assert!(size <= SMALL_DATAGRAM_SIZE_MAX, "with both maps {size} bytes");
        assert!(Data::decode(Reader::new(&bytes)).expect("it is whole").items().eq([item(place)]));
    }
    for (at, value) in [(28, 0), (28, 0x63), (28, 0xff), (30, 0), (31, 0xff), (27, 0x63)] {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        assert!(Data::decode(Reader::new(&bytes)).is_err(), "byte {at} is {value}");
    }
    // Pieces in any order, twice, and with the whole fragment among them.
    let mut incoming = Incoming::default();
    let nothing = |_| panic!("nothing is complete");
    assert_eq!(incoming.take(&item(2), nothing), Ok(Taken::New));
    assert_eq!(incoming.take(&item(2), nothing), Ok(Taken::Again));
    assert_eq!(incoming.take(&item(0), nothing), Ok(Taken::New));
    assert_eq!(incoming.ack(), Ack::default());
    let other = Item { piece: Some(Piece { place: 0, whole: 700 }), ..item(0) };
    assert_eq!(incoming.take(&other, nothing), Err(Malformed), "another length");
    for sequence in 0..9 {
        let item = Item { sequence, first: sequence == 0, piece: None, ..item(0) };
        assert_eq!(incoming.take(&item, nothing), Ok(Taken::New));
    }
    let mut delivered = Vec::new();
    let last = Item { first: false, last: true, ..item(1) };
    assert_eq!(incoming.take(&last, |message| delivered.push(message)), Ok(Taken::New));
    assert_eq!(delivered, [[&whole[..PIECE_SIZE_MAX].repeat(9)[..], &whole].concat()]);
    assert_eq!(incoming.take(&last, nothing), Ok(Taken::Again));
}

#[test]
fn a_sealed_frame_has_these_bytes_and_opens_with_its_key_only() {
    let key = Key::derive(&[1; 32], b"sixteen bytes ok", 10, NodeId(5));
    let mut frame = Vec::new();
    header().encode(&mut frame);
    frame.extend_from_slice(b"body");
    let clear = frame.clone();
    key.seal(header().nonce(), HEADER_SIZE, &mut frame);
    assert_eq!(frame[..HEADER_SIZE], clear[..HEADER_SIZE]);
    assert_eq!(hex(&frame[HEADER_SIZE..]), "fd1c856a572005ed1b4c8b65eed77ae8fd0435f3");
    let open = |key: &Key, nonce| {
        let mut frame = frame.clone();
        key.open(nonce, HEADER_SIZE, &mut frame).map(<[u8]>::to_vec)
    };
    assert_eq!(open(&key, header().nonce()).as_deref(), Some(&b"body"[..]));
    let other = Header { counter: 0, ..header() };
    assert_eq!(open(&key, other.nonce()), None);
    for (cluster_key, session, cluster, node) in [
        ([2; 32], b"sixteen bytes ok", 10, 5),
        ([1; 32], b"sixteen bytes no", 10, 5),
        ([1; 32], b"sixteen bytes ok", 11, 5),
        ([1; 32], b"sixteen bytes ok", 10, 6),
    ] {
        let other = Key::derive(&cluster_key, session, cluster, NodeId(node));
        assert_eq!(open(&other, header().nonce()), None);
    }
}

#[test]
fn random_bytes_never_upset_the_decoders() {
    let mut prng = Prng::new(1);
    for _ in 0..20_000 {
        let length = prng.range(0..=120) as usize;
        // Small numbers make flags and lengths plausible more often.
        let most = if prng.chance(1, 2) { 5 } else { 255 };
        let bytes: Vec<u8> = (0..length).map(|_| prng.range(0..=most) as u8).collect();
        if let Ok(data) = Data::decode(Reader::new(&bytes)) {
            let used = data.items().map(|item| Item::size(item.bytes.len())).sum::<usize>();
            assert!(used <= bytes.len());
        }
        if let Ok(heartbeat) = Heartbeat::decode(Reader::new(&bytes)) {
            let mut again = Vec::new();
            heartbeat.encode(&mut again);
            assert_eq!(again, bytes);
        }
    }
}

#[test]
fn the_replay_window_agrees_with_a_set() {
    for seed in 0..20 {
        let mut prng = Prng::new(seed);
        let mut window = Window::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut highest = 0_u64;
        for _ in 0..5_000 {
            let counter = match prng.range(0..=20) {
                0 => highest + prng.range(0..=5_000),
                1..=10 => highest + prng.range(0..=3),
                _ => highest.saturating_sub(prng.range(0..=3_000)),
            };
            let is_late = counter + REPLAY_WINDOW < highest;
            let is_recent = counter + REPLAY_WINDOW - 64 > highest;
            let is_new = window.is_new(counter);
            assert!(!(is_new && (is_late || seen.contains(&counter))), "{counter} of {highest}");
            assert!(is_new || !is_recent || seen.contains(&counter), "{counter} of {highest}");
            if is_new {
                window.insert(counter);
                seen.insert(counter);
                highest = highest.max(counter);
            }
        }
    }
    assert!(!Window::new().is_new(u64::MAX));
}

#[test]
fn fragments_in_any_order_make_the_messages_in_order() {
    for seed in 0..50 {
        let mut prng = Prng::new(seed);
        let messages: Vec<Vec<u8>> =
            (0..30_u8).map(|number| vec![number; prng.range(0..=9) as usize]).collect();
        // One fragment for every three bytes.
        let mut fragments = Vec::new();
        for message in &messages {
            let count = message.len().div_ceil(3).max(1);
            for piece in 0..count {
                let bytes = &message[piece * 3..message.len().min(piece * 3 + 3)];
                fragments.push((piece == 0, piece + 1 == count, bytes));
            }
        }
        let mut incoming = Incoming::default();
        let mut delivered = Vec::new();
        while delivered.len() < messages.len() {
            let sequence = prng.range(0..=fragments.len() as u64 - 1);
            let (first, last, bytes) = fragments[sequence as usize];
            let item = Item { lane: Lane::Bulk, first, last, sequence, piece: None, bytes };
            let before = incoming.ack();
            let has = sequence < before.next || before.beyond().any(|has| has == sequence);
            let taken = incoming.take(&item, |message| delivered.push(message));
            assert_eq!(taken, Ok(if has { Taken::Again } else { Taken::New }));
        }
        assert_eq!(delivered, messages);
        assert_eq!(incoming.ack(), Ack { next: fragments.len() as u64, map: [0; 4] });
    }
}

#[test]
fn what_a_lane_holds_is_bounded() {
    let item = |sequence, first, last, bytes| Item {
        lane: Lane::Urgent,
        first,
        last,
        sequence,
        piece: None,
        bytes,
    };
    let mut incoming = Incoming::default();
    let nothing = |_| panic!("nothing is complete");
    let beyond = item(WINDOW_FRAGMENTS, true, true, b"");
    assert_eq!(incoming.take(&beyond, nothing), Ok(Taken::Beyond));
    let just = item(WINDOW_FRAGMENTS - 1, true, true, b"");
    assert_eq!(incoming.take(&just, nothing), Ok(Taken::New));
    assert!(incoming.ack().beyond().eq([WINDOW_FRAGMENTS - 1]));
    // A message without end, one without beginning, two beginnings.
    let mut incoming = Incoming::default();
    let piece = [0; FRAGMENT_SIZE_MAX];
    let most = (MESSAGE_SIZE_MAX / FRAGMENT_SIZE_MAX) as u64;
    for sequence in 0..most {
        let taken = incoming.take(&item(sequence, sequence == 0, false, &piece), nothing);
        assert_eq!(taken, Ok(Taken::New));
    }
    assert_eq!(incoming.take(&item(most, false, false, &piece), nothing), Err(Malformed));
    let mut incoming = Incoming::default();
    assert_eq!(incoming.take(&item(0, false, true, b""), nothing), Err(Malformed));
    let mut incoming = Incoming::default();
    assert_eq!(incoming.take(&item(0, true, false, b""), nothing), Ok(Taken::New));
    assert_eq!(incoming.take(&item(1, true, false, b""), nothing), Err(Malformed));
}

#[test]
fn loss_and_jitter_are_what_was_done_to_the_frames() {
    let mut prng = Prng::new(3);
    let mut meter = Meter::default();
    let mut now = Instant::from_millis(1_000);
    for counter in 0..20_000_u64 {
        now += Duration::from_millis(50);
        let stamp = now.as_nanos().wrapping_sub(999_999_999_999);
        if prng.chance(1, 4) {
            continue;
        }
        let delay = prng.duration(Duration::ZERO..=Duration::from_millis(3));
        meter.received(now + delay, counter, stamp);
    }
    assert!((150..=350).contains(&meter.quality.loss_permille), "{:?}", meter.quality);
    // The mean difference of two even draws of 0 to 3 ms is 1 ms.
    assert!((600..=1_400).contains(&meter.quality.jitter), "{:?}", meter.quality);
}

#[test]
fn the_worst_gap_is_forgotten_after_a_minute() {
    let mut gaps = WorstGap::default();
    gaps.add(Instant::from_millis(100_000), Duration::from_secs(7));
    gaps.add(Instant::from_millis(130_000), Duration::from_secs(1));
    gaps.add(Instant::from_millis(155_000), Duration::from_millis(5));
    assert_eq!(gaps.worst(), Duration::from_secs(7));
    gaps.add(Instant::from_millis(165_000), Duration::from_millis(5));
    assert_eq!(gaps.worst(), Duration::from_secs(1));
    gaps.add(Instant::from_millis(999_000), Duration::from_millis(5));
    assert_eq!(gaps.worst(), Duration::from_millis(5));
}

#[test]
fn sessions_that_nobody_knows_are_bounded() {
    let now = Instant::from_millis(1);
    let peer = PeerConfig {
        node: NodeId(5),
        paths: vec![PathConfig {
            network: NetworkId(0x0708),
            medium: Medium::Network,
            priority: Priority::High,
            ring: None,
            heartbeats: Heartbeats::Each,
        }],
    };
    let config = Config {
        local: NodeId(6),
        incarnation: Incarnation(1),
        session: [1; 16],
        cluster: 10,
        keys: [Some([1; 32]), Some([2; 32])],
        active_key: 0,
        timing: Preset::Fast.timing(),
        peers: vec![peer],
    };
    assert!(!format!("{config:?}").contains("keys"), "keys are never printed");
    let mut transport = Transport::new(config, Prng::new(1), now);
    for number in 0..1_000_u64 {
        let mut session = [0; 16];
        session[8..].copy_from_slice(&number.to_be_bytes());
        let mut bytes = Vec::new();
        Header { cluster: 10, session, counter: number, ..header() }.encode(&mut bytes);
        bytes.resize(200, 0);
        transport.handle(now, Input::Receive { network: NetworkId(0x0708), bytes });
        assert_eq!(transport.poll_output(), None);
    }
    assert_eq!(transport.local.strangers(), STRANGERS_MAX);
    let status = transport.status();
    let counters = &status.peers[0].paths[0].counters;
    assert_eq!(counters.len(), 1);
    assert_eq!((counters[0].kind, counters[0].count), (Count::WrongKey, 1_000));
}

#[test]
fn the_longest_report_fits_a_heartbeat() {
    let now = Instant::from_millis(1);
    let path = PathConfig {
        network: NetworkId(0),
        medium: Medium::Network,
        priority: Priority::High,
        ring: None,
        heartbeats: Heartbeats::Each,
    };
    let config = Config {
        local: NodeId(0),
        incarnation: Incarnation(1),
        session: [1; 16],
        cluster: 10,
        keys: [None, Some([2; 32])],
        active_key: 1,
        timing: Preset::Fast.timing(),
        peers: vec![PeerConfig { node: NodeId(1), paths: vec![path] }],
    };
    let mut transport = Transport::new(config, Prng::new(1), now);
    transport.set_report(&[1; REPORT_SIZE_MAX]);
    transport.handle(now, Input::Turn { drained: true });
    let Some(Output::Transmit { bytes, .. }) = transport.poll_output() else {
        panic!("a heartbeat is due at once");
    };
    assert!(bytes.len() <= HEARTBEAT_SIZE_MAX);
    let header = Header::decode(&bytes).expect("our own header");
    let key = Key::derive(&[2; 32], &[1; 16], 10, NodeId(0));
    let mut bytes = bytes;
    let plain = key.open(header.nonce(), HEADER_SIZE, &mut bytes).expect("our own key");
    let mut reader = Reader::new(plain);
    let proof = Proof::decode(&mut reader).expect("our own proof");
    assert_eq!((proof.incarnation, proof.stamp, proof.echo), (Incarnation(1), 1_000_000, 0));
    let heartbeat = Heartbeat::decode(reader).expect("our own heartbeat");
    assert_eq!(heartbeat.report.map(<[u8]>::len), Some(REPORT_SIZE_MAX));
    assert_eq!((heartbeat.row, heartbeat.heard), (NodeSet::EMPTY, Heard::default()));
}
