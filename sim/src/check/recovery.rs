//! The second part of a run: after the last fault everything must be well again, in time.

use core::time::Duration;

use base::{Medium, NetworkId, NodeId};
use engine::{KILL_TIMEOUT, Phase, ResourceKind, Service};

use crate::cards;
use crate::machine::Machine;
use crate::setup::{Setup, machine_of, nanos};
use crate::wires::Wires;
use crate::world::{Severity, Stamp, World};

/// Operators look every so many samples.
const MEND_EVERY: u64 = 4;
/// All must stay well for so many units.
const CALM_UNITS: u64 = 3;

impl World {
    /// Ends the run when all is well and stays so; the bound decides when that is too late.
    pub(crate) fn await_recovery(&mut self, healed_at: u64) {
        let joins = self.check.joins_max();
        let verdict = all_is_well(&self.machines, &self.wires, self.now);
        let own = |machine| cards::own_is_in_place(&self.setup, machine);
        let verdict = verdict.and_then(|()| self.machines.iter().try_for_each(own));
        match verdict {
            Ok(()) => {
                let since = *self.well_since.get_or_insert(self.now);
                if self.now - since >= self.setup.unit * CALM_UNITS {
                    self.trace(|| "all is well".to_owned());
                    self.end();
                }
            }
            Err(reason) => {
                self.well_since = None;
                self.trace(|| format!("not well yet: {reason}"));
                let bound = healed_at + bound(&self.setup, joins);
                if self.now > bound {
                    let bound = Stamp(bound);
                    let rule = "after the last fault all is well again in time";
                    let verdict = Err(format!("since {bound} at the latest; {reason}"));
                    self.require(Severity::Liveness, rule, verdict);
                } else if self.now - self.mended_at >= self.setup.unit * MEND_EVERY {
                    self.mended_at = self.now;
                    self.mend();
                }
            }
        }
    }
}

/// By when all must be well: what each step may take, one after the other. Returning nodes are
/// held down, longer with each return.
#[must_use]
pub fn bound(setup: &Setup, joins: u32) -> u64 {
    let timing = &setup.timing;
    let slowest = |of: fn(&Service) -> Duration| {
        let services = setup.intent.services.iter().chain(&setup.spare);
        services.map(of).max().unwrap_or_default()
    };
    let media = setup.media.iter().map(|medium| medium.medium);
    let lost_after = |medium| timing.timeout(medium) * 4 + timing.interval(medium, false) * 4;
    let detection = media.chain([Medium::Network]).map(lost_after).max().unwrap_or_default();
    let change = timing.collect * 10 + timing.stall + Duration::from_secs(2);
    let hold = (timing.hold * (1 << joins.min(8))).min(Duration::from_secs(300));
    // Flap damping: up to 48 echoes until a path counts again.
    let damping = timing.heartbeat_low * 50;
    let service = slowest(|service| service.start_timeout)
        + slowest(|service| service.stop_timeout)
        + KILL_TIMEOUT * 2;
    // A run that hangs since before, an agent that takes its time, and a machine that comes back.
    let fencing = setup.fencing.iter().flat_map(|spec| &spec.levels).map(|level| level.timeout);
    let fencing = fencing.max().map_or(Duration::ZERO, |most| most * 2 + timing.path_timeout * 16);
    let operators = timing.path_timeout * (MEND_EVERY as u32) * 6;
    let all = detection
        + change * 2
        + hold * 2
        + damping
        + timing.fence_wait()
        + timing.start_wait
        + service * 2
        + fencing
        + operators;
    nanos(all)
}

