//! Datagrams on one Ethernet segment, without IP: a way between nodes that no address, route,
//! firewall or neighbour table can take away.
//!
//! A packet(7) socket for one EtherType on one interface. It is of type `SOCK_DGRAM`: the kernel
//! writes and strips the Ethernet header. 0x88B5 and 0x88B6 are set aside for such local uses (IEEE
//! 802, local experimental EtherTypes).
//!
//! Others may use the same EtherType, and other clusters the same segment. A classic socket filter
//! lets through only what begins like a frame of this cluster, so that foreign traffic does not even
//! wake the loop:
//!
//! ```text
//!  0      2          4         8
//!  | "MS" | versions | cluster | …      all numbers big-endian; any versions
//! ```
//!
//! It is a sieve and no check: anybody on the segment can write these bytes. Frames for other
//! stations, which an interface in promiscuous mode hears, do not pass either, and nothing that this
//! machine sends comes back.
//!
//! The shortest payload of Ethernet is 46 bytes (IEEE 802.3), shorter ones arrive with padding.
//!
//! **What the kernel does not say**: a frame that it took may never leave; a full queue of the
//! device is `ENOBUFS`. A link that is set down is `ENETDOWN` once, and the socket hears again when it
//! is up. An interface that is *removed* is the same `ENETDOWN` once and silence afterwards, even if
//! one of the same name returns: told apart by asking what the socket is still bound to, and reported
//! as an error (`ENODEV`). Then [`Wire::reopen`] with the new index.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::sys::{self, Batch};
use crate::udp::{Counters, Drained, Sent, classify, enlarge_receive_buffer};

/// Bytes of the largest payload of interest; longer ones are cut and fail their seal above.
const FRAME_MAX: usize = 2_048;
/// Smaller numbers are lengths (IEEE 802.3).
const ETHERTYPE_MIN: u16 = 0x0600;
/// The addresses of Ethernet have six bytes; the loopback interface has such ones too.
const ETHERNET: [u16; 2] = [libc::ARPHRD_ETHER, libc::ARPHRD_LOOPBACK];
/// The highest priority in the queue of a device that needs no capability (socket(7)).
const PRIORITY: i32 = 6;
const BROADCAST: [u8; 6] = [0xff; 6];

// Classic BPF: ldh [k], ld [k], ldb [k], jeq #k, ret #k.
const LOAD_HALF: u16 = 0x28;
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// Where a filter reads for whom the frame is (linux/filter.h: `SKF_AD_OFF + SKF_AD_PKTTYPE`).
const ADDRESSEE: u32 = 0xffff_f004;
const FOR_OTHERS: u32 = 3;

/// The socket of one Ethernet network on one interface.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    interface: u32,
    ethertype: u16,
    cluster: u32,
    counters: Counters,
    batch: Batch,
}

impl Wire {
    /// Hears and sends frames of `cluster` with this EtherType on the interface with this index.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, when the interface is gone (`ENODEV`) or has no Ethernet addresses
    /// (`InvalidInput`), or for an EtherType below 0x0600 (`InvalidInput`).
    pub fn open(interface: u32, ethertype: u16, cluster: u32) -> io::Result<Wire> {
        let socket = open(interface, ethertype, cluster)?;
        Ok(Wire {
            socket,
            interface,
            ethertype,
            cluster,
            counters: Counters::default(),
            batch: Batch::new(FRAME_MAX),
        })
    }

    /// Makes the socket anew, for an interface that was made anew, and keeps the counters. The loop
    /// must add the new descriptor. On failure the old socket stays.
    ///
    /// # Errors
    /// As [`Wire::open`].
    pub fn reopen(&mut self, interface: u32) -> io::Result<()> {
        self.socket = open(interface, self.ethertype, self.cluster)?;
        self.interface = interface;
        self.counters.rebinds += 1;
        Ok(())
    }

    /// The index of the interface.
    #[must_use]
    pub fn interface(&self) -> u32 {
        self.interface
    }

