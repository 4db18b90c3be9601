//! Fence agents: who is to be turned off, and what comes of it.
//!
//! A lost node is turned off when this node is the hub of the view without it, and only if it held
//! a service or might have: a machine that ran nothing stays on. Nobody is turned off at a formation:
//! a node that merely starts more slowly than the others is no danger, and its time runs.
//!
//! A lease that is over frees what is contained; a machine that held storage services goes on being
//! turned off. If it had told of an armed watchdog, that ends the absence as well, later.

use base::{Incarnation, Member, NodeId};
use group::Absence;

use super::{Node, Work};
use crate::fencing::{Hand, Out};
use crate::{EventKind, FenceAnswer, FenceVerb, Output, Refused, RefusedKind};

impl Node {
    pub(super) fn mind_fencing(&mut self) {
        if self.fencing.is_idle() {
            return;
        }
        let members = self.group.view().map(base::View::nodes).unwrap_or_default();
        let wanted: Option<Vec<Absence>> = (self.group.to_fence())
            .map(|absences| absences.filter(|absence| self.is_dangerous(absence)).collect());
        let wanted = wanted.as_deref().map(|absences| (absences, members));
        self.fencing.want(self.now, wanted);
        self.drain_fencing();
    }

    /// Which lost machines their watchdogs have reset: those that told all of it in the lost life and
    /// held something that keeps it from being fed (`engine::Observation::resets`), after
    /// the time that the last evidence of theirs allows (design, "Leases"). Only the hub of the view
    /// without them counts, while its lease lasts, as for agents.
    pub(super) fn mind_watchdogs(&mut self) {
        self.watchdogs_due = None;
        if self.group.lapsed().next().is_none() || self.group.to_fence().is_none() {
            return;
        }
        let (now, timing) = (self.now, self.birth.cluster.timing);
        for (absence, heard) in self.group.lapsed() {
            let life = Member { node: absence.node, incarnation: absence.incarnation };
            let (observation, intent) = (self.engine.observation(), self.engine.intent());
            let Some(timeout) = observation.resets(intent, life) else { continue };
            let due = heard + timing.storage_fence_wait(timeout);
            if now >= due {
                let proven = group::Input::Fenced(absence, group::Proof::Watchdog);
                self.work.push_back(Work::Group(proven));
            } else {
                self.watchdogs_due = Some(self.watchdogs_due.map_or(due, |next| next.min(due)));
            }
        }
    }

    /// Goodbyes of lost lives are proofs where their guards knew what to look for. The goodbye of a life that
    /// was lost while a change of a class was on its way may come before or after that is delivered here; a
    /// change that comes later than the loss is refused.
    pub(super) fn mind_goodbyes(&mut self) {
        let (observation, intent) = (self.engine.observation(), self.engine.intent());
        let proven = self.group.said_goodbye().filter(|absence| {
            let life = Member { node: absence.node, incarnation: absence.incarnation };
            observation.is_goodbye_proof(intent, life)
        });
        for absence in proven {
            let proven = group::Input::Fenced(absence, group::Proof::Goodbye);
            self.work.push_back(Work::Group(proven));
        }
    }

    /// Whether the lost life held a service: so says the order of entries, on all members alike.
    fn is_dangerous(&self, absence: &Absence) -> bool {
        let mut services = self.engine.observation().services.values();
        absence.incarnation != Incarnation(u64::MAX)
            && services.any(|state| {
                let holder = state.phase.holder();
                holder.is_some_and(|holder| holder.node == absence.node)
            })
    }

    pub(super) fn fence_answered(&mut self, run: u64, answer: FenceAnswer) {
        self.fencing.answered(self.now, run, answer);
        self.drain_fencing();
    }

