//! File systems that are mounted here, and who uses them.
//!
//! What is mounted is read from `/proc/self/mountinfo` (proc_pid_mountinfo(5)): the kernel answers from
//! memory, so that never waits for a device. It shows this mount namespace only. Whether **any** mount of
//! a block device is left, detached ones and those of other namespaces included, is told by an
//! exclusive open of the device: a mounted file system claims its device until it is written back and
//! given up ([`is_free`]).
//!
//! **[`users`], [`is_free`] and [`answers`] may wait for the device**, where no signal reaches them: they
//! are for a process of their own that can be left behind. [`users`] waits for no other process longer than
//! 0.1 s, and names those that do not let it look.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, StatxFlags};

use crate::block::{Aligned, Device};
use crate::process::watch::{Ended, Watch, watched};

#[cfg(test)]
mod tests;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The number of its device, as of [`number`].
    pub device: (u32, u32),
    /// Where.
    pub directory: PathBuf,
    /// Its kind.
    pub filesystem: String,
    /// What it was mounted from.
    pub source: String,
    /// The options of this mount.
    pub options: String,
    /// The options of the file system.
    pub super_options: String,
}

impl Mount {
    /// Whether nothing can be written: by its options, or because of errors.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        let mut all = self.options.split(',').chain(self.super_options.split(','));
        all.any(|option| matches!(option, "ro" | "emergency_ro"))
    }
}

/// All mounts of this namespace, later ones over earlier ones.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn table() -> io::Result<Vec<Mount>> {
    let text = fs::read("/proc/self/mountinfo")?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(line).collect())
}

