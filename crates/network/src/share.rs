//! The networks of which the configuration says how service addresses are shared out over this node's
//! interfaces: what [`crate::place`] is asked, and when.
//!
//! An address counts as load where it is on its way to as well as where it is: a thousand claims at the
//! same moment are shared out as a thousand claims one after the other. When an interface fails, all its
//! addresses are planned at once, before the first of them leaves; a plan holds as long as the input is handled
//! and the picture stays the same, so that a thousand addresses ask for one.
//!
//! An interface that works again (module `returned`) gets its share back, where that is wished, once it has worked
//! for [`RETURN_AFTER`](crate::switch::RETURN_AFTER); of one that fails again and again each failure doubles that, as for a local switch. What
//! cannot be shared out anew then, for want of a lease, is when it can.
//!
//! Of an address of which nothing is said, the interfaces are those that work and have its subnet, as
//! ever, and the one with the least load is taken.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use base::Instant;

use crate::machine::{Entry, Network, Place, State};
use crate::picture::Picture;
use crate::place::{
    Card, Distribution, Ground, Holder, Occasion, Placement, Rule, Takeover, Wanted, place,
    place_some,
};
use crate::returned::Return;
use crate::subnet::{self, bits};
use crate::switch::RETRY_AFTER;
use crate::wire::Mac;
use crate::{Interface, Share};

/// What is said about networks, and what is under way for it.
#[derive(Clone, Debug)]
pub(crate) struct Shares {
    pub(crate) all: Vec<Share>,
    /// The network of each address, and the preference of its service.
    of: BTreeMap<IpAddr, (usize, Option<Distribution>)>,
    /// Addresses of this node itself.
    persistent: BTreeSet<IpAddr>,
    /// What is watched of the networks that get their shares back, by their names.
    pub(crate) returns: BTreeMap<String, Return>,
    /// What was worked out while one input is handled.
    grounds: BTreeMap<usize, Ground>,
    plans: BTreeMap<usize, BTreeMap<IpAddr, Placement>>,
}

/// The interface for an address.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) interface: u32,
    pub(crate) mac: Option<Mac>,
    pub(crate) why: String,
}

/// An address that has a better place than where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The address.
    pub address: IpAddr,
    /// The interface where it is.
    pub from: String,
    /// The better one.
    pub to: String,
    /// What is better there, in a few words.
    pub why: String,
    /// It is on its way already, or being put back; it is left alone.
    pub is_busy: bool,
    pub(crate) interface: u32,
}

impl Shares {
    pub(crate) fn new(all: Vec<Share>) -> Shares {
        let mut shares = Shares {
            all: Vec::new(),
            of: BTreeMap::new(),
            persistent: BTreeSet::new(),
            returns: BTreeMap::new(),
            grounds: BTreeMap::new(),
            plans: BTreeMap::new(),
        };
        shares.configure(all);
        shares
    }

    /// What is said now. Nothing moves for it; what is due stays due.
    pub(crate) fn configure(&mut self, all: Vec<Share>) {
        let addresses = all.iter().enumerate().flat_map(|(index, share)| {
            share.addresses.iter().map(move |(address, wish)| (*address, (index, *wish)))
        });
        self.of = addresses.collect();
        self.persistent =
            all.iter().flat_map(|share| &share.persistent).map(|(address, _)| *address).collect();
        let rebalances = |net: &String| all.iter().any(|one| one.rebalances && one.net == *net);
        self.returns.retain(|net, _| rebalances(net));
        self.forget_plans();
        self.all = all;
    }

    pub(crate) fn of(&self, address: IpAddr) -> Option<usize> {
        self.of.get(&address).map(|(share, _)| *share)
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

    /// Another input, or another picture.
    pub(crate) fn forget_plans(&mut self) {
        self.grounds.clear();
        self.plans.clear();
    }

    /// When addresses are shared out anew, if there is a lease then.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.returns.values().filter_map(|one| one.due).min()
    }

