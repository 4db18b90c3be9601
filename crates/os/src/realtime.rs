//! Running on time: the real-time class, and memory that is not taken away.
//!
//! Neither is a promise of the kernel to everybody, so both are tried and what came of it is a
//! value: inside a user namespace both are refused; with `CONFIG_RT_GROUP_SCHED` a process in a child
//! group of the old `cpu` controller gets `EPERM` until it moves to the root group (sched(7)). Who is
//! refused goes on as an ordinary process, wider timing is the caller's decision.

use std::fs;
use std::io;

use crate::sys;

/// Why something was refused, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// One sentence.
    pub reason: String,
    /// The error number.
    pub errno: i32,
}

/// Puts the calling thread into `SCHED_RR` at `priority` (1 lowest, 99 highest). Threads and
/// processes that it starts are ordinary again (`SCHED_RESET_ON_FORK`).
///
/// When the process's group of the old `cpu` controller has no real-time share, the thread is moved
/// to the root group and it is tried again.
///
/// # Errors
/// When the kernel allows no real-time class here.
pub fn round_robin(priority: u8) -> Result<(), Refused> {
    assert!((1..=99).contains(&priority), "real-time priorities are 1 to 99");
    let first = match sys::round_robin(0, i32::from(priority), true) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if first.raw_os_error() == Some(libc::EPERM)
        && move_to_root_cpu_group().is_ok()
        && sys::round_robin(0, i32::from(priority), true).is_ok()
    {
        return Ok(());
    }
    let errno = first.raw_os_error().unwrap_or(0);
    Err(Refused { reason: format!("no real-time class (SCHED_RR) here: {first}"), errno })
}

/// Whether the calling thread is in a real-time class.
#[must_use]
pub fn is_real_time() -> bool {
    matches!(sys::scheduler(0), Ok(libc::SCHED_RR | libc::SCHED_FIFO))
}

/// Lets the thread with this number finish quickly: puts it into the lowest real-time priority.
/// Meant for threads that were killed and still have to give back their memory.
///
/// # Errors
/// When the thread is gone or the kernel allows no real-time class here.
pub fn hurry(thread: i32) -> io::Result<()> {
    sys::round_robin(thread, 1, true)
}

/// Keeps all memory of the process, present and future, once it was touched.
///
/// # Errors
/// Without `CAP_IPC_LOCK` and beyond the limit on locked memory.
pub fn lock_memory() -> Result<(), Refused> {
    use rustix::mm::{MlockAllFlags, mlockall};
    // ONFAULT: without it every later mapping, each thread's whole stack too, is filled at once.
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).map_err(
        |error| Refused {
            reason: format!("memory cannot be locked (mlockall) here: {error}"),
            errno: error.raw_os_error(),
        },
    )
}

/// Touches `BYTES` of the calling thread's stack, so that its pages are there when it matters.
pub fn touch_stack<const BYTES: usize>() {
    let mut stack = [0_u8; BYTES];
    for byte in stack.iter_mut().step_by(4_096) {
        *byte = 1;
    }
    std::hint::black_box(&stack);
}

/// Moves the calling thread to the root group of the version 1 `cpu` controller.
fn move_to_root_cpu_group() -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    let mount = mounts
        .lines()
        .find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut kind = after.split(' ');
            let is_cpu = kind.next()? == "cgroup" && kind.nth(1)?.split(',').any(|o| o == "cpu");
            is_cpu.then(|| before.split(' ').nth(4)).flatten()
        })
        .ok_or_else(missing)?;
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    fs::write(format!("{mount}/tasks"), thread)
}
