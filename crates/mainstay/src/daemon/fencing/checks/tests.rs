//! What is said of agents that do not answer, with agents that are shell scripts.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

fn script(directory: &Path, level: u8, text: &str) -> Fence {
    let file = directory.join(format!("fence_{level}"));
    crate::testing::write_program(&file, &format!("#!/bin/sh\n{text}\n"));
    Fence {
        node: NodeId(2),
        level,
        agent: file.display().to_string(),
        timeout: Duration::from_secs(30),
        options: BTreeMap::new(),
    }
}

fn asked(fences: &[Fence]) -> v1::FenceVerified {
    let (_stops, stopped): (Vec<_>, Vec<_>) = fences.iter().map(|_| channel()).unzip();
    let checks = check_all(fences, stopped, "n2", None);
    let ok = checks.iter().all(|check| check.ok);
    v1::FenceVerified { at_ms: 5_000, ok, checks, ..v1::FenceVerified::default() }
}

#[test]
fn one_that_answers_and_then_refuses_is_said_by_name_with_what_is_left() {
    let directory = tempfile::tempdir().expect("a directory");
    let word = directory.path().join("word");
    let text = format!("test -e {} || {{ echo no login >&2; exit 1; }}; exit 0", word.display());
    let fences = [script(directory.path(), 1, &text), script(directory.path(), 2, "exit 0")];
    std::fs::write(&word, "").expect("it can be written");
    let good = asked(&fences);
    assert_eq!((good.ok, good_level(&good), trouble("n2", &good)), (true, Some(1), None));
    assert_eq!(record("n2", &good, false).agents.len(), 2);

    std::fs::remove_file(&word).expect("it was there");
    let mut bad = asked(&fences);
    let said = trouble("n2", &bad).expect("one does not answer");
    assert_eq!(
        said,
        "fence agent fence_1 (level 1) of n2 has never answered (exit code 1: no login): n2 can be \
         fenced from here by level 2 only"
    );
    bad.good_at_ms = Some(5_000);
    let said = trouble("n2", &bad).expect("one does not answer");
    assert!(said.contains("has not answered since 1970-01-01T00:00:05Z"), "{said}");
    let record = record("n2", &bad, true);
    assert_eq!((record.level, record.agents.len(), record.ok), (1, 1, false));

    let mut worse = asked(&[fences[0].clone()]);
    worse.checks.push(v1::FenceCheck { level: 1, ..v1::FenceCheck::default() });
    let said = trouble("n2", &worse).expect("none answers");
    assert!(said.contains("(level 1) and 1 more of n2"), "{said}");
    assert!(said.ends_with("n2 cannot be fenced from here"), "{said}");
}

#[test]
fn a_check_that_is_given_up_ends_its_agents() {
    let directory = tempfile::tempdir().expect("a directory");
    let fence = script(directory.path(), 1, "sleep 300");
    let (stop, stopped) = channel();
    drop(stop);
    let found = check_all(&[fence], vec![stopped], "n2", None);
    let error = found[0].error.as_deref().expect("it was stopped");
    assert!(error.starts_with("was stopped"), "{error}");
}
