//! The mount agent: file systems of storage services, each on a thread of its own.
//!
//! ```text
//!   start: device there? directory? claimed by somebody? kind as said? ─► check ─► mount ─► look
//!   look:  in the table and writable each second; an answer of the device every few
//!   stop:  users named, SIGTERM ─► SIGKILL ─► unmounted ─► device given up by the kernel: done
//!   kill:  the same at once, and at last out of sight (MNT_DETACH): which is **not** done
//! ```
//!
//! Whatever can wait for a device is a process: `mount`, `umount`, `fsck.KIND`, and our own
//! [`question`]. One that hangs in the kernel is left behind; the daemon, and this thread, are not.
//!
//! **Rule:** a stop is confirmed only when the directory shows the file system no more *and* the kernel has
//! given up the device. A mount that was detached, or is seen from another namespace, still writes; its
//! service keeps its holder, until the device is free or something proves that this machine is dead.
//!
//! **Rule:** none of this is forgotten with a daemon that dies. Its next life takes every mount for there
//! that it does not find free (module [`left`]), and a device is known by its number, not by a name that
//! udev takes away.

mod left;
mod start;
mod stop;
#[cfg(test)]
mod tests;
mod trace;

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use base::Instant;
use engine::{Act, Check, ResourceKind};
use os::shared::Permit;

use super::writers::run::{Fault, Inbox};
use super::writers::{Desk, Writer, question};
pub(super) use left::{Asked, Left, look_all};
pub(super) use trace::Trace;

/// Between two looks at the table.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two questions to the device.
const QUESTION_INTERVAL: Duration = Duration::from_secs(5);
/// A device that has not answered for so long has failed.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// A mount as it is configured.
#[derive(Clone, Debug)]
pub(super) struct What {
    device: String,
    directory: PathBuf,
    filesystem: String,
    options: String,
    check: Check,
}

impl What {
    fn of(kind: &ResourceKind) -> What {
        let ResourceKind::Mount { device, directory, filesystem, options, check } = kind else {
            unreachable!("only mounts come here");
        };
        What {
            device: device.clone(),
            directory: directory.into(),
            filesystem: filesystem.clone(),
            options: options.clone(),
            check: *check,
        }
    }

    fn is_read_only(&self) -> bool {
        self.options.split(',').any(|option| option == "ro")
    }

    /// The path of the device, if it is there.
    fn device(&self) -> PathBuf {
        match self.device.split_once('=') {
            Some(("UUID", uuid)) => Path::new("/dev/disk/by-uuid").join(uuid),
            Some(("LABEL", label)) => Path::new("/dev/disk/by-label").join(label),
            _ => PathBuf::from(&self.device),
        }
    }

    /// What is mounted in the directory, when it is from this device.
    fn mounted(&self, table: &[os::mount::Mount], trace: &Trace) -> Option<os::mount::Mount> {
        let there = os::mount::on(table, &self.directory)?;
        let device = self.device();
        let is_ours = trace.is(there.device)
            || os::mount::number(&device).is_ok_and(|number| number == there.device)
            // Some kinds of file system have a number of their own.
            || std::fs::canonicalize(&device).is_ok_and(|path| path == Path::new(&there.source))
            || there.source == self.device;
        is_ours.then(|| there.clone())
    }
}

/// One mount, on its thread.
pub(super) struct Mount {
    desk: Desk,
    what: What,
    /// What is known of the device that was, or may have been, mounted.
    trace: Trace,
    /// The device has been asked.
    question: Option<Child>,
    asked_at: Instant,
}

impl Mount {
    pub(super) fn new(desk: Desk, kind: &ResourceKind) -> Mount {
        let (what, trace) = (What::of(kind), Trace::default());
        Mount { desk, what, trace, question: None, asked_at: Instant::ZERO }
    }
}

impl Writer for Mount {
    fn desk(&mut self) -> &mut Desk {
        &mut self.desk
    }

    fn look_interval(&self) -> Duration {
        LOOK_INTERVAL
    }

    fn did(&self) -> &'static str {
        "is mounted"
    }

    fn configure(&mut self, kind: &ResourceKind) {
        self.what = What::of(kind);
    }

    fn adopt(&mut self, trace: Trace) -> bool {
        self.trace = trace;
        trace.shown.is_some()
    }

    fn start(
        &mut self,
        act: &Act,
        permit: Option<&Permit>,
        inbox: &mut Inbox,
    ) -> Result<(), Fault> {
        let result = self.mount(act, permit, inbox);
        // Whatever was asked before was asked of another mount.
        if let Some(asked) = self.question.take() {
            self.desk.leave_behind(asked);
        }
        self.asked_at = os::clock::boottime();
        result
    }

    fn stop(&mut self, act: &Act, inbox: &mut Inbox) -> Result<(), Fault> {
        self.unmount(act, inbox)
    }

    /// Whether it is still there, can be written to, and answers.
    fn look(&mut self, _: &mut Inbox) -> Result<(), Fault> {
        let table = os::mount::table().map_err(|error| format!("cannot be looked at: {error}"))?;
        let directory = self.what.directory.display();
        let Some(mount) = self.what.mounted(&table, &self.trace) else {
            return Err(format!("is not mounted on {directory} any more").into());
        };
        if mount.is_read_only() && !self.what.is_read_only() {
            return Err(format!(
                "{directory} has become read-only: the kernel does that after errors of the device \
                 (`dmesg`), or somebody has remounted it"
            )
            .into());
        }
        let now = os::clock::boottime();
        match &mut self.question {
            None if now.since(self.asked_at) >= QUESTION_INTERVAL => {
                self.asked_at = now;
                let asked = self.desk.question("answers", &self.trace.path(&self.what)).spawn();
                // Without a process to ask with nothing is known of the device.
                self.question = asked.ok();
            }
            None => {}
            Some(child) => match child.try_wait() {
                Ok(None) if now.since(self.asked_at) < ANSWER_MAX => {}
                Ok(None) => {
                    let waited = now.since(self.asked_at).as_secs();
                    let hanging = self.question.take().expect("it was just seen");
                    self.desk.leave_behind(hanging);
                    return Err(format!("its device has not answered for {waited} s").into());
                }
                Ok(Some(status)) => {
                    self.question = None;
                    if status.code() == Some(question::NO) {
                        let error = "its device gives an error when it is read";
                        return Err(error.to_owned().into());
                    }
                }
                Err(_) => self.question = None,
            },
        }
        Ok(())
    }
}
