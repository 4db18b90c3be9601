//! Messages: order, loss, size, windows, and who goes first.

use std::time::Duration;

use base::limits::{DATAGRAM_SIZE_MAX, MESSAGE_SIZE_MAX};
use base::{NodeId, Preset, Prng};
use transport::{Count, Input, Lane, LostReason, Output, window};

use crate::mesh::Mesh;

fn messages(mesh: &mut Mesh, node: u8) -> Vec<(Lane, Vec<u8>)> {
    let only_messages = |output| match output {
        Output::Message { lane, message, .. } => Some((lane, message)),
        _ => None,
    };
    mesh.take_log(node).into_iter().filter_map(only_messages).collect()
}

fn of_lane(messages: &[(Lane, Vec<u8>)], lane: Lane) -> Vec<Vec<u8>> {
    messages.iter().filter(|(of, _)| *of == lane).map(|(_, message)| message.clone()).collect()
}

#[test]
fn messages_arrive_once_and_in_order_through_bad_weather() {
    for seed in 0..15 {
        let mut mesh = Mesh::new(Preset::Fast, 2, 2, seed);
        mesh.run_ms(500);
        mesh.weather.loss_permille = 300;
        mesh.weather.duplicate_permille = 200;
        mesh.weather.delay = Duration::from_micros(100)..=Duration::from_millis(15);
        let mut prng = Prng::new(seed);
        let mut sent = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
        let mut received = [Vec::new(), Vec::new()];
        for number in 0..300_u32 {
            for from in [0_u8, 1] {
                let lane = if prng.chance(1, 3) { Lane::Urgent } else { Lane::Bulk };
                let length = if prng.chance(1, 10) { prng.range(0..=9_000) } else { 40 };
                let mut message = number.to_be_bytes().to_vec();
                message.resize(4 + length as usize, number as u8);
                sent[usize::from(from)][lane as usize].push(message.clone());
                mesh.send(from, 1 - from, lane, message);
            }
            mesh.run_ms(3);
        }
        mesh.run_ms(10_000);
        mesh.weather.loss_permille = 0;
        mesh.run_ms(5_000);
        let resets = mesh.log.iter().any(
            |(_, _, output)| matches!(output, Output::Lost { why, .. } if !why.keeps_channel()),
        );
        assert!(!resets, "seed {seed}");
        for node in [0_u8, 1] {
            received[usize::from(node)] = messages(&mut mesh, node);
            for lane in Lane::ALL {
                let arrived = of_lane(&received[usize::from(node)], lane);
                let expected = &sent[usize::from(1 - node)][lane as usize];
                assert_eq!(arrived.len(), expected.len(), "seed {seed} node {node} {lane:?}");
                assert!(arrived == *expected, "seed {seed} node {node} {lane:?}");
            }
        }
    }
}

#[test]
fn an_outage_delays_messages_and_loses_none() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 3);
    mesh.run_ms(500);
    mesh.cuts.extend([(0, 1, 0), (1, 0, 0)]);
    for number in 0..50_u8 {
        mesh.send(0, 1, Lane::Bulk, vec![number; 100]);
        mesh.run_ms(40);
    }
    assert!(mesh.node(0).row().is_empty());
    assert!(messages(&mut mesh, 1).is_empty());
    mesh.cuts.clear();
    mesh.run_ms(1_000);
    let arrived = messages(&mut mesh, 1);
    assert!(arrived.iter().map(|(_, message)| message[0]).eq(0..50), "{}", arrived.len());
}

#[test]
fn the_greatest_message_arrives_on_both_lanes() {
    for lane in Lane::ALL {
        let mut mesh = Mesh::new(Preset::Fast, 2, 2, 4);
        mesh.run_ms(500);
        let message: Vec<u8> = (0..MESSAGE_SIZE_MAX).map(|place| (place % 251) as u8).collect();
        assert!(mesh.node(0).is_writable(NodeId(1), lane));
        mesh.send(0, 1, lane, message.clone());
        assert!(!mesh.node(0).is_writable(NodeId(1), lane));
        mesh.run_ms(3_000);
        assert!(messages(&mut mesh, 1) == [(lane, message)]);
        assert!(mesh.node(0).is_writable(NodeId(1), lane));
        assert_eq!(mesh.status(0).peers[0].lanes[lane as usize].queued, 0);
        assert_eq!(mesh.node(0).row().len(), 1);
    }
}

#[test]
#[should_panic(expected = "message sizes are checked above")]
fn a_greater_message_is_our_own_bug() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 5);
    mesh.run_ms(500);
    mesh.send(0, 1, Lane::Bulk, vec![0; MESSAGE_SIZE_MAX + 1]);
}

