use super::*;
use crate::spec::Spec;

/// The text of a cluster whose network 1 shares addresses out.
fn text() -> String {
    let spec = Spec { standbys: true, ..Spec::new(2, 2).expect("we have a path") };
    let mut cluster = Cluster::new("fast");
    let (nodes, head, resources) = (spec.node_names(), String::new(), Vec::new());
    adapt(&mut cluster, Service { name: SHARED.to_owned(), nodes, head, resources });
    cluster.text(&spec)
}

#[test]
fn both_cards_of_one_network_share_addresses_out() {
    let text = text();
    let expected = r#"
[[network]]
name = "net1"
nodes = { n1 = { address = "10.77.1.1/24", interface = "net1" }, n2 = { address = "10.77.1.2/24", interface = "net1" } }
also = { n1 = ["net1s"], n2 = ["net1s"] }
persistent = { n1 = "10.88.1.1/24", n2 = "10.88.1.2/24" }
source = "10.88.1.101"
distribution = "least-load"
rebalance = true
"#;
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("interface = \"net0\", standby = [\"net0s\"]"), "{text}");
}

#[test]
fn each_preference_is_written_instead_of_the_former_one() {
    let mut text = text();
    for step in &STEPS {
        let wish = Wish::of(step);
        text = wish.written_into(&text).expect("the network and the service are there");
        let count = |what: &str| text.lines().filter(|line| line.starts_with(what)).count();
        let (networks, services) = text.split_once("[[service]]").expect("it has a service");
        assert!(networks.contains(&wish.of_network), "{text}");
        assert!(services.contains(&wish.of_service), "{text}");
        assert_eq!(count("distribution = "), 1 + usize::from(step.of_service.is_some()), "{text}");
        assert_eq!(count("rebalance = "), 1, "{text}");
    }
    assert!(Wish::of(&STEPS[0]).written_into("[cluster]\n").is_err());
}

#[test]
fn no_preference_is_left_out() {
    let mut shown: Vec<&str> = STEPS.iter().map(|step| step.distribution).collect();
    shown.sort_unstable();
    shown.dedup();
    let documented = include_str!("../../../../docs/reference/configuration.md");
    let (_, table) = documented.split_once("| `distribution` |").expect("there is a table");
    let (table, _) = table.split_once("\n\n").expect("the table ends");
    let names = table.lines().skip(2).filter_map(|line| line.split('`').nth(1));
    let mut names = Vec::from_iter(names);
    names.sort_unstable();
    assert_eq!(shown, names);
}
