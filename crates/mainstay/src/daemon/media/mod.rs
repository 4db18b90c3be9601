//! What the paths run over: sockets, raw Ethernet, serial lines and shared disks.
//!
//! Each network of the configuration that this node has an end on is a *port* here. A port that
//! cannot be opened is tried again, and said so once: an interface may come later than the daemon,
//! an adapter may be pulled and put back. Nothing in here waits; disks have threads of their own.
//! What a medium does not take is lost, as on any network, and the paths' own timeouts decide.

mod disk;
mod ethernet;
mod everybody;
mod serial;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use base::{Incarnation, Instant, NetworkId, NodeId, Timing};
use os::event::{self, Interest, Poll, Ready, Token};
use os::udp::{Hint, Sent, Udp};
use transport::PathId;

use super::Done;
use super::discovery::{Bound, Datagram};
use crate::config::{Cluster, Endpoint, Heartbeat, Kind, Network};
use crate::probe::test::Stopped;
use disk::Disk;
pub(super) use disk::DiskFrames;
use ethernet::Wire;
use everybody::Everybody;
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
    disk_frames: event::Sender<DiskFrames>,
    ports: BTreeMap<NetworkId, Port>,
    /// One for each own address, however many networks and paths begin there.
    sockets: BTreeMap<SocketAddr, Socket>,
    /// Their addresses, for the thread that discovers.
    pub(super) bound: Bound,
    last_socket: u64,
    /// The interfaces as they were seen last; none before the first picture.
    interfaces: Option<BTreeMap<String, u32>>,
    /// Which interface carries an address.
    carried_by: BTreeMap<IpAddr, u32>,
    /// Disks opened so far: each writer's epoch is above those before.
    disks: u64,
}

/// What a network looks like from this node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spec {
    name: String,
    kind: Kind,
    heartbeat: Heartbeat,
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

struct Socket {
    udp: Udp,
    token: u64,
}

enum Carrier {
    /// The socket at this address, with the scope of link-local ones, and the interface that it is
    /// bound to.
    Udp {
        address: SocketAddr,
        scope: u32,
        interface: Option<u32>,
        /// For what is for all.
        everybody: Option<Box<Everybody>>,
    },
    Ethernet(Wire),
    Serial(Box<Line>),
    Disk(Disk),
}

/// What one turn took from a descriptor. The loop keeps one and empties it each time, so that its
/// room is there already.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) frames: Vec<(NetworkId, Vec<u8>)>,
    /// Paths at whose end the kernel says that nobody listens.
    pub(super) unreachable: Vec<PathId>,
    /// What is newly wrong, for the journal.
    pub(super) said: Vec<String>,
    /// Datagrams of those who discover.
    pub(super) discovery: Vec<Datagram>,
    /// Paths to whose end, the kernel or a router says, nothing leads.
    pub(super) nobody_there: Vec<PathId>,
    /// There may be more.
    pub(super) more: bool,
}

impl Media {
    /// No network yet. `epoch` grows with each start of a daemon.
    pub(super) fn new(
        local: NodeId,
        epoch: Incarnation,
        disk_frames: event::Sender<DiskFrames>,
        done: event::Sender<Done>,
    ) -> Media {
        Media {
            local,
            epoch,
            done,
            disk_frames,
            ports: BTreeMap::new(),
            sockets: BTreeMap::new(),
            bound: Bound::default(),
            last_socket: 0,
            interfaces: None,
            carried_by: BTreeMap::new(),
            disks: 0,
        }
    }

    /// Opens the networks of this configuration and closes all others; those that did not change
    /// stay open. What cannot be opened is returned, and tried again by [`Media::mend`].
    pub(super) fn configure(&mut self, cluster: &Cluster, poll: &Poll) -> Vec<String> {
        let here = |network: &&Network| network.nodes().contains(self.local);
        let mut wanted: BTreeMap<NetworkId, Spec> = (cluster.networks.iter().filter(here))
            .map(|network| (network.id, Spec::of(network, cluster)))
            .collect();
        let local = self.local;
        self.ports.retain(|id, port| wanted.get(id).is_some_and(|spec| port.is_still(spec, local)));
        for (id, port) in &mut self.ports {
            port.spec = wanted.remove(id).expect("only those were retained");
        }
        let retry_at = Instant::ZERO;
        let ports = wanted
            .into_iter()
            .map(|(id, spec)| (id, Port { spec, carrier: None, broken: None, retry_at }));
        self.ports.extend(ports);
        self.close_unused();
        self.mend(os::clock::boottime(), poll)
    }