#[test]
fn a_megabyte_of_bulk_delays_neither_urgent_messages_nor_heartbeats() {
    let mut mesh = Mesh::new(Preset::Fast, 3, 2, 6);
    mesh.run_ms(500);
    mesh.keeps = true;
    for peer in [1, 2] {
        mesh.send(0, peer, Lane::Bulk, vec![1; 1 << 20]);
    }
    let began = mesh.now;
    let mut urgent = 0;
    while mesh.log.iter().filter(|(_, _, output)| is_bulk(output)).count() < 2 {
        urgent += 1;
        mesh.send(0, 1, Lane::Urgent, vec![urgent; 50]);
        let (sent, seen) = (mesh.now, mesh.log.len());
        mesh.run_ms(2);
        let came = mesh.log[seen..].iter().find(|(_, node, output)| {
            *node == 1 && matches!(output, Output::Message { lane: Lane::Urgent, .. })
        });
        let took = came.expect("urgent messages come within 2 ms").0.since(sent);
        assert!(took <= Duration::from_micros(600), "{took:?}");
        assert!(mesh.now.since(began) < Duration::from_secs(3));
    }
    // Bulk is paced, and heartbeats keep their rate.
    let mut times = Vec::new();
    let mut beats = Vec::new();
    for (when, node, path, bytes) in &mesh.sent {
        if *node == 0 && bytes.len() > 1_000 && path.peer == NodeId(1) {
            times.push(*when);
        }
        if *node == 0 && bytes[13] == 1 && path.peer == NodeId(2) && path.network.0 == 0 {
            beats.push(*when);
        }
    }
    let spans = times.windows(33 * 5).map(|window| window[33 * 5 - 1].since(window[0]));
    let shortest = spans.min().expect("a thousand datagrams were sent");
    assert!(shortest >= Duration::from_millis(4), "{shortest:?}");
    assert!(beats.windows(2).all(|pair| pair[1].since(pair[0]) <= mesh.timing.heartbeat_high));
}

fn is_bulk(output: &Output) -> bool {
    matches!(output, Output::Message { lane: Lane::Bulk, .. })
}

#[test]
fn a_fragment_that_is_sent_again_takes_the_other_path() {
    let mut mesh = Mesh::new(Preset::Classic, 2, 2, 7);
    mesh.run_ms(5_000);
    // Cut one path; its timeout is 16 s away, so only retransmission can help.
    mesh.cuts.extend([(0, 1, 0), (1, 0, 0)]);
    mesh.keeps = true;
    for number in 0..20_u8 {
        mesh.send(0, 1, Lane::Bulk, vec![number; 1_000]);
        mesh.run_ms(1);
    }
    mesh.run_ms(150);
    let arrived = messages(&mut mesh, 1);
    assert!(arrived.iter().map(|(_, message)| message[0]).eq(0..20), "{}", arrived.len());
    assert!(mesh.status(0).peers[0].lanes[Lane::Bulk as usize].retransmitted > 0);
    assert!(mesh.status(0).peers[0].paths.iter().all(|path| path.carries_data), "not noticed yet");
}

#[test]
fn urgent_messages_leave_on_all_usable_paths_at_once() {
    let mut mesh = Mesh::new(Preset::Classic, 2, 3, 8);
    mesh.run_ms(5_000);
    mesh.cuts.extend([(0, 1, 0), (0, 1, 2)]);
    mesh.keeps = true;
    let (sent, seen) = (mesh.now, mesh.log.len());
    mesh.send(0, 1, Lane::Urgent, b"now".to_vec());
    mesh.run_ms(1);
    let (came, ..) = mesh.log[seen..]
        .iter()
        .find(|(_, _, output)| matches!(output, Output::Message { .. }))
        .expect("one of three paths works");
    assert!(came.since(sent) <= Duration::from_micros(300));
    assert_eq!(mesh.sent.iter().filter(|sent| sent.1 == 0 && sent.3[13] == 2).count(), 3);
}

