//! The step from one view into the next, once its record is durable.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use base::{Instant, NodeSet};

use crate::lease::Evidence;
use crate::order::Log;
use crate::wire::{Absence, Ballot, Value, Wait};
use crate::{Absent, Group, Membership, Output, Phase, ViewChange};

impl Group {
    /// The successor is recorded: deliver what is kept of the view that ends, and enter it. Not
    /// before: if all who decided crash without a record, those who did not hear of the decision go
    /// on with less (rule C2).
    pub(crate) fn enter_successor(&mut self, value: Value) {
        self.deliver_to(value.trim);
        let (now, local) = (self.now, self.local());
        let Phase::Member(old) = &self.phase else { return };
        let inherited = old.evidence.newest(&old.view, local, now);
        // A wait that ended within the entries that were kept does not go on.
        let is_over = |wait: &Wait| {
            wait.absence.generation <= old.view.generation && !old.waits.contains_key(&wait.absence)
        };
        let mut waits: Vec<Wait> =
            value.waits.iter().filter(|wait| !is_over(wait)).copied().collect();
        for wait in &mut waits {
            // Whoever promised early may not have known; by now all have delivered the same.
            wait.is_lapsed = old.waits.get(&wait.absence).is_some_and(|absent| absent.is_lapsed);
        }
        // A life that a newer one of its node has replaced is lost as well, but not waited for: the
        // newer one answers for it.
        let generation = value.view.generation;
        let replaced = old.view.members.iter().filter(|member| {
            !value.view.has(**member)
                && !value.left.contains(member)
                && value.view.nodes().contains(member.node)
        });
        let replaced: Vec<Absence> = replaced
            .map(|member| Absence {
                node: member.node,
                incarnation: member.incarnation,
                generation,
            })
            .collect();
        let mut change = self.enter(&value, &waits, inherited, false);
        change.lost.extend(replaced);
        self.outputs.push_back(Output::View(change));
        self.take_snapshot_for(&value);
        self.settle_in();
    }

    /// The view that lets this node go is recorded: deliver what is kept, and go.
    pub(crate) fn go(&mut self, value: Value) {
        self.deliver_to(value.trim);
        self.phase = Phase::Out;
        self.outputs.push_back(Output::Left);
    }

    /// Sets up the life in a new view; the caller tells the layer above.
    pub(crate) fn enter(
        &mut self,
        value: &Value,
        waits: &[Wait],
        inherited: Instant,
        formed: bool,
    ) -> ViewChange {
        let (now, local) = (self.now, self.local());
        let view = value.view.clone();
        let others = view.members.iter().map(|member| member.node).filter(|n| *n != local.node);
        self.delivered.retain(|origin, _| view.has(*origin));
        // What a person said was about lives that have ended.
        self.down = self.down.difference(view.nodes());
        let peers = &self.peers;
        self.contacts.retain(|member, _| {
            view.has(*member)
                || peers
                    .get(&member.node)
                    .is_some_and(|peer| peer.incarnation == member.incarnation)
        });
        for joiner in &value.joiners {
            let joins = self.joins.entry(joiner.node).or_default();
            joins.push((now, joiner.incarnation));
            if joins.len() > crate::join::JOINS_REMEMBERED_MAX {
                joins.remove(0);
            }
        }
        let waits: BTreeMap<Absence, Absent> = (waits.iter())
            .map(|wait| {
                let heard = now.minus(Duration::from_millis(wait.age_ms));
                (wait.absence, Absent { heard, is_lapsed: wait.is_lapsed })
            })
            .collect();
        self.proven.retain(|absence, _| waits.contains_key(absence));
        let lost = waits.keys().filter(|absence| absence.generation == view.generation);
        let change = ViewChange {
            joined: value.joiners.clone(),
            left: value.left.clone(),
            lost: lost.copied().collect(),
            formed,
            view: view.clone(),
        };
        self.phase = Phase::Member(Box::new(Membership {
            log: Log::new(others, now),
            view,
            value: value.clone(),
            installed_at: now,
            evidence: Evidence::starting_with(inherited),
            promised: Ballot::default(),
            sealed_at: None,
            accepted: None,
            attempt: None,
            backoff_until: now,
            wanted_since: None,
            stranded_since: None,
            unsteady_since: None,
            waits,
            fences_submitted: BTreeSet::new(),
            expelled: NodeSet::EMPTY,
        }));
        change
    }

    /// After the layer above was told: hand own unfinished business to the hub, and take what
    /// came too early.
    pub(crate) fn settle_in(&mut self) {
        self.resubmit();
        for (from, message) in core::mem::take(&mut self.early) {
            if self.connected(from) {
                self.receive(from, message);
            }
        }
    }
}
