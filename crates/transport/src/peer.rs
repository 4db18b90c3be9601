//! One peer: which life of it counts, whether it is connected, and what its frames say.
//!
//! **Whose life?** At most two lives of a peer are known at a time: the *current* one, and a
//! *candidate* that is authentic but has not shown that it is lived now. A candidate shows it by
//! echoing a recent stamp of ours, which no replay can do; to let it, heartbeats alternate their
//! echo between the two. It then becomes current if its incarnation is higher, or if the current
//! life has been silent and has no path left. Anything else under that number is a second machine with the same
//! number, or the past speaking; both are counted.
//!
//! A life that still speaks is not over, however high the incarnation of the one that wants to follow:
//! then these are two machines under one number, and whoever was here first stays. So a life is
//! followed when it has missed [`MISSED`] heartbeats, which a restart takes anyway; and a candidate
//! that has been there while the current life went on speaking is a twin: it is counted, and nothing
//! is echoed to it.
//!
//! ```text
//!   unknown, authentic ──► candidate ──(echoes us; higher, or current is silent)──► current
//!                              │                                                      │
//!                   silent for the timeout                          goodbye, or the next candidate
//!                              ▼                                                      ▼
//!                             gone                                                  over
//! ```
//!
//! **Connected** is a peer with a path that is not dead, when both ends know each other's end of
//! the channel. Each end of a channel has a number, which grows when it is made anew; data counts
//! only if it names both numbers. So what was sent to a former life, or over a broken channel, can
//! never be taken for something new.

use core::time::Duration;

use base::codec::Reader;
use base::limits::REPORT_SIZE_MAX;
use base::{Instant, Medium, Member, NetworkId, NodeId, NodeSet, Timing};

use crate::channel::{Channel, Way};
use crate::config::{
    Lane, LostReason, Output, PathConfig, PathId, PathState, PeerConfig, Priority, Timer,
};
use crate::fragment::Taken;
use crate::local::Local;
use crate::path::{Moment, Path};
use crate::ring::WAKE_TIME;
use crate::session::{Session, SessionKeys};
use crate::shared::{Echo, SharedHeartbeat};
use crate::stats::{Count, PathStatus, PeerStatus};
use crate::wire::{Data, HEADER_SIZE, Header, Heartbeat, Kind, Proof};

/// Heartbeats that a life has not sent before another one may follow it at once: one may be lost.
const MISSED: u32 = 2;

/// Another node as seen from this one.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    /// By network.
    pub(crate) paths: Vec<Path>,
    pub(crate) current: Option<Session>,
    /// The current life said goodbye; it counts for nothing, but must not begin again.
    pub(crate) ended: bool,
    pub(crate) candidate: Option<Session>,
    /// The life before the current one: its guard may still say goodbye for it.
    previous: Option<([u8; 16], Member)>,
    pub(crate) connected: bool,
    row: NodeSet,
    report: Option<Vec<u8>>,
    /// The sender's stamp of the newest heartbeat: what an older one says of the peer is past.
    told: u64,
    /// What names that report, and what names ours as the peer knows it; 0 without one.
    pub(crate) report_name: u32,
    pub(crate) knows: u32,
    pub(crate) channel: Channel,
    /// What waits in the channel has woken paths; it may until then.
    pub(crate) woken: bool,
    pub(crate) wanted_until: Instant,
    /// Where the next bulk datagram goes, counted round the usable paths.
    pub(crate) turn: usize,
    pub(crate) due: (Instant, Timer),
}

/// The body of a frame that was opened.
enum Body<'a> {
    Heartbeat(Heartbeat<'a>),
    Data(Data<'a>),
    /// To everybody, and what it says to us.
    Shared(SharedHeartbeat<'a>, Option<Echo>),
}

/// What a heartbeat of either form tells the layers above.
struct News<'a> {
    row: NodeSet,
    name: u32,
    report: Option<&'a [u8]>,
    evidence_age: Option<Duration>,
}

/// A frame that was opened.
struct Opened<'a> {
    header: Header,
    proof: Proof,
    /// The own stamp that it echoes, when it is of this life of ours.
    echo: Option<Instant>,
    body: Body<'a>,
}

