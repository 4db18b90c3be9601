//! The rules of the gate, as nf_tables has them.
//!
//! ```text
//! table inet "mainstay n1"
//!   chain in    prerouting,  before anything else:  to a closed address   → judge-in
//!   chain out   output,      after everything else: from a closed address → judge
//!                            a neighbour advertisement about a closed one  → judge
//!   chain post  postrouting, after translation:     from a closed address → judge-post
//!   chain judge-in:  an address that is not on this machine passes; else → judge
//!   chain judge-post: likewise
//!   chain judge: count, drop
//! table arp "mainstay n1"
//!   chain out   output: sent for a closed address → count, drop
//! ```
//!
//! An address is *closed* when it is in the set of service addresses and not in the set of open ones; the
//! elements of the latter end by themselves. The loop is not gated. Nobody can let pass what is dropped
//! here: in this place of the kernel a packet must be accepted by all chains.
//!
//! ARP and neighbour discovery are stopped on their way out alone: a question is not answered.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use super::batch::{Ask, Batch, Family, Transaction};
use crate::netlink::{each_attribute, u32_at};

/// Elements of a set in one message; an attribute has less than 64 KiB.
const ELEMENTS_MAX: usize = 1_000;

/// The loop's number in every network namespace.
const LOOP: u32 = 1;
const ICMPV6: u8 = 58;
const ADVERTISEMENT: u8 = 136;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// `RTN_LOCAL`
const LOCAL: u32 = 2;

// Hooks and priorities (linux/netfilter.h, netfilter_ipv4.h, netfilter_arp.h).
const PRE_ROUTING: u32 = 0;
const LOCAL_OUT: u32 = 3;
const POST_ROUTING: u32 = 4;
const ARP_OUT: u32 = 1;
const FIRST: i32 = -500;
const LAST: i32 = 500;

// Keys and codes of expressions (linux/netfilter/nf_tables.h).
const META_IIF: u32 = 4;
const META_OIF: u32 = 5;
const META_FAMILY: u32 = 15;
const META_PROTOCOL: u32 = 16;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const NOT_EQUAL: u32 = 1;
const EQUAL: u32 = 0;
const SET_HAS_TIMEOUT: u32 = 0x10;
const FIB_SOURCE: u32 = 1;
const FIB_DESTINATION: u32 = 2;
const FIB_KIND: u32 = 3;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const GOTO: u32 = (-4_i32).cast_unsigned();

/// Transactions that are sent one after the other: see [`super::push`].
pub(super) const FENCE: &str = "fence";

/// The sets of one length of addresses in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sets {
    pub(super) family: Family,
    pub(super) known: &'static str,
    pub(super) counted: &'static str,
    pub(super) open: &'static str,
    length: u32,
}

pub(super) const SETS: [Sets; 3] = [
    Sets { family: Family::Inet, known: "known4", counted: "dropped4", open: "open4", length: 4 },
    Sets { family: Family::Inet, known: "known6", counted: "dropped6", open: "open6", length: 16 },
    Sets { family: Family::Arp, known: "known4", counted: "dropped4", open: "open4", length: 4 },
];
const V4: Sets = SETS[0];
const V6: Sets = SETS[1];
const ARP: Sets = SETS[2];

/// Those that have each address once.
pub(super) const ALL: [Sets; 2] = [V4, V6];

/// Bytes of the longest transaction that makes the table: an IPv4 address is in four sets, 16 bytes each.
pub(super) const LENGTH_MAX: usize = (64 << 10) + 64 * crate::gate::SLOTS_MAX;

impl Sets {
    /// The address as an element, if it belongs here.
    fn element(self, address: IpAddr, milliseconds: Option<u64>) -> Option<Element> {
        let mut key = [0; KEY_MAX];
        match address {
            IpAddr::V4(address) if self.length == 4 => key[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) if self.length == 16 => key = address.octets(),
            _ => return None,
        }
        Some(Element { key, length: self.length as usize, milliseconds })
    }

