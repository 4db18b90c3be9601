//! What a node says of itself, and how often.

use core::time::Duration;
use std::collections::BTreeMap;

use base::Instant;

use super::{INABILITY_SIZE_MAX, Inabilities, LASTS_AFTER, Own, Stage, shortened};

fn picture(reason: Option<&str>) -> BTreeMap<String, String> {
    reason.map(|reason| ("web".to_owned(), reason.to_owned())).into_iter().collect()
}

/// What the others know, when everything that is said is delivered at once.
struct Known(Own, Inabilities);

impl Known {
    /// Whether something was said.
    fn hear(&mut self, now: Instant) -> bool {
        let Some(news) = self.0.news(now, Some(&self.1)) else { return false };
        self.0.delivered(&news);
        self.1 = news;
        true
    }

    fn stage(&self) -> Option<Stage> {
        self.1.get("web").map(|inability| inability.stage)
    }
}

#[test]
fn an_inability_is_told_when_it_begins_when_it_lasts_and_when_it_is_over() {
    let mut known = Known(Own::default(), Inabilities::new());
    let start = Instant::from_millis(1_000);
    known.0.see(start, picture(Some("net0 has no carrier")));
    assert!(known.hear(start) && known.stage() == Some(Stage::New));
    let due = known.0.deadline(start).expect("it may last");
    assert_eq!(due, start + LASTS_AFTER);
    assert!(known.hear(due) && known.stage() == Some(Stage::Lasting));
    known.0.see(due, picture(None));
    assert!(known.hear(due) && known.stage() == Some(Stage::Over));
    assert!(known.hear(due + LASTS_AFTER) && known.1.is_empty());
    assert_eq!(known.0.deadline(due + LASTS_AFTER), None);
}

#[test]
fn each_return_is_watched_twice_as_long() {
    let mut known = Known(Own::default(), Inabilities::new());
    let mut now = Instant::from_millis(1_000);
    let mut watched = Vec::new();
    for _ in 0..4 {
        known.0.see(now, picture(Some("net0 has no carrier")));
        known.hear(now);
        now += Duration::from_millis(100);
        known.0.see(now, picture(None));
        known.hear(now);
        let over = now;
        while known.stage().is_some() {
            now = known.0.deadline(now).expect("it is forgotten some time");
            known.hear(now);
        }
        watched.push(now.since(over).as_secs());
    }
    assert_eq!(watched, [1, 2, 4, 8]);
}

#[test]
fn a_start_that_waited_in_vain_keeps_services_away_for_longer_each_time() {
    let mut known = Known(Own::default(), Inabilities::new());
    let mut now = Instant::from_millis(1_000);
    let mut watched = Vec::new();
    for _ in 0..12 {
        known.0.in_vain(now, "web", "waited in vain for net0");
        assert!(known.hear(now) && known.stage() == Some(Stage::Over));
        let over = now;
        while known.stage().is_some() {
            now = known.0.deadline(now).expect("it is forgotten some time");
            known.hear(now);
        }
        watched.push(now.since(over).as_secs());
    }
    assert_eq!(watched, [1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256, 256]);
}

#[test]
fn what_is_seen_to_last_is_not_over_because_a_start_waited_in_vain() {
    let mut known = Known(Own::default(), Inabilities::new());
    let now = Instant::from_millis(1_000);
    known.0.see(now, picture(Some("net0 has no carrier")));
    known.0.in_vain(now, "web", "waited in vain for net0");
    assert!(known.hear(now) && known.stage() == Some(Stage::New));
}

#[test]
fn other_words_for_the_same_are_no_news() {
    let mut known = Known(Own::default(), Inabilities::new());
    let now = Instant::from_millis(1_000);
    known.0.see(now, picture(Some("net0 has no carrier")));
    assert!(known.hear(now));
    known.0.see(now, picture(Some("net0 is switched off")));
    assert!(!known.hear(now), "{:?}", known.1);
}

#[test]
fn what_was_said_and_got_lost_is_said_again() {
    let mut own = Own::default();
    let now = Instant::from_millis(1_000);
    own.see(now, picture(Some("net0 has no carrier")));
    assert!(own.news(now, None).is_some());
    assert!(own.news(now, None).is_none(), "it is on its way");
    own.forget();
    assert!(own.news(now, None).is_some());
}

#[test]
fn a_reason_is_cut_between_letters() {
    let long = "ä".repeat(INABILITY_SIZE_MAX);
    let short = shortened(&long);
    assert_eq!(short.len(), INABILITY_SIZE_MAX);
    assert_eq!(shortened("net0"), "net0");
}
