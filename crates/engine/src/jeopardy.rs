//! Nodes of which one path is left, and what is thought of their silence.
//!
//! When the last path to a node fails, nobody can tell a dead machine from a cut cable. A lease makes a
//! takeover safe all the same, so that is the default. Who would rather look first says
//! `jeopardy = "hold"` (design, "Jeopardy"; the idea is GAB's): a node that was down to **one** path for a
//! while and is then lost keeps its services until something proves what became of it. Its lease ends as
//! ever, and frees nothing.
//!
//! Who was in jeopardy is known by entries of the hub, so that all members hold the same. The hub waits
//! before it says so: a machine that dies is silent on one path a little sooner than on another.

use base::{Member, NodeId};
use minicbor::{Decode, Encode};

use crate::journal::Rule;
use crate::observation::Observation;
use crate::replica::{Context, Draft, Replica};

/// What becomes of the services of a node that was lost with its last path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Jeopardy {
    /// They are started elsewhere as after any loss.
    #[default]
    #[n(0)]
    Takeover,
    /// They stay with it until something proves that it runs them no more.
    #[n(1)]
    Hold,
}

impl Observation {
    /// Whether the lost node keeps what it holds although its lease is over.
    pub(crate) fn is_kept(&self, policy: Option<Jeopardy>, node: NodeId) -> bool {
        policy == Some(Jeopardy::Hold) && self.jeopardy.contains(node)
    }
}

/// What a service waits for whose node was lost in jeopardy.
pub(crate) fn waits_for(name: &str) -> String {
    format!(
        "{name} was lost with its last path (hold): waiting for a fence agent, its return, \
         or `mainstay node confirm-down {name}`"
    )
}

impl Replica {
    /// The hub says that one path is left to a member, or more again.
    pub(crate) fn in_jeopardy(
        &mut self,
        context: &mut Context,
        origin: Member,
        node: NodeId,
        is_so: bool,
    ) {
        let observation = &mut self.observation;
        let is_hub = observation.view.as_ref().is_some_and(|view| view.hub == origin.node);
        if !is_hub || !observation.is_member(node) {
            return;
        }
        let has_changed = match is_so {
            true => observation.jeopardy.insert(node),
            false => observation.jeopardy.remove(node),
        };
        if !has_changed {
            return;
        }
        let name = self.intent.name_of(node);
        let sentence = match is_so {
            true => format!("{name} is in jeopardy: one path to it is left"),
            false => format!("{name} is in jeopardy no more"),
        };
        let draft = Draft {
            service: None,
            because: None,
            rule: Rule::Remark,
            chosen: Some(node),
            rejected: Vec::new(),
            sentence,
        };
        self.event(context, draft);
    }
}
