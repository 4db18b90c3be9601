//! Cards: the places where cables end in a machine.
//!
//! A machine has one card in each network that it is attached to. In a lab with standbys
//! ([`Spec::standbys`](crate::spec::Spec)) each node has a second one, in the same switch and without
//! an address, as a cluster wants it that moves a card's addresses when that card fails. A card is
//! named like its interface, so faults take `net0` (the primary) or `net0s` (its standby).
//!
//! Hardware addresses tell network, card and machine (`02:4d:53:NETWORK:CARD:MACHINE`), so that a
//! neighbour table can be read by a person.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::netlink::Hardware;
use crate::spec;

/// What distinguishes the two ends of the cables of both cards, in their hardware addresses.
const PRIMARY: u8 = 0;
const PRIMARY_PORT: u8 = 1;
const STANDBY: u8 = 2;
const STANDBY_PORT: u8 = 3;

/// One card of any machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Card {
    /// The network whose switch its cable leads to.
    pub network: u8,
    /// The second one of a node.
    pub is_standby: bool,
}

impl Card {
    /// The card that every machine in a network has, with the machine's addresses.
    pub fn primary(network: u8) -> Self {
        Self { network, is_standby: false }
    }

    /// The second card of a node, without addresses.
    pub fn standby(network: u8) -> Self {
        Self { network, is_standby: true }
    }

    /// The port at the switch: `n1-net0`.
    pub(crate) fn port(self, machine: &str) -> String {
        let name = format!("{machine}-{self}");
        assert!(name.len() < 16, "an interface name has at most 15 bytes");
        name
    }

    /// The hardware address: locally administered, readable, never changing.
    pub fn hardware(self, host: u8) -> Hardware {
        let card = if self.is_standby { STANDBY } else { PRIMARY };
        [0x02, 0x4d, 0x53, self.network, card, host]
    }

    /// That of the switch's end of the cable.
    pub(crate) fn port_hardware(self, host: u8) -> Hardware {
        let port = if self.is_standby { STANDBY_PORT } else { PRIMARY_PORT };
        [0x02, 0x4d, 0x53, self.network, port, host]
    }

    /// Whose card has this hardware address; `None` if it is not of a machine of a lab.
    pub fn of(hardware: Hardware) -> Option<(String, Self)> {
        let [0x02, 0x4d, 0x53, network, card @ (PRIMARY | STANDBY), host] = hardware else {
            return None;
        };
        let owner = match host {
            spec::CLIENT_HOST => spec::CLIENT.to_owned(),
            spec::OBSERVER_HOST => spec::OBSERVER.to_owned(),
            spec::STRANGER_HOST => spec::STRANGER.to_owned(),
            spec::ARBITER_HOST => spec::ARBITER.to_owned(),
            id => spec::node_name(id),
        };
        Some((owner, Self { network, is_standby: card == STANDBY }))
    }
}

impl fmt::Display for Card {
    /// `net0` or `net0s`: the name of the interface inside the machine.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.is_standby { "s" } else { "" };
        write!(f, "{}{suffix}", spec::network_name(self.network))
    }
}

/// `n1 net0s`: machine and card of a hardware address, or the address itself.
pub(crate) fn told(hardware: Hardware) -> String {
    match Card::of(hardware) {
        Some((machine, card)) => format!("{machine} {card}"),
        None => colons(hardware),
    }
}

/// `02:4d:53:00:00:01`
pub(crate) fn colons(hardware: Hardware) -> String {
    hardware.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests;