#[test]
fn small_messages_share_datagrams() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 9);
    mesh.run_ms(500);
    // The window opens with what is acknowledged.
    for _ in 0..4 {
        mesh.send(0, 1, Lane::Bulk, vec![0; 40_000]);
        mesh.run_ms(100);
    }
    assert_eq!(messages(&mut mesh, 1).len(), 4);
    mesh.keeps = true;
    for number in 0..100_u8 {
        let now = mesh.now;
        let message = vec![number; 50];
        let input = Input::Send { to: NodeId(1), lane: Lane::Bulk, message };
        mesh.node_mut(0).handle(now, input);
    }
    mesh.run_ms(20);
    assert_eq!(messages(&mut mesh, 1).len(), 100);
    let data = mesh.sent.iter().filter(|sent| sent.1 == 0 && sent.3[13] == 2);
    assert!(data.count() <= 8);
    assert!(mesh.sent.iter().all(|sent| sent.3.len() <= DATAGRAM_SIZE_MAX));
}

#[test]
fn a_lane_that_nobody_empties_breaks_its_channel_and_the_next_one_works() {
    let mut mesh = Mesh::new(Preset::Classic, 2, 1, 10);
    mesh.run_ms(5_000);
    mesh.log.clear();
    mesh.cuts.insert((0, 1, 0));
    let mut count = 0;
    while mesh.node(0).is_writable(NodeId(1), Lane::Urgent) {
        mesh.send(0, 1, Lane::Urgent, vec![9; 100_000]);
        count += 1;
    }
    assert_eq!(count, window(Lane::Urgent).div_ceil(100_000));
    while mesh.log.is_empty() {
        mesh.send(0, 1, Lane::Urgent, vec![9; 100_000]);
        count += 1;
        assert!(count <= 2 * window(Lane::Urgent) / 100_000 + 1);
    }
    let lost = mesh.take_log(0);
    assert!(matches!(lost[..], [Output::Lost { why: LostReason::Overflow, .. }]), "{lost:?}");
    assert_eq!(mesh.status(0).peers[0].lanes[0].queued, 0);
    // Both ends learn of it, and a new channel begins. Nothing of the old one comes through.
    mesh.cuts.clear();
    mesh.run_ms(3_000);
    let other = mesh.take_log(1);
    let [Output::Lost { why: LostReason::Reset, .. }, Output::Connected { .. }] = other[..] else {
        panic!("{other:?}");
    };
    assert!(matches!(mesh.take_log(0)[..], [Output::Connected { .. }]));
    mesh.send(0, 1, Lane::Urgent, b"new".to_vec());
    mesh.send(1, 0, Lane::Urgent, b"new".to_vec());
    mesh.run_ms(100);
    assert_eq!(messages(&mut mesh, 1), [(Lane::Urgent, b"new".to_vec())]);
    assert_eq!(messages(&mut mesh, 0), [(Lane::Urgent, b"new".to_vec())]);
}

#[test]
fn a_message_for_nobody_is_counted() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 11);
    mesh.send(0, 1, Lane::Urgent, b"is anybody there".to_vec());
    assert_eq!(mesh.count(0, Count::Unsendable), 1);
    mesh.send(0, 99, Lane::Urgent, b"nor is that node configured".to_vec());
    assert_eq!(mesh.count(0, Count::Unsendable), 2);
    assert!(!mesh.node(0).is_writable(NodeId(1), Lane::Urgent));
}

#[test]
fn bulk_backs_off_when_fragments_are_lost() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 12);
    mesh.run_ms(500);
    let datagrams = |mesh: &mut Mesh, loss| {
        mesh.weather.loss_permille = loss;
        mesh.keeps = true;
        mesh.send(0, 1, Lane::Bulk, vec![1; 1 << 20]);
        mesh.sent.clear();
        mesh.run_ms(60);
        mesh.sent.iter().filter(|sent| sent.1 == 0 && sent.3[13] == 2).count()
    };
    let fair = datagrams(&mut mesh, 0);
    mesh.run_ms(3_000);
    let bad = datagrams(&mut mesh, 300);
    assert!(bad * 3 < fair, "{bad} of {fair}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut mesh = Mesh::new(Preset::Fast, 3, 2, 77);
        mesh.keeps = true;
        mesh.weather.loss_permille = 200;
        for number in 0..50_u8 {
            mesh.send(0, 1, Lane::Bulk, vec![number; 300]);
            mesh.run_ms(17);
        }
        (mesh.sent, mesh.log)
    };
    assert!(run() == run());
}

