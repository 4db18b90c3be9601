//! Who turns off whom, and what that is good for.

use base::NodeId;

use super::field::{Field, WATCHDOG};
use crate::{Command, EventKind, FenceAnswer, FenceVerb, RefusedKind};

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);

/// The nodes that run agents, and whom they turn off.
fn at_work(field: &Field) -> Vec<(NodeId, NodeId)> {
    let runs =
        field.seats.iter().flat_map(|(id, seat)| seat.fence_runs.iter().map(|run| (*id, run.node)));
    runs.collect()
}

#[test]
fn the_hub_of_the_next_view_turns_the_lost_node_off_and_need_not_wait() {
    let mut field = Field::fenced(3);
    let lost_at = field.now;
    field.kill(N1);
    field.until("an agent runs", |field| !at_work(field).is_empty());
    let [(hub, whom)] = at_work(&field)[..] else { panic!("one agent runs") };
    assert_eq!((whom, field.seats[&hub].node().view().expect("a member").hub), (N1, hub));
    field.agent_says(hub, FenceVerb::Off, FenceAnswer::Done);
    field.until("the status is asked", |field| !at_work(field).is_empty());
    assert!(field.seats[&hub].told(EventKind::Fenced).is_empty(), "accepted is not off");
    field.agent_says(hub, FenceVerb::Status, FenceAnswer::PowerOff);
    field.until("web runs elsewhere", |field| field.where_runs("web") == [N2]);
    let timing = Field::timing();
    assert!(field.now.since(lost_at) < timing.lease + timing.release, "sooner than by time");
    let fenced = field.seats[&N2].told(EventKind::Fenced);
    assert_eq!(fenced, [format!("n1 can act no more: {}", engine::Proof::Agent.name())]);
    assert_eq!(field.seats[&hub].fence_records.len(), 1);
    let told = field.seats[&hub].told(EventKind::Fencing);
    assert!(told[0].starts_with("turning n1 off: level 1 (board)"), "{told:?}");
}

#[test]
fn whoever_is_cut_off_turns_nobody_off() {
    let mut field = Field::fenced(3);
    field.cut(N1, true);
    field.until("an agent runs", |field| !at_work(field).is_empty());
    field.until("it may own nothing any more", |field| {
        field.seats[&N1].node().leases().0 <= field.now
    });
    assert!(field.seats[&N1].fence_runs.is_empty(), "{:?}", at_work(&field));
    assert!(at_work(&field).iter().all(|(_, whom)| *whom == N1));
}

#[test]
fn a_machine_that_ran_nothing_stays_on() {
    let mut field = Field::fenced(3);
    field.kill(N3);
    field.until("it is left out", |field| field.seats[&N1].members() == [N1, N2]);
    field.pass(Field::timing().fence_wait());
    assert_eq!(at_work(&field), []);
}

#[test]
fn when_the_hub_is_lost_the_next_one_starts_over() {
    let mut field = Field::fenced(5);
    field.kill(N1);
    field.until("an agent runs", |field| !at_work(field).is_empty());
    let [(first, _)] = at_work(&field)[..] else { panic!("one agent runs") };
    field.kill(first);
    let seat = field.seats.get_mut(&first).expect("there is such a seat");
    seat.fence_runs.clear();
    field.until("the next hub runs one", |field| !at_work(field).is_empty());
    let [(second, whom)] = at_work(&field)[..] else { panic!("one agent runs") };
    assert_eq!(whom, N1, "the hub held no service");
    assert_ne!(second, first);
    field.agent_says(second, FenceVerb::Off, FenceAnswer::Done);
    field.until("the status is asked", |field| !at_work(field).is_empty());
    field.agent_says(second, FenceVerb::Status, FenceAnswer::PowerOff);
    field.until("web runs elsewhere", |field| !field.where_runs("web").is_empty());
}

#[test]
fn by_hand_a_machine_is_reset_only_while_its_node_is_in_standby_and_idle() {
    let mut field = Field::fenced(3);
    let refused = |answer: Option<Result<String, crate::Refused>>| {
        answer.expect("answered at once").expect_err("it is refused")
    };
    let own = refused(field.command(N2, Command::FenceOff(N2)));
    assert_eq!(own.sentence, "a node does not turn its own machine off or on");
    let unknown = refused(field.command(N2, Command::FenceOff(NodeId(9))));
    assert_eq!(unknown.kind, RefusedKind::Unknown);
    let busy = refused(field.command(N2, Command::FenceReset(N1)));
    assert_eq!(busy.sentence, "n1 is not an idle member in standby");
    let standby = engine::Command::Standby { node: "n3".to_owned() };
    field.command(N2, Command::Engine(standby));
    field.pass(Field::timing().path_timeout);
    let reset = field.command(N2, Command::FenceReset(N3)).expect("answered at once");
    assert_eq!(reset.expect("it is idle"), "turning the machine of n3 off and on again");
    field.agent_says(N2, FenceVerb::Off, FenceAnswer::Done);
    field.until("the status is asked", |field| !at_work(field).is_empty());
    field.agent_says(N2, FenceVerb::Status, FenceAnswer::PowerOff);
    field.until("it is turned on", |field| !at_work(field).is_empty());
    field.agent_says(N2, FenceVerb::On, FenceAnswer::Done);
    field.until("that is recorded", |field| field.seats[&N2].fence_records.len() == 2);
}