    fn address(self, key: &[u8]) -> Option<IpAddr> {
        match self.length {
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(key).ok()?)),
            _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(key).ok()?).into()),
        }
    }
}

const KEY_MAX: usize = 16;

/// An element of a set, and how long it is there.
#[derive(Clone, Copy, Debug)]
struct Element {
    key: [u8; KEY_MAX],
    length: usize,
    milliseconds: Option<u64>,
}

impl Element {
    fn fence(key: u64, milliseconds: Option<u64>) -> Element {
        let mut element = Element { key: [0; KEY_MAX], length: 8, milliseconds };
        element.key[..8].copy_from_slice(&key.to_ne_bytes());
        element
    }
}

/// All families that have a table.
pub(super) const FAMILIES: [Family; 2] = [Family::Inet, Family::Arp];

/// Makes everything new in one transaction, whether something is there or not: closed, with these
/// addresses. Does not allocate where `room`, the memory of a former transaction, is enough.
pub(super) fn build<'a>(
    table: &str,
    addresses: impl Iterator<Item = &'a IpAddr> + Clone,
    room: Vec<u8>,
) -> Transaction {
    let mut batch = Batch::begin_in(room);
    for family in FAMILIES {
        // What is not there cannot be deleted.
        for ask in [Ask::NewTable, Ask::DeleteTable, Ask::NewTable] {
            batch.add(ask, family, |message| message.text(1, table));
        }
    }
    for sets in SETS {
        add_set(&mut batch, table, sets.family, sets.known, sets.length, Extra::None);
        add_set(&mut batch, table, sets.family, sets.counted, sets.length, Extra::Counter);
        add_set(&mut batch, table, sets.family, sets.open, sets.length, Extra::Timeout);
    }
    add_set(&mut batch, table, Family::Inet, FENCE, 8, Extra::Timeout);

    let inet = |batch: &mut Batch, name, hook| add_chain(batch, table, Family::Inet, name, hook);
    inet(&mut batch, "judge", None);
    inet(&mut batch, "judge-in", None);
    inet(&mut batch, "judge-post", None);
    inet(&mut batch, "in", Some((PRE_ROUTING, FIRST)));
    inet(&mut batch, "out", Some((LOCAL_OUT, LAST)));
    inet(&mut batch, "post", Some((POST_ROUTING, LAST)));
    for (sets, version, source, destination) in [(V4, IPV4, 12, 16), (V6, IPV6, 8, 24)] {
        let rule = |batch: &mut Batch, chain, fill: &dyn Fn(&mut Rule<'_>)| {
            add_rule(batch, table, Family::Inet, chain, |rule| {
                rule.meta_is(META_FAMILY, &[version]);
                fill(rule);
            });
        };
        rule(&mut batch, "in", &|rule| {
            rule.meta_is_not(META_IIF, LOOP);
            rule.closed(sets, NETWORK_HEADER, destination);
            rule.goes_to("judge-in");
        });
        for (chain, judge) in [("out", "judge"), ("post", "judge-post")] {
            rule(&mut batch, chain, &|rule| {
                rule.meta_is_not(META_OIF, LOOP);
                rule.closed(sets, NETWORK_HEADER, source);
                rule.goes_to(judge);
            });
        }
        for (chain, from, at) in
            [("judge-in", FIB_DESTINATION, destination), ("judge-post", FIB_SOURCE, source)]
        {
            rule(&mut batch, chain, &|rule| {
                rule.is_elsewhere(from);
                rule.verdict(ACCEPT);
            });
            // Each address is counted where the judge cannot tell which one it is about.
            rule(&mut batch, chain, &|rule| {
                rule.load(NETWORK_HEADER, at, sets.length);
                rule.is_in(sets.counted);
                rule.verdict(DROP);
            });
        }
        rule(&mut batch, "judge", &|rule| {
            rule.load(NETWORK_HEADER, source, sets.length);
            rule.is_in(sets.counted);
            rule.verdict(DROP);
        });
    }
    add_rule(&mut batch, table, Family::Inet, "out", |rule| {
        rule.meta_is(META_PROTOCOL, &[ICMPV6]);
        rule.load(TRANSPORT_HEADER, 0, 1);
        rule.compare(EQUAL, &[ADVERTISEMENT]);
        rule.meta_is_not(META_OIF, LOOP);
        rule.closed(V6, TRANSPORT_HEADER, 8);
        rule.goes_to("judge");
    });
    for chain in ["judge", "judge-in", "judge-post"] {
        add_rule(&mut batch, table, Family::Inet, chain, |rule| rule.verdict(DROP));
    }

    add_chain(&mut batch, table, Family::Arp, "judge", None);
    add_chain(&mut batch, table, Family::Arp, "out", Some((ARP_OUT, LAST)));
    // The sender's protocol address comes after its hardware address: of Ethernet, of InfiniBand (which
    // is not counted).
    for hardware in [6, 20] {
        add_rule(&mut batch, table, Family::Arp, "out", |rule| {
            rule.load(NETWORK_HEADER, 4, 1);
            rule.compare(EQUAL, &[hardware]);
            rule.closed(ARP, NETWORK_HEADER, 8 + u32::from(hardware));
            rule.goes_to("judge");
        });
    }
    add_rule(&mut batch, table, Family::Arp, "judge", |rule| {
        rule.load(NETWORK_HEADER, 14, 4);
        rule.is_in(ARP.counted);
        rule.verdict(DROP);
    });
    add_rule(&mut batch, table, Family::Arp, "judge", |rule| rule.verdict(DROP));
    add_known(&mut batch, table, addresses);
    batch.end()
}

