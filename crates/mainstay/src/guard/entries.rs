//! The services under the guard: whose deadline is over, and how far their end is.
//!
//! Ending a service has two answers. *Killed*: none of its code runs any more, microseconds after the
//! deadline. *Gone*: its processes have given back everything and its addresses are removed; that can
//! take longer, and is looked at until it is so. Addresses are removed by [another thread](super::network),
//! because that may have to wait for the kernel's lock on the network configuration, and no kill may.
//!
//! Where there is a [gate](os::gate) the kernel refuses packets of the addresses from the deadline on,
//! before and without the guard; what the guard adds is that a killed service's addresses stay closed
//! whatever deadline comes later.
//!
//! The processes of a control group are killed one by one, by the loop itself, and what they fork meanwhile, or have
//! put into groups of their own, [with the group](super::groups), which may have to wait. What has [left it](super::escaped) is looked for by
//! [threads of their own](super::outside) from then on, and nothing is gone before that has found nothing.
//!
//! Where there are no control groups, processes are found in `/proc`: those of a session that was entered by
//! the loop itself, at the deadline; those that only have the mark by that thread, because to look
//! for it may take for ever.
//!
//! What was killed stays under watch until the daemon takes it out of the memory: a daemon that was
//! stopped in the middle of a start, or before it extended an address, does the other half when it goes
//! on. It is ended again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use base::Instant;
use os::cgroup::Handle;
use os::gate::Revoker;
use os::process::{Containment, Search, search};
use os::shared::{ENTRIES_MAX, GuardSide, Held, Subject};

use super::groups::Groups;
use super::log::say;
use super::marks::{MARK_MAX, Marks, Who, join};
use super::network::Network;
use super::outside::Outside;

#[cfg(test)]
mod tests;

/// How often something that does not die is killed again.
const AGAIN: Duration = Duration::from_millis(100);

/// What the guard keeps about one slot.
#[derive(Default)]
struct Watched {
    /// Which use of the slot this is about; 0: none.
    generation: u64,
    /// The deadline as it was seen last, since when, and whether half of the time to it has passed.
    deadline: Instant,
    pushed: Instant,
    is_late: bool,
    dying: Option<Dying>,
}

impl Watched {
    /// The deadline is still to come. True once, when it has not been pushed for half of its time: then it may pass.
    fn wait(&mut self, deadline: Instant, now: Instant) -> bool {
        if self.deadline != deadline {
            (self.deadline, self.pushed, self.is_late) = (deadline, now, false);
        }
        let is_late = now.since(self.pushed) * 2 >= deadline.since(self.pushed);
        is_late && !std::mem::replace(&mut self.is_late, true)
    }
}

#[derive(Clone, Copy)]
struct Dying {
    since: Instant,
    /// When it was last killed (again).
    killed: Instant,
    /// The question about its addresses that is not answered yet.
    asked: Option<u64>,
    addresses_removed: bool,
    /// No process has the mark, as far as that was looked for since. With control groups: see [`Outside`].
    unmarked: bool,
    /// Of one that stays.
    address_error: i32,
    /// It was killed as a group.
    was_done: bool,
    gone: bool,
    alarmed: bool,
}

/// What no control group holds.
enum Ungrouped {
    /// Where there are none.
    Marked(Marks),
    /// What has left them.
    Left(Outside),
}

/// All slots.
pub(super) struct Entries {
    watched: Vec<Watched>,
    subject: Box<Subject>,
    network: Network,
    /// The group of all services; `None`: they are found by their marks.
    all: Option<Handle>,
    /// `TREE/`: how the marks of all services begin.
    mark: String,
    /// Kills them as groups, where there are any.
    groups: Option<Groups>,
    /// Looks for what no control group holds.
    ungrouped: Ungrouped,
    /// Daemons that have died: what was found while another one lived says nothing.
    deaths: u64,
    next_deadline: Instant,
    dying: usize,
    killed: bool,
    /// The kernel's part, where it has one.
    gate: Option<Revoker>,
}

