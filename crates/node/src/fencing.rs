//! Fencing: turning off the machine of a lost node, by a ladder of agents that each may fail.
//!
//! ```text
//!   lost ──► off (all agents of the level) ──► status (all say off) ──► proven ──► on, if so wished
//!    ▲         │ one fails, or the budget         │ still on at the end
//!    │         ▼ is over                          ▼ of the budget
//!    │       the next level ◄─────────────────────┘
//!    └─ pause ── after the last
//! ```
//!
//! An agent is a program that speaks to a management board, a power switch or a hypervisor. What it
//! says about its own success is not believed: boards answer "accepted" and do nothing, and a machine
//! with two power supplies lives on one of them. So a level is done only when, after all of its
//! agents have turned off what they can, **all of them report off** (several of them twice). Then, and not before, the
//! absence is proven (protocol: rule of proofs; a proof names exactly the absence that it ends).
//!
//! A status that says "on" or nothing at all is asked again until the budget of the level is over:
//! boards are busy just after a change of power. A level that fails is left at once for the next;
//! after the last one all are tried again, with growing pauses, as long as the absence lasts.
//!
//! Who may fence is not decided here (`Group::to_fence`: the hub of the view that the node is absent
//! from, while its lease lasts). When that ends, so does every run, at once. When only the absence is
//! over, because its time was, the level that runs is finished: a machine that was half turned off
//! and not on again would be worse.
//!
//! **Assumes** that `want` is called in each turn, and that a run that is stopped answers no more or
//! is ignored: answers are matched by number.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::{Incarnation, Instant, NodeId, NodeSet};
use group::Absence;

/// Machines that are turned off at the same time; more wait.
const ACTIVE_MAX: usize = 16;
/// Between two looks at the power of a machine that is still on.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How often in a row several agents must all report off. They look one after the other, so once
/// would not show that their supplies were ever off at the same time, if somebody turns one on.
const SIGHTS: usize = 2;
/// The pause after the last level has failed; doubles each time.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// How often a machine that was turned off is tried to be turned on again.
const ON_ATTEMPTS_MAX: u32 = 3;

/// How the machine of a node is turned off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceSpec {
    /// Whose machine.
    pub node: NodeId,
    /// What is wanted of it.
    pub policy: FencePolicy,
    /// The levels in the order in which they are tried; at least one.
    pub levels: Vec<FenceLevel>,
}

/// What is done with a machine that was seen off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FencePolicy {
    /// Nothing: a person looks at it.
    Off,
    /// It is turned on again.
    #[default]
    Reboot,
}

/// Agents that must all succeed within one budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceLevel {
    /// Its number, for people.
    pub number: u8,
    /// How long the whole level may take, until the machine was seen off.
    pub timeout: Duration,
    /// The names of its agents, for people; at least one.
    pub agents: Vec<String>,
}

/// What an agent is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FenceVerb {
    /// Turn off.
    Off,
    /// Say whether it is on or off.
    Status,
    /// Turn on.
    On,
}

impl FenceVerb {
    /// As agents are told.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FenceVerb::Off => "off",
            FenceVerb::Status => "status",
            FenceVerb::On => "on",
        }
    }
}

/// An agent to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceRun {
    /// Names the run.
    pub run: u64,
    /// Whose machine.
    pub node: NodeId,
    /// At which level, by its number.
    pub level: u8,
    /// Which of the level's agents, from 0.
    pub agent: usize,
    /// What for.
    pub verb: FenceVerb,
    /// What is left of the budget.
    pub within: Duration,
}

/// What an agent says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FenceAnswer {
    /// It has done what it was told: to [`FenceVerb::Off`] and [`FenceVerb::On`] only.
    Done,
    /// The power is on: to [`FenceVerb::Status`] only.
    PowerOn,
    /// The power is off: likewise.
    PowerOff,
    /// It failed; why.
    Failed(String),
}

