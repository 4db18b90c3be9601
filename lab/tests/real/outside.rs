//! Outside of all namespaces: starts each case in a process of its own and looks what stays behind.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use lab::{clock, wait};

use crate::cases;

/// `nobody`: an ordinary user that every system has.
const ORDINARY: u32 = 65534;
/// A case that is skipped ends with this status.
pub(crate) const SKIPPED: i32 = 77;

/// No process has this number.
const NOBODY: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    Ours,
    Ordinary,
}

pub(crate) fn names() -> Vec<String> {
    let own = ["nothing_stays_after_the_end", "nothing_stays_after_kill_9"];
    let inside = cases::ALL.iter().map(|(name, _)| *name);
    inside.chain(own).map(str::to_owned).collect()
}

/// A copy of this program that every user can execute, removed at the end.
struct Copy(PathBuf);

impl Copy {
    fn make() -> Self {
        let path = std::env::temp_dir().join(format!("lab-test-{}", std::process::id()));
        fs::copy(std::env::current_exe().expect("our own program"), &path).expect("copying it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        Self(path)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        fs::remove_file(&self.0).expect("removing the copy");
    }
}

fn command(copy: &Copy, user: User, case: &str) -> Command {
    let mut command = match user {
        User::Ours => Command::new(std::env::current_exe().expect("our own program")),
        User::Ordinary => {
            let mut command = Command::new(&copy.0);
            command.uid(ORDINARY).gid(ORDINARY).current_dir("/");
            command
        }
    };
    command.args(["case", case]).stdin(Stdio::null());
    command
}

pub(crate) fn run_all(filter: Option<&str>) -> ExitCode {
    let copy = Copy::make();
    let mut users = vec![(User::Ours, "")];
    if rustix::process::geteuid().is_root() {
        users.push((User::Ordinary, " as an ordinary user"));
    }
    let mut failed = Vec::new();
    let mut count = 0;
    for (user, suffix) in users {
        // It is long, and no different for another user.
        let long = |name: &str| user == User::Ordinary && name.starts_with("stopped_daemons");
        for name in names()
            .iter()
            .filter(|name| !long(name))
            .filter(|name| filter.is_none_or(|part| name.contains(part)))
        {
            count += 1;
            let start = clock::now();
            let outcome = match name.as_str() {
                "nothing_stays_after_the_end" => nothing_stays(&copy, user, false),
                "nothing_stays_after_kill_9" => nothing_stays(&copy, user, true),
                case => run_case(command(&copy, user, case)),
            };
            let time = clock::milliseconds(clock::now() - start);
            match outcome {
                Ok(true) => println!("test {name}{suffix} ... ok ({time:.0} ms)"),
                Ok(false) => println!("test {name}{suffix} ... skipped, see above"),
                Err(text) => {
                    println!("test {name}{suffix} ... FAILED ({time:.0} ms)\n{text}");
                    failed.push(format!("{name}{suffix}"));
                }
            }
        }
    }
    drop(copy);
    println!("\n{count} cases, {} failed {}", failed.len(), failed.join(", "));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_case(mut command: Command) -> Result<bool, String> {
    let output = command.output().map_err(|error| format!("cannot be started: {error}"))?;
    let said =
        || [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat();
    match output.status.code() {
        Some(0) => {
            if std::env::var_os("LAB_TALK").is_some() {
                print!("{}", said());
            }
            Ok(true)
        }
        Some(SKIPPED) => {
            print!("{}", said());
            Ok(false)
        }
        _ => Err(format!("{}\n{}", output.status, said())),
    }
}

/// What could stay behind, as lists of names.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Traces {
    processes: BTreeSet<String>,
    namespaces: BTreeSet<String>,
    mounts: Vec<String>,
    groups: BTreeSet<String>,
    files: BTreeSet<String>,
}

impl Traces {
    /// `pid`: the outermost process, in the name of its control group.
    fn look(started: &[String], pid: u32) -> Self {
        let list = |path: &str| -> Vec<PathBuf> {
            let entries = fs::read_dir(path).map(|list| list.flatten().map(|entry| entry.path()));
            entries.map(Iterator::collect).unwrap_or_default()
        };
        let (mut processes, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
        for path in list("/proc") {
            let command = fs::read(path.join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if started.iter().any(|program| command.starts_with(program.as_str()))
                && path != Path::new(&format!("/proc/{}", std::process::id()))
            {
                processes.insert(format!("{} {command}", path.display()));
                for kind in ["net", "pid", "mnt", "user"] {
                    if let Ok(link) = fs::read_link(path.join("ns").join(kind)) {
                        namespaces.insert(link.display().to_string());
                    }
                }
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let groups = walk(Path::new("/sys/fs/cgroup"), 6)
            .into_iter()
            .filter(|path| path.contains(&format!("mainstay-lab-{pid}")))
            .collect();
        let files = ["/tmp", "/run", "/dev/shm", "/var/tmp"].iter().flat_map(|path| list(path));
        Self {
            processes,
            namespaces,
            mounts: mounts.lines().map(str::to_owned).collect(),
            groups,
            // Others work on this machine too: only what looks like ours counts.
            files: files
                .map(|path| path.display().to_string())
                .filter(|path| path.contains("/lab") || path.contains("mainstay-lab"))
                .collect(),
        }
    }
}

fn walk(path: &Path, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let (Ok(entries), true) = (fs::read_dir(path), depth > 0) {
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.insert(entry.path().display().to_string());
                found.extend(walk(&entry.path(), depth - 1));
            }
        }
    }
    found
}

fn start_waiting(copy: &Copy, user: User) -> Result<Option<Child>, String> {
    let mut child = command(copy, user, "wait_with_everything_running")
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    output.read_line(&mut line).map_err(|error| error.to_string())?;
    if line.trim() == "up" {
        return Ok(Some(child));
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match status.code() {
        Some(SKIPPED) => {
            print!("{line}");
            Ok(None)
        }
        _ => Err(format!("it did not come up: {status}: {line}")),
    }
}

/// Starts a lab with daemons, ends it, and compares the machine before and after.
fn nothing_stays(copy: &Copy, user: User, by_force: bool) -> Result<bool, String> {
    let program = match user {
        User::Ours => std::env::current_exe().expect("our own program").display().to_string(),
        User::Ordinary => copy.0.display().to_string(),
    };
    let started = [format!("{program} case"), format!("{program} --root")];
    let started = [&started[..], &[format!("{program} daemon"), format!("{program} lab")]].concat();
    let before = Traces::look(&started, NOBODY);
    let Some(mut child) = start_waiting(copy, user)? else { return Ok(false) };
    let during = Traces::look(&started, child.id());
    if during.processes.len() < 8 {
        child.kill().map_err(|error| error.to_string())?;
        return Err(format!("the lab should be seen while it runs: {during:#?}"));
    }
    if by_force {
        child.kill().map_err(|error| error.to_string())?;
    } else {
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)
            .map_err(|error| error.to_string())?;
    }
    child.wait().map_err(|error| error.to_string())?;
    let gone = wait::until("everything to be gone", Duration::from_secs(10), || {
        let now = Traces::look(&started, child.id());
        let alive = during.namespaces.iter().filter(|name| !before.namespaces.contains(*name));
        let held = alive.filter(|name| now.namespaces.contains(*name)).count();
        Ok((now == before && held == 0).then_some(()))
    });
    match gone {
        Ok(()) => Ok(true),
        Err(error) => {
            let after = Traces::look(&started, child.id());
            Err(format!("{error:#}\nbefore: {before:#?}\nafter: {after:#?}"))
        }
    }
}
