//! The replicated machine: entries in, the same state out on every member.
//!
//! [`Replica::apply`] takes what the group delivered, changes what is known, lets
//! [`plan`](crate::plan::plan) look at the result and puts its actions into the state, all within
//! one delivery. Nothing of this node's own clock, lease or processes gets in here; these reach
//! the state as entries only.
//!
//! The holder rules (design, "Leases: why there is never a second owner"), each in one place:
//! a start is decided in [`Replica::carry_out`] and nowhere else; [`Replica::release`] is called
//! for a confirmed stop, a fence, a clean leave and a report, and nowhere else.

use std::collections::BTreeMap;

use base::codec;
use base::limits::{NAME_SIZE_MAX, SERVICES_MAX};
use base::{Incarnation, Member, NodeId};
use minicbor::{Decode, Encode};

use crate::fnv;
use crate::input::{Proof, ViewChange};
use crate::intent::{Intent, list};
use crate::journal::{Journal, Note, Rule, bounded};
use crate::observation::{Absence, DecisionId, Observation, Phase, ServiceState, Wish};
use crate::plan::{self, Action, PlanVerb, seconds};
use crate::wire::{Claim, Ending, Entry};

/// Services known at once: those configured, and as many that were removed and still run.
const KNOWN_MAX: usize = 2 * SERVICES_MAX;

/// Something delivered.
#[derive(Clone, Debug)]
pub enum Event {
    /// An entry.
    Entry {
        /// Its position in the total order.
        position: u64,
        /// Who submitted it.
        origin: Member,
        /// What it says; none when the bytes made no sense.
        entry: Option<Entry>,
    },
    /// A view.
    View(ViewChange),
    /// A proof that a lost life runs nothing any more.
    Fenced {
        /// Of which absence.
        absence: Absence,
        /// How it is known.
        proof: Proof,
    },
}

/// What follows for the node on which an event was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A new line of the journal.
    Note(Note),
    /// The answer to a command.
    Answer {
        /// Who proposed it.
        origin: Member,
        /// The number it was proposed under.
        request: u64,
        /// What to say.
        result: Result<String, crate::command::Refusal>,
    },
    /// The configuration changed.
    Configured,
}

/// All replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Replica {
    /// The configuration in force.
    #[n(0)]
    pub intent: Intent,
    /// The file it was read from; empty when that was never replicated.
    #[n(1)]
    pub text: String,
    /// What is known.
    #[n(2)]
    pub observation: Observation,
    /// Position of the last entry that was applied.
    #[n(3)]
    pub position: u64,
    /// Entries that made no sense.
    #[n(4)]
    pub malformed: u64,
    #[n(5)]
    decisions: u64,
    #[n(6)]
    notes: u64,
    /// For each recorded absence, the note about it.
    #[n(7)]
    absence_notes: BTreeMap<NodeId, u64>,
    /// Over all notes ever made, so that the checksum covers the journal without encoding it.
    #[n(8)]
    journal_hash: u64,
    #[n(9)]
    journal: Journal,
}

/// What one event brings about.
pub(crate) struct Context {
    pub(crate) effects: Vec<Effect>,
    /// The note about the event itself.
    pub(crate) because: Option<u64>,
    /// The event in words.
    pub(crate) cause: String,
}

/// A note about to be written.
pub(crate) struct Draft<'a> {
    pub(crate) service: Option<&'a str>,
    pub(crate) because: Option<u64>,
    pub(crate) rule: Rule,
    pub(crate) chosen: Option<NodeId>,
    pub(crate) rejected: Vec<(NodeId, String)>,
    pub(crate) sentence: String,
}

impl Replica {
    /// The state before anything was delivered.
    #[must_use]
    pub fn new(intent: Intent) -> Replica {
        let services = intent.services.iter();
        let services = services.map(|spec| (spec.name.clone(), ServiceState::default())).collect();
        Replica {
            intent,
            text: String::new(),
            observation: Observation { services, ..Observation::default() },
            position: 0,
            malformed: 0,
            decisions: 0,
            notes: 0,
            absence_notes: BTreeMap::new(),
            journal_hash: 0,
            journal: Journal::default(),
        }
    }