impl Entries {
    pub(super) fn new(
        containment: &Containment,
        tree: &str,
        network: Network,
        gate: Option<Revoker>,
        shared: &Arc<GuardSide>,
    ) -> anyhow::Result<Entries> {
        let all = match containment {
            Containment::Groups(tree) => {
                Some(tree.all().handle().context("cannot open the control group of all services")?)
            }
            Containment::Marked { .. } => None,
        };
        let groups = match containment {
            Containment::Groups(tree) => Some(Groups::start(tree.path().to_owned(), shared)?),
            Containment::Marked { .. } => None,
        };
        let ungrouped = match all {
            Some(_) => Ungrouped::Left(Outside::start(tree, shared)?),
            None => Ungrouped::Marked(Marks::start(shared.clone())?),
        };
        anyhow::ensure!(tree.len() + base::limits::NAME_SIZE_MAX + 2 <= MARK_MAX, "tree name");
        Ok(Entries {
            watched: (0..ENTRIES_MAX).map(|_| Watched::default()).collect(),
            subject: Box::default(),
            network,
            all,
            mark: format!("{tree}/"),
            groups,
            ungrouped,
            deaths: 0,
            next_deadline: Instant::FAR,
            dying: 0,
            killed: false,
            gate,
        })
    }

    /// What waits for the kernel: to be ended when no service is left.
    pub(super) fn into_network(self) -> Network {
        self.network
    }

    /// Ends what may run no longer (with `all`: everything), and looks how far what was ended is.
    pub(super) fn enforce(
        &mut self,
        shared: &GuardSide,
        now: Instant,
        all: bool,
        release: Duration,
    ) {
        self.next_deadline = Instant::FAR;
        self.dying = 0;
        let used = shared.used();
        for slot in 0..used {
            let Some(held) = shared.held(slot) else {
                if self.watched[slot].generation != 0 {
                    self.watched[slot] = Watched::default();
                    self.forget(slot);
                }
                continue;
            };
            if self.watched[slot].generation != held.generation {
                self.watched[slot] = Watched { generation: held.generation, ..Watched::default() };
                self.forget(slot);
            }
            if held.killed {
                continue;
            }
            if !all && now < held.deadline {
                let is_late = self.watched[slot].wait(held.deadline, now);
                if let Some(groups) = &self.groups {
                    groups.mind(slot, &held);
                    if is_late {
                        groups.reopen(slot);
                    }
                }
                self.next_deadline = self.next_deadline.min(held.deadline);
                continue;
            }
            self.begin(shared, slot, held, now);
        }
        if let Ungrouped::Left(outside) = &mut self.ungrouped {
            outside.turn(now);
        }
        for slot in 0..used {
            if self.watched[slot].dying.is_some() {
                self.follow(shared, slot, now, release);
            }
        }
    }

    /// The earliest deadline of those that still may run, as of the last look.
    pub(super) fn next_deadline(&self) -> Instant {
        self.next_deadline
    }

    pub(super) fn is_something_dying(&self) -> bool {
        self.dying > 0
    }

    /// How often something that is dying is looked at: a group's file costs microseconds, searching
    /// all processes milliseconds.
    pub(super) fn dying_tick(&self) -> Duration {
        Duration::from_millis(if self.all.is_some() { 2 } else { 25 })
    }

    /// Whether something had to be killed since [`Entries::forget_kills`].
    pub(super) fn has_killed(&self) -> bool {
        self.killed
    }

    /// What was killed so far does not count for the exit code: the end begins now.
    pub(super) fn forget_kills(&mut self) {
        self.killed = false;
    }

    /// Whether no service is under the guard.
    pub(super) fn is_none_held(&self, shared: &GuardSide) -> bool {
        (0..shared.used()).all(|slot| shared.held(slot).is_none_or(|held| held.gone))
    }

    /// A daemon has died, and may have left what no entry names.
    pub(super) fn daemon_died(&mut self) {
        self.deaths += 1;
    }

