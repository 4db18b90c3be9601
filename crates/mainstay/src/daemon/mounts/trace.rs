//! What is known of a device beyond its name.
//!
//! A name is a link that udev makes and takes away, also while the file system of the device is mounted:
//! then a look at the name says "not there". Numbers stay with a device for as long as it is in use, and the
//! kernel's table of mounts has them.

use std::io;
use std::path::PathBuf;

use super::What;

/// The block device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing was mounted: whatever has the name is the device.
    #[default]
    Nothing,
    /// Its major and minor number.
    Number((u32, u32)),
    /// An earlier life of the daemon may have mounted it, and nothing has its name now.
    Lost,
}

/// What is known of a device that was, or may have been, mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::daemon) struct Trace {
    pub(super) device: Known,
    /// The number of its mount in the kernel's table: some kinds of file system have one of their own.
    pub(super) shown: Option<(u32, u32)>,
}

impl Trace {
    /// From its name, and from the number that the kernel's table shows.
    pub(super) fn of(what: &What, shown: Option<(u32, u32)>) -> Trace {
        // Major number 0 is for file systems without a device of that number.
        let by_table = shown.filter(|(major, _)| *major != 0);
        let number = by_table.or_else(|| os::mount::number(&what.device()).ok());
        Trace { device: number.map_or(Known::Lost, Known::Number), shown }
    }

    /// Whether a mount of this number is from this device.
    pub(super) fn is(&self, number: (u32, u32)) -> bool {
        self.device == Known::Number(number) || self.shown == Some(number)
    }

    /// Where to ask the device.
    pub(super) fn path(&self, what: &What) -> PathBuf {
        let Known::Number(number) = self.device else { return what.device() };
        // Without any node the name is what is left.
        node(what, number).ok().flatten().unwrap_or_else(|| what.device())
    }
}

/// A node of the device of this number; none when the kernel has none such.
pub(super) fn node(what: &What, number: (u32, u32)) -> io::Result<Option<PathBuf>> {
    let named = what.device();
    match os::mount::number(&named) {
        Ok(found) if found == number => Ok(Some(named)),
        _ => os::mount::node(number),
    }
}
