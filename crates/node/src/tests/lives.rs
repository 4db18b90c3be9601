//! The end of a life: leaving, being left out, being told to quit, and being born again.

use base::{Incarnation, NodeId};

use super::field::Field;
use crate::{Command, Durable, EventKind, Input, RefusedKind};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);

/// Lets the others go on without `N1` while its agents are stuck, then lets it hear of that: it is
/// left out and cannot stop what it runs.
fn left_out_and_stopping() -> Field {
    let mut field = Field::formed(3);
    field.seats.get_mut(&N1).expect("it is there").are_agents_stuck = true;
    field.cut(N1, true);
    field.until("the others go on", |field| field.seats[&N2].members().len() == 2);
    // Its guard ends what its lease does not cover any more; its agents do not know.
    field.seats.get_mut(&N1).expect("it is there").running.clear();
    field.cut(N1, false);
    field.until("n1 is left out", |field| {
        field.seats[&N1].told(EventKind::Excluded).len() == 1 && !field.seats[&N1].acts.is_empty()
    });
    assert!(field.seats[&N1].node().status().is_stopping);
    field
}

/// The same with agents that work and a disk that does not: the new incarnation is on its way.
fn between_two_lives() -> Field {
    let mut field = left_out_and_stopping();
    field.seats.get_mut(&N1).expect("it is there").is_disk_stuck = true;
    field.free_agents(N1);
    field.until("it wants a new life", |field| {
        let mut writes = field.seats[&N1].writes.iter();
        writes.any(|(_, what)| is_state_of(what, Incarnation(2)))
    });
    field
}

fn is_state_of(what: &Durable, life: Incarnation) -> bool {
    matches!(what, Durable::State { incarnation, .. } if *incarnation == life)
}

fn quit(field: &mut Field) {
    let answer = field.command(N1, Command::Quit).expect("answered at once");
    assert_eq!(answer, Ok("stopping everything here".to_owned()));
}

fn gone(field: &Field) -> bool {
    field.seats[&N1].node.is_none()
}

#[test]
fn a_node_that_leaves_hands_its_services_over_first() {
    let mut field = Field::formed(3);
    let leave_at = field.now;
    let answer = field.command(N1, Command::Leave).expect("answered at once");
    assert_eq!(answer, Ok("leaving: services move away first".to_owned()));
    let again = field.command(N1, Command::Leave).expect("answered at once");
    assert_eq!(again.expect_err("it leaves already").kind, RefusedKind::NotNow);
    assert!(field.seats[&N1].node().status().is_leaving);
    field.until("it has left", gone);
    assert_eq!(field.seats[&N1].left, 1);
    field.until("web runs elsewhere", |field| field.where_runs("web") == [N2]);
    let timing = Field::timing();
    assert!(field.now.since(leave_at) < timing.lease + timing.release, "nobody waits for a fence");
    assert_eq!(field.seats[&N2].members(), [N2, NodeId(3)]);
    assert!(field.seats[&N2].node().status().group.waits.is_empty());
}

#[test]
fn a_node_without_a_view_leaves_at_once() {
    let mut field = Field::new(3);
    let answer = field.command(N1, Command::Leave).expect("answered at once");
    assert_eq!(answer, Ok("leaving".to_owned()));
    field.step();
    assert!(gone(&field) && field.seats[&N1].left == 1);
    assert!(field.seats[&N1].writes.is_empty());
}

#[test]
fn a_node_that_was_left_out_comes_back_as_another_member() {
    let mut field = left_out_and_stopping();
    assert_eq!(field.seats[&N1].incarnation(), Incarnation(1), "it has not stopped everything");
    let goodbyes = field.seats[&N1].goodbyes.clone();
    field.free_agents(N1);
    field.until("it is reborn", |field| !field.seats[&N1].told(EventKind::Reborn).is_empty());
    let seat = &field.seats[&N1];
    assert_eq!(seat.incarnation(), Incarnation(2));
    assert_eq!(seat.memory.0, Incarnation(2), "on the disk before it says a word");
    assert_ne!(seat.goodbyes, goodbyes, "the guard has those of the new life");
    assert!(seat.node().leases().0 <= field.now);
    field.until("it is a member again", |field| field.seats[&N2].members().len() == 3);
    let view = field.seats[&N2].node().view().expect("there is one").clone();
    assert_eq!(view.member(N1).map(|member| member.incarnation), Some(Incarnation(2)));
}

