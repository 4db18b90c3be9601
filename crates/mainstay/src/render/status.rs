//! `mainstay status`: everything on one screen.
//!
//! First the verdict, then why; a node that is cut off says so before it says anything else, since
//! all the rest is old. Paths are columns of the nodes' table: a row is a peer, a column a network.

use api::v1::{Counter, Leaving, Node, NodeState, Path, PathState, ServiceState, Status, Verdict};

use super::services::service_table;
use super::style::{Colour, Style, duration, fine};
use super::table::{Cell, Table, cut};

/// Reasons and warnings shown; the rest is counted.
const LINES_MAX: usize = 4;
/// Counters that grow in a healthy cluster, too: only `--json` has them.
const EXPECTED: [&str; 2] = ["surplus", "fence_checks"];
/// Where texts begin, behind the verdict.
const INDENT: usize = 10;

/// The whole picture.
#[must_use]
pub fn status(status: &Status, style: Style) -> String {
    let mut text = String::new();
    headline(status, style, &mut text);
    let waiting = status.view.waiting.as_ref();
    let reasons = status.reasons.iter().filter(|reason| Some(*reason) != waiting);
    lines(reasons.map(String::as_str), style, &mut text);
    text.push('\n');
    text.push_str(&nodes(status, style));
    if !status.services.is_empty() {
        text.push('\n');
        text.push_str(&service_table(&status.services, status.view.primary, style));
    }
    let below = below(status);
    if !below.is_empty() {
        text.push('\n');
        for (colour, word, sentence) in below {
            let word = style.paint(colour, word);
            let room = style.width.saturating_sub(INDENT);
            text.push_str(&format!("{word}  {}\n", cut(&sentence, room)));
        }
    }
    text
}

/// How far a node is that leaves.
#[must_use]
pub fn leaving(leaving: &Leaving) -> String {
    let mut text = format!(
        "leaving: {} of {} services stopped, {} of {}",
        leaving.stopped,
        leaving.services,
        duration(leaving.elapsed_ms / 1000 * 1000),
        duration(leaving.budget_ms)
    );
    if !leaving.stopping.is_empty() {
        text.push_str(&format!("; still here: {}", leaving.stopping.join(", ")));
    }
    text
}

fn headline(status: &Status, style: Style, text: &mut String) {
    let members = status.view.members.len();
    let running =
        status.services.iter().filter(|service| service.state == ServiceState::Running).count();
    let word = match status.verdict {
        Verdict::Ok => "OK",
        Verdict::Degraded => "DEGRADED",
        Verdict::Down => "DOWN",
        Verdict::NoView => "CUT OFF",
        Verdict::Unknown => "UNKNOWN",
    };
    let word = style.paint(status.verdict.into(), &format!("{word:<8}"));
    let (cluster, node) = (&status.cluster, &status.node);
    let line = if status.view.primary {
        let mut line = format!(
            "{}: {members} of {} nodes, {running} of {} services run, seen from {}",
            cluster.name,
            status.nodes.len(),
            status.services.len(),
            node.name
        );
        if status.services.is_empty() {
            line = format!(
                "{}: {members} of {} nodes, no services, seen from {}",
                cluster.name,
                status.nodes.len(),
                node.name
            );
        }
        line
    } else {
        format!("{}: {} is in no primary view and runs nothing", cluster.name, node.name)
    };
    text.push_str(&format!("{word}  {line}\n"));
    let indent = " ".repeat(INDENT);
    if let Some(waiting) = &status.view.waiting {
        text.push_str(&format!("{indent}{waiting}\n"));
    }
    if let Some(leaving) = &status.leaving {
        text.push_str(&format!("{indent}{}\n", self::leaving(leaving)));
    }
    if status.view.primary {
        let view = &status.view;
        let lease = match view.lease_ms {
            Some(0) => ", no lease".to_owned(),
            Some(lease) => format!(", lease {}", duration(lease)),
            None => String::new(),
        };
        let since =
            view.since_ms.map_or_else(String::new, |since| format!(" since {}", duration(since)));
        text.push_str(&format!(
            "{indent}view {}{since}, hub {}{lease}; configuration {}, {}\n",
            view.generation,
            view.hub.as_deref().unwrap_or("none"),
            cluster.config_version,
            cluster.detection
        ));
    } else {
        let newest = status.nodes.iter().filter(|other| other.name != node.name);
        let newest = newest.filter_map(|other| other.age_ms).min();
        let age = newest.map_or_else(
            || "it never heard of the others".to_owned(),
            |age| format!("the newest it knows of others is {} old", duration(age)),
        );
        let generation = status.view.generation;
        let view = if generation == 0 {
            "it was in no view yet".to_owned()
        } else {
            format!("its last view was {generation}")
        };
        text.push_str(&format!("{indent}{view}; {age}\n"));
    }
}

fn lines<'a>(sentences: impl Iterator<Item = &'a str>, style: Style, text: &mut String) {
    let sentences: Vec<&str> = sentences.collect();
    let indent = " ".repeat(INDENT);
    let room = style.width.saturating_sub(INDENT);
    for sentence in sentences.iter().take(LINES_MAX) {
        text.push_str(&format!("{indent}{}\n", cut(sentence, room)));
    }
    if sentences.len() > LINES_MAX {
        text.push_str(&format!("{indent}and {} more\n", sentences.len() - LINES_MAX));
    }
}

