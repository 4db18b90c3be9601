//! What this node does: its own decisions, carried out resource by resource.
//!
//! A start goes through the resources in order, a stop in reverse, one at a time. Every act has a
//! deadline. A stop is staged: the resource is asked, then killed, and if even that is not
//! confirmed in time the service is reported as not stopped, which keeps it here and starts it
//! nowhere. A start that fails is cleaned up before it is reported, so that "start failed" always
//! means "and nothing of it runs".
//!
//! The runner owns what it knows about local resources, including those found running when the
//! daemon started, and compares it with the delivered state after every input: what is decided
//! here and not begun is begun; what runs here without being held is stopped. It never decides
//! anything else by itself; a resource that dies is reported and left as it is until the plan has
//! spoken.
//!
//! It assumes of the driver: acts on one resource take effect in the order given; a stop or kill
//! ends a start still under way; a confirmed stop means that nothing of the resource is left.

use core::time::Duration;
use std::collections::BTreeMap;

use base::{Instant, Member, Timing};

use crate::class::Watchdog;
use crate::inability;
use crate::input::{Act, ActionId, Found, Outcome, ResourceChange, Verb};
use crate::intent::Intent;
use crate::replica::Replica;
use crate::status::ResourceStatus;
use crate::wire::{Claim, Entry};

mod steps;

pub use steps::KILL_TIMEOUT;
use steps::{Common, Doing, Job, Local, Part, Refused};

/// Everything that this node does and knows about its own resources.
#[derive(Debug)]
pub(crate) struct Runner {
    local: Member,
    services: BTreeMap<String, Local>,
    /// Version and checksum of the intent that they have their times from.
    intent: Option<(u64, u64)>,
    common: Common,
}

impl Runner {
    pub(crate) fn new(
        local: Member,
        intent: &Intent,
        timing: &Timing,
        found: Vec<Found>,
    ) -> Runner {
        let mut services: BTreeMap<String, Local> = BTreeMap::new();
        for Found { service, resource } in found {
            let local = services.entry(service).or_default();
            if local.parts.iter().all(|part| part.resource.name != resource.name) {
                local.parts.push(Part::new(resource, Doing::Running));
            }
        }
        // Start order, as far as it is known, so that they are stopped in reverse.
        for (name, local) in &mut services {
            if let Some(spec) = intent.service(name) {
                let place = |part: &Part| {
                    let mut names = spec.resources.iter().map(|resource| &resource.name);
                    names.position(|name| *name == part.resource.name).unwrap_or(usize::MAX)
                };
                local.parts.sort_by_key(place);
            }
        }
        Runner { local, services, intent: None, common: Common::new(local, timing) }
    }

    /// What to do now, in this order.
    pub(crate) fn take_acts(&mut self) -> Vec<Act> {
        core::mem::take(&mut self.common.acts)
    }

    /// What to tell the others, in this order; nothing any more once this node is left out.
    pub(crate) fn take_entries(&mut self) -> Vec<Entry> {
        let entries = core::mem::take(&mut self.common.entries);
        if self.common.halting { Vec::new() } else { entries }
    }

    /// Everything of which any part may run here.
    pub(crate) fn claims(&self) -> Vec<Claim> {
        let claims = self.services.iter().filter_map(|(name, local)| {
            // A failed process may have left others behind: it counts until a stop is confirmed.
            if !local.runs() {
                return None;
            }
            let running = local.parts.iter().filter(|part| part.doing == Doing::Running);
            let running = running.map(|part| part.resource.name.clone()).collect();
            Some(Claim { service: name.clone(), running })
        });
        claims.collect()
    }

    /// Nothing runs here and nothing is under way.
    pub(crate) fn is_clean(&self) -> bool {
        self.services.values().all(|local| local.job.is_none() && !local.runs())
    }

    pub(crate) fn set_lease(&mut self, now: Instant, until: Instant) {
        if now >= self.common.lease && until > now {
            let begun = |part: &Part| matches!(part.doing, Doing::Starting | Doing::Running);
            for local in self.services.values_mut() {
                let is_start = matches!(local.job, Some(Job::Start { .. }));
                local.lapsed |= is_start && local.parts.iter().any(begun);
            }
        }
        self.common.lease = until;
        self.step_all(now);
    }

