//! What a lab looks like, and the names and addresses that follow from it.
//!
//! Everything is fixed by position, so that a person can read an address: network `M` is
//! `10.77.M.0/24` and `fd77:M::/64`, node `n7` has `.7` there, the client `.254`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::card::{self, Card};
use crate::enter::DIRECTORY;
use crate::netlink::Hardware;

/// Nodes of one lab; more would need other addresses than `.1` to `.99`.
pub const NODES_MAX: u8 = 64;
/// Networks of one lab.
pub const NETWORKS_MAX: u8 = 8;
/// From this many nodes on neighbours are permanent: the kernel's table (1,024 entries for all
/// namespaces of a machine together) would overflow, and permanent entries do not count in it.
const PERMANENT_NEIGHBOURS_FROM: u8 = 16;
/// The name of the outside client.
pub const CLIENT: &str = "client";
/// Its last octet.
pub(crate) const CLIENT_HOST: u8 = 254;
/// The name of the second machine outside, which watches addresses.
pub(crate) const OBSERVER: &str = "observer";
/// Its last octet.
pub(crate) const OBSERVER_HOST: u8 = 253;
/// The name of the third machine outside, which attacks.
pub(crate) const STRANGER: &str = "stranger";
/// Its last octet.
pub(crate) const STRANGER_HOST: u8 = 252;
/// The name of the fourth machine outside, where a witness and an etcd run.
pub(crate) const ARBITER: &str = "arbiter";
/// Its last octet.
pub(crate) const ARBITER_HOST: u8 = 251;

/// The shape of a lab.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// Number of nodes, named `n1`, `n2`, …
    pub nodes: u8,
    /// Number of networks, named `net0`, `net1`, …
    pub networks: u8,
    /// Give every node an IPv6 address in each network too.
    pub ipv6: bool,
    /// Networks that the client is attached to.
    pub client_networks: Vec<u8>,
    /// The program that nodes run: `PROGRAM --root DIR run`.
    pub program: PathBuf,
    /// Networks that the cluster uses as raw Ethernet, without addresses, instead of by UDP.
    pub ethernet: Vec<u8>,
    /// A disk that all nodes share: a plain file.
    pub disk: bool,
    /// A second one: a block device (a loop device, which only root may make).
    pub device: bool,
    /// Serial lines between two nodes each.
    pub lines: Vec<(u8, u8)>,
    /// Networks that a stranger is attached to: a third machine outside, which means no good.
    pub stranger_networks: Vec<u8>,
    /// A second card for each node in each network over UDP, in the same switch, without an address.
    pub standbys: bool,
}

