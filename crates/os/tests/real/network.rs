//! Datagrams, interfaces, addresses and frames, in network namespaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use os::ethernet::Ethernet;
use os::netlink::{Interface, Netlink, Removal, Watch};
use os::udp::{Hint, Sent, Udp};
use rustix::thread::UnshareFlags;

use crate::scene::{cable, isolate, set_up, wait_for};

const LOOPBACK: u32 = 1;
const FOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3));

fn any_port(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, 0)
}

fn receive(socket: &mut Udp) -> (SocketAddr, Vec<u8>) {
    wait_for("a datagram", || {
        let mut taken = None;
        socket.drain(1, |from, bytes| taken = Some((from, bytes.to_vec()))).unwrap();
        taken
    })
}

fn exchange(local: IpAddr) {
    let mut one = Udp::bind(any_port(local), None).unwrap();
    let mut two = Udp::bind(any_port(local), None).unwrap();
    for length in [0, 1, 1_200, 9_000] {
        assert_eq!(one.send_to(&vec![3; length], two.local()), Sent::Taken);
        assert_eq!(receive(&mut two), (one.local(), vec![3; length]));
    }
    for number in 0..5 {
        assert_eq!(one.send_to(&[number], two.local()), Sent::Taken);
    }
    let mut seen = Vec::new();
    let first = two.drain(3, |_, bytes| seen.push(bytes[0])).unwrap();
    assert_eq!((first.count, first.more), (3, true), "a turn is bounded");
    let rest = two.drain(3, |_, bytes| seen.push(bytes[0])).unwrap();
    assert_eq!((rest.count, rest.more), (2, false));
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    assert_eq!((one.counters().sent, two.counters().received), (9, 9));

    // Nobody listens any more: a hint, and no error for the next datagrams to others.
    let gone = two.local();
    drop(two);
    // As long as a child that another test has forked has the socket, it takes what comes.
    let hint = wait_for("a hint", || {
        assert_eq!(one.send_to(b"x", gone), Sent::Taken);
        let mut taken = None;
        one.hints(|to, hint| taken = Some((to, hint))).unwrap();
        taken
    });
    assert_eq!(hint, (gone, Hint::PortUnreachable));
    assert_eq!(one.send_to(b"x", gone), Sent::Taken);
    let mut three = Udp::bind(any_port(local), None).unwrap();
    assert_eq!(one.send_to(b"y", three.local()), Sent::Taken, "another's error is not this one's");
    assert_eq!(receive(&mut three).1, b"y");
    one.drain(4, |_, _| panic!("nothing was sent to it")).unwrap();

    // The address is ours alone, also after being made anew.
    assert!(Udp::bind(one.local(), None).is_err());
    let at = one.local();
    one.rebind(at).unwrap();
    assert_eq!((one.local(), one.counters().rebinds), (at, 1));
    assert!(Udp::bind(at, None).is_err());
    assert_eq!(three.send_to(b"z", at), Sent::Taken);
    assert_eq!(receive(&mut one).1, b"z");
    assert!(one.rebind(three.local()).is_err());
    assert_eq!(one.send_to(b"w", three.local()), Sent::Taken, "a failed change leaves the old one");
}

#[test]
fn datagrams_version_4() {
    exchange(Ipv4Addr::LOCALHOST.into());
}

#[test]
fn datagrams_version_6() {
    exchange(Ipv6Addr::LOCALHOST.into());
}

#[test]
fn a_socket_outlives_its_address() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    set_up(LOOPBACK, true);
    let mut netlink = Netlink::open().unwrap();
    for (address, prefix) in [(FOUR, 32), (SIX, 128)] {
        let mut early = Udp::bind(any_port(address), None).expect("before the address is there");
        netlink.add_address(LOOPBACK, address, prefix, None).unwrap();
        wait_usable(&mut netlink, address);
        let mut other = Udp::bind(any_port(address), None).unwrap();
        for _ in 0..2 {
            deliver(&mut early, &mut other);
            deliver(&mut other, &mut early);
            netlink.remove_address(LOOPBACK, address, prefix).unwrap();
            assert_eq!(early.send_to(b"lost", other.local()), Sent::NoWay);
            netlink.add_address(LOOPBACK, address, prefix, None).unwrap();
            wait_usable(&mut netlink, address);
        }
        assert_eq!(early.counters().no_way, 2);
    }
    assert!(Udp::bind(any_port(FOUR), Some("nothing0")).is_err());
    Udp::bind(any_port(FOUR), Some("lo")).unwrap();
}

