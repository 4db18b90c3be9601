//! The active machine loses its power: QEMU is killed between two instructions. Then it gets it
//! back, with the disk as it was at that moment.

use std::time::Duration;

use anyhow::Result;
use lab::clock;

use crate::vm::Bench;
use crate::vm::scene::{Scene, Wish, secs};

/// Longer than any takeover: what is not right by then is told with the bound.
const TAKEOVER: Duration = Duration::from_secs(60);

pub(super) fn play(bench: &Bench) -> Result<Vec<String>> {
    let mut scene = Scene::start(bench, &Wish::new(3))?;
    let owner = scene.settle()?;
    let (wait, limit) = scene.bounds(&owner)?;
    let start = clock::now();
    scene.patience.say(&format!("no power for {owner}; F is {} s", secs(wait)));
    scene.machine(&owner).cut_power()?;
    scene.wait_for_another(&owner, TAKEOVER)?;
    scene.settle()?;
    scene.judge(start, limit)?;
    scene.patience.say(&format!("power for {owner}"));
    scene.machine(&owner).power_on()?;
    scene.machine(&owner).wait_for_boot()?;
    scene.settle()?;
    let said = scene.judge(start, limit)?;
    Ok(vec![said, format!("{owner} got its power back and is a member")])
}
