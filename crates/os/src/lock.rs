//! One owner of a directory at a time: an advisory lock that the kernel ends with its holders.
//!
//! flock(2) belongs to the open file description. The guard hands the descriptor to the daemon, so
//! the lock lasts until *both* are gone: a new guard cannot start beside the daemon of a former one.
//! The file's first line is for people: who holds it. The second one tells a new guard which daemon has it too:
//! `daemon PID STARTED GUARD`, all numbers; the last one is its parent's.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A lock that is held.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// A daemon that was given the lock by its guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heir {
    /// Its number.
    pub pid: u32,
    /// When it started, in the kernel's ticks: tells it from a later process of the same number.
    pub started: u64,
    /// The number of its guard.
    pub guard: u32,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error("{path} is held by {holder}", path = path.display())]
    Held {
        /// The lock's file.
        path: PathBuf,
        /// What the holder wrote into it.
        holder: String,
        /// The daemon that has it, too.
        daemon: Option<Heir>,
    },
    /// The file cannot be used.
    #[error("cannot {operation} {path}", path = path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The lock's file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl Lock {
    /// Takes the lock at `path` or fails at once; `holder` is what others will be told.
    ///
    /// # Errors
    /// When somebody holds it, or the file cannot be made.
    pub fn take(path: &Path, holder: &str) -> Result<Lock, LockError> {
        let failed = |operation| {
            let path = path.to_owned();
            move |source| LockError::Io { operation, path, source }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed("open"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                Read::by_ref(&mut file)
                    .take(200)
                    .read_to_string(&mut holder)
                    .map_err(failed("read"))?;
                let mut lines = holder.lines();
                let holder = lines.next().unwrap_or_default().trim().to_owned();
                let daemon = lines.next().and_then(heir);
                return Err(LockError::Held { path: path.to_owned(), holder, daemon });
            }
            Err(error) => return Err(failed("lock")(error.into())),
        }
        let mut lock = Lock { file };
        lock.describe(holder).map_err(failed("write"))?;
        Ok(lock)
    }

    /// Replaces what others are told about the holder.
    ///
    /// # Errors
    /// When the file system does not take the few bytes.
    pub fn describe(&mut self, holder: &str) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        writeln!(self.file, "{holder}")
    }

    /// Says that a daemon has it, too, after who holds it.
    ///
    /// # Errors
    /// As [`Lock::describe`].
    pub fn hand_over(&mut self, to: Heir) -> std::io::Result<()> {
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_string(&mut text)?;
        let holder = text.lines().next().unwrap_or_default();
        let Heir { pid, started, guard } = to;
        self.describe(&format!("{holder}\ndaemon {pid} {started} {guard}"))
    }

    /// The number of the descriptor, for a child that inherits it.
    #[must_use]
    pub fn number(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

/// `daemon PID STARTED GUARD`
fn heir(line: &str) -> Option<Heir> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["daemon", pid, started, guard] = words[..] else { return None };
    let (pid, guard) = (pid.parse().ok()?, guard.parse().ok()?);
    Some(Heir { pid, started: started.parse().ok()?, guard })
}

impl From<OwnedFd> for Lock {
    /// The lock that a parent took and handed over.
    fn from(descriptor: OwnedFd) -> Lock {
        Lock { file: File::from(descriptor) }
    }
}
