//! The model of the disk acceptor: safe as it stands, and every broken rule is noticed.

use models::disk::{Disk, MUTANTS, Mutant};
use models::explore::explore;
use models::walk::{Limits, walk};

fn two() -> Disk {
    Disk { coordinators: 2, disks: 1, rounds: 2, mutant: None }
}

#[test]
fn all_states_of_one_disk_are_safe() {
    for model in [two(), Disk { coordinators: 3, rounds: 1, ..two() }] {
        let exploration = explore(&model, 30_000_000);
        assert!(exploration.counterexample.is_none(), "{exploration:?}");
        assert!(exploration.complete, "{model:?} has more states than the test allows");
        assert_eq!(exploration.reached.len(), 2, "{:?}", exploration.reached);
    }
}

#[test]
fn long_walks_over_three_disks_are_safe() {
    for coordinators in [2, 3] {
        let model = Disk { coordinators, disks: 3, rounds: 3, ..two() };
        let tally = walk(&model, Limits { seed: 1, steps: 1_000_000, length: 150 });
        assert!(tally.counterexample.is_none(), "{tally:?}");
        for (milestone, walks) in tally.milestones {
            assert!(walks > 0, "{model:?} never saw: {milestone}");
        }
    }
}

#[test]
fn every_mutant_is_caught() {
    for (name, mutant) in MUTANTS {
        let disks = if mutant == Mutant::OneDiskIsEnough { 3 } else { 1 };
        let model = Disk { disks, rounds: 3, mutant: Some(mutant), ..two() };
        let tally = walk(&model, Limits { seed: 1, steps: 2_000_000, length: 150 });
        assert!(tally.counterexample.is_some(), "{name} is not caught in {} steps", tally.steps);
        println!("{name}: caught after {} steps", tally.steps);
    }
}
