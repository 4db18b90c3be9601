//! Arbiters: acceptors outside the cluster, each asked on a thread of its own.
//!
//! The group decides *what* is asked (`group::Request`) and what the answers mean; here is only how
//! a question gets to a disk, a witness or an etcd, and the answer back. Such a call may take for
//! ever, so the loop never makes it:
//!
//! ```text
//!  loop ── ask ──► [ newest request ] ──► thread ──► disk, witness, etcd
//!   ▲                 depth one              │
//!   └──────── reply, or what is wrong ◄──────┘
//! ```
//!
//! **One request waits, the newest.** An older one belongs to a ballot that its coordinator has
//! given up; answering it would cost the time that the newer one needs. A request that is on its way
//! is not called back, and its answer names its ballot, so that it is recognised as late.
//!
//! **A tie-breaker that is dead on the day is worse than none**, because people rely on it. So each
//! is touched every [`PROBE_INTERVAL`] in the same way in which it would be asked, and what fails,
//! or takes longer than the tie budget, is said before it is needed. Nothing that an arbiter does
//! ends its thread.
//!
//! What an arbiter must do is in `group::Acceptor`: be durable before it answers, and forget nothing.

pub mod block;
mod disk;
pub mod etcd;
pub mod witness;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base::{Instant, NodeId};
use group::{Reply, Request};
use os::block::{Identity, Running};
use os::clock;

use crate::config::tie;

/// Between two touches of an arbiter that answers.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// Between two touches of one that does not.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// A call that has not come back for so long is trouble of its own.
const PATIENCE: Duration = Duration::from_secs(3);

/// An acceptor outside the cluster.
pub trait Arbiter: Send {
    /// Puts the request to it and waits for the answer.
    ///
    /// # Errors
    /// When there is no answer, with the reason for people. It may have acted all the same.
    fn ask(&mut self, request: &Request) -> io::Result<Reply>;

    /// Does what asking would do, as far as that leaves no trace in any election.
    ///
    /// # Errors
    /// When asking would have failed.
    fn probe(&mut self) -> io::Result<()>;
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The cluster's number.
    pub cluster: u32,
    /// This node.
    pub local: NodeId,
    /// Its name.
    pub name: String,
    /// The cluster's key.
    pub key: [u8; 32],
    /// What a view change may wait for a tie-breaker.
    pub budget: Duration,
}

/// One question at a time for each disk. Two threads of one node (the former and the present
/// configuration's) must not write the same copies, and one that hangs in a write may still land.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<BTreeMap<Identity, Arc<Mutex<()>>>>>);

impl Turns {
    fn of(&self, disk: Identity) -> Arc<Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(disk).or_default())
    }
}

/// What a thread tells the loop.
#[derive(Debug)]
pub enum News {
    /// An answer of this arbiter.
    Reply(u8, Reply),
    /// A sentence for the journal.
    Said(String),
}

/// The loop's end of one arbiter; when it is dropped the thread ends after what it does just now.
#[derive(Debug)]
pub struct Handle {
    /// What people call it.
    pub name: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    slot: Mutex<Slot>,
    bell: Condvar,
    trouble: Mutex<Option<Trouble>>,
    running: Running,
}

#[derive(Debug, Default)]
struct Slot {
    request: Option<Request>,
    closed: bool,
}

/// Why an arbiter would not decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Since when.
    pub since: Instant,
    /// In what way.
    pub why: String,
}

enum Next {
    Closed,
    Ask(Request),
    Probe,
}

