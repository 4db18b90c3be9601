//! Who decides when exactly half of a view is left.
//!
//! A view's successor needs more than half of the view's members. At exactly half the silent
//! half may be dead or may be cut off and just as well; no observation tells them apart. A
//! tie-breaker is one more acceptor that counts only then, so that two halves can never both go
//! on. `prefer` sits in one of the members, `manual` is a person's word, and **arbiters** are
//! acceptors with a memory of their own outside the members (`arbiter`): one, or three of which two
//! must agree.
//!
//! Which tie-breaker a view has is part of the view. If each member took it from its own
//! configuration, a change of it that is delivered here and not yet there would give both halves a
//! vote.

use base::{NodeSet, Tie, View};

/// What some members of a view may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// Decide on the successor.
    Granted,
    /// Not decide, or not yet.
    Denied,
    /// Decide together with more than half of the arbiters.
    WithArbiters,
}

/// What `present` of the members of `view` may do. `down` are the nodes that a person has declared
/// dead. Two disjoint sets are never both granted, and both with arbiters only where these can
/// choose between them.
#[must_use]
pub fn vote(view: &View, present: NodeSet, down: NodeSet) -> Vote {
    let present = present.intersection(view.nodes());
    match (2 * present.len()).cmp(&view.members.len()) {
        core::cmp::Ordering::Greater => return Vote::Granted,
        core::cmp::Ordering::Less => return Vote::Denied,
        core::cmp::Ordering::Equal => {}
    }
    let granted = match view.tie {
        // The half with that node may have gone on alone and recorded it. So no word about
        // its death helps the other half: it has to be seeded anew.
        Tie::Prefer(node) => present.contains(node),
        // Every quorum of the past shares a member with exactly half, and the dead vote no
        // more.
        Tie::None | Tie::Manual => view.nodes().difference(present).is_subset(down),
        // The arbiters may have let the other half go on before it died.
        Tie::Arbiters { .. } => return Vote::WithArbiters,
    };
    if granted { Vote::Granted } else { Vote::Denied }
}

/// What a half that was denied waits for, for people.
pub(crate) fn waits_for(tie: Tie) -> &'static str {
    match tie {
        Tie::None => "no tie-breaker is configured",
        Tie::Manual => "a person must decide",
        Tie::Prefer(_) => "the preferred node is on the other side",
        Tie::Arbiters { .. } => "the tie-breaker has not decided for this half",
    }
}
