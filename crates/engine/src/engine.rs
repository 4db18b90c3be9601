//! One node's engine: the replicated machine, the runner, and the queue between them.
//!
//! Deliveries go into the [`Replica`], which is the same on all members; the [`Runner`] compares
//! the result with what it does on this node. What the runner has to say to others leaves as an
//! entry and comes back by delivery like everybody else's.
//!
//! An engine lives as long as one incarnation of its node. It begins not knowing the cluster: a
//! formation or a snapshot makes it ready. Once ready and a member it reports, once, what it found
//! running; until that report is delivered it touches nothing. When it is left out it stops
//! everything, says so with [`Output::Clean`], and is of no further use.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use base::codec::{self, Malformed};
use base::limits::PAYLOAD_SIZE_MAX;
use base::{Instant, Member, NodeId, Timing};

use crate::command::{Command, Refusal};
use crate::inability::Own;
use crate::input::{Found, Input, Output, Timer, ViewChange};
use crate::intent::{Intent, Mode};
use crate::journal::Note;
use crate::networks::NetworkStates;
use crate::observation::{Observation, Phase, State, Wish};
use crate::plan;
use crate::replica::{Effect, Event, Replica};
use crate::runner::Runner;
use crate::status::{Digest, DigestEntry, NodeStatus, ServiceStatus, Status};
use crate::wire::{Ending, Entry};

/// One node's engine.
#[derive(Debug)]
pub struct Engine {
    local: Member,
    start_wait: Duration,
    now: Instant,
    replica: Replica,
    runner: Runner,
    /// The cluster's state is known: this node took part in its formation, or has a snapshot.
    ready: bool,
    /// A view that came before the snapshot that it follows.
    early: Option<ViewChange>,
    /// What runs here was submitted.
    reported: bool,
    /// What was submitted about the watchdog, and whether [`Output::Arm`] awaits its answer.
    watchdog_said: Option<Duration>,
    is_arming: bool,
    /// How this node sees its networks, and what was submitted about it.
    networks: NetworkStates,
    networks_said: NetworkStates,
    excluded: bool,
    clean: bool,
    /// When this node, as the hub, stops waiting for absent nodes.
    settle_at: Option<Instant>,
    settle_sent: bool,
    stable_at: Option<Instant>,
    unable: Own,
    /// When to say that something of it lasts.
    unable_at: Option<Instant>,
    /// Since when each service does what it does, as this node learned of it.
    seen: BTreeMap<String, (State, Option<Member>, Instant)>,
    outputs: VecDeque<Output>,
}

