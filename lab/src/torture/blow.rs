//! The blows of a torture: what can be done to a cluster, as it is printed and counted.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use super::settings::Change;
use crate::arbiters::Tie;
use crate::lab::Which;

/// One blow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Blow {
    Cut(String, String),
    Isolate(String),
    Partition(Vec<String>, Vec<String>),
    OneWay(String, String, String),
    Lossy(String, String, u32),
    Heal,
    Signal(String, Which, Signal),
    PowerOff(String),
    PowerOn(String),
    DiskFreeze(Option<String>),
    Hog(String),
    /// Processor time and this many MiB.
    MemoryHog(String, u64),
    Flood(Flood),
    /// An arbiter is killed, stopped, or slowed down.
    Mute(Tie, Mute),
    Unmute,
    /// Only these nodes reach an arbiter.
    HideTie(Tie, Vec<String>),
    Move(String, String),
    Configure(u64, Change),
}

/// Datagrams of noise for the daemons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flood {
    pub(super) network: u8,
    pub(super) targets: Vec<String>,
    pub(super) length: Duration,
    /// The noise is drawn from it.
    pub(super) seed: u64,
}

/// What keeps an arbiter from answering in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mute {
    Killed,
    Stopped,
    /// Each answer is late by up to that.
    Slow(Duration),
}

/// What became of a blow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dealt {
    /// It hit.
    Landed,
    /// Nothing was there to be hit, or the cluster refused, and why.
    Void(String),
}

impl From<Result<()>> for Dealt {
    fn from(outcome: Result<()>) -> Self {
        match outcome {
            Ok(()) => Self::Landed,
            Err(error) => Self::Void(format!("{error:#}")),
        }
    }
}

impl Blow {
    /// What kind of blow it is, as the report counts them.
    pub(super) fn kind(&self) -> String {
        match self {
            Blow::Cut(..) => "cut a cable".to_owned(),
            Blow::Isolate(_) => "cut a node off".to_owned(),
            Blow::Partition(..) => "partition".to_owned(),
            Blow::OneWay(..) => "cut one way".to_owned(),
            Blow::Lossy(..) => "loss".to_owned(),
            Blow::Heal => "heal".to_owned(),
            Blow::Signal(_, which, signal) => format!("{} {}", verb(*signal), whom(*which)),
            Blow::PowerOff(_) => "power off".to_owned(),
            Blow::PowerOn(_) => "power on".to_owned(),
            Blow::DiskFreeze(None) => "freeze the disk".to_owned(),
            Blow::DiskFreeze(Some(_)) => "freeze the disk for one node".to_owned(),
            Blow::Hog(_) => "busy loops".to_owned(),
            Blow::MemoryHog(..) => "memory hog".to_owned(),
            Blow::Flood(_) => "flood".to_owned(),
            Blow::Mute(_, Mute::Killed) => "kill the tie-breaker".to_owned(),
            Blow::Mute(_, Mute::Stopped) => "stop the tie-breaker".to_owned(),
            Blow::Mute(_, Mute::Slow(_)) => "slow the tie-breaker down".to_owned(),
            Blow::Unmute => "the tie-breaker goes on".to_owned(),
            Blow::HideTie(..) => "partition the tie-breaker".to_owned(),
            Blow::Move(..) => "move".to_owned(),
            Blow::Configure(_, change) => match change {
                Change::Order { .. } => "configure the order of nodes".to_owned(),
                Change::Priority { .. } => "configure a priority".to_owned(),
                Change::Timeouts { .. } => "configure timeouts".to_owned(),
                Change::Restarts { .. } => "configure restarts".to_owned(),
                Change::Add => "configure a service more".to_owned(),
                Change::Remove => "configure a service less".to_owned(),
            },
        }
    }
}

fn verb(signal: Signal) -> &'static str {
    match signal {
        Signal::STOP => "stop",
        Signal::CONT => "continue",
        _ => "kill",
    }
}

fn whom(which: Which) -> &'static str {
    match which {
        Which::Daemon => "daemon",
        Which::Guard => "guard",
        Which::Both => "daemon and guard",
        Which::Everything => "everything",
    }
}

impl std::fmt::Display for Blow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Blow::Cut(node, network) => write!(f, "cut {node} {network}"),
            Blow::Isolate(node) => write!(f, "cut {node} from everything"),
            Blow::Partition(one, other) => {
                write!(f, "partition {} | {}", one.join(" "), other.join(" "))
            }
            Blow::OneWay(from, to, network) => write!(f, "cut {from} -> {to} on {network}"),
            Blow::Lossy(node, network, permille) => {
                write!(f, "lose {permille} of 1000: {node} {network}")
            }
            Blow::Heal => f.write_str("heal all networks and disks"),
            Blow::Signal(node, which, signal) => {
                write!(f, "{} {} of {node}", verb(*signal), whom(*which))
            }
            Blow::PowerOff(node) => write!(f, "power off {node}"),
            Blow::PowerOn(node) => write!(f, "power on {node}"),
            Blow::DiskFreeze(None) => f.write_str("freeze the disk"),
            Blow::DiskFreeze(Some(node)) => write!(f, "freeze the disk for {node}"),
            Blow::Hog(node) => write!(f, "two busy loops on {node}"),
            Blow::MemoryHog(node, size) => write!(f, "a hog of {size} MiB on {node}"),
            Blow::Flood(Flood { network, targets, length, .. }) => {
                write!(f, "flood {} on net{network} for {length:.1?}", targets.join(" "))
            }
            Blow::Move(service, node) => write!(f, "move {service} to {node}"),
            Blow::Mute(part, Mute::Slow(delay)) => {
                write!(f, "slow the tie-breaker down ({}) by {delay:?}", part.name())
            }
            Blow::Mute(part, _) => write!(f, "{} ({})", self.kind(), part.name()),
            Blow::Unmute => f.write_str("the tie-breaker goes on"),
            Blow::HideTie(part, nodes) => {
                write!(f, "only {} reaches the tie-breaker ({})", nodes.join(" "), part.name())
            }
            Blow::Configure(number, change) => {
                write!(f, "change the configuration: number {number}, {change}")
            }
        }
    }
}
