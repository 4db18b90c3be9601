//! Cards, cables and switches as virtual objects, and a clock that only the test moves.

use core::time::Duration;
use std::collections::VecDeque;

use base::{Instant, NetworkId, NodeId};

use super::wire::{CARDS_MAX, Frame, Says, Station};
use super::{
    Card, Config, Detection, Doubt, Fault, Health, Input, Net, Output, Role, Status, Verdict,
};
use crate::wire::Mac;

mod counted;
mod frames;
mod lone;
mod once;
mod random;
mod unread;

/// How often a driver looks.
const LOOK: Duration = Duration::from_millis(50);
const INTERVAL: Duration = Duration::from_secs(1);
const POLLS: u32 = 3;
const NET: NetworkId = NetworkId(0);
const EVERYBODY: Mac = [0xff; 6];

const UNPROVEN: Verdict = Verdict::Unsure(Doubt::Unproven);
const SILENT: Verdict = Verdict::Unsure(Doubt::Silent);

/// A card, its cable, and what is wrong with them.
#[derive(Clone, Debug)]
struct Object {
    card: Card,
    switch: usize,
    /// Hears nothing, though there is a signal.
    deaf: bool,
    /// What it says goes nowhere.
    dumb: bool,
    /// The driver sends nothing and counts errors.
    broken: bool,
    /// The driver takes nothing.
    refuses: bool,
    /// The target behind the switch answers it; none: nobody asks.
    asks_target: bool,
    /// The kernel does not tell of it; its driver does of the carrier.
    is_unread: bool,
}

impl Object {
    fn is_well(&self) -> bool {
        self.card.up
            && self.card.carrier
            && !(self.deaf || self.dumb || self.broken || self.refuses)
    }
}

struct Machine {
    health: Health,
    cards: Vec<Object>,
    /// Its process stands still.
    is_paused: bool,
    waiting: VecDeque<(u32, Vec<u8>)>,
    /// All verdicts that it gave.
    said: Vec<(Instant, String, Verdict)>,
}

/// Machines whose cards are in switches.
struct World {
    now: Instant,
    machines: Vec<Machine>,
    /// Whether each switch forwards.
    switches: Vec<bool>,
    /// Whether the switches are connected with each other.
    uplink: bool,
    /// Somebody else talks to all on each switch.
    noise: bool,
    /// Whether the target answers at all.
    target: bool,
}

impl World {
    /// As many machines as given, each with so many cards, all in one switch.
    fn new(cards: &[usize], detection: Detection) -> World {
        let now = Instant::from_millis(5_000);
        let machines = cards.iter().enumerate().map(|(node, count)| {
            let names = (0..*count).map(|card| format!("eth{card}")).collect();
            let net = Net {
                number: NET,
                cards: names,
                sharing: Vec::new(),
                poll_interval: INTERVAL,
                polls: POLLS,
                detection,
            };
            let node = NodeId(node as u8);
            let config = Config { cluster: 7, node, life: 100, nets: vec![net] };
            let object = |card: usize| Object {
                card: Card {
                    index: 2 + card as u32,
                    name: format!("eth{card}"),
                    mac: Some([2, 0, 0, 0, node.0, card as u8]),
                    up: true,
                    carrier: true,
                    rx: 0,
                    tx: 0,
                    errors: 0,
                },
                switch: 0,
                deaf: false,
                dumb: false,
                broken: false,
                refuses: false,
                asks_target: false,
                is_unread: false,
            };
            Machine {
                health: Health::new(config, now),
                cards: (0..*count).map(object).collect(),
                is_paused: false,
                waiting: VecDeque::new(),
                said: Vec::new(),
            }
        });
        let machines = machines.collect();
        World { now, machines, switches: vec![true], uplink: true, noise: false, target: true }
    }

    /// The same, when all have proven themselves.
    fn settled(cards: &[usize], detection: Detection) -> World {
        let mut world = World::new(cards, detection);
        world.rounds(POLLS + 2);
        for (node, count) in cards.iter().enumerate() {
            for card in 0..*count {
                assert_eq!(world.verdict(node, card), Verdict::Up, "card {card} of {node}");
            }
            world.machines[node].said.clear();
        }
        world
    }

    fn object(&mut self, node: usize, card: usize) -> &mut Object {
        &mut self.machines[node].cards[card]
    }

    fn verdict(&self, node: usize, card: usize) -> Verdict {
        let name = &self.machines[node].cards[card].card.name;
        self.machines[node].health.verdict(name).expect("a card of the net")
    }

    fn status(&self, node: usize) -> Status {
        self.machines[node].health.status()
    }

