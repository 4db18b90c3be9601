//! The gate's memory in the kernel: which address has which slot, and the slots.
//!
//! Two maps. A hash says the number of a slot by 16-byte address. An array has the slots, and can be
//! mapped (`BPF_F_MMAPABLE`, Linux 5.5), so pushing a deadline is one store and no system call.
//! They live as long as a program that is attached refers to them, also when all our processes are
//! dead: the next guard finds them again through that program. Their names carry the number of this
//! layout; maps of another one are not adopted but replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use base::Instant;

use super::{DEADLINE, DROPPED, GRANT, PASSED, REVOKED, SLOTS_MAX, SlotState, WORDS};
use crate::sys::bpf::{self, Shape};
use crate::sys::{self, Mapping};

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const CAN_BE_MAPPED: u32 = 1 << 10;
const ADDRESSES: Shape =
    Shape { kind: HASH, key: 16, value: 4, entries: SLOTS_MAX as u32, flags: 0 };
const SLOTS: Shape = Shape {
    kind: ARRAY,
    key: 4,
    value: (WORDS * 8) as u32,
    entries: SLOTS_MAX as u32,
    flags: CAN_BE_MAPPED,
};
const ADDRESSES_NAME: &str = "ms_addresses_1";
const SLOTS_NAME: &str = "ms_slots_1";

/// An address as the programs look for it.
fn key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Both maps.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) addresses: OwnedFd,
    pub(super) slots: OwnedFd,
    memory: Mapping,
}

impl Maps {
    /// New ones: no address is known, every slot is closed.
    pub(super) fn create() -> io::Result<Maps> {
        let addresses = bpf::create_map(ADDRESSES, ADDRESSES_NAME)?;
        let slots = bpf::create_map(SLOTS, SLOTS_NAME)?;
        Maps::with(addresses, slots)
    }

    /// Those of an attached program; `None` if it has others than this version makes.
    pub(super) fn of_program(id: u32) -> io::Result<Option<Maps>> {
        let program = bpf::program_by_id(id)?;
        let (mut addresses, mut slots) = (None, None);
        for id in bpf::program_information(program.as_fd())?.1 {
            let map = bpf::map_by_id(id)?;
            match bpf::map_information(map.as_fd())? {
                (ADDRESSES, name) if name == ADDRESSES_NAME => addresses = Some(map),
                (SLOTS, name) if name == SLOTS_NAME => slots = Some(map),
                _ => {}
            }
        }
        addresses.zip(slots).map(|(addresses, slots)| Maps::with(addresses, slots)).transpose()
    }

    /// Those that the guard left open for this process, by their numbers.
    pub(super) fn inherit(addresses: i32, slots: i32) -> io::Result<Maps> {
        Maps::with(sys::inherited_descriptor(addresses)?, sys::inherited_descriptor(slots)?)
    }

    fn with(addresses: OwnedFd, slots: OwnedFd) -> io::Result<Maps> {
        let memory = Mapping::new(slots.as_fd(), SLOTS_MAX * WORDS)?;
        Ok(Maps { addresses, slots, memory })
    }

    fn slot(&self, number: u32) -> &[AtomicU64] {
        &self.memory.words()[number as usize * WORDS..][..WORDS]
    }

    /// One store.
    pub(super) fn set_deadline(&self, number: u32, deadline: Instant) {
        self.slot(number)[DEADLINE].store(deadline.as_nanos(), Ordering::Release);
    }

    pub(super) fn set_grant(&self, number: u32, grant: Instant) {
        self.slot(number)[GRANT].store(grant.as_nanos(), Ordering::Release);
    }

    pub(super) fn set_revoked(&self, number: u32, revoked: Instant) {
        self.slot(number)[REVOKED].store(revoked.as_nanos(), Ordering::Release);
    }

    pub(super) fn state(&self, number: u32) -> SlotState {
        let slot = self.slot(number);
        let word = |at: usize| slot[at].load(Ordering::Acquire);
        SlotState {
            deadline: Instant::from_nanos(word(DEADLINE)),
            grant: Instant::from_nanos(word(GRANT)),
            revoked: Instant::from_nanos(word(REVOKED)),
            passed: Some(word(PASSED)),
            dropped: word(DROPPED),
        }
    }

    /// The slot of an address; neither allocates nor waits.
    pub(super) fn find(&self, address: IpAddr) -> io::Result<Option<u32>> {
        let mut value = [0; 4];
        let found = bpf::look_up(self.addresses.as_fd(), &key(address), &mut value)?;
        Ok(found.then(|| u32::from_ne_bytes(value)))
    }

    /// Whether there is any address; neither allocates nor waits.
    pub(super) fn is_empty(&self) -> io::Result<bool> {
        bpf::next_key(self.addresses.as_fd(), None, &mut [0; 16]).map(|found| !found)
    }

    /// All addresses with their slots.
    pub(super) fn list(&self) -> io::Result<BTreeMap<IpAddr, u32>> {
        let mut all = BTreeMap::new();
        let mut last: Option<[u8; 16]> = None;
        // A key that somebody takes out meanwhile makes the kernel begin again: bounded.
        for _ in 0..2 * SLOTS_MAX {
            let mut next = [0; 16];
            let former = last.as_ref().map(|key| &key[..]);
            if !bpf::next_key(self.addresses.as_fd(), former, &mut next)? {
                break;
            }
            last = Some(next);
            let address = Ipv6Addr::from(next).to_canonical();
            if let Some(number) = self.find(address)? {
                all.insert(address, number);
            }
        }
        Ok(all)
    }

    /// Gives each address of `wanted` a closed slot if it has none, and takes away that of every other
    /// one. Afterwards `known` says what is.
    ///
    /// # Errors
    /// When there are more than [`SLOTS_MAX`] (`E2BIG`), or the kernel refuses.
    pub(super) fn sync(
        &self,
        known: &mut BTreeMap<IpAddr, u32>,
        wanted: &BTreeSet<IpAddr>,
    ) -> io::Result<()> {
        let unwanted: Vec<IpAddr> =
            known.keys().filter(|address| !wanted.contains(address)).copied().collect();
        for address in unwanted {
            match bpf::delete(self.addresses.as_fd(), &key(address)) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                deleted => deleted?,
            }
            known.remove(&address);
        }
        let mut used: BTreeSet<u32> = known.values().copied().collect();
        let mut free = 0;
        for &address in wanted {
            if known.contains_key(&address) {
                continue;
            }
            while used.contains(&free) {
                free += 1;
            }
            if free as usize >= SLOTS_MAX {
                return Err(io::Error::from_raw_os_error(libc::E2BIG));
            }
            // Nobody counts there now: no address leads to this slot.
            for at in [DEADLINE, GRANT, PASSED, DROPPED] {
                self.slot(free)[at].store(0, Ordering::Release);
            }
            bpf::update(self.addresses.as_fd(), &key(address), &free.to_ne_bytes())?;
            used.insert(free);
            known.insert(address, free);
        }
        Ok(())
    }
}
