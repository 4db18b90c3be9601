//! A service that reserves its disk, mounts it and writes to it. Guard and daemon of its machine are
//! stopped; there is no watchdog and no fence agent, and what writes goes on writing over a network
//! that is well. The other machine takes the disk when the lease is over, and from then on each
//! write of the first one fails.
//!
//! Both write lines with their names into one file, each line flushed to the disk; their consoles tell when
//! each write begins and how it ends, and when the second machine begins to use the disk. A write of the first
//! one that begins later and succeeds is what must never be: the second one's cache would hide it. An address
//! that the first machine had as well is moved within its own bound.
//!
//! Then the first machine goes on from where it was stopped: it gives up what it has, and is a member again.
//! The service stops, and the disk must still be closed to the loser; it moves back, and the file system is
//! checked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::clock;
use serde_json::Value;

use super::watchdog::FREEZE;
use crate::vm::Bench;
use crate::vm::scene::{Scene, Wish, secs};
use crate::vm::storage::{self, DEVICE};

/// A service of its own beside the one with the address.
const SERVICE: &str = r#"
[[service]]
name = "files"
nodes = ["n1", "n2"]
[[service.resource]]
name = "disk"
kind = "reservation"
disks = ["/dev/sda"]
[[service.resource]]
name = "data"
kind = "mount"
device = "/dev/sda"
directory = "/mnt"
filesystem = "ext4"
[[service.resource]]
name = "writer"
kind = "process"
command = ["/bin/sh", "/disk/writer.sh"]
"#;
const THAW: &str = "for p in $(pidof mainstay); do kill -CONT $p; done";
/// For how long each machine writes, at least.
const WATCH: Duration = Duration::from_secs(5);
/// Longer than any takeover, start or stop.
const TAKEOVER: Duration = Duration::from_secs(90);

fn before(id: u8) -> String {
    let (disk, checks) = (storage::script(id), storage::told_checks());
    format!("{disk}{checks}{}", storage::writer(storage::LINE))
}

pub(super) fn play(bench: &Bench) -> Result<Vec<String>> {
    let wish = Wish { before, runners: 2, tail: SERVICE, ..Wish::new(3) };
    let mut scene = Scene::start(bench, &wish)?;
    let owner = scene.settle()?;
    ensure!(owner == "n1", "the address was to be on n1 as well, and {owner} answers");
    wait_for_files(&mut scene, "n1")?;
    let (wait, limit) = scene.bounds("n1")?;
    clock::pause(WATCH);
    let mut said = vec![reservation(&mut scene, "n1", "n1")?];

    scene.patience.say(&format!("guard and daemon of n1 are stopped; F is {} s", secs(wait)));
    let marks = scene.marks()?;
    let start = clock::now();
    scene.machine("n1").run(FREEZE)?;
    let used = scene.machine("n2").wait_for(storage::CHECK, marks["n2"], TAKEOVER)?.came;
    let after = used.after.saturating_sub(start);
    wait_for_files(&mut scene, "n2")?;
    // Not from the console, where the lines of the writer may cut it in two.
    let taken = scene
        .machine("n2")
        .run("grep '/dev/sda is taken from n1' /run/mainstay.log | tail -n 1")?;
    ensure!(!taken.is_empty(), "n2 does not say that it took the disk from n1");
    clock::pause(WATCH);
    let writes = storage::writes(&scene.machine("n1").console().lines()?)?;
    let failed = storage::demand_loss("n1", &writes, used)?;
    let good = storage::good(&writes);
    scene.wait_for_another("n1", TAKEOVER)?;
    scene.judge(start, limit)?;
    let kernel = scene.machine("n1").run("dmesg | grep 'reservation conflict' | tail -n 1")?;
    said.extend([
        format!("n2 used the disk {} s after the stop: {taken}", secs(after)),
        format!("n1 wrote {} lines, then failed {failed} times and never wrote again", good.len()),
        format!("n1: {kernel}"),
        reservation(&mut scene, "n1", "n2")?,
    ]);

    scene.patience.say("guard and daemon of n1 go on");
    scene.machine("n1").run(THAW)?;
    scene.settle()?;
    let patience = scene.patience.clone();
    let unmounted = patience.wait("n1 to give up its mount", TAKEOVER, || {
        let table = scene.machine("n1").run("cat /proc/mounts")?;
        Ok((!table.contains(DEVICE)).then_some(()))
    });
    scene.explain(unmounted)?;
    // With all that n1 tried and that was asked while it came back.
    let writes = storage::writes(&scene.machine("n1").console().lines()?)?;
    storage::demand_loss("n1", &writes, used)?;
    said.push(scene.judge(start, limit)?);
    let lines = scene.machine("n2").run("cat /mnt/lines")?;
    let (one, two) = storage::demand_order(&lines, ("n1", &good), "n2")?;
    said.push(format!("{one} lines of n1, and behind them {two} of n2"));

    scene
        .patience
        .say("the service is stopped: the disk stays closed, and goes back to n1 with the service");
    scene.machine("n2").run("mainstay service stop files --wait")?;
    let parked = reservation(&mut scene, "n2", "n2")?;
    ensure!(parked.contains(r#""unused":true"#), "n2 keeps it unused: {parked}");
    let write = format!("dd if=/dev/zero of={DEVICE} bs=4096 seek=1 count=1 oflag=direct");
    let answer = scene.machine("n1").try_run(&write, WATCH * 6)?;
    ensure!(answer.code != 0, "n1 can write to a disk that was taken from it: {parked}");
    scene.machine("n2").run("mainstay service start files n1 --wait")?;
    said.extend([parked, reservation(&mut scene, "n1", "n1")?]);
    clock::pause(WATCH);
    scene.machine("n1").run("mainstay service stop files --wait")?;
    let check = scene.machine("n1").run(&format!("fsck.ext4 -f -n {DEVICE}"))?;
    said.push(format!("fsck.ext4: {}", check.lines().last().unwrap_or_default()));
    Ok(said)
}

/// Waits until the service runs there.
fn wait_for_files(scene: &mut Scene, node: &str) -> Result<()> {
    let patience = scene.patience.clone();
    let runs = patience.wait(&format!("files to run on {node}"), TAKEOVER, || {
        // Its exit code says how the cluster is.
        let shown = scene.machine(node).try_run("mainstay --json status", WATCH * 6)?;
        let Ok(status) = serde_json::from_str::<Value>(&shown.text) else { return Ok(None) };
        let services = status["services"].as_array().into_iter().flatten();
        let mut files = services.into_iter().filter(|service| service["name"] == "files");
        Ok(files.any(|one| one["state"] == "running" && one["node"] == node).then_some(()))
    });
    scene.explain(runs)
}

/// Demands that one machine alone has a key of the disk, and has it reserved; as a sentence.
fn reservation(scene: &mut Scene, asked: &str, holder: &str) -> Result<String> {
    let shown = scene.machine(asked).run(&format!("mainstay --json reservation show {DEVICE}"))?;
    let state: Value = serde_json::from_str(&shown).context("what is shown is not JSON")?;
    let keys = state["keys"].as_array().map_or(0, Vec::len);
    ensure!(keys == 1 && state["holder"]["node"] == holder, "{holder} should have it: {shown}");
    Ok(format!("{asked}: mainstay reservation show: {}", state["holder"]))
}
