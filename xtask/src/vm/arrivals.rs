//! When something came to a console, by the clock of this machine.
//!
//! Machines have a clock each, and none of them is compared with another. QEMU writes a line into the
//! file of its machine's console as it is said, so what happens on different machines is put in order
//! by watching the files grow. A look takes its time on a busy machine; so what is known of a line is
//! a span: it was not there at the look before, and was there after this one.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::clock;

/// Between two looks.
const STEP: Duration = Duration::from_millis(5);

/// When something happened: not before the one, and not after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// It had not happened by then.
    pub(crate) after: Duration,
    /// It had happened by then.
    pub(crate) by: Duration,
}

impl Span {
    /// Whether it certainly was before the other one.
    #[must_use]
    pub(crate) fn is_before(self, other: Self) -> bool {
        self.by <= other.after
    }
}

/// Watches a file grow, until it is dropped.
pub(super) struct Arrivals {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
}

struct Shared {
    path: PathBuf,
    seen: Mutex<Seen>,
    stop: AtomicBool,
}

#[derive(Debug)]
struct Seen {
    /// The file's length after each growth, and when it grew.
    growth: Vec<(u64, Span)>,
    /// The beginning of the last look.
    looked: Duration,
    /// Why nobody looks any longer.
    failed: Option<std::io::Error>,
}

impl Arrivals {
    /// Begins to watch.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(super) fn watch(path: &Path) -> Result<Self> {
        let seen = Seen { growth: Vec::new(), looked: clock::now(), failed: None };
        let stop = AtomicBool::new(false);
        let shared = Arc::new(Shared { path: path.to_owned(), seen: Mutex::new(seen), stop });
        let ours = Arc::clone(&shared);
        let worker = std::thread::Builder::new().name("arrivals".to_owned());
        let worker = worker.spawn(move || run(&ours)).context("start to watch a console")?;
        Ok(Self { shared, worker: Some(worker) })
    }

    /// When the first `length` bytes were complete; for those that are there.
    ///
    /// # Errors
    /// When the file could not be watched.
    pub(super) fn of(&self, length: u64) -> Result<Span> {
        let seen = lock(&self.shared);
        if let Some(error) = &seen.failed {
            anyhow::bail!("watch {}: {error}", self.shared.path.display());
        }
        let at = seen.growth.partition_point(|(grown, _)| *grown < length);
        Ok(match seen.growth.get(at) {
            Some((_, span)) => *span,
            // There, but not yet looked at.
            None => Span { after: seen.looked, by: clock::now() },
        })
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(worker) = self.worker.take() {
            // It says by `failed` what went wrong.
            let _ = worker.join();
        }
    }
}

fn run(shared: &Shared) {
    while !shared.stop.load(Ordering::Acquire) {
        let now = clock::now();
        let length = match std::fs::metadata(&shared.path) {
            Ok(file) => file.len(),
            // No boot yet.
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => {
                lock(shared).failed = Some(error);
                return;
            }
        };
        let by = clock::now();
        let mut seen = lock(shared);
        if length > seen.growth.last().map_or(0, |(length, _)| *length) {
            let span = Span { after: seen.looked, by };
            seen.growth.push((length, span));
        }
        seen.looked = now;
        drop(seen);
        clock::pause(STEP);
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Seen> {
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
