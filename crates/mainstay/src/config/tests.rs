use std::path::Path;

use super::files::{Key, Root};
use super::*;

const TWO: &str = r#"
[cluster]
name = "demo"
id = 10
detection = "fast"
tie = "prefer:n1"

[[node]]
name = "n1"
id = 1
[[node]]
name = "n2"
id = 2

[[network]]
name = "net0"  # the blue cable
nodes = { n1 = "10.77.0.1/24", n2 = { address = "10.77.0.2/24", interface = "eth1" } }

[[service]]
name = "web"
nodes = ["n1", "n2"]
[[service.resource]]
name = "ip"
kind = "address"
address = "10.77.0.100/24"
[[service.resource]]
name = "server"
kind = "process"
command = ["/usr/bin/nginx", "-g", "daemon off;"]
environment = { LANG = "C" }
"#;

fn good(text: &str) -> Cluster {
    match parse(text, "cluster.toml", 1) {
        Ok((cluster, _)) => cluster,
        Err(found) => panic!("{}", found.render(false)),
    }
}

/// Each `tests/config/NAME.toml` gives exactly the findings in `NAME.txt`. `UPDATE_EXPECT=1`
/// rewrites those.
#[test]
fn findings_are_as_expected() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut cases = 0;
    for entry in std::fs::read_dir(&directory).expect("the cases are there") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        cases += 1;
        let text = std::fs::read_to_string(&path).expect("readable");
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let said = match parse(&text, &name, 1) {
            Ok((_, found)) => format!("usable\n\n{}", found.render(false)),
            Err(found) => {
                let report = found.report();
                assert!(!report.usable);
                found.render(false)
            }
        };
        expect_test::expect_file![path.with_extension("txt")].assert_eq(&said);
    }
    assert!(cases >= 15, "only {cases} cases were found");
}

#[test]
fn a_good_file_becomes_what_it_says() {
    let cluster = good(TWO);
    let [n1, n2] = [NodeId(1), NodeId(2)];
    assert_eq!((cluster.name.as_str(), cluster.id, cluster.version), ("demo", 10, 1));
    assert_eq!((cluster.preset, cluster.timing), (Preset::Fast, Preset::Fast.timing()));
    assert_eq!(
        (cluster.port, cluster.seed, cluster.tie.clone()),
        (PORT_DEFAULT, 2, Tie::Prefer(n1))
    );
    assert_eq!(cluster.node("n2"), Some(n2));
    assert_eq!(cluster.name_of(NodeId(9)), "#9");
    let [network] = &cluster.networks[..] else { panic!("{:?}", cluster.networks) };
    assert_eq!(network.endpoints[&n1].address, "10.77.0.1".parse::<IpAddr>().expect("valid"));
    assert_eq!(network.endpoints[&n2].interface.as_deref(), Some("eth1"));
    let [service] = &cluster.services[..] else { panic!("{:?}", cluster.services) };
    assert_eq!(service.nodes, [n1, n2]);
    assert_eq!(service.resources.len(), 2);
    assert_eq!(cluster.checksum, checksum(TWO));
    assert_ne!(cluster.checksum, checksum(&TWO.replace("demo", "dem0")));
}

#[test]
fn overrides_change_single_times() {
    let cluster = good(
        &TWO.replace("detection = \"fast\"", "detection = { preset = \"fast\", lease = \"2.5s\" }"),
    );
    assert_eq!(cluster.timing.lease, std::time::Duration::from_millis(2_500));
    assert_eq!(cluster.timing.path_timeout, Preset::Fast.timing().path_timeout);
}

