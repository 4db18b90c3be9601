//! The change of views: one Paxos instance per view, decided by its members.
//!
//! ```text
//!  coordinator                          other members
//!      │── Prepare(ballot) ──────────────────►│  seals: no order, ack, evidence from here on
//!      │◄───────────────── Promise(log, ages) │
//!      │   value = (those who promised, joiners, shortest log, waits)
//!      │── Accept(ballot, value) ────────────►│
//!      │◄──────────────────── Accepted(ballot)│
//!      │── Decided(value) ───────────────────►│  record, deliver up to the cut, enter
//! ```
//!
//! Whoever promised is in the new view, whoever did not is not: the fence wait rests on it. The
//! coordinator is the hub of the value it proposes, so that hub–member connectivity is given by
//! construction; broken paths between two other members harm nobody.
//!
//! *Who starts* and *who answers* only protect progress (nobody badly connected deposes a good
//! hub); safety never depends on them.

use core::time::Duration;
use std::collections::BTreeMap;

use base::{Incarnation, Instant, Member, NodeId, NodeSet, View};

use crate::asking::{Asked, is_most_arbiters};
use crate::tie::{self, Vote};
use crate::wire::{self, Absence, Ballot, Message, Promise, Scope, Standing, Value, Wait};
use crate::{Group, Membership, Output, Persisting, Phase, Timer, Write};

/// Between the attempts of two candidates of neighbouring rank.
const RANK_DELAY: Duration = Duration::from_millis(30);
/// After a lost ballot, so that duels end.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(200);
/// How often a peer that lags behind is told so.
pub(crate) const TELL_INTERVAL: Duration = Duration::from_millis(500);

/// An attempt of this node to decide the successor.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) ballot: Ballot,
    pub(crate) since: Instant,
    promises: BTreeMap<NodeId, Promise>,
    /// Once the value is chosen: it, who has accepted it, and who must have.
    pub(crate) proposal: Option<Proposal>,
    /// Once the arbiters are asked, which happens only at exactly half.
    pub(crate) asked: Option<Asked>,
}

/// What a coordinator may do with the promises that it has.
enum Choice {
    /// Propose this, to be accepted by a quorum or by all of these.
    Value(Value, Option<NodeSet>),
    /// The same as soon as the arbiters have promised as well.
    Arbiters,
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) value: Value,
    accepted: NodeSet,
    /// A return is decided by all living members, not by a quorum.
    unanimous: Option<NodeSet>,
}

impl Group {
    /// Whether a change is wanted, by whom, and when.
    pub(crate) fn consider_change(&mut self) {
        let Phase::Member(membership) = &self.phase else { return };
        if self.persisting.is_some() {
            return;
        }
        if self.leaving && self.everybody_leaves(&membership.view) {
            // Nobody in reach could let it go. Nothing runs here, and the guard's goodbye says so;
            // a view that all members leave ends as it is, and they found the next one.
            self.phase = Phase::Out;
            return self.outputs.push_back(Output::Left);
        }
        if membership.attempt.is_some() {
            return self.continue_attempt();
        }
        if membership.log.disk_is_stuck(self.now, self.config.timing.stall) {
            // It could not record what it decides.
            return;
        }
        let Some(delay) = self.wanted(membership) else {
            let Phase::Member(membership) = &mut self.phase else { return };
            membership.wanted_since = None;
            return;
        };
        let now = self.now;
        let Phase::Member(membership) = &mut self.phase else { return };
        let since = *membership.wanted_since.get_or_insert(now);
        let start = (since + delay).max(membership.backoff_until);
        if now < start {
            self.wake_at(start, Timer::Change);
        } else if self.can_decide() {
            self.prepare();
        }
    }

