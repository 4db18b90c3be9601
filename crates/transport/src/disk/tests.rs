use base::limits::DATAGRAM_SIZE_MAX;
use base::{Incarnation, NodeId, Prng};

use super::block::place;
use super::*;

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const SECTOR: usize = 512;

fn layout() -> Layout {
    Layout::new(0x0102_0304, 3)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The device: all blocks of an area.
struct Area {
    layout: Layout,
    bytes: Vec<u8>,
}

impl Area {
    fn new() -> Area {
        Area { layout: layout(), bytes: vec![0; layout().size() as usize * BLOCK_SIZE] }
    }

    fn block(&mut self, number: u64) -> &mut [u8] {
        let start = number as usize * BLOCK_SIZE;
        &mut self.bytes[start..start + BLOCK_SIZE]
    }

    fn run(&self, from: NodeId, to: NodeId) -> &[u8] {
        let start = self.layout.run(from, to) as usize * BLOCK_SIZE;
        &self.bytes[start..start + RUN_SIZE]
    }

    /// Carries out all that a writer wants to write; how much that was.
    fn write(&mut self, writer: &mut Writer) -> usize {
        let mut block = [0xee; BLOCK_SIZE];
        let mut count = 0;
        while let Some(number) = writer.next_write(&mut block) {
            self.block(number).copy_from_slice(&block);
            count += 1;
        }
        assert!(writer.is_idle(), "nothing more can be written");
        count
    }

    fn take(&self, reader: &mut Reader, from: NodeId, to: NodeId) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        reader.take(from, self.run(from, to), &mut frames);
        frames
    }
}

fn writer(epoch: u64) -> Writer {
    Writer::new(layout(), N1, Incarnation(epoch))
}

fn reader() -> Reader {
    Reader::new(layout(), N2)
}

fn push_data(writer: &mut Writer, frames: core::ops::Range<u16>) {
    for number in frames {
        assert!(writer.push(N2, &number.to_be_bytes(), false), "there is room");
    }
}

fn numbers(frames: &[Vec<u8>]) -> Vec<u16> {
    frames.iter().map(|frame| u16::from_be_bytes([frame[0], frame[1]])).collect()
}

#[test]
fn the_header_has_these_bytes() {
    let bytes = layout().encode_header();
    assert_eq!(hex(&bytes[..24]), "4d4e53544449534b00011000010203040308000000000000");
    assert_eq!(hex(&bytes[CHECKSUM_AT..]), "51d6e3cc");
    assert_eq!(bytes.len(), BLOCK_SIZE);
    assert!(bytes[18..CHECKSUM_AT].iter().all(|byte| *byte == 0));
    assert_eq!(Layout::decode_header(&bytes), Ok(layout()));
    assert_eq!(Layout::of_cluster(&bytes, 0x0102_0304), Ok(layout()));
}

#[test]
fn each_wrong_header_has_its_own_sentence() {
    let good = layout().encode_header();
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        Layout::of_cluster(&bytes, 0x0102_0304)
    };
    let other = Layout::new(7, 3).encode_header();
    let found = [
        Layout::of_cluster(&[0; BLOCK_SIZE], 1),
        changed(0, b'X'),
        changed(9, 2),
        changed(16, 4),
        Layout::of_cluster(&other, 0x0102_0304),
    ];
    let expected = [
        HeaderError::Blank,
        HeaderError::Foreign,
        HeaderError::OtherLayout { version: 2 },
        HeaderError::Damaged,
        HeaderError::OtherCluster { found: 7, expected: 0x0102_0304 },
    ];
    assert_eq!(found, expected.map(Err));
    let mut sentences = expected.map(|error| error.to_string());
    sentences.sort();
    assert!(sentences.windows(2).all(|pair| pair[0] != pair[1]), "{sentences:?}");
    assert!(sentences.iter().any(|said| said.contains("cluster 7")), "{sentences:?}");
    for (at, byte) in good.iter().enumerate().skip(12) {
        assert_eq!(changed(at, byte ^ 0x40), Err(HeaderError::Damaged), "byte {at}");
    }
}

