//! What becomes of an operator's command: judged against the situation, then put into the state.
//!
//! [`Replica::judge`] changes nothing, so the same judgement serves for the early answer on the
//! proposing node and for the one that counts. It yields the [`Change`] with names resolved, which
//! [`Replica::command`] then makes. A command never starts or stops anything itself: it changes
//! what is wanted, and the plan of the same delivery does the rest.

use base::limits::NAME_SIZE_MAX;
use base::{Member, NodeId};

use crate::class::{self, Class};
use crate::command::{Command, Refusal};
use crate::intent::{Intent, Mode, Service, list, nearest};
use crate::journal::Rule;
use crate::observation::{Observation, Phase, Request, ServiceState, Wish};
use crate::plan;
use crate::replica::{Context, Draft, Effect, Replica};

/// Bytes of the configuration file that is replicated with the intent.
pub const TEXT_SIZE_MAX: usize = 512 << 10;

/// A command that makes sense, with names resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Change {
    Start { service: String, node: Option<NodeId> },
    Stop { service: String },
    Move { service: String, to: Option<NodeId>, away: NodeId },
    Mode { service: String, nodes: Vec<NodeId>, mode: Mode },
    Clear { service: String, node: Option<NodeId> },
    Standby { node: NodeId, on: bool },
    Drain { member: Member },
    Configure { intent: Box<Intent>, text: String },
}

/// What a command asked for, to be answered once the plan has looked at it.
pub(crate) struct Asked {
    service: Option<String>,
    sentence: String,
}

