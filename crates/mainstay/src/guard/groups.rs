//! The control groups of killed services, killed as groups, on a thread of its own.
//!
//! Intuition: one write to `cgroup.kill` ends a group whatever it forks, but waits for the one lock that the kernel has
//! for all control groups. Whoever moves a process into a group, a service manager that starts something or our own
//! daemon, may hold that for a grace period of RCU. On a busy machine the write took up to 202 ms, twice the time that
//! preset `fast` allows the guard in all. To list the processes of a group and to signal each of them takes no such
//! lock (at most 0.6 ms, as often tried). So the loop does that at the deadline, and has this thread do the
//! write, which catches what was forked between the list and the signals.
//!
//! **Rule:** no service is gone before a write that began after its kill has been made. Else that write could come
//! later, and end what the daemon has started there next.

use std::io;
use std::sync::Arc;

use os::cgroup::Handle;
use os::shared::{ENTRIES_MAX, GuardSide, Subject};
use rustix::io::Errno;

use super::log::say;
use super::marks::{Marks, Who};

#[cfg(test)]
mod tests;

#[derive(Clone, Copy, Default)]
struct Slot {
    /// It was killed after the writes that are under way began.
    is_wanted: bool,
    /// The writes that are under way began after its kill.
    in_round: bool,
    /// Such writes have been made.
    is_done: bool,
}

/// The loop's end of it.
pub(super) struct Groups {
    thread: Marks,
    slots: Box<[Slot]>,
    round: u64,
    is_busy: bool,
}

impl Groups {
    pub(super) fn start(shared: &Arc<GuardSide>) -> anyhow::Result<Groups> {
        let (bell, seen) = (shared.clone(), shared.clone());
        let mut subject = Box::<Subject>::default();
        let rung = move || bell.bell().ring();
        let thread = Marks::start_with("groups", rung, move |_, _| kill_all(&seen, &mut subject))?;
        Ok(Groups::new(thread))
    }

    fn new(thread: Marks) -> Groups {
        let slots = vec![Slot::default(); ENTRIES_MAX].into();
        Groups { thread, slots, round: 0, is_busy: false }
    }

    /// The service of this slot was killed, or is still there. A write that is under way counts: it began after
    /// the kill, and to want it anew for as long as it waits would be to wait for ever.
    pub(super) fn want(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        if !slot.in_round {
            *slot = Slot { is_wanted: true, ..Slot::default() };
        }
    }

    /// ... and is under the guard no more.
    pub(super) fn forget(&mut self, slot: usize) {
        self.slots[slot] = Slot::default();
    }

    /// Whether its group was killed after it was wanted last.
    pub(super) fn is_done(&self, slot: usize) -> bool {
        self.slots[slot].is_done
    }

    /// Takes the answer that is there, and has the next groups killed.
    pub(super) fn turn(&mut self) {
        if self.is_busy
            && let Some(killed) = self.thread.answer(Who::Killed { round: self.round })
        {
            self.is_busy = false;
            if let Err(error) = &killed {
                let errno = error.raw_os_error().unwrap_or(0);
                say!("cannot kill the control groups of services (error {errno})");
            }
            for slot in &mut self.slots {
                // After an error it is wanted again when it is looked at again.
                slot.is_done |= std::mem::take(&mut slot.in_round) && killed.is_ok();
            }
        }
        let is_due = !self.is_busy && self.slots.iter().any(|slot| slot.is_wanted);
        if is_due && self.thread.ask(Who::Killed { round: self.round + 1 }, "", true) {
            (self.round, self.is_busy) = (self.round + 1, true);
            for slot in &mut self.slots {
                slot.in_round = std::mem::take(&mut slot.is_wanted);
            }
        }
    }
}

/// Kills the groups of all killed services of which something may be left. Returns how many these were.
///
/// # Errors
/// The first; the others are killed all the same.
fn kill_all(shared: &GuardSide, subject: &mut Subject) -> io::Result<usize> {
    let mut result = Ok(0);
    for slot in 0..shared.used() {
        let Some(held) = shared.held(slot).filter(|held| held.killed && !held.gone) else {
            continue;
        };
        let killed = kill(shared, slot, held.generation, subject);
        result = match (result, killed) {
            (Ok(count), Ok(())) => Ok(count + 1),
            (Ok(_), Err(error)) => Err(error),
            (failed, _) => failed,
        };
    }
    result
}

fn kill(shared: &GuardSide, slot: usize, generation: u64, subject: &mut Subject) -> io::Result<()> {
    if !shared.read(slot, subject) {
        // The daemon is describing it all the time.
        return Err(Errno::AGAIN.into());
    }
    if subject.group().is_empty() {
        return Ok(());
    }
    let group = match Handle::open(subject.group()) {
        Ok(group) => group,
        // Nothing was started in it, or all of it is gone.
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // A service of the same group may have been started under another use of the slot.
    let is_this = shared.held(slot).is_some_and(|now| now.generation == generation && now.killed);
    if is_this { Ok(group.kill()?) } else { Ok(()) }
}
