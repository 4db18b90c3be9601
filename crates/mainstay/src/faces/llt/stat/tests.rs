use os::netlink::Interface;

use super::*;
use picture::Link;

/// Node 0 with two links to node 1, of which one is dead; node 2 was never heard.
fn picture() -> Picture {
    let node = |id, name: &str, state| v1::Node {
        id,
        name: name.to_owned(),
        state,
        ..v1::Node::default()
    };
    let path = |peer: &str, network: &str, remote: &str, state| {
        let text = format!(
            r#"{{"peer":"{peer}","network":"{network}","kind":"ethernet","local":"{network}",
                "remote":"{remote}","rank":1,"priority":"high","state":"{state}",
                "direction":null,"rtt_us":null,"loss":0.0}}"#
        );
        serde_json::from_str::<v1::Path>(&text).expect("it is a path")
    };
    let link = |tag: &str, last| Link {
        tag: tag.to_owned(),
        kind: "ethernet".into(),
        low: tag == "lan2",
        end: tag.to_owned(),
        interface: Some(Interface {
            index: 1,
            name: tag.to_owned(),
            up: true,
            carrier: true,
            loopback: false,
            mac: Some([8, 0, 0x20, 0x93, 0x0e, last]),
            mtu: 1500,
            addresses: Vec::new(),
        }),
    };
    let status = v1::Status {
        node: v1::LocalNode { id: 0, name: "galaxy".into(), ..v1::LocalNode::default() },
        leaving: None,
        view: v1::View {
            primary: true,
            members: vec!["galaxy".into(), "nebula".into()],
            ..v1::View::default()
        },
        nodes: vec![
            node(0, "galaxy", v1::NodeState::Member),
            node(1, "nebula", v1::NodeState::Member),
            node(2, "nova", v1::NodeState::Unknown),
        ],
        paths: vec![
            path("nebula", "lan1", "08:00:20:8f:d1:f2", "alive"),
            path("nebula", "lan2", "", "dead"),
            path("nova", "lan1", "", "dead"),
            path("nova", "lan2", "", "dead"),
        ],
        schema: v1::SCHEMA,
        verdict: v1::Verdict::Ok,
        reasons: Vec::new(),
        cluster: v1::Cluster::default(),
        services: Vec::new(),
        addresses: Vec::new(),
        warnings: Vec::new(),
        health: v1::Health::default(),
        counters: Vec::new(),
    };
    Picture { status, links: vec![link("lan1", 0x34), link("lan2", 0x35)] }
}

#[test]
fn the_manuals_layouts() {
    let picture = picture();
    assert_eq!(
        nodes(&picture),
        "LLT node information:\n\
         \x20   Node             State           Links\n\
         \x20   *0 galaxy          OPEN           2\n\
         \x20    1 nebula          OPEN           1\n\
         \x20    2 nova            CONNWAIT       0\n"
    );
    let active = "LLT node information:\n\
         \x20   Node                 State    Link  Status  Address\n\
         \x20  * 0 galaxy            OPEN\n\
         \x20                                 lan1   UP      08:00:20:93:0E:34\n\
         \x20                                 lan2   UP      08:00:20:93:0E:35\n\
         \x20    1 nebula            OPEN\n\
         \x20                                 lan1   UP      08:00:20:8F:D1:F2\n\
         \x20                                 lan2   DOWN\n";
    assert_eq!(nodes_in_full(&picture, Which::Active), active);
    let wait = |label: &str| {
        format!("     {label:<20}CONNWAIT\n{0:34}lan1   DOWN\n{0:34}lan2   DOWN\n", "")
    };
    let configured = active.to_owned() + &wait("2 nova");
    assert_eq!(nodes_in_full(&picture, Which::Configured), configured);
    let others: String = (3..32).map(|id| wait(&format!("{id}"))).collect();
    assert_eq!(nodes_in_full(&picture, Which::All), configured + &others);
    assert_eq!(
        ports(&picture),
        "LLT port information:\n    Port   Usage      Cookie\n    0      gab        0x0\n\
         \x20       opens:    0 1\n        connects: 0 1\n"
    );
    let ethertypes = [("lan1".to_owned(), 0xcafe), ("lan2".to_owned(), 0x88b5)].into();
    assert_eq!(
        links(&picture, &ethertypes),
        "LLT link information:\n\
         link 0 lan1 on ether hipri\n\
         \x20   mtu 1500, sap 0xcafe, broadcast FF:FF:FF:FF:FF:FF, addrlen 6\n\
         link 1 lan2 on ether lowpri\n\
         \x20   mtu 1500, sap 0x88b5, broadcast FF:FF:FF:FF:FF:FF, addrlen 6\n"
    );
}

#[test]
fn counters_since_they_were_reset() {
    let mut status = picture().status;
    let counter =
        |name: &str, value| v1::Counter { name: name.to_owned(), value, ..Default::default() };
    status.node.incarnation = 7;
    status.counters = vec![counter("replay", 3), counter("surplus", 2), counter("wrong_key", 4)];
    let directory = tempfile::tempdir().expect("temporary files can be written");
    let root = Root::new(directory.path());
    let text =
        |status: &v1::Status| counters(status, &remembered(&root, status).expect("it can be read"));
    assert!(
        text(&status).starts_with("LLT statistics:\n    5          Rcv duplicates\nLLT errors:\n")
    );
    assert!(text(&status).contains("\n    4          Rcv malformed packet\n"));
    forget(&root, &status).expect("it can be written");
    status.counters[0].value = 10;
    assert!(text(&status).contains("    7          Rcv duplicates\n"));
    assert!(text(&status).contains("    0          Rcv malformed packet\n"));
    // Another life begins at zero.
    status.node.incarnation = 8;
    assert!(text(&status).contains("    12         Rcv duplicates\n"));
}
