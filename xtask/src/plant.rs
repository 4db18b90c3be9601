//! Plants the faults of [`crate::canaries`] and lets the simulator look for them.
//!
//! The sources are copied to `target/canaries/tree`; a file is written only when it differs, so
//! that from one fault to the next cargo rebuilds what depends on two files. First the copy runs
//! without a fault: a simulator that complains anyway would find every canary.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

use crate::canaries::{CANARIES, Canary};
use crate::tree;

/// The simulator's exit code for a violated invariant.
const VIOLATION: i32 = 2;

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
        Found::Violation { seed } => {
            println!("a violation without any fault, seed {}: fix that first", show(seed));
            return Ok(ExitCode::FAILURE);
        }
    }
    println!("{:<20} {:>10}  {:<20} rule", "canary", "within", "seed");
    let mut missed = 0;
    for canary in chosen {
        nursery.plant(Some(canary))?;
        let found = match nursery.simulate(canary.seeds)? {
            Found::Violation { seed } => show(seed),
            Found::Nothing => {
                missed += 1;
                "NOT FOUND".into()
            }
        };
        println!("{:<20} {:>10}  {found:<20} {}", canary.name, canary.seeds, canary.rule);
    }
    if missed > 0 {
        println!("{missed} not found: the simulator is blind to these rules");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(seed: Option<u64>) -> String {
    seed.map_or_else(|| "not printed".into(), |seed| seed.to_string())
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

enum Found {
    Nothing,
    Violation { seed: Option<u64> },
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
        ensure!(cargo.status().context("run cargo")?.success(), "the copy does not build");
        let mut sim = Command::new(self.target.join("release/sim"));
        sim.args(["--first-seed", "1", "--seeds", &seeds.to_string()]).current_dir(&self.tree);
        let output = sim.output().context("run the simulator")?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        match output.status.code() {
            Some(0) => Ok(Found::Nothing),
            Some(VIOLATION) => Ok(Found::Violation { seed: seed(&text) }),
            _ => {
                let last: Vec<&str> = text.lines().rev().take(20).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                bail!("the simulator ended with {}:\n{}", output.status, last.join("\n"))
            }
        }
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