    /// Applies one delivered event.
    #[must_use]
    pub fn apply(&mut self, event: Event) -> Vec<Effect> {
        let mut context = Context { effects: Vec::new(), because: None, cause: String::new() };
        let mut answer = None;
        match event {
            Event::Entry { position, origin, entry } => {
                self.position = position;
                match entry {
                    None => self.malformed += 1,
                    Some(Entry::Command { request, command }) => {
                        let result = self.command(&mut context, origin, command);
                        answer = Some((origin, request, result));
                    }
                    Some(entry) => self.entry(&mut context, origin, entry),
                }
            }
            Event::View(change) => self.view(&mut context, change),
            Event::Fenced { absence, proof } => self.fenced(&mut context, absence, proof),
        }
        self.replan(&mut context);
        if let Some((origin, request, result)) = answer {
            let result = result.map(|asked| self.answer(&context, asked));
            context.effects.push(Effect::Answer { origin, request, result });
        }
        context.effects
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Of all replicated state.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        let counters = (self.position, self.malformed, self.decisions, self.notes);
        let state = (&self.intent, &self.text, &self.observation, counters, self.journal_hash);
        fnv::hash(&codec::encode(&state))
    }

    /// Looks at the situation and puts what follows into the state.
    fn replan(&mut self, context: &mut Context) {
        let plan = plan::plan(&self.intent, &self.observation);
        for action in plan.actions {
            self.carry_out(context, action);
        }
        for waiting in plan.waiting {
            let state = &self.observation.services[&waiting.service];
            if state.reason != waiting.reason {
                let draft = Draft {
                    service: Some(&waiting.service),
                    because: context.because,
                    rule: Rule::Wait,
                    chosen: None,
                    rejected: waiting.rejected,
                    sentence: format!("{}: {}", waiting.service, waiting.reason),
                };
                let number = self.note(context, draft);
                self.explain(&waiting.service, waiting.reason, number);
            }
        }
        let intent = &self.intent;
        self.observation.services.retain(|name, state| {
            intent.service(name).is_some()
                || state.phase != Phase::Idle
                || !state.intruders.is_empty()
        });
    }

    /// Puts an action of the plan into the state: from this delivery on the member is the holder.
    fn carry_out(&mut self, context: &mut Context, action: Action) {
        let decision = self.decision();
        let suspects = self.observation.suspects;
        let state = self.observation.services.get_mut(&action.service);
        let state = state.expect("a plan speaks of known services");
        let (holder, node) = (action.member, action.member.node);
        match action.verb {
            PlanVerb::Start => {
                assert!(state.phase == Phase::Idle, "a start needs a service without holder");
                assert!(suspects.is_empty() && state.intruders.is_empty(), "nobody may run it");
                state.phase = Phase::Starting { holder, decision, partial: false };
                state.stays = action.rule == Rule::Requested
                    && state.request.is_some_and(|request| request.operator);
                state.request = None;
            }
            PlanVerb::Restart => {
                assert!(state.phase.holder() == Some(holder), "only the holder restarts");
                state.phase = Phase::Starting { holder, decision, partial: false };
                state.request = None;
            }
            PlanVerb::Stop => {
                assert!(state.phase.holder() == Some(holder), "only the holder stops");
                state.phase = Phase::Stopping { holder, decision };
                state.request = action.then;
            }
        }
        state.since = self.position;
        let name = self.intent.name_of(node);
        let did = match action.verb {
            PlanVerb::Start => "is started on",
            PlanVerb::Restart => "is restarted on",
            PlanVerb::Stop => "is stopped on",
        };
        let reason = action.reason;
        let draft = Draft {
            service: Some(&action.service),
            because: context.because,
            rule: action.rule,
            chosen: Some(node),
            rejected: action.rejected,
            sentence: format!("{} {did} {name}: {reason}", action.service),
        };
        let number = self.note(context, draft);
        self.explain(&action.service, reason, number);
    }

    fn decision(&mut self) -> DecisionId {
        self.decisions += 1;
        DecisionId(self.decisions)
    }

    /// Remembers why the service does what it does.
    pub(crate) fn explain(&mut self, service: &str, reason: String, note: u64) {
        if let Some(state) = self.observation.services.get_mut(service) {
            state.reason = reason;
            state.note = Some(note);
        }
    }

    /// Writes a note; returns its number.
    pub(crate) fn note(&mut self, context: &mut Context, draft: Draft<'_>) -> u64 {
        self.notes += 1;
        let view = self.observation.view.as_ref();
        let note = Note {
            number: self.notes,
            position: self.position,
            generation: view.map_or(0, |view| view.generation),
            because: draft.because,
            service: draft.service.map(str::to_owned),
            cause: context.cause.clone(),
            rule: draft.rule,
            chosen: draft.chosen,
            rejected: draft.rejected,
            sentence: draft.sentence,
        };
        let hash = self.journal.add(note.clone());
        self.journal_hash = fnv::hash(&[self.journal_hash, hash].map(u64::to_be_bytes).concat());
        context.effects.push(Effect::Note(note));
        self.notes
    }

