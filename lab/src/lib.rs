//! The lab: real daemons on machines that only exist inside this process.
//!
//! A failure detector is believed when its cables have been cut. So the lab makes machines (network,
//! pid and mount namespaces with a root directory each), switches (kernel bridges in namespaces of
//! their own) and an outside client, runs `mainstay --root DIR run` in each machine, breaks things
//! the way they break in a rack, and lets the client write down who answered and when.
//!
//! ```text
//!  n1 ──net0── switch 0 ──net0── client        a box is a network namespace,
//!   │             │  └───net0── n2             a line a veth pair; the switch's end
//!   └─net1── switch 1 ───net1── n2             is what gets cut
//! ```
//!
//! Beside the switches there may be a disk that all nodes share, and serial lines between two of
//! them (`disk.rs`, `line.rs`).
//!
//! Reading order: [`mod@enter`] (how the process gets inside and why nothing stays behind), [`Lab`],
//! `faults.rs`, `card.rs`, [`client`], [`mod@stream`] and [`trace`], then [`scenarios`] and [`story`]. It needs no program that
//! a bare machine lacks, no root where the kernel lets users make namespaces, and nothing of the
//! rest of the workspace: to the lab, Mainstay is a program with a command line and a socket.

mod arbiters;
mod card;
mod census;
mod cgroup;
mod device;
mod disk;
mod faults;
mod fuse;
mod lab;
mod line;
mod machine;
mod namespace;
mod netlink;
mod nft;
mod processes;
mod shell;
mod stamps;
mod storm;
mod switch;
mod sys;
mod traffic;

pub mod api;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod control;
pub mod corosync;
pub mod cost;
pub mod enter;
pub mod listener;
pub mod many;
pub mod operator;
pub mod responder;
pub mod scale;
pub mod scenarios;
pub mod scene;
pub mod spec;
pub mod story;
pub mod stream;
pub mod ties;
pub mod torture;
pub mod trace;
pub mod wait;
mod worker;

pub use api::Status;
pub use arbiters::Tie;
pub use card::Card;
pub use client::{Client, Mode, Probe};
pub use cluster::Cluster;
pub use enter::enter;
pub use lab::{Lab, Which};
pub use netlink::Hardware;
pub use processes::Process;
pub use rustix::process::Signal;
pub use scenarios::{Figure, Limits, Scenario};
pub use scene::Scene;
pub use spec::Spec;
pub use stream::{Carried, Stream};
pub use switch::Silence;
pub use trace::{Trace, Verdict};
pub use traffic::Traffic;
