//! Announcements on every Ethernet segment that this machine is on, by one socket.
//!
//! As [`wire`](crate::wire) a packet(7) socket of type `SOCK_DGRAM` for one EtherType, but bound to
//! no interface: it hears frames from all of them, with the interface that each came in on. A filter
//! in the kernel lets only payloads pass that begin with two given bytes and are not for another
//! station, so that frames of the same EtherType with another beginning do not wake anybody. What
//! this machine sends does not come back, unless a cable brings it: then two of its interfaces are on
//! one segment.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::sys;
use crate::udp::{Drained, Sent, classify};

/// Bytes of the largest payload; longer ones are cut.
const FRAME_MAX: usize = 2_048;
const BROADCAST: [u8; 6] = [0xff; 6];

// Classic BPF: ldh [k], ldb [k], jeq #k, ret #k.
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// Where a filter reads for whom the frame is (linux/filter.h: `SKF_AD_OFF + SKF_AD_PKTTYPE`).
const ADDRESSEE: u32 = 0xffff_f004;
const FOR_OTHERS: u32 = 3;

/// The socket.
#[derive(Debug)]
pub struct Segments {
    socket: OwnedFd,
    ethertype: u16,
}

impl Segments {
    /// Hears payloads that begin with `magic` in frames of this EtherType.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`.
    pub fn open(ethertype: u16, magic: [u8; 2]) -> io::Result<Segments> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        // Protocol 0: nothing arrives before the filter is in place and the socket is bound.
        let socket = socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?;
        let filter = [
            (LOAD_BYTE, 0, 0, ADDRESSEE),
            (JUMP_EQUAL, 3, 0, FOR_OTHERS),
            (LOAD_HALF, 0, 0, 0),
            (JUMP_EQUAL, 0, 1, u32::from(u16::from_be_bytes(magic))),
            (RETURN, 0, 0, u32::MAX),
            (RETURN, 0, 0, 0),
        ];
        sys::attach_filter(socket.as_fd(), &filter)?;
        sys::set_number(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        // Interface 0: all of them.
        sys::bind_link_layer(socket.as_fd(), 0, ethertype)?;
        Ok(Segments { socket, ethertype })
    }

    /// Sends one payload to all stations on an interface; never waits.
    pub fn send(&self, interface: u32, bytes: &[u8]) -> Sent {
        self.send_to(interface, BROADCAST, bytes)
    }

    /// Sends one payload to one station on an interface; never waits.
    pub fn send_to(&self, interface: u32, station: [u8; 6], bytes: &[u8]) -> Sent {
        let fd = self.socket.as_fd();
        match sys::send_link_layer(fd, interface, self.ethertype, station, bytes) {
            Ok(()) => Sent::Taken,
            Err(error) => classify(&error),
        }
    }

    /// Takes up to `bound` payloads, each to `take(interface, source, bytes)`.
    ///
    /// # Errors
    /// When the socket itself is broken; an interface that is down or gone is no error.
    pub fn drain(
        &self,
        bound: usize,
        mut take: impl FnMut(u32, [u8; 6], &[u8]),
    ) -> io::Result<Drained> {
        let mut buffer = [0; FRAME_MAX];
        let mut count = 0;
        // Each pending error takes one call; more of them than frames end the turn as well.
        for _ in 0..bound.saturating_mul(2) {
            if count == bound {
                break;
            }
            match sys::receive_link_layer(self.socket.as_fd(), &mut buffer) {
                Ok((length, source, interface)) => {
                    count += 1;
                    take(interface, source, &buffer[..length]);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(Drained { count, more: false }),
                    Some(libc::EINTR | libc::ENETDOWN) => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(Drained { count, more: true })
    }
}

impl AsFd for Segments {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
