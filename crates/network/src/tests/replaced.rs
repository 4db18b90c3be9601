//! Service addresses that take the place of boot addresses, and bring hardware addresses with them.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use super::{MAC, Node, OTHER_MAC, interface, ip, seen};
use crate::place::{Distribution, Takeover};
use crate::wire::{Mac, announcement, probe};
use crate::{Failure, Input, Output, Share, Taken};

/// In the subnet of the first interface's boot address.
const SERVICE: &str = "10.77.0.100";
const SECOND: &str = "10.77.0.101";
const BOOT: &str = "10.77.0.1";
const STANDBY: &str = "10.78.0.1";
/// An address for heartbeats, beside the boot address.
const BEAT: &str = "10.200.0.2";
const HARDWARE: Mac = [2, 0, 0, 0, 0, 0x77];

fn share(hardware: &[(&str, Mac)]) -> Share {
    Share {
        net: "lan".into(),
        cards: vec!["eth1".into(), "eth2".into()],
        standbys: Vec::new(),
        distribution: Distribution::LeastLoad,
        takeover: Takeover::Replacement,
        source: None,
        rebalances: false,
        persistent: vec![(ip("10.77.0.9"), 24)],
        addresses: [SERVICE, SECOND].map(|address| (ip(address), None)).to_vec(),
        hardware: hardware.iter().map(|(address, mac)| (ip(address), *mac)).collect(),
        spared: vec![ip(BEAT)],
    }
}

/// Two interfaces with boot addresses of their own, the first with addresses for heartbeats and of the node.
fn blind() -> Node {
    let mut node = Node::blind();
    let own = [(BOOT, 24), (BEAT, 24), ("10.77.0.9", 24), ("fe80::1", 64), ("fd00::1", 64)];
    node.interfaces = vec![interface(1, MAC, &own), interface(2, OTHER_MAC, &[(STANDBY, 24)])];
    node
}

fn configure(node: &mut Node, share: Share) {
    let addresses = share.addresses.iter().map(|(address, _)| *address).collect();
    let shares = vec![share];
    node.feed(Input::Configure {
        addresses,
        nets: Vec::new(),
        fixed: Vec::new(),
        conflicts: BTreeMap::new(),
        verify: BTreeMap::new(),
        shares,
    });
}

fn node(hardware: &[(&str, Mac)]) -> Node {
    let mut node = blind();
    configure(&mut node, share(hardware));
    node.picture();
    node
}

/// Answers all, and shows what came of it.
fn finish(node: &mut Node) -> Vec<Output> {
    let mut outputs = Vec::new();
    for _ in 0..20 {
        while !node.asked.is_empty() {
            outputs.extend(node.done(Ok(())));
        }
        outputs.extend(node.picture());
        if node.asked.is_empty() {
            return outputs;
        }
    }
    panic!("it never comes to rest: {:?}", node.asked);
}

fn own(node: &mut Node, address: &str) -> Vec<Output> {
    node.claim(address);
    node.pass(30);
    finish(node)
}

/// The IPv4 addresses of an interface.
fn on(node: &Node, index: u32) -> Vec<String> {
    let card = node.interfaces.iter().find(|card| card.index == index).expect("it is there");
    let four = card.addresses.iter().filter(|seen| seen.address.is_ipv4());
    let mut all: Vec<IpAddr> = four.map(|seen| seen.address).collect();
    all.sort();
    all.into_iter().map(|address| address.to_string()).collect()
}

fn mac(node: &Node, index: u32) -> Mac {
    let card = node.interfaces.iter().find(|card| card.index == index);
    card.and_then(|card| card.mac).expect("it is there")
}

fn is_said(outputs: &[Output], interface: u32, mac: Mac, address: &str) -> bool {
    let frame = announcement(mac, ip(address));
    outputs.contains(&Output::Send { interface, bytes: frame })
}

#[test]
fn the_boot_address_goes_as_the_service_address_comes_and_comes_back() {
    let mut node = node(&[]);
    own(&mut node, SERVICE);
    // What belongs to the node otherwise, and heartbeats, stay; so does the other family.
    assert_eq!(on(&node, 1), ["10.77.0.9", SERVICE, BEAT]);
    assert!(node.on(1).contains(&seen("fd00::1", 64)));
    let taken = Taken { boot: vec![(ip(BOOT), 24)], mac: None };
    assert_eq!(*node.network.replaced(), BTreeMap::from([(1, taken)]));
    node.pass(10_000);
    assert_eq!(on(&node, 1), ["10.77.0.9", SERVICE, BEAT]);

    let outputs = node.release(SERVICE);
    assert!(matches!(outputs[0], Output::Remove { gives: true, .. }), "{outputs:?}");
    let outputs = finish(&mut node);
    assert!(matches!(outputs[0], Output::Released { .. }), "{outputs:?}");
    assert_eq!(on(&node, 1), [BOOT, "10.77.0.9", BEAT]);
    assert!(node.network.replaced().is_empty());
    assert!(is_said(&outputs, 1, MAC, BOOT), "{outputs:?}");
}

