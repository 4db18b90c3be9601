//! When a path is alive, in trouble, dead; and what a pause means.

use std::time::Duration;

use base::{Incarnation, Instant, Member, NetworkId, NodeId, Preset};
use transport::{Direction, Input, LostReason, Output, PathId, PathState};

use crate::mesh::Mesh;

fn path(peer: u8, network: u8) -> PathId {
    PathId { peer: NodeId(peer), network: NetworkId(network.into()) }
}

fn state(mesh: &Mesh, node: u8, peer: usize, network: usize) -> (PathState, Option<Direction>) {
    let status = mesh.status(node);
    let path = &status.peers[peer].paths[network];
    (path.state, path.direction)
}

#[test]
fn a_peer_is_connected_after_three_good_echoes() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 1);
    mesh.keeps = true;
    mesh.run_ms(200);
    let connected = mesh
        .log
        .iter()
        .find(|(_, node, output)| *node == 0 && matches!(output, Output::Connected { .. }));
    let (when, ..) = connected.expect("the nodes hear each other");
    let mut echoes: Vec<Instant> = mesh
        .heard
        .iter()
        .filter(|(at, node, _)| *node == 0 && at <= when)
        .filter_map(|(_, _, output)| match output {
            Output::Heard { echo, .. } => *echo,
            _ => None,
        })
        .collect();
    echoes.dedup();
    assert!(echoes.len() >= 3, "{echoes:?}");
    let incarnation = Incarnation(2);
    assert_eq!(mesh.node(0).connected(NodeId(1)), Some(Member { node: NodeId(1), incarnation }));
    assert_eq!(mesh.node(1).row().into_iter().collect::<Vec<_>>(), [NodeId(0)]);
}

#[test]
fn two_echoes_are_not_enough() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 1);
    // With 60 ms there and back, so many echoes have come: 0 at 50 ms, 1 or 2 at 130 ms.
    mesh.weather.delay = Duration::from_millis(30)..=Duration::from_millis(30);
    mesh.run_ms(75);
    assert_eq!(state(&mesh, 0, 0, 0), (PathState::Dead, None));
    assert_eq!(mesh.status(0).peers[0].paths[0].echoes_wanted, Some(2));
    mesh.run_ms(200);
    assert_eq!(state(&mesh, 0, 0, 0), (PathState::Alive, None));
}

#[test]
fn a_one_way_cut_is_dead_on_both_ends_and_names_the_direction() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 2, 2);
    mesh.run_ms(500);
    mesh.cuts.insert((0, 1, 0));
    mesh.run_ms(320);
    assert_eq!(state(&mesh, 0, 0, 0), (PathState::Dead, Some(Direction::Outgoing)));
    assert_eq!(state(&mesh, 1, 0, 0), (PathState::Dead, Some(Direction::Incoming)));
    assert_eq!(state(&mesh, 0, 0, 1), (PathState::Alive, None));
    assert!(mesh.take_log(0).iter().all(|output| !matches!(output, Output::Lost { .. })));
    // Cut both ways, the other path tells that it is both.
    mesh.cuts.insert((1, 0, 0));
    mesh.run_ms(700);
    assert_eq!(state(&mesh, 0, 0, 0), (PathState::Dead, Some(Direction::Both)));
    // Repaired, it comes back by itself.
    mesh.cuts.clear();
    mesh.run_ms(1_000);
    assert_eq!(state(&mesh, 0, 0, 0), (PathState::Alive, None));
    assert_eq!(state(&mesh, 1, 0, 0), (PathState::Alive, None));
}

#[test]
fn a_one_way_cut_of_the_only_path_loses_the_peer_on_both_ends() {
    let mut mesh = Mesh::new(Preset::Normal, 2, 1, 3);
    mesh.run_ms(2_000);
    mesh.take_log(0);
    mesh.take_log(1);
    mesh.cuts.insert((0, 1, 0));
    let before = mesh.now;
    mesh.run_ms(1_500);
    for node in [0, 1] {
        let (when, _, _) = mesh
            .log
            .iter()
            .find(|(_, of, output)| {
                *of == node && matches!(output, Output::Lost { why: LostReason::Silent, .. })
            })
            .expect("lost on both ends");
        let took = when.since(before);
        let bound = mesh.timing.path_timeout + mesh.timing.heartbeat_high + mesh.timing.turn();
        assert!(took <= bound, "{took:?}");
    }
}

