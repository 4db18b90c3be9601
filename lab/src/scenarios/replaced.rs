//! A service address in the place of the boot address, taken over by another node: with the card's own hardware
//! address, and with one that goes along.
//!
//! The client keeps its neighbour entry the whole time, as a third machine does; what it says before and
//! after is the point of a hardware address that moves: nobody has to learn anything.

use std::net::IpAddr;

use anyhow::Result;

use super::{Played, power_off};
use crate::card::{self, Card};
use crate::cluster::{Cluster, Replacement, SERVICE_ADDRESS};
use crate::netlink::Hardware;
use crate::scene::Scene;

/// The network whose boot addresses are replaced.
const NETWORK: u8 = 0;
/// The hardware address that goes along.
const HARDWARE: Hardware = [0x02, 0x00, 0x0a, 0x4d, 0x00, 0x64];

/// Has the service address replace boot addresses.
pub(super) fn adapt(cluster: &mut Cluster, has_hardware: bool) {
    let hardware = has_hardware.then(|| card::colons(HARDWARE));
    cluster.replacement = Some(Replacement { hardware });
}

/// The active node loses its power.
pub(super) fn taken_over(scene: &mut Scene, active: &str, has_hardware: bool) -> Result<Played> {
    let service = IpAddr::from(SERVICE_ADDRESS);
    let station = |scene: &Scene| scene.lab.client().neighbour(service);
    let mut complaints = Vec::new();
    let own = |scene: &Scene, node: &str| -> Result<Hardware> {
        Ok(Card::primary(NETWORK).hardware(scene.lab.node(node)?.id))
    };
    let expected = match has_hardware {
        true => HARDWARE,
        false => own(scene, active)?,
    };
    let before = station(scene)?;
    if before != Some(expected) {
        complaints.push(format!("the client sends to {}", name(before)));
    }
    let seen = power_off(scene, active)?;
    let other = scene.wait_until_quiet()?;
    let expected = match has_hardware {
        true => HARDWARE,
        false => own(scene, &other)?,
    };
    let after = station(scene)?;
    if after != Some(expected) {
        complaints.push(format!("after the takeover the client sends to {}", name(after)));
    }
    let mut played = Played::from(seen);
    played.notes.push(format!(
        "the client's neighbour cache for {service}: {} before, {} after",
        name(before),
        name(after)
    ));
    played.complaints = complaints;
    Ok(played)
}

fn name(station: Option<Hardware>) -> String {
    station.map_or("nothing".to_owned(), card::told)
}
