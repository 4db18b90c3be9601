//! Control groups of a lab: one for the lab, in it one per node, so that the daemons of different
//! nodes do not meet in one tree, and each sees its own as the root.
//!
//! Only version 2 (its `cgroup.kill` is what the daemon uses), found in `/proc/self/mountinfo`, and
//! only where the user may make a group. The kernel removes processes, mounts and namespaces of a
//! killed lab, but not groups: a janitor process does, which outlives the lab for that purpose.

use std::ffi::{CStr, CString};
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, openat, unlinkat};
use rustix::io::Errno;

use crate::sys::{self, Janitor};

/// Nesting that the removal follows; the daemon makes two levels.
const DEPTH_MAX: usize = 16;

/// Where version 2 is mounted.
pub(crate) fn mount_point() -> Result<Option<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("reading the list of mounts")?;
    Ok(find_mount(&text))
}

fn find_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let kind = back.split(' ').next()?;
        (kind == "cgroup2").then(|| front.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// The group that this process is in, as a directory.
fn own_group(mount: &Path) -> Result<Option<PathBuf>> {
    let text = fs::read_to_string("/proc/self/cgroup").context("reading our control group")?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(path.map(|path| mount.join(path)))
}

/// The lab's group and the process that removes it.
pub(crate) struct LabGroup {
    pub(crate) path: PathBuf,
    janitor: Janitor,
}

impl LabGroup {
    /// Makes a group for this lab, or `None` where there is no version 2 or we may not.
    pub(crate) fn create() -> Result<Option<Self>> {
        let Some(mount) = mount_point()? else { return Ok(None) };
        let Some(own) = own_group(&mount)? else { return Ok(None) };
        let name = format!("mainstay-lab-{}", std::process::id());
        let path = own.join(&name);
        if fs::create_dir(&path).is_err() {
            // Not ours to make: the daemons then do without, as they do on such machines.
            return Ok(None);
        }
        let parent = open_directory(&own)?;
        let kill = fs::OpenOptions::new().write(true).open(path.join("cgroup.kill")).ok();
        let name = CString::new(name)?;
        let work = || {
            if let Some(kill) = &kill {
                // Already empty, or about to be: the removal below says whether it worked.
                let _ = rustix::io::write(kill, b"1");
            }
            matches!(remove_tree(parent.as_fd(), &name, DEPTH_MAX), Ok(()) | Err(Errno::NOENT))
        };
        let janitor = sys::start_janitor(&work).context("starting the janitor")?;
        Ok(Some(Self { path, janitor }))
    }

    /// Removes the group and waits for it.
    pub(crate) fn remove(self) -> Result<()> {
        let status = self.janitor.dismiss().context("waiting for the janitor")?;
        anyhow::ensure!(
            status == 0,
            "the control group {} could not be removed",
            self.path.display()
        );
        Ok(())
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .with_context(|| format!("opening {}", path.display()))
}

/// Removes a group and the groups below it; none may have processes. Allocates nothing.
fn remove_tree(parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let directory = openat(parent, name, flags, Mode::empty())?;
    let mut room = [MaybeUninit::<u8>::uninit(); 2048];
    let mut entries = RawDir::new(&directory, &mut room);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let special = entry.file_name() == c"." || entry.file_name() == c"..";
        if entry.file_type() == FileType::Directory && !special && depth > 0 {
            remove_tree(directory.as_fd(), entry.file_name(), depth - 1)?;
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// The group of one node.
pub(crate) struct NodeGroup {
    pub(crate) path: PathBuf,
    pub(crate) mount: PathBuf,
    procs: fs::File,
}

impl NodeGroup {
    pub(crate) fn create(lab: &Path, node: &str) -> Result<Self> {
        let mount = mount_point()?.context("control groups have gone")?;
        let path = lab.join(node);
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        let file = path.join("cgroup.procs");
        let procs = fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .with_context(|| format!("opening {}", file.display()))?;
        Ok(Self { path, mount, procs })
    }

    /// `cgroup.procs`: who writes 0 to it joins.
    pub(crate) fn procs(&self) -> BorrowedFd<'_> {
        self.procs.as_fd()
    }

    /// Removes the group after its last process is gone: a machine without power has none.
    pub(crate) fn remove(&self) -> Result<()> {
        let parent = open_directory(self.path.parent().context("a group has a parent")?)?;
        let name = self.path.file_name().context("a group has a name")?;
        let name = CString::new(name.as_bytes())?;
        crate::wait::until("the control group to be empty", crate::wait::KERNEL, || {
            match remove_tree(parent.as_fd(), &name, DEPTH_MAX) {
                Ok(()) | Err(Errno::NOENT) => Ok(Some(())),
                Err(Errno::BUSY) => Ok(None),
                Err(error) => Err(error).context("removing a control group"),
            }
        })
    }
}

#[cfg(test)]
mod tests;