/// Which life of the peer a session is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Current,
    Candidate,
    Stranger,
}

impl Peer {
    pub(crate) fn new(at: Moment, local: &mut Local, config: &PeerConfig) -> Peer {
        let mut peer = Peer {
            node: config.node,
            paths: Vec::new(),
            current: None,
            ended: false,
            candidate: None,
            previous: None,
            connected: false,
            row: NodeSet::EMPTY,
            report: None,
            told: 0,
            report_name: 0,
            knows: 0,
            channel: Channel::new(local.next_channel(), 0),
            woken: false,
            wanted_until: Instant::ZERO,
            turn: 0,
            due: (at.now, Timer::Heartbeat),
        };
        peer.set_paths(at, local, &config.paths);
        peer
    }

    /// Adds, removes and reprioritises paths; the others are untouched.
    pub(crate) fn set_paths(&mut self, at: Moment, local: &mut Local, configs: &[PathConfig]) {
        self.paths.retain(|path| {
            let stays = configs.iter().any(|config| config.network == path.id.network);
            if !stays {
                local.retire(path);
            }
            stays
        });
        for &config in configs {
            let id = PathId { peer: self.node, network: config.network };
            match self.paths.iter_mut().find(|path| path.id == id) {
                Some(path) => {
                    path.configure(at.now, config);
                }
                None => {
                    let mut path = Path::new(at, id, config);
                    local.reinstate(&mut path);
                    self.paths.push(path);
                }
            }
        }
        self.paths.sort_by_key(|path| path.id.network);
        let paths = &self.paths;
        let is_gone = |way| match way {
            Way::One(network) => !paths.iter().any(|path| path.id.network == network),
            Way::All => false,
        };
        self.channel.outgoing.iter_mut().for_each(|lane| lane.give_up(is_gone));
        self.settle(local);
    }

    /// The life that counts.
    pub(crate) fn member(&self) -> Option<Member> {
        let session = self.current.as_ref().filter(|_| !self.ended)?;
        Some(Member { node: self.node, incarnation: session.incarnation })
    }

    /// Whom it reaches both ways, by its own word.
    pub(crate) fn row(&self) -> NodeSet {
        self.row
    }

    /// The path over a network.
    pub(crate) fn path(&self, network: NetworkId) -> Option<&Path> {
        self.paths.iter().find(|path| path.id.network == network)
    }

    /// Whether paths of low priority stand in for those of high priority.
    pub(crate) fn is_promoted(&self) -> bool {
        self.connected && !self.paths.iter().any(|path| path.is_high() && path.is_alive())
    }

    /// A heartbeat to this peer alone leaves in this turn.
    pub(crate) fn make_due(&mut self, at: Moment, timing: &Timing, network: NetworkId) {
        let paths = self.paths.iter_mut();
        paths
            .filter(|path| path.id.network == network)
            .for_each(|path| path.heartbeat_due = path.heartbeat_due.min(at.now));
        self.plan(at, timing);
    }

    pub(crate) fn report(&self) -> Option<&[u8]> {
        self.report.as_deref().filter(|_| !self.ended)
    }

    /// How many steps up the ring of this network it is.
    pub(crate) fn step(&self, network: NetworkId) -> Option<u8> {
        self.paths.iter().find(|path| path.id.network == network)?.ring
    }

    pub(crate) fn forget_key(&mut self, slot: usize) {
        for session in self.current.iter_mut().chain(&mut self.candidate) {
            session.keys.forget(slot);
        }
    }

