//! A whole cluster in one thread, from one seed.
//!
//! ```text
//!                    ┌──────────────── World: one queue of events, one clock ────────────────┐
//!   seed ─► Setup ──►│ Wires: delay, loss, cuts …      Machine: power, clock, disk, kernel,  │
//!   (nodes, networks,│   ▲ datagrams, frames            guard, processes, and in it          │
//!    services, Mix   │   └──────────────────────────── Daemon: the loop that drives          │
//!    of faults)      │                                  ┌────────────┐                       │
//!                    │                                  │ node::Node │ what ships            │
//!                    │                                  └────────────┘                       │
//!                    └──────────────────────────┬────────────────────────────────────────────┘
//!                                               ▼ after every step
//!                                   Checker: sees all machines at once
//! ```
//!
//! A run has two parts. First anything goes wrong that the run's mix of faults contains, and
//! nothing may ever happen that must not (**safety**). Then all faults end, all machines are
//! switched on, operators undo what they did, and within a bound that follows from the times in
//! force everything must be well again (**liveness**). Real time is a number of nanoseconds; each
//! machine has a clock of its own that runs up to 0.5 % wrong.
//!
//! **Modelled**: kernels (cards with carriers, addresses with lifetimes, answers to ARP), guards (deadlines
//! in shared memory, kills within R, restarts of daemons, goodbyes), processes, disks. **Real**:
//! everything in `node::Node`, bytes and sealing included, and the code that lays frames into blocks
//! of a shared disk and bytes of a serial line.
//!
//! **Beyond the promise**, and therefore not simulated: a guard that is stopped with its daemon
//! (only the kernel's lifetimes hold then), a state directory that is rolled back so that nobody
//! can notice, clocks that are more than 0.5 % wrong, an operator who calls down what runs.
//!
//! **Invariant:** a run depends on its seed, its options and the code alone.

pub mod arbiters;
pub mod cards;
pub mod check;
pub mod clock;
mod driver;
pub mod event;
pub mod fault;
mod fences;
mod guard;
mod kernel;
pub mod machine;
pub mod media;
mod operators;
pub mod polls;
mod power;
pub mod sets;
pub mod setup;
pub mod shrink;
pub mod storage;
pub mod wires;
pub mod world;

pub use fault::{Kind, Mix};
pub use setup::Options;
pub use world::{Outcome, Severity, Totals, Violation, run};
