use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use super::{ADDRESS, MAC, Node, OTHER_MAC, announcements, arp_reply, interface, ip, reason, seen};
use crate::wire::{announcement, probe};
use crate::{Failure, Input, Output, Phase, Timer};

#[test]
fn a_claim_probes_adds_and_announces() {
    let mut node = Node::new();
    let outputs = node.claim(ADDRESS);
    let asked = Output::Send { interface: 1, bytes: probe(MAC, ip(ADDRESS)) };
    assert_eq!(outputs, [Output::Listen { interface: 1, on: true }, asked.clone()]);
    let outputs = node.pass(18);
    let add = Output::Add {
        operation: 1,
        interface: 1,
        address: ip(ADDRESS),
        prefix: 32,
        lifetime: Duration::from_secs(2),
        taking: crate::Taking::default(),
    };
    assert_eq!(outputs, [(6, asked.clone()), (12, asked), (18, add)]);
    node.now += Duration::from_millis(1);
    let outputs = node.done(Ok(()));
    let told = Output::Send { interface: 1, bytes: announcement(MAC, ip(ADDRESS)) };
    let took = Duration::from_millis(19);
    assert_eq!(outputs, [Output::Claimed { id: 1, interface: 1, took }, told]);
}

#[test]
fn ipv6_is_claimed_alike() {
    let mut node = Node::new();
    node.claim("fd00::100");
    let outputs = node.pass(18);
    let probes = outputs.iter().filter(|(_, output)| {
        matches!(output, Output::Send { bytes, .. } if *bytes == probe(MAC, ip("fd00::100")))
    });
    assert_eq!(probes.count(), 2);
    assert!(matches!(outputs.last(), Some((18, Output::Add { prefix: 128, .. }))), "{outputs:?}");
    let outputs = node.done(Ok(()));
    assert!(matches!(&outputs[1], Output::Send { bytes, .. }
        if *bytes == announcement(MAC, ip("fd00::100"))));
}

#[test]
fn a_claim_waits_for_the_first_picture() {
    let mut node = Node::blind();
    assert_eq!(node.claim(ADDRESS), []);
    let outputs = node.picture();
    assert!(matches!(outputs[..], [Output::Listen { .. }, Output::Send { .. }]), "{outputs:?}");
}

#[test]
fn a_claim_that_never_sees_a_picture_fails_at_its_deadline() {
    let mut node = Node::blind();
    node.claim_until(ADDRESS, node.now + Duration::from_millis(500));
    assert_eq!(node.network.deadline().map(|(_, timer)| timer), Some(Timer::Claim));
    let outputs = node.pass(600);
    let [(500, output)] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(reason(output).contains("waiting for the interfaces"), "{output:?}");
    assert_eq!(node.network.status().addresses, []);
}

#[test]
fn without_a_subnet_the_claim_fails_at_once() {
    let mut node = Node::new();
    let outputs = node.claim("192.168.5.5");
    assert_eq!(
        reason(&outputs[0]),
        "no interface has a subnet that contains 192.168.5.5/24; \
         interfaces here: eth1 (10.77.0.1/24)"
    );
}

#[test]
fn a_stranger_fails_the_claim_by_name_once_a_frozen_node_would_have_let_go() {
    let mut node = Node::new();
    node.claim(ADDRESS);
    let start = node.now;
    let reply = arp_reply(OTHER_MAC, ADDRESS, MAC, "10.77.0.1");
    let outputs = node.hears(reply.clone());
    let conflict = Output::Conflict { service: "web".into(), address: ip(ADDRESS), mac: OTHER_MAC };
    assert_eq!(outputs, [conflict]);
    for _ in 0..100 {
        node.pass(100);
        let outputs = node.hears(reply.clone());
        let failed = outputs.iter().find(|output| matches!(output, Output::Failed { .. }));
        if let Some(failed) = failed {
            assert_eq!(reason(failed), "10.77.0.100: it is used by 02:00:00:00:00:09 on eth1");
            // The lifetime of 2 s and the kernel's lateness of 1 s.
            assert_eq!(node.now.since(start), Duration::from_secs(3));
            assert!(node.asked.is_empty(), "nothing was added");
            assert_eq!(outputs.last(), Some(&Output::Listen { interface: 1, on: false }));
            return;
        }
    }
    panic!("it never failed");
}

