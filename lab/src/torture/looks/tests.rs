use serde_json::json;

use super::*;

/// Statuses as (node, incarnation, state, generation, members).
fn said(statuses: &[(&str, u64, &str, u64, &[&str])]) -> Said {
    let mut said = Said::default();
    for (name, incarnation, state, generation, members) in statuses {
        let status = json!({
            "verdict": "ok",
            "node": { "name": name, "state": state, "incarnation": incarnation },
            "view": { "generation": generation, "hub": null, "members": members, "waiting": null },
        });
        said.note(&serde_json::from_value(status).unwrap());
    }
    said
}

#[test]
fn one_generation_has_one_set_of_members() {
    let both: &[&str] = &["n1", "n2"];
    let good = said(&[("n1", 1, "member", 4, both), ("n2", 1, "member", 4, &["n2", "n1"])]);
    assert_eq!((good.complaints.len(), good.members), (0, 2));
    let two = said(&[("n1", 1, "member", 4, &["n1"]), ("n2", 1, "member", 4, &["n2"])]);
    assert_eq!(two.complaints.len(), 1, "two primaries of one generation: {two:?}");
    let left = said(&[("n1", 1, "member", 4, both), ("n2", 1, "joining", 4, &[])]);
    assert_eq!(left.complaints.len(), 0, "only members speak of their view");
}

#[test]
fn generations_only_grow() {
    let grown = said(&[("n1", 1, "member", 4, &["n1"]), ("n1", 2, "member", 5, &["n1"])]);
    assert_eq!(grown.complaints.len(), 0);
    let back = said(&[("n1", 1, "member", 4, &["n1"]), ("n1", 2, "member", 3, &["n1"])]);
    assert_eq!(back.complaints.len(), 1, "{back:?}");
}

#[test]
fn lives_are_counted_for_each_node() {
    let none: &[&str] = &[];
    let statuses = [1, 2, 2, 9].map(|life| ("n1", life, "joining", 0, none));
    assert_eq!(said(&statuses).lives(), 3);
    assert_eq!(said(&[("n1", 1, "member", 1, none), ("n2", 7, "member", 1, none)]).lives(), 1);
}
