//! One way to one peer: does it work, in which direction, and how well?
//!
//! Think of calling across a valley: hearing the other one shout proves little. Hearing one's own
//! words come back proves that both directions work, and that it was not long ago. So:
//!
//! - A frame is **evidence** only if it echoes a stamp of this life of ours that is recent. A late
//!   or replayed frame echoes an old stamp, or none.
//! - A path is **alive** after three good echoes (different stamps). It is in **trouble** after
//!   the shorter silence, **dead** after the timeout. Silence has two measures, because an echo
//!   may wait one interval at the peer: no evidence for the timeout (nothing arrives), or no stamp
//!   echoed that is younger than the timeout and one interval (we do not get through).
//! - Silence is counted on the **patient clock**: time in which this node's loop really ran and
//!   its sockets were empty. Whoever was stopped for ten seconds has heard nothing for ten
//!   seconds, and that is nobody else's fault.
//! - A path that keeps changing needs 3, 6, 12 … 48 good echoes to come back, and three again
//!   after a quiet minute. The last path to a peer needs three, always.
//!
//! - A path on a ring that this node does not watch (`ring.rs`) is alive while the peer asks for
//!   heartbeats and both directions work, and **rests** otherwise. One that is woken is known after
//!   one good echo, or after the timeout.
//!
//! A one-way cut so kills the path on both ends: the deaf end gets no evidence, the other end gets
//! echoes that grow old. The deaf end sees `Incoming`, the other end `Outgoing`.

use core::time::Duration;

use base::{Instant, Medium, Timing};

use crate::config::{Direction, PathConfig, PathId, PathState, Priority};
use crate::stats::{Counters, Meter, Quality, RoundTrip};

/// Good echoes that bring a path alive.
pub(crate) const ECHOES_MIN: u32 = 3;
/// Good echoes that a path needs at most, however often it changed.
pub(crate) const ECHOES_MAX: u32 = 48;
/// After so long without a change a path is as good as new.
pub(crate) const QUIET: Duration = Duration::from_secs(60);

/// A moment on the patient clock: nanoseconds in which this node's loop ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Patient(u64);

impl Patient {
    pub(crate) fn advance(&mut self, step: Duration) {
        self.0 = (Instant::from_nanos(self.0) + step).as_nanos();
    }

    pub(crate) fn since(self, earlier: Patient) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Silence since a moment that may never have been.
    fn silence(self, since: Option<Patient>) -> Duration {
        since.map_or(Duration::MAX, |since| self.since(since))
    }

    fn minus(self, duration: Duration) -> Patient {
        Patient(Instant::from_nanos(self.0).minus(duration).as_nanos())
    }
}

/// Now, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    pub(crate) patient: Patient,
}

/// One path of this node.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) id: PathId,
    pub(crate) medium: Medium,
    pub(crate) priority: Priority,
    /// Steps up the ring to the peer, on a network that is monitored as one.
    pub(crate) ring: Option<u8>,
    /// Heartbeats go to everybody on the network; to this peer alone only when there is a reason.
    pub(crate) is_shared: bool,
    /// Frames sent, which is the next one's counter; and goodbyes sealed.
    pub(crate) counter: u64,
    pub(crate) goodbyes: u64,
    /// When the next heartbeat is due, and when the last one left.
    pub(crate) heartbeat_due: Instant,
    pub(crate) heartbeat_sent: Option<Instant>,
    /// Whether the last heartbeat went to a candidate.
    pub(crate) echoed_candidate: bool,
    pub(crate) state: PathState,
    pub(crate) direction: Option<Direction>,
    pub(crate) link_up: bool,
    pub(crate) round_trip: Option<RoundTrip>,
    pub(crate) meter: Meter,
    /// The same of frames to everybody, and what names the report in the newest of them.
    pub(crate) shared_meter: Meter,
    pub(crate) shared_name: u32,
    pub(crate) outgoing: Quality,
    pub(crate) last_heard: Option<Instant>,
    pub(crate) counters: Counters,
    /// Good echoes since the path was last dead or silent, and the newest stamp among them.
    good: u32,
    newest: Instant,
    /// Stamps sent before this prove nothing: the link was down, or the peer unreachable.
    floor: Instant,
    /// How often the path died in the present unquiet time, and when it last changed.
    deaths: u32,
    changed: Patient,
    /// Newest evidence, and the newest own stamp that was echoed.
    evidence: Option<Patient>,
    echoed: Option<Patient>,
    /// Whether the layer above wants the peer watched here.
    pub(crate) chosen: bool,
    /// Whether this node watches the peer here, and since when.
    pub(crate) watched: bool,
    watched_since: Patient,
    /// When the peer last said that it watches this node here.
    asked: Option<Patient>,
    /// When any authentic frame of the peer's present life came.
    heard: Option<Patient>,
    /// What the peer said over any path about hearing us on this one, and when.
    peer_hears: Option<(bool, Patient)>,
    /// The newest own stamp of a heartbeat to everybody that was echoed.
    covered: Option<Patient>,
}

