//! Rings: who watches whom, what that costs, and how a path rests and wakes.

use base::{NodeId, NodeSet, Preset};
use transport::{Input, Lane, LostReason, Output, PathState, Watch};

use crate::mesh::Mesh;

const NODES: u8 = 12;

/// All nodes are in the ring but the dead; these are its centre, and watch everybody.
fn watch_as_ring(mesh: &mut Mesh, centre: &[u8]) {
    let running: Vec<u8> =
        (0..NODES).filter(|node| mesh.nodes[usize::from(*node)].is_some()).collect();
    let members: NodeSet = running.iter().map(|node| NodeId(*node)).collect();
    let ring = Watch::Ring { members, centre: centre.iter().map(|node| NodeId(*node)).collect() };
    for node in running {
        let watch = if centre.contains(&node) { Watch::Everybody } else { ring };
        mesh.input(node, Input::Watch(watch));
    }
}

fn formed() -> Mesh {
    let mut mesh = Mesh::ring(Preset::Fast, NODES, 1, 5);
    mesh.run_ms(1_000);
    assert!((0..NODES).all(|node| mesh.node(node).row().len() == usize::from(NODES) - 1));
    watch_as_ring(&mut mesh, &[0, 1]);
    mesh.run_ms(1_000);
    mesh.log.clear();
    mesh
}

fn row(mesh: &Mesh, node: u8) -> Vec<u8> {
    mesh.node(node).row().into_iter().map(|node| node.0).collect()
}

fn state(mesh: &Mesh, node: u8, peer: u8) -> PathState {
    let status = mesh.status(node);
    let peer = status.peers.iter().find(|status| status.node == NodeId(peer));
    peer.expect("it is configured").paths[0].state
}

fn lost(mesh: &Mesh) -> Vec<(u8, u8, LostReason)> {
    let outputs = mesh.log.iter();
    let lost = outputs.filter_map(|(_, node, output)| match output {
        Output::Lost { peer, why } => Some((*node, peer.node.0, *why)),
        _ => None,
    });
    lost.collect()
}

#[test]
fn each_watches_its_neighbours_and_the_centre() {
    let mesh = formed();
    assert_eq!(row(&mesh, 0).len(), 11, "the hub watches everybody");
    assert_eq!(row(&mesh, 6), [0, 1, 5, 7]);
    assert_eq!(row(&mesh, 11), [0, 1, 10]);
    assert_eq!(state(&mesh, 6, 9), PathState::Resting);
    assert_eq!(state(&mesh, 6, 7), PathState::Alive);
}

#[test]
fn frames_grow_with_the_nodes_and_not_with_their_square() {
    let mut mesh = formed();
    mesh.keeps = true;
    mesh.run_ms(5_000);
    // 10 others with 4 each, less the neighbourhoods that coincide with the centre; the centre has
    // 11 each. A little more, because intervals vary downwards.
    let watched: usize = (0..NODES).map(|node| row(&mesh, node).len()).sum();
    assert_eq!(watched, 2 * 11 + 2 * 3 + 8 * 4);
    let intervals = 5_000 / 50;
    let frames = mesh.sent.len();
    assert!((watched * intervals..watched * intervals * 108 / 100).contains(&frames), "{frames}");
    assert_eq!(lost(&mesh), []);
}

#[test]
fn what_nobody_watches_rests_without_a_word() {
    let mut mesh = Mesh::ring(Preset::Fast, NODES, 1, 5);
    mesh.run_ms(1_000);
    mesh.log.clear();
    watch_as_ring(&mut mesh, &[0, 1]);
    mesh.run_ms(2_000);
    let lost = lost(&mesh);
    assert_eq!(lost.len(), 12 * 11 - (2 * 11 + 2 * 3 + 8 * 4));
    assert!(lost.iter().all(|(_, _, why)| *why == LostReason::Unwatched), "{lost:?}");
    let is_path = |output: &Output| matches!(output, Output::PathChanged { .. });
    assert!(!mesh.log.iter().any(|(_, _, output)| is_path(output)), "that is no news of paths");
}

