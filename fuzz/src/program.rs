//! What the program itself reads from outside: announcements of discovery, probes of paths, questions
//! to witnesses, and the blocks of a disk that breaks ties.

use base::codec::Reader;
use base::{Instant, Medium, NetworkId, NodeId};
use mainstay::arbiter::block::{self, COPIES, COPY_SIZE};
use mainstay::arbiter::witness::wire as witness;
use mainstay::discover::report::report;
use mainstay::discover::survey::{ENTRIES_MAX, Face, MACHINES_MAX, Own, Survey};
use mainstay::discover::wire::{
    self, Address, Announcement, Arrival, Attempt, Heard, Message, Net,
};
use mainstay::probe::respond::Responder;
use mainstay::probe::test::{PathTest, Plan};
use mainstay::probe::wire::{Body, Flags, Key, Probe, SIZE_MIN};
use transport::PathId;

const NOW: Instant = Instant::from_millis(1_000_000);

/// Messages of discovery, open ones: as they came, and taken in by a machine that makes a report of
/// them.
pub fn discover(bytes: &[u8]) {
    let Some(message) = wire::open(bytes, None) else { return };
    let again = wire::open(&wire::seal(&message, None, 0), None);
    assert_eq!(again.as_ref(), Some(&message), "what is understood is written in one way");
    let mut survey = machine(1, "10.0.0.1");
    let other = machine(2, "10.0.0.2").announcements().remove(0).1;
    survey.announced(NOW, 1, other);
    match message {
        Message::Announce(said) => {
            for number in 0..3 {
                let said = Announcement { machine: said.machine ^ number, ..said.clone() };
                survey.announced(NOW, 1, said);
            }
        }
        Message::Try(attempt) => {
            let receipt = survey.tried(attempt, bytes.len());
            assert_eq!((receipt.from, receipt.to), (attempt.from, attempt.to));
        }
        Message::Arrived(attempt, machine) => survey.received(&attempt, machine, bytes.len()),
    }
    assert!(survey.machines.len() <= MACHINES_MAX && survey.arrivals.len() <= ENTRIES_MAX);
    assert!(survey.attempts().len() <= ENTRIES_MAX);
    for (_, announcement) in survey.announcements() {
        let frame = wire::seal(&Message::Announce(announcement), None, 0);
        assert!(frame.len() <= 1_500, "{} bytes do not fit into a frame", frame.len());
    }
    let found = report(&survey, false);
    assert!(!found.nodes.is_empty(), "this machine is there in any case");
    survey.forget(NOW + mainstay::discover::survey::SILENCE_MAX * 2);
}

/// Valid messages.
#[must_use]
pub fn discover_golden() -> Vec<Vec<u8>> {
    let address = |last| Address([10, 0, 0, last].into());
    let six = Address("fd00::2".parse().expect("an address"));
    let attempt = Attempt { machine: 2, from: address(2), to: address(1), size: 200 };
    let said = Announcement {
        machine: 2,
        name: "n2".into(),
        cluster: Some("demo".into()),
        interface: "eth0".into(),
        mtu: 1_500,
        addresses: vec![Net { address: address(2), prefix: 24 }, Net { address: six, prefix: 64 }],
        ports: vec![7_420, 0],
        looped_name: Some(Address([127, 0, 0, 1].into())),
        heard: vec![Heard { interface: "eth0".into(), machine: 1, from: "eth0".into() }],
        arrivals: vec![Arrival { machine: 1, from: address(1), to: address(2), largest: 200 }],
    };
    let messages = [
        Message::Announce(said),
        Message::Try(attempt),
        Message::Arrived(Attempt { machine: 1, ..attempt }, 2),
    ];
    messages.iter().map(|message| wire::seal(message, None, 0)).collect()
}

fn machine(number: u64, address: &str) -> Survey {
    let mut survey =
        Survey::new(Own { machine: number, name: format!("n{number}"), ..Own::default() });
    let address = Address(address.parse().expect("an address"));
    let addresses = vec![Net { address, prefix: 24 }];
    survey.interfaces.insert(1, ("eth0".into(), Face { mtu: 1_500, addresses, ports: Vec::new() }));
    survey.ports.insert(address, 7_420);
    survey
}

