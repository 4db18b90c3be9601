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

use crate::class::{Class, Watchdog};
use crate::inability;
use crate::input::{Act, ActionId, Found, Outcome, ResourceChange, Verb};
use crate::intent::{Intent, Resource, ResourceKind, list};
use crate::observation::{DecisionId, Phase};
use crate::replica::Replica;
use crate::status::ResourceStatus;
use crate::wire::{Claim, Ending, Entry};

/// How long a kill may take before the resource counts as not stoppable.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// For the stop of resources whose service is not in the configuration.
const STOP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// As many starts of a service in a row may come to nothing without its fault before that counts as failed.
const EXCUSES_MAX: u32 = 3;
const LAPSED: &str = "the lease of this node ended meanwhile";

/// Everything that this node does and knows about its own resources.
#[derive(Debug)]
pub(crate) struct Runner {
    local: Member,
    services: BTreeMap<String, Local>,
    next_action: u64,
    lease: Instant,
    /// What writes is started only when the lease lasts for so long, where a watchdog is armed: the
    /// evidence is younger than what the watchdog may be fed on, with half of that to spare.
    young: Duration,
    watchdog: Watchdog,
    /// The timeout of the watchdog that all members know of.
    announced: Option<Duration>,
    /// A storage service waits for the watchdog to be armed.
    arms: bool,
    /// Left out or leaving: everything stops, and nobody is told.
    halting: bool,
    acts: Vec<Act>,
    entries: Vec<Entry>,
}

/// One service on this node.
#[derive(Debug, Default)]
struct Local {
    parts: Vec<Part>,
    job: Option<Job>,
    /// The newest decision that was begun here, or that it runs by.
    begun: Option<DecisionId>,
    /// The decision under which a failure was reported.
    failed: Option<DecisionId>,
    /// Since when it runs by which decision.
    running: Option<(DecisionId, Instant)>,
    /// The decision for which its stability was reported.
    stable: Option<DecisionId>,
    stop_timeout: Option<Duration>,
    /// What is started writes to storage.
    writes: bool,
    /// The decision for which it was said that there is no watchdog.
    warned: Option<DecisionId>,
    /// Why the start could not succeed here, if the service was not at fault.
    unable: Option<String>,
    /// What was not begun with this lease, and why: it waits for the next one.
    refused: Option<(Instant, String)>,
    /// The lease ended in the middle of the start: what the guard ended then is nobody's fault.
    lapsed: bool,
    /// Starts in a row that came to nothing here through no fault of the service.
    excuses: u32,
}

/// One resource on this node.
#[derive(Debug)]
struct Part {
    resource: Resource,
    doing: Doing,
    /// The act whose answer is awaited.
    act: Option<ActionId>,
    deadline: Instant,
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Stopped,
    Starting,
    Running,
    /// It does not work, but something of it may be left.
    Failed,
    Stopping,
    Killing,
    /// It could not be stopped.
    Stuck,
}

#[derive(Debug)]
enum Job {
    Start {
        decision: DecisionId,
        deadline: Instant,
        /// Resources from here on are stopped first.
        floor: usize,
        /// What shall run, once the former is stopped.
        wanted: Vec<Resource>,
        clean: bool,
    },
    Stop {
        /// None when it runs here without being held.
        decision: Option<DecisionId>,
        /// Why the start failed that this cleans up after.
        failed: Option<String>,
    },
}

impl Doing {
    const fn name(self) -> &'static str {
        match self {
            Doing::Stopped => "stopped",
            Doing::Starting => "starting",
            Doing::Running => "running",
            Doing::Failed => "failed",
            Doing::Stopping => "stopping",
            Doing::Killing => "killing",
            Doing::Stuck => "stuck",
        }
    }
}