#[test]
fn silence_is_trouble_before_it_is_death() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 4);
    mesh.run_ms(500);
    mesh.log.clear();
    mesh.kill(1);
    mesh.run_ms(400);
    let states: Vec<_> = mesh
        .log
        .iter()
        .filter_map(|(_, _, output)| match output {
            Output::PathChanged { state, .. } => Some(*state),
            _ => None,
        })
        .collect();
    assert_eq!(states, [PathState::Trouble, PathState::Dead]);
}

#[test]
fn a_paused_node_declares_nobody_dead_in_its_first_turn() {
    for seed in 0..20 {
        let mut mesh = Mesh::new(Preset::Fast, 3, 2, seed);
        mesh.run_ms(500 + seed * 7);
        mesh.paused.insert(0);
        mesh.run_ms(10_000);
        mesh.log.clear();
        mesh.resume(0);
        assert!(mesh.lag_of(0) >= Duration::from_secs(9));
        mesh.run_ms(2_000);
        let accused = mesh
            .log
            .iter()
            .any(|(_, node, output)| *node == 0 && matches!(output, Output::Lost { .. }));
        assert!(!accused, "seed {seed}: {:?}", mesh.log);
        assert_eq!(mesh.node(1).row().len(), 2, "its peers see it again");
    }
}

#[test]
fn a_node_that_cannot_drain_its_sockets_accuses_nobody() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 5);
    mesh.run_ms(500);
    for _ in 0..100 {
        mesh.now += Duration::from_millis(25);
        mesh.input(0, Input::Turn { drained: false });
    }
    assert_eq!(mesh.node(0).row().len(), 1);
    for _ in 0..20 {
        mesh.now += Duration::from_millis(25);
        mesh.input(0, Input::Turn { drained: true });
    }
    assert_eq!(mesh.node(0).row().len(), 0);
}

#[test]
fn a_link_that_goes_down_takes_its_paths_down_at_once() {
    let mut mesh = Mesh::new(Preset::Classic, 3, 1, 6);
    mesh.run_ms(5_000);
    mesh.log.clear();
    mesh.input(0, Input::Link { network: NetworkId(0), up: false });
    let lost: Vec<_> = mesh.take_log(0);
    assert_eq!(lost.len(), 2);
    assert!(lost.iter().all(|output| matches!(output, Output::Lost { .. })));
    // Whether the report was right or not: three echoes of what was sent since bring it back.
    mesh.run_ms(5_000);
    assert_eq!(mesh.node(0).row().len(), 2);
}

#[test]
fn an_unreachable_port_is_trouble_until_a_newer_stamp_comes_back() {
    let mut mesh = Mesh::new(Preset::Normal, 2, 2, 7);
    mesh.run_ms(2_000);
    mesh.log.clear();
    mesh.input(0, Input::Unreachable { path: path(1, 1) });
    assert_eq!(state(&mesh, 0, 0, 1), (PathState::Trouble, Some(Direction::Outgoing)));
    mesh.run_ms(600);
    assert_eq!(state(&mesh, 0, 0, 1), (PathState::Alive, None));
    assert!(mesh.take_log(0).is_empty(), "nobody was lost");
}

#[test]
fn a_low_path_is_promoted_while_no_high_path_is_alive() {
    let mut mesh = Mesh::with_low(Preset::Fast, 2, 2, &[1], 8);
    mesh.run_ms(1_000);
    let low = |mesh: &Mesh| mesh.status(0).peers[0].paths[1].clone();
    assert_eq!(low(&mesh).state, PathState::Alive);
    assert!(!low(&mesh).carries_data);
    mesh.cuts.extend([(0, 1, 0), (1, 0, 0)]);
    mesh.run_ms(500);
    assert!(low(&mesh).promoted);
    assert_eq!(mesh.node(0).row().len(), 1);
    // It beats as fast as a high one now, because everything depends on it.
    mesh.keeps = true;
    mesh.run_ms(1_000);
    let beats = mesh.sent.iter().filter(|sent| sent.1 == 0 && sent.2.network.0 == 1).count();
    assert!((20..=23).contains(&beats), "{beats}");
    mesh.cuts.clear();
    mesh.run_ms(1_000);
    assert!(!low(&mesh).promoted);
}

