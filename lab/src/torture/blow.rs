//! The blows of a torture: what can be done to a cluster, and how it is undone.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::json;

use super::chance::Chance;
use super::{Round, SERVICES, service_name};
use crate::api;
use crate::arbiters::Tie;
use crate::clock;
use crate::lab::Which;
use crate::spec;

/// One blow, as it is printed.
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
    /// An arbiter is killed, or stopped.
    Mute(Tie, Signal),
    Unmute,
    Move(String, String),
    Configure(u64),
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
                let whom = match which {
                    Which::Daemon => "daemon",
                    Which::Guard => "guard",
                    Which::Both => "daemon and guard",
                    Which::Everything => "everything",
                };
                let what = match *signal {
                    Signal::STOP => "stop",
                    Signal::CONT => "continue",
                    _ => "kill",
                };
                write!(f, "{what} {whom} of {node}")
            }
            Blow::PowerOff(node) => write!(f, "power off {node}"),
            Blow::PowerOn(node) => write!(f, "power on {node}"),
            Blow::DiskFreeze(None) => f.write_str("freeze the disk"),
            Blow::DiskFreeze(Some(node)) => write!(f, "freeze the disk for {node}"),
            Blow::Hog(node) => write!(f, "two busy loops on {node}"),
            Blow::Move(service, node) => write!(f, "move {service} to {node}"),
            Blow::Mute(part, Signal::KILL) => write!(f, "kill the tie-breaker ({})", part.name()),
            Blow::Mute(part, _) => write!(f, "stop the tie-breaker ({})", part.name()),
            Blow::Unmute => f.write_str("the tie-breaker goes on"),
            Blow::Configure(number) => write!(f, "change the configuration: number {number}"),
        }
    }
}

