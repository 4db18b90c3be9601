//! Search `/proc` for the processes of a service, without allocating: the guard does it too.
//!
//! A process belongs to a service if its environment (as it was at its start) has the marker, or if
//! its session is that of a first process of the service. `/proc/PID` is opened once and everything is
//! read, and the signal sent, through that descriptor: it means this very process, also when its
//! number is given to another one meanwhile.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::{Errno, read};
use rustix::process::{Signal, pidfd_send_signal};

use super::MARKER;

/// Searches before a service that goes on forking is reported as alive.
pub(super) const ROUNDS_MAX: usize = 16;
/// Bytes of a process's environment that are looked at.
const ENVIRONMENT_MAX: usize = 256 << 10;
/// Bytes of the longest marker that can be searched for.
const PATTERN_MAX: usize = 512;

/// What to search for, and what to do with what is found.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// The beginning of the marker's value. To look for it is to wait for each process: one that is being
    /// started from a file system that hangs, or whose memory comes from one, answers when that does. Without
    /// it nothing is asked that a process could hold up.
    pub marker: Option<&'a str>,
    /// Sessions (number and start of their first process) that count as well.
    pub sessions: &'a [(u32, u64)],
    /// Kill what is found.
    pub kill: bool,
}

/// Searches once; returns how many living processes were found.
///
/// # Errors
/// When `/proc` cannot be read, or a process that was found cannot be killed.
pub fn search(wanted: &Search<'_>) -> io::Result<usize> {
    let mut found = 0;
    let mut refused = None;
    each(wanted, |_, process| {
        found += 1;
        if wanted.kill {
            match pidfd_send_signal(process, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => refused = Some(error),
            }
        }
    })?;
    match refused {
        None => Ok(found),
        Some(error) => Err(error.into()),
    }
}

/// The numbers of the living processes with this marker.
pub(super) fn pids(marker: &str) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    each(&Search { marker: Some(marker), sessions: &[], kill: false }, |pid, _| pids.push(pid))?;
    Ok(pids)
}

fn each(wanted: &Search<'_>, mut take: impl FnMut(u32, BorrowedFd<'_>)) -> io::Result<()> {
    each_process(|pid, process| {
        if is_wanted(process, wanted) {
            take(pid, process.as_fd());
        }
    })
}

/// Opens `/proc/PID` of all processes but this one. That waits for none of them; to read what is below may.
pub(super) fn each_process(mut take: impl FnMut(u32, &OwnedFd)) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = openat(CWD, c"/proc", flags, Mode::empty())?;
    let own = std::process::id();
    let mut buffer = [MaybeUninit::<u8>::uninit(); 8_192];
    let mut entries = RawDir::new(&proc, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        let pid = name.to_str().ok().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid.filter(|&pid| pid != own) else { continue };
        let Ok(process) = openat(&proc, name, flags, Mode::empty()) else { continue };
        take(pid, &process);
    }
    Ok(())
}

fn is_wanted(process: &OwnedFd, wanted: &Search<'_>) -> bool {
    let mut buffer = [0_u8; 1_024];
    let Ok(stat) = open_below(process, c"stat") else { return false };
    let Ok(length) = read(&stat, &mut buffer) else { return false };
    let stat = &buffer[..length];
    if !is_alive(stat) {
        return false;
    }
    let session = stat_field(stat, 6).unwrap_or(0);
    let is_of_session = wanted.sessions.iter().any(|&(pid, started)| {
        // The number of a session cannot be given to a new process while the session lives; but the
        // recorded one may be over, and its number another session's now. Its members are younger.
        session == u64::from(pid) && stat_field(stat, 22).is_some_and(|own| own >= started)
    });
    is_of_session || wanted.marker.is_some_and(|marker| has_marker(process, marker))
}

pub(super) fn open_below(process: &OwnedFd, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    openat(process, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Looks for `\0MARKER=value` in an environment, which is read in pieces.
pub(super) fn has_marker(process: &OwnedFd, marker: &str) -> bool {
    let mut pattern = [0_u8; PATTERN_MAX];
    let length = 1 + MARKER.len() + 1 + marker.len();
    assert!(length <= PATTERN_MAX, "names are bounded, so markers are");
    pattern[1..=MARKER.len()].copy_from_slice(MARKER.as_bytes());
    pattern[1 + MARKER.len()] = b'=';
    pattern[2 + MARKER.len()..length].copy_from_slice(marker.as_bytes());
    let pattern = &pattern[..length];

    let Ok(file) = open_below(process, c"environ") else { return false };
    let mut buffer = [0_u8; 4_096];
    // The first variable has no zero before it: pretend one.
    let mut filled = 1;
    let mut total = 0;
    while total < ENVIRONMENT_MAX {
        let Ok(count) = read(&file, &mut buffer[filled..]) else { return false };
        if count == 0 {
            return false;
        }
        total += count;
        filled += count;
        if buffer[..filled].windows(length).any(|window| window == pattern) {
            return true;
        }
        let keep = filled.min(length - 1);
        buffer.copy_within(filled - keep..filled, 0);
        filled = keep;
    }
    false
}

/// What follows the name in a stat line; the name may hold blanks and parentheses.
fn after_name(stat: &[u8]) -> Option<&[u8]> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    stat.get(end + 2..)
}

/// Z: dead, waiting to be reaped, unless only its first thread has ended; X: going.
pub(super) fn is_alive(stat: &[u8]) -> bool {
    match stat_state(stat) {
        None | Some(b'X') => false,
        Some(b'Z') => stat_field(stat, 20).is_some_and(|threads| threads > 1),
        Some(_) => true,
    }
}

pub(super) fn stat_state(stat: &[u8]) -> Option<u8> {
    after_name(stat)?.first().copied()
}

/// The numeric field `number` (from 4 on) of `/proc/PID/stat`, counted as proc(5) does.
pub(super) fn stat_field(stat: &[u8], number: usize) -> Option<u64> {
    let mut fields = after_name(stat)?.split(|&byte| byte == b' ');
    let field = fields.nth(number.checked_sub(3)?)?;
    std::str::from_utf8(field).ok()?.trim_end().parse().ok()
}
