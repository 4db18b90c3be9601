//! Services that need networks beside that of their address.

use core::time::Duration;

use base::NodeId;
use network::Condition::{self, Fails, Silent, Unpolled, Works};

use super::field::Field;
use crate::EventKind;

const N1: NodeId = NodeId(1);
const N2: NodeId = NodeId(2);
const N3: NodeId = NodeId(3);
const NET1: u8 = 1;

#[test]
fn a_network_that_fails_here_alone_moves_what_needs_it() {
    let mut field = Field::needing(2);
    field.pull(N1, NET1, true);
    field.until("web went to n2", |field| field.where_runs("web") == [N2]);
    // Nor does it come back by the failure of another.
    field.pull(N1, NET1, false);
    field.pass(Duration::from_secs(5));
    assert_eq!(field.where_runs("web"), [N2]);
}

#[test]
fn what_does_not_need_it_stays() {
    let mut field = Field::formed(2);
    field.pull(N1, NET1, true);
    field.pass(Duration::from_secs(5));
    assert_eq!(field.where_runs("web"), [N1]);
}

#[test]
fn a_network_that_fails_for_all_moves_nothing_and_neither_does_its_return() {
    let mut field = Field::needing(2);
    for on in [true, false] {
        for node in [N1, N2] {
            field.pull(node, NET1, on);
            field.pass(Duration::from_millis(300));
            assert_eq!(field.where_runs("web"), [N1]);
        }
        field.pass(Duration::from_secs(5));
        assert_eq!(field.where_runs("web"), [N1]);
    }
}

#[test]
fn a_node_without_it_is_no_target() {
    let mut field = Field::needing(3);
    field.pull(N2, NET1, true);
    field.pass(Duration::from_secs(3));
    field.kill(N1);
    field.until("web went to n3", |field| field.where_runs("web").contains(&N3));
    assert!(!field.where_runs("web").contains(&N2));
}

/// What polls say of the second network on each node; the first one works.
fn say(field: &mut Field, conditions: &[Condition]) {
    for (id, condition) in (1..).map(NodeId).zip(conditions) {
        field.polls_say(id, [Works, condition.clone()]);
    }
}

fn told(field: &Field, node: NodeId) -> Vec<&str> {
    let seat = &field.seats[&node];
    let both = [EventKind::NetworkDown, EventKind::NetworkUp];
    both.iter().flat_map(|kind| seat.told(*kind)).collect()
}

#[test]
fn a_network_that_is_silent_here_and_proven_elsewhere_moves_what_needs_it() {
    let mut field = Field::needing(3);
    say(&mut field, &[Works, Works, Works]);
    field.pass(Duration::from_secs(3));
    say(&mut field, &[Silent, Works, Works]);
    field.pass(Duration::from_millis(900));
    assert_eq!(told(&field, N1), [""; 0], "not before the grace is over");
    field.until("web went to n2", |field| field.where_runs("web") == [N2]);
    let expected = "network_down local: green has failed on n1";
    for node in [N1, N2, N3] {
        assert_eq!(told(&field, node), [expected]);
    }
    let trouble = field.seats[&N1].node().status().network.interfaces.expect("a picture");
    assert_eq!(trouble[1].trouble(), Some("hears nothing, and other nodes do"));
    // It works again as soon as its own polls prove it.
    say(&mut field, &[Works, Works, Works]);
    field.pass(Duration::from_millis(100));
    let trouble = field.seats[&N1].node().status().network.interfaces.expect("a picture");
    assert_eq!(trouble[1].trouble(), None);
    field.pass(Duration::from_secs(5));
    assert_eq!(told(&field, N3), [expected, "network_up: green"]);
    assert_eq!(field.where_runs("web"), [N2], "and it does not come back for that");
}

#[test]
fn paths_over_a_network_that_polls_doubt_stay() {
    let mut field = Field::formed(3);
    say(&mut field, &[Silent, Works, Works]);
    field.pass(Duration::from_secs(5));
    assert_eq!(told(&field, N2).len(), 1);
    assert_eq!(field.where_runs("web"), [N1], "it does not need that network");
    for peer in field.seats[&N1].node().transport().status().peers {
        let alive = |path: &transport::PathStatus| path.state == transport::PathState::Alive;
        assert!(peer.paths.iter().all(alive), "{peer:?}");
    }
}

