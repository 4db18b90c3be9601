//! Faults at given times, and what must come of them: the promises that people read, in figures.
//!
//! Other than the swarm of `seeds.rs` these look at what a service does: whether it moves, how
//! long nobody can use it, and that nothing else happens. Each story is told with several seeds,
//! which draw the delays.

mod ties;

use core::net::{IpAddr, Ipv4Addr};
use core::ops::Range;
use core::time::Duration;

use base::{Medium, NodeSet, Preset, Prng, Tie};
use engine::{Failback, Intent, Mode, NodeSpec, Resource, ResourceKind, RestartLimit, Service};
use sim::arbiters::Sort;
use sim::fault::{Fault, Kind, Mix};
use sim::setup::{MediumSetup, NetworkSetup, Setup, name, nanos, node_id};
use sim::world::{Outcome, World};
use transport::{Heartbeats, Priority};

const SEEDS: Range<u64> = 0..12;
const SECOND: u64 = 1_000_000_000;
/// By then the cluster has formed and its service runs, on machine 0.
const CALM: u64 = 3 * SECOND;

/// Three nodes, two networks, one service of an address and a process on all nodes.
fn setup(seed: u64, nodes: usize, faults: &[(Kind, u64, u64, usize)]) -> Setup {
    let prng = Prng::new(seed).child("story");
    let timing = Preset::Fast.timing();
    let everybody: NodeSet = (0..nodes).map(node_id).collect();
    let network = NetworkSetup {
        ring: false,
        priority: Priority::High,
        nodes: everybody,
        delay: (60_000, 300_000),
        loss: 0,
        heartbeats: Heartbeats::Each,
    };
    let address = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 100));
    let process = ResourceKind::Process {
        command: vec!["/usr/bin/true".to_owned()],
        directory: None,
        environment: Vec::new(),
        user: None,
    };
    let service = Service {
        name: "web".to_owned(),
        nodes: (0..nodes).map(node_id).collect(),
        resources: vec![
            Resource {
                name: "address".to_owned(),
                kind: ResourceKind::Address { address, prefix: 24 },
            },
            Resource { name: "server".to_owned(), kind: process },
        ],
        mode: Mode::Automatic,
        failback: Failback::Never,
        restart: RestartLimit { count: 3, window: Duration::from_secs(60) },
        start_timeout: Duration::from_secs(5),
        stop_timeout: Duration::from_secs(1),
        priority: engine::PRIORITY_DEFAULT,
        class: None,
        is_fixed: false,
        networks: Vec::new(),
    };
    let specs = (0..nodes).map(|number| NodeSpec { id: node_id(number), name: name(number) });
    let faults: Vec<Fault> = (faults.iter().zip(0_u64..))
        .map(|((kind, at, lasts, place), number)| Fault {
            kind: *kind,
            at: *at,
            lasts: *lasts,
            machine: Some(*place),
            network: Some(*place),
            prng: prng.child(&format!("fault {number}")),
        })
        .collect();
    let last = faults.iter().map(|fault| fault.at + fault.lasts).max().unwrap_or(CALM);
    Setup {
        seconds: Vec::new(),
        nodes,
        networks: vec![network.clone(), network],
        media: Vec::new(),
        timing,
        ties: [Tie::None; 2],
        sorts: [Sort::Witness; 3],
        blow: None,
        fencing: Vec::new(),
        watchdogs: vec![None; nodes],
        seed_count: nodes,
        intent: Intent {
            nodes: specs.collect(),
            services: vec![service],
            version: 1,
            checksum: 1,
            jeopardy: None,
        },
        spare: Vec::new(),
        mix: faults.iter().fold(Mix::default(), |mix, fault| mix.with(fault.kind)),
        faults,
        unit: nanos(timing.path_timeout),
        heal_at: last + 3 * SECOND,
        prng,
    }
}

fn tell(setup: Setup) -> Outcome {
    let outcome = World::of(setup, false).run();
    assert_eq!(outcome.violation, None);
    outcome
}

/// What happened to the service from some time on.
fn changes(outcome: &Outcome, from: u64) -> Vec<(u64, String, usize, bool)> {
    let later = outcome.history.iter().filter(|change| change.at >= from);
    later.map(|c| (c.at, c.part.clone(), c.machine, c.works)).collect()
}

/// From the fault to the moment when the whole service works on another machine.
fn takeover(outcome: &Outcome, fault: u64) -> Duration {
    let begins = |part: &str| {
        let changes = outcome.history.iter().filter(|change| change.at > fault);
        let mut elsewhere = changes.filter(|c| c.works && c.machine != 0 && c.part == part);
        elsewhere.next().unwrap_or_else(|| panic!("{part} works nowhere")).at
    };
    Duration::from_nanos(begins("address").max(begins("server")) - fault)
}

