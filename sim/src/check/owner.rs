//! Rules about who works.

use std::collections::BTreeMap;

use crate::machine::Machine;
use crate::world::Stamp;

/// Where each service was last seen to begin.
#[derive(Debug, Default)]
pub struct Owners {
    last: BTreeMap<String, usize>,
}

impl Owners {
    /// Notes where a service begins; whether that is another machine than before.
    pub fn moved(&mut self, service: &str, machine: usize) -> bool {
        match self.last.get_mut(service) {
            Some(last) => core::mem::replace(last, machine) != machine,
            None => {
                self.last.insert(service.to_owned(), machine);
                false
            }
        }
    }
}

/// (I1, 10) At no instant do two machines own one service: a process that accepts work, or an
/// address that answers. Whether anybody could reach the address is not asked.
pub fn at_most_one_machine_owns_a_service(
    machines: &[Machine],
    service: &str,
    now: u64,
) -> Result<(), String> {
    let mut owners = machines.iter().filter(|machine| machine.owns(service, now));
    let (Some(one), Some(other)) = (owners.next(), owners.next()) else { return Ok(()) };
    Err(format!("{service} works on {} and on {}", one.node(), other.node()))
}

/// (12, 13) What works has a lease, or its guard is within its time of ending it.
pub fn what_works_has_a_deadline_ahead(
    machine: &Machine,
    release: u64,
    now: u64,
) -> Result<(), String> {
    if machine.frozen_until.is_some() {
        return what_is_gated_is_silent_after_its_deadline(machine, now);
    }
    let processes = machine.processes.iter().filter(|(_, process)| process.accepts);
    let services = processes.map(|((service, _), _)| service);
    let services = services.chain(machine.addresses.iter().map(|own| &own.service));
    for service in services {
        let Some(cover) = machine.guard.covers.get(service) else {
            return Err(format!("{service} works on {} without a guard", machine.node()));
        };
        let over = cover.deadline + core::time::Duration::from_nanos(release);
        if machine.local(now) > over {
            let over = Stamp(machine.real(over));
            return Err(format!("{service} works on {} although it ended {over}", machine.node()));
        }
    }
    Ok(())
}

/// (I1) What a kernel was told about an address ends with the guard's deadline at the latest: from now on
/// everybody may stand still.
pub fn what_is_told_ends_with_the_lease(
    machine: &Machine,
    service: &str,
    address: std::net::IpAddr,
) -> Result<(), String> {
    let told = machine.gate.get(&address).map(|slot| slot.deadline);
    let cover = machine.guard.covers.get(service).map(|cover| cover.deadline);
    if told <= cover {
        return Ok(());
    }
    Err(format!("{} was told to have {address} open after its lease", machine.node()))
}

/// (I1) The kernel's gate closes at the guard's deadline or before, though nobody acts.
fn what_is_gated_is_silent_after_its_deadline(machine: &Machine, now: u64) -> Result<(), String> {
    for own in machine.addresses.iter().filter(|own| machine.answers(own.address, now)) {
        let cover = machine.guard.covers.get(&own.service);
        if cover.is_none_or(|cover| machine.local(now) >= cover.deadline) {
            let (address, node) = (own.address, machine.node());
            return Err(format!(
                "{address} answers on {node}, which stands still, after its lease"
            ));
        }
    }
    Ok(())
}
