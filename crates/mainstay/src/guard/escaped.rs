//! Whom of the services their control groups do not hold.
//!
//! Intuition: who is in a group is killed at the deadline, and nothing may delay that. But a process can
//! have left it: moved by somebody with the right to, or by a login that it made (`su -`, `sudo`), which
//! the service manager puts into a group of its own. So after each kill a [thread](super::marks) looks at all
//! processes once, kills who has left by every evidence there is ([`os::process::Census`]), and says of which
//! services it found any: none of these counts as gone before a look has found none.
//!
//! There are two of these threads, see [there](super::outside): one that asks no process anything, and one that asks
//! those that the first cannot tell the owner of. In each look first all are killed that are known; then others are
//! asked. What fails with one of them is told at the end and spares nobody else.
//!
//! **Rule:** who belongs to a service that may still run is left alone. An orphan that nobody can tell the
//! owner of is killed with the first service that is: else it may be that one's, and run twice. Only while
//! another service may run its environment is asked for whose it is, which may take for ever; where none may
//! run, nobody is asked and all such orphans are killed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use os::process::{Census, Evidence, Found, Groups, Owner, Reach};
use os::shared::{ENTRIES_MAX, GuardSide, Subject};
use rustix::io::Errno;

use super::marks::{MARK_MAX, join};

#[cfg(test)]
mod tests;

/// What the last look has found, besides how many: written by the thread before it answers.
pub(super) struct Told {
    /// Of which slots.
    pub(super) left: Box<[AtomicBool]>,
    /// How many were killed that no look had killed before.
    pub(super) killed: AtomicUsize,
    /// There were some whose environment has to be read, and was not.
    pub(super) is_doubtful: AtomicBool,
}

/// Whom a look has killed and the next one may find still: who waits in the kernel does not die of it.
struct Killed {
    /// By number; and who of these is still there.
    before: Vec<(u32, u64)>,
    now: Vec<(u32, u64)>,
}

/// Killed processes that are remembered.
const KILLED_MAX: usize = 4_096;

/// One thread's part.
pub(super) struct Escaped {
    census: Census,
    killed: Killed,
    subject: Box<Subject>,
    tree: String,
    /// `TREE/`: how all marks begin.
    mark: String,
    shared: Arc<GuardSide>,
    told: Arc<Told>,
    /// It may ask processes.
    asks: bool,
}

/// What is to be done about a process.
#[derive(Clone, Copy)]
enum Verdict {
    /// It may run, or is none of a service.
    Leave,
    /// It has to end with this service.
    Of(usize),
    /// ... with whichever ends first.
    OfSomebody,
    /// Only its environment can tell.
    Ask,
}

impl Told {
    pub(super) fn new() -> Arc<Told> {
        Arc::new(Told {
            left: (0..ENTRIES_MAX).map(|_| AtomicBool::new(false)).collect(),
            killed: AtomicUsize::new(0),
            is_doubtful: AtomicBool::new(false),
        })
    }
}

impl Killed {
    fn new() -> Killed {
        Killed { before: Vec::with_capacity(KILLED_MAX), now: Vec::with_capacity(KILLED_MAX) }
    }

    /// Writes to all of its memory.
    fn touch(&mut self) {
        for list in [&mut self.before, &mut self.now] {
            list.resize(list.capacity(), (0, 0));
            std::hint::black_box(list.as_mut_slice());
            list.clear();
        }
    }

    /// A look begins.
    fn begin(&mut self) {
        std::mem::swap(&mut self.before, &mut self.now);
        self.now.clear();
        self.before.sort_unstable();
    }

    /// Remembers one; whether it was not killed before.
    fn is_new(&mut self, pid: u32, started: u64) -> bool {
        // Pushed in place only: this must not allocate.
        if self.now.len() < self.now.capacity() {
            self.now.push((pid, started));
        }
        // Where not all could be remembered, nobody counts as new: else the same ones would again and again.
        self.before.len() < self.before.capacity()
            && self.before.binary_search(&(pid, started)).is_err()
    }
}

impl Escaped {
    pub(super) fn new(tree: &str, shared: Arc<GuardSide>, asks: bool) -> Escaped {
        Escaped {
            census: Census::default(),
            killed: Killed::new(),
            subject: Box::default(),
            tree: tree.to_owned(),
            mark: format!("{tree}/"),
            shared,
            told: Told::new(),
            asks,
        }
    }

