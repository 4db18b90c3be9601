//! Scenarios about what the paths run over: cables pulled, heard in one direction only, and a
//! cluster that has nothing left but a disk or a serial line.
//!
//! Nothing may move in any of them. Probes are lost only while the client cannot reach the active
//! node: from the cut of a cable between the two to the first answer after it was put back.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::Played;
use crate::api::{self, PathStatus, Status};
use crate::clock::{self, milliseconds};
use crate::line::Chance;
use crate::scene::{PATIENCE, Scene};
use crate::spec;
use crate::wait;

/// How long all cables stay cut.
const ISOLATED: Duration = Duration::from_secs(10);
/// A service that needs no network.
const TASK: &str = "task";
/// How long the disk stands still when nobody says.
const FROZEN: Duration = Duration::from_secs(10);
/// For how long one turn of `pulled-cables` pulls when nobody says, and how long each cable is out.
const PULLING: Duration = Duration::from_secs(30);
const PULLED_MIN: Duration = Duration::from_millis(500);
const PULLED_MAX: Duration = Duration::from_secs(2);
/// So long before a cable is pulled a probe may have been sent whose answer is lost with it.
const ON_ITS_WAY: Duration = Duration::from_millis(20);
/// Between two pulls, at most.
const REST_MAX: Duration = Duration::from_millis(600);
/// Over what all of it goes when there is no network any more.
const SLOW: [&str; 2] = ["disk", "serial"];

/// All cables of all nodes are cut; what is left carries the view, a change of the configuration
/// and a command. The `sentence` is what `mainstay status` then says of each peer.
pub(super) fn isolated(scene: &mut Scene, active: &str) -> Result<Played> {
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let start = clock::now();
    let cables = cables(scene);
    for (node, network) in &cables {
        scene.lab.cut(node, network)?;
    }
    let alone = slow_paths_only(scene);
    let done = alone.and_then(|()| {
        let configured = change_restart_limit(scene, active)?;
        let commanded = standby_and_back(scene, active)?;
        let moved = move_task(scene, active)?;
        Ok((configured, commanded, moved))
    });
    let done = scene.explain(done)?;
    let cut_for = clock::now() - start;
    clock::pause(ISOLATED.saturating_sub(cut_for));
    let mut complaints = changed_views(scene, &views)?;
    if cut_for > ISOLATED {
        complaints.push(format!("the commands took {:.0} ms", milliseconds(cut_for)));
    }
    let healed = clock::now();
    for (node, network) in &cables {
        scene.lab.heal(node, network)?;
    }
    let back = scene.wait_for_answer(PATIENCE).map(|_| clock::now());
    let back = scene.explain(back)?;
    wait_for_paths(scene)?;
    scene.wait_until_quiet()?;
    complaints.extend(changed_views(scene, &views)?);
    complaints.dedup();
    let (configured, commanded, moved) = done;
    let mut played = Played::from(scene.seen_since(start)?);
    played.complaints = complaints;
    played.excused.push((start, back));
    played.notes.push(format!("config apply took {:.0} ms", milliseconds(configured)));
    played.notes.push(format!("standby and back {:.0} ms", milliseconds(commanded)));
    played.notes.push(format!("a service's move {:.0} ms", milliseconds(moved)));
    played.notes.push(recovered(back - healed));
    Ok(played)
}

pub(super) fn recovered(length: Duration) -> String {
    format!("answered {:.0} ms after the cable was back", milliseconds(length))
}

/// (node, network) of every cable of a node.
fn cables(scene: &Scene) -> Vec<(String, String)> {
    let networks = 0..scene.lab.spec().networks;
    let networks: Vec<String> = networks.map(spec::network_name).collect();
    let of = |node: String| networks.iter().map(move |network| (node.clone(), network.clone()));
    scene.lab.node_names().into_iter().flat_map(of).collect()
}

/// What each node says of the view.
pub(super) fn views(scene: &Scene) -> Result<BTreeMap<String, (u64, Vec<String>)>> {
    let names = scene.lab.node_names().into_iter();
    names
        .map(|name| {
            let status = api::status(scene.lab.root(&name)?)?;
            Ok((name, (status.view.generation, status.view.members)))
        })
        .collect()
}

/// Sentences about nodes that are in another view than before. A generation never comes back, so
/// looking at the end tells of everything in between.
pub(super) fn changed_views(
    scene: &Scene,
    before: &BTreeMap<String, (u64, Vec<String>)>,
) -> Result<Vec<String>> {
    let now = views(scene)?;
    let changed = now.iter().filter(|(name, view)| before.get(*name) != Some(view));
    Ok(changed
        .map(|(name, (generation, members))| {
            let old = before.get(name).map_or(0, |view| view.0);
            let members = members.join(" ");
            format!("the view of {name} changed from {old} to {generation} of {members}")
        })
        .collect())
}

