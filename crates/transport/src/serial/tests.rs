//! The bytes, the order, the bounds and the noise of a serial line.

use base::Prng;
use base::limits::DATAGRAM_SIZE_MAX;

use super::{
    CHUNK_SIZE_MAX, Counters, ENCODED_SIZE_MAX, FIRST, LAST, Line, ORDINARY, ORDINARY_BYTES_MAX,
    PAYLOAD_SIZE_MAX, PRESSING_FRAMES_MAX, encode,
};
use crate::crc::crc32;

fn chunks(line: &mut Line) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    loop {
        let mut chunk = Vec::new();
        if !line.next_chunk(&mut chunk) {
            assert!(chunk.is_empty() && line.is_idle());
            return chunks;
        }
        assert!(chunk.len() <= CHUNK_SIZE_MAX);
        chunks.push(chunk);
    }
}

fn receive(line: &mut Line, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    line.receive(bytes, &mut frames);
    frames
}

fn random(prng: &mut Prng, length: u64) -> Vec<u8> {
    // Every fourth byte is zero, which is the one that matters.
    (0..length).map(|_| if prng.chance(1, 4) { 0 } else { prng.next_u64() as u8 }).collect()
}

#[test]
fn the_checksum_is_the_one_of_ethernet() {
    assert_eq!(crc32(b""), 0);
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(crc32(&[0; 32]), 0x190a_55ad);
    assert_eq!(crc32(&[0xff; 32]), 0xff6c_ab0b);
}

#[test]
fn golden_bytes() {
    let mut line = Line::new();
    assert!(line.push(b"ab\0c", false));
    assert!(line.push(b"\0\0", true));
    assert!(line.push(b"!", true));
    let mut bytes = Vec::new();
    assert!(line.next_chunk(&mut bytes));
    // Flags 03, number 00, payload 00 00, checksum 33 f1 70 f2.
    assert_eq!(bytes, [0, 2, 3, 1, 1, 5, 0x33, 0xf1, 0x70, 0xf2, 0]);
    bytes.clear();
    assert!(line.next_chunk(&mut bytes));
    assert_eq!(bytes, [0, 8, 3, 1, b'!', 0xa8, 0x75, 0x46, 0x54, 0]);
    bytes.clear();
    assert!(line.next_chunk(&mut bytes));
    assert_eq!(bytes, [0, 2, 7, 3, b'a', b'b', 6, b'c', 0xb0, 0xb5, 0x2e, 0xd1, 0]);
    assert!(!line.next_chunk(&mut bytes));
}

#[test]
fn frames_of_every_size_come_back_however_the_bytes_are_cut() {
    let mut prng = Prng::new(1);
    let mut sender = Line::new();
    let mut receiver = Line::new();
    for size in 1..=DATAGRAM_SIZE_MAX as u64 {
        let frame = match size % 3 {
            0 => vec![0; size as usize],
            1 => vec![0xff; size as usize],
            _ => random(&mut prng, size),
        };
        assert!(sender.push(&frame, size % 2 == 0));
        let chunks = chunks(&mut sender);
        assert_eq!(chunks.len(), frame.len().div_ceil(PAYLOAD_SIZE_MAX));
        let mut bytes = chunks.concat();
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let rest = bytes.split_off(prng.range(1..=bytes.len() as u64) as usize);
            receiver.receive(&bytes, &mut frames);
            bytes = rest;
        }
        assert_eq!(frames, [frame]);
    }
    let count = DATAGRAM_SIZE_MAX as u64;
    assert_eq!(sender.counters(), Counters { sent: count, ..Counters::default() });
    assert_eq!(receiver.counters(), Counters { received: count, ..Counters::default() });
}

#[test]
fn a_pressing_frame_waits_for_one_chunk() {
    let mut sender = Line::new();
    let data = vec![7; DATAGRAM_SIZE_MAX];
    let heartbeat = vec![8; 200];
    assert!(sender.push(&data, false));
    let mut bytes = Vec::new();
    assert!(sender.next_chunk(&mut bytes));
    assert!(sender.push(&heartbeat, true));
    assert!(sender.next_chunk(&mut bytes));
    assert!(sender.next_chunk(&mut bytes));
    let mut receiver = Line::new();
    assert_eq!(receive(&mut receiver, &bytes), [heartbeat], "after one chunk of data and its own");
    assert_eq!(receive(&mut receiver, &chunks(&mut sender).concat()), [data], "and not torn by it");
    assert_eq!(receiver.counters(), Counters { received: 2, ..Counters::default() });
}

