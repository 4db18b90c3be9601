//! Networks in which machines have two cards: one stands by for the other, or both share service addresses,
//! which may take the place of boot addresses and of hardware addresses.
//!
//! Both cards of a machine are in the same switch, so what the switch keeps apart it keeps apart for both, and
//! only carriers are a card's own. The kernel forgets all of this with its power: a machine starts with each
//! address where its system puts it.

use core::net::{IpAddr, Ipv4Addr};

use base::{NetworkId, NodeId, Prng};
use engine::{Intent, ResourceKind};
use network::place::{Distribution, Takeover};
use network::{Share, Taken, Taking};
use node::Standby;

use crate::fault::Kind;
use crate::machine::{Card, Own};
use crate::setup::{Setup, own_address};
use crate::world::World;

/// What machines have a second card in a network for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Second {
    /// There is none.
    None,
    /// It takes over what the first one has.
    StandsBy {
        /// The addresses go back by themselves.
        returns: bool,
    },
    /// It has service addresses of its own.
    Shares {
        /// How they stand to what the cards have otherwise.
        takeover: Takeover,
        /// Each brings a hardware address.
        hardware: bool,
        /// They are shared out anew when a card works again.
        rebalances: bool,
    },
}

impl Second {
    /// How many cards a machine has there.
    #[must_use]
    pub const fn cards(self) -> u8 {
        match self {
            Second::None => 1,
            Second::StandsBy { .. } | Second::Shares { .. } => 2,
        }
    }
}

/// Draws what second cards are for. Service addresses of networks that share them get no subnet. There are as many
/// cards as addresses where these replace: `services` are all that there can be.
pub fn draw(prng: &mut Prng, networks: usize, services: &mut [engine::Service]) -> Vec<Second> {
    let mut seconds = Vec::new();
    for network in 0..networks {
        let mut prefixes: Vec<&mut u8> = (services.iter_mut())
            .flat_map(|service| &mut service.resources)
            .filter_map(|resource| match &mut resource.kind {
                ResourceKind::Address { address, prefix } => {
                    (network_of(*address) == Some(network)).then_some(prefix)
                }
                _ => None,
            })
            .collect();
        let (hardware, returns) = (prng.chance(1, 2), prng.chance(3, 4));
        let second = match prng.range(0..=4) {
            0 => Second::None,
            1..=2 => Second::StandsBy { returns },
            _ => {
                let replaces = prefixes.len() <= 2 && prng.chance(4, 5);
                let takeover = if replaces { Takeover::Replacement } else { Takeover::Alias };
                let hardware = hardware && replaces;
                Second::Shares { takeover, hardware, rebalances: returns }
            }
        };
        if matches!(second, Second::Shares { .. }) {
            prefixes.iter_mut().for_each(|prefix| **prefix = 32);
        }
        seconds.push(second);
    }
    seconds
}

/// The network that a service address is in.
fn network_of(address: IpAddr) -> Option<usize> {
    match address {
        IpAddr::V4(address) => Some(address.octets()[2].into()),
        IpAddr::V6(_) => None,
    }
}

/// What people call a card.
#[must_use]
pub fn card_name(network: usize, card: u8) -> String {
    format!("eth{network}{}", if card == 0 { "" } else { "s" })
}

fn names(network: usize) -> Vec<String> {
    (0..2).map(|card| card_name(network, card)).collect()
}

/// The address that a card of a network that shares has from its system. The first card's is in the subnet
/// of the service addresses.
fn boot_address(network: NetworkId, node: NodeId, card: u8) -> IpAddr {
    let number = network.0 as u8;
    IpAddr::V4(match card {
        0 => Ipv4Addr::new(10, 77, number, 200 + node.0),
        _ => Ipv4Addr::new(10, 80, number, node.0),
    })
}

impl Setup {
    /// What second cards are for in a network.
    #[must_use]
    pub fn second(&self, network: usize) -> Second {
        self.seconds.get(network).copied().unwrap_or(Second::None)
    }

    /// The cards of a network that stand by for each other.
    pub(crate) fn standby(&self, network: usize) -> Option<Standby> {
        match self.second(network) {
            Second::StandsBy { returns } => {
                Some(Standby { cards: names(network), auto_return: returns })
            }
            Second::None | Second::Shares { .. } => None,
        }
    }

    /// How a node's networks share service addresses out.
    pub(crate) fn shares(&self, intent: &Intent, local: NodeId) -> Vec<Share> {
        let mut shares = Vec::new();
        for (network, setup) in self.networks.iter().enumerate() {
            let Second::Shares { takeover, hardware, rebalances } = self.second(network) else {
                continue;
            };
            if !setup.nodes.contains(local) {
                continue;
            }
            let id = NetworkId(network as u16);
            let resources = intent.services.iter().flat_map(|service| &service.resources);
            let addresses = resources.filter_map(|resource| match &resource.kind {
                ResourceKind::Address { address, .. } => Some(*address),
                _ => None,
            });
            let addresses: Vec<IpAddr> =
                addresses.filter(|address| network_of(*address) == Some(network)).collect();
            let hardware = addresses.iter().filter(|_| hardware);
            shares.push(Share {
                net: format!("net{network}"),
                cards: names(network),
                standbys: Vec::new(),
                distribution: Distribution::LeastLoad,
                takeover,
                source: None,
                rebalances,
                persistent: Vec::new(),
                hardware: hardware.map(|address| (*address, hardware_address(*address))).collect(),
                addresses: addresses.iter().map(|address| (*address, None)).collect(),
                spared: vec![own_address(id, local)],
            });
        }
        shares
    }

