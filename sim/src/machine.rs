//! A machine: power, clock, disk, kernel, processes, guard, and maybe a daemon.
//!
//! Plain data; what happens to it is in `power.rs`, `driver.rs`, `guard.rs` and `kernel.rs`.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::{Incarnation, Instant, Medium, NetworkId, View};
use engine::{ActionId, Intent, Resource};
use node::{Input, Node, Output};
use transport::PathId;

use crate::clock::Clock;
use crate::event::Datagram;
use crate::media::Port;

/// What a state file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The newest life.
    pub incarnation: Incarnation,
    /// The newest view; none after a fall-back to an older file, which may know too little.
    pub record: Option<View>,
}

/// A write that was asked for.
#[derive(Clone, Debug)]
pub struct Write {
    /// The daemon that waits for it, and the name it gave it.
    pub token: Option<(u32, u64)>,
    /// What.
    pub what: Written,
}

/// What is written.
#[derive(Clone, Debug)]
pub enum Written {
    /// The node's memory.
    State(Memory),
    /// A configuration that is about to be agreed on.
    Pending(Box<Intent>),
    /// A configuration that was agreed on.
    Agreed(Box<Intent>),
}

/// What survives a loss of power.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The state file.
    pub memory: Memory,
    /// The incarnation in the generation before it.
    pub before: Incarnation,
    /// The configuration file.
    pub agreed: Intent,
    /// A configuration that was acknowledged and perhaps not agreed on.
    pub pending: Option<Intent>,
    /// Writes not done yet, in order; the first is on its way.
    pub writes: VecDeque<Write>,
}

impl Disk {
    /// The configuration that a daemon starts with: the newest that may have been agreed on.
    #[must_use]
    pub fn newest(&self) -> &Intent {
        let pending = self.pending.as_ref();
        pending.filter(|pending| pending.version > self.agreed.version).unwrap_or(&self.agreed)
    }

    /// Puts a write into effect.
    pub fn apply(&mut self, what: Written) {
        match what {
            Written::State(memory) => {
                self.before = self.memory.incarnation;
                self.memory = memory;
            }
            Written::Pending(intent) => self.pending = Some(*intent),
            Written::Agreed(intent) => self.agreed = *intent,
        }
    }
}

/// A process of a service.
#[derive(Clone, Debug)]
pub struct Process {
    /// As it was started.
    pub resource: Resource,
    /// It accepts work from the moment when it exists until it is killed or ends. (A real one
    /// takes a while to begin; the worst case is that it does not.)
    pub accepts: bool,
    /// What happens to it next; a token, see [`Machine::transitions`].
    pub next: Option<u64>,
    /// Ignores being asked to end.
    pub is_deaf: bool,
    /// Does not end when killed, either.
    pub is_unkillable: bool,
    /// The kill that an unkillable one owes an answer to, and the daemon that asked for it.
    pub owed: Option<(ActionId, u32)>,
}

/// What is going to happen to a process.
#[derive(Clone, Debug)]
pub enum Transition {
    /// It works.
    Started(ActionId),
    /// It ends while it starts.
    StartFailed(ActionId),
    /// It is gone, as asked.
    Ended(ActionId),
    /// It dies by itself.
    Dies,
}

/// What the guard knows of a service: see `cover.rs` of the daemon.
#[derive(Clone, Copy, Debug)]
pub struct Cover {
    /// Until when it may work, on the machine's clock.
    pub deadline: Instant,
    /// The guard has ended it; it cannot be extended any more.
    pub is_killed: bool,
}

/// A guard: lives as long as the machine has power.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// The services under it.
    pub covers: BTreeMap<String, Cover>,
    /// Sealed in advance by the present or last daemon.
    pub goodbyes: Vec<(PathId, Vec<u8>)>,
    /// Not said for the daemon that died last.
    pub owes_goodbye: bool,
    /// The guard is going to look at this time.
    pub looks_at: Option<u64>,
    /// The watchdog that it feeds.
    pub watchdog: Option<crate::storage::Feeding>,
    /// The daemon was started before since the machine has power.
    pub has_restarted: bool,
}

