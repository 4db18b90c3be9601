//! The loop's side of interface health: which cards are in which network, what a verdict leads to,
//! and what people are shown.

use std::collections::{BTreeMap, BTreeSet};

use api::v1::{self, ErrorCode};
use base::NetworkId;
use engine::NetworkFault;
use network::Condition;
use network::health::{CardStatus, Config, Doubt, Fault, Net, NetStatus, Verdict};
use node::Input;
use os::netlink::link::{self, Link};

use super::super::addresses;
use super::super::drive::Daemon;
use super::targets::Wanted;
use super::{Monitor, Request, Seen};
use crate::config::{Cluster, Kind};
use crate::serve::Answer;

/// What the loop knows of its interfaces.
pub(in crate::daemon) struct Verdicts {
    monitor: Monitor,
    /// The nets as the thread has them.
    nets: Vec<Net>,
    targets: Wanted,
    /// The interfaces as the thread has them.
    names: Vec<String>,
    /// The newest verdict on each card.
    known: BTreeMap<String, Known>,
    /// Interfaces whose driver says that they have no carrier.
    without_carrier: BTreeSet<String>,
    /// What the core was told last.
    told: BTreeMap<String, Condition>,
    /// The interface that had a network's address last.
    primaries: BTreeMap<NetworkId, String>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    verdict: Verdict,
    /// It has a station address, so it can say and hear polls.
    is_polled: bool,
}

impl Verdicts {
    pub(in crate::daemon) fn new(monitor: Monitor) -> Verdicts {
        let (nets, targets, names) = Default::default();
        let (known, without_carrier, told, primaries) = Default::default();
        Verdicts { monitor, nets, targets, names, known, without_carrier, told, primaries }
    }

    /// Why interfaces are not polled.
    pub(in crate::daemon) fn trouble(&self) -> Option<&str> {
        self.monitor.trouble.as_deref()
    }

    /// What is known of each card, and of each other interface whose carrier is lost. Newer than any
    /// picture of the interfaces: that may have to wait.
    fn conditions(&self) -> BTreeMap<String, Condition> {
        let mut conditions = BTreeMap::new();
        let unknown = Known { verdict: Verdict::Unsure(Doubt::Unproven), is_polled: true };
        for (name, _) in self.nets.iter().flat_map(Net::all_cards) {
            let known = self.known.get(name).copied().unwrap_or(unknown);
            let condition = match known.verdict {
                Verdict::Up => Condition::Works,
                Verdict::Down(fault) => Condition::Fails(fault.reason().to_owned()),
                // Who is not polled will never be proven.
                Verdict::Unsure(_) if self.monitor.trouble.is_some() || !known.is_polled => {
                    Condition::Unpolled
                }
                Verdict::Unsure(Doubt::Unproven) => Condition::Unproven,
                Verdict::Unsure(Doubt::Silent) => Condition::Silent,
            };
            conditions.insert(name.clone(), condition);
        }
        for name in &self.without_carrier {
            let lost = Condition::Fails(Fault::NoCarrier.reason().to_owned());
            conditions.entry(name.clone()).or_insert(lost);
        }
        conditions
    }

    /// Why a card is not proven to work, in words that follow its name.
    pub(in crate::daemon) fn doubt(&self, card: &str) -> Option<String> {
        let doubt = match self.conditions().remove(card)? {
            Condition::Works | Condition::Unpolled => return None,
            Condition::Fails(why) => return Some(why),
            Condition::Unproven => Doubt::Unproven,
            Condition::Silent => Doubt::Silent,
        };
        Verdict::Unsure(doubt).reason().map(str::to_owned)
    }

    fn seen(&self) -> Seen {
        self.monitor.seen.lock().expect("nobody panics with it").clone()
    }
}