/// Writes that a former life asked for may be done in a later one.
#[test]
fn a_token_of_a_former_life_is_ignored() {
    let mut field = Field::formed(3);
    // An entry that all must hold: this disk does not take it, and the hub (n1) goes on without it.
    field.seats.get_mut(&N2).expect("it is there").is_disk_stuck = true;
    let mut intent = field.texts["one"].clone();
    (intent.version, intent.checksum) = (2, 2);
    field.texts.insert("two".to_owned(), intent.clone());
    let (intent, text) = (Box::new(intent), "two".to_owned());
    let configure = engine::Command::Configure { expected: 1, intent, text };
    assert_eq!(field.command(N1, Command::Engine(configure)), None);
    field.until("it wants a new life", |field| {
        let mut writes = field.seats[&N2].writes.iter();
        writes.any(|(_, what)| is_state_of(what, Incarnation(2)))
    });
    let writes: Vec<(u64, Durable)> =
        field.seats.get_mut(&N2).expect("it is there").writes.drain(..).collect();
    let (rebirth, former): (Vec<_>, Vec<_>) =
        writes.into_iter().partition(|(_, what)| is_state_of(what, Incarnation(2)));
    let [(token, _)] = rebirth[..] else { panic!("one new life at a time: {rebirth:?}") };
    assert!(former.iter().any(|(_, what)| matches!(what, Durable::Entry(_))), "{former:?}");

    field.feed(N2, Input::Persisted(token));
    assert_eq!(field.seats[&N2].incarnation(), Incarnation(2));
    field.free_disk(N2);
    for (token, _) in former {
        let node = field.seats.get_mut(&N2).and_then(|seat| seat.node.as_mut()).expect("it lives");
        node.handle(field.now, Input::Persisted(token));
        assert_eq!(node.poll_output(), None, "nobody waits for it");
    }
    // The same token again, which is of no life at all any more.
    field.feed(N2, Input::Persisted(token));
    assert_eq!(field.seats[&N2].incarnation(), Incarnation(2));
    field.until("it is a member again", |field| field.seats[&N2].members().len() == 3);
    assert!(field.seats.values().all(|seat| seat.node().engine().intent().version == 2));
}

#[test]
fn quit_in_a_life_stops_everything_first() {
    let mut field = Field::formed(3);
    field.seats.get_mut(&N1).expect("it is there").are_agents_stuck = true;
    quit(&mut field);
    assert!(field.seats[&N1].node().status().is_leaving);
    field.until("it stops web", |field| !field.seats[&N1].acts.is_empty());
    assert!(!gone(&field), "web runs");
    field.free_agents(N1);
    field.until("it has left", gone);
    assert!(field.seats[&N1].running.is_empty());
}

#[test]
fn quit_before_there_is_a_view_ends_at_once() {
    let mut field = Field::new(3);
    quit(&mut field);
    assert_eq!(field.seats[&N1].left, 1);
}

#[test]
fn quit_while_services_move_away() {
    let mut field = Field::formed(3);
    field.seats.get_mut(&N1).expect("it is there").are_agents_stuck = true;
    field.command(N1, Command::Leave).expect("answered at once").expect("it may");
    field.until("it stops web", |field| !field.seats[&N1].acts.is_empty());
    quit(&mut field);
    field.step();
    assert!(!gone(&field), "web runs");
    field.free_agents(N1);
    field.until("it has left", gone);
}

#[test]
fn quit_while_nobody_lets_this_node_go() {
    let mut field = Field::formed(3);
    field.command(N1, Command::Leave).expect("answered at once").expect("it may");
    field.until("nothing runs there", |field| field.where_runs("web").is_empty());
    field.cut(N1, true);
    field.pass(Field::timing().fence_wait() * 3);
    assert!(!gone(&field), "it waits for the others");
    quit(&mut field);
    assert_eq!(field.seats[&N1].left, 1);
}

#[test]
fn quit_while_everything_is_stopped_for_a_new_life() {
    let mut field = left_out_and_stopping();
    quit(&mut field);
    field.step();
    assert!(!gone(&field), "it stops what it ran first");
    field.free_agents(N1);
    field.until("it has left", gone);
    assert_eq!(field.seats[&N1].memory.0, Incarnation(1), "no new life was begun");
}

#[test]
fn quit_between_two_lives() {
    let mut field = between_two_lives();
    let (token, _) = field.seats[&N1].writes.back().cloned().expect("the new life");
    quit(&mut field);
    assert_eq!(field.seats[&N1].left, 1, "nothing runs, nobody has to be asked");
    // The disk was quicker than the end of the process.
    field.feed(N1, Input::Persisted(token));
    assert_eq!(field.seats[&N1].incarnation(), Incarnation(1));
    assert!(field.seats[&N1].told(EventKind::Reborn).is_empty());
    quit(&mut field);
    assert_eq!(field.seats[&N1].left, 1, "it is over once");
}

#[test]
fn leave_is_refused_between_two_lives() {
    let mut field = between_two_lives();
    let answer = field.command(N1, Command::Leave).expect("answered at once");
    assert_eq!(answer.expect_err("it starts over").kind, RefusedKind::NotNow);
    field.free_disk(N1);
    field.until("it is a member again", |field| field.seats[&N2].members().len() == 3);
}

#[test]
fn a_node_that_is_alone_is_woken_up_before_its_lease_is_over() {
    let field = Field::formed(1);
    let node = field.seats[&NodeId(1)].node();
    let (at, _) = node.deadline().expect("it holds a service");
    assert!(at < node.leases().0, "else nobody extends it");
}
