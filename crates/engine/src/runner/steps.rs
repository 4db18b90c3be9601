//! One service on this node, taken as far as it goes without waiting: start, stop, kill, one act at a
//! time.

use core::time::Duration;

use base::{Instant, Member, Timing};

use crate::class::{Class, Watchdog};
use crate::input::{Act, ActionId, Verb};
use crate::intent::{Resource, ResourceKind, list};
use crate::observation::{DecisionId, Phase};
use crate::replica::Replica;
use crate::wire::{Ending, Entry};

/// How long a kill may take before the resource counts as not stoppable.
pub const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// For the stop of resources whose service is not in the configuration.
const STOP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// As many starts of a service in a row may come to nothing without its fault before that counts as failed.
const EXCUSES_MAX: u32 = 3;
/// Before what was put off is tried again.
const PUT_OFF: Duration = Duration::from_millis(100);
const LAPSED: &str = "the lease of this node ended meanwhile";

/// What the steps of all services need, and what they leave.
#[derive(Debug)]
pub(super) struct Common {
    next_action: u64,
    pub(super) lease: Instant,
    /// What writes is started only when the lease lasts for so long, where a watchdog is armed: the
    /// evidence is younger than what the watchdog may be fed on, with half of that to spare.
    young: Duration,
    pub(super) watchdog: Watchdog,
    /// The timeout of the watchdog that all members know of.
    pub(super) announced: Option<Duration>,
    /// A storage service waits for the watchdog to be armed.
    pub(super) arms: bool,
    /// Left out or leaving: everything stops, and nobody is told.
    pub(super) halting: bool,
    pub(super) acts: Vec<Act>,
    pub(super) entries: Vec<Entry>,
}

/// One service on this node.
#[derive(Debug, Default)]
pub(super) struct Local {
    pub(super) parts: Vec<Part>,
    pub(super) job: Option<Job>,
    /// The newest decision that was begun here, or that it runs by.
    pub(super) begun: Option<DecisionId>,
    /// The decision under which a failure was reported.
    pub(super) failed: Option<DecisionId>,
    /// Since when it runs by which decision.
    pub(super) running: Option<(DecisionId, Instant)>,
    /// The decision for which its stability was reported.
    pub(super) stable: Option<DecisionId>,
    pub(super) stop_timeout: Option<Duration>,
    /// What is started writes to storage.
    pub(super) writes: bool,
    /// The decision for which it was said that there is no watchdog.
    pub(super) warned: Option<DecisionId>,
    /// Why the start could not succeed here, if the service was not at fault.
    pub(super) unable: Option<String>,
    /// What was put off: it waits for the next lease, and a moment at least.
    pub(super) refused: Option<Refused>,
    /// The lease ended in the middle of the start: what the guard ended then is nobody's fault. Nor is what
    /// comes of it later, in parts that stand on those; so it is of the start, and not of a part.
    pub(super) lapsed: bool,
    /// Starts that the end of the lease brought to nothing, or that were put off too long, since one succeeded
    /// here or failed by itself.
    pub(super) excuses: u32,
}

/// A start that was put off.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) at: Instant,
    pub(super) lease: Instant,
    pub(super) reason: String,
}

/// One resource on this node.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) resource: Resource,
    pub(super) doing: Doing,
    /// The act whose answer is awaited.
    pub(super) act: Option<ActionId>,
    pub(super) deadline: Instant,
    pub(super) reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
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
pub(super) enum Job {
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
    pub(super) const fn name(self) -> &'static str {
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
    pub(super) fn new(resource: Resource, doing: Doing) -> Part {
        Part { resource, doing, act: None, deadline: Instant::FAR, reason: None }
    }
}

