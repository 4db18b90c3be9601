//! Checks of a configuration by the nodes that it is for, before it is put in force.
//!
//! The daemon that is asked tells each node what is new for it ([`Question`]), in parts that fit into messages; each looks
//! at its machine on threads of its own, since answers from a wire are waited for, and tells what it has found. A node
//! that cannot be reached, or says nothing in time, is named: nothing waits for it longer. Nobody has to be in a view.

mod looks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::v1::{self, ErrorCode};
use base::{Instant, NodeId};
use os::event;

use self::looks::Looks;
use super::{Done, Tell};
use crate::config::Cluster;
use crate::daemon::drive::Daemon;
use crate::node_check::{self, Cause, Fact, Question, Questions};
use crate::serve::{Answer, Reply};

/// How long nodes may take: three rounds on all wires at once, and a slow path to and fro.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Configurations that are checked at one time.
const CHECKS_MAX: usize = 4;
/// How long a part is looked into before its node says what hangs: the answer must be there in time.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Of a thread that looks at this machine.
const STACK_SIZE: usize = 256 << 10;

/// What is on its way.
pub(super) struct Checks {
    waiting: BTreeMap<u64, Waiting>,
    last: u64,
    looks: Looks,
    done: event::Sender<Done>,
}

/// A configuration whose nodes are asked.
struct Waiting {
    cluster: Box<Cluster>,
    answer: Answer,
    /// The parts that each node has not answered yet.
    missing: BTreeMap<NodeId, BTreeSet<usize>>,
    found: Vec<(NodeId, Fact)>,
    nodes: Vec<v1::ConfigCheckNode>,
    until: Instant,
}

impl Checks {
    pub(super) fn new(done: event::Sender<Done>) -> Checks {
        Checks { waiting: BTreeMap::new(), last: 0, looks: Looks::default(), done }
    }

    /// When nodes that say nothing are not waited for any more.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self.waiting.values().map(|waiting| waiting.until);
        waiting.chain(self.looks.deadline()).min()
    }
}

impl Daemon {
    /// Has all nodes of a configuration look at what it brings them.
    pub(in crate::daemon) fn check_configuration(
        &mut self,
        mut cluster: Box<Cluster>,
        answer: Answer,
    ) {
        let waiting = &mut self.errands.checks.waiting;
        waiting.retain(|_, waiting| !waiting.answer.is_abandoned());
        if waiting.len() >= CHECKS_MAX {
            let message = "too many configurations are being checked";
            let error = v1::Error::new(ErrorCode::Busy, message);
            return answer.send(Err(error.help("try again in a moment")));
        }
        // Names that lead nowhere are told of by whoever reads the file.
        let _told_elsewhere = self.hosts.resolve(&mut cluster);
        let local = self.node.local().node;
        self.errands.checks.last += 1;
        let id = self.errands.checks.last;
        // A thousand addresses for a hundred nodes: what all are asked is made, and written down, once.
        let questions = Questions::new(&cluster, Some(&self.cluster));
        let shared = questions.shared().parts();
        let check = |(part, question): (usize, &Question)| {
            super::written(&Tell::Check { id, part, question: question.clone() })
        };
        let written: Vec<Vec<u8>> = shared.iter().enumerate().map(check).collect();
        let mut nodes = Vec::new();
        let mut asked: Vec<(NodeId, Vec<Question>)> = Vec::new();
        let mut missing: BTreeMap<NodeId, BTreeSet<usize>> = BTreeMap::new();
        for node in &cluster.nodes {
            let own = questions.own(node.id).parts();
            let count = shared.len() + own.len();
            let is_there =
                node.id == local || self.node.transport().within_reach(node.id).is_some();
            let trouble = (count > 0 && !is_there).then(|| "it cannot be reached".to_owned());
            if count > 0 && is_there {
                missing.insert(node.id, (0..count).collect());
                asked.push((node.id, own));
            }
            nodes.push(v1::ConfigCheckNode { node: node.name.clone(), trouble });
        }
        let until = os::clock::boottime() + TIMEOUT;
        let waiting = Waiting { cluster, answer, missing, found: Vec::new(), nodes, until };
        self.errands.checks.waiting.insert(id, waiting);
        for (node, own) in asked {
            if node == local {
                let all = shared.iter().cloned().chain(own).enumerate();
                all.for_each(|(part, question)| self.look_into(None, id, part, question));
                continue;
            }
            for bytes in &written {
                self.tell_written(node, bytes.clone());
            }
            for (index, question) in own.into_iter().enumerate() {
                let part = shared.len() + index;
                self.tell(node, &Tell::Check { id, part, question });
            }
        }
        self.end_check(id);
    }

