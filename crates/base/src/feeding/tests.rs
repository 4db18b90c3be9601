use super::*;

const W: Duration = Duration::from_secs(8);
const DELTA: Duration = Duration::from_millis(1_000);

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

fn storage(evidence: u64) -> Sight {
    Sight { evidence: at(evidence), freshness: DELTA, storage: true, killed: false }
}

fn clean(evidence: u64) -> Sight {
    Sight { storage: false, ..storage(evidence) }
}

fn armed() -> Feeding {
    let mut feeding = Feeding::new();
    feeding.want();
    assert_eq!(feeding.turn(at(100), &clean(0)), Some(Act::Arm));
    feeding.done(at(110), Outcome::Armed(W));
    feeding
}

#[test]
fn nothing_is_opened_before_somebody_wants_it() {
    let mut feeding = Feeding::new();
    assert_eq!(feeding.turn(at(1), &clean(0)), None);
    assert_eq!(feeding.timeout(), None);
}

#[test]
fn beside_a_storage_service_only_newer_and_fresh_evidence_feeds() {
    let mut feeding = armed();
    assert_eq!(feeding.turn(at(1_109), &clean(0)), None, "an eighth of the timeout is not over");
    assert_eq!(feeding.turn(at(1_110), &storage(0)), None, "no evidence");
    assert_eq!(feeding.turn(at(1_110), &storage(109)), None, "too old by a millisecond");
    assert_eq!(feeding.turn(at(1_110), &storage(110)), Some(Act::Feed));
    feeding.done(at(1_110), Outcome::Fed);
    assert_eq!(feeding.turn(at(2_110), &storage(2_000)), Some(Act::Feed));
    feeding.done(at(2_111), Outcome::Fed);
    assert_eq!(feeding.turn(at(3_000), &storage(2_000)), None, "not twice on the same");
    assert_eq!(feeding.turn(at(3_200), &storage(2_001)), None, "newer, and too old");
    assert_eq!(feeding.turn(at(3_200), &storage(3_000)), Some(Act::Feed));
}

#[test]
fn a_clean_machine_is_fed_whatever_the_cluster_says() {
    let mut feeding = armed();
    for second in 2..20 {
        let now = at(second * 1_000 + 110);
        assert_eq!(feeding.turn(now, &clean(0)), Some(Act::Feed));
        feeding.done(now, Outcome::Fed);
    }
    // Evidence from before the service was there does for its start, if it is fresh.
    assert_eq!(feeding.turn(at(30_000), &storage(29_500)), Some(Act::Feed));
}

#[test]
fn a_feeding_that_did_not_come_through_is_repeated_while_its_evidence_is_fresh() {
    let mut feeding = armed();
    assert_eq!(feeding.turn(at(5_000), &storage(4_900)), Some(Act::Feed));
    assert_eq!(feeding.turn(at(5_100), &storage(5_050)), None, "one at a time");
    feeding.done(at(5_200), Outcome::NotFed);
    assert_eq!(feeding.turn(at(5_400), &storage(4_900)), None, "not at once");
    assert_eq!(feeding.turn(at(5_700), &storage(4_900)), Some(Act::Feed));
    feeding.done(at(5_701), Outcome::NotFed);
    assert_eq!(feeding.turn(at(6_201), &storage(4_900)), None);
    assert_eq!(feeding.timeout(), Some(W), "it is armed all the same");
}

#[test]
fn a_feeding_that_was_held_up_needs_a_timeout_that_is_shorter_by_as_much() {
    let ms = Duration::from_millis;
    let of = |now, in_force| Feeding::overdue(at(now), &storage(4_900), W, in_force);
    // The others count on a reset at 4.9 + 1 + 8 s.
    assert_eq!(of(5_900, W), None);
    assert_eq!(of(5_920, W), None, "as much as their clocks may err");
    assert_eq!(of(5_921, W), Some(Overdue { by: ms(21), shorter: Some(ms(7_000)) }));
    assert_eq!(of(8_400, W), Some(Overdue { by: ms(2_500), shorter: Some(ms(5_000)) }));
    assert_eq!(Feeding::overdue(at(8_400), &clean(4_900), W, W), None);
    // With that timeout it is in time, unless setting it was held up as well, or it took another one.
    assert_eq!(of(8_410, ms(5_000)), None);
    assert_eq!(of(9_100, ms(5_000)), Some(Overdue { by: ms(200), shorter: Some(ms(4_000)) }));
    assert_eq!(of(8_410, ms(6_000)), Some(Overdue { by: ms(510), shorter: Some(ms(5_000)) }));
    // There is none shorter than a second.
    assert_eq!(of(13_000, W), Some(Overdue { by: ms(7_100), shorter: Some(ms(1_000)) }));
    assert_eq!(of(13_000, ms(1_000)), Some(Overdue { by: ms(100), shorter: None }));
    assert_eq!(of(20_000, W), Some(Overdue { by: ms(14_100), shorter: Some(ms(1_000)) }));
}

