use base::NetworkId;
use base::limits::NODES_MAX;

use super::*;

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

#[test]
fn the_guard_gets_them_anew_when_their_ways_change() {
    let path = |peer| PathId { peer: NodeId(peer), network: NetworkId(0) };
    let at = |last: u8| SocketAddr::from(([10, 0, 0, last], 7946));
    let mut goodbyes = Goodbyes::default();
    assert_eq!(goodbyes.due(|path| Some((at(1), at(path.peer.0)))), None, "no life yet");
    let life = Incarnation(7);
    goodbyes.replace(life, vec![(path(2), vec![2]), (path(3), vec![3])]);
    assert_eq!(goodbyes.due(|_| None), Some((life, &[][..])), "no way is known yet");
    assert_eq!(goodbyes.due(|_| None), None);
    let goodbye = |to: u8, peer| Goodbye { source: at(1), destination: at(to), frame: vec![peer] };
    let route = |path: PathId| Some((at(1), at(path.peer.0)));
    assert_eq!(goodbyes.due(route), Some((life, &[goodbye(2, 2), goodbye(3, 3)][..])));
    assert_eq!(goodbyes.due(route), None, "it has them");
    // A peer moves, and then has no address.
    let route = |path: PathId| Some((at(1), at(path.peer.0 + 7)));
    assert_eq!(goodbyes.due(route), Some((life, &[goodbye(9, 2), goodbye(10, 3)][..])));
    let route = |path: PathId| (path.peer == NodeId(3)).then_some((at(1), at(3)));
    assert_eq!(goodbyes.due(route), Some((life, &[goodbye(3, 3)][..])));
    assert_eq!(goodbyes.due(|_| None), Some((life, &[][..])));
    goodbyes.replace(Incarnation(8), vec![(path(3), vec![8])]);
    assert_eq!(goodbyes.due(route), Some((Incarnation(8), &[goodbye(3, 8)][..])));
}