    /// If this node wants a change: how long it gives better candidates first.
    fn wanted(&self, membership: &Membership) -> Option<Duration> {
        let view = &membership.view;
        let timing = &self.config.timing;
        let reach = self.reach(view);
        let rank_delay = RANK_DELAY * self.rank(view, reach) as u32;
        let hub_leaves = |hub| self.standing(hub) == Some(Standing::Leaving);
        if view.hub == self.local().node {
            let lost = !view.nodes().difference(reach).is_empty();
            let leaving =
                reach.into_iter().any(|node| self.standing(node) == Some(Standing::Leaving));
            let stalled = !self.expelled(membership, reach).is_empty();
            if lost && self.somebody_reaches_more(view, reach) {
                // It may only not have noticed yet that the lost one is gone. If it really
                // reaches more it takes over before this has passed.
                return Some(timing.path_timeout + timing.heartbeat_high * 2);
            }
            if self.leaving && view.members.len() > 1 {
                // Another member takes over and lets this one go.
                return membership.sealed_at.map(|_| timing.collect * 4);
            }
            // Another tie-breaker counts from the next view on.
            let tie_changes = view.tie != self.config.tie;
            if lost || leaving || stalled || tie_changes || !self.ready_joiners(view).is_empty() {
                return Some(Duration::ZERO);
            }
            if membership.sealed_at.is_some() {
                return Some(rank_delay);
            }
            // A member that sealed itself for a change that did not come about acknowledges
            // nothing more; only another change sets it free.
            let is_sealed = |node: NodeId| self.standing(node) == Some(Standing::Sealed);
            return reach.into_iter().any(is_sealed).then_some(timing.collect);
        }
        if !reach.contains(view.hub) || hub_leaves(view.hub) {
            return Some(rank_delay);
        }
        let hub_reach = self.row(view.hub).intersection(view.nodes());
        let covers_more = hub_reach.is_subset(reach) && !reach.is_subset(hub_reach);
        if covers_more {
            return Some(timing.heartbeat_high * 3 + rank_delay);
        }
        let Some(sealed_at) = membership.sealed_at else {
            // A hub that has sealed itself and leads no change orders nothing: its disk is stuck.
            let is_sealed = self.standing(view.hub) == Some(Standing::Sealed);
            return is_sealed.then_some(timing.stall + rank_delay);
        };
        // Sealed by somebody who did not go on.
        let patience = timing.collect * 2 + RANK_DELAY * 2;
        let waited = self.now.since(sealed_at);
        Some(patience.saturating_sub(waited) + rank_delay)
    }

    /// The members of `view`, in the lives that it names, that this node reaches; itself included.
    pub(crate) fn reach(&self, view: &View) -> NodeSet {
        let members = view.members.iter();
        let here = members.filter(|member| **member == self.local() || self.connected(**member));
        here.map(|member| member.node).collect()
    }

    /// The members of `view` that are there as far as this node knows: those that it reaches itself,
    /// and those that its hub reaches.
    pub(crate) fn present(&self, view: &View) -> NodeSet {
        let reach = self.reach(view);
        let leads = reach.contains(view.hub)
            && self.peers.get(&view.hub).is_some_and(|peer| {
                let digest = &peer.digest;
                let scope = Scope { lineage: digest.lineage, generation: digest.generation };
                digest.standing == Standing::Member && scope == Scope::of(view)
            });
        if leads { reach.union(self.row(view.hub).intersection(view.nodes())) } else { reach }
    }

    fn everybody_leaves(&self, view: &View) -> bool {
        let others = self.reach(view).into_iter().filter(|node| *node != self.local().node);
        let goes = |standing| matches!(standing, Some(Standing::Leaving | Standing::Out));
        others.map(|node| self.standing(node)).all(goes)
    }

    /// Whom a connected peer says that it reaches, itself included.
    pub(crate) fn row(&self, node: NodeId) -> NodeSet {
        let mut row = self.peers.get(&node).map_or(NodeSet::EMPTY, |peer| peer.row);
        row.insert(node);
        row
    }

    pub(crate) fn standing(&self, node: NodeId) -> Option<Standing> {
        self.peers.get(&node).map(|peer| peer.digest.standing)
    }

    /// Whether another reachable member claims to reach all that this one does, and more.
    fn somebody_reaches_more(&self, view: &View, reach: NodeSet) -> bool {
        reach.into_iter().filter(|node| *node != self.local().node).any(|node| {
            let row = self.row(node).intersection(view.nodes());
            reach.is_subset(row) && !row.is_subset(reach)
        })
    }