/// The cards of one node in each network of interfaces.
fn nets(
    cluster: &Cluster,
    local: base::NodeId,
    interfaces: &[os::netlink::Interface],
    primaries: &mut BTreeMap<NetworkId, String>,
) -> Vec<Net> {
    let mut nets = Vec::new();
    // Paths that one node alone defines have numbers that mean nothing to others.
    for network in cluster.networks.iter().filter(|network| network.rank.is_none()) {
        let end = network.endpoints.get(&local);
        let written = match network.kind {
            Kind::Ethernet { .. } => network.devices.get(&local).cloned(),
            Kind::Udp => end.and_then(|end| end.interface.clone()),
            Kind::Disk | Kind::Serial { .. } => continue,
        };
        let found = || {
            let address = end?.address;
            let carries = |one: &&os::netlink::Interface| {
                one.addresses.iter().any(|seen| seen.address == address)
            };
            let mut wired = interfaces.iter().filter(|interface| !interface.loopback);
            wired.find(carries).map(|interface| interface.name.clone())
        };
        // Without its address it is still the card that had it.
        let primary = written.or_else(found).or_else(|| primaries.get(&network.id).cloned());
        let Some(primary) = primary else { continue };
        primaries.insert(network.id, primary.clone());
        let standbys = end.and_then(|end| end.standby.as_ref()).map(|standby| &standby.interfaces);
        let sharing = network.placing.as_ref().and_then(|placing| placing.also.get(&local));
        nets.push(Net {
            number: network.id,
            cards: [primary].into_iter().chain(standbys.into_iter().flatten().cloned()).collect(),
            sharing: sharing.cloned().unwrap_or_default(),
            poll_interval: network.polling.interval,
            polls: network.polling.polls,
            detection: network.polling.detection,
        });
    }
    nets
}

/// Whom the interfaces of each network ask.
fn targets(cluster: &Cluster) -> Wanted {
    let asked = cluster.networks.iter().filter(|network| !network.polling.targets.is_empty());
    asked.map(|network| (network.id, network.polling.targets.clone())).collect()
}

impl Daemon {
    /// Has the thread look at the right interfaces, after they or the configuration changed.
    pub(in crate::daemon) fn mind_health(&mut self) {
        let local = self.node.local();
        let wanted = nets(&self.cluster, local.node, &self.interfaces, &mut self.health.primaries);
        let ours = self.interfaces.iter().filter(|interface| !interface.loopback);
        let names: Vec<String> = ours.map(|interface| interface.name.clone()).collect();
        let requests = &self.health.monitor.requests;
        // What does not fit is sent with the next picture.
        let targets = targets(&self.cluster);
        if wanted != self.health.nets || targets != self.health.targets {
            let config = Config {
                cluster: self.cluster.id,
                node: local.node,
                life: local.incarnation.0,
                nets: wanted.clone(),
            };
            if requests.send(Request::Configure(config, targets.clone())).is_ok() {
                self.health.nets = wanted;
                self.health.targets = targets;
            }
        }
        if names != self.health.names && requests.send(Request::Interfaces(names.clone())).is_ok() {
            self.health.names = names;
        }
    }

    /// Tells the core what is known of the interfaces, if it is told otherwise. Never an old picture of
    /// them in its stead: what was done since would look undone.
    pub(in crate::daemon) fn tell_health(&mut self) {
        let conditions = self.health.conditions();
        if conditions != self.health.told {
            self.health.told.clone_from(&conditions);
            self.feed(Input::Network(network::Input::Health(conditions)));
        }
    }

