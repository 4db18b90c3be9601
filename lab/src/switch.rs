//! A switch: a kernel bridge in a namespace of its own, with a port per machine and a filter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd;

use anyhow::{Context, Result};

use crate::namespace::Namespace;
use crate::netlink::CableEnd;
use crate::nft::{Drop, Filter};
use crate::spec;

/// The longest packet that a cable takes.
const MTU_MAX: u32 = 65_535;

/// One network of the lab.
pub(crate) struct Switch {
    network: u8,
    namespace: Namespace,
    bridge: u32,
    filter: Filter,
    /// From which machine to which nothing gets through.
    pub(crate) one_way: BTreeSet<(String, String)>,
    /// How many frames of a thousand are lost on a machine's cable, in each direction.
    pub(crate) loss: BTreeMap<String, u32>,
}

impl Switch {
    pub(crate) fn create(network: u8) -> Result<Self> {
        let mut namespace = Namespace::create()?;
        let filter = namespace.run(|| {
            // A switch has no opinion on IPv6: without this the bridge would send frames itself.
            let path = "/proc/sys/net/ipv6/conf/default/disable_ipv6";
            if fs::exists(path).unwrap_or(false) {
                fs::write(path, "1").context("switching IPv6 off in a switch")?;
            }
            Filter::open()
        })?;
        let bridge = namespace.route().add_switch("switch")?;
        let (one_way, loss) = (BTreeSet::new(), BTreeMap::new());
        Ok(Self { network, namespace, bridge, filter, one_way, loss })
    }

    /// Where its ports are.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Lays a cable to a machine; its port is down.
    pub(crate) fn connect(&mut self, machine: &str, host: u8, far: &Namespace) -> Result<()> {
        let (port, interface) =
            (spec::port_name(machine, self.network), spec::network_name(self.network));
        self.namespace.route().add_cable(
            self.bridge,
            CableEnd { name: &port, hardware: spec::port_hardware(self.network, host) },
            CableEnd { name: &interface, hardware: spec::hardware(self.network, host) },
            far.as_fd(),
        )
    }

    /// Pulls the cable out for good (the machine's interface goes with it).
    pub(crate) fn disconnect(&mut self, machine: &str) -> Result<()> {
        let port = spec::port_name(machine, self.network);
        self.namespace.route().remove(&port)
    }

    /// Port up or down: the machine gains or loses its carrier.
    pub(crate) fn set_port(&mut self, machine: &str, up: bool) -> Result<()> {
        let port = spec::port_name(machine, self.network);
        self.namespace.route().set_up(&port, up)
    }

    /// A port that limits nothing: what is too long for a machine is dropped by that machine.
    pub(crate) fn accept_all_sizes(&mut self, machine: &str) -> Result<()> {
        let port = spec::port_name(machine, self.network);
        self.namespace.route().set_mtu(&port, MTU_MAX)
    }

    /// Forgets all rules about a machine, or all rules. True if there were any.
    pub(crate) fn forget(&mut self, machine: Option<&str>) -> bool {
        let before = self.one_way.len() + self.loss.len();
        match machine {
            Some(name) => {
                self.one_way.retain(|(from, to)| from != name && to != name);
                self.loss.remove(name);
            }
            None => {
                self.one_way.clear();
                self.loss.clear();
            }
        }
        before != self.one_way.len() + self.loss.len()
    }

    /// Brings the kernel's filter in line with the rules.
    pub(crate) fn apply(&mut self) -> Result<()> {
        let port = |machine: &str| Some(spec::port_name(machine, self.network));
        let mut rules: Vec<Drop> = self
            .one_way
            .iter()
            .map(|(from, to)| Drop { input: port(from), output: port(to), permille: None })
            .collect();
        for (machine, permille) in &self.loss {
            let permille = Some(*permille);
            rules.push(Drop { input: port(machine), output: None, permille });
            rules.push(Drop { input: None, output: port(machine), permille });
        }
        self.filter
            .set(&rules)
            .with_context(|| format!("changing the rules of {}", spec::network_name(self.network)))
    }
}
