//! The first view, and the first after everybody lost power.
//!
//! Founders agree unanimously: the coordinator records the view it proposes, every founder records
//! it and says so, the coordinator records the decision and installs, the others are sent the
//! state like joiners. A founder's record of a view that was not installed counts like any other
//! record, so that a half-done formation cannot be followed by a second one without its founders;
//! the coordinator alone can call it off, because it alone could have decided it.
//!
//! * **First seed**: no record among the nodes present, and at least `seed` of them in mutual
//!   contact. The lowest id coordinates.
//! * **Cold start** (protocol, rule C1): all members of the newest recorded view are present with
//!   a record of that history (or all configured nodes are present, so that nobody can be in a
//!   view that somebody has forgotten), and none of them is in a view. The one with the newest configuration coordinates. A majority
//!   would not do: that view may have shrunk on elsewhere.
//! * **By hand** (`gabconfig -c -x`): the nodes present, a new lineage. A person promises that
//!   the others are down.

use core::cmp::Reverse;
use core::time::Duration;

use base::{Instant, Member, NodeId, NodeSet, View};

use crate::change::{TELL_INTERVAL, any_life};
use crate::wire::{self, Digest, Message, Scope, Standing, Value, Wait};
use crate::{Group, Output, Persisting, Phase, Rejected, Timer, Write};

/// After a formation that did not come about.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(250);
/// The least time that founders get to record a view; their disks may be slow.
const ACCEPT_PATIENCE: Duration = Duration::from_secs(2);

/// What a node without a view is doing about it.
#[derive(Debug, Default)]
pub(crate) struct Unseeded {
    /// The own attempt.
    forming: Option<Forming>,
    /// Somebody else's.
    accepting: Option<Accepting>,
    retry_at: Instant,
    /// Since when a person wants a view of the nodes present.
    forced: Option<Instant>,
    /// Why nothing happens, for people.
    waiting: String,
}

impl Unseeded {
    pub(crate) fn is_forming(&self) -> bool {
        self.forming.is_some()
    }
}

#[derive(Debug)]
struct Forming {
    id: u64,
    view: View,
    accepted: NodeSet,
    before: Option<View>,
    until: Instant,
}

/// A node in contact that could found a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Founder {
    member: Member,
    /// Its newest view: lineage, generation, hash.
    record: Option<(u32, u64, u64)>,
    configuration: u64,
}

#[derive(Debug)]
struct Accepting {
    id: u64,
    coordinator: Member,
    before: Option<View>,
}

impl Group {
    /// Forms a view of the nodes present, whatever is recorded: a person's order.
    ///
    /// # Errors
    /// [`Rejected::SeededPeer`] when a node in reach is in a view, [`Rejected::Seeded`] when this
    /// one is in a living one.
    pub fn seed(&mut self) -> Result<(), Rejected> {
        self.check_unseedable()?;
        if let Some(node) = self.seeded_peer() {
            return Err(Rejected::SeededPeer(node));
        }
        match &mut self.phase {
            Phase::Unseeded(unseeded) => unseeded.forced = Some(self.now),
            Phase::Member(_) => self.exclude("a person is seeding a new view".into()),
            Phase::Out => {}
        }
        Ok(())
    }

    fn seeded_peer(&self) -> Option<NodeId> {
        let seeded = |standing| matches!(standing, Standing::Member | Standing::Leaving);
        // Those that wait in the same view without a quorum are as stuck as this node.
        let here = self.view().map(Scope::of);
        let is_here = |digest: &Digest| {
            let Digest { lineage, generation, .. } = *digest;
            here == Some(Scope { lineage, generation })
        };
        let mut peers = self.peers.iter();
        peers
            .find(|(_, peer)| seeded(peer.digest.standing) && !is_here(&peer.digest))
            .map(|(node, _)| *node)
    }

    pub(crate) fn turn_unseeded(&mut self) {
        let now = self.now;
        let Phase::Unseeded(unseeded) = &self.phase else { return };
        if self.persisting.is_some() {
            return;
        }
        if let Some(forming) = &unseeded.forming {
            if now >= forming.until {
                self.call_off();
            } else {
                let until = forming.until;
                self.wake_at(until, Timer::Form);
            }
            return;
        }
        let accepting = unseeded.accepting.as_ref();
        let accepting = accepting.map(|accepting| (accepting.coordinator, accepting.id));
        if let Some((coordinator, id)) = accepting.filter(|(node, _)| self.connected(*node)) {
            // Whatever it was to say may be lost: said again, it answers again.
            let told_at = self.told_at.get(&coordinator.node).copied().unwrap_or(Instant::ZERO);
            if now.since(told_at) >= TELL_INTERVAL {
                self.told_at.insert(coordinator.node, now);
                self.send(coordinator.node, &Message::FormAccepted(id));
            }
            return self.wake_at(now + TELL_INTERVAL, Timer::Form);
        }
        if now < unseeded.retry_at {
            let retry_at = unseeded.retry_at;
            return self.wake_at(retry_at, Timer::Form);
        }
        if unseeded.forced.is_some() {
            self.dissolve_the_last_view();
        }
        let verdict = self.may_form();
        let Phase::Unseeded(unseeded) = &mut self.phase else { return };
        unseeded.accepting = None;
        match verdict {
            Ok(view) => {
                unseeded.waiting = "forming a view".into();
                self.form(view);
            }
            Err(waiting) => unseeded.waiting = waiting,
        }
    }

