//! The lease gate: what the kernel answers for an address, seen from another network namespace.
//!
//! "Does not answer" is seen without waiting: after each question the same is asked about an address
//! that has no gate, on the same cable. When that answer is here, the other one would be, too.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use base::Instant;
use os::ethernet::Ethernet;
use os::gate::{DaemonGate, Gate, GateError};
use os::netlink::{Netlink, Watch};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};
use rustix::thread::UnshareFlags;

use crate::scene::{
    Beside, device, filters, ingress_discipline, interface, isolate, join_bridge, neighbour,
    remove_filters, set_up, shared_filters, wait_for,
};

pub(crate) const NODE: &str = "test n1";
const LOOPBACK: u32 = 1;
pub(crate) const LONG: Duration = Duration::from_secs(600);
const PORT: u16 = 7_777;
const PERMISSION: i32 = rustix::io::Errno::PERM.raw_os_error();

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The gated addresses, and those beside them that are not gated.
pub(crate) fn service() -> [IpAddr; 2] {
    [ip("10.9.0.100"), ip("fd09::100")]
}

fn other() -> [IpAddr; 2] {
    [ip("10.9.0.2"), ip("fd09::2")]
}

fn open() -> Option<Gate> {
    match Gate::of_programs(NODE, &BTreeSet::from(service())) {
        Ok(gate) => Some(gate),
        Err(GateError::Kernel { source, .. }) if source.raw_os_error() == Some(PERMISSION) => {
            println!("skipped: the kernel refuses bpf(2) here: {source}");
            None
        }
        Err(error) => panic!("{error}: {error:?}"),
    }
}

/// The daemon's end, as a child of the guard would inherit it.
fn daemon(gate: &Gate) -> (DaemonGate, os::gate::Attachments) {
    let copies =
        gate.descriptors().expect("programs").map(|fd| rustix::io::dup(fd).unwrap().into_raw_fd());
    DaemonGate::inherit(NODE, copies).unwrap()
}

pub(crate) fn now() -> Instant {
    os::clock::boottime()
}

/// A node in the calling thread's namespace, and a client in another one.
pub(crate) struct Field {
    beside: Beside,
    pub(crate) left: u32,
    right: u32,
    client: Ethernet,
    client_mac: [u8; 6],
    echo: [OwnedFd; 2],
    questions: [UdpSocket; 2],
    answerers: Vec<UdpSocket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Echo,
    Datagram,
    Neighbour,
}

const WAYS: [Way; 3] = [Way::Echo, Way::Datagram, Way::Neighbour];

