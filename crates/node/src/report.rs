//! What a node tells all others in each heartbeat, above the transport.
//!
//! ```text
//!   2 bytes               n bytes                     the rest
//! ┌────────────┬───────────────────────────┬────────────────────────────┐
//! │ n          │ group digest (CBOR)       │ engine digest (own layout) │
//! └────────────┴───────────────────────────┴────────────────────────────┘
//! ```
//!
//! It is encoded anew only when it has changed, and a report that did not change is not decoded
//! again.

use base::codec::{self, Malformed, Reader};

/// The report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Where the sender stands.
    pub group: group::Digest,
    /// What it runs.
    pub engine: engine::Digest,
}

impl Report {
    /// The bytes for the heartbeat.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let group = codec::encode(&self.group);
        let length = u16::try_from(group.len()).expect("a digest of fixed fields is short");
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&group);
        bytes.extend_from_slice(&self.engine.encode());
        bytes
    }

    /// The report of these bytes.
    ///
    /// # Errors
    /// [`Malformed`] when they are not one.
    pub fn decode(bytes: &[u8]) -> Result<Report, Malformed> {
        let mut reader = Reader::new(bytes);
        let length = usize::from(reader.u16()?);
        let group = codec::decode(reader.take(length)?)?;
        let engine = engine::Digest::decode(reader.rest())?;
        Ok(Report { group, engine })
    }
}
