//! Captured listings, to the blank, and what programs read.

use std::collections::BTreeMap;

use api::v1::{NodeState, ServiceMode, ServiceState};

use super::*;

/// As it was captured from a cluster of two nodes, with a package that nobody owns.
const CAPTURED: &str = "
CLUSTER              STATUS       \n\
EQ_TitanN1_cluster   up           \n\
\x20 \n\
\x20 NODE           STATUS       STATE        \n\
\x20 tn1s003        up           running      \n\
\n\
\x20   PACKAGE        STATUS           STATE            AUTO_RUN    NODE        \n\
\x20   pkg_eq         up               running          enabled     tn1s003     \n\
\x20 \n\
\x20 NODE           STATUS       STATE        \n\
\x20 tn1s004        up           running      \n\
\n\
UNOWNED_PACKAGES\n\
\n\
\x20   PACKAGE        STATUS           STATE            AUTO_RUN    NODE        \n\
\x20   pkg2           down             failed           disabled    unowned     \n";

fn node(name: &str) -> v1::Node {
    v1::Node { name: name.to_owned(), state: NodeState::Member, ..v1::Node::default() }
}

fn package(name: &str, state: ServiceState, node: Option<&str>) -> v1::Service {
    let nodes = ["tn1s003", "tn1s004"].map(str::to_owned);
    v1::Service {
        name: name.to_owned(),
        state,
        node: node.map(str::to_owned),
        mode: nodes.iter().map(|node| (node.clone(), ServiceMode::Automatic)).collect(),
        nodes: nodes.to_vec(),
        resources: vec![
            v1::Resource {
                name: "ip".to_owned(),
                kind: "address".to_owned(),
                state: v1::ResourceState::Running,
                detail: "10.53.144.11/24".to_owned(),
            },
            v1::Resource {
                name: "srv_eq".to_owned(),
                kind: "process".to_owned(),
                state: v1::ResourceState::Running,
                detail: "/opt/eq".to_owned(),
            },
        ],
        ..v1::Service::default()
    }
}

fn status() -> v1::Status {
    v1::Status {
        schema: 1,
        verdict: v1::Verdict::Degraded,
        reasons: Vec::new(),
        cluster: v1::Cluster {
            name: "EQ_TitanN1_cluster".to_owned(),
            id: 7,
            ..v1::Cluster::default()
        },
        node: v1::LocalNode { name: "tn1s003".to_owned(), ..v1::LocalNode::default() },
        leaving: None,
        view: v1::View { primary: true, ..v1::View::default() },
        nodes: vec![node("tn1s003"), node("tn1s004")],
        paths: Vec::new(),
        services: vec![
            package("pkg_eq", ServiceState::Running, Some("tn1s003")),
            package("pkg2", ServiceState::Failed, None),
        ],
        addresses: Vec::new(),
        warnings: Vec::new(),
        health: v1::Health::default(),
        counters: Vec::new(),
    }
}

fn interface(name: &str, role: &str, state: InterfaceState) -> v1::NetworkInterface {
    v1::NetworkInterface {
        name: name.to_owned(),
        role: role.to_owned(),
        state,
        ..v1::NetworkInterface::default()
    }
}

fn networks() -> v1::Networks {
    let interfaces = vec![
        interface("lan2", "primary", InterfaceState::Down),
        interface("lan1", "standby", InterfaceState::Up),
    ];
    let network = v1::NetworkHealth { interfaces, ..v1::NetworkHealth::default() };
    v1::Networks { networks: vec![network], ..v1::Networks::default() }
}

fn shown(words: &[&str]) -> Result<String, String> {
    let words = core::iter::once("cmviewcl").chain(words.iter().copied());
    let arguments = Arguments::try_parse_from(words).expect("they are right");
    let (status, networks) = (status(), networks());
    Seen { status: &status, networks: &networks, policies: &[] }.show(&arguments)
}

#[test]
fn the_captured_listing() {
    assert_eq!(shown(&[]).unwrap(), CAPTURED);
}

#[test]
fn the_first_column_widens_for_long_names() {
    let mut status = status();
    status.services[0].name = "a_package_with_a_long_name".to_owned();
    let arguments = Arguments::try_parse_from(["cmviewcl", "-l", "package"]).unwrap();
    let seen = Seen { status: &status, networks: &networks(), policies: &[] };
    let text = seen.show(&arguments).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1].find("STATUS"), lines[2].find("up "));
    assert_eq!(lines[2].find("up "), Some(4 + 26 + 3));
}

