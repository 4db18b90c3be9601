//! On which nodes a service's processes run, looked at all the time.
//!
//! What the outside sees is who answers. A guard that takes an address away and kills nothing looks the same
//! from there as one that does its work, and yet a process goes on to write to whatever it has open. So
//! here the lab looks into its own `/proc`: which responders run, in which machine.
//!
//! A responder counts while it can still do something: not when it is stopped, dead, or has been told by the
//! kernel to die and has not got to it. It counts only where a guard has been running for [`GRACE`], or for as long a
//! daemon without one, which stands in for it: where both are gone or stopped nobody can end anything, which is
//! known and documented.
//! **Running on two machines at two looks in a row is one too many.** When which guard was at work is kept
//! ([`Guarded`]), for who has other evidence of a process to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clock;
use crate::processes;
use crate::worker;

/// How often is looked: a scan of some dozens of processes.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long a guard that has just begun, or goes on, may take to end what it finds, and a daemon that has just lost
/// its guard.
const GRACE: Duration = Duration::from_secs(2);
/// Looks in a row at which a process must run on two nodes: one may be between a kill and its effect.
const LOOKS: u32 = 2;
/// `PF_EXITING` (linux/sched.h): it runs no more, it is being taken down.
const EXITING: u64 = 0x4;
/// SIGKILL and SIGSTOP in a mask of signals: neither can be caught, so one that is pending is as good as done.
const ENDING: u64 = 1 << 8 | 1 << 18;

/// A service that ran on more than one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Double {
    /// The port that tells the service.
    pub(crate) port: String,
    /// Where it ran.
    pub(crate) nodes: Vec<String>,
    /// When that was seen, since boot.
    pub(crate) at: Duration,
}

/// When which node's guard, or its daemon without one, was at work, as far as it was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Guarded(Vec<Duty>);

/// One of them at work without a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Duty {
    machine: String,
    node: String,
    /// The first and the last look at which it was.
    from: Duration,
    to: Duration,
}

impl Guarded {
    /// One is seen at work; `is_new` when it was not at the look before.
    pub(crate) fn note(&mut self, machine: &str, node: &str, at: Duration, is_new: bool) {
        let known = self.0.iter_mut().rev().find(|duty| duty.machine == machine);
        match known.filter(|_| !is_new) {
            Some(duty) => duty.to = at,
            None => {
                let (machine, node) = (machine.to_owned(), node.to_owned());
                self.0.push(Duty { machine, node, from: at, to: at });
            }
        }
    }