impl Spec {
    /// A lab whose nodes run the current program, with the client in network 0.
    ///
    /// # Errors
    /// When the path of the current program cannot be found out.
    pub fn new(nodes: u8, networks: u8) -> Result<Self> {
        let program = std::env::current_exe().context("finding our own program")?;
        Ok(Self {
            nodes,
            networks,
            ipv6: false,
            client_networks: vec![0],
            program,
            ethernet: Vec::new(),
            disk: false,
            device: false,
            lines: Vec::new(),
            stranger_networks: Vec::new(),
            standbys: false,
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        ensure!((1..=NODES_MAX).contains(&self.nodes), "a lab has 1 to {NODES_MAX} nodes");
        ensure!(
            (1..=NETWORKS_MAX).contains(&self.networks),
            "a lab has 1 to {NETWORKS_MAX} networks"
        );
        let known = |network: &u8| *network < self.networks;
        ensure!(self.client_networks.iter().all(known), "the client is in a network that is not");
        ensure!(self.stranger_networks.iter().all(known), "a stranger is in a network that is not");
        ensure!(self.ethernet.iter().all(known), "a network that is not cannot be raw Ethernet");
        ensure!(
            !(self.standbys && self.has_permanent_neighbours()),
            "with standbys a lab has less than {PERMANENT_NEIGHBOURS_FROM} nodes: permanent neighbours \
             would not follow an address to another card"
        );
        for (one, other) in &self.lines {
            let nodes = 1..=self.nodes;
            ensure!(
                one != other && nodes.contains(one) && nodes.contains(other),
                "a line is between two different nodes, and not from n{one} to n{other}"
            );
            let between = |line: &&(u8, u8)| [*line, &(line.1, line.0)].contains(&&(*one, *other));
            ensure!(
                self.lines.iter().filter(between).count() == 1,
                "two lines between n{one} and n{other}"
            );
        }
        ensure!(self.program.is_absolute(), "the program needs an absolute path");
        Ok(())
    }

    pub(crate) fn has_permanent_neighbours(&self) -> bool {
        self.nodes >= PERMANENT_NEIGHBOURS_FROM
    }

    /// Names of all nodes.
    pub fn node_names(&self) -> Vec<String> {
        (1..=self.nodes).map(node_name).collect()
    }

    /// True when nodes have two cards in that network.
    pub fn has_standby(&self, network: u8) -> bool {
        self.standbys && !self.ethernet.contains(&network)
    }

    /// The cards of each node.
    pub fn cards(&self) -> Vec<Card> {
        let networks = 0..self.networks;
        let of = |network| {
            let standby = self.has_standby(network).then(|| Card::standby(network));
            [Card::primary(network)].into_iter().chain(standby)
        };
        networks.flat_map(of).collect()
    }

    /// Addresses of a machine in a network, with their prefix lengths.
    pub(crate) fn addresses(&self, host: u8, network: u8) -> Vec<(IpAddr, u8)> {
        let mut list = vec![(IpAddr::V4(node_address(network, host)), 24)];
        if self.ipv6 {
            list.push((IpAddr::V6(node_address_v6(network, host)), 64));
        }
        list
    }
}

/// `n1` for 1.
pub fn node_name(id: u8) -> String {
    format!("n{id}")
}

/// `net0` for 0: the name of the network, and of its interface inside a node.
pub fn network_name(network: u8) -> String {
    format!("net{network}")
}

/// Where a node finds the shared disk.
pub fn disk_path(node: &str) -> PathBuf {
    Path::new(DIRECTORY).join(node).join("shared-disk")
}

/// Where a node finds the shared block device.
pub fn device_path(node: &str) -> PathBuf {
    Path::new(DIRECTORY).join(node).join("shared-device")
}

/// `line-n1-n2`: the network that a serial line is.
pub(crate) fn line_name(one: &str, other: &str) -> String {
    format!("line-{one}-{other}")
}

/// Where a node finds its end of the line to a peer.
pub fn line_path(node: &str, peer: &str) -> PathBuf {
    Path::new(DIRECTORY).join(node).join(format!("line-{peer}"))
}

/// The IPv4 address of node `id` in a network.
pub fn node_address(network: u8, id: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, network, id)
}

/// The IPv6 address of node `id` in a network.
pub fn node_address_v6(network: u8, id: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, u16::from(network), 0, 0, 0, 0, 0, u16::from(id))
}

/// The client's IPv4 address in a network.
pub fn client_address(network: u8) -> Ipv4Addr {
    node_address(network, CLIENT_HOST)
}

/// The network whose subnet has the address: `10.77.M.0/24` and `fd77:M::/64` are network `M`.
pub(crate) fn network_of(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(v4) => v4.octets()[2],
        IpAddr::V6(v6) => v6.segments()[1] as u8,
    }
}

/// The hardware address of a machine's primary card in a network.
pub fn hardware(network: u8, host: u8) -> Hardware {
    Card::primary(network).hardware(host)
}

/// Who has this hardware address, on whichever card: a node's name, the client, or the address
/// itself.
pub fn hardware_owner(hardware: Hardware) -> String {
    Card::of(hardware).map_or_else(|| card::colons(hardware), |(machine, _)| machine)
}
