//! One heartbeat for everybody on a wire.
//!
//! Think of a roll call: instead of telling each neighbour alone, one says once, for all to hear,
//! "this is what I am; and of you I heard n2 at that word of yours, n3 at that one". Where the medium
//! carries a frame to all (UDP multicast and broadcast, Ethernet), a cluster of N nodes so needs N
//! frames an interval and not N².
//!
//! - What is the same for all is said once: report, row, stamp. The rest is a table of **echoes**,
//!   one for each peer heard here. So the echo rule stands as it is: whoever finds a recent stamp of
//!   its own life in the table knows that both directions work, and whoever finds none knows that it
//!   is not heard.
//! - A table that is too long goes on in a second frame, and so on, all of one **round**. Frames stay
//!   within `HEARTBEAT_SIZE_MAX`. The report stands in the first one, and only while somebody who
//!   hears us does not know it.
//! - Only stamps of *shared* heartbeats are echoed in them. An echo that came back so proves that the
//!   peer hears what is for all. As long as it does, and there is nothing to tell it alone, it gets
//!   no heartbeat of its own: it is **covered**.
//! - To everybody else who is heard goes a heartbeat as on any network, together with the round: to
//!   peers that do not hear the shared one (a switch that filters multicast in one direction), that
//!   are not connected yet at both ends, that have begun another life, or to which another path does
//!   not work. A peer that is not heard gets none: the shared one is its invitation.
//!
//! Data, acknowledgements and urgent messages go to one peer, here as everywhere.
//!
//! ```text
//!  sealed body; the clear header has kind 4 and destination 0, and counts for itself
//!  0             8       16    32      48     52         56       58
//!  | incarnation | stamp | row | heard | name | evidence | length | report … | echoes …
//!
//!  an echo, 17 bytes
//!  0      1       2      5     9      17
//!  | node | state | held | tag | echo |
//! ```
//!
//! - `heard`: the nodes that the sender heard on this network within the timeout.
//! - `name`, `evidence`, `length`, `report`, `tag`, `echo`: as in the heartbeat to one peer (`wire.rs`).
//! - `held`: microseconds since that stamp came, at most 2²⁴ - 1.
//! - `state`: bit 7, the sender has the report that the echoed frame named; bits 0 to 6, the percent
//!   of shared frames of that node that were lost.
//!
//! Source: LLT and HACMP send one heartbeat to all on a link; the table of echoes is what the echo
//! rule of the protocol paper (§3.2) makes of it.

use core::time::Duration;

use base::codec::{Malformed, Reader};
use base::limits::{HEARTBEAT_SIZE_MAX, REPORT_SIZE_MAX};
use base::{Incarnation, Instant, NetworkId, NodeId, NodeSet};

use crate::Transport;
use crate::local::Local;
use crate::path::Moment;
use crate::peer::Peer;
use crate::seal::TAG_SIZE;
use crate::wire::{HEADER_SIZE, LEFT_OUT, Proof, decode_age, encode_age, report_name};

/// Bytes of an echo.
pub(crate) const ECHO_SIZE: usize = 17;
/// Bytes in front of the report.
pub(crate) const FIXED_SIZE: usize = 58;
/// Echoes of one frame without a report.
pub(crate) const ECHOES_MAX: usize =
    (HEARTBEAT_SIZE_MAX - HEADER_SIZE - FIXED_SIZE - TAG_SIZE) / ECHO_SIZE;
const _: () = assert!(ECHOES_MAX >= 60, "60 peers are one frame");
const _: () = assert!(
    HEADER_SIZE + FIXED_SIZE + REPORT_SIZE_MAX + ECHO_SIZE + TAG_SIZE <= HEARTBEAT_SIZE_MAX,
    "a frame with a report has room for an echo"
);
const HELD_MAX: u32 = (1 << 24) - 1;
const KNOWS: u8 = 0x80;

/// The sending of shared heartbeats on one network.
#[derive(Debug)]
pub(crate) struct Round {
    /// Frames sent, which is the next one's counter. Never starts again in a life.
    pub(crate) counter: u64,
    /// When the next one is due; never while nobody wants it.
    pub(crate) due: Instant,
    sent: Option<Instant>,
}

impl Round {
    /// None is due before it is wanted.
    pub(crate) const fn new() -> Round {
        Round { counter: 0, due: Instant::FAR, sent: None }
    }

    /// The network has shared heartbeats, or has none any more.
    pub(crate) fn set(&mut self, now: Instant, is_wanted: bool) {
        self.due = match (is_wanted, self.due == Instant::FAR) {
            (true, true) => now,
            (true, false) => self.due,
            (false, _) => Instant::FAR,
        };
    }

