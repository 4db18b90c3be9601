//! What is remembered across restarts.

use api::v1::FenceCheck;

use super::*;

fn record(node: &str) -> FenceRecord {
    FenceRecord { node: node.to_owned(), ok: node == "n1", ..FenceRecord::default() }
}

#[test]
fn records_are_numbered_bounded_and_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut memory, trouble) = Memory::open(directory.path().join("f.json")).expect("a thread");
    assert_eq!(trouble, None, "a file that is not there is no trouble");
    for _ in 0..RECORDS_MAX {
        memory.record(record("n2"));
    }
    memory.record(record("n1"));
    assert_eq!(memory.records().len(), RECORDS_MAX);
    assert_eq!(memory.records().first().map(|record| record.id), Some(2));
    assert_eq!(memory.counts(), (1, RECORDS_MAX as u64 - 1));
}

#[test]
fn what_was_done_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("f.json");
    let mut content = Content { records: vec![record("n1")], ..Content::default() };
    let verified = FenceVerified { at_ms: 1_000, ok: true, ..FenceVerified::default() };
    content.verified.insert("n2".to_owned(), verified);
    replace(&file, &content).expect("it can be written");
    let (mut memory, trouble) = Memory::open(file).expect("a thread");
    assert_eq!(trouble, None);
    assert_eq!(memory.records(), [record("n1")]);
    assert_eq!(
        memory.verified("n2", 5_000).map(|seen| (seen.ok, seen.age_ms)),
        Some((true, 4_000))
    );
    memory.keep(|node| node != "n2");
    assert_eq!(memory.verified("n2", 5_000), None);
}

#[test]
fn a_file_that_makes_no_sense_is_said_and_begun_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("f.json");
    std::fs::write(&file, "{").expect("it can be written");
    let (memory, trouble) = Memory::open(file).expect("a thread");
    assert!(memory.records().is_empty());
    assert!(trouble.is_some_and(|said| said.contains("f.json")));
}

#[test]
fn a_check_is_news_when_another_agent_answers_and_counts_as_no_act() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut memory, _) = Memory::open(directory.path().join("f.json")).expect("a thread");
    let found = |at_ms, ok| FenceVerified {
        at_ms,
        ok,
        checks: vec![FenceCheck { level: 1, ok, ..FenceCheck::default() }],
        ..FenceVerified::default()
    };
    let mut verify = |at, ok| {
        let (kept, is_news) = memory.verify("n2", found(at, ok));
        (kept.good_at_ms, is_news)
    };
    assert_eq!(verify(1, false), (None, true), "never answered");
    assert_eq!(verify(2, true), (Some(2), true));
    assert_eq!(verify(3, true), (Some(3), false));
    assert_eq!(verify(4, false), (Some(3), true));
    assert_eq!(verify(5, false), (Some(3), false));
    memory.record(FenceRecord { verb: "off".into(), ..record("n2") });
    memory.record(FenceRecord { verb: VERIFY.into(), ..record("n2") });
    assert_eq!(memory.counts(), (0, 1));
    assert_eq!(memory.last_act("n2").map(|record| record.id), Some(1));
}
