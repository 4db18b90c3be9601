//! Shared disks and serial lines, and the ends that daemons have of them.
//!
//! The code that lays frames into blocks and bytes is the one that ships (`transport::disk`,
//! `transport::serial`). Modelled are the blocks, which tear, get lost, come late and are stale;
//! the wire, which has a speed, makes noise and gets unplugged; and the daemon's side of both: the
//! thread of a disk (`crates/mainstay/src/daemon/media/disk.rs`) with one operation at a time, and
//! a line's little room in the kernel (`serial.rs` there).

mod disk;
mod serial;

use std::collections::BTreeMap;

use base::{Incarnation, Medium, NetworkId, NodeId, Prng, Timing};
use transport::PathId;
use transport::disk::Layout;

use crate::event::{Datagram, Event};
use crate::fault::{Kind, Mix};
use crate::machine::{Daemon, Item};
use crate::setup::{CLUSTER, MediumSetup, Setup, machine_of, node_id};
use crate::world::{SOCKET_MAX, World};

pub use disk::DiskPort;
use disk::{Platter, Trouble};
pub use serial::LinePort;

/// All media of a run that are no networks, as far as they are outside of machines.
#[derive(Debug)]
pub struct Media {
    /// The number of the first.
    first: u16,
    setups: Vec<MediumSetup>,
    timing: Timing,
    platter: Platter,
    /// Faults that keep each line unplugged.
    unplugged: Vec<u8>,
    mix: Mix,
    prng: Prng,
    unit: u64,
}

/// A daemon's end.
#[derive(Debug)]
pub enum Port {
    /// Of a shared disk.
    Disk(Box<DiskPort>),
    /// Of a serial line.
    Line(Box<LinePort>),
}

impl Port {
    /// The frames that these bytes complete.
    pub fn receive(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        match self {
            Port::Disk(_) => Vec::new(),
            Port::Line(port) => port.receive(bytes),
        }
    }
}

impl Media {
    /// All blocks are blank, and all lines plugged in.
    #[must_use]
    pub fn new(setup: &Setup) -> Media {
        Media {
            first: setup.networks.len() as u16,
            setups: setup.media.clone(),
            timing: setup.timing,
            platter: Platter::new(Layout::for_nodes(CLUSTER, node_id(setup.nodes - 1))),
            unplugged: vec![0; setup.media.len()],
            mix: setup.mix,
            prng: setup.prng.child("frames"),
            unit: setup.unit,
        }
    }

    /// Whether it is one of these, and not a network.
    #[must_use]
    pub fn has(&self, network: NetworkId) -> bool {
        network.0 >= self.first
    }

    fn place(&self, network: NetworkId) -> usize {
        usize::from(network.0 - self.first)
    }

    /// The ends that a daemon opens when it starts.
    #[must_use]
    pub fn ports(&self, number: usize, epoch: Incarnation, now: u64) -> BTreeMap<NetworkId, Port> {
        let local = node_id(number);
        let here =
            (self.first..).zip(&self.setups).filter(|(_, medium)| medium.nodes.contains(local));
        let port = |medium: &MediumSetup| match medium.medium {
            Medium::Serial => Port::Line(Box::new(LinePort::new(medium.baud, now))),
            Medium::Disk | Medium::Network => {
                let peers: Vec<NodeId> =
                    medium.nodes.into_iter().filter(|node| *node != local).collect();
                let layout = self.platter.layout();
                Port::Disk(Box::new(DiskPort::new(layout, local, epoch, peers, &self.timing)))
            }
        };
        here.map(|(number, medium)| (NetworkId(number), port(medium))).collect()
    }

    /// A fault of a disk or a line begins or ends; with the same draws both times.
    pub fn fault(&mut self, kind: Kind, machine: usize, prng: &mut Prng, begins: bool) {
        match kind {
            Kind::DiskTrouble => {
                let limit = crate::setup::nanos(self.timing.disk_timeout);
                let trouble = match prng.range(0..=2) {
                    0 => Trouble::Slow(prng.range(limit / 40..=limit / 3)),
                    1 => Trouble::Frozen,
                    _ => Trouble::Refuses(machine),
                };
                self.platter.trouble(trouble, begins);
            }
            _ => {
                let Some(last) = self.unplugged.len().checked_sub(1) else { return };
                let line = &mut self.unplugged[prng.range(0..=last as u64) as usize];
                *line = if begins { *line + 1 } else { line.saturating_sub(1) };
            }
        }
    }

    /// All faults are over.
    pub fn heal(&mut self) {
        self.mix = Mix::default();
        self.platter.heal();
        self.unplugged.fill(0);
    }

    /// A late write reaches the disk.
    pub fn land(&mut self, place: u64, block: Vec<u8>) {
        self.platter.land(place, block);
    }

    /// Who is at the other end of a line.
    fn other_end(&self, network: NetworkId, number: usize) -> usize {
        let nodes = self.setups[self.place(network)].nodes;
        let other = nodes.into_iter().find(|node| *node != node_id(number));
        machine_of(other.expect("a line has two ends"))
    }
}

