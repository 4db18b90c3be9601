//! What a node cannot run for now although nothing has failed there.
//!
//! A service address needs an interface that carries its subnet. Whether there is one is no property
//! of the service, and it changes by itself: a cable is pulled and put back, a switch restarts. So it
//! is nothing that an operator has to clear. Each member says which services it cannot run and why,
//! whenever that changes; nothing is placed there until it says otherwise.
//!
//! A service that runs on such a node is moved only when that helps: when another node of its list
//! can run it, and the inability has **lasted** ([`LASTS_AFTER`]). A switch that fails takes the
//! carrier from all nodes, though not in the same instant; whoever looks at the first report alone
//! would move everything to a node that is about to fail in the same way (design §6, "local or global
//! failure"). When the switch returns, the carriers come back one after the other as well: a node that
//! can run a service again is good enough for one that runs nowhere, but nothing moves to it before
//! its inability has been **over** for the same time. That time doubles when the next
//! inability ends within ten minutes of it, so that a cable with a loose contact does not carry
//! services to and fro. A start that waited in vain for the network is an inability that ended as it
//! was noticed, and counts in the same way.
//!
//! These times are measured by the node itself, so that no clock gets into the replicated state: it says
//! each step.

use core::time::Duration;
use std::collections::BTreeMap;

use base::limits::{NAME_SIZE_MAX, SERVICES_MAX};
use base::{Instant, Member, NodeId};
use minicbor::{Decode, Encode};

use crate::intent::list;
use crate::journal::{Rule, bounded};
use crate::observation::Observation;
use crate::plan;
use crate::replica::{Context, Draft, Replica};

#[cfg(test)]
mod tests;

/// How long a node must have been unable to run a service before the service moves away from it, and
/// able again before a service moves to it.
pub const LASTS_AFTER: Duration = Duration::from_secs(1);

/// Whoever was able for so long beyond the time in which that was watched is trusted again.
const RETURNS_WINDOW: Duration = Duration::from_secs(600);
/// The longest that an inability is watched after its end.
const OVER_MAX: Duration = Duration::from_secs(256);
/// Bytes of a reason; the state holds one for each node and service.
pub(crate) const INABILITY_SIZE_MAX: usize = 64;
/// Inabilities of all nodes together: what is beyond is found out by a start that does not succeed.
/// With the longest names 2.2 MB, which a snapshot can carry.
pub const INABILITIES_MAX: usize = 16_384;

/// Why a node cannot run a service for now.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Inability {
    /// In words.
    #[n(0)]
    pub reason: String,
    /// How far it has come.
    #[n(1)]
    pub stage: Stage,
}

/// How far an inability has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Stage {
    /// It has just begun.
    #[n(0)]
    New,
    /// It has been so for [`LASTS_AFTER`]: a service that runs there moves if it can.
    #[n(1)]
    Lasting,
    /// It ended less than [`LASTS_AFTER`] ago.
    #[n(2)]
    Over,
}

impl Inability {
    /// Whether the service cannot be started there.
    #[must_use]
    pub fn is_now(&self) -> bool {
        self.stage != Stage::Over
    }
}

/// What a node cannot run, by service.
pub(crate) type Inabilities = BTreeMap<String, Inability>;

/// What this node cannot run, as it sees it itself, and what it has told the others.
#[derive(Debug, Default)]
pub(crate) struct Own {
    seen: BTreeMap<String, Seen>,
    /// Inabilities that ended lately.
    ended: BTreeMap<String, Ended>,
    /// Submitted and not delivered yet.
    said: Option<Inabilities>,
}

#[derive(Debug)]
struct Seen {
    reason: String,
    is_over: bool,
    /// Since when it is so, or over.
    since: Instant,
    /// After so long it lasts, or is forgotten.
    lasts: Duration,
}

/// How an inability of a service ended the last time.
#[derive(Debug)]
struct Ended {
    at: Instant,
    /// For how long that was watched.
    watched: Duration,
}

impl Own {
    /// A new picture: services with the reason why they cannot run here.
    pub(crate) fn see(&mut self, now: Instant, picture: BTreeMap<String, String>) {
        for (name, seen) in &mut self.seen {
            if !seen.is_over && !picture.contains_key(name) {
                (seen.is_over, seen.since) = (true, now);
                seen.lasts = ended(&mut self.ended, now, name);
            }
        }
        for (name, reason) in picture {
            let fresh =
                || Seen { reason: String::new(), is_over: true, since: now, lasts: LASTS_AFTER };
            let seen = self.seen.entry(name).or_insert_with(fresh);
            if seen.is_over {
                (seen.is_over, seen.since, seen.lasts) = (false, now, LASTS_AFTER);
            }
            seen.reason = reason;
        }
    }

    /// A start waited in vain for what the picture shows as whole.
    pub(crate) fn in_vain(&mut self, now: Instant, service: &str, reason: &str) {
        if self.reason(service).is_some() {
            return;
        }
        let lasts = ended(&mut self.ended, now, service);
        let seen = Seen { reason: reason.to_owned(), is_over: true, since: now, lasts };
        self.seen.insert(service.to_owned(), seen);
    }

