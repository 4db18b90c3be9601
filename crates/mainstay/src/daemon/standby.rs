//! What the kernel is told where a network has several interfaces: who speaks ARP for what, and at the end of
//! the daemon where own addresses are to be.
//!
//! With two interfaces on one wire the kernel would answer on both for the addresses of either, and ask on one
//! in the name of the other ([`os::arp`]). Neighbours that send to the standby while the primary has the address
//! lose it with the standby, and nobody would switch anything. A filter of the kernel that makes shared
//! addresses useless is not ours to lower: it is told of.
//!
//! At the end everything goes back to the primary, so that the machine is as its system has set it up, and the next
//! daemon, or none, finds it so (seed 002). Only a primary that does not work, or is not proven to, gets nothing: a machine
//! that nobody can reach helps nobody, and the next daemon sees where its addresses are.

use api::v1::{self, ErrorCode};
use network::{NetStatus, Returning, wire};
use node::Input;
use os::ethernet::Ethernet;
use os::netlink::{Interface, Netlink};

use super::addresses::Request;
use super::drive::Daemon;
use super::placed::there_are;
use crate::serve::{Answer, Reply};

/// What to do about it.
pub(super) const STRICT_HELP: &str =
    "write that line with 2 into /etc/sysctl.d/90-mainstay.conf, then `sysctl --system`";

fn strictness(interface: &str) -> String {
    format!(
        "net.ipv4.conf.{interface}.rp_filter = 1 is in force: {interface} drops what comes for the addresses \
         that it shares, wherever the way back leads over another interface"
    )
}

impl Daemon {
    /// Has the interfaces of networks with several ones speak for their own addresses only. With each
    /// picture, because an interface that comes again comes with the kernel's defaults.
    pub(super) fn mind_standbys(&mut self) {
        let local = self.node.local().node;
        let ends = self.cluster.networks.iter().filter_map(|network| network.endpoints.get(&local));
        let cards = ends.filter_map(|end| Some((end.interface.as_ref()?, end.standby.as_ref()?)));
        let named = cards.flat_map(|(primary, standby)| {
            std::iter::once(primary).chain(&standby.interfaces).cloned()
        });
        // Those that share service addresses are on one wire as well.
        let is_there = |name: &String| self.interfaces.iter().any(|one| one.name == *name);
        let shares = self.node.cluster().shares.iter().filter(|share| share.cards.len() > 1);
        let shared = shares.flat_map(|share| share.cards.iter().cloned());
        let shared: Vec<String> = shared.filter(is_there).collect();
        let interfaces: Vec<String> = named.filter(is_there).chain(shared.clone()).collect();
        if !interfaces.is_empty() {
            self.request(Request::SpeakForOwn { interfaces });
        }
        if !shared.is_empty() || !self.strict.is_empty() {
            self.request(Request::FindStrict { interfaces: shared });
        }
    }

    /// Interfaces that share addresses, and drop what comes for them.
    pub(super) fn strict_seen(&mut self, interfaces: Vec<String>) {
        let before = std::mem::replace(&mut self.strict, interfaces);
        let new: Vec<&String> = self.strict.iter().filter(|name| !before.contains(name)).collect();
        for name in new {
            self.journal.say(&format!("{}; {}", strictness(name), STRICT_HELP));
        }
    }

    /// What makes shared addresses useless, each with the setting.
    pub(super) fn strict_warnings(&self) -> Vec<String> {
        self.strict.iter().map(|name| strictness(name)).collect()
    }

    /// Has the node's own addresses in a network go back to the primary interface.
    pub(super) fn return_network(&mut self, net: &str, answer: Answer) {
        let refuse =
            |code, message: String, help: &str| Err(v1::Error::new(code, message).help(help));
        let done = |text: String| Ok(Reply::Done(v1::CommandReply::new(text)));
        answer.send(match self.node.network().returning(net) {
            None => {
                let nets = self.node.cluster().networks.iter();
                let nets = nets.filter(|network| network.standby.is_some());
                let nets = nets.map(|network| network.name.as_str());
                let help = there_are(nets, "`standby` of an interface names those that take over");
                let message = format!("this node has no standby interface in a network {net}");
                refuse(ErrorCode::NotFound, message, &help)
            }
            Some(Returning::IsThere(primary)) => done(format!(
                "{net}: the addresses of this node are on {primary}, where they belong"
            )),
            Some(Returning::Refused { seat, why }) => {
                let message = format!("{net}: the addresses of this node stay on {seat}: {why}");
                refuse(ErrorCode::Refused, message, "see `mainstay network list`")
            }
            Some(Returning::Goes { from, to }) => {
                let input = network::Input::Return { net: net.to_owned() };
                self.feed(Input::Network(input));
                done(format!("{net}: the addresses of this node go from {from} back to {to}"))
            }
        });
    }

    /// This daemon ends in order. The loop is over, so it may wait.
    pub(super) fn return_to_primaries(&mut self) {
        for net in self.node.status().network.nets {
            let (Some(seat), Some(primary)) = (&net.seat, net.cards.first()) else { continue };
            if seat != primary
                && let Err(why) = self.return_to_primary(&net, seat, primary)
            {
                self.journal.say(&format!("{}: own addresses stay on {seat}: {why}", net.name));
            }
        }
    }

    fn return_to_primary(
        &mut self,
        net: &NetStatus,
        seat: &str,
        primary: &str,
    ) -> Result<(), String> {
        let explain = |error: &dyn std::fmt::Display| error.to_string();
        let mut netlink = Netlink::open().map_err(|error| explain(&error))?;
        let interfaces = netlink.interfaces().map_err(|error| explain(&error))?;
        let named = |name: &str| interfaces.iter().find(|interface| interface.name == name);
        let from = named(seat).ok_or_else(|| format!("there is no {seat}"))?;
        let to = named(primary).ok_or_else(|| format!("there is no {primary}"))?;
        if !(to.up && to.carrier) {
            return Err(format!("{primary} does not work"));
        }
        if let Some(doubt) = self.health.doubt(primary) {
            return Err(format!("{primary} {doubt}"));
        }
        let addresses: Vec<_> = from
            .addresses
            .iter()
            .map(|seen| (seen.address, seen.prefix))
            .filter(|(address, _)| net.addresses.contains(address))
            .collect();
        let taken = netlink.switch(from.index, to.index, &addresses);
        let taken = taken.map_err(|error| explain(&error))?;
        for trouble in taken.troubles {
            self.journal.say(&format!("{}: {trouble}", net.name));
        }
        for (address, why) in &taken.left {
            self.journal.say(&format!("{}: {address} stays on {seat}: {why}", net.name));
        }
        let is_there = |(address, _): &(std::net::IpAddr, u8)| {
            !taken.left.iter().any(|(left, _)| left == address)
        };
        let addresses: Vec<_> = addresses.into_iter().filter(is_there).collect();
        self.journal.say(&format!("{}: own addresses are on {primary} again", net.name));
        if let Err(error) = announce(to, &addresses) {
            self.journal.say(&format!("{}: nobody was told: {error}", net.name));
        }
        Ok(())
    }
}

/// Says once where the addresses are; whoever misses it asks.
fn announce(on: &Interface, addresses: &[(std::net::IpAddr, u8)]) -> std::io::Result<()> {
    let Some(mac) = on.mac else { return Ok(()) };
    let socket = Ethernet::open(on.index)?;
    for (address, _) in addresses {
        socket.send(&wire::announcement(mac, *address))?;
    }
    Ok(())
}
