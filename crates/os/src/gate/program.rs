//! What the kernel does with each packet of each gated interface.
//!
//! Intuition: a packet *speaks for* an address when it is sent to it and would be answered, or comes
//! from it. If that is a service address, the packet passes only while the address's slot says so:
//!
//! | | in | out |
//! |---|---|---|
//! | IPv4, IPv6 | destination | source |
//! | ARP (RFC 826) | target, unless it is the sender | sender |
//! | neighbour discovery (RFC 4861) | target of a solicitation | target of an advertisement |
//!
//! So what makes no claim passes always: an ARP probe (sender 0.0.0.0), a probe of duplicate detection
//! (source `::`). **What others announce comes in, also for a closed address**, because every node but
//! the owner is closed and must hear where the address is now: in ARP that is a frame whose sender and
//! target are the same (RFC 5227, 3), in neighbour discovery an advertisement that nobody asked for (RFC
//! 4861, 7.2.6), which comes to all nodes and not to the address. If the address is here as well, the
//! kernel would answer a frame of ARP; that answer is dropped on its way out.
//!
//! **Rule:** open while `now < deadline` and `grant > revoked` ([`super`]); a packet of which the
//! program cannot say whether it is open is dropped. What is *not* about this machine must not be
//! hurt by a closed slot, because the address is closed on all nodes but one:
//! - A frame for another station (`PACKET_OTHERHOST`) that comes in is for a bridge at most; the
//!   kernel's own protocols throw it away (ip(7), packet(7)).
//! - A packet that comes in for a closed address, or is passed on from one, is let through if the
//!   kernel would forward packets for that address: then it is on another machine, and this one is a
//!   router (of containers, of virtual machines). If the address is on this machine the route
//!   is a local one and the packet is dropped.
//!
//! Addresses stand at fixed places after the beginning of the network header, which the kernel knows
//! for each packet: the VLAN tag that the kernel has taken off, tunnels without Ethernet header, IPv4
//! options and IPv6 extension headers do not move them. A tag that is still in the frame (the second
//! of two with priorities alone; on a VLAN interface that puts tags on by itself, `reorder_hdr off`) stands
//! where the network header should: two bytes of the tag, then the true type (IEEE 802.1Q, 9.6). Up to
//! two such tags are stepped over; what has more speaks for nobody: an answer to it goes out without
//! them. A neighbour solicitation behind extension headers is not recognised when
//! it comes in; the advertisement that answers it has none and is dropped when it goes out.
//!
//! The verdict of what passes is "unspecified", so other programs' filters are asked as well.

use super::assembler::{Assembler, Register, When, Width};
use super::{DEADLINE, DROPPED, GRANT, PASSED, REVOKED};

// Functions of the kernel (linux/bpf.h).
const MAP_LOOKUP: i32 = 1;
const PULL_DATA: i32 = 39;
const LOAD_BYTES_RELATIVE: i32 = 68;
const FIB_LOOKUP: i32 = 69;
const BOOT_NANOS: i32 = 125;

// Fields of the packet's description (struct __sk_buff).
const LENGTH: i16 = 0;
const KIND: i16 = 4;
const PROTOCOL: i16 = 16;
const CAME_FROM: i16 = 36;
const INTERFACE: i16 = 40;
const OTHER_STATION: i32 = 3;

// Ethernet types, ICMPv6.
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;
/// Bytes of a tag.
const TAG: i32 = 4;
const ICMPV6: i32 = 58;
const SOLICITATION: i32 = 135;
const ADVERTISEMENT: i32 = 136;
const IPV6_HEADER: i32 = 40;

// Answers of the look into the routes that mean: this machine would pass the packet on.
const FORWARDED: i32 = 0;
const FORWARDED_WITHOUT_NEIGHBOUR: i32 = 7;
const FORWARDED_TOO_LONG: i32 = 8;

const DROP: i32 = 2;
const UNSPECIFIED: i32 = -1;

/// Enough to hold all headers that are looked at, whatever is before the network header.
const HEADERS: i32 = 128;

// Registers that calls keep.
const PACKET: Register = 6;
/// Where an address of neighbour discovery is that is still to be looked at, or 0.
const NEXT: Register = 7;
const SLOT: Register = 8;
const FLAGS: Register = 9;
const STACK: Register = 10;

/// The headers were moved to where they can be read.
const PULLED: i32 = 1;
/// What is being looked at is an address of neighbour discovery.
const NEIGHBOUR: i32 = 2;

