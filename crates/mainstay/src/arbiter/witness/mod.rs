//! A witness: a small server on a third machine that is an arbiter for many clusters.
//!
//! ```text
//!  member ── TCP: length, sealed question ──► witness
//!                                             memory of that cluster: Acceptor::handle
//!                                             new file, fdatasync, rename, fsync of the directory
//!  member ◄── length, sealed answer ───────── then the answer
//! ```
//!
//! One connection carries one question. The key of a cluster at its witness is derived from the
//! cluster's own and says nothing about that: a witness that is broken into can vote wrongly for its
//! clusters, and can neither read nor speak on their networks.
//!
//! **Questions may be repeated by anybody who recorded them, and that is harmless**: an acceptor gives
//! a request that comes again the answer that it would give to a late one. The same ballot promises
//! and accepts the same once more, a lower one is refused, an older view is past. So there are no
//! sessions and no counters, and a witness can be restarted at any moment. An answer is bound to its
//! question by the question's random nonce: an old one cannot be passed off as new.
//!
//! A witness that has forgotten would let two halves go on, so a memory that is missing or damaged is
//! not replaced by an empty one: its cluster gets no answers until a person has looked.

pub mod client;
pub mod files;
pub mod server;
mod stream;
pub mod wire;

#[cfg(test)]
mod tests;

/// The port that a witness listens on by default.
pub const PORT_DEFAULT: u16 = 7402;
