//! Programs of others that come before the gate, on interfaces of a network namespace of its own.
//!
//! A frame is let in by sending it into the other end of a cable; whether the gate was asked about it
//! is what its counter says, once the interface has counted it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::IntoRawFd;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::*;
use crate::ethernet::Ethernet;
use crate::gate::assembler::Assembler;
use crate::gate::{DaemonGate, Gate, GateError};
use crate::sys::bpf;

const NODE: &str = "order n1";
const TCX_INGRESS: u32 = 46;
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);

/// Puts the calling thread into a network namespace of its own, with a cable in it.
fn field() -> Option<[u32; 2]> {
    #[expect(deprecated, reason = "only the file-table flag of unshare is unsafe; not used here")]
    let isolated = rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET);
    if let Err(error) = isolated {
        println!("skipped: the kernel forbids a namespace here: {error}");
        return None;
    }
    let mut netlink = Netlink::open().unwrap();
    let mut make = Message::<256>::new(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, 0);
    make.put(&[0; 16]);
    make.attribute(IFLA_IFNAME, b"left\0");
    make.nested(IFLA_LINKINFO, |info| {
        info.attribute(1, b"veth");
        info.nested(2, |data| {
            data.nested(1, |peer| {
                peer.put(&[0; 16]);
                peer.attribute(IFLA_IFNAME, b"right\0");
            });
        });
    });
    make.finish();
    assert_eq!(netlink.ask(&mut make).unwrap(), 0);
    let interfaces = netlink.interfaces().unwrap();
    let ends = ["left", "right"].map(|name| {
        interfaces.iter().find(|interface| interface.name == name).expect("just made").index
    });
    for index in ends {
        let mut up = Message::<64>::new(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 0);
        for word in [0, index, 1, 1] {
            up.put(&u32::to_ne_bytes(word));
        }
        up.finish();
        assert_eq!(netlink.ask(&mut up).unwrap(), 0);
    }
    Some(ends)
}

fn open() -> Option<(Gate, DaemonGate, Attachments)> {
    let gate = match Gate::of_programs(NODE, &BTreeSet::from([IpAddr::from(SERVICE)])) {
        Ok(gate) => gate,
        Err(GateError::Kernel { source, .. }) if source.raw_os_error() == Some(libc::EPERM) => {
            println!("skipped: the kernel refuses bpf(2) here: {source}");
            return None;
        }
        Err(error) => panic!("{error}: {error:?}"),
    };
    let copies =
        gate.descriptors().expect("programs").map(|fd| rustix::io::dup(fd).unwrap().into_raw_fd());
    let (daemon, attachments) = DaemonGate::inherit(NODE, copies).unwrap();
    Some((gate, daemon, attachments))
}

/// A program that ends the matter with "pass" for every packet.
fn passes_all() -> OwnedFd {
    let mut code = Assembler::default();
    code.set(0, 0);
    code.exit();
    bpf::load_classifier(&code.finish(), "stranger", &mut []).unwrap()
}

fn received(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}:")));
    line.expect("it is there").split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Whether the gate is asked about a frame that comes in for the address, and drops it.
