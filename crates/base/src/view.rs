//! Agreed membership.

use minicbor::{Decode, Encode};

use crate::id::{Member, NodeId, NodeSet};

/// One agreed membership. Within a lineage each generation has exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct View {
    /// Which history this view belongs to; a new random number at first seed and forced seed.
    #[n(0)]
    pub lineage: u32,
    /// Grows by one with each view change (by two at a cold start or return).
    #[n(1)]
    pub generation: u64,
    /// The members in order of seniority.
    #[n(2)]
    pub members: Vec<Member>,
    /// The member that orders messages and coordinated the change to this view.
    #[n(3)]
    pub hub: NodeId,
    /// Who decides about the successor at exactly half of the members.
    #[n(4)]
    pub tie: Tie,
}

/// Who decides at exactly half of a view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum Tie {
    /// Nobody: safe, not available. A person can still confirm that the others are down.
    #[default]
    #[n(0)]
    None,
    /// A person, asked for in words.
    #[n(1)]
    Manual,
    /// The half with this node goes on.
    #[n(2)]
    Prefer(#[n(0)] NodeId),
    /// More than half of some acceptors outside the members.
    #[n(3)]
    Arbiters {
        /// How many there are, numbered from 0: 1 or 3.
        #[n(0)]
        count: u8,
        /// Which they are: a hash over their configuration.
        #[n(1)]
        name: u64,
    },
}

impl View {
    /// The nodes of the members.
    #[must_use]
    pub fn nodes(&self) -> NodeSet {
        self.members.iter().map(|member| member.node).collect()
    }

    /// Whether exactly this life of the node is a member.
    #[must_use]
    pub fn has(&self, member: Member) -> bool {
        self.members.contains(&member)
    }

    /// The life of `node` that is a member, if one is.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<Member> {
        self.members.iter().copied().find(|member| member.node == node)
    }
}
