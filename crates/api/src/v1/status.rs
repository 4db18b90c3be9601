//! What is: verdict, view, nodes, paths, services.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Address, GateKind, SCHEMA, schema};

/// The state of things in one word; also the exit code of `mainstay status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All nodes are members, all paths alive, all services run that should. Exit code 0.
    Ok,
    /// Services run, but something that protects them is missing. Exit code 1.
    Degraded,
    /// A service that should run does not. Exit code 2.
    Down,
    /// This node is in no primary view: it runs nothing, and what it says of others is old.
    /// Exit code 2.
    NoView,
    /// A value that this reader does not know.
    #[serde(other)]
    Unknown,
}

/// Everything that one node knows about the cluster now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// The state of things in one word.
    pub verdict: Verdict,
    /// Why the verdict is not `ok`, most important first.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// The cluster.
    pub cluster: Cluster,
    /// The node that answers.
    pub node: LocalNode,
    /// The membership that the answering node is in, or was last in.
    pub view: View,
    /// How far the answering node is that leaves; null while it does not.
    #[serde(default)]
    pub leaving: Option<Leaving>,
    /// All configured nodes, in order of id.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// All paths from the answering node, by peer and network.
    #[serde(default)]
    pub paths: Vec<Path>,
    /// All configured services, in the configuration's order.
    #[serde(default)]
    pub services: Vec<Service>,
    /// The addresses of services, and persistent ones, on the answering node.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// What a person should know or do, although nothing failed (yet).
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// How the answering daemon itself is.
    #[serde(default)]
    pub health: Health,
    /// What was counted and dropped since the daemon started; zeros are left out.
    #[serde(default)]
    pub counters: Vec<Counter>,
}

/// Which cluster, with which configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// Name in the configuration.
    pub name: String,
    /// Number that all datagrams carry.
    pub id: u32,
    /// Version of the configuration in force.
    pub config_version: u64,
    /// First 8 bytes of the SHA-256 of its text, as 16 hexadecimal digits.
    pub config_checksum: String,
    /// Whether nodes were seen that have another configuration; services are locked meanwhile.
    #[serde(default)]
    pub config_mismatch: bool,
    /// Name of the preset of times: `ultra`, `fast`, `normal`, `classic`.
    #[serde(default)]
    pub detection: String,
}

/// Where a node stands.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// In the view.
    Member,
    /// On its way into the view.
    Joining,
    /// Runs, and is in no view.
    Unseeded,
    /// A member that has promised a view change: neither orders nor acknowledges until it is over.
    Sealed,
    /// Was a member and is gone.
    Lost,
    /// Nothing is known of it.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The node that answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LocalNode {
    /// Name in the configuration.
    pub name: String,
    /// Id in the configuration.
    pub id: u8,
    /// Where it stands.
    pub state: NodeState,
    /// Which life of it; grows with each start.
    pub incarnation: u64,
    /// How long the daemon has been up, milliseconds.
    #[serde(default)]
    pub uptime_ms: u64,
    /// Version of the program.
    #[serde(default)]
    pub version: String,
    /// What closes its service addresses when no process of it can.
    #[serde(default)]
    pub gate: GateKind,
}

/// A node that leaves: its services stop, and start elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Leaving {
    /// Services that it held when it began.
    pub services: u32,
    /// How many of them have stopped.
    pub stopped: u32,
    /// Since it began, milliseconds.
    pub elapsed_ms: u64,
    /// After so long it stops everything and ends.
    pub budget_ms: u64,
    /// Those that are still here.
    pub stopping: Vec<String>,
}

/// The agreed membership as the answering node has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct View {
    /// Grows with each change; 0 before the first.
    pub generation: u64,
    /// The history that the generation belongs to, as 8 hexadecimal digits.
    #[serde(default)]
    pub lineage: String,
    /// The member that orders messages; null without a view.
    pub hub: Option<String>,
    /// Names of the members in order of seniority.
    pub members: Vec<String>,
    /// What this node waits for when it is not a member: null for a member.
    pub waiting: Option<String>,
    /// Whether the answering node is a member of this view now. When false, the rest of the view
    /// is the last one that it was in.
    #[serde(default)]
    pub primary: bool,
    /// For how long the answering node may still own services without hearing from a majority,
    /// milliseconds; 0 when it may not; null when it is no member.
    #[serde(default)]
    pub lease_ms: Option<u64>,
    /// How long ago this view began here, milliseconds.
    #[serde(default)]
    pub since_ms: Option<u64>,
    /// What outside the cluster lets exactly one half of this view go on; null when nothing does.
    #[serde(default)]
    pub tie_breaker: Option<String>,
}

