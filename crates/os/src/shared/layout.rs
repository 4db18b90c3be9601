//! Which word is what. All sizes are in 64-bit words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{ADDRESSES_MAX, ENTRIES_MAX, GOODBYES_MAX, GROUP_PATH_MAX, PROCESSES_MAX};

/// "mainstay", and the number of this layout.
pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"mainstay");
pub(super) const VERSION: u64 = 5;

// The head: words of the guard, then words of the daemon.
pub(super) const HEAD_MAGIC: usize = 0;
pub(super) const HEAD_VERSION: usize = 1;
pub(super) const HEAD_WORDS: usize = 2;
pub(super) const GUARD_PID: usize = 3;
pub(super) const GUARD_TICKED: usize = 4;
pub(super) const RESTARTS: usize = 5;
/// Status of the former daemon with [`PRESENT`] set, or 0.
pub(super) const LAST_EXIT: usize = 6;
pub(super) const BELL: usize = 7;
/// Number of the lock's descriptor with [`PRESENT`] set, or 0.
pub(super) const LOCK: usize = 8;
pub(super) const LEFTOVERS: usize = 9;
/// Each 0 (granted) or the error number.
pub(super) const CONTAINED: usize = 10;
pub(super) const REAL_TIME: usize = 11;
pub(super) const LOCKED: usize = 12;
pub(super) const GATED: usize = 13;
/// In [`GATED`]: number of the means above, then two error numbers.
pub(super) const GATED_MEANS: u32 = 62;
pub(super) const GATED_PROGRAMS: u32 = 31;
pub(super) const GATED_ERROR: u64 = (1 << 31) - 1;
/// Four numbers of descriptors, each with [`PRESENT`] set, or 0.
pub(super) const GATE: usize = 14;
/// Number of an interface above 16 bits of error number, with [`PRESENT`] set, or 0.
pub(super) const GATE_REFUSED: usize = 18;
/// Number of the request about the watchdog that was answered last.
pub(super) const WATCHDOG_ANSWERED: usize = 19;
/// The armed timeout in nanoseconds, or 0.
pub(super) const WATCHDOG_TIMEOUT: usize = 20;
/// Step above 32 bits of error number, with [`PRESENT`] set, or 0: why it is not armed.
pub(super) const WATCHDOG_ERROR: usize = 21;
/// Moment of the last feeding, or 0.
pub(super) const WATCHDOG_FED: usize = 22;
/// As [`WATCHDOG_ERROR`]: why the last feeding failed.
pub(super) const WATCHDOG_FEED_ERROR: usize = 23;
/// How often a feeding came through too late.
pub(super) const WATCHDOG_LATE: usize = 24;
/// A former guard had armed it.
pub(super) const WATCHDOG_ADOPTED: usize = 25;
/// Number of an interface with [`PRESENT`] set, or 0.
pub(super) const GATE_BEHIND: usize = 26;
/// The timeout of one that could not be armed and runs all the same; 0: none.
pub(super) const WATCHDOG_HELD: usize = 27;
pub(super) const DAEMON_PID: usize = 32;
pub(super) const DAEMON_INCARNATION: usize = 33;
/// One more than the highest slot that was ever used.
pub(super) const USED: usize = 34;
pub(super) const RELEASE_BUDGET: usize = 35;
pub(super) const LEAVE_BUDGET: usize = 36;
pub(super) const GOODBYE_COUNT: usize = 37;
pub(super) const GOODBYE_INCARNATION: usize = 38;
/// X, a moment, or 0.
pub(super) const EVIDENCE: usize = 39;
/// δ in nanoseconds.
pub(super) const FRESHNESS: usize = 40;
/// Number of the last request to arm the watchdog; what it is about is in place before.
pub(super) const WATCHDOG_REQUEST: usize = 41;
pub(super) const WATCHDOG_WANTED: usize = 42;
pub(super) const WATCHDOG_LEAST: usize = 43;
/// The path of the device that is wanted, and of the one that is armed.
pub(super) const WATCHDOG_DEVICE: usize = 64;
pub(super) const WATCHDOG_ARMED: usize = WATCHDOG_DEVICE + DEVICE;
pub(super) const DEVICE: usize = 16;
const HEAD: usize = 96;

/// Marks a word whose zero would otherwise mean "nothing".
pub(super) const PRESENT: u64 = 1 << 63;

// The hot words of one slot: one cache line.
/// Odd: in use.
pub(super) const GENERATION: usize = 0;
pub(super) const DEADLINE: usize = 1;
/// How often it was described; the lowest bit says which copy is valid.
pub(super) const DESCRIBED: usize = 2;
pub(super) const KILLED_GENERATION: usize = 3;
pub(super) const KILLED_AT: usize = 4;
/// 0: something is still there.
pub(super) const GONE_AT: usize = 5;
pub(super) const ADDRESS_ERROR: usize = 6;
/// 1: a storage service.
pub(super) const STORAGE: usize = 7;
pub(super) const HOT: usize = 8;

// One description.
pub(super) const NAME: usize = 8;
pub(super) const GROUP: usize = 32;
pub(super) const ADDRESS: usize = 3;
pub(super) const PROCESS: usize = NAME + 2;
pub(super) const D_NAME: usize = 0;
pub(super) const D_GROUP: usize = D_NAME + NAME;
pub(super) const D_ADDRESS_COUNT: usize = D_GROUP + GROUP;
pub(super) const D_ADDRESSES: usize = D_ADDRESS_COUNT + 1;
pub(super) const D_PROCESS_COUNT: usize = D_ADDRESSES + ADDRESSES_MAX * ADDRESS;
pub(super) const D_PROCESSES: usize = D_PROCESS_COUNT + 1;
pub(super) const DESCRIPTION: usize = D_PROCESSES + PROCESSES_MAX * PROCESS;

