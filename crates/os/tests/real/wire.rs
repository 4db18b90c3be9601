//! Frames of one cluster on a virtual cable, in network namespaces.

use os::netlink::Netlink;
use os::udp::Sent;
use os::wire::Wire;
use rustix::io::Errno;
use rustix::thread::UnshareFlags;

use crate::scene::{cable, isolate, remove, set_up, wait_for};

const TYPE: u16 = 0x88b5;
const NO_DEVICE: Option<i32> = Some(Errno::NODEV.raw_os_error());
const CLUSTER: u32 = 0x0a0b_0c0d;

fn mac(index: u32) -> [u8; 6] {
    let interfaces = Netlink::open().unwrap().interfaces().unwrap();
    interfaces.iter().find(|one| one.index == index).unwrap().mac.expect("an Ethernet address")
}

fn frame(cluster: u32, length: usize) -> Vec<u8> {
    let mut bytes = b"MS\x01\x01".to_vec();
    bytes.extend(cluster.to_be_bytes());
    bytes.resize(length, 0x5a);
    bytes
}

/// Sends until the first frame arrives: the kernel switches a cable's queue on a moment later.
fn warm_up(from: &mut Wire, to: &mut Wire) {
    let first = frame(CLUSTER, 10);
    wait_for("the cable", || {
        assert!(matches!(from.send(None, &first).unwrap(), Sent::Taken | Sent::NoWay));
        (to.drain(100, |_, _| {}).unwrap().count > 0).then_some(())
    });
    // Frames cross the cable in their order: when this one is here, no former one is under way.
    let last = frame(CLUSTER, 11);
    assert_eq!(from.send(None, &last).unwrap(), Sent::Taken);
    wait_for("the last one", || {
        let mut is_here = false;
        to.drain(100, |_, bytes| is_here |= bytes == last).unwrap();
        is_here.then_some(())
    });
}

/// What arrives up to and including `last`.
fn until(wire: &mut Wire, last: &[u8]) -> Vec<([u8; 6], Vec<u8>)> {
    let mut taken: Vec<([u8; 6], Vec<u8>)> = Vec::new();
    wait_for("the last frame", || {
        wire.drain(100, |source, bytes| taken.push((source, bytes.to_vec()))).unwrap();
        taken.last().is_some_and(|(_, bytes)| bytes == last).then_some(())
    });
    taken
}

#[test]
fn only_frames_of_the_cluster_pass_the_kernel() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (left, right) = cable("left", "right");
    let mut sender = Wire::open(left, TYPE, CLUSTER).unwrap();
    let mut listener = Wire::open(right, TYPE, CLUSTER).unwrap();
    assert_eq!(listener.interface(), right);
    warm_up(&mut sender, &mut listener);
    let before = listener.counters().received;

    let mut other_type = Wire::open(left, TYPE + 1, CLUSTER).unwrap();
    assert_eq!(other_type.send(None, &frame(CLUSTER, 100)).unwrap(), Sent::Taken);
    let mut other_magic = frame(CLUSTER, 100);
    other_magic[1] = b'X';
    let mut other_version = frame(CLUSTER, 100);
    other_version[2..4].copy_from_slice(&[7, 9]);
    let unwanted = [
        frame(CLUSTER + 1, 100),
        frame(CLUSTER.swap_bytes(), 100),
        other_magic,
        frame(CLUSTER, 7),
        vec![b'M'],
        vec![0; 1_200],
    ];
    let wanted = [frame(CLUSTER, 1_200), other_version, frame(CLUSTER, 8), frame(CLUSTER, 60)];
    for bytes in unwanted.iter().chain(&wanted) {
        for to in [None, Some(mac(right))] {
            assert_eq!(sender.send(to, bytes).unwrap(), Sent::Taken);
        }
    }
    let other_station = Some([2, 0, 0, 0, 0, 9]);
    assert_eq!(sender.send(other_station, &frame(CLUSTER, 99)).unwrap(), Sent::Taken);
    let last = frame(CLUSTER, 500);
    assert_eq!(sender.send(None, &last).unwrap(), Sent::Taken);

    let mut expected: Vec<_> =
        wanted.iter().flat_map(|bytes| [bytes.clone(), bytes.clone()]).collect();
    expected.push(last.clone());
    let taken = until(&mut listener, &last);
    assert!(taken.iter().all(|(source, _)| *source == mac(left)));
    let taken: Vec<Vec<u8>> = taken.into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(taken, expected);
    // Nothing else got as far as this process, on either end.
    assert_eq!(listener.counters().received - before, expected.len() as u64);
    assert_eq!(sender.drain(10, |_, _| {}).unwrap().count, 0, "what was sent is not heard");

    // And back, to one station.
    assert_eq!(listener.send(Some(mac(left)), &frame(CLUSTER, 70)).unwrap(), Sent::Taken);
    assert_eq!(until(&mut sender, &frame(CLUSTER, 70))[0].0, mac(right));
}

