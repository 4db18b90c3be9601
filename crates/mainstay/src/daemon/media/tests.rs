//! Ports that are not open yet, or not quite.

use super::*;

const LOCAL: NodeId = NodeId(1);
const PATH: PathId = PathId { peer: NodeId(2), network: NetworkId(0) };

fn cluster(network: &str) -> Cluster {
    let text = format!(
        "[cluster]\nname = \"demo\"\nid = 10\n[[node]]\nname = \"n1\"\nid = 1\n[[node]]\n\
         name = \"n2\"\nid = 2\n[[network]]\nname = \"net\"\n{network}"
    );
    crate::config::parse(&text, "cluster.toml", 1).expect("a good configuration").0
}

fn media() -> (Media, Poll, event::Receiver<Done>) {
    let (done, reports) = event::queue(8).expect("a pipe");
    (Media::new(LOCAL, Incarnation(1), done), Poll::new().expect("a set"), reports)
}

/// A port whose heartbeats are for all waits for the interfaces; the guard needs its goodbyes before.
#[test]
fn a_goodbye_has_a_way_before_its_port_is_open() {
    let (mut media, poll, _reports) = media();
    let nodes = "nodes = { n1 = \"10.77.0.1/24\", n2 = \"10.77.0.2/24\" }\n";
    media.configure(&cluster(&format!("heartbeat = \"multicast\"\n{nodes}")), &poll);
    assert!(media.ports.values().all(|port| port.carrier.is_none()), "there is no picture yet");
    let (from, to) = media.route(PATH).expect("both addresses are known");
    assert_eq!(from.to_string(), "10.77.0.1:0");
    assert_eq!(to.ip().to_string(), "10.77.0.2");
    assert_ne!(to.port(), 0);
}
