//! Halves that ask arbiters, and the arbiters themselves.

use base::{NodeId, Tie};

use super::world::World;
use crate::arbiter::{Acceptor, Answer, Request};
use crate::wire::{Ballot, Outside, Scope};

const ONE: Tie = Tie::Arbiters { count: 1, name: 7 };
const THREE: Tie = Tie::Arbiters { count: 3, name: 7 };

fn formed(count: u8, tie: Tie) -> World {
    let mut world = World::new(count, tie);
    world.start_all();
    world.run(1_000);
    assert_eq!(world.members(1).len(), usize::from(count));
    world
}

fn load(world: &mut World, loads: &[(u8, u32)]) {
    let loads = loads.iter().map(|(node, load)| (NodeId(*node), *load));
    for id in world.nodes.keys().copied().collect::<Vec<u8>>() {
        world.node(id).group.weigh(loads.clone().collect(), Outside::Reached);
    }
}

#[test]
fn the_half_that_carries_more_goes_on_and_the_other_learns_it() {
    for loaded in [1, 2] {
        let mut world = formed(2, ONE);
        load(&mut world, &[(loaded, 1)]);
        world.cut(1, 2);
        world.run(2_000);
        let other = 3 - loaded;
        assert_eq!(world.members(loaded), [loaded]);
        assert!(world.holds_lease(loaded) && !world.holds_lease(other));
        let reason = world.node(other).excluded.clone().expect("it is told by the arbiter");
        assert!(reason.contains("left out"), "{reason}");
    }
}

#[test]
fn a_node_that_is_cut_off_from_its_clients_asks_last() {
    let mut world = formed(2, ONE);
    load(&mut world, &[(1, 5)]);
    let loads = [(NodeId(1), 5)].into_iter().collect();
    world.node(1).group.weigh(loads, Outside::NoCarrier);
    world.cut(1, 2);
    world.run(2_000);
    assert_eq!(world.members(2), [2]);
    assert!(!world.holds_lease(1));
}

#[test]
fn a_half_that_reaches_its_gateway_goes_on_before_one_that_carries_more() {
    let heard = |world: &mut World, which: &[u8]| {
        for id in which {
            let loads = [(NodeId(1), 5)].into_iter().collect();
            world.node(*id).group.weigh(loads, Outside::NoGateway);
        }
        world.run(500);
    };
    let mut world = formed(2, ONE);
    load(&mut world, &[(1, 5)]);
    heard(&mut world, &[1]);
    world.cut(1, 2);
    world.run(2_000);
    assert_eq!(world.members(2), [2]);
    assert!(!world.holds_lease(1));

    // Where neither reaches it, what they carry decides.
    let mut world = formed(2, ONE);
    load(&mut world, &[(1, 5)]);
    heard(&mut world, &[1, 2]);
    world.cut(1, 2);
    world.run(2_000);
    assert_eq!(world.members(1), [1]);
    assert!(!world.holds_lease(2));

    // One node of a half is enough.
    let mut world = formed(4, ONE);
    load(&mut world, &[(1, 5)]);
    heard(&mut world, &[1]);
    for (a, b) in [(1, 3), (1, 4), (2, 3), (2, 4)] {
        world.cut(a, b);
    }
    world.run(2_000);
    assert_eq!(world.members(1), [1, 2]);
    assert!(!world.holds_lease(3));
}

#[test]
fn a_gateway_that_is_lost_with_the_other_half_still_counts() {
    // The other node has not heard of it, and asks late because it carries less.
    let mut world = formed(2, ONE);
    load(&mut world, &[(1, 5)]);
    world.cut(1, 2);
    let loads = [(NodeId(1), 5)].into_iter().collect();
    world.node(1).group.weigh(loads, Outside::NoGateway);
    world.run(2_000);
    assert_eq!(world.members(2), [2]);
    assert!(!world.holds_lease(1));
}

#[test]
fn a_handicap_costs_no_more_than_the_budget_when_the_other_half_is_dead() {
    let mut world = formed(2, ONE);
    let loads = [(NodeId(1), 5)].into_iter().collect();
    world.node(1).group.weigh(loads, Outside::NoGateway);
    world.run(500);
    world.stop(2);
    world.run(2_000);
    assert_eq!(world.members(1), [1]);
    assert!(world.holds_lease(1));
}