#[test]
fn a_frozen_node_that_lets_go_in_time_delays_the_claim() {
    let mut node = Node::new();
    node.claim(ADDRESS);
    node.hears(arp_reply(OTHER_MAC, ADDRESS, MAC, "10.77.0.1"));
    let outputs = node.pass(1_000);
    let (at, _) = outputs.last().expect("it goes on");
    assert_eq!(*at, 118, "100 ms of patience and three probes");
    assert!(matches!(node.done(Ok(()))[0], Output::Claimed { .. }));
}

#[test]
fn somebody_who_probes_for_the_same_address_is_a_conflict() {
    for address in [ADDRESS, "fd00::100"] {
        let mut node = Node::new();
        node.claim(address);
        let outputs = node.hears(probe(OTHER_MAC, ip(address)));
        assert!(matches!(outputs[..], [Output::Conflict { mac: OTHER_MAC, .. }]), "{outputs:?}");
    }
}

#[test]
fn own_frames_are_no_conflict_wherever_they_come_back() {
    let mut node = Node::blind();
    let second = [2, 0, 0, 0, 0, 2];
    node.interfaces.push(interface(2, second, &[("10.88.0.1", 24)]));
    node.picture();
    node.claim(ADDRESS);
    for mac in [MAC, second] {
        assert_eq!(node.hears(probe(mac, ip(ADDRESS))), []);
        assert_eq!(node.hears(announcement(mac, ip(ADDRESS))), []);
    }
    assert_eq!(node.network.status().counters.conflicts, 0);
}

#[test]
fn what_is_heard_elsewhere_is_no_conflict() {
    let mut node = Node::new();
    node.claim(ADDRESS);
    let bytes = announcement(OTHER_MAC, ip(ADDRESS));
    assert_eq!(node.feed(Input::Frame { interface: 7, bytes }), []);
    assert_eq!(node.hears(announcement(OTHER_MAC, ip("10.77.0.55"))), []);
}

#[test]
fn broken_frames_are_counted() {
    let mut node = Node::new();
    node.hears(vec![]);
    node.hears(announcement(OTHER_MAC, ip(ADDRESS))[..20].to_vec());
    assert_eq!(node.network.status().counters.malformed, 2);
}

#[test]
fn nothing_is_added_without_a_lease() {
    let mut node = Node::new();
    node.claim(ADDRESS);
    node.network.set_lease(node.now + Duration::from_millis(17));
    let outputs = node.pass(18);
    let (18, failed) = &outputs[2] else { panic!("{outputs:?}") };
    assert!(matches!(failed, Output::NotNow { .. }), "{failed:?}");
    assert_eq!(reason(failed), "10.77.0.100: this node has no lease, so it may own nothing");
    assert!(node.asked.is_empty());
}

#[test]
fn what_came_after_its_lease_may_be_claimed_again() {
    let mut node = Node::new();
    node.claim(ADDRESS);
    node.pass(18);
    let late = Failure::NotNow("the lease is over".into());
    let outputs = node.refuse(late);
    let Output::NotNow { id: 1, reason } = &outputs[0] else { panic!("{outputs:?}") };
    assert_eq!(reason, "10.77.0.100: the lease is over");
    node.own(ADDRESS);
    assert!(node.asked.is_empty());
}

#[test]
fn an_interface_without_ethernet_is_neither_asked_nor_told() {
    let mut node = Node::blind();
    node.interfaces[0].mac = None;
    node.picture();
    let outputs = node.claim(ADDRESS);
    assert!(matches!(outputs[..], [Output::Add { .. }]), "{outputs:?}");
    let outputs = node.done(Ok(()));
    assert!(matches!(outputs[..], [Output::Claimed { .. }]), "{outputs:?}");
    let outputs = node.pass(3_500);
    assert!(outputs.iter().all(|(_, output)| matches!(output, Output::Refresh { .. })));
    assert_eq!(outputs.len(), 3);
}