/// What came of one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceRecord {
    /// Whose machine.
    pub node: NodeId,
    /// A person wanted it.
    pub by_hand: bool,
    /// The level's number.
    pub level: u8,
    /// Its agents.
    pub agents: Vec<String>,
    /// [`FenceVerb::Off`], which includes that it was seen off, or [`FenceVerb::On`].
    pub verb: FenceVerb,
    /// From the beginning of the level.
    pub took: Duration,
    /// Why it failed.
    pub result: Result<(), String>,
}

/// A machine that is being turned off or on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceState {
    /// Whose.
    pub node: NodeId,
    /// A person wanted it.
    pub by_hand: bool,
    /// The level's number.
    pub level: u8,
    /// What its agents are doing.
    pub verb: FenceVerb,
    /// For how long this level has been tried.
    pub since: Duration,
    /// All levels have failed so often.
    pub rounds: u32,
    /// Until the next try, when all have failed.
    pub pause: Option<Duration>,
}

/// What a person wants of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hand {
    Off,
    On,
    Reset,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    Run(FenceRun),
    Stop(u64),
    /// The machine was seen off after this absence had begun.
    Proven(Absence),
    /// A level begins.
    Begins {
        node: NodeId,
        level: u8,
        agents: Vec<String>,
        verb: FenceVerb,
    },
    Record(FenceRecord),
}

/// Whether one agent of the level is through.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Slot {
    Running(u64),
    Done,
    /// The status was not "off"; what it was.
    NotYet(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    Lost,
    Hand(Hand),
}

/// The work on one machine.
#[derive(Debug)]
struct Job {
    aim: Aim,
    /// What is proven when the machine is off: an absence that began before the job.
    absence: Option<Absence>,
    /// The life that was in the view when a person began it, which ends when the machine is off.
    life: Option<Incarnation>,
    /// Nobody waits for it any more: this level is the last one.
    is_over: bool,
    level: usize,
    verb: FenceVerb,
    began: Instant,
    until: Instant,
    slots: Vec<Slot>,
    /// How often in a row all agents have reported off.
    sights: usize,
    /// Nothing runs until then.
    pause: Option<Instant>,
    /// Rounds through all levels that have failed, or attempts to turn it on.
    rounds: u32,
}

/// All fencing of one node.
#[derive(Debug)]
pub(crate) struct Fencing {
    specs: BTreeMap<NodeId, FenceSpec>,
    jobs: BTreeMap<NodeId, Job>,
    /// Absences that are proven and not ended yet.
    proven: BTreeSet<Absence>,
    /// Lives that were in the view when a person turned their machines off, which then were seen off. When
    /// one is lost, that is proven already, and its machine stays off.
    off: BTreeMap<NodeId, Incarnation>,
    last_run: u64,
    outputs: VecDeque<Out>,
}

impl Fencing {
    pub(crate) fn new(specs: &[FenceSpec]) -> Fencing {
        let mut fencing = Fencing {
            specs: BTreeMap::new(),
            jobs: BTreeMap::new(),
            proven: BTreeSet::new(),
            off: BTreeMap::new(),
            last_run: 0,
            outputs: VecDeque::new(),
        };
        fencing.configure(specs);
        fencing
    }

    /// Another configuration: what runs under a changed one ends.
    pub(crate) fn configure(&mut self, specs: &[FenceSpec]) {
        for spec in specs {
            assert!(!spec.levels.is_empty(), "a node's fencing has a level");
            assert!(spec.levels.iter().all(|level| !level.agents.is_empty()), "and that an agent");
        }
        let specs: BTreeMap<NodeId, FenceSpec> =
            specs.iter().map(|spec| (spec.node, spec.clone())).collect();
        let nodes: Vec<NodeId> = self.jobs.keys().copied().collect();
        for node in nodes {
            if specs.get(&node) != self.specs.get(&node) {
                self.drop_job(node);
            }
        }
        self.specs = specs;
    }

    /// Whether the node's machine can be turned off.
    pub(crate) fn covers(&self, node: NodeId) -> bool {
        self.specs.contains_key(&node)
    }

    /// Whether the machine of a lost node is turned on again.
    pub(crate) fn reboots(&self, node: NodeId) -> bool {
        self.specs.get(&node).is_some_and(|spec| spec.policy == FencePolicy::Reboot)
    }