impl Round<'_> {
    /// The next blow. Depends on the draw and on the blows before, never on what the cluster did.
    pub(super) fn draw(&mut self, chance: &mut Chance) -> Blow {
        let names = self.lab.node_names();
        let node = chance.pick(&names).clone();
        let other = {
            let others: Vec<&String> = names.iter().filter(|name| **name != node).collect();
            (*chance.pick(&others)).clone()
        };
        let network = spec::network_name(chance.below(usize::from(self.lab.spec().networks)) as u8);
        if let Some(frozen) = self.frozen.first().filter(|_| chance.below(2) == 0) {
            return Blow::Signal(frozen.0.clone(), frozen.1, Signal::CONT);
        }
        if let Some(dark) = self.dark.first().filter(|_| chance.below(3) == 0) {
            return Blow::PowerOn(dark.clone());
        }
        let parts = self.order.tie.parts();
        if !parts.is_empty() && chance.below(8) == 0 {
            let signal = if chance.below(2) == 0 { Signal::KILL } else { Signal::STOP };
            let blow = Blow::Mute(*chance.pick(parts), signal);
            return if self.mute.is_some() { Blow::Unmute } else { blow };
        }
        let is_free = !self.dark.contains(&node) && !self.frozen.iter().any(|it| it.0 == node);
        match chance.below(23) {
            0 | 1 => Blow::Cut(node, network),
            2 => Blow::Isolate(node),
            3 | 4 => {
                let cut = 1 + chance.below(names.len() - 1);
                let turn = chance.below(names.len());
                let turned: Vec<String> =
                    (0..names.len()).map(|at| names[(at + turn) % names.len()].clone()).collect();
                Blow::Partition(turned[..cut].to_vec(), turned[cut..].to_vec())
            }
            5 => Blow::OneWay(node, other, network),
            6 => Blow::Lossy(node, network, 100 + chance.below(400) as u32),
            7 | 8 => Blow::Heal,
            9 if is_free => Blow::Signal(node, Which::Daemon, Signal::KILL),
            10 if is_free => Blow::Signal(node, Which::Daemon, Signal::STOP),
            11 if is_free => Blow::Signal(node, Which::Both, Signal::STOP),
            12 | 13 if is_free => Blow::Signal(node, Which::Everything, Signal::STOP),
            14 if is_free && self.dark.len() + 1 < names.len() => Blow::PowerOff(node),
            15 if self.lab.disk_can_fail() => {
                Blow::DiskFreeze(Some(node).filter(|_| chance.below(2) == 0))
            }
            16 if is_free => Blow::Hog(node),
            20 if is_free => Blow::Signal(node, Which::Guard, Signal::KILL),
            21 if is_free => Blow::Signal(node, Which::Both, Signal::KILL),
            17 | 18 => Blow::Move(service_name(chance.below(SERVICES)), node),
            _ => {
                self.number += 1;
                Blow::Configure(self.number)
            }
        }
    }

    /// Deals a blow. Wishes that the cluster refuses, or that no daemon hears, are part of life, and void.
    pub(super) fn deal(&mut self, blow: &Blow) -> Result<Dealt> {
        let outcome = match blow {
            Blow::Cut(node, network) => self.lab.cut(node, network),
            Blow::Isolate(node) => {
                let networks = self.lab.spec().networks;
                (0..networks).try_for_each(|it| self.lab.cut(node, &spec::network_name(it)))
            }
            Blow::Partition(one, other) => {
                let one: Vec<&str> = one.iter().map(String::as_str).collect();
                let other: Vec<&str> = other.iter().map(String::as_str).collect();
                self.lab.partition(&one, &other)
            }
            Blow::OneWay(from, to, network) => self.lab.cut_one_way(from, to, network),
            Blow::Lossy(node, network, permille) => self.lab.loss(node, network, *permille),
            Blow::Heal => self.lab.heal_all(),
            Blow::Signal(node, which, signal) => {
                // Noted whether it hits or not: the next lots must not depend on that.
                match *signal {
                    Signal::STOP => self.frozen.push((node.clone(), *which)),
                    Signal::CONT => self.frozen.retain(|it| it.0 != *node),
                    _ => {}
                }
                // A daemon that ended a moment ago is not there to be signalled.
                return Ok(self.lab.kill(node, *signal, *which).into());
            }
            Blow::PowerOff(node) => {
                self.dark.push(node.clone());
                self.lab.power_off(node)
            }
            Blow::PowerOn(node) => {
                self.dark.retain(|it| it != node);
                self.lab.power_on(node)?;
                self.power.entry(node.clone()).or_default().push(clock::now().as_nanos() as u64);
                self.lab.start(node)
            }
            Blow::DiskFreeze(node) => self.lab.disk_freeze(node.as_deref()),
            Blow::Mute(part, signal) => {
                self.mute = Some(*part);
                match *signal {
                    Signal::KILL => self.arbiters.kill(&self.lab, *part),
                    signal => self.arbiters.stop(&self.lab, *part, signal),
                }
            }
            Blow::Unmute => self.unmute(),
            Blow::Hog(node) => {
                for _ in 0..2 {
                    let busy = "end=$(($(date +%s)+4)); while [ $(date +%s) -lt $end ]; do :; done";
                    self.lab.spawn_in(node, &["/bin/sh", "-c", busy])?;
                }
                Ok(())
            }
            Blow::Move(service, node) => {
                let path = format!("/v1/services/{service}/move");
                let body = json!({ "node": node, "reason": "torture" });
                return Ok(self.ask(&path, &body).into());
            }
            Blow::Configure(number) => return Ok(self.configure(*number).into()),
        };
        outcome.map(|()| Dealt::Landed)
    }

    /// The arbiter that was killed or stopped goes on.
    pub(super) fn unmute(&mut self) -> Result<()> {
        let Some(part) = self.mute.take() else { return Ok(()) };
        if self.arbiters.runs(part) {
            self.arbiters.stop(&self.lab, part, Signal::CONT)
        } else {
            self.arbiters.start(&self.lab, part)
        }
    }

    /// Puts a wish to the first node that says it is in a view.
    fn ask(&self, path: &str, body: &serde_json::Value) -> Result<()> {
        api::command(&self.speaker()?, path, body).map(drop)
    }

    fn speaker(&self) -> Result<std::path::PathBuf> {
        let names = self.lab.node_names();
        let able = names.iter().filter(|name| {
            !self.dark.contains(name) && !self.frozen.iter().any(|it| it.0 == **name)
        });
        let mut roots = able.filter_map(|name| self.lab.root(name).ok());
        let is_member =
            |root: &&std::path::Path| api::status(root).is_ok_and(|it| it.node.state == "member");
        roots
            .find(is_member)
            .map(std::path::Path::to_owned)
            .context("no node says that it is a member")
    }

    /// Replaces the number in the configuration; notes it when the cluster has acknowledged it.
    fn configure(&mut self, number: u64) -> Result<()> {
        let root = self.speaker()?;
        let (version, text) = api::configuration(&root)?;
        let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("# number ")).collect();
        let text = format!("{}\n# number {number}\n", kept.join("\n"));
        let body = json!({ "text": text, "expected_version": version });
        api::command(&root, "/v1/config", &body)?;
        self.acknowledged = number;
        self.acknowledgements += 1;
        Ok(())
    }
}

/// The number in a configuration.
pub(super) fn number_in(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("# number "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// How long a round waits after a blow: mostly around F, sometimes hardly at all.
pub(super) fn pause_after(chance: &mut Chance, fence_wait: Duration) -> Duration {
    let longest = match chance.below(4) {
        0 => fence_wait / 8,
        1 | 2 => fence_wait * 3 / 2,
        _ => fence_wait * 4,
    };
    longest * (1 + chance.below(1000) as u32) / 1000
}
