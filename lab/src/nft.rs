//! Frames that a switch drops: a table of the bridge family, by raw nf_tables messages. Beside it the question
//! whether this kernel has what a lease gate of nftables needs.
//!
//! `nft add rule bridge lab forward iifname "n1-net0" oifname "n2-net0" drop`, without `nft`: a bare
//! Debian does not have it. The whole table is replaced in one batch, which the kernel applies as a
//! whole or not at all (nfnetlink batches), so a change never lets a frame through in between.
//! Constants are those of `linux/netfilter/nf_tables.h`; numbers in attributes are big-endian.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NLMSG_ERROR};
use rustix::net::{SendFlags, netlink};

use crate::netlink::{error_number, open, receive_messages};

const TABLE: &str = "lab";
/// Before the bridge has looked at a frame: what is dropped here, it has not learned from either.
const ENTRY: (&str, u32) = ("entry", 0);
/// Between two ports.
const FORWARD: (&str, u32) = ("forward", 2);
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const DELETE_TABLE: u16 = SUBSYSTEM << 8 | 2;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const NEW_SET: u16 = SUBSYSTEM << 8 | 9;
const FAMILY_INET: u8 = 1;
const FAMILY_ARP: u8 = 3;
const FAMILY_BRIDGE: u8 = 7;
/// Before anything is routed; ARP on its way out.
const PRE_ROUTING: (&str, u32) = ("in", 0);
const ARP_OUT: (&str, u32) = ("out", 1);
const SET_HAS_TIMEOUT: u32 = 0x10;
const FIB_DESTINATION: u32 = 2;
const FIB_KIND: u32 = 3;
const NESTED: u16 = 0x8000;
const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;
const META_INPUT_NAME: u32 = 6;
const META_OUTPUT_NAME: u32 = 7;
const COMPARE_EQUAL: u32 = 0;
const COMPARE_LESS: u32 = 2;
const DROP: u32 = 0;
const APPEND: u16 = 2048;
/// `IFNAMSIZ`
const NAME_SIZE: usize = 16;

/// One rule: frames that match everything given are dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Drop {
    /// Port through which the frame came in.
    pub(crate) input: Option<String>,
    /// Port through which it would go out.
    pub(crate) output: Option<String>,
    /// Only this many of a thousand, by chance; all if `None`.
    pub(crate) permille: Option<u32>,
}

/// The filter of one switch.
pub(crate) struct Filter {
    socket: OwnedFd,
}

impl Filter {
    /// Opens the filter of the calling thread's namespace.
    pub(crate) fn open() -> Result<Self> {
        Ok(Self { socket: open(Some(netlink::NETFILTER))? })
    }

    /// Replaces all rules at once.
    ///
    /// # Errors
    /// When the kernel has no nf_tables for bridges or refuses.
    pub(crate) fn set(&mut self, rules: &[Drop]) -> Result<()> {
        match self.send(&Batch::replacing(rules))? {
            None => Ok(()),
            Some(error) => Err(error)
                .context("the kernel refused a filter on the switch (it needs nf_tables_bridge)"),
        }
    }

    /// Whether this kernel, for this user, has what closes an address by itself: sets whose elements end,
    /// `fib`, and a hook for ARP that goes out.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub(crate) fn can_gate(&mut self) -> Result<bool> {
        Ok(self.send(&Batch::gate())?.is_none())
    }

    /// Sends a batch; what the kernel refused.
    fn send(&mut self, batch: &Batch) -> Result<Option<std::io::Error>> {
        rustix::net::send(&self.socket, &batch.bytes, SendFlags::empty())
            .context("sending rules to the kernel")?;
        let mut missing = batch.acknowledged;
        let mut refused = None;
        receive_messages(&self.socket, |kind, payload| {
            if kind == NLMSG_ERROR {
                missing -= 1;
                let number = error_number(payload)?;
                if number != 0 && refused.is_none() {
                    refused = Some(std::io::Error::from_raw_os_error(number));
                }
            }
            // Messages after a refused one may not be answered.
            Ok(missing == 0 || refused.is_some())
        })?;
        Ok(refused)
    }
}

struct Batch {
    bytes: Vec<u8>,
    acknowledged: usize,
}

impl Batch {
    /// Make the table (no error if it exists), delete it with its rules, make it anew.
    fn replacing(rules: &[Drop]) -> Self {
        let mut batch = Self { bytes: Vec::new(), acknowledged: 0 };
        let table = attribute(1, &text(TABLE));
        batch.frame(BATCH_BEGIN);
        batch.message(NEW_TABLE, NLM_F_CREATE, &table);
        batch.message(DELETE_TABLE, 0, &table);
        if !rules.is_empty() {
            batch.message(NEW_TABLE, NLM_F_CREATE, &table);
            for hook in [ENTRY, FORWARD] {
                batch.message(NEW_CHAIN, NLM_F_CREATE, &chain(hook));
            }
            for rule in rules {
                let parts = [
                    attribute(1, &text(TABLE)),
                    attribute(2, &text(rule.chain().0)),
                    attribute(4 | NESTED, &rule.expressions()),
                ];
                batch.message(NEW_RULE, NLM_F_CREATE | APPEND, &parts.concat());
            }
        }
        batch.frame(BATCH_END);
        batch
    }

