//! Version 1 of the types.

mod address;
mod command;
mod configuration;
mod fence;
mod gate;
mod journal;
mod network;
mod status;
mod watchdog;

pub use address::{Address, AddressGateway};
pub use command::{
    CommandReply, CommandRequest, Error, ErrorCode, LeaveRequest, NodeVerb, PathRequest, PathTest,
    PathTestDirection, PathTestRequest, PathTests, SeedRequest, ServiceVerb, TokenReply,
    TokenRequest,
};
pub use configuration::{
    Bound, ConfigCheck, ConfigCheckNode, ConfigShow, ConfigureRequest, Diagnostic,
    DiagnosticReport, ServiceBound, Severity, TimingTable,
};
pub use fence::{
    FenceAgent, FenceCheck, FenceHistory, FenceLevel, FenceNode, FenceRecord, FenceRunning,
    FenceVerb, FenceVerification, FenceVerified, FenceVerifyRequest, Fencing,
};
pub use gate::{Gate, GateAddress, GateAttachment, GateInterface, GateKind};
pub use journal::{Event, EventLevel, Events, Note, Notes, Rejected};
pub use network::{InterfaceState, NetworkHealth, NetworkInterface, NetworkRemote, Networks};
pub use status::{
    Cluster, Counter, Direction, FenceProof, Health, Leaving, LocalNode, Membership,
    MembershipMember, Node, NodeState, Nodes, Path, PathState, Priority, Resource, ResourceState,
    Service, ServiceMode, ServiceState, Services, Status, Verdict, View, Warning,
};
pub use watchdog::{Watchdog, WatchdogState};

/// The schema that all top-level answers name in `schema`.
pub const SCHEMA: u32 = 1;

/// For serde: the schema of an answer that does not name one.
fn schema() -> u32 {
    SCHEMA
}
