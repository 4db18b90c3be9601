//! A watchdog: the device that resets this machine unless it is fed.
//!
//! The interface is linux/watchdog.h (kernel documentation, "watchdog-api"): opening the device starts
//! its timer, each [`Watchdog::feed`] starts it anew, and when it runs out the machine is reset, whatever
//! becomes of our processes. What matters for us:
//!
//! - **Closing it does not stop it.** A process that dies lets go of the device and the timer runs on;
//!   only the letter `V`, written as the last thing before the close, stops it ([`Watchdog::disarm`]).
//!   A driver without that letter (no `WDIOF_MAGICCLOSE`) stops at any close, so the death of its feeder
//!   would end its watch: it is refused. With the kernel's option `nowayout` it never stops.
//! - It has **one opener** at a time; a second one is told `EBUSY`, as by systemd's `RuntimeWatchdogSec`.
//! - Times are whole seconds, and a driver may take another one than it was given: the one in force is
//!   asked for.
//! - A device that raises an alarm instead of resetting (`WDIOF_ALARMONLY`) is refused, and so is one whose
//!   timeout cannot be set (no `WDIOF_SETTIMEOUT`): a feeding that came too late is mended by a shorter one.
//! - A refusal comes too late for a device that never stops: it has been opened. So what the kernel shows
//!   of a device that is closed is asked first ([`Description::check`]). What it does not show comes out
//!   later: a driver that refuses a timeout between the limits that it has told, or rounds it down below what is
//!   needed. Such a device stays open, and **has to be fed** although it is of no use ([`Refused::running`]).
//! - A request may block for seconds: some devices are behind a slow bus or a management board.
//!
//! What the kernel does *not* promise: that the timer runs while a hypervisor has stopped the machine,
//! and, of a timer in software (`softdog`), that a kernel that hangs with interrupts off still resets.
//!
//! Nothing of [`Watchdog`] allocates. [`describe`] and [`holders`] are for people who want to know.

use std::ffi::CStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::watchdog as requests;

/// Bytes of the path of a device.
pub const PATH_MAX: usize = 127;

const SET_TIMEOUT: u32 = 0x0080;
const MAGIC_CLOSE: u32 = 0x0100;
const ALARM_ONLY: u32 = 0x0400;
/// `WDIOS_DISABLECARD`
const DISABLE: i32 = 1;
/// Devices count in seconds, and none is too few.
const TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// What was being done when the device refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Finding it.
    Find,
    /// Opening it, which starts it.
    Open,
    /// Asking what it is.
    Ask,
    /// It raises an alarm and resets nothing.
    AlarmOnly,
    /// It stops when it is closed.
    StopsWhenClosed,
    /// Its timeout is fixed.
    FixedTimeout,
    /// It never stops, and what it takes cannot be known before it is opened.
    NeverStops,
    /// Setting or asking for its timeout.
    Timeout,
    /// Its timeout is shorter than what is needed.
    TooShort,
    /// Feeding it.
    Feed,
    /// Mending a feeding that came through too late.
    Late,
    /// Stopping it.
    Disarm,
    /// Writing down that it is armed.
    Record,
    /// Another one cannot be stopped, and is fed in its place.
    Other,
}

impl Step {
    /// All steps: the place in it is the number of a step.
    pub const ALL: [Step; 14] = [
        Step::Find,
        Step::Open,
        Step::Ask,
        Step::AlarmOnly,
        Step::StopsWhenClosed,
        Step::FixedTimeout,
        Step::NeverStops,
        Step::Timeout,
        Step::TooShort,
        Step::Feed,
        Step::Late,
        Step::Disarm,
        Step::Record,
        Step::Other,
    ];
}

/// Why a watchdog cannot be used. Displays as what is wrong and what to do about it, without the name
/// of the device, and without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchdogError {
    /// What was being done.
    pub step: Step,
    /// The kernel's number; 0 where it has nothing to do with it.
    pub errno: i32,
}

impl WatchdogError {
    fn new(step: Step, errno: Errno) -> WatchdogError {
        WatchdogError { step, errno: errno.raw_os_error() }
    }

    fn of(step: Step, error: &io::Error) -> WatchdogError {
        WatchdogError { step, errno: error.raw_os_error().unwrap_or(0) }
    }

    const fn plain(step: Step) -> WatchdogError {
        WatchdogError { step, errno: 0 }
    }
}

