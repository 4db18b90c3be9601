//! The replicated books of a view: who holds the service, who is absent, and which entries change
//! it.
//!
//! The order itself is the subject of [`crate::lineage`]. Here a view has one sequence of entries,
//! written by its hub; an entry is committed when every member has acknowledged it, unsealed; and
//! a node acts on what was delivered *to it*, which may be long ago. Every entry names exactly what
//! it answers, so that one that comes late changes nothing.

use super::{Action, Generation, Lease, Mutant, State};
use crate::set::NodeId;

/// One life of a node: its incarnation counts the starts of its daemon, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// The node.
    pub node: NodeId,
    /// Which of its lives.
    pub incarnation: u8,
}

impl Life {
    /// Somebody of a time that nobody here remembers (after a cold start).
    pub const UNKNOWN: Life = Life { node: NodeId::MAX, incarnation: 0 };
}

/// Who holds the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Holder {
    /// The holder.
    pub life: Life,
    /// Number of the start.
    pub start: u8,
    /// View in which the holder got, or adopted, the service.
    pub since: Generation,
}

/// A lost member whose service nobody may start yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Absence {
    /// Who is absent.
    pub life: Life,
    /// The first view without it.
    pub since: Generation,
    /// How long the hub has to count, from its own entry into the view, before it may free.
    pub wait: u8,
}

/// The state that all members of a view agree on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ledger {
    /// Holder of the service, if any.
    pub holder: Option<Holder>,
    /// Lost members that were not freed yet.
    pub absences: Vec<Absence>,
    /// Number of the newest start.
    pub starts: u8,
}

/// An ordered entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// This life becomes the holder.
    Start(Life),
    /// The holder has stopped what this start began.
    Stopped(NodeId, u8),
    /// The wait for this absence is over.
    Free(Life, Generation),
    /// This life runs what an earlier life of its node left under the guard.
    Adopt(Life),
}

impl Lease {
    /// The books of a view after its first `count` entries.
    pub(super) fn ledger(&self, state: &State, generation: Generation, count: usize) -> Ledger {
        let view = state.view(generation);
        let mut ledger = view.ledger.clone();
        for entry in &view.entries[..count] {
            self.apply(&mut ledger, *entry, generation);
        }
        ledger
    }

    /// The holder, as far as it was delivered to `node`.
    pub(super) fn known_holder(&self, state: &State, node: NodeId) -> Option<Holder> {
        let known = state.node(node);
        if known.generation == 0 {
            return None;
        }
        self.ledger(state, known.generation, known.delivered as usize).holder
    }

    /// Does `node` know itself to be the holder?
    pub(super) fn holds(&self, state: &State, node: NodeId) -> bool {
        self.known_holder(state, node).is_some_and(|holder| holder.life == state.life(node))
    }

    fn apply(&self, ledger: &mut Ledger, entry: Entry, generation: Generation) {
        match entry {
            Entry::Start(life) => {
                if ledger.holder.is_none() || self.is(Mutant::StartWhileHeld) {
                    ledger.starts += 1;
                    let start = ledger.starts;
                    ledger.holder = Some(Holder { life, start, since: generation });
                }
            }
            Entry::Stopped(node, start) => {
                if ledger.holder.is_some_and(|holder| {
                    let named = holder.start == start || self.is(Mutant::StoppedNamesNoStart);
                    holder.life.node == node && named
                }) {
                    ledger.holder = None;
                }
            }
            Entry::Free(life, since) => {
                ledger.absences.retain(|absence| (absence.life, absence.since) != (life, since));
                if ledger.holder.is_some_and(|holder| self.frees(holder, life, since)) {
                    ledger.holder = None;
                }
            }
            Entry::Adopt(life) => self.adopt(ledger, life, generation),
        }
    }