/// A configured node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// Name in the configuration.
    pub name: String,
    /// Id in the configuration.
    pub id: u8,
    /// Where it stands, as far as the answering node knows.
    pub state: NodeState,
    /// Age of that knowledge in milliseconds: 0 for the answering node itself, null when nothing
    /// was ever heard.
    pub age_ms: Option<u64>,
    /// Its incarnation, when known.
    #[serde(default)]
    pub incarnation: Option<u64>,
    /// Whether it takes services (`node standby` takes that away).
    #[serde(default = "online")]
    pub online: bool,
    /// What it waits for, or why it is not a member.
    #[serde(default)]
    pub waiting: Option<String>,
    /// Whether only one usable path to it is left.
    #[serde(default)]
    pub jeopardy: bool,
    /// How long until its services may start elsewhere, milliseconds, when it is lost and they may
    /// not yet.
    #[serde(default)]
    pub fence_wait_ms: Option<u64>,
    /// Whether its machine could be turned off from the answering node; null when it has no fence agents,
    /// or is the answering node.
    #[serde(default)]
    pub fence: Option<FenceProof>,
}

/// What is known of the fence agents of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FenceProof {
    /// All agents of at least one level answered the last check; false: none did, or there was no check.
    pub usable: bool,
    /// How long ago the last check was, milliseconds; null: never.
    pub checked_ms: Option<u64>,
    /// How long ago all of its agents answered last, milliseconds; null: never.
    pub proven_ms: Option<u64>,
}

fn online() -> bool {
    true
}

/// Whether a path counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PathState {
    /// Heard in both directions.
    Alive,
    /// Silent for a while: carries no data, heartbeats go on.
    Trouble,
    /// Silent for the path timeout.
    Dead,
    /// On a network that is monitored as a ring, and neither end watches the other.
    Resting,
    /// A value that this reader does not know.
    #[serde(other)]
    Unknown,
}

/// Which direction of a path fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Direction {
    /// We do not hear the peer.
    #[serde(rename = "not heard")]
    NotHeard,
    /// The peer does not hear us.
    #[serde(rename = "not hearing us")]
    NotHearingUs,
    /// A value that this reader does not know.
    #[serde(other, rename = "unknown")]
    Unknown,
}

/// What a path is used for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Carries data.
    #[default]
    High,
    /// Half the heartbeats; data only when no high path is left.
    Low,
    /// A value that this reader does not know.
    #[serde(other)]
    Unknown,
}

/// One way from the answering node to a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Path {
    /// Name of the peer.
    pub peer: String,
    /// Name of the network.
    pub network: String,
    /// `udp`, `ethernet`, `disk` or `serial`.
    pub kind: String,
    /// Own address with port, interface or device.
    pub local: String,
    /// The peer's. On Ethernet the address that its frames come from; empty until one has come.
    pub remote: String,
    /// For a path that the answering node alone defines: its order among them, from 1.
    #[serde(default)]
    pub rank: Option<u8>,
    /// What it is used for.
    pub priority: Priority,
    /// Whether it counts.
    pub state: PathState,
    /// Which direction fails; null when none does, or both.
    pub direction: Option<Direction>,
    /// Newest round-trip time in microseconds; null when none was measured.
    pub rtt_us: Option<u64>,
    /// Share of the peer's frames lost on the way to us, 0.0 to 1.0.
    pub loss: f64,
    /// Smallest, mean and largest round-trip time in microseconds.
    #[serde(default)]
    pub rtt_min_avg_max_us: Option<[u64; 3]>,
    /// Share of our frames lost on the way to the peer, 0.0 to 1.0; null when unknown.
    #[serde(default)]
    pub loss_out: Option<f64>,
    /// How unevenly the peer's frames come, microseconds.
    #[serde(default)]
    pub jitter_us: Option<u64>,
    /// When the peer was last heard on this path, milliseconds ago; null for never.
    #[serde(default)]
    pub age_ms: Option<u64>,
    /// For a path that is heard and kept out of data use because it kept changing: good echoes
    /// still wanted.
    #[serde(default)]
    pub echoes_wanted: Option<u32>,
    /// For such a path: how long that takes at most, milliseconds, if nothing more happens.
    #[serde(default)]
    pub damped_ms: Option<u64>,
    /// For a path that the answering node alone defines: whether the other node has its half, by
    /// that node's own word; null when it has not said.
    #[serde(default)]
    pub peer_has_half: Option<bool>,
}

