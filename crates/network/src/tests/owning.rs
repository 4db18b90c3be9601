use core::time::Duration;
use std::collections::BTreeMap;

use super::{ADDRESS, MAC, Node, OTHER_MAC, announcements, arp_reply, interface, ip, seen};
use crate::wire::{announcement, probe};
use crate::{Input, OnConflict, Output, Phase};

fn refreshes(outputs: &[(u64, Output)]) -> Vec<u64> {
    let refresh = |output: &Output| matches!(output, Output::Refresh { .. });
    outputs.iter().filter(|(_, output)| refresh(output)).map(|(at, _)| *at).collect()
}

#[test]
fn announcements_repeat_soon_then_less_often_then_each_minute() {
    for address in [ADDRESS, "fd00::100"] {
        let mut node = Node::new();
        node.own(address);
        let outputs = node.pass(130_000);
        let at = announcements(&outputs, address);
        assert_eq!(at, [200, 1_000, 2_000, 4_000, 8_000, 68_000, 128_000]);
    }
}

#[test]
fn the_lifetime_is_refreshed_each_second_while_the_lease_lasts() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.network.set_lease(node.now + Duration::from_millis(3_500));
    let outputs = node.pass(10_000);
    assert_eq!(refreshes(&outputs), [1_000, 2_000, 3_000]);
    assert_eq!(announcements(&outputs, ADDRESS), [200, 1_000, 2_000]);
    assert_eq!(node.network.deadline(), None, "nothing to wake for without a lease");
    let expected = Output::Refresh {
        interface: 1,
        address: ip(ADDRESS),
        prefix: 32,
        lifetime: Duration::from_secs(2),
    };
    assert!(outputs.contains(&(1_000, expected)));
    node.network.set_lease(node.now + Duration::from_secs(60));
    let outputs = node.pass(1_000);
    assert_eq!(refreshes(&outputs), [0, 1_000], "at once when the lease is back");
    assert_eq!(announcements(&outputs, ADDRESS), [0]);
}

#[test]
fn the_lease_ends_at_its_moment_not_after() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.network.set_lease(node.now + Duration::from_millis(1_000));
    let outputs = node.pass(5_000);
    assert_eq!(outputs.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [200]);
}

#[test]
fn a_lifetime_is_the_lease_rounded_up_and_one_second() {
    let lifetime = |millis| {
        crate::Config {
            lease: Duration::from_millis(millis),
            addresses: Vec::new(),
            nets: Vec::new(),
            fixed: Vec::new(),
            conflicts: BTreeMap::new(),
            verify: BTreeMap::new(),
            shares: Vec::new(),
            taken: BTreeMap::new(),
        }
        .lifetime()
    };
    assert_eq!(lifetime(250), Duration::from_secs(2));
    assert_eq!(lifetime(1_000), Duration::from_secs(2));
    assert_eq!(lifetime(2_400), Duration::from_secs(4));
    assert_eq!(lifetime(19_000), Duration::from_secs(20));
}

#[test]
fn a_heal_announces_at_once_and_starts_over() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.pass(20_000);
    let outputs = node.feed(Input::Heal { interface: 1 });
    assert_eq!(outputs, [Output::Send { interface: 1, bytes: announcement(MAC, ip(ADDRESS)) }]);
    assert_eq!(node.feed(Input::Heal { interface: 1 }), [], "one cause, several paths");
    assert_eq!(node.feed(Input::Heal { interface: 2 }), [], "another interface");
    let outputs = node.pass(20_000);
    assert_eq!(announcements(&outputs, ADDRESS), [200, 1_000, 2_000, 4_000, 8_000]);
}

#[test]
fn a_carrier_that_returns_and_another_mac_are_announced() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.pass(20_000);
    node.interfaces[0].carrier = false;
    assert_eq!(node.picture(), [], "a dead cable alone moves nothing");
    assert!(node.is_owned(ADDRESS));
    node.interfaces[0].carrier = true;
    assert_eq!(node.picture().len(), 1);
    node.pass(20_000);
    let mac = [2, 0, 0, 0, 0, 77];
    node.interfaces[0].mac = Some(mac);
    let told = Output::Send { interface: 1, bytes: announcement(mac, ip(ADDRESS)) };
    assert_eq!(node.picture(), [told]);
}

