//! The daemon's end of the table: the loop stores deadlines, a thread hands them to the kernel.
//!
//! **Rule:** the loop never waits for nftables, which has one lock for everybody, and may be loading
//! somebody's ten thousand rules. It stores a deadline in memory, one word per address as with programs; the
//! thread comes by when less than all of an open time is left, and at once when an address is to be
//! opened or closed. Who is late closes early, never the other way round: see [`super`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Instant;

use super::batch::Tables;
use super::{FENCE, GateError, kernel, list, refused, table, table_name};
use crate::gate::SlotState;

/// Times that a push is tried at once when its fence had fallen.
const ATTEMPTS_MAX: usize = 3;
/// How often open times are extended: this part of what is left, within these bounds.
const PART: u32 = 6;
const PACE_MIN: Duration = Duration::from_millis(10);
const PACE_MAX: Duration = Duration::from_millis(250);
/// How often the kernel is asked what is under the gate: somebody may have made the table new.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How soon again after the kernel refused something.
const RETRY: Duration = Duration::from_millis(100);
/// An open time is given in milliseconds, and a tick may be ten.
const LEAST: Duration = Duration::from_millis(10);

/// A deadline that is later by so much is told at once: it may be that of a closed address.
const LEAP: Duration = Duration::from_millis(50);

