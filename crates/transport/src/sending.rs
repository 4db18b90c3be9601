//! What leaves for a peer, over which path, and when.
//!
//! One turn sends in this order: heartbeats and urgent messages to all peers, then bulk data and
//! bare acknowledgements. Bulk is limited per turn and per millisecond, so that a queue of
//! megabytes stands behind a heartbeat and never before it.
//!
//! Data takes paths that are alive and of high priority; those of low priority are promoted while
//! there is no other. Urgent datagrams take all of them at once, bulk goes round; a fragment that
//! is sent again takes another path than before, if there is one.

use core::time::Duration;

use base::limits::PATHS_PER_PEER_MAX;
use base::{Instant, Medium, Timing};

use crate::channel::Way;
use crate::config::{Lane, PathId, Priority, Timer};
use crate::local::Local;
use crate::path::{Moment, Path};
use crate::peer::Peer;
use crate::session::Session;
use crate::wire::{Heartbeat, Kind, Proof, encode_acks};

/// The paths that carry data now, as places in `Peer::paths`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usable {
    places: [usize; PATHS_PER_PEER_MAX],
    pub(crate) count: usize,
}

impl Usable {
    fn places(&self) -> &[usize] {
        &self.places[..self.count]
    }

    pub(crate) fn contains(&self, place: usize) -> bool {
        self.places().contains(&place)
    }
}

impl Peer {
    pub(crate) fn usable(&self) -> Usable {
        let mut usable = Usable { places: [0; PATHS_PER_PEER_MAX], count: 0 };
        for priority in [Priority::High, Priority::Low] {
            for (place, path) in self.paths.iter().enumerate() {
                if path.is_alive() && path.priority == priority {
                    usable.places[usable.count] = place;
                    usable.count += 1;
                }
            }
            if usable.count > 0 {
                break;
            }
        }
        usable
    }

    /// The first half of a turn: states, heartbeats, urgent messages.
    pub(crate) fn send_first(&mut self, at: Moment, local: &mut Local) {
        self.check(at, local);
        for index in 0..self.paths.len() {
            if self.paths[index].heartbeat_due <= at.now {
                self.send_heartbeat(at, local, index);
            }
        }
        self.channel.outgoing.iter_mut().for_each(|lane| lane.expire(at.now));
        let usable = self.usable();
        if !self.connected || usable.count == 0 {
            return;
        }
        let round_trip = self.slowest(&usable);
        let mut batch = core::mem::take(&mut local.batch);
        while self.channel.lane(Lane::Urgent).wants() {
            batch.clear();
            self.channel.lane(Lane::Urgent).select(at.now, &mut batch);
            assert!(!batch.is_empty(), "a lane that wants to send has something to send");
            let mut in_pieces = false;
            for &index in usable.places() {
                in_pieces |= self.send_data(at, local, index, Lane::Urgent, &batch);
            }
            self.channel.lane(Lane::Urgent).sent(at.now, &batch, in_pieces, Way::All, round_trip);
        }
        local.batch = batch;
    }

    /// The second half of a turn: bulk data, and acknowledgements that found no data to go with.
    pub(crate) fn send_rest(&mut self, at: Moment, local: &mut Local) {
        let usable = self.usable();
        if self.connected && usable.count > 0 {
            self.send_bulk(at, local, &usable);
            self.send_acks(at, local, &usable);
        }
        self.plan(at, &local.timing);
    }

    fn send_bulk(&mut self, at: Moment, local: &mut Local, usable: &Usable) {
        let mut batch = core::mem::take(&mut local.batch);
        while self.channel.lane(Lane::Bulk).wants()
            && local.bulk_left > 0
            && self.channel.take_burst(at.now)
        {
            local.bulk_left -= 1;
            batch.clear();
            let before = self.channel.lane(Lane::Bulk).select(at.now, &mut batch);
            assert!(!batch.is_empty(), "a lane that wants to send has something to send");
            let index = self.choose(usable, before);
            let in_pieces = self.send_data(at, local, index, Lane::Bulk, &batch);
            let path = &self.paths[index];
            let (way, round_trip) = (Way::One(path.id.network), path.smoothed());
            self.channel.lane(Lane::Bulk).sent(at.now, &batch, in_pieces, way, round_trip);
        }
        local.batch = batch;
    }

    /// The next path round, but not the one that was taken before, if there is another.
    fn choose(&mut self, usable: &Usable, before: Option<Way>) -> usize {
        let places = usable.places();
        for _ in 0..places.len() {
            self.turn = (self.turn + 1) % places.len();
            let network = self.paths[places[self.turn]].id.network;
            if before != Some(Way::One(network)) {
                break;
            }
        }
        places[self.turn % places.len()]
    }

    fn send_acks(&mut self, at: Moment, local: &mut Local, usable: &Usable) {
        if let Some(network) = self.channel.ack {
            let came = |&&index: &&usize| self.paths[index].id.network == network;
            let index = usable.places().iter().find(came).unwrap_or(&usable.places[0]);
            self.send_frame(at, local, *index, Lane::Bulk, &[], None);
        }
    }

    fn slowest(&self, usable: &Usable) -> Duration {
        let trips = usable.places().iter().map(|&index| self.paths[index].smoothed());
        trips.max().unwrap_or_default()
    }

