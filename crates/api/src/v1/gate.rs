//! The lease gate: what the kernel lets pass for service addresses on one node.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// What closes a service address at the end of a lease when no process of ours can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// The kernel: programs on all interfaces judge each packet.
    Kernel,
    /// The kernel: a table of nftables, whose open addresses end by themselves.
    Nftables,
    /// Nothing: the promise rests on the guard, and on the lifetime of addresses in the kernel.
    #[default]
    #[serde(other)]
    None,
}

/// Answer of `/v1/gate`: the lease gate of the answering node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gate {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Name of the answering node.
    pub node: String,
    /// What closes addresses.
    pub kind: GateKind,
    /// Why the kernel takes no programs here, or has no gate at all; null where it has programs.
    pub reason: Option<String>,
    /// All interfaces but the loop; none where the gate does not hang on them.
    pub interfaces: Vec<GateInterface>,
    /// All service addresses of the configuration, in their order.
    pub addresses: Vec<GateAddress>,
}

/// The gate on one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GateInterface {
    /// The interface.
    pub name: String,
    /// How it is gated.
    pub state: GateAttachment,
    /// Programs of others that are asked before the gate and may decide in its stead, each as a phrase.
    pub before: Vec<String>,
}

/// How an interface is gated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GateAttachment {
    /// What comes in and what goes out.
    Both,
    /// Only what comes in: something else has the place of the other filter.
    In,
    /// Only what goes out.
    Out,
    /// It is a port of a bridge, and the bridge is gated.
    Port,
    /// Not.
    #[default]
    #[serde(other)]
    Missing,
}

/// The gate of one address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GateAddress {
    /// The address.
    pub address: String,
    /// Whose it is; null when the configuration does not have it any more.
    pub service: Option<String>,
    /// Packets pass for so long unless the lease is extended, milliseconds; null: they do not.
    pub open_ms: Option<u64>,
    /// Packets that passed since the gate was made; null: nobody counts them.
    pub passed: Option<u64>,
    /// Packets that were dropped since.
    pub dropped: u64,
}
