use super::{Found, copy, mutate, seed};
use crate::canaries::{CANARIES, Canary, Shows};

const CANARY: Canary = Canary {
    name: "test",
    file: "src/a.rs",
    original: "a < b",
    mutated: "a > b",
    rule: "a is less than b",
    shows: Shows::Unsafe,
    seeds: 1,
};

#[test]
fn a_fault_is_planted_where_the_original_stands_once() {
    let text = "if a < b { c }";
    assert_eq!(mutate(text, &CANARY).expect("it stands there once"), "if a > b { c }");
}

#[test]
fn a_fault_without_a_place_or_with_two_is_refused() {
    let error = mutate("if a <= b {}", &CANARY).expect_err("it stands nowhere");
    assert_eq!(error.to_string(), "canary test: src/a.rs does not contain \"a < b\" any more");
    let error = mutate("a < b || a < b", &CANARY).expect_err("it stands there twice");
    assert!(error.to_string().ends_with("2 times"), "{error}");
    let same = Canary { mutated: CANARY.original, ..CANARY };
    let error = mutate("a < b", &same).expect_err("nothing would change");
    assert_eq!(error.to_string(), "canary test changes nothing");
}

#[test]
fn every_canary_still_has_its_place() {
    for canary in CANARIES {
        let path = crate::tree::root().join(canary.file);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("canary {}: {}: {error}", canary.name, canary.file));
        mutate(&text, canary).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn names_are_unique() {
    for (n, canary) in CANARIES.iter().enumerate() {
        assert!(CANARIES[..n].iter().all(|before| before.name != canary.name), "{}", canary.name);
    }
}

#[test]
fn the_copy_follows_the_sources_and_keeps_what_is_equal() {
    let root = tempfile::tempdir().expect("a folder");
    let copies = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    };
    let read = |path: &str| std::fs::read_to_string(copies.path().join(path)).ok();
    let changed = |path: &str| {
        let metadata = std::fs::metadata(copies.path().join(path)).expect("a file");
        metadata.modified().expect("a time")
    };
    write("src/a.rs", "a < b");
    write("src/b.rs", "b");
    write("target/big", "not a source");
    copy(root.path(), copies.path(), Some(&CANARY)).expect("copied");
    assert_eq!(read("src/a.rs").as_deref(), Some("a > b"));
    assert_eq!(read("src/b.rs").as_deref(), Some("b"));
    assert_eq!(read("target/big"), None);
    let before = changed("src/b.rs");
    std::fs::remove_file(root.path().join("src/a.rs")).expect("removed");
    write("src/c.rs", "c");
    copy(root.path(), copies.path(), None).expect("copied");
    assert_eq!(read("src/a.rs"), None);
    assert_eq!(read("src/c.rs").as_deref(), Some("c"));
    assert_eq!(changed("src/b.rs"), before, "it was not written again");
    let error = copy(root.path(), copies.path(), Some(&CANARY)).expect_err("no such file");
    assert_eq!(error.to_string(), "canary test: there is no file src/a.rs");
}

#[test]
fn the_seed_is_read_from_what_the_simulator_prints() {
    assert_eq!(seed("violation in seed 17: two owners"), Some(17));
    assert_eq!(seed("replay with: cargo xtask sim --first-seed 9 --seeds 1"), Some(9));
    assert_eq!(seed("ran 100 seeds, all well"), None);
}

#[test]
fn exit_codes_tell_how_a_fault_shows() {
    let found = |code| Found::read(code, "seed 7: broken").expect("the simulator ran");
    assert!(!found(Some(0)).is_as(Shows::Unsafe) && !found(Some(0)).is_as(Shows::Stuck));
    for code in [1, 2] {
        assert!(found(Some(code)).is_as(Shows::Unsafe) && !found(Some(code)).is_as(Shows::Stuck));
    }
    assert!(found(Some(3)).is_as(Shows::Stuck) && !found(Some(3)).is_as(Shows::Unsafe));
    assert_eq!(found(Some(2)).to_string(), "violation, seed 7");
    assert_eq!(Found::read(Some(64), "usage"), None, "it did not start");
    assert_eq!(Found::read(None, "seed 7"), None, "a signal ended it");
    assert_eq!(Found::read(Some(1), "error: no such thing"), None, "it failed before any seed");
}