    /// Other members of this node's last view may still wait in it.
    fn dissolve_the_last_view(&mut self) {
        let Some(scope) = self.record.as_ref().map(Scope::of) else { return };
        let now = self.now;
        let waits_there = |digest: &Digest| {
            matches!(digest.standing, Standing::Member | Standing::Sealed | Standing::Leaving)
                && (Scope { lineage: digest.lineage, generation: digest.generation }) == scope
        };
        let peers = self.peers.iter().filter(|(_, peer)| waits_there(&peer.digest));
        let nodes: Vec<NodeId> = peers.map(|(node, _)| *node).collect();
        for node in nodes {
            let told_at = self.told_at.get(&node).copied();
            if told_at.is_none_or(|at| now.since(at) >= TELL_INTERVAL) {
                self.told_at.insert(node, now);
                self.send(node, &Message::Dissolve(scope));
            }
            self.wake_at(now + TELL_INTERVAL, Timer::Form);
        }
    }

    /// The view that this node should propose, or what it waits for.
    fn may_form(&mut self) -> Result<View, String> {
        if let Some((node, peer)) = self.peers.iter().find(|(_, peer)| {
            matches!(
                peer.digest.standing,
                Standing::Member | Standing::Sealed | Standing::Leaving | Standing::Out
            )
        }) {
            return Err(match peer.digest.standing {
                Standing::Member => {
                    format!("{node} is in a view; waiting for its hub to let this node in")
                }
                Standing::Out => format!("{node} is stopping what it ran"),
                _ => format!("{node} is in a view that is changing or has no quorum"),
            });
        }
        let present: Vec<Founder> = self.unseeded_present();
        let nodes: NodeSet = present.iter().map(|founder| founder.member.node).collect();
        let newest = present.iter().filter_map(|founder| founder.record);
        let newest = newest.max_by_key(|(lineage, generation, _)| (*generation, *lineage));
        let Phase::Unseeded(unseeded) = &self.phase else { return Err(String::new()) };
        let local = self.local();
        if let Some(since) = unseeded.forced {
            // Whoever is present must have had the time to be heard: a node that was in a view
            // until now begins a new life and knows nobody yet.
            let until = since + self.config.timing.path_timeout * 2;
            if self.now < until && !self.config.nodes.is_subset(nodes) {
                self.wake_at(until, Timer::Form);
                return Err("listening for other nodes before a view is formed by hand".into());
            }
            let generation = newest.map_or(1, |(_, generation, _)| generation + 2);
            return Ok(self.founding_view(
                generation,
                None,
                present.iter().map(|founder| founder.member),
            ));
        }
        let Some((lineage, generation, hash)) = newest else {
            let missing = self.config.seed.saturating_sub(present.len());
            if missing > 0 {
                let unit = if missing == 1 { "node" } else { "nodes" };
                return Err(format!("waiting for {missing} more {unit} to seed"));
            }
            if !self.is_mutual(nodes) {
                return Err("waiting for all nodes present to reach each other".into());
            }
            return match nodes.first() {
                Some(first) if first == local.node => {
                    Ok(self.founding_view(1, None, present.iter().map(|founder| founder.member)))
                }
                _ => {
                    Err("waiting for the node with the lowest id to propose the first view".into())
                }
            };
        };
        let holds = |record: &Option<(u32, u64, u64)>| *record == Some((lineage, generation, hash));
        let Some(record) = self.record.clone().filter(|view| holds(&Some(wire::name(view)))) else {
            return Err(format!("waiting for the members of generation {generation} to go on"));
        };
        // A member without a record of this history may have been in a later view and forgotten
        // it, and others may still live there; unless everybody is here.
        let is_everybody = self.config.nodes.is_subset(nodes);
        let remembers = |founder: &&Founder| {
            is_everybody || founder.record.is_some_and(|(of, ..)| of == lineage)
        };
        let back: NodeSet =
            present.iter().filter(remembers).map(|founder| founder.member.node).collect();
        let missing = record.nodes().difference(back);
        if !missing.is_empty() {
            let names: Vec<String> = missing
                .into_iter()
                .map(|node| match nodes.contains(node) {
                    true => format!("{node} (which is back without its memory)"),
                    false => node.to_string(),
                })
                .collect();
            return Err(format!(
                "the last view had members that are not back: waiting for {}",
                names.join(", ")
            ));
        }
        // Whoever has left records the view that let it go, and may be the only one who knows it.
        let best = (present.iter())
            .filter(|founder| holds(&founder.record))
            .max_by_key(|founder| (founder.configuration, Reverse(founder.member.node)));
        match best {
            Some(best) if best.member == local => {
                let founders = present.iter().filter(|founder| {
                    founder.member == local || record.nodes().contains(founder.member.node)
                });
                // What somebody has forgotten is lost: another history begins.
                let remembers =
                    |founder: &Founder| founder.record.is_some_and(|(of, ..)| of == lineage);
                let lineage = founders.clone().all(remembers).then_some(lineage);
                let founders = founders.map(|founder| founder.member);
                Ok(self.founding_view(generation + 2, lineage, founders))
            }
            _ => Err("waiting for another member of the last view to propose the next".into()),
        }
    }

