//! Addresses, routes and neighbours that go to another interface.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

use os::netlink::Netlink;
use rustix::thread::UnshareFlags;

use crate::scene::{
    Beside, cable, device, interface, isolate, join_bridge, neighbour, route, routes, set_up,
    wait_for,
};

const FOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
const SECOND: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 4));
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 254));
const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 7, 0));
const SIX: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3));
const GATEWAY_SIX: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 254));
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY_SIX: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
const OWN: [(IpAddr, u8); 3] = [(FOUR, 24), (SECOND, 24), (SIX, 64)];

fn own(name: &str) -> Vec<(IpAddr, u8)> {
    let is_local =
        |address: IpAddr| matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
    let seen = interface(name).addresses.into_iter().filter(|seen| !is_local(seen.address));
    seen.map(|seen| (seen.address, seen.prefix)).collect()
}

/// Routes that were made, not the kernel's own: those with a gateway, and one far subnet.
fn made(name: &str) -> Vec<String> {
    let far = "0007A8C0";
    let four = routes("route")
        .into_iter()
        .filter(|(_, what)| what.starts_with(far) || !what.ends_with(" 00000000"));
    let none = "0".repeat(32);
    let six = routes("ipv6_route").into_iter().filter(|(_, what)| !what.ends_with(&none));
    let mut all: Vec<String> =
        four.chain(six).filter(|(on, _)| on == name).map(|(_, what)| what).collect();
    all.sort();
    all
}

#[test]
fn addresses_take_their_routes_and_neighbours_along_and_back() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (primary, primary_end) = cable("prim", "primend");
    let (standby, _) = cable("stby", "stbyend");
    let mut netlink = Netlink::open().unwrap();
    for (address, prefix) in OWN {
        netlink.add_address(primary, address, prefix, None).unwrap();
    }
    wait_for("a carrier", || interface("prim").carrier.then_some(()));
    route(primary, (ANY, 0), Some(GATEWAY));
    route(primary, (FAR, 24), None);
    route(primary, (ANY_SIX, 0), Some(GATEWAY_SIX));
    neighbour(primary, GATEWAY, [2, 0, 0, 0, 0, 7]);
    let before = made("prim");
    assert_eq!(before.len(), 3, "{before:?}");

    // The cable is pulled at its other end.
    set_up(primary_end, false);
    wait_for("no carrier", || (!interface("prim").carrier).then_some(()));
    let taken = netlink.switch(primary, standby, &OWN).unwrap();
    assert_eq!((taken.routes, taken.neighbours, taken.troubles), (3, 1, Vec::<String>::new()));
    assert_eq!((own("prim"), own("stby")), (Vec::new(), OWN.to_vec()));
    assert_eq!((made("prim"), made("stby")), (Vec::new(), before.clone()));
    let sixes = interface("stby").addresses;
    assert!(sixes.iter().all(|seen| seen.address != SIX || !seen.tentative), "usable at once");

    set_up(primary_end, true);
    wait_for("a carrier", || interface("prim").carrier.then_some(()));
    let taken = netlink.switch(standby, primary, &OWN).unwrap();
    assert_eq!((taken.routes, taken.neighbours, taken.troubles), (3, 1, Vec::<String>::new()));
    assert_eq!((own("prim"), own("stby")), (OWN.to_vec(), Vec::new()));
    assert_eq!((made("prim"), made("stby")), (before, Vec::new()));
}

#[test]
fn a_gateway_that_is_reached_by_a_route_of_its_own_is_kept() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (primary, _) = cable("prim", "primend");
    let (standby, _) = cable("stby", "stbyend");
    let mut netlink = Netlink::open().unwrap();
    netlink.add_address(primary, FOUR, 32, None).unwrap();
    // The kernel lists the default route first, which needs the other one.
    route(primary, (GATEWAY, 32), None);
    route(primary, (ANY, 0), Some(GATEWAY));
    let taken = netlink.switch(primary, standby, &[(FOUR, 32)]).unwrap();
    assert_eq!((taken.routes, taken.troubles), (2, Vec::<String>::new()));
    let on = |name: &str| routes("route").into_iter().filter(|(on, _)| on == name).count();
    assert_eq!((on("prim"), on("stby")), (0, 2));
}

