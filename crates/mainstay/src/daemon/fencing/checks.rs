//! Asking the fence agents of the other nodes whether they would answer: for people, and by itself.
//!
//! Each node asks for itself, also when it is no hub and in no view: what counts is whether *it* would get
//! through when it has to. A check runs on threads of its own and within the agents' budgets. It is given up
//! as soon as the same machine is turned off or on, since many boards talk to one at a time.
//!
//! What was found is kept across restarts with the moment when all agents answered last; the journal and the
//! history have each change. Agents that are configured otherwise have proven nothing yet.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use api::v1;
use base::{Instant, NodeId};
use node::{FenceAnswer, FenceVerb};

use super::{STACK_SIZE, act};
use crate::config::Fence;
use crate::daemon::drive::Daemon;
use crate::daemon::{Done, status};
use crate::fence::rounds::{self, Asker, Last};
use crate::fence::{VERIFY_TIMEOUT, memory};
use crate::render::stamp;
use crate::serve::{Answer, Reply};

/// Checks that people wait for, at one time.
const ASKED_MAX: usize = 4;
/// Checks by itself at one time.
const ROUND_MAX: usize = 2;
/// A check that is older says little about today.
const PROOF_AGE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// Warnings about nodes whose agents nobody has checked; the rest is counted.
const UNPROVEN_NAMED_MAX: usize = 3;
/// The wall clock may be set: so often is looked at least.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// What is being asked.
#[derive(Debug)]
pub(super) struct Checks {
    running: BTreeMap<u64, Check>,
    /// When to look whether one is due.
    looks_at: Instant,
    asked: u64,
    unanswered: u64,
}

impl Default for Checks {
    fn default() -> Self {
        Self { running: BTreeMap::new(), looks_at: Instant::ZERO, asked: 0, unanswered: 0 }
    }
}

impl Checks {
    /// How many have ended, and how many of these found an agent that does not answer.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.asked, self.unanswered)
    }
}

/// All agents of one node.
#[derive(Debug)]
struct Check {
    node: NodeId,
    /// Whoever waits for it; none: it was due.
    answer: Option<Answer>,
    /// Dropping one ends its agent.
    _stops: Vec<Sender<()>>,
}

impl Daemon {
    /// Asks whose turn it is.
    pub(in crate::daemon) fn mind_fence_checks(&mut self) {
        let now = os::clock::boottime();
        if now < self.fencing.checks.looks_at {
            return;
        }
        let mut next = LOOK_MAX;
        for node in self.fenced_others() {
            let Some(wait) = self.check_wait(node) else { continue };
            let by_itself = |check: &&Check| check.answer.is_none();
            let is_full =
                self.fencing.checks.running.values().filter(by_itself).count() >= ROUND_MAX;
            match wait.is_zero() {
                false => next = next.min(wait),
                // One that ends has the others looked at.
                true if is_full => {}
                true => {
                    if let Err(error) = self.start_check(node, None) {
                        self.journal.say(&format!("fence agents cannot be checked: {error}"));
                        break;
                    }
                }
            }
        }
        self.fencing.checks.looks_at = now + next;
    }

    /// When [`Self::mind_fence_checks`] has something to do.
    pub(in crate::daemon) fn fence_checks_deadline(&self) -> Option<Instant> {
        let is_wanted = self.cluster.fence_verify.is_some() && !self.cluster.fences.is_empty();
        is_wanted.then_some(self.fencing.checks.looks_at)
    }

    /// Another configuration is in force: what was found about other agents says nothing about these.
    pub(in crate::daemon) fn fences_changed(&mut self, before: &[Fence]) {
        let of = |fences: &[Fence], node| -> Vec<Fence> {
            fences.iter().filter(|fence| fence.node == node).cloned().collect()
        };
        for node in self.cluster.nodes.clone() {
            if of(before, node.id) != of(&self.cluster.fences, node.id) {
                self.end_checks(node.id, "its fence agents were configured anew");
                self.fencing.memory.keep(|kept| kept != node.name);
            }
        }
        let cluster = &self.cluster;
        self.fencing.memory.keep(|kept| {
            let node = cluster.node(kept);
            node.is_some_and(|node| cluster.fences.iter().any(|fence| fence.node == node))
        });
        self.fencing.checks.looks_at = Instant::ZERO;
    }

    /// Ends what asks about a node.
    pub(super) fn end_checks(&mut self, node: NodeId, why: &str) {
        let name = self.cluster.name_of(node);
        let running = std::mem::take(&mut self.fencing.checks.running);
        let (ended, others) = running.into_iter().partition(|(_, check)| check.node == node);
        self.fencing.checks.running = others;
        let ended: BTreeMap<u64, Check> = ended;
        for check in ended.into_values() {
            if let Some(answer) = check.answer {
                let text = format!("the check of {name} was given up: {why}");
                let error = v1::Error::new(v1::ErrorCode::Busy, text);
                answer.send(Err(error.help("try again in a moment")));
            }
        }
    }

