//! What one engine does with its own resources, told act by act.
//!
//! The group here is the shortest possible: whatever the engine submits is delivered to it next,
//! and other members speak when the story wants them to.

use std::time::Duration;

use base::{Incarnation, Instant, Member, NodeId, Preset, View, codec};
use engine::{
    Absence, Act, ActionId, Claim, Class, Command, DIGEST_SIZE_MAX, Digest, Ending, Engine, Entry,
    Failback, Found, Input, Intent, KILL_TIMEOUT, Mode, NodeSpec, Outcome, Output, Phase, Proof,
    Refusal, Resource, ResourceChange, ResourceKind, RestartLimit, Rule, Service, State, Timer,
    Verb, ViewChange, Watchdog,
};

mod lease;
mod watchdog;

const N1: Member = Member { node: NodeId(1), incarnation: Incarnation(1) };
const N2: Member = Member { node: NodeId(2), incarnation: Incarnation(1) };
const N3: Member = Member { node: NodeId(3), incarnation: Incarnation(1) };

fn resource(name: &str) -> Resource {
    let kind = ResourceKind::Process {
        command: vec![format!("/bin/{name}")],
        directory: None,
        environment: Vec::new(),
        user: None,
    };
    Resource { name: name.to_owned(), kind }
}

fn service(name: &str, nodes: &[NodeId]) -> Service {
    Service {
        name: name.to_owned(),
        nodes: nodes.to_vec(),
        resources: vec![resource("ip"), resource("disk"), resource("server")],
        mode: Mode::Automatic,
        failback: Failback::Never,
        restart: RestartLimit { count: 2, window: Duration::from_secs(60) },
        start_timeout: Duration::from_secs(30),
        stop_timeout: Duration::from_secs(10),
        priority: engine::PRIORITY_DEFAULT,
        class: None,
        is_fixed: false,
        networks: Vec::new(),
    }
}

fn intent() -> Intent {
    let nodes = [(1, "n1"), (2, "n2"), (3, "n3")];
    let nodes = nodes.map(|(id, name)| NodeSpec { id: NodeId(id), name: name.to_owned() });
    let services = vec![service("web", &[NodeId(1), NodeId(2)])];
    Intent { nodes: nodes.to_vec(), services, version: 1, checksum: 11, jeopardy: None }
}

fn view(generation: u64, members: &[Member]) -> View {
    View {
        lineage: 1,
        generation,
        members: members.to_vec(),
        hub: members[0].node,
        tie: base::Tie::None,
    }
}

fn formed(members: &[Member]) -> Input {
    let absent = [N1, N2, N3].into_iter().filter(|member| !members.contains(member));
    let absence = |member: Member| Absence {
        node: member.node,
        incarnation: Incarnation(u64::MAX),
        generation: 1,
    };
    let lost = absent.map(absence).collect();
    let joined = members.to_vec();
    Input::View(ViewChange { view: view(1, members), joined, left: Vec::new(), lost, formed: true })
}

/// An engine whose submissions are delivered to it at once.
struct Story {
    engine: Engine,
    local: Member,
    now: Instant,
    position: u64,
    acts: Vec<Act>,
    notes: Vec<engine::Note>,
    answers: Vec<(u64, Result<String, Refusal>)>,
    said: Vec<Entry>,
    configured: Vec<u64>,
    clean: bool,
    /// How often the watchdog was to be armed.
    armed: u32,
    /// What is submitted stays on its way.
    holds: bool,
    held: Vec<Vec<u8>>,
}

impl Story {
    fn new(local: Member, found: &[&str]) -> Story {
        Story::of(local, found, intent())
    }

    fn of(local: Member, found: &[&str], intent: Intent) -> Story {
        let now = Instant::from_millis(500);
        let found =
            found.iter().map(|name| Found { service: "web".to_owned(), resource: resource(name) });
        let timing = Preset::Fast.timing();
        Story {
            engine: Engine::new(local, intent, String::new(), timing, found.collect(), now),
            local,
            now,
            position: 0,
            acts: Vec::new(),
            notes: Vec::new(),
            answers: Vec::new(),
            said: Vec::new(),
            configured: Vec::new(),
            clean: false,
            armed: 0,
            holds: false,
            held: Vec::new(),
        }
    }

