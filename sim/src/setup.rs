//! What a run is about: the cluster, its networks and its faults, all drawn from the seed.

use core::net::{IpAddr, Ipv4Addr};
use core::ops::RangeInclusive;
use core::time::Duration;

use base::{Medium, NetworkId, NodeId, NodeSet, Preset, Prng, Tie, Timing};
use engine::{Failback, Intent, Mode, NodeSpec, Resource, ResourceKind, RestartLimit, Service};
use node::{Cluster, FenceLevel, FencePolicy, FenceSpec, LocalEnd, NetworkSpec};
use transport::{Heartbeats, Priority};

use crate::arbiters::{Blow, Sort};
use crate::cards::{self, Second};
use crate::fault::{self, Fault, Kind, Mix};
use crate::storage;

/// What can be asked of a run besides its seed.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes, drawn from this range.
    pub nodes: RangeInclusive<u64>,
    /// Kinds of faults to leave out.
    pub without: Mix,
    /// Of the single faults, only those with these numbers.
    pub only: Option<Vec<usize>>,
    /// Print one line per event.
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { nodes: 2..=7, without: Mix::default(), only: None, trace: false }
    }
}

/// The number of the cluster.
pub const CLUSTER: u32 = 77;

/// A network of a run.
#[derive(Clone, Debug)]
pub struct NetworkSetup {
    /// What its paths are used for.
    pub priority: Priority,
    /// Whether it is monitored as a ring.
    pub ring: bool,
    /// The nodes that are on it.
    pub nodes: NodeSet,
    /// The usual delay of a datagram in nanoseconds, and its spread.
    pub delay: (u64, u64),
    /// Of a thousand datagrams, how many get lost in each direction of each pair: the worst.
    pub loss: u64,
    /// To whom heartbeats go.
    pub heartbeats: Heartbeats,
}

/// A shared disk or a serial line. Its paths have low priority.
#[derive(Clone, Debug)]
pub struct MediumSetup {
    /// Which of the two.
    pub medium: Medium,
    /// The nodes that have an end on it; two for a line.
    pub nodes: NodeSet,
    /// Bits per second of a line: ten for each byte.
    pub baud: u32,
}

/// A whole run before it begins.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Everything is drawn from children of this.
    pub prng: Prng,
    /// How many nodes.
    pub nodes: usize,
    /// The networks.
    pub networks: Vec<NetworkSetup>,
    /// What machines have a second card for, by network; empty when they have none.
    pub seconds: Vec<Second>,
    /// What else carries frames; numbered after the networks.
    pub media: Vec<MediumSetup>,
    /// The times in force.
    pub timing: Timing,
    /// Who decides at exactly half: under configurations of odd and of even versions.
    pub ties: [Tie; 2],
    /// What arbiters are made of, by number.
    pub sorts: [Sort; 3],
    /// What dies at an operation of an arbiter.
    pub blow: Option<Blow>,
    /// How machines can be turned off.
    pub fencing: Vec<FenceSpec>,
    /// The timeouts of their watchdogs.
    pub watchdogs: Vec<Option<Duration>>,
    /// How many nodes in contact form the first view.
    pub seed_count: usize,
    /// Nodes and services at the start.
    pub intent: Intent,
    /// Services that may be added.
    pub spare: Vec<Service>,
    /// The kinds of faults.
    pub mix: Mix,
    /// The single faults.
    pub faults: Vec<Fault>,
    /// The time in which a peer is lost: the measure of all durations.
    pub unit: u64,
    /// When all faults are over, in nanoseconds of real time.
    pub heal_at: u64,
}

/// Nanoseconds of a duration.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("no run takes 584 years")
}