    /// The thread has news: a carrier, or a verdict.
    pub(in crate::daemon) fn health_told(&mut self) {
        self.request(addresses::Request::Look);
        let seen = self.health.seen();
        if let Some(ended) = seen.ended {
            // What it found holds no more.
            self.health.monitor.trouble = Some(ended);
        }
        let nets = seen.status.map(|status| status.nets).unwrap_or_default();
        let mut known = BTreeMap::new();
        for (net, card) in nets.iter().flat_map(|net| net.cards.iter().map(move |card| (net, card)))
        {
            let before = self.health.known.get(&card.name).map(|known| known.verdict);
            let is_polled = card.seen.as_ref().is_none_or(|seen| seen.mac.is_some());
            known.insert(card.name.clone(), Known { verdict: card.verdict, is_polled });
            if let Some(sentence) = self.sentence(net, card, before) {
                let level = match card.verdict {
                    Verdict::Down(_) => v1::EventLevel::Warning,
                    Verdict::Up | Verdict::Unsure(_) => v1::EventLevel::Info,
                };
                let node = self.cluster.name_of(self.node.local().node);
                self.journal.interface(node, level, &sentence, &self.inbox);
            }
        }
        self.health.known = known;
        self.health.without_carrier = seen.without_carrier;
        self.tell_health();
        self.settle();
    }

    /// What a verdict says to people who read the journal; nothing where it is the same.
    fn sentence(
        &self,
        net: &NetStatus,
        card: &CardStatus,
        before: Option<Verdict>,
    ) -> Option<String> {
        let before = before.unwrap_or(Verdict::Unsure(Doubt::Unproven));
        if before == card.verdict {
            return None;
        }
        let network = self.network_name(net.number);
        let name = &card.name;
        let word = card.verdict.word();
        Some(match card.verdict.reason() {
            None => format!("interface {name} of {network} is {word}: it hears others"),
            Some(reason) => format!("interface {name} of {network} is {word}: it {reason}"),
        })
    }

    fn network_name(&self, id: NetworkId) -> String {
        self.cluster.network(id).map_or_else(|| id.0.to_string(), |network| network.name.clone())
    }

    /// Disables or enables a card, which must be one of a network.
    pub(in crate::daemon) fn disable_interface(&self, name: &str, on: bool, answer: Answer) {
        let cards: Vec<&str> = self
            .health
            .nets
            .iter()
            .flat_map(Net::all_cards)
            .map(|(name, _)| name.as_str())
            .collect();
        if !cards.contains(&name) {
            let message = format!("no network of this node has an interface {name}");
            let help = format!("there are: {}", cards.join(", "));
            return answer.send(Err(v1::Error::new(ErrorCode::NotFound, message).help(help)));
        }
        let request = Request::Disable { card: name.to_owned(), on };
        answer.send(match self.health.monitor.requests.send(request) {
            Ok(()) => {
                let done = match on {
                    true => format!(
                        "{name} counts as failed until `mainstay network interface enable {name}`, or \
                         until this daemon is restarted"
                    ),
                    false => format!("{name} counts again as it is, once it has proven itself"),
                };
                Ok(crate::serve::Reply::Done(v1::CommandReply::new(done)))
            }
            Err(_) => {
                let message = "the thread that looks at interfaces does not answer";
                Err(v1::Error::new(ErrorCode::Busy, message).help("try again in some seconds"))
            }
        });
    }