    /// The next one leaves at once, unless the last one left `pause` ago or less.
    fn hurry(&mut self, now: Instant, pause: Duration) {
        if self.due != Instant::FAR {
            let earliest = self.sent.map_or(now, |sent| (sent + pause).max(now));
            self.due = self.due.min(earliest);
        }
    }
}

/// What a shared heartbeat says to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Echo {
    pub(crate) node: NodeId,
    /// The sender has the report that the echoed frame named.
    pub(crate) knows: bool,
    /// Percent.
    pub(crate) loss: u8,
    /// Microseconds.
    pub(crate) held: u32,
    pub(crate) tag: [u8; 4],
    pub(crate) echo: u64,
}

impl Echo {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.node.0, self.loss.min(100) | u8::from(self.knows) << 7]);
        out.extend_from_slice(&self.held.min(HELD_MAX).to_be_bytes()[1..]);
        out.extend_from_slice(&self.tag);
        out.extend_from_slice(&self.echo.to_be_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Echo, Malformed> {
        let [node, state, a, b, c] = reader.array()?;
        let loss = state & !KNOWS;
        if loss > 100 {
            return Err(Malformed);
        }
        Ok(Echo {
            node: NodeId(node),
            knows: state & KNOWS != 0,
            loss,
            held: u32::from_be_bytes([0, a, b, c]),
            tag: reader.array()?,
            echo: reader.u64()?,
        })
    }
}

/// The body of a shared heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedHeartbeat<'a> {
    pub(crate) incarnation: Incarnation,
    pub(crate) stamp: u64,
    pub(crate) row: NodeSet,
    pub(crate) heard: NodeSet,
    pub(crate) name: u32,
    pub(crate) evidence_age: Option<Duration>,
    /// None when everybody knows it, or it stands in another frame of the round.
    pub(crate) report: Option<&'a [u8]>,
}

impl<'a> SharedHeartbeat<'a> {
    /// What it proves, as a heartbeat to one peer says it. Channels are no matter of everybody.
    pub(crate) fn proof(&self, entry: Option<Echo>) -> Proof {
        let proof = Proof { incarnation: self.incarnation, stamp: self.stamp, ..Proof::default() };
        entry.map_or(proof, |Echo { tag, echo, held, .. }| Proof { tag, echo, held, ..proof })
    }

    /// All in front of the echoes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.incarnation.0.to_be_bytes());
        out.extend_from_slice(&self.stamp.to_be_bytes());
        out.extend_from_slice(&self.row.bits().to_be_bytes());
        out.extend_from_slice(&self.heard.bits().to_be_bytes());
        out.extend_from_slice(&self.name.to_be_bytes());
        encode_age(self.evidence_age, out);
        let length = |report: &[u8]| u16::try_from(report.len()).expect("it was checked when set");
        out.extend_from_slice(&self.report.map_or(LEFT_OUT, length).to_be_bytes());
        out.extend_from_slice(self.report.unwrap_or_default());
    }

    /// The body, and what it says to `local`. All of it is checked.
    pub(crate) fn decode(
        mut reader: Reader<'a>,
        local: NodeId,
    ) -> Result<(SharedHeartbeat<'a>, Option<Echo>), Malformed> {
        let incarnation = Incarnation(reader.u64()?);
        let stamp = reader.u64()?;
        let (row, heard) = (NodeSet::from_bits(reader.u128()?), NodeSet::from_bits(reader.u128()?));
        let name = reader.u32()?;
        let evidence_age = decode_age(&mut reader)?;
        let report = match reader.u16()? {
            LEFT_OUT => None,
            length if usize::from(length) <= REPORT_SIZE_MAX => {
                Some(reader.take(usize::from(length))?)
            }
            _ => return Err(Malformed),
        };
        if report.is_some_and(|report| name != report_name(report)) {
            return Err(Malformed);
        }
        let mut own = None;
        while !reader.clone().rest().is_empty() {
            let echo = Echo::decode(&mut reader)?;
            if echo.node == local && own.replace(echo).is_some() {
                return Err(Malformed);
            }
        }
        Ok((SharedHeartbeat { incarnation, stamp, row, heard, name, evidence_age, report }, own))
    }
}

impl Peer {
    /// What a shared heartbeat says to this peer: nothing when none of its own came lately.
    fn shared_echo(&self, at: Moment, local: &Local, network: NetworkId) -> Option<Echo> {
        let session = self.current.as_ref().filter(|_| !self.ended)?;
        let path = self.path(network)?;
        let (echo, held) = session.shared_echo(at.now, network);
        if echo == 0 || Duration::from_micros(held.into()) > path.timeout(&local.timing) {
            return None;
        }
        let percent = path.shared_meter.quality.loss_permille.div_ceil(10);
        Some(Echo {
            node: self.node,
            knows: path.shared_name == self.report_name && self.report_name != 0,
            loss: u8::try_from(percent).expect("at most a thousand permille"),
            held,
            tag: session.tag(),
            echo,
        })
    }