    /// What happened so far. There are no hints.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Sends one frame to a station, or to all; never waits.
    ///
    /// # Errors
    /// When the interface is gone. A link that is down is [`Sent::NoWay`].
    pub fn send(&mut self, to: Option<[u8; 6]>, bytes: &[u8]) -> io::Result<Sent> {
        let to = to.unwrap_or(BROADCAST);
        let fd = self.socket.as_fd();
        let result = match sys::send_link_layer(fd, self.interface, self.ethertype, to, bytes) {
            // The news that the link was set down is told once, to whichever call comes next, which
            // then does nothing else; it may be up again by now.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {
                sys::send_link_layer(fd, self.interface, self.ethertype, to, bytes)
            }
            result => result,
        };
        let Err(error) = result else {
            self.counters.sent += 1;
            return Ok(Sent::Taken);
        };
        let sent = classify(&error);
        match sent {
            Sent::Taken => {}
            Sent::Full => self.counters.full += 1,
            Sent::NoWay => self.counters.no_way += 1,
            Sent::Refused(_) => self.counters.refused += 1,
        }
        if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENODEV)) {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        Ok(sent)
    }

    /// Takes up to `bound` frames, each to `take(source, bytes)`.
    ///
    /// # Errors
    /// When the interface is gone (`ENODEV`).
    pub fn drain(&mut self, bound: usize, take: impl FnMut([u8; 6], &[u8])) -> io::Result<Drained> {
        self.drain_after(true, bound, take)
    }

    /// As [`Wire::drain`], with what the loop was told: where no error is pending
    /// ([`Ready::error`](crate::event::Ready)) it takes one system call for all that wait, as long as
    /// they fit a batch.
    ///
    /// # Errors
    /// As [`Wire::drain`].
    pub fn drain_after(
        &mut self,
        has_error: bool,
        bound: usize,
        mut take: impl FnMut([u8; 6], &[u8]),
    ) -> io::Result<Drained> {
        let mut is_doubtful = has_error;
        let mut count = 0;
        while count < bound {
            match self.batch.receive(self.socket.as_fd(), bound - count) {
                Ok(received) => {
                    count += received.count;
                    self.counters.received += received.count as u64;
                    for place in 0..received.count {
                        take(self.batch.station(place), self.batch.bytes(place));
                    }
                    if received.is_short && !is_doubtful {
                        return Ok(Drained { count, more: false });
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(Drained { count, more: false }),
                    Some(libc::EINTR) => {}
                    // Set down or gone.
                    Some(libc::ENETDOWN) => {
                        is_doubtful = true;
                        if sys::bound_link_layer(self.socket.as_fd())?.0.is_none() {
                            return Err(io::Error::from_raw_os_error(libc::ENODEV));
                        }
                    }
                    _ => return Err(error),
                },
            }
        }
        Ok(Drained { count, more: true })
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open(interface: u32, ethertype: u16, cluster: u32) -> io::Result<OwnedFd> {
    let refused = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    if ethertype < ETHERTYPE_MIN {
        return Err(refused(format!("{ethertype:#06x} is a length and no EtherType")));
    }
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    // Protocol 0: nothing arrives before the filter is in place and the socket is bound.
    let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
    sys::attach_filter(socket.as_fd(), &only(cluster))?;
    sys::set_number(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
    sys::set_number(socket.as_fd(), libc::SOL_SOCKET, libc::SO_PRIORITY, PRIORITY)?;
    enlarge_receive_buffer(socket.as_fd())?;
    sys::bind_link_layer(socket.as_fd(), interface, ethertype)?;
    let (_, hardware) = sys::bound_link_layer(socket.as_fd())?;
    if !ETHERNET.contains(&hardware) {
        let what = format!("interface {interface} is no Ethernet interface (type {hardware})");
        return Err(refused(what));
    }
    Ok(socket)
}

/// Frames of one cluster, not for other stations. A load behind the end of the frame ends the
/// program with "drop".
fn only(cluster: u32) -> [sys::Instruction; 8] {
    let magic = u32::from(u16::from_be_bytes(*b"MS"));
    [
        (LOAD_BYTE, 0, 0, ADDRESSEE),
        (JUMP_EQUAL, 5, 0, FOR_OTHERS),
        (LOAD_HALF, 0, 0, 0),
        (JUMP_EQUAL, 0, 3, magic),
        (LOAD_WORD, 0, 0, 4),
        (JUMP_EQUAL, 0, 1, cluster),
        (RETURN, 0, 0, u32::MAX),
        (RETURN, 0, 0, 0),
    ]
}
