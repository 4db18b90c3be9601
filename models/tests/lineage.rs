//! The lineage model: safe as it stands, and every broken rule is noticed.

use models::explore::explore;
use models::lineage::{Lineage, MUTANTS, Mutant};
use models::walk::{Limits, walk};

/// Two nodes and a tie-breaker, one ballot each, two views.
fn pair() -> Lineage {
    Lineage {
        nodes: 2,
        tie_breakers: 1,
        last_generation: 2,
        rounds: 1,
        entries: 1,
        restarts: 0,
        joins: false,
        mutant: None,
    }
}

/// Everything, for walks.
fn everything(nodes: u8, tie_breakers: u8) -> Lineage {
    Lineage {
        nodes,
        tie_breakers,
        last_generation: 4,
        rounds: 2,
        entries: 2,
        restarts: 4,
        joins: true,
        mutant: None,
    }
}

#[test]
fn all_states_of_two_nodes_are_safe() {
    let models = [
        Lineage { restarts: 1, ..pair() },
        Lineage { restarts: 2, joins: true, entries: 0, ..pair() },
    ];
    for model in models {
        let exploration = explore(&model, 3_000_000);
        assert!(exploration.counterexample.is_none(), "{model:?}: {exploration:?}");
        assert!(exploration.complete, "{model:?} has more states than the test allows");
    }
}

#[test]
fn all_states_of_three_nodes_that_lose_one_are_safe() {
    let model = Lineage { nodes: 3, tie_breakers: 0, entries: 0, ..pair() };
    let exploration = explore(&model, 5_000_000);
    assert!(exploration.counterexample.is_none(), "{exploration:?}");
    assert!(exploration.complete, "{model:?} has more states than the test allows");
}

#[test]
fn long_walks_are_safe_and_see_everything() {
    for (nodes, tie_breakers) in [(2, 1), (2, 3), (3, 0), (3, 1), (4, 1), (4, 3)] {
        let model = everything(nodes, tie_breakers);
        let tally = walk(&model, Limits { seed: 1, steps: 150_000, length: 200 });
        assert!(tally.counterexample.is_none(), "{model:?}: {tally:?}");
        for (milestone, walks) in tally.milestones {
            assert!(walks > 0, "{model:?} never saw: {milestone}");
        }
    }
}

/// Steps that a mutant may take until it is caught, generously above what it takes today.
const STEPS_MAX: u64 = 1_000_000;

fn assert_caught(name: &str, mutant: Mutant) {
    // The rarest one needs few nodes: what it confuses is a joiner that is slow to enter.
    let model = match mutant {
        Mutant::OneTieBreakerIsEnough => everything(2, 3),
        Mutant::JoinerTakenForRestarted => Lineage { entries: 1, ..everything(2, 1) },
        _ => everything(3, 1),
    };
    let model = Lineage { mutant: Some(mutant), ..model };
    let tally = walk(&model, Limits { seed: 1, steps: STEPS_MAX, length: 200 });
    assert!(tally.counterexample.is_some(), "{name} is not caught in {} steps", tally.steps);
    println!("{name}: caught after {} steps", tally.steps);
}

#[test]
fn every_mutant_is_caught() {
    for (name, mutant) in MUTANTS {
        assert_caught(name, mutant);
    }
}
