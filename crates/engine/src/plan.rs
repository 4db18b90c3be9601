//! What should happen next: a pure function of what is wanted and what is known.
//!
//! Every member computes the same plan after every delivered entry and carries out only its own
//! actions. There is no leader and no transition graph: each service is looked at on its own, and
//! at most one action is under way for it. The plan never looks into the future either; it stops a
//! service where it must not stay and, when the stop is confirmed, finds the best place anew. So
//! whatever happens in between (the target dies, the operator changes their mind) needs no rule of
//! its own.
//!
//! The order of the rules, for a service that
//! - **nobody holds**: started on the requested node, else on the first node of its list that can
//!   run it, but only when the cluster is settled, no node is a suspect and no intruder runs it;
//! - **runs or starts**: stopped when it is removed, stopped by an operator, moved, on a node that
//!   shall run nothing, or when it fails back;
//! - **failed** while running: restarted in place within its limit, else moved, else stopped; on a
//!   manual node it is left to the operator when there is nowhere to go;
//! - **is lost, or could not be stopped**: left alone until somebody proves that it is free.

use base::{Member, NodeId};

use crate::class::by_proof_only;
use crate::inability::{Inability, Stage};
use crate::intent::{Failback, Intent, Mode, Service};
use crate::journal::Rule;
use crate::observation::{Observation, Phase, Request, ServiceState, Wish};

/// What should happen next, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// At most one for each service.
    pub actions: Vec<Action>,
    /// The services for which nothing is done although they should run, in the same order.
    pub waiting: Vec<Waiting>,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// To which service.
    pub service: String,
    /// What.
    pub verb: PlanVerb,
    /// By whom.
    pub member: Member,
    /// By which rule.
    pub rule: Rule,
    /// Why, in words.
    pub reason: String,
    /// The nodes that were passed over, and why.
    pub rejected: Vec<(NodeId, String)>,
    /// Where it shall go afterwards.
    pub then: Option<Request>,
}

/// What a plan can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PlanVerb {
    /// Start it; the member becomes its holder.
    Start,
    /// The holder stops what failed, with all that was started after it, and starts it again.
    Restart,
    /// The holder stops it.
    Stop,
}

impl PlanVerb {
    /// The verb as a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            PlanVerb::Start => "start",
            PlanVerb::Restart => "restart",
            PlanVerb::Stop => "stop",
        }
    }
}

/// A service that should run and for which nothing can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub service: String,
    /// What it waits for.
    pub reason: String,
    /// The nodes that cannot run it, and why.
    pub rejected: Vec<(NodeId, String)>,
}

/// The plan for this situation.
#[must_use]
pub fn plan(intent: &Intent, observation: &Observation) -> Plan {
    let mut plan = Plan::default();
    let specs = intent.by_name();
    for (name, state) in &observation.services {
        let spec = specs.get(name.as_str()).copied();
        let look = Look { intent, observation, name, spec, state };
        match look.step() {
            Step::Nothing => {}
            Step::Act(action) => plan.actions.push(*action),
            Step::Wait(reason, rejected) => {
                plan.waiting.push(Waiting { service: name.clone(), reason, rejected });
            }
        }
    }
    plan
}

/// Why the service cannot be started on the node; none when it can. `manual` says that a manual
/// node will do.
pub(crate) fn ineligible(
    observation: &Observation,
    spec: &Service,
    state: &ServiceState,
    node: NodeId,
    manual: bool,
) -> Option<String> {
    let fixed = if !spec.nodes.contains(&node) {
        "not in its node list"
    } else if !observation.is_member(node) {
        if observation.absences.contains_key(&node) && !observation.lapsed.contains(node) {
            "lost, not fenced yet"
        } else {
            "not a member"
        }
    } else if observation.unreported.contains(node) {
        "has not said yet what it runs"
    } else if observation.standby.contains(node) {
        "standby"
    } else if observation.is_draining(node) {
        "about to leave"
    } else if !manual && state.mode(spec, node) == Mode::Manual {
        "manual"
    } else if let Some(inability) =
        observation.inability(node, &spec.name).filter(|inability| inability.is_now())
    {
        let failed = state.blocked(node).map(|reason| format!("; {reason}"));
        return Some(format!("{}{}", inability.reason, failed.unwrap_or_default()));
    } else {
        return state.blocked(node).map(str::to_owned);
    };
    Some(fixed.to_owned())
}

