//! `cargo xtask vm`: real kernels that panic, lose their power, and are reset by a watchdog.
//!
//! The lab's machines are namespaces of one kernel, which is always well. Here each machine is a
//! process of QEMU in software emulation with Debian's own kernel, a first file system made of
//! busybox and the program under test, a disk, and two cards; no privilege, no KVM, and no network
//! of the machine that it runs on are needed. It takes minutes, so it is not part of `cargo test`.
//!
//! Reading order: `kernel` (where the kernel comes from), `image` and `cpio` (what is booted),
//! `machine` (a QEMU, with `console`, `arrivals`, `control` and `qmp`), `wire` and `outsider` (the
//! networks, and who asks from outside), `storage` (a shared disk, and what is written to it), `scene`
//! (a cluster of machines), `scenarios`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::clock;

mod arrivals;
mod console;
mod control;
mod cpio;
mod image;
mod kernel;
mod machine;
mod outsider;
mod packages;
mod patience;
mod qmp;
mod scenarios;
mod scene;
mod storage;
mod wire;

use image::Programs;
use kernel::Kernel;
use patience::Patience;
pub use scenarios::Scenario;

/// Where Debian has them; not in the PATH of users other than root.
const TC: &str = "/sbin/tc";
const FSCK: &str = "/sbin/fsck.ext4";
const BLKID: &str = "/sbin/blkid";

/// The programs that this needs, and the packages of Debian 12 that have them.
const NEEDED: [(&str, &str); 11] = [
    ("apt-get", "apt"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    (image::MKFS, "e2fsprogs"),
    (TC, "iproute2"),
    ("setpriv", "util-linux"),
    (BLKID, "util-linux"),
    ("mount", "mount"),
    ("strip", "binutils"),
    ("ldd", "libc-bin"),
    ("dpkg-deb", "dpkg"),
];

/// Programs that are only needed in the machines, with their libraries: to log in at an iSCSI target,
/// and to see persistent reservations with other eyes than ours.
const PACKAGES: [&str; 4] = ["open-iscsi", "libopeniscsiusr", "sg3-utils", "libsgutils2-1.46-2"];

/// What a scenario gets.
pub struct Bench {
    kernel: Kernel,
    image: PathBuf,
    /// For sockets, whose paths must be short.
    sockets: PathBuf,
    /// For what stays: consoles, configuration, disks.
    logs: PathBuf,
    patience: Patience,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// In the order given; all without any.
    pub scenarios: Vec<Scenario>,
    /// The program under test, if it shall not be built.
    pub program: Option<PathBuf>,
}

/// Reads the arguments after `vm`.
///
/// # Errors
/// When one is unknown.
pub fn wanted(arguments: &[&str]) -> Result<Wanted> {
    let mut wanted = Wanted { scenarios: Vec::new(), program: None };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if *argument == "--program" {
            let program = rest.next().context("--program needs a path")?;
            wanted.program = Some(PathBuf::from(program));
            continue;
        }
        let scenario = Scenario::named(argument).with_context(|| {
            let names = Scenario::ALL.map(Scenario::name).join(", ");
            format!("{argument} is unknown; there are {names}, --list and --program PATH")
        })?;
        wanted.scenarios.push(scenario);
    }
    if wanted.scenarios.is_empty() {
        wanted.scenarios.extend(Scenario::ALL);
    }
    Ok(wanted)
}

/// Prints the scenarios.
pub fn list() {
    for scenario in Scenario::ALL {
        println!("{:<12} {}", scenario.name(), scenario.text());
    }
}