impl fmt::Display for WatchdogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = match (self.step, self.errno) {
            (Step::Find, libc::ENOENT) => {
                "there is no such device: load the driver of this machine's watchdog (wdctl lists \
                 those that are loaded), or softdog, which needs no hardware"
            }
            (Step::Find | Step::Ask, 0 | libc::ENOTTY) => {
                "this is no watchdog: name one, as \"/dev/watchdog0\""
            }
            (Step::Find, _) => "the device cannot be looked at",
            (Step::Open, libc::EBUSY) => {
                "somebody else has it open: `mainstay watchdog test` names who; systemd lets go of it \
                 with RuntimeWatchdogSec=off in /etc/systemd/system.conf, or name another device"
            }
            (Step::Open, libc::EACCES | libc::EPERM) => {
                "it may not be opened: run as root, and let containers have it"
            }
            (Step::Open, libc::ENXIO | libc::ENODEV) => "nothing is behind this name any more",
            (Step::Open, _) => "the device cannot be opened",
            (Step::Ask, _) => "the device does not say what it is",
            (Step::AlarmOnly, _) => {
                "it raises an alarm and does not reset the machine: name another one"
            }
            (Step::StopsWhenClosed, _) => {
                "it stops when it is closed (no magic close), so the end of the guard would end its \
                 watch: name another one"
            }
            (Step::FixedTimeout, _) => {
                "its timeout is fixed, so a feeding that came too late could not be mended by a shorter \
                 one: name another one"
            }
            (Step::NeverStops, _) => {
                "it never stops once it is open (nowayout), and the kernel does not show beforehand \
                 whether it can be used: load its driver with nowayout=0"
            }
            (Step::Timeout, libc::EINVAL) => {
                "it does not take this timeout: `mainstay watchdog test` shows what it takes"
            }
            (Step::Timeout, _) => "its timeout cannot be set",
            (Step::TooShort, _) => {
                "its timeout is shorter than lease and release (`mainstay bound` shows both), so a node \
                 that only lost its lease would be reset: give it a longer one"
            }
            (Step::Feed, _) => "the device takes no feeding",
            (Step::Late, _) => {
                "it was fed too late and no shorter timeout helps, so without evidence it resets this \
                 machine later than the others expect"
            }
            (Step::Disarm, _) => "the device does not let itself be stopped",
            (Step::Other, _) => {
                "the one that was configured before never stops (nowayout) and has to be fed as long as \
                 this machine runs: start the machine anew"
            }
            (Step::Record, _) => "the file that says that it is armed cannot be written",
        };
        f.write_str(sentence)?;
        // The kernel's words for a number would be allocated.
        if self.errno != 0 && !sentence.contains(':') {
            write!(f, " (error {})", self.errno)?;
        }
        Ok(())
    }
}

impl std::error::Error for WatchdogError {}

/// What a device says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Support {
    options: u32,
    identity: [u8; 32],
}

/// Whether a device of these options (`WDIOF_…`) is of any use.
fn check(options: u32) -> Result<(), WatchdogError> {
    let step = if options & ALARM_ONLY != 0 {
        Step::AlarmOnly
    } else if options & MAGIC_CLOSE == 0 {
        Step::StopsWhenClosed
    } else if options & SET_TIMEOUT == 0 {
        Step::FixedTimeout
    } else {
        return Ok(());
    };
    Err(WatchdogError::plain(step))
}

impl Support {
    /// The name that its driver gives it.
    #[must_use]
    pub fn identity(&self) -> &str {
        let length = self.identity.iter().position(|&byte| byte == 0);
        let bytes = &self.identity[..length.unwrap_or(self.identity.len())];
        std::str::from_utf8(bytes).unwrap_or("?")
    }
}

/// A watchdog that cannot be used.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: WatchdogError,
    /// It was opened and cannot be stopped: it resets this machine [`Watchdog::timeout`] after its last
    /// feeding, so somebody has to feed it.
    pub running: Option<Watchdog>,
}

/// An armed watchdog. To drop it does not stop it.
#[derive(Debug)]
pub struct Watchdog {
    device: OwnedFd,
    support: Support,
    timeout: Duration,
}

impl Watchdog {
    /// Opens a device and sets its timeout, rounded up to whole seconds: from now on this machine is
    /// reset unless it is fed. The timeout in force may be another one: [`Watchdog::timeout`].
    ///
    /// # Errors
    /// When it cannot be used, or its timeout would be below `least`; then it is stopped, as far as its
    /// driver allows.
    pub fn arm(path: &CStr, wanted: Duration, least: Duration) -> Result<Watchdog, Refused> {
        let opened = Watchdog::open(path);
        opened.map_err(|error| Refused { error, running: None })?.arm_again(wanted, least)
    }

