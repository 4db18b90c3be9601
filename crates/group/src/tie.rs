//! Who decides when exactly half of a view is left.
//!
//! A view's successor needs more than half of the view's members. At exactly half the silent
//! half may be dead or may be cut off and just as well; no observation tells them apart. A
//! tie-breaker is one more acceptor that counts only then, so that two halves can never both go
//! on. Those built in here hold no memory of their own: `none` never votes, `prefer` sits in one
//! of the members, `manual` is a person's word.

use base::{NodeId, NodeSet, View};

/// What a tie-breaker says when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// This half goes on.
    Granted,
    /// This half must not go on, or not yet.
    Denied,
}

/// One more acceptor that counts only at exactly half.
pub trait TieBreaker: core::fmt::Debug {
    /// Whether `half` of the members of `view` may go on without the others. `down` are the nodes
    /// that a person has declared dead. Must never grant both halves of one view.
    fn vote(&self, view: &View, half: NodeSet, down: NodeSet) -> Vote;

    /// What a half that was denied waits for, for people.
    fn waits_for(&self) -> &'static str;
}

/// The tie-breakers of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tie {
    /// Nobody: safe, not available. A person can still confirm that the others are down.
    #[default]
    None,
    /// A person, asked for in words.
    Manual,
    /// The half with this node goes on.
    Prefer(NodeId),
}

impl TieBreaker for Tie {
    fn vote(&self, view: &View, half: NodeSet, down: NodeSet) -> Vote {
        let granted = match *self {
            // The half with that node may have gone on alone and recorded it. So no word about
            // its death helps the other half: it has to be seeded anew.
            Tie::Prefer(node) => half.contains(node),
            // Every quorum of the past shares a member with exactly half, and the dead vote no
            // more.
            Tie::None | Tie::Manual => view.nodes().difference(half).is_subset(down),
        };
        if granted { Vote::Granted } else { Vote::Denied }
    }

    fn waits_for(&self) -> &'static str {
        match self {
            Tie::None => "no tie-breaker is configured",
            Tie::Manual => "a person must decide",
            Tie::Prefer(_) => "the preferred node is on the other side",
        }
    }
}

/// Whether `present` of the members of `view` may decide its successor.
pub(crate) fn is_quorum(
    tie: &dyn TieBreaker,
    view: &View,
    present: NodeSet,
    down: NodeSet,
) -> bool {
    let present = present.intersection(view.nodes());
    match (2 * present.len()).cmp(&view.members.len()) {
        core::cmp::Ordering::Greater => true,
        core::cmp::Ordering::Equal => tie.vote(view, present, down) == Vote::Granted,
        core::cmp::Ordering::Less => false,
    }
}