    /// Takes a frame that says it comes from this peer over that path.
    ///
    /// # Errors
    /// What was wrong with it, to be counted.
    pub(crate) fn receive(
        &mut self,
        at: Moment,
        local: &mut Local,
        index: usize,
        header: Header,
        bytes: &mut [u8],
    ) -> Result<(), Count> {
        let is = |session: &Session| *session.id() == header.session;
        let standing = match (&self.current, &self.candidate) {
            (Some(session), _) if is(session) => Standing::Current,
            (_, Some(session)) if is(session) => Standing::Candidate,
            _ => Standing::Stranger,
        };
        let session = match standing {
            Standing::Current => self.current.as_mut(),
            Standing::Candidate => self.candidate.as_mut(),
            Standing::Stranger => None,
        };
        let is_new = session
            .as_ref()
            .is_none_or(|session| header.kind == Kind::Goodbye || session.is_new(&header));
        if !is_new {
            return Err(Count::Replay);
        }
        let keys: &mut SessionKeys = match session {
            Some(session) => &mut session.keys,
            None => local.strangers.get(header.source, header.session),
        };
        let key = keys.key(&local.keys, header.slot).ok_or(Count::WrongKey)?;
        let plain = key.open(header.nonce(), HEADER_SIZE, bytes).ok_or(Count::WrongKey)?;
        let mut reader = Reader::new(plain);
        let proof = match header.kind {
            Kind::Shared => Proof::default(),
            _ => Proof::decode(&mut reader).map_err(|_| Count::Malformed)?,
        };
        let body = match header.kind {
            Kind::Shared => SharedHeartbeat::decode(reader, local.node)
                .map(|(heartbeat, echo)| Body::Shared(heartbeat, echo)),
            Kind::Heartbeat => Heartbeat::decode(reader).map(Body::Heartbeat),
            Kind::Data => Data::decode(reader).map(Body::Data),
            Kind::Goodbye => return self.goodbye(local, &header, &proof, standing),
        };
        let body = body.map_err(|_| Count::Malformed)?;
        let proof = match &body {
            Body::Shared(heartbeat, echo) => heartbeat.proof(*echo),
            _ => proof,
        };
        let echo = Instant::from_nanos(proof.echo);
        let is_ours = proof.tag == local.tag() && proof.echo != 0;
        let echo = (is_ours && echo >= local.started && echo <= at.now).then_some(echo);
        let frame = Opened { header, proof, echo, body };
        match standing {
            Standing::Current => self.receive_current(at, local, index, &frame),
            Standing::Candidate => self.receive_candidate(at, local, index, &frame),
            Standing::Stranger => {
                self.admit(at, local, index, &frame)?;
                self.receive_candidate(at, local, index, &frame)
            }
        }
    }

    /// Silence after which a life counts as gone: every path has had the time to speak.
    fn patience(&self, timing: &Timing) -> Duration {
        let timeouts = self.paths.iter().map(|path| path.timeout(timing));
        timeouts.max().unwrap_or(timing.path_timeout)
    }

    /// Whether a life may take over from the current one. A lower one only when the current one
    /// has been silent: a new life has no path yet, nor has one that has ended, and a late frame
    /// of the one before it may still echo a recent stamp.
    fn may_follow(&self, at: Moment, local: &Local, proof: &Proof) -> bool {
        let Some(current) = &self.current else { return true };
        proof.incarnation > current.incarnation
            || (at.now.since(current.heard) > self.patience(&local.timing)
                && self.paths.iter().all(Path::is_down))
    }

    /// Between two heartbeats of a life that goes on, over its quickest path that works.
    fn pace(&self, timing: &Timing) -> Option<Duration> {
        let alive = self.paths.iter().filter(|path| path.is_alive());
        alive.map(|path| path.interval(timing, false)).min()
    }

    /// Whether the current life is still speaking.
    fn is_speaking(&self, at: Moment, timing: &Timing) -> bool {
        let current = self.current.as_ref().filter(|_| !self.ended);
        current
            .zip(self.pace(timing))
            .is_some_and(|(current, pace)| at.now.since(current.heard) <= pace * MISSED)
    }

    /// Whether the candidate is another machine: the current life went on speaking after it came.
    pub(crate) fn has_twin(&self, at: Moment, timing: &Timing) -> bool {
        let lives = self.current.as_ref().zip(self.candidate.as_ref());
        // The last frame of a life that ended just before may come later: over a slow medium, much.
        let late = |path: &Path| match path.medium {
            Medium::Network => path.interval(timing, false) / 2,
            Medium::Disk | Medium::Serial => path.timeout(timing),
        };
        let slack = self.paths.iter().filter(|path| path.is_alive()).map(late).max();
        self.is_speaking(at, timing)
            && lives.zip(slack).is_some_and(|((current, candidate), slack)| {
                current.heard > candidate.since + slack
            })
    }

