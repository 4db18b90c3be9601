//! Two nodes that lose each other, and a tie-breaker that dies at every step of the change.
//!
//! First each story is told undisturbed, and the operations of all arbiters are counted: what a
//! witness takes, keeps and answers, each block that a disk reads or writes, each request to an etcd.
//! Then it is told again for **every one** of them, with the arbiter that executes it dying just
//! before it, or after it and before anybody hears of it; for good, or back after a while; silent, or
//! refusing. Not drawn: all of them.
//!
//! What must come of it: never two owners (the simulator looks after each step), exactly one survivor
//! in time where a majority of arbiters is left or comes back, and nobody, who says why, where none
//! does.

use std::collections::BTreeSet;
use std::sync::Mutex;

use sim::arbiters::{Blow, Operation, Victim};
use sim::world::{Severity, Standing};

use super::*;

/// The four kinds of tie-breakers.
const TIES: [(&str, &[Sort]); 4] = [
    ("disk", &[Sort::Disk]),
    ("witness", &[Sort::Witness]),
    ("etcd", &[Sort::Etcd]),
    ("three", &[Sort::Disk, Sort::Witness, Sort::Etcd]),
];
/// An arbiter that comes back is dead for so long.
const BACK: u64 = 1_500_000_000;
/// From the loss to the moment when everything is looked at.
const HORIZON: u64 = 8 * SECOND;
/// What a question that went unanswered may cost: a server is given up, and the next ballot begins.
const RETRY: u64 = 2 * SECOND;
const REASON: &str = "the tie-breaker has not decided for this half";

/// How the nodes lose each other. Node 1 carries the service.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Loss {
    Cut,
    Dead,
}

impl Loss {
    /// Who goes on when nothing disturbs it.
    const fn survivor(self) -> usize {
        match self {
            Loss::Cut => 0,
            Loss::Dead => 1,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Story {
    tie: (&'static str, &'static [Sort]),
    loss: Loss,
    seed: u64,
}

impl Story {
    fn all(seeds: Range<u64>) -> impl Iterator<Item = Story> {
        let told = |seed| {
            TIES.into_iter()
                .flat_map(move |tie| [Loss::Cut, Loss::Dead].map(|loss| Story { tie, loss, seed }))
        };
        seeds.flat_map(told)
    }

    fn tell(self, blow: Option<Blow>) -> Outcome {
        let kind = if self.loss == Loss::Cut { Kind::Split } else { Kind::PowerOff };
        let mut setup = setup(self.seed, 2, &[(kind, CALM, HORIZON * 2, 0)]);
        let sorts = self.tie.1;
        setup.ties = [Tie::Arbiters { count: sorts.len() as u8, name: 1 }; 2];
        setup.sorts[..sorts.len()].copy_from_slice(sorts);
        setup.blow = blow;
        setup.heal_at = CALM + HORIZON;
        World::of(setup, false).run()
    }

    /// A majority is left when one has died.
    const fn has_spare(self) -> bool {
        self.tie.1.len() > 1
    }
}

/// Who is in a view of its own.
fn survivors(outcome: &Outcome) -> Vec<usize> {
    let alone = |number: &usize| {
        let Standing { view, .. } = &outcome.standings[*number];
        view.is_some_and(|(_, members)| members == NodeSet::from_iter([node_id(*number)]))
    };
    (0..2).filter(alone).collect()
}

/// Where the whole service works when everything is looked at, and since when.
fn owners(outcome: &Outcome) -> Vec<(usize, u64)> {
    let since = |machine, part: &str| {
        let mut changes = outcome.history.iter().rev();
        let last = changes.find(|change| {
            change.at < CALM + HORIZON && change.machine == machine && change.part == part
        });
        last.filter(|change| change.works).map(|change| change.at)
    };
    let owner =
        |machine| Some((machine, since(machine, "address")?.max(since(machine, "server")?)));
    (0..2).filter_map(owner).collect()
}

/// Exactly one goes on, and has the service by then.
fn one_goes_on(outcome: &Outcome, until: u64) -> Result<u64, String> {
    let (survivors, owners) = (survivors(outcome), owners(outcome));
    match (&survivors[..], &owners[..]) {
        ([one], [(owner, since)]) if one == owner && *since <= until => Ok(*since),
        _ => Err(format!("{survivors:?} go on, {owners:?} own, {:?}", outcome.standings)),
    }
}

/// Nobody goes on, and those with power say why.
fn nobody_goes_on(outcome: &Outcome, loss: Loss) -> Result<(), String> {
    let (survivors, owners) = (survivors(outcome), owners(outcome));
    let living = if loss == Loss::Cut { 0..2 } else { 1..2 };
    let say = |machine: usize| {
        let waiting = outcome.standings[machine].waiting.as_deref();
        waiting.is_some_and(|waiting| waiting.contains(REASON))
    };
    if survivors.is_empty() && owners.is_empty() && living.into_iter().all(say) {
        return Ok(());
    }
    Err(format!("{survivors:?} go on, {owners:?} own, {:?}", outcome.standings))
}

/// By when the service is somewhere after a change without hindrance.
fn in_time() -> u64 {
    CALM + nanos(Preset::Fast.timing().fence_wait()) + SECOND / 2
}

/// The operations of the change that nothing disturbs.
fn undisturbed(story: Story) -> Vec<Operation> {
    let outcome = story.tell(None);
    assert_eq!(outcome.violation, None, "{story:?}");
    assert_eq!(one_goes_on(&outcome, in_time()).map(drop), Ok(()), "{story:?}");
    assert_eq!(survivors(&outcome), [story.loss.survivor()], "{story:?}: the loaded one");
    outcome.operations
}

/// Does something for each of these, with as many threads as there are processors.
fn for_each<T: Copy + Send>(all: Vec<T>, act: impl Fn(T) + Sync) {
    let left = Mutex::new(all);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("nobody has panicked").pop();
                    let Some(next) = next else { return };
                    act(next);
                }
            });
        }
    });
}

