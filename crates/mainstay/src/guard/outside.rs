//! When to look for what has left the control groups of killed services, and what came of it.
//!
//! Two [threads](super::marks) look. The first judges by what the kernel knows without asking a process, kills, and says
//! whether there were any that only their environment can tell the owner of. Only then the second one is asked, which
//! reads environments and may wait for ever. (With kernel 6.18.44 a process that hangs in execve(2) holds up the first one
//! as well: see [`os::process::Census`].)
//!
//! **Rule:** the first never waits for the second. A service has nobody outside once a look that began after its
//! kill has found nobody and had nobody to ask, or a question that began after it has found nobody. A newer look of the
//! first overrules the question that is under way.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::Instant;
use os::shared::{ENTRIES_MAX, GuardSide};

use super::escaped::{Escaped, Told};
use super::log::say;
use super::marks::{Marks, Who};

#[cfg(test)]
mod tests;

/// Before they are looked for again: when some were killed that were not before; when there were only such that were,
/// or the look failed; and when there were none (a killed service may be started by a daemon that goes on).
const SOON: Duration = Duration::from_millis(10);
const AGAIN: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Default)]
struct Slot {
    /// It was killed.
    is_followed: bool,
    /// A look began after that.
    is_looked_for: bool,
    /// The look that is under way did, and the question.
    in_look: bool,
    in_question: bool,
    /// Nobody of it was found since.
    is_empty: bool,
}

/// One of the threads.
struct Looker {
    thread: Marks,
    told: Arc<Told>,
    /// The number of its last look for killed services, and whether the answer is to come.
    round: u64,
    is_busy: bool,
}

impl Looker {
    fn new((thread, told): (Marks, Arc<Told>)) -> Looker {
        Looker { thread, told, round: 0, is_busy: false }
    }

    /// Has it look for killed services. False: it looks already, or another question is open; again in a later turn.
    fn begin(&mut self) -> bool {
        let who = Who::Killed { round: self.round + 1 };
        if self.is_busy || !self.thread.ask(who, "", true) {
            return false;
        }
        (self.round, self.is_busy) = (self.round + 1, true);
        true
    }

    /// What that look has found, once, when it is there.
    fn end(&mut self) -> Option<io::Result<usize>> {
        if !self.is_busy {
            return None;
        }
        let found = self.thread.answer(Who::Killed { round: self.round })?;
        self.is_busy = false;
        Some(found)
    }
}

/// Both threads, and what is known of each killed service.
pub(super) struct Outside {
    known: Looker,
    asking: Looker,
    slots: Box<[Slot]>,
    next_look: Instant,
    /// The last look has found somebody who has to be asked.
    must_ask: bool,
    /// When all may be looked for again.
    next_all: Instant,
}

impl Outside {
    pub(super) fn start(tree: &str, shared: &Arc<GuardSide>) -> anyhow::Result<Outside> {
        let mut known = Escaped::new(tree, shared.clone(), false);
        let mut asking = Escaped::new(tree, shared.clone(), true);
        for one in [&mut known, &mut asking] {
            // What refuses now may be over when it matters: the guard starts all the same.
            if let Err(error) = one.prepare() {
                say!("cannot look for processes outside of control groups: {error}");
            }
        }
        let told = (known.told(), asking.told());
        let rung = |shared: Arc<GuardSide>| move || shared.bell().ring();
        let known = Marks::start_with("escaped", rung(shared.clone()), move |who, wanted| {
            known.look(matches!(who, Who::All { .. }), wanted.kill)
        })?;
        let asking = Marks::start_with("marks", rung(shared.clone()), move |who, wanted| {
            asking.look(matches!(who, Who::All { .. }), wanted.kill)
        })?;
        Ok(Outside::new((known, told.0), (asking, told.1)))
    }

    fn new(known: (Marks, Arc<Told>), asking: (Marks, Arc<Told>)) -> Outside {
        Outside {
            known: Looker::new(known),
            asking: Looker::new(asking),
            slots: vec![Slot::default(); ENTRIES_MAX].into(),
            next_look: Instant::ZERO,
            must_ask: false,
            next_all: Instant::ZERO,
        }
    }

    /// The service of this slot was killed.
    pub(super) fn follow(&mut self, slot: usize) {
        self.slots[slot] = Slot { is_followed: true, ..Slot::default() };
    }

