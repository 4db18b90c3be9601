//! Serial lines: a pair of pseudoterminals, and a thread between them that is the cable.
//!
//! A pseudoterminal takes bytes as fast as they come; a line does not. So the thread lets through
//! what [`BAUD`] allows, and what is wrong with a line happens there: nothing gets through in a
//! direction, bytes come out as others, or the line stands still. Bytes for an end that nobody has
//! open are lost, as on a cable whose other end is a machine without power.
//!
//! The thread never has the node's side open: the last close of a terminal is what frees it for the
//! next daemon, as with a real port. It looks every few milliseconds whether somebody opened it.
//!
//! The terminals are in a file system of their own. Names of the usual one (`/dev/pts/0`) are given
//! again and again, and a daemon outside that still waits for one would take it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, ptsname, unlockpt};

use crate::clock;
use crate::enter;
use crate::lab::Lab;
use crate::spec;

/// Speed of all lines; the daemons' default.
const BAUD: u32 = 115_200;
/// Bits on the line per byte: start, eight, stop.
const BITS: u32 = 10;
/// Bytes that are carried at once: about 11 ms.
const CHUNK: usize = 128;
/// How often a terminal that nobody has open is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What is wrong with a line; per direction where both could differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Faults {
    /// From the first end to the second, and back.
    cut: [bool; 2],
    /// So many bytes of a thousand come out as others.
    noise: u32,
    paused: bool,
}

pub(crate) struct Line {
    /// Names of the nodes at its ends.
    ends: [String; 2],
    faults: Arc<Mutex<Faults>>,
    wake: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Line {
    /// Lays one; its ends are symbolic links in the nodes' root directories.
    pub(crate) fn lay(terminals: &Terminals, one: u8, other: u8) -> Result<Self> {
        let ends = [spec::node_name(one), spec::node_name(other)];
        let mut sides = Vec::new();
        for (own, peer) in [(&ends[0], &ends[1]), (&ends[1], &ends[0])] {
            let (side, name) = terminals.make().context("making a pseudoterminal")?;
            let place = spec::line_path(own, peer);
            std::os::unix::fs::symlink(&name, &place)
                .with_context(|| format!("naming {}", place.display()))?;
            sides.push(side);
        }
        let faults = Arc::new(Mutex::new(Faults::default()));
        let (woken, wake) = rustix::pipe::pipe_with(
            rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK,
        )?;
        let sides = <[OwnedFd; 2]>::try_from(sides).expect("two were pushed");
        let mut seed = [0; 8];
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
        let relay = Relay {
            sides,
            woken,
            faults: Arc::clone(&faults),
            free_at: [Duration::ZERO; 2],
            closed_at: [None; 2],
            chance: Chance(u64::from_ne_bytes(seed) | 1),
        };
        let thread = std::thread::Builder::new().name("line".to_owned());
        let thread = thread.spawn(move || relay.run()).context("starting the line's thread")?;
        Ok(Self { ends, faults, wake: Some(wake), thread: Some(thread) })
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(wake) = &self.wake {
            // A full pipe wakes as well.
            let _full = rustix::io::write(wake, &[0]);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// The file system of the lab's terminals.
pub(crate) struct Terminals {
    place: PathBuf,
}

impl Terminals {
    /// Mounts it. Before nodes are switched on, so that they see it.
    pub(crate) fn mount() -> Result<Self> {
        let place = Path::new(enter::DIRECTORY).join(".terminals");
        std::fs::create_dir_all(&place)?;
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        mount("devpts", &place, "devpts", flags, Some(c"ptmxmode=0600,mode=0600"))
            .context("mounting a file system for serial lines (devpts)")?;
        Ok(Self { place })
    }

    /// The lab's side of a new one, and the name of the node's.
    fn make(&self) -> Result<(OwnedFd, PathBuf)> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let side = rustix::fs::open(self.place.join("ptmx"), flags, Mode::empty())?;
        unlockpt(&side)?;
        let usual = ptsname(&side, Vec::new())?;
        let usual = Path::new(usual.to_str().context("a terminal's name is text")?).to_owned();
        let number = usual.file_name().context("a terminal's name ends with its number")?;
        // Opened and closed once: only then the kernel tells us that nobody has it open.
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        drop(ioctl_tiocgptpeer(&side, flags)?);
        Ok((side, self.place.join(number)))
    }
}

impl Drop for Terminals {
    fn drop(&mut self) {
        let _gone = unmount(&self.place, UnmountFlags::DETACH);
    }
}

struct Relay {
    sides: [OwnedFd; 2],
    woken: OwnedFd,
    faults: Arc<Mutex<Faults>>,
    /// Per direction: until then the bytes before are on their way.
    free_at: [Duration; 2],
    /// Since when nobody has that side open, as far as is known.
    closed_at: [Option<Duration>; 2],
    chance: Chance,
}

impl Relay {
    /// Until the lab's end of the pipe is closed.
    fn run(mut self) {
        loop {
            let faults = *self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            let now = clock::now();
            // When a side may be read again, if not now.
            let ready_at = [0, 1].map(|side| {
                let look = self.closed_at[side].map_or(Duration::ZERO, |since| since + LOOK);
                look.max(self.free_at[side])
            });
            let is_ready = ready_at.map(|at| at <= now && !faults.paused);
            let waits = ready_at.into_iter().filter(|at| *at > now && !faults.paused);
            let limit = waits.min().map(|at| clock::timespec(at - now));
            let mut entries = vec![PollFd::new(&self.woken, PollFlags::IN)];
            for side in [0, 1].into_iter().filter(|side| is_ready[*side]) {
                entries.push(PollFd::new(&self.sides[side], PollFlags::IN));
            }
            if let Err(error) = poll(&mut entries, limit.as_ref()) {
                assert!(error == Errno::INTR, "open descriptors can be waited for: {error}");
                continue;
            }
            let events: Vec<PollFlags> = entries.iter().map(PollFd::revents).collect();
            if events[0].contains(PollFlags::IN) {
                let _emptied = rustix::io::read(&self.woken, &mut [0; 64]);
                continue;
            }
            if events[0].contains(PollFlags::HUP) {
                return;
            }
            let mut events = events.into_iter().skip(1);
            for side in [0, 1].into_iter().filter(|side| is_ready[*side]) {
                let event = events.next().expect("an entry was pushed for each");
                if event.contains(PollFlags::IN) {
                    self.closed_at[side] = None;
                    self.carry(side, faults);
                } else if event.contains(PollFlags::HUP) {
                    self.closed_at[side] = Some(now);
                } else {
                    self.closed_at[side] = None;
                }
            }
        }
    }

    /// Some bytes from this side to the other.
    fn carry(&mut self, from: usize, faults: Faults) {
        let mut bytes = [0; CHUNK];
        // Hung up between the look and now: the next look says so.
        let Ok(count) = rustix::io::read(&self.sides[from], &mut bytes) else { return };
        let bytes = &mut bytes[..count];
        let took = Duration::from_secs(1) * count as u32 * BITS / BAUD;
        self.free_at[from] = clock::now().max(self.free_at[from]) + took;
        if faults.cut[from] || self.closed_at[1 - from].is_some() {
            return;
        }
        for byte in bytes.iter_mut() {
            if self.chance.permille(faults.noise) {
                *byte = !*byte;
            }
        }
        // What the far end has no room for is lost, as in a UART that is not read.
        let _overrun = rustix::io::write(&self.sides[1 - from], bytes);
    }
}

/// Chance by xorshift (Marsaglia 2003): good enough for noise.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    fn permille(&mut self, permille: u32) -> bool {
        permille > 0 && self.below(1000) < u64::from(permille)
    }
}

impl Lab {
    /// The line between two nodes, and whether it was laid from the second to the first.
    fn line(&self, one: &str, other: &str) -> Result<(&Line, bool)> {
        for line in &self.lines {
            let ends = [line.ends[0].as_str(), line.ends[1].as_str()];
            if ends == [one, other] || ends == [other, one] {
                return Ok((line, ends[0] != one));
            }
        }
        let all: Vec<String> = self.lines.iter().map(|line| line.ends.join("–")).collect();
        let there = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
        anyhow::bail!("there is no line between {one} and {other}; the lines: {there}")
    }

