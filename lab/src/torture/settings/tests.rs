use super::*;

#[test]
fn every_change_changes_something_and_all_kinds_are_drawn() {
    let mut chance = Chance::new(7);
    let mut settings = Settings::first();
    let mut kinds = [0; 6];
    let mut idle = 0;
    for _ in 0..2_000 {
        let change = settings.draw(3, &mut chance);
        kinds[match change {
            Change::Order { .. } => 0,
            Change::Priority { .. } => 1,
            Change::Timeouts { .. } => 2,
            Change::Restarts { .. } => 3,
            Change::Add => 4,
            Change::Remove => 5,
        }] += 1;
        let changed = settings.with(change);
        // Numbers may be drawn twice in a row.
        idle += u32::from(changed == settings);
        settings = changed;
    }
    assert!(kinds.iter().all(|count| *count > 50), "{kinds:?}");
    assert!(idle < 200, "{idle}");
}

#[test]
fn the_last_service_comes_and_goes() {
    let first = Settings::first();
    assert_eq!(first.names(), ["s0", "s1", "s2"]);
    let more = first.with(Change::Add);
    assert_eq!(more.names(), ["s0", "s1", "s2", "s3"]);
    assert_eq!(more.with(Change::Remove), first);
}

#[test]
fn a_configuration_without_a_number_is_the_first() {
    assert_eq!(number_in("[cluster]\n# number 12\n"), 12);
    assert_eq!(number_in("[cluster]\n"), 0);
}