    /// Whether there is anything to do, now or ever.
    pub(crate) fn is_idle(&self) -> bool {
        self.specs.is_empty() && self.jobs.is_empty()
    }

    /// Ends everything at once.
    pub(crate) fn end(&mut self) {
        let nodes: Vec<NodeId> = self.jobs.keys().copied().collect();
        nodes.into_iter().for_each(|node| self.drop_job(node));
        self.proven.clear();
        self.off.clear();
    }

    pub(crate) fn poll_output(&mut self) -> Option<Out> {
        self.outputs.pop_front()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.jobs.values().map(Job::wakes_at).min()
    }

    pub(crate) fn states(&self, now: Instant) -> Vec<FenceState> {
        let states = self.jobs.iter().map(|(node, job)| FenceState {
            node: *node,
            by_hand: job.aim != Aim::Lost,
            level: self.specs[node].levels[job.level].number,
            verb: job.verb,
            since: now.since(job.began),
            rounds: job.rounds,
            pause: job
                .pause
                .filter(|_| job.verb != FenceVerb::Status)
                .map(|until| until.since(now)),
        });
        states.collect()
    }

    /// Which absences are to be ended by force, and who is in the view; none: this node must not
    /// fence. Also does what is due.
    pub(crate) fn want(&mut self, now: Instant, wanted: Option<(&[Absence], NodeSet)>) {
        let nodes: Vec<NodeId> = self.jobs.keys().copied().collect();
        for node in nodes {
            let job = self.jobs.get_mut(&node).expect("it was just listed");
            if job.aim != Aim::Lost {
                continue;
            }
            let absence = job.absence.expect("a lost node is absent");
            let is_turning_on = job.verb == FenceVerb::On;
            let drop = match wanted {
                None => !is_turning_on,
                Some((_, members)) if members.contains(node) => true,
                Some((absences, _)) if absences.contains(&absence) => false,
                Some((absences, _)) => {
                    job.is_over = true;
                    let waits = job.pause.is_some() && job.verb == FenceVerb::Off;
                    waits || absences.iter().any(|newer| newer.node == node)
                }
            };
            if drop {
                self.drop_job(node);
            }
        }
        if let Some((absences, _)) = wanted {
            self.proven.retain(|absence| absences.contains(absence));
            for absence in absences {
                let is_off = self.off.get(&absence.node) == Some(&absence.incarnation);
                if is_off && self.proven.insert(*absence) {
                    self.outputs.push_back(Out::Proven(*absence));
                }
                let active = self.jobs.values().filter(|job| job.pause.is_none()).count();
                if active < ACTIVE_MAX
                    && self.covers(absence.node)
                    && !self.jobs.contains_key(&absence.node)
                    && !self.proven.contains(absence)
                {
                    self.begin(
                        now,
                        absence.node,
                        Aim::Lost,
                        (Some(*absence), None),
                        FenceVerb::Off,
                    );
                }
            }
        }
        self.tick(now);
    }

    /// A person wants something of a machine. `absence`: the one that lasts; `life`: the one that is in
    /// the view.
    pub(crate) fn by_hand(
        &mut self,
        now: Instant,
        node: NodeId,
        hand: Hand,
        (absence, life): (Option<Absence>, Option<Incarnation>),
    ) -> Result<(), String> {
        if !self.covers(node) {
            return Err(format!("no fence agent is configured for {node}"));
        }
        if let Some(job) = self.jobs.get(&node) {
            let verb = if job.verb == FenceVerb::On { "on" } else { "off" };
            return Err(format!("the machine of {node} is being turned {verb} already"));
        }
        let verb = if hand == Hand::On { FenceVerb::On } else { FenceVerb::Off };
        self.begin(now, node, Aim::Hand(hand), (absence, life), verb);
        Ok(())
    }

