//! The watchdog of one node.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// What a node's watchdog is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WatchdogState {
    /// None is configured for this node.
    #[default]
    None,
    /// It is configured, and no storage service has needed it yet.
    Ready,
    /// The guard was asked to arm it and has not answered.
    Asked,
    /// It resets the machine unless it is fed.
    Armed,
    /// It could not be armed.
    Failed,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Answer of `/v1/watchdog`: the watchdog of the answering node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Watchdog {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Name of the answering node.
    pub node: String,
    /// What it is doing.
    pub state: WatchdogState,
    /// The armed device, else the configured one.
    pub device: Option<String>,
    /// Its timeout in force, else the one that will be asked for.
    pub timeout_ms: Option<u64>,
    /// How old evidence may be on which it is fed beside a storage service.
    pub freshness_ms: u64,
    /// After so long without contact others count this machine as reset; null while it is not armed.
    pub fence_wait_ms: Option<u64>,
    /// Whether something of a storage service is here, or may be.
    pub storage: bool,
    /// Whether it is fed now.
    pub fed: bool,
    /// Why it is fed, or is not, or is not armed.
    pub reason: String,
    /// How long ago it was fed last.
    pub fed_ms: Option<u64>,
    /// Age of the newest evidence of a majority.
    pub evidence_ms: Option<u64>,
    /// How often a feeding came through too late and was made shorter.
    pub late: u64,
    /// A former guard had armed it.
    pub adopted: bool,
}
