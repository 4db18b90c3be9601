//! The gate where the kernel takes no programs from us: nftables, with open addresses that end by
//! themselves.
//!
//! Intuition: instead of a deadline that is compared with the clock for each packet, there is a set of
//! open addresses, whose elements the kernel takes out after a time that was given to it. Nothing has
//! to happen at the deadline here either.
//!
//! The trouble is that this time is *relative*: it begins when the kernel hears of it. Whoever looks at
//! the clock, is stopped, and sends when it goes on, would hold an address open for too long by as much as it
//! was stopped. **So nothing is opened but past a fence that falls by itself:**
//!
//! 1. The fence, an element of a set of its own, is put up for W = [`FENCE`].
//! 2. The clock is looked at: *c*. The fence was there before, so it falls at *c* + W at the latest.
//! 3. One transaction takes the fence away and opens each address for *deadline* − *c* − W. If the fence is
//!    not there any more, the kernel refuses all of it.
//!
//! So what is opened at a moment *h* has *h* < *c* + W, and ends at *h* + *deadline* − *c* − W < *deadline*.
//! Each fence has a key of its own, so a late transaction does not find that of another push.
//!
//! Where the programs of the [gate](super) compare packets with `CLOCK_BOOTTIME`, the kernel counts ticks here.
//! They are rounded in favour of an early end. What remains, and the programs do not have:
//! - Ticks stand still while the machine is suspended: when it wakes, an address may be open for what
//!   was left of its lease, until the guard, which wakes with it, has removed the address.
//! - A kernel that is held up between the fence and the address, which it looks at within one call, or whose
//!   tick is late, is late by as much. The sender notices when it gets to run, and closes.
//! - An address closes earlier than its lease ends, by W and a tick, and by how long the last push is ago.
//! - Frames that programs send themselves (`AF_PACKET`) do not come by: our own announcements, so
//!   that a daemon that was stopped right before one may announce once when it goes on.
//! - The guard's revocation is not known here: the guard removes the address, and the lease ends it.
//!
//! What is better than with programs: no interface has to be gated, so none is missing, and nobody is asked
//! before. Mechanism: netlink messages, no program (`nft` need not be installed). Needed: `CAP_NET_ADMIN`,
//! also that of a user namespace; `nf_tables` with `nft_fib`, since Linux 4.10 (counters per address: 5.7).
//! The table stays when its maker dies, and is replaced by the next guard in one transaction.

mod batch;
mod push;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use batch::{Ask, Tables, Transaction};
use table::{SETS, Sets};

use super::{GateError, kernel};

pub use push::Pusher;
pub(super) use push::{Awaited, SetsGate};

/// W: how old a look at the clock may be when the kernel acts on it.
pub const FENCE: Duration = Duration::from_millis(30);

fn table_name(node: &str) -> String {
    // The kernel's limit is 255 bytes.
    let mut name = format!("mainstay {node}");
    while name.len() > 200 {
        name.pop();
    }
    name
}

fn refused(operation: &'static str, errno: i32) -> GateError {
    kernel(operation)(io::Error::from_raw_os_error(errno))
}

/// All addresses under the gate, with the packets that were dropped.
fn list(tables: &mut Tables, table: &str) -> Result<BTreeMap<IpAddr, u64>, GateError> {
    let mut known = BTreeMap::new();
    for sets in SETS {
        for set in [sets.known, sets.counted] {
            let question = table::ask_elements(table, sets, set);
            let errno = tables.list(&question, |body| {
                table::read_elements(body, sets, |address, packets| {
                    *known.entry(address).or_insert(0) += packets;
                });
            })?;
            match errno {
                0 => {}
                errno => return Err(refused("list what is under the gate", errno)),
            }
        }
    }
    Ok(known)
}

/// Times that a list is asked for again which was changed meanwhile.
const LISTS_MAX: usize = 5;

/// The table as the guard has it: its maker and keeper.
#[derive(Debug)]
pub(super) struct Keeper {
    tables: Tables,
    name: String,
    /// What is under the gate, in order: at the start, later what the daemon has made of it.
    known: Vec<IpAddr>,
    /// Room to look again.
    seen: Vec<IpAddr>,
    /// Makes all of it, closed.
    build: Transaction,
    take_away: Transaction,
    /// What to ask, and how many chains and rules there are when none is missing.
    questions: [(Vec<u8>, usize); 4],
    /// What to ask for what is under the gate.
    elements: [(Sets, Vec<u8>); table::ALL.len()],
    was_there: bool,
}