    /// The same with one that is open and could not be used before.
    ///
    /// # Errors
    /// As [`Watchdog::arm`].
    pub fn arm_again(mut self, wanted: Duration, least: Duration) -> Result<Watchdog, Refused> {
        match self.prepare(wanted, least) {
            Ok(()) => Ok(self),
            Err(error) => Err(Refused { error, running: self.give_up() }),
        }
    }

    /// Stops it; what cannot be stopped stays open, with the timeout that it has by now. (The letter alone
    /// does not tell whether it was heeded: with `nowayout` the kernel takes it and goes on.)
    fn give_up(mut self) -> Option<Watchdog> {
        let device = self.device.as_fd();
        if requests::number(device, requests::Number::SetOptions, DISABLE).is_ok() {
            // It has stopped; what the letter says to the close is the smaller trouble.
            let _closed = self.disarm();
            return None;
        }
        // Where the driver does not say: the shortest that there is.
        let asked = self.ask(requests::Number::Timeout, Step::Timeout).unwrap_or_default();
        self.timeout = asked.max(TIMEOUT_MIN);
        // One that takes none is reset from here on, whatever anybody does.
        let _fed = self.feed();
        Some(self)
    }

    /// Opens a device, which starts it with the timeout that it has.
    ///
    /// # Errors
    /// When it is no watchdog, or somebody has it open.
    fn open(path: &CStr) -> Result<Watchdog, WatchdogError> {
        let found =
            rustix::fs::stat(path).map_err(|errno| WatchdogError::new(Step::Find, errno))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::CharacterDevice {
            return Err(WatchdogError::plain(Step::Find));
        }
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let device = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| WatchdogError::new(Step::Open, errno))?;
        let said = requests::support(device.as_fd())
            .map_err(|error| WatchdogError::of(Step::Ask, &error))?;
        let support = Support { options: said.options, identity: said.identity };
        Ok(Watchdog { device, support, timeout: Duration::ZERO })
    }

    fn prepare(&mut self, wanted: Duration, least: Duration) -> Result<(), WatchdogError> {
        check(self.support.options)?;
        self.set_timeout(wanted)?;
        if self.timeout < least {
            return Err(WatchdogError::plain(Step::TooShort));
        }
        Ok(())
    }

    /// Sets the timeout, rounded up to whole seconds, and feeds.
    ///
    /// # Errors
    /// When the driver refuses; the former one then stays in force.
    pub fn set_timeout(&mut self, wanted: Duration) -> Result<(), WatchdogError> {
        let seconds = i32::try_from(wanted.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        let failed = |error: &io::Error| WatchdogError::of(Step::Timeout, error);
        let device = self.device.as_fd();
        requests::number(device, requests::Number::SetTimeout, seconds).map_err(|e| failed(&e))?;
        self.timeout = self.ask(requests::Number::Timeout, Step::Timeout)?;
        // Most drivers start anew with a new timeout, and the interface does not say that all do.
        self.feed()
    }

    /// What it is.
    #[must_use]
    pub fn support(&self) -> &Support {
        &self.support
    }

    /// After so long without being fed it resets this machine.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Starts its timer anew. May block.
    ///
    /// # Errors
    /// What the driver says.
    pub fn feed(&self) -> Result<(), WatchdogError> {
        self.ask(requests::Number::KeepAlive, Step::Feed).map(drop)
    }

    /// How long until it resets this machine; not every driver knows.
    ///
    /// # Errors
    /// What the driver says.
    pub fn time_left(&self) -> Result<Duration, WatchdogError> {
        self.ask(requests::Number::TimeLeft, Step::Ask)
    }

    /// Stops it. With `nowayout` the kernel lets nobody, says so in its log and not to us:
    /// [`describe`] tells.
    ///
    /// # Errors
    /// When the letter was not taken; the timer then runs on.
    pub fn disarm(self) -> Result<(), WatchdogError> {
        match rustix::io::write(&self.device, b"V") {
            Ok(_) => Ok(()),
            Err(errno) => Err(WatchdogError::new(Step::Disarm, errno)),
        }
    }

    fn ask(&self, what: requests::Number, step: Step) -> Result<Duration, WatchdogError> {
        let seconds = requests::number(self.device.as_fd(), what, 0)
            .map_err(|error| WatchdogError::of(step, &error))?;
        Ok(Duration::from_secs(u64::from(seconds.max(0).unsigned_abs())))
    }
}