#[test]
fn newer_pressing_frames_push_out_those_that_wait() {
    let mut line = Line::new();
    let frames: Vec<Vec<u8>> = (0..7).map(|number| vec![number; 130]).collect();
    assert!(line.push(&frames[0], true));
    let mut bytes = Vec::new();
    assert!(line.next_chunk(&mut bytes));
    for frame in &frames[1..] {
        assert!(line.push(frame, true));
    }
    assert_eq!(line.counters().dropped_full, 2);
    bytes.extend(chunks(&mut line).concat());
    let kept: Vec<Vec<u8>> = [0, 3, 4, 5, 6].map(|number| frames[number].clone()).into();
    assert_eq!(kept.len(), 1 + PRESSING_FRAMES_MAX);
    assert_eq!(receive(&mut Line::new(), &bytes), kept, "what was begun is finished");
    for number in 0..10 {
        assert!(line.push(&[number], true));
    }
    assert_eq!(line.counters().dropped_full, 2 + 6);
    assert_eq!(receive(&mut Line::new(), &chunks(&mut line).concat()), [[6], [7], [8], [9]]);
}

#[test]
fn ordinary_frames_beyond_the_bound_are_refused() {
    let mut line = Line::new();
    let frame = vec![1; 1_000];
    for _ in 0..8 {
        assert!(line.push(&frame, false));
    }
    assert!(!line.push(&frame, false));
    assert!(line.push(&[2; ORDINARY_BYTES_MAX - 8_000], false), "to the last byte");
    assert!(!line.push(&[3], false));
    assert!(line.push(&[4], true), "pressing frames have room of their own");
    let mut bytes = Vec::new();
    for _ in 0..9 {
        assert!(line.next_chunk(&mut bytes));
    }
    assert!(!line.push(&[3], false), "a frame counts until it is sent");
    assert!(line.next_chunk(&mut bytes));
    assert!(line.push(&frame, false));
    assert_eq!(line.counters(), Counters { sent: 2, dropped_full: 3, ..Counters::default() });
    line.clear();
    assert!(line.is_idle());
    assert_eq!(line.counters(), Counters { sent: 2, dropped_full: 3, ..Counters::default() });
    for _ in 0..8 {
        assert!(line.push(&frame, false), "nothing waits after a clear");
    }
}

#[test]
fn a_missing_chunk_costs_its_frame_only() {
    for missing in 0..10 {
        let mut sender = Line::new();
        let mut receiver = Line::new();
        let (torn, whole) = (vec![5; DATAGRAM_SIZE_MAX], vec![6; 300]);
        assert!(sender.push(&torn, false));
        let mut wire = Vec::new();
        for number in 0..10 {
            // A heartbeat goes through the middle of it.
            if number == 4 {
                assert!(sender.push(b"heartbeat", true));
                assert!(sender.next_chunk(&mut wire));
            }
            let mut chunk = Vec::new();
            assert!(sender.next_chunk(&mut chunk));
            if number != missing {
                wire.extend(chunk);
            }
        }
        assert!(sender.push(&whole, false));
        wire.extend(chunks(&mut sender).concat());
        assert_eq!(receive(&mut receiver, &wire), [b"heartbeat".to_vec(), whole], "{missing}");
        let expected = Counters { received: 2, torn: 1, ..Counters::default() };
        assert_eq!(receiver.counters(), expected, "{missing}");
    }
}

#[test]
fn repeated_and_swapped_chunks_make_no_frame() {
    let mut sender = Line::new();
    let frame = vec![9; 3 * PAYLOAD_SIZE_MAX];
    assert!(sender.push(&frame, true));
    let [a, b, c] = <[Vec<u8>; 3]>::try_from(chunks(&mut sender)).expect("three chunks");
    for order in [[&a, &b, &b, &c], [&a, &c, &b, &c], [&b, &c, &b, &c]] {
        let mut receiver = Line::new();
        assert_eq!(receive(&mut receiver, &order.map(Vec::as_slice).concat()), [[0; 0]; 0]);
        assert!((1..=2).contains(&receiver.counters().torn));
        assert_eq!(receive(&mut receiver, &[&a[..], &b, &c].concat()), [&frame[..]]);
    }
    let mut receiver = Line::new();
    assert_eq!(receive(&mut receiver, &[&a[..], &a, &b, &c].concat()), [&frame[..]]);
    assert_eq!(receiver.counters().torn, 1);
}

#[test]
fn endless_noise_is_not_kept_and_what_follows_is_heard() {
    let mut receiver = Line::new();
    for _ in 0..1_000 {
        assert!(receive(&mut receiver, &[0xa5; 100]).is_empty());
        assert!(receiver.gathered.capacity() <= 2 * ENCODED_SIZE_MAX);
    }
    assert_eq!(receiver.counters(), Counters::default(), "nothing has ended yet");
    let mut sender = Line::new();
    assert!(sender.push(b"a frame that begins with a zero", false));
    assert_eq!(receive(&mut receiver, &chunks(&mut sender).concat()).len(), 1);
    assert_eq!(receiver.counters(), Counters { received: 1, noise: 1, ..Counters::default() });
    // A stretch one byte too long, and one whose first code points behind its end.
    receive(&mut receiver, &[[1; ENCODED_SIZE_MAX + 1].as_slice(), &[0, 9, 1, 0]].concat());
    assert_eq!(receiver.counters().noise, 3);
}

