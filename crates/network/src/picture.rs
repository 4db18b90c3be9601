//! The newest picture of the interfaces, kept true by what was done since, and quick to ask: a node may
//! carry a thousand addresses, and each of them is looked for whenever something changes.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeSet;

use crate::machine::Place;
use crate::subnet::bits;
use crate::{AddressSeen, Interface};

/// All interfaces with all their addresses.
#[derive(Clone, Debug)]
pub(crate) struct Picture {
    interfaces: Vec<Interface>,
    /// Every address on every interface.
    places: BTreeSet<Place>,
    /// The interfaces with those addresses that have a subnet, which are few.
    carriers: Vec<Interface>,
}

impl Picture {
    pub(crate) fn new(interfaces: Vec<Interface>) -> Picture {
        let places = interfaces.iter().flat_map(|interface| {
            interface.addresses.iter().map(|seen| Place {
                address: seen.address,
                interface: interface.index,
                prefix: seen.prefix,
            })
        });
        let carrier = |interface: &Interface| Interface {
            name: interface.name.clone(),
            condition: interface.condition.clone(),
            addresses: interface
                .addresses
                .iter()
                .filter(|seen| has_subnet(seen))
                .cloned()
                .collect(),
            ..*interface
        };
        let (places, carriers) = (places.collect(), interfaces.iter().map(carrier).collect());
        Picture { interfaces, places, carriers }
    }

    pub(crate) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The interfaces without their single addresses (/32 and /128).
    pub(crate) fn carriers(&self) -> &[Interface] {
        &self.carriers
    }

    /// Every address on every interface.
    pub(crate) fn places(&self) -> &BTreeSet<Place> {
        &self.places
    }

    /// Where an address is.
    pub(crate) fn places_of(&self, address: IpAddr) -> impl Iterator<Item = Place> + '_ {
        self.places.range(Place::range(address)).copied()
    }

    /// An address was added.
    pub(crate) fn add(&mut self, place: Place, lifetime: Option<Duration>) {
        if !self.places.insert(place) {
            return;
        }
        let seen = AddressSeen { address: place.address, prefix: place.prefix, lifetime };
        if has_subnet(&seen)
            && let Some(interface) = find(&mut self.carriers, place.interface)
        {
            interface.addresses.push(seen.clone());
        }
        match find(&mut self.interfaces, place.interface) {
            Some(interface) => interface.addresses.push(seen),
            None => drop(self.places.remove(&place)),
        }
    }

    /// An interface got another hardware address.
    pub(crate) fn set_mac(&mut self, index: u32, mac: [u8; 6]) {
        for all in [&mut self.interfaces, &mut self.carriers] {
            if let Some(interface) = find(all, index) {
                interface.mac = Some(mac);
            }
        }
    }

    /// An address was removed.
    pub(crate) fn remove(&mut self, place: Place) {
        if !self.places.remove(&place) {
            return;
        }
        for all in [&mut self.interfaces, &mut self.carriers] {
            if let Some(interface) = find(all, place.interface) {
                let is_it = |seen: &AddressSeen| {
                    (seen.address, seen.prefix) == (place.address, place.prefix)
                };
                interface.addresses.retain(|seen| !is_it(seen));
            }
        }
    }
}

fn has_subnet(seen: &AddressSeen) -> bool {
    seen.prefix < bits(seen.address)
}

fn find(interfaces: &mut [Interface], index: u32) -> Option<&mut Interface> {
    interfaces.iter_mut().find(|interface| interface.index == index)
}
