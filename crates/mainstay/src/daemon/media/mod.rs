//! What the paths run over: sockets, raw Ethernet, serial lines and shared disks.
//!
//! Each network of the configuration that this node has an end on is a *port* here. A port that
//! cannot be opened is tried again, and said so once: an interface may come later than the daemon,
//! an adapter may be pulled and put back. Nothing in here waits; disks have threads of their own.
//! What a medium does not take is lost, as on any network, and the paths' own timeouts decide.

mod disk;
mod ethernet;
mod serial;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use base::{Incarnation, Instant, NetworkId, NodeId, Timing};
use os::event::{self, Interest, Poll, Token};
use os::udp::{Hint, Udp};
use transport::PathId;

use super::Done;
use crate::config::{Cluster, Endpoint, Kind, Network};
use disk::Disk;
use ethernet::Wire;
use serial::Line;

/// Between two attempts to open what is not there.
const RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// Datagrams taken from one socket in one turn.
const DATAGRAMS_PER_TURN: usize = 256;

/// All networks of this node.
pub(super) struct Media {
    local: NodeId,
    epoch: Incarnation,
    done: event::Sender<Done>,
    ports: BTreeMap<NetworkId, Port>,
    /// The interfaces as they were seen last.
    interfaces: BTreeMap<String, u32>,
}

/// What a network looks like from this node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spec {
    name: String,
    kind: Kind,
    cluster: u32,
    port: u16,
    timing: Timing,
    endpoints: BTreeMap<NodeId, Endpoint>,
    devices: BTreeMap<NodeId, String>,
}

struct Port {
    spec: Spec,
    carrier: Option<Carrier>,
    /// Why it is not open.
    broken: Option<String>,
    retry_at: Instant,
}

enum Carrier {
    Udp { socket: Udp, interface: u32 },
    Ethernet(Wire),
    Serial(Box<Line>),
    Disk(Disk),
}

/// What one turn took from a network.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) frames: Vec<Vec<u8>>,
    /// Nodes whose kernel says that nobody listens there.
    pub(super) unreachable: Vec<NodeId>,
    /// There may be more.
    pub(super) more: bool,
}

impl Media {
    /// No network yet. `epoch` grows with each start of a daemon.
    pub(super) fn new(local: NodeId, epoch: Incarnation, done: event::Sender<Done>) -> Media {
        Media { local, epoch, done, ports: BTreeMap::new(), interfaces: BTreeMap::new() }
    }

    /// Opens the networks of this configuration and closes all others; those that did not change
    /// stay open. What cannot be opened is returned, and tried again by [`Media::mend`].
    pub(super) fn configure(&mut self, cluster: &Cluster, poll: &Poll) -> Vec<String> {
        let here = |network: &&Network| network.nodes().contains(self.local);
        let mut wanted: BTreeMap<NetworkId, Spec> = (cluster.networks.iter().filter(here))
            .map(|network| (network.id, Spec::of(network, cluster)))
            .collect();
        self.ports
            .retain(|id, port| wanted.get(id).is_some_and(|spec| port.is_still(spec, self.local)));
        for (id, port) in &mut self.ports {
            port.spec = wanted.remove(id).expect("only those were retained");
        }
        let retry_at = Instant::ZERO;
        let ports = wanted
            .into_iter()
            .map(|(id, spec)| (id, Port { spec, carrier: None, broken: None, retry_at }));
        self.ports.extend(ports);
        self.mend(os::clock::boottime(), poll)
    }

    /// Another picture of the interfaces: those that were made anew need other sockets.
    pub(super) fn see(
        &mut self,
        interfaces: &[os::netlink::Interface],
        poll: &Poll,
    ) -> Vec<String> {
        self.interfaces = (interfaces.iter())
            .map(|interface| (interface.name.clone(), interface.index))
            .collect();
        for port in self.ports.values_mut() {
            let Some(interface) = port.interface(self.local) else { continue };
            let index = self.interfaces.get(interface).copied();
            let is_other = match &port.carrier {
                Some(Carrier::Ethernet(wire)) => Some(wire.interface()) != index,
                Some(Carrier::Udp { interface, .. }) => {
                    *interface != 0 && Some(*interface) != index
                }
                _ => index.is_some(),
            };
            if is_other {
                port.carrier = None;
                port.retry_at = Instant::ZERO;
            }
        }
        self.mend(os::clock::boottime(), poll)
    }

