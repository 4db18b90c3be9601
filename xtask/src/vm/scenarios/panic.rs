//! The kernel of the active machine panics. It neither says goodbye nor ends anything: its
//! addresses stay where they are, but nothing answers for them. After `panic=` seconds the machine
//! restarts by itself and joins again.

use std::time::Duration;

use anyhow::Result;
use lab::clock;

use crate::vm::Bench;
use crate::vm::scene::{Scene, Wish, secs};

/// When the kernel restarts: long after the others have taken over.
const RESTART: u32 = 30;
/// From the order to the words on the console.
const WORDS: Duration = Duration::from_secs(30);
/// Longer than any takeover: what is not right by then is told with the bound.
const TAKEOVER: Duration = Duration::from_secs(60);

pub(super) fn play(bench: &Bench) -> Result<Vec<String>> {
    let mut scene = Scene::start(bench, &Wish { panic: RESTART, ..Wish::new(3) })?;
    let owner = scene.settle()?;
    let (wait, limit) = scene.bounds(&owner)?;
    let from = scene.machine(&owner).console().lines()?.len();
    let start = clock::now();
    scene.patience.say(&format!("echo c > /proc/sysrq-trigger on {owner}; F is {} s", secs(wait)));
    scene.machine(&owner).send("echo c > /proc/sysrq-trigger")?;
    let line = scene.machine(&owner).wait_for("Kernel panic", from, WORDS)?;
    let mut said = vec![format!("{owner}: {}", line.whole)];
    scene.wait_for_another(&owner, TAKEOVER)?;
    scene.judge(start, limit)?;
    scene.patience.say(&format!("{owner} restarts {RESTART} s after its panic"));
    scene.machine(&owner).wait_for_boot()?;
    scene.settle()?;
    // With all that was asked while it came back.
    said.push(scene.judge(start, limit)?);
    said.push(format!("{owner} came back by itself and is a member"));
    Ok(said)
}
