//! Persistent reservations: the disk itself refuses the writes of whoever lost it.
//!
//! Each machine registers a key with a shared disk; one of them reserves it. A machine whose key was
//! **pre-empted** is registered no more, and from then on the disk fails its writes, late ones and those
//! of a machine that stands still included. With "and abort" the disk also ends what was on its way
//! (SPC-4, 5.14.11). So a pre-emption that succeeded, and after which the other's key is not among the
//! registered ones, proves that the other writes to **this disk** no more, and nothing else.
//!
//! The kernel has one interface for SCSI-3 and NVMe (linux/pr.h; Documentation/block/pr.rst). Two facts
//! that its headers do not say: what the *disk* refuses comes back as a **positive** number (the SCSI
//! result, whose low byte is the status, or the NVMe status) and leaves `errno` alone; and keys can be read
//! by it since Linux 6.4 only. Before that SCSI disks are asked by a command of their own (`SG_IO`).
//!
//! Every call waits for the disk, where no signal reaches it.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::sys::reservation as sys;

#[cfg(test)]
mod tests;

/// Status of a command that met somebody else's reservation (SAM-5, 5.3), and the NVMe one (NVMe base
/// specification, "Generic Command Status").
const SCSI_CONFLICT: u32 = 0x18;
const NVME_CONFLICT: u32 = 0x83;
/// Do not ask for the key that was registered before (`PR_FL_IGNORE_KEY`).
const IGNORE_KEY: u32 = 1;
/// Keys of one disk that are read.
const KEYS_MAX: usize = 256;

/// Actions of PERSISTENT RESERVE IN (SPC-4, 6.15), and the bytes before its list: generation, length.
const READ_KEYS: u8 = 0;
const READ_RESERVATION: u8 = 1;
const SCSI_HEAD: usize = 8;

/// The bit of a node's key that says that it has given up what it had.
const PARKED: u64 = 0x8000;

/// A key of a machine with a disk; not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u64);

impl Key {
    /// The key of that number; none for zero, which means "no key".
    #[must_use]
    pub fn new(number: u64) -> Option<Key> {
        (number != 0).then_some(Key(number))
    }

    /// The key of a node: the same after each start, another one for each node and cluster.
    #[must_use]
    pub fn of_node(cluster: u32, node: u8) -> Key {
        // "ms", the cluster, the node: so people see whose it is. Never zero.
        Key(0x6d73 << 48 | u64::from(cluster) << 16 | (u64::from(node) + 1))
    }

    /// The cluster and the node of a key that [`Key::of_node`] has made.
    #[must_use]
    pub fn node(self) -> Option<(u32, u8)> {
        let (mark, cluster, node) = (self.0 >> 48, self.0 >> 16 & 0xffff_ffff, self.0 & 0xffff);
        let node = u8::try_from((node & !PARKED).checked_sub(1)?).ok()?;
        (mark == 0x6d73).then_some((cluster as u32, node))
    }

    /// The key under which the same node keeps a disk from others without using it.
    #[must_use]
    pub fn parked(self) -> Key {
        Key(self.0 | PARKED)
    }

    /// Whether a node keeps a disk from others under this key without using it.
    #[must_use]
    pub fn is_parked(self) -> bool {
        self.node().is_some() && self.0 & PARKED != 0
    }

    /// Its number; not zero.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:016x}", self.0)
    }
}

/// What others may do to a reserved disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whoever is registered writes, everybody reads.
    WriteExclusive,
    /// Whoever is registered reads and writes.
    ExclusiveAccess,
    /// Some other kind, which Mainstay does not make.
    Other(u32),
}

impl Kind {
    /// Its number in linux/pr.h.
    #[must_use]
    pub const fn number(self) -> u32 {
        // PR_WRITE_EXCLUSIVE_REG_ONLY and PR_EXCLUSIVE_ACCESS_REG_ONLY
        match self {
            Kind::WriteExclusive => 3,
            Kind::ExclusiveAccess => 4,
            Kind::Other(number) => number,
        }
    }

    /// The kind of that number.
    #[must_use]
    pub const fn of(number: u32) -> Kind {
        match number {
            3 => Kind::WriteExclusive,
            4 => Kind::ExclusiveAccess,
            other => Kind::Other(other),
        }
    }

    /// For people.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Kind::WriteExclusive => "write-exclusive, registrants only".to_owned(),
            Kind::ExclusiveAccess => "exclusive-access, registrants only".to_owned(),
            Kind::Other(number) => format!("kind {number}"),
        }
    }
}

