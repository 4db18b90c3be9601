//! The shared disk of a lab: one area of bytes that every node finds in its root directory.
//!
//! Where there is a `/dev/fuse` that this user may open, the lab serves the disk itself, and it can
//! freeze and break, for all nodes or for one (`fuse.rs`). Elsewhere it is a plain file on a file
//! system with direct I/O: the lab's own directory (a tmpfs has direct I/O since Linux 6.6), else one
//! of outside, from where it is mounted and at once unlinked, so that nothing stays behind. Such a
//! disk works and cannot fail: nothing makes a plain file hang, and a stand-in that does something
//! else would prove something else.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::enter;
use crate::fuse::{self, Health, Mount};
use crate::lab::Lab;
use crate::spec::{self, Spec};

/// Room for the area of the largest cluster of a lab; pages that nobody wrote take no memory.
pub(crate) const SIZE: u64 = 96 << 20;

pub(crate) enum Disk {
    /// Served by the lab: a mount per node.
    Served(Vec<(String, Mount)>),
    /// A plain file, mounted at this place or lying there.
    File { place: PathBuf, is_mount: bool },
}

impl Disk {
    /// Makes it, empty. Before nodes are switched on, so that they see the mounts.
    pub(crate) fn create(spec: &Spec) -> Result<Self> {
        let content = Arc::new(Mutex::new(vec![0; SIZE as usize]));
        let mut mounts = Vec::new();
        for name in spec.node_names() {
            let place = spec::disk_path(&name);
            File::create(&place).with_context(|| format!("making {}", place.display()))?;
            match Mount::over(&place, &content) {
                Ok(mount) => mounts.push((name, mount)),
                Err(error) if mounts.is_empty() && fuse::is_missing(&error) => {
                    fs::remove_file(&place)?;
                    return Self::as_file(spec);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self::Served(mounts))
    }

    fn as_file(spec: &Spec) -> Result<Self> {
        let place = Path::new(enter::DIRECTORY).join(".shared-disk");
        File::create(&place)?.set_len(SIZE)?;
        let is_mount = !has_direct_io(&place);
        if is_mount {
            mount_from_outside(&place)?;
        }
        for name in spec.node_names() {
            symlink(&place, spec::disk_path(&name)).context("naming the shared disk")?;
        }
        Ok(Self::File { place, is_mount })
    }

    /// For one node or for all.
    fn set(&self, node: Option<&str>, health: Health) -> Result<()> {
        let Self::Served(mounts) = self else {
            bail!(
                "the shared disk of this lab is a plain file, which cannot fail on demand: \
                 that needs a /dev/fuse that this user may open (run it as root)"
            );
        };
        let wanted = |name: &str| node.is_none_or(|node| node == name);
        for (_, mount) in mounts.iter().filter(|(name, _)| wanted(name)) {
            mount.set(health);
        }
        Ok(())
    }

    /// What a machine asked of it fails while `work` takes its power: processes that wait for a
    /// frozen disk cannot end, and a machine without power asks nothing.
    pub(crate) fn without<T>(&self, node: &str, work: impl FnOnce() -> T) -> T {
        let mounts = match self {
            Self::Served(mounts) => mounts.as_slice(),
            Self::File { .. } => &[],
        };
        let mount = mounts.iter().find(|(name, _)| name == node).map(|(_, mount)| mount);
        let before = mount.map(|mount| mount.set(Health::Broken));
        let done = work();
        if let Some((mount, before)) = mount.zip(before) {
            mount.set(before);
        }
        done
    }

    /// Nothing of it is in the way of a next lab.
    pub(crate) fn remove(self) {
        if let Self::File { place, is_mount } = self {
            if is_mount {
                let _gone = unmount(&place, UnmountFlags::DETACH);
            }
            let _gone = fs::remove_file(place);
        }
    }
}

fn has_direct_io(path: &Path) -> bool {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path).is_ok()
}

/// A file of outside under this name, and under no other.
fn mount_from_outside(place: &Path) -> Result<()> {
    let temporary = std::env::temp_dir();
    for directory in [temporary.as_path(), Path::new("/var/tmp")] {
        let number = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        let stamp = crate::clock::now().as_nanos();
        let path = directory.join(format!("lab-disk-{number}-{stamp}"));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let Ok(file) = made else { continue };
        let mounted =
            file.set_len(SIZE).is_ok() && has_direct_io(&path) && mount_bind(&path, place).is_ok();
        fs::remove_file(&path).with_context(|| format!("unlinking {}", path.display()))?;
        if mounted {
            return Ok(());
        }
    }
    bail!(
        "no place for a shared disk: neither /run, {} nor /var/tmp has direct I/O; \
         set TMPDIR to a directory that has",
        temporary.display()
    )
}

impl Lab {
    /// Prepares the shared disks for the cluster whose files are written: `PROGRAM disk init`.
    /// Does nothing in a lab without one.
    ///
    /// # Errors
    /// With what the program says.
    pub fn prepare_disk(&mut self) -> Result<()> {
        let name = spec::node_name(1);
        let file = self.disk.is_some().then(|| spec::disk_path(&name));
        let device = self.device.is_some().then(|| spec::device_path(&name));
        for path in file.into_iter().chain(device) {
            let path = path.to_str().context("the disk's path is not text")?;
            let output = self.run_program(&name, &["disk", "init", path])?;
            ensure!(
                output.status.success(),
                "preparing the shared disk: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    fn set_disk(&self, node: Option<&str>, health: Health) -> Result<()> {
        if let Some(node) = node {
            self.node(node)?;
        }
        self.disk.as_ref().context("this lab has no shared disk")?.set(node, health)
    }

    /// The shared disk answers nothing any more, for one node or for all: who reads or writes waits
    /// in the kernel until it is thawed, or is killed.
    ///
    /// # Errors
    /// When there is no disk or node, or the disk is a plain file.
    pub fn disk_freeze(&self, node: Option<&str>) -> Result<()> {
        self.set_disk(node, Health::Frozen)
    }

    /// The shared disk answers every read and write with an error, for one node or for all.
    ///
    /// # Errors
    /// As [`Lab::disk_freeze`].
    pub fn disk_break(&self, node: Option<&str>) -> Result<()> {
        self.set_disk(node, Health::Broken)
    }

    /// The shared disk takes so long for each request, for one node or for all.
    ///
    /// # Errors
    /// As [`Lab::disk_freeze`].
    pub fn disk_slow(&self, node: Option<&str>, delay: Duration) -> Result<()> {
        self.set_disk(node, Health::Slow(delay))
    }

    /// Repairs the shared disk, for one node or for all.
    ///
    /// # Errors
    /// As [`Lab::disk_freeze`].
    pub fn disk_thaw(&self, node: Option<&str>) -> Result<()> {
        self.set_disk(node, Health::Well)
    }

    /// False for a plain file, which cannot freeze or break.
    pub fn disk_can_fail(&self) -> bool {
        matches!(self.disk, Some(Disk::Served(_)))
    }
}
