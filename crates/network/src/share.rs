//! The networks of which the configuration says how service addresses are shared out over this node's
//! interfaces: what [`crate::place`] is asked, and when.
//!
//! An address counts as load where it is on its way to as well as where it is: a thousand claims at the
//! same moment are shared out as a thousand claims one after the other. When an interface fails, all its
//! addresses are planned at once, before the first of them leaves.
//!
//! Of an address of which nothing is said, the interfaces are those that work and have its subnet, as
//! ever, and the one with the least load is taken.

use core::net::IpAddr;
use std::collections::BTreeMap;

use base::Instant;

use crate::machine::{Entry, Network, Place, State};
use crate::picture::Picture;
use crate::place::{
    Card, Distribution, Ground, Holder, Occasion, Placement, Rule, Takeover, Wanted, place,
    place_one,
};
use crate::subnet::{self, bits};
use crate::switch::RETURN_AFTER;
use crate::wire::Mac;
use crate::{Interface, Share};

/// What is said about networks, and what is under way for it.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    all: Vec<Share>,
    /// The network of each address.
    of: BTreeMap<IpAddr, usize>,
    /// When addresses are shared out anew over interfaces that work again.
    returns: BTreeMap<usize, Instant>,
    /// What was planned while one input is handled.
    plans: BTreeMap<usize, BTreeMap<IpAddr, Placement>>,
}

/// The interface for an address.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) interface: u32,
    pub(crate) mac: Option<Mac>,
    pub(crate) why: String,
    pub(crate) dropped: Option<String>,
}

impl Shares {
    pub(crate) fn new(all: Vec<Share>) -> Shares {
        let mut shares = Shares {
            all: Vec::new(),
            of: BTreeMap::new(),
            returns: BTreeMap::new(),
            plans: BTreeMap::new(),
        };
        shares.configure(all);
        shares
    }

    /// What is said now. Nothing moves for it.
    pub(crate) fn configure(&mut self, all: Vec<Share>) {
        let addresses = all.iter().enumerate().flat_map(|(index, share)| {
            let services = share.addresses.iter().map(|(address, _)| *address);
            services.map(move |address| (address, index))
        });
        self.of = addresses.collect();
        self.returns.clear();
        self.plans.clear();
        self.all = all;
    }

    pub(crate) fn of(&self, address: IpAddr) -> Option<usize> {
        self.of.get(&address).copied()
    }

    /// What is said of a network.
    pub(crate) fn share(&self, share: usize) -> &Share {
        &self.all[share]
    }

    /// Whether the address may be on that interface.
    pub(crate) fn has_card(&self, address: IpAddr, name: &str) -> bool {
        let share = self.of(address).map(|share| &self.all[share]);
        share
            .is_some_and(|share| share.cards.iter().chain(&share.standbys).any(|card| card == name))
    }

    /// What was planned holds while one input is handled.
    pub(crate) fn forget_plans(&mut self) {
        self.plans.clear();
    }

    /// When addresses are shared out anew.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.returns.values().min().copied()
    }

    pub(crate) fn is_persistent(&self, address: IpAddr) -> bool {
        let mut persistent = self.all.iter().flat_map(|share| &share.persistent);
        persistent.any(|(other, _)| *other == address)
    }
}

impl Network {
    /// The interface for an address that is claimed, or is on its way; where it is already as long as that
    /// will do. `prefix` is what the configuration says of its subnet.
    pub(crate) fn select(&self, address: IpAddr, prefix: u8) -> Result<Chosen, String> {
        if let Some(share) = self.shares.of(address) {
            let service = self.entries.get(&address).map_or("", |entry| entry.service.as_str());
            let want = self.want(share, address, prefix, service);
            let mut ground = self.ground(share);
            let wanted = self.load(share, &mut ground);
            // A persistent address that is still on its way counts where it will be.
            let is_coming = |one: &Wanted| {
                one.holder == Holder::Persistent
                    && !ground.cards.iter().any(|card| card.carries.contains(&one.address))
            };
            let placed = match wanted.iter().any(is_coming) {
                false => None,
                true => {
                    let all = place(core::slice::from_ref(&ground), &wanted, Occasion::Event);
                    all.into_iter().find(|placed| placed.address == address)
                }
            };
            return self.chosen(placed.unwrap_or_else(|| place_one(&ground, &wanted, &want)));
        }
        let choices = self.choices(address);
        let is_service = |other| self.is_service(other);
        let first = subnet::select(&choices, (address, prefix), is_service)?;
        let (interface, mac) = (first.index, first.mac);
        let why = format!("{} is the first that carries its subnet", first.name);
        Ok(Chosen { interface, mac, why, dropped: None })
    }

