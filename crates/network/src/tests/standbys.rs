//! Standbys that fail and join: the primary eth1 with 10.77.0.1/24, and the standby eth2.

use super::{Node, OTHER_MAC, interface};
use crate::{Condition, Input, Net, Output};

fn net(auto_return: bool) -> Net {
    Net { name: "net0".into(), cards: vec!["eth1".into(), "eth2".into()], auto_return }
}

fn configured(node: &mut Node, auto_return: bool) -> Vec<String> {
    let nets = vec![net(auto_return)];
    let (addresses, fixed, shares, conflicts, verify) = Default::default();
    said(&node.feed(Input::Configure { addresses, nets, fixed, shares, conflicts, verify }))
}

fn with_standby(auto_return: bool) -> Node {
    let mut node = Node::new();
    node.interfaces.push(interface(2, OTHER_MAC, &[]));
    node.picture();
    assert_eq!(configured(&mut node, auto_return), [""; 0]);
    node
}

/// What is said of standbys and switches, in short.
fn said(outputs: &[Output]) -> Vec<String> {
    let said = outputs.iter().filter_map(|output| match output {
        Output::StandbyFailed { net, interface, why } => {
            Some(format!("{net}: {interface} failed: {why}"))
        }
        Output::StandbyJoined { net, interface } => Some(format!("{net}: {interface} joined")),
        Output::Switched { from, to, addresses, failure: None, .. } => {
            Some(format!("{} from {from} to {to}", addresses.len()))
        }
        _ => None,
    });
    said.collect()
}

/// Time passes, woken when the machine asks for it alone, with a driver that obeys at once.
fn obeyed(node: &mut Node, millis: u64) -> Vec<String> {
    let mut all = Vec::new();
    let end = node.now + core::time::Duration::from_millis(millis);
    while let Some((due, _)) = node.network.deadline().filter(|(due, _)| *due <= end) {
        node.now = node.now.max(due);
        all.extend(node.feed(Input::Tick));
        while !node.asked.is_empty() {
            all.extend(node.done(Ok(())));
            all.extend(node.picture());
        }
    }
    node.now = end;
    said(&all)
}

fn carrier(node: &mut Node, index: usize, carrier: bool) -> Vec<String> {
    node.interfaces[index].carrier = carrier;
    said(&node.picture())
}

#[test]
fn a_standby_fails_at_once_and_joins_when_it_has_worked_for_a_while() {
    let mut node = with_standby(true);
    assert_eq!(carrier(&mut node, 1, false), ["net0: eth2 failed: has no carrier"]);
    assert_eq!(obeyed(&mut node, 60_000), [""; 0], "said once");
    assert_eq!(carrier(&mut node, 1, true), [""; 0]);
    assert_eq!(obeyed(&mut node, 4_900), [""; 0]);
    // A loose contact begins anew.
    assert_eq!(carrier(&mut node, 1, false), [""; 0]);
    assert_eq!(carrier(&mut node, 1, true), [""; 0]);
    assert_eq!(obeyed(&mut node, 4_900), [""; 0]);
    assert_eq!(obeyed(&mut node, 200), ["net0: eth2 joined"]);
    assert_eq!(obeyed(&mut node, 60_000), [""; 0]);
}

#[test]
fn one_that_is_missing_has_failed() {
    let mut node = with_standby(true);
    let standby = node.interfaces.pop().expect("it was just added");
    assert_eq!(said(&node.picture()), ["net0: eth2 failed: is not there"]);
    node.interfaces.push(standby);
    node.picture();
    assert_eq!(obeyed(&mut node, 5_000), ["net0: eth2 joined"]);
}

#[test]
fn one_that_does_not_work_at_the_first_look_is_said() {
    let mut node = Node::new();
    node.interfaces.push(interface(2, OTHER_MAC, &[]));
    node.interfaces[1].up = false;
    node.picture();
    assert_eq!(configured(&mut node, true), ["net0: eth2 failed: is switched off"]);
}

#[test]
fn polls_that_prove_nothing_let_none_join() {
    let mut node = with_standby(true);
    let say = |node: &mut Node, condition: Condition| {
        let conditions = [("eth1", Condition::Works), ("eth2", condition)];
        let conditions = conditions.map(|(name, condition)| (name.to_owned(), condition));
        said(&node.feed(Input::Health(conditions.into_iter().collect())))
    };
    let failed = say(&mut node, Condition::Fails("hears nothing".into()));
    assert_eq!(failed, ["net0: eth2 failed: hears nothing"]);
    say(&mut node, Condition::Unproven);
    assert_eq!(obeyed(&mut node, 60_000), [""; 0]);
    say(&mut node, Condition::Works);
    assert_eq!(obeyed(&mut node, 5_000), ["net0: eth2 joined"]);
}

#[test]
fn a_switch_and_the_way_back_are_said_as_such_and_not_as_standbys() {
    let mut node = with_standby(true);
    assert_eq!(carrier(&mut node, 0, false), [""; 0], "no standby");
    assert_eq!(obeyed(&mut node, 1_000), ["2 from eth1 to eth2"]);
    assert_eq!(carrier(&mut node, 0, true), [""; 0]);
    assert_eq!(obeyed(&mut node, 60_000), ["2 from eth2 to eth1"]);
}

#[test]
fn the_former_primary_stands_by_where_addresses_do_not_return() {
    let mut node = with_standby(false);
    carrier(&mut node, 0, false);
    assert_eq!(obeyed(&mut node, 1_000), ["2 from eth1 to eth2"]);
    carrier(&mut node, 0, true);
    assert_eq!(obeyed(&mut node, 60_000), ["net0: eth1 joined"]);
    assert_eq!(carrier(&mut node, 0, false), ["net0: eth1 failed: has no carrier"]);
}

#[test]
fn both_at_once_is_no_switch_and_one_failed_standby() {
    let mut node = with_standby(true);
    node.interfaces[0].carrier = false;
    assert_eq!(carrier(&mut node, 1, false), ["net0: eth2 failed: has no carrier"]);
    assert_eq!(obeyed(&mut node, 60_000), [""; 0]);
}