/// The example that people copy is usable, and the table of times below it too.
#[test]
fn the_documented_example_is_usable() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/configuration.md");
    let text = std::fs::read_to_string(path).expect("the document is there");
    let blocks: Vec<&str> = text
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("a block ends"))
        .collect();
    let [example, kinds, sharing, replacing, times, ties, gateways, hooks] = blocks[..] else {
        panic!("{} examples", blocks.len())
    };
    assert_eq!(good(example).services.len(), 1);
    assert_eq!(good(&format!("{example}{kinds}")).networks.len(), 3);
    assert!(good(&format!("{example}{sharing}")).networks[1].placing.is_some());
    let hooks = good(&format!("{example}{hooks}")).hooks;
    assert_eq!((hooks.len(), hooks[0].events.len()), (1, 3));
    let untied: String = (example.lines())
        .filter(|line| !line.starts_with("tie"))
        .map(|line| format!("{line}\n"))
        .collect();
    let Tie::Arbiters(arbiters) = good(&format!("{untied}{ties}")).tie else { panic!("{ties}") };
    assert_eq!(arbiters.len(), 3);
    let keys = "[cluster]\nname = \"shop\"\nid = 10\n\n[[node]]\nname = \"n1\"\nid = 1\n\n[[node]]\nname = \"n2\"\nid = 2\n\n";
    let service = "[[service]]\nname = \"web\"\nnodes = [\"n1\", \"n2\"]\n\n[[service.resource]]";
    let replacing = replacing.replace("[[service.resource]]", service);
    assert!(good(&format!("{keys}{replacing}")).networks[0].placing.is_some());
    let with_gateways = good(&format!("{keys}{gateways}{ties}"));
    assert_eq!(with_gateways.networks[0].gateways.len(), 2, "for each node");
    let without: String = example
        .lines()
        .filter(|line| !line.starts_with("detection"))
        .fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(good(&(without + times)).timing.lease, std::time::Duration::from_secs(3));
}

/// Whatever bytes are in the file, the answer is findings and never a crash, and every finding
/// lies in the file.
#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    let changed = |index: usize, byte: u8| {
        let mut bytes = TWO.as_bytes().to_vec();
        bytes[index] = byte;
        String::from_utf8(bytes).ok()
    };
    let mut refused = 0;
    let cuts = (0..TWO.len()).map(|end| TWO.get(..end).map(str::to_owned));
    let changes = (0..TWO.len())
        .flat_map(|index| [b'"', b'[', b'=', b'9', b'\n', b'x'].map(|byte| changed(index, byte)));
    for text in cuts.chain(changes).flatten() {
        let Err(found) = parse(&text, "x", 1) else { continue };
        refused += 1;
        assert!(!found.findings().is_empty());
        for finding in found.findings() {
            let span = finding.span.clone().unwrap_or(0..0);
            assert!(span.start <= span.end && span.end <= text.len(), "{finding:?}");
        }
        assert!(found.render(false).contains("error"), "{text}");
    }
    assert!(refused > 1_000, "only {refused} were refused: the changes do nothing");
}

#[test]
fn the_number_of_findings_is_bounded() {
    let mut text = String::from("[cluster]\nname = \"x\"\nid = 1\n");
    for index in 0..500 {
        text.push_str(&format!("k{index} = 1\n"));
    }
    let Err(found) = parse(&text, "x", 1) else { panic!("unknown keys are errors") };
    assert_eq!(found.findings().len(), diagnostic::FINDINGS_MAX);
    assert!(found.render(false).contains("more"));
}

#[test]
fn durations_are_read_as_they_are_written() {
    use std::time::Duration;
    for (text, expected) in [
        ("200ms", Duration::from_millis(200)),
        ("2.4s", Duration::from_millis(2_400)),
        ("0.5 s", Duration::from_millis(500)),
        ("1m", Duration::from_secs(60)),
        ("1.5h", Duration::from_secs(5_400)),
        ("250us", Duration::from_micros(250)),
        ("2d", Duration::from_secs(172_800)),
    ] {
        assert_eq!(duration::parse(text), Ok(expected), "{text}");
        assert_eq!(duration::parse(&duration::format(expected)), Ok(expected), "{text}");
    }
    for text in ["", "5", "5 parsecs", "-5s", "1e3s", ".5s", "5.s", "1.2345s", "99999999999999999d"]
    {
        assert!(duration::parse(text).is_err(), "{text}");
    }
    assert_eq!(duration::format(Duration::from_millis(2_412)), "2.412s");
    assert_eq!(duration::format(Duration::from_secs(90)), "90s");
    assert_eq!(duration::format(Duration::from_secs(120)), "2m");
}

