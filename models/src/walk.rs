//! Random swarms: long runs through state spaces that are too large to be listed.
//!
//! A walk starts in the initial state and takes one enabled action after another. Choosing evenly
//! would keep all walks alike: the commonest action (time goes by, a message arrives) would drown
//! the rest. So each walk first draws a weight for each *habit* (a kind of action, often together
//! with the nodes concerned), and some habits are dropped altogether. One walk then loses all
//! messages between two nodes, the next one restarts nodes all the time, a third never lets the
//! hub order anything; unusual mixes are where the bugs are.
//!
//! A walk is a function of its seed: no clock, no system randomness. Limits are counted in steps,
//! so a test does the same work on a slow machine as on a fast one.
//!
//! A violation comes with its actions, shortened by leaving out whatever is not needed for it.

use stateright::Model;
use std::fmt::Debug;

/// A model that can be walked.
pub trait Swarm: Model<State: Clone + PartialEq, Action: Clone + PartialEq + Debug> {
    /// Number of habits; see [`Swarm::habit`].
    fn habits(&self) -> usize;

    /// The habit an action belongs to, below [`Swarm::habits`].
    fn habit(&self, action: &Self::Action) -> usize;

    /// How often a habit is indulged in.
    fn nature(&self, _habit: usize) -> Nature {
        Nature::Common
    }

    /// The broken invariant, as a sentence, if the state breaks one.
    fn violation(&self, state: &Self::State) -> Option<&'static str>;

    /// What a sound set of walks must have seen, so that "no violation" says something. At most 32.
    fn milestones(&self) -> &'static [&'static str];

    /// The milestones that a step reaches: bit k for number k.
    fn reached(&self, before: &Self::State, action: &Self::Action, after: &Self::State) -> u32;
}

/// How often a habit is indulged in: what its weight is drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Without it nothing goes on: never dropped.
    Vital,
    /// Dropped in one walk of eight.
    Common,
    /// Dropped in every other walk, and seldom in the rest: what ends a story early.
    Rare,
}

/// How far to walk.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Equal seeds give equal walks.
    pub seed: u64,
    /// Steps of all walks together.
    pub steps: u64,
    /// Steps of one walk.
    pub length: u32,
}

/// A run that ends in a violation.
#[derive(Clone, Debug)]
pub struct Counterexample<Action> {
    /// The broken invariant.
    pub claim: &'static str,
    /// The actions that lead there from the initial state.
    pub actions: Vec<Action>,
}

/// What the walks did.
#[derive(Clone, Debug)]
pub struct Tally<Action> {
    /// Number of walks.
    pub walks: u64,
    /// Steps of all walks together.
    pub steps: u64,
    /// For each milestone its name and the number of walks that came by.
    pub milestones: Vec<(&'static str, u64)>,
    /// The first violation, if any; the walks end with it.
    pub counterexample: Option<Counterexample<Action>>,
}

/// Walks until a violation is found or `limits.steps` are done.
pub fn walk<M: Swarm>(model: &M, limits: Limits) -> Tally<M::Action> {
    let mut random = Random::new(limits.seed);
    let names = model.milestones();
    assert!(names.len() <= 32, "milestones are bits of a u32");
    let mut tally = Tally {
        walks: 0,
        steps: 0,
        milestones: names.iter().map(|name| (*name, 0)).collect(),
        counterexample: None,
    };
    let mut enabled = Vec::new();
    while tally.steps < limits.steps && tally.counterexample.is_none() {
        let mut state = initial(model);
        let habits: Vec<u64> =
            (0..model.habits()).map(|habit| random.weight(model.nature(habit))).collect();
        let mut actions = Vec::new();
        let mut reached = 0;
        for _ in 0..limits.length {
            enabled.clear();
            model.actions(&state, &mut enabled);
            if enabled.is_empty() {
                break;
            }
            let action = enabled.swap_remove(random.draw(model, &habits, &enabled));
            let Some(next) = model.next_state(&state, action.clone()) else { continue };
            tally.steps += 1;
            reached |= model.reached(&state, &action, &next);
            actions.push(action);
            state = next;
            if let Some(claim) = model.violation(&state) {
                tally.counterexample =
                    Some(shorten(model, Counterexample { claim, actions: actions.clone() }));
                break;
            }
        }
        tally.walks += 1;
        for (bit, milestone) in tally.milestones.iter_mut().enumerate() {
            milestone.1 += u64::from(reached >> bit & 1);
        }
    }
    tally
}

/// Leaves out actions one by one while the run still ends in a violation.
fn shorten<M: Swarm>(
    model: &M,
    mut shortest: Counterexample<M::Action>,
) -> Counterexample<M::Action> {
    let mut progress = true;
    while progress {
        progress = false;
        let mut index = shortest.actions.len();
        while index > 0 {
            index -= 1;
            let mut rest = shortest.actions.clone();
            rest.remove(index);
            if let Some(shorter) = replay(model, rest) {
                index = index.min(shorter.actions.len());
                shortest = shorter;
                progress = true;
            }
        }
    }
    shortest
}

/// Takes the actions that are possible, in order, up to the first violation.
fn replay<M: Swarm>(model: &M, wanted: Vec<M::Action>) -> Option<Counterexample<M::Action>> {
    let mut state = initial(model);
    let mut actions = Vec::new();
    let mut enabled = Vec::new();
    for action in wanted {
        enabled.clear();
        model.actions(&state, &mut enabled);
        if !enabled.contains(&action) {
            continue;
        }
        let Some(next) = model.next_state(&state, action.clone()) else { continue };
        actions.push(action);
        state = next;
        if let Some(claim) = model.violation(&state) {
            return Some(Counterexample { claim, actions });
        }
    }
    None
}

fn initial<M: Model>(model: &M) -> M::State {
    model.init_states().into_iter().next().expect("a model has an initial state")
}

/// A xorshift generator (Marsaglia 2003, shifts 13, 7, 17): small, fast, the same everywhere.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        // Seeds are small numbers; spread their bits, and avoid the one state that stays 0.
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03 | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A weight: 0 if the habit is dropped, else a power of two.
    fn weight(&mut self, nature: Nature) -> u64 {
        let (draw, power) = (self.below(8), self.below(7));
        match nature {
            Nature::Vital => 16 << (power / 2),
            Nature::Common if draw == 0 => 0,
            Nature::Common => 1 << power,
            Nature::Rare if draw < 4 => 0,
            Nature::Rare => 1 << (power / 3),
        }
    }

    /// Draws a habit by weight among those that are possible now, then one of its actions evenly:
    /// an action with many variants must not drown one that has few.
    fn draw<M: Swarm>(&mut self, model: &M, weights: &[u64], enabled: &[M::Action]) -> usize {
        let of_action: Vec<usize> = enabled.iter().map(|action| model.habit(action)).collect();
        let mut possible = of_action.clone();
        possible.sort_unstable();
        possible.dedup();
        let total: u64 = possible.iter().map(|habit| weights[*habit]).sum();
        if total == 0 {
            return self.below(enabled.len() as u64) as usize;
        }
        let mut rest = self.below(total);
        let chosen = possible
            .into_iter()
            .find(|habit| {
                let found = rest < weights[*habit];
                rest = rest.saturating_sub(weights[*habit]);
                found
            })
            .expect("the draw is below the sum of the weights");
        let count = of_action.iter().filter(|habit| **habit == chosen).count() as u64;
        let place = self.below(count) as usize;
        let mut variants = (0..enabled.len()).filter(|index| of_action[*index] == chosen);
        variants.nth(place).expect("the place is below the number of variants")
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }
}
