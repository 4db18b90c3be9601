//! What of the guard's work has to wait for the kernel's lock on the network configuration.
//!
//! Intuition: every request about interfaces, addresses and filters takes one lock in the kernel
//! (`rtnl_mutex`), and a driver whose device hangs may hold it for as long as the device hangs: then the
//! one who asks sleeps in the kernel and hears no timer. So the loop that kills at the deadline never
//! asks. This thread does: it removes the addresses of killed services, and keeps the
//! [gate](os::gate) on all interfaces, in this order of importance.
//!
//! **Rule:** the loop and this thread speak through words that have one writer each, and bells; neither
//! waits for the other, but at the very end, when nothing is left to be killed. For each slot of the
//! shared memory there is one question at a time: the loop writes whose addresses it means
//! (`generation`), then the question's number; this thread writes what came of it, then the same
//! number, and rings the loop's bell. What is to be removed it reads from the shared memory as the loop
//! does, and only while that use of the slot is marked as killed: a question that is answered late
//! does not hurt the next use.
//!
//! Like the loop it allocates nothing after its start, so that no lock of the allocator is held when the
//! loop forks. It is in the same real-time class, below the loop and above the daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use base::Instant;
use os::event::{Bell, Events, Interest, Poll, Token};
use os::gate::Gate;
use os::netlink::{Removal, Watch};
use os::shared::{ENTRIES_MAX, GateRefused, GuardSide, Subject};

use super::log::say;

/// Real-time priority of the thread: below the loop's, above the daemon's.
const PRIORITY: u8 = 55;
const _: () = assert!(PRIORITY < super::PRIORITY);
/// Bytes of its stack, and how much of that is touched at the start.
const STACK: usize = 256 << 10;
const TOUCHED: usize = 64 << 10;
/// How often the gate is looked at when interfaces keep changing.
const GATE_INTERVAL: Duration = Duration::from_millis(20);
/// How soon again after it could not be put somewhere, or when changes cannot be heard.
const GATE_RETRY: Duration = Duration::from_secs(1);

const BELL: Token = Token(0);
const FILTERS: Token = Token(1);

// What the thread is to do: the word `end`.
const GO_ON: u8 = 0;
const END: u8 = 1;

/// What came of a removal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    /// One of the addresses was there.
    pub(super) was_there: bool,
    /// The kernel's error number for one that stays; 0: none does.
    pub(super) errno: i32,
}

/// Above the error number.
const WAS_THERE: u64 = 1 << 32;

/// The question about one slot.
#[derive(Default)]
struct Question {
    generation: AtomicU64,
    asked: AtomicU64,
    answered: AtomicU64,
    result: AtomicU64,
}

struct Desk {
    questions: Box<[Question]>,
    bell: Bell,
    end: AtomicU8,
}

/// The loop's end of it.
pub(super) struct Network {
    desk: Arc<Desk>,
    thread: JoinHandle<()>,
}

impl Network {
    /// Starts the thread, in the calling thread's network namespace.
    pub(super) fn start(shared: Arc<GuardSide>, gate: Option<Gate>) -> anyhow::Result<Network> {
        let questions = (0..ENTRIES_MAX).map(|_| Question::default()).collect();
        let desk = Arc::new(Desk { questions, bell: Bell::new()?, end: AtomicU8::new(GO_ON) });
        let poll = Poll::new()?;
        poll.add(&desk.bell, BELL, Interest::Read)?;
        let filters = match &gate {
            Some(_) => {
                let filters =
                    Watch::of_filters().context("cannot listen for changes of interfaces")?;
                poll.add(&filters, FILTERS, Interest::Read)?;
                Some(filters)
            }
            None => None,
        };
        let look = gate.as_ref().map_or(Duration::MAX, Gate::look_interval);
        // Interfaces may have come before somebody listened.
        let gate_due = gate.as_ref().map(|_| Instant::ZERO);
        let worker = Worker {
            desk: desk.clone(),
            shared,
            subject: Box::default(),
            removal: Removal::open().context("cannot open a netlink socket")?,
            gate,
            look,
            filters,
            gate_due,
            gate_refused: None,
            gate_behind: None,
        };
        let thread = std::thread::Builder::new()
            .name("network".into())
            .stack_size(STACK)
            .spawn(move || worker.run(&poll))
            .context("cannot start a thread")?;
        Ok(Network { desk, thread })
    }

    /// Asks that the addresses be removed that the killed use `generation` of a slot describes: the number of
    /// the question. `None`: the former one is not answered yet.
    pub(super) fn ask(&self, slot: usize, generation: u64) -> Option<u64> {
        let question = &self.desk.questions[slot];
        let asked = question.asked.load(Ordering::Relaxed);
        if question.answered.load(Ordering::Acquire) != asked {
            return None;
        }
        question.generation.store(generation, Ordering::Relaxed);
        question.asked.store(asked + 1, Ordering::Release);
        self.desk.bell.ring();
        Some(asked + 1)
    }

    /// The answer to this question, if it is there.
    pub(super) fn answer(&self, slot: usize, number: u64) -> Option<Removed> {
        let question = &self.desk.questions[slot];
        if question.answered.load(Ordering::Acquire) != number {
            return None;
        }
        let result = question.result.load(Ordering::Relaxed);
        let errno = ((result & u64::from(u32::MAX)) as u32).cast_signed();
        Some(Removed { was_there: result & WAS_THERE != 0, errno })
    }

    /// Takes the gate away and ends the thread. Waits for both.
    pub(super) fn end(self) {
        self.desk.end.store(END, Ordering::Release);
        self.desk.bell.ring();
        if self.thread.join().is_err() {
            say!("the thread for the network ended by a fault");
        }
    }
}