impl Handle {
    /// Starts the thread of one arbiter, the `index`th of its tie-breaker.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub fn start(
        index: u8,
        arbiter: &tie::Arbiter,
        asker: &Asker,
        turns: &Turns,
        tell: impl Fn(News) + Send + 'static,
    ) -> io::Result<Handle> {
        let acceptor: Box<dyn Arbiter> = match arbiter {
            tie::Arbiter::Disk { devices } => {
                Box::new(disk::Disk::new(devices.get(&asker.local).cloned(), asker, turns.clone()))
            }
            tie::Arbiter::Witness { address } => {
                Box::new(witness::client::Client::new(address.clone(), asker))
            }
            tie::Arbiter::Etcd(etcd) => Box::new(etcd::Etcd::new(etcd.clone(), asker)?),
        };
        Handle::of(index, arbiter.to_string(), acceptor, asker.budget, tell)
    }

    fn of(
        index: u8,
        name: String,
        acceptor: Box<dyn Arbiter>,
        budget: Duration,
        tell: impl Fn(News) + Send + 'static,
    ) -> io::Result<Handle> {
        let shared = Arc::new(Shared::default());
        let thread = Thread {
            index,
            name: name.clone(),
            acceptor,
            budget,
            shared: Arc::clone(&shared),
            tell,
        };
        thread::Builder::new().name("arbiter".into()).spawn(move || thread.run())?;
        Ok(Handle { name, shared })
    }

    /// Puts the request to the arbiter; one that still waits is forgotten.
    pub fn ask(&self, request: Request) {
        let mut slot = self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.request = Some(request);
        self.shared.bell.notify_one();
    }

    /// Why it would not decide, if so.
    #[must_use]
    pub fn trouble(&self, now: Instant) -> Option<Trouble> {
        let known = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let hangs = || {
            let since = self.shared.running.since(now).filter(|since| *since > PATIENCE)?;
            let since = Instant::from_nanos(now.as_nanos() - since.as_nanos() as u64);
            Some(Trouble { since, why: "it does not come back from a call".into() })
        };
        known.or_else(hangs)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut slot = self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner);
        slot.closed = true;
        self.shared.bell.notify_one();
    }
}

struct Thread<T> {
    index: u8,
    name: String,
    acceptor: Box<dyn Arbiter>,
    budget: Duration,
    shared: Arc<Shared>,
    tell: T,
}

impl<T: Fn(News)> Thread<T> {
    fn run(mut self) {
        let mut probe_at = clock::boottime();
        loop {
            let next = self.next(probe_at);
            let start = clock::boottime();
            self.shared.running.begin(start);
            let outcome = match next {
                Next::Closed => return,
                Next::Ask(request) => self
                    .acceptor
                    .ask(&request)
                    .map(|reply| (self.tell)(News::Reply(self.index, reply))),
                Next::Probe => self.acceptor.probe(),
            };
            self.shared.running.end();
            let now = clock::boottime();
            let why = self.judge(outcome, now.since(start));
            probe_at = now + if why.is_some() { RETRY_INTERVAL } else { PROBE_INTERVAL };
            self.note(start, why);
        }
    }

    fn next(&self, probe_at: Instant) -> Next {
        let mut slot = self.shared.slot.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if slot.closed {
                return Next::Closed;
            }
            if let Some(request) = slot.request.take() {
                return Next::Ask(request);
            }
            let now = clock::boottime();
            if now >= probe_at {
                return Next::Probe;
            }
            let waited = self.shared.bell.wait_timeout(slot, probe_at.since(now));
            slot = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn judge(&self, outcome: io::Result<()>, took: Duration) -> Option<String> {
        match outcome {
            Err(error) => Some(format!("cannot be reached: {error}")),
            Ok(()) if took > self.budget => Some(format!(
                "took {} ms to answer, and the tie budget is {} ms",
                took.as_millis(),
                self.budget.as_millis()
            )),
            Ok(()) => None,
        }
    }

    /// Remembers what is wrong, and says it when it begins and when it ends.
    fn note(&self, since: Instant, why: Option<String>) {
        let mut trouble = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let name = &self.name;
        match (trouble.as_mut(), why) {
            (None, None) => {}
            (None, Some(why)) => {
                (self.tell)(News::Said(format!("tie-breaker {name} {why}")));
                *trouble = Some(Trouble { since, why });
            }
            (Some(known), Some(why)) => known.why = why,
            (Some(_), None) => {
                (self.tell)(News::Said(format!("tie-breaker {name} answers again")));
                *trouble = None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
