//! The reservation agent: shared disks that only this node may write to, each resource on a thread of its own.
//!
//! ```text
//!   start: whose keys? ─► register ours ─► take away all others ─► ours alone, and reserved: done
//!   look:  ours, and reserved, each few seconds
//!   stop:  the disk was nobody's: release it; it was somebody's: keep it, under a key that says "unused"
//! ```
//!
//! A start is done when the disk itself says that this node's key is the only one and has the reservation
//! (write exclusive, registrants only). From then on no other machine writes to it: not one that stands
//! still and goes on later, not one that was never registered. That is what frees a reserved service for
//! this node (`engine`, module `class`), so nothing after it in the service is started before.
//!
//! **Rule:** a disk that was taken from somebody stays reserved when the service stops. Whoever lost it may
//! have a file system of it mounted, with writes that it has not made yet; it makes them as soon as nobody
//! has the disk. The next owner takes it over in its own start. Only a disk on which no key was when the
//! service started is given up with it.
//!
//! **Rule:** a key is registered by a start, which comes when nothing of the service is left here, and by
//! nothing else: a machine that lost its disk must not get it back under a mount that is older. So the key
//! is the node's and not that of its life, which a daemon that adopts what runs would have to exchange.
//!
//! Every question to a disk and every change is a process of its own, since they wait for the disk. A change
//! runs among the processes of the resource and with a permit, like a mount: it does not begin when the
//! guard has ended the service, a stop waits for it, and the next life of a daemon finds it.

pub(super) mod left;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use base::Instant;
use engine::{Act, ResourceKind, Verb};
use os::event;
use os::process::Containment;
use os::reservation::State;
use os::shared::Permit;

use super::Done;
use super::mounts::question;
use super::mounts::run::{self, Fault, Inbox, Place};
use super::mounts::{Job, Trace};
use super::records::Records;
pub(super) use steps::Keys;
use steps::Step;

/// Between two looks at a disk that is ours.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long one look may take.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Looks in a row without an answer after which the disk has failed.
const SILENT_MAX: u32 = 3;
/// More steps than there are keys on a disk: others register again and again.
const STEPS_MAX: usize = 300;
/// So long before the engine gives up a stop it says why it has not come about.
const LAST_WORD: Duration = Duration::from_millis(500);
const STACK_SIZE: usize = 256 << 10;

/// The threads.
pub(super) struct Reservations {
    asker: PathBuf,
    keys: Keys,
    records: Records,
    containment: Containment,
    done: event::Sender<Done>,
    workers: BTreeMap<(String, String), Sender<Job>>,
}

impl Reservations {
    /// `program` is the one that runs as [`question`]; `keys` says whose which is.
    pub(super) fn new(
        program: PathBuf,
        keys: Keys,
        records: Records,
        containment: Containment,
        done: event::Sender<Done>,
    ) -> Reservations {
        Reservations { asker: program, keys, records, containment, done, workers: BTreeMap::new() }
    }

    /// Hands an act on a reservation to its thread.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub(super) fn act(&mut self, act: Act, permit: Option<Permit>) -> std::io::Result<()> {
        let (service, resource) = (act.service.clone(), act.resource.clone());
        self.send(&service, &resource, Job::Act(act, permit))
    }

    /// Looks after disks that are reserved already.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub(super) fn adopt(
        &mut self,
        service: &str,
        resource: &engine::Resource,
    ) -> std::io::Result<()> {
        self.send(service, resource, Job::Adopt(Trace::default()))
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
                    keys: self.keys.clone(),
                    records: self.records.clone(),
                    containment: self.containment.clone(),
                    done: self.done.clone(),
                    service: service.to_owned(),
                    resource: resource.name.clone(),
                    disks: disks(&resource.kind),
                    free: BTreeSet::new(),
                    is_watched: false,
                    silent: BTreeMap::new(),
                    left_behind: Vec::new(),
                };
                std::thread::Builder::new()
                    .name("reservation".into())
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

