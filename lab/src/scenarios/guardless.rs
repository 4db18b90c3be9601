//! An owner whose guard does nothing, or is not there any more, is cut off from the others: its daemon ends the
//! processes of its services.
//!
//! The daemon is well in both cases, and the census demands of it what it demands of a guard: where a stopped guard
//! has been for some time, no process of the service may run beside the new owner's; where the guard is killed, none
//! after its time of grace.

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::WATCH;
use crate::clock;
use crate::lab::Which;
use crate::scene::{PATIENCE, Scene, Seen};

/// Nothing moves because the guard is stopped; but nothing runs twice then.
pub(super) fn stopped(scene: &mut Scene, active: &str) -> Result<Seen> {
    let start = clock::now();
    scene.lab.stop(active, Which::Guard)?;
    clock::pause(WATCH);
    let owner = scene.wait_until_quiet()?;
    ensure!(owner == active, "the service went to {owner} because a guard was stopped");
    cut_off(scene, active)?;
    let taken = scene.wait_for_another(active, PATIENCE);
    clock::pause(WATCH);
    scene.lab.cont(active, Which::Guard)?;
    taken?;
    healed(scene)?;
    scene.seen_since(start)
}

/// The next guard comes when the daemon can leave.
pub(super) fn killed(scene: &mut Scene, active: &str) -> Result<Seen> {
    let start = clock::now();
    cut_off(scene, active)?;
    scene.lab.kill(active, Signal::KILL, Which::Guard)?;
    scene.wait_for_another(active, PATIENCE)?;
    clock::pause(WATCH);
    scene.lab.heal_all()?;
    scene.lab.start(active)?;
    healed(scene)?;
    scene.seen_since(start)
}

fn cut_off(scene: &mut Scene, active: &str) -> Result<()> {
    let names = scene.lab.node_names();
    let others: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| *name != active).collect();
    scene.lab.partition(&[active], &others)
}

fn healed(scene: &mut Scene) -> Result<()> {
    scene.lab.heal_all()?;
    scene.wait_for_all()?;
    clock::pause(WATCH);
    scene.wait_until_quiet()?;
    Ok(())
}
