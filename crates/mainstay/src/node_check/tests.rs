use os::netlink::AddressSeen;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn interface(index: u32, name: &str, addresses: &[&str]) -> Interface {
    let seen = |text: &&str| AddressSeen {
        address: ip(text),
        prefix: 24,
        lifetime: None,
        tentative: false,
        duplicate: false,
        deprecated: false,
    };
    Interface {
        index,
        name: name.to_owned(),
        up: true,
        carrier: true,
        loopback: false,
        mac: Some([2, 0, 0, 0, 0, index as u8]),
        mtu: 1_500,
        addresses: addresses.iter().map(seen).collect(),
    }
}

fn standbys(interfaces: &[&str]) -> Question {
    let interfaces = interfaces.iter().map(|name| (*name).to_owned()).collect();
    let standbys = Standbys {
        network: "net0".to_owned(),
        primary: "eth0".to_owned(),
        interfaces,
        own: vec![ip("10.77.0.1")],
    };
    Question { standbys: vec![standbys], ..Question::default() }
}

const TEXT: &str = r#"[cluster]
name = "demo"
id = 10
[[node]]
name = "n1"
id = 1
[[node]]
name = "n2"
id = 2
[[network]]
name = "other"
nodes = { n1 = { address = "10.76.0.1/24", interface = "eth5", standby = ["eth6"] }, n2 = "10.76.0.2/24" }
[[network]]
name = "net0"
takeover = "replacement"
heartbeat_alias = "10.200.0.0/16"
nodes = { n1 = { address = "10.77.0.1/24", interface = "eth0" }, n2 = { address = "10.77.0.2/24", interface = "eth0" } }
[[hook]]
name = "tell"
event = "swap_adapter"
command = ["/opt/tell", "it"]
[[service]]
name = "web"
nodes = ["n1", "n2"]
[[service.resource]]
name = "ip"
kind = "address"
address = "10.77.0.100/24"
hardware_address = "02:00:0a:4d:00:64"
"#;

fn good(text: &str) -> Cluster {
    match crate::config::parse(text, "cluster.toml", 1) {
        Ok((cluster, _)) => cluster,
        Err(found) => panic!("{}", found.render(false)),
    }
}

#[test]
fn a_standby_is_there_has_no_address_and_is_like_its_primary() {
    let own = interface(1, "eth0", &["10.77.0.1"]);
    let services = BTreeSet::from([ip("10.77.0.100")]);
    let facts = |standby: Interface| {
        let all = [own.clone(), standby];
        let facts = standbys(&["eth1"]).standby_facts(&all, &services);
        facts.into_iter().map(|fact| match fact {
            Fact::Standby { fault, .. } => fault,
            other => panic!("{other:?}"),
        })
    };
    let found = |standby| facts(standby).next();
    assert_eq!(found(interface(2, "eth1", &[])), None);
    // What the kernel makes, and what is there after a switch.
    let after = ["fe80::2", "10.77.0.1", "10.77.0.100"];
    assert_eq!(found(interface(2, "eth1", &after)), None);
    let has = interface(2, "eth1", &["fe80::2", "10.99.0.1"]);
    assert_eq!(found(has), Some(Fault::HasAddress(ip("10.99.0.1"))));
    assert_eq!(found(interface(2, "eth9", &[])), Some(Fault::Absent));
    let primary = || "eth0".to_owned();
    let other = Interface { mac: None, ..interface(2, "eth1", &[]) };
    assert_eq!(found(other), Some(Fault::OtherKind { primary: primary() }));
    let own_loop = Interface { loopback: true, ..interface(2, "eth1", &[]) };
    assert_eq!(found(own_loop), Some(Fault::OtherKind { primary: primary() }));
    let small = Interface { mtu: 1_400, ..interface(2, "eth1", &[]) };
    let fault = Fault::OtherMtu { mtu: 1_400, primary: primary(), expected: 1_500 };
    assert_eq!(found(small), Some(fault));
}

#[test]
fn a_card_with_the_hardware_address_of_a_service_is_found_unless_it_has_the_service() {
    let mac = [2, 0, 0, 0, 0, 7];
    let question = Question { hardware: vec![(ip("10.77.0.100"), mac)], ..Question::default() };
    let free = [interface(1, "eth0", &["10.77.0.1"])];
    assert_eq!(question.stations(&free), []);
    let owner = [interface(7, "eth0", &["10.77.0.100"])];
    assert_eq!(question.stations(&owner), []);
    let card = [interface(1, "eth0", &[]), interface(7, "eth1", &["10.77.0.1"])];
    let fact = Fact::Station { address: ip("10.77.0.100"), mac, interface: "eth1".to_owned() };
    assert_eq!(question.stations(&card), [fact]);
}

