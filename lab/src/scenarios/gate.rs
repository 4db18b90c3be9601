//! Whether a node's kernel closes its service addresses when nothing of the node's programs can.
//!
//! Where it does not, a stopped owner goes on to answer, and what is late is a figure. So that this is no
//! excuse for a program that should have a gate and has none, the lab finds out by itself beforehand whether this
//! kernel has what one of nftables needs. (What programs the kernel takes is not asked: there is hardly one that
//! takes them and has no nftables, which the switches of the lab need as well.)

use anyhow::{Context, Result};

use super::Played;
use crate::namespace::Namespace;
use crate::nft::Filter;
use crate::scene::{PATIENCE, Scene};
use crate::wait;

/// What a scenario says that could not judge late answers. Tests look for it.
const SKIPPED: &str = "SKIPPED: this kernel has no lease gate, so late answers are a figure";

/// The gate of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gate {
    /// `kernel`, `nftables`; none: the node says that it has no gate.
    pub(super) kind: Option<String>,
    /// The kernel has what it takes.
    pub(super) is_possible: bool,
}

impl Gate {
    /// What a node says of its gate, and whether it could have one.
    ///
    /// # Errors
    /// When it says nothing, or the kernel cannot be asked.
    pub(super) fn of(scene: &Scene, node: &str) -> Result<Self> {
        let status =
            wait::until(&format!("{node} to tell its status"), PATIENCE, || Ok(scene.status(node)));
        let said = scene.explain(status)?.node;
        // Asked in a network of its own, with the powers that programs on nodes have.
        let possible = Namespace::create()?.run(|| Filter::open()?.can_gate());
        let is_possible = possible.context("asking the kernel for what a gate needs")?;
        let kind = said.is_gated().then_some(said.gate);
        Ok(Self { kind, is_possible })
    }

    /// An owner that cannot do anything must be silent all the same.
    pub(super) fn must_close(&self) -> bool {
        self.is_possible || self.kind.is_some()
    }

    /// Says what the gate is, and complains of one that is missing.
    pub(super) fn tell(&self, node: &str, played: &mut Played) {
        played.must_close = self.must_close();
        played.notes.push(match &self.kind {
            Some(kind) => format!("the lease gate of {node} is of kind {kind}"),
            None if self.is_possible => format!("{node} has no lease gate"),
            None => SKIPPED.to_owned(),
        });
        if self.kind.is_none() && self.is_possible {
            let what = "has no lease gate, though this kernel has all that one of nftables needs";
            played.complaints.push(format!("{node} {what}"));
        }
    }
}
