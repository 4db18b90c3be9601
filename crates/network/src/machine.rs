//! The state machine: what each input does to each address.

use core::net::IpAddr;
use core::ops::RangeInclusive;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::Instant;

use crate::own::Owned;
use crate::picture::Picture;
use crate::place;
use crate::replace::Replacing;
use crate::share::Shares;
use crate::subnet;
use crate::switch::Switches;
use crate::wire::{self, Heard, Mac};
use crate::{
    AddressStatus, Condition, Config, Counters, Input, Interface, OnConflict, Output, Phase,
    Status, Timer, Verify,
};

/// The service addresses of one node. Feed one input, drain all outputs.
#[derive(Clone, Debug)]
pub struct Network {
    pub(crate) lifetime: Duration,
    /// All service addresses of the configuration.
    pub(crate) configured: BTreeSet<IpAddr>,
    pub(crate) now: Instant,
    /// This node may own addresses before this moment.
    pub(crate) lease: Instant,
    /// The newest picture, kept up to date with what was done since.
    pub(crate) picture: Option<Picture>,
    /// What polls say of interfaces.
    conditions: BTreeMap<String, Condition>,
    pub(crate) entries: BTreeMap<IpAddr, Entry>,
    /// What the driver was asked and did not answer yet.
    pub(crate) operations: BTreeMap<u64, Operation>,
    /// The places that they are about, and how often: what has no operation need not be looked for.
    pub(crate) busy: BTreeMap<Place, u32>,
    pub(crate) next_operation: u64,
    /// Leftovers that could not be removed, and when to try again.
    pub(crate) stubborn: BTreeMap<Place, Instant>,
    pub(crate) listening: BTreeSet<u32>,
    pub(crate) switches: Switches,
    /// Service addresses that no standby may carry.
    pub(crate) fixed: BTreeSet<IpAddr>,
    pub(crate) conflicts: BTreeMap<IpAddr, OnConflict>,
    pub(crate) verify: BTreeMap<IpAddr, Verify>,
    pub(crate) last_question: u64,
    pub(crate) shares: Shares,
    pub(crate) replacing: Replacing,
    pub(crate) outputs: VecDeque<Output>,
    /// Frames that may still be sent in this turn.
    pub(crate) frames_left: u32,
    pub(crate) counters: Counters,
}

/// An address with its prefix on an interface; the kernel keeps one entry for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) address: IpAddr,
    pub(crate) interface: u32,
    pub(crate) prefix: u8,
}

impl Place {
    /// Everything about one address.
    pub(crate) fn range(address: IpAddr) -> RangeInclusive<Place> {
        let least = Place { address, interface: 0, prefix: 0 };
        least..=Place { address, interface: u32::MAX, prefix: u8::MAX }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) place: Place,
    pub(crate) adds: bool,
}

/// An address that this node owns, wants or is getting rid of.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) service: String,
    pub(crate) state: State,
    pub(crate) since: Instant,
    /// Why the newest removal failed, since the state was entered.
    pub(crate) error: Option<String>,
    pub(crate) conflict: Option<(Mac, Instant)>,
    /// When a conflict was reported last.
    pub(crate) reported: Option<Instant>,
    /// Why it is on its interface.
    pub(crate) why: String,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    Adopting,
    Clearing(Claim),
    Probing(Probing),
    Adding { claim: Claim, place: Place, operation: u64 },
    Owned(Owned),
    Removing(Removing),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) id: u64,
    /// As configured.
    pub(crate) prefix: u8,
    pub(crate) asked: Instant,
    pub(crate) deadline: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Probing {
    pub(crate) claim: Claim,
    pub(crate) interface: u32,
    pub(crate) mac: Mac,
    /// Probes sent in this round.
    pub(crate) sent: u32,
    /// When to send the next one, or to see that none was answered.
    pub(crate) next: Instant,
    /// A conflict heard at or after this moment is a stranger's.
    pub(crate) patience: Option<Instant>,
}

/// What is to be answered when the address is gone from here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Removing {
    pub(crate) failing: Option<(u64, String)>,
    pub(crate) releases: Vec<u64>,
    pub(crate) next: Option<(String, Claim)>,
    /// Why it was given up.
    pub(crate) yields: Option<String>,
}

/// Probes and announcements of one input. What is due beyond stays due, so that the driver has its other
/// work, heartbeats above all, in between: a node may announce a thousand addresses at the same moment.
pub(crate) const FRAMES_PER_TURN: u32 = 128;