/// Sends until one arrives: the route to an IPv6 address comes a moment after the address.
fn deliver(from: &mut Udp, to: &mut Udp) {
    wait_for("a datagram", || {
        assert_eq!(from.send_to(b"x", to.local()), Sent::Taken);
        (to.drain(9, |_, bytes| assert_eq!(bytes, b"x")).unwrap().count > 0).then_some(())
    });
}

/// An IPv6 address is completed by a worker of the kernel, a moment after it was added.
fn wait_usable(netlink: &mut Netlink, address: IpAddr) {
    wait_for("a usable address", || {
        let lo = find(netlink, LOOPBACK);
        lo.addresses.iter().any(|seen| seen.address == address && !seen.tentative).then_some(())
    });
}

fn find(netlink: &mut Netlink, index: u32) -> Interface {
    let all = netlink.interfaces().unwrap();
    all.into_iter().find(|interface| interface.index == index).expect("it is there")
}

fn connected(netlink: &mut Netlink, index: u32) -> Interface {
    wait_for("the cable", || Some(find(netlink, index)).filter(|interface| interface.carrier))
}

#[test]
fn the_picture_of_interfaces_and_addresses() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let mut netlink = Netlink::open().unwrap();
    let watch = Watch::open().unwrap();
    assert!(!watch.take().unwrap());
    let (left, right) = cable("left", "right");
    assert!(watch.take().unwrap(), "new interfaces are news");
    assert!(!watch.take().unwrap());

    let lo = find(&mut netlink, LOOPBACK);
    assert!(lo.loopback && !lo.up && lo.mac.is_none() && lo.name == "lo");
    let seen = connected(&mut netlink, left);
    assert!(seen.up && !seen.loopback && seen.mtu == 1_500 && seen.name == "left");
    assert!(seen.mac.is_some_and(|mac| mac != [0; 6]));
    assert!(netlink.carrier("left").unwrap());

    set_up(right, false);
    wait_for("loss of carrier at the driver", || (!netlink.carrier("left").unwrap()).then_some(()));
    wait_for("loss of carrier in the picture", || {
        (!find(&mut netlink, left).carrier).then_some(())
    });
    let seen = find(&mut netlink, left);
    assert!(seen.up, "still set up");
    assert_eq!(netlink.carrier("nothing0").unwrap_err().raw_os_error(), Some(19));
    assert!(netlink.carrier("a name that is too long for one").is_err());

    let life = Duration::from_millis(8_500);
    for (address, prefix) in [(FOUR, 32), (SIX, 128)] {
        watch.take().unwrap();
        netlink.add_address(left, address, prefix, Some(life)).unwrap();
        wait_for("the news of it", || watch.take().unwrap().then_some(()));
        let address_seen = |netlink: &mut Netlink| {
            find(netlink, left).addresses.into_iter().find(|seen| seen.address == address)
        };
        let seen = wait_for("a usable address", || {
            address_seen(&mut netlink).filter(|seen| !seen.tentative)
        });
        assert_eq!(seen.prefix, prefix);
        assert!(!seen.duplicate && !seen.deprecated);
        let remaining = seen.lifetime.expect("it has an end");
        assert!(remaining <= Duration::from_secs(9), "rounded up to whole seconds: {remaining:?}");

        let error = netlink.add_address(left, address, prefix, Some(life)).unwrap_err();
        assert_eq!(error.errno(), Some(17), "{error}");
        let longer = Some(Duration::from_secs(500));
        netlink.refresh_address(left, address, prefix, longer).unwrap();
        let remaining = address_seen(&mut netlink).unwrap().lifetime.unwrap();
        assert!(remaining > Duration::from_secs(100), "extended: {remaining:?}");
        netlink.refresh_address(left, address, prefix, None).unwrap();
        assert_eq!(address_seen(&mut netlink).unwrap().lifetime, None, "for ever");

        netlink.remove_address(left, address, prefix).unwrap();
        assert!(address_seen(&mut netlink).is_none());
        netlink.remove_address(left, address, prefix).expect("gone is gone");
        netlink.refresh_address(left, address, prefix, Some(life)).expect("adds what is missing");
        let removal = Removal::open().unwrap();
        assert_eq!(removal.remove(left, address, prefix), Ok(true));
        assert_eq!(removal.remove(left, address, prefix), Ok(false));
        assert_eq!(removal.remove(99, address, prefix), Ok(false), "no such interface");
        assert!(address_seen(&mut netlink).is_none());
    }
    let error = netlink.add_address(99, FOUR, 32, None).unwrap_err();
    assert!(error.to_string().contains("10.1.2.3/32"), "{error}");
}