/// Probes: bytes as they came, and what a node with the key may say in one, told to a node that
/// answers and to a test that waits for answers.
pub fn probe(bytes: &[u8]) {
    let key = Key::of_cluster(&[7; 32]);
    if let Ok(opened) = key.open(bytes) {
        assert_eq!(key.open(&key.seal(&opened, bytes.len(), [3; 12])), Ok(opened));
    }
    let mut reader = Reader::new(bytes);
    let mut responder = Responder::default();
    let path = PathId { peer: NodeId(2), network: NetworkId(0) };
    let mut test = PathTest::new(path, 1, Plan::new(Medium::Network, true, 3), NOW);
    let mut now = NOW;
    while let Ok((body, size)) = said(&mut reader) {
        if let Some(answer) = responder.ask(now, NodeId(1), &body, size) {
            assert!(answer.size >= SIZE_MIN && answer.body.answered <= answer.body.got);
        }
        test.tick(now);
        let _sent = test.take();
        test.answer(now, &body, size);
        now = test.deadline().unwrap_or(now).max(now);
    }
    // Whatever was said, the test comes to an end.
    for _ in 0..1_000 {
        let Some(due) = test.deadline() else { break };
        test.tick(due.max(now));
        let _sent = test.take();
        now = due.max(now);
    }
    assert!(test.result().is_some(), "it goes on for ever");
}

/// A body, and how long the probe was.
fn said(reader: &mut Reader<'_>) -> Result<(Body, usize), base::codec::Malformed> {
    let all = [Flags::WHOLE, Flags::TALLY, Flags::TOO_LARGE, Flags::COUNTS, Flags::BUSY];
    let bits = reader.u8()?;
    let set = all.iter().enumerate().filter(|(place, _)| bits & 1 << place != 0);
    let flags = set.fold(Flags::default(), |flags, (_, flag)| flags.with(*flag));
    let body = Body {
        run: 1,
        sequence: u32::from(reader.u8()?),
        stamp: reader.u64()?,
        want: reader.u16()?,
        flags,
        got: reader.u32()?,
        answered: reader.u32()?,
        largest: reader.u16()?,
    };
    Ok((body, usize::from(reader.u16()?)))
}

/// A valid probe, and the bodies of a good run.
#[must_use]
pub fn probe_golden() -> Vec<Vec<u8>> {
    let body = Body { run: 1, sequence: 1, flags: Flags::COUNTS, ..Body::default() };
    let probe = Probe {
        cluster: 10,
        source: NodeId(1),
        destination: NodeId(2),
        network: NetworkId(0),
        is_answer: true,
        body,
    };
    let sealed = Key::of_cluster(&[7; 32]).seal(&probe, 0, [3; 12]);
    let bodies = (0..30_u8).flat_map(|place| {
        let mut body = vec![if place < 3 { 8 } else { place % 2 }, place];
        body.extend_from_slice(&NOW.as_nanos().to_be_bytes());
        body.extend_from_slice(&[0, 200, 0, 0, 0, place, 0, 0, 0, place, 0, 200, 0, 200]);
        body
    });
    vec![sealed, bodies.collect()]
}

/// What arbiters read: a frame for a witness, what may stand sealed in one, and the two copies of a
/// node on a disk.
pub fn arbiter(bytes: &[u8]) {
    let key = witness::Key::of_cluster(&[7; 32]);
    if let Ok((question, mark)) = key.open_question(bytes) {
        let cluster = witness::cluster_of(bytes).expect("it was opened");
        assert_eq!(key.seal_question(cluster, &question, mark), bytes);
    }
    let mut acceptor = group::Acceptor::default();
    let mut memory = group::disk::Memory::default();
    if let Ok(question) = base::codec::decode::<witness::Question>(bytes)
        && let Some(request) = question.request
    {
        let fits = |value: &Vec<u8>| value.len() <= group::VALUE_SIZE_MAX;
        let reply = acceptor.handle(&request);
        if request.value.as_ref().is_none_or(fits) {
            memory.take(&request).expect("nothing was promised before");
            let same = group::disk::judge(&memory, core::iter::empty(), &request);
            assert_eq!(same, reply, "an acceptor of its own and one on a disk agree");
        }
    }
    let mut copies = bytes.to_vec();
    copies.resize(COPIES as usize * COPY_SIZE, 0);
    if let Ok(run) = block::decode(10, NodeId(1), &copies)
        && run.sequence > 0
    {
        let again = block::encode(10, NodeId(1), run.sequence, &run.memory);
        let again = [again, vec![0; COPY_SIZE]].concat();
        let read = block::decode(10, NodeId(1), &again).expect("it was just written");
        assert_eq!((read.sequence, read.memory), (run.sequence, run.memory));
    }
}

/// A frame, what stands in it, and a copy.
#[must_use]
pub fn arbiter_golden() -> Vec<Vec<u8>> {
    let scope = group::Scope { lineage: 7, generation: 3 };
    let ballot = group::Ballot { round: 2, node: 1 };
    let request = group::Request { arbiters: 7, scope, ballot, value: Some(vec![1; 40]) };
    let mut memory = group::disk::Memory::default();
    memory.take(&request).expect("it is empty");
    let question = witness::Question { node: NodeId(1), name: "n1".into(), request: Some(request) };
    let key = witness::Key::of_cluster(&[7; 32]);
    vec![
        key.seal_question(10, &question, [3; 12]),
        base::codec::encode(&question),
        block::encode(10, NodeId(1), 5, &memory),
    ]
}
