//! Standbys that come and go: whether an interface could take the addresses of a network over.
//!
//! Of the interfaces of a network with standbys, one has the own addresses (its *seat*, module
//! `switch`), and the others stand by: also the primary, once its addresses went to another one. A
//! standby that fails changes nothing today and everything on the day when the seat fails as well, so
//! both its failure and its return are said, as HACMP's `fail_standby` and `join_standby` are.
//!
//! It has failed as soon as it does not work. It has come back when it has been proven to work for as
//! long as an interface is watched before addresses go to it, so that a loose contact is not told of
//! each time it closes. What works at the first look has joined nothing. What becomes of the seat is not
//! said here: a switch says it.

use base::Instant;

use crate::machine::Network;
use crate::switch::Seats;
use crate::{Interface, Output};

impl Network {
    /// Says which interfaces have begun or ceased to be of use as standbys.
    pub(crate) fn mind_standbys(&mut self) {
        for place in 0..self.switches.nets.len() {
            let seats = &self.switches.nets[place];
            let Some(seat) = self.standing(seats) else { continue };
            let now = self.now;
            let mut usable = seats.usable.clone();
            let mut said = Vec::new();
            for name in &seats.net.cards {
                let trouble = match self.card(name) {
                    None => Some("is not there"),
                    Some(card) => card.trouble(),
                };
                let before = usable.get(name).copied();
                let is_usable = trouble.is_none()
                    && (before != Some(false)
                        || *name == seat
                        || self.proven_at(seats, name).is_some_and(|at| at <= now));
                usable.insert(name.clone(), is_usable);
                if *name == seat || before.unwrap_or(true) == is_usable {
                    continue;
                }
                let (net, interface) = (seats.net.name.clone(), name.clone());
                said.push(match trouble {
                    Some(why) => Output::StandbyFailed { net, interface, why: why.to_owned() },
                    None => Output::StandbyJoined { net, interface },
                });
            }
            self.switches.nets[place].usable = usable;
            self.outputs.extend(said);
        }
    }

    /// When the next standby of a network has worked for long enough.
    pub(crate) fn joins_at(&self, seats: &Seats) -> Option<Instant> {
        let seat = self.standing(seats)?;
        let failed = seats.usable.iter().filter(|(name, is_usable)| !**is_usable && **name != seat);
        failed.filter_map(|(name, _)| self.proven_at(seats, name)).min()
    }

    /// The name of the interface that has the own addresses; none while they are on their way.
    fn standing(&self, seats: &Seats) -> Option<String> {
        if seats.switching.is_some() {
            return None;
        }
        let cards: Vec<&Interface> =
            seats.net.cards.iter().filter_map(|name| self.card(name)).collect();
        self.seat(seats, &cards).map(|seat| seat.name.clone())
    }

    fn card(&self, name: &str) -> Option<&Interface> {
        self.carriers().iter().find(|interface| interface.name == name)
    }

    fn proven_at(&self, seats: &Seats, name: &str) -> Option<Instant> {
        let proven = self.switches.proven_since(self.card(name)?.index)?;
        Some(proven + seats.watched)
    }
}
