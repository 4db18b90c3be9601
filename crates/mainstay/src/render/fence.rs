//! `mainstay fence`.

use api::v1::{FenceHistory, FenceNode, FenceRecord, FenceVerification, FenceVerified, Fencing};

use super::style::{Colour, Style, duration};
use super::table::{Cell, Table};
use crate::fence::memory::VERIFY;

/// All nodes, one line each.
#[must_use]
pub fn fencing(fencing: &Fencing, style: Style) -> String {
    let mut table = Table::new(["NODE", "LEVELS", "CHECKED", "NOW", "LAST"]);
    for node in &fencing.nodes {
        let levels = node.levels.iter().map(|level| {
            let agents = level.agents.iter().map(|agent| short(&agent.agent));
            agents.collect::<Vec<_>>().join(" + ")
        });
        let levels: Vec<String> = levels.collect();
        let levels = match levels.is_empty() {
            true => Cell::new(Colour::Odd, "none"),
            false => Cell::from(levels.join(", then ")),
        };
        let now = node.running.as_ref().map_or_else(Cell::default, |running| {
            let text = match running.pause_ms {
                Some(pause) => format!("again in {}", duration(pause)),
                None => format!("level {}: {}", running.level, running.verb),
            };
            Cell::new(Colour::Odd, text)
        });
        let last = node.last.as_ref().map_or_else(Cell::default, result);
        table.row([
            Cell::from(node.node.as_str()),
            levels,
            checked(node.verified.as_ref(), node.levels.is_empty()),
            now,
            last,
        ]);
    }
    format!(
        "seen from {}; a machine that was turned off is {}\n\n{}",
        fencing.node,
        if fencing.policy == "off" { "left off" } else { "turned on again" },
        table.render(style)
    )
}

/// One node in full.
#[must_use]
pub fn fence_node(node: &FenceNode, style: Style) -> String {
    let mut text = format!("{}\n", style.paint(Colour::Head, &node.node));
    if node.levels.is_empty() {
        text.push_str("nobody can turn it off: there is no [[fence]] for it\n");
    }
    for level in &node.levels {
        text.push_str(&format!("level {}, within {}\n", level.level, duration(level.timeout_ms)));
        for agent in &level.agents {
            text.push_str(&format!("  {}\n", agent.agent));
            for (key, value) in &agent.options {
                text.push_str(&format!("    {key} = {value}\n"));
            }
        }
    }
    if let Some(verified) = &node.verified {
        text.push_str(&format!("\nchecked {} ago", duration(verified.age_ms)));
        text.push_str(&match verified.good_at_ms {
            _ if verified.ok => "\n".to_owned(),
            Some(at) => format!("; all agents answered last at {}\n", super::stamp(at)),
            None => "; never have all agents answered\n".to_owned(),
        });
        text.push_str(&checks(verified, style));
    }
    if let Some(last) = &node.last {
        text.push_str(&format!("\nlast: {}\n", sentence(last)));
    }
    text
}

/// What was done, oldest first.
#[must_use]
pub fn fence_history(history: &FenceHistory, style: Style) -> String {
    if history.records.is_empty() {
        return format!(
            "{} has neither turned anything off or on nor checked agents\n",
            history.node
        );
    }
    let mut table = Table::new(["WHEN", "NODE", "LEVEL", "AGENTS", "BY", "TOOK", "RESULT"]);
    for record in &history.records {
        table.row([
            Cell::from(super::journal::stamp(record.at_ms)),
            Cell::from(record.node.as_str()),
            Cell::from(record.level.to_string()),
            Cell::from(record.agents.join(" + ")),
            Cell::from(if record.by_hand { "hand" } else { "cluster" }),
            Cell::from(duration(record.took_ms)),
            result(record),
        ]);
    }
    table.render(style)
}

/// What the agents of a node said to a check.
#[must_use]
pub fn fence_verification(found: &FenceVerification, style: Style) -> String {
    let verdict = match found.verified.ok {
        true => style.paint(Colour::Good, "all agents answer"),
        false => style.paint(Colour::Bad, "not all agents can be relied on"),
    };
    let (node, by) = (&found.node, &found.by);
    format!("{node}, from {by}: {verdict}\n\n{}", checks(&found.verified, style))
}

fn checks(verified: &FenceVerified, style: Style) -> String {
    let mut table = Table::new(["LEVEL", "AGENT", "POWER", "TOOK", "TROUBLE"]);
    for check in &verified.checks {
        let error = check.error.as_deref().unwrap_or_default();
        table.row([
            Cell::from(check.level.to_string()),
            Cell::from(short(&check.agent)),
            Cell::from(check.power.as_deref().unwrap_or("?")),
            Cell::from(duration(check.took_ms)),
            Cell::new(Colour::Bad, error),
        ]);
    }
    table.render(style)
}

fn checked(verified: Option<&FenceVerified>, is_unfenced: bool) -> Cell {
    match verified {
        Some(verified) if verified.ok => {
            Cell::new(Colour::Good, format!("{} ago", duration(verified.age_ms)))
        }
        Some(verified) => {
            Cell::new(Colour::Bad, format!("failed {} ago", duration(verified.age_ms)))
        }
        None if is_unfenced => Cell::default(),
        None => Cell::new(Colour::Odd, "never"),
    }
}

fn result(record: &FenceRecord) -> Cell {
    let is_check = record.verb == VERIFY;
    match &record.error {
        None if is_check => Cell::new(Colour::Good, "answers"),
        Some(error) if is_check => Cell::new(Colour::Bad, format!("no answer: {error}")),
        None => Cell::new(Colour::Good, record.verb.clone()),
        Some(error) => Cell::new(Colour::Bad, format!("not {}: {error}", record.verb)),
    }
}

fn sentence(record: &FenceRecord) -> String {
    let when = super::journal::stamp(record.at_ms);
    let took = duration(record.took_ms);
    match &record.error {
        None => format!("{when}: {} after {took}, level {}", record.verb, record.level),
        Some(error) => format!("{when}: not {}, level {}: {error}", record.verb, record.level),
    }
}

/// A program without where it stands.
fn short(agent: &str) -> &str {
    agent.rsplit('/').next().unwrap_or(agent)
}