#[test]
fn a_low_path_beats_at_the_low_rate() {
    let mut mesh = Mesh::with_low(Preset::Normal, 2, 2, &[1], 9);
    mesh.run_ms(5_000);
    mesh.keeps = true;
    mesh.run_ms(20_000);
    let count = |network| {
        let is =
            |sent: &&(Instant, u8, PathId, Vec<u8>)| sent.1 == 0 && sent.2.network.0 == network;
        mesh.sent.iter().filter(is).count()
    };
    assert!((100..=112).contains(&count(0)), "{}", count(0));
    assert!((50..=56).contains(&count(1)), "{}", count(1));
}

#[test]
fn a_path_that_keeps_changing_needs_more_echoes() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 2, 10);
    mesh.run_ms(500);
    let wanted = |mesh: &Mesh| mesh.status(0).peers[0].paths[0].echoes_wanted;
    for expected in [6, 12, 24, 48, 48] {
        mesh.cuts.extend([(0, 1, 0), (1, 0, 0)]);
        mesh.run_ms(600);
        assert_eq!(wanted(&mesh), Some(expected));
        let damped = |mesh: &Mesh| mesh.status(0).peers[0].paths[0].damped;
        assert_eq!(damped(&mesh), None, "it is silent, and not kept back");
        mesh.cuts.clear();
        mesh.run_ms(150);
        let (missing, left) = (wanted(&mesh).expect("some"), damped(&mesh).expect("it is kept"));
        assert!(missing < expected, "echoes come: {missing} of {expected}");
        assert_eq!(left, base::Preset::Fast.timing().heartbeat_high * missing);
        mesh.run_ms(3_850);
        assert_eq!(wanted(&mesh), None, "it came back");
    }
    // A quiet minute, and it is as good as new.
    mesh.run_ms(61_000);
    mesh.cuts.extend([(0, 1, 0), (1, 0, 0)]);
    mesh.run_ms(600);
    assert_eq!(wanted(&mesh), Some(6));
    // The last path of a peer is not kept waiting.
    mesh.cuts.extend([(0, 1, 1), (1, 0, 1)]);
    mesh.run_ms(600);
    assert_eq!(wanted(&mesh), Some(3));
}

#[test]
fn quality_is_measured_in_both_directions() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 11);
    mesh.weather.loss_permille = 100;
    mesh.weather.delay = Duration::from_millis(1)..=Duration::from_millis(3);
    mesh.run_ms(60_000);
    let status = mesh.status(0);
    let path = &status.peers[0].paths[0];
    assert!((30..=200).contains(&path.incoming.loss_permille), "{path:?}");
    assert!((30..=200).contains(&path.outgoing.loss_permille), "{path:?}");
    let trip = path.round_trip.expect("echoes came");
    assert!(trip.min >= 2_000 && trip.max <= 6_100 && trip.average >= trip.min, "{trip:?}");
    assert!((200..=2_000).contains(&path.incoming.jitter), "{path:?}");
    assert!(path.outgoing.jitter > 0);
}

#[test]
fn peers_and_paths_come_and_go_while_the_others_are_untouched() {
    let mut mesh = Mesh::new(Preset::Fast, 3, 2, 12);
    mesh.run_ms(500);
    mesh.log.clear();
    let mut peers = mesh.peers(0);
    peers.remove(1);
    peers[0].paths.remove(1);
    let now = mesh.now;
    mesh.node_mut(0).reconfigure(now, peers);
    mesh.drain(0);
    let lost = mesh.take_log(0);
    assert!(matches!(lost[..], [Output::Lost { why: LostReason::Removed, .. }]), "{lost:?}");
    mesh.run_ms(500);
    assert_eq!(mesh.node(0).row().into_iter().collect::<Vec<_>>(), [NodeId(1)]);
    assert_eq!(mesh.node(2).row().into_iter().collect::<Vec<_>>(), [NodeId(1)]);
    // Back again, in the same life: new counters would be replays, old channels would be gaps.
    let peers = mesh.peers(0);
    let now = mesh.now;
    mesh.node_mut(0).reconfigure(now, peers);
    mesh.drain(0);
    mesh.run_ms(1_000);
    assert_eq!(mesh.node(0).row().len(), 2);
    assert_eq!(mesh.node(2).row().len(), 2);
    assert!(
        mesh.status(0)
            .peers
            .iter()
            .all(|peer| { peer.paths.iter().all(|path| path.state == PathState::Alive) })
    );
    assert_eq!(mesh.count(1, transport::Count::Replay), 0);
    assert_eq!(mesh.count(2, transport::Count::Replay), 0);
}
