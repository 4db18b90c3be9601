//! When a deadline is near.

use super::*;

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

#[test]
fn a_deadline_that_is_not_pushed_is_told_once_at_half_of_its_time() {
    let mut watched = Watched::default();
    let mut told = |deadline, now| watched.wait(at(deadline), at(now));
    assert_eq!(
        [0, 200, 399, 400, 500, 799].map(|now| told(800, now)),
        [false, false, false, true, false, false]
    );
    // Pushed, at 600 to 1,400.
    assert_eq!([600, 999, 1_000, 1_001].map(|now| told(1_400, now)), [false, false, true, false]);
    assert!(told(1_000, 1_100), "lowered to what is past: at once");
}
