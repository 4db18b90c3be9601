use super::*;

fn interface(name: &str, role: &str, address: Option<&str>) -> v1::NetworkInterface {
    v1::NetworkInterface {
        name: name.into(),
        role: role.into(),
        state: v1::InterfaceState::Up,
        addresses: address.map(str::to_owned).into_iter().collect(),
        ..v1::NetworkInterface::default()
    }
}

/// eth0 with 10.0.0.1/24, eth2 with 10.3.0.1/24, and a service with an address in the first subnet and one in
/// 10.9.0.0/24, which no interface has.
fn here() -> Here {
    let address = |detail: &str| v1::Resource {
        kind: "address".into(),
        detail: detail.into(),
        ..v1::Resource::default()
    };
    let service = v1::Service {
        name: "web".into(),
        nodes: vec!["n1".into()],
        resources: vec![address("10.0.0.100/24"), address("10.9.0.100/24")],
        ..v1::Service::default()
    };
    let network = |interfaces| v1::NetworkHealth { interfaces, ..v1::NetworkHealth::default() };
    let status = v1::Status {
        schema: v1::SCHEMA,
        verdict: v1::Verdict::Ok,
        reasons: Vec::new(),
        cluster: v1::Cluster::default(),
        node: v1::LocalNode { name: "n1".into(), ..v1::LocalNode::default() },
        leaving: None,
        view: v1::View::default(),
        nodes: Vec::new(),
        paths: Vec::new(),
        services: vec![service],
        addresses: Vec::new(),
        warnings: Vec::new(),
        health: v1::Health::default(),
        counters: Vec::new(),
    };
    let networks = v1::Networks {
        networks: vec![
            network(vec![interface("eth0", "primary", Some("10.0.0.1/24"))]),
            network(vec![interface("eth2", "primary", Some("10.3.0.1/24"))]),
        ],
        ..v1::Networks::default()
    };
    Here { status, networks }
}

fn test(here: &Here, address: &str, subnet: &str) -> Result<String, String> {
    here.test(address.parse().expect("an address"), subnet.parse().expect("a subnet"))
}

fn own(here: &mut Here, address: &str, interface: &str) {
    here.status.addresses.push(v1::Address {
        address: address.into(),
        interface: Some(interface.into()),
        phase: "owned".into(),
        ..v1::Address::default()
    });
}

#[test]
fn an_address_goes_to_the_interface_of_its_own_subnet_only() {
    let mut here = here();
    assert_eq!(
        test(&here, "10.0.0.100", "10.0.0.0").as_deref(),
        Ok("10.0.0.100 can be added to eth0")
    );
    let refused = Err("10.0.0.100 is not in the subnet 10.3.0.0/24".to_owned());
    assert_eq!(test(&here, "10.0.0.100", "10.3.0.0"), refused);
    own(&mut here, "10.0.0.100", "eth0");
    let [address, other] = ["10.0.0.100", "10.3.0.0"].map(|text| text.parse().expect("one"));
    assert_eq!(here.add(address, other), refused, "it is here, and not in that subnet");
    here.networks.networks[0].interfaces[0].state = v1::InterfaceState::Down;
    let why = "no interface with the subnet 10.0.0.0 works".to_owned();
    assert_eq!(test(&here, "10.0.0.100", "10.0.0.0"), Err(why));
}

#[test]
fn a_subnet_that_no_interface_has_is_shared_out_over_those_of_a_network() {
    let mut here = here();
    let none = |subnet: &str| Err(format!("no interface of this node has the subnet {subnet}"));
    assert_eq!(test(&here, "10.9.0.100", "10.9.0.0"), none("10.9.0.0"), "nobody shares");
    here.networks.networks[1].interfaces.push(interface("eth3", "sharing", None));
    assert_eq!(test(&here, "10.9.0.100", "10.8.0.0"), none("10.8.0.0"), "it is in another one");
    let can = |name: &str| Ok(format!("10.9.0.100 can be added to {name}"));
    assert_eq!(test(&here, "10.9.0.100", "10.9.0.0"), can("eth2"));
    here.networks.networks[1].interfaces[0].state = v1::InterfaceState::Down;
    assert_eq!(test(&here, "10.9.0.100", "10.9.0.0"), can("eth3"));
    here.status.services[0].blocked.insert("n1".into(), "it failed here".into());
    let why = "web cannot run on this node: it failed here".to_owned();
    assert_eq!(test(&here, "10.9.0.100", "10.9.0.0"), Err(why));
    own(&mut here, "10.9.0.100", "eth3");
    let [address, subnet] = ["10.9.0.100", "10.9.0.0"].map(|text| text.parse().expect("one"));
    assert_eq!(here.add(address, subnet).as_deref(), Ok("10.9.0.100 is on eth3"));
}
