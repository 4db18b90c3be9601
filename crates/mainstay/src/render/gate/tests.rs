//! What people see.

use api::v1::{Gate, GateAddress, GateAttachment, GateInterface, GateKind};
use expect_test::expect;

use super::gate;
use crate::render::Style;

fn interface(name: &str, state: GateAttachment) -> GateInterface {
    GateInterface { name: name.into(), state, before: Vec::new() }
}

#[test]
fn a_gate_is_shown_with_what_it_lets_pass() {
    let shown = Gate {
        schema: 1,
        node: "n1".into(),
        kind: GateKind::Kernel,
        reason: None,
        interfaces: vec![
            interface("eth0", GateAttachment::Port),
            GateInterface {
                before: vec![
                    "in: tcx program cil_from".into(),
                    "out: filter of kind u32, pref 1".into(),
                ],
                ..interface("br0", GateAttachment::Both)
            },
            interface("eth1", GateAttachment::In),
            interface("eth2", GateAttachment::Missing),
        ],
        addresses: vec![
            GateAddress {
                address: "10.77.0.100".into(),
                service: Some("web".into()),
                open_ms: Some(732),
                passed: Some(12),
                dropped: 3,
            },
            GateAddress {
                address: "fd77::100".into(),
                passed: Some(0),
                dropped: 7,
                ..GateAddress::default()
            },
        ],
    };
    expect![[r#"
        the kernel of n1 closes a service address at the end of its lease

        INTERFACE  GATED
        eth0       as its bridge is
        br0        in and out
        eth1       in only
        eth2       no

        br0: asked before the gate, in: tcx program cil_from
          what it lets through the gate does not see: give it a later place

        br0: asked before the gate, out: filter of kind u32, pref 1
          what it lets through the gate does not see: give it a later place

        ADDRESS      SERVICE               OPEN FOR  PASSED  DROPPED
        10.77.0.100  web                   732 ms    12      3
        fd77::100    (configured no more)  closed    0       7
    "#]]
    .assert_eq(&gate(&shown, Style::PLAIN));
    let mut sets = Gate {
        kind: GateKind::Nftables,
        reason: Some("Operation not permitted".into()),
        interfaces: Vec::new(),
        ..shown.clone()
    };
    sets.addresses.truncate(1);
    sets.addresses[0].passed = None;
    expect![[r#"
        the kernel of n1 closes a service address at the end of its lease, by nftables; programs are refused (Operation not permitted)
        after a suspend it may answer for what was left of its lease, until the guard has acted

        ADDRESS      SERVICE  OPEN FOR  PASSED  DROPPED
        10.77.0.100  web      732 ms    -       3
    "#]].assert_eq(&gate(&sets, Style::PLAIN));
    let none = Gate {
        kind: GateKind::None,
        reason: Some("Operation not permitted".into()),
        interfaces: Vec::new(),
        addresses: Vec::new(),
        ..shown
    };
    expect![[r#"
        there is no lease gate on n1 (Operation not permitted): the guard ends services at the end of their lease, and behind it the lifetime of addresses in the kernel
    "#]].assert_eq(&gate(&none, Style::PLAIN));
}
