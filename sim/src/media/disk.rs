//! A shared disk: its blocks, and the thread that each daemon has for it.

use std::collections::{BTreeMap, VecDeque};

use base::{Incarnation, Medium, NodeId, Prng, Timing};
use transport::disk::{BLOCK_SIZE, Layout, PAIR_BLOCKS, RUN_SIZE, Reader, Writer};

use crate::setup::nanos;

/// What the loop's thread needs to rouse the disk's.
pub(super) const ROUSING: u64 = 20_000;
/// The usual time of an operation.
const OPERATION: (u64, u64) = (50_000, 1_000_000);
/// How soon the end of an operation is looked for while the disk stands still.
const FROZEN: u64 = 5_000_000;
const SECTOR_SIZE: usize = 512;

// As in the daemon.
const ORDERS_MAX: usize = 256;
const BUSY_LOOK: u64 = 10_000_000;
const BUSY_LOOKS: u32 = 8;
const FAILURES_MAX: u32 = 10;
const RETRY_INTERVAL: u64 = 2_000_000_000;

/// What is wrong with the disk as a whole.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// Operations take up to so long.
    Slow(u64),
    /// No operation ends.
    Frozen,
    /// Writes of this machine fail.
    Refuses(usize),
}

/// The blocks.
#[derive(Debug)]
pub(super) struct Platter {
    layout: Layout,
    blocks: BTreeMap<u64, Stored>,
    /// Counts what happened to each run; by its first block.
    changes: BTreeMap<u64, u64>,
    slow: u64,
    frozen: u8,
    refuses: BTreeMap<usize, u8>,
}

#[derive(Debug)]
struct Stored {
    now: Vec<u8>,
    before: Vec<u8>,
}

impl Platter {
    pub(super) fn new(layout: Layout) -> Platter {
        Platter {
            layout,
            blocks: BTreeMap::new(),
            changes: BTreeMap::new(),
            slow: 0,
            frozen: 0,
            refuses: BTreeMap::new(),
        }
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn trouble(&mut self, trouble: Trouble, begins: bool) {
        let count = |faults: &mut u8| {
            *faults = if begins { *faults + 1 } else { faults.saturating_sub(1) };
        };
        match trouble {
            Trouble::Slow(most) => self.slow = if begins { most } else { 0 },
            Trouble::Frozen => count(&mut self.frozen),
            Trouble::Refuses(machine) => count(self.refuses.entry(machine).or_default()),
        }
    }

    pub(super) fn heal(&mut self) {
        (self.slow, self.frozen) = (0, 0);
        self.refuses.clear();
    }

    fn takes(&self, machine: usize) -> bool {
        self.refuses.get(&machine).is_none_or(|faults| *faults == 0)
    }

    fn duration(&self, prng: &mut Prng) -> u64 {
        prng.range(OPERATION.0..=OPERATION.1.max(self.slow))
    }

    /// A block is written.
    pub(super) fn land(&mut self, place: u64, block: Vec<u8>) {
        let blank = || Stored { now: vec![0; BLOCK_SIZE], before: vec![0; BLOCK_SIZE] };
        let stored = self.blocks.entry(place).or_insert_with(blank);
        stored.before = core::mem::replace(&mut stored.now, block);
        let run = 1 + (place - 1) / PAIR_BLOCKS * PAIR_BLOCKS;
        *self.changes.entry(run).or_default() += 1;
    }

    /// The first sectors of a block are written, the others are not.
    pub(super) fn tear(&mut self, place: u64, block: &[u8], prng: &mut Prng) {
        let sectors = prng.range(0..=(BLOCK_SIZE / SECTOR_SIZE) as u64) as usize;
        let blank = vec![0; BLOCK_SIZE];
        let old = self.blocks.get(&place).map_or(&blank, |stored| &stored.now);
        let mut torn = block[..sectors * SECTOR_SIZE].to_vec();
        torn.extend_from_slice(&old[sectors * SECTOR_SIZE..]);
        self.land(place, torn);
    }

    fn changes(&self, run: u64) -> u64 {
        self.changes.get(&run).copied().unwrap_or(0)
    }

    fn read(&self, run: u64, is_stale: bool, out: &mut [u8]) {
        for (place, out) in (run..).zip(out.chunks_exact_mut(BLOCK_SIZE)) {
            match self.blocks.get(&place) {
                Some(stored) if is_stale => out.copy_from_slice(&stored.before),
                Some(stored) => out.copy_from_slice(&stored.now),
                None => out.fill(0),
            }
        }
    }
}

/// What the thread is doing.
#[derive(Debug)]
enum Doing {
    /// Waits for an order, or the time of its next look.
    Waiting,
    Writing(u64, Vec<u8>),
    Reading,
    /// The device failed; it is opened again after a while.
    Resting,
}

/// A daemon's end of a shared disk.
#[derive(Debug)]
pub struct DiskPort {
    local: NodeId,
    peers: Vec<NodeId>,
    writer: Writer,
    reader: Reader,
    orders: VecDeque<(NodeId, Vec<u8>)>,
    doing: Doing,
    /// The usual time between two looks.
    look: u64,
    next_look: u64,
    quiet_looks: u32,
    failures: u32,
    has_failed: bool,
    /// Of each peer's run, how often it had changed when it was read last.
    seen: Vec<u64>,
    /// Names what is waited for.
    order: u64,
    is_roused: bool,
}

/// What a step of the thread led to.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Frames that were read.
    pub(super) frames: Vec<Vec<u8>>,
    /// A write that is going to happen once more: after how long, where, what.
    pub(super) late: Option<(u64, u64, Vec<u8>)>,
    /// When the next step is due, from now, and its name.
    pub(super) after: u64,
    pub(super) order: u64,
}

