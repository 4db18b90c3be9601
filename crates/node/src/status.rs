//! Everything that can be asked of a node.

use core::time::Duration;

use base::{Instant, Member, NodeId};

use crate::report::Report;

/// A whole node, as seen by itself.
#[derive(Clone, Debug)]
pub struct Status {
    /// When.
    pub at: Instant,
    /// Which node, which life.
    pub local: Member,
    /// Its paths.
    pub transport: transport::Status,
    /// Its view.
    pub group: group::Status,
    /// Its services.
    pub engine: engine::Status,
    /// Its addresses.
    pub network: network::Status,
    /// Machines that are being turned off or on.
    pub fencing: Vec<crate::FenceState>,
    /// What peers say of themselves.
    pub peers: Vec<PeerReport>,
    /// Why it is not in a view, or why the view cannot go on; with names.
    pub waiting: Option<String>,
    /// Left out, and still stopping what it ran.
    pub is_stopping: bool,
    /// On its way out.
    pub is_leaving: bool,
}

/// What a peer said last.
#[derive(Clone, Debug)]
pub struct PeerReport {
    /// Who.
    pub node: NodeId,
    /// Which life of it, when one is or was known.
    pub member: Option<Member>,
    /// How long ago it was heard.
    pub age: Option<Duration>,
    /// Its newest report.
    pub report: Report,
}