    /// Nothing gets through the line between two nodes.
    ///
    /// # Errors
    /// When there is no such line.
    pub fn line_cut(&self, one: &str, other: &str) -> Result<()> {
        self.line(one, other)?.0.change(|faults| faults.cut = [true, true]);
        Ok(())
    }

    /// Nothing gets through the line from one node to the other; the way back works.
    ///
    /// # Errors
    /// When there is no such line.
    pub fn line_cut_one_way(&self, from: &str, to: &str) -> Result<()> {
        let (line, backwards) = self.line(from, to)?;
        line.change(|faults| faults.cut[usize::from(backwards)] = true);
        Ok(())
    }

    /// So many bytes of a thousand come out of the line as others, in both directions; 0 repairs.
    ///
    /// # Errors
    /// When there is no such line, or more than 1,000 are asked for.
    pub fn line_noise(&self, one: &str, other: &str, permille: u32) -> Result<()> {
        ensure!(permille <= 1000, "of a thousand bytes at most 1000 can be spoiled");
        self.line(one, other)?.0.change(|faults| faults.noise = permille);
        Ok(())
    }

    /// The line stands still: bytes wait in it, and get through when it is healed.
    ///
    /// # Errors
    /// When there is no such line.
    pub fn line_pause(&self, one: &str, other: &str) -> Result<()> {
        self.line(one, other)?.0.change(|faults| faults.paused = true);
        Ok(())
    }

    /// Repairs a line.
    ///
    /// # Errors
    /// When there is no such line.
    pub fn line_heal(&self, one: &str, other: &str) -> Result<()> {
        self.line(one, other)?.0.change(|faults| *faults = Faults::default());
        Ok(())
    }

    /// Repairs all lines and the shared disk.
    pub(crate) fn heal_media(&self) -> Result<()> {
        for line in &self.lines {
            line.change(|faults| *faults = Faults::default());
        }
        if self.disk_can_fail() { self.disk_thaw(None) } else { Ok(()) }
    }
}