    fn close_unused(&mut self) {
        let ports = &self.ports;
        let is_used = |at: &SocketAddr| ports.values().any(|port| port.address() == Some(*at));
        // Closing one takes it out of the loop as well.
        self.sockets.retain(|address, _| is_used(address));
        self.tell_bound();
    }

    /// Another picture of the interfaces: those that were made anew need other sockets.
    pub(super) fn see(
        &mut self,
        interfaces: &[os::netlink::Interface],
        poll: &Poll,
    ) -> Vec<String> {
        let seen = interfaces.iter().map(|interface| (interface.name.clone(), interface.index));
        let seen = self.interfaces.insert(seen.collect());
        let of = |interface: &os::netlink::Interface| {
            let index = interface.index;
            let addresses = interface.addresses.iter();
            addresses.map(move |seen| (seen.address, index)).collect::<Vec<_>>()
        };
        self.carried_by = interfaces.iter().flat_map(of).collect();
        for port in self.ports.values_mut() {
            if let Some(Carrier::Udp { everybody: Some(everybody), .. }) = &port.carrier {
                let own = port.spec.endpoints.get(&self.local).map(|end| end.address);
                let index = own.and_then(|own| self.carried_by.get(&own));
                if index != Some(&everybody.interface) {
                    port.carrier = None;
                    port.retry_at = Instant::ZERO;
                }
            }
            let Some(interface) = port.interface(self.local) else { continue };
            let index = seen.get(interface).copied();
            let is_other = match &port.carrier {
                Some(Carrier::Ethernet(wire)) => Some(wire.interface()) != index,
                Some(Carrier::Udp { interface, .. }) => *interface != index,
                Some(Carrier::Serial(_) | Carrier::Disk(_)) => false,
                None => index.is_some(),
            };
            if is_other {
                port.carrier = None;
                port.retry_at = Instant::ZERO;
            }
        }
        self.close_unused();
        self.mend(os::clock::boottime(), poll)
    }