    pub(super) fn fence_by_hand(&mut self, node: NodeId, hand: Hand) -> Result<String, Refused> {
        let refused = |kind, sentence| Err(Refused { kind, sentence });
        if !self.birth.cluster.nodes().contains(node) {
            return refused(RefusedKind::Unknown, format!("{node} is not configured"));
        }
        if node == self.local.node {
            let sentence = "a node does not turn its own machine off or on".to_owned();
            return refused(RefusedKind::NotNow, sentence);
        }
        if hand == Hand::Reset {
            let observation = self.engine.observation();
            let is_member = self.group.view().is_some_and(|view| view.nodes().contains(node));
            let mut services = observation.services.values();
            let holds = services.any(|state| state.phase.holder().is_some_and(|h| h.node == node));
            if !is_member || !observation.standby.contains(node) || holds {
                let sentence = format!("{node} is not an idle member in standby");
                return refused(RefusedKind::NotNow, sentence);
            }
        }
        if hand == Hand::Off
            && let Some(hub) = self.turns_on_again(node)
        {
            let sentence = format!(
                "when {node} is lost, {hub} turns it on again: give this command on {hub}, or put {node} into standby \
                 first"
            );
            return refused(RefusedKind::NotNow, sentence);
        }
        let absence = self.group.waits().find(|absence| absence.node == node);
        let member = self.group.view().and_then(|view| view.member(node));
        let life = member.map(|member| member.incarnation);
        match self.fencing.by_hand(self.now, node, hand, (absence, life)) {
            Err(sentence) => refused(RefusedKind::NotNow, sentence),
            Ok(()) => {
                self.drain_fencing();
                Ok(match hand {
                    Hand::Off => format!("turning the machine of {node} off"),
                    Hand::On => format!("turning the machine of {node} on"),
                    Hand::Reset => format!("turning the machine of {node} off and on again"),
                })
            }
        }
    }

    /// Another member that would turn the machine on again as soon as the view is without its node: the
    /// hub of that view, which knows nothing of a person's wish here. As a rule that is the present hub, or, for
    /// its own machine, the first of the others.
    fn turns_on_again(&self, node: NodeId) -> Option<NodeId> {
        let view = self.group.view()?;
        view.member(node)?;
        let mut services = self.engine.observation().services.values();
        let holds = services.any(|state| state.phase.holder().is_some_and(|h| h.node == node));
        let mut others = view.members.iter().map(|member| member.node);
        let next =
            if view.hub == node { others.find(|other| *other != node) } else { Some(view.hub) };
        next.filter(|hub| *hub != self.local.node && holds && self.fencing.reboots(node))
    }

    /// This life is over.
    pub(super) fn end_fencing(&mut self) {
        self.fencing.end();
        self.drain_fencing();
    }

    pub(super) fn drain_fencing(&mut self) {
        while let Some(out) = self.fencing.poll_output() {
            match out {
                Out::Run(run) => self.outputs.push_back(Output::Fence(run)),
                Out::Stop(run) => self.outputs.push_back(Output::FenceStop(run)),
                Out::Proven(absence) => {
                    self.work
                        .push_back(Work::Group(group::Input::Fenced(absence, group::Proof::Agent)));
                }
                Out::Begins { node, level, agents, verb } => {
                    let (verb, agents) = (verb.name(), agents.join(", "));
                    let sentence = format!("turning {node} {verb}: level {level} ({agents})");
                    self.event(EventKind::Fencing, Some(node), sentence);
                }
                Out::Record(record) => {
                    let node = record.node;
                    let (level, agents) = (record.level, record.agents.join(", "));
                    let verb = record.verb.name();
                    let sentence = match (&record.result, record.verb) {
                        (Ok(()), FenceVerb::On) => {
                            format!("{node} was turned on: level {level} ({agents})")
                        }
                        (Ok(()), _) => {
                            let took = record.took.as_millis();
                            format!("{node} was seen off after {took} ms: level {level} ({agents})")
                        }
                        (Err(reason), _) => {
                            format!("level {level} could not turn {node} {verb}: {reason}")
                        }
                    };
                    self.event(EventKind::Fencing, Some(node), sentence);
                    self.outputs.push_back(Output::FenceRecord(record));
                }
            }
        }
    }
}