#[test]
fn one_turn_sends_a_bounded_number_of_bulk_datagrams_to_all_peers() {
    let mut mesh = Mesh::new(Preset::Fast, 5, 1, 13);
    mesh.run_ms(500);
    let now = mesh.now;
    for peer in 1..5 {
        let message = vec![0; 100_000];
        let input = Input::Send { to: NodeId(peer), lane: Lane::Bulk, message };
        mesh.node_mut(0).handle(now, input);
    }
    let mut sent = Vec::new();
    for _ in 0..2 {
        mesh.node_mut(0).handle(now, Input::Turn { drained: true });
        let mut peers = std::collections::BTreeMap::new();
        while let Some(output) = mesh.node_mut(0).poll_output() {
            if let Output::Transmit { path, bytes } = output
                && bytes.len() > 1_000
            {
                *peers.entry(path.peer).or_insert(0) += 1;
            }
        }
        sent.push(peers.values().sum::<u32>());
        assert!(peers.values().all(|&count| count <= 32), "{peers:?}");
    }
    assert_eq!(sent, [64, 64], "and the others have their turn next");
}

#[test]
fn what_left_on_a_path_that_went_down_leaves_again_at_once() {
    let mut mesh = Mesh::new(Preset::Classic, 2, 2, 14);
    mesh.run_ms(5_000);
    mesh.cuts.extend([(0, 1, 0), (1, 0, 0)]);
    for number in 0..20_u8 {
        mesh.send(0, 1, Lane::Bulk, vec![number; 1_000]);
    }
    mesh.run_ms(2);
    assert!(messages(&mut mesh, 1).len() < 20);
    mesh.input(0, Input::Link { network: base::NetworkId(0), up: false });
    // Far less than the least time after which anything is sent again.
    mesh.run_ms(2);
    let status = mesh.status(0).peers[0].lanes[Lane::Bulk as usize];
    assert_eq!((status.queued, status.in_flight), (0, 0));
}

/// What every receiver of IPv4 takes, without the headers of IPv4 and UDP.
const SMALL: usize = 548;

#[test]
fn what_is_too_long_for_a_receiver_arrives_in_pieces() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 8);
    mesh.run_ms(500);
    mesh.takes.insert(1, SMALL);
    let long: Vec<u8> = (0..200_000_u32).map(|place| place as u8).collect();
    let pressing = long[..3_000].to_vec();
    mesh.send(0, 1, Lane::Bulk, long.clone());
    mesh.send(0, 1, Lane::Urgent, pressing.clone());
    mesh.send(1, 0, Lane::Bulk, long.clone());
    mesh.run_ms(3_000);
    assert!(messages(&mut mesh, 0) == [(Lane::Bulk, long.clone())], "this way all passes");
    let mut arrived = messages(&mut mesh, 1);
    arrived.sort_by_key(|(lane, _)| *lane as usize);
    assert!(arrived == [(Lane::Urgent, pressing), (Lane::Bulk, long.clone())]);
    let is_quiet = |(_, _, output): &(_, _, Output)| !matches!(output, Output::Lost { .. });
    assert!(mesh.log.iter().all(is_quiet), "nobody is lost");
    // From then on nothing long is tried.
    let lengths = |mesh: &mut Mesh| {
        mesh.keeps = true;
        mesh.sent.clear();
        mesh.send(0, 1, Lane::Bulk, long.clone());
        mesh.run_ms(1_000);
        assert!(messages(mesh, 1) == [(Lane::Bulk, long.clone())]);
        let of_bulk =
            |(_, from, _, bytes): &(_, u8, _, Vec<u8>)| (*from == 0).then_some(bytes.len());
        let lengths: Vec<usize> = mesh.sent.iter().filter_map(of_bulk).collect();
        (lengths.len(), *lengths.iter().max().expect("some were sent"))
    };
    let (count, longest) = lengths(&mut mesh);
    assert!(longest <= SMALL, "{longest} bytes");
    assert!(count < 200_000 / 356 + 300, "{count} frames, each piece once");
    // Until it is time to see whether that still holds.
    mesh.takes.clear();
    mesh.run_ms(31_000);
    let (_, longest) = lengths(&mut mesh);
    assert!(longest > 1_000, "{longest} bytes");
}

#[test]
fn loss_alone_makes_no_datagram_short_for_long() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 9);
    mesh.run_ms(500);
    mesh.weather.loss_permille = 100;
    for _ in 0..20 {
        mesh.send(0, 1, Lane::Bulk, vec![7; 100_000]);
        mesh.run_ms(500);
    }
    mesh.weather.loss_permille = 0;
    mesh.run_ms(2_000);
    assert_eq!(messages(&mut mesh, 1).len(), 20);
    mesh.keeps = true;
    mesh.send(0, 1, Lane::Bulk, vec![7; 100_000]);
    mesh.run_ms(1_000);
    let longest = mesh.sent.iter().map(|(_, _, _, bytes)| bytes.len()).max();
    assert!(longest > Some(1_000), "{longest:?} bytes");
}