/// What a kernel's gate knows of an address, on the machine's clock: `os::gate`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Slot {
    /// The daemon's: until when the lease lasts.
    pub deadline: Instant,
    /// The daemon's: when it was sure that the service is held here.
    pub grant: Instant,
    /// The guard's: when it ended the service.
    pub revoked: Instant,
}

impl Slot {
    /// Whether packets pass.
    #[must_use]
    pub fn is_open(&self, now: Instant) -> bool {
        now < self.deadline && self.grant > self.revoked
    }
}

/// An interface of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Card {
    /// In which network.
    pub network: NetworkId,
    /// The first one there, or the second.
    pub card: u8,
}

/// Numbers of first cards.
const CARDS: u32 = 16;

impl Card {
    /// The kernel's number of it, on all machines.
    #[must_use]
    pub fn index(self) -> u32 {
        u32::from(self.card) * CARDS + u32::from(self.network.0) + 1
    }

    /// The interface of that number.
    #[must_use]
    pub fn of(index: u32) -> Card {
        let (card, network) = ((index - 1) / CARDS, (index - 1) % CARDS);
        Card { network: NetworkId(network as u16), card: card as u8 }
    }
}

/// An address of the machine's own in a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// On which interface.
    pub card: Card,
    /// The address.
    pub address: IpAddr,
    /// Bits of the prefix.
    pub prefix: u8,
}

/// A service address in a kernel.
#[derive(Clone, Debug)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// Whose.
    pub service: String,
    /// On which interface.
    pub card: Card,
    /// Bits of the prefix.
    pub prefix: u8,
    /// When the kernel lets go, in real time.
    pub expires: u64,
}

/// Something that waits for a daemon's next turn.
#[derive(Debug)]
pub enum Item {
    /// In the buffer of a socket.
    Datagram(Datagram),
    /// From a serial line.
    Bytes(NetworkId, Vec<u8>),
    /// From another thread of the daemon.
    Input(Input),
}

/// A running daemon.
pub struct Daemon {
    /// Which of this machine's daemons; grows.
    pub number: u32,
    /// The very type that ships.
    pub node: Node,
    /// What waits for its next turn.
    pub inbox: VecDeque<Item>,
    /// Outputs that it has not carried out because it was stopped in between.
    pub backlog: VecDeque<Output>,
    /// When its loop wakes up, in real time.
    pub wakes_at: Option<u64>,
    /// Stopped by a signal.
    pub is_paused: bool,
    /// It was stopped and has made no turn since: when frames had last been exchanged with each
    /// machine, over each of its paths that were alive.
    pub was_paused: Option<Vec<Exchange>>,
    /// The last turn, in real time.
    pub turned_at: u64,
    /// Copies of these datagrams were received in this life.
    pub received: BTreeSet<u64>,
    /// Interfaces on which it listens to frames.
    pub listening: BTreeSet<u32>,
    /// What polls have found of its networks.
    pub polled: BTreeMap<(usize, u8), crate::polls::Polled>,
    /// Commands that were given and not answered.
    pub asked: BTreeSet<u64>,
    /// Fence agents that run.
    pub agents: BTreeSet<u64>,
    /// Its ends of shared disks and serial lines.
    pub ports: BTreeMap<NetworkId, Port>,
    /// It has left.
    pub has_left: bool,
}

/// Frames that went both ways over a path.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// With whom.
    pub peer: usize,
    /// Over what.
    pub network: NetworkId,
    /// What that is made of.
    pub medium: Medium,
    /// When the direction that was silent longer was last heard, in real time.
    pub at: u64,
}

/// What strikes in the middle of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strike {
    /// No power any more; back after this time, or when all faults are over.
    PowerOff(Option<u64>),
    /// The daemon is killed, and started again after this time.
    Kill(u64),
    /// The daemon is stopped for this time.
    Pause(u64),
    /// Everything on the machine is stopped for this time: daemon, guard, processes.
    Freeze(u64),
}

