//! The daemon's side: registers what it starts, pushes deadlines, finds what a former daemon left.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use base::{Incarnation, Instant};
use rustix::fs::{SealFlags, fcntl_get_seals, fstat};

use super::layout::{self, get, hot, put};
use super::{
    ADDRESSES_MAX, Description, ENTRIES_MAX, Entry, GOODBYES_MAX, GROUP_PATH_MAX, GateRefused,
    Gated, Goodbye, GuardStatus, HeldAddress, HeldProcess, Killed, PROCESSES_MAX, Promises,
    SharedError, Slot,
};
use crate::event::Bell;
use crate::lock::{Heir, Lock};
use crate::sys::{self, Mapping};

/// The memory as the daemon has it.
#[derive(Debug)]
pub struct DaemonSide {
    pub(super) mapping: Arc<Mapping>,
    pub(super) bell: Bell,
    /// Held as long as this daemon lives.
    lock: Option<Lock>,
}

impl DaemonSide {
    /// Takes over the descriptor (and through it the bell and the lock) that the guard left open for
    /// this process. Once per process.
    ///
    /// # Errors
    /// When the descriptor is not the memory of a guard of this version, or the guard is not our
    /// parent.
    pub fn inherit(number: i32) -> Result<DaemonSide, SharedError> {
        let failed = |operation| move |source: io::Error| SharedError::Io { operation, source };
        let foreign = |what: &str| SharedError::Foreign(what.to_owned());
        let file = sys::inherited_descriptor(number).map_err(failed("take the descriptor"))?;
        let seals = fcntl_get_seals(&file).map_err(|_| foreign("not a memory file"))?;
        let size = fstat(&file).map_err(|e| failed("look at it")(e.into()))?.st_size;
        if !seals.contains(SealFlags::SHRINK) || size != (layout::TOTAL * 8) as i64 {
            return Err(foreign("of another size"));
        }
        let mapping = Mapping::new(file.as_fd(), layout::TOTAL).map_err(failed("map it"))?;
        let words = mapping.words();
        if words[layout::HEAD_MAGIC].load(Ordering::Acquire) != layout::MAGIC
            || get(words, layout::HEAD_VERSION) != layout::VERSION
            || get(words, layout::HEAD_WORDS) != layout::TOTAL as u64
        {
            return Err(foreign("of another version"));
        }
        let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        if get(words, layout::GUARD_PID) != u64::from(parent.cast_unsigned()) {
            return Err(foreign("its guard is not the parent of this process"));
        }
        let descriptor = |word: u64| {
            let number = (word & u64::from(u32::MAX)) as u32;
            sys::inherited_descriptor(number.cast_signed())
        };
        let bell = descriptor(get(words, layout::BELL)).map_err(failed("take its bell"))?;
        let lock = match get(words, layout::LOCK) {
            0 => None,
            word => Some(Lock::from(descriptor(word).map_err(failed("take the lock"))?)),
        };
        put(words, layout::DAEMON_PID, u64::from(std::process::id()));
        Ok(DaemonSide::with(mapping, Bell::from_descriptor(bell), lock))
    }

    /// Tells later guards, in the file of the lock, that this process has it, too.
    ///
    /// # Errors
    /// When the file system does not take the few bytes, or the kernel does not say when this process started.
    pub fn name_itself(&mut self) -> io::Result<()> {
        let Some(lock) = &mut self.lock else { return Ok(()) };
        let pid = std::process::id();
        let Some(started) = crate::process::started(pid)? else { return Ok(()) };
        let guard = get(self.mapping.words(), layout::GUARD_PID);
        lock.hand_over(Heir { pid, started, guard: u32::try_from(guard).unwrap_or_default() })
    }

    pub(super) fn with(mapping: Mapping, bell: Bell, lock: Option<Lock>) -> DaemonSide {
        DaemonSide { mapping: Arc::new(mapping), bell, lock }
    }

