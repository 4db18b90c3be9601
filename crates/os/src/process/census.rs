//! Who has left the control group of a service: found among all processes, without allocating and without
//! asking any of them.
//!
//! A process can leave its control group: whoever may write the file of another group moves it there, and a
//! login (`su -`, `sudo`, `runuser -l` with `pam_systemd`) is moved by the service manager, into the group of
//! its session. To kill the group does not reach it then, and the group is empty while it runs. What it
//! cannot leave without more ado is seen here, from `/proc/PID/stat` and `/proc/PID/cgroup`, which no hanging
//! file system holds up (but with kernel 6.18.44 `stat` waits for a process that hangs in execve(2)):
//!
//! - its **session** is that of a first process of the service;
//! - its **parents** lead to a process in the group, or to one that was found to belong to the service;
//! - it is an **orphan that nobody else accounts for**: all that a daemon starts is below the guard, which takes over
//!   the orphans of it. One that is in no group of ours, and not where guard and daemon are themselves, was a
//!   service's.
//!
//! The mark in its environment is the fourth evidence ([`Found::has_mark`]); to read it may wait for the process.
//! [`Census::look`] first, then [`Census::own`] for each service, then [`Census::settle`]; then [`Census::found`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read};
use rustix::process::{Signal, pidfd_send_signal};

use super::search::{each_process, has_marker, is_alive, open_below, stat_field};

#[cfg(test)]
mod tests;

/// Processes of a machine that can be told apart.
pub const CENSUS_MAX: usize = 32_768;
/// Parents of a process that are followed.
const DEPTH_MAX: usize = 256;
/// Bytes of a process's `cgroup` file: a line for each hierarchy, and a path of at most 4,096.
const GROUPS_MAX: usize = 8_192;
/// How the names of all trees begin: [`crate::cgroup::tree_name`].
const TREES: &str = "mainstay-";
/// The start of a process that hangs: no number that the kernel gives, and younger than whoever began its session.
pub(super) const STARTED_UNKNOWN: u64 = u64::MAX;
/// Of no owner that is known.
const NOBODY: u16 = u16::MAX;
/// Of a service of the tree that nobody has named.
const ANOTHER: u16 = u16::MAX - 1;
/// Of the node's other tree, where it is judged.
const SIBLING: u16 = u16::MAX - 2;
/// What the name of the tree of hooks ends with.
const HOOKS: &str = "-hooks";

/// Where a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a group of the tree.
    Inside,
    /// Where this process and the roots are, or in the tree of another node: there are processes that are no service's.
    Beside,
    /// In a group of the node's other tree: that of hooks for services, that of services for hooks.
    Sibling,
    /// Anywhere else.
    Outside,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    started: u64,
    /// Checksums of the names of the groups below the tree: of the service, and of service and resource.
    groups: [u64; 2],
    pid: u32,
    parent: u32,
    session: u32,
    owner: u16,
    place: Place,
    /// To be judged.
    is_reached: bool,
    /// It or one of its parents is beside.
    is_beside: bool,
}

/// Whom to judge.
#[derive(Clone, Copy, Debug)]
pub enum Reach<'a> {
    /// All descendants of these processes, and who is of a session that counts.
    Below(&'a [u32]),
    /// Everybody.
    Everyone,
}

/// Whose a process is that has left its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Who was named by this number.
    Known(u16),
    /// A service that nobody has named.
    Another,
    /// Nobody knows. With `beside` it, or one of its parents, is where guard and daemon are: it may be a program
    /// that works for the daemon.
    Nobody {
        /// See there.
        beside: bool,
    },
}

/// A living process outside of the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub pid: u32,
    /// When it started, in ticks.
    pub started: u64,
    /// Whose it is.
    pub owner: Owner,
}

/// What belongs to an owner.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The sessions that its first processes began: number and start of these.
    pub sessions: &'a [(u32, u64)],
    /// Single processes: number and start.
    pub processes: &'a [(u32, u64)],
    /// The names of its groups below the tree.
    pub groups: Groups<'a>,
}

/// Groups below the tree.
#[derive(Clone, Copy, Debug)]
pub enum Groups<'a> {
    /// All.
    All,
    /// That of a service.
    Service(&'a str),
    /// That of a resource of a service.
    Resource(&'a str, &'a str),
}

