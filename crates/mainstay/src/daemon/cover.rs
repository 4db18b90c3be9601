//! What the guard knows: for each service with anything of it on this node, what that is and
//! until when it may work.
//!
//! Addresses are closed by the kernel's [gate](os::gate) until they are here and their service was not
//! killed; then the gate's deadline is pushed together with the guard's, to the same moment.
//!
//! **Rule:** an address or a process is entered here before it comes into being, and is taken out
//! only after it is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use base::Instant;
use base::feeding::{Feeding, Sight};
use os::gate::DaemonGate;
use os::shared::{DaemonSide, Description, HeldAddress, HeldProcess, Permit, SharedError, Slot};

/// The daemon's side of the shared memory and of the kernel's gate, by service.
pub(super) struct Cover {
    shared: DaemonSide,
    gate: Option<DaemonGate>,
    services: BTreeMap<String, Covered>,
    /// Those that this daemon is ending in the guard's place.
    ending: BTreeSet<String>,
}

struct Covered {
    slot: Slot,
    description: Description,
    /// Process resources that are being started: the description is not complete yet.
    starting: BTreeSet<String>,
    /// Addresses that the gate lets through within the lease.
    open: BTreeSet<IpAddr>,
}

/// Why something was not entered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No fault of the service: it may be entered with newer evidence.
    NotNow(String),
    /// It does not fit.
    Never(String),
}

impl From<Refused> for network::Failure {
    fn from(refused: Refused) -> network::Failure {
        match refused {
            Refused::NotNow(reason) => network::Failure::NotNow(reason),
            Refused::Never(reason) => network::Failure::Lasting(reason),
        }
    }
}

impl Cover {
    /// Takes over what a former life of the daemon has entered.
    pub(super) fn new(shared: DaemonSide, gate: Option<DaemonGate>) -> Cover {
        let entries = shared.entries().into_iter();
        let services = entries
            .map(|entry| {
                let name = entry.description.service.clone();
                let covered = Covered {
                    slot: entry.slot,
                    description: entry.description,
                    starting: BTreeSet::new(),
                    open: BTreeSet::new(),
                };
                (name, covered)
            })
            .collect();
        Cover { shared, gate, services, ending: BTreeSet::new() }
    }

    pub(super) fn gate(&mut self) -> Option<&mut DaemonGate> {
        self.gate.as_mut()
    }

