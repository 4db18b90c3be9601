//! How a new machine becomes a node: by a token, without ssh and without copying files.
//!
//! On a member, `mainstay token` makes a [`Token`](token::Token): the cluster's number, the
//! member's addresses and a secret of 128 random bits that is good once and for some minutes. On
//! the new machine, `mainstay join TOKEN` connects to the member over TCP (the cluster's port; the
//! member listens only while a token is outstanding), and what follows proves to each side that the
//! other has the secret, and seals everything with keys that nobody can compute later, even with
//! the token and a record of the connection.
//!
//! ```text
//! new node → member   "MSJ1" ‖ token id (8) ‖ X25519 public key (32)
//! member → new node   "MSJ1" ‖ 0 ‖ X25519 public key (32)       or "MSJ1" ‖ 1: no such token
//!        both         S = X25519(…), T = SHA-256(first message ‖ second message)
//!                     HKDF-SHA256(salt T, secret ‖ S): a key for each direction, with info
//!                     "mainstay join 1 new node" or "… member", ‖ cluster id (4, big-endian)
//! new node → member   frame: Ask     { node name, addresses }
//! member → new node   frame: Accept  { cluster key, configuration }  or  Refuse { why, what to do }
//!
//! frame = length of what follows (4, big-endian) ‖ AES-256-GCM(key, nonce = number of the frame in
//!         its direction (12, big-endian), additional data = the length, JSON)
//! ```
//!
//! HKDF is RFC 5869, X25519 RFC 7748, AES-GCM NIST SP 800-38D. A first frame that opens proves that
//! its sender has the secret; the member hands the cluster key out only after that. The token id is
//! HKDF(secret, info "mainstay join 1 token id"), which says nothing about the secret.
//!
//! The member adds the node by an ordinary configuration change, delivered by all members before
//! the new node gets its answer. If the connection breaks after that, the same `join` with a new
//! token finishes it: a node that is configured with exactly these addresses is accepted again.

pub mod base64;
pub mod client;
pub mod plan;
pub mod seal;
pub mod server;
pub mod token;
pub mod wire;

pub(crate) use seal::expand;

#[cfg(test)]
mod tests;