    fn is_proven(&self, at: Moment, local: &Local, index: usize, frame: &Opened<'_>) -> bool {
        let bound = self.paths[index].echo_age_max(&local.timing);
        frame.echo.is_some_and(|echo| at.now.since(echo) <= bound)
    }

    /// A life that may not follow: somebody else with this number, or the past.
    fn refused(is_proven: bool) -> Count {
        if is_proven { Count::DuplicateNodeId } else { Count::EarlierLife }
    }

    /// Makes a stranger the candidate, if it may be.
    fn admit(
        &mut self,
        at: Moment,
        local: &mut Local,
        index: usize,
        frame: &Opened<'_>,
    ) -> Result<(), Count> {
        if !self.may_follow(at, local, &frame.proof) {
            return Err(Peer::refused(self.is_proven(at, local, index, frame)));
        }
        if let Some(candidate) = &self.candidate
            && at.now.since(candidate.heard) <= self.patience(&local.timing)
            && candidate.incarnation >= frame.proof.incarnation
        {
            return Err(Count::EarlierLife);
        }
        let keys = local.strangers.take(frame.header.source, frame.header.session);
        self.candidate = Some(Session::new(frame.proof.incarnation, keys, at.now));
        Ok(())
    }

    fn receive_candidate(
        &mut self,
        at: Moment,
        local: &mut Local,
        index: usize,
        frame: &Opened<'_>,
    ) -> Result<(), Count> {
        let is_proven = self.is_proven(at, local, index, frame);
        let may_follow = self.may_follow(at, local, &frame.proof);
        let candidate = self.candidate.as_mut().expect("the caller found it");
        if candidate.incarnation != frame.proof.incarnation {
            return Err(Count::Malformed);
        }
        if !may_follow {
            let gone = self.candidate.take();
            local.strangers.keep(gone.map(|session| session.keys));
            return Err(Peer::refused(is_proven));
        }
        candidate.received(at.now, &frame.header, frame.proof.stamp);
        if self.has_twin(at, &local.timing) {
            return Err(Count::DuplicateNodeId);
        }
        if !is_proven || self.is_speaking(at, &local.timing) {
            // It can prove itself only by what we send, and when the one before is silent.
            self.paths[index].hurry(at.now, &local.timing);
            return Ok(());
        }
        self.succeed(local);
        self.take_frame(at, local, index, frame)
    }

    /// The candidate becomes current.
    fn succeed(&mut self, local: &mut Local) {
        self.lose(local, LostReason::Superseded);
        let next = self.candidate.take().expect("the caller has it");
        if let Some(old) = self.current.replace(next) {
            let member = Member { node: self.node, incarnation: old.incarnation };
            self.previous = (!self.ended).then_some((old.keys.id, member));
        }
        self.ended = false;
        self.begin_life(local);
    }

    /// Forgets what belonged to the life before.
    fn begin_life(&mut self, local: &mut Local) {
        self.row = NodeSet::EMPTY;
        self.report = None;
        self.told = 0;
        self.report_name = 0;
        self.knows = 0;
        self.channel = Channel::new(local.next_channel(), 0);
        for path in &mut self.paths {
            let before = (path.state, path.direction);
            path.begin_life();
            if before.0 != path.state {
                local.outputs.push_back(changed(path));
            }
        }
    }

    fn receive_current(
        &mut self,
        at: Moment,
        local: &mut Local,
        index: usize,
        frame: &Opened<'_>,
    ) -> Result<(), Count> {
        if self.ended {
            return Err(Count::EarlierLife);
        }
        let session = self.current.as_mut().expect("the caller found it");
        if session.incarnation != frame.proof.incarnation {
            return Err(Count::Malformed);
        }
        session.received(at.now, &frame.header, frame.proof.stamp);
        self.take_frame(at, local, index, frame)
    }

