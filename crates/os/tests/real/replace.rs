//! A service address in the place of an interface's own addresses, and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use os::netlink::Netlink;
use os::netlink::replace::addresses_of;
use rustix::thread::UnshareFlags;

use crate::scene::{cable, interface, isolate, route, routes, wait_for};

const FOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 254));
const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 100));
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3));
const GATEWAY_SIX: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 254));
const SERVICE_SIX: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100));
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY_SIX: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
const LIFETIME: Option<Duration> = Some(Duration::from_secs(60));

fn own(name: &str) -> Vec<(IpAddr, u8)> {
    let is_local =
        |address: IpAddr| matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
    let seen = interface(name).addresses.into_iter().filter(|seen| !is_local(seen.address));
    let mut all: Vec<(IpAddr, u8)> = seen.map(|seen| (seen.address, seen.prefix)).collect();
    all.sort();
    all
}

/// The main table as the kernel shows it, over one interface.
fn over(name: &str) -> Vec<String> {
    let both = routes("route").into_iter().chain(routes("ipv6_route"));
    // Of single and link-local addresses of IPv6 the kernel makes and removes its own a while later.
    let single = "/80 ";
    let mut all: Vec<String> = both
        .filter(|(on, what)| on == name && !what.contains(single) && !what.starts_with("fe80"))
        .map(|(_, what)| what)
        .collect();
    all.sort();
    all
}

#[test]
fn an_address_takes_the_place_of_another_and_all_comes_back() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (card, _) = cable("card", "end");
    let mut netlink = Netlink::open().unwrap();
    for (address, prefix) in [(FOUR, 24), (SIX, 64)] {
        netlink.add_address(card, address, prefix, None).unwrap();
    }
    wait_for("a carrier", || interface("card").carrier.then_some(()));
    route(card, (ANY, 0), Some(GATEWAY));
    route(card, (ANY_SIX, 0), Some(GATEWAY_SIX));
    wait_for("no detection of duplicates", || {
        interface("card").addresses.iter().all(|seen| !seen.tentative).then_some(())
    });
    let (addresses, all_routes) = (own("card"), over("card"));
    for (service, bits, boot, prefix) in [(SERVICE, 32, FOUR, 24), (SERVICE_SIX, 128, SIX, 64)] {
        let boot = [(boot, prefix)];
        let kept = netlink.keep(card, &boot).unwrap();
        assert_eq!((addresses_of(&kept), kept.routes.len()), (boot.to_vec(), 2));
        netlink.refresh_address(card, service, bits, LIFETIME).unwrap();
        netlink.take_place(card, service, Some(prefix), &boot, &kept).unwrap();
        let other = addresses.iter().copied().find(|own| *own != boot[0]).unwrap();
        let mut expected = vec![other, (service, bits)];
        expected.sort();
        assert_eq!(own("card"), expected);
        let gateways = kept.routes.len();
        assert_eq!(netlink.keep(card, &boot).unwrap().routes.len(), gateways, "none is lost");
        // A second time, as a daemon does that was killed in between.
        netlink.take_place(card, service, Some(prefix), &boot, &kept).unwrap();

        assert_eq!(netlink.give_back(card, &kept), Vec::<String>::new());
        netlink.remove_address(card, service, bits).unwrap();
        assert_eq!((own("card"), over("card")), (addresses.clone(), all_routes.clone()));
        assert_eq!(netlink.give_back(card, &kept), Vec::<String>::new(), "no harm");
        assert_eq!((own("card"), over("card")), (addresses.clone(), all_routes.clone()));

        // As after a guard: the service address is gone before anything is back, and with it all routes.
        netlink.refresh_address(card, service, bits, LIFETIME).unwrap();
        netlink.take_place(card, service, Some(prefix), &boot, &kept).unwrap();
        netlink.remove_address(card, service, bits).unwrap();
        assert_eq!(netlink.give_back(card, &kept), Vec::<String>::new());
        assert_eq!((own("card"), over("card")), (addresses.clone(), all_routes.clone()));
    }
}

#[test]
fn an_interface_in_use_gets_another_hardware_address() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (card, _) = cable("card", "end");
    let mut netlink = Netlink::open().unwrap();
    let before = interface("card").mac.unwrap();
    let wanted = [2, 0, 10, 1, 0, 0x64];
    netlink.set_hardware_address(card, wanted).unwrap();
    assert_eq!(interface("card").mac, Some(wanted));
    netlink.set_hardware_address(card, before).unwrap();
    assert_eq!(interface("card").mac, Some(before));
    let error = netlink.set_hardware_address(card, [1, 0, 0, 0, 0, 1]).unwrap_err();
    assert_eq!(error.errno(), Some(99), "EADDRNOTAVAIL: {}", error.whole());
}
