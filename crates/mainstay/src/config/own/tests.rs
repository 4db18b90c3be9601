//! Own paths: the file, the numbers, what is wrong with it.

use super::*;

fn udp(peer: &str, local: &str, remote: &str, rank: u8) -> OwnPath {
    let address = |text: &str| text.parse().expect("an address");
    let over = Over::Udp { local: address(local), remote: address(remote), port: Some(7365) };
    OwnPath { peer: peer.to_owned(), over, rank, low: false }
}

fn link(name: &str, interface: &str, rank: u8, low: bool) -> OwnPath {
    let (name, interface) = (name.to_owned(), interface.to_owned());
    let over = Over::Ethernet { name, interface, ethertype: 0xcafe };
    OwnPath { peer: EVERYBODY.to_owned(), over, rank, low }
}

#[test]
fn what_is_written_is_read() {
    let over = Over::Serial { device: "/dev/tty\"S0".to_owned(), baud: 9600 };
    let paths = [
        udp("n2", "10.1.6.88", "10.1.6.89", 1),
        udp("n3", "fd00::1", "fd00::2", 2),
        OwnPath { peer: "n2".to_owned(), over, rank: 3, low: true },
        link("qfe0", "eth1", 1, false),
        link("pub", "br\"0", 8, true),
        OwnPath { low: true, ..udp("n2", "10.1.6.88", "10.1.6.90", 1) },
    ];
    assert_eq!(parse(&text(&paths), "paths.toml").expect("it is ours"), paths);
    assert_eq!(parse("", "paths.toml").expect("an empty file has no paths"), []);
}

#[test]
fn both_halves_find_the_same_number_and_others_another() {
    let (here, there) = (NodeId(1), NodeId(2));
    let one = udp("n2", "10.1.6.88", "10.1.6.89", 1).number(here, there, 7420);
    let other = udp("n1", "10.1.6.89", "10.1.6.88", 5).number(there, here, 7420);
    assert_eq!(one, other);
    assert!(one.0 >= NUMBERS);
    assert_ne!(one, udp("n2", "10.1.6.88", "10.1.6.90", 1).number(here, there, 7420));
    let over = Over::Udp {
        local: "10.1.6.88".parse().expect("an address"),
        remote: "10.1.6.89".parse().expect("an address"),
        port: None,
    };
    let implied = OwnPath { peer: "n2".to_owned(), over, rank: 1, low: false };
    assert_eq!(implied.number(here, there, 7365), one, "the cluster's port, written or not");
    assert_ne!(one, udp("n3", "10.1.6.88", "10.1.6.89", 1).number(here, NodeId(3), 7420));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let text = "[[path]]\npeer = \"n2\"\nlocal = \"10.1\"\nremote = \"10.1.6.89\"\ncolour = 1\n";
    let said = parse(text, "paths.toml").expect_err("two mistakes").render(false);
    assert!(said.contains("paths.toml:3:9") && said.contains("is no address"), "{said}");
    assert!(said.contains("no key `colour`"), "{said}");
}

#[test]
fn a_link_leads_to_all_nodes_and_its_rank_is_its_number() {
    let text = "[cluster]\nname = \"c\"\nid = 1\n[[node]]\nname = \"a\"\nid = 0\n\
                [[node]]\nname = \"b\"\nid = 1\n[[node]]\nname = \"c\"\nid = 2\n";
    let (cluster, _) = super::super::parse(text, "cluster.toml", 0).expect("it is good");
    let network = |link: &OwnPath| link.network(&cluster, NodeId(1)).expect("nothing is missing");
    let (one, other) = (link("qfe0", "eth1", 1, true), link("hme0", "eth2", 8, false));
    assert_eq!(network(&one).id, NetworkId(0x4000));
    assert_eq!(network(&one).priority, Priority::Low);
    assert_eq!(network(&other).id, NetworkId(0x4007));
    assert_eq!(network(&one).nodes().len(), 3);
    assert_eq!(network(&one).devices[&NodeId(1)], "eth1");
    // They know it by the number, whatever they call it.
    let there = link("net1", "ens3", 1, true).network(&cluster, NodeId(2));
    assert_eq!(there.expect("nothing is missing").id, network(&one).id);
}

#[test]
fn links_that_cannot_be() {
    let link = "[[path]]\npeer = \"*\"\nkind = \"ethernet\"\nlocal = \"eth1\"\n";
    for (text, expected) in [
        (format!("{link}rank = 9\n"), "`rank` is out of range"),
        (link.to_owned(), "has no `rank`"),
        (format!("{link}rank = 1\nethertype = \"0x0800\"\n"), "is no usable EtherType"),
        (format!("{link}rank = 1\n{link}rank = 1\nname = \"b\"\n"), "have one rank"),
        (format!("{link}rank = 1\n").replace('*', "n2"), "leads to all nodes"),
        (format!("{link}rank = 1\n").replace("eth1", "a/b"), "is no name of an interface"),
    ] {
        let said = parse(&text, "paths.toml").expect_err("it cannot be").render(false);
        assert!(said.contains(expected), "{said}");
    }
}