    /// Why a service cannot run here.
    pub(crate) fn reason(&self, service: &str) -> Option<&str> {
        let seen = self.seen.get(service).filter(|seen| !seen.is_over);
        seen.map(|seen| seen.reason.as_str())
    }

    /// What the others must be told, if they know it otherwise; told once.
    pub(crate) fn news(
        &mut self,
        now: Instant,
        known: Option<&Inabilities>,
    ) -> Option<Inabilities> {
        self.seen.retain(|_, seen| !seen.is_over || now < seen.since + seen.lasts);
        self.ended.retain(|_, last| last.is_recent(now));
        let own: Inabilities = (self.seen.iter())
            .map(|(name, seen)| {
                let stage = match seen.is_over {
                    true => Stage::Over,
                    false if now < seen.since + seen.lasts => Stage::New,
                    false => Stage::Lasting,
                };
                (name.clone(), Inability { reason: shortened(&seen.reason), stage })
            })
            .collect();
        // Other words for the same are no news.
        let is_same = |other: &Inabilities| {
            let stages = |all: &Inabilities| {
                all.iter().map(|(name, why)| (name.clone(), why.stage)).collect::<Vec<_>>()
            };
            stages(other) == stages(&own)
        };
        let is_told = match &self.said {
            Some(said) => is_same(said),
            None => is_same(known.unwrap_or(&Inabilities::new())),
        };
        if is_told {
            return None;
        }
        self.said = Some(own.clone());
        Some(own)
    }

    /// An entry of this node was delivered.
    pub(crate) fn delivered(&mut self, services: &Inabilities) {
        if self.said.as_ref() == Some(services) {
            self.said = None;
        }
    }

    /// What was said in another view, or before a snapshot, may not have arrived.
    pub(crate) fn forget(&mut self) {
        self.said = None;
    }

    /// When the next inability begins to last, or is forgotten.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let due = self.seen.values().map(|seen| seen.since + seen.lasts);
        due.filter(|due| *due > now).min()
    }
}

impl Ended {
    fn is_recent(&self, now: Instant) -> bool {
        now < self.at + self.watched + RETURNS_WINDOW
    }
}

/// An inability has ended once more: how long that is watched.
fn ended(ended: &mut BTreeMap<String, Ended>, now: Instant, service: &str) -> Duration {
    let watched = match ended.get(service).filter(|last| last.is_recent(now)) {
        Some(last) => OVER_MAX.min(last.watched * 2),
        None => LASTS_AFTER,
    };
    ended.insert(service.to_owned(), Ended { at: now, watched });
    watched
}

impl Replica {
    /// A member says what it cannot run.
    pub(crate) fn unable(&mut self, context: &mut Context, origin: Member, services: Inabilities) {
        let node = origin.node;
        if self.observation.member(node) != Some(origin) {
            return;
        }
        let services: Inabilities = services
            .into_iter()
            .filter(|(name, _)| name.len() <= NAME_SIZE_MAX)
            .take(SERVICES_MAX.min(self.observation.inabilities_left(node)))
            .map(|(name, why)| (name, Inability { reason: shortened(&why.reason), ..why }))
            .collect();
        let before = match services.is_empty() {
            true => self.observation.unable.remove(&node),
            false => self.observation.unable.insert(node, services.clone()),
        };
        let before = before.unwrap_or_default();
        let is_now =
            |all: &Inabilities, name: &String| all.get(name).is_some_and(Inability::is_now);
        let name = self.intent.name_of(node);
        let new =
            services.iter().filter(|(one, _)| is_now(&services, one) && !is_now(&before, one));
        let over = before.keys().filter(|one| is_now(&before, one) && !is_now(&services, one));
        let mut parts = Vec::new();
        if let Some((_, first)) = new.clone().next() {
            let names = list(new.map(|(service, _)| service.as_str()));
            parts.push(format!("{name} cannot run {names} now: {}", first.reason));
        }
        if over.clone().next().is_some() {
            parts.push(format!("{name} can run {} again", list(over)));
        }
        if parts.is_empty() {
            let mut lasting = services.values().filter(|why| why.stage == Stage::Lasting);
            let seconds = plan::seconds(LASTS_AFTER);
            parts.push(match lasting.next() {
                Some(why) => format!("{name} has been unable for {seconds}: {}", why.reason),
                None => format!("{name} has been able for long enough"),
            });
        }
        let draft = Draft {
            service: None,
            because: None,
            rule: Rule::Report,
            chosen: Some(node),
            rejected: Vec::new(),
            sentence: bounded(&parts.join("; ")),
        };
        self.event(context, draft);
    }
}

impl Observation {
    /// How many inabilities this node may have, beside those of the others.
    pub(crate) fn inabilities_left(&self, node: NodeId) -> usize {
        let others = self.unable.iter().filter(|(other, _)| **other != node);
        INABILITIES_MAX.saturating_sub(others.map(|(_, services)| services.len()).sum())
    }
}

/// At most [`INABILITY_SIZE_MAX`] bytes of a reason, whole letters.
pub(crate) fn shortened(reason: &str) -> String {
    let end = (0..=INABILITY_SIZE_MAX.min(reason.len())).rev();
    let end = end.into_iter().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    reason[..end].to_owned()
}
