//! The guard and the daemon of a machine with a storage service are stopped. Its lease ends, but
//! nobody can end what writes; so the watchdog that the guard fed resets the machine, and only when
//! that must have happened may another one start the service.
//!
//! Before that, the same driver (softdog) is tried alone on another machine.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::clock;
use serde_json::Value;

use crate::vm::Bench;
use crate::vm::scene::{Scene, Wish, secs};

/// What the driver says when it resets.
pub(super) const WORDS: &str = "softdog: Initiating system reboot";
/// From the end of the feeding to these words, at most.
pub(super) const RESET: Duration = Duration::from_secs(60);
/// Longer than any takeover.
pub(super) const TAKEOVER: Duration = Duration::from_secs(90);
/// The last contact may be so much before the stop: heartbeats are 200 ms apart, and a machine is
/// slow to send one.
const CONTACT: Duration = Duration::from_millis(1500);
/// A line of the service's own table.
pub(super) const CLASS: &str = "class = \"storage\"\n";
pub(super) const CONFIGURATION: &str =
    "[watchdog]\ndevice = \"/dev/watchdog0\"\ntimeout = \"10s\"\n";

/// Stops all processes of the program but the service's own, which goes on answering, and names them.
pub(super) const FREEZE: &str = "for p in $(pidof mainstay); do grep -q responder /proc/$p/cmdline || \
                      { kill -STOP $p && tr '\\0' ' ' </proc/$p/cmdline; echo; }; done";

pub(super) fn play(bench: &Bench) -> Result<Vec<String>> {
    let wish = Wish {
        before: |_| "modprobe softdog\n".to_owned(),
        service: CLASS,
        tail: CONFIGURATION,
        ..Wish::new(3)
    };
    let mut scene = Scene::start(bench, &wish)?;
    let owner = scene.settle()?;
    let mut said = vec![alone(&mut scene, "n3")?];
    scene.settle()?;
    said.extend(frozen(&mut scene, &owner)?);
    Ok(said)
}

/// The program's own test, which does not feed what it has armed.
fn alone(scene: &mut Scene, name: &str) -> Result<String> {
    let from = scene.machine(name).console().lines()?.len();
    scene.patience.say(&format!("mainstay watchdog test --reset on {name}"));
    scene.machine(name).send(&format!(
        "mainstay watchdog test --reset --confirm {name} --timeout 10s >/dev/console 2>&1 &"
    ))?;
    let line = scene.machine(name).wait_for(WORDS, from, RESET)?;
    scene.machine(name).wait_for_boot()?;
    Ok(format!("{name}, armed by hand and not fed: {}", line.whole))
}

fn frozen(scene: &mut Scene, owner: &str) -> Result<Vec<String>> {
    let shown = scene.machine(owner).run("mainstay --json watchdog show")?;
    let watchdog: Value = serde_json::from_str(&shown).context("its words are not JSON")?;
    ensure!(watchdog["state"] == "armed", "the watchdog of {owner} is not armed: {shown}");
    let (wait, limit) = scene.bounds(owner)?;
    let marks = scene.marks()?;
    let start = clock::now();
    scene.patience.say(&format!("guard and daemon of {owner} are stopped; F is {} s", secs(wait)));
    let stopped = scene.machine(owner).run(FREEZE)?;
    ensure!(stopped.lines().count() >= 2, "guard and daemon were to be stopped, not: {stopped}");
    let line = scene.machine(owner).wait_for(WORDS, marks[owner], RESET)?;
    let reset = line.came.by.saturating_sub(start);
    let other = scene.wait_for_another(owner, TAKEOVER)?;
    let first = scene.first_answer(&other, start)?;
    ensure!(
        first + CONTACT >= wait,
        "{other} answered after {} s, before F of {} s was over",
        secs(first),
        secs(wait)
    );
    ensure!(first > reset, "{other} answered before {owner} was reset");
    // Another machine was reset as well, before.
    let words = format!("{owner} is fenced: its watchdog has reset it");
    let freed = scene.machine(&other).wait_for(&words, marks[&other], TAKEOVER)?;
    scene.machine(owner).wait_for_boot()?;
    scene.settle()?;
    Ok(vec![
        format!("{owner}: {}", line.whole),
        format!("{other}: {}", freed.whole),
        format!(
            "reset {} s after the stop, {other} answered after {} s (F is {} s)",
            secs(reset),
            secs(first),
            secs(wait)
        ),
        scene.judge(start, limit)?,
    ])
}
