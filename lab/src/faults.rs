//! What can go wrong with a network, at the switch's end where a cable or switch would fail.
//!
//! Cutting at the switch takes the node's carrier and leaves its addresses; setting an interface
//! down inside the node is another fault (its IPv6 addresses and routes go), kept apart as
//! [`Lab::link_down`].

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::card::Card;
use crate::lab::Lab;
use crate::netlink::RouteBy;
use crate::spec;
use crate::switch::Silence;

impl Lab {
    /// A node or the client, attached to that network: else nothing could be cut.
    fn check_port(&self, machine: &str, card: &str) -> Result<Card> {
        let card = self.card(card)?;
        if machine == spec::CLIENT {
            let attached = !card.is_standby && self.spec.client_networks.contains(&card.network);
            ensure!(attached, "the client has no {card}");
        } else {
            self.node(machine)?;
        }
        Ok(card)
    }

    fn has_port(&self, machine: &str) -> bool {
        machine == spec::CLIENT || self.node(machine).is_ok_and(|node| node.machine.is_some())
    }

    /// Pulls a card's cable out of the switch: it loses its carrier. Lasts over power-off.
    ///
    /// # Errors
    /// When there is no such node or card.
    pub fn cut(&mut self, machine: &str, card: &str) -> Result<()> {
        let card = self.check_port(machine, card)?;
        self.cut.insert((machine.to_owned(), card));
        if self.has_port(machine) {
            self.switches[usize::from(card.network)].set_port(machine, card, false)?;
        }
        Ok(())
    }

    /// Repairs everything between a card and its switch: cable, interface, rules about it.
    ///
    /// # Errors
    /// When there is no such node or card.
    pub fn heal(&mut self, machine: &str, card: &str) -> Result<()> {
        let card = self.check_port(machine, card)?;
        self.cut.remove(&(machine.to_owned(), card));
        let switch = &mut self.switches[usize::from(card.network)];
        if switch.forget(Some((machine, card))) {
            switch.apply()?;
        }
        if self.has_port(machine) {
            self.switches[usize::from(card.network)].set_port(machine, card, true)?;
            self.restore_interface(machine, card)?;
        }
        Ok(())
    }

    /// Up again after it was set down, with the addresses that went; where there are standbys, the
    /// node's addresses may be on another card by now, and are the daemon's matter.
    fn restore_interface(&mut self, machine: &str, card: Card) -> Result<()> {
        if !self.down.remove(&(machine.to_owned(), card)) {
            return Ok(());
        }
        let addresses = match self.spec.has_standby(card.network) {
            true => Vec::new(),
            false => self.spec.addresses(self.node(machine)?.id, card.network),
        };
        self.machine(machine)?.namespace.configure(&card.to_string(), &addresses)
    }

    /// Loses frames of a card while it keeps its carrier: those that it should receive, those that
    /// it sends, or all.
    ///
    /// # Errors
    /// When there is no such node or card, or the kernel has no filter for switches.
    pub fn silence(&mut self, machine: &str, card: &str, what: Silence) -> Result<()> {
        let card = self.check_port(machine, card)?;
        let switch = &mut self.switches[usize::from(card.network)];
        switch.silent.insert((machine.to_owned(), card), what);
        switch.apply()
    }

    /// Repairs everything on all networks, lines and the shared disk. Power is not a matter of networks and stays as it is.
    ///
    /// # Errors
    /// When the kernel refuses something.
    pub fn heal_all(&mut self) -> Result<()> {
        self.heal_media()?;
        for switch in &mut self.switches {
            if switch.forget(None) {
                switch.apply()?;
            }
        }
        let mut machines = self.node_names();
        machines.push(spec::CLIENT.to_owned());
        for machine in machines {
            for card in self.spec.cards() {
                let card = card.to_string();
                if self.check_port(&machine, &card).is_ok() {
                    self.heal(&machine, &card)?;
                }
            }
        }
        Ok(())
    }

    /// Drops all frames from one machine to another, whichever cards they go by; those of the other direction get through.
    ///
    /// # Errors
    /// When there is no such machine or network, or the kernel has no filter for switches.
    pub fn cut_one_way(&mut self, from: &str, to: &str, network: &str) -> Result<()> {
        let number = self.network(network)?;
        self.check_port(from, network)?;
        self.check_port(to, network)?;
        ensure!(from != to, "from {from} to itself there is no cable");
        let switch = &mut self.switches[usize::from(number)];
        switch.one_way.insert((from.to_owned(), to.to_owned()));
        switch.apply()
    }