    /// Whether one of a node was seen at work for [`GRACE`] before that time (nanoseconds since boot), and
    /// still afterwards: then it must have ended what may not run.
    pub(crate) fn covers(&self, node: &str, at: u64) -> bool {
        let at = Duration::from_nanos(at);
        let covers = |duty: &Duty| duty.node == node && duty.from + GRACE <= at && at <= duty.to;
        self.0.iter().any(covers)
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Looks at which a process under a guard was seen: without any there is no verdict.
    pub(crate) looks: u64,
    pub(crate) doubles: Vec<Double>,
    pub(crate) guarded: Guarded,
}

impl Count {
    /// What is wrong with it, for people.
    pub(crate) fn complaints(&self) -> Vec<String> {
        if self.looks == 0 {
            return vec!["no process of a service was seen on any node".to_owned()];
        }
        let double = |double: &Double| {
            format!(
                "the process at port {} ran on {} at once",
                double.port,
                double.nodes.join(", ")
            )
        };
        self.doubles.iter().map(double).collect()
    }
}

/// A thread that looks until it is stopped or dropped.
pub(crate) struct Census {
    stop: Arc<AtomicBool>,
    count: Arc<Mutex<Count>>,
    worker: Option<JoinHandle<Result<()>>>,
}

impl Census {
    pub(crate) fn start() -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(Mutex::new(Count::default()));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let work = move || {
            let mut judge = Judge::default();
            while !stopped.load(Ordering::Acquire) {
                judge.note(&look(Path::new("/proc"))?);
                counted.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&judge.count);
                clock::pause(INTERVAL);
            }
            Ok(())
        };
        let thread = std::thread::Builder::new().name("census".to_owned());
        let worker = Some(thread.spawn(work).context("starting the census")?);
        Ok(Self { stop, count, worker })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it had ended by itself, why.
    pub(crate) fn stop(mut self) -> Result<Count> {
        self.join()?;
        Ok(std::mem::take(&mut *self.count.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn join(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        worker::joined(&mut self.worker)
    }
}

impl Drop for Census {
    fn drop(&mut self) {
        // `stop` reports; one that is merely dropped has nobody to report to.
        let _ = self.join();
    }
}

/// What one look found. A machine is told by its pid namespace: it has a new one each time it is switched on.
#[derive(Debug, Default)]
struct Look {
    at: Duration,
    /// Machines with somebody at work who ends what has no lease, and who that is.
    keepers: BTreeMap<String, Keeper>,
    /// Machines where a responder at that port runs.
    runs: BTreeMap<String, BTreeSet<String>>,
}

/// Who ends what has no lease on a node, in the order of precedence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Keeper {
    Daemon(String),
    Guard(String),
}

impl Keeper {
    fn node(&self) -> &str {
        let (Self::Daemon(node) | Self::Guard(node)) = self;
        node
    }
}

#[derive(Debug, Default)]
struct Judge {
    /// Since when they have been at work without a pause.
    since: BTreeMap<String, (Keeper, Duration)>,
    /// For how many looks in a row each port has been in use on two machines.
    strikes: BTreeMap<String, u32>,
    count: Count,
}

impl Judge {
    fn note(&mut self, look: &Look) {
        self.since.retain(|machine, (keeper, _)| look.keepers.get(machine) == Some(keeper));
        for (machine, keeper) in &look.keepers {
            let is_new = !self.since.contains_key(machine);
            self.count.guarded.note(machine, keeper.node(), look.at, is_new);
            self.since.entry(machine.clone()).or_insert_with(|| (keeper.clone(), look.at));
        }
        self.strikes.retain(|port, _| look.runs.contains_key(port));
        self.count.looks += u64::from(!look.runs.is_empty() && !look.keepers.is_empty());
        for (port, machines) in &look.runs {
            let counts = |machine: &&String| {
                self.since.get(*machine).is_some_and(|(_, since)| *since + GRACE <= look.at)
            };
            let nodes: Vec<String> = machines
                .iter()
                .filter(counts)
                .map(|machine| look.keepers[machine].node().to_owned())
                .collect();
            let strikes = self.strikes.entry(port.clone()).or_default();
            *strikes = if nodes.len() > 1 { *strikes + 1 } else { 0 };
            // Told once for as long as it goes on.
            if *strikes == LOOKS {
                self.count.doubles.push(Double { port: port.clone(), nodes, at: look.at });
            }
        }
    }
}

/// Who a process is, by its arguments.
#[derive(Debug, PartialEq, Eq)]
enum Role {
    /// A guard or a daemon.
    Keeper(Keeper),
    /// At that port.
    Responder(String),
}

impl Role {
    fn of(command: &[u8]) -> Option<Self> {
        let words: Vec<&str> = command
            .split(|byte| *byte == 0)
            .map(|word| str::from_utf8(word).unwrap_or_default())
            .filter(|word| !word.is_empty())
            .collect();
        match words[..] {
            [_, "--root", root, "run"] => Some(Self::Keeper(Keeper::Guard(node_at(root)?))),
            [_, "daemon", "--root", root, ..] => Some(Self::Keeper(Keeper::Daemon(node_at(root)?))),
            [_, "lab", "responder", "--port", port, ..] => Some(Self::Responder(port.to_owned())),
            _ => None,
        }
    }
}

/// A node's directory has its name.
fn node_at(root: &str) -> Option<String> {
    Some(Path::new(root).file_name()?.to_str()?.to_owned())
}

/// Whether a process can do something, by its `stat` and `status`.
fn is_running(stat: &str, status: &str) -> bool {
    let Some((state, _)) = processes::parse_stat(stat) else { return false };
    let flags = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(6)?.parse().ok());
    let pending = ["SigPnd:", "ShdPnd:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
    });
    let is_ending = pending.iter().any(|mask| mask & ENDING != 0);
    !matches!(state, 'T' | 't' | 'Z' | 'X') && flags.unwrap_or(0) & EXITING == 0 && !is_ending
}

/// What there is of a process; nothing if it has ended meanwhile.
fn there<T>(outcome: io::Result<T>, what: &Path) -> Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("looking at {}", what.display())),
    }
}

fn look(proc: &Path) -> Result<Look> {
    let mut look = Look { at: clock::now(), ..Look::default() };
    for entry in fs::read_dir(proc).context("listing processes")? {
        let entry = entry.context("listing processes")?;
        let is_process = entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
        let path = entry.path();
        if !is_process {
            continue;
        }
        let Some(command) = there(fs::read(path.join("cmdline")), &path)? else { continue };
        let Some(role) = Role::of(&command) else { continue };
        let Some(machine) = there(fs::read_link(path.join("ns/pid")), &path)? else { continue };
        let Some(stat) = there(fs::read_to_string(path.join("stat")), &path)? else { continue };
        let Some(status) = there(fs::read_to_string(path.join("status")), &path)? else { continue };
        if !is_running(&stat, &status) {
            continue;
        }
        let machine = machine.display().to_string();
        match role {
            Role::Keeper(keeper) => {
                let known = look.keepers.entry(machine).or_insert_with(|| keeper.clone());
                *known = keeper.max(known.clone());
            }
            Role::Responder(port) => drop(look.runs.entry(port).or_default().insert(machine)),
        }
    }
    Ok(look)
}

#[cfg(test)]
mod tests;
