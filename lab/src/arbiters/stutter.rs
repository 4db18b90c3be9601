//! A process that is slow: it stands still again and again, and answers late what it was asked meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock;
use crate::worker;

/// How long it may work in between: enough for what has come meanwhile.
const WORK: Duration = Duration::from_millis(10);

/// A thread that stops a process and lets it go on, in turns, until it is ended or dropped. The process must
/// not be reaped before.
pub(super) struct Stutter {
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<Result<()>>>,
}

impl Stutter {
    /// It stands still for so long each time.
    pub(super) fn start(process: Pid, still: Duration) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let work = move || {
            while !is_over.load(Ordering::Acquire) {
                kill_process(process, Signal::STOP).context("stopping a process")?;
                clock::pause(still);
                kill_process(process, Signal::CONT).context("letting a process go on")?;
                clock::pause(WORK);
            }
            Ok(())
        };
        let thread = std::thread::Builder::new().name("stutter".to_owned());
        let worker = Some(thread.spawn(work).context("starting a stutter")?);
        Ok(Self { stop, worker })
    }

    /// The process goes on.
    ///
    /// # Errors
    /// When it could not be signalled: it has ended.
    pub(super) fn end(mut self) -> Result<()> {
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        worker::joined(&mut self.worker)
    }
}

impl Drop for Stutter {
    fn drop(&mut self) {
        // `end` reports; one that is merely dropped has nobody to report to.
        let _ = self.join();
    }
}

#[cfg(test)]
mod tests;
