//! Own addresses that could not go along when the others of their network were switched.
//!
//! The kernel may refuse one address on an interface that takes all others: IPv6 is switched off there, say. Then
//! keeping all of them on an interface that is dead would help none, so what can go goes. What cannot
//! stays where it is, counts no more as one of those that have to be together, is tried again, seldom, and is
//! together with the others again once these are back. A service that needs it fails or leaves the node, as
//! it would without any standby.
//!
//! This is remembered and cannot be seen: a daemon that is started in between sees two interfaces with different
//! addresses, moves none of them, and says so.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use base::Instant;

use crate::Interface;
use crate::machine::Network;
use crate::switch::{Seats, Verdict};

/// After an attempt to take them along as well; twice as long after each further one.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(640);

/// What stayed behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    /// Where it is, with why it could not go.
    addresses: BTreeMap<(String, IpAddr), String>,
    /// When to try again, and how long was waited for that.
    again: Option<(Instant, Duration)>,
}

impl Left {
    pub(crate) fn has(&self, interface: &str, address: IpAddr) -> bool {
        // Asked for each address of each picture, and hardly ever there.
        !self.addresses.is_empty() && self.addresses.contains_key(&(interface.to_owned(), address))
    }

    /// Addresses went, or did not go, from one interface to another one.
    pub(crate) fn switched(
        &mut self,
        [from, to]: &[String; 2],
        addresses: &[(IpAddr, u8)],
        refused: &[(IpAddr, String)],
        is_done: bool,
        now: Instant,
    ) {
        if is_done {
            for (address, _) in addresses {
                self.addresses.remove(&(from.clone(), *address));
            }
            // They are together again.
            self.addresses.retain(|(interface, _), _| interface != to);
            let refused = refused.iter();
            let refused = refused.map(|(address, why)| ((from.clone(), *address), why.clone()));
            self.addresses.extend(refused);
        }
        let waited = self.again.map_or(AGAIN_AFTER, |(_, waited)| AGAIN_AFTER_MAX.min(waited * 2));
        self.again = (!self.addresses.is_empty()).then_some((now + waited, waited));
    }

    /// For people.
    pub(crate) fn words(&self) -> Option<String> {
        let left = self.addresses.iter();
        let left = left.map(|((on, address), why)| format!("{address} stays on {on}: {why}"));
        (!self.addresses.is_empty()).then(|| left.collect::<Vec<_>>().join("; "))
    }
}

impl Network {
    /// What a switch takes away from an interface.
    pub(crate) fn switched_from(&self, seats: &Seats, from: u32) -> Vec<(IpAddr, u8)> {
        let together = self.stationary(from);
        if !together.is_empty() {
            return together;
        }
        let Some(interface) = self.interface(from) else { return together };
        self.left_on(seats, interface).collect()
    }

    /// Whether what stayed behind is to be tried again: where the others are, if that works.
    pub(crate) fn judge_left(
        &self,
        seats: &Seats,
        seat: &Interface,
        cards: &[&Interface],
    ) -> Verdict {
        let Some((at, _)) = seats.left_behind.again else { return Verdict::Stay };
        let mut others = cards.iter().filter(|card| card.index != seat.index);
        let from = others.find(|card| self.left_on(seats, card).next().is_some());
        let Some(from) = from.filter(|_| seat.trouble().is_none()) else { return Verdict::Stay };
        let (from, to) = (from.index, seat.index);
        match at > self.now {
            true => Verdict::Later { at, from, is_failure: false },
            false => {
                Verdict::Switch { from, to, why: "could not go along with the others".to_owned() }
            }
        }
    }

    /// What somebody took away or put elsewhere stays behind no more.
    pub(crate) fn forget_left(&mut self) {
        let Some(picture) = &self.picture else { return };
        for seats in &mut self.switches.nets {
            seats.left_behind.addresses.retain(|(name, address), _| {
                let mut on = picture.interfaces().iter().filter(|one| one.name == *name);
                on.any(|one| picture.places_of(*address).any(|place| place.interface == one.index))
            });
        }
    }

    fn left_on(&self, seats: &Seats, on: &Interface) -> impl Iterator<Item = (IpAddr, u8)> {
        let left = on.addresses.iter().filter(|seen| seats.left_behind.has(&on.name, seen.address));
        left.map(|seen| (seen.address, seen.prefix))
    }
}
