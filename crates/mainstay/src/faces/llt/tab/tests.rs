use super::super::hosts;
use super::*;

/// As a guide prints it, with the escaped dash that one of its copies has.
const BY_ID: &str = "set-node 1\nset-cluster 10\nlink qfe0 /dev/qfe:0 - ether - -\n\
                     link hme0 /dev/hme:0 - ether - \\-\n";
const BY_NAME: &str = "set-node athena\nset-cluster 10\nlink qfe0 /dev/qfe:0 - ether - -\n\
                       link hme0 /dev/hme:0 - ether - -\n";

fn mistakes(text: &str) -> Vec<String> {
    parse(text).expect_err(text).iter().map(ToString::to_string).collect()
}

#[test]
fn the_guides_files() {
    let by_id = parse(BY_ID).expect("it is good");
    let by_name = parse(BY_NAME).expect("it is good");
    assert_eq!((by_id.node.clone(), by_id.cluster), (Who::Id(1), 10));
    assert_eq!(by_name.node, Who::Name("athena".into()));
    assert_eq!(by_id.links, by_name.links);
    let tags: Vec<&str> = by_id.links.iter().map(|link| link.tag.as_str()).collect();
    assert_eq!(tags, ["qfe0", "hme0"]);
    let over = Over::Ether { device: "/dev/qfe:0".into(), ethertype: 0xcafe };
    let nodes = [true; IDS];
    assert_eq!(by_id.links[0], Link { tag: "qfe0".into(), low: false, over, nodes, line: 3 });
    assert!(by_id.notes.is_empty());
    let nodes = hosts::parse("0 athena\n1 zeus\n2 otehllo\n").expect("it is good");
    let named = |id, name: &str| (id, name.to_owned());
    assert_eq!(nodes, [named(0, "athena"), named(1, "zeus"), named(2, "otehllo")]);
    // The guide ends with "3 …", which stands for more and names nobody.
    let said = hosts::parse("0 athena\n1 zeus\n2 otehllo\n3 ...\n").expect_err("no name");
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].line, 4);
}

#[test]
fn everything_that_a_file_can_say() {
    let tab = parse(
        "# comment\n\
         set-node /etc/nodename   # a file\n\
         set-cluster 77\n\
         set-timer heartbeat:20 peertrouble:50\n\
         set-timer peerinact:100 linkstable:200\n\
         set-flow highwater:200 lowwater:40\n\
         set-verbose 1\nset-dbg-minlinks 2\nset-checksum 1\nset-arp 0\nset-bcasthb 1\n\
         exclude 8-31\n\
         link eth1 eth-AA:BB:cc:00:11:22 - ether 0x88b6 1500\n\
         link-lowpri pub eth0 - ether\n\
         link one udp - udp 50000 - 192.168.9.1 192.168.9.255\n\
         link two /dev/udp6 - udp6 50001 8192 fd00::1 -\n\
         set-addr 1 one 192.168.10.1\n\
         set-addr 1 two fd01::1\n\
         start\n",
    )
    .expect("it is good");
    assert_eq!(tab.node, Who::File("/etc/nodename".into()));
    let timers: Vec<_> = tab.timers.clone().into_iter().collect();
    assert_eq!(timers, [("heartbeat", 20), ("peerinact", 100), ("peertrouble", 50)]);
    assert_eq!(tab.exists.iter().filter(|here| **here).count(), 8);
    assert!(tab.links[1].low && !tab.links[0].low);
    let Over::Ether { device, ethertype: 0x88b6 } = &tab.links[0].over else {
        panic!("{:?}", tab.links)
    };
    assert_eq!(interface(device), Err("aa:bb:cc:00:11:22".into()));
    assert_eq!(interface("/dev/qfe:0"), Ok("qfe0".into()));
    assert_eq!(interface("eth1"), Ok("eth1".into()));
    assert_eq!(tab.addresses.len(), 2);
    let noted = ["linkstable", "highwater", "lowwater", "verbose", "minlinks", "checksum", "arp"];
    assert_eq!(tab.notes.len(), noted.len(), "{:?}", tab.notes);
    for word in noted {
        assert!(tab.notes.iter().any(|note| note.contains(word)), "{word}: {:?}", tab.notes);
    }
    let one = BY_NAME.lines().take(3).collect::<Vec<_>>().join("\n");
    assert_eq!(parse(&one).expect("one link is possible").notes.len(), 1);
    let only = parse(&format!("{BY_NAME}include 0-1\n")).expect("it is good").exists;
    assert_eq!(only.iter().filter(|here| **here).count(), 2);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (line, expected) in [
        ("set-nod athena", "line 5: there is no directive `set-nod`"),
        ("set-node zeus", "line 5: set-node is there in line 1 already"),
        ("set-cluster 11", "line 5: set-cluster is there in line 2 already"),
        ("link qfe0 eth3 - ether - -", "line 5: two links are called `qfe0`"),
        ("link a eth3 0-32 ether - -", "line 5: `0-32`: `32` is no number"),
        ("link a eth3 3-0 ether - -", "line 5: `3-0` ends before it begins"),
        ("link a eth3 all ether - -", "line 5: `all`: `all` is no number"),
        ("link qfe0 eth3 3-7 ether - -", "line 5: two links are called `qfe0`"),
        ("link a eth3 - token - -", "line 5: there is no kind of link `token`"),
        ("link a eth3 - ether 0x0800 -", "line 5: `0x0800` is no usable SAP"),
        ("link a eth3 - ether - 576", "line 5: `576` is no number from 1200"),
        ("link a eth3 - ether - - -", "line 5: `-` is one word too many"),
        ("link a", "line 5: write: link TAG"),
        ("link a udp - udp 50000 - 192.168.9.1 192.168.9.255", "give set-addr"),
        ("link a udp - udp 80 - 192.168.9.1 -", "line 5: `80` is no number from 49152"),
        ("link a udp - udp6 50000 - 192.168.9.1 -", "is no address for udp6"),
        ("set-addr 1 qfe0 10.0.0.1", "line 5: link `qfe0` is Ethernet"),
        ("set-addr 1 a 10.0.0.1", "line 5: there is no link `a`"),
        ("set-addr 1 qfe0 zeus", "line 5: `zeus` is no address"),
        ("set-bcasthb 0", "line 5: heartbeats on Ethernet go to all stations"),
        ("set-timer peerinakt:100", "line 5: there is no timer `peerinakt`"),
        ("set-timer peerinact:0", "line 5: `peerinact:0`: not 0"),
        ("set-timer peerinact", "line 5: `peerinact`: write NAME:VALUE"),
        ("set-flow window:many", "line 5: `many` is no number"),
        ("set-flow widow:50", "line 5: there is no limit `widow`"),
        ("exclude 8-32", "line 5: `8-32`: `32` is no number from 0 to 31"),
        ("exclude 8-7", "line 5: `8-7` ends before it begins"),
        ("start now", "line 5: start has no value"),
    ] {
        let said = mistakes(&format!("{BY_NAME}{line}\n"));
        assert_eq!(said.len(), 1, "{line}: {said:?}");
        assert!(said[0].contains(expected), "{line}: {said:?}");
    }
    for wrong in ["65536", "ten", ""] {
        let said = mistakes(&BY_NAME.replace("set-cluster 10", &format!("set-cluster {wrong}")));
        assert!(said.iter().any(|said| said.starts_with("line 2: ")), "{wrong}: {said:?}");
    }
    for wrong in ["32", "-1", "a_b/c"] {
        let said = mistakes(&BY_NAME.replace("athena", wrong));
        assert!(said[1].starts_with("line 1: "), "{wrong}: {said:?}");
    }
    assert_eq!(mistakes("").len(), 2, "no set-node, no link; set-cluster has a default");
    let ninth = (0..7).map(|link| format!("link l{link} eth{link} - ether - -\n"));
    let said = mistakes(&format!("{BY_NAME}{}", ninth.collect::<String>()));
    assert_eq!(said, ["line 11: there are more than 8 links: `l6`"]);
}

