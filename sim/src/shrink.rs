//! Makes a failing run smaller: fewer kinds of faults, fewer faults, while it still breaks a rule.
//!
//! Each attempt is a process of its own, so that a run that ends in a failed assertion (which ends
//! the process) can be made smaller as well.

use std::process::{Command, Stdio};

use crate::fault::Kind;
use crate::setup::{Options, Setup};

/// Attempts at most.
const ATTEMPTS_MAX: usize = 160;

/// The arguments that repeat a run.
#[must_use]
pub fn arguments(seed: u64, options: &Options) -> Vec<String> {
    let (low, high) = (options.nodes.start(), options.nodes.end());
    let mut arguments =
        vec!["--first-seed".to_owned(), seed.to_string(), "--seeds".to_owned(), "1".to_owned()];
    if (*low, *high) != (2, 7) {
        arguments.extend(["--nodes".to_owned(), format!("{low}..{high}")]);
    }
    let without: Vec<&str> = options.without.kinds().map(Kind::name).collect();
    if !without.is_empty() {
        arguments.extend(["--without".to_owned(), without.join(",")]);
    }
    if let Some(only) = &options.only {
        let only: Vec<String> = only.iter().map(ToString::to_string).collect();
        let only = if only.is_empty() { "none".to_owned() } else { only.join(",") };
        arguments.extend(["--only".to_owned(), only]);
    }
    arguments
}

/// Whether a run with these options fails, with this exit code.
fn fails(seed: u64, options: &Options, code: i32) -> bool {
    let Ok(program) = std::env::current_exe() else { return false };
    let status = Command::new(program)
        .args(arguments(seed, options))
        .arg("--no-shrink")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.code() == Some(code))
}

/// Leaves out whatever the failure does not need.
#[must_use]
pub fn shrink(seed: u64, options: &Options, code: i32) -> Options {
    let mut best = options.clone();
    let mut attempts = 0;
    let mut still_fails = |candidate: &Options| {
        attempts += 1;
        attempts <= ATTEMPTS_MAX && fails(seed, candidate, code)
    };
    let mix = Setup::draw(seed, &best).mix;
    for kind in mix.kinds() {
        let candidate = Options { without: best.without.with(kind), ..best.clone() };
        if still_fails(&candidate) {
            best = candidate;
        }
    }
    // Halves first, then one by one.
    let count = Setup::draw(seed, &Options { only: None, ..best.clone() }).faults.len();
    let mut only: Vec<usize> = match &best.only {
        Some(only) => only.clone(),
        None => (0..count).collect(),
    };
    let mut size = only.len().div_ceil(2).max(1);
    while !only.is_empty() {
        let mut start = 0;
        while start < only.len() {
            let mut fewer = only.clone();
            fewer.drain(start..(start + size).min(only.len()));
            let candidate = Options { only: Some(fewer.clone()), ..best.clone() };
            if still_fails(&candidate) {
                only = fewer;
                best = candidate;
            } else {
                start += size;
            }
        }
        if size == 1 {
            break;
        }
        size = size.div_ceil(2);
    }
    best
}