fn disks(kind: &ResourceKind) -> Vec<PathBuf> {
    let ResourceKind::Reservation { disks } = kind else {
        unreachable!("only reservations come here");
    };
    disks.iter().map(PathBuf::from).collect()
}

/// One resource's thread.
struct Worker {
    asker: PathBuf,
    keys: Keys,
    records: Records,
    containment: Containment,
    done: event::Sender<Done>,
    service: String,
    resource: String,
    disks: Vec<PathBuf>,
    /// Disks that were nobody's when this node took them.
    free: BTreeSet<PathBuf>,
    is_watched: bool,
    /// Looks in a row that had no answer.
    silent: BTreeMap<PathBuf, u32>,
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
                Ok(Job::Adopt(_)) => {
                    self.is_watched = true;
                    self.silent.clear();
                }
                Ok(Job::Act(act, permit)) => {
                    self.is_watched = false;
                    self.disks = disks(&act.resource.kind);
                    match act.verb {
                        Verb::Start => self.started(&act, permit.as_ref(), &mut inbox),
                        Verb::Stop | Verb::Kill => self.stopped(&act, &mut inbox),
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.look(&mut inbox),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn started(&mut self, act: &Act, permit: Option<&Permit>, inbox: &mut Inbox) {
        self.enter(&act.resource);
        let disks = self.disks.clone();
        let mut taken = disks.iter().map(|disk| self.take(disk, permit, act.deadline, inbox));
        let result = match taken.find_map(Result::err) {
            None => Ok(()),
            // Whoever wants it stopped meanwhile waits for that answer.
            Some(Fault::Interrupted) => return,
            Some(Fault::Said(reason)) => Err(reason),
        };
        self.is_watched = result.is_ok();
        self.silent.clear();
        let (service, resource) = (self.service.clone(), self.resource.clone());
        self.tell(Done::Mounted { id: act.id, service, resource, did: "has its disks", result });
    }

    /// Makes a disk this node's alone.
    fn take(
        &mut self,
        disk: &Path,
        permit: Option<&Permit>,
        until: Instant,
        inbox: &mut Inbox,
    ) -> Result<(), Fault> {
        let mut is_first = true;
        for _ in 0..STEPS_MAX {
            let state = self.state(disk, until, inbox)?;
            if std::mem::take(&mut is_first) {
                match steps::is_free(&state) {
                    true => self.free.insert(disk.to_owned()),
                    false => self.free.remove(disk),
                };
            }
            let step = match steps::take(&state, &self.keys) {
                Step::Done => return Ok(()),
                Step::Refused(why) => return Err(format!("{}: {why}", disk.display()).into()),
                step => step,
            };
            self.change(disk, &step, permit, until, inbox)?;
            if let Step::Preempt(other) = step
                && other != self.keys.own.parked()
            {
                let whose = self.keys.whose(other);
                self.say(&format!("{} is taken from {whose} ({other})", disk.display()));
            }
        }
        let text = format!("{} does not come to rest: others register with it", disk.display());
        Err(text.into())
    }

    fn stopped(&mut self, act: &Act, inbox: &mut Inbox) {
        let whole = act.deadline.since(os::clock::boottime());
        let until = os::clock::boottime() + whole.saturating_sub(LAST_WORD.min(whole / 5));
        for disk in self.disks.clone() {
            match self.give_back(&disk, until, inbox) {
                Ok(()) => {}
                Err(Fault::Interrupted) => return,
                // Nothing of the service is left that could write, and whoever starts it takes the disk.
                Err(Fault::Said(reason)) => {
                    self.say(&format!("{} could not be given back: {reason}", disk.display()));
                }
            }
        }
        let group = Some(self.resource.as_str());
        let result = match self.containment.is_empty(&self.service, group) {
            Ok(true) => self.containment.remove(&self.service, group).map_err(|e| e.to_string()),
            // It may change something later, when the disk is in use again.
            Ok(false) => Err("a call to one of its disks does not end".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        if result.is_ok() {
            self.forget();
        }
        self.tell(Done::Stopped { id: act.id, result });
    }

    /// Gives a disk up that was nobody's before, and keeps any other from those who lost it.
    fn give_back(&mut self, disk: &Path, until: Instant, inbox: &mut Inbox) -> Result<(), Fault> {
        let was_free = self.free.contains(disk);
        for _ in 0..STEPS_MAX {
            let state = self.state(disk, until, inbox)?;
            match steps::give_back(&state, self.keys.own, was_free) {
                Step::Done => {
                    self.free.remove(disk);
                    return Ok(());
                }
                step => self.change(disk, &step, None, until, inbox)?,
            }
        }
        Err("it does not come to rest".to_owned().into())
    }

    /// Whether the disks are still this node's.
    fn look(&mut self, inbox: &mut Inbox) {
        for disk in self.disks.clone() {
            let until = os::clock::boottime() + ANSWER_MAX;
            let lost = match self.state(&disk, until, inbox) {
                Ok(state) => {
                    self.silent.remove(&disk);
                    steps::lost(&state, &self.keys)
                }
                Err(Fault::Interrupted) => return,
                Err(Fault::Said(why)) => {
                    let silent = self.silent.entry(disk.clone()).or_default();
                    *silent += 1;
                    (*silent >= SILENT_MAX).then(|| format!("does not answer: {why}"))
                }
            };
            if let Some(why) = lost {
                self.is_watched = false;
                let (service, resource) = (self.service.clone(), self.resource.clone());
                let reason = format!("{} {why}", disk.display());
                return self.tell(Done::MountBroken { service, resource, reason });
            }
        }
    }

    /// Who is registered with a disk and who has it.
    fn state(&mut self, disk: &Path, until: Instant, inbox: &mut Inbox) -> Result<State, Fault> {
        let mut command = question::ask(&self.asker, "reservation", disk);
        let left = &mut self.left_behind;
        let ended = run::run(&mut command, Place::Outside, until, inbox, left, &mut |_| {})?;
        match (ended.code, question::state(&ended.output)) {
            (Some(0), Some(state)) => Ok(state),
            _ => Err(ended.why().into()),
        }
    }

    fn change(
        &mut self,
        disk: &Path,
        step: &Step,
        permit: Option<&Permit>,
        until: Instant,
        inbox: &mut Inbox,
    ) -> Result<(), Fault> {
        let mut command = self.command(disk, step);
        let (containment, service) = (&self.containment, self.service.as_str());
        let place = Place::Inside { containment, service, resource: &self.resource, permit };
        let left = &mut self.left_behind;
        let ended = run::run(&mut command, place, until, inbox, left, &mut |_| {})?;
        match ended.code {
            Some(0) => Ok(()),
            _ => Err(ended.why().into()),
        }
    }

    fn command(&self, disk: &Path, step: &Step) -> Command {
        let own = self.keys.own;
        let (word, keys) = match step {
            Step::Register { former: None } => ("register", vec![own]),
            Step::Register { former: Some(former) } => ("replace", vec![*former, own]),
            Step::Preempt(other) => ("preempt", vec![own, *other]),
            Step::Reserve => ("reserve", vec![own]),
            Step::Release(_) => ("release", vec![own]),
            Step::Unregister => ("unregister", vec![own]),
            Step::Park => ("replace", vec![own, own.parked()]),
            Step::Done | Step::Refused(_) => unreachable!("nothing is to be done"),
        };
        let mut command = question::ask(&self.asker, word, disk);
        command.args(keys.into_iter().map(|key| key.to_string()));
        if let Step::Release(kind) = step {
            command.arg(format!("0x{:x}", kind.number()));
        }
        command
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
