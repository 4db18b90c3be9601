//! What can go wrong with a network, at the switch's end where a cable or switch would fail.
//!
//! Cutting at the switch takes the node's carrier and leaves its addresses; setting an interface
//! down inside the node is another fault (its IPv6 addresses and routes go), kept apart as
//! [`Lab::link_down`].

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::lab::Lab;
use crate::netlink::RouteBy;
use crate::spec;

impl Lab {
    /// A node or the client, attached to that network: else nothing could be cut.
    fn check_port(&self, machine: &str, network: &str) -> Result<u8> {
        let number = self.network(network)?;
        if machine == spec::CLIENT {
            let attached = self.spec.client_networks.contains(&number);
            ensure!(attached, "the client is not attached to {network}");
        } else {
            self.node(machine)?;
        }
        Ok(number)
    }

    fn has_port(&self, machine: &str) -> bool {
        machine == spec::CLIENT || self.node(machine).is_ok_and(|node| node.machine.is_some())
    }

    /// Pulls a machine's cable out of the switch: it loses its carrier. Lasts over power-off.
    ///
    /// # Errors
    /// When there is no such node or network.
    pub fn cut(&mut self, machine: &str, network: &str) -> Result<()> {
        let number = self.check_port(machine, network)?;
        self.cut.insert((machine.to_owned(), number));
        if self.has_port(machine) {
            self.switches[usize::from(number)].set_port(machine, false)?;
        }
        Ok(())
    }

    /// Repairs everything between a machine and a network: cable, interface, rules about it.
    ///
    /// # Errors
    /// When there is no such node or network.
    pub fn heal(&mut self, machine: &str, network: &str) -> Result<()> {
        let number = self.check_port(machine, network)?;
        self.cut.remove(&(machine.to_owned(), number));
        let switch = &mut self.switches[usize::from(number)];
        if switch.forget(Some(machine)) {
            switch.apply()?;
        }
        if self.has_port(machine) {
            self.switches[usize::from(number)].set_port(machine, true)?;
            self.restore_interface(machine, number)?;
        }
        Ok(())
    }

    /// Up again, with the IPv6 addresses that went when it was set down.
    fn restore_interface(&mut self, machine: &str, network: u8) -> Result<()> {
        if machine == spec::CLIENT {
            return Ok(());
        }
        let addresses = self.spec.addresses(self.node(machine)?.id, network);
        let namespace = &mut self.machine(machine)?.namespace;
        namespace.configure(&spec::network_name(network), &addresses)
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
            for number in 0..self.spec.networks {
                let network = spec::network_name(number);
                if self.check_port(&machine, &network).is_ok() {
                    self.heal(&machine, &network)?;
                }
            }
        }
        Ok(())
    }

    /// Drops all frames from one machine to another; those of the other direction get through.
    ///
    /// # Errors
    /// When there is no such machine or network, or the kernel has no filter for switches.
    pub fn cut_one_way(&mut self, from: &str, to: &str, network: &str) -> Result<()> {
        let number = self.check_port(from, network)?;
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
            if *machine != spec::CLIENT {
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

    /// Loses this many of a thousand frames on a machine's cable, by chance, in each direction.
    /// 0 repairs it.
    ///
    /// # Errors
    /// When there is no such machine or network, or more than 1,000 are asked for.
    pub fn loss(&mut self, machine: &str, network: &str, permille: u32) -> Result<()> {
        ensure!(permille <= 1000, "of a thousand frames at most 1000 can be lost");
        let number = self.check_port(machine, network)?;
        let switch = &mut self.switches[usize::from(number)];
        if permille == 0 {
            switch.loss.remove(machine);
        } else {
            switch.loss.insert(machine.to_owned(), permille);
        }
        switch.apply()
    }

    /// Sets a node's own interface administratively down, as `ip link set down` there would: its
    /// IPv6 addresses and its routes of that network go.
    ///
    /// # Errors
    /// When the node has no power.
    pub fn link_down(&mut self, node: &str, network: &str) -> Result<()> {
        self.network(network)?;
        self.machine(node)?.namespace.route().set_up(network, false)
    }

    /// Sets the MTU of a node's interface. The switch takes frames of any size.
    ///
    /// # Errors
    /// When the node has no power, or the kernel has no such MTU (68 to 65,535 for a cable here).
    pub fn set_mtu(&mut self, node: &str, network: &str, mtu: u32) -> Result<()> {
        let number = self.check_port(node, network)?;
        self.machine(node)?.namespace.route().set_mtu(network, mtu)?;
        self.switches[usize::from(number)].accept_all_sizes(node)
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
    pub fn take_card_out(&mut self, node: &str, network: &str) -> Result<()> {
        let number = self.check_port(node, network)?;
        self.machine(node)?;
        self.switches[usize::from(number)].disconnect(node)
    }

    /// Puts a new card in: an interface of the same name with the same addresses.
    ///
    /// # Errors
    /// When the node has no power or the card is in.
    pub fn put_card_in(&mut self, node: &str, network: &str) -> Result<()> {
        let number = self.check_port(node, network)?;
        let id = self.node(node)?.id;
        self.plug(node, id, number)
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
