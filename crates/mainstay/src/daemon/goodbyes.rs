//! The frames that the guard sends when this daemon is dead: peers learn that its life is over and
//! need not wait out its silence.
//!
//! They are sealed once for each life and for each list of peers. Where they leave from and go to may
//! change meanwhile: a name leads to another address, a link-local address comes to another
//! interface, the first picture of the interfaces comes after the first frames. So the frames stay
//! here, and the guard gets them anew whenever their ways are other ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base::{Incarnation, NodeId};
use os::shared::{GOODBYES_MAX, Goodbye};
use transport::PathId;

/// The sealed frames of this life, and what the guard has of them.
#[derive(Default)]
pub(super) struct Goodbyes {
    life: Option<Incarnation>,
    frames: Vec<(PathId, Vec<u8>)>,
    /// None when it has those of another life or list of peers.
    given: Option<Vec<Goodbye>>,
}

impl Goodbyes {
    /// Other frames, those of this life; the guard has none of them.
    pub(super) fn replace(&mut self, life: Incarnation, frames: Vec<(PathId, Vec<u8>)>) {
        self.life = Some(life);
        self.frames = each_peer_first(frames);
        self.given = None;
    }

    /// What the guard must be given, where that is something else than what it has. `route` says where
    /// a path's frame leaves from and goes to, if that is known.
    pub(super) fn due(
        &mut self,
        route: impl Fn(PathId) -> Option<(SocketAddr, SocketAddr)>,
    ) -> Option<(Incarnation, &[Goodbye])> {
        let life = self.life?;
        let routed = self.frames.iter().filter_map(|(path, frame)| Some((route(*path)?, frame)));
        let routed = routed.take(GOODBYES_MAX);
        let goodbyes: Vec<Goodbye> = routed
            .map(|((source, destination), frame)| {
                let frame = frame.clone();
                Goodbye { source, destination, frame }
            })
            .collect();
        if self.given.as_ref() == Some(&goodbyes) {
            return None;
        }
        Some((life, self.given.insert(goodbyes)))
    }
}

/// The frames for the guard, in an order of which a beginning serves everybody: the first to each
/// peer, then the second, and so on. A large cluster with many networks has more than the guard
/// takes; a peer needs only one of its.
fn each_peer_first(frames: Vec<(PathId, Vec<u8>)>) -> Vec<(PathId, Vec<u8>)> {
    let mut counts: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut ranked: Vec<_> = frames
        .into_iter()
        .map(|frame| {
            let count = counts.entry(frame.0.peer).or_default();
            *count += 1;
            (*count, frame)
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, frame)| frame).collect()
}

#[cfg(test)]
mod tests;