    /// A whole cluster has formed, nothing ran before, and everybody has said so.
    fn formed(local: Member) -> Story {
        let mut story = Story::new(local, &[]);
        story.form(local);
        story
    }

    /// The same with a storage service, on a node that has a watchdog.
    fn formed_with_watchdog(local: Member) -> Story {
        let mut intent = intent();
        intent.services[0].class = Some(Class::Storage);
        let mut story = Story::of(local, &[], intent);
        story.feed(Input::Watchdog(Watchdog::Ready));
        story.form(local);
        story
    }

    fn form(&mut self, local: Member) {
        self.feed(Input::Lease { until: Instant::FAR });
        self.form_unleased(local);
    }

    fn form_unleased(&mut self, local: Member) {
        let story = self;
        story.feed(formed(&[N1, N2, N3]));
        for other in [N1, N2, N3].into_iter().filter(|member| *member != local) {
            story.others(other, &Entry::Report { claims: Vec::new() });
        }
    }

    /// A newer lease, when what was put off may be tried again.
    fn renew_later(&mut self) {
        self.now += Duration::from_millis(100);
        self.feed(Input::Lease { until: self.now + Duration::from_secs(60) });
    }

    fn feed(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        let mut payloads = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Submit { payload } => payloads.push(payload),
                Output::Act(act) => self.acts.push(act),
                Output::Note(note) => self.notes.push(note),
                Output::Answer { request, result } => self.answers.push((request, result)),
                Output::Configured { version, .. } => self.configured.push(version),
                Output::Arm => self.armed += 1,
                Output::Clean => self.clean = true,
            }
        }
        if self.holds {
            return self.held.append(&mut payloads);
        }
        for payload in payloads {
            self.said.push(codec::decode(&payload).expect("what engines say is well formed"));
            self.deliver(self.local, payload);
        }
    }

    fn deliver(&mut self, origin: Member, payload: Vec<u8>) {
        self.position += 1;
        let position = self.position;
        self.feed(Input::Delivered { position, origin, payload });
    }

    fn others(&mut self, origin: Member, entry: &Entry) {
        self.deliver(origin, codec::encode(entry));
    }

    /// The one act that is under way, as "start ip".
    fn act(&mut self) -> (ActionId, String) {
        assert_eq!(self.acts.len(), 1, "one thing at a time: {:?}", self.acts);
        let act = self.acts.remove(0);
        let verb = match act.verb {
            Verb::Start => "start",
            Verb::Stop => "stop",
            Verb::Kill => "kill",
        };
        (act.id, format!("{verb} {}", act.resource.name))
    }

    fn done(&mut self, expected: &str) {
        let (id, act) = self.act();
        assert_eq!(act, expected);
        self.feed(Input::Acted { id, outcome: Outcome::Done });
    }

    fn fails(&mut self, expected: &str, reason: &str) {
        let (id, act) = self.act();
        assert_eq!(act, expected);
        self.feed(Input::Acted { id, outcome: Outcome::Failed { reason: reason.to_owned() } });
    }

    fn all_done(&mut self, expected: &[&str]) {
        for act in expected {
            self.done(act);
        }
        assert_eq!(self.acts, [], "nothing else is done");
    }

    fn propose(&mut self, command: Command) -> Result<(), Refusal> {
        let result = self.engine.propose(self.now, 7, command);
        self.drain();
        result
    }

    fn exits(&mut self, resource: &str) {
        self.feed(Input::ResourceChanged {
            service: "web".to_owned(),
            resource: resource.to_owned(),
            change: ResourceChange::Exited { code: Some(1), signal: None },
        });
    }

    /// Time passes up to the next deadline, which is for this.
    fn wait(&mut self, timer: Timer) {
        let (at, what) = self.engine.deadline().expect("something is waited for");
        assert_eq!(what, timer);
        self.now = at.max(self.now);
        self.feed(Input::Tick);
    }

    /// Why the start did not succeed, for which the service is not blocked.
    fn unable(&self) -> String {
        assert!(self.engine.observation().services["web"].failures.is_empty(), "nothing failed");
        let mut said = self.said.iter().rev();
        let found = said.find_map(|entry| match entry {
            Entry::Outcome { result: Ending::Unable { reason }, .. } => Some(reason.clone()),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{:#?}", self.said))
    }

    fn state(&self) -> State {
        self.engine.status().services[0].state
    }

    fn phase(&self) -> &Phase {
        &self.engine.observation().services["web"].phase
    }
}

const START: [&str; 3] = ["start ip", "start disk", "start server"];
const STOP: [&str; 3] = ["stop server", "stop disk", "stop ip"];

fn stop() -> Command {
    Command::Stop { service: "web".to_owned() }
}

fn clear() -> Command {
    Command::Clear { service: "web".to_owned(), node: None }
}

#[test]
fn resources_start_in_order_and_stop_in_reverse() {
    let mut story = Story::formed(N1);
    assert_eq!(story.state(), State::Starting);
    story.all_done(&START);
    assert_eq!(story.state(), State::Running);
    story.propose(stop()).expect("a lawful command");
    story.all_done(&STOP);
    assert_eq!(story.state(), State::Stopped);
    let (_, answer) = story.answers.pop().expect("an answer");
    assert_eq!(answer, Ok("stop web: web is stopped on n1: the operator stops it".to_owned()));
}

#[test]
fn only_the_chosen_node_acts() {
    let story = Story::formed(N2);
    assert_eq!(story.phase().holder(), Some(N1));
    assert_eq!(story.acts, []);
    assert_eq!(story.engine.held().count(), 0);
}

#[test]
fn it_is_held_from_the_decision_on_until_the_stop_is_delivered() {
    let mut story = Story::formed(N1);
    assert_eq!(story.engine.held().collect::<Vec<_>>(), ["web"]);
    story.all_done(&START);
    story.propose(stop()).expect("a lawful command");
    assert_eq!(story.engine.held().collect::<Vec<_>>(), ["web"]);
    story.all_done(&STOP);
    assert_eq!(story.engine.held().count(), 0);
    assert!(story.engine.is_idle(NodeId(1)));
}

#[test]
fn a_restart_touches_only_what_failed_and_what_stands_on_it() {
    let mut story = Story::formed(N1);
    story.all_done(&START);
    story.exits("disk");
    story.all_done(&["stop server", "stop disk", "start disk", "start server"]);
    assert_eq!(story.state(), State::Running);
    story.exits("server");
    story.all_done(&["stop server", "start server"]);
    assert_eq!(story.state(), State::Running);
}

#[test]
fn a_second_failure_before_the_plan_has_spoken_is_part_of_the_first() {
    let mut story = Story::formed(N1);
    story.all_done(&START);
    story.exits("server");
    let failures = |story: &Story| {
        story.said.iter().filter(|entry| matches!(entry, Entry::Failed { .. })).count()
    };
    assert_eq!(failures(&story), 1);
    story.exits("ip");
    assert_eq!(failures(&story), 1);
    // The stop of the server was under way; the start then finds the address dead and cleans up.
    story.all_done(&["stop server", "stop disk", "stop ip"]);
    assert_eq!(story.phase().holder(), Some(N2), "a failed start goes to the next node");
}

#[test]
fn a_start_that_takes_too_long_is_killed_and_cleaned_up() {
    let mut story = Story::formed(N1);
    story.done("start ip");
    assert_eq!(story.act().1, "start disk");
    story.wait(Timer::Act);
    assert_eq!(story.now, Instant::from_millis(500) + Duration::from_secs(30));
    story.all_done(&["kill disk", "stop ip"]);
    assert_eq!(story.phase().holder(), Some(N2));
}

#[test]
fn a_start_that_fails_leaves_nothing_behind_before_it_is_reported() {
    let mut story = Story::formed(N1);
    story.done("start ip");
    story.fails("start disk", "no such device");
    assert_eq!(story.phase().holder(), Some(N1), "something may be left");
    story.all_done(&["stop disk", "stop ip"]);
    assert_eq!(story.phase().holder(), Some(N2));
}

#[test]
fn a_stop_is_asked_for_then_forced_then_broken_unsafe() {
    let mut story = Story::formed(N1);
    story.all_done(&START);
    story.propose(stop()).expect("a lawful command");
    assert_eq!(story.act().1, "stop server");
    let asked = story.now;
    story.wait(Timer::Act);
    assert_eq!(story.now.since(asked), Duration::from_secs(10), "its stop timeout");
    let (late, act) = story.act();
    assert_eq!(act, "kill server");
    story.wait(Timer::Act);
    assert_eq!(story.now.since(asked), Duration::from_secs(10) + KILL_TIMEOUT);
    // The other resources are stopped all the same.
    story.all_done(&["stop disk", "stop ip"]);
    assert_eq!(story.state(), State::BrokenUnsafe);
    assert_eq!(story.phase().holder(), Some(N1));
    // Even when the process ends after all, somebody has to look at it.
    story.feed(Input::Acted { id: late, outcome: Outcome::Done });
    assert_eq!(story.state(), State::BrokenUnsafe);
    story.propose(clear()).expect("a lawful command");
    assert_eq!(story.state(), State::Stopped, "the confirmed stop is all that was missing");
}

#[test]
fn clear_tries_the_stop_again_from_asking_on() {
    let mut story = Story::formed(N1);
    story.all_done(&START);
    story.propose(stop()).expect("a lawful command");
    story.fails("stop server", "refuses");
    story.fails("kill server", "in state D");
    story.all_done(&["stop disk", "stop ip"]);
    assert_eq!(story.state(), State::BrokenUnsafe);
    assert!(story.engine.status().services[0].reason.contains("server in state D"));
    story.propose(clear()).expect("a lawful command");
    story.all_done(&["stop server"]);
    assert_eq!(story.state(), State::Stopped);
}

#[test]
fn a_node_that_is_left_out_in_the_middle_of_a_start_stops_everything_and_is_clean() {
    let mut story = Story::formed(N1);
    story.done("start ip");
    assert_eq!(story.act().1, "start disk");
    let said = story.said.len();
    story.feed(Input::Excluded);
    assert_eq!(story.engine.held().count(), 0);
    assert!(!story.clean);
    story.all_done(&["stop disk", "stop ip"]);
    assert!(story.clean);
    assert_eq!(story.said.len(), said, "nobody listens any more");
    assert_eq!(story.propose(stop()), Err(Refusal::NotMember));
}

#[test]
fn a_node_that_runs_nothing_is_clean_at_once() {
    let mut story = Story::formed(N2);
    story.feed(Input::Excluded);
    assert!(story.clean);
}

#[test]
fn what_does_not_stop_keeps_a_node_from_being_clean_and_is_killed_again_and_again() {
    let mut story = Story::formed(N1);
    story.all_done(&START);
    story.feed(Input::Excluded);
    story.fails("stop server", "refuses");
    story.fails("kill server", "in state D");
    story.all_done(&["stop disk", "stop ip"]);
    assert!(!story.clean);
    story.wait(Timer::Act);
    assert!(!story.clean);
    story.done("kill server");
    assert!(story.clean);
}

/// N1 was lost while it held the service, and another life of it takes part again.
fn returned(found: &[&str]) -> Story {
    let mut former = Story::formed(N3);
    let decision = former.phase().decision().expect("n1 starts it");
    let started = Entry::Outcome {
        service: "web".to_owned(),
        decision: Some(decision),
        result: Ending::Started,
    };
    former.others(N1, &started);
    let snapshot = former.engine.snapshot();
    let local = Member { incarnation: Incarnation(2), ..N1 };
    let mut story = Story::new(local, found);
    story.feed(Input::Lease { until: Instant::FAR });
    story.engine.restore(story.now, &snapshot).expect("a snapshot");
    story.drain();
    assert_eq!(story.engine.checksum(), former.engine.checksum());
    let lost = vec![Absence { node: NodeId(1), incarnation: Incarnation(1), generation: 2 }];
    let members = [N2, N3, local];
    let change = ViewChange {
        view: view(2, &members),
        joined: vec![local],
        left: Vec::new(),
        lost,
        formed: false,
    };
    story.position = former.position;
    story.feed(Input::View(change));
    story
}

#[test]
fn a_restarted_daemon_adopts_what_runs_without_touching_it() {
    let story = returned(&["server", "ip", "disk"]);
    assert_eq!(story.acts, []);
    assert_eq!(story.state(), State::Running);
    assert_eq!(story.engine.held().collect::<Vec<_>>(), ["web"]);
    let running = vec!["ip".to_owned(), "disk".to_owned(), "server".to_owned()];
    let claims = vec![Claim { service: "web".to_owned(), running }];
    assert_eq!(story.said, [Entry::Report { claims }], "in start order, and once");
}

#[test]
fn a_restarted_daemon_completes_what_runs_in_part() {
    let mut story = returned(&["disk"]);
    assert_eq!(story.state(), State::Partial);
    story.all_done(&["start ip", "start server"]);
    assert_eq!(story.state(), State::Running);
}

#[test]
fn a_resource_that_dies_before_the_report_still_counts_as_left_behind() {
    let mut story = Story::new(Member { incarnation: Incarnation(2), ..N1 }, &["ip", "server"]);
    story.exits("ip");
    story.exits("server");
    story.feed(formed(&[Member { incarnation: Incarnation(2), ..N1 }, N2, N3]));
    let claims = vec![Claim { service: "web".to_owned(), running: Vec::new() }];
    assert_eq!(story.said, [Entry::Report { claims }], "its children may live");
    assert_eq!(story.phase().holder().map(|holder| holder.node), Some(NodeId(1)));
}

#[test]
fn what_is_found_has_as_long_to_stop_as_is_configured() {
    let mut intent = intent();
    intent.services[0].stop_timeout = Duration::from_secs(25);
    let mut story = Story::of(N3, &["ip"], intent);
    story.holds = true;
    story.feed(formed(&[N1, N2, N3]));
    let running = ["ip", "disk", "server"].map(str::to_owned).to_vec();
    let claims = vec![Claim { service: "web".to_owned(), running }];
    story.others(N1, &Entry::Report { claims });
    story.others(N2, &Entry::Report { claims: Vec::new() });
    // Its own report comes last: the service runs on n1.
    story.holds = false;
    for payload in core::mem::take(&mut story.held) {
        story.deliver(N3, payload);
    }
    let until = story.acts[0].deadline;
    assert_eq!((story.act().1.as_str(), until - story.now), ("stop ip", Duration::from_secs(25)));
}

#[test]
fn nothing_found_is_touched_before_the_cluster_has_heard_of_it() {
    let mut story = Story::new(N3, &["ip", "server"]);
    story.feed(Input::Lease { until: Instant::FAR });
    story.feed(Input::Tick);
    assert_eq!(story.acts, []);
    story.engine.handle(story.now, formed(&[N1, N2, N3]));
    let mut report = None;
    while let Some(output) = story.engine.poll_output() {
        match output {
            Output::Submit { payload } => report = Some(payload),
            Output::Note(_) => {}
            other => panic!("{other:?}"),
        }
    }
    // Somebody else has claimed it before our own report arrives.
    let running = vec!["ip".to_owned(), "disk".to_owned(), "server".to_owned()];
    let claims = vec![Claim { service: "web".to_owned(), running }];
    story.others(N1, &Entry::Report { claims });
    assert_eq!(story.acts, []);
    story.deliver(N3, report.expect("a report"));
    assert_eq!(story.phase().holder(), Some(N1));
    story.all_done(&["stop server", "stop ip"]);
    let last = story.said.last().expect("it says that it has stopped it");
    assert!(matches!(last, Entry::Outcome { decision: None, result: Ending::Stopped, .. }));
    assert_eq!(story.engine.observation().services["web"].intruders, []);
}

#[test]
fn a_snapshot_that_contains_the_view_is_as_good_as_one_before_it() {
    let before = returned(&["ip", "disk", "server"]);
    let mut after = Story::new(before.local, &["ip", "disk", "server"]);
    let mut donor = Story::formed(N3);
    let decision = donor.phase().decision().expect("n1 starts it");
    let started = Ending::Started;
    let service = "web".to_owned();
    donor.others(N1, &Entry::Outcome { service, decision: Some(decision), result: started });
    let lost = vec![Absence { node: NodeId(1), incarnation: Incarnation(1), generation: 2 }];
    let change = ViewChange {
        view: view(2, &[N2, N3, before.local]),
        joined: vec![before.local],
        left: Vec::new(),
        lost,
        formed: false,
    };
    // The view may even reach the joiner before the snapshot does.
    after.feed(Input::View(change.clone()));
    assert_eq!(after.said, []);
    donor.feed(Input::View(change));
    let snapshot = donor.engine.snapshot();
    after.position = donor.position;
    after.engine.restore(after.now, &snapshot).expect("a snapshot");
    after.drain();
    assert_eq!(after.engine.checksum(), before.engine.checksum());
}

#[test]
fn the_hub_ends_the_start_wait_and_the_next_hub_does_if_it_cannot() {
    let mut hub = Story::new(N1, &[]);
    hub.feed(formed(&[N1, N2]));
    hub.wait(Timer::Settle);
    assert_eq!(hub.now, Instant::from_millis(500) + Preset::Fast.timing().start_wait);
    assert_eq!(hub.said.last(), Some(&Entry::Settled));
    assert!(hub.engine.status().settled);
    assert_eq!(hub.engine.deadline(), None);

    let mut next = Story::new(N2, &[]);
    next.feed(formed(&[N1, N2]));
    assert_eq!(next.engine.deadline(), None, "that is the hub's");
    let lost = vec![Absence { node: NodeId(1), incarnation: Incarnation(1), generation: 2 }];
    let view = view(2, &[N2]);
    let change = ViewChange { view, joined: Vec::new(), left: Vec::new(), lost, formed: false };
    next.feed(Input::View(change));
    next.wait(Timer::Settle);
    assert_eq!(next.said.last(), Some(&Entry::Settled));
}

#[test]
fn a_quiet_window_forgives_failures_once() {
    let mut story = Story::formed(N1);
    story.all_done(&START);
    assert_eq!(story.engine.deadline(), None, "there is nothing to forgive");
    story.exits("server");
    story.all_done(&["stop server", "start server"]);
    assert!(!story.engine.observation().services["web"].failures.is_empty());
    story.wait(Timer::Stable);
    assert!(story.engine.observation().services["web"].failures.is_empty());
    assert_eq!(story.engine.deadline(), None);
}

#[test]
fn why_leads_from_the_service_back_to_the_cause() {
    let mut story = Story::formed(N3);
    let lost = vec![Absence { node: NodeId(1), incarnation: Incarnation(1), generation: 2 }];
    let view = view(2, &[N2, N3]);
    let joined = Vec::new();
    story.feed(Input::View(ViewChange { view, joined, left: Vec::new(), lost, formed: false }));
    let status = &story.engine.status().services[0];
    assert_eq!(status.pending_fence.as_deref(), Some("waiting until n1 is fenced"));
    assert_eq!(status.state, State::Unknown);
    let absence = Absence { node: NodeId(1), incarnation: Incarnation(1), generation: 2 };
    story.feed(Input::Fenced { absence, proof: Proof::Goodbye });
    let why = story.engine.why(Some("web"));
    let start = why.last().expect("there are notes");
    assert_eq!((start.rule, start.chosen), (Rule::ListOrder, Some(NodeId(2))));
    assert_eq!(start.rejected, [(NodeId(1), "not a member".to_owned())]);
    let fence = why.iter().find(|note| Some(note.number) == start.because).expect("its cause");
    assert_eq!(fence.sentence, "n1 is fenced: its guard said goodbye");
    let loss = why.iter().find(|note| Some(note.number) == fence.because).expect("its cause");
    assert_eq!(loss.sentence, "n1 was lost (generation 2)");
}

#[test]
fn the_journal_keeps_the_newest_notes_of_each_service() {
    let mut story = Story::formed(N1);
    story.all_done(&START);
    for _ in 0..100 {
        let text = "something".to_owned();
        story.others(N2, &Entry::Remark { service: "web".to_owned(), text });
    }
    let why = story.engine.why(None);
    let about = why.iter().filter(|note| note.service.is_some()).count();
    assert_eq!(about, engine::NOTES_PER_SERVICE_MAX);
    assert!(why.iter().any(|note| note.rule == Rule::View), "others are not pushed out");
}

#[test]
fn an_accepted_configuration_is_told_to_the_driver_and_to_joiners() {
    let mut story = Story::formed(N1);
    story.all_done(&START);
    let mut new = intent();
    new.version = 2;
    new.services[0].resources[2] = resource("better");
    let command = Command::Configure { expected: 1, intent: Box::new(new), text: "toml".into() };
    story.propose(command.clone()).expect("a lawful change");
    assert_eq!((story.configured.as_slice(), story.engine.text()), (&[2][..], "toml"));
    assert_eq!(story.acts, [], "what runs keeps running");
    assert_eq!(story.propose(command), Err(Refusal::Stale { expected: 1, current: 2 }));
    let mut joiner = Story::new(Member { incarnation: Incarnation(9), ..N2 }, &[]);
    joiner.engine.restore(joiner.now, &story.engine.snapshot()).expect("a snapshot");
    joiner.drain();
    assert_eq!((joiner.configured.as_slice(), joiner.engine.text()), (&[2][..], "toml"));
    // At the next start the changed resource takes the place of the old one, which is stopped as
    // it was started.
    story.exits("server");
    story.all_done(&[
        "stop server",
        "stop disk",
        "stop ip",
        "start ip",
        "start disk",
        "start better",
    ]);
    assert_eq!(story.state(), State::Running);
}

#[test]
fn bytes_that_make_no_sense_are_counted_and_dropped() {
    let mut story = Story::formed(N1);
    let before = story.engine.observation().clone();
    story.deliver(N2, vec![0xff, 0x00]);
    story.deliver(N2, Vec::new());
    assert_eq!(story.engine.status().malformed, 2);
    assert_eq!(story.engine.observation(), &before);
    assert!(story.engine.restore(story.now, &[1, 2, 3]).is_err());
    assert_eq!(story.engine.observation(), &before);
}

#[test]
fn a_conflict_is_remarked_once_and_nothing_is_done() {
    let mut story = Story::formed(N1);
    story.all_done(&START);
    for _ in 0..5 {
        story.feed(Input::ResourceChanged {
            service: "web".to_owned(),
            resource: "ip".to_owned(),
            change: ResourceChange::Conflict { detail: "02:00:00:00:00:07 answers".to_owned() },
        });
    }
    let remarks = story.notes.iter().filter(|note| note.rule == Rule::Remark).count();
    assert_eq!((remarks, story.state()), (1, State::Running));
}

#[test]
fn commands_are_refused_at_once_where_they_make_no_sense() {
    let mut story = Story::new(N1, &[]);
    assert_eq!(story.propose(stop()), Err(Refusal::NotMember));
    story.feed(formed(&[N1, N2, N3]));
    let refusal = story.propose(Command::Stop { service: "wep".to_owned() });
    let refusal = refusal.expect_err("there is no such service");
    assert_eq!(refusal.to_string(), "there is no service wep; did you mean web?");
    assert_eq!(story.answers, []);
}

#[test]
fn a_digest_survives_the_heartbeat() {
    let mut story = Story::formed(N1);
    story
        .propose(Command::Manual { service: "web".into(), node: Some("n1".into()) })
        .expect("lawful");
    let digest = story.engine.digest();
    let bytes = digest.encode();
    assert!(bytes.len() <= DIGEST_SIZE_MAX);
    assert_eq!(Digest::decode(&bytes), Ok(digest.clone()));
    let entry = digest.services[0];
    assert_eq!((entry.state, entry.held, entry.manual), (State::Starting, true, true));
    assert!(Digest::decode(&bytes[..7]).is_err());
    assert!(Digest::decode(&[0x0f; 17]).is_err(), "there is no such state");
}
