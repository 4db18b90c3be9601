//! Operators: what they ask for while things go wrong, and how they clear up afterwards.
//!
//! They keep their promises: they call down only what has no power, and seed by hand only when
//! every machine of the cluster is there without a view.

use base::{NodeId, NodeSet, Prng};
use engine::{Command as EngineCommand, Mode, Phase, Wish};
use group::Standing;
use node::{Command, Input};

use crate::machine::Item;
use crate::setup::{name, node_id, text_of};
use crate::world::World;

impl World {
    /// Gives a command to a node, if its daemon is there.
    pub(crate) fn command(&mut self, number: usize, command: Command) {
        self.requests += 1;
        let request = self.requests;
        let Some(daemon) = &mut self.machines[number].daemon else { return };
        daemon.inbox.push_back(Item::Input(Input::Command { request, command: command.clone() }));
        self.trace(|| format!("{} is asked {request}: {}", name(number), shown(&command)));
        self.wake_soon(number);
    }

    /// An operator does something.
    pub(crate) fn operator_acts(&mut self, prng: &mut Prng) {
        let machines = self.machines.len() as u64;
        let mut node = || prng.range(0..=machines - 1) as usize;
        let (at, other) = (node(), node());
        let services = &self.setup.intent.services;
        let service = services[prng.range(0..=services.len() as u64 - 1) as usize].name.clone();
        let named = prng.chance(1, 2).then(|| name(other));
        let engine = |command| Command::Engine(command);
        if self.mix.has(crate::fault::Kind::Fencing) && prng.chance(1, 6) {
            let whom = node_id(other);
            let command = match prng.range(0..=2) {
                0 => Command::FenceOn(whom),
                1 => Command::FenceReset(whom),
                _ => Command::FenceOff(whom),
            };
            return self.command(at, command);
        }
        let command = match prng.range(0..=12) {
            0..=1 => engine(EngineCommand::Start { service, node: named }),
            2 => engine(EngineCommand::Stop { service }),
            3..=5 => engine(EngineCommand::Move { service, to: named }),
            6 => engine(EngineCommand::Auto { service, node: named }),
            7 => engine(EngineCommand::Manual { service, node: named }),
            8 => engine(EngineCommand::Clear { service, node: named }),
            9 => engine(EngineCommand::Standby { node: name(other) }),
            10 => engine(EngineCommand::Online { node: name(other) }),
            _ => {
                // Only of what is really down.
                if self.machines[other].is_on || at == other {
                    return;
                }
                Command::ConfirmDown(node_id(other))
            }
        };
        self.command(at, command);
    }

    /// An operator adds a service to the configuration, or changes one.
    pub(crate) fn configure(&mut self, prng: &mut Prng) {
        let at = prng.range(0..=self.machines.len() as u64 - 1) as usize;
        let Some(daemon) = &self.machines[at].daemon else { return };
        let mut intent = daemon.node.engine().intent().clone();
        let expected = intent.version;
        intent.version += 1;
        intent.checksum = prng.next_u64();
        let missing = self.setup.spare.iter().find(|spare| intent.service(&spare.name).is_none());
        match missing {
            Some(spare) => intent.services.push(spare.clone()),
            None => {
                let place = prng.range(0..=intent.services.len() as u64 - 1) as usize;
                intent.services[place].nodes.rotate_left(1);
            }
        }
        let text = text_of(&intent);
        let intent = Box::new(intent);
        let command = EngineCommand::Configure { expected, intent, text };
        self.command(at, Command::Engine(command));
    }

    /// After the faults: operators undo what they did and repair what only people can.
    pub(crate) fn mend(&mut self) {
        self.mends += 1;
        let count = self.machines.len();
        let is_member = |number: &usize| {
            self.machines[*number].daemon.as_ref().is_some_and(|daemon| {
                let digest = daemon.node.group().digest();
                digest.standing == Standing::Member
                    && daemon.node.group().status().waiting.is_none()
            })
        };
        match (0..count).find(is_member) {
            Some(number) => self.mend_services(number),
            None => self.mend_view(),
        }
    }

    fn mend_services(&mut self, number: usize) {
        let Some(daemon) = &self.machines[number].daemon else { return };
        let engine = daemon.node.engine();
        let observation = engine.observation();
        let mut commands = Vec::new();
        for node in observation.standby {
            commands.push(EngineCommand::Online { node: name(crate::setup::machine_of(node)) });
        }
        for (service, state) in &observation.services {
            let Some(spec) = engine.intent().service(service) else { continue };
            let service = service.clone();
            let is_manual = |node: &NodeId| state.mode(spec, *node) == Mode::Manual;
            if spec.nodes.iter().any(is_manual) {
                let service = service.clone();
                commands.push(EngineCommand::Auto { service, node: None });
            }
            let is_broken = matches!(state.phase, Phase::BrokenUnsafe { .. });
            let is_blocked = state.failures.values().any(|failures| failures.blocked.is_some());
            if is_broken || is_blocked {
                let service = service.clone();
                commands.push(EngineCommand::Clear { service, node: None });
            }
            if state.wish == Wish::Stopped {
                commands.push(EngineCommand::Start { service, node: None });
            }
        }
        for command in commands {
            self.command(number, Command::Engine(command));
        }
    }

    /// Nobody is in a living view. When memories were lost only people can say that nobody is
    /// anywhere else.
    fn mend_view(&mut self) {
        let everybody: NodeSet = (0..self.machines.len()).map(node_id).collect();
        let sees_all = |number: usize| {
            self.machines[number].daemon.as_ref().is_some_and(|daemon| {
                let mut row = daemon.node.transport().row();
                row.insert(node_id(number));
                row == everybody
            })
        };
        let count = self.machines.len();
        if self.memory_lost && (0..count).all(sees_all) {
            // Not again before the first attempt can have come about.
            let attempt = self.mends / 8;
            if self.mends.is_multiple_of(8) {
                self.command(attempt % count, Command::Seed);
            }
        }
    }
}

fn shown(command: &Command) -> String {
    match command {
        Command::Engine(EngineCommand::Configure { intent, .. }) => {
            format!("configuration version {}", intent.version)
        }
        command => format!("{command:?}"),
    }
}
