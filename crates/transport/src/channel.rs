//! The sending half of a channel: from messages to fragments that are sent until they arrive.
//!
//! A channel connects one life of this node with one life of a peer and outlives every outage of
//! the paths between them. Each lane is a sequence of fragments with a cumulative acknowledgement
//! and a map of those beyond it (the idea of RFC 2018). A fragment is sent again
//!
//! - when its time is over: four smoothed round trips of the path that it took, within 20 ms and
//!   1 s, doubled with each attempt (RFC 6298 §5.5),
//! - when [`SKIPPED_MAX`] fragments that left later over the same path have arrived (RFC 5681 §3.2;
//!   fragments of other paths say nothing, because paths differ in delay),
//! - at once when its path stops being usable.
//!
//! Which path it takes then is decided in `sending.rs`: another one first.
//!
//! What failed [`FAILED_MAX`] times travels alone, and over a network in pieces that every receiver
//! can take: a machine may take less than its neighbours send, and no ICMP says so. When that helped
//! [`HELPED_MIN`] times, and nothing long got through between, fragments are cut short for
//! [`SHORT_TIME`]; then long ones are tried again.
//!
//! Bulk data backs off: the fragments in flight grow by one per round trip (in slow start: per
//! acknowledgement) and are halved when one is lost, once per round trip (RFC 5681 §3.1). Urgent
//! messages are short and have the fixed window only.

use core::time::Duration;
use std::collections::VecDeque;

use base::limits::MESSAGE_SIZE_MAX;
use base::{Instant, NetworkId};

use crate::config::{BURST_DATAGRAMS_MAX, Lane, PACE_INTERVAL, window};
use crate::fragment::Incoming;
use crate::stats::LaneStatus;
use crate::wire::{
    Ack, FRAGMENT_SIZE_MAX, ITEMS_SIZE_MAX, Item, PIECE_SIZE_MAX, Piece, WINDOW_FRAGMENTS,
};

/// Bounds of the time after which a fragment is sent again.
pub(crate) const RETRANSMIT_MIN: Duration = Duration::from_millis(20);
pub(crate) const RETRANSMIT_MAX: Duration = Duration::from_secs(1);
/// Later fragments of the same path that must arrive before an earlier one counts as lost.
const SKIPPED_MAX: u32 = 3;
/// Failures after which a fragment counts as too long for the way.
const FAILED_MAX: u32 = 2;
/// Fragments that get through in pieces only before others are cut short, and for how long.
const HELPED_MIN: u32 = 3;
const SHORT_TIME: Duration = Duration::from_secs(30);
/// Bulk fragments in flight at first, and the least after losses.
const FLIGHTS_START: u64 = 32;
const FLIGHTS_MIN: u64 = 4;

/// How a fragment left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over one path.
    One(NetworkId),
    /// Over all that were usable.
    All,
}

/// A fragment that was cut and is not acknowledged together with all before it.
#[derive(Clone, Copy, Debug)]
struct Flight {
    message: u64,
    offset: usize,
    length: usize,
    first: bool,
    last: bool,
    /// Acknowledged by the map.
    arrived: bool,
    /// Wants to be sent (again).
    lost: bool,
    attempts: u32,
    /// How often it did not arrive in time, or others overtook it.
    failed: u32,
    /// It left in pieces the last time.
    in_pieces: bool,
    skipped: u32,
    way: Way,
    sent: Instant,
    due: Instant,
}

/// What is sent in one lane to one life of a peer.
#[derive(Debug)]
pub(crate) struct Outgoing {
    lane: Lane,
    /// Messages not wholly acknowledged; the first has the number `acknowledged`.
    messages: VecDeque<Vec<u8>>,
    acknowledged: u64,
    /// What is cut next: number of a message, and offset in it.
    cut: (u64, usize),
    /// Bytes in `messages`.
    queued: usize,
    /// Sequence number of the first flight.
    base: u64,
    flights: VecDeque<Flight>,
    /// Flights that want to be sent again.
    lost: usize,
    /// No flight is due before this.
    due: Instant,
    retransmitted: u64,
    /// Congestion: flights allowed, the limit of slow start, acknowledgements since the last
    /// growth, and the sequence number up to which losses are one event.
    allowed: u64,
    slow_start: u64,
    grown: u64,
    recover: u64,
    /// Fragments that arrived in pieces since a long one arrived whole.
    helped: u32,
    /// Fragments are cut short until then.
    short_until: Instant,
}

