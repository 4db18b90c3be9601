//! Who answers ARP.

use std::fs;

use rustix::thread::UnshareFlags;

use crate::scene::{cable, isolate};

#[test]
fn an_interface_is_told_once_to_answer_for_its_own_addresses() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    cable("own", "ownend");
    let path = |name: &str| format!("/proc/sys/net/ipv4/conf/{name}/arp_ignore");
    let level = |name: &str| fs::read_to_string(path(name)).unwrap();
    assert_eq!(level("own"), "0\n", "the kernel's default");
    assert!(os::arp::answer_for_own("own").unwrap());
    assert_eq!((level("own").as_str(), level("ownend").as_str()), ("1\n", "0\n"));
    assert!(!os::arp::answer_for_own("own").unwrap(), "it is so already");
    fs::write(path("own"), "8").unwrap();
    assert!(!os::arp::answer_for_own("own").unwrap());
    assert_eq!(level("own"), "8\n", "stricter, by somebody's wish");
    fs::write(path("all"), "2").unwrap();
    assert!(!os::arp::answer_for_own("ownend").unwrap(), "all of them are stricter");
    fs::write(path("all"), "0").unwrap();
    assert!(os::arp::answer_for_own("nobody").is_err(), "there is no such interface");
}