/// Waits until every node says of every peer that only a disk or a line leads there, in numbers
/// and in words.
fn slow_paths_only(scene: &mut Scene) -> Result<()> {
    let names = scene.lab.node_names();
    wait::until("slow paths only", PATIENCE, || {
        let all = names.iter().all(|name| scene.status(name).is_some_and(|s| is_slow_only(&s)));
        Ok(all.then_some(()))
    })?;
    for name in &names {
        let status = scene.status(name).with_context(|| format!("{name} gives no status"))?;
        let output = scene.lab.run_program(name, &["status"])?;
        let said = String::from_utf8_lossy(&output.stdout);
        for peer in names.iter().filter(|peer| *peer != name) {
            let has = |kind: &str| usable(&status, peer).any(|path| path.kind == kind);
            let words = match (has("disk"), has("serial")) {
                (true, true) => "disk and serial line only",
                (true, false) => "disk only",
                (false, _) => "serial line only",
            };
            let line = said.lines().find(|line| line.split_whitespace().next() == Some(peer));
            ensure!(
                line.is_some_and(|line| line.contains(words)),
                "the status of {name} does not say \"{words}\" of {peer}:\n{said}"
            );
        }
    }
    Ok(())
}

fn usable<'a>(status: &'a Status, peer: &'a str) -> impl Iterator<Item = &'a PathStatus> {
    status.paths.iter().filter(move |path| path.peer == peer && path.state != "dead")
}

fn is_slow_only(status: &Status) -> bool {
    let peers = status.view.members.iter().filter(|name| **name != status.node.name);
    let mut peers = peers.peekable();
    peers.peek().is_some()
        && peers.all(|peer| {
            let mut left = usable(status, peer).peekable();
            left.peek().is_some() && left.all(|path| SLOW.contains(&path.kind.as_str()))
        })
}

/// Waits until all paths are alive again.
pub(super) fn wait_for_paths(scene: &Scene) -> Result<()> {
    let names = scene.lab.node_names();
    let alive = |status: Status| status.paths.iter().all(|path| path.state == "alive");
    let outcome = wait::until("all paths to be alive", PATIENCE, || {
        Ok(names.iter().all(|name| scene.status(name).is_some_and(alive)).then_some(()))
    });
    scene.explain(outcome)
}

/// Changes the restart limit of the service by way of a node that is not active; how long it took
/// until all nodes had the change.
fn change_restart_limit(scene: &Scene, active: &str) -> Result<Duration> {
    let speaker = scene.lab.root(&scene.another_than(active)?)?.to_owned();
    let (version, text) = api::configuration(&speaker)?;
    let count = if text.contains("restart = { count = 5") { 4 } else { 5 };
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("restart = ")).collect();
    let limit = format!("[[service]]\nrestart = {{ count = {count}, window = \"10m\" }}\n");
    let text = (kept.join("\n") + "\n").replacen("[[service]]\n", &limit, 1);
    configure(scene, &speaker, version, &text)
}

/// Changes the configuration of that version by way of a node; how long it took until all nodes had the change.
pub(super) fn configure(
    scene: &Scene,
    speaker: &Path,
    version: u64,
    text: &str,
) -> Result<Duration> {
    let start = clock::now();
    let body = json!({ "text": text, "expected_version": version });
    api::command(speaker, "/v1/config", &body).context("changing the configuration")?;
    wait::until("the change to be in force on all nodes", PATIENCE, || {
        let has = |name: &String| {
            let root = scene.lab.root(name)?;
            Ok(api::configuration(root)?.1 == text)
        };
        let all: Result<Vec<bool>> = scene.lab.node_names().iter().map(has).collect();
        Ok(all?.into_iter().all(|has| has).then_some(()))
    })?;
    Ok(clock::now() - start)
}