#[test]
fn a_conflict_is_reported_each_second_and_defended_each_ten() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.pass(20_000);
    let claim = announcement(OTHER_MAC, ip(ADDRESS));
    let conflict = Output::Conflict { service: "web".into(), address: ip(ADDRESS), mac: OTHER_MAC };
    let told = Output::Send { interface: 1, bytes: announcement(MAC, ip(ADDRESS)) };
    assert_eq!(node.hears(claim.clone()), [conflict.clone(), told.clone()]);
    node.now += Duration::from_millis(999);
    assert_eq!(node.hears(claim.clone()), []);
    node.now += Duration::from_millis(1);
    let reply = arp_reply(OTHER_MAC, ADDRESS, MAC, "10.77.0.1");
    assert_eq!(node.hears(reply), std::slice::from_ref(&conflict));
    assert!(node.is_owned(ADDRESS));
    let status = node.network.status();
    assert_eq!(status.counters.conflicts, 3);
    assert_eq!(status.addresses[0].conflict, Some((OTHER_MAC, node.now)));
    // Once more when the interval is over, so that nobody stays misled, then as ever.
    let outputs = node.pass(80_000);
    assert_eq!(announcements(&outputs, ADDRESS), [9_000, 69_000]);
    assert_eq!(node.hears(claim), [conflict, told], "another one");
}

fn with_policy(policy: OnConflict, address: &str) -> Node {
    let mut node = Node::new();
    node.feed(Input::Configure {
        addresses: vec![ip(address)],
        nets: Vec::new(),
        fixed: Vec::new(),
        conflicts: BTreeMap::from([(ip(address), policy)]),
        verify: BTreeMap::new(),
        shares: Vec::new(),
    });
    node.own(address);
    node.pass(20_000);
    node
}

#[test]
fn an_address_that_only_alarms_is_kept_and_not_defended() {
    for address in [ADDRESS, "fd00::100"] {
        let mut node = with_policy(OnConflict::Alarm, address);
        for _ in 0..3 {
            let outputs = node.hears(announcement(OTHER_MAC, ip(address)));
            assert!(matches!(outputs[..], [Output::Conflict { .. }]), "{outputs:?}");
            assert_eq!(announcements(&node.pass(1_500), address), [0; 0]);
        }
        assert!(node.is_owned(address));
    }
}

#[test]
fn an_address_that_yields_is_given_up_when_the_other_one_goes_on() {
    for address in [ADDRESS, "fd00::100"] {
        let mut node = with_policy(OnConflict::Yield, address);
        let other = announcement(OTHER_MAC, ip(address));
        let outputs = node.hears(other.clone());
        assert!(matches!(outputs[..], [Output::Conflict { .. }, Output::Send { .. }]));
        node.pass(9_999);
        assert!(node.is_owned(address), "one frame may be anybody's");
        let outputs = node.hears(other);
        let is_removed = |output: &Output| matches!(output, Output::Remove { .. });
        assert!(outputs.iter().any(is_removed), "{outputs:?}");
        let outputs = node.done(Ok(()));
        let why = "it is used by 02:00:00:00:00:09 on eth1".to_owned();
        let service = "web".to_owned();
        assert_eq!(outputs[0], Output::Yielded { service, address: ip(address), why });
        assert_eq!(node.network.status().counters.yielded, 1);
        node.next_id = 7;
        assert_eq!(node.release(address), [Output::Released { id: 8 }], "nothing is left");
    }
}

#[test]
fn conflicts_that_are_far_between_are_each_the_first() {
    let mut node = with_policy(OnConflict::Yield, ADDRESS);
    for _ in 0..3 {
        node.hears(announcement(OTHER_MAC, ip(ADDRESS)));
        node.pass(10_000);
    }
    assert!(node.is_owned(ADDRESS));
}

