//! `cargo xtask package`: a Debian package of the program, its unit, its pages and its links.
//!
//! What goes where is decided here and nowhere else; `dpkg-deb`, which every Debian has, makes the
//! archive (deb(5), deb-control(5)). Installing it starts nothing: a machine without a configuration
//! is no member of anything.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

/// Builds the program, optimised, and packs it.
///
/// # Errors
/// What could not be built or written.
pub fn run(root: &Path, directory: &Path) -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "-p", "mainstay"]).current_dir(root);
    ensure!(cargo.status().context("run cargo build")?.success(), "the program cannot be built");
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let program = target.unwrap_or_else(|| root.join("target")).join("release/mainstay");
    let package = pack(root, &program, directory)?;
    println!("{}", package.display());
    Ok(ExitCode::SUCCESS)
}

/// Packs a program that is there.
///
/// # Errors
/// What could not be read or written, and what `dpkg-deb` or the program said.
pub fn pack(root: &Path, program: &Path, directory: &Path) -> Result<PathBuf> {
    let version = words(Command::new(program).arg("--version"))?;
    let version = version.split_whitespace().last().context("it has a version")?.to_owned();
    let architecture = words(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    let name = format!("mainstay_{version}_{architecture}");
    let tree = directory.join(&name);
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let place = |path: &str| -> Result<PathBuf> {
        let place = tree.join(path);
        let parent = place.parent().context("it is below the tree")?;
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        Ok(place)
    };
    let binary = place("usr/bin/mainstay")?;
    fs::copy(program, &binary).with_context(|| format!("copy {}", program.display()))?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    for face in words(Command::new(program).arg("faces"))?.lines() {
        symlink("mainstay", place(&format!("usr/bin/{face}"))?)?;
    }
    for unit in ["mainstay.service", "mainstay-witness.service"] {
        let name = format!("lib/systemd/system/{unit}");
        fs::copy(root.join("packaging").join(unit), place(&name)?)?;
    }
    let pages = place("usr/share/man/man1/mainstay.1")?;
    let pages = pages.parent().context("it has a directory")?;
    words(Command::new(program).arg("man").arg(pages))?;
    let completions = words(Command::new(program).args(["completions", "bash"]))?;
    fs::write(place("usr/share/bash-completion/completions/mainstay")?, completions)?;
    for document in ["README.md", "CHANGELOG.md", "docs/reference", "docs/tutorial.md"] {
        let mut copy = Command::new("cp");
        copy.arg("-r")
            .arg(root.join(document))
            .arg(place("usr/share/doc/mainstay/x")?.with_file_name(""));
        words(&mut copy)?;
    }
    let control = format!(
        "Package: mainstay\nVersion: {version}\nArchitecture: {architecture}\n\
         Maintainer: the Mainstay developers <mainstay@localhost>\n\
         Section: admin\nPriority: optional\nDepends: libc6 (>= 2.36)\n\
         Description: high-availability cluster manager\n \
         Keeps services and their addresses running on a handful of machines, and never\n \
         lets two of them own one service at the same time.\n"
    );
    fs::write(place("DEBIAN/control")?, control)?;
    let package = directory.join(format!("{name}.deb"));
    words(
        Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&package),
    )?;
    fs::remove_dir_all(&tree)?;
    Ok(package)
}

/// What a command prints.
fn words(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed: {}", said.trim());
    String::from_utf8(output.stdout).with_context(|| format!("read what {name} says"))
}
