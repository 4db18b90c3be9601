//! `mainstay network list`.

use api::v1::{InterfaceState, NetworkHealth, NetworkInterface, Networks};

use super::style::{Colour, Style, duration};
use super::table::{Cell, Table};

#[cfg(test)]
mod tests;

/// The interfaces of each network, and who of the others was heard.
#[must_use]
pub fn networks(report: &Networks, style: Style) -> String {
    let mut text = String::new();
    if let Some(why) = &report.trouble {
        text.push_str(&format!(
            "interfaces are not polled, so only a lost carrier is noticed: {why}\n\n"
        ));
    }
    if report.networks.is_empty() {
        text.push_str(&format!("{} has no interface in any network\n", report.node));
        return text;
    }
    let heading = [
        "NETWORK",
        "INTERFACE",
        "ROLE",
        "STATE",
        "FOR",
        "POLLS",
        "KIND",
        "RECEIVED",
        "SENT",
        "ERRORS",
        "NOTE",
    ];
    let mut table = Table::new(heading);
    for network in &report.networks {
        for interface in &network.interfaces {
            table.row(row(network, interface));
        }
    }
    text.push_str(&table.render(style));
    for network in &report.networks {
        text.push_str(&format!("\n{}: {}\n", network.name, rule(network)));
        match network.fault.as_deref() {
            None => {}
            Some("global") => text.push_str("It has failed for all.\n"),
            Some(_) => {
                let nodes = network.failed_on.join(", ");
                text.push_str(&format!("It has failed on {nodes} alone; what needs it leaves.\n"));
            }
        }
    }
    text
}

fn row(network: &NetworkHealth, interface: &NetworkInterface) -> [Cell; 11] {
    let state = match interface.state {
        InterfaceState::Up => Cell::new(Colour::Good, "up"),
        InterfaceState::Unsure => Cell::new(Colour::Odd, "unsure"),
        InterfaceState::Down => Cell::new(Colour::Bad, "down"),
    };
    let is_poller = network.poller.as_ref() == Some(&interface.name);
    [
        Cell::from(network.name.as_str()),
        Cell::from(interface.name.as_str()),
        Cell::from(interface.role.as_str()),
        state,
        Cell::from(duration(interface.since_ms)),
        Cell::from(if is_poller { "asks" } else { "" }),
        Cell::from(kind(interface)),
        Cell::from(interface.received.to_string()),
        Cell::from(interface.sent.to_string()),
        Cell::from(interface.errors.to_string()),
        Cell::from(note(interface)),
    ]
}

fn kind(interface: &NetworkInterface) -> String {
    let kind = interface.kind.as_deref().unwrap_or("");
    match interface.below.is_empty() {
        true => kind.to_owned(),
        false => format!("{kind} on {}", interface.below.join("+")),
    }
}

fn note(interface: &NetworkInterface) -> String {
    let mut notes = Vec::new();
    notes.extend(interface.reason.clone());
    if interface.was_heard == Some(false) && interface.came_in == Some(true) {
        notes.push("nobody hears it".to_owned());
    }
    if interface.target == Some(false) {
        notes.push("no target answers it".to_owned());
    }
    if let Some(other) = &interface.misplaced {
        notes.push(format!("hears network {other}: is its cable in the right place?"));
    }
    notes.join("; ")
}

/// How the network is watched, in a sentence.
fn rule(network: &NetworkHealth) -> String {
    let interval = duration(network.poll_interval_ms);
    let mut sentence =
        format!("{} polls of {interval} decide, by {}", network.polls, network.effective_detection);
    if network.effective_detection != network.failure_detection {
        sentence.push_str(&format!(
            " ({} needs three interfaces that hear each other)",
            network.failure_detection
        ));
    }
    let mut nodes: Vec<&str> = network.remotes.iter().map(|remote| remote.node.as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    match nodes.is_empty() {
        true => sentence.push_str("; no other node is heard"),
        false => sentence.push_str(&format!("; heard are {}", nodes.join(", "))),
    }
    sentence
}