    /// What an authentic, new frame of the current life says.
    fn take_frame(
        &mut self,
        at: Moment,
        local: &mut Local,
        index: usize,
        frame: &Opened<'_>,
    ) -> Result<(), Count> {
        let Opened { header, proof, echo, .. } = frame;
        let path = &mut self.paths[index];
        let meter = match header.kind {
            Kind::Shared => &mut path.shared_meter,
            _ => &mut path.meter,
        };
        meter.received(at.now, header.counter, proof.stamp);
        let held = Duration::from_micros(u64::from(proof.held));
        path.heard(at, &local.timing, *echo, held);
        self.check_path(at, local, index);
        if proof.tag == local.tag() && proof.channel != 0 {
            self.meet(local, proof);
        }
        self.settle(local);
        match &frame.body {
            Body::Heartbeat(heartbeat) => {
                self.take_heartbeat(at, local, index, heartbeat, (proof.stamp, *echo));
                Ok(())
            }
            Body::Shared(heartbeat, entry) => {
                self.take_shared(at, local, index, heartbeat, entry.as_ref(), *echo);
                Ok(())
            }
            Body::Data(data) => self.take_data(local, index, proof, data),
        }
    }

    /// Compares the numbers of the two ends of the channel.
    fn meet(&mut self, local: &mut Local, proof: &Proof) {
        if proof.channel > self.channel.remote {
            if self.channel.remote != 0 {
                self.lose(local, LostReason::Reset);
                self.channel = Channel::new(self.channel.number, proof.channel);
            }
            self.channel.remote = proof.channel;
        }
        if proof.channel == self.channel.remote && proof.known == self.channel.number {
            self.channel.confirmed = true;
        }
    }

    fn take_heartbeat(
        &mut self,
        at: Moment,
        local: &mut Local,
        index: usize,
        heartbeat: &Heartbeat<'_>,
        (stamp, echo): (u64, Option<Instant>),
    ) {
        let path = &mut self.paths[index];
        path.outgoing.loss_permille = heartbeat.loss;
        path.outgoing.jitter = heartbeat.jitter;
        path.is_asked(at, &local.timing, heartbeat.watches);
        for path in &mut self.paths {
            path.told(at, heartbeat.heard.contains(path.id.network));
        }
        if stamp >= self.told {
            self.knows = heartbeat.known;
        }
        let Heartbeat { row, name, report, evidence_age, .. } = *heartbeat;
        let news = News { row, name, report, evidence_age };
        self.take_news(at, local, index, &news, (stamp, echo));
    }

    /// The same of a heartbeat to everybody; `entry` is what it says to us.
    fn take_shared(
        &mut self,
        at: Moment,
        local: &mut Local,
        index: usize,
        heartbeat: &SharedHeartbeat<'_>,
        entry: Option<&Echo>,
        echo: Option<Instant>,
    ) {
        let path = &mut self.paths[index];
        path.told(at, heartbeat.heard.contains(local.node));
        path.shared_name = heartbeat.name;
        if let Some(entry) = entry {
            path.outgoing.loss_permille = u16::from(entry.loss) * 10;
        }
        if let Some(echo) = echo {
            path.cover(at, echo);
            // A frame of that very moment may still have named the report before. A report that
            // comes back after another one has to be said again, though the peer once knew it.
            if let Some(entry) = entry.filter(|_| echo > local.report_since)
                && heartbeat.stamp >= self.told
            {
                self.knows = if entry.knows { local.report_name } else { 0 };
            }
        }
        let SharedHeartbeat { row, name, report, evidence_age, stamp, .. } = *heartbeat;
        let news = News { row, name, report, evidence_age };
        self.take_news(at, local, index, &news, (stamp, echo));
    }

