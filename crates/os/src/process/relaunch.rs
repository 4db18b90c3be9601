//! What the guard needs as the parent of the daemon and of all orphans.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitOptions, getrlimit, kill_process,
    kill_process_group, set_child_subreaper, setrlimit, wait, waitid,
};

use super::search::stat_field;
use crate::sys;

/// Whether this process has one thread. One that was joined may still count for a moment.
///
/// # Errors
/// When `/proc` does not say.
pub fn is_single_threaded() -> io::Result<bool> {
    Ok(stat_field(&fs::read("/proc/self/stat")?, 20) == Some(1))
}

/// A program that can be started again and again without allocating and without waiting for a disk.
#[derive(Debug)]
pub struct Relaunch {
    prepared: sys::Prepared,
}

impl Relaunch {
    /// Prepares `program` (an absolute path) with its arguments, the first being its own name; the
    /// descriptors in `inherit` stay open in it.
    ///
    /// # Errors
    /// When the process has more than one thread (what they do is not known here; threads that are started
    /// later must not be in the allocator for long, because a fork waits for them), or a zero byte is
    /// in a name.
    pub fn new(
        program: &Path,
        arguments: Vec<OsString>,
        inherit: Vec<i32>,
    ) -> io::Result<Relaunch> {
        if !is_single_threaded()? {
            return Err(io::Error::other("only a process with one thread can relaunch programs"));
        }
        let convert = |text: OsString| CString::new(text.into_vec()).map_err(io::Error::other);
        let program = convert(program.as_os_str().to_owned())?;
        let arguments = arguments.into_iter().map(convert).collect::<io::Result<Vec<_>>>()?;
        Ok(Relaunch { prepared: sys::Prepared::new(program, arguments, inherit) })
    }

    /// Gives it the limit of open files that this process had, before it was [raised](raise_open_files).
    pub fn limit_open_files(&mut self, former: OpenFiles) {
        self.prepared.open_files = Some((former.current, former.maximum));
    }

    /// Starts it; returns its number. A program that cannot be executed ends with code 127.
    ///
    /// # Errors
    /// When the kernel has no process or memory left.
    pub fn start(&self) -> io::Result<u32> {
        self.prepared.start().map(i32::cast_unsigned)
    }
}

/// How many files a process may have open: by default, and at most (`RLIMIT_NOFILE`, getrlimit(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFiles {
    /// What it may now; `u64::MAX`: as many as it likes.
    pub current: u64,
    /// What it may give itself.
    pub maximum: u64,
}

/// Lets this process have as many files open as it `wanted`, or as many as it may. Returns what it may now, and
/// what it could before: programs that it starts may count on that (select(2) does).
///
/// # Errors
/// Never in a correct program.
pub fn raise_open_files(wanted: u64) -> io::Result<(OpenFiles, OpenFiles)> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let many = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
    let former = OpenFiles { current: many(current), maximum: many(maximum) };
    let current = former.current.max(wanted.min(former.maximum));
    if current > former.current {
        setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum })?;
    }
    Ok((OpenFiles { current, ..former }, former))
}

/// Orphans among the descendants become children of this process (prctl(2),
/// `PR_SET_CHILD_SUBREAPER`), so that it can reap them and none is lost to init.
///
/// # Errors
/// Never in a correct program.
pub fn become_subreaper() -> io::Result<()> {
    let own = rustix::process::getpid();
    Ok(set_child_subreaper(Some(own))?)
}

/// A child that ended and was reaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Its number; free for another process from now on.
    pub pid: u32,
    /// How it ended, as wait(2) encodes it.
    pub status: i32,
}

/// Reaps one child that has ended, if there is one.
#[must_use]
pub fn reap() -> Option<Reaped> {
    match wait(WaitOptions::NOHANG) {
        Ok(Some((pid, status))) => {
            let pid = pid.as_raw_nonzero().get().cast_unsigned();
            Some(Reaped { pid, status: status.as_raw() })
        }
        // No child has ended, or there is none.
        Ok(None) | Err(_) => None,
    }
}

/// Sends SIGTERM to a child that was not reaped yet (else the number may be another's).
///
/// # Errors
/// When it is gone or we may not.
pub fn terminate(child: u32) -> io::Result<()> {
    signal(child, Signal::TERM)
}

/// Sends SIGHUP to a child that was not reaped yet.
///
/// # Errors
/// When it is gone or we may not.
pub fn hang_up(child: u32) -> io::Result<()> {
    signal(child, Signal::HUP)
}

/// Sends SIGCONT to a child that was not reaped yet, so that a stopped one hears other signals.
///
/// # Errors
/// When it is gone or we may not.
pub fn interrupt_stop(child: u32) -> io::Result<()> {
    signal(child, Signal::CONT)
}

/// Sends SIGKILL to a child that was not reaped yet.
///
/// # Errors
/// When it is gone or we may not.
pub fn kill(child: u32) -> io::Result<()> {
    signal(child, Signal::KILL)
}

/// Sends SIGKILL to all of the process group of a child that was not reaped yet and is its first.
///
/// # Errors
/// When nothing of it is left or we may not.
pub fn kill_group(child: u32) -> io::Result<()> {
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    Ok(kill_process_group(pid, Signal::KILL)?)
}

/// Whether a child has ended; it is not reaped by this.
///
/// # Errors
/// When there is no such child.
pub fn has_ended(child: u32) -> io::Result<bool> {
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(pid), look)?.is_some())
}

fn signal(child: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    Ok(kill_process(pid, signal)?)
}