#[test]
fn what_was_half_done_is_finished() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (primary, _) = cable("prim", "primend");
    let (standby, _) = cable("stby", "stbyend");
    let mut netlink = Netlink::open().unwrap();
    for (address, prefix) in OWN {
        netlink.add_address(primary, address, prefix, None).unwrap();
    }
    // As if somebody had been killed after the first step.
    netlink.add_address(standby, FOUR, 24, None).unwrap();
    route(primary, (ANY, 0), Some(GATEWAY));
    netlink.switch(primary, standby, &OWN).unwrap();
    assert_eq!((own("prim"), own("stby")), (Vec::new(), OWN.to_vec()));
    assert_eq!((made("prim").len(), made("stby").len()), (0, 1));
}

#[test]
fn where_no_address_can_be_put_all_stay_where_they_were() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (primary, _) = cable("prim", "primend");
    let mut netlink = Netlink::open().unwrap();
    for (address, prefix) in OWN {
        netlink.add_address(primary, address, prefix, None).unwrap();
    }
    let error = netlink.switch(primary, 9_999, &OWN).expect_err("there is no such interface");
    assert!(error.to_string().contains("10.1.2.3/24 on interface 9999"), "{error}");
    assert_eq!(own("prim"), OWN);
}

#[test]
fn an_address_that_cannot_be_put_there_keeps_no_other_one_back() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (primary, _) = cable("prim", "primend");
    let (standby, _) = cable("stby", "stbyend");
    let off = "/proc/sys/net/ipv6/conf/stby/disable_ipv6";
    std::fs::write(off, "1").unwrap();
    let mut netlink = Netlink::open().unwrap();
    for (address, prefix) in OWN {
        netlink.add_address(primary, address, prefix, None).unwrap();
    }
    route(primary, (ANY, 0), Some(GATEWAY));
    route(primary, (ANY_SIX, 0), Some(GATEWAY_SIX));
    let taken = netlink.switch(primary, standby, &OWN).unwrap();
    assert_eq!((taken.routes, &taken.troubles), (1, &Vec::new()));
    let [(SIX, why)] = &taken.left[..] else { panic!("left: {:?}", taken.left) };
    assert!(why.contains("fd00::3/64 on interface"), "{why}");
    assert!(why.contains("net.ipv6.conf.INTERFACE.disable_ipv6 = 0"), "{why}");
    assert_eq!((own("prim"), own("stby")), (vec![(SIX, 64)], OWN[..2].to_vec()));
    assert_eq!((made("prim").len(), made("stby").len()), (1, 1), "each with its addresses");

    // Alone it has nothing to go along with: that is no switch.
    netlink.switch(primary, standby, &[(SIX, 64)]).expect_err("IPv6 is off there");
    assert_eq!(own("prim"), [(SIX, 64)]);
    std::fs::write(off, "0").unwrap();
    let taken = netlink.switch(primary, standby, &[(SIX, 64)]).unwrap();
    assert_eq!((taken.routes, taken.left, taken.troubles), (1, Vec::new(), Vec::new()));
    assert_eq!((own("prim"), own("stby")), (Vec::new(), OWN.to_vec()));
    assert_eq!((made("prim").len(), made("stby").len()), (0, 2));
}

#[test]
fn a_connection_lives_on() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    // Both interfaces and the other machine on one switch.
    let Some(other) = Beside::make() else { return };
    let bridge = device("bridge", "bridge");
    set_up(bridge, true);
    let (primary, primary_end) = cable("prim", "primend");
    let (standby, standby_end) = cable("stby", "stbyend");
    let (far_end, far) = other.cable("farend", "far");
    for port in [primary_end, standby_end, far_end] {
        join_bridge(port, bridge);
    }
    let mut netlink = Netlink::open().unwrap();
    netlink.add_address(primary, FOUR, 24, None).unwrap();
    other.within(|| Netlink::open().unwrap().add_address(far, SECOND, 24, None).unwrap());
    wait_for("a carrier", || interface("prim").carrier.then_some(()));
    let listener = TcpListener::bind((FOUR, 0)).unwrap();
    let to = listener.local_addr().unwrap();
    let mut client = other.within(move || TcpStream::connect(to)).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"before").unwrap();
    let mut heard = [0; 6];
    server.read_exact(&mut heard).unwrap();

    set_up(primary_end, false);
    netlink.switch(primary, standby, &[(FOUR, 24)]).unwrap();
    // The peer learns of the other Ethernet address from the first frame.
    server.write_all(b"after!").unwrap();
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"after!");
    client.write_all(b"still.").unwrap();
    server.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"still.");
}
