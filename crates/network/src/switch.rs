//! Local switch: the node's own addresses go to a standby interface when theirs fails, and back.
//!
//! After MC/LockManager's network manager (seed 002). A network has a primary interface on a node and
//! may have standbys: interfaces on the same wire without addresses of their own. When the primary
//! fails, all its addresses go to the first standby that works, with the routes on them; connections
//! live on, because nothing about them but the hardware address has changed. Service addresses then
//! follow their subnet (module `home`). When the primary works again, everything goes back.
//!
//! Nothing about this is remembered that could be forgotten. The configuration says which interface is
//! the primary, the picture says where the addresses are, and a standby has none of its own. So a
//! daemon that is started in the middle of a switch, or after one, goes on where the former one was
//! stopped, and a machine that boots has its addresses on the primary, where its system puts them.
//!
//! **Not for nothing.** A switch (the device) that loses power takes the carrier from all interfaces at
//! once, and gives it back one by one. So an interface has to fail for [`SWITCH_AFTER`] while the other
//! one keeps working; one that began to work only after the failure must do so for [`RETURN_AFTER`], as
//! the primary must before the addresses return to it. For a return a signal is not enough: where polls
//! are made, they have to prove the primary, so that a daemon that is started again does not go back to
//! one that is silently dead. Each failure within [`FLAP_WINDOW`] of the last
//! one doubles that time.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use base::Instant;

use crate::left::Left;
use crate::machine::{Network, Place, State};
use crate::own::ANNOUNCE_DELAYS;
use crate::{Failure, Interface, Net, NetStatus, Output, subnet, wire};

/// How long an interface has failed before its addresses leave it: two looks at the carriers.
pub(crate) const SWITCH_AFTER: Duration = Duration::from_millis(100);
/// How long an interface has worked before addresses come (back) to it.
pub(crate) const RETURN_AFTER: Duration = Duration::from_secs(5);
/// The longest that [`RETURN_AFTER`] becomes by doubling.
const RETURN_AFTER_MAX: Duration = Duration::from_secs(320);
/// Failures within this time of each other are those of one loose contact.
const FLAP_WINDOW: Duration = Duration::from_secs(600);
/// After a switch that did not succeed.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long an interface has to work after a failure at `now`, when it failed last at `before` and had to
/// work for `watched` after that.
pub(crate) fn watched_after(before: Option<Instant>, watched: Duration, now: Instant) -> Duration {
    match before.is_some_and(|before| now.since(before) < FLAP_WINDOW) {
        true => RETURN_AFTER_MAX.min(watched * 2),
        false => RETURN_AFTER,
    }
}

/// What [`Input::Return`](crate::Input::Return) would do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returning {
    /// The addresses are on the primary interface, the one of that name.
    IsThere(String),
    /// They go back.
    Goes {
        /// From this interface.
        from: String,
        /// To the primary.
        to: String,
    },
    /// They cannot.
    Refused {
        /// The interface that has them.
        seat: String,
        /// Why not, as a sentence.
        why: String,
    },
}

