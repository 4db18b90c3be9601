//! A fixed set of seeds that every `cargo test` can afford. `cargo xtask sim` runs as many as one
//! likes.

use std::sync::atomic::{AtomicU64, Ordering};

use sim::{Kind, Mix, Options, Totals, run};

const FIRST: u64 = 1;
const COUNT: u64 = 200;

#[test]
fn two_hundred_seeds_break_no_rule() {
    let next = AtomicU64::new(FIRST);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let sums = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut totals = Totals::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= FIRST + COUNT {
                            return totals;
                        }
                        let outcome = run(seed, &Options::default());
                        if let Some(violation) = outcome.violation {
                            panic!("seed {seed}: {violation}");
                        }
                        totals.add(&outcome.totals);
                    }
                })
            })
            .collect();
        let mut sums = Totals::default();
        for worker in workers {
            sums.add(&worker.join().expect("a worker that fails ends the process"));
        }
        sums
    });
    assert_eq!(sums.runs, COUNT);
    // A simulator in which nothing happens would find nothing.
    assert!(sums.views > COUNT * 2, "{sums:?}");
    assert!(sums.failovers > COUNT, "{sums:?}");
    assert!(sums.entries > COUNT * 8, "{sums:?}");
}

/// Seeds that broke a rule once, and what was wrong.
const REGRESSIONS: &[(u64, &str)] = &[
    (36_575, "entries kept by a decision were delivered before any disk had the decision"),
    (23_271, "a member whose only peer remembered another history waited for ever"),
    (2_011_828, "the same, with entries of its own on their way"),
    (505_715, "a node that was told to end joined the next view, with an engine that ignored it"),
];

/// Kinds that came after those seeds, and would change their runs.
const LATER: [Kind; 5] = [Kind::Decision, Kind::Media, Kind::AllDown, Kind::Storage, Kind::Cards];

#[test]
fn what_was_found_once_stays_mended() {
    for (seed, what) in REGRESSIONS {
        let without = LATER.into_iter().fold(Mix::default(), Mix::with);
        let outcome = run(*seed, &Options { without, ..Options::default() });
        assert!(outcome.violation.is_none(), "seed {seed} ({what}): {:?}", outcome.violation);
    }
}

#[test]
fn a_run_depends_on_its_seed_alone() {
    for seed in 1..=5 {
        let (one, other) = (run(seed, &Options::default()), run(seed, &Options::default()));
        assert_eq!(one.totals, other.totals, "seed {seed}");
        assert_eq!(one.violation, other.violation, "seed {seed}");
    }
}

#[test]
fn leaving_a_kind_out_changes_no_other_fault() {
    use sim::setup::Setup;
    for seed in 1..=50 {
        let all = Setup::draw(seed, &Options::default());
        for kind in all.mix.kinds() {
            let options = Options { without: sim::Mix::default().with(kind), ..Options::default() };
            let fewer = Setup::draw(seed, &options);
            let times = |setup: &Setup, without| -> Vec<_> {
                let faults = setup.faults.iter().filter(|fault| Some(fault.kind) != without);
                faults.map(|fault| (fault.kind, fault.at, fault.lasts)).collect()
            };
            assert_eq!(times(&all, Some(kind)), times(&fewer, None), "seed {seed}, {kind:?}");
        }
    }
}
