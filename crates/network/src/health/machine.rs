//! The state machine: rounds, what is said, and what is heard in them.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::{Instant, NetworkId, NodeId, NodeSet};

use super::wire::{CARDS_MAX, Frame, Says, Station};
use super::{
    Card, CardStatus, Config, Counters, Detection, Doubt, Fault, Input, Net, NetStatus, Output,
    Remote, Role, Status, Verdict,
};
use crate::wire::Mac;

/// Cards of other nodes that one own card remembers.
const STATIONS_MAX: usize = 256;
/// A card that was not heard for so many rounds is forgotten.
const FORGET_ROUNDS: u32 = 20;
/// Nodes that are asked in one round, in turn.
const ASKED_MAX: usize = 8;
const EVERYBODY: Mac = [0xff; 6];

/// The health of the interfaces of one node. Feed one input, drain all outputs.
#[derive(Clone, Debug)]
pub struct Health {
    cluster: u32,
    node: NodeId,
    life: u64,
    pub(super) now: Instant,
    /// When the newest sample came.
    pub(super) looked: Instant,
    pub(super) nets: Vec<NetState>,
    outputs: VecDeque<Output>,
    pub(super) counters: Counters,
}

/// One net in this round.
#[derive(Clone, Debug)]
pub(super) struct NetState {
    /// This one.
    pub(super) node: NodeId,
    pub(super) spec: Net,
    pub(super) cards: Vec<CardState>,
    /// The round; 0 before the first.
    pub(super) sequence: u32,
    /// When it ends.
    pub(super) next: Instant,
    /// Who polls in it.
    poller: Option<usize>,
    /// Whom the poll asked; none: everybody.
    pub(super) asked: NodeSet,
    /// The last node that was asked.
    asked_last: Option<NodeId>,
    /// Whether this process did not look for too long in it.
    pub(super) is_void: bool,
}

/// One own card.
#[derive(Clone, Debug)]
pub(super) struct CardState {
    pub(super) name: String,
    role: Role,
    pub(super) seen: Option<Card>,
    /// When the kernel told of it last, be it that it is not there.
    pub(super) read: Option<Instant>,
    /// Not in this look.
    is_unread: bool,
    /// Errors that the driver has counted since it sent a frame last.
    pub(super) unsent: u64,
    pub(super) disabled: bool,
    pub(super) verdict: Verdict,
    pub(super) since: Instant,
    pub(super) good: u32,
    pub(super) bad: u32,
    pub(super) silent: u32,
    pub(super) round: Round,
    /// What the last round that counted has shown.
    pub(super) last: Evidence,
    /// Cards of other nodes, as this card has heard them.
    pub(super) heard: BTreeMap<Station, Heard>,
    pub(super) misplaced: Option<NetworkId>,
}

/// What is known of a card in this round.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// As it was when the round began; none when it was not connected then.
    pub(super) start: Option<Card>,
    /// It said something, as far as the kernel tells.
    pub(super) said: bool,
    /// The kernel did not take what it said.
    pub(super) refused: bool,
    /// Who has heard it.
    pub(super) heard_by: BTreeSet<Station>,
    /// Whose frames for all it has heard.
    pub(super) hears: BTreeSet<Station>,
    /// A frame for it alone has come.
    pub(super) was_answered: bool,
    /// Whether a target has answered it.
    pub(super) target: Option<bool>,
}

/// What a round has shown of a card; none: nothing either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    pub(super) came_in: Option<bool>,
    pub(super) was_heard: Option<bool>,
    pub(super) target: Option<bool>,
}

/// The newest frame for all of a card of another node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) at: Instant,
    life: u64,
    sequence: u32,
}

impl Health {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Health {
        let mut health = Health {
            cluster: 0,
            node: config.node,
            life: 0,
            now,
            looked: now,
            nets: Vec::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
        };
        health.configure(config);
        health
    }

