//! Views and services: what a cluster does while its nodes live one life each.

use base::NodeId;
use engine::Command as Wish;

use super::field::{Field, service};
use crate::machine::UNSUBMITTED_MAX;
use crate::{Command, EventKind, RefusedKind};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);

#[test]
fn three_nodes_form_one_view_and_start_the_service_once() {
    let mut field = Field::formed(3);
    field.until("all know it", |field| {
        field.seats.values().all(|seat| {
            let status = seat.node().status().engine;
            status.services.iter().all(|web| web.state == engine::State::Running)
        })
    });
    let first = field.seats[&N1].node().view().expect("it formed").clone();
    for seat in field.seats.values() {
        assert_eq!(seat.node().view(), Some(&first));
        assert_eq!(seat.memory.1.as_ref(), Some(&first), "the view is on the disk");
        assert!(!seat.goodbyes.is_empty(), "the guard has what it may have to send");
        let (until, held) = seat.node().leases();
        assert!(until > field.now);
        let holds = seat.node().local().node == N1;
        assert_eq!(held.collect::<Vec<_>>(), if holds { vec!["web"] } else { vec![] });
    }
    assert_eq!(first.members.len(), 3);
}

#[test]
fn events_call_nodes_and_networks_by_their_names() {
    let mut field = Field::formed(2);
    field.cut(N2, true);
    field.until("the paths are dead", |field| {
        field.seats[&N1].told(EventKind::Peer).iter().any(|told| told.starts_with("n2 is lost"))
    });
    let told = field.seats[&N1].told(EventKind::Path);
    for network in ["blue", "green"] {
        for state in ["alive", "dead"] {
            let said = format!("path to n2 over network {network}: {state}");
            assert!(told.iter().any(|told| told.starts_with(&said)), "{said}: {told:?}");
        }
    }
    assert!(told.iter().all(|told| !told.contains('#') && !told.contains("network 0")), "{told:?}");
}

#[test]
fn drivers_tell_each_other_things_in_order() {
    let mut field = Field::formed(3);
    field.tell(N1, N2, b"first");
    field.tell(N1, N2, &[]);
    field.tell(N3, N2, &[0xff; crate::TELL_SIZE_MAX]);
    field.until("all has come", |field| field.seats[&N2].heard.len() == 3);
    let member = |id: NodeId, field: &Field| field.seats[&id].node().local();
    let heard = |from, field: &Field| -> Vec<Vec<u8>> {
        let all = field.seats[&N2].heard.iter().filter(|(source, _)| *source == from);
        all.map(|(_, bytes)| bytes.clone()).collect()
    };
    assert_eq!(heard(member(N1, &field), &field), [b"first".to_vec(), Vec::new()]);
    assert_eq!(heard(member(N3, &field), &field), [vec![0xff; crate::TELL_SIZE_MAX]]);
    assert!(field.seats[&N1].heard.is_empty() && field.seats[&N3].heard.is_empty());
}

#[test]
fn a_service_moves_when_its_node_can_act_no_more_and_not_before() {
    let mut field = Field::formed(3);
    let lost_at = field.now;
    field.kill(N1);
    field.until("web runs elsewhere", |field| !field.where_runs("web").is_empty());
    assert_eq!(field.where_runs("web"), [N2]);
    let timing = Field::timing();
    let waited = field.now.since(lost_at);
    assert!(waited >= timing.lease + timing.release, "it was free after {waited:?}");
    let fenced = field.seats[&N2].told(EventKind::Fenced);
    assert_eq!(fenced, [format!("n1 can act no more: {}", engine::Proof::Time.name())]);
    assert_eq!(field.seats[&N2].members(), [N2, N3]);
}

#[test]
fn a_goodbye_saves_the_wait() {
    let mut field = Field::formed(3);
    field.kill(N1);
    let lost_at = field.now;
    field.say_goodbye(N1);
    field.until("web runs elsewhere", |field| !field.where_runs("web").is_empty());
    let timing = Field::timing();
    assert!(field.now.since(lost_at) < timing.lease + timing.release);
    let fenced = field.seats[&N2].told(EventKind::Fenced);
    assert_eq!(fenced, [format!("n1 can act no more: {}", engine::Proof::Goodbye.name())]);
}