impl Keeper {
    /// Puts these addresses under the gate, closed, and those that a former guard's table has.
    pub(super) fn open(node: &str, addresses: &BTreeSet<IpAddr>) -> Result<Keeper, GateError> {
        let name = table_name(node);
        let mut tables = Tables::open().map_err(kernel("open a socket for nftables"))?;
        let (former, was_there) = match list(&mut tables, &name) {
            Ok(former) => (former, true),
            Err(error) if error.errno() == libc::ENOENT => (BTreeMap::new(), false),
            Err(error) => return Err(error),
        };
        let mut addresses = addresses.clone();
        let room = super::SLOTS_MAX.saturating_sub(addresses.len());
        let former = former.into_keys().filter(|address| !addresses.contains(address));
        addresses.extend(former.take(room).collect::<Vec<_>>());
        let questions = table::FAMILIES.map(|family| {
            [Ask::GetChain, Ask::GetRule].map(|what| (table::ask(what, family, &name), 0))
        });
        let [[a, b], [c, d]] = questions;
        let mut known = Vec::with_capacity(super::SLOTS_MAX);
        known.extend(addresses);
        let mut keeper = Keeper {
            build: table::build(&name, known.iter(), Vec::with_capacity(table::LENGTH_MAX)),
            take_away: table::take_away(&name),
            elements: table::ALL.map(|sets| (sets, table::ask_elements(&name, sets, sets.known))),
            seen: Vec::with_capacity(super::SLOTS_MAX),
            questions: [a, b, c, d],
            known,
            tables,
            name,
            was_there,
        };
        keeper.make()?;
        if let Err(error) = keeper.count_all() {
            // Closed for ever, it would keep the addresses silent, and nobody would open them.
            keeper.remove()?;
            return Err(error);
        }
        Ok(keeper)
    }

    fn count_all(&mut self) -> Result<(), GateError> {
        for at in 0..self.questions.len() {
            self.questions[at].1 = self.count(at)?;
        }
        Ok(())
    }

    fn make(&mut self) -> Result<(), GateError> {
        match self.tables.carry_out(&self.build)? {
            0 => Ok(()),
            errno => Err(refused("put the gate's table into nftables", errno)),
        }
    }

    fn count(&mut self, at: usize) -> Result<usize, GateError> {
        let mut errno = libc::EINTR;
        for _ in 0..LISTS_MAX {
            let (name, mut count) = (&self.name, 0);
            errno = self.tables.list(&self.questions[at].0, |body| {
                count += usize::from(table::is_of(body, name));
            })?;
            match errno {
                0 => return Ok(count),
                // There is no table of this name.
                libc::ENOENT => return Ok(0),
                libc::EINTR => {}
                _ => break,
            }
        }
        Err(refused("look at the gate's table", errno))
    }

    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.known.iter().copied().collect()
    }

    pub(super) fn was_there(&self) -> bool {
        self.was_there
    }

    /// Makes it again, closed, if anything of it is missing; how much was. Does not allocate.
    pub(super) fn keep(&mut self) -> Result<usize, GateError> {
        // Looked at first: what a table that is whole afterwards has had.
        let is_seen = self.look()?;
        let mut missing = 0;
        for at in 0..self.questions.len() {
            missing += self.questions[at].1.abs_diff(self.count(at)?);
        }
        if missing > 0 {
            self.make()?;
        } else if is_seen && self.seen != self.known {
            std::mem::swap(&mut self.seen, &mut self.known);
            let room = std::mem::take(&mut self.build).into_room();
            self.build = table::build(&self.name, self.known.iter(), room);
        }
        Ok(missing)
    }

    /// Reads what is under the gate, which the daemon changes with its configuration; false when it could
    /// not be read as a whole.
    fn look(&mut self) -> Result<bool, GateError> {
        self.seen.clear();
        let (seen, mut fits) = (&mut self.seen, true);
        for (sets, question) in &self.elements {
            let errno = self.tables.list(question, |body| {
                table::read_elements(body, *sets, |address, _| {
                    fits &= seen.len() < super::SLOTS_MAX;
                    if fits {
                        seen.push(address);
                    }
                });
            })?;
            if errno != 0 || !fits {
                return Ok(false);
            }
        }
        self.seen.sort_unstable();
        Ok(true)
    }

    pub(super) fn remove(mut self) -> Result<(), GateError> {
        match self.tables.carry_out(&self.take_away)? {
            0 => Ok(()),
            errno => Err(refused("take the gate's table from nftables", errno)),
        }
    }
}

/// Takes away what a former guard left that had no programs: closed for ever, it would keep the service
/// addresses silent. Where there is no nftables there is nothing.
pub(super) fn remove_former(node: &str) -> Result<bool, GateError> {
    let name = table_name(node);
    // A kernel without nftables.
    let Ok(mut tables) = Tables::open() else { return Ok(false) };
    match list(&mut tables, &name) {
        Ok(_) => {}
        Err(_) => return Ok(false),
    }
    match tables.carry_out(&table::take_away(&name))? {
        0 => Ok(true),
        errno => Err(refused("take a former table from nftables", errno)),
    }
}