/// Adds a service that needs no network, unless it is there, and moves it to another node; how long
/// the move took until all nodes said so. One with an address starts nowhere without a carrier.
fn move_task(scene: &Scene, active: &str) -> Result<Duration> {
    let root = scene.lab.root(active)?;
    let names = scene.lab.node_names();
    let (version, text) = api::configuration(root)?;
    if !text.contains(&format!("name = \"{TASK}\"")) {
        let nodes = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let text = format!(
            "{text}\n[[service]]\nname = \"{TASK}\"\nnodes = [{nodes}]\n[[service.resource]]\n\
             name = \"sleep\"\nkind = \"process\"\ncommand = [\"/bin/sleep\", \"infinity\"]\n"
        );
        let body = json!({ "text": text, "expected_version": version });
        api::command(root, "/v1/config", &body).context("adding a service")?;
    }
    let runs_on = |wanted: Option<&str>| {
        let on = |name: &String| -> Option<String> {
            let status = scene.status(name)?;
            let task = status.services.into_iter().find(|service| service.name == TASK)?;
            task.node.filter(|_| task.state == "running")
        };
        let first = on(names.first()?)?;
        let same = names.iter().all(|name| on(name).as_ref() == Some(&first));
        Some(first).filter(|first| same && wanted.is_none_or(|wanted| wanted == first))
    };
    let what = "all to see the added service running";
    let from = wait::until(what, PATIENCE, || Ok(runs_on(None)))?;
    let to = scene.another_than(&from)?;
    let start = clock::now();
    scene.command_of(TASK, "move", Some(&to))?;
    wait::until(&format!("all to see it on {to}"), PATIENCE, || Ok(runs_on(Some(&to))))?;
    Ok(clock::now() - start)
}

/// Puts a node that is not active on standby and back; how long it took until all nodes saw both.
fn standby_and_back(scene: &Scene, active: &str) -> Result<Duration> {
    let name = scene.another_than(active)?;
    let start = clock::now();
    for (verb, online) in [("standby", false), ("online", true)] {
        let path = format!("/v1/nodes/{name}/{verb}");
        let body = json!({ "reason": "lab" });
        api::command(scene.lab.root(active)?, &path, &body)
            .with_context(|| format!("{name} to {verb}"))?;
        wait::until(&format!("all to see {name} at {verb}"), PATIENCE, || {
            let sees = |node: &String| {
                scene.status(node).is_some_and(|status| {
                    status.nodes.iter().any(|node| node.name == name && node.online == online)
                })
            };
            Ok(scene.lab.node_names().iter().all(sees).then_some(()))
        })?;
    }
    Ok(clock::now() - start)
}

/// The shared disk stands still for a while, for everybody; all else is well.
pub(super) fn disk_frozen(scene: &mut Scene) -> Result<Played> {
    ensure!(scene.lab.disk_can_fail(), "the shared disk cannot freeze: no /dev/fuse for this user");
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let start = clock::now();
    scene.lab.disk_freeze(None)?;
    let names = scene.lab.node_names();
    let is_dead = |status: &Status| {
        let mut paths = status.paths.iter().filter(|path| path.network == "disk").peekable();
        paths.peek().is_some() && paths.all(|path| path.state == "dead")
    };
    // It must be noticed, else "no effect" would prove nothing.
    let noticed = wait::until("the disk's paths to be dead", PATIENCE, || {
        Ok(names.iter().all(|name| scene.status(name).is_some_and(|s| is_dead(&s))).then_some(()))
    });
    scene.explain(noticed)?;
    let noticed = clock::now() - start;
    let mut complaints = Vec::new();
    for name in &names {
        let status = scene.status(name).with_context(|| format!("{name} gives no status"))?;
        let others = status.paths.iter().filter(|path| path.network != "disk");
        let dead = others.filter(|path| path.state != "alive");
        complaints.extend(dead.map(|path| {
            format!("{name}: the path to {} over {} is {}", path.peer, path.network, path.state)
        }));
    }
    clock::pause(scene.length(FROZEN).saturating_sub(clock::now() - start));
    complaints.extend(changed_views(scene, &views)?);
    let thawed = clock::now();
    scene.lab.disk_thaw(None)?;
    wait_for_paths(scene)?;
    let back = clock::now() - thawed;
    scene.wait_until_quiet()?;
    complaints.extend(changed_views(scene, &views)?);
    complaints.dedup();
    let mut played = Played::from(scene.seen_since(start)?);
    played.complaints = complaints;
    let (noticed, back) = (milliseconds(noticed), milliseconds(back));
    played.notes.push(format!("noticed after {noticed:.0} ms, alive {back:.0} ms after the thaw"));
    Ok(played)
}