/// Where the service would be started now.
pub(crate) struct Place {
    pub(crate) node: Option<NodeId>,
    pub(crate) rule: Rule,
    pub(crate) rejected: Vec<(NodeId, String)>,
}

/// The requested node if it can run the service, else the first of its list that can; a node that
/// the operator moves it away from only when no other can.
pub(crate) fn place(
    observation: &Observation,
    spec: &Service,
    state: &ServiceState,
    request: Option<Request>,
) -> Place {
    let mut rejected = Vec::new();
    let to = request.and_then(|request| request.to);
    if let (Some(to), Some(request)) = (to, request) {
        match ineligible(observation, spec, state, to, request.manual) {
            None => return Place { node: Some(to), rule: Rule::Requested, rejected },
            Some(why) => rejected.push((to, why)),
        }
    }
    let away = request.and_then(|request| request.away);
    let mut last_resort = None;
    for node in spec.nodes.iter().copied().filter(|node| Some(*node) != to) {
        match ineligible(observation, spec, state, node, false) {
            Some(why) => rejected.push((node, why)),
            None if Some(node) == away => {
                last_resort = Some(node);
                rejected.push((node, "it is moved away from here".to_owned()));
            }
            None => return Place { node: Some(node), rule: Rule::ListOrder, rejected },
        }
    }
    if last_resort.is_some() {
        rejected.retain(|(node, _)| Some(*node) != last_resort);
    }
    Place { node: last_resort, rule: Rule::ListOrder, rejected }
}

/// Whether a service that nobody holds could not be started wherever it may run.
pub(crate) fn is_broken(observation: &Observation, spec: &Service, state: &ServiceState) -> bool {
    spec.nodes.iter().any(|node| state.blocked(*node).is_some())
        && place(observation, spec, state, state.request).node.is_none()
}

/// Why nothing at all can be started now, apart from reasons of a single node.
pub(crate) fn unstartable(
    intent: &Intent,
    observation: &Observation,
    spec: &Service,
    state: &ServiceState,
) -> Option<String> {
    if !state.intruders.is_empty() {
        let nodes: base::NodeSet = state.intruders.iter().map(|member| member.node).collect();
        let absent = nodes.into_iter().filter(|node| !observation.is_member(*node));
        let absent: base::NodeSet = absent.collect();
        return Some(if absent.is_empty() {
            let names = intent.names_of(nodes);
            format!("waiting until it is stopped on {names}, where it must not run")
        } else if let Some(node) =
            absent.into_iter().find(|node| observation.lapsed.contains(*node))
        {
            by_proof_only(&intent.name_of(node))
        } else {
            format!("waiting until {} fenced", are(intent, absent))
        });
    }
    if !observation.suspects.is_empty() {
        let absent = observation.suspects.into_iter().filter(|node| !observation.is_member(*node));
        let absent: base::NodeSet = absent.collect();
        let present = observation.suspects.difference(absent);
        return Some(if absent.is_empty() {
            format!("waiting until {} said what runs there", intent.names_of(present))
        } else {
            format!("waiting until {} fenced", are(intent, absent))
        });
    }
    if let Some(node) = observation.doubt(intent, &spec.name) {
        return Some(by_proof_only(&intent.name_of(node)));
    }
    if !observation.settled {
        let here = observation.view.as_ref().map(base::View::nodes).unwrap_or_default();
        let absent = intent.node_set().difference(here);
        return Some(format!(
            "waiting for {} to join, or for the start wait to end",
            intent.names_of(absent)
        ));
    }
    None
}

/// "n1 is", "n1 and n2 are".
fn are(intent: &Intent, nodes: base::NodeSet) -> String {
    let are = if nodes.len() == 1 { "is" } else { "are" };
    format!("{} {are}", intent.names_of(nodes))
}

struct Look<'a> {
    intent: &'a Intent,
    observation: &'a Observation,
    name: &'a str,
    spec: Option<&'a Service>,
    state: &'a ServiceState,
}

enum Step {
    Nothing,
    Act(Box<Action>),
    Wait(String, Vec<(NodeId, String)>),
}

