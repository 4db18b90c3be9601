//! Leaving in order, and how far it is.
//!
//! On SIGTERM, when the host shuts down, or when it is told to, a node gives up its services before it
//! leaves the view: each is stopped within its own `stop_timeout` and started elsewhere as soon as it
//! has stopped, whatever the others do. Nothing orders services among each other, so they stop at the same
//! time: each is away for its own stop and start, and not for those of its neighbours. What has
//! left in order is waited for by nobody.
//!
//! **Budget:** the longest `stop_timeout` and the time for a view change. After that the node stops everything
//! and ends; the guard ends what is left.

use std::time::Duration;

use api::v1;
use base::Instant;

use super::drive::Daemon;
use super::status::millis;
use crate::config::duration::format;

/// How often it is said how far it is when nothing changes.
const AGAIN: Duration = Duration::from_secs(10);

/// A node that leaves.
#[derive(Debug)]
pub(super) struct Leaving {
    since: Instant,
    budget: Duration,
    /// Services that it held then.
    services: usize,
    /// How many had stopped when it was said last, and when that was.
    said: Option<(usize, Instant)>,
    /// Its time is over: everything was stopped.
    overdue: bool,
}

impl Daemon {
    /// From now on this node has so long to leave.
    pub(super) fn limit_leave(&mut self) {
        if self.leaving.is_some() {
            return;
        }
        let services = self.node.leases().1.count();
        let since = os::clock::boottime();
        let stop = self.cluster.services.iter().map(|service| service.stop_timeout).max();
        let budget = stop.unwrap_or_default() + self.cluster.timing.stall;
        self.leaving = Some(Leaving { since, budget, services, said: None, overdue: false });
    }

    /// When this node has to look at its leaving again.
    pub(super) fn leaving_deadline(&self) -> Option<Instant> {
        let leaving = self.leaving.as_ref()?;
        let (_, said) = leaving.said?;
        let end = (!leaving.overdue).then_some(leaving.since + leaving.budget);
        Some(end.map_or(said + AGAIN, |end| end.min(said + AGAIN)))
    }

    /// Says how far it is; ends it when its time is over. Others may not be there to let this node go; it
    /// ends all the same.
    pub(super) fn mind_leaving(&mut self) {
        if self.leaving.is_none() {
            return;
        }
        let now = os::clock::boottime();
        let held = self.node.leases().1.count();
        let leaving = self.leaving.as_mut().expect("it was just seen");
        let stopped = leaving.services.saturating_sub(held);
        let is_due = leaving.said.is_none_or(|(before, at)| before != stopped || now >= at + AGAIN);
        if is_due && leaving.services > 0 {
            leaving.said = Some((stopped, now));
            let said =
                sentence(leaving.services, stopped, now.since(leaving.since), leaving.budget);
            let still: Vec<&str> = self.node.leases().1.collect();
            let still = match still.is_empty() {
                true => String::new(),
                false => format!("; still here: {}", still.join(", ")),
            };
            self.journal.say(&format!("leaving: {said}{still}"));
        } else if is_due {
            leaving.said = Some((stopped, now));
        }
        let leaving = self.leaving.as_mut().expect("it was just seen");
        if now >= leaving.since + leaving.budget && !std::mem::replace(&mut leaving.overdue, true) {
            self.journal.say("nobody lets this node go: it stops everything and ends");
            let command = node::Command::Quit;
            self.feed(node::Input::Command { request: 0, command });
        }
    }

    /// How far it is, for the status.
    pub(super) fn leaving_part(&self) -> Option<v1::Leaving> {
        let leaving = self.leaving.as_ref()?;
        let stopping: Vec<String> = self.node.leases().1.map(str::to_owned).collect();
        Some(v1::Leaving {
            services: leaving.services as u32,
            stopped: leaving.services.saturating_sub(stopping.len()) as u32,
            elapsed_ms: millis(os::clock::boottime().since(leaving.since)),
            budget_ms: millis(leaving.budget),
            stopping,
        })
    }
}

fn sentence(services: usize, stopped: usize, elapsed: Duration, budget: Duration) -> String {
    let seconds = |duration: Duration| format(Duration::from_secs(duration.as_secs()));
    let (elapsed, budget) = (seconds(elapsed), seconds(budget));
    format!("{stopped} of {services} services stopped, {elapsed} of {budget}")
}