#[test]
fn every_run_has_its_own_blocks() {
    for slots in [1, 3, 16, 128] {
        let layout = Layout::new(1, slots);
        let mut next = 1;
        for to in 0..slots {
            assert_eq!(layout.first(NodeId(to)), next);
            for from in 0..slots {
                assert_eq!(layout.run(NodeId(from), NodeId(to)), next);
                next += PAIR_BLOCKS;
            }
        }
        assert_eq!(layout.size(), next);
    }
    assert_eq!(Layout::for_nodes(1, NodeId(3)).slots(), SLOTS_LEAST);
    assert_eq!(Layout::for_nodes(1, NodeId(127)).slots(), 128);
}

#[test]
fn a_block_has_these_bytes() {
    let mut writer = writer(0x0a0b);
    assert!(writer.push(N2, b"heart", true));
    assert!(writer.push(N2, b"one", false) && writer.push(N2, b"two", false));
    let mut block = [0xee; BLOCK_SIZE];
    assert_eq!(writer.next_write(&mut block), Some(layout().run(N1, N2)), "the heartbeat first");
    assert_eq!(
        hex(&block[..52]),
        "4d534442010203040102010100000000\
         00000a0b000000000000000100000000\
         00000000000000000000000000056865\
         61727400"
    );
    assert_eq!(hex(&block[CHECKSUM_AT..]), "2f2a3213");
    assert_eq!(writer.next_write(&mut block), Some(layout().run(N1, N2) + 2));
    assert_eq!(
        hex(&block[..56]),
        "4d534442010203040102020200000000\
         00000a0b000000000000000100000000\
         0000000000000000000000000003\
         6f6e65000374776f0000"
    );
    assert_eq!(writer.next_write(&mut block), None);
    assert_eq!(writer.counters(), WriterCounters { frames: 3, ..WriterCounters::default() });
}

#[test]
fn frames_come_once_and_in_order() {
    let (mut area, mut writer, mut reader) = (Area::new(), writer(5), reader());
    assert_eq!(area.take(&mut reader, N1, N2), [[0; 0]; 0], "blank blocks are no news");
    push_data(&mut writer, 0..5);
    assert!(writer.push(N2, &[99, 99], true));
    assert_eq!(area.write(&mut writer), 3);
    assert_eq!(numbers(&area.take(&mut reader, N1, N2)), [99 * 257, 0, 1, 2, 3, 4]);
    assert_eq!(area.take(&mut reader, N1, N2), [[0; 0]; 0], "nothing moved");
    let counters = ReaderCounters { frames: 6, repeated: 3, ..ReaderCounters::default() };
    assert_eq!(reader.counters(), counters);
    let longest = vec![7; DATAGRAM_SIZE_MAX];
    for _ in 0..FRAMES_PER_BLOCK_MAX {
        assert!(writer.push(N2, &longest, false));
    }
    assert_eq!(area.write(&mut writer), 1, "three of the longest fit into a block");
    assert_eq!(area.take(&mut reader, N1, N2), [&longest[..]; 3]);
}

#[test]
fn only_the_newest_heartbeat_is_written() {
    let (mut area, mut writer, mut reader) = (Area::new(), writer(5), reader());
    for number in [1, 2, 3_u8] {
        assert!(writer.push(N2, &[0, number], true));
    }
    assert_eq!(area.write(&mut writer), 1);
    assert_eq!(numbers(&area.take(&mut reader, N1, N2)), [3]);
    assert_eq!(writer.counters().replaced, 2);
}