impl Look<'_> {
    fn step(&self) -> Step {
        match &self.state.phase {
            Phase::Idle => self.idle(),
            Phase::Starting { holder, .. } => self.leave(*holder).unwrap_or(Step::Nothing),
            Phase::Running { holder, .. } => {
                let step = self.leave(*holder).or_else(|| self.flee(*holder));
                step.or_else(|| self.failback(*holder)).unwrap_or(Step::Nothing)
            }
            Phase::Failed { holder, reason, .. } => {
                self.leave(*holder).unwrap_or_else(|| self.failed(*holder, reason))
            }
            Phase::Stopping { .. } => Step::Nothing,
            Phase::BrokenUnsafe { holder, retry: true, .. } => {
                self.stop(*holder, Rule::Operator, "the operator wants the stop tried again".into())
            }
            Phase::BrokenUnsafe { holder, reason, retry: false } => Step::Wait(
                format!(
                    "could not be stopped on {0} ({reason}): starts nowhere until cleared, which \
                     tries the stop again, or {0} is fenced",
                    self.named(*holder)
                ),
                Vec::new(),
            ),
            Phase::Lost { holder } if self.observation.is_member(holder.node) => Step::Wait(
                format!("waiting until {} said what runs there", self.named(*holder)),
                Vec::new(),
            ),
            Phase::Lost { holder } => {
                let class = self.observation.class(self.intent, self.name);
                let why = self.observation.waits_for(self.intent, class, *holder);
                Step::Wait(why, Vec::new())
            }
        }
    }

    fn idle(&self) -> Step {
        let Some(spec) = self.spec else { return Step::Nothing };
        if self.state.wish == Wish::Stopped {
            return Step::Nothing;
        }
        if let Some(reason) = unstartable(self.intent, self.observation, spec, self.state) {
            return Step::Wait(reason, Vec::new());
        }
        let place = place(self.observation, spec, self.state, self.state.request);
        let member = place.node.and_then(|node| self.observation.member(node));
        let Some(member) = member else {
            let broken = spec.nodes.iter().any(|node| self.state.blocked(*node).is_some());
            let unable = spec.nodes.iter().any(|node| {
                let inability = self.observation.inability(*node, self.name);
                inability.is_some_and(Inability::is_now)
                    && self.observation.is_member(*node)
                    && self.state.blocked(*node).is_none()
            });
            let reason = if unable {
                "no node can run it now: it starts as soon as one says that it can"
            } else if broken {
                "no node can run it after failures: clear it once the cause is repaired"
            } else {
                "no node can run it"
            };
            return Step::Wait(reason.to_owned(), place.rejected);
        };
        let reason = match place.rule {
            Rule::Requested => "the requested node".to_owned(),
            _ if place.rejected.is_empty() => "the first node of its list".to_owned(),
            _ => "the first node of its list that can run it".to_owned(),
        };
        self.act(PlanVerb::Start, member, place.rule, reason, place.rejected, None)
    }

    /// Reasons to stop a service that apply whatever it is doing.
    fn leave(&self, holder: Member) -> Option<Step> {
        let Some(spec) = self.spec else {
            let reason = "it was removed from the configuration".to_owned();
            return Some(self.stop(holder, Rule::Removed, reason));
        };
        if self.state.wish == Wish::Stopped {
            return Some(self.stop(holder, Rule::Operator, "the operator stops it".to_owned()));
        }
        let here = self.named(holder);
        if self.observation.standby.contains(holder.node) {
            return Some(self.stop(holder, Rule::Evacuate, format!("{here} is in standby")));
        }
        if self.observation.is_draining(holder.node) {
            return Some(self.stop(holder, Rule::Evacuate, format!("{here} is about to leave")));
        }
        let request = self.state.request?;
        if request.to == Some(holder.node) {
            return None; // started again in place, see `failed`
        }
        let place = place(self.observation, spec, self.state, Some(request));
        let reason = match place.node {
            Some(node) if node != holder.node => {
                format!("the operator moves it to {}", self.intent.name_of(node))
            }
            _ => format!("the operator moves it away from {here}"),
        };
        Some(self.act(
            PlanVerb::Stop,
            holder,
            Rule::Requested,
            reason,
            place.rejected,
            Some(request),
        ))
    }

    /// A service that its node cannot run any more goes where it can; it stays where no other node
    /// can run it either.
    fn flee(&self, holder: Member) -> Option<Step> {
        let spec = self.spec?;
        let inability = self.observation.inability(holder.node, self.name)?;
        if inability.stage != Stage::Lasting
            || unstartable(self.intent, self.observation, spec, self.state).is_some()
            || self.state.mode(spec, holder.node) == Mode::Manual
        {
            return None;
        }
        let place = place(self.observation, spec, self.state, None);
        // One that has only just become able again is about to be followed by this one, or to fail.
        let node = place.node.filter(|node| self.observation.inability(*node, self.name).is_none());
        let node = self.intent.name_of(node?);
        let reason = format!("{}; it moves to {node}", inability.reason);
        Some(self.act(PlanVerb::Stop, holder, Rule::Failover, reason, place.rejected, None))
    }

    fn failback(&self, holder: Member) -> Option<Step> {
        let spec = self.spec?;
        if spec.failback == Failback::Never
            || self.state.stays
            || unstartable(self.intent, self.observation, spec, self.state).is_some()
        {
            return None;
        }
        let here = spec.nodes.iter().position(|node| *node == holder.node)?;
        let mut rejected = Vec::new();
        for node in &spec.nodes[..here] {
            // A forgiven failure is good enough when the service must move, not for leaving a
            // place where all is well.
            let failed = self.state.failures.get(node).and_then(|f| f.blocked.clone());
            let unable = self.observation.inability(*node, self.name).map(|it| it.reason.clone());
            let not_now = ineligible(self.observation, spec, self.state, *node, false);
            match not_now.or(failed).or(unable) {
                Some(why) => rejected.push((*node, why)),
                None => {
                    let reason = format!("it fails back to {}", self.intent.name_of(*node));
                    let then =
                        Request { to: Some(*node), away: None, manual: false, operator: false };
                    return Some(self.act(
                        PlanVerb::Stop,
                        holder,
                        Rule::Failback,
                        reason,
                        rejected,
                        Some(then),
                    ));
                }
            }
        }
        None
    }

    fn failed(&self, holder: Member, reason: &str) -> Step {
        let spec = self.spec.expect("a removed service has left before");
        let here = self.named(holder);
        if self.state.request.is_some() {
            let reason = format!("the operator starts it again after: {reason}");
            let none = Vec::new();
            return self.act(PlanVerb::Restart, holder, Rule::Operator, reason, none, None);
        }
        let automatic = ineligible(self.observation, spec, self.state, holder.node, false);
        let Some(why) = automatic else {
            let failures = self.state.failures.get(&holder.node);
            let count = failures.map_or(0, |failures| failures.stamps.len());
            let reason = format!(
                "{reason}; restart {count} of {} within {}",
                spec.restart.count,
                seconds(spec.restart.window)
            );
            return self.act(PlanVerb::Restart, holder, Rule::Restart, reason, Vec::new(), None);
        };
        let away = Request { to: None, away: Some(holder.node), manual: false, operator: false };
        let mut place = place(self.observation, spec, self.state, Some(away));
        place.rejected.retain(|(node, _)| *node != holder.node);
        let manual = self.state.mode(spec, holder.node) == Mode::Manual;
        let reason = match place.node.filter(|node| *node != holder.node) {
            Some(node) => {
                let why = if manual { format!("{reason}; {here} is manual") } else { why };
                format!("{why}; it moves to {}", self.intent.name_of(node))
            }
            // Nothing is started here by itself, so stopping the rest would be no step forward.
            None if manual => {
                place.rejected.insert(0, (holder.node, why));
                return Step::Wait(
                    format!("{reason}; {here} is manual, so it waits for the operator"),
                    place.rejected,
                );
            }
            None => format!("{why}; no other node can run it"),
        };
        self.act(PlanVerb::Stop, holder, Rule::Failover, reason, place.rejected, None)
    }

    fn named(&self, member: Member) -> String {
        self.intent.name_of(member.node)
    }

    fn stop(&self, holder: Member, rule: Rule, reason: String) -> Step {
        self.act(PlanVerb::Stop, holder, rule, reason, Vec::new(), None)
    }

    fn act(
        &self,
        verb: PlanVerb,
        member: Member,
        rule: Rule,
        reason: String,
        rejected: Vec<(NodeId, String)>,
        then: Option<Request>,
    ) -> Step {
        let service = self.name.to_owned();
        Step::Act(Box::new(Action { service, verb, member, rule, reason, rejected, then }))
    }
}

/// "60 s", or milliseconds where that is not exact.
pub(crate) fn seconds(duration: core::time::Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{} ms", duration.as_millis())
    }
}