#[test]
fn a_network_that_is_silent_for_all_moves_nothing_and_neither_does_its_return() {
    for order in [[N1, N2, N3], [N3, N2, N1]] {
        let mut field = Field::needing(3);
        say(&mut field, &[Works, Works, Works]);
        field.pass(Duration::from_secs(3));
        // Not in the same instant.
        for node in order {
            field.polls_say(node, [Works, Silent]);
            field.pass(Duration::from_millis(300));
        }
        field.pass(Duration::from_secs(5));
        assert_eq!(field.where_runs("web"), [N1]);
        let expected = "network_down global: green has failed for all: silent on n1, n2, n3";
        assert_eq!(told(&field, N2), [expected]);
        for node in order {
            field.polls_say(node, [Works, Works]);
            field.pass(Duration::from_millis(300));
        }
        field.pass(Duration::from_secs(5));
        assert_eq!(field.where_runs("web"), [N1]);
        assert_eq!(told(&field, N2), [expected, "network_up: green"]);
    }
}

#[test]
fn who_was_blamed_for_what_others_notice_late_is_cleared_at_once() {
    let mut field = Field::needing(3);
    say(&mut field, &[Works, Works, Works]);
    field.pass(Duration::from_secs(3));
    field.polls_say(N1, [Works, Silent]);
    // Longer than the grace, and not long enough for its services to leave.
    field.pass(Duration::from_millis(1_700));
    assert_eq!(told(&field, N2), ["network_down local: green has failed on n1"]);
    field.polls_say(N2, [Works, Silent]);
    field.polls_say(N3, [Works, Silent]);
    field.pass(Duration::from_secs(10));
    assert_eq!(field.where_runs("web"), [N1]);
}

#[test]
fn a_signal_alone_proves_nothing_against_another() {
    let mut field = Field::needing(2);
    say(&mut field, &[Silent, Unpolled]);
    field.pass(Duration::from_secs(10));
    assert_eq!(field.where_runs("web"), [N1]);
    assert_eq!(told(&field, N1), [""; 0]);
}

#[test]
fn a_node_that_is_silent_alone_is_no_target() {
    let mut field = Field::needing(3);
    say(&mut field, &[Works, Silent, Works]);
    field.pass(Duration::from_secs(3));
    field.kill(N1);
    field.until("web went to n3", |field| field.where_runs("web").contains(&N3));
    assert!(!field.where_runs("web").contains(&N2));
}

#[test]
fn cables_pulled_from_one_and_from_all_are_told_apart_in_the_events() {
    let mut field = Field::formed(2);
    field.pull(N1, NET1, true);
    field.pass(Duration::from_secs(2));
    let local = "network_down local: green has failed on n1";
    assert_eq!(told(&field, N2), [local]);
    field.pull(N2, NET1, true);
    field.pass(Duration::from_secs(2));
    let global = "network_down global: green has failed for all: down on n1, n2";
    assert_eq!(told(&field, N1), [local, global]);
}

/// What is wrong with the interfaces of the first node, in their order.
fn troubles(field: &Field) -> Vec<Option<String>> {
    let seen = field.seats[&N1].node().status().network.interfaces.expect("a picture");
    seen.iter().map(|interface| interface.trouble().map(str::to_owned)).collect()
}

#[test]
fn a_network_works_here_as_long_as_one_of_its_interfaces_does() {
    let mut field = Field::sharing(2);
    field.polls_say(N1, [Works, Works, Works]);
    field.polls_say(N2, [Works, Works, Works]);
    field.pass(Duration::from_secs(3));
    field.polls_say(N1, [Works, Fails("is dead".to_owned()), Works]);
    field.pass(Duration::from_secs(5));
    assert_eq!(field.where_runs("web"), [N1]);
    assert_eq!(told(&field, N2), [""; 0]);
    // The other one hears nothing any more, and what it shares addresses with fails for sure.
    field.polls_say(N1, [Works, Fails("is dead".to_owned()), Silent]);
    field.until("web went to n2", |field| field.where_runs("web") == [N2]);
    let silent = Some("hears nothing, and other nodes do".to_owned());
    assert_eq!(troubles(&field), [None, Some("is dead".to_owned()), silent]);
    assert_eq!(told(&field, N2), ["network_down local: green has failed on n1"]);
}

