//! How long the machine takes where a thousand addresses share interfaces: `cargo bench -p network`. Each
//! line is one input, and what the driver asks after it.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use network::place::{Distribution, Takeover};
use network::{AddressSeen, Condition, Config, Input, Interface, Network, Output, Phase, Share};

const ADDRESSES: u32 = 1_000;
const REPETITIONS: usize = 50;
const CARDS: u8 = 4;

fn address(number: u32) -> IpAddr {
    IpAddr::V4((u32::from(Ipv4Addr::new(10, 9, 0, 1)) + number).into())
}

fn interfaces() -> Vec<Interface> {
    let interface = |number: u8| Interface {
        index: u32::from(number) + 1,
        name: format!("eth{number}"),
        up: true,
        carrier: true,
        condition: Condition::Unpolled,
        mac: Some([2, 0, 0, 0, 0, number]),
        addresses: vec![AddressSeen {
            address: Ipv4Addr::new(10, 100 + number, 0, 1).into(),
            prefix: 24,
            lifetime: None,
        }],
    };
    (0..CARDS).map(interface).collect()
}

/// A node in the middle of its work, and its clock.
#[derive(Clone)]
struct Node {
    network: Network,
    now: base::Instant,
    interfaces: Vec<Interface>,
}

impl Node {
    fn new() -> Node {
        let share = Share {
            net: "lan".into(),
            cards: (0..CARDS).map(|number| format!("eth{number}")).collect(),
            standbys: Vec::new(),
            distribution: Distribution::LeastLoad,
            takeover: Takeover::Alias,
            source: None,
            rebalances: false,
            persistent: vec![(Ipv4Addr::new(10, 9, 99, 1).into(), 16)],
            addresses: (0..=ADDRESSES).map(|number| (address(number), None)).collect(),
            hardware: BTreeMap::new(),
            spared: Vec::new(),
        };
        let config = Config {
            lease: Duration::from_secs(10),
            addresses: (0..=ADDRESSES).map(address).collect(),
            nets: Vec::new(),
            fixed: Vec::new(),
            conflicts: BTreeMap::new(),
            verify: BTreeMap::new(),
            shares: vec![share],
            taken: BTreeMap::new(),
        };
        let now = base::Instant::from_millis(1_000);
        let mut node = Node { network: Network::new(config, now), now, interfaces: interfaces() };
        node.network.set_lease(now + Duration::from_secs(3_600));
        node.feed(Input::Interfaces(interfaces()));
        node
    }

    /// Feeds one input and drops what comes out.
    fn feed(&mut self, input: Input) -> Vec<Output> {
        self.network.handle(self.now, input);
        std::iter::from_fn(|| self.network.poll_output()).collect()
    }

    fn claim(&mut self, number: u32) -> Vec<Output> {
        let service = format!("service{}", number / 2);
        let deadline = self.now + Duration::from_secs(60);
        let (id, address) = (u64::from(number), address(number));
        self.feed(Input::Claim { id, service, address, prefix: 16, deadline })
    }

    /// Time passes, and the driver does what it is asked, until all addresses are owned.
    fn settle(&mut self) {
        for _ in 0..200 {
            self.now += Duration::from_millis(10);
            let mut outputs = self.feed(Input::Tick);
            while let Some(output) = outputs.pop() {
                if let Output::Add { operation, interface, address, prefix, lifetime, .. } = output
                {
                    let here = self.interfaces.iter_mut().find(|one| one.index == interface);
                    let seen = AddressSeen { address, prefix, lifetime: Some(lifetime) };
                    here.expect("it is one of these").addresses.push(seen);
                    outputs.extend(self.feed(Input::Done { operation, result: Ok(()) }));
                }
            }
        }
    }

    /// The first card loses its carrier.
    fn picture(&self, carrier: bool) -> Input {
        let mut interfaces = self.interfaces.clone();
        interfaces[0].carrier = carrier;
        Input::Interfaces(interfaces)
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark has a clock")]
fn measure<T>(what: &str, node: &Node, mut act: impl FnMut(&mut Node) -> T) {
    let mut times: Vec<Duration> = (0..REPETITIONS)
        .map(|_| {
            let mut node = node.clone();
            let start = Instant::now();
            black_box(act(&mut node));
            start.elapsed()
        })
        .collect();
    times.sort();
    let (median, longest) =
        (times[REPETITIONS / 2].as_micros(), times[REPETITIONS - 1].as_micros());
    println!("{what:<66} {median:>7} {longest:>7}");
}

fn main() {
    println!("{REPETITIONS} repetitions, {CARDS} interfaces; median and longest, in microseconds");
    let empty = Node::new();
    let mut claiming = empty.clone();
    for number in 0..ADDRESSES {
        claiming.claim(number);
    }
    let mut owning = claiming.clone();
    owning.settle();
    let status = owning.network.status();
    let owned = status.addresses.iter().filter(|one| one.phase == Phase::Owned).count();
    assert_eq!(owned, ADDRESSES as usize, "all of them have their place");
    measure("a claim beside 1,000 addresses", &owning, |node| node.claim(ADDRESSES));
    measure("1,000 claims, one after the other", &empty, |node| {
        for number in 0..ADDRESSES {
            node.claim(number);
        }
    });
    measure("a picture in which nothing is new, 1,000 owned", &owning, |node| {
        node.feed(node.picture(true))
    });
    measure("an interface with 250 of 1,000 owned ones fails", &owning, |node| {
        node.feed(node.picture(false))
    });
    measure("an interface with 250 of 1,000 that are being claimed fails", &claiming, |node| {
        node.feed(node.picture(false))
    });
    measure("which of 1,000 addresses can be carried here", &owning, |node| {
        (0..ADDRESSES).filter(|number| node.network.can_carry(address(*number)).is_ok()).count()
    });
    measure("where persistent addresses are to be", &owning, |node| node.network.persistent());
    measure("what is said of 1,000 places", &owning, |node| node.network.placements());
}