#[test]
fn heartbeats_to_all_go_before_data_and_nobody_starves() {
    let mut writer = writer(5);
    push_data(&mut writer, 0..1);
    let mut block = [0; BLOCK_SIZE];
    let mut order = Vec::new();
    // A device so slow that there are always two heartbeats more when one was written.
    for _ in 0..4 {
        assert!(writer.push(N2, b"a", true) && writer.push(NodeId(0), b"b", true));
        order.extend(writer.next_write(&mut block));
    }
    let (zero, two) = (layout().run(N1, NodeId(0)), layout().run(N1, N2));
    assert_eq!(order, [two, zero, two, zero]);
    assert_eq!(writer.next_write(&mut block), Some(two), "a heartbeat is left");
    assert_eq!(writer.next_write(&mut block), Some(two + place(1)), "data last");
    assert_eq!(writer.next_write(&mut block), None);
    assert!(!writer.push(N1, b"me", true) && !writer.push(NodeId(3), b"nobody", false));
    assert_eq!(writer.counters().no_slot, 2);
}

/// Both directions between two nodes, with what they learn of each other.
struct Pair {
    area: Area,
    writers: [Writer; 2],
    readers: [Reader; 2],
}

impl Pair {
    fn new() -> Pair {
        Pair {
            area: Area::new(),
            writers: [N1, N2].map(|node| Writer::new(layout(), node, Incarnation(5))),
            readers: [N1, N2].map(|node| Reader::new(layout(), node)),
        }
    }

    /// One node writes a heartbeat and what waits; the other looks.
    fn step(&mut self, from: usize) -> Vec<u16> {
        let nodes = [N1, N2];
        let to = 1 - from;
        assert!(self.writers[from].push(nodes[to], &[0xff, 0xff], true));
        self.area.write(&mut self.writers[from]);
        let frames = self.area.take(&mut self.readers[to], nodes[from], nodes[to]);
        self.writers[to].learn(&self.readers[to]);
        assert_eq!(frames.first(), Some(&vec![0xff, 0xff]), "the heartbeat comes each time");
        numbers(&frames[1..])
    }
}

#[test]
fn a_full_ring_waits_until_it_was_taken_and_wraps() {
    let mut pair = Pair::new();
    let mut got = Vec::new();
    let mut sent = 0;
    while got.len() < 300 {
        while sent < 300 && pair.writers[0].push(N2, &u16::to_be_bytes(sent), false) {
            sent += 1;
        }
        got.extend(pair.step(0));
        assert!(pair.step(1).is_empty());
    }
    assert_eq!(got, (0..300).collect::<Vec<u16>>(), "nothing is lost, whatever the burst");
    assert_eq!(pair.readers[1].counters().missed, 0);
    assert!(pair.writers[0].counters().full > 0, "the queue is bounded");
    assert_eq!(pair.writers[0].counters().impatient, 0);
}

#[test]
fn a_reader_that_takes_nothing_is_waited_for_a_while() {
    let (mut area, mut writer) = (Area::new(), writer(5));
    push_data(&mut writer, 0..PENDING_FRAMES_MAX as u16);
    assert!(!writer.push(N2, b"one more", false), "the queue is bounded");
    assert_eq!(area.write(&mut writer) as u64, DATA_BLOCKS);
    for heartbeat in 1..=4 {
        assert!(writer.push(N2, b"heart", true));
        let written = area.write(&mut writer) as u64;
        assert_eq!(written, if heartbeat < 4 { 1 } else { 1 + DATA_BLOCKS });
    }
    assert_eq!(writer.counters().impatient, 1);
    // Who looks only now finds the second ring, and knows what is gone.
    let mut reader = reader();
    let frames = area.take(&mut reader, N1, N2);
    assert_eq!(numbers(&frames[1..]), (21..42).collect::<Vec<u16>>());
}

#[test]
fn overwritten_blocks_are_counted() {
    let (mut area, mut writer, mut reader) = (Area::new(), writer(5), reader());
    push_data(&mut writer, 0..1);
    area.write(&mut writer);
    assert_eq!(numbers(&area.take(&mut reader, N1, N2)), [0]);
    push_data(&mut writer, 1..40);
    for _ in 0..5 {
        assert!(writer.push(N2, b"heart", true));
        area.write(&mut writer);
    }
    let frames = area.take(&mut reader, N1, N2);
    // 13 blocks more, of which the ring has the last seven.
    assert_eq!(numbers(&frames[1..]), (19..40).collect::<Vec<u16>>());
    assert_eq!(reader.counters().missed, 6);
}

