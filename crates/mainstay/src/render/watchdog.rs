//! `mainstay watchdog show` and `mainstay watchdog test`.

use api::v1::{Watchdog, WatchdogState};
use serde::Serialize;

use super::style::{Style, duration};

#[cfg(test)]
mod tests;

/// What a watchdog is and whether it obeys: the answer of `watchdog test`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WatchdogTest {
    /// Version of this answer's shape: 1.
    pub schema: u32,
    /// The path that was tried.
    pub device: String,
    /// The kernel's name of it; null where the kernel does not show it.
    pub name: Option<String>,
    /// The driver's name for it.
    pub identity: Option<String>,
    /// Whether its timer ran before the test.
    pub active: Option<bool>,
    /// Whether its driver never lets it be stopped; null where the kernel does not say.
    pub nowayout: Option<bool>,
    /// The shortest timeout that it takes, where known.
    pub least_ms: Option<u64>,
    /// The longest one; null where it is not known or not limited.
    pub most_ms: Option<u64>,
    /// Who has it open.
    pub holders: Vec<WatchdogHolder>,
    /// The timeout in force while it was armed; null when it was not.
    pub timeout_ms: Option<u64>,
    /// What it said after each feeding.
    pub feedings: Vec<WatchdogFeeding>,
    /// Whether it was stopped again.
    pub stopped: bool,
    /// What is wrong, with what to do about it; empty when all is well.
    pub trouble: Vec<String>,
}

/// A process that has the device open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WatchdogHolder {
    /// Its number.
    pub process: u32,
    /// Its name.
    pub name: String,
}

/// One feeding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WatchdogFeeding {
    /// How long until a reset just before; null where the driver does not know.
    pub before_ms: Option<u64>,
    /// And just after.
    pub after_ms: Option<u64>,
    /// How long the driver took.
    pub took_us: u64,
}

/// The watchdog of a node.
#[must_use]
pub fn watchdog(watchdog: &Watchdog, _: Style) -> String {
    let node = &watchdog.node;
    let device = watchdog.device.as_deref().unwrap_or("the watchdog");
    let timeout = watchdog.timeout_ms.map_or_else(|| "its timeout".to_owned(), duration);
    let mut text = match watchdog.state {
        WatchdogState::None => {
            return format!(
                "no watchdog is configured for {node}: if it is lost with a storage service, only a proof \
                 frees that (see docs/reference/watchdog.md)\n"
            );
        }
        WatchdogState::Ready => format!(
            "{device} of {node} is not armed, because no storage service has been started here yet\n"
        ),
        WatchdogState::Asked => format!("{device} of {node} is being armed\n"),
        WatchdogState::Armed => {
            format!("{device} resets {node} {timeout} after it was fed for the last time\n")
        }
        WatchdogState::Failed => {
            return format!("{device} of {node} could not be armed: {}\n", watchdog.reason);
        }
        WatchdogState::Unknown => {
            return format!("{device} of {node}: {}\n", watchdog.reason);
        }
    };
    if watchdog.state != WatchdogState::Armed {
        text.push_str(&format!("timeout   {timeout} will be asked for\n"));
        return text;
    }
    let fed = if watchdog.fed { "yes" } else { "NO" };
    text.push_str(&format!("\nfed       {fed}: {}\n", watchdog.reason));
    if let Some(age) = watchdog.fed_ms {
        text.push_str(&format!("last fed  {} ago\n", duration(age)));
    }
    let age = match watchdog.evidence_ms {
        Some(age) => format!("{} old", duration(age)),
        None => "none".to_owned(),
    };
    let freshness = duration(watchdog.freshness_ms);
    text.push_str(&format!(
        "evidence  {age}; beside a storage service it is fed while that is {freshness} at most\n"
    ));
    if let Some(wait) = watchdog.fence_wait_ms {
        text.push_str(&format!(
            "others    count this machine as reset {} after they heard it last\n",
            duration(wait)
        ));
    }
    if watchdog.late > 0 {
        text.push_str(&format!(
            "late      {} feedings came through too late, and were made shorter\n",
            watchdog.late
        ));
    }
    if watchdog.adopted {
        text.push_str("it was armed by a former guard, which was killed\n");
    }
    text
}

/// What a test of a watchdog found.
#[must_use]
pub fn watchdog_test(test: &WatchdogTest, _: Style) -> String {
    let mut text = test.device.clone();
    match (&test.identity, &test.name) {
        (Some(identity), Some(name)) => text.push_str(&format!(": {identity} ({name})\n")),
        (Some(said), None) | (None, Some(said)) => text.push_str(&format!(": {said}\n")),
        (None, None) => text.push('\n'),
    }
    let mut line = |name: &str, said: String| text.push_str(&format!("{name:<10}{said}\n"));
    match (test.least_ms, test.most_ms) {
        (Some(least), Some(most)) => {
            line("timeouts", format!("{} to {}", duration(least), duration(most)));
        }
        (Some(least), None) => line("timeouts", format!("from {}", duration(least))),
        (None, Some(most)) => line("timeouts", format!("up to {}", duration(most))),
        (None, None) => {}
    }
    if let Some(nowayout) = test.nowayout {
        let said = match nowayout {
            true => "never: its driver was loaded with nowayout",
            false => "when it is told to",
        };
        line("stops", said.to_owned());
    }
    for holder in &test.holders {
        line("open in", format!("process {}, {}", holder.process, holder.name));
    }
    if let Some(timeout) = test.timeout_ms {
        line("armed", format!("with a timeout of {}", duration(timeout)));
    }
    let left = |left: Option<u64>| left.map_or_else(|| "?".to_owned(), duration);
    for feeding in &test.feedings {
        line(
            "fed",
            format!(
                "time left {} before, {} after; the driver took {} us",
                left(feeding.before_ms),
                left(feeding.after_ms),
                feeding.took_us
            ),
        );
    }
    if test.stopped {
        line("stopped", "this machine is not reset".to_owned());
    }
    for sentence in &test.trouble {
        line("trouble", sentence.clone());
    }
    if test.trouble.is_empty() {
        text.push_str("it obeys; whether it resets this machine only `--reset` shows\n");
    }
    text
}