/// Takes everything away.
pub(super) fn take_away(table: &str) -> Transaction {
    let mut batch = Batch::begin();
    for family in FAMILIES {
        for ask in [Ask::NewTable, Ask::DeleteTable] {
            batch.add(ask, family, |message| message.text(1, table));
        }
    }
    batch.end()
}

fn add_known<'a>(
    batch: &mut Batch,
    table: &str,
    addresses: impl Iterator<Item = &'a IpAddr> + Clone,
) {
    for sets in SETS {
        for set in [sets.known, sets.counted] {
            let elements = addresses.clone().filter_map(|address| sets.element(*address, None));
            add_elements(batch, Ask::NewElements, (table, sets.family, set), elements);
        }
    }
}

/// Puts addresses under the gate, closed unless they are open, and takes others away.
pub(super) fn change_known(
    table: &str,
    added: &BTreeSet<IpAddr>,
    removed: &BTreeSet<IpAddr>,
) -> Transaction {
    let mut batch = Batch::begin();
    add_known(&mut batch, table, added.iter());
    for sets in SETS {
        for set in [sets.known, sets.counted] {
            let elements = removed.iter().filter_map(|address| sets.element(*address, None));
            add_elements(&mut batch, Ask::DeleteElements, (table, sets.family, set), elements);
        }
    }
    batch.end()
}

/// Puts up a fence that falls by itself: the first half of a push.
pub(super) fn put_up_fence(table: &str, key: u64, milliseconds: u64) -> Transaction {
    let mut batch = Batch::begin();
    let place = (table, Family::Inet, FENCE);
    flush(&mut batch, place);
    let fence = Element::fence(key, Some(milliseconds));
    add_elements(&mut batch, Ask::NewElements, place, [fence].into_iter());
    batch.end()
}

/// Has exactly these addresses open, each for so long, if this fence is still up: the second half.
pub(super) fn open(table: &str, fence: u64, open: &[(IpAddr, u64)]) -> Transaction {
    let mut batch = Batch::begin();
    let place = (table, Family::Inet, FENCE);
    let fence = Element::fence(fence, None);
    add_elements(&mut batch, Ask::DeleteElements, place, [fence].into_iter());
    replace_open(&mut batch, table, open);
    batch.end()
}

