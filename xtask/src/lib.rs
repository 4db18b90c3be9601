//! What keeps the tree in order: everything that CI does, as ordinary Rust.
//!
//! - [`arrows`]: who may depend on whom. [`tidy`]: rules on text that no compiler checks. Both run
//!   as tests (`xtask/tests`), so that `cargo test` is the whole check.
//! - [`licences`]: what may come in from outside.
//! - [`canaries`]: known faults that the simulator has to find; a simulator that finds nothing is
//!   worth as much as the faults that it is known to find.
//! - [`bench_peers`]: figures beside those of other products, in one run.
//! - [`mod@vm`]: virtual machines that panic and lose their power.

pub mod arrows;
pub mod bench_peers;
pub mod canaries;
pub mod ci;
pub mod commands;
pub mod licences;
pub mod package;
pub mod plant;
pub mod source;
pub mod tidy;
pub mod tree;
pub mod vm;
