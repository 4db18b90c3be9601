//! A disk that is an acceptor: what each node's block on it says, and what a reader makes of all.
//!
//! Disk Paxos (Gafni and Lamport, 2003; `models/src/disk.rs` has the rules as a checked model): a
//! disk cannot answer, so each coordinator plays the acceptor itself. It writes its own block, and
//! reads those of all others *after* that write has landed; of two that do so, at least one sees
//! the other.
//!
//! ```text
//!  read own block ─► Memory::take ─► write it ─► force it out ─► read all others ─► judge
//!                         └─ no: the answer, nothing is written
//! ```
//!
//! A memory holds one election for each lineage, as [`crate::Acceptor`] does. Elections of other
//! lineages and of earlier generations are no news; a later generation of the same lineage says that
//! the asking view is over. How a memory stands on a device is the driver's business, which also
//! must do these steps in this order, take any error for no answer, and never go on with less than
//! it has written.

use minicbor::{Decode, Encode};

use crate::arbiter::{Accepted, Answer, LINEAGES_MAX, Reply, Request, VALUE_SIZE_MAX};
use crate::wire::{Ballot, Scope};

/// What a node remembers on the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Memory {
    /// The last used last; one for each lineage.
    #[n(0)]
    elections: Vec<Election>,
}

/// The election of the successor of one view, as one coordinator has written it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Election {
    #[n(0)]
    scope: Scope,
    /// `mbal` of the paper.
    #[n(1)]
    promised: Ballot,
    /// `bal` and `inp`.
    #[n(2)]
    accepted: Option<Accepted>,
}

impl Memory {
    fn election(&self, scope: Scope) -> Option<&Election> {
        self.elections.iter().find(|it| it.scope.lineage == scope.lineage)
    }

    /// Makes room: forgets the election that was used longest ago.
    ///
    /// # Panics
    /// When no other one would be left.
    pub fn forget_oldest(&mut self) {
        assert!(self.elections.len() > 1, "the newest election stays");
        self.elections.remove(0);
    }

    /// Takes a request into the own block, to be written before anything else is done.
    ///
    /// # Errors
    /// The answer, where the own block says already that the answer is no.
    pub fn take(&mut self, request: &Request) -> Result<(), Answer> {
        let Request { scope, ballot, ref value, .. } = *request;
        assert!(value.as_ref().is_none_or(|value| value.len() <= VALUE_SIZE_MAX), "values fit");
        if let Some(no) = self.refusal(request) {
            return Err(no);
        }
        let former = self.election(scope).filter(|it| it.scope == scope);
        let accepted = match value {
            Some(value) => Some(Accepted { ballot, value: value.clone() }),
            None => former.and_then(|it| it.accepted.clone()),
        };
        self.elections.retain(|it| it.scope.lineage != scope.lineage);
        if self.elections.len() == LINEAGES_MAX {
            self.elections.remove(0);
        }
        self.elections.push(Election { scope, promised: ballot, accepted });
        Ok(())
    }

    /// Whether this block forbids to go on: a later generation, or a greater ballot.
    fn refusal(&self, request: &Request) -> Option<Answer> {
        let election = self.election(request.scope)?;
        let (asked, found) = (request.scope.generation, election.scope.generation);
        if found > asked {
            return Some(Answer::Past(found));
        }
        let is_greater = found == asked && election.promised > request.ballot;
        is_greater.then_some(Answer::Refused(election.promised))
    }
}

/// The acceptor's answer. `own` has taken the request, and was on the disk before any of `others`
/// was read.
#[must_use]
pub fn judge<'a>(
    own: &'a Memory,
    others: impl Iterator<Item = &'a Memory> + Clone,
    request: &Request,
) -> Reply {
    let Request { scope, ballot, ref value, .. } = *request;
    let rank = |answer: &Answer| match answer {
        Answer::Past(generation) => (1, *generation, Ballot::default()),
        Answer::Refused(ballot) => (0, 0, *ballot),
        Answer::Promised(_) | Answer::Accepted => unreachable!("a refusal is none of these"),
    };
    let refusals = others.clone().filter_map(|memory| memory.refusal(request));
    let answer = match (refusals.max_by_key(rank), value) {
        (Some(no), _) => no,
        (None, Some(_)) => Answer::Accepted,
        (None, None) => {
            let all = others.chain([own]).filter_map(|memory| memory.election(scope));
            let accepted = all.filter(|it| it.scope == scope).filter_map(|it| it.accepted.as_ref());
            Answer::Promised(accepted.max_by_key(|it| it.ballot).cloned())
        }
    };
    Reply { arbiters: request.arbiters, scope, ballot, answer }
}

#[cfg(test)]
mod tests;