/// Has no address open.
pub(super) fn close_all(table: &str) -> Transaction {
    let mut batch = Batch::begin();
    replace_open(&mut batch, table, &[]);
    batch.end()
}

fn replace_open(batch: &mut Batch, table: &str, open: &[(IpAddr, u64)]) {
    for sets in SETS {
        let place = (table, sets.family, sets.open);
        flush(batch, place);
        let elements =
            open.iter().filter_map(|(address, ends)| sets.element(*address, Some(*ends)));
        add_elements(batch, Ask::NewElements, place, elements);
    }
}

type Place<'a> = (&'a str, Family, &'a str);

fn flush(batch: &mut Batch, (table, family, set): Place<'_>) {
    batch.add(Ask::DeleteElements, family, |message| {
        message.text(1, table);
        message.text(2, set);
    });
}

fn add_elements(
    batch: &mut Batch,
    ask: Ask,
    (table, family, set): Place<'_>,
    elements: impl Iterator<Item = Element>,
) {
    let mut elements = elements.peekable();
    while elements.peek().is_some() {
        batch.add(ask, family, |message| {
            message.text(1, table);
            message.text(2, set);
            message.nested(3, |list| {
                for element in elements.by_ref().take(ELEMENTS_MAX) {
                    list.nested(1, |message| {
                        let key = &element.key[..element.length];
                        message.nested(1, |value| value.attribute(1, key));
                        if let Some(milliseconds) = element.milliseconds {
                            message.attribute(4, &milliseconds.to_be_bytes());
                        }
                    });
                }
            });
        });
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extra {
    None,
    Counter,
    Timeout,
}

fn add_set(batch: &mut Batch, table: &str, family: Family, name: &str, length: u32, extra: Extra) {
    batch.add(Ask::NewSet, family, |message| {
        message.text(1, table);
        message.text(2, name);
        message.number(3, if extra == Extra::Timeout { SET_HAS_TIMEOUT } else { 0 });
        message.number(4, 0);
        message.number(5, length);
        message.number(10, 1);
        if extra == Extra::Counter {
            message.nested(17, |expression| {
                expression.text(1, "counter");
                expression.nested(2, |_| {});
            });
        }
    });
}

fn add_chain(batch: &mut Batch, table: &str, family: Family, name: &str, hook: Option<(u32, i32)>) {
    batch.add(Ask::NewChain, family, |message| {
        message.text(1, table);
        message.text(3, name);
        let Some((number, priority)) = hook else { return };
        message.nested(4, |hook| {
            hook.number(1, number);
            hook.number(2, priority.cast_unsigned());
        });
        message.number(5, ACCEPT);
        message.text(7, "filter");
    });
}

/// The expressions of one rule. Values go through register 1.
struct Rule<'a> {
    expressions: &'a mut Batch,
}

fn add_rule(
    batch: &mut Batch,
    table: &str,
    family: Family,
    chain: &str,
    fill: impl FnOnce(&mut Rule<'_>),
) {
    batch.add(Ask::NewRule, family, |message| {
        message.text(1, table);
        message.text(2, chain);
        message.nested(4, |expressions| fill(&mut Rule { expressions }));
    });
}

const REGISTER: u32 = 1;

impl Rule<'_> {
    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Batch)) {
        self.expressions.nested(1, |expression| {
            expression.text(1, name);
            expression.nested(2, fill);
        });
    }

    fn compare(&mut self, how: u32, value: &[u8]) {
        self.expression("cmp", |data| {
            data.number(1, REGISTER);
            data.number(2, how);
            data.nested(3, |inner| inner.attribute(1, value));
        });
    }

    fn meta(&mut self, key: u32) {
        self.expression("meta", |data| {
            data.number(1, REGISTER);
            data.number(2, key);
        });
    }

    fn meta_is(&mut self, key: u32, value: &[u8]) {
        self.meta(key);
        self.compare(EQUAL, value);
    }

    fn meta_is_not(&mut self, key: u32, value: u32) {
        self.meta(key);
        self.compare(NOT_EQUAL, &value.to_ne_bytes());
    }

    fn load(&mut self, base: u32, at: u32, length: u32) {
        self.expression("payload", |data| {
            data.number(1, REGISTER);
            data.number(2, base);
            data.number(3, at);
            data.number(4, length);
        });
    }

    fn look_up(&mut self, set: &str, flags: u32) {
        self.expression("lookup", |data| {
            data.text(1, set);
            data.number(2, REGISTER);
            data.number(5, flags);
        });
    }

    fn is_in(&mut self, set: &str) {
        self.look_up(set, 0);
    }

    /// The address there is a service's, and not open.
    fn closed(&mut self, sets: Sets, base: u32, at: u32) {
        const IS_NOT_IN: u32 = 1;
        self.load(base, at, sets.length);
        self.is_in(sets.known);
        self.look_up(sets.open, IS_NOT_IN);
    }

    /// The kernel would not take the packet's address for one of this machine.
    fn is_elsewhere(&mut self, which: u32) {
        self.expression("fib", |data| {
            data.number(1, REGISTER);
            data.number(2, FIB_KIND);
            data.number(3, which);
        });
        self.compare(NOT_EQUAL, &LOCAL.to_ne_bytes());
    }

    fn verdict(&mut self, code: u32) {
        self.decide(|verdict| verdict.number(1, code));
    }

    fn goes_to(&mut self, chain: &str) {
        self.decide(|verdict| {
            verdict.number(1, GOTO);
            verdict.text(2, chain);
        });
    }

    fn decide(&mut self, fill: impl FnOnce(&mut Batch)) {
        self.expression("immediate", |data| {
            data.number(1, 0);
            data.nested(2, |value| value.nested(2, fill));
        });
    }
}

