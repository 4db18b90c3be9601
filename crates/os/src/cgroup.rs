//! Control groups (cgroups(7), version 2): the box that a process and all its descendants stay in
//! unless somebody with the right to do so moves them ([`crate::process::Census`] finds these).
//!
//! One tree per node, `mainstay-CLUSTER-NODE-xxxxxxxx`, below the mount of `cgroup2` that
//! `/proc/self/mountinfo` names (on machines with version 1 it is not `/sys/fs/cgroup`); below it one
//! group per service, and in that one per resource. No controller is switched on: only the core files
//! are used, `cgroup.procs` to enter and to see who is in it, `cgroup.kill` (Linux 5.14) to end everything at once,
//! `cgroup.events` to see that nothing is left. After the write to `cgroup.kill` returns, no user
//! instruction of the group runs any more; giving back its memory takes longer (0.1 to 0.3 s per GB,
//! more on a starved machine) and has no bound in uninterruptible sleep. So "killed" and "gone" are
//! two answers here.
//!
//! The name of the tree holds a checksum of the node's root directory, so nodes that share a machine
//! do not touch each other's.

#[cfg(test)]
mod tests;

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::{Errno, pread, write};
use rustix::process::{Pid, Signal, kill_process};

use crate::process::Escaped;
use crate::{realtime, sys};

/// Bytes of the cluster's and of the node's name that go into the name of the tree.
const NAME_PART_MAX: usize = 20;
/// Levels of groups below a service that are walked for processes, for threads and for removal.
const DEPTH_MAX: usize = 4;

/// The name of the tree (and of the marker, where there are no control groups) of one node on this
/// machine: the same at each start, another one for another root directory.
///
/// # Errors
/// When `root` cannot be looked at.
pub fn tree_name(cluster: &str, node: &str, root: &Path) -> io::Result<String> {
    use std::os::unix::fs::MetadataExt;
    let root = fs::canonicalize(root)?;
    let metadata = fs::metadata(&root)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(cluster.as_bytes());
    hasher.update(&[0]);
    hasher.update(node.as_bytes());
    hasher.update(&[0]);
    hasher.update(root.as_os_str().as_encoded_bytes());
    hasher.update(&metadata.dev().to_be_bytes());
    hasher.update(&metadata.ino().to_be_bytes());
    let part = |name: &str| -> String {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_' || *c == '-';
        name.chars().filter(is_plain).take(NAME_PART_MAX).collect()
    };
    Ok(format!("mainstay-{}-{}-{:08x}", part(cluster), part(node), hasher.finalize()))
}

/// A service's or resource's name as the name of a group: nothing that could be a path or one of the
/// kernel's own files (all of which have a dot). As long as the name, for all names that a
/// configuration can have, so that the path of the group fits into the memory shared with the guard.
#[must_use]
pub fn group_name(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            safe.push(char::from(byte));
        } else if byte == b'.' {
            safe.push('~');
        } else {
            safe.push_str(&format!("%{byte:02x}"));
        }
    }
    safe
}

/// The groups of one node.
#[derive(Clone, Debug)]
pub struct Tree {
    directory: PathBuf,
    /// Who has left them.
    pub(crate) escaped: Arc<Escaped>,
}

impl Tree {
    /// Finds the tree called `name`, or makes it: directly below the mount, else (for those who may
    /// only write their own part) below the group that this process is in.
    ///
    /// # Errors
    /// When there is no version 2 hierarchy, it may not be written, or its kernel has no
    /// `cgroup.kill`.
    pub fn open(name: &str) -> io::Result<Tree> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let parents = parents(&mounts, &own);
        if parents.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        if let Some(found) = parents.iter().map(|parent| parent.join(name)).find(|p| p.is_dir()) {
            return Tree::check(found);
        }
        let mut refusal = io::Error::from_raw_os_error(libc::ENODEV);
        for parent in parents {
            let directory = parent.join(name);
            match fs::create_dir(&directory) {
                Ok(()) => return Tree::check(directory),
                // Guard and daemon may come at the same time.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Tree::check(directory);
                }
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    fn check(directory: PathBuf) -> io::Result<Tree> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        for file in ["cgroup.kill", "cgroup.procs"] {
            openat(CWD, directory.join(file), flags, Mode::empty())?;
        }
        Ok(Tree { directory, escaped: Arc::default() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.directory.file_name().and_then(|name| name.to_str()).unwrap_or("")
    }

    /// The group of a service; it need not exist.
    #[must_use]
    pub fn service(&self, service: &str) -> Group {
        Group { directory: self.directory.join(group_name(service)) }
    }

    /// The tree as one group: all services.
    #[must_use]
    pub fn all(&self) -> Group {
        Group { directory: self.directory.clone() }
    }

    /// The groups that exist directly below.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn groups(&self) -> io::Result<Vec<Group>> {
        let mut groups = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                groups.push(Group { directory: entry.path() });
            }
        }
        groups.sort_by(|a, b| a.directory.cmp(&b.directory));
        Ok(groups)
    }
}