    /// Writes the note about the event itself; later notes of this delivery follow from it.
    pub(crate) fn event(&mut self, context: &mut Context, draft: Draft<'_>) -> u64 {
        context.cause.clone_from(&draft.sentence);
        let number = self.note(context, draft);
        context.because = Some(number);
        number
    }

    /// The service has no holder any more. Whoever calls this has proof that nothing of it runs.
    fn release(position: u64, state: &mut ServiceState) {
        state.phase = Phase::Idle;
        state.since = position;
    }

    /// Nothing of these lives of a node runs any more.
    fn free(&mut self, node: NodeId, newest: Incarnation) -> Vec<String> {
        let gone = |member: &Member| member.node == node && member.incarnation <= newest;
        let mut freed = Vec::new();
        for (name, state) in &mut self.observation.services {
            state.intruders.retain(|member| !gone(member));
            if state.phase.holder().is_some_and(|holder| gone(&holder)) {
                Self::release(self.position, state);
                freed.push(name.clone());
            }
        }
        freed
    }

    fn view(&mut self, context: &mut Context, change: ViewChange) {
        let ViewChange { view, joined, left, lost, formed } = change;
        if formed {
            // Nothing is known but the configuration: every configured node may run anything.
            let (intent, text) =
                (core::mem::take(&mut self.intent), core::mem::take(&mut self.text));
            *self = Replica { text, ..Replica::new(intent) };
            self.decisions = view.generation << 32;
            self.observation.suspects = self.intent.node_set().union(view.nodes());
            self.observation.unreported = view.nodes();
        }
        let generation = view.generation;
        let observation = &mut self.observation;
        let here = view.nodes();
        observation.unreported = observation.unreported.intersection(here);
        observation.unreported =
            joined.iter().map(|m| m.node).fold(observation.unreported, |mut nodes, node| {
                nodes.insert(node);
                nodes
            });
        let has = |member: &Member| view.has(*member);
        observation
            .draining
            .retain(|node, incarnation| has(&Member { node: *node, incarnation: *incarnation }));
        for absence in &lost {
            observation.absences.insert(absence.node, *absence);
        }
        for member in &left {
            if !here.contains(member.node) {
                observation.suspects.remove(member.node);
                observation.absences.remove(&member.node);
            }
        }
        observation.settled |= self.intent.node_set().is_subset(here);
        for state in observation.services.values_mut() {
            for member in &joined {
                // A node that comes back is a new situation.
                if let Some(failures) = state.failures.get_mut(&member.node) {
                    failures.blocked = None;
                }
            }
            let holder = state.phase.holder().filter(|holder| !has(holder));
            if let Some(holder) = holder
                && !matches!(state.phase, Phase::Lost { .. })
            {
                state.phase = Phase::Lost { holder };
                state.since = self.position;
            }
        }
        observation.view = Some(view);

        let names = |nodes: Vec<NodeId>| list(nodes.into_iter().map(|n| self.intent.name_of(n)));
        let mut parts = Vec::new();
        if formed {
            parts.push(format!("a cluster of {} formed", self.intent.names_of(here)));
        } else if !joined.is_empty() {
            parts.push(format!("{} joined", names(joined.iter().map(|m| m.node).collect())));
        }
        if !left.is_empty() {
            parts.push(format!("{} left", names(left.iter().map(|m| m.node).collect())));
        }
        if !lost.is_empty() {
            let what = if formed { "absent" } else { "lost" };
            let nodes: Vec<NodeId> = lost.iter().map(|absence| absence.node).collect();
            let were = if nodes.len() == 1 { "was" } else { "were" };
            parts.push(format!("{} {were} {what}", names(nodes)));
        }
        if parts.is_empty() {
            parts.push("the same members go on".to_owned());
        }
        let draft = Draft {
            service: None,
            because: None,
            rule: Rule::View,
            chosen: None,
            rejected: Vec::new(),
            sentence: format!("{} (generation {generation})", parts.join("; ")),
        };
        let number = self.event(context, draft);
        for absence in &lost {
            self.absence_notes.insert(absence.node, number);
        }
        for member in &left {
            let freed = self.free(member.node, member.incarnation);
            for service in freed {
                self.freed(context, &service, "its node left in order, so nothing of it runs");
            }
        }
    }

