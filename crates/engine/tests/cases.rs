//! The case library: a situation and what happens as text, the plan and its reasons as text.
//!
//! Each file of `tests/cases` begins with a sentence that says what it shows, then gives the
//! situation, then, after `----`, what the engine makes of it. `UPDATE_EXPECT=1` rewrites the
//! part below the line; look at the difference before you believe it.
//!
//! ```text
//! nodes n1 n2 n3                        all configured nodes; all are members unless said otherwise
//! members n1 n2                         the first one is the hub
//! service web n1 n2 manual failback restart 2/60    resources: ip (an address), server (a process)
//! given web running n1                  also: starting stopping failed broken-unsafe lost
//! given web wish stopped
//! given web manual n2                   also: automatic
//! given web blocked n2 REASON           also: forgiven
//! given web intruder n3
//! given standby n2                      also: draining unreported suspect lost (= gone, not fenced)
//! given unsettled
//! > move web n2                         events, see `event` below
//! ```
//!
//! Below the line comes the plan for the situation itself, and for each event the notes that it
//! brings about, each with its rule in brackets and the nodes that were passed over.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Incarnation, Member, NodeId, NodeSet, View};
use engine::{
    Absence, Claim, Class, Command, DecisionId, Effect, Ending, Entry, Event, Failback, Failures,
    Inability, Intent, Mode, NodeSpec, Phase, Proof, Replica, Resource, ResourceKind, RestartLimit,
    Service, Stage, ViewChange, Wish, plan,
};

const LINES_MAX: usize = 48;
const COLUMNS_MAX: usize = 150;