impl Outgoing {
    fn new(lane: Lane) -> Outgoing {
        Outgoing {
            lane,
            messages: VecDeque::new(),
            acknowledged: 0,
            cut: (0, 0),
            queued: 0,
            base: 0,
            flights: VecDeque::new(),
            lost: 0,
            due: Instant::FAR,
            retransmitted: 0,
            allowed: match lane {
                Lane::Urgent => WINDOW_FRAGMENTS,
                Lane::Bulk => FLIGHTS_START,
            },
            slow_start: WINDOW_FRAGMENTS,
            grown: 0,
            recover: 0,
            helped: 0,
            short_until: Instant::ZERO,
        }
    }

    /// Whether all that was queued has arrived.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether there is room in the byte window.
    pub(crate) fn is_writable(&self) -> bool {
        self.queued < window(self.lane)
    }

    /// Queues a message; false when the lane already holds all that it may.
    #[must_use]
    pub(crate) fn push(&mut self, message: Vec<u8>) -> bool {
        assert!(message.len() <= MESSAGE_SIZE_MAX, "message sizes are checked above transport");
        if !self.is_writable() && self.queued + message.len() > 2 * window(self.lane) {
            return false;
        }
        self.queued += message.len();
        self.messages.push_back(message);
        true
    }

    /// Whether something could be sent now.
    pub(crate) fn wants(&self) -> bool {
        self.lost > 0 || (self.has_uncut() && self.may_cut())
    }

