//! The control groups of services: who is in them, for the loop, and their kill as groups, on a thread of its own.
//!
//! Intuition: one write to `cgroup.kill` ends a group whatever it forks, but waits for the one lock that the kernel has
//! for all control groups. Whoever moves a process into a group, a service manager that starts something or our own
//! daemon, may hold that for a grace period of RCU. On a busy machine the write took up to 202 ms, twice the time that
//! preset `fast` allows the guard in all. Whoever makes or removes a group waits for that lock too, and meanwhile nobody
//! can look a name up beside it. So the thread opens the [lists](os::cgroup::Lists) of a group in advance. At
//! the deadline the loop reads these and signals each process, which waits for nobody (at most 0.6 ms, as often
//! tried). The thread then kills all of the group, with what was forked since and what is in groups made since.
//!
//! **Rule:** words that have one writer each, bells, and a lock that the loop only tries; neither waits for the other.
//! No service is gone before a kill as a group that was asked for at its deadline is done. Else that could
//! come later, and end what the daemon has started there next.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use os::cgroup::{Handle, Lists};
use os::event::{Bell, Events, Interest, Poll, Token};
use os::shared::{ENTRIES_MAX, GuardSide, Held, Subject};
use rustix::io::Errno;

use super::log::say;

#[cfg(test)]
mod tests;

/// Real-time priority of the thread: below the loop's, as the network's.
const PRIORITY: u8 = 55;
const _: () = assert!(PRIORITY < super::PRIORITY);
/// Bytes of its stack, and how much of that is touched at the start.
const STACK: usize = 256 << 10;
const TOUCHED: usize = 64 << 10;
const BELL: Token = Token(0);
/// Files that are open for as many services as there may be, with six groups each.
pub(super) const OPEN_FILES: u64 = 8 * ENTRIES_MAX as u64;
/// The place of the group of all services.
const ALL: usize = ENTRIES_MAX;

/// What is open of a group.
#[derive(Default)]
struct Open {
    /// For which use of the slot.
    generation: u64,
    /// `None`: there was no group.
    lists: Option<Lists>,
}

/// What loop and thread share about one group.
#[derive(Default)]
struct Place {
    /// Replaced by the thread alone.
    open: Mutex<Open>,
    /// For which use of the slot, and which description of it, the thread has opened it.
    generation: AtomicU64,
    described: AtomicU64,
    /// It is to be opened once more.
    is_stale: AtomicBool,
    /// Kills as a group, and why the last of them failed (0: it did not).
    asked: AtomicU64,
    done: AtomicU64,
    error: AtomicI32,
}

impl Place {
    fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire) == self.asked.load(Ordering::Relaxed)
    }

    fn is_open_for(&self, held: &Held) -> bool {
        self.generation.load(Ordering::Relaxed) == held.generation
            && self.described.load(Ordering::Relaxed) == held.described
    }

    /// What is open for this use of the slot; `None`: nothing yet, or it is just being exchanged.
    fn look<T>(&self, generation: u64, look: impl FnOnce(Option<&Lists>) -> T) -> Option<T> {
        let open = self.open.try_lock().ok().filter(|open| open.generation == generation)?;
        Some(look(open.lists.as_ref()))
    }
}

struct Desk {
    places: Box<[Place]>,
    bell: Bell,
}

/// The loop's end of it.
pub(super) struct Groups {
    desk: Arc<Desk>,
}

impl Groups {
    /// Starts the thread. `all` is the group of all services.
    pub(super) fn start(all: PathBuf, shared: &Arc<GuardSide>) -> anyhow::Result<Groups> {
        let places = (0..=ALL).map(|_| Place::default()).collect();
        let desk = Arc::new(Desk { places, bell: Bell::new()? });
        let poll = Poll::new()?;
        poll.add(&desk.bell, BELL, Interest::Read)?;
        let worker = Worker {
            desk: desk.clone(),
            shared: shared.clone(),
            all,
            subject: Box::default(),
            can_hurry: false,
        };
        std::thread::Builder::new()
            .name("groups".into())
            .stack_size(STACK)
            .spawn(move || worker.run(&poll))
            .context("cannot start a thread")?;
        Ok(Groups { desk })
    }

    /// Has the group opened as it is described now, if it is not: long before its deadline.
    pub(super) fn mind(&self, slot: usize, held: &Held) {
        if !self.desk.places[slot].is_open_for(held) {
            self.desk.bell.ring();
        }
    }