    /// All nodes in contact without a view, this one included: life, record, configuration.
    fn unseeded_present(&self) -> Vec<Founder> {
        let local = self.digest();
        let mut present = vec![Founder {
            member: self.local(),
            record: local.record,
            configuration: local.configuration,
        }];
        for (node, peer) in &self.peers {
            if peer.digest.standing == Standing::Unseeded && peer.digest != Default::default() {
                let member = Member { node: *node, incarnation: peer.incarnation };
                let Digest { record, configuration, .. } = peer.digest;
                present.push(Founder { member, record, configuration });
            }
        }
        present.sort_unstable();
        present
    }

    fn is_mutual(&self, nodes: NodeSet) -> bool {
        let mut others = self.peers.iter().filter(|(node, _)| nodes.contains(**node));
        others.all(|(node, peer)| {
            let mut row = peer.row;
            row.insert(*node);
            nodes.is_subset(row)
        })
    }

    fn founding_view(
        &mut self,
        generation: u64,
        lineage: Option<u32>,
        founders: impl Iterator<Item = Member>,
    ) -> View {
        let members = founders.collect();
        let lineage = lineage.unwrap_or_else(|| self.prng.range(1..=u64::from(u32::MAX)) as u32);
        View { lineage, generation, members, hub: self.local().node, tie: self.config.tie }
    }

    fn form(&mut self, view: View) {
        let id = self.prng.next_u64();
        let until = self.now + (self.config.timing.collect * 4).max(ACCEPT_PATIENCE);
        let before = self.record.clone();
        let Phase::Unseeded(unseeded) = &mut self.phase else { return };
        let accepted = NodeSet::EMPTY;
        unseeded.forming = Some(Forming { id, view: view.clone(), accepted, before, until });
        self.persist(Some(view), Persisting::FormTentative);
    }

    pub(crate) fn form_self_accepted(&mut self) {
        let local = self.local().node;
        let Phase::Unseeded(unseeded) = &mut self.phase else { return };
        let Some(forming) = &mut unseeded.forming else { return };
        forming.accepted.insert(local);
        let message = Message::Form(forming.id, forming.view.clone());
        for node in forming.view.nodes() {
            self.send(node, &message);
        }
        self.decide_formation();
    }

    pub(crate) fn on_form(&mut self, from: Member, id: u64, view: View) {
        let record_is_older =
            self.record.as_ref().is_none_or(|record| record.generation < view.generation);
        let local = self.local();
        if self.persisting.is_some() || !record_is_older {
            return;
        }
        let seeded = self.seeded_peer();
        let Phase::Unseeded(unseeded) = &self.phase else { return };
        let is_busy = unseeded.forming.is_some()
            || unseeded.accepting.as_ref().is_some_and(|other| {
                other.coordinator != from && self.connected(other.coordinator)
            });
        if is_busy
            || seeded.is_some()
            || view.hub != from.node
            || !view.has(from)
            || !view.has(local)
        {
            return;
        }
        let before = self.record.clone();
        let Phase::Unseeded(unseeded) = &mut self.phase else { return };
        unseeded.accepting = Some(Accepting { id, coordinator: from, before });
        self.persist(Some(view), Persisting::FormAccept);
    }

