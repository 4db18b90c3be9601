//! The driver of a node, step by step as the daemon's loop (`crates/mainstay/src/daemon/drive.rs`):
//! read everything, feed it, end the turn, carry out the outputs one by one.
//!
//! What the daemon gives to other threads takes time here; what it does itself is done at once.
//! A strike (power, kill, stop) can fall between any two outputs.

use base::{Incarnation, Instant, Member, NetworkId};
use engine::Found;
use node::{Birth, Durable, EventKind, Input, Node, Output};

use crate::event::{Datagram, Event};
use crate::machine::{Daemon, Item, Memory, Strike, Write, Written};
use crate::setup::{intent_of, machine_of};
use crate::world::{Severity, World};

/// Datagrams and reports taken in one turn.
const ITEMS_PER_TURN: usize = 256;

/// What became of a daemon in its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Lives,
    Struck(Strike),
    Left,
}

impl World {
    /// The guard starts the daemon.
    pub(crate) fn start_daemon(&mut self, number: usize, boot: u32, daemons: u32) {
        let machine = &mut self.machines[number];
        let is_due = machine.is_on
            && machine.boots == boot
            && machine.daemons == daemons
            && machine.daemon.is_none();
        if !is_due {
            return;
        }
        if let Some(until) = machine.frozen_until {
            // Its guard starts it when it goes on.
            return self.queue.push(until, Event::DaemonStart(number, boot, daemons));
        }
        let now = machine.local(self.now);
        let stored = machine.disk.memory.incarnation.0 + 1;
        let incarnation = Incarnation(stored.max(machine.wall_clock(self.now)));
        let memory = Memory { incarnation, record: machine.disk.memory.record.clone() };
        machine.disk.apply(Written::State(memory));
        let local = Member { node: machine.node(), incarnation };
        let found: Vec<Found> = machine.found();
        let certified = machine.guard.has_restarted;
        machine.guard.has_restarted = true;
        machine.guard.owes_goodbye = false;
        let intent = machine.disk.newest().clone();
        let mut draw = self.prng.child(&format!("daemon {number} {}", machine.daemons));
        let mut entropy = [0; 16];
        entropy[..8].copy_from_slice(&draw.next_u64().to_be_bytes());
        entropy[8..].copy_from_slice(&draw.next_u64().to_be_bytes());
        let birth = Birth {
            local,
            cluster: self.setup.cluster(intent, local.node),
            keys: [Some([7; 32]), None],
            entropy,
            seed: draw.next_u64(),
            record: machine.disk.memory.record.clone(),
            found,
            taken: machine.taken.clone(),
            certified,
        };
        machine.daemons += 1;
        let daemon = Daemon {
            number: machine.daemons,
            node: Node::new(birth, now),
            inbox: Default::default(),
            backlog: Default::default(),
            wakes_at: None,
            is_paused: false,
            was_paused: None,
            turned_at: self.now,
            received: Default::default(),
            listening: Default::default(),
            polled: Default::default(),
            asked: Default::default(),
            agents: Default::default(),
            ports: self.media.ports(number, incarnation, self.now),
            has_left: false,
        };
        machine.daemon = Some(Box::new(daemon));
        self.start_ports(number);
        self.check.new_life(number, local);
        self.trace(|| format!("{} daemon starts as {local}", self.machines[number].shown()));
        let picture = self.interfaces(number);
        let watchdog = self.watchdog_of(number);
        let gateways = self.silent_gateways(number);
        let is_silent = self.machines[number].is_gateway_silent;
        let daemon = self.machines[number].daemon.as_mut().expect("it was just started");
        daemon.inbox.push_back(Item::Input(Input::Watchdog(watchdog)));
        daemon.inbox.push_back(Item::Input(Input::Network(network::Input::Interfaces(picture))));
        if is_silent {
            daemon.inbox.push_back(Item::Input(gateways));
        }
        self.wake_soon(number);
    }

