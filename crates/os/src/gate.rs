//! The lease gate: the kernel itself lets a service address be heard and spoken for only while the
//! lease lasts, whatever became of our processes.
//!
//! Intuition: a process that is stopped, starved or killed cannot end anything, and the kernel goes on
//! answering for the addresses that stand on its interfaces: ARP, echo, connections of sockets that
//! nobody reads. So the end of the lease is written down *before* it comes, where the kernel looks at
//! it for each packet. Nothing has to happen at the deadline: time passing closes the gate.
//!
//! Each service address of the configuration has a *slot* on each node, closed at first. So an address
//! that somebody adds by hand to the wrong node answers nothing. **A slot is open while
//! `now < deadline` and `grant > revoked`**, all moments of `CLOCK_BOOTTIME`:
//!
//! | word | writer | meaning |
//! |---|---|---|
//! | deadline | daemon | until when the lease lasts: an absolute moment that follows from evidence |
//! | grant | daemon | when the daemon was sure that its service is held here and not killed |
//! | revoked | guard | when the guard ended the service the last time |
//! | passed, dropped | kernel | packets |
//!
//! Each word has one writer, and each value is a moment at which something was known, never "now plus
//! something" at the time of the store. So a late store of a process that was stopped in between is
//! harmless: its deadline is over, or its grant is older than the revocation. The guard notes that it
//! killed a service before it takes the moment of the revocation, and the daemon takes the moment of
//! the grant before it asks whether the service was killed: either the daemon sees that, or its grant is
//! the older one.
//!
//! The order of a claim is: attached and closed, probe for conflicts, add the address, open, announce;
//! of a release: close, remove. While it is closed the node's own announcements are dropped, its
//! probes are not.
//!
//! All this is so with programs in the kernel. Where it takes none from us the gate is a table of nftables
//! ([`sets`]), behind the same face; what is different there stands there.
//!
//! Programs assume: Linux 5.8 (the clock in programs), `CAP_SYS_ADMIN` and `CAP_NET_ADMIN`, no time
//! namespace with another `CLOCK_BOOTTIME` (programs see the machine's). It does not see: local clients
//! (the loop has no gate), what passes beside the kernel's network stack (a virtual function given
//! to a guest, AF_XDP), and a hypervisor that stops this machine's clocks with the machine.

mod assembler;
mod attach;
mod maps;
mod order;
mod program;
mod sets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use base::Instant;

use crate::netlink::NetlinkError;
use crate::sys::{self, bpf};
use maps::Maps;
use program::Direction;

pub use attach::{Attached, Attachments, Kept};
pub use sets::{FENCE, Pusher};

/// Addresses that fit.
pub const SLOTS_MAX: usize = 8_192;
const _: () = assert!(SLOTS_MAX >= base::limits::SERVICES_MAX * crate::shared::ADDRESSES_MAX);

// The words of a slot: one cache line.
const DEADLINE: usize = 0;
const GRANT: usize = 1;
const REVOKED: usize = 2;
const PASSED: usize = 3;
const DROPPED: usize = 4;
const WORDS: usize = 8;

/// The kernel tells nobody of tcx programs that come before ours.
const LOOK_AT_PROGRAMS: Duration = Duration::from_secs(2);
/// Whoever loads rules for nftables anew takes all tables away first, and of what becomes of tables the
/// kernel tells also what the daemon itself does all the time.
const LOOK_AT_SETS: Duration = Duration::from_millis(250);

/// Room for what the kernel says about a program that it refuses.
const LOG_SIZE: usize = 64 << 10;

/// The gate of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// Until when the lease lasts.
    pub deadline: Instant,
    /// The moment of the newest grant.
    pub grant: Instant,
    /// The moment of the newest revocation.
    pub revoked: Instant,
    /// Packets that passed since the address is known; `None`: nobody counts them.
    pub passed: Option<u64>,
    /// Packets that were dropped since.
    pub dropped: u64,
}

impl SlotState {
    /// Until when packets pass; `None`: they do not.
    #[must_use]
    pub fn open_until(&self, now: Instant) -> Option<Instant> {
        (now < self.deadline && self.grant > self.revoked).then_some(self.deadline)
    }
}