/// Mounts the version 2 hierarchy at `at`, for this process and those that it will start only: for
/// places that hide the machine's own mount (`ip netns exec` lays a fresh /sys over it). Mounts made
/// outside later are still seen here. Must be called before the process starts a thread.
///
/// # Errors
/// Without `CAP_SYS_ADMIN` in the first user namespace, or without the hierarchy in the kernel.
pub fn mount_privately(at: &Path) -> io::Result<()> {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    fs::create_dir_all(at)?;
    sys::unshare_mounts()?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("cgroup2", at, "cgroup2", flags, None)?;
    Ok(())
}

/// Takes the mount of [`mount_privately`] away, and its directory.
///
/// # Errors
/// The kernel's error; `EBUSY` when somebody still works in there.
pub fn unmount_private(at: &Path) -> io::Result<()> {
    rustix::mount::unmount(at, rustix::mount::UnmountFlags::empty())?;
    fs::remove_dir(at)
}

/// Where a tree may be: the root of the hierarchy, and the own group.
fn parents(mounts: &str, own: &str) -> Vec<PathBuf> {
    let mut parents = Vec::new();
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        if !after.starts_with("cgroup2 ") {
            continue;
        }
        let mut fields = before.split(' ').skip(3);
        let (Some(root), Some(mount)) = (fields.next(), fields.next()) else { continue };
        let mount = PathBuf::from(unescape(mount));
        parents.push(mount.clone());
        let path = own.lines().find_map(|line| line.strip_prefix("0::"));
        // Both are relative to the root of our cgroup namespace; a mount of a part shows that part.
        let inside = path.and_then(|path| Path::new(path).strip_prefix(unescape(root)).ok());
        if let Some(inside) = inside.filter(|inside| !inside.as_os_str().is_empty()) {
            parents.push(mount.join(inside));
        }
    }
    parents
}

/// mountinfo writes blanks and backslashes as three octal digits.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let code = others.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                bytes.push(byte);
                rest = &others[3..];
            }
            _ => {
                bytes.push(first);
                rest = others;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One group, by its path; it need not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    directory: PathBuf,
}

impl Group {
    /// The group at `path`, as it stands in the shared memory.
    #[must_use]
    pub fn at(path: &Path) -> Group {
        Group { directory: path.to_owned() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// A group within this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Group {
        Group { directory: self.directory.join(group_name(name)) }
    }

    /// Makes it, and the one around it.
    ///
    /// # Errors
    /// When the hierarchy may not be written.
    pub fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)
    }

    /// The file to write "0" to in order to enter.
    ///
    /// # Errors
    /// When the group does not exist.
    pub(crate) fn entrance(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        Ok(openat(CWD, self.directory.join("cgroup.procs"), flags, Mode::empty())?)
    }

    /// Ends everything in it and below. A group that does not exist is ended.
    ///
    /// # Errors
    /// When the kernel refuses the write.
    pub fn kill(&self) -> io::Result<()> {
        match Handle::open(&self.directory) {
            Ok(handle) => Ok(handle.kill()?),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether nothing lives in it or below. A group that does not exist is empty.
    ///
    /// # Errors
    /// When the kernel's file cannot be read.
    pub fn is_empty(&self) -> io::Result<bool> {
        match Handle::open(&self.directory) {
            Ok(handle) => Ok(handle.is_empty()?),
            Err(Errno::NOENT) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// The processes in it and below, in no order; none if it does not exist.
    ///
    /// # Errors
    /// When the kernel's files cannot be read.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        self.each_below(&mut |directory| {
            match fs::read_to_string(directory.join("cgroup.procs")) {
                Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
            Ok(())
        })?;
        Ok(pids)
    }

    /// Opens its kill switch and its event file, to use them later without looking anything up.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn handle(&self) -> io::Result<Handle> {
        Ok(Handle::open(&self.directory)?)
    }

    /// Removes it and what is below. One that does not exist is removed.
    ///
    /// # Errors
    /// `EBUSY` while something lives in it.
    pub fn remove(&self) -> io::Result<()> {
        let mut directories = Vec::new();
        self.each_below(&mut |directory| {
            directories.push(directory.to_owned());
            Ok(())
        })?;
        for directory in directories.iter().rev() {
            match fs::remove_dir(directory) {
                Ok(()) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The group and all below, each before what is in it.
    fn each_below(&self, take: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
        let mut waiting = vec![self.directory.clone()];
        while let Some(directory) = waiting.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            };
            take(&directory)?;
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    waiting.push(entry.path());
                }
            }
        }
        Ok(())
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}

