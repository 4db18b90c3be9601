//! Order, loss, ties, leases.

use base::{Instant, NodeId, Tie};

use super::world::World;
use crate::{Proof, Vote, vote};

fn formed(count: u8, tie: Tie) -> World {
    let mut world = World::new(count, tie);
    world.start_all();
    world.run(1_000);
    assert_eq!(world.members(1).len(), usize::from(count));
    world
}

#[test]
fn all_members_deliver_the_same_in_the_same_order() {
    let mut world = formed(3, Tie::None);
    for round in 0..10 {
        for id in 1..=3 {
            world.submit(id, &format!("{id}-{round}"));
        }
        world.run(20);
    }
    world.run(200);
    let first = world.texts(1);
    assert_eq!(first.len(), 30);
    for id in 2..=3 {
        assert_eq!(world.texts(id), first);
    }
}

#[test]
fn a_minority_delivers_nothing_and_loses_its_lease() {
    let mut world = formed(3, Tie::None);
    let hub = world.node(1).group.view().expect("a member").hub.0;
    let others: Vec<u8> = (1..=3).filter(|id| *id != hub).collect();
    for other in &others {
        world.cut(hub, *other);
    }
    world.submit(hub, "never");
    world.run(2_000);
    assert!(world.texts(hub).is_empty());
    assert!(!world.holds_lease(hub));
    assert_eq!(world.members(others[0]).len(), 2);
    assert!(world.holds_lease(others[0]));
    world.heal();
    world.run(1_000);
    let reason = world.node(hub).excluded.clone().expect("it is told");
    assert!(reason.contains("left out"), "{reason}");
    assert!(world.texts(others[0]).is_empty(), "what only the minority held is rolled back");
}

#[test]
fn what_was_rolled_back_is_submitted_again_by_its_origin() {
    let mut world = formed(3, Tie::None);
    let hub = world.node(1).group.view().expect("a member").hub.0;
    let others: Vec<u8> = (1..=3).filter(|id| *id != hub).collect();
    world.cut(hub, others[0]);
    world.cut(hub, others[1]);
    world.submit(others[0], "once");
    world.run(2_000);
    for other in others {
        assert_eq!(world.texts(other), ["once"]);
    }
}

#[test]
fn a_broken_path_between_two_members_harms_nobody() {
    let mut world = formed(3, Tie::None);
    let hub = world.node(1).group.view().expect("a member").hub.0;
    let others: Vec<u8> = (1..=3).filter(|id| *id != hub).collect();
    let before = world.node(hub).views.len();
    world.cut(others[0], others[1]);
    world.run(3_000);
    assert_eq!(world.node(hub).views.len(), before, "no view change");
    assert!((1..=3).all(|id| world.holds_lease(id)));
}

#[test]
fn whoever_reaches_more_than_the_hub_takes_over() {
    let mut world = formed(3, Tie::None);
    let hub = world.node(1).group.view().expect("a member").hub.0;
    let others: Vec<u8> = (1..=3).filter(|id| *id != hub).collect();
    world.cut(hub, others[0]);
    world.run(3_000);
    let view = world.node(others[1]).group.view().expect("a member").clone();
    assert_eq!(view.hub, NodeId(others[1]));
    assert_eq!(view.members.len(), 3, "nobody is expelled");
    assert_eq!(world.members(hub), [1, 2, 3]);
}

#[test]
fn half_of_a_view_waits_without_a_tie_breaker() {
    let mut world = formed(2, Tie::None);
    world.cut(1, 2);
    world.run(3_000);
    for id in 1..=2 {
        assert!(!world.holds_lease(id));
        assert_eq!(world.members(id), [1, 2], "neither half goes on");
        let waiting = world.node(id).group.status().waiting.expect("it says so");
        assert!(waiting.contains("exactly half"), "{waiting}");
    }
    world.heal();
    world.run(1_000);
    assert!(world.holds_lease(1) && world.holds_lease(2), "and all is well again");
}