/// All processes at one moment, in fixed memory.
#[derive(Debug)]
pub struct Census {
    seen: Vec<Seen>,
}

impl Default for Census {
    fn default() -> Census {
        Census { seen: Vec::with_capacity(CENSUS_MAX) }
    }
}

impl Census {
    /// Writes to all of its memory, so that its pages are there when it matters. Whom it saw is forgotten.
    pub fn touch(&mut self) {
        let nobody = Seen {
            started: 0,
            groups: [0; 2],
            pid: 0,
            parent: 0,
            session: 0,
            owner: NOBODY,
            place: Place::Outside,
            is_reached: false,
            is_beside: false,
        };
        self.seen.resize(self.seen.capacity(), nobody);
        std::hint::black_box(self.seen.as_mut_slice());
        self.seen.clear();
    }

    /// Looks at all processes, in place of whom it saw before. `tree` is the name of the tree; `spared` is a
    /// process that is beside, wherever it is.
    ///
    /// # Errors
    /// When `/proc` cannot be read, and when there are more than [`CENSUS_MAX`] processes (`E2BIG`).
    pub fn look(&mut self, tree: &str, reach: Reach<'_>, spared: u32) -> io::Result<()> {
        self.look_with(tree, reach, spared, seen, |_| {})
    }

    /// As [`Census::look`]; each process is looked at by `see`, and told to `step` before its groups are read.
    pub(super) fn look_with(
        &mut self,
        tree: &str,
        reach: Reach<'_>,
        spared: u32,
        mut see: impl FnMut(u32, &OwnedFd) -> Option<Seen>,
        mut step: impl FnMut(u32),
    ) -> io::Result<()> {
        self.seen.clear();
        let mut is_full = false;
        each_process(|pid, process| {
            let Some(seen) = see(pid, process) else { return };
            // Pushed in place only: this must not allocate.
            if self.seen.len() < self.seen.capacity() {
                self.seen.push(seen);
            } else {
                is_full = true;
            }
        })?;
        step(0);
        if is_full {
            return Err(Errno::TOOBIG.into());
        }
        self.seen.sort_unstable_by_key(|seen| seen.pid);
        let mut text = [0_u8; GROUPS_MAX];
        let mut homes = [0_u64; 4];
        homes[0] = home(std::process::id(), &mut text);
        homes[1] = home(spared, &mut text);
        if let Reach::Below(roots) = reach {
            for (home_of, &root) in homes[2..].iter_mut().zip(roots) {
                *home_of = home(root, &mut text);
            }
        }
        for at in 0..self.seen.len() {
            self.seen[at].is_reached = match reach {
                Reach::Everyone => true,
                Reach::Below(roots) => self.is_below(at, roots),
            };
            if self.seen[at].is_reached {
                step(self.seen[at].pid);
                self.place(at, tree, &homes, spared, &mut text);
            }
        }
        Ok(())
    }

    /// Forgets what belongs to whom.
    pub fn disown(&mut self) {
        for seen in &mut self.seen {
            seen.owner = NOBODY;
        }
    }

    /// Says what belongs to `owner`, a number below 65,533.
    pub fn own(&mut self, owner: u16, evidence: &Evidence<'_>) {
        assert!(owner < SIBLING, "three numbers are taken");
        let wanted = match evidence.groups {
            Groups::All => None,
            Groups::Service(service) => Some((0, checksum(&[service]))),
            Groups::Resource(service, resource) => Some((1, checksum(&[service, resource]))),
        };
        for at in 0..self.seen.len() {
            let seen = self.seen[at];
            let is_in_group = seen.is_reached
                && seen.place == Place::Inside
                && wanted.is_none_or(|(at, checksum)| seen.groups[at] == checksum);
            // The number of a session cannot be given to a new process while the session lives; but the
            // recorded one may be over, and its number another session's now. Its members are younger, and so is
            // who has the number.
            let is_of_session = evidence.sessions.iter().any(|&(pid, started)| {
                pid != 0
                    && seen.session == pid
                    && seen.started >= started
                    && !self.is_anothers(pid, started)
            });
            let is_named = evidence.processes.contains(&(seen.pid, seen.started));
            if is_in_group {
                self.seen[at].owner = owner;
            } else if (is_of_session || is_named) && seen.place != Place::Inside {
                (self.seen[at].owner, self.seen[at].is_reached) = (owner, true);
            }
        }
    }