#[test]
fn every_case_comes_out_as_written() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let files = files();
    assert!(files.len() >= 60, "the library has {} cases", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).expect("case files are readable");
        let (input, expected) = text.split_once("----\n").unwrap_or((&text, ""));
        let actual = run(&name, input);
        if actual == expected {
            continue;
        }
        if update {
            std::fs::write(file, format!("{input}----\n{actual}")).expect("the tree is writable");
        } else {
            wrong.push(format!("{name}\nexpected:\n{expected}\nactual:\n{actual}"));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_case_says_what_it_shows_and_fits_on_a_screen() {
    let mut sentences = std::collections::BTreeSet::new();
    for file in files() {
        let text = std::fs::read_to_string(&file).expect("case files are readable");
        let (first, rest) = text.split_once("\n\n").expect("a sentence and an empty line");
        assert!(first.ends_with('.'), "{}: not a sentence: {first}", file.display());
        assert!(sentences.insert(first.to_owned()), "{}: said twice: {first}", file.display());
        assert!(rest.lines().count() <= LINES_MAX, "{} is too long", file.display());
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS_MAX, "{}: too wide: {line}", file.display());
        }
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let entries = std::fs::read_dir(folder).expect("the library is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

/// The first life of every node in these cases.
const FIRST: Incarnation = Incarnation(1);

struct Case {
    name: String,
    replica: Replica,
    position: u64,
    life: [u64; 16],
}

fn run(name: &str, input: &str) -> String {
    let mut lines = input.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.next().expect("the sentence");
    let mut case = Case {
        name: name.to_owned(),
        replica: Replica::new(Intent::default(), String::new()),
        position: 100,
        life: [FIRST.0; 16],
    };
    let mut output = None;
    for line in lines {
        match line.strip_prefix('>') {
            None => {
                assert!(output.is_none(), "{name}: the situation comes first: {line}");
                case.situation(line);
            }
            Some(event) => {
                let output = output.get_or_insert_with(|| case.planned());
                case.event(event.trim(), output);
            }
        }
    }
    output.unwrap_or_else(|| case.planned())
}

impl Case {
    fn node(&self, name: &str) -> NodeId {
        let node = self.replica.intent.node_named(name);
        node.unwrap_or_else(|| panic!("{}: no node {name}", self.name))
    }

    fn member(&self, name: &str) -> Member {
        let node = self.node(name);
        Member { node, incarnation: Incarnation(self.life[usize::from(node.0)]) }
    }

    fn situation(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["nodes", ref names @ ..] => {
                let nodes = names.iter().zip(1..);
                let nodes =
                    nodes.map(|(name, id)| NodeSpec { id: NodeId(id), name: (*name).into() });
                let intent = Intent { nodes: nodes.collect(), version: 7, ..Intent::default() };
                self.replica = Replica::new(intent, String::new());
                self.replica.observation.settled = true;
                self.members(names);
            }
            ["members", ref names @ ..] => self.members(names),
            ["service", name, ref rest @ ..] => {
                let service = self.service(name, rest);
                self.replica.intent.services.push(service);
                self.replica.observation.services.insert(name.to_owned(), Default::default());
                self.replica.intent.check().expect("a case has a lawful intent");
            }
            ["given", ref rest @ ..] => self.given(rest),
            _ => panic!("{}: {line}", self.name),
        }
    }

    fn members(&mut self, names: &[&str]) {
        let members: Vec<Member> = names.iter().map(|name| self.member(name)).collect();
        let hub = members[0].node;
        let view = View { lineage: 1, generation: 5, members, hub, tie: base::Tie::None };
        self.replica.observation.view = Some(view);
    }

    fn service(&self, name: &str, words: &[&str]) -> Service {
        let mut service = Service {
            name: name.to_owned(),
            nodes: Vec::new(),
            resources: vec![
                Resource {
                    name: "ip".to_owned(),
                    kind: ResourceKind::Address {
                        address: "10.77.0.100".parse().expect("an address"),
                        prefix: 24,
                    },
                },
                Resource {
                    name: "server".to_owned(),
                    kind: ResourceKind::Process {
                        command: vec!["/usr/bin/server".to_owned(), name.to_owned()],
                        directory: None,
                        environment: Vec::new(),
                        user: None,
                    },
                },
            ],
            mode: Mode::Automatic,
            failback: Failback::Never,
            restart: RestartLimit { count: 2, window: Duration::from_secs(60) },
            start_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
            priority: engine::PRIORITY_DEFAULT,
            class: None,
            is_fixed: false,
            networks: Vec::new(),
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "manual" => service.mode = Mode::Manual,
                "failback" => service.failback = Failback::Automatic,
                "storage" => service.class = Some(Class::Storage),
                "reserves" => service.resources.insert(
                    0,
                    Resource {
                        name: "disk".to_owned(),
                        kind: ResourceKind::Reservation { disks: vec!["/dev/sdb".to_owned()] },
                    },
                ),
                "mounts" => service.resources.push(Resource {
                    name: "data".to_owned(),
                    kind: ResourceKind::Mount {
                        device: "/dev/sdb".to_owned(),
                        directory: "/srv".to_owned(),
                        filesystem: "ext4".to_owned(),
                        options: String::new(),
                        check: engine::Check::Auto,
                    },
                }),
                "restart" => {
                    let limit = words.next().and_then(|limit| limit.split_once('/'));
                    let (count, window) = limit.expect("restart COUNT/SECONDS");
                    service.restart = RestartLimit {
                        count: count.parse().expect("a count"),
                        window: Duration::from_secs(window.parse().expect("seconds")),
                    };
                }
                node => service.nodes.push(self.node(node)),
            }
        }
        service
    }

    fn given(&mut self, words: &[&str]) {
        let decision = DecisionId(1_000);
        let observation = &self.replica.observation;
        match *words {
            ["unsettled"] => self.replica.observation.settled = false,
            ["hold"] => self.replica.intent.jeopardy = Some(engine::Jeopardy::Hold),
            ["standby", node] => {
                let node = self.node(node);
                self.replica.observation.standby.insert(node);
            }
            ["draining", node] => {
                let member = self.member(node);
                self.replica.observation.draining.insert(member.node, member.incarnation);
            }
            ["unreported", node] => {
                let node = self.node(node);
                self.replica.observation.unreported.insert(node);
            }
            ["suspect", node] => {
                let node = self.node(node);
                self.replica.observation.suspects.insert(node);
            }
            ["lost", node] => {
                let Member { node, incarnation } = self.member(node);
                assert!(!observation.is_member(node), "{}: lost members are not", self.name);
                let absence = Absence { node, incarnation, generation: 5 };
                self.replica.observation.absences.insert(node, absence);
            }
            [service, what, ref rest @ ..] => {
                let at = rest.first().filter(|_| what != "wish").map(|node| self.member(node));
                let state = self.replica.observation.services.get_mut(service);
                let state = state.unwrap_or_else(|| panic!("{}: no service {service}", self.name));
                let text = rest.get(1..).unwrap_or_default().join(" ");
                let holder = at.unwrap_or(Member { node: NodeId(0), incarnation: FIRST });
                state.class = self.replica.intent.service(service).map(|spec| spec.class().0);
                state.watched = state.class > Some(Class::Contained);
                match what {
                    "wish" => state.wish = Wish::Stopped,
                    "running" => state.phase = Phase::Running { holder, decision },
                    "starting" => {
                        state.phase = Phase::Starting { holder, decision, partial: false };
                    }
                    "stopping" => state.phase = Phase::Stopping { holder, decision },
                    "failed" => state.phase = Phase::Failed { holder, decision, reason: text },
                    "broken-unsafe" => {
                        state.phase = Phase::BrokenUnsafe { holder, reason: text, retry: false };
                    }
                    "lost" => state.phase = Phase::Lost { holder },
                    "manual" => drop(state.modes.insert(holder.node, Mode::Manual)),
                    "automatic" => drop(state.modes.insert(holder.node, Mode::Automatic)),
                    "intruder" => state.intruders.push(holder),
                    "blocked" | "forgiven" => {
                        let forgiven = what == "forgiven";
                        let failures =
                            Failures { stamps: Vec::new(), blocked: Some(text), forgiven };
                        state.failures.insert(holder.node, failures);
                    }
                    _ => panic!("{}: given {words:?}", self.name),
                }
            }
            _ => panic!("{}: given {words:?}", self.name),
        }
    }

    fn event(&mut self, line: &str, output: &mut String) {
        writeln!(output, "> {line}").expect("writing to a string");
        let words: Vec<&str> = line.split_whitespace().collect();
        let own = |text: &str| text.to_owned();
        let optional = |words: &[&str]| words.first().map(|word| own(word));
        let command = match words[..] {
            ["start", service, ref node @ ..] => {
                Some(Command::Start { service: own(service), node: optional(node) })
            }
            ["stop", service] => Some(Command::Stop { service: own(service) }),
            ["move", service, ref to @ ..] => {
                Some(Command::Move { service: own(service), to: optional(to) })
            }
            ["auto", service, ref node @ ..] => {
                Some(Command::Auto { service: own(service), node: optional(node) })
            }
            ["manual", service, ref node @ ..] => {
                Some(Command::Manual { service: own(service), node: optional(node) })
            }
            ["clear", service, ref node @ ..] => {
                Some(Command::Clear { service: own(service), node: optional(node) })
            }
            ["standby", node] => Some(Command::Standby { node: own(node) }),
            ["online", node] => Some(Command::Online { node: own(node) }),
            ["drain", node] => Some(Command::Drain { node: own(node) }),
            ["configure", ref change @ ..] => Some(self.configuration(change)),
            _ => None,
        };
        let hub = self.replica.observation.view.as_ref().and_then(|view| view.member(view.hub));
        let hub = hub.expect("a case has a view with its hub");
        if let Some(command) = command {
            let entry = Entry::Command { request: 1, command };
            return self.apply(self.entry(hub, entry), output);
        }
        let event = match words[..] {
            ["view", ref rest @ ..] => Event::View(self.view(rest)),
            ["fenced", node, ref rest @ ..] => {
                let node = self.node(node);
                let recorded = self.replica.observation.absences.get(&node).copied();
                let incarnation = Incarnation(self.life[usize::from(node.0)]);
                let mut absence = recorded.unwrap_or(Absence { node, incarnation, generation: 5 });
                let proof = match rest {
                    [] => Proof::Time,
                    ["goodbye"] => Proof::Goodbye,
                    ["operator"] => Proof::Operator,
                    ["agent"] => Proof::Agent,
                    ["watchdog"] => Proof::Watchdog,
                    ["life", life] => {
                        absence.incarnation = Incarnation(life.parse().expect("a number"));
                        Proof::Time
                    }
                    ["generation", generation] => {
                        absence.generation = generation.parse().expect("a number");
                        Proof::Time
                    }
                    _ => panic!("{}: {line}", self.name),
                };
                Event::Fenced { absence, proof }
            }
            ["settled"] => self.entry(hub, Entry::Settled),
            [node, ref rest @ ..] => {
                let origin = self.member(node);
                let entry = self.said(origin, rest);
                self.entry(origin, entry)
            }
            [] => panic!("{}: an empty event", self.name),
        };
        self.apply(event, output);
    }

    /// What a node reports: `n1 runs web db:ip`, `n1 started web`, `n1 stopped web`,
    /// `n1 start-failed web REASON`, `n1 stop-failed web REASON`, `n1 stopped-foreign web`,
    /// `n1 start-unable web REASON`, `n1 unable [web,db [lasting|over] REASON]`,
    /// `n1 late started web`, `n1 failed web SECONDS REASON`, `n1 stable web`, `n1 remarks web TEXT`.
    fn said(&self, origin: Member, words: &[&str]) -> Entry {
        let decision = |service: &str| {
            let phase = self.replica.observation.services.get(service).map(|state| &state.phase);
            phase.and_then(Phase::decision).unwrap_or(DecisionId(999))
        };
        let outcome = |service: &str, result| Entry::Outcome {
            service: service.to_owned(),
            decision: Some(decision(service)),
            result,
        };
        match words {
            ["runs", claims @ ..] => {
                let claim = |claim: &&str| {
                    let (service, running) = claim.split_once(':').unwrap_or((claim, "ip,server"));
                    let running = running.split(',').map(str::to_owned).collect();
                    Claim { service: service.to_owned(), running }
                };
                Entry::Report { claims: claims.iter().map(claim).collect() }
            }
            ["started", service] => outcome(service, Ending::Started),
            ["stopped", service] => outcome(service, Ending::Stopped),
            ["start-failed", service, reason @ ..] => {
                outcome(service, Ending::StartFailed { reason: reason.join(" ") })
            }
            ["start-unable", service, reason @ ..] => {
                outcome(service, Ending::Unable { reason: reason.join(" ") })
            }
            ["unable"] => Entry::Unable { services: BTreeMap::new() },
            ["unable", service, rest @ ..] => {
                let stage = match rest.first() {
                    Some(&"lasting") => Stage::Lasting,
                    Some(&"over") => Stage::Over,
                    _ => Stage::New,
                };
                let reason = rest[usize::from(stage != Stage::New)..].join(" ");
                let services = service.split(',').map(|service| {
                    (service.to_owned(), Inability { reason: reason.clone(), stage })
                });
                Entry::Unable { services: services.collect() }
            }
            ["stop-failed", service, reason @ ..] => {
                outcome(service, Ending::StopFailed { reason: reason.join(" ") })
            }
            ["stopped-foreign", service] => Entry::Outcome {
                service: (*service).to_owned(),
                decision: None,
                result: Ending::Stopped,
            },
            ["late", ending, service] => Entry::Outcome {
                service: (*service).to_owned(),
                decision: Some(DecisionId(777)),
                result: if *ending == "started" { Ending::Started } else { Ending::Stopped },
            },
            ["failed", service, at, reason @ ..] => Entry::Failed {
                service: (*service).to_owned(),
                decision: decision(service),
                resource: "server".to_owned(),
                reason: reason.join(" "),
                stamp: at.parse::<u64>().expect("seconds") * 1_000_000_000,
            },
            ["stable", service] => {
                Entry::Stable { service: (*service).to_owned(), decision: decision(service) }
            }
            ["jeopardy", node] => Entry::Jeopardy { node: self.node(node), is_so: true },
            ["no-jeopardy", node] => Entry::Jeopardy { node: self.node(node), is_so: false },
            ["watchdog", seconds] => {
                let seconds = seconds.parse().ok().map(Duration::from_secs);
                Entry::Watchdog { timeout: seconds }
            }
            ["remarks", service, text @ ..] => {
                Entry::Remark { service: (*service).to_owned(), text: text.join(" ") }
            }
            _ => panic!("{}: node {origin} says {words:?}", self.name),
        }
    }

    /// `configure add SERVICE …`, `remove SERVICE`, `nodes SERVICE …`, `command SERVICE`,
    /// `add-node NAME`, `remove-node NAME`, `no-hold`, `stale`.
    fn configuration(&self, words: &[&str]) -> Command {
        let mut intent = self.replica.intent.clone();
        let mut expected = intent.version;
        intent.version += 1;
        let at = |name: &str| {
            let mut services = self.replica.intent.services.iter();
            services.position(|service| service.name == name).expect("configured")
        };
        match words {
            ["add", name, rest @ ..] => intent.services.push(self.service(name, rest)),
            ["remove", name] => drop(intent.services.remove(at(name))),
            ["nodes", name, nodes @ ..] => {
                intent.services[at(name)].nodes = nodes.iter().map(|n| self.node(n)).collect();
            }
            ["contained", name] => intent.services[at(name)].class = None,
            ["rename", name, new] => intent.services[at(name)].name = (*new).to_owned(),
            ["directory", name, directory] => {
                // What it mounts, and where.
                let data = intent.services[at(name)].resources.last_mut();
                let ResourceKind::Mount { directory: old, .. } = &mut data.expect("some").kind
                else {
                    panic!("{}: {name} mounts nothing", self.name);
                };
                *old = (*directory).to_owned();
            }
            ["command", name] => {
                let resources = &mut intent.services[at(name)].resources;
                if let ResourceKind::Process { command, .. } = &mut resources[1].kind {
                    command.push("--new".to_owned());
                }
            }
            ["storage", name] => intent.services[at(name)].class = Some(Class::Storage),
            ["reserves", name] => {
                let kind = ResourceKind::Reservation { disks: vec!["/dev/sdb".to_owned()] };
                let disk = Resource { name: "disk".to_owned(), kind };
                intent.services[at(name)].resources.insert(0, disk);
            }
            ["unreserved", name] => drop(intent.services[at(name)].resources.remove(0)),
            ["add-node", name] => {
                let id = NodeId(1 + u8::try_from(intent.nodes.len()).expect("few nodes"));
                intent.nodes.push(NodeSpec { id, name: (*name).to_owned() });
            }
            ["remove-node", name] => intent.nodes.retain(|node| node.name != *name),
            ["no-hold"] => intent.jeopardy = None,
            ["stale"] => expected -= 1,
            _ => panic!("{}: configure {words:?}", self.name),
        }
        Command::Configure { expected, intent: Box::new(intent), text: String::new() }
    }

    /// `view n1 n2 left n3 again n2 formed`: members, those who left in order, new lives.
    fn view(&mut self, words: &[&str]) -> ViewChange {
        let before = self.replica.observation.view.clone().expect("a case has a view");
        let generation = before.generation + 1;
        let (mut names, mut left, mut formed, mut to_left) = (Vec::new(), NodeSet::EMPTY, false, 0);
        for word in words {
            match *word {
                "left" => to_left = 1,
                "again" => to_left = 2,
                "formed" => formed = true,
                name if to_left == 1 => drop(left.insert(self.node(name))),
                name if to_left == 2 => self.life[usize::from(self.node(name).0)] += 1,
                name => names.push(name),
            }
        }
        let members: Vec<Member> = names.iter().map(|name| self.member(name)).collect();
        let view =
            View { lineage: 1, generation, hub: members[0].node, members, tie: base::Tie::None };
        let joined = view.members.iter().copied().filter(|m| formed || !before.has(*m)).collect();
        let gone: Vec<Member> =
            before.members.iter().copied().filter(|m| !formed && !view.has(*m)).collect();
        let (left, lost): (Vec<Member>, Vec<Member>) =
            gone.into_iter().partition(|member| left.contains(member.node));
        let absence = |node, incarnation| Absence { node, incarnation, generation };
        let mut lost: Vec<Absence> =
            lost.iter().map(|member| absence(member.node, member.incarnation)).collect();
        if formed {
            let absent = self.replica.intent.node_set().difference(view.nodes()).into_iter();
            lost = absent.map(|node| absence(node, Incarnation(u64::MAX))).collect();
        }
        ViewChange { view, joined, left, lost, formed }
    }

    fn entry(&self, origin: Member, entry: Entry) -> Event {
        Event::Entry { position: self.position + 1, origin, entry: Some(entry) }
    }

    fn apply(&mut self, event: Event, output: &mut String) {
        if let Event::Entry { position, .. } = &event {
            self.position = *position;
        }
        for effect in self.replica.apply(event) {
            match effect {
                Effect::Note(note) => {
                    let line = format!("  {} [{}]", note.sentence, note.rule.name());
                    self.lines(output, &line, &note.rejected);
                }
                Effect::Answer { result: Ok(_), .. } => {}
                Effect::Answer { result: Err(refusal), .. } => {
                    writeln!(output, "  refused: {refusal}").expect("writing to a string");
                }
                Effect::Configured => {}
            }
        }
        let Replica { intent, observation, .. } = &self.replica;
        for (name, state) in &observation.services {
            let word = observation.state(intent, name, state).name();
            let on =
                state.phase.holder().map(|holder| format!(" on {}", intent.name_of(holder.node)));
            writeln!(output, "  = {name} {word}{}", on.unwrap_or_default())
                .expect("writing to a string");
        }
        // Whatever happens, the plan has nothing left to do, and a joiner knows as much as we do.
        assert_eq!(plan(intent, observation).actions, [], "{}: a second look", self.name);
        let bytes = base::codec::encode(&self.replica);
        let joiner: Replica = base::codec::decode(&bytes).expect("what we wrote");
        assert_eq!(joiner, self.replica, "{}: a snapshot is not complete", self.name);
        assert_eq!(joiner.checksum(), self.replica.checksum());
    }

    fn planned(&self) -> String {
        let Replica { intent, observation, .. } = &self.replica;
        let plan = plan(intent, observation);
        let mut output = String::from("plan\n");
        for action in &plan.actions {
            let line = format!(
                "  {} {} on {} [{}]: {}",
                action.verb.name(),
                action.service,
                intent.name_of(action.member.node),
                action.rule.name(),
                action.reason
            );
            self.lines(&mut output, &line, &action.rejected);
        }
        for waiting in &plan.waiting {
            let line = format!("  {}: {}", waiting.service, waiting.reason);
            self.lines(&mut output, &line, &waiting.rejected);
        }
        if plan.actions.is_empty() && plan.waiting.is_empty() {
            output.push_str("  nothing to do\n");
        }
        output
    }

    fn lines(&self, output: &mut String, line: &str, rejected: &[(NodeId, String)]) {
        writeln!(output, "{line}").expect("writing to a string");
        for (node, why) in rejected {
            writeln!(output, "    not {}: {why}", self.replica.intent.name_of(*node))
                .expect("writing to a string");
        }
    }
}
