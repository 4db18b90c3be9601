//! `[[fence]]`: how the machine of a node is turned off.
//!
//! Each table is one agent. Those of one node with the same `level` are one level and must all
//! succeed; levels are tried in the order of their numbers.

use std::collections::BTreeMap;
use std::time::Duration;

use base::NodeId;
use toml::de::DeValue;

use super::diagnostic::Diagnostics;
use super::read::{self, Placed, Section, Span};
use super::section::Names;
use super::{Fence, duration};

/// How long a level may take unless it says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(20);
const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
const LEVEL_MAX: u64 = 9;
/// How often agents are asked whether they answer unless the configuration says otherwise.
pub(super) const VERIFY_DEFAULT: Duration = Duration::from_secs(3600);
/// Boards of machines are slow, and some write each login to a memory that wears out.
const VERIFY_MIN: Duration = Duration::from_secs(10);
const VERIFY_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Agents of one node: with the levels' budgets they bound how much runs at once.
const AGENTS_PER_NODE_MAX: usize = 16;
/// Options of one agent.
const OPTIONS_MAX: usize = 64;

/// Reads how often agents are checked: a duration, or `never`.
pub(super) fn verify_interval(written: &Placed<&str>, found: &mut Diagnostics) -> Option<Duration> {
    if written.value == "never" {
        return None;
    }
    let span = written.span.clone();
    match duration::parse(written.value) {
        Err(sentence) => {
            found
                .error(span, format!("`fence_verify`: {sentence}"))
                .help("or \"never\": only `mainstay fence verify` checks then");
        }
        Ok(read) if !(VERIFY_MIN..=VERIFY_MAX).contains(&read) => {
            let (least, most) = (duration::format(VERIFY_MIN), duration::format(VERIFY_MAX));
            found
                .error(span, "`fence_verify` is out of range")
                .label(format!("{least} to {most}, or never"));
        }
        Ok(read) => return Some(read),
    }
    None
}

/// Reads all of them, in order of node and level.
pub(super) fn fences<'a>(
    sections: Vec<Section<'a>>,
    nodes: &Names<'a, NodeId>,
    found: &mut Diagnostics,
) -> Vec<Fence> {
    let mut fences: Vec<Fence> = Vec::new();
    let mut first: Option<Span> = None;
    for section in sections {
        let span = section.span.clone();
        first.get_or_insert(span.clone());
        let Some(fence) = fence(section, nodes, found) else { continue };
        if fences.iter().filter(|one| one.node == fence.node).count() == AGENTS_PER_NODE_MAX {
            let text = format!("a node has more than {AGENTS_PER_NODE_MAX} fence agents");
            found.error(span, text);
            break;
        }
        fences.push(fence);
    }
    fences.sort_by_key(|fence| (fence.node, fence.level));
    let without: Vec<&str> = (nodes.iter())
        .filter(|(_, id)| !fences.iter().any(|fence| fence.node == *id))
        .map(|(name, _)| name)
        .collect();
    if let (Some(span), false) = (first, without.is_empty()) {
        found
            .warning(span, format!("nobody can turn off {}", without.join(", ")))
            .help("give each node a [[fence]], or its services wait for its lease to end");
    }
    fences
}

fn fence<'a>(
    mut section: Section<'a>,
    nodes: &Names<'a, NodeId>,
    found: &mut Diagnostics,
) -> Option<Fence> {
    section.require("node", "\"n1\"", found);
    let node = section.text("node", found).and_then(|name| nodes.find(&name, "node", found));
    let level = section.number("level", 1..=LEVEL_MAX, found).map_or(1, |level| level.value as u8);
    section.require("agent", "\"fence_ipmilan\"", found);
    let agent = section.text("agent", found).and_then(|written| agent(&written, found));
    let limits = TIMEOUT_MIN..=TIMEOUT_MAX;
    let timeout = section.duration("timeout", limits, found);
    let timeout = timeout.map_or(TIMEOUT_DEFAULT, |timeout| timeout.value);
    let mut options = BTreeMap::new();
    if let Some(value) = section.take("options")
        && let Some(table) = read::table(value, "`options`", found)
    {
        for (key, value) in table.entries() {
            if let Some(value) = option(&key, value, found) {
                options.insert(key.value.to_owned(), value);
            }
        }
        if options.len() > OPTIONS_MAX {
            let text = format!("an agent has more than {OPTIONS_MAX} options");
            found.error(value.span(), text);
        }
    }
    section.finish(found);
    Some(Fence { node: node?, level, agent: agent?, timeout, options })
}

/// The name of a program that is found like other commands, or where it stands.
fn agent(written: &Placed<&str>, found: &mut Diagnostics) -> Option<String> {
    let is_path = written.value.starts_with('/') && !written.value.contains(char::is_control);
    if is_path || read::name_error(written.value).is_none() {
        return Some(written.value.to_owned());
    }
    found
        .error(written.span.clone(), format!("\"{}\" is no agent", written.value))
        .help("write its name, as \"fence_ipmilan\", or its whole path");
    None
}

fn option(key: &Placed<&str>, value: &read::Value<'_>, found: &mut Diagnostics) -> Option<String> {
    if key.value == "action" {
        found
            .error(key.span.clone(), "`action` is not yours to give")
            .help("remove it: an agent is told when it is run");
        return None;
    }
    let is_name = key.value.chars().all(|one| one.is_ascii_alphanumeric() || "-_".contains(one));
    if !is_name || key.value.is_empty() {
        found.error(key.span.clone(), format!("\"{}\" is no option", key.value));
        return None;
    }
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Boolean(true) => "1".to_owned(),
        DeValue::Boolean(false) => "0".to_owned(),
        other => {
            let text = format!("`{}` must be text and is of type {}", key.value, other.type_str());
            found.error(value.span(), text);
            return None;
        }
    };
    if text.contains(['\n', '\r', '\0']) {
        found.error(value.span(), format!("`{}` must be one line", key.value));
        return None;
    }
    if key.value.ends_with("_file") && !text.starts_with('/') {
        found.error(value.span(), format!("`{}` must be a whole path", key.value));
    }
    if crate::fence::is_secret(key.value) {
        found
            .warning(key.span.clone(), format!("`{}` can be read by whoever reads this", key.value))
            .help(format!(
                "write it into a file on each node and give that: {}_file = \"/etc/mainstay/…\"",
                key.value
            ));
    }
    Some(text)
}
