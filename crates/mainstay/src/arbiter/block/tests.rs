use base::Prng;
use group::disk::judge;
use group::{Answer, Ballot, Request, Scope};

use super::*;

const CLUSTER: u32 = 10;

fn scope(generation: u64) -> Scope {
    Scope { lineage: 7, generation }
}

fn ballot(round: u32, node: u8) -> Ballot {
    Ballot { round, node }
}

fn ask(generation: u64, ballot: Ballot, value: Option<&[u8]>) -> Request {
    Request { arbiters: 7, scope: scope(generation), ballot, value: value.map(<[u8]>::to_vec) }
}

/// A memory that has taken these.
fn taken(requests: &[Request]) -> Memory {
    let mut memory = Memory::default();
    for request in requests {
        memory.take(request).expect("nothing forbids it");
    }
    memory
}

fn answer(own: &Memory, others: &[Memory], request: &Request) -> Answer {
    judge(own, others.iter(), request).answer
}

#[test]
fn a_copy_comes_back_as_it_was_written() {
    let memory = taken(&[ask(3, ballot(1, 1), None), ask(3, ballot(1, 1), Some(b"v"))]);
    let first = encode(CLUSTER, NodeId(1), 5, &memory);
    let blank = vec![0; COPY_SIZE];
    let run = decode(CLUSTER, NodeId(1), &[&first[..], &blank].concat());
    assert_eq!(run, Ok(Run { sequence: 5, memory: memory.clone(), older: 1 }));
    let second = encode(CLUSTER, NodeId(1), 6, &memory);
    let run = decode(CLUSTER, NodeId(1), &[first, second].concat());
    assert_eq!(run, Ok(Run { sequence: 6, memory, older: 0 }));
}

#[test]
fn what_another_cluster_or_node_left_is_no_news() {
    let memory = taken(&[ask(3, ballot(1, 1), None)]);
    for (cluster, node) in [(11, 1), (CLUSTER, 2)] {
        let foreign = encode(cluster, NodeId(node), 9, &memory);
        let run = decode(CLUSTER, NodeId(1), &[foreign.clone(), foreign].concat());
        assert_eq!(run, Ok(Run::default()));
    }
}

/// A write that is cut anywhere leaves the copy before it.
#[test]
fn a_torn_write_leaves_what_was_there() {
    let before = taken(&[ask(3, ballot(1, 1), None)]);
    let after = taken(&[ask(3, ballot(2, 1), Some(&[1; 6_000]))]);
    let older = encode(CLUSTER, NodeId(1), 4, &before);
    let newest = encode(CLUSTER, NodeId(1), 5, &before);
    let written = encode(CLUSTER, NodeId(1), 6, &after);
    for sectors in 1..COPY_SIZE / 512 {
        let torn = [&written[..sectors * 512], &older[sectors * 512..]].concat();
        let run = decode(CLUSTER, NodeId(1), &[torn, newest.clone()].concat());
        assert_eq!(run.map(|run| (run.sequence, run.memory)), Ok((5, before.clone())));
    }
    let torn = [&written[..512], &older[512..]].concat();
    assert_eq!(decode(CLUSTER, NodeId(1), &[torn.clone(), torn.clone()].concat()), Err(Damaged));
    // The very first write did not land.
    let blank = vec![0; COPY_SIZE];
    assert_eq!(decode(CLUSTER, NodeId(1), &[torn, blank].concat()), Ok(Run::default()));
}

#[test]
fn several_lineages_are_kept_as_long_as_they_fit() {
    let of = |lineage: u32| {
        let scope = Scope { lineage, generation: 1 };
        let value = Some(vec![lineage as u8; VALUE_SIZE_MAX / 2]);
        Request { arbiters: 7, scope, ballot: ballot(1, 1), value }
    };
    let all: Vec<Request> = (1..=6).map(of).collect();
    let memory = taken(&all);
    let bytes = encode(CLUSTER, NodeId(1), 1, &memory);
    let run = decode(CLUSTER, NodeId(1), &[bytes, vec![0; COPY_SIZE]].concat()).expect("whole");
    let kept = [5, 6].map(of);
    assert_eq!(run.memory, taken(&kept), "the last used stay");
}