impl World {
    /// A daemon has just started: its disk's thread takes its first look.
    pub(crate) fn start_ports(&mut self, number: usize) {
        let Some(daemon) = &self.machines[number].daemon else { return };
        let disks = daemon.ports.iter().filter(|(_, port)| matches!(port, Port::Disk(_)));
        let disks: Vec<NetworkId> = disks.map(|(network, _)| *network).collect();
        for network in disks {
            self.queue.push(self.now, Event::Device(number, daemon.number, network, 0));
        }
    }

    /// A daemon is gone. What its disk's thread was writing lands, or without power maybe a part.
    pub(crate) fn close_ports(&mut self, daemon: Daemon, is_power_lost: bool) {
        for port in daemon.ports.into_values() {
            if let Port::Disk(mut port) = port
                && let Some((place, block)) = port.interrupt()
            {
                let Media { platter, prng, .. } = &mut self.media;
                match is_power_lost {
                    true => platter.tear(place, &block, prng),
                    false => platter.land(place, block),
                }
            }
        }
    }

    /// A stopped daemon goes on, and so do its threads.
    pub(crate) fn ports_go_on(&mut self, number: usize) {
        let Some(daemon) = &mut self.machines[number].daemon else { return };
        for (network, port) in &mut daemon.ports {
            let order = match port {
                Port::Disk(port) => port.next_order(),
                Port::Line(port) => port.next_order(),
            };
            self.queue.push(self.now, Event::Device(number, daemon.number, *network, order));
        }
    }

    /// A frame from a daemon.
    pub(crate) fn carry(&mut self, number: usize, daemon: &mut Daemon, path: PathId, frame: &[u8]) {
        self.wires.sent += 1;
        let network = path.network;
        match daemon.ports.get_mut(&network) {
            Some(Port::Disk(port)) => {
                if let Some(order) = port.order(path.peer, frame) {
                    let event = Event::Device(number, daemon.number, network, order);
                    self.queue.push(self.now + disk::ROUSING, event);
                }
            }
            Some(Port::Line(port)) => {
                port.push(frame);
                self.flush_line(number, daemon.number, network, port);
            }
            None => {}
        }
    }

    /// Something is due at a port.
    pub(crate) fn device(&mut self, number: usize, daemon: u32, network: NetworkId, order: u64) {
        let Some(running) = self.machines[number].daemon.as_deref_mut() else { return };
        // Whoever is stopped finds it when he goes on.
        if running.number != daemon || running.is_paused {
            return;
        }
        let Some(mut port) = running.ports.remove(&network) else { return };
        match &mut port {
            Port::Disk(port) => self.disk_goes_on(number, daemon, network, order, port),
            Port::Line(port) => {
                if port.is_current(order) {
                    self.flush_line(number, daemon, network, port);
                }
            }
        }
        let running = self.machines[number].daemon.as_mut().expect("it was just there");
        running.ports.insert(network, port);
    }

    fn disk_goes_on(
        &mut self,
        number: usize,
        daemon: u32,
        network: NetworkId,
        order: u64,
        port: &mut DiskPort,
    ) {
        if !port.is_current(order) {
            return;
        }
        let Media { platter, prng, mix, unit, .. } = &mut self.media;
        let damaging = mix.has(Kind::DiskDamage).then_some(*unit);
        let done = port.go_on(self.now, number, platter, prng, damaging);
        if let Some((after, place, block)) = done.late {
            self.queue.push(self.now + after, Event::Late(place, block));
        }
        let at = self.now + done.after;
        self.queue.push(at, Event::Device(number, daemon, network, done.order));
        if done.frames.is_empty() {
            return;
        }
        let running = self.machines[number].daemon.as_mut().expect("its thread runs");
        for bytes in done.frames {
            if running.inbox.len() < SOCKET_MAX {
                let datagram = Datagram { network, bytes, id: 0, is_broken: false };
                running.inbox.push_back(Item::Datagram(datagram));
            }
        }
        self.wake_soon(number);
    }

    fn flush_line(&mut self, number: usize, daemon: u32, network: NetworkId, port: &mut LinePort) {
        let to = self.media.other_end(network, number);
        while let Some((at, bytes)) = port.next_bytes(self.now) {
            self.queue.push(at, Event::Bytes(to, network, bytes));
        }
        if let Some((at, order)) = port.waits(self.now) {
            self.queue.push(at, Event::Device(number, daemon, network, order));
        }
    }

    /// Bytes come out of a line.
    pub(crate) fn bytes_arrive(&mut self, to: usize, network: NetworkId, mut bytes: Vec<u8>) {
        if self.media.unplugged[self.media.place(network)] > 0 {
            return;
        }
        if self.media.mix.has(Kind::LineNoise) {
            serial::add_noise(&mut bytes, &mut self.media.prng);
        }
        let Some(daemon) = self.machines[to].daemon.as_deref_mut() else { return };
        let Some(Port::Line(port)) = daemon.ports.get_mut(&network) else { return };
        if !bytes.is_empty() && port.has_room(bytes.len()) {
            daemon.inbox.push_back(Item::Bytes(network, bytes));
            self.wake_soon(to);
        }
    }
}
