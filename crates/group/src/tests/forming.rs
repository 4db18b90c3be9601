//! First views, cold starts, joins, leaves.

use base::{NodeId, Tie};

use super::world::World;
use crate::{Rejected, Standing};

#[test]
fn all_configured_nodes_form_the_first_view() {
    let mut world = World::new(3, Tie::None);
    world.start(1, 1);
    world.start(2, 1);
    world.run(1_000);
    assert_eq!(world.members(1), [] as [u8; 0]);
    let waiting = world.node(1).group.status().waiting.expect("it waits");
    assert!(waiting.contains("1 more node"), "{waiting}");
    world.start(3, 1);
    world.run(1_000);
    for id in 1..=3 {
        assert_eq!(world.members(id), [1, 2, 3]);
        assert!(world.holds_lease(id), "node {id} has evidence of a majority");
    }
}

#[test]
fn an_absent_node_is_waited_for_before_it_counts_as_fenced() {
    let mut world = World::seeded(3, 2, Tie::None);
    world.start(1, 1);
    world.start(2, 1);
    world.run(500);
    assert_eq!(world.members(1), [1, 2]);
    assert!(world.node(1).fenced.is_empty(), "its lease may still run");
    world.run(1_000);
    let fenced = world.node(2).fenced.clone();
    assert_eq!(world.node(1).fenced, fenced);
    assert_eq!(world.node(1).fenced[0].0, NodeId(3));
}

#[test]
fn a_late_node_joins_with_the_state_of_the_others() {
    let mut world = World::seeded(3, 2, Tie::None);
    world.start(1, 1);
    world.start(2, 1);
    world.run(1_000);
    world.submit(2, "before");
    world.run(100);
    world.start(3, 1);
    world.run(3_000);
    assert_eq!(world.members(3), [1, 2, 3]);
    world.submit(3, "after");
    world.run(100);
    for id in 1..=3 {
        assert_eq!(world.texts(id), ["before", "after"], "node {id}");
    }
}

#[test]
fn a_certified_life_is_let_in_at_once_and_only_once() {
    let mut world = World::new(3, Tie::None);
    world.start_all();
    world.run(1_000);
    let settled = world.node(1).views.len();
    world.restart_certified(3, 2);
    world.node(3).disk_is_stuck = true;
    world.run(30_000);
    // Without it, in with it, without it again; then it waits like any other, longer each time.
    let views = world.node(1).views.len() - settled;
    assert!((3..=15).contains(&views), "{views} views for one slow disk");
}

#[test]
fn after_a_power_failure_all_members_of_the_last_view_are_needed() {
    let mut world = World::new(3, Tie::None);
    world.start_all();
    world.run(1_000);
    let records: Vec<_> = (1..=3).map(|id| world.stop(id)).collect();
    world.restart(1, 2, records[0].clone());
    world.restart(2, 2, records[1].clone());
    world.run(3_000);
    assert_eq!(world.members(1), [] as [u8; 0], "node 3 may live on in a later view");
    world.restart(3, 2, records[2].clone());
    world.run(1_000);
    assert_eq!(world.members(1), [1, 2, 3]);
    let generations: Vec<u64> = world.node(1).views.iter().map(|view| view.generation).collect();
    assert_eq!(generations, [3], "no number is used twice");
}

#[test]
fn when_all_others_restarted_the_living_take_them_back() {
    let mut world = World::new(3, Tie::None);
    world.start_all();
    world.run(1_000);
    world.submit(1, "kept");
    world.run(100);
    let (second, third) = (world.stop(2), world.stop(3));
    world.run(1_500);
    assert!(!world.holds_lease(1), "one of three is no majority");
    world.restart(2, 2, second);
    world.run(1_000);
    assert_eq!(world.members(1), [1, 2, 3], "the old view stands: node 3 is not back");
    world.restart(3, 2, third);
    world.run(1_000);
    assert_eq!(world.members(2), [1, 2, 3]);
    assert_eq!(world.texts(1), ["kept"]);
    assert_eq!(world.texts(3), ["kept"]);
    assert!(world.holds_lease(1));
}

#[test]
fn a_leaver_is_let_go_without_a_fence_wait() {
    let mut world = World::new(3, Tie::None);
    world.start_all();
    world.run(1_000);
    let hub = world.node(1).group.view().expect("a member").hub;
    world.node(hub.0).group.leave();
    world.run(1_000);
    assert!(world.node(hub.0).left);
    let other = if hub.0 == 1 { 2 } else { 1 };
    assert_eq!(world.members(other).len(), 2);
    assert!(world.node(other).group.status().waits.is_empty());
    let record = world.node(hub.0).record.clone().expect("it records the view that let it go");
    assert!(!record.nodes().contains(hub), "it never starts from the older one");
}

#[test]
fn all_may_leave_at_once() {
    let mut world = World::new(3, Tie::None);
    world.start_all();
    world.run(1_000);
    for id in 1..=3 {
        world.node(id).group.leave();
    }
    world.run(1_000);
    for id in 1..=3 {
        assert!(world.node(id).left, "node {id}");
    }
}