    /// ... and is under the guard no more.
    pub(super) fn forget(&mut self, slot: usize) {
        self.slots[slot] = Slot::default();
    }

    /// Whether nobody of it is outside, as far as that was looked for.
    pub(super) fn is_empty(&self, slot: usize) -> bool {
        self.slots[slot].is_empty
    }

    /// Takes the answers that are there, and has looked what is due: at once for who was killed since.
    pub(super) fn turn(&mut self, now: Instant) {
        self.take_look(now);
        self.take_question(now);
        let mut followed = self.slots.iter().filter(|slot| slot.is_followed).peekable();
        // With nobody killed an orphan is nobody's to end.
        self.must_ask &= followed.peek().is_some();
        let is_due = match now >= self.next_look {
            true => followed.next().is_some(),
            false => followed.any(|slot| !slot.is_looked_for),
        };
        if is_due && self.known.begin() {
            for slot in self.slots.iter_mut().filter(|slot| slot.is_followed) {
                (slot.in_look, slot.is_looked_for) = (true, true);
            }
        }
        if self.must_ask && self.asking.begin() {
            self.must_ask = false;
            for slot in self.slots.iter_mut().filter(|slot| slot.is_followed) {
                slot.in_question = true;
            }
        }
    }

    fn take_look(&mut self, now: Instant) {
        let Some(found) = self.known.end() else { return };
        let told = &self.known.told;
        self.must_ask = told.is_doubtful.load(Ordering::Relaxed);
        for (slot, left) in self.slots.iter_mut().zip(&told.left) {
            if !std::mem::take(&mut slot.in_look) {
                continue;
            }
            let is_left = found.is_err() || left.load(Ordering::Relaxed);
            if is_left || !self.must_ask {
                // What a question that began before says is older than this.
                (slot.is_empty, slot.in_question) = (!is_left, false);
            }
        }
        self.next_look = now + said(&found, told);
    }

    fn take_question(&mut self, now: Instant) {
        let Some(found) = self.asking.end() else { return };
        let told = &self.asking.told;
        for (slot, left) in self.slots.iter_mut().zip(&told.left) {
            if std::mem::take(&mut slot.in_question) {
                slot.is_empty = found.is_ok() && !left.load(Ordering::Relaxed);
            }
        }
        self.next_look = self.next_look.min(now + said(&found, told));
    }

    /// Looks at all services: whether anything of them is outside; `None` until that is known. What is found is
    /// ended with `kill`. `deaths`: after so many daemons have died.
    pub(super) fn all(
        &mut self,
        deaths: u64,
        kill: bool,
        now: Instant,
    ) -> Option<io::Result<bool>> {
        let who = Who::All { deaths };
        let Some(found) = self.known.thread.answer(who) else {
            if now >= self.next_all {
                // Where another question is open: again in a later turn.
                let _later = self.known.thread.ask(who, "", kill);
            }
            return None;
        };
        let is_new = self.known.told.killed.load(Ordering::Relaxed) > 0 || !kill;
        self.next_all = now + if is_new { SOON } else { AGAIN };
        let asked = self.asking.thread.answer(who);
        match found {
            Ok(0) if !self.known.told.is_doubtful.load(Ordering::Relaxed) => Some(Ok(false)),
            Ok(0) if asked.is_some() => asked.map(|asked| asked.map(|count| count > 0)),
            Ok(0) => {
                let _later = self.asking.thread.ask(who, "", kill);
                None
            }
            found => Some(found.map(|_| true)),
        }
    }
}

/// Says whom a look has killed, and returns when the next one is due.
fn said(found: &io::Result<usize>, told: &Told) -> Duration {
    // Whoever was killed in an earlier look, and is not dead yet, was told of then.
    let killed = told.killed.load(Ordering::Relaxed);
    if killed > 0 {
        say!(
            "killed {killed} processes that had left the control groups of killed services, or were \
             left by nobody knows which"
        );
    }
    match found {
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(0);
            say!("cannot look for processes that have left their control groups (error {errno})");
            AGAIN
        }
        Ok(_) if killed > 0 => SOON,
        Ok(0) => LATER,
        Ok(_) => AGAIN,
    }
}
