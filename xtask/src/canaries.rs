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
        original: "bounded(self.lease + self.release)",
        mutated: "bounded((self.lease + self.release) / 4)",
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
        name: "half-is-enough",
        file: "crates/group/src/tie.rs",
        original: "        core::cmp::Ordering::Equal => {}",
        mutated: "        core::cmp::Ordering::Equal => return Vote::Granted,",
        rule: "exactly half of a view needs the tie-breaker",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "commit-without-all",
        file: "crates/group/src/order.rs",
        original: "let others = log.held.values().map(|held| held.0).min();",
        mutated: "let others = log.held.values().map(|held| held.0).max();",
        rule: "an entry is committed only when every member holds it",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "longest-log",
        file: "crates/group/src/change.rs",
        original: "attempt.promises.values().map(|promise| promise.have).min()?",
        mutated: "attempt.promises.values().map(|promise| promise.have).max()?",
        rule: "a view change keeps what the shortest log among the promises has",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "accepted-ignored",
        file: "crates/group/src/change.rs",
        original: "let newest = of_members.chain(of_arbiters).max_by_key(|(ballot, _)| *ballot);",
        mutated: "let newest = of_members.chain(of_arbiters).max_by_key(|(ballot, _)| *ballot).filter(|_| false);",
        rule: "a value that may have been decided is proposed again",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "order-while-sealed",
        file: "crates/group/src/order.rs",
        original: "if from.node != membership.view.hub || membership.sealed_at.is_some() {",
        mutated: "if from.node != membership.view.hub {",
        rule: "a sealed member takes and acknowledges nothing",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "repeats-ordered",
        file: "crates/group/src/order.rs",
        original: "                && entry.number == last + 1\n",
        mutated: "                && entry.number > 0\n",
        rule: "a submission that is repeated is ordered once",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "waits-forgotten",
        file: "crates/group/src/change.rs",
        original: "for wait in attempt.promises.values().flat_map(|promise| &promise.waits) {",
        mutated: "for wait in attempt.promises.values().flat_map(|promise| &promise.waits).take(0) {",
        rule: "a wait that runs goes on in the next view",
        shows: Shows::Stuck,
        seeds: 2_000,
    },
    Canary {
        name: "contact-by-start",
        file: "crates/group/src/lease.rs",
        original: "let heard = contact.max(membership.installed_at);",
        mutated: "let heard = membership.installed_at;",
        rule: "an age counts from the last contact",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "half-a-formation",
        file: "crates/group/src/form.rs",
        original: "if forming.accepted == forming.view.nodes() && self.persisting.is_none() {",
        mutated: "if 2 * forming.accepted.len() >= forming.view.members.len() && self.persisting.is_none() {",
        rule: "a formation is unanimous",
        shows: Shows::Unsafe,
        seeds: 10_000,
    },
    Canary {
        name: "snapshot-before-record",
        file: "crates/group/src/lib.rs",
        original: "                Persisting::FormTentative => self.form_self_accepted(),",
        mutated: "                Persisting::FormTentative => self.enter_formed(),",
        rule: "a view is agreed on before anybody enters it",
        shows: Shows::Unsafe,
        seeds: 10_000,
    },
    Canary {
        name: "impatient-clock",
        file: "crates/transport/src/lib.rs",
        original: "self.patient.advance(gap.min(self.local.timing.turn() * 2));",
        mutated: "self.patient.advance(gap);",
        rule: "whoever was stopped blames nobody for the silence",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "relay-undiscounted",
        file: "crates/group/src/lease.rs",
        original: "self.relayed = self.relayed.max(stamp.minus(age));",
        mutated: "self.relayed = self.relayed.max(stamp.minus(age / 1_000));",
        rule: "relayed evidence is as old as the hub's own",
        shows: Shows::Unsafe,
        seeds: 5_000,
    },
    Canary {
        name: "covered-unmet",
        file: "crates/transport/src/shared.rs",
        original: "        let is_covered = self.connected\n            && self.row().contains(local.node)\n            && path.is_covered(at, &local.timing)\n",
        mutated: "        let is_covered = path.is_covered(at, &local.timing)\n",
        rule: "who hears what is for all is told alone until both ends are connected",
        shows: Shows::Stuck,
        seeds: 2_000,
    },
    Canary {
        name: "lost-hub-unheard",
        file: "crates/group/src/change.rs",
        original: "let counts = |node: NodeId| node == member.node || Some(node) == hub;",
        mutated: "let counts = |node: NodeId| node == member.node && hub != Some(node);",
        rule: "whoever is lost with its hub may have leases through it",
        shows: Shows::Unsafe,
        seeds: 10_000,
    },
    Canary {
        name: "gate-by-the-clock",
        file: "sim/src/driver.rs",
        original: "self.push_gate(number, service, until);",
        mutated: "self.push_gate(number, service, self.machines[number].local(self.now) + self.setup.timing.lease);",
        rule: "the gate's deadline is that of the evidence, whenever it is pushed",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "gate-without-a-fence",
        file: "sim/src/sets.rs",
        original: "if handled.since(opening.clock) >= FENCE {",
        mutated: "if opening.until == Instant::ZERO {",
        rule: "an open time that is told late opens nothing",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "tie-breaker-of-the-configuration",
        file: "crates/group/src/change.rs",
        original: "tie::vote(view, present, self.down)",
        mutated: "tie::vote(&View { tie: self.config.tie, ..view.clone() }, present, self.down)",
        rule: "a view keeps its tie-breaker",
        shows: Shows::Unsafe,
        seeds: 20_000,
    },
    Canary {
        name: "forgetful-arbiter",
        file: "crates/group/src/arbiter.rs",
        original: "Answer::Promised(election.accepted.clone())",
        mutated: "Answer::Promised(election.accepted.take().filter(|_| false))",
        rule: "an arbiter forgets nothing",
        shows: Shows::Unsafe,
        seeds: 5_000,
    },
    Canary {
        name: "one-arbiter-of-three",
        file: "crates/group/src/asking.rs",
        original: "if 2 * arbiters > usize::from(count))",
        mutated: "if arbiters > 0 && count > 0)",
        rule: "more than half of the arbiters agree",
        shows: Shows::Unsafe,
        seeds: 10_000,
    },
    Canary {
        name: "lease-without-guard",
        file: "crates/node/src/machine/mod.rs",
        original: "(self.group.lease_until(self.now), self.engine.held())",
        mutated: "(self.now + self.birth.cluster.timing.lease, self.engine.held())",
        rule: "a deadline is derived from evidence, never from now",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "storage-by-lease",
        file: "crates/engine/src/replica.rs",
        original: "for service in self.free(node, newest, Class::Reserved) {",
        mutated: "for service in self.free(node, newest, Class::Storage) {",
        rule: "the end of a lease frees no storage service",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "watchdog-by-lease",
        file: "crates/node/src/machine/fence.rs",
        original: "let due = heard + timing.storage_fence_wait(timeout);",
        mutated: "let due = heard + timing.fence_wait() + timeout / 100;",
        rule: "a watchdog is waited for as long as it takes to reset the machine",
        shows: Shows::Unsafe,
        seeds: 10_000,
    },
    Canary {
        name: "fed-without-evidence",
        file: "crates/base/src/feeding.rs",
        original: "        if !Feeding::may(now, sight) {\n            return None;\n        }\n        let act = match &self.armed {\n            Some(armed) if sight.storage && sight.evidence <= armed.evidence => return None,\n",
        mutated: "        if Feeding::reason(now, sight) == Reason::Killed {\n            return None;\n        }\n        let act = match &self.armed {\n",
        rule: "beside a storage service the watchdog is fed on evidence that is new and fresh",
        shows: Shows::Unsafe,
        seeds: 2_000,
    },
    Canary {
        name: "accepted-is-off",
        file: "crates/node/src/fencing.rs",
        original: "            FenceVerb::Off => self.run(now, node, FenceVerb::Status),",
        mutated: "            FenceVerb::Off => self.seen_off(now, node),",
        rule: "a machine that an agent says to have turned off is off only when it was seen off",
        shows: Shows::Unsafe,
        seeds: 4_000,
    },
];
