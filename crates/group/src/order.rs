//! Total order: the hub numbers, all members hold, the hub commits.
//!
//! ```text
//!   member            hub                    other members
//!     │──Submit──────►│
//!     │◄──────Order───┼──Order──────────────►│
//!     │──Ack─────────►│◄─────────────────Ack─│
//!     │◄──────Order───┼──Order (commit)─────►│     deliver
//! ```
//!
//! An entry is committed only when *every* member of the view holds it, so a view change may cut
//! the log at the shortest log among those who promised and loses nothing that was delivered
//! (protocol: uniform delivery, the contract of VERITAS GAB). There are no terms and no log
//! repair: within a view there is one hub, and its channel to each member is reliable and
//! ordered.
//!
//! Numbers are dense per origin. The hub takes only the next one, so that a submission that is
//! repeated after a view change is ordered once.

use core::time::Duration;
use std::collections::BTreeMap;
use std::collections::VecDeque;

use base::{Instant, Member, NodeId, NodeSet, codec};

use crate::wire::{self, Content, Entry, Message, Order, Proof, Scope};
use crate::{Durable, Group, Membership, Output, Phase};

/// Entries ordered and not yet committed in one view.
const UNCOMMITTED_ENTRIES_MAX: u64 = 256;
/// Their bytes; one entry is always let through.
const UNCOMMITTED_BYTES_MAX: usize = 256 << 10;
/// Bytes of entries in one `Order` message; one entry is always let through.
const BATCH_BYTES_MAX: usize = 32 << 10;

/// The log of one view.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Entries that are not delivered here yet, each with the hash chain up to it. What is
    /// delivered is on every member, and no view change cuts below it.
    entries: VecDeque<(Entry, u64)>,
    delivered: u64,
    delivered_hash: u64,
    /// Everything up to here may be delivered.
    commit: u64,
    /// The durable entry that the disk has not taken yet. Later ones wait.
    at_disk: Option<AtDisk>,
    /// The newest durable entry that the disk has taken, by sequence.
    on_disk: u64,
    /// The last acknowledgement sent to the hub.
    acknowledged: u64,
    /// Hub: what each other member holds, and since when it has held no more.
    held: BTreeMap<NodeId, (u64, Instant)>,
    /// Hub: entries sent to the others, and the commit point that they know.
    sent: u64,
    sent_commit: u64,
    /// Hub: submissions that the windows do not let through yet.
    queue: VecDeque<Entry>,
}

/// A durable entry on its way to the disk.
#[derive(Clone, Copy, Debug)]
struct AtDisk {
    sequence: u64,
    token: u64,
    since: Instant,
}

impl Log {
    /// The log at the start of a view; `others` are the members that the hub waits for.
    pub(crate) fn new(others: impl Iterator<Item = NodeId>, now: Instant) -> Log {
        Log { held: others.map(|node| (node, (0, now))).collect(), ..Log::default() }
    }

    /// How many entries this member holds, on disk where they have to be.
    pub(crate) fn have(&self) -> u64 {
        match self.at_disk {
            Some(entry) => entry.sequence - 1,
            None => self.len(),
        }
    }

    /// Whether the disk has not taken an entry for so long.
    pub(crate) fn disk_is_stuck(&self, now: Instant, stall: Duration) -> bool {
        self.at_disk.is_some_and(|entry| now.since(entry.since) > stall)
    }

    /// The hash chain over the first `count` entries.
    pub(crate) fn hash(&self, count: u64) -> u64 {
        assert!(count >= self.delivered, "what is delivered is never cut");
        match (count - self.delivered).checked_sub(1) {
            None => self.delivered_hash,
            Some(last) => self.entries[last as usize].1,
        }
    }

    /// What this member has received, what it holds, what is delivered, and the hash chain over
    /// the latter.
    pub(crate) fn progress(&self) -> [u64; 4] {
        [self.len(), self.have(), self.delivered, self.delivered_hash]
    }

