//! `mainstay path list` and `path show`.

use api::v1::{Path, PathState, Priority};
use serde::Serialize;

use super::style::{Colour, Style, duration, fine};
use super::table::{Cell, Table};

/// Paths as `--json` shows them.
#[derive(Debug, Serialize)]
pub struct Paths {
    /// Version of this shape: 1.
    pub schema: u32,
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
    table.render(style)
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
        if let (Some(_), PathState::Dead) = (path.rank, path.state) {
            let missing = if path.age_ms.is_none() {
                format!("the half on {} may be missing: define it there", path.peer)
            } else {
                format!("the half on {} may have been deleted", path.peer)
            };
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
