//! The program's fuzz targets over mutations: of the examples in `tests/config`, and of valid messages.

#[expect(unreachable_pub, reason = "the same file is a module of the fuzz crate")]
#[path = "../../../fuzz/src/config.rs"]
mod config;
#[expect(unreachable_pub, reason = "the same file is a module of the fuzz crate")]
#[path = "../../../fuzz/src/program.rs"]
mod program;

use std::path::Path;

use base::Prng;

/// Mutations of each example.
const MUTATIONS: u64 = 200;
/// Mutations of each message.
const OF_MESSAGES: u64 = 2_000;

#[test]
fn no_text_makes_the_reader_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut examples: Vec<_> = std::fs::read_dir(folder)
        .expect("the examples are there")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    examples.sort();
    let examples: Vec<Vec<u8>> =
        examples.iter().map(|path| std::fs::read(path).expect("an example")).collect();
    assert!(!examples.is_empty());
    for (number, whole) in examples.iter().enumerate() {
        config::config_parse(whole);
        let mut prng = Prng::new(number as u64).child("config");
        for _ in 0..MUTATIONS {
            let mut text = whole.clone();
            for _ in 0..prng.range(1..=3) {
                mutate(&mut prng, &mut text, &examples);
            }
            config::config_parse(&text);
        }
    }
}

/// One change: what a slip of the hand does, or half of another file.
fn mutate(prng: &mut Prng, text: &mut Vec<u8>, examples: &[Vec<u8>]) {
    if text.is_empty() {
        text.push(b'[');
        return;
    }
    let at = prng.range(0..=text.len() as u64 - 1) as usize;
    let end = (at + prng.range(1..=20) as usize).min(text.len());
    match prng.range(0..=5) {
        0 => text.truncate(at),
        1 => drop(text.drain(at..end)),
        2 => {
            let copy = text[at..end].to_vec();
            text.splice(at..at, copy);
        }
        3 => text[at] = b"[]{}=\"'\n,.-09\xc3 "[prng.range(0..=14) as usize],
        4 => {
            let other = &examples[prng.range(0..=examples.len() as u64 - 1) as usize];
            let from = prng.range(0..=other.len() as u64) as usize;
            text.truncate(at);
            text.extend_from_slice(&other[from..]);
        }
        _ => text[at] = prng.next_u64() as u8,
    }
}

#[test]
fn no_message_upsets_discovery_tests_of_paths_or_arbiters() {
    type Target = (fn(&[u8]), fn() -> Vec<Vec<u8>>);
    let targets: [Target; 3] = [
        (program::arbiter, program::arbiter_golden),
        (program::discover, program::discover_golden),
        (program::probe, program::probe_golden),
    ];
    for (target, golden) in targets {
        for (number, whole) in golden().iter().enumerate() {
            target(whole);
            let mut prng = Prng::new(number as u64).child("messages");
            for _ in 0..OF_MESSAGES {
                let mut bytes = whole.clone();
                for _ in 0..prng.range(1..=3) {
                    let at = prng.range(0..=bytes.len() as u64 - 1) as usize;
                    match prng.range(0..=3) {
                        0 => bytes.truncate(at.max(1)),
                        1 => bytes.extend_from_within(at..),
                        2 => bytes[at] ^= 1 << prng.range(0..=7),
                        _ => bytes[at] = prng.next_u64() as u8,
                    }
                }
                target(&bytes);
            }
        }
        target(&[]);
    }
}
