//! The lives of peers as seen in their frames: keys, replay windows, and what to echo.
//!
//! Each life of a node draws a random session that stands in the clear in all its frames. The key
//! follows from it (`seal.rs`), so that any frame can be opened without a handshake; it is derived
//! once and kept. Sessions of which nothing is known yet cost a derivation each, so at most
//! [`STRANGERS_MAX`] of them are kept, the oldest making room: a sender without the cluster key
//! can fill that table and nothing else.
//!
//! The replay window is that of RFC 4303 §3.4.3 in the form of RFC 6479: one bit for each of the
//! last [`REPLAY_WINDOW`] counters, per session and network (and for frames to everybody on their own),
//! advanced only by authentic frames.

use std::collections::VecDeque;

use base::{Incarnation, Instant, NetworkId, NodeId};

use crate::seal::Key;
use crate::wire::{Header, Kind};

/// Sessions of unknown standing whose keys are kept.
pub(crate) const STRANGERS_MAX: usize = 64;
/// Frames by which one may come late.
pub(crate) const REPLAY_WINDOW: u64 = 2_048;

const WORDS: u64 = REPLAY_WINDOW / 64;

/// The cluster's two key slots, and its number.
#[derive(Clone, Copy)]
pub(crate) struct ClusterKeys {
    pub(crate) cluster: u32,
    pub(crate) slots: [Option<[u8; 32]>; 2],
}

impl core::fmt::Debug for ClusterKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ClusterKeys").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// The keys of one session, derived when first needed.
#[derive(Debug)]
pub(crate) struct SessionKeys {
    pub(crate) node: NodeId,
    pub(crate) id: [u8; 16],
    slots: [Option<Key>; 2],
}

impl SessionKeys {
    pub(crate) const fn new(node: NodeId, id: [u8; 16]) -> SessionKeys {
        SessionKeys { node, id, slots: [None, None] }
    }

    /// The key of a slot; none when the cluster has no key there.
    pub(crate) fn key(&mut self, cluster: &ClusterKeys, slot: u8) -> Option<&Key> {
        let slot = usize::from(slot);
        let cluster_key = cluster.slots[slot].as_ref()?;
        let (id, node) = (&self.id, self.node);
        Some(
            self.slots[slot]
                .get_or_insert_with(|| Key::derive(cluster_key, id, cluster.cluster, node)),
        )
    }

    /// The cluster's key in that slot is another one now.
    pub(crate) fn forget(&mut self, slot: usize) {
        self.slots[slot] = None;
    }
}

/// Sessions of unknown standing: foreign, forged, of earlier lives, or about to be candidates.
#[derive(Debug, Default)]
pub(crate) struct Strangers(VecDeque<SessionKeys>);

impl Strangers {
    pub(crate) fn get(&mut self, node: NodeId, id: [u8; 16]) -> &mut SessionKeys {
        let place = match self.0.iter().position(|known| known.node == node && known.id == id) {
            Some(place) => place,
            None => {
                if self.0.len() == STRANGERS_MAX {
                    self.0.pop_front();
                }
                self.0.push_back(SessionKeys::new(node, id));
                self.0.len() - 1
            }
        };
        &mut self.0[place]
    }

    /// Takes a session out that is not strange any more.
    pub(crate) fn take(&mut self, node: NodeId, id: [u8; 16]) -> SessionKeys {
        let place = self.0.iter().position(|known| known.node == node && known.id == id);
        place.and_then(|place| self.0.remove(place)).unwrap_or_else(|| SessionKeys::new(node, id))
    }

    /// Takes a session in that turned out to be strange after all.
    pub(crate) fn keep(&mut self, keys: Option<SessionKeys>) {
        if self.0.len() == STRANGERS_MAX {
            self.0.pop_front();
        }
        self.0.extend(keys);
    }

    pub(crate) fn forget(&mut self, slot: usize) {
        self.0.iter_mut().for_each(|keys| keys.forget(slot));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Which counters were received.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// One more than the greatest counter received; zero before the first.
    end: u64,
    bits: Box<[u64; WORDS as usize]>,
}

impl Window {
    pub(crate) fn new() -> Window {
        Window { end: 0, bits: Box::new([0; WORDS as usize]) }
    }