#[test]
fn levels_nodes_and_packages_are_picked() {
    let cluster = shown(&["-l", "cluster"]).unwrap();
    assert_eq!(cluster.lines().count(), 3);
    let node = shown(&["-n", "tn1s004"]).unwrap();
    assert!(
        !node.contains("CLUSTER") && !node.contains("tn1s003") && !node.contains("pkg2"),
        "{node}"
    );
    let package = shown(&["-p", "pkg2"]).unwrap();
    assert!(package.contains("pkg2") && !package.contains("pkg_eq"), "{package}");
    assert!(shown(&["-n", "nobody"]).is_err());
    assert!(shown(&["-p", "nothing"]).is_err());
}

#[test]
fn verbose_says_what_stands_behind() {
    let text = shown(&["-v"]).unwrap();
    for expected in [
        "    INTERFACE    STATUS                 NAME",
        "    PRIMARY      down (Link and IP)     lan2",
        "    STANDBY      up                     lan1",
        "      POLICY_NAME     CONFIGURED_VALUE",
        "      Failover        configured_node",
        "      ITEM       STATUS   MAX_RESTARTS  RESTARTS   NAME",
        "      Subnet     up       unknown       0          10.53.144.0",
        "      Service    up       unknown       0          srv_eq",
        "      NODE_TYPE    STATUS       SWITCHING    NAME",
        "      Primary      up           enabled      tn1s003      (current)",
        "      Alternate    up           enabled      tn1s004",
        "      ITEM       STATUS   NODE_NAME    NAME",
    ] {
        assert!(
            text.lines().any(|line| line.trim_end() == expected),
            "{expected}\nis not in\n{text}"
        );
    }
    // The other node's interfaces are not known here.
    assert_eq!(text.matches("Network_Parameters").count(), 1);
}

#[test]
fn lines_for_programs() {
    let text = shown(&["-f", "line"]).unwrap();
    for expected in [
        "name=EQ_TitanN1_cluster",
        "status=up",
        "summary=degraded",
        "node:tn1s004|state=running",
        "package:pkg_eq|status=up",
        "package:pkg_eq|autorun=enabled",
        "package:pkg2|owner=unowned",
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected}\nis not in\n{text}");
    }
    let text = shown(&["-v", "-f", "line"]).unwrap();
    for expected in [
        "node:tn1s003|interface:lan2|status=down",
        "node:tn1s003|interface:lan2|local_switch_peer=lan1",
        "node:tn1s003|interface:lan2|disabled=false",
        "node:tn1s003|interface:lan2|failure_type=link+ip",
        "package:pkg_eq|node:tn1s004|switching=enabled",
        "package:pkg_eq|service:srv_eq|status=up",
        "package:pkg_eq|subnet:10.53.144.0|status=up",
    ] {
        assert!(text.lines().any(|line| line == expected), "{expected}\nis not in\n{text}");
    }
    // What the command line has named is not said again.
    let one = shown(&["-f", "line", "-l", "package", "-p", "pkg_eq"]).unwrap();
    assert!(one.lines().any(|line| line == "status=up"), "{one}");
    assert!(!one.contains("package:"), "{one}");
}

#[test]
fn states_that_are_neither_up_nor_down_have_words() {
    let of = |state| {
        let package = package("p", state, None);
        let (status, state) = package_words(package.state);
        [status, state, auto_run(&package)].join(" ")
    };
    assert_eq!(of(ServiceState::Starting), "starting starting enabled");
    assert_eq!(of(ServiceState::Stopping), "halting halting enabled");
    assert_eq!(of(ServiceState::Stopped), "down halted disabled");
    assert_eq!(of(ServiceState::Unknown), "unknown unknown enabled");
    let mut manual = package("p", ServiceState::Running, Some("tn1s003"));
    manual.mode = BTreeMap::from([("tn1s003".to_owned(), ServiceMode::Manual)]);
    assert_eq!(auto_run(&manual), "disabled");
    manual.blocked = BTreeMap::from([("tn1s004".to_owned(), "it failed there".to_owned())]);
    assert_eq!(words::switching(&manual, "tn1s004"), "disabled");
}
