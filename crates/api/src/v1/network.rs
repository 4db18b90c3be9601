//! The interfaces of one node, and whether they work.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Counter, schema};

/// Answer of `/v1/networks`: the networks of the answering node that consist of interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Networks {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Name of the answering node.
    pub node: String,
    /// Why interfaces are not polled, so that only a lost carrier is noticed; null: they are.
    pub trouble: Option<String>,
    /// In the order of the configuration.
    pub networks: Vec<NetworkHealth>,
    /// What was counted since the daemon's start, without what is zero.
    pub counters: Vec<Counter>,
}

/// The interfaces of one node in one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkHealth {
    /// The network.
    pub name: String,
    /// Time between two polls, milliseconds.
    pub poll_interval_ms: u64,
    /// After how many bad polls an interface is down, and after how many good ones up.
    pub polls: u32,
    /// As configured: inout or inonly-or-inout.
    pub failure_detection: String,
    /// What is in force: inonly-or-inout needs three interfaces that hear each other.
    pub effective_detection: String,
    /// The interface that polls the others; null: none can.
    pub poller: Option<String>,
    /// The primary first.
    pub interfaces: Vec<NetworkInterface>,
    /// Interfaces of other nodes that were heard lately.
    pub remotes: Vec<NetworkRemote>,
    /// Where it has failed by what all members report: local (on some nodes alone) or global; null: it has
    /// not.
    #[serde(default)]
    pub fault: Option<String>,
    /// The nodes on which it has failed alone.
    #[serde(default)]
    pub failed_on: Vec<String>,
}

/// Whether an interface works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceState {
    /// It is proven to.
    Up,
    /// It does not.
    Down,
    /// Nobody can tell: what is on it stays.
    #[default]
    #[serde(other)]
    Unsure,
}

/// One interface of the answering node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkInterface {
    /// Its name.
    pub name: String,
    /// primary, standby, or sharing: one that carries service addresses beside the primary.
    pub role: String,
    /// Whether it works.
    pub state: InterfaceState,
    /// Why it does not, in words that follow its name; null when it does.
    pub reason: Option<String>,
    /// For how long this has been so, milliseconds.
    pub since_ms: u64,
    /// It counts as failed by command.
    pub disabled: bool,
    /// card, vlan, bond, bridge, macvlan, veth, or as the kernel calls it.
    pub kind: Option<String>,
    /// The interfaces that it lies upon in the end; empty for one that lies upon none.
    pub below: Vec<String>,
    /// Its Ethernet address.
    pub mac: Option<String>,
    /// It is switched on.
    pub up: bool,
    /// It has a signal.
    pub carrier: bool,
    /// Frames received.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames that could not be sent.
    pub errors: u64,
    /// Good polls in a row, since the last change of the state.
    pub good_polls: u32,
    /// Bad polls in a row, since the last change of the state.
    pub bad_polls: u32,
    /// Whether anything came in during the last poll; null when that is not known.
    pub came_in: Option<bool>,
    /// Whether another interface heard it during the last poll; null when none could.
    pub was_heard: Option<bool>,
    /// Whether a target answered it in the newest poll; null where none is asked.
    #[serde(default)]
    pub target: Option<bool>,
    /// Another network that was heard on it: its cable may be in the wrong place.
    pub misplaced: Option<String>,
    /// Its addresses, with the lengths of their prefixes.
    pub addresses: Vec<String>,
}

/// An interface of another node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkRemote {
    /// The node.
    pub node: String,
    /// The number of the interface there.
    pub interface: u32,
    /// How long ago it was heard, milliseconds.
    pub heard_ms: u64,
}