#[test]
fn without_its_arbiter_a_half_waits_and_goes_on_when_it_is_back() {
    let mut world = formed(4, ONE);
    world.arbiters_down.insert(0);
    for (a, b) in [(1, 3), (1, 4), (2, 3), (2, 4)] {
        world.cut(a, b);
    }
    world.run(3_000);
    assert!((1..=4).all(|id| !world.holds_lease(id)));
    let waiting = world.node(1).group.status().waiting.expect("it says so");
    assert!(waiting.contains("the tie-breaker has not decided"), "{waiting}");
    world.arbiters_down.clear();
    world.run(2_000);
    let going_on = (1..=4).filter(|id| world.holds_lease(*id)).count();
    assert_eq!(going_on, 2, "one half, and only one");
}

#[test]
fn two_of_three_arbiters_are_enough_and_one_is_not() {
    let mut world = formed(2, THREE);
    world.arbiters_down.extend([0, 1]);
    world.stop(2);
    world.run(2_000);
    assert!(!world.holds_lease(1));
    world.arbiters_down.remove(&0);
    world.run(2_000);
    assert!(world.holds_lease(1));
    assert_eq!(world.members(1), [1]);
}

/// Node 1 loses the answers that are named, and then its power; what the arbiter has done stays.
fn node_1_dies_without(is_lost: fn(&Answer) -> bool) -> World {
    let mut world = formed(2, ONE);
    load(&mut world, &[(1, 1)]);
    world.is_lost = is_lost;
    world.cut(1, 2);
    world.run(100);
    world.stop(1);
    world.is_lost = |_| false;
    world.run(2_000);
    world
}

#[test]
fn a_promise_of_which_nobody_heard_binds_nobody() {
    let mut world = node_1_dies_without(|answer| matches!(answer, Answer::Promised(_)));
    assert_eq!(world.members(2), [2]);
    assert!(world.holds_lease(2));
}

#[test]
fn a_decision_of_which_nobody_heard_is_not_overruled() {
    let mut world = node_1_dies_without(|answer| matches!(answer, Answer::Accepted));
    assert!(world.node(2).excluded.is_some(), "node 1 may have gone on");
    assert!(!world.holds_lease(2));
}

#[test]
fn more_than_half_needs_no_arbiter() {
    let mut world = formed(3, ONE);
    world.arbiters_down.insert(0);
    world.stop(3);
    world.run(1_000);
    assert_eq!(world.members(1), [1, 2]);
}

#[test]
fn another_tie_breaker_counts_from_the_next_view_on() {
    let mut world = formed(2, Tie::Prefer(NodeId(2)));
    // The entry that changes it was delivered at node 1 and not at node 2.
    let nodes = world.node(1).group.config.nodes;
    world.cut(1, 2);
    world.node(1).group.reconfigure(nodes, 2, Tie::Prefer(NodeId(1)), 2);
    world.run(2_000);
    assert!(world.holds_lease(2));
    assert!(!world.holds_lease(1), "its new configuration gives it no vote in the old view");
}

#[test]
fn a_changed_tie_breaker_makes_a_view_of_its_own() {
    let mut world = formed(2, Tie::None);
    let before = world.node(1).group.view().expect("a member").generation;
    for id in [1, 2] {
        let nodes = world.node(id).group.config.nodes;
        world.node(id).group.reconfigure(nodes, 2, ONE, 2);
    }
    world.run(500);
    for id in [1, 2] {
        let view = world.node(id).group.view().expect("a member");
        assert_eq!((view.generation, view.tie, view.members.len()), (before + 1, ONE, 2));
    }
}

#[test]
fn other_arbiters_than_those_of_the_view_decide_nothing() {
    let mut world = formed(2, ONE);
    let nodes = world.node(1).group.config.nodes;
    // The entry that names others was delivered at node 1; its change is cut off half way.
    let others = Tie::Arbiters { count: 1, name: 8 };
    world.node(1).group.reconfigure(nodes, 2, others, 2);
    world.cut(1, 2);
    world.run(2_000);
    assert!(!world.holds_lease(1), "it knows only others, and they have no say yet");
    assert!(world.holds_lease(2));
}

