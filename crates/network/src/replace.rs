//! Service addresses that take the place of what an interface has of its own, and what is put back.
//!
//! In a network with [`Takeover::Replacement`] (HACMP's "IPAT via replacement", seed 004) a service address is
//! the only one of its interface: the boot address of the same subnet goes away as it comes, and comes back as
//! it goes. On an interface whose boot address is in another subnet (one that stands by for the service
//! address) that boot address goes. Where it is wished the interface also gets the *hardware address* of the service, so that not
//! even the caches of neighbours notice who has the address now.
//!
//! **Who knows what.** The driver takes and gives in one step with the addition and the removal, and writes down
//! beforehand what it takes, so that a daemon that was killed finds it ([`crate::Config::taken`]). This module
//! says what is to be taken, and remembers it, because an interface without its boot address has no subnet to
//! choose it by. **Rule:** what is taken from an interface without a service address there (its guard has
//! removed it, say, or it ran out) is given back, whether this node has a lease or not: it is the node's own.
//!
//! Left alone are persistent addresses, link-local ones, and those that a network of this node names:
//! heartbeats go on over them.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use base::Instant;

use crate::machine::{Entry, Network, Place, State};
use crate::place::Takeover;
use crate::subnet::{bits, contains};
use crate::wire::Mac;
use crate::{Interface, Output, Taken, Taking};

/// Until the next attempt to give back what could not be given.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What was taken from interfaces, and what is on its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replacing {
    taken: BTreeMap<u32, Taken>,
    /// What the driver has given back, until a picture shows what of it is there: another node may have an
    /// address by now.
    returning: BTreeMap<u32, Taken>,
    /// What additions take that are not answered yet.
    taking: BTreeMap<u64, Taking>,
    /// The interface of each gift on its way.
    giving: BTreeMap<u64, u32>,
    /// When to try again.
    retries: BTreeMap<u32, Instant>,
}

impl Replacing {
    pub(crate) fn new(taken: BTreeMap<u32, Taken>) -> Replacing {
        Replacing { taken, ..Replacing::default() }
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.retries.values().min().copied()
    }

    /// The addresses that were taken from an interface, and are not seen there again.
    pub(crate) fn boot(&self, interface: u32) -> &[(IpAddr, u8)] {
        let taken = self.taken.get(&interface).or(self.returning.get(&interface));
        taken.map_or(&[], |taken| &taken.boot)
    }
}

impl Network {
    /// What the address takes from the interface that it goes on.
    pub(crate) fn taking(&self, place: Place) -> Taking {
        let Some(share) = self.shares.of(place.address) else { return Taking::default() };
        let share = self.shares.share(share);
        let Some(interface) = self.carrier(place.interface) else { return Taking::default() };
        if share.takeover != Takeover::Replacement {
            return Taking::default();
        }
        let mac = share.hardware.get(&place.address).copied();
        let is_kin = |own: &&(IpAddr, u8)| own.0.is_ipv4() == place.address.is_ipv4();
        let mut there = self.boot_addresses(interface, &share.spared);
        let taken = self.replacing.boot(place.interface);
        // What nobody is in the place of any more is on its way back.
        let returns = !self.is_taken_by(place.interface, Some(place));
        if returns {
            there.extend(
                taken.iter().filter(|own| !there.contains(own)).copied().collect::<Vec<_>>(),
            );
        }
        let there: Vec<(IpAddr, u8)> = there.iter().filter(is_kin).copied().collect();
        let has_subnet = |own: &&(IpAddr, u8)| contains(**own, place.address);
        let inside: Vec<(IpAddr, u8)> = there.iter().filter(has_subnet).copied().collect();
        let taken = taken.iter().any(|own| has_subnet(&own));
        let boot = if inside.is_empty() && !taken { there } else { inside };
        Taking { boot, subnet: self.subnet_of(place.address), mac }
    }

    /// The longest subnet with the address that an interface of its network has, or has had taken.
    fn subnet_of(&self, address: IpAddr) -> Option<u8> {
        let share = self.shares.of(address)?;
        let cards = self.ground(share).cards;
        let own = cards.iter().flat_map(|card| &card.own);
        own.filter(|own| contains(**own, address)).map(|own| own.1).max()
    }

    /// The addresses of an interface that a service address may take the place of.
    pub(crate) fn boot_addresses(
        &self,
        interface: &Interface,
        spared: &[IpAddr],
    ) -> Vec<(IpAddr, u8)> {
        let is_local =
            |address: IpAddr| matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
        let own = interface.addresses.iter().filter(|seen| {
            seen.prefix < bits(seen.address)
                && !is_local(seen.address)
                && !spared.contains(&seen.address)
                && !self.is_service(seen.address)
                && !self.shares.is_persistent(seen.address)
        });
        own.map(|seen| (seen.address, seen.prefix)).collect()
    }

    /// Whether the removal of an address gives back what was taken from its interface.
    pub(crate) fn gives(&self, place: Place) -> bool {
        let index = place.interface;
        let is_coming = self.replacing.taking.keys().any(|operation| {
            self.operations.get(operation).is_some_and(|operation| operation.place == place)
        });
        (is_coming || self.replacing.taken.contains_key(&index))
            && !self.is_taken_by(index, Some(place))
    }

