//! What an arbiter is made of, operation by operation, as the daemon's code goes about each
//! (`crates/mainstay/src/arbiter`).
//!
//! ```text
//!  witness  take ─► keep ─► answer
//!  etcd     range ─► show ─► swap ─► commit ─► confirm       (another swap was faster: again)
//!  disk     read-own ─► write ─► sync ─► read, once for each other node
//! ```
//!
//! Each is one instant, before and after which the arbiter may die. A witness keeps its memory in a
//! file and takes one question after the other; an etcd commits a transaction where nothing has
//! changed since the read; a disk has a cache that it loses with its power, and its operations are
//! asked for by the node one by one. The acceptor itself is the code that ships, for disks as for the
//! others.

use std::collections::BTreeMap;

use base::NodeId;
use group::disk::{self, Memory};
use group::{Acceptor, Answer, Reply, Request};

/// What an arbiter is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A process with a file.
    Witness,
    /// A register in an etcd.
    Etcd,
    /// Blocks on a shared disk.
    Disk,
}

impl Sort {
    /// All of them.
    pub const ALL: [Sort; 3] = [Sort::Witness, Sort::Etcd, Sort::Disk];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Sort::Witness => "witness",
            Sort::Etcd => "etcd",
            Sort::Disk => "disk",
        }
    }

    /// What a question begins with.
    pub(super) const fn first(self) -> Step {
        match self {
            Sort::Witness => Step::Take,
            Sort::Etcd => Step::Range,
            Sort::Disk => Step::ReadOwn,
        }
    }
}

/// The operation that comes next, with what is known by then.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A witness takes a question,
    Take,
    /// has the memory in its file,
    Keep(Acceptor, Reply),
    /// and answers.
    Answer(Reply),
    /// An etcd takes a read,
    Range,
    /// and answers it with the value and its revision;
    Show(Acceptor, u64),
    /// it takes a transaction,
    Swap(Acceptor, u64, Reply),
    /// commits it if nothing has changed since that revision,
    Commit(Acceptor, u64, Reply),
    /// and says whether it did.
    Confirm(Option<Reply>),
    /// A disk shows a node its own block,
    ReadOwn,
    /// takes its new one,
    Write(Memory),
    /// forces it out,
    Sync(Memory),
    /// and shows it the others, one by one.
    Read(Memory, Vec<NodeId>, Vec<Memory>),
    /// The node has its answer.
    Done(Reply),
}

impl Step {
    /// For people.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Step::Take => "take",
            Step::Keep(..) => "keep",
            Step::Answer(_) => "answer",
            Step::Range => "range",
            Step::Show(..) => "show",
            Step::Swap(..) => "swap",
            Step::Commit(..) => "commit",
            Step::Confirm(_) => "confirm",
            Step::ReadOwn => "read-own",
            Step::Write(_) => "write",
            Step::Sync(_) => "sync",
            Step::Read(..) => "read",
            Step::Done(_) => "done",
        }
    }

    /// The arbiter does it alone, whatever became of the network.
    pub(super) const fn is_inside(&self) -> bool {
        matches!(self, Step::Keep(..) | Step::Commit(..))
    }

    /// How often the way between node and arbiter is gone until it happens, as the next one after
    /// `before`.
    pub(super) const fn ways(&self, before: &Step) -> u32 {
        match (before, self) {
            (Step::Answer(_) | Step::Show(..) | Step::Confirm(_), Step::Done(_)) => 1,
            // The node hears it, and asks again.
            (Step::Show(..) | Step::Confirm(_), _) => 2,
            _ => 0,
        }
    }
}

/// An arbiter's memory.
#[derive(Clone, Debug)]
pub(super) enum Store {
    Witness { kept: Acceptor, busy: bool },
    Etcd { kept: Acceptor, revision: u64 },
    Disk { cached: BTreeMap<NodeId, Memory>, kept: BTreeMap<NodeId, Memory>, nodes: u8 },
}

impl Store {
    pub(super) fn new(sort: Sort, nodes: usize) -> Store {
        let kept = Acceptor::default();
        match sort {
            Sort::Witness => Store::Witness { kept, busy: false },
            Sort::Etcd => Store::Etcd { kept, revision: 0 },
            Sort::Disk => {
                let (cached, kept) = Default::default();
                Store::Disk { cached, kept, nodes: nodes as u8 }
            }
        }
    }

