//! Two machines write to one disk, and only the one that holds the reservation may.
//!
//! The first one registers its key, reserves (write exclusive, registrants only) and writes in a
//! loop. The second one takes over as after the loss of the first: it pre-empts the first one's key.
//! The first machine is well and goes on writing, as a machine that was only cut off would; from
//! the pre-emption on, each of its writes must fail.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::clock;
use serde_json::Value;

use crate::vm::Bench;
use crate::vm::scene::{Scene, Wish};
use crate::vm::storage::{self, DEVICE, Write};

/// How long writes are watched before and after.
const WATCH: Duration = Duration::from_secs(5);
/// Writes past every cache, a block each time.
const WRITE: &str = "dd if=/dev/zero of=/dev/sda bs=4096 count=1 oflag=direct conv=notrunc";
/// Words of the machine that has pre-empted.
const TAKEN: &str = "storage: the key of n1 is pre-empted";
/// Until they are there once they were said.
const WORDS: Duration = Duration::from_secs(30);

fn before(id: u8) -> String {
    format!("{}{}", storage::script(id), storage::writer(WRITE))
}

pub(super) fn play(bench: &Bench) -> Result<Vec<String>> {
    let mut scene = Scene::start(bench, &Wish { before, ..Wish::new(3) })?;
    let reserve = format!("mainstay reservation reserve {DEVICE}");
    let answer = scene.machine("n1").run(&reserve)?;
    let mut said = vec![format!("n1: {reserve}: {answer}")];
    scene.machine("n1").run("sh /disk/writer.sh >/dev/null 2>&1 &")?;
    clock::pause(WATCH);
    let before = writes(&mut scene, "n1")?;
    ensure!(
        before.iter().any(|write| write.is(true)) && !before.iter().any(|write| write.is(false)),
        "n1 holds the reservation, and wrote {before:?}"
    );
    let others = write_once(&mut scene, "n2")?;
    ensure!(others.is_err(), "n2 has no key and can write");

    scene.patience.say("n2 pre-empts the key of n1");
    let marks = scene.marks()?;
    let preempt = format!("mainstay reservation preempt {DEVICE} --from n1");
    let answer = scene.machine("n2").run(&format!("{preempt} && echo '<4>{TAKEN}' >/dev/kmsg"))?;
    said.push(format!("n2: {preempt}: {answer}"));
    let taken = scene.machine("n2").wait_for(TAKEN, marks["n2"], WORDS)?.came;
    clock::pause(WATCH);
    let after = writes(&mut scene, "n1")?;
    let failed = storage::demand_loss("n1", &after, taken)?;
    write_once(&mut scene, "n2")?.map_err(anyhow::Error::msg).context("n2 has the disk now")?;
    let error = scene.machine("n1").run("grep 'error writing' /run/errors | tail -n 1")?;
    let kernel = scene.machine("n1").run("dmesg | grep 'reservation conflict' | tail -n 1")?;
    said.extend([
        format!(
            "n1 wrote {} times, then failed {failed} times and never wrote again",
            storage::good(&after).len()
        ),
        format!("n1: {error}"),
        format!("n1: {kernel}"),
        keys(&mut scene, "n1")?,
    ]);
    let shown = scene.machine("n1").run(&format!("mainstay --json reservation show {DEVICE}"))?;
    let shown: Value = serde_json::from_str(&shown).context("what is shown is not JSON")?;
    let (keys, holder) = (&shown["keys"], &shown["holder"]["node"]);
    ensure!(
        keys.as_array().is_some_and(|keys| keys.len() == 1) && *holder == "n2",
        "n2 has the disk and the only key, and n1 is shown {shown}"
    );
    said.push(format!("n1: mainstay reservation show: {holder} has it, {keys}"));
    Ok(said)
}

/// What another program reads from the disk: one key, and that it is the holder's.
fn keys(scene: &mut Scene, name: &str) -> Result<String> {
    let read = format!("sg_persist --in --no-inquiry --read-keys {DEVICE}");
    let keys = scene.machine(name).run(&read)?;
    ensure!(keys.contains(", 1 registered reservation key follows"), "not one key: {keys}");
    let read = format!("sg_persist --in --no-inquiry --read-reservation {DEVICE}");
    let held = scene.machine(name).run(&read)?;
    let words: Vec<&str> = held.split_whitespace().collect();
    Ok(format!("sg_persist: {}", words.join(" ")))
}

/// What the writer has done so far.
fn writes(scene: &mut Scene, name: &str) -> Result<Vec<Write>> {
    storage::writes(&scene.machine(name).console().lines()?)
}

/// A write of one block; the words of its failure.
fn write_once(scene: &mut Scene, name: &str) -> Result<Result<(), String>> {
    let command = format!("dd if=/dev/zero of={DEVICE} bs=4096 seek=1 count=1 oflag=direct");
    let answer = scene.machine(name).try_run(&command, WATCH * 6)?;
    Ok(if answer.code == 0 { Ok(()) } else { Err(answer.text) })
}
