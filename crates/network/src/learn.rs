//! Whether the gateways have learned where an owned address is.
//!
//! An announcement has no answer: a gateway that missed all of them, or that believes none, goes on sending to
//! where the address was. It can be seen from here whether it does. An echo request from the address is answered
//! to where the gateway believes the address to be; only if that is this interface does the answer come. The
//! request itself teaches nothing: neighbours are learned from ARP and neighbour discovery, not from packets.
//!
//! A gateway that answers nobody is not accused: those that do not answer the address are asked from an own
//! address as well, and until they answer that one, nothing can be told.
//!
//! What is found changes nothing for the service. It is told, and announced against.

use core::net::IpAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use base::Instant;

use crate::machine::{Entry, Network, State};
use crate::own::ANNOUNCE_DELAYS;
use crate::subnet::contains;
use crate::{Echo, Lesson, Output, Verify};

/// What the gateways of one owned address know of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learning {
    gateways: BTreeMap<IpAddr, Gateway>,
    /// When the announcements began that this is about.
    since: Instant,
    /// Questions answered since then.
    step: usize,
    ask_at: Instant,
    /// The question on its way.
    question: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Gateway {
    /// It has not answered the address since the announcements began.
    pending: bool,
    /// How often it has answered an own address and not this one since then.
    misses: u32,
    /// What was told of it.
    lesson: Option<Lesson>,
}

impl Learning {
    /// When to ask next.
    pub(crate) fn due(&self) -> Option<Instant> {
        let is_wanted = self.question.is_none() && self.gateways.values().any(|one| one.pending);
        is_wanted.then_some(self.ask_at)
    }

    /// Begins anew. What was told stays so until something else is found.
    fn begin(&mut self, wanted: &Verify, now: Instant) {
        self.gateways.retain(|gateway, _| wanted.gateways.contains(gateway));
        for gateway in &wanted.gateways {
            let gateway = self.gateways.entry(*gateway).or_default();
            (gateway.pending, gateway.misses) = (true, 0);
        }
        self.since = now;
        self.step = 0;
        self.ask_at = now + ASK_AFTER[0];
        // What is answered now was asked before there was something to learn.
        self.question = None;
    }

    /// Takes what a question came to, and gives what is newly known of whom.
    fn answered(
        &mut self,
        result: &Result<Vec<(IpAddr, Echo)>, String>,
        now: Instant,
    ) -> Vec<(IpAddr, Lesson)> {
        self.question = None;
        self.step += 1;
        self.ask_at = match ASK_AFTER.get(self.step) {
            // Not all at once after a pause.
            Some(after) => (self.since + *after).max(now + ASK_AFTER[0]),
            None => {
                let doubled = (self.step - ASK_AFTER.len()).min(3);
                now + (ASK_SLOWLY * (1 << doubled)).min(ASK_RARELY)
            }
        };
        let is_judged = self.step >= ASK_AFTER.len();
        let took = now.since(self.since);
        let mut news = Vec::new();
        for (address, gateway) in self.gateways.iter_mut().filter(|(_, one)| one.pending) {
            let answers = result.as_ref().map(|all| all.iter().find(|(from, _)| from == address));
            let echo = match answers {
                Ok(Some((_, echo))) => Ok(*echo),
                Ok(None) => Ok(Echo::Neither),
                Err(why) => Err(why),
            };
            let lesson = match echo {
                Ok(Echo::Service) => {
                    gateway.pending = false;
                    Some(Lesson::Learned { took })
                }
                Ok(Echo::Own) => {
                    gateway.misses += 1;
                    None
                }
                Ok(Echo::Neither | Echo::Unasked) | Err(_) => None,
            };
            let lesson = lesson.or_else(|| match (is_judged, gateway.misses >= MISSES, echo) {
                (false, ..) => None,
                (true, true, _) => Some(Lesson::NotLearned),
                // What was found before stands, and what is about to be found is not told twice.
                (true, false, Ok(Echo::Own)) => None,
                (true, false, Ok(Echo::Unasked)) => {
                    let why = "what it is asked does not leave this node".to_owned();
                    Some(Lesson::Untold { why })
                }
                (true, false, Ok(_)) => {
                    Some(Lesson::Untold { why: "it answers no address of this node".to_owned() })
                }
                (true, false, Err(why)) => {
                    Some(Lesson::Untold { why: format!("it cannot be asked: {why}") })
                }
            });
            let Some(lesson) = lesson else { continue };
            let is_same = match (&gateway.lesson, &lesson) {
                // As it should be: no news, or hundreds of them after a takeover.
                (None | Some(Lesson::Learned { .. }), Lesson::Learned { .. }) => true,
                // Silence takes no accusation back.
                (Some(Lesson::NotLearned), Lesson::Untold { .. }) => continue,
                (before, lesson) => before.as_ref() == Some(lesson),
            };
            gateway.lesson = Some(lesson.clone());
            if !is_same {
                news.push((*address, lesson));
            }
        }
        news
    }

