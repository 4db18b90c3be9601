//! What an owned address needs: lifetime, announcements, defence, and somebody who looks whether
//! it is still there.

use core::net::IpAddr;
use core::time::Duration;

use base::Instant;

use crate::claim::used_by;
use crate::home::Moving;
use crate::learn::Learning;
use crate::machine::{Entry, Network, Place, State};
use crate::subnet::bits;
use crate::wire::{self, Mac};
use crate::{OnConflict, Output};

#[derive(Clone, Debug)]
pub(crate) struct Owned {
    pub(crate) place: Place,
    /// Of the interface, which may be gone when it has to be named.
    pub(crate) name: String,
    /// Whether a picture has shown the address since it was added.
    pub(crate) seen: bool,
    /// When it was added, or put back.
    pub(crate) since: Instant,
    /// When it was last found to have vanished.
    pub(crate) vanished: Option<Instant>,
    /// The operation that puts it back.
    pub(crate) restoring: Option<u64>,
    /// It is on its way to another interface.
    pub(crate) moving: Option<Moving>,
    /// When it was defended last.
    pub(crate) defended: Option<Instant>,
    pub(crate) announced: Option<Instant>,
    pub(crate) announce_at: Instant,
    /// How many announcements were sent since the last reason for one.
    pub(crate) step: usize,
    /// What its gateways know of it.
    pub(crate) learning: Learning,
    pub(crate) refresh_at: Instant,
    /// It was adopted, and may not have taken all that is its own from the interface.
    pub(crate) is_adopted: bool,
}

impl Owned {
    /// Just added: to be announced now.
    pub(crate) fn new(place: Place, name: String, now: Instant) -> Owned {
        Owned {
            place,
            name,
            seen: false,
            since: now,
            vanished: None,
            restoring: None,
            moving: None,
            defended: None,
            announced: None,
            announce_at: now,
            step: 0,
            learning: Learning::default(),
            refresh_at: now + REFRESH_INTERVAL,
            is_adopted: false,
        }
    }
}

impl Network {
    /// An address that an earlier life of the daemon claimed.
    pub(crate) fn adopt(&mut self, service: String, address: IpAddr) {
        if self.entries.contains_key(&address) {
            return; // Somebody decided about it already.
        }
        self.entries.insert(address, Entry::new(service, State::Adopting, self.now));
        if self.picture.is_some() {
            self.take_over(address);
        }
    }

    /// Owns an adopted address, now that the picture tells whether and where it is.
    pub(crate) fn take_over(&mut self, address: IpAddr) {
        // One of another prefix is not what was added here.
        let here = || self.places_of(address);
        let added = here().find(|place| place.prefix == bits(address));
        let Some(place) = added.or_else(|| here().next()) else {
            self.lose(address, "it was not on any interface when the daemon came back".into());
            return;
        };
        let mut owned = Owned::new(place, self.name(place.interface), self.now);
        owned.seen = true;
        owned.is_adopted = true;
        owned.refresh_at = self.now;
        self.enter(address, State::Owned(owned));
        self.entry(address).why = "it was there when the daemon came back".to_owned();
        if self.interface(place.interface).is_some_and(|interface| interface.mac.is_some()) {
            self.listen(place.interface);
        }
        self.owned_tick(address);
    }

    /// Announces and refreshes what is due, while this node may own anything at all.
    pub(crate) fn owned_tick(&mut self, address: IpAddr) {
        if !self.leased() || self.owned(address).moving.is_some() {
            return;
        }
        let now = self.now;
        if self.owned(address).announce_at <= now && self.may_send() {
            let owned = self.owned(address);
            let delay = ANNOUNCE_DELAYS.get(owned.step).copied().unwrap_or(ANNOUNCE_SLOWLY);
            owned.announce_at = now + delay;
            owned.announced = Some(now);
            owned.step += 1;
            let is_first = owned.step == 1;
            self.tell(address);
            if is_first {
                self.begin_asking(address);
            }
        }
        self.ask_gateways(address);
        if self.owned(address).refresh_at <= now {
            self.owned(address).refresh_at = now + REFRESH_INTERVAL;
            self.check_owned(address, false);
            self.finish_taking(address);
            self.refresh(address);
        }
    }

