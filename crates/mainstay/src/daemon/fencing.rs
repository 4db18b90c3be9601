//! Running fence agents for the core, checking them for people, and remembering what came of it.
//!
//! Each run has a thread of its own: the core bounds how many there are. A run is ended by dropping
//! the other side of its channel, so what the core does not want any more, and what runs when this
//! loop ends, is killed.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use api::v1;
use base::NodeId;
use node::{FenceAnswer, FenceRecord, FenceRun, FenceVerb, Input};
use os::event;

use super::drive::Daemon;
use super::{Done, status};
use crate::config::Fence;
use crate::config::files::Root;
use crate::fence::memory::Memory;
use crate::fence::{self, VERIFY_TIMEOUT, agent};
use crate::serve::{Answer, Reply};

/// Checks of whole nodes at one time.
const CHECKS_MAX: usize = 4;
/// A check that is older says little about today.
const PROOF_AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// Warnings about nodes whose agents nobody has checked; the rest is counted.
const UNPROVEN_NAMED_MAX: usize = 3;
const STACK_SIZE: usize = 256 << 10;

/// What this node does about machines.
pub(super) struct Fencing {
    /// Dropping one ends its run.
    runs: BTreeMap<u64, Sender<()>>,
    /// Whoever waits for a check, and of which node.
    checks: BTreeMap<u64, (Answer, NodeId)>,
    memory: Memory,
    done: event::Sender<Done>,
}

impl Fencing {
    /// Reads what was done before. The sentence says what of it cannot be read.
    pub(super) fn start(
        root: &Root,
        done: event::Sender<Done>,
    ) -> std::io::Result<(Fencing, Option<String>)> {
        let (memory, trouble) = Memory::open(root.state().join("fencing.json"))?;
        Ok((Fencing { runs: BTreeMap::new(), checks: BTreeMap::new(), memory, done }, trouble))
    }

    pub(super) fn stop(&mut self, run: u64) {
        self.runs.remove(&run);
    }
}

impl Daemon {
    /// Runs one agent.
    pub(super) fn run_fence(&mut self, run: FenceRun) {
        let FenceRun { run: number, node, level, agent, verb, within } = run;
        let fence = self.cluster.fences_at(node, level).nth(agent).cloned();
        let name = self.cluster.name_of(node);
        let (stop, stopped) = channel();
        let done = self.fencing.done.clone();
        let started =
            fence.ok_or_else(|| "it is configured no more".to_owned()).and_then(|fence| {
                let act = move || {
                    let answer = act(&fence, &name, verb, within, &stopped);
                    // The loop has gone when the process is ending.
                    let _ending = done.send_waiting(Done::Fence { run: number, answer });
                };
                let thread =
                    std::thread::Builder::new().name("fence".into()).stack_size(STACK_SIZE);
                thread.spawn(act).map_err(|error| format!("no thread: {error}"))
            });
        match started {
            Ok(_) => {
                self.fencing.runs.insert(number, stop);
            }
            Err(reason) => {
                let answer = FenceAnswer::Failed(reason);
                self.feed_later(Input::Fence { run: number, answer });
            }
        }
    }

    pub(super) fn fence_ended(&mut self, run: u64, answer: FenceAnswer) {
        self.fencing.stop(run);
        self.feed(Input::Fence { run, answer });
    }

    pub(super) fn fence_recorded(&mut self, record: FenceRecord) {
        let (ok, error) = (record.result.is_ok(), record.result.err());
        self.fencing.memory.record(v1::FenceRecord {
            id: 0,
            at_ms: os::clock::wall_millis(),
            node: self.cluster.name_of(record.node),
            by_hand: record.by_hand,
            level: record.level,
            agents: record.agents,
            verb: record.verb.name().to_owned(),
            took_ms: status::millis(record.took),
            ok,
            error,
        });
    }

    pub(super) fn fence_command(
        &self,
        name: &str,
        verb: v1::FenceVerb,
    ) -> Result<node::Command, v1::Error> {
        let node = self.cluster.node(name).ok_or_else(|| self.unknown_node(name))?;
        Ok(match verb {
            v1::FenceVerb::Off => node::Command::FenceOff(node),
            v1::FenceVerb::On => node::Command::FenceOn(node),
            v1::FenceVerb::Reset => node::Command::FenceReset(node),
        })
    }

