//! The interface of this node where an owned address belongs, and the way there.
//!
//! An address is useful where its subnet is, on an interface that works. Both change while it is owned:
//! a cable is pulled, a subnet is configured on another card, or the machine's own addresses are
//! switched to a standby. Then the address goes there by itself, within a few milliseconds: the own
//! machine's other interface comes before another node (design, "Network").
//!
//! **Rule:** it is taken away where it was *before* it is put where it belongs, and it is nowhere in
//! between. Whoever watches over the address by name alone (the lease gate, the guard) never has to
//! tell two places apart. Where it stands on an interface that works and carries its subnet, it stays,
//! however good another one may be; which of several it goes to is decided by [`crate::place`].

use core::net::IpAddr;

use crate::Output;
use crate::machine::{Network, Place};
use crate::own::Owned;
use crate::place;
use crate::subnet::{self, bits};

/// An owned address on its way.
#[derive(Clone, Debug)]
pub(crate) struct Moving {
    pub(crate) to: Place,
    /// What the driver is doing for it.
    pub(crate) operation: u64,
    /// Whether it is gone where it was, and is being added where it belongs.
    adds: bool,
    /// Why it cannot stay.
    why: String,
    /// Why there and not elsewhere.
    rule: String,
}

/// An interface where an address belongs.
#[derive(Clone, Debug)]
struct Home {
    interface: u32,
    /// Why it cannot stay where it is.
    why: String,
    rule: String,
}

impl Network {
    /// Sends an owned address on its way, if it belongs elsewhere; false when it stays.
    pub(crate) fn go_home(&mut self, address: IpAddr) -> bool {
        if !self.leased() {
            return false;
        }
        let place = self.owned(address).place;
        let Some(Home { interface, why, rule }) = self.home(place) else { return false };
        self.send(address, interface, why, rule);
        true
    }

    /// Sends an owned address to another interface.
    pub(crate) fn send(&mut self, address: IpAddr, interface: u32, why: String, rule: String) {
        let place = self.owned(address).place;
        let to = Place { address, interface, prefix: bits(address) };
        let operation = self.operate(place, false);
        self.owned(address).moving = Some(Moving { to, operation, adds: false, why, rule });
    }

    /// Another interface where the address belongs, and why not where it is.
    fn home(&mut self, place: Place) -> Option<Home> {
        let address = place.address;
        if let Some(share) = self.shares.of(address) {
            let name = self.carrier(place.interface).map(|here| here.name.clone());
            let why = match name {
                None => "is gone".to_owned(),
                Some(name) => {
                    let want = self.want(share, address, bits(address), "");
                    place::obstacle(self.ground_now(share), &name, &want)?
                }
            };
            let placed = self.planned(share).get(&address)?;
            let placed = Some(placed).filter(|placed| placed.rule != place::Rule::Nowhere)?;
            let (name, rule) = (placed.card.clone()?, placed.why.clone());
            let interface = self.carriers().iter().find(|one| one.name == name)?.index;
            return (interface != place.interface).then_some(Home { interface, why, rule });
        }
        let is_service = |other: IpAddr| self.is_service(other);
        let why = match self.carrier(place.interface) {
            None => "is gone".to_owned(),
            Some(here) => match here.trouble() {
                Some(trouble) => trouble.to_owned(),
                None if subnet::carries(here, address, is_service) => return None,
                None => "carries its subnet no more".to_owned(),
            },
        };
        let chosen = self.select(address, bits(address)).ok()?;
        let rule = chosen.why;
        (chosen.interface != place.interface).then_some(Home {
            interface: chosen.interface,
            why,
            rule,
        })
    }

    /// The driver has done a step for an address on its way, or could not.
    pub(crate) fn move_on(&mut self, address: IpAddr, result: Result<(), String>) {
        let owned = self.owned(address);
        let moving = owned.moving.take().expect("the caller has seen it on its way");
        let from = owned.name.clone();
        let to = self.name(moving.to.interface);
        match (moving.adds, result) {
            // It is where it was, and is looked at again.
            (false, Err(error)) => {
                let text = format!("remove {address} from {from}: {error}");
                self.entry(address).error = Some(text);
                // Put there again, because the driver has closed it for its removal.
                let place = self.owned(address).place;
                let restoring = Some(self.operate(place, true));
                self.owned(address).restoring = restoring;
            }
            (false, Ok(())) if !self.leased() => {
                let why = format!("the lease ended on its way from {from} to {to}");
                self.lose(address, why);
            }
            (false, Ok(())) => {
                let operation = self.operate(moving.to, true);
                let moving = Moving { operation, adds: true, ..moving };
                self.owned(address).moving = Some(moving);
            }
            (true, Err(error)) => {
                let why = format!("it left {from} and could not be added to {to}: {error}");
                self.lose(address, why);
            }
            (true, Ok(())) => {
                let now = self.now;
                *self.owned(address) = Owned::new(moving.to, to.clone(), now);
                self.counters.moved += 1;
                let service = self.entry(address).service.clone();
                let (why, rule) = (moving.why, moving.rule);
                self.entry(address).why.clone_from(&rule);
                self.outputs.push_back(Output::Moved { service, address, from, to, why, rule });
                if self.interface(moving.to.interface).is_some_and(|to| to.mac.is_some()) {
                    self.listen(moving.to.interface);
                }
                self.owned_tick(address);
                // What was right when it left may be wrong now.
                self.check_owned(address, false);
            }
        }
    }
}
