//! What can be seen without a network: words, instructions, and the programs' verdicts on frames.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::AsFd;

use base::Instant;

use super::assembler::{Assembler, When, Width};
use super::maps::Maps;
use super::program::Direction;
use super::{GateError, SlotState, TIME_NAMESPACE, is_time_shifted, load, program_names, reason};
use crate::sys::bpf;

const DROP: i32 = 2;
const PASS: i32 = -1;

#[test]
fn a_slot_is_open_between_its_grant_and_its_deadline() {
    let at = Instant::from_millis;
    let open =
        SlotState { deadline: at(9), grant: at(5), revoked: at(4), passed: Some(0), dropped: 0 };
    assert_eq!(open.open_until(at(8)), Some(at(9)));
    assert_eq!(open.open_until(at(9)), None, "the deadline itself is too late");
    let revoked = SlotState { revoked: at(5), ..open };
    assert_eq!(revoked.open_until(at(8)), None, "a grant of the same moment is the older one");
    let fresh = SlotState { grant: at(0), revoked: at(0), ..open };
    assert_eq!(fresh.open_until(at(8)), None, "nothing was granted");
}

#[test]
fn a_shifted_clock_is_noticed() {
    assert!(!is_time_shifted(""));
    assert!(!is_time_shifted("monotonic           0         0\nboottime            0         0\n"));
    assert!(!is_time_shifted("monotonic           7         0\nboottime            0         0\n"));
    assert!(is_time_shifted("monotonic           0         0\nboottime          100         0\n"));
    assert!(is_time_shifted("monotonic           0         0\nboottime            0         1\n"));
    assert_eq!(GateError::TimeNamespace.errno(), TIME_NAMESPACE);
    assert!(reason(TIME_NAMESPACE).contains("time namespace"));
    assert!(reason(libc::EPERM).contains("permitted"));
}

/// RFC 9669, figures of sections 3 and 4.
#[test]
#[cfg(target_endian = "little")]
fn instructions_are_encoded_as_the_kernel_reads_them() {
    let mut a = Assembler::default();
    a.jump_when(1, When::NotEqual, 7, "end");
    a.load(Width::Word, 2, 6, 16);
    a.store_number(Width::Double, 10, -8, -1);
    a.jump_when_register(0, When::AtLeast, 1, "end");
    a.map(1, 5);
    a.label("end");
    a.exit();
    let bytes: Vec<[u8; 8]> = a.finish().iter().map(|word| word.to_ne_bytes()).collect();
    assert_eq!(
        bytes,
        [
            [0x55, 0x01, 5, 0, 7, 0, 0, 0],
            [0x61, 0x62, 16, 0, 0, 0, 0, 0],
            [0x7a, 0x0a, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff],
            [0x3d, 0x10, 2, 0, 0, 0, 0, 0],
            [0x18, 0x11, 0, 0, 5, 0, 0, 0],
            [0; 8],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ]
    );
}

/// A frame of this type to the loop, so that the kernel takes it for this machine's.
fn frame(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The frame with tags of these types before its own; all of priority 3 in no VLAN.
fn tagged(types: &[u16], frame: &[u8]) -> Vec<u8> {
    let (stations, rest) = frame.split_at(12);
    let tags = types.iter().flat_map(|kind| [(kind >> 8) as u8, *kind as u8, 0x60, 0]);
    stations.iter().copied().chain(tags).chain(rest.iter().copied()).collect()
}

fn version_4(options: usize, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0x45 + options as u8, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(source);
    packet.extend(destination);
    packet.resize(packet.len() + options * 4 + 8, 1);
    frame(0x0800, &packet)
}

fn version_6(next: u8, source: [u8; 16], destination: [u8; 16], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 255];
    packet.extend(source);
    packet.extend(destination);
    packet.extend(payload);
    frame(0x86dd, &packet)
}

/// An ARP frame about sender and target, whose hardware addresses have this length.
fn arp(hardware: usize, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, hardware as u8, 4, 0, 1];
    packet.resize(packet.len() + hardware, 7);
    packet.extend(sender);
    packet.resize(packet.len() + hardware, 7);
    packet.extend(target);
    frame(0x0806, &packet)
}