    pub(super) const fn sort(&self) -> Sort {
        match self {
            Store::Witness { .. } => Sort::Witness,
            Store::Etcd { .. } => Sort::Etcd,
            Store::Disk { .. } => Sort::Disk,
        }
    }

    /// Another question is being answered, and this one waits until it is.
    pub(super) const fn is_busy(&self, step: &Step) -> bool {
        matches!((self, step), (Store::Witness { busy: true, .. }, Step::Take))
    }

    /// It has died: what was not kept is gone.
    pub(super) fn die(&mut self) {
        match self {
            Store::Witness { busy, .. } => *busy = false,
            Store::Etcd { .. } => {}
            Store::Disk { cached, kept, .. } => cached.clone_from(kept),
        }
    }

    /// One operation, for this node; what comes next.
    pub(super) fn operate(&mut self, node: NodeId, request: &Request, step: Step) -> Step {
        match (self, step) {
            (Store::Witness { kept, busy }, step) => witness(kept, busy, request, step),
            (Store::Etcd { kept, revision }, step) => etcd(kept, revision, request, step),
            (Store::Disk { cached, kept, nodes }, Step::Sync(own)) => {
                kept.clone_from(cached);
                let others = (1..=*nodes).map(NodeId).filter(|other| *other != node).collect();
                read_next(own, others, Vec::new(), request)
            }
            (Store::Disk { cached, .. }, step) => disk(cached, node, request, step),
        }
    }
}

fn witness(kept: &mut Acceptor, busy: &mut bool, request: &Request, step: Step) -> Step {
    match step {
        Step::Take => {
            let mut after = kept.clone();
            let reply = after.handle(request);
            // A no is not written.
            if !matches!(reply.answer, Answer::Promised(_) | Answer::Accepted) {
                return Step::Answer(reply);
            }
            *busy = true;
            Step::Keep(after, reply)
        }
        Step::Keep(after, reply) => {
            *kept = after;
            *busy = false;
            Step::Answer(reply)
        }
        Step::Answer(reply) => Step::Done(reply),
        step => unreachable!("no witness does {}", step.name()),
    }
}

fn etcd(kept: &mut Acceptor, revision: &mut u64, request: &Request, step: Step) -> Step {
    match step {
        Step::Range => Step::Show(kept.clone(), *revision),
        Step::Show(before, revision) => {
            let mut after = before.clone();
            let reply = after.handle(request);
            if after == before { Step::Done(reply) } else { Step::Swap(after, revision, reply) }
        }
        Step::Swap(after, revision, reply) => Step::Commit(after, revision, reply),
        Step::Commit(after, since, reply) => {
            let is_same = *revision == since;
            if is_same {
                *kept = after;
                *revision += 1;
            }
            Step::Confirm(is_same.then_some(reply))
        }
        Step::Confirm(Some(reply)) => Step::Done(reply),
        Step::Confirm(None) => Step::Range,
        step => unreachable!("no etcd does {}", step.name()),
    }
}

fn disk(
    cached: &mut BTreeMap<NodeId, Memory>,
    node: NodeId,
    request: &Request,
    step: Step,
) -> Step {
    let block = |node| cached.get(&node).cloned().unwrap_or_default();
    match step {
        Step::ReadOwn => {
            let mut own = block(node);
            match own.take(request) {
                Ok(()) => Step::Write(own),
                Err(answer) => {
                    let Request { arbiters, scope, ballot, .. } = *request;
                    Step::Done(Reply { arbiters, scope, ballot, answer })
                }
            }
        }
        Step::Write(own) => {
            cached.insert(node, own.clone());
            Step::Sync(own)
        }
        Step::Read(own, mut left, mut seen) => {
            let other = left.pop().expect("a read is of some node");
            seen.push(block(other));
            read_next(own, left, seen, request)
        }
        step => unreachable!("no disk does {}", step.name()),
    }
}

fn read_next(own: Memory, left: Vec<NodeId>, seen: Vec<Memory>, request: &Request) -> Step {
    if left.is_empty() {
        return Step::Done(disk::judge(&own, seen.iter(), request));
    }
    Step::Read(own, left, seen)
}
