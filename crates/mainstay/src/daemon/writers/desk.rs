//! What the thread of a resource works with, whatever its kind: whom it asks and tells, what it runs, and
//! where it writes down what it began.
//!
//! Programs that do not end when they are killed wait for a device in the kernel. They are left behind: the
//! desk keeps them until they have ended.
//!
//! **Rule:** of those that a resource asks about one device (`ask`, `change`) there is never more than one. Who asks
//! again waits for the former one to end, and hears at last for how long the device has not answered; so a disk that
//! is dead for days costs one process, and not one for each question.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use base::Instant;
use os::event;
use os::process::Containment;
use os::shared::Permit;

use super::super::Done;
use super::super::records::Records;
use super::question;
use super::run::{self, Ended, Fault, Inbox, Place};

/// Between two looks whether what hangs has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What did not end when it was killed, or is not waited for any more.
struct LeftBehind {
    child: Child,
    /// Whom it asks, and since when.
    about: Option<PathBuf>,
    since: Instant,
}

/// One resource's.
pub(in crate::daemon) struct Desk {
    asker: PathBuf,
    records: Records,
    containment: Containment,
    done: event::Sender<Done>,
    service: String,
    resource: String,
    left_behind: Vec<LeftBehind>,
}

impl Desk {
    /// `names` are those of the service and the resource.
    pub(in crate::daemon) fn new(
        asker: PathBuf,
        records: Records,
        containment: Containment,
        done: event::Sender<Done>,
        names: (String, String),
    ) -> Desk {
        let (service, resource) = names;
        Desk { asker, records, containment, done, service, resource, left_behind: Vec::new() }
    }

    pub(in crate::daemon) fn service(&self) -> &str {
        &self.service
    }

    /// The service and the resource.
    pub(in crate::daemon) fn names(&self) -> (String, String) {
        (self.service.clone(), self.resource.clone())
    }

    /// The processes of the resource are among these, by service and resource.
    pub(in crate::daemon) fn group(&self) -> (&Containment, &str, Option<&str>) {
        (&self.containment, &self.service, Some(&self.resource))
    }

    /// A question, to be run.
    pub(in crate::daemon) fn question(&self, word: &str, path: &Path) -> Command {
        question::ask(&self.asker, word, path)
    }

    /// Asks, once what was asked about that path before has ended.
    pub(in crate::daemon) fn ask(
        &mut self,
        word: &str,
        path: &Path,
        until: Instant,
        inbox: &mut Inbox,
    ) -> Result<Ended, Fault> {
        self.hear(word, path, until, inbox, &mut |_| {})
    }

    /// ... and `progress` gets each line of the answer as it comes, also of one that does not end in time.
    pub(in crate::daemon) fn hear(
        &mut self,
        word: &str,
        path: &Path,
        until: Instant,
        inbox: &mut Inbox,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Ended, Fault> {
        self.await_answer(path, until, inbox)?;
        let mut command = self.question(word, path);
        self.carry_out(&mut command, Some(path), None, until, inbox, progress)
    }

    /// Runs a command that changes something about a path, once what was asked about it has ended.
    pub(in crate::daemon) fn change(
        &mut self,
        command: &mut Command,
        path: &Path,
        permit: Option<&Permit>,
        until: Instant,
        inbox: &mut Inbox,
    ) -> Result<Ended, Fault> {
        self.await_answer(path, until, inbox)?;
        self.carry_out(command, Some(path), Some(permit), until, inbox, &mut |_| {})
    }

    /// Runs what cannot write, or what the kernel keeps the device claimed for.
    pub(in crate::daemon) fn run(
        &mut self,
        command: &mut Command,
        until: Instant,
        inbox: &mut Inbox,
    ) -> Result<Ended, Fault> {
        self.carry_out(command, None, None, until, inbox, &mut |_| {})
    }

    /// Runs what may write; `progress` gets each line of its output.
    pub(in crate::daemon) fn run_inside(
        &mut self,
        command: &mut Command,
        permit: Option<&Permit>,
        until: Instant,
        inbox: &mut Inbox,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Ended, Fault> {
        self.carry_out(command, None, Some(permit), until, inbox, progress)
    }

    /// Runs among the processes of the resource if it says with which permit, and elsewhere if not.
    fn carry_out(
        &mut self,
        command: &mut Command,
        about: Option<&Path>,
        inside: Option<Option<&Permit>>,
        until: Instant,
        inbox: &mut Inbox,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Ended, Fault> {
        let Desk { containment, service, resource, .. } = self;
        let place = match inside {
            Some(permit) => Place::Inside { containment, service, resource, permit },
            None => Place::Outside,
        };
        let since = os::clock::boottime();
        let mut left = Vec::new();
        let result = run::run(command, place, until, inbox, &mut left, progress);
        let hangs = !left.is_empty();
        let about_what = about.map(Path::to_owned);
        let entry = |child| LeftBehind { child, about: about_what.clone(), since };
        self.left_behind.extend(left.into_iter().map(entry));
        match (result, about) {
            (Err(Fault::Said(_)), Some(path)) if hangs => Err(silent(path, since)),
            (result, _) => result,
        }
    }

    /// Waits until nothing hangs that was asked about that path.
    fn await_answer(
        &mut self,
        path: &Path,
        until: Instant,
        inbox: &mut Inbox,
    ) -> Result<(), Fault> {
        loop {
            self.reap();
            let is_it = |left: &&LeftBehind| left.about.as_deref() == Some(path);
            let Some(left) = self.left_behind.iter().find(is_it) else { return Ok(()) };
            let since = left.since;
            if os::clock::boottime() >= until {
                return Err(silent(path, since));
            }
            if inbox.is_interrupted(LOOK_INTERVAL) {
                return Err(Fault::Interrupted);
            }
        }
    }

    /// A program that nobody waits for any more.
    pub(in crate::daemon) fn leave_behind(&mut self, child: Child) {
        self.left_behind.push(LeftBehind { child, about: None, since: os::clock::boottime() });
    }

    /// Forgets what has ended of that.
    pub(super) fn reap(&mut self) {
        self.left_behind.retain_mut(|left| matches!(left.child.try_wait(), Ok(None)));
    }

    /// On record before anything of it begins: the next life of the daemon must find it, whatever the
    /// configuration says by then.
    pub(super) fn enter(&self, resource: &engine::Resource) -> Result<(), Fault> {
        let entered = self.records.enter(&self.service, resource);
        entered.map_err(|error| Fault::Said(format!("it cannot be put on record: {error}")))
    }

    /// Nothing of it is left.
    pub(super) fn forget(&self) {
        if let Err(error) = self.records.remove(&self.service, &self.resource) {
            self.say(&format!("stays on record: {error}"));
        }
    }

    /// A line for the journal.
    pub(in crate::daemon) fn say(&self, text: &str) {
        self.speaker()(text);
    }

    /// Says lines for the journal while something else has the desk.
    pub(in crate::daemon) fn speaker(&self) -> impl Fn(&str) + use<> {
        let (done, label) = (self.done.clone(), format!("{}/{}", self.service, self.resource));
        // The loop has gone when the process is ending; nobody waits for the line then.
        move |text| drop(done.send_waiting(Done::Said(format!("{label}: {text}"))))
    }

    pub(super) fn tell(&self, done: Done) {
        // The loop has gone when the process is ending; nobody waits for the outcome then.
        let _ending = self.done.send_waiting(done);
    }
}

fn silent(path: &Path, since: Instant) -> Fault {
    let lasts = os::clock::boottime().since(since).as_secs();
    Fault::Said(format!("{} has not answered for {lasts} s", path.display()))
}
