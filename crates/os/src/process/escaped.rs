//! What has left the control groups, for whoever starts and ends services: see [`Census`] for the evidence.
//!
//! It is remembered: whoever lost its parents between two looks is known from the former one. A look at all
//! processes is shared by all who ask while it is waited for, so the end of many services at once takes few.
//!
//! Each look is [watched]: one that hangs is given up, and what it was to find is not known to be gone.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::census::{Census, Evidence, Found, Groups, Owner, Reach, STARTED_UNKNOWN};
use super::census::{seen, seen_hanging};
use super::search::ROUNDS_MAX;
use super::watch::{self, Ended, GivenUp, Silent, Watch, watched};
use crate::cgroup::group_name;
use base::Instant;

/// The asked one's number among owners.
const ASKED: u16 = 0;
/// A process that may belong to what is looked for is asked again for as long, before that is an error, this often.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(2);
const SILENCE_TICK: Duration = Duration::from_millis(20);
/// One process is waited for as long; and its environment by a guard that starts, who has nothing else to do.
const PATIENCE: Duration = Duration::from_millis(100);
const PATIENCE_OF_GUARD: Duration = Duration::from_secs(5);
/// Processes that one look before a signal gives up, one after the other: each holds up the signal by the patience.
const PASSED_BY_MAX: usize = 8;
/// Between two looks whether another one's is over.
const TURN: Duration = Duration::from_millis(1);

/// A resource of a service.
type Unit = (String, String);

/// What is known of those who were started and those who have left.
#[derive(Debug)]
pub(crate) struct Escaped {
    /// The parent when this was made: the guard, for a daemon.
    guard: u32,
    known: Mutex<Known>,
    /// Another one is put here when a look hangs with this.
    looks: Mutex<Arc<Mutex<Looks>>>,
}

/// Nobody looks at a process while this is locked.
#[derive(Debug, Default)]
struct Known {
    /// First processes: number and start.
    sessions: BTreeMap<Unit, (u32, u64)>,
    /// Who was found outside.
    left: BTreeMap<Unit, Vec<(u32, u64)>>,
}

#[derive(Debug, Default)]
struct Looks {
    census: Census,
    /// When the last look began.
    looked: Option<Instant>,
    everyone: bool,
}

/// What to look for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The name of the tree.
    pub(crate) tree: String,
    /// The service, and its resource; neither: all of the tree.
    pub(crate) of: Option<(String, Option<String>)>,
    /// How its marks begin.
    pub(crate) mark: String,
    /// Judge all processes of the machine, not only what is below guard and daemon: what a former guard left is
    /// below nobody. To look for marks among all of them is to wait for each.
    pub(crate) everyone: bool,
}

/// What is done to each that is found.
pub(crate) type Deed = fn(&Found) -> io::Result<()>;

/// What a look has found.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    /// Who belongs to it.
    pub(crate) found: Vec<Found>,
    /// Who may belong to it.
    pub(crate) silent: Option<Silent>,
}

impl Default for Escaped {
    fn default() -> Escaped {
        Escaped { guard: parent(), known: Mutex::default(), looks: Mutex::default() }
    }
}

fn parent() -> u32 {
    rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned())
}

impl Escaped {
    /// Remembers who began the session of a resource.
    pub(crate) fn remember(&self, service: &str, resource: &str, first: (u32, u64)) {
        self.known().sessions.insert((service.to_owned(), resource.to_owned()), first);
    }

    /// Forgets a service, or one resource: nothing of it is left.
    pub(crate) fn forget(&self, service: &str, resource: Option<&str>) {
        let mut known = self.known();
        let keep =
            |unit: &Unit| unit.0 != service || resource.is_some_and(|resource| unit.1 != resource);
        known.sessions.retain(|unit, _| keep(unit));
        known.left.retain(|unit, _| keep(unit));
    }