impl Field {
    pub(crate) fn make() -> Option<Field> {
        let beside = Beside::make()?;
        if !isolate(UnshareFlags::NEWNET) {
            return None;
        }
        set_up(LOOPBACK, true);
        let (left, right) = beside.cable("left", "right");
        let mut netlink = Netlink::open().unwrap();
        let mut add = |address, prefix| netlink.add_address(left, address, prefix, None).unwrap();
        add(ip("10.9.0.1"), 24);
        add(ip("fd09::1"), 64);
        for address in other().into_iter().chain(service()) {
            add(address, if address.is_ipv4() { 32 } else { 128 });
        }
        let owner_mac = interface("left").mac.unwrap();
        let (client, client_mac, echo, questions) = beside.within(|| {
            let mut netlink = Netlink::open().unwrap();
            netlink.add_address(right, ip("10.9.0.9"), 24, None).unwrap();
            netlink.add_address(right, ip("fd09::9"), 64, None).unwrap();
            // So that a closed address is asked although nobody answers who has it.
            for address in service().into_iter().chain(other()) {
                neighbour(right, address, owner_mac);
            }
            let raw = |family, protocol| {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                rustix::net::socket_with(family, SocketType::RAW, flags, Some(protocol)).unwrap()
            };
            let echo = [
                raw(AddressFamily::INET, ipproto::ICMP),
                raw(AddressFamily::INET6, ipproto::ICMPV6),
            ];
            let questions = ["0.0.0.0:0", "[::]:0"].map(|any| UdpSocket::bind(any).unwrap());
            for socket in &questions {
                socket.set_nonblocking(true).unwrap();
            }
            let client = Ethernet::open(right).unwrap();
            (client, interface("right").mac.unwrap(), echo, questions)
        });
        let answerers = service().into_iter().chain(other()).map(|address| {
            let socket = UdpSocket::bind((address, PORT)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        let answerers = answerers.collect();
        Some(Field { beside, left, right, client, client_mac, echo, questions, answerers })
    }

    /// Whether the service's address of this family answers.
    fn answers(&self, way: Way, version: usize) -> bool {
        let (wanted, marker) = (service()[version], other()[version]);
        self.heard(way, version);
        let mut is_wanted = false;
        // Again: the cable's queue and IPv6 addresses are on a moment after they were made.
        wait_for("an answer of the address without a gate", || {
            self.ask(way, wanted);
            self.ask(way, marker);
            let mut is_marked = false;
            for _ in 0..3 {
                self.answer();
                for from in self.heard(way, version) {
                    is_wanted |= from == wanted;
                    is_marked |= from == marker;
                }
            }
            is_marked.then_some(())
        });
        is_wanted
    }

    fn ask(&self, way: Way, address: IpAddr) {
        let version = usize::from(address.is_ipv6());
        let to = SocketAddr::new(address, if way == Way::Datagram { PORT } else { 0 });
        // Refusals are those of a link that is not up yet; the answer is waited for.
        match way {
            Way::Datagram => {
                let _lost = self.questions[version].send_to(b"?", to);
            }
            Way::Echo => {
                let mut request = if version == 0 {
                    vec![8, 0, 0, 0, 0, 7, 0, 1]
                } else {
                    vec![128, 0, 0, 0, 0, 7, 0, 1]
                };
                let sum = 0xffff - (0x0800 + 7 + 1_u16);
                request[2..4].copy_from_slice(&sum.to_be_bytes());
                let _lost =
                    rustix::net::sendto(&self.echo[version], &request, SendFlags::empty(), &to);
            }
            Way::Neighbour => {
                let own = if version == 0 { ip("10.9.0.9") } else { ip("fd09::9") };
                self.client.send(&question(self.client_mac, own, address)).unwrap();
            }
        }
    }

    fn answer(&self) {
        let mut buffer = [0; 64];
        for socket in &self.answerers {
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _lost = socket.send_to(&buffer[..length], from);
            }
        }
    }

    /// Who has answered since it was asked for the last time.
    pub(crate) fn heard(&self, way: Way, version: usize) -> Vec<IpAddr> {
        let mut from = Vec::new();
        let mut buffer = [0; 2_048];
        match way {
            Way::Datagram => {
                while let Ok((_, source)) = self.questions[version].recv_from(&mut buffer) {
                    from.push(source.ip());
                }
            }
            Way::Echo => {
                let reply = if version == 0 { 0 } else { 129 };
                let start = if version == 0 { 20 } else { 0 };
                let socket = self.echo[version].as_fd();
                while let Ok((length, _, source)) =
                    rustix::net::recvfrom(socket, &mut buffer, RecvFlags::empty())
                {
                    let source = SocketAddr::try_from(source.unwrap()).unwrap();
                    if length > start && buffer[start] == reply {
                        from.push(source.ip());
                    }
                }
            }
            Way::Neighbour => {
                let take = |frame: &[u8]| from.extend(claimed(frame));
                self.client.drain(1_000, take).unwrap();
            }
        }
        from
    }

    pub(crate) fn expect(&self, answers: bool, why: &str) {
        for way in WAYS {
            for version in 0..2 {
                let seen = self.answers(way, version);
                assert_eq!(seen, answers, "{way:?} {}: {why}", service()[version]);
            }
        }
    }
}

/// Who has this address? ARP, or a neighbour solicitation.
fn question(mac: [u8; 6], own: IpAddr, target: IpAddr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    match (own, target) {
        (IpAddr::V4(own), IpAddr::V4(target)) => {
            frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            frame.extend(mac);
            frame.extend(own.octets());
            frame.extend([0; 6]);
            frame.extend(target.octets());
        }
        (IpAddr::V6(own), IpAddr::V6(target)) => {
            let tail = &target.octets()[13..];
            frame[..6].copy_from_slice(&[0x33, 0x33, 0xff, tail[0], tail[1], tail[2]]);
            let mut group = ip_octets("ff02::1:ff00:0");
            group[13..].copy_from_slice(tail);
            let mut body = vec![135, 0, 0, 0, 0, 0, 0, 0];
            body.extend(target.octets());
            body.extend([1, 1]);
            body.extend(mac);
            let sum = checksum(&own.octets(), &group, &body);
            body[2..4].copy_from_slice(&sum.to_be_bytes());
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, body.len() as u8, 58, 255]);
            frame.extend(own.octets());
            frame.extend(group);
            frame.extend(body);
        }
        _ => unreachable!("both of one version"),
    }
    frame
}