    /// What a gate consists of, made and taken away again in one go.
    fn gate() -> Self {
        let mut batch = Self { bytes: Vec::new(), acknowledged: 0 };
        let table = attribute(1, &text(TABLE));
        batch.frame(BATCH_BEGIN);
        for (family, hook) in [(FAMILY_INET, PRE_ROUTING), (FAMILY_ARP, ARP_OUT)] {
            batch.message_of(family, NEW_TABLE, NLM_F_CREATE, &table);
            let set = [
                attribute(1, &text(TABLE)),
                attribute(2, &text("open")),
                attribute(3, &number(SET_HAS_TIMEOUT)),
                attribute(4, &number(0)),
                attribute(5, &number(4)),
                attribute(10, &number(1)),
            ];
            batch.message_of(family, NEW_SET, NLM_F_CREATE, &set.concat());
            batch.message_of(family, NEW_CHAIN, NLM_F_CREATE, &chain(hook));
        }
        let lookup = [
            attribute(1, &number(REGISTER)),
            attribute(2, &number(FIB_KIND)),
            attribute(3, &number(FIB_DESTINATION)),
        ];
        let rule = [
            attribute(1, &text(TABLE)),
            attribute(2, &text(PRE_ROUTING.0)),
            attribute(4 | NESTED, &expression("fib", &lookup.concat())),
        ];
        batch.message_of(FAMILY_INET, NEW_RULE, NLM_F_CREATE | APPEND, &rule.concat());
        for family in [FAMILY_INET, FAMILY_ARP] {
            batch.message_of(family, DELETE_TABLE, 0, &table);
        }
        batch.frame(BATCH_END);
        batch
    }

    fn frame(&mut self, kind: u16) {
        self.append(kind, NLM_F_REQUEST, [0, 0], SUBSYSTEM, &[]);
    }

    fn message(&mut self, kind: u16, flags: u16, attributes: &[u8]) {
        self.message_of(FAMILY_BRIDGE, kind, flags, attributes);
    }

    fn message_of(&mut self, family: u8, kind: u16, flags: u16, attributes: &[u8]) {
        self.acknowledged += 1;
        self.append(kind, NLM_F_REQUEST | NLM_F_ACK | flags, [family, 0], 0, attributes);
    }

    /// `struct nlmsghdr`, then `struct nfgenmsg` (family, version, resource).
    fn append(&mut self, kind: u16, flags: u16, family: [u8; 2], resource: u16, rest: &[u8]) {
        let length = 20 + rest.len();
        self.bytes.extend((length as u32).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend([0; 8]);
        self.bytes.extend(family);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(rest);
    }
}

impl Drop {
    /// Where it is looked at: it needs the port that it names.
    fn chain(&self) -> (&'static str, u32) {
        if self.output.is_some() { FORWARD } else { ENTRY }
    }

    fn expressions(&self) -> Vec<u8> {
        let mut list = Vec::new();
        for (name, key) in [(&self.input, META_INPUT_NAME), (&self.output, META_OUTPUT_NAME)] {
            if let Some(name) = name {
                let load = [attribute(1, &number(REGISTER)), attribute(2, &number(key))];
                list.extend(expression("meta", &load.concat()));
                let mut padded = name.as_bytes().to_vec();
                padded.resize(NAME_SIZE, 0);
                list.extend(compare(COMPARE_EQUAL, &padded));
            }
        }
        if let Some(permille) = self.permille {
            let draw = [
                attribute(1, &number(REGISTER)),
                attribute(2, &number(1000)),
                attribute(3, &number(1)),
                attribute(4, &number(0)),
            ];
            list.extend(expression("numgen", &draw.concat()));
            // The register is in the machine's order, comparison is by bytes: turn it around.
            let turn = [
                attribute(1, &number(REGISTER)),
                attribute(2, &number(REGISTER)),
                attribute(3, &number(1)),
                attribute(4, &number(4)),
                attribute(5, &number(4)),
            ];
            list.extend(expression("byteorder", &turn.concat()));
            list.extend(compare(COMPARE_LESS, &number(permille)));
        }
        let code = attribute(1, &number(DROP));
        let verdict = attribute(2 | NESTED, &code);
        let parts =
            [attribute(1, &number(VERDICT_REGISTER)), attribute(2 | NESTED, &verdict)].concat();
        list.extend(expression("immediate", &parts));
        list
    }
}

/// A chain of filters that begins at a hook.
fn chain((name, hook): (&str, u32)) -> Vec<u8> {
    let hook = [attribute(1, &number(hook)), attribute(2, &number(0))].concat();
    let parts = [
        attribute(1, &text(TABLE)),
        attribute(3, &text(name)),
        attribute(4 | NESTED, &hook),
        attribute(7, &text("filter")),
    ];
    parts.concat()
}

fn compare(operation: u32, value: &[u8]) -> Vec<u8> {
    let parts = [
        attribute(1, &number(REGISTER)),
        attribute(2, &number(operation)),
        attribute(3 | NESTED, &attribute(1, value)),
    ];
    expression("cmp", &parts.concat())
}

fn expression(name: &str, parts: &[u8]) -> Vec<u8> {
    attribute(1 | NESTED, &[attribute(1, &text(name)), attribute(2 | NESTED, parts)].concat())
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len() + 8);
    bytes.extend((value.len() as u16 + 4).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn number(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}