#[test]
fn a_storage_service_is_fenced_for_after_the_lease_until_the_machine_was_seen_off() {
    let mut field = Field::storing(3, false);
    field.kill(N1);
    field.pass(Field::timing().fence_wait() * 3);
    assert_eq!(field.where_runs("web"), [], "a lease that is over proves nothing");
    let lapsed = format!("n1 can act no more: {}", engine::Proof::Time.name());
    assert_eq!(field.seats[&N2].told(EventKind::Fenced), std::slice::from_ref(&lapsed));
    let [(hub, whom)] = at_work(&field)[..] else { panic!("one agent runs") };
    assert_eq!(whom, N1);
    field.agent_says(hub, FenceVerb::Off, FenceAnswer::Done);
    field.until("the status is asked", |field| !at_work(field).is_empty());
    field.agent_says(hub, FenceVerb::Status, FenceAnswer::PowerOff);
    field.until("web runs elsewhere", |field| field.where_runs("web") == [N2]);
    let seen = format!("n1 can act no more: {}", engine::Proof::Agent.name());
    assert_eq!(field.seats[&N2].told(EventKind::Fenced), [lapsed, seen]);
}

#[test]
fn a_watchdog_that_all_were_told_of_frees_what_writes_in_its_time() {
    let mut field = Field::storing(3, true);
    let life = field.seats[&N1].node().local();
    assert_eq!(field.seats[&N2].node().engine().observation().watchdog(life), Some(WATCHDOG));
    let lost_at = field.now;
    field.kill(N1);
    let wait = Field::timing().storage_fence_wait(WATCHDOG);
    field.pass(wait - Field::timing().path_timeout);
    assert_eq!(field.where_runs("web"), [], "it may not have been reset yet");
    field.until("web runs elsewhere", |field| field.where_runs("web") == [N2]);
    assert!(field.now.since(lost_at) < wait + Field::timing().path_timeout * 2, "not much later");
    let reset = format!("n1 can act no more: {}", engine::Proof::Watchdog.name());
    assert_eq!(field.seats[&N2].told(EventKind::Fenced).last(), Some(&reset.as_str()));
}

#[test]
fn a_new_life_frees_what_it_does_not_run() {
    let mut field = Field::storing(3, false);
    field.kill(N1);
    field.pass(Field::timing().fence_wait() * 2);
    assert_eq!(field.where_runs("web"), []);
    field.start(N1);
    field.until("web runs", |field| !field.where_runs("web").is_empty());
    assert!(field.seats[&N2].node().group().waits().next().is_none());
}

#[test]
fn who_is_lost_with_the_last_path_keeps_its_services_when_that_is_wished() {
    let mut field = Field::holding(3);
    field.pass(Field::timing().path_timeout * 4);
    let none = |field: &Field| field.seats[&N2].node().engine().observation().jeopardy.is_empty();
    assert!(none(&field), "two paths lead to each");
    field.dead = Some(base::NetworkId(1));
    field.until("all know of the one path that is left", |field| {
        let jeopardy = |seat: &super::field::Seat| seat.node().engine().observation().jeopardy;
        field
            .seats
            .values()
            .all(|seat| [N1, N2, N3].into_iter().all(|n| jeopardy(seat).contains(n)))
    });
    let owner = field.where_runs("web")[0];
    field.kill(owner);
    field.pass(Field::timing().fence_wait() * 3);
    assert_eq!(field.where_runs("web"), [], "nobody knows what became of it");
    let other = if owner == N3 { N2 } else { N3 };
    field.command(other, Command::ConfirmDown(owner));
    field.until("web runs elsewhere", |field| !field.where_runs("web").is_empty());
}

#[test]
fn by_hand_the_machine_of_an_owner_stays_off_also_where_lost_ones_are_turned_on_again() {
    let mut field = Field::rebooting(3);
    let hub = field.seats[&N2].node().group().view().expect("it is in a view").hub;
    let next = if hub == N1 { N2 } else { hub };
    let other = if next == N2 { N3 } else { N2 };
    let refused = field.command(other, Command::FenceOff(N1)).expect("answered at once");
    let sentence = refused.expect_err("another one would turn it on again").sentence;
    let there = format!("give this command on n{},", next.0);
    assert!(sentence.contains(&there), "{sentence}");
    field.command(next, Command::FenceOff(N1)).expect("answered at once").expect("it may");
    field.agent_says(next, FenceVerb::Off, FenceAnswer::Done);
    field.kill(N1);
    field.until("the status is asked", |field| !at_work(field).is_empty());
    field.agent_says(next, FenceVerb::Status, FenceAnswer::PowerOff);
    field.until("web runs elsewhere", |field| !field.where_runs("web").is_empty());
    field.pass(Field::timing().fence_wait() * 3);
    assert_eq!(at_work(&field), [], "nobody turns it on");
    let seen = format!("n1 can act no more: {}", engine::Proof::Agent.name());
    assert_eq!(field.seats[&next].told(EventKind::Fenced), [seen]);
}