#[test]
fn a_program_that_cannot_be_run_is_found() {
    let asked = |program: &str| {
        let question = Question { programs: vec![program.to_owned()], ..Question::default() };
        question.answer(&BTreeSet::new())
    };
    assert_eq!(asked("/bin/sh"), []);
    for program in ["/nowhere/at/all", "/etc/passwd", "/"] {
        let facts = asked(program);
        assert!(
            matches!(&facts[..], [Fact::NoProgram { why, .. }] if why.contains(program)),
            "{facts:?}"
        );
    }
}

/// A running cluster is asked about a change, and each node about its own.
#[test]
fn only_what_is_new_is_asked() {
    let before = good(TEXT);
    let [n1, n2] = [NodeId(1), NodeId(2)];
    for node in [n1, n2] {
        assert_eq!(Question::of(&before, node, Some(&before)), Question::default());
    }
    let whole = Question::of(&before, n1, None);
    assert_eq!(whole.addresses, [ip("10.77.0.100")]);
    assert_eq!(whole.hardware, [(ip("10.77.0.100"), [2, 0, 10, 0x4d, 0, 0x64])]);
    assert_eq!(whole.programs, ["/opt/tell"]);
    assert_eq!(whole.standbys[0].interfaces, ["eth6"]);
    assert!(Question::of(&before, n2, None).standbys.is_empty());

    let text = TEXT.replace("[\"eth6\"]", "[\"eth6\", \"eth7\"]").replace("/opt/tell", "/opt/said");
    let text = text
        + "[[service]]\nname = \"db\"\nnodes = [\"n1\"]\n[[service.resource]]\nname = \"ip\"\n\
           kind = \"address\"\naddress = \"10.77.0.101/24\"\n";
    let after = good(&text);
    let change = Question::of(&after, n1, Some(&before));
    assert_eq!(change.addresses, [ip("10.77.0.101")]);
    assert_eq!((change.hardware.len(), &change.programs[..]), (0, &["/opt/said".to_owned()][..]));
    assert_eq!(change.standbys[0].interfaces, ["eth6", "eth7"]);
    assert!(Question::of(&after, n2, Some(&before)).standbys.is_empty());
}

/// A thousand addresses, each of which somebody has: question and answer fit into messages.
#[test]
fn parts_and_their_answers_fit_into_messages() {
    let address = |number: u32| ip(&format!("fd00:1234:5678:9abc:def0:1234:5678:{number:x}"));
    let addresses: Vec<IpAddr> = (0x9000..0x9000 + 1_000).map(address).collect();
    let hardware = addresses.iter().map(|address| (*address, [255; 6])).collect();
    let programs = (0..16).map(|number| format!("/{number:04000}")).collect();
    let one = Standbys { interfaces: vec!["a".repeat(15); 4], ..standbys(&[]).standbys[0].clone() };
    let one = Standbys { network: "n".repeat(63), own: vec![address(1); 9], ..one };
    let question = Question { addresses, hardware, programs, standbys: vec![one; 32] };
    let parts = question.parts();
    assert_eq!(parts.iter().map(|part| part.addresses.len()).sum::<usize>(), 1_000);
    assert_eq!(parts.iter().map(|part| part.hardware.len()).sum::<usize>(), 1_000);
    assert_eq!(parts.iter().map(|part| part.programs.len()).sum::<usize>(), 16);
    assert_eq!(parts.iter().map(|part| part.standbys.len()).sum::<usize>(), 32);
    // What is told says besides what it is an answer to.
    let limit = node::TELL_SIZE_MAX - 100;
    for part in &parts {
        let size = serde_json::to_vec(part).expect("plain").len();
        assert!(size <= limit, "{size} bytes");
        let interface = "a".repeat(15);
        let mut facts: Vec<Fact> = Vec::new();
        facts.extend(part.addresses.iter().map(|address| Fact::InUse {
            address: *address,
            interface: interface.clone(),
            mac: [255; 6],
        }));
        facts.extend(part.hardware.iter().map(|(address, mac)| Fact::Station {
            address: *address,
            interface: interface.clone(),
            mac: *mac,
        }));
        facts.extend(part.programs.iter().map(|program| Fact::NoProgram {
            program: program.clone(),
            why: format!("{program}: No such file or directory (os error 2)"),
        }));
        let size = serde_json::to_vec(&facts).expect("plain").len();
        assert!(size <= limit, "{size} bytes");
        let back: Vec<Fact> =
            serde_json::from_slice(&serde_json::to_vec(&facts).expect("plain")).expect("plain");
        assert_eq!(back, facts);
    }
}