    /// Whether a heartbeat to this peer alone goes with the round.
    fn wants_own(&self, at: Moment, local: &Local, network: NetworkId) -> bool {
        let Some(path) = self.path(network) else { return false };
        // Only a frame to it alone tells the peer our end of the channel, until it says that it
        // reaches us.
        let is_covered = self.connected
            && self.row().contains(local.node)
            && path.is_covered(at, &local.timing)
            && self.paths.iter().all(|path| path.is_alive() || path.is_resting());
        let is_candidate = self.candidate.is_some() && !self.has_twin(at, &local.timing);
        is_candidate || path.hears(at, &local.timing) && !is_covered
    }
}

impl Transport {
    /// When the next shared heartbeat of any network is due.
    pub(crate) fn round_due(&self) -> Option<Instant> {
        self.local.rounds.values().map(|round| round.due).filter(|due| *due != Instant::FAR).min()
    }

    /// The next round on a network, or on all, leaves at once if the last one was not just now.
    pub(crate) fn hurry_rounds(&mut self, now: Instant, only: Option<NetworkId>) {
        let pause = self.local.timing.heartbeat_high / 4;
        let rounds = self.local.rounds.iter_mut();
        rounds
            .filter(|(network, _)| only.is_none_or(|only| only == **network))
            .for_each(|(_, round)| round.hurry(now, pause));
    }

    /// Networks begin and end to have shared heartbeats with the paths that want them.
    pub(crate) fn set_rounds(&mut self, now: Instant) {
        let paths = self.peers.iter().flat_map(|peer| &peer.paths);
        for path in paths.clone().filter(|path| path.is_shared) {
            self.local.rounds.entry(path.id.network).or_insert(const { Round::new() });
        }
        for (network, round) in &mut self.local.rounds {
            round.set(now, paths.clone().any(|path| path.is_shared && path.id.network == *network));
        }
    }

    /// Sends what is due for all, and makes due what goes to single peers with it.
    pub(crate) fn send_rounds(&mut self, at: Moment) {
        let mut next = None;
        loop {
            let from = next.map_or(core::ops::Bound::Unbounded, core::ops::Bound::Excluded);
            let mut rounds = self.local.rounds.range((from, core::ops::Bound::Unbounded));
            let Some((&network, round)) = rounds.next() else { return };
            next = Some(network);
            if round.due <= at.now {
                self.send_round(at, network);
            }
        }
    }

    fn send_round(&mut self, at: Moment, network: NetworkId) {
        let (peers, local) = (&mut self.peers, &mut self.local);
        let mut heard = NodeSet::EMPTY;
        let mut is_known = true;
        let mut interval = Duration::MAX;
        for peer in peers.iter_mut() {
            let Some(path) = peer.path(network) else { continue };
            interval = interval.min(path.interval(&local.timing, peer.is_promoted()));
            if path.hears(at, &local.timing) {
                heard.insert(peer.node);
                is_known &= peer.knows == local.report_name;
            }
            if peer.wants_own(at, local, network) {
                peer.make_due(at, &local.timing, network);
            }
        }
        let body = SharedHeartbeat {
            incarnation: local.incarnation,
            stamp: at.now.as_nanos(),
            row: local.row,
            heard,
            name: local.report_name,
            evidence_age: local.evidence.map(|evidence| at.now.since(evidence)),
            report: None,
        };
        let mut place = 0;
        let mut is_first = true;
        while is_first || place < peers.len() {
            let mut frame = local.start_shared(network);
            let report = (is_first && !is_known).then_some(&*local.report);
            SharedHeartbeat { report, ..body }.encode(&mut frame.bytes);
            let mut room = (HEARTBEAT_SIZE_MAX - TAG_SIZE - frame.bytes.len()) / ECHO_SIZE;
            while let (true, Some(peer)) = (room > 0, peers.get(place)) {
                place += 1;
                if let Some(echo) = peer.shared_echo(at, local, network) {
                    echo.encode(&mut frame.bytes);
                    room -= 1;
                }
            }
            // Nobody is left to whom another frame would say something.
            let says = |peer: &Peer| peer.shared_echo(at, local, network).is_some();
            place += peers[place..].iter().take_while(|peer| !says(peer)).count();
            local.transmit_shared(network, frame);
            is_first = false;
        }
        // A little early each time, so that the nodes of a cluster do not beat in step.
        let interval = interval - local.prng.duration(Duration::ZERO..=interval / 16);
        let round = local.rounds.get_mut(&network).expect("it was due");
        round.sent = Some(at.now);
        round.due = at.now + interval;
    }
}
