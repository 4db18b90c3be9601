//! What should run where, and why.
//!
//! A service is a list of resources on a list of nodes. Everything that matters for where it runs
//! is known by **delivered entries** alone: who is a member, what each member says that it runs,
//! what operators wish, what failed. So every member has the same [`Observation`], computes the
//! same [`plan`](fn@plan), and carries out only its own actions. There is no leader: when a node is lost,
//! nothing has to be handed over but the services.
//!
//! ```text
//!   entries, views, fences ──► Replica::apply ──► plan(intent, observation)
//!        ▲                     (entries, commands)      │ actions put into the state
//!        │ Submit                                       ▼
//!   outcome, failure, report ◄── Runner (this node's own actions) ──► Act ──► driver
//! ```
//!
//! Start reading at [`observation`](Observation) for the holder rule, then `plan`, `replica`,
//! `entries`, `commands`, and at last `runner` and `engine` for what is local.
//!
//! **Invariants.** A service has at most one holder, and nothing of it is started without one. A
//! holder is cleared only with proof that nothing runs there any more. No clock, lease or process
//! of one node enters the replicated state but by an entry. Clocks of two nodes are never compared.
//!
//! It assumes of the layers below: entries, views and fences come in one order to all members; a
//! submission of a member that stays is delivered exactly once; a fence is delivered only when the
//! lost life can run nothing any more; all members that form a cluster have the same intent.

mod class;
mod command;
mod commands;
mod engine;
mod entries;
mod fnv;
mod inability;
mod input;
mod intent;
mod jeopardy;
mod journal;
mod networks;
mod observation;
mod plan;
mod replica;
mod runner;
mod status;
mod wire;

pub use base::codec::Malformed;
pub use class::{Armed, Class, Watchdog, is_on};
pub use command::{Command, Refusal};
pub use commands::TEXT_SIZE_MAX;
pub use engine::Engine;
pub use inability::{INABILITIES_MAX, Inability, LASTS_AFTER, Stage};
pub use input::{
    Act, ActionId, Found, Input, Outcome, Output, Proof, ResourceChange, Timer, Verb, ViewChange,
};
pub use intent::{
    Check, Failback, Intent, Mode, NodeSpec, PRIORITY_DEFAULT, PRIORITY_MAX, RESTARTS_MAX,
    Resource, ResourceKind, RestartLimit, Service, nearest,
};
pub use jeopardy::Jeopardy;
pub use journal::{
    JOURNAL_SIZE_MAX, Journal, NOTES_PER_SERVICE_MAX, Note, REASON_SIZE_MAX, REJECTED_PER_NOTE_MAX,
    Rule,
};
pub use networks::{NetworkFault, NetworkState, NetworkStates};
pub use observation::{
    Absence, DecisionId, Failures, Observation, Phase, Request, ServiceState, State, Wish,
};
pub use plan::{Action, Plan, PlanVerb, Waiting, plan};
pub use replica::{Effect, Event, Replica};
pub use runner::KILL_TIMEOUT;
pub use status::{
    DIGEST_SIZE_MAX, Digest, DigestEntry, NodeStatus, ResourceStatus, ServiceStatus, Status,
};
pub use wire::{Claim, Ending, Entry, is_configuration};