    /// What the watchdog does; what waited for that goes on.
    pub(crate) fn set_watchdog(&mut self, now: Instant, watchdog: Watchdog) {
        self.common.watchdog = watchdog;
        self.step_all(now);
    }

    /// The timeout of the armed watchdog.
    pub(crate) fn armed(&self) -> Option<Duration> {
        self.common.armed()
    }

    /// Whether the watchdog must be armed before something can start; said once.
    pub(crate) fn take_arm(&mut self) -> bool {
        core::mem::take(&mut self.common.arms)
    }

    /// Stops everything, whoever holds it.
    pub(crate) fn halt(&mut self, now: Instant) {
        self.common.halting = true;
        for local in self.services.values_mut() {
            if local.runs() {
                local.begin_stop(None, None);
            } else {
                local.job = None;
            }
        }
        self.step_all(now);
    }

    /// The answer to an act.
    pub(crate) fn acted(
        &mut self,
        now: Instant,
        id: ActionId,
        outcome: Outcome,
        unable: &inability::Own,
    ) {
        let found = self.services.iter_mut().find_map(|(name, local)| {
            let index = local.parts.iter().position(|part| part.act == Some(id))?;
            Some((name, local, index))
        });
        let Some((name, local, index)) = found else { return };
        let part = &mut local.parts[index];
        let reason = match outcome {
            Outcome::Done => None,
            Outcome::Failed { reason } => Some(reason),
            Outcome::NotNow { reason } if part.doing == Doing::Starting => {
                part.act = None;
                part.doing = Doing::Stopped;
                local.refused = Some(Refused { at: now, lease: self.common.lease, reason });
                return self.common.step(now, name, local);
            }
            Outcome::NotNow { reason } => Some(reason),
        };
        part.act = None;
        match (part.doing, reason) {
            (Doing::Starting, None) => {
                part.doing = Doing::Running;
                local.refused = None;
            }
            (Doing::Stopping | Doing::Killing | Doing::Stuck, None) => {
                part.doing = Doing::Stopped;
                part.reason = None;
            }
            (Doing::Starting, Some(reason)) => {
                part.doing = Doing::Failed;
                part.reason = Some(reason);
                local.unable = unable.reason(name).map(str::to_owned);
            }
            (Doing::Stopping, Some(reason)) => {
                part.reason = Some(reason);
                self.common.act(now, name, local, index, Verb::Kill);
            }
            (Doing::Killing, Some(reason)) => {
                part.doing = Doing::Stuck;
                part.deadline = now + KILL_TIMEOUT;
                part.reason = Some(reason);
            }
            (Doing::Stuck | Doing::Stopped | Doing::Running | Doing::Failed, _) => {}
        }
        self.common.step(now, name, local);
    }

    /// Something happened to a resource without being asked for.
    pub(crate) fn changed(
        &mut self,
        now: Instant,
        service: &str,
        resource: &str,
        change: ResourceChange,
    ) {
        let Some(local) = self.services.get_mut(service) else { return };
        let part = local.parts.iter_mut().find(|part| part.resource.name == resource);
        let Some(part) = part else { return };
        let reason = match change {
            ResourceChange::Exited { code: Some(code), .. } => format!("exited with code {code}"),
            ResourceChange::Exited { signal: Some(signal), .. } => {
                format!("was ended by signal {signal}")
            }
            ResourceChange::Exited { .. } => "exited".to_owned(),
            ResourceChange::Vanished => "is not there any more".to_owned(),
            ResourceChange::Broken { reason } => reason,
            ResourceChange::Conflict { detail } => {
                let text = format!("{resource} is in conflict: {detail}");
                if part.reason.as_ref() != Some(&text) {
                    part.reason = Some(text.clone());
                    self.common.entries.push(Entry::Remark { service: service.to_owned(), text });
                }
                return;
            }
        };
        if matches!(part.doing, Doing::Running | Doing::Starting) {
            part.doing = Doing::Failed;
            part.act = None;
            part.reason = Some(reason);
            self.common.step(now, service, local);
        }
    }