    fn chosen(&self, placed: Placement) -> Result<Chosen, String> {
        let Placement { rule, card, why, dropped, address, .. } = placed;
        let interface =
            card.and_then(|card| self.carriers().iter().find(|interface| interface.name == card));
        match interface {
            Some(one) if rule != Rule::Nowhere => {
                Ok(Chosen { interface: one.index, mac: one.mac, why, dropped })
            }
            _ => Err(format!("no interface for {address}: {why}")),
        }
    }

    /// An address of a network as [`place`] wants it.
    pub(crate) fn want(&self, share: usize, address: IpAddr, prefix: u8, service: &str) -> Wanted {
        let share = &self.shares.all[share];
        let own = share.addresses.iter().find(|(other, _)| *other == address);
        let distribution: Option<Distribution> = own.and_then(|(_, distribution)| *distribution);
        let is_fixed = self.fixed.contains(&address);
        let holder = Holder::Service { name: service.to_owned(), distribution, is_fixed };
        Wanted { address, prefix, net: share.net.clone(), holder }
    }

    /// The interfaces of a network that are there, without what they carry.
    pub(crate) fn ground(&self, share: usize) -> Ground {
        let Share { net, cards, standbys, distribution, takeover, source, spared, .. } =
            &self.shares.all[share];
        let standbys = standbys.iter().map(|name| (name, true));
        let named = cards.iter().map(|name| (name, false)).chain(standbys);
        let cards = named.filter_map(|(name, is_standby)| {
            let interface = self.carriers().iter().find(|interface| interface.name == *name)?;
            let trouble = interface.trouble().map(str::to_owned);
            let own = match takeover {
                Takeover::Alias => self.own(interface),
                Takeover::Replacement => {
                    let mut own = self.boot_addresses(interface, spared);
                    let taken = self.replacing.boot(interface.index).iter();
                    let gone = taken.filter(|taken| !own.contains(taken)).copied();
                    own.extend(gone.collect::<Vec<_>>());
                    own
                }
            };
            Some(Card { name: name.clone(), trouble, is_standby, own, carries: Vec::new() })
        });
        Ground {
            net: net.clone(),
            distribution: *distribution,
            takeover: *takeover,
            source: *source,
            cards: cards.collect(),
        }
    }

    /// This node's own addresses on an interface that have a subnet, without persistent ones.
    fn own(&self, interface: &Interface) -> Vec<(IpAddr, u8)> {
        let own = interface.addresses.iter().filter(|seen| {
            seen.prefix < bits(seen.address)
                && !self.is_service(seen.address)
                && !self.shares.is_persistent(seen.address)
        });
        own.map(|seen| (seen.address, seen.prefix)).collect()
    }

