use super::*;

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
fn greater_ballots_refuse_and_later_generations_are_past() {
    let own = taken(&[ask(3, ballot(1, 1), None)]);
    let other = |requests: &[Request]| [taken(requests)];
    let request = ask(3, ballot(1, 1), None);
    assert_eq!(answer(&own, &[], &request), Answer::Promised(None));
    let greater = other(&[ask(3, ballot(1, 2), None)]);
    assert_eq!(answer(&own, &greater, &request), Answer::Refused(ballot(1, 2)));
    let smaller = other(&[ask(3, ballot(1, 0), None)]);
    assert_eq!(answer(&own, &smaller, &request), Answer::Promised(None));
    let earlier = other(&[ask(2, ballot(9, 2), Some(b"old"))]);
    assert_eq!(answer(&own, &earlier, &request), Answer::Promised(None));
    let later = [taken(&[ask(4, ballot(1, 2), None)]), greater[0].clone()];
    assert_eq!(answer(&own, &later, &request), Answer::Past(4));
    let elsewhere = Request { scope: Scope { lineage: 8, generation: 9 }, ..request.clone() };
    assert_eq!(answer(&own, &[taken(&[elsewhere])], &request), Answer::Promised(None));
    // The own block says so before anything is written.
    let mut own = own;
    assert_eq!(own.take(&ask(3, ballot(0, 1), None)), Err(Answer::Refused(ballot(1, 1))));
    assert_eq!(own.take(&ask(2, ballot(9, 1), None)), Err(Answer::Past(3)));
}

#[test]
fn the_newest_accepted_value_is_told() {
    let own = taken(&[ask(3, ballot(1, 1), Some(b"one")), ask(3, ballot(4, 1), None)]);
    let others = [
        taken(&[ask(3, ballot(2, 2), Some(b"two"))]),
        taken(&[ask(3, ballot(3, 0), Some(b"three")), ask(3, ballot(3, 3), None)]),
    ];
    let told = answer(&own, &others, &ask(3, ballot(4, 1), None));
    let newest = Accepted { ballot: ballot(3, 0), value: b"three".to_vec() };
    assert_eq!(told, Answer::Promised(Some(newest)));
}