/// The networks with standbys, and what became of them.
#[derive(Clone, Debug)]
pub(crate) struct Switches {
    pub(crate) nets: Vec<Seats>,
    /// Since when each interface works, or does not. What was so at the first look was so for ever.
    cards: BTreeMap<u32, Card>,
    /// Own addresses that still have to be announced where they went.
    fresh: BTreeMap<IpAddr, Fresh>,
    /// When to look again. Kept, because it is asked for in each turn of the driver's loop.
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Card {
    works: bool,
    since: Instant,
    /// Since when it is proven to.
    proven: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Fresh {
    interface: u32,
    /// How many announcements were sent.
    step: usize,
    at: Instant,
}

#[derive(Clone, Debug)]
pub(crate) struct Seats {
    pub(crate) net: Net,
    pub(crate) switching: Option<Switching>,
    /// Whether each interface could carry the addresses when that was looked at last: module `standby`.
    pub(crate) usable: BTreeMap<String, bool>,
    /// When addresses left their interface last, and how long an interface is watched since.
    left: Option<Instant>,
    pub(crate) watched: Duration,
    /// Somebody asked for the return.
    returns: bool,
    /// Where the newest switch of this life went, and when it was done.
    last: Option<(String, Instant)>,
    /// Why the newest attempt failed, and when to try again.
    failure: Option<(String, Instant)>,
    /// Addresses that could not go along.
    pub(crate) left_behind: Left,
}

#[derive(Clone, Debug)]
pub(crate) struct Switching {
    operation: u64,
    from: u32,
    to: u32,
    addresses: Vec<(IpAddr, u8)>,
    names: [String; 2],
    why: String,
}

/// What is right for a network now.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The addresses are where they belong, or nowhere.
    Stay,
    /// They leave at that moment, if nothing changes.
    Later {
        at: Instant,
        from: u32,
        is_failure: bool,
    },
    Switch {
        from: u32,
        to: u32,
        why: String,
    },
}

impl Switches {
    pub(crate) fn new(nets: Vec<Net>) -> Switches {
        let nets = nets.into_iter().map(Seats::new).collect();
        Switches { nets, cards: BTreeMap::new(), fresh: BTreeMap::new(), due: None }
    }

    pub(crate) fn configure(&mut self, nets: Vec<Net>) {
        let mut before = core::mem::take(&mut self.nets);
        let seats = nets.into_iter().map(|net| {
            // One with other interfaces is another network: what is on its way is answered by nobody.
            match before.iter().position(|seats| seats.net.cards == net.cards) {
                Some(place) => Seats { net, ..before.swap_remove(place) },
                None => Seats::new(net),
            }
        });
        self.nets = seats.collect();
    }

    /// Whether the address could not go along when the others left that interface.
    fn has_left(&self, name: &str, address: IpAddr) -> bool {
        self.nets.iter().any(|seats| seats.left_behind.has(name, address))
    }

    pub(crate) fn is_standby(&self, name: &str) -> bool {
        self.nets.iter().any(|seats| seats.net.cards.iter().skip(1).any(|card| card == name))
    }

    /// An own address has come to an interface, and has to be announced there.
    pub(crate) fn announce(&mut self, address: IpAddr, interface: u32, at: Instant) {
        self.fresh.insert(address, Fresh { interface, step: 0, at });
    }

    fn works_since(&self, index: u32) -> Option<Instant> {
        self.cards.get(&index).filter(|card| card.works).map(|card| card.since)
    }

    pub(crate) fn proven_since(&self, index: u32) -> Option<Instant> {
        self.cards.get(&index).and_then(|card| card.proven)
    }
}

impl Seats {
    fn new(net: Net) -> Seats {
        Seats {
            net,
            switching: None,
            usable: BTreeMap::new(),
            left: None,
            watched: RETURN_AFTER,
            returns: false,
            last: None,
            failure: None,
            left_behind: Left::default(),
        }
    }
}

impl Network {
    /// Remembers since when each interface works.
    pub(crate) fn note_cards(&mut self, interfaces: &[Interface]) {
        let since = if self.picture.is_none() { Instant::ZERO } else { self.now };
        let cards = &mut self.switches.cards;
        cards.retain(|index, _| interfaces.iter().any(|interface| interface.index == *index));
        for interface in interfaces {
            let works = interface.trouble().is_none();
            let fresh = Card { works, since, proven: None };
            let card = cards.entry(interface.index).or_insert(fresh);
            if card.works != works {
                *card = fresh;
            }
            card.proven = interface.is_proven().then(|| card.proven.unwrap_or(since));
        }
    }

