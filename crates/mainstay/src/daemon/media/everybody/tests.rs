//! Where what is for all goes.

use super::*;

fn endpoint(address: &str, prefix: u8) -> Endpoint {
    Endpoint::new(address.parse().expect("an address"), prefix)
}

#[test]
fn the_address_follows_from_the_network_and_the_cluster() {
    let four = endpoint("10.77.1.2", 22);
    let six = endpoint("fd00::2", 64);
    let of = |heartbeat, end: &Endpoint, cluster| {
        address(heartbeat, end, cluster, 7946, 3).map(|to| to.to_string())
    };
    let multicast = |group: Option<&str>, port| Heartbeat::Multicast {
        group: group.map(|group| group.parse().expect("an address")),
        port,
    };
    assert_eq!(of(Heartbeat::Unicast, &four, 10), None);
    assert_eq!(of(Heartbeat::Broadcast, &four, 10).as_deref(), Some("10.77.3.255:7946"));
    let default = multicast(None, None);
    assert_eq!(of(default, &four, 10).as_deref(), Some("239.192.0.10:7946"));
    assert_eq!(of(default, &four, u32::MAX).as_deref(), Some("239.195.255.255:7946"));
    assert_eq!(of(default, &six, 10).as_deref(), Some("[ff12::4d53:0:a%3]:7946"));
    let written = multicast(Some("239.1.2.3"), Some(5000));
    assert_eq!(of(written, &four, 10).as_deref(), Some("239.1.2.3:5000"));
}