/// What the kernel shows of a watchdog without its being opened. What an older kernel does not show is
/// `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The kernel's name: `watchdog0`.
    pub name: String,
    /// The driver's.
    pub identity: Option<String>,
    /// Whether its timer runs.
    pub active: Option<bool>,
    /// Whether it can never be stopped.
    pub nowayout: Option<bool>,
    /// In force.
    pub timeout: Option<Duration>,
    /// The shortest and the longest one that it takes; a longest one of 0 is not limited.
    pub limits: Option<(Duration, Duration)>,
    /// What it can, as bits (`WDIOF_…`).
    pub options: Option<u32>,
}

impl Description {
    /// Whether it can be armed with a timeout (whole seconds), as far as can be known without opening it.
    ///
    /// # Errors
    /// Why not. One that never stops is refused as well when the kernel does not show enough of it:
    /// what is wrong would come out after it was opened, and the machine would be reset.
    pub fn check(&self, wanted: Duration) -> Result<(), WatchdogError> {
        if let Some(options) = self.options {
            check(options)?;
        }
        if let Some((least, most)) = self.limits
            && (wanted < least || wanted > most && !most.is_zero())
        {
            return Err(WatchdogError { step: Step::Timeout, errno: libc::EINVAL });
        }
        let is_known = self.options.is_some() && self.limits.is_some();
        match self.nowayout {
            Some(true) if !is_known => Err(WatchdogError::plain(Step::NeverStops)),
            _ => Ok(()),
        }
    }
}

/// Looks at a watchdog without opening it, and without asking its driver for anything, which may block.
///
/// # Errors
/// When there is no such device, or it is no watchdog that the kernel shows.
pub fn describe(path: &Path) -> Result<Description, WatchdogError> {
    let found = fs::metadata(path).map_err(|error| WatchdogError::of(Step::Find, &error))?;
    if !found.file_type().is_char_device() {
        return Err(WatchdogError::plain(Step::Find));
    }
    let (major, minor) = numbers(found.rdev());
    match shown(Path::new("/sys"), major, minor) {
        Some(shown) => Ok(read(&shown)),
        // A driver that does not use what they have in common, of which nothing is shown.
        None if (major, minor) == LEGACY => {
            Ok(Description { name: "watchdog".to_owned(), ..Description::default() })
        }
        None => Err(WatchdogError::plain(Step::Find)),
    }
}

fn numbers(device: u64) -> (u32, u32) {
    (rustix::fs::major(device), rustix::fs::minor(device))
}

/// `/dev/watchdog`: the first watchdog under its old name (admin-guide/devices.txt).
const LEGACY: (u32, u32) = (10, 130);

/// Where the kernel shows a device of these numbers.
fn shown(sys: &Path, major: u32, minor: u32) -> Option<PathBuf> {
    let class = sys.join("class/watchdog");
    if (major, minor) == LEGACY {
        return Some(class.join("watchdog0")).filter(|path| path.exists());
    }
    let wanted = format!("{major}:{minor}");
    let entries = fs::read_dir(class).ok()?;
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| fs::read_to_string(path.join("dev")).is_ok_and(|text| text.trim() == wanted))
}

fn read(directory: &Path) -> Description {
    let text = |name: &str| {
        let text = fs::read_to_string(directory.join(name)).ok()?;
        Some(text.trim().to_owned())
    };
    let seconds = |name: &str| text(name)?.parse().ok().map(Duration::from_secs);
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Description {
        name,
        identity: text("identity"),
        active: text("state").map(|state| state == "active"),
        nowayout: text("nowayout").map(|word| word == "1"),
        timeout: seconds("timeout"),
        limits: seconds("min_timeout").zip(seconds("max_timeout")),
        options: text("options")
            .and_then(|bits| u32::from_str_radix(bits.trim_start_matches("0x"), 16).ok()),
    }
}

/// Number and name of the processes that have the device open, as far as this user may see.
#[must_use]
pub fn holders(path: &Path) -> Vec<(u32, String)> {
    let Ok(device) = fs::metadata(path) else { return Vec::new() };
    // One device under two names has one opener, and each name has its own numbers.
    let of = |device: u64| {
        let (major, minor) = numbers(device);
        shown(Path::new("/sys"), major, minor).ok_or(device)
    };
    let wanted = of(device.rdev());
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mut holders = Vec::new();
    for process in processes.filter_map(Result::ok) {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let has = descriptors.filter_map(Result::ok).any(|descriptor| {
            fs::metadata(descriptor.path())
                .is_ok_and(|open| open.file_type().is_char_device() && of(open.rdev()) == wanted)
        });
        if has {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            holders.push((pid, name.trim().to_owned()));
        }
    }
    holders.sort();
    holders
}

#[cfg(test)]
mod tests;