    /// Before there is any service: has its memory there, and looks once without killing or asking anybody, so
    /// that the look at a deadline is not the first to run that code.
    ///
    /// # Errors
    /// As of [`Escaped::look`].
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        self.census.touch();
        self.killed.touch();
        let asks = std::mem::replace(&mut self.asks, false);
        let looked = self.look(true, false).map(drop);
        self.asks = asks;
        looked
    }

    /// What the loop reads when it is answered.
    pub(super) fn told(&self) -> Arc<Told> {
        self.told.clone()
    }

    /// Looks for processes of killed services, or with `all` of all, and kills them if `kill`. Returns how many
    /// there were, without those that would have to be asked and may not be.
    ///
    /// # Errors
    /// When `/proc` cannot be read, something cannot be killed, or the daemon was describing a service all the
    /// time. Whoever else was found is killed all the same.
    pub(super) fn look(&mut self, all: bool, kill: bool) -> io::Result<usize> {
        self.told.left.iter().for_each(|left| left.store(false, Ordering::Relaxed));
        self.told.killed.store(0, Ordering::Relaxed);
        self.told.is_doubtful.store(false, Ordering::Relaxed);
        let (daemon, _) = self.shared.daemon();
        self.census.look(&self.tree, Reach::Below(&[std::process::id()]), daemon)?;
        let (mut may_run, mut is_described) = (false, true);
        for slot in 0..self.shared.used() {
            let Some(held) = self.shared.held(slot) else { continue };
            may_run |= !held.killed;
            if !self.shared.read(slot, &mut self.subject) {
                is_described = false;
                continue;
            }
            let (_, group) = self.subject.group().rsplit_once('/').unwrap_or_default();
            let evidence = Evidence {
                sessions: self.subject.processes(),
                processes: &[],
                groups: Groups::Service(group),
            };
            self.census.own(u16::try_from(slot).expect("ENTRIES_MAX fits"), &evidence);
        }
        self.census.settle();
        self.killed.begin();
        let (shared, killed, told) = (&self.shared, &mut self.killed, &self.told);
        let end = |found: &Found, verdict: Verdict| {
            match verdict {
                Verdict::Leave | Verdict::Ask => return Ok(0),
                Verdict::Of(slot) => told.left[slot].store(true, Ordering::Relaxed),
                Verdict::OfSomebody => {
                    told.left.iter().for_each(|left| left.store(true, Ordering::Relaxed));
                }
            }
            if kill {
                found.kill()?;
                if killed.is_new(found.pid, found.started) {
                    told.killed.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(1)
        };
        let judge = |found: &Found| judge(shared, found, all, may_run);
        let is_doubtful = self.census.found().any(|found| matches!(judge(&found), Verdict::Ask));
        let (subject, mark) = (&mut self.subject, &self.mark);
        let asks = self.asks && is_described;
        let ask = |found: &Found| match asks {
            true => ask(shared, subject, mark, found, all),
            false => Ok(Verdict::Leave),
        };
        self.told.is_doubtful.store(is_doubtful && !asks, Ordering::Relaxed);
        let count = in_order(|| self.census.found(), judge, ask, end);
        // One whose description is not known may be anybody's whom it would have named.
        if is_described { count } else { count.and(Err(Errno::AGAIN.into())) }
    }
}

/// Ends first whom `judge` knows, asking nobody; then those that it has to `ask` about. Goes on after what
/// fails, and tells the first of that at the end. Returns how many there were.
fn in_order<F: Iterator<Item = Found>>(
    found: impl Fn() -> F,
    judge: impl Fn(&Found) -> Verdict,
    mut ask: impl FnMut(&Found) -> io::Result<Verdict>,
    mut end: impl FnMut(&Found, Verdict) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut result = Ok(0);
    let mut add = |ended: io::Result<usize>| match (&mut result, ended) {
        (Ok(count), Ok(more)) => *count += more,
        (Ok(_), Err(error)) => result = Err(error),
        (Err(_), _) => {}
    };
    for one in found() {
        add(end(&one, judge(&one)));
    }
    for one in found().filter(|one| matches!(judge(one), Verdict::Ask)) {
        add(ask(&one).and_then(|verdict| end(&one, verdict)));
    }
    result
}

fn judge(shared: &GuardSide, found: &Found, all: bool, may_run: bool) -> Verdict {
    match found.owner {
        Owner::Known(slot) => {
            let slot = usize::from(slot);
            let is_killed = shared.held(slot).is_some_and(|held| held.killed);
            if all || is_killed { Verdict::Of(slot) } else { Verdict::Leave }
        }
        Owner::Another if all => Verdict::OfSomebody,
        Owner::Another => Verdict::Leave,
        Owner::Nobody { beside: false } if all || !may_run => Verdict::OfSomebody,
        Owner::Nobody { .. } => Verdict::Ask,
    }
}

/// Whose a process is by its environment. **May wait for the process.**
fn ask(
    shared: &GuardSide,
    subject: &mut Subject,
    mark: &str,
    found: &Found,
    all: bool,
) -> io::Result<Verdict> {
    if !found.has_mark(mark) {
        let is_beside = matches!(found.owner, Owner::Nobody { beside: true });
        return Ok(if is_beside { Verdict::Leave } else { Verdict::OfSomebody });
    }
    if all {
        return Ok(Verdict::OfSomebody);
    }
    for slot in 0..shared.used() {
        let Some(held) = shared.held(slot) else { continue };
        if !shared.read(slot, subject) {
            return Err(Errno::AGAIN.into());
        }
        let mut text = [0_u8; MARK_MAX];
        if found.has_mark(join(&mut text, mark, subject.service())) {
            return Ok(if held.killed { Verdict::Of(slot) } else { Verdict::Leave });
        }
    }
    // Of a service that is under the guard no more: nothing of it may be here.
    Ok(Verdict::OfSomebody)
}
