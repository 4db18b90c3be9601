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
use std::process::Command;
use std::time::Duration;

use base::Instant;
use engine::{Act, ResourceKind};
use os::reservation::State;
use os::shared::Permit;

use super::mounts::Trace;
use super::writers::run::{Fault, Inbox};
use super::writers::{Desk, Writer, question};
pub(super) use steps::Keys;
use steps::{Call, Step};

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

fn disks(kind: &ResourceKind) -> Vec<PathBuf> {
    let ResourceKind::Reservation { disks } = kind else {
        unreachable!("only reservations come here");
    };
    disks.iter().map(PathBuf::from).collect()
}

/// The disks of one resource, on its thread.
pub(super) struct Reservation {
    desk: Desk,
    keys: Keys,
    disks: Vec<PathBuf>,
    /// Disks that were nobody's when this node took them.
    free: BTreeSet<PathBuf>,
    /// Looks in a row that had no answer.
    silent: BTreeMap<PathBuf, u32>,
}

impl Writer for Reservation {
    fn desk(&mut self) -> &mut Desk {
        &mut self.desk
    }

    fn look_interval(&self) -> Duration {
        LOOK_INTERVAL
    }

    fn did(&self) -> &'static str {
        "has its disks"
    }

    fn configure(&mut self, kind: &ResourceKind) {
        self.disks = disks(kind);
    }

    fn adopt(&mut self, _: Trace) -> bool {
        self.silent.clear();
        true
    }

    fn start(
        &mut self,
        act: &Act,
        permit: Option<&Permit>,
        inbox: &mut Inbox,
    ) -> Result<(), Fault> {
        self.silent.clear();
        let mut disks = self.disks.clone().into_iter();
        disks.try_for_each(|disk| self.take(&disk, permit, act.deadline, inbox))
    }

    fn stop(&mut self, act: &Act, inbox: &mut Inbox) -> Result<(), Fault> {
        let whole = act.deadline.since(os::clock::boottime());
        let until = os::clock::boottime() + whole.saturating_sub(LAST_WORD.min(whole / 5));
        for disk in self.disks.clone() {
            match self.give_back(&disk, until, inbox) {
                Ok(()) => {}
                Err(Fault::Interrupted) => return Err(Fault::Interrupted),
                // Nothing of the service is left that could write, and whoever starts it takes the disk.
                Err(Fault::Said(reason)) => {
                    self.desk.say(&format!("{} could not be given back: {reason}", disk.display()));
                }
            }
        }
        let (containment, service, group) = self.desk.group();
        match containment.is_empty(service, group).map_err(|error| error.to_string())? {
            true => containment.remove(service, group).map_err(|error| error.to_string().into()),
            // It may change something later, when the disk is in use again.
            false => Err("a call to one of its disks does not end".to_owned().into()),
        }
    }

    /// Whether the disks are still this node's.
    fn look(&mut self, inbox: &mut Inbox) -> Result<(), Fault> {
        for disk in self.disks.clone() {
            let until = os::clock::boottime() + ANSWER_MAX;
            let lost = match self.state(&disk, until, inbox) {
                Ok(state) => {
                    self.silent.remove(&disk);
                    steps::lost(&state, &self.keys).map(|why| format!("{} {why}", disk.display()))
                }
                Err(Fault::Interrupted) => return Err(Fault::Interrupted),
                Err(Fault::Said(why)) => {
                    let silent = self.silent.entry(disk.clone()).or_default();
                    *silent += 1;
                    (*silent >= SILENT_MAX).then(|| {
                        let shown = disk.display();
                        format!("{shown} gave no answer to {SILENT_MAX} looks in a row: {why}")
                    })
                }
            };
            if let Some(why) = lost {
                return Err(why.into());
            }
        }
        Ok(())
    }
}

impl Reservation {
    pub(super) fn new(desk: Desk, keys: Keys, kind: &ResourceKind) -> Reservation {
        let (free, silent) = (BTreeSet::new(), BTreeMap::new());
        Reservation { desk, keys, disks: disks(kind), free, silent }
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
                self.desk.say(&format!("{} is taken from {whose} ({other})", disk.display()));
            }
        }
        let text = format!("{} does not come to rest: others register with it", disk.display());
        Err(text.into())
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

    /// Who is registered with a disk and who has it.
    fn state(&mut self, disk: &Path, until: Instant, inbox: &mut Inbox) -> Result<State, Fault> {
        let ended = self.desk.ask("reservation", disk, until, inbox)?;
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
        let ended = self.desk.change(&mut command, disk, permit, until, inbox)?;
        match ended.code {
            Some(0) => Ok(()),
            _ => Err(ended.why().into()),
        }
    }

    fn command(&self, disk: &Path, step: &Step) -> Command {
        let Call { word, keys, kind } = steps::call(step, self.keys.own);
        let mut command = self.desk.question(word, disk);
        command.args(keys.into_iter().map(|key| key.to_string()));
        if let Some(kind) = kind {
            command.arg(format!("0x{:x}", kind.number()));
        }
        command
    }
}
