//! Sealing: nothing leaves this node in the clear, and nothing unauthenticated is looked at.
//!
//! **Key.** Each life of a node derives its own sending key, HKDF-SHA256 (RFC 5869) over the
//! cluster key with the random session of that life as salt, and cluster and node as info. So two
//! lives, two nodes or two clusters never share a key, although no handshake takes place.
//!
//! **Nonce.** AES-256-GCM (NIST SP 800-38D, RFC 5116) fails badly when a nonce is used twice under
//! one key. Ours is
//!
//! ```text
//!  0        1             2         3        4                 12
//!  | space  | destination | network |   0    | counter         |
//! ```
//!
//! Each path counts for itself and never starts again within a life, not even when it is removed
//! from the configuration and comes back (`Local::retired`). Space 1 holds the goodbyes, which
//! are sealed in advance and sent by another process, so they cannot share a counter. Space 2 holds
//! the heartbeats to everybody, counted for each network (`Local::rounds`).
//!
//! **Associated data** is the whole clear header, so that nobody can change where a frame says it
//! comes from. This is the only module that uses a cryptographic library.

use base::NodeId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;

/// Bytes that sealing adds.
pub(crate) const TAG_SIZE: usize = 16;
/// Bytes of a nonce.
pub(crate) const NONCE_SIZE: usize = 12;

/// A sending key of one life of one node, from one of the cluster's key slots.
#[derive(Debug)]
pub(crate) struct Key(LessSafeKey);

impl Key {
    pub(crate) fn derive(
        cluster_key: &[u8; 32],
        session: &[u8; 16],
        cluster: u32,
        node: NodeId,
    ) -> Key {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, session);
        let cluster = cluster.to_be_bytes();
        let info = [b"mainstay".as_slice(), &cluster, core::slice::from_ref(&node.0)];
        let pseudorandom = salt.extract(cluster_key);
        let material = pseudorandom
            .expand(&info, &AES_256_GCM)
            .expect("32 bytes are far below the limit of HKDF");
        Key(LessSafeKey::new(UnboundKey::from(material)))
    }

    /// Seals all of `frame` behind the first `clear` bytes in place and appends the tag.
    pub(crate) fn seal(&self, nonce: [u8; NONCE_SIZE], clear: usize, frame: &mut Vec<u8>) {
        let (header, body) = frame.split_at_mut(clear);
        let tag = self
            .0
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(&*header),
                body,
            )
            .expect("a datagram is far below the limit of AES-GCM");
        frame.extend_from_slice(tag.as_ref());
    }

    /// Opens what was sealed, in place; nothing when the key is another one or a bit differs.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; NONCE_SIZE],
        clear: usize,
        frame: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let (header, body) = frame.split_at_mut_checked(clear)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, Aad::from(&*header), body).ok().map(|plain| &*plain)
    }
}
