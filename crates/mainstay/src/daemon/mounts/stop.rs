//! From a mounted file system to a device that the kernel has given up.
//!
//! The users are found by the number of the file system, not by names, so those of other namespaces are
//! seen as well; each is signalled through a descriptor that means this very process. Whoever belongs to
//! Mainstay itself, and process 1, are left alone: then the unmount fails, and says by whom.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base::Instant;
use engine::{Act, Verb};
use os::mount::{Found, User};
use os::process::Process;

use super::super::writers::question;
use super::super::writers::run::{Fault, Inbox};
use super::Mount;
use super::trace::{self, Known, Trace};

/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(100);
/// Of the time that a kill has, so much is kept for taking the mount out of sight.
const DETACH_BUDGET: Duration = Duration::from_millis(1_500);
/// So long before its time is over it says why it has not come about.
const LAST_WORD: Duration = Duration::from_millis(500);
/// One look at who uses it.
const LOOK_BUDGET: Duration = Duration::from_secs(2);
/// Users that are named.
const NAMED_MAX: usize = 8;

/// Who uses a mount.
#[derive(Debug, Default)]
struct Users {
    known: Vec<User>,
    /// Processes that cannot be looked at, and perhaps use it.
    silent: Vec<u32>,
}

impl Mount {
    pub(super) fn unmount(&mut self, act: &Act, inbox: &mut Inbox) -> Result<(), Fault> {
        let what = self.what.clone();
        let (began, is_kill) = (os::clock::boottime(), act.verb == Verb::Kill);
        // The engine gives up at the deadline, and what is said before then is heard.
        let whole = act.deadline.since(began);
        let budget = whole.saturating_sub(LAST_WORD.min(whole / 5));
        let until = began + budget;
        let detach_at = began + budget.saturating_sub(DETACH_BUDGET.min(budget / 3));
        // Asked first, for half of the time; a kill asks nobody.
        let kill_at = if is_kill { began } else { began + budget / 2 };
        let mut told: Vec<(u32, bool)> = Vec::new();
        let mut last = String::new();
        loop {
            let table = os::mount::table().map_err(|error| error.to_string())?;
            if what.mounted(&table, &self.trace).is_none() {
                return self.await_device(until, inbox, &last);
            }
            let now = os::clock::boottime();
            if is_kill && now >= detach_at {
                return self.detach(until, inbox, &last);
            }
            if now >= until {
                return Err(format!("is still mounted: {last}").into());
            }
            let mut command = Command::new("umount");
            command.arg("--").arg(&what.directory);
            let end = if is_kill { detach_at } else { until };
            match self.desk.run(&mut command, end, inbox) {
                Ok(ended) if ended.code == Some(0) => continue,
                Ok(ended) => last = ended.why(),
                Err(Fault::Said(reason)) => last = reason,
                Err(Fault::Interrupted) => return Err(Fault::Interrupted),
            }
            let users = self.users(end, inbox)?;
            if !users.known.is_empty() {
                last = format!("used by {}", named(&users.known));
                let force = os::clock::boottime() >= kill_at;
                self.end_users(&users.known, force, &mut told);
            }
            if !users.silent.is_empty() {
                last = format!("{last}; {}", perhaps(&users.silent));
            }
            if inbox.is_interrupted(AGAIN) {
                return Err(Fault::Interrupted);
            }
        }
    }

    /// The directory does not show it any more: done when nothing has the device, and nothing is left
    /// that may still mount it.
    fn await_device(&mut self, until: Instant, inbox: &mut Inbox, last: &str) -> Result<(), Fault> {
        let by = if last.is_empty() { String::new() } else { format!(" ({last})") };
        loop {
            let kept = match self.programs_left()? {
                Some(why) => Some(why),
                None => self.device_kept(until, inbox)?,
            };
            let Some(why) = kept else {
                self.trace = Trace::default();
                return Ok(());
            };
            if os::clock::boottime() >= until {
                return Err(format!("{why}{by}; it may still write").into());
            }
            if inbox.is_interrupted(AGAIN) {
                return Err(Fault::Interrupted);
            }
        }
    }

    /// Ends what still checks or mounts it; why not, while that lasts.
    fn programs_left(&self) -> Result<Option<String>, Fault> {
        let (containment, service, resource) = self.desk.group();
        let said = |error: std::io::Error| format!("what mounts or checks it: {error}");
        if containment.is_empty(service, resource).map_err(said)? {
            containment.remove(service, resource).map_err(said)?;
            return Ok(None);
        }
        containment.kill(service, resource).map_err(said)?;
        let pids = containment.pids(service, resource).map_err(said)?;
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        Ok(Some(format!(
            "is not mounted, but what checks or mounts it does not end (process {}): it waits for the \
             device",
            pids.join(", ")
        )))
    }