/// The first sectors of a write are new, the rest is old: no news, whatever the boundary, and the
/// whole block later is.
#[test]
fn a_torn_block_is_no_news() {
    let full = vec![0x55; DATAGRAM_SIZE_MAX];
    for with_old in [false, true] {
        for sectors in 1..BLOCK_SIZE / SECTOR {
            for tail in [false, true] {
                let (mut area, mut writer, mut reader) = (Area::new(), writer(5), reader());
                if with_old {
                    for _ in 0..8 * FRAMES_PER_BLOCK_MAX {
                        writer.push(N2, &[1; DATAGRAM_SIZE_MAX], false);
                    }
                    writer.push(N2, &[1; DATAGRAM_SIZE_MAX], true);
                    area.write(&mut writer);
                    area.take(&mut reader, N1, N2);
                }
                writer.push(N2, &full, true);
                let mut block = [0; BLOCK_SIZE];
                let number = writer.next_write(&mut block).expect("a heartbeat");
                let cut = sectors * SECTOR;
                let whole = block;
                let part = if tail { cut..BLOCK_SIZE } else { 0..cut };
                area.block(number)[part.clone()].copy_from_slice(&whole[part.clone()]);
                // The tail of one short frame in a blank block is zeros: nothing was written.
                let (torn, frames) = (reader.counters().torn, area.take(&mut reader, N1, N2));
                if *area.block(number) != whole {
                    assert_eq!(frames, [[0; 0]; 0], "{sectors} sectors");
                    let blank = area.block(number).iter().all(|byte| *byte == 0);
                    assert_eq!(reader.counters().torn, torn + u64::from(!blank));
                    area.block(number).copy_from_slice(&whole);
                    assert_eq!(area.take(&mut reader, N1, N2), [&full[..]]);
                }
                assert_eq!(reader.counters().foreign, 0);
            }
        }
    }
}

#[test]
fn stale_runs_are_no_news() {
    let mut pair = Pair::new();
    push_data(&mut pair.writers[0], 0..30);
    pair.step(0);
    let stale = pair.area.run(N1, N2).to_vec();
    for _ in 0..3 {
        pair.step(1);
        push_data(&mut pair.writers[0], 100..112);
        pair.step(0);
    }
    let before = pair.readers[1].counters();
    let mut frames = Vec::new();
    pair.readers[1].take(N1, &stale, &mut frames);
    assert_eq!(frames, [[0; 0]; 0], "a copy of the run as it was");
    let after = pair.readers[1].counters();
    assert_eq!((after.frames, after.missed), (before.frames, before.missed));
    assert_eq!(after.older + after.repeated, before.older + before.repeated + PAIR_BLOCKS);
    assert!(after.older > before.older);
}

#[test]
fn a_higher_epoch_starts_afresh_and_a_lower_one_is_not_heard() {
    let (mut area, mut first, mut reader) = (Area::new(), writer(5), reader());
    push_data(&mut first, 0..9);
    assert!(first.push(N2, &[5, 5], true));
    area.write(&mut first);
    assert_eq!(area.take(&mut reader, N1, N2).len(), 10);

    let mut second = writer(6);
    push_data(&mut second, 50..51);
    area.write(&mut second);
    assert_eq!(numbers(&area.take(&mut reader, N1, N2)), [50], "its first block is news");
    assert_eq!(reader.counters().older, 3, "the heartbeat and two data blocks of the life before");
    assert!(second.push(N2, &[6, 6], true));
    area.write(&mut second);
    assert_eq!(numbers(&area.take(&mut reader, N1, N2)), [6 * 257]);

    let mut ghost = writer(5);
    push_data(&mut ghost, 70..79);
    assert!(ghost.push(N2, &[7, 7], true));
    area.write(&mut ghost);
    assert_eq!(area.take(&mut reader, N1, N2), [[0; 0]; 0]);
    // One who was not there before sees the newest life only, too.
    area.write(&mut second);
    push_data(&mut second, 80..81);
    area.write(&mut second);
    let mut newcomer = Reader::new(layout(), N2);
    assert_eq!(numbers(&area.take(&mut newcomer, N1, N2)), [80]);
    assert_eq!(reader.counters().missed, 0);
}

