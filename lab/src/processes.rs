//! Processes as `/proc` shows them: which belong to a node, which is its guard, which its daemon.
//!
//! Pids here are those of the lab's pid namespace; inside a node they have other numbers.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

/// One process of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its number, seen from the lab.
    pub pid: i32,
    /// The number of its parent, seen from the lab; 0 if that is outside.
    pub parent: i32,
    /// `R` running, `S` asleep, `D` in the kernel, `T` stopped, `Z` dead and not yet reaped.
    pub state: char,
    /// The arguments it was started with.
    pub command: Vec<String>,
}

/// All processes that the lab can see.
pub(crate) fn all() -> Result<Vec<Process>> {
    let mut list = Vec::new();
    for entry in fs::read_dir("/proc").context("listing processes")? {
        let entry = entry.context("listing processes")?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let path = entry.path();
        // A process may end between the listing and the reading.
        let (Ok(stat), Ok(command)) =
            (fs::read_to_string(path.join("stat")), fs::read(path.join("cmdline")))
        else {
            continue;
        };
        if let Some((state, parent)) = parse_stat(&stat) {
            let words = command.split(|byte| *byte == 0).filter(|word| !word.is_empty());
            let command = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            list.push(Process { pid, parent, state, command });
        }
    }
    Ok(list)
}

/// State and parent from `/proc/PID/stat` (proc_pid_stat(5)); the name in it may hold anything.
pub(crate) fn parse_stat(stat: &str) -> Option<(char, i32)> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Everything that descends from `roots`, without the roots themselves unless `roots` has their
/// ancestors too.
pub(crate) fn descendants(all: &[Process], roots: &[i32]) -> Vec<Process> {
    let mut family: Vec<i32> = roots.to_vec();
    let mut found: Vec<Process> = Vec::new();
    // A parent may stand behind its child in the list: go on until nothing is added.
    loop {
        let before = found.len();
        for process in all {
            let known = family.contains(&process.pid);
            if family.contains(&process.parent) && !known {
                family.push(process.pid);
                found.push(process.clone());
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

/// The daemon: a living child of the guard that was started with the word `daemon`.
pub(crate) fn daemon_of(all: &[Process], guard: i32) -> Option<&Process> {
    all.iter().find(|process| {
        process.parent == guard
            && process.state != 'Z'
            && process.command.iter().any(|word| word == "daemon")
    })
}

/// Processor time of a process, its threads included (`utime` and `stime`, proc_pid_stat(5)).
pub(crate) fn processor(pid: i32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let rest = text.rsplit_once(") ").map(|(_, rest)| rest);
    let fields = rest.into_iter().flat_map(|rest| rest.split(' ').skip(11).take(2));
    let ticks: Option<Vec<u64>> = fields.map(|field| field.parse().ok()).collect();
    let ticks = ticks.filter(|ticks| ticks.len() == 2);
    let ticks: u64 = ticks.with_context(|| format!("{path} has no times"))?.iter().sum();
    let per_second = rustix::param::clock_ticks_per_second();
    Ok(Duration::from_millis(ticks * 1000 / per_second))
}

/// Resident memory of a process, kilobytes (`VmRSS`, proc_pid_status(5)).
pub(crate) fn resident(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{path} has no VmRSS"))
}

#[cfg(test)]
mod tests;