#[test]
fn arming_beside_a_storage_service_needs_evidence_too() {
    let mut feeding = Feeding::new();
    feeding.want();
    assert_eq!(feeding.turn(at(5_000), &storage(3_000)), None);
    assert_eq!(feeding.turn(at(5_000), &storage(4_500)), Some(Act::Arm));
    feeding.done(at(5_100), Outcome::Off);
    assert_eq!(
        feeding.turn(at(9_000), &clean(0)),
        None,
        "it was refused, and nobody has asked again"
    );
    feeding.want();
    assert_eq!(feeding.turn(at(9_000), &clean(0)), Some(Act::Arm));
}

#[test]
fn nothing_is_taken_over_before_a_daemon_has_looked_what_is_left() {
    let mut feeding = Feeding::new();
    feeding.want();
    let unknown = Sight { freshness: Duration::ZERO, ..clean(0) };
    assert_eq!(feeding.turn(at(5_000), &unknown), None);
    let left = Sight { killed: true, ..storage(0) };
    assert_eq!(feeding.turn(at(5_100), &left), None, "it has found something");
    assert_eq!(feeding.turn(at(9_000), &clean(0)), Some(Act::Arm));
}

#[test]
fn nothing_feeds_beside_what_was_killed_until_it_is_gone() {
    let mut feeding = armed();
    let killed = Sight { killed: true, ..storage(4_990) };
    assert_eq!(feeding.turn(at(5_000), &killed), None, "however fresh the evidence");
    assert_eq!(Feeding::reason(at(5_000), &killed), Reason::Killed);
    assert_eq!(feeding.turn(at(5_000), &clean(0)), Some(Act::Feed), "confirmed");
}

#[test]
fn it_is_stopped_on_a_clean_machine_only() {
    assert!(!Feeding::may_disarm(&storage(100)), "however fresh the evidence");
    assert!(Feeding::may_disarm(&clean(0)));
}

/// The promise itself, over many courses: a machine is reset by X + δ + w, where X is the newest evidence
/// that it ever had, if a storage service was here then. Also when whoever feeds it is stopped at any point.
#[test]
fn a_lost_machine_is_reset_in_time() {
    let mut prng = crate::Prng::new(5);
    for _ in 0..2_000 {
        let mut feeding = armed();
        let (mut fed, mut in_force) = (at(110), W);
        let lost = prng.range(1_000..=30_000);
        let started = prng.range(500..=lost);
        let mut evidence = 0;
        let mut now = 600;
        while now < lost + 30_000 {
            now += prng.range(1..=150);
            if now < lost {
                evidence = now - prng.range(1..=400);
            }
            let here = now >= started;
            let sight = if here { storage(evidence) } else { clean(evidence) };
            let Some(act) = feeding.turn(at(now), &sight) else { continue };
            assert_eq!(act, Act::Feed);
            // Whoever carries it out comes late, and looks first.
            now += prng.range(0..=900);
            let see = |now| if now >= started { storage(evidence) } else { sight };
            if Feeding::may(at(now), &see(now)) {
                let mut held_up = || if prng.chance(1, 6) { prng.range(0..=2_000) } else { 0 };
                now += held_up();
                (fed, in_force) = (at(now), W);
                while let Some(overdue) = Feeding::overdue(at(now), &see(now), W, in_force) {
                    let shorter = overdue.shorter.expect("8 s are more than it was ever held up");
                    assert!(shorter < in_force);
                    now += held_up().min(500);
                    (fed, in_force) = (at(now), shorter);
                }
                feeding.done(at(now), Outcome::Fed);
            } else {
                feeding.done(at(now), Outcome::NotFed);
            }
        }
        let due = at(evidence) + DELTA + W + CLOCK_GRANULARITY;
        assert!(fed + in_force <= due, "lost at {lost}, fed at {fed:?}");
    }
}
