//! Rules on text that no compiler checks. Each is a function from files to sentences; the tests of
//! this crate run them over the whole tree.

use crate::arrows;
use crate::source::{self, Layers};
use crate::tree::File;

/// A file longer than this has more than one subject.
pub const LINES_MAX: usize = 800;

/// What must not be written anywhere. A `|` keeps the words out of this file.
fn unsplit(word: &str) -> String {
    word.replace('|', "")
}

/// What the pure crates must not name: each has one lawful counterpart.
const IMPURE: &[(&str, &str)] = &[
    ("std::net", "addresses are in core::net, sockets in os"),
    ("std::fs", "files belong to os and the program"),
    ("std::env", "what varies is an argument"),
    ("std::process", "processes belong to os"),
    ("std::io", "the core reads and writes slices"),
    ("std::time::Instant", "time is an argument: base::Instant"),
    ("SystemTime", "time is an argument: base::Instant"),
    ("thread", "the driver has the threads"),
    ("thread_local", "there are no globals"),
    ("static", "there are no globals"),
    ("async", "state machines are polled"),
    ("await", "state machines are polled"),
    ("println", "outputs are values"),
    ("eprintln", "outputs are values"),
    ("dbg", "outputs are values"),
    ("HashMap", "iteration order is random; BTreeMap"),
    ("HashSet", "iteration order is random; BTreeSet"),
    ("RandomState", "chance is an argument: base::Prng"),
    ("f32", "integers and Duration"),
    ("f64", "integers and Duration"),
];

/// Parts of names that say nothing or something wrong (docs: the vocabulary).
const BANNED_NAMES: &[&str] =
    &["mas|ter", "sla|ve", "hel|per", "hel|pers", "ut|il", "ut|ils", "man|ager", "sto|nith", "vip"];

/// Names that others chose.
const FOREIGN_NAMES: &[&str] = &["hyper_ut|il"];

/// Words that must not stand in comments either.
const BANNED_WORDS: &[&str] = &["mas|ter", "sla|ve", "sto|nith"];

/// Folders of somebody's machine.
const MACHINE_PATHS: &[&str] = &["/wo|rk/", "/ho|me/", "/Us|ers/", "/ro|ot/", "/tm|p/t-"];

/// The pure crates name nothing that reaches the kernel, the clock, chance or floats.
#[must_use]
pub fn purity(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| is_rust(file) && !is_test(file)) {
        let name = file.path.strip_prefix("crates/").and_then(|path| path.split('/').next());
        if !name.is_some_and(arrows::is_pure) {
            continue;
        }
        for (number, line) in lines(&source::layers(&file.text).code) {
            for (word, instead) in IMPURE {
                // `'static` is a lifetime.
                if has_word(line, word) && !(*word == "static" && line.contains("'static")) {
                    wrong.push(format!("{}:{number}: {word}: {instead}", file.path));
                }
            }
        }
    }
    wrong
}

/// No file of code is too long.
#[must_use]
pub fn length(files: &[File]) -> Vec<String> {
    let long = |file: &&File| is_rust(file) && file.text.lines().count() > LINES_MAX;
    files
        .iter()
        .filter(long)
        .map(|file| format!("{}: more than {LINES_MAX} lines", file.path))
        .collect()
}

/// Nothing is left for later without an issue that says so, and no test is switched off.
#[must_use]
pub fn unfinished(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        let layers = source::layers(&file.text);
        let prose = if is_rust(file) { &layers.comments } else { &file.text };
        for (number, line) in lines(prose) {
            for word in ["TO|DO", "FIX|ME", "XX|X"].map(unsplit) {
                if has_word(line, &word) && !names_issue(line) {
                    wrong.push(format!("{}:{number}: {word} without an issue", file.path));
                }
            }
        }
        if is_rust(file) {
            for (number, line) in lines(&layers.code) {
                for word in ["to|do!", "unimple|mented!", "#[ig|nore"].map(unsplit) {
                    if line.contains(&word) {
                        wrong.push(format!("{}:{number}: {word}", file.path));
                    }
                }
            }
        }
    }
    wrong
}

