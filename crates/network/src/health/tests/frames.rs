//! Bytes from outside.

use base::{NodeSet, Prng};

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn all() -> Vec<Frame> {
    let asked: NodeSet = [NodeId(0), NodeId(127)].into_iter().collect();
    let answer = Says::Answer { to: station(0, 3), heard: vec![2, 3] };
    vec![
        frame(5, Says::Notice),
        frame(6, Says::Poll(NodeSet::EMPTY)),
        frame(7, Says::Poll(asked)),
        frame(8, answer),
    ]
}

#[test]
fn frames_are_these_bytes() {
    let head = |kind: &str, sequence: &str| {
        let from = "01".to_owned() + "00000002" + "020000000100";
        "01".to_owned() + kind + "00000007" + "0000" + &from + "0000000000000064" + sequence
    };
    let encoded: Vec<String> = all().iter().map(|frame| hex(&frame.encode())).collect();
    assert_eq!(encoded[0], head("01", "00000005"));
    assert_eq!(encoded[1], head("02", "00000006") + &"0".repeat(32));
    assert_eq!(encoded[2], head("02", "00000007") + "80000000000000000000000000000001");
    assert_eq!(encoded[3], head("03", "00000008") + "00" + "00000003" + "02" + "0000000200000003");
}

#[test]
fn frames_go_through_and_others_do_not() {
    for frame in all() {
        let bytes = frame.encode();
        assert_eq!(Frame::decode(&bytes), Ok(frame));
        for length in 0..bytes.len() {
            assert!(Frame::decode(&bytes[..length]).is_err());
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Frame::decode(&longer).is_err());
        let change = |at: usize, byte: u8| {
            let mut changed = bytes.clone();
            changed[at] = byte;
            Frame::decode(&changed)
        };
        assert!(change(0, 2).is_err(), "another version");
        assert!(change(1, 9).is_err(), "an unknown kind");
        assert!(change(8, 128).is_err(), "no such node");
        assert!(change(13, 3).is_err(), "many stations");
    }
    let mut many = frame(1, Says::Answer { to: station(0, 2), heard: vec![7; CARDS_MAX] }).encode();
    many[36] = CARDS_MAX as u8 + 1;
    many.extend([0; 4]);
    assert!(Frame::decode(&many).is_err(), "more cards than a node has");
}

#[test]
fn no_bytes_make_it_panic() {
    let mut prng = Prng::new(3);
    let mut world = World::settled(&[2, 1], Detection::InOnlyOrInOut);
    for turn in 0..40_000_u32 {
        let mut bytes = all()[prng.range(0..=3) as usize].encode();
        for _ in 0..prng.range(0..=3) {
            let at = prng.range(0..=bytes.len() as u64 - 1) as usize;
            bytes[at] = prng.next_u64() as u8;
        }
        if prng.chance(1, 8) {
            bytes.truncate(prng.range(0..=bytes.len() as u64 - 1) as usize);
        }
        let interface = prng.range(1..=4) as u32;
        world.feed(0, Input::Frame { interface, bytes });
        if turn % 100 == 0 {
            world.pass(LOOK);
        }
    }
    let status = world.status(0);
    assert!(status.counters.malformed > 1_000, "{:?}", status.counters);
    assert!(status.nets[0].remotes.len() <= 512, "bounded");
}

#[test]
fn what_is_of_no_use_is_counted_by_kind() {
    let mut world = World::settled(&[2, 1], Detection::InOut);
    let before = world.status(0).counters;
    let mut hear = |interface: u32, frame: &Frame| {
        world.feed(0, Input::Frame { interface, bytes: frame.encode() });
    };
    let notice = frame(900, Says::Notice);
    hear(2, &Frame { cluster: 8, ..notice.clone() });
    hear(99, &notice);
    hear(2, &Frame { net: NetworkId(4), ..notice.clone() });
    hear(3, &Frame { from: station(0, 3), ..notice.clone() });
    // Of this node, of a round that is over, and of another life.
    hear(2, &Frame { from: station(0, 3), ..frame(1, Says::Notice) });
    hear(2, &Frame { from: station(0, 3), life: 99, ..notice.clone() });
    // A second time, and one from before.
    hear(2, &notice);
    hear(2, &notice);
    hear(2, &frame(3, Says::Notice));
    // An answer to a poll of long ago, and to somebody else.
    hear(2, &frame(1, Says::Answer { to: station(0, 2), heard: vec![2] }));
    hear(3, &frame(4, Says::Answer { to: station(0, 2), heard: vec![2] }));
    let after = world.status(0).counters;
    assert_eq!(after.foreign - before.foreign, 2);
    assert_eq!(after.misplaced - before.misplaced, 1);
    assert_eq!(after.reflected - before.reflected, 1);
    assert_eq!(after.stale - before.stale, 6);
    assert_eq!(after.malformed, before.malformed);
    assert_eq!(world.status(0).nets[0].cards[0].misplaced, Some(NetworkId(4)));
}

#[test]
fn replayed_frames_keep_no_dead_card_alive() {
    let mut world = World::settled(&[2], Detection::InOut);
    world.noise = true;
    // All that the primary says now is recorded, and said again for ever.
    let old: Vec<Vec<u8>> = (1..=8)
        .map(|sequence| {
            let from = station(0, 2);
            Frame { from, mac: [2, 0, 0, 0, 0, 0], ..frame(sequence, Says::Notice) }.encode()
        })
        .collect();
    world.rounds(8);
    world.said(0);
    world.kill(0, 0);
    for _ in 0..POLLS + 1 {
        for bytes in &old {
            world.feed(0, Input::Frame { interface: 3, bytes: bytes.clone() });
        }
        world.rounds(1);
    }
    assert_eq!(world.said(0), [("eth0".to_owned(), down(Fault::NoTraffic))]);
}

#[test]
fn polls_that_ask_others_are_not_answered() {
    let mut world = World::settled(&[1, 1], Detection::InOut);
    let before = world.status(0).counters.answered;
    let others: NodeSet = [NodeId(5)].into_iter().collect();
    world.feed(0, Input::Frame { interface: 2, bytes: frame(900, Says::Poll(others)).encode() });
    assert_eq!(world.status(0).counters.answered, before);
    let us: NodeSet = [NodeId(0)].into_iter().collect();
    world.feed(0, Input::Frame { interface: 2, bytes: frame(901, Says::Poll(us)).encode() });
    assert_eq!(world.status(0).counters.answered, before + 1);
}