// Places on the stack.
const KEY: i16 = -16;
const KEY_V4: i16 = KEY + 12;
const NUMBER: i16 = -20;
const BYTE: i16 = -24;
/// Bytes of tags between the network header, as the kernel has it, and the true one.
const SHIFT: i16 = -28;
/// The Ethernet type behind the tags.
const TYPE: i16 = -32;
/// The sender of an ARP frame, while nothing is asked about routes.
const SENDER: i16 = -36;
const ROUTE: i16 = -96;

// Places in the question for a route (struct bpf_fib_lookup).
const ROUTE_SIZE: i16 = 64;
const ROUTE_INTERFACE: i16 = ROUTE + 8;
const ROUTE_DESTINATION: i16 = ROUTE + 32;

/// Which way the packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// An Ethernet type as the packet's description has it.
fn network_order(kind: u16) -> i32 {
    i32::from(kind.to_be())
}

/// Reads `length` bytes at (register 2) after the network header to the stack.
fn read(a: &mut Assembler, to: i16, length: i32) {
    const FROM_NETWORK_HEADER: i32 = 1;
    a.copy(1, PACKET);
    a.load(Width::Word, 3, STACK, SHIFT);
    a.add_register(2, 3);
    a.copy(3, STACK);
    a.add(3, to.into());
    a.set(4, length);
    a.set(5, FROM_NETWORK_HEADER);
    a.call(LOAD_BYTES_RELATIVE);
    a.jump_when(0, When::NotEqual, 0, "unreadable");
}

fn read_at(a: &mut Assembler, offset: i32, to: i16, length: i32) {
    a.set(2, offset);
    read(a, to, length);
}

/// The program for one direction: `addresses` has the numbers of slots by 16-byte address (IPv4
/// mapped), `slots` has the slots.
pub(super) fn assemble(direction: Direction, addresses: i32, slots: i32) -> Vec<u64> {
    let inwards = direction == Direction::In;
    let mut a = Assembler::default();
    a.copy(PACKET, 1);
    a.set(FLAGS, 0);

    a.label("start");
    a.set(NEXT, 0);
    a.store_number(Width::Word, STACK, KEY, 0);
    a.store_number(Width::Word, STACK, KEY + 4, 0);
    a.store_number(Width::Word, STACK, KEY + 8, 0xffff_u32.to_be().cast_signed());
    a.store_number(Width::Word, STACK, KEY_V4, 0);
    a.store_number(Width::Word, STACK, SHIFT, 0);
    a.load(Width::Word, 2, PACKET, PROTOCOL);
    for (tagged, next) in [("tag", "after a tag"), ("second tag", "untagged")] {
        a.jump_when(2, When::Equal, network_order(VLAN), tagged);
        a.jump_when(2, When::NotEqual, network_order(SERVICE_VLAN), "untagged");
        a.label(tagged);
        read_at(&mut a, 2, BYTE, 2);
        a.load(Width::Word, 3, STACK, SHIFT);
        a.add(3, TAG);
        a.store(Width::Word, STACK, SHIFT, 3);
        a.load(Width::Half, 2, STACK, BYTE);
        a.label(next);
    }
    a.store(Width::Word, STACK, TYPE, 2);
    a.jump_when(2, When::Equal, network_order(IPV4), "ipv4");
    a.jump_when(2, When::Equal, network_order(IPV6), "ipv6");
    a.jump_when(2, When::Equal, network_order(ARP), "arp");
    a.jump("pass");

    a.label("ipv4");
    read_at(&mut a, if inwards { 16 } else { 12 }, KEY_V4, 4);
    a.jump("look");

    // Both protocol addresses come after hardware addresses of a stated length.
    a.label("arp");
    read_at(&mut a, 4, BYTE, 1);
    a.load(Width::Byte, 2, STACK, BYTE);
    a.add(2, 8);
    read(&mut a, if inwards { SENDER } else { KEY_V4 }, 4);
    if inwards {
        a.load(Width::Byte, 2, STACK, BYTE);
        a.add_register(2, 2);
        a.add(2, 12);
        read(&mut a, KEY_V4, 4);
        a.load(Width::Word, 1, STACK, SENDER);
        a.load(Width::Word, 2, STACK, KEY_V4);
        a.jump_when_register(1, When::Equal, 2, "pass");
    }
    a.jump("look");

    a.label("ipv6");
    read_at(&mut a, 6, BYTE, 1);
    a.load(Width::Byte, 1, STACK, BYTE);
    a.jump_when(1, When::NotEqual, ICMPV6, "ipv6 address");
    read_at(&mut a, IPV6_HEADER, BYTE, 1);
    a.load(Width::Byte, 1, STACK, BYTE);
    let kind = if inwards { SOLICITATION } else { ADVERTISEMENT };
    a.jump_when(1, When::NotEqual, kind, "ipv6 address");
    a.set(NEXT, IPV6_HEADER + 8);
    a.label("ipv6 address");
    read_at(&mut a, if inwards { 24 } else { 8 }, KEY, 16);

    a.label("look");
    a.map(1, addresses);
    a.copy(2, STACK);
    a.add(2, KEY.into());
    a.call(MAP_LOOKUP);
    a.jump_when(0, When::Equal, 0, "next");
    a.load(Width::Word, 1, 0, 0);
    a.store(Width::Word, STACK, NUMBER, 1);
    a.map(1, slots);
    a.copy(2, STACK);
    a.add(2, NUMBER.into());
    a.call(MAP_LOOKUP);
    a.jump_when(0, When::Equal, 0, "refuse");
    a.copy(SLOT, 0);
    a.call(BOOT_NANOS);
    a.load(Width::Double, 1, SLOT, word(DEADLINE));
    a.jump_when_register(0, When::AtLeast, 1, "closed");
    a.load(Width::Double, 1, SLOT, word(GRANT));
    a.load(Width::Double, 2, SLOT, word(REVOKED));
    a.jump_when_register(1, When::AtMost, 2, "closed");
    a.set(1, 1);
    a.add_atomically(SLOT, word(PASSED), 1);

    a.label("next");
    a.jump_when(NEXT, When::Equal, 0, "pass");
    a.copy(2, NEXT);
    a.set(NEXT, 0);
    a.set_bits(FLAGS, NEIGHBOUR);
    read(&mut a, KEY, 16);
    a.jump("look");

    a.label("closed");
    if inwards {
        a.load(Width::Word, 1, PACKET, KIND);
        a.jump_when(1, When::Equal, OTHER_STATION, "pass");
    }
    a.jump_when(FLAGS, When::AnyBit, NEIGHBOUR, "drop");
    a.load(Width::Word, 2, STACK, TYPE);
    a.jump_when(2, When::Equal, network_order(ARP), "drop");
    ask_for_route(&mut a, if inwards { INTERFACE } else { CAME_FROM });

    a.label("drop");
    a.set(1, 1);
    a.add_atomically(SLOT, word(DROPPED), 1);
    a.label("refuse");
    a.set(0, DROP);
    a.exit();

    // The headers are not where they can be read: have them moved there, once.
    a.label("unreadable");
    a.jump_when(FLAGS, When::AnyBit, PULLED, "refuse");
    a.load(Width::Word, 2, PACKET, LENGTH);
    a.jump_when(2, When::AtMost, HEADERS, "short");
    a.set(2, HEADERS);
    a.label("short");
    a.copy(1, PACKET);
    a.call(PULL_DATA);
    a.jump_when(0, When::NotEqual, 0, "refuse");
    a.set(FLAGS, PULLED);
    a.jump("start");

    a.label("pass");
    a.set(0, UNSPECIFIED);
    a.exit();
    a.finish()
}

