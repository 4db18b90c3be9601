//! Long runs of the models: `models MODEL key=value …`; see [`USAGE`].

use models::arguments::Arguments;
use models::disk::{self, Disk};
use models::explore::explore;
use models::fence::{self, Fence};
use models::lease::{self, Carry, HeardFrom, Lease};
use models::lineage::{self, Lineage};
use models::set::{NodeId, NodeSet};
use models::walk::{Limits, Swarm, walk};
use std::fmt::Debug;
use std::hash::Hash;
use std::process::ExitCode;

const USAGE: &str = "\
usage: models lineage|disk|fence|lease [key=value ...]

for every model
  mutant=NAME     break one rule; mutant=? lists the names
  transitions=N   explore all states, at most N transitions (default 50000000)
  walk=STEPS      walk at random instead: STEPS steps in all
  length=N        steps of one walk (default 200)
  seed=N          seed of the walks (default 1)
  trace=yes       print the steps of a counterexample

lineage   nodes=2 tie-breakers=0|1|3 (default 1) views=2 rounds=1 entries=1 restarts=0 joins=no
disk      coordinators=2 disks=1|3 (default 1) rounds=2 second=0 restarts=0
fence     horizon=7 watchdog=2 freshness=1 wait=3 drift=0
lease     form=smallest|everything nodes=3 lease=1 wait=LEASE drift=0 founders=NODES views=3
          tie-breaker=no entries=2 restarts=0 joins=no moves=no pauses=no refounding=no
          heard-from=promise|decision|entry carry=whole|remaining newest-only=yes
          relays=no
          (form=everything: five views and more, four restarts, and all that is `no` above is `yes`)

exit code: 0 no violation, 1 a violation, 64 wrong usage
";

const WRONG_USAGE: u8 = 64;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let model = words.next().unwrap_or_default();
    match Arguments::parse(words).and_then(|arguments| run(&model, arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(complaint) => {
            eprint!("models: {complaint}\n\n{USAGE}");
            ExitCode::from(WRONG_USAGE)
        }
    }
}

/// Runs the model of this name. Returns whether it found no violation.
fn run(model: &str, mut arguments: Arguments) -> Result<bool, String> {
    match model {
        "lineage" => {
            let model = Lineage {
                nodes: arguments.small("nodes", 2, 6)?,
                tie_breakers: odd(&mut arguments, "tie-breakers")?,
                last_generation: arguments.small("views", 2, 20)?,
                rounds: arguments.small("rounds", 1, 10)?,
                entries: arguments.small("entries", 1, 10)?,
                restarts: arguments.small("restarts", 0, 100)?,
                joins: arguments.flag("joins", false)?,
                mutant: arguments.choice("mutant", &lineage::MUTANTS)?,
            };
            check(&model, arguments)
        }
        "disk" => {
            let model = Disk {
                coordinators: arguments.small("coordinators", 2, 4)?,
                disks: odd(&mut arguments, "disks")?,
                rounds: arguments.small("rounds", 2, 10)?,
                second: arguments.small("second", 0, 10)?,
                restarts: arguments.small("restarts", 0, 4)?,
                mutant: arguments.choice("mutant", &disk::MUTANTS)?,
            };
            check(&model, arguments)
        }
        "fence" => {
            let model = Fence {
                horizon: arguments.small("horizon", 7, 8)?,
                watchdog: arguments.small("watchdog", 2, 8)?,
                freshness: arguments.small("freshness", 1, 8)?,
                wait: arguments.small("wait", 3, 16)?,
                drift: arguments.small("drift", 0, 7)?,
                mutant: arguments.choice("mutant", &fence::MUTANTS)?,
            };
            check(&model, arguments)
        }
        "lease" => check(&lease(&mut arguments)?, arguments),
        "" => Err("which model?".to_string()),
        other => Err(format!("there is no model `{other}`")),
    }
}

