//! Local switch: the primary eth1 with 10.77.0.1/24 and fd00::1/64, and the standby eth2.

use super::{ADDRESS, Node, OTHER_MAC, interface, ip, seen};
use crate::switch::SWITCH_AFTER;
use crate::wire::announcement;
use crate::{Condition, Input, Net, NetStatus, Output, Returning};
use std::collections::BTreeMap;

fn net() -> Net {
    Net { name: "net0".into(), cards: vec!["eth1".into(), "eth2".into()], auto_return: true }
}

fn configure(node: &mut Node, net: Net, fixed: &[&str]) {
    let addresses = vec![ip(ADDRESS), ip("fd00::100"), ip("10.77.0.101")];
    let fixed = fixed.iter().map(|address| ip(address)).collect();
    node.feed(Input::Configure {
        addresses,
        nets: vec![net],
        fixed,
        conflicts: BTreeMap::new(),
        verify: BTreeMap::new(),
        shares: Vec::new(),
    });
}

pub(super) fn with_standby() -> Node {
    let mut node = Node::new();
    let mut standby = interface(2, OTHER_MAC, &[]);
    // Every interface has one of its own, which goes nowhere.
    standby.addresses.push(seen("fe80::2", 64));
    node.interfaces.push(standby);
    configure(&mut node, net(), &[]);
    node.picture();
    node
}

pub(super) fn pull(node: &mut Node, index: usize) -> Vec<Output> {
    node.interfaces[index].carrier = false;
    node.picture()
}

pub(super) fn put_back(node: &mut Node, index: usize) -> Vec<Output> {
    node.interfaces[index].carrier = true;
    node.picture()
}

/// Own addresses on each interface.
pub(super) fn own(node: &Node) -> [Vec<String>; 2] {
    [0, 1].map(|place| {
        let all = node.interfaces[place].addresses.iter();
        let mut all: Vec<String> = all.map(|seen| seen.address.to_string()).collect();
        all.sort();
        all
    })
}

/// Time passes, and the driver does what it is asked at once.
pub(super) fn obeyed(node: &mut Node, millis: u64) -> Vec<Output> {
    let mut all = Vec::new();
    for _ in 0..millis / 10 {
        all.extend(node.pass(10).into_iter().map(|(_, output)| output));
        while !node.asked.is_empty() {
            all.extend(node.done(Ok(())));
        }
        // As the kernel would, after each change.
        all.extend(node.picture());
    }
    all
}

pub(super) fn switched(outputs: &[Output]) -> Vec<(String, String, String)> {
    let switched = outputs.iter().filter_map(|output| match output {
        Output::Switched { from, to, why, failure: None, .. } => {
            Some((from.clone(), to.clone(), why.clone()))
        }
        _ => None,
    });
    switched.collect()
}

pub(super) fn switches(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Switch { .. })).count()
}

#[test]
fn all_addresses_go_to_the_standby_and_are_announced_there() {
    let mut node = with_standby();
    node.own(ADDRESS);
    pull(&mut node, 0);
    assert!(node.network.can_carry(ip(ADDRESS)).is_ok(), "a standby is ready");
    let outputs = obeyed(&mut node, 150);
    let expected = ("eth1".to_owned(), "eth2".to_owned(), "has no carrier".to_owned());
    assert_eq!(switched(&outputs), [expected]);
    let [primary, standby] = own(&node);
    assert_eq!(primary, [""; 0]);
    assert_eq!(standby, ["10.77.0.1", ADDRESS, "fd00::1", "fe80::2"]);
    for address in ["10.77.0.1", "fd00::1", ADDRESS] {
        let bytes = announcement(OTHER_MAC, ip(address));
        let told = Output::Send { interface: 2, bytes };
        assert!(outputs.contains(&told), "{address} is not announced");
    }
    let outputs = node.pass(20_000);
    let bytes = announcement(OTHER_MAC, ip("10.77.0.1"));
    let again = Output::Send { interface: 2, bytes };
    let again = outputs.iter().filter(|(_, output)| *output == again).count();
    assert_eq!(again, 5, "for who missed it");
    assert_eq!(node.network.status().nets[0].seat.as_deref(), Some("eth2"));
}