    /// Whether nothing of any service is left, registered or not; with `kill` what is found is ended. What no
    /// control group holds is not known at once: false until it is.
    pub(super) fn nothing_left(&mut self, shared: &GuardSide, kill: bool) -> bool {
        if !self.is_none_held(shared) {
            return false;
        }
        if let Some(groups) = self.groups.as_ref().filter(|groups| !groups.is_all_done()) {
            // It may have been refused: once more.
            groups.kill_all();
            return false;
        }
        let in_groups =
            self.all.as_ref().map_or(Ok(false), |all| all.is_empty().map(|empty| !empty));
        let found = match in_groups.map_err(io::Error::from) {
            Ok(false) => {
                let who = Who::All { deaths: self.deaths };
                let found = match &mut self.ungrouped {
                    Ungrouped::Left(outside) => {
                        outside.all(self.deaths, kill, os::clock::boottime())
                    }
                    Ungrouped::Marked(marks) => {
                        let found = marks.answer(who);
                        if found.is_none() {
                            // Another question may be open: again in a later turn.
                            let _later = marks.ask(who, &self.mark, kill);
                        }
                        found.map(|found| found.map(|count| count > 0))
                    }
                };
                found.transpose()
            }
            in_groups => in_groups.map(Some),
        };
        match found {
            Ok(Some(false)) => true,
            Ok(Some(true)) => {
                self.killed |= kill;
                false
            }
            Ok(None) => false,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                say!("cannot see whether services run (error {errno})");
                false
            }
        }
    }

    /// Kills what no entry names: a process that a daemon was starting when it died. What no group holds
    /// is killed as it is [looked for](Entries::nothing_left).
    pub(super) fn kill_rest(&mut self) {
        let (Some(all), Some(groups)) = (&self.all, &self.groups) else { return };
        self.killed |= !all.is_empty().unwrap_or(false);
        groups.kill_all();
    }

    /// The moment of a deadline: kill, before anything else.
    fn begin(&mut self, shared: &GuardSide, slot: usize, held: Held, now: Instant) {
        shared.set_killed(slot, held.generation, now);
        self.killed = true;
        self.kill(shared, slot);
        if let Some(groups) = &self.groups {
            groups.kill(slot);
        }
        let late = os::clock::boottime().since(held.deadline);
        self.watched[slot].dying = Some(Dying {
            since: now,
            killed: now,
            asked: None,
            addresses_removed: false,
            unmarked: false,
            address_error: 0,
            was_done: false,
            gone: false,
            alarmed: false,
        });
        if let Ungrouped::Left(outside) = &mut self.ungrouped {
            outside.follow(slot);
        }
        if shared.read(slot, &mut self.subject) {
            self.revoke();
            let service = self.subject.service();
            if now >= held.deadline {
                say!("{service}: its deadline is over, killed {} us after it", late.as_micros());
            } else {
                say!("{service}: killed, because all services are being ended");
            }
        }
    }

    fn kill(&mut self, shared: &GuardSide, slot: usize) {
        let result = match &self.groups {
            Some(groups) => groups.signal(slot, self.watched[slot].generation),
            None => self.kill_sessions(shared, slot).map(drop),
        };
        if let Err(error) = result {
            say!("cannot kill a service (error {})", error.raw_os_error().unwrap_or(0));
        }
    }

    /// Kills the processes of its sessions, without asking any of them; returns how many there were.
    fn kill_sessions(&mut self, shared: &GuardSide, slot: usize) -> io::Result<usize> {
        if !shared.read(slot, &mut self.subject) {
            return Err(io::Error::from(io::ErrorKind::WouldBlock));
        }
        search(&Search { marker: None, sessions: self.subject.processes(), kill: true })
    }

    /// Has the processes of the subject's mark killed. Whether there were none, when that is known.
    fn kill_marked(&mut self, slot: usize) -> Option<bool> {
        let generation = self.watched[slot].generation;
        let who = Who::One { slot, generation };
        let Ungrouped::Marked(marks) = &mut self.ungrouped else { return None };
        match marks.answer(who) {
            Some(Ok(count)) => Some(count == 0),
            Some(Err(error)) => {
                let errno = error.raw_os_error().unwrap_or(0);
                say!("cannot look for marked processes (error {errno})");
                Some(false)
            }
            None => {
                let mut text = [0_u8; MARK_MAX];
                let mark = join(&mut text, &self.mark, self.subject.service());
                // Another question may be open: again at the next look.
                let _later = marks.ask(who, mark, true);
                None
            }
        }
    }

    /// What was killed of this slot is another's matter, or over.
    fn forget(&mut self, slot: usize) {
        if let Ungrouped::Left(outside) = &mut self.ungrouped {
            outside.forget(slot);
        }
    }

    /// Has the addresses of a killed service removed, and looks whether all of it is gone.
    fn follow(&mut self, shared: &GuardSide, slot: usize, now: Instant, release: Duration) {
        let Some(mut dying) = self.watched[slot].dying else { return };
        let again = now.since(dying.killed) >= AGAIN;
        if dying.gone && !again && dying.asked.is_none() {
            return;
        }
        if !shared.read(slot, &mut self.subject) {
            // The daemon is writing all the time: at the next look.
            self.dying += 1;
            return;
        }
        if again {
            dying.killed = now;
        }
        // Again, because the first look may not have come through, or another address was entered.
        if shared.held(slot).is_some_and(|held| held.generation == self.watched[slot].generation) {
            self.revoke();
        }
        let mut was_there = false;
        if let Some(removed) = dying.asked.and_then(|number| self.network.answer(slot, number)) {
            dying.asked = None;
            dying.addresses_removed = removed.errno == 0;
            dying.address_error = removed.errno;
            was_there = removed.was_there;
            shared.set_address_error(slot, removed.errno);
        }
        if dying.asked.is_none() && (again || !dying.addresses_removed) {
            dying.asked = self.network.ask(slot, self.watched[slot].generation);
        }
        let generation = self.watched[slot].generation;
        // Before the group is looked at, because the kill opens it.
        let is_done = self.groups.as_ref().is_none_or(|groups| groups.is_done(slot));
        if is_done && !dying.was_done {
            // Whoever has left it between the signals and the kill as a group.
            dying.was_done = true;
            if let Ungrouped::Left(outside) = &mut self.ungrouped {
                outside.follow(slot);
            }
        }
        let none_outside = match &self.ungrouped {
            Ungrouped::Left(outside) => outside.is_empty(slot),
            Ungrouped::Marked(_) => dying.unmarked,
        };
        let empty = match &self.groups {
            Some(groups) => {
                // What was empty stays so until it is seen to be otherwise.
                let empty = groups.is_empty(slot, generation);
                let empty = empty.map(|empty| empty.unwrap_or(dying.gone));
                empty.map(|empty| empty && none_outside)
            }
            None => {
                let sessions = self.kill_sessions(shared, slot);
                if let Some(unmarked) = self.kill_marked(slot) {
                    dying.unmarked = unmarked;
                }
                sessions.map(|count| count == 0 && dying.unmarked)
            }
        };
        let empty = empty.unwrap_or(false);
        if dying.gone && (!empty || was_there) {
            say!(
                "{}: something of it came back after its end, ended it again",
                self.subject.service()
            );
            shared.set_killed(slot, self.watched[slot].generation, now);
            dying = Dying { since: now, was_done: false, gone: false, alarmed: false, ..dying };
        }
        if again && !dying.gone && !(empty && is_done) {
            if let Some(error) = self.groups.as_ref().and_then(|groups| groups.error(slot)) {
                let service = self.subject.service();
                say!("{service}: its control group cannot be killed (error {error})");
            }
            self.kill(shared, slot);
            if let Some(groups) = &self.groups {
                groups.kill_again(slot);
            }
        } else if again
            && dying.gone
            && let Some(groups) = self.groups.as_ref().filter(|it| it.is_unseen(slot, generation))
        {
            // A daemon that was stopped in the middle of a start makes it when it goes on.
            groups.kill_again(slot);
        } else if !is_done && let Some(groups) = &self.groups {
            // What was forked since does not run on while the group cannot be killed as one. What refuses is
            // said when it is killed again.
            let _refused = groups.signal(slot, generation);
        }
        let service = self.subject.service();
        if !dying.gone && empty && is_done && dying.addresses_removed {
            let at = os::clock::boottime();
            shared.set_gone(slot, at);
            dying.gone = true;
            let took = at.since(dying.since).as_micros();
            say!("{service}: nothing left of it after {took} us");
        }
        if !dying.gone {
            self.dying += 1;
            if !dying.alarmed && now.since(dying.since) >= release {
                dying.alarmed = true;
                say!(
                    "{service}: killed, and not gone within the release time {release:?} \
                     (empty: {empty}, addresses removed: {}, error {})",
                    dying.addresses_removed,
                    dying.address_error
                );
            }
        }
        self.watched[slot].dying = Some(dying);
    }

    /// Closes the gate for the addresses of the subject. It was killed before: see [`os::gate`].
    fn revoke(&self) {
        let Some(gate) = &self.gate else { return };
        for held in self.subject.addresses() {
            if let Err(error) = gate.revoke(held.address) {
                say!(
                    "{}: stays open until its deadline (error {})",
                    held.address,
                    error.raw_os_error().unwrap_or(0)
                );
            }
        }
    }
}