#[test]
fn an_address_that_cannot_be_added_fails_with_the_cause() {
    let mut node = Node::new();
    node.claim(ADDRESS);
    node.pass(30);
    let outputs = node.done(Err("operation not permitted"));
    assert_eq!(reason(&outputs[0]), "10.77.0.100: add to eth1: operation not permitted");
    assert_eq!(node.network.status().addresses, []);
}

#[test]
fn a_claim_that_takes_too_long_to_add_is_undone_before_it_fails() {
    let mut node = Node::new();
    node.claim_until(ADDRESS, node.now + Duration::from_millis(100));
    let outputs = node.pass(200);
    assert!(matches!(outputs[2..], [(18, Output::Add { .. }), (100, Output::Remove { .. }), ..]));
    assert_eq!(node.done(Ok(())), [], "the late addition is not a success");
    let outputs = node.done(Ok(()));
    assert!(reason(&outputs[0]).contains("still adding it after 100 ms"), "{outputs:?}");
    assert!(node.interfaces[0].addresses.iter().all(|seen| seen.address != ip(ADDRESS)));
}

#[test]
fn a_claim_that_runs_out_while_a_stranger_answers_names_the_stranger() {
    let mut node = Node::new();
    node.claim_until(ADDRESS, node.now + Duration::from_millis(50));
    node.hears(arp_reply(OTHER_MAC, ADDRESS, MAC, "10.77.0.1"));
    let outputs = node.pass(60);
    assert_eq!(reason(&outputs[0].1), "10.77.0.100: it is used by 02:00:00:00:00:09 on eth1");
}

#[test]
fn a_release_while_probing_fails_the_claim_first() {
    let mut node = Node::new();
    node.claim(ADDRESS);
    let outputs = node.release(ADDRESS);
    let [failed, Output::Released { id: 2 }, Output::Listen { on: false, .. }] = &outputs[..]
    else {
        panic!("{outputs:?}")
    };
    assert_eq!(reason(failed), "10.77.0.100: it was released before it was claimed");
}

#[test]
fn a_release_while_adding_waits_for_both_operations() {
    let mut node = Node::new();
    node.claim(ADDRESS);
    node.pass(30);
    let outputs = node.release(ADDRESS);
    assert!(matches!(outputs[0], Output::Remove { prefix: 32, .. }), "{outputs:?}");
    assert_eq!(node.done(Ok(())), []);
    let outputs = node.done(Ok(()));
    assert!(
        matches!(outputs[..], [Output::Failed { id: 1, .. }, Output::Released { id: 2 }]),
        "{outputs:?}"
    );
}

#[test]
fn a_claim_during_a_release_comes_after_it() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.release(ADDRESS);
    assert_eq!(node.claim(ADDRESS), []);
    let outputs = node.done(Ok(()));
    assert!(matches!(outputs[0], Output::Released { id: 2 }), "{outputs:?}");
    assert!(matches!(outputs[1..], [Output::Listen { on: true, .. }, Output::Send { .. }]));
    node.pass(30);
    assert!(matches!(node.done(Ok(()))[0], Output::Claimed { id: 3, .. }));
}

#[test]
fn a_release_withdraws_the_claim_that_waits_for_an_earlier_one() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.release(ADDRESS);
    node.claim(ADDRESS);
    let outputs = node.release(ADDRESS);
    assert!(matches!(outputs[..], [Output::Failed { id: 3, .. }]), "{outputs:?}");
    let outputs = node.done(Ok(()));
    assert!(matches!(outputs[..], [Output::Released { id: 2 }, Output::Released { id: 4 }]));
}

