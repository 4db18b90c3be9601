use std::time::Duration;

use base::{Instant, Medium, NetworkId, NodeId};
use transport::PathId;

use super::respond::{ANSWERS_PER_SECOND, Responder, TALLIES_PER_SECOND};
use super::test::{Hint, PathTest, Plan, Seen, Stopped};
use super::wire::{Body, Flags, Key, Probe, SIZE_MIN, is_probe};
use super::words::{Facts, findings};

fn probe() -> Probe {
    Probe {
        cluster: 10,
        source: NodeId(1),
        destination: NodeId(2),
        network: NetworkId(3),
        is_answer: false,
        body: Body {
            run: 0x0102_0304_0506_0708,
            sequence: 9,
            stamp: 77,
            want: 1_200,
            flags: Flags::COUNTS.with(Flags::WHOLE),
            got: 5,
            answered: 4,
            largest: 1_472,
        },
    }
}

#[test]
fn what_was_sealed_is_opened_at_any_size() {
    let key = Key::of_cluster(&[7; 32]);
    for size in [0, SIZE_MIN, 500, 1_200, 60_000] {
        let bytes = key.seal(&probe(), size, [3; 12]);
        assert_eq!(bytes.len(), size.max(SIZE_MIN));
        assert!(is_probe(&bytes));
        assert!(!transport::is_pressing(&bytes), "heartbeats go first");
        assert_eq!(transport::network_of(&bytes), Some(NetworkId(3)));
        assert_eq!(key.open(&bytes), Ok(probe()));
    }
    let bytes = key.seal(&probe(), 0, [3; 12]);
    assert!(Key::of_cluster(&[8; 32]).open(&bytes).is_err(), "another cluster's key");
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        assert!(key.open(&changed).is_err(), "byte {place} is authenticated");
        assert!(key.open(&bytes[..place]).is_err());
    }
}

/// A path between a test and a responder: what gets through is up to the closures.
struct Way<'a> {
    there: &'a dyn Fn(usize, bool, u32) -> bool,
    back: &'a dyn Fn(usize, bool, u32) -> bool,
    /// The tally goes over another path.
    other: bool,
    mtu: usize,
}

fn run(way: &Way<'_>, count: u16) -> (Seen, Duration) {
    let path = PathId { peer: NodeId(2), network: NetworkId(0) };
    let start = Instant::from_nanos(1_000_000_000);
    let mut now = start;
    let mut test = PathTest::new(path, 1, Plan::new(Medium::Network, true, count), now);
    let mut responder = Responder::default();
    while test.result().is_none() {
        test.tick(now);
        let mut sends = test.take();
        while !sends.is_empty() {
            for send in sends {
                if send.whole && send.size > way.mtu {
                    test.stopped(now, &send.body, Stopped::TooLarge);
                    continue;
                }
                let goes = |over: &dyn Fn(usize, bool, u32) -> bool, size, whole| {
                    (send.everywhere && way.other) || over(size, whole, send.body.sequence)
                };
                if !goes(way.there, send.size, send.whole) {
                    continue;
                }
                let answer = responder.ask(now, NodeId(1), &send.body, send.size);
                let Some(answer) = answer else { continue };
                let mut body = answer.body;
                let mut size = answer.size;
                if answer.whole && size > way.mtu {
                    (body.flags, size) = (body.flags.with(Flags::TOO_LARGE), SIZE_MIN);
                }
                if goes(way.back, size, answer.whole) {
                    test.answer(now + Duration::from_micros(300), &body, size);
                }
            }
            test.tick(now);
            sends = test.take();
        }
        now = now.max(test.deadline().unwrap_or(now));
    }
    (test.result().expect("it is over").clone(), now.since(start))
}

const ALL: &dyn Fn(usize, bool, u32) -> bool = &|_, _, _| true;
const NONE: &dyn Fn(usize, bool, u32) -> bool = &|_, _, _| false;

fn facts() -> Facts {
    Facts {
        peer: "n2".into(),
        local: "10.0.0.1:7420".into(),
        remote: "10.0.0.2:7420".into(),
        headers: Some(28),
        search: 9_216,
        link_up: true,
        mtu: Some(1_500),
        ..Facts::default()
    }
}

