//! What a node tells all others in each heartbeat, above the transport.
//!
//! CBOR, `[group digest, engine digest]`. It is encoded anew only when it has changed, and a
//! report that did not change is not decoded again.

use minicbor::{Decode, Encode};

/// The report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Report {
    /// Where the sender stands.
    #[n(0)]
    pub group: group::Digest,
    /// What it runs.
    #[n(1)]
    pub engine: engine::Digest,
}