impl Setup {
    /// The run of this seed.
    #[must_use]
    pub fn draw(seed: u64, options: &Options) -> Setup {
        let prng = Prng::new(seed);
        let mut draw = prng.child("setup");
        let nodes = draw_nodes(&mut draw, &options.nodes);
        let preset = match draw.range(0..=9) {
            0..=6 => Preset::Fast,
            7..=8 => Preset::Normal,
            _ => Preset::Ultra,
        };
        let timing = preset.timing();
        let unit = nanos(timing.path_timeout);
        let is_storm = draw.chance(1, 4);
        let mut mix = Mix::draw(&mut prng.child("mix"), is_storm);
        for kind in options.without.kinds() {
            mix = mix.without(kind);
        }
        let everybody: NodeSet = (0..nodes).map(node_id).collect();
        // With fewer nodes a ring is a mesh.
        let ring = nodes > 4 && prng.child("rings").chance(2, 3);
        let mut networks = draw_networks(&mut draw, everybody, mix, unit, ring);
        let mut shared = prng.child("shared");
        for network in networks.iter_mut().filter(|_| mix.has(Kind::Shared)) {
            // A ring has heartbeats for single neighbours.
            if shared.chance(3, 4) && !network.ring {
                network.heartbeats = Heartbeats::Shared;
            }
        }
        let media = match mix.has(Kind::Media) {
            true => draw_media(&mut prng.child("media"), nodes),
            false => Vec::new(),
        };
        let mut ties = [draw_tie(&mut draw, nodes); 2];
        let mut second = prng.child("ties");
        if mix.has(Kind::Arbiters) {
            let count = [1, 1, 3][second.range(0..=2) as usize];
            ties = [Tie::Arbiters { count, name: 1 }; 2];
        }
        ties[1] = match second.range(0..=7) {
            0..=1 => draw_tie(&mut second, nodes),
            2 if mix.has(Kind::Arbiters) => Tie::Arbiters { count: 1, name: 2 },
            _ => ties[1],
        };
        let mut between = prng.child("between");
        if mix.has(Kind::Between) && nodes > 1 && between.chance(3, 4) {
            // Each half can have the node that decides, by the one configuration or by the other.
            let first = between.range(0..=nodes as u64 - 1);
            let second = (first + between.range(1..=nodes as u64 - 1)) % nodes as u64;
            ties = [first, second].map(|node| Tie::Prefer(node_id(node as usize)));
        }
        let mut sorts = prng.child("sorts");
        let sorts = [(); 3].map(|()| Sort::ALL[sorts.range(0..=2) as usize]);
        let fencing = match mix.has(Kind::Fencing) {
            true => draw_fencing(&mut prng.child("fencing"), nodes, unit),
            false => Vec::new(),
        };
        // Fewer nodes than all may form the first view only while no state directory is ever
        // lost (a node without memory does not know that it was in a view), and only more than
        // half, else two halves could form one each.
        let forgetful = mix.has(Kind::Wipe) || mix.has(Kind::Stale);
        let fewer = draw.range(nodes as u64 / 2 + 1..=nodes as u64) as usize;
        let seed_count = if draw.chance(1, 4) && !forgetful { fewer } else { nodes };
        let count = draw.range(1..=4);
        let spares = draw.range(1..=2);
        let mut services: Vec<Service> = (0..count + spares)
            .map(|number| draw_service(&mut draw, number, nodes, &networks))
            .collect();
        let seconds = match mix.has(Kind::Cards) {
            true => cards::draw(&mut prng.child("cards"), networks.len(), &mut services),
            false => Vec::new(),
        };
        let watchdogs = match mix.has(Kind::Storage) {
            true => {
                let mut services: Vec<&mut Service> = services.iter_mut().collect();
                let least = timing.watchdog_min();
                storage::draw(&mut prng.child("storage"), &mut services, nodes, least)
            }
            false => vec![None; nodes],
        };
        let spare = services.split_off(count as usize);
        let specs = (0..nodes).map(|number| NodeSpec { id: node_id(number), name: name(number) });
        let intent =
            Intent { nodes: specs.collect(), services, version: 1, checksum: 1, jeopardy: None };
        assert_eq!(intent.check(), Ok(()), "a drawn configuration is correct");
        let calm = unit * 6;
        // Formation comes before the faults in most runs, and among them in some.
        let from = if draw.chance(1, 5) { 0 } else { calm };
        let heal_at = from + unit * draw.range(12..=36);
        let mut faults =
            fault::schedule(&prng.child("faults"), mix, is_storm, from..=heal_at, unit);
        let heal_at = heal_at.max(storage::outlast(&mut faults, &watchdogs, &timing).unwrap_or(0));
        if let Some(only) = &options.only {
            let mut number = 0..;
            faults.retain(|_| number.next().is_some_and(|number| only.contains(&number)));
        }
        Setup {
            prng,
            nodes,
            networks,
            seconds,
            media,
            timing,
            ties,
            sorts,
            blow: None,
            fencing,
            watchdogs,
            seed_count,
            intent,
            spare,
            mix,
            faults,
            unit,
            heal_at,
        }
    }

