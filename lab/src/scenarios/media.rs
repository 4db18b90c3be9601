//! Scenarios about what the paths run over: cables pulled, heard in one direction only, and a
//! cluster that has nothing left but a disk or a serial line.
//!
//! Nothing may move in any of them. Probes are lost only while the client cannot reach the active
//! node: from the cut of a cable between the two to the first answer after it was put back.

use std::collections::BTreeMap;
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
/// For how long one turn of `pulled-cables` pulls, and how long each cable is out.
const PULLING: Duration = Duration::from_secs(30);
const PULLED_MIN: Duration = Duration::from_millis(500);
const PULLED_MAX: Duration = Duration::from_secs(2);
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
        Ok((configured, commanded))
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
    let (configured, commanded) = done;
    let mut played = Played::from(scene.seen_since(start)?);
    played.complaints = complaints;
    played.excused.push((start, back));
    played.notes.push(format!("config apply took {:.0} ms", milliseconds(configured)));
    played.notes.push(format!("standby and back {:.0} ms", milliseconds(commanded)));
    played.notes.push(recovered(back - healed));
    Ok(played)
}

fn recovered(length: Duration) -> String {
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
fn views(scene: &Scene) -> Result<BTreeMap<String, (u64, Vec<String>)>> {
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
fn changed_views(
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
fn wait_for_paths(scene: &Scene) -> Result<()> {
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
    let start = clock::now();
    let body = json!({ "text": text, "expected_version": version });
    api::command(&speaker, "/v1/config", &body).context("changing the configuration")?;
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
    while clock::now() < start + PULLING {
        let (node, network) = &cables[chance.below(cables.len() as u64) as usize];
        let span = (PULLED_MAX - PULLED_MIN).as_millis() as u64;
        let length = PULLED_MIN + Duration::from_millis(chance.below(span + 1));
        let at = clock::now();
        scene.lab.cut(node, network)?;
        clock::pause(length);
        let healed = clock::now();
        scene.lab.heal(node, network)?;
        pulls += 1;
        if node == active && client_networks.contains(network) {
            let back = scene.wait_for_answer(PATIENCE).map(|_| clock::now());
            let back = scene.explain(back)?;
            excused.push((at, back));
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

/// Between each two nodes one direction is cut, then the other one, on one network after the other.
pub(super) fn one_way(scene: &mut Scene) -> Result<Played> {
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let names = scene.lab.node_names();
    let mut pairs = Vec::new();
    for (at, one) in names.iter().enumerate() {
        pairs.extend(names[at + 1..].iter().map(|other| (one.clone(), other.clone())));
    }
    let start = clock::now();
    let mut longest = Duration::ZERO;
    for number in 0..scene.lab.spec().networks {
        let network = spec::network_name(number);
        for forwards in [true, false] {
            let turn = |(one, other): &(String, String)| {
                if forwards { (one.clone(), other.clone()) } else { (other.clone(), one.clone()) }
            };
            let cuts: Vec<(String, String)> = pairs.iter().map(turn).collect();
            let began = clock::now();
            for (from, to) in &cuts {
                scene.lab.cut_one_way(from, to, &network)?;
            }
            let what = format!("both ends to name the direction of each cut on {network}");
            let mut wrong = Vec::new();
            let outcome = wait::until(&what, PATIENCE, || {
                wrong = misnamed(scene, &cuts, &network);
                Ok(wrong.is_empty().then_some(()))
            });
            let outcome = outcome.with_context(|| wrong.join("\n"));
            scene.explain(outcome)?;
            longest = longest.max(clock::now() - began);
            scene.lab.heal_all()?;
            wait_for_paths(scene)?;
        }
    }
    let complaints = changed_views(scene, &views)?;
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    played.complaints = complaints;
    let longest = milliseconds(longest);
    played.notes.push(format!("every direction named on both ends after {longest:.0} ms at most"));
    Ok(played)
}

/// What is not said as it must be: the end that hears nothing says so, the other one that it is
/// not heard, and for both the path is dead.
fn misnamed(scene: &Scene, cuts: &[(String, String)], network: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (from, to) in cuts {
        for (at, peer, expected) in [(to, from, "not heard"), (from, to, "not hearing us")] {
            let status = scene.status(at);
            let path = status.iter().flat_map(|status| &status.paths);
            let path = { path }.find(|path| path.peer == *peer && path.network == network);
            let said = path.map(|path| (path.state.as_str(), path.direction.as_deref()));
            if said != Some(("dead", Some(expected))) {
                wrong.push(format!("{at} says of {peer} over {network}: {said:?}"));
            }
        }
    }
    wrong
}