/// The question what is in a set.
pub(super) fn ask_elements(table: &str, sets: Sets, set: &str) -> Vec<u8> {
    question(Ask::GetElements, sets.family, |message| {
        message.text(1, table);
        message.text(2, set);
    })
}

/// The question what chains, or rules, a table has. (Of chains the kernel tells all tables'.)
pub(super) fn ask(what: Ask, family: Family, table: &str) -> Vec<u8> {
    question(what, family, |message| message.text(1, table))
}

fn question(ask: Ask, family: Family, fill: impl FnOnce(&mut Batch)) -> Vec<u8> {
    let mut batch = Batch::default();
    batch.add(ask, family, fill);
    batch.question()
}

/// Whether an answer is about this table.
pub(super) fn is_of(body: &[u8], table: &str) -> bool {
    let mut is_ours = false;
    each_attribute(body, |kind, value| {
        if kind == 1 {
            is_ours = value.strip_suffix(&[0]) == Some(table.as_bytes());
        }
    });
    is_ours
}

/// Addresses in an answer about elements, each with the packets that were counted.
pub(super) fn read_elements(body: &[u8], sets: Sets, mut take: impl FnMut(IpAddr, u64)) {
    each_attribute(body, |kind, list| {
        if kind != 3 {
            return;
        }
        each_attribute(list, |_, element| {
            let (mut address, mut packets) = (None, 0);
            each_attribute(element, |kind, value| match kind {
                1 => each_attribute(value, |_, key| address = sets.address(key)),
                7 => each_attribute(value, |kind, value| {
                    if kind == 2 {
                        each_attribute(value, |kind, value| {
                            // NFTA_COUNTER_PACKETS
                            if kind == 2 {
                                packets = big(value).unwrap_or(0);
                            }
                        });
                    }
                }),
                _ => {}
            });
            if let Some(address) = address {
                take(address, packets);
            }
        });
    });
}

fn big(value: &[u8]) -> Option<u64> {
    let (high, low) = (u32_at(value, 0)?, u32_at(value, 4)?);
    Some(u64::from(u32::from_be(high)) << 32 | u64::from(u32::from_be(low)))
}
