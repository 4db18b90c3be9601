//! How the interfaces of a network are polled: `poll_interval`, `polls`, `failure_detection`.

use std::time::Duration;

use network::health::Detection;

use super::Kind;
use super::diagnostic::Diagnostics;
use super::read::{self, Section};

/// How the health of a network's interfaces is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polling {
    /// Time between two polls.
    pub interval: Duration,
    /// After how many an interface is down, or up again.
    pub polls: u32,
    /// What counts as a failure.
    pub detection: Detection,
}

impl Default for Polling {
    fn default() -> Polling {
        Polling { interval: Duration::from_secs(1), polls: 3, detection: Detection::InOut }
    }
}

/// Shorter ones would not count on a busy machine, longer ones nobody waits for.
const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(250)..=Duration::from_secs(30);
const POLLS: std::ops::RangeInclusive<u64> = 2..=20;

/// Reads what a network of interfaces says about it.
pub(super) fn polling(section: &mut Section<'_>, kind: Kind, found: &mut Diagnostics) -> Polling {
    let mut polling = Polling::default();
    if matches!(kind, Kind::Disk | Kind::Serial { .. }) {
        return polling;
    }
    if let Some(read) = section.duration("poll_interval", INTERVALS, found) {
        polling.interval = read.value;
    }
    if let Some(read) = section.number("polls", POLLS, found) {
        polling.polls = read.value as u32;
    }
    let words = [Detection::InOut, Detection::InOnlyOrInOut].map(|one| (one.name(), one));
    if let Some(written) = section.text("failure_detection", found)
        && let Some(detection) = read::choice(&written, "failure_detection", &words, found)
    {
        polling.detection = detection;
    }
    polling
}
