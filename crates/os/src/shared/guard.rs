//! The guard's side: makes the memory, reads entries without allocating, writes what it did.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use base::{Incarnation, Instant};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use super::layout::{self, get, hot, put};
use super::{ADDRESSES_MAX, GateRefused, Gated, HeldAddress, PROCESSES_MAX, Promises, SharedError};
use crate::event::Bell;
use crate::sys::Mapping;

/// How often a description that changes while it is read is read again before the next tick.
const READS_MAX: usize = 16;

/// The memory as the guard has it.
#[derive(Debug)]
pub struct GuardSide {
    file: OwnedFd,
    pub(super) mapping: Mapping,
    bell: Bell,
}

/// The hot words of an entry that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which use of the slot this is.
    pub generation: u64,
    /// Until when the service may run.
    pub deadline: Instant,
    /// How often it was described: another number means another description.
    pub described: u64,
    /// The guard killed this very use of the slot.
    pub killed: bool,
    /// ... and nothing of it is left.
    pub gone: bool,
}

/// A description in fixed memory.
#[derive(Debug)]
pub struct Subject {
    service: [u8; layout::NAME * 8],
    group: [u8; layout::GROUP * 8],
    addresses: [HeldAddress; ADDRESSES_MAX],
    address_count: usize,
    processes: [(u32, u64); PROCESSES_MAX],
    process_count: usize,
}

impl Default for Subject {
    fn default() -> Subject {
        let nothing =
            HeldAddress { interface: 0, address: Ipv4Addr::UNSPECIFIED.into(), prefix: 0 };
        Subject {
            service: [0; layout::NAME * 8],
            group: [0; layout::GROUP * 8],
            addresses: [nothing; ADDRESSES_MAX],
            address_count: 0,
            processes: [(0, 0); PROCESSES_MAX],
            process_count: 0,
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..length]).unwrap_or("?")
}

impl Subject {
    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &str {
        text(&self.service)
    }

    /// The path of its control group; empty where there is none.
    #[must_use]
    pub fn group(&self) -> &str {
        text(&self.group)
    }

    /// Its addresses.
    #[must_use]
    pub fn addresses(&self) -> &[HeldAddress] {
        &self.addresses[..self.address_count]
    }

    /// Number and start of its first processes.
    #[must_use]
    pub fn processes(&self) -> &[(u32, u64)] {
        &self.processes[..self.process_count]
    }
}

impl GuardSide {
    /// Makes the memory: nothing in use, nothing promised.
    ///
    /// # Errors
    /// When the kernel refuses the memory.
    pub fn create() -> Result<GuardSide, SharedError> {
        let failed = |operation| move |source: io::Error| SharedError::Io { operation, source };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("mainstay", flags).map_err(|e| failed("make it")(e.into()))?;
        let bytes = (layout::TOTAL * 8) as u64;
        ftruncate(&file, bytes).map_err(|e| failed("size it")(e.into()))?;
        // Else either side could cut the file and the other would be killed by its next access.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&file, seals).map_err(|e| failed("seal it")(e.into()))?;
        let mapping = Mapping::new(file.as_fd(), layout::TOTAL).map_err(failed("map it"))?;
        let bell = Bell::new().map_err(failed("make its bell"))?;
        let words = mapping.words();
        put(words, layout::HEAD_WORDS, layout::TOTAL as u64);
        put(words, layout::GUARD_PID, u64::from(std::process::id()));
        put(words, layout::BELL, u64::from(bell.number().cast_unsigned()));
        put(words, layout::HEAD_VERSION, layout::VERSION);
        words[layout::HEAD_MAGIC].store(layout::MAGIC, Ordering::Release);
        Ok(GuardSide { file, mapping, bell })
    }