    /// An agent has answered. Late answers are nobody's.
    pub(crate) fn answered(&mut self, now: Instant, run: u64, answer: FenceAnswer) {
        let mut jobs = self.jobs.iter_mut();
        let found = jobs.find_map(|(node, job)| {
            let place = job.slots.iter().position(|slot| *slot == Slot::Running(run))?;
            Some((*node, place, job))
        });
        let Some((node, place, job)) = found else { return };
        let agent = &self.specs[&node].levels[job.level].agents[place];
        job.slots[place] = match (job.verb, answer) {
            (FenceVerb::Off | FenceVerb::On, FenceAnswer::Done)
            | (FenceVerb::Status, FenceAnswer::PowerOff) => Slot::Done,
            (FenceVerb::Status, FenceAnswer::PowerOn) => {
                Slot::NotYet(format!("{agent}: it is still on"))
            }
            (FenceVerb::Status, FenceAnswer::Failed(reason)) => {
                Slot::NotYet(format!("{agent}: {reason}"))
            }
            (FenceVerb::Off | FenceVerb::On, FenceAnswer::Failed(reason)) => {
                let reason = format!("{agent}: {reason}");
                // Its run is over, the others' are stopped.
                job.slots[place] = Slot::Done;
                return self.level_failed(now, node, reason);
            }
            (verb, answer) => unreachable!("{answer:?} is no answer to {verb:?}"),
        };
        if job.slots.iter().any(|slot| matches!(slot, Slot::Running(_))) {
            return;
        }
        let is_done = job.slots.iter().all(|slot| *slot == Slot::Done);
        match job.verb {
            FenceVerb::Off => self.run(now, node, FenceVerb::Status),
            FenceVerb::Status if is_done => {
                job.sights += 1;
                match job.sights >= job.slots.len().min(SIGHTS) {
                    true => self.seen_off(now, node),
                    false => self.run(now, node, FenceVerb::Status),
                }
            }
            FenceVerb::Status => {
                job.sights = 0;
                job.pause = Some(now + STATUS_INTERVAL);
            }
            FenceVerb::On => {
                self.record(now, node, Ok(()));
                self.drop_job(node);
            }
        }
    }

    fn begin(
        &mut self,
        now: Instant,
        node: NodeId,
        aim: Aim,
        (absence, life): (Option<Absence>, Option<Incarnation>),
        verb: FenceVerb,
    ) {
        let job = Job {
            aim,
            absence,
            life,
            is_over: false,
            level: 0,
            verb,
            began: now,
            until: now,
            slots: Vec::new(),
            sights: 0,
            pause: None,
            rounds: 0,
        };
        self.jobs.insert(node, job);
        self.begin_level(now, node, 0, verb);
    }

    fn begin_level(&mut self, now: Instant, node: NodeId, level: usize, verb: FenceVerb) {
        let spec = &self.specs[&node].levels[level];
        let job = self.jobs.get_mut(&node).expect("it is being worked on");
        job.level = level;
        job.sights = 0;
        job.began = now;
        job.until = now + spec.timeout;
        let (number, agents) = (spec.number, spec.agents.clone());
        self.outputs.push_back(Out::Begins { node, level: number, agents, verb });
        self.run(now, node, verb);
    }

    /// Runs all agents of the present level.
    fn run(&mut self, now: Instant, node: NodeId, verb: FenceVerb) {
        let job = self.jobs.get_mut(&node).expect("it is being worked on");
        let level = &self.specs[&node].levels[job.level];
        job.verb = verb;
        job.pause = None;
        job.slots.clear();
        for agent in 0..level.agents.len() {
            self.last_run += 1;
            job.slots.push(Slot::Running(self.last_run));
            self.outputs.push_back(Out::Run(FenceRun {
                run: self.last_run,
                node,
                level: level.number,
                agent,
                verb,
                within: job.until.since(now),
            }));
        }
    }

    fn seen_off(&mut self, now: Instant, node: NodeId) {
        let reboots = self.specs[&node].policy == FencePolicy::Reboot;
        let job = self.jobs.get_mut(&node).expect("it is being worked on");
        job.verb = FenceVerb::Off;
        job.rounds = 0;
        let (aim, level) = (job.aim, job.level);
        if let Some(absence) = job.absence {
            self.proven.insert(absence);
            self.outputs.push_back(Out::Proven(absence));
        }
        if let Some(life) = job.life {
            self.off.insert(node, life);
        }
        self.record(now, node, Ok(()));
        let turns_on = match aim {
            Aim::Lost => reboots,
            Aim::Hand(hand) => hand == Hand::Reset,
        };
        match turns_on {
            true => self.begin_level(now, node, level, FenceVerb::On),
            false => self.drop_job(node),
        }
    }