    /// Entries that wait for delivery, and submissions that wait for a number.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        (self.entries.len(), self.queue.len())
    }

    fn len(&self) -> u64 {
        self.delivered + self.entries.len() as u64
    }

    /// The entries after this sequence.
    fn after(&self, sequence: u64) -> impl Iterator<Item = &Entry> {
        let skip = sequence.saturating_sub(self.delivered) as usize;
        self.entries.iter().skip(skip).map(|(entry, _)| entry)
    }

    fn append(&mut self, entry: Entry) {
        let hash = wire::fold(self.hash(self.len()), &codec::encode(&entry));
        self.entries.push_back((entry, hash));
    }

    fn take_first(&mut self) -> Entry {
        let (entry, hash) = self.entries.pop_front().expect("what may be delivered is held");
        self.delivered += 1;
        self.delivered_hash = hash;
        entry
    }

    /// The entries after `from` up to `to`, as many as fit into one message.
    fn batch(&self, from: u64, to: u64) -> Order {
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            bytes += entry.content.size();
            bytes <= BATCH_BYTES_MAX || bytes == entry.content.size()
        };
        let count = to.saturating_sub(from) as usize;
        let entries = self.after(from).take(count).take_while(fits).cloned().collect();
        Order { first: from + 1, commit: self.commit, entries }
    }

    fn uncommitted_bytes(&self) -> usize {
        self.after(self.commit).map(|entry| entry.content.size()).sum()
    }

    /// The last number of `origin` that is ordered or queued and not delivered.
    fn last_number(&self, origin: Member) -> Option<u64> {
        let held = self.entries.iter().map(|(entry, _)| entry).chain(&self.queue);
        held.filter(|entry| entry.origin == origin).map(|entry| entry.number).max()
    }
}

