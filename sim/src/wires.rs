//! The networks: who reaches whom, how slowly, and what goes wrong on the way.

use base::{Medium, NetworkId, NodeSet, Prng};

use crate::event::Datagram;
use crate::fault::{Kind, Mix};
use crate::machine::Exchange;
use crate::setup::{MediumSetup, NetworkSetup, machine_of, node_id};

/// Captured datagrams that are kept.
const CAPTURED_MAX: usize = 64;

/// One direction from one machine to another on one network.
#[derive(Clone, Copy, Debug, Default)]
struct Direction {
    /// How many faults block it.
    blocked: u8,
    /// How many faults keep away what is for all.
    deaf: u8,
    /// Of a thousand datagrams, how many get lost.
    loss: u16,
}

/// A datagram that somebody wrote down to send it again.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Whose it is.
    pub to: usize,
    /// The datagram.
    pub datagram: Datagram,
}

/// All networks of a run.
#[derive(Debug)]
pub struct Wires {
    machines: usize,
    networks: Vec<NetworkSetup>,
    directions: Vec<Direction>,
    /// What each network is made of, and then each other medium.
    media: Vec<Medium>,
    /// When a frame was last received by a daemon, in real time: by medium and direction.
    received: Vec<u64>,
    /// Faults that keep the carriers of the two cards away, by network and machine.
    carriers: Vec<[u8; 2]>,
    /// When each was last taken away.
    carriers_lost: Vec<u64>,
    /// Which card has the address of the network, by network and machine.
    seats: Vec<u8>,
    mix: Mix,
    prng: Prng,
    unit: u64,
    captured: Vec<Captured>,
    ids: u64,
    /// Datagrams sent.
    pub sent: u64,
}

/// What becomes of a datagram: when it arrives, and whether a bit is flipped.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Nanoseconds from now.
    pub delay: u64,
    /// A bit is flipped.
    pub is_broken: bool,
}

impl Wires {
    /// Networks on which nothing is cut.
    #[must_use]
    pub fn new(
        machines: usize,
        networks: Vec<NetworkSetup>,
        others: &[MediumSetup],
        mix: Mix,
        prng: &Prng,
        unit: u64,
    ) -> Wires {
        let mut draw = prng.child("wires");
        let count = networks.len() * machines * machines;
        let mut directions = vec![Direction::default(); count];
        for (number, direction) in directions.iter_mut().enumerate() {
            let worst = networks[number / (machines * machines)].loss;
            // Most are good, some are bad.
            direction.loss = (worst * draw.range(0..=100) / 100 * draw.range(0..=100) / 100) as u16;
        }
        let media: Vec<Medium> = (networks.iter().map(|_| Medium::Network))
            .chain(others.iter().map(|other| other.medium))
            .collect();
        Wires {
            received: vec![0; media.len() * machines * machines],
            media,
            carriers: vec![[0; 2]; networks.len() * machines],
            seats: vec![0; networks.len() * machines],
            carriers_lost: vec![0; networks.len() * machines],
            machines,
            networks,
            directions,
            mix,
            prng: prng.child("datagrams"),
            unit,
            captured: Vec::new(),
            ids: 0,
            sent: 0,
        }
    }

    /// All faults are over; what was written down stays written down.
    pub fn heal(&mut self) {
        for direction in &mut self.directions {
            direction.blocked = 0;
            direction.deaf = 0;
            direction.loss = 0;
        }
        self.carriers.fill([0; 2]);
        self.mix = Mix::default();
        for network in &mut self.networks {
            network.delay.1 = network.delay.1.min(1_000_000);
        }
    }

    fn place(&self, network: usize, from: usize, to: usize) -> usize {
        (network * self.machines + from) * self.machines + to
    }

    /// The nodes on a network.
    #[must_use]
    pub fn nodes(&self, network: NetworkId) -> NodeSet {
        self.networks[usize::from(network.0)].nodes
    }

