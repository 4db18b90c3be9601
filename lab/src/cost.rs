//! What a thread costs: how often it allocates, and which system calls it makes.
//!
//! A loop that must not be late must not allocate (the allocator may take a lock or ask the kernel
//! for memory), and must not make calls that it does not need. Nothing in a program can promise that
//! of all the libraries that it calls; it has to be counted, in the real program:
//!
//! - **Allocations** by [`Counting`], an allocator that a test puts into its own binary around the
//!   whole program. It counts one thread and those of one name, so that what others do does not blur the picture.
//! - **System calls** by [`trace`], from another process, as a debugger does it (ptrace(2)): the
//!   thread stops at each call and is let go on. A call that nobody thought of is seen like all
//!   others. It makes each call some microseconds slower and changes nothing else.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

pub use crate::sys::{Counting, count_this_thread, count_threads_named};

/// How often a thread made one system call, and what came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Times that it returned.
    pub count: u64,
    /// Of these, with an error.
    pub failed: u64,
    /// Sum of what the others returned.
    pub returned: u64,
}

/// The calls by their number.
pub type Trace = BTreeMap<i64, Calls>;

/// Watches the system calls of a running thread for so long. A call that never returns holds this up
/// as well, so the thread should be one that wakes up now and then.
///
/// # Errors
/// When there is no such thread, it ends meanwhile, or this process may not trace it.
pub fn trace(thread: i32, time: Duration) -> io::Result<Trace> {
    let mut trace = Trace::new();
    crate::sys::trace_calls(thread, time, |number, result| {
        let calls = trace.entry(number).or_default();
        calls.count += 1;
        match u64::try_from(result) {
            Ok(result) => calls.returned = calls.returned.saturating_add(result),
            Err(_) => calls.failed += 1,
        }
    })?;
    Ok(trace)
}