#[test]
fn adding_a_node_leaves_the_rest_as_it_was() {
    let addresses = [("net0".to_owned(), "10.77.0.3/24".to_owned())];
    let text = edit::add_node(TWO, "n3", 3, &addresses).expect("it can be added");
    let cluster = good(&text);
    assert_eq!(cluster.node("n3"), Some(NodeId(3)));
    assert_eq!(cluster.networks[0].endpoints.len(), 3);
    assert!(text.contains("# the blue cable"));
    assert!(text.contains("interface = \"eth1\" }, n3 = \"10.77.0.3/24\" }"), "{text}");
    let back = edit::remove_node(&text, "n3").expect("it can be removed");
    assert_eq!(back, TWO);

    let nowhere = [("net7".to_owned(), "10.77.0.3/24".to_owned())];
    let error = edit::add_node(TWO, "n3", 3, &nowhere).expect_err("no such network");
    assert_eq!(error.to_string(), "there is no network net7");
}

#[test]
fn removing_a_node_takes_it_out_of_services() {
    let text = TWO.replace("prefer:n1", "prefer:n2");
    let cluster = good(&edit::remove_node(&text, "n1").expect("it can be removed"));
    assert_eq!(cluster.services[0].nodes, [NodeId(2)]);
    let alone = text.replace("nodes = [\"n1\", \"n2\"]", "nodes = [\"n1\"]");
    let error = edit::remove_node(&alone, "n1").expect_err("the service has no other node");
    assert!(error.to_string().contains("service web"), "{error}");
    assert!(edit::remove_node(&text, "n9").is_err());
}

#[test]
fn keys_are_read_in_both_forms_and_never_shown() {
    let key = Key(core::array::from_fn(|index| index as u8));
    assert_eq!(Key::parse(&key.text()), Some(key.clone()));
    let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    assert_eq!(Key::parse(base64), Some(key.clone()));
    for wrong in ["", "00", &"zz".repeat(32), &"+0".repeat(32), &base64[..40]] {
        assert_eq!(Key::parse(wrong), None, "{wrong}");
    }
    assert_eq!(format!("{key:?}"), "Key(…)");
}

#[test]
fn files_are_created_once_and_the_key_is_guarded() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("the directory for temporary files can be written");
    let root = Root::new(directory.path());
    let key = Key([7; 32]);
    files::create(&root, TWO, &key, "n2").expect("it is empty");
    assert_eq!(files::read_key(&root), Ok(key.clone()));
    assert_eq!(files::read_cluster(&root), Ok(TWO.to_owned()));
    assert_eq!(files::local_node(&root, &good(TWO)), Ok(NodeId(2)));

    let again = files::create(&root, TWO, &key, "n2").expect_err("it is not empty any more");
    assert!(again.message.contains("exists"), "{again}");

    let mode = |mode| std::fs::set_permissions(root.key(), PermissionsExt::from_mode(mode));
    mode(0o640).expect("it is ours");
    let error = files::read_key(&root).expect_err("the group can read it");
    assert!(error.message.contains("mode 0640") && error.help.contains("chmod 600"), "{error:?}");
    mode(0o600).expect("it is ours");
    std::fs::write(root.key(), "secret").expect("it is ours");
    assert!(files::read_key(&root).expect_err("too short").help.contains("openssl"));

    std::fs::write(root.node(), "n7\n").expect("it is ours");
    let error = files::local_node(&root, &good(TWO)).expect_err("no such node");
    assert!(error.help.contains("n1, n2"), "{error:?}");
    std::fs::write(root.node(), "a node\n").expect("it is ours");
    assert!(files::read_node(&root).is_err());
}