    /// Why the kernel still has the device, if it has.
    fn device_kept(&mut self, until: Instant, inbox: &mut Inbox) -> Result<Option<String>, Fault> {
        let table = os::mount::table().map_err(|error| error.to_string())?;
        let (named, directory) = (self.what.device(), self.what.directory.clone());
        let shown = named.display();
        let (number, device) = match self.trace.device {
            // Names come and go (udev takes links away); the number stays as long as it is in use.
            Known::Number(number) => match trace::node(&self.what, number) {
                Ok(device) => (Some(number), device),
                Err(error) => return Err(format!("{shown}: {error}").into()),
            },
            Known::Nothing | Known::Lost => match os::mount::number(&named) {
                Ok(number) => (Some(number), Some(named.clone())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => (None, None),
                Err(error) => return Err(format!("{shown}: {error}").into()),
            },
        };
        let is_it = |mount: &&os::mount::Mount| {
            Some(mount.device) == number || Some(mount.device) == self.trace.shown
        };
        if let Some(other) = table.iter().find(is_it) {
            let at = other.directory.display();
            return Err(format!(
                "{shown} is mounted on {at} as well, and not by Mainstay: unmount it there"
            )
            .into());
        }
        match (device, number) {
            // One asked at the end still has a moment to answer.
            (Some(device), _) => match self.is_free(&device, until + LAST_WORD / 2, inbox)? {
                true => Ok(None),
                false => Ok(Some(format!(
                    "is unmounted, but the kernel has not given up {shown}: it was detached while in use, \
                     or is mounted in another namespace"
                ))),
            },
            // The kernel has no such device any more, and nothing that is mounted from it: it takes
            // nothing.
            (None, Some(_)) => Ok(None),
            (None, None) if self.trace.device == Known::Lost => Err(format!(
                "{shown} is not to be found, and an earlier life of this daemon may have mounted it: \
                 bring it back, or restart this machine; it may still write"
            )
            .into()),
            (None, None) => match os::mount::on(&table, &directory) {
                Some(mount) => Err(format!(
                    "{shown} is not to be found, and {} is mounted on {}: unmount that",
                    mount.source,
                    directory.display()
                )
                .into()),
                None => Ok(None),
            },
        }
    }

    /// Takes the mount out of sight, so that nobody new gets at it. Its users go on: that proves nothing.
    fn detach(&mut self, until: Instant, inbox: &mut Inbox, last: &str) -> Result<(), Fault> {
        let directory = self.what.directory.clone();
        let shown = directory.display();
        let mut command = Command::new("umount");
        command.arg("--lazy").arg("--").arg(&directory);
        let ended = self.desk.run(&mut command, until, inbox)?;
        if ended.code != Some(0) {
            return Err(format!("{shown} could not even be detached: {}", ended.why()).into());
        }
        self.desk.say(&format!("{shown} was detached, since it is {last}"));
        self.await_device(until, inbox, last)
    }

    /// Those who were found by then.
    fn users(&mut self, end: Instant, inbox: &mut Inbox) -> Result<Users, Fault> {
        let until = end.min(os::clock::boottime() + LOOK_BUDGET);
        let mut users = Users::default();
        let mut hear = |line: &str| match question::user(line) {
            Some(Found::User(user)) => users.known.push(user),
            Some(Found::Silent(pid)) => users.silent.push(pid),
            None => {}
        };
        let reason = match self.desk.hear("users", &self.what.directory, until, inbox, &mut hear) {
            Ok(ended) if ended.code == Some(0) => return Ok(users),
            Ok(ended) => ended.why(),
            // It waits for a device, or there is no memory.
            Err(Fault::Said(reason)) => reason,
            Err(Fault::Interrupted) => return Err(Fault::Interrupted),
        };
        self.desk.say(&format!("not all who use it can be seen: {reason}"));
        Ok(users)
    }

    fn end_users(&self, users: &[User], force: bool, told: &mut Vec<(u32, bool)>) {
        let ours = [1, std::process::id(), std::os::unix::process::parent_id()];
        let (mut new, mut failed) = (Vec::new(), Vec::new());
        for user in users.iter().filter(|user| !ours.contains(&user.pid)) {
            let process = match Process::adopt(user.pid, user.started) {
                Ok(Some(process)) => process,
                Ok(None) => continue,
                Err(error) => {
                    failed.push(format!("{} ({}): {error}", user.pid, user.name));
                    continue;
                }
            };
            if !force && told.contains(&(user.pid, false)) {
                continue; // asked once
            }
            if let Err(error) = if force { process.kill() } else { process.terminate() } {
                failed.push(format!("{} ({}): {error}", user.pid, user.name));
            } else if !told.contains(&(user.pid, force)) {
                told.push((user.pid, force));
                new.push(user.clone());
            }
        }
        if !new.is_empty() {
            let signal = if force { "killed" } else { "told to end (SIGTERM)" };
            let directory = shown(&self.what.directory);
            self.desk.say(&format!("who uses {directory} is {signal}: {}", named(&new)));
        }
        if !failed.is_empty() {
            self.desk.say(&format!("cannot be signalled: {}", failed.join(", ")));
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// They may be why it cannot be unmounted.
pub(super) fn perhaps(silent: &[u32]) -> String {
    let mut pids: Vec<String> = silent.iter().take(NAMED_MAX).map(u32::to_string).collect();
    if silent.len() > NAMED_MAX {
        pids.push(format!("and {} more", silent.len() - NAMED_MAX));
    }
    format!(
        "perhaps used by what cannot be looked at, as when its disk or network file system does not answer \
         (process {})",
        pids.join(", ")
    )
}

/// `123 (mysqld), which has /srv/db/ibdata1 open`
fn named(users: &[User]) -> String {
    let mut names: Vec<String> = (users.iter().take(NAMED_MAX))
        .map(|user| format!("{} ({}), which {}", user.pid, user.name, user.how))
        .collect();
    if users.len() > NAMED_MAX {
        names.push(format!("and {} more", users.len() - NAMED_MAX));
    }
    names.join("; ")
}
