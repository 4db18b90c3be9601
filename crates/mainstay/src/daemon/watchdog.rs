//! The watchdog of this node: when the guard is asked to arm it, and what the others are told.
//!
//! A storage service starts only after all members know for how long they have to wait for this machine.
//! So the node is told that there is a watchdog; when a storage service is about to start it asks for it
//! ([`node::Output::ArmWatchdog`]), the guard is asked, and what came of it goes back to the node, which
//! announces it. Nothing is opened before that: a machine with a configuration that is never used is never
//! reset by it. And nothing is opened that could not be used: what never stops once it is open (`nowayout`)
//! would be left unfed and reset the machine, so first is asked what the kernel shows of it.
//!
//! **Rule:** what is announced is what is in force. So a device that is armed keeps its timeout until this
//! node has been stopped, whatever the configuration says by then.

use std::path::Path;
use std::time::Duration;

use api::v1::{self, WatchdogState};
use base::Instant;
use base::feeding::{Feeding, Reason};
use engine::Watchdog as Fact;
use node::Input;
use os::shared::WatchdogRequest;
use os::watchdog::WatchdogError;

use super::drive::Daemon;
use super::status::millis;
use crate::config::{self, duration};

/// How soon a device that could not be armed is tried again, when it is needed.
const RETRY: Duration = Duration::from_secs(30);

/// What this daemon knows of it.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    /// What the node was told.
    told: Fact,
    /// The guard was asked and has not answered.
    asked: bool,
    /// Why the guard was not even asked, until the node has been told.
    refused: Option<WatchdogError>,
    /// When what failed may be tried again.
    retry: Option<Instant>,
}

/// Why it could not be armed, and what that means for a device that was opened.
fn with_held(error: WatchdogError, held: Option<Duration>) -> String {
    held.map_or_else(
        || error.to_string(),
        |timeout| {
            format!(
                "{error}; it runs all the same and nobody can stop it (nowayout): it is fed as long as \
                 mainstay runs, and resets this machine {} after that",
                duration::format(timeout)
            )
        },
    )
}

impl Daemon {
    fn configured_watchdog(&self) -> Option<&config::Watchdog> {
        self.cluster.watchdogs.get(&self.node.local().node)
    }

    /// Tells the node what there is: at the start, and when the configuration or the guard have changed
    /// something. Called in each turn.
    pub(super) fn mind_watchdog(&mut self) {
        let Some(fact) = self.new_watchdog_fact() else { return };
        self.watchdog.told = fact.clone();
        if let Fact::Failed { reason } = &fact {
            self.journal.say(&format!("the watchdog cannot be armed: {reason}"));
        }
        self.feed(Input::Watchdog(fact));
    }

    /// What the node was not told yet. Where nothing has changed this is a few loads.
    fn new_watchdog_fact(&mut self) -> Option<Fact> {
        if let Some(timeout) = self.cover.watchdog_timeout() {
            self.watchdog.asked = false;
            let fact = Fact::Armed { timeout };
            return (fact != self.watchdog.told).then_some(fact);
        }
        if let Some(error) = self.watchdog.refused.take() {
            return Some(self.failed_watchdog(&error.to_string()));
        }
        if self.watchdog.asked {
            let status = self.cover.watchdog();
            if status.asked {
                return None;
            }
            self.watchdog.asked = false;
            return Some(match status.error {
                Some(error) => self.failed_watchdog(&with_held(error, status.held)),
                None => self.failed_watchdog("the guard does not say why"),
            });
        }
        let is_over = self.watchdog.retry.is_none_or(|retry| os::clock::boottime() >= retry);
        match (self.configured_watchdog(), &self.watchdog.told) {
            (None, Fact::Absent) | (Some(_), Fact::Ready) => None,
            (None, _) => Some(Fact::Absent),
            (Some(_), Fact::Failed { .. }) if !is_over => None,
            (Some(_), _) => Some(Fact::Ready),
        }
    }

    fn failed_watchdog(&mut self, reason: &str) -> Fact {
        self.watchdog.retry = Some(os::clock::boottime() + RETRY);
        let device = self.configured_watchdog().map_or("", |watchdog| watchdog.device.as_str());
        Fact::Failed { reason: format!("{device}: {reason}") }
    }

