//! Owned addresses whose addition was put off.

use core::time::Duration;

use base::Instant;

use super::{ADDRESS, Node, OTHER_MAC, interface, ip, seen};
use crate::wire::announcement;
use crate::{Failure, Input, Output, Phase};

/// A lease that is always the same one until the test gives another.
fn with_second() -> Node {
    let mut node = Node::new();
    node.interfaces.push(interface(2, OTHER_MAC, &[("10.77.0.2", 24), ("fd00::2", 64)]));
    node.picture();
    lease(&mut node, 60_000);
    node
}

fn lease(node: &mut Node, millis: u64) {
    node.network.set_lease(node.now + Duration::from_millis(millis));
}

fn not_now() -> Failure {
    Failure::NotNow("the lease is over".to_owned())
}

/// Its restoration is on its way.
fn restoring() -> Node {
    let mut node = with_second();
    node.own(ADDRESS);
    node.picture();
    node.pass(2_000);
    node.vanish(ADDRESS);
    assert!(matches!(node.picture()[..], [Output::Add { interface: 1, .. }]));
    node
}

/// It has left the first interface and is being added to the second one.
fn moving() -> Node {
    let mut node = with_second();
    node.own(ADDRESS);
    node.picture();
    node.pass(2_000);
    node.interfaces[0].carrier = false;
    node.picture();
    assert!(matches!(node.done(Ok(()))[..], [Output::Add { interface: 2, .. }]));
    node
}

fn places(node: &Node) -> Vec<u32> {
    let has = |card: &&crate::Interface| card.addresses.iter().any(|a| a.address == ip(ADDRESS));
    node.interfaces.iter().filter(has).map(|card| card.index).collect()
}

fn only(outputs: Vec<(u64, Output)>) -> Vec<Output> {
    outputs.into_iter().map(|(_, output)| output).collect()
}

#[test]
fn what_is_put_back_is_tried_again_with_the_next_lease() {
    let mut node = restoring();
    assert_eq!(node.refuse(not_now()), []);
    assert_eq!(node.pass(500), [], "there is no newer lease yet");
    for _ in 0..2 {
        lease(&mut node, 60_000);
        let outputs = only(node.pass(0));
        assert!(matches!(outputs[..], [Output::Add { interface: 1, .. }]), "{outputs:?}");
        assert_eq!(node.pass(500), [], "it is on its way");
        assert_eq!(node.refuse(not_now()), []);
    }
    lease(&mut node, 60_000);
    node.pass(0);
    let outputs = node.done(Ok(()));
    let bytes = announcement(super::MAC, ip(ADDRESS));
    assert!(outputs.contains(&Output::Send { interface: 1, bytes }), "{outputs:?}");
    assert!(node.is_owned(ADDRESS));
    assert_eq!((places(&node), node.network.status().counters.restored), (vec![1], 1));
    let refreshed = only(node.pass(1_500));
    assert!(refreshed.iter().any(|output| matches!(output, Output::Refresh { .. })));
}

#[test]
fn what_moves_is_tried_again_with_the_next_lease() {
    let mut node = moving();
    assert_eq!(node.refuse(not_now()), []);
    assert_eq!(node.pass(500), []);
    lease(&mut node, 60_000);
    let outputs = only(node.pass(0));
    assert!(matches!(outputs[..], [Output::Add { interface: 2, .. }]), "{outputs:?}");
    let outputs = node.done(Ok(()));
    let moved = |output: &Output| matches!(output, Output::Moved { from, to, .. } if from == "eth1" && to == "eth2");
    assert!(outputs.iter().any(moved), "{outputs:?}");
    assert!(node.is_owned(ADDRESS));
    assert_eq!(places(&node), [2]);
}

#[test]
fn what_was_put_off_goes_where_it_belongs_by_then() {
    for begin in [restoring, moving] {
        let mut node = begin();
        node.refuse(not_now());
        let (works, fails) = if node.interfaces[0].carrier { (2, 0) } else { (1, 1) };
        for card in &mut node.interfaces {
            card.carrier = card.index == works;
        }
        assert!(!node.interfaces[fails].carrier);
        node.picture();
        lease(&mut node, 60_000);
        node.pass(0);
        while !node.asked.is_empty() {
            node.done(Ok(()));
        }
        node.picture();
        assert!(node.is_owned(ADDRESS));
        assert_eq!(places(&node), [works]);
        assert_eq!(node.asked, []);
    }
}

