use std::collections::BTreeMap;
use std::net::IpAddr;

use base::Instant;
use os::netlink::NetlinkError;

use super::report::{Report, report};
use super::survey::{MACHINES_MAX, Own, SILENCE_MAX, STRANGERS_MAX, Seen, Stopped, Survey};
use super::wire::{self, Address, Announcement, Arrival, Heard, Message, Net, Secret};

/// A machine with interfaces: name, wire, MTU, addresses.
type Card<'a> = (&'a str, &'a str, u32, &'a [&'a str]);

fn machine(number: u64, name: &str, cards: &[Card<'_>]) -> Survey {
    let own = Own { machine: number, name: name.to_owned(), ..Own::default() };
    let mut survey = Survey::new(own);
    let interface = |(index, (name, _, mtu, addresses)): (usize, &Card<'_>)| {
        let seen = |text: &&str| {
            let (address, prefix) = text.split_once('/').expect("with a prefix");
            os::netlink::AddressSeen {
                address: address.parse().expect("an address"),
                prefix: prefix.parse().expect("a number"),
                lifetime: None,
                tentative: false,
                duplicate: false,
                deprecated: false,
            }
        };
        os::netlink::Interface {
            index: index as u32 + 1,
            name: (*name).to_owned(),
            up: true,
            carrier: true,
            loopback: false,
            mac: Some([2, 0, 0, 0, number as u8, index as u8]),
            mtu: *mtu,
            addresses: addresses.iter().map(seen).collect(),
        }
    };
    survey.see(&cards.iter().enumerate().map(interface).collect::<Vec<_>>());
    let nets = survey.interfaces.values().flat_map(|(_, face)| &face.addresses);
    survey.ports = nets.map(|net| (net.address, 7420)).collect();
    survey
}

/// Lets machines discover on their wires; `passes(from, to, size)` says which datagrams arrive.
fn discover(
    machines: &[(u64, &str, &[Card<'_>])],
    passes: impl Fn(IpAddr, IpAddr, u32) -> bool,
    hears: impl Fn(u64, u64) -> bool,
) -> Vec<Survey> {
    let mut all: Vec<Survey> =
        machines.iter().map(|(number, name, cards)| machine(*number, name, cards)).collect();
    let wire_of = |place: usize, index: u32| machines[place].2[index as usize - 1].1;
    for _ in 0..30 {
        let mut frames = Vec::new();
        for (place, survey) in all.iter_mut().enumerate() {
            for (index, said) in survey.announcements() {
                frames.push((place, index, said));
            }
        }
        for (from, index, said) in frames {
            for to in 0..all.len() {
                for there in all[to].interfaces.keys().copied().collect::<Vec<_>>() {
                    let itself = to == from && there == index;
                    let on_wire = wire_of(from, index) == wire_of(to, there);
                    if on_wire && !itself && hears(machines[to].0, machines[from].0) {
                        all[to].announced(Instant::ZERO, there, said.clone());
                    }
                }
            }
        }
        for from in 0..all.len() {
            for (attempt, port) in all[from].attempts() {
                assert_eq!(port, 7420);
                let has = |survey: &&mut Survey| {
                    let mut nets = survey.interfaces.values().flat_map(|(_, face)| &face.addresses);
                    nets.any(|net| net.address == attempt.to)
                };
                let Some(to) = all.iter_mut().find(has) else { continue };
                if passes(attempt.from.0, attempt.to.0, attempt.size) {
                    to.tried(attempt, attempt.size as usize);
                }
            }
        }
    }
    all
}

fn seen(machines: &[(u64, &str, &[Card<'_>])]) -> Report {
    report(&discover(machines, |_, _, _| true, |_, _| true)[0], true)
}

fn says(report: &Report, words: &str) {
    let found = report.findings.iter().any(|finding| finding.text.contains(words));
    assert!(found, "{words} is missing in {:#?}", report.findings);
}

const N1: (u64, &str, &[Card<'static>]) = (
    1,
    "n1",
    &[("eth0", "blue", 1500, &["10.0.0.1/24", "fd00::1/64"]), ("eth1", "green", 1500, &[])],
);
const N2: (u64, &str, &[Card<'static>]) = (
    2,
    "n2",
    &[("eth0", "blue", 1500, &["10.0.0.2/24", "fd00::2/64"]), ("eth1", "green", 1500, &[])],
);
const N3: (u64, &str, &[Card<'static>]) =
    (3, "n3", &[("ens3", "blue", 1500, &["10.0.0.3/24"]), ("ens4", "green", 1500, &[])]);

#[test]
fn subnets_become_networks_and_wires_without_addresses_raw_ethernet() {
    let report = seen(&[N1, N2, N3]);
    assert_eq!(report.findings, []);
    let names: Vec<(&str, &str)> =
        report.networks.iter().map(|one| (one.name.as_str(), one.kind.as_str())).collect();
    let expected = [("net_ether_01", "udp"), ("net_ether_02", "udp"), ("net_ether_03", "ethernet")];
    assert_eq!(names, expected);
    let ends = |index: usize| -> Vec<(&str, &str)> {
        let nodes: &BTreeMap<String, String> = &report.networks[index].nodes;
        nodes.iter().map(|(node, end)| (node.as_str(), end.as_str())).collect()
    };
    assert_eq!(ends(0), [("n1", "10.0.0.1/24"), ("n2", "10.0.0.2/24"), ("n3", "10.0.0.3/24")]);
    assert_eq!(ends(1), [("n1", "fd00::1/64"), ("n2", "fd00::2/64")]);
    assert_eq!(ends(2), [("n1", "eth1"), ("n2", "eth1"), ("n3", "ens4")]);
    assert!(report.nodes.iter().all(|node| node.proven));
    // What is proposed can be used as it is.
    let nodes = "[cluster]\nname = \"demo\"\nid = 10\n[[node]]\nname = \"n1\"\nid = 1\n\
                 [[node]]\nname = \"n2\"\nid = 2\n[[node]]\nname = \"n3\"\nid = 3\n";
    let parsed = crate::config::parse(&format!("{nodes}{}", report.toml), "proposal", 1);
    let (cluster, _) = parsed.unwrap_or_else(|found| panic!("{}", found.render(false)));
    assert_eq!(cluster.networks.len(), 3);
    // All machines propose the same.
    for place in 1..3 {
        let other = discover(&[N1, N2, N3], |_, _, _| true, |_, _| true);
        assert_eq!(super::report::report(&other[place], true).toml, report.toml);
    }
}

#[test]
fn a_firewall_is_named_with_its_direction() {
    let own: IpAddr = "10.0.0.1".parse().expect("an address");
    let four = |address: IpAddr| address.is_ipv4();
    let all = discover(&[N1, N2], |from, to, _| !(four(to) && from == own), |_, _| true);
    says(&report(&all[0], true), "UDP from 10.0.0.1 to 10.0.0.2 port 7420 does not");
    says(&report(&all[1], true), "UDP from 10.0.0.1 (n1) does not reach 10.0.0.2 here");
    // In no direction: what works is the wire.
    let all = discover(&[N1, N2], |_, _, _| false, |_, _| true);
    let found = report(&all[0], true);
    says(&found, "UDP between 10.0.0.1 and 10.0.0.2 port 7420 in neither");
    let kinds: Vec<&str> = found.networks.iter().map(|network| network.kind.as_str()).collect();
    assert_eq!(kinds, ["ethernet", "ethernet"]);
}

#[test]
fn a_wire_that_works_in_one_direction_is_named() {
    let all = discover(&[N1, N2], |_, _, _| false, |by, of| !(by == 2 && of == 1));
    let found = report(&all[0], true);
    says(&found, "frames from n2 reach this machine");
    assert!(found.networks.is_empty());
    assert!(!found.nodes[1].proven, "it has not heard this run");
}

#[test]
fn small_mtus_are_found_at_the_ends_and_between() {
    let small: (u64, &str, &[Card<'_>]) = (2, "n2", &[("eth0", "blue", 1400, &["10.0.0.2/24"])]);
    says(&seen(&[N1, small]), "an MTU of 1500, and eth0 of n2, on the same wire, 1400");
    let all = discover(&[N1, N2], |_, _, size| size < 1_300, |_, _| true);
    says(&report(&all[0], true), "only short datagrams pass between 10.0.0.1 and 10.0.0.2");
}

#[test]
fn addresses_that_cannot_work_are_named() {
    let twice: (u64, &str, &[Card<'_>]) = (2, "n2", &[("eth0", "blue", 1500, &["10.0.0.1/24"])]);
    says(&seen(&[N1, twice]), "10.0.0.1 is on n1 (eth0) and on n2 (eth0)");
    let prefix: (u64, &str, &[Card<'_>]) = (2, "n2", &[("eth0", "blue", 1500, &["10.0.0.2/16"])]);
    says(&seen(&[N1, prefix]), "10.0.0.1/24 here and 10.0.0.2/16 on n2 have prefixes");
    let far: (u64, &str, &[Card<'_>]) = (2, "n2", &[("eth0", "blue", 1500, &["192.168.5.2/24"])]);
    let found = seen(&[N1, far]);
    says(&found, "in no subnet in common: there is no route");
    assert_eq!(found.networks[0].kind, "ethernet");
    let same: (u64, &str, &[Card<'_>]) = (2, "n1", &[("eth0", "blue", 1500, &["10.0.0.2/24"])]);
    says(&seen(&[N1, same]), "several machines are called n1");
    let both: (u64, &str, &[Card<'_>]) =
        (1, "n1", &[("eth0", "blue", 1500, &[]), ("eth1", "blue", 1500, &[])]);
    says(&seen(&[both]), "eth0 and eth1 of this machine are on one wire");
    let mut all = discover(&[N1, N2], |_, _, _| false, |_, _| true);
    let (attempt, _) = all[0].attempts()[0];
    all[0].stopped(&attempt, Stopped::NoRoute);
    says(&report(&all[0], true), "cannot send from 10.0.0.1 to 10.0.0.2 (n2): no route");
    all[0].own.looped_name = Some("127.0.1.1".parse().expect("an address"));
    says(&report(&all[0], true), "the name n1 leads to 127.0.1.1 on n1");
}

#[test]
fn messages_are_opened_by_those_who_know_the_words() {
    let said = Announcement {
        machine: 7,
        name: "n1".into(),
        addresses: vec![Net { address: Address("fd00::1".parse().expect("one")), prefix: 64 }],
        ..Announcement::default()
    };
    let message = Message::Announce(said);
    let secret = Secret::of_words("twelve words!").expect("it is long enough");
    let other = Secret::of_words("twelve words?").expect("it is long enough");
    assert!(Secret::of_words("eleven word").is_none());
    let bytes = wire::seal(&message, Some(&secret), 1_000);
    assert_eq!((bytes.len(), wire::is_message(&bytes)), (1_000, true));
    assert_eq!(wire::open(&bytes, Some(&secret)), Some(message.clone()));
    assert_eq!(wire::open(&bytes, Some(&other)), None);
    assert_eq!(wire::open(&bytes, None), None);
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        assert_eq!(wire::open(&changed, Some(&secret)), None);
        assert_eq!(wire::open(&bytes[..place], Some(&secret)), None);
    }
    let open = wire::seal(&message, None, 0);
    assert_eq!(wire::open(&open, None), Some(message));
    assert_eq!(wire::open(&open, Some(&secret)), None, "an open one is never taken for sealed");
    let mut prng = base::Prng::new(4);
    for _ in 0..20_000 {
        let mut noise = open.clone();
        let place = prng.range(0..=noise.len() as u64 - 1) as usize;
        noise[place] = prng.range(0..=255) as u8;
        noise.truncate(prng.range(0..=noise.len() as u64) as usize);
        let _whatever_it_is = wire::open(&noise, None);
    }
}

#[test]
fn what_others_send_is_bounded() {
    let mut survey = machine(1, "n1", N1.2);
    for number in 0..1_000 {
        let said = Announcement {
            machine: number + 10,
            name: "x".repeat(500),
            interface: format!("eth{number}"),
            ..Announcement::default()
        };
        survey.announced(Instant::ZERO, 1, said);
    }
    assert_eq!(survey.machines.len(), MACHINES_MAX);
    assert!(survey.machines.values().all(|machine| machine.name.len() <= 63));
    for (_, announcement) in survey.announcements() {
        let bytes = wire::seal(&Message::Announce(announcement), None, 0);
        assert!(bytes.len() <= 1_500, "{} bytes do not fit into a frame", bytes.len());
    }
}

/// A second run on the machine of `N2`, as beside its daemon; they do not hear each other.
const N2_AGAIN: (u64, &str, &[Card<'static>]) = (22, "n2", N2.2);

#[test]
fn runs_of_one_machine_are_one_and_the_silent_are_forgotten() {
    let all = discover(&[N1, N2, N2_AGAIN], |_, _, _| true, |by, of| by % 20 != of % 20);
    let found = report(&all[0], true);
    assert_eq!(found.findings, []);
    assert_eq!((found.nodes.len(), found.networks.len()), (2, 3));
    // A receipt counts for the machine that sent it, not for another one with its address.
    let mut survey = all[0].clone();
    survey.receipts.clear();
    let (attempt, _) = survey.attempts()[0];
    survey.received(&attempt, 22, 200);
    assert_eq!(survey.receipts.keys().map(|(at, _, _)| *at).collect::<Vec<_>>(), [22]);
    // Two machines that were made alike hear each other.
    let all = discover(&[N1, N2, N2_AGAIN, N3], |_, _, _| true, |_, _| true);
    let found = report(&all[0], true);
    says(&found, "several machines are called n2");
    says(&found, "10.0.0.2 is on n2 (eth0) and on n2 (eth0)");
    let mut survey = all[0].clone();
    let said = all[1].clone().announcements().remove(0);
    survey.announced(Instant::ZERO + SILENCE_MAX, said.0, said.1);
    survey.forget(Instant::ZERO + SILENCE_MAX);
    // The last run of n3 tells of a machine that is still there.
    assert_eq!(survey.machines.keys().copied().collect::<Vec<_>>(), [2, 3]);
    let names_forgotten = |heard: &Heard| heard.machine == 22;
    assert!(!survey.heard.iter().any(names_forgotten));
    assert!(!survey.machines[&2].hears.iter().any(names_forgotten));
}

#[test]
fn a_recorded_announcement_stands_in_nobodys_way() {
    let mut all = discover(&[N1, N2], |_, _, _| true, |_, _| true);
    let before = report(&all[0], true);
    let mut recorded = machine(99, "n2", N3.2);
    for (index, said) in recorded.announcements() {
        all[0].announced(Instant::ZERO, index, said);
    }
    let after = report(&all[0], true);
    assert!(after.nodes.iter().any(|node| !node.proven));
    assert_eq!(after.networks, before.networks);
    assert_eq!(after.findings, before.findings);
}

#[test]
fn who_only_answers_keeps_little_of_strangers() {
    let own = Own { machine: 1, name: "n1".into(), ..Own::default() };
    let mut survey = Survey::answering(own, STRANGERS_MAX);
    survey.interfaces = machine(1, "n1", N1.2).interfaces;
    for number in 0..1_000 {
        let heard = Heard { interface: "eth0".into(), machine: 1, from: "eth0".into() };
        let address = Address("10.0.0.9".parse().expect("an address"));
        let arrival = Arrival { machine: 1, from: address, to: address, largest: 9 };
        let said = Announcement {
            machine: 10 + number % 100,
            interface: format!("eth{number}"),
            addresses: vec![Net { address, prefix: 24 }],
            heard: vec![heard],
            arrivals: vec![arrival],
            ..Announcement::default()
        };
        survey.announced(Instant::ZERO, 1, said);
    }
    assert_eq!(survey.machines.len(), STRANGERS_MAX);
    let is_little = |one: &super::survey::Machine| {
        one.hears.is_empty() && one.arrivals.is_empty() && one.interfaces.len() <= 32
    };
    assert!(survey.machines.values().all(is_little));
    // One that makes a report keeps what concerns itself and those that it knows.
    let mut survey = machine(1, "n1", N1.2);
    for number in 0..1_000 {
        let heard = Heard { interface: "eth0".into(), machine: number, from: "eth0".into() };
        let said = Announcement { machine: 2, heard: vec![heard], ..Announcement::default() };
        survey.announced(Instant::ZERO, 1, said);
    }
    let hears: Vec<u64> = survey.machines[&2].hears.iter().map(|heard| heard.machine).collect();
    assert_eq!(hears, [1, 2]);
}

#[test]
fn interfaces_have_names_that_linux_allows() {
    let opens = |size: usize, place: usize| {
        let name = |at: usize| "x".repeat(if at == place { size } else { 1 });
        let said = Announcement {
            interface: name(0),
            heard: vec![Heard { interface: name(1), machine: 1, from: name(2) }],
            ..Announcement::default()
        };
        wire::open(&wire::seal(&Message::Announce(said), None, 0), None).is_some()
    };
    for place in 0..3 {
        assert_eq!((opens(15, place), opens(16, place)), (true, false));
    }
}

#[test]
fn a_failed_look_keeps_the_last_picture_and_is_said_once() {
    let interface = os::netlink::Interface {
        index: 1,
        name: "eth0".into(),
        up: true,
        carrier: true,
        loopback: false,
        mac: None,
        mtu: 1_500,
        addresses: Vec::new(),
    };
    let mut seen = Seen::default();
    let fails = || Err(NetlinkError::Answer("they change too fast".into()));
    assert_eq!(seen.take(Ok(vec![interface.clone()])), None);
    let text = seen.take(fails()).expect("it is said");
    assert!(text.contains("as they were"), "{text}");
    assert_eq!(seen.take(fails()), None);
    assert_eq!(seen.interfaces, [interface]);
    assert_eq!(seen.take(Ok(Vec::new())), None);
    assert!(seen.interfaces.is_empty() && seen.take(fails()).is_some());
}