    /// Switches what has to be, and announces what was.
    pub(crate) fn mind_nets(&mut self) {
        self.announce_own();
        if self.picture.is_none() {
            return;
        }
        self.forget_left();
        for place in 0..self.switches.nets.len() {
            let Verdict::Switch { from, to, why } = self.judge(&self.switches.nets[place]) else {
                continue;
            };
            let addresses = self.switched_from(&self.switches.nets[place], from);
            let operation = self.next_operation;
            self.next_operation += 1;
            let names = [self.name(from), self.name(to)];
            let now = self.now;
            let has_failed = self.carrier(from).is_some_and(|card| card.trouble().is_some());
            let seats = &mut self.switches.nets[place];
            let is_first = addresses.iter().all(|one| !seats.left_behind.has(&names[0], one.0));
            if has_failed && is_first && seats.net.cards.first() == Some(&names[0]) {
                seats.watched = watched_after(seats.left, seats.watched, now);
                seats.left = Some(now);
            }
            let (net, reason) = (seats.net.name.clone(), why.clone());
            seats.switching =
                Some(Switching { operation, from, to, addresses: addresses.clone(), names, why });
            let switch = Output::Switch { operation, from, to, addresses, net, why: reason };
            self.outputs.push_back(switch);
        }
        self.mind_standbys();
    }

    /// Where the own addresses of a network should be.
    fn judge(&self, seats: &Seats) -> Verdict {
        if seats.switching.is_some() {
            return Verdict::Stay;
        }
        let interfaces = self.carriers();
        let named = |name: &String| interfaces.iter().find(|interface| interface.name == *name);
        let cards: Vec<&Interface> = seats.net.cards.iter().filter_map(named).collect();
        let Some(seat) = self.seat(seats, &cards) else { return Verdict::Stay };
        let works = |card: &Interface| card.trouble().is_none();
        let taken = || self.taken(seat, &cards);
        let last = seats.last.as_ref();
        let since =
            |card: &Interface| self.switches.works_since(card.index).unwrap_or(Instant::FAR);
        let primary = cards.first().filter(|card| seats.net.cards.first() == Some(&card.name));
        let is_wanted = seats.net.auto_return || seats.returns;
        let returns = primary.filter(|card| is_wanted && card.index != seat.index);
        // What is not proven is good enough to begin on, and not to leave a good one for.
        let returns = returns.and_then(|card| {
            let proven = self.switches.proven_since(card.index)?;
            Some(match seats.returns {
                true => (card, self.now),
                false => (card, proven + seats.watched),
            })
        });
        let (target, at, why) = if let Some(trouble) = seat.trouble() {
            let failed =
                self.switches.cards.get(&seat.index).map_or(Instant::ZERO, |card| card.since);
            // Only between interfaces of one kind, and to none that carries others' addresses.
            let others = cards.iter().filter(|card| {
                let is_free = self.seats(card).next().is_none();
                card.index != seat.index
                    && works(card)
                    && card.mac.is_some() == seat.mac.is_some()
                    && (is_free || self.is_same(seat.index, card.index))
            });
            let ready = others.map(|card| {
                let at = match since(card) <= failed {
                    true => failed + SWITCH_AFTER,
                    false => since(card) + seats.watched,
                };
                (*card, at)
            });
            let ready = ready.min_by_key(|(card, at)| (*at, !card.is_proven()));
            let Some((target, at)) = ready else { return Verdict::Stay };
            (target, at, trouble.to_owned())
        } else if let Some((primary, at)) = returns
            && (at <= self.now || taken().count() == 1)
        {
            (*primary, at, format!("{} works again", primary.name))
        } else {
            // Not at once again, should somebody put them there as often as they are taken away.
            let at = last.map_or(self.now, |(_, done)| *done + RETRY_AFTER);
            (seat, at, "a switch was interrupted".to_owned())
        };
        let Some(from) = taken().find(|card| card.index != target.index) else {
            return self.judge_left(seats, seat, &cards);
        };
        // What others put on the target is none of ours, and no switch that was interrupted.
        if !self.is_same(from.index, target.index) {
            return Verdict::Stay;
        }
        let at = seats.failure.as_ref().map_or(at, |(_, retry)| at.max(*retry));
        if at > self.now {
            let is_failure = seat.trouble().is_some() && seats.failure.is_none();
            return Verdict::Later { at, from: from.index, is_failure };
        }
        Verdict::Switch { from: from.index, to: target.index, why }
    }