/// Why there is no gate.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Programs would compare deadlines with another clock.
    #[error(
        "this time namespace has a CLOCK_BOOTTIME of its own, and packets are judged by another"
    )]
    TimeNamespace,
    /// The kernel refused a step.
    #[error("cannot {operation}")]
    Kernel {
        /// The step.
        operation: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// The kernel's check of programs did not let ours pass.
    #[error("the kernel does not take the gate's program: {0}")]
    Program(String),
    /// There are interfaces, and none of them takes the gate.
    #[error(
        "no interface takes the gate, interface {interface} for example (the kernel needs sch_ingress \
         and cls_bpf)"
    )]
    Nowhere {
        /// One of them.
        interface: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel did not answer, or refused to say what it has.
    #[error("cannot put the gate into the kernel")]
    Attach(#[from] NetlinkError),
    /// Neither of the two means is to be had.
    #[error("no programs ({programs}), and no nftables ({sets})")]
    Neither {
        /// Why the kernel took no programs.
        programs: Box<GateError>,
        /// Why it took no table.
        sets: Box<GateError>,
    },
}

/// Stands for a time namespace among the kernel's error numbers.
pub const TIME_NAMESPACE: i32 = 10_000;

impl GateError {
    /// The kernel's error number, or [`TIME_NAMESPACE`]: see [`reason`].
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            GateError::TimeNamespace => TIME_NAMESPACE,
            GateError::Kernel { source, .. } | GateError::Nowhere { source, .. } => {
                source.raw_os_error().unwrap_or(libc::EIO)
            }
            GateError::Program(_) => libc::EACCES,
            GateError::Attach(error) => error.errno().unwrap_or(libc::EIO),
            GateError::Neither { programs, .. } => programs.errno(),
        }
    }
}

impl GateError {
    /// As [`GateError::errno`], for programs and for nftables, as far as they were tried.
    #[must_use]
    pub fn both(&self) -> (i32, i32) {
        match self {
            GateError::Neither { programs, sets } => (programs.errno(), sets.errno()),
            one => (one.errno(), 0),
        }
    }
}

/// In words, what [`GateError::errno`] said.
#[must_use]
pub fn reason(errno: i32) -> String {
    match errno {
        TIME_NAMESPACE => GateError::TimeNamespace.to_string(),
        errno => io::Error::from_raw_os_error(errno).to_string(),
    }
}

fn kernel(operation: &'static str) -> impl FnOnce(io::Error) -> GateError {
    move |source| GateError::Kernel { operation, source }
}

/// Whether `CLOCK_BOOTTIME` here is the machine's: `timens_offsets` of time_namespaces(7).
fn is_time_shifted(offsets: &str) -> bool {
    let mut words = offsets.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "boottime").then(|| words.all(|offset| offset == "0"))
    });
    words.next() == Some(false)
}

/// What the two programs of a node are called, before a number that is made of its name: the kernel's limit
/// is 15 bytes.
const PROGRAMS: [&str; 2] = ["ms_in_", "ms_out_"];

fn program_names(node: &str) -> [String; 2] {
    let number = crc32fast::hash(node.as_bytes());
    PROGRAMS.map(|way| format!("{way}{number:08x}"))
}

fn load(
    direction: Direction,
    maps: &Maps,
    names: &[String; 2],
) -> Result<(OwnedFd, u32), GateError> {
    let name = &names[usize::from(direction == Direction::Out)];
    let (addresses, slots) = (maps.addresses.as_raw_fd(), maps.slots.as_raw_fd());
    let instructions = program::assemble(direction, addresses, slots);
    let program = match bpf::load_classifier(&instructions, name, &mut []) {
        Ok(program) => program,
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            return Err(kernel("load the gate's program")(error));
        }
        // Again, to hear why.
        Err(error) => {
            let mut log = vec![0; LOG_SIZE];
            let _same = bpf::load_classifier(&instructions, name, &mut log);
            let text = log.split(|&byte| byte == 0).next().unwrap_or(&[]);
            let text = String::from_utf8_lossy(text);
            let last = text.lines().rev().take(6).collect::<Vec<_>>();
            let said = last.into_iter().rev().collect::<Vec<_>>().join("; ");
            return Err(GateError::Program(format!("{error}: {said}")));
        }
    };
    let (id, _) = bpf::program_information(program.as_fd()).map_err(kernel("look at it"))?;
    Ok((program, id))
}

/// Closes addresses: the part of the gate that has nothing to do with interfaces.
#[derive(Clone, Debug)]
pub struct Revoker {
    /// None with nftables: nobody waits for its lock before a kill, and the lease ends what is open.
    maps: Option<Arc<Maps>>,
}

