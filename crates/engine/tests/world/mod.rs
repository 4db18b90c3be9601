//! A cluster of engines in one thread: one log, a view now and then, nodes that die, and an
//! all-seeing eye on what really runs where.
//!
//! The group below is modelled, not simulated: an entry is in the log or it is not, members
//! deliver the log in order but each at its own pace, and a view change first brings those who go
//! on to the end of the log. The guard is modelled by [`World::lease_ends`]: it makes everything on
//! a node stop before the fence of that node enters the log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::{Incarnation, Instant, Member, NodeId, Preset, Prng, View};
use engine::{
    Absence, Act, ActionId, Command, Engine, Failback, Found, Input, Intent, Mode, NodeSpec,
    Outcome, Output, Phase, Proof, Resource, ResourceChange, ResourceKind, RestartLimit, Service,
    State, Verb, ViewChange, Wish,
};

#[derive(Clone, Debug)]
pub(crate) enum Item {
    Entry { position: u64, origin: Member, payload: Vec<u8> },
    View(ViewChange),
    Fenced { absence: Absence, proof: Proof },
}

/// A node with its daemon, if that is alive, and what really runs on it.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) life: u64,
    pub(crate) engine: Option<Engine>,
    /// It takes part in the view that the log has reached.
    pub(crate) member: bool,
    /// Left out, and not clean yet.
    excluded: bool,
    cursor: usize,
    submissions: VecDeque<Vec<u8>>,
    acts: VecDeque<Act>,
    /// What works, whoever may know it.
    pub(crate) running: BTreeMap<(String, String), Resource>,
    /// Resources that no force ends before the weather is fine again.
    stubborn: BTreeSet<(String, String)>,
    pub(crate) outstanding: BTreeSet<u64>,
}

pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) prng: Prng,
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    pub(crate) log: Vec<Item>,
    checksums: BTreeMap<usize, u64>,
    view: View,
    position: u64,
    /// Absences whose fence is not in the log yet.
    pub(crate) pending: Vec<Absence>,
    requests: u64,
    /// Starts and stops fail now and then.
    pub(crate) storm: bool,
    pub(crate) starts: u64,
    pub(crate) intent: Intent,
}

pub(crate) fn service(name: &str, nodes: &[u8]) -> Service {
    let process = |name: &str| Resource {
        name: name.to_owned(),
        kind: ResourceKind::Process {
            command: vec!["/bin/server".to_owned(), name.to_owned()],
            directory: None,
            environment: Vec::new(),
            user: None,
        },
    };
    Service {
        name: name.to_owned(),
        nodes: nodes.iter().map(|id| NodeId(*id)).collect(),
        resources: vec![process("first"), process("second")],
        mode: Mode::Automatic,
        failback: Failback::Never,
        restart: RestartLimit { count: 2, window: Duration::from_secs(60) },
        start_timeout: Duration::from_secs(10),
        stop_timeout: Duration::from_secs(3),
        priority: engine::PRIORITY_DEFAULT,
        class: None,
        is_fixed: false,
        networks: Vec::new(),
    }
}

pub(crate) fn intent(nodes: u8, services: Vec<Service>) -> Intent {
    let nodes = (1..=nodes).map(|id| NodeSpec { id: NodeId(id), name: format!("n{id}") });
    let intent =
        Intent { nodes: nodes.collect(), services, version: 1, checksum: 1, jeopardy: None };
    intent.check().expect("a lawful intent");
    intent
}