/// Each way to die at one operation.
fn blows(operation: usize, backs: &[Option<u64>], forgets: bool) -> Vec<Blow> {
    let mut blows = Vec::new();
    for after in [false, true] {
        for silent in [false, true] {
            for back in backs.iter().copied() {
                let victim = Victim::Arbiter { silent, back, forgets };
                blows.push(Blow { operation, after, victim });
            }
        }
    }
    blows
}

/// How many operations of a change there are at least, of each kind of tie-breaker.
const fn least(loss: Loss, sorts: &[Sort]) -> usize {
    let mut least = 0;
    let mut place = 0;
    while place < sorts.len() {
        // Two questions, to promise and to accept.
        least += 2 * match sorts[place] {
            Sort::Witness => 3,
            Sort::Disk => 4,
            Sort::Etcd => 5,
        };
        place += 1;
    }
    // The other half asks as well, at least once.
    match loss {
        Loss::Cut => least + least / 2,
        Loss::Dead => least,
    }
}

#[test]
fn whenever_an_arbiter_dies_there_are_never_two_and_one_where_a_majority_is() {
    for story in Story::all(0..seeds()) {
        let reference = undisturbed(story);
        let (count, least) = (reference.len(), least(story.loss, story.tie.1));
        assert!(count >= least, "{story:?}: {count} operations are too few");
        // The answer that decides is the last thing that the survivor hears.
        let survivor = story.loss.survivor();
        let decisive = reference.iter().rposition(|it| it.machine == survivor);
        let decisive = decisive.expect("it has asked");
        let all: Vec<Blow> =
            (0..count).flat_map(|number| blows(number, &[None, Some(BACK)], false)).collect();
        let runs = all.len();
        let slowest = Mutex::new(0);
        for_each(all, |blow| {
            let Victim::Arbiter { back, .. } = blow.victim else { unreachable!("they are these") };
            let outcome = story.tell(Some(blow));
            assert_eq!(outcome.violation, None, "{story:?} {blow:?}");
            let same = outcome.operations[..blow.operation] == reference[..blow.operation];
            assert!(same, "{story:?} {blow:?}: until then it is the same story");
            let is_decided = blow.operation > decisive;
            let until = match back {
                _ if is_decided => in_time(),
                Some(back) => in_time() + RETRY + back,
                None => in_time() + RETRY,
            };
            let verdict = if story.has_spare() || back.is_some() || is_decided {
                one_goes_on(&outcome, until).map(|since| {
                    let mut slowest = slowest.lock().expect("nobody has panicked");
                    *slowest = since.max(*slowest);
                })
            } else {
                nobody_goes_on(&outcome, story.loss)
            };
            assert_eq!(verdict, Ok(()), "{story:?} {blow:?}");
        });
        let slowest = slowest.into_inner().expect("nobody has panicked").max(CALM) - CALM;
        let (Story { tie: (name, _), loss, seed }, slowest) =
            (story, Duration::from_nanos(slowest));
        println!(
            "{name}, {loss:?}, seed {seed}: {count} operations in {runs} runs, slowest {slowest:?}"
        );
    }
}

/// The test above could be blind: so an arbiter that forgets has to make two of one, with each kind. One
/// of three may forget: of any two, one has not.
#[test]
fn an_arbiter_that_forgets_is_noticed() {
    let cuts = Story::all(0..1).filter(|story| story.loss == Loss::Cut && !story.has_spare());
    for story in cuts {
        let count = undisturbed(story).len();
        let all: Vec<Blow> =
            (0..count).flat_map(|number| blows(number, &[Some(BACK)], true)).collect();
        let (runs, noticed) = (all.len(), Mutex::new(0));
        for_each(all, |blow| {
            let violation = story.tell(Some(blow)).violation;
            if violation.is_some_and(|violation| violation.severity == Severity::Safety) {
                *noticed.lock().expect("nobody has panicked") += 1;
            }
        });
        let noticed = noticed.into_inner().expect("nobody has panicked");
        println!("{}: noticed in {noticed} of {runs} runs", story.tie.0);
        assert!(noticed > 0, "{story:?}");
    }
}