#[test]
fn a_release_of_what_is_being_given_up_is_answered_as_well() {
    let mut node = with_policy(OnConflict::Yield, ADDRESS);
    for _ in 0..2 {
        node.hears(announcement(OTHER_MAC, ip(ADDRESS)));
    }
    node.release(ADDRESS);
    let outputs = node.done(Ok(()));
    assert!(
        matches!(outputs[..2], [Output::Yielded { .. }, Output::Released { .. }]),
        "{outputs:?}"
    );
}

#[test]
fn ipv6_is_defended_alike() {
    let mut node = Node::new();
    node.own("fd00::100");
    let outputs = node.hears(announcement(OTHER_MAC, ip("fd00::100")));
    assert!(matches!(outputs[..], [Output::Conflict { mac: OTHER_MAC, .. }, Output::Send { .. }]));
}

#[test]
fn an_owned_address_may_be_asked_for() {
    for address in [ADDRESS, "fd00::100"] {
        let mut node = Node::new();
        node.own(address);
        assert_eq!(node.hears(probe(OTHER_MAC, ip(address))), [], "the kernel answers");
        assert_eq!(node.hears(announcement(MAC, ip(address))), [], "our own, reflected");
    }
}

#[test]
fn without_a_lease_a_conflict_is_reported_but_not_defended() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.network.set_lease(node.now);
    let outputs = node.hears(announcement(OTHER_MAC, ip(ADDRESS)));
    assert!(matches!(outputs[..], [Output::Conflict { .. }]), "{outputs:?}");
}

#[test]
fn an_address_that_vanishes_is_put_back_once() {
    let mut node = Node::new();
    node.own(ADDRESS);
    assert_eq!(node.picture(), []);
    node.vanish(ADDRESS);
    let outputs = node.picture();
    assert!(matches!(outputs[..], [Output::Add { prefix: 32, .. }]), "{outputs:?}");
    assert_eq!(node.picture(), [], "it is on its way");
    assert_eq!(node.done(Ok(())), []);
    assert_eq!(node.network.status().counters.restored, 1);
    node.picture();
    node.pass(5_000);
    node.vanish(ADDRESS);
    let outputs = node.picture();
    let [Output::Lost { service, address, why }, Output::Listen { on: false, .. }] = &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!((service.as_str(), *address), ("web", ip(ADDRESS)));
    assert_eq!(why, "it vanished from eth1 again 5 s after it was put back");
    assert_eq!(node.release(ADDRESS), [Output::Released { id: 2 }], "nothing is left");
}

#[test]
fn a_minute_later_it_is_put_back_again() {
    let mut node = Node::new();
    node.own(ADDRESS);
    for restored in 1..=3 {
        node.picture();
        node.vanish(ADDRESS);
        assert!(matches!(node.picture()[..], [Output::Add { .. }]));
        node.done(Ok(()));
        node.pass(60_000);
        assert_eq!(node.network.status().counters.restored, restored);
    }
}

#[test]
fn a_picture_from_before_the_addition_is_no_loss() {
    let mut node = Node::new();
    node.own(ADDRESS);
    let newer = node.interfaces.clone();
    node.vanish(ADDRESS);
    assert_eq!(node.picture(), [], "it was taken before");
    node.interfaces = newer;
    node.picture();
    node.pass(3_000);
    assert!(node.is_owned(ADDRESS));
    assert_eq!(node.network.status().counters.restored, 0);
}

#[test]
fn an_address_that_was_never_seen_is_put_back_after_a_second() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.vanish(ADDRESS);
    node.picture();
    let outputs = node.pass(1_000);
    assert!(outputs.iter().any(|(at, o)| *at == 1_000 && matches!(o, Output::Add { .. })));
    assert_eq!(refreshes(&outputs), [0_u64; 0], "there is nothing to refresh");
}

#[test]
fn an_address_that_cannot_be_put_back_is_lost() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.picture();
    node.vanish(ADDRESS);
    node.picture();
    let outputs = node.done(Err("no such device"));
    let Output::Lost { why, .. } = &outputs[0] else { panic!("{outputs:?}") };
    assert_eq!(why, "it vanished from eth1 and could not be put back: no such device");
}