    /// Has all agents of a node say whether its machine is on; answered when all have.
    pub(super) fn verify_fence(&mut self, name: &str, answer: Answer) {
        let refuse = |code, text: String, help: &str| {
            let error = v1::Error::new(code, text);
            Err(if help.is_empty() { error } else { error.help(help) })
        };
        let Some(node) = self.cluster.node(name) else {
            return answer.send(Err(self.unknown_node(name)));
        };
        let fences: Vec<Fence> =
            self.cluster.fences.iter().filter(|fence| fence.node == node).cloned().collect();
        if fences.is_empty() {
            let text = format!("no fence agent is configured for {name}");
            let help = "give it a [[fence]] with node, agent and options";
            return answer.send(refuse(v1::ErrorCode::NotFound, text, help));
        }
        self.fencing.checks.retain(|_, (answer, _)| !answer.is_abandoned());
        if self.fencing.checks.len() >= CHECKS_MAX {
            let text = "other nodes are being checked".to_owned();
            return answer.send(refuse(v1::ErrorCode::Busy, text, "try again in a moment"));
        }
        self.last_request += 1;
        let question = self.last_request;
        let (name, done) = (name.to_owned(), self.fencing.done.clone());
        let check = move || {
            let checks = check_all(&fences, &name);
            let _ending = done.send_waiting(Done::FenceVerified { question, checks });
        };
        let thread = std::thread::Builder::new().name("fence".into()).stack_size(STACK_SIZE);
        match thread.spawn(check) {
            Ok(_) => {
                self.fencing.checks.insert(question, (answer, node));
            }
            Err(error) => {
                let text = format!("no thread: {error}");
                answer.send(refuse(v1::ErrorCode::Busy, text, ""));
            }
        }
    }

    pub(super) fn fence_verified(&mut self, question: u64, mut checks: Vec<v1::FenceCheck>) {
        let Some((answer, node)) = self.fencing.checks.remove(&question) else { return };
        let is_here = self.node.local().node == node
            || (self.node.status().transport.peers.iter())
                .any(|peer| peer.node == node && peer.connected);
        for check in &mut checks {
            if check.power.as_deref() == Some("off") && is_here {
                check.ok = false;
                let text = "says off, while the node is here: is it about another machine?";
                check.error = Some(text.to_owned());
            }
        }
        let name = self.cluster.name_of(node);
        let verified = v1::FenceVerified {
            at_ms: os::clock::wall_millis(),
            age_ms: 0,
            ok: checks.iter().all(|check| check.ok),
            checks,
        };
        let cluster = &self.cluster;
        self.fencing.memory.keep(|kept| cluster.node(kept).is_some());
        self.fencing.memory.verify(&name, verified.clone());
        answer.send(Ok(Reply::FenceVerification(v1::FenceVerification {
            schema: v1::SCHEMA,
            node: name,
            by: self.cluster.name_of(self.node.local().node),
            verified,
        })));
    }

    /// Everything about fencing, as seen from here.
    pub(super) fn fencing(&self) -> v1::Fencing {
        let now = os::clock::wall_millis();
        let states = self.node.status().fencing;
        let nodes = self.cluster.nodes.iter().map(|configured| {
            let mut levels: Vec<v1::FenceLevel> = Vec::new();
            for fence in self.cluster.fences.iter().filter(|fence| fence.node == configured.id) {
                if levels.last().is_none_or(|level| level.level != fence.level) {
                    levels.push(v1::FenceLevel { level: fence.level, ..Default::default() });
                }
                let level = levels.last_mut().expect("one was just pushed");
                level.timeout_ms = level.timeout_ms.max(status::millis(fence.timeout));
                let options = fence::shown(&fence.options);
                level.agents.push(v1::FenceAgent { agent: fence.agent.clone(), options });
            }
            let records = self.fencing.memory.records().iter();
            v1::FenceNode {
                node: configured.name.clone(),
                levels,
                running: states.iter().find(|state| state.node == configured.id).map(running),
                verified: self.fencing.memory.verified(&configured.name, now),
                last: records.rev().find(|record| record.node == configured.name).cloned(),
            }
        });
        v1::Fencing {
            schema: v1::SCHEMA,
            node: self.cluster.name_of(self.node.local().node),
            policy: match self.cluster.fence_policy {
                node::FencePolicy::Reboot => "reboot".to_owned(),
                node::FencePolicy::Off => "off".to_owned(),
            },
            nodes: nodes.collect(),
        }
    }

    pub(super) fn fence_history(&self) -> v1::FenceHistory {
        v1::FenceHistory {
            schema: v1::SCHEMA,
            node: self.cluster.name_of(self.node.local().node),
            records: self.fencing.memory.records().to_vec(),
        }
    }