    /// When the earliest flight is overdue; never too late, sometimes too early.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    fn has_uncut(&self) -> bool {
        self.cut.0 < self.acknowledged + self.messages.len() as u64
    }

    fn may_cut(&self) -> bool {
        (self.flights.len() as u64) < self.allowed.min(WINDOW_FRAGMENTS)
    }

    /// Puts the sequence numbers of one datagram into `batch`: what wants to be sent again and
    /// last went one way, then what was never sent. Returns that way, if there was one.
    pub(crate) fn select(&mut self, now: Instant, batch: &mut Vec<u64>) -> Option<Way> {
        let is_short = now < self.short_until;
        let longest = if is_short { PIECE_SIZE_MAX } else { FRAGMENT_SIZE_MAX };
        let mut room = if is_short { Item::size(PIECE_SIZE_MAX) } else { ITEMS_SIZE_MAX };
        let mut way = None;
        if self.lost > 0 {
            for (index, flight) in self.flights.iter_mut().enumerate() {
                let size = Item::size(flight.length);
                let is_alone = flight.failed >= FAILED_MAX || flight.length > longest;
                let fits = size <= room && !is_alone || batch.is_empty();
                if !flight.lost || !fits || way.is_some_and(|way| way != flight.way) {
                    continue;
                }
                way = Some(flight.way);
                if is_alone {
                    flight.lost = false;
                    self.lost -= 1;
                    batch.push(self.base + index as u64);
                    return way;
                }
                flight.lost = false;
                self.lost -= 1;
                room -= size;
                batch.push(self.base + index as u64);
                if self.lost == 0 {
                    break;
                }
            }
        }
        while self.has_uncut() && self.may_cut() {
            let (number, offset) = self.cut;
            let message = &self.messages[(number - self.acknowledged) as usize];
            let length = (message.len() - offset).min(longest);
            if Item::size(length) > room {
                break;
            }
            room -= Item::size(length);
            let last = offset + length == message.len();
            self.cut = if last { (number + 1, 0) } else { (number, offset + length) };
            batch.push(self.base + self.flights.len() as u64);
            self.flights.push_back(Flight {
                message: number,
                offset,
                length,
                first: offset == 0,
                last,
                arrived: false,
                lost: false,
                attempts: 0,
                failed: 0,
                in_pieces: false,
                skipped: 0,
                way: Way::All,
                sent: Instant::ZERO,
                due: Instant::FAR,
            });
        }
        way
    }

    /// The fragment with that sequence number, which was selected.
    pub(crate) fn item(&self, sequence: u64) -> Item<'_> {
        let flight = &self.flights[(sequence - self.base) as usize];
        let message = &self.messages[(flight.message - self.acknowledged) as usize];
        let bytes = &message[flight.offset..flight.offset + flight.length];
        let (first, last) = (flight.first, flight.last);
        Item { lane: self.lane, first, last, sequence, piece: None, bytes }
    }

    /// Into how many pieces these selected fragments are cut on a network; none where they go whole.
    pub(crate) fn pieces(&self, now: Instant, batch: &[u64]) -> Option<usize> {
        let &[sequence] = batch else { return None };
        let flight = &self.flights[(sequence - self.base) as usize];
        let is_cut = flight.failed >= FAILED_MAX || now < self.short_until;
        (is_cut && flight.length > PIECE_SIZE_MAX).then(|| flight.length.div_ceil(PIECE_SIZE_MAX))
    }

    /// A piece of the fragment with that sequence number.
    pub(crate) fn piece(&self, sequence: u64, place: usize) -> Item<'_> {
        let item = self.item(sequence);
        let piece = Piece { place, whole: item.bytes.len() };
        Item { piece: Some(piece), bytes: &item.bytes[piece.range()], ..item }
    }

    /// The selected fragments left, whether in pieces; `round_trip` is the smoothed one of the way
    /// they took.
    pub(crate) fn sent(
        &mut self,
        now: Instant,
        batch: &[u64],
        in_pieces: bool,
        way: Way,
        round_trip: Duration,
    ) {
        for sequence in batch {
            let flight = &mut self.flights[(sequence - self.base) as usize];
            self.retransmitted += u64::from(flight.attempts > 0);
            let timeout = (round_trip * 4).clamp(RETRANSMIT_MIN, RETRANSMIT_MAX);
            let timeout = (timeout * (1 << flight.attempts.min(6))).min(RETRANSMIT_MAX);
            flight.attempts += 1;
            flight.in_pieces = in_pieces;
            flight.skipped = 0;
            flight.way = way;
            flight.sent = now;
            flight.due = now + timeout;
            self.due = self.due.min(flight.due);
        }
    }

    /// Marks the fragments whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        if now < self.due {
            return;
        }
        let mut due = Instant::FAR;
        let mut expired = false;
        for flight in self.flights.iter_mut().filter(|flight| !flight.arrived && !flight.lost) {
            if flight.due <= now {
                flight.lost = true;
                flight.failed += 1;
                self.lost += 1;
                expired = true;
            } else {
                due = due.min(flight.due);
            }
        }
        self.due = due;
        if expired {
            self.back_off();
        }
    }

    /// Marks what left on a way that is not usable any more, without waiting for its time. That
    /// is no sign of congestion.
    pub(crate) fn give_up(&mut self, is_lost: impl Fn(Way) -> bool) {
        for flight in self.flights.iter_mut().filter(|flight| !flight.arrived && !flight.lost) {
            if is_lost(flight.way) {
                flight.attempts = flight.attempts.min(1);
                flight.failed = 0;
                flight.lost = true;
                self.lost += 1;
            }
        }
    }

    fn back_off(&mut self) {
        if self.lane == Lane::Bulk && self.base >= self.recover {
            self.slow_start = (self.allowed / 2).max(FLIGHTS_MIN);
            self.allowed = self.slow_start;
            self.recover = self.base + self.flights.len() as u64;
        }
    }

    /// What an arrival says about the length that passes.
    fn learn(&mut self, flight: &Flight) {
        if flight.in_pieces {
            self.helped += 1;
            if self.helped >= HELPED_MIN {
                self.short_until = flight.sent + SHORT_TIME;
            }
        } else if flight.length > PIECE_SIZE_MAX {
            self.helped = 0;
        }
    }

    fn grow(&mut self, arrived: u64) {
        if self.lane == Lane::Urgent {
            return;
        }
        if self.allowed < self.slow_start {
            self.allowed += arrived;
        } else {
            self.grown += arrived;
            if self.grown >= self.allowed {
                self.grown -= self.allowed;
                self.allowed += 1;
            }
        }
        self.allowed = self.allowed.min(WINDOW_FRAGMENTS);
    }

    /// Takes an acknowledgement; false when it speaks of what was never sent.
    #[must_use]
    pub(crate) fn acknowledge(&mut self, ack: &Ack) -> bool {
        if ack.next > self.base + self.flights.len() as u64 {
            return false;
        }
        let mut arrived = 0;
        while self.base < ack.next {
            let flight = self.flights.pop_front().expect("acknowledged flights were sent");
            self.base += 1;
            self.lost -= usize::from(flight.lost);
            if !flight.arrived {
                arrived += 1;
                self.learn(&flight);
            }
            if flight.last {
                let message = self.messages.pop_front().expect("its flights were in flight");
                self.queued -= message.len();
                self.acknowledged += 1;
            }
        }
        let mut newest: Option<(usize, Flight)> = None;
        let mut beyond = 0;
        for sequence in ack.beyond() {
            let Some(index) = sequence.checked_sub(self.base) else { continue };
            let Some(flight) = self.flights.get_mut(index as usize) else { return false };
            if !flight.arrived {
                flight.arrived = true;
                self.lost -= usize::from(flight.lost);
                flight.lost = false;
                beyond += 1;
                let flight = *flight;
                newest = Some((index as usize, flight));
                self.learn(&flight);
            }
        }
        if let Some((index, newest)) = newest {
            let mut skipped = false;
            for flight in self.flights.iter_mut().take(index) {
                if !flight.arrived
                    && !flight.lost
                    && flight.way == newest.way
                    && flight.sent <= newest.sent
                {
                    flight.skipped += beyond;
                    if flight.skipped >= SKIPPED_MAX {
                        flight.lost = true;
                        flight.failed += 1;
                        self.lost += 1;
                        skipped = true;
                    }
                }
            }
            if skipped {
                self.back_off();
            }
        }
        self.grow(arrived + u64::from(beyond));
        if self.flights.is_empty() {
            self.due = Instant::FAR;
        }
        true
    }

    fn status(&self) -> LaneStatus {
        LaneStatus {
            lane: self.lane,
            queued: self.queued,
            in_flight: self.flights.iter().filter(|flight| !flight.arrived).count(),
            retransmitted: self.retransmitted,
        }
    }
}