#[test]
fn a_view_by_hand_is_refused_while_a_member_is_in_reach() {
    let mut world = World::seeded(3, 2, Tie::None);
    world.start(1, 1);
    world.start(2, 1);
    world.run(1_000);
    assert_eq!(world.node(1).group.seed(), Err(Rejected::Seeded));
    world.start(3, 1);
    world.run(100);
    let refused = world.node(3).group.seed();
    assert!(matches!(refused, Err(Rejected::SeededPeer(_))), "{refused:?}");
}

#[test]
fn a_view_by_hand_has_a_new_lineage() {
    let mut world = World::new(3, Tie::None);
    world.start_all();
    world.run(1_000);
    let records: Vec<_> = (1..=3).map(|id| world.stop(id)).collect();
    world.restart(1, 2, records[0].clone());
    world.run(200);
    world.node(1).group.seed().expect("nobody is in a view");
    world.run(2_000);
    assert_eq!(world.members(1), [1]);
    let lineage = world.node(1).group.view().expect("a member").lineage;
    assert_ne!(Some(lineage), records[0].as_ref().map(|record| record.lineage));
    world.restart(2, 2, records[1].clone());
    world.run(3_000);
    assert_eq!(world.members(2), [1, 2], "the former history is over");
}

#[test]
fn of_two_primaries_that_meet_after_a_view_by_hand_the_smaller_one_stops_and_says_so() {
    let mut world = World::new(3, Tie::None);
    world.start_all();
    world.run(1_000);
    world.cut(1, 2);
    world.cut(1, 3);
    world.run(2_000);
    let record = world.stop(1);
    world.restart(1, 2, record);
    world.node(1).group.seed().expect("it hears nobody");
    world.run(2_000);
    assert_eq!((world.members(1), world.members(2)), (vec![1], vec![2, 3]), "a person did that");
    world.heal();
    world.run(200);
    let said = world.node(1).excluded.clone().expect("it stops at once");
    assert!(said.contains("another primary view, of 2 members"), "{said}");
    assert!(world.node(2).excluded.is_none() && world.node(3).excluded.is_none());
    assert_eq!(world.members(2), [2, 3]);
}

#[test]
fn a_view_by_hand_ends_the_waiting_of_all_survivors() {
    let mut world = World::new(5, Tie::None);
    world.start_all();
    world.run(1_000);
    for id in 3..=5 {
        world.stop(id);
    }
    world.run(1_000);
    world.node(1).group.seed().expect("two of five can never go on");
    world.drain(1);
    assert!(world.node(1).excluded.is_some());
    let record = world.stop(1);
    world.restart(1, 2, record);
    world.node(1).group.seed().expect("its new life knows nobody yet");
    world.run(1_000);
    let reason = world.node(2).excluded.clone().expect("it gives the dead view up");
    assert!(reason.contains("seeding a new view at #1"), "{reason}");
    let record = world.stop(2);
    world.restart(2, 2, record);
    world.run(3_000);
    assert_eq!(world.members(1), [1, 2]);
    assert_eq!(world.members(2), [1, 2]);
}

#[test]
fn nobody_is_declared_down_whom_another_node_hears() {
    let mut world = World::new(3, Tie::Manual);
    world.start_all();
    world.run(1_000);
    world.cut(1, 3);
    world.run(1_000);
    let now = world.now;
    let refused = world.node(1).group.confirm_down(now, NodeId(3));
    assert_eq!(refused, Err(Rejected::HeardBy(NodeId(3), NodeId(2))));
}

#[test]
fn a_founder_whose_disk_is_stuck_holds_up_the_formation_and_not_for_ever() {
    let mut world = World::seeded(3, 2, Tie::None);
    world.start_all();
    world.node(3).disk_is_stuck = true;
    world.run(300);
    assert_eq!(world.node(1).group.status().standing, Standing::Unseeded);
    world.stop(3);
    world.run(3_000);
    assert_eq!(world.members(1), [1, 2]);
}

#[test]
fn a_view_whose_lost_members_remember_another_history_is_given_up() {
    let mut world = World::new(2, Tie::None);
    world.start_all();
    world.run(1_000);
    let record = world.stop(2).expect("it was in a view");
    // Its disk was restored from a copy, or it formed something else meanwhile.
    let other = base::View { lineage: record.lineage ^ 1, generation: 5, ..record };
    world.restart(2, 2, Some(other));
    world.run(10_000);
    let reason = world.node(1).excluded.clone().expect("it would wait for ever");
    assert!(reason.contains("left behind"), "{reason}");
    let record = world.stop(1);
    world.restart(1, 2, record);
    world.run(2_000);
    assert_eq!(world.members(1), [1, 2]);
    assert_eq!(world.members(2), [1, 2]);
}

#[test]
fn whoever_ends_before_it_was_in_a_view_joins_none() {
    let mut world = World::seeded(3, 2, Tie::None);
    world.start(1, 1);
    world.start(2, 1);
    world.run(1_000);
    world.start(3, 1);
    world.node(3).group.withdraw();
    world.run(5_000);
    assert_eq!(world.members(1), [1, 2]);
    assert_eq!(world.members(3), [] as [u8; 0]);
}