    /// Feeds one input. Never fails.
    ///
    /// # Panics
    /// When outputs were left, or time went back: bugs of the driver.
    pub fn handle(&mut self, now: Instant, input: Input) {
        assert!(self.outputs.is_empty(), "outputs are drained before the next input");
        assert!(now >= self.now, "time does not go back");
        self.now = now;
        match input {
            Input::Configure(config) => self.configure(config),
            Input::Sample(cards) => self.sample(&cards),
            Input::Unread { card, carrier } => self.miss(&card, carrier),
            Input::Frame { interface, bytes } => self.hear(interface, &bytes),
            Input::Refused { interface } => {
                self.counters.refused += 1;
                if let Some((net, card)) = self.place(interface) {
                    self.nets[net].cards[card].round.refused = true;
                }
            }
            Input::Target { interface, answers } => {
                if let Some((net, card)) = self.place(interface) {
                    let target = &mut self.nets[net].cards[card].round.target;
                    *target = Some(answers || *target == Some(true));
                }
            }
            Input::Disable { card, on } => self.disable(&card, on),
            Input::Tick => self.tick(),
        }
    }

    /// The next thing that the driver must do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Tick`] at the latest: the next round of a net begins.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.nets.iter().map(|net| net.next).min()
    }

    /// The verdict on the interface of that name; none when it is in no net.
    #[must_use]
    pub fn verdict(&self, card: &str) -> Option<Verdict> {
        let cards = self.nets.iter().flat_map(|net| &net.cards);
        cards.filter(|one| one.name == card).map(|one| one.verdict).next()
    }

    /// Everything that can be looked at.
    #[must_use]
    pub fn status(&self) -> Status {
        let nets = self.nets.iter().map(|net| NetStatus {
            number: net.spec.number,
            poll_interval: net.spec.poll_interval,
            polls: net.spec.polls,
            detection: net.spec.detection,
            effective: net.effective(),
            poller: net.poller.map(|card| net.cards[card].name.clone()),
            cards: net.cards.iter().map(CardState::status).collect(),
            remotes: net
                .remotes()
                .into_iter()
                .map(|(station, heard)| Remote { station, heard })
                .collect(),
        });
        Status { nets: nets.collect(), counters: self.counters }
    }

    fn configure(&mut self, config: Config) {
        let Config { cluster, node, life, nets } = config;
        (self.cluster, self.node, self.life) = (cluster, node, life);
        let mut before: BTreeMap<(NetworkId, String), CardState> = BTreeMap::new();
        let mut sequences = BTreeMap::new();
        for net in self.nets.drain(..) {
            sequences.insert(net.spec.number, net.sequence);
            for card in net.cards {
                before.insert((net.spec.number, card.name.clone()), card);
            }
        }
        let mut taken = BTreeSet::new();
        for mut spec in nets {
            assert!(spec.polls > 0, "a verdict needs a round");
            assert!(spec.poll_interval > Duration::ZERO, "a round takes time");
            spec.cards.retain(|name| taken.insert(name.clone()));
            spec.sharing.retain(|name| taken.insert(name.clone()));
            let now = self.now;
            let cards = spec.all_cards().take(CARDS_MAX).map(|(name, role)| {
                let known = before.remove(&(spec.number, name.clone()));
                let known = known.unwrap_or_else(|| CardState::new(name.clone(), now));
                CardState { role, ..known }
            });
            let mut cards: Vec<CardState> = cards.collect();
            // The round that was under way is not judged: others may have been asked for other cards.
            cards.iter_mut().for_each(|card| card.round = Round::default());
            let sequence = sequences.get(&spec.number).copied().unwrap_or(0);
            self.nets.push(NetState {
                node,
                cards,
                sequence,
                next: now,
                poller: None,
                asked: NodeSet::EMPTY,
                asked_last: None,
                is_void: true,
                spec,
            });
        }
    }

    fn sample(&mut self, cards: &[Card]) {
        let paused = self.now.since(self.looked);
        self.looked = self.now;
        for net in &mut self.nets {
            net.is_void |= paused > net.patience();
            for card in &mut net.cards {
                if core::mem::take(&mut card.is_unread) {
                    continue;
                }
                let seen = cards.iter().find(|seen| seen.name == card.name).cloned();
                card.unsent = match (card.connected(), &seen) {
                    (Some(before), Some(now))
                        if (before.index, before.tx) == (now.index, now.tx) && now.carrier =>
                    {
                        // A counter that began anew has counted nothing.
                        card.unsent + now.errors.saturating_sub(before.errors)
                    }
                    _ => 0,
                };
                card.seen = seen;
                card.read = Some(self.now);
            }
        }
        self.judge_at_once();
    }

    /// What is known of a card stays, but for the carrier.
    fn miss(&mut self, name: &str, carrier: Option<bool>) {
        self.counters.unread += 1;
        for card in self.nets.iter_mut().flat_map(|net| &mut net.cards) {
            if card.name == name {
                card.is_unread = true;
                if let (Some(seen), Some(carrier)) = (&mut card.seen, carrier) {
                    seen.carrier = carrier;
                }
            }
        }
    }

    fn disable(&mut self, name: &str, on: bool) {
        for card in self.nets.iter_mut().flat_map(|net| &mut net.cards) {
            if card.name == name {
                card.disabled = on;
            }
        }
        self.judge_at_once();
    }

    /// The own card with that number.
    fn place(&self, interface: u32) -> Option<(usize, usize)> {
        self.nets.iter().enumerate().find_map(|(place, net)| {
            Some((place, net.cards.iter().position(|card| card.index() == Some(interface))?))
        })
    }

    /// Enters a verdict, and says so if it is another one.
    pub(super) fn enter(&mut self, net: usize, card: usize, verdict: Verdict) {
        let number = self.nets[net].spec.number;
        let state = &mut self.nets[net].cards[card];
        if state.verdict == verdict {
            return;
        }
        state.verdict = verdict;
        state.since = self.now;
        (state.good, state.bad, state.silent) = (0, 0, 0);
        let card = state.name.clone();
        self.outputs.push_back(Output::Verdict { net: number, card, verdict });
    }

    fn tick(&mut self) {
        for place in 0..self.nets.len() {
            if self.nets[place].next <= self.now {
                self.judge_round(place);
                self.begin_round(place);
            }
        }
    }

    /// Says who is there, and polls.
    fn begin_round(&mut self, place: usize) {
        let (now, node) = (self.now, self.node);
        let net = &mut self.nets[place];
        net.sequence += 1;
        net.next = now + net.spec.poll_interval;
        net.is_void = false;
        let forget = net.spec.poll_interval * FORGET_ROUNDS;
        for card in &mut net.cards {
            card.heard.retain(|_, heard| now.since(heard.at) < forget);
            let start = card.connected().cloned();
            card.round = Round { said: start.is_some(), start, ..Round::default() };
        }
        net.poller = net.choose_poller();
        net.asked = net.choose_asked();
        let frame = |card: &Card, mac: Mac, says: Says| Frame {
            cluster: self.cluster,
            net: net.spec.number,
            from: Station { node, interface: card.index },
            mac,
            life: self.life,
            sequence: net.sequence,
            says,
        };
        // The poll comes last: whoever answers it has heard the notices by then.
        let poller = net.poller;
        let others = (0..net.cards.len()).filter(|card| Some(*card) != poller);
        for card in others.chain(poller) {
            let Some(start) = &net.cards[card].round.start else { continue };
            let mac = start.mac.expect("what is connected has one");
            let says = if Some(card) == poller { Says::Poll(net.asked) } else { Says::Notice };
            let bytes = frame(start, mac, says).encode();
            let interface = start.index;
            self.counters.sent += 1;
            self.outputs.push_back(Output::Send { interface, to: EVERYBODY, bytes });
        }
    }

    /// Bytes from outside: counted when they are of no use.
    fn hear(&mut self, interface: u32, bytes: &[u8]) {
        let Ok(frame) = Frame::decode(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        let Some((place, listener)) = self.place(interface) else {
            self.counters.foreign += 1;
            return;
        };
        let number = self.nets[place].spec.number;
        if frame.cluster != self.cluster {
            self.counters.foreign += 1;
        } else if frame.from == (Station { node: self.node, interface }) {
            self.counters.reflected += 1;
        } else if frame.net != number {
            self.counters.misplaced += 1;
            self.nets[place].cards[listener].misplaced = Some(frame.net);
        } else if frame.from.node == self.node {
            self.hear_own(place, listener, &frame);
        } else if let Says::Answer { to, heard } = &frame.says {
            self.hear_answer(place, listener, &frame, *to, heard);
        } else {
            self.hear_other(place, listener, &frame);
        }
    }

    /// A card of this node hears another one.
    fn hear_own(&mut self, place: usize, listener: usize, frame: &Frame) {
        let net = &mut self.nets[place];
        let speaker = net.cards.iter().position(|card| card.index() == Some(frame.from.interface));
        let is_now = (frame.life, frame.sequence) == (self.life, net.sequence);
        let Some(speaker) = speaker.filter(|_| is_now) else {
            self.counters.stale += 1;
            return;
        };
        let interface = net.cards[listener].index().expect("it was found by it");
        let listening = Station { node: self.node, interface };
        net.cards[speaker].round.heard_by.insert(listening);
        net.cards[listener].round.hears.insert(frame.from);
    }

    /// A card of another node says what it has heard of ours.
    fn hear_answer(
        &mut self,
        place: usize,
        listener: usize,
        frame: &Frame,
        to: Station,
        heard: &[u32],
    ) {
        let net = &mut self.nets[place];
        let interface = net.cards[listener].index().expect("it was found by it");
        let own = Station { node: self.node, interface };
        if to != own || (frame.life, frame.sequence) != (self.life, net.sequence) {
            self.counters.stale += 1;
            return;
        }
        self.counters.answers += 1;
        net.cards[listener].round.was_answered = true;
        for card in &mut net.cards {
            // Bounded by the cards that others have: only sealed frames come here.
            if card.index().is_some_and(|index| heard.contains(&index))
                && card.round.heard_by.len() < STATIONS_MAX
            {
                card.round.heard_by.insert(frame.from);
            }
        }
    }

    /// A notice or a poll of a card of another node.
    fn hear_other(&mut self, place: usize, listener: usize, frame: &Frame) {
        let net = &mut self.nets[place];
        let card = &mut net.cards[listener];
        let newest = Heard { at: self.now, life: frame.life, sequence: frame.sequence };
        let known = card.heard.get(&frame.from);
        let is_full = known.is_none() && card.heard.len() >= STATIONS_MAX;
        let is_newer =
            known.is_none_or(|known| (known.life, known.sequence) < (frame.life, frame.sequence));
        if is_full || !is_newer {
            self.counters.stale += 1;
            return;
        }
        card.heard.insert(frame.from, newest);
        card.round.hears.insert(frame.from);
        let Says::Poll(asked) = &frame.says else { return };
        let Some(own) = card.connected().filter(|_| asked.is_empty() || asked.contains(self.node))
        else {
            return;
        };
        let of_round = |(station, heard): (&Station, &Heard)| {
            let is_same = station.node == frame.from.node
                && (heard.life, heard.sequence) == (frame.life, frame.sequence);
            is_same.then_some(station.interface)
        };
        let heard = card.heard.iter().filter_map(of_round).take(CARDS_MAX).collect();
        let answer = Frame {
            cluster: self.cluster,
            net: frame.net,
            from: Station { node: self.node, interface: own.index },
            mac: own.mac.expect("what is connected has one"),
            life: frame.life,
            sequence: frame.sequence,
            says: Says::Answer { to: frame.from, heard },
        };
        let (interface, to, bytes) = (own.index, frame.mac, answer.encode());
        self.counters.answered += 1;
        self.counters.sent += 1;
        self.outputs.push_back(Output::Send { interface, to, bytes });
    }
}