/// Both directions of both lanes between a life of this node and a life of a peer.
#[derive(Debug)]
pub(crate) struct Channel {
    /// Number of this end; grows with each new channel of this life of ours.
    pub(crate) number: u32,
    /// Number of the other end; zero while unknown.
    pub(crate) remote: u32,
    /// Whether the other end has said that it knows our number.
    pub(crate) confirmed: bool,
    /// Indexed by lane.
    pub(crate) outgoing: [Outgoing; 2],
    pub(crate) incoming: [Incoming; 2],
    /// Something came that is not acknowledged yet, and over which network.
    pub(crate) ack: Option<NetworkId>,
    /// Bulk datagrams that may still leave before `pace`.
    burst: usize,
    pace: Instant,
}

impl Channel {
    pub(crate) fn new(number: u32, remote: u32) -> Channel {
        Channel {
            number,
            remote,
            confirmed: false,
            outgoing: Lane::ALL.map(Outgoing::new),
            incoming: [Incoming::default(), Incoming::default()],
            ack: None,
            burst: BURST_DATAGRAMS_MAX,
            pace: Instant::ZERO,
        }
    }

    pub(crate) fn lane(&mut self, lane: Lane) -> &mut Outgoing {
        &mut self.outgoing[lane as usize]
    }

    pub(crate) fn acks(&self) -> [Ack; 2] {
        [self.incoming[0].ack(), self.incoming[1].ack()]
    }

    /// Takes one datagram from the allowance of bulk data; false when it is used up.
    #[must_use]
    pub(crate) fn take_burst(&mut self, now: Instant) -> bool {
        if now >= self.pace {
            self.pace = now + PACE_INTERVAL;
            self.burst = BURST_DATAGRAMS_MAX;
        }
        let allowed = self.burst > 0;
        self.burst -= usize::from(allowed);
        allowed
    }

    /// When bulk data may leave.
    pub(crate) fn bulk_from(&self) -> Instant {
        if self.burst > 0 { Instant::ZERO } else { self.pace }
    }

    pub(crate) fn status(&self) -> [LaneStatus; 2] {
        [self.outgoing[0].status(), self.outgoing[1].status()]
    }
}