    /// The memory's file.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.file
    }

    /// The descriptor's number: what the daemon is told.
    #[must_use]
    pub fn number(&self) -> i32 {
        self.descriptor().as_raw_fd()
    }

    /// Rung by the daemon when an entry is new or a deadline comes earlier.
    #[must_use]
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Tells the daemon the number of the inherited lock.
    pub fn set_lock(&self, number: i32) {
        let word = u64::from(number.cast_unsigned()) | layout::PRESENT;
        put(self.mapping.words(), layout::LOCK, word);
    }

    /// Tells the daemon the numbers of the gate's inherited descriptors.
    pub fn set_gate(&self, numbers: [i32; 4]) {
        for (at, number) in numbers.into_iter().enumerate() {
            let word = u64::from(number.cast_unsigned()) | layout::PRESENT;
            put(self.mapping.words(), layout::GATE + at, word);
        }
    }

    /// Tells the daemon what the guard can promise.
    pub fn set_promises(&self, promises: Promises) {
        let word = |granted: Result<(), i32>| match granted {
            Ok(()) => 0,
            // A refusal without a number is a refusal all the same.
            Err(errno) => u64::from(errno.max(1).cast_unsigned()),
        };
        let words = self.mapping.words();
        put(words, layout::CONTAINED, word(promises.contained));
        put(words, layout::REAL_TIME, word(promises.real_time));
        put(words, layout::LOCKED, word(promises.locked));
        let errno = |errno: i32| u64::from(errno.max(0).cast_unsigned()) & layout::GATED_ERROR;
        let gated = match promises.gated {
            Gated::Programs => 0,
            Gated::Sets { programs } => {
                1 << layout::GATED_MEANS | errno(programs) << layout::GATED_PROGRAMS
            }
            Gated::Nothing { programs, sets } => {
                2 << layout::GATED_MEANS | errno(programs) << layout::GATED_PROGRAMS | errno(sets)
            }
        };
        put(words, layout::GATED, gated);
    }

    /// Tells the daemon of an interface that is without the gate, or has half of it, and why; number 0:
    /// any. `None`: there is none.
    pub fn set_gate_refused(&self, refused: Option<GateRefused>) {
        let word = refused.map_or(0, |refused| {
            let errno = u16::try_from(refused.errno).unwrap_or(u16::MAX);
            layout::PRESENT | u64::from(refused.interface) << 16 | u64::from(errno)
        });
        put(self.mapping.words(), layout::GATE_REFUSED, word);
    }

    /// Tells the daemon of an interface on which programs of others are asked before the gate.
    pub fn set_gate_behind(&self, interface: Option<u32>) {
        let word = interface.map_or(0, |interface| layout::PRESENT | u64::from(interface));
        put(self.mapping.words(), layout::GATE_BEHIND, word);
    }

    /// Tells the daemon how many control groups of a former guard were killed.
    pub fn set_leftovers(&self, count: u64) {
        put(self.mapping.words(), layout::LEFTOVERS, count);
    }

    /// Tells the next daemon how often one was started again and how the last one ended.
    pub fn set_restarts(&self, restarts: u64, last_exit: i32) {
        let words = self.mapping.words();
        put(words, layout::RESTARTS, restarts);
        put(words, layout::LAST_EXIT, u64::from(last_exit.cast_unsigned()) | layout::PRESENT);
    }

    /// Tells the daemon that the guard looked at all entries now.
    pub fn tick(&self, now: Instant) {
        put(self.mapping.words(), layout::GUARD_TICKED, now.as_nanos());
    }

    /// Slots from 0 to this (exclusive) may be in use.
    #[must_use]
    pub fn used(&self) -> usize {
        let used = self.mapping.words()[layout::USED].load(Ordering::Acquire);
        usize::try_from(used).unwrap_or(usize::MAX).min(super::ENTRIES_MAX)
    }

    /// The entry in this slot, if it is in use.
    #[must_use]
    pub fn held(&self, slot: usize) -> Option<Held> {
        let hot = hot(self.mapping.words(), slot);
        let generation = hot[layout::GENERATION].load(Ordering::Acquire);
        if generation & 1 == 0 {
            return None;
        }
        let deadline = Instant::from_nanos(hot[layout::DEADLINE].load(Ordering::Acquire));
        let described = hot[layout::DESCRIBED].load(Ordering::Acquire);
        let killed = get(hot, layout::KILLED_GENERATION) == generation;
        if hot[layout::GENERATION].load(Ordering::Acquire) != generation {
            // It was released meanwhile: the deadline may be that of the release.
            return None;
        }
        let gone = killed && get(hot, layout::GONE_AT) != 0;
        Some(Held { generation, deadline, described, killed, gone })
    }

    /// Reads the description of a slot into `subject`; false if the daemon was rewriting it all the
    /// time (`subject` is then of no use: again at the next tick).
    #[must_use]
    pub fn read(&self, slot: usize, subject: &mut Subject) -> bool {
        let words = self.mapping.words();
        let number = &hot(words, slot)[layout::DESCRIBED];
        for _ in 0..READS_MAX {
            let before = number.load(Ordering::Acquire);
            fill(subject, layout::description(words, slot, before));
            fence(Ordering::Acquire);
            if number.load(Ordering::Relaxed) == before {
                return true;
            }
        }
        false
    }

    /// Writes down that this use of the slot was killed. From here on it has no right to run.
    pub fn set_killed(&self, slot: usize, generation: u64, at: Instant) {
        let hot = hot(self.mapping.words(), slot);
        put(hot, layout::KILLED_AT, at.as_nanos());
        put(hot, layout::GONE_AT, 0);
        put(hot, layout::ADDRESS_ERROR, 0);
        hot[layout::KILLED_GENERATION].store(generation, Ordering::Release);
    }

    /// Writes down that an address could not be removed (the error number), or now could (0).
    pub fn set_address_error(&self, slot: usize, errno: i32) {
        let word = u64::from(errno.max(0).cast_unsigned());
        put(hot(self.mapping.words(), slot), layout::ADDRESS_ERROR, word);
    }

    /// Writes down that nothing of the killed use is left.
    pub fn set_gone(&self, slot: usize, at: Instant) {
        let hot = hot(self.mapping.words(), slot);
        hot[layout::GONE_AT].store(at.as_nanos().max(1), Ordering::Release);
    }

    /// How long a killed service may take to be gone before that is an alarm, if the daemon said.
    #[must_use]
    pub fn release_budget(&self) -> Option<Duration> {
        budget(get(self.mapping.words(), layout::RELEASE_BUDGET))
    }

    /// How long an orderly leave may take, if the daemon said.
    #[must_use]
    pub fn leave_budget(&self) -> Option<Duration> {
        budget(get(self.mapping.words(), layout::LEAVE_BUDGET))
    }

    /// The number and the life of the last daemon that used the memory.
    #[must_use]
    pub fn daemon(&self) -> (u32, Incarnation) {
        let words = self.mapping.words();
        let pid = u32::try_from(get(words, layout::DAEMON_PID)).unwrap_or(0);
        (pid, Incarnation(get(words, layout::DAEMON_INCARNATION)))
    }

    /// Hands each goodbye frame of the dead daemon to `send(source, destination, frame)`; returns
    /// how many there were.
    ///
    /// Call it only when that daemon is dead: nobody may be writing frames.
    pub fn goodbyes(&self, mut send: impl FnMut(SocketAddr, SocketAddr, &[u8])) -> usize {
        let words = self.mapping.words();
        let count = words[layout::GOODBYE_COUNT].load(Ordering::Acquire);
        let count = usize::try_from(count).unwrap_or(0).min(super::GOODBYES_MAX);
        let mut frame = [0_u8; base::limits::DATAGRAM_SIZE_MAX];
        for index in 0..count {
            let goodbye = layout::goodbye(words, index);
            let source = layout::get_socket_address(&goodbye[layout::G_SOURCE..]);
            let destination = layout::get_socket_address(&goodbye[layout::G_DESTINATION..]);
            let length = usize::try_from(get(goodbye, layout::G_LENGTH)).unwrap_or(0);
            let length = length.min(frame.len());
            layout::get_bytes(&goodbye[layout::G_FRAME..], &mut frame[..length]);
            send(source, destination, &frame[..length]);
        }
        count
    }
}