    /// This node's place among the reachable members: the best connected first, then the senior.
    fn rank(&self, view: &View, reach: NodeSet) -> usize {
        let local = self.local().node;
        let order = |node: NodeId| {
            let row = if node == local { reach } else { self.row(node).intersection(view.nodes()) };
            let seniority = view.members.iter().position(|member| member.node == node);
            (usize::MAX - row.len(), seniority)
        };
        let own = order(local);
        let able = |node: &NodeId| self.standing(*node) != Some(Standing::Leaving);
        reach.into_iter().filter(able).filter(|node| order(*node) < own).count()
    }

    /// Whether the members in reach could decide, so that sealing them is of use.
    fn can_decide(&self) -> bool {
        let Phase::Member(membership) = &self.phase else { return false };
        let able = self.able(membership);
        self.may_have_quorum(&membership.view, able) || self.returned(membership, able).is_some()
    }

    /// The stalled members in reach that the others can go on without. One without which nobody
    /// can decide is waited for.
    fn expelled(&self, membership: &Membership, reach: NodeSet) -> NodeSet {
        let rest = reach.difference(membership.expelled);
        if self.is_quorum(&membership.view, rest) {
            membership.expelled.intersection(reach)
        } else {
            NodeSet::EMPTY
        }
    }

    /// The members in reach that take part in a change.
    fn able(&self, membership: &Membership) -> NodeSet {
        let reach = self.reach(&membership.view);
        reach.difference(self.expelled(membership, reach))
    }

    pub(crate) fn vote(&self, view: &View, present: NodeSet) -> Vote {
        tie::vote(view, present, self.down)
    }

    /// Whether `present` decide by themselves.
    pub(crate) fn is_quorum(&self, view: &View, present: NodeSet) -> bool {
        self.vote(view, present) == Vote::Granted
    }

    /// Whether `present` decide by themselves, or with arbiters that this node knows how to ask.
    pub(crate) fn may_have_quorum(&self, view: &View, present: NodeSet) -> bool {
        match self.vote(view, present) {
            Vote::Granted => true,
            Vote::WithArbiters => view.tie == self.config.tie,
            Vote::Denied => false,
        }
    }

    fn prepare(&mut self) {
        let local = self.local();
        let Phase::Member(membership) = &self.phase else { return };
        let ballot = Ballot { round: membership.promised.round + 1, node: local.node.0 };
        let scope = Scope::of(&membership.view);
        let reach = self.reach(&membership.view);
        self.seal(ballot);
        let promise = self.promise();
        let now = self.now;
        let Phase::Member(membership) = &mut self.phase else { return };
        membership.wanted_since = None;
        membership.attempt = Some(Attempt {
            ballot,
            since: now,
            promises: BTreeMap::from([(local.node, promise)]),
            proposal: None,
            asked: None,
        });
        self.send_to_reachable(&Message::Prepare(scope, ballot, reach));
        self.continue_attempt();
    }

    fn send_to_reachable(&mut self, message: &Message) {
        let Phase::Member(membership) = &self.phase else { return };
        for node in self.reach(&membership.view) {
            self.send(node, message);
        }
    }

    pub(crate) fn seal(&mut self, ballot: Ballot) {
        let (now, local) = (self.now, self.local());
        let Phase::Member(membership) = &mut self.phase else { return };
        assert!(ballot >= membership.promised, "promises only rise");
        membership.promised = ballot;
        membership.attempt = None;
        if membership.sealed_at.is_none() {
            membership.sealed_at = Some(now);
            membership.evidence.freeze(&membership.view, local, now);
        }
    }

    fn promise(&self) -> Promise {
        let Phase::Member(membership) = &self.phase else { return Promise::default() };
        Promise {
            accepted: membership.accepted.clone(),
            have: membership.log.have(),
            ages: self.ages(membership),
            waits: self.lasting_waits(membership),
        }
    }