fn word(number: usize) -> i16 {
    i16::try_from(number * 8).expect("a slot is small")
}

/// Passes what this machine would forward, where `interface` says where it came in (0: from here).
/// Expects the Ethernet type in register 2; goes on behind when the packet is to be dropped.
fn ask_for_route(a: &mut Assembler, interface: i16) {
    a.load(Width::Word, 3, PACKET, interface);
    a.jump_when(3, When::Equal, 0, "drop");
    for part in (0..ROUTE_SIZE).step_by(8) {
        a.store_number(Width::Double, STACK, ROUTE + part, 0);
    }
    a.store(Width::Word, STACK, ROUTE_INTERFACE, 3);
    a.jump_when(2, When::Equal, network_order(IPV6), "route of ipv6");
    a.store_number(Width::Byte, STACK, ROUTE, libc::AF_INET);
    a.load(Width::Word, 1, STACK, KEY_V4);
    a.store(Width::Word, STACK, ROUTE_DESTINATION, 1);
    a.jump("route");
    a.label("route of ipv6");
    a.store_number(Width::Byte, STACK, ROUTE, libc::AF_INET6);
    for part in [0, 8] {
        a.load(Width::Double, 1, STACK, KEY + part);
        a.store(Width::Double, STACK, ROUTE_DESTINATION + part, 1);
    }
    a.label("route");
    a.copy(1, PACKET);
    a.copy(2, STACK);
    a.add(2, ROUTE.into());
    a.set(3, ROUTE_SIZE.into());
    a.set(4, 0);
    a.call(FIB_LOOKUP);
    for answer in [FORWARDED, FORWARDED_WITHOUT_NEIGHBOUR, FORWARDED_TOO_LONG] {
        a.jump_when(0, When::Equal, answer, "pass");
    }
}