fn unasked(subject: Subject, cause: Cause) -> Fact {
    Fact::Unasked { subject, cause }
}

/// What a node could not look at, and why, is said once for all its parts, each with its own mend.
#[test]
fn what_could_not_be_seen_is_told_once_with_its_own_mend() {
    let cluster = good(TEXT);
    let why = || "it is so".to_owned();
    let causes =
        [Cause::NotAllowed(why()), Cause::Busy(why()), Cause::Hangs(why()), Cause::Failed(why())];
    let whole = Question::of(&cluster, NodeId(1), None);
    let mut found = Vec::new();
    for cause in &causes {
        let facts = whole.unasked(cause);
        assert_eq!(facts.len(), 4);
        found.extend(facts.iter().chain(&facts).map(|fact| (NodeId(1), fact.clone())));
    }
    let told = report(&cluster, found);
    assert_eq!(told.len(), 16);
    let helps: BTreeSet<&String> = told.iter().flat_map(|one| &one.help).collect();
    assert_eq!(helps.len(), causes.len());
    let standby = "n1 could not see whether interfaces are fit to stand by: it is so";
    assert_eq!(told.iter().filter(|one| one.message == standby).count(), causes.len());
    let root = |one: &&v1::Diagnostic| one.help[0].contains("root");
    assert_eq!(told.iter().filter(root).count(), 4);
}

/// Each finding stands where its cause is written.
#[test]
fn findings_name_their_lines() {
    let cluster = good(TEXT);
    let standby =
        |fault| Fact::Standby { network: "other".to_owned(), interface: "eth6".to_owned(), fault };
    let facts = [
        Fact::InUse { address: ip("10.77.0.100"), interface: "eth0".to_owned(), mac: [2; 6] },
        Fact::Station {
            address: ip("10.77.0.100"),
            mac: [2, 0, 10, 0x4d, 0, 0x64],
            interface: "eth1".to_owned(),
        },
        Fact::NoProgram { program: "/opt/tell".to_owned(), why: "it is gone".to_owned() },
        standby(Fault::HasAddress(ip("10.9.9.9"))),
        standby(Fault::OtherMtu { mtu: 1_400, primary: "eth5".to_owned(), expected: 1_500 }),
        unasked(Subject::Addresses, Cause::NotAllowed("nobody may".to_owned())),
    ];
    let lines = facts.map(|fact| {
        let mut found = Diagnostics::new("cluster.toml", TEXT);
        warn(fact.words(&cluster, "n1", true), TEXT, &mut found);
        let report = found.report();
        assert!(report.usable && report.diagnostics[0].message.contains("n1"), "{report:?}");
        let line = report.diagnostics[0].line;
        TEXT.lines()
            .nth(line.wrapping_sub(1))
            .map(|line| line.split(' ').next().unwrap_or_default())
    });
    let expected = ["address", "hardware_address", "command", "nodes", "nodes"].map(Some);
    assert_eq!(lines[..5], expected);
    assert_eq!(lines[5], None);
}

/// Somebody has a thousand addresses: what is searched for in the text is bounded, and the rest is counted.
#[test]
fn what_nodes_have_found_is_told_once_and_bounded() {
    let cluster = good(TEXT);
    let in_use = |node: u8, number: u32| {
        let address = ip(&format!("10.77.{}.{}", number / 200, number % 200));
        (NodeId(node), Fact::InUse { address, interface: "eth0".to_owned(), mac: [2; 6] })
    };
    let both =
        |count: u32| (0..count).flat_map(move |number| [in_use(2, number), in_use(1, number)]);
    let told = report(&cluster, both(FINDINGS_MAX as u32).collect());
    assert_eq!(told.len(), FINDINGS_MAX);
    assert!(told.iter().all(|one| one.message.ends_with("on eth0 of n1")), "{told:?}");
    let told = report(&cluster, both(1_000).collect());
    assert_eq!(told.len(), FINDINGS_MAX);
    let more = "the nodes have found 901 more things like these";
    assert_eq!(told.iter().filter(|one| one.message == more).count(), 1);
}
