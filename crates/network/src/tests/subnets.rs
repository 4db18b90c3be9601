use super::{MAC, OTHER_MAC, interface, ip};
use crate::Interface;
use crate::subnet::select;

fn check(interfaces: &[Interface], address: &str) -> Result<u32, String> {
    let prefix = if address.contains(':') { 64 } else { 24 };
    let is_service = |address| address == ip("10.9.9.9");
    let interfaces: Vec<&Interface> = interfaces.iter().collect();
    select(&interfaces, (ip(address), prefix), is_service).map(|interface| interface.index)
}

#[test]
fn the_longest_subnet_wins_and_then_the_lowest_number() {
    let interfaces = [
        interface(1, MAC, &[("10.0.0.1", 8)]),
        interface(2, OTHER_MAC, &[("192.168.1.1", 24), ("10.77.0.1", 16)]),
        interface(3, OTHER_MAC, &[("10.77.9.1", 16)]),
    ];
    assert_eq!(check(&interfaces, "10.77.0.100"), Ok(2));
    assert_eq!(check(&interfaces, "10.78.0.100"), Ok(1));
}

#[test]
fn the_family_counts() {
    let interfaces =
        [interface(1, MAC, &[("0.0.0.0", 0)]), interface(2, OTHER_MAC, &[("fd00::1", 64)])];
    assert_eq!(check(&interfaces, "fd00::100"), Ok(2));
    assert_eq!(check(&interfaces, "10.1.1.1"), Ok(1));
    assert!(check(&interfaces[..1], "fd00::100").is_err());
}

#[test]
fn service_addresses_and_single_addresses_carry_nothing() {
    let interfaces = [interface(1, MAC, &[("10.9.9.9", 24), ("10.9.9.8", 32)])];
    let error = check(&interfaces, "10.9.9.10").expect_err("neither is a subnet of the node");
    assert_eq!(
        error,
        "no interface has a subnet that contains 10.9.9.10/24; interfaces here: eth1 (none)"
    );
}

#[test]
fn the_reason_names_what_there_is() {
    let interfaces = [
        interface(1, MAC, &[("10.1.0.1", 16), ("10.2.0.1", 16)]),
        interface(2, OTHER_MAC, &[("fd00::1", 64)]),
    ];
    assert_eq!(
        check(&interfaces, "10.77.0.100").expect_err("no such subnet"),
        "no interface has a subnet that contains 10.77.0.100/24; \
         interfaces here: eth1 (10.1.0.1/16, 10.2.0.1/16), eth2 (none)"
    );
    assert!(check(&[], "10.77.0.100").expect_err("nothing at all").ends_with("here: none"));
}

#[test]
fn a_dead_interface_is_not_chosen_and_is_named() {
    let mut interfaces =
        [interface(1, MAC, &[("10.77.0.1", 24)]), interface(2, OTHER_MAC, &[("10.77.0.2", 16)])];
    interfaces[0].carrier = false;
    assert_eq!(check(&interfaces, "10.77.0.100"), Ok(2), "the wider subnet, but alive");
    interfaces[1].up = false;
    assert_eq!(
        check(&interfaces, "10.77.0.100").expect_err("none is alive"),
        "no interface for 10.77.0.100/24: eth1 carries it but has no carrier; \
         eth2 carries it but is switched off"
    );
}
