//! What people see.

use api::v1::{InterfaceState, NetworkHealth, NetworkInterface, NetworkRemote, Networks};
use expect_test::expect;

use super::networks;
use crate::render::Style;

fn interface(name: &str, role: &str, state: InterfaceState) -> NetworkInterface {
    NetworkInterface {
        name: name.into(),
        role: role.into(),
        state,
        since_ms: 65_000,
        kind: Some("card".into()),
        received: 1_200,
        sent: 900,
        came_in: Some(true),
        was_heard: Some(true),
        ..NetworkInterface::default()
    }
}

fn network(name: &str, interfaces: Vec<NetworkInterface>) -> NetworkHealth {
    NetworkHealth {
        name: name.into(),
        poll_interval_ms: 1_000,
        polls: 3,
        failure_detection: "inout".into(),
        effective_detection: "inout".into(),
        interfaces,
        ..NetworkHealth::default()
    }
}

#[test]
fn interfaces_are_shown_with_what_is_wrong() {
    let remote =
        |node: &str, interface| NetworkRemote { node: node.into(), interface, heard_ms: 3 };
    let dead = NetworkInterface {
        reason: Some("hears nothing and is not heard".into()),
        came_in: Some(false),
        was_heard: Some(false),
        errors: 4,
        ..interface("eth0", "primary", InterfaceState::Down)
    };
    let vlan = NetworkInterface {
        kind: Some("vlan".into()),
        below: vec!["eth2".into(), "eth3".into()],
        was_heard: Some(false),
        misplaced: Some("net0".into()),
        reason: Some("has not proven itself yet".into()),
        ..interface("bond0.7", "primary", InterfaceState::Unsure)
    };
    let report = Networks {
        schema: 1,
        node: "n1".into(),
        networks: vec![
            NetworkHealth {
                poller: Some("eth1".into()),
                remotes: vec![remote("n3", 2), remote("n2", 2), remote("n2", 3)],
                ..network("net0", vec![dead, interface("eth1", "standby", InterfaceState::Up)])
            },
            NetworkHealth {
                failure_detection: "inonly-or-inout".into(),
                ..network("net1", vec![vlan])
            },
        ],
        ..Networks::default()
    };
    expect![[r#"
        NETWORK  INTERFACE  ROLE     STATE   FOR   POLLS  KIND               RECEIVED  SENT  ERRORS  NOTE
        net0     eth0       primary  down    65 s         card               1200      900   4       hears nothing and is not heard
        net0     eth1       standby  up      65 s  asks   card               1200      900   0
        net1     bond0.7    primary  unsure  65 s         vlan on eth2+eth3  1200      900   0       has not proven itself yet; nobody hears it; hears network net0: is its cable in the right place?

        net0: 3 polls of 1.0 s decide, by inout; heard are n2, n3

        net1: 3 polls of 1.0 s decide, by inout (inonly-or-inout needs three interfaces that hear each other); no other node is heard
    "#]].assert_eq(&networks(&report, Style::PLAIN));
    let none = Networks {
        node: "n1".into(),
        trouble: Some("Operation not permitted".into()),
        ..Networks::default()
    };
    expect![[r#"
        interfaces are not polled, so only a lost carrier is noticed: Operation not permitted

        n1 has no interface in any network
    "#]]
    .assert_eq(&networks(&none, Style::PLAIN));
}

#[test]
fn where_a_network_has_failed_is_said() {
    let here = NetworkHealth {
        fault: Some("local".into()),
        failed_on: vec!["n1".into(), "n3".into()],
        ..network("net0", vec![interface("eth0", "primary", InterfaceState::Up)])
    };
    let everywhere = NetworkHealth { fault: Some("global".into()), ..network("net1", Vec::new()) };
    let networks_seen = vec![here, everywhere, network("net2", Vec::new())];
    let report = Networks { networks: networks_seen, ..Networks::default() };
    let text = networks(&report, Style::PLAIN);
    let said: Vec<&str> = text.lines().filter(|line| line.starts_with("It has failed")).collect();
    let expected =
        ["It has failed on n1, n3 alone; what needs it leaves.", "It has failed for all."];
    assert_eq!(said, expected);
}
