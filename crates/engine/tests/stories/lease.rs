//! Nothing is started without a lease, and what its end takes from a start is nobody's fault.

use super::*;

#[test]
fn without_a_lease_nothing_is_started() {
    let mut story = Story::new(N1, &[]);
    story.feed(formed(&[N1, N2, N3]));
    story.others(N2, &Entry::Report { claims: Vec::new() });
    story.others(N3, &Entry::Report { claims: Vec::new() });
    assert_eq!((story.state(), story.acts.len()), (State::Starting, 0));
    let until = story.now + Duration::from_secs(1);
    story.feed(Input::Lease { until });
    story.done("start ip");
    // The lease ends in the middle of the start: what is under way may finish, no more begins.
    story.now = until;
    story.done("start disk");
    assert_eq!(story.acts, []);
    story.wait(Timer::Act);
    story.all_done(&["stop disk", "stop ip"]);
    assert_eq!(story.phase().holder(), Some(N2));
    assert!(
        story.unable().contains("server waited in vain: there was no lease"),
        "{}",
        story.unable()
    );
}

#[test]
fn a_start_that_meets_the_end_of_the_lease_is_tried_again() {
    let mut story = Story::formed(N1);
    let (id, act) = story.act();
    assert_eq!(act, "start ip");
    story.feed(Input::Lease { until: story.now });
    let over = Outcome::NotNow { reason: "the lease is over".to_owned() };
    story.feed(Input::Acted { id, outcome: over });
    assert_eq!((story.state(), story.acts.len()), (State::Starting, 0));
    // A node that is alone has a newer lease in each turn.
    story.feed(Input::Lease { until: story.now + Duration::from_secs(60) });
    assert_eq!(story.acts.len(), 0, "it would be put off again at once");
    story.renew_later();
    story.all_done(&START);
    assert_eq!(story.state(), State::Running);
    assert!(story.engine.status().services[0].blocked.is_empty(), "it is nobody's fault");
}

#[test]
fn what_the_end_of_the_lease_takes_from_a_start_is_nobodys_fault() {
    // The daemon hears of what the guard has ended before it has a new lease, or after.
    for is_renewed in [false, true] {
        let mut story = Story::formed(N1);
        story.done("start ip");
        assert_eq!(story.act().1, "start disk");
        story.feed(Input::Lease { until: story.now });
        if is_renewed {
            story.feed(Input::Lease { until: story.now + Duration::from_secs(60) });
        }
        story.exits("ip");
        story.all_done(&["stop disk", "stop ip"]);
        let why = story.unable();
        let expected = "the lease of this node ended meanwhile: ip exited with code 1";
        assert_eq!(why, expected, "{is_renewed}");
    }
}

#[test]
fn a_start_that_is_put_off_all_the_time_blocks_nothing() {
    let mut story = Story::formed(N1);
    let (id, _) = story.act();
    let over = Outcome::NotNow { reason: "the queue is full".to_owned() };
    story.feed(Input::Acted { id, outcome: over });
    story.renew_later();
    assert_eq!(story.act().1, "start ip", "with the newer lease");
    story.wait(Timer::Act);
    story.all_done(&["kill ip"]);
    assert_eq!(story.unable(), "ip was put off and took too long: the queue is full");
}

#[test]
fn a_start_that_ends_the_lease_each_time_is_not_made_for_ever() {
    let mut intent = intent();
    intent.services[0].nodes = vec![NodeId(1)];
    let mut story = Story::of(N1, &[], intent);
    story.form(N1);
    for times in 1..=4 {
        story.done("start ip");
        assert_eq!(story.act().1, "start disk");
        story.feed(Input::Lease { until: story.now });
        story.feed(Input::Lease { until: story.now + Duration::from_secs(600) });
        story.exits("ip");
        story.done("stop disk");
        story.done("stop ip");
        let blocked = &story.engine.status().services[0].blocked;
        assert_eq!(blocked.is_empty(), times < 4, "{times}: {blocked:?}");
    }
    let blocked = &story.engine.status().services[0].blocked[&NodeId(1)];
    assert!(blocked.starts_with("start failed: 4 starts came to nothing: the lease "), "{blocked}");
}

#[test]
fn a_first_lease_excuses_nothing() {
    let mut story = Story::new(N1, &[]);
    story.form_unleased(N1);
    assert_eq!((story.state(), story.acts.len()), (State::Starting, 0));
    story.feed(Input::Lease { until: story.now + Duration::from_secs(60) });
    story.fails("start ip", "is broken");
    story.all_done(&["stop ip"]);
    let blocked = &story.engine.status().services[0].blocked[&NodeId(1)];
    assert_eq!(blocked, "start failed: ip is broken");
}

#[test]
fn what_was_put_off_before_excuses_no_later_part() {
    let mut story = Story::formed(N1);
    let (id, _) = story.act();
    let full = Outcome::NotNow { reason: "the queue is full".to_owned() };
    story.feed(Input::Acted { id, outcome: full });
    story.renew_later();
    story.done("start ip");
    assert_eq!(story.act().1, "start disk");
    story.wait(Timer::Act);
    story.all_done(&["kill disk", "stop ip"]);
    let blocked = &story.engine.status().services[0].blocked[&NodeId(1)];
    assert_eq!(blocked, "start failed: disk took too long");
}
