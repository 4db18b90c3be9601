//! Where addresses are on this node, and why there, as the API gives it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use api::v1::{self, ErrorCode};
use network::place::{Placement, Rule};
use network::{Lesson, Move};
use node::Input;

use super::drive::Daemon;
use crate::config;
use crate::serve::{Answer, Reply};

/// How long a conflict is told of in the status.
const CONFLICT_SHOWN: Duration = Duration::from_secs(300);

impl Daemon {
    /// All addresses of services here, of one service if named, and the persistent ones.
    pub(super) fn addresses_part(
        &self,
        status: &network::Status,
        service: Option<&str>,
    ) -> Vec<v1::Address> {
        let placements = self.node.network().placements().into_iter();
        let mut placements: BTreeMap<IpAddr, (String, Placement)> =
            placements.map(|(net, placed)| (placed.address, (net, placed))).collect();
        let name = |index: u32| {
            let interface = self.interfaces.iter().find(|one| one.index == index);
            interface.map_or_else(|| format!("interface {index}"), |one| one.name.clone())
        };
        let mut all: Vec<v1::Address> = Vec::new();
        for one in &status.addresses {
            let placed = placements.remove(&one.address);
            if service.is_some_and(|service| service != one.service) {
                continue;
            }
            // What could not be fulfilled when it came there may be by now, or the other way round.
            let (network, dropped, later) = match placed {
                Some((net, placed)) => (Some(net), placed.dropped, placed.later),
                None => (None, None, None),
            };
            all.push(v1::Address {
                address: one.address.to_string(),
                service: Some(one.service.clone()).filter(|service| !service.is_empty()),
                network,
                interface: one.interface.map(name),
                phase: one.phase.name().to_owned(),
                why: one.why.clone(),
                dropped,
                later,
                gateways: one.gateways.iter().map(gateway).collect(),
            });
        }
        if service.is_some() {
            return all;
        }
        let persistent: Vec<IpAddr> = self
            .node
            .cluster()
            .shares
            .iter()
            .flat_map(|share| &share.persistent)
            .map(|one| one.0)
            .collect();
        for (address, (network, placed)) in placements {
            if !persistent.contains(&address) {
                continue;
            }
            let why = match placed.rule {
                Rule::Stays => "a persistent address stays where it is".to_owned(),
                _ => placed.why,
            };
            all.push(v1::Address {
                address: address.to_string(),
                service: None,
                network: Some(network),
                interface: placed.card,
                phase: "persistent".to_owned(),
                why,
                dropped: None,
                later: None,
                gateways: Vec::new(),
            });
        }
        all
    }

    /// Shares the service addresses of a network out anew over the interfaces of this node.
    pub(super) fn rebalance(&mut self, net: &str, answer: Answer) {
        let shares = &self.node.cluster().shares;
        if !shares.iter().any(|share| share.net == net) {
            let message = format!(
                "{net} is no network that shares addresses out over interfaces of this node"
            );
            let there = shares.iter().map(|share| share.net.as_str());
            let help = there_are(there, "`distribution` and `also` of a network have it do so");
            return answer.send(Err(v1::Error::new(ErrorCode::NotFound, message).help(help)));
        }
        let moves = match self.node.network().rebalancing(net) {
            Ok(moves) => moves,
            Err(why) => {
                let help = "its addresses are on the node that runs their services: ask that one";
                let refused = v1::Error::new(ErrorCode::Refused, format!("{net}: {why}"));
                return answer.send(Err(refused.help(help)));
            }
        };
        self.feed(Input::Network(network::Input::Rebalance { net: net.to_owned() }));
        answer.send(Ok(Reply::Done(v1::CommandReply::new(moved(net, &moves)))));
    }

    /// What was wished for the place of an address in vain, and interfaces that share a subnet.
    pub(super) fn placement_warnings(&self, addresses: &[v1::Address]) -> Vec<String> {
        let dropped = addresses.iter().filter_map(|one| {
            let (service, dropped) = (one.service.as_ref()?, one.dropped.as_ref()?);
            Some(format!("{} of {service}: {dropped}", one.address))
        });
        dropped.chain(self.shared_subnets()).collect()
    }

