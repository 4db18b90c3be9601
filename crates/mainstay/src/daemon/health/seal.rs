//! Health frames on the wire: a body that only nodes of this cluster can make or read.
//!
//! ```text
//!  0      2         3   4       16
//!  | "MP" | version | 0 | nonce | body | tag (16) |
//! ```
//!
//! AES-256-GCM (NIST SP 800-38D) under HKDF-SHA256(cluster key, "mainstay health 1") with a random
//! nonce; the first four bytes are authenticated with it. A key is good for 2^32 random nonces, which
//! are centuries of polls.

use base::codec::{Malformed, Reader};
use network::health::wire::BODY_SIZE_MAX;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

/// What every frame begins with; the kernel lets only such frames through.
pub(super) const MAGIC: [u8; 2] = *b"MP";
const HEAD: [u8; 4] = [MAGIC[0], MAGIC[1], 1, 0];
const TAG_SIZE: usize = 16;

/// Seals and opens bodies.
pub(super) struct Key(LessSafeKey);

impl Key {
    /// The key that follows from the cluster's.
    pub(super) fn of_cluster(key: &[u8; 32]) -> Key {
        let secret = Salt::new(HKDF_SHA256, b"").extract(key);
        let info: [&[u8]; 1] = [b"mainstay health 1"];
        let expanded = secret.expand(&info, &AES_256_GCM).expect("a key is short enough");
        Key(LessSafeKey::new(UnboundKey::from(expanded)))
    }

    /// The frame of a body. `nonce` is random.
    pub(super) fn seal(&self, body: &[u8], nonce: [u8; NONCE_LEN]) -> Vec<u8> {
        let mut sealed = body.to_vec();
        let once = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(once, Aad::from(HEAD), &mut sealed);
        let tag = tag.expect("a body is far below the algorithm's limit");
        [&HEAD[..], &nonce, &sealed, tag.as_ref()].concat()
    }

    /// The body of a frame; none is so short that Ethernet would lengthen it.
    ///
    /// # Errors
    /// When this key did not seal it.
    pub(super) fn open(&self, bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != HEAD {
            return Err(Malformed);
        }
        let nonce = Nonce::assume_unique_for_key(reader.array()?);
        let mut sealed = reader.rest().to_vec();
        if sealed.len() > BODY_SIZE_MAX + TAG_SIZE {
            return Err(Malformed);
        }
        let body = self.0.open_in_place(nonce, Aad::from(HEAD), &mut sealed);
        body.map(|body| body.to_vec()).map_err(|_| Malformed)
    }
}

#[cfg(test)]
mod tests;
