//! Known faults: the table.
//!
//! Each breaks one rule that the design rests on, in the way somebody might who "simplifies" the
//! code. `cargo xtask canaries` plants them one at a time in a copy of the sources ([`crate::plant`])
//! and demands that the simulator reports it within the stated number of seeds. A test
//! checks that each original still stands in its file exactly once.

/// A fault and what it takes to find it.
#[derive(Clone, Copy, Debug)]
pub struct Canary {
    /// Short, for the command line.
    pub name: &'static str,
    /// The file, relative to the root.
    pub file: &'static str,
    /// Stands in the file exactly once.
    pub original: &'static str,
    /// Takes its place.
    pub mutated: &'static str,
    /// The rule that is broken, as a sentence.
    pub rule: &'static str,
    /// What the simulator has to report.
    pub shows: Shows,
    /// The simulator finds it within so many seeds from seed 1 on.
    pub seeds: u64,
}

/// How a fault shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// A rule of safety is broken: seen by a checker, or by an assertion in the code itself.
    Unsafe,
    /// What should come back after the faults are healed does not.
    Stuck,
}

/// All known faults.
pub const CANARIES: &[Canary] = &[
    Canary {
        name: "impatient-fence",
        file: "crates/base/src/timing.rs",
        original: "let held = self.lease + self.release;",
        mutated: "let held = (self.lease + self.release) / 4;",
        rule: "a lost node's services are freed only after its lease and the guard's work are over",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "minority-evidence",
        file: "crates/group/src/lease.rs",
        original: "let others = view.members.len() / 2;",
        mutated: "let others = view.members.len() / 4;",
        rule: "a lease rests on the echoes of more than half of the view",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "sealed-evidence",
        file: "crates/group/src/lease.rs",
        original: "self.frozen = Some(self.newest(view, local, now));",
        mutated: "let _ = (view, local, now);",
        rule: "a sealed member gains no evidence",
        shows: Shows::Unsafe,
        seeds: 20_000,
    },
];
