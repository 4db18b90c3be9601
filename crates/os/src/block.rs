//! Blocks of a shared disk: read and written past every cache, and how the device is doing.
//!
//! Two machines see each other's writes only when neither page cache is in between, hence
//! `O_DIRECT`: the kernel hands the buffer to the device, so buffer, offset and length must be
//! multiples of its block size (open(2), NOTES). 4,096 is a multiple of what all disks ask for. A
//! plain file works too, for machines that share a file system and for trials, if that can do
//! direct I/O.
//!
//! **Every call here blocks**, for as long as the device wishes: a read of a disk that hangs waits
//! in the kernel where no signal reaches it. So the caller has a thread for it, which nobody ever
//! joins, and others look from outside through [`Running`] at how long the operation has taken.
//!
//! [`Health`] turns outcomes and durations into a state with a name. It is judged for reads and
//! writes apart, since a device that went read-only reads very well.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::Instant;
use rustix::fs::{SeekFrom, seek};
use rustix::io::{pread, pwrite, retry_on_intr};

#[cfg(test)]
mod tests;

/// Bytes of a block.
pub const BLOCK_SIZE: usize = 4_096;
/// Good operations in a row after which a direction is good again.
const RECOVERY: u8 = 3;

/// Whole blocks of memory at an address that direct I/O takes.
#[derive(Clone, Debug)]
pub struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// Zeros; `blocks` is not 0.
    #[must_use]
    pub fn new(blocks: usize) -> Aligned {
        assert!(blocks > 0, "an empty buffer takes nothing");
        let length = blocks * BLOCK_SIZE;
        // A vector begins anywhere, so it gets one block more than is used. It is never resized,
        // and its memory stays where it is when the vector moves.
        let bytes = vec![0; length + BLOCK_SIZE];
        let start = bytes.as_ptr().align_offset(BLOCK_SIZE);
        assert!(start <= BLOCK_SIZE, "bytes can be aligned");
        Aligned { bytes, start, length }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

/// What a path led to: equal for two names of one device or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// A block device.
    Device {
        /// Its driver.
        major: u32,
        /// Which of the driver's.
        minor: u32,
    },
    /// A plain file.
    File {
        /// The file system's device number.
        device: u64,
        /// The file in it.
        inode: u64,
    },
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Device { major, minor } => write!(f, "block device {major}:{minor}"),
            Identity::File { .. } => f.write_str("plain file"),
        }
    }
}

/// An open device or file.
#[derive(Debug)]
pub struct Device {
    file: File,
    path: PathBuf,
    identity: Identity,
    size: u64,
}

/// What a device is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Read,
    Write,
    /// To write on a device that nothing of this machine uses.
    Exclusive,
}

impl Device {
    /// Opens a device to read and write.
    ///
    /// # Errors
    /// With the path, the reason and what to do: it is not there, neither block device nor plain
    /// file, can not be written, has larger blocks, or its file system has no direct I/O.
    pub fn open(path: &Path) -> io::Result<Device> {
        Device::open_for(path, Purpose::Write)
    }