fn says(seen: &Seen, words: &str) {
    let found = findings(seen, &facts());
    assert!(found.iter().any(|one| one.contains(words)), "{words} is missing in {found:#?}");
}

#[test]
fn a_good_path_has_figures_and_no_findings() {
    let (seen, took) = run(&Way { there: ALL, back: ALL, other: true, mtu: 1_472 }, 20);
    assert_eq!((seen.sent, seen.arrived_there, seen.arrived_here), (20, Some(20), 20));
    assert_eq!((seen.short, seen.full), ([10, 10], [10, 10]));
    assert_eq!((seen.largest_there, seen.largest_here), (Some(1_472), Some(1_472)));
    assert_eq!(seen.trips, [300, 6_000, 300]);
    assert_eq!(findings(&seen, &facts()), Vec::<String>::new());
    assert!(took < Duration::from_secs(2), "it does not wait for what has come: {took:?}");
}

#[test]
fn loss_is_told_apart_by_direction() {
    let even: &dyn Fn(usize, bool, u32) -> bool = &|_, _, sequence| sequence % 4 != 0;
    let (seen, _) = run(&Way { there: even, back: ALL, other: true, mtu: 1_472 }, 20);
    assert_eq!((seen.sent, seen.arrived_there, seen.arrived_here), (20, Some(15), 15));
    says(&seen, "5 of 20 are lost on the way to n2");
    let (seen, _) = run(&Way { there: ALL, back: even, other: true, mtu: 1_472 }, 20);
    assert_eq!((seen.sent, seen.arrived_there, seen.arrived_here), (20, Some(20), 15));
    says(&seen, "5 of 20 answers are lost on the way back");
}

#[test]
fn a_cut_direction_is_named_when_another_path_works() {
    let (seen, _) = run(&Way { there: NONE, back: ALL, other: true, mtu: 1_472 }, 10);
    assert_eq!((seen.arrived_there, seen.arrived_here), (Some(0), 0));
    says(&seen, "nothing that this node sends arrives at n2");
    let (seen, _) = run(&Way { there: ALL, back: NONE, other: true, mtu: 1_472 }, 10);
    assert_eq!((seen.arrived_there, seen.arrived_here), (Some(10), 0));
    says(&seen, "10 of 10 arrive at n2, and nothing of what it answers comes back");
    let (seen, took) = run(&Way { there: ALL, back: NONE, other: false, mtu: 1_472 }, 10);
    assert_eq!((seen.arrived_there, seen.arrived_here), (None, 0));
    says(&seen, "no other path on which n2 could be asked");
    assert!(took < Duration::from_secs(7), "{took:?}");
}

#[test]
fn a_small_mtu_on_the_way_is_found() {
    // Black holes: whole datagrams above vanish without a word.
    let small: &dyn Fn(usize, bool, u32) -> bool = &|size, whole, _| !whole || size <= 1_372;
    let (seen, took) = run(&Way { there: small, back: ALL, other: true, mtu: 1_472 }, 20);
    assert_eq!((seen.largest_there, seen.largest_here), (Some(1_372), Some(1_472)));
    says(&seen, "different MTUs");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let (seen, _) = run(&Way { there: small, back: small, other: true, mtu: 1_472 }, 20);
    says(&seen, "only 1400 pass");
    // Fragments are dropped as well.
    let tiny: &dyn Fn(usize, bool, u32) -> bool = &|size, _, _| size <= 548;
    let (seen, _) = run(&Way { there: tiny, back: tiny, other: true, mtu: 1_472 }, 20);
    assert_eq!(seen.largest_there, Some(548));
    says(&seen, "datagrams of 1200 bytes do not pass and short ones do");
}