/// What a coordinator of the random game does next on the disk.
#[derive(Debug)]
enum Step {
    Write,
    Read(usize),
    Judge,
}

struct Coordinator {
    memory: Memory,
    sequence: u64,
    older: u64,
    round: u32,
    request: Request,
    steps: Vec<Step>,
    seen: Vec<Memory>,
    decided: Option<Vec<u8>>,
}

/// Coordinators that interleave at random, with writes that tear, never decide two values.
#[test]
fn two_halves_never_decide_two_values() {
    let mut decisions = 0;
    for seed in 0..400 {
        let mut prng = Prng::new(seed);
        let count = 2 + (seed % 2) as usize;
        let mut disk = vec![vec![vec![0; COPY_SIZE]; 2]; count];
        let begin = |id: usize, round: u32, value: Option<Vec<u8>>| Request {
            arbiters: 7,
            scope: scope(1),
            ballot: ballot(round, id as u8),
            value,
        };
        let mut all: Vec<Coordinator> = (0..count)
            .map(|id| Coordinator {
                memory: Memory::default(),
                sequence: 0,
                older: 0,
                round: 1,
                request: begin(id, 1, None),
                steps: vec![Step::Write],
                seen: Vec::new(),
                decided: None,
            })
            .collect();
        for _ in 0..200 {
            let id = prng.range(0..=count as u64 - 1) as usize;
            let torn = prng.chance(1, 8);
            let one = &mut all[id];
            let Some(step) = one.steps.pop() else { continue };
            let again = |one: &mut Coordinator| {
                one.round += 1;
                one.request = begin(id, one.round, None);
                one.steps = vec![Step::Write];
            };
            match step {
                Step::Write => {
                    one.seen.clear();
                    let mut after = one.memory.clone();
                    if after.take(&one.request).is_err() {
                        again(one);
                        continue;
                    }
                    let bytes = encode(CLUSTER, NodeId(id as u8), one.sequence + 1, &after);
                    let copy = &mut disk[id][one.older as usize];
                    if torn {
                        copy[..4_096].copy_from_slice(&bytes[..4_096]);
                        copy[4_096] ^= 1;
                        again(one);
                        continue;
                    }
                    *copy = bytes;
                    (one.memory, one.sequence, one.older) =
                        (after, one.sequence + 1, 1 - one.older);
                    let others = (0..count).filter(|other| *other != id).map(Step::Read);
                    one.steps = [Step::Judge].into_iter().chain(others).collect();
                }
                Step::Read(other) => {
                    let run = decode(CLUSTER, NodeId(other as u8), &disk[other].concat());
                    match run {
                        Ok(run) => one.seen.push(run.memory),
                        Err(Damaged) => again(one),
                    }
                }
                Step::Judge => match answer(&one.memory, &one.seen, &one.request) {
                    Answer::Promised(accepted) => {
                        let value = accepted.map_or(vec![id as u8], |accepted| accepted.value);
                        one.request = begin(id, one.round, Some(value));
                        one.steps = vec![Step::Write];
                    }
                    Answer::Accepted => one.decided = one.request.value.clone(),
                    Answer::Refused(_) => again(one),
                    Answer::Past(_) => panic!("there is one generation"),
                },
            }
        }
        let mut decided: Vec<&Vec<u8>> = all.iter().filter_map(|it| it.decided.as_ref()).collect();
        decided.dedup();
        assert!(decided.len() <= 1, "seed {seed}: {decided:?}");
        decisions += decided.len();
    }
    assert!(decisions > 300, "only {decisions} of 400 games came to a decision");
}
