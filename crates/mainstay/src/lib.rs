//! The program: daemon, guard, command line, management API.
//!
//! A library, so that tests and the lab reach its parts; `main.rs` only calls it.

pub mod arbiter;
pub mod bound;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod discover;
mod faces;
pub mod fence;
pub mod guard;
pub mod join;
mod node_check;
pub mod probe;
pub mod render;
pub mod risks;
pub mod serve;
#[cfg(test)]
mod testing;