    /// Has the group opened once more: groups may have been made in it that no description tells of.
    pub(super) fn reopen(&self, slot: usize) {
        self.desk.places[slot].is_stale.store(true, Ordering::Release);
        self.desk.bell.ring();
    }

    /// Signals each process of the service. What is not open is left to [the thread](Groups::kill).
    ///
    /// # Errors
    /// When a process cannot be killed.
    pub(super) fn signal(&self, slot: usize, generation: u64) -> io::Result<()> {
        let signal = |lists: Option<&Lists>| lists.map_or(Ok(()), Lists::kill);
        self.desk.places[slot].look(generation, signal).unwrap_or(Ok(()))
    }

    /// Has all of the group killed, whatever was asked for before: its deadline has just passed.
    pub(super) fn kill(&self, slot: usize) {
        let place = &self.desk.places[slot];
        place.asked.store(place.asked.load(Ordering::Relaxed) + 1, Ordering::Release);
        self.desk.bell.ring();
    }

    /// Has it killed once more, unless that is under way: who asks anew for as long as it takes would wait for ever.
    pub(super) fn kill_again(&self, slot: usize) {
        if self.is_done(slot) {
            self.kill(slot);
        } else {
            // It may have been refused.
            self.desk.bell.ring();
        }
    }

    /// The same for what no entry names.
    pub(super) fn kill_all(&self) {
        self.kill_again(ALL);
    }

    /// Whether what was asked for is done.
    pub(super) fn is_done(&self, slot: usize) -> bool {
        self.desk.places[slot].is_done()
    }

    /// ... for what no entry names.
    pub(super) fn is_all_done(&self) -> bool {
        self.is_done(ALL)
    }

    /// Why the group could not be killed the last time it was tried.
    pub(super) fn error(&self, slot: usize) -> Option<i32> {
        Some(self.desk.places[slot].error.load(Ordering::Relaxed)).filter(|error| *error != 0)
    }

    /// Whether the service has no group, as far as that is known: one that is made later has to be looked for.
    pub(super) fn is_unseen(&self, slot: usize, generation: u64) -> bool {
        self.desk.places[slot].look(generation, |lists| lists.is_none()).unwrap_or(false)
    }

    /// Whether nothing of the service lives in its group, as it was opened last; `None`: it was not, for this use of the
    /// slot, or is just being opened. To be asked after [`Groups::is_done`]: a kill as a group opens it.
    ///
    /// # Errors
    /// When the kernel's file cannot be read.
    pub(super) fn is_empty(&self, slot: usize, generation: u64) -> io::Result<Option<bool>> {
        let is_empty = |lists: Option<&Lists>| lists.map_or(Ok(true), Lists::is_empty);
        Ok(self.desk.places[slot].look(generation, is_empty).transpose()?)
    }
}

struct Worker {
    desk: Arc<Desk>,
    shared: Arc<GuardSide>,
    all: PathBuf,
    subject: Box<Subject>,
    /// Dying processes can be lent this thread's class.
    can_hurry: bool,
}

impl Worker {
    fn run(mut self, poll: &Poll) {
        // Where it is refused, the loop is refused too, and has said so.
        let _said = os::realtime::round_robin(PRIORITY);
        os::realtime::touch_stack::<TOUCHED>();
        self.can_hurry = os::realtime::is_real_time();
        let mut events = Events::with_capacity(1);
        loop {
            self.desk.bell.take();
            self.kill_due();
            self.open_due();
            if let Err(error) = poll.wait(&mut events, None) {
                // Nothing can be waited for: the end of the process is better than a loop without a pause.
                panic!("epoll of the guard's thread for control groups: {error}");
            }
        }
    }

    /// Kills what is asked for, one group after the other; first that of all, which ends the others with it.
    fn kill_due(&mut self) {
        for slot in std::iter::once(ALL).chain(0..ALL) {
            let desk = self.desk.clone();
            let place = &desk.places[slot];
            let asked = place.asked.load(Ordering::Acquire);
            if place.done.load(Ordering::Relaxed) == asked {
                continue;
            }
            let killed = self.kill(slot);
            let errno = killed.map_or_else(
                |error| error.raw_os_error().unwrap_or(Errno::IO.raw_os_error()),
                |()| 0,
            );
            if slot == ALL && errno != 0 && place.error.load(Ordering::Relaxed) == 0 {
                say!("cannot kill all services (error {errno})");
            }
            place.error.store(errno, Ordering::Relaxed);
            // After an error the loop comes again by itself.
            if errno == 0 {
                place.done.store(asked, Ordering::Release);
                self.shared.bell().ring();
            }
        }
    }

