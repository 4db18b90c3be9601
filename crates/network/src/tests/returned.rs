//! What is the return of an interface, and what only looks like one.

use core::time::Duration;

use super::shares::{FIRST, SECOND, THIRD, configure, finish, on, share};
use super::{Node, OTHER_MAC, interface, ip, seen};
use crate::place::Distribution;
use crate::{Condition, Input, Share};

/// All three addresses are adopted on the second interface, though the load should be shared.
fn uneven() -> Node {
    let mut node = Node::blind();
    node.interfaces.push(interface(2, OTHER_MAC, &[("10.78.0.1", 24)]));
    for address in [FIRST, SECOND, THIRD] {
        node.interfaces[1].addresses.push(seen(address, 32));
        node.feed(Input::Adopt { service: "web".into(), address: ip(address) });
    }
    configure(&mut node, Share { rebalances: true, ..share(Distribution::LeastLoad) });
    node
}

fn polls_say(node: &mut Node, conditions: [Condition; 2]) {
    let names = ["eth1", "eth2"].map(str::to_owned);
    node.feed(Input::Health(names.into_iter().zip(conditions).collect()));
    finish(node);
}

/// Both interfaces lose their carriers or get them back, the one of `order` that comes first so much earlier.
fn carriers(node: &mut Node, order: [usize; 2], on: bool, apart: u64) {
    for index in order {
        node.interfaces[index].carrier = on;
        node.picture();
        finish(node);
        node.pass(apart);
    }
}

/// Whatever is due happens.
fn rest(node: &mut Node) -> Vec<u32> {
    node.pass(20_000);
    finish(node);
    on(node)
}

fn fails() -> Condition {
    Condition::Fails("hears nothing".into())
}

#[test]
fn that_polls_prove_interfaces_after_a_start_is_no_return() {
    let mut node = uneven();
    polls_say(&mut node, [Condition::Unproven, Condition::Unproven]);
    node.picture();
    node.pass(1_500);
    polls_say(&mut node, [Condition::Works, Condition::Unproven]);
    node.pass(500);
    polls_say(&mut node, [Condition::Works, Condition::Works]);
    assert_eq!(rest(&mut node), [2, 2, 2]);
    // What fails from now on does return.
    polls_say(&mut node, [fails(), Condition::Works]);
    node.pass(1_000);
    polls_say(&mut node, [Condition::Unproven, Condition::Works]);
    assert_eq!(rest(&mut node), [2, 2, 2], "it is not proven yet");
    polls_say(&mut node, [Condition::Works, Condition::Works]);
    node.pass(5_100);
    finish(&mut node);
    assert_eq!(on(&node), [1, 2, 2]);
}

#[test]
fn what_had_failed_before_the_start_returns_when_it_works() {
    let mut node = uneven();
    node.interfaces[0].carrier = false;
    node.picture();
    node.pass(200);
    node.interfaces[0].carrier = true;
    node.picture();
    assert_eq!(rest(&mut node), [1, 2, 2]);
}

#[test]
fn a_switch_that_is_silent_for_a_while_returns_nothing() {
    let mut node = uneven();
    polls_say(&mut node, [Condition::Works, Condition::Works]);
    node.picture();
    node.pass(10_000);
    polls_say(&mut node, [Condition::Silent, Condition::Silent]);
    node.pass(10_000);
    polls_say(&mut node, [Condition::Works, Condition::Works]);
    assert_eq!(rest(&mut node), [2, 2, 2]);
}

#[test]
fn a_dead_switch_that_comes_back_port_by_port_returns_nothing() {
    for order in [[0, 1], [1, 0]] {
        let mut node = uneven();
        node.picture();
        node.pass(10_000);
        carriers(&mut node, order, false, 50);
        node.pass(60_000);
        // First the one with the addresses, which stay then.
        carriers(&mut node, [1, 0], true, 2_000);
        assert_eq!(rest(&mut node), [2, 2, 2], "lost in the order {order:?}");
    }
}

#[test]
fn what_fails_alone_returns_however_short_or_long_that_was() {
    for outage in [10, 50, 200, 60_000] {
        let mut node = uneven();
        node.picture();
        node.pass(10_000);
        node.interfaces[0].carrier = false;
        node.picture();
        node.pass(outage);
        node.interfaces[0].carrier = true;
        node.picture();
        assert_eq!(rest(&mut node), [1, 2, 2], "after {outage} ms");
    }
}

#[test]
fn what_stays_away_after_the_switch_is_back_has_failed_alone() {
    let mut node = uneven();
    node.picture();
    node.pass(10_000);
    carriers(&mut node, [0, 1], false, 0);
    node.pass(10_000);
    node.interfaces[1].carrier = true;
    node.picture();
    node.pass(5_000);
    node.now += Duration::from_millis(1);
    node.interfaces[0].carrier = true;
    node.picture();
    assert_eq!(rest(&mut node), [1, 2, 2]);
}
