//! Who answers ARP, and what is taken from whom.

use std::fs;

use rustix::thread::UnshareFlags;

use crate::scene::{cable, isolate};

fn path(interface: &str, name: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{interface}/{name}")
}

fn level(interface: &str, name: &str) -> String {
    fs::read_to_string(path(interface, name)).unwrap().trim().to_owned()
}

fn set(interface: &str, name: &str, value: &str) {
    fs::write(path(interface, name), value).unwrap();
}

#[test]
fn an_interface_is_told_once_to_speak_for_its_own_addresses() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    cable("own", "ownend");
    let both = |name: &str| (level(name, "arp_ignore"), level(name, "arp_announce"));
    let levels = |ignore: &str, announce: &str| (ignore.to_owned(), announce.to_owned());
    assert_eq!(both("own"), levels("0", "0"), "the kernel's defaults");
    let set_now = os::arp::speak_for_own("own").unwrap();
    assert_eq!(set_now, ["arp_ignore = 1", "arp_announce = 2"]);
    assert_eq!((both("own"), both("ownend")), (levels("1", "2"), levels("0", "0")));
    assert_eq!(os::arp::speak_for_own("own").unwrap(), [""; 0], "it is so already");
    set("own", "arp_ignore", "8");
    set("own", "arp_announce", "1");
    assert_eq!(os::arp::speak_for_own("own").unwrap(), ["arp_announce = 2"]);
    assert_eq!(both("own"), levels("8", "2"), "stricter, by somebody's wish");
    set("all", "arp_ignore", "2");
    assert_eq!(os::arp::speak_for_own("ownend").unwrap(), ["arp_announce = 2"]);
    assert_eq!(both("ownend"), levels("0", "2"), "all of them are stricter");
    assert!(os::arp::speak_for_own("nobody").is_err(), "there is no such interface");
}

#[test]
fn the_stricter_of_all_and_of_one_interface_filters() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    cable("own", "ownend");
    for (all, own, strict) in [
        ("0", "0", false),
        ("0", "1", true),
        ("1", "0", true),
        ("1", "2", false),
        ("2", "1", false),
    ] {
        set("all", "rp_filter", all);
        set("own", "rp_filter", own);
        assert_eq!(os::arp::is_strict("own").unwrap(), strict, "all {all}, own {own}");
    }
    assert!(os::arp::is_strict("nobody").is_err());
}