impl NetState {
    /// The longest time without a look that a round bears.
    pub(super) fn patience(&self) -> Duration {
        self.spec.poll_interval / 2
    }

    /// Cards of other nodes, and when they were heard last.
    pub(super) fn remotes(&self) -> BTreeMap<Station, Instant> {
        let mut remotes = BTreeMap::new();
        for (station, heard) in self.cards.iter().flat_map(|card| &card.heard) {
            let newest = remotes.entry(*station).or_insert(heard.at);
            *newest = heard.at.max(*newest);
        }
        remotes
    }

    /// The detection in force.
    pub(super) fn effective(&self) -> Detection {
        let own = self.cards.iter().filter(|card| card.connected().is_some()).count();
        match self.spec.detection {
            Detection::InOnlyOrInOut if own + self.remotes().len() < 3 => Detection::InOut,
            detection => detection,
        }
    }

    /// A standby, as long as one works; else the primary; else whoever has a signal.
    fn choose_poller(&self) -> Option<usize> {
        let is_standby = |card: &usize| self.cards[*card].role == Role::Standby;
        let all = 0..self.cards.len();
        let others = all.clone().filter(|card| !is_standby(card));
        let order: Vec<usize> = all.filter(is_standby).chain(others).collect();
        let connected = |card: &&usize| self.cards[**card].connected().is_some();
        let works = |card: &&usize| self.cards[**card].verdict.may_stay();
        let best = order.iter().filter(connected).find(works);
        best.or_else(|| order.iter().find(connected)).copied()
    }