impl Path {
    pub(crate) fn new(at: Moment, id: PathId, config: PathConfig) -> Path {
        Path {
            id,
            medium: config.medium,
            priority: config.priority,
            ring: config.ring,
            is_shared: config.is_shared(),
            counter: 0,
            goodbyes: 0,
            heartbeat_due: if config.is_shared() { Instant::FAR } else { at.now },
            heartbeat_sent: None,
            echoed_candidate: false,
            state: PathState::Dead,
            direction: None,
            link_up: true,
            round_trip: None,
            meter: Meter::default(),
            shared_meter: Meter::default(),
            shared_name: 0,
            outgoing: Quality::default(),
            last_heard: None,
            counters: Counters::default(),
            good: 0,
            newest: Instant::ZERO,
            floor: Instant::ZERO,
            deaths: 0,
            changed: at.patient,
            evidence: None,
            echoed: None,
            chosen: true,
            watched: true,
            watched_since: at.patient,
            asked: None,
            heard: None,
            peer_hears: None,
            covered: None,
        }
    }

    /// Takes another configuration of the same path.
    pub(crate) fn configure(&mut self, now: Instant, config: PathConfig) {
        self.priority = config.priority;
        self.medium = config.medium;
        self.ring = config.ring;
        let is_shared = config.is_shared();
        if is_shared != self.is_shared {
            self.is_shared = is_shared;
            self.heartbeat_due = if is_shared { Instant::FAR } else { now };
        }
    }

    /// Between two heartbeats. A promoted path is as important as a high one.
    pub(crate) fn interval(&self, timing: &Timing, promoted: bool) -> Duration {
        timing.interval(self.medium, self.is_high() || promoted)
    }

    fn slack(&self, timing: &Timing) -> Duration {
        self.interval(timing, false)
    }

    fn trouble(&self, timing: &Timing) -> Duration {
        timing.trouble(self.medium, self.is_high())
    }

    /// Silence after which it is dead.
    pub(crate) fn timeout(&self, timing: &Timing) -> Duration {
        timing.timeout(self.medium)
    }

    pub(crate) fn is_high(&self) -> bool {
        self.priority == Priority::High
    }

    /// How old an own stamp may be for its echo to prove anything.
    pub(crate) fn echo_age_max(&self, timing: &Timing) -> Duration {
        self.timeout(timing) + self.slack(timing)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.state == PathState::Alive
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state == PathState::Dead
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.state == PathState::Resting
    }

    /// Nothing gets through, as far as this node knows.
    pub(crate) fn is_down(&self) -> bool {
        self.is_dead() || self.is_resting()
    }

    /// Whether heartbeats are sent over it.
    pub(crate) fn beats(&self, at: Moment, timing: &Timing) -> bool {
        self.watched || at.patient.silence(self.asked) <= self.timeout(timing)
    }

    /// This node watches the peer here from now on, or does no more. Whoever does no more says so
    /// once.
    pub(crate) fn watch(&mut self, at: Moment, timing: &Timing, watched: bool) {
        if watched != self.watched {
            self.watched = watched;
            self.watched_since = at.patient;
            self.hurry(at.now, timing);
        }
    }

    /// Whether the peer watches this node here, as it said just now.
    pub(crate) fn is_asked(&mut self, at: Moment, timing: &Timing, watches: bool) {
        let rested = !self.beats(at, timing);
        self.asked = watches.then_some(at.patient);
        if rested && watches {
            self.hurry(at.now, timing);
        }
    }

    /// Good echoes that would bring it alive.
    pub(crate) fn echoes_wanted(&self, at: Moment, is_last: bool) -> u32 {
        if is_last || at.patient.since(self.changed) >= QUIET {
            return ECHOES_MIN;
        }
        (ECHOES_MIN << self.deaths.min(8)).min(ECHOES_MAX)
    }

    /// Good echoes still wanted; none when it is not dead.
    pub(crate) fn echoes_missing(&self, at: Moment, is_last: bool) -> Option<u32> {
        self.is_dead().then(|| self.echoes_wanted(at, is_last).saturating_sub(self.good))
    }