    /// The loop of a daemon wakes up.
    pub(crate) fn wake(&mut self, number: usize) {
        let due = |daemon: &Daemon| !daemon.is_paused && daemon.wakes_at == Some(self.now);
        if !self.machines[number].daemon.as_deref().is_some_and(due) {
            return;
        }
        let mut daemon = self.machines[number].daemon.take().expect("it was just seen");
        daemon.wakes_at = None;
        self.totals.turns += 1;
        let fate = self.turn(number, &mut daemon);
        daemon.turned_at = self.now;
        match fate {
            Fate::Lives => {
                let deadline = daemon.node.deadline().map(|(at, _)| at);
                let is_busy = !daemon.inbox.is_empty();
                daemon.was_paused = None;
                self.machines[number].daemon = Some(daemon);
                let at = deadline.map(|at| self.machines[number].real(at));
                match at {
                    _ if is_busy => self.wake_soon(number),
                    Some(at) => self.wake_at(number, at),
                    None => {}
                }
                self.settle_covers(number);
                self.check_after_turn(number);
            }
            Fate::Struck(strike) => {
                self.trace(|| format!("{} struck: {strike:?}", self.machines[number].shown()));
                self.machines[number].daemon = Some(daemon);
                self.strike(number, strike);
            }
            Fate::Left => {
                self.trace(|| format!("{} has left", crate::setup::name(number)));
                self.close_ports(*daemon, false);
                self.daemon_ended(number);
            }
        }
    }

    fn turn(&mut self, number: usize, daemon: &mut Daemon) -> Fate {
        let mut fate = self.carry_out(number, daemon);
        let mut left = ITEMS_PER_TURN;
        while let (Fate::Lives, Some(_)) = (&fate, left.checked_sub(1)) {
            left -= 1;
            fate = match daemon.inbox.pop_front() {
                None => break,
                Some(Item::Datagram(datagram)) => self.feed_datagram(number, daemon, datagram),
                Some(Item::Bytes(network, bytes)) => {
                    self.feed_bytes(number, daemon, network, &bytes)
                }
                Some(Item::Input(input)) => self.feed(number, daemon, input),
            };
        }
        if fate == Fate::Lives {
            let drained = daemon.inbox.is_empty();
            fate = self.feed(number, daemon, Input::Turn { drained });
        }
        fate
    }

    fn feed_datagram(&mut self, number: usize, daemon: &mut Daemon, datagram: Datagram) -> Fate {
        let Datagram { network, bytes, id, is_broken } = datagram;
        let is_again = daemon.received.contains(&id) && !is_broken;
        let now = self.machines[number].local(self.now);
        let from = bytes.get(8).copied().unwrap_or(0);
        let life = daemon.node.local();
        let heard = daemon.node.transport().last_received(base::NodeId(from & 0x7f));
        daemon.node.handle(now, Input::Receive { network, bytes });
        let again = daemon.node.transport().last_received(base::NodeId(from & 0x7f));
        if id != 0 && !is_broken && again != heard {
            // It counted; as long as its session does, none of its copies may.
            daemon.received.insert(id);
        }
        if is_again || is_broken {
            let output = daemon.node.poll_output();
            let verdict = crate::check::wire::a_copied_or_broken_datagram_changes_nothing(
                (heard, again),
                output.as_ref(),
            );
            self.require(Severity::Safety, "a copied or broken datagram changes nothing", verdict);
            daemon.backlog.extend(output);
        } else if (1..=self.setup.nodes as u8).contains(&from)
            // A disk shows old blocks to a new reader.
            && (again != heard || !self.media.has(network))
        {
            let from = machine_of(base::NodeId(from));
            self.wires.note_received(network, from, number, self.now);
        }
        let fate = self.carry_out(number, daemon);
        self.note_life(number, daemon, life);
        fate
    }

    /// Bytes of a line: the frames that they complete.
    fn feed_bytes(
        &mut self,
        number: usize,
        daemon: &mut Daemon,
        network: NetworkId,
        bytes: &[u8],
    ) -> Fate {
        let frames = daemon.ports.get_mut(&network).map(|port| port.receive(bytes));
        for bytes in frames.into_iter().flatten() {
            let datagram = Datagram { network, bytes, id: 0, is_broken: false };
            let fate = self.feed_datagram(number, daemon, datagram);
            if fate != Fate::Lives {
                return fate;
            }
        }
        Fate::Lives
    }

