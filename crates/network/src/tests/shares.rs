//! Addresses that are shared out over several interfaces of their node.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use super::{Node, OTHER_MAC, interface, ip};
use crate::place::{Distribution, Rule, Takeover};
use crate::{Input, Output, Phase, Share};

pub(super) const FIRST: &str = "10.99.0.1";
pub(super) const SECOND: &str = "10.99.0.2";
pub(super) const THIRD: &str = "10.99.0.3";
const PERSISTENT: &str = "10.99.0.9";

pub(super) fn share(distribution: Distribution) -> Share {
    Share {
        net: "lan".into(),
        cards: vec!["eth1".into(), "eth2".into()],
        standbys: Vec::new(),
        distribution,
        takeover: Takeover::Alias,
        source: None,
        rebalances: false,
        persistent: Vec::new(),
        addresses: [FIRST, SECOND, THIRD].map(|address| (ip(address), None)).to_vec(),
        hardware: BTreeMap::new(),
        spared: Vec::new(),
    }
}

pub(super) fn configure(node: &mut Node, share: Share) {
    let addresses: Vec<IpAddr> = share.addresses.iter().map(|(address, _)| *address).collect();
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

/// Two interfaces in subnets of their own, neither of which has the service addresses.
fn node(share: Share) -> Node {
    let mut node = Node::blind();
    node.interfaces.push(interface(2, OTHER_MAC, &[("10.78.0.1", 24)]));
    configure(&mut node, share);
    node.picture();
    node
}

fn claim_all(node: &mut Node) {
    for address in [FIRST, SECOND, THIRD] {
        node.claim(address);
    }
    node.pass(30);
    while !node.asked.is_empty() {
        node.done(Ok(()));
    }
}

/// The interface of each address, as the kernel has it.
pub(super) fn on(node: &Node) -> Vec<u32> {
    [FIRST, SECOND, THIRD].iter().flat_map(|address| places(node, address)).collect()
}

fn places(node: &Node, address: &str) -> Vec<u32> {
    let here = node
        .interfaces
        .iter()
        .filter(|interface| interface.addresses.iter().any(|seen| seen.address == ip(address)));
    here.map(|interface| interface.index).collect()
}

pub(super) fn finish(node: &mut Node) -> Vec<Output> {
    let mut outputs = Vec::new();
    while !node.asked.is_empty() {
        outputs.extend(node.done(Ok(())));
    }
    outputs
}

#[test]
fn claims_of_the_same_moment_are_shared_out() {
    let mut node = node(share(Distribution::LeastLoad));
    claim_all(&mut node);
    assert_eq!(on(&node), [1, 2, 1]);
    let status = node.network.status();
    let why: Vec<&str> = status.addresses.iter().map(|one| one.why.as_str()).collect();
    assert_eq!(why[0], "least-load: eth1, eth2 have 0 each, eth1 comes first");
    assert_eq!(why[1], "least-load: eth2 has 0, eth1 1");
    assert!(status.addresses.iter().all(|one| one.phase == Phase::Owned));
}

#[test]
fn all_leave_a_failed_interface_and_say_why() {
    let mut node = node(share(Distribution::LeastLoad));
    claim_all(&mut node);
    node.interfaces[0].carrier = false;
    node.picture();
    let outputs = finish(&mut node);
    assert_eq!(on(&node), [2, 2, 2]);
    let moved = outputs.iter().filter_map(|output| match output {
        Output::Moved { why, rule, .. } => Some((why.as_str(), rule.as_str())),
        _ => None,
    });
    assert_eq!(moved.collect::<Vec<_>>(), [("has no carrier", "only eth2 can carry it"); 2]);
    // It works again, and nobody wished that anything moves for that.
    node.interfaces[0].carrier = true;
    node.picture();
    node.pass(60_000);
    assert_eq!(on(&node), [2, 2, 2]);
    let placements = node.network.placements();
    let later = placements.iter().filter(|(_, placed)| placed.later.is_some()).count();
    assert_eq!(later, 3, "{placements:?}");
}

#[test]
fn a_change_moves_nothing_until_somebody_asks() {
    let mut node = node(share(Distribution::LeastLoad));
    claim_all(&mut node);
    configure(&mut node, share(Distribution::Collocation));
    node.picture();
    node.pass(10_000);
    assert_eq!(on(&node), [1, 2, 1]);
    let later = &node.network.placements()[1].1;
    assert_eq!(
        later.later.as_deref(),
        Some("eth1 would be better (collocation: eth1 has 2, eth2 0): at its next move")
    );
    node.feed(Input::Rebalance { net: "other".into() });
    assert_eq!(node.asked.len(), 0);
    node.feed(Input::Rebalance { net: "lan".into() });
    let outputs = finish(&mut node);
    assert_eq!(on(&node), [1, 1, 1]);
    let has_moved = |output: &Output| matches!(output, Output::Moved { why, .. } if why == "has more than its share");
    assert!(outputs.iter().any(has_moved), "{outputs:?}");
}

#[test]
fn without_a_lease_nothing_is_shared_out_anew() {
    let mut node = node(share(Distribution::LeastLoad));
    claim_all(&mut node);
    configure(&mut node, share(Distribution::Collocation));
    node.network.set_lease(node.now);
    assert_eq!(node.feed(Input::Rebalance { net: "lan".into() }), []);
}

#[test]
fn where_it_is_wished_an_interface_gets_its_share_back_once_it_has_worked_for_a_while() {
    let mut node = node(Share { rebalances: true, ..share(Distribution::LeastLoad) });
    claim_all(&mut node);
    node.interfaces[0].carrier = false;
    node.picture();
    finish(&mut node);
    assert_eq!(on(&node), [2, 2, 2]);
    node.interfaces[0].carrier = true;
    node.picture();
    node.pass(4_000);
    // A loose contact: the time begins anew.
    for carrier in [false, true] {
        node.interfaces[0].carrier = carrier;
        node.picture();
    }
    // And twice as long, as of a local switch.
    node.pass(9_900);
    assert_eq!(node.asked.len(), 0);
    node.pass(200);
    assert_eq!(node.asked.len(), 1, "one of three");
    finish(&mut node);
    assert_eq!(on(&node), [1, 2, 2]);
    node.pass(60_000);
    assert_eq!(on(&node), [1, 2, 2], "once");
}

/// Loses the first interface's carrier, or gives it back.
fn carrier(node: &mut Node, on: bool) {
    node.interfaces[0].carrier = on;
    node.picture();
    finish(node);
}

#[test]
fn each_failure_of_a_loose_contact_doubles_the_time_that_it_has_to_work() {
    let mut node = node(Share { rebalances: true, ..share(Distribution::LeastLoad) });
    claim_all(&mut node);
    let mut waited = Vec::new();
    for _ in 0..8 {
        carrier(&mut node, false);
        assert_eq!(on(&node), [2, 2, 2]);
        carrier(&mut node, true);
        let mut seconds = 0;
        while node.asked.is_empty() {
            node.pass(1_000);
            seconds += 1;
        }
        finish(&mut node);
        assert_eq!(on(&node), [1, 2, 2]);
        waited.push(seconds);
    }
    assert_eq!(waited, [5, 10, 20, 40, 80, 160, 320, 320]);
    // Ten minutes without a failure: it is trusted again.
    node.pass(600_000);
    carrier(&mut node, false);
    carrier(&mut node, true);
    node.pass(5_100);
    assert_eq!(node.asked.len(), 1);
}

#[test]
fn a_share_that_is_due_without_a_lease_is_given_back_with_the_next_one() {
    let mut node = node(Share { rebalances: true, ..share(Distribution::LeastLoad) });
    claim_all(&mut node);
    carrier(&mut node, false);
    carrier(&mut node, true);
    node.pass(4_000);
    node.network.set_lease(node.now);
    let asked = node.pass(3_000).len();
    assert_eq!((asked, node.asked.len()), (0, 0));
    assert_eq!(node.network.deadline(), None, "and nobody waits for it meanwhile");
    node.network.set_lease(node.now + Duration::from_secs(3_600));
    node.pass(100);
    finish(&mut node);
    assert_eq!(on(&node), [1, 2, 2]);
}

#[test]
fn a_share_that_is_due_outlives_a_change_of_the_configuration() {
    let one = || Share { rebalances: true, ..share(Distribution::LeastLoad) };
    let mut node = node(one());
    claim_all(&mut node);
    carrier(&mut node, false);
    carrier(&mut node, true);
    node.pass(4_000);
    configure(&mut node, one());
    node.pass(1_100);
    finish(&mut node);
    assert_eq!(on(&node), [1, 2, 2]);
    // Nobody wishes it any more.
    carrier(&mut node, false);
    carrier(&mut node, true);
    configure(&mut node, Share { rebalances: false, ..one() });
    node.pass(60_000);
    assert_eq!(on(&node), [2, 2, 2]);
}

#[test]
fn what_is_on_its_way_when_its_share_is_due_is_looked_at_again() {
    let mut node = node(Share { rebalances: true, ..share(Distribution::LeastLoad) });
    claim_all(&mut node);
    carrier(&mut node, false);
    carrier(&mut node, true);
    // The second interface's turn: its addresses leave, and the kernel takes its time.
    node.interfaces[1].carrier = false;
    node.picture();
    assert_eq!(node.asked.len(), 3);
    node.interfaces[1].carrier = true;
    node.picture();
    node.pass(20_000);
    finish(&mut node);
    assert_eq!(on(&node), [1, 1, 1]);
    node.pass(1_100);
    finish(&mut node);
    assert_eq!(on(&node), [2, 1, 1]);
}

#[test]
fn who_wants_a_rebalance_hears_what_it_does_or_why_not() {
    let mut node = node(share(Distribution::LeastLoad));
    claim_all(&mut node);
    assert_eq!(node.network.rebalancing("lan"), Ok(Vec::new()));
    configure(&mut node, share(Distribution::Collocation));
    let moves = node.network.rebalancing("lan").expect("it can be done");
    let said: Vec<(IpAddr, &str, &str, bool)> = moves
        .iter()
        .map(|one| (one.address, one.from.as_str(), one.to.as_str(), one.is_busy))
        .collect();
    assert_eq!(said, [(ip(SECOND), "eth2", "eth1", false)]);
    node.feed(Input::Rebalance { net: "lan".into() });
    assert!(node.network.rebalancing("lan").expect("it can be done")[0].is_busy);
    finish(&mut node);
    assert_eq!(node.network.rebalancing("lan"), Ok(Vec::new()));
    let other = node.network.rebalancing("other").expect_err("nobody knows it");
    assert_eq!(other, "other does not share addresses out over interfaces of this node");
    node.network.set_lease(node.now);
    assert!(node.network.rebalancing("lan").is_err());
}

#[test]
fn what_is_wished_in_vain_is_said_as_it_is_now() {
    let mut one = share(Distribution::CollocationPersistent);
    one.persistent = vec![(ip(PERSISTENT), 24)];
    let dropped = |node: &Node| -> Vec<bool> {
        let placed = node.network.placements().into_iter();
        let services = placed.filter(|(_, placed)| placed.address != ip(PERSISTENT));
        services.map(|(_, placed)| placed.dropped.is_some()).collect()
    };
    let mut node = Node::blind();
    node.interfaces.push(interface(2, OTHER_MAC, &[("10.78.0.1", 24)]));
    for address in [FIRST, SECOND, THIRD] {
        node.interfaces[0].addresses.push(super::seen(address, 32));
        node.feed(Input::Adopt { service: "web".into(), address: ip(address) });
    }
    configure(&mut node, Share { persistent: Vec::new(), ..one.clone() });
    node.picture();
    assert_eq!(dropped(&node), [true; 3], "there is no persistent address");
    configure(&mut node, one);
    assert_eq!(dropped(&node), [false; 3]);
}

#[test]
fn what_is_adopted_stays_where_it_stands() {
    let mut node = Node::blind();
    node.interfaces.push(interface(2, OTHER_MAC, &[("10.78.0.1", 24)]));
    for (index, address) in [(0, FIRST), (1, SECOND), (1, THIRD)] {
        node.interfaces[index].addresses.push(super::seen(address, 32));
        node.feed(Input::Adopt { service: "web".into(), address: ip(address) });
    }
    configure(&mut node, Share { rebalances: true, ..share(Distribution::Collocation) });
    node.picture();
    node.pass(20_000);
    assert_eq!(on(&node), [1, 2, 2]);
    let status = node.network.status();
    assert_eq!(status.addresses[0].why, "it was there when the daemon came back");
}

#[test]
fn an_interface_that_nobody_named_carries_none() {
    let mut one = share(Distribution::LeastLoad);
    one.cards = vec!["eth2".into()];
    let mut node = node(one);
    claim_all(&mut node);
    assert_eq!(on(&node), [2, 2, 2]);
    assert_eq!(node.network.can_carry(ip(FIRST)), Ok(()));
    node.interfaces[1].carrier = false;
    node.picture();
    let trouble = "no interface in lan can carry it: eth2 has no carrier";
    assert_eq!(node.network.can_carry(ip(FIRST)), Err(trouble.into()));
    assert_eq!(on(&node), [2, 2, 2], "there is nowhere to go");
    // The interface is not even there.
    node.interfaces.remove(1);
    node.picture();
    let trouble = "this node has no interface in lan";
    assert_eq!(node.network.can_carry(ip(FIRST)), Err(trouble.into()));
}

#[test]
fn a_persistent_address_has_a_home_as_long_as_there_is_an_interface() {
    let mut one = share(Distribution::CollocationPersistent);
    one.persistent = vec![(ip(PERSISTENT), 24)];
    let mut node = node(one);
    let homes = |node: &Node| node.network.persistent();
    assert_eq!(homes(&node), [(ip(PERSISTENT), 24, 1)]);
    // It is load before it is there, and where it is once it is there.
    node.interfaces[1].addresses.push(super::seen(PERSISTENT, 24));
    node.picture();
    assert_eq!(homes(&node), [(ip(PERSISTENT), 24, 2)]);
    let told = |node: &mut Node, mac| {
        let frame = crate::wire::announcement(mac, ip(PERSISTENT));
        let outputs = node.pass(9_000);
        let is_it =
            |output: &Output| matches!(output, Output::Send { bytes, .. } if *bytes == frame);
        outputs.iter().filter(|(_, output)| is_it(output)).map(|(at, _)| *at).collect::<Vec<_>>()
    };
    assert_eq!(told(&mut node, OTHER_MAC), [200, 1_000, 2_000, 4_000, 8_000], "and once at once");
    claim_all(&mut node);
    assert_eq!(on(&node), [2, 2, 2]);
    node.interfaces[1].carrier = false;
    node.picture();
    finish(&mut node);
    assert_eq!(homes(&node), [(ip(PERSISTENT), 24, 1)]);
    assert_eq!(on(&node), [1, 1, 1]);
    node.vanish(PERSISTENT);
    node.interfaces[0].addresses.push(super::seen(PERSISTENT, 24));
    node.interfaces[0].carrier = false;
    node.picture();
    assert_eq!(homes(&node), [(ip(PERSISTENT), 24, 1)], "never taken away");
}

#[test]
fn a_persistent_address_on_its_way_counts_where_it_will_be() {
    let mut one = share(Distribution::LeastLoad);
    one.persistent = vec![(ip(PERSISTENT), 24)];
    let mut node = node(one);
    claim_all(&mut node);
    assert_eq!(on(&node), [2, 1, 2]);
}

#[test]
fn the_subnet_of_a_persistent_address_binds_no_service_address() {
    let mut one = share(Distribution::AntiCollocationPersistent);
    one.persistent = vec![(ip(PERSISTENT), 24)];
    let mut node = node(one);
    node.interfaces[0].addresses.push(super::seen(PERSISTENT, 24));
    node.picture();
    claim_all(&mut node);
    assert_eq!(on(&node), [2, 2, 2]);
}

#[test]
fn addresses_of_which_nothing_is_said_go_to_the_first_interface_of_their_subnet() {
    // Nobody has said that the kernel shall answer for each on its own interface only.
    let mut node = Node::new();
    node.interfaces.push(interface(2, OTHER_MAC, &[("10.77.0.2", 24)]));
    node.picture();
    node.own("10.77.0.100");
    node.own("10.77.0.101");
    assert_eq!((places(&node, "10.77.0.100"), places(&node, "10.77.0.101")), (vec![1], vec![1]));
}

#[test]
fn a_thousand_addresses_leave_a_failed_interface_for_the_two_that_are_left() {
    let mut one = share(Distribution::LeastLoad);
    one.cards.push("eth3".into());
    let address = |number: u32| IpAddr::V4((0x0a63_0001 + number).into());
    one.addresses = (0..999).map(|number| (address(number), None)).collect();
    let mut node = Node::blind();
    node.interfaces.push(interface(2, OTHER_MAC, &[("10.78.0.1", 24)]));
    node.interfaces.push(interface(3, [2, 0, 0, 0, 0, 3], &[("10.79.0.1", 24)]));
    configure(&mut node, one);
    node.picture();
    for number in 0..999 {
        node.claim(&address(number).to_string());
    }
    for _ in 0..40 {
        node.pass(10);
    }
    finish(&mut node);
    let load = |node: &Node| -> Vec<usize> {
        let own = |one: &crate::Interface| one.addresses.iter().filter(|a| a.prefix == 32).count();
        node.interfaces.iter().map(own).collect()
    };
    assert_eq!(load(&node), [333, 333, 333]);
    node.interfaces[2].carrier = false;
    node.picture();
    finish(&mut node);
    assert_eq!(load(&node), [500, 499, 0]);
    let rules = node.network.placements();
    assert!(rules.iter().all(|(net, placed)| net == "lan" && placed.rule == Rule::Stays));
}

#[test]
fn probing_goes_on_where_it_began_when_another_picture_comes() {
    let mut node = node(share(Distribution::LeastLoad));
    node.claim(FIRST);
    node.claim(SECOND);
    let before = node.network.status();
    node.now += Duration::from_millis(3);
    node.picture();
    let after = node.network.status();
    let interfaces = |status: &crate::Status| -> Vec<Option<u32>> {
        status.addresses.iter().map(|one| one.interface).collect()
    };
    assert_eq!(interfaces(&before), [Some(1), Some(2)]);
    assert_eq!(interfaces(&before), interfaces(&after));
    assert_eq!(after.counters.probes, before.counters.probes, "none begins anew");
}