    /// The nodes that this one may have to turn off, and can.
    fn fenced_others(&self) -> Vec<NodeId> {
        let local = self.node.local().node;
        let nodes = self.cluster.nodes.iter().map(|node| node.id);
        let has_fence = |node: &NodeId| self.cluster.fences.iter().any(|fence| fence.node == *node);
        nodes.filter(|node| *node != local).filter(has_fence).collect()
    }

    /// How long until a node's agents are to be asked; none: they are being asked, or used.
    fn check_wait(&self, node: NodeId) -> Option<Duration> {
        let interval = self.cluster.fence_verify?;
        let is_asked = self.fencing.checks.running.values().any(|check| check.node == node);
        if is_asked || self.node.status().fencing.iter().any(|state| state.node == node) {
            return None;
        }
        let local = self.node.local().node;
        let place = self.cluster.nodes.iter().position(|node| node.id == local);
        let asker = Asker { place: place?, of: self.cluster.nodes.len(), uptime: self.uptime() };
        let now = os::clock::wall_millis();
        let last = self.fencing.memory.verified(&self.cluster.name_of(node), now);
        let last = last.map(|last| Last { at_ms: last.at_ms, ok: last.ok });
        Some(rounds::wait(last, now, interval, asker))
    }

    /// Has all agents of a node say whether its machine is on; answered when all have.
    pub(in crate::daemon) fn verify_fence(&mut self, name: &str, answer: Answer) {
        let refuse = |code, text: String, help: &str| Err(v1::Error::new(code, text).help(help));
        let Some(node) = self.cluster.node(name) else {
            return answer.send(Err(self.unknown_node(name)));
        };
        if !self.cluster.fences.iter().any(|fence| fence.node == node) {
            let text = format!("no fence agent is configured for {name}");
            let help = "give it a [[fence]] with node, agent and options";
            return answer.send(refuse(v1::ErrorCode::NotFound, text, help));
        }
        let running = &mut self.fencing.checks.running;
        running.retain(|_, check| !check.answer.as_ref().is_some_and(Answer::is_abandoned));
        if running.values().filter(|check| check.answer.is_some()).count() >= ASKED_MAX {
            let text = "other nodes are being checked".to_owned();
            return answer.send(refuse(v1::ErrorCode::Busy, text, "try again in a moment"));
        }
        // It may be answered already when it cannot be started.
        if let Err(error) = self.start_check(node, Some(answer)) {
            self.journal.say(&format!("fence agents cannot be checked: {error}"));
        }
    }

    fn start_check(&mut self, node: NodeId, answer: Option<Answer>) -> std::io::Result<()> {
        self.last_request += 1;
        let question = self.last_request;
        let fences: Vec<Fence> =
            self.cluster.fences.iter().filter(|fence| fence.node == node).cloned().collect();
        let (stops, stopped): (Vec<_>, Vec<_>) = fences.iter().map(|_| channel()).unzip();
        let (name, done) = (self.cluster.name_of(node), self.fencing.done.clone());
        let patience = answer.as_ref().map(|_| VERIFY_TIMEOUT);
        let check = move || {
            let checks = check_all(&fences, stopped, &name, patience);
            // The loop has gone when the process is ending.
            let _ending = done.send_waiting(Done::FenceVerified { question, checks });
        };
        let thread = std::thread::Builder::new().name("fence".into()).stack_size(STACK_SIZE);
        match thread.spawn(check) {
            Ok(_) => {
                let check = Check { node, answer, _stops: stops };
                self.fencing.checks.running.insert(question, check);
                Ok(())
            }
            Err(error) => {
                if let Some(answer) = answer {
                    let text = format!("no thread: {error}");
                    answer.send(Err(v1::Error::new(v1::ErrorCode::Busy, text)));
                }
                Err(error)
            }
        }
    }

    pub(in crate::daemon) fn fence_verified(
        &mut self,
        question: u64,
        mut checks: Vec<v1::FenceCheck>,
    ) {
        // One that was given up says nothing.
        let Some(check) = self.fencing.checks.running.remove(&question) else { return };
        self.fencing.checks.looks_at = Instant::ZERO;
        let node = check.node;
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
        let found = v1::FenceVerified {
            at_ms: os::clock::wall_millis(),
            ok: checks.iter().all(|check| check.ok),
            checks,
            ..v1::FenceVerified::default()
        };
        self.fencing.checks.asked += 1;
        self.fencing.checks.unanswered += u64::from(!found.ok);
        let (verified, is_news) = self.fencing.memory.verify(&name, found);
        if is_news {
            self.journal.say(&match trouble(&name, &verified) {
                Some(trouble) => trouble,
                None => format!("all fence agents of {name} answer"),
            });
            self.fencing.memory.record(record(&name, &verified, check.answer.is_some()));
        }
        if let Some(answer) = check.answer {
            answer.send(Ok(Reply::FenceVerification(v1::FenceVerification {
                schema: v1::SCHEMA,
                node: name,
                by: self.cluster.name_of(self.node.local().node),
                verified,
            })));
        }
    }