#[test]
fn they_go_back_once_when_the_primary_has_worked_for_a_while() {
    let mut node = with_standby();
    node.own(ADDRESS);
    pull(&mut node, 0);
    obeyed(&mut node, 1_000);
    put_back(&mut node, 0);
    assert_eq!(switches(&obeyed(&mut node, 4_900)), 0);
    let outputs = obeyed(&mut node, 200);
    let expected = ("eth2".to_owned(), "eth1".to_owned(), "eth1 works again".to_owned());
    assert_eq!(switched(&outputs), [expected]);
    assert_eq!(own(&node), [vec!["10.77.0.1", ADDRESS, "fd00::1"], vec!["fe80::2"]]);
    assert_eq!(switches(&obeyed(&mut node, 60_000)), 0);
}

#[test]
fn a_loose_contact_keeps_the_addresses_on_the_standby_for_longer_each_time() {
    let mut node = with_standby();
    let mut waited = Vec::new();
    for _ in 0..4 {
        pull(&mut node, 0);
        obeyed(&mut node, 500);
        assert_eq!(node.network.status().nets[0].seat.as_deref(), Some("eth2"));
        put_back(&mut node, 0);
        let mut seconds = 0;
        while node.network.status().nets[0].seat.as_deref() == Some("eth2") {
            obeyed(&mut node, 1_000);
            seconds += 1;
        }
        waited.push(seconds);
    }
    assert_eq!(waited, [5, 10, 20, 40]);
}

#[test]
fn by_hand_they_go_back_when_somebody_says_so() {
    let mut node = with_standby();
    configure(&mut node, Net { auto_return: false, ..net() }, &[]);
    pull(&mut node, 0);
    obeyed(&mut node, 500);
    node.feed(Input::Return { net: "net0".into() });
    assert_eq!(switches(&obeyed(&mut node, 1_000)), 0, "it does not work yet");
    let refused =
        |why: &str| Some(Returning::Refused { seat: "eth2".to_owned(), why: why.to_owned() });
    assert_eq!(node.network.returning("net0"), refused("eth1 has no carrier"));
    put_back(&mut node, 0);
    assert_eq!(switches(&obeyed(&mut node, 60_000)), 0);
    polls_say(&mut node, [Condition::Unproven, Condition::Works]);
    assert_eq!(node.network.returning("net0"), refused("eth1 is not proven to work yet"));
    polls_say(&mut node, [Condition::Works, Condition::Works]);
    let goes = Returning::Goes { from: "eth2".to_owned(), to: "eth1".to_owned() };
    assert_eq!(node.network.returning("net0"), Some(goes));
    let outputs = node.feed(Input::Return { net: "net0".into() });
    assert_eq!(switches(&outputs), 1);
    obeyed(&mut node, 10);
    assert_eq!(node.network.returning("net0"), Some(Returning::IsThere("eth1".to_owned())));
    assert_eq!(node.network.returning("net9"), None);
    assert_eq!(node.network.status().nets[0].seat.as_deref(), Some("eth1"));
}

#[test]
fn a_dead_switch_moves_nothing_and_neither_does_its_return() {
    let mut node = with_standby();
    node.own(ADDRESS);
    for order in [[0, 1], [1, 0]] {
        for index in order {
            pull(&mut node, index);
            assert_eq!(switches(&obeyed(&mut node, 50)), 0);
        }
        assert_eq!(switches(&obeyed(&mut node, 10_000)), 0);
        assert!(node.network.can_carry(ip(ADDRESS)).is_err());
        for index in order {
            put_back(&mut node, index);
            assert_eq!(switches(&obeyed(&mut node, 2_000)), 0);
        }
        assert_eq!(switches(&obeyed(&mut node, 30_000)), 0);
    }
}

