//! What can be asked for, and how it is refused.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// What can be done with a service: last part of `POST /v1/services/{name}/{verb}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceVerb {
    /// Start it, on the node named or the best one.
    Start,
    /// Stop it and leave it stopped.
    Stop,
    /// Stop it where it runs and start it on the node named or the next best one. Leaves no rule
    /// behind.
    Move,
    /// Let the cluster start and move it by itself, on the node named or on all.
    Auto,
    /// Start and move it only when told, on the node named or on all.
    Manual,
    /// Forget its failures; for a broken one: a person confirms that it is stopped.
    Clear,
}

impl ServiceVerb {
    /// All of them.
    pub const ALL: [ServiceVerb; 6] = [
        ServiceVerb::Start,
        ServiceVerb::Stop,
        ServiceVerb::Move,
        ServiceVerb::Auto,
        ServiceVerb::Manual,
        ServiceVerb::Clear,
    ];

    /// The word in the path of the request and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            ServiceVerb::Start => "start",
            ServiceVerb::Stop => "stop",
            ServiceVerb::Move => "move",
            ServiceVerb::Auto => "auto",
            ServiceVerb::Manual => "manual",
            ServiceVerb::Clear => "clear",
        }
    }

    /// The verb of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<ServiceVerb> {
        ServiceVerb::ALL.into_iter().find(|verb| verb.name() == name)
    }
}

/// What can be done with a node: last part of `POST /v1/nodes/{name}/{verb}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NodeVerb {
    /// Move its services away and give it none.
    Standby,
    /// Take that back.
    Online,
    /// A person confirms that a lost node runs nothing: its services may start elsewhere now.
    ConfirmDown,
    /// Take a node that has left out of the configuration. Refused while it is in the view or may
    /// still run something.
    Remove,
}

impl NodeVerb {
    /// All of them.
    pub const ALL: [NodeVerb; 4] =
        [NodeVerb::Standby, NodeVerb::Online, NodeVerb::ConfirmDown, NodeVerb::Remove];

    /// The word in the path of the request and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            NodeVerb::Standby => "standby",
            NodeVerb::Online => "online",
            NodeVerb::ConfirmDown => "confirm-down",
            NodeVerb::Remove => "remove",
        }
    }

    /// The verb of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<NodeVerb> {
        NodeVerb::ALL.into_iter().find(|verb| verb.name() == name)
    }
}

/// Body of a command about a service or node; an empty body stands for the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommandRequest {
    /// Where: for commands about services.
    #[serde(default)]
    pub node: Option<String>,
    /// Why, for the journal.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Body of `POST /v1/paths/create` and `POST /v1/paths/delete`: this node's half of a path. The
/// other half is defined on the other node, or with `pair` at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PathRequest {
    /// The other node; `*`, all of them, for `ethernet` and `disk`.
    #[serde(default)]
    pub peer: String,
    /// `udp` (also when empty), `serial`, `ethernet` or `disk`.
    #[serde(default)]
    pub kind: String,
    /// Address, device or interface of this node.
    #[serde(default)]
    pub local: String,
    /// Address of the other node. Else used with `pair` only: its device or interface, if it is
    /// called otherwise there than here.
    #[serde(default)]
    pub remote: String,
    /// UDP port of both ends; null for the cluster's. Ignored by delete.
    #[serde(default)]
    pub port: Option<u16>,
    /// Bits per second of a serial line; null for 115200. Ignored by delete.
    #[serde(default)]
    pub baud: Option<u32>,
    /// Order among the paths to that node, 1 to 99; null for behind the others. Ignored by delete.
    /// For `ethernet` and `disk` it is the number on the wire or disk, 1 to 8, and must be the same
    /// on all nodes.
    #[serde(default)]
    pub rank: Option<u8>,
    /// Name of a link over Ethernet; empty for the interface's. Delete goes by it.
    #[serde(default)]
    pub name: String,
    /// EtherType of a link; null for 0x88b5. Ignored by delete.
    #[serde(default)]
    pub ethertype: Option<u16>,
    /// Of low priority: half the heartbeats, data only when no high path is left. Ignored by delete.
    #[serde(default)]
    pub low: bool,
    /// Do the other node's half as well: it is told through the cluster. With `*` as the peer, the
    /// halves of all other nodes.
    #[serde(default)]
    pub pair: bool,
}

/// Body of `POST /v1/paths/test`: send probes over paths of the answering node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PathTestRequest {
    /// Only paths to this node; null for all.
    #[serde(default)]
    pub peer: Option<String>,
    /// Only paths over this network, or the path of this name; null for all.
    #[serde(default)]
    pub network: Option<String>,
    /// Probes over each path, 1 to 600; 100 on serial lines, 60 on disks. Null for 20.
    #[serde(default)]
    pub count: Option<u16>,
}

