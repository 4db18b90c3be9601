//! A service that reserves its disk, mounts it and writes to it. Guard and daemon of its machine are
//! stopped; there is no watchdog and no fence agent, and what writes goes on writing over a network
//! that is well. The other machine takes the disk when the lease is over, and from then on each
//! write of the first one fails.
//!
//! Both write lines with their names into one file, each line flushed to the disk, and note whether that
//! succeeded. A line of the first machine behind one of the second is what must never be. Then the first
//! machine goes on from where it was stopped: it gives up what it has, and is a member again. The service
//! stops, and the disk must still be closed to the loser; it moves back, and the file system is checked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::clock;
use serde_json::Value;

use super::watchdog::FREEZE;
use super::writer::order;
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
const WRITER: &str = "\
while :; do
  echo $(hostname) $(cat /proc/uptime) | dd of=/mnt/lines oflag=append conv=notrunc,fsync 2>>/run/errors \
    && echo good >>/run/writes || echo bad >>/run/writes
  usleep 100000
done
";
const THAW: &str = "for p in $(pidof mainstay); do kill -CONT $p; done";
/// For how long each machine writes, at least.
const WATCH: Duration = Duration::from_secs(5);
/// Longer than any takeover, start or stop.
const TAKEOVER: Duration = Duration::from_secs(90);

fn before(id: u8) -> String {
    format!("{}cat >/disk/writer.sh <<'END'\n{WRITER}END\n", storage::script(id))
}

pub(super) fn play(bench: &Bench) -> Result<Vec<String>> {
    let wish = Wish { before, runners: 2, tail: SERVICE, ..Wish::new(3) };
    let mut scene = Scene::start(bench, &wish)?;
    scene.settle()?;
    wait_for_files(&mut scene, "n1")?;
    let (wait, _) = scene.bounds("n1")?;
    clock::pause(WATCH);
    let mut said = vec![reservation(&mut scene, "n1", "n1")?];

    scene.patience.say(&format!("guard and daemon of n1 are stopped; F is {} s", secs(wait)));
    let start = clock::now();
    scene.machine("n1").run(FREEZE)?;
    let taken = scene.machine("n2").wait_for("/dev/sda is taken from n1", 0, TAKEOVER)?;
    let after = clock::now() - start;
    wait_for_files(&mut scene, "n2")?;
    let then = writes(&mut scene, "n1")?;
    clock::pause(WATCH);
    let later = writes(&mut scene, "n1")?;
    ensure!(later.0 == then.0, "n1 wrote after its disk was taken: {then:?}, {later:?}");
    ensure!(later.1 > then.1, "n1 did not try to write: {then:?}, {later:?}");
    let kernel = scene.machine("n1").run("dmesg | grep 'reservation conflict' | tail -n 1")?;
    said.extend([
        format!("n2, {} s after the stop: {}", secs(after), taken.whole),
        format!("n1 wrote {} lines, then failed {} times and never wrote again", later.0, later.1),
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
    let lines = scene.machine("n2").run("cat /mnt/lines")?;
    let (one, two) = order(&lines, "n1", "n2")?;
    said.push(format!("{} lines of n1, and behind them {} of n2", one.len(), two.len()));

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

/// How often the writer of a machine has succeeded, and failed.
fn writes(scene: &mut Scene, name: &str) -> Result<(usize, usize)> {
    let text = scene.machine(name).run("cat /run/writes")?;
    let count = |word| text.lines().filter(|line| *line == word).count();
    Ok((count("good"), count("bad")))
}

/// Demands that one machine alone has a key of the disk, and has it reserved; as a sentence.
fn reservation(scene: &mut Scene, asked: &str, holder: &str) -> Result<String> {
    let shown = scene.machine(asked).run(&format!("mainstay --json reservation show {DEVICE}"))?;
    let state: Value = serde_json::from_str(&shown).context("what is shown is not JSON")?;
    let keys = state["keys"].as_array().map_or(0, Vec::len);
    ensure!(keys == 1 && state["holder"]["node"] == holder, "{holder} should have it: {shown}");
    Ok(format!("{asked}: mainstay reservation show: {}", state["holder"]))
}