    /// The right of what is registered there now, for whoever starts something of it on another
    /// thread: see [`Permit`].
    #[must_use]
    pub fn permit(&self, slot: Slot) -> Permit {
        self.assert_used(slot);
        let generation = get(hot(self.mapping.words(), slot.index()), layout::GENERATION);
        Permit { mapping: Arc::clone(&self.mapping), slot: slot.index(), generation }
    }

    /// Writes down which life this daemon lives. The goodbye frames of the former life stay until
    /// [`DaemonSide::set_goodbyes`] replaces them: when the guard sends them, both lives are over.
    pub fn set_incarnation(&mut self, incarnation: Incarnation) {
        put(self.mapping.words(), layout::DAEMON_INCARNATION, incarnation.0);
    }

    /// Tells the guard how long a killed service may take to be gone before that is an alarm, and
    /// how long an orderly leave may take.
    pub fn set_budgets(&mut self, release: Duration, leave: Duration) {
        let nanos = |budget: Duration| u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX).max(1);
        put(self.mapping.words(), layout::RELEASE_BUDGET, nanos(release));
        put(self.mapping.words(), layout::LEAVE_BUDGET, nanos(leave));
    }

    /// Puts a service under the guard, **before anything of it is started**. When `deadline` is over
    /// everything that the description names is ended.
    ///
    /// # Errors
    /// When there is no room for it.
    ///
    /// # Panics
    /// When `deadline` is zero, which says that nothing runs.
    pub fn register(
        &mut self,
        description: &Description,
        deadline: Instant,
    ) -> Result<Slot, SharedError> {
        assert!(deadline > Instant::ZERO, "an entry is registered with its right to run");
        check(description)?;
        let words = self.mapping.words();
        let free =
            (0..ENTRIES_MAX).find(|&slot| get(hot(words, slot), layout::GENERATION) & 1 == 0);
        let Some(slot) = free else {
            return Err(full(description, format!("{ENTRIES_MAX} services are under it already")));
        };
        write(words, slot, description);
        let hot = hot(words, slot);
        put(hot, layout::DEADLINE, deadline.as_nanos());
        put(hot, layout::STORAGE, u64::from(description.storage));
        let used = get(words, layout::USED).max(slot as u64 + 1);
        words[layout::USED].store(used, Ordering::Release);
        let generation = get(hot, layout::GENERATION) + 1;
        assert!(generation & 1 == 1, "a free slot has an even generation");
        hot[layout::GENERATION].store(generation, Ordering::Release);
        self.bell.ring();
        Ok(Slot(u16::try_from(slot).expect("ENTRIES_MAX fits")))
    }

    /// Replaces the description: **before** an address is added or a process started that it did not
    /// name, after they are gone.
    ///
    /// # Errors
    /// When it does not fit; the former description stays.
    pub fn describe(&mut self, slot: Slot, description: &Description) -> Result<(), SharedError> {
        self.assert_used(slot);
        check(description)?;
        if description.storage {
            // Until it is released: what it was when something of it was started is not taken back.
            let hot = hot(self.mapping.words(), slot.index());
            hot[layout::STORAGE].store(1, Ordering::Release);
        }
        write(self.mapping.words(), slot.index(), description);
        self.bell.ring();
        Ok(())
    }

    /// Lets the service run until `deadline`. False: the guard killed this entry, it has no right to
    /// run any more, and nothing was stored. One store; rings only when the deadline comes earlier.
    ///
    /// # Panics
    /// When `deadline` is zero: that is said by [`DaemonSide::release`].
    pub fn push(&mut self, slot: Slot, deadline: Instant) -> bool {
        assert!(deadline > Instant::ZERO, "zero says that nothing runs");
        self.assert_used(slot);
        let hot = hot(self.mapping.words(), slot.index());
        if get(hot, layout::KILLED_GENERATION) == get(hot, layout::GENERATION) {
            return false;
        }
        let before = get(hot, layout::DEADLINE);
        hot[layout::DEADLINE].store(deadline.as_nanos(), Ordering::Release);
        if deadline.as_nanos() < before {
            self.bell.ring();
        }
        true
    }

    /// Takes the service from under the guard: nothing of it runs, nothing of it has an address.
    pub fn release(&mut self, slot: Slot) {
        self.assert_used(slot);
        let hot = hot(self.mapping.words(), slot.index());
        let generation = get(hot, layout::GENERATION);
        hot[layout::GENERATION].store(generation + 1, Ordering::Release);
        hot[layout::DEADLINE].store(0, Ordering::Release);
    }

    /// What the guard did to the service, if it did.
    #[must_use]
    pub fn killed(&self, slot: Slot) -> Option<Killed> {
        let hot = hot(self.mapping.words(), slot.index());
        let killed = hot[layout::KILLED_GENERATION].load(Ordering::Acquire);
        (killed == get(hot, layout::GENERATION) && killed & 1 == 1).then(|| Killed {
            at: Instant::from_nanos(get(hot, layout::KILLED_AT)),
            gone: match get(hot, layout::GONE_AT) {
                0 => None,
                at => Some(Instant::from_nanos(at)),
            },
            address_error: match get(hot, layout::ADDRESS_ERROR) {
                0 => None,
                errno => i32::try_from(errno).ok(),
            },
        })
    }

    /// Everything that is under the guard: at start, what a former daemon left running.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let words = self.mapping.words();
        let used = usize::try_from(get(words, layout::USED)).unwrap_or(0).min(ENTRIES_MAX);
        (0..used)
            .filter(|&slot| get(hot(words, slot), layout::GENERATION) & 1 == 1)
            .map(|index| {
                let slot = Slot(u16::try_from(index).expect("ENTRIES_MAX fits"));
                let hot = hot(words, index);
                let number = get(hot, layout::DESCRIBED);
                Entry {
                    slot,
                    description: Description {
                        storage: get(hot, layout::STORAGE) != 0,
                        ..read(layout::description(words, index, number))
                    },
                    deadline: Instant::from_nanos(get(hot, layout::DEADLINE)),
                    killed: self.killed(slot),
                }
            })
            .collect()
    }

    /// Leaves frames with the guard that it sends when this daemon is dead and nothing of it runs.
    ///
    /// # Errors
    /// When there are more than [`GOODBYES_MAX`] or one is too large; then none is left.
    pub fn set_goodbyes(
        &mut self,
        incarnation: Incarnation,
        goodbyes: &[Goodbye],
    ) -> Result<(), SharedError> {
        self.withdraw_goodbyes();
        let words = self.mapping.words();
        if goodbyes.len() > GOODBYES_MAX {
            let what = format!("{} goodbye frames, {GOODBYES_MAX} fit", goodbyes.len());
            return Err(SharedError::Foreign(what));
        }
        for (index, goodbye) in goodbyes.iter().enumerate() {
            if goodbye.frame.len() > base::limits::DATAGRAM_SIZE_MAX {
                let what = format!("a goodbye frame of {} bytes", goodbye.frame.len());
                return Err(SharedError::Foreign(what));
            }
            let place = layout::goodbye(words, index);
            layout::put_socket_address(&place[layout::G_SOURCE..], goodbye.source);
            layout::put_socket_address(&place[layout::G_DESTINATION..], goodbye.destination);
            put(place, layout::G_LENGTH, goodbye.frame.len() as u64);
            layout::put_bytes(&place[layout::G_FRAME..], &goodbye.frame);
        }
        put(words, layout::GOODBYE_INCARNATION, incarnation.0);
        words[layout::GOODBYE_COUNT].store(goodbyes.len() as u64, Ordering::Release);
        Ok(())
    }

    /// The guard and what it can promise.
    #[must_use]
    pub fn guard(&self) -> GuardStatus {
        let words = self.mapping.words();
        let granted = |at| match get(words, at) {
            0 => Ok(()),
            errno => Err(i32::try_from(errno).unwrap_or(1)),
        };
        GuardStatus {
            pid: u32::try_from(get(words, layout::GUARD_PID)).unwrap_or(0),
            tick: Instant::from_nanos(get(words, layout::GUARD_TICKED)),
            restarts: get(words, layout::RESTARTS),
            last_exit: match get(words, layout::LAST_EXIT) {
                0 => None,
                word => Some(((word & u64::from(u32::MAX)) as u32).cast_signed()),
            },
            leftovers: get(words, layout::LEFTOVERS),
            gate_refused: match get(words, layout::GATE_REFUSED) {
                0 => None,
                word => Some(GateRefused {
                    interface: (word >> 16 & u64::from(u32::MAX)) as u32,
                    errno: i32::from(word as u16),
                }),
            },
            gate_behind: match get(words, layout::GATE_BEHIND) {
                0 => None,
                word => Some((word & u64::from(u32::MAX)) as u32),
            },
            promises: Promises {
                contained: granted(layout::CONTAINED),
                real_time: granted(layout::REAL_TIME),
                locked: granted(layout::LOCKED),
                gated: gated(get(words, layout::GATED)),
            },
        }
    }

    /// The numbers of the gate's inherited descriptors, where there is a gate.
    #[must_use]
    pub fn gate(&self) -> Option<[i32; 4]> {
        let words = self.mapping.words();
        let numbers = [0, 1, 2, 3].map(|at| get(words, layout::GATE + at));
        let is_there = numbers.iter().all(|word| word & layout::PRESENT != 0);
        is_there.then(|| numbers.map(|word| ((word & u64::from(u32::MAX)) as u32).cast_signed()))
    }

    /// Until when an entry may run.
    #[must_use]
    pub fn deadline(&self, slot: Slot) -> Instant {
        self.assert_used(slot);
        let hot = hot(self.mapping.words(), slot.index());
        Instant::from_nanos(hot[layout::DEADLINE].load(Ordering::Acquire))
    }

    fn withdraw_goodbyes(&mut self) {
        let words = self.mapping.words();
        words[layout::GOODBYE_COUNT].store(0, Ordering::Release);
        // No store to a frame may be seen before the count is.
        fence(Ordering::Release);
    }

    fn assert_used(&self, slot: Slot) {
        let generation = get(hot(self.mapping.words(), slot.index()), layout::GENERATION);
        assert!(generation & 1 == 1, "only an entry in use can be changed");
    }
}

