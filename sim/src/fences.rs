//! Fence agents and the power of machines.
//!
//! Each level of a node's fencing is a way of its own to its power; the agents of one level are the
//! supplies of one machine, so it goes off when **all** of a level are cut. An agent takes its time
//! and acts at the end of it. In trouble it refuses, never answers, lies (says that it has done what
//! it has not), or is of those that say "accepted" and do it later. What it says of the power is what
//! it sees: nobody lies about that. A fenced machine is really off: everything but its disk is gone.
//!
//! An agent that is ended before it was through has done its work or not.

use node::{FenceAnswer, FenceRun, FenceVerb, Input};

use crate::event::Event;
use crate::fault::Kind;
use crate::machine::Daemon;
use crate::setup::{machine_of, name};
use crate::world::World;

impl World {
    /// A daemon runs an agent.
    pub(crate) fn run_agent(&mut self, number: usize, daemon: &mut Daemon, run: FenceRun) {
        let unit = self.setup.unit;
        let most = if self.prng.chance(1, 3) { unit * 8 } else { unit };
        let takes = self.prng.range(unit / 40..=most);
        self.trace(|| {
            let (whom, verb) = (name(machine_of(run.node)), run.verb.name());
            format!("{} runs an agent: {whom} {verb}, level {}", name(number), run.level)
        });
        daemon.agents.insert(run.run);
        self.queue.push(self.now + takes, Event::Agent(number, daemon.number, run));
    }

    /// An agent is through.
    pub(crate) fn agent_ends(&mut self, number: usize, by: u32, run: FenceRun) {
        let runs = |daemon: &&mut Box<Daemon>| daemon.number == by;
        let daemon = self.machines[number].daemon.as_mut().filter(runs);
        let is_awaited = daemon.is_some_and(|daemon| daemon.agents.remove(&run.run));
        if !is_awaited && self.prng.chance(1, 2) {
            return;
        }
        let place = machine_of(run.node);
        let trouble = match self.mix.has(Kind::FenceTrouble) {
            true => self.prng.range(0..=9),
            false => 9,
        };
        let answer = match (trouble, run.verb) {
            // It hangs.
            (0, _) => return,
            (1..=2, _) => FenceAnswer::Failed("it refuses".to_owned()),
            (3, FenceVerb::Off | FenceVerb::On) => FenceAnswer::Done,
            (4..=5, FenceVerb::Off) => {
                let later = self.prng.range(0..=self.setup.unit * 4);
                let event = Event::LateOff(place, run.level, run.agent);
                self.queue.push(self.now + later, event);
                FenceAnswer::Done
            }
            (_, FenceVerb::Off) => {
                self.switch_off(place, run.level, run.agent);
                FenceAnswer::Done
            }
            (_, FenceVerb::On) => {
                self.switch_on(place, run.level, run.agent);
                FenceAnswer::Done
            }
            (_, FenceVerb::Status) => {
                let machine = &self.machines[place];
                let is_cut = machine.cut.contains(&(run.level, run.agent));
                // A supply that is on feeds a machine, whether that runs or not; a board that is the
                // only way knows whether it runs.
                let knows = self.agents_of(place, run.level) == 1;
                match is_cut || knows && !machine.is_on {
                    true => FenceAnswer::PowerOff,
                    false => FenceAnswer::PowerOn,
                }
            }
        };
        if is_awaited {
            self.tell(number, Input::Fence { run: run.run, answer });
        }
    }

    fn agents_of(&self, place: usize, level: u8) -> usize {
        let node = crate::setup::node_id(place);
        let spec = self.setup.fencing.iter().find(|spec| spec.node == node);
        let level = spec.and_then(|spec| spec.levels.iter().find(|one| one.number == level));
        level.map_or(0, |level| level.agents.len())
    }

    /// One supply is cut; with the last one of its level the machine goes off.
    pub(crate) fn switch_off(&mut self, place: usize, level: u8, agent: usize) {
        let machine = &mut self.machines[place];
        machine.cut.insert((level, agent));
        let cut = machine.cut.iter().filter(|(of, _)| *of == level).count();
        if cut < self.agents_of(place, level) {
            return;
        }
        self.trace(|| format!("{} is turned off", name(place)));
        // Somebody comes and looks after a machine that was turned off, sooner or later.
        let back = self.prng.range(self.setup.unit..=self.setup.unit * 6);
        let returns = self.healed_at.is_some() || self.prng.chance(1, 3);
        self.power_off(place, returns.then_some(back));
    }

    fn switch_on(&mut self, place: usize, level: u8, agent: usize) {
        let machine = &mut self.machines[place];
        machine.cut.remove(&(level, agent));
        if !machine.is_on && !machine.cut.iter().any(|(of, _)| *of == level) {
            let boot = machine.boots;
            self.queue.push(self.now, Event::PowerOn(place, boot));
        }
    }
}