    pub(crate) fn is_persistent(&self, address: IpAddr) -> bool {
        self.persistent.contains(&address)
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
            let persistent = wanted.iter().filter(|one| one.holder == Holder::Persistent);
            let mut placed = place_some(&ground, &wanted, persistent.chain([&want]));
            return self.chosen(&placed.pop().expect("one for each that was asked for"));
        }
        let choices = self.choices(address);
        let is_service = |other| self.is_service(other);
        let first = subnet::select(&choices, (address, prefix), is_service)?;
        let (interface, mac) = (first.index, first.mac);
        let why = format!("{} is the first that carries its subnet", first.name);
        Ok(Chosen { interface, mac, why })
    }

    /// The same for an address that is on its way, as it is planned for all of the network at once.
    pub(crate) fn select_again(&mut self, address: IpAddr, prefix: u8) -> Result<Chosen, String> {
        match self.shares.of(address) {
            None => self.select(address, prefix),
            Some(share) => {
                let plan = self.planned(share);
                let placed = plan.get(&address).expect("what is on its way was planned").clone();
                self.chosen(&placed)
            }
        }
    }

    fn chosen(&self, placed: &Placement) -> Result<Chosen, String> {
        let Placement { rule, card, why, address, .. } = placed;
        let card = card.as_ref();
        let interface =
            card.and_then(|card| self.carriers().iter().find(|interface| interface.name == *card));
        match interface {
            Some(one) if *rule != Rule::Nowhere => {
                Ok(Chosen { interface: one.index, mac: one.mac, why: why.clone() })
            }
            _ => Err(format!("no interface for {address}: {why}")),
        }
    }

    /// An address of a network as [`place`] wants it.
    pub(crate) fn want(&self, share: usize, address: IpAddr, prefix: u8, service: &str) -> Wanted {
        let share = &self.shares.all[share];
        let distribution = self.shares.of.get(&address).and_then(|(_, wish)| *wish);
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

    /// Where the addresses of a network go, all of them at once.
    pub(crate) fn planned(&mut self, share: usize) -> &BTreeMap<IpAddr, Placement> {
        if !self.shares.plans.contains_key(&share) {
            let plan = self.plan(share, Occasion::Event);
            let plan = plan.into_iter().map(|placed| (placed.address, placed)).collect();
            self.shares.plans.insert(share, plan);
        }
        &self.shares.plans[&share]
    }

    /// [`Network::ground`], once for all that ask while one input is handled.
    pub(crate) fn ground_now(&mut self, share: usize) -> &Ground {
        if !self.shares.grounds.contains_key(&share) {
            let ground = self.ground(share);
            self.shares.grounds.insert(share, ground);
        }
        &self.shares.grounds[&share]
    }

    fn plan(&self, share: usize, occasion: Occasion) -> Vec<Placement> {
        let mut ground = self.ground(share);
        let wanted = self.load(share, &mut ground);
        place(&[ground], &wanted, occasion)
    }

    /// Shares out anew what waited for that, if this node may own anything. What is on its way anyway is
    /// looked at again when it has arrived.
    pub(crate) fn rebalance_returned(&mut self) {
        let now = self.now;
        if !self.leased() {
            return;
        }
        for share in 0..self.shares.all.len() {
            let net = self.shares.all[share].net.clone();
            let due = self.shares.returns.get(&net).and_then(|one| one.due);
            if due.is_none_or(|at| at > now) {
                continue;
            }
            let is_busy = self.send_all(self.moves(share));
            let again = is_busy.then(|| now + RETRY_AFTER);
            self.shares.returns.get_mut(&net).expect("it was just seen").due = again;
        }
    }

    /// Somebody wants the addresses of a network where they would go now.
    pub(crate) fn rebalance(&mut self, net: &str) {
        if let Ok(moves) = self.rebalancing(net) {
            self.send_all(moves);
        }
    }

    /// Which addresses [`Input::Rebalance`](crate::Input::Rebalance) would move now.
    ///
    /// # Errors
    /// Why nothing can be moved, as a sentence.
    pub fn rebalancing(&self, net: &str) -> Result<Vec<Move>, String> {
        let Some(share) = self.shares.all.iter().position(|share| share.net == net) else {
            return Err(format!("{net} does not share addresses out over interfaces of this node"));
        };
        if !self.leased() {
            return Err("this node has no lease, so it may move nothing".to_owned());
        }
        Ok(self.moves(share))
    }

    fn moves(&self, share: usize) -> Vec<Move> {
        let moves = self.plan(share, Occasion::Rebalance).into_iter().filter_map(|placed| {
            let State::Owned(owned) = &self.entries.get(&placed.address)?.state else {
                return None;
            };
            let card = placed.card.filter(|_| placed.rule != Rule::Nowhere)?;
            let to = self.carriers().iter().find(|one| one.name == card)?.index;
            let is_busy = owned.moving.is_some() || owned.restoring.is_some();
            let is_there = to == owned.place.interface && !is_busy;
            let (from, why) = (owned.name.clone(), placed.why);
            let address = placed.address;
            (!is_there).then_some(Move { address, from, to: card, why, interface: to, is_busy })
        });
        moves.collect()
    }

    /// Sends addresses on their way. Whether some of them are on a way already.
    fn send_all(&mut self, moves: Vec<Move>) -> bool {
        let mut any_busy = false;
        for Move { address, interface, why, is_busy, .. } in moves {
            any_busy |= is_busy;
            if !is_busy {
                self.send(address, interface, "has more than its share".to_owned(), why);
            }
        }
        any_busy
    }

    /// Has persistent addresses announced that were not where they are in the picture before this one.
    pub(crate) fn announce_persistent(&mut self, before: &Picture) {
        let persistent = self.shares.persistent.iter();
        let places = persistent.flat_map(|address| self.places_of(*address));
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
            let mut ground = self.ground(index);
            let wanted = self.load(index, &mut ground);
            let persistent = wanted.iter().filter(|one| one.holder == Holder::Persistent);
            let placed = place_some(&ground, &wanted, persistent.clone());
            for (want, placed) in persistent.zip(placed) {
                let name = placed.card.as_ref();
                let interface =
                    self.carriers().iter().find(|interface| Some(&interface.name) == name);
                homes.extend(interface.map(|one| (want.address, want.prefix, one.index)));
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