/// A group with its files open: what the guard uses, without allocating.
#[derive(Debug)]
pub struct Handle {
    directory: OwnedFd,
    kill: OwnedFd,
    events: OwnedFd,
}

impl Handle {
    /// Opens the group at `path`.
    ///
    /// # Errors
    /// The kernel's error; `ENOENT` when there is no such group.
    pub fn open(path: impl rustix::path::Arg) -> Result<Handle, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty())?;
        let open = |name, flags| openat(&directory, name, flags | OFlags::CLOEXEC, Mode::empty());
        let kill = open("cgroup.kill", OFlags::WRONLY)?;
        let events = open("cgroup.events", OFlags::RDONLY)?;
        Ok(Handle { directory, kill, events })
    }

    /// Sends SIGKILL to each process in the group and below, by its number. What is forked meanwhile may be
    /// missed: [`Handle::kill`] has to follow. Does not wait for the lock of all groups, unless somebody who
    /// makes or removes a group in this one does; see [`Lists`].
    ///
    /// # Errors
    /// The first; the others are killed all the same. Processes and groups that end meanwhile are none.
    pub fn kill_listed(&self) -> io::Result<()> {
        each_number_below(self.directory.as_fd(), c"cgroup.procs", 0, &mut end)
    }

    /// Ends everything in the group and below, whatever it forks: when it returns, none of it runs in user space.
    ///
    /// **May wait**: for the one lock that the kernel has for all control groups. Whoever moves a process into
    /// a group holds it for a grace period of RCU, so on a busy machine that was up to 0.2 s.
    ///
    /// # Errors
    /// When the kernel refuses. A group that was removed is ended.
    pub fn kill(&self) -> Result<(), Errno> {
        match write(&self.kill, b"1") {
            Ok(_) | Err(Errno::NODEV) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether nothing lives in the group or below.
    ///
    /// # Errors
    /// When the kernel's file cannot be read. A group that was removed is empty.
    pub fn is_empty(&self) -> Result<bool, Errno> {
        is_empty(self.events.as_fd())
    }

    /// Lets all threads in it finish quickly (real-time class): they were killed and have to give
    /// back what they hold. Threads that end meanwhile are no error.
    ///
    /// # Errors
    /// When the kernel allows no real-time class here, or its files cannot be read.
    pub fn hurry(&self) -> io::Result<()> {
        each_number_below(self.directory.as_fd(), c"cgroup.threads", 0, &mut |thread| {
            match realtime::hurry(thread) {
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
                _ => Ok(()),
            }
        })
    }
}

impl AsFd for Handle {
    /// Reports an urgent change ([`crate::event::Interest::Urgent`]) when the group becomes empty or
    /// stops being empty.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }
}

/// The groups of which [`Lists`] has the processes: a service, its resources, and some below.
const LISTS_MAX: usize = 1 + base::limits::RESOURCES_PER_SERVICE_MAX + 15;

/// Who is in a group and in those below it, open: what is needed at a deadline **waits for nobody**.
///
/// A name in a directory cannot be looked up while somebody makes or removes another one there, and who makes
/// a group waits for the lock of all groups. So nothing is looked up then.
#[derive(Debug)]
pub struct Lists {
    events: OwnedFd,
    processes: [Option<OwnedFd>; LISTS_MAX],
}

impl Lists {
    /// Opens the group at `path` and the groups of its tree, the upper ones first. Of those below what cannot be
    /// opened is left out.
    ///
    /// # Errors
    /// The kernel's error; `ENOENT` when there is no such group.
    pub fn open(path: impl rustix::path::Arg) -> io::Result<Lists> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty())?;
        let events = open_below(directory.as_fd(), c"cgroup.events", OFlags::empty())?;
        let mut lists = Lists { events, processes: [const { None }; LISTS_MAX] };
        lists.is_empty()?;
        let mut count = 0;
        for is_upper in [true, false] {
            let opened = each_group_below(directory.as_fd(), 0, &mut |group, depth| {
                if (depth <= 1) != is_upper || count == LISTS_MAX {
                    return Ok(());
                }
                let list = open_below(group, c"cgroup.procs", OFlags::empty())?;
                // The first read gets the kernel's memory for all: not at the deadline.
                each_number(list.as_fd(), &mut |_| Ok(()))?;
                lists.processes[count] = Some(list);
                count += 1;
                Ok(())
            });
            if count == 0 {
                opened?;
            }
        }
        Ok(lists)
    }

    /// Sends SIGKILL to each process in them, by its number. What is forked meanwhile may be missed, and so is what
    /// is in groups that were made since.
    ///
    /// # Errors
    /// The first; the others are killed all the same. Processes and groups that end meanwhile are none.
    pub fn kill(&self) -> io::Result<()> {
        let mut result = Ok(());
        for processes in self.processes.iter().flatten() {
            let killed = each_number(processes.as_fd(), &mut end);
            result = result.and(killed);
        }
        result
    }

    /// Whether nothing lives in the group or below.
    ///
    /// # Errors
    /// When the kernel's file cannot be read. A group that was removed is empty.
    pub fn is_empty(&self) -> Result<bool, Errno> {
        is_empty(self.events.as_fd())
    }
}