struct Worker {
    desk: Arc<Desk>,
    shared: Arc<GuardSide>,
    subject: Box<Subject>,
    removal: Removal,
    gate: Option<Gate>,
    /// How often it is looked at when nothing was heard.
    look: Duration,
    /// `None`: there is no gate, or changes cannot be heard any more.
    filters: Option<Watch>,
    /// When to look whether the gate is everywhere.
    gate_due: Option<Instant>,
    /// What the kernel refused about it the last time.
    gate_refused: Option<GateRefused>,
    /// An interface on which others were asked before it the last time.
    gate_behind: Option<u32>,
}

impl Worker {
    fn run(mut self, poll: &Poll) {
        // Where it is refused, the loop is refused too, and has said so.
        let _said = os::realtime::round_robin(PRIORITY);
        os::realtime::touch_stack::<TOUCHED>();
        let mut events = Events::with_capacity(2);
        while self.desk.end.load(Ordering::Acquire) == GO_ON {
            self.desk.bell.take();
            self.remove_addresses();
            self.hear();
            self.keep_gate();
            let now = os::clock::boottime();
            let wait = self.gate_due.map(|due| due.since(now));
            if let Err(error) = poll.wait(&mut events, wait) {
                // Nothing can be waited for: the end of the process is better than a loop without a pause.
                panic!("epoll of the guard's network thread: {error}");
            }
        }
        // No address is here any more: there is nothing to be closed.
        if let Some(Err(error)) = self.gate.take().map(Gate::remove) {
            say!("cannot take the lease gate away (error {})", error.errno());
        }
    }

    /// Answers the loop's questions.
    fn remove_addresses(&mut self) {
        for slot in 0..self.shared.used() {
            let question = &self.desk.questions[slot];
            let asked = question.asked.load(Ordering::Acquire);
            if question.answered.load(Ordering::Relaxed) == asked {
                continue;
            }
            let generation = question.generation.load(Ordering::Relaxed);
            let removed = remove(&self.shared, &mut self.subject, &self.removal, slot, generation);
            let there = if removed.was_there { WAS_THERE } else { 0 };
            let errno = u64::from(removed.errno.cast_unsigned());
            question.result.store(there | errno, Ordering::Relaxed);
            question.answered.store(asked, Ordering::Release);
            self.shared.bell().ring();
        }
    }

    /// Takes note of changes of interfaces and filters.
    fn hear(&mut self) {
        let Some(filters) = &self.filters else { return };
        let heard = filters.take();
        let now = os::clock::boottime();
        match heard {
            Ok(false) => {}
            Ok(true) => {
                let soon = now + GATE_INTERVAL;
                self.gate_due = Some(self.gate_due.map_or(soon, |due| due.min(soon)));
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                say!("cannot hear changes of interfaces any more (error {errno}): looking instead");
                self.filters = None;
                self.gate_due = Some(now);
            }
        }
    }

    /// Puts the gate where it is missing or not the first, after somebody changed something.
    fn keep_gate(&mut self) {
        let now = os::clock::boottime();
        if self.gate_due.is_none_or(|due| now < due) {
            return;
        }
        let Some(gate) = &mut self.gate else { return };
        let refused = match gate.keep() {
            Ok(kept) => {
                if kept.attached > 0 {
                    say!(
                        "put the lease gate back: {} filters, chains or rules were missing",
                        kept.attached
                    );
                }
                if kept.moved > 0 {
                    say!("put the lease gate before programs of others, {} times", kept.moved);
                }
                self.tell_behind(kept.behind);
                kept.refused.map(|(interface, errno)| GateRefused { interface, errno })
            }
            Err(error) => Some(GateRefused { interface: 0, errno: error.errno() }),
        };
        // Whoever had the place of our filter may be gone then.
        let is_odd = refused.is_some() || self.gate_behind.is_some() || self.filters.is_none();
        let wait = if is_odd { GATE_RETRY.min(self.look) } else { self.look };
        self.gate_due = Some(os::clock::boottime() + wait);
        if refused != self.gate_refused {
            self.gate_refused = refused;
            self.shared.set_gate_refused(refused);
            match refused {
                Some(GateRefused { interface, errno }) => {
                    say!(
                        "interface {interface} is without (half of) the lease gate (error {errno})"
                    );
                }
                None => say!("the lease gate is on all interfaces"),
            }
        }
    }

    fn tell_behind(&mut self, behind: Option<u32>) {
        if behind == self.gate_behind {
            return;
        }
        self.gate_behind = behind;
        self.shared.set_gate_behind(behind);
        match behind {
            Some(interface) => {
                say!("interface {interface}: programs of others are asked before the lease gate");
            }
            None => say!("the lease gate is asked first on all interfaces"),
        }
    }
}

/// Removes the addresses that a killed use of a slot describes.
fn remove(
    shared: &GuardSide,
    subject: &mut Subject,
    removal: &Removal,
    slot: usize,
    generation: u64,
) -> Removed {
    let mut removed = Removed::default();
    if !shared.held(slot).is_some_and(|held| held.generation == generation && held.killed) {
        // The daemon has taken it out meanwhile: it has no addresses any more.
        return removed;
    }
    if !shared.read(slot, subject) {
        // The daemon is writing all the time: it is asked again.
        removed.errno = rustix::io::Errno::AGAIN.raw_os_error();
        return removed;
    }
    for held in subject.addresses() {
        match removal.remove(held.interface, held.address, held.prefix) {
            Ok(there) => removed.was_there |= there,
            Err(errno) => removed.errno = errno,
        }
    }
    removed
}
