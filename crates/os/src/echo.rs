//! Whether a machine answers an ICMP echo: RFC 792 ("Echo or Echo Reply Message") and RFC 4443,
//! section 4.
//!
//! A raw socket, because the kernel's own echo sockets are for the groups of `net.ipv4.ping_group_range`
//! only, and the range is empty unless somebody has set it. It hears all echo replies of this machine; ours
//! are known by an identifier, a sequence number and a payload that the caller makes different each time.
//!
//! **An answer is no proof of anything**: whoever can see the question can forge it, and a router may
//! answer and forward nothing. No answer may mean that echoes are not answered there at all.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, ipproto, recvfrom, sendto,
    socket_with,
};

use crate::{clock, sys};

#[cfg(test)]
mod tests;

/// Type, code, checksum, identifier, sequence number; then the token.
const SIZE: usize = 16;
const ECHO_V4: [u8; 2] = [8, 0];
const REPLY_V4: [u8; 2] = [0, 0];
const ECHO_V6: [u8; 2] = [128, 0];
const REPLY_V6: [u8; 2] = [129, 0];

/// One question: from whom, to whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// Of this machine.
    pub local: IpAddr,
    /// The interface over which it goes, and on which alone its answer counts; none: whatever routes say.
    pub interface: Option<String>,
    /// Of the same family.
    pub target: IpAddr,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Its answer.
    Answer,
    /// Nothing, in all the time.
    Nothing,
    /// It did not leave this machine: the address is not here, there is no way, or a rule does not let it out. What is
    /// dropped behind the kernel's back (a filter at the interface) is [`Heard::Nothing`].
    Unsent,
}

/// Whether one of `targets` answers within `patience`; asked from the address `local`, which has to be
/// of the same family. `token` tells this question's answers from others'. Takes no longer than that.
///
/// # Errors
/// Without `CAP_NET_RAW`, or without memory for a socket. An address that is not here, or to which there
/// is no way, is one that does not answer.
pub fn any_answers(
    local: IpAddr,
    targets: &[IpAddr],
    token: u64,
    patience: Duration,
) -> io::Result<bool> {
    let question = |target: &IpAddr| Question { local, interface: None, target: *target };
    let questions: Vec<Question> = targets.iter().map(question).collect();
    Ok(ask(&questions, token, patience, 1)?.contains(&Heard::Answer))
}

/// What is heard of these questions within `patience`, all asked at once. As [`any_answers`] otherwise.
///
/// # Errors
/// As [`any_answers`].
pub fn answers(questions: &[Question], token: u64, patience: Duration) -> io::Result<Vec<Heard>> {
    ask(questions, token, patience, questions.len())
}

/// An address that questions go out from.
struct Asker<'a> {
    socket: OwnedFd,
    is_v4: bool,
    /// Whom it asked, and which question that was.
    asked: Vec<(IpAddr, usize)>,
    from: (IpAddr, Option<&'a str>),
}

/// Asks until so many were answered, or for so long.
fn ask(
    questions: &[Question],
    token: u64,
    patience: Duration,
    enough: usize,
) -> io::Result<Vec<Heard>> {
    let mut askers: Vec<Asker<'_>> = Vec::new();
    for (index, question) in questions.iter().enumerate() {
        let from = (question.local, question.interface.as_deref());
        let known = askers.iter().position(|asker| asker.from == from);
        let place = match known {
            Some(place) => place,
            None => {
                askers.push(asker(from)?);
                askers.len() - 1
            }
        };
        askers[place].asked.push((question.target, index));
    }
    let mut heard = vec![Heard::Unsent; questions.len()];
    for asker in &mut askers {
        let Asker { socket, is_v4, asked, from } = asker;
        let is_here = match from.1.map(|name| sys::bind_to_device(socket.as_fd(), name)) {
            None | Some(Ok(())) => bind(&*socket, &SocketAddr::new(from.0, 0)).is_ok(),
            Some(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(error);
            }
            Some(Err(_)) => false,
        };
        let message = message(*is_v4, token);
        asked.retain(|(target, index)| {
            let to = SocketAddr::new(*target, 0);
            let is_sent = is_here && sendto(&*socket, &message, SendFlags::empty(), &to).is_ok();
            if is_sent {
                heard[*index] = Heard::Nothing;
            }
            is_sent
        });
    }
    askers.retain(|asker| !asker.asked.is_empty());
    let until = clock::boottime() + patience;
    let mut bytes = [0; 256];
    loop {
        let left = until.since(clock::boottime().min(until));
        let count = heard.iter().filter(|heard| **heard == Heard::Answer).count();
        if left.is_zero() || askers.is_empty() || count >= enough {
            return Ok(heard);
        }
        let mut ready: Vec<PollFd<'_>> =
            askers.iter().map(|asker| PollFd::new(&asker.socket, PollFlags::IN)).collect();
        let limit = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut ready, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = ready.iter().map(|one| !one.revents().is_empty()).collect();
        for asker in
            askers.iter_mut().zip(ready).filter_map(|(asker, ready)| ready.then_some(asker))
        {
            // What came as an error is about one of the targets; the others may still answer.
            let Ok((size, _, Some(from))) =
                recvfrom(&asker.socket, &mut bytes[..], RecvFlags::empty())
            else {
                continue;
            };
            let from = SocketAddr::try_from(from).ok().map(|from| from.ip());
            if is_answer(asker.is_v4, token, &bytes[..size]) {
                let asked = asker.asked.iter().filter(|(target, _)| from == Some(*target));
                asked.for_each(|(_, index)| heard[*index] = Heard::Answer);
            }
        }
        // Who has everything needs no more of what else comes in.
        askers.retain(|asker| asker.asked.iter().any(|(_, index)| heard[*index] == Heard::Nothing));
    }
}

fn asker((local, interface): (IpAddr, Option<&str>)) -> io::Result<Asker<'_>> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (family, protocol) = match local {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
    let from = (local, interface);
    Ok(Asker { socket, is_v4: local.is_ipv4(), asked: Vec::new(), from })
}

/// The message. Of ICMPv6 the kernel counts the checksum itself, over a header that it alone knows.
fn message(is_v4: bool, token: u64) -> [u8; SIZE] {
    let mut message = [0; SIZE];
    message[..2].copy_from_slice(if is_v4 { &ECHO_V4 } else { &ECHO_V6 });
    let token = token.to_be_bytes();
    message[4..8].copy_from_slice(&token[4..]);
    message[8..].copy_from_slice(&token);
    if is_v4 {
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// Of IPv4 a raw socket gets the IP header too (raw(7)).
fn is_answer(is_v4: bool, token: u64, bytes: &[u8]) -> bool {
    let header = match bytes.first() {
        Some(first) if is_v4 => usize::from(first & 0x0f) * 4,
        _ => 0,
    };
    let Some(message) = bytes.get(header..) else { return false };
    let reply = if is_v4 { REPLY_V4 } else { REPLY_V6 };
    message.len() == SIZE
        && message[..2] == reply
        && message[4..] == self::message(is_v4, token)[4..]
}

/// The one's complement of the one's complement sum (RFC 1071).
fn checksum(message: &[u8; SIZE]) -> u16 {
    let words = message.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