    /// Notes that a service lost its holder.
    fn freed(&mut self, context: &mut Context, service: &str, why: &str) {
        let draft = Draft {
            service: Some(service),
            because: context.because,
            rule: Rule::Fenced,
            chosen: None,
            rejected: Vec::new(),
            sentence: format!("{service} is free: {why}"),
        };
        let number = self.note(context, draft);
        self.explain(service, why.to_owned(), number);
    }

    fn fenced(&mut self, context: &mut Context, absence: Absence, proof: Proof) {
        let node = absence.node;
        let recorded = self.observation.absences.get(&node);
        // A newer life of the node has adopted what runs there, or the proof is about an older
        // absence than the one we know of: it proves nothing about now.
        if self.observation.is_member(node)
            || recorded.is_none_or(|recorded| recorded.generation != absence.generation)
        {
            return;
        }
        self.observation.absences.remove(&node);
        self.observation.suspects.remove(node);
        let because = self.absence_notes.remove(&node);
        let name = self.intent.name_of(node);
        let draft = Draft {
            service: None,
            because,
            rule: Rule::Fenced,
            chosen: Some(node),
            rejected: Vec::new(),
            sentence: format!("{name} is fenced: {}", proof.name()),
        };
        self.event(context, draft);
        for service in self.free(node, absence.incarnation) {
            self.freed(context, &service, &format!("{name} is fenced"));
        }
    }

    fn entry(&mut self, context: &mut Context, origin: Member, entry: Entry) {
        match entry {
            Entry::Report { claims } => self.report(context, origin, claims),
            Entry::Settled => self.settled(context),
            Entry::Outcome { service, decision, result } => {
                self.outcome(context, origin, &service, decision, result);
            }
            Entry::Failed { service, decision, resource, reason, stamp } => {
                let what = format!("{} failed: {}", bounded(&resource), bounded(&reason));
                self.failed(context, origin, &service, decision, what, stamp);
            }
            Entry::Stable { service, decision } => {
                self.stable(context, origin, &service, decision);
            }
            Entry::Remark { service, text } => {
                let known = self.observation.services.get(&service);
                let Some(because) = known.map(|state| state.note) else { return };
                let name = self.intent.name_of(origin.node);
                let draft = Draft {
                    service: Some(&service),
                    because,
                    rule: Rule::Remark,
                    chosen: Some(origin.node),
                    rejected: Vec::new(),
                    sentence: format!("{service} on {name}: {}", bounded(&text)),
                };
                self.event(context, draft);
            }
            Entry::Command { .. } => unreachable!("commands are answered by their caller"),
        }
    }

    fn settled(&mut self, context: &mut Context) {
        if self.observation.settled {
            return;
        }
        self.observation.settled = true;
        let draft = Draft {
            service: None,
            because: None,
            rule: Rule::Settled,
            chosen: None,
            rejected: Vec::new(),
            sentence: "absent nodes have been waited for long enough".to_owned(),
        };
        self.event(context, draft);
    }

    /// A new member says what it runs: it is no suspect any more, and keeps what it may keep.
    fn report(&mut self, context: &mut Context, origin: Member, claims: Vec<Claim>) {
        let node = origin.node;
        let is_member = self.observation.member(node) == Some(origin);
        if !is_member || !self.observation.unreported.remove(node) {
            return;
        }
        self.observation.suspects.remove(node);
        self.observation.absences.remove(&node);
        let because = self.absence_notes.remove(&node);
        let mut claims: BTreeMap<String, Vec<String>> = claims
            .into_iter()
            .filter(|claim| claim.service.len() <= NAME_SIZE_MAX)
            .take(SERVICES_MAX)
            .map(|claim| (claim.service, claim.running))
            .collect();
        let name = self.intent.name_of(node);
        let runs = match claims.len() {
            0 => "nothing".to_owned(),
            _ => list(claims.keys()),
        };
        let draft = Draft {
            service: None,
            because,
            rule: Rule::Report,
            chosen: Some(node),
            rejected: Vec::new(),
            sentence: bounded(&format!("{name} says that it runs {runs}")),
        };
        self.event(context, draft);

        let known: Vec<String> = self.observation.services.keys().cloned().collect();
        for service in known {
            let state = &self.observation.services[&service];
            let holder = state.phase.holder();
            let running = claims.remove(&service);
            let ours = holder.is_some_and(|holder| holder.node == node);
            let configured = self.intent.service(&service).is_some();
            match running {
                None if ours => {
                    let state = self.observation.services.get_mut(&service).expect("just seen");
                    state.intruders.retain(|member| member.node != node);
                    Self::release(self.position, state);
                    let why = format!("the new life of {name} runs nothing of it");
                    self.freed(context, &service, &why);
                }
                None => {
                    let state = self.observation.services.get_mut(&service).expect("just seen");
                    state.intruders.retain(|member| member.node != node);
                }
                Some(running) if ours || holder.is_none() && configured => {
                    self.adopt(context, origin, &service, &running);
                }
                Some(_) => self.intrudes(context, origin, &service),
            }
        }
        for service in claims.into_keys() {
            if self.observation.services.len() < KNOWN_MAX {
                self.observation.services.insert(service.clone(), ServiceState::default());
                self.intrudes(context, origin, &service);
            }
        }
    }