/// Where a service stands in the whole cluster.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// Runs nowhere and should not.
    Stopped,
    /// On its way up.
    Starting,
    /// All its resources are up.
    Running,
    /// On its way down.
    Stopping,
    /// Some of its resources are up.
    Partial,
    /// Could not be kept running anywhere.
    Failed,
    /// Failed, and everything of it is released: safe to start after `clear`.
    BrokenSafe,
    /// Failed, and part of it may still be held: starts nowhere until a person looked.
    BrokenUnsafe,
    /// Not known: for instance before all nodes have reported.
    #[default]
    #[serde(other)]
    Unknown,
}

/// Whether the cluster starts and moves a service by itself on a node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceMode {
    /// Yes.
    #[default]
    Automatic,
    /// Only when told.
    Manual,
    /// A value that this reader does not know.
    #[serde(other)]
    Unknown,
}

/// A configured service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// Name in the configuration.
    pub name: String,
    /// Where it stands.
    pub state: ServiceState,
    /// The node that holds it; null when none does.
    pub node: Option<String>,
    /// For how long it has been in this state, milliseconds; null when not known.
    pub since_ms: Option<u64>,
    /// Mode by node.
    pub mode: BTreeMap<String, ServiceMode>,
    /// Nodes on which it may not start, with the reason.
    pub blocked: BTreeMap<String, String>,
    /// Why it is where it is, or why it is not running: one sentence.
    #[serde(default)]
    pub reason: Option<String>,
    /// Its nodes in order of preference.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// Its resources in start order.
    #[serde(default)]
    pub resources: Vec<Resource>,
    /// Age of this knowledge in milliseconds: 0 when the answering node holds it, or in a primary
    /// view (where all members know the same).
    #[serde(default)]
    pub age_ms: Option<u64>,
    /// Failures counted by node within the restart window.
    #[serde(default)]
    pub failures: BTreeMap<String, u32>,
}

/// Where a resource stands on the answering node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceState {
    /// Not up.
    Stopped,
    /// On its way up.
    Starting,
    /// Up.
    Running,
    /// On its way down.
    Stopping,
    /// Came down by itself, or could not be started or stopped.
    Failed,
    /// Runs on another node, or not known.
    #[default]
    #[serde(other)]
    Unknown,
}

/// One part of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resource {
    /// Name in the configuration.
    pub name: String,
    /// `address` or `process`.
    pub kind: String,
    /// Where it stands.
    pub state: ResourceState,
    /// The address, the command, or what is wrong.
    #[serde(default)]
    pub detail: String,
}

/// Something a person should know or do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// Stable short name, such as `no-realtime`.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// What to do about it.
    #[serde(default)]
    pub help: Option<String>,
}

/// How the answering daemon itself is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Null when the state directory can be written, else what is wrong with it.
    #[serde(default)]
    pub persistence: Option<String>,
    /// Null when the loop runs in a real-time class, else why it does not.
    #[serde(default)]
    pub realtime: Option<String>,
    /// Null when the guard watches this daemon, else what is wrong with it.
    #[serde(default)]
    pub guard: Option<String>,
    /// Null when the tie-breaker could decide now, or none outside the cluster is configured; else
    /// what is wrong with it.
    #[serde(default)]
    pub tie_breaker: Option<String>,
    /// Longest time between two turns of the loop in the last minute, milliseconds.
    #[serde(default)]
    pub lag_ms: u64,
}

/// Something counted, with a sentence that says what it means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counter {
    /// Stable short name, such as `wrong_cluster`.
    pub name: String,
    /// How often.
    pub value: u64,
    /// What it means and what to do.
    pub text: String,
}

