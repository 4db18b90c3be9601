//! What one delivered entry costs with many services: `cargo bench -p engine`. Three members, all services
//! on the first, which is lost; every entry of the takeover is timed.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use base::{Incarnation, Member, NodeId, View};
use engine::{
    Absence, Ending, Entry, Event, Failback, Intent, Mode, NodeSpec, PRIORITY_DEFAULT, Phase,
    Proof, Replica, Resource, ResourceKind, RestartLimit, Service, ViewChange,
};

fn member(node: u8) -> Member {
    Member { node: NodeId(node), incarnation: Incarnation(1) }
}

fn view(generation: u64, members: &[u8]) -> View {
    View {
        lineage: 1,
        generation,
        hub: NodeId(members[0]),
        members: members.iter().copied().map(member).collect(),
        tie: base::Tie::None,
    }
}

fn service(number: u32) -> Service {
    let address = |place: u32| {
        let first = u32::from(Ipv4Addr::new(10, 9, 0, 1));
        Resource {
            name: format!("ip{place}"),
            kind: ResourceKind::Address {
                address: IpAddr::V4((first + number * 2 + place).into()),
                prefix: 16,
            },
        }
    };
    Service {
        name: format!("service{number}"),
        nodes: (1..=3).map(NodeId).collect(),
        resources: vec![address(0), address(1)],
        mode: Mode::Automatic,
        failback: Failback::Never,
        restart: RestartLimit { count: 2, window: Duration::from_secs(60) },
        start_timeout: Duration::from_secs(10),
        stop_timeout: Duration::from_secs(3),
        priority: PRIORITY_DEFAULT,
        class: None,
        is_fixed: false,
        networks: Vec::new(),
    }
}

fn intent(services: u32) -> Intent {
    Intent {
        nodes: (1..=3).map(|id| NodeSpec { id: NodeId(id), name: format!("n{id}") }).collect(),
        services: (0..services).map(service).collect(),
        version: 1,
        checksum: 1,
        jeopardy: None,
    }
}

/// Applies events, and times each.
struct Timed {
    replica: Replica,
    position: u64,
    times: Vec<Duration>,
}

impl Timed {
    #[expect(clippy::disallowed_methods, reason = "a benchmark has a clock")]
    fn apply(&mut self, event: Event) {
        let start = Instant::now();
        drop(black_box(self.replica.apply(black_box(event))));
        self.times.push(start.elapsed());
    }

    fn entry(&mut self, node: u8, entry: Entry) {
        self.position += 1;
        let (position, origin, entry) = (self.position, member(node), Some(entry));
        self.apply(Event::Entry { position, origin, entry });
    }

    /// The holder says of each start that it was done.
    fn started(&mut self) {
        let starting: Vec<_> = (self.replica.observation.services.iter())
            .filter_map(|(name, state)| match state.phase {
                Phase::Starting { holder, decision, .. } => {
                    Some((name.clone(), holder.node.0, decision))
                }
                _ => None,
            })
            .collect();
        for (service, node, decision) in starting {
            let (decision, result) = (Some(decision), Ending::Started);
            self.entry(node, Entry::Outcome { service, decision, result });
        }
    }
}

fn measure(services: u32) -> Vec<Duration> {
    let replica = Replica::new(intent(services), String::new());
    let mut timed = Timed { replica, position: 0, times: Vec::new() };
    let all = view(1, &[1, 2, 3]);
    let joined = all.members.clone();
    timed.apply(Event::View(ViewChange {
        view: all,
        joined,
        left: vec![],
        lost: vec![],
        formed: true,
    }));
    for node in 1..=3 {
        timed.entry(node, Entry::Report { claims: Vec::new() });
    }
    timed.entry(1, Entry::Settled);
    timed.started();

    timed.times.clear();
    let absence = Absence { node: NodeId(1), incarnation: Incarnation(1), generation: 2 };
    let lost = vec![absence];
    let view = view(2, &[2, 3]);
    timed.apply(Event::View(ViewChange {
        view,
        joined: vec![],
        left: vec![],
        lost,
        formed: false,
    }));
    timed.apply(Event::Fenced { absence, proof: Proof::Time });
    timed.started();
    let there = |state: &engine::ServiceState| matches!(state.phase, Phase::Running { holder, .. } if holder.node == NodeId(2));
    assert!(timed.replica.observation.services.values().all(there), "all were taken over");
    timed.times
}

fn main() {
    println!(
        "services, entries of a takeover, and of each entry the median and the longest; all of them"
    );
    for services in [1, 30, 100, 500] {
        let mut times = measure(services);
        let sum: Duration = times.iter().sum();
        times.sort_unstable();
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{services:>5} {:>6} {median:>12.1?} {longest:>12.1?} {sum:>12.1?}", times.len());
    }
}