/// The right of one registered service to have something started: valid until its deadline is over,
/// the guard has killed it, or it was released.
///
/// A start takes time, and the one who starts may be stopped in the middle. So it asks *after* the new
/// process has entered its control group: the guard writes down that it killed the service before it
/// kills the group, hence either the process sees that, or the kill sees the process.
#[derive(Clone, Debug)]
pub struct Permit {
    mapping: Arc<Mapping>,
    slot: usize,
    generation: u64,
}

impl Permit {
    /// Whether the service may run now. Neither allocates nor locks: a child may ask after a fork.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let hot = hot(self.mapping.words(), self.slot);
        let in_use = hot[layout::GENERATION].load(Ordering::Acquire) == self.generation;
        let killed = hot[layout::KILLED_GENERATION].load(Ordering::Acquire) == self.generation;
        let deadline = hot[layout::DEADLINE].load(Ordering::Acquire);
        in_use && !killed && crate::clock::boottime() < Instant::from_nanos(deadline)
    }

    /// Whether the service is still entered for the same use, and must not run any more: its deadline is over, or the
    /// guard has killed it. Not the opposite of [`Permit::is_valid`]: what was released is nobody's.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let hot = hot(self.mapping.words(), self.slot);
        hot[layout::GENERATION].load(Ordering::Acquire) == self.generation && !self.is_valid()
    }
}