#[test]
fn what_never_leaves_is_said() {
    let path = PathId { peer: NodeId(2), network: NetworkId(0) };
    let now = Instant::from_nanos(5);
    let mut test = PathTest::new(path, 1, Plan::new(Medium::Network, true, 3), now);
    while let Some(at) = test.deadline() {
        test.tick(at);
        for send in test.take() {
            test.stopped(at, &send.body, Stopped::NoWay);
        }
    }
    let seen = test.result().expect("it is over");
    assert_eq!(seen.sent, 0);
    says(seen, "no route from 10.0.0.1:7420 to 10.0.0.2:7420");
    let heard = Seen { sent: 5, hint: Some(Hint::NobodyListens), ..Seen::default() };
    says(&heard, "nobody listens");
    let broken = Facts { broken: Some("there is no interface eth9".into()), ..facts() };
    assert!(findings(&heard, &broken)[0].contains("eth9"));
}

#[test]
fn a_responder_answers_so_many_in_a_second() {
    let mut responder = Responder::default();
    let now = Instant::from_nanos(9);
    let body = |sequence| Body { sequence, flags: Flags::COUNTS, ..Body::default() };
    for sequence in 0..ANSWERS_PER_SECOND {
        assert!(responder.ask(now, NodeId(1), &body(sequence), 100).is_some());
    }
    assert_eq!(responder.ask(now, NodeId(1), &body(9), 100), None);
    assert_eq!(responder.dropped, 1);
    let later = now + Duration::from_secs(1);
    let answer = responder.ask(later, NodeId(1), &body(0), 100).expect("another second");
    assert_eq!(answer.body.got, ANSWERS_PER_SECOND, "what came twice counts once");
    // A tally is told even then, and counts what was not answered.
    let others = |sequence| Body { run: 7, sequence, flags: Flags::COUNTS, ..Body::default() };
    for sequence in 0..ANSWERS_PER_SECOND + 5 {
        responder.ask(later, NodeId(1), &others(sequence), 100);
    }
    let tally = Body { run: 7, flags: Flags::TALLY, ..Body::default() };
    let told = responder.ask(later, NodeId(1), &tally, 100).expect("it has its own allowance");
    let (got, answered) = (ANSWERS_PER_SECOND + 5, ANSWERS_PER_SECOND - 1);
    assert_eq!((told.body.got, told.body.answered), (got, answered));
    assert!(told.body.flags.has(Flags::BUSY) && told.body.flags.has(Flags::TALLY));
    for _ in 1..TALLIES_PER_SECOND {
        assert!(responder.ask(later, NodeId(1), &tally, 100).is_some());
    }
    assert_eq!(responder.ask(later, NodeId(1), &tally, 100), None);
}

#[test]
fn a_busy_node_is_named_and_not_taken_for_a_bad_path() {
    let path = PathId { peer: NodeId(2), network: NetworkId(0) };
    let mut now = Instant::from_nanos(1_000_000_000);
    let mut test = PathTest::new(path, 1, Plan::new(Medium::Network, true, 20), now);
    let mut responder = Responder::default();
    let mut number = 0;
    while test.result().is_none() {
        // Somebody else asks all that may be asked.
        for _ in 0..ANSWERS_PER_SECOND {
            number += 1;
            let body = Body { run: 9, sequence: number, ..Body::default() };
            responder.ask(now, NodeId(3), &body, 100);
        }
        test.tick(now);
        for send in test.take() {
            if let Some(answer) = responder.ask(now, NodeId(1), &send.body, send.size) {
                test.answer(now, &answer.body, answer.size);
            }
        }
        now = now.max(test.deadline().unwrap_or(now));
    }
    let seen = test.result().expect("it is over");
    assert_eq!((seen.sent, seen.arrived_there), (20, Some(20)));
    assert!(seen.answered_there < Some(20), "{seen:?}");
    let found = findings(seen, &facts());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("n2 had too many probes to answer all (it answers 500 a second)"));
}

#[test]
fn so_many_probes_are_possible_on_each_medium() {
    let most = [Medium::Network, Medium::Serial, Medium::Disk].map(Plan::count_max);
    assert_eq!(most, [600, 100, 60]);
    let plan = Plan::new(Medium::Network, true, 600);
    assert_eq!(plan.count, 600, "as many as were asked for");
}