impl Revoker {
    /// Closes an address, until a grant that is made after this moment. Neither allocates nor waits.
    ///
    /// # Errors
    /// The kernel's.
    pub fn revoke(&self, address: IpAddr) -> io::Result<()> {
        let Some(maps) = &self.maps else { return Ok(()) };
        if let Some(number) = maps.find(address)? {
            maps.set_revoked(number, crate::clock::boottime());
        }
        Ok(())
    }
}

/// By what the kernel judges packets.
#[derive(Debug)]
enum Means {
    Programs { maps: Arc<Maps>, attachments: Attachments, was_there: bool },
    Sets { keeper: Box<sets::Keeper>, refused: Option<GateError> },
}

/// The gate as the guard has it: its maker and keeper.
#[derive(Debug)]
pub struct Gate {
    means: Means,
}

impl Gate {
    /// Puts these addresses under the gate, closed, in the calling thread's network namespace: by programs
    /// on all interfaces, or where the kernel refuses them by nftables. What a former guard of the
    /// same node left is adopted and closed, also for addresses that the configuration has no more.
    /// Waits for the kernel's lock on the network configuration.
    ///
    /// # Errors
    /// Where the kernel has neither, or not for this process.
    pub fn open(node: &str, addresses: &BTreeSet<IpAddr>) -> Result<Gate, GateError> {
        let programs = match Gate::of_programs(node, addresses) {
            Ok(gate) => {
                // Closed for ever, it would keep the addresses silent; and so would these programs.
                return match sets::remove_former(node) {
                    Ok(_) => Ok(gate),
                    Err(error) => gate.remove().and(Err(error)),
                };
            }
            Err(error) => error,
        };
        match Gate::of_sets(node, addresses) {
            Ok(mut gate) => {
                // Likewise.
                let former = Attachments::new(node).map_err(kernel("open a netlink socket"));
                let removed = former.and_then(|mut former| Ok(former.remove_former()?));
                if let Err(error) = removed {
                    return gate.remove().and(Err(error));
                }
                if let Means::Sets { refused, .. } = &mut gate.means {
                    *refused = Some(programs);
                }
                Ok(gate)
            }
            Err(sets) => {
                Err(GateError::Neither { programs: Box::new(programs), sets: Box::new(sets) })
            }
        }
    }

    /// As [`Gate::open`], by nftables alone.
    ///
    /// # Errors
    /// Where the kernel has none, or not for this process.
    pub fn of_sets(node: &str, addresses: &BTreeSet<IpAddr>) -> Result<Gate, GateError> {
        let keeper = Box::new(sets::Keeper::open(node, addresses)?);
        Ok(Gate { means: Means::Sets { keeper, refused: None } })
    }

    /// As [`Gate::open`], by programs alone.
    ///
    /// # Errors
    /// Where the kernel has no such gate, or not for this process, or takes it on no interface.
    pub fn of_programs(node: &str, addresses: &BTreeSet<IpAddr>) -> Result<Gate, GateError> {
        // A kernel without time namespaces has no such file.
        let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        if is_time_shifted(&offsets) {
            return Err(GateError::TimeNamespace);
        }
        let mut attachments = Attachments::new(node).map_err(kernel("open a netlink socket"))?;
        let former = match attachments.find_former()? {
            // One whose maps cannot be had (of another version; `CAP_SYS_ADMIN` is missing) is replaced
            // by ours, which are closed.
            Some(id) => Maps::of_program(id).unwrap_or(None),
            None => None,
        };
        let was_there = former.is_some();
        let maps = match former {
            Some(maps) => maps,
            None => Maps::create().map_err(kernel("make the gate's maps"))?,
        };
        let mut known = maps.list().map_err(kernel("list the gate's addresses"))?;
        let now = crate::clock::boottime();
        for number in known.values() {
            maps.set_revoked(*number, now);
        }
        // One that was taken out of the configuration may be here still. (What does not fit had a slot
        // beyond those that any configuration needs.)
        let mut wanted = addresses.clone();
        let room = SLOTS_MAX.saturating_sub(wanted.len());
        wanted.extend(known.keys().filter(|address| !addresses.contains(address)).take(room));
        maps.sync(&mut known, &wanted).map_err(kernel("put addresses under the gate"))?;
        let names = program_names(node);
        let programs = [load(Direction::In, &maps, &names)?, load(Direction::Out, &maps, &names)?];
        attachments.use_programs(programs);
        // One interface that refuses the gate is no reason to have none at all; that all do is. Without
        // an address nothing is attached yet, and it is tried where it hurts nobody.
        let kept = if wanted.is_empty() { attachments.rehearse()? } else { attachments.keep()? };
        if let (0, Some((interface, errno))) = (kept.gated, kept.refused) {
            // The other half may have been taken.
            attachments.remove()?;
            return Err(GateError::Nowhere {
                interface,
                source: io::Error::from_raw_os_error(errno),
            });
        }
        Ok(Gate { means: Means::Programs { maps: Arc::new(maps), attachments, was_there } })
    }