#[test]
fn what_is_not_there_is_not_said_to_be() {
    for begin in [restoring, moving] {
        let mut node = begin();
        node.refuse(not_now());
        let phase = |node: &Node| node.network.status().addresses[0].phase;
        assert_eq!(phase(&node), Phase::Adding);
        for interface in [1, 2] {
            assert_eq!(node.feed(Input::Heal { interface }), []);
        }
        let outputs = node.hears(announcement([2, 0, 0, 0, 0, 8], ip(ADDRESS)));
        assert!(matches!(outputs[..], [Output::Conflict { .. }]), "not defended: {outputs:?}");
        lease(&mut node, 60_000);
        node.pass(0);
        assert_eq!(phase(&node), Phase::Adding, "not before the addition is answered");
        assert_eq!(node.feed(Input::Heal { interface: 1 }), []);
        assert_eq!(node.pass(3_000), [], "neither announced nor refreshed");
    }
}

#[test]
fn a_copy_of_it_is_a_leftover_meanwhile() {
    let mut node = restoring();
    node.refuse(not_now());
    node.on(1).push(seen(ADDRESS, 32));
    let outputs = node.picture();
    assert!(matches!(outputs[..], [Output::Remove { interface: 1, .. }]), "{outputs:?}");
    lease(&mut node, 60_000);
    assert_eq!(node.pass(100), [], "not before it is gone");
    node.done(Ok(()));
    let outputs = only(node.pass(0));
    assert!(matches!(outputs[..], [Output::Add { interface: 1, .. }]), "{outputs:?}");
}

#[test]
fn what_is_released_meanwhile_is_not_tried_again() {
    for (begin, is_tried) in
        [(restoring as fn() -> Node, false), (restoring, true), (moving, false), (moving, true)]
    {
        let mut node = begin();
        node.refuse(not_now());
        if is_tried {
            lease(&mut node, 60_000);
            node.pass(0);
        }
        node.release(ADDRESS);
        let mut last = Vec::new();
        while !node.asked.is_empty() {
            last = node.done(Ok(()));
        }
        assert!(matches!(last[0], Output::Released { .. }), "{last:?}");
        lease(&mut node, 60_000);
        node.picture();
        assert_eq!(node.pass(20_000), []);
        assert_eq!((places(&node), node.network.status().addresses), (vec![], vec![]));
    }
}

#[test]
fn a_claim_of_it_begins_anew() {
    for begin in [restoring, moving] {
        let mut node = begin();
        node.refuse(not_now());
        let outputs = node.claim(ADDRESS);
        assert!(!outputs.iter().any(|output| matches!(output, Output::Claimed { .. })));
        while !node.asked.is_empty() {
            node.done(Ok(()));
        }
        node.pass(30);
        let outputs = node.done(Ok(()));
        assert!(matches!(outputs[0], Output::Claimed { id: 2, .. }), "{outputs:?}");
        assert!(node.is_owned(ADDRESS));
    }
}

#[test]
fn what_is_put_off_for_ten_seconds_is_lost() {
    for renews in [false, true] {
        let mut node = restoring();
        node.refuse(not_now());
        let mut outputs = Vec::new();
        for _ in 0..101 {
            if renews {
                lease(&mut node, 60_000);
            }
            outputs.extend(only(node.pass(100)));
            while !node.asked.is_empty() {
                outputs.extend(node.refuse(not_now()));
            }
        }
        let lost = |output: &&Output| matches!(output, Output::Lost { .. });
        let lost: Vec<&Output> = outputs.iter().filter(lost).collect();
        let [Output::Lost { why, .. }] = lost[..] else { panic!("{renews}: {outputs:?}") };
        assert_eq!(why, "it vanished from eth1 and could not be put back: the lease is over");
        assert_eq!(node.network.status().addresses, []);
    }
}

#[test]
fn without_a_lease_nothing_is_tried() {
    for begin in [restoring, moving] {
        let mut node = begin();
        node.network.set_lease(Instant::ZERO);
        node.refuse(not_now());
        assert_eq!(node.pass(5_000), []);
        lease(&mut node, 750);
        let outputs = only(node.pass(0));
        assert!(matches!(outputs[..], [Output::Add { .. }]), "{outputs:?}");
    }
}