    /// A former life may have been killed between the addition and what it takes: it is added again, once.
    fn finish_taking(&mut self, address: IpAddr) {
        let Some(State::Owned(owned)) = self.entries.get(&address).map(|entry| &entry.state) else {
            return; // Seen to be lost.
        };
        let is_free = owned.restoring.is_none() && owned.moving.is_none();
        if !owned.is_adopted || !is_free {
            return;
        }
        let place = owned.place;
        let taking = self.taking(place);
        let mac = self.carrier(place.interface).and_then(|interface| interface.mac);
        let is_complete =
            taking.boot.is_empty() && taking.mac.is_none_or(|wanted| mac == Some(wanted));
        let restoring = (!is_complete).then(|| self.operate(place, true));
        let owned = self.owned(address);
        owned.is_adopted = false;
        owned.restoring = restoring;
    }

    /// Sends one announcement of an owned address.
    pub(crate) fn tell(&mut self, address: IpAddr) {
        let interface = self.owned(address).place.interface;
        if let Some(mac) = self.interface(interface).and_then(|interface| interface.mac) {
            let bytes = wire::announcement(mac, address);
            self.outputs.push_back(Output::Send { interface, bytes });
            self.counters.announcements += 1;
        }
    }

    fn refresh(&mut self, address: IpAddr) {
        let Some(State::Owned(owned)) = self.entries.get(&address).map(|entry| &entry.state) else {
            return; // Seen to be lost.
        };
        if owned.restoring.is_none() && owned.moving.is_none() {
            let Place { address, interface, prefix } = owned.place;
            let lifetime = self.lifetime;
            self.outputs.push_back(Output::Refresh { interface, address, prefix, lifetime });
        }
    }

    /// Part of the network may not know (any more) where the address is: starts the announcements
    /// over, but not twice for one cause that shows itself several times.
    pub(crate) fn announce_again(&mut self, address: IpAddr) {
        let now = self.now;
        let owned = self.owned(address);
        match owned.announced {
            Some(announced) if now.since(announced) < ANNOUNCE_SPACING => {
                owned.step = 1;
                owned.announce_at = announced + ANNOUNCE_DELAYS[0];
                self.begin_asking(address);
            }
            _ => {
                owned.step = 0;
                owned.announce_at = now;
            }
        }
        self.owned_tick(address);
    }

    /// Somebody else uses an address of ours.
    pub(crate) fn defend(&mut self, address: IpAddr, mac: Mac) {
        self.note_conflict(address, mac);
        let policy = self.conflicts.get(&address).copied().unwrap_or_default();
        let (now, leased) = (self.now, self.leased());
        let owned = self.owned(address);
        let is_again = owned.defended.is_some_and(|at| now.since(at) < DEFEND_INTERVAL);
        match (policy, is_again) {
            (OnConflict::Alarm, _) | (OnConflict::Defend, true) => {}
            (OnConflict::Yield, true) => self.give_up(address, mac),
            (OnConflict::Defend | OnConflict::Yield, false) if leased => {
                owned.defended = Some(now);
                // Two that defend themselves against each other must not fill the network. Once more when
                // the time is over, so that nobody stays misled.
                owned.announce_at = owned.announce_at.min(now + DEFEND_INTERVAL);
                owned.announced = Some(now);
                self.tell(address);
            }
            (OnConflict::Defend | OnConflict::Yield, false) => {}
        }
    }

    /// Leaves an address to the other machine that uses it.
    fn give_up(&mut self, address: IpAddr, mac: Mac) {
        let why = used_by(mac, &self.owned(address).name.clone());
        self.remove(address, why.clone());
        if let State::Removing(removing) = &mut self.entry(address).state {
            removing.yields = Some(why);
        }
    }