    /// Remembers who has left, by what can be seen without asking a process for its mark: whom only parents give
    /// away is nobody's once these have ended.
    ///
    /// Returns who was not remembered: one that belongs to it and does not say since when it is there, or that others
    /// may be behind it.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn remember_left(self: &Arc<Self>, wanted: &Wanted) -> io::Result<Option<Silent>> {
        let mut hanging = None;
        for _ in 0..PASSED_BY_MAX {
            let (this, asked) = (self.clone(), wanted.clone());
            let seen = self.watched(PATIENCE, move |watch| {
                let (found, _) = this.look(&asked, watch)?;
                this.note(&asked, &found, watch)?;
                Ok(Judged { found, silent: None })
            })?;
            let unknown = seen.found.iter().find(|found| found.started == STARTED_UNKNOWN);
            hanging = seen.silent.or(unknown.map(|unknown| silence(unknown.pid)));
            // Whom that one hid has to be seen too: again, past it.
            if seen.silent.is_none() {
                break;
            }
        }
        Ok(hanging)
    }

    /// As [`Escaped::find`]; when nobody is found, and one does not answer, it is looked again for [`SILENCE_MAX`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn find_patiently(self: &Arc<Self>, wanted: &Wanted) -> io::Result<Judged> {
        let until = crate::clock::boottime() + SILENCE_MAX;
        loop {
            let judged = self.find(wanted, |_| Ok(()))?;
            let is_known = judged.silent.is_none() || !judged.found.is_empty();
            if is_known || crate::clock::boottime() >= until {
                return Ok(judged);
            }
            std::thread::park_timeout(SILENCE_TICK);
        }
    }

    /// Kills those who have left, and whom these had started meanwhile. Returns how many there were, and who does not
    /// say for [`SILENCE_MAX`] whether it is one of them.
    ///
    /// # Errors
    /// As of [`Escaped::find`].
    pub(crate) fn kill(self: &Arc<Self>, wanted: &Wanted) -> io::Result<(usize, Option<Silent>)> {
        let until = crate::clock::boottime() + SILENCE_MAX;
        let mut killed: Vec<Found> = Vec::new();
        let mut rounds = 0;
        loop {
            rounds += 1;
            let Judged { mut found, silent } = self.find(wanted, Found::kill)?;
            found.retain(|found| !killed.iter().any(|killed| killed.is_same(found)));
            let goes_on = !found.is_empty() && rounds < ROUNDS_MAX;
            killed.extend(found);
            if goes_on {
                continue;
            }
            if silent.is_none() || crate::clock::boottime() >= until {
                return Ok((killed.len(), silent));
            }
            // It may answer; and whom one that was given up just now hid is found past it.
            std::thread::park_timeout(SILENCE_TICK);
        }
    }

    /// Who has left, by all evidence that there is; and the deed is done to each, to those first of whom no mark has
    /// to tell.
    ///
    /// # Errors
    /// When `/proc` cannot be read, and those of the deed, which is done to the others all the same.
    pub(crate) fn find(self: &Arc<Self>, wanted: &Wanted, deed: Deed) -> io::Result<Judged> {
        let (this, asked) = (self.clone(), wanted.clone());
        let patience = if wanted.everyone { PATIENCE_OF_GUARD } else { PATIENCE };
        self.watched(patience, move |watch| {
            let (mut found, doubtful) = this.look(&asked, watch)?;
            let mut done = Ok(());
            let mut silent = None;
            found.retain(|one| {
                let is_silent = one.started == STARTED_UNKNOWN;
                silent = silent.or(is_silent.then(|| silence(one.pid)));
                !is_silent
            });
            for one in &found {
                watch.step(one.pid)?;
                done = done.and(deed(one));
            }
            this.note(&asked, &found, watch)?;
            for one in doubtful {
                if one.started == STARTED_UNKNOWN || is_silent(one.pid) {
                    silent = silent.or(Some(silence(one.pid)));
                    continue;
                }
                watch.ask(one.pid)?;
                if one.has_mark(&asked.mark) {
                    done = done.and(deed(&one));
                    found.push(one);
                }
            }
            this.note(&asked, &found, watch)?;
            done.map(|()| Judged { found, silent })
        })
    }

    fn watched(
        &self,
        patience: Duration,
        work: impl FnOnce(&Watch) -> io::Result<Judged> + Send + 'static,
    ) -> io::Result<Judged> {
        Ok(match watched(patience, work)? {
            Ended::Told(judged) => judged,
            Ended::Waits(silent) => {
                *self.looks.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
                Judged { found: Vec::new(), silent: Some(silent) }
            }
        })
    }

    /// Who belongs to it, and of whom only the mark can tell.
    fn look(&self, wanted: &Wanted, watch: &Watch) -> io::Result<(Vec<Found>, Vec<Found>)> {
        let asked = crate::clock::boottime();
        // Where somebody else looks he is waited for, until he is given up.
        loop {
            watch.step(0)?;
            let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match looks.try_lock() {
                Ok(mut looks) => return self.look_with(&mut looks, asked, wanted, watch),
                Err(TryLockError::Poisoned(looks)) => {
                    return self.look_with(&mut looks.into_inner(), asked, wanted, watch);
                }
                Err(TryLockError::WouldBlock) => std::thread::park_timeout(TURN),
            }
        }
    }

    fn look_with(
        &self,
        looks: &mut Looks,
        asked: Instant,
        wanted: &Wanted,
        watch: &Watch,
    ) -> io::Result<(Vec<Found>, Vec<Found>)> {
        let own = std::process::id();
        // Without its guard the orphans of this process are somebody else's.
        let everyone = wanted.everyone || parent() != self.guard;
        if looks.looked.is_none_or(|looked| looked < asked) || looks.everyone != everyone {
            let began = crate::clock::boottime();
            let roots = [own, self.guard];
            let reach = if everyone { Reach::Everyone } else { Reach::Below(&roots) };
            looks.looked = None;
            // Whose environment hangs can be seen by many kernels; where it cannot, that is found out once.
            let silent = watch::silent().into_iter().filter(|silent| !silent.is_asked);
            let silent: Vec<u32> = silent.map(|silent| silent.pid).collect();
            let see = |pid, process: &_| match watch.step(pid) {
                Err(GivenUp) => None,
                Ok(()) if silent.contains(&pid) => seen_hanging(pid, process),
                Ok(()) => seen(pid, process),
            };
            // Whether it was given up is asked when that is over.
            let step = |pid| drop(watch.step(pid));
            looks.census.look_with(&wanted.tree, reach, own, see, step)?;
            watch.step(0)?;
            (looks.looked, looks.everyone) = (Some(began), everyone);
        } else {
            looks.census.disown();
        }
        let known = self.known();
        let sessions: Vec<_> = (known.sessions.iter())
            .filter(|(unit, _)| is_asked(wanted, unit))
            .map(|(_, &first)| first)
            .collect();
        drop(known);
        let processes = self.left(wanted);
        let names = wanted.of.as_ref();
        let names = names
            .map(|(service, resource)| (group_name(service), resource.as_deref().map(group_name)));
        let groups = match &names {
            None => Groups::All,
            Some((service, None)) => Groups::Service(service),
            Some((service, Some(resource))) => Groups::Resource(service, resource),
        };
        looks.census.own(ASKED, &Evidence { sessions: &sessions, processes: &processes, groups });
        looks.census.settle();
        let (mut found, mut doubtful) = (Vec::new(), Vec::new());
        for one in looks.census.found() {
            match one.owner {
                Owner::Known(_) => found.push(one),
                Owner::Another => {}
                Owner::Nobody { .. } => doubtful.push(one),
            }
        }
        Ok((found, doubtful))
    }

    /// Those who are known to have left.
    fn left(&self, wanted: &Wanted) -> Vec<(u32, u64)> {
        let known = self.known();
        let asked = known.left.iter().filter(|(unit, _)| is_asked(wanted, unit));
        asked.flat_map(|(_, left)| left.iter().copied()).collect()
    }

    /// Writes down who has left, and forgets who is gone.
    fn note(&self, wanted: &Wanted, found: &[Found], watch: &Watch) -> io::Result<()> {
        // What was looked for in all of the tree has no name, and belongs to all of the tree alone.
        let (service, resource) = wanted.of.clone().unwrap_or_default();
        let unit = (service, resource.unwrap_or_default());
        let noted = self.known().left.get(&unit).cloned().unwrap_or_default();
        let mut gone = Vec::new();
        for (pid, started) in noted {
            let one = Found { pid, started, owner: Owner::Known(ASKED) };
            if is_silent(pid) || found.iter().any(|found| found.is_same(&one)) {
                continue;
            }
            watch.step(pid)?;
            if !one.is_alive() {
                gone.push((pid, started));
            }
        }
        let mut known = self.known();
        let left = known.left.entry(unit).or_default();
        left.retain(|one| !gone.contains(one));
        for one in found.iter().filter(|one| one.started != STARTED_UNKNOWN) {
            if !left.contains(&(one.pid, one.started)) {
                left.push((one.pid, one.started));
            }
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_silent(pid: u32) -> bool {
    watch::silent().iter().any(|silent| silent.pid == pid)
}

/// What is known of the silence of a process.
fn silence(pid: u32) -> Silent {
    let now = Silent { pid, since: crate::clock::boottime(), is_asked: false };
    watch::silent().into_iter().find(|silent| silent.pid == pid).unwrap_or(now)
}

/// Whether a unit is what was asked about, or a part of it.
fn is_asked(wanted: &Wanted, unit: &Unit) -> bool {
    match &wanted.of {
        None => true,
        Some((service, None)) => unit.0 == *service,
        Some((service, Some(resource))) => unit.0 == *service && unit.1 == *resource,
    }
}