#[test]
fn wrong_hosts_and_names() {
    for (text, line) in [
        ("", 0),
        ("0 athena\n0 zeus\n", 2),
        ("0 athena\n1 athena.example.com\n", 2),
        ("32 athena\n", 1),
        ("x athena\n", 1),
        ("# nobody\n1\n", 2),
        ("1 a b\n", 1),
    ] {
        let said = hosts::parse(text).expect_err(text);
        assert_eq!(said.last().map(|mistake| mistake.line), Some(line), "{text}: {said:?}");
    }
    let nodes = hosts::parse("  7\t\tzeus.example.com # one\n").expect("it is good");
    assert_eq!(nodes, [(7, "zeus".to_owned())]);
    assert_eq!(hosts::parse_name("\nathena.example.com\n"), Ok("athena".into()));
    assert_eq!(hosts::parse_name("\n\n /x\n").expect_err("no name").line, 3);
    assert_eq!(hosts::parse_name("").expect_err("no name").line, 0);
}

/// Each byte of a good file replaced, removed and doubled: read or refused, and never a panic.
#[test]
fn mutated_files() {
    let tab = format!(
        "{BY_NAME}set-timer peerinact:100\nlink one udp - udp 50000 - 10.0.0.1 -\n\
         set-addr 1 one 10.0.0.2\nexclude 2-31\n"
    );
    let hosts_text = "0 athena\n1 zeus.example.com\n31 x\n";
    let mut refused = 0;
    for (text, is_tab) in [(tab.as_str(), true), (hosts_text, false)] {
        for place in 0..text.len() {
            for byte in [b'\n', b' ', b'-', b':', b'\\', b'#', b'0', b'9', 0, 0xff, 0xc3] {
                for length in [0, 1, 2] {
                    let mut bytes = text.as_bytes().to_vec();
                    bytes.splice(place..=place, vec![byte; length]);
                    let mutated = String::from_utf8_lossy(&bytes);
                    refused += usize::from(match is_tab {
                        true => parse(&mutated).is_err(),
                        false => hosts::parse(&mutated).is_err(),
                    });
                }
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn cluster_0_is_llts_default_and_has_a_number_here() {
    for text in
        [BY_NAME.replace("set-cluster 10", "set-cluster 0"), BY_NAME.replace("set-cluster 10", "")]
    {
        let tab = parse(&text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        assert_eq!((tab.cluster, cluster_shown(tab.cluster)), (65_536, 0));
    }
    assert_eq!((cluster_number(10), cluster_shown(10)), (10, 10));
}

#[test]
fn a_link_may_be_for_some_nodes_only() {
    let tab = parse(
        "set-node 1\nset-cluster 10\nlink lan eth0 0-1,3 ether - -\n\
         link lan ens3 2 ether - -\nlink far udp 0-1 udp 50000 - 10.0.0.1 -\n\
         set-addr 0 far 10.0.0.2\n",
    )
    .expect("one tag may stand for another interface on other nodes");
    let ids = |link: &Link| (0..IDS).filter(|id| link.nodes[*id]).collect::<Vec<_>>();
    assert_eq!(tab.links.iter().map(ids).collect::<Vec<_>>(), [vec![0, 1, 3], vec![2], vec![0, 1]]);
}
