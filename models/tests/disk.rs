//! The model of the disk acceptor: safe as it stands, and every broken rule is noticed.

use models::disk::{Disk, MUTANTS, Mutant};
use models::explore::explore;
use models::walk::{Limits, walk};

fn two() -> Disk {
    Disk { coordinators: 2, disks: 1, rounds: 2, second: 0, restarts: 0, mutant: None }
}

/// The loser of the first view may come back, and the second view falls apart as well.
fn two_views() -> Disk {
    Disk { second: 2, restarts: 1, ..two() }
}

fn is_safe(model: &Disk, milestones: usize) {
    let exploration = explore(model, 30_000_000);
    assert!(exploration.counterexample.is_none(), "{exploration:?}");
    assert!(exploration.complete, "{model:?} has more states than the test allows");
    assert_eq!(exploration.reached.len(), milestones, "{model:?} {:?}", exploration.reached);
    println!("{model:?}: {} states", exploration.states);
}

#[test]
fn all_states_of_one_disk_are_safe() {
    for model in [two(), Disk { coordinators: 3, rounds: 1, ..two() }] {
        is_safe(&model, 2);
    }
}

#[test]
fn all_states_of_a_second_view_are_safe() {
    for model in [two_views(), Disk { coordinators: 3, rounds: 1, second: 1, ..two_views() }] {
        is_safe(&model, 4);
    }
}

#[test]
fn long_walks_over_three_disks_are_safe() {
    for coordinators in [2, 3] {
        let model = Disk { coordinators, disks: 3, rounds: 3, ..two_views() };
        let tally = walk(&model, Limits { seed: 1, steps: 1_000_000, length: 150 });
        assert!(tally.counterexample.is_none(), "{tally:?}");
        for (milestone, walks) in tally.milestones {
            assert!(walks > 0, "{model:?} never saw: {milestone}");
        }
    }
}

#[test]
fn every_mutant_is_caught() {
    for (name, mutant) in MUTANTS.into_iter().filter(|(_, mutant)| !mutant.needs_second_view()) {
        let disks = if mutant == Mutant::OneDiskIsEnough { 3 } else { 1 };
        let model = Disk { disks, rounds: 3, mutant: Some(mutant), ..two() };
        let tally = walk(&model, Limits { seed: 1, steps: 2_000_000, length: 150 });
        assert!(tally.counterexample.is_some(), "{name} is not caught in {} steps", tally.steps);
        println!("{name}: caught after {} steps", tally.steps);
    }
}

/// Where a first decision has to be reached before anything is wrong, walks seldom come by.
#[test]
fn every_mutant_of_the_second_view_is_caught() {
    for (name, mutant) in MUTANTS.into_iter().filter(|(_, mutant)| mutant.needs_second_view()) {
        let exploration = explore(&Disk { mutant: Some(mutant), ..two_views() }, 30_000_000);
        let found = exploration.counterexample.expect(name);
        println!("{name}: caught by {} actions: {}", found.actions.len(), found.claim);
    }
}

/// Without the second view these rules do nothing, and breaking them breaks nothing.
#[test]
fn one_view_needs_no_rule_of_the_second_one() {
    for (name, mutant) in MUTANTS.into_iter().filter(|(_, mutant)| mutant.needs_second_view()) {
        let exploration = explore(&Disk { mutant: Some(mutant), ..two() }, 30_000_000);
        assert!(exploration.complete, "{name}: {exploration:?}");
    }
}
