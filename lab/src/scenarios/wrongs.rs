//! What is configured wrong somewhere is named elsewhere, soon.
//!
//! One node leaves, and its machine comes back as somebody who does not belong: with another key, as
//! another cluster, or under the number of a node that is there. A version that nobody speaks is
//! forged by the stranger. Each must stand in the status of the active node within two heartbeat
//! intervals of the first frame, and change nothing.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::Played;
use super::media::wait_for_paths;
use crate::clock::{self, milliseconds};
use crate::lab::Which;
use crate::line::Chance;
use crate::scene::{PATIENCE, Scene};
use crate::spec;
use crate::storm::frames::{self, Ear, Kind};
use crate::storm::{Ammunition, volley};
use crate::wait;

/// Where what belongs to a node is kept while its machine is somebody else.
const KEPT: &str = "kept";
/// The network of the scenario that all frames are looked at on.
const NETWORK: u8 = 0;

/// A wrong that a machine's files make.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Key,
    Cluster,
    /// It says that it is this other node.
    Number,
}

impl Wrong {
    const ALL: [Wrong; 3] = [Wrong::Key, Wrong::Cluster, Wrong::Number];

    fn counter(self) -> &'static str {
        match self {
            Wrong::Key => "wrong_key",
            Wrong::Cluster => "wrong_cluster",
            Wrong::Number => "duplicate_node_id",
        }
    }
}

pub(super) fn named(scene: &mut Scene, active: &str) -> Result<Played> {
    wait_for_paths(scene)?;
    let start = clock::now();
    let limit = scene.limits.interval * 2;
    let mut named = Vec::new();
    let before = count(scene, active, "version")?;
    let captured = frames::capture(&scene.lab, NETWORK)?;
    let mut chance = Chance(start.as_nanos() as u64 | 1);
    let one = captured.iter().find(|one| spec::node_name(one.target()) == active);
    let one = one.context("a frame for the active node was captured")?;
    let frame = one.made_into(NETWORK, Kind::ForeignVersion, &mut chance);
    let sent = clock::now();
    volley(&scene.lab, Ammunition { network: NETWORK, frames: vec![frame] }, 1)?;
    wait_for_name(scene, active, "version", before)?;
    named.push(("version", clock::now() - sent));

    let others: Vec<String> =
        scene.lab.node_names().into_iter().filter(|name| name != active).collect();
    let [other, intruder] = others.as_slice() else { anyhow::bail!("it needs three nodes") };
    leave(scene, intruder)?;
    let generations = generations(scene, &[active, other])?;
    let mut complaints = Vec::new();
    let root = scene.lab.root(intruder)?.to_owned();
    keep(&root)?;
    for wrong in Wrong::ALL {
        disguise(&root, wrong, (intruder, other))?;
        let before = count(scene, active, wrong.counter())?;
        let mut ear = Ear::at(&scene.lab, NETWORK, intruder)?;
        scene.lab.start(intruder)?;
        let first = wait::until("the intruder's first frame", PATIENCE, || {
            Ok(ear.hears(active).then(clock::now))
        });
        let first = scene.explain(first)?;
        wait_for_name(scene, active, wrong.counter(), before)?;
        named.push((wrong.counter(), clock::now() - first));
        // It goes on for a while: nothing may come of it later either.
        clock::pause(scene.limits.interval * 10);
        scene.lab.kill(intruder, Signal::KILL, Which::Everything)?;
        let now = self::generations(scene, &[active, other])?;
        if now != generations {
            complaints.push(format!("{wrong:?}: the view changed"));
        }
    }
    restore(&root)?;
    scene.lab.start(intruder)?;
    scene.wait_for_all()?;
    wait_for_paths(scene)?;
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    let late = named.iter().filter(|(_, took)| *took > limit);
    complaints.extend(
        late.map(|(name, took)| format!("{name} was named after {:.0} ms", milliseconds(*took))),
    );
    played.complaints = complaints;
    let named: Vec<String> =
        named.iter().map(|(name, took)| format!("{name} {:.0} ms", milliseconds(*took))).collect();
    played.notes.push(format!("named after the first frame: {}", named.join(", ")));
    Ok(played)
}