    /// Whether the number of a process that started then is that of a living one that started at another time. One
    /// that hangs may be either.
    fn is_anothers(&self, pid: u32, started: u64) -> bool {
        self.at(pid)
            .map(|at| self.seen[at].started)
            .is_some_and(|now| now != started && now != STARTED_UNKNOWN)
    }

    fn at(&self, pid: u32) -> Option<usize> {
        self.seen.binary_search_by_key(&pid, |seen| seen.pid).ok()
    }

    /// Gives what has no owner to that of its nearest parent who has one.
    pub fn settle(&mut self) {
        for at in 0..self.seen.len() {
            let seen = self.seen[at];
            if !seen.is_reached || seen.place == Place::Inside || seen.owner != NOBODY {
                continue;
            }
            let mut is_beside = seen.place == Place::Beside;
            let mut owner = NOBODY;
            let mut parent = self.parent(at);
            for _ in 0..DEPTH_MAX {
                let Some(above) = parent.filter(|&above| self.seen[above].is_reached) else {
                    break;
                };
                let found = &self.seen[above];
                is_beside |= found.place == Place::Beside;
                owner = match (found.owner, found.place) {
                    (NOBODY, Place::Inside) => ANOTHER,
                    (NOBODY, Place::Sibling) => SIBLING,
                    (owner, _) => owner,
                };
                if owner != NOBODY {
                    break;
                }
                parent = self.parent(above);
            }
            if owner == NOBODY && seen.place == Place::Sibling {
                owner = SIBLING;
            }
            (self.seen[at].owner, self.seen[at].is_beside) = (owner, is_beside);
        }
    }

    /// Who has left its group, or never was in one: to be judged by its owner. Not those who belong to the node's other
    /// tree (hooks and services): they are judged there.
    pub fn found(&self) -> impl Iterator<Item = Found> + '_ {
        let outside =
            |seen: &&Seen| seen.is_reached && seen.place != Place::Inside && seen.owner != SIBLING;
        self.seen.iter().filter(outside).map(|seen| Found {
            pid: seen.pid,
            started: seen.started,
            owner: match seen.owner {
                NOBODY => Owner::Nobody { beside: seen.is_beside },
                ANOTHER => Owner::Another,
                owner => Owner::Known(owner),
            },
        })
    }

    fn parent(&self, at: usize) -> Option<usize> {
        self.at(self.seen[at].parent).filter(|&found| found != at)
    }

    fn is_below(&self, at: usize, roots: &[u32]) -> bool {
        let mut at = at;
        for _ in 0..DEPTH_MAX {
            if roots.contains(&self.seen[at].pid) {
                return false;
            }
            if roots.contains(&self.seen[at].parent) {
                return true;
            }
            match self.parent(at) {
                Some(parent) => at = parent,
                None => return false,
            }
        }
        false
    }

    fn place(&mut self, at: usize, tree: &str, homes: &[u64], spared: u32, text: &mut [u8]) {
        let seen = &mut self.seen[at];
        let path = group_of(seen.pid, text);
        // One whose group cannot be read has ended, or is judged by what else is known of it.
        let path = path.unwrap_or("");
        let mut names = path.split('/').skip_while(|name| *name != tree);
        if seen.pid == spared {
            seen.place = Place::Beside;
        } else if names.next().is_some() {
            let (service, resource) = (names.next().unwrap_or(""), names.next().unwrap_or(""));
            seen.groups = [checksum(&[service]), checksum(&[service, resource])];
            seen.place = Place::Inside;
        } else if path.split('/').any(|name| is_sibling(name, tree)) {
            seen.place = Place::Sibling;
        } else if homes.contains(&checksum(&[path]))
            || path.split('/').any(|name| name.starts_with(TREES))
        {
            seen.place = Place::Beside;
        }
    }
}

impl Found {
    /// Whether its environment has a mark that begins like this. **May wait for the process**, see
    /// [`Search::marker`](super::Search).
    #[must_use]
    pub fn has_mark(&self, mark: &str) -> bool {
        self.open().is_some_and(|process| has_marker(&process, mark))
    }

