//! A service that reserves its disk and mounts what is on it, in a cluster of one node.

use std::time::Duration;

use base::{Incarnation, Instant, Member, NodeId, Preset, View, codec};
use engine::{
    Act, Check, Class, Command, Ending, Engine, Entry, Failback, Found, Input, Intent, Mode,
    NodeSpec, Outcome, Output, PRIORITY_DEFAULT, Resource, ResourceKind, RestartLimit, Service,
    Verb, ViewChange,
};

const N1: Member = Member { node: NodeId(1), incarnation: Incarnation(1) };

fn mount(filesystem: &str, options: &str) -> Resource {
    let kind = ResourceKind::Mount {
        device: "/dev/disk/by-id/lun-part1".to_owned(),
        directory: "/srv".to_owned(),
        filesystem: filesystem.to_owned(),
        options: options.to_owned(),
        check: Check::Auto,
    };
    Resource { name: "fs".to_owned(), kind }
}

fn service(filesystem: &str, options: &str) -> Service {
    let disks = vec!["/dev/disk/by-id/lun".to_owned()];
    let reservation =
        Resource { name: "disk".to_owned(), kind: ResourceKind::Reservation { disks } };
    Service {
        name: "db".to_owned(),
        nodes: vec![NodeId(1)],
        resources: vec![reservation, mount(filesystem, options)],
        mode: Mode::Automatic,
        failback: Failback::Never,
        restart: RestartLimit { count: 2, window: Duration::from_secs(60) },
        start_timeout: Duration::from_secs(30),
        stop_timeout: Duration::from_secs(10),
        priority: PRIORITY_DEFAULT,
        class: None,
        is_fixed: false,
        networks: Vec::new(),
    }
}

/// An engine whose submissions are delivered to it at once.
struct Story {
    engine: Engine,
    position: u64,
    acts: Vec<Act>,
    said: Vec<Entry>,
}

impl Story {
    /// The service is found running.
    fn adopted() -> Story {
        let service = service("xfs", "");
        let found = service
            .resources
            .iter()
            .map(|resource| Found { service: service.name.clone(), resource: resource.clone() });
        let found = found.collect();
        let nodes = vec![NodeSpec { id: NodeId(1), name: "n1".to_owned() }];
        let intent =
            Intent { nodes, services: vec![service], version: 1, checksum: 1, jeopardy: None };
        let (timing, now) = (Preset::Fast.timing(), Instant::from_millis(500));
        let engine = Engine::new(N1, intent, String::new(), timing, found, now);
        let mut story = Story { engine, position: 0, acts: Vec::new(), said: Vec::new() };
        let view = View {
            lineage: 1,
            generation: 1,
            members: vec![N1],
            hub: N1.node,
            tie: base::Tie::None,
        };
        let (left, lost) = (Vec::new(), Vec::new());
        story.feed(Input::Lease { until: Instant::FAR });
        story.feed(Input::View(ViewChange { view, joined: vec![N1], left, lost, formed: true }));
        story
    }

    fn feed(&mut self, input: Input) {
        self.engine.handle(Instant::from_millis(500), input);
        self.drain();
    }

    fn drain(&mut self) {
        let mut payloads = Vec::new();
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Submit { payload } => payloads.push(payload),
                Output::Act(act) => self.acts.push(act),
                _ => {}
            }
        }
        for payload in payloads {
            self.said.push(codec::decode(&payload).expect("what engines say is well formed"));
            self.position += 1;
            let position = self.position;
            self.feed(Input::Delivered { position, origin: N1, payload });
        }
    }

    /// The one act that is under way ends so.
    fn acted(&mut self, verb: Verb, resource: &str, outcome: Outcome) {
        assert_eq!(self.acts.len(), 1, "{:?}", self.acts);
        let act = self.acts.remove(0);
        assert_eq!((act.verb, act.resource.name.as_str()), (verb, resource));
        self.feed(Input::Acted { id: act.id, outcome });
    }

    fn stop(&mut self) {
        let command = Command::Stop { service: "db".to_owned() };
        self.engine.propose(Instant::from_millis(500), 7, command).expect("it is lawful");
        self.drain();
    }

    fn ending(&self) -> Option<&Ending> {
        self.said.iter().rev().find_map(|entry| match entry {
            Entry::Outcome { result, .. } => Some(result),
            _ => None,
        })
    }
}

#[test]
fn the_disk_is_given_up_after_the_mount() {
    let mut story = Story::adopted();
    story.stop();
    story.acted(Verb::Stop, "fs", Outcome::Done);
    story.acted(Verb::Stop, "disk", Outcome::Done);
    assert_eq!(story.ending(), Some(&Ending::Stopped));
}

#[test]
fn the_disk_is_kept_as_long_as_a_mount_may_still_write_to_it() {
    let mut story = Story::adopted();
    story.stop();
    let busy = || Outcome::Failed { reason: "is busy".to_owned() };
    story.acted(Verb::Stop, "fs", busy());
    story.acted(Verb::Kill, "fs", busy());
    assert_eq!(story.acts, [], "whoever takes the disk next must find it taken");
    assert!(matches!(story.ending(), Some(Ending::StopFailed { .. })), "{:?}", story.said);
}

#[test]
fn a_mount_that_may_write_elsewhere_is_freed_by_proof_only() {
    for (filesystem, options, class) in [
        ("xfs", "", Class::Reserved),
        ("ext4", "noatime,nodev,data=ordered", Class::Reserved),
        ("xfs", "noatime,logdev=/dev/sdz", Class::Storage),
        ("xfs", "rtdev=/dev/sdz", Class::Storage),
        ("ext4", "journal_dev=0x0810", Class::Storage),
        ("ext4", "journal_path=/dev/sdz1", Class::Storage),
        ("btrfs", "", Class::Storage),
    ] {
        assert_eq!(service(filesystem, options).class().0, class, "{filesystem} {options}");
    }
}
