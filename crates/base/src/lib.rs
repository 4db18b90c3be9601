//! What all layers share: time, randomness, identities, views, limits and byte codecs.
//!
//! Everything here is plain data and pure functions. An item lives here only when at least two
//! crates use it; otherwise it belongs to its user.
//!
//! **Invariant:** nothing in this crate, nor in any crate that depends on nothing else of this
//! workspace except `os`, can reach the kernel: no clock, no socket, no file, no thread.

pub mod codec;
pub mod feeding;
mod id;
pub mod limits;
mod prng;
mod time;
mod timing;
mod view;

pub use id::{Incarnation, Member, NetworkId, NodeId, NodeSet};
pub use prng::Prng;
pub use time::Instant;
pub use timing::{
    CLOCK_GRANULARITY, CLOCK_RATE_ERROR_PERMILLE, Medium, Preset, Timing, TimingError,
};
pub use view::{Tie, View};

#[cfg(test)]
mod tests;
