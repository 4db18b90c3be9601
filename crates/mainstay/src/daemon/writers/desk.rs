//! What the thread of a resource works with, whatever its kind: whom it asks and tells, what it runs, and
//! where it writes down what it began.
//!
//! Programs that do not end when they are killed wait for a device in the kernel. They are left behind: the
//! desk keeps them until they have ended.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use base::Instant;
use os::event;
use os::process::Containment;
use os::shared::Permit;

use super::super::Done;
use super::super::records::Records;
use super::question;
use super::run::{self, Ended, Fault, Inbox, Place};

/// One resource's.
pub(in crate::daemon) struct Desk {
    asker: PathBuf,
    records: Records,
    containment: Containment,
    done: event::Sender<Done>,
    service: String,
    resource: String,
    /// What did not end when it was killed.
    left_behind: Vec<Child>,
}

impl Desk {
    /// `names` are those of the service and the resource.
    pub(super) fn new(
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

    /// Runs what cannot write, or what the kernel keeps the device claimed for.
    pub(in crate::daemon) fn run(
        &mut self,
        command: &mut Command,
        until: Instant,
        inbox: &mut Inbox,
    ) -> Result<Ended, Fault> {
        run::run(command, Place::Outside, until, inbox, &mut self.left_behind, &mut |_| {})
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
        let Desk { containment, service, resource, left_behind, .. } = self;
        let place = Place::Inside { containment, service, resource, permit };
        run::run(command, place, until, inbox, left_behind, progress)
    }

    /// A program that nobody waits for any more.
    pub(in crate::daemon) fn leave_behind(&mut self, child: Child) {
        self.left_behind.push(child);
    }

    /// Forgets what has ended of that.
    pub(super) fn reap(&mut self) {
        self.left_behind.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// On record before anything of it begins. Without a record it is found by the configuration alone.
    pub(super) fn enter(&self, resource: &engine::Resource) {
        if let Err(error) = self.records.enter(&self.service, resource) {
            self.say(&format!("cannot be put on record: {error}"));
        }
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
