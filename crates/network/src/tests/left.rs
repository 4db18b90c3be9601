//! Own addresses that a standby does not take, while it takes the others.

use super::switches::{obeyed, own, pull, put_back, switched, switches, with_standby};
use super::{ADDRESS, MAC, Node, ip};
use crate::{Failure, Output, wire};

const SIX: &str = "fd00::1";

fn refusal() -> Failure {
    Failure::AllBut(vec![(ip(SIX), "IPv6 is off".into())])
}

/// The driver does what it is asked, but no interface takes the IPv6 address.
fn switch_partly(node: &mut Node) -> Vec<Output> {
    let (operation, output) = node.asked.remove(0);
    let Output::Switch { from, to, mut addresses, net, why, .. } = output else {
        panic!("not a switch: {output:?}");
    };
    addresses.retain(|(address, _)| *address != ip(SIX));
    node.obey(&Output::Switch { operation, from, to, addresses, net, why });
    node.feed(crate::Input::Done { operation, result: Err(refusal()) })
}

fn left_behind() -> Node {
    let mut node = with_standby();
    node.own(ADDRESS);
    pull(&mut node, 0);
    node.pass(150);
    let outputs = switch_partly(&mut node);
    let is_said = |output: &Output| {
        matches!(output, Output::Switched { left, addresses, failure: None, .. }
            if left == &[(ip(SIX), "IPv6 is off".to_owned())] && addresses == &[ip("10.77.0.1")])
    };
    assert!(outputs.iter().any(is_said), "{outputs:?}");
    while !node.asked.is_empty() {
        node.done(Ok(()));
    }
    node.picture();
    node
}

fn status(node: &Node) -> (Option<String>, Option<String>) {
    let net = node.network.status().nets.remove(0);
    (net.seat, net.failure)
}

#[test]
fn what_can_go_goes_and_what_cannot_is_said() {
    let mut node = left_behind();
    assert_eq!(own(&node)[1], ["10.77.0.1", ADDRESS, "fe80::2"]);
    assert_eq!(own(&node)[0], [SIX]);
    let why = "fd00::1 stays on eth1: IPv6 is off".to_owned();
    assert_eq!(status(&node), (Some("eth2".into()), Some(why)));
    assert!(node.network.can_carry(ip(ADDRESS)).is_ok());
    assert!(node.network.can_carry(ip("fd00::100")).is_err(), "another node may be better");
    assert_eq!(switches(&obeyed(&mut node, 9_000)), 0, "and is left alone for a while");
}

#[test]
fn it_is_together_with_the_others_when_they_return() {
    let mut node = left_behind();
    put_back(&mut node, 0);
    let outputs = obeyed(&mut node, 5_200);
    let expected = ("eth2".to_owned(), "eth1".to_owned(), "eth1 works again".to_owned());
    assert_eq!(switched(&outputs), [expected]);
    assert_eq!(own(&node), [vec!["10.77.0.1", ADDRESS, SIX], vec!["fe80::2"]]);
    assert_eq!(status(&node), (Some("eth1".into()), None));
    assert_eq!(switches(&obeyed(&mut node, 60_000)), 0);
    // The next failure takes all along that can go.
    pull(&mut node, 0);
    assert_eq!(switches(&obeyed(&mut node, 500)), 1);
    assert_eq!(own(&node)[1], ["10.77.0.1", ADDRESS, SIX, "fe80::2"]);
}

#[test]
fn it_is_tried_again_ever_less_often_and_goes_when_it_can() {
    let mut node = left_behind();
    let mut waited = Vec::new();
    for _ in 0..3 {
        let mut seconds = 0;
        while node.asked.is_empty() {
            node.pass(1_000);
            seconds += 1;
        }
        waited.push(seconds);
        assert!(node.network.can_carry(ip("fd00::100")).is_err(), "an attempt is no hope");
        let outputs = node.done(Err("IPv6 is off"));
        let is_said = |output: &Output| matches!(output, Output::Switched { .. });
        assert!(!outputs.iter().any(is_said), "no news: {outputs:?}");
    }
    assert_eq!(waited, [10, 20, 40]);
    let outputs = obeyed(&mut node, 80_100);
    let why = "could not go along with the others".to_owned();
    assert_eq!(switched(&outputs), [("eth1".to_owned(), "eth2".to_owned(), why)]);
    assert_eq!(own(&node)[1], ["10.77.0.1", ADDRESS, SIX, "fe80::2"]);
    assert_eq!(status(&node), (Some("eth2".into()), None));
    // The attempts were no failures of the interface: it is trusted as after one.
    put_back(&mut node, 0);
    assert_eq!(switches(&obeyed(&mut node, 5_200)), 1);
}

#[test]
fn what_somebody_takes_away_stays_behind_no_more() {
    let mut node = left_behind();
    node.vanish(SIX);
    node.picture();
    assert_eq!(status(&node), (Some("eth2".into()), None));
    assert_eq!(switches(&obeyed(&mut node, 60_000)), 0);
}

#[test]
fn what_was_on_the_other_interface_for_a_moment_is_announced_where_it_is() {
    let mut node = with_standby();
    pull(&mut node, 0);
    obeyed(&mut node, 500);
    node.pass(20_000);
    put_back(&mut node, 0);
    node.pass(5_200);
    // The primary had the addresses, and refused one; the driver took them away again.
    let outputs = node.done(Err("no"));
    for address in ["10.77.0.1", SIX] {
        let bytes = wire::announcement(super::OTHER_MAC, ip(address));
        assert!(outputs.contains(&Output::Send { interface: 2, bytes }), "{address}: {outputs:?}");
        let bytes = wire::announcement(MAC, ip(address));
        assert!(!outputs.contains(&Output::Send { interface: 1, bytes }), "{address} is not there");
    }
}
