//! Whom members watch where not everybody can watch everybody.

use base::{NodeId, NodeSet, Tie};

use super::world::World;
use crate::Watch;

fn formed() -> World {
    let mut world = World::new(6, Tie::None);
    world.start_all();
    world.run(1_000);
    world
}

fn everybody(world: &mut World) -> Vec<u8> {
    (1..=6).filter(|id| world.node(*id).group.watch() == Watch::Everybody).collect()
}

/// Hub and deputy.
fn centre(world: &mut World) -> Vec<u8> {
    let hub = world.hub();
    let view = world.node(1).group.view().expect("it is in a view");
    let deputy = view.members.iter().map(|member| member.node.0).find(|node| *node != hub);
    let mut centre = vec![hub, deputy.expect("there are others")];
    centre.sort_unstable();
    centre
}

#[test]
fn the_hub_and_its_deputy_watch_everybody_and_the_others_few() {
    let mut world = formed();
    let centre = centre(&mut world);
    assert_eq!(everybody(&mut world), centre);
    let other = (1..=6).find(|id| !centre.contains(id)).expect("six are more than two");
    let members: NodeSet = (1..=6).map(NodeId).collect();
    let centre = centre.into_iter().map(NodeId).collect();
    assert_eq!(world.node(other).group.watch(), Watch::Few { members, centre });
}

#[test]
fn without_a_view_everybody_watches_everybody() {
    let mut world = World::new(6, Tie::None);
    world.start(1, 1);
    world.run(1_000);
    assert_eq!(world.node(1).group.watch(), Watch::Everybody);
}

#[test]
fn whoever_reaches_neither_hub_nor_deputy_watches_everybody() {
    let mut world = formed();
    let centre = centre(&mut world);
    let other = (1..=6).find(|id| !centre.contains(id)).expect("six are more than two");
    centre.iter().for_each(|node| world.cut(other, *node));
    world.run(20);
    assert_eq!(world.node(other).group.watch(), Watch::Everybody);
}

#[test]
fn a_lost_hub_alone_wakes_nobody_up() {
    let mut world = formed();
    let hub = world.hub();
    world.stop(hub);
    for _ in 0..50 {
        world.run(10);
        let all = (1..=6).filter(|id| *id != hub);
        let awake = all.filter(|id| world.node(*id).group.watch() == Watch::Everybody).count();
        assert!(awake <= 2, "{awake} watch everybody");
    }
    let left = (1..=6).find(|id| *id != hub).expect("five are left");
    assert_eq!(world.members(left).len(), 5, "the deputy has led a change");
}

#[test]
fn a_change_that_takes_long_makes_everybody_watch_everybody() {
    let mut world = formed();
    let centre = centre(&mut world);
    let other = (1..=6).find(|id| !centre.contains(id)).expect("six are more than two");
    // Its hub is not there for it, its deputy is.
    let hub = world.hub();
    world.cut(other, hub);
    world.node(other).disk_is_stuck = true;
    world.run(600);
    assert_eq!(world.node(other).group.watch(), Watch::Everybody);
}

#[test]
fn a_member_that_reaches_only_its_hub_has_nothing_to_wait_for() {
    let mut world = formed();
    let centre = centre(&mut world);
    let hub = world.hub();
    let other = (1..=6).find(|id| !centre.contains(id)).expect("six are more than two");
    (1..=6).filter(|id| *id != other && *id != hub).for_each(|id| world.cut(other, id));
    world.run(2_000);
    let status = world.node(other).group.status();
    assert_eq!(status.waiting, None);
    assert_eq!(status.present.len(), 6);
}
