//! Restarts, goodbyes, earlier lives and second machines.

use std::time::Duration;

use base::{Incarnation, Member, NetworkId, NodeId, Preset};
use transport::{Count, Input, Lane, LostReason, Output};

use crate::mesh::Mesh;

fn member(node: u8, incarnation: u64) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(incarnation) }
}

#[test]
fn a_restarted_peer_is_lost_and_connected_in_its_new_life_quickly() {
    for seed in 0..20 {
        let mut mesh = Mesh::new(Preset::Fast, 3, 2, seed);
        mesh.run_ms(500 + seed * 11);
        mesh.log.clear();
        // Killed and started again before anybody notices the silence.
        mesh.kill(1);
        mesh.run_ms(30);
        mesh.start(1);
        mesh.run_ms(250);
        for node in [0, 2] {
            let log = mesh.take_log(node);
            let expected = [
                Output::Lost { peer: member(1, 2), why: LostReason::Superseded },
                Output::Connected { peer: member(1, 4) },
            ];
            assert_eq!(log, expected, "seed {seed}, node {node}");
        }
        assert_eq!(mesh.node(1).row().len(), 2, "seed {seed}");
    }
}

#[test]
fn a_restart_is_quick_although_frames_are_lost() {
    let mut quick = 0;
    for seed in 0..20 {
        let mut mesh = Mesh::new(Preset::Fast, 2, 2, seed);
        mesh.run_ms(1_000);
        mesh.weather.loss_permille = 100;
        mesh.kill(1);
        mesh.run_ms(30);
        mesh.start(1);
        mesh.run_ms(250);
        quick += u32::from(mesh.node(0).connected(NodeId(1)) == Some(member(1, 3)));
    }
    assert_eq!(quick, 20);
}

#[test]
fn what_was_queued_for_the_old_life_is_dropped() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 1);
    mesh.run_ms(500);
    mesh.kill(1);
    for _ in 0..10 {
        mesh.send(0, 1, Lane::Bulk, b"for the old life".to_vec());
        mesh.send(0, 1, Lane::Urgent, b"for the old life".to_vec());
    }
    mesh.run_ms(50);
    mesh.start(1);
    mesh.run_ms(300);
    mesh.send(0, 1, Lane::Bulk, b"for the new life".to_vec());
    mesh.run_ms(500);
    let messages: Vec<_> = mesh
        .take_log(1)
        .into_iter()
        .filter_map(|output| match output {
            Output::Message { message, .. } => Some(message),
            _ => None,
        })
        .collect();
    assert_eq!(messages, [b"for the new life".to_vec()]);
}

#[test]
fn frames_of_an_earlier_life_change_nothing_but_a_counter() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 2);
    mesh.keeps = true;
    mesh.run_ms(500);
    mesh.send(1, 0, Lane::Bulk, b"once".to_vec());
    mesh.run_ms(100);
    let old: Vec<_> = mesh.sent.iter().filter(|sent| sent.1 == 1).cloned().collect();
    mesh.kill(1);
    mesh.start(1);
    mesh.run_ms(1_000);
    mesh.log.clear();
    mesh.sent.clear();
    let before = (mesh.node(0).last_received(NodeId(1)), mesh.count(0, Count::EarlierLife));
    for (_, _, path, bytes) in &old {
        mesh.input(0, Input::Receive { network: path.network, bytes: bytes.clone() });
    }
    assert!(mesh.log.is_empty(), "{:?}", mesh.log);
    assert!(mesh.sent.is_empty());
    assert_eq!(mesh.node(0).last_received(NodeId(1)), before.0);
    assert_eq!(mesh.count(0, Count::EarlierLife), before.1 + old.len() as u64);
    assert_eq!(mesh.status(0).peers[0].candidate, None);
}

#[test]
fn an_earlier_life_does_not_come_back_while_the_peer_is_away() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 3);
    mesh.keeps = true;
    mesh.run_ms(500);
    let old: Vec<_> = mesh.sent.iter().filter(|sent| sent.1 == 1).cloned().collect();
    mesh.kill(1);
    mesh.start(1);
    mesh.run_ms(500);
    mesh.kill(1);
    mesh.run_ms(2_000);
    mesh.log.clear();
    for (_, _, path, bytes) in old {
        mesh.input(0, Input::Receive { network: path.network, bytes });
        mesh.run_ms(10);
    }
    mesh.run_ms(1_000);
    assert!(mesh.log.is_empty(), "{:?}", mesh.log);
    assert_eq!(mesh.status(0).peers[0].incarnation, Some(Incarnation(3)));
}

