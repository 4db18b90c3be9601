//! The memory that the guard and the daemon share: what runs here, until when it may, and what to do
//! about it if the daemon cannot.
//!
//! One anonymous file of a fixed size, sealed so that neither side can shrink it under the other,
//! mapped by both and reached through 64-bit atomics only. **Each word has one writer.** Either side
//! may die between any two stores:
//!
//! - An entry is published by one store (its generation becomes odd) after its description and its
//!   deadline are in place, and is withdrawn by one store. So there is never a running service that
//!   the guard cannot see, if the daemon registers *before* it starts anything.
//! - A description has two copies. The writer fills the one that is not in use, then publishes it by
//!   one store to its number; a writer that dies while it writes leaves the other one untouched.
//! - The deadline is an absolute moment, derived from evidence, never "now plus something" at the
//!   time of the store. So a store by a daemon that was stopped in between is harmless.
//! - When the guard has killed an entry it writes down which generation it killed, and that
//!   generation has no right to run any more, whatever deadline is pushed afterwards.
//!
//! The goodbye frames are sealed by the daemon in advance and are the guard's to send when that
//! daemon is dead and nothing of it runs: only then does it look at them, so they need no lock.

mod daemon;
mod guard;
mod layout;
#[cfg(test)]
mod tests;
mod watchdog;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base::Instant;

pub use daemon::{DaemonSide, Permit};
pub use guard::{GuardSide, Held, Subject};
pub use watchdog::{WatchdogRequest, WatchdogStatus};

/// Services that can be under the guard at a time.
pub const ENTRIES_MAX: usize = base::limits::SERVICES_MAX;
/// Addresses of one service.
pub const ADDRESSES_MAX: usize = 16;
/// Processes of one service that are known by number.
pub const PROCESSES_MAX: usize = base::limits::RESOURCES_PER_SERVICE_MAX;
/// Bytes of the path of a control group.
pub const GROUP_PATH_MAX: usize = 255;
/// Goodbye frames: at least one for each peer.
pub const GOODBYES_MAX: usize = 256;

const _: () = assert!(GOODBYES_MAX >= base::limits::NODES_MAX);

/// The place of one service in the shared memory, until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u16);

impl Slot {
    fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// An address that a service has here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldAddress {
    /// The interface's number.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// Bits of the network part, as it was added.
    pub prefix: u8,
}

/// A process that a service has here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldProcess {
    /// The resource that it is.
    pub resource: String,
    /// Its number.
    pub pid: u32,
    /// When it started, in the kernel's ticks: tells it from a later process of the same number.
    pub started: u64,
}

/// Everything that must be ended when a service's deadline is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The service's name.
    pub service: String,
    /// Its control group; `None` where there are none.
    pub group: Option<PathBuf>,
    /// Its addresses: those that are there, and those about to be added.
    pub addresses: Vec<HeldAddress>,
    /// The first process of each process resource.
    pub processes: Vec<HeldProcess>,
    /// It writes until its machine dies: while it is entered here a watchdog is fed on fresh evidence
    /// only, and no goodbye is said, whatever was killed. **To be released only when nothing of it is
    /// left that could write.**
    pub storage: bool,
}

/// What the guard did to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Killed {
    /// When it began.
    pub at: Instant,
    /// When nothing of the service was left; `None`: something still is.
    pub gone: Option<Instant>,
    /// The error number if an address could not be removed.
    pub address_error: Option<i32>,
}

/// One service under the guard, as the daemon finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub slot: Slot,
    /// What belongs to it.
    pub description: Description,
    /// How long it may run.
    pub deadline: Instant,
    /// Set when the guard killed it: release the entry when the outcome was taken note of.
    pub killed: Option<Killed>,
}

/// A sealed frame that tells a peer that this life is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goodbye {
    /// The local address to send from.
    pub source: SocketAddr,
    /// The peer's address.
    pub destination: SocketAddr,
    /// The frame, at most `base::limits::DATAGRAM_SIZE_MAX` bytes.
    pub frame: Vec<u8>,
}

