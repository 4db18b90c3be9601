//! What happened, and why it was done.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Address, schema};

/// How much an event matters.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum EventLevel {
    /// Expected.
    #[default]
    Info,
    /// Protection is less than configured.
    Warning,
    /// A service or a node failed.
    Error,
    /// A value that this reader does not know.
    #[serde(other)]
    Unknown,
}

/// One fact, as the answering node saw it happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Grows by one with each event of this daemon; a reader resumes after the last one it saw.
    pub id: u64,
    /// Wall-clock time on the answering node, RFC 3339.
    pub at: String,
    /// The node that the event is about, or that saw it.
    pub node: String,
    /// Stable short name, such as `view-changed`, `path-dead`, `service-started`.
    pub code: String,
    /// How much it matters.
    #[serde(default)]
    pub level: EventLevel,
    /// One sentence.
    pub text: String,
    /// The service that it is about.
    #[serde(default)]
    pub service: Option<String>,
    /// Id of the [`Note`] or event that led to it.
    #[serde(default)]
    pub cause: Option<u64>,
}

/// Answer of `/v1/history`: events that the daemon still has, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Events {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// The events.
    pub events: Vec<Event>,
    /// How many older ones are no longer there.
    #[serde(default)]
    pub forgotten: u64,
}

/// A decision with its reason: one entry of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Note {
    /// Grows with each note of this daemon.
    pub id: u64,
    /// Wall-clock time on the node that wrote it, RFC 3339.
    pub at: String,
    /// Position in the total order that the decision follows from; equal on all members. 0 when it
    /// was a local matter.
    #[serde(default)]
    pub position: u64,
    /// Generation of the view it was decided in.
    #[serde(default)]
    pub generation: u64,
    /// The service that it is about.
    #[serde(default)]
    pub service: Option<String>,
    /// The node that acts, or that it happened to.
    #[serde(default)]
    pub node: Option<String>,
    /// What was decided or happened: one sentence.
    pub what: String,
    /// What led to it: the measurement, message or command.
    #[serde(default)]
    pub cause: String,
    /// Id of the note that led to it.
    #[serde(default)]
    pub cause_id: Option<u64>,
    /// The rule that was applied.
    #[serde(default)]
    pub rule: String,
    /// What was not done instead.
    #[serde(default)]
    pub rejected: Vec<Rejected>,
    /// What came of it, when it is known.
    #[serde(default)]
    pub result: Option<String>,
}

/// An alternative that was not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rejected {
    /// What: mostly a node.
    pub what: String,
    /// Why not.
    pub why: String,
}

/// Answer of `/v1/why`: notes, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notes {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// The service asked about; null for all.
    pub service: Option<String>,
    /// The notes.
    pub notes: Vec<Note>,
    /// The addresses of the service on the answering node, or all of them there.
    #[serde(default)]
    pub addresses: Vec<Address>,
}