    fn feed(&mut self, number: usize, daemon: &mut Daemon, input: Input) -> Fate {
        let now = self.machines[number].local(self.now);
        let life = daemon.node.local();
        let is_turn = matches!(input, Input::Turn { .. });
        if let Input::Command { request, .. } = &input {
            daemon.asked.insert(*request);
        }
        daemon.node.handle(now, input);
        if is_turn {
            self.push_leases(number, daemon);
        }
        let fate = self.carry_out(number, daemon);
        self.note_life(number, daemon, life);
        fate
    }

    /// A node that was left out begins a new life within its daemon.
    fn note_life(&mut self, number: usize, daemon: &mut Daemon, before: Member) {
        let local = daemon.node.local();
        if local != before {
            daemon.received.clear();
            daemon.asked.clear();
            self.check.new_life(number, local);
        }
    }

    /// Carries out all outputs, unless something strikes.
    fn carry_out(&mut self, number: usize, daemon: &mut Daemon) -> Fate {
        loop {
            if let Some(output) = daemon.backlog.pop_front() {
                // It was decided before the pause.
                let paused = daemon.was_paused.take();
                self.output(number, daemon, output);
                daemon.was_paused = paused;
            } else {
                match daemon.node.poll_output() {
                    Some(output) => self.output(number, daemon, output),
                    None if daemon.has_left => return Fate::Left,
                    None => return Fate::Lives,
                }
            }
            let machine = &mut self.machines[number];
            if let Some((left, _)) = &mut machine.strike {
                if *left == 0 {
                    let (_, strike) = machine.strike.take().expect("it was just seen");
                    while let Some(output) = daemon.node.poll_output() {
                        daemon.backlog.push_back(output);
                    }
                    return Fate::Struck(strike);
                }
                *left -= 1;
            }
        }
    }

    fn output(&mut self, number: usize, daemon: &mut Daemon, output: Output) {
        match output {
            Output::Transmit { path, bytes } if self.media.has(path.network) => {
                self.carry(number, daemon, path, &bytes);
                daemon.node.recycle(bytes);
            }
            Output::Transmit { path, bytes } => {
                self.transmit(number, machine_of(path.peer), path.network, bytes);
            }
            Output::TransmitAll { network, bytes } => {
                let others: Vec<usize> = self.wires.machines_on(usize::from(network.0)).collect();
                for to in others.into_iter().filter(|to| *to != number) {
                    if self.wires.hears_all(network, number, to) {
                        self.transmit(number, to, network, bytes.clone());
                    }
                }
                daemon.node.recycle(bytes);
            }
            Output::Persist { token, what } => {
                let what = match what {
                    Durable::State { incarnation, record } => {
                        self.note_record(number, record.as_ref());
                        Written::State(Memory { incarnation, record })
                    }
                    Durable::Entry(entry) => Written::Pending(Box::new(configuration_in(&entry))),
                };
                self.write(number, Write { token: Some((daemon.number, token)), what });
            }
            Output::Ask(request) => self.ask_arbiters(number, daemon, &request),
            Output::Fence(run) => self.run_agent(number, daemon, run),
            Output::FenceStop(run) => {
                daemon.agents.remove(&run);
            }
            Output::ArmWatchdog => self.arm(number, daemon),
            Output::FenceRecord(_) => {}
            Output::Network(output) => self.network_output(number, daemon, output),
            Output::Process(act) => self.process_act(number, daemon, act),
            Output::Answer { request, result } => {
                self.trace(|| {
                    let shown = self.machines[number].shown();
                    match &result {
                        Ok(text) => format!("{shown} answers {request}: {text}"),
                        Err(refused) => format!("{shown} refuses {request}: {}", refused.sentence),
                    }
                });
                if result.is_ok() && request != 0 {
                    self.answers.push(self.now);
                }
                // Drains are asked for by the node itself.
                let is_known = request == 0 || daemon.asked.remove(&request);
                let verdict = crate::check::commands::a_command_is_answered_once(request, is_known);
                self.require(Severity::Safety, "a command is answered once", verdict);
            }
            Output::Note(note) => {
                self.trace(|| {
                    let shown = crate::setup::name(number);
                    format!("{shown} note {}: {}", note.number, note.sentence)
                });
            }
            Output::Event(event) => {
                let view = daemon.node.view().map_or(0, |view| view.generation);
                self.trace(|| {
                    let shown = crate::setup::name(number);
                    format!("{shown}@{view} {}: {}", event.kind.name(), event.sentence)
                });
                match event.kind {
                    EventKind::Fenced => self.check_fence(number, daemon, &event),
                    EventKind::Peer => self.check_loss(number, daemon, &event),
                    _ => {}
                }
            }
            Output::Configured { text, .. } => {
                let intent = intent_of(&text);
                self.note_change(number, intent.version);
                let what = Written::Agreed(Box::new(intent.clone()));
                self.write(number, Write { token: None, what });
                let node = self.machines[number].node();
                let cluster = Box::new(self.setup.cluster(intent, node));
                daemon.inbox.push_back(Item::Input(Input::Configured(cluster)));
            }
            Output::Told { .. } => unreachable!("nobody here tells anything"),
            Output::Goodbyes(frames) => self.machines[number].guard.goodbyes = frames,
            Output::Left => daemon.has_left = true,
        }
    }

