//! Waiting for slow machines: with a limit, and with a word on the way.

use std::time::Duration;

use anyhow::{Result, bail};
use lab::clock;

use super::say;

/// Between two looks.
const STEP: Duration = Duration::from_millis(100);
/// Between two words to who is watching.
const WORD: Duration = Duration::from_secs(15);

/// How a scenario waits.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    scenario: &'static str,
}

impl Patience {
    /// The patience of a scenario.
    #[must_use]
    pub(crate) fn new(scenario: &'static str) -> Self {
        Self { scenario }
    }

    /// Looks until `look` finds something, at most for `limit`.
    ///
    /// # Errors
    /// What `look` says, or a sentence with `what` and the limit.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let start = clock::now();
        let mut word = start + WORD;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            let now = clock::now();
            if now - start >= limit {
                bail!("waited {} s for {what}", limit.as_secs());
            }
            if now >= word {
                self.say(&format!("waiting for {what} ({} s)", (now - start).as_secs()));
                word = now + WORD;
            }
            clock::pause(STEP);
        }
    }

    /// Says what happens.
    pub(crate) fn say(&self, text: &str) {
        say(&format!("{}: {text}", self.scenario));
    }
}