#[test]
fn a_name_keeps_its_address_through_a_change_of_something_else() {
    let text = TWO.replace("n1 = \"10.77.0.1/24\"", "n1 = \"first\"");
    let file = Path::new("hosts");
    let mut before = good(&text);
    let wrong = hosts::Hosts::parse("10.77.0.1 first", file).resolve(&mut before);
    assert_eq!(wrong, []);
    let empty = hosts::Hosts::parse("", file);
    let after = |text: &str| {
        let mut after = good(text);
        hosts::carry_over(&before, &mut after);
        assert_eq!(empty.resolve(&mut after).len(), 1, "it is still said that the name is missing");
        after.networks[0].endpoints[&NodeId(1)].address.to_string()
    };
    assert_eq!(after(&text.replace("fast", "normal")), "10.77.0.1");
    assert_eq!(after(&text.replace("\"first\"", "\"other\"")), "0.0.0.0", "another name");
    let mut moved = good(&text);
    hosts::carry_over(&before, &mut moved);
    assert_eq!(hosts::Hosts::parse("10.77.0.9 first", file).resolve(&mut moved), []);
    assert_eq!(moved.networks[0].endpoints[&NodeId(1)].address.to_string(), "10.77.0.9");
}

#[test]
fn fence_agents_are_levels_of_nodes() {
    let fences = r#"
[[fence]]
node = "n2"
level = 2
agent = "/opt/fence_switch"
timeout = "5s"
[fence.options]
plug = 3
[[fence]]
node = "n2"
agent = "fence_ipmilan"
[fence.options]
lanplus = true
password_file = "/etc/mainstay/n2.password"
[[fence]]
node = "n2"
level = 2
agent = "fence_switch"
timeout = "9s"
[fence.options]
plug = 4
"#;
    let cluster = good(&format!("{TWO}{fences}"));
    assert_eq!(cluster.fence_policy, node::FencePolicy::Reboot);
    assert_eq!(cluster.fence_verify, Some(Duration::from_secs(3600)));
    let first: Vec<&Fence> = cluster.fences_at(NodeId(2), 1).collect();
    assert_eq!(first[0].options["lanplus"], "1");
    assert_eq!(first[0].timeout, Duration::from_secs(20));
    let second: Vec<&str> =
        cluster.fences_at(NodeId(2), 2).map(|fence| fence.options["plug"].as_str()).collect();
    assert_eq!(second, ["3", "4"], "in the order of the file");
    assert_eq!(cluster.fences_at(NodeId(1), 1).count(), 0);
}

/// Of exactly as many as may be nothing is said, of one more where it stands.
#[test]
fn a_cluster_has_a_thousand_service_addresses_and_no_more() {
    let text = |count: usize| {
        let mut text = String::from(
            "[cluster]\nname = \"demo\"\nid = 10\n[[node]]\nname = \"n1\"\nid = 1\n\
             [[network]]\nname = \"net0\"\nnodes = { n1 = \"10.77.0.1/16\" }\n",
        );
        for number in 0..count {
            if number % 10 == 0 {
                text.push_str(&format!("[[service]]\nname = \"s{number}\"\nnodes = [\"n1\"]\n"));
            }
            let (high, low) = (1 + number / 200, 1 + number % 200);
            text.push_str(&format!(
                "[[service.resource]]\nname = \"r{number}\"\nkind = \"address\"\n\
                 address = \"10.77.{high}.{low}/16\"\n"
            ));
        }
        text
    };
    assert_eq!(good(&text(SERVICE_ADDRESSES_MAX)).service_addresses().count(), 1_000);
    let found = parse(&text(SERVICE_ADDRESSES_MAX + 1), "cluster.toml", 1).expect_err("too many");
    let said = found.render(false);
    assert!(said.contains("there are 1001 service addresses"), "{said}");
    assert!(said.contains("a cluster has at most 1000"), "{said}");
    let line = text(SERVICE_ADDRESSES_MAX + 1).lines().count();
    assert!(said.contains(&format!("cluster.toml:{line}:")), "{said}");
}