/// One view of all, everything that can run runs, once, where the cluster thinks; nothing waits.
///
/// # Errors
/// What is not well.
pub fn all_is_well(machines: &[Machine], wires: &Wires, now: u64) -> Result<(), String> {
    let mut reference = None;
    for machine in machines {
        let node = machine.node();
        let Some(daemon) = &machine.daemon else { return Err(format!("{node} has no daemon")) };
        let group = daemon.node.group();
        let Some(view) = group.view() else {
            let waiting = group.status().waiting.unwrap_or_default();
            return Err(format!("{node} is in no view: {waiting}"));
        };
        if view.members.len() != machines.len() {
            let (generation, members) = (view.generation, view.members.len());
            return Err(format!("{node} is in generation {generation} of {members}"));
        }
        let progress = group.progress().expect("it has a view");
        if progress.is_sealed {
            return Err(format!("{node} is sealed"));
        }
        let queues = group.queues();
        if queues != group::Queues::default() || !daemon.backlog.is_empty() {
            return Err(format!("{node} has something to do: {queues:?}"));
        }
        if let Some(absence) = group.waits().next() {
            return Err(format!("{node} waits for the absence of {}", absence.node));
        }
        if daemon.node.leases().0 <= daemon_now(machine, daemon.turned_at) {
            return Err(format!("{node} has no lease"));
        }
        if let Some(request) = daemon.asked.first() {
            return Err(format!("{node} has not answered command {request}"));
        }
        let state = (view.clone(), progress.delivered, daemon.node.engine().checksum());
        match &reference {
            None => reference = Some(state),
            Some(other) if *other == state => {}
            Some(_) => return Err(format!("{node} is not where the first one is")),
        }
    }
    let Some(daemon) = machines.first().and_then(|machine| machine.daemon.as_ref()) else {
        return Err("no machine".to_owned());
    };
    let engine = daemon.node.engine();
    for service in &engine.intent().services {
        let state = &engine.observation().services[&service.name];
        let owners: Vec<NodeId> =
            machines.iter().filter(|m| m.owns(&service.name, now)).map(Machine::node).collect();
        let can_run = service.nodes.iter().any(|node| is_legal(service, *node, wires));
        let name = &service.name;
        match &state.phase {
            Phase::Running { holder, .. } if owners == [holder.node] => {
                all_of_it_works(service, &machines[machine_of(holder.node)], now)?;
            }
            Phase::Idle if owners.is_empty() && !can_run => {}
            phase => {
                return Err(format!("{name} is {phase:?}, works on {owners:?}: {}", state.reason));
            }
        }
    }
    Ok(())
}

fn daemon_now(machine: &Machine, turned_at: u64) -> base::Instant {
    machine.local(turned_at)
}

/// Whether the node has all networks that the service's addresses need.
fn is_legal(service: &Service, node: NodeId, wires: &Wires) -> bool {
    service.resources.iter().all(|resource| match &resource.kind {
        ResourceKind::Address { address: core::net::IpAddr::V4(address), .. } => {
            wires.nodes(NetworkId(address.octets()[2].into())).contains(node)
        }
        ResourceKind::Address { .. }
        | ResourceKind::Process { .. }
        | ResourceKind::Mount { .. }
        | ResourceKind::Reservation { .. } => true,
    })
}

/// What is said to run runs, all of it.
fn all_of_it_works(service: &Service, machine: &Machine, now: u64) -> Result<(), String> {
    for resource in &service.resources {
        let works = match &resource.kind {
            ResourceKind::Address { address, .. } => {
                let mut own = machine.addresses.iter();
                own.any(|own| own.address == *address) && machine.answers(*address, now)
            }
            ResourceKind::Mount { .. } | ResourceKind::Reservation { .. } => {
                let key = (service.name.clone(), resource.name.clone());
                machine.processes.contains_key(&key)
            }
            ResourceKind::Process { .. } => {
                let key = (service.name.clone(), resource.name.clone());
                machine.processes.get(&key).is_some_and(|process| process.accepts)
            }
        };
        if !works {
            let (name, part, node) = (&service.name, &resource.name, machine.node());
            return Err(format!("{name} is said to run on {node}, but {part} does not"));
        }
    }
    Ok(())
}