#[test]
fn a_second_machine_with_a_lower_incarnation_is_counted_and_ignored() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 4);
    let twin = {
        let mut config = mesh.config(1);
        config.incarnation = Incarnation(1);
        config
    };
    mesh.run_ms(500);
    mesh.log.clear();
    let mut twin = transport::Transport::new(twin, base::Prng::new(99), mesh.now);
    mesh.keeps = true;
    for _ in 0..40 {
        mesh.run_ms(20);
        // The twin hears what node 0 sends to node 1, and says what it says.
        let heard: Vec<_> = mesh.sent.drain(..).filter(|sent| sent.1 == 0).collect();
        for (_, _, path, bytes) in heard {
            twin.handle(mesh.now, Input::Receive { network: path.network, bytes });
            while twin.poll_output().is_some() {}
        }
        twin.handle(mesh.now, Input::Turn { drained: true });
        while let Some(output) = twin.poll_output() {
            if let Output::Transmit { path, bytes } = output {
                mesh.fly(path.peer.0, path.network, bytes);
            }
        }
    }
    assert!(mesh.log.is_empty(), "{:?}", mesh.log);
    assert!(mesh.count(0, Count::DuplicateNodeId) > 10);
    assert_eq!(mesh.node(0).connected(NodeId(1)), Some(member(1, 2)));
    assert!(twin.row().is_empty());
}

#[test]
fn a_wiped_node_with_a_lower_incarnation_comes_back_once_the_old_life_is_silent() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 5);
    mesh.run_ms(500);
    mesh.kill(1);
    let mut config = mesh.config(1);
    config.incarnation = Incarnation(1);
    mesh.start_as(1, config);
    mesh.run_ms(150);
    assert_eq!(mesh.node(0).connected(NodeId(1)), Some(member(1, 2)));
    mesh.run_ms(500);
    assert_eq!(mesh.node(0).connected(NodeId(1)), Some(member(1, 1)));
}

#[test]
fn a_goodbye_ends_a_life_at_once_and_for_good() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 2, 6);
    mesh.run_ms(500);
    mesh.log.clear();
    let frames = mesh.node_mut(1).goodbye_frames();
    assert_eq!(frames.len(), 2);
    let now = mesh.now;
    for (path, bytes) in &frames {
        mesh.input(0, Input::Receive { network: path.network, bytes: bytes.clone() });
    }
    let expected = [
        Output::Goodbye { from: member(1, 2) },
        Output::Lost { peer: member(1, 2), why: LostReason::Goodbye },
    ];
    assert_eq!(mesh.take_log(0), expected);
    // The daemon that did not know that it is dead goes on talking.
    mesh.run_ms(2_000);
    assert_eq!(mesh.take_log(0), []);
    assert!(mesh.count(0, Count::EarlierLife) > 10);
    assert!(mesh.node(0).row().is_empty());
    // A new life connects as ever.
    mesh.start(1);
    mesh.run_ms(250);
    assert_eq!(mesh.take_log(0), [Output::Connected { peer: member(1, 3) }]);
    assert!(mesh.now.since(now) > Duration::from_secs(2));
}

#[test]
fn the_goodbye_of_the_life_before_is_still_heard_after_a_restart() {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 7);
    mesh.run_ms(500);
    let (_, frame) = mesh.node_mut(1).goodbye_frames().remove(0);
    mesh.kill(1);
    mesh.start(1);
    mesh.run_ms(300);
    mesh.log.clear();
    let goodbye = || Input::Receive { network: NetworkId(0), bytes: frame.clone() };
    mesh.input(0, goodbye());
    mesh.input(0, goodbye());
    assert_eq!(mesh.take_log(0), [Output::Goodbye { from: member(1, 2) }]);
    assert_eq!(mesh.count(0, Count::EarlierLife), 1);
    assert_eq!(mesh.node(0).connected(NodeId(1)), Some(member(1, 3)));
}

#[test]
fn reports_and_rows_travel_in_heartbeats() {
    let mut mesh = Mesh::new(Preset::Fast, 3, 2, 8);
    mesh.run_ms(500);
    assert_eq!(mesh.node(0).report(NodeId(1)), Some(&[][..]));
    mesh.node_mut(1).set_report(b"all is well");
    mesh.keeps = true;
    mesh.run_ms(200);
    assert_eq!(mesh.node(0).report(NodeId(1)), Some(&b"all is well"[..]));
    let changes = mesh.heard.iter().filter(|(_, node, output)| {
        *node == 0 && matches!(output, Output::Heard { report_changed: true, .. })
    });
    assert_eq!(changes.count(), 1);
    let rows = mesh.heard.iter().filter_map(|(_, _, output)| match output {
        Output::Heard { row, .. } => Some(row.len()),
        _ => None,
    });
    assert!(rows.into_iter().all(|length| length == 2));
    mesh.kill(1);
    mesh.start(1);
    mesh.run_ms(300);
    assert_eq!(mesh.node(0).report(NodeId(1)), Some(&[][..]), "another life, another report");
}
