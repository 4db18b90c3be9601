//! Standing in for the guard.
//!
//! Intuition: the guard ends the processes of a service whose lease is over. One that is stopped (SIGSTOP, a debugger)
//! or gone (the kernel ran out of memory) ends nothing, while the other nodes count on it and start the service. The
//! daemon knows the same deadlines. So it looks whether the guard does its work, and does it when not: after half of
//! the time that the guard has for it, or at once when there is none.
//!
//! **Rule:** whoever may have got the lease back meanwhile is not killed: the right of a service is asked once more right
//! before. Addresses need nobody here: the kernel's gate closes them. What stands in for daemon and guard together
//! is the next guard, the watchdog, or nothing (`docs/reference/processes.md`).

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use base::Instant;
use os::cgroup::Lists;
use os::event;
use os::process::Containment;
use os::shared::Permit;

use super::Done;
use super::drive::Daemon;

/// Real-time priority of the thread: below the loop's.
const PRIORITY: u8 = 45;
const STACK_SIZE: usize = 256 << 10;
/// What is not gone by then is killed again.
const AGAIN: Duration = Duration::from_secs(1);

/// A service that must not run, as long as it has no right to.
struct Task {
    service: String,
    permit: Permit,
}

/// What of the guard's work the daemon has taken over.
pub(super) struct StandIn {
    tasks: Sender<Task>,
    /// There is no guard.
    is_alone: bool,
    /// Services that were killed, and when they are looked at again.
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
            if at > now {
                self.stand_in.killed.remove(service);
            } else {
                match self.stand_in.killed.get(service) {
                    Some(again) if *again > now => at = *again,
                    known => {
                        at = now + AGAIN;
                        over.push((service.to_owned(), known.is_none(), at));
                    }
                }
            }
            due = Some(due.map_or(at, |due| due.min(at)));
        }
        self.stand_in.due = due;
        for (service, is_new, again) in over {
            let Some(permit) = self.cover.permit(&service) else { continue };
            if is_new {
                self.journal.say(&format!(
                    "{service}: its lease is over and the guard has not ended it: this daemon ends it"
                ));
            }
            self.stand_in.killed.insert(service.clone(), again);
            let task = Task { service, permit };
            self.stand_in.tasks.send(task).expect("its thread lives as long as its queue");
        }
    }
}

fn work(tasks: &Receiver<Task>, containment: &Containment, done: &event::Sender<Done>) {
    // What it cannot have it goes without; then it is late on a busy machine.
    let _less = os::realtime::round_robin(PRIORITY);
    while let Ok(first) = tasks.recv() {
        let all: Vec<Task> = std::iter::once(first).chain(tasks.try_iter()).collect();
        // To signal who is listed takes no time; to kill a group may have to wait for the kernel's one lock of all groups.
        for task in all.iter().filter(|task| !task.permit.is_valid()) {
            let listed = containment.group_path(&task.service).map(Lists::open);
            if let Some(Ok(lists)) = listed {
                // Who is missed is in the group, which is killed next.
                let _missed = lists.kill();
            }
        }
        for task in all.iter().filter(|task| !task.permit.is_valid()) {
            if let Err(error) = containment.kill(&task.service, None) {
                let said = format!("{}: its lease is over, and: {error}", task.service);
                let _ending = done.send_waiting(Done::Said(said));
            }
        }
    }
}
