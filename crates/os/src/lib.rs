//! The only crate with system calls, and no policy in it.
//!
//! Everything that Mainstay asks of Linux goes through here: clocks, the event loop's primitives,
//! datagrams, raw frames, addresses of interfaces, supervised processes, files that survive a power
//! cut, and the memory that the guard and the daemon share. Each module gives one kernel mechanism a
//! safe face and says what the kernel does *not* promise; what to do about it is decided by the
//! callers (`network`, `node`, `mainstay`).
//!
//! Nothing here retries for ever, sleeps, logs, or hides an error: what failed comes back as a value
//! with the operation and the object in it. `unsafe` stands in one module, `sys`, each block with the
//! reason why it is sound.
//!
//! | module | mechanism |
//! |---|---|
//! | [`clock`] | `CLOCK_BOOTTIME` as [`base::Instant`], wall-clock milliseconds, random bytes |
//! | [`event`] | epoll, absolute timers, bounded queues between threads that wake a loop |
//! | [`udp`] | datagram sockets, one per network |
//! | [`netlink`] | interfaces and addresses: full picture, change events, add, refresh, remove; counters and kinds |
//! | [`arp`] | which interface answers for an address |
//! | [`ethernet`] | whole frames: hear ARP and neighbour discovery, send announcements |
//! | [`echo`] | whether a machine answers an ICMP echo |
//! | [`gate`] | service addresses that answer only while the lease lasts, whoever runs or not |
//! | [`wire`] | datagrams on one Ethernet segment without IP |
//! | [`segment`] | announcements on all Ethernet segments at once |
//! | [`serial`] | a serial port as a raw pipe of bytes |
//! | [`block`] | blocks of a shared disk past every cache, and the device's health |
//! | [`mount`] | what is mounted, who uses it, and whether a device is given up |
//! | [`reservation`] | a shared disk that refuses the writes of whoever lost it |
//! | [`cgroup`] | control groups: the box that a service cannot leave |
//! | [`process`] | start, watch and kill processes, with or without control groups |
//! | [`persist`] | small files, replaced atomically, with checksum and the generation before |
//! | [`shared`] | the memory that the guard and the daemon share |
//! | [`watchdog`] | the device that resets this machine unless it is fed |
//! | [`realtime`] | real-time class, locked memory |
//! | [`signal`] | signals as events |
//! | [`notify`] | telling the service manager how far we are |
//! | [`credential`] | who is at the other end of a local socket |
//! | [`lock`] | one owner of a directory at a time |

pub mod arp;
pub mod block;
pub mod cgroup;
pub mod clock;
pub mod credential;
pub mod echo;
pub mod ethernet;
pub mod event;
pub mod gate;
pub mod lock;
pub mod mount;
pub mod netlink;
pub mod notify;
pub mod persist;
pub mod process;
pub mod realtime;
pub mod reservation;
pub mod segment;
pub mod serial;
pub mod shared;
pub mod signal;
pub mod udp;
pub mod watchdog;
pub mod wire;

#[expect(unsafe_code, reason = "system calls that no dependency wraps; each block says why")]
mod sys;
