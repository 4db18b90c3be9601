//! Services: the table of all, and one in full.

use api::v1::{Service, ServiceMode, ServiceState, Services};

use super::style::{Colour, Style, duration};
use super::table::{Cell, Table};

/// `mainstay service list`.
#[must_use]
pub fn services(services: &Services, style: Style) -> String {
    if services.services.is_empty() {
        return "no service is configured\n".into();
    }
    let table = service_table(&services.services, services.primary, style);
    format!("{}{table}", stale(services.primary, style))
}

/// Says that what follows is old.
pub(super) fn stale(primary: bool, style: Style) -> String {
    if primary {
        return String::new();
    }
    let word = style.paint(Colour::Bad, "CUT OFF");
    format!("{word}  this node is in no primary view: what it says is old\n")
}

/// A node in no primary view only knows what was agreed when it last was in one.
fn state(service: &Service, primary: bool) -> Cell {
    use ServiceState::{Stopped, Unknown};
    match service.state {
        state if primary || matches!(state, Stopped | Unknown) => {
            Cell::new(state, state.to_string())
        }
        state => Cell::new(Colour::Odd, format!("was {state}")),
    }
}

pub(super) fn service_table(services: &[Service], primary: bool, style: Style) -> String {
    let mut table = Table::new(["SERVICE", "STATE", "NODE", "SINCE", "NOTE"]);
    for service in services {
        table.row([
            Cell::from(service.name.as_str()),
            state(service, primary),
            Cell::from(service.node.as_deref().unwrap_or("-")),
            Cell::from(service.since_ms.map_or_else(|| "-".into(), duration)),
            Cell::new(Colour::Odd, note(service)),
        ]);
    }
    table.render(style)
}

/// What is not as one would expect.
fn note(service: &Service) -> String {
    let mut notes = Vec::new();
    let manual = service.mode.iter().filter(|(_, mode)| **mode == ServiceMode::Manual);
    let manual: Vec<&str> = manual.map(|(node, _)| node.as_str()).collect();
    if !manual.is_empty() && manual.len() == service.mode.len() {
        notes.push("manual".to_owned());
    } else if !manual.is_empty() {
        notes.push(format!("manual on {}", manual.join(", ")));
    }
    for (node, reason) in &service.blocked {
        notes.push(format!("blocked on {node}: {reason}"));
    }
    if let Some(reason) = &service.reason
        && service.state != ServiceState::Running
    {
        notes.push(reason.clone());
    }
    if let Some(age) = service.age_ms
        && age > 0
    {
        notes.push(format!("as of {} ago", duration(age)));
    }
    notes.join("; ")
}

/// `mainstay service show`.
#[must_use]
pub fn service(service: &Service, primary: bool, style: Style) -> String {
    let mut text = stale(primary, style);
    let state = style.paint(service.state.into(), &service.state.to_string());
    let is = if primary { "is" } else { "was" };
    let place = match &service.node {
        Some(node) => format!(" on {node}"),
        None => String::new(),
    };
    let since =
        service.since_ms.map_or_else(String::new, |since| format!(" for {}", duration(since)));
    text.push_str(&format!("{} {is} {state}{place}{since}\n", service.name));
    if let Some(reason) = &service.reason {
        text.push_str(&format!("{reason}\n"));
    }
    text.push('\n');
    let mut table = Table::new(["NODE", "MODE", "FAILURES", "BLOCKED"]);
    for node in &service.nodes {
        let mode = service.mode.get(node).copied().unwrap_or_default();
        let failures = service.failures.get(node).copied().unwrap_or(0);
        table.row([
            Cell::from(node.as_str()),
            Cell::from(mode.to_string()),
            Cell::from(if failures > 0 { failures.to_string() } else { String::new() }),
            Cell::new(Colour::Odd, service.blocked.get(node).cloned().unwrap_or_default()),
        ]);
    }
    text.push_str(&table.render(style));
    if !service.resources.is_empty() {
        text.push('\n');
        let mut table = Table::new(["RESOURCE", "KIND", "STATE", "WHAT"]);
        for resource in &service.resources {
            table.row([
                Cell::from(resource.name.as_str()),
                Cell::from(resource.kind.as_str()),
                Cell::from(resource.state.to_string()),
                Cell::from(resource.detail.as_str()),
            ]);
        }
        text.push_str(&table.render(style));
    }
    text
}