#[test]
fn one_address_has_one_service() {
    let mut node = Node::new();
    node.own(ADDRESS);
    let claim = |service: &str| Input::Claim {
        id: 9,
        service: service.into(),
        address: ip(ADDRESS),
        prefix: 24,
        deadline: super::Instant::FAR,
    };
    let outputs = node.feed(claim("mail"));
    assert_eq!(reason(&outputs[0]), "10.77.0.100 is held by service web");
    node.pass(5_000);
    let outputs = node.feed(claim("web"));
    assert!(matches!(outputs[..], [Output::Claimed { id: 9, .. }, Output::Send { .. }]));
    node.claim("10.77.0.101");
    let outputs = node.claim("10.77.0.101");
    assert_eq!(reason(&outputs[0]), "10.77.0.101 is already being claimed for service web");
}

#[test]
fn releasing_what_is_not_here_succeeds_at_once() {
    let mut node = Node::new();
    assert_eq!(node.release(ADDRESS), [Output::Released { id: 1 }]);
}

#[test]
fn a_release_that_fails_says_so_and_is_tried_again() {
    let mut node = Node::new();
    node.own(ADDRESS);
    node.picture();
    let outputs = node.release(ADDRESS);
    assert!(matches!(outputs[0], Output::Remove { .. }));
    let outputs = node.done(Err("device or resource busy"));
    assert_eq!(reason(&outputs[0]), "remove 10.77.0.100/32 from eth1: device or resource busy");
    assert_eq!(node.network.deadline().map(|(_, timer)| timer), Some(Timer::Sweep));
    let outputs = node.pass(1_500);
    assert!(matches!(outputs[..], [(1_000, Output::Remove { .. })]), "{outputs:?}");
    node.done(Ok(()));
    assert_eq!(node.network.deadline(), None);
}