    /// Everything about the interfaces of this node.
    pub(in crate::daemon) fn show_networks(&self) -> v1::Networks {
        let seen = self.health.seen();
        let local = self.node.local().node;
        let mut report = v1::Networks {
            schema: v1::SCHEMA,
            node: self.cluster.name_of(local),
            trouble: self.health.monitor.trouble.clone(),
            networks: Vec::new(),
            counters: Vec::new(),
        };
        let Some(status) = seen.status else { return report };
        for net in &status.nets {
            let remotes = net.remotes.iter().map(|remote| v1::NetworkRemote {
                node: self.cluster.name_of(remote.station.node),
                interface: remote.station.interface,
                heard_ms: millis(os::clock::boottime().since(remote.heard)),
            });
            let mut faults = self.node.network_faults();
            let fault = faults.find(|(id, _)| *id == net.number).map(|(_, fault)| fault);
            let (fault, failed_on) = match fault.unwrap_or_default() {
                NetworkFault::None => (None, Vec::new()),
                NetworkFault::Local(nodes) => {
                    let names = nodes.into_iter().map(|node| self.cluster.name_of(node));
                    (Some("local".to_owned()), names.collect())
                }
                NetworkFault::Global => (Some("global".to_owned()), Vec::new()),
            };
            report.networks.push(v1::NetworkHealth {
                fault,
                failed_on,
                name: self.network_name(net.number),
                poll_interval_ms: millis(net.poll_interval),
                polls: net.polls,
                failure_detection: net.detection.name().to_owned(),
                effective_detection: net.effective.name().to_owned(),
                poller: net.poller.clone(),
                interfaces: net.cards.iter().map(|card| self.shown(card, &seen.links)).collect(),
                remotes: remotes.collect(),
            });
        }
        let counted = status.counters;
        let all = [
            ("health_rounds", counted.rounds, "Polls that were judged."),
            ("health_void", counted.void, "Polls that did not count: this process came too late."),
            (
                "health_unread",
                counted.unread,
                "Looks at interfaces that the kernel did not answer.",
            ),
            ("health_sent", counted.sent, "Polls, notices and answers sent."),
            ("health_refused", counted.refused, "Frames that the kernel did not take."),
            ("health_answered", counted.answered, "Polls of other nodes that were answered."),
            ("health_answers", counted.answers, "Answers of other nodes to polls of this one."),
            ("health_unsealed", seen.unsealed, "Frames that nobody with the cluster's key made."),
            ("health_malformed", counted.malformed, "Frames that make no sense."),
            (
                "health_foreign",
                counted.foreign,
                "Frames of other clusters, or on other interfaces.",
            ),
            ("health_stale", counted.stale, "Frames that came too late, or a second time."),
            (
                "health_misplaced",
                counted.misplaced,
                "Frames of one network on the wire of another.",
            ),
            ("health_reflected", counted.reflected, "Frames that came back to who sent them."),
        ];
        report.counters = all
            .into_iter()
            .filter(|(_, value, _)| *value > 0)
            .map(|(name, value, text)| v1::Counter { name: name.into(), value, text: text.into() })
            .collect();
        report
    }

    fn shown(&self, card: &CardStatus, links: &[Link]) -> v1::NetworkInterface {
        let link = links.iter().find(|link| link.name == card.name);
        let below = link.map(|link| link::roots(links, link.index)).unwrap_or_default();
        let named = |index: &u32| links.iter().find(|link| link.index == *index);
        let mine = link.map(|link| link.index);
        let below = below.iter().filter(|index| Some(**index) != mine);
        let seen = card.seen.as_ref();
        let addresses = self.interfaces.iter().find(|one| one.name == card.name);
        v1::NetworkInterface {
            name: card.name.clone(),
            role: card.role.word().to_owned(),
            state: match card.verdict {
                Verdict::Up => v1::InterfaceState::Up,
                Verdict::Unsure(_) => v1::InterfaceState::Unsure,
                Verdict::Down(_) => v1::InterfaceState::Down,
            },
            reason: card.verdict.reason().map(str::to_owned),
            since_ms: millis(os::clock::boottime().since(card.since)),
            disabled: card.disabled,
            kind: link.map(|link| link.kind.name().to_owned()),
            below: below.filter_map(named).map(|link| link.name.clone()).collect(),
            mac: seen.and_then(|seen| seen.mac).map(network::wire::text),
            up: seen.is_some_and(|seen| seen.up),
            carrier: seen.is_some_and(|seen| seen.carrier),
            received: seen.map_or(0, |seen| seen.rx),
            sent: seen.map_or(0, |seen| seen.tx),
            errors: seen.map_or(0, |seen| seen.errors),
            good_polls: card.good,
            bad_polls: card.bad,
            came_in: card.came_in,
            was_heard: card.was_heard,
            target: card.target,
            misplaced: card.misplaced.map(|id| self.network_name(id)),
            addresses: addresses
                .into_iter()
                .flat_map(|one| &one.addresses)
                .map(|seen| format!("{}/{}", seen.address, seen.prefix))
                .collect(),
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
