//! Threads that watch something until they are told to stop.

use std::thread::JoinHandle;

use anyhow::Result;

/// Waits for the end of a thread, the first time; its panic goes on here.
///
/// # Errors
/// What the thread ended with.
pub(crate) fn joined(worker: &mut Option<JoinHandle<Result<()>>>) -> Result<()> {
    match worker.take().map(JoinHandle::join) {
        None => Ok(()),
        Some(Ok(outcome)) => outcome,
        Some(Err(panic)) => std::panic::resume_unwind(panic),
    }
}