    /// Puts something into a daemon's inbox, from another thread of it.
    pub(crate) fn tell(&mut self, number: usize, input: Input) {
        if let Some(daemon) = &mut self.machines[number].daemon {
            daemon.inbox.push_back(Item::Input(input));
            self.wake_soon(number);
        }
    }

    /// Hands a write to the disk.
    fn write(&mut self, number: usize, write: Write) {
        let machine = &mut self.machines[number];
        machine.disk.writes.push_back(write);
        if machine.disk.writes.len() == 1 {
            let at = self.now + self.prng.range(100_000..=machine.disk_delay);
            self.queue.push(at, Event::Disk(number, machine.boots));
        }
    }

    /// The disk has done the first write.
    pub(crate) fn written(&mut self, number: usize, boot: u32) {
        let machine = &mut self.machines[number];
        if machine.boots != boot || !machine.is_on {
            return;
        }
        let Some(write) = machine.disk.writes.pop_front() else { return };
        machine.disk.apply(write.what);
        if !machine.disk.writes.is_empty() {
            let at = self.now + self.prng.range(100_000..=machine.disk_delay);
            self.queue.push(at, Event::Disk(number, boot));
        }
        let is_there = |daemon: &Daemon, by: u32| daemon.number == by;
        if let Some((by, token)) = write.token
            && self.machines[number].daemon.as_deref().is_some_and(|daemon| is_there(daemon, by))
        {
            self.tell(number, Input::Persisted(token));
        }
    }

    fn push_leases(&mut self, number: usize, daemon: &Daemon) {
        let (until, held) = daemon.node.leases();
        if until == Instant::ZERO {
            return;
        }
        let mut pushed = false;
        if !self.machines[number].guard.covers.is_empty() {
            for service in held {
                let guard = &mut self.machines[number].guard;
                if let Some(cover) = guard.covers.get_mut(service)
                    && !cover.is_killed
                    && cover.deadline < until
                {
                    cover.deadline = until;
                    pushed = true;
                    self.push_gate(number, service, until);
                }
            }
        }
        if pushed {
            self.check.note_lease(number, daemon.node.view(), until);
        }
    }
}

/// The configuration in an entry of the total order.
fn configuration_in(entry: &[u8]) -> engine::Intent {
    match base::codec::decode(entry) {
        Ok(engine::Entry::Command {
            command: engine::Command::Configure { intent, .. }, ..
        }) => *intent,
        _ => unreachable!("only configurations are submitted as durable"),
    }
}