    /// For a path that gets echoes and is kept dead because it kept changing: the longest until it
    /// is alive, if none fails. After a quiet time few echoes are enough.
    pub(crate) fn damped(&self, at: Moment, timing: &Timing, is_last: bool) -> Option<Duration> {
        let missing = self.echoes_missing(at, is_last).filter(|missing| *missing > 0)?;
        let is_kept = self.good > 0 && self.echoes_wanted(at, is_last) > ECHOES_MIN;
        let quiet = QUIET.saturating_sub(at.patient.since(self.changed));
        is_kept.then(|| quiet.min(self.interval(timing, false) * missing))
    }

    /// Whether it needs heartbeats sooner than usual: its first echoes are being collected.
    pub(crate) fn is_hurried(&self) -> bool {
        self.is_dead() && self.good < ECHOES_MIN || self.is_resting() && self.good == 0
    }

    /// The next heartbeat leaves at once, unless the last one left a quarter interval ago.
    pub(crate) fn hurry(&mut self, now: Instant, timing: &Timing) {
        let pause = self.interval(timing, false) / 4;
        let earliest = self.heartbeat_sent.map_or(now, |sent| (sent + pause).max(now));
        self.heartbeat_due = self.heartbeat_due.min(earliest);
    }

    /// An authentic new frame of the peer's present life came. `echo` is the own stamp it echoes,
    /// when it is of this life, and `held` how long the peer kept it.
    pub(crate) fn heard(
        &mut self,
        at: Moment,
        timing: &Timing,
        echo: Option<Instant>,
        held: Duration,
    ) {
        self.heard = Some(at.patient);
        self.last_heard = Some(at.now);
        let Some(echo) = echo else { return };
        let age = at.now.since(echo);
        if age > self.echo_age_max(timing) || echo <= self.floor {
            return;
        }
        let trip = age.saturating_sub(held).as_micros();
        RoundTrip::add(&mut self.round_trip, u32::try_from(trip).unwrap_or(u32::MAX));
        self.evidence = Some(at.patient);
        self.echoed = self.echoed.max(Some(at.patient.minus(age)));
        if echo > self.newest {
            self.newest = echo;
            self.good = self.good.saturating_add(1);
        }
    }

    /// The peer has echoed a stamp that went to everybody.
    pub(crate) fn cover(&mut self, at: Moment, echo: Instant) {
        self.covered = self.covered.max(Some(at.patient.minus(at.now.since(echo))));
    }

    /// Whether the peer hears what goes to everybody. Its echo may wait for an interval there, and
    /// ours for its next one here.
    pub(crate) fn is_covered(&self, at: Moment, timing: &Timing) -> bool {
        at.patient.silence(self.covered) <= self.slack(timing) * 5 / 2
    }

    /// How well frames of the peer arrive: those to everybody, once there was one.
    pub(crate) fn incoming(&self) -> Quality {
        if self.shared_name == 0 { self.meter.quality } else { self.shared_meter.quality }
    }

    /// What the peer says about hearing us on this path.
    pub(crate) fn told(&mut self, at: Moment, hears_us: bool) {
        self.peer_hears = Some((hears_us, at.patient));
    }

    /// Whether any authentic frame came within the timeout; told to the peer.
    pub(crate) fn hears(&self, at: Moment, timing: &Timing) -> bool {
        at.patient.silence(self.heard) <= self.timeout(timing)
    }

