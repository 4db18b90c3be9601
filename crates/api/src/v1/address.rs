//! Where addresses are on the answering node, and why there.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An address on an interface of the answering node, or on its way there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Address {
    /// The address.
    pub address: String,
    /// The service that it belongs to; null for a persistent address, which belongs to the node.
    pub service: Option<String>,
    /// The network that shares it out over interfaces; null where none is configured to.
    pub network: Option<String>,
    /// The interface; null while none is chosen.
    pub interface: Option<String>,
    /// How far it is: `adopting`, `clearing`, `probing`, `adding`, `owned`, `removing`; `persistent`.
    pub phase: String,
    /// Why on that interface.
    pub why: String,
    /// Which wish about its place could not be fulfilled, and why not.
    pub dropped: Option<String>,
    /// Where the distribution would have it now, when it stays elsewhere; it goes there when it has to
    /// move anyway, or when its network has `rebalance` and an interface works again.
    pub later: Option<String>,
    /// The gateways that are asked whether they have learned where it is (`verify_gateways`).
    #[serde(default)]
    pub gateways: Vec<AddressGateway>,
}

/// What is known of a gateway and a service address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddressGateway {
    /// The gateway.
    pub gateway: String,
    /// `asked` (nothing is known yet), `learned`, `not-learned` (it sends to somewhere else), `untold`.
    pub state: String,
    /// How long after the announcement it was known to have learned, for `learned`.
    pub took_ms: Option<u64>,
    /// Why it cannot be told, for `untold`.
    pub why: Option<String>,
}