fn is_asked(daemon: &DaemonGate, right: u32) -> bool {
    let dropped = || daemon.slots()[0].1.dropped;
    let (before, count) = (dropped(), received("left"));
    let client = Ethernet::open(right).unwrap();
    let mut frame = vec![0xff; 12];
    frame.extend([0x08, 0x00, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([10, 9, 0, 9]);
    frame.extend(SERVICE.octets());
    frame.extend([0; 40]);
    client.send(&frame).unwrap();
    // A frame is counted before the gate is asked about it, and frames come one after the other: when
    // two more are counted, one of which is ours, the first has been judged.
    let marker = [[0xff; 12].as_slice(), &[0x88, 0xb5], &[0; 46]].concat();
    for _ in 0..100_000 {
        if received("left") >= count + 3 {
            return dropped() > before;
        }
        client.send(&marker).unwrap();
        std::thread::yield_now();
    }
    panic!("the frames never came");
}

/// Somebody's filter for what comes in.
fn put_filter(
    attachments: &mut Attachments,
    (interface, place, number): (u32, u32, u32),
    kind: &[u8],
    options: impl FnOnce(&mut Message<320>),
) {
    let place = filter_info(place);
    let mut message =
        request(RTM_NEWTFILTER, NLM_F_CREATE, interface, DIRECTIONS[0], number, place);
    message.attribute(TCA_KIND, kind);
    message.nested(TCA_OPTIONS, options);
    message.finish();
    assert_eq!(attachments.netlink.ask(&mut message).unwrap(), 0);
}

/// Of kind bpf, at the head of the gate's place.
fn put_program(attachments: &mut Attachments, interface: u32, number: u32, program: &OwnedFd) {
    put_filter(attachments, (interface, 1, number), b"bpf\0", |options| {
        options.attribute(TCA_BPF_FD, &program.as_raw_fd().to_ne_bytes());
        options.attribute(TCA_BPF_NAME, b"stranger\0");
        options.attribute(TCA_BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes());
    });
}

/// Of a kind that has its place for itself, and lets everything pass.
fn put_match_all(attachments: &mut Attachments, interface: u32, place: u32) {
    put_filter(attachments, (interface, place, 0), b"u32\0", |options| {
        // TCA_U32_SEL: struct tc_u32_sel, which ends the matter, with one key that nothing fails.
        let mut selector = [0; 32];
        (selector[0], selector[2]) = (1, 1);
        options.attribute(5, &selector);
    });
}

fn programs(interface: u32) -> usize {
    let mut ids = [0; 64];
    bpf::attached(interface, TCX_INGRESS, &mut ids).unwrap()
}

/// Whether this kernel has programs of the newer kind.
fn has_tcx(interface: u32) -> bool {
    let row = order::read(interface, 0).unwrap();
    if row.is_none() {
        println!("skipped: this kernel has no tcx");
    }
    row.is_some()
}

fn before(attachments: &mut Attachments) -> Vec<String> {
    let survey = attachments.survey().unwrap();
    survey.into_iter().find(|one| one.name == "left").expect("it is there").before
}

/// Nothing is moved twice within a second, which is not what is tested here.
fn in_peace(attachments: &mut Attachments) -> Kept {
    attachments.peace_until = Instant::ZERO;
    attachments.keep().unwrap()
}

#[test]
fn a_filter_that_comes_before_the_gate_is_seen_and_overtaken() {
    let Some([left, right]) = field() else { return };
    let Some((gate, daemon, mut attachments)) = open() else { return };
    assert!(is_asked(&daemon, right), "the gate is alone");
    assert_eq!(in_peace(&mut attachments), Kept { gated: 2, ..Kept::default() });

    let stranger = passes_all();
    put_program(&mut attachments, left, 7, &stranger);
    assert_eq!(before(&mut attachments), ["in: filter of kind bpf stranger, pref 1"]);
    assert!(!is_asked(&daemon, right), "it decides in the gate's stead");
    attachments.peace_until = crate::clock::boottime() + PEACE * 60;
    let kept = attachments.keep().unwrap();
    assert_eq!((kept.moved, kept.behind), (0, Some(left)), "no quarrel without end");
    let kept = in_peace(&mut attachments);
    assert_eq!((kept.moved, kept.behind), (1, None));
    assert!(is_asked(&daemon, right), "the gate is first again");
    assert_eq!(before(&mut attachments), [""; 0]);
    let seen = attachments.look(left, DIRECTIONS[0]).unwrap();
    assert_eq!((seen.others, seen.second), (1, None), "it is not doubled");

    // Again, and back to the former number.
    put_program(&mut attachments, left, 8, &stranger);
    assert!(!is_asked(&daemon, right));
    assert_eq!(in_peace(&mut attachments).moved, 1);
    assert!(is_asked(&daemon, right));
    assert_eq!(in_peace(&mut attachments).moved, 0, "nothing is left to be done");
    gate.remove().unwrap();
    let seen = attachments.look(left, DIRECTIONS[0]).unwrap();
    assert!(seen.ours.is_none() && seen.others == 2, "only what is ours is taken away");
}

#[test]
fn a_program_of_the_newer_kind_is_seen_and_overtaken() {
    let Some([left, right]) = field() else { return };
    let Some((gate, daemon, mut attachments)) = open() else { return };
    if !has_tcx(left) {
        return;
    }
    let stranger = passes_all();
    bpf::attach_first(left, TCX_INGRESS, stranger.as_fd()).unwrap();
    assert_eq!(before(&mut attachments), ["in: tcx program stranger"]);
    assert!(!is_asked(&daemon, right), "nobody asks the gate");
    let kept = in_peace(&mut attachments);
    assert_eq!((kept.moved, kept.behind, kept.attached), (1, None, 0));
    assert!(is_asked(&daemon, right), "the gate is before it");
    assert_eq!((before(&mut attachments), programs(left)), (vec![], 2));
    assert_eq!(in_peace(&mut attachments).moved, 0);

    // Another one comes before it.
    let other = passes_all();
    bpf::attach_first(left, TCX_INGRESS, other.as_fd()).unwrap();
    assert!(!is_asked(&daemon, right));
    attachments.peace_until = crate::clock::boottime() + PEACE * 60;
    assert_eq!(attachments.keep().unwrap().behind, Some(left));
    assert_eq!(in_peace(&mut attachments).moved, 1);
    assert!(is_asked(&daemon, right));
    assert_eq!(programs(left), 3);

    // The next life of the guard finds it, has one of it, and adopts its memory even if the filters were
    // taken away meanwhile.
    drop((gate, daemon, attachments));
    let mut netlink = Netlink::open().unwrap();
    let mut gone = request(RTM_DELQDISC, 0, left, CLSACT, CLSACT_HANDLE, 0);
    gone.finish();
    assert_eq!(netlink.ask(&mut gone).unwrap(), 0);
    let (gate, daemon, mut attachments) = open().expect("it could be opened before");
    assert!(gate.was_there());
    assert_eq!((before(&mut attachments), programs(left)), (vec![], 3));
    assert!(is_asked(&daemon, right));

    // Nobody else is left: the filter is enough.
    for stranger in [&stranger, &other] {
        bpf::detach(left, TCX_INGRESS, stranger.as_fd()).unwrap();
    }
    in_peace(&mut attachments);
    assert_eq!(programs(left), 0);
    assert!(is_asked(&daemon, right));
    bpf::attach_first(left, TCX_INGRESS, stranger.as_fd()).unwrap();
    assert_eq!(in_peace(&mut attachments).moved, 1);
    gate.remove().unwrap();
    assert_eq!(programs(left), 1, "only what is ours is taken away");
}

#[test]
fn where_no_filter_can_be_before_another_one_the_newer_kind_is() {
    let Some([left, right]) = field() else { return };
    let Some((_gate, daemon, mut attachments)) = open() else { return };
    attachments.remove().unwrap();
    let mut make = request(RTM_NEWQDISC, NLM_F_CREATE, left, CLSACT, CLSACT_HANDLE, 0);
    make.attribute(TCA_KIND, b"clsact\0");
    make.finish();
    assert_eq!(attachments.netlink.ask(&mut make).unwrap(), 0);
    put_match_all(&mut attachments, left, 1);
    if !has_tcx(left) {
        return;
    }
    attachments.peace_until = crate::clock::boottime() + PEACE * 60;
    let kept = attachments.keep().unwrap();
    assert_eq!((kept.attached, kept.moved, kept.behind), (4, 0, Some(left)));
    assert_eq!(before(&mut attachments), ["in: filter of kind u32, pref 1"]);
    assert!(!is_asked(&daemon, right), "it decides in the gate's stead");
    let kept = in_peace(&mut attachments);
    assert_eq!((kept.attached, kept.moved, kept.behind), (0, 1, None));
    let seen = attachments.look(left, DIRECTIONS[0]).unwrap();
    assert_eq!((seen.before > 0, seen.ours.map(|ours| ours.0)), (true, Some(2)));
    assert!(is_asked(&daemon, right), "before the filter that takes all");
    assert_eq!(before(&mut attachments), [""; 0]);
    assert_eq!(in_peace(&mut attachments).moved, 0, "nothing is moved for nothing");
}

/// With `CAP_BPF` alone: who cannot be told from others later is not put before them.
#[test]
fn what_could_not_be_taken_away_is_not_put_there() {
    let Some([left, _]) = field() else { return };
    let Some((gate, _daemon, mut attachments)) = open() else { return };
    if !has_tcx(left) {
        return;
    }
    let stranger = passes_all();
    bpf::attach_first(left, TCX_INGRESS, stranger.as_fd()).unwrap();
    let all = capabilities(None).unwrap();
    let few = all.effective - CapabilitySet::SYS_ADMIN;
    set_capabilities(None, CapabilitySets { effective: few, ..all }).unwrap();
    let kept = in_peace(&mut attachments);
    assert_eq!((kept.moved, kept.behind), (0, Some(left)));
    assert_eq!(programs(left), 1);
    set_capabilities(None, all).unwrap();
    assert_eq!(in_peace(&mut attachments).moved, 1);
    assert_eq!(programs(left), 2);
    gate.remove().unwrap();
    assert_eq!(programs(left), 1);
}