/// One machine.
pub struct Machine {
    /// Its place, and its node id minus one.
    pub number: usize,
    /// Whether it has power.
    pub is_on: bool,
    /// Its supplies that fence agents have turned off, by level and agent. It has no power when all
    /// of one level are.
    pub cut: BTreeSet<(u8, usize)>,
    /// Counts power-ons; what was scheduled for an earlier one does not happen.
    pub boots: u32,
    /// Since the last power-on.
    pub clock: Clock,
    /// The rate of its crystal.
    pub rate: i64,
    /// What the wall clock shows at the start of the run, in milliseconds.
    pub wall: u64,
    /// What survives.
    pub disk: Disk,
    /// The guard.
    pub guard: Guard,
    /// Service addresses on its interfaces.
    pub addresses: Vec<Address>,
    /// Its own addresses.
    pub own: Vec<Own>,
    /// Hardware addresses that are not the cards' own.
    pub macs: BTreeMap<Card, [u8; 6]>,
    /// What the addresses thread has on record.
    pub taken: BTreeMap<u32, network::Taken>,
    /// The kernel has a gate.
    pub has_gate: bool,
    /// If it has one, it is of the kind that is told for how long an address is open.
    pub has_sets: bool,
    /// What its daemon has said to the thread that tells it.
    pub sets: crate::sets::Sets,
    /// The gate of each service address; none: closed.
    pub gate: BTreeMap<IpAddr, Slot>,
    /// Daemon, guard and processes are stopped until then, in real time.
    pub frozen_until: Option<u64>,
    /// A picture of the interfaces is on its way to the daemon.
    pub picture_due: bool,
    /// Processes by service and resource.
    pub processes: BTreeMap<(String, String), Process>,
    /// What is going to happen to which process, by token; with the daemon that asked for it.
    pub transitions: BTreeMap<u64, ((String, String), Transition, u32)>,
    /// The daemon, while there is one.
    pub daemon: Option<Box<Daemon>>,
    /// Daemons started so far.
    pub daemons: u32,
    /// The greatest lateness of the loop, in nanoseconds.
    pub lateness: u64,
    /// Since when its loop has not been late.
    pub calm_since: u64,
    /// The greatest time that the disk takes, in nanoseconds.
    pub disk_delay: u64,
    /// The gateway of its first network does not answer.
    pub is_gateway_silent: bool,
    /// Something strikes after so many more outputs.
    pub strike: Option<(u32, Strike)>,
}

impl Machine {
    /// What its clock shows.
    #[must_use]
    pub fn local(&self, real: u64) -> Instant {
        self.clock.local(real)
    }

    /// Whether the kernel lets anybody hear of an address that it has.
    #[must_use]
    pub fn answers(&self, address: IpAddr, real: u64) -> bool {
        let slot = self.gate.get(&address);
        let now = self.local(real);
        let is_open = |slot: &Slot| match self.has_sets {
            // It knows of no revocation.
            true => now < slot.deadline,
            false => slot.is_open(now),
        };
        !self.has_gate || slot.is_some_and(is_open)
    }

    /// The hardware address that a card has.
    #[must_use]
    pub fn mac(&self, card: Card) -> [u8; 6] {
        let own = [2, 0, 0, card.card, card.network.0 as u8, self.number as u8 + 1];
        self.macs.get(&card).copied().unwrap_or(own)
    }

    /// Whether anything of the service works here: a process accepts work or an address answers. What
    /// is stopped accepts nothing.
    #[must_use]
    pub fn owns(&self, service: &str, real: u64) -> bool {
        let mut processes = self.processes.iter();
        let accepts = processes.any(|((name, _), process)| name == service && process.accepts);
        let mut addresses = self.addresses.iter().filter(|own| own.service == service);
        accepts && self.frozen_until.is_none()
            || addresses.any(|own| self.answers(own.address, real))
    }

    /// Whether anything of the service is left here, working or not.
    #[must_use]
    pub fn has(&self, service: &str) -> bool {
        self.processes.keys().any(|(name, _)| name == service)
            || self.addresses.iter().any(|address| address.service == service)
    }

    /// The daemon, if it can run now.
    #[must_use]
    pub fn awake(&self) -> Option<&Daemon> {
        self.daemon.as_deref().filter(|daemon| !daemon.is_paused)
    }
}
