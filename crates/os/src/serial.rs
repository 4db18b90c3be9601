//! A serial port as a plain pipe of bytes: raw, exclusive, never waited for.
//!
//! A tty is a terminal for people until it is told otherwise (termios(3)): it echoes, edits lines,
//! turns carriage returns into newlines and sends signals. [`Tty::open`] switches all of it off, sets
//! eight bits, no parity, one stop bit and the speed, and puts the former settings back when it is
//! dropped.
//!
//! **Any speed.** The classic interface knows a list of speeds only; `struct termios2` with `BOTHER`
//! (ioctl_tty(2)) takes a number. A driver that cannot do it sets the nearest that it can, silently,
//! so the settings are read back: two ends whose speeds differ by more than 2 % each way do not
//! understand each other, because the tenth bit is sampled in the wrong place.
//!
//! **Exclusive.** A second reader would steal every other byte. `TIOCEXCL` keeps others from opening
//! the port, but not root; flock(2) tells every program that asks. Both are looked at, and both are
//! set. A program that has the port open and does neither is not noticed: a `getty` on the console, for one.
//!
//! **Little waits in the kernel.** What the kernel has cannot be overtaken by a heartbeat, and a UART
//! driver takes 4 KiB: at 9,600 baud four seconds. So [`Tty::write`] takes only what keeps at most
//! 256 bytes there. The number is the kernel's own (`WAKEUP_CHARS` of its terminals): the descriptor
//! polls writable exactly while fewer wait. A pseudoterminal says that none wait, always; there the
//! bound is its buffer.
//!
//! **Unplugged** (a USB adapter, or the other end of a pseudoterminal): reading returns "end of file"
//! or `EIO`, writing `EIO`. All three are reported as [`io::ErrorKind::NotConnected`]. The descriptor
//! is of no use afterwards; the device must be opened anew. With a cut cable nothing happens at all:
//! modem lines are ignored (`CLOCAL`) because many cables have none, and silence is counted above.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::termios::{
    ControlModes, InputModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios,
    ioctl_tiocexcl, ioctl_tiocnxcl, isatty, tcflush, tcgetattr, tcsetattr,
};

use crate::sys;

/// The slowest and the fastest speed that can be asked for, in bits per second.
pub const BAUD_MIN: u32 = 300;
/// See [`BAUD_MIN`].
pub const BAUD_MAX: u32 = 4_000_000;
/// Bytes that may wait in the kernel. `WAKEUP_CHARS` of linux/tty.h.
pub const WAITING_MAX: usize = 256;
/// How far the real speed may be from the one asked for, in thousandths.
const BAUD_ERROR_MAX: u64 = 20;

/// A serial port that is ours.
#[derive(Debug)]
pub struct Tty {
    device: Locked,
    path: PathBuf,
    former: Termios,
}

impl Tty {
    /// Opens the port, raw, at `baud` bits per second; `flow`: the peer is asked by RTS and CTS
    /// whether it can take bytes. What came before is thrown away.
    ///
    /// # Errors
    /// A sentence with the device and what to do, of these kinds: `NotFound` (no such device),
    /// `ResourceBusy` (another program has it), `PermissionDenied`, `InvalidInput` (not a terminal,
    /// or a speed or flow control that it cannot do), `NotConnected` (it hung up meanwhile). Other
    /// kinds as the kernel says them. In each case the port is as it was.
    pub fn open(path: &Path, baud: u32, flow: bool) -> io::Result<Tty> {
        if !(BAUD_MIN..=BAUD_MAX).contains(&baud) {
            let what = format!("a speed of {baud} baud is outside {BAUD_MIN} to {BAUD_MAX}");
            return Err(refused(path, io::ErrorKind::InvalidInput, &what));
        }
        let failed = |error: io::Error| explain(path, &error);
        let not_terminal = || {
            let what = "not a terminal: name a serial port, for example /dev/ttyS0";
            refused(path, io::ErrorKind::InvalidInput, what)
        };
        // Asked before opening: for some devices opening alone is an act (a watchdog is armed).
        if !std::fs::metadata(path).map_err(failed)?.file_type().is_char_device() {
            return Err(not_terminal());
        }
        // Non-blocking, or opening waits for a carrier. Not our controlling terminal, or its hangup
        // would be a signal.
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let device = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let device = OwnedFd::from(device.map_err(failed)?);
        if !isatty(&device) {
            return Err(not_terminal());
        }
        let device = Locked::new(device).map_err(|error| match error {
            Errno::WOULDBLOCK => in_use(path),
            other => failed(other.into()),
        })?;
        if sys::is_exclusive(device.as_fd()).map_err(failed)? {
            return Err(in_use(path));
        }
        let former = tcgetattr(&device).map_err(|error| failed(error.into()))?;
        // From here on dropping it restores everything.
        let tty = Tty { device, path: path.to_owned(), former };
        ioctl_tiocexcl(&tty.device).map_err(|error| tty.failed(error))?;
        tty.make_raw(baud, flow)?;
        tcflush(&tty.device, QueueSelector::IOFlush).map_err(|error| tty.failed(error))?;
        Ok(tty)
    }