impl World {
    /// A cluster that is just being formed by `members`; `found` runs on nodes already.
    pub(crate) fn new(seed: u64, intent: Intent, members: &[u8], found: &[(u8, &str)]) -> World {
        let timing = Preset::Fast.timing();
        let now = Instant::from_millis(1_000);
        let mut nodes = Vec::new();
        for spec in &intent.nodes {
            let mut running = BTreeMap::new();
            for (_, name) in found.iter().filter(|(id, _)| *id == spec.id.0) {
                let spec = intent.service(name).cloned().unwrap_or_else(|| service(name, &[1]));
                for resource in &spec.resources {
                    let key = ((*name).to_owned(), resource.name.clone());
                    running.insert(key, resource.clone());
                }
            }
            let is_member = members.contains(&spec.id.0);
            let local = Member { node: spec.id, incarnation: Incarnation(1) };
            let engine = is_member.then(|| {
                Engine::new(local, intent.clone(), String::new(), timing, found_on(&running), now)
            });
            nodes.push(Node {
                id: spec.id,
                life: 1,
                engine,
                member: is_member,
                excluded: false,
                cursor: 0,
                submissions: VecDeque::new(),
                acts: VecDeque::new(),
                running,
                stubborn: BTreeSet::new(),
                outstanding: BTreeSet::new(),
            });
        }
        let joined: Vec<Member> =
            nodes.iter().filter(|node| node.member).map(Node::identity).collect();
        let view = View {
            lineage: 1,
            generation: 1,
            hub: joined[0].node,
            members: joined.clone(),
            tie: base::Tie::None,
        };
        let absent = nodes.iter().filter(|node| !node.member);
        let lost: Vec<Absence> = absent
            .map(|node| Absence {
                node: node.id,
                incarnation: Incarnation(u64::MAX),
                generation: 1,
            })
            .collect();
        let change = ViewChange {
            view: view.clone(),
            joined,
            left: Vec::new(),
            lost: lost.clone(),
            formed: true,
        };
        let mut world = World {
            seed,
            prng: Prng::new(seed),
            now,
            nodes,
            log: vec![Item::View(change)],
            checksums: BTreeMap::new(),
            view,
            position: 0,
            pending: lost,
            requests: 0,
            storm: false,
            starts: 0,
            intent,
        };
        for index in world.members() {
            world.feed(index, Input::Lease { until: Instant::FAR });
        }
        world
    }

    pub(crate) fn index(&self, id: u8) -> usize {
        self.nodes.iter().position(|node| node.id == NodeId(id)).expect("a node of this world")
    }

