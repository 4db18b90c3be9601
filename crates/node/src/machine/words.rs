//! Refusals and states in words for people.

use group::Rejected;

use crate::{Refused, RefusedKind};

pub(super) fn refused(refusal: &engine::Refusal) -> Refused {
    use engine::Refusal;
    let kind = match refusal {
        Refusal::NotMember => RefusedKind::NoView,
        Refusal::UnknownService { .. } | Refusal::UnknownNode { .. } => RefusedKind::Unknown,
        Refusal::Stale { .. } => RefusedKind::Stale,
        Refusal::NotNow { .. } => RefusedKind::NotNow,
    };
    Refused { kind, sentence: refusal.to_string() }
}

pub(super) fn rejection(rejected: &Rejected) -> Refused {
    let (kind, sentence) = match rejected {
        Rejected::Busy => (RefusedKind::Busy, "too many commands at once".into()),
        Rejected::NoView(waiting) => (RefusedKind::NoView, format!("no primary view: {waiting}")),
        Rejected::SeededPeer(node) => (
            RefusedKind::NotNow,
            format!("{node} is in a view already; this node joins it by itself"),
        ),
        Rejected::Alive(node, age) => (
            RefusedKind::NotNow,
            format!("{node} is alive: it was heard {} ms ago", age.as_millis()),
        ),
        Rejected::HeardBy(node, by) => {
            (RefusedKind::NotNow, format!("{node} is alive: {by} hears it"))
        }
        Rejected::Seeded => {
            (RefusedKind::NotNow, "this node is in a primary view already".to_owned())
        }
        Rejected::UnknownNode(node) => {
            (RefusedKind::Unknown, format!("{node} is not another node of this cluster"))
        }
    };
    Refused { kind, sentence }
}

pub(super) fn path_state(state: transport::PathState) -> &'static str {
    use transport::PathState as State;
    match state {
        State::Alive => "alive",
        State::Trouble => "in trouble",
        State::Dead => "dead",
        State::Resting => "resting",
    }
}

pub(super) fn broken_direction(direction: transport::Direction) -> &'static str {
    match direction {
        transport::Direction::Incoming => " (not heard)",
        transport::Direction::Outgoing => " (not hearing us)",
        transport::Direction::Both => " (both directions)",
    }
}
