//! Membership and nodes.

use api::v1::{Membership, Node, Nodes};

use super::services::stale;
use super::style::{Colour, Style, duration};
use super::table::{Cell, Table};

/// `mainstay membership`.
#[must_use]
pub fn membership(membership: &Membership, style: Style) -> String {
    let view = &membership.view;
    let mut text = stale(view.primary, style);
    if let Some(waiting) = &view.waiting {
        text.push_str(&format!("{} waits: {waiting}\n", membership.node));
    }
    if view.generation == 0 {
        text.push_str("no view was formed yet\n");
    } else {
        let since =
            view.since_ms.map_or_else(String::new, |since| format!(", {} old", duration(since)));
        text.push_str(&format!(
            "view {} of lineage {}, hub {}{since}\n",
            view.generation,
            view.lineage,
            view.hub.as_deref().unwrap_or("none")
        ));
        if view.primary {
            let spare = membership.spare;
            let sentence = match spare {
                0 => "no member can be lost without the view".to_owned(),
                1 => "1 member can be lost, and the rest goes on".to_owned(),
                _ => format!("{spare} members can be lost at once, and the rest goes on"),
            };
            text.push_str(&format!("{sentence}\n"));
            if let Some(tie_breaker) = &view.tie_breaker {
                text.push_str(&format!("ties are broken by {tie_breaker}\n"));
            }
        }
    }
    let mut table = Table::new(["MEMBER", "ID", "INCARNATION", "HEARD", "NOTE"]);
    for member in &membership.members {
        let heard = match member.age_ms {
            _ if member.name == membership.node => "here".to_owned(),
            Some(age) => format!("{} ago", duration(age)),
            None => "never".to_owned(),
        };
        table.row([
            Cell::from(member.name.as_str()),
            Cell::from(member.id.to_string()),
            Cell::from(member.incarnation.to_string()),
            Cell::from(heard),
            Cell::new(Colour::Odd, if member.jeopardy { "one path left" } else { "" }),
        ]);
    }
    if !membership.members.is_empty() {
        text.push('\n');
        text.push_str(&table.render(style));
    }
    if !membership.absent.is_empty() {
        let absent = membership.absent.iter().map(|node| format!("{} ({})", node.name, node.state));
        text.push_str(&format!("\nnot in it: {}\n", absent.collect::<Vec<_>>().join(", ")));
    }
    text
}

/// `mainstay node list`.
#[must_use]
pub fn nodes(nodes: &Nodes, style: Style) -> String {
    let mut table = Table::new(["NODE", "ID", "STATE", "HEARD", "SERVICES", "NOTE"]);
    for node in &nodes.nodes {
        table.row([
            Cell::from(node.name.as_str()),
            Cell::from(node.id.to_string()),
            Cell::new(node.state, node.state.to_string()),
            Cell::from(heard(node)),
            Cell::from(if node.online { "online" } else { "standby" }),
            Cell::new(Colour::Odd, node.waiting.clone().unwrap_or_default()),
        ]);
    }
    format!("{}{}", stale(nodes.primary, style), table.render(style))
}

/// `mainstay node show`.
#[must_use]
pub fn node(node: &Node, primary: bool, style: Style) -> String {
    let mut text = stale(primary, style);
    let state = style.paint(node.state.into(), &node.state.to_string());
    text.push_str(&format!("{} (id {}) is {state}, heard {}\n", node.name, node.id, heard(node)));
    if let Some(incarnation) = node.incarnation {
        text.push_str(&format!("incarnation {incarnation}\n"));
    }
    text.push_str(if node.online {
        "online: it takes services\n"
    } else {
        "standby: it takes no services\n"
    });
    if node.jeopardy {
        text.push_str("only one usable path to it is left\n");
    }
    if let Some(wait) = node.fence_wait_ms {
        text.push_str(&format!("its services may start elsewhere in {}\n", duration(wait)));
    }
    if let Some(waiting) = &node.waiting {
        text.push_str(&format!("{waiting}\n"));
    }
    text
}

fn heard(node: &Node) -> String {
    match node.age_ms {
        Some(0) => "now".to_owned(),
        Some(age) => format!("{} ago", duration(age)),
        None => "never".to_owned(),
    }
}
