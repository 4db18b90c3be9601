//! Interfaces and addresses that come and go while the daemon runs: netlink tells it, and paths come
//! back without a restart.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Played;
use super::media::{changed_views, views, wait_for_paths};
use crate::clock::{self, milliseconds};
use crate::lab::Lab;
use crate::scene::{PATIENCE, Scene};
use crate::spec;
use crate::wait;

/// The networks of the scenario beside the client's: one of UDP, one of raw Ethernet.
const UDP: u8 = 1;
const ETHERNET: u8 = 2;
/// The name of an interface that is called otherwise for a while.
const OTHER: &str = "another";
/// How long each lasts when no path dies of it.
const WATCH: Duration = Duration::from_secs(3);

/// What happens to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    SetDown,
    Renamed,
    AddressRemoved,
    TakenOut,
}

impl Change {
    /// With the network, and whether its paths die of it.
    const ALL: [(Change, u8, bool); 7] = [
        (Change::SetDown, UDP, true),
        (Change::SetDown, ETHERNET, true),
        // A path over UDP is known by its addresses, which stay.
        (Change::Renamed, UDP, false),
        (Change::Renamed, ETHERNET, true),
        (Change::AddressRemoved, UDP, true),
        (Change::TakenOut, UDP, true),
        (Change::TakenOut, ETHERNET, true),
    ];

    fn name(self) -> &'static str {
        match self {
            Change::SetDown => "set down",
            Change::Renamed => "renamed",
            Change::AddressRemoved => "address removed",
            Change::TakenOut => "taken out",
        }
    }

    fn make(self, lab: &mut Lab, node: &str, number: u8) -> Result<()> {
        let network = spec::network_name(number);
        match self {
            Change::SetDown => lab.link_down(node, &network),
            Change::Renamed => lab.rename_interface(node, &network, OTHER),
            Change::AddressRemoved => {
                let (address, prefix) = address(lab, node, number)?;
                lab.remove_address(node, &network, address, prefix)
            }
            Change::TakenOut => lab.take_card_out(node, &network),
        }
    }

    fn undo(self, lab: &mut Lab, node: &str, number: u8) -> Result<()> {
        let network = spec::network_name(number);
        match self {
            Change::SetDown => lab.heal(node, &network),
            Change::Renamed => lab.rename_interface(node, OTHER, &network),
            Change::AddressRemoved => {
                let (address, prefix) = address(lab, node, number)?;
                lab.add_address(node, &network, address, prefix)
            }
            Change::TakenOut => lab.put_card_in(node, &network),
        }
    }
}

fn address(lab: &Lab, node: &str, network: u8) -> Result<(IpAddr, u8)> {
    let addresses = lab.spec().addresses(lab.node(node)?.id, network);
    addresses.first().copied().context("a node has an address in each network")
}

pub(super) fn come_and_go(scene: &mut Scene, active: &str) -> Result<Played> {
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let node = scene.another_than(active)?;
    let life = scene.status(&node).context("the node gives no status")?.node.incarnation;
    let start = clock::now();
    let mut notes = Vec::new();
    let mut complaints = Vec::new();
    for (change, number, kills) in Change::ALL {
        let network = spec::network_name(number);
        let what = format!("{network} {}", change.name());
        let changed = clock::now();
        change.make(&mut scene.lab, &node, number)?;
        let mut dead = None;
        if kills {
            let outcome = wait::until(&format!("the paths to be dead: {what}"), PATIENCE, || {
                Ok(all_dead(scene, &node, &network).then_some(()))
            });
            scene.explain(outcome)?;
            dead = Some(milliseconds(clock::now() - changed));
        } else {
            clock::pause(WATCH);
            if !all_alive(scene, &node, &network) {
                complaints.push(format!("{what}: its paths are not alive"));
            }
        }
        let undone = clock::now();
        change.undo(&mut scene.lab, &node, number)?;
        let back = wait_for_paths(scene).with_context(|| format!("after {what} and back"));
        back?;
        let back = milliseconds(clock::now() - undone);
        notes.push(match dead {
            Some(dead) => format!("{what}: dead after {dead:.0} ms, back after {back:.0} ms"),
            None => format!("{what}: no effect"),
        });
    }
    complaints.extend(changed_views(scene, &views)?);
    let now = scene.status(&node).context("the node gives no status")?.node.incarnation;
    if now != life {
        complaints.push(format!("{node} was restarted"));
    }
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    played.complaints = complaints;
    played.notes = notes;
    Ok(played)
}

/// At the node itself, and at all others about it.
fn states(scene: &Scene, node: &str, network: &str) -> Option<Vec<String>> {
    let mut states = Vec::new();
    for name in scene.lab.node_names() {
        let paths = scene.status(&name)?.paths.into_iter();
        let concerned = paths.filter(|path| path.network == network);
        let concerned = concerned.filter(|path| name == node || path.peer == node);
        states.extend(concerned.map(|path| path.state));
    }
    Some(states)
}

fn all_dead(scene: &Scene, node: &str, network: &str) -> bool {
    states(scene, node, network).is_some_and(|states| states.iter().all(|state| state == "dead"))
}

fn all_alive(scene: &Scene, node: &str, network: &str) -> bool {
    states(scene, node, network).is_some_and(|states| states.iter().all(|state| state == "alive"))
}
