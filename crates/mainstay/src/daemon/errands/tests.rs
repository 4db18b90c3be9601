use api::v1::PathRequest;

use super::{Verb, by_hand};

#[test]
fn the_command_for_a_half_can_be_typed_as_it_is() {
    let udp = PathRequest {
        peer: "n1".into(),
        kind: "udp".into(),
        local: "10.0.0.2".into(),
        remote: "10.0.0.1".into(),
        port: Some(7_430),
        ..PathRequest::default()
    };
    let create = "mainstay path create n1 10.0.0.2 10.0.0.1 --port 7430";
    assert_eq!(by_hand(Verb::Create, &udp), create);
    assert_eq!(by_hand(Verb::Delete, &udp), "mainstay path delete n1 10.0.0.2 10.0.0.1");
    let wire = PathRequest {
        peer: "*".into(),
        kind: "ethernet".into(),
        local: "e1".into(),
        name: "wire".into(),
        rank: Some(2),
        ..PathRequest::default()
    };
    let create = "mainstay path create '*' e1 --ethernet --name wire --rank 2";
    assert_eq!(by_hand(Verb::Create, &wire), create);
    assert_eq!(by_hand(Verb::Delete, &wire), "mainstay path delete '*' e1 --ethernet --name wire");
}
