//! From a claim to an owned address, and back to none.

use core::net::IpAddr;
use core::time::Duration;

use base::Instant;

use crate::machine::{Claim, Entry, Network, Operation, Place, Probing, Removing, State};
use crate::own::Owned;
use crate::share::Chosen;
use crate::subnet::bits;
use crate::wire::{self, Mac};
use crate::{Failure, Output};

impl Network {
    pub(crate) fn claim(&mut self, service: String, address: IpAddr, claim: Claim) {
        let Some(entry) = self.entries.get_mut(&address) else {
            self.entries.insert(address, Entry::new(service, State::Clearing(claim), self.now));
            self.clear(address);
            return;
        };
        let reason = match &mut entry.state {
            State::Owned(owned) if entry.service == service => {
                let interface = owned.place.interface;
                let took = Duration::ZERO;
                self.outputs.push_back(Output::Claimed { id: claim.id, interface, took });
                self.announce_again(address);
                return;
            }
            State::Adopting => {
                entry.service = service;
                self.enter(address, State::Clearing(claim));
                return;
            }
            State::Removing(removing) if removing.next.is_none() => {
                removing.next = Some((service, claim));
                return;
            }
            State::Owned(_) => format!("{address} is held by service {}", entry.service),
            State::Removing(_) | State::Clearing(_) | State::Probing(_) | State::Adding { .. } => {
                format!("{address} is already being claimed for service {}", entry.service)
            }
        };
        self.outputs.push_back(Output::Failed { id: claim.id, reason });
    }

    pub(crate) fn release(&mut self, id: u64, address: IpAddr) {
        let fresh = State::Removing(Removing::default());
        let now = self.now;
        let entry =
            self.entries.entry(address).or_insert_with(|| Entry::new(String::new(), fresh, now));
        if !matches!(entry.state, State::Removing(_)) {
            self.remove(address, "it was released before it was claimed".into());
        }
        let State::Removing(removing) = &mut self.entry(address).state else {
            unreachable!("remove enters this state")
        };
        removing.releases.push(id);
        if let Some((_, claim)) = removing.next.take() {
            let reason = format!("{address} was released before it was claimed");
            self.outputs.push_back(Output::Failed { id: claim.id, reason });
        }
        self.clear(address);
    }

    /// Removes every trace of an address at once, then goes on with what its state waits for.
    fn clear(&mut self, address: IpAddr) {
        self.stubborn.retain(|place, _| place.address != address);
        self.sweep_one(address);
    }

    /// Leaves whatever state the address is in, for none. A claim that is under way fails.
    pub(crate) fn remove(&mut self, address: IpAddr, reason: String) {
        let (claim, places) = match &self.entry(address).state {
            State::Clearing(claim) => (Some(*claim), [None, None]),
            State::Probing(probing) => (Some(probing.claim), [None, None]),
            State::Adding { claim, place, .. } => (Some(*claim), [Some(*place), None]),
            State::Owned(owned) => {
                (None, [Some(owned.place), owned.moving.as_ref().map(|moving| moving.to)])
            }
            State::Adopting => (None, [None, None]),
            State::Removing(_) => unreachable!("callers know that it is not being removed yet"),
        };
        let failing = claim.map(|claim| (claim.id, format!("{address}: {reason}")));
        self.enter(address, State::Removing(Removing { failing, ..Removing::default() }));
        for place in places.into_iter().flatten() {
            // Also when it may not be there (yet): operations are done in order, and removing
            // nothing is no error.
            self.operate(place, false);
        }
    }

