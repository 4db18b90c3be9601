//! Both threads with looks that are made up. Nothing is asserted about how long they take.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// What a thread answers: how many it found, how many of these are new, of which slot, and whether some have to be asked.
type Answer = (usize, usize, Option<usize>, bool);

struct Thread {
    began: Receiver<()>,
    answers: Sender<Answer>,
}

fn thread() -> (Thread, (Marks, Arc<Told>)) {
    let ((tell, began), (answers, answer)) = (channel(), channel::<Answer>());
    let told = Told::new();
    let written = told.clone();
    let look = move |_: Who, _: &os::process::Search<'_>| {
        tell.send(()).unwrap();
        let (count, killed, slot, is_doubtful) = answer.recv().unwrap();
        for (at, left) in written.left.iter().enumerate() {
            left.store(slot == Some(at), Ordering::Relaxed);
        }
        written.killed.store(killed, Ordering::Relaxed);
        written.is_doubtful.store(is_doubtful, Ordering::Relaxed);
        Ok(count)
    };
    let marks = Marks::start_with("test", || {}, look).unwrap();
    (Thread { began, answers }, (marks, told))
}

fn stage() -> (Outside, Thread, Thread) {
    let ((known, first), (asking, second)) = (thread(), thread());
    (Outside::new(first, second), known, asking)
}

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

/// Takes turns until it is so.
fn until(outside: &mut Outside, now: Instant, mut is_so: impl FnMut(&Outside) -> bool) {
    while !is_so(outside) {
        outside.turn(now);
        std::thread::yield_now();
    }
}

const NOBODY: Answer = (0, 0, None, false);
const SOMEBODY_TO_ASK: Answer = (0, 0, None, true);

/// A service was killed, and a look has found somebody who is being asked.
fn asked() -> (Outside, Thread, Thread) {
    let (mut outside, known, asking) = stage();
    outside.follow(0);
    outside.turn(at(1));
    known.began.recv().unwrap();
    known.answers.send(SOMEBODY_TO_ASK).unwrap();
    until(&mut outside, at(2), |outside| outside.asking.is_busy);
    (outside, known, asking)
}

#[test]
fn a_question_that_hangs_holds_up_no_look() {
    let (mut outside, known, asking) = asked();
    asking.began.recv().unwrap();
    // From here on it hangs. Another service is killed: it is looked for at once, and so is what came back.
    outside.follow(1);
    outside.turn(at(3));
    known.began.recv().unwrap();
    assert!(!outside.is_empty(0) && !outside.is_empty(1));
    known.answers.send((1, 1, Some(1), false)).unwrap();
    until(&mut outside, at(4), |outside| !outside.known.is_busy);
    assert!(outside.is_empty(0), "nobody has to be asked any more");
    assert!(!outside.is_empty(1));
    outside.turn(at(1_000));
    known.began.recv().unwrap();
    known.answers.send(NOBODY).unwrap();
    until(&mut outside, at(1_001), |outside| outside.is_empty(1));
    // What the question says at last is older.
    asking.answers.send((1, 0, Some(0), false)).unwrap();
    until(&mut outside, at(1_002), |outside| !outside.asking.is_busy);
    assert!(outside.is_empty(0) && outside.is_empty(1));
}

#[test]
fn who_has_to_be_asked_keeps_a_service_from_being_gone() {
    let (mut outside, _known, asking) = asked();
    assert!(!outside.is_empty(0));
    asking.began.recv().unwrap();
    asking.answers.send(NOBODY).unwrap();
    until(&mut outside, at(3), |outside| !outside.asking.is_busy);
    assert!(outside.is_empty(0));
}

#[test]
fn who_does_not_die_is_looked_for_with_a_pause() {
    let (mut outside, known, _asking) = stage();
    outside.follow(0);
    outside.turn(at(1));
    let mut now = at(1);
    for (answer, pause) in
        [((1, 1, Some(0), false), SOON), ((1, 0, Some(0), false), AGAIN), (NOBODY, LATER)]
    {
        known.began.recv().unwrap();
        known.answers.send(answer).unwrap();
        until(&mut outside, now, |outside| !outside.known.is_busy);
        assert_eq!(outside.next_look, now + pause);
        now = outside.next_look;
        outside.turn(now);
    }
    assert!(outside.is_empty(0));
}

#[test]
fn all_are_gone_when_nobody_is_found_and_whoever_had_to_be_asked_was() {
    let (mut outside, known, asking) = stage();
    let mut now = at(1);
    let mut all = |outside: &mut Outside| {
        now += AGAIN;
        std::thread::yield_now();
        outside.all(1, true, now).map(Result::unwrap)
    };
    known.answers.send((1, 1, None, false)).unwrap();
    let found = std::iter::repeat_with(|| all(&mut outside)).find_map(|found| found);
    assert_eq!(found, Some(true));
    known.began.recv().unwrap();
    // The question hangs; the looks go on.
    for _ in 0..3 {
        known.answers.send(SOMEBODY_TO_ASK).unwrap();
        while known.began.try_recv().is_err() {
            assert_eq!(all(&mut outside), None);
        }
    }
    while asking.began.try_recv().is_err() {
        assert_eq!(all(&mut outside), None);
    }
    // It is answered; with the next look that is known.
    let found = std::iter::repeat_with(|| {
        known.answers.send(SOMEBODY_TO_ASK).unwrap();
        asking.answers.send(NOBODY).unwrap();
        all(&mut outside)
    });
    assert_eq!(found.take(100_000).find_map(|found| found), Some(false));
}
