//! Marked probes over the paths that the cluster uses: what gets through, in which direction, how
//! large, and what is in the way.
//!
//! A heartbeat says *that* a path works. A person who stands before a path that does not work wants
//! to know *where* it ends, and one before a path that works whether it will take a full datagram.
//! So `mainstay path test` sends probes through the very sockets, interfaces and devices that
//! heartbeats use, past the same firewalls, and the other node's daemon answers each.
//!
//! ```text
//!   tester                                    other node
//!     │  ask: run, number, my clock, size       │
//!     ├────────────────────────────────────────►│  counts the asks of this run
//!     │  answer: the same, and how many came    │
//!     │◄────────────────────────────────────────┤
//!     │  afterwards, over every path: how many of run R came to you, how many did you answer?
//!     ├ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─►│
//! ```
//!
//! - **Counting** ([`test`](mod@test)): half of the probes are short, half as long as the longest datagram of
//!   the transport. What came back gives round trips; the tally of the other side, which may come
//!   over any path, tells loss on the way there from loss on the way back.
//! - **Searching**: the largest datagram that passes without being cut into fragments, each
//!   direction by itself, by halving the interval (as packetization-layer path MTU discovery does,
//!   RFC 4821 section 7, without trusting any ICMP message).
//! - **Words** ([`words`]): what was seen, turned into what a person can do.
//!
//! Probes are sealed with a key of their own that follows from the cluster's ([`wire`]); only who has
//! that gets an answer, so many in a second, and none is larger than was asked for. They are no
//! evidence of life: nothing in the transport sees them.

pub mod respond;
pub mod test;
pub mod wire;
pub mod words;

#[cfg(test)]
mod tests;
