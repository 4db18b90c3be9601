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
pub mod question;
pub(super) mod run;
mod start;
mod stop;
#[cfg(test)]
mod tests;
mod trace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use base::Instant;
use engine::{Act, ActionId, Check, ResourceKind, Verb};
use os::event;
use os::process::Containment;
use os::shared::Permit;

use super::Done;
use super::records::Records;
pub(super) use left::{Asked, Left, look_all};
use run::Inbox;
pub(super) use trace::Trace;

/// Between two looks at the table.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two questions to the device.
const QUESTION_INTERVAL: Duration = Duration::from_secs(5);
/// A device that has not answered for so long has failed.
const ANSWER_MAX: Duration = Duration::from_secs(15);
const STACK_SIZE: usize = 256 << 10;
/// The program that runs as [`question`]: this one.
pub(super) const PROGRAM: &str = "/proc/self/exe";

/// What one thread is told.
pub(super) enum Job {
    Act(Act, Option<Permit>),
    /// A former life of the daemon has mounted it, or may have: what is known of it.
    Adopt(Trace),
}

/// The threads.
pub(super) struct Mounts {
    asker: PathBuf,
    records: Records,
    containment: Containment,
    done: event::Sender<Done>,
    workers: BTreeMap<(String, String), Sender<Job>>,
}

impl Mounts {
    /// `program` is the one that runs as [`question`].
    pub(super) fn new(
        program: PathBuf,
        records: Records,
        containment: Containment,
        done: event::Sender<Done>,
    ) -> Mounts {
        Mounts { asker: program, records, containment, done, workers: BTreeMap::new() }
    }

    /// Hands an act on a mount to its thread.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub(super) fn act(&mut self, act: Act, permit: Option<Permit>) -> std::io::Result<()> {
        let (service, resource) = (act.service.clone(), act.resource.clone());
        self.send(&service, &resource, Job::Act(act, permit))
    }

    /// Looks after a mount that is there already, or remembers what is known of one that may be.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub(super) fn adopt(
        &mut self,
        service: &str,
        resource: &engine::Resource,
        trace: Trace,
    ) -> std::io::Result<()> {
        self.send(service, resource, Job::Adopt(trace))
    }

    fn send(
        &mut self,
        service: &str,
        resource: &engine::Resource,
        job: Job,
    ) -> std::io::Result<()> {
        let key = (service.to_owned(), resource.name.clone());
        let worker = match self.workers.get(&key) {
            Some(worker) => worker.clone(),
            None => {
                let (sender, jobs) = channel();
                let worker = Worker {
                    asker: self.asker.clone(),
                    records: self.records.clone(),
                    containment: self.containment.clone(),
                    done: self.done.clone(),
                    service: service.to_owned(),
                    resource: resource.name.clone(),
                    what: What::of(&resource.kind),
                    trace: Trace::default(),
                    is_watched: false,
                    question: None,
                    asked_at: Instant::ZERO,
                    left_behind: Vec::new(),
                };
                std::thread::Builder::new()
                    .name("mount".into())
                    .stack_size(STACK_SIZE)
                    .spawn(move || worker.run(jobs))?;
                self.workers.insert(key, sender.clone());
                sender
            }
        };
        worker.send(job).expect("a worker lives as long as its queue");
        Ok(())
    }
}

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

/// One mount's thread.
struct Worker {
    asker: PathBuf,
    records: Records,
    containment: Containment,
    done: event::Sender<Done>,
    service: String,
    resource: String,
    what: What,
    /// What is known of the device that was, or may have been, mounted.
    trace: Trace,
    is_watched: bool,
    /// The device has been asked.
    question: Option<Child>,
    asked_at: Instant,
    /// What did not end when it was killed.
    left_behind: Vec<Child>,
}