    pub(crate) fn on_prepare(&mut self, from: Member, ballot: Ballot, reach: NodeSet) {
        if self.answer_with_decision(from) {
            return;
        }
        let Phase::Member(membership) = &self.phase else { return };
        let scope = Scope::of(&membership.view);
        if ballot.node != from.node.0 || ballot <= membership.promised {
            return self.send(from.node, &Message::Refuse(scope, ballot, membership.promised));
        }
        if !self.is_acceptable(membership, from.node, reach) {
            return self.send(from.node, &Message::Refuse(scope, ballot, Ballot::default()));
        }
        self.seal(ballot);
        self.make_way();
        let promise = self.promise();
        self.send(from.node, &Message::Promise(scope, ballot, Box::new(promise)));
    }

    /// Another member's attempt gets the time that it needs, and a little more by lot: else two
    /// candidates could outbid each other for ever.
    fn make_way(&mut self) {
        let until =
            self.now + self.config.timing.collect + self.prng.duration(BACKOFF_MIN..=BACKOFF_MAX);
        let Phase::Member(membership) = &mut self.phase else { return };
        membership.backoff_until = until.max(membership.backoff_until);
    }

    /// Whether this proposer should be helped. Only progress depends on it. What it reaches is what
    /// it says now: its last heartbeat may be from before it lost somebody.
    fn is_acceptable(&self, membership: &Membership, proposer: NodeId, row: NodeSet) -> bool {
        let view = &membership.view;
        let (hub, local) = (view.hub, self.local().node);
        let reach = self.reach(view);
        let hub_row = if hub == local { reach } else { self.row(hub).intersection(view.nodes()) };
        let hub_is_gone = !reach.contains(hub) || self.is_nearly_silent(view, hub);
        let hub_leaves =
            if hub == local { self.leaving } else { self.standing(hub) == Some(Standing::Leaving) };
        let covers_more = hub_row.is_subset(row) && !row.is_subset(hub_row);
        let stuck = membership
            .sealed_at
            .is_some_and(|at| self.now.since(at) >= self.config.timing.collect * 2);
        // A hub that has sealed itself has lost its own attempt, or will not mind.
        let hub_is_sealed = self.standing(hub) == Some(Standing::Sealed);
        proposer == hub || hub_is_gone || hub_leaves || hub_is_sealed || covers_more || stuck
    }

    /// Whether a member has missed so many heartbeats that this node will soon call it lost. Others
    /// have heard its last ones up to two intervals earlier, and their change must not wait for this
    /// node: in a ring the leases of all end soon after the last word of the hub.
    fn is_nearly_silent(&self, view: &View, node: NodeId) -> bool {
        let timing = &self.config.timing;
        let patience = timing.path_timeout.saturating_sub(timing.heartbeat_high * 2);
        let member = view.members.iter().find(|member| member.node == node);
        let heard = member.and_then(|member| self.contacts.get(member));
        node != self.local().node && heard.is_some_and(|at| self.now.since(*at) > patience)
    }

    pub(crate) fn on_promise(&mut self, from: Member, ballot: Ballot, promise: Promise) {
        let Phase::Member(membership) = &self.phase else { return };
        let is_expelled = self.expelled(membership, self.reach(&membership.view));
        let is_expelled = is_expelled.contains(from.node);
        let Phase::Member(membership) = &mut self.phase else { return };
        if let Some(attempt) = &mut membership.attempt
            && attempt.ballot == ballot
            && attempt.proposal.is_none()
            && !is_expelled
        {
            attempt.promises.insert(from.node, promise);
        }
    }

    pub(crate) fn on_refuse(&mut self, ballot: Ballot, promised: Ballot) {
        let backoff = self.prng.duration(BACKOFF_MIN..=BACKOFF_MAX);
        let (now, collect) = (self.now, self.config.timing.collect);
        let Phase::Member(membership) = &mut self.phase else { return };
        if membership.attempt.as_ref().is_none_or(|attempt| attempt.ballot != ballot) {
            return;
        }
        // Whoever is not wanted as a proposer leaves time to somebody who is.
        let is_unwanted = promised == Ballot::default();
        let courtesy = if is_unwanted { collect * 2 } else { Duration::ZERO };
        // Going on without a member that refuses would expel it. The own promise stands; the next
        // round starts above what the other one has seen.
        membership.promised.round = membership.promised.round.max(promised.round);
        membership.attempt = None;
        membership.backoff_until = now + courtesy + backoff;
    }