    /// What is known of a node's agents, for its line in the status.
    pub(in crate::daemon) fn fence_proof(&self, node: NodeId) -> Option<v1::FenceProof> {
        if !self.fenced_others().contains(&node) {
            return None;
        }
        let now = os::clock::wall_millis();
        let verified = self.fencing.memory.verified(&self.cluster.name_of(node), now);
        Some(verified.map_or_else(v1::FenceProof::default, |verified| v1::FenceProof {
            usable: good_level(&verified).is_some(),
            checked_ms: Some(verified.age_ms),
            proven_ms: verified.good_at_ms.map(|at| now.saturating_sub(at)),
        }))
    }

    /// What `status` has to say about what was found: code, sentence, what to do.
    pub(super) fn check_warnings(&self) -> Vec<(&'static str, String, String)> {
        let mut warnings = Vec::new();
        let now = os::clock::wall_millis();
        let mut unproven = Vec::new();
        for node in self.fenced_others() {
            let name = self.cluster.name_of(node);
            match self.fencing.memory.verified(&name, now) {
                Some(verified) => {
                    if let Some(trouble) = trouble(&name, &verified) {
                        let help = format!(
                            "look at the device, its address and the password; then: mainstay \
                             fence verify {name}"
                        );
                        warnings.push(("fence-broken", trouble, help));
                    } else if verified.age_ms > status::millis(PROOF_AGE_MAX) {
                        unproven.push(name);
                    }
                }
                None => unproven.push(name),
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
}

/// A level of which all agents answer.
fn good_level(verified: &v1::FenceVerified) -> Option<u8> {
    let is_good = |level: u8| {
        let mut agents = verified.checks.iter().filter(|check| check.level == level);
        agents.all(|check| check.ok)
    };
    verified.checks.iter().map(|check| check.level).find(|level| is_good(*level))
}

/// What is wrong, and what follows from it.
fn trouble(node: &str, verified: &v1::FenceVerified) -> Option<String> {
    let mut silent = verified.checks.iter().filter(|check| !check.ok);
    let first = silent.next()?;
    let agent = first.agent.rsplit('/').next().unwrap_or(&first.agent);
    let more = match silent.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let since = match verified.good_at_ms {
        Some(at) => format!("has not answered since {}", stamp(at)),
        None => "has never answered".to_owned(),
    };
    let why = first.error.as_deref().unwrap_or("it says nothing");
    let follows = match good_level(verified) {
        Some(level) => format!("{node} can be fenced from here by level {level} only"),
        None => format!("{node} cannot be fenced from here"),
    };
    let level = first.level;
    Some(format!("fence agent {agent} (level {level}){more} of {node} {since} ({why}): {follows}"))
}

fn record(node: &str, verified: &v1::FenceVerified, by_hand: bool) -> v1::FenceRecord {
    let about = |check: &&v1::FenceCheck| check.ok == verified.ok;
    let checks: Vec<&v1::FenceCheck> = verified.checks.iter().filter(about).collect();
    v1::FenceRecord {
        id: 0,
        at_ms: verified.at_ms,
        node: node.to_owned(),
        by_hand,
        level: checks.first().map_or(1, |check| check.level),
        agents: checks.iter().map(|check| check.agent.clone()).collect(),
        verb: memory::VERIFY.to_owned(),
        took_ms: checks.iter().map(|check| check.took_ms).max().unwrap_or_default(),
        ok: verified.ok,
        error: checks.iter().find_map(|check| check.error.clone()),
    }
}

/// Asks all agents at once.
fn check_all(
    fences: &[Fence],
    stops: Vec<Receiver<()>>,
    node: &str,
    patience: Option<Duration>,
) -> Vec<v1::FenceCheck> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = (fences.iter().zip(stops))
            .map(|(fence, stop)| scope.spawn(move || check_one(fence, &stop, node, patience)))
            .collect();
        let asked = asked.into_iter();
        asked.map(|thread| thread.join().expect("a check does not panic")).collect()
    })
}

fn check_one(
    fence: &Fence,
    stop: &Receiver<()>,
    node: &str,
    patience: Option<Duration>,
) -> v1::FenceCheck {
    let start = os::clock::boottime();
    let budget = patience.map_or(fence.timeout, |patience| fence.timeout.min(patience));
    let (power, error) = match act(fence, node, FenceVerb::Status, budget, stop) {
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

#[cfg(test)]
mod tests;