/// Names say what things are.
#[must_use]
pub fn names(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    let names: Vec<String> = BANNED_NAMES.iter().map(|word| unsplit(word)).collect();
    let words: Vec<String> = BANNED_WORDS.iter().map(|word| unsplit(word)).collect();
    let foreign: Vec<String> = FOREIGN_NAMES.iter().map(|word| unsplit(word)).collect();
    for file in files.iter().filter(|file| is_rust(file)) {
        for part in source::words(&file.path).flat_map(source::parts) {
            if names.contains(&part) {
                wrong.push(format!("{}: a file is not called {part}", file.path));
            }
        }
        let Layers { code, comments } = source::layers(&file.text);
        // What is imported was named elsewhere.
        for (number, line) in lines(&code).filter(|(_, line)| !line.starts_with("use ")) {
            let own = source::words(line).filter(|word| !foreign.iter().any(|name| name == word));
            for part in own.flat_map(source::parts) {
                if names.contains(&part) {
                    wrong.push(format!("{}:{number}: {part} in a name", file.path));
                }
            }
        }
        for (number, line) in lines(&comments) {
            for word in source::words(line).map(str::to_lowercase) {
                if words.contains(&word) {
                    wrong.push(format!("{}:{number}: {word}", file.path));
                }
            }
        }
    }
    wrong
}

/// A file begins by saying what it is for, and has its tests in another file.
#[must_use]
pub fn shape(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| is_rust(file)) {
        let first = file.text.lines().find(|line| !line.is_empty() && !line.starts_with("#!["));
        if !is_test(file) && !first.is_some_and(|line| line.starts_with("//!")) {
            wrong.push(format!("{}: does not begin with what it is for (//!)", file.path));
        }
        let code = source::layers(&file.text).code;
        let lines: Vec<&str> = code.lines().collect();
        for (at, pair) in lines.windows(2).enumerate() {
            let module = pair[1].trim().trim_start_matches("pub(crate) ");
            let is_inline = module.starts_with("mod ") && module.ends_with('{');
            if pair[0].trim() == "#[cfg(test)]" && is_inline {
                wrong.push(format!("{}:{}: tests have a file of their own", file.path, at + 2));
            }
        }
    }
    wrong
}

/// Nothing refers to the machine that it was written on.
#[must_use]
pub fn machine_paths(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    let paths: Vec<String> = MACHINE_PATHS.iter().map(|path| unsplit(path)).collect();
    for file in files.iter().filter(|file| !file.path.ends_with(".lock")) {
        for (number, line) in file.text.lines().enumerate() {
            for path in &paths {
                if line.contains(path.as_str()) {
                    wrong.push(format!("{}:{}: {path}", file.path, number + 1));
                }
            }
        }
    }
    wrong
}

/// The least Rust version stands in one manifest, and documents that name one name the same.
#[must_use]
pub fn rust_version(files: &[File]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut stated = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".toml")) {
        for (number, line) in lines(&file.text) {
            let line = line.trim();
            for key in ["rust-version =", "msrv =", "channel ="] {
                if let Some(version) = line.strip_prefix(key) {
                    let version = version.trim().trim_matches('"').to_owned();
                    stated.push((format!("{}:{number}", file.path), version));
                }
            }
        }
    }
    match &stated[..] {
        [(place, version)] if place.starts_with("Cargo.toml:") => {
            for file in files.iter().filter(|file| file.path.ends_with(".md")) {
                for (number, line) in lines(&file.text) {
                    for named in versions(line) {
                        if named != *version {
                            let path = &file.path;
                            wrong.push(format!("{path}:{number}: Rust {named}, not {version}"));
                        }
                    }
                }
            }
        }
        _ => wrong.push(format!("stated not once in Cargo.toml, but: {stated:?}")),
    }
    wrong
}

/// "Rust 1.90" in a line of prose.
fn versions(line: &str) -> impl Iterator<Item = String> {
    line.match_indices("Rust 1.").map(|(at, found)| {
        let digits = line[at + found.len()..].chars().take_while(char::is_ascii_digit);
        format!("1.{}", digits.collect::<String>())
    })
}

fn is_rust(file: &File) -> bool {
    file.path.ends_with(".rs")
}

fn is_test(file: &File) -> bool {
    let path = &file.path;
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.contains("/benches/")
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

/// Whether the word stands in the line, not as a part of a longer one; `as_secs_f64` ends in `f64`.
fn has_word(line: &str, word: &str) -> bool {
    let may_follow_underscore = word == "f32" || word == "f64";
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        let starts = before.is_none_or(|c| !joins(c) || (may_follow_underscore && c == '_'));
        starts && after.is_none_or(|c| !joins(c))
    })
}

fn names_issue(line: &str) -> bool {
    line.match_indices('#').any(|(at, _)| line[at + 1..].starts_with(|c: char| c.is_ascii_digit()))
}
