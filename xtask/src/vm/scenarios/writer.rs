//! A service that mounts a shared disk and writes to it. Guard and daemon of its machine are stopped,
//! and what writes goes on writing: to the disk, over a network that is well. Only the reset by the
//! watchdog ends it, and only then may another machine mount.
//!
//! When the first machine is reset, when each of its writes begins and ends, and when the second one begins
//! to use the disk is told by their consoles: the second one's cache would hide what was written beside it.
//! Every line that the first one knows to be on the disk must be there for the second one, in front of its
//! own; and in the end the file system is checked.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::clock;

use super::watchdog::{CONFIGURATION, FREEZE, RESET, TAKEOVER, WORDS};
use crate::vm::Bench;
use crate::vm::scene::{Scene, Wish, secs};
use crate::vm::storage::{self, DEVICE};

/// The file system is checked and mounted, and then written to.
const RESOURCES: &str = r#"[[service.resource]]
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
/// For how long each machine writes, at least.
const WATCH: Duration = Duration::from_secs(5);
/// So long after the stop of its guard a machine must still have written: else it proves nothing.
const WENT_ON: Duration = Duration::from_secs(2);
/// Until an ordinary stop is through.
const STOP: Duration = Duration::from_secs(60);

fn before(id: u8) -> String {
    let (disk, checks) = (storage::script(id), storage::told_checks());
    format!("modprobe softdog\n{disk}{checks}{}", storage::writer(storage::LINE))
}

pub(super) fn play(bench: &Bench) -> Result<Vec<String>> {
    let wish =
        Wish { before, runners: 2, resources: RESOURCES, tail: CONFIGURATION, ..Wish::new(3) };
    let mut scene = Scene::start(bench, &wish)?;
    let owner = scene.settle()?;
    // A machine that is slow to start may find no answer to whether its disk is in use: then the service is
    // adopted as one that may have run before the watchdog was armed, and no reset frees it.
    scene.patience.say(&format!("the service is started anew on {owner}, beside its watchdog"));
    scene.machine(&owner).run("mainstay service stop web --wait")?;
    scene.machine(&owner).run(&format!("mainstay service start web {owner} --wait"))?;
    let again = scene.settle()?;
    ensure!(again == owner, "the service was to be started on {owner}, and {again} answers");
    let (wait, limit) = scene.bounds(&owner)?;
    clock::pause(WATCH);
    let marks = scene.marks()?;
    let start = clock::now();
    scene.patience.say(&format!("guard and daemon of {owner} are stopped; F is {} s", secs(wait)));
    scene.machine(&owner).run(FREEZE)?;
    let stopped = clock::now();
    let reset = scene.machine(&owner).wait_for(WORDS, marks[&owner], RESET)?;
    let other = scene.wait_for_another(&owner, TAKEOVER)?;
    let used = scene.machine(&other).wait_for(storage::CHECK, marks[&other], TAKEOVER)?.came;
    ensure!(
        reset.came.is_before(used),
        "{other} used the disk {} s after the stop, and {owner} was reset after {} s",
        secs(used.after.saturating_sub(stopped)),
        secs(reset.came.by.saturating_sub(stopped))
    );
    clock::pause(WATCH);
    scene.machine(&owner).wait_for_boot()?;
    scene.settle()?;
    let took = scene.judge(start, limit)?;
    let writes = storage::writes(&scene.machine(&owner).console().lines()?)?;
    let last = storage::demand_end(&owner, &writes, used)?;
    let on = last.after.saturating_sub(stopped);
    ensure!(on > WENT_ON, "{owner} wrote for {} s after its guard was stopped", secs(on));
    let lines = scene.machine(&other).run("cat /mnt/lines")?;
    let good = storage::good(&writes);
    let (one, two) = storage::demand_order(&lines, (&owner, &good), &other)?;
    let said = format!(
        "{owner} wrote {one} lines, the last good one {} s after the stop, was reset after {} s; {other} used \
         the disk after {} s and wrote {two}",
        secs(on),
        secs(reset.came.by.saturating_sub(stopped)),
        secs(used.after.saturating_sub(stopped))
    );
    scene.patience.say("the service is stopped and its file system checked");
    scene.machine(&other).run("mainstay service stop web")?;
    let patience = scene.patience.clone();
    let unmounted = patience.wait("the disk to be unmounted", STOP, || {
        let table = scene.machine(&other).run("cat /proc/mounts")?;
        Ok((!table.contains(DEVICE)).then_some(()))
    });
    scene.explain(unmounted)?;
    let check = scene.machine(&other).run(&format!("fsck.ext4 -f -n {DEVICE}"))?;
    let check = check.lines().last().unwrap_or_default();
    Ok(vec![took, said, format!("fsck.ext4: {check}")])
}