    /// What a frame for the current life says about itself.
    fn proof(&self, at: Moment, local: &Local, index: usize, session: Option<&Session>) -> Proof {
        let network = self.paths[index].id.network;
        let is_current = |session: &Session| {
            !self.ended && self.current.as_ref().is_some_and(|now| now.id() == session.id())
        };
        let mut proof =
            Proof { incarnation: local.incarnation, stamp: at.now.as_nanos(), ..Proof::default() };
        if let Some(session) = session {
            (proof.echo, proof.held) = session.echo(at.now, network);
            proof.tag = session.tag();
            if is_current(session) {
                proof.channel = self.channel.number;
                proof.known = self.channel.remote;
            }
        }
        proof
    }

    fn send_heartbeat(&mut self, at: Moment, local: &mut Local, index: usize) {
        let current = self.current.as_ref().filter(|_| !self.ended);
        let candidate = self.candidate.as_ref().filter(|_| !self.has_twin(at, &local.timing));
        let to_candidate = match (current, candidate) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(_), Some(_)) => !self.paths[index].echoed_candidate,
        };
        let addressee = if to_candidate { candidate } else { current };
        let proof = self.proof(at, local, index, addressee);
        let hears = |path: &&Path| path.hears(at, &local.timing);
        let heard = self.paths.iter().filter(hears).map(|path| path.id.network).collect();
        let is_promoted = self.is_promoted();
        let row = local.row;
        let (name, known) = (local.report_name, if to_candidate { 0 } else { self.report_name });
        let is_known = !to_candidate && self.knows == name;
        let path = &mut self.paths[index];
        let mut frame = local.start(path, Kind::Heartbeat, &proof);
        Heartbeat {
            row,
            heard,
            loss: path.incoming().loss_permille,
            jitter: path.incoming().jitter,
            name,
            known,
            watches: path.watched,
            evidence_age: local.evidence.map(|evidence| at.now.since(evidence)),
            report: (!is_known).then_some(&*local.report),
        }
        .encode(&mut frame.bytes);
        local.transmit(frame);
        path.echoed_candidate = to_candidate;
        path.heartbeat_sent = Some(at.now);
        // A little early each time, so that the nodes of a cluster do not beat in step.
        let interval = path.interval(&local.timing, is_promoted);
        let interval = interval - local.prng.duration(Duration::ZERO..=interval / 16);
        // On a network with shared heartbeats the next round decides whether there is another.
        let beats = path.beats(at, &local.timing) && !path.is_shared;
        path.heartbeat_due = if beats { at.now + interval } else { Instant::FAR };
    }

    /// Sends selected fragments over a path; whether they went in pieces. Other media than networks
    /// take a frame of any length.
    fn send_data(
        &mut self,
        at: Moment,
        local: &mut Local,
        index: usize,
        lane: Lane,
        batch: &[u64],
    ) -> bool {
        let pieces = self.channel.lane(lane).pieces(at.now, batch);
        let pieces = pieces.filter(|_| self.paths[index].medium == Medium::Network);
        match pieces {
            Some(count) => (0..count).for_each(|place| {
                self.send_frame(at, local, index, lane, batch, Some(place));
            }),
            None => self.send_frame(at, local, index, lane, batch, None),
        }
        pieces.is_some()
    }

    /// One frame with these fragments, or with one piece of the only one.
    fn send_frame(
        &mut self,
        at: Moment,
        local: &mut Local,
        index: usize,
        lane: Lane,
        batch: &[u64],
        piece: Option<usize>,
    ) {
        let proof = self.proof(at, local, index, self.current.as_ref());
        let mut frame = local.start(&mut self.paths[index], Kind::Data, &proof);
        encode_acks(&self.channel.acks(), &mut frame.bytes);
        for &sequence in batch {
            let lane = self.channel.lane(lane);
            let item = match piece {
                Some(place) => lane.piece(sequence, place),
                None => lane.item(sequence),
            };
            item.encode(&mut frame.bytes);
        }
        local.transmit(frame);
        self.channel.ack = None;
    }

    /// One sealed goodbye for each path.
    pub(crate) fn goodbyes(&mut self, local: &mut Local, frames: &mut Vec<(PathId, Vec<u8>)>) {
        let proof = Proof { incarnation: local.incarnation, ..Proof::default() };
        for path in &mut self.paths {
            let frame = local.start(path, Kind::Goodbye, &proof);
            frames.push(local.seal(frame));
        }
    }

    /// When this peer wants a turn next, and what for.
    pub(crate) fn plan(&mut self, at: Moment, timing: &Timing) {
        self.wake(at, timing);
        let mut due = (Instant::FAR, Timer::Turn);
        let mut consider = |when, timer| due = due.min((when, timer));
        for path in &self.paths {
            consider(path.heartbeat_due, Timer::Heartbeat);
            consider(path.silent_from(at, timing), Timer::Silence);
        }
        if self.connected && self.usable().count > 0 {
            let [urgent, bulk] = &self.channel.outgoing;
            if self.channel.ack.is_some() || urgent.wants() {
                consider(at.now, Timer::Flush);
            }
            if bulk.wants() {
                consider(self.channel.bulk_from().max(at.now), Timer::Flush);
            }
            consider(urgent.due().min(bulk.due()), Timer::Retransmit);
        }
        self.due = due;
    }
}