    pub(crate) fn members(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| self.nodes[*index].member).collect()
    }

    /// Feeds one input and takes what comes out.
    pub(crate) fn feed(&mut self, index: usize, input: Input) {
        let now = self.now;
        let node = &mut self.nodes[index];
        let Some(engine) = &mut node.engine else { return };
        engine.handle(now, input);
        self.drain(index);
    }

    fn drain(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let engine = node.engine.as_mut().expect("only engines have outputs");
        let mut clean = false;
        while let Some(output) = engine.poll_output() {
            match output {
                Output::Submit { payload } => node.submissions.push_back(payload),
                Output::Act(act) => {
                    if act.verb != Verb::Start {
                        // A stop ends a start that is still under way.
                        let same = |old: &Act| {
                            old.service == act.service && old.resource.name == act.resource.name
                        };
                        node.acts.retain(|old| !(same(old) && old.verb == Verb::Start));
                    }
                    node.acts.push_back(act);
                }
                Output::Note(note) => assert!(note.because.is_none_or(|why| why < note.number)),
                Output::Answer { request, .. } => {
                    assert!(node.outstanding.remove(&request), "an answer to no question");
                }
                Output::Configured { .. } => {}
                Output::Arm => unreachable!("nobody here has a watchdog"),
                Output::Clean => {
                    assert!(node.running.is_empty(), "seed {}: not clean", self.seed);
                    clean = true;
                }
            }
        }
        if clean {
            node.excluded = false;
            node.engine = None;
        }
        self.check();
    }

    /// No two nodes run any part of one service.
    pub(crate) fn check(&self) {
        let mut owners: BTreeMap<&str, BTreeSet<NodeId>> = BTreeMap::new();
        for node in &self.nodes {
            for (service, _) in node.running.keys() {
                owners.entry(service).or_default().insert(node.id);
            }
        }
        for (service, owners) in owners {
            assert!(owners.len() == 1, "seed {}: {service} runs on {owners:?}", self.seed);
        }
    }

    /// The next entry of the log reaches a member.
    pub(crate) fn deliver(&mut self, index: usize) -> bool {
        let node = &mut self.nodes[index];
        let Some(item) = self.log.get(node.cursor).filter(|_| node.member).cloned() else {
            return false;
        };
        node.cursor += 1;
        let cursor = node.cursor;
        self.feed(
            index,
            match item {
                Item::Entry { position, origin, payload } => {
                    Input::Delivered { position, origin, payload }
                }
                Item::View(change) => Input::View(change),
                Item::Fenced { absence, proof } => Input::Fenced { absence, proof },
            },
        );
        if let Some(engine) = &self.nodes[index].engine {
            let checksum = engine.checksum();
            let known = *self.checksums.entry(cursor).or_insert(checksum);
            assert_eq!(known, checksum, "seed {}: members differ at {cursor}", self.seed);
        }
        true
    }

    /// A submission of a member gets its place in the log.
    pub(crate) fn order(&mut self, index: usize) -> bool {
        let node = &mut self.nodes[index];
        let Some(payload) = node.submissions.pop_front().filter(|_| node.member) else {
            return false;
        };
        let origin = node.identity();
        self.position += 1;
        self.log.push(Item::Entry { position: self.position, origin, payload });
        true
    }

    /// The driver finishes the oldest act on a node.
    pub(crate) fn act(&mut self, index: usize) -> bool {
        let storm = self.storm;
        let (lazy, fails) = (self.prng.chance(1, 12), self.prng.chance(1, 8));
        let clings = self.prng.chance(1, 6);
        let node = &mut self.nodes[index];
        let Some(act) = node.acts.pop_front() else { return false };
        let key = (act.service.clone(), act.resource.name.clone());
        let outcome = match act.verb {
            Verb::Start if storm && fails => Outcome::Failed { reason: "no license".to_owned() },
            // It takes for ever: the engine has to give up waiting.
            Verb::Start if storm && lazy => return true,
            Verb::Start => {
                self.starts += 1;
                if storm && clings {
                    node.stubborn.insert(key.clone());
                }
                node.running.insert(key, act.resource);
                Outcome::Done
            }
            Verb::Stop if storm && (lazy || node.stubborn.contains(&key)) => return true,
            Verb::Stop if storm && fails => Outcome::Failed { reason: "will not".to_owned() },
            Verb::Kill if storm && node.stubborn.contains(&key) && lazy => return true,
            Verb::Kill if storm && node.stubborn.contains(&key) => {
                Outcome::Failed { reason: "in state D".to_owned() }
            }
            Verb::Stop | Verb::Kill => {
                node.running.remove(&key);
                Outcome::Done
            }
        };
        self.check();
        let ActionId(_) = act.id;
        self.feed(index, Input::Acted { id: act.id, outcome });
        true
    }

    /// A process dies. Its children may live on until it is stopped.
    pub(crate) fn dies(&mut self, index: usize, service: &str, resource: &str) {
        let key = (service.to_owned(), resource.to_owned());
        if self.nodes[index].running.contains_key(&key) {
            if self.prng.chance(1, 2) {
                self.nodes[index].running.remove(&key);
            }
            let change = ResourceChange::Exited { code: Some(1), signal: None };
            let (service, resource) = key;
            self.feed(index, Input::ResourceChanged { service, resource, change });
        }
    }

    /// The node sees anew what it cannot run; in fine weather that is nothing.
    pub(crate) fn picture(&mut self, index: usize) {
        let mut services = BTreeMap::new();
        for name in ["db", "mail", "new", "web"] {
            if self.storm && self.prng.chance(1, 3) {
                services.insert(name.to_owned(), "no carrier".to_owned());
            }
        }
        if self.nodes[index].engine.is_some() {
            self.feed(index, Input::Unable { services });
        }
    }

    pub(crate) fn propose(&mut self, index: usize, command: Command) -> bool {
        self.requests += 1;
        let request = self.requests;
        let now = self.now;
        let node = &mut self.nodes[index];
        let Some(engine) = node.engine.as_mut() else { return false };
        let accepted = engine.propose(now, request, command).is_ok();
        if accepted {
            node.outstanding.insert(request);
        }
        self.drain(index);
        accepted
    }

    /// Those who go on deliver all of the log, then the view changes.
    pub(crate) fn change_view(&mut self, lost: &[usize], left: &[usize], joining: &[usize]) {
        for index in lost.iter().chain(left) {
            self.nodes[*index].member = false;
            self.nodes[*index].submissions.clear();
            self.nodes[*index].outstanding.clear();
        }
        let staying = self.members();
        assert!(!staying.is_empty() && joining.iter().all(|index| !staying.contains(index)));
        for index in &staying {
            while self.deliver(*index) {}
        }
        let generation = self.view.generation + 1;
        let gone = |index: &usize| self.view.member(self.nodes[*index].id).expect("was a member");
        let lost: Vec<Absence> = lost
            .iter()
            .map(gone)
            .map(|Member { node, incarnation }| Absence { node, incarnation, generation })
            .collect();
        let left: Vec<Member> = left.iter().map(gone).collect();
        let joined: Vec<Member> =
            joining.iter().map(|index| self.nodes[*index].identity()).collect();
        let members: Vec<Member> = staying
            .iter()
            .map(|index| self.nodes[*index].identity())
            .chain(joined.clone())
            .collect();
        let hub = members[self.prng.range(0..=staying.len() as u64 - 1) as usize].node;
        self.view = View { lineage: 1, generation, members, hub, tie: base::Tie::None };
        self.pending.extend(&lost);
        let change = ViewChange { view: self.view.clone(), joined, left, lost, formed: false };
        // A snapshot from before the view is followed by the view, one from after it is not.
        let donor = staying[0];
        let before = self.prng.chance(1, 2);
        let early = self.snapshot(donor);
        let from = self.log.len();
        self.log.push(Item::View(change));
        while self.deliver(donor) {}
        let late = self.snapshot(donor);
        for index in joining {
            let now = self.now;
            let node = &mut self.nodes[*index];
            node.member = true;
            node.cursor = if before { from } else { from + 1 };
            let engine = node.engine.as_mut().expect("joiners are alive");
            let snapshot = if before { &early } else { &late };
            engine.restore(now, snapshot).expect("a snapshot");
            self.drain(*index);
            self.feed(*index, Input::Lease { until: Instant::FAR });
        }
    }

    fn snapshot(&self, index: usize) -> Vec<u8> {
        self.nodes[index].engine.as_ref().expect("members are alive").snapshot()
    }

    /// A node loses all contact; whatever runs there runs on until its lease ends.
    pub(crate) fn cut(&mut self, index: usize) {
        self.change_view(&[index], &[], &[]);
    }

    /// A drained node leaves in order, if it is rid of everything by then.
    pub(crate) fn leave(&mut self, index: usize) {
        while self.order(index) || self.deliver(index) {}
        let node = &self.nodes[index];
        let Some(engine) = node.engine.as_ref().filter(|_| node.member) else { return };
        let rid = engine.observation().is_draining(node.id) && engine.is_idle(node.id);
        if !rid || !node.submissions.is_empty() || self.members().len() < 2 {
            return;
        }
        assert!(node.running.is_empty(), "seed {}: drained, but not empty", self.seed);
        self.change_view(&[], &[index], &[]);
    }

    /// A node loses power.
    pub(crate) fn power_off(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.engine = None;
        node.excluded = false;
        node.running.clear();
        node.stubborn.clear();
        node.acts.clear();
        if self.nodes[index].member {
            self.change_view(&[index], &[], &[]);
        }
    }

    /// The daemon is killed and comes back at once; what it started runs on, and a start under way
    /// may or may not have been finished.
    pub(crate) fn restart_daemon(&mut self, index: usize) {
        let now = self.now;
        let finish = self.prng.chance(1, 2);
        let node = &mut self.nodes[index];
        node.submissions.clear();
        node.outstanding.clear();
        for act in core::mem::take(&mut node.acts) {
            if finish && act.verb == Verb::Start {
                node.running.insert((act.service, act.resource.name.clone()), act.resource);
            }
        }
        node.life += 1;
        let found = found_on(&node.running);
        let (local, intent) = (node.identity(), self.intent.clone());
        node.engine =
            Some(Engine::new(local, intent, String::new(), Preset::Fast.timing(), found, now));
        node.excluded = false;
        let others = self.members().iter().any(|member| *member != index);
        if self.nodes[index].member {
            assert!(others, "somebody must remember the state");
            self.change_view(&[index], &[], &[index]);
        }
        self.check();
    }

    /// The guard ends everything on a node that lost its lease.
    pub(crate) fn lease_ends(&mut self, index: usize) {
        self.feed(index, Input::Lease { until: Instant::ZERO });
        let node = &mut self.nodes[index];
        node.stubborn.clear();
        let dead = core::mem::take(&mut node.running);
        // Nothing gets past the guard any more: pending starts fail, pending stops are done.
        let acts = core::mem::take(&mut node.acts);
        for act in acts {
            let outcome = match act.verb {
                Verb::Start => Outcome::Failed { reason: "no lease".to_owned() },
                Verb::Stop | Verb::Kill => Outcome::Done,
            };
            self.feed(index, Input::Acted { id: act.id, outcome });
        }
        for (service, resource) in dead.into_keys() {
            let change = ResourceChange::Vanished;
            self.feed(index, Input::ResourceChanged { service, resource, change });
        }
    }

    /// The fence of an absent node is proven and delivered. That of an earlier absence says
    /// nothing about a life that came and went since.
    pub(crate) fn fence(&mut self, absence: Absence) {
        let index = self.index(absence.node.0);
        let of_node = self.pending.iter().filter(|pending| pending.node == absence.node);
        let newest = of_node.max_by_key(|pending| pending.generation) == Some(&absence);
        if newest && !self.nodes[index].member {
            self.lease_ends(index);
        }
        self.pending.retain(|pending| *pending != absence);
        self.log.push(Item::Fenced { absence, proof: Proof::Time });
    }

    /// A node outside the view learns that it is out; then it comes back as a new life.
    pub(crate) fn rejoin(&mut self, index: usize) {
        if self.nodes[index].engine.is_some() && !self.nodes[index].excluded {
            self.nodes[index].excluded = true;
            self.feed(index, Input::Excluded);
        }
        if self.nodes[index].engine.is_some() {
            return; // not clean yet
        }
        let now = self.now;
        let node = &mut self.nodes[index];
        // What was asked outside the view, or never ordered, is never answered.
        node.submissions.clear();
        node.outstanding.clear();
        node.life += 1;
        let (local, found) = (node.identity(), found_on(&node.running));
        let intent = self.intent.clone();
        node.engine =
            Some(Engine::new(local, intent, String::new(), Preset::Fast.timing(), found, now));
        self.change_view(&[], &[], &[index]);
    }

    /// One thing happens somewhere. False when nothing was left to happen at this moment.
    pub(crate) fn bustle(&mut self, index: usize) -> bool {
        let first = self.prng.range(0..=2);
        for turn in 0..3 {
            let done = match (first + turn) % 3 {
                0 => self.order(index),
                1 => self.deliver(index),
                _ => self.act(index),
            };
            if done {
                return true;
            }
        }
        false
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        for index in 0..self.nodes.len() {
            let engine = self.nodes[index].engine.as_ref();
            if engine.and_then(Engine::deadline).is_some_and(|(at, _)| at <= self.now) {
                self.feed(index, Input::Tick);
            }
        }
    }

    /// Everything that can happen by itself happens; time passes only when nothing else is left.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            let mut busy = false;
            for index in 0..self.nodes.len() {
                while self.bustle(index) {
                    busy = true;
                }
            }
            if busy {
                continue;
            }
            let engines = self.nodes.iter().filter_map(|node| node.engine.as_ref());
            let next = engines.filter_map(Engine::deadline).map(|(at, _)| at).min();
            let Some(next) = next else { return };
            assert!(next < Instant::FAR, "seed {}: a deadline that never comes", self.seed);
            self.pass(next.since(self.now));
        }
        panic!("seed {}: the cluster does not come to rest", self.seed);
    }

    /// What everybody believes and what is so, for a cluster at rest.
    pub(crate) fn check_at_rest(&self) {
        let index = self.members()[0];
        let engine = self.nodes[index].engine.as_ref().expect("members are alive");
        let (intent, known) = (engine.intent(), engine.observation());
        for member in self.members() {
            let node = &self.nodes[member];
            let engine = node.engine.as_ref().expect("members are alive");
            assert_eq!(engine.observation(), known, "seed {}", self.seed);
            assert!(node.outstanding.is_empty(), "seed {}: unanswered", self.seed);
        }
        for (name, state) in &known.services {
            if std::env::var_os("SEED").is_some() {
                for note in engine.why(Some(name)) {
                    eprintln!("{} {} {}", note.number, note.position, note.sentence);
                }
            }
            let running = |node: &Node| node.running.keys().any(|(service, _)| service == name);
            let owner = self.nodes.iter().find(|node| running(node));
            let (owner, holder) = (owner.map(Node::identity), state.phase.holder());
            // Of a service that failed on a manual node nothing at all may be left.
            let none_left = owner.is_none() && matches!(state.phase, Phase::Failed { .. });
            assert!(owner == holder || none_left, "seed {}: {name}: {state:?}", self.seed);
            let spec = intent.service(name);
            match &state.phase {
                Phase::Running { .. } => {
                    let keys = self.nodes.iter().flat_map(|node| node.running.keys());
                    let parts = keys.filter(|(service, _)| service == name).count();
                    assert_eq!(parts, spec.expect("configured").resources.len());
                    assert_eq!(state.wish, Wish::Started, "seed {}: {name}", self.seed);
                }
                Phase::Idle if state.wish == Wish::Started => {
                    let spec = spec.expect("configured");
                    let legal = spec.nodes.iter().find(|node| {
                        known.is_member(**node)
                            && !known.standby.contains(**node)
                            && !known.is_draining(**node)
                            && state.mode(spec, **node) == Mode::Automatic
                            && state.blocked(**node).is_none()
                    });
                    assert_eq!(legal, None, "seed {}: {name} could run: {state:?}", self.seed);
                }
                Phase::Idle => {}
                Phase::Failed { holder, .. } => {
                    let mode = state.mode(spec.expect("configured"), holder.node);
                    assert_eq!(mode, Mode::Manual, "seed {}: {name}: {state:?}", self.seed);
                }
                _ => panic!("seed {}: {name} is not at rest: {state:?}", self.seed),
            }
            assert_ne!(known.state(intent, name, state), State::Unknown, "seed {}", self.seed);
        }
    }
}

impl Node {
    pub(crate) fn identity(&self) -> Member {
        Member { node: self.id, incarnation: Incarnation(self.life) }
    }
}

fn found_on(running: &BTreeMap<(String, String), Resource>) -> Vec<Found> {
    let found = running.iter().map(|((service, _), resource)| Found {
        service: service.clone(),
        resource: resource.clone(),
    });
    found.collect()
}