#[test]
fn the_half_with_the_preferred_node_goes_on() {
    let mut world = formed(2, Tie::Prefer(NodeId(2)));
    world.cut(1, 2);
    world.run(3_000);
    assert_eq!(world.members(2), [2]);
    assert!(world.holds_lease(2) && !world.holds_lease(1));
    assert_eq!(world.node(2).fenced, [(NodeId(1), Proof::Time)]);
}

#[test]
fn a_person_can_confirm_that_the_other_half_is_down() {
    let mut world = formed(2, Tie::None);
    let now = world.now;
    let alive = world.node(1).group.confirm_down(now, NodeId(2));
    assert!(alive.is_err(), "it can be heard");
    world.stop(2);
    world.run(2_000);
    let now = world.now;
    world.node(1).group.confirm_down(now, NodeId(2)).expect("it is silent");
    world.run(500);
    assert_eq!(world.members(1), [1]);
    assert_eq!(world.node(1).fenced, [(NodeId(2), Proof::Operator)]);
    assert!(world.holds_lease(1));
}

#[test]
fn two_halves_are_never_both_granted() {
    let mut world = formed(4, Tie::Prefer(NodeId(3)));
    let view = world.node(1).group.view().expect("a member").clone();
    for bits in 0..16_u128 {
        let half = base::NodeSet::from_bits(bits << 1);
        if half.len() != 2 {
            continue;
        }
        let other = view.nodes().difference(half);
        for tie in [Tie::None, Tie::Manual, Tie::Prefer(NodeId(3)), Tie::Prefer(NodeId(9))] {
            let view = base::View { tie, ..view.clone() };
            let votes = [half, other].map(|half| vote(&view, half, base::NodeSet::EMPTY));
            assert_ne!(votes, [Vote::Granted; 2], "{tie:?}");
        }
    }
}

#[test]
fn four_become_three_two_one() {
    let mut world = formed(4, Tie::Prefer(NodeId(1)));
    for (lost, left) in [(4, 3), (3, 2), (2, 1)] {
        world.stop(lost);
        world.run(2_000);
        assert_eq!(world.members(1).len(), left);
    }
    assert!(world.holds_lease(1));
    let fenced: Vec<NodeId> = world.node(1).fenced.iter().map(|(node, _)| *node).collect();
    assert_eq!(fenced, [NodeId(4), NodeId(3), NodeId(2)]);
}

#[test]
fn a_lost_member_is_not_fenced_before_its_lease_is_over() {
    let mut world = formed(3, Tie::None);
    world.run(35);
    let lease = {
        let now = world.now;
        world.node(3).group.lease_until(now)
    };
    world.stop(3);
    let mut fenced_at = Instant::ZERO;
    for _ in 0..200 {
        world.run(10);
        if !world.node(1).fenced.is_empty() {
            fenced_at = world.now;
            break;
        }
    }
    assert!(fenced_at > lease, "fenced at {fenced_at}, its lease ran to {lease}");
    let fence_wait = base::Preset::Fast.timing().fence_wait();
    assert!(fenced_at.since(lease) < fence_wait, "and not much later");
}

#[test]
fn a_goodbye_takes_the_place_of_the_wait() {
    let mut world = formed(3, Tie::None);
    let gone = base::Member { node: NodeId(3), incarnation: base::Incarnation(1) };
    world.feed(1, crate::Input::Goodbye(gone));
    assert_eq!(world.node(1).group.said_goodbye().next(), None, "it is a member");
    world.stop(3);
    world.run(300);
    assert_eq!(world.node(1).fenced, [], "what it proves is not the group's to know");
    let absence = world.node(1).group.said_goodbye().next().expect("it is lost by now");
    world.feed(1, crate::Input::Fenced(absence, Proof::Goodbye));
    assert_eq!(world.node(1).group.said_goodbye().next(), None);
    world.run(100);
    assert_eq!(world.node(1).fenced, [(NodeId(3), Proof::Goodbye)]);
    assert_eq!(world.node(2).fenced, [(NodeId(3), Proof::Goodbye)]);
}