    fn has_ignorant(&self) -> bool {
        self.gateways.values().any(|one| one.lesson == Some(Lesson::NotLearned))
    }
}

impl State {
    /// The gateways that are asked about an address in this state.
    pub(crate) fn lessons(&self) -> Vec<(IpAddr, Option<Lesson>)> {
        let State::Owned(owned) = self else { return Vec::new() };
        let gateways = owned.learning.gateways.iter();
        gateways.map(|(address, one)| (*address, one.lesson.clone())).collect()
    }
}

impl Network {
    /// The announcements of an owned address have begun: its gateways have something to learn.
    pub(crate) fn begin_asking(&mut self, address: IpAddr) {
        let now = self.now;
        let wanted = self.verify.get(&address).cloned();
        let interface = self.owned(address).place.interface;
        // Where nothing is announced there is nothing to be learned.
        let has_mac = self.interface(interface).is_some_and(|one| one.mac.is_some());
        match wanted.filter(|_| has_mac) {
            Some(wanted) => self.owned(address).learning.begin(&wanted, now),
            None => self.owned(address).learning = Learning::default(),
        }
    }

    /// Asks the gateways of an owned address when that is due.
    pub(crate) fn ask_gateways(&mut self, address: IpAddr) {
        let now = self.now;
        let owned = self.owned(address);
        if owned.learning.due().is_none_or(|at| at > now) {
            return;
        }
        let (interface, name) = (owned.place.interface, owned.name.clone());
        // Against a gateway that believed none of the first ones, each time once more.
        let is_late = owned.learning.step >= ASK_AFTER.len();
        let is_told = is_late && owned.learning.has_ignorant();
        let pending = owned.learning.gateways.iter().filter(|(_, one)| one.pending);
        let pending: Vec<IpAddr> = pending.map(|(gateway, _)| *gateway).collect();
        if is_told && self.may_send() {
            self.tell(address);
        }
        let Some(own) = self.verify.get(&address).map(|verify| verify.own) else { return };
        let gateways = pending
            .into_iter()
            .map(|gateway| (gateway, self.own_towards(gateway, interface).unwrap_or(own)));
        let gateways = gateways.collect();
        self.last_question += 1;
        let question = self.last_question;
        self.owned(address).learning.question = Some(question);
        self.counters.questions += 1;
        self.outputs.push_back(Output::Ask { question, interface: name, address, gateways });
    }

    /// An own address in the gateway's subnet, of this interface if it has one. What a replacement took away is
    /// not there to ask from.
    fn own_towards(&self, gateway: IpAddr, interface: u32) -> Option<IpAddr> {
        let here = self.interfaces().iter().filter(|one| one.index == interface);
        let works = self.interfaces().iter().filter(|one| one.trouble().is_none());
        let mut seen = here.chain(works).flat_map(|one| &one.addresses);
        let own = seen.find(|own| {
            contains((own.address, own.prefix), gateway) && !self.is_service(own.address)
        });
        own.map(|own| own.address)
    }

    /// What a question came to. The address may be elsewhere by now.
    pub(crate) fn asked(
        &mut self,
        question: u64,
        address: IpAddr,
        result: Result<Vec<(IpAddr, Echo)>, String>,
    ) {
        let now = self.now;
        let Some(Entry { state: State::Owned(owned), service, .. }) =
            self.entries.get_mut(&address)
        else {
            return;
        };
        if owned.learning.question != Some(question) || owned.moving.is_some() {
            return;
        }
        let service = service.clone();
        let news = owned.learning.answered(&result, now);
        if news.iter().any(|(_, lesson)| *lesson == Lesson::NotLearned) {
            // From the second one on: a first one would be a new place, of which nothing is known.
            (owned.step, owned.announce_at) = (1, now + ANNOUNCE_DELAYS[0]);
        }
        for (gateway, lesson) in news {
            let service = service.clone();
            self.outputs.push_back(Output::Gateway { service, address, gateway, lesson });
        }
        self.owned_tick(address);
    }

    /// Other gateways, or other addresses that they are asked about.
    pub(crate) fn configure_gateways(&mut self, verify: BTreeMap<IpAddr, Verify>) {
        let before = core::mem::replace(&mut self.verify, verify);
        for address in self.addresses() {
            let is_owned = matches!(self.entry(address).state, State::Owned(_));
            if is_owned && before.get(&address) != self.verify.get(&address) {
                self.begin_asking(address);
            }
        }
    }
}

/// After the first announcement. Further announcements go out between these, so one lost frame accuses nobody.
pub(crate) const ASK_AFTER: [Duration; 4] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// Of a gateway that has not learned by then, or of which it cannot be told; twice as long each time ...
pub(crate) const ASK_SLOWLY: Duration = Duration::from_secs(10);
/// ... up to this.
pub(crate) const ASK_RARELY: Duration = Duration::from_secs(60);
/// As often a gateway must have answered an own address and not the service's before it is accused.
const MISSES: u32 = 2;