#[test]
fn an_interface_carries_one_and_the_next_takes_what_stands_by() {
    let mut node = node(&[]);
    own(&mut node, SERVICE);
    own(&mut node, SECOND);
    assert_eq!(on(&node, 1), ["10.77.0.9", SERVICE, BEAT]);
    assert_eq!(on(&node, 2), [SECOND], "its boot address is in another subnet");
    let add = Output::Failed {
        id: 3,
        reason:
            "no interface for 10.77.0.102: no interface in lan can carry it: eth1 has its boot \
                 address replaced already; eth2 has its boot address replaced already"
                .into(),
    };
    let mut third = share(&[]);
    third.addresses.push((ip("10.77.0.102"), None));
    configure(&mut node, third);
    assert_eq!(node.claim("10.77.0.102"), [add]);
}

#[test]
fn what_is_another_nodes_by_now_is_not_announced() {
    let mut node = node(&[]);
    own(&mut node, SERVICE);
    // The driver does not put it back.
    node.record.clear();
    node.release(SERVICE);
    let mut outputs = finish(&mut node);
    outputs.extend(node.pass(3_000).into_iter().map(|(_, output)| output));
    assert_eq!(on(&node, 1), ["10.77.0.9", BEAT]);
    assert!(node.network.replaced().is_empty());
    assert!(!is_said(&outputs, 1, MAC, BOOT), "{outputs:?}");
    assert!(is_said(&outputs, 1, MAC, BEAT), "{outputs:?}");
}

#[test]
fn one_that_follows_another_takes_what_that_gives_back() {
    let mut node = node(&[]);
    node.interfaces[1].carrier = false;
    node.picture();
    own(&mut node, SERVICE);
    // Its removal takes the kernel a while, and the other one is claimed meanwhile.
    node.release(SERVICE);
    node.claim(SECOND);
    let outputs: Vec<Output> = node.pass(30).into_iter().map(|(_, output)| output).collect();
    let add = outputs.iter().find(|output| matches!(output, Output::Add { .. }));
    let Some(Output::Add { interface: 1, taking, .. }) = add else { panic!("{outputs:?}") };
    assert_eq!(taking.boot, [(ip(BOOT), 24)]);
    finish(&mut node);
    assert_eq!(on(&node, 1), ["10.77.0.9", SECOND, BEAT]);
    node.release(SECOND);
    finish(&mut node);
    assert_eq!(on(&node, 1), [BOOT, "10.77.0.9", BEAT]);
}