    /// A storage service waits for it.
    pub(super) fn arm_watchdog(&mut self) {
        let least = self.cluster.timing.watchdog_min();
        // Without one it was taken out of the configuration at this moment, and the node is told so.
        let Some(wanted) = self.configured_watchdog() else { return };
        let seen = os::watchdog::describe(Path::new(&wanted.device));
        let usable = seen.and_then(|seen| seen.check(wanted.timeout));
        let request = WatchdogRequest::new(&wanted.device, wanted.timeout, least);
        if let Err(error) = usable {
            self.watchdog.refused = Some(error);
        } else if let Some(request) = request {
            // One that is on its way already is answered all the same.
            let _on_its_way = self.cover.shared().arm_watchdog(&request);
            self.watchdog.asked = true;
        }
    }

    /// Gives the guard the newest evidence of a majority.
    pub(super) fn push_evidence(&mut self) {
        let timing = self.cluster.timing;
        let until = self.node.leases().0;
        let evidence = if until == Instant::ZERO { until } else { until.minus(timing.lease) };
        self.cover.shared().set_evidence(evidence, timing.feeding_evidence());
    }

    /// What is wrong with it, for the status.
    pub(super) fn watchdog_warnings(&self) -> Vec<(&'static str, String)> {
        let watchdog = self.show_watchdog();
        let device = watchdog.device.as_deref().unwrap_or("the watchdog");
        let mut warnings = Vec::new();
        match watchdog.state {
            WatchdogState::Failed => {
                let text = format!("the watchdog cannot be armed: {}", watchdog.reason);
                warnings.push(("watchdog-not-armed", text));
            }
            WatchdogState::Armed if !watchdog.fed => {
                let text = format!("{device} is not fed: {}", watchdog.reason);
                warnings.push(("watchdog-not-fed", text));
            }
            _ => {}
        }
        if watchdog.late > 0 {
            let text = format!("{device} was fed too late {} times", watchdog.late);
            warnings.push(("watchdog-late", text));
        }
        warnings
    }

    /// What `mainstay watchdog show` shows.
    pub(super) fn show_watchdog(&self) -> v1::Watchdog {
        let now = os::clock::boottime();
        let timing = self.cluster.timing;
        let wanted = self.configured_watchdog().cloned();
        let node = self.cluster.name_of(self.node.local().node);
        let (status, sight) = (self.cover.watchdog(), self.cover.sight());
        let (state, reason) = match &self.watchdog.told {
            Fact::Absent => (WatchdogState::None, "none is configured for this node".to_owned()),
            Fact::Ready if self.watchdog.asked => {
                (WatchdogState::Asked, "the guard is arming it".to_owned())
            }
            Fact::Ready => {
                (WatchdogState::Ready, "no storage service has needed it yet".to_owned())
            }
            Fact::Failed { reason } => (WatchdogState::Failed, reason.clone()),
            Fact::Armed { .. } => {
                let reason = match (status.feed_error, Feeding::reason(now, &sight)) {
                    (Some(error), _) => error.to_string(),
                    (None, Reason::Clean) => "no storage service is here".to_owned(),
                    (None, Reason::Fresh) => "evidence is fresh".to_owned(),
                    (None, Reason::Stale) => {
                        "a storage service is here, and evidence of a majority is \
                                              too old"
                            .to_owned()
                    }
                    (None, Reason::Killed) => {
                        "a storage service was killed and is not confirmed to be gone".to_owned()
                    }
                    (None, Reason::None) => {
                        "a storage service is here, and this node is in no view".to_owned()
                    }
                };
                (WatchdogState::Armed, reason)
            }
        };
        let is_armed = state == WatchdogState::Armed;
        let timeout = status.timeout.or(wanted.as_ref().map(|wanted| wanted.timeout));
        v1::Watchdog {
            schema: v1::SCHEMA,
            node,
            state,
            device: status.device.or(wanted.map(|wanted| wanted.device)),
            timeout_ms: timeout.map(millis),
            freshness_ms: millis(sight.freshness),
            fence_wait_ms: status.timeout.map(|w| millis(timing.storage_fence_wait(w))),
            storage: sight.storage,
            fed: is_armed && status.feed_error.is_none() && Feeding::may(now, &sight),
            reason,
            fed_ms: status.fed.filter(|_| is_armed).map(|at| millis(now.since(at))),
            evidence_ms: (sight.evidence != Instant::ZERO)
                .then(|| millis(now.since(sight.evidence))),
            late: status.late,
            adopted: status.adopted,
        }
    }
}
