use base::limits::NODES_MAX;
use base::{NetworkId, NodeId};
use transport::PathId;

use super::each_peer_first;

/// As many nodes as there can be, with three networks: more frames than the guard has places for.
#[test]
fn the_guard_has_a_goodbye_for_every_peer() {
    let peers = 1..NODES_MAX as u8;
    let paths = peers.clone().flat_map(|peer| {
        (0..3).map(move |network| PathId { peer: NodeId(peer), network: NetworkId(network) })
    });
    let frames: Vec<(PathId, Vec<u8>)> = paths.map(|path| (path, vec![path.peer.0])).collect();
    let count = frames.len();
    assert!(count > os::shared::GOODBYES_MAX);
    let ordered = each_peer_first(frames);
    assert_eq!(ordered.len(), count);
    assert!(ordered.iter().all(|(path, frame)| *frame == [path.peer.0]));
    let kept = &ordered[..os::shared::GOODBYES_MAX];
    for peer in peers {
        assert!(kept.iter().any(|(path, _)| path.peer == NodeId(peer)), "nothing for {peer}");
    }
}