    pub(crate) fn form_accept_recorded(&mut self) {
        let Phase::Unseeded(unseeded) = &self.phase else { return };
        if let Some(accepting) = &unseeded.accepting {
            let (to, id) = (accepting.coordinator, accepting.id);
            if self.connected(to) {
                self.send(to.node, &Message::FormAccepted(id));
            }
        }
    }

    pub(crate) fn on_form_accepted(&mut self, from: Member, id: u64) {
        let Phase::Unseeded(unseeded) = &mut self.phase else { return };
        match &mut unseeded.forming {
            Some(forming) if forming.id == id => {
                if forming.view.has(from) {
                    forming.accepted.insert(from.node);
                    self.decide_formation();
                }
            }
            // This life has called that attempt off; it can have decided none and be here.
            _ => self.send(from.node, &Message::FormAbort(id)),
        }
    }

    fn decide_formation(&mut self) {
        let Phase::Unseeded(unseeded) = &self.phase else { return };
        let Some(forming) = &unseeded.forming else { return };
        if forming.accepted == forming.view.nodes() && self.persisting.is_none() {
            let record = Some(forming.view.clone());
            self.persist(record, Persisting::FormDecided);
        }
    }

    pub(crate) fn enter_formed(&mut self) {
        let Phase::Unseeded(unseeded) = &mut self.phase else { return };
        let Some(forming) = unseeded.forming.take() else { return };
        let view = forming.view;
        // Of a configured node that is not here nothing is known: it may still hold a lease.
        let absent = self.config.nodes.difference(view.nodes()).into_iter();
        let waits: Vec<Wait> = absent
            .map(|node| Wait {
                absence: any_life(node, view.generation),
                age_ms: 0,
                is_lapsed: false,
            })
            .collect();
        let local = self.local();
        let joiners = view.members.iter().copied().filter(|member| *member != local).collect();
        let value = Value { view, joiners, left: Vec::new(), trim: 0, trim_hash: 0, waits };
        let mut change = self.enter(&value, &value.waits, Instant::ZERO, true);
        change.joined = change.view.members.clone();
        self.outputs.push_back(Output::View(change));
        self.take_snapshot_for(&value);
        self.settle_in();
    }

    pub(crate) fn on_form_abort(&mut self, from: Member, id: u64) {
        let Phase::Unseeded(unseeded) = &mut self.phase else { return };
        let ours = |accepting: &Accepting| accepting.id == id && accepting.coordinator == from;
        if let Some(accepting) = unseeded.accepting.take_if(|accepting| ours(accepting)) {
            match &self.persisting {
                // Told while the record was still on its way to the disk: it is put right after.
                Some(Write { then: Persisting::FormAccept, .. }) => {
                    self.persisting = None;
                    self.persist(accepting.before, Persisting::FormReverted);
                }
                Some(_) => {}
                None => self.persist(accepting.before, Persisting::FormReverted),
            }
        }
    }

    /// A founder has gone before all have accepted.
    pub(crate) fn forming_peer_lost(&mut self, node: NodeId) {
        let Phase::Unseeded(unseeded) = &self.phase else { return };
        let involved = |forming: &Forming| forming.view.nodes().contains(node);
        let is_deciding =
            matches!(self.persisting, Some(Write { then: Persisting::FormDecided, .. }));
        if unseeded.forming.as_ref().is_some_and(involved) && !is_deciding {
            self.call_off();
        }
    }

    fn call_off(&mut self) {
        let retry = self.prng.duration(RETRY_MIN..=RETRY_MAX);
        let now = self.now;
        let Phase::Unseeded(unseeded) = &mut self.phase else { return };
        let Some(forming) = unseeded.forming.take() else { return };
        unseeded.retry_at = now + retry;
        for node in forming.view.nodes() {
            self.send(node, &Message::FormAbort(forming.id));
        }
        self.persisting = None;
        self.persist(forming.before, Persisting::FormReverted);
    }

    /// Why a node outside a view is not in one, or why a member cannot go on.
    pub(crate) fn waiting(&self) -> Option<String> {
        match &self.phase {
            Phase::Unseeded(_) if self.peers.is_empty() && self.config.nodes.len() > 1 => {
                let alone = self.may_form_alone();
                Some(format!("cut off: no other node can be heard{alone}"))
            }
            Phase::Unseeded(unseeded) => Some(unseeded.waiting.clone()),
            Phase::Out => Some("stopping everything after being left out of the view".into()),
            Phase::Member(membership) => self.no_quorum_reason(membership),
        }
    }

    fn may_form_alone(&self) -> String {
        let Phase::Unseeded(unseeded) = &self.phase else { return String::new() };
        if unseeded.waiting.is_empty() { String::new() } else { format!("; {}", unseeded.waiting) }
    }
}