fn nodes(status: &Status, style: Style) -> String {
    let mut networks: Vec<&str> = Vec::new();
    for path in &status.paths {
        if !networks.contains(&path.network.as_str()) {
            networks.push(&path.network);
        }
    }
    let heading = ["NODE", "STATE", "HEARD"].into_iter().chain(networks.iter().copied());
    let mut table = Table::new(heading.chain(["NOTE"]));
    for node in &status.nodes {
        let here = node.name == status.node.name;
        let heard = match node.age_ms {
            _ if here => "here".to_owned(),
            Some(age) => format!("{} ago", duration(age)),
            None => "never".to_owned(),
        };
        let hub = status.view.primary && status.view.hub.as_deref() == Some(&node.name);
        let was_member = matches!(node.state, NodeState::Member | NodeState::Sealed);
        let state = if hub {
            Cell::new(node.state, "hub")
        } else if here && was_member && !status.view.primary {
            Cell::new(Colour::Bad, "cut off")
        } else {
            Cell::new(node.state, node.state.to_string())
        };
        let mut cells = vec![Cell::from(node.name.as_str()), state, Cell::from(heard)];
        for network in &networks {
            let is_this = |path: &&Path| path.peer == node.name && path.network == *network;
            cells.push(status.paths.iter().find(is_this).map_or_else(Cell::default, path));
        }
        let paths = status.paths.iter().filter(|path| path.peer == node.name).count();
        // What this node waits for stands at the top.
        let waiting = node.waiting.as_ref().filter(|_| !here);
        cells.push(Cell::new(Colour::Odd, note(node, paths, only(status, node), waiting)));
        table.row(cells);
    }
    table.render(style)
}

/// A path in a few letters: its round trip, or what is wrong with it.
fn path(path: &Path) -> Cell {
    let text = match (path.state, path.direction, path.rtt_us) {
        (PathState::Alive, _, Some(rtt)) => {
            let permille = (path.loss.clamp(0.0, 1.0) * 1000.0).round() as u64;
            match permille {
                0 => fine(rtt),
                _ => format!("{} {}.{}% lost", fine(rtt), permille / 10, permille % 10),
            }
        }
        (PathState::Alive, _, None) => "alive".to_owned(),
        (state, Some(direction), _) => format!("{state}, {direction}"),
        (state, None, _) => state.to_string(),
    };
    let lossy = path.state == PathState::Alive && path.loss >= 0.01;
    Cell::new(if lossy { Colour::Odd } else { path.state.into() }, text)
}

/// When no network leads to a node any more: what still does.
fn only(status: &Status, node: &Node) -> Option<&'static str> {
    let here = status.paths.iter().filter(|path| path.peer == node.name);
    let alive = here.filter(|path| path.state != PathState::Dead);
    let kinds: std::collections::BTreeSet<&str> = alive.map(|path| path.kind.as_str()).collect();
    let slow = |kind: &&str| matches!(*kind, "disk" | "serial");
    if kinds.is_empty() || !kinds.iter().all(slow) {
        return None;
    }
    Some(match (kinds.contains("disk"), kinds.contains("serial")) {
        (true, true) => "disk and serial line only",
        (true, false) => "disk only",
        (false, _) => "serial line only",
    })
}

/// What is not as one would expect of a node to which so many paths are configured.
fn note(node: &Node, paths: usize, only: Option<&str>, waiting: Option<&String>) -> String {
    let mut notes = Vec::new();
    if !node.online {
        notes.push("standby".to_owned());
    }
    if let Some(wait) = node.fence_wait_ms {
        notes.push(format!("its services may start elsewhere in {}", duration(wait)));
    }
    if let Some(fence) = &node.fence
        && let Some(age) = fence.checked_ms
    {
        let word = if fence.usable { "can be fenced" } else { "cannot be fenced" };
        notes.push(format!("{word}, {} ago", duration(age)));
    }
    notes.extend(only.map(str::to_owned));
    // With one path configured, one path is what there is.
    if node.jeopardy && node.state == NodeState::Member && paths > 1 {
        notes.push("one path left".to_owned());
    }
    notes.extend(waiting.cloned());
    notes.join("; ")
}

/// What stands below the tables: word and sentence.
fn below(status: &Status) -> Vec<(Colour, &'static str, String)> {
    let mut lines = Vec::new();
    let health = &status.health;
    for (what, wrong) in [
        ("state directory", &health.persistence),
        ("guard", &health.guard),
        ("real-time class", &health.realtime),
    ] {
        if let Some(wrong) = wrong {
            lines.push((Colour::Odd, "warning ", format!("{what}: {wrong}")));
        }
    }
    for warning in &status.warnings {
        lines.push((Colour::Odd, "warning ", warning.text.clone()));
    }
    let odd = |counter: &&Counter| counter.value > 0 && !EXPECTED.contains(&counter.name.as_str());
    for counter in status.counters.iter().filter(odd) {
        lines.push((Colour::Odd, "counted ", format!("{} × {}", counter.value, counter.text)));
    }
    let more = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    if more > 0 {
        lines.push((Colour::Faint, "        ", format!("and {more} more: status --json")));
    }
    lines
}
