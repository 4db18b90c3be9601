//! Who may change things: root, the daemon's own user, and one group. Everybody else may look.

use std::os::fd::AsFd;

use os::credential::{self, Credentials};

/// The group whose members may change things, when the machine has it.
pub const GROUP: &str = "mainstay";

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Ask.
    Look,
    /// Ask and command.
    Change,
}

/// The rule of this daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The daemon's own user.
    user: u32,
    /// Number of the group, when there is one.
    group: Option<u32>,
}

impl Access {
    /// The rule for a daemon of user `user`.
    #[must_use]
    pub fn new(user: u32, group: Option<u32>) -> Access {
        Access { user, group }
    }

    /// The rule for this process, with the machine's group [`GROUP`]. A machine whose group
    /// database can not be read has no such group.
    #[must_use]
    pub fn of_this_process() -> Access {
        let group = credential::group_number(GROUP).unwrap_or(None);
        Access::new(rustix::process::geteuid().as_raw(), group)
    }

    /// What a caller with these credentials may do.
    #[must_use]
    pub fn role(&self, caller: &Credentials) -> Role {
        if caller.user == self.user || caller.is_root_or_in(self.group) {
            Role::Change
        } else {
            Role::Look
        }
    }

    /// Who is at the other end of a socket, and what it may do.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn caller(&self, socket: impl AsFd) -> std::io::Result<(Credentials, Role)> {
        let credentials = Credentials::of(socket)?;
        let role = self.role(&credentials);
        Ok((credentials, role))
    }
}
