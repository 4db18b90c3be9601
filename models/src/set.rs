//! Sets of nodes, small enough to live inside the states of a model checker.
//!
//! A model has at most eight acceptors (nodes and a tie-breaker), so one byte holds any set of
//! them: copying and hashing a state stays cheap, and all subsets can be listed, which is how the
//! models try every quorum.

use std::fmt;

/// A node of a model: its index, counted from 0.
pub type NodeId = u8;

/// A set of nodes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeSet(u8);

impl NodeSet {
    /// The set without nodes.
    pub const EMPTY: NodeSet = NodeSet(0);

    /// The set of one node.
    pub fn of(node: NodeId) -> NodeSet {
        assert!(node < 8, "a model has at most eight acceptors");
        NodeSet(1 << node)
    }

    /// The nodes `0..count`.
    pub fn first(count: u8) -> NodeSet {
        (0..count).collect()
    }

    /// Is `node` in the set?
    pub fn contains(self, node: NodeId) -> bool {
        self.0 & NodeSet::of(node).0 != 0
    }

    /// This set and `node`.
    #[must_use]
    pub fn with(self, node: NodeId) -> NodeSet {
        self.union(NodeSet::of(node))
    }

    /// This set without `node`.
    #[must_use]
    pub fn without(self, node: NodeId) -> NodeSet {
        self.difference(NodeSet::of(node))
    }

    /// The nodes in either set.
    #[must_use]
    pub fn union(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 | other.0)
    }

    /// The nodes in both sets.
    #[must_use]
    pub fn intersection(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 & other.0)
    }

    /// The nodes of this set that are not in `other`.
    #[must_use]
    pub fn difference(self, other: NodeSet) -> NodeSet {
        NodeSet(self.0 & !other.0)
    }

    /// Are all nodes of this set in `other`?
    pub fn is_subset_of(self, other: NodeSet) -> bool {
        self.difference(other).is_empty()
    }

    /// Is there no node in the set?
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Number of nodes.
    pub fn len(self) -> u8 {
        self.0.count_ones() as u8
    }

    /// The node with the lowest index.
    pub fn lowest(self) -> Option<NodeId> {
        self.iter().next()
    }

    /// The nodes, in order.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        (0..8).filter(move |node| self.0 >> node & 1 == 1)
    }

    /// All subsets, the empty one and this one included.
    pub fn subsets(self) -> impl Iterator<Item = NodeSet> {
        // Counting down through the bits of the mask visits each subset once.
        let mut next = Some(self.0);
        std::iter::from_fn(move || {
            let subset = next?;
            next = (subset != 0).then(|| (subset - 1) & self.0);
            Some(NodeSet(subset))
        })
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> NodeSet {
        nodes.into_iter().fold(NodeSet::EMPTY, NodeSet::with)
    }
}

impl fmt::Debug for NodeSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.iter()).finish()
    }
}
