//! Signals as events: blocked in all threads and read from a descriptor (signalfd(2)).
//!
//! Handlers interrupt anything anywhere; a descriptor is read in the loop's own turn. Block before
//! the first thread starts, because threads inherit the mask of the one that makes them. Programs
//! that this process starts get an empty mask (module `process`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys;

/// The signals that Mainstay listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`: leave in an orderly way.
    Terminate,
    /// `SIGINT`: the same, from a keyboard.
    Interrupt,
    /// `SIGHUP`: read the configuration again.
    Hangup,
    /// `SIGCHLD`: a child ended.
    Child,
    /// `SIGUSR1`.
    User1,
}

impl Signal {
    fn number(self) -> i32 {
        match self {
            Signal::Terminate => libc::SIGTERM,
            Signal::Interrupt => libc::SIGINT,
            Signal::Hangup => libc::SIGHUP,
            Signal::Child => libc::SIGCHLD,
            Signal::User1 => libc::SIGUSR1,
        }
    }

    const ALL: [Signal; 5] =
        [Signal::Terminate, Signal::Interrupt, Signal::Hangup, Signal::Child, Signal::User1];
}

/// The descriptor that blocked signals arrive at.
#[derive(Debug)]
pub struct Signals {
    descriptor: OwnedFd,
}

impl Signals {
    /// Blocks `wanted` in the calling thread (and those it will start) and listens for them.
    ///
    /// # Errors
    /// When the process or the machine has no file descriptor left.
    pub fn block(wanted: &[Signal]) -> io::Result<Signals> {
        let mut numbers = [0_i32; Signal::ALL.len()];
        assert!(wanted.len() <= numbers.len(), "each signal is named once");
        for (number, signal) in numbers.iter_mut().zip(wanted) {
            *number = signal.number();
        }
        Ok(Signals { descriptor: sys::signal_descriptor(&numbers[..wanted.len()])? })
    }

    /// The next signal that arrived, if there is one.
    pub fn take(&self) -> Option<Signal> {
        // struct signalfd_siginfo is 128 bytes; its first word is the number of the signal.
        let mut information = [0_u8; 128];
        let count = rustix::io::read(&self.descriptor, &mut information).ok()?;
        assert_eq!(count, information.len(), "signalfd(2) returns whole records");
        let number = i32::from_ne_bytes(information[..4].try_into().expect("four bytes"));
        Signal::ALL.into_iter().find(|signal| signal.number() == number)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
