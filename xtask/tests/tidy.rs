//! The tree keeps the rules of `xtask/src/tidy.rs`, and each rule can be broken.

use xtask::tidy;
use xtask::tree::{self, File};

fn check(rule: fn(&[File]) -> Vec<String>) {
    let files = tree::files(&tree::root()).expect("the tree can be read");
    assert!(files.len() > 40, "the tree was found: {} files", files.len());
    let wrong = rule(&files);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// What the rule says about one file.
fn on(rule: fn(&[File]) -> Vec<String>, path: &str, text: &str) -> Vec<String> {
    rule(&[File { path: path.into(), text: text.into() }])
}

#[test]
fn the_core_is_pure() {
    check(tidy::purity);
    let wrong = |text: &str| on(tidy::purity, "crates/group/src/lib.rs", text).len();
    assert_eq!(wrong("use std::net::UdpSocket;"), 1);
    assert_eq!(wrong("let x = std::time::Instant::now();"), 1);
    assert_eq!(wrong("let x = d.as_secs_f64();"), 1);
    assert_eq!(wrong("static X: u8 = 1;"), 1);
    assert_eq!(wrong("fn x() -> &'static str { \"f64\" } // no f64 here"), 0);
    assert_eq!(wrong("let buf32 = (f320, \"println\", 'a', b'\"');"), 0);
    assert_eq!(on(tidy::purity, "crates/os/src/lib.rs", "use std::fs;").len(), 0);
    assert_eq!(on(tidy::purity, "crates/group/src/tests.rs", "use std::fs;").len(), 0);
}

#[test]
fn no_file_is_too_long() {
    check(tidy::length);
    assert_eq!(on(tidy::length, "a.rs", &"\n".repeat(tidy::LINES_MAX)).len(), 0);
    assert_eq!(on(tidy::length, "a.rs", &"\n".repeat(tidy::LINES_MAX + 1)).len(), 1);
}

#[test]
fn nothing_is_unfinished() {
    check(tidy::unfinished);
    let word = ["TO", "DO"].concat();
    let wrong = |text: String| on(tidy::unfinished, "a.rs", &text).len();
    assert_eq!(wrong(format!("// {word}: later")), 1);
    assert_eq!(wrong(format!("// {word}(#12): later")), 0);
    assert_eq!(wrong(format!("{}();", ["to", "do!"].concat())), 1);
    assert_eq!(wrong(format!("{}]", ["#[ig", "nore"].concat())), 1);
    assert_eq!(on(tidy::unfinished, "a.md", &word).len(), 1);
}

#[test]
fn names_are_those_of_the_vocabulary() {
    check(tidy::names);
    let word = ["Hel", "per"].concat();
    assert_eq!(on(tidy::names, "a.rs", &format!("struct Start{word};")).len(), 1);
    assert_eq!(on(tidy::names, "a.rs", &format!("// a {word}")).len(), 0);
    assert_eq!(on(tidy::names, "a.rs", &format!("// a {}", ["sla", "ve"].concat())).len(), 1);
    let file = format!("crates/base/src/{}.rs", ["ut", "il"].concat());
    assert_eq!(on(tidy::names, &file, "").len(), 1);
}

#[test]
fn files_have_the_usual_shape() {
    check(tidy::shape);
    assert_eq!(on(tidy::shape, "a.rs", "use b;\n").len(), 1);
    assert_eq!(on(tidy::shape, "a.rs", "//! A.\n#[cfg(test)]\nmod tests;\n").len(), 0);
    assert_eq!(on(tidy::shape, "a.rs", "//! A.\n#[cfg(test)]\nmod tests {\n}\n").len(), 1);
}

#[test]
fn no_machine_is_named() {
    check(tidy::machine_paths);
    let path = ["see /ho", "me/somebody/x"].concat();
    assert_eq!(on(tidy::machine_paths, "a.md", &path).len(), 1);
}

#[test]
fn the_rust_version_is_stated_once() {
    check(tidy::rust_version);
    let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
    let root = file("Cargo.toml", "rust-version = \"1.90\"\n");
    let member = file("crates/a/Cargo.toml", "rust-version = \"1.91\"\n");
    let good = file("README.md", "needs Rust 1.90 or newer");
    let stale = file("README.md", "needs Rust 1.85.");
    assert_eq!(tidy::rust_version(&[root.clone(), good]), [""; 0]);
    assert_eq!(tidy::rust_version(&[root.clone(), stale]), ["README.md:1: Rust 1.85, not 1.90"]);
    assert_eq!(tidy::rust_version(&[root, member]).len(), 1);
}
