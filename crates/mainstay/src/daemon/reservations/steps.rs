//! From what a disk says of its keys to the next thing to do. Pure.
//!
//! After each step the disk is asked again, so that what is concluded is what it says and not what should
//! have come of the step; others may have done something meanwhile.

use std::collections::BTreeMap;

use os::reservation::{Key, Kind, State};

/// Whoever is registered writes, everybody reads.
const KIND: Kind = Kind::WriteExclusive;

/// Whose key is whose.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Keys {
    /// This node's.
    pub(in crate::daemon) own: Key,
    /// The names of the nodes, by number.
    pub(in crate::daemon) names: BTreeMap<u8, String>,
}

impl Keys {
    /// Whose key it is, for people.
    pub(super) fn whose(&self, key: Key) -> String {
        match key.node() {
            Some((cluster, node)) if Some(cluster) == self.cluster() => {
                self.names.get(&node).cloned().unwrap_or_else(|| format!("node {node}"))
            }
            Some((cluster, node)) => format!("node {node} of cluster {cluster}"),
            None => "somebody else".to_owned(),
        }
    }

    fn cluster(&self) -> Option<u32> {
        self.own.node().map(|(cluster, _)| cluster)
    }

    fn is_ours(&self, key: Key) -> bool {
        key.node().map(|(cluster, _)| cluster) == self.cluster()
    }
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Register our key, in the place of the one that this node has there.
    Register { former: Option<Key> },
    /// Take that key away, and with it the reservation if it has that.
    Preempt(Key),
    /// Reserve the disk.
    Reserve,
    /// Give up our reservation of that kind.
    Release(Kind),
    /// Take our key away.
    Unregister,
    /// Keep the reservation under the key that says that we do not use it.
    Park,
    /// Nothing.
    Done,
    /// It is not ours to take: a sentence with its mend.
    Refused(String),
}

/// What the disk is told to do, in the words of `writers::question`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) word: &'static str,
    pub(super) keys: Vec<Key>,
    /// Of the reservation that is given up; what is reserved is always of ours.
    pub(super) kind: Option<Kind>,
}

/// How a step is made. All but a first registration name the key that must stand there, so whoever was
/// pre-empted meanwhile is refused by the disk.
pub(super) fn call(step: &Step, own: Key) -> Call {
    let (word, keys, kind) = match step {
        Step::Register { former: None } => ("register", vec![own], None),
        Step::Register { former: Some(former) } => ("replace", vec![*former, own], None),
        Step::Preempt(other) => ("preempt", vec![own, *other], None),
        Step::Reserve => ("reserve", vec![own], None),
        Step::Release(kind) => ("release", vec![own], Some(*kind)),
        Step::Unregister => ("unregister", vec![own], None),
        Step::Park => ("replace", vec![own, own.parked()], None),
        Step::Done | Step::Refused(_) => unreachable!("nothing is to be done"),
    };
    Call { word, keys, kind }
}

/// Whether the disk is nobody's.
pub(super) fn is_free(state: &State) -> bool {
    state.keys.is_empty() && state.held.is_none()
}

/// Towards a disk on which our key is the only one and has the reservation.
pub(super) fn take(state: &State, keys: &Keys) -> Step {
    let own = keys.own;
    let holder = state.held.map(|(key, _)| key);
    if let Some(stranger) = state.keys.iter().copied().chain(holder).find(|key| !keys.is_ours(*key))
    {
        return Step::Refused(format!(
            "{} has registered with it ({stranger}): if nothing of that uses it any more, \
             `mainstay reservation clear` it",
            keys.whose(stranger)
        ));
    }
    let has = |key: Key| state.keys.contains(&key);
    if !has(own) {
        return Step::Register { former: Some(own.parked()).filter(|parked| has(*parked)) };
    }
    // A holder without a key of its own is none that a disk should know; it goes like any other.
    let other = state.keys.iter().copied().chain(holder).find(|key| *key != own);
    match (other, state.held) {
        (Some(other), _) => Step::Preempt(other),
        (None, None) => Step::Reserve,
        (None, Some((_, kind))) if kind == KIND => Step::Done,
        (None, Some((_, kind))) => Step::Release(kind),
    }
}

/// Towards a disk that this node does not use.
pub(super) fn give_back(state: &State, own: Key, was_free: bool) -> Step {
    if !state.keys.contains(&own) {
        return Step::Done;
    }
    match state.held {
        Some((key, kind)) if key == own && was_free => Step::Release(kind),
        Some((key, _)) if key == own => Step::Park,
        _ => Step::Unregister,
    }
}

/// Why the disk is not this node's any more.
pub(super) fn lost(state: &State, keys: &Keys) -> Option<String> {
    let own = keys.own;
    match state.held {
        Some((key, kind)) if key == own && kind == KIND && state.keys.contains(&own) => None,
        Some((key, _)) if key == own => {
            Some("is reserved in another way than by this node's agent".to_owned())
        }
        Some((key, _)) => Some(format!("is lost: {} has it ({key})", keys.whose(key))),
        None => Some("is reserved no more: somebody has cleared it".to_owned()),
    }
}

/// Whether this node has the disk, in use.
pub(super) fn is_held(state: &State, keys: &Keys) -> bool {
    lost(state, keys).is_none()
}
