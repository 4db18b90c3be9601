//! One heartbeat for all on a network.

use std::time::Duration;

use base::limits::HEARTBEAT_SIZE_MAX;
use base::{NetworkId, NodeId, Preset};
use transport::{Count, Direction, Heartbeats, Input, Lane, LostReason, Output, PathState, window};

use crate::mesh::Mesh;

/// So many nodes on one network with shared heartbeats.
fn wire(nodes: u8, seed: u64) -> Mesh {
    Mesh::with(Preset::Fast, (nodes, 1), &[], &[0], seed)
}

fn state(mesh: &Mesh, node: u8, peer: u8) -> (PathState, Option<Direction>) {
    let status = mesh.status(node);
    let peer = status.peers.iter().find(|status| status.node == NodeId(peer));
    let path = &peer.expect("all are configured").paths[0];
    (path.state, path.direction)
}

fn all_reach_all(mesh: &Mesh) -> bool {
    let nodes = mesh.nodes.len();
    (0..nodes as u8).all(|node| mesh.node(node).row().len() == nodes - 1)
}

/// Watches for so long; frames to one peer, and to all, of each node.
fn count(mesh: &mut Mesh, ms: u64) -> (Vec<usize>, Vec<usize>) {
    mesh.keeps = true;
    mesh.run_ms(ms);
    mesh.keeps = false;
    let mut single = vec![0; mesh.nodes.len()];
    let mut shared = single.clone();
    mesh.sent.drain(..).for_each(|(_, from, ..)| single[usize::from(from)] += 1);
    mesh.sent_to_all.drain(..).for_each(|(_, from, ..)| shared[usize::from(from)] += 1);
    (single, shared)
}

#[test]
fn a_quiet_cluster_sends_one_frame_for_all_peers() {
    let mut mesh = wire(8, 1);
    mesh.run_ms(2_000);
    assert!(all_reach_all(&mesh));
    let (single, shared) = count(&mut mesh, 5_000);
    assert!(single.iter().all(|&frames| frames == 0), "{single:?}");
    // 5 s of 50 ms, a little early each time.
    assert!(shared.iter().all(|frames| (100..=108).contains(frames)), "{shared:?}");
    assert!(mesh.take_log(0).iter().all(|output| matches!(output, Output::Connected { .. })));
}

#[test]
fn a_peer_that_goes_and_one_that_comes_back_are_noticed_as_ever() {
    let mut mesh = wire(4, 2);
    mesh.run_ms(1_000);
    assert!(all_reach_all(&mesh));
    mesh.kill(3);
    mesh.run_ms(400);
    assert!((0..3).all(|node| mesh.node(node).row().len() == 2));
    let (single, _) = count(&mut mesh, 1_000);
    assert!(single.iter().all(|&frames| frames == 0), "nobody calls who is not there: {single:?}");
    mesh.start(3);
    let began = mesh.now;
    while !all_reach_all(&mesh) {
        mesh.run_ms(5);
        assert!(mesh.now.since(began) < Duration::from_millis(400), "it is back soon");
    }
    // A new life while the one before still counts.
    mesh.start(3);
    mesh.log.clear();
    mesh.run_ms(400);
    assert!(all_reach_all(&mesh));
    let superseded =
        |output: &Output| matches!(output, Output::Lost { why: LostReason::Superseded, .. });
    assert!((0..3).all(|node| mesh.take_log(node).iter().any(superseded)));
}

#[test]
fn a_one_way_cut_is_dead_on_both_ends_and_names_the_direction() {
    let mut mesh = wire(3, 3);
    mesh.run_ms(1_000);
    mesh.cuts.insert((0, 1, 0));
    mesh.run_ms(600);
    assert_eq!(state(&mesh, 0, 1), (PathState::Dead, Some(Direction::Outgoing)));
    assert_eq!(state(&mesh, 1, 0), (PathState::Dead, Some(Direction::Incoming)));
    assert_eq!(state(&mesh, 0, 2), (PathState::Alive, None));
    assert_eq!(state(&mesh, 1, 2), (PathState::Alive, None));
    mesh.cuts.clear();
    mesh.run_ms(3_000);
    assert!(all_reach_all(&mesh));
    let (single, _) = count(&mut mesh, 1_000);
    assert!(single.iter().all(|&frames| frames == 0), "{single:?}");
}