impl Part {
    fn new(resource: Resource, doing: Doing) -> Part {
        Part { resource, doing, act: None, deadline: Instant::FAR, reason: None }
    }
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
        Runner {
            local,
            services,
            // No two lives of a node use the same number: each life has a range of its own.
            next_action: local.incarnation.0.wrapping_shl(20),
            lease: Instant::ZERO,
            young: timing.lease.saturating_sub(timing.feeding_evidence() / 2),
            watchdog: Watchdog::default(),
            announced: None,
            arms: false,
            halting: false,
            acts: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// What to do now, in this order.
    pub(crate) fn take_acts(&mut self) -> Vec<Act> {
        core::mem::take(&mut self.acts)
    }

    /// What to tell the others, in this order; nothing any more once this node is left out.
    pub(crate) fn take_entries(&mut self) -> Vec<Entry> {
        let entries = core::mem::take(&mut self.entries);
        if self.halting { Vec::new() } else { entries }
    }

    /// Everything of which any part may run here.
    pub(crate) fn claims(&self) -> Vec<Claim> {
        let claims = self.services.iter().filter_map(|(name, local)| {
            // A failed process may have left others behind: it counts until a stop is confirmed.
            if local.parts.iter().all(|part| part.doing == Doing::Stopped) {
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
        self.services.values().all(|local| {
            local.job.is_none() && local.parts.iter().all(|part| part.doing == Doing::Stopped)
        })
    }

    pub(crate) fn set_lease(&mut self, now: Instant, until: Instant) {
        if now >= self.lease && until > now {
            let begun = |part: &Part| matches!(part.doing, Doing::Starting | Doing::Running);
            for local in self.services.values_mut() {
                let is_start = matches!(local.job, Some(Job::Start { .. }));
                local.lapsed |= is_start && local.parts.iter().any(begun);
            }
        }
        self.lease = until;
        self.step_all(now);
    }

    /// What the watchdog does; what waited for that goes on.
    pub(crate) fn set_watchdog(&mut self, now: Instant, watchdog: Watchdog) {
        self.watchdog = watchdog;
        self.step_all(now);
    }

    /// The timeout of the armed watchdog.
    pub(crate) fn armed(&self) -> Option<Duration> {
        match self.watchdog {
            Watchdog::Armed { timeout } => Some(timeout),
            Watchdog::Absent | Watchdog::Ready | Watchdog::Failed { .. } => None,
        }
    }

    /// Whether the watchdog must be armed before something can start; said once.
    pub(crate) fn take_arm(&mut self) -> bool {
        core::mem::take(&mut self.arms)
    }

    /// Stops everything, whoever holds it.
    pub(crate) fn halt(&mut self, now: Instant) {
        self.halting = true;
        for local in self.services.values_mut() {
            if local.parts.iter().any(|part| part.doing != Doing::Stopped) {
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
            Some((name.clone(), local, index))
        });
        let Some((name, local, index)) = found else { return };
        let part = &mut local.parts[index];
        let reason = match outcome {
            Outcome::Done => None,
            Outcome::Failed { reason } => Some(reason),
            Outcome::NotNow { reason } if part.doing == Doing::Starting => {
                part.act = None;
                part.doing = Doing::Stopped;
                local.refused = Some((self.lease, reason));
                return self.step(now, &name);
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
                local.unable = unable.reason(&name).map(str::to_owned);
            }
            (Doing::Stopping, Some(reason)) => {
                part.reason = Some(reason);
                self.act(now, &name, index, Verb::Kill);
            }
            (Doing::Killing, Some(reason)) => {
                part.doing = Doing::Stuck;
                part.deadline = now + KILL_TIMEOUT;
                part.reason = Some(reason);
            }
            (Doing::Stuck | Doing::Stopped | Doing::Running | Doing::Failed, _) => {}
        }
        self.step(now, &name);
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
                    self.entries.push(Entry::Remark { service: service.to_owned(), text });
                }
                return;
            }
        };
        if matches!(part.doing, Doing::Running | Doing::Starting) {
            part.doing = Doing::Failed;
            part.act = None;
            part.reason = Some(reason);
            self.step(now, service);
        }
    }

    /// Deadlines.
    pub(crate) fn tick(&mut self, now: Instant) {
        let names: Vec<String> = self.services.keys().cloned().collect();
        for name in names {
            for index in 0..self.services[&name].parts.len() {
                let local = self.services.get_mut(&name).expect("just listed");
                let busy = local.job.is_some();
                let part = &mut local.parts[index];
                if now < part.deadline {
                    continue;
                }
                match part.doing {
                    Doing::Stopping => self.act(now, &name, index, Verb::Kill),
                    Doing::Killing => {
                        // Its act stays open: a late confirmation is still worth knowing.
                        part.doing = Doing::Stuck;
                        part.deadline = now + KILL_TIMEOUT;
                        part.reason.get_or_insert_with(|| "did not end by force".to_owned());
                    }
                    // Only where nobody else will say it: see `step_stop`.
                    Doing::Stuck if busy => self.act(now, &name, index, Verb::Kill),
                    Doing::Stuck
                    | Doing::Stopped
                    | Doing::Starting
                    | Doing::Running
                    | Doing::Failed => {}
                }
            }
            self.step(now, &name);
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
            let Some(spec) = replica.intent.service(name).filter(|_| failing) else { continue };
            if local.stable == Some(decision) {
                continue;
            }
            let due = since + spec.restart.window;
            if now >= due {
                local.stable = Some(decision);
                self.entries.push(Entry::Stable { service: name.clone(), decision });
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        next
    }

    /// Compares what is decided with what is done. `reported` says that the others know what ran
    /// here before; until then nothing found is touched.
    pub(crate) fn reconcile(&mut self, now: Instant, replica: &Replica, reported: bool) {
        self.announced = replica.observation.watchdog(self.local);
        if self.halting || !reported {
            return;
        }
        for (name, state) in &replica.observation.services {
            let held = state.phase.holder() == Some(self.local);
            if !held {
                continue;
            }
            let local = self.services.entry(name.clone()).or_default();
            let spec = replica.intent.service(name);
            if let Some(spec) = spec {
                local.stop_timeout = Some(spec.stop_timeout);
            }
            let begun = local.begun;
            match &state.phase {
                Phase::Starting { decision, .. } if begun != Some(*decision) => {
                    let spec = spec.expect("only configured services are started");
                    let deadline = now + spec.start_timeout;
                    local.writes =
                        replica.observation.class(&replica.intent, name) > Class::Contained;
                    local.begin_start(*decision, spec.resources.clone(), deadline);
                }
                Phase::Stopping { decision, .. } if begun != Some(*decision) => {
                    local.begun = Some(*decision);
                    local.begin_stop(Some(*decision), None);
                }
                Phase::Running { decision, .. } => {
                    local.begun = Some(*decision);
                    if local.running.is_none_or(|(known, _)| known != *decision) {
                        local.running = Some((*decision, now));
                    }
                }
                _ => {}
            }
        }
        for (name, local) in &mut self.services {
            let phase = replica.observation.services.get(name).map(|state| &state.phase);
            if !matches!(phase, Some(Phase::Running { holder, .. }) if *holder == self.local) {
                local.running = None;
            }
            let held = phase.is_some_and(|phase| phase.holder() == Some(self.local));
            let stopping = matches!(local.job, Some(Job::Stop { .. }));
            let runs = local.parts.iter().any(|part| part.doing != Doing::Stopped);
            if !held && runs && !stopping {
                local.begin_stop(None, None);
            } else if !held && !runs {
                local.job = None;
            }
        }
        self.step_all(now);
        self.services.retain(|name, local| {
            replica.observation.services.contains_key(name)
                || local.job.is_some()
                || local.parts.iter().any(|part| part.doing != Doing::Stopped)
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
        let names: Vec<String> = self.services.keys().cloned().collect();
        for name in names {
            self.step(now, &name);
        }
    }

    /// Takes a service as far as it goes without waiting.
    fn step(&mut self, now: Instant, name: &str) {
        loop {
            let local = self.services.get_mut(name).expect("services are stepped by name");
            let again = match &local.job {
                None => {
                    self.step_idle(now, name);
                    false
                }
                Some(Job::Start { .. }) => self.step_start(now, name),
                Some(Job::Stop { .. }) => self.step_stop(now, name),
            };
            if !again {
                return;
            }
        }
    }

    /// Nothing is under way: a service that should be running must be.
    fn step_idle(&mut self, now: Instant, name: &str) {
        let local = self.services.get_mut(name).expect("services are stepped by name");
        let Some((decision, _)) = local.running else { return };
        let broken = local.parts.iter().find(|part| part.doing != Doing::Running);
        if let Some(part) = broken
            && local.failed != Some(decision)
        {
            local.failed = Some(decision);
            self.entries.push(Entry::Failed {
                service: name.to_owned(),
                decision,
                resource: part.resource.name.clone(),
                reason: part.reason.clone().unwrap_or_else(|| "is not running".to_owned()),
                stamp: now.as_nanos(),
            });
        }
    }

    fn step_start(&mut self, now: Instant, name: &str) -> bool {
        let lease = self.lease;
        let is_announced = match self.watchdog {
            Watchdog::Absent | Watchdog::Failed { .. } => true,
            Watchdog::Ready => false,
            Watchdog::Armed { timeout } => self.announced == Some(timeout),
        };
        let young = self.armed().map_or(Duration::ZERO, |_| self.young);
        let local = self.services.get_mut(name).expect("services are stepped by name");
        let may_start = !local.writes || is_announced;
        let is_fresh = !local.writes || now + young <= lease;
        let was_refused = local.refused.as_ref().is_some_and(|(former, _)| *former == lease);
        let Some(Job::Start { decision, deadline, floor, wanted, clean }) = &mut local.job else {
            unreachable!("the caller has seen a start")
        };
        let (decision, deadline) = (*decision, *deadline);
        if !*clean {
            let rest = local.parts.iter().enumerate().skip(*floor);
            let left = rest.rev().find(|(_, part)| part.doing != Doing::Stopped);
            let Some((index, part)) = left else {
                *clean = true;
                let specs = || local.parts.iter().map(|part| &part.resource);
                if !specs().eq(wanted.iter()) {
                    let mut former = core::mem::take(&mut local.parts);
                    local.parts = wanted.drain(..).map(|new| take_part(&mut former, new)).collect();
                }
                return true;
            };
            match part.doing {
                Doing::Stopping | Doing::Killing => {}
                Doing::Stuck => {
                    let reason = format!("{} could not be stopped first", part.resource.name);
                    local.begin_stop(Some(decision), Some(reason));
                    return true;
                }
                _ => self.act(now, name, index, Verb::Stop),
            }
            return false;
        }
        let next = local.parts.iter().position(|part| part.doing != Doing::Running);
        let Some(index) = next else {
            local.job = None;
            local.excuses = 0;
            let result = Ending::Started;
            let (service, decision) = (name.to_owned(), Some(decision));
            self.entries.push(Entry::Outcome { service, decision, result });
            return false;
        };
        let part = &mut local.parts[index];
        let resource = part.resource.name.clone();
        match part.doing {
            Doing::Failed => {
                let reason = part.reason.clone().unwrap_or_else(|| "failed".to_owned());
                let reason = match local.lapsed || now >= lease {
                    true => local.excuse(format!("{LAPSED}: {resource} {reason}")),
                    false => local.blame(format!("{resource} {reason}")),
                };
                local.begin_stop(Some(decision), Some(reason));
                true
            }
            Doing::Starting if now >= deadline => {
                let reason = match &local.refused {
                    _ if local.lapsed || now >= lease => {
                        local.excuse(format!("{LAPSED}: {resource} took too long"))
                    }
                    Some((_, reason)) => {
                        let reason = format!("{resource} was put off and took too long: {reason}");
                        local.excuse(reason)
                    }
                    None => local.blame(format!("{resource} took too long")),
                };
                local.begin_stop(Some(decision), Some(reason));
                self.act(now, name, index, Verb::Kill);
                false
            }
            Doing::Stopped if now >= deadline => {
                // Nothing was tried, so the service is not at fault.
                let in_vain = match &local.refused {
                    _ if now >= lease => Some("there was no lease"),
                    _ if !may_start => Some("the watchdog was not armed"),
                    _ if !is_fresh => {
                        Some("there was no fresh evidence that the others know this node")
                    }
                    Some((_, reason)) if was_refused => Some(reason.as_str()),
                    _ => None,
                };
                local.unable = in_vain.map(|what| format!("{resource} waited in vain: {what}"));
                let reason = match &local.unable {
                    Some(reason) => reason.clone(),
                    None => local.blame(format!("{resource} took too long")),
                };
                local.begin_stop(Some(decision), Some(reason));
                true
            }
            // Nor is anything that writes, before all know how long to wait for this machine.
            Doing::Stopped if now < lease && !may_start => {
                self.arms = self.watchdog == Watchdog::Ready;
                false
            }
            // ... nor without evidence that is fresh when it begins.
            Doing::Stopped if now < lease && (!is_fresh || was_refused) => false,
            // Without a lease nothing is started; one that comes in time will do.
            Doing::Stopped if now < lease => {
                if let (true, Watchdog::Failed { reason }) = (local.writes, &self.watchdog)
                    && local.warned != Some(decision)
                {
                    local.warned = Some(decision);
                    let text = format!(
                        "the watchdog could not be armed ({reason}): if this node is lost, only \
                         another proof frees it"
                    );
                    self.entries.push(Entry::Remark { service: name.to_owned(), text });
                }
                self.act(now, name, index, Verb::Start);
                false
            }
            _ => false,
        }
    }

    fn step_stop(&mut self, now: Instant, name: &str) -> bool {
        let halting = self.halting;
        let local = self.services.get_mut(name).expect("services are stepped by name");
        let Some(Job::Stop { decision, failed }) = &local.job else {
            unreachable!("the caller has seen a stop")
        };
        let mut parts = local.parts.iter().enumerate().rev();
        let left = parts.find(|(index, part)| {
            let is_over = matches!(part.doing, Doing::Stopped | Doing::Stuck);
            !is_over && !keeps_disks(&local.parts, *index)
        });
        if let Some((index, part)) = left {
            if !matches!(part.doing, Doing::Stopping | Doing::Killing) {
                self.act(now, name, index, Verb::Stop);
            }
            return false;
        }
        let stuck = local.parts.iter().filter(|part| part.doing == Doing::Stuck);
        let stuck: Vec<String> = stuck
            .map(|part| {
                let reason = part.reason.as_deref().unwrap_or("did not end");
                format!("{} {reason}", part.resource.name)
            })
            .collect();
        // What nobody holds is nobody else's to clear, so it is killed again until it is gone.
        if !stuck.is_empty() && (halting || decision.is_none()) {
            return false;
        }
        let result = if !stuck.is_empty() {
            Ending::StopFailed { reason: list(stuck) }
        } else if let Some(reason) = local.unable.take().filter(|_| failed.is_some()) {
            Ending::Unable { reason }
        } else if let Some(reason) = failed {
            Ending::StartFailed { reason: reason.clone() }
        } else {
            Ending::Stopped
        };
        let (service, decision) = (name.to_owned(), *decision);
        local.job = None;
        self.entries.push(Entry::Outcome { service, decision, result });
        false
    }

    /// Begins an act on one resource.
    fn act(&mut self, now: Instant, name: &str, index: usize, verb: Verb) {
        self.next_action += 1;
        let id = ActionId(self.next_action);
        let local = self.services.get_mut(name).expect("services are stepped by name");
        let job_deadline = match &local.job {
            Some(Job::Start { deadline, .. }) => *deadline,
            Some(Job::Stop { .. }) | None => now + KILL_TIMEOUT,
        };
        let (doing, deadline) = match verb {
            Verb::Start => (Doing::Starting, job_deadline),
            Verb::Stop => {
                (Doing::Stopping, now + local.stop_timeout.unwrap_or(STOP_TIMEOUT_DEFAULT))
            }
            Verb::Kill => (Doing::Killing, now + KILL_TIMEOUT),
        };
        let part = &mut local.parts[index];
        part.doing = doing;
        part.act = Some(id);
        part.deadline = deadline;
        if verb != Verb::Kill {
            part.reason = None; // of whatever went before
        }
        let (service, resource) = (name.to_owned(), part.resource.clone());
        self.acts.push(Act { id, service, resource, verb, deadline });
    }
}

impl Local {
    /// A start came to nothing by the end of the lease, which is nobody's fault, unless it is so each time: a
    /// start may bring that about, by what it needs of the machine. Gives what is said of it.
    fn excuse(&mut self, reason: String) -> String {
        self.excuses += 1;
        match self.excuses {
            1..=EXCUSES_MAX => self.unable.get_or_insert(reason).clone(),
            times => self.blame(format!("{times} starts in a row: {reason}")),
        }
    }

    /// A start failed. Gives what is said of it.
    fn blame(&mut self, reason: String) -> String {
        self.excuses = 0;
        reason
    }

    fn begin_start(&mut self, decision: DecisionId, wanted: Vec<Resource>, deadline: Instant) {
        self.begun = Some(decision);
        self.running = None;
        self.unable = None;
        self.refused = None;
        self.lapsed = false;
        // What runs as it is wanted stays; from the first failed one on, or when what runs is not
        // what is wanted, everything is stopped first.
        let runs = self.parts.iter().filter(|part| part.doing != Doing::Stopped);
        let same = runs.clone().all(|part| wanted.contains(&part.resource));
        let in_order = {
            let place = |part: &Part| wanted.iter().position(|new| *new == part.resource);
            runs.map(place).is_sorted()
        };
        let failed = self
            .parts
            .iter()
            .position(|part| !matches!(part.doing, Doing::Running | Doing::Stopped));
        let floor = if same && in_order { failed.unwrap_or(self.parts.len()) } else { 0 };
        self.job = Some(Job::Start { decision, deadline, floor, wanted, clean: false });
    }

    fn begin_stop(&mut self, decision: Option<DecisionId>, failed: Option<String>) {
        self.running = None;
        for part in &mut self.parts {
            if part.doing == Doing::Stuck {
                part.doing = Doing::Failed; // tried again, from asking on
            }
        }
        self.job = Some(Job::Stop { decision, failed });
    }
}

/// The wanted resource as it runs already, or stopped.
fn take_part(former: &mut Vec<Part>, wanted: Resource) -> Part {
    match former.iter().position(|part| part.resource == wanted) {
        Some(index) => former.swap_remove(index),
        None => Part::new(wanted, Doing::Stopped),
    }
}

/// Whether a reservation stays because something that started after it is left: that may still write, and
/// a disk that is given up would be taken by a node which does not know that.
fn keeps_disks(parts: &[Part], index: usize) -> bool {
    matches!(parts[index].resource.kind, ResourceKind::Reservation { .. })
        && parts[index + 1..].iter().any(|later| later.doing == Doing::Stuck)
}