/// What the configuration says of sharing out is what the core is told.
#[test]
fn shared_addresses_know_their_network_and_wish() {
    use ::network::place::Distribution;
    let file = "tests/config/good-placing.toml";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let cluster = good(&std::fs::read_to_string(path).expect("the case is there"));
    let lan = &cluster.networks[0];
    let placing = lan.placing.as_ref().expect("it says how");
    assert_eq!(placing.distribution, Distribution::CollocationPersistent);
    assert_eq!(placing.also[&NodeId(1)], ["eth1", "eth2"]);
    assert_eq!(placing.persistent[&NodeId(2)].len(), 2);
    assert!(placing.rebalances);
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let shared: Vec<IpAddr> = cluster.shared.keys().copied().collect();
    assert_eq!(shared, [ip("10.9.0.100"), ip("10.9.0.101"), ip("10.99.0.100")]);
    for shared in cluster.shared.values() {
        assert_eq!(shared.network, lan.id);
        assert_eq!(shared.distribution, Some(Distribution::AntiCollocation));
    }
}

/// 500 services may be, one more is told of where it stands.
#[test]
fn a_cluster_has_five_hundred_services_and_no_more() {
    let text = |count: usize| {
        let mut text = String::from(
            "[cluster]\nname = \"demo\"\nid = 10\n[[node]]\nname = \"n1\"\nid = 1\n\
             [[network]]\nname = \"net0\"\nnodes = { n1 = \"10.77.0.1/16\" }\n",
        );
        for number in 0..count {
            text.push_str(&format!(
                "[[service]]\nname = \"s{number}\"\nnodes = [\"n1\"]\n[[service.resource]]\n\
                 name = \"p\"\nkind = \"process\"\ncommand = [\"/bin/true\"]\n"
            ));
        }
        text
    };
    assert_eq!(good(&text(500)).services.len(), 500);
    let found = parse(&text(501), "cluster.toml", 1).expect_err("too many");
    let said = found.render(false);
    assert!(said.contains("there are more than 500 services"), "{said}");
    let line = text(500).lines().count() + 1;
    assert!(said.contains(&format!("cluster.toml:{line}:1")), "{said}");
}

/// A preference that changes is told of as one that moves nothing yet; nothing else is.
#[test]
fn a_change_that_acts_later_says_so() {
    let file = "tests/config/good-placing.toml";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).expect("the case is there");
    let before = good(&text);
    let said = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        later(&before, &good(&text.replace(from, to)))
    };
    let of_network = said("collocation-with-persistent", "least-load");
    assert_eq!(of_network.len(), 1);
    assert!(of_network[0].ends_with("mainstay network rebalance lan"), "{of_network:?}");
    assert_eq!(said("source = \"10.9.0.101\"", "source = \"10.9.0.100\"").len(), 1);
    let of_service = said("\"anti-collocation\"", "\"collocation\"");
    assert!(of_service.len() == 1 && of_service[0].starts_with("service web:"), "{of_service:?}");
    for (from, to) in [("rebalance = true", "rebalance = false"), ("10.9.0.100", "10.9.0.103")] {
        assert_eq!(said(from, to), Vec::<String>::new(), "{from}");
    }
    let file = "tests/config/good-replacement.toml";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).expect("the case is there");
    let other = good(&text.replace("4d:00:64", "4d:00:65"));
    assert_eq!(
        later(&good(&text), &other),
        ["service web: its hardware address counts from its next start"]
    );
}

/// What another program found, by line and column, is shown as what was found here.
#[test]
fn findings_of_others_are_shown_at_their_place() {
    let text = "first\nsäcond \"line\"\nlast";
    let mut there = Diagnostics::new("x", text);
    there.warning_at(None, "all of it").help("one").help("two");
    there.warning(15..19, "a word").label("this one").help("take another");
    there.warning(text.len() - 4..text.len(), "the end");
    let mut here = Diagnostics::new("x", text);
    for one in there.report().diagnostics {
        here.adopt(&one);
    }
    assert_eq!(here, there);
    for (line, column) in [(0, 1), (9, 1), (1, 99)] {
        let mut one = there.report().diagnostics[1].clone();
        (one.line, one.column) = (line, column);
        let mut odd = Diagnostics::new("x", text);
        odd.adopt(&one);
        assert_eq!(odd.findings()[0].span, None);
    }
}