    /// Opens what is not open and was not tried for a while. Returns what is newly wrong, or well
    /// again, for the journal.
    pub(super) fn mend(&mut self, now: Instant, poll: &Poll) -> Vec<String> {
        let mut said = Vec::new();
        let due: Vec<NetworkId> = (self.ports.iter())
            .filter(|(_, port)| !port.is_whole() && now >= port.retry_at)
            .filter(|(_, port)| self.interfaces.is_some() || !port.wants_interfaces(self.local))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let opened = match self.ports[&id].carrier {
                None => self.open(id, poll).map(Some),
                Some(_) => Ok(None),
            };
            let port = self.ports.get_mut(&id).expect("it was just seen");
            port.retry_at = now + RETRY_INTERVAL;
            let result = opened.and_then(|opened| {
                if opened.is_some() {
                    port.carrier = opened;
                }
                // A network without its ear still carries what is for this node alone.
                port.carrier.as_mut().map_or(Ok(()), |carrier| carrier.listen(poll))
            });
            match result {
                Ok(()) => port.works_again(&mut said),
                Err(error) => port.break_down(error.to_string(), &mut said),
            }
        }
        said
    }

    fn open(&mut self, id: NetworkId, poll: &Poll) -> io::Result<Carrier> {
        let port = &self.ports[&id];
        let interface = port.interface(self.local);
        let seen = self.interfaces.as_ref();
        let index = interface.zip(seen).and_then(|(name, seen)| seen.get(name).copied());
        let spec = &port.spec;
        let device = spec.devices.get(&self.local).map(String::as_str);
        let device = || device.expect("only networks with an end here have ports");
        let carrier = match spec.kind {
            Kind::Udp => {
                let endpoint = &spec.endpoints[&self.local];
                if let Some(host) = endpoint.host.as_ref().filter(|_| !endpoint.has_address()) {
                    let why = host.trouble.as_ref().map_or(String::new(), ToString::to_string);
                    return Err(io::Error::new(io::ErrorKind::NotFound, why));
                }
                let scope = self.scope(port, endpoint.address)?;
                let address = socket_address(endpoint.address, spec.port, scope);
                let on = self.carried_by.get(&endpoint.address).copied();
                let (cluster, own) = (spec.cluster, endpoint.address);
                let (heartbeat, port) = (spec.heartbeat, spec.port);
                let to = everybody::address(heartbeat, endpoint, cluster, port, on.unwrap_or(0));
                let to = to.map(|to| {
                    Ok::<_, io::Error>((to, on.ok_or_else(|| missing(&format!("with {own}")))?))
                });
                let to = to.transpose()?;
                // Into the set of sockets only when all went well: what no port uses, nobody reads.
                let fresh = match self.sockets.contains_key(&address) {
                    true => None,
                    false => {
                        let explain = |error: io::Error| {
                            io::Error::new(error.kind(), format!("bind {address}: {error}"))
                        };
                        let udp = Udp::bind(address, interface).map_err(explain)?;
                        self.last_socket += 1;
                        let token = SOCKETS + self.last_socket;
                        poll.add(&udp, Token(token), Interest::Read)?;
                        Some(Socket { udp, token })
                    }
                };
                let speaker = fresh.as_ref().unwrap_or_else(|| &self.sockets[&address]);
                let everybody = match to {
                    None => None,
                    Some((to, on)) => {
                        self.last_socket += 1;
                        let token = SOCKETS + self.last_socket;
                        Some(Box::new(Everybody::new(to, own, on, &speaker.udp, token)?))
                    }
                };
                if let Some(fresh) = fresh {
                    self.sockets.insert(address, fresh);
                    self.tell_bound();
                }
                Carrier::Udp { address, scope, interface: index, everybody }
            }
            Kind::Ethernet { ethertype } => {
                let index = index.ok_or_else(|| missing(device()))?;
                let wire = Wire::open(index, ethertype, spec.cluster, self.local)?;
                poll.add(wire.socket(), token(id), Interest::Read)?;
                Carrier::Ethernet(wire)
            }
            Kind::Serial { baud, flow } => {
                let line = Line::open(device(), baud, flow)?;
                poll.add(line.tty(), token(id), Interest::Read)?;
                Carrier::Serial(Box::new(line))
            }
            Kind::Disk => {
                let peers = spec.devices.keys().copied().filter(|node| *node != self.local);
                let peers: Vec<NodeId> = peers.collect();
                self.disks += 1;
                let epoch =
                    Incarnation(self.epoch.0 * DISKS_PER_LIFE + self.disks * DISKS_PER_OPEN);
                let who = (self.local, epoch);
                let reports = (self.disk_frames.clone(), self.done.clone());
                Carrier::Disk(Disk::start(id, device(), spec, who, peers, reports)?)
            }
        };
        Ok(carrier)
    }

    fn tell_bound(&self) {
        *self.bound.lock().expect("nobody panics with it") = self.sockets.keys().copied().collect();
    }

    /// Sends a frame. What the medium does not take now is lost and counted there.
    pub(super) fn transmit(&mut self, path: PathId, bytes: &[u8], poll: &Poll) {
        let Some(port) = self.ports.get_mut(&path.network) else { return };
        let result = match &mut port.carrier {
            None => Ok(()),
            Some(Carrier::Udp { address, scope, .. }) => {
                let endpoint = port.spec.endpoints.get(&path.peer);
                if let Some(endpoint) = endpoint.filter(|endpoint| endpoint.has_address())
                    && let Some(socket) = self.sockets.get_mut(address)
                {
                    let to = socket_address(endpoint.address, port.spec.port, *scope);
                    let _counted = socket.udp.send_to(bytes, to);
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

    /// Sends a receipt to somebody who discovers.
    pub(super) fn receipt(&mut self, local: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        if let Some(socket) = self.sockets.get_mut(&local) {
            // Lost like any datagram, and asked for again.
            let _counted = socket.udp.send_whole(bytes, to);
        }
    }

    /// Sends a probe over the path, and says why it did not leave. A disk or a line takes it and
    /// keeps to itself what becomes of it.
    pub(super) fn probe(
        &mut self,
        path: PathId,
        bytes: &[u8],
        whole: bool,
        poll: &Poll,
    ) -> Result<(), Stopped> {
        let port = self.ports.get_mut(&path.network).ok_or(Stopped::NotOpen)?;
        let sent = match &mut port.carrier {
            None => return Err(Stopped::NotOpen),
            Some(Carrier::Udp { address, scope, .. }) => {
                let endpoint = port.spec.endpoints.get(&path.peer);
                let endpoint = endpoint.filter(|endpoint| endpoint.has_address());
                let endpoint = endpoint.ok_or(Stopped::NotOpen)?;
                let socket = self.sockets.get_mut(address).ok_or(Stopped::NotOpen)?;
                let to = socket_address(endpoint.address, port.spec.port, *scope);
                if whole {
                    socket.udp.send_whole(bytes, to)
                } else {
                    Ok(socket.udp.send_to(bytes, to))
                }
            }
            Some(Carrier::Ethernet(wire)) => wire.probe(path.peer, bytes),
            Some(Carrier::Serial(line)) => {
                line.send(bytes, path.network, poll).map(|()| Sent::Taken)
            }
            Some(Carrier::Disk(disk)) => {
                disk.send(path.peer, bytes);
                Ok(Sent::Taken)
            }
        };
        let too_large = rustix::io::Errno::MSGSIZE.raw_os_error();
        match sent {
            // A full queue loses it, as any network may.
            Ok(Sent::Taken | Sent::Full) => Ok(()),
            Ok(Sent::NoWay) => Err(Stopped::NoWay),
            Ok(Sent::Refused(number)) if number == too_large => Err(Stopped::TooLarge),
            Ok(Sent::Refused(number)) => Err(Stopped::Refused(number)),
            Err(_) => Err(Stopped::NotOpen),
        }
    }

    /// Sends a frame to everybody on a network whose medium carries it to all. What it does not take
    /// now is lost and counted there.
    pub(super) fn transmit_all(&mut self, network: NetworkId, bytes: &[u8]) {
        let Some(port) = self.ports.get_mut(&network) else { return };
        let result = match &mut port.carrier {
            Some(Carrier::Ethernet(wire)) => wire.send_all(bytes),
            Some(Carrier::Udp { address, everybody: Some(everybody), .. }) => {
                if let Some(socket) = self.sockets.get_mut(address) {
                    let _counted = socket.udp.send_to(bytes, everybody.to);
                }
                Ok(())
            }
            None | Some(Carrier::Udp { .. } | Carrier::Serial(_) | Carrier::Disk(_)) => Ok(()),
        };
        if result.is_err() {
            // Noticed again, and said, when it is read.
            port.retry_at = Instant::ZERO;
        }
    }

    /// Takes what came at a descriptor that is ready, each datagram in a buffer that `keep` gives.
    pub(super) fn take(
        &mut self,
        ready: Ready,
        poll: &Poll,
        taken: &mut Taken,
        mut keep: impl FnMut(&[u8]) -> Vec<u8>,
    ) {
        let Token(token) = ready.token;
        if token >= SOCKETS {
            return self.take_datagrams(ready, taken, keep);
        }
        let id = NetworkId((token - NETWORKS) as u16);
        let Some(port) = self.ports.get_mut(&id) else { return };
        let frames = &mut taken.frames;
        let result = match &mut port.carrier {
            None | Some(Carrier::Disk(_) | Carrier::Udp { .. }) => Ok(()),
            Some(Carrier::Ethernet(wire)) => wire
                .take(ready.error, |frame| frames.push((id, keep(frame))))
                .map(|more| taken.more = more),
            Some(Carrier::Serial(line)) => {
                let mut come = Vec::new();
                let result = line.take(&mut come, id, poll);
                frames.extend(come.into_iter().map(|frame| (id, frame)));
                result
            }
        };
        if let Err(error) = result {
            // An interface or a line that is gone is opened again.
            port.carrier = None;
            port.retry_at = os::clock::boottime() + RETRY_INTERVAL;
            port.break_down(error.to_string(), &mut taken.said);
        }
    }

    fn take_datagrams(
        &mut self,
        ready: Ready,
        taken: &mut Taken,
        mut keep: impl FnMut(&[u8]) -> Vec<u8>,
    ) {
        let socket = self.sockets.iter_mut().find(|(_, socket)| socket.token == ready.token.0);
        let Some((address, socket)) = socket else { return self.take_all(ready, taken, keep) };
        let ports = || self.ports.iter().filter(|(_, port)| port.address() == Some(*address));
        // Nobody's socket would be reported again and again.
        let Some((first, _)) = ports().next() else { return self.close_unused() };
        let drained = socket.udp.drain_after(ready.error, DATAGRAMS_PER_TURN, |from, bytes| {
            if crate::discover::wire::is_message(bytes) {
                let bytes = bytes.to_vec();
                taken.discovery.push(Datagram { local: *address, from, bytes });
                return;
            }
            // Several networks and paths may begin at one address. What names none of them goes to
            // the first, where it is counted.
            let named = transport::network_of(bytes);
            let is_here = |id: &NetworkId| ports().any(|(port, _)| port == id);
            taken.frames.push((named.filter(is_here).unwrap_or(*first), keep(bytes)));
        });
        let (unreachable, nobody_there) = (&mut taken.unreachable, &mut taken.nobody_there);
        // Only then is there anything to ask for.
        let hints = ready.error.then(|| {
            socket.udp.hints(|destination, hint| {
                let paths = match hint {
                    Hint::PortUnreachable => &mut *unreachable,
                    Hint::HostUnreachable => &mut *nobody_there,
                    Hint::Other(_) => return,
                };
                for (network, port) in ports() {
                    let mut endpoints = port.spec.endpoints.iter();
                    let there =
                        endpoints.find(|(_, endpoint)| endpoint.address == destination.ip());
                    paths.extend(there.map(|(peer, _)| PathId { peer: *peer, network: *network }));
                }
            })
        });
        // Whatever the kernel says about a socket, it goes on: an odd error may come from a datagram
        // that anybody can send.
        let more = drained.map(|drained| taken.more = drained.more);
        let result = more.and(hints.unwrap_or(Ok(())));
        let (first, address) = (*first, *address);
        match result {
            Ok(()) => {
                let ports = self.ports.values_mut();
                for port in ports.filter(|port| port.address() == Some(address)) {
                    if port.is_whole() {
                        port.works_again(&mut taken.said);
                    }
                }
            }
            Err(error) => {
                let port = self.ports.get_mut(&first).expect("it was just seen");
                port.break_down(error.to_string(), &mut taken.said);
            }
        }
    }

    /// Takes what came for all.
    fn take_all(
        &mut self,
        ready: Ready,
        taken: &mut Taken,
        mut keep: impl FnMut(&[u8]) -> Vec<u8>,
    ) {
        for (id, port) in &mut self.ports {
            let Some(Carrier::Udp { everybody: Some(everybody), .. }) = &mut port.carrier else {
                continue;
            };
            if everybody.token == ready.token.0 {
                let frames = &mut taken.frames;
                match everybody.take(ready.error, |bytes| frames.push((*id, keep(bytes)))) {
                    Ok(more) => taken.more = more,
                    Err(error) => port.lose_ear(&error, os::clock::boottime(), &mut taken.said),
                }
                return;
            }
        }
    }

    /// What is wrong with a network that this node has an end on.
    pub(super) fn broken(&self, id: NetworkId) -> Option<String> {
        let port = self.ports.get(&id)?;
        match &port.carrier {
            Some(Carrier::Disk(disk)) => disk.trouble(os::clock::boottime()),
            _ => port.broken.clone(),
        }
    }

    /// On Ethernet, the address that the peer's frames come from; None until one has come.
    pub(super) fn station(&self, path: PathId) -> Option<[u8; 6]> {
        match &self.ports.get(&path.network)?.carrier {
            Some(Carrier::Ethernet(wire)) => wire.station(path.peer),
            _ => None,
        }
    }

    /// Where a goodbye for this path leaves from and goes to: only datagrams can be handed to the
    /// guard in advance. Whether the port is open here and now does not matter.
    pub(super) fn route(&self, path: PathId) -> Option<(SocketAddr, SocketAddr)> {
        let port = self.ports.get(&path.network).filter(|port| port.spec.kind == Kind::Udp)?;
        let address = |node: NodeId| {
            let endpoint = port.spec.endpoints.get(&node);
            endpoint.filter(|endpoint| endpoint.has_address()).map(|endpoint| endpoint.address)
        };
        let (from, to) = (address(self.local)?, address(path.peer)?);
        let scope = self.scope(port, from).ok()?;
        Some((socket_address(from, 0, scope), socket_address(to, port.spec.port, scope)))
    }

    /// The interface that a link-local address belongs to; 0 for others.
    fn scope(&self, port: &Port, own: IpAddr) -> io::Result<u32> {
        if !is_link_local(own) {
            return Ok(0);
        }
        let interface = port.interface(self.local);
        let index = interface.zip(self.interfaces.as_ref());
        let index = index.and_then(|(name, seen)| seen.get(name).copied());
        index.ok_or_else(|| missing(interface.unwrap_or("for the address")))
    }
}

impl Spec {
    fn of(network: &Network, cluster: &Cluster) -> Spec {
        Spec {
            name: network.name.clone(),
            kind: network.kind,
            heartbeat: network.heartbeat,
            cluster: cluster.id,
            port: network.port.unwrap_or(cluster.port),
            timing: cluster.timing,
            endpoints: network.endpoints.clone(),
            devices: network.devices.clone(),
        }
    }
}

impl Carrier {
    /// Opens the ear for what is for all, where there is to be one and it is not open.
    fn listen(&mut self, poll: &Poll) -> io::Result<()> {
        match self {
            Carrier::Udp { everybody: Some(everybody), .. } => everybody.listen(poll),
            _ => Ok(()),
        }
    }
}

impl Port {
    /// Whether what is open serves this as well: only the own end matters.
    fn is_still(&self, spec: &Spec, local: NodeId) -> bool {
        let own = |spec: &Spec| {
            let ends = (spec.endpoints.get(&local).cloned(), spec.devices.get(&local).cloned());
            // A disk is read for each peer.
            let peers = (spec.kind == Kind::Disk).then(|| spec.devices.clone());
            (spec.kind, spec.heartbeat, spec.cluster, spec.port, ends, peers)
        };
        own(&self.spec) == own(spec)
    }

    /// The interface that its socket is bound to, if it is bound to one.
    fn interface(&self, local: NodeId) -> Option<&str> {
        match self.spec.kind {
            Kind::Udp => self.spec.endpoints.get(&local)?.bound_to(),
            Kind::Ethernet { .. } => self.spec.devices.get(&local).map(String::as_str),
            Kind::Disk | Kind::Serial { .. } => None,
        }
    }

    /// Whether it cannot be opened before the interfaces are known.
    fn wants_interfaces(&self, local: NodeId) -> bool {
        let is_udp = self.spec.kind == Kind::Udp;
        self.interface(local).is_some() || is_udp && self.spec.heartbeat != Heartbeat::Unicast
    }

    /// Where its datagrams come.
    fn address(&self) -> Option<SocketAddr> {
        match &self.carrier {
            Some(Carrier::Udp { address, .. }) => Some(*address),
            _ => None,
        }
    }

    /// Whether nothing of it has to be opened.
    fn is_whole(&self) -> bool {
        match &self.carrier {
            None => false,
            Some(Carrier::Udp { everybody: Some(everybody), .. }) => everybody.is_open(),
            Some(_) => true,
        }
    }

    /// What is for all cannot be heard any more: its ear is opened again later.
    fn lose_ear(&mut self, error: &io::Error, now: Instant, said: &mut Vec<String>) {
        if let Some(Carrier::Udp { everybody: Some(everybody), .. }) = &mut self.carrier {
            everybody.close();
        }
        self.retry_at = now + RETRY_INTERVAL;
        self.break_down(error.to_string(), said);
    }

    /// Says that it works, if it did not.
    fn works_again(&mut self, said: &mut Vec<String>) {
        if self.broken.take().is_some() {
            said.push(format!("network {} works again", self.spec.name));
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

/// Epochs of disk writers: lives of daemons are milliseconds apart at least, and no daemon opens so
/// many disks, nor one disk anew so often.
const DISKS_PER_LIFE: u64 = 1 << 20;
const DISKS_PER_OPEN: u64 = 1 << 8;

/// The first token of networks with a descriptor of their own; the number is added.
pub(super) const NETWORKS: u64 = 1 << 48;
/// The first token of sockets.
const SOCKETS: u64 = 1 << 49;

fn token(id: NetworkId) -> Token {
    Token(NETWORKS + u64::from(id.0))
}

fn missing(interface: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {interface}"))
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

#[cfg(test)]
mod tests;