#[test]
fn a_standby_that_comes_later_helps_after_it_has_worked_for_a_while() {
    let mut node = with_standby();
    for index in [1, 0] {
        pull(&mut node, index);
    }
    obeyed(&mut node, 1_000);
    put_back(&mut node, 1);
    assert!(node.network.can_carry(ip(ADDRESS)).is_err(), "not soon enough to wait for");
    assert_eq!(switches(&obeyed(&mut node, 4_900)), 0);
    assert_eq!(switches(&obeyed(&mut node, 200)), 1);
}

#[test]
fn the_second_standby_is_next() {
    let mut node = with_standby();
    node.interfaces.push(interface(3, [2, 0, 0, 0, 0, 3], &[]));
    let cards = vec!["eth1".into(), "eth2".into(), "eth3".into()];
    configure(&mut node, Net { cards, ..net() }, &[]);
    node.picture();
    pull(&mut node, 0);
    obeyed(&mut node, 500);
    pull(&mut node, 1);
    obeyed(&mut node, 500);
    assert_eq!(node.network.status().nets[0].seat.as_deref(), Some("eth3"));
    put_back(&mut node, 0);
    obeyed(&mut node, 6_000);
    assert_eq!(node.network.status().nets[0].seat.as_deref(), Some("eth1"));
}

#[test]
fn a_daemon_that_starts_after_a_switch_goes_on_from_there() {
    let mut node = Node::blind();
    let own = std::mem::take(&mut node.interfaces[0].addresses);
    node.interfaces.push(interface(2, OTHER_MAC, &[]));
    node.interfaces[1].addresses = own;
    configure(&mut node, net(), &[]);
    node.picture();
    // The primary has worked as long as anybody knows, at least since the machine was started.
    assert_eq!(switches(&obeyed(&mut node, 5_000)), 1);
    assert_eq!(node.network.status().nets[0].seat.as_deref(), Some("eth1"));
}

#[test]
fn a_switch_that_was_interrupted_is_finished() {
    // Added to the standby, not yet removed from the primary, which works again or does not.
    for works in [true, false] {
        let mut node = Node::blind();
        node.interfaces.push(interface(2, OTHER_MAC, &[("10.77.0.1", 24)]));
        node.interfaces[0].carrier = works;
        configure(&mut node, net(), &[]);
        node.picture();
        obeyed(&mut node, 500);
        let [primary, standby] = self::own(&node);
        let all = ["10.77.0.1", "fd00::1"];
        let (on, off) = if works { (primary, standby) } else { (standby, primary) };
        assert_eq!((on, off), (all.map(str::to_owned).to_vec(), Vec::new()), "works: {works}");
    }
}

#[test]
fn a_standby_with_addresses_of_its_own_takes_over_nothing() {
    let mut node = with_standby();
    node.interfaces[1].addresses.push(seen("192.168.9.1", 24));
    node.picture();
    pull(&mut node, 0);
    assert_eq!(switches(&obeyed(&mut node, 10_000)), 0);
    assert!(node.network.can_carry(ip(ADDRESS)).is_err());
    let expected = NetStatus {
        name: "net0".into(),
        cards: net().cards,
        seat: Some("eth1".into()),
        addresses: vec![ip("10.77.0.1"), ip("fd00::1")],
        failure: Some("eth2 has addresses of its own, so it takes over none".into()),
    };
    assert_eq!(node.network.status().nets, [expected]);
}

#[test]
fn a_standby_with_addresses_of_its_own_is_not_in_the_way_of_another_one() {
    let mut node = with_standby();
    node.interfaces[1].addresses.push(seen("192.168.9.1", 24));
    node.interfaces.push(interface(3, OTHER_MAC, &[]));
    let cards = ["eth1", "eth2", "eth3"].map(str::to_owned).to_vec();
    configure(&mut node, Net { cards, ..net() }, &[]);
    node.picture();
    pull(&mut node, 0);
    assert_eq!(switches(&obeyed(&mut node, 500)), 1);
    let seat = |node: &Node| node.network.status().nets[0].seat.clone();
    assert_eq!(seat(&node).as_deref(), Some("eth3"));
    put_back(&mut node, 0);
    assert_eq!(switches(&obeyed(&mut node, 6_000)), 1);
    assert_eq!(seat(&node).as_deref(), Some("eth1"));
    assert_eq!(switches(&obeyed(&mut node, 10_000)), 0);
    assert_eq!(own(&node)[1], ["192.168.9.1", "fe80::2"]);
}