    fn adopt(&mut self, context: &mut Context, holder: Member, service: &str, running: &[String]) {
        let decision = self.decision();
        let missing: Vec<&str> = match self.intent.service(service) {
            Some(spec) => {
                let names = spec.resources.iter().map(|resource| resource.name.as_str());
                names.filter(|name| !running.iter().any(|found| found == name)).collect()
            }
            None => Vec::new(),
        };
        let name = self.intent.name_of(holder.node);
        let (phase, reason) = if missing.is_empty() {
            let reason = format!("it was running on {name} already");
            (Phase::Running { holder, decision }, reason)
        } else {
            let reason = format!(
                "it was running on {name} already, without {}, which is now started",
                list(&missing)
            );
            (Phase::Starting { holder, decision, partial: true }, reason)
        };
        let state = self.observation.services.get_mut(service).expect("the caller has seen it");
        state.intruders.retain(|member| member.node != holder.node);
        state.phase = phase;
        state.since = self.position;
        state.request = None;
        let draft = Draft {
            service: Some(service),
            because: context.because,
            rule: Rule::Adopt,
            chosen: Some(holder.node),
            rejected: Vec::new(),
            sentence: format!("{service} is adopted: {reason}"),
        };
        let number = self.note(context, draft);
        self.explain(service, reason, number);
    }

    fn intrudes(&mut self, context: &mut Context, origin: Member, service: &str) {
        let state = self.observation.services.get_mut(service).expect("the caller has seen it");
        state.intruders.retain(|member| member.node != origin.node);
        state.intruders.push(origin);
        let name = self.intent.name_of(origin.node);
        let why = match state.phase.holder() {
            Some(holder) => format!("{} holds it", self.intent.name_of(holder.node)),
            None => "it is not configured".to_owned(),
        };
        let draft = Draft {
            service: Some(service),
            because: context.because,
            rule: Rule::Report,
            chosen: Some(origin.node),
            rejected: Vec::new(),
            sentence: format!("{service} runs on {name} and must be stopped there: {why}"),
        };
        self.note(context, draft);
    }