/// Plays scenarios and prints a table.
///
/// # Errors
/// When a program is missing, something does not build, or the kernel cannot be had.
pub fn run(root: &Path, arguments: &[&str]) -> Result<ExitCode> {
    let wanted = wanted(arguments)?;
    ensure!(cfg!(target_arch = "x86_64"), "the machines are x86_64, and so is the program in them");
    let missing = missing();
    if !missing.is_empty() {
        bail!("not here: {}; apt-get install {0}", missing.join(" "));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| root.join("target"));
    let cache = std::path::absolute(target.join("vm"))?;
    let kernel = kernel::get(&cache)?;
    let program = match wanted.program {
        Some(program) => program,
        None => build(root, &target)?,
    };
    let image = cache.join("image.cpio");
    image::build(&kernel, &programs(&cache, program.clone())?, &image)?;
    say(&format!("Linux {}, {}", kernel.release, program.display()));
    let mut rows = Vec::new();
    for scenario in wanted.scenarios {
        let start = clock::now();
        let (outcome, logs) = play(scenario, &cache, &kernel, &image)?;
        rows.push(Row { scenario, outcome, logs, length: clock::now() - start });
    }
    print!("{}", table(&rows));
    let good = rows.iter().all(|row| row.outcome.is_ok());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the machines have besides the kernel.
fn programs(cache: &Path, program: PathBuf) -> Result<Programs> {
    let names = || Ok(PACKAGES.map(str::to_owned).to_vec());
    let packages = packages::get(cache, "packages", names, |_| Ok(()))?;
    let here = |name: &str| find(name).with_context(|| format!("{name} is not here"));
    let files = vec![
        ("bin/mainstay", program),
        ("bin/busybox", here("busybox")?),
        // The one of busybox does not know netem.
        ("sbin/tc", here(TC)?),
        ("sbin/mkfs.ext4", here(image::MKFS)?),
        ("sbin/fsck.ext4", here(FSCK)?),
        // Their options are those of util-linux, which the mount agent expects.
        ("sbin/blkid", here(BLKID)?),
        ("sbin/mount", here("mount")?),
        ("sbin/umount", here("umount")?),
        ("sbin/iscsistart", packages.join("sbin/iscsistart")),
        ("bin/sg_persist", packages.join("usr/bin/sg_persist")),
    ];
    Ok(Programs { files, packages })
}

/// One scenario and what came of it.
struct Row {
    scenario: Scenario,
    outcome: Result<Vec<String>>,
    logs: PathBuf,
    length: Duration,
}

/// What came of a scenario, and where its logs are.
type Played = (Result<Vec<String>>, PathBuf);

fn play(scenario: Scenario, cache: &Path, kernel: &Kernel, image: &Path) -> Result<Played> {
    let logs = cache.join(scenario.name());
    if logs.exists() {
        fs::remove_dir_all(&logs)?;
    }
    fs::create_dir_all(&logs).with_context(|| format!("make {}", logs.display()))?;
    let sockets = std::env::temp_dir().join(format!("mainstay-vm-{}", std::process::id()));
    fs::create_dir_all(&sockets).with_context(|| format!("make {}", sockets.display()))?;
    let bench = Bench {
        kernel: kernel.clone(),
        image: image.to_owned(),
        sockets: sockets.clone(),
        logs: logs.clone(),
        patience: Patience::new(scenario.name()),
    };
    say(&format!("{}: {}", scenario.name(), scenario.text()));
    let outcome = scenario.play(&bench);
    fs::remove_dir_all(&sockets)?;
    match &outcome {
        Ok(said) => said.iter().for_each(|line| say(&format!("{}: {line}", scenario.name()))),
        Err(error) => say(&format!("{}: FAILED: {error:#}", scenario.name())),
    }
    Ok((outcome, logs))
}

fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let verdict = if row.outcome.is_ok() { "good" } else { "FAILED" };
        let (name, seconds) = (row.scenario.name(), row.length.as_secs());
        text += &format!("{name:<12} {verdict:<6} {seconds:>4} s  logs: {}\n", row.logs.display());
        match &row.outcome {
            Ok(said) => said.iter().for_each(|line| text += &format!("    {line}\n")),
            Err(error) => text += &format!("    {}\n", error.root_cause()),
        }
    }
    text
}

/// Says what happens, to who is watching.
fn say(text: &str) {
    eprintln!("vm: {text}");
}

/// The packages that have to be installed first.
fn missing() -> Vec<&'static str> {
    let needed = NEEDED.into_iter();
    needed.filter(|(program, _)| find(program).is_none()).map(|(_, package)| package).collect()
}

/// Where a program is.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A path of its own replaces the directory.
    let mut places = std::env::split_paths(&path).map(|directory| directory.join(program));
    places.find(|place| place.is_file())
}

/// Builds the program as it ships.
fn build(root: &Path, target: &Path) -> Result<PathBuf> {
    say("building the program");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked", "-p", "mainstay"]).current_dir(root);
    ensure!(cargo.status().context("run cargo build")?.success(), "the program cannot be built");
    Ok(target.join("release/mainstay"))
}