    /// Opens a device to look at it; writing to it is an error.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open_to_read(path: &Path) -> io::Result<Device> {
        Device::open_for(path, Purpose::Read)
    }

    /// Opens a device that is not mounted, swapped to, or part of a volume on this machine; the
    /// kernel lets nobody do that while it is open. Means nothing for plain files.
    ///
    /// # Errors
    /// As [`Device::open`], and when it is in use (`EBUSY`).
    pub fn open_exclusive(path: &Path) -> io::Result<Device> {
        Device::open_for(path, Purpose::Exclusive)
    }

    fn open_for(path: &Path, purpose: Purpose) -> io::Result<Device> {
        let shown = path.display();
        let say = |error: io::Error| explain(path, "open", &error);
        // Opening a tape or a terminal may do something, so it is looked at first.
        let kind = std::fs::metadata(path).map_err(say)?.file_type();
        if !kind.is_block_device() && !kind.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{shown} is neither a block device nor a plain file"),
            ));
        }
        let mut flags = libc::O_DIRECT | libc::O_CLOEXEC;
        if purpose == Purpose::Exclusive && kind.is_block_device() {
            // Without O_CREAT it is an exclusive claim of a block device (open(2)).
            flags |= libc::O_EXCL;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(purpose != Purpose::Read)
            .custom_flags(flags)
            .open(path)
            .map_err(say)?;
        let facts = file.metadata().map_err(say)?;
        let (identity, bytes) = if facts.file_type().is_block_device() {
            let unit = rustix::fs::ioctl_blksszget(&file).map_err(|error| say(error.into()))?;
            if unit as usize > BLOCK_SIZE {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!(
                        "{shown} has blocks of {unit} bytes, and at most {BLOCK_SIZE} can be used"
                    ),
                ));
            }
            let number = facts.rdev();
            let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
            let end = seek(&file, SeekFrom::End(0)).map_err(|error| say(error.into()))?;
            (Identity::Device { major, minor }, end)
        } else {
            (Identity::File { device: facts.dev(), inode: facts.ino() }, facts.len())
        };
        let size = bytes / BLOCK_SIZE as u64;
        Ok(Device { file, path: path.to_owned(), identity, size })
    }

    /// Fills the buffer from the device, from this block on.
    ///
    /// # Errors
    /// With the path: what the device says, and `UnexpectedEof` behind its end.
    pub fn read(&self, first_block: u64, buffer: &mut Aligned) -> io::Result<()> {
        let length = buffer.len();
        let mut done = 0;
        while done < length {
            let offset = first_block * BLOCK_SIZE as u64 + done as u64;
            let part = retry_on_intr(|| pread(&self.file, &mut buffer[done..], offset));
            match part.map_err(|error| explain(&self.path, "read", &error.into()))? {
                // Half a block is the end of a file that is no multiple of a block.
                count if count > 0 && count % BLOCK_SIZE == 0 => done += count,
                _ => return Err(self.short("read", offset, io::ErrorKind::UnexpectedEof)),
            }
        }
        Ok(())
    }

    /// Writes the buffer to the device, from this block on. When it returns the device has it,
    /// perhaps in a cache of its own: another machine reads it, and a power cut may take it back.
    ///
    /// # Errors
    /// With the path: what the device says; `WriteZero` when it took less than was given. Nothing
    /// is known then of what is on the device.
    pub fn write(&self, first_block: u64, buffer: &Aligned) -> io::Result<()> {
        let offset = first_block * BLOCK_SIZE as u64;
        let written = retry_on_intr(|| pwrite(&self.file, buffer, offset))
            .map_err(|error| explain(&self.path, "write", &error.into()))?;
        if written != buffer.len() {
            return Err(self.short("write", offset, io::ErrorKind::WriteZero));
        }
        Ok(())
    }

    fn short(&self, operation: &str, offset: u64, kind: io::ErrorKind) -> io::Error {
        let block = offset / BLOCK_SIZE as u64;
        let shown = self.path.display();
        io::Error::new(kind, format!("can not {operation} all of block {block} of {shown}"))
    }

    /// Forces what was written out of the device's own cache.
    ///
    /// # Errors
    /// With the path: what the device says.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(|error| explain(&self.path, "sync", &error))
    }

    /// Whole blocks on the device when it was opened.
    #[must_use]
    pub fn size_blocks(&self) -> u64 {
        self.size
    }

    /// Which device or file it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The path that it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What failed, where, why, and what to do; the kernel's number is kept as the source.
fn explain(path: &Path, operation: &'static str, error: &io::Error) -> io::Error {
    let number = error.raw_os_error();
    let mend = match number {
        Some(libc::EINVAL) if operation == "open" => {
            "its file system has no direct I/O, without which other machines do not see what is \
             written: use a block device, or a file on ext4, xfs or NFS"
        }
        Some(libc::EBUSY) => "it is mounted or used by this machine: stop that first",
        Some(libc::EROFS) => "it is read-only",
        Some(libc::EACCES | libc::EPERM) => {
            "it is write-protected, or this user may not use it: run as root"
        }
        Some(libc::ENOENT) => "there is no such device: check the path and the cabling",
        Some(libc::ENXIO | libc::ENODEV | libc::ENOMEDIUM) => "the device is gone",
        Some(libc::EIO) => "the device failed",
        _ => "",
    };
    let text = format!("can not {operation} {}: {error}", path.display());
    let text = if mend.is_empty() { text } else { format!("{text}: {mend}") };
    io::Error::new(error.kind(), DeviceError { text, number })
}

