//! How blows are dealt, and undone.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::json;

use super::blow::{Blow, Dealt, Flood, Mute};
use super::round::Round;
use super::settings::number_in;
use crate::api;
use crate::arbiters::Arbiters;
use crate::clock;
use crate::line::Chance;
use crate::processes;
use crate::spec;
use crate::storm::{self, Force, Storm};
use crate::wait;

/// How long a hog goes on, in the words of timeout(1).
const HOG_SECONDS: &str = "4";
/// How long it may take to have its memory.
const HOG_PATIENCE: Duration = Duration::from_secs(2);

impl Round<'_> {
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
            Blow::Mute(part, how) => {
                self.mute = Some((*part, *how));
                match *how {
                    Mute::Killed => self.arbiters.kill(&self.lab, *part),
                    Mute::Stopped => self.arbiters.stop(&self.lab, *part, Signal::STOP),
                    Mute::Slow(delay) => self.arbiters.slow(&self.lab, *part, delay),
                }
            }
            Blow::Unmute => self.unmute(),
            Blow::HideTie(part, reaching) => Arbiters::hide(&mut self.lab, *part, reaching),
            Blow::Hog(node) => {
                for _ in 0..2 {
                    let busy = "end=$(($(date +%s)+4)); while [ $(date +%s) -lt $end ]; do :; done";
                    self.lab.spawn_in(node, &["/bin/sh", "-c", busy])?;
                }
                Ok(())
            }
            Blow::MemoryHog(node, size) => return self.hog(node, *size).map(Dealt::from),
            Blow::Flood(flood) => self.flood(flood),
            Blow::Move(service, node) => {
                let path = format!("/v1/services/{service}/move");
                let body = json!({ "node": node, "reason": "torture" });
                return Ok(self.ask(&path, &body).into());
            }
            Blow::Configure(number, _) => return self.configure(*number).map(Dealt::from),
        };
        outcome.map(|()| Dealt::Landed)
    }

    /// A process in the node, and in its control group where it has one, that fills so many MiB with zeros again
    /// and again for a while. Void when it does not get them.
    fn hog(&mut self, node: &str, size: u64) -> Result<Result<()>> {
        let block = format!("bs={size}M");
        let words = ["timeout", HOG_SECONDS, "dd", "if=/dev/zero", "of=/dev/null", &block];
        self.lab.spawn_in(node, &words)?;
        let what = format!("a process of {node} to have {size} MiB");
        Ok(wait::until(&what, HOG_PATIENCE, || {
            let list = self.lab.processes(node)?;
            let has = |process: &processes::Process| {
                let is_it = process.command.first().is_some_and(|word| word == "dd");
                // One that has just ended has nothing.
                is_it
                    && processes::resident(process.pid)
                        .is_ok_and(|kilobytes| kilobytes >= size << 10)
            };
            Ok(list.iter().any(has).then_some(()))
        }))
    }

    fn flood(&mut self, flood: &Flood) -> Result<()> {
        let mut chance = Chance(flood.seed);
        let noise = storm::noise(&self.lab, flood.network, &flood.targets, &mut chance);
        let storm = Storm::start(&self.lab, vec![noise], Force::Gentle(flood.length))?;
        self.floods.push(storm);
        Ok(())
    }

    /// Ends all faults: floods, networks, disk, stopped processes, power, the tie-breaker.
    pub(super) fn heal(&mut self) -> Result<()> {
        for flood in self.floods.drain(..) {
            ensure!(flood.end()?.sent > 0, "a flood has sent nothing");
        }
        for (node, which) in std::mem::take(&mut self.frozen) {
            let _gone = self.lab.kill(&node, Signal::CONT, which);
        }
        self.lab.heal_all()?;
        self.unmute()?;
        for node in std::mem::take(&mut self.dark) {
            self.lab.power_on(&node)?;
            self.power.entry(node.clone()).or_default().push(clock::now().as_nanos() as u64);
            self.lab.start(&node)?;
        }
        Ok(())
    }

    /// The arbiter that was killed, stopped or slow is as it was.
    fn unmute(&mut self) -> Result<()> {
        match self.mute.take() {
            None => Ok(()),
            Some((part, Mute::Killed)) => self.arbiters.start(&self.lab, part),
            Some((part, Mute::Stopped)) => self.arbiters.stop(&self.lab, part, Signal::CONT),
            Some((part, Mute::Slow(_))) => self.arbiters.hasten(&self.lab, part),
        }
    }

    /// Puts a wish to the first node that says it is in a view.
    fn ask(&self, path: &str, body: &serde_json::Value) -> Result<()> {
        api::command(&self.speaker()?, path, body).map(drop)
    }

    fn speaker(&self) -> Result<PathBuf> {
        let names = self.lab.node_names();
        let able = names.iter().filter(|name| {
            !self.dark.contains(name) && !self.frozen.iter().any(|it| it.0 == **name)
        });
        let mut roots = able.filter_map(|name| self.lab.root(name).ok());
        let is_member = |root: &&Path| api::status(root).is_ok_and(|it| it.node.state == "member");
        roots.find(is_member).map(Path::to_owned).context("no node says that it is a member")
    }

    /// Puts the configuration of that number in force; notes it when the cluster has acknowledged it. Only that
    /// the cluster refuses it is void.
    fn configure(&mut self, number: u64) -> Result<Result<()>> {
        let text = self.text(number)?;
        let applied = (|| {
            let root = self.speaker()?;
            let (version, before) = api::configuration(&root)?;
            let body = json!({ "text": text, "expected_version": version });
            api::command(&root, "/v1/config", &body)?;
            anyhow::Ok(number_in(&before))
        })();
        if let Ok(before) = applied {
            // In force on top of an older one: nobody would ever miss the one between.
            ensure!(
                before >= self.acknowledged,
                "configuration {} was acknowledged and is lost: {number} was put in force after {before}",
                self.acknowledged
            );
            self.acknowledged = number;
            self.acknowledgements += 1;
        }
        Ok(applied.map(drop))
    }
}