#[test]
fn a_release_while_it_is_put_back_removes_it() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.picture();
    node.vanish(ADDRESS);
    node.picture();
    let outputs = node.release(ADDRESS);
    assert!(matches!(outputs[0], Output::Remove { .. }), "{outputs:?}");
    assert_eq!(node.done(Ok(())), []);
    assert_eq!(node.done(Ok(())), [Output::Released { id: 2 }]);
}

#[test]
fn without_a_lease_a_vanished_address_is_lost() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.picture();
    node.network.set_lease(node.now);
    node.vanish(ADDRESS);
    let outputs = node.picture();
    let Output::Lost { why, .. } = &outputs[0] else { panic!("{outputs:?}") };
    assert_eq!(why, "it vanished from eth1 while this node had no lease");
}

#[test]
fn an_interface_that_is_gone_takes_its_addresses_with_it() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.own("fd00::100");
    node.interfaces.clear();
    let outputs = node.picture();
    let [Output::Lost { why, .. }, Output::Lost { .. }, Output::Listen { on: false, .. }] =
        &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(why, "interface eth1 is gone");
    assert_eq!(node.network.deadline(), None);
}

#[test]
fn a_second_copy_of_an_owned_address_is_removed() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.interfaces.push(interface(2, [2, 0, 0, 0, 0, 2], &[(ADDRESS, 24)]));
    node.on(1).push(seen(ADDRESS, 24));
    let outputs = node.picture();
    let [
        Output::Remove { interface: 1, prefix: 24, .. },
        Output::Remove { interface: 2, prefix: 24, .. },
    ] = outputs[..]
    else {
        panic!("{outputs:?}")
    };
    node.done(Ok(()));
    node.done(Ok(()));
    assert_eq!(node.picture(), []);
    assert!(node.is_owned(ADDRESS));
}

#[test]
fn an_adopted_address_is_owned_and_refreshed_at_once() {
    let mut node = Node::blind();
    node.on(1).push(seen(ADDRESS, 32));
    assert_eq!(node.feed(adopt()), []);
    assert_eq!(node.network.status().addresses[0].phase, Phase::Adopting);
    let outputs = node.picture();
    let told = Output::Send { interface: 1, bytes: announcement(MAC, ip(ADDRESS)) };
    let [Output::Listen { interface: 1, on: true }, send, Output::Refresh { prefix: 32, .. }] =
        &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(*send, told);
    assert!(node.is_owned(ADDRESS));
}

#[test]
fn an_adopted_address_waits_for_the_lease() {
    let mut node = Node::blind();
    node.on(1).push(seen(ADDRESS, 32));
    node.network.set_lease(super::Instant::ZERO);
    node.feed(adopt());
    assert_eq!(node.picture(), [Output::Listen { interface: 1, on: true }]);
    assert_eq!(node.network.deadline(), None);
    node.network.set_lease(super::Instant::FAR);
    let outputs = node.pass(0);
    assert_eq!(refreshes(&outputs), [0]);
    assert_eq!(announcements(&outputs, ADDRESS), [0]);
}

#[test]
fn an_adopted_address_that_is_not_there_is_lost() {
    let mut node = Node::blind();
    node.feed(adopt());
    let outputs = node.picture();
    let [Output::Lost { why, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(why, "it was not on any interface when the daemon came back");
}

#[test]
fn an_adopted_address_can_be_released_before_the_first_picture() {
    let mut node = Node::blind();
    node.on(1).push(seen(ADDRESS, 32));
    node.feed(adopt());
    assert_eq!(node.release(ADDRESS), []);
    assert!(matches!(node.picture()[..], [Output::Remove { .. }]));
    assert_eq!(node.done(Ok(())), [Output::Released { id: 1 }]);
}

fn adopt() -> Input {
    Input::Adopt { service: "web".into(), address: ip(ADDRESS) }
}
