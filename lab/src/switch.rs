//! A switch: a kernel bridge in a namespace of its own, with a port per machine and a filter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::card::Card;
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
    /// How many frames of a thousand are lost on a card's cable, in each direction.
    pub(crate) loss: BTreeMap<(String, Card), u32>,
    /// Cards whose frames are lost while they have a carrier.
    pub(crate) silent: BTreeMap<(String, Card), Silence>,
}

/// Which frames of a card are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Silence {
    /// Those that it should receive.
    In,
    /// Those that it sends.
    Out,
    /// All.
    Both,
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
        let (one_way, loss, silent) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { network, namespace, bridge, filter, one_way, loss, silent })
    }

    /// Where its ports are.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Lays a cable to a machine; its port is down.
    pub(crate) fn connect(
        &mut self,
        (machine, host): (&str, u8),
        card: Card,
        far: &Namespace,
    ) -> Result<()> {
        let (port, interface) = (card.port(machine), card.to_string());
        self.namespace.route().add_cable(
            self.bridge,
            CableEnd { name: &port, hardware: card.port_hardware(host) },
            CableEnd { name: &interface, hardware: card.hardware(host) },
            far.as_fd(),
        )
    }

    /// Pulls the cable out for good (the machine's interface goes with it).
    pub(crate) fn disconnect(&mut self, machine: &str, card: Card) -> Result<()> {
        let port = card.port(machine);
        self.namespace.route().remove(&port)
    }

    /// Port up or down: the machine gains or loses its carrier.
    pub(crate) fn set_port(&mut self, machine: &str, card: Card, up: bool) -> Result<()> {
        let port = card.port(machine);
        self.namespace.route().set_up(&port, up)
    }

    /// A port that limits nothing: what is too long for a machine is dropped by that machine.
    pub(crate) fn accept_all_sizes(&mut self, machine: &str, card: Card) -> Result<()> {
        let port = card.port(machine);
        self.namespace.route().set_mtu(&port, MTU_MAX)
    }

    /// Forgets all rules about a machine's card, or all rules; those between two machines go with
    /// the primary card of either. True if there were any.
    pub(crate) fn forget(&mut self, about: Option<(&str, Card)>) -> bool {
        let before = self.rules();
        match about {
            Some((name, card)) => {
                if !card.is_standby {
                    self.one_way.retain(|(from, to)| from != name && to != name);
                }
                let key = (name.to_owned(), card);
                self.loss.remove(&key);
                self.silent.remove(&key);
            }
            None => {
                self.one_way.clear();
                self.loss.clear();
                self.silent.clear();
            }
        }
        before != self.rules()
    }

    fn rules(&self) -> usize {
        self.one_way.len() + self.loss.len() + self.silent.len()
    }

    /// Brings the kernel's filter in line with the rules.
    pub(crate) fn apply(&mut self) -> Result<()> {
        let cards = [Card::primary(self.network), Card::standby(self.network)];
        let mut rules = Vec::new();
        for (from, to) in &self.one_way {
            // Where a machine has one card only, nothing comes through the other port.
            for input in cards {
                for output in cards {
                    let (input, output) = (Some(input.port(from)), Some(output.port(to)));
                    rules.push(Drop { input, output, permille: None });
                }
            }
        }
        let mut both_ways = |machine: &str, card: Card, what: Silence, permille| {
            let port = Some(card.port(machine));
            if what != Silence::In {
                rules.push(Drop { input: port.clone(), output: None, permille });
            }
            if what != Silence::Out {
                rules.push(Drop { input: None, output: port, permille });
            }
        };
        for ((machine, card), permille) in &self.loss {
            both_ways(machine, *card, Silence::Both, Some(*permille));
        }
        for ((machine, card), what) in &self.silent {
            both_ways(machine, *card, *what, None);
        }
        self.filter
            .set(&rules)
            .with_context(|| format!("changing the rules of {}", spec::network_name(self.network)))
    }
}