#[test]
fn a_killed_daemon_touches_no_service() {
    let kills: Vec<_> =
        (0..20).map(|kill| (Kind::DaemonKill, CALM + kill * 2 * SECOND, 0, 0)).collect();
    for seed in SEEDS {
        let outcome = tell(setup(seed, 3, &kills));
        assert_eq!(changes(&outcome, CALM), [], "seed {seed}");
    }
}

#[test]
fn a_killed_daemon_of_another_node_touches_no_service() {
    let kills: Vec<_> =
        (0..8).map(|kill| (Kind::DaemonKill, CALM + kill * 3 * SECOND, 0, 1)).collect();
    for seed in SEEDS {
        let outcome = tell(setup(seed, 3, &kills));
        assert_eq!(changes(&outcome, CALM), [], "seed {seed}");
    }
}

#[test]
fn one_of_two_networks_can_fail() {
    for network in [0, 1] {
        for seed in SEEDS {
            let outcome = tell(setup(seed, 3, &[(Kind::NetworkDown, CALM, 4 * SECOND, network)]));
            assert_eq!(changes(&outcome, CALM), [], "seed {seed}");
            assert_eq!(outcome.totals.views, 1, "seed {seed}: no view change");
        }
    }
}

#[test]
fn a_node_that_is_cut_off_loses_its_service_in_time() {
    let fence = Preset::Fast.timing().fence_wait();
    for seed in SEEDS {
        let outcome = tell(setup(seed, 3, &[(Kind::Split, CALM, 5 * SECOND, 0)]));
        let took = takeover(&outcome, CALM);
        assert!(took <= fence + Duration::from_millis(500), "seed {seed}: {took:?}");
        // Back again, it stays where it is.
        assert_eq!(outcome.totals.failovers, 1, "seed {seed}");
    }
}

#[test]
fn a_machine_without_power_loses_its_service_in_time() {
    let fence = Preset::Fast.timing().fence_wait();
    for seed in SEEDS {
        let outcome = tell(setup(seed, 3, &[(Kind::PowerOff, CALM, 5 * SECOND, 0)]));
        let took = takeover(&outcome, CALM);
        assert!(took <= fence + Duration::from_millis(500), "seed {seed}: {took:?}");
        assert_eq!(outcome.totals.failovers, 1, "seed {seed}");
    }
}

#[test]
fn a_stopped_daemon_loses_its_service_to_its_guard_first() {
    let fence = Preset::Fast.timing().fence_wait();
    for seed in SEEDS {
        let outcome = tell(setup(seed, 3, &[(Kind::Pause, CALM, 10 * SECOND, 0)]));
        let took = takeover(&outcome, CALM);
        assert!(took <= fence + Duration::from_millis(500), "seed {seed}: {took:?}");
        let ended = outcome.history.iter().filter(|c| c.machine == 0 && !c.works && c.at > CALM);
        let ended = ended.map(|change| change.at).max().expect("the guard has ended it");
        assert!(ended < CALM + nanos(took), "seed {seed}");
        assert_eq!(outcome.totals.failovers, 1, "seed {seed}");
    }
}

#[test]
fn a_short_stop_of_a_daemon_moves_nothing() {
    for seed in SEEDS {
        let stops: Vec<_> =
            (0..5).map(|stop| (Kind::Pause, CALM + stop * SECOND, 150_000_000, 0)).collect();
        let outcome = tell(setup(seed, 3, &stops));
        assert_eq!(changes(&outcome, CALM), [], "seed {seed}");
        assert_eq!(outcome.totals.views, 1, "seed {seed}: no view change");
    }
}

#[test]
fn after_a_blackout_everything_comes_back_without_anybody() {
    for nodes in [2, 3, 5] {
        for seed in SEEDS {
            let outcome = tell(setup(seed, nodes, &[(Kind::Blackout, CALM, 3 * SECOND, 0)]));
            let later = changes(&outcome, CALM + SECOND);
            assert!(later.iter().any(|(_, part, _, works)| part == "server" && *works));
        }
    }
}

#[test]
fn a_lost_member_is_nobody_elses_business() {
    for seed in SEEDS {
        let outcome = tell(setup(seed, 3, &[(Kind::PowerOff, CALM, 4 * SECOND, 2)]));
        assert_eq!(changes(&outcome, CALM), [], "seed {seed}");
    }
}

