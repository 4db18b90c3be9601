use std::collections::BTreeMap;

use super::Evidence;
use crate::trace::{Answer, Trace};

/// Answers as (machine, pid, sent, received).
fn trace(answers: &[(&str, u32, u64, u64)]) -> Trace {
    let mut trace = Trace::default();
    for (number, (name, pid, sent, received)) in (0..).zip(answers) {
        let known = trace.responders.iter().position(|known| known == name);
        let responder = known.unwrap_or_else(|| {
            trace.responders.push((*name).to_owned());
            trace.responders.len() - 1
        });
        trace.sent.push(*sent);
        let (pid, sent, received) = (*pid, *sent, *received);
        trace.answers.push(Answer { number, responder: responder as u16, pid, sent, received });
    }
    trace
}

fn breaches(answers: &[(&str, u32, u64, u64)], owners: &[(&str, u32, u64, u64)]) -> usize {
    let power = BTreeMap::from([("n1".to_owned(), vec![500])]);
    let (answers, owners) = (trace(answers), trace(owners));
    Evidence { service: "s", answers: &answers, owners: &owners, power: &power }.breaches().len()
}

#[test]
fn moves_there_and_back_are_no_breach() {
    assert_eq!(breaches(&[("n1", 7, 1, 2), ("n2", 9, 3, 4), ("n1", 12, 5, 6)], &[]), 0);
}

#[test]
fn an_old_process_after_a_young_one_is_a_breach() {
    assert_eq!(breaches(&[("n1", 7, 1, 2), ("n2", 9, 3, 4), ("n1", 7, 5, 6)], &[]), 1);
}

#[test]
fn an_answer_that_was_on_its_way_is_none() {
    assert_eq!(breaches(&[("n1", 7, 1, 2), ("n2", 9, 3, 4), ("n1", 7, 3, 6)], &[]), 0);
}

#[test]
fn pids_begin_anew_with_the_power() {
    assert_eq!(breaches(&[("n1", 7, 1, 2), ("n2", 9, 3, 4), ("n1", 7, 600, 601)], &[]), 0);
}

#[test]
fn an_address_claimed_beside_a_serving_process_is_a_breach() {
    let served = [("n2", 9, 1, 2), ("n2", 9, 20, 21)];
    assert_eq!(breaches(&served, &[("n1", 0, 5, 6)]), 1);
    assert_eq!(breaches(&served, &[("n2", 0, 5, 6)]), 0);
    assert_eq!(breaches(&served, &[("n1", 0, 22, 23)]), 0, "nobody serves any more");
    assert_eq!(breaches(&served, &[("n1", 0, 8, 7)]), 0, "it answers a question of before");
}

#[test]
fn a_question_for_the_address_that_two_machines_answer_is_a_breach() {
    let mut owners = trace(&[("n1", 0, 1, 2), ("n1", 0, 3, 4)]);
    owners.note_answer(1, "n2", 0, std::time::Duration::from_nanos(5));
    let (answers, power) = (Trace::default(), BTreeMap::new());
    let evidence = Evidence { service: "s", answers: &answers, owners: &owners, power: &power };
    assert_eq!(evidence.breaches().len(), 1);
}

#[test]
fn an_outage_lasts_from_the_last_answer_there_to_the_first_here() {
    const MS: u64 = 1_000_000;
    let answers = trace(&[
        ("n1", 7, MS, 2 * MS),
        ("n1", 7, 3 * MS, 4 * MS),
        ("n2", 9, 5 * MS, 10 * MS),
        ("n2", 12, 20 * MS, 21 * MS),
        ("n1", 8, 22 * MS, 23 * MS),
    ]);
    let (owners, power) = (Trace::default(), BTreeMap::new());
    let evidence = Evidence { service: "s", answers: &answers, owners: &owners, power: &power };
    assert_eq!(evidence.outages(), [6.0, 2.0], "a restart on the same machine is none");
    assert_eq!(evidence.lives_between((20 * MS, 22 * MS)), ["12 of n2", "8 of n1"]);
    assert_eq!(evidence.lives_between((23 * MS, 24 * MS)), [""; 0]);
}

#[test]
fn who_has_the_address_is_seen_in_a_span() {
    let owners = trace(&[("n1", 0, 1, 2), ("n2", 0, 5, 6), ("n2", 0, 7, 8), ("n3", 0, 20, 21)]);
    let (answers, power) = (Trace::default(), BTreeMap::new());
    let evidence = Evidence { service: "s", answers: &answers, owners: &owners, power: &power };
    assert_eq!(evidence.owners_between((4, 9)), ["n2"]);
    assert_eq!(evidence.owners_between((0, 9)), ["n1", "n2"]);
    assert_eq!(evidence.owners_between((9, 15)), Vec::<String>::new());
}
