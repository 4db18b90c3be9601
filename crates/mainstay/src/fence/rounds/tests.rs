//! Who asks when.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
/// Some day, at the beginning of an hour.
const DAY: u64 = 1_700_000_000_000 / 3_600_000 * 3_600_000;

fn asker(place: usize) -> Asker {
    Asker { place, of: 3, uptime: HOUR }
}

fn minutes(count: u64) -> u64 {
    DAY + count * 60_000
}

#[test]
fn each_node_asks_once_in_an_interval_and_at_a_moment_of_its_own() {
    let mut asked: Vec<Vec<u64>> = Vec::new();
    for place in 0..3 {
        let mut last = Some(Last { at_ms: DAY, ok: true });
        let mut moments = Vec::new();
        let mut now = DAY;
        while now < DAY + 10 * millis(HOUR) {
            let wait = wait(last, now, HOUR, asker(place));
            if wait.is_zero() {
                moments.push(now);
                last = Some(Last { at_ms: now, ok: true });
            } else {
                now += millis(wait);
            }
        }
        asked.push(moments);
    }
    for (place, moments) in asked.iter().enumerate() {
        assert!((9..=10).contains(&moments.len()), "{place}: {moments:?}");
        for pair in moments.windows(2) {
            assert_eq!(pair[1] - pair[0], millis(HOUR), "{place}");
        }
        for other in asked.iter().skip(place + 1) {
            let near = |at: &u64| other.iter().any(|one| one.abs_diff(*at) < 20 * 60_000);
            assert!(!moments.iter().any(near), "twenty minutes apart: {asked:?}");
        }
    }
}

#[test]
fn what_failed_is_asked_again_soon_and_what_was_never_asked_after_the_start() {
    let failed = Some(Last { at_ms: minutes(1), ok: false });
    assert_eq!(wait(failed, minutes(4), HOUR, asker(0)), Duration::from_secs(60));
    assert_eq!(wait(failed, minutes(5), HOUR, asker(0)), Duration::ZERO);
    let often = Duration::from_secs(30);
    assert_eq!(wait(failed, minutes(1) + 30_000, often, asker(0)), Duration::ZERO);
    let young = |uptime| wait(None, DAY, HOUR, Asker { uptime, ..asker(2) });
    assert_eq!(young(Duration::ZERO), FIRST + FIRST_STEP * 2);
    assert_eq!(young(HOUR), Duration::ZERO);
}

#[test]
fn a_clock_that_is_set_back_asks_once_and_goes_on() {
    let last = Some(Last { at_ms: DAY + 100 * millis(HOUR), ok: true });
    assert_eq!(wait(last, DAY, HOUR, asker(1)), Duration::ZERO);
    let last = Some(Last { at_ms: DAY, ok: true });
    assert_eq!(wait(last, DAY, HOUR, asker(1)), Duration::from_secs(20 * 60));
    let first = Some(Last { at_ms: 0, ok: true });
    assert_eq!(wait(first, 0, HOUR, asker(1)), Duration::from_secs(20 * 60), "no clock was set");
}