    /// The node's own addresses as its system puts them on its cards.
    pub(crate) fn own(&self, node: NodeId) -> Vec<Own> {
        let mut all = Vec::new();
        for (network, setup) in self.networks.iter().enumerate() {
            if !setup.nodes.contains(node) {
                continue;
            }
            let id = NetworkId(network as u16);
            let shares = matches!(self.second(network), Second::Shares { .. });
            let place = |card| Card { network: id, card };
            let prefix = if shares { 32 } else { 24 };
            all.push(Own { card: place(0), address: own_address(id, node), prefix });
            if shares {
                for card in 0..2 {
                    let address = boot_address(id, node, card);
                    all.push(Own { card: place(card), address, prefix: 24 });
                }
            }
        }
        all
    }
}

/// The hardware address that a service address brings.
fn hardware_address(address: IpAddr) -> [u8; 6] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [2, 0xff, a, b, c, d]
        }
        IpAddr::V6(_) => unreachable!("all service addresses here are of IPv4"),
    }
}

impl World {
    /// Own addresses go from one card to the other: all, or now and then none.
    pub(crate) fn switch(
        &mut self,
        number: usize,
        from: Card,
        to: Card,
        addresses: &[(IpAddr, u8)],
    ) -> Result<(), String> {
        self.refuse_now_and_then()?;
        let machine = &mut self.machines[number];
        for own in &mut machine.own {
            if own.card == from && addresses.contains(&(own.address, own.prefix)) {
                own.card = to;
            }
        }
        self.seat(number);
        self.picture_soon(number);
        Ok(())
    }

    /// What a service address takes the place of goes away, on record.
    pub(crate) fn take(&mut self, number: usize, card: Card, taking: &Taking) {
        if *taking == Taking::default() {
            return;
        }
        let before = self.machines[number].mac(card);
        let machine = &mut self.machines[number];
        let record = machine.taken.entry(card.index()).or_default();
        for own in &taking.boot {
            let here = Own { card, address: own.0, prefix: own.1 };
            if machine.own.contains(&here) && !record.boot.contains(own) {
                record.boot.push(*own);
            }
        }
        machine
            .own
            .retain(|own| own.card != card || !taking.boot.contains(&(own.address, own.prefix)));
        if let Some(mac) = taking.mac {
            record.mac = record.mac.or(Some(before));
            machine.macs.insert(card, mac);
        }
    }

    /// What was taken comes back, and the record ends; or now and then nothing of it.
    pub(crate) fn give(&mut self, number: usize, card: Card) -> Result<(), String> {
        self.refuse_now_and_then()?;
        let machine = &mut self.machines[number];
        let Some(Taken { boot, mac }) = machine.taken.remove(&card.index()) else { return Ok(()) };
        for (address, prefix) in boot {
            machine.own.push(Own { card, address, prefix });
        }
        if mac.is_some() {
            machine.macs.remove(&card);
        }
        self.picture_soon(number);
        Ok(())
    }

    fn refuse_now_and_then(&mut self) -> Result<(), String> {
        let refuses = self.healed_at.is_none() && self.prng.chance(1, 8);
        if refuses { Err("no buffer space".to_owned()) } else { Ok(()) }
    }

    /// Datagrams come and go over the card that has the address of their network.
    pub(crate) fn seat(&mut self, number: usize) {
        let machine = &self.machines[number];
        for own in &machine.own {
            if own.address == own_address(own.card.network, machine.node()) {
                self.wires.seat(own.card.network, number, own.card.card);
            }
        }
    }

    /// Which card a fault of a carrier strikes.
    pub(crate) fn card_hit(&self, place: usize, network: usize) -> u8 {
        let cards = self.setup.second(network).cards();
        let mut prng = self.setup.faults[place].prng.child("card");
        prng.range(0..=u64::from(cards) - 1) as u8
    }
}

/// Whether what cards have of their own is where it belongs, once no card fails any more.
///
/// # Errors
/// What is not.
pub fn own_is_in_place(setup: &Setup, machine: &crate::machine::Machine) -> Result<(), String> {
    if !setup.mix.has(Kind::Cards) {
        return Ok(());
    }
    let node = machine.node();
    for own in setup.own(node) {
        let network = usize::from(own.card.network.0);
        let now = machine.own.iter().find(|now| now.address == own.address);
        let may_stay = setup.second(network) == Second::StandsBy { returns: false };
        let taken = machine.taken.get(&own.card.index());
        let is_replaced =
            taken.is_some_and(|taken| taken.boot.contains(&(own.address, own.prefix)));
        let address = own.address;
        match now {
            Some(_) if is_replaced => return Err(format!("{node} has {address}, taken on record")),
            Some(now) if *now == own || may_stay => {}
            Some(_) => return Err(format!("{node} has {address} on its standby card still")),
            None if !is_replaced => return Err(format!("{node} has lost its own {address}")),
            None => {}
        }
    }
    for service in &machine.addresses {
        let card = service.card;
        let second = setup.second(usize::from(card.network.0));
        let replaces = matches!(second, Second::Shares { takeover: Takeover::Replacement, .. });
        let boot = boot_address(card.network, node, card.card);
        if replaces && machine.own.iter().any(|own| own.address == boot) {
            return Err(format!("{node} has {boot} beside {}", service.address));
        }
    }
    for (index, taken) in &machine.taken {
        let card = Card::of(*index);
        if !machine.addresses.iter().any(|service| service.card == card) {
            return Err(format!(
                "{node} has {taken:?} taken from {card:?}, and nothing in its place"
            ));
        }
    }
    Ok(())
}