/// Who is registered and who has the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The registered keys, ascending. A machine with several paths to the disk is in it several times.
    pub keys: Vec<Key>,
    /// The reservation: whose, and of which kind.
    pub held: Option<(Key, Kind)>,
}

/// A disk that may be reserved.
#[derive(Debug)]
pub struct Disk {
    file: File,
    path: PathBuf,
}

impl Disk {
    /// Opens a block device.
    ///
    /// # Errors
    /// When it is not there, is no block device, or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Disk> {
        crate::mount::number(path)?;
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Disk { file, path: path.to_owned() })
    }

    /// Opens a block device to look at: nothing that watches for writers takes notice of that.
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub fn look(path: &Path) -> io::Result<Disk> {
        crate::mount::number(path)?;
        Ok(Disk { file: File::open(path)?, path: path.to_owned() })
    }

    /// Registers this machine's key in the place of whatever it had registered before.
    ///
    /// # Errors
    /// A sentence: what the kernel or the disk refuses, and what may help.
    pub fn register(&self, key: Key) -> io::Result<()> {
        let registration =
            sys::Registration { old_key: 0, new_key: key.0, flags: IGNORE_KEY, padding: 0 };
        self.change("register", sys::Change::Register(&registration))
    }

    /// Registers another key in the place of this machine's former one; a reservation that it has stays its
    /// own, under the new key.
    ///
    /// # Errors
    /// As [`Disk::register`].
    pub fn replace(&self, former: Key, key: Key) -> io::Result<()> {
        // Not whatever the former one is: whoever was pre-empted meanwhile is refused.
        let (old_key, new_key) = (former.0, key.0);
        let registration = sys::Registration { old_key, new_key, flags: 0, padding: 0 };
        self.change("register", sys::Change::Register(&registration))
    }

    /// Takes this machine's registration away; a reservation that it has goes with it.
    ///
    /// # Errors
    /// As [`Disk::register`].
    pub fn unregister(&self, key: Key) -> io::Result<()> {
        let registration = sys::Registration { old_key: key.0, ..sys::Registration::default() };
        self.change("unregister", sys::Change::Register(&registration))
    }

    /// Reserves the disk for those who are registered.
    ///
    /// # Errors
    /// As [`Disk::register`]; [`io::ErrorKind::ResourceBusy`] when somebody else has it.
    pub fn reserve(&self, key: Key, kind: Kind) -> io::Result<()> {
        let reservation = sys::Reservation { key: key.0, kind: kind.number(), flags: 0 };
        self.change("reserve", sys::Change::Reserve(&reservation))
    }

    /// Gives the reservation up; the registration stays.
    ///
    /// # Errors
    /// As [`Disk::register`].
    pub fn release(&self, key: Key, kind: Kind) -> io::Result<()> {
        let reservation = sys::Reservation { key: key.0, kind: kind.number(), flags: 0 };
        self.change("release", sys::Change::Release(&reservation))
    }

    /// Takes the other key's registration away, and the reservation if that had it, and ends what it
    /// has on its way. This machine must be registered with `key`.
    ///
    /// The kernel's names and text have it the other way round, but `old_key` goes where the disk expects
    /// the key of the caller (SPC-4, 6.16.3; `sd_pr_preempt` and `nvme_pr_preempt`), as a machine shows.
    ///
    /// # Errors
    /// As [`Disk::register`].
    pub fn preempt(&self, key: Key, other: Key, kind: Kind) -> io::Result<()> {
        let preemption =
            sys::Preemption { old_key: key.0, new_key: other.0, kind: kind.number(), flags: 0 };
        self.change("pre-empt", sys::Change::PreemptAndAbort(&preemption))
    }

    /// Takes all registrations and the reservation away. This machine must be registered with `key`.
    ///
    /// # Errors
    /// As [`Disk::register`].
    pub fn clear(&self, key: Key) -> io::Result<()> {
        let clearing = sys::Clearing { key: key.0, flags: 0, padding: 0 };
        self.change("clear", sys::Change::Clear(&clearing))
    }

    /// Who is registered and who has it.
    ///
    /// # Errors
    /// As [`Disk::register`]; [`io::ErrorKind::Unsupported`] for NVMe before Linux 6.4 as well.
    pub fn state(&self) -> io::Result<State> {
        let mut keys = vec![0; KEYS_MAX];
        let (count, status) = match sys::read_keys(self.file.as_fd(), &mut keys) {
            Ok(read) => read,
            Err(error) => {
                let error = self.unreadable(error);
                return if error.kind() == io::ErrorKind::Unsupported {
                    self.state_by_scsi().unwrap_or(Err(error))
                } else {
                    Err(error)
                };
            }
        };
        self.judge("read the keys", status)?;
        keys.truncate(count as usize);
        let mut keys: Vec<Key> = keys.into_iter().filter_map(Key::new).collect();
        keys.sort_unstable();
        let (held, status) =
            sys::read_reservation(self.file.as_fd()).map_err(|e| self.unreadable(e))?;
        self.judge("read the reservation", status)?;
        let held = Key::new(held.key).map(|key| (key, Kind::of(held.kind)));
        Ok(State { keys, held })
    }

    /// The same from a SCSI disk itself, where the kernel has no call for it; none if it is no such disk.
    fn state_by_scsi(&self) -> Option<io::Result<State>> {
        let mut bytes = vec![0; SCSI_HEAD + 8 * KEYS_MAX];
        let (count, status) =
            sys::persistent_reserve_in(self.file.as_fd(), READ_KEYS, &mut bytes).ok()?;
        let keys = self.judge("read the keys", status).map(|()| scsi_keys(&bytes[..count]));
        let (count, status) =
            sys::persistent_reserve_in(self.file.as_fd(), READ_RESERVATION, &mut bytes).ok()?;
        let held = self.judge("read the reservation", status).map(|()| scsi_held(&bytes[..count]));
        Some(keys.and_then(|keys| Ok(State { keys, held: held? })))
    }

    fn change(&self, what: &str, change: sys::Change<'_>) -> io::Result<()> {
        let status =
            sys::change(self.file.as_fd(), change).map_err(|error| self.refused(what, error))?;
        self.judge(what, status)
    }

    /// What the disk says.
    fn judge(&self, what: &str, status: u32) -> io::Result<()> {
        let shown = self.path.display();
        match status {
            0 => Ok(()),
            status if status & 0xff == SCSI_CONFLICT || status == NVME_CONFLICT => {
                Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    format!(
                        "{shown}: cannot {what}: reservation conflict: another key has it, or this \
                         machine's key is not registered (any more)"
                    ),
                ))
            }
            status => Err(io::Error::other(format!(
                "{shown}: cannot {what}: the disk answers with status 0x{status:x}"
            ))),
        }
    }

    /// What the kernel says.
    fn refused(&self, what: &str, error: io::Error) -> io::Error {
        let shown = self.path.display();
        let unsupported = [Errno::OPNOTSUPP, Errno::NOTTY, Errno::INVAL];
        if unsupported.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) {
            return io::Error::new(
                io::ErrorKind::Unsupported,
                format!(
                    "{shown}: cannot {what}: it has no persistent reservations (SCSI-3 or NVMe ones are \
                     needed; loop devices, plain virtio disks and most local disks have none)"
                ),
            );
        }
        io::Error::new(error.kind(), format!("{shown}: cannot {what}: {error}"))
    }

    fn unreadable(&self, error: io::Error) -> io::Error {
        let refused = self.refused("read the keys", error);
        if refused.kind() != io::ErrorKind::Unsupported {
            return refused;
        }
        io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{refused}, or this kernel cannot read them (Linux 6.4 is the first that can)"),
        )
    }
}