    /// Goes on with a state that waited for the picture or for removals, when they are all done.
    fn finish(&mut self, address: IpAddr) {
        if self.picture.is_none() || self.is_busy(address) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&address) else { return };
        let error = entry.error.take();
        match &mut entry.state {
            State::Clearing(claim) => {
                let claim = *claim;
                match error {
                    Some(error) => {
                        self.fail(address, claim.id, format!("a leftover is in the way: {error}"));
                    }
                    None => self.start_probing(address, claim, None),
                }
            }
            State::Removing(removing) => {
                let Removing { failing, releases, next, yields } = std::mem::take(removing);
                let service = entry.service.clone();
                self.entries.remove(&address);
                if let Some(mut why) = yields {
                    if let Some(error) = &error {
                        why = format!("{why}; and {error}");
                    }
                    self.counters.yielded += 1;
                    self.outputs.push_back(Output::Yielded { service, address, why });
                }
                if let Some((id, mut reason)) = failing {
                    if let Some(error) = &error {
                        reason = format!("{reason}; and {error}");
                    }
                    self.outputs.push_back(Output::Failed { id, reason });
                }
                for id in releases {
                    self.outputs.push_back(match &error {
                        None => Output::Released { id },
                        Some(error) => Output::Failed { id, reason: error.clone() },
                    });
                }
                if let Some((service, claim)) = next {
                    self.claim(service, address, claim);
                }
            }
            State::Adopting | State::Probing(_) | State::Adding { .. } | State::Owned(_) => {}
        }
    }

    /// Drops a claim of which nothing is on an interface.
    fn fail(&mut self, address: IpAddr, id: u64, reason: String) {
        self.entries.remove(&address);
        self.outputs.push_back(Output::Failed { id, reason: format!("{address}: {reason}") });
    }

    /// As [`Network::fail`], for one that may be tried again.
    fn put_off(&mut self, address: IpAddr, id: u64, reason: &str) {
        self.entries.remove(&address);
        self.outputs.push_back(Output::NotNow { id, reason: format!("{address}: {reason}") });
    }

    /// Chooses the interface and asks the first time.
    fn start_probing(&mut self, address: IpAddr, claim: Claim, patience: Option<Instant>) {
        let chosen = self.select(address, claim.prefix);
        self.probe_on(address, claim, patience, chosen);
    }

    /// Asks the first time, on an interface that was chosen, if one was.
    pub(crate) fn probe_on(
        &mut self,
        address: IpAddr,
        claim: Claim,
        patience: Option<Instant>,
        chosen: Result<Chosen, String>,
    ) {
        let (interface, mac) = match chosen {
            Ok(chosen) => {
                self.entry(address).why = chosen.why;
                (chosen.interface, chosen.mac)
            }
            Err(reason) => {
                self.entries.remove(&address);
                self.outputs.push_back(Output::Failed { id: claim.id, reason });
                return;
            }
        };
        // Nobody can be asked on an interface without Ethernet addresses.
        let Some(mac) = mac else { return self.add(address, claim, interface) };
        self.listen(interface);
        let next = self.now;
        let probing = Probing { claim, interface, mac, sent: 0, next, patience };
        self.enter(address, State::Probing(probing));
        self.probe(address, probing);
    }

    fn probe(&mut self, address: IpAddr, probing: Probing) {
        let bytes = wire::probe(probing.mac, address);
        self.outputs.push_back(Output::Send { interface: probing.interface, bytes });
        self.counters.probes += 1;
        let sent = probing.sent + 1;
        let next = self.now + PROBE_INTERVAL;
        self.entry(address).state = State::Probing(Probing { sent, next, ..probing });
    }

    /// Somebody answered, or asks for the same address. What a frozen node of ours still answers
    /// for ends with its kernel lifetime; what is there after that is a stranger's.
    pub(crate) fn conflict_while_probing(&mut self, address: IpAddr, probing: Probing, mac: Mac) {
        self.note_conflict(address, mac);
        let expiry = self.lifetime + KERNEL_LATENESS;
        let patience = probing.patience.unwrap_or(self.now + expiry);
        if self.now >= patience {
            let reason = used_by(mac, &self.name(probing.interface));
            self.fail(address, probing.claim.id, reason);
            return;
        }
        let patience = Some(patience);
        let next = self.now + CONFLICT_RETRY;
        self.entry(address).state = State::Probing(Probing { sent: 0, next, patience, ..probing });
    }

    fn add(&mut self, address: IpAddr, claim: Claim, interface: u32) {
        if !self.leased() {
            self.put_off(address, claim.id, "this node has no lease, so it may own nothing");
            return;
        }
        let place = Place { address, interface, prefix: bits(address) };
        let operation = self.operate(place, true);
        self.enter(address, State::Adding { claim, place, operation });
        if self.interface(interface).is_some_and(|interface| interface.mac.is_some()) {
            self.listen(interface);
        }
    }

    pub(crate) fn claim_tick(&mut self, address: IpAddr) {
        let now = self.now;
        let conflict = self.entry(address).conflict;
        let claim = match &self.entry(address).state {
            State::Clearing(claim) | State::Adding { claim, .. } => *claim,
            State::Probing(probing) => probing.claim,
            _ => unreachable!("only claims are asked"),
        };
        if now >= claim.deadline {
            let reason = match (&self.entries[&address].state, conflict) {
                (State::Probing(probing), Some((mac, _))) => {
                    used_by(mac, &self.name(probing.interface))
                }
                (state, _) => {
                    let took = now.since(claim.asked).as_millis();
                    let phase = match state {
                        State::Clearing(_) => "waiting for the interfaces or an old address to go",
                        State::Probing(_) => "asking whether somebody else has it",
                        _ => "adding it",
                    };
                    format!("not claimed in time: still {phase} after {took} ms")
                }
            };
            if self.picture.is_none() {
                // Nothing was done yet, and nothing is known to wait for.
                self.fail(address, claim.id, reason);
            } else {
                self.remove(address, reason);
                self.finish(address);
            }
            return;
        }
        if let State::Probing(probing) = &self.entry(address).state {
            let probing = *probing;
            if now < probing.next {
                return;
            }
            if probing.sent < PROBES {
                if self.may_send() {
                    self.probe(address, probing);
                }
            } else {
                self.add(address, probing.claim, probing.interface);
            }
        }
    }

    /// Asks the driver to add or remove.
    pub(crate) fn operate(&mut self, place: Place, adds: bool) -> u64 {
        let gives = !adds && self.gives(place);
        let operation = self.next_operation;
        self.next_operation += 1;
        self.operations.insert(operation, Operation { place, adds });
        *self.busy.entry(place).or_default() += 1;
        let Place { address, interface, prefix } = place;
        let output = if adds {
            let (lifetime, taking) = (self.lifetime, self.taking(place));
            self.note_taking(operation, &taking);
            Output::Add { operation, interface, address, prefix, lifetime, taking }
        } else {
            Output::Remove { operation, interface, address, prefix, gives }
        };
        self.outputs.push_back(output);
        operation
    }

    /// The driver did, or could not do, what it was asked.
    pub(crate) fn done(&mut self, operation: u64, result: Result<(), Failure>) {
        let is_not_now = matches!(result, Err(Failure::NotNow(_)));
        let told = result.clone().map_err(Failure::reason);
        if self.given(operation, &told) || self.switched(operation, result) {
            return;
        }
        let result = told;
        let Operation { place, adds } =
            self.operations.remove(&operation).expect("each operation is answered once");
        let left = self.busy.get_mut(&place).expect("counted when it was asked for");
        *left -= 1;
        if *left == 0 {
            self.busy.remove(&place);
        }
        let address = place.address;
        self.took(operation, place.interface, result.is_ok());
        match (&result, adds) {
            (Ok(()), true) => self.picture_add(place),
            (Ok(()), false) => self.picture_remove(place),
            (Err(_), true) => {}
            (Err(_), false) => {
                self.stubborn.insert(place, self.now + SWEEP_RETRY);
            }
        }
        let on = self.name(place.interface);
        let Some(entry) = self.entries.get_mut(&address) else {
            self.sweep_one(address);
            return;
        };
        match (&mut entry.state, result) {
            (State::Adding { claim, operation: adding, .. }, result) if *adding == operation => {
                let claim = *claim;
                match result {
                    Ok(()) => self.claimed(address, claim, place),
                    Err(error) if is_not_now => self.put_off(address, claim.id, &error),
                    Err(error) => {
                        self.fail(address, claim.id, format!("add to {on}: {error}"));
                    }
                }
            }
            (State::Owned(owned), result)
                if owned.moving.as_ref().is_some_and(|moving| moving.operation == operation) =>
            {
                self.move_on(address, result);
            }
            (State::Owned(owned), result) if owned.restoring == Some(operation) => {
                owned.restoring = None;
                owned.seen = false;
                owned.since = self.now;
                match result {
                    // Those who asked for it meanwhile had no answer, or another one's.
                    Ok(()) => self.announce_again(address),
                    Err(error) => {
                        let why =
                            format!("it vanished from {on} and could not be put back: {error}");
                        self.lose(address, why);
                    }
                }
            }
            (_, Err(error)) if !adds => {
                let prefix = place.prefix;
                entry.error = Some(format!("remove {address}/{prefix} from {on}: {error}"));
            }
            _ => {}
        }
        self.sweep_one(address);
    }

    fn claimed(&mut self, address: IpAddr, claim: Claim, place: Place) {
        let took = self.now.since(claim.asked);
        let owned = Owned::new(place, self.name(place.interface), self.now);
        self.enter(address, State::Owned(owned));
        self.outputs.push_back(Output::Claimed { id: claim.id, interface: place.interface, took });
        self.owned_tick(address);
    }

    /// Removes service addresses that stand on an interface without being owned there.
    pub(crate) fn sweep(&mut self) {
        let places: Vec<Place> = self.places().collect();
        self.sweep_these(places);
        if self.picture.is_some() {
            for address in self.addresses() {
                self.finish(address);
            }
        }
    }

    /// As [`Network::sweep`], for one address.
    fn sweep_one(&mut self, address: IpAddr) {
        let places: Vec<Place> = self.places_of(address).collect();
        self.sweep_these(places);
        self.finish(address);
    }

    fn sweep_these(&mut self, places: Vec<Place>) {
        for place in places {
            if !self.is_service(place.address)
                || self.belongs(place)
                || self.stubborn.get(&place).is_some_and(|at| *at > self.now)
            {
                continue;
            }
            // On its way out already?
            let mut operations = self.operations.values();
            if self.busy.contains_key(&place)
                && operations.any(|operation| operation.place == place && !operation.adds)
            {
                continue;
            }
            self.counters.leftovers += 1;
            self.operate(place, false);
        }
        let now = self.now;
        self.stubborn.retain(|_, at| *at > now);
    }

    /// Whether the driver is at work on the address.
    fn is_busy(&self, address: IpAddr) -> bool {
        let least = Place { address, interface: 0, prefix: 0 };
        let most = Place { address, interface: u32::MAX, prefix: u8::MAX };
        self.busy.range(least..=most).next().is_some()
    }

    /// Whether the address stands where it should, or may.
    fn belongs(&self, place: Place) -> bool {
        self.entries.get(&place.address).is_some_and(|entry| match &entry.state {
            State::Adopting => true,
            State::Adding { place: adding, .. } => *adding == place,
            State::Owned(owned) => {
                owned.place == place || owned.moving.as_ref().is_some_and(|to| to.to == place)
            }
            State::Clearing(_) | State::Probing(_) | State::Removing(_) => false,
        })
    }
}

impl Entry {
    pub(crate) fn new(service: String, state: State, since: Instant) -> Entry {
        let why = String::new();
        Entry { service, state, since, error: None, conflict: None, reported: None, why }
    }
}

pub(crate) fn used_by(mac: Mac, interface: &str) -> String {
    format!("it is used by {} on {interface}", wire::text(mac))
}

/// RFC 5227 §1.1 PROBE_NUM.
const PROBES: u32 = 3;
/// Between two probes, and after the last. RFC 5227 waits a second or two; a takeover cannot.
pub(crate) const PROBE_INTERVAL: Duration = Duration::from_millis(6);
/// After a conflict, until the next three probes.
pub(crate) const CONFLICT_RETRY: Duration = Duration::from_millis(100);
/// The kernel lets go of an address up to a second after its lifetime.
pub(crate) const KERNEL_LATENESS: Duration = Duration::from_secs(1);
/// Until the next attempt to remove a leftover that could not be removed.
pub(crate) const SWEEP_RETRY: Duration = Duration::from_secs(1);