    /// The interface that the own addresses of a network belong on as things are. In the middle of a
    /// switch that was interrupted there are two that have some; so it is when somebody else puts an
    /// address back on the primary: then they belong where they were switched to.
    pub(crate) fn seat<'a>(&self, seats: &Seats, cards: &[&'a Interface]) -> Option<&'a Interface> {
        let has = |card: &&Interface| self.seats(card).next().is_some();
        let last = seats.last.as_ref().map(|(name, _)| name);
        let newest = cards.iter().copied().filter(has).find(|card| Some(&card.name) == last);
        let first = newest.or_else(|| cards.iter().copied().find(has))?;
        let works = |card: &&Interface| card.trouble().is_none();
        let seat = newest.filter(works).or_else(|| self.taken(first, cards).find(works));
        seat.or(Some(first))
    }

    /// Those of the interfaces that have the own addresses of `seat`, or a part of them. A standby with
    /// other addresses is no seat of these.
    fn taken<'a>(
        &self,
        seat: &'a Interface,
        cards: &[&'a Interface],
    ) -> impl Iterator<Item = &'a Interface> {
        let has = |card: &&Interface| {
            self.seats(card).next().is_some() && self.is_same(seat.index, card.index)
        };
        cards.iter().copied().filter(has)
    }

    /// The driver has switched, or could not. False when the operation is another one.
    pub(crate) fn switched(&mut self, operation: u64, result: Result<(), Failure>) -> bool {
        if self.operations.contains_key(&operation) {
            return false;
        }
        let now = self.now;
        let is_it = |seats: &&mut Seats| {
            seats.switching.as_ref().is_some_and(|switching| switching.operation == operation)
        };
        // The network was taken out of the configuration meanwhile: the next picture shows what is.
        let Some(seats) = self.switches.nets.iter_mut().find(is_it) else { return true };
        let switching = seats.switching.take().expect("it was just seen");
        let Switching { from, to, addresses, names, why, .. } = switching;
        let (refused, failure) = match result {
            Ok(()) => (Vec::new(), None),
            Err(Failure::AllBut(refused)) => (refused, None),
            Err(failure) => (Vec::new(), Some(failure.reason())),
        };
        let was_left =
            addresses.iter().all(|(address, _)| seats.left_behind.has(&names[0], *address));
        let is_done = failure.is_none();
        seats.left_behind.switched(&names, &addresses, &refused, is_done, now);
        let is_refused =
            |(address, _): &(IpAddr, u8)| refused.iter().any(|(one, _)| one == address);
        let gone: Vec<_> = addresses.into_iter().filter(|one| !is_refused(one)).collect();
        // What could not go along before, and cannot now either, is no news.
        if !was_left || (is_done && !gone.is_empty()) {
            if !was_left {
                seats.returns = false;
                seats.last = Some((names[1].clone(), now));
                seats.failure = failure.clone().map(|failure| (failure, now + RETRY_AFTER));
            }
            let [from, to] = names;
            self.outputs.push_back(Output::Switched {
                net: seats.net.name.clone(),
                from,
                to,
                addresses: gone.iter().map(|(address, _)| *address).collect(),
                left: refused,
                why,
                failure,
            });
        }
        for (address, prefix) in gone {
            if is_done {
                self.picture_remove(Place { address, interface: from, prefix });
                self.picture_own(Place { address, interface: to, prefix });
            }
            // After a failure too: they may have been on the other one for a moment, and have answered there.
            let on = if is_done { to } else { from };
            self.switches.announce(address, on, now);
        }
        if is_done {
            self.counters.switches += 1;
            for address in self.addresses() {
                if let State::Owned(_) = self.entry(address).state {
                    self.check_owned(address, false);
                }
            }
        }
        self.mind_nets();
        true
    }

    /// Whether a switch is still wanted that the driver was asked for.
    #[must_use]
    pub fn is_switching(&self, operation: u64) -> bool {
        let mut switching = self.switches.nets.iter().filter_map(|seats| seats.switching.as_ref());
        switching.any(|switching| switching.operation == operation)
    }

    /// Somebody wants the addresses back on the primary.
    pub(crate) fn go_back(&mut self, net: &str) {
        for seats in self.switches.nets.iter_mut().filter(|seats| seats.net.name == net) {
            seats.returns = true;
        }
        self.mind_nets();
        for seats in self.switches.nets.iter_mut().filter(|seats| seats.net.name == net) {
            // Asked for now, not for some time.
            seats.returns = false;
        }
    }

    /// What would come of it if somebody wanted the addresses of a network back on the primary; none when
    /// this node has no standby there.
    #[must_use]
    pub fn returning(&self, net: &str) -> Option<Returning> {
        let seats = self.switches.nets.iter().find(|seats| seats.net.name == net)?;
        let primary = seats.net.cards.first()?;
        let refused = |seat: &str, why: String| Returning::Refused { seat: seat.to_owned(), why };
        if let Some(Switching { names: [from, to], .. }) = &seats.switching {
            return Some(refused(from, format!("they are on their way to {to} just now")));
        }
        let interfaces = self.carriers();
        let named = |name: &String| interfaces.iter().find(|interface| interface.name == *name);
        let cards: Vec<&Interface> = seats.net.cards.iter().filter_map(named).collect();
        let Some(seat) = self.seat(seats, &cards) else {
            return Some(refused("no interface", "this node has no address there".to_owned()));
        };
        if seat.name == *primary {
            return Some(Returning::IsThere(primary.clone()));
        }
        let asked = Seats { returns: true, ..seats.clone() };
        if let Verdict::Switch { from, to, .. } = self.judge(&asked) {
            return Some(Returning::Goes { from: self.name(from), to: self.name(to) });
        }
        let why = match named(primary) {
            None => format!("{primary} is not there"),
            Some(card) => match (card.trouble(), card.is_proven()) {
                (Some(trouble), _) => format!("{primary} {trouble}"),
                (None, false) => format!("{primary} is not proven to work yet"),
                (None, true) => match &seats.failure {
                    Some((failure, _)) => format!("the newest attempt failed: {failure}"),
                    None => format!("{primary} has addresses of its own"),
                },
            },
        };
        Some(refused(&seat.name, why))
    }

    /// Announces own addresses where they are now, as service addresses are.
    fn announce_own(&mut self) {
        let now = self.now;
        let due: Vec<(IpAddr, u32)> = (self.switches.fresh.iter())
            .filter(|(_, fresh)| fresh.at <= now)
            .map(|(address, fresh)| (*address, fresh.interface))
            .collect();
        for (address, interface) in due {
            // Somebody has taken it away since, to give it to another machine perhaps.
            if !self.places_of(address).any(|place| place.interface == interface) {
                self.switches.fresh.remove(&address);
                continue;
            }
            if let Some(mac) = self.interface(interface).and_then(|interface| interface.mac) {
                let bytes = wire::announcement(mac, address);
                self.outputs.push_back(Output::Send { interface, bytes });
                self.counters.announcements += 1;
            }
            let fresh = self.switches.fresh.get_mut(&address).expect("it was just seen");
            match ANNOUNCE_DELAYS.get(fresh.step) {
                Some(delay) => (fresh.step, fresh.at) = (fresh.step + 1, now + *delay),
                None => drop(self.switches.fresh.remove(&address)),
            }
        }
    }

    /// When to look again, as of the newest input.
    pub(crate) fn switch_due(&self) -> Option<Instant> {
        self.switches.due
    }

    /// Works out when to look again.
    pub(crate) fn plan_switches(&mut self) {
        let later = self.switches.nets.iter().filter_map(|seats| match self.judge(seats) {
            Verdict::Later { at, .. } => Some(at),
            // Its moment came while something else was on; the next tick acts on it.
            Verdict::Switch { .. } => Some(self.now),
            Verdict::Stay => None,
        });
        let fresh = self.switches.fresh.values().map(|fresh| fresh.at);
        let joins = self.switches.nets.iter().filter_map(|seats| self.joins_at(seats));
        self.switches.due = later.chain(fresh).chain(joins).min();
    }

    /// Whether the address will be carried by a standby in a moment.
    #[must_use]
    pub fn is_about_to_switch(&self, address: IpAddr) -> bool {
        if self.fixed.contains(&address) {
            return false;
        }
        let carries = |index: u32| {
            let interface = self.carrier(index);
            interface.is_some_and(|one| {
                subnet::carries(one, address, |other| self.is_service(other))
                    || self.shares.has_card(address, &one.name)
            })
        };
        self.switches.nets.iter().any(|seats| {
            let from = match (&seats.switching, self.judge(seats)) {
                (Some(switching), _) => Some(switching.from),
                (None, Verdict::Switch { from, .. }) => Some(from),
                (None, Verdict::Later { at, from, is_failure: true }) => {
                    Some(from).filter(|_| at <= self.now + SWITCH_AFTER)
                }
                (None, Verdict::Later { .. } | Verdict::Stay) => None,
            };
            // What was left behind is hardly about to go.
            from.is_some_and(|from| !self.stationary(from).is_empty() && carries(from))
        })
    }

    pub(crate) fn net_status(&self) -> Vec<NetStatus> {
        let interfaces = self.carriers();
        let status = self.switches.nets.iter().map(|seats| {
            let named = seats
                .net
                .cards
                .iter()
                .filter_map(|name| interfaces.iter().find(|interface| interface.name == *name));
            let cards: Vec<&Interface> = named.collect();
            let seat = self.seat(seats, &cards);
            let foreign = seat.and_then(|seat| {
                let other = cards.iter().find(|other| {
                    self.seats(other).next().is_some() && !self.is_same(seat.index, other.index)
                })?;
                Some(format!("{} has addresses of its own, so it takes over none", other.name))
            });
            let failure = seats.failure.as_ref().map(|(failure, _)| failure.clone());
            NetStatus {
                name: seats.net.name.clone(),
                cards: seats.net.cards.clone(),
                seat: seat.map(|seat| seat.name.clone()),
                addresses: seat.map_or(Vec::new(), |seat| {
                    self.stationary(seat.index).into_iter().map(|(address, _)| address).collect()
                }),
                failure: failure.or(foreign).or_else(|| seats.left_behind.words()),
            }
        });
        status.collect()
    }

    /// Whether all addresses of one interface are on the other one as well: then both are the same set,
    /// of which a part is on its way.
    fn is_same(&self, one: u32, other: u32) -> bool {
        let subnets = |index| {
            let card = self.carrier(index).into_iter();
            card.flat_map(|card| self.seats(card)).collect::<Vec<_>>()
        };
        let (one, other) = (subnets(one), subnets(other));
        one.iter().all(|own| other.contains(own)) || other.iter().all(|own| one.contains(own))
    }

    /// The node's own addresses on an interface, without those that belong to the interface itself.
    pub(crate) fn stationary(&self, index: u32) -> Vec<(IpAddr, u8)> {
        self.interface(index).map_or(Vec::new(), |interface| self.seats(interface).collect())
    }

    /// Those of the addresses that are this node's own, without what could not go along from there.
    fn seats(&self, interface: &Interface) -> impl Iterator<Item = (IpAddr, u8)> {
        let own = interface.addresses.iter().filter(|seen| {
            let is_local = matches!(seen.address, IpAddr::V6(six) if six.is_unicast_link_local());
            !is_local
                && !self.is_service(seen.address)
                && !self.switches.has_left(&interface.name, seen.address)
        });
        own.map(|seen| (seen.address, seen.prefix))
    }
}
