//! Many datagrams with one system call (recvmmsg(2)), into memory that is there already.
//!
//! A heartbeat costs its receiver one call: the kernel hands over all that wait, and a batch that was
//! not filled says that nothing is left, so that nobody has to ask again to be told so. It is the
//! only way to learn that: epoll(7) would tell one turn later, and a turn counts as time in which a
//! peer could have been heard only when all sockets were empty.
//!
//! One thing else ends a batch early: an error that comes up after the first datagram, and is told by
//! the next call (recvmmsg(2), "Bugs"). So a short batch is taken for the end only where no error is
//! known of; one that comes between the wait and the call is the next turn's.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::socket_address;

/// Datagrams of one call.
const BATCH_MAX: usize = 32;

/// Room for the datagrams of one call, and who sent them.
pub(crate) struct Batch {
    /// `BATCH_MAX` places of `room` bytes each.
    bytes: Box<[u8]>,
    room: usize,
    names: Box<[libc::sockaddr_storage; BATCH_MAX]>,
    lengths: Box<[usize; BATCH_MAX]>,
}

/// What one call took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    pub(crate) count: usize,
    /// It was not filled: nothing waited any more, or an error is pending.
    pub(crate) is_short: bool,
}

impl Batch {
    /// Room for datagrams of up to `room` bytes; longer ones are cut.
    pub(crate) fn new(room: usize) -> Batch {
        // SAFETY: plain data, all zero is a value.
        let name: libc::sockaddr_storage = unsafe { zeroed() };
        Batch {
            bytes: vec![0; room * BATCH_MAX].into_boxed_slice(),
            room,
            names: Box::new([name; BATCH_MAX]),
            lengths: Box::new([0; BATCH_MAX]),
        }
    }

    /// Takes what waits, at most `bound` datagrams; never waits.
    ///
    /// # Errors
    /// `WouldBlock` when nothing waits; else what the socket says.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>, bound: usize) -> io::Result<Received> {
        let wanted = bound.min(BATCH_MAX);
        let parts: [libc::iovec; BATCH_MAX] = std::array::from_fn(|place| libc::iovec {
            iov_base: self.bytes[place * self.room..].as_mut_ptr().cast(),
            iov_len: self.room,
        });
        // SAFETY: plain data, all zero is a value.
        let mut headers: [libc::mmsghdr; BATCH_MAX] = unsafe { zeroed() };
        for (place, header) in headers.iter_mut().enumerate().take(wanted) {
            header.msg_hdr.msg_name = (&raw mut self.names[place]).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = (&raw const parts[place]).cast_mut();
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: the first `wanted` headers point to memory of the stated lengths that lives through
        // the call: a part of `bytes` each (no two the same), a name and a part descriptor.
        let count = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                wanted as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (length, header) in self.lengths.iter_mut().zip(&headers).take(count) {
            *length = (header.msg_len as usize).min(self.room);
        }
        Ok(Received { count, is_short: count < wanted })
    }

    /// A datagram of the last call.
    pub(crate) fn bytes(&self, place: usize) -> &[u8] {
        &self.bytes[place * self.room..][..self.lengths[place]]
    }

    /// The address that it came from.
    pub(crate) fn sender(&self, place: usize) -> SocketAddr {
        socket_address(&self.names[place])
    }

    /// The station that it came from, on a packet(7) socket.
    pub(crate) fn station(&self, place: usize) -> [u8; 6] {
        // SAFETY: the storage is larger and at least as aligned; its bytes are plain data, and any
        // bytes are a value.
        let name: libc::sockaddr_ll = unsafe { ptr::read((&raw const self.names[place]).cast()) };
        let [a, b, c, d, e, f, _, _] = name.sll_addr;
        [a, b, c, d, e, f]
    }
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("room", &self.room).finish_non_exhaustive()
    }
}