/// One cable after the other is pulled and put back.
pub(super) fn pulled_cables(scene: &mut Scene, active: &str) -> Result<Played> {
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let mut seed = [0; 8];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
    let mut chance = Chance(u64::from_ne_bytes(seed) | 1);
    let cables = cables(scene);
    let client_networks: Vec<String> =
        scene.lab.spec().client_networks.iter().map(|n| spec::network_name(*n)).collect();
    let start = clock::now();
    let mut excused = Vec::new();
    let mut longest = Duration::ZERO;
    let mut pulls = 0;
    let length = scene.length(PULLING);
    while clock::now() < start + length {
        let (node, network) = &cables[chance.below(cables.len() as u64) as usize];
        let span = (PULLED_MAX - PULLED_MIN).as_millis() as u64;
        let is_clients = node == active && client_networks.contains(network);
        // Without the client's network for a second the service goes where it can be reached.
        let span = if is_clients { 0 } else { span };
        let out_for = PULLED_MIN + Duration::from_millis(chance.below(span + 1));
        let at = clock::now();
        scene.lab.cut(node, network)?;
        clock::pause(out_for);
        let healed = clock::now();
        scene.lab.heal(node, network)?;
        pulls += 1;
        if is_clients {
            let back = scene.wait_for_answer(PATIENCE).map(|_| clock::now());
            let back = scene.explain(back)?;
            // An answer may have been on its way when the cable was pulled.
            excused.push((at.saturating_sub(ON_ITS_WAY), back));
            longest = longest.max(back - healed);
        }
        clock::pause(Duration::from_millis(chance.below(REST_MAX.as_millis() as u64 + 1)));
    }
    let complaints = changed_views(scene, &views)?;
    wait_for_paths(scene)?;
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    played.notes.push(format!("{pulls} pulls, {} of the client's way", excused.len()));
    if longest > Duration::ZERO {
        played.notes.push(recovered(longest));
    }
    played.excused = excused;
    played.complaints = complaints;
    Ok(played)
}

/// One direction between two nodes is cut: each of all ordered pairs on each network and line, one
/// at a time.
pub(super) fn one_way(scene: &mut Scene) -> Result<Played> {
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let names = scene.lab.node_names();
    let networks = (0..scene.lab.spec().networks).map(spec::network_name);
    let mut cuts = Vec::new();
    for network in networks {
        for from in &names {
            let others = names.iter().filter(|to| *to != from);
            cuts.extend(others.map(|to| (from.clone(), to.clone(), network.clone())));
        }
    }
    for (one, other) in &scene.lab.spec().lines {
        let (one, other) = (spec::node_name(*one), spec::node_name(*other));
        let line = spec::line_name(&one, &other);
        cuts.push((one.clone(), other.clone(), line.clone()));
        cuts.push((other, one, line));
    }
    let start = clock::now();
    let mut longest = Duration::ZERO;
    for (from, to, network) in &cuts {
        let began = clock::now();
        if *network == spec::line_name(from, to) || *network == spec::line_name(to, from) {
            scene.lab.line_cut_one_way(from, to)?;
        } else {
            scene.lab.cut_one_way(from, to, network)?;
        }
        let what = format!("both ends to name what is cut from {from} to {to} on {network}");
        let mut wrong = Vec::new();
        let outcome = wait::until(&what, PATIENCE, || {
            wrong = misnamed(scene, (from, to, network));
            Ok(wrong.is_empty().then_some(()))
        });
        let outcome = outcome.with_context(|| wrong.join("\n"));
        scene.explain(outcome)?;
        longest = longest.max(clock::now() - began);
        scene.lab.heal_all()?;
        wait_for_paths(scene)?;
    }
    let complaints = changed_views(scene, &views)?;
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    played.complaints = complaints;
    let (longest, count) = (milliseconds(longest), cuts.len());
    played.notes.push(format!(
        "each of {count} directions named on both ends, and nothing else, after {longest:.0} ms at most"
    ));
    Ok(played)
}

/// What is not said as it must be: the end that hears nothing says so, the other one that it is
/// not heard, and for both the path is dead. All other paths are alive.
fn misnamed(scene: &Scene, (from, to, network): (&str, &str, &str)) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in scene.lab.node_names() {
        let Some(status) = scene.status(&name) else {
            wrong.push(format!("{name} says nothing"));
            continue;
        };
        for path in &status.paths {
            let is_cut =
                |own: &str, peer: &str| path.network == network && name == own && path.peer == peer;
            let expected = match () {
                () if is_cut(to, from) => ("dead", Some("not heard")),
                () if is_cut(from, to) => ("dead", Some("not hearing us")),
                () => ("alive", None),
            };
            let said = (path.state.as_str(), path.direction.as_deref());
            if said != expected {
                wrong.push(format!("{name} says of {} over {}: {said:?}", path.peer, path.network));
            }
        }
    }
    wrong
}
