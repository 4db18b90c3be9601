use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::{MAC, OTHER_MAC, arp_reply, ip};
use crate::wire::{Heard, announcement, decode, probe, text};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn arp_frames_are_these_bytes() {
    let padding = "00".repeat(18);
    assert_eq!(
        hex(&announcement(MAC, ip("10.77.0.100"))),
        "ffffffffffff".to_string()
            + "020000000001"
            + "0806"
            + "0001"
            + "0800"
            + "06"
            + "04"
            + "0001"
            + "020000000001"
            + "0a4d0064"
            + "000000000000"
            + "0a4d0064"
            + &padding
    );
    assert_eq!(
        hex(&probe(MAC, ip("10.77.0.100"))),
        "ffffffffffff".to_string()
            + "020000000001"
            + "0806"
            + "0001"
            + "0800"
            + "06"
            + "04"
            + "0001"
            + "020000000001"
            + "00000000"
            + "000000000000"
            + "0a4d0064"
            + &padding
    );
}

#[test]
fn neighbour_discovery_frames_are_these_bytes() {
    let address = ip("fd00::12:3456");
    assert_eq!(
        hex(&announcement(MAC, address)),
        "333300000001".to_string()
            + "020000000001"
            + "86dd"
            + "60000000"
            + "0020"
            + "3a"
            + "ff"
            + "fd000000000000000000000000123456"
            + "ff020000000000000000000000000001"
            + "88"
            + "00"
            + "f1cc"
            + "20000000"
            + "fd000000000000000000000000123456"
            + "0201"
            + "020000000001"
    );
    assert_eq!(
        hex(&probe(MAC, address)),
        "3333ff123456".to_string()
            + "020000000001"
            + "86dd"
            + "60000000"
            + "0018"
            + "3a"
            + "ff"
            + "00000000000000000000000000000000"
            + "ff0200000000000000000001ff123456"
            + "87"
            + "00"
            + "14d7"
            + "00000000"
            + "fd000000000000000000000000123456"
    );
}

#[test]
fn a_second_opinion_agrees_on_structure_and_checksums() {
    for frame in [announcement(MAC, ip("fd00::100")), probe(MAC, ip("fd00::100"))] {
        let sliced = SlicedPacket::from_ethernet(&frame).expect("well-formed");
        let Some(NetSlice::Ipv6(ipv6)) = sliced.net else { panic!("not IPv6") };
        let header = ipv6.header().to_header();
        assert_eq!(header.hop_limit, 255);
        let Some(TransportSlice::Icmpv6(icmp)) = sliced.transport else { panic!("not ICMPv6") };
        assert!(icmp.is_checksum_valid(header.source, header.destination));
    }
    for frame in [announcement(MAC, ip("10.0.0.1")), probe(MAC, ip("10.0.0.1"))] {
        let sliced = SlicedPacket::from_ethernet(&frame).expect("well-formed");
        let Some(NetSlice::Arp(arp)) = sliced.net else { panic!("not ARP") };
        assert_eq!(arp.operation(), etherparse::ArpOperation::REQUEST);
        assert_eq!(arp.sender_hw_addr(), MAC);
        assert_eq!(arp.target_protocol_addr(), [10, 0, 0, 1]);
        assert_eq!(frame.len(), 60);
    }
}

#[test]
fn what_is_sent_is_understood() {
    for address in [ip("10.77.0.100"), ip("fd00::100")] {
        let (mac, uses) = (MAC, Heard::Uses { address, mac: MAC });
        assert_eq!(decode(&announcement(mac, address)), Ok(Some(uses)));
        assert_eq!(decode(&probe(mac, address)), Ok(Some(Heard::Probes { address, mac })));
    }
    let reply = arp_reply(OTHER_MAC, "10.77.0.100", MAC, "10.77.0.1");
    let uses = Heard::Uses { address: ip("10.77.0.100"), mac: OTHER_MAC };
    assert_eq!(decode(&reply), Ok(Some(uses)));
}

#[test]
fn an_advertisement_without_its_option_is_from_the_frames_sender() {
    // A duplicate's owner may answer so; the option is required only for multicast solicitations.
    let mut frame = announcement(OTHER_MAC, ip("fd00::100"));
    frame.truncate(frame.len() - 8);
    frame[19] = 24;
    reseal(&mut frame);
    let uses = Heard::Uses { address: ip("fd00::100"), mac: OTHER_MAC };
    assert_eq!(decode(&frame), Ok(Some(uses)));
}

/// Makes the checksum right again by trying all values: independent of how it is computed.
fn reseal(frame: &mut [u8]) {
    let right = (0..=u16::MAX).find(|sum| {
        frame[56..58].copy_from_slice(&sum.to_be_bytes());
        decode(frame).is_ok()
    });
    assert!(right.is_some(), "one of all checksums is right, if nothing else is wrong");
}

#[test]
fn broken_discovery_is_refused() {
    let whole = announcement(OTHER_MAC, ip("fd00::100"));
    let broken = |at: usize, byte: u8| {
        let mut frame = whole.clone();
        frame[at] = byte;
        decode(&frame)
    };
    assert!(broken(21, 254).is_err(), "a router forwarded it");
    assert!(broken(55, 1).is_err(), "the code is not 0");
    assert!(broken(56, whole[56] ^ 1).is_err(), "the checksum is wrong");
    assert!(broken(14, 0x45).is_err(), "the version is wrong");
    assert!(broken(19, 33).is_err(), "it is shorter than it says");
    assert_eq!(broken(20, 6), Ok(None), "TCP is nothing to us");
    assert_eq!(broken(12, 0x08), Ok(None), "another EtherType is nothing to us");
    let mut endless = whole.clone();
    endless[79] = 0;
    assert!(
        (0..=u16::MAX).all(|sum| {
            endless[56..58].copy_from_slice(&sum.to_be_bytes());
            decode(&endless).is_err()
        }),
        "an option of length 0 would never end (RFC 4861 §4.6)"
    );
}

#[test]
fn arp_of_other_hardware_or_kind_says_nothing() {
    let whole = announcement(OTHER_MAC, ip("10.0.0.1"));
    for (at, byte) in [(15, 6), (16, 9), (18, 8), (19, 16), (21, 3)] {
        let mut frame = whole.clone();
        frame[at] = byte;
        assert_eq!(decode(&frame), Ok(None), "byte {at}");
    }
    assert!(decode(&whole[..41]).is_err(), "cut short");
}

#[test]
fn an_ethernet_address_is_written_as_usual() {
    assert_eq!(text([0, 0x1b, 0x21, 0xff, 0x0a, 9]), "00:1b:21:ff:0a:09");
}