#[test]
fn a_service_that_forbids_it_is_not_carried_by_the_standby() {
    let mut node = with_standby();
    configure(&mut node, net(), &[ADDRESS]);
    node.own(ADDRESS);
    node.own("10.77.0.101");
    pull(&mut node, 0);
    assert!(node.network.can_carry(ip(ADDRESS)).is_err());
    assert!(node.network.can_carry(ip("10.77.0.101")).is_ok());
    obeyed(&mut node, 500);
    let [primary, standby] = own(&node);
    assert_eq!(primary, [ADDRESS]);
    assert_eq!(standby, ["10.77.0.1", "10.77.0.101", "fd00::1", "fe80::2"]);
    assert!(node.network.can_carry(ip(ADDRESS)).is_err());
}

#[test]
fn a_switch_that_fails_is_tried_again_and_said() {
    let mut node = with_standby();
    pull(&mut node, 0);
    node.pass(150);
    let outputs = node.done(Err("no"));
    let said = |output: &Output| matches!(output, Output::Switched { failure: Some(_), .. });
    assert!(outputs.iter().any(said), "{outputs:?}");
    assert!(node.network.can_carry(ip(ADDRESS)).is_err(), "another node may be better");
    assert_eq!(node.network.status().nets[0].failure.as_deref(), Some("no"));
    assert_eq!(switches(&obeyed(&mut node, 900)), 0);
    assert_eq!(switches(&obeyed(&mut node, 200)), 1);
    assert_eq!(node.network.status().nets[0].failure, None);
}

#[test]
fn own_addresses_need_no_lease() {
    let mut node = with_standby();
    node.network.set_lease(base::Instant::ZERO);
    pull(&mut node, 0);
    assert_eq!(switched(&obeyed(&mut node, 500)).len(), 1);
}

#[test]
fn a_network_that_goes_from_the_configuration_in_mid_switch_is_forgotten() {
    let mut node = with_standby();
    pull(&mut node, 0);
    node.pass(150);
    node.feed(Input::Configure {
        addresses: vec![],
        nets: vec![],
        fixed: vec![],
        conflicts: BTreeMap::new(),
        verify: BTreeMap::new(),
        shares: vec![],
    });
    assert_eq!(node.done(Ok(())), []);
    assert_eq!(node.network.deadline(), None);
    assert_eq!(node.pass(10_000), []);
}

#[test]
fn an_address_that_somebody_puts_back_on_the_primary_takes_no_others_along() {
    let mut node = with_standby();
    pull(&mut node, 0);
    obeyed(&mut node, 500);
    // As a network manager does when the carrier returns, again and again.
    let mut finished = 0;
    for _ in 0..20 {
        node.interfaces[0].addresses.push(seen("10.77.0.1", 24));
        put_back(&mut node, 0);
        finished += switches(&obeyed(&mut node, 100));
        assert_eq!(node.network.status().nets[0].seat.as_deref(), Some("eth2"));
        pull(&mut node, 0);
    }
    assert!((1..=3).contains(&finished), "{finished} switches within two seconds");
}

#[test]
fn the_moment_of_a_switch_is_not_lost_to_another_input() {
    let mut node = with_standby();
    pull(&mut node, 0);
    node.now += SWITCH_AFTER;
    node.feed(Input::Heal { interface: 2 });
    let (due, _) = node.network.deadline().expect("a switch is due");
    assert!(due <= node.now);
    assert_eq!(switches(&node.feed(Input::Tick)), 1);
}

#[test]
fn an_own_address_that_is_gone_is_announced_no_more() {
    let mut node = with_standby();
    pull(&mut node, 0);
    obeyed(&mut node, 500);
    node.interfaces[1].addresses.retain(|seen| seen.address != ip("10.77.0.1"));
    node.picture();
    let outputs = node.pass(20_000);
    let bytes = announcement(OTHER_MAC, ip("10.77.0.1"));
    let told = Output::Send { interface: 2, bytes };
    assert!(outputs.iter().all(|(_, output)| *output != told));
}

