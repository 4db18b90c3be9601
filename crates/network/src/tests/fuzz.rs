//! Bytes from outside and orders of events that nobody thought of, from fixed seeds.

use base::Prng;

use super::{ADDRESS, MAC, Node, OTHER_MAC, arp_reply, ip};
use crate::wire::{announcement, decode, probe};
use crate::{Input, Output};

fn golden() -> Vec<Vec<u8>> {
    vec![
        announcement(OTHER_MAC, ip(ADDRESS)),
        probe(OTHER_MAC, ip(ADDRESS)),
        arp_reply(OTHER_MAC, ADDRESS, MAC, "10.77.0.1"),
        announcement(OTHER_MAC, ip("fd00::100")),
        probe(OTHER_MAC, ip("fd00::100")),
    ]
}

fn mutate(prng: &mut Prng, frame: &mut Vec<u8>) {
    for _ in 0..prng.range(1..=4) {
        let at = prng.range(0..=frame.len().max(1) as u64 - 1) as usize;
        match prng.range(0..=4) {
            0 => frame.truncate(at),
            1 => frame.extend_from_within(at..),
            2 if !frame.is_empty() => frame[at] ^= 1 << prng.range(0..=7),
            3 if !frame.is_empty() => frame[at] = prng.next_u64() as u8,
            _ => frame.insert(at.min(frame.len()), prng.next_u64() as u8),
        }
    }
}

#[test]
fn no_frame_makes_the_decoder_panic() {
    let mut prng = Prng::new(1);
    let mut understood = 0;
    for _ in 0..40_000 {
        for mut frame in golden() {
            mutate(&mut prng, &mut frame);
            understood += u32::from(matches!(decode(&frame), Ok(Some(_))));
        }
    }
    assert!(understood > 1_000, "mutations that go through reach deeper: {understood}");
}

/// Whatever happens in whatever order: no panic, no endless waking, and in the end what was
/// released is not on any interface.
#[test]
fn any_order_of_events_ends_clean() {
    for seed in 0..1_500 {
        let mut prng = Prng::new(seed);
        let mut node = Node::blind();
        let addresses = [ADDRESS, "fd00::100", "10.77.0.101", "192.168.3.3"];
        let mut answers = 0;
        let mut asked = 0;
        for _ in 0..60 {
            let address = addresses[prng.range(0..=3) as usize];
            let outputs = match prng.range(0..=12) {
                0 | 1 => {
                    asked += 1;
                    let deadline =
                        node.now + core::time::Duration::from_millis(prng.range(0..=400));
                    node.claim_until(address, deadline)
                }
                2 => {
                    asked += 1;
                    node.release(address)
                }
                3 | 4 => node.picture(),
                5 => {
                    let mut frame = golden().swap_remove(prng.range(0..=4) as usize);
                    if prng.chance(1, 2) {
                        mutate(&mut prng, &mut frame);
                    }
                    node.hears(frame)
                }
                6 | 7 if !node.asked.is_empty() => match prng.range(0..=9) {
                    0 => node.refuse(crate::Failure::NotNow("put off".to_owned())),
                    1 | 2 => node.done(Err("refused")),
                    _ => node.done(Ok(())),
                },
                8 => {
                    node.vanish(address);
                    node.picture()
                }
                9 => {
                    node.interfaces[0].carrier ^= true;
                    node.picture()
                }
                10 => {
                    let lease = if prng.chance(1, 3) { 0 } else { prng.range(0..=3_000) };
                    node.network.set_lease(node.now + core::time::Duration::from_millis(lease));
                    node.feed(Input::Heal { interface: 1 })
                }
                11 => {
                    let service = "web".into();
                    node.feed(Input::Adopt { service, address: ip(address) })
                }
                _ => {
                    let time = prng.range(0..=1_500);
                    node.pass(time).into_iter().map(|(_, output)| output).collect()
                }
            };
            answers += count_answers(&outputs);
        }
        for address in addresses {
            asked += 1;
            answers += count_answers(&node.release(address));
        }
        answers += count_answers(&node.picture());
        while !node.asked.is_empty() {
            answers += count_answers(&node.done(Ok(())));
        }
        let passed = node.pass(5_000);
        answers += count_answers(&passed.into_iter().map(|(_, o)| o).collect::<Vec<_>>());
        while !node.asked.is_empty() {
            node.done(Ok(()));
        }
        assert_eq!(answers, asked, "seed {seed}: each claim and release is answered once");
        let status = node.network.status();
        assert_eq!(status.addresses, [], "seed {seed}");
        assert_eq!(node.network.deadline(), None, "seed {seed}");
        let left = node.interfaces[0].addresses.iter().map(|seen| seen.address);
        assert_eq!(left.collect::<Vec<_>>(), [ip("10.77.0.1"), ip("fd00::1")], "seed {seed}");
    }
}

fn count_answers(outputs: &[Output]) -> u32 {
    let is_answer = |output: &&Output| {
        matches!(
            output,
            Output::Claimed { .. }
                | Output::NotNow { .. }
                | Output::Failed { .. }
                | Output::Released { .. }
        )
    };
    outputs.iter().filter(is_answer).count() as u32
}
