use std::time::Duration;

use super::*;
use crate::node_check::Subject;

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn program(number: usize) -> Question {
    Question { programs: vec![format!("/dead/{number}")], ..Question::default() }
}

fn wires() -> Question {
    Question { addresses: vec!["10.77.0.1".parse().expect("plain")], ..Question::default() }
}

fn hangs(why: &str) -> Cause {
    Cause::Hangs(why.to_owned())
}

fn asker(part: usize) -> Asker {
    (None, 1, part)
}

/// Checks of programs on a dead file system, again and again: wires are asked all the same.
#[test]
fn threads_that_hang_take_no_place_of_later_checks() {
    let mut looks = Looks::default();
    for part in 0..LOOKS_MAX {
        looks.begin(asker(part), &program(part), at(2)).expect("there is room");
    }
    let busy = looks.begin(asker(0), &wires(), at(2)).expect_err("all are at work");
    assert_eq!(busy, Cause::Busy("it has too many other questions".to_owned()));
    assert_eq!((looks.deadline(), looks.give_up(at(1)).len()), (Some(at(2)), 0));

    let told = looks.give_up(at(2));
    assert_eq!(told.len(), LOOKS_MAX);
    let cause = hangs("the file system of /dead/3 does not answer");
    let fact = Fact::Unasked { subject: Subject::Programs, cause };
    assert_eq!(told[3], (asker(3), vec![fact]));
    // Each is told once, and nobody is woken for them any more.
    assert_eq!((looks.deadline(), looks.give_up(at(9)).len()), (None, 0));
    looks.begin(asker(0), &wires(), at(5)).expect("wires have places of their own");
    let refused = looks.begin(asker(0), &program(LOOKS_MAX), at(5)).expect_err("too many hang");
    let why = "128 earlier checks still hang: the file system of /dead/0 does not answer";
    assert_eq!(refused, hangs(why));
    // The server is back.
    for number in 1..=LOOKS_MAX as u64 {
        assert_eq!(looks.end(number), None, "it was answered when it was given up");
    }
    let number = looks.begin(asker(7), &program(0), at(5)).expect("there is room again");
    assert_eq!(looks.end(number), Some(asker(7)));
}

#[test]
fn a_program_that_hangs_is_not_asked_for_again_while_it_does() {
    let mut looks = Looks::default();
    let number = looks.begin(asker(0), &program(1), at(2)).expect("there is room");
    looks.give_up(at(2));
    for part in 0..2 * HANGING_MAX {
        let refused = looks.begin(asker(part), &program(1), at(4)).expect_err("it hangs");
        let why = "the file system of /dead/1 does not answer, since an earlier check";
        assert_eq!(refused, hangs(why));
    }
    looks.begin(asker(0), &program(2), at(4)).expect("another one may answer");
    looks.end(number);
    looks.begin(asker(0), &program(1), at(4)).expect("it hangs no more");
}