#[test]
fn whoever_does_not_hear_what_is_for_all_is_told_alone() {
    let mut mesh = wire(4, 4);
    mesh.run_ms(1_000);
    mesh.log.clear();
    // A switch that does not carry it from one port to another, in one direction.
    mesh.deaf.insert((0, 1, 0));
    mesh.run_ms(1_000);
    assert!((0..4).all(|node| mesh.take_log(node).is_empty()), "nobody is lost");
    mesh.log.clear();
    let (single, _) = count(&mut mesh, 5_000);
    assert!(mesh.log.is_empty(), "{:?}", mesh.log);
    assert!((100..120).contains(&single[0]) && (100..120).contains(&single[1]), "{single:?}");
    assert_eq!(single[2..], [0, 0]);
    assert!(all_reach_all(&mesh));
    mesh.deaf.clear();
    mesh.run_ms(500);
    let (single, _) = count(&mut mesh, 1_000);
    assert!(single.iter().all(|&frames| frames == 0), "{single:?}");
    // From the beginning it takes one of the two to hear the other.
    mesh.deaf.insert((0, 1, 0));
    mesh.start(0);
    mesh.run_ms(600);
    assert!(all_reach_all(&mesh));
}

#[test]
fn a_report_goes_to_all_once_and_is_then_left_out() {
    let mut mesh = wire(5, 5);
    mesh.node_mut(2).set_report(&[1; 600]);
    mesh.run_ms(1_000);
    let report = [9; 900];
    mesh.node_mut(2).set_report(&report);
    mesh.keeps = true;
    mesh.run_ms(400);
    mesh.keeps = false;
    for node in [0, 1, 3, 4] {
        assert_eq!(mesh.node(node).report(NodeId(2)), Some(&report[..]));
    }
    let long = mesh.sent_to_all.iter().filter(|sent| sent.1 == 2 && sent.3.len() > 900).count();
    let short = mesh.sent_to_all.iter().filter(|sent| sent.1 == 2 && sent.3.len() < 200).count();
    assert!((1..=3).contains(&long) && short >= 4, "{long} long, {short} short");
    assert!(mesh.sent.is_empty(), "nobody is told alone");
    assert!(mesh.sent_to_all.iter().all(|sent| sent.3.len() <= HEARTBEAT_SIZE_MAX));
}

#[test]
fn a_report_that_comes_back_is_said_again() {
    for pause in [10, 30, 50, 70, 90] {
        let mut mesh = wire(2, 5);
        for report in [[1; 600], [2; 600], [1; 600]] {
            mesh.node_mut(0).set_report(&report);
            mesh.run_ms(if report == [2; 600] { pause } else { 1_000 });
        }
        let known = mesh.node(1).report(NodeId(0));
        assert_eq!(known, Some(&[1; 600][..]), "changed for {pause} ms");
    }
}

#[test]
fn a_long_table_goes_on_in_a_second_frame() {
    let mut mesh = Mesh::with(Preset::Normal, (70, 1), &[], &[0], 6);
    // The others know node 0 only, for the sake of time.
    for node in 1..70 {
        let peers = mesh.peers(node).into_iter().filter(|peer| peer.node == NodeId(0)).collect();
        let now = mesh.now;
        mesh.node_mut(node).reconfigure(now, peers);
        mesh.drain(node);
    }
    mesh.node_mut(0).set_report(&[1; 960]);
    mesh.run_ms(3_000);
    assert_eq!(mesh.node(0).row().len(), 69);
    mesh.keeps = true;
    mesh.run_ms(1_000);
    let of = |node| mesh.sent_to_all.iter().filter(move |sent| sent.1 == node);
    let mut rounds: Vec<_> = of(0).map(|sent| sent.0).collect();
    let frames = rounds.len();
    rounds.dedup();
    assert_eq!(frames, 2 * rounds.len(), "69 echoes are two frames");
    assert!(rounds.len() >= 5);
    assert!(mesh.sent_to_all.iter().all(|sent| sent.3.len() <= HEARTBEAT_SIZE_MAX));
}