    fn continue_attempt(&mut self) {
        let (now, collect) = (self.now, self.config.timing.collect);
        let Phase::Member(membership) = &self.phase else { return };
        let Some(attempt) = &membership.attempt else { return };
        let over = attempt.since + collect;
        match &attempt.proposal {
            None => {
                let able = self.able(membership);
                let answered: NodeSet = attempt.promises.keys().copied().collect();
                if !able.is_subset(answered) && now < over {
                    return self.wake_at(over, Timer::Change);
                }
                match self.choose(membership, attempt, answered) {
                    Choice::Value(value, unanimous) => self.propose(value, unanimous),
                    Choice::Arbiters => self.ask_for_promises(answered),
                    Choice::Nothing => self.give_up(),
                }
            }
            Some(proposal) => {
                let view = &membership.view;
                let vote = match proposal.unanimous {
                    Some(all) if all.is_subset(proposal.accepted) => Vote::Granted,
                    Some(_) => Vote::Denied,
                    None => self.vote(view, proposal.accepted),
                };
                let arbiters = || attempt.asked.as_ref().map_or(0, |asked| asked.accepted.len());
                let decided = match vote {
                    Vote::Granted => true,
                    Vote::WithArbiters => is_most_arbiters(view, arbiters()),
                    Vote::Denied => false,
                };
                if decided {
                    let value = proposal.value.clone();
                    self.announce_decision(&value);
                    return self.install(value);
                }
                let patience = self.config.timing.tie_budget * 2;
                let until = match &attempt.asked {
                    Some(asked) if asked.accepting => asked.since + patience,
                    _ => over + collect,
                };
                if vote == Vote::WithArbiters && self.ask_for_acceptance() {
                    return;
                }
                if now >= until {
                    self.give_up();
                } else {
                    self.wake_at(until, Timer::Change);
                }
            }
        }
    }

    pub(crate) fn give_up(&mut self) {
        let backoff = self.prng.duration(BACKOFF_MIN..=BACKOFF_MAX);
        let now = self.now;
        let Phase::Member(membership) = &mut self.phase else { return };
        membership.attempt = None;
        membership.backoff_until = now + backoff;
        self.wake_at(now + backoff, Timer::Change);
    }

    /// What these promises allow.
    fn choose(&self, membership: &Membership, attempt: &Attempt, answered: NodeSet) -> Choice {
        let of_arbiters = attempt.asked.iter().flat_map(|asked| asked.promised.values().flatten());
        let vote = self.vote(&membership.view, answered);
        if vote != Vote::Granted
            && let Some(returned) = self.returned(membership, answered)
        {
            return match self.compose(membership, attempt, answered, Some(returned)) {
                Some(value) => Choice::Value(value, Some(answered)),
                None => Choice::Nothing,
            };
        }
        let promised = attempt.asked.as_ref().map_or(0, |asked| asked.promised.len());
        match vote {
            Vote::Granted => {}
            Vote::WithArbiters if is_most_arbiters(&membership.view, promised) => {}
            Vote::WithArbiters if self.may_have_quorum(&membership.view, answered) => {
                return Choice::Arbiters;
            }
            Vote::WithArbiters | Vote::Denied => return Choice::Nothing,
        }
        let of_members = attempt.promises.values().filter_map(|promise| promise.accepted.as_ref());
        let newest = of_members.chain(of_arbiters).max_by_key(|(ballot, _)| *ballot);
        let value = match newest {
            // It may have been decided: finish it.
            Some((_, value)) => Some(value.clone()),
            None => self.compose(membership, attempt, answered, None),
        };
        value.map_or(Choice::Nothing, |value| Choice::Value(value, None))
    }