#[derive(Debug)]
struct DeviceError {
    text: String,
    number: Option<i32>,
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for DeviceError {}

/// The kernel's number of an error of this module or of the kernel.
fn error_number(error: &io::Error) -> Option<i32> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<DeviceError>());
    inner.map_or_else(|| error.raw_os_error(), |inner| inner.number)
}

/// The operation that is running now, seen from other threads.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<AtomicU64>);

impl Running {
    /// No operation runs.
    #[must_use]
    pub fn new() -> Running {
        Running::default()
    }

    /// An operation starts.
    pub fn begin(&self, now: Instant) {
        // 0 stands for none; a nanosecond of error is none.
        self.0.store(now.as_nanos().max(1), Ordering::Release);
    }

    /// It has come back.
    pub fn end(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// For how long the operation has been running; None when none is.
    #[must_use]
    pub fn since(&self, now: Instant) -> Option<Duration> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            start => Some(now.since(Instant::from_nanos(start).min(now))),
        }
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Blocks were read.
    Read,
    /// Blocks were written.
    Write,
}

/// How a device is doing, the worse the greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Operations succeed within the limit.
    #[default]
    Good,
    /// An operation took longer than the limit.
    Slow,
    /// It refuses writes.
    ReadOnly,
    /// An operation failed.
    Failing,
    /// An operation has been running for longer than the limit and has not come back.
    Hung,
}

impl State {
    /// The state's name, for people and programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Good => "good",
            State::Slow => "slow",
            State::ReadOnly => "read-only",
            State::Failing => "failing",
            State::Hung => "hung",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a device is doing, from what became of its operations. A direction gets worse at once, and
/// better when three operations in a row went better.
#[derive(Clone, Debug)]
pub struct Health {
    limit: Duration,
    read: Course,
    write: Course,
    error: Option<String>,
}

/// How one direction is doing.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    state: State,
    /// The worst of the operations since, all better than the state, and their number.
    since: State,
    better: u8,
}

impl Course {
    fn add(&mut self, state: State) {
        if state >= self.state {
            *self = Course { state, ..Course::default() };
            return;
        }
        self.since = self.since.max(state);
        self.better += 1;
        if self.better >= RECOVERY {
            *self = Course { state: self.since, ..Course::default() };
        }
    }
}

impl Health {
    /// A device that nothing is known of counts as good. `limit`: how long an operation may take.
    #[must_use]
    pub fn new(limit: Duration) -> Health {
        Health { limit, read: Course::default(), write: Course::default(), error: None }
    }

    /// An operation has come back after `took`.
    pub fn ended(&mut self, operation: Operation, took: Duration, outcome: &io::Result<()>) {
        let state = match outcome {
            Ok(()) if took > self.limit => State::Slow,
            Ok(()) => State::Good,
            Err(error) => {
                self.error = Some(error.to_string());
                match (operation, error_number(error)) {
                    // A block device that was set read-only says that it is not permitted.
                    (Operation::Write, Some(libc::EROFS | libc::EPERM | libc::EACCES)) => {
                        State::ReadOnly
                    }
                    _ => State::Failing,
                }
            }
        };
        match operation {
            Operation::Read => self.read.add(state),
            Operation::Write => self.write.add(state),
        }
    }

    /// The worse of both directions. `running`: since when an operation has been running
    /// ([`Running::since`]).
    #[must_use]
    pub fn state(&self, running: Option<Duration>) -> State {
        if running.is_some_and(|running| running > self.limit) {
            return State::Hung;
        }
        self.read.state.max(self.write.state)
    }

    /// What the last operation that failed said; None when all is well again.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        let failed = self.read.state.max(self.write.state) >= State::ReadOnly;
        self.error.as_deref().filter(|_| failed)
    }
}