    /// With nftables: why there are no programs, if they were tried. `None`: these are programs.
    #[must_use]
    pub fn sets(&self) -> Option<Option<&GateError>> {
        match &self.means {
            Means::Programs { .. } => None,
            Means::Sets { refused, .. } => Some(refused.as_ref()),
        }
    }

    /// All addresses under the gate: those of the configuration, and those that a former guard knew.
    ///
    /// # Errors
    /// The kernel's.
    pub fn addresses(&self) -> io::Result<BTreeSet<IpAddr>> {
        match &self.means {
            Means::Programs { maps, .. } => Ok(maps.list()?.into_keys().collect()),
            Means::Sets { keeper, .. } => Ok(keeper.addresses()),
        }
    }

    /// For whoever closes addresses and must not wait for interfaces.
    #[must_use]
    pub fn revoker(&self) -> Revoker {
        let maps = match &self.means {
            Means::Programs { maps, .. } => Some(maps.clone()),
            Means::Sets { .. } => None,
        };
        Revoker { maps }
    }

    /// Whether a former guard's gate was found and adopted.
    #[must_use]
    pub fn was_there(&self) -> bool {
        match &self.means {
            Means::Programs { was_there, .. } => *was_there,
            Means::Sets { keeper, .. } => keeper.was_there(),
        }
    }

    /// What the daemon needs of programs, to be left open for it: addresses, slots, programs.
    #[must_use]
    pub fn descriptors(&self) -> Option<[BorrowedFd<'_>; 4]> {
        let Means::Programs { maps, attachments, .. } = &self.means else { return None };
        let [ingress, egress] = attachments.programs();
        Some([maps.addresses.as_fd(), maps.slots.as_fd(), ingress, egress])
    }

    /// How often somebody must come by with [`Gate::keep`], though nothing was heard.
    #[must_use]
    pub fn look_interval(&self) -> Duration {
        match &self.means {
            Means::Programs { .. } => LOOK_AT_PROGRAMS,
            Means::Sets { .. } => LOOK_AT_SETS,
        }
    }

    /// Puts the gate where it is missing, unless there is no address to be gated. Does not allocate; waits
    /// for the kernel's locks.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn keep(&mut self) -> Result<Kept, GateError> {
        match &mut self.means {
            Means::Programs { maps, attachments, .. } => {
                if maps.is_empty().map_err(kernel("look at the gate's addresses"))? {
                    return Ok(Kept::default());
                }
                Ok(attachments.keep()?)
            }
            Means::Sets { keeper, .. } => {
                let attached = u32::try_from(keeper.keep()?).unwrap_or(u32::MAX);
                Ok(Kept { attached, ..Kept::default() })
            }
        }
    }

    /// Takes the gate away: none of its addresses is here any more.
    ///
    /// # Errors
    /// When the kernel does not answer, or refuses.
    pub fn remove(self) -> Result<(), GateError> {
        match self.means {
            Means::Programs { mut attachments, .. } => Ok(attachments.remove()?),
            Means::Sets { keeper, .. } => keeper.remove(),
        }
    }
}

/// The gate as the daemon has it.
#[derive(Debug)]
pub struct DaemonGate {
    means: DaemonMeans,
}

#[derive(Debug)]
enum DaemonMeans {
    Programs { maps: Maps, known: BTreeMap<IpAddr, u32> },
    Sets(sets::SetsGate),
}

/// Whether an address is under the gate: for whoever adds it.
#[derive(Clone, Debug)]
pub struct Custody(Held);

#[derive(Clone, Debug)]
enum Held {
    /// The kernel has it, or refused it: there is nothing to wait for.
    Known(bool),
    /// A thread is to hand it to the kernel, or has.
    Soon(sets::Awaited),
}

impl Custody {
    /// Whether the kernel refused to have it there, so that it will not be by waiting.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.0, Held::Known(false))
    }

    /// Waits until it is, until then at most.
    #[must_use]
    pub fn wait(&self, until: Instant) -> bool {
        match &self.0 {
            Held::Known(is_under) => *is_under,
            Held::Soon(awaited) => awaited.wait(until),
        }
    }
}