/// How many of something of which more than half must agree.
fn odd(arguments: &mut Arguments, key: &str) -> Result<u8, String> {
    let choices = [("0", 0), ("1", 1), ("3", 3)];
    Ok(arguments.choice(key, &choices)?.unwrap_or(1))
}

/// All of the lease model, for walks, or its smallest form, for exploration; each part may be
/// changed.
fn lease(arguments: &mut Arguments) -> Result<Lease, String> {
    let nodes = arguments.small("nodes", 3, lease::NODES_MAX as u8)?.max(1);
    let lease = arguments.small("lease", 1, 8)?.max(1);
    let form = [("smallest", false), ("everything", true)];
    let model = match arguments.choice("form", &form)? {
        Some(true) => Lease::everything(nodes, lease),
        _ => Lease { lease, wait: lease, ..Lease::smallest() },
    };
    let founders: NodeId = arguments.small("founders", nodes, nodes)?.max(1);
    let heard_from = [
        ("promise", HeardFrom::Promise),
        ("decision", HeardFrom::Decision),
        ("entry", HeardFrom::Entry),
    ];
    let carry = [("whole", Carry::Whole), ("remaining", Carry::Remaining)];
    Ok(Lease {
        nodes,
        founders: NodeSet::first(founders),
        tie_breaker: arguments.flag("tie-breaker", model.tie_breaker)?,
        last_generation: arguments.small("views", model.last_generation, 20)?,
        wait: arguments.small("wait", model.wait, 16)?,
        drift: arguments.small("drift", model.drift, 8)?,
        heard_from: arguments.choice("heard-from", &heard_from)?.unwrap_or(model.heard_from),
        carry: arguments.choice("carry", &carry)?.unwrap_or(model.carry),
        newest_only: arguments.flag("newest-only", model.newest_only)?,
        relays: arguments.flag("relays", model.relays)?,
        entries: arguments.small("entries", model.entries, 10)?,
        restarts: arguments.small("restarts", model.restarts, 100)?,
        joins: arguments.flag("joins", model.joins)?,
        moves: arguments.flag("moves", model.moves)?,
        pauses: arguments.flag("pauses", model.pauses)?,
        refounding: arguments.flag("refounding", model.refounding)?,
        mutant: arguments.choice("mutant", &lease::MUTANTS)?,
        ..model
    })
}

fn check<M>(model: &M, mut arguments: Arguments) -> Result<bool, String>
where
    M: Swarm + Clone + Debug + Send + Sync + 'static,
    M::State: Hash + Debug + Send + Sync + 'static,
    M::Action: Send + Sync + 'static,
{
    let steps = arguments.number("walk", 0, u64::MAX)?;
    let length = arguments.number("length", 200, u32::MAX.into())?;
    let seed = arguments.number("seed", 1, u64::MAX)?;
    let transitions = arguments.number("transitions", 50_000_000, 1 << 40)?;
    let trace = arguments.flag("trace", false)?;
    arguments.finish()?;
    println!("{model:?}");
    let counterexample = if steps > 0 {
        let length = u32::try_from(length).expect("it is at most a u32");
        let tally = walk(model, Limits { seed, steps, length });
        println!("walked: {} walks, {} steps", tally.walks, tally.steps);
        for (milestone, walks) in tally.milestones {
            println!("{walks:>10} walks: {milestone}");
        }
        tally.counterexample
    } else {
        let exploration = explore(model, transitions);
        let extent = if exploration.complete { "all" } else { "the first" };
        println!("explored: {extent} {} states, depth {}", exploration.states, exploration.depth);
        for milestone in exploration.reached {
            println!("           reached: {milestone}");
        }
        exploration.counterexample
    };
    let Some(found) = counterexample else {
        println!("no violation");
        return Ok(true);
    };
    println!("VIOLATION after {} steps: {}", found.actions.len(), found.claim);
    if trace {
        for action in found.actions {
            println!("    {action:?}");
        }
    }
    Ok(false)
}
