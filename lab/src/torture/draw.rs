//! The lots: which blow is next. They depend on the draw and on the blows before, never on what the cluster did.

use std::time::Duration;

use rustix::process::Signal;

use super::blow::{Blow, Flood, Mute};
use super::chance::Chance;
use super::round::Round;
use super::settings::service_name;
use crate::arbiters::Tie;
use crate::lab::Which;
use crate::spec;

impl Round<'_> {
    /// The next blow.
    pub(super) fn draw(&mut self, chance: &mut Chance) -> Blow {
        let names = self.lab.node_names();
        let node = chance.pick(&names).clone();
        let other = {
            let others: Vec<&String> = names.iter().filter(|name| **name != node).collect();
            (*chance.pick(&others)).clone()
        };
        let number = chance.below(usize::from(self.lab.spec().networks)) as u8;
        let network = spec::network_name(number);
        if let Some(frozen) = self.frozen.first().filter(|_| chance.below(2) == 0) {
            return Blow::Signal(frozen.0.clone(), frozen.1, Signal::CONT);
        }
        if let Some(dark) = self.dark.first().filter(|_| chance.below(3) == 0) {
            return Blow::PowerOn(dark.clone());
        }
        if let Some(blow) = self.draw_for_tie(&node, &names, chance) {
            return blow;
        }
        let is_free = !self.dark.contains(&node) && !self.frozen.iter().any(|it| it.0 == node);
        match chance.below(30) {
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
            17 | 18 => Blow::Move(service_name(chance.below(self.settings.count())), node),
            19 if is_free => Blow::Signal(node, Which::Guard, Signal::KILL),
            20 if is_free => Blow::Signal(node, Which::Both, Signal::KILL),
            21 | 22 if is_free => Blow::Signal(node, Which::Guard, Signal::STOP),
            23 if is_free => Blow::MemoryHog(node, 200 + 50 * chance.below(5) as u64),
            24 => {
                let targets = if chance.below(2) == 0 { names } else { vec![node] };
                let length = Duration::from_millis(1_000 + chance.below(2_500) as u64);
                Blow::Flood(Flood { network: number, targets, length, seed: chance.next() | 1 })
            }
            _ => {
                self.number += 1;
                let change = self.settings.draw(names.len(), chance);
                self.settings = self.settings.with(change);
                self.tried.insert(self.number, self.settings.clone());
                Blow::Configure(self.number, change)
            }
        }
    }

    /// One for the tie-breaker, where there is any.
    fn draw_for_tie(&self, node: &str, names: &[String], chance: &mut Chance) -> Option<Blow> {
        let parts = self.order.tie.parts().iter().copied();
        // A plain file cannot fail.
        let parts: Vec<Tie> =
            parts.filter(|part| *part != Tie::Disk || self.lab.disk_can_fail()).collect();
        if parts.is_empty() || chance.below(6) > 0 {
            return None;
        }
        let part = *chance.pick(&parts);
        if chance.below(4) == 0 {
            let is_alone = chance.below(2) == 0;
            let reach = names.iter().filter(|name| (*name == node) == is_alone);
            return Some(Blow::HideTie(part, reach.cloned().collect()));
        }
        if self.mute.is_some() {
            return Some(Blow::Unmute);
        }
        Some(Blow::Mute(
            part,
            match chance.below(3) {
                0 => Mute::Killed,
                1 => Mute::Stopped,
                // A disk has several requests to answer for one question.
                _ if part == Tie::Disk => {
                    Mute::Slow(Duration::from_millis(2 + chance.below(38) as u64))
                }
                _ => Mute::Slow(Duration::from_millis(20 + chance.below(180) as u64)),
            },
        ))
    }
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
