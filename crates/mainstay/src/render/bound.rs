//! `mainstay bound`.

use api::v1::Bound;

use super::style::Style;
use super::table::{Cell, Table};

/// Exact, as in the configuration: bounds are compared with measurements.
fn duration(millis: u64) -> String {
    crate::config::duration::format(std::time::Duration::from_millis(millis))
}

/// The bounds with their reasons.
#[must_use]
pub fn bound(bound: &Bound, style: Style) -> String {
    let timing = &bound.timing;
    let mut text = format!(
        "detection {}: heartbeat {}, path timeout {}, lease {}, release {}, F {}\n",
        bound.detection,
        duration(timing.heartbeat_ms),
        duration(timing.path_timeout_ms),
        duration(timing.lease_ms),
        duration(timing.release_ms),
        duration(timing.fence_wait_ms)
    );
    if bound.services.is_empty() {
        text.push_str("no service is configured\n");
        return text;
    }
    text.push_str("\nwhen the node of a service is lost, at most:\n\n");
    let heading = [
        "SERVICE",
        "CLASS",
        "DETECTED",
        "+ AGREED",
        "F",
        "STARTS AFTER",
        "+ START",
        "= RUNS AFTER",
    ];
    let mut table = Table::new(heading);
    for service in &bound.services {
        table.row([
            Cell::from(service.name.as_str()),
            Cell::from(service.class.as_str()),
            Cell::from(duration(service.detection_ms)),
            Cell::from(duration(service.view_change_ms)),
            Cell::from(service.fence_wait_ms.map_or_else(|| "by proof only".to_owned(), duration)),
            Cell::from(service.free_ms.map_or_else(|| "the proof".to_owned(), duration)),
            Cell::from(duration(service.start_budget_ms)),
            Cell::from(service.sum_ms.map_or_else(|| "no bound".to_owned(), duration)),
        ]);
    }
    text.push_str(&table.render(style));
    // Services with equal reasons share them.
    let mut told: Vec<(&[String], Vec<&str>)> = Vec::new();
    for service in &bound.services {
        match told.iter_mut().find(|(why, _)| *why == service.why.as_slice()) {
            Some((_, names)) => names.push(&service.name),
            None => told.push((&service.why, vec![&service.name])),
        }
    }
    for (why, names) in told {
        text.push_str(&format!("\nwhy, for {}:\n", names.join(", ")));
        for sentence in why {
            text.push_str(&format!("  {sentence}\n"));
        }
    }
    text.push_str("\nprovided that:\n");
    for sentence in &bound.assumptions {
        text.push_str(&format!("  {sentence}\n"));
    }
    text
}
