//! Owned addresses that go to another interface of their node.

use core::time::Duration;

use super::{ADDRESS, Node, OTHER_MAC, interface, ip};
use crate::wire::announcement;
use crate::{Input, Output, Phase};

/// A second interface in the same subnets.
fn with_second() -> Node {
    let mut node = Node::new();
    node.interfaces.push(interface(2, OTHER_MAC, &[("10.77.0.2", 24), ("fd00::2", 64)]));
    node.picture();
    node
}

fn places(node: &Node, address: &str) -> Vec<u32> {
    let here = node
        .interfaces
        .iter()
        .filter(|interface| interface.addresses.iter().any(|seen| seen.address == ip(address)));
    here.map(|interface| interface.index).collect()
}

#[test]
fn the_other_interface_takes_over_when_the_carrier_is_gone() {
    for address in [ADDRESS, "fd00::100"] {
        let mut node = with_second();
        node.own(address);
        assert_eq!(places(&node, address), [1]);
        node.interfaces[0].carrier = false;
        let outputs = node.picture();
        assert!(matches!(outputs[..], [Output::Remove { interface: 1, .. }]), "{outputs:?}");
        let outputs = node.done(Ok(()));
        assert_eq!(places(&node, address), [0_u32; 0], "never in two places");
        assert!(matches!(outputs[..], [Output::Add { interface: 2, .. }]), "{outputs:?}");
        let outputs = node.done(Ok(()));
        assert_eq!(places(&node, address), [2]);
        let moved = Output::Moved {
            service: "web".into(),
            address: ip(address),
            from: "eth1".into(),
            to: "eth2".into(),
            why: "has no carrier".into(),
            rule: "eth2 is the first that carries its subnet".into(),
        };
        assert!(outputs.contains(&moved), "{outputs:?}");
        let bytes = announcement(OTHER_MAC, ip(address));
        assert!(outputs.contains(&Output::Send { interface: 2, bytes }), "{outputs:?}");
        let [status] = &node.network.status().addresses[..] else { panic!("one address") };
        assert_eq!((status.phase, status.interface), (Phase::Owned, Some(2)));
        // It stays there when the first one works again.
        node.interfaces[0].carrier = true;
        node.picture();
        node.pass(5_000);
        assert_eq!(places(&node, address), [2]);
    }
}

#[test]
fn an_address_follows_its_subnet() {
    let mut node = Node::new();
    node.interfaces.push(interface(2, OTHER_MAC, &[]));
    node.picture();
    node.own(ADDRESS);
    let own = node.interfaces[0].addresses.remove(0);
    node.interfaces[1].addresses.push(own);
    node.picture();
    node.done(Ok(()));
    let outputs = node.done(Ok(()));
    let why = |output: &Output| match output {
        Output::Moved { why, .. } => Some(why.clone()),
        _ => None,
    };
    assert_eq!(outputs.iter().find_map(why).as_deref(), Some("carries its subnet no more"));
    assert_eq!(places(&node, ADDRESS), [2]);
}

#[test]
fn without_a_place_to_go_it_stays() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.interfaces[0].carrier = false;
    assert_eq!(node.picture(), []);
    node.pass(5_000);
    assert_eq!(places(&node, ADDRESS), [1]);
}

#[test]
fn without_a_lease_it_stays_until_there_is_one() {
    let mut node = with_second();
    node.own(ADDRESS);
    node.network.set_lease(node.now);
    node.interfaces[0].carrier = false;
    assert_eq!(node.picture(), []);
    node.network.set_lease(node.now + Duration::from_secs(60));
    let outputs = node.pass(1_000);
    let removes = |output: &Output| matches!(output, Output::Remove { interface: 1, .. });
    assert!(outputs.iter().any(|(_, output)| removes(output)), "{outputs:?}");
}

#[test]
fn what_cannot_be_added_there_is_lost() {
    let mut node = with_second();
    node.own(ADDRESS);
    node.interfaces[0].carrier = false;
    node.picture();
    node.done(Ok(()));
    let outputs = node.done(Err("no"));
    let [Output::Lost { why, .. }, ..] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(why, "it left eth1 and could not be added to eth2: no");
}

#[test]
fn a_lease_that_ends_on_the_way_ends_the_way() {
    let mut node = with_second();
    node.own(ADDRESS);
    node.interfaces[0].carrier = false;
    node.picture();
    node.network.set_lease(node.now);
    let outputs = node.done(Ok(()));
    assert!(matches!(outputs[0], Output::Lost { .. }), "{outputs:?}");
    assert_eq!(places(&node, ADDRESS), [0_u32; 0]);
}

#[test]
fn a_release_on_the_way_leaves_nothing_anywhere() {
    for steps in 0..2 {
        let mut node = with_second();
        node.own(ADDRESS);
        node.interfaces[0].carrier = false;
        node.picture();
        for _ in 0..steps {
            node.done(Ok(()));
        }
        node.release(ADDRESS);
        let mut last = Vec::new();
        while !node.asked.is_empty() {
            last = node.done(Ok(()));
        }
        assert!(matches!(last[0], Output::Released { .. }), "{last:?}");
        assert_eq!(places(&node, ADDRESS), [0_u32; 0]);
    }
}

#[test]
fn a_copy_that_somebody_adds_is_removed_and_the_address_stays() {
    let mut node = with_second();
    node.own(ADDRESS);
    node.interfaces[0].addresses.push(super::seen(ADDRESS, 24));
    let outputs = node.picture();
    assert!(matches!(outputs[..], [Output::Remove { prefix: 24, .. }]), "{outputs:?}");
    node.done(Ok(()));
    assert_eq!(places(&node, ADDRESS), [1]);
    assert_eq!(node.feed(Input::Heal { interface: 1 }).len(), 0, "announced a moment ago");
}

#[test]
fn what_could_not_be_removed_is_put_there_again() {
    let mut node = with_second();
    node.own(ADDRESS);
    node.interfaces[0].carrier = false;
    node.picture();
    let outputs = node.done(Err("no"));
    // The driver had closed it; only an addition opens it.
    let adds = |output: &Output| matches!(output, Output::Add { interface: 1, .. });
    assert!(outputs.iter().any(adds), "{outputs:?}");
    node.done(Ok(()));
    node.interfaces[0].carrier = true;
    node.picture();
    assert_eq!(places(&node, ADDRESS), [1]);
}

#[test]
fn a_home_that_fails_on_the_way_is_left_again_at_once() {
    let mut node = with_second();
    node.own(ADDRESS);
    node.interfaces[0].carrier = false;
    node.picture();
    node.done(Ok(()));
    node.interfaces[0].carrier = true;
    node.interfaces[1].carrier = false;
    node.picture();
    let outputs = node.done(Ok(()));
    let leaves = |output: &Output| matches!(output, Output::Remove { interface: 2, .. });
    assert!(outputs.iter().any(leaves), "{outputs:?}");
    node.done(Ok(()));
    node.done(Ok(()));
    assert_eq!(places(&node, ADDRESS), [1]);
}
