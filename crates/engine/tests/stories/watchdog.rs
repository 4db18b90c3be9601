//! What may write starts with an armed watchdog and fresh evidence, or not at all.

use super::*;

#[test]
fn what_writes_starts_only_when_all_know_of_the_armed_watchdog() {
    let mut story = Story::formed_with_watchdog(N1);
    assert_eq!((story.armed, story.acts.len()), (1, 0), "asked once, and waited for");
    story.holds = true;
    let timeout = Duration::from_secs(10);
    story.feed(Input::Watchdog(Watchdog::Armed { timeout }));
    assert_eq!(story.acts, [], "the others do not know yet");
    story.holds = false;
    for payload in core::mem::take(&mut story.held) {
        story.said.push(codec::decode(&payload).expect("what engines say is well formed"));
        story.deliver(N1, payload);
    }
    assert_eq!(story.engine.observation().watchdog(N1), Some(timeout));
    assert_eq!(story.said.last(), Some(&Entry::Watchdog { timeout: Some(timeout) }));
    story.all_done(&START);
    assert_eq!(story.state(), State::Running);
    assert_eq!(story.armed, 1);
}

#[test]
fn a_watchdog_that_cannot_be_armed_is_remarked_upon() {
    let mut story = Story::formed_with_watchdog(N1);
    let reason = "somebody else has it open".to_owned();
    story.feed(Input::Watchdog(Watchdog::Failed { reason }));
    story.all_done(&START);
    let sentences: Vec<&str> = story.notes.iter().map(|note| note.sentence.as_str()).collect();
    let remark = sentences.iter().find(|sentence| sentence.contains("somebody else"));
    let remark = remark.unwrap_or_else(|| panic!("{sentences:#?}"));
    assert!(remark.contains("only another proof frees it"), "{remark}");
    assert_eq!(story.engine.observation().watchdog(N1), None);
}

#[test]
fn a_watchdog_that_nobody_arms_is_no_fault_of_the_service() {
    let mut story = Story::formed_with_watchdog(N1);
    story.wait(Timer::Act);
    assert!(story.unable().contains("waited in vain: the watchdog was not armed"));
    assert_eq!(story.phase().holder(), Some(N2), "and it may be tried here again");
}

#[test]
fn what_writes_waits_for_fresh_evidence() {
    let mut story = Story::formed_with_watchdog(N1);
    let timing = Preset::Fast.timing();
    let old = story.now + (timing.lease - timing.feeding_evidence());
    story.feed(Input::Lease { until: old });
    story.feed(Input::Watchdog(Watchdog::Armed { timeout: Duration::from_secs(10) }));
    assert_eq!(story.acts, [], "there is a lease, on evidence that is too old to feed on");
    story.feed(Input::Lease { until: story.now + timing.lease });
    let not_now = || Outcome::NotNow { reason: "for the guard".to_owned() };
    let (id, act) = story.act();
    assert_eq!(act, "start ip");
    story.feed(Input::Acted { id, outcome: not_now() });
    assert_eq!(story.acts, [], "newer evidence is waited for");
    story.now += Duration::from_millis(100);
    story.feed(Input::Lease { until: story.now + timing.lease + Duration::from_millis(1) });
    story.all_done(&START);
    assert_eq!(story.state(), State::Running);
}

#[test]
fn evidence_that_stays_old_is_no_fault_of_the_service() {
    let mut story = Story::formed_with_watchdog(N1);
    story.feed(Input::Lease { until: Instant::ZERO });
    story.feed(Input::Watchdog(Watchdog::Armed { timeout: Duration::from_secs(10) }));
    let (deadline, _) = story.engine.deadline().expect("the start's");
    story.feed(Input::Lease { until: deadline + Duration::from_millis(1) });
    let (id, _) = story.act();
    story.feed(Input::Acted { id, outcome: Outcome::NotNow { reason: "for him".to_owned() } });
    story.wait(Timer::Act);
    assert!(
        story.unable().contains("waited in vain: there was no fresh evidence"),
        "{}",
        story.unable()
    );
    assert_eq!((story.acts.len(), story.phase().holder()), (0, Some(N2)));
}

#[test]
fn a_contained_service_waits_for_no_watchdog() {
    let mut story = Story::new(N1, &[]);
    story.feed(Input::Watchdog(Watchdog::Ready));
    story.form(N1);
    story.all_done(&START);
    assert_eq!(story.armed, 0);
}