/// A shared disk that all are on.
fn disk(nodes: usize) -> MediumSetup {
    let nodes = (0..nodes).map(node_id).collect();
    MediumSetup { medium: Medium::Disk, nodes, baud: 0 }
}

/// A serial line between the first two.
fn line() -> MediumSetup {
    let nodes = (0..2).map(node_id).collect();
    MediumSetup { medium: Medium::Serial, nodes, baud: 115_200 }
}

/// How many times longer than given a fault of all networks, or of media, lasts.
const MEDIA_PATIENCE: u64 = 4;
const DARK: u64 = 30 * SECOND;

/// All networks are cut for half a minute; ten commands are given meanwhile, to node 1.
fn dark(seed: u64, nodes: usize, media: Vec<MediumSetup>, also: &[Kind]) -> Outcome {
    let dark = (Kind::AllDown, CALM, DARK / MEDIA_PATIENCE, 0);
    let commands = (0..10).map(|number| (Kind::Configure, CALM + (2 + number * 2) * SECOND, 0, 0));
    let faults: Vec<_> = core::iter::once(dark).chain(commands).collect();
    let mut setup = setup(seed, nodes, &faults);
    setup.heal_at = CALM + DARK + 3 * SECOND;
    setup.media = media;
    setup.mix = also.iter().fold(setup.mix, |mix, kind| mix.with(*kind));
    tell(setup)
}

/// Nothing happens to views and services, and the commands are answered while it is dark. How long
/// the slowest took.
fn goes_on(outcome: &Outcome, case: &str) -> Duration {
    assert_eq!(changes(outcome, CALM), [], "{case}");
    assert_eq!(outcome.totals.views, 1, "{case}: no view change");
    let answers: Vec<u64> =
        outcome.answers.iter().copied().filter(|at| *at < CALM + DARK).collect();
    assert_eq!(answers.len(), 10, "{case}: {answers:?}");
    let asked = (0..10).map(|number| CALM + (2 + number * 2) * SECOND);
    let took = answers.iter().zip(asked).map(|(answered, asked)| answered - asked);
    Duration::from_nanos(took.max().expect("there are ten"))
}

#[test]
fn a_shared_disk_keeps_the_view_without_any_network() {
    for nodes in [2, 3, 5] {
        for seed in SEEDS {
            let outcome = dark(seed, nodes, vec![disk(nodes)], &[]);
            let case = format!("{nodes} nodes, seed {seed}");
            let took = goes_on(&outcome, &case);
            assert!(took < Duration::from_millis(300), "{case}: a command took {took:?}");
        }
    }
}

#[test]
fn a_serial_line_keeps_the_view_without_any_network() {
    for seed in SEEDS {
        let outcome = dark(seed, 2, vec![line()], &[]);
        let took = goes_on(&outcome, &format!("seed {seed}"));
        assert!(took < Duration::from_millis(400), "seed {seed}: a command took {took:?}");
    }
}

#[test]
fn torn_lost_and_late_writes_of_a_disk_end_no_view() {
    for seed in SEEDS {
        let outcome = dark(seed, 3, vec![disk(3)], &[Kind::DiskDamage]);
        assert_eq!(outcome.totals.views, 1, "seed {seed}: no view change");
        // Writes that are lost in a row for longer than a lease end it (2 of 100 seeds): then what ran is
        // started again where it was.
        let changes = changes(&outcome, CALM);
        assert!(changes.iter().all(|(_, _, node, _)| *node == 0), "seed {seed}: {changes:?}");
        assert!(changes.last().is_none_or(|(.., runs)| *runs), "seed {seed}: {changes:?}");
    }
}

#[test]
fn without_disk_and_line_the_same_ends_the_view() {
    for seed in SEEDS {
        let outcome = dark(seed, 3, Vec::new(), &[]);
        assert!(outcome.totals.views > 1, "seed {seed}");
        assert!(!changes(&outcome, CALM).is_empty(), "seed {seed}");
    }
}

/// A member of a ring is echoed by four others and has its evidence from the hub, which is lost.
#[test]
fn a_ring_that_loses_its_hub_loses_no_lease() {
    for seed in SEEDS.step_by(3) {
        for hub in [0, 8] {
            let mut setup = setup(seed, 9, &[(Kind::PowerOff, CALM, 10 * SECOND, hub)]);
            setup.networks.iter_mut().for_each(|network| network.ring = true);
            let service = &mut setup.intent.services[0];
            service.nodes.rotate_left(4);
            let outcome = tell(setup);
            assert_eq!(changes(&outcome, CALM), [], "seed {seed}");
        }
    }
}
