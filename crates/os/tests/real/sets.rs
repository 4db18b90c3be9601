//! The lease gate by nftables: the same questions as to the one of programs, and who gets which.

use std::collections::BTreeSet;
use std::time::Duration;

use os::gate::{DaemonGate, Gate, GateError, Pusher};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::gate::{Field, LONG, NODE, every_interface, now, passed_on, service};
use crate::scene::{filters, wait_for};

fn open() -> Option<Gate> {
    match Gate::of_sets(NODE, &BTreeSet::from(service())) {
        Ok(gate) => Some(gate),
        Err(error) if error.errno() == rustix::io::Errno::PERM.raw_os_error() => {
            println!("skipped: the kernel refuses nftables here: {error}");
            None
        }
        Err(error) => panic!("{error}: {error:?}"),
    }
}

fn daemon() -> (DaemonGate, Pusher) {
    DaemonGate::inherit_sets(NODE).unwrap()
}

fn push(daemon: &DaemonGate, pusher: &mut Pusher, deadline: base::Instant) {
    for address in service() {
        daemon.push(address, deadline);
    }
    pusher.turn().unwrap();
}

#[test]
fn an_address_answers_only_within_its_lease() {
    let Some(field) = Field::make() else { return };
    field.expect(true, "there is no gate yet");
    let Some(mut gate) = open() else { return };
    assert!(!gate.was_there() && gate.descriptors().is_none());
    assert_eq!(filters(field.left), [0, 0], "it needs no interface");
    field.expect(false, "it is closed until somebody opens it");
    let (daemon, mut pusher) = daemon();
    field.expect(false, "nobody has opened it");
    push(&daemon, &mut pusher, now() + LONG);
    field.expect(true, "it is open");
    assert_eq!(gate.keep().unwrap().attached, 0, "nothing is missing");
    field.expect(true, "who looks changes nothing");

    // The deadline comes while nobody does anything.
    let soon = now() + Duration::from_millis(150);
    push(&daemon, &mut pusher, soon);
    wait_for("the deadline", || (now() >= soon).then_some(()));
    field.expect(false, "its lease is over");
    push(&daemon, &mut pusher, now() + LONG);
    field.expect(true, "a later deadline");
    for address in service() {
        daemon.close(address);
    }
    pusher.turn().unwrap();
    field.expect(false, "closed");

    // What is dropped is counted, for each address.
    wait_for("the count", || {
        pusher.turn().unwrap();
        daemon.slots().iter().all(|(_, slot)| slot.dropped > 0).then_some(())
    });

    // As if guard and daemon were killed: it is adopted, closed, and not doubled.
    push(&daemon, &mut pusher, now() + LONG);
    drop((gate, daemon, pusher));
    field.expect(true, "within its lease, whoever lives");
    let gate = open().expect("it could be opened before");
    assert!(gate.was_there());
    field.expect(false, "adopted, and closed");
    gate.remove().unwrap();
    field.expect(true, "the gate is gone, with nothing left of the former one");
}

#[test]
fn an_address_is_closed_on_every_interface() {
    every_interface(open);
}

#[test]
fn what_is_on_another_machine_is_passed_on() {
    passed_on(open);
}

/// Who has no right to load programs gets a table; whoever has it again takes the table away.
#[test]
fn without_the_right_to_programs_it_is_nftables() {
    let Some(field) = Field::make() else { return };
    let addresses = BTreeSet::from(service());
    let gate = match Gate::open(NODE, &addresses) {
        Ok(gate) if gate.sets().is_none() => gate,
        Ok(_) => return println!("skipped: the kernel refuses programs here anyway"),
        Err(error) => return println!("skipped: {error}"),
    };
    assert_eq!(filters(field.left), [1, 1]);
    drop(gate);

    let all = capabilities(None).unwrap();
    let few = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    let kept = CapabilitySets { effective: all.effective & few, ..all };
    set_capabilities(None, kept).unwrap();
    let gate = Gate::open(NODE, &addresses).unwrap();
    let refused = gate.sets().expect("a table").expect("it is said why");
    assert!(matches!(refused, GateError::Kernel { .. }), "{refused:?}");
    field.expect(false, "closed");
    let (daemon, mut pusher) = daemon();
    push(&daemon, &mut pusher, now() + LONG);
    field.expect(true, "what was there before does not keep it closed");
    assert_eq!(filters(field.left), [0, 0]);
    drop(gate);

    set_capabilities(None, all).unwrap();
    let gate = Gate::open(NODE, &addresses).unwrap();
    assert!(gate.sets().is_none() && !gate.was_there());
    for address in service() {
        daemon.push(address, now() + LONG * 2);
    }
    let gone = pusher.turn().expect_err("the table is gone").errno();
    assert_eq!(gone, rustix::io::Errno::NOENT.raw_os_error());
    field.expect(false, "closed by programs");
}