    /// The configuration as a node's daemon reads it.
    #[must_use]
    pub fn cluster(&self, intent: Intent, local: NodeId) -> Cluster {
        let text = text_of(&intent);
        let [odd, even] = self.ties;
        let tie = if intent.version % 2 == 1 { odd } else { even };
        let networks = (0..).zip(&self.networks).map(|(number, network)| NetworkSpec {
            id: NetworkId(number),
            name: format!("net{number}"),
            medium: Medium::Network,
            priority: network.priority,
            ring: if network.ring { network.nodes.into_iter().collect() } else { Vec::new() },
            heartbeats: network.heartbeats,
            nodes: network.nodes,
            local: (network.nodes.contains(local))
                .then(|| LocalEnd::Address(own_address(NetworkId(number), local))),
            standby: self.standby(usize::from(number)),
            grace: Some(Duration::from_secs(1)),
        });
        let media =
            (self.networks.len() as u16..).zip(&self.media).map(|(number, medium)| NetworkSpec {
                id: NetworkId(number),
                name: format!("medium{number}"),
                medium: medium.medium,
                priority: Priority::Low,
                ring: Vec::new(),
                heartbeats: Heartbeats::Each,
                nodes: medium.nodes,
                local: medium.nodes.contains(local).then_some(LocalEnd::Device),
                standby: None,
                grace: None,
            });
        Cluster {
            id: CLUSTER,
            timing: self.timing,
            seed: self.seed_count,
            tie,
            fencing: self.fencing.clone(),
            networks: networks.chain(media).collect(),
            shares: self.shares(&intent, local),
            intent,
            text,
            conflicts: std::collections::BTreeMap::new(),
            verify: std::collections::BTreeMap::new(),
        }
    }
}

/// The configuration file of a run: the intent's bytes, spelled out.
#[must_use]
pub fn text_of(intent: &Intent) -> String {
    use core::fmt::Write;
    let bytes = base::codec::encode(intent);
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string succeeds");
        text
    })
}

/// The intent of a configuration file.
#[must_use]
pub fn intent_of(text: &str) -> Intent {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let pair = core::str::from_utf8(pair).expect("the file was written by a node");
        u8::from_str_radix(pair, 16).expect("the file was written by a node")
    };
    let bytes: Vec<u8> = digits.map(byte).collect();
    base::codec::decode(&bytes).expect("the file was written by a node")
}

/// Node ids begin with 1.
#[must_use]
pub fn node_id(machine: usize) -> NodeId {
    NodeId(machine as u8 + 1)
}

/// The machine of a node.
#[must_use]
pub fn machine_of(node: NodeId) -> usize {
    usize::from(node.0) - 1
}

/// What people call the node of a machine.
#[must_use]
pub fn name(machine: usize) -> String {
    format!("n{}", machine + 1)
}

/// A node's own address on a network.
#[must_use]
pub fn own_address(network: NetworkId, node: NodeId) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, network.0 as u8, node.0))
}

fn draw_nodes(draw: &mut Prng, range: &RangeInclusive<u64>) -> usize {
    // Small clusters are the usual ones, and the quick ones.
    let weights = [(2, 20), (3, 32), (4, 20), (5, 14), (6, 7), (7, 7)];
    let known = weights.iter().filter(|(nodes, _)| range.contains(nodes));
    let total: u64 = known.clone().map(|(_, weight)| weight).sum();
    if total == 0 {
        return draw.range(range.clone()) as usize;
    }
    let mut left = draw.range(0..=total - 1);
    for (nodes, weight) in known {
        if left < *weight {
            return *nodes as usize;
        }
        left -= weight;
    }
    unreachable!("the weights add up")
}

fn draw_tie(draw: &mut Prng, nodes: usize) -> Tie {
    match draw.range(0..=3) {
        0 => Tie::Manual,
        1 => Tie::Prefer(node_id(draw.range(0..=nodes as u64 - 1) as usize)),
        _ => Tie::None,
    }
}

fn draw_fencing(draw: &mut Prng, nodes: usize, unit: u64) -> Vec<FenceSpec> {
    let mut specs = Vec::new();
    for node in (0..nodes).map(node_id) {
        if draw.chance(1, 8) {
            continue;
        }
        let levels = (1..=draw.range(1..=2) as u8).map(|number| FenceLevel {
            number,
            timeout: Duration::from_nanos(draw.range(unit * 2..=unit * 12)),
            agents: (0..draw.range(1..=2)).map(|agent| format!("agent{agent}")).collect(),
        });
        let levels = levels.collect();
        let policy = if draw.chance(1, 2) { FencePolicy::Reboot } else { FencePolicy::Off };
        specs.push(FenceSpec { node, policy, levels });
    }
    specs
}