impl Engine {
    /// An engine that does not know its cluster yet. `text` is the file that `intent` was read from;
    /// joiners get it from here. `found` is what runs here under the guard of
    /// an earlier life: it is adopted or stopped once the cluster has heard of it.
    #[must_use]
    pub fn new(
        local: Member,
        intent: Intent,
        text: String,
        timing: Timing,
        found: Vec<Found>,
        now: Instant,
    ) -> Engine {
        Engine {
            local,
            start_wait: timing.start_wait,
            now,
            runner: Runner::new(local, &intent, &timing, found),
            replica: Replica::new(intent, text),
            ready: false,
            early: None,
            reported: false,
            watchdog_said: None,
            is_arming: false,
            networks: NetworkStates::new(),
            networks_said: NetworkStates::new(),
            excluded: false,
            clean: false,
            settle_at: None,
            settle_sent: false,
            stable_at: None,
            unable: Own::default(),
            unable_at: None,
            seen: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Feeds one input. Never fails: entries that make no sense are counted and dropped.
    ///
    /// # Panics
    /// When time goes back or outputs are left undrained: defects of the caller.
    pub fn handle(&mut self, now: Instant, input: Input) {
        assert!(now >= self.now, "time went back");
        assert!(self.outputs.is_empty(), "outputs must be drained before the next input");
        self.now = now;
        match input {
            Input::Delivered { position, origin, payload } => {
                if self.ready && !self.excluded {
                    let entry = codec::decode::<Entry>(&payload).ok();
                    if let Some(Entry::Unable { services }) = &entry
                        && origin == self.local
                    {
                        self.unable.delivered(services);
                    }
                    self.apply(now, Event::Entry { position, origin, entry });
                }
            }
            Input::View(change) => {
                if self.excluded {
                    return;
                }
                if change.formed || self.ready {
                    self.ready = true;
                    self.view(now, change);
                } else {
                    self.early = Some(change);
                }
            }
            Input::Fenced { absence, proof } => {
                if self.ready && !self.excluded {
                    self.apply(now, Event::Fenced { absence, proof });
                }
            }
            Input::Acted { id, outcome } => self.runner.acted(now, id, outcome, &self.unable),
            Input::ResourceChanged { service, resource, change } => {
                self.runner.changed(now, &service, &resource, change);
            }
            Input::Unable { services } => self.unable.see(now, services),
            Input::Networks(networks) => self.networks = networks,
            Input::Lease { until } => self.runner.set_lease(now, until),
            Input::Watchdog(watchdog) => {
                self.is_arming = false;
                self.runner.set_watchdog(now, watchdog);
            }
            Input::Excluded => {
                self.excluded = true;
                self.settle_at = None;
                self.runner.halt(now);
            }
            Input::Tick => {
                self.runner.tick(now);
                if self.settle_at.is_some_and(|at| now >= at) {
                    self.settle_at = None;
                    self.settle_sent = true;
                    self.submit(&Entry::Settled);
                }
            }
        }
        self.after(now);
    }

    /// Proposes an operator's command; its answer comes as [`Output::Answer`] once it is
    /// delivered. When this node leaves the view before, there is no answer, and the command may
    /// or may not have been carried out.
    ///
    /// # Errors
    /// When this node cannot change anything, or the command makes no sense already now.
    pub fn propose(&mut self, now: Instant, request: u64, command: Command) -> Result<(), Refusal> {
        assert!(now >= self.now, "time went back");
        assert!(self.outputs.is_empty(), "outputs must be drained before the next input");
        self.now = now;
        if !self.is_primary() {
            return Err(Refusal::NotMember);
        }
        self.replica.check(&command)?;
        let payload = codec::encode(&Entry::Command { request, command });
        if payload.len() > PAYLOAD_SIZE_MAX {
            return Err(Refusal::not_now(format!("longer than {PAYLOAD_SIZE_MAX} bytes")));
        }
        self.outputs.push_back(Output::Submit { payload });
        Ok(())
    }

    /// The next output; drain all of them before the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Tick`] at the latest, and why.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        let timers = [
            self.runner.deadline().map(|at| (at, Timer::Act)),
            self.settle_at.map(|at| (at, Timer::Settle)),
            self.stable_at.map(|at| (at, Timer::Stable)),
            self.unable_at.map(|at| (at, Timer::Unable)),
        ];
        timers.into_iter().flatten().min()
    }

    /// The services that the delivered state says are held by this member: only for these may the
    /// deadline of the guard be moved on. None once this node is left out.
    pub fn held(&self) -> impl Iterator<Item = &str> {
        let services = self
            .replica
            .observation
            .services
            .iter()
            .filter(|(_, state)| !self.excluded && state.phase.holder() == Some(self.local));
        services.map(|(name, _)| name.as_str())
    }

    /// What each node carries: the sum of the priorities of the services that it holds, as far as
    /// the delivered state says.
    #[must_use]
    pub fn loads(&self) -> BTreeMap<NodeId, u32> {
        let mut loads = BTreeMap::new();
        for service in &self.replica.intent.services {
            let state = self.replica.observation.services.get(&service.name);
            if let Some(holder) = state.and_then(|state| state.phase.holder()) {
                *loads.entry(holder.node).or_insert(0) += u32::from(service.priority);
            }
        }
        loads
    }

    /// Whether no life of this node holds or runs anything, as far as the delivered state says. A
    /// drained node can leave without a fence wait once this is so.
    #[must_use]
    pub fn is_idle(&self, node: NodeId) -> bool {
        self.replica.observation.is_idle(node)
    }