    fn level_failed(&mut self, now: Instant, node: NodeId, reason: String) {
        self.stop_runs(node);
        let levels = self.specs[&node].levels.len();
        let job = self.jobs.get_mut(&node).expect("it is being worked on");
        if job.verb == FenceVerb::Status {
            job.verb = FenceVerb::Off;
        }
        let (verb, next) = (job.verb, job.level + 1);
        let again = verb == FenceVerb::On && job.aim != Aim::Hand(Hand::On);
        self.record(now, node, Err(reason));
        let job = self.jobs.get_mut(&node).expect("it is being worked on");
        if again {
            // What has turned it off can turn it on.
            job.rounds += 1;
            job.pause = Some(now + pause(job.rounds));
            if job.rounds == ON_ATTEMPTS_MAX {
                self.drop_job(node);
            }
        } else if next < levels && !job.is_over {
            self.begin_level(now, node, next, verb);
        } else if job.aim == Aim::Lost && !job.is_over {
            job.rounds += 1;
            job.pause = Some(now + pause(job.rounds));
        } else {
            self.drop_job(node);
        }
    }

    /// Goes on with what has paused, and gives up what took too long.
    fn tick(&mut self, now: Instant) {
        let due = self.jobs.iter().filter(|(_, job)| job.wakes_at() <= now);
        let due: Vec<NodeId> = due.map(|(node, _)| *node).collect();
        for node in due {
            let job = &self.jobs[&node];
            match (job.pause, job.verb) {
                (Some(_), FenceVerb::Status) if now < job.until => {
                    self.run(now, node, FenceVerb::Status);
                }
                (Some(_), FenceVerb::Off) => self.begin_level(now, node, 0, FenceVerb::Off),
                (Some(_), FenceVerb::On) => {
                    let level = job.level;
                    self.begin_level(now, node, level, FenceVerb::On);
                }
                (_, verb) => {
                    let agents = &self.specs[&node].levels[job.level].agents;
                    let seen = job.slots.iter().find_map(|slot| match slot {
                        Slot::NotYet(reason) => Some(reason.clone()),
                        Slot::Running(_) | Slot::Done => None,
                    });
                    let silent = job.slots.iter().position(|s| matches!(s, Slot::Running(_)));
                    let agent = silent.map_or("", |place| &agents[place]);
                    let took = job.until.since(job.began);
                    let none = || format!("{agent}: no answer to {} within {took:?}", verb.name());
                    self.level_failed(now, node, seen.unwrap_or_else(none));
                }
            }
        }
    }

    fn record(&mut self, now: Instant, node: NodeId, result: Result<(), String>) {
        let job = &self.jobs[&node];
        let level = &self.specs[&node].levels[job.level];
        self.outputs.push_back(Out::Record(FenceRecord {
            node,
            by_hand: job.aim != Aim::Lost,
            level: level.number,
            agents: level.agents.clone(),
            verb: job.verb,
            took: now.since(job.began),
            result,
        }));
    }

    fn stop_runs(&mut self, node: NodeId) {
        let job = self.jobs.get_mut(&node).expect("it is being worked on");
        for slot in core::mem::take(&mut job.slots) {
            if let Slot::Running(run) = slot {
                self.outputs.push_back(Out::Stop(run));
            }
        }
    }

    fn drop_job(&mut self, node: NodeId) {
        self.stop_runs(node);
        self.jobs.remove(&node);
    }
}

impl Job {
    fn wakes_at(&self) -> Instant {
        match (self.pause, self.verb) {
            (Some(pause), FenceVerb::Status) => pause.min(self.until),
            (Some(pause), _) => pause,
            (None, _) => self.until,
        }
    }
}

/// How long to wait after so many failures.
fn pause(failures: u32) -> Duration {
    (PAUSE_FIRST * (1 << failures.saturating_sub(1).min(16))).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests;