    /// What a heartbeat tells the layers above.
    fn take_news(
        &mut self,
        at: Moment,
        local: &mut Local,
        index: usize,
        heartbeat: &News<'_>,
        (stamp, echo): (u64, Option<Instant>),
    ) {
        let path = &mut self.paths[index];
        let is_eager = path.is_hurried() || !self.connected;
        if is_eager && path.beats(at, &local.timing) {
            path.hurry(at.now, &local.timing);
        }
        let network = path.id.network;
        // Heartbeats overtake each other between paths.
        let is_newest = stamp >= self.told;
        if is_newest {
            self.told = stamp;
            self.row = heartbeat.row;
        }
        let report = heartbeat.report.filter(|_| is_newest);
        let new = report.filter(|new| self.report.as_deref() != Some(*new));
        let report_changed = new.is_some();
        if let Some(new) = new {
            let report = self.report.get_or_insert_with(|| Vec::with_capacity(REPORT_SIZE_MAX));
            report.clear();
            report.extend_from_slice(new);
            self.report_name = heartbeat.name;
        }
        let timeout = self.paths[index].timeout(&local.timing);
        // An echo counts for what the peer was when it sent it, which only its report says: without
        // that very report it is news of the path and of nothing else.
        let is_known = is_newest && heartbeat.name == self.report_name;
        let echo = echo.filter(|echo| is_known && at.now.since(*echo) <= timeout);
        if let Some(from) = self.member() {
            let row = self.row;
            let evidence_age = echo.and(heartbeat.evidence_age);
            local.outputs.push_back(Output::Heard {
                from,
                network,
                echo,
                evidence_age,
                row,
                report_changed,
            });
        }
    }

    fn take_data(
        &mut self,
        local: &mut Local,
        index: usize,
        proof: &Proof,
        data: &Data<'_>,
    ) -> Result<(), Count> {
        let is_ours = proof.tag == local.tag()
            && proof.channel == self.channel.remote
            && proof.known == self.channel.number;
        let Some(from) = self.member().filter(|_| self.connected && is_ours) else {
            return Err(Count::Surplus);
        };
        let mut result = Ok(());
        for (lane, ack) in self.channel.outgoing.iter_mut().zip(&data.acks) {
            if !lane.acknowledge(ack) {
                result = Err(Count::Malformed);
            }
        }
        let network = self.paths[index].id.network;
        for item in data.items() {
            let lane = item.lane;
            let deliver =
                |message| local.outputs.push_back(Output::Message { from, lane, message });
            match self.channel.incoming[lane as usize].take(&item, deliver) {
                Ok(Taken::New) => {}
                Ok(Taken::Beyond) => {
                    result = Err(Count::Surplus);
                    continue;
                }
                // Acknowledged once more: the sender may not know it yet.
                Ok(Taken::Again) => result = Err(Count::Surplus),
                Err(_) => {
                    self.replace_channel(local, LostReason::Reset);
                    return Err(Count::Malformed);
                }
            }
            self.channel.ack = Some(network);
        }
        result
    }

    /// Queues a message for the life that counts.
    pub(crate) fn send(&mut self, at: Moment, local: &mut Local, lane: Lane, message: Vec<u8>) {
        self.wanted_until = at.now + WAKE_TIME;
        if self.member().is_none() {
            local.counters.add(Count::Unsendable);
        } else if !self.channel.lane(lane).push(message) {
            self.replace_channel(local, LostReason::Overflow);
        }
    }

    /// Gives the channel up. The peer learns it from the new number.
    fn replace_channel(&mut self, local: &mut Local, why: LostReason) {
        self.lose(local, why);
        self.channel = Channel::new(local.next_channel(), self.channel.remote);
    }

    fn goodbye(
        &mut self,
        local: &mut Local,
        header: &Header,
        proof: &Proof,
        standing: Standing,
    ) -> Result<(), Count> {
        let from = Member { node: self.node, incarnation: proof.incarnation };
        if standing == Standing::Current && self.member() == Some(from) {
            local.outputs.push_back(Output::Goodbye { from });
            self.lose(local, LostReason::Goodbye);
            self.begin_life(local);
            self.ended = true;
            return Ok(());
        }
        if self.previous == Some((header.session, from)) {
            self.previous = None;
            local.outputs.push_back(Output::Goodbye { from });
            return Ok(());
        }
        Err(Count::EarlierLife)
    }

    /// Decides all paths' states, and whether the peer is connected.
    pub(crate) fn check(&mut self, at: Moment, local: &mut Local) {
        let patience = self.patience(&local.timing);
        self.candidate.take_if(|candidate| at.now.since(candidate.heard) > patience);
        for index in 0..self.paths.len() {
            self.check_path(at, local, index);
        }
        self.settle(local);
    }