    /// If all members of the view that are not in `living` are back in newer lives that have
    /// recorded no later view: those newer lives. Then no quorum of this view can ever form, none
    /// has been installed, and the living decide alone (protocol, rule C2).
    pub(crate) fn returned(&self, membership: &Membership, living: NodeSet) -> Option<Vec<Member>> {
        let scope = Scope::of(&membership.view);
        let gone = membership.view.members.iter().filter(|member| !living.contains(member.node));
        gone.map(|member| {
            let peer = self.peers.get(&member.node)?;
            let newer = peer.incarnation > member.incarnation;
            let unseeded = peer.digest.standing == Standing::Unseeded;
            // One without any record may have forgotten a later view, in which others live.
            let no_later = peer.digest.record.is_some_and(|(lineage, generation, _)| {
                lineage == scope.lineage && generation <= scope.generation
            });
            let back = Member { node: member.node, incarnation: peer.incarnation };
            (newer && unseeded && no_later).then_some(back)
        })
        .collect()
    }

    fn compose(
        &self,
        membership: &Membership,
        attempt: &Attempt,
        answered: NodeSet,
        returned: Option<Vec<Member>>,
    ) -> Option<Value> {
        let old = &membership.view;
        let step = if returned.is_some() { 2 } else { 1 };
        let generation = old.generation + step;
        let leaves = |node: NodeId| {
            if node == self.local().node {
                self.leaving
            } else {
                self.standing(node) == Some(Standing::Leaving)
            }
        };
        let promised = old.members.iter().copied().filter(|member| answered.contains(member.node));
        let (left, stay): (Vec<Member>, Vec<Member>) = promised.partition(|m| leaves(m.node));
        let mut joiners = returned.unwrap_or_else(|| self.ready_joiners(old));
        // A node that promised and then came back in a newer life joins in the next change.
        joiners.retain(|joiner| !answered.contains(joiner.node));
        let members: Vec<Member> = stay.iter().chain(&joiners).copied().collect();
        let senior = stay.first()?.node;
        let trim = attempt.promises.values().map(|promise| promise.have).min()?;
        let hub = if self.leaving { senior } else { self.local().node };
        let tie = self.config.tie;
        let view = View { lineage: old.lineage, generation, members, hub, tie };
        let waits = self.compose_waits(membership, attempt, &view, &left);
        let trim_hash = membership.log.hash(trim);
        Some(Value { view, joiners, left, trim, trim_hash, waits })
    }

    /// Newly lost members are waited for from the youngest contact among the promises, with them or
    /// with their lost hub; waits that run already go on. A node that is back in a newer life answers for its former ones itself.
    fn compose_waits(
        &self,
        membership: &Membership,
        attempt: &Attempt,
        view: &View,
        left: &[Member],
    ) -> Vec<Wait> {
        let mut waits: BTreeMap<Absence, Wait> = BTreeMap::new();
        for wait in attempt.promises.values().flat_map(|promise| &promise.waits) {
            let youngest = waits.entry(wait.absence).or_insert(*wait);
            youngest.age_ms = wait.age_ms.min(youngest.age_ms);
        }
        let old = &membership.view;
        for member in &old.members {
            if view.has(*member) || left.contains(member) {
                continue;
            }
            // A hub that has not promised may have relayed its evidence to whom it heard.
            let hub = Some(old.hub).filter(|hub| !attempt.promises.contains_key(hub));
            let counts = |node: NodeId| node == member.node || Some(node) == hub;
            let ages = attempt.promises.values().flat_map(|promise| &promise.ages);
            let youngest = ages.filter(|(node, _)| counts(*node)).map(|(_, age)| *age).min();
            let absence = Absence {
                node: member.node,
                incarnation: member.incarnation,
                generation: view.generation,
            };
            let age_ms = youngest.unwrap_or(0);
            waits.insert(absence, Wait { absence, age_ms, is_lapsed: false });
        }
        let here = view.nodes();
        waits.into_values().filter(|wait| !here.contains(wait.absence.node)).collect()
    }

    fn propose(&mut self, value: Value, unanimous: Option<NodeSet>) {
        let (now, local) = (self.now, self.local().node);
        let Phase::Member(membership) = &mut self.phase else { return };
        let scope = Scope::of(&membership.view);
        let Some(attempt) = &mut membership.attempt else { return };
        let ballot = attempt.ballot;
        membership.accepted = Some((ballot, value.clone()));
        attempt.since = now;
        attempt.proposal = Some(Proposal {
            value: value.clone(),
            accepted: NodeSet::from_iter([local]),
            unanimous,
        });
        self.send_to_reachable(&Message::Accept(scope, ballot, Box::new(value)));
        self.continue_attempt();
    }