fn draw_networks(
    draw: &mut Prng,
    everybody: NodeSet,
    mix: Mix,
    unit: u64,
    ring: bool,
) -> Vec<NetworkSetup> {
    let count = [1, 1, 1, 2, 2, 2, 2, 2, 2, 3][draw.range(0..=9) as usize];
    let mut networks = Vec::new();
    for number in 0..count {
        let low = number > 0 && draw.chance(1, 4);
        let mut nodes = everybody;
        if number > 0 && everybody.len() > 2 && draw.chance(1, 8) {
            let absent = draw.range(0..=everybody.len() as u64 - 1) as usize;
            nodes.remove(node_id(absent));
        }
        let slow = draw.range(0..=unit / 12);
        let loss = draw.range(1..=4) * draw.range(1..=60);
        networks.push(NetworkSetup {
            priority: if low { Priority::Low } else { Priority::High },
            ring,
            nodes,
            delay: if mix.has(Kind::Delay) { (100_000, slow) } else { (60_000, 300_000) },
            loss: if mix.has(Kind::Loss) { loss } else { 0 },
            heartbeats: Heartbeats::Each,
        });
    }
    networks
}

fn draw_media(draw: &mut Prng, nodes: usize) -> Vec<MediumSetup> {
    let mut media = Vec::new();
    let has_disk = draw.chance(3, 4);
    if has_disk {
        let mut on: NodeSet = (0..nodes).map(node_id).collect();
        if nodes > 2 && draw.chance(1, 5) {
            on.remove(node_id(draw.range(0..=nodes as u64 - 1) as usize));
        }
        media.push(MediumSetup { medium: Medium::Disk, nodes: on, baud: 0 });
    }
    if !has_disk || draw.chance(1, 3) {
        // One line, or a chain of two.
        for first in 0..draw.range(1..=2).min(nodes as u64 - 1) as usize {
            let ends = [first, first + 1].into_iter().map(node_id);
            let baud = [19_200, 38_400, 57_600, 115_200][draw.range(0..=3) as usize];
            media.push(MediumSetup { medium: Medium::Serial, nodes: ends.collect(), baud });
        }
    }
    media
}

fn draw_service(draw: &mut Prng, number: u64, nodes: usize, networks: &[NetworkSetup]) -> Service {
    let mut candidates: Vec<NodeId> = (0..nodes).map(node_id).collect();
    // A random order of a random, mostly large part.
    for last in (1..candidates.len()).rev() {
        candidates.swap(last, draw.range(0..=last as u64) as usize);
    }
    if draw.chance(1, 4) {
        candidates.truncate(draw.range(1..=nodes as u64) as usize);
    }
    let process = |name: &str| Resource {
        name: name.to_owned(),
        kind: ResourceKind::Process {
            command: vec!["/usr/bin/true".to_owned()],
            directory: None,
            environment: Vec::new(),
            user: None,
        },
    };
    let mut resources = Vec::new();
    if draw.chance(3, 4) {
        let network = draw.range(0..=networks.len() as u64 - 1) as u8;
        let address = IpAddr::V4(Ipv4Addr::new(10, 77, network, 100 + number as u8));
        let kind = ResourceKind::Address { address, prefix: 24 };
        resources.push(Resource { name: "address".to_owned(), kind });
    }
    if resources.is_empty() || draw.chance(3, 4) {
        let place = draw.range(0..=resources.len() as u64) as usize;
        resources.insert(place, process("server"));
    }
    if draw.chance(1, 4) {
        resources.push(process("second"));
    }
    Service {
        name: format!("s{}", number + 1),
        nodes: candidates,
        resources,
        mode: if draw.chance(1, 12) { Mode::Manual } else { Mode::Automatic },
        failback: if draw.chance(1, 4) { Failback::Automatic } else { Failback::Never },
        restart: RestartLimit {
            count: draw.range(0..=3) as u32,
            window: Duration::from_secs(draw.range(1..=20)),
        },
        start_timeout: Duration::from_millis(draw.range(500..=6_000)),
        stop_timeout: Duration::from_millis(draw.range(100..=1_500)),
        priority: draw.range(0..=3) as u16 * 100,
        class: None,
        is_fixed: false,
        networks: Vec::new(),
    }
}