    /// Counts and remembers a conflict, and reports it, at most once a second.
    pub(crate) fn note_conflict(&mut self, address: IpAddr, mac: Mac) {
        let now = self.now;
        self.counters.conflicts += 1;
        let entry = self.entry(address);
        entry.conflict = Some((mac, now));
        if entry.reported.is_some_and(|reported| now.since(reported) < REPORT_INTERVAL) {
            return;
        }
        entry.reported = Some(now);
        let service = entry.service.clone();
        self.outputs.push_back(Output::Conflict { service, address, mac });
    }

    /// Looks whether an owned address is where it was put; `fresh` after a new picture. Pictures
    /// may be older than the addition, so absence counts once the address was seen, or when it
    /// was to be seen for a second.
    pub(crate) fn check_owned(&mut self, address: IpAddr, fresh: bool) {
        let now = self.now;
        let owned = self.owned(address).clone();
        if owned.moving.is_some() || (owned.restoring.is_none() && self.go_home(address)) {
            return;
        }
        let Owned { place, name, .. } = owned;
        if self.interface(place.interface).is_none() {
            return self.lose(address, format!("interface {name} is gone"));
        }
        if self.picture.as_ref().is_some_and(|picture| picture.places().contains(&place)) {
            self.owned(address).seen |= fresh;
            return;
        }
        if owned.restoring.is_some() || (!owned.seen && now < owned.since + SEEN_WITHIN) {
            return;
        }
        if !self.leased() {
            let why = format!("it vanished from {name} while this node had no lease");
            return self.lose(address, why);
        }
        if let Some(before) = owned.vanished.filter(|at| now.since(*at) < RESTORE_INTERVAL) {
            let after = now.since(before).as_secs();
            let why = format!("it vanished from {name} again {after} s after it was put back");
            return self.lose(address, why);
        }
        self.counters.restored += 1;
        let restoring = Some(self.operate(place, true));
        let owned = self.owned(address);
        owned.vanished = Some(now);
        owned.restoring = restoring;
    }

    /// Owns an address no more, because it is not there.
    pub(crate) fn lose(&mut self, address: IpAddr, why: String) {
        let entry = self.entries.remove(&address).expect("what is lost was owned");
        self.outputs.push_back(Output::Lost { service: entry.service, address, why });
    }

    pub(crate) fn owned(&mut self, address: IpAddr) -> &mut Owned {
        match &mut self.entry(address).state {
            State::Owned(owned) => owned,
            state => unreachable!("callers know that it is owned, not {state:?}"),
        }
    }

    /// Keeps the picture true after a service address was added.
    pub(crate) fn picture_add(&mut self, place: Place) {
        let lifetime = Some(self.lifetime);
        self.shares.forget_plans();
        if let Some(picture) = &mut self.picture {
            picture.add(place, lifetime);
        }
    }

    /// Keeps the picture true after an own address was switched.
    pub(crate) fn picture_own(&mut self, place: Place) {
        self.shares.forget_plans();
        if let Some(picture) = &mut self.picture {
            picture.add(place, None);
        }
    }

    /// Keeps the picture true after an address was removed.
    pub(crate) fn picture_remove(&mut self, place: Place) {
        self.shares.forget_plans();
        if let Some(picture) = &mut self.picture {
            picture.remove(place);
        }
    }
}

/// After the first announcement: at 0.2, 1, 2, 4 and 8 s. The second one is soon, because one frame that
/// is lost would be an outage until then.
pub(crate) const ANNOUNCE_DELAYS: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// After those: for a switch or neighbour that came up meanwhile and was told by nobody.
pub(crate) const ANNOUNCE_SLOWLY: Duration = Duration::from_secs(60);
/// Several paths that heal at once are one reason to announce.
const ANNOUNCE_SPACING: Duration = Duration::from_millis(200);
/// Between two reports of conflicts about one address.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Between two defences of one address (RFC 5227 §1.1, DEFEND_INTERVAL).
pub(crate) const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// An address that was put back is not put back again for so long: somebody wants it away.
pub(crate) const RESTORE_INTERVAL: Duration = Duration::from_secs(60);
/// By then a picture that is newer than the addition has come.
const SEEN_WITHIN: Duration = Duration::from_secs(1);
