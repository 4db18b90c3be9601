//! Rules about leases and fences.

use base::{Instant, View};

use super::views::Views;
use crate::machine::{Daemon, Machine};
use crate::setup::{Setup, nanos};
use crate::world::Stamp;

/// What was pushed to guards.
#[derive(Debug)]
pub struct Leases {
    /// By machine: view and the latest deadline that was pushed in it, since the last power-on.
    pushed: Vec<Vec<((u32, u64), Instant)>>,
}

impl Leases {
    /// Nothing was pushed.
    #[must_use]
    pub fn new(machines: usize) -> Leases {
        Leases { pushed: vec![Vec::new(); machines] }
    }

    /// A deadline was pushed.
    pub fn note(&mut self, machine: usize, scope: (u32, u64), until: Instant) {
        let pushed = &mut self.pushed[machine];
        match pushed.last_mut() {
            Some((last, latest)) if *last == scope => *latest = until.max(*latest),
            _ => pushed.push((scope, until)),
        }
    }

    /// No power, no lease.
    pub fn forget(&mut self, machine: usize) {
        self.pushed[machine].clear();
    }
}

/// (14) When a node counts as fenced because its guard, an agent or a person said so, nothing is left
/// there, unless a life of it has been in this view or a later one since. By its watchdog: a guard that
/// has ended all services of storage feeds on, so what nothing can end may be left of others.
pub fn whoever_is_proven_fenced_runs_nothing(
    absent: &Machine,
    may_be_left: impl Fn(&str) -> bool,
    newest: Option<(u32, u64)>,
    (lineage, generation): (u32, u64),
    now: u64,
) -> Result<(), String> {
    let is_back = newest.is_some_and(|(of, since)| of == lineage && since >= generation);
    // A mount, or a process that stands still, may write as long as it is there.
    let counts = |service: &str, accepts: bool| accepts || !may_be_left(service);
    let processes =
        absent.processes.iter().filter(|((service, _), one)| counts(service, one.accepts));
    let addresses = absent.addresses.iter().filter(|own| absent.answers(own.address, now));
    let left: Vec<String> = (processes.map(|((service, part), _)| format!("{service}/{part}")))
        .chain(addresses.map(|own| own.address.to_string()))
        .collect();
    if is_back || left.is_empty() {
        return Ok(());
    }
    Err(format!("{} counts as fenced, and there is {} left", absent.node(), left.join(", ")))
}

/// (14) When a node counts as fenced by time or by its watchdog, the lease of each of its lives that was in an
/// earlier view, and `release`, the time that its guard has, are over.
pub fn a_fence_never_precedes_the_end_of_the_lease(
    leases: &Leases,
    absent: &Machine,
    (lineage, generation): (u32, u64),
    release: u64,
    now: u64,
) -> Result<(), String> {
    let earlier = leases.pushed[absent.number]
        .iter()
        .filter(|((other, before), _)| *other == lineage && *before < generation);
    let Some(until) = earlier.map(|(_, until)| *until).max() else { return Ok(()) };
    let over = absent.real(until + core::time::Duration::from_nanos(release));
    if over <= now {
        return Ok(());
    }
    Err(format!("{} counts as fenced, its guard may need until {}", absent.node(), Stamp(over)))
}

/// A wait that runs goes on in the next view, until it has ended in the order of entries: whoever
/// the engine has noted as absent, the group waits for.
pub fn whoever_is_absent_is_waited_for(daemon: &Daemon, view: &View) -> Result<(), String> {
    let here = view.nodes();
    let absences = daemon.node.engine().observation().absences.values();
    let is_it = |wait: &group::Absence, absence: &engine::Absence| {
        (wait.node, wait.incarnation, wait.generation)
            == (absence.node, absence.incarnation, absence.generation)
    };
    for absence in absences.filter(|absence| !here.contains(absence.node)) {
        if !daemon.node.group().waits().any(|wait| is_it(&wait, absence)) {
            let (local, node) = (daemon.node.local(), absence.node);
            let (since, now) = (absence.generation, view.generation);
            return Err(format!(
                "{local} has missed {node} since generation {since}, and forgot it in {now}"
            ));
        }
    }
    Ok(())
}

/// (9, and the heart of the fence wait's argument) A quorum was sealed before any later view was
/// entered; so no majority can echo a stamp that was sent after that.
pub fn a_view_that_has_a_successor_gains_no_evidence(
    views: &Views,
    machine: &Machine,
    daemon: &Daemon,
    setup: &Setup,
    now: u64,
) -> Result<(), String> {
    let until = daemon.node.leases().0;
    let lease = setup.timing.lease;
    if until.as_nanos() <= nanos(lease) {
        return Ok(());
    }
    let Some(view) = daemon.node.view() else { return Ok(()) };
    let evidence = machine.real(until.minus(lease)).min(now);
    match views.succeeded_at(view.lineage, view.generation) {
        Some(succeeded) if evidence > succeeded => Err(format!(
            "{} in generation {} has evidence of {}, a later view was entered at {}",
            daemon.node.local(),
            view.generation,
            Stamp(evidence),
            Stamp(succeeded)
        )),
        _ => Ok(()),
    }
}