/// The list in an answer, as far as it came.
fn scsi_list(bytes: &[u8]) -> &[u8] {
    let Some((_, rest)) = bytes.split_first_chunk::<4>() else { return &[] };
    let Some((length, list)) = rest.split_first_chunk() else { return &[] };
    &list[..list.len().min(u32::from_be_bytes(*length) as usize)]
}

/// The registered keys (SPC-4, 6.15.2).
fn scsi_keys(bytes: &[u8]) -> Vec<Key> {
    let keys = scsi_list(bytes).chunks_exact(8).filter_map(|key| key.first_chunk());
    let mut keys: Vec<Key> = keys.filter_map(|key| Key::new(u64::from_be_bytes(*key))).collect();
    keys.sort_unstable();
    keys
}

/// The reservation (SPC-4, 6.15.3): its key, then after five bytes scope and kind.
fn scsi_held(bytes: &[u8]) -> Option<(Key, Kind)> {
    let (key, rest) = scsi_list(bytes).split_first_chunk()?;
    let kind = match rest.get(5)? & 0xf {
        5 => Kind::WriteExclusive,
        6 => Kind::ExclusiveAccess,
        // The others in the numbers of linux/pr.h.
        3 => Kind::Other(2),
        7 => Kind::Other(5),
        8 => Kind::Other(6),
        other => Kind::Other(other.into()),
    };
    Some((Key::new(u64::from_be_bytes(*key))?, kind))
}