impl Worker {
    fn run(mut self, jobs: Receiver<Job>) {
        let mut inbox = Inbox::new(jobs);
        loop {
            let next = match self.is_watched {
                true => inbox.next_within(LOOK_INTERVAL),
                false => inbox.next().ok_or(RecvTimeoutError::Disconnected),
            };
            self.left_behind.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
            match next {
                Ok(Job::Adopt(trace)) => {
                    self.is_watched = trace.shown.is_some();
                    self.trace = trace;
                }
                Ok(Job::Act(act, permit)) => {
                    self.is_watched = false;
                    self.what = What::of(&act.resource.kind);
                    match act.verb {
                        Verb::Start => self.started(&act, permit.as_ref(), &mut inbox),
                        Verb::Stop | Verb::Kill => self.stopped(&act, &mut inbox),
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn started(&mut self, act: &Act, permit: Option<&Permit>, inbox: &mut Inbox) {
        self.enter(&act.resource);
        let result = match self.start(act, permit, inbox) {
            Ok(()) => Ok(()),
            // Whoever wants it stopped meanwhile waits for that answer.
            Err(run::Fault::Interrupted) => return,
            Err(run::Fault::Said(reason)) => Err(reason),
        };
        self.is_watched = result.is_ok();
        (self.question, self.asked_at) = (None, os::clock::boottime());
        let (service, resource) = (self.service.clone(), self.resource.clone());
        self.tell(Done::Mounted { id: act.id, service, resource, did: "is mounted", result });
    }

    fn stopped(&mut self, act: &Act, inbox: &mut Inbox) {
        match self.stop(act, inbox) {
            Ok(()) => {
                self.forget();
                self.answer_stop(act.id, Ok(()));
            }
            Err(run::Fault::Interrupted) => {}
            Err(run::Fault::Said(reason)) => self.answer_stop(act.id, Err(reason)),
        }
    }

    fn answer_stop(&self, id: ActionId, result: Result<(), String>) {
        self.tell(Done::Stopped { id, result });
    }

    /// Whether it is still there, can be written to, and answers.
    fn look(&mut self) {
        if let Err(reason) = self.judge() {
            self.is_watched = false;
            let (service, resource) = (self.service.clone(), self.resource.clone());
            self.tell(Done::MountBroken { service, resource, reason });
        }
    }

    fn judge(&mut self) -> Result<(), String> {
        let table = os::mount::table().map_err(|error| format!("cannot be looked at: {error}"))?;
        let directory = self.what.directory.display();
        let Some(mount) = self.what.mounted(&table, &self.trace) else {
            return Err(format!("is not mounted on {directory} any more"));
        };
        if mount.is_read_only() && !self.what.is_read_only() {
            return Err(format!(
                "{directory} has become read-only: the kernel does that after errors of the device \
                 (`dmesg`), or somebody has remounted it"
            ));
        }
        let now = os::clock::boottime();
        match &mut self.question {
            None if now.since(self.asked_at) >= QUESTION_INTERVAL => {
                self.asked_at = now;
                let asked =
                    question::ask(&self.asker, "answers", &self.trace.path(&self.what)).spawn();
                // Without a process to ask with nothing is known of the device.
                self.question = asked.ok();
            }
            None => {}
            Some(child) => match child.try_wait() {
                Ok(None) if now.since(self.asked_at) < ANSWER_MAX => {}
                Ok(None) => {
                    let waited = now.since(self.asked_at).as_secs();
                    let hanging = self.question.take().expect("it was just seen");
                    self.left_behind.push(hanging);
                    return Err(format!("its device has not answered for {waited} s"));
                }
                Ok(Some(status)) => {
                    self.question = None;
                    if status.code() == Some(question::NO) {
                        return Err("its device gives an error when it is read".to_owned());
                    }
                }
                Err(_) => self.question = None,
            },
        }
        Ok(())
    }

    /// On record before anything of it begins. Without a record it is found by the configuration alone.
    fn enter(&self, resource: &engine::Resource) {
        if let Err(error) = self.records.enter(&self.service, resource) {
            self.say(&format!("cannot be put on record: {error}"));
        }
    }

    /// Nothing of it is left.
    fn forget(&self) {
        if let Err(error) = self.records.remove(&self.service, &self.resource) {
            self.say(&format!("stays on record: {error}"));
        }
    }

    /// A line for the journal.
    fn say(&self, text: &str) {
        let text = format!("{}/{}: {text}", self.service, self.resource);
        self.tell(Done::Said(text));
    }

    fn tell(&self, done: Done) {
        // The loop has gone when the process is ending; nobody waits for the outcome then.
        let _ending = self.done.send_waiting(done);
    }
}
