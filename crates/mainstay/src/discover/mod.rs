//! Finding out who is on the wire: nodes, interfaces, networks, and what is in the way of them.
//!
//! Whoever sets up a cluster has machines with some interfaces each, and would have to find out by
//! hand which of them are on one wire, in one subnet, and not behind a firewall. Instead, each machine
//! runs `mainstay discover` (a running daemon takes part by itself), and all tell each other what they
//! see:
//!
//! ```text
//!   every 200 ms, to all stations on each interface (raw Ethernet, no address needed):
//!        who I am · this interface, its MTU and addresses · whom I heard where · what arrived here
//!   between each pair of addresses in one subnet: datagrams, short ones and as long as the MTU
//! ```
//!
//! - **Why frames**: no firewall, route or address stands in their way. Where frames arrive and
//!   datagrams do not, the fault is above the wire; and since each side says what arrived at it, the
//!   direction is known.
//! - **What is proposed** ([`report`]): a network for each subnet in which datagrams go both ways
//!   between two machines, and one of raw Ethernet for each wire on which only frames do. The names
//!   are those of HACMP: `net_ether_01`.
//! - **Who is believed**: what was entered on all machines (a token of a cluster, its key, or words)
//!   seals the messages ([`wire`]); a machine counts as proven once it has answered to this run's own
//!   number, so nothing that was recorded earlier proves anything. Without it everybody on the wire
//!   can say anything: names and interfaces are shown, and nothing is built on them.
//!
//! It is bounded in time and in everything that others can fill. [`survey`] is what one machine
//! knows, without I/O; [`run`] drives it for the command, the daemon's thread for the daemon.

pub mod report;
pub mod run;
pub mod survey;
pub mod wire;

#[cfg(test)]
mod tests;