impl Network {
    /// A node that owns nothing and knows nothing of its interfaces.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Network {
        Network {
            lifetime: config.lifetime(),
            configured: config.addresses.into_iter().collect(),
            now,
            lease: Instant::ZERO,
            picture: None,
            conditions: BTreeMap::new(),
            entries: BTreeMap::new(),
            operations: BTreeMap::new(),
            busy: BTreeMap::new(),
            next_operation: 1,
            stubborn: BTreeMap::new(),
            listening: BTreeSet::new(),
            switches: Switches::new(config.nets),
            fixed: config.fixed.into_iter().collect(),
            conflicts: config.conflicts,
            verify: config.verify,
            last_question: 0,
            shares: Shares::new(config.shares),
            replacing: Replacing::new(config.taken),
            outputs: VecDeque::new(),
            frames_left: 0,
            counters: Counters::default(),
        }
    }

    /// Feeds one input. Never fails; what cannot be done is answered by an output.
    ///
    /// # Panics
    /// When outputs were left, time went back, or an operation was answered twice: bugs of the
    /// driver.
    pub fn handle(&mut self, now: Instant, input: Input) {
        assert!(self.outputs.is_empty(), "outputs are drained before the next input");
        assert!(now >= self.now, "time does not go back");
        self.now = now;
        self.frames_left = FRAMES_PER_TURN;
        self.shares.forget_plans();
        match input {
            Input::Interfaces(interfaces) => self.see(interfaces),
            Input::Health(conditions) => {
                self.conditions = conditions;
                if let Some(picture) = &self.picture {
                    let interfaces = picture.interfaces().to_vec();
                    self.see(interfaces);
                }
            }
            Input::Configure { addresses, nets, fixed, conflicts, verify, shares } => {
                self.conflicts = conflicts;
                self.configure_gateways(verify);
                self.shares.configure(shares);
                self.configured = addresses.into_iter().collect();
                self.fixed = fixed.into_iter().collect();
                self.switches.configure(nets);
                self.sweep();
                self.mind_taken();
                self.mind_nets();
            }
            Input::Return { net } => self.go_back(&net),
            Input::Rebalance { net } => self.rebalance(&net),
            Input::Adopt { service, address } => self.adopt(service, address),
            Input::Claim { id, service, address, prefix, deadline } => {
                self.claim(service, address, Claim { id, prefix, asked: now, deadline });
            }
            Input::Release { id, address } => self.release(id, address),
            Input::Frame { interface, bytes } => self.hear(interface, &bytes),
            Input::Done { operation, result } => self.done(operation, result),
            Input::Asked { question, address, result } => self.asked(question, address, result),
            Input::Heal { interface } => {
                for address in self.owned_on(interface) {
                    self.announce_again(address);
                }
            }
            Input::Tick => self.tick(),
        }
        self.stop_listening();
        self.plan_switches();
    }

    /// The next thing that the driver must do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// This node may own addresses before `until`. To be told whenever it changes; without it
    /// (or with [`Instant::ZERO`]) nothing is added, refreshed, announced or defended.
    pub fn set_lease(&mut self, until: Instant) {
        self.lease = until;
    }

    /// When to feed [`Input::Tick`] at the latest, and what for.
    #[must_use]
    pub fn deadline(&self) -> Option<(Instant, Timer)> {
        let sweep = self.stubborn.values().map(|at| (*at, Timer::Sweep));
        let entries = self.entries.values().flat_map(|entry| match &entry.state {
            State::Adopting | State::Removing(_) => [None; 3],
            State::Clearing(claim) | State::Adding { claim, .. } => {
                [Some((claim.deadline, Timer::Claim)), None, None]
            }
            State::Probing(probing) => {
                let claim = Some((probing.claim.deadline, Timer::Claim));
                [claim, Some((probing.next, Timer::Probe)), None]
            }
            State::Owned(Owned { moving: Some(_), .. }) => [None; 3],
            State::Owned(owned) => [
                Some((owned.announce_at, Timer::Announce)),
                Some((owned.refresh_at, Timer::Refresh)),
                owned.learning.due().map(|at| (at, Timer::Ask)),
            ]
            .map(|timer| timer.filter(|(at, _)| self.leased() && *at < self.lease)),
        });
        let switch = self.switch_due().map(|at| (at, Timer::Switch));
        let rebalance = self.shares.due().filter(|_| self.leased());
        let rebalance = rebalance.map(|at| (at, Timer::Rebalance));
        let give = self.replacing.due().map(|at| (at, Timer::Sweep));
        sweep.chain(entries.flatten()).chain(switch).chain(rebalance).chain(give).min()
    }

    /// Whether an interface of this node could carry the address now; also before the interfaces are
    /// known.
    ///
    /// # Errors
    /// In a few words, and without the interfaces that have nothing to do with it: they come and go.
    pub fn can_carry(&self, address: IpAddr) -> Result<(), String> {
        if self.picture.is_none() || self.is_about_to_switch(address) {
            return Ok(());
        }
        if let Some(share) = self.shares.of(address) {
            let want = self.want(share, address, 0, "");
            return place::can_carry(&self.ground(share), &want);
        }
        subnet::usable(&self.choices(address), address, |other| self.is_service(other))
    }

    /// The interfaces that may carry the address.
    pub(crate) fn choices(&self, address: IpAddr) -> Vec<&Interface> {
        let is_fixed = self.fixed.contains(&address);
        self.carriers()
            .iter()
            .filter(|interface| !is_fixed || !self.switches.is_standby(&interface.name))
            .collect()
    }

    /// Everything that can be looked at.
    #[must_use]
    pub fn status(&self) -> Status {
        let addresses = self.entries.iter().map(|(address, entry)| AddressStatus {
            address: *address,
            service: entry.service.clone(),
            phase: entry.state.phase(),
            since: entry.since,
            interface: entry.state.interface(),
            why: entry.why.clone(),
            conflict: entry.conflict,
            gateways: entry.state.lessons(),
        });
        Status {
            addresses: addresses.collect(),
            interfaces: self.picture.as_ref().map(|picture| picture.interfaces().to_vec()),
            nets: self.net_status(),
            counters: self.counters,
        }
    }

    /// Whether this node may own addresses now.
    pub(crate) fn leased(&self) -> bool {
        self.now < self.lease
    }

    /// A service address, here or anywhere.
    pub(crate) fn is_service(&self, address: IpAddr) -> bool {
        self.configured.contains(&address)
            || self.entries.contains_key(&address)
            || self.stubborn.range(Place::range(address)).next().is_some()
    }

    /// Changes the state of an address that has an entry.
    pub(crate) fn enter(&mut self, address: IpAddr, state: State) {
        let now = self.now;
        let entry = self.entry(address);
        entry.state = state;
        entry.since = now;
        entry.error = None;
    }

    pub(crate) fn entry(&mut self, address: IpAddr) -> &mut Entry {
        self.entries.get_mut(&address).expect("an address in a state has an entry")
    }

    pub(crate) fn interface(&self, index: u32) -> Option<&Interface> {
        self.interfaces().iter().find(|interface| interface.index == index)
    }

    /// The interfaces with all their addresses; none before the first picture.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        self.picture.as_ref().map_or(&[], Picture::interfaces)
    }

    /// The interfaces with those of their addresses that have a subnet.
    pub(crate) fn carriers(&self) -> &[Interface] {
        self.picture.as_ref().map_or(&[], Picture::carriers)
    }

    /// One of [`Network::carriers`].
    pub(crate) fn carrier(&self, index: u32) -> Option<&Interface> {
        self.carriers().iter().find(|interface| interface.index == index)
    }

    /// Every address on every interface.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.picture.iter().flat_map(|picture| picture.places().iter().copied())
    }

    /// Where an address is.
    pub(crate) fn places_of(&self, address: IpAddr) -> impl Iterator<Item = Place> + '_ {
        self.picture.iter().flat_map(move |picture| picture.places_of(address))
    }

    /// The interface's name for people.
    pub(crate) fn name(&self, index: u32) -> String {
        self.interface(index).map_or_else(|| format!("interface {index}"), |i| i.name.clone())
    }

    /// Whether one more frame may be sent in this turn; counts it.
    pub(crate) fn may_send(&mut self) -> bool {
        let left = self.frames_left.checked_sub(1);
        self.frames_left = left.unwrap_or(0);
        left.is_some()
    }

    pub(crate) fn listen(&mut self, interface: u32) {
        if self.listening.insert(interface) {
            self.outputs.push_back(Output::Listen { interface, on: true });
        }
    }

    /// Conflicts matter while probing and owning; other interfaces need not be heard.
    fn stop_listening(&mut self) {
        let entries = &self.entries;
        let outputs = &mut self.outputs;
        self.listening.retain(|interface| {
            let needed = entries.values().any(|entry| entry.state.listens_on(*interface));
            if !needed {
                outputs.push_back(Output::Listen { interface: *interface, on: false });
            }
            needed
        });
    }

    /// A new picture of the interfaces.
    fn see(&mut self, mut interfaces: Vec<Interface>) {
        for interface in &mut interfaces {
            let condition = self.conditions.get(&interface.name).cloned();
            interface.condition = condition.unwrap_or_default();
        }
        self.mind_returns(&interfaces);
        self.note_cards(&interfaces);
        self.shares.forget_plans();
        let picture = Picture::new(interfaces);
        self.stubborn.retain(|place, _| picture.places().contains(place));
        let before = self.picture.replace(picture);
        if let Some(before) = &before {
            self.announce_persistent(before);
        }
        let before = before.as_ref().map_or(&[][..], Picture::carriers);
        for address in self.addresses() {
            match &self.entry(address).state {
                State::Adopting => self.take_over(address),
                State::Owned(_) => self.check_owned(address, true),
                State::Probing(probing) => {
                    let probing = *probing;
                    let chosen = self.select_again(address, probing.claim.prefix);
                    let is_same = chosen.as_ref().is_ok_and(|chosen| {
                        (chosen.interface, chosen.mac) == (probing.interface, Some(probing.mac))
                    });
                    if !is_same {
                        self.probe_on(address, probing.claim, probing.patience, chosen);
                    }
                }
                State::Clearing(_) | State::Adding { .. } | State::Removing(_) => {}
            }
        }
        self.sweep();
        self.see_returned();
        self.mind_taken();
        // Neighbours behind a carrier that was off, or that know another Ethernet address of
        // ours, have to be told.
        let reached = |i: &Interface| i.trouble().is_none();
        let changed: Vec<u32> = self
            .carriers()
            .iter()
            .filter(|now| {
                let before = before.iter().find(|before| before.index == now.index);
                before.is_some_and(|b| b.mac != now.mac || (!reached(b) && reached(now)))
            })
            .map(|interface| interface.index)
            .collect();
        for interface in changed {
            for address in self.owned_on(interface) {
                self.announce_again(address);
            }
        }
        self.mind_nets();
    }

    /// Bytes from outside: counted when broken, ignored when not about an address of ours.
    fn hear(&mut self, interface: u32, bytes: &[u8]) {
        let heard = match wire::decode(bytes) {
            Ok(Some(heard)) => heard,
            Ok(None) => return,
            Err(_) => {
                self.counters.malformed += 1;
                return;
            }
        };
        let (Heard::Uses { address, mac } | Heard::Probes { address, mac }) = heard;
        let is_own = |interface: &Interface| interface.mac == Some(mac);
        if self.carriers().iter().any(is_own) {
            return; // Our own frame, reflected or heard by our interface next to it.
        }
        let Some(entry) = self.entries.get(&address) else { return };
        match &entry.state {
            State::Probing(probing) if probing.interface == interface => {
                let probing = *probing;
                self.conflict_while_probing(address, probing, mac);
            }
            // The kernel answers a probe for an address that it has; only use is a conflict.
            State::Owned(owned) if owned.place.interface == interface => {
                if matches!(heard, Heard::Uses { .. }) {
                    self.defend(address, mac);
                }
            }
            _ => {}
        }
    }

    fn tick(&mut self) {
        for address in self.addresses() {
            match &self.entry(address).state {
                State::Adopting | State::Removing(_) => {}
                State::Clearing(_) | State::Adding { .. } | State::Probing(_) => {
                    self.claim_tick(address);
                }
                State::Owned(_) => self.owned_tick(address),
            }
        }
        if self.stubborn.values().any(|at| *at <= self.now) {
            self.sweep();
        }
        self.rebalance_returned();
        self.mind_taken();
        self.mind_nets();
    }

    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.entries.keys().copied().collect()
    }

    pub(crate) fn owned_on(&self, interface: u32) -> Vec<IpAddr> {
        let owned = |entry: &Entry| matches!(&entry.state, State::Owned(owned) if owned.place.interface == interface);
        self.entries.iter().filter(|(_, e)| owned(e)).map(|(address, _)| *address).collect()
    }
}

impl State {
    fn phase(&self) -> Phase {
        match self {
            State::Adopting => Phase::Adopting,
            State::Clearing(_) => Phase::Clearing,
            State::Probing(_) => Phase::Probing,
            State::Adding { .. } => Phase::Adding,
            State::Owned(_) => Phase::Owned,
            State::Removing(_) => Phase::Removing,
        }
    }

    pub(crate) fn interface(&self) -> Option<u32> {
        match self {
            State::Probing(probing) => Some(probing.interface),
            State::Adding { place, .. } => Some(place.interface),
            State::Owned(owned) => Some(owned.place.interface),
            State::Adopting | State::Clearing(_) | State::Removing(_) => None,
        }
    }

    fn listens_on(&self, interface: u32) -> bool {
        self.interface() == Some(interface)
    }
}