    /// What `status` has to say: code, sentence, what to do.
    pub(super) fn fence_warnings(&self) -> Vec<(&'static str, String, String)> {
        let mut warnings = Vec::new();
        for state in self.node.status().fencing {
            let name = self.cluster.name_of(state.node);
            let (verb, level) = (state.verb.name(), state.level);
            let text = match state.pause {
                Some(pause) => format!(
                    "the machine of {name} could not be turned {verb} {} times; again in {} s",
                    state.rounds,
                    pause.as_secs()
                ),
                None => format!(
                    "fence agents are at work on {name}: level {level}, {verb}, for {} ms",
                    state.since.as_millis()
                ),
            };
            let help =
                "mainstay fence history; if it is off for certain: mainstay node confirm-down";
            warnings.push(("fencing", text, help.to_owned()));
        }
        let now = os::clock::wall_millis();
        let local = self.node.local().node;
        let others = self.cluster.nodes.iter().filter(|node| {
            node.id != local && self.cluster.fences.iter().any(|fence| fence.node == node.id)
        });
        let mut unproven = Vec::new();
        for node in others {
            match self.fencing.memory.verified(&node.name, now) {
                Some(verified) if !verified.ok => warnings.push((
                    "fence-broken",
                    format!("the last check of the fence agents of {} failed", node.name),
                    format!("mainstay fence verify {}", node.name),
                )),
                Some(verified) if verified.age_ms <= status::millis(PROOF_AGE_MAX) => {}
                Some(_) | None => unproven.push(node.name.as_str()),
            }
        }
        if let Some(first) = unproven.first() {
            let named = unproven[..unproven.len().min(UNPROVEN_NAMED_MAX)].join(", ");
            let rest = unproven.len().saturating_sub(UNPROVEN_NAMED_MAX);
            let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
            warnings.push((
                "fence-unproven",
                format!("that {named}{rest} can be turned off from here was not checked for long"),
                format!("mainstay fence verify {first}"),
            ));
        }
        warnings
    }

    pub(super) fn fence_counters(&self) -> Vec<v1::Counter> {
        let (good, bad) = self.fencing.memory.counts();
        let all = [
            ("fence_done", good, "Levels of fence agents that turned a machine off or on."),
            (
                "fence_failed",
                bad,
                "Levels of fence agents that failed, so that the next was tried.",
            ),
        ];
        let counted = all.into_iter().filter(|(_, value, _)| *value > 0);
        counted
            .map(|(name, value, text)| v1::Counter {
                name: name.to_owned(),
                value,
                text: text.to_owned(),
            })
            .collect()
    }
}

fn running(state: &node::FenceState) -> v1::FenceRunning {
    v1::FenceRunning {
        verb: state.verb.name().to_owned(),
        level: state.level,
        by_hand: state.by_hand,
        since_ms: status::millis(state.since),
        rounds: state.rounds,
        pause_ms: state.pause.map(status::millis),
    }
}

/// One run of an agent, as an answer to the core.
fn act(
    fence: &Fence,
    node: &str,
    verb: FenceVerb,
    within: Duration,
    stop: &Receiver<()>,
) -> FenceAnswer {
    match agent::run(fence, node, verb.name(), within, stop) {
        Err(reason) => FenceAnswer::Failed(reason),
        Ok(ended) => match (verb, ended.code) {
            (FenceVerb::Off | FenceVerb::On, Some(0)) => FenceAnswer::Done,
            (FenceVerb::Status, Some(0)) => FenceAnswer::PowerOn,
            (FenceVerb::Status, Some(2)) => FenceAnswer::PowerOff,
            _ => FenceAnswer::Failed(ended.sentence()),
        },
    }
}

/// Asks all agents at once.
fn check_all(fences: &[Fence], node: &str) -> Vec<v1::FenceCheck> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = (fences.iter())
            .map(|fence| (fence, scope.spawn(move || check_one(fence, node))))
            .collect();
        let asked = asked.into_iter();
        asked.map(|(_, thread)| thread.join().expect("a check does not panic")).collect()
    })
}

fn check_one(fence: &Fence, node: &str) -> v1::FenceCheck {
    let (_stop, stopped) = channel();
    let start = os::clock::boottime();
    let budget = fence.timeout.min(VERIFY_TIMEOUT);
    let (power, error) = match act(fence, node, FenceVerb::Status, budget, &stopped) {
        FenceAnswer::PowerOn => (Some("on".to_owned()), None),
        FenceAnswer::PowerOff => (Some("off".to_owned()), None),
        FenceAnswer::Failed(reason) => (None, Some(reason)),
        FenceAnswer::Done => unreachable!("a status says on or off"),
    };
    v1::FenceCheck {
        level: fence.level,
        agent: fence.agent.clone(),
        ok: error.is_none(),
        power,
        took_ms: status::millis(os::clock::boottime().since(start)),
        error,
    }
}