    /// Whether both are one process.
    #[must_use]
    pub fn is_same(&self, other: &Found) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }

    /// Whether it lives.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.open().is_some()
    }

    /// Sends SIGKILL; one that is gone is no error.
    ///
    /// # Errors
    /// When we may not.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Sends SIGTERM; one that is gone is no error.
    ///
    /// # Errors
    /// When we may not.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(process) = self.open() else { return Ok(()) };
        match pidfd_send_signal(process.as_fd(), signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Its `/proc/PID`, if it lives and is the same.
    fn open(&self) -> Option<OwnedFd> {
        let process = open_process(self.pid)?;
        let now = seen(self.pid, &process)?;
        (now.started == self.started).then_some(process)
    }
}

/// Whether one is the tree of the hooks of the other.
fn is_sibling(name: &str, tree: &str) -> bool {
    name.strip_suffix(HOOKS) == Some(tree) || tree.strip_suffix(HOOKS) == Some(name)
}

fn open_process(pid: u32) -> Option<OwnedFd> {
    let mut path = [0_u8; 24];
    path[..6].copy_from_slice(b"/proc/");
    let mut digits = [0_u8; 10];
    let mut number = pid;
    let mut count = 0;
    loop {
        digits[count] = b'0' + (number % 10) as u8;
        (number, count) = (number / 10, count + 1);
        if number == 0 {
            break;
        }
    }
    for (to, digit) in path[6..].iter_mut().zip(digits[..count].iter().rev()) {
        *to = *digit;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, &path[..6 + count], flags, Mode::empty()).ok()
}

/// What the kernel says of a living process. Kernels that guard `stat` against a concurrent execve(2) (6.18.44 does)
/// wait here for one that hangs in it.
pub(super) fn seen(pid: u32, process: &OwnedFd) -> Option<Seen> {
    let mut buffer = [0_u8; 1_024];
    let stat = open_below(process, c"stat").ok()?;
    let length = read(&stat, &mut buffer).ok()?;
    let stat = &buffer[..length];
    if !is_alive(stat) {
        return None;
    }
    let number = |field| stat_field(stat, field).and_then(|number| u32::try_from(number).ok());
    // The kernel's own threads have no session.
    Some(Seen::new(pid, stat_field(stat, 22)?, number(4)?, number(6).unwrap_or(0)))
}

/// The same of one that nobody waits for: `status` does not say when it started.
pub(super) fn seen_hanging(pid: u32, process: &OwnedFd) -> Option<Seen> {
    let mut buffer = [0_u8; 4_096];
    let status = open_below(process, c"status").ok()?;
    let length = read(&status, &mut buffer).ok()?;
    let line = |name: &str| {
        let mut lines = buffer[..length].split(|&byte| byte == b'\n');
        let line = lines.find_map(|line| line.strip_prefix(name.as_bytes()))?;
        // For sessions there is one number for each namespace, from that of `/proc` inwards.
        std::str::from_utf8(line).ok()?.split_whitespace().next()?.parse().ok()
    };
    Some(Seen::new(pid, STARTED_UNKNOWN, line("PPid:")?, line("NSsid:").unwrap_or(0)))
}

impl Seen {
    fn new(pid: u32, started: u64, parent: u32, session: u32) -> Seen {
        Seen {
            started,
            groups: [0; 2],
            pid,
            parent,
            session,
            owner: NOBODY,
            place: Place::Outside,
            is_reached: false,
            is_beside: false,
        }
    }
}

/// The group of a process in the version 2 hierarchy.
fn group_of(pid: u32, text: &mut [u8]) -> Option<&str> {
    let process = open_process(pid)?;
    let file = open_below(&process, c"cgroup").ok()?;
    let mut length = 0;
    while length < text.len() {
        match read(&file, &mut text[length..]).ok()? {
            0 => break,
            count => length += count,
        }
    }
    let line =
        text[..length].split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::"));
    std::str::from_utf8(line?).ok()
}

/// The checksum of a process's group; one that no path has if there is none.
fn home(pid: u32, text: &mut [u8]) -> u64 {
    group_of(pid, text).map_or(0, |path| checksum(&[path]))
}

/// FNV-1a over names, each with an end.
fn checksum(names: &[&str]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for name in names {
        for byte in name.bytes().chain([b'/']) {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    sum
}