impl Group {
    pub(crate) fn submit_content(&mut self, content: Content) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        self.submissions.push_back((number, content.clone()));
        self.send_submissions(vec![Entry { origin: self.local(), number, content }]);
        number
    }

    /// After a view change: whatever was rolled back goes to the new hub.
    pub(crate) fn resubmit(&mut self) {
        let origin = self.local();
        let entries = self.submissions.iter();
        let entries: Vec<Entry> = entries
            .map(|(number, content)| Entry { origin, number: *number, content: content.clone() })
            .collect();
        let mut entries = entries.into_iter().peekable();
        while let Some(first) = entries.next() {
            let mut bytes = first.content.size();
            let mut batch = vec![first];
            while let Some(next) = entries.next_if(|next| {
                bytes += next.content.size();
                bytes <= BATCH_BYTES_MAX
            }) {
                batch.push(next);
            }
            self.send_submissions(batch);
        }
    }

    fn send_submissions(&mut self, entries: Vec<Entry>) {
        let Phase::Member(membership) = &self.phase else { return };
        let (hub, scope) = (membership.view.hub, Scope::of(&membership.view));
        let is_sealed = membership.sealed_at.is_some();
        if hub == self.local().node {
            self.on_submit(self.local(), entries);
        } else if !is_sealed {
            // A sealed member submits again in the next view, where its entries would be late.
            self.send(hub, &Message::Submit(scope, entries));
        }
    }

    pub(crate) fn on_submit(&mut self, from: Member, entries: Vec<Entry>) {
        let local = self.local();
        let Phase::Member(membership) = &mut self.phase else { return };
        if membership.view.hub != local.node || membership.sealed_at.is_some() {
            return;
        }
        for entry in entries {
            let delivered = self.delivered.get(&from).copied().unwrap_or(0);
            let last = membership.log.last_number(from).unwrap_or(0).max(delivered);
            let waiting = membership.log.queue.iter().filter(|queued| queued.origin == from);
            if entry.origin == from
                && entry.number == last + 1
                && waiting.count() < crate::SUBMISSIONS_MAX * 2
            {
                membership.log.queue.push_back(entry);
            }
        }
        self.order_queued();
    }

    fn order_queued(&mut self) {
        loop {
            let Phase::Member(membership) = &mut self.phase else { return };
            let log = &mut membership.log;
            let is_open = log.len() - log.commit < UNCOMMITTED_ENTRIES_MAX
                && (log.len() == log.commit || log.uncommitted_bytes() < UNCOMMITTED_BYTES_MAX);
            if membership.sealed_at.is_some() || !is_open {
                return;
            }
            let Some(entry) = log.queue.pop_front() else { break };
            log.append(entry);
            self.write_durable();
            self.commit_held();
        }
    }

    pub(crate) fn on_order(&mut self, from: Member, order: Order) {
        let Phase::Member(membership) = &mut self.phase else { return };
        let log = &mut membership.log;
        if from.node != membership.view.hub || membership.sealed_at.is_some() {
            return;
        }
        for (sequence, entry) in (order.first..).zip(order.entries) {
            if sequence == log.len() + 1 {
                log.append(entry);
            }
        }
        let commit = order.commit.min(log.len());
        log.commit = log.commit.max(commit);
        self.write_durable();
        self.deliver_committed();
    }

    pub(crate) fn on_ack(&mut self, from: Member, have: u64) {
        let now = self.now;
        let Phase::Member(membership) = &mut self.phase else { return };
        if membership.sealed_at.is_some() {
            return;
        }
        let length = membership.log.len();
        if let Some(held) = membership.log.held.get_mut(&from.node)
            && (held.0 + 1..=length).contains(&have)
        {
            *held = (have, now);
        }
        self.commit_held();
        self.order_queued();
    }

    /// Hub: what all members hold may be delivered.
    fn commit_held(&mut self) {
        let local = self.local().node;
        let Phase::Member(membership) = &mut self.phase else { return };
        if membership.view.hub != local || membership.sealed_at.is_some() {
            return;
        }
        let log = &mut membership.log;
        let others = log.held.values().map(|held| held.0).min();
        let commit = others.unwrap_or(u64::MAX).min(log.have());
        log.commit = log.commit.max(commit);
        self.deliver_committed();
    }

    fn deliver_committed(&mut self) {
        let Phase::Member(membership) = &mut self.phase else { return };
        let commit = membership.log.commit.min(membership.log.have());
        self.deliver_to(commit);
    }

    /// Delivers everything up to this sequence of the present log.
    pub(crate) fn deliver_to(&mut self, sequence: u64) {
        let local = self.local();
        while let Phase::Member(membership) = &mut self.phase {
            let log = &mut membership.log;
            if log.delivered >= sequence {
                break;
            }
            let entry = log.take_first();
            self.position += 1;
            let before = self.delivered.insert(entry.origin, entry.number);
            assert!(before.unwrap_or(0) < entry.number, "an entry is delivered once, in order");
            if entry.origin == local {
                let first = self.submissions.pop_front();
                assert_eq!(
                    first.map(|(number, _)| number),
                    Some(entry.number),
                    "own entries come back in the order of their submission"
                );
            }
            match entry.content {
                Content::Payload(payload) | Content::Durable(payload) => {
                    self.outputs.push_back(Output::Deliver {
                        position: self.position,
                        origin: entry.origin,
                        number: entry.number,
                        payload,
                    });
                }
                Content::Fence(absence, proof) => {
                    let Phase::Member(membership) = &mut self.phase else { return };
                    // Two hubs may both have ordered it; the first one counts, and uses up the absence.
                    // The layer above brings no proof that it could refuse by the time it is delivered.
                    let is_first = match (proof, membership.waits.get_mut(&absence)) {
                        (_, None) => false,
                        (Proof::Time, Some(absent)) => {
                            !core::mem::replace(&mut absent.is_lapsed, true)
                        }
                        (_, Some(_)) => membership.waits.remove(&absence).is_some(),
                    };
                    if is_first {
                        self.outputs.push_back(Output::Fenced { absence, proof });
                    }
                }
            }
        }
    }

    /// Hands the next durable entry that the disk has not taken to the driver.
    fn write_durable(&mut self) {
        let since = self.now;
        let Phase::Member(membership) = &mut self.phase else { return };
        let log = &mut membership.log;
        if log.at_disk.is_some() {
            return;
        }
        let start = log.on_disk.max(log.delivered);
        let mut unwritten = (start + 1..).zip(log.after(start));
        let next = unwritten.find_map(|(sequence, entry)| match &entry.content {
            Content::Durable(payload) => Some((sequence, payload.clone())),
            _ => None,
        });
        drop(unwritten);
        if let Some((sequence, payload)) = next {
            self.last_token += 1;
            log.at_disk = Some(AtDisk { sequence, token: self.last_token, since });
            self.outputs.push_back(Output::Persist {
                token: self.last_token,
                what: Durable::Entry(payload),
            });
        }
    }

    pub(crate) fn entry_persisted(&mut self, token: u64) {
        let Phase::Member(membership) = &mut self.phase else { return };
        let log = &mut membership.log;
        if let Some(entry) = log.at_disk.take_if(|entry| entry.token == token) {
            log.on_disk = entry.sequence;
            self.write_durable();
            self.commit_held();
            self.deliver_committed();
        }
    }

    /// One batch for each turn of the loop: entries to the members, or the own progress to the
    /// hub.
    pub(crate) fn flush_order(&mut self) {
        let local = self.local().node;
        let Phase::Member(membership) = &mut self.phase else { return };
        if membership.sealed_at.is_some() {
            return;
        }
        let scope = Scope::of(&membership.view);
        let Membership { view, log, .. } = &mut **membership;
        let mut messages = Vec::new();
        if view.hub == local {
            while log.sent < log.len() || log.sent_commit < log.commit {
                let order = log.batch(log.sent.max(log.delivered), log.len());
                log.sent = order.first - 1 + order.entries.len() as u64;
                log.sent_commit = log.commit;
                messages.push(Message::Order(scope, order));
            }
            let others: NodeSet = log.held.keys().copied().collect();
            for message in messages {
                for other in others {
                    self.send(other, &message);
                }
            }
        } else if log.have() > log.acknowledged {
            log.acknowledged = log.have();
            let (hub, message) = (view.hub, Message::Ack(scope, log.acknowledged));
            self.send(hub, &message);
        }
    }

    /// A member can be reached again: what was meant for it meanwhile was not sent, or is lost with
    /// a channel that broke. Whatever comes twice is recognised by its number.
    pub(crate) fn catch_up(&mut self, member: Member) {
        let local = self.local().node;
        let Phase::Member(membership) = &mut self.phase else { return };
        if membership.sealed_at.is_some() || !membership.view.has(member) {
            return;
        }
        let scope = Scope::of(&membership.view);
        let Membership { view, log, .. } = &mut **membership;
        if view.hub == local {
            let mut orders = Vec::new();
            let (mut next, _) = log.held[&member.node];
            while next < log.sent {
                let order = log.batch(next, log.sent);
                next += order.entries.len() as u64;
                orders.push(order);
            }
            // The commit point, at least.
            orders.push(log.batch(log.sent, log.sent));
            for order in orders {
                self.send(member.node, &Message::Order(scope, order));
            }
        } else if view.hub == member.node {
            log.acknowledged = 0;
            self.resubmit();
        }
    }

    /// Hub: a member that beats but acknowledges nothing, or that never came into the view, must
    /// not stop everybody for ever.
    pub(crate) fn notice_stalled(&mut self) {
        let (now, stall, local) = (self.now, self.config.timing.stall, self.local().node);
        let Phase::Member(membership) = &mut self.phase else { return };
        if membership.view.hub != local || membership.sealed_at.is_some() {
            return;
        }
        let is_stuck = membership.log.disk_is_stuck(now, stall);
        let Phase::Member(membership) = &self.phase else { return };
        if is_stuck {
            let mut others = self.reach(&membership.view);
            others.remove(local);
            // Sealed, this member leads no change; the others take over and leave it behind. Where
            // they cannot go on without it, nothing is gained: then it is waited for.
            if self.is_quorum(&membership.view, others) {
                let ballot = membership.promised;
                self.seal(ballot);
            }
            return;
        }
        let Phase::Member(membership) = &mut self.phase else { return };
        let length = membership.log.len();
        let generation = membership.view.generation;
        for (node, held) in &mut membership.log.held {
            // One that is out of reach is lost, not stalled.
            let peer = self.peers.get(node);
            let is_here = peer.is_none_or(|peer| peer.digest.generation == generation);
            if peer.is_none() || held.0 == length && is_here {
                held.1 = now;
            } else if now.since(held.1) > stall {
                membership.expelled.insert(*node);
            }
        }
    }
}