    /// The verdicts of a machine since the last call, without their moments.
    fn said(&mut self, node: usize) -> Vec<(String, Verdict)> {
        let said = std::mem::take(&mut self.machines[node].said);
        said.into_iter().map(|(_, card, verdict)| (card, verdict)).collect()
    }

    fn rounds(&mut self, count: u32) {
        self.pass(INTERVAL * count);
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += LOOK;
            self.step();
        }
    }

    fn step(&mut self) {
        if self.noise {
            for switch in 0..self.switches.len() {
                self.put(switch, None, EVERYBODY, &[]);
            }
        }
        for node in 0..self.machines.len() {
            if !self.machines[node].is_paused {
                self.turn(node);
            }
        }
    }

    /// One turn of a driver: frames, a sample, the time.
    fn turn(&mut self, node: usize) {
        self.take_waiting(node);
        let (unread, read): (Vec<Object>, Vec<Object>) =
            self.machines[node].cards.iter().cloned().partition(|object| object.is_unread);
        for Object { card: Card { name, carrier, .. }, .. } in unread {
            self.feed(node, Input::Unread { card: name, carrier: Some(carrier) });
        }
        let cards = read.into_iter().map(|object| object.card).collect();
        self.feed(node, Input::Sample(cards));
        for card in 0..self.machines[node].cards.len() {
            let object = self.machines[node].cards[card].clone();
            if object.asks_target {
                let answers = self.target && object.is_well() && self.switches[object.switch];
                let interface = object.card.index;
                self.feed(node, Input::Target { interface, answers });
            }
        }
        if self.machines[node].health.deadline().is_some_and(|at| at <= self.now) {
            self.feed(node, Input::Tick);
        }
    }

    fn take_waiting(&mut self, node: usize) {
        while let Some((interface, bytes)) = self.machines[node].waiting.pop_front() {
            self.feed(node, Input::Frame { interface, bytes });
        }
    }

    fn feed(&mut self, node: usize, input: Input) {
        let now = self.now;
        let health = &mut self.machines[node].health;
        health.handle(now, input);
        let outputs: Vec<Output> = std::iter::from_fn(|| health.poll_output()).collect();
        for output in outputs {
            match output {
                Output::Verdict { card, verdict, .. } => {
                    self.machines[node].said.push((now, card, verdict));
                }
                Output::Send { interface, to, bytes } => self.send(node, interface, to, &bytes),
            }
        }
    }

    fn send(&mut self, node: usize, interface: u32, to: Mac, bytes: &[u8]) {
        let mut cards = self.machines[node].cards.iter_mut();
        let object = cards.find(|object| object.card.index == interface).expect("a known card");
        if object.refuses {
            return self.feed(node, Input::Refused { interface });
        }
        if object.broken {
            object.card.errors += 1;
            return;
        }
        object.card.tx += 1;
        if object.card.up && object.card.carrier && !object.dumb {
            let switch = object.switch;
            self.put(switch, Some((node, interface)), to, bytes);
        }
    }

    /// A frame comes to a switch, from a card or from somebody else.
    fn put(&mut self, switch: usize, from: Option<(usize, u32)>, to: Mac, bytes: &[u8]) {
        if !self.switches[switch] {
            return;
        }
        for node in 0..self.machines.len() {
            let machine = &mut self.machines[node];
            for object in &mut machine.cards {
                let is_sender = from == Some((node, object.card.index));
                let is_near =
                    object.switch == switch || (self.uplink && self.switches[object.switch]);
                let is_here = is_near && !is_sender;
                let is_for_it = to == EVERYBODY || Some(to) == object.card.mac;
                if is_here && is_for_it && object.card.up && object.card.carrier && !object.deaf {
                    object.card.rx += 1;
                    if !bytes.is_empty() {
                        machine.waiting.push_back((object.card.index, bytes.to_vec()));
                    }
                }
            }
            if !self.machines[node].is_paused {
                self.take_waiting(node);
            }
        }
    }

    /// A card that hears nothing and is not heard, with a signal.
    fn kill(&mut self, node: usize, card: usize) {
        let object = self.object(node, card);
        (object.deaf, object.dumb) = (true, true);
    }

    fn heal(&mut self, node: usize, card: usize) {
        let object = self.object(node, card);
        (object.deaf, object.dumb) = (false, false);
    }
}

fn down(fault: Fault) -> Verdict {
    Verdict::Down(fault)
}

fn station(node: u8, interface: u32) -> Station {
    Station { node: NodeId(node), interface }
}

/// A frame as machine 1 would send it from its first card.
fn frame(sequence: u32, says: Says) -> Frame {
    Frame {
        cluster: 7,
        net: NET,
        from: station(1, 2),
        mac: [2, 0, 0, 0, 1, 0],
        life: 100,
        sequence,
        says,
    }
}