    /// Opens what is not open and was not tried for a while. Returns what is newly wrong, or well
    /// again, for the journal.
    pub(super) fn mend(&mut self, now: Instant, poll: &Poll) -> Vec<String> {
        let mut said = Vec::new();
        for (id, port) in &mut self.ports {
            if port.carrier.is_some() || now < port.retry_at {
                continue;
            }
            port.retry_at = now + RETRY_INTERVAL;
            let opened = port.open(*id, self.local, self.epoch, &self.interfaces, &self.done);
            let watched = opened.and_then(|carrier| {
                carrier.watch(poll, *id)?;
                Ok(carrier)
            });
            match watched {
                Ok(carrier) => {
                    port.carrier = Some(carrier);
                    if port.broken.take().is_some() {
                        said.push(format!("network {} works again", port.spec.name));
                    }
                }
                Err(error) => port.break_down(error.to_string(), &mut said),
            }
        }
        said
    }

    /// Sends a frame. What the medium does not take now is lost and counted there.
    pub(super) fn transmit(&mut self, path: PathId, bytes: &[u8], poll: &Poll) {
        let Some(port) = self.ports.get_mut(&path.network) else { return };
        let result = match &mut port.carrier {
            None => Ok(()),
            Some(Carrier::Udp { socket, interface }) => {
                if let Some(endpoint) = port.spec.endpoints.get(&path.peer) {
                    let to = socket_address(endpoint.address, port.spec.port, *interface);
                    let _counted = socket.send_to(bytes, to);
                }
                Ok(())
            }
            Some(Carrier::Ethernet(wire)) => wire.send(path.peer, bytes),
            Some(Carrier::Serial(line)) => line.send(bytes, path.network, poll),
            Some(Carrier::Disk(disk)) => {
                disk.send(path.peer, bytes);
                Ok(())
            }
        };
        if result.is_err() {
            // Noticed again, and said, when it is read.
            port.retry_at = Instant::ZERO;
        }
    }

    /// Takes what came over a network whose descriptor is ready.
    pub(super) fn take(&mut self, id: NetworkId, poll: &Poll, said: &mut Vec<String>) -> Taken {
        let mut taken = Taken::default();
        let Some(port) = self.ports.get_mut(&id) else { return taken };
        let frames = &mut taken.frames;
        let result = match &mut port.carrier {
            None | Some(Carrier::Disk(_)) => Ok(()),
            Some(Carrier::Udp { socket, .. }) => take_udp(socket, &port.spec.endpoints, &mut taken),
            Some(Carrier::Ethernet(wire)) => wire.take(frames).map(|more| taken.more = more),
            Some(Carrier::Serial(line)) => line.take(frames, id, poll),
        };
        if let Err(error) = result {
            // Whatever the kernel says about a socket, it goes on: an odd error may come from a
            // datagram that anybody can send. An interface or a line that is gone is opened again.
            if !matches!(port.carrier, Some(Carrier::Udp { .. })) {
                port.carrier = None;
                port.retry_at = os::clock::boottime() + RETRY_INTERVAL;
            }
            port.break_down(error.to_string(), said);
        }
        taken
    }

    /// What is wrong with a network that this node has an end on.
    pub(super) fn broken(&self, id: NetworkId) -> Option<String> {
        let port = self.ports.get(&id)?;
        match &port.carrier {
            Some(Carrier::Disk(disk)) => disk.trouble(os::clock::boottime()),
            _ => port.broken.clone(),
        }
    }

    /// Where a goodbye for this path leaves from and goes to: only datagrams can be handed to the
    /// guard in advance.
    pub(super) fn route(&self, path: PathId) -> Option<(SocketAddr, SocketAddr)> {
        let port = self.ports.get(&path.network)?;
        let Some(Carrier::Udp { socket, interface }) = &port.carrier else { return None };
        let to = port.spec.endpoints.get(&path.peer)?.address;
        let mut from = socket.local();
        from.set_port(0);
        Some((from, socket_address(to, port.spec.port, *interface)))
    }
}

impl Spec {
    fn of(network: &Network, cluster: &Cluster) -> Spec {
        Spec {
            name: network.name.clone(),
            kind: network.kind,
            cluster: cluster.id,
            port: cluster.port,
            timing: cluster.timing,
            endpoints: network.endpoints.clone(),
            devices: network.devices.clone(),
        }
    }
}

