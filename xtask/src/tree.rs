//! Which files belong to the project.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask is a folder of the workspace").to_owned()
}

/// A text file of the project.
#[derive(Clone, Debug)]
pub struct File {
    /// Relative to the root, with `/`.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// Paths, relative to `root`, of all files that git tracks or would track. Without git (a source
/// archive) all files outside the folders that builds write to.
///
/// # Errors
/// When the folder cannot be read.
pub fn paths(root: &Path) -> Result<Vec<String>> {
    let mut paths = if root.join(".git").exists() { tracked(root)? } else { walk(root)? };
    // A file that is deleted but not yet committed is still listed.
    paths.retain(|path| root.join(path).is_file());
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// All files that are text.
///
/// # Errors
/// When a file cannot be read.
pub fn files(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for path in paths(root)? {
        let bytes = fs::read(root.join(&path)).with_context(|| format!("read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path, text });
        }
    }
    Ok(files)
}

fn tracked(root: &Path) -> Result<Vec<String>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(root).output();
    let output = output.context("run git ls-files")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    Ok(text.split_terminator('\0').map(String::from).collect())
}

pub(crate) fn walk(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()));
        for entry in entries? {
            let path = entry?.path();
            let relative = path.strip_prefix(root).expect("found below the root");
            let relative = relative.to_str().context("a file name is not UTF-8")?;
            if path.is_symlink() || BUILT.contains(&relative) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(relative.to_owned());
            }
        }
    }
    Ok(found)
}

/// What `.gitignore` names.
const BUILT: [&str; 5] = ["target", "fuzz/target", "fuzz/corpus", "fuzz/artifacts", ".git"];
