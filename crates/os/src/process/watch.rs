//! Work that looks at processes, and may have to wait for one of them for ever.
//!
//! Intuition: what stands in `/proc/PID/environ`, and with some kernels in `/proc/PID/stat`, is told as soon as the
//! process is not in the middle of execve(2), and a process that is being started from a file system that hangs
//! stays there. Nothing interrupts the wait. So a thread looks and tells where it is; whoever asked waits as long as
//! it gets on, and goes his way when it does not. The thread ends when the process answers or ends.
//!
//! **Rule:** one process holds up one look. Those that come later pass it by, and say that nobody knows whose it is. A
//! thread that could run and is not let, on a machine with too much to do, waits for nobody.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Instant;

#[cfg(test)]
mod tests;

/// Threads that wait for processes, before no more are started.
const GIVEN_UP_MAX: usize = 64;
/// A look takes little; the stack is small.
const STACK_SIZE: usize = 256 << 10;

/// A thread that has not begun is waited for as long.
const BEGIN_MAX: Duration = Duration::from_secs(2);

/// Threads that nobody waits for any more.
static GIVEN_UP: Mutex<Vec<(Instant, Arc<Watch>)>> = Mutex::new(Vec::new());

/// Where a thread is.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// The thread's number; 0: it has not begun.
    thread: AtomicI32,
    /// The process that it looks at; 0: none.
    at: AtomicU32,
    /// It reads its environment.
    is_asking: AtomicBool,
    steps: AtomicU64,
    is_given_up: AtomicBool,
    is_over: AtomicBool,
}

/// Nobody waits for the answer any more: there is nothing to go on for.
#[derive(Debug)]
pub(crate) struct GivenUp;

impl From<GivenUp> for io::Error {
    fn from(_: GivenUp) -> io::Error {
        io::ErrorKind::TimedOut.into()
    }
}

/// A process that did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Silent {
    /// Its number; 0: not known.
    pub(crate) pid: u32,
    /// When it was given up.
    pub(crate) since: Instant,
    /// It was asked for its environment: what else there is to see of it may be seen.
    pub(super) is_asked: bool,
}

/// How it ended.
pub(crate) enum Ended<T> {
    /// With this.
    Told(T),
    /// It waits for this process.
    Waits(Silent),
}

impl Watch {
    /// The thread goes to the next process; 0: to none.
    pub(crate) fn step(&self, pid: u32) -> Result<(), GivenUp> {
        self.go_to(pid, false)
    }

    /// ... and asks it for its environment.
    pub(super) fn ask(&self, pid: u32) -> Result<(), GivenUp> {
        self.go_to(pid, true)
    }

    fn go_to(&self, pid: u32, is_asking: bool) -> Result<(), GivenUp> {
        // Whoever was given up is known by the process that he waited for until he is over.
        if self.is_given_up.load(Ordering::SeqCst) {
            return Err(GivenUp);
        }
        self.at.store(pid, Ordering::SeqCst);
        self.is_asking.store(is_asking, Ordering::SeqCst);
        self.steps.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn silent(&self, since: Instant) -> Silent {
        let (pid, is_asked) =
            (self.at.load(Ordering::SeqCst), self.is_asking.load(Ordering::SeqCst));
        Silent { pid, since, is_asked }
    }

    /// Whether it could run, and is not let. In doubt it waits.
    fn is_runnable(&self) -> bool {
        let thread = self.thread.load(Ordering::SeqCst);
        let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat"));
        stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R')))
    }
}

/// Says on every way out that the thread waits for nobody.
struct Over(Arc<Watch>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

/// Does the work on a thread, and waits for it until it has not got on for as long as `patience`.
///
/// # Errors
/// When there is no thread, and what the work says.
pub(crate) fn watched<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce(&Watch) -> io::Result<T> + Send + 'static,
) -> io::Result<Ended<T>> {
    let given_up = silent();
    if given_up.len() >= GIVEN_UP_MAX {
        return Ok(Ended::Waits(given_up[0]));
    }
    let watch = Arc::new(Watch::default());
    let (sender, receiver) = channel();
    let over = Over(watch.clone());
    std::thread::Builder::new().name("look".into()).stack_size(STACK_SIZE).spawn(move || {
        over.0.thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::SeqCst);
        // Whoever asked has given up when this is too late.
        let _too_late = sender.send(work(&over.0));
    })?;
    let began = crate::clock::boottime();
    let (mut steps, mut last) = (0, began);
    loop {
        match receiver.recv_timeout(patience / 4) {
            Ok(told) => return told.map(Ended::Told),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(io::Error::other("the look at all processes ended by a fault"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let (now, gone) = (crate::clock::boottime(), watch.steps.load(Ordering::SeqCst));
        let has_begun = watch.thread.load(Ordering::SeqCst) != 0;
        let gets_on = std::mem::replace(&mut steps, gone) != gone
            || has_begun && watch.is_runnable()
            || !has_begun && now.since(began) < BEGIN_MAX;
        if gets_on {
            last = now;
        }
        if now.since(last) < patience {
            continue;
        }
        watch.is_given_up.store(true, Ordering::SeqCst);
        let silent = watch.silent(now);
        given_up_threads().push((now, watch));
        return Ok(Ended::Waits(silent));
    }
}

/// The processes that threads wait for, the first one first.
pub(super) fn silent() -> Vec<Silent> {
    let mut given_up = given_up_threads();
    given_up.retain(|(_, watch)| !watch.is_over.load(Ordering::SeqCst));
    given_up.iter().map(|(since, watch)| watch.silent(*since)).collect()
}

fn given_up_threads() -> MutexGuard<'static, Vec<(Instant, Arc<Watch>)>> {
    GIVEN_UP.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Silent {
    /// For people, with the mend.
    pub(crate) fn error(self) -> io::Error {
        let which = match self.pid {
            0 => "one of the processes".to_owned(),
            pid => format!("process {pid}"),
        };
        io::Error::other(format!(
            "{which} does not answer, and may belong to it: it cannot be looked at, as when its disk or network file \
             system does not answer. `cat /proc/{}/status` shows which it is: end it (SIGKILL) or what it waits \
             for, or restart this machine; until then nothing counts as gone",
            if self.pid == 0 { "PID".to_owned() } else { self.pid.to_string() }
        ))
    }
}