#[test]
fn when_its_interface_fails_it_takes_the_place_of_the_other_ones_address() {
    let mut node = node(&[]);
    own(&mut node, SERVICE);
    node.interfaces[0].carrier = false;
    let outputs = node.picture();
    assert!(matches!(outputs[..], [Output::Remove { interface: 1, gives: true, .. }]));
    let outputs = node.done(Ok(()));
    let [Output::Add { interface: 2, taking, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!((&taking.boot, taking.subnet), (&vec![(ip(STANDBY), 24)], Some(24)));
    finish(&mut node);
    assert_eq!(on(&node, 1), [BOOT, "10.77.0.9", BEAT]);
    assert_eq!(on(&node, 2), [SERVICE]);
    node.release(SERVICE);
    finish(&mut node);
    assert_eq!(on(&node, 2), [STANDBY]);
}

#[test]
fn what_the_guard_removed_is_given_back() {
    let mut node = node(&[(SERVICE, HARDWARE)]);
    own(&mut node, SERVICE);
    assert_eq!(mac(&node, 1), HARDWARE);
    // Without a lease nothing may be added, but this is the node's own.
    node.network.set_lease(node.now);
    node.vanish(SERVICE);
    let outputs = node.picture();
    assert!(matches!(outputs[0], Output::Lost { .. }), "{outputs:?}");
    assert!(outputs.iter().any(|o| matches!(o, Output::Give { interface: 1, .. })), "{outputs:?}");
    finish(&mut node);
    assert_eq!(on(&node, 1), [BOOT, "10.77.0.9", BEAT]);
    assert_eq!(mac(&node, 1), MAC);
    assert!(node.network.replaced().is_empty());
}

#[test]
fn what_cannot_be_given_back_is_tried_again() {
    let mut node = node(&[]);
    own(&mut node, SERVICE);
    node.network.set_lease(node.now);
    node.vanish(SERVICE);
    node.picture();
    node.done(Err("no memory"));
    assert_eq!(node.picture(), [], "not at once");
    let gives = |outputs: &[(u64, Output)]| {
        let gives = outputs.iter().filter(|(_, o)| matches!(o, Output::Give { .. }));
        gives.map(|(at, _)| *at).collect::<Vec<_>>()
    };
    let outputs = node.pass(1_500);
    assert_eq!(gives(&outputs), [1_000]);
    finish(&mut node);
    assert_eq!(on(&node, 1), [BOOT, "10.77.0.9", BEAT]);
}

#[test]
fn a_daemon_that_was_killed_knows_what_it_took() {
    let mut first = node(&[(SERVICE, HARDWARE)]);
    own(&mut first, SERVICE);
    let (interfaces, record) = (first.interfaces.clone(), first.record.clone());

    // With its service still running: adopted, and given back at the end.
    let mut node = Node::blind();
    node.network = crate::Network::new(config(&record), node.now);
    node.network.set_lease(base::Instant::FAR);
    (node.interfaces, node.record) = (interfaces.clone(), record.clone());
    node.feed(Input::Adopt { service: "web".into(), address: ip(SERVICE) });
    node.picture();
    finish(&mut node);
    node.pass(3_000);
    assert_eq!(on(&node, 1), ["10.77.0.9", SERVICE, BEAT]);
    node.release(SERVICE);
    finish(&mut node);
    assert_eq!((on(&node, 1), mac(&node, 1)), (on(&self::node(&[]), 1), MAC));

    // Without it: what is left is removed, and what it took comes back.
    let mut node = Node::blind();
    node.network = crate::Network::new(config(&record), node.now);
    (node.interfaces, node.record) = (interfaces, record);
    let outputs = node.picture();
    assert!(matches!(outputs[..], [Output::Remove { gives: true, .. }]), "{outputs:?}");
    finish(&mut node);
    assert_eq!((on(&node, 1), mac(&node, 1)), (on(&self::node(&[]), 1), MAC));
}

#[test]
fn what_is_back_already_is_on_record_until_the_driver_has_ended_it() {
    let taken = Taken { boot: vec![(ip(BOOT), 24)], mac: Some(MAC) };
    let record = BTreeMap::from([(1, taken)]);
    let mut node = blind();
    node.network = crate::Network::new(config(&record), node.now);
    node.record = record.clone();
    let outputs = node.picture();
    assert!(matches!(outputs[..], [Output::Give { interface: 1, .. }]), "{outputs:?}");
    // Its routes cannot be put back yet.
    node.done(Err("network is unreachable"));
    assert_eq!(*node.network.replaced(), record);
    let again = node.pass(1_500);
    assert!(matches!(again[..], [(1_000, Output::Give { interface: 1, .. })]), "{again:?}");
    finish(&mut node);
    assert!(node.network.replaced().is_empty());
    assert_eq!(on(&node, 1), [BOOT, "10.77.0.9", BEAT]);
    let after = node.pass(5_000);
    assert!(!after.iter().any(|(_, output)| matches!(output, Output::Give { .. })), "{after:?}");
}

fn config(record: &BTreeMap<u32, Taken>) -> crate::Config {
    crate::Config {
        lease: Duration::from_millis(750),
        addresses: vec![ip(SERVICE), ip(SECOND)],
        nets: Vec::new(),
        fixed: Vec::new(),
        conflicts: BTreeMap::new(),
        verify: BTreeMap::new(),
        shares: vec![share(&[(SERVICE, HARDWARE)])],
        taken: record.clone(),
    }
}

#[test]
fn a_daemon_that_was_killed_between_two_steps_finishes_the_second() {
    let mut node = blind();
    configure(&mut node, share(&[(SERVICE, HARDWARE)]));
    node.on(1).push(seen(SERVICE, 32));
    node.feed(Input::Adopt { service: "web".into(), address: ip(SERVICE) });
    node.picture();
    let Some((_, Output::Add { taking, .. })) = node.asked.first() else { panic!("nothing asked") };
    assert_eq!((&taking.boot, taking.mac), (&vec![(ip(BOOT), 24)], Some(HARDWARE)));
    finish(&mut node);
    assert_eq!(on(&node, 1), ["10.77.0.9", SERVICE, BEAT]);
    assert_eq!(mac(&node, 1), HARDWARE);
}

#[test]
fn a_hardware_address_is_announced_for_all_on_the_interface() {
    let mut node = node(&[(SERVICE, HARDWARE)]);
    node.claim(SERVICE);
    let outputs: Vec<Output> = node.pass(30).into_iter().map(|(_, output)| output).collect();
    let first = Output::Send { interface: 1, bytes: probe(MAC, ip(SERVICE)) };
    assert!(outputs.contains(&first), "asked from what it is now");
    let outputs = node.done(Ok(()));
    assert!(is_said(&outputs, 1, HARDWARE, SERVICE), "{outputs:?}");
    let mut later: Vec<Output> = node.picture();
    later.extend(node.pass(0).into_iter().map(|(_, output)| output));
    // Peers would send heartbeats to a station that is not there any more.
    assert!(is_said(&later, 1, HARDWARE, BEAT), "{later:?}");
    assert!(is_said(&later, 1, HARDWARE, "10.77.0.9"), "{later:?}");
    node.release(SERVICE);
    let after = finish(&mut node);
    assert!(is_said(&after, 1, MAC, BEAT), "{after:?}");
    assert!(is_said(&after, 1, MAC, BOOT), "{after:?}");
}

#[test]
fn a_claim_that_cannot_be_added_takes_nothing() {
    let mut node = node(&[(SERVICE, HARDWARE)]);
    node.claim(SERVICE);
    node.pass(30);
    let outputs = node.done(Err("device or resource busy"));
    assert!(matches!(outputs[0], Output::Failed { .. }), "{outputs:?}");
    finish(&mut node);
    assert!(node.network.replaced().is_empty());
    assert_eq!((on(&node, 1), mac(&node, 1)), (on(&self::node(&[]), 1), MAC));
}

/// The driver sets the hardware address, cannot add the address, and cannot set the hardware address back.
fn half_done(node: &mut Node, failure: Failure) -> Vec<Output> {
    node.record.insert(1, Taken { boot: vec![(ip(BOOT), 24)], mac: Some(MAC) });
    node.interfaces[0].mac = Some(HARDWARE);
    node.refuse(failure)
}

#[test]
fn a_hardware_address_that_was_not_set_back_stays_on_record() {
    for failure in [Failure::Lasting("no memory".into()), Failure::NotNow("too late".into())] {
        let mut node = node(&[(SERVICE, HARDWARE)]);
        node.claim(SERVICE);
        node.pass(30);
        half_done(&mut node, failure);
        let taken = Taken { boot: vec![(ip(BOOT), 24)], mac: Some(MAC) };
        assert_eq!(*node.network.replaced(), BTreeMap::from([(1, taken)]));
        let outputs = node.picture();
        assert!(outputs.iter().any(|o| matches!(o, Output::Give { .. })), "{outputs:?}");
        node.done(Err("device or resource busy"));
        assert!(!node.network.replaced().is_empty(), "it has not succeeded yet");
        let again = node.pass(1_500);
        let gives = |(at, one): &(u64, Output)| *at == 1_000 && matches!(one, Output::Give { .. });
        assert!(again.iter().any(gives), "{again:?}");
        finish(&mut node);
        assert!(node.network.replaced().is_empty());
        assert_eq!((on(&node, 1), mac(&node, 1)), (on(&self::node(&[]), 1), MAC));
    }
}

#[test]
fn a_gift_that_failed_waits_for_what_takes_the_interface_again() {
    let mut node = node(&[(SERVICE, HARDWARE)]);
    node.claim(SERVICE);
    node.pass(30);
    half_done(&mut node, Failure::Lasting("no memory".into()));
    node.picture();
    node.done(Err("device or resource busy"));
    node.claim(SERVICE);
    let outputs = node.pass(1_500);
    let adds = |(_, one): &(u64, Output)| matches!(one, Output::Add { .. });
    assert_eq!(outputs.iter().filter(|one| adds(one)).count(), 1, "{outputs:?}");
    let due = node.network.deadline().map(|(at, _)| at);
    assert!(due.is_none_or(|at| at > node.now), "{due:?}: it would turn for ever");
}

#[test]
fn a_release_while_it_is_added_gives_back() {
    let mut node = node(&[]);
    node.claim(SERVICE);
    node.pass(30);
    let outputs = node.release(SERVICE);
    assert!(outputs.iter().any(|o| matches!(o, Output::Remove { gives: true, .. })), "{outputs:?}");
    finish(&mut node);
    assert_eq!(on(&node, 1), [BOOT, "10.77.0.9", BEAT]);
    assert!(node.network.replaced().is_empty());
}

#[test]
fn a_network_that_replaces_no_more_has_its_boot_address_beside() {
    let mut node = node(&[(SERVICE, HARDWARE)]);
    own(&mut node, SERVICE);
    node.pass(5_000);
    configure(&mut node, Share { takeover: Takeover::Alias, ..share(&[]) });
    let mut outputs = finish(&mut node);
    assert_eq!(on(&node, 1), [BOOT, "10.77.0.9", SERVICE, BEAT]);
    assert_eq!(mac(&node, 1), MAC);
    assert!(node.is_owned(SERVICE));
    outputs.extend(node.pass(300).into_iter().map(|(_, output)| output));
    assert!(is_said(&outputs, 1, MAC, SERVICE), "neighbours have it with another one: {outputs:?}");
}
