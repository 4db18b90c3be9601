//! The interfaces of one network with what they carry while addresses are given out, and the choice for
//! one address.

use core::cmp::Reverse;
use core::net::IpAddr;
use std::collections::BTreeMap;

use super::{
    Card, Distribution, Ground, Holder, Occasion, Placement, Rule, Takeover, Wanted, words,
};
use crate::subnet::{bits, contains};

/// When an address is given its place: the others look at those before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    Persistent,
    /// It is on an interface that can carry it.
    Standing,
    /// The network's source address on its way to an interface, which others want to be beside or not.
    Source,
    Homeless,
}

/// A network's interfaces and what they carry so far.
pub(super) struct Table<'a> {
    pub(super) ground: &'a Ground,
    pub(super) seats: Vec<Seat<'a>>,
    /// On which interfaces each address is.
    places: BTreeMap<IpAddr, Vec<usize>>,
}

/// What an interface carries so far.
pub(super) struct Seat<'a> {
    pub(super) card: &'a Card,
    pub(super) persistent: Vec<IpAddr>,
    /// Addresses of services.
    pub(super) addresses: usize,
    /// Of these, how many each service has.
    services: BTreeMap<&'a str, usize>,
}

impl Seat<'_> {
    pub(super) fn load(&self) -> usize {
        self.addresses + self.persistent.len()
    }
}

/// What the choice of one address came to.
pub(super) struct Choice {
    pub(super) seat: usize,
    pub(super) rule: Rule,
    /// The distribution that decided, after what was dropped.
    pub(super) by: Distribution,
    pub(super) dropped: Option<String>,
    /// The candidates that were as good.
    pub(super) equals: Vec<usize>,
}