/// A peer that restarts acknowledges nothing of what it took before; nobody waits for ever.
#[test]
fn the_window_survives_the_restart_of_either_end() {
    let mut pair = Pair::new();
    push_data(&mut pair.writers[0], 0..21);
    assert_eq!(pair.step(0).len(), 21);
    pair.writers[1] = Writer::new(layout(), N2, Incarnation(6));
    pair.readers[1] = Reader::new(layout(), N2);
    assert_eq!(pair.step(0).len(), 21, "it sees the ring again: the channel knows");
    assert!(pair.step(1).is_empty());
    push_data(&mut pair.writers[0], 21..42);
    assert_eq!(pair.step(0), (21..42).collect::<Vec<u16>>());

    pair.writers[0] = Writer::new(layout(), N1, Incarnation(7));
    pair.readers[0] = Reader::new(layout(), N1);
    for round in 0..10 {
        push_data(&mut pair.writers[0], round * 21..round * 21 + 21);
        assert_eq!(pair.step(0).len(), 21, "a new life begins with an empty ring");
        assert!(pair.step(1).is_empty());
    }
}

#[test]
fn a_block_at_the_wrong_place_is_foreign() {
    let (mut area, mut writer) = (Area::new(), writer(5));
    push_data(&mut writer, 0..3);
    assert!(writer.push(N2, b"heart", true));
    area.write(&mut writer);
    let layout = layout();
    let run = layout.run(N1, N2);
    let expect_foreign = |area: &Area, from: NodeId, to: NodeId, count: u64| {
        let mut reader = Reader::new(area.layout, to);
        assert_eq!(area.take(&mut reader, from, to), [[0; 0]; 0]);
        assert_eq!(reader.counters().foreign, count);
        assert_eq!(u64::from(area.layout.examine(from, to, area.run(from, to)).foreign), count);
    };
    let data = area.block(run + place(1)).to_vec();
    let mut other = Area::new();
    other.block(run + place(2)).copy_from_slice(&data);
    expect_foreign(&other, N1, N2, 1);
    let mut other = Area::new();
    other.block(run).copy_from_slice(&data);
    expect_foreign(&other, N1, N2, 1);
    let mut other = Area::new();
    other.block(layout.run(NodeId(0), N2)).copy_from_slice(area.block(run));
    expect_foreign(&other, NodeId(0), N2, 1);
    // Both runs of a pair are exchanged.
    let mut other = Area::new();
    other.block(layout.run(N2, N1)).copy_from_slice(area.block(run));
    expect_foreign(&other, N2, N1, 1);
    // The same place in the area of another cluster, whose daemon still writes here.
    let mut other = Area::new();
    other.bytes.copy_from_slice(&area.bytes);
    other.layout = Layout::new(7, 3);
    expect_foreign(&other, N1, N2, 2);
    // No blocks at all.
    let mut other = Area::new();
    other.block(run).fill(b'x');
    expect_foreign(&other, N1, N2, 1);
}

#[test]
fn what_is_shown_of_a_run_takes_nothing() {
    let (mut area, mut writer) = (Area::new(), writer(5));
    push_data(&mut writer, 0..9);
    assert!(writer.push(N2, b"heart", true));
    area.write(&mut writer);
    area.block(layout().run(N1, N2) + place(3))[100] ^= 1;
    let mark = |sequence| Some(Mark { epoch: Incarnation(5), sequence });
    let expected = RunSeen { heartbeat: mark(1), data: mark(2), blank: 4, torn: 1, foreign: 0 };
    assert_eq!(layout().examine(N1, N2, area.run(N1, N2)), expected);
    let blank = RunSeen { blank: 8, ..RunSeen::default() };
    assert_eq!(layout().examine(N2, N1, area.run(N2, N1)), blank);
}

