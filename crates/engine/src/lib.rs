//! What should run where, and why.

mod command;
mod commands;
mod engine;
mod fnv;
mod input;
mod intent;
mod journal;
mod observation;
mod plan;
mod replica;
mod runner;
mod status;
mod wire;

pub use base::codec::Malformed;
pub use command::{Command, Refusal};
pub use commands::TEXT_SIZE_MAX;
pub use engine::Engine;
pub use input::{
    Act, ActionId, Found, Input, Outcome, Output, Proof, ResourceChange, Timer, Verb, ViewChange,
};
pub use intent::{
    Failback, Intent, Mode, NodeSpec, RESTARTS_MAX, Resource, ResourceKind, RestartLimit, Service,
    nearest,
};
pub use journal::{
    JOURNAL_SIZE_MAX, Journal, NOTES_PER_SERVICE_MAX, Note, REASON_SIZE_MAX, REJECTED_PER_NOTE_MAX,
    Rule,
};
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
