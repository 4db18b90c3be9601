//! Licences and sources of everything that is locked, against `deny.toml`, offline.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Checks all locked packages and prints what is wrong.
///
/// # Errors
/// When cargo or the files cannot be read.
pub fn run(root: &Path) -> Result<ExitCode> {
    let rules = Rules::read(&std::fs::read_to_string(root.join("deny.toml"))?)?;
    let packages = packages(root)?;
    let wrong = check(&packages, &rules)?;
    for sentence in &wrong {
        println!("{sentence}");
    }
    println!("{} packages, {} refused", packages.len(), wrong.len());
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A package from outside.
#[derive(Clone, Debug)]
pub struct Package {
    /// Name and version.
    pub name: String,
    /// An SPDX expression.
    pub licence: Option<String>,
    /// The registry or repository.
    pub source: String,
}

/// What `deny.toml` says, as far as it is checked here.
#[derive(Clone, Debug)]
pub struct Rules {
    licences: BTreeSet<String>,
    registries: BTreeSet<String>,
}

impl Rules {
    /// Reads `deny.toml`.
    ///
    /// # Errors
    /// When a list is missing.
    pub fn read(text: &str) -> Result<Rules> {
        let table: toml::Table = text.parse().context("deny.toml is not TOML")?;
        let list = |section: &str, key: &str| -> Result<BTreeSet<String>> {
            let list = table.get(section).and_then(|section| section.get(key)?.as_array());
            let list = list.with_context(|| format!("deny.toml has no [{section}] {key}"))?;
            Ok(list.iter().filter_map(toml::Value::as_str).map(String::from).collect())
        };
        Ok(Rules {
            licences: list("licenses", "allow")?,
            registries: list("sources", "allow-registry")?,
        })
    }
}

/// A sentence for each package that is refused.
///
/// # Errors
/// When a licence expression makes no sense.
pub fn check(packages: &[Package], rules: &Rules) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for Package { name, licence, source } in packages {
        let registry = source.strip_prefix("registry+");
        if !registry.is_some_and(|registry| rules.registries.contains(registry)) {
            wrong.push(format!("{name}: comes from {source}"));
        }
        match licence {
            None => wrong.push(format!("{name}: states no licence")),
            Some(text) => {
                let fits = is_allowed(text, &rules.licences).with_context(|| name.clone())?;
                if !fits {
                    wrong.push(format!("{name}: licence {text} is not in deny.toml"));
                }
            }
        }
    }
    Ok(wrong)
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    let metadata = || {
        let arguments = ["metadata", "--format-version", "1", "--locked", "--offline"];
        Command::new(cargo()).args(arguments).current_dir(root).output().context("run cargo")
    };
    let mut output = metadata()?;
    if !output.status.success() {
        // Packages for other systems are locked too, and a build does not download them.
        let fetched = Command::new(cargo()).args(["fetch", "--locked"]).current_dir(root).status();
        if !fetched.context("run cargo")?.success() {
            bail!("not all locked packages are here, and they cannot be fetched");
        }
        output = metadata()?;
    }
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let text = |package: &Value, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    // Packages without a source are of this workspace.
    let outside = packages.iter().filter_map(|package| {
        let source = text(package, "source")?;
        let name = format!("{} {}", text(package, "name")?, text(package, "version")?);
        Some(Package { name, licence: text(package, "license"), source })
    });
    Ok(outside.collect())
}

fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

/// Whether an SPDX expression can be met with allowed licences. `/` is an old way to write `OR`.
///
/// # Errors
/// When it is not an expression.
pub fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> Result<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut parser = Parser { words: spaced.split_whitespace().collect(), at: 0, allowed };
    let fits = parser.any()?;
    match parser.next() {
        None => Ok(fits),
        Some(word) => bail!("licence {expression}: unexpected {word}"),
    }
}

struct Parser<'a> {
    words: Vec<&'a str>,
    at: usize,
    allowed: &'a BTreeSet<String>,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at).copied();
        self.at += 1;
        word
    }

    fn follows(&mut self, word: &str) -> bool {
        let follows = self.words.get(self.at) == Some(&word);
        self.at += usize::from(follows);
        follows
    }

    fn any(&mut self) -> Result<bool> {
        let mut fits = self.all()?;
        while self.follows("OR") {
            fits |= self.all()?;
        }
        Ok(fits)
    }

    fn all(&mut self) -> Result<bool> {
        let mut fits = self.one()?;
        while self.follows("AND") {
            fits &= self.one()?;
        }
        Ok(fits)
    }

    fn one(&mut self) -> Result<bool> {
        match self.next() {
            Some("(") => {
                let fits = self.any()?;
                if !self.follows(")") {
                    bail!("a parenthesis is not closed");
                }
                Ok(fits)
            }
            None | Some(")" | "OR" | "AND" | "WITH") => bail!("a licence is missing"),
            Some(licence) if self.follows("WITH") => {
                let exception = self.next().context("an exception is missing")?;
                Ok(self.allowed.contains(&format!("{licence} WITH {exception}")))
            }
            Some(licence) => Ok(self.allowed.contains(licence)),
        }
    }
}
