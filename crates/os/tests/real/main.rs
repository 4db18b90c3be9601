//! This crate with the real kernel: files, sockets, interfaces and processes.
//!
//! What needs a network of its own runs in a network namespace that the test's thread makes; it is
//! gone when the thread ends. Where the kernel forbids something that a test needs, the test says so
//! and ends.

mod arp;
mod echo;
mod gate;
mod link;
mod local;
mod network;
mod persist;
mod process;
mod replace;
mod scene;
mod segment;
mod serial;
mod sets;
mod switch;
mod wire;
