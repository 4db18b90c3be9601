//! An acceptor outside the members: a shared disk, a small server, a register in etcd.
//!
//! It takes part in the election of a successor (see `change`) only at exactly half, and then like
//! any acceptor of Paxos: it promises ballots, accepts values, and tells what it has accepted. Its
//! memory must be durable before it answers; an arbiter that forgets lets two halves go on. It
//! knows nothing of what it accepts: values are bytes to it.
//!
//! ```text
//!  coordinator of one half                         arbiter
//!      │── Request(scope, ballot) ─────────────────►│ ballot > promised: promised = ballot
//!      │◄──────────────── Promised(accepted so far) │
//!      │   … all members of the half accept …       │
//!      │── Request(scope, ballot, value) ──────────►│ ballot ≥ promised: accepted = (ballot, value)
//!      │◄────────────────────────────────── Accepted│
//! ```
//!
//! A register that the first one wins would not do: a coordinator that claims it and dies would
//! block the other half for ever. With ballots the other half goes on where nothing was accepted,
//! and completes what was.
//!
//! The coordinator asks for acceptance last, when its whole half has accepted: so what an arbiter
//! has accepted needs no further vote of the half that it lets go on.

use minicbor::{Decode, Encode};

use crate::wire::{Ballot, Scope};

/// Histories that an arbiter remembers. There is more than one where a person has forced a new one,
/// or where founders that remember nothing have begun one.
pub const LINEAGES_MAX: usize = 4;
/// The longest value that an arbiter must be able to take: a view of `NODES_MAX` members and as
/// many absences, in CBOR.
pub const VALUE_SIZE_MAX: usize = 8 << 10;

/// What a coordinator asks every arbiter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Request {
    /// Which arbiters are meant: the name in the view's [`base::Tie::Arbiters`]. Whoever carries the
    /// request must not put it to others.
    #[n(3)]
    pub arbiters: u64,
    /// The view whose successor is decided.
    #[n(0)]
    pub scope: Scope,
    /// The coordinator's ballot.
    #[n(1)]
    pub ballot: Ballot,
    /// To be accepted; without it, a promise is asked for. At most [`VALUE_SIZE_MAX`] bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub value: Option<Vec<u8>>,
}

/// What an arbiter answers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reply {
    /// Of the request.
    #[n(3)]
    pub arbiters: u64,
    /// Of the request.
    #[n(0)]
    pub scope: Scope,
    /// Of the request.
    #[n(1)]
    pub ballot: Ballot,
    /// The answer.
    #[n(2)]
    pub answer: Answer,
}

/// The answer of an arbiter.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Answer {
    /// It takes no lower ballot from now on. This is what it has accepted.
    #[n(0)]
    Promised(#[n(0)] Option<Accepted>),
    /// It has accepted the value.
    #[n(1)]
    Accepted,
    /// It has promised this higher ballot.
    #[n(2)]
    Refused(#[n(0)] Ballot),
    /// The successor of a later view was already asked for: this generation, of the same lineage.
    #[n(3)]
    Past(#[n(0)] u64),
}

/// An accepted value.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Accepted {
    /// In which ballot.
    #[n(0)]
    pub ballot: Ballot,
    /// What.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// What an arbiter remembers about one cluster. To be durable before an answer is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Acceptor {
    /// The last used last.
    #[n(0)]
    elections: Vec<Election>,
}

/// The election of the successor of one view.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Election {
    #[n(0)]
    scope: Scope,
    #[n(1)]
    promised: Ballot,
    #[n(2)]
    accepted: Option<Accepted>,
}

impl Acceptor {
    /// Answers a request. If the memory is another one afterwards, it has to be durable before the
    /// reply is sent.
    pub fn handle(&mut self, request: &Request) -> Reply {
        let Request { arbiters, scope, ballot, .. } = *request;
        let answer = self.answer(request);
        Reply { arbiters, scope, ballot, answer }
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let Request { scope, ballot, ref value, .. } = *request;
        let place = self.elections.iter().position(|it| it.scope.lineage == scope.lineage);
        let mut election = match place {
            Some(place) if self.elections[place].scope.generation > scope.generation => {
                return Answer::Past(self.elections[place].scope.generation);
            }
            Some(place) => self.elections.remove(place),
            None => {
                if self.elections.len() == LINEAGES_MAX {
                    self.elections.remove(0);
                }
                Election { scope, promised: Ballot::default(), accepted: None }
            }
        };
        if election.scope != scope {
            // The view whose successor it is exists, so the former election is over.
            election = Election { scope, promised: Ballot::default(), accepted: None };
        }
        let answer = match value {
            // An equal one is the same request again: its answer was lost.
            None if ballot >= election.promised => {
                election.promised = ballot;
                Answer::Promised(election.accepted.clone())
            }
            Some(value) if ballot >= election.promised => {
                election.promised = ballot;
                election.accepted = Some(Accepted { ballot, value: value.clone() });
                Answer::Accepted
            }
            _ => Answer::Refused(election.promised),
        };
        self.elections.push(election);
        answer
    }
}
