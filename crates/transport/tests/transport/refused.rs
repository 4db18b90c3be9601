//! Frames that must change nothing but a counter.

use base::{NetworkId, NodeId, Preset};
use transport::{Count, Input, Output, Transport};

use crate::mesh::Mesh;

/// Everything that a refused frame must leave alone.
fn picture(mesh: &Mesh) -> String {
    let mut status = mesh.status(0);
    status.counters.clear();
    for path in status.peers.iter_mut().flat_map(|peer| &mut peer.paths) {
        path.counters.clear();
    }
    format!("{status:?} {:?}", mesh.node(0).last_received(NodeId(1)))
}

/// Feeds frames to node 0, which must count each as `kind` and do nothing else.
fn refuse(mesh: &mut Mesh, kind: Count, frames: &[Vec<u8>]) {
    assert!(!frames.is_empty());
    mesh.log.clear();
    mesh.sent.clear();
    let before = (picture(mesh), mesh.count(0, kind), mesh.node(0).deadline());
    for frame in frames {
        let input = Input::Receive { network: NetworkId(0), bytes: frame.clone() };
        mesh.input(0, input);
    }
    assert!(mesh.log.is_empty() && mesh.sent.is_empty(), "{:?}", mesh.log);
    let after = (picture(mesh), mesh.count(0, kind), mesh.node(0).deadline());
    assert_eq!(after, (before.0, before.1 + frames.len() as u64, before.2));
    assert!(kind.text().ends_with('.'));
}

fn connected() -> Mesh {
    let mut mesh = Mesh::new(Preset::Fast, 2, 1, 1);
    mesh.keeps = true;
    mesh.run_ms(500);
    mesh
}

fn sent_by(mesh: &Mesh, node: u8) -> Vec<Vec<u8>> {
    mesh.sent.iter().filter(|sent| sent.1 == node).map(|sent| sent.3.clone()).collect()
}

fn heartbeats(mut transport: Transport, mesh: &Mesh) -> Vec<Vec<u8>> {
    transport.handle(mesh.now, Input::Turn { drained: true });
    let mut frames = Vec::new();
    while let Some(output) = transport.poll_output() {
        if let Output::Transmit { bytes, .. } = output {
            frames.push(bytes);
        }
    }
    frames
}

#[test]
fn replayed_frames() {
    let mut mesh = connected();
    mesh.run_ms(1);
    let frames = sent_by(&mesh, 1);
    refuse(&mut mesh, Count::Replay, &frames);
}

#[test]
fn reflected_frames() {
    let mut mesh = connected();
    let frames = sent_by(&mesh, 0);
    refuse(&mut mesh, Count::Reflected, &frames);
}

#[test]
fn another_cluster() {
    let mut mesh = connected();
    let mut config = mesh.config(1);
    config.cluster += 1;
    let frames = heartbeats(Transport::new(config, base::Prng::new(1), mesh.now), &mesh);
    refuse(&mut mesh, Count::WrongCluster, &frames);
}

#[test]
fn another_key() {
    let mut mesh = connected();
    let mut config = mesh.config(1);
    config.keys = [Some([8; 32]), Some([9; 32])];
    let frames = heartbeats(Transport::new(config.clone(), base::Prng::new(1), mesh.now), &mesh);
    refuse(&mut mesh, Count::WrongKey, &frames);
    // A slot in which we have no key.
    config.active_key = 1;
    let frames = heartbeats(Transport::new(config, base::Prng::new(1), mesh.now), &mesh);
    refuse(&mut mesh, Count::WrongKey, &frames);
}