fn budget(nanos: u64) -> Option<Duration> {
    (nanos != 0).then(|| Duration::from_nanos(nanos))
}

/// Copies a description, whatever its bits: counts are cut to their limits.
fn fill(subject: &mut Subject, words: &[std::sync::atomic::AtomicU64]) {
    layout::get_bytes(&words[layout::D_NAME..], &mut subject.service);
    layout::get_bytes(&words[layout::D_GROUP..], &mut subject.group);
    let count = |at, max: usize| usize::try_from(get(words, at)).unwrap_or(max).min(max);
    subject.address_count = count(layout::D_ADDRESS_COUNT, ADDRESSES_MAX);
    for (index, held) in subject.addresses[..subject.address_count].iter_mut().enumerate() {
        let at = layout::D_ADDRESSES + index * layout::ADDRESS;
        let (interface, address, prefix): (u32, IpAddr, u8) = layout::get_address(&words[at..]);
        *held = HeldAddress { interface, address, prefix };
    }
    subject.process_count = count(layout::D_PROCESS_COUNT, PROCESSES_MAX);
    for (index, process) in subject.processes[..subject.process_count].iter_mut().enumerate() {
        let at = layout::D_PROCESSES + index * layout::PROCESS + layout::NAME;
        *process = (u32::try_from(get(words, at)).unwrap_or(0), get(words, at + 1));
    }
}
