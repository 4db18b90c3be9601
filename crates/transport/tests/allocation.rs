//! Heartbeats cost no allocation once two transports are warm, on neither side: neither sending,
//! nor receiving, nor deadlines, nor losing one now and then.

use std::time::Duration;

use base::{Incarnation, Instant, Medium, NetworkId, NodeId, Preset, Prng};
use transport::{
    Config, Heartbeats, Input, Output, PathConfig, PeerConfig, Priority, Transport, window,
};

const NETWORKS: u16 = 2;

fn transport(node: u8, now: Instant) -> Transport {
    let paths = (0..NETWORKS)
        .map(|network| PathConfig {
            network: NetworkId(network),
            medium: Medium::Network,
            priority: Priority::High,
            ring: None,
            heartbeats: if network == 0 { Heartbeats::Each } else { Heartbeats::Shared },
        })
        .collect();
    let config = Config {
        local: NodeId(node),
        incarnation: Incarnation(1),
        session: [node + 1; 16],
        cluster: 1,
        keys: [Some([3; 32]), None],
        active_key: 0,
        timing: Preset::Fast.timing(),
        peers: vec![PeerConfig { node: NodeId(1 - node), paths }],
    };
    Transport::new(config, Prng::new(u64::from(node)), now)
}

/// Two transports with an ideal network of no capacity: what one sends, the other takes at once.
struct Pair {
    now: Instant,
    nodes: [Transport; 2],
    flying: Vec<(usize, NetworkId, Vec<u8>)>,
    heard: u64,
    sent: u64,
}

impl Pair {
    fn step(&mut self) {
        let due = |node: &Transport| node.deadline().expect("it has a peer").0;
        self.now = self.now.max(due(&self.nodes[0]).min(due(&self.nodes[1])));
        for place in 0..2 {
            self.nodes[place].handle(self.now, Input::Turn { drained: true });
            self.drain(place);
        }
        self.now += Duration::from_micros(200);
        while let Some((from, network, bytes)) = self.flying.pop() {
            // As a driver does it: receive into a free buffer, hand the sent one back. Every
            // hundredth datagram is lost.
            self.sent += 1;
            let to = 1 - from;
            if !self.sent.is_multiple_of(100) {
                let mut arrived = self.nodes[to].take_buffer();
                arrived.extend_from_slice(&bytes);
                self.nodes[to].handle(self.now, Input::Receive { network, bytes: arrived });
                self.drain(to);
            }
            self.nodes[from].recycle(bytes);
        }
    }

    fn drain(&mut self, place: usize) {
        while let Some(output) = self.nodes[place].poll_output() {
            match output {
                Output::Transmit { path, bytes } => self.flying.push((place, path.network, bytes)),
                // There is one other.
                Output::TransmitAll { network, bytes } => self.flying.push((place, network, bytes)),
                Output::Heard { .. } => self.heard += 1,
                _ => {}
            }
        }
    }
}

#[test]
fn warm_heartbeats_do_not_allocate() {
    let now = Instant::from_millis(1_000);
    let mut pair = Pair {
        now,
        nodes: [transport(0, now), transport(1, now)],
        flying: Vec::with_capacity(64),
        heard: 0,
        sent: 0,
    };
    pair.nodes[0].set_report(&[5; 300]);
    let end = now + Duration::from_secs(5);
    while pair.now < end {
        pair.step();
    }
    assert!(pair.nodes.iter().all(|node| node.row().len() == 1));
    let before = pair.heard;
    let end = pair.now + Duration::from_secs(50);
    let info = allocation_counter::measure(|| {
        while pair.now < end {
            // A report that changes in size and content is copied in place.
            let size = (pair.heard % 900) as usize;
            pair.nodes[0].set_report(&[7; 960][..size]);
            pair.step();
        }
    });
    assert!(pair.heard - before > 3_500, "{}", pair.heard - before);
    assert_eq!(info.count_total, 0, "{info:?}");
    // The measure itself is not blind: a message does allocate.
    let info = allocation_counter::measure(|| {
        let message = vec![1; window(transport::Lane::Bulk) / 4];
        let lane = transport::Lane::Bulk;
        pair.nodes[0].handle(pair.now, Input::Send { to: NodeId(1), lane, message });
        pair.step();
    });
    assert!(info.count_total > 0);
}