fn full(description: &Description, what: String) -> SharedError {
    SharedError::Full { service: description.service.clone(), what }
}

fn check(description: &Description) -> Result<(), SharedError> {
    let name_max = base::limits::NAME_SIZE_MAX;
    let group = description.group.as_ref().map_or(0, |path| path.as_os_str().len());
    let names = description.processes.iter().map(|process| process.resource.len());
    if description.addresses.len() > ADDRESSES_MAX {
        let count = description.addresses.len();
        Err(full(description, format!("{count} addresses, at most {ADDRESSES_MAX}")))
    } else if description.processes.len() > PROCESSES_MAX {
        let count = description.processes.len();
        Err(full(description, format!("{count} processes, at most {PROCESSES_MAX}")))
    } else if group > GROUP_PATH_MAX {
        Err(full(description, format!("a control group path of {group} bytes")))
    } else if description.service.len() > name_max || names.max().unwrap_or(0) > name_max {
        Err(full(description, format!("a name of more than {name_max} bytes")))
    } else {
        Ok(())
    }
}

/// Fills the copy that is not in use and makes it the valid one.
fn write(words: &[std::sync::atomic::AtomicU64], slot: usize, description: &Description) {
    let number = &hot(words, slot)[layout::DESCRIBED];
    let next = number.load(Ordering::Relaxed) + 1;
    // The former publication must be seen before any store to the copy that it replaced.
    fence(Ordering::Release);
    let place = layout::description(words, slot, next);
    layout::put_bytes(&place[layout::D_NAME..][..layout::NAME], description.service.as_bytes());
    let group =
        description.group.as_ref().map_or(&[][..], |path| path.as_os_str().as_encoded_bytes());
    layout::put_bytes(&place[layout::D_GROUP..][..layout::GROUP], group);
    put(place, layout::D_ADDRESS_COUNT, description.addresses.len() as u64);
    for (index, held) in description.addresses.iter().enumerate() {
        let at = layout::D_ADDRESSES + index * layout::ADDRESS;
        layout::put_address(&place[at..], held.interface, held.address, held.prefix);
    }
    put(place, layout::D_PROCESS_COUNT, description.processes.len() as u64);
    for (index, process) in description.processes.iter().enumerate() {
        let at = layout::D_PROCESSES + index * layout::PROCESS;
        layout::put_bytes(&place[at..][..layout::NAME], process.resource.as_bytes());
        put(place, at + layout::NAME, u64::from(process.pid));
        put(place, at + layout::NAME + 1, process.started);
    }
    number.store(next, Ordering::Release);
}

