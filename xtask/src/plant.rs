//! Plants the faults of [`crate::canaries`] and lets the simulator look for them.
//!
//! The sources are copied to `target/canaries/tree`; a file is written only when it differs, so
//! that from one fault to the next cargo rebuilds what depends on two files. First the copy runs
//! without a fault: a simulator that complains anyway would find every canary.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::canaries::{CANARIES, Canary, Shows};
use crate::tree;

/// The simulator's exit codes.
const CRASHED: i32 = 1;
const UNSAFE: i32 = 2;
const STUCK: i32 = 3;

/// Prints the table.
pub fn list() {
    for canary in CANARIES {
        println!("{:<20} {} ({} seeds)", canary.name, canary.rule, canary.seeds);
    }
}

/// Plants the named faults, or all, one at a time.
///
/// # Errors
/// When a name is unknown, a fault cannot be planted, or the simulator does not build or run.
pub fn run(root: &Path, names: &[&str]) -> Result<ExitCode> {
    let chosen = choose(names)?;
    let nursery = Nursery::new(root)?;
    let seeds = chosen.iter().map(|canary| canary.seeds).max().unwrap_or(0);
    println!("without a fault, {seeds} seeds …");
    nursery.plant(None)?;
    match nursery.simulate(seeds)? {
        Found::Nothing => {}
        found => {
            println!("without any fault {found}: mend that first");
            return Ok(ExitCode::FAILURE);
        }
    }
    println!("{:<22} {:>8}  {:<28} rule", "canary", "within", "found");
    let mut missed = 0;
    for canary in chosen {
        nursery.plant(Some(canary))?;
        let found = nursery.simulate(canary.seeds)?;
        let (name, within, rule) = (canary.name, canary.seeds, canary.rule);
        let mark = if found.is_as(canary.shows) { "" } else { "NOT FOUND: " };
        missed += usize::from(!found.is_as(canary.shows));
        println!("{name:<22} {within:>8}  {:<28} {rule}", format!("{mark}{found}"));
    }
    if missed > 0 {
        println!("{missed} not found: the simulator is blind to these rules");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn choose(names: &[&str]) -> Result<Vec<&'static Canary>> {
    if names.is_empty() {
        return Ok(CANARIES.iter().collect());
    }
    let find = |name: &&str| {
        let canary = CANARIES.iter().find(|canary| canary.name == *name);
        canary.with_context(|| format!("no canary {name}; `canaries --list` prints them"))
    };
    names.iter().map(find).collect()
}

/// The text with the fault in it.
///
/// # Errors
/// When the original does not stand in the text exactly once, or nothing would change.
pub fn mutate(text: &str, canary: &Canary) -> Result<String> {
    let Canary { name, file, original, mutated, .. } = canary;
    ensure!(original != mutated, "canary {name} changes nothing");
    match text.matches(original).count() {
        1 => Ok(text.replace(original, mutated)),
        0 => bail!("canary {name}: {file} does not contain {original:?} any more"),
        count => bail!("canary {name}: {file} contains {original:?} {count} times"),
    }
}

/// Where the copies grow up.
struct Nursery {
    root: PathBuf,
    tree: PathBuf,
    target: PathBuf,
}

/// What the simulator reported; the seed if it printed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    Crash(Option<u64>),
    Violation(Option<u64>),
    Stuck(Option<u64>),
}

impl Found {
    /// What an exit code and the text before it mean; none when the simulator did not get so far.
    fn read(code: Option<i32>, text: &str) -> Option<Found> {
        match code? {
            0 => Some(Found::Nothing),
            CRASHED => seed(text).map(|seed| Found::Crash(Some(seed))),
            UNSAFE => Some(Found::Violation(seed(text))),
            STUCK => Some(Found::Stuck(seed(text))),
            _ => None,
        }
    }

