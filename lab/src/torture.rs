//! Torture: real daemons under blows by lot, and a verdict from outside.
//!
//! A torture is a number of *rounds*, each in a lab of its own: a cluster forms, takes a few blows
//! (cables, partitions, one-way cuts, loss, floods, stopped and killed processes, power, a frozen disk, processors
//! and memory used up, a tie-breaker that is down, slow or hidden from some, moves and new configurations at
//! the same time), is healed, and must be whole again by itself. All the time clients outside ask each service who
//! serves it, kernels are asked who has its address, its processes write [stamps](crate::stamps), and the
//! nodes are asked what they believe.
//!
//! What is judged, by the invariants of the design:
//!
//! | | here | elsewhere |
//! |---|---|---|
//! | I1, one owner | [`judge`]: answers, addresses, where processes run, what they write | `sim`, scenarios |
//! | I2, running again in time | whole again within a limit that follows from F and from how often a node had come back ([`round`]); outages are reported, because a plain takeover cannot be told from one that was hit again | scenarios, against the printed bound; `sim` |
//! | I3, one view and order | [`looks`]: a generation has one set of members, and none goes back; in the end all nodes say the same | `sim` for the order of messages |
//! | I4, all or none | the configuration of all nodes is the same to the letter, and one that was asked for | `sim`, `models` |
//! | I5, nothing older | no acknowledged configuration is lost. Two primaries at one instant cannot be seen from outside, except by I1 and as one generation with two sets of members | `sim`, `models`, `lab ties` |
//! | I6, nothing needless | whole and left alone, nothing moves, restarts or changes the view for some seconds; while blows fall, cause and effect cannot be told apart | `sim`, scenarios |
//! | I7, back by itself | nobody does anything after the heal but a service manager, which starts guards that have ended | `sim` |
//! | I8, I9 | not judged | `sim`, scenarios `storm`, `flood` |
//!
//! A round follows from its number and the seed alone, so one that went wrong can be had again:
//! the lots do not look at what the cluster does (when things happen still differs).

mod blow;
mod chance;
mod deal;
mod deaths;
mod draw;
pub mod judge;
mod looks;
mod round;
mod settings;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::arbiters::Tie;
use chance::Chance;
use judge::Breach;

/// How long a node that returns must be steadily connected before it joins, and how long a cluster that starts anew waits
/// for absent nodes: those of `fast`, written into each configuration, because a limit counts with them.
const HOLD: Duration = Duration::from_secs(1);
const START_WAIT: Duration = Duration::from_secs(5);

/// So many voids of a kind without one that landed are no chance.
const NEVER_LANDED: u64 = 20;

/// What to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// Everything is drawn from it.
    pub seed: u64,
    /// The first round.
    pub first: u64,
    /// Blows in all.
    pub steps: u64,
    /// Blows of a round.
    pub blows: u64,
    /// Nodes of the cluster.
    pub nodes: u8,
    /// A preset.
    pub detection: String,
    /// Who breaks the ties; it takes blows as well.
    pub tie: Tie,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Rounds played.
    pub rounds: u64,
    /// Blows drawn.
    pub steps: u64,
    /// Those that hit something.
    pub landed: u64,
    /// Those that did not: what they were for was not there, or the cluster refused.
    pub void: u64,
    /// Probes of clients.
    pub probes: u64,
    /// Stamps of services' processes.
    pub stamps: u64,
    /// Those that came after a successor's, of processes that no guard could have ended: none was at work there.
    pub excused: u64,
    /// Those that landed, by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Those that did not, by kind.
    pub voids: BTreeMap<String, u64>,
    /// Each time that a service came up on another machine: from its last answer there to the first one here, in
    /// milliseconds.
    pub outages_ms: Vec<f64>,
    /// Configurations that were acknowledged.
    pub configurations: u64,
    /// Until a cluster was whole after it was healed, in milliseconds, in order.
    pub healed_ms: Vec<f64>,
    /// Two owners.
    pub breaches: Vec<Breach>,
    /// What else went wrong, with the round.
    pub failures: Vec<String>,
}

impl Report {
    /// Kinds of blows that were drawn often and never landed: a product that refuses all of a kind looks as if
    /// it stood them.
    fn never_landed(&self) -> Option<String> {
        let never = self.voids.iter().filter(|(kind, count)| {
            **count >= NEVER_LANDED && self.kinds.get(*kind).is_none_or(|landed| *landed == 0)
        });
        let never: Vec<String> =
            never.map(|(kind, count)| format!("{kind} (0 of {count})")).collect();
        (!never.is_empty()).then(|| format!("blows that never landed: {}", never.join(", ")))
    }

    /// Whether all was as it must be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.breaches.is_empty() && self.failures.is_empty()
    }

    /// For people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let (median, worst) = median_and_worst(&self.healed_ms);
        let (outage, longest) = median_and_worst(&self.outages_ms);
        let kinds = self.kinds.iter().map(|(kind, count)| format!("{kind} {count}"));
        format!(
            "landed: {}\n{} steps ({} landed, {} void) in {} rounds: {} failovers, without an answer for {outage:.0} ms \
             (median), {longest:.0} ms (worst); {} configurations acknowledged, {} probes, {} stamps ({} late ones \
             excused); whole again after {median:.0} ms (median), {worst:.0} ms (worst); {} breaches, {} failures",
            kinds.collect::<Vec<_>>().join(", "),
            self.steps,
            self.landed,
            self.void,
            self.rounds,
            self.outages_ms.len(),
            self.configurations,
            self.probes,
            self.stamps,
            self.excused,
            self.breaches.len(),
            self.failures.len()
        )
    }
}

fn median_and_worst(times: &[f64]) -> (f64, f64) {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    (median, times.last().copied().unwrap_or_default())
}

/// Plays it, with a line for each blow.
///
/// # Errors
/// When a lab cannot be built, or the output cannot be written. What goes wrong in a cluster is in
/// the report.
pub fn play(order: &Order, out: &mut dyn Write) -> Result<Report> {
    ensure!(order.nodes >= 2 && order.blows > 0, "a torture has two nodes and a blow at least");
    let mut report = Report::default();
    let mut number = order.first;
    while report.steps < order.steps {
        writeln!(out, "round {number} of seed {}", order.seed)?;
        let blows = order.blows.min(order.steps - report.steps);
        let before = report.failures.len();
        let seed = Chance::new(order.seed ^ number.rotate_left(32)).next();
        let outcome = round::play(order, Chance::new(seed), blows, &mut report, out)
            .with_context(|| format!("round {number} of seed {}", order.seed));
        report.rounds += 1;
        report.steps += blows;
        if let Err(error) = outcome {
            report.failures.push(format!("{error:#}"));
        }
        for failure in &report.failures[before..] {
            writeln!(out, "  FAILED: {failure}")?;
        }
        number += 1;
        out.flush()?;
    }
    if report.steps > 0 && report.landed == 0 {
        report.failures.push("no blow landed".to_owned());
    }
    report.failures.extend(report.never_landed());
    Ok(report)
}

#[cfg(test)]
mod tests;