#[test]
fn a_changed_bit_anywhere_behind_the_addresses() {
    let mut mesh = connected();
    mesh.cuts.insert((1, 0, 0));
    mesh.sent.clear();
    mesh.run_ms(60);
    let frame = sent_by(&mesh, 1).remove(0);
    // The session, the counter, the body, the tag.
    let changed: Vec<_> = (16..frame.len())
        .map(|place| {
            let mut frame = frame.clone();
            frame[place] ^= 1 << (place % 8);
            frame
        })
        .collect();
    // A changed counter may look like an old one.
    let (counters, others): (Vec<_>, Vec<_>) =
        changed.into_iter().partition(|changed| changed[32..40] != frame[32..40]);
    refuse(&mut mesh, Count::WrongKey, &others);
    let wrong = |mesh: &Mesh| mesh.count(0, Count::WrongKey) + mesh.count(0, Count::Replay);
    let before = wrong(&mesh);
    for bytes in &counters {
        mesh.input(0, Input::Receive { network: NetworkId(0), bytes: bytes.clone() });
    }
    assert_eq!(wrong(&mesh), before + counters.len() as u64);
}

#[test]
fn our_number_in_another_life() {
    let mut mesh = connected();
    let config = mesh.config(0);
    let frames = heartbeats(Transport::new(config, base::Prng::new(1), mesh.now), &mesh);
    refuse(&mut mesh, Count::DuplicateNodeId, &frames);
}

#[test]
fn other_addressees_networks_and_nodes() {
    let mut mesh = connected();
    mesh.cuts.insert((1, 0, 0));
    mesh.sent.clear();
    mesh.run_ms(60);
    let frame = sent_by(&mesh, 1).remove(0);
    let with = |place: usize, value: u8| {
        let mut frame = frame.clone();
        frame[place] = value;
        vec![frame]
    };
    refuse(&mut mesh, Count::Misdirected, &with(9, 5));
    refuse(&mut mesh, Count::Crossed, &with(11, 1));
    refuse(&mut mesh, Count::UnknownPath, &with(8, 77));
    refuse(&mut mesh, Count::UnknownPath, &with(8, 200));
    refuse(&mut mesh, Count::Malformed, &with(0, 0));
    refuse(&mut mesh, Count::Malformed, &with(12, 2));
    refuse(&mut mesh, Count::Malformed, &with(13, 5));
    let mut newer = frame.clone();
    newer[2..4].copy_from_slice(&[2, 9]);
    refuse(&mut mesh, Count::Version, &[newer]);
}

#[test]
fn noise_of_every_length() {
    let mut mesh = connected();
    let mut prng = base::Prng::new(5);
    let noise: Vec<_> = (0..1_400)
        .map(|length| (0..length).map(|_| prng.next_u64() as u8).collect::<Vec<u8>>())
        .collect();
    refuse(&mut mesh, Count::Malformed, &noise);
    // Frames that were cut short, down to the header.
    mesh.cuts.insert((1, 0, 0));
    mesh.sent.clear();
    mesh.run_ms(60);
    let frame = sent_by(&mesh, 1).remove(0);
    let cut: Vec<_> = (0..96).map(|length| frame[..length].to_vec()).collect();
    refuse(&mut mesh, Count::Malformed, &cut);
    let cut: Vec<_> = (96..frame.len()).map(|length| frame[..length].to_vec()).collect();
    refuse(&mut mesh, Count::WrongKey, &cut);
}

#[test]
fn a_key_is_rotated_while_nothing_goes_down() {
    let mut mesh = connected();
    let (old, new) = (Some([7; 32]), Some([8; 32]));
    mesh.log.clear();
    let newest = Some([9; 32]);
    for (keys, active) in
        [([old, new], 0), ([old, new], 1), ([None, new], 1), ([newest, new], 1), ([newest, new], 0)]
    {
        for node in [0, 1] {
            mesh.node_mut(node).set_keys(keys, active);
            mesh.run_ms(300);
        }
    }
    assert!(mesh.log.is_empty(), "{:?}", mesh.log);
    assert_eq!(mesh.count(0, Count::WrongKey) + mesh.count(1, Count::WrongKey), 0);
    // The old key is of no use any more, although it was good in this slot.
    let config = mesh.config(1);
    let frames = heartbeats(Transport::new(config, base::Prng::new(1), mesh.now), &mesh);
    refuse(&mut mesh, Count::WrongKey, &frames);
}
