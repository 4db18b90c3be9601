//! The fence model: the wait is long enough, and not longer than it must be.

use models::explore::explore;
use models::fence::{Fence, MUTANTS};

/// More than any bound here needs; an exploration that gets there is not complete.
const TRANSITIONS_MAX: u64 = 20_000_000;

fn exact_clocks() -> Fence {
    Fence { horizon: 5, watchdog: 2, freshness: 1, wait: 3, drift: 0, mutant: None }
}

fn drifting_clocks() -> Fence {
    Fence { horizon: 5, watchdog: 1, freshness: 1, wait: 4, drift: 1, mutant: None }
}

fn assert_safe(model: &Fence) {
    let exploration = explore(model, TRANSITIONS_MAX);
    assert!(exploration.counterexample.is_none(), "{model:?}: {exploration:?}");
    assert!(exploration.complete, "{model:?} has more states than the test allows");
    assert_eq!(exploration.reached.len(), 2, "{model:?} saw only {:?}", exploration.reached);
}

fn assert_caught(name: &str, model: &Fence) {
    let exploration = explore(model, TRANSITIONS_MAX);
    let found = exploration.counterexample.unwrap_or_else(|| panic!("{name} is not caught"));
    println!("{name}: {} steps, {} states", found.actions.len(), exploration.states);
}

#[test]
fn the_wait_is_watchdog_plus_freshness_plus_two_drifts() {
    assert_safe(&exact_clocks());
    assert_safe(&drifting_clocks());
}

#[test]
fn one_tick_less_is_too_short() {
    let exact = exact_clocks();
    assert_caught("one tick less", &Fence { wait: exact.wait - 1, ..exact });
    let drifting = drifting_clocks();
    assert_caught("one tick less, with drift", &Fence { wait: drifting.wait - 1, ..drifting });
}

#[test]
fn every_mutant_is_caught() {
    for (name, mutant) in MUTANTS {
        assert_caught(name, &Fence { mutant: Some(mutant), horizon: 7, ..exact_clocks() });
    }
}