#[test]
fn all_interfaces_of_a_network_fail_when_they_are_silent_here_alone() {
    let mut field = Field::sharing(2);
    field.polls_say(N1, [Works, Works, Works]);
    field.polls_say(N2, [Works, Works, Works]);
    field.pass(Duration::from_secs(3));
    field.polls_say(N1, [Works, Silent, Silent]);
    field.until("web went to n2", |field| field.where_runs("web") == [N2]);
    let silent = Some("hears nothing, and other nodes do".to_owned());
    assert_eq!(troubles(&field), [None, silent.clone(), silent]);
}

#[test]
fn a_network_that_is_of_use_to_nobody_moves_nothing_whatever_the_reasons() {
    let mut field = Field::needing(3);
    say(&mut field, &[Works, Works, Works]);
    field.pass(Duration::from_secs(3));
    // Polls take their time, and a lost signal does not.
    field.polls_say(N1, [Works, Silent]);
    field.polls_say(N2, [Works, Silent]);
    field.pass(Duration::from_millis(300));
    field.pull(N3, NET1, true);
    field.pass(Duration::from_secs(10));
    assert_eq!(field.where_runs("web"), [N1]);
    let sentence = "network_down global: green has failed for all: down on n3, silent on n1, n2";
    assert_eq!(told(&field, N1).last(), Some(&sentence));
}

/// What a node said of one sort.
fn events(field: &Field, node: NodeId, kind: EventKind) -> Vec<&crate::Event> {
    field.seats[&node].events.iter().filter(|event| event.kind == kind).collect()
}

#[test]
fn a_switch_between_own_interfaces_is_told_where_it_happens() {
    let mut field = Field::standing_by(2);
    field.pull(N1, NET1, true);
    field.pass(Duration::from_secs(3));
    assert_eq!(field.where_runs("web"), [N1], "the network works on the other interface");
    let [swap] = events(&field, N1, EventKind::SwapAdapter)[..] else { panic!("one switch") };
    let said = "swap_adapter: green: 1 own address went from green to violet: has no carrier";
    assert_eq!((swap.sentence.as_str(), swap.node), (said, Some(N1)));
    let about = &swap.about;
    let texts = [&about.network, &about.from, &about.to, &about.why, &about.failure];
    let texts = texts.map(|text| text.as_deref());
    assert_eq!(texts, [Some("green"), Some("green"), Some("violet"), Some("has no carrier"), None]);
    assert_eq!(about.addresses, [core::net::IpAddr::from([10, 78, 0, 1])]);
    field.pull(N1, NET1, false);
    field.pass(Duration::from_secs(8));
    let back = "swap_adapter: green: 1 own address went from violet to green: green works again";
    assert_eq!(field.seats[&N1].told(EventKind::SwapAdapter), [said, back]);
    for kind in [EventKind::SwapAdapter, EventKind::FailStandby, EventKind::JoinStandby] {
        assert_eq!(field.seats[&N2].told(kind), [""; 0], "it is no other node's");
    }
    assert_eq!(told(&field, N2), [""; 0], "and no network went down");
}

#[test]
fn a_standby_that_fails_and_joins_is_told_where_it_is() {
    let mut field = Field::standing_by(2);
    field.polls_say(N1, [Works, Works, Works]);
    field.pass(Duration::from_secs(1));
    field.polls_say(N1, [Works, Works, Fails("is dead".to_owned())]);
    field.pass(Duration::from_secs(1));
    let [failed] = events(&field, N1, EventKind::FailStandby)[..] else { panic!("one failure") };
    assert_eq!(failed.sentence, "fail_standby: green: violet is dead");
    assert_eq!(failed.about.interface.as_deref(), Some("violet"));
    field.polls_say(N1, [Works, Works, Works]);
    field.pass(Duration::from_secs(4));
    assert_eq!(field.seats[&N1].told(EventKind::JoinStandby), [""; 0]);
    field.pass(Duration::from_secs(2));
    let joined = ["join_standby: green: violet works again"];
    assert_eq!(field.seats[&N1].told(EventKind::JoinStandby), joined);
    assert_eq!(field.seats[&N1].told(EventKind::SwapAdapter), [""; 0]);
    assert_eq!(field.where_runs("web"), [N1]);
}