    /// Puts on the interfaces of a network what is on them or on its way there; returns what that is.
    fn load(&self, share: usize, ground: &mut Ground) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        let spec = &self.shares.all[share];
        for (address, prefix) in &spec.persistent {
            let net = ground.net.clone();
            let holder = Holder::Persistent;
            wanted.push(Wanted { address: *address, prefix: *prefix, net, holder });
            for place in self.places_of(*address) {
                self.put_on(ground, place.interface, *address);
            }
        }
        for (address, _) in &spec.addresses {
            let Some(entry) = self.entries.get(address) else { continue };
            if matches!(entry.state, State::Removing(_) | State::Adopting) {
                continue;
            }
            wanted.push(self.want(share, *address, bits(*address), &entry.service));
            if let Some(interface) = interface_of(entry) {
                self.put_on(ground, interface, *address);
            }
        }
        wanted
    }

    fn put_on(&self, ground: &mut Ground, interface: u32, address: IpAddr) {
        let Some(name) = self.carrier(interface).map(|interface| &interface.name) else { return };
        if let Some(card) = ground.cards.iter_mut().find(|card| card.name == *name) {
            card.carries.push(address);
        }
    }

    /// Where an owned address of a network goes, planned for all of them at once.
    pub(crate) fn planned(&mut self, share: usize, address: IpAddr) -> Option<Placement> {
        if !self.shares.plans.contains_key(&share) {
            let plan = self.plan(share, Occasion::Event);
            let plan = plan.into_iter().map(|placed| (placed.address, placed)).collect();
            self.shares.plans.insert(share, plan);
        }
        let placed = self.shares.plans[&share].get(&address)?;
        (placed.rule != Rule::Nowhere).then(|| placed.clone())
    }

    fn plan(&self, share: usize, occasion: Occasion) -> Vec<Placement> {
        let mut ground = self.ground(share);
        let wanted = self.load(share, &mut ground);
        place(&[ground], &wanted, occasion)
    }

    /// Notes interfaces that work again.
    pub(crate) fn mind_returns(&mut self, interfaces: &[Interface]) {
        let works = |interfaces: &[Interface], name: &String| {
            let mut named = interfaces.iter().filter(|interface| interface.name == *name);
            named.any(|interface| interface.trouble().is_none() && interface.is_proven())
        };
        if self.picture.is_none() {
            return;
        }
        for (index, share) in self.shares.all.iter().enumerate() {
            let mut cards = share.cards.iter().chain(&share.standbys);
            let returns =
                cards.any(|name| works(interfaces, name) && !works(self.interfaces(), name));
            if returns && share.rebalances {
                self.shares.returns.insert(index, self.now + RETURN_AFTER);
            }
        }
    }

    /// Shares out anew what waited for that.
    pub(crate) fn rebalance_returned(&mut self) {
        let now = self.now;
        let due = self.shares.returns.iter().filter(|(_, at)| **at <= now);
        let due: Vec<usize> = due.map(|(share, _)| *share).collect();
        for share in due {
            self.shares.returns.remove(&share);
            self.rebalance_share(share);
        }
    }

    /// Somebody wants the addresses of a network where they would go now.
    pub(crate) fn rebalance(&mut self, net: &str) {
        for share in 0..self.shares.all.len() {
            if self.shares.all[share].net == net {
                self.rebalance_share(share);
            }
        }
    }

    fn rebalance_share(&mut self, share: usize) {
        if !self.leased() {
            return;
        }
        for placed in self.plan(share, Occasion::Rebalance) {
            let address = placed.address;
            let Some(State::Owned(owned)) = self.entries.get(&address).map(|entry| &entry.state)
            else {
                continue;
            };
            let is_busy = owned.moving.is_some() || owned.restoring.is_some();
            let card = placed.card.filter(|_| placed.rule != Rule::Nowhere);
            let to = card.and_then(|card| self.carriers().iter().find(|one| one.name == card));
            if let Some(to) = to
                && !is_busy
                && to.index != owned.place.interface
            {
                let to = to.index;
                let rule = (placed.why, placed.dropped);
                self.send(address, to, "has more than its share".to_owned(), rule);
            }
        }
    }

    /// Has persistent addresses announced that were not where they are in the picture before this one.
    pub(crate) fn announce_persistent(&mut self, before: &Picture) {
        let persistent = self.shares.all.iter().flat_map(|share| &share.persistent);
        let places = persistent.flat_map(|(address, _)| self.places_of(*address));
        let is_new = |place: &Place| {
            let mut earlier = before.places_of(place.address);
            !earlier.any(|earlier| earlier.interface == place.interface)
        };
        let new: Vec<Place> = places.filter(is_new).collect();
        for place in new {
            self.switches.announce(place.address, place.interface, self.now);
        }
    }

    /// Where the persistent addresses of this node are to be: each with the bits of its subnet and the
    /// number of the interface. One that has no place is missing.
    #[must_use]
    pub fn persistent(&self) -> Vec<(IpAddr, u8, u32)> {
        let mut homes = Vec::new();
        for (index, share) in self.shares.all.iter().enumerate() {
            if share.persistent.is_empty() {
                continue;
            }
            let placed = self.plan(index, Occasion::Event);
            for (address, prefix) in &share.persistent {
                let card = placed.iter().find(|placed| placed.address == *address);
                let name = card.and_then(|placed| placed.card.as_ref());
                let interface =
                    self.carriers().iter().find(|interface| Some(&interface.name) == name);
                homes.extend(interface.map(|interface| (*address, *prefix, interface.index)));
            }
        }
        homes
    }

    /// What is said of the addresses on this node whose network has a distribution, with that network.
    #[must_use]
    pub fn placements(&self) -> Vec<(String, Placement)> {
        let shares = self.shares.all.iter().enumerate();
        let placed = shares.flat_map(|(index, share)| {
            let placed = self.plan(index, Occasion::Event).into_iter();
            placed.map(|placed| (share.net.clone(), placed))
        });
        placed.collect()
    }
}

/// Where an address is, or is on its way to.
fn interface_of(entry: &Entry) -> Option<u32> {
    match &entry.state {
        State::Owned(owned) => {
            Some(owned.moving.as_ref().map_or(owned.place.interface, |to| to.to.interface))
        }
        state => state.interface(),
    }
}
