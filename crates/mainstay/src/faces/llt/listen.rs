//! Before a node starts: does another one use its number?
//!
//! It is listened for and nothing is sent, since the others would take a second node of that number
//! for the next life of the first, which is a member. The frames are opened with the cluster's key
//! like any others: a transport that is never allowed to send counts them.

use std::time::Duration;

use base::{Incarnation, NodeId};
use os::netlink::Interface;
use os::wire::Wire;
use transport::{Config, Count, Input, Transport};

use super::{Done, Failure};
use crate::config::files::Key;
use crate::config::{Cluster, Kind, Network};

/// So many heartbeats of the slowest link are waited for,
const HEARTBEATS: u32 = 5;
/// and never longer than LLT does.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Frames taken from one interface at a time.
const FRAMES_PER_TURN: usize = 256;
const STEP: Duration = Duration::from_millis(20);

/// Listens on these links; an error when another node uses `local`'s number in this cluster. Returns
/// the links whose interface is not there now.
///
/// # Errors
/// When there is such a node, or the kernel allows no raw frames.
pub(super) fn for_another(
    cluster: &Cluster,
    local: NodeId,
    key: &Key,
    links: &[Network],
    interfaces: &[Interface],
) -> Done<Vec<String>> {
    let mut ears = Vec::new();
    let mut missing = Vec::new();
    for network in links {
        let (Kind::Ethernet { ethertype }, Some(name)) =
            (network.kind, network.devices.get(&local))
        else {
            continue;
        };
        let Some(interface) = interfaces.iter().find(|interface| interface.name == *name) else {
            missing.push(network.name.clone());
            continue;
        };
        let wire = Wire::open(interface.index, ethertype, cluster.id).map_err(|error| {
            let tag = &network.name;
            Failure::refused(
                format!("link {tag}: cannot listen on {name}: {error}"),
                Some("run this as root: raw frames need CAP_NET_RAW"),
            )
        })?;
        ears.push((network, wire));
    }
    let mut session = [0; 16];
    os::clock::random(&mut session);
    let now = os::clock::boottime();
    let config = Config {
        local,
        incarnation: Incarnation(0),
        session,
        cluster: cluster.id,
        keys: [Some(key.0), None],
        active_key: 0,
        timing: cluster.timing,
        peers: Vec::new(),
    };
    let mut transport = Transport::new(config, base::Prng::new(0), now);
    let until = now + (cluster.timing.heartbeat_low * HEARTBEATS).min(WAIT_MAX);
    while !ears.is_empty() && os::clock::boottime() < until {
        for (network, wire) in &mut ears {
            let (tag, id) = (&network.name, network.id);
            let mut frames = Vec::new();
            wire.drain(FRAMES_PER_TURN, |_, bytes| frames.push(bytes.to_vec()))
                .map_err(|error| Failure::Refused(format!("link {tag}: {error}")))?;
            for bytes in frames {
                transport.handle(os::clock::boottime(), Input::Receive { network: id, bytes });
                // What it would answer is not said.
                while transport.poll_output().is_some() {}
            }
            let counters = transport.status().counters;
            if counters.iter().any(|c| c.kind == Count::DuplicateNodeId && c.count > 0) {
                return Err(Failure::refused(
                    format!(
                        "another node uses id {} of cluster {}: it was heard on link {tag}",
                        local.0, cluster.id
                    ),
                    Some("give each node a set-node of its own in its llttab"),
                ));
            }
        }
        #[expect(clippy::disallowed_methods, reason = "the wait is bounded, and a signal ends it")]
        std::thread::sleep(STEP);
    }
    Ok(missing)
}
