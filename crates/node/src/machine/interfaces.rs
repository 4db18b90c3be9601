//! The interfaces that work, the networks whose local end is on one of them, and what becomes of the
//! addresses on them.

use core::net::IpAddr;
use std::collections::BTreeMap;

use base::NetworkId;
use engine::{ActionId, Outcome, ResourceKind};

use super::{Node, Work};
use crate::config::{LocalEnd, NetworkSpec};
use crate::{About, EventKind, Output};

/// An interface that is up and has a carrier.
pub(super) struct Connected {
    /// It was not found to fail in spite of that.
    pub(super) works: bool,
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
}

impl Connected {
    pub(super) fn carries(&self, end: &LocalEnd) -> bool {
        match end {
            LocalEnd::Address(address) => self.addresses.contains(address),
            LocalEnd::Interface(name) => self.name == *name,
            LocalEnd::Device => false,
        }
    }
}

impl Node {
    /// This node's interfaces in a network that have a signal: the one with its end there, and those that
    /// share the network's service addresses with it.
    pub(super) fn seats<'a>(
        &'a self,
        network: &'a NetworkSpec,
    ) -> impl Iterator<Item = &'a Connected> + 'a {
        let cluster = &self.birth.cluster;
        self.interfaces.iter().filter(move |interface| {
            network.local.as_ref().is_some_and(|end| interface.carries(end))
                || cluster.sharing(network).any(|card| *card == interface.name)
        })
    }

    /// Networks in which no interface works are down. Paths over them are so when their local end has no
    /// signal: polls may be wrong, and heartbeats find out for themselves what they reach.
    pub(super) fn see_interfaces(&mut self) {
        let interfaces = self.network.interfaces().iter();
        let connected = interfaces.filter(|interface| interface.up && interface.carrier);
        self.interfaces = connected
            .map(|interface| Connected {
                works: interface.trouble().is_none(),
                index: interface.index,
                name: interface.name.clone(),
                addresses: interface.addresses.iter().map(|seen| seen.address).collect(),
            })
            .collect();
        for network in &self.birth.cluster.networks {
            let Some(end) = &network.local else { continue };
            let mut ends = self.interfaces.iter().filter(|interface| interface.carries(end));
            let is_device = matches!(end, LocalEnd::Device);
            let up = is_device || ends.next().is_some();
            let works = is_device || self.seats(network).any(|interface| interface.works);
            match works {
                true => self.networks_down.remove(&network.id),
                false => self.networks_down.insert(network.id),
            };
            let changed = match up {
                true => self.links_down.remove(&network.id),
                false => self.links_down.insert(network.id),
            };
            if changed {
                let link = transport::Input::Link { network: network.id, up };
                self.work.push_back(Work::Transport(link));
            }
        }
        self.weigh();
    }

    /// Tells the engine which services have an address that no interface here can carry now, or need a
    /// network that is down here.
    pub(super) fn see_inability(&mut self) {
        let mut unable: BTreeMap<String, String> = BTreeMap::new();
        for service in &self.engine.intent().services {
            if !service.nodes.contains(&self.local.node) {
                continue;
            }
            let mut resources = service.resources.iter();
            let reason = resources.find_map(|resource| match &resource.kind {
                ResourceKind::Address { address, .. } => self.network.can_carry(*address).err(),
                _ => None,
            });
            let mut networks = service.networks.iter();
            let reason = reason.or_else(|| networks.find_map(|id| self.network_trouble(*id)));
            if let Some(reason) = reason {
                unable.insert(service.name.clone(), reason);
            }
        }
        if self.unable != unable {
            self.unable.clone_from(&unable);
            self.work.push_back(Work::Engine(engine::Input::Unable { services: unable }));
        }
    }

    /// Why a network is of no use here; nothing when a standby interface is about to take over.
    fn network_trouble(&self, id: NetworkId) -> Option<String> {
        let network = self.birth.cluster.network(id)?;
        let name = &network.name;
        let is_down = self.networks_down.contains(&id);
        match &network.local {
            None => Some(format!("no end of {name} is here")),
            Some(LocalEnd::Address(address)) if is_down => {
                if self.network.is_about_to_switch(*address) {
                    return None;
                }
                let why = self.network.can_carry(*address).err();
                let why = why.unwrap_or_else(|| format!("{address} is on no interface"));
                Some(format!("{name} is down: {why}"))
            }
            Some(LocalEnd::Interface(interface)) if is_down => {
                Some(format!("{name} is down: {interface} does not work"))
            }
            Some(LocalEnd::Address(_) | LocalEnd::Interface(_) | LocalEnd::Device) => None,
        }
    }

    pub(super) fn heal(&mut self, id: NetworkId) {
        let network = self.birth.cluster.network(id);
        let Some(end) = network.and_then(|network| network.local.as_ref()) else { return };
        let interface = self.interfaces.iter().find(|interface| interface.carries(end));
        if let Some(Connected { index: interface, .. }) = interface {
            let heal = network::Input::Heal { interface: *interface };
            self.work.push_back(Work::Network(heal));
        }
    }

    /// Whether this node still waits for a switch between its interfaces: [`network::Output::Switch`].
    #[must_use]
    pub fn is_switching(&self, operation: u64) -> bool {
        self.network.is_switching(operation)
    }

    /// What the layer of the addresses says.
    pub(super) fn on_network(&mut self, output: network::Output) {
        use network::Output as Out;
        let acted = |id, outcome| Work::Engine(engine::Input::Acted { id: ActionId(id), outcome });
        match output {
            Out::Claimed { id, .. } | Out::Released { id } => {
                self.work.push_back(acted(id, Outcome::Done));
            }
            Out::NotNow { id, reason } => {
                self.work.push_back(acted(id, Outcome::NotNow { reason }));
            }
            Out::Failed { id, reason } => {
                self.work.push_back(acted(id, Outcome::Failed { reason }));
            }
            Out::Lost { service, address, why } => {
                self.event(
                    EventKind::Conflict,
                    None,
                    format!("{address} of {service} is lost: {why}"),
                );
                self.address_changed(service, address, engine::ResourceChange::Vanished);
            }
            Out::Yielded { service, address, why } => {
                let sentence = format!("{address} of {service} is given up: {why}");
                self.event(EventKind::Conflict, None, sentence);
                let reason = format!("is given up: {why}");
                let change = engine::ResourceChange::Broken { reason };
                self.address_changed(service, address, change);
            }
            Out::Moved { service, address, from, to, why, rule } => {
                let sentence = format!("{address} of {service} went to {to}: {from} {why}; {rule}");
                self.event(EventKind::Interface, None, sentence);
            }
            Out::Switched { net, from, to, addresses, left, why, failure } => {
                let what = match addresses.len() {
                    1 => "1 own address".to_owned(),
                    count => format!("{count} own addresses"),
                };
                let left = left.iter();
                let left = left.map(|(one, why)| format!("; {one} stays on {from}: {why}"));
                let left: String = left.collect();
                let sentence = match &failure {
                    None => {
                        format!("swap_adapter: {net}: {what} went from {from} to {to}: {why}{left}")
                    }
                    Some(failure) => format!(
                        "swap_adapter: {net}: {what} cannot go from {from} to {to} ({why}): {failure}"
                    ),
                };
                let about = About {
                    network: Some(net),
                    from: Some(from),
                    to: Some(to),
                    addresses,
                    why: Some(why),
                    failure,
                    ..About::default()
                };
                let local = Some(self.local.node);
                self.event_about(EventKind::SwapAdapter, local, sentence, about);
            }
            Out::StandbyJoined { net, interface } => {
                let sentence = format!("join_standby: {net}: {interface} works again");
                let about =
                    About { network: Some(net), interface: Some(interface), ..About::default() };
                let local = Some(self.local.node);
                self.event_about(EventKind::JoinStandby, local, sentence, about);
            }
            Out::StandbyFailed { net, interface, why } => {
                let sentence = format!("fail_standby: {net}: {interface} {why}");
                let about = About {
                    network: Some(net),
                    interface: Some(interface),
                    why: Some(why),
                    ..About::default()
                };
                let local = Some(self.local.node);
                self.event_about(EventKind::FailStandby, local, sentence, about);
            }
            Out::Gateway { service, address, gateway, lesson } => {
                let sentence = lesson.sentence(gateway, address, &service);
                self.event(EventKind::Interface, None, sentence);
            }
            Out::Conflict { service, address, mac } => {
                let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
                let detail = format!("{address} is also used by {}", mac.join(":"));
                self.event(EventKind::Conflict, None, detail.clone());
                let change = engine::ResourceChange::Conflict { detail };
                self.address_changed(service, address, change);
            }
            other => self.outputs.push_back(Output::Network(other)),
        }
    }

    /// Tells the engine about an address by the name of its resource.
    fn address_changed(
        &mut self,
        service: String,
        address: IpAddr,
        change: engine::ResourceChange,
    ) {
        let services = self.engine.intent().services.iter();
        let resource = services.filter(|one| one.name == service).flat_map(|one| &one.resources);
        let mut resource = resource.filter(|resource| {
            matches!(&resource.kind, ResourceKind::Address { address: own, .. } if *own == address)
        });
        if let Some(resource) = resource.next().map(|resource| resource.name.clone()) {
            let changed = engine::Input::ResourceChanged { service, resource, change };
            self.work.push_back(Work::Engine(changed));
        }
    }
}
