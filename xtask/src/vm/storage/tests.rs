use std::time::Duration;

use super::{Span, Write, demand_end, demand_loss, demand_order, good, writes};
use crate::vm::console::Line;

fn span(after: u64) -> Span {
    Span { after: Duration::from_millis(after), by: Duration::from_millis(after + 10) }
}

fn line(text: &str, after: u64) -> Line {
    Line { whole: text.to_owned(), stamp: None, text: text.to_owned(), came: span(after) }
}

/// A write that began at the one moment and ended at the other.
fn write(number: u64, began: u64, ended: Option<(bool, u64)>) -> Write {
    let ended = ended.map(|(good, at)| (good, span(at)));
    Write { number, began: span(began), ended }
}

#[test]
fn writes_are_read_from_a_console() {
    let lines = [
        line("storage: write 1 begins", 0),
        line("another line", 10),
        line("half a lin[    5.000000] storage: write 1 is good", 20),
        line("storage: write 2 begins", 30),
        line("storage: write 2 is bad", 40),
        // The writer was started again, and its machine was reset.
        line("storage: write 1 begins", 50),
    ];
    let found = writes(&lines).expect("they make sense");
    let expected =
        [write(1, 0, Some((true, 20))), write(2, 30, Some((false, 40))), write(1, 50, None)];
    assert_eq!(found, expected);
    assert_eq!(good(&found), [1]);
    for odd in ["storage: write 1 is good", "storage: write x begins", "storage: write 1 is"] {
        let text = format!("{:?}", writes(&[line(odd, 0)]));
        assert!(text.starts_with("Err"), "{odd}: {text}");
    }
    let other = [line("storage: write 1 begins", 0), line("storage: write 2 is good", 10)];
    assert!(writes(&other).is_err());
}

#[test]
fn a_disk_is_used_after_the_last_write() {
    let before = [write(1, 0, Some((true, 20))), write(2, 30, None)];
    assert_eq!(demand_end("n1", &before, span(50)).expect("in order"), span(20));
    let said = |writes: &[Write], used| {
        demand_end("n1", writes, span(used)).expect_err("not in order").to_string()
    };
    assert!(said(&before, 35).contains("write 2 of n1 began"), "the second one's span overlaps");
    assert!(said(&before, 20).contains("write 2 of n1 began"));
    assert!(said(&before[..1], 25).contains("last good write of n1 ended"));
    assert!(said(&before[1..], 50).contains("no write of n1 succeeded"));
    assert!(said(&[], 50).contains("no write of n1 succeeded"));
}

#[test]
fn whoever_lost_a_disk_writes_no_more() {
    // The second one began before the disk was taken at 50.
    let story = [
        write(1, 0, Some((true, 20))),
        write(2, 30, Some((true, 90))),
        write(3, 100, Some((false, 120))),
        write(4, 130, Some((false, 140))),
        write(5, 150, None),
    ];
    assert_eq!(demand_loss("n1", &story, span(50)).expect("it lost"), 2);
    let said = |writes: &[Write], taken| {
        demand_loss("n1", writes, span(taken)).expect_err("it did not lose").to_string()
    };
    assert!(said(&story, 20).contains("write 2 of n1 began 0.00 s after"));
    let again = [story[0], write(2, 30, Some((false, 40))), write(3, 45, Some((true, 60)))];
    assert!(said(&again, 50).contains("write 3 of n1 succeeded after one had failed"));
    assert!(said(&story[..2], 50).contains("did not try"));
    assert!(said(&story[..2], 150).contains("did not try"));
    assert!(said(&story[2..], 50).contains("no write of n1 succeeded before"));
}

#[test]
fn lines_stand_in_order_and_none_is_missing() {
    let lines = "n1 1\nn1 2\nn1 3\nn2 1\nn2 2\n";
    assert_eq!(demand_order(lines, ("n1", &[1, 2]), "n2").expect("in order"), (3, 2));
    let said = |lines, good: &[u64]| {
        demand_order(lines, ("n1", good), "n2").expect_err("not in order").to_string()
    };
    assert!(said(lines, &[1, 2, 3, 4]).starts_with("line 4 of n1 was written"));
    assert!(said("n1 1\nn2 1\nn1 2\n", &[1, 2]).starts_with("they wrote in turns"));
    assert!(said("n1 1\nn2 1\nn3 1\n", &[1]).starts_with("they wrote in turns"));
    assert!(said("n1 1\n", &[1]).starts_with("one of them wrote nothing"));
    assert!(said("n2 1\n", &[]).starts_with("one of them wrote nothing"));
    assert!(said("n1 1\n\nn2 1\n", &[1]).starts_with("a line is no name and number"));
}
