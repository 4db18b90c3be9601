//! Everything that has to hold before a change goes in, and the simulator.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::licences;

/// Format, lints, tests, fuzz targets that still build, licences; stops at the first that fails.
///
/// # Errors
/// When a step cannot be started.
pub fn run(root: &Path) -> Result<ExitCode> {
    let steps: [(&str, &[&str]); 5] = [
        ("format", &["fmt", "--all", "--", "--check"]),
        ("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
        ("tests", &["test", "--workspace", "--locked"]),
        ("documents", &["doc", "--workspace", "--locked", "--no-deps", "--quiet"]),
        // With the main target folder, so that what both workspaces use is built once.
        (
            "fuzz targets",
            &["check", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target"],
        ),
    ];
    for (name, arguments) in steps {
        println!("== {name}: cargo {}", arguments.join(" "));
        let mut cargo = Command::new("cargo");
        cargo.args(arguments).current_dir(root).env("RUSTDOCFLAGS", "-D warnings");
        if !cargo.status().with_context(|| format!("run cargo {name}"))?.success() {
            println!("== {name} failed");
            return Ok(ExitCode::FAILURE);
        }
    }
    println!("== licences");
    licences::run(root)
}

/// Runs the simulator with these arguments; its exit code is ours.
///
/// # Errors
/// When it cannot be started or was ended by a signal.
pub fn simulate(root: &Path, arguments: &[&str]) -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--release", "--package", "sim", "--"]).args(arguments);
    let status = cargo.current_dir(root).status().context("run cargo")?;
    let code = status.code().context("the simulator was ended by a signal")?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
