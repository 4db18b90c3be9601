//! `[watchdog]`: which device resets a machine that cannot be believed any more, and after how long.
//!
//! ```toml
//! [watchdog]
//! device = "/dev/watchdog0"
//! timeout = "10s"              # default: 10 s, or twice the least one
//!
//! [[node]]
//! name = "n3"
//! id = 3
//! watchdog = { device = "/dev/watchdog1", timeout = "30s" }   # or: false
//! ```
//!
//! **Rule:** the timeout is longer than lease and release ([`base::Timing::watchdog_min`]): a node that only
//! lost its lease ends its services in that time, and then nothing is left that must be reset.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{NodeId, Timing};
use toml::de::DeValue;

use super::diagnostic::Diagnostics;
use super::read::{self, Placed, Section, Value};
use super::{Node, duration};

/// The timeout unless the configuration says otherwise, where the times allow it.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// What all drivers can count to that were looked at.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// The watchdog of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// The path of its device.
    pub device: String,
    /// The timeout that is asked for, in whole seconds.
    pub timeout: Duration,
}

/// What one table says.
#[derive(Clone, Default)]
struct Written {
    /// A device is named; one that cannot be is `None` below.
    is_named: bool,
    device: Option<String>,
    timeout: Option<Duration>,
}

/// Reads `[watchdog]` and what nodes say instead of it.
pub(super) fn watchdogs<'a>(
    shared: Option<&'a Value<'a>>,
    own: Vec<(NodeId, &'a Value<'a>)>,
    nodes: &[Node],
    timing: &Timing,
    found: &mut Diagnostics,
) -> BTreeMap<NodeId, Watchdog> {
    let mut all = BTreeMap::new();
    let default = TIMEOUT_DEFAULT.max(timing.watchdog_min() * 2);
    let mut common = Written::default();
    if let Some(value) = shared
        && let Some(section) = read::table(value, "[watchdog]", found)
    {
        common = table(section, timing, found);
        if !common.is_named && own.is_empty() {
            missing(value, found);
        }
    }
    for node in nodes {
        let of_node = own.iter().find(|(id, _)| *id == node.id).map(|(_, value)| *value);
        let mut written = common.clone();
        match of_node.map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Boolean(false))) => continue,
            Some((value, DeValue::Boolean(true))) => {
                found
                    .error(value.span(), "`watchdog` of a node is false, or a table")
                    .help("leave it out to have that of [watchdog]");
            }
            Some((value, _)) => {
                let Some(section) = read::table(value, "`watchdog`", found) else { continue };
                let said = table(section, timing, found);
                written.device = said.device.or(written.device);
                written.timeout = said.timeout.or(written.timeout);
                if !said.is_named && !common.is_named {
                    missing(value, found);
                }
            }
            None => {}
        }
        if let Some(device) = written.device {
            let timeout = written.timeout.unwrap_or(default);
            all.insert(node.id, Watchdog { device, timeout });
        }
    }
    all
}

fn missing(value: &Value<'_>, found: &mut Diagnostics) {
    found
        .error(value.span(), "the watchdog has no `device`")
        .help("add `device = \"/dev/watchdog0\"`");
}

fn table(mut section: Section<'_>, timing: &Timing, found: &mut Diagnostics) -> Written {
    let is_named = section.take("device").is_some();
    let device = section.text("device", found).and_then(|written| device(&written, found));
    let least = timing.watchdog_min();
    let limits = Duration::from_millis(1)..=TIMEOUT_MAX;
    let timeout = section.duration("timeout", limits, found).and_then(|written| {
        let Placed { value, span } = written;
        if value < least {
            let needed = duration::format(timing.lease + timing.release);
            found
                .error(span, "`timeout` is too short for the times of this cluster")
                .label(format!("lease and release take {needed}"))
                .help(format!(
                    "write \"{}\" or more: a node that only lost its lease has to end its services \
                     before it is reset",
                    duration::format(least)
                ));
            return None;
        }
        if !value.subsec_nanos().is_multiple_of(1_000_000_000) {
            found
                .error(span, "`timeout` must be whole seconds")
                .help(format!("write \"{}s\": drivers count in seconds", value.as_secs() + 1));
            return None;
        }
        Some(value)
    });
    section.finish(found);
    Written { is_named, device, timeout }
}

fn device(written: &Placed<&str>, found: &mut Diagnostics) -> Option<String> {
    let path = written.value;
    let label = if !path.starts_with('/') || path.contains(char::is_control) {
        "not a whole path".to_owned()
    } else if path.len() > os::watchdog::PATH_MAX {
        format!("longer than {} bytes", os::watchdog::PATH_MAX)
    } else {
        return Some(path.to_owned());
    };
    found
        .error(written.span.clone(), "`device` is no device")
        .label(label)
        .help("write its whole path, as \"/dev/watchdog0\"");
    None
}