#[test]
fn whoever_watches_is_answered_at_once() {
    let mut mesh = formed();
    mesh.input(6, Input::Watch(Watch::Everybody));
    mesh.run_ms(100);
    assert_eq!(row(&mesh, 6).len(), 11);
    assert!(row(&mesh, 9).contains(&6), "and sees that the other one is there");
    assert_eq!(state(&mesh, 9, 6), PathState::Alive);
    watch_as_ring(&mut mesh, &[0, 1]);
    mesh.run_ms(1_000);
    assert_eq!(row(&mesh, 6), [0, 1, 5, 7]);
    assert_eq!(row(&mesh, 9), [0, 1, 8, 10]);
    assert!(lost(&mesh).iter().all(|(_, _, why)| *why == LostReason::Unwatched));
}

#[test]
fn the_centre_and_the_neighbours_see_that_a_node_is_dead() {
    let mut mesh = formed();
    mesh.kill(6);
    mesh.run_ms(1_000);
    let mut seen = lost(&mesh);
    seen.sort_unstable();
    let silent = LostReason::Silent;
    assert_eq!(seen, [(0, 6, silent), (1, 6, silent), (5, 6, silent), (7, 6, silent)]);
    // Without it the ring closes.
    watch_as_ring(&mut mesh, &[0, 1]);
    mesh.run_ms(1_000);
    assert_eq!(row(&mesh, 5), [0, 1, 4, 7]);
}

#[test]
fn a_woken_path_to_a_dead_node_is_dead_after_the_timeout() {
    let mut mesh = formed();
    mesh.kill(6);
    mesh.run_ms(1_000);
    mesh.log.clear();
    assert_eq!(state(&mesh, 9, 6), PathState::Resting);
    mesh.input(9, Input::Watch(Watch::Everybody));
    mesh.run_ms(200);
    assert_eq!(state(&mesh, 9, 6), PathState::Resting, "not known yet");
    mesh.run_ms(200);
    assert_eq!(state(&mesh, 9, 6), PathState::Dead);
}

#[test]
fn a_restarted_node_finds_everybody() {
    let mut mesh = formed();
    mesh.kill(6);
    mesh.run_ms(1_000);
    watch_as_ring(&mut mesh, &[0, 1]);
    mesh.start(6);
    mesh.run_ms(400);
    assert_eq!(row(&mesh, 6).len(), 11, "it watches everybody and is answered");
}

#[test]
fn a_message_wakes_paths_that_rest_until_it_has_arrived() {
    let mut mesh = formed();
    assert_eq!(mesh.node(3).connected(NodeId(9)), None);
    assert!(mesh.node(3).within_reach(NodeId(9)).is_some());
    mesh.send(3, 9, Lane::Bulk, b"a word".to_vec());
    mesh.run_ms(150);
    let is_word =
        |output: &Output| matches!(output, Output::Message { message, .. } if message == b"a word");
    assert!(mesh.take_log(9).iter().any(is_word));
    mesh.send(9, 3, Lane::Bulk, b"a word".to_vec());
    mesh.run_ms(50);
    assert!(mesh.take_log(3).iter().any(is_word), "and the answer");
    mesh.run_ms(1_000);
    assert_eq!(state(&mesh, 3, 9), PathState::Resting);
    assert_eq!(state(&mesh, 9, 3), PathState::Resting);
    mesh.keeps = true;
    mesh.run_ms(1_000);
    let is_between = |(_, from, path, _): &(_, u8, transport::PathId, _)| {
        [(3, 9), (9, 3)].contains(&(*from, path.peer.0))
    };
    assert!(!mesh.sent.iter().any(is_between), "nothing goes between them any more");
}

#[test]
fn a_message_to_a_dead_node_keeps_paths_awake_for_a_while_only() {
    let mut mesh = formed();
    mesh.kill(9);
    mesh.run_ms(1_000);
    mesh.send(3, 9, Lane::Bulk, b"a word".to_vec());
    mesh.run_ms(1_000);
    assert_eq!(state(&mesh, 3, 9), PathState::Dead);
    assert_eq!(mesh.node(3).within_reach(NodeId(9)), None);
    mesh.run_ms(10_000);
    assert_eq!(state(&mesh, 3, 9), PathState::Resting);
}
