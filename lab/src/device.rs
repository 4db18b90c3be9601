//! A second shared disk of a lab: a real block device, with the kernel's whole block layer below it.
//!
//! A loop device over a file of the lab's own directory (loop(4)). It is marked to vanish with its
//! last user, and the lab is the first: when the lab is killed, nothing is left of it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::disk::SIZE;
use crate::enter;
use crate::spec::{self, Spec};
use crate::sys;

/// Somebody else may take the free device that the kernel named before we do.
const ATTEMPTS: u32 = 16;

/// Whether this user may make one.
pub(crate) fn is_possible() -> bool {
    rustix::process::geteuid().is_root() && File::open("/dev/loop-control").is_ok()
}

/// The device; it ends when this and the daemons have closed it.
pub(crate) struct Device {
    _open: File,
    backing: PathBuf,
}

impl Device {
    /// Makes it, empty. Before nodes are switched on.
    ///
    /// # Errors
    /// Where this user may not make loop devices.
    pub(crate) fn create(spec: &Spec) -> Result<Self> {
        let backing = Path::new(enter::DIRECTORY).join(".shared-device");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        let file = options.open(&backing).context("making the file behind the shared device")?;
        file.set_len(SIZE)?;
        let (path, open) = attach(&file)
            .context("making a loop device (only root may; there must be a /dev/loop-control)")?;
        for name in spec.node_names() {
            symlink(&path, spec::device_path(&name)).context("naming the shared device")?;
        }
        Ok(Self { _open: open, backing })
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // On a tmpfs that ends with the lab's process; this makes room for a next lab in it.
        let _gone = fs::remove_file(&self.backing);
    }
}

fn attach(file: &File) -> Result<(String, File)> {
    let control = File::open("/dev/loop-control").context("opening /dev/loop-control")?;
    for _ in 0..ATTEMPTS {
        let number = sys::free_loop_device(&control).context("asking for a free loop device")?;
        let path = format!("/dev/loop{number}");
        let open = OpenOptions::new().read(true).write(true).open(&path);
        let open = open.with_context(|| format!("opening {path}"))?;
        match sys::configure_loop_device(&open, file) {
            Ok(()) => return Ok((path, open)),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("setting {path} up")),
        }
    }
    bail!("others are faster: {ATTEMPTS} free loop devices were taken")
}