#[test]
fn well_formed_lies_are_bounded_too() {
    let mut receiver = Line::new();
    let mut wire = Vec::new();
    encode(FIRST, 0, &[1; PAYLOAD_SIZE_MAX], &mut wire);
    for number in 1..200 {
        encode(0, number, &[1; PAYLOAD_SIZE_MAX], &mut wire);
    }
    encode(LAST, 200, &[1], &mut wire);
    assert!(receive(&mut receiver, &wire).is_empty());
    assert_eq!(receiver.counters(), Counters { noise: 1, ..Counters::default() });
    assert!(receiver.incoming[0].frame.len() <= DATAGRAM_SIZE_MAX);
    let mut wire = Vec::new();
    encode(FIRST | LAST, 0, &[], &mut wire);
    encode(FIRST | LAST | 8, 0, &[1], &mut wire);
    assert!(receive(&mut receiver, &wire).is_empty());
    assert_eq!(receiver.counters().noise, 3, "an empty chunk, and a flag that nobody knows");
    let mut wire = Vec::new();
    encode(FIRST | LAST | ORDINARY, 77, &[1], &mut wire);
    assert_eq!(receive(&mut receiver, &wire), [[1]], "a frame may begin with any number");
}

/// One damage to a stretch of bytes: a flipped bit, a lost byte, or a byte too much.
fn damage(prng: &mut Prng, bytes: &mut Vec<u8>) {
    let at = prng.range(0..=bytes.len() as u64 - 1) as usize;
    match prng.range(0..=2) {
        0 => bytes[at] ^= 1 << prng.range(0..=7),
        1 => drop(bytes.remove(at)),
        _ => bytes.insert(at, prng.next_u64() as u8),
    }
}

#[test]
fn noise_in_one_frame_costs_no_other() {
    for seed in 0..200 {
        let mut prng = Prng::new(seed);
        let mut sender = Line::new();
        let mut receiver = Line::new();
        let mut hit = Vec::new();
        for number in 0..50_u8 {
            let length = prng.range(1..=400);
            let mut frame = vec![number];
            frame.extend(random(&mut prng, length));
            let pressing = prng.chance(1, 2);
            assert!(sender.push(&frame, pressing));
            let mut wire = chunks(&mut sender).concat();
            let is_hit = prng.chance(1, 3);
            if is_hit {
                for _ in 0..prng.range(1..=4) {
                    damage(&mut prng, &mut wire);
                }
            }
            let mut frames = receive(&mut receiver, &wire);
            if is_hit {
                hit.push(frame);
            } else {
                assert_eq!(frames.pop(), Some(frame), "seed {seed}");
            }
            // One that lost its last zero only comes with the next.
            assert!(frames.iter().all(|frame| hit.contains(frame)), "seed {seed}");
        }
        let hit = hit.len() as u64;
        let counters = receiver.counters();
        assert!(counters.received >= 50 - hit && counters.received <= 50);
        let lost = 50 - counters.received;
        assert!(counters.noise + counters.torn >= lost, "seed {seed}: {lost} lost, {counters:?}");
    }
}

#[test]
fn no_bytes_make_a_frame_that_nobody_sent() {
    for seed in 0..100 {
        let mut prng = Prng::new(seed).child("mutations");
        let mut sender = Line::new();
        let mut sent = Vec::new();
        let mut wire = Vec::new();
        for number in 0..20 {
            let length = prng.range(1..=DATAGRAM_SIZE_MAX as u64);
            let frame = random(&mut prng, length);
            if sender.push(&frame, number % 2 == 0) {
                sent.push(frame);
            }
            for _ in 0..prng.range(0..=12) {
                sender.next_chunk(&mut wire);
            }
        }
        wire.extend(chunks(&mut sender).concat());
        for _ in 0..prng.range(1..=60) {
            damage(&mut prng, &mut wire);
        }
        // Another line's end, a second time the same, and pure noise.
        let from = prng.range(0..=wire.len() as u64 - 1) as usize;
        wire.extend_from_within(from..);
        wire.extend(random(&mut prng, 2_000));
        let mut receiver = Line::new();
        for frame in receive(&mut receiver, &wire) {
            assert!(sent.contains(&frame), "seed {seed}");
        }
        assert!(sender.push(b"and the line works", true));
        assert_eq!(receive(&mut receiver, &chunks(&mut sender).concat()), [b"and the line works"]);
    }
}