impl DiskPort {
    pub(super) fn new(
        layout: Layout,
        local: NodeId,
        epoch: Incarnation,
        peers: Vec<NodeId>,
        timing: &Timing,
    ) -> DiskPort {
        let interval = timing.interval(Medium::Disk, false);
        DiskPort {
            local,
            writer: Writer::new(layout, local, epoch),
            reader: Reader::new(layout, local),
            orders: VecDeque::new(),
            doing: Doing::Waiting,
            look: nanos(timing.heartbeat_high.min(interval / 2)),
            next_look: 0,
            quiet_looks: BUSY_LOOKS,
            failures: 0,
            has_failed: false,
            seen: vec![0; peers.len()],
            peers,
            order: 0,
            is_roused: false,
        }
    }

    /// Whether this is what is waited for.
    pub(super) fn is_current(&self, order: u64) -> bool {
        self.order == order
    }

    pub(super) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// The block that is being written, when the thread ends in the middle.
    pub(super) fn interrupt(&mut self) -> Option<(u64, Vec<u8>)> {
        match core::mem::replace(&mut self.doing, Doing::Waiting) {
            Doing::Writing(place, block) => Some((place, block)),
            _ => None,
        }
    }

    /// Takes an order from the loop; the name of the step for which the thread has to be roused.
    pub(super) fn order(&mut self, to: NodeId, frame: &[u8]) -> Option<u64> {
        if self.orders.len() == ORDERS_MAX {
            return None;
        }
        self.orders.push_back((to, frame.to_vec()));
        let rouses = matches!(self.doing, Doing::Waiting) && !self.is_roused;
        rouses.then(|| {
            self.is_roused = true;
            self.next_order()
        })
    }

