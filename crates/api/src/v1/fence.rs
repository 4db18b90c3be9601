//! Fencing: how machines are turned off, what came of it, and whether it would work.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// Answer of `/v1/fence`: the fencing of all nodes, as the answering node would do it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fencing {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Name of the answering node.
    pub node: String,
    /// What is done with a machine that was seen off: `reboot` or `off`.
    pub policy: String,
    /// All configured nodes.
    pub nodes: Vec<FenceNode>,
}

/// How the machine of one node is turned off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FenceNode {
    /// Name of the node.
    pub node: String,
    /// The levels in the order in which they are tried; none: it cannot be turned off.
    pub levels: Vec<FenceLevel>,
    /// What the answering node is doing about it.
    pub running: Option<FenceRunning>,
    /// The last check of its agents from the answering node.
    pub verified: Option<FenceVerified>,
    /// What came of the last attempt of the answering node.
    pub last: Option<FenceRecord>,
}

/// Agents that must all succeed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FenceLevel {
    /// Its number.
    pub level: u8,
    /// How long it may take, milliseconds.
    pub timeout_ms: u64,
    /// Its agents.
    pub agents: Vec<FenceAgent>,
}

/// One agent with its options; secrets are shown as `***`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FenceAgent {
    /// The program.
    pub agent: String,
    /// What it is given besides the action.
    pub options: BTreeMap<String, String>,
}

/// A machine that is being turned off or on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FenceRunning {
    /// What its agents are doing: `off`, `status` or `on`.
    pub verb: String,
    /// At which level.
    pub level: u8,
    /// A person wanted it.
    pub by_hand: bool,
    /// For how long this level has been tried, milliseconds.
    pub since_ms: u64,
    /// All levels have failed so often.
    pub rounds: u32,
    /// Until the next try when all have failed, milliseconds.
    pub pause_ms: Option<u64>,
}

/// A check of all agents of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FenceVerified {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long ago, milliseconds.
    #[serde(default)]
    pub age_ms: u64,
    /// When all agents answered last, in milliseconds since 1970; null: never since they are configured so.
    #[serde(default)]
    pub good_at_ms: Option<u64>,
    /// All agents answered, and none of them nonsense.
    pub ok: bool,
    /// What each of them said.
    pub checks: Vec<FenceCheck>,
}

/// What one agent said to a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FenceCheck {
    /// Its level.
    pub level: u8,
    /// The program.
    pub agent: String,
    /// It answered, and what it said can be true.
    pub ok: bool,
    /// What it says of the power: `on` or `off`.
    pub power: Option<String>,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// What is wrong.
    pub error: Option<String>,
}

/// What came of one level, or of a check that found another state than the one before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FenceRecord {
    /// Grows by one with each record of a node.
    pub id: u64,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whose machine.
    pub node: String,
    /// A person wanted it.
    pub by_hand: bool,
    /// Which level; of a check, the first one that it is about.
    pub level: u8,
    /// Its agents; of a check that failed, those that did not answer.
    pub agents: Vec<String>,
    /// `off`, which includes that it was seen off, `on`, or `verify`.
    pub verb: String,
    /// How long it took, milliseconds.
    pub took_ms: u64,
    /// Whether it succeeded.
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
}

/// Answer of `/v1/fence/history`: what the answering node has done, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FenceHistory {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Name of the answering node.
    pub node: String,
    /// The records that are kept.
    pub records: Vec<FenceRecord>,
}

/// Body of `/v1/fence/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FenceVerifyRequest {
    /// The node whose agents are to be checked.
    pub node: String,
}

/// Answer of `/v1/fence/verify`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FenceVerification {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Name of the node whose agents were checked.
    pub node: String,
    /// Name of the node that checked.
    pub by: String,
    /// What was found.
    pub verified: FenceVerified,
}

/// What can be done to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FenceVerb {
    /// Turn it off.
    Off,
    /// Turn it on.
    On,
    /// Turn it off and on again; only a member in standby that runs nothing.
    Reset,
}

impl FenceVerb {
    /// All of them.
    pub const ALL: [FenceVerb; 3] = [FenceVerb::Off, FenceVerb::On, FenceVerb::Reset];

    /// As it stands in the path of a request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            FenceVerb::Off => "off",
            FenceVerb::On => "on",
            FenceVerb::Reset => "reset",
        }
    }
}