/// One address: a word of the loop, and three of the thread.
#[derive(Debug, Default)]
struct Words {
    deadline: AtomicU64,
    /// The kernel lets through what is not under the gate, so nobody adds an address before it is.
    is_under: AtomicBool,
    /// Until when the kernel has it open at the latest; zero: closed.
    told: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Board {
    words: Mutex<BTreeMap<IpAddr, Arc<Words>>>,
    /// The thread has looked what is under the gate.
    looked: Condvar,
}

impl Board {
    /// A copy, so that nobody waits for anybody who works with it.
    fn all(&self) -> BTreeMap<IpAddr, Arc<Words>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Arc<Words>>> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All these are under the gate, or nobody knows whether they are.
    fn note(&self, words: &BTreeMap<IpAddr, Arc<Words>>, is_under: bool) {
        let locked = self.lock();
        for words in words.values() {
            words.is_under.store(is_under, Ordering::Release);
        }
        drop(locked);
        self.looked.notify_all();
    }
}

/// One address that is to be under the gate.
#[derive(Clone, Debug)]
pub(in crate::gate) struct Awaited {
    board: Arc<Board>,
    words: Arc<Words>,
}

impl Awaited {
    /// Waits until it is, until then at most.
    pub(in crate::gate) fn wait(&self, until: Instant) -> bool {
        let mut locked = self.board.lock();
        loop {
            if self.words.is_under.load(Ordering::Acquire) {
                return true;
            }
            let left = until.since(crate::clock::boottime());
            if left.is_zero() {
                return false;
            }
            let woken = self.board.looked.wait_timeout(locked, left);
            locked = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The gate as the daemon's loop has it.
#[derive(Debug)]
pub(in crate::gate) struct SetsGate {
    board: Arc<Board>,
    /// The same, without a lock.
    known: BTreeMap<IpAddr, Arc<Words>>,
    bell: SyncSender<()>,
}

impl SetsGate {
    /// Takes over the table that the guard made, with all addresses closed.
    ///
    /// # Errors
    /// When there is none.
    pub(in crate::gate) fn inherit(node: &str) -> Result<(SetsGate, Pusher), GateError> {
        let mut tables = Tables::open().map_err(kernel("open a socket for nftables"))?;
        let table = table_name(node);
        let known: BTreeMap<IpAddr, Arc<Words>> = list(&mut tables, &table)?
            .into_keys()
            .map(|address| (address, Arc::default()))
            .collect();
        let board = Arc::new(Board { words: Mutex::new(known.clone()), looked: Condvar::new() });
        let (bell, rings) = sync_channel(1);
        let pusher = Pusher {
            tables,
            table,
            board: board.clone(),
            rings,
            pushed: None,
            under: BTreeSet::new(),
            looked: Instant::ZERO,
        };
        Ok((SetsGate { board, known, bell }, pusher))
    }

    fn ring(&self) {
        match self.bell.try_send(()) {
            // One ring is enough.
            Ok(()) | Err(TrySendError::Full(())) => {}
            // The thread has ended with its process.
            Err(TrySendError::Disconnected(())) => {}
        }
    }

    pub(in crate::gate) fn sync(&mut self, wanted: &BTreeSet<IpAddr>) {
        self.known.retain(|address, _| wanted.contains(address));
        for address in wanted {
            self.known.entry(*address).or_default();
        }
        let mut words = self.board.lock();
        words.clone_from(&self.known);
        drop(words);
        self.ring();
    }

    /// One store, and a ring if the thread may come by too late: it has slept since the former deadline was
    /// over, or is to close.
    pub(in crate::gate) fn push(&self, address: IpAddr, deadline: Instant) {
        let Some(words) = self.known.get(&address) else { return };
        let former = words.deadline.swap(deadline.as_nanos(), Ordering::AcqRel);
        let former = Instant::from_nanos(former);
        if deadline < former || deadline.since(former) >= LEAP {
            self.ring();
        }
    }

    /// An address that is under the gate, or will be; none: it is not to be.
    pub(in crate::gate) fn awaited(&self, address: IpAddr) -> Option<Awaited> {
        let words = self.known.get(&address)?.clone();
        Some(Awaited { board: self.board.clone(), words })
    }

    pub(in crate::gate) fn slots(&self) -> impl Iterator<Item = (IpAddr, SlotState)> + '_ {
        self.known.iter().map(|(address, words)| {
            let deadline = Instant::from_nanos(words.told.load(Ordering::Relaxed));
            let state = SlotState {
                deadline,
                // Whatever is stored here was granted.
                grant: Instant::from_nanos(1),
                revoked: Instant::ZERO,
                passed: None,
                dropped: words.dropped.load(Ordering::Relaxed),
            };
            (*address, state)
        })
    }
}

fn nanos(open: &BTreeMap<IpAddr, Instant>, address: &IpAddr) -> u64 {
    open.get(address).map_or(0, |deadline| deadline.as_nanos())
}

/// Hands deadlines to the kernel, on a thread of its own: it may wait for other users of nftables.
#[derive(Debug)]
pub struct Pusher {
    tables: Tables,
    table: String,
    board: Arc<Board>,
    rings: Receiver<()>,
    /// What the kernel was told, and took; none: nobody knows what is open.
    pushed: Option<BTreeMap<IpAddr, Instant>>,
    /// What was under the gate after the last look, which was when.
    under: BTreeSet<IpAddr>,
    looked: Instant,
}

impl Pusher {
    /// Waits until something is to be done, at most until `due`; false when nobody will say any more.
    pub fn wait(&self, due: Instant) -> bool {
        use std::sync::mpsc::RecvTimeoutError;
        let wait = due.since(crate::clock::boottime());
        !matches!(self.rings.recv_timeout(wait), Err(RecvTimeoutError::Disconnected))
    }

    /// Does what is to be done; when to come by again.
    ///
    /// # Errors
    /// When the kernel refuses something: come by after [`Pusher::RETRY`] at the latest.
    pub fn turn(&mut self) -> Result<Instant, GateError> {
        let done = self.act();
        if let Err(error) = &done {
            // There is no such table or set: nobody knows what is under the gate.
            if error.errno() == libc::ENOENT {
                self.board.note(&self.board.all(), false);
            }
            // The table may be another one.
            self.pushed = None;
            self.looked = Instant::ZERO;
        }
        done
    }

    fn act(&mut self) -> Result<Instant, GateError> {
        let board = self.board.all();
        let now = crate::clock::boottime();
        if now.since(self.looked) >= LOOK_INTERVAL || !self.under.iter().eq(board.keys()) {
            self.look(&board)?;
            self.under = board.keys().copied().collect();
            self.looked = now;
            self.board.note(&board, true);
        }
        let open: BTreeMap<IpAddr, Instant> = board
            .iter()
            .map(|(address, words)| {
                (*address, Instant::from_nanos(words.deadline.load(Ordering::Acquire)))
            })
            .filter(|(_, deadline)| *deadline > now + FENCE + LEAST)
            .collect();
        if self.pushed.as_ref() != Some(&open) {
            // What fails may have been done in part, so until it is known, the later one counts.
            for (address, words) in &board {
                words.told.fetch_max(nanos(&open, address), Ordering::Relaxed);
            }
            self.hand_over(&open)?;
            for (address, words) in &board {
                words.told.store(nanos(&open, address), Ordering::Relaxed);
            }
        }
        let left = open.values().map(|deadline| deadline.since(now)).min();
        let pace = left.map_or(PACE_MAX, |left| (left / PART).clamp(PACE_MIN, PACE_MAX));
        Ok(now + pace)
    }

    /// How soon to come by again after an error.
    pub const RETRY: Duration = RETRY;

    /// Has the right addresses under the gate, and reads what was dropped.
    fn look(&mut self, board: &BTreeMap<IpAddr, Arc<Words>>) -> Result<(), GateError> {
        let seen = list(&mut self.tables, &self.table)?;
        let added: BTreeSet<IpAddr> =
            board.keys().filter(|address| !seen.contains_key(address)).copied().collect();
        let removed: BTreeSet<IpAddr> =
            seen.keys().filter(|address| !board.contains_key(address)).copied().collect();
        if !added.is_empty() || !removed.is_empty() {
            let change = table::change_known(&self.table, &added, &removed);
            match self.tables.carry_out(&change)? {
                0 => {}
                errno => return Err(refused("put addresses under the gate", errno)),
            }
        }
        for (address, packets) in seen {
            if let Some(words) = board.get(&address) {
                words.dropped.store(packets, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Has exactly these open, each until its deadline at the latest.
    pub(super) fn hand_over(&mut self, open: &BTreeMap<IpAddr, Instant>) -> Result<(), GateError> {
        for _ in 0..ATTEMPTS_MAX {
            let key = crate::clock::boottime().as_nanos();
            self.fence(key)?;
            let clock = crate::clock::boottime();
            match self.past_fence(key, clock, open)? {
                0 => {}
                // The fence had fallen.
                libc::ENOENT => continue,
                errno => return Err(refused("open addresses", errno)),
            }
            if crate::clock::boottime().since(clock) < FENCE {
                self.pushed = Some(open.clone());
                return Ok(());
            }
            // The kernel was held up: perhaps between its look at the fence and what came after it.
            self.close_all()?;
        }
        // Closed, or what was handed over before runs out.
        Err(refused("open addresses in time", libc::ETIME))
    }

    /// Puts up a fence.
    pub(super) fn fence(&mut self, key: u64) -> Result<(), GateError> {
        let wait = u64::try_from(FENCE.as_millis()).expect("a short time");
        match self.tables.carry_out(&table::put_up_fence(&self.table, key, wait))? {
            0 => Ok(()),
            errno => Err(refused("put up a fence", errno)),
        }
    }

    /// Opens past a fence that was up before `clock` was seen; the kernel's error number.
    pub(super) fn past_fence(
        &mut self,
        key: u64,
        clock: Instant,
        open: &BTreeMap<IpAddr, Instant>,
    ) -> Result<i32, GateError> {
        let elements: Vec<(IpAddr, u64)> = open
            .iter()
            .filter_map(|(address, deadline)| {
                let left = deadline.since(clock).checked_sub(FENCE)?;
                let milliseconds = u64::try_from(left.as_millis()).ok()?;
                // Zero would be for ever.
                (milliseconds > 0).then_some((*address, milliseconds))
            })
            .collect();
        Ok(self.tables.carry_out(&table::open(&self.table, key, &elements))?)
    }

    fn close_all(&mut self) -> Result<(), GateError> {
        match self.tables.carry_out(&table::close_all(&self.table))? {
            0 => Ok(()),
            errno => Err(refused("close addresses", errno)),
        }
    }

    /// What the kernel has open now.
    #[cfg(test)]
    pub(super) fn open_now(&mut self) -> BTreeSet<IpAddr> {
        let mut open = BTreeSet::new();
        for sets in super::SETS {
            let question = table::ask_elements(&self.table, sets, sets.open);
            let errno = self.tables.list(&question, |body| {
                table::read_elements(body, sets, |address, _| {
                    open.insert(address);
                });
            });
            assert_eq!(errno.unwrap(), 0);
        }
        open
    }
}