    /// How many networks there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.networks.len()
    }

    /// What the networks and the other media are made of.
    pub fn media(&self) -> impl Iterator<Item = Medium> {
        self.media.iter().copied()
    }

    /// One more (or one fewer) fault blocks this direction.
    pub fn block(&mut self, network: usize, from: usize, to: usize, begins: bool) {
        let place = self.place(network, from, to);
        let blocked = &mut self.directions[place].blocked;
        *blocked = if begins { *blocked + 1 } else { blocked.saturating_sub(1) };
    }

    /// One more (or one fewer) fault keeps away what is for all in this direction.
    pub fn deafen(&mut self, network: usize, from: usize, to: usize, begins: bool) {
        let place = self.place(network, from, to);
        let deaf = &mut self.directions[place].deaf;
        *deaf = if begins { *deaf + 1 } else { deaf.saturating_sub(1) };
    }

    /// Whether one machine hears what another sends to all.
    #[must_use]
    pub fn hears_all(&self, network: NetworkId, from: usize, to: usize) -> bool {
        self.directions[self.place(usize::from(network.0), from, to)].deaf == 0
    }

    /// One more (or one fewer) fault keeps the carrier away; true when that changed it.
    pub fn carrier_fault(
        &mut self,
        network: usize,
        (machine, card): (usize, u8),
        begins: bool,
        now: u64,
    ) -> bool {
        let faults = &mut self.carriers[network * self.machines + machine][usize::from(card)];
        let before = *faults;
        *faults = if begins { before + 1 } else { before.saturating_sub(1) };
        if begins {
            self.carriers_lost[network * self.machines + machine] = now;
        }
        (before == 0) != (*faults == 0)
    }

    /// Whether what proved a peer alive on this medium may have been given up since then, because
    /// the interface of a machine was without a carrier.
    #[must_use]
    pub fn lost_carrier_since(&self, network: NetworkId, machine: usize, since: u64) -> bool {
        let place = usize::from(network.0) * self.machines + machine;
        self.carriers.get(place).is_some_and(|cards| cards.iter().any(|faults| *faults > 0))
            || self.carriers_lost.get(place).is_some_and(|at| *at >= since)
    }

    /// Whether a card of a machine has a carrier.
    #[must_use]
    pub fn has_carrier(&self, network: usize, machine: usize, card: u8) -> bool {
        self.carriers[network * self.machines + machine][usize::from(card)] == 0
    }

    /// The address of the network is on that card of the machine from now on.
    pub fn seat(&mut self, network: NetworkId, machine: usize, card: u8) {
        self.seats[usize::from(network.0) * self.machines + machine] = card;
    }

    /// The card of a machine that has the address of the network.
    #[must_use]
    pub fn seat_of(&self, network: usize, machine: usize) -> u8 {
        self.seats[network * self.machines + machine]
    }

    /// Whether anything gets through from one card to another.
    pub(crate) fn connects(
        &self,
        network: usize,
        (from, one): (usize, u8),
        (to, other): (usize, u8),
    ) -> bool {
        self.directions[self.place(network, from, to)].blocked == 0
            && self.has_carrier(network, from, one)
            && self.has_carrier(network, to, other)
            && self.networks[network].nodes.contains(node_id(from))
            && self.networks[network].nodes.contains(node_id(to))
    }

    /// What becomes of a datagram sent now: up to two arrivals.
    pub fn send(&mut self, network: NetworkId, from: usize, to: usize) -> [Option<Arrival>; 2] {
        let number = usize::from(network.0);
        let [one, other] = [from, to].map(|machine| self.seat_of(number, machine));
        self.send_between(network, (from, one), (to, other))
    }

    /// The same for a frame from one card to another.
    pub fn send_between(
        &mut self,
        network: NetworkId,
        (from, one): (usize, u8),
        (to, other): (usize, u8),
    ) -> [Option<Arrival>; 2] {
        let network = usize::from(network.0);
        // The same number of draws for each datagram, whatever the faults.
        let (dice, more) = (self.prng.next_u64(), self.prng.next_u64());
        let of_thousand = |shift: u32| ((dice >> shift & 0x3ff) * 1_000) >> 10;
        let direction = &self.directions[self.place(network, from, to)];
        let connects = self.connects(network, (from, one), (to, other));
        if of_thousand(0) < u64::from(direction.loss) || !connects {
            return [None, None];
        }
        let (least, spread) = self.networks[network].delay;
        let part = |bits: u64, of: u64| ((u128::from(bits & 0xffff) * u128::from(of)) >> 16) as u64;
        let mut delay = least + part(dice >> 20, spread);
        if self.mix.has(Kind::Delay) && of_thousand(10) < 8 {
            delay += part(dice >> 40, self.unit * 3);
        }
        if self.mix.has(Kind::Reordering) && more & 0xff < 20 {
            delay += part(more >> 8, self.unit / 2);
        }
        let is_broken = self.mix.has(Kind::Corruption) && more >> 24 & 0xff < 4;
        let again = self.mix.has(Kind::Duplication) && more >> 32 & 0xff < 12;
        let second = part(more >> 40, self.unit) + delay;
        [
            Some(Arrival { delay, is_broken }),
            again.then_some(Arrival { delay: second, is_broken: false }),
        ]
    }

    /// A name for a datagram of which there may be copies; zero for one that is alone.
    pub fn name(&mut self, has_copy: bool) -> (u64, bool) {
        let capture = self.mix.has(Kind::Replay) && self.prng.chance(1, 40);
        if has_copy || capture {
            self.ids += 1;
            (self.ids, capture)
        } else {
            (0, false)
        }
    }

    /// Writes a datagram down.
    pub fn capture(&mut self, to: usize, datagram: &Datagram) {
        let captured = Captured { to, datagram: datagram.clone() };
        if self.captured.len() < CAPTURED_MAX {
            self.captured.push(captured);
        } else {
            let place = self.prng.range(0..=CAPTURED_MAX as u64 - 1) as usize;
            self.captured[place] = captured;
        }
    }

    /// Something that was written down.
    #[must_use]
    pub fn replay(&self, prng: &mut Prng) -> Option<Captured> {
        let last = self.captured.len().checked_sub(1)?;
        Some(self.captured[prng.range(0..=last as u64) as usize].clone())
    }

    /// Flips a bit.
    pub fn flip(&mut self, bytes: &mut [u8]) {
        let bit = self.prng.range(0..=bytes.len() as u64 * 8 - 1) as usize;
        bytes[bit / 8] ^= 1 << (bit % 8);
    }

    /// Nonsense that nobody sent.
    pub fn nonsense(&mut self) -> Vec<u8> {
        let length = self.prng.range(0..=200);
        (0..length).map(|_| self.prng.next_u64() as u8).collect()
    }

    /// A daemon has received a frame over a network or another medium.
    pub fn note_received(&mut self, network: NetworkId, from: usize, to: usize, now: u64) {
        let place = self.place(usize::from(network.0), from, to);
        self.received[place] = now;
    }

    /// When frames were last received in both directions between two machines: on each medium.
    pub fn exchanges(&self, one: usize, other: usize) -> impl Iterator<Item = (Medium, u64)> {
        self.media.iter().enumerate().map(move |(number, medium)| {
            let there = self.received[self.place(number, one, other)];
            (*medium, there.min(self.received[self.place(number, other, one)]))
        })
    }

    /// The same, over each path of a machine that its daemon calls alive.
    #[must_use]
    pub fn exchanges_over_living(&self, machine: usize, node: &node::Node) -> Vec<Exchange> {
        let status = node.transport().status();
        let paths = status.peers.iter().flat_map(|peer| &peer.paths);
        let living = paths.filter(|path| path.state == transport::PathState::Alive);
        let exchange = |path: &transport::PathStatus| {
            let (peer, network) = (machine_of(path.path.peer), path.path.network);
            let (medium, at) = self.exchanges(machine, peer).nth(usize::from(network.0))?;
            Some(Exchange { peer, network, medium, at })
        };
        living.filter_map(exchange).collect()
    }

    /// Whether a machine's interface on this network can be used at all.
    #[must_use]
    pub fn is_on(&self, network: usize, machine: usize) -> bool {
        self.networks[network].nodes.contains(node_id(machine))
    }

    /// The machines on a network.
    pub fn machines_on(&self, network: usize) -> impl Iterator<Item = usize> {
        self.networks[network].nodes.into_iter().map(machine_of)
    }
}