    /// Splits the machines into two sets that do not hear each other, on all networks. Machines
    /// that are in neither set hear both.
    ///
    /// # Errors
    /// As [`Lab::cut_one_way`]; when a machine is in both sets.
    pub fn partition(&mut self, one: &[&str], other: &[&str]) -> Result<()> {
        for machine in one.iter().chain(other) {
            if ![spec::CLIENT, spec::OBSERVER, spec::STRANGER, spec::ARBITER].contains(machine) {
                self.node(machine)?;
            }
        }
        let both = one.iter().find(|machine| other.contains(machine));
        ensure!(both.is_none(), "{} is on both sides", both.unwrap_or(&""));
        for switch in &mut self.switches {
            for a in one {
                for b in other {
                    switch.one_way.insert((a.to_string(), b.to_string()));
                    switch.one_way.insert((b.to_string(), a.to_string()));
                }
            }
            switch.apply()?;
        }
        Ok(())
    }

    /// Loses this many of a thousand frames on a card's cable, by chance, in each direction.
    /// 0 repairs it.
    ///
    /// # Errors
    /// When there is no such machine or card, or more than 1,000 are asked for.
    pub fn loss(&mut self, machine: &str, card: &str, permille: u32) -> Result<()> {
        ensure!(permille <= 1000, "of a thousand frames at most 1000 can be lost");
        let card = self.check_port(machine, card)?;
        let switch = &mut self.switches[usize::from(card.network)];
        let key = (machine.to_owned(), card);
        if permille == 0 {
            switch.loss.remove(&key);
        } else {
            switch.loss.insert(key, permille);
        }
        switch.apply()
    }

    /// Sets a node's own interface administratively down, as `ip link set down` there would: its
    /// IPv6 addresses and its routes of that network go.
    ///
    /// # Errors
    /// When the node has no power.
    pub fn link_down(&mut self, node: &str, card: &str) -> Result<()> {
        let number = self.card(card)?;
        self.machine(node)?.namespace.route().set_up(card, false)?;
        self.down.insert((node.to_owned(), number));
        Ok(())
    }

    /// Sets the MTU of a node's interface. The switch takes frames of any size.
    ///
    /// # Errors
    /// When the node has no power, or the kernel has no such MTU (68 to 65,535 for a cable here).
    pub fn set_mtu(&mut self, node: &str, card: &str, mtu: u32) -> Result<()> {
        let number = self.check_port(node, card)?;
        self.machine(node)?.namespace.route().set_mtu(card, mtu)?;
        self.switches[usize::from(number.network)].accept_all_sizes(node, number)
    }

    /// Gives a node's interface another name; its addresses stay.
    ///
    /// # Errors
    /// When there is no such interface, or the kernel refuses to rename one that is up.
    pub fn rename_interface(&mut self, node: &str, from: &str, to: &str) -> Result<()> {
        self.machine(node)?.namespace.route().rename(from, to)
    }

    /// Takes a node's card out: the interface is gone, with its addresses and routes.
    ///
    /// # Errors
    /// When the node has no power or the card is out already.
    pub fn take_card_out(&mut self, node: &str, card: &str) -> Result<()> {
        let card = self.check_port(node, card)?;
        self.machine(node)?;
        self.switches[usize::from(card.network)].disconnect(node, card)
    }

    /// Puts a new card in: an interface of the same name with the same addresses.
    ///
    /// # Errors
    /// When the node has no power or the card is in.
    pub fn put_card_in(&mut self, node: &str, card: &str) -> Result<()> {
        let card = self.check_port(node, card)?;
        let id = self.node(node)?.id;
        self.plug(node, id, card)
    }

    /// Puts the stranger between all nodes as a router with a small MTU on these networks, or takes
    /// it away. It sends no ICMP about better ways.
    ///
    /// # Errors
    /// When the stranger is not in one of the networks, or a node has no power.
    pub(crate) fn route_through_stranger(
        &mut self,
        networks: &[u8],
        mtu: u32,
        is_between: bool,
    ) -> Result<()> {
        let names = self.node_names();
        if is_between {
            let settings = Path::new("/proc/sys/net/ipv4");
            let quiet = networks.iter().map(|number| {
                let network = spec::network_name(*number);
                (settings.join("conf").join(network).join("send_redirects"), "0")
            });
            // Both are asked: that of all interfaces, and that of each.
            let all = (settings.join("conf/all/send_redirects"), "0");
            let router: Vec<_> = quiet.chain([all, (settings.join("ip_forward"), "1")]).collect();
            self.stranger().namespace().run(|| {
                router.iter().try_for_each(|(path, value)| {
                    let shown = path.display();
                    fs::write(path, value).with_context(|| format!("setting {shown}"))
                })
            })?;
        }
        for number in networks {
            let network = spec::network_name(*number);
            let router = spec::node_address(*number, spec::STRANGER_HOST);
            for (id, _) in (1..).zip(&names) {
                let to = spec::node_address(*number, id);
                let route = self.stranger_mut().namespace_mut().route();
                route.change_route(is_between, to, &network, RouteBy::Mtu(mtu))?;
                for name in names.iter().filter(|name| **name != spec::node_name(id)) {
                    let route = self.machine(name)?.namespace.route();
                    route.change_route(is_between, to, &network, RouteBy::Gateway(router))?;
                }
            }
        }
        Ok(())
    }
}
