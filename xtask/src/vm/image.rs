//! The first file system of a machine, and its own disk.
//!
//! All machines boot the same archive: busybox, the program under test with its libraries, the
//! kernel's modules, and `init`. What differs between them, their configuration and what they
//! remember, is on a disk of each (ext4, made by `mkfs.ext4 -d`, which needs no privilege), with a
//! script `machine.sh` that `init` runs last.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::cpio::Archive;
use super::kernel::Kernel;
use super::packages::output;

/// What runs first in a machine.
const INIT: &str = include_str!("init.sh");

/// The modules that some scenario needs, by name; what they need comes along.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "sch_ingress",
    "cls_bpf",
    "sch_netem",
    "bonding",
    "softdog",
    "target_core_mod",
    "target_core_file",
    "iscsi_target_mod",
    "iscsi_tcp",
    "sd_mod",
];

/// Size of a machine's own disk.
const DISK: u64 = 64 << 20;

/// What goes into the archive besides the kernel's modules.
pub(crate) struct Programs {
    /// Where each goes, and from where it comes.
    pub(crate) files: Vec<(&'static str, PathBuf)>,
    /// Packages whose libraries come before those of this machine.
    pub(crate) packages: PathBuf,
}

/// Makes the archive.
///
/// # Errors
/// When something that goes into it cannot be read.
pub(crate) fn build(kernel: &Kernel, programs: &Programs, to: &Path) -> Result<()> {
    let mut archive = Archive::default();
    for directory in ["dev", "proc", "sys", "run", "tmp", "disk", "mnt", "etc/mainstay", "var"] {
        archive.directory(directory);
    }
    archive.device("dev/console", 0o600, (5, 1));
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/:/bin/sh\n");
    archive.file("etc/group", 0o644, b"root:x:0:\n");
    archive.file("etc/hosts", 0o644, b"127.0.0.1 localhost\n");
    archive.symlink("bin/sh", "busybox");
    // Where the kernel asks for its modules: kernel.modprobe.
    archive.symlink("sbin/modprobe", "../bin/busybox");
    let mut needed = BTreeSet::new();
    for (place, program) in &programs.files {
        archive.file(place, 0o755, &stripped(program, &to.with_extension("stripped"))?);
        needed.extend(libraries(program, &programs.packages)?);
    }
    for library in needed {
        // Those of the packages go where the loader looks.
        let place = library.strip_prefix(&programs.packages).unwrap_or(&library);
        let place = place.to_str().context("a library's path is not text")?;
        archive.file(place.trim_start_matches('/'), 0o755, &read(&library)?);
    }
    let modules = format!("lib/modules/{}", kernel.release);
    for list in ["modules.dep", "modules.alias", "modules.builtin"] {
        archive.file(&format!("{modules}/{list}"), 0o644, &read(&kernel.modules.join(list))?);
    }
    for file in kernel.closure(MODULES)? {
        archive.file(&format!("{modules}/{file}"), 0o644, &read(&kernel.modules.join(&file))?);
    }
    fs::write(to, archive.finish()).with_context(|| format!("write {}", to.display()))
}

/// A file of a machine's disk: path below its root, permissions, content.
pub(crate) type DiskFile = (String, u32, String);

/// Makes the disk of a machine with these files.
///
/// # Errors
/// When it cannot be made, with what mkfs.ext4 said.
pub(crate) fn disk(to: &Path, files: &[DiskFile]) -> Result<()> {
    let tree = to.with_extension("tree");
    for (path, permissions, content) in files {
        let place = tree.join(path);
        let parent = place.parent().context("it is below the tree")?;
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        fs::write(&place, content).with_context(|| format!("write {}", place.display()))?;
        fs::set_permissions(&place, fs::Permissions::from_mode(*permissions))?;
    }
    fs::create_dir_all(tree.join("var"))?;
    let file = fs::File::create(to).with_context(|| format!("make {}", to.display()))?;
    file.set_len(DISK).with_context(|| format!("make {}", to.display()))?;
    let mut command = Command::new(MKFS);
    command.args(["-q", "-F", "-d"]).arg(&tree).arg(to);
    output(&mut command)?;
    fs::remove_dir_all(&tree)?;
    Ok(())
}

/// Where Debian has it; users other than root do not have that directory in their PATH.
pub(crate) const MKFS: &str = "/sbin/mkfs.ext4";

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// The program without its symbols, which are most of it and would be copied into each machine.
fn stripped(program: &Path, to: &Path) -> Result<Vec<u8>> {
    output(Command::new("strip").arg("-o").arg(to).arg(program))?;
    read(to)
}

/// The libraries that a program is loaded with, the loader included; none when it is static.
fn libraries(program: &Path, packages: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut ldd = Command::new("ldd");
    ldd.arg(program).env("LC_ALL", "C");
    ldd.env("LD_LIBRARY_PATH", packages.join("usr/lib/x86_64-linux-gnu"));
    let output = ldd.output().context("run ldd")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("not a dynamic executable") {
        return Ok(BTreeSet::new());
    }
    ensure!(output.status.success(), "ldd {}: {}", program.display(), said.trim());
    let text = String::from_utf8(output.stdout).context("read what ldd says")?;
    let absent = text.lines().find(|line| line.contains("not found"));
    ensure!(absent.is_none(), "{}: {}", program.display(), absent.unwrap_or_default().trim());
    let found = loaded(&text);
    ensure!(!found.is_empty(), "ldd names no library of {}", program.display());
    Ok(found)
}

/// The paths in what ldd prints: `libm.so.6 => /lib/libm.so.6 (0x…)`, or the loader's path alone.
fn loaded(text: &str) -> BTreeSet<PathBuf> {
    let words = text.lines().flat_map(str::split_whitespace);
    words.filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests;
