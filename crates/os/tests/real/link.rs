//! Counters and kinds of interfaces, in network namespaces.

use std::collections::BTreeSet;

use os::netlink::Netlink;
use os::netlink::link::{Kind, Link, roots};
use os::segment::Segments;
use os::udp::Sent;
use rustix::thread::UnshareFlags;

use crate::scene::{cable, device, isolate, join_bridge, remove, set_up, upon, wait_for};

const TYPE: u16 = 0x88b5;

fn look(netlink: &mut Netlink, name: &str) -> Link {
    netlink.link(name).unwrap().expect("there is one")
}

#[test]
fn counters_carrier_and_flags_of_one_interface() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (left, right) = cable("left", "right");
    let mut netlink = Netlink::open().unwrap();
    let before = wait_for("the cable", || Some(look(&mut netlink, "left")).filter(|l| l.carrier));
    assert_eq!((before.index, before.name.as_str()), (left, "left"));
    assert!(before.up && !before.loopback && before.mac.is_some() && before.port_of.is_none());
    assert_eq!((&before.kind, before.lower), (&Kind::Veth, None), "the other end is not below");

    let segments = Segments::open(TYPE, *b"MP").unwrap();
    let mut sent = 0;
    wait_for("frames to arrive", || {
        sent += u64::from(segments.send(right, b"MP and so on") == Sent::Taken);
        (sent >= 5 && look(&mut netlink, "left").rx >= before.rx + 5).then_some(())
    });
    assert!(look(&mut netlink, "right").tx >= 5);

    set_up(right, false);
    // At once: the driver's own word is asked.
    assert!(!look(&mut netlink, "left").carrier);
    assert!(look(&mut netlink, "left").up && !look(&mut netlink, "right").up);
    remove(left);
    assert_eq!(netlink.link("left").unwrap(), None);
    for odd in ["", "a-name-that-is-too-long", "nothing0"] {
        assert_eq!(netlink.link(odd).unwrap(), None);
    }
    let lo = look(&mut netlink, "lo");
    assert!(lo.loopback && lo.mac.is_none() && lo.index == 1);
}

#[test]
fn kinds_and_what_lies_below() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (one, one_end) = cable("one", "one-end");
    let (two, _) = cable("two", "two-end");
    let bridge = device("br", "bridge");
    join_bridge(one, bridge);
    join_bridge(two, bridge);
    let vlan = upon(bridge, "br.7", "vlan", &[(1, &7_u16.to_ne_bytes())]);
    let bridged_mode = 4_u32.to_ne_bytes();
    let macvlan = upon(one_end, "mac", "macvlan", &[(1, &bridged_mode)]);
    let mut netlink = Netlink::open().unwrap();
    let links = netlink.links().unwrap();
    assert!(links.windows(2).all(|pair| pair[0].index < pair[1].index));
    for link in &links {
        let alone = look(&mut netlink, &link.name);
        assert_eq!(
            (alone.index, alone.kind, alone.lower),
            (link.index, link.kind.clone(), link.lower)
        );
    }
    assert_eq!(look(&mut netlink, "one").port_of, Some(bridge));
    assert_eq!(look(&mut netlink, "br").kind, Kind::Bridge);
    let of = |index: u32| roots(&links, index).into_iter().collect::<Vec<u32>>();
    assert_eq!(of(bridge), [one, two], "a bridge fails with all of its ports");
    assert_eq!(of(one), [one]);
    match vlan {
        Ok(vlan) => {
            let seen = look(&mut netlink, "br.7");
            assert_eq!((seen.kind, seen.lower), (Kind::Vlan(7), Some(bridge)));
            assert_eq!(of(vlan), [one, two]);
        }
        Err(error) => println!("skipped: no VLANs in this kernel: {error}"),
    }
    match macvlan {
        Ok(macvlan) => {
            let seen = look(&mut netlink, "mac");
            assert_eq!((seen.kind, seen.lower), (Kind::Macvlan, Some(one_end)));
            assert_eq!(of(macvlan), [one_end]);
            assert_eq!(roots(&links, one_end), BTreeSet::from([one_end]), "they share a cable");
        }
        Err(error) => println!("skipped: no macvlan in this kernel: {error}"),
    }
    let looped = Link { lower: Some(one), index: two, ..look(&mut netlink, "two") };
    let back = Link { lower: Some(two), index: one, ..look(&mut netlink, "one") };
    assert_eq!(roots(&[looped, back], one), BTreeSet::new(), "a circle has no ground, and an end");
}

/// What a look costs; a figure for people, and no assertion.
#[test]
fn what_a_look_costs() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    cable("left", "right");
    let mut netlink = Netlink::open().unwrap();
    let micros = |act: &mut dyn FnMut()| {
        const TIMES: u32 = 500;
        let mut least = u128::MAX;
        for _ in 0..TIMES {
            let before = os::clock::boottime();
            act();
            least = least.min(os::clock::boottime().since(before).as_nanos());
        }
        least / 1_000
    };
    let by_name = micros(&mut || drop(netlink.link("left").unwrap()));
    let all = micros(&mut || drop(netlink.links().unwrap()));
    let carrier = micros(&mut || assert!(netlink.carrier("left").is_ok()));
    let picture = micros(&mut || drop(netlink.interfaces().unwrap()));
    let table = micros(&mut || drop(std::fs::read("/proc/thread-self/net/dev").unwrap()));
    println!(
        "least of 500: one link {by_name} us, 3 links {all} us, carrier {carrier} us, picture \
         {picture} us, /proc/net/dev {table} us"
    );
}