#[test]
fn an_address_ends_with_its_lifetime() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    set_up(LOOPBACK, true);
    let mut netlink = Netlink::open().unwrap();
    let before = os::clock::boottime();
    let life = Duration::from_secs(1);
    netlink.add_address(LOOPBACK, FOUR, 32, Some(life)).unwrap();
    wait_for("the end of the address", || {
        find(&mut netlink, LOOPBACK).addresses.iter().all(|seen| seen.address != FOUR).then_some(())
    });
    assert!(os::clock::boottime().since(before) >= life - Duration::from_millis(10));
}

#[test]
fn an_overrun_of_events_is_a_reason_to_look() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let watch = Watch::open().unwrap();
    let mut netlink = Netlink::open().unwrap();
    // Far more than the socket holds, while nobody reads.
    for _ in 0..6_000 {
        netlink.add_address(LOOPBACK, FOUR, 32, None).unwrap();
        netlink.remove_address(LOOPBACK, FOUR, 32).unwrap();
    }
    netlink.add_address(LOOPBACK, FOUR, 32, None).unwrap();
    let mut turns = 0;
    while watch.take().expect("an overrun is no error") {
        turns += 1;
        assert!(turns < 1_000);
    }
    assert!(turns > 0);
    assert_eq!(find(&mut netlink, LOOPBACK).addresses.len(), 1);
}

#[test]
fn two_thousand_addresses_are_one_picture() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let mut netlink = Netlink::open().unwrap();
    for number in 0..2_000_u32 {
        let address = Ipv4Addr::from(0x0a00_0000 + number).into();
        netlink.add_address(LOOPBACK, address, 32, None).unwrap();
    }
    assert_eq!(find(&mut netlink, LOOPBACK).addresses.len(), 2_000);
}

fn frame(destination: [u8; 6], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = destination.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1]);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// An IPv6 header with this next header, and the first byte of its payload.
fn version_6(next_header: u8, first: u8) -> Vec<u8> {
    let mut payload = vec![0x60, 0, 0, 0, 0, 24, next_header, 255];
    payload.extend([0; 32]);
    payload.push(first);
    payload.extend([0; 23]);
    payload
}

#[test]
fn only_address_resolution_is_heard() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (left, right) = cable("left", "right");
    let mut netlink = Netlink::open().unwrap();
    connected(&mut netlink, left);
    connected(&mut netlink, right);
    let sender = Ethernet::open(left).unwrap();
    let listener = Ethernet::open(right).unwrap();
    assert_eq!(listener.interface(), right);
    let all = [0xff; 6];
    // Solicited-node multicast that this machine has not joined.
    let multicast = [0x33, 0x33, 0xff, 1, 2, 3];
    let mut wanted = [
        frame(all, 0x0806, &[1; 28]),
        frame(multicast, 0x86dd, &version_6(58, 135)),
        frame(all, 0x86dd, &version_6(58, 136)),
    ];
    let unwanted = [
        frame(all, 0x0800, &[0x45; 40]),
        frame(all, 0x86dd, &version_6(58, 134)),
        frame(all, 0x86dd, &version_6(17, 135)),
        frame(all, 0x88b5, &[0; 40]),
    ];
    let mut heard = Vec::new();
    wait_for("the frames", || {
        // The first ones may be lost: the kernel switches a cable's queue on a moment later.
        for frame in unwanted.iter().chain(&wanted) {
            sender.send(frame).unwrap();
        }
        let take = |frame: &[u8]| {
            // The kernel's own neighbour discovery (other source address) is heard as well.
            if frame[6..12] == [2, 0, 0, 0, 0, 1] && !heard.contains(&frame.to_vec()) {
                heard.push(frame.to_vec());
            }
        };
        listener.drain(64, take).unwrap();
        (heard.len() >= wanted.len()).then_some(())
    });
    heard.sort();
    wanted.sort();
    assert_eq!(heard, wanted);
    let own = sender.drain(100, |frame| {
        assert_ne!(frame[6..12], [2, 0, 0, 0, 0, 1], "what was sent is not heard");
    });
    assert!(!own.unwrap().more);
    set_up(left, false);
    assert!(sender.send(&wanted[0]).is_err());
    assert!(Ethernet::open(99).is_err());
}
