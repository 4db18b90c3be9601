//! The active node has hundreds of addresses when it loses its power.

use std::time::Duration;

use anyhow::Result;

use super::{Played, WATCH};
use crate::clock;
use crate::lab::Lab;
use crate::many::{self, Many};
use crate::scene::{Formation, PATIENCE, Scene};
use crate::wait;

/// A cluster whose nodes have a further subnet, and services with addresses in it.
pub(super) fn form(mut lab: Lab, detection: &str, many: Many) -> Result<(Scene, Formation)> {
    for node in lab.node_names() {
        many::furnish(&mut lab, &node)?;
    }
    let services = beside_web(many).services(&lab);
    Scene::form_with(lab, detection, |cluster| {
        cluster.services.extend(services);
        Ok(())
    })
}

/// Its power goes; how long until all its addresses are announced elsewhere, and whether those that are
/// left kept in touch meanwhile.
pub(super) fn power_off(scene: &mut Scene, active: &str, many: Many) -> Result<Played> {
    wait_until_all_run(scene, Some(active))?;
    let other = scene.another_than(active)?;
    let generation = generation(scene, &other);
    let start = clock::now();
    let taken = many::take_over(beside_web(many), &mut scene.lab, active);
    let taken = scene.explain(taken)?;
    wait_until_all_run(scene, None)?;
    let after = self::generation(scene, &other);
    scene.lab.power_on(active)?;
    many::furnish(&mut scene.lab, active)?;
    scene.lab.start(active)?;
    scene.wait_for_all()?;
    clock::pause(WATCH);
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    if after != generation + 1 {
        let text = format!("the view of {other} changed from {generation} to {after}, not once");
        played.complaints.push(text);
    }
    played.complaints.extend(taken.complaint(scene.limits.interval));
    played.notes.push(format!(
        "{} addresses of {} services announced elsewhere after {:.0} ms (first), {:.0} (half), {:.0} \
         (all)",
        many.addresses, many.services, taken.first, taken.half, taken.last
    ));
    let interval = scene.limits.interval.as_millis();
    let missed = taken.missed(scene.limits.interval);
    played.notes.extend(missed.zip(taken.silence).map(|(missed, silence)| {
        format!(
            "{missed} heartbeats missed between the nodes that are left: at most {silence:.0} ms without \
             one, the interval is {interval} ms"
        )
    }));
    Ok(played)
}

/// Without what the client asks: that is one service with one address, too.
fn beside_web(many: Many) -> Many {
    Many { services: many.services - 1, addresses: many.addresses - 1 }
}

/// Waits until every service runs, on that node if one is given.
fn wait_until_all_run(scene: &Scene, node: Option<&str>) -> Result<()> {
    let patience = PATIENCE + Duration::from_secs(20);
    let outcome = wait::until("all services to run", patience, || {
        let names = scene.lab.node_names().into_iter();
        let Some(status) = names.filter_map(|name| scene.status(&name)).next() else {
            return Ok(None);
        };
        let mut services = status.services.iter();
        let all = services.all(|service| {
            let is_there = node.is_none_or(|node| service.node.as_deref() == Some(node));
            service.state == "running" && is_there
        });
        Ok(all.then_some(()))
    });
    scene.explain(outcome)
}

fn generation(scene: &Scene, node: &str) -> u64 {
    scene.status(node).map_or(0, |status| status.view.generation)
}
