//! The only module of the lab with `unsafe`: processes that start in other namespaces, and the
//! socket options that `rustix` does not have (receive stamps, source addresses, raw frames),
//! and what it takes to count what a thread does.
//!
//! What runs in a forked child before it executes a program must not allocate and must not take a
//! lock (signal-safety(7)): other threads of the parent may have held them. So everything that a
//! child needs is prepared before the fork and handed over as plain memory and numbers.

#![expect(unsafe_code, reason = "the one module that may; a SAFETY comment stands at each block")]

mod children;
mod cost;
mod devices;
mod sockets;

pub(crate) use children::{
    InitPlan, Janitor, NamespacePlan, Step, kill_all_inside, spawn_inside, start_init,
    start_janitor, start_program, wait_for,
};
pub(crate) use cost::trace_calls;
pub use cost::{Counting, count_this_thread, count_threads_named};
pub(crate) use devices::{configure_loop_device, free_loop_device};
pub(crate) use sockets::{
    bind_raw, bind_to_interface, hurry, receive_datagram, receive_frame, send_datagram, send_frame,
    set_number, wake_slack,
};

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Moves the calling thread into a new network namespace.
pub(crate) fn unshare_network() -> io::Result<()> {
    // SAFETY: a network namespace is a property of the thread alone; no memory or descriptor is
    // shared or unshared by it.
    let answer = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes over a descriptor that was inherited under a known number.
pub(crate) fn take_descriptor(number: RawFd) -> OwnedFd {
    // SAFETY: only called for the number that our own outermost process left open for us and wrote
    // into our environment; nothing else in this process knows it.
    unsafe { OwnedFd::from_raw_fd(number) }
}
