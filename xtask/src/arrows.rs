//! Who may depend on whom.
//!
//! ```text
//!  mainstay ──► everything but sim, models, xtask
//!  sim ───────► node and what it is made of
//!  xtask ─────► lab
//!  node ──────► transport  group  engine  network
//!                   └────────┴──────┴────────┴───► base ◄── os
//! ```
//!
//! The layers below `node` do not know each other, so each can be understood, tested and simulated
//! alone; `sim` can reach no system call because nothing that it uses can. A new arrow is a commit
//! of its own, with ARCHITECTURE.md.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

const CORE: &[&str] = &["transport", "group", "engine", "network"];

/// The crates of this workspace that each of them may use.
pub const ARROWS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("transport", &["base"]),
    ("group", &["base"]),
    ("engine", &["base"]),
    ("network", &["base"]),
    ("os", &["base"]),
    ("node", &["base", "transport", "group", "engine", "network"]),
    ("api", &[]),
    ("mainstay", &["base", "transport", "group", "engine", "network", "node", "os", "api", "lab"]),
    ("sim", &["base", "transport", "group", "engine", "network", "node"]),
    ("lab", &["api"]),
    ("models", &[]),
    ("xtask", &["lab"]),
];

/// What the pure crates may use from outside: nothing that can reach the kernel.
pub const OUTSIDE: &[(&str, &[&str])] = &[
    ("base", &["minicbor"]),
    // ring reaches the kernel for random numbers only, which are handed in instead.
    ("transport", &["minicbor", "ring"]),
    ("group", &["minicbor"]),
    ("engine", &["minicbor"]),
    ("network", &[]),
    ("node", &["minicbor"]),
];

/// A crate's manifest, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The package's name.
    pub name: String,
    /// What it needs to be built or to run.
    pub uses: Vec<String>,
    /// What its tests need besides.
    pub uses_in_tests: Vec<String>,
}

/// Reads the manifest of a crate.
///
/// # Errors
/// When it is no manifest.
pub fn manifest(text: &str) -> Result<Manifest> {
    let table: toml::Table = text.parse().context("not TOML")?;
    let name = table.get("package").and_then(|package| package.get("name")?.as_str());
    let name = name.context("no package name")?.to_owned();
    let mut sections = vec![&table];
    if let Some(targets) = table.get("target").and_then(toml::Value::as_table) {
        sections.extend(targets.values().filter_map(toml::Value::as_table));
    }
    let names = |kind: &str| -> Vec<String> {
        let tables = sections.iter().filter_map(|section| section.get(kind)?.as_table());
        let dependencies = tables.flatten();
        dependencies
            .map(|(key, value)| {
                // `alias = { package = "real" }`
                let real = value.get("package").and_then(toml::Value::as_str);
                real.unwrap_or(key).to_owned()
            })
            .collect()
    };
    let mut uses = names("dependencies");
    uses.extend(names("build-dependencies"));
    Ok(Manifest { name, uses, uses_in_tests: names("dev-dependencies") })
}

/// The manifests of all members of the workspace.
///
/// # Errors
/// When one cannot be read.
pub fn manifests(root: &Path) -> Result<Vec<Manifest>> {
    let mut found = Vec::new();
    for path in crate::tree::paths(root)? {
        let is_member = path.ends_with("/Cargo.toml") && !path.starts_with("fuzz/");
        if is_member {
            let text = std::fs::read_to_string(root.join(&path))?;
            found.push(manifest(&text).with_context(|| path.clone())?);
        }
    }
    Ok(found)
}

/// A sentence for each arrow that is not in the tables.
#[must_use]
pub fn check(manifests: &[Manifest]) -> Vec<String> {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let outside: BTreeMap<&str, &[&str]> = OUTSIDE.iter().copied().collect();
    let mut wrong = Vec::new();
    for manifest in manifests {
        let name = manifest.name.as_str();
        let Some(allowed) = arrows.get(name) else {
            wrong.push(format!("{name} is not in the table ARROWS"));
            continue;
        };
        for used in &manifest.uses {
            let used = used.as_str();
            if arrows.contains_key(used) {
                if !allowed.contains(&used) {
                    wrong.push(format!("{name} must not use {used}"));
                }
            } else if outside.get(name).is_some_and(|allowed| !allowed.contains(&used)) {
                wrong
                    .push(format!("{name} must stay pure and so must not use {used} from outside"));
            }
        }
        for used in &manifest.uses_in_tests {
            let used = used.as_str();
            // A layer's tests must not need its neighbours either, or it cannot be tested alone.
            if arrows.contains_key(used) && !allowed.contains(&used) {
                wrong.push(format!("the tests of {name} must not use {used}"));
            }
        }
    }
    for name in arrows.keys() {
        if !manifests.iter().any(|manifest| manifest.name == *name) {
            wrong.push(format!("{name} is in the table ARROWS and not in the workspace"));
        }
    }
    wrong
}

/// The crates that must not reach clock, kernel or chance.
#[must_use]
pub fn is_pure(name: &str) -> bool {
    name == "base" || name == "node" || CORE.contains(&name)
}