    fn outcome(
        &mut self,
        context: &mut Context,
        origin: Member,
        service: &str,
        decision: Option<DecisionId>,
        result: Ending,
    ) {
        let position = self.position;
        let name = self.intent.name_of(origin.node);
        let Some(state) = self.observation.services.get_mut(service) else { return };
        let because = state.note;
        let Some(decision) = decision else {
            let confirmed = !matches!(result, Ending::StopFailed { .. });
            if !state.intruders.contains(&origin) || !confirmed {
                return;
            }
            state.intruders.retain(|member| *member != origin);
            let sentence = format!("{service} is stopped on {name}, where it did not belong");
            self.outcome_note(context, origin, service, because, sentence);
            return;
        };
        if state.phase.holder() != Some(origin) || state.phase.decision() != Some(decision) {
            return; // late: it answers a decision that is not in force any more
        }
        let blocked = |state: &mut ServiceState, reason: String| {
            let failures = state.failures.entry(origin.node).or_default();
            failures.blocked = Some(reason);
            failures.forgiven = false;
        };
        let (phase, sentence) = match (&state.phase, result) {
            (Phase::Starting { holder, .. }, Ending::Started) => {
                let phase = Phase::Running { holder: *holder, decision };
                (phase, format!("{service} runs on {name}"))
            }
            (Phase::Starting { .. }, Ending::StartFailed { reason }) => {
                let reason = format!("start failed: {}", bounded(&reason));
                let sentence = format!("{service} did not start on {name}: {reason}");
                blocked(state, reason);
                (Phase::Idle, sentence)
            }
            (
                Phase::Starting { .. } | Phase::Stopping { .. },
                Ending::Stopped | Ending::StartFailed { .. },
            ) => (Phase::Idle, format!("{service} is stopped on {name}, confirmed")),
            (
                Phase::Starting { holder, .. } | Phase::Stopping { holder, .. },
                Ending::StopFailed { reason },
            ) => {
                let holder = *holder;
                let reason = bounded(&reason);
                let sentence = format!("{service} could not be stopped on {name}: {reason}");
                state.request = None;
                (Phase::BrokenUnsafe { holder, reason, retry: false }, sentence)
            }
            _ => return,
        };
        match phase {
            Phase::Idle => Self::release(position, state),
            phase => {
                state.phase = phase;
                state.since = position;
            }
        }
        let running = matches!(state.phase, Phase::Running { .. });
        let reason = state.reason.clone();
        let number = self.outcome_note(context, origin, service, because, sentence.clone());
        // A running service runs for the reason for which it was started.
        self.explain(service, if running { reason } else { sentence }, number);
    }

    fn outcome_note(
        &mut self,
        context: &mut Context,
        origin: Member,
        service: &str,
        because: Option<u64>,
        sentence: String,
    ) -> u64 {
        let draft = Draft {
            service: Some(service),
            because,
            rule: Rule::Outcome,
            chosen: Some(origin.node),
            rejected: Vec::new(),
            sentence,
        };
        self.event(context, draft)
    }

    fn failed(
        &mut self,
        context: &mut Context,
        origin: Member,
        service: &str,
        decision: DecisionId,
        what: String,
        stamp: u64,
    ) {
        let Some(state) = self.observation.services.get_mut(service) else { return };
        if state.phase != (Phase::Running { holder: origin, decision }) {
            return; // late, or about something that is being dealt with already
        }
        state.phase = Phase::Failed { holder: origin, decision, reason: what.clone() };
        state.since = self.position;
        let because = state.note;
        if let Some(spec) = self.intent.service(service) {
            let window = u64::try_from(spec.restart.window.as_nanos()).unwrap_or(u64::MAX);
            let failures = state.failures.entry(origin.node).or_default();
            // A stamp from the future is from before a reboot: that clock began anew.
            failures.stamps.retain(|old| stamp.checked_sub(*old).is_some_and(|age| age < window));
            failures.stamps.push(stamp);
            if failures.stamps.len() > spec.restart.count as usize {
                let count = failures.stamps.len();
                let plural = if count == 1 { "failure" } else { "failures" };
                let within = seconds(spec.restart.window);
                failures.blocked =
                    Some(format!("{count} {plural} within {within}, the last: {what}"));
                failures.forgiven = false;
            }
        }
        let name = self.intent.name_of(origin.node);
        let draft = Draft {
            service: Some(service),
            because,
            rule: Rule::Failure,
            chosen: Some(origin.node),
            rejected: Vec::new(),
            sentence: format!("{service} on {name}: {what}"),
        };
        let number = self.event(context, draft);
        self.explain(service, what, number);
    }

    fn stable(
        &mut self,
        context: &mut Context,
        origin: Member,
        service: &str,
        decision: DecisionId,
    ) {
        let Some(state) = self.observation.services.get_mut(service) else { return };
        if state.phase != (Phase::Running { holder: origin, decision }) || !state.has_failures() {
            return;
        }
        state.failures.remove(&origin.node);
        for failures in state.failures.values_mut() {
            failures.stamps.clear();
            failures.forgiven = true;
        }
        state.failures.retain(|_, failures| failures.blocked.is_some());
        let because = state.note;
        let name = self.intent.name_of(origin.node);
        let sentence = format!("{service} has run well on {name}: earlier failures are forgiven");
        self.outcome_note(context, origin, service, because, sentence);
    }
}

impl ServiceState {
    /// Whether there are failures that time can forgive.
    pub(crate) fn has_failures(&self) -> bool {
        self.failures.values().any(|failures| {
            !failures.stamps.is_empty() || failures.blocked.is_some() && !failures.forgiven
        })
    }

    /// Whether the service shall run.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wish == Wish::Started
    }
}