/// Kills a process.
fn end(process: i32) -> io::Result<()> {
    // 0: it is in another pid namespace, and to us it would be our own group.
    let Some(process) = Pid::from_raw(process) else { return Ok(()) };
    match kill_process(process, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_empty(events: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut text = [0_u8; 256];
    match pread(events, &mut text, 0) {
        Ok(length) => {
            Ok(text[..length].split(|&byte| byte == b'\n').any(|line| line == b"populated 0"))
        }
        Err(Errno::NODEV) => Ok(true),
        Err(error) => Err(error),
    }
}

fn open_below(at: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(at, name, flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Takes each number in the files of that name, of the group and of those below it.
fn each_number_below(
    directory: BorrowedFd<'_>,
    file: &CStr,
    depth: usize,
    take: &mut dyn FnMut(i32) -> io::Result<()>,
) -> io::Result<()> {
    each_group_below(directory, depth, &mut |group, _| {
        each_number(open_below(group, file, OFlags::empty())?.as_fd(), &mut *take)
    })
}

/// Takes the group and those below it, each with its depth. What fails spares no other; a group that was removed meanwhile is none.
///
/// # Errors
/// The first.
fn each_group_below(
    directory: BorrowedFd<'_>,
    depth: usize,
    take: &mut dyn FnMut(BorrowedFd<'_>, usize) -> io::Result<()>,
) -> io::Result<()> {
    let mut result = take(directory, depth).or_else(|e| if is_gone(&e) { Ok(()) } else { Err(e) });
    if depth == DEPTH_MAX {
        return result;
    }
    let mut buffer = [std::mem::MaybeUninit::<u8>::uninit(); 2_048];
    let again = match open_below(directory, c".", OFlags::DIRECTORY) {
        Ok(again) => again,
        Err(Errno::NOENT | Errno::NODEV) => return result,
        Err(error) => return result.and(Err(error.into())),
    };
    let mut entries = RawDir::new(&again, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::NOENT | Errno::NODEV) => return result,
            Err(error) => return result.and(Err(error.into())),
        };
        let name = entry.file_name();
        let is_group = entry.file_type() == rustix::fs::FileType::Directory
            && !name.to_bytes().starts_with(b".");
        if !is_group {
            continue;
        }
        let below = match open_below(directory, name, OFlags::DIRECTORY) {
            Ok(below) => each_group_below(below.as_fd(), depth + 1, take),
            Err(Errno::NOENT | Errno::NODEV) => Ok(()),
            Err(error) => Err(error.into()),
        };
        result = result.and(below);
    }
    result
}

/// Reads a file of decimal numbers, one a line, from its beginning in a small buffer. What fails with one spares no
/// other.
///
/// # Errors
/// The first.
fn each_number(
    file: BorrowedFd<'_>,
    take: &mut dyn FnMut(i32) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = [0_u8; 1_024];
    let mut number: Option<i32> = None;
    let (mut offset, mut result) = (0, Ok(()));
    loop {
        let length = match pread(file, &mut buffer, offset) {
            Ok(length) => length,
            // A group that was removed, or one of threads, which has no list of processes (cgroups(7)).
            Err(Errno::NODEV | Errno::OPNOTSUPP) => 0,
            Err(error) => return result.and(Err(error.into())),
        };
        offset += length as u64;
        for &byte in &buffer[..length] {
            if byte.is_ascii_digit() {
                let digit = i32::from(byte - b'0');
                number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit));
            } else if let Some(complete) = number.take() {
                let taken = take(complete);
                result = result.and(taken);
            }
        }
        if length == 0 {
            let taken = number.map_or(Ok(()), take);
            return result.and(taken);
        }
    }
}
