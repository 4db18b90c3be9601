//! Networks that take only so much at once, and machines that do not agree on how much.
//!
//! Each case sets the MTU of every node on both networks, has a node that is not active join anew
//! under it, and agrees on configurations of a megabyte together, by way of each node in turn. Frames
//! that are longer than the MTU of the machine that they come to are dropped there in silence, as on
//! an Ethernet: no ICMP tells anybody.
//!
//! A datagram is 1,228 bytes at most, and kernels cut what is longer than their own MTU. So machines
//! may differ as they like from there on. Below, a machine that takes less than its neighbours send
//! gets heartbeats and loses data: that is sent again over another network, and in pieces where there
//! is none that takes more.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::json;

use super::Played;
use super::media::wait_for_paths;
use crate::api;
use crate::clock::{self, milliseconds};
use crate::lab::Which;
use crate::scene::{PATIENCE, Scene};
use crate::spec;
use crate::wait;

/// Of n1, n2 and n3: on the client's network, and on the other one.
const CASES: [([u32; 3], [u32; 3]); 7] = [
    ([576; 3], [576; 3]),
    ([1_500; 3], [1_500; 3]),
    ([9_000; 3], [9_000; 3]),
    ([65_520; 3], [65_520; 3]),
    ([65_520, 9_000, 1_500], [1_500, 65_520, 9_000]),
    ([1_500; 3], [576, 1_500, 9_000]),
    ([1_500, 576, 1_500], [1_500, 576, 9_000]),
];
/// What the router lets through.
const HOP: u32 = 576;
/// What a cable has when nobody says.
const USUAL: u32 = 1_500;
/// Bytes of a configuration, just below the longest that there may be; and how many are agreed on: a
/// megabyte in all.
const SIZE: usize = 262_000;
const ROUNDS: u32 = 4;
/// How long paths are looked at for a change after all is done.
const WATCH: Duration = Duration::from_secs(2);

pub(super) fn sizes(scene: &mut Scene, active: &str) -> Result<Played> {
    wait_for_paths(scene)?;
    let joiner = scene.another_than(active)?;
    let start = clock::now();
    let mut complaints = Vec::new();
    let mut notes = Vec::new();
    for (one, other) in CASES {
        let words = [one, other].map(|case| case.map(|mtu| mtu.to_string()).join("/"));
        let words = format!("MTUs of {}", words.join(" and "));
        set(scene, 0, one)?;
        set(scene, 1, other)?;
        notes.push(join_and_agree(scene, &joiner, &words, &mut complaints)?);
    }
    set(scene, 0, [USUAL; 3])?;
    set(scene, 1, [USUAL; 3])?;
    notes.push(through_a_router(scene, &joiner, &mut complaints)?);
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    played.complaints = complaints;
    played.notes = notes;
    Ok(played)
}

/// What one case comes to: a node joins anew, a megabyte of configuration is agreed on.
fn join_and_agree(
    scene: &mut Scene,
    joiner: &str,
    words: &str,
    complaints: &mut Vec<String>,
) -> Result<String> {
    let began = clock::now();
    restart(scene, joiner).with_context(|| format!("joining with {words}"))?;
    let joined = milliseconds(clock::now() - began);
    let mut agreed = Duration::ZERO;
    // Each node once sends it to the others, or to the one that orders.
    let speakers = scene.lab.node_names().into_iter().cycle();
    for (_, speaker) in (0..ROUNDS).zip(speakers) {
        let once = agree(scene, &speaker);
        let once = once.with_context(|| format!("with {words}, by way of {speaker}"));
        agreed += scene.explain(once)?;
    }
    complaints.extend(flaps(scene)?.into_iter().map(|flap| format!("{words}: {flap}")));
    let agreed = milliseconds(agreed);
    Ok(format!("{words}: joined after {joined:.0} ms, 1 MB after {agreed:.0} ms"))
}

/// A router between all nodes on both networks that lets 576 bytes through and sends no ICMP.
fn through_a_router(
    scene: &mut Scene,
    joiner: &str,
    complaints: &mut Vec<String>,
) -> Result<String> {
    let before = scene.lab.fragmented_by_stranger()?;
    scene.lab.route_through_stranger(&[0, 1], HOP, true)?;
    let words = format!("a router for {HOP} bytes");
    let note = join_and_agree(scene, joiner, &words, complaints)?;
    let cut = scene.lab.fragmented_by_stranger()? - before;
    scene.lab.route_through_stranger(&[0, 1], HOP, false)?;
    if cut == 0 {
        complaints.push("nothing went through the router that it had to cut".to_owned());
    }
    Ok(format!("{note}, it cut {cut} packets"))
}

fn set(scene: &mut Scene, network: u8, mtus: [u32; 3]) -> Result<()> {
    let network = spec::network_name(network);
    for (name, mtu) in scene.lab.node_names().iter().zip(mtus) {
        scene.lab.set_mtu(name, &network, mtu)?;
    }
    Ok(())
}

/// Ends a node's daemon and starts it again; until all are in one view and all paths alive.
fn restart(scene: &mut Scene, node: &str) -> Result<()> {
    let life = |scene: &Scene| scene.status(node).map(|status| status.node.incarnation);
    let before = life(scene);
    scene.lab.kill(node, Signal::KILL, Which::Daemon)?;
    let again = wait::until("the daemon to be there again", PATIENCE, || {
        Ok(life(scene).filter(|life| Some(*life) != before))
    });
    scene.explain(again)?;
    scene.wait_for_all()?;
    wait_for_paths(scene)
}

/// Agrees on another large configuration; how long it took until all nodes had it.
fn agree(scene: &Scene, speaker: &str) -> Result<Duration> {
    let speaker = scene.lab.root(speaker)?;
    let (version, text) = api::configuration(speaker)?;
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("# ")).collect();
    let line = format!("# {version:0>97}\n");
    let rest = SIZE.saturating_sub(kept.iter().map(|line| line.len() + 1).sum());
    let text = kept.join("\n") + "\n" + &line.repeat(rest / line.len());
    let start = clock::now();
    let body = json!({ "text": text, "expected_version": version });
    api::command(speaker, "/v1/config", &body).context("changing the configuration")?;
    wait::until("a long configuration to be in force on all nodes", PATIENCE, || {
        for name in scene.lab.node_names() {
            if api::configuration(scene.lab.root(&name)?)?.0 <= version {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    Ok(clock::now() - start)
}

/// Paths that are not alive at some look.
fn flaps(scene: &Scene) -> Result<Vec<String>> {
    let until = clock::now() + WATCH;
    let mut found = Vec::new();
    while clock::now() < until {
        for name in scene.lab.node_names() {
            let status = scene.status(&name).with_context(|| format!("{name} gives no status"))?;
            let bad = status.paths.iter().filter(|path| path.state != "alive");
            found.extend(bad.map(|path| {
                format!("{name}: the path to {} over {} is {}", path.peer, path.network, path.state)
            }));
        }
        clock::pause(Duration::from_millis(50));
    }
    found.dedup();
    Ok(found)
}