// One goodbye frame.
const SOCKET_ADDRESS: usize = 3;
const FRAME: usize = base::limits::DATAGRAM_SIZE_MAX.div_ceil(8);
pub(super) const G_SOURCE: usize = 0;
pub(super) const G_DESTINATION: usize = G_SOURCE + SOCKET_ADDRESS;
pub(super) const G_LENGTH: usize = G_DESTINATION + SOCKET_ADDRESS;
pub(super) const G_FRAME: usize = G_LENGTH + 1;
pub(super) const GOODBYE: usize = G_FRAME + FRAME;

const DESCRIPTIONS: usize = HEAD + ENTRIES_MAX * HOT;
const GOODBYES: usize = DESCRIPTIONS + ENTRIES_MAX * 2 * DESCRIPTION;
/// Words in all.
pub(super) const TOTAL: usize = GOODBYES + GOODBYES_MAX * GOODBYE;

const _: () = assert!(base::limits::NAME_SIZE_MAX < NAME * 8);
const _: () = assert!(GROUP_PATH_MAX < GROUP * 8);
const _: () = assert!(crate::watchdog::PATH_MAX < DEVICE * 8 && WATCHDOG_ARMED + DEVICE <= HEAD);
const _: () = assert!(ENTRIES_MAX <= u16::MAX as usize);

pub(super) fn hot(words: &[AtomicU64], slot: usize) -> &[AtomicU64] {
    assert!(slot < ENTRIES_MAX, "a slot is below the limit");
    &words[HEAD + slot * HOT..][..HOT]
}

pub(super) fn description(words: &[AtomicU64], slot: usize, number: u64) -> &[AtomicU64] {
    assert!(slot < ENTRIES_MAX, "a slot is below the limit");
    let copy = usize::from(number & 1 == 1);
    &words[DESCRIPTIONS + (slot * 2 + copy) * DESCRIPTION..][..DESCRIPTION]
}

pub(super) fn goodbye(words: &[AtomicU64], index: usize) -> &[AtomicU64] {
    assert!(index < GOODBYES_MAX, "a frame is below the limit");
    &words[GOODBYES + index * GOODBYE..][..GOODBYE]
}

pub(super) fn get(words: &[AtomicU64], at: usize) -> u64 {
    words[at].load(Ordering::Relaxed)
}

pub(super) fn put(words: &[AtomicU64], at: usize, value: u64) {
    words[at].store(value, Ordering::Relaxed);
}

/// Stores bytes, zeroes after them up to the end of `words`.
pub(super) fn put_bytes(words: &[AtomicU64], bytes: &[u8]) {
    assert!(bytes.len() <= words.len() * 8, "the bytes fit");
    let mut rest = bytes;
    for word in words {
        let (now, later) = rest.split_at(rest.len().min(8));
        let mut eight = [0_u8; 8];
        eight[..now.len()].copy_from_slice(now);
        word.store(u64::from_ne_bytes(eight), Ordering::Relaxed);
        rest = later;
    }
}

/// Fills `bytes` from the beginning of `words`.
pub(super) fn get_bytes(words: &[AtomicU64], bytes: &mut [u8]) {
    assert!(bytes.len() <= words.len() * 8, "the words hold as many bytes");
    for (eight, word) in bytes.chunks_mut(8).zip(words) {
        let value = word.load(Ordering::Relaxed).to_ne_bytes();
        eight.copy_from_slice(&value[..eight.len()]);
    }
}

/// Interface, prefix and family in one word, the address in two.
pub(super) fn put_address(words: &[AtomicU64], interface: u32, address: IpAddr, prefix: u8) {
    let six = u64::from(address.is_ipv6());
    put(words, 0, u64::from(interface) | u64::from(prefix) << 32 | six << 40);
    put_bytes(&words[1..3], &octets(address));
}

pub(super) fn get_address(words: &[AtomicU64]) -> (u32, IpAddr, u8) {
    let word = get(words, 0);
    let mut bytes = [0_u8; 16];
    get_bytes(&words[1..3], &mut bytes);
    let interface = (word & 0xffff_ffff) as u32;
    let prefix = (word >> 32 & 0xff) as u8;
    (interface, address(&bytes, word >> 40 & 1 == 1), prefix)
}

/// Scope, port and family in one word, the address in two.
pub(super) fn put_socket_address(words: &[AtomicU64], socket: SocketAddr) {
    let (scope, six) = match socket {
        SocketAddr::V4(_) => (0, 0),
        SocketAddr::V6(v6) => (v6.scope_id(), 1),
    };
    put(words, 0, u64::from(scope) | u64::from(socket.port()) << 32 | six << 48);
    put_bytes(&words[1..3], &octets(socket.ip()));
}

pub(super) fn get_socket_address(words: &[AtomicU64]) -> SocketAddr {
    let word = get(words, 0);
    let mut bytes = [0_u8; 16];
    get_bytes(&words[1..3], &mut bytes);
    let port = (word >> 32 & 0xffff) as u16;
    match address(&bytes, word >> 48 & 1 == 1) {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), port),
        IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, (word & 0xffff_ffff) as u32).into(),
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    let mut bytes = [0_u8; 16];
    match address {
        IpAddr::V4(v4) => bytes[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => bytes = v6.octets(),
    }
    bytes
}

fn address(bytes: &[u8; 16], six: bool) -> IpAddr {
    if six {
        Ipv6Addr::from(*bytes).into()
    } else {
        Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
    }
}