/// What the guard can and cannot promise on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promises {
    /// Services are in control groups; else the error number.
    pub contained: Result<(), i32>,
    /// The guard is in a real-time class; else the error number.
    pub real_time: Result<(), i32>,
    /// The guard's memory is locked; else the error number.
    pub locked: Result<(), i32>,
    /// By what the kernel closes service addresses at their deadline ([`gate`](crate::gate)).
    pub gated: Gated,
}

/// The means of the lease gate. The numbers are those of [`gate::reason`](crate::gate::reason).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gated {
    /// Programs on all interfaces.
    Programs,
    /// A table of nftables.
    Sets {
        /// Why there are no programs.
        programs: i32,
    },
    /// Nothing.
    Nothing {
        /// Why there are no programs.
        programs: i32,
        /// Why there is no table.
        sets: i32,
    },
}

/// The guard, as the daemon sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardStatus {
    /// Its process.
    pub pid: u32,
    /// The guard's last look at the entries; older than [`GUARD_TICK`] times a few: it is stuck.
    pub tick: Instant,
    /// How often it started a daemon again.
    pub restarts: u64,
    /// How the former daemon ended, as wait(2) encodes it; `None` for the first.
    pub last_exit: Option<i32>,
    /// Control groups of a former guard that were killed at its start.
    pub leftovers: u64,
    /// What it can promise.
    pub promises: Promises,
    /// An interface on which the kernel refuses (half of) the gate.
    pub gate_refused: Option<GateRefused>,
    /// The number of an interface on which programs of others are asked before the gate, and may let
    /// through what it would drop.
    pub gate_behind: Option<u32>,
}

/// What the kernel refused about the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateRefused {
    /// The interface's number; 0: none could be looked at.
    pub interface: u32,
    /// The error number.
    pub errno: i32,
}

/// The guard looks at all entries at least this often, so that no single lost wake-up matters.
pub const GUARD_TICK: Duration = Duration::from_millis(100);

/// Why the memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The kernel refused a step.
    #[error("shared memory of guard and daemon: cannot {operation}")]
    Io {
        /// The step.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The descriptor is something else, or of another version.
    #[error("the guard's memory is not what this program expects: {0}")]
    Foreign(String),
    /// No place for one more service, or for all that belongs to it.
    #[error("service {service} does not fit under the guard: {what}")]
    Full {
        /// The service.
        service: String,
        /// The limit.
        what: String,
    },
}

impl Promises {
    /// What is weaker here than it should be: one sentence each, none if all is well.
    #[must_use]
    pub fn weaknesses(&self) -> Vec<String> {
        let cause = |errno: i32| io::Error::from_raw_os_error(errno);
        let mut sentences = Vec::new();
        if let Err(errno) = self.contained {
            sentences.push(format!(
                "no control groups ({}): killing rests on /proc; a process that has left the session of its \
                 service is found late, and one that hides is not found",
                cause(errno)
            ));
        }
        if let Err(errno) = self.real_time {
            sentences.push(format!(
                "the guard has no real-time class ({}): on a busy machine it acts late",
                cause(errno)
            ));
        }
        if let Err(errno) = self.locked {
            sentences.push(format!(
                "the guard's memory is not locked ({}): on a machine short of memory it acts late",
                cause(errno)
            ));
        }
        let reason = crate::gate::reason;
        match self.gated {
            Gated::Programs => {}
            Gated::Sets { programs } => sentences.push(format!(
                "the lease gate is one of nftables, not of programs ({}): a machine that was suspended may \
                 answer for what was left of its lease when it wakes, until the guard has acted",
                reason(programs)
            )),
            Gated::Nothing { programs, sets } => sentences.push(format!(
                "no lease gate (programs: {}; nftables: {}): a service address goes on answering until the \
                 guard removes it, or until its lifetime in the kernel ends if the guard is stopped, too",
                reason(programs),
                reason(sets)
            )),
        }
        sentences
    }
}