    /// Whether a frame with this counter may be looked at.
    pub(crate) fn is_new(&self, counter: u64) -> bool {
        if counter >= self.end {
            // The last counter has no successor; no sender lives long enough to reach it.
            return counter != u64::MAX;
        }
        // One word less than the window, because the newest word is cleared as a whole.
        self.end - counter <= REPLAY_WINDOW - 64 && !self.has(counter)
    }

    /// Notes an authentic frame; only after [`Window::is_new`] said so.
    pub(crate) fn insert(&mut self, counter: u64) {
        debug_assert!(self.is_new(counter));
        if counter >= self.end {
            let newest = self.end.checked_sub(1).map_or(0, |newest| newest / 64 + 1);
            let wanted = counter / 64;
            for word in (newest..=wanted).rev().take(WORDS as usize) {
                self.bits[(word % WORDS) as usize] = 0;
            }
            self.end = counter + 1;
        }
        self.bits[(counter / 64 % WORDS) as usize] |= 1 << (counter % 64);
    }

    fn has(&self, counter: u64) -> bool {
        self.bits[(counter / 64 % WORDS) as usize] & 1 << (counter % 64) != 0
    }
}

/// What came over one network in one session.
#[derive(Debug)]
struct Arrivals {
    network: NetworkId,
    /// Frames to everybody count for themselves.
    is_shared: bool,
    window: Window,
    /// The newest stamp of the sender, and when it came. Zero: none yet.
    stamp: u64,
    came: Instant,
}

impl Arrivals {
    fn is(&self, network: NetworkId, is_shared: bool) -> bool {
        self.network == network && self.is_shared == is_shared
    }

    fn echo(&self, now: Instant) -> (u64, u32) {
        let held = now.since(self.came).as_micros();
        (self.stamp, u32::try_from(held).unwrap_or(u32::MAX))
    }
}

/// One life of a peer.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) incarnation: Incarnation,
    pub(crate) keys: SessionKeys,
    /// When it was first heard.
    pub(crate) since: Instant,
    /// When any authentic frame of it came last.
    pub(crate) heard: Instant,
    /// By network; kept when a path is removed, so that nothing can be replayed when it returns.
    arrivals: Vec<Arrivals>,
}

impl Session {
    pub(crate) fn new(incarnation: Incarnation, keys: SessionKeys, now: Instant) -> Session {
        Session { incarnation, keys, since: now, heard: now, arrivals: Vec::new() }
    }

    pub(crate) fn id(&self) -> &[u8; 16] {
        &self.keys.id
    }

    /// What names this life in frames that are meant for it.
    pub(crate) fn tag(&self) -> [u8; 4] {
        tag(&self.keys.id)
    }

    pub(crate) fn is_new(&self, header: &Header) -> bool {
        let &Header { network, kind, counter, .. } = header;
        self.arrivals
            .iter()
            .find(|arrivals| arrivals.is(network, kind == Kind::Shared))
            .is_none_or(|arrivals| arrivals.window.is_new(counter))
    }

    /// Notes an authentic frame that is new.
    pub(crate) fn received(&mut self, now: Instant, header: &Header, stamp: u64) {
        self.heard = now;
        let &Header { network, kind, counter, .. } = header;
        let is_shared = kind == Kind::Shared;
        let place = match self.arrivals.iter().position(|known| known.is(network, is_shared)) {
            Some(place) => place,
            None => {
                let window = Window::new();
                self.arrivals.push(Arrivals { network, is_shared, window, stamp: 0, came: now });
                self.arrivals.len() - 1
            }
        };
        let arrivals = &mut self.arrivals[place];
        arrivals.window.insert(counter);
        if stamp > arrivals.stamp {
            arrivals.stamp = stamp;
            arrivals.came = now;
        }
    }

    /// The newest stamp that came over a network, and the microseconds since then.
    pub(crate) fn echo(&self, now: Instant, network: NetworkId) -> (u64, u32) {
        let here = self.arrivals.iter().filter(|known| known.network == network);
        here.max_by_key(|known| known.stamp).map_or((0, 0), |known| known.echo(now))
    }

    /// The same of frames to everybody.
    pub(crate) fn shared_echo(&self, now: Instant, network: NetworkId) -> (u64, u32) {
        let known = self.arrivals.iter().find(|known| known.is(network, true));
        known.map_or((0, 0), |known| known.echo(now))
    }
}

/// The four bytes that name a session in echoes.
pub(crate) fn tag(session: &[u8; 16]) -> [u8; 4] {
    [session[0], session[1], session[2], session[3]]
}
