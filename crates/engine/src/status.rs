//! What an engine shows: to people in full, to peers in heartbeats as a few bytes.

use core::time::Duration;
use std::collections::BTreeMap;

use base::codec::{Malformed, Reader};
use base::limits::{REPORT_SIZE_MAX, SERVICES_MAX};
use base::{Instant, Member, NodeId};

use crate::class::Class;
use crate::intent::Mode;
use crate::observation::State;

/// Everything about the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether this node takes part: it has the cluster's state and was not left out.
    pub primary: bool,
    /// Version of the configuration in force.
    pub version: u64,
    /// Its checksum.
    pub checksum: u64,
    /// Position of the last entry that was applied.
    pub position: u64,
    /// Whether services may be placed already.
    pub settled: bool,
    /// Nodes of which it is not known what they run.
    pub suspects: Vec<NodeId>,
    /// The services, by name.
    pub services: Vec<ServiceStatus>,
    /// The configured nodes.
    pub nodes: Vec<NodeStatus>,
    /// Delivered entries that made no sense and were dropped.
    pub malformed: u64,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// Where: the node of its holder.
    pub node: Option<NodeId>,
    /// The member that may be running any part of it.
    pub holder: Option<Member>,
    /// What frees it when its holder is lost.
    pub class: Class,
    /// Position of the last change of what it is doing.
    pub since: u64,
    /// When this node learned of that, on its own clock.
    pub since_here: Instant,
    /// Mode on each of its nodes.
    pub modes: BTreeMap<NodeId, Mode>,
    /// Why it shall not be started on a node for now.
    pub blocked: BTreeMap<NodeId, String>,
    /// Why it does what it does.
    pub reason: String,
    /// What it waits for before it can start elsewhere, as in "waiting until n1 is fenced".
    pub pending_fence: Option<String>,
    /// An operator stopped it.
    pub stopped_by_operator: bool,
    /// It is not in the configuration any more.
    pub removed: bool,
    /// Its resources on this node, in start order.
    pub resources: Vec<ResourceStatus>,
}

/// One resource, on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceStatus {
    /// Its name.
    pub name: String,
    /// What it is doing: `stopped starting running failed stopping killing stuck`.
    pub state: &'static str,
    /// What went wrong with it.
    pub reason: Option<String>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Which.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Whether it is a member of the view.
    pub member: bool,
    /// An operator put it into standby.
    pub standby: bool,
    /// It is about to leave.
    pub draining: bool,
    /// It has not said yet what it runs.
    pub unreported: bool,
    /// It is gone without a word, and its lease may last.
    pub unfenced: bool,
    /// The timeout of its armed watchdog, as far as it has told all members.
    pub watchdog: Option<Duration>,
}

/// What a node says about its services in each heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// Version of the configuration.
    pub version: u64,
    /// Its checksum.
    pub checksum: u64,
    /// For each configured service, in the order of the configuration.
    pub services: Vec<DigestEntry>,
}

/// One service as a node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestEntry {
    /// What it is doing in the cluster.
    pub state: State,
    /// The sender holds it.
    pub held: bool,
    /// Its mode on the sender is manual.
    pub manual: bool,
    /// It is blocked on the sender.
    pub blocked: bool,
}

/// Bytes of the longest digest.
pub const DIGEST_SIZE_MAX: usize = 16 + SERVICES_MAX;
const _: () = assert!(DIGEST_SIZE_MAX + 200 < REPORT_SIZE_MAX, "the group needs room as well");

const HELD: u8 = 0x10;
const MANUAL: u8 = 0x20;
const BLOCKED: u8 = 0x40;

impl Digest {
    /// Version and checksum, eight bytes each, then a byte for each service.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + self.services.len());
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(&self.checksum.to_be_bytes());
        for entry in &self.services {
            let state = State::ALL.iter().position(|state| *state == entry.state);
            let state = u8::try_from(state.expect("ALL has all states")).expect("nine states");
            let flag = |on, bit| if on { bit } else { 0 };
            bytes.push(
                state
                    | flag(entry.held, HELD)
                    | flag(entry.manual, MANUAL)
                    | flag(entry.blocked, BLOCKED),
            );
        }
        bytes
    }

    /// The digest of these bytes.
    ///
    /// # Errors
    /// [`Malformed`] when they are too few, too many, or name a state that there is not.
    pub fn decode(bytes: &[u8]) -> Result<Digest, Malformed> {
        let mut reader = Reader::new(bytes);
        let (version, checksum) = (reader.u64()?, reader.u64()?);
        let rest = reader.rest();
        if rest.len() > SERVICES_MAX {
            return Err(Malformed);
        }
        let entry = |byte: &u8| {
            let state = *State::ALL.get(usize::from(byte & 0x0f)).ok_or(Malformed)?;
            Ok(DigestEntry {
                state,
                held: byte & HELD != 0,
                manual: byte & MANUAL != 0,
                blocked: byte & BLOCKED != 0,
            })
        };
        let services = rest.iter().map(entry).collect::<Result<_, Malformed>>()?;
        Ok(Digest { version, checksum, services })
    }
}
