//! What engines say to each other: the entries of the total order.
//!
//! CBOR with numbered fields and variants, so a later release can add some. Every entry that
//! reports what came of a decision names exactly that decision; a late one changes nothing.

use core::time::Duration;
use std::collections::BTreeMap;

use base::NodeId;
use minicbor::{Decode, Encode};

use crate::command::Command;
use crate::inability::Inability;
use crate::networks::NetworkStates;
use crate::observation::DecisionId;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Entry {
    /// What a new member runs. Sent once by each.
    #[n(0)]
    Report {
        /// One for each service of which anything runs there.
        #[n(0)]
        claims: Vec<Claim>,
    },
    /// The hub has waited long enough for absent nodes: services may be placed.
    #[n(1)]
    Settled,
    /// An operator's wish; `request` is the number under which the proposing node answers it.
    #[n(2)]
    Command {
        /// Meaningful to the origin only.
        #[n(0)]
        request: u64,
        /// What is wished.
        #[n(1)]
        command: Command,
    },
    /// What came of a decision, from the member that carried it out.
    #[n(3)]
    Outcome {
        /// The service.
        #[n(0)]
        service: String,
        /// Which decision; none when a member stopped what it must not run.
        #[n(1)]
        decision: Option<DecisionId>,
        /// What came of it.
        #[n(2)]
        result: Ending,
    },
    /// A resource of a running service failed, from its holder.
    #[n(4)]
    Failed {
        /// The service.
        #[n(0)]
        service: String,
        /// The decision by which it was running.
        #[n(1)]
        decision: DecisionId,
        /// The resource.
        #[n(2)]
        resource: String,
        /// What happened to it.
        #[n(3)]
        reason: String,
        /// When, on the holder's own clock in nanoseconds; compared with stamps of the same node
        /// only.
        #[n(4)]
        stamp: u64,
    },
    /// The service has run for a whole restart window: its earlier failures are forgiven.
    #[n(5)]
    Stable {
        /// The service.
        #[n(0)]
        service: String,
        /// The decision by which it is running.
        #[n(1)]
        decision: DecisionId,
    },
    /// Something worth a line in the journal.
    #[n(6)]
    Remark {
        /// The service.
        #[n(0)]
        service: String,
        /// What was noticed.
        #[n(1)]
        text: String,
    },
    /// The origin's watchdog is armed, or not any more.
    #[n(7)]
    Watchdog {
        /// When it is not fed for so long, it resets the machine.
        #[n(0)]
        timeout: Option<Duration>,
    },
    /// All that the member cannot run for now; everything else it can. Sent whenever that changes.
    #[n(8)]
    Unable {
        /// By service.
        #[n(0)]
        services: BTreeMap<String, Inability>,
    },
    /// How the member sees all its networks. Sent whenever that changes.
    #[n(10)]
    Networks {
        /// Each that it is on.
        #[n(0)]
        networks: NetworkStates,
    },
    /// From the hub: one path is left to a member, or more again.
    #[n(9)]
    Jeopardy {
        /// To which.
        #[n(0)]
        node: NodeId,
        /// Whether it is so.
        #[n(1)]
        is_so: bool,
    },
}

/// A service of which something runs on the reporting member.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    /// The service.
    #[n(0)]
    pub service: String,
    /// The names of its resources that run.
    #[n(1)]
    pub running: Vec<String>,
}

/// What came of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Ending {
    /// All its resources run.
    #[n(0)]
    Started,
    /// None of its resources runs; confirmed.
    #[n(1)]
    Stopped,
    /// It did not start, and none of its resources runs; confirmed.
    #[n(2)]
    StartFailed {
        /// Which resource, and what happened.
        #[n(0)]
        reason: String,
    },
    /// It could not be started there for now, through no fault of its own, and none of its
    /// resources runs; confirmed.
    #[n(4)]
    Unable {
        /// Why.
        #[n(0)]
        reason: String,
    },
    /// It could not be stopped, not even by force: something of it may still run.
    #[n(3)]
    StopFailed {
        /// Which resource, and what happened.
        #[n(0)]
        reason: String,
    },
}

/// Whether these payload bytes change the configuration. Such entries must be durable before they
/// are acknowledged.
#[must_use]
pub fn is_configuration(payload: &[u8]) -> bool {
    matches!(
        base::codec::decode::<Entry>(payload),
        Ok(Entry::Command { command: Command::Configure { .. }, .. })
    )
}
