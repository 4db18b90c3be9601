//! `mainstay path list`, `path show` and `path test`.

use api::v1::{Path, PathState, PathTests, Priority};
use std::net::SocketAddr;

use serde::Serialize;

use super::style::{Colour, Style, duration, fine};
use super::table::{Cell, Table};
use crate::config::PORT_DEFAULT;

/// Paths as `--json` shows them.
#[derive(Debug, Serialize)]
pub struct Paths {
    /// Version of this shape: 1.
    pub schema: u32,
    /// Name of the node whose paths they are.
    pub node: String,
    /// The paths.
    pub paths: Vec<Path>,
}

/// A line for each path.
#[must_use]
pub fn paths(report: &Paths, style: Style) -> String {
    if report.paths.is_empty() {
        return "this node has no paths: `mainstay path create`, or a [[network]]\n".to_owned();
    }
    let heading =
        ["PEER", "NETWORK", "KIND", "LOCAL", "REMOTE", "PRIORITY", "STATE", "RTT", "LOSS"];
    let mut table = Table::new(heading);
    for path in &report.paths {
        let words = [&path.peer, &path.network, &path.kind, &path.local, &path.remote];
        let mut cells: Vec<Cell> = words.map(|word| Cell::from(word.as_str())).into();
        cells.push(Cell::from(priority(path)));
        cells.push(Cell::new(path.state, state(path)));
        cells.push(Cell::from(path.rtt_us.map(fine).unwrap_or_default()));
        let is_alive = path.state == PathState::Alive;
        let loss = if is_alive { percent(path.loss) } else { String::new() };
        let colour = if path.loss >= 0.01 { Colour::Odd } else { Colour::Plain };
        cells.push(Cell::new(colour, loss));
        table.row(cells);
    }
    let mut text = table.render(style);
    for path in &report.paths {
        let head = format!("{} over {}", path.peer, path.network);
        for remark in [damping(path), missing_half(path, &report.node)].into_iter().flatten() {
            text += &format!("{}: {remark}\n", style.paint(Colour::Odd, &head));
        }
    }
    text
}

/// For a path that is kept out of use because it kept changing: until when.
fn damping(path: &Path) -> Option<String> {
    let (wanted, left) = (path.echoes_wanted?, path.damped_ms?);
    Some(format!(
        "it kept changing and is kept out of use: {wanted} more good echoes wanted, {} at most",
        duration(left)
    ))
}

/// For a dead path that one node alone defines: which end is missing, and what to do there. `local`
/// is the node that says so.
#[must_use]
pub fn missing_half(path: &Path, local: &str) -> Option<String> {
    if path.rank.is_none() || path.state != PathState::Dead {
        return None;
    }
    let peer = &path.peer;
    let command = match path.kind.as_str() {
        "udp" => {
            let [here, there] = [&path.local, &path.remote].map(|end| end.parse::<SocketAddr>());
            let (Ok(here), Ok(there)) = (here, there) else { return None };
            let port = format!(" --port {}", here.port());
            let port = if here.port() == PORT_DEFAULT { "" } else { &port };
            format!("mainstay path create {local} {} {}{port}", there.ip(), here.ip())
        }
        "serial" => format!("mainstay path create {local} DEVICE --serial"),
        kind => {
            let rank = path.rank.unwrap_or(1);
            let what = if kind == "disk" { "DEVICE" } else { "INTERFACE" };
            format!("mainstay path create '*' {what} --{kind} --rank {rank}")
        }
    };
    match (path.peer_has_half, path.age_ms) {
        (Some(true), _) => None,
        (Some(false), _) => Some(format!("{peer} has no half of this path; on {peer}: {command}")),
        (None, None) => {
            Some(format!("{peer} may have no half of this path; if so, on {peer}: {command}"))
        }
        (None, Some(_)) => Some(format!("{peer} may have taken its half of this path back")),
    }
}

/// Everything about each path.
#[must_use]
pub fn paths_in_full(report: &Paths, style: Style) -> String {
    let mut text = String::new();
    for path in &report.paths {
        let head = format!("{} over {}, {}", path.peer, path.network, path.kind);
        text += &format!("{}\n", style.paint(Colour::Head, &head));
        let mut line = |name: &str, value: String| text += &format!("  {name:<12}{value}\n");
        line("state", state(path));
        line("ends", format!("{} to {}", path.local, path.remote));
        line("priority", priority(path));
        if let Some([least, mean, most]) = path.rtt_min_avg_max_us {
            let times = format!("{} / {} / {}", fine(least), fine(mean), fine(most));
            line("round trip", format!("{times} (least, mean, most)"));
        }
        let out = path.loss_out.map_or("unknown".to_owned(), percent);
        line("loss", format!("{} to us, {out} from us", percent(path.loss)));
        if let Some(jitter) = path.jitter_us {
            line("jitter", fine(jitter));
        }
        let heard = path.age_ms.map_or("never".to_owned(), |age| format!("{} ago", duration(age)));
        line("heard", heard);
        if let Some(damping) = damping(path) {
            line("damped", damping);
        }
        if let Some(missing) = missing_half(path, &report.node) {
            line("hint", missing);
        }
    }
    text
}

fn state(path: &Path) -> String {
    match path.direction {
        Some(direction) => format!("{}, {direction}", path.state),
        None => path.state.to_string(),
    }
}

fn priority(path: &Path) -> String {
    match (path.priority, path.rank) {
        (Priority::High, None) => "high".to_owned(),
        (Priority::Low, None) => "low".to_owned(),
        (Priority::High, Some(rank)) => format!("high {rank}"),
        (Priority::Low, Some(rank)) => format!("low {rank}"),
        (Priority::Unknown, _) => String::new(),
    }
}

fn percent(share: f64) -> String {
    let permille = (share.clamp(0.0, 1.0) * 1000.0).round() as u64;
    format!("{}.{}%", permille / 10, permille % 10)
}

/// What tests of paths found: a line for each direction, and what is in the way.
#[must_use]
pub fn path_tests(report: &PathTests, style: Style) -> String {
    let mut text = String::new();
    for test in &report.tests {
        let head = format!("{} over {}, {}", test.peer, test.network, test.kind);
        let works = if test.works { "works" } else { "does not work" };
        let colour = match (test.works, test.findings.is_empty()) {
            (true, true) => Colour::Good,
            (true, false) => Colour::Odd,
            (false, _) => Colour::Bad,
        };
        let head = style.paint(Colour::Head, &head);
        text += &format!("{head}: {}\n", style.paint(colour, works));
        text += &format!("  {:<12}{} to {}\n", "ends", test.local, test.remote);
        for (name, direction) in [("there", &test.there), ("back", &test.back)] {
            let number =
                |value: Option<u32>| value.map_or("unknown".to_owned(), |value| value.to_string());
            let lost =
                direction.loss.map_or(String::new(), |loss| format!(", {} lost", percent(loss)));
            let largest = direction
                .largest
                .map_or(String::new(), |largest| format!(", up to {largest} bytes whole"));
            let (sent, arrived) = (number(direction.sent), number(direction.arrived));
            text += &format!("  {name:<12}{sent} sent, {arrived} arrived{lost}{largest}\n");
        }
        if let Some([least, mean, most]) = test.rtt_min_avg_max_us {
            let times = format!("{} / {} / {}", fine(least), fine(mean), fine(most));
            text += &format!("  {:<12}{times} (least, mean, most)\n", "round trip");
        }
        for finding in &test.findings {
            text += &format!("  {:<12}{finding}\n", "finding");
        }
    }
    text
}