    /// Decides the state anew. True when state or direction changed.
    pub(crate) fn check(&mut self, at: Moment, timing: &Timing, is_last: bool) -> bool {
        let silence = at.patient.silence(self.evidence);
        let age = at.patient.silence(self.echoed);
        let slack = self.slack(timing);
        let is_silent = silence > self.timeout(timing) || age > self.timeout(timing) + slack;
        if is_silent {
            self.good = 0;
        }
        let is_troubled = silence > self.trouble(timing) || age > self.trouble(timing) + slack;
        let is_bad = is_silent || is_troubled;
        let state = match self.state {
            // Nobody is to be told of what nobody watches.
            _ if !self.watched && (is_bad || !self.beats(at, timing)) => PathState::Resting,
            PathState::Resting if self.good > 0 && !is_silent => PathState::Alive,
            PathState::Resting if at.patient.since(self.watched_since) <= self.timeout(timing) => {
                PathState::Resting
            }
            _ if is_silent => PathState::Dead,
            PathState::Dead if self.good < self.echoes_wanted(at, is_last) => PathState::Dead,
            _ if is_troubled => PathState::Trouble,
            // After a hint, only an echo of what was sent since then is good news.
            PathState::Trouble if self.newest <= self.floor => PathState::Trouble,
            _ => PathState::Alive,
        };
        let became_dead = state == PathState::Dead && self.state != PathState::Dead;
        let direction = match state {
            PathState::Alive | PathState::Resting => None,
            // While the first echoes are on their way, nothing is known to be broken.
            PathState::Dead
                if !became_dead && at.patient.since(self.changed) < self.timeout(timing) =>
            {
                self.direction
            }
            PathState::Dead | PathState::Trouble => self.broken(at, timing, state),
        };
        let rests = [state, self.state].contains(&PathState::Resting);
        if state != self.state && !rests && (became_dead || self.state == PathState::Dead) {
            if at.patient.since(self.changed) >= QUIET {
                self.deaths = 0;
            }
            self.deaths += u32::from(became_dead);
            self.changed = at.patient;
        }
        let is_changed = state != self.state || direction != self.direction;
        self.state = state;
        self.direction = direction;
        is_changed
    }

    /// Which direction does not work.
    fn broken(&self, at: Moment, timing: &Timing, state: PathState) -> Option<Direction> {
        if !self.link_up {
            return Some(Direction::Both);
        }
        let bound = match state {
            PathState::Dead => self.timeout(timing),
            PathState::Alive | PathState::Trouble | PathState::Resting => self.trouble(timing),
        };
        if at.patient.silence(self.heard) <= bound {
            return Some(Direction::Outgoing);
        }
        match self.peer_hears {
            Some((hears_us, told)) if at.patient.since(told) <= self.timeout(timing) => {
                Some(if hears_us { Direction::Incoming } else { Direction::Both })
            }
            // Nobody can tell whether we are heard; that nothing arrives is certain.
            _ => self.heard.map(|_| Direction::Incoming),
        }
    }

    /// When silence would change the state, were the patient clock to run steadily.
    pub(crate) fn silent_from(&self, at: Moment, timing: &Timing) -> Instant {
        let left = |bound: Duration| {
            let silence = at.patient.silence(self.evidence);
            let age = at.patient.silence(self.echoed);
            let slack = self.slack(timing);
            bound.saturating_sub(silence).min((bound + slack).saturating_sub(age))
        };
        let bound = match self.state {
            PathState::Alive => self.trouble(timing),
            PathState::Trouble => self.timeout(timing),
            PathState::Resting if self.watched => {
                let woken = at.patient.since(self.watched_since);
                let left = self.timeout(timing).saturating_sub(woken);
                return at.now + left + Duration::from_nanos(1);
            }
            PathState::Dead | PathState::Resting => return Instant::FAR,
        };
        // One more nanosecond: the bounds themselves still count as heard.
        at.now + left(bound) + Duration::from_nanos(1)
    }

    /// The link went down: dead now, and nothing sent before counts any more. Heartbeats go on, so
    /// that a wrong report of a link heals by itself.
    pub(crate) fn link_down(&mut self, now: Instant) {
        self.link_up = false;
        self.floor = now;
        self.forget_evidence();
    }

    /// The peer's kernel says that nobody listens there. True when that changed the state.
    pub(crate) fn unreachable(&mut self, now: Instant) -> bool {
        self.floor = now;
        let is_alive = self.is_alive();
        if is_alive {
            self.state = PathState::Trouble;
            self.direction = Some(Direction::Outgoing);
        }
        is_alive
    }

    /// Another life of the peer begins, or the present one ended: what the old one proved counts
    /// no more, and this is no flapping.
    pub(crate) fn begin_life(&mut self) {
        self.forget_evidence();
        self.heard = None;
        self.peer_hears = None;
        self.meter = Meter::default();
        self.shared_meter = Meter::default();
        self.shared_name = 0;
        self.outgoing = Quality::default();
        self.round_trip = None;
        self.last_heard = None;
        self.asked = None;
        if !self.is_resting() {
            self.state = PathState::Dead;
        }
        self.direction = None;
    }

    fn forget_evidence(&mut self) {
        self.good = 0;
        self.evidence = None;
        self.echoed = None;
        self.covered = None;
    }

    /// The smoothed round trip, or a careful guess before the first echo.
    pub(crate) fn smoothed(&self) -> Duration {
        self.round_trip.map_or(Duration::from_millis(50), |trip| {
            Duration::from_micros(u64::from(trip.average))
        })
    }
}