impl Replica {
    /// Whether the command makes sense now.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, command: &Command) -> Result<(), Refusal> {
        self.judge(command).map(drop)
    }

    /// Applies a delivered command.
    pub(crate) fn command(
        &mut self,
        context: &mut Context,
        origin: Member,
        command: Command,
    ) -> Result<Asked, Refusal> {
        let (change, sentence) = self.judge(&command)?;
        let service = match &change {
            Change::Start { service, .. }
            | Change::Stop { service }
            | Change::Move { service, .. }
            | Change::Mode { service, .. }
            | Change::Clear { service, .. } => Some(service.clone()),
            Change::Standby { .. } | Change::Drain { .. } | Change::Configure { .. } => None,
        };
        let rule = match &change {
            Change::Configure { .. } => Rule::Configure,
            _ => Rule::Operator,
        };
        let by = self.intent.name_of(origin.node);
        let draft = Draft {
            service: service.as_deref(),
            because: None,
            rule,
            chosen: None,
            rejected: Vec::new(),
            sentence: format!("operator on {by}: {sentence}"),
        };
        let number = self.event(context, draft);
        if let Change::Stop { service } = &change {
            self.explain(service, "the operator stopped it".to_owned(), number);
        }
        self.make(context, change);
        Ok(Asked { service, sentence })
    }

    /// The answer: what the plan made of the wish.
    pub(crate) fn answer(&self, context: &Context, asked: Asked) -> String {
        let acted = context.effects.iter().filter_map(|effect| match effect {
            Effect::Note(note) if Some(note.number) > context.because => Some(note),
            _ => None,
        });
        let acted: Vec<&str> = match &asked.service {
            Some(service) => acted
                .filter(|note| note.service.as_deref() == Some(service))
                .map(|note| note.sentence.as_str())
                .collect(),
            None => acted.map(|note| note.sentence.as_str()).take(8).collect(),
        };
        let state = asked.service.as_ref().map(|name| (name, &self.observation.services[name]));
        match state {
            _ if !acted.is_empty() => format!("{}: {}", asked.sentence, acted.join("; ")),
            // Nothing came of it, so say how things are.
            Some((name, state)) => {
                let word = self.observation.state(&self.intent, name, state).name();
                let holder = state.phase.holder();
                let on = holder.map_or(String::new(), |h| format!(" on {}", self.name(h.node)));
                let why = if state.reason.is_empty() { "" } else { ": " };
                format!("{}: {name} is {word}{on}{why}{}", asked.sentence, state.reason)
            }
            None => asked.sentence,
        }
    }

    fn make(&mut self, context: &mut Context, change: Change) {
        let services = &mut self.observation.services;
        match change {
            Change::Start { service, node } => {
                let state = services.get_mut(&service).expect("judged to exist");
                state.wish = Wish::Started;
                match node {
                    None => state.failures.clear(),
                    Some(node) => drop(state.failures.remove(&node)),
                }
                let here = match state.phase {
                    Phase::Failed { holder, .. } => Some(holder.node),
                    _ => None,
                };
                let waits = matches!(state.phase, Phase::Idle | Phase::Stopping { .. });
                if let Some(to) = here.or(node.filter(|_| waits)) {
                    state.request = Some(Request {
                        to: Some(to),
                        away: None,
                        manual: true,
                        operator: node.is_some(),
                    });
                }
            }
            Change::Stop { service } => {
                let state = services.get_mut(&service).expect("judged to exist");
                state.wish = Wish::Stopped;
                state.request = None;
            }
            Change::Move { service, to, away } => {
                let state = services.get_mut(&service).expect("judged to exist");
                let away = Some(away);
                state.request = Some(Request { to, away, manual: false, operator: true });
            }
            Change::Mode { service, nodes, mode } => {
                let state = services.get_mut(&service).expect("judged to exist");
                state.modes.extend(nodes.into_iter().map(|node| (node, mode)));
            }
            Change::Clear { service, node } => {
                let state = services.get_mut(&service).expect("judged to exist");
                match node {
                    None => state.failures.clear(),
                    Some(node) => drop(state.failures.remove(&node)),
                }
                if let Phase::BrokenUnsafe { holder, retry, .. } = &mut state.phase
                    && node.is_none_or(|node| node == holder.node)
                {
                    *retry = true;
                }
            }
            Change::Standby { node, on: true } => {
                self.observation.standby.insert(node);
            }
            Change::Standby { node, on: false } => {
                // Not from leaving: the node may have told its group that nothing runs there.
                self.observation.standby.remove(node);
            }
            Change::Drain { member } => {
                self.observation.draining.insert(member.node, member.incarnation);
            }
            Change::Configure { intent, text } => self.configure(context, *intent, text),
        }
    }

    fn configure(&mut self, context: &mut Context, intent: Intent, text: String) {
        self.assert_goodbyes_stay(&intent);
        let before = core::mem::replace(&mut self.intent, intent);
        self.text = text;
        context.effects.push(Effect::Configured);
        let mut later = Vec::new();
        for spec in &self.intent.services {
            let state = self.observation.services.entry(spec.name.clone()).or_default();
            state.modes.retain(|node, _| spec.nodes.contains(node));
            state.failures.retain(|node, _| spec.nodes.contains(node));
            let Some(old) = before.service(&spec.name) else { continue };
            if old != spec {
                state.failures.clear(); // a changed service is a new situation
            }
            if state.phase == Phase::Idle {
                continue;
            }
            // What runs keeps running as it was started.
            state.stays |= old.nodes != spec.nodes;
            if old.resources != spec.resources || old.nodes != spec.nodes {
                later.push(spec.name.clone());
            }
        }
        self.let_go(context);
        for service in later {
            let draft = Draft {
                service: Some(&service),
                because: context.because,
                rule: Rule::Configure,
                chosen: None,
                rejected: Vec::new(),
                sentence: format!("{service} keeps running; its change acts at its next start"),
            };
            self.note(context, draft);
        }
    }

    fn judge(&self, command: &Command) -> Result<(Change, String), Refusal> {
        match command {
            Command::Start { service, node } => self.judge_start(service, node.as_deref()),
            Command::Stop { service } => {
                self.service(service)?;
                let change = Change::Stop { service: service.clone() };
                Ok((change, format!("stop {service}")))
            }
            Command::Move { service, to } => self.judge_move(service, to.as_deref()),
            Command::Auto { service, node } => {
                self.judge_mode(service, node.as_deref(), Mode::Automatic)
            }
            Command::Manual { service, node } => {
                self.judge_mode(service, node.as_deref(), Mode::Manual)
            }
            Command::Clear { service, node } => {
                // One that was removed and could not be stopped must be cleared as well.
                let removed = self.intent.service(service).is_none()
                    && self.observation.services.contains_key(service);
                let node = match node {
                    Some(node) if removed => Some(self.node(node)?),
                    Some(node) => Some(self.node_of(self.service(service)?.0, node)?),
                    None if removed => None,
                    None => self.service(service).map(|_| None)?,
                };
                let on = node.map_or(String::new(), |node| format!(" on {}", self.name(node)));
                let change = Change::Clear { service: service.clone(), node };
                Ok((change, format!("clear {service}{on}")))
            }
            Command::Standby { node } => {
                let change = Change::Standby { node: self.node(node)?, on: true };
                Ok((change, format!("standby {node}")))
            }
            Command::Online { node } => {
                let change = Change::Standby { node: self.node(node)?, on: false };
                Ok((change, format!("online {node}")))
            }
            Command::Drain { node } => {
                let id = self.node(node)?;
                let member = self.observation.member(id).ok_or_else(|| {
                    Refusal::not_now(format!("{node} is not a member, so it need not leave"))
                })?;
                Ok((Change::Drain { member }, format!("{node} is about to leave")))
            }
            Command::Configure { expected, intent, text } => {
                self.judge_configure(*expected, intent, text)
            }
        }
    }

    fn judge_start(&self, name: &str, node: Option<&str>) -> Result<(Change, String), Refusal> {
        let (spec, state) = self.service(name)?;
        if let Phase::BrokenUnsafe { holder, reason, .. } = &state.phase {
            let holder = self.name(holder.node);
            return Err(Refusal::not_now(format!(
                "{name} could not be stopped on {holder} ({reason}): clear it, which tries the \
                 stop again, or fence {holder}"
            )));
        }
        let Some(node) = node else {
            let all_manual = spec.nodes.iter().all(|node| state.mode(spec, *node) == Mode::Manual);
            let idle = matches!(state.phase, Phase::Idle | Phase::Stopping { .. });
            if all_manual && idle {
                let nodes = list(spec.nodes.iter().map(|node| self.name(*node)));
                return Err(Refusal::not_now(format!(
                    "{name} is manual on all its nodes ({nodes}): name the node to start it on"
                )));
            }
            let change = Change::Start { service: name.to_owned(), node: None };
            return Ok((change, format!("start {name}")));
        };
        let id = self.node_of(spec, node)?;
        // A failure there does not count: the operator knows better, or wants to try.
        let cleared = ServiceState { failures: Default::default(), ..state.clone() };
        if let Some(holder) = state.phase.holder() {
            let at = self.name(holder.node);
            let here = holder.node == id;
            let stopping = matches!(state.phase, Phase::Stopping { .. });
            if !stopping && !here {
                return Err(Refusal::not_now(format!(
                    "{name} is held by {at}: move it, or stop it first"
                )));
            }
        }
        if let Some(why) = plan::ineligible(&self.observation, spec, &cleared, id, true) {
            return Err(Refusal::not_now(format!("{name} cannot be started on {node}: {why}")));
        }
        let change = Change::Start { service: name.to_owned(), node: Some(id) };
        Ok((change, format!("start {name} on {node}")))
    }

    fn judge_move(&self, name: &str, to: Option<&str>) -> Result<(Change, String), Refusal> {
        let (spec, state) = self.service(name)?;
        let to = to.map(|node| self.node_of(spec, node)).transpose()?;
        let refuse = |sentence: String| Err(Refusal::not_now(sentence));
        let holder = match &state.phase {
            Phase::Starting { holder, .. }
            | Phase::Running { holder, .. }
            | Phase::Failed { holder, .. } => *holder,
            Phase::Idle => return refuse(format!("{name} is not running: start it instead")),
            Phase::Stopping { .. } => {
                return refuse(format!("{name} is being stopped: wait until that is done"));
            }
            Phase::BrokenUnsafe { holder, .. } => {
                let at = self.name(holder.node);
                return refuse(format!(
                    "{name} could not be stopped on {at}: clear it, which tries the stop again, or \
                     fence {at}"
                ));
            }
            Phase::Lost { holder } => {
                let at = self.name(holder.node);
                return refuse(format!(
                    "{name} may still run on {at}: it moves once {at} is fenced"
                ));
            }
        };
        let at = self.name(holder.node);
        if to == Some(holder.node) {
            return refuse(format!("{name} is on {at} already"));
        }
        // Stopping it now would leave it stopped.
        if let Some(why) = plan::unstartable(&self.intent, &self.observation, spec, state) {
            return refuse(format!("{name} could not be started elsewhere now: {why}"));
        }
        let why_not = |node: NodeId| {
            plan::ineligible(&self.observation, spec, state, node, false)
                .map(|why| format!("{}: {why}", self.name(node)))
        };
        match to {
            Some(node) => {
                if let Some(why) = why_not(node) {
                    let hint = match state.mode(spec, node) {
                        Mode::Manual => {
                            "; switch it to automatic, or stop the service and start \
                                         it there by name"
                        }
                        Mode::Automatic => "",
                    };
                    return refuse(format!("{name} cannot move to {why}{hint}"));
                }
            }
            None => {
                let others = || spec.nodes.iter().copied().filter(|node| *node != holder.node);
                if others().all(|node| why_not(node).is_some()) {
                    let why = list(others().filter_map(why_not));
                    let why = if why.is_empty() { "it has no other node".to_owned() } else { why };
                    return refuse(format!("{name} has nowhere to go from {at}: {why}"));
                }
            }
        }
        let target = to.map_or(format!("away from {at}"), |node| format!("to {}", self.name(node)));
        let change = Change::Move { service: name.to_owned(), to, away: holder.node };
        Ok((change, format!("move {name} {target}")))
    }

    fn judge_mode(
        &self,
        name: &str,
        node: Option<&str>,
        mode: Mode,
    ) -> Result<(Change, String), Refusal> {
        let (spec, _) = self.service(name)?;
        let (nodes, on) = match node {
            Some(node) => (vec![self.node_of(spec, node)?], node.to_owned()),
            None => (spec.nodes.clone(), list(spec.nodes.iter().map(|node| self.name(*node)))),
        };
        let change = Change::Mode { service: name.to_owned(), nodes, mode };
        Ok((change, format!("{name} is {} on {on}", mode.name())))
    }

    fn judge_configure(
        &self,
        expected: u64,
        intent: &Intent,
        text: &str,
    ) -> Result<(Change, String), Refusal> {
        let current = self.intent.version;
        if expected != current {
            return Err(Refusal::Stale { expected, current });
        }
        let refuse = |sentence: String| Err(Refusal::not_now(sentence));
        if expected.checked_add(1) != Some(intent.version) {
            return refuse(format!(
                "the new configuration says version {}, the next one is {}",
                intent.version,
                expected.saturating_add(1)
            ));
        }
        if text.len() > TEXT_SIZE_MAX {
            return refuse(format!("the configuration is longer than {TEXT_SIZE_MAX} bytes"));
        }
        if let Err(defect) = intent.check() {
            return refuse(defect);
        }
        if let Some(why) = self.forgets_storage(intent) {
            return refuse(why);
        }
        for node in self.intent.node_set().difference(intent.node_set()) {
            let name = self.name(node);
            if self.observation.is_member(node) {
                return refuse(format!("{name} is a member: it must leave before it is removed"));
            }
            let Observation { absences, lapsed, doubtful, .. } = &self.observation;
            let lasts = absences.contains_key(&node) && !lapsed.contains(node);
            let absent = lasts || doubtful.contains(node);
            let mut services = self.observation.services.values();
            let writes = services.any(|state| state.unfenced.contains(node));
            if absent || writes || !self.observation.is_idle(node) {
                return refuse(format!("{name} may still run something: fence it first"));
            }
        }
        let change = Change::Configure { intent: Box::new(intent.clone()), text: text.to_owned() };
        Ok((change, format!("configuration version {}", intent.version)))
    }

    /// Why a new configuration would let a lost node's storage be written to by another: it is known by
    /// the name of its service, by the service's class and by what makes it one of storage. As long as a
    /// lost node may write to it these stay; and what a lost node runs does not become storage meanwhile.
    fn forgets_storage(&self, intent: &Intent) -> Option<String> {
        for (name, state) in &self.observation.services {
            // A lost node does not hear of it, and says goodbye as if nothing had been written. That goodbye
            // may be on its way as an entry that ends the absence by itself, so what is a proof stays one.
            // All that runs somewhere counts: what is configured by now, what is configured no more, and
            // what never was, which is one of storage when nothing says otherwise.
            let was_contained = self.observation.class(&self.intent, name) == Class::Contained;
            let becomes = class::strongest(Some(state), intent.service(name)) > Class::Contained;
            if was_contained
                && becomes
                && let Some(node) = self.observation.lost_holder(name)
            {
                let node = self.name(node);
                let what = match intent.service(name) {
                    Some(_) => "its class",
                    None => "its removal or its new name",
                };
                return Some(format!(
                    "{node} may still run {name}: {what} must wait until it is free"
                ));
            }
        }
        for old in &self.intent.services {
            let name = &old.name;
            let class = self.observation.class(&self.intent, name);
            if class == Class::Contained {
                continue;
            }
            let writes = |service: &Service| {
                let writes = service.resources.iter().filter(|resource| resource.kind.is_storage());
                writes.map(|resource| resource.kind.clone()).collect::<Vec<_>>()
            };
            let what = match intent.service(name) {
                None => "its removal or its new name",
                Some(new) if new.class().0 < class => "its class",
                Some(new) if writes(old).iter().any(|kind| !writes(new).contains(kind)) => {
                    "a change of what it mounts or reserves"
                }
                Some(_) => continue,
            };
            if let Some(node) = self.observation.may_write(name) {
                let node = self.name(node);
                return Some(format!(
                    "{node} may still write to the storage of {name}: {what} must wait; fence {node}, or \
                     `mainstay node confirm-down {node}`"
                ));
            }
        }
        None
    }

    /// A goodbye is submitted where it is a proof, and its entry uses up the absence of its node: were it
    /// refused at its delivery, no other proof would come and nothing would ever be free. Between the two
    /// no start, report or outcome of a lost node is delivered (they come before the view without it), so
    /// only a configuration could make it worthless; `forgets_storage` refuses those.
    fn assert_goodbyes_stay(&self, intent: &Intent) {
        let lost = self.observation.absences.iter();
        for (node, absence) in lost.filter(|(node, _)| !self.observation.is_member(**node)) {
            let life = Member { node: *node, incarnation: absence.incarnation };
            let is_proof = |intent: &Intent| self.observation.is_goodbye_proof(intent, life);
            assert!(
                !is_proof(&self.intent) || is_proof(intent),
                "the goodbye of {life:?} may be on its way, and would be refused"
            );
        }
    }

    fn name(&self, node: NodeId) -> String {
        self.intent.name_of(node)
    }

    fn service(&self, name: &str) -> Result<(&Service, &ServiceState), Refusal> {
        let known = self.intent.service(name).zip(self.observation.services.get(name));
        known.ok_or_else(|| {
            let names = self.intent.services.iter().map(|service| service.name.as_str());
            let nearest = nearest(name, names).map(str::to_owned);
            Refusal::UnknownService { name: cut(name), nearest }
        })
    }

    fn node(&self, name: &str) -> Result<NodeId, Refusal> {
        self.intent.node_named(name).ok_or_else(|| {
            let names = self.intent.nodes.iter().map(|node| node.name.as_str());
            let nearest = nearest(name, names).map(str::to_owned);
            Refusal::UnknownNode { name: cut(name), nearest }
        })
    }

    /// A node of the service's list.
    fn node_of(&self, spec: &Service, name: &str) -> Result<NodeId, Refusal> {
        let node = self.node(name)?;
        if spec.nodes.contains(&node) {
            return Ok(node);
        }
        let nodes = list(spec.nodes.iter().map(|node| self.name(*node)));
        let sentence = format!("{} may not run on {name}; its nodes are {nodes}", spec.name);
        Err(Refusal::NotNow { sentence })
    }
}

/// A name that somebody gave, at most as long as names can be.
fn cut(name: &str) -> String {
    name.chars().take(NAME_SIZE_MAX).collect()
}
