use super::*;

#[test]
fn a_hardware_address_leads_back_to_its_card() {
    for card in [Card::primary(3), Card::standby(3)] {
        for (host, name) in
            [(7, "n7"), (spec::CLIENT_HOST, "client"), (spec::ARBITER_HOST, "arbiter")]
        {
            assert_eq!(Card::of(card.hardware(host)), Some((name.to_owned(), card)));
            assert_eq!(Card::of(card.port_hardware(host)), None, "a port is nobody's card");
            assert_eq!(spec::hardware_owner(card.hardware(host)), name);
        }
    }
    assert_eq!(told(Card::standby(0).hardware(1)), "n1 net0s");
    assert_eq!(told([0x52, 0x54, 0, 0, 0, 1]), "52:54:00:00:00:01");
}

#[test]
fn names_are_those_of_interfaces_and_ports() {
    assert_eq!(
        (Card::primary(0).to_string(), Card::standby(0).to_string()),
        ("net0".into(), "net0s".into())
    );
    assert_eq!(Card::standby(7).port("observer"), "observer-net7s");
}
