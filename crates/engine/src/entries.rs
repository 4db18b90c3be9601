//! What members say, put into the state: reports, outcomes, failures.
//!
//! An entry counts only when it comes from the member it is about and names the decision in
//! force; whatever is late, foreign or repeated changes nothing. A report is the only way in which
//! a service gets a holder without the plan: what runs already is adopted where it is, by the
//! first member that says so.

use std::collections::BTreeMap;

use base::Member;
use base::limits::{NAME_SIZE_MAX, SERVICES_MAX};

use crate::inability::{Inability, Stage, shortened};
use crate::intent::list;
use crate::journal::{Rule, bounded};
use crate::observation::{DecisionId, Phase, ServiceState};
use crate::plan::seconds;
use crate::replica::{Context, Draft, Replica};
use crate::wire::{Claim, Ending, Entry};

/// Services known at once: those configured, and as many that were removed and still run.
const KNOWN_MAX: usize = 2 * SERVICES_MAX;

impl Replica {
    pub(crate) fn entry(&mut self, context: &mut Context, origin: Member, entry: Entry) {
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
            Entry::Watchdog { timeout } => self.watchdog(context, origin, timeout),
            Entry::Unable { services } => self.unable(context, origin, services),
            Entry::Networks { networks } => self.networks(origin, networks),
            Entry::Jeopardy { node, is_so } => self.in_jeopardy(context, origin, node, is_so),
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
        self.observation.forget_absence(node);
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
                    Replica::release(self.position, state);
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
        let class = self.observation.class(&self.intent, service);
        let state = self.observation.services.get_mut(service).expect("the caller has seen it");
        state.intruders.retain(|member| member.node != holder.node);
        state.class = Some(class);
        // What another has found here may have been started as one that is contained.
        state.watched &= state.phase.holder().is_some_and(|former| former.node == holder.node);
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
        let left = self.observation.inabilities_left(origin.node);
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
            (Phase::Starting { .. }, Ending::Unable { reason }) => {
                let reason = bounded(&reason);
                let sentence = format!("{service} did not start on {name}: {reason}");
                // What it has said of itself since is newer.
                let reason = shortened(&reason);
                let unable = self.observation.unable.entry(origin.node).or_default();
                let is_known = unable.get(service).is_some_and(Inability::is_now);
                if !is_known && unable.len() < left {
                    let why = Inability { reason, stage: Stage::Lasting };
                    unable.insert(service.to_owned(), why);
                }
                (Phase::Idle, sentence)
            }
            (
                Phase::Starting { .. } | Phase::Stopping { .. },
                Ending::Stopped | Ending::StartFailed { .. } | Ending::Unable { .. },
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
            Phase::Idle => Replica::release(position, state),
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