impl DaemonGate {
    /// Takes over the descriptors that the guard left open ([`Gate::descriptors`]), once per process; the
    /// attachments are for whoever adds addresses.
    ///
    /// # Errors
    /// When these are not the descriptors of a gate.
    pub fn inherit(node: &str, numbers: [i32; 4]) -> Result<(DaemonGate, Attachments), GateError> {
        let [addresses, slots, ingress, egress] = numbers;
        let maps = Maps::inherit(addresses, slots).map_err(kernel("take the gate's maps"))?;
        let program = |number| -> io::Result<(OwnedFd, u32)> {
            let program = sys::inherited_descriptor(number)?;
            let (id, _) = bpf::program_information(program.as_fd())?;
            Ok((program, id))
        };
        let programs = [
            program(ingress).map_err(kernel("take the gate's program"))?,
            program(egress).map_err(kernel("take the gate's program"))?,
        ];
        let known = maps.list().map_err(kernel("list the gate's addresses"))?;
        let mut attachments = Attachments::new(node).map_err(kernel("open a netlink socket"))?;
        attachments.use_programs(programs);
        Ok((DaemonGate { means: DaemonMeans::Programs { maps, known } }, attachments))
    }

    /// Takes over the table that the guard put into nftables; the pusher is for a thread of its own.
    ///
    /// # Errors
    /// When there is none.
    pub fn inherit_sets(node: &str) -> Result<(DaemonGate, Pusher), GateError> {
        let (gate, pusher) = sets::SetsGate::inherit(node)?;
        Ok((DaemonGate { means: DaemonMeans::Sets(gate) }, pusher))
    }

    /// Has exactly these addresses under the gate; new ones are closed.
    ///
    /// # Errors
    /// When there are too many, or the kernel refuses.
    pub fn sync(&mut self, wanted: &BTreeSet<IpAddr>) -> io::Result<()> {
        match &mut self.means {
            DaemonMeans::Programs { maps, known } => maps.sync(known, wanted),
            DaemonMeans::Sets(_) if wanted.len() > SLOTS_MAX => {
                Err(io::Error::from_raw_os_error(libc::E2BIG))
            }
            DaemonMeans::Sets(gate) => {
                gate.sync(wanted);
                Ok(())
            }
        }
    }

    /// Whether the kernel has an address under the gate. What it does not have passes without limit, so it must not be
    /// added before.
    #[must_use]
    pub fn custody(&self, address: IpAddr) -> Custody {
        Custody(match &self.means {
            DaemonMeans::Programs { known, .. } => Held::Known(known.contains_key(&address)),
            DaemonMeans::Sets(gate) => gate.awaited(address).map_or(Held::Known(false), Held::Soon),
        })
    }

    /// The right to have the address is from `moment` on, if nobody revoked it since. Take the moment
    /// *before* asking whether the guard has killed the service. Nothing passes before a deadline is
    /// pushed as well.
    pub fn grant(&self, address: IpAddr, moment: Instant) {
        if let DaemonMeans::Programs { maps, known } = &self.means
            && let Some(number) = known.get(&address)
        {
            maps.set_grant(*number, moment);
        }
    }

    /// Whether the right to have the address was revoked after it was granted.
    #[must_use]
    pub fn is_revoked(&self, address: IpAddr) -> bool {
        let DaemonMeans::Programs { maps, known } = &self.means else { return false };
        known.get(&address).is_some_and(|number| {
            let slot = maps.state(*number);
            slot.revoked >= slot.grant
        })
    }

    /// The right to have the address ends at `deadline`. One store.
    pub fn push(&self, address: IpAddr, deadline: Instant) {
        match &self.means {
            DaemonMeans::Programs { maps, known } => {
                if let Some(number) = known.get(&address) {
                    maps.set_deadline(*number, deadline);
                }
            }
            DaemonMeans::Sets(gate) => gate.push(address, deadline),
        }
    }

    /// Closes an address.
    pub fn close(&self, address: IpAddr) {
        self.push(address, Instant::ZERO);
    }

    /// All addresses under the gate, in order.
    #[must_use]
    pub fn slots(&self) -> Vec<(IpAddr, SlotState)> {
        match &self.means {
            DaemonMeans::Programs { maps, known } => {
                known.iter().map(|(address, number)| (*address, maps.state(*number))).collect()
            }
            DaemonMeans::Sets(gate) => gate.slots().collect(),
        }
    }
}
