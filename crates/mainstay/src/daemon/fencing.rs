//! Running fence agents for the core, checking them for people, and remembering what came of it.
//!
//! Each run has a thread of its own: the core bounds how many there are. A run is ended by dropping
//! the other side of its channel, so what the core does not want any more, and what runs when this
//! loop ends, is killed.

mod checks;

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use api::v1;
use node::{FenceAnswer, FenceRecord, FenceRun, FenceVerb, Input};
use os::event;

use super::drive::Daemon;
use super::{Done, status};
use crate::config::Fence;
use crate::config::files::Root;
use crate::fence::memory::Memory;
use crate::fence::{self, agent};
use checks::Checks;

const STACK_SIZE: usize = 256 << 10;

/// What this node does about machines.
pub(super) struct Fencing {
    /// Dropping one ends its run.
    runs: BTreeMap<u64, Sender<()>>,
    checks: Checks,
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
        Ok((Fencing { runs: BTreeMap::new(), checks: Checks::default(), memory, done }, trouble))
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
        self.end_checks(node, "its machine is being turned off or on");
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
            v1::FenceNode {
                node: configured.name.clone(),
                levels,
                running: states.iter().find(|state| state.node == configured.id).map(running),
                verified: self.fencing.memory.verified(&configured.name, now),
                last: self.fencing.memory.last_act(&configured.name).cloned(),
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
        warnings.extend(self.check_warnings());
        warnings
    }

    pub(super) fn fence_counters(&self) -> Vec<v1::Counter> {
        let (good, bad) = self.fencing.memory.counts();
        let (asked, unanswered) = self.fencing.checks.counts();
        let all = [
            ("fence_checks", asked, "Checks of a node's fence agents."),
            ("fence_checks_failed", unanswered, "Checks in which a fence agent did not answer."),
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
