//! What a heartbeat costs, with and without sealing. The times are printed and not checked: they are
//! the machine's. `docs/reference/figures.md` has the command and its results.
//!
//! What it does check is that each step takes no allocation, and that what was sealed is opened.

use std::hint::black_box;
use std::time::Duration;

use base::codec::Reader;
use base::limits::REPORT_SIZE_MAX;
use base::{Incarnation, NetworkId, NodeId, NodeSet};

use crate::seal::Key;
use crate::wire::{HEADER_SIZE, Header, Heartbeat, Kind, Proof, report_name};

/// Repetitions of one measurement; the best of [`ROUNDS`] counts, for others use the machine too.
const REPETITIONS: u32 = 4_000;
const ROUNDS: usize = 15;

fn header(counter: u64) -> Header {
    Header {
        cluster: 10,
        source: NodeId(1),
        destination: NodeId(2),
        network: NetworkId(0),
        slot: 0,
        kind: Kind::Heartbeat,
        session: [5; 16],
        counter,
    }
}

/// Writes one as `send_heartbeat` does.
fn encode(counter: u64, report: Option<&[u8]>, name: u32, out: &mut Vec<u8>) {
    header(counter).encode(out);
    let (incarnation, tag) = (Incarnation(1_764_000_000_000), [9; 4]);
    let (stamp, echo) = (77_000_000_000 + counter, 76_999_000_000);
    Proof { incarnation, stamp, tag, channel: 1, known: 1, echo, held: 50_000 }.encode(out);
    Heartbeat {
        row: [NodeId(2), NodeId(3)].into_iter().collect::<NodeSet>(),
        heard: [NetworkId(0), NetworkId(1)].into_iter().collect(),
        loss: 0,
        jitter: 120,
        name,
        known: 1,
        watches: true,
        evidence_age: Some(Duration::from_millis(20)),
        report,
    }
    .encode(out);
}

fn decode(frame: &[u8]) -> u32 {
    let header = Header::decode(frame).expect("it was just written");
    let mut reader = Reader::new(&frame[HEADER_SIZE..]);
    decode_body(&mut reader) ^ header.counter as u32
}

fn decode_body(reader: &mut Reader<'_>) -> u32 {
    let proof = Proof::decode(reader).expect("it was just written");
    let heartbeat = Heartbeat::decode(reader.clone()).expect("it was just written");
    heartbeat.name ^ proof.held
}

/// Nanoseconds for one, and the allocations of all.
fn measure(mut work: impl FnMut(u64)) -> (u128, u64) {
    (0..1_000).for_each(&mut work);
    let mut best = Duration::MAX;
    let info = allocation_counter::measure(|| {
        for round in 0..ROUNDS as u64 {
            #[expect(clippy::disallowed_methods, reason = "time is what is measured here")]
            let start = std::time::Instant::now();
            for number in 0..u64::from(REPETITIONS) {
                work(round << 32 | number);
            }
            best = best.min(start.elapsed());
        }
    });
    (best.as_nanos() / u128::from(REPETITIONS), info.count_total)
}

#[test]
fn the_cost_of_a_heartbeat() {
    let key = Key::derive(&[3; 32], &[5; 16], 10, NodeId(1));
    let report = [7; REPORT_SIZE_MAX];
    let (no_report, whole): (Option<&[u8]>, Option<&[u8]>) = (None, Some(&report));
    println!("form   bytes  encode  and seal  decode  open and decode   ns; allocations");
    for (form, report) in [("short", no_report), ("long", whole)] {
        let name = report_name(report.unwrap_or_default());
        let mut frame = Vec::with_capacity(1_200);
        let encoded = measure(|number| {
            frame.clear();
            encode(number, report, name, black_box(&mut frame));
        });
        let decoded = measure(|_| {
            black_box(decode(black_box(&frame)));
        });
        let sealed = measure(|number| {
            frame.clear();
            encode(number, report, name, black_box(&mut frame));
            key.seal(header(number).nonce(), HEADER_SIZE, &mut frame);
        });
        // Opening is in place, so each time takes a copy first, as receiving does.
        let mut arrived = Vec::with_capacity(1_200);
        let opened = measure(|_| {
            arrived.clear();
            arrived.extend_from_slice(black_box(&frame));
            let header = Header::decode(&arrived).expect("it was just written");
            let plain = key.open(header.nonce(), HEADER_SIZE, &mut arrived);
            black_box(decode_body(&mut Reader::new(plain.expect("it was just sealed"))));
        });
        let steps = [encoded, sealed, decoded, opened];
        let allocations: u64 = steps.iter().map(|step| step.1).sum();
        let [encode, seal, decode, open] = steps.map(|step| step.0);
        let bytes = frame.len();
        println!("{form:6}{bytes:6}{encode:8}{seal:10}{decode:8}{open:17}   {allocations}");
        assert_eq!(allocations, 0, "{form}");
    }
}