#[test]
fn copies_and_own_frames_count_for_nothing() {
    let mut mesh = wire(3, 7);
    mesh.weather.duplicate_permille = 300;
    mesh.run_ms(2_000);
    assert!(all_reach_all(&mesh));
    assert!(mesh.count(0, Count::Replay) > 10);
    mesh.weather.duplicate_permille = 0;
    mesh.keeps = true;
    mesh.run_ms(1_000);
    mesh.keeps = false;
    let (_, _, network, bytes) = mesh.sent_to_all.iter().find(|sent| sent.1 == 1).unwrap().clone();
    // A minute of nothing but an old frame of a node that is gone.
    mesh.kill(1);
    mesh.run_ms(600);
    assert_eq!(state(&mesh, 0, 1).0, PathState::Dead);
    let before = mesh.count(0, Count::Replay);
    for _ in 0..100 {
        mesh.input(0, Input::Receive { network, bytes: bytes.clone() });
        mesh.run_ms(10);
    }
    assert_eq!(mesh.count(0, Count::Replay), before + 100);
    assert_eq!(state(&mesh, 0, 1).0, PathState::Dead);
    let own = mesh.sent_to_all.iter().find(|sent| sent.1 == 0).unwrap().3.clone();
    mesh.input(0, Input::Receive { network, bytes: own });
    assert_eq!(mesh.count(0, Count::Reflected), 1);
    mesh.input(0, Input::Receive { network: NetworkId(9), bytes });
    assert_eq!(mesh.count(0, Count::Crossed), 1);
}

#[test]
fn messages_go_to_one_peer_and_heartbeats_go_on() {
    let mut mesh = wire(3, 8);
    mesh.weather.loss_permille = 60;
    mesh.run_ms(2_000);
    mesh.log.clear();
    let message = vec![5; window(Lane::Bulk) / 8];
    mesh.send(0, 1, Lane::Bulk, message.clone());
    mesh.send(1, 2, Lane::Urgent, b"now".to_vec());
    mesh.run_ms(3_000);
    let got = |node, wanted: &[u8]| {
        let is = |output: &Output| matches!(output, Output::Message { message, .. } if message == wanted);
        mesh.log.iter().any(|(_, of, output)| *of == node && is(output))
    };
    assert!(got(1, &message) && got(2, b"now"));
    assert!(all_reach_all(&mesh));
    let loss = mesh.status(0).peers[0].paths[0].incoming.loss_permille;
    assert!((1..200).contains(&loss), "{loss}");
    assert!(mesh.status(0).peers[0].paths[0].outgoing.loss_permille > 0);
}

#[test]
fn a_network_changes_from_one_form_to_the_other_and_back() {
    let mut mesh = Mesh::with(Preset::Fast, (3, 2), &[1], &[0], 9);
    mesh.run_ms(1_000);
    mesh.log.clear();
    for round in 0..4 {
        let heartbeats = if round % 2 == 0 { Heartbeats::Each } else { Heartbeats::Shared };
        // One after the other, as a configuration arrives.
        for node in 0..3 {
            let mut peers = mesh.peers(node);
            let paths = peers.iter_mut().flat_map(|peer| &mut peer.paths);
            paths.for_each(|path| path.heartbeats = heartbeats);
            let now = mesh.now;
            mesh.node_mut(node).reconfigure(now, peers);
            mesh.drain(node);
            mesh.run_ms(120);
        }
        mesh.run_ms(1_000);
        let (single, shared) = count(&mut mesh, 1_000);
        let is_shared = heartbeats == Heartbeats::Shared;
        assert!(single.iter().all(|&frames| (frames == 0) == is_shared), "{single:?}");
        assert!(shared.iter().all(|&frames| (frames > 0) == is_shared), "{shared:?}");
    }
    // A path may be in trouble until both ends have changed, but nobody is lost.
    assert!((0..3).all(|node| mesh.take_log(node).is_empty()));
    assert!((0..3).all(|node| mesh.count(node, Count::Replay) == 0), "counters go on");
}

#[test]
fn no_weather_loses_a_peer_that_hears_half() {
    for seed in 0..20 {
        let mut mesh = Mesh::with(Preset::Fast, (4, 2), &[], &[0, 1], seed);
        mesh.weather.loss_permille = 50;
        mesh.weather.delay = Duration::from_micros(100)..=Duration::from_millis(20);
        mesh.run_ms(2_000);
        mesh.deaf.insert((0, 1, 0));
        mesh.deaf.insert((1, 0, 1));
        mesh.deaf.insert((2, 0, 0));
        mesh.log.retain(|(_, _, output)| !matches!(output, Output::Connected { .. }));
        mesh.run_ms(10_000);
        let lost = mesh.log.iter().filter(|entry| matches!(entry.2, Output::Lost { .. })).count();
        assert_eq!((lost, all_reach_all(&mesh)), (0, true), "seed {seed}");
    }
}