/// Answer of `/v1/membership`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Membership {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// The node that answers.
    pub node: String,
    /// The view.
    pub view: View,
    /// The members with their incarnations, in order of seniority.
    pub members: Vec<MembershipMember>,
    /// Configured nodes that are not members.
    pub absent: Vec<Node>,
    /// How many more members could be lost, all at once, without losing the view.
    #[serde(default)]
    pub spare: usize,
}

/// A member of the view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MembershipMember {
    /// Name of the node.
    pub name: String,
    /// Id of the node.
    pub id: u8,
    /// Which life of it.
    pub incarnation: u64,
    /// Age of what is known of it in milliseconds; 0 for the answering node.
    pub age_ms: Option<u64>,
    /// Whether only one usable path to it is left.
    #[serde(default)]
    pub jeopardy: bool,
}

/// Answer of `/v1/services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Services {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Whether the answering node is in a primary view; else what it says is old.
    pub primary: bool,
    /// All configured services.
    pub services: Vec<Service>,
}

/// Answer of `/v1/nodes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nodes {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// Whether the answering node is in a primary view; else what it says is old.
    pub primary: bool,
    /// All configured nodes.
    pub nodes: Vec<Node>,
}

impl Status {
    /// The `/v1/services` part of this status.
    #[must_use]
    pub fn services(&self) -> Services {
        Services { schema: SCHEMA, primary: self.view.primary, services: self.services.clone() }
    }

    /// The `/v1/nodes` part of this status.
    #[must_use]
    pub fn nodes(&self) -> Nodes {
        Nodes { schema: SCHEMA, primary: self.view.primary, nodes: self.nodes.clone() }
    }

    /// The `/v1/membership` part of this status.
    #[must_use]
    pub fn membership(&self) -> Membership {
        let member = |name: &String| {
            let node = self.nodes.iter().find(|node| node.name == *name)?;
            Some(MembershipMember {
                name: node.name.clone(),
                id: node.id,
                incarnation: node.incarnation.unwrap_or(0),
                age_ms: node.age_ms,
                jeopardy: node.jeopardy,
            })
        };
        let absent = |node: &&Node| !self.view.members.contains(&node.name);
        Membership {
            schema: SCHEMA,
            node: self.node.name.clone(),
            view: self.view.clone(),
            members: self.view.members.iter().filter_map(member).collect(),
            absent: self.nodes.iter().filter(absent).cloned().collect(),
            spare: if self.view.primary { self.spare() } else { 0 },
        }
    }

    /// More than half must be left; half where a tie-breaker stands by.
    fn spare(&self) -> usize {
        let count = self.view.members.len();
        match (&self.view.tie_breaker, &self.health.tie_breaker) {
            (Some(_), None) => count / 2,
            _ => count.saturating_sub(1) / 2,
        }
    }
}

/// Writes the names that the JSON has too.
macro_rules! display_as_json {
    ($($type:ty { $($variant:ident => $name:literal),* $(,)? })*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(<$type>::$variant => $name),* })
            }
        }
    )*};
}

display_as_json! {
    Verdict {
        Ok => "ok", Degraded => "degraded", Down => "down", NoView => "no-view",
        Unknown => "unknown",
    }
    NodeState {
        Member => "member", Joining => "joining", Unseeded => "unseeded", Sealed => "sealed",
        Lost => "lost", Unknown => "unknown",
    }
    PathState {
        Alive => "alive", Trouble => "trouble", Dead => "dead", Resting => "resting",
        Unknown => "unknown",
    }
    Direction { NotHeard => "not heard", NotHearingUs => "not hearing us", Unknown => "unknown" }
    Priority { High => "high", Low => "low", Unknown => "unknown" }
    ServiceState {
        Stopped => "stopped", Starting => "starting", Running => "running",
        Stopping => "stopping", Partial => "partial", Failed => "failed",
        BrokenSafe => "broken-safe", BrokenUnsafe => "broken-unsafe", Unknown => "unknown",
    }
    ServiceMode { Automatic => "automatic", Manual => "manual", Unknown => "unknown" }
    ResourceState {
        Stopped => "stopped", Starting => "starting", Running => "running",
        Stopping => "stopping", Failed => "failed", Unknown => "unknown",
    }
}