    /// All addresses that may be here.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let held = self.services.values().flat_map(|covered| &covered.description.addresses);
        held.map(|held| held.address)
    }

    /// Lets an address through that is here now, as long as its service may work. To be called before it
    /// is announced.
    pub(super) fn open(&mut self, address: IpAddr) {
        let has = |covered: &&mut Covered| {
            covered.description.addresses.iter().any(|held| held.address == address)
        };
        let Some(covered) = self.services.values_mut().find(has) else { return };
        // The moment first, then the question: see `os::gate`.
        let moment = os::clock::boottime();
        if self.shared.killed(covered.slot).is_some() {
            return;
        }
        covered.open.insert(address);
        if let Some(gate) = &self.gate {
            gate.grant(address, moment);
            gate.push(address, self.shared.deadline(covered.slot));
        }
    }

    /// Lets an address through no more. To be called before it is removed.
    pub(super) fn close(&mut self, address: IpAddr) {
        for covered in self.services.values_mut() {
            covered.open.remove(&address);
        }
        if let Some(gate) = &self.gate {
            gate.close(address);
        }
    }

    /// Whether the address was entered for this place. Elsewhere it is a copy that somebody else made.
    pub(super) fn is_at(&self, held: &HeldAddress) -> bool {
        self.services.values().any(|covered| covered.description.addresses.contains(held))
    }

    pub(super) fn shared(&mut self) -> &mut DaemonSide {
        &mut self.shared
    }

    pub(super) fn watchdog(&self) -> os::shared::WatchdogStatus {
        self.shared.watchdog()
    }

    pub(super) fn watchdog_timeout(&self) -> Option<std::time::Duration> {
        self.shared.watchdog_timeout()
    }

    pub(super) fn sight(&self) -> Sight {
        self.shared.sight()
    }

    pub(super) fn guard(&self) -> os::shared::GuardStatus {
        self.shared.guard()
    }

    /// Extends the deadline of a service that this node holds.
    pub(super) fn push(&mut self, service: &str, until: Instant) {
        let Some(covered) = self.services.get(service) else { return };
        // A service that the guard has killed stays killed; its end is reported by its processes and
        // addresses.
        if self.shared.push(covered.slot, until)
            && let Some(gate) = &self.gate
        {
            for address in &covered.open {
                // The guard was looking at the former use of this entry when it was released: what it
                // revoked is not the right of this one.
                if gate.is_revoked(*address) {
                    let moment = os::clock::boottime();
                    if self.shared.killed(covered.slot).is_none() {
                        gate.grant(*address, moment);
                    }
                }
                gate.push(*address, until);
            }
        }
    }

    /// Enters a process that is about to be started.
    ///
    /// # Errors
    /// When it does not fit, or the guard has just killed the service.
    pub(super) fn starting(
        &mut self,
        service: &str,
        resource: &str,
        group: Option<PathBuf>,
        until: Instant,
        storage: bool,
    ) -> Result<(), Refused> {
        let covered = self.enter(service, group, until, storage)?;
        covered.starting.insert(resource.to_owned());
        Ok(())
    }

    /// Enters a mount that a former life of the daemon has left, or may have: its service is not
    /// released, and no goodbye is said, before it is gone.
    ///
    /// # Errors
    /// When it does not fit.
    pub(super) fn remains(
        &mut self,
        service: &str,
        resource: &str,
        group: Option<PathBuf>,
    ) -> Result<(), String> {
        if !self.services.contains_key(service) {
            let description = Description {
                service: service.to_owned(),
                group,
                storage: true,
                ..Description::default()
            };
            // It has no right to run anything: that comes when it is entered for a start.
            let over = os::clock::boottime();
            let slot = self.shared.register(&description, over).map_err(|e| said(&e))?;
            let (starting, open) = (BTreeSet::new(), BTreeSet::new());
            let covered = Covered { slot, description, starting, open };
            self.services.insert(service.to_owned(), covered);
        }
        let covered = self.services.get_mut(service).expect("it was just entered");
        covered.starting.insert(resource.to_owned());
        if !covered.description.storage {
            covered.description.storage = true;
            self.describe(service)?;
        }
        Ok(())
    }

    /// Services of which processes are here, or may be, and the guard does not say that they are gone; each with the
    /// moment from which on nothing of it may run.
    pub(super) fn unended(&self) -> impl Iterator<Item = (&str, Instant)> {
        self.services.iter().filter_map(|(name, covered)| {
            let has_any = !covered.description.processes.is_empty() || !covered.starting.is_empty();
            let deadline = self.shared.deadline(covered.slot);
            let end = match self.shared.killed(covered.slot) {
                Some(killed) if killed.gone.is_some() => return None,
                Some(killed) => killed.at.min(deadline),
                None => deadline,
            };
            has_any.then_some((name.as_str(), end))
        })
    }

    /// This daemon is about to end a service in the guard's place: until that is done it stays entered, and nothing of it
    /// is started.
    pub(super) fn begin_ending(&mut self, service: &str) {
        self.ending.insert(service.to_owned());
    }

    /// ... and has done so.
    pub(super) fn finish_ending(&mut self, service: &str) {
        self.ending.remove(service);
    }

    /// The right to start something of a service that was entered.
    pub(super) fn permit(&self, service: &str) -> Option<Permit> {
        self.services.get(service).map(|covered| self.shared.permit(covered.slot))
    }

    /// What came of the start.
    ///
    /// # Errors
    /// When it does not fit.
    pub(super) fn started(
        &mut self,
        service: &str,
        resource: &str,
        process: Option<(u32, u64)>,
    ) -> Result<(), String> {
        let Some(covered) = self.services.get_mut(service) else { return Ok(()) };
        covered.starting.remove(resource);
        if let Some((pid, started)) = process {
            covered.description.processes.retain(|held| held.resource != resource);
            let resource = resource.to_owned();
            covered.description.processes.push(HeldProcess { resource, pid, started });
        }
        self.describe(service)
    }

    /// A process resource is gone, with everything that it had started.
    pub(super) fn ended(&mut self, service: &str, resource: &str) {
        let Some(covered) = self.services.get_mut(service) else { return };
        covered.starting.remove(resource);
        covered.description.processes.retain(|held| held.resource != resource);
        // It became shorter, so it fits.
        let _fits = self.describe(service);
    }

    /// Enters an address that is about to be added.
    ///
    /// # Errors
    /// When it does not fit, or the guard has just killed the service.
    pub(super) fn adding(
        &mut self,
        service: &str,
        address: HeldAddress,
        until: Instant,
        storage: bool,
    ) -> Result<(), Refused> {
        let covered = self.enter(service, None, until, storage)?;
        covered.description.addresses.retain(|held| held.address != address.address);
        covered.description.addresses.push(address);
        self.describe(service).map_err(Refused::Never)
    }

    /// An address is gone.
    pub(super) fn removed(&mut self, address: IpAddr) {
        self.close(address);
        let has = |covered: &Covered| {
            covered.description.addresses.iter().any(|held| held.address == address)
        };
        let names: Vec<String> =
            self.services.iter().filter(|(_, c)| has(c)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let covered = self.services.get_mut(&name).expect("it was just seen");
            covered.description.addresses.retain(|held| held.address != address);
            let _fits = self.describe(&name);
        }
    }

    /// Takes out services of which nothing is left; those in `held` stay for what comes.
    pub(super) fn settle(&mut self, is_held: impl Fn(&str) -> bool) {
        let (shared, ending) = (&mut self.shared, &self.ending);
        self.services.retain(|name, covered| {
            let description = &covered.description;
            let is_empty = description.addresses.is_empty()
                && description.processes.is_empty()
                && covered.starting.is_empty();
            // What the guard has killed is under it until it says that it is gone: its kill may be under way.
            let done = is_empty
                && !ending.contains(name)
                && match shared.killed(covered.slot) {
                    Some(killed) => killed.gone.is_some(),
                    None => !is_held(name),
                };
            if done {
                shared.release(covered.slot);
            }
            !done
        });
    }

    /// Before anything of it begins. What may write is in the guard's sight first; only then clock and
    /// evidence are looked at, as in [`Cover::open`]: whoever is stopped between the two looks at a
    /// clock that went on, and a guard that feeds as on a clean machine has done so before.
    fn enter(
        &mut self,
        service: &str,
        group: Option<PathBuf>,
        until: Instant,
        storage: bool,
    ) -> Result<&mut Covered, Refused> {
        if until == Instant::ZERO {
            return Err(Refused::NotNow("this node has no lease".into()));
        }
        if self.ending.contains(service) {
            let reason = "this daemon is just stopping this service in its guard's place";
            return Err(Refused::NotNow(reason.into()));
        }
        let is_new = !self.services.contains_key(service);
        if let Some(covered) = self.services.get_mut(service) {
            if !self.shared.push(covered.slot, until) {
                let reason = "the guard has just stopped this service here";
                return Err(Refused::NotNow(reason.into()));
            }
            let description = &mut covered.description;
            let is_other = group.is_some() && description.group != group;
            if is_other || storage && !description.storage {
                description.group = group.or(description.group.take());
                // What may write stays so until nothing of it is left.
                description.storage |= storage;
                self.describe(service).map_err(Refused::Never)?;
            }
        } else {
            let description = Description {
                service: service.to_owned(),
                group,
                storage,
                ..Description::default()
            };
            let slot = (self.shared.register(&description, until))
                .map_err(|error| Refused::Never(said(&error)))?;
            let (starting, open) = (BTreeSet::new(), BTreeSet::new());
            let covered = Covered { slot, description, starting, open };
            self.services.insert(service.to_owned(), covered);
        }
        let is_fed = || Feeding::may(os::clock::boottime(), &self.shared.sight());
        if storage && self.shared.watchdog_timeout().is_some() && !is_fed() {
            // A feeding of the clean machine may be on its way: see `base::feeding`.
            // What the guard has killed meanwhile is under it until it is gone.
            let is_killed = |covered: &Covered| self.shared.killed(covered.slot).is_some();
            if is_new && !self.services.get(service).is_some_and(is_killed) {
                let covered = self.services.remove(service).expect("it was just entered");
                self.shared.release(covered.slot);
            }
            let reason = "the watchdog is not fed now, so nothing that writes is started";
            return Err(Refused::NotNow(reason.into()));
        }
        Ok(self.services.get_mut(service).expect("it was just entered"))
    }

    /// What runs and has become one of storage is in the guard's sight as such before anybody is told
    /// that this node knows of it.
    pub(super) fn mark_storage(&mut self, is_storage: impl Fn(&str) -> bool) {
        let new = self.services.iter().filter(|(_, covered)| !covered.description.storage);
        let names: Vec<String> =
            new.map(|(name, _)| name.clone()).filter(|name| is_storage(name)).collect();
        for name in names {
            let covered = self.services.get_mut(&name).expect("it was just seen");
            covered.description.storage = true;
            // It became no longer, so it fits.
            let _fits = self.describe(&name);
        }
    }

    fn describe(&mut self, service: &str) -> Result<(), String> {
        let Some(covered) = self.services.get(service) else { return Ok(()) };
        self.shared.describe(covered.slot, &covered.description).map_err(|error| said(&error))
    }
}

fn said(error: &SharedError) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests;