    /// Does the end of this absence set the service free?
    fn frees(&self, holder: Holder, life: Life, since: Generation) -> bool {
        if self.is(Mutant::OldWaitFreesAdopted) {
            return holder.life.node == life.node;
        }
        let begun_before = holder.since < since || self.is(Mutant::FreeNamesNoAbsence);
        holder.life == life && begun_before
    }

    fn adopt(&self, ledger: &mut Ledger, life: Life, generation: Generation) {
        match &mut ledger.holder {
            Some(holder) if adoptable(*holder, life) || self.is(Mutant::AdoptWhatWasFreed) => {
                holder.life = life;
                holder.since = generation;
            }
            _ => {}
        }
    }

    /// What the hub of a view may order now.
    pub(super) fn order_actions(&self, state: &State, hub: NodeId, actions: &mut Vec<Action>) {
        let node = state.node(hub);
        if node.generation == 0 || node.sealed || node.paused {
            return;
        }
        let generation = node.generation;
        let view = state.view(generation);
        if view.hub != hub
            || !view.has(state.life(hub))
            || view.entries.len() >= self.entries.into()
        {
            return;
        }
        // Valid against all entries ordered so far: at delivery exactly those come before it.
        let ledger = self.ledger(state, generation, view.entries.len());
        let mut order = |entry| actions.push(Action::Order(hub, entry));
        for member in view.lives() {
            if ledger.holder.is_none() || self.is(Mutant::StartWhileHeld) {
                order(Entry::Start(member));
            }
            let reported = view.entered.contains(member.node);
            if reported && ledger.holder.is_some_and(|holder| self.reports(state, holder, member)) {
                order(Entry::Adopt(member));
            }
        }
        for absence in &ledger.absences {
            if node.in_view >= absence.wait {
                order(Entry::Free(absence.life, absence.since));
            }
        }
        if let Some(holder) = ledger.holder
            && holder.life != Life::UNKNOWN
        {
            let stopped = state.node(holder.life.node).stopped;
            let named = stopped == holder.start || self.is(Mutant::StoppedNamesNoStart);
            if stopped > 0 && named {
                order(Entry::Stopped(holder.life.node, stopped));
            }
        }
    }

    /// Did `member` report that it runs what `holder` began? The report may be an old one.
    fn reports(&self, state: &State, holder: Holder, member: Life) -> bool {
        let reported = state.life(member.node) == member && state.node(member.node).reported;
        if self.is(Mutant::AdoptWhatWasFreed) {
            return holder.life != member && reported;
        }
        adoptable(holder, member) && (holder.life != Life::UNKNOWN || reported)
    }

    pub(super) fn log_actions(&self, state: &State, id: NodeId, actions: &mut Vec<Action>) {
        let node = state.node(id);
        if node.generation == 0 || node.paused {
            return;
        }
        let view = state.view(node.generation);
        let acknowledged = view.acknowledged[id as usize] as usize;
        if !node.sealed && acknowledged < view.entries.len() && view.has(state.life(id)) {
            actions.push(Action::Acknowledge(id));
        }
        if node.delivered < view.committed() {
            actions.push(Action::Deliver(id));
        }
    }

    pub(super) fn order(&self, state: &mut State, hub: NodeId, entry: Entry) {
        let generation = state.node(hub).generation;
        let view = state.view_mut(generation);
        view.entries.push(entry);
        // The hub takes its own entry at once; it has acknowledged all before it.
        view.acknowledged[hub as usize] = view.entries.len() as u8;
    }

    pub(super) fn deliver(&self, state: &mut State, id: NodeId) {
        state.node_mut(id).delivered += 1;
        // An adoption may just have been delivered: from now on the guard gets deadlines again.
        self.extend(state, id);
    }
}

/// May `life` take over what `holder` began, because it is a later life of the same machine?
fn adoptable(holder: Holder, life: Life) -> bool {
    let later = holder.life.node == life.node && holder.life.incarnation < life.incarnation;
    later || holder.life == Life::UNKNOWN
}