/// What is seen in a directory: the last one that was mounted there.
#[must_use]
pub fn on<'a>(table: &'a [Mount], directory: &Path) -> Option<&'a Mount> {
    table.iter().rfind(|mount| mount.directory == directory)
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime shared:1 - ext3 /dev/root rw,errors=continue`
fn line(line: &[u8]) -> Option<Mount> {
    let line = String::from_utf8_lossy(line);
    let (head, tail) = line.split_once(" - ")?;
    let head: Vec<&str> = head.split(' ').collect();
    let mut tail = tail.split(' ');
    let (major, minor) = head.get(2)?.split_once(':')?;
    Some(Mount {
        device: (major.parse().ok()?, minor.parse().ok()?),
        directory: plain(head.get(4)?).into(),
        options: (*head.get(5)?).to_owned(),
        filesystem: tail.next()?.to_owned(),
        source: plain(tail.next()?),
        super_options: tail.next().unwrap_or_default().to_owned(),
    })
}

/// Blanks and backslashes are written as three octal digits.
fn plain(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Major and minor number of a block device.
///
/// # Errors
/// When there is no such file, or it is something else ([`io::ErrorKind::InvalidInput`]).
pub fn number(device: &Path) -> io::Result<(u32, u32)> {
    let metadata = fs::metadata(device)?;
    if !metadata.file_type().is_block_device() {
        let sentence = format!("{} is no block device", device.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
    }
    let number = metadata.rdev();
    Ok((rustix::fs::major(number), rustix::fs::minor(number)))
}

/// The kernel's own node of a block device, whatever became of other names for it; none when the kernel
/// has no such device.
///
/// # Errors
/// When the kernel has it, and there is no node of it in `/dev`.
pub fn node(number: (u32, u32)) -> io::Result<Option<PathBuf>> {
    let (major, minor) = number;
    let known = match fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent")) {
        Ok(known) => known,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let name = known.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    let path = name.map(|name| Path::new("/dev").join(name));
    match path {
        Some(path) if self::number(&path).is_ok_and(|found| found == number) => Ok(Some(path)),
        _ => {
            let sentence = format!("there is no node of the block device {major}:{minor} in /dev");
            Err(io::Error::new(io::ErrorKind::NotFound, sentence))
        }
    }
}

/// Whether nothing on this machine has claimed the device: no mount, of any namespace and detached ones
/// included, no volume group, no RAID. May wait for the device.
///
/// # Errors
/// When the device cannot be opened at all.
pub fn is_free(device: &Path) -> io::Result<bool> {
    // Without O_CREAT it is an exclusive claim of a block device (open(2)).
    let claim = rustix::fs::OFlags::EXCL.bits().cast_signed();
    let opened = fs::OpenOptions::new().read(true).custom_flags(claim).open(device);
    match opened {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Ok(false),
        Err(error) => Err(error),
    }
}

/// Reads from the device past every cache. May wait for the device.
///
/// # Errors
/// When it does not give its first block.
pub fn answers(device: &Path) -> io::Result<()> {
    Device::open_to_read(device)?.read(0, &mut Aligned::new(1))
}

/// A process that lets nobody get on with the look for as long is left out of it.
const LOOK_MAX: Duration = Duration::from_millis(100);

/// A process that keeps a file system in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub pid: u32,
    /// When it started, in the kernel's ticks: tells it from a later process of the same number.
    pub started: u64,
    /// Its name.
    pub name: String,
    /// What it uses: `works in it`, `has its root in it`, `runs a program of it`, `has FILE open`, `maps FILE`.
    pub how: String,
}

/// What a look at a process has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It uses the file system; the first use of it.
    User(User),
    /// The process of this number did not let anybody look, as one in the middle of execve(2) from a
    /// file system that hangs: it may use it.
    Silent(u32),
}

/// Finds the processes that use the file system of a directory. Each is told as soon as it is found:
/// what comes after it may take its time, or may wait for a device.
///
/// # Errors
/// When the directory or `/proc` cannot be read. Processes that end meanwhile are left out.
pub fn users(directory: &Path, mut found: impl FnMut(Found)) -> io::Result<()> {
    let device = device(directory)?;
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let process = entry.path();
        let look = watched(LOOK_MAX, move |watch| {
            let Some(how) = use_of(pid, &process, device, watch)? else { return Ok(None) };
            let Some(started) = crate::process::started(pid)? else { return Ok(None) };
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            Ok(Some(User { pid, started, name: name.trim().to_owned(), how }))
        });
        match look {
            Ok(Ended::Told(Some(user))) => found(Found::User(user)),
            Ok(Ended::Told(None)) => {}
            Ok(Ended::Waits(_)) | Err(_) => found(Found::Silent(pid)),
        }
    }
    Ok(())
}

/// The file system that a path leads to, as of stat(2). With `AT_STATX_DONT_SYNC`, and nothing else asked
/// for, the kernel answers from memory for FUSE and, as a rule, for NFS (statx(2)), where stat(2) asks
/// the server. Others may wait all the same.
fn device(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::empty())?;
    Ok(rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor))
}

/// What a process uses of the device `on`.
fn use_of(pid: u32, process: &Path, on: u64, watch: &Watch) -> io::Result<Option<String>> {
    let is_on = |path: &Path| -> io::Result<bool> {
        watch.step(pid)?;
        Ok(device(path).is_ok_and(|device| device == on))
    };
    let links =
        [("cwd", "works in it"), ("root", "has its root in it"), ("exe", "runs a program of it")];
    for (link, how) in links {
        if is_on(&process.join(link))? {
            return Ok(Some(how.to_owned()));
        }
    }
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    for descriptor in descriptors {
        if is_on(&descriptor.path())? {
            let file = fs::read_link(descriptor.path()).unwrap_or_default();
            return Ok(Some(format!("has {} open", file.display())));
        }
    }
    watch.step(pid)?;
    // address, permissions, offset, device, inode, path (proc_pid_maps(5))
    let maps = fs::read(process.join("maps")).unwrap_or_default();
    let (major, minor) = (rustix::fs::major(on), rustix::fs::minor(on));
    let on_device = format!("{major:02x}:{minor:02x}");
    Ok(String::from_utf8_lossy(&maps).lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let is_it = fields.nth(3)? == on_device;
        let file = fields.nth(1)?;
        is_it.then(|| format!("maps {file}"))
    }))
}
