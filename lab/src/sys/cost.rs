//! An allocator that counts, and a tracer of system calls.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ffi::CStr;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static NAMES: OnceLock<&[&CStr]> = OnceLock::new();

thread_local! {
    static IS_COUNTED: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator, which counts what the thread does that was chosen by
/// [`count_this_thread`]. For `#[global_allocator]`.
#[derive(Debug)]
pub struct Counting;

/// From now on what this thread allocates and reallocates is counted; where the count stands (8 bytes of
/// this machine's order), for whoever reads the memory of this process (`/proc/PID/mem`, proc(5)).
#[must_use]
pub fn count_this_thread() -> usize {
    IS_COUNTED.set(true);
    (&raw const ALLOCATIONS).addr()
}

/// ... and what all threads with one of these names do, that are there or will be. Each allocation of others costs
/// a system call from then on. Said once.
pub fn count_threads_named(names: &'static [&'static CStr]) {
    NAMES.set(names).expect("a program says once what is counted");
}

/// Whether this thread has a name that is counted.
fn is_named() -> bool {
    let Some(wanted) = NAMES.get() else { return false };
    let mut name = [0_u8; 16];
    // SAFETY: the kernel writes at most 16 bytes with a zero at the end.
    let answer = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    answer == 0 && CStr::from_bytes_until_nul(&name).is_ok_and(|name| wanted.contains(&name))
}

fn count() {
    // A thread that is ending has no such variable any more.
    if IS_COUNTED.try_with(Cell::get).unwrap_or(false) || is_named() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is passed on to the system's allocator as it is; counting touches an atomic and
// a thread-local without a destructor, and so allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// How a stop at a system call is told apart from a signal (`PTRACE_O_TRACESYSGOOD`).
const AT_A_CALL: i32 = libc::SIGTRAP | 0x80;

fn ptrace(request: u32, thread: i32, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: only called with requests that take numbers, not pointers.
    let answer = unsafe { libc::ptrace(request as _, thread, address, data) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits until the thread stops; its wait status.
fn stopped(thread: i32) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to a live variable.
        let answer = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
        match answer {
            _ if answer == thread && libc::WIFSTOPPED(status) => return Ok(status),
            _ if answer == thread => {
                return Err(io::Error::new(io::ErrorKind::NotFound, "the thread has ended"));
            }
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// The call that a thread is stopped at: its number at the beginning, its result at the end.
enum At {
    Beginning(i64),
    End(i64),
    Elsewhere,
}

fn call_of(thread: i32) -> io::Result<At> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    let request = libc::PTRACE_GET_SYSCALL_INFO;
    // SAFETY: the kernel writes at most `size` bytes to the variable.
    if unsafe { libc::ptrace(request as _, thread, size, info.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: plain data, all zero before the kernel wrote to it.
    let info = unsafe { info.assume_init() };
    Ok(match info.op {
        // SAFETY: `op` says which member of the union the kernel wrote.
        libc::PTRACE_SYSCALL_INFO_ENTRY => At::Beginning(unsafe { info.u.entry.nr } as i64),
        // SAFETY: as above.
        libc::PTRACE_SYSCALL_INFO_EXIT => At::End(unsafe { info.u.exit.sval }),
        _ => At::Elsewhere,
    })
}

/// Tells each system call of a thread as it returns: number and result.
pub(crate) fn trace_calls(
    thread: i32,
    time: Duration,
    mut tell: impl FnMut(i64, i64),
) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD as usize;
    ptrace(libc::PTRACE_SEIZE, thread, 0, options)?;
    ptrace(libc::PTRACE_INTERRUPT, thread, 0, 0)?;
    let end = crate::clock::now() + time;
    let mut running = None;
    loop {
        let status = stopped(thread)?;
        let mut signal = 0;
        match libc::WSTOPSIG(status) {
            AT_A_CALL => match call_of(thread)? {
                At::Beginning(number) => running = Some(number),
                At::End(result) => {
                    if let Some(number) = running.take() {
                        tell(number, result);
                    }
                }
                At::Elsewhere => {}
            },
            // A stop of ours, or of a whole process, and no signal of its own.
            _ if status >> 16 == libc::PTRACE_EVENT_STOP => {}
            other => signal = other,
        }
        let is_over = crate::clock::now() >= end && running.is_none();
        let request = if is_over { libc::PTRACE_DETACH } else { libc::PTRACE_SYSCALL };
        ptrace(request, thread, 0, signal as usize)?;
        if is_over {
            return Ok(());
        }
    }
}