    /// Interfaces that share service addresses out should each have a subnet of its own: which of two in
    /// one subnet has failed cannot be told. The configuration does not know the addresses of all of them.
    fn shared_subnets(&self) -> Vec<String> {
        let mut found = Vec::new();
        for share in &self.node.cluster().shares {
            let is_own = |address: IpAddr| {
                let mut services = self.cluster.service_addresses();
                let mut persistent = share.persistent.iter();
                !services.any(|other| other == address)
                    && !persistent.any(|(other, _)| *other == address)
                    && !matches!(address, IpAddr::V6(six) if six.is_unicast_link_local())
            };
            let named = share.cards.iter().filter_map(|name| {
                self.interfaces.iter().find(|interface| interface.name == *name)
            });
            let subnets = named.flat_map(|interface| {
                let own = interface.addresses.iter().filter(|seen| is_own(seen.address));
                own.map(|seen| (&interface.name, seen.address, seen.prefix))
            });
            let subnets: Vec<(&String, IpAddr, u8)> = subnets.collect();
            for (index, (name, address, prefix)) in subnets.iter().enumerate() {
                let other = subnets[..index].iter().find(|(other, there, bits)| {
                    let bits = (*bits).min(*prefix);
                    other != name
                        && there.is_ipv4() == address.is_ipv4()
                        && config::subnet(*there, bits) == config::subnet(*address, bits)
                });
                if let Some((other, there, _)) = other {
                    found.push(format!(
                        "{name} ({address}/{prefix}) and {other} ({there}) share a subnet: which of \
                         them has failed cannot be told; give each a subnet of its own"
                    ));
                }
            }
        }
        found
    }
}

fn gateway((gateway, lesson): &(IpAddr, Option<Lesson>)) -> v1::AddressGateway {
    let (state, took, why) = match lesson {
        None => ("asked", None, None),
        Some(Lesson::Learned { took }) => ("learned", Some(took.as_millis() as u64), None),
        Some(Lesson::NotLearned) => ("not-learned", None, None),
        Some(Lesson::Untold { why }) => ("untold", None, Some(why.clone())),
    };
    let (gateway, state) = (gateway.to_string(), state.to_owned());
    v1::AddressGateway { gateway, state, took_ms: took, why }
}

/// Addresses that one answer names.
const NAMED_MAX: usize = 8;

/// What a network's addresses do.
fn moved(net: &str, moves: &[Move]) -> String {
    let (busy, moving): (Vec<&Move>, Vec<&Move>) = moves.iter().partition(|one| one.is_busy);
    let busy = match busy.len() {
        0 => String::new(),
        count => format!("; {count} more are on their way already"),
    };
    if moving.is_empty() {
        return format!("{net}: all addresses here are where they would be put now{busy}");
    }
    let named = moving.iter().take(NAMED_MAX);
    let named =
        named.map(|Move { address, from, to, .. }| format!("{address} from {from} to {to}"));
    let named: Vec<String> = named.collect();
    let more = match moving.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{net}: {}{more}{busy}", named.join(", "))
}

/// What can be named instead, or how there would be something.
pub(super) fn there_are<'a>(names: impl Iterator<Item = &'a str>, none: &str) -> String {
    let names: Vec<&str> = names.collect();
    match names.is_empty() {
        true => format!("this node has none: {none}"),
        false => format!("there are: {}", names.join(", ")),
    }
}

/// Addresses here that somebody else uses, or used a moment ago.
pub(super) fn conflict_warnings(status: &network::Status) -> Vec<String> {
    let now = os::clock::boottime();
    let recent = status.addresses.iter().filter_map(|one| {
        let (mac, at) = one.conflict?;
        let ago = now.since(at);
        (ago < CONFLICT_SHOWN).then(|| {
            let (address, service) = (one.address, &one.service);
            let mac = network::wire::text(mac);
            format!("{address} of {service} is also used by {mac}, {} s ago", ago.as_secs())
        })
    });
    recent.collect()
}
