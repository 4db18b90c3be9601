//! The loop's end, with a thread that kills nothing. Nothing is asserted about how long it takes.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

struct Thread {
    began: Receiver<()>,
    answers: Sender<io::Result<usize>>,
}

fn stage() -> (Groups, Thread) {
    let ((tell, began), (answers, answer)) = (channel(), channel());
    let kill = move |_: Who, _: &os::process::Search<'_>| {
        tell.send(()).unwrap();
        answer.recv().unwrap()
    };
    let thread = Marks::start_with("test", || {}, kill).unwrap();
    (Groups::new(thread), Thread { began, answers })
}

/// Takes turns until the answer was taken.
fn answered(groups: &mut Groups) {
    let round = groups.round;
    while groups.is_busy && groups.round == round {
        groups.turn();
        std::thread::yield_now();
    }
}

#[test]
fn only_a_write_that_began_after_the_kill_counts() {
    let (mut groups, thread) = stage();
    groups.turn();
    assert!(!groups.is_busy, "nobody is to be killed");
    groups.want(0);
    groups.turn();
    thread.began.recv().unwrap();
    groups.want(1);
    groups.turn();
    thread.answers.send(Ok(1)).unwrap();
    answered(&mut groups);
    assert!(groups.is_done(0) && !groups.is_done(1), "the second was killed while the first was");
    thread.began.recv().unwrap();
    thread.answers.send(Ok(2)).unwrap();
    answered(&mut groups);
    assert!(groups.is_done(0) && groups.is_done(1));
    // Killed again, because something came back.
    groups.want(0);
    assert!(!groups.is_done(0));
    groups.forget(1);
    assert!(!groups.is_done(1), "another use of the slot");
}

#[test]
fn who_is_wanted_again_while_it_waits_does_not_wait_for_ever() {
    let (mut groups, thread) = stage();
    groups.want(0);
    groups.turn();
    thread.began.recv().unwrap();
    groups.want(0);
    thread.answers.send(Ok(1)).unwrap();
    answered(&mut groups);
    assert!(groups.is_done(0) && !groups.is_busy);
}

#[test]
fn what_cannot_be_killed_is_not_done() {
    let (mut groups, thread) = stage();
    groups.want(0);
    groups.turn();
    thread.began.recv().unwrap();
    thread.answers.send(Err(Errno::PERM.into())).unwrap();
    answered(&mut groups);
    assert!(!groups.is_done(0));
    groups.want(0);
    groups.turn();
    thread.began.recv().unwrap();
    thread.answers.send(Ok(1)).unwrap();
    answered(&mut groups);
    assert!(groups.is_done(0));
}

#[test]
fn a_slot_that_is_used_anew_is_not_done_by_the_write_before() {
    let (mut groups, thread) = stage();
    groups.want(0);
    groups.turn();
    thread.began.recv().unwrap();
    groups.forget(0);
    groups.want(0);
    thread.answers.send(Ok(1)).unwrap();
    answered(&mut groups);
    assert!(!groups.is_done(0), "it was killed after that write had begun");
    thread.began.recv().unwrap();
    thread.answers.send(Ok(1)).unwrap();
    answered(&mut groups);
    assert!(groups.is_done(0));
}