/// What tests of paths found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PathTests {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// One for each path.
    pub tests: Vec<PathTest>,
}

/// What the test of one path found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PathTest {
    /// Name of the other node.
    pub peer: String,
    /// Name of the network.
    pub network: String,
    /// `udp`, `ethernet`, `disk` or `serial`.
    pub kind: String,
    /// Own end.
    pub local: String,
    /// The other node's end.
    pub remote: String,
    /// From this node to the other.
    pub there: PathTestDirection,
    /// And back: what the other node answered.
    pub back: PathTestDirection,
    /// Least, mean and greatest round trip in microseconds; null when nothing came back.
    pub rtt_min_avg_max_us: Option<[u64; 3]>,
    /// Whether probes passed in both directions.
    pub works: bool,
    /// What is in the way, or odd: sentences, the most important first.
    pub findings: Vec<String>,
}

/// One direction of a tested path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PathTestDirection {
    /// Probes that left; null when that could not be learned.
    pub sent: Option<u32>,
    /// Probes that arrived; null when that could not be learned.
    pub arrived: Option<u32>,
    /// Share that was lost, 0.0 to 1.0; null when not known.
    pub loss: Option<f64>,
    /// Bytes of the largest datagram (payload of UDP or of the Ethernet frame) that passed without
    /// being cut into fragments; null when nothing passed and for disks and serial lines.
    pub largest: Option<u32>,
}

/// Body of `POST /v1/seed`: form a view now instead of waiting for all seed nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SeedRequest {
    /// Start although absent nodes may hold newer state. Needs `believed_dead` to name each of
    /// them.
    #[serde(default)]
    pub force: bool,
    /// Names of the nodes of which a person has made sure that they are down.
    #[serde(default)]
    pub believed_dead: Vec<String>,
}

/// Body of `POST /v1/leave`: leave the view cleanly; services move away first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaveRequest {
    /// Why, for the journal.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Body of `POST /v1/token`: make a token that lets one new node join.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenRequest {
    /// For how long it is good, seconds; 10 minutes when left out, a day at most.
    #[serde(default)]
    pub lifetime_s: Option<u64>,
}

/// A token that lets one new node join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenReply {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// The token: a secret.
    pub token: String,
    /// For how long it is good, seconds.
    pub lifetime_s: u64,
    /// Where the new node will connect to, `address:port`.
    pub addresses: Vec<String>,
}

impl fmt::Debug for TokenReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenReply").field("lifetime_s", &self.lifetime_s).finish_non_exhaustive()
    }
}

/// A command was accepted, and for commands about services and nodes: ordered by the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommandReply {
    /// Version of this answer's shape: 1.
    #[serde(default = "schema")]
    pub schema: u32,
    /// What happens now: one sentence.
    pub text: String,
    /// What the one who asked should know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl CommandReply {
    /// An accepted command.
    #[must_use]
    pub fn new(text: impl Into<String>) -> CommandReply {
        CommandReply { schema: schema(), text: text.into(), warnings: Vec::new() }
    }
}

/// Why something was refused, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request can not be understood. HTTP 400.
    BadRequest,
    /// The caller may look, and may not change anything. HTTP 403.
    NotPermitted,
    /// No such service, node or page. HTTP 404.
    NotFound,
    /// Not possible as things are; the message says why. HTTP 409.
    Refused,
    /// This node is in no primary view, so it can not change anything. HTTP 409.
    NotPrimary,
    /// The configuration changed meanwhile, or is not usable. HTTP 409.
    Conflict,
    /// The request is larger than allowed. HTTP 413.
    TooLarge,
    /// Too many requests at once: try again. HTTP 503.
    Busy,
    /// No answer in time; whether it was done is not known. HTTP 504.
    TimedOut,
    /// A value that this reader does not know.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// The HTTP status code that goes with it.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            ErrorCode::BadRequest => 400,
            ErrorCode::NotPermitted => 403,
            ErrorCode::NotFound => 404,
            ErrorCode::Refused | ErrorCode::NotPrimary | ErrorCode::Conflict => 409,
            ErrorCode::TooLarge => 413,
            ErrorCode::Unknown => 500,
            ErrorCode::Busy => 503,
            ErrorCode::TimedOut => 504,
        }
    }
}

/// A refusal: every answer whose HTTP status is not 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Error {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people: one sentence.
    pub message: String,
    /// What to do.
    #[serde(default)]
    pub help: Option<String>,
}

impl Error {
    /// A refusal without advice.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), help: None }
    }

    /// The same with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Error {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