    pub(crate) fn on_accept(&mut self, from: Member, ballot: Ballot, value: Value) {
        if self.answer_with_decision(from) {
            return;
        }
        let Phase::Member(membership) = &self.phase else { return };
        let scope = Scope::of(&membership.view);
        if ballot < membership.promised {
            return self.send(from.node, &Message::Refuse(scope, ballot, membership.promised));
        }
        self.seal(ballot);
        self.make_way();
        let Phase::Member(membership) = &mut self.phase else { return };
        membership.accepted = Some((ballot, value));
        self.send(from.node, &Message::Accepted(scope, ballot));
    }

    pub(crate) fn on_accepted(&mut self, from: Member, ballot: Ballot) {
        let Phase::Member(membership) = &mut self.phase else { return };
        let Some(attempt) = &mut membership.attempt else { return };
        if let (true, Some(proposal)) = (attempt.ballot == ballot, &mut attempt.proposal) {
            proposal.accepted.insert(from.node);
        }
    }

    /// While the decided view is on its way to the disk, whoever asks about the old one is told.
    fn answer_with_decision(&mut self, from: Member) -> bool {
        let Phase::Member(membership) = &self.phase else { return false };
        let Some(Write { then: Persisting::Install(value) | Persisting::Leave(value), .. }) =
            &self.persisting
        else {
            return false;
        };
        let message = Message::Decided(Scope::of(&membership.view), value.clone());
        self.send(from.node, &message);
        true
    }

    fn announce_decision(&mut self, value: &Value) {
        let Phase::Member(membership) = &self.phase else { return };
        let scope = Scope::of(&membership.view);
        self.send_to_reachable(&Message::Decided(scope, Box::new(value.clone())));
    }

    /// A peer whose newest record is the very value that was accepted here proves that it was
    /// decided.
    pub(crate) fn check_record_of(&mut self, member: Member) {
        let Phase::Member(membership) = &self.phase else { return };
        let Some((_, value)) = &membership.accepted else { return };
        let record = self.peers.get(&member.node).and_then(|peer| peer.digest.record);
        let view = &value.view;
        if record == Some(wire::name(view)) {
            let value = value.clone();
            self.install(value);
        }
    }

    /// The successor is decided.
    pub(crate) fn install(&mut self, value: Value) {
        let local = self.local();
        let Phase::Member(membership) = &mut self.phase else { return };
        if self.persisting.is_some() {
            return;
        }
        // Whoever has accepted a return takes no decision of the generation that it skips: that
        // was installed nowhere, and comes late from a life that has ended.
        let skips = |accepted: &(Ballot, Value)| accepted.1.view.generation > value.view.generation;
        if membership.accepted.as_ref().is_some_and(skips) {
            return;
        }
        assert!(
            value.view.lineage == membership.view.lineage
                && value.view.generation > membership.view.generation,
            "a successor comes later in the same history"
        );
        if membership.sealed_at.is_none() {
            // Decided without this member's promise; it must not order on in the old view.
            let ballot = membership.promised;
            self.seal(ballot);
        }
        let Phase::Member(membership) = &mut self.phase else { return };
        membership.attempt = None;
        if value.view.has(local) {
            let have = membership.log.have();
            assert!(have >= value.trim, "whoever promised holds everything up to the cut");
            assert_eq!(membership.log.hash(value.trim), value.trim_hash, "logs of a view agree");
            self.persist(Some(value.view.clone()), Persisting::Install(Box::new(value)));
        } else if value.left.contains(&local) {
            let record = Some(value.view.clone());
            self.persist(record, Persisting::Leave(Box::new(value)));
        } else {
            let generation = value.view.generation;
            let hub = value.view.hub;
            self.exclude(format!("left out by {hub} in generation {generation}"));
        }
    }
}

/// Any life of a node that is not there when a first view is formed.
pub(crate) fn any_life(node: NodeId, generation: u64) -> Absence {
    Absence { node, incarnation: Incarnation(u64::MAX), generation }
}
