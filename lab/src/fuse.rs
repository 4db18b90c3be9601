//! One file that only exists in this process, served to one node: a disk that can hang.
//!
//! A shared disk fails in ways that no file of a real file system does on demand: it answers nothing
//! for minutes, or an error to everything. So the lab answers the kernel's requests itself, by the
//! FUSE protocol (`linux/fuse.h`, version 7.31) over `/dev/fuse`; the file system is a single file,
//! mounted over a plain file. Each node has a mount of its own on the same bytes, because what fails
//! may be the disk or the way of one node to it. While it is frozen no request is taken: whoever
//! reads or writes waits in the kernel, and only a thaw or its death ends that. (A real disk does
//! not even let a process die.)

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::clock;

/// The bytes of the disk.
pub(crate) type Content = Arc<Mutex<Vec<u8>>>;

/// What the disk does with what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Well,
    /// It takes so long for each request, one after the other.
    Slow(Duration),
    /// It answers nothing.
    Frozen,
    /// It answers every read and write with an error.
    Broken,
}

/// A mount and the thread that serves it.
pub(crate) struct Mount {
    place: PathBuf,
    health: Arc<Mutex<Health>>,
    /// Written to when `health` changes; its end is the end of the thread.
    wake: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// `struct fuse_in_header` and `struct fuse_out_header`.
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;
/// `struct fuse_write_in`, which the data follows.
const WRITE_HEADER: usize = 40;
/// Largest write that the kernel hands over: 32 pages, its default.
const WRITE_MAX: usize = 128 << 10;
const ATTRIBUTES: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const INIT: u32 = 26;
const ACCESS: u32 = 34;
/// Requests without an answer: forget, interrupt, forget several.
const UNANSWERED: [u32; 3] = [2, 36, 42];
const VERSION: (u32, u32) = (7, 31);
/// The kernel keeps no pages of it: what one node wrote the other one reads.
const DIRECT: u32 = 1;
/// No request when somebody closes it, as with a device. Programs that are started while the disk is
/// frozen would hang in exec(2), which closes what they inherit, and with them whoever looks at them
/// in `/proc`: the whole machine.
const NO_FLUSH: u32 = 1 << 5;
/// Seconds for which the kernel may believe the size: it never changes.
const BELIEVED: u64 = 3600;
const INODE: u64 = 1;
const MODE: u32 = 0o100_600;

impl Mount {
    /// Mounts it over the plain file `place`.
    ///
    /// # Errors
    /// Where there is no `/dev/fuse`, or this user may not use it.
    pub(crate) fn over(place: &Path, content: &Content) -> Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = OwnedFd::from(device.context("opening /dev/fuse")?);
        let number = device.as_raw_fd();
        let data = format!("fd={number},rootmode=100600,user_id=0,group_id=0");
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("lab", place, "fuse", flags, Some(CString::new(data)?.as_c_str()))
            .context("mounting the shared disk")?;
        let health = Arc::new(Mutex::new(Health::Well));
        let (woken, wake) = rustix::pipe::pipe_with(
            rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK,
        )?;
        let server =
            Server { device, woken, health: Arc::clone(&health), content: Arc::clone(content) };
        let thread = std::thread::Builder::new().name("disk".to_owned());
        let thread = thread.spawn(move || server.run()).context("starting the disk's thread")?;
        let place = place.to_owned();
        Ok(Self { place, health, wake: Some(wake), thread: Some(thread) })
    }

    /// Its health before.
    pub(crate) fn set(&self, health: Health) -> Health {
        let mut own = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *own, health);
        drop(own);
        if let Some(wake) = &self.wake {
            // A full pipe wakes as well.
            let _full = rustix::io::write(wake, &[0]);
        }
        before
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Nodes may still hold copies of the mount: when the thread has closed the device, all that
        // wait for it get an error.
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
        let _gone = unmount(&self.place, UnmountFlags::DETACH);
    }
}

struct Server {
    device: OwnedFd,
    woken: OwnedFd,
    health: Arc<Mutex<Health>>,
    content: Content,
}

