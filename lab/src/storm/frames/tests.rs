//! Frames made by hand, taken apart and put together again.

use super::*;

fn payload() -> Vec<u8> {
    let mut bytes = b"MS\x01\x01\0\0\0\x0a\x01\x02\0\0\0\x01\0\0".to_vec();
    bytes.extend([7; 16]);
    bytes.extend(5u64.to_be_bytes());
    bytes.extend([9; 80]);
    bytes
}

fn udp() -> Vec<u8> {
    let addresses = (spec::node_address(1, 1), spec::node_address(1, 2));
    let mut bytes = [spec::hardware(1, 2), spec::hardware(1, 1)].concat();
    bytes.extend(ETHERTYPE_IPV4.to_be_bytes());
    bytes.extend(ipv4_udp(addresses, payload().len()));
    bytes.extend(payload());
    bytes
}

#[test]
fn what_was_captured_is_sent_again_as_it_was_but_for_the_stranger_s_address() {
    let captured = Captured::parse(&udp()).expect("a frame of ours");
    assert_eq!((captured.source(), captured.target()), (1, 2));
    let mut chance = Chance(1);
    let mut frame = captured.made_into(1, Kind::Replayed, &mut chance);
    frame.freshen(&mut chance);
    let mut expected = udp();
    expected[6..12].copy_from_slice(&spec::hardware(1, spec::STRANGER_HOST));
    assert_eq!(frame.bytes(), expected);
    // The sum over a header with its checksum is zero (RFC 1071).
    assert_eq!(checksum(&frame.bytes()[ETHERNET..ETHERNET + IPV4]), 0);
}

#[test]
fn exactly_one_bit_is_flipped_each_time() {
    let captured = Captured::parse(&udp()).expect("a frame of ours");
    let mut chance = Chance(1);
    let mut frame = captured.made_into(1, Kind::Flipped, &mut chance);
    for _ in 0..100 {
        frame.freshen(&mut chance);
        let bytes = &frame.bytes()[ETHERNET + IPV4 + UDP..];
        let both = bytes.iter().zip(payload()).enumerate();
        // The counter is another one each time.
        let outside = both.filter(|(at, _)| !(COUNTER..HEADER).contains(at));
        let changed: u32 = outside.map(|(_, (is, was))| (is ^ was).count_ones()).sum();
        assert!(changed <= 1, "{changed} bits");
    }
}

#[test]
fn what_is_not_ours_is_not_captured() {
    let mut other_port = udp();
    other_port[ETHERNET + IPV4 + 2] ^= 1;
    assert_eq!(Captured::parse(&other_port), None);
    let mut other_magic = udp();
    other_magic[ETHERNET + IPV4 + UDP] = b'X';
    assert_eq!(Captured::parse(&other_magic), None);
    for length in 0..udp().len() - 80 {
        assert_eq!(Captured::parse(&udp()[..length]), None, "{length}");
    }
}
