//! What should run where, and why.

mod command;
mod engine;
mod fnv;
mod input;
mod intent;
mod journal;
mod observation;
mod plan;
mod status;
mod wire;

pub use base::codec::Malformed;
pub use command::{Command, Refusal};
pub use engine::Engine;
pub use input::{
    Act, ActionId, Found, Input, Outcome, Output, Proof, ResourceChange, Timer, Verb, ViewChange,
};
pub use intent::{
    Failback, Intent, Mode, NodeSpec, Resource, ResourceKind, RestartLimit, Service, nearest,
};
pub use journal::{Journal, Note, Rule};
pub use observation::{
    Absence, DecisionId, Failures, Observation, Phase, Request, ServiceState, State, Wish,
};
pub use plan::{Plan, plan};
pub use status::{
    DIGEST_SIZE_MAX, Digest, DigestEntry, NodeStatus, ResourceStatus, ServiceStatus, Status,
};
pub use wire::{Claim, Ending, Entry, is_configuration};
