//! Verdicts on traces made by hand.

use std::time::Duration;

use super::Trace;

fn ms(at: u64) -> Duration {
    Duration::from_millis(at)
}

/// Probes every 10 ms from 0 on; answers as (probe, who, received at ms).
fn trace(probes: u64, answers: &[(u64, &str, u64)]) -> Trace {
    let mut trace = Trace::default();
    for number in 0..probes {
        trace.note_sent(ms(number * 10), true);
    }
    for (number, name, at) in answers {
        trace.note_answer(*number, name, 7, ms(*at));
    }
    trace
}

#[test]
fn a_takeover_has_one_change_and_one_gap() {
    let trace =
        trace(8, &[(0, "n1", 1), (1, "n1", 11), (5, "n2", 52), (6, "n2", 61), (7, "n2", 71)]);
    let verdict = trace.verdict();
    assert_eq!(verdict.sent, 8);
    assert_eq!(verdict.lost, 3);
    assert_eq!(verdict.late_answers, 0);
    assert_eq!(verdict.changes.len(), 1);
    assert_eq!((verdict.changes[0].from.as_str(), verdict.changes[0].to.as_str()), ("n1", "n2"));
    assert_eq!(verdict.changes[0].milliseconds, 41.0);
    assert_eq!(verdict.longest_gap.expect("probes were sent").milliseconds, 41.0);
    assert_eq!(trace.last_responder(), Some("n2"));
}

#[test]
fn the_newest_answer_before_a_moment_is_found() {
    let trace = trace(8, &[(0, "n1", 1), (1, "n1", 35), (4, "n2", 52)]);
    let before = [1, 2, 36, 60].map(|at| trace.answered_before(ms(at)));
    assert_eq!(before, [None, Some(ms(0)), Some(ms(10)), Some(ms(40))]);
}

#[test]
fn an_old_owner_that_still_answers_is_counted() {
    let trace = trace(
        6,
        &[(0, "n1", 1), (1, "n2", 11), (2, "n1", 21), (3, "n2", 31), (4, "n1", 44), (5, "n2", 51)],
    );
    let verdict = trace.verdict();
    assert_eq!(verdict.late_answers, 2);
    assert_eq!(verdict.overlap_milliseconds, 33.0);
    assert_eq!(trace.runs().len(), 6);
}

#[test]
fn two_answers_to_one_probe_are_counted() {
    let trace = trace(2, &[(0, "n1", 1), (0, "n2", 2), (1, "n2", 11)]);
    assert_eq!(trace.verdict().answered_twice, 1);
    assert_eq!(trace.verdict().lost, 0);
}

#[test]
fn silence_at_the_start_and_at_the_end_counts() {
    let late = trace(11, &[(4, "n1", 45), (5, "n1", 51)]);
    assert_eq!(late.longest_gap().expect("probes").milliseconds, 49.0);
    let none = trace(11, &[]);
    assert_eq!(none.longest_gap().expect("probes").milliseconds, 100.0);
    assert_eq!(none.verdict().lost, 11);
    assert!(Trace::default().longest_gap().is_none());
}

#[test]
fn a_part_keeps_its_numbers() {
    let whole = trace(10, &[(1, "n1", 12), (6, "n2", 61), (7, "n2", 71)]);
    let part = whole.between(ms(50), ms(80));
    assert_eq!(part.first_number, 5);
    let verdict = part.verdict();
    assert_eq!((verdict.sent, verdict.lost), (3, 1));
    assert_eq!(verdict.changes, []);
    assert_eq!(part.last_responder(), Some("n2"));
}

#[test]
fn seconds_add_up() {
    let whole = trace(250, &[(0, "n1", 3), (120, "n1", 1201), (240, "n2", 2401)]);
    let seconds = whole.per_second();
    assert_eq!(seconds.iter().map(|second| second.sent).collect::<Vec<_>>(), [100, 100, 50]);
    assert_eq!(seconds[2].answers.get("n2"), Some(&1));
}

#[test]
fn answers_to_unknown_probes_are_ignored() {
    let mut whole = trace(1, &[]);
    whole.note_answer(5, "n9", 1, ms(3));
    assert!(whole.answers.is_empty() && whole.responders.is_empty());
}

/// A question every 10 ms; each has the answers of these.
fn asked(answers: &[&[&str]]) -> Trace {
    let mut trace = Trace::default();
    for (number, names) in (0..).zip(answers) {
        let at = Duration::from_millis(number * 10);
        trace.note_sent(at, true);
        for name in *names {
            trace.note_answer(number, name, 0, at);
        }
    }
    trace
}

#[test]
fn two_stations_of_one_name_answer_more_than_was_asked() {
    assert_eq!(asked(&[&["moving"], &["moving"], &["moving"]]).surplus(), (0, 0));
    assert_eq!(asked(&[&["moving"], &["moving", "moving"], &["moving"]]).surplus(), (1, 0));
    assert_eq!(asked(&[&["n1"], &["n1", "n2"], &["n2"]]).surplus(), (1, 1));
}

#[test]
fn an_answer_that_comes_late_is_no_second_one() {
    assert_eq!(asked(&[&["n1"], &[], &["n1", "n1"], &["n1"]]).surplus(), (0, 0));
    assert_eq!(asked(&[&["n1"], &[], &[], &["n1", "n1", "n2"]]).surplus(), (0, 0));
    // It pays once, and not for ever.
    assert_eq!(asked(&[&[], &["n1", "n1"], &["n1", "n1"]]).surplus(), (1, 0));
    let mut answers: Vec<&[&str]> = vec![&[]];
    answers.extend([&["n1"][..]; 10]);
    answers.push(&["n1", "n1"]);
    assert_eq!(asked(&answers).surplus(), (1, 0));
    // A part of a trace may begin with the answer to the question before it.
    let whole = asked(&[&[], &["n1", "n1"], &["n1"]]);
    let part = whole.between(Duration::from_millis(5), Duration::from_secs(1));
    assert_eq!((part.first_number, part.surplus()), (1, (0, 0)));
}
