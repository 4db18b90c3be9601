use std::time::Duration;

use super::*;

const SECOND: u64 = 1_000_000_000;

/// Stamps as (node, pid, second), in the order of the file.
fn stamps(list: &[(&str, u32, u64)]) -> Vec<Stamp> {
    let mut counts: BTreeMap<(&str, u32), u64> = BTreeMap::new();
    let stamp = |(node, pid, second): &(&'static str, u32, u64)| {
        let count = counts.entry((node, *pid)).or_default();
        *count += 1;
        let life = Life { node: (*node).to_owned(), pid: *pid, began: 0 };
        Stamp { at: second * SECOND, life, sequence: *count - 1 }
    };
    // Names of nodes are literals here.
    let list: Vec<(&'static str, u32, u64)> = list
        .iter()
        .map(|(node, pid, second)| (if *node == "n1" { "n1" } else { "n2" }, *pid, *second))
        .collect();
    list.iter().map(stamp).collect()
}

/// Guards at work, as (node, from second, to second).
fn guarded(spans: &[(&str, u64, u64)]) -> Guarded {
    let mut guarded = Guarded::default();
    for (number, (node, from, to)) in spans.iter().enumerate() {
        let machine = format!("{node}.{number}");
        guarded.note(&machine, node, Duration::from_secs(*from), true);
        guarded.note(&machine, node, Duration::from_secs(*to), false);
    }
    guarded
}

fn judged(list: &[(&str, u32, u64)], spans: &[(&str, u64, u64)]) -> (usize, u64) {
    let (stamps, guarded) = (stamps(list), guarded(spans));
    let (breaches, excused) =
        Written { service: "s", stamps: &stamps, guarded: &guarded }.breaches();
    (breaches.len(), excused)
}

#[test]
fn one_life_after_the_other_is_no_breach() {
    let list = [("n1", 7, 10), ("n1", 7, 11), ("n2", 9, 12), ("n2", 9, 13), ("n1", 8, 14)];
    assert_eq!(judged(&list, &[("n1", 0, 20), ("n2", 0, 20)]), (0, 0));
}

#[test]
fn a_stamp_of_an_older_life_is_a_breach() {
    let list = [("n1", 7, 10), ("n2", 9, 12), ("n1", 7, 13), ("n2", 9, 14), ("n1", 7, 15)];
    let both = [("n1", 0, 20), ("n2", 0, 20)];
    assert_eq!(judged(&list, &both), (1, 0), "told once for each life");
    let (stamps, guarded) = (stamps(&list), guarded(&both));
    let (breaches, _) = Written { service: "s", stamps: &stamps, guarded: &guarded }.breaches();
    assert!(breaches[0].what.contains("wrote 2 stamps after 9 of n2"), "{breaches:?}");
    assert_eq!(breaches[0].at, 13 * SECOND);
    let same_node = [("n1", 7, 10), ("n1", 8, 12), ("n1", 7, 12)];
    assert_eq!(judged(&same_node, &both), (1, 0), "two at once on one node");
}

#[test]
fn the_order_is_that_of_the_file_and_not_that_of_the_times() {
    // It was stopped between the clock and the write.
    let list = [("n1", 7, 10), ("n2", 9, 12), ("n1", 7, 11)];
    assert_eq!(judged(&list, &[("n1", 0, 20), ("n2", 0, 20)]), (1, 0));
}

#[test]
fn only_a_guard_at_work_can_be_blamed() {
    let list = [("n1", 7, 10), ("n2", 9, 12), ("n1", 7, 13)];
    let with = |spans: &[(&str, u64, u64)]| judged(&list, spans);
    assert_eq!(with(&[("n2", 0, 20)]), (0, 1), "that of another node does not count");
    assert_eq!(with(&[("n1", 0, 12), ("n2", 0, 20)]), (0, 1), "it was stopped before");
    assert_eq!(with(&[("n1", 12, 20), ("n2", 0, 20)]), (0, 1), "it has just gone on");
    assert_eq!(with(&[("n1", 0, 9), ("n1", 10, 20)]), (1, 0), "it has gone on long ago");
}

#[test]
fn nothing_written_and_lost_stamps_are_told() {
    let guarded = Guarded::default();
    let complaints =
        |stamps: &[Stamp]| Written { service: "s", stamps, guarded: &guarded }.complaints().len();
    let mut list = stamps(&[("n1", 7, 10), ("n1", 7, 11), ("n1", 7, 12), ("n2", 9, 13)]);
    assert_eq!(complaints(&list), 0);
    list.remove(1);
    assert_eq!(complaints(&list), 1);
    assert_eq!(complaints(&[]), 1);
}

#[test]
fn who_wrote_in_a_time_is_told() {
    let list = stamps(&[("n1", 7, 10), ("n1", 7, 11), ("n2", 9, 12), ("n2", 9, 13)]);
    let guarded = Guarded::default();
    let written = Written { service: "s", stamps: &list, guarded: &guarded };
    assert_eq!(written.lives_between((11 * SECOND, 13 * SECOND)), ["7 of n1", "9 of n2"]);
    assert_eq!(written.lives_between((12 * SECOND, 13 * SECOND)), ["9 of n2"]);
    assert!(written.lives_between((14 * SECOND, 15 * SECOND)).is_empty());
}
