use std::collections::BTreeMap;

use super::{NEVER_LANDED, Report};

#[test]
fn a_kind_that_never_lands_is_told_when_that_is_no_chance() {
    let count = |kind: &str, number| BTreeMap::from([(kind.to_owned(), number)]);
    let mut report = Report { voids: count("move", NEVER_LANDED - 1), ..Report::default() };
    assert_eq!(report.never_landed(), None);
    report.voids = count("move", NEVER_LANDED);
    let told = report.never_landed();
    assert_eq!(told.as_deref(), Some("blows that never landed: move (0 of 20)"));
    report.kinds = count("move", 1);
    assert_eq!(report.never_landed(), None);
}
