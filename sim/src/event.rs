//! What is going to happen, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use base::NetworkId;

use crate::arbiters::Call;
use crate::machine::Card;

/// A datagram on its way.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// Over which network.
    pub network: NetworkId,
    /// All its bytes.
    pub bytes: Vec<u8>,
    /// Names the datagram when there are or may be copies of it; zero otherwise.
    pub id: u64,
    /// A bit was flipped, or it was never sent by anybody.
    pub is_broken: bool,
}

/// Something that is going to happen.
#[derive(Debug)]
pub enum Event {
    /// A daemon's loop wakes up.
    Wake(usize),
    /// A datagram reaches a machine's socket.
    Datagram(usize, Datagram),
    /// An Ethernet frame reaches a machine's interface.
    Frame(usize, Card, Vec<u8>),
    /// An operation on a shared disk is done, or time is up; or a line takes bytes again. Of which
    /// daemon, and of which order of its port.
    Device(usize, u32, NetworkId, u64),
    /// A write reaches a shared disk late.
    Late(u64, Vec<u8>),
    /// Bytes reach the end of a serial line.
    Bytes(usize, NetworkId, Vec<u8>),
    /// The next operation of a question to an arbiter, or the answer.
    Arbiter(Box<Call>),
    /// A question to an arbiter fails, or has lasted too long.
    ArbiterGivenUp(Box<Call>),
    /// An arbiter that had died is back: its tie-breaker's name, and its number.
    ArbiterBack((u64, u8)),
    /// A fence agent is through; of which machine's daemon.
    Agent(usize, u32, node::FenceRun),
    /// What an agent accepted happens late: to the machine, by its level and agent.
    LateOff(usize, u8, usize),
    /// A write is on the disk; of which power-on of the machine.
    Disk(usize, u32),
    /// A process starts, ends or dies; by its token.
    Process(usize, u64),
    /// A machine's guard looks at its deadlines.
    Guard(usize),
    /// A machine's guard feeds the watchdog, or that resets it; of which power-on.
    Watchdog(usize, u32),
    /// The guard's kill of a service is done; of which power-on.
    Killed(usize, u32, String),
    /// The kernel tells of its interfaces and addresses.
    Picture(usize, u32),
    /// A kernel is told for how long an address is open.
    Opens(Box<crate::sets::Opening>),
    /// The thread that tells such a gate comes by: the machine, its boot and its daemon.
    ComesBy(usize, (u32, u32)),
    /// The kernel looks at the lifetimes of its addresses.
    Lifetimes(usize, u32),
    /// A machine gets power.
    PowerOn(usize, u32),
    /// A guard starts the daemon; of which power-on, which daemon.
    DaemonStart(usize, u32, u32),
    /// A machine that was stopped as a whole goes on; of which power-on.
    Thaw(usize, u32),
    /// A stopped daemon goes on; which daemon.
    Resume(usize, u32),
    /// A fault begins.
    Fault(usize),
    /// A fault ends.
    Repair(usize),
    /// Slow checks, and the question whether all is well again.
    Sample,
    /// The faults are over.
    Heal,
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.number == other.number
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// All events to come. Those of one moment happen in the order in which they were scheduled.
#[derive(Debug, Default)]
pub struct Queue {
    heap: BinaryHeap<Reverse<Scheduled>>,
    numbers: u64,
}

impl Queue {
    /// Schedules an event.
    pub fn push(&mut self, at: u64, event: Event) {
        self.numbers += 1;
        self.heap.push(Reverse(Scheduled { at, number: self.numbers, event }));
    }

    /// The next event and its time.
    pub fn pop(&mut self) -> Option<(u64, Event)> {
        self.heap.pop().map(|Reverse(scheduled)| (scheduled.at, scheduled.event))
    }
}