/// Whoever asks dies with its question on the way. What a majority of arbiters has accepted is decided:
/// the dead one goes on or nobody. Where none has, the other one goes on; in between either is right.
#[test]
fn whenever_the_asking_node_dies_the_other_one_goes_on_unless_that_is_decided() {
    for story in Story::all(0..seeds()).filter(|story| story.loss == Loss::Cut) {
        let reference = undisturbed(story);
        let count = reference.len();
        let all: Vec<Blow> = (0..count)
            .flat_map(|operation| {
                [false, true].map(|after| Blow { operation, after, victim: Victim::Asker })
            })
            .collect();
        let counts = Mutex::new((0, 0));
        for_each(all, |blow| {
            let outcome = story.tell(Some(blow));
            assert_eq!(outcome.violation, None, "{story:?} {blow:?}");
            let dead = reference[blow.operation].machine;
            let has_kept = |it: &&Operation| {
                let keeps = ["keep", "commit", "write"].contains(&it.name);
                it.accepts && it.machine == story.loss.survivor() && keeps
            };
            let accepted = outcome.operations.iter().filter(has_kept).map(|it| it.arbiter);
            let accepted = accepted.collect::<BTreeSet<u8>>().len();
            let is_decided = 2 * accepted > story.tie.1.len();
            let one = one_goes_on(&outcome, in_time() + RETRY);
            let nobody = survivors(&outcome).is_empty() && owners(&outcome).is_empty();
            let right = match (dead == story.loss.survivor(), accepted) {
                // The loaded one has won before, or wins now.
                (false, _) => one.is_ok() && survivors(&outcome) == [story.loss.survivor()],
                (true, 0) => one.is_ok() && survivors(&outcome) == [1 - dead],
                (true, _) if is_decided => nobody,
                (true, _) => nobody || one.is_ok() && survivors(&outcome) == [1 - dead],
            };
            assert!(right, "{story:?} {blow:?}: {accepted} accepted, {one:?}");
            let (other, none) = &mut *counts.lock().expect("nobody has panicked");
            *other += usize::from(dead == story.loss.survivor() && one.is_ok());
            *none += usize::from(nobody);
        });
        let (other, none) = counts.into_inner().expect("nobody has panicked");
        println!("{}: {count} operations, the other one {other}, nobody {none}", story.tie.0);
        assert!(other > 0 && none > 0, "{story:?}: both happen");
    }
}

/// Machine 0 carries the service, and its gateway falls silent before the two are cut apart: machine 1 goes
/// on. Where neither reaches its own, what they carry decides; and one that is left alone goes on in time.
#[test]
fn the_node_that_reaches_its_gateway_goes_on() {
    const CUT: u64 = CALM + SECOND;
    let gateway = |place| (Kind::Gateway, CALM, HORIZON * 3, place);
    let tell = |faults: &[_], tie: &[Sort], seed| {
        let mut setup = setup(seed, 2, faults);
        setup.ties = [Tie::Arbiters { count: tie.len() as u8, name: 1 }; 2];
        setup.sorts[..tie.len()].copy_from_slice(tie);
        setup.heal_at = CALM + HORIZON;
        let outcome = World::of(setup, false).run();
        assert_eq!(outcome.violation, None, "{tie:?}, seed {seed}");
        let since = one_goes_on(&outcome, in_time() + SECOND);
        (survivors(&outcome), since)
    };
    for (_, tie) in TIES {
        for seed in 0..SEEDS.end.max(seeds()) {
            let cut = (Kind::Split, CUT, HORIZON * 3, 0);
            let (survivors, since) = tell(&[gateway(0), cut], tie, seed);
            assert_eq!((survivors, since.is_ok()), (vec![1], true), "{tie:?}, {seed}: {since:?}");
            let (survivors, since) = tell(&[gateway(0), gateway(1), cut], tie, seed);
            assert_eq!((survivors, since.is_ok()), (vec![0], true), "{tie:?}, {seed}: {since:?}");
            let dead = (Kind::PowerOff, CUT, HORIZON * 3, 0);
            let (survivors, since) = tell(&[gateway(1), dead], tie, seed);
            assert_eq!((survivors, since.is_ok()), (vec![1], true), "{tie:?}, {seed}: {since:?}");
        }
    }
}

/// How many seeds each story is told with.
fn seeds() -> u64 {
    let number = std::env::var("SEEDS").ok().map(|text| text.parse().expect("SEEDS is a number"));
    number.unwrap_or(1)
}
