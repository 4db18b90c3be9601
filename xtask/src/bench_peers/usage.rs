//! What a product costs a node that has nothing to do: processor time and memory of all its
//! processes, read from `/proc` (proc_pid_stat(5)).
//!
//! Processor time is that of the processes and of those children of theirs that have ended (a
//! product that starts a program every ten seconds pays for it here).

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use lab::{Lab, Process};
use serde::{Deserialize, Serialize};

use super::memory::Memory;

/// One node's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// The product's processes on the node.
    pub processes: usize,
    /// Processor seconds used during the measurement.
    pub seconds: f64,
    /// What a machine of its own would need: every page once, kilobytes.
    pub memory: u64,
    /// Sum of the resident sizes: pages that two processes share count twice, kilobytes.
    pub resident: u64,
}

/// Processor time by process, in ticks.
pub(crate) type Ticks = BTreeMap<i32, u64>;

/// The product's processes on a node: all but the responder, which is the measurement's.
pub(crate) fn processes(lab: &mut Lab, node: &str) -> Result<Vec<Process>> {
    let mut list = lab.processes(node)?;
    list.retain(|process| {
        process.state != 'Z' && !process.command.iter().any(|word| word == "responder")
    });
    Ok(list)
}

/// Reads the clocks of these processes.
pub(crate) fn ticks(processes: &[Process]) -> Ticks {
    let read = |process: &Process| {
        // It may have ended since it was listed; its parent then has its time.
        let text = fs::read_to_string(file(process.pid, "stat")).ok()?;
        Some((process.pid, parse(&text)?))
    };
    processes.iter().filter_map(read).collect()
}

fn file(pid: i32, name: &str) -> PathBuf {
    format!("/proc/{pid}/{name}").into()
}

/// `utime`, `stime`, `cutime` and `cstime`; the name before them may hold anything.
fn parse(stat: &str) -> Option<u64> {
    let fields = stat.rsplit_once(") ")?.1.split_whitespace().skip(11).take(4);
    let times = fields.map(|field| field.parse().ok()).collect::<Option<Vec<u64>>>()?;
    (times.len() == 4).then(|| times.iter().sum())
}

/// What was used between two readings, and the memory now.
pub(crate) fn usage(processes: &[Process], before: &Ticks) -> Result<Usage> {
    let after = ticks(processes);
    let used: u64 = after
        .iter()
        .map(|(pid, ticks)| ticks.saturating_sub(before.get(pid).copied().unwrap_or(0)))
        .sum();
    let mut memory = Memory::default();
    for process in processes {
        if let Ok(text) = fs::read_to_string(file(process.pid, "smaps")) {
            memory.add(&text).with_context(|| format!("the memory of {:?}", process.command))?;
        }
    }
    Ok(Usage {
        processes: processes.len(),
        seconds: used as f64 / rustix::param::clock_ticks_per_second() as f64,
        memory: memory.once(),
        resident: memory.resident(),
    })
}

#[cfg(test)]
mod tests;