    /// All others, or as many as fit, in turn.
    fn choose_asked(&mut self) -> NodeSet {
        let nodes: NodeSet = self.remotes().keys().map(|station| station.node).collect();
        if nodes.len() <= ASKED_MAX {
            return NodeSet::EMPTY;
        }
        let is_later = |node: &NodeId| self.asked_last.is_none_or(|last| *node > last);
        let later = nodes.into_iter().filter(is_later);
        let asked: Vec<NodeId> = later.chain(nodes).take(ASKED_MAX).collect();
        self.asked_last = asked.last().copied();
        asked.into_iter().collect()
    }
}

impl CardState {
    fn new(name: String, now: Instant) -> CardState {
        CardState {
            name,
            role: Role::Primary,
            seen: None,
            read: None,
            is_unread: false,
            unsent: 0,
            disabled: false,
            verdict: Verdict::Unsure(Doubt::Unproven),
            since: now,
            good: 0,
            bad: 0,
            silent: 0,
            round: Round::default(),
            last: Evidence::default(),
            heard: BTreeMap::new(),
            misplaced: None,
        }
    }

    fn index(&self) -> Option<u32> {
        self.seen.as_ref().map(|seen| seen.index)
    }

    /// As it was seen, if it can say anything.
    pub(super) fn connected(&self) -> Option<&Card> {
        self.seen.as_ref().filter(|seen| seen.up && seen.carrier && seen.mac.is_some())
    }

    /// What needs no counting.
    pub(super) fn fault_at_once(&self) -> Option<Fault> {
        match &self.seen {
            None if self.read.is_some() => Some(Fault::Gone),
            _ if self.disabled => Some(Fault::Disabled),
            Some(seen) if !seen.up => Some(Fault::SwitchedOff),
            Some(seen) if !seen.carrier => Some(Fault::NoCarrier),
            // Nobody has been able to look yet, or there is nothing to see.
            None | Some(_) => None,
        }
    }

    fn status(&self) -> CardStatus {
        CardStatus {
            name: self.name.clone(),
            role: self.role,
            seen: self.seen.clone(),
            verdict: self.verdict,
            since: self.since,
            disabled: self.disabled,
            good: self.good,
            bad: self.bad,
            came_in: self.last.came_in,
            was_heard: self.last.was_heard,
            target: self.last.target,
            misplaced: self.misplaced,
        }
    }
}