    /// The operation is done, or there is something to do.
    pub(super) fn go_on(
        &mut self,
        now: u64,
        machine: usize,
        platter: &mut Platter,
        prng: &mut Prng,
        damaging: Option<u64>,
    ) -> Done {
        let mut done = Done::default();
        if platter.frozen > 0 && matches!(self.doing, Doing::Writing(..) | Doing::Reading) {
            (done.after, done.order) = (FROZEN, self.next_order());
            return done;
        }
        self.is_roused = false;
        let may_look = match core::mem::replace(&mut self.doing, Doing::Waiting) {
            Doing::Resting => {
                self.orders.clear();
                self.begin_round();
                true
            }
            Doing::Waiting => {
                self.begin_round();
                true
            }
            Doing::Writing(place, block) => {
                match platter.takes(machine) {
                    true => done.late = write(platter, prng, damaging, place, block),
                    false => self.has_failed = true,
                }
                true
            }
            Doing::Reading => {
                self.look(now, platter, prng, damaging, &mut done.frames);
                false
            }
        };
        done.after = self.next_step(now, may_look, platter, prng);
        done.order = self.next_order();
        done
    }

    fn begin_round(&mut self) {
        self.has_failed = false;
        for (to, frame) in self.orders.drain(..) {
            let is_pressing = transport::is_pressing(&frame);
            if !is_pressing {
                self.quiet_looks = 0;
            }
            let _counted = self.writer.push(to, &frame, is_pressing);
        }
    }

    /// What the thread does now, and how long it takes.
    fn next_step(&mut self, now: u64, may_look: bool, platter: &Platter, prng: &mut Prng) -> u64 {
        // After a look the round is over; what became due is written in the next one.
        if may_look && !self.writer.is_idle() {
            let mut block = vec![0; BLOCK_SIZE];
            let place = self.writer.next_write(&mut block).expect("something waits");
            self.doing = Doing::Writing(place, block);
            return platter.duration(prng);
        }
        if may_look && now >= self.next_look {
            self.doing = Doing::Reading;
            return platter.duration(prng);
        }
        self.failures = if self.has_failed { self.failures + 1 } else { 0 };
        if self.failures == FAILURES_MAX {
            self.failures = 0;
            self.doing = Doing::Resting;
            return RETRY_INTERVAL;
        }
        match self.orders.is_empty() {
            true => self.next_look.saturating_sub(now),
            false => 0,
        }
    }

    fn look(
        &mut self,
        now: u64,
        platter: &Platter,
        prng: &mut Prng,
        damaging: Option<u64>,
        frames: &mut Vec<Vec<u8>>,
    ) {
        let mut run = Vec::new();
        for (peer, seen) in self.peers.iter().zip(&mut self.seen) {
            let first = platter.layout.run(*peer, self.local);
            let is_stale = damaging.is_some() && prng.chance(1, 50);
            let changes = platter.changes(first);
            // The same blocks again are no news.
            if changes == *seen && !is_stale {
                continue;
            }
            *seen = if is_stale { *seen } else { changes };
            run.resize(RUN_SIZE, 0);
            platter.read(first, is_stale, &mut run);
            self.reader.take(*peer, &run, frames);
        }
        self.writer.learn(&self.reader);
        let has_data = frames.iter().any(|frame| !transport::is_pressing(frame));
        self.quiet_looks = if has_data { 0 } else { self.quiet_looks.saturating_add(1) };
        let is_busy = self.quiet_looks < BUSY_LOOKS;
        self.next_look = now + if is_busy { BUSY_LOOK.min(self.look) } else { self.look };
    }
}

/// A write that the device has accepted; what of it happens once more.
fn write(
    platter: &mut Platter,
    prng: &mut Prng,
    damaging: Option<u64>,
    place: u64,
    block: Vec<u8>,
) -> Option<(u64, u64, Vec<u8>)> {
    let Some(unit) = damaging else {
        platter.land(place, block);
        return None;
    };
    match prng.range(0..=99) {
        0..=1 => None,
        2..=4 => {
            platter.tear(place, &block, prng);
            None
        }
        5 => Some((prng.range(0..=unit * 12), place, block)),
        6..=7 => {
            platter.land(place, block.clone());
            Some((prng.range(0..=unit * 12), place, block))
        }
        _ => {
            platter.land(place, block);
            None
        }
    }
}