#[test]
fn an_agents_proof_ends_the_absence_that_it_names_and_no_other() {
    let mut world = formed(3, Tie::None);
    world.stop(3);
    world.run(300);
    let hub = world.hub();
    let absence = world.node(hub).group.waits().next().expect("it is waited for");
    let other = crate::Absence { generation: absence.generation + 1, ..absence };
    world.feed(hub, crate::Input::Fenced(other, Proof::Agent));
    world.run(50);
    assert!(world.node(hub).fenced.is_empty());
    world.feed(hub, crate::Input::Fenced(absence, Proof::Agent));
    world.run(50);
    assert_eq!(world.node(hub).fenced, [(NodeId(3), Proof::Agent)]);
}

#[test]
fn only_the_hub_may_fence_and_only_while_its_lease_lasts() {
    let mut world = formed(3, Tie::None);
    world.stop(3);
    world.run(300);
    let hub = world.hub();
    let other = if hub == 1 { 2 } else { 1 };
    let to_fence = |world: &mut World, id: u8| {
        world
            .node(id)
            .group
            .to_fence()
            .map(|all| all.map(|absence| absence.node).collect::<Vec<_>>())
    };
    assert_eq!(to_fence(&mut world, hub), Some(vec![NodeId(3)]));
    assert_eq!(to_fence(&mut world, other), None);
    world.cut(hub, other);
    world.run(3_000);
    assert_eq!(to_fence(&mut world, hub), None, "it cannot know who went on without it");
}

#[test]
fn a_restarted_member_does_not_shorten_the_wait_for_its_former_life() {
    let mut world = formed(3, Tie::None);
    world.run(5_000);
    let lease = {
        let now = world.now;
        world.node(3).group.lease_until(now)
    };
    // The new life is heard at once, and is gone before it is let in.
    world.start(3, 2);
    world.run(60);
    world.stop(3);
    let fenced_at = loop {
        world.run(10);
        if !world.node(1).fenced.is_empty() {
            break world.now;
        }
        assert!(world.now < lease + base::Preset::Fast.timing().fence_wait() * 3);
    };
    assert!(fenced_at > lease, "fenced at {fenced_at}, its lease ran to {lease}");
}

#[test]
fn nothing_is_delivered_by_a_decision_that_no_disk_has() {
    let mut world = formed(2, Tie::Prefer(NodeId(1)));
    let hub = world.node(1).group.view().expect("a member").hub;
    assert_eq!(hub, NodeId(1), "else node 2 could hold the entry as well");
    world.node(1).disk_is_stuck = true;
    world.cut(1, 2);
    world.submit(1, "early");
    world.run(2_000);
    // Node 1 has decided alone. If it lost power now, node 2 would go on without the entry.
    assert_eq!(world.members(1), [1, 2]);
    assert!(world.texts(1).is_empty());
}

#[test]
fn a_hub_whose_disk_is_stuck_holds_nobody_up() {
    let mut world = formed(3, Tie::None);
    let hub = world.node(1).group.view().expect("a member").hub.0;
    let others: Vec<u8> = (1..=3).filter(|id| *id != hub).collect();
    world.node(hub).disk_is_stuck = true;
    world.node(others[0]).group.submit(b"kept".to_vec(), true).expect("it is a member");
    world.drain(others[0]);
    world.run(12_000);
    for other in &others {
        assert_eq!(world.texts(*other), ["kept"]);
    }
    assert!(!world.members(others[0]).contains(&hub), "it cannot record the view it would be in");
    assert!(!world.holds_lease(hub));
}

#[test]
fn a_hub_without_which_nobody_goes_on_keeps_its_lease_while_its_disk_is_stuck() {
    let mut world = World::seeded(3, 1, Tie::None);
    world.start(1, 1);
    world.run(1_000);
    assert_eq!(world.members(1), [1]);
    world.node(1).disk_is_stuck = true;
    world.node(1).group.submit(b"waits".to_vec(), true).expect("it is a member");
    world.drain(1);
    world.run(12_000);
    assert!(world.texts(1).is_empty());
    assert!(world.holds_lease(1), "what runs here has nowhere else to run");
}