    /// Looks into a part of a question: another node's, or an own one.
    pub(super) fn look_into(
        &mut self,
        from: Option<NodeId>,
        id: u64,
        part: usize,
        question: Question,
    ) {
        let until = os::clock::boottime() + LOOK_TIMEOUT;
        let number = match self.errands.checks.looks.begin((from, id, part), &question, until) {
            Ok(number) => number,
            Err(cause) => return self.looked(from, id, part, question.unasked(&cause)),
        };
        let services = self.cluster.service_addresses().collect();
        let done = self.errands.checks.done.clone();
        let unasked = |why: String| question.unasked(&Cause::Busy(why));
        let asked = question.clone();
        let look = move || {
            let facts = asked.answer(&services);
            // The loop has gone when the process is ending.
            let _ending = done.send_waiting(Done::Checked { look: number, facts });
        };
        let thread = std::thread::Builder::new().name("check".into()).stack_size(STACK_SIZE);
        if let Err(error) = thread.spawn(look) {
            self.errands.checks.looks.end(number);
            self.looked(from, id, part, unasked(format!("no thread: {error}")));
        }
    }

    /// A thread has looked.
    pub(in crate::daemon) fn checked(&mut self, look: u64, facts: Vec<Fact>) {
        // Whoever asked has been told already when it was given up.
        if let Some((from, id, part)) = self.errands.checks.looks.end(look) {
            self.looked(from, id, part, facts);
        }
    }

    fn looked(&mut self, from: Option<NodeId>, id: u64, part: usize, facts: Vec<Fact>) {
        match from {
            Some(node) => self.tell(node, &Tell::Checked { id, part, facts }),
            None => self.found_by(self.node.local().node, id, part, facts),
        }
    }

    /// A node has looked into a part of what it was asked.
    pub(super) fn found_by(&mut self, node: NodeId, id: u64, part: usize, facts: Vec<Fact>) {
        // One that was given up needs no answer, and one that was not asked has none.
        let Some(waiting) = self.errands.checks.waiting.get_mut(&id) else { return };
        let Some(parts) = waiting.missing.get_mut(&node) else { return };
        if !parts.remove(&part) {
            return;
        }
        if parts.is_empty() {
            waiting.missing.remove(&node);
        }
        waiting.found.extend(facts.into_iter().map(|fact| (node, fact)));
        self.end_check(id);
    }

    /// Waits no longer for those who have said nothing.
    pub(super) fn give_up_checks(&mut self) {
        let now = os::clock::boottime();
        for ((from, id, part), facts) in self.errands.checks.looks.give_up(now) {
            self.looked(from, id, part, facts);
        }
        let late = self.errands.checks.waiting.iter().filter(|(_, waiting)| now >= waiting.until);
        let late: Vec<u64> = late.map(|(id, _)| *id).collect();
        for id in late {
            let waiting = self.errands.checks.waiting.get_mut(&id).expect("it was just seen");
            for (node, _) in std::mem::take(&mut waiting.missing) {
                let name = waiting.cluster.name_of(node);
                let silent = waiting.nodes.iter_mut().find(|one| one.node == name);
                if let Some(silent) = silent {
                    silent.trouble = Some(format!("no answer within {} s", TIMEOUT.as_secs()));
                }
            }
            self.end_check(id);
        }
    }

    /// Answers when nobody is waited for any more.
    fn end_check(&mut self, id: u64) {
        let waiting = &mut self.errands.checks.waiting;
        if waiting.get(&id).is_none_or(|waiting| !waiting.missing.is_empty()) {
            return;
        }
        let Some(Waiting { cluster, answer, found, nodes, .. }) = waiting.remove(&id) else {
            return;
        };
        // Each finding is looked for in the whole text, which the loop has no time for.
        let say = move || {
            let diagnostics = node_check::report(&cluster, found);
            let check = v1::ConfigCheck { schema: v1::SCHEMA, diagnostics, nodes };
            answer.send(Ok(Reply::Checked(check)));
        };
        let thread = std::thread::Builder::new().name("check".into()).stack_size(STACK_SIZE);
        // Whoever asked is told that there is no answer, since that has gone with what was to be run.
        if let Err(error) = thread.spawn(say) {
            self.say_once(format!("no thread to tell what a check has found: {error}"));
        }
    }
}
