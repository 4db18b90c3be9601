//! Messages of nf_tables (linux/netfilter/nf_tables.h), one transaction after the other.
//!
//! A transaction is a series of messages between two that begin and end it, in one datagram. The kernel
//! works it off within send(2), all of it or nothing, and answers with what it refused; the answer to
//! the last message is asked for, so that there is one in any case.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

use crate::netlink::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR,
    NetlinkError, each_message, read_errno,
};
use crate::sys;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
/// The number of nf_tables among the users of nfnetlink.
const NF_TABLES: u16 = 10;
const NLM_F_APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;
/// Room for one datagram of answers.
const ANSWER_MAX: usize = 64 << 10;
/// Room in the socket for a transaction: more than all addresses that there can be.
const SEND_BUFFER: i32 = 4 << 20;

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Ask {
    NewTable = 0,
    DeleteTable = 2,
    NewChain = 3,
    GetChain = 4,
    NewRule = 6,
    GetRule = 7,
    NewSet = 9,
    NewElements = 12,
    GetElements = 13,
    DeleteElements = 14,
}

impl Ask {
    fn flags(self) -> u16 {
        match self {
            Ask::NewRule => NLM_F_CREATE | NLM_F_APPEND,
            Ask::NewTable | Ask::NewChain | Ask::NewSet | Ask::NewElements => NLM_F_CREATE,
            Ask::GetChain | Ask::GetRule | Ask::GetElements => NLM_F_DUMP,
            Ask::DeleteTable | Ask::DeleteElements => 0,
        }
    }
}

/// Which packets a table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Family {
    Inet = 1,
    Arp = 3,
}

/// A transaction, or one question, under construction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
    message: usize,
}

impl Batch {
    pub(super) fn begin() -> Batch {
        Batch::begin_in(Vec::new())
    }

    /// In the memory of a former transaction: does not allocate where that is enough.
    pub(super) fn begin_in(mut room: Vec<u8>) -> Batch {
        room.clear();
        let mut batch = Batch { bytes: room, ..Batch::default() };
        batch.bracket(BATCH_BEGIN);
        batch
    }

    fn bracket(&mut self, kind: u16) {
        self.header(kind, NLM_F_REQUEST);
        // struct nfgenmsg; the last field says whose transaction it is.
        self.bytes.extend([0, 0]);
        self.bytes.extend(NF_TABLES.to_be_bytes());
        self.finish_message();
    }

    fn header(&mut self, kind: u16, flags: u16) {
        self.message = self.bytes.len();
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend(0_u32.to_ne_bytes());
        self.sequence += 1;
    }

    fn finish_message(&mut self) {
        let length = u32::try_from(self.bytes.len() - self.message).expect("a short message");
        self.bytes[self.message..self.message + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// One more message; `fill` adds its attributes.
    pub(super) fn add(&mut self, ask: Ask, family: Family, fill: impl FnOnce(&mut Batch)) {
        self.header(NF_TABLES << 8 | ask as u16, NLM_F_REQUEST | ask.flags());
        self.bytes.extend([family as u8, 0, 0, 0]);
        fill(self);
        self.finish_message();
    }

    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.attribute_of(kind, &[value]);
    }

    pub(super) fn text(&mut self, kind: u16, text: &str) {
        self.attribute_of(kind, &[text.as_bytes(), &[0]]);
    }

    fn attribute_of(&mut self, kind: u16, parts: &[&[u8]]) {
        let value: usize = parts.iter().map(|part| part.len()).sum();
        let length = u16::try_from(4 + value).expect("a short attribute");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        parts.iter().for_each(|part| self.bytes.extend(*part));
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    pub(super) fn number(&mut self, kind: u16, number: u32) {
        self.attribute(kind, &number.to_be_bytes());
    }

    pub(super) fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Batch)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).expect("a short attribute");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// The transaction as it is sent.
    pub(super) fn end(mut self) -> Transaction {
        let at = self.message + 6;
        let flags = NLM_F_ACK | u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
        self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
        let last = self.sequence - 1;
        self.bracket(BATCH_END);
        Transaction { bytes: self.bytes, last }
    }

