//! Addresses that this daemon itself has: for heartbeats alone, and the persistent ones of its node. Added
//! while it runs, and taken away.
//!
//! They carry a lifetime and are extended long before it ends. A daemon that crashes finds them when it
//! is started again, and goes on; one that never comes back leaves none behind for long. Which
//! interface an alias belongs to follows from what the configuration says, at each new picture of the
//! interfaces: it moves when the interface's own address does. Where a persistent address belongs is
//! decided by the layer of the addresses ([`network::Network::persistent`]); it needs no lease, because
//! it never leaves its node.
//!
//! Names of the hosts file are minded here too: both change what addresses this node has without
//! anybody changing the configuration.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use base::Instant;
use node::Input;

use super::addresses::Request;
use super::convert;
use super::drive::Daemon;
use crate::config::hosts::Hosts;

/// How long an alias lasts without this daemon, and how often it is extended.
const LIFETIME: Duration = Duration::from_secs(60);
const EXTEND_INTERVAL: Duration = Duration::from_secs(15);

/// What this daemon has on its interfaces.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    /// Address to interface and prefix.
    kept: BTreeMap<IpAddr, (u32, u8)>,
    extended: Option<Instant>,
}

impl Aliases {
    /// When to extend them.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let extended = self.extended.filter(|_| !self.kept.is_empty());
        extended.map(|at| at + EXTEND_INTERVAL)
    }
}

impl Daemon {
    /// Adds what is wanted and not there, takes away what is there and not wanted, and extends the
    /// rest when it is time.
    pub(super) fn mind_aliases(&mut self) {
        let wanted = self.aliases_wanted();
        if wanted.is_empty() && self.aliases.kept.is_empty() {
            return;
        }
        let now = os::clock::boottime();
        let is_time = self.aliases.deadline().is_none_or(|at| now >= at);
        let is_on = |interface: u32, address: IpAddr| {
            let mut seen = self.interfaces.iter().filter(|one| one.index == interface);
            seen.any(|one| one.addresses.iter().any(|seen| seen.address == address))
        };
        let mut requests = Vec::new();
        for (address, (interface, prefix)) in &self.aliases.kept {
            if !wanted.contains_key(address) && is_on(*interface, *address) {
                let (address, interface, prefix) = (*address, *interface, *prefix);
                requests.push(Request::Drop { interface, address, prefix });
            }
        }
        for (address, (interface, prefix)) in &wanted {
            // Where it was before the interface's own address moved, in this life or a former one.
            let others = self.interfaces.iter().filter(|one| one.index != *interface);
            for other in others.filter(|one| is_on(one.index, *address)) {
                let (address, interface, prefix) = (*address, other.index, *prefix);
                requests.push(Request::Drop { interface, address, prefix });
            }
            if is_time || !is_on(*interface, *address) {
                let (address, interface, prefix) = (*address, *interface, *prefix);
                requests.push(Request::Keep { interface, address, prefix, lifetime: LIFETIME });
            }
        }
        if is_time {
            self.aliases.extended = Some(now);
        }
        self.aliases.kept = wanted;
        for request in requests {
            self.request(request);
        }
    }

    /// The aliases of this node whose interface is there: interface and prefix.
    fn aliases_wanted(&self) -> BTreeMap<IpAddr, (u32, u8)> {
        let local = self.node.local().node;
        let own = self.cluster.networks.iter().filter_map(|network| network.endpoints.get(&local));
        let place = |endpoint: &crate::config::Endpoint| {
            let boot = endpoint.alias.as_ref()?.boot.map(|(address, _)| address);
            let carries = |interface: &&os::netlink::Interface| match &endpoint.interface {
                Some(name) => interface.name == *name,
                None => interface.addresses.iter().any(|seen| Some(seen.address) == boot),
            };
            let interface = self.interfaces.iter().find(carries)?;
            Some((endpoint.address, (interface.index, endpoint.prefix)))
        };
        let aliases = own.filter_map(place);
        let persistent = self.node.network().persistent().into_iter();
        let persistent = persistent.map(|(address, prefix, on)| (address, (on, prefix)));
        aliases.chain(persistent).collect()
    }

    /// This daemon ends in order: nothing of it stays. The loop is over, so it may wait.
    pub(super) fn drop_aliases(&mut self) {
        let kept = std::mem::take(&mut self.aliases.kept);
        if kept.is_empty() {
            return;
        }
        let mut netlink = match os::netlink::Netlink::open() {
            Ok(netlink) => netlink,
            Err(error) => return self.journal.say(&format!("own aliases stay: {error}")),
        };
        for (address, (interface, prefix)) in kept {
            if let Err(error) = netlink.remove_address(interface, address, prefix) {
                self.journal.say(&format!("own alias {address} stays a while: {error}"));
            }
        }
    }

    /// Gives names their addresses, from the hosts file as it was read last.
    pub(super) fn resolve(&mut self) {
        for why in self.hosts.resolve(&mut self.cluster) {
            self.say_once(format!("{why}; {}", why.help));
        }
        self.foreign.set(self.cluster.foreign_addresses(self.node.local().node));
    }

    /// The hosts file has changed: names may have other addresses.
    pub(super) fn hosts_changed(&mut self, hosts: Hosts) {
        self.hosts = hosts;
        let before = self.cluster.networks.clone();
        self.resolve();
        if self.cluster.networks != before {
            let core = convert::cluster(&self.cluster, self.node.local().node);
            self.open_networks();
            self.mind_gateways();
            self.feed_later(Input::Configured(Box::new(core)));
        }
    }
}
