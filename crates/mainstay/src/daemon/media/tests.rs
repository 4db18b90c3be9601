//! Ports that are not open yet, or not quite.

use rustix::net::sockopt;

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
    let (frames, _) = event::queue(8).expect("a pipe");
    (Media::new(LOCAL, Incarnation(1), frames, done), Poll::new().expect("a set"), reports)
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

/// The loopback interface with one address on which this test runs alone.
fn loopback() -> os::netlink::Interface {
    let address = IpAddr::from([127, 0, 77, 1]);
    let mut netlink = os::netlink::Netlink::open().expect("the kernel answers");
    let all = netlink.interfaces().expect("interfaces can be listed");
    let mut loopback = all.into_iter().find(|interface| interface.loopback).expect("there is one");
    let mut seen = loopback.addresses[0];
    seen.address = address;
    loopback.addresses = vec![seen];
    loopback
}

/// Somebody else has the group's port: the network goes on for single nodes, and hears what is for all
/// as soon as it can; and again after its ear has failed.
#[test]
fn a_port_without_its_ear_is_open_and_gets_one_later() {
    let (mut media, poll, _reports) = media();
    let group = SocketAddr::from(([239, 192, 0, 10], 0));
    let other = std::net::UdpSocket::bind(group).expect("one port is free");
    let port = other.local_addr().expect("it is bound").port();
    let network = format!(
        "heartbeat = \"multicast\"\nport = {port}\n\
         nodes = {{ n1 = \"127.0.77.1/8\", n2 = \"127.0.77.2/8\" }}\n"
    );
    assert!(media.configure(&cluster(&network), &poll).is_empty());
    let said = media.see(&[loopback()], &poll);
    assert!(said.len() == 1 && said[0].contains("hear what is for 239.192.0.10"), "{said:?}");
    assert!(media.broken(PATH.network).is_some());
    let address = media.ports[&PATH.network].address().expect("it is open all the same");
    assert!(media.sockets.contains_key(&address));
    let later = os::clock::boottime() + RETRY_INTERVAL;
    assert!(media.mend(later, &poll).is_empty(), "said once");
    // A child that another test has forked may hold it longer; an ear shares what may be shared.
    sockopt::set_socket_reuseaddr(&other, true).expect("it is ours");
    drop(other);
    let later = later + RETRY_INTERVAL;
    assert_eq!(media.mend(later, &poll), ["network net works again"]);
    assert_eq!(media.broken(PATH.network), None);
    // The ear fails.
    let port = media.ports.get_mut(&PATH.network).expect("it is there");
    let mut said = Vec::new();
    port.lose_ear(&io::Error::from_raw_os_error(5), later, &mut said);
    assert_eq!(said.len(), 1);
    assert!(media.mend(later, &poll).is_empty(), "not at once");
    assert_eq!(media.mend(later + RETRY_INTERVAL, &poll), ["network net works again"]);
    assert_eq!(media.broken(PATH.network), None);
    assert_eq!(media.sockets.len(), 1);
}

/// An interface that cannot carry what is for all leaves no socket behind that nobody reads.
#[test]
fn a_port_that_cannot_open_leaves_no_socket() {
    let (mut media, poll, _reports) = media();
    let nodes = "nodes = { n1 = \"127.0.77.1/8\", n2 = \"127.0.77.2/8\" }\n";
    let network = format!("heartbeat = \"multicast\"\n{nodes}");
    media.configure(&cluster(&network), &poll);
    let mut gone = loopback();
    gone.index = u32::MAX >> 1;
    let said = media.see(&[gone], &poll);
    assert!(said.len() == 1 && said[0].contains("speak to 239.192.0.10"), "{said:?}");
    assert!(media.ports.values().all(|port| port.carrier.is_none()));
    assert!(media.sockets.is_empty());
}