#[test]
fn without_half_of_the_view_nothing_moves_and_nothing_is_promised() {
    let mut field = Field::formed(2);
    field.kill(N1);
    field.pass(Field::timing().fence_wait() * 5);
    assert!(field.where_runs("web").is_empty());
    assert!(field.seats[&N2].node().leases().0 <= field.now, "no lease without the other half");
    let waiting = field.seats[&N2].node().status().waiting.expect("it says why");
    assert!(waiting.contains("half"), "{waiting}");
    // A person decides.
    let answer = field.command(N2, Command::ConfirmDown(N1)).expect("answered at once");
    assert!(answer.as_ref().is_ok_and(|said| said.starts_with("n1 counts as down")), "{answer:?}");
    field.until("web runs again", |field| field.where_runs("web") == [N2]);
}

#[test]
fn a_configuration_is_on_every_disk_before_it_is_in_force() {
    let mut field = Field::formed(3);
    let mut intent = field.texts["one"].clone();
    (intent.version, intent.checksum) = (2, 2);
    intent.services.push(service("mail", 101, 3));
    field.texts.insert("two".to_owned(), intent.clone());
    field.seats.get_mut(&N3).expect("it is there").is_disk_stuck = true;
    let (intent, text) = (Box::new(intent), "two".to_owned());
    let configure = Wish::Configure { expected: 1, intent, text };
    assert_eq!(field.command(N1, Command::Engine(configure)), None, "answered when delivered");
    field.pass(Field::timing().stall / 2);
    assert!(field.seats.values().all(|seat| seat.node().engine().intent().version == 1));
    assert_eq!(field.seats[&N3].writes.len(), 1);
    field.free_disk(N3);
    field.until("mail runs", |field| field.where_runs("mail") == [N1]);
    assert!(field.seats.values().all(|seat| seat.node().cluster().text == "two"));
}

#[test]
fn commands_beyond_the_limit_are_refused_and_the_others_are_carried_out() {
    let mut field = Field::formed(3);
    let clear = || Command::Engine(Wish::Clear { service: "web".to_owned(), node: None });
    let limit = UNSUBMITTED_MAX + 1_000;
    let mut taken = 0;
    let refused = loop {
        match field.command(N2, clear()) {
            None => taken += 1,
            Some(answer) => break answer.expect_err("nothing is delivered without a turn"),
        }
        assert!(taken < limit, "nothing is refused");
    };
    assert_eq!(refused.kind, RefusedKind::Busy, "{}", refused.sentence);
    assert!(taken >= UNSUBMITTED_MAX);
    let answers = field.seats[&N2].answers.len();
    field.until("all are answered", |field| field.seats[&N2].answers.len() == answers + taken);
    let answers = &field.seats[&N2].answers;
    assert!(answers.iter().filter(|(_, result)| result.is_ok()).count() >= taken);
    assert_eq!(field.command(N2, clear()), None, "there is room again");
}

#[test]
fn a_disk_that_is_stuck_is_asked_for_a_handful_of_writes() {
    let mut field = Field::new(3);
    field.seats.get_mut(&N2).expect("it is there").is_disk_stuck = true;
    let mut most = 0;
    for round in 0..40 {
        let other = if round % 2 == 0 { N1 } else { N3 };
        field.cut(other, true);
        field.pass(Field::timing().path_timeout * 3);
        if round % 5 == 0 {
            field.kill(other);
            field.start(other);
        }
        field.cut(other, false);
        field.pass(Field::timing().hold * 2);
        most = most.max(field.seats[&N2].writes.len());
    }
    // The daemon has room for 64 (`WRITES_MAX` of its disk thread) and takes more for a defect.
    assert!((1..=16).contains(&most), "{most} writes wait");
    field.free_disk(N2);
    field.until("it is a member", |field| field.seats[&N2].members().len() == 3);
}
