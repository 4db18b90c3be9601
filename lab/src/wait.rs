//! Bounded waits: every wait has a limit, and a failed one says for what it waited.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::clock;

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(5);
/// For things that the kernel does by itself (a killed process disappears).
pub(crate) const KERNEL: Duration = Duration::from_secs(20);

/// Looks until `look` finds something, at most for `limit`.
///
/// # Errors
/// What `look` says, or a sentence with `what` and the limit.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = clock::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if clock::now().saturating_sub(start) >= limit {
            bail!("waited {:.1} s for {what}", limit.as_secs_f64());
        }
        clock::pause(STEP);
    }
}