    /// An assertion that fails is a rule of safety that was checked on the spot.
    fn is_as(self, shows: Shows) -> bool {
        match self {
            Found::Nothing => false,
            Found::Crash(_) | Found::Violation(_) => shows == Shows::Unsafe,
            Found::Stuck(_) => shows == Shows::Stuck,
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, seed) = match self {
            Found::Nothing => return f.write_str("nothing"),
            Found::Crash(seed) => ("failed assertion", seed),
            Found::Violation(seed) => ("violation", seed),
            Found::Stuck(seed) => ("no return", seed),
        };
        match seed {
            Some(seed) => write!(f, "{what}, seed {seed}"),
            None => write!(f, "{what}, seed not printed"),
        }
    }
}

impl Nursery {
    fn new(root: &Path) -> Result<Nursery> {
        let home = root.join("target/canaries");
        let (tree, target) = (home.join("tree"), home.join("target"));
        fs::create_dir_all(&tree).with_context(|| format!("create {}", tree.display()))?;
        Ok(Nursery { root: root.to_owned(), tree, target })
    }

    /// Makes the copy equal to the sources, but for the fault.
    fn plant(&self, canary: Option<&Canary>) -> Result<()> {
        copy(&self.root, &self.tree, canary)
    }

    fn simulate(&self, seeds: u64) -> Result<Found> {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--quiet", "--release", "--locked", "--package", "sim"]);
        cargo.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        // Built often and run briefly: the optimiser's last touches cost more than they give.
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");
        cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        ensure!(cargo.status().context("run cargo")?.success(), "the copy does not build");
        let mut sim = Command::new(self.target.join("release/sim"));
        sim.args(["--no-shrink", "--first-seed", "1", "--seeds", &seeds.to_string()]);
        sim.current_dir(&self.tree);
        let output = sim.output().context("run the simulator")?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Found::read(output.status.code(), &text).with_context(|| {
            let last: Vec<&str> = text.lines().rev().take(20).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            format!("the simulator ended with {}:\n{}", output.status, last.join("\n"))
        })
    }
}

/// The first seed that the simulator names: `seed 17`, `--seed 17`, `--first-seed 17`.
fn seed(text: &str) -> Option<u64> {
    let mut words = text.split(|c: char| c.is_whitespace() || matches!(c, ':' | '=' | ',' | '.'));
    while let Some(word) = words.next() {
        if matches!(word, "seed" | "--seed" | "--first-seed")
            && let Some(seed) = words.next().and_then(|word| word.parse().ok())
        {
            return Some(seed);
        }
    }
    None
}

/// Copies the project's files from `root` to `tree` with a fault in one of them. Files that are
/// equal already are not touched; files that are no more are removed.
///
/// # Errors
/// When a file cannot be read or written, or the fault not be planted.
pub fn copy(root: &Path, tree: &Path, canary: Option<&Canary>) -> Result<()> {
    let paths = tree::paths(root)?;
    if let Some(canary) = canary {
        let known = paths.iter().any(|path| path == canary.file);
        ensure!(known, "canary {}: there is no file {}", canary.name, canary.file);
    }
    for path in &paths {
        let mut bytes = fs::read(root.join(path)).with_context(|| format!("read {path}"))?;
        if let Some(canary) = canary.filter(|canary| canary.file == path) {
            let text = String::from_utf8(bytes).with_context(|| path.clone())?;
            bytes = mutate(&text, canary)?.into_bytes();
        }
        let copy = tree.join(path);
        if fs::read(&copy).is_ok_and(|there| there == bytes) {
            continue;
        }
        let folder = copy.parent().expect("a file is in a folder");
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        fs::write(&copy, bytes).with_context(|| format!("write {}", copy.display()))?;
    }
    let wanted: BTreeSet<String> = paths.into_iter().collect();
    for path in tree::walk(tree)? {
        if !wanted.contains(&path) {
            fs::remove_file(tree.join(&path)).with_context(|| format!("remove {path}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