    /// Whether a service address is on an interface, or on its way there, in the place of another one.
    fn is_taken_by(&self, index: u32, except: Option<Place>) -> bool {
        let is_it = |place: &Place| {
            let share = self.shares.of(place.address).map(|share| self.shares.share(share));
            place.interface == index
                && Some(*place) != except
                && share.is_some_and(|share| share.takeover == Takeover::Replacement)
        };
        let of = |entry: &Entry| match &entry.state {
            State::Adding { place, .. } => is_it(place),
            State::Owned(owned) => {
                is_it(&owned.place) || owned.moving.as_ref().is_some_and(|to| is_it(&to.to))
            }
            State::Adopting | State::Clearing(_) | State::Probing(_) | State::Removing(_) => false,
        };
        self.entries.values().any(of)
    }

    /// An addition was asked for.
    pub(crate) fn note_taking(&mut self, operation: u64, taking: &Taking) {
        if *taking != Taking::default() {
            self.replacing.taking.insert(operation, taking.clone());
        }
    }

    /// An addition was answered: what it took is not there any more. The driver gives back what it took for one
    /// that failed, and may not have been able to: that is taken as well, until it has said that all is back.
    pub(crate) fn took(&mut self, operation: u64, interface: u32, is_done: bool) {
        let Some(taking) = self.replacing.taking.remove(&operation) else { return };
        let before = self.carrier(interface).and_then(|interface| interface.mac);
        let taken = self.replacing.taken.entry(interface).or_default();
        for own in &taking.boot {
            if !taken.boot.contains(own) {
                taken.boot.push(*own);
            }
        }
        if taking.mac.is_some() && taken.mac.is_none() {
            taken.mac = before;
        }
        if !is_done {
            // It may be back, but some may have seen it go; what is not is shown by the next picture.
            self.announce_all_own(interface);
            return;
        }
        for (address, prefix) in taking.boot {
            self.picture_remove(Place { address, interface, prefix });
        }
        if let Some(mac) = taking.mac {
            self.change_mac(interface, mac);
        }
    }

    /// An interface has another hardware address, which those who know others of its addresses have to be told.
    fn change_mac(&mut self, index: u32, mac: Mac) {
        if self.interface(index).is_none_or(|interface| interface.mac == Some(mac)) {
            return;
        }
        if let Some(picture) = &mut self.picture {
            picture.set_mac(index, mac);
        }
        self.announce_all_own(index);
        for address in self.owned_on(index) {
            self.announce_again(address);
        }
    }

    /// Tells those outside of the addresses of an interface that are no service's.
    pub(crate) fn announce_all_own(&mut self, index: u32) {
        let Some(interface) = self.interface(index) else { return };
        let own = interface.addresses.iter().map(|seen| seen.address);
        let own: Vec<IpAddr> = own.filter(|address| !self.is_service(*address)).collect();
        for address in own {
            self.switches.announce(address, index, self.now);
        }
    }

    /// Gives back what was taken where no service address is any more. All of it may be there already: the
    /// driver is asked all the same, because its record ends only with it.
    pub(crate) fn mind_taken(&mut self) {
        if self.picture.is_none() {
            return;
        }
        // What is due and has to wait for something else is asked for when that is over.
        self.replacing.retries.retain(|_, at| *at > self.now);
        let indices: Vec<u32> = self.replacing.taken.keys().copied().collect();
        for index in indices {
            let is_waiting = self.is_taken_by(index, None)
                || self.replacing.giving.values().any(|on| *on == index)
                // Its removal gives it back.
                || self.is_removing_from(index)
                || self.replacing.retries.contains_key(&index);
            if is_waiting {
                continue;
            }
            if self.interface(index).is_none() {
                self.replacing.taken.remove(&index);
                continue;
            }
            let operation = self.next_operation;
            self.next_operation += 1;
            self.replacing.giving.insert(operation, index);
            self.outputs.push_back(Output::Give { operation, interface: index });
        }
    }

    /// A new picture shows what came back of that which was given.
    pub(crate) fn see_returned(&mut self) {
        for index in std::mem::take(&mut self.replacing.returning).into_keys() {
            self.announce_all_own(index);
        }
    }

    fn is_removing_from(&self, index: u32) -> bool {
        let mut operations = self.operations.values();
        operations.any(|operation| !operation.adds && operation.place.interface == index)
    }

    /// The driver has given back, or could not. False when the operation is none of these.
    pub(crate) fn given(&mut self, operation: u64, result: &Result<(), String>) -> bool {
        let Some(index) = self.replacing.giving.remove(&operation) else { return false };
        match result {
            Ok(()) => {
                let Some(taken) = self.replacing.taken.remove(&index) else { return true };
                if let Some(mac) = taken.mac {
                    self.change_mac(index, mac);
                }
                self.replacing.returning.insert(index, taken);
            }
            Err(_) => {
                self.replacing.retries.insert(index, self.now + RETRY_AFTER);
            }
        }
        true
    }

    /// What is taken from interfaces at the moment, by their numbers.
    #[must_use]
    pub fn replaced(&self) -> &BTreeMap<u32, Taken> {
        &self.replacing.taken
    }
}