impl<'a> Table<'a> {
    pub(super) fn new(ground: &'a Ground) -> Table<'a> {
        let seat = |card| Seat {
            card,
            persistent: Vec::new(),
            addresses: card.carries.len(),
            services: BTreeMap::new(),
        };
        let mut places: BTreeMap<IpAddr, Vec<usize>> = BTreeMap::new();
        for (seat, card) in ground.cards.iter().enumerate() {
            for address in &card.carries {
                places.entry(*address).or_default().push(seat);
            }
        }
        Table { ground, seats: ground.cards.iter().map(seat).collect(), places }
    }

    /// Learns what an address that stands somewhere belongs to.
    pub(super) fn note(&mut self, want: &'a Wanted) {
        for seat in self.places.get(&want.address).into_iter().flatten() {
            let seat = &mut self.seats[*seat];
            match &want.holder {
                Holder::Persistent => {
                    seat.addresses -= 1;
                    seat.persistent.push(want.address);
                }
                Holder::Service { name, .. } => *seat.services.entry(name).or_default() += 1,
            }
        }
    }

    pub(super) fn turn(&self, want: &Wanted) -> Turn {
        match (&want.holder, self.stands(want)) {
            (Holder::Persistent, _) => Turn::Persistent,
            (Holder::Service { .. }, Some(_)) => Turn::Standing,
            (Holder::Service { .. }, None) if self.ground.source == Some(want.address) => {
                Turn::Source
            }
            (Holder::Service { .. }, None) => Turn::Homeless,
        }
    }

    /// The interface that the address is on and may stay on.
    fn stands(&self, want: &Wanted) -> Option<usize> {
        self.seat_of(want).filter(|seat| self.obstacle(*seat, want).is_none())
    }

    /// The first interface that the address is on, one that can carry it first.
    fn seat_of(&self, want: &Wanted) -> Option<usize> {
        let places = self.places.get(&want.address)?;
        let can = |seat: &&usize| self.obstacle(**seat, want).is_none();
        places.iter().find(can).or(places.first()).copied()
    }

    pub(super) fn place(&mut self, want: &'a Wanted, occasion: Occasion) -> Placement {
        let stands = self.stands(want);
        let was = self.seat_of(want);
        self.take_away(want);
        let candidates = self.candidates(want);
        let Some(choice) = self.choose(want, &candidates, stands) else {
            // Nothing is taken away before there is a better place.
            self.put(want, was);
            return words::nowhere(self, want, was);
        };
        let may_stay = occasion == Occasion::Event || want.holder == Holder::Persistent;
        let seat = stands.filter(|_| may_stay).unwrap_or(choice.seat);
        let placement = words::placement(self, want, &choice, &candidates, (was, seat));
        self.put(want, Some(seat));
        placement
    }

    fn take_away(&mut self, want: &Wanted) {
        for seat in self.places.remove(&want.address).unwrap_or_default() {
            let seat = &mut self.seats[seat];
            match &want.holder {
                Holder::Persistent => seat.persistent.retain(|other| *other != want.address),
                Holder::Service { name, .. } => {
                    seat.addresses -= 1;
                    *seat.services.get_mut(name.as_str()).expect("it was noted") -= 1;
                }
            }
        }
    }

    fn put(&mut self, want: &'a Wanted, seat: Option<usize>) {
        let Some(index) = seat else { return };
        self.places.insert(want.address, vec![index]);
        let seat = &mut self.seats[index];
        match &want.holder {
            Holder::Persistent => seat.persistent.push(want.address),
            Holder::Service { name, .. } => {
                seat.addresses += 1;
                *seat.services.entry(name).or_default() += 1;
            }
        }
    }

    /// The interfaces that can carry the address. Where interfaces that work have its subnet, those with
    /// the longest prefix, as in routing.
    fn candidates(&self, want: &Wanted) -> Vec<usize> {
        let can: Vec<usize> =
            (0..self.seats.len()).filter(|seat| self.obstacle(*seat, want).is_none()).collect();
        let prefix = |seat: &usize| prefix_of(self.seats[*seat].card, want.address);
        let longest = can.iter().filter_map(prefix).max();
        can.into_iter().filter(|seat| prefix(seat) == longest).collect()
    }

    /// Why an interface cannot carry the address, in a few words.
    pub(super) fn obstacle(&self, seat: usize, want: &Wanted) -> Option<String> {
        let Seat { card, .. } = &self.seats[seat];
        if let Some(trouble) = &card.trouble {
            return Some(trouble.clone());
        }
        if card.is_standby && card.own.is_empty() {
            return Some("stands by".to_owned());
        }
        let replaces = self.ground.takeover == Takeover::Replacement;
        match &want.holder {
            Holder::Service { is_fixed: true, .. } if card.is_standby => {
                return Some("is a standby, and the service forbids the local switch".to_owned());
            }
            Holder::Service { .. } if replaces => {
                let is_kin = |own: &(IpAddr, u8)| own.0.is_ipv4() == want.address.is_ipv4();
                let has = |one: &Seat<'_>| prefix_of(one.card, want.address).is_some();
                if !card.own.iter().any(is_kin) {
                    return Some("has no boot address to replace".to_owned());
                }
                // The others stand by for the one in its subnet.
                if !self.seats.iter().any(has) {
                    return Some("has no boot address in its subnet to replace".to_owned());
                }
                // Aliases of this node do not count: they are beside the boot address.
                let is_here = self.places.get(&want.address);
                let own = usize::from(is_here.is_some_and(|seats| seats.contains(&seat)));
                if self.seats[seat].addresses > own {
                    return Some("has its boot address replaced already".to_owned());
                }
                return None;
            }
            Holder::Service { .. } | Holder::Persistent => {}
        }
        let is_somewhere = self.seats.iter().any(|one| prefix_of(one.card, want.address).is_some());
        (is_somewhere && prefix_of(card, want.address).is_none())
            .then(|| "does not have its subnet".to_owned())
    }

    /// What the distribution says among the candidates; none when there are none.
    fn choose(&self, want: &Wanted, candidates: &[usize], here: Option<usize>) -> Option<Choice> {
        let wish = self.wish(want);
        let (wish, dropped) = match self.drop_of(wish, want, candidates) {
            None => (wish, None),
            Some((instead, why)) => (instead, Some(why)),
        };
        let allowed: Vec<usize> =
            candidates.iter().copied().filter(|seat| self.allows(wish, want, *seat)).collect();
        let rank = |seat: &usize| self.rank(wish, want, *seat);
        let best = allowed.iter().map(rank).min()?;
        let equals: Vec<usize> = allowed.iter().copied().filter(|s| rank(s) == best).collect();
        let seat = here.filter(|here| equals.contains(here)).unwrap_or(equals[0]);
        let rule = match (candidates.len(), equals.len()) {
            (1, _) => Rule::Only,
            (_, 1) => Rule::Preferred(wish),
            _ => Rule::First,
        };
        Some(Choice { seat, rule, by: wish, dropped, equals })
    }

    /// The distribution that counts for an address.
    pub(super) fn wish(&self, want: &Wanted) -> Distribution {
        match &want.holder {
            // One each for a node; they only have to be out of each other's way.
            Holder::Persistent => Distribution::LeastLoad,
            Holder::Service { distribution, .. } => {
                distribution.unwrap_or(self.ground.distribution)
            }
        }
    }

    /// Whether an interface is what the wish is about (or not, where it wants that).
    fn allows(&self, wish: Distribution, want: &Wanted, seat: usize) -> bool {
        let has_persistent = !self.seats[seat].persistent.is_empty();
        let has_source = || self.has_source(seat);
        let is_source = self.ground.source == Some(want.address);
        match wish {
            Distribution::CollocationPersistent => has_persistent,
            Distribution::AntiCollocationPersistent => !has_persistent,
            Distribution::CollocationSource => is_source || has_source(),
            Distribution::AntiCollocationSource => is_source || !has_source(),
            Distribution::LeastLoad | Distribution::Collocation | Distribution::AntiCollocation => {
                true
            }
        }
    }

    fn has_source(&self, seat: usize) -> bool {
        let source = self.ground.source.and_then(|source| self.places.get(&source));
        source.is_some_and(|seats| seats.contains(&seat))
    }

    /// What counts instead of a wish that leaves no candidate, and why.
    fn drop_of(
        &self,
        wish: Distribution,
        want: &Wanted,
        candidates: &[usize],
    ) -> Option<(Distribution, String)> {
        if candidates.is_empty() || candidates.iter().any(|seat| self.allows(wish, want, *seat)) {
            return None;
        }
        // The nearest to what was wished.
        let instead = match wish {
            Distribution::CollocationPersistent | Distribution::CollocationSource => {
                Distribution::Collocation
            }
            _ => Distribution::LeastLoad,
        };
        Some((instead, words::dropped(self, wish)))
    }

    /// The fewer the better.
    fn rank(
        &self,
        wish: Distribution,
        want: &Wanted,
        seat: usize,
    ) -> (Reverse<usize>, usize, usize) {
        let one = &self.seats[seat];
        let (together, load) = (self.kin(want, seat), one.load());
        match wish {
            Distribution::LeastLoad => (Reverse(0), load, 0),
            Distribution::Collocation
            | Distribution::CollocationPersistent
            | Distribution::CollocationSource => (Reverse(together), load, 0),
            Distribution::AntiCollocation
            | Distribution::AntiCollocationPersistent
            | Distribution::AntiCollocationSource => (Reverse(0), together, load),
        }
    }

    /// How many addresses of the same kin are on an interface: those of the service where the service
    /// wishes something of its own, else those of all services.
    pub(super) fn kin(&self, want: &Wanted, seat: usize) -> usize {
        let seat = &self.seats[seat];
        match &want.holder {
            Holder::Service { name, distribution: Some(_), .. } => {
                seat.services.get(name.as_str()).copied().unwrap_or(0)
            }
            Holder::Service { .. } => seat.addresses,
            Holder::Persistent => seat.load(),
        }
    }
}

/// The longest subnet of the interface's own that contains the address.
fn prefix_of(card: &Card, address: IpAddr) -> Option<u8> {
    let own = card.own.iter().filter(|own| own.1 < bits(own.0) && contains(**own, address));
    own.map(|own| own.1).max()
}
