//! Exhaustive exploration: every reachable state, breadth first, by the `stateright` checker.
//!
//! Breadth first gives short counterexamples. A bound on the number of states, not of seconds,
//! ends an exploration that is too large; it is then reported as not complete, which is no proof.

use crate::walk::{Counterexample, Swarm};
use stateright::{Checker, HasDiscoveries};
use std::fmt::Debug;
use std::hash::Hash;

/// The property that models check: no state breaks an invariant.
pub const SAFE: &str = "safe";

/// What an exploration found.
#[derive(Clone, Debug)]
pub struct Exploration<Action> {
    /// Different states seen.
    pub states: usize,
    /// Longest of the shortest runs to a state.
    pub depth: usize,
    /// Was every reachable state seen?
    pub complete: bool,
    /// The properties of kind "sometimes" that hold in some state.
    pub reached: Vec<&'static str>,
    /// A violation, if there is one.
    pub counterexample: Option<Counterexample<Action>>,
}

/// Looks at all states, or at the first `transitions_max` transitions, or up to a violation.
pub fn explore<M>(model: &M, transitions_max: u64) -> Exploration<M::Action>
where
    M: Swarm + Clone + Send + Sync + 'static,
    M::State: Hash + Debug + Send + Sync + 'static,
    M::Action: Send + Sync + 'static,
{
    let checker = model
        .clone()
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .target_state_count(transitions_max as usize)
        .spawn_bfs()
        .join();
    let mut discoveries = checker.discoveries();
    let counterexample = discoveries.remove(SAFE).map(|path| Counterexample {
        claim: model.violation(path.last_state()).expect("the path ends in a violation"),
        actions: path.into_actions(),
    });
    let mut reached: Vec<&'static str> = discoveries.into_keys().collect();
    reached.sort_unstable();
    Exploration {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        complete: counterexample.is_none() && (checker.state_count() as u64) < transitions_max,
        reached,
        counterexample,
    }
}