/// Each frame to or from the service is dropped while it is closed and passes while it is open; each
/// other one passes. With `--nocapture` it prints what a verdict costs.
#[test]
fn programs_judge_each_frame_by_whom_it_speaks_for() {
    let (mine, other) = ([10, 9, 0, 100], [10, 9, 0, 2]);
    let six = |last: u8| -> [u8; 16] {
        let mut address = [0; 16];
        (address[0], address[1], address[15]) = (0xfd, 9, last);
        address
    };
    let (mine_6, other_6) = (six(100), six(2));
    let maps = match Maps::create() {
        Ok(maps) => maps,
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            return println!("skipped: the kernel refuses bpf(2) here: {error}");
        }
        Err(error) => panic!("the gate's maps: {error}"),
    };
    let mut known = BTreeMap::new();
    let wanted = BTreeSet::from([IpAddr::from(mine), IpAddr::from(mine_6)]);
    maps.sync(&mut known, &wanted).unwrap();
    let names = program_names("n1");
    let ingress = load(Direction::In, &maps, &names).unwrap().0;
    let egress = load(Direction::Out, &maps, &names).unwrap().0;
    let neighbour = |kind: u8, target: [u8; 16]| {
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        message.extend(target);
        message
    };
    let group = six(0xff);
    let all = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets();
    let (to, from, no) = ([true, false], [false, true], [false, false]);
    // What it is, the frame, and whether it speaks for the service: in, out.
    let frames = [
        ("to it", version_4(0, other, mine), [true, false]),
        ("from it", version_4(0, mine, other), [false, true]),
        ("to it with options", version_4(4, other, mine), [true, false]),
        ("from it with options", version_4(10, mine, other), [false, true]),
        ("between others", version_4(0, other, other), [false, false]),
        ("ARP: who has it", arp(6, other, mine), [true, false]),
        ("ARP announcement of its owner", arp(6, mine, mine), [false, true]),
        ("ARP announcement, long addresses", arp(20, mine, mine), [false, true]),
        ("ARP: it is there", arp(6, mine, other), [false, true]),
        ("ARP probe for it", arp(6, [0; 4], mine), [true, false]),
        ("ARP with long addresses", arp(20, other, mine), [true, false]),
        ("IPv6 to it", version_6(17, other_6, mine_6, &[0; 8]), [true, false]),
        ("IPv6 from it", version_6(17, mine_6, other_6, &[0; 8]), [false, true]),
        ("IPv6 fragment from it", version_6(44, mine_6, other_6, &[0; 8]), [false, true]),
        ("solicited", version_6(58, other_6, group, &neighbour(135, mine_6)), [true, false]),
        ("advertised", version_6(58, other_6, group, &neighbour(136, mine_6)), [false, true]),
        ("probed by others", version_6(58, [0; 16], group, &neighbour(135, mine_6)), [true, false]),
        (
            "other solicited",
            version_6(58, other_6, group, &neighbour(135, other_6)),
            [false, false],
        ),
        (
            "announced by its owner to all",
            version_6(58, mine_6, all, &neighbour(136, mine_6)),
            [false, true],
        ),
        ("tagged, to it", tagged(&[0x8100], &version_4(0, other, mine)), [true, false]),
        ("tagged, from it", tagged(&[0x88a8], &version_4(2, mine, other)), [false, true]),
        ("tagged twice, to it", tagged(&[0x88a8, 0x8100], &version_4(0, other, mine)), to),
        ("tagged twice, between others", tagged(&[0x8100; 2], &version_4(0, other, other)), no),
        ("tagged, IPv6 from it", tagged(&[0x8100], &version_6(17, mine_6, other_6, &[0; 8])), from),
        (
            "tagged twice, solicited",
            tagged(&[0x8100; 2], &version_6(58, other_6, group, &neighbour(135, mine_6))),
            to,
        ),
        ("tagged, ARP: who has it", tagged(&[0x8100], &arp(6, other, mine)), to),
        ("tagged, ARP: it is there", tagged(&[0x8100; 2], &arp(6, mine, other)), from),
        ("tagged, ARP announcement", tagged(&[0x8100], &arp(6, mine, mine)), from),
        ("tagged, no protocol of ours", tagged(&[0x8100], &frame(0x88b5, &mine)), no),
        ("tagged three times", tagged(&[0x8100; 3], &version_4(0, other, mine)), no),
        ("no protocol of ours", frame(0x88b5, &mine), [false, false]),
    ];
    let times = 10_000;
    for is_open in [false, true] {
        if is_open {
            for number in known.values() {
                maps.set_grant(*number, crate::clock::boottime());
                maps.set_deadline(*number, Instant::FAR);
            }
        }
        for (what, frame, speaks) in &frames {
            for (program, speaks) in [&ingress, &egress].into_iter().zip(speaks) {
                let (verdict, took) = bpf::judge(program.as_fd(), frame, times).unwrap();
                let expected = if *speaks && !is_open { DROP } else { PASS };
                assert_eq!(verdict, expected, "{what}, open: {is_open}");
                println!("{what}, speaks for it: {speaks}, open: {is_open}: {took:?}");
            }
        }
    }
    let counted: u64 = known.values().map(|number| maps.state(*number).dropped).sum();
    let drops = frames.iter().flat_map(|(_, _, speaks)| speaks).filter(|speaks| **speaks).count();
    assert_eq!(counted, drops as u64 * u64::from(times));

    // A revocation ends the right to pass, an unknown slot is no right.
    let number = known[&IpAddr::from(mine)];
    maps.set_revoked(number, crate::clock::boottime());
    assert_eq!(bpf::judge(ingress.as_fd(), &frames[0].1, 1).unwrap().0, DROP);
    // What is too short to have an address is dropped, whoever it is for.
    let mut short = arp(6, other, other);
    short.truncate(14 + 10);
    assert_eq!(bpf::judge(ingress.as_fd(), &short, 1).unwrap().0, DROP);
}
