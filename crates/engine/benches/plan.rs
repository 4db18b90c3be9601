//! What one input costs with many services: `cargo bench -p engine`. Three members, all services on the
//! first, which is lost; every input of the second is timed, which takes all of them over.

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use base::codec;
use base::{Incarnation, Member, NodeId, Preset, View};
use engine::{
    Absence, Ending, Engine, Entry, Failback, Input, Intent, Mode, NodeSpec, Outcome, Output,
    PRIORITY_DEFAULT, Phase, Proof, Resource, ResourceKind, RestartLimit, Service, ViewChange,
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

/// The second node's engine: everything that it wants done is done at once, and each input is timed.
struct Timed {
    engine: Engine,
    position: u64,
    times: Vec<Duration>,
}

const LOCAL: u8 = 2;
const NOW: base::Instant = base::Instant::from_millis(500);

impl Timed {
    #[expect(clippy::disallowed_methods, reason = "a benchmark has a clock")]
    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let start = Instant::now();
            self.engine.handle(NOW, black_box(input));
            self.times.push(start.elapsed());
            while let Some(output) = self.engine.poll_output() {
                match output {
                    Output::Submit { payload } => {
                        inputs.push_back(self.delivered(LOCAL, payload));
                    }
                    Output::Act(act) => {
                        inputs.push_back(Input::Acted { id: act.id, outcome: Outcome::Done });
                    }
                    _ => {}
                }
            }
        }
    }

    fn delivered(&mut self, node: u8, payload: Vec<u8>) -> Input {
        self.position += 1;
        Input::Delivered { position: self.position, origin: member(node), payload }
    }

    fn entry(&mut self, node: u8, entry: &Entry) {
        let input = self.delivered(node, codec::encode(entry));
        self.feed(input);
    }

    /// The first node says of each start that it was done.
    fn started(&mut self) {
        let starting: Vec<_> = (self.engine.observation().services.iter())
            .filter_map(|(name, state)| match state.phase {
                Phase::Starting { holder, decision, .. } => {
                    Some((name.clone(), holder.node.0, decision))
                }
                _ => None,
            })
            .collect();
        for (service, node, decision) in starting {
            let (decision, result) = (Some(decision), Ending::Started);
            self.entry(node, &Entry::Outcome { service, decision, result });
        }
    }
}

fn measure(services: u32) -> Vec<Duration> {
    let timing = Preset::Fast.timing();
    let (local, intent) = (member(LOCAL), intent(services));
    let engine = Engine::new(local, intent, String::new(), timing, Vec::new(), NOW);
    let mut timed = Timed { engine, position: 0, times: Vec::new() };
    timed.feed(Input::Lease { until: base::Instant::FAR });
    let all = view(1, &[1, 2, 3]);
    let joined = all.members.clone();
    timed.feed(Input::View(ViewChange {
        view: all,
        joined,
        left: vec![],
        lost: vec![],
        formed: true,
    }));
    for node in [1, 3] {
        timed.entry(node, &Entry::Report { claims: Vec::new() });
    }
    timed.entry(1, &Entry::Settled);
    timed.started();

    timed.times.clear();
    let absence = Absence { node: NodeId(1), incarnation: Incarnation(1), generation: 2 };
    let lost = vec![absence];
    let view = view(2, &[2, 3]);
    timed.feed(Input::View(ViewChange { view, joined: vec![], left: vec![], lost, formed: false }));
    timed.feed(Input::Fenced { absence, proof: Proof::Time });
    let there = |state: &engine::ServiceState| matches!(state.phase, Phase::Running { holder, .. } if holder.node == NodeId(LOCAL));
    assert!(timed.engine.observation().services.values().all(there), "all were taken over");
    timed.times
}

fn main() {
    println!(
        "services, inputs of a takeover, and of each input the median and the longest; all of them"
    );
    for services in [1, 30, 100, 500] {
        let mut times = measure(services);
        let sum: Duration = times.iter().sum();
        times.sort_unstable();
        let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{services:>5} {:>6} {median:>12.1?} {longest:>12.1?} {sum:>12.1?}", times.len());
    }
}