    fn check_path(&mut self, at: Moment, local: &mut Local, index: usize) {
        let was_alive = self.paths[index].is_alive();
        let is_last = self.is_last(index);
        let path = &mut self.paths[index];
        let rested = path.is_resting();
        if !path.check(at, &local.timing, is_last) {
            return;
        }
        // That a path rests, and wakes, is no news.
        if path.is_dead() || !rested && !path.is_resting() {
            local.outputs.push_back(changed(path));
        }
        if was_alive && !path.is_alive() {
            let way = Way::One(path.id.network);
            self.channel.outgoing.iter_mut().for_each(|lane| lane.give_up(|sent| sent == way));
        }
    }

    /// Whether all other paths are dead.
    fn is_last(&self, index: usize) -> bool {
        self.paths.iter().enumerate().all(|(other, path)| other == index || path.is_down())
    }

    pub(crate) fn settle(&mut self, local: &mut Local) {
        let is_reached = !self.paths.iter().all(Path::is_down);
        if self.connected && !is_reached {
            let is_silent = self.paths.iter().all(Path::is_dead);
            let why = if is_silent { LostReason::Silent } else { LostReason::Unwatched };
            self.lose(local, why);
        } else if !self.connected
            && is_reached
            && self.channel.confirmed
            && let Some(peer) = self.member()
        {
            self.connected = true;
            local.row.insert(self.node);
            local.row_changed = true;
            local.outputs.push_back(Output::Connected { peer });
            self.channel.outgoing.iter_mut().for_each(|lane| lane.give_up(|_| true));
        }
    }

    pub(crate) fn lose(&mut self, local: &mut Local, why: LostReason) {
        if self.connected {
            let peer = self.member().expect("only a life can be connected");
            self.connected = false;
            local.row.remove(self.node);
            local.row_changed = true;
            local.outputs.push_back(Output::Lost { peer, why });
        }
    }

    pub(crate) fn link(&mut self, at: Moment, local: &mut Local, index: usize, up: bool) {
        let path = &mut self.paths[index];
        if up {
            path.link_up = true;
            if path.beats(at, &local.timing) {
                path.hurry(at.now, &local.timing);
            }
        } else {
            path.link_down(at.now);
            self.check(at, local);
        }
    }

    pub(crate) fn unreachable(&mut self, at: Moment, local: &mut Local, index: usize) {
        let path = &mut self.paths[index];
        if path.unreachable(at.now) {
            local.outputs.push_back(changed(path));
            let way = Way::One(path.id.network);
            self.channel.outgoing.iter_mut().for_each(|lane| lane.give_up(|sent| sent == way));
        }
    }

    pub(crate) fn status(&self, at: Moment, timing: &Timing) -> PeerStatus {
        let usable = self.usable();
        let path_status = |(index, path): (usize, &Path)| {
            let carries_data = usable.contains(index);
            PathStatus {
                path: path.id,
                priority: path.priority,
                carries_data,
                promoted: carries_data && path.priority == Priority::Low,
                state: path.state,
                direction: path.direction,
                link_up: path.link_up,
                echoes_wanted: path.echoes_missing(at, self.is_last(index)),
                damped: path.damped(at, timing, self.is_last(index)),
                round_trip: path.round_trip,
                incoming: path.incoming(),
                outgoing: path.outgoing,
                last_heard: path.last_heard,
                counters: path.counters.nonzero(),
            }
        };
        PeerStatus {
            node: self.node,
            incarnation: self.member().map(|member| member.incarnation),
            connected: self.connected,
            candidate: self.candidate.as_ref().map(|session| session.incarnation),
            row: self.row,
            last_received: self.current.as_ref().map(|session| session.heard),
            paths: self.paths.iter().enumerate().map(path_status).collect(),
            lanes: self.channel.status(),
        }
    }
}

fn changed(path: &Path) -> Output {
    debug_assert!(path.state != PathState::Alive || path.direction.is_none());
    Output::PathChanged { path: path.id, state: path.state, direction: path.direction }
}