impl Server {
    /// Until the lab's end is closed or the file system is gone.
    fn run(self) {
        let mut request = vec![0; WRITE_MAX + (8 << 10)];
        loop {
            let health = *self.health.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = match health {
                Health::Frozen => PollFlags::empty(),
                Health::Well | Health::Slow(_) | Health::Broken => PollFlags::IN,
            };
            let mut entries =
                [PollFd::new(&self.woken, PollFlags::IN), PollFd::new(&self.device, wanted)];
            if let Err(error) = poll(&mut entries, None) {
                assert!(error == Errno::INTR, "two open descriptors can be waited for: {error}");
                continue;
            }
            let (woken, asked) = (entries[0].revents(), entries[1].revents());
            if woken.contains(PollFlags::IN) {
                let _emptied = rustix::io::read(&self.woken, &mut [0; 64]);
                continue;
            }
            if woken.contains(PollFlags::HUP) || asked.contains(PollFlags::ERR) {
                return;
            }
            match rustix::io::read(&self.device, &mut request) {
                Ok(length) => {
                    if let Health::Slow(delay) = health {
                        self.linger(delay);
                    }
                    if let Some(answer) = self.answer(&request[..length], health) {
                        // Whoever asked may have died meanwhile.
                        let _nobody = rustix::io::write(&self.device, &answer);
                    }
                }
                Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => {}
                Err(_unmounted) => return,
            }
        }
    }

    /// Waits, but no longer than this health lasts: what comes meanwhile is left for the loop to see.
    fn linger(&self, delay: Duration) {
        let mut entries = [PollFd::new(&self.woken, PollFlags::IN)];
        match poll(&mut entries, Some(&clock::timespec(delay))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("an open descriptor can be waited for: {error}"),
        }
    }

    fn answer(&self, request: &[u8], health: Health) -> Option<Vec<u8>> {
        let (code, unique) = (word(request, 4), long(request, 8));
        if UNANSWERED.contains(&code) {
            return None;
        }
        let body = request.get(IN_HEADER..).unwrap_or_default();
        let outcome = match (code, health) {
            (READ | WRITE | FSYNC, Health::Broken) => Err(Errno::IO),
            (READ, _) => Ok(self.read(body)),
            (WRITE, _) => self.write(body),
            (INIT, _) => Ok(init(body)),
            (ATTRIBUTES, _) => Ok(self.attributes()),
            (OPEN, _) => Ok([numbers(&[0]), halves(&[DIRECT | NO_FLUSH, 0])].concat()),
            (RELEASE | FSYNC | ACCESS, _) => Ok(Vec::new()),
            _ => Err(Errno::NOSYS),
        };
        let (error, body) = match outcome {
            Ok(body) => (0, body),
            Err(error) => (-error.raw_os_error(), Vec::new()),
        };
        let mut answer = Vec::with_capacity(OUT_HEADER + body.len());
        answer.extend(((OUT_HEADER + body.len()) as u32).to_ne_bytes());
        answer.extend(error.to_ne_bytes());
        answer.extend(unique.to_ne_bytes());
        answer.extend(body);
        Some(answer)
    }

    fn read(&self, body: &[u8]) -> Vec<u8> {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(long(body, 8)).unwrap_or(usize::MAX).min(content.len());
        let end = start.saturating_add(word(body, 16) as usize).min(content.len());
        content[start..end].to_vec()
    }

    fn write(&self, body: &[u8]) -> Result<Vec<u8>, Errno> {
        let data = body.get(WRITE_HEADER..).unwrap_or_default();
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(long(body, 8)).unwrap_or(usize::MAX);
        let end = start.checked_add(data.len()).filter(|end| *end <= content.len());
        // A disk does not grow.
        content[start..end.ok_or(Errno::NOSPC)?].copy_from_slice(data);
        Ok(halves(&[data.len() as u32, 0]))
    }

    /// `struct fuse_attr_out`
    fn attributes(&self) -> Vec<u8> {
        let size = self.content.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
        let times = [0; 3];
        [
            numbers(&[BELIEVED, 0, INODE, size, size / 512]),
            numbers(&times),
            // Fractions of the times, mode, links, user, group, device, block size, flags.
            halves(&[0, 0, 0, MODE, 1, 0, 0, 0, 4096, 0]),
        ]
        .concat()
    }
}

/// `struct fuse_init_out`: no wishes beside the size of writes.
fn init(body: &[u8]) -> Vec<u8> {
    let readahead = word(body, 8);
    let mut answer = halves(&[VERSION.0, VERSION.1, readahead, 0, 0, WRITE_MAX as u32, 1]);
    answer.resize(64, 0);
    answer
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let part = bytes.get(at..at + 4).and_then(|part| part.try_into().ok());
    part.map_or(0, u32::from_ne_bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let part = bytes.get(at..at + 8).and_then(|part| part.try_into().ok());
    part.map_or(0, u64::from_ne_bytes)
}

fn numbers(list: &[u64]) -> Vec<u8> {
    list.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

fn halves(list: &[u32]) -> Vec<u8> {
    list.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

/// Why there can be none, in a word for people.
pub(crate) fn is_missing(error: &anyhow::Error) -> bool {
    let kind = error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied))
}
