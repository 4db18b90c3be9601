//! Whole Ethernet frames: hear ARP and neighbour discovery, send probes and announcements.
//!
//! A packet(7) socket per interface. It hears frames before the kernel's own stack acts on them, so
//! it also hears answers for an address that this node does not have (yet). A classic socket filter
//! lets only ARP (RFC 826) and ICMPv6 types 135 and 136 (RFC 4861 section 4.3 and 4.4) through; what
//! this machine sends itself is not heard. The socket is opened only while somebody needs it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

use crate::sys;
use crate::udp::Drained;

/// Bytes of the largest frame of interest; longer ones are cut.
const FRAME_MAX: usize = 2_048;

// Classic BPF: ldh [k], ldb [k], jeq #k, ret #k.
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Ethernet type at 12; in IPv6 the next header at 20 and the ICMPv6 type at 54 (no extension
/// headers: RFC 6980 forbids fragments, and nobody puts options before neighbour discovery).
const ARP_AND_NEIGHBOURS: [sys::Instruction; 10] = [
    (LOAD_HALF, 0, 0, 12),
    (JUMP_EQUAL, 6, 0, 0x0806),
    (JUMP_EQUAL, 0, 6, 0x86dd),
    (LOAD_BYTE, 0, 0, 20),
    (JUMP_EQUAL, 0, 4, 58),
    (LOAD_BYTE, 0, 0, 54),
    (JUMP_EQUAL, 1, 0, 135),
    (JUMP_EQUAL, 0, 1, 136),
    (RETURN, 0, 0, FRAME_MAX as u32),
    (RETURN, 0, 0, 0),
];

/// The raw socket of one interface.
#[derive(Debug)]
pub struct Ethernet {
    socket: OwnedFd,
    interface: u32,
}

impl Ethernet {
    /// Hears and sends on the interface with this index.
    ///
    /// # Errors
    /// Without `CAP_NET_RAW`, or when the interface is gone.
    pub fn open(interface: u32) -> io::Result<Ethernet> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        // Protocol 0: nothing arrives before the filter is in place and the socket is bound.
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        sys::attach_filter(socket.as_fd(), &ARP_AND_NEIGHBOURS)?;
        sys::set_number(socket.as_fd(), libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        sys::bind_link_layer(socket.as_fd(), interface, libc::ETH_P_ALL as u16)?;
        sys::hear_all_multicast(socket.as_fd(), interface)?;
        Ok(Ethernet { socket, interface })
    }

    /// The index of the interface.
    #[must_use]
    pub fn interface(&self) -> u32 {
        self.interface
    }

    /// Sends one whole frame, header included.
    ///
    /// # Errors
    /// When the interface is down or gone, or its queue is full.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let sent = send(&self.socket, frame, SendFlags::empty())?;
        assert_eq!(sent, frame.len(), "a frame is sent whole or not at all");
        Ok(())
    }

    /// Takes up to `bound` frames, each to `take(frame)`.
    ///
    /// # Errors
    /// When the interface is gone (`ENODEV`, `ENXIO`); `ENETDOWN`, a link that was set down, is not
    /// an error: the socket hears again when it is up.
    pub fn drain(&self, bound: usize, mut take: impl FnMut(&[u8])) -> io::Result<Drained> {
        let mut frame = [0_u8; FRAME_MAX];
        let mut count = 0;
        while count < bound {
            match recv(&self.socket, &mut frame, RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    count += 1;
                    take(&frame[..length.min(FRAME_MAX)]);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(Drained { count, more: false }),
                Err(rustix::io::Errno::NETDOWN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Drained { count, more: true })
    }
}

impl AsFd for Ethernet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