#[test]
fn leftovers_are_removed_in_any_form_and_on_any_interface() {
    let mut node = Node::blind();
    node.interfaces.push(interface(2, OTHER_MAC, &[(ADDRESS, 24), ("10.77.0.55", 32)]));
    node.on(1).push(seen(ADDRESS, 32));
    let outputs = node.picture();
    let removed: Vec<_> = outputs
        .iter()
        .map(|output| match output {
            Output::Remove { interface, address, prefix, .. } => (*interface, *address, *prefix),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(removed, [(1, ip(ADDRESS), 32), (2, ip(ADDRESS), 24)]);
    assert_eq!(node.picture(), [], "once is enough while the answer is out");
    node.done(Ok(()));
    node.done(Ok(()));
    assert_eq!(node.network.status().counters.leftovers, 2);
    assert_eq!(node.picture(), []);
}

#[test]
fn an_address_that_becomes_a_service_address_is_swept() {
    let mut node = Node::new();
    node.on(1).push(seen("10.77.0.55", 32));
    assert_eq!(node.picture(), []);
    let outputs = node.feed(Input::Configure {
        addresses: vec![ip("10.77.0.55")],
        nets: Vec::new(),
        fixed: Vec::new(),
        conflicts: BTreeMap::new(),
        verify: BTreeMap::new(),
        shares: Vec::new(),
    });
    assert!(matches!(outputs[..], [Output::Remove { .. }]), "{outputs:?}");
}

#[test]
fn a_claim_removes_leftovers_before_it_probes() {
    let mut node = Node::blind();
    node.on(1).push(seen(ADDRESS, 24));
    assert_eq!(node.claim(ADDRESS), []);
    let outputs = node.picture();
    assert!(matches!(outputs[..], [Output::Remove { .. }]), "{outputs:?}");
    let outputs = node.done(Ok(()));
    assert!(matches!(outputs[..], [Output::Listen { .. }, Output::Send { .. }]), "{outputs:?}");
}

#[test]
fn a_leftover_that_cannot_be_removed_fails_the_claim() {
    let mut node = Node::blind();
    node.on(1).push(seen(ADDRESS, 24));
    node.claim(ADDRESS);
    node.picture();
    let outputs = node.done(Err("operation not permitted"));
    assert_eq!(
        reason(&outputs[0]),
        "10.77.0.100: a leftover is in the way: \
         remove 10.77.0.100/24 from eth1: operation not permitted"
    );
}

#[test]
fn probing_moves_when_the_interface_dies_and_fails_when_none_is_left() {
    let mut node = Node::blind();
    let second = [2, 0, 0, 0, 0, 2];
    node.interfaces.push(interface(2, second, &[("10.77.0.2", 16)]));
    node.picture();
    node.claim(ADDRESS);
    node.interfaces[0].carrier = false;
    let outputs = node.picture();
    let asked = Output::Send { interface: 2, bytes: probe(second, ip(ADDRESS)) };
    assert!(outputs.contains(&asked), "{outputs:?}");
    assert!(outputs.contains(&Output::Listen { interface: 1, on: false }), "{outputs:?}");
    node.interfaces[1].up = false;
    let outputs = node.picture();
    assert!(reason(&outputs[0]).contains("eth2 carries it but is switched off"), "{outputs:?}");
}

#[test]
fn status_shows_how_far_an_address_is() {
    let mut node = Node::new();
    node.claim(ADDRESS);
    let phase = |node: &Node| node.network.status().addresses[0].phase;
    assert_eq!(phase(&node), Phase::Probing);
    node.pass(30);
    assert_eq!(phase(&node), Phase::Adding);
    node.done(Ok(()));
    assert_eq!(phase(&node), Phase::Owned);
    let status = node.network.status();
    assert_eq!(status.addresses[0].interface, Some(1));
    assert_eq!(status.addresses[0].service, "web");
    assert_eq!((status.counters.probes, status.counters.announcements), (3, 1));
    node.release(ADDRESS);
    assert_eq!(phase(&node), Phase::Removing);
}

#[test]
fn two_hundred_addresses_are_claimed_together() {
    let mut node = Node::new();
    for n in 50..250 {
        node.claim(&format!("10.77.0.{n}"));
    }
    node.pass(30);
    assert_eq!(node.asked.len(), 200);
    for _ in 0..200 {
        assert!(matches!(node.done(Ok(()))[0], Output::Claimed { .. }));
    }
    let outputs = node.pass(1_000);
    assert_eq!(announcements(&outputs, "10.77.0.249"), [200, 1_000]);
}

#[test]
fn a_thousand_addresses_are_claimed_in_turns_of_bounded_length() {
    let addresses = (0..1_000_u32).map(|number| IpAddr::from((0x0a4d_0100 + number).to_be_bytes()));
    let addresses: Vec<IpAddr> = addresses.collect();
    let mut node = Node::new();
    node.interfaces = vec![interface(1, MAC, &[("10.77.0.1", 16)])];
    node.picture();
    let all = addresses.clone();
    node.feed(Input::Configure {
        addresses: all,
        nets: Vec::new(),
        fixed: Vec::new(),
        conflicts: BTreeMap::new(),
        verify: BTreeMap::new(),
        shares: Vec::new(),
    });
    for address in &addresses {
        node.claim(&address.to_string());
    }
    let frames = |outputs: &[Output]| {
        outputs.iter().filter(|output| matches!(output, Output::Send { .. })).count()
    };
    let mut claimed = 0;
    let mut turns = 0;
    while claimed < addresses.len() {
        turns += 1;
        assert!(turns < 10_000, "{claimed} claimed");
        let outputs = match node.asked.is_empty() {
            true => {
                let (at, _) = node.network.deadline().expect("not all are claimed");
                node.now = node.now.max(at);
                node.feed(Input::Tick)
            }
            false => node.done(Ok(())),
        };
        assert!(frames(&outputs) <= 128, "{} frames in one turn", frames(&outputs));
        claimed += outputs.iter().filter(|output| matches!(output, Output::Claimed { .. })).count();
    }
    // The second announcement of all is due at about the same time.
    let mut announced = 0;
    node.now += Duration::from_millis(1_000);
    while let Some((at, _)) = node.network.deadline().filter(|(at, _)| *at <= node.now) {
        assert!(at <= node.now);
        let outputs = node.feed(Input::Tick);
        assert!(frames(&outputs) <= 128, "{} frames in one turn", frames(&outputs));
        announced += frames(&outputs);
    }
    assert_eq!(announced, addresses.len());
}