    fn make_raw(&self, baud: u32, flow: bool) -> io::Result<()> {
        let mut wanted = self.former.clone();
        wanted.make_raw();
        wanted.input_modes.remove(InputModes::IXOFF | InputModes::IXANY | InputModes::INPCK);
        wanted.control_modes.remove(ControlModes::CSTOPB | ControlModes::CRTSCTS);
        wanted.control_modes.insert(ControlModes::CLOCAL | ControlModes::CREAD);
        wanted.control_modes.set(ControlModes::CRTSCTS, flow);
        // With a minimum of one, "nothing there" and "hung up" are told apart.
        wanted.special_codes[SpecialCodeIndex::VMIN] = 1;
        wanted.special_codes[SpecialCodeIndex::VTIME] = 0;
        wanted.set_speed(baud).map_err(|error| self.failed(error))?;
        tcsetattr(&self.device, OptionalActions::Now, &wanted)
            .map_err(|error| self.failed(error))?;
        // The call succeeds when any part of the wish came true (tcsetattr(3)).
        let real = tcgetattr(&self.device).map_err(|error| self.failed(error))?;
        let no = |what: &str| Err(refused(&self.path, io::ErrorKind::InvalidInput, what));
        for speed in [real.input_speed(), real.output_speed()] {
            if u64::from(speed.abs_diff(baud)) * 1_000 > u64::from(baud) * BAUD_ERROR_MAX {
                return no(&format!(
                    "cannot do {baud} baud, the nearest is {speed}: set the same speed at both ends"
                ));
            }
        }
        if flow && !real.control_modes.contains(ControlModes::CRTSCTS) {
            return no("has no flow control by RTS and CTS: switch it off at both ends");
        }
        let shape = ControlModes::CSIZE | ControlModes::CSTOPB | ControlModes::PARENB;
        if real.control_modes & shape != ControlModes::CS8
            || real.local_modes != wanted.local_modes
            || real.input_modes != wanted.input_modes
            || real.output_modes != wanted.output_modes
        {
            return no("cannot be made raw with eight bits and no parity: use another port");
        }
        Ok(())
    }

    /// The device's path, as it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes bytes that came; 0: nothing there now.
    ///
    /// # Errors
    /// `NotConnected` when the line was unplugged: open it again.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!buffer.is_empty(), "no room looks like a hangup");
        match rustix::io::read(&self.device, buffer) {
            Ok(0) => Err(self.unplugged()),
            Ok(count) => Ok(count),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(0),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Bytes that may be written now so that no more than [`WAITING_MAX`] wait in the kernel. The
    /// descriptor polls writable while this is not 0.
    ///
    /// # Errors
    /// As [`Tty::read`].
    pub fn room(&self) -> io::Result<usize> {
        let waiting =
            sys::waiting_output(self.device.as_fd()).map_err(|e| explain(&self.path, &e))?;
        Ok(WAITING_MAX.saturating_sub(waiting))
    }

    /// Writes what there is [`Tty::room`] for, from the start of `bytes`, and says how much it was:
    /// possibly 0, possibly in the middle. The caller keeps the rest.
    ///
    /// # Errors
    /// As [`Tty::read`].
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(self.room()?);
        if length == 0 {
            return Ok(0);
        }
        match rustix::io::write(&self.device, &bytes[..length]) {
            Ok(count) => Ok(count),
            Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(0),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn failed(&self, error: Errno) -> io::Error {
        explain(&self.path, &error.into())
    }

    fn unplugged(&self) -> io::Error {
        explain(&self.path, &io::Error::from_raw_os_error(libc::EIO))
    }
}

impl AsFd for Tty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl Drop for Tty {
    /// A port that is unplugged takes none of this, and then none of it matters.
    fn drop(&mut self) {
        // Closing a port waits up to half a minute for bytes that the peer does not take.
        let _ = tcflush(&self.device, QueueSelector::IOFlush);
        let _ = tcsetattr(&self.device, OptionalActions::Now, &self.former);
        let _ = ioctl_tiocnxcl(&self.device);
    }
}

/// A device that others see taken, and that is free when this is dropped: a child that was just forked has
/// the descriptor until its own execve(2), and the lock of flock(2) with it.
#[derive(Debug)]
struct Locked(OwnedFd);

impl Locked {
    fn new(device: OwnedFd) -> Result<Locked, Errno> {
        flock(&device, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Locked(device))
    }
}

impl AsFd for Locked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // What is not locked any more is what is wanted.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

fn refused(path: &Path, kind: io::ErrorKind, what: &str) -> io::Error {
    io::Error::new(kind, format!("{}: {what}", path.display()))
}

fn in_use(path: &Path) -> io::Error {
    let what = "is in use by another program: end it (a getty, a terminal program), \
                or name another port";
    refused(path, io::ErrorKind::ResourceBusy, what)
}

/// The error of a system call as a sentence with the device and the mend.
fn explain(path: &Path, error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            let what = "no such device: plug the adapter in, or correct the path";
            refused(path, io::ErrorKind::NotFound, what)
        }
        Some(libc::EBUSY) => in_use(path),
        Some(libc::EACCES | libc::EPERM) => {
            let what = "no permission: the daemon must run as root or be in the device's group";
            refused(path, io::ErrorKind::PermissionDenied, what)
        }
        Some(libc::EIO) => {
            let what = "was unplugged or hung up: it can be opened again when it is back";
            refused(path, io::ErrorKind::NotConnected, what)
        }
        _ => refused(path, error.kind(), &error.to_string()),
    }
}