fn count(scene: &Scene, node: &str, counter: &str) -> Result<u64> {
    let status = scene.status(node).with_context(|| format!("{node} gives no status"))?;
    Ok(status.count(counter))
}

/// Waits until a node counts more, and says in words what that means.
fn wait_for_name(scene: &mut Scene, node: &str, counter: &str, before: u64) -> Result<()> {
    let named = wait::until(&format!("{node} to count {counter}"), PATIENCE, || {
        Ok((count(scene, node, counter)? > before).then_some(()))
    });
    scene.explain(named)?;
    let status = scene.status(node).with_context(|| format!("{node} gives no status"))?;
    let words = status.counters.iter().find(|found| found.name == counter);
    let words = words.map(|found| found.text.clone()).context("it was just counted")?;
    let output = scene.lab.run_program(node, &["status"])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    scene.demand(said.contains(&words), &format!("the status does not say \"{words}\":\n{said}"))
}

/// The generation that each of these nodes is in.
fn generations(scene: &Scene, names: &[&str]) -> Result<Vec<u64>> {
    let generation = |name: &&str| {
        let status = scene.status(name).with_context(|| format!("{name} gives no status"))?;
        Ok(status.view.generation)
    };
    names.iter().map(generation).collect()
}

/// Ends a node's daemon in order, and waits until the others are a view of their own.
fn leave(scene: &mut Scene, node: &str) -> Result<()> {
    scene.lab.kill(node, Signal::TERM, Which::Guard)?;
    // Guard and daemon: the next guard is refused beside one that is still cleaning up.
    wait::until("the node to have left", PATIENCE, || {
        Ok((scene.lab.daemon_pids(node)? == (None, None)).then_some(()))
    })?;
    let rest: Vec<String> =
        scene.lab.node_names().into_iter().filter(|name| name != node).collect();
    scene.wait_for_view_of(&rest)
}

/// Files that make a node what it is.
const FILES: [&str; 3] = ["cluster.toml", "key", "node"];

/// Puts a node's files and memory aside.
fn keep(root: &Path) -> Result<()> {
    let kept = root.join(KEPT);
    fs::create_dir_all(&kept)?;
    for name in FILES {
        fs::copy(root.join("etc/mainstay").join(name), kept.join(name))?;
    }
    fs::rename(root.join("var/lib/mainstay"), kept.join("memory")).context("keeping its memory")
}

/// The files of somebody who does not belong, without any memory.
fn disguise(root: &Path, wrong: Wrong, (intruder, other): (&str, &str)) -> Result<()> {
    let (kept, etc) = (root.join(KEPT), root.join("etc/mainstay"));
    for name in FILES {
        fs::copy(kept.join(name), etc.join(name))?;
    }
    let memory = root.join("var/lib/mainstay");
    if memory.exists() {
        fs::remove_dir_all(&memory)?;
    }
    fs::create_dir_all(&memory)?;
    let configuration = etc.join("cluster.toml");
    let text = fs::read_to_string(&configuration)?;
    match wrong {
        Wrong::Key => fs::write(etc.join("key"), format!("{}\n", "5a".repeat(32)))?,
        Wrong::Cluster => fs::write(&configuration, text.replace("\nid = 10\n", "\nid = 11\n"))?,
        Wrong::Number => {
            // The same names, with the two machines' addresses exchanged.
            let exchanged = text
                .replace(&format!("{intruder} = "), "SWAP = ")
                .replace(&format!("{other} = "), &format!("{intruder} = "))
                .replace("SWAP = ", &format!("{other} = "));
            fs::write(&configuration, exchanged)?;
            fs::write(etc.join("node"), format!("{other}\n"))?;
        }
    }
    Ok(())
}

/// What was kept, as it was.
fn restore(root: &Path) -> Result<()> {
    let (kept, etc) = (root.join(KEPT), root.join("etc/mainstay"));
    for name in FILES {
        fs::copy(kept.join(name), etc.join(name))?;
    }
    let memory = root.join("var/lib/mainstay");
    fs::remove_dir_all(&memory)?;
    fs::rename(kept.join("memory"), &memory).context("giving its memory back")
}
