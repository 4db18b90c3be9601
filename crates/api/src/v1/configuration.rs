//! Configuration, what is wrong with it, and what follows from it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// Answer of `/v1/config`: the configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigShow {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Version of the configuration: grows with each change.
    pub version: u64,
    /// First 8 bytes of the SHA-256 of the text, as 16 hexadecimal digits.
    pub checksum: String,
    /// The text, as it was given.
    pub text: String,
}

/// Body of `POST /v1/config`: a new configuration for all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigureRequest {
    /// The whole new text.
    pub text: String,
    /// The version that it was made from; refused when that is no longer the one in force.
    #[serde(default)]
    pub expected_version: Option<u64>,
}

/// Answer of `POST /v1/config/check`: what the nodes themselves say to a configuration, of which only
/// what is new for them is asked. All of it are warnings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigCheck {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// What was found.
    pub diagnostics: Vec<Diagnostic>,
    /// All nodes of the configuration.
    pub nodes: Vec<ConfigCheckNode>,
}

/// One node that was to check a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigCheckNode {
    /// Its name.
    pub node: String,
    /// Why it has not; none when it has, or there was nothing to check for it.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The configuration can not be used.
    Error,
    /// It can, and the author should know this.
    Warning,
}

/// One finding in a configuration. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The file.
    pub file: String,
    /// First line; 0 when the finding is about the whole file.
    pub line: usize,
    /// First column; 0 when the finding is about the whole file.
    pub column: usize,
    /// Last line.
    pub end_line: usize,
    /// The column after the last character.
    pub end_column: usize,
    /// What is said of the marked place.
    #[serde(default)]
    pub label: String,
    /// What to do.
    #[serde(default)]
    pub help: Vec<String>,
}

/// Answer of `mainstay config check --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiagnosticReport {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Whether the configuration can be used.
    pub usable: bool,
    /// What was found.
    pub diagnostics: Vec<Diagnostic>,
}

/// Answer of `/v1/bound`: how long a failure can keep a service away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bound {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Name of the preset of times.
    pub detection: String,
    /// The times in force.
    pub timing: TimingTable,
    /// By service, in the configuration's order.
    pub services: Vec<ServiceBound>,
    /// What must be true for the bounds to hold, one sentence each.
    pub assumptions: Vec<String>,
}

/// The configured times, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TimingTable {
    /// Between heartbeats on a high path.
    pub heartbeat_ms: u64,
    /// Between heartbeats on a low path.
    pub heartbeat_low_ms: u64,
    /// Silence until a path is dead.
    pub path_timeout_ms: u64,
    /// Longest wait for promises in a view change.
    pub collect_ms: u64,
    /// Longest wait for a tie-breaker.
    pub tie_budget_ms: u64,
    /// L: how long a node may own services without contact to a majority.
    pub lease_ms: u64,
    /// R: how long the guard may take to stop them.
    pub release_ms: u64,
    /// F: when a lost node's services may start elsewhere.
    pub fence_wait_ms: u64,
}

/// How long the loss of its node can keep one service away, milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceBound {
    /// Name of the service.
    pub name: String,
    /// Until the loss is noticed.
    pub detection_ms: u64,
    /// From there until the others agree on a view without it.
    pub view_change_ms: u64,
    /// What frees it: `contained`, the end of its node's lease; `storage`, a proof that nothing of it is
    /// left.
    pub class: String,
    /// F: from the last contact until the lost node has provably stopped; runs beside the two. Null:
    /// no time proves that, so it has no bound.
    pub fence_wait_ms: Option<u64>,
    /// From the loss until the start begins elsewhere: the longer of (detection + view change) and
    /// F, and the time to order the decision.
    pub free_ms: Option<u64>,
    /// The start timeout of the service: at most so long until it runs.
    pub start_budget_ms: u64,
    /// All together.
    pub sum_ms: Option<u64>,
    /// The service's nodes in order.
    pub nodes: Vec<String>,
    /// Why these numbers, one sentence each.
    pub why: Vec<String>,
}
