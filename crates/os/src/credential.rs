//! Who is at the other end of a local socket: the kernel's word, not the peer's.
//!
//! `SO_PEERCRED` and `SO_PEERGROUPS` (unix(7)) are fixed when the peer connects, so they name who
//! opened the connection, even if it was handed to another process since.

use std::io;
use std::os::fd::AsFd;

use crate::sys;

/// The identity of a peer at the moment it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its process, 0 when it lives outside of our process namespace.
    pub pid: u32,
    /// Its user.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// Its other groups.
    pub groups: Vec<u32>,
}

impl Credentials {
    /// Reads them from a connected unix socket.
    ///
    /// # Errors
    /// When the descriptor is not a connected unix socket.
    pub fn of(socket: impl AsFd) -> io::Result<Credentials> {
        let peer = sys::peer_credentials(socket.as_fd())?;
        Ok(Credentials {
            pid: peer.pid.unsigned_abs(),
            user: peer.uid,
            group: peer.gid,
            groups: sys::peer_groups(socket.as_fd())?,
        })
    }

    /// Root, or a member of `group`.
    #[must_use]
    pub fn is_root_or_in(&self, group: Option<u32>) -> bool {
        self.user == 0
            || group.is_some_and(|group| self.group == group || self.groups.contains(&group))
    }
}

/// The number of the group called `name`, if the machine knows it.
///
/// # Errors
/// When the group database cannot be read.
pub fn group_number(name: &str) -> io::Result<Option<u32>> {
    sys::group_number(name)
}
