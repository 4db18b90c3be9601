//! A network of services that fails: for one node its services go elsewhere, for all nobody moves.

use std::time::Duration;

use anyhow::Result;

use super::Played;
use super::media::{changed_views, recovered, views, wait_for_paths};
use crate::clock;
use crate::scene::{PATIENCE, Scene};
use crate::spec;

/// How long the switch is off: longer than it takes to see that a failure lasts.
const OFF: Duration = Duration::from_secs(3);

/// The networks that the client is on.
fn client_networks(scene: &Scene) -> Vec<String> {
    scene.lab.spec().client_networks.iter().map(|n| spec::network_name(*n)).collect()
}

/// The active node loses the service's network and nothing else: the service goes, the node stays.
pub(super) fn service_network(scene: &mut Scene, active: &str) -> Result<Played> {
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let start = clock::now();
    for network in client_networks(scene) {
        scene.lab.cut(active, &network)?;
    }
    scene.wait_for_another(active, PATIENCE)?;
    let complaints = changed_views(scene, &views)?;
    scene.lab.heal_all()?;
    wait_for_paths(scene)?;
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    played.complaints = complaints;
    Ok(played)
}

/// The service's network is gone for all nodes for a while.
pub(super) fn switch_off(scene: &mut Scene) -> Result<Played> {
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let start = clock::now();
    for node in scene.lab.node_names() {
        for network in client_networks(scene) {
            scene.lab.cut(&node, &network)?;
        }
    }
    clock::pause(OFF);
    let healed = clock::now();
    scene.lab.heal_all()?;
    let back = scene.wait_for_answer(PATIENCE).map(|_| clock::now());
    let back = scene.explain(back)?;
    // Whoever is the first to have a carrier again must not get everything.
    clock::pause(OFF);
    let complaints = changed_views(scene, &views)?;
    wait_for_paths(scene)?;
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    played.notes.push(recovered(back - healed));
    played.excused.push((start, back));
    played.complaints = complaints;
    Ok(played)
}