#[test]
fn whoever_is_let_go_delivers_nothing_that_no_disk_has() {
    let mut world = formed(3, Tie::None);
    let hub = world.node(1).group.view().expect("a member").hub.0;
    let others: Vec<u8> = (1..=3).filter(|id| *id != hub).collect();
    let (leaver, cut_off) = (others[0], others[1]);
    world.cut(hub, cut_off);
    world.cut(leaver, cut_off);
    world.submit(leaver, "early");
    world.run(20);
    for id in [hub, leaver] {
        world.node(id).disk_is_stuck = true;
    }
    world.node(leaver).group.leave();
    world.run(3_000);
    // The others have decided. If all lost power now, the one that was cut off would go on alone.
    assert!(world.texts(leaver).is_empty());
    assert!(!world.node(leaver).left);
}

#[test]
fn whoever_reaches_only_its_hub_keeps_its_lease() {
    let mut world = formed(5, Tie::None);
    let hub = world.hub();
    let far = if hub == 5 { 4 } else { 5 };
    for other in (1..=5).filter(|other| *other != hub && *other != far) {
        world.cut(far, other);
    }
    world.run(5_000);
    assert_eq!(world.members(hub), [1, 2, 3, 4, 5]);
    assert!(world.holds_lease(far), "the hub relays its evidence");
    world.cut(far, hub);
    world.run(1_000);
    assert!(!world.holds_lease(far));
}

#[test]
fn whoever_is_lost_with_its_hub_is_waited_for_as_long_as_the_hub() {
    let mut world = formed(5, Tie::None);
    let hub = world.hub();
    let far = if hub == 5 { 4 } else { 5 };
    let others: Vec<u8> = (1..=5).filter(|other| *other != hub && *other != far).collect();
    others.iter().for_each(|other| world.cut(far, *other));
    world.run(5_000);
    others.iter().for_each(|other| world.cut(hub, *other));
    world.run(500);
    let first = others[0];
    assert_eq!(world.members(first), others);
    let status = world.node(first).group.status();
    let wait = |node: u8| {
        let wait = status.waits.iter().find(|wait| wait.absence.node.0 == node);
        wait.expect("it is waited for").remaining
    };
    assert_eq!(wait(far), wait(hub), "nobody but the hub has heard it for long");
    assert!(world.holds_lease(far), "its lease still runs");
    while world.node(first).fenced.is_empty() {
        world.run(10);
    }
    assert!(!world.holds_lease(far) && !world.holds_lease(hub));
}

#[test]
fn a_lease_that_is_over_leaves_the_absence_until_it_is_proven() {
    let mut world = formed(3, Tie::None);
    world.stop(3);
    world.run(5_000);
    assert_eq!(world.node(1).fenced, [(NodeId(3), Proof::Time)], "said once");
    let lapsed = |world: &mut World, id: u8| world.node(id).group.lapsed().collect::<Vec<_>>();
    let hub = world.hub();
    let (absence, heard) = lapsed(&mut world, hub)[0];
    let age = world.now.since(heard);
    assert!(age > core::time::Duration::from_millis(4_900), "it counts from the contact: {age:?}");
    assert!(world.node(hub).group.to_fence().is_some_and(|mut all| all.any(|a| a == absence)));
    world.feed(hub, crate::Input::Fenced(absence, Proof::Watchdog));
    world.run(50);
    for id in [1, 2] {
        let proofs = [(NodeId(3), Proof::Time), (NodeId(3), Proof::Watchdog)];
        assert_eq!(world.node(id).fenced, proofs);
        assert!(lapsed(&mut world, id).is_empty());
    }
}

#[test]
fn an_absence_outlasts_the_views_that_follow() {
    let mut world = formed(4, Tie::None);
    world.stop(4);
    world.run(5_000);
    let hub = world.hub();
    world.stop(hub);
    world.run(300);
    let alive = if hub == 1 { 2 } else { 1 };
    let next = world.node(alive).group.view().expect("it goes on").hub.0;
    assert_ne!(next, hub);
    let lapsed: Vec<_> = world.node(next).group.lapsed().collect();
    let [(absence, heard)] = lapsed[..] else { panic!("{lapsed:?}") };
    assert_eq!(absence.node, NodeId(4));
    assert!(world.now.since(heard) > core::time::Duration::from_millis(5_000));
    let times = world.node(next).fenced.iter().filter(|(node, _)| *node == NodeId(4)).count();
    assert_eq!(times, 1, "its lease ended once");
}
