//! What both commands show: the links of this node with both their ends.

use api::client::Client;
use api::v1::{self, NodeState, PathState, Priority};
use os::netlink::{Interface, Netlink};

use super::Done;

/// This node, its links and its peers.
pub(super) struct Picture {
    pub(super) status: v1::Status,
    pub(super) links: Vec<Link>,
}

/// One link.
pub(super) struct Link {
    /// Its name.
    pub(super) tag: String,
    /// `ethernet`, `udp`, …
    pub(super) kind: String,
    /// Whether it is of low priority.
    pub(super) low: bool,
    /// The interface, address or device here.
    pub(super) end: String,
    /// The interface as it is, for Ethernet.
    pub(super) interface: Option<Interface>,
}

impl Link {
    /// Whether this end of it can work, as far as the kernel knows.
    pub(super) fn is_up(&self) -> bool {
        match self.kind.as_str() {
            "ethernet" => {
                self.interface.as_ref().is_some_and(|interface| interface.up && interface.carrier)
            }
            _ => true,
        }
    }

    /// The address here: a station's or an IP address.
    pub(super) fn address(&self) -> String {
        match &self.interface {
            Some(Interface { mac: Some(mac), .. }) => {
                mac.map(|byte| format!("{byte:02X}")).join(":")
            }
            Some(_) => String::new(),
            None if self.kind == "ethernet" => String::new(),
            None => without_port(&self.end),
        }
    }
}

/// What a path belongs to: own UDP paths from one address are one link, all others are named.
fn tag(path: &v1::Path) -> String {
    match (path.kind.as_str(), path.rank) {
        ("udp", Some(_)) => without_port(&path.local),
        _ => path.network.clone(),
    }
}

fn without_port(end: &str) -> String {
    match end.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip().to_string(),
        Err(_) => end.to_owned(),
    }
}

/// Asks the daemon, and the kernel for the own interfaces.
pub(super) fn look(client: &Client) -> Done<Picture> {
    let status = client.status()?;
    let interfaces = interfaces()?;
    let mut links: Vec<Link> = Vec::new();
    for path in &status.paths {
        let tag = tag(path);
        if links.iter().any(|link| link.tag == tag) {
            continue;
        }
        let is_here = |interface: &&Interface| interface.name == path.local;
        let interface = interfaces.iter().find(is_here).filter(|_| path.kind == "ethernet");
        links.push(Link {
            tag,
            kind: path.kind.clone(),
            low: path.priority == Priority::Low,
            end: path.local.clone(),
            interface: interface.cloned(),
        });
    }
    Ok(Picture { status, links })
}

/// The machine's interfaces as they are now.
pub(super) fn interfaces() -> Done<Vec<Interface>> {
    let refused = |error: &dyn std::fmt::Display| {
        super::Failure::Refused(format!("cannot look at the interfaces: {error}"))
    };
    let mut netlink = Netlink::open().map_err(|error| refused(&error))?;
    netlink.interfaces().map_err(|error| refused(&error))
}

impl Picture {
    /// The way to a peer over a link.
    pub(super) fn path(&self, link: &Link, peer: &str) -> Option<&v1::Path> {
        self.status.paths.iter().find(|path| path.peer == peer && tag(path) == link.tag)
    }

    /// Whether that is this node.
    pub(super) fn is_local(&self, node: &v1::Node) -> bool {
        node.id == self.status.node.id
    }

    /// Whether messages get through to that node.
    pub(super) fn is_open(&self, node: &v1::Node) -> bool {
        self.is_local(node) || !matches!(node.state, NodeState::Lost | NodeState::Unknown)
    }

    /// The state of a link to a node, and the address there.
    pub(super) fn end(&self, link: &Link, node: Option<&v1::Node>) -> (&'static str, String) {
        let Some(node) = node else { return ("DOWN", String::new()) };
        if self.is_local(node) {
            return (if link.is_up() { "UP" } else { "DOWN" }, link.address());
        }
        match self.path(link, &node.name) {
            None => ("DOWN", String::new()),
            Some(path) => {
                let state = match path.state {
                    // One that rests carries what is sent to that node.
                    PathState::Alive | PathState::Resting => "UP",
                    PathState::Trouble => "TROUBLE",
                    PathState::Dead | PathState::Unknown => "DOWN",
                };
                let address = match path.kind.as_str() {
                    "ethernet" => path.remote.to_ascii_uppercase(),
                    _ => without_port(&path.remote),
                };
                (state, address)
            }
        }
    }
}
