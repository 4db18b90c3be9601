use super::*;

#[test]
fn the_file_is_as_in_the_design() {
    let spec = spec::Spec {
        nodes: 2,
        networks: 1,
        ipv6: true,
        client_networks: vec![0],
        program: "/usr/bin/mainstay".into(),
        ethernet: Vec::new(),
        disk: false,
        device: false,
        stranger_networks: Vec::new(),
        lines: Vec::new(),
        standbys: false,
    };
    let mut cluster = Cluster::new("fast");
    cluster.ipv6 = true;
    cluster.head = "tie = \"prefer:n1\"\n".to_owned();
    cluster.services.push(Service {
        name: "web".to_owned(),
        nodes: spec.node_names(),
        head: String::new(),
        resources: vec![
            Resource::Address { name: "ip".into(), address: "10.77.0.100/24".into() },
            Resource::Process {
                name: "server".into(),
                command: vec!["/bin/sh".into(), "-c".into(), "echo \"a\\b\"".into()],
            },
        ],
    });
    let expected = r#"[cluster]
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
name = "net0"
nodes = { n1 = "10.77.0.1/24", n2 = "10.77.0.2/24" }

[[network]]
name = "net0v6"
nodes = { n1 = "fd77::1/64", n2 = "fd77::2/64" }

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
command = ["/bin/sh", "-c", "echo \"a\\b\""]
"#;
    assert_eq!(cluster.text(&spec), expected);
}

#[test]
fn the_other_kinds_of_networks() {
    let mut spec = spec::Spec::new(3, 2).expect("we have a path");
    spec.ethernet = vec![1];
    spec.disk = true;
    spec.device = true;
    spec.lines = vec![(1, 2)];
    let text = Cluster::new("fast").text(&spec);
    let expected = r#"
[[network]]
name = "net1"
kind = "ethernet"
nodes = { n1 = "net1", n2 = "net1", n3 = "net1" }

[[network]]
name = "disk"
kind = "disk"
nodes = { n1 = "/run/lab/n1/shared-disk", n2 = "/run/lab/n2/shared-disk", n3 = "/run/lab/n3/shared-disk" }

[[network]]
name = "device"
kind = "disk"
nodes = { n1 = "/run/lab/n1/shared-device", n2 = "/run/lab/n2/shared-device", n3 = "/run/lab/n3/shared-device" }

[[network]]
name = "line-n1-n2"
kind = "serial"
nodes = { n1 = "/run/lab/n1/line-n2", n2 = "/run/lab/n2/line-n1" }
"#;
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn standbys_stand_beside_their_primaries() {
    let mut spec = spec::Spec::new(2, 2).expect("we have a path");
    spec.ethernet = vec![1];
    spec.standbys = true;
    let text = Cluster::new("fast").text(&spec);
    let expected = r#"
[[network]]
name = "net0"
nodes = { n1 = { address = "10.77.0.1/24", interface = "net0", standby = ["net0s"] }, n2 = { address = "10.77.0.2/24", interface = "net0", standby = ["net0s"] } }

[[network]]
name = "net1"
kind = "ethernet"
nodes = { n1 = "net1", n2 = "net1" }
"#;
    assert!(text.ends_with(expected), "{text}");
    let cards: Vec<String> = spec.cards().iter().map(Card::to_string).collect();
    assert_eq!(cards, ["net0", "net0s", "net1"]);
}