impl Common {
    pub(super) fn new(local: Member, timing: &Timing) -> Common {
        Common {
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

    /// The timeout of the armed watchdog.
    pub(super) fn armed(&self) -> Option<Duration> {
        match self.watchdog {
            Watchdog::Armed { timeout } => Some(timeout),
            Watchdog::Absent | Watchdog::Ready | Watchdog::Failed { .. } => None,
        }
    }

    /// Takes a service as far as it goes without waiting.
    pub(super) fn step(&mut self, now: Instant, name: &str, local: &mut Local) {
        loop {
            let again = match &local.job {
                None => {
                    self.step_idle(now, name, local);
                    false
                }
                Some(Job::Start { .. }) => self.step_start(now, name, local),
                Some(Job::Stop { .. }) => self.step_stop(now, name, local),
            };
            if !again {
                return;
            }
        }
    }

    /// Nothing is under way: a service that should be running must be.
    fn step_idle(&mut self, now: Instant, name: &str, local: &mut Local) {
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

    fn step_start(&mut self, now: Instant, name: &str, local: &mut Local) -> bool {
        let lease = self.lease;
        let is_announced = match self.watchdog {
            Watchdog::Absent | Watchdog::Failed { .. } => true,
            Watchdog::Ready => false,
            Watchdog::Armed { timeout } => self.announced == Some(timeout),
        };
        let young = self.armed().map_or(Duration::ZERO, |_| self.young);
        let may_start = !local.writes || is_announced;
        let is_fresh = !local.writes || now + young <= lease;
        // A node that is alone has a newer lease at any time, so that alone would be no pause.
        let was_refused = (local.refused.as_ref())
            .is_some_and(|refused| refused.lease == lease || now < refused.at + PUT_OFF);
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
                _ => self.act(now, name, local, index, Verb::Stop),
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
        if part.doing == Doing::Starting && now < deadline {
            return false;
        }
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
            Doing::Starting => {
                let reason = match &local.refused {
                    _ if local.lapsed || now >= lease => {
                        local.excuse(format!("{LAPSED}: {resource} took too long"))
                    }
                    Some(Refused { reason, .. }) => {
                        let reason = format!("{resource} was put off and took too long: {reason}");
                        local.excuse(reason)
                    }
                    None => local.blame(format!("{resource} took too long")),
                };
                local.begin_stop(Some(decision), Some(reason));
                self.act(now, name, local, index, Verb::Kill);
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
                    Some(refused) if was_refused => Some(refused.reason.as_str()),
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
                self.act(now, name, local, index, Verb::Start);
                false
            }
            _ => false,
        }
    }

    fn step_stop(&mut self, now: Instant, name: &str, local: &mut Local) -> bool {
        let halting = self.halting;
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
                self.act(now, name, local, index, Verb::Stop);
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
    pub(super) fn act(
        &mut self,
        now: Instant,
        name: &str,
        local: &mut Local,
        index: usize,
        verb: Verb,
    ) {
        self.next_action += 1;
        let id = ActionId(self.next_action);
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
    /// A start came to nothing by the end of the lease, or was put off too long. That is nobody's fault, unless
    /// it is so each time: a start may bring it about, by what it needs of the machine. Gives what is said of it.
    fn excuse(&mut self, reason: String) -> String {
        self.excuses += 1;
        match self.excuses {
            1..=EXCUSES_MAX => self.unable.get_or_insert(reason).clone(),
            times => format!("{times} starts came to nothing: {reason}"),
        }
    }

    /// A start failed, or could not succeed for a reason that the cluster knows. Gives what is said of it.
    fn blame(&mut self, reason: String) -> String {
        if self.unable.is_none() {
            self.excuses = 0;
        }
        reason
    }

    /// Begins what is decided of a service that this node holds, unless it has.
    pub(super) fn follow(&mut self, now: Instant, name: &str, phase: &Phase, replica: &Replica) {
        let Replica { observation, intent, .. } = replica;
        let running = match phase {
            Phase::Running { decision, .. } => Some(*decision),
            _ => None,
        };
        let since = self.running.filter(|(known, _)| Some(*known) == running);
        self.running = since.or(running.map(|decision| (decision, now)));
        match phase {
            Phase::Starting { decision, .. } if self.begun != Some(*decision) => {
                let spec = intent.service(name).expect("only configured services are started");
                self.writes = observation.class(intent, name) > Class::Contained;
                let deadline = now + spec.start_timeout;
                self.begin_start(*decision, spec.resources.clone(), deadline);
            }
            Phase::Stopping { decision, .. } if self.begun != Some(*decision) => {
                self.begun = Some(*decision);
                self.begin_stop(Some(*decision), None);
            }
            Phase::Running { decision, .. } => self.begun = Some(*decision),
            _ => {}
        }
    }

    /// Stops what runs here without being held.
    pub(super) fn give_up(&mut self) {
        self.running = None;
        match (self.runs(), &self.job) {
            (true, Some(Job::Stop { .. })) => {}
            (true, _) => self.begin_stop(None, None),
            (false, _) => self.job = None,
        }
    }

    pub(super) fn runs(&self) -> bool {
        self.parts.iter().any(|part| part.doing != Doing::Stopped)
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

    pub(super) fn begin_stop(&mut self, decision: Option<DecisionId>, failed: Option<String>) {
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