fn ip_octets(text: &str) -> [u8; 16] {
    text.parse::<std::net::Ipv6Addr>().unwrap().octets()
}

fn checksum(source: &[u8; 16], destination: &[u8; 16], body: &[u8]) -> u16 {
    let all = [&source[..], &destination[..], &[0, 0, 0, body.len() as u8, 0, 0, 0, 58], body];
    let bytes = all.concat();
    let mut sum: u32 =
        bytes.chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The address that a frame claims for whoever sent it: ARP's sender, an advertisement's target.
fn claimed(frame: &[u8]) -> Option<IpAddr> {
    match frame.get(12..14)? {
        [8, 6] => Some(IpAddr::from(<[u8; 4]>::try_from(frame.get(28..32)?).ok()?)),
        [0x86, 0xdd] if frame.get(54) == Some(&136) => {
            Some(IpAddr::from(<[u8; 16]>::try_from(frame.get(62..78)?).ok()?))
        }
        _ => None,
    }
}

#[test]
fn an_address_answers_only_within_its_lease() {
    let Some(field) = Field::make() else { return };
    field.expect(true, "there is no gate yet");
    let Some(gate) = open() else { return };
    assert!(!gate.was_there());
    field.expect(false, "it is closed until somebody opens it");

    let (daemon, _) = daemon(&gate);
    for address in service() {
        daemon.push(address, now() + LONG);
    }
    field.expect(false, "a deadline alone is no right");
    for address in service() {
        daemon.grant(address, now());
    }
    field.expect(true, "it is open");

    // The deadline comes while nobody does anything.
    let soon = now() + Duration::from_millis(30);
    for address in service() {
        daemon.push(address, soon);
    }
    wait_for("the deadline", || (now() >= soon).then_some(()));
    field.expect(false, "its lease is over");
    let (_, slot) = daemon.slots()[0];
    assert!(slot.passed > Some(0) && slot.dropped > 0, "{slot:?}");
    assert_eq!(slot.open_until(now()), None);

    for address in service() {
        daemon.push(address, now() + LONG);
    }
    field.expect(true, "a later deadline");
    let before = now();
    for address in service() {
        gate.revoker().revoke(address).unwrap();
    }
    for address in service() {
        // What a daemon that was stopped before the revocation does when it goes on.
        daemon.grant(address, before);
        daemon.push(address, now() + LONG);
    }
    field.expect(false, "revoked, and no later grant");
    for address in service() {
        daemon.grant(address, now());
    }
    field.expect(true, "granted again");
    for address in service() {
        daemon.close(address);
    }
    field.expect(false, "closed");
    gate.remove().unwrap();
    assert_eq!(filters(field.left), [0, 0]);
    field.expect(true, "the gate is gone");
}

#[test]
fn announcements_pass_only_while_it_is_open_and_probes_always() {
    let Some(field) = Field::make() else { return };
    let Some(gate) = open() else { return };
    let (daemon, _) = daemon(&gate);
    let sender = Ethernet::open(field.left).unwrap();
    let mac = interface("left").mac.unwrap();
    field.answers(Way::Neighbour, 0);
    let announce = |address: IpAddr| sender.send(&question(mac, address, address));
    let heard = || {
        announce(other()[0]).unwrap();
        let mut seen = Vec::new();
        wait_for("the announcement without a gate", || {
            field.client.drain(100, |frame| seen.extend(claimed(frame))).unwrap();
            seen.contains(&other()[0]).then_some(())
        });
        seen.contains(&service()[0])
    };
    let _dropped = announce(service()[0]);
    assert!(!heard(), "closed");
    sender.send(&question(mac, ip("0.0.0.0"), service()[0])).unwrap();
    wait_for("the probe", || {
        let mut seen = false;
        let probe = |frame: &[u8]| {
            claimed(frame) == Some(ip("0.0.0.0")) && frame[38..42] == [10, 9, 0, 100]
        };
        field.client.drain(100, |frame| seen |= probe(frame)).unwrap();
        seen.then_some(())
    });
    daemon.grant(service()[0], now());
    daemon.push(service()[0], now() + LONG);
    announce(service()[0]).unwrap();
    assert!(heard(), "open");
}

/// Who was the owner, or never was, must send to the new one at once.
#[test]
fn the_announcement_of_a_new_owner_is_heard_while_it_is_closed() {
    let Some(field) = Field::make() else { return };
    let service = service()[0];
    Netlink::open().unwrap().remove_address(field.left, service, 32).unwrap();
    let Some(_gate) = open() else { return };
    let known = || {
        let table = std::fs::read_to_string("/proc/thread-self/net/arp").unwrap();
        let line = table.lines().find(|line| line.starts_with(&format!("{service} ")))?;
        line.split_whitespace().nth(3).map(str::to_owned)
    };
    let (former, owner) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    // Asking for this node's own address, the former owner gets into the table of neighbours.
    wait_for("the former owner's station", || {
        field.client.send(&question(former, service, ip("10.9.0.1"))).unwrap();
        known().filter(|station| station.as_str() == "02:00:00:00:00:01")
    });
    wait_for("the new owner's station", || {
        field.client.send(&question(owner, service, service)).unwrap();
        known().filter(|station| station.as_str() == "02:00:00:00:00:02")
    });
}

#[test]
fn a_gate_is_adopted_and_not_doubled() {
    let Some(field) = Field::make() else { return };
    let Some(gate) = open() else { return };
    {
        let (daemon, _) = daemon(&gate);
        for address in service() {
            daemon.grant(address, now());
            daemon.push(address, now() + LONG);
        }
    }
    field.expect(true, "it is open");
    // As if its guard were killed: nobody removes anything.
    drop(gate);
    field.expect(true, "within its lease, whoever lives");
    let mut gate = open().expect("it could be opened before");
    assert!(gate.was_there());
    assert_eq!(filters(field.left), [1, 1]);
    field.expect(false, "adopted, and closed");
    assert_eq!(gate.keep().unwrap().attached, 0, "nothing is missing");
    let (daemon, mut attachments) = daemon(&gate);
    assert_eq!(attachments.keep().unwrap().attached, 0, "for the daemon neither");
    assert_eq!(filters(field.left), [1, 1]);
    for address in service() {
        daemon.grant(address, now());
        daemon.push(address, now() + LONG);
    }
    field.expect(true, "its new life opens it");

    // Another node on this machine has a gate of its own.
    let mine = Gate::of_programs("test n2", &BTreeSet::from([ip("10.9.0.77")])).unwrap();
    assert!(!mine.was_there());
    assert_eq!(filters(field.left), [2, 2]);
    field.expect(true, "another node's gate does not know it");
    mine.remove().unwrap();
    assert_eq!(filters(field.left), [1, 1]);
    assert_eq!(attachments.survey().unwrap()[0].name, "left");
    assert!(attachments.survey().unwrap()[0].ingress && attachments.survey().unwrap()[0].egress);
}

#[test]
fn what_somebody_takes_away_is_put_back() {
    let Some(field) = Field::make() else { return };
    let Some(mut gate) = open() else { return };
    let watch = Watch::of_filters().unwrap();
    field.expect(false, "closed");
    watch.take().unwrap();
    remove_filters(field.left);
    assert_eq!(filters(field.left), [0, 0]);
    field.expect(true, "somebody took the gate away");
    wait_for("the kernel's word of it", || watch.take().unwrap().then_some(()));
    assert_eq!(gate.keep().unwrap().attached, 2);
    field.expect(false, "it is back, and as closed as before");

    // A new interface is gated before an address comes to it.
    let (_, mut attachments) = daemon(&gate);
    watch.take().unwrap();
    let other = device("other0", "bridge");
    wait_for("the kernel's word of it", || watch.take().unwrap().then_some(()));
    assert_eq!(filters(other), [0, 0]);
    attachments.keep_on(other).unwrap();
    assert_eq!(filters(other), [1, 1]);
    attachments.keep_on(LOOPBACK).unwrap();
    attachments.keep_on(999).unwrap();
    assert_eq!(gate.keep().unwrap().attached, 0);
}

#[test]
fn half_a_gate_is_enough_that_nobody_is_answered() {
    let Some(field) = Field::make() else { return };
    ingress_discipline(field.left);
    let Some(mut gate) = open() else { return };
    let refused = gate.keep().unwrap().refused.expect("there is no place for the other half");
    assert_eq!(refused.0, field.left);
    // The old kind of discipline has one list for both.
    assert_eq!(filters(field.left), [1, 1]);
    field.expect(false, "closed by half the gate");
    let (daemon, mut attachments) = daemon(&gate);
    attachments.keep_on(field.left).expect("what comes in is gated");
    for address in service() {
        daemon.grant(address, now());
        daemon.push(address, now() + LONG);
    }
    field.expect(true, "open");
    gate.remove().unwrap();
    assert_eq!(filters(field.left), [0, 0]);
}

/// Another owner of the place, with blocks of filters that several interfaces share.
#[test]
fn where_no_interface_takes_it_there_is_no_gate() {
    let Some(field) = Field::make() else { return };
    shared_filters(field.left);
    match Gate::of_programs(NODE, &BTreeSet::from(service())) {
        Err(GateError::Nowhere { interface, .. }) => assert_eq!(interface, field.left),
        Err(GateError::Kernel { source, .. }) if source.raw_os_error() == Some(PERMISSION) => {
            return println!("skipped: the kernel refuses bpf(2) here: {source}");
        }
        other => panic!("{other:?}"),
    }
    field.expect(true, "there is no gate");

    // One that takes it is enough, and the other one takes no service address.
    let other = device("other0", "bridge");
    let mut gate = open().expect("one takes it");
    let kept = gate.keep().unwrap();
    assert_eq!((kept.gated, kept.refused.map(|(interface, _)| interface)), (1, Some(field.left)));
    let (_, mut attachments) = daemon(&gate);
    attachments.keep_on(other).unwrap();
    let error = attachments.keep_on(field.left).unwrap_err();
    assert!(error.errno().is_some_and(|errno| errno != 0), "{error:?}");
}

#[test]
fn a_gate_without_addresses_is_tried_on_the_loop_alone() {
    let Some(field) = Field::make() else { return };
    let none = BTreeSet::new();
    let Some(_can) = open() else { return };
    let gate = Gate::of_programs("test n2", &none).unwrap();
    assert_eq!((filters(LOOPBACK), filters(field.left)), ([0, 0], [1, 1]));
    drop(gate);
    shared_filters(LOOPBACK);
    match Gate::of_programs("test n2", &none) {
        Err(GateError::Nowhere { interface, .. }) => assert_eq!(interface, LOOPBACK),
        other => panic!("{other:?}"),
    }
}

/// The configuration changed while nobody ran.
#[test]
fn an_address_that_the_configuration_lost_stays_closed() {
    let Some(field) = Field::make() else { return };
    let Some(gate) = open() else { return };
    {
        let (daemon, _) = daemon(&gate);
        for address in service() {
            daemon.grant(address, now());
            daemon.push(address, now() + LONG);
        }
    }
    field.expect(true, "it is open");
    drop(gate);
    let new = ip("10.9.0.77");
    let gate = Gate::of_programs(NODE, &BTreeSet::from([new])).unwrap();
    assert!(gate.was_there());
    let all = BTreeSet::from([service()[0], service()[1], new]);
    assert_eq!(gate.addresses().unwrap(), all);
    field.expect(false, "its guard and its daemon are gone");
}

#[test]
fn an_address_is_closed_on_every_interface() {
    every_interface(open);
}

pub(crate) fn every_interface(open: fn() -> Option<Gate>) {
    let Some(field) = Field::make() else { return };
    // Linux answers for an address of one interface on another one.
    let second = field.beside.cable("second", "away");
    let mut netlink = Netlink::open().unwrap();
    netlink.add_address(second.0, ip("10.8.0.1"), 24, None).unwrap();
    let heard = field.beside.within(|| {
        Netlink::open().unwrap().add_address(second.1, ip("10.8.0.9"), 24, None).unwrap();
        (Ethernet::open(second.1).unwrap(), interface("away").mac.unwrap())
    });
    let asks = |target: IpAddr| heard.0.send(&question(heard.1, ip("10.8.0.9"), target));
    let answers = || {
        let mut seen = Vec::new();
        wait_for("an answer of the address without a gate", || {
            // The queue of the cable may not be on yet.
            let _lost = (asks(service()[0]), asks(other()[0]));
            heard.0.drain(100, |frame| seen.extend(claimed(frame))).unwrap();
            seen.contains(&other()[0]).then_some(())
        });
        seen.contains(&service()[0])
    };
    assert!(answers(), "the weak model of hosts");
    let Some(_gate) = open() else { return };
    while heard.0.drain(100, |_| ()).unwrap().count > 0 {}
    assert!(!answers());
}

#[test]
fn what_is_on_another_machine_is_passed_on() {
    passed_on(open);
}

pub(crate) fn passed_on(open: fn() -> Option<Gate>) {
    let Some(field) = Field::make() else { return };
    let Some(third) = Beside::make() else { return };
    // The client's packets to the service go through this node, which is a router.
    let (near, far) = third.cable("near", "far");
    let beyond = ip("10.9.0.101");
    let interface_mac = interface("left").mac.unwrap();
    let mut netlink = Netlink::open().unwrap();
    for (address, prefix) in service().into_iter().zip([32, 128]) {
        netlink.remove_address(field.left, address, prefix).unwrap();
    }
    netlink.add_address(near, ip("10.9.0.65"), 26, None).unwrap();
    let Some(gate) = open() else { return };
    let answerer = third.within(|| {
        let mut netlink = Netlink::open().unwrap();
        netlink.add_address(far, service()[0], 26, None).unwrap();
        let mac = interface("far").mac.unwrap();
        neighbour(far, ip("10.9.0.9"), [2; 6]);
        let socket = UdpSocket::bind((service()[0], PORT)).unwrap();
        socket.set_nonblocking(true).unwrap();
        netlink.add_address(far, beyond, 26, None).unwrap();
        let marker = UdpSocket::bind((beyond, PORT)).unwrap();
        marker.set_nonblocking(true).unwrap();
        (socket, mac, marker)
    });
    let marker = &answerer.2;
    for address in [service()[0], beyond] {
        neighbour(near, address, answerer.1);
    }
    field.beside.within(|| neighbour(field.right, beyond, interface_mac));
    // A question for the marker goes the same way behind it: when that one is there, the other one
    // would be, too.
    let arrives = || {
        let mut buffer = [0; 9];
        let mut is_there = false;
        while answerer.0.recv_from(&mut buffer).is_ok() {}
        while marker.recv_from(&mut buffer).is_ok() {}
        wait_for("the question for the marker", || {
            field.ask(Way::Datagram, service()[0]);
            field.ask(Way::Datagram, beyond);
            let is_marked = marker.recv_from(&mut buffer).is_ok();
            is_there |= answerer.0.recv_from(&mut buffer).is_ok();
            is_marked.then_some(())
        });
        is_there
    };
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    wait_for("a packet that is passed on", || arrives().then_some(()));
    // The same address on this node is not for others.
    netlink.add_address(field.left, service()[0], 32, None).unwrap();
    assert!(!arrives(), "it is on this one");
    for way in WAYS {
        assert!(!field.answers(way, 0), "{way:?}: closed, and the address is here");
    }
    drop(gate);
}

#[test]
fn ports_of_a_bridge_are_the_bridges() {
    let Some(field) = Field::make() else { return };
    let Some(mut gate) = open() else { return };
    assert_eq!(filters(field.left), [1, 1]);
    let bridge = device("bridge0", "bridge");
    join_bridge(field.left, bridge);
    assert_eq!(gate.keep().unwrap().attached, 2, "the bridge");
    assert_eq!((filters(field.left), filters(bridge)), ([0, 0], [1, 1]));
    let (_, mut attachments) = daemon(&gate);
    let all = attachments.survey().unwrap();
    let port = all.iter().find(|one| one.interface == field.left).unwrap();
    assert!(port.is_port && !port.ingress);
}