    fn kill(&mut self, slot: usize) -> io::Result<()> {
        if slot == ALL {
            return kill(&self.all, &mut self.can_hurry, || true);
        }
        let Some(held) = self.shared.held(slot).filter(|held| held.killed) else {
            // Another use of the slot: what was to be killed is gone.
            return Ok(());
        };
        // What the loop cannot see would be empty to it.
        let opened = self.open(slot, &held);
        if !self.shared.read(slot, &mut self.subject) {
            return Err(Errno::AGAIN.into());
        }
        let shared = &self.shared;
        let is_due =
            || shared.held(slot).is_some_and(|now| now.generation == held.generation && now.killed);
        let killed = match self.subject.group() {
            "" => Ok(()),
            group => kill(group, &mut self.can_hurry, is_due),
        };
        killed.and(opened)
    }

    /// Opens what was described since, and closes what is under the guard no more.
    fn open_due(&mut self) {
        for slot in 0..self.shared.used() {
            // Each may have to wait for whoever makes a group there.
            self.kill_due();
            let place = &self.desk.places[slot];
            let is_stale = place.is_stale.swap(false, Ordering::AcqRel);
            match self.shared.held(slot) {
                None if place.generation.load(Ordering::Relaxed) != 0 => {
                    self.exchange(slot, None, (0, 0));
                }
                Some(held) if is_stale || !place.is_open_for(&held) => {
                    if let Err(error) = self.open(slot, &held)
                        && error.raw_os_error() != Some(Errno::AGAIN.raw_os_error())
                    {
                        let errno = error.raw_os_error().unwrap_or(0);
                        let service = self.subject.service();
                        say!("{service}: its control group cannot be opened (error {errno})");
                        // Said once; at the deadline it is tried again.
                        self.exchange(slot, None, (held.generation, held.described));
                    }
                }
                _ => {}
            }
        }
    }

    /// # Errors
    /// `EAGAIN` when the daemon is describing it all the time; the kernel's.
    fn open(&mut self, slot: usize, held: &Held) -> io::Result<()> {
        if !self.shared.read(slot, &mut self.subject) {
            return Err(Errno::AGAIN.into());
        }
        let lists = match self.subject.group() {
            "" => None,
            group => match Lists::open(group) {
                Ok(lists) => Some(lists),
                // It is described before it is made. What runs in it by then is opened when it is described as
                // that, or when the deadline comes near.
                Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => None,
                Err(error) => return Err(error),
            },
        };
        self.exchange(slot, lists, (held.generation, held.described));
        Ok(())
    }

    fn exchange(&self, slot: usize, lists: Option<Lists>, (generation, described): (u64, u64)) {
        let place = &self.desk.places[slot];
        let mut open = place.open.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *open, Open { generation, lists });
        drop(open);
        // Closing takes time, and nobody waits for it here.
        drop(before);
        place.generation.store(generation, Ordering::Relaxed);
        place.described.store(described, Ordering::Relaxed);
    }
}

/// Kills a group and all below: its processes, and those that they have forked meanwhile. **May wait** for the lock of
/// all groups. Asks before the last step whether it is still to be killed.
fn kill(
    group: impl rustix::path::Arg,
    can_hurry: &mut bool,
    is_due: impl Fn() -> bool,
) -> io::Result<()> {
    let group = match Handle::open(group) {
        Ok(group) => group,
        // Nothing was started in it, or all of it is gone.
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !is_due() {
        return Ok(());
    }
    // Whoever cannot be signalled is ended with the group.
    let _refused = group.kill_listed();
    // A dying process needs CPU time to die: lend it our class. Only the speed depends on it.
    if *can_hurry && group.hurry().is_err() {
        say!("dying processes cannot be given a real-time class; they may take longer");
        *can_hurry = false;
    }
    // Whoever enters an empty one now sees that its service was killed, see `os::shared::Permit`; and a write that waits
    // could end what is started there next.
    if is_due() && !group.is_empty()? { Ok(group.kill()?) } else { Ok(()) }
}
