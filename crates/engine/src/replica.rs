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
use base::{Incarnation, Member, NodeId};
use minicbor::{Decode, Encode};

use crate::class::{self, Armed, Class};
use crate::fnv;
use crate::input::{Proof, ViewChange};
use crate::intent::{Intent, list};
use crate::journal::{Journal, Note, Rule};
use crate::observation::{Absence, DecisionId, Observation, Phase, ServiceState, Wish};
use crate::plan::{self, Action, PlanVerb};
use crate::wire::Entry;

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
    /// The file it was read from.
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
    pub(crate) absence_notes: BTreeMap<NodeId, u64>,
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
    pub fn new(intent: Intent, text: String) -> Replica {
        let services = intent.services.iter();
        let services = services.map(|spec| (spec.name.clone(), ServiceState::default())).collect();
        Replica {
            intent,
            text,
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
        let specs = self.intent.by_name();
        self.observation.services.retain(|name, state| {
            specs.contains_key(name.as_str())
                || state.phase != Phase::Idle
                || !state.intruders.is_empty()
        });
    }

    /// Puts an action of the plan into the state: from this delivery on the member is the holder.
    fn carry_out(&mut self, context: &mut Context, action: Action) {
        let decision = self.decision();
        let suspects = self.observation.suspects;
        let class = self.observation.class(&self.intent, &action.service);
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
                state.class = self.intent.service(&action.service).map(|spec| spec.class().0);
                state.watched = state.class > Some(Class::Contained);
            }
            PlanVerb::Restart => {
                assert!(state.phase.holder() == Some(holder), "only the holder restarts");
                // Some of it may have run before it became one of storage: `watched` stays.
                state.class = Some(class);
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

    pub(crate) fn decision(&mut self) -> DecisionId {
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
    pub(crate) fn release(position: u64, state: &mut ServiceState) {
        state.phase = Phase::Idle;
        state.since = position;
    }

    /// Nothing of these lives of a node runs any more, in services up to that class.
    fn free(&mut self, node: NodeId, newest: Incarnation, most: Class) -> Vec<String> {
        let specs = self.intent.by_name();
        let class = |name: &str, state| class::strongest(Some(state), specs.get(name).copied());
        let names: Vec<String> = (self.observation.services.iter())
            .filter(|(name, state)| class(name, state) <= most)
            .map(|(name, _)| name.clone())
            .collect();
        self.free_these(node, newest, names)
    }

    fn free_these(&mut self, node: NodeId, newest: Incarnation, names: Vec<String>) -> Vec<String> {
        let gone = |member: &Member| member.node == node && member.incarnation <= newest;
        let mut freed = Vec::new();
        for name in names {
            let state = self.observation.services.get_mut(&name).expect("it was just listed");
            state.intruders.retain(|member| !gone(member));
            if state.phase.holder().is_some_and(|holder| gone(&holder)) {
                Self::release(self.position, state);
                freed.push(name);
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
            *self = Replica::new(intent, text);
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
        // A new life says so itself.
        let goes_on =
            |node: &NodeId| here.contains(*node) && joined.iter().all(|m| m.node != *node);
        observation.unable.retain(|node, _| goes_on(node));
        observation.networks.retain(|node, _| goes_on(node));
        observation
            .draining
            .retain(|node, incarnation| has(&Member { node: *node, incarnation: *incarnation }));
        for absence in &lost {
            observation.absences.insert(absence.node, *absence);
            observation.lapsed.remove(absence.node);
        }
        for member in &left {
            if !here.contains(member.node) {
                observation.suspects.remove(member.node);
                observation.forget_absence(member.node);
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
            let freed = self.free(member.node, member.incarnation, Class::Storage);
            for service in freed {
                self.freed(context, &service, "its node left in order, so nothing of it runs");
            }
        }
    }

    /// Notes that a service lost its holder.
    pub(crate) fn freed(&mut self, context: &mut Context, service: &str, why: &str) {
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
        if proof == Proof::Time {
            return self.lapsed(context, absence);
        }
        let life = Member { node, incarnation: absence.incarnation };
        if proof == Proof::Watchdog && self.observation.resets(&self.intent, life).is_none() {
            return; // it was fed as long as nothing that writes was entered there
        }
        if proof == Proof::Goodbye && !self.observation.is_goodbye_proof(&self.intent, life) {
            return; // the guard may not have known what it had to look for
        }
        let was_lapsed = self.observation.lapsed.contains(node);
        let was_doubtful = self.observation.doubtful.contains(node);
        let mut services = self.observation.services.values();
        let intruded = services.any(|state| state.intruders.iter().any(|m| m.node == node));
        self.observation.forget_absence(node);
        self.observation.suspects.remove(node);
        let because = self.absence_notes.remove(&node);
        let freed = self.free(node, absence.incarnation, Class::Storage);
        if was_lapsed && !was_doubtful && !intruded && freed.is_empty() {
            return; // nothing waited for it
        }
        let name = self.fenced_note(context, node, because, proof);
        for service in freed {
            self.freed(context, &service, &format!("{name} is fenced"));
        }
    }

    /// The lease of an absent node is over: it runs nothing any more, and may write.
    fn lapsed(&mut self, context: &mut Context, absence: Absence) {
        let node = absence.node;
        if !self.observation.lapsed.insert(node) {
            return;
        }
        if self.observation.suspects.remove(node) {
            self.observation.doubtful.insert(node);
        }
        // The note stays known: what only a proof frees follows from it as well.
        let because = self.absence_notes.get(&node).copied();
        self.fenced_note(context, node, because, Proof::Time);
        self.free_contained(context, node, absence.incarnation);
        self.note_unproven(context, node);
    }

    /// The end of the lease frees what it stops, and what the next start stops, unless the node keeps it.
    fn free_contained(&mut self, context: &mut Context, node: NodeId, newest: Incarnation) {
        if self.observation.is_kept(self.intent.jeopardy, node) {
            return;
        }
        let name = self.intent.name_of(node);
        let is_reserved =
            |service: &String| self.observation.class(&self.intent, service) == Class::Reserved;
        let reserved: Vec<String> = self
            .observation
            .services
            .keys()
            .filter(|service| is_reserved(service))
            .cloned()
            .collect();
        for service in &reserved {
            let state = self.observation.services.get_mut(service).expect("it was just listed");
            let holder = state.phase.holder().into_iter();
            if holder.chain(state.intruders.iter().copied()).any(|member| member.node == node) {
                state.unfenced.insert(node);
            }
        }
        for service in self.free(node, newest, Class::Reserved) {
            let why = match reserved.contains(&service) {
                true => format!("{name} is fenced, and loses the disks of it to the next start"),
                false => format!("{name} is fenced"),
            };
            self.freed(context, &service, &why);
        }
    }

    /// A new policy is in force: nodes that were lost in jeopardy may keep nothing any more.
    pub(crate) fn let_go(&mut self, context: &mut Context) {
        let Observation { absences, lapsed, jeopardy, .. } = &self.observation;
        let kept: Vec<(NodeId, Incarnation)> = (lapsed.intersection(*jeopardy).into_iter())
            .filter_map(|node| Some((node, absences.get(&node)?.incarnation)))
            .collect();
        for (node, newest) in kept {
            self.free_contained(context, node, newest);
        }
    }

    fn fenced_note(
        &mut self,
        context: &mut Context,
        node: NodeId,
        because: Option<u64>,
        proof: Proof,
    ) -> String {
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
        name
    }
}

impl Observation {
    /// Nothing of the node's former lives is left, or its new life says what is.
    pub(crate) fn forget_absence(&mut self, node: NodeId) {
        self.absences.remove(&node);
        self.lapsed.remove(node);
        self.doubtful.remove(node);
        self.jeopardy.remove(node);
        for state in self.services.values_mut() {
            state.unfenced.remove(node);
        }
        let member = self.member(node);
        let is_past = |armed: &Armed| member.is_none_or(|m| m.incarnation != armed.incarnation);
        if self.watchdogs.get(&node).is_some_and(is_past) {
            self.watchdogs.remove(&node);
        }
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