    /// The one message as it is sent.
    pub(super) fn question(self) -> Vec<u8> {
        self.bytes
    }
}

/// What is done as a whole or not at all.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    bytes: Vec<u8>,
    last: u32,
}

impl Transaction {
    /// Its memory, for the next one.
    pub(super) fn into_room(self) -> Vec<u8> {
        self.bytes
    }
}

/// A socket for nf_tables.
#[derive(Debug)]
pub(super) struct Tables {
    socket: OwnedFd,
    buffer: Box<[u8]>,
}

impl Tables {
    /// In the network namespace of the calling thread.
    pub(super) fn open() -> std::io::Result<Tables> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let socket = socket_with(family, kind, flags, Some(NETFILTER))?;
        let room = |name| sys::set_number(socket.as_fd(), libc::SOL_SOCKET, name, SEND_BUFFER);
        room(libc::SO_SNDBUFFORCE).or_else(|_| room(libc::SO_SNDBUF))?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Tables { socket, buffer: vec![0; ANSWER_MAX].into_boxed_slice() })
    }

    /// Has a transaction carried out: the first error number of what was refused, 0 for "done". Waits for
    /// other users of nf_tables; does not allocate.
    pub(super) fn carry_out(&mut self, transaction: &Transaction) -> Result<i32, NetlinkError> {
        // The answers to a transaction that was interrupted.
        while recv(&self.socket, &mut *self.buffer, RecvFlags::DONTWAIT).is_ok() {}
        send(&self.socket, &transaction.bytes, SendFlags::empty())
            .map_err(failed("send a transaction"))?;
        let (mut refused, mut is_over) = (0, false);
        loop {
            match recv(&self.socket, &mut *self.buffer, RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    let length = length.min(self.buffer.len());
                    each_message(&self.buffer[..length], |header, body| {
                        if header.kind == NLMSG_ERROR {
                            let errno = read_errno(body);
                            refused = if refused == 0 { errno } else { refused };
                            is_over |= header.sequence == transaction.last;
                        }
                        true
                    });
                }
                Err(Errno::INTR) => {}
                // The kernel works on a transaction within send(2): all answers are here.
                Err(Errno::WOULDBLOCK) if is_over || refused != 0 => return Ok(refused),
                Err(Errno::WOULDBLOCK) => {
                    return Err(NetlinkError::Answer("nf_tables does not answer".to_owned()));
                }
                Err(error) => return Err(failed("receive an answer")(error)),
            }
        }
    }

    /// Asks for a list; the kernel's error number, 0 for "done", `EINTR` when something was changed
    /// meanwhile, so that it may not be whole. Does not allocate. `take` gets what is behind
    /// `struct nfgenmsg`.
    pub(super) fn list(
        &mut self,
        question: &[u8],
        mut take: impl FnMut(&[u8]),
    ) -> Result<i32, NetlinkError> {
        while recv(&self.socket, &mut *self.buffer, RecvFlags::DONTWAIT).is_ok() {}
        send(&self.socket, question, SendFlags::empty()).map_err(failed("ask for a list"))?;
        let (mut done, mut is_whole) = (None, true);
        while done.is_none() {
            let length = match recv(&self.socket, &mut *self.buffer, RecvFlags::DONTWAIT) {
                Ok((_, length)) => length.min(self.buffer.len()),
                Err(Errno::INTR) => continue,
                // A list goes on within recv(2).
                Err(error) => return Err(failed("receive a list")(error)),
            };
            each_message(&self.buffer[..length], |header, body| {
                is_whole &= header.flags & NLM_F_DUMP_INTR == 0;
                match header.kind {
                    NLMSG_DONE | NLMSG_ERROR => done = Some(read_errno(body)),
                    _ => take(body.get(4..).unwrap_or(&[])),
                }
                true
            });
        }
        Ok(done.filter(|errno| *errno != 0 || is_whole).unwrap_or(libc::EINTR))
    }
}

fn failed(operation: &'static str) -> impl FnOnce(Errno) -> NetlinkError {
    move |error| NetlinkError::Socket { operation, source: error.into() }
}
