//! What operators can ask for, and how they are refused.
//!
//! A command is checked where it is given, so that a slip of the finger is answered at once, and
//! again where it is delivered, because the situation may have changed on the way. Only the second
//! answer counts, and it is the same on all members.

use core::fmt;

use minicbor::{Decode, Encode};

use crate::intent::Intent;

/// An operator's wish. Services and nodes are named as people name them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Command {
    /// Run the service: on this node, also when it is manual there, or where the plan says.
    #[n(0)]
    Start {
        /// Which service.
        #[n(0)]
        service: String,
        /// Where; the plan decides when none.
        #[n(1)]
        node: Option<String>,
    },
    /// Stop the service, and do not start it again.
    #[n(1)]
    Stop {
        /// Which service.
        #[n(0)]
        service: String,
    },
    /// Stop the service where it runs and start it elsewhere. Done once, never a rule.
    #[n(2)]
    Move {
        /// Which service.
        #[n(0)]
        service: String,
        /// Where to; the next node that can run it when none.
        #[n(1)]
        to: Option<String>,
    },
    /// Let the engine start the service on this node (all its nodes when none).
    #[n(3)]
    Auto {
        /// Which service.
        #[n(0)]
        service: String,
        /// Where.
        #[n(1)]
        node: Option<String>,
    },
    /// Do not let the engine start the service on this node (all its nodes when none).
    #[n(4)]
    Manual {
        /// Which service.
        #[n(0)]
        service: String,
        /// Where.
        #[n(1)]
        node: Option<String>,
    },
    /// Forget the failures of the service on this node (all when none). A stop that failed is
    /// tried again; only when it is confirmed is the service free.
    #[n(5)]
    Clear {
        /// Which service.
        #[n(0)]
        service: String,
        /// Where.
        #[n(1)]
        node: Option<String>,
    },
    /// Run nothing on this node: its services move or, where there is no place, stop.
    #[n(6)]
    Standby {
        /// Which node.
        #[n(0)]
        node: String,
    },
    /// The node may run services again.
    #[n(7)]
    Online {
        /// Which node.
        #[n(0)]
        node: String,
    },
    /// The node is about to leave: as standby, but until this life of it is gone. Nothing calls it
    /// off.
    #[n(8)]
    Drain {
        /// Which node.
        #[n(0)]
        node: String,
    },
    /// Replace the configuration, if its version is still the expected one.
    #[n(9)]
    Configure {
        /// The version that the change was made from.
        #[n(0)]
        expected: u64,
        /// The new intent; its version must be `expected + 1`.
        #[n(1)]
        intent: Box<Intent>,
        /// The file that the intent was read from, kept for joiners and for people.
        #[n(2)]
        text: String,
    },
}

/// Why a command is not carried out. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Refusal {
    /// This node is not a member of the primary view, so it cannot change anything.
    #[n(0)]
    NotMember,
    /// No service has that name.
    #[n(1)]
    UnknownService {
        /// The name given.
        #[n(0)]
        name: String,
        /// What was probably meant.
        #[n(1)]
        nearest: Option<String>,
    },
    /// No node has that name.
    #[n(2)]
    UnknownNode {
        /// The name given.
        #[n(0)]
        name: String,
        /// What was probably meant.
        #[n(1)]
        nearest: Option<String>,
    },
    /// The configuration changed since the change was prepared.
    #[n(3)]
    Stale {
        /// The version that the change was made from.
        #[n(0)]
        expected: u64,
        /// The version in force.
        #[n(1)]
        current: u64,
    },
    /// It makes no sense, or would be wrong, in the present situation.
    #[n(4)]
    NotNow {
        /// Why, and what to do instead.
        #[n(0)]
        sentence: String,
    },
}

impl Refusal {
    pub(crate) fn not_now(sentence: impl Into<String>) -> Refusal {
        Refusal::NotNow { sentence: sentence.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meant = |f: &mut fmt::Formatter<'_>, nearest: &Option<String>| match nearest {
            Some(name) => write!(f, "; did you mean {name}?"),
            None => Ok(()),
        };
        match self {
            Refusal::NotMember => {
                f.write_str("this node is not a member of the primary view, so it changes nothing")
            }
            Refusal::UnknownService { name, nearest } => {
                write!(f, "there is no service {name}")?;
                meant(f, nearest)
            }
            Refusal::UnknownNode { name, nearest } => {
                write!(f, "there is no node {name}")?;
                meant(f, nearest)
            }
            Refusal::Stale { expected, current } => write!(
                f,
                "the configuration is at version {current}, your change was made from version \
                 {expected}: look at the difference and apply again"
            ),
            Refusal::NotNow { sentence } => f.write_str(sentence),
        }
    }
}

impl core::error::Error for Refusal {}
