//! What has left the control groups, for whoever starts and ends services: see [`Census`] for the evidence.
//!
//! It is remembered: whoever lost its parents between two looks is known from the former one. A look at all
//! processes is shared by all who ask while it is waited for, so the end of many services at once takes few.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::census::{Census, Evidence, Found, Groups, Owner, Reach};
use crate::cgroup::group_name;
use base::Instant;

/// The asked one's number among owners.
const ASKED: u16 = 0;

/// A resource of a service.
type Unit = (String, String);

/// What is known of those who were started and those who have left.
#[derive(Debug)]
pub(crate) struct Escaped {
    /// The parent when this was made: the guard, for a daemon.
    guard: u32,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    census: Census,
    /// When the last look began.
    looked: Option<Instant>,
    everyone: bool,
    /// First processes: number and start.
    sessions: BTreeMap<Unit, (u32, u64)>,
    /// Who was found outside.
    left: BTreeMap<Unit, Vec<(u32, u64)>>,
}

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The name of the tree.
    pub(crate) tree: &'a str,
    /// The service, and its resource; neither: all of the tree.
    pub(crate) of: Option<(&'a str, Option<&'a str>)>,
    /// Judge all processes of the machine, not only what is below guard and daemon: what a former guard left is
    /// below nobody. To look for marks among all of them is to wait for each.
    pub(crate) everyone: bool,
}

impl Default for Escaped {
    fn default() -> Escaped {
        Escaped { guard: parent(), known: Mutex::default() }
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

    /// Whether one of those lives who are known to have left: cheaper than [`Escaped::found`].
    pub(crate) fn is_one_left(&self, wanted: &Wanted<'_>) -> bool {
        let known = self.known();
        known.left.iter().filter(|(unit, _)| is_asked(wanted, unit)).any(|(_, left)| {
            left.iter().any(|&(pid, started)| {
                Found { pid, started, owner: Owner::Known(ASKED) }.is_alive()
            })
        })
    }

    /// Who has left, by what can be seen without asking a process; and of whom only the mark can tell.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub(crate) fn unasked(&self, wanted: &Wanted<'_>) -> io::Result<(Vec<Found>, Vec<Found>)> {
        let asked = crate::clock::boottime();
        let own = std::process::id();
        // Without its guard the orphans of this process are somebody else's.
        let everyone = wanted.everyone || parent() != self.guard;
        let mut known = self.known();
        let known = &mut *known;
        if known.looked.is_none_or(|looked| looked < asked) || known.everyone != everyone {
            let began = crate::clock::boottime();
            let roots = [own, self.guard];
            let reach = if everyone { Reach::Everyone } else { Reach::Below(&roots) };
            known.looked = None;
            known.census.look(wanted.tree, reach, own)?;
            (known.looked, known.everyone) = (Some(began), everyone);
        } else {
            known.census.disown();
        }
        let sessions: Vec<_> = (known.sessions.iter())
            .filter(|(unit, _)| is_asked(wanted, unit))
            .map(|(_, &first)| first)
            .collect();
        let processes: Vec<_> = (known.left.iter())
            .filter(|(unit, _)| is_asked(wanted, unit))
            .flat_map(|(_, left)| left.iter().copied())
            .collect();
        let names =
            wanted.of.map(|(service, resource)| (group_name(service), resource.map(group_name)));
        let groups = match &names {
            None => Groups::All,
            Some((service, None)) => Groups::Service(service),
            Some((service, Some(resource))) => Groups::Resource(service, resource),
        };
        known.census.own(ASKED, &Evidence { sessions: &sessions, processes: &processes, groups });
        known.census.settle();
        let (mut found, mut doubtful) = (Vec::new(), Vec::new());
        for one in known.census.found() {
            match one.owner {
                Owner::Known(_) => found.push(one),
                Owner::Another => {}
                Owner::Nobody { .. } => doubtful.push(one),
            }
        }
        Ok((found, doubtful))
    }

    /// Writes down who has left.
    pub(crate) fn note(&self, wanted: &Wanted<'_>, found: &[Found]) {
        let Some((service, resource)) = wanted.of else { return };
        let unit = (service.to_owned(), resource.unwrap_or("").to_owned());
        let mut known = self.known();
        let left = known.left.entry(unit).or_default();
        left.retain(|&(pid, started)| {
            Found { pid, started, owner: Owner::Known(ASKED) }.is_alive()
        });
        for one in found {
            if !left.contains(&(one.pid, one.started)) {
                left.push((one.pid, one.started));
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a unit is what was asked about, or a part of it.
fn is_asked(wanted: &Wanted<'_>, unit: &Unit) -> bool {
    match wanted.of {
        None => true,
        Some((service, None)) => unit.0 == service,
        Some((service, Some(resource))) => unit.0 == service && unit.1 == resource,
    }
}