    /// Deadlines.
    pub(crate) fn tick(&mut self, now: Instant) {
        for (name, local) in &mut self.services {
            for index in 0..local.parts.len() {
                let busy = local.job.is_some();
                let part = &mut local.parts[index];
                if now < part.deadline {
                    continue;
                }
                match part.doing {
                    Doing::Stopping => self.common.act(now, name, local, index, Verb::Kill),
                    Doing::Killing => {
                        // Its act stays open: a late confirmation is still worth knowing.
                        part.doing = Doing::Stuck;
                        part.deadline = now + KILL_TIMEOUT;
                        part.reason.get_or_insert_with(|| "did not end by force".to_owned());
                    }
                    // Only where nobody else will say it: see `step_stop`.
                    Doing::Stuck if busy => self.common.act(now, name, local, index, Verb::Kill),
                    Doing::Stuck
                    | Doing::Stopped
                    | Doing::Starting
                    | Doing::Running
                    | Doing::Failed => {}
                }
            }
            self.common.step(now, name, local);
        }
    }

    /// The earliest moment at which [`Self::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let all = self.services.values().flat_map(|local| {
            let job = match &local.job {
                // While it still clears the way only the stops have deadlines.
                Some(Job::Start { deadline, clean: true, .. }) => Some(*deadline),
                Some(Job::Start { .. } | Job::Stop { .. }) | None => None,
            };
            let parts = local.parts.iter().filter(|part| match part.doing {
                Doing::Stopping | Doing::Killing => true,
                Doing::Stuck => local.job.is_some(),
                Doing::Stopped | Doing::Starting | Doing::Running | Doing::Failed => false,
            });
            job.into_iter().chain(parts.map(|part| part.deadline))
        });
        all.min()
    }

    /// Services that have run for a whole window with failures to forgive, and when the next will.
    pub(crate) fn stability(&mut self, now: Instant, replica: &Replica) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for (name, local) in &mut self.services {
            let Some((decision, since)) = local.running else { continue };
            let failing = replica.observation.services.get(name).is_some_and(|s| s.has_failures());
            if !failing || local.stable == Some(decision) {
                continue;
            }
            let Some(spec) = replica.intent.service(name) else { continue };
            let due = since + spec.restart.window;
            if now >= due {
                local.stable = Some(decision);
                self.common.entries.push(Entry::Stable { service: name.clone(), decision });
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        next
    }

    /// Compares what is decided with what is done. `reported` says that the others know what ran
    /// here before; until then nothing found is touched.
    pub(crate) fn reconcile(&mut self, now: Instant, replica: &Replica, reported: bool) {
        self.common.announced = replica.observation.watchdog(self.local);
        if self.common.halting || !reported {
            return;
        }
        let Replica { observation, intent, .. } = replica;
        let version = Some((intent.version, intent.checksum));
        if self.intent != version {
            self.intent = version;
            for spec in &intent.services {
                if let Some(local) = self.services.get_mut(&spec.name) {
                    local.stop_timeout = Some(spec.stop_timeout);
                }
            }
        }
        // Both are in the order of names. This runs after every input, so it looks up as little as it can.
        let mut known = self.services.keys().peekable();
        let mut new = Vec::new();
        for (name, state) in &observation.services {
            while known.next_if(|other| *other < name).is_some() {}
            if known.peek() != Some(&name) && state.phase.holder() == Some(self.local) {
                new.push(name.clone());
            }
        }
        for name in new {
            let stop_timeout = intent.service(&name).map(|spec| spec.stop_timeout);
            self.services.insert(name, Local { stop_timeout, ..Local::default() });
        }
        let mut states = observation.services.iter().peekable();
        self.services.retain(|name, local| {
            while states.next_if(|(other, _)| *other < name).is_some() {}
            let state = states.next_if(|(other, _)| *other == name).map(|(_, state)| state);
            let held = state.filter(|state| state.phase.holder() == Some(self.local));
            match held {
                Some(state) => local.follow(now, name, &state.phase, replica),
                None => local.give_up(),
            }
            self.common.step(now, name, local);
            state.is_some() || local.job.is_some() || local.runs()
        });
    }

    /// The resources of a service on this node.
    pub(crate) fn resources(&self, service: &str) -> Vec<ResourceStatus> {
        let parts = self.services.get(service).map_or(&[][..], |local| &local.parts);
        let status = |part: &Part| ResourceStatus {
            name: part.resource.name.clone(),
            state: part.doing.name(),
            reason: part.reason.clone(),
        };
        parts.iter().map(status).collect()
    }

    fn step_all(&mut self, now: Instant) {
        for (name, local) in &mut self.services {
            self.common.step(now, name, local);
        }
    }
}