#[test]
fn the_test_block_disturbs_nobody() {
    let mut area = Area::new();
    let place = layout().run(N1, N1);
    let [one, two] = [1, 2].map(|number| layout().test_block(N1, number));
    assert_ne!(one, two);
    area.block(place).copy_from_slice(&one);
    for (from, to) in [(N1, N2), (N2, N1), (NodeId(0), N1), (N1, NodeId(0))] {
        assert_eq!(layout().examine(from, to, area.run(from, to)).blank, PAIR_BLOCKS as u8);
    }
}

#[test]
fn any_flipped_bit_of_a_block_is_noticed() {
    let (mut area, mut writer) = (Area::new(), writer(5));
    assert!(writer.push(N2, &[0xa5; 300], true));
    area.write(&mut writer);
    let run = layout().run(N1, N2);
    let mut prng = Prng::new(1).child("bits");
    for _ in 0..1_000 {
        let bit = prng.range(0..=BLOCK_SIZE as u64 * 8 - 1) as usize;
        area.block(run)[bit / 8] ^= 1 << (bit % 8);
        let mut reader = reader();
        assert_eq!(area.take(&mut reader, N1, N2), [[0; 0]; 0], "bit {bit}");
        assert_eq!(reader.counters().torn + reader.counters().foreign, 1);
        area.block(run)[bit / 8] ^= 1 << (bit % 8);
    }
    assert_eq!(area.take(&mut reader(), N1, N2).len(), 1);
}

/// A seeded story: writes tear, are lost, repeated and late; both ends restart. What is taken of
/// one life was pushed in it, in order, and never twice by one reader.
#[test]
fn a_bad_disk_loses_and_never_invents() {
    for seed in 0..40 {
        let mut prng = Prng::new(seed).child("disk");
        let (mut area, mut epoch, mut frames) = (Area::new(), 1, Vec::new());
        let mut writer = writer(epoch);
        let mut reader = reader();
        let (mut pushed, mut newest, mut taken) = (0_u64, (0, 0), 0);
        let mut late: Vec<(u64, [u8; BLOCK_SIZE])> = Vec::new();
        for _ in 0..400 {
            for _ in 0..prng.range(0..=6) {
                pushed += 1;
                let mut frame = vec![0; prng.range(17..=1_200) as usize];
                frame[..8].copy_from_slice(&u64::to_be_bytes(epoch));
                frame[8..16].copy_from_slice(&pushed.to_be_bytes());
                let heartbeat = prng.chance(1, 4);
                frame[16] = u8::from(heartbeat);
                writer.push(N2, &frame, heartbeat);
            }
            let mut block = [0; BLOCK_SIZE];
            while let Some(number) = writer.next_write(&mut block) {
                let cut = prng.range(1..=7) as usize * SECTOR;
                match prng.range(0..=9) {
                    0 => {}
                    1 => area.block(number)[..cut].copy_from_slice(&block[..cut]),
                    2 => area.block(number)[cut..].copy_from_slice(&block[cut..]),
                    3 => late.push((number, block)),
                    _ => area.block(number).copy_from_slice(&block),
                }
            }
            if !late.is_empty() && prng.chance(1, 3) {
                let (number, block) = late.remove(0);
                area.block(number).copy_from_slice(&block);
            }
            frames.clear();
            reader.take(N1, area.run(N1, N2), &mut frames);
            for frame in &frames {
                let number =
                    |at: usize| u64::from_be_bytes(frame[at..at + 8].try_into().expect("8 bytes"));
                assert!(frame[17..].iter().all(|byte| *byte == 0), "seed {seed}");
                taken += 1;
                if frame[16] == 0 {
                    assert!((number(0), number(8)) > newest, "seed {seed}: twice or disordered");
                    newest = (number(0), number(8));
                }
            }
            if prng.chance(1, 60) {
                epoch += 1;
                writer = self::writer(epoch);
            }
        }
        assert!(taken > 100, "seed {seed}: {taken} frames came through");
    }
}
