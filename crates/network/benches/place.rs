//! How long placements take: `cargo bench -p network`. One address beside a thousand that stand, and a
//! thousand at once, over two, eight and twenty-four interfaces.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use network::place::{Card, Distribution, Ground, Holder, Occasion, Takeover, Wanted, place};

const ADDRESSES: u32 = 1_000;
const REPETITIONS: usize = 200;

fn ground(cards: u8, standing: &[Wanted], distribution: Distribution) -> Ground {
    let mut cards: Vec<Card> = (0..cards)
        .map(|number| Card {
            name: format!("eth{number}"),
            own: vec![(Ipv4Addr::new(10, 100 + number, 0, 1).into(), 24)],
            ..Card::default()
        })
        .collect();
    let count = cards.len();
    for (place, want) in standing.iter().enumerate() {
        cards[place % count].carries.push(want.address);
    }
    let takeover = Takeover::Alias;
    Ground { net: "lan".into(), distribution, takeover, source: None, cards }
}

fn want(number: u32) -> Wanted {
    let first = u32::from(Ipv4Addr::new(10, 9, 0, 1));
    let address = IpAddr::V4((first + number).into());
    let name = format!("service{}", number / 2);
    let holder = Holder::Service { name, distribution: None, is_fixed: false };
    Wanted { address, prefix: 16, net: "lan".into(), holder }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark has a clock")]
fn measure(grounds: &[Ground], wanted: &[Wanted], occasion: Occasion) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..REPETITIONS)
        .map(|_| {
            let start = Instant::now();
            black_box(place(black_box(grounds), black_box(wanted), occasion));
            start.elapsed()
        })
        .collect();
    times.sort();
    (times[REPETITIONS / 2], times[REPETITIONS - 1])
}

fn main() {
    let standing: Vec<Wanted> = (0..ADDRESSES).map(want).collect();
    let one = [want(ADDRESSES)];
    println!("{REPETITIONS} repetitions; median and longest, in microseconds");
    for cards in [2, 8, 24] {
        for distribution in [Distribution::LeastLoad, Distribution::AntiCollocation] {
            let full = [ground(cards, &standing, distribution)];
            let empty = [ground(cards, &[], distribution)];
            let name = distribution.name();
            for (what, (median, longest)) in [
                ("one beside 1,000", measure(&full, &one, Occasion::Event)),
                ("1,000 that stand", measure(&full, &standing, Occasion::Event)),
                ("1,000 new ones", measure(&empty, &standing, Occasion::Event)),
            ] {
                let (median, longest) = (median.as_micros(), longest.as_micros());
                println!("{cards:>2} interfaces, {name:<16} {what}: {median:>6} {longest:>6}");
            }
        }
    }
}