#[test]
fn a_flood_is_taken_in_bounded_turns() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (left, right) = cable("left", "right");
    let mut sender = Wire::open(left, TYPE, CLUSTER).unwrap();
    let mut listener = Wire::open(right, TYPE, CLUSTER).unwrap();
    warm_up(&mut sender, &mut listener);
    for number in 0..50 {
        assert_eq!(sender.send(None, &frame(CLUSTER, 100 + number)).unwrap(), Sent::Taken);
    }
    let mut taken = 0;
    wait_for("the first turn", || {
        let drained = listener.drain(20 - taken, |_, _| {}).unwrap();
        taken += drained.count;
        assert_eq!(drained.more, taken == 20, "the bound ended the turn, or the queue was empty");
        (taken == 20).then_some(())
    });
    assert_eq!(until(&mut listener, &frame(CLUSTER, 149)).len(), 30);
}

#[test]
fn links_and_interfaces_come_and_go() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    let (left, right) = cable("left", "right");
    let mut sender = Wire::open(left, TYPE, CLUSTER).unwrap();
    let mut listener = Wire::open(right, TYPE, CLUSTER).unwrap();
    warm_up(&mut sender, &mut listener);

    let too_long = frame(CLUSTER, 2_000);
    assert_eq!(sender.send(None, &too_long).unwrap(), Sent::Refused(Errno::MSGSIZE.raw_os_error()));
    set_up(left, false);
    assert_eq!(sender.send(None, &frame(CLUSTER, 50)).unwrap(), Sent::NoWay);
    assert_eq!(sender.drain(10, |_, _| {}).unwrap().count, 0, "down is not gone");
    set_up(right, false);
    assert_eq!(listener.drain(10, |_, _| {}).unwrap().count, 0);
    set_up(left, true);
    set_up(right, true);
    warm_up(&mut sender, &mut listener);
    let counters = sender.counters();
    assert!(counters.no_way >= 1 && counters.refused == 1, "{counters:?}");

    remove(left);
    let gone = |error: std::io::Error| assert_eq!(error.raw_os_error(), NO_DEVICE, "{error}");
    gone(sender.send(None, &frame(CLUSTER, 50)).unwrap_err());
    gone(sender.send(Some([2; 6]), &frame(CLUSTER, 50)).unwrap_err());
    gone(listener.drain(10, |_, _| {}).unwrap_err());
    gone(sender.reopen(left).unwrap_err());

    // An interface of the same name is another one.
    let (left, right) = cable("left", "right");
    gone(listener.send(None, &frame(CLUSTER, 50)).unwrap_err());
    sender.reopen(left).unwrap();
    listener.reopen(right).unwrap();
    assert_eq!((listener.interface(), listener.counters().rebinds), (right, 1));
    warm_up(&mut sender, &mut listener);
    assert!(sender.counters().sent > counters.sent, "counters go on");
}

#[test]
fn what_cannot_be_a_wire_is_refused() {
    if !isolate(UnshareFlags::NEWNET) {
        return;
    }
    assert_eq!(Wire::open(99, TYPE, CLUSTER).unwrap_err().raw_os_error(), NO_DEVICE);
    let error = Wire::open(1, 1_500, CLUSTER).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "0x05dc is a length and no EtherType");
    // The loop has addresses like Ethernet's; its frames come back as those of others.
    set_up(1, true);
    let mut one = Wire::open(1, TYPE, CLUSTER).unwrap();
    assert_eq!(one.send(None, &frame(CLUSTER, 60)).unwrap(), Sent::Taken);
    assert_eq!(until(&mut one, &frame(CLUSTER, 60)).len(), 1);
}
