//! A service that mounts a shared disk and writes to it. Guard and daemon of its machine are stopped,
//! and what writes goes on writing: to the disk, over a network that is well. Only the reset by the
//! watchdog ends it, and only then may another machine mount.
//!
//! Both write lines with their names into one file. A line of the first machine behind one of the
//! second is what must never be; and in the end the file system is checked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::clock;

use super::watchdog::{CONFIGURATION, FREEZE, TAKEOVER};
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
const WRITER: &str = "\
while :; do
  echo $(hostname) $(cat /proc/uptime) >>/mnt/lines
  sync
  usleep 100000
done
";
/// For how long each machine writes, at least.
const WATCH: Duration = Duration::from_secs(5);
/// So many seconds after the stop of its guard a machine must still have written: else it proves nothing.
const WENT_ON: f64 = 2.0;
/// Until an ordinary stop is through.
const STOP: Duration = Duration::from_secs(60);

fn before(id: u8) -> String {
    format!("modprobe softdog\n{}cat >/disk/writer.sh <<'END'\n{WRITER}END\n", storage::script(id))
}

pub(super) fn play(bench: &Bench) -> Result<Vec<String>> {
    let wish =
        Wish { before, runners: 2, resources: RESOURCES, tail: CONFIGURATION, ..Wish::new(3) };
    let mut scene = Scene::start(bench, &wish)?;
    let owner = scene.settle()?;
    let (wait, limit) = scene.bounds(&owner)?;
    clock::pause(WATCH);
    let start = clock::now();
    scene.patience.say(&format!("guard and daemon of {owner} are stopped; F is {} s", secs(wait)));
    let stopped = scene.machine(&owner).run(&format!("{FREEZE}; cat /proc/uptime"))?;
    let stopped = uptime(stopped.lines().last().unwrap_or_default())?;
    let other = scene.wait_for_another(&owner, TAKEOVER)?;
    clock::pause(WATCH);
    scene.machine(&owner).wait_for_boot()?;
    scene.settle()?;
    let took = scene.judge(start, limit)?;
    let lines = scene.machine(&other).run("cat /mnt/lines")?;
    let (one, two) = order(&lines, &owner, &other)?;
    let last = one.last().copied().unwrap_or_default();
    let on = uptime(last.split_once(' ').map_or("", |(_, stamp)| stamp))? - stopped;
    ensure!(on > WENT_ON, "{owner} stopped to write {on} s after its guard was stopped: {last}");
    let said = format!(
        "{owner} wrote {} lines, the last one {on:.1} s after the stop, then {other} wrote {}",
        one.len(),
        two.len()
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

/// The lines of the one, and behind them those of the other.
pub(super) fn order<'a>(
    lines: &'a str,
    first: &str,
    second: &str,
) -> Result<(Vec<&'a str>, Vec<&'a str>)> {
    let is_of = |line: &str, name| line.split(' ').next() == Some(name);
    let (one, other): (Vec<&str>, Vec<&str>) = {
        let all: Vec<&str> = lines.lines().collect();
        let change = all.iter().position(|line| !is_of(line, first)).unwrap_or(all.len());
        let (one, other) = all.split_at(change);
        (one.to_vec(), other.to_vec())
    };
    ensure!(!one.is_empty() && !other.is_empty(), "one of them wrote nothing: {lines}");
    ensure!(other.iter().all(|line| is_of(line, second)), "they wrote in turns: {lines}");
    Ok((one, other))
}

/// The first number of /proc/uptime.
fn uptime(words: &str) -> Result<f64> {
    let number = words.split(' ').next().unwrap_or_default();
    number.parse().with_context(|| format!("no uptime: {words}"))
}
