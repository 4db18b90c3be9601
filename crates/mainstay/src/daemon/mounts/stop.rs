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
use os::mount::User;
use os::process::Process;

use super::run::{self, Fault, Inbox};
use super::{Worker, question};

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

impl Worker {
    pub(super) fn stop(&mut self, act: &Act, inbox: &mut Inbox) -> Result<(), Fault> {
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
            if what.mounted(&table).is_none() {
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
            match run::run(&mut command, end, inbox, &mut self.left_behind, &mut |_| {}) {
                Ok(ended) if ended.code == Some(0) => continue,
                Ok(ended) => last = ended.why(),
                Err(Fault::Said(reason)) => last = reason,
                Err(Fault::Interrupted) => return Err(Fault::Interrupted),
            }
            let users = self.users(inbox)?;
            if !users.is_empty() {
                last = format!("used by {}", named(&users));
                let force = os::clock::boottime() >= kill_at;
                self.end_users(&users, force, &mut told);
            }
            if inbox.is_interrupted(AGAIN) {
                return Err(Fault::Interrupted);
            }
        }
    }

    /// The directory does not show it any more: done when nothing has the device.
    fn await_device(&mut self, until: Instant, inbox: &mut Inbox, last: &str) -> Result<(), Fault> {
        let device = self.what.device();
        let shown = device.display();
        loop {
            match os::mount::number(&device) {
                // A device that has gone takes nothing.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(format!("{shown}: {error}").into()),
                Ok(number) => {
                    let table = os::mount::table().map_err(|error| error.to_string())?;
                    if let Some(other) = table.iter().find(|mount| mount.device == number) {
                        let at = other.directory.display();
                        return Err(format!(
                            "{shown} is mounted on {at} as well, and not by Mainstay: unmount it there"
                        )
                        .into());
                    }
                }
            }
            // One that is asked at the end still has a moment to answer.
            if self.is_free(&device, until + LAST_WORD / 2, inbox)? {
                return Ok(());
            }
            if os::clock::boottime() >= until {
                let by = if last.is_empty() { String::new() } else { format!(" ({last})") };
                return Err(format!(
                    "is unmounted, but the kernel has not given up {shown}{by}: it was detached while in \
                     use, or is mounted in another namespace; it may still write"
                )
                .into());
            }
            if inbox.is_interrupted(AGAIN) {
                return Err(Fault::Interrupted);
            }
        }
    }

    /// Takes the mount out of sight, so that nobody new gets at it. Its users go on: that proves nothing.
    fn detach(&mut self, until: Instant, inbox: &mut Inbox, last: &str) -> Result<(), Fault> {
        let directory = self.what.directory.clone();
        let shown = directory.display();
        let mut command = Command::new("umount");
        command.arg("--lazy").arg("--").arg(&directory);
        let ended = run::run(&mut command, until, inbox, &mut self.left_behind, &mut |_| {})?;
        if ended.code != Some(0) {
            return Err(format!("{shown} could not even be detached: {}", ended.why()).into());
        }
        self.say(&format!("{shown} was detached, since it is {last}"));
        self.await_device(until, inbox, last)
    }

    fn users(&mut self, inbox: &mut Inbox) -> Result<Vec<User>, Fault> {
        let mut command = question::ask(&self.asker, "users", &self.what.directory);
        let until = os::clock::boottime() + LOOK_BUDGET;
        match run::run(&mut command, until, inbox, &mut self.left_behind, &mut |_| {}) {
            Ok(ended) => Ok(question::users(&ended.output)),
            // It waits for the device, or there is no memory: then nobody is known.
            Err(Fault::Said(reason)) => {
                self.say(&format!("cannot see who uses it: {reason}"));
                Ok(Vec::new())
            }
            Err(Fault::Interrupted) => Err(Fault::Interrupted),
        }
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
            self.say(&format!("who uses {directory} is {signal}: {}", named(&new)));
        }
        if !failed.is_empty() {
            self.say(&format!("cannot be signalled: {}", failed.join(", ")));
        }
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
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
