//! The management API: HTTP/1.1 and JSON over a unix socket, on a thread of its own.
//!
//! The node's loop must never wait for a client, so the two meet at one bounded queue: this side
//! puts a [`Call`] into it and wakes the loop; the loop takes calls with [`Inbox::next`] at the end
//! of a turn and answers each through its [`Answer`]. When the queue is full the client is told
//! that the daemon is busy; when no answer comes in time, that it is not known whether it was done.
//! Events go the other way through a broadcast channel: a reader that is too slow loses the oldest
//! and is told how many.
//!
//! Anybody who can open the socket may look; only root, the daemon's own user and a group (see
//! [`access`]) may change anything. The kernel says who it is.

pub mod access;
mod http;
mod queue;
mod routes;
mod socket;

pub use http::{Server, ServerConfig, start};
pub use queue::{
    Answer, CALLS_MAX, Call, Caller, EVENTS_MAX, Handle, Inbox, NetworkAct, NodeAct, Reply,
    Request, channel,
};
pub use socket::SocketError;

#[cfg(test)]
pub(crate) mod tests;