#[test]
fn what_a_damaged_arbiter_says_is_not_followed() {
    for is_readable in [false, true] {
        let mut world = formed(2, ONE);
        let crate::Phase::Member(membership) = &world.node(1).group.phase else { panic!("in it") };
        let scope = Scope::of(&membership.view);
        // What can be read is the decision for the view itself: no successor of it.
        let past = base::codec::encode(&membership.value);
        let value = Some(if is_readable { past } else { b"nonsense".to_vec() });
        let ballot = Ballot { round: 0, node: 0 };
        world.arbiters[0].handle(&Request { arbiters: 7, scope, ballot, value });
        world.cut(1, 2);
        world.run(2_000);
        assert!((1..=2).all(|id| world.members(id) == [1, 2]), "neither half goes on");
        assert!((1..=2).all(|id| !world.holds_lease(id)));
    }
}

const SCOPE: Scope = Scope { lineage: 1, generation: 5 };

fn request(scope: Scope, round: u32, node: u8, value: Option<&[u8]>) -> Request {
    Request { arbiters: 7, scope, ballot: Ballot { round, node }, value: value.map(<[u8]>::to_vec) }
}

#[test]
fn an_acceptor_keeps_its_promises_and_what_it_accepted() {
    let mut acceptor = Acceptor::default();
    let mut answer = |request: Request| acceptor.handle(&request).answer;
    assert_eq!(answer(request(SCOPE, 1, 1, None)), Answer::Promised(None));
    assert_eq!(answer(request(SCOPE, 1, 2, None)), Answer::Promised(None));
    let refused = answer(request(SCOPE, 1, 1, Some(b"one")));
    assert_eq!(refused, Answer::Refused(Ballot { round: 1, node: 2 }));
    assert_eq!(answer(request(SCOPE, 1, 2, Some(b"two"))), Answer::Accepted);
    assert_eq!(answer(request(SCOPE, 1, 2, Some(b"two"))), Answer::Accepted, "asked twice");
    let Answer::Promised(Some(accepted)) = answer(request(SCOPE, 2, 1, None)) else {
        panic!("it has accepted something");
    };
    assert_eq!(accepted.value, b"two");
    assert!(matches!(answer(request(SCOPE, 1, 2, None)), Answer::Refused(_)));
}

#[test]
fn an_acceptor_forgets_past_views_and_answers_nobody_from_them() {
    let mut acceptor = Acceptor::default();
    let later = Scope { generation: 6, ..SCOPE };
    let mut answer = |request: Request| acceptor.handle(&request).answer;
    assert_eq!(answer(request(SCOPE, 1, 1, Some(b"one"))), Answer::Accepted);
    assert_eq!(answer(request(later, 1, 1, None)), Answer::Promised(None));
    assert_eq!(answer(request(SCOPE, 9, 2, None)), Answer::Past(6));
    // Another history is another matter.
    let other = Scope { lineage: 2, generation: 1 };
    assert_eq!(answer(request(other, 1, 1, None)), Answer::Promised(None));
    assert_eq!(answer(request(later, 1, 2, None)), Answer::Promised(None));
}

#[test]
fn the_longest_value_fits() {
    use base::limits::NODES_MAX;
    use base::{Incarnation, Member, NodeId as Id, View};

    use crate::wire::{Absence, Value, Wait};

    let incarnation = Incarnation(u64::MAX);
    let nodes = || (0..NODES_MAX).map(|node| Id(node as u8));
    let members: Vec<Member> = nodes().map(|node| Member { node, incarnation }).collect();
    let absence = |node| Absence { node, incarnation, generation: u64::MAX };
    let value = Value {
        view: View {
            lineage: u32::MAX,
            generation: u64::MAX,
            members: members.clone(),
            hub: Id(1),
            tie: Tie::Arbiters { count: 3, name: u64::MAX },
        },
        // Nobody both joins and leaves.
        joiners: members[..NODES_MAX / 2].to_vec(),
        left: members[NODES_MAX / 2..].to_vec(),
        trim: u64::MAX,
        trim_hash: u64::MAX,
        waits: nodes()
            .map(|node| Wait { absence: absence(node), age_ms: u64::MAX, is_lapsed: true })
            .collect(),
    };
    assert!(base::codec::encode(&value).len() <= crate::VALUE_SIZE_MAX);
}