impl Port {
    /// Whether what is open serves this as well: only the own end matters.
    fn is_still(&self, spec: &Spec, local: NodeId) -> bool {
        let own = |spec: &Spec| {
            let ends = (spec.endpoints.get(&local).cloned(), spec.devices.get(&local).cloned());
            (spec.kind, spec.cluster, spec.port, ends)
        };
        own(&self.spec) == own(spec)
    }

    /// The interface that its socket is bound to, if it is bound to one.
    fn interface(&self, local: NodeId) -> Option<&str> {
        match self.spec.kind {
            Kind::Udp => self.spec.endpoints.get(&local)?.interface.as_deref(),
            Kind::Ethernet { .. } => self.spec.devices.get(&local).map(String::as_str),
            Kind::Disk | Kind::Serial { .. } => None,
        }
    }

    fn open(
        &self,
        id: NetworkId,
        local: NodeId,
        epoch: Incarnation,
        interfaces: &BTreeMap<String, u32>,
        done: &event::Sender<Done>,
    ) -> io::Result<Carrier> {
        let interface = self.interface(local);
        let index = interface.and_then(|name| interfaces.get(name).copied());
        let spec = &self.spec;
        let device = spec.devices.get(&local);
        let device =
            || device.map(String::as_str).expect("only networks with an end here have ports");
        match spec.kind {
            Kind::Udp => {
                let endpoint = &spec.endpoints[&local];
                let scope = if is_link_local(endpoint.address) {
                    index.ok_or_else(|| missing(interface.unwrap_or_default()))?
                } else {
                    0
                };
                let address = socket_address(endpoint.address, spec.port, scope);
                let socket = Udp::bind(address, interface).map_err(|error| {
                    io::Error::new(error.kind(), format!("bind {address}: {error}"))
                })?;
                Ok(Carrier::Udp { socket, interface: scope })
            }
            Kind::Ethernet { ethertype } => {
                let index = index.ok_or_else(|| missing(device()))?;
                Ok(Carrier::Ethernet(Wire::open(index, ethertype, spec.cluster, local)?))
            }
            Kind::Serial { baud, flow } => {
                Ok(Carrier::Serial(Box::new(Line::open(device(), baud, flow)?)))
            }
            Kind::Disk => {
                let peers: Vec<NodeId> =
                    spec.devices.keys().copied().filter(|node| *node != local).collect();
                let disk = Disk::start(id, device(), spec, (local, epoch), peers, done.clone())?;
                Ok(Carrier::Disk(disk))
            }
        }
    }

    /// Says why it does not work, unless that was said already.
    fn break_down(&mut self, why: String, said: &mut Vec<String>) {
        if self.broken.as_ref() != Some(&why) {
            said.push(format!("network {}: {why}", self.spec.name));
            self.broken = Some(why);
        }
    }
}

impl Carrier {
    fn watch(&self, poll: &Poll, id: NetworkId) -> io::Result<()> {
        let token = token(id);
        match self {
            Carrier::Udp { socket, .. } => poll.add(socket, token, Interest::Read),
            Carrier::Ethernet(wire) => poll.add(wire.socket(), token, Interest::Read),
            Carrier::Serial(line) => poll.add(line.tty(), token, Interest::Read),
            Carrier::Disk(_) => Ok(()),
        }
    }
}

/// The first token of networks; the number is added.
pub(super) const NETWORKS: u64 = 1 << 48;

fn token(id: NetworkId) -> Token {
    Token(NETWORKS + u64::from(id.0))
}

fn missing(interface: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {interface}"))
}

fn take_udp(
    socket: &mut Udp,
    endpoints: &BTreeMap<NodeId, Endpoint>,
    taken: &mut Taken,
) -> io::Result<()> {
    let Taken { frames, unreachable, more } = taken;
    let drained = socket.drain(DATAGRAMS_PER_TURN, |_from, bytes| frames.push(bytes.to_vec()));
    let hints = socket.hints(|destination, hint| {
        let is_there = |(_, endpoint): &(&NodeId, &Endpoint)| endpoint.address == destination.ip();
        if let (Hint::PortUnreachable, Some((node, _))) = (hint, endpoints.iter().find(is_there)) {
            unreachable.push(*node);
        }
    });
    *more = drained?.more;
    hints
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

fn socket_address(address: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match address {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            SocketAddrV6::new(address, port, 0, scope).into()
        }
        address => SocketAddr::new(address, port),
    }
}
