//! Standing in for the guard.
//!
//! Intuition: the guard ends the processes of a service whose lease is over. One that is stopped (SIGSTOP, a debugger)
//! or gone (the kernel ran out of memory) ends nothing, while the other nodes count on it and start the service. The
//! daemon knows the same deadlines. So it looks whether the guard does its work, and does it when not: after half of
//! the time that the guard has for it, or at once when there is none.
//!
//! **Rule:** what is being killed stays entered and nothing of it is started until the kill is over, so no kill meets what
//! was started later. The lease may come back between the last look at it and the signal: then the service ends without
//! need, as it does when the guard does it. Addresses need nobody here: the kernel's gate closes them. What stands in for daemon and guard together
//! is the next guard, the watchdog, or nothing (`docs/reference/processes.md`).

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use base::Instant;
use os::cgroup::{Group, Lists};
use os::event;
use os::process::Containment;
use os::shared::Permit;

use super::Done;
use super::drive::Daemon;

/// Real-time priority of the thread: below the loop's.
const PRIORITY: u8 = 45;
const STACK_SIZE: usize = 256 << 10;
/// What is not gone by then, after a kill, is killed again.
const AGAIN: Duration = Duration::from_secs(1);

/// A service to be killed, if it has no right to run.
struct Task {
    service: String,
    permit: Permit,
}

/// What of the guard's work the daemon has taken over.
pub(super) struct StandIn {
    tasks: Sender<Task>,
    /// There is no guard.
    is_alone: bool,
    /// Services that were killed, and when they are looked at again; never, while the kill is under way.
    killed: BTreeMap<String, Instant>,
    /// The next look.
    due: Option<Instant>,
}

impl StandIn {
    /// # Errors
    /// When there is no thread.
    pub(super) fn start(
        containment: Containment,
        done: event::Sender<Done>,
    ) -> std::io::Result<Self> {
        let (tasks, received) = channel();
        std::thread::Builder::new()
            .name("stand-in".into())
            .stack_size(STACK_SIZE)
            .spawn(move || work(&received, &containment, &done))?;
        Ok(Self { tasks, is_alone: false, killed: BTreeMap::new(), due: None })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

impl Daemon {
    /// Without its guard this daemon can promise less: services move away, and it ends. Until then it ends what has no
    /// lease any more.
    pub(super) fn guard_ended(&mut self) {
        if self.guard.exit().is_ok_and(|exit| exit.is_some()) {
            // Only once: the descriptor stays readable.
            let _was_watched = self.poll.remove(&self.guard);
            self.journal.say("the guard is gone: this node leaves, and must be started again");
            self.stand_in.is_alone = true;
            self.leave();
        }
    }

    /// Looks whether something runs whose deadline is over, and that the guard has not ended.
    pub(super) fn stand_in(&mut self) {
        let patience = match self.stand_in.is_alone {
            true => Duration::ZERO,
            false => self.cluster.timing.release / 2,
        };
        let now = os::clock::boottime();
        let mut due: Option<Instant> = None;
        let mut over = Vec::new();
        for (service, deadline) in self.cover.unended() {
            let mut at = deadline + patience;
            match self.stand_in.killed.get(service) {
                // One kill at a time, also when the lease came back and ended again meanwhile.
                Some(again) if *again == Instant::FAR => at = *again,
                Some(_) if at > now => drop(self.stand_in.killed.remove(service)),
                Some(again) if *again > now => at = *again,
                None if at > now => {}
                known => {
                    at = Instant::FAR;
                    over.push((service.to_owned(), known.is_none()));
                }
            }
            due = Some(due.map_or(at, |due| due.min(at)));
        }
        self.stand_in.due = due;
        for (service, is_new) in over {
            let Some(permit) = self.cover.permit(&service) else { continue };
            if is_new {
                self.journal.say(&format!(
                    "{service}: its lease is over and the guard has not ended it: this daemon ends it"
                ));
            }
            self.stand_in.killed.insert(service.clone(), Instant::FAR);
            self.cover.begin_ending(&service);
            let task = Task { service, permit };
            self.stand_in.tasks.send(task).expect("its thread lives as long as its queue");
        }
    }

    /// A kill is over.
    pub(super) fn stood_in(&mut self, service: &str, trouble: Option<String>) {
        if let Some(trouble) = trouble {
            self.say_once(format!("{service}: its lease is over, and: {trouble}"));
        }
        self.cover.finish_ending(service);
        if let Some(again) = self.stand_in.killed.get_mut(service) {
            *again = os::clock::boottime() + AGAIN;
        }
        self.settle();
    }
}

fn work(tasks: &Receiver<Task>, containment: &Containment, done: &event::Sender<Done>) {
    // What it cannot have it goes without; then it is late on a busy machine.
    let _less = os::realtime::round_robin(PRIORITY);
    while let Ok(first) = tasks.recv() {
        let all: Vec<Task> = std::iter::once(first).chain(tasks.try_iter()).collect();
        let over = || all.iter().filter(|task| task.permit.is_over());
        let group = |task: &Task| containment.group_path(&task.service);
        // First what waits for few, then for the kernel's one lock of all groups, then for processes.
        for lists in over().filter_map(group).filter_map(|path| Lists::open(path).ok()) {
            // Who is missed is in the group, which is killed next.
            let _missed = lists.kill();
        }
        for path in over().filter_map(group) {
            // Said by the next step, which does it once more.
            let _refused = Group::at(&path).kill();
        }
        for task in all {
            let killed = match task.permit.is_over() {
                true => containment.kill(&task.service, None),
                false => Ok(()),
            };
            let trouble = killed.err().map(|error| error.to_string());
            let report = Done::StoodIn { service: task.service, trouble };
            if done.send_waiting(report).is_err() {
                return;
            }
        }
    }
}
