//! Models of the group protocol: what must hold whatever the network, the clocks and the machines
//! do.
//!
//! The simulator runs the real code through many histories. These models are the other half: they
//! leave out everything but the rules, and so can look at *all* histories up to a bound, or at
//! millions of long ones. A rule that is wrong here is wrong in the code, however well that is
//! written.
//!
//! | model | question | source |
//! | --- | --- | --- |
//! | [`lineage`] | Is there one history? Views by Paxos, one order, trim, joins, restarts, return and cold start. | Lamport 1998 (Paxos); Birman and Joseph 1987 (virtual synchrony) |
//! | [`fence`] | Two nodes: when may the survivor start what the other one ran? Clocks, pauses, watchdog. | Gray and Cheriton 1989 (leases) |
//! | [`disk`] | Can blocks on a shared disk be an acceptor? Late and torn writes, one disk or three. | Gafni and Lamport 2003 (Disk Paxos) |
//! | [`lease`] | The same for any number of nodes and views, with a guard, restarts and adoption. | as above |
//!
//! # How they are checked
//!
//! [`explore`] lists all states, breadth first; [`walk`] takes random walks of very different
//! habits through bounds that cannot be listed. Every model has **mutants**, each with one rule
//! broken: if a mutant is not caught, the model does not see the rule, and its silence means
//! nothing. Likewise each set of walks must have come by its milestones.
//!
//! * `cargo test -p models`: small bounds, fixed seeds, fixed numbers of steps, all mutants.
//! * `cargo run --release -p models -- lease form=everything nodes=5 lease=4 walk=100000000`:
//!   longer runs; `cargo run -p models -- help` prints the arguments.
//!
//! # What they assume
//!
//! Nodes crash and restart but do not lie. What is called durable is not rolled back. A clock errs
//! by no more than its bound. The guard (in [`fence`]: the watchdog) does its work in time; mutants
//! show that the rest cannot make up for it. A generation decides one successor: [`lineage`] checks
//! that, [`lease`] builds on it.

pub mod arguments;
pub mod disk;
pub mod explore;
pub mod fence;
pub mod lease;
pub mod lineage;
pub mod set;
pub mod walk;
