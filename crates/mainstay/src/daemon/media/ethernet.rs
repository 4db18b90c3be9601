//! Frames on an Ethernet, without any address: heartbeats to all stations, data to one.
//!
//! Stations are learned from the frames that come. Nobody vouches for them at this place: whoever is
//! on the wire and lies about a station can have data of this path sent elsewhere, as with ARP. It
//! goes by other paths then, and heartbeats, which go to all stations, are not affected.

use std::collections::BTreeMap;
use std::io;

use base::NodeId;

/// Frames taken in one turn.
const FRAMES_PER_TURN: usize = 256;

pub(super) struct Wire {
    socket: os::wire::Wire,
    local: NodeId,
    stations: BTreeMap<NodeId, [u8; 6]>,
}

impl Wire {
    pub(super) fn open(
        interface: u32,
        ethertype: u16,
        cluster: u32,
        local: NodeId,
    ) -> io::Result<Wire> {
        let socket = os::wire::Wire::open(interface, ethertype, cluster)?;
        Ok(Wire { socket, local, stations: BTreeMap::new() })
    }

    pub(super) fn interface(&self) -> u32 {
        self.socket.interface()
    }

    pub(super) fn socket(&self) -> &os::wire::Wire {
        &self.socket
    }

    /// Where the frames of a node come from.
    pub(super) fn station(&self, node: NodeId) -> Option<[u8; 6]> {
        self.stations.get(&node).copied()
    }

    pub(super) fn send(&mut self, to: NodeId, bytes: &[u8]) -> io::Result<()> {
        let is_data = !transport::is_pressing(bytes);
        let station = self.stations.get(&to).copied().filter(|_| is_data);
        let _counted = self.socket.send(station, bytes)?;
        Ok(())
    }

    /// Sends a probe, and says what became of it.
    pub(super) fn probe(&mut self, to: NodeId, bytes: &[u8]) -> io::Result<os::udp::Sent> {
        let station = self.stations.get(&to).copied();
        self.socket.send(station, bytes)
    }

    pub(super) fn send_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let _counted = self.socket.send(None, bytes)?;
        Ok(())
    }

    /// Takes what came; whether there may be more.
    pub(super) fn take(
        &mut self,
        has_error: bool,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        let (stations, local) = (&mut self.stations, self.local);
        let drained = self.socket.drain_after(has_error, FRAMES_PER_TURN, |station, bytes| {
            let Some(source) = transport::source_of(bytes) else { return };
            // What this machine sends does not come back: somebody else has our number.
            if source == local {
                take(bytes);
                return;
            }
            // Everybody hears the heartbeats for single others.
            if !transport::is_for(bytes, local) {
                return;
            }
            // At most as many as there are node ids.
            stations.insert(source, station);
            take(bytes);
        })?;
        Ok(drained.more)
    }
}
