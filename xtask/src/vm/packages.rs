//! Debian's packages, unpacked and not installed.
//!
//! They are downloaded by apt, which checks their signatures, and unpacked into a directory each of
//! the cache below the target directory, where they stay; delete it to get newer ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::say;

/// The directory with these packages in it, downloaded if it is not there.
///
/// `finish` is run once in the complete tree.
///
/// # Errors
/// When they cannot be downloaded or unpacked, with what apt said.
pub(crate) fn get(
    cache: &Path,
    name: &str,
    packages: impl FnOnce() -> Result<Vec<String>>,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let tree = cache.join(name);
    if !tree.exists() {
        let partial = cache.join(format!("{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir_all(&partial).with_context(|| format!("make {}", partial.display()))?;
        for package in packages()? {
            unpack(&partial, &package)?;
        }
        finish(&partial)?;
        // Last, so that what was interrupted is not taken for complete.
        fs::rename(&partial, &tree)?;
    }
    Ok(tree)
}

fn unpack(tree: &Path, package: &str) -> Result<()> {
    say(&format!("downloading {package}"));
    let archive = tree.join("archive");
    fs::create_dir(&archive)?;
    let mut download = Command::new("apt-get");
    output(download.args(["download", package]).current_dir(&archive)).with_context(|| {
        format!("get {package}; `apt-get update` fetches the lists of packages")
    })?;
    let files = fs::read_dir(&archive)?.collect::<Result<Vec<_>, _>>()?;
    let [file] = &files[..] else { bail!("apt-get download left not one file") };
    output(Command::new("dpkg-deb").arg("-x").arg(file.path()).arg(tree))?;
    Ok(fs::remove_dir_all(&archive)?)
}

/// What a program prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{name} failed: {}", said.trim());
    String::from_utf8(output.stdout).with_context(|| format!("read what {name} says"))
}
