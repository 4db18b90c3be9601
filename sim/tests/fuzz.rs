//! The fuzz targets over mutations of valid bytes, from fixed seeds: what every `cargo test` can
//! afford. `cargo fuzz` looks deeper, with the same targets.

#[expect(unreachable_pub, reason = "the same file is a module of the fuzz crate")]
#[path = "../../fuzz/src/targets.rs"]
mod targets;

use base::Prng;

/// Mutations of each valid input.
const MUTATIONS: u64 = 1_000;

#[test]
fn no_bytes_from_outside_make_a_layer_panic() {
    for (name, target, golden) in targets::TARGETS {
        let golden = golden();
        assert!(!golden.is_empty(), "{name} starts from something");
        for (number, whole) in golden.iter().enumerate() {
            target(whole);
            let mut prng = Prng::new(number as u64).child(name);
            for _ in 0..MUTATIONS {
                let mut bytes = whole.clone();
                for _ in 0..prng.range(1..=3) {
                    mutate(&mut prng, &mut bytes, &golden);
                }
                target(&bytes);
            }
        }
        target(&[]);
    }
}

/// One change: a bit, a byte, a cut, a repetition, a byte more, or a part of another input.
fn mutate(prng: &mut Prng, bytes: &mut Vec<u8>, golden: &[Vec<u8>]) {
    if bytes.is_empty() {
        bytes.push(prng.next_u64() as u8);
        return;
    }
    let at = prng.range(0..=bytes.len() as u64 - 1) as usize;
    match prng.range(0..=6) {
        0 => bytes.truncate(at),
        1 => bytes.extend_from_within(at..),
        2 => bytes.insert(at, prng.next_u64() as u8),
        3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, 0x1b, 0x9f, 0xbf][prng.range(0..=7) as usize],
        4 => bytes[at] ^= 1 << prng.range(0..=7),
        5 => {
            let other = &golden[prng.range(0..=golden.len() as u64 - 1) as usize];
            let from = prng.range(0..=other.len() as u64) as usize;
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => bytes[at] = prng.next_u64() as u8,
    }
}