fn polls_say(node: &mut Node, conditions: [Condition; 2]) -> Vec<Output> {
    let names = ["eth1", "eth2"].map(str::to_owned);
    node.feed(Input::Health(names.into_iter().zip(conditions).collect()))
}

fn fails() -> Condition {
    Condition::Fails("hears nothing".into())
}

#[test]
fn an_interface_that_polls_find_dead_is_left_and_comes_back_when_it_is_proven() {
    let mut node = with_standby();
    node.own(ADDRESS);
    polls_say(&mut node, [fails(), Condition::Works]);
    let outputs = obeyed(&mut node, 200);
    let expected = ("eth1".to_owned(), "eth2".to_owned(), "hears nothing".to_owned());
    assert_eq!(switched(&outputs), [expected]);
    for doubt in [Condition::Unproven, Condition::Silent] {
        polls_say(&mut node, [doubt, Condition::Works]);
        assert_eq!(switches(&obeyed(&mut node, 20_000)), 0, "a signal proves nothing");
    }
    polls_say(&mut node, [Condition::Works, Condition::Works]);
    assert_eq!(switches(&obeyed(&mut node, 4_900)), 0);
    assert_eq!(switches(&obeyed(&mut node, 200)), 1);
    assert_eq!(node.network.status().nets[0].seat.as_deref(), Some("eth1"));
}

#[test]
fn a_daemon_that_starts_after_a_switch_does_not_return_to_what_it_has_not_proven() {
    let mut node = Node::blind();
    let own = std::mem::take(&mut node.interfaces[0].addresses);
    node.interfaces.push(interface(2, OTHER_MAC, &[]));
    node.interfaces[1].addresses = own;
    configure(&mut node, net(), &[]);
    // Said before the first picture.
    polls_say(&mut node, [Condition::Unproven, Condition::Unproven]);
    node.picture();
    assert_eq!(switches(&obeyed(&mut node, 4_000)), 0);
    node.feed(Input::Return { net: "net0".into() });
    assert_eq!(switches(&obeyed(&mut node, 100)), 0, "not by hand either");
    polls_say(&mut node, [fails(), Condition::Works]);
    assert_eq!(switches(&obeyed(&mut node, 60_000)), 0);
    polls_say(&mut node, [Condition::Works, Condition::Works]);
    assert_eq!(switches(&obeyed(&mut node, 6_000)), 1);
}

#[test]
fn what_polls_say_is_no_picture() {
    let mut node = with_standby();
    node.claim(ADDRESS);
    node.pass(30);
    // It stands in the kernel, and the newest picture is from before.
    node.done(Ok(()));
    let outputs = polls_say(&mut node, [Condition::Works, Condition::Works]);
    assert_eq!(outputs, []);
    assert!(node.is_owned(ADDRESS));
    // A carrier that was lost after that picture counts at once.
    let lost = Condition::Fails("has no carrier".into());
    polls_say(&mut node, [lost, Condition::Works]);
    assert_eq!(switched(&obeyed(&mut node, 150)).len(), 1);
    // And what they said holds for the pictures that follow.
    node.picture();
    assert_eq!(node.network.interfaces()[0].trouble(), Some("has no carrier"));
}

#[test]
fn of_two_standbys_the_proven_one_is_taken() {
    let mut node = with_standby();
    node.interfaces.push(interface(3, [2, 0, 0, 0, 0, 3], &[]));
    let cards = vec!["eth1".into(), "eth2".into(), "eth3".into()];
    configure(&mut node, Net { cards, ..net() }, &[]);
    polls_say(&mut node, [Condition::Works, Condition::Silent]);
    node.picture();
    pull(&mut node, 0);
    obeyed(&mut node, 500);
    assert_eq!(node.network.status().nets[0].seat.as_deref(), Some("eth3"));
}
