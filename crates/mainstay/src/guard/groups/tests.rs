//! The loop's end without a thread, and the kill as a group of real processes.

use std::time::Duration;

use os::process::{Containment, Output, Program};

use super::*;

fn groups() -> Groups {
    let places = (0..=ALL).map(|_| Place::default()).collect();
    Groups { desk: Arc::new(Desk { places, bell: Bell::new().unwrap() }) }
}

/// What the thread does when it has killed what was asked for when it began.
fn answer(groups: &Groups, slot: usize, asked: u64) {
    groups.desk.places[slot].done.store(asked, Ordering::Release);
}

fn asked(groups: &Groups, slot: usize) -> u64 {
    groups.desk.places[slot].asked.load(Ordering::Acquire)
}

#[test]
fn a_kill_is_asked_for_again_only_when_it_is_done() {
    let groups = groups();
    assert!(groups.is_done(0) && groups.is_all_done(), "nothing was asked for");
    groups.kill(0);
    let first = asked(&groups, 0);
    assert!(!groups.is_done(0) && groups.is_done(1));
    groups.kill_again(0);
    assert_eq!(asked(&groups, 0), first, "who asks anew all the time would wait for ever");
    answer(&groups, 0, first);
    assert!(groups.is_done(0));
    groups.kill_again(0);
    let second = asked(&groups, 0);
    assert!(!groups.is_done(0), "the kill before says nothing about what came back");
    // The slot is used anew, and its deadline passes, while that one is under way.
    groups.kill(0);
    answer(&groups, 0, second);
    assert!(!groups.is_done(0), "another use of the slot");
    groups.kill_all();
    assert!(!groups.is_all_done());
}

#[test]
fn what_is_not_open_for_this_use_of_the_slot_is_not_known() {
    let groups = groups();
    assert_eq!(groups.is_empty(0, 1).unwrap(), None);
    *groups.desk.places[0].open.lock().unwrap() = Open { generation: 1, lists: None };
    assert_eq!(groups.is_empty(0, 1).unwrap(), Some(true));
    assert!(groups.is_unseen(0, 1) && !groups.is_unseen(0, 3));
    assert_eq!(groups.is_empty(0, 3).unwrap(), None, "what is open is another's");
    let exchanged = groups.desk.places[0].open.lock().unwrap();
    groups.signal(0, 1).expect("the loop comes again");
    assert_eq!(groups.is_empty(0, 1).unwrap(), None);
    assert!(!groups.is_unseen(0, 1));
    drop(exchanged);
}

#[test]
fn a_group_is_killed_unless_it_is_another_by_then() {
    let directory = tempfile::tempdir().unwrap();
    let name = os::cgroup::tree_name("groups-test", "n1", directory.path()).unwrap();
    let containment = Containment::open(&name);
    if let Containment::Marked { refusal, .. } = containment {
        println!("skipped, no control groups here: error {refusal}");
        return;
    }
    let command = ["/bin/sh", "-c", "(sleep 1000 &); exec sleep 1000"].map(str::to_owned);
    let program = Program {
        command: &command,
        directory: None,
        environment: &[],
        user: None,
        output: Output::Inherit,
    };
    let process = containment.spawn("s", "r", &program).unwrap();
    let group = containment.group_path("s").unwrap();
    kill(&group, &mut true, || false).unwrap();
    assert_eq!(process.exit().unwrap(), None, "it was not to be killed any more");
    kill(&group, &mut true, || true).unwrap();
    let until = os::clock::boottime() + Duration::from_secs(60);
    let (poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(1));
    while !containment.is_empty("s", None).unwrap() {
        assert!(os::clock::boottime() < until, "it lives on");
        poll.wait(&mut events, Some(Duration::from_millis(2))).unwrap();
    }
    assert!(process.exit().unwrap().is_some());
    containment.dissolve().unwrap();
    kill(&group, &mut true, || true).expect("what is removed is ended");
}