    /// The replicated state, for a joiner.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        codec::encode(&self.replica)
    }

    /// Takes over a snapshot of the replicated state. Outputs must be drained before and after.
    ///
    /// # Errors
    /// When the bytes are not a snapshot; nothing has changed then.
    pub fn restore(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Malformed> {
        assert!(now >= self.now, "time went back");
        assert!(self.outputs.is_empty(), "outputs must be drained before the next input");
        let replica: Replica = codec::decode(bytes)?;
        self.now = now;
        let old = &self.replica.intent;
        if (old.version, old.checksum) != (replica.intent.version, replica.intent.checksum) {
            self.outputs.push_back(configured(&replica));
        }
        self.replica = replica;
        self.unable.forget();
        self.ready = true;
        if let Some(change) = self.early.take() {
            self.view(now, change);
        }
        self.after(now);
        Ok(())
    }

    /// Of the replicated state: equal on all members at equal positions.
    #[must_use]
    pub fn checksum(&self) -> u64 {
        self.replica.checksum()
    }

    /// The place in the total order of the entry that was delivered last.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.replica.position
    }

    /// The intent in force.
    #[must_use]
    pub fn intent(&self) -> &Intent {
        &self.replica.intent
    }

    /// The file that the intent was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.replica.text
    }

    /// What is known; the same on all members at equal positions.
    #[must_use]
    pub fn observation(&self) -> &Observation {
        &self.replica.observation
    }

    /// The notes that led to what the service does, oldest first; the whole journal when no
    /// service is named.
    #[must_use]
    pub fn why(&self, service: Option<&str>) -> Vec<Note> {
        self.replica.journal().why(service)
    }

    /// What goes into each heartbeat.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let intent = &self.replica.intent;
        let services = intent.services.iter().map(|spec| {
            let state = &self.replica.observation.services[&spec.name];
            DigestEntry {
                state: self.replica.observation.state(intent, &spec.name, state),
                held: !self.excluded && state.phase.holder() == Some(self.local),
                manual: state.mode(spec, self.local.node) == Mode::Manual,
                blocked: state.blocked(self.local.node).is_some(),
            }
        });
        let services = services.collect();
        Digest { version: intent.version, checksum: intent.checksum, services }
    }

    /// Everything to show.
    #[must_use]
    pub fn status(&self) -> Status {
        let Replica { intent, observation, .. } = &self.replica;
        let nodes = intent.nodes.iter().map(|spec| NodeStatus {
            node: spec.id,
            name: spec.name.clone(),
            member: observation.is_member(spec.id),
            standby: observation.standby.contains(spec.id),
            draining: observation.is_draining(spec.id),
            unreported: observation.unreported.contains(spec.id),
            unfenced: observation.absences.contains_key(&spec.id)
                && !observation.lapsed.contains(spec.id),
            watchdog: observation.member(spec.id).and_then(|life| observation.watchdog(life)),
        });
        Status {
            primary: self.is_primary(),
            version: intent.version,
            checksum: intent.checksum,
            position: self.replica.position,
            settled: observation.settled,
            suspects: observation.suspects.into_iter().collect(),
            services: observation.services.keys().map(|name| self.service_status(name)).collect(),
            nodes: nodes.collect(),
            malformed: self.replica.malformed,
        }
    }

    fn service_status(&self, name: &str) -> ServiceStatus {
        let Replica { intent, observation, .. } = &self.replica;
        let state = &observation.services[name];
        let spec = intent.service(name);
        let nodes = spec.map_or(&[][..], |spec| &spec.nodes);
        let holder = state.phase.holder();
        let absent = |node: NodeId| !observation.is_member(node);
        let pending = match &state.phase {
            Phase::Lost { holder } if absent(holder.node) => {
                let class = observation.class(intent, name);
                Some(observation.waits_for(intent, class, *holder))
            }
            Phase::Idle if state.is_wanted() => {
                let doubted = observation.suspects.union(observation.doubtful);
                spec.and_then(|spec| plan::unstartable(intent, observation, spec, state))
                    .filter(|_| doubted.into_iter().any(absent))
            }
            _ => None,
        };
        ServiceStatus {
            name: name.to_owned(),
            state: observation.state(intent, name, state),
            node: holder.map(|holder| holder.node),
            holder,
            class: observation.class(intent, name),
            since: state.since,
            since_here: self.seen.get(name).map_or(Instant::ZERO, |(_, _, since)| *since),
            modes: spec.map_or_else(BTreeMap::new, |spec| {
                nodes.iter().map(|node| (*node, state.mode(spec, *node))).collect()
            }),
            blocked: nodes
                .iter()
                .filter_map(|node| Some((*node, state.blocked(*node)?.to_owned())))
                .collect(),
            reason: state.reason.clone(),
            pending_fence: pending,
            stopped_by_operator: state.wish == Wish::Stopped,
            removed: spec.is_none(),
            resources: self.runner.resources(name),
        }
    }

    fn is_primary(&self) -> bool {
        let view = self.replica.observation.view.as_ref();
        self.ready && !self.excluded && view.is_some_and(|view| view.has(self.local))
    }

    fn submit(&mut self, entry: &Entry) {
        self.outputs.push_back(Output::Submit { payload: codec::encode(entry) });
    }

    /// A view; one that the snapshot contains already is not applied twice.
    fn view(&mut self, now: Instant, change: ViewChange) {
        let known = self.replica.observation.view.as_ref();
        if !change.formed && known.is_some_and(|view| view.generation >= change.view.generation) {
            return;
        }
        if change.formed || change.joined.contains(&self.local) {
            self.reported = false;
            self.watchdog_said = None;
            self.unable.forget();
            self.networks_said = NetworkStates::new();
        }
        self.apply(now, Event::View(change));
    }

    fn apply(&mut self, now: Instant, event: Event) {
        for effect in self.replica.apply(event) {
            match effect {
                Effect::Note(note) => self.outputs.push_back(Output::Note(note)),
                Effect::Answer { origin, request, result } if origin == self.local => {
                    self.outputs.push_back(Output::Answer { request, result });
                }
                Effect::Answer { .. } => {}
                Effect::Configured => self.outputs.push_back(configured(&self.replica)),
            }
        }
        let Replica { intent, observation, .. } = &self.replica;
        self.seen.retain(|name, _| observation.services.contains_key(name));
        for (name, state) in &observation.services {
            let (shown, holder) = (observation.state(intent, name, state), state.phase.holder());
            match self.seen.get_mut(name) {
                Some(seen) if (seen.0, seen.1) == (shown, holder) => {}
                Some(seen) => *seen = (shown, holder, now),
                None => drop(self.seen.insert(name.clone(), (shown, holder, now))),
            }
        }
    }

    /// What follows from any input: reports, acts and entries of the runner, timers.
    fn after(&mut self, now: Instant) {
        if self.is_primary() {
            // Before the report, after which services are placed here.
            let known = self.replica.observation.unable.get(&self.local.node);
            if let Some(services) = self.unable.news(now, known) {
                self.submit(&Entry::Unable { services });
            }
            self.unable_at = self.unable.deadline(now);
            if !self.reported {
                self.reported = true;
                self.submit(&Entry::Report { claims: self.runner.claims() });
            }
            if self.networks_said != self.networks {
                self.networks_said.clone_from(&self.networks);
                self.submit(&Entry::Networks { networks: self.networks.clone() });
            }
            let heard = !self.replica.observation.unreported.contains(self.local.node);
            if self.watchdog_said != self.runner.armed() {
                self.watchdog_said = self.runner.armed();
                self.submit(&Entry::Watchdog { timeout: self.watchdog_said });
            }
            self.runner.reconcile(now, &self.replica, heard);
            let observation = &self.replica.observation;
            let hub = observation.view.as_ref().map(|view| view.hub);
            if observation.settled || hub != Some(self.local.node) {
                self.settle_at = None;
                self.settle_sent = false;
            } else if self.settle_at.is_none() && !self.settle_sent {
                self.settle_at = Some(now + self.start_wait);
            }
            self.stable_at = self.runner.stability(now, &self.replica);
        } else {
            self.unable_at = None;
            self.settle_at = None;
            self.stable_at = None;
        }
        if self.runner.take_arm() && !self.is_arming {
            self.is_arming = true;
            self.outputs.push_back(Output::Arm);
        }
        for act in self.runner.take_acts() {
            self.outputs.push_back(Output::Act(act));
        }
        for entry in self.runner.take_entries() {
            if let Entry::Outcome { service, result: Ending::Unable { reason }, .. } = &entry {
                self.unable.in_vain(now, service, reason);
            }
            self.submit(&entry);
        }
        if self.excluded && !self.clean && self.runner.is_clean() {
            self.clean = true;
            self.outputs.push_back(Output::Clean);
        }
    }
}

fn configured(replica: &Replica) -> Output {
    Output::Configured {
        version: replica.intent.version,
        checksum: replica.intent.checksum,
        text: replica.text.clone(),
    }
}