/// The daemon is the only writer, so what it reads does not change.
fn read(place: &[std::sync::atomic::AtomicU64]) -> Description {
    let text = |at: usize, words: usize| {
        let mut bytes = vec![0_u8; words * 8];
        layout::get_bytes(&place[at..], &mut bytes);
        let length = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let count = |at, max: usize| usize::try_from(get(place, at)).unwrap_or(max).min(max);
    let group = text(layout::D_GROUP, layout::GROUP);
    Description {
        service: text(layout::D_NAME, layout::NAME),
        group: (!group.is_empty()).then(|| PathBuf::from(group)),
        addresses: (0..count(layout::D_ADDRESS_COUNT, ADDRESSES_MAX))
            .map(|index| {
                let at = layout::D_ADDRESSES + index * layout::ADDRESS;
                let (interface, address, prefix) = layout::get_address(&place[at..]);
                HeldAddress { interface, address, prefix }
            })
            .collect(),
        processes: (0..count(layout::D_PROCESS_COUNT, PROCESSES_MAX))
            .map(|index| {
                let at = layout::D_PROCESSES + index * layout::PROCESS;
                HeldProcess {
                    resource: text(at, layout::NAME),
                    pid: u32::try_from(get(place, at + layout::NAME)).unwrap_or(0),
                    started: get(place, at + layout::NAME + 1),
                }
            })
            .collect(),
        storage: false,
    }
}

fn gated(word: u64) -> Gated {
    let errno = |word: u64| i32::try_from(word & layout::GATED_ERROR).unwrap_or(0);
    let (programs, sets) = (errno(word >> layout::GATED_PROGRAMS), errno(word));
    match word >> layout::GATED_MEANS {
        0 => Gated::Programs,
        1 => Gated::Sets { programs },
        _ => Gated::Nothing { programs, sets },
    }
}
