//! Debian's kernel, unpacked and not installed.
//!
//! The cloud kernel is asked for: it is small and has what the scenarios need (virtio, bonding,
//! netem, softdog, LIO, iSCSI, clsact). The list of what each module needs is made as on an
//! installed machine, by depmod; the one of busybox will do.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::packages::{self, output};

/// The package that depends on the newest kernel for virtual machines.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// As `uname -r` says it.
    pub(crate) release: String,
    /// The program that is booted.
    pub(crate) image: PathBuf,
    /// Its modules: `lib/modules/RELEASE`.
    pub(crate) modules: PathBuf,
}

/// The kernel in this cache, downloaded if it is not there.
///
/// # Errors
/// When it cannot be downloaded or unpacked, with what apt said.
pub(crate) fn get(cache: &Path) -> Result<Kernel> {
    let tree = packages::get(cache, "kernel", || Ok(vec![package()?]), list_needs)?;
    find(&tree)
}

fn package() -> Result<String> {
    let words = output(Command::new("apt-cache").args(["depends", PACKAGE]))?;
    dependency(&words).with_context(|| {
        format!("{PACKAGE} is unknown here; `apt-get update` fetches the lists of packages")
    })
}

fn list_needs(tree: &Path) -> Result<()> {
    let release = find(tree)?.release;
    output(Command::new("busybox").arg("depmod").arg("-b").arg(tree).arg(release)).map(drop)
}

/// The kernel's package in the answer of `apt-cache depends`.
fn dependency(words: &str) -> Option<String> {
    let lines = words.lines().map(str::trim);
    let mut packages = lines.filter_map(|line| line.strip_prefix("Depends: "));
    packages.find(|name| name.starts_with("linux-image-")).map(str::to_owned)
}

fn find(tree: &Path) -> Result<Kernel> {
    let entries = fs::read_dir(tree.join("boot"))?.collect::<Result<Vec<_>, _>>()?;
    let names = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let release = names.filter_map(|name| name.strip_prefix("vmlinuz-").map(str::to_owned)).next();
    let release = release.with_context(|| format!("no kernel in {}", tree.display()))?;
    Ok(Kernel {
        image: tree.join("boot").join(format!("vmlinuz-{release}")),
        modules: tree.join("lib/modules").join(&release),
        release,
    })
}

impl Kernel {
    /// The files of these modules and of all that they need, relative to [`Self::modules`].
    ///
    /// # Errors
    /// When one is neither a module nor built in.
    pub(crate) fn closure(&self, names: &[&str]) -> Result<Vec<String>> {
        let read = |name: &str| {
            let path = self.modules.join(name);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        closure(&read("modules.dep")?, &read("modules.builtin")?, names)
    }
}

/// As [`Kernel::closure`], from the texts of `modules.dep` and `modules.builtin` (modules.dep(5)).
fn closure(needs: &str, built_in: &str, names: &[&str]) -> Result<Vec<String>> {
    let mut files: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for line in needs.lines() {
        let (file, others) =
            line.split_once(':').context("modules.dep has a line without colon")?;
        let all = [file].into_iter().chain(others.split_whitespace()).collect();
        files.insert(module_name(file), all);
    }
    let mut found: Vec<String> = Vec::new();
    for name in names {
        let Some(list) = files.get(&module_name(name)) else {
            let is_built_in = built_in.lines().any(|file| module_name(file) == module_name(name));
            ensure!(is_built_in, "this kernel has no module {name}");
            continue;
        };
        found.extend(list.iter().map(|file| (*file).to_owned()));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// `kernel/net/sched/sch_netem.ko` is `sch_netem`; `-` and `_` are the same in names of modules.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests;
