//! What strangers on the same wire can do: nothing.
//!
//! The view, the service and the memory of the daemons must be the same afterwards; and what came is
//! counted under the name of what it is.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Played;
use super::media::{changed_views, views, wait_for_paths};
use crate::api::Status;
use crate::clock;
use crate::line::Chance;
use crate::scene::{PATIENCE, Scene};
use crate::spec;
use crate::storm::frames::{self, Captured, Frame, Kind};
use crate::storm::{self, Ammunition, Force, Storm, Strength, volley};
use crate::wait;

/// How long each network is under storm when nobody says.
const BLOWING: Duration = Duration::from_secs(4);
/// Frames of each kind at each node whose counting must be exact.
const VOLLEY: usize = 200;
/// How long a daemon may take to have counted them.
const COUNTING: Duration = Duration::from_secs(5);
/// The memory of daemon and guard is compared at a tenth of the storm and at its end, kilobytes:
/// more than this is growth.
const GROWTH_MAX: u64 = 2 << 10;
/// Frames made of the captured ones, and sent again and again with what is fresh in them.
const STOCK: usize = 1_000;
/// Of what reached a node at most so many of a thousand may be unaccounted for.
const UNACCOUNTED_MAX: u64 = 20;
/// The networks of the scenario: the client's, one of UDP, one of raw Ethernet.
const UDP: u8 = 1;
const ETHERNET: u8 = 2;

/// What a frame from outside can be counted as.
const COUNTERS: [&str; 11] = [
    "malformed",
    "wrong_cluster",
    "version",
    "wrong_key",
    "replay",
    "earlier_life",
    "duplicate_node_id",
    "reflected",
    "misdirected",
    "crossed",
    "unknown_path",
];

/// Counted volleys of each kind, then a storm of all kinds on each network.
pub(super) fn storm(scene: &mut Scene) -> Result<Played> {
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let mut chance = Chance(clock::now().as_nanos() as u64 | 1);
    let start = clock::now();
    let mut notes = Vec::new();
    let mut complaints = Vec::new();
    // What is for everybody, as on Ethernet, counts at more than one node.
    let captured = frames::capture(&scene.lab, UDP)?;
    for node in 1..=scene.lab.spec().nodes {
        count_volleys(scene, UDP, node, &captured, &mut chance)?;
    }
    notes.push(format!("{VOLLEY} of each kind over UDP counted exactly, at each node"));
    let began = clock::now();
    for network in [UDP, ETHERNET] {
        let captured = frames::capture(&scene.lab, network)?;
        let stock = stock(network, &captured, &mut chance);
        let name = spec::network_name(network);
        let ammunition = Ammunition { network, frames: stock };
        let blown = blow(scene, ammunition)?;
        complaints.extend(blown.complaints(&name, &scene.lab.node_names(), network == UDP));
        notes.push(blown.sentence(&name));
    }
    let ended = clock::now();
    complaints.extend(changed_views(scene, &views)?);
    wait_for_paths(scene)?;
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    played.excused.push((began, ended));
    played.complaints = complaints;
    played.notes = notes;
    Ok(played)
}

/// Plain datagrams for the daemons' port at line rate on one of the two networks: at all nodes, then
/// at the active one alone.
pub(super) fn flood(scene: &mut Scene, active: &str) -> Result<Played> {
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let name = spec::network_name(UDP);
    let all = scene.lab.node_names();
    let start = clock::now();
    let mut complaints = Vec::new();
    let mut notes = Vec::new();
    for targets in [all.as_slice(), &[active.to_owned()]] {
        let blown = blow(scene, noise(scene, targets))?;
        complaints.extend(blown.complaints(&name, targets, true));
        notes.push(blown.sentence(&format!("{name}, at {}", targets.join(" "))));
    }
    let ended = clock::now();
    complaints.extend(changed_views(scene, &views)?);
    wait_for_paths(scene)?;
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    played.excused.push((start, ended));
    played.complaints = complaints;
    played.notes = notes;
    Ok(played)
}

/// A node without power is noticed and its service taken over by nodes that are under a flood.
pub(super) fn flooded_takeover(scene: &mut Scene, active: &str) -> Result<Played> {
    wait_for_paths(scene)?;
    let others: Vec<String> =
        scene.lab.node_names().into_iter().filter(|name| name != active).collect();
    let storm = Storm::start(&scene.lab, vec![noise(scene, &others)], Force::Full)?;
    clock::pause(BLOWING / 4);
    // The client gets little of a small machine's time, too: the outage counts from an answer.
    let answered = scene.wait_for_answer(PATIENCE);
    scene.explain(answered)?;
    let start = clock::now();
    scene.lab.power_off(active)?;
    let taken = scene.wait_for_another(active, PATIENCE);
    clock::pause(BLOWING / 4);
    let strength = storm.end()?;
    taken?;
    scene.wait_until_quiet()?;
    scene.lab.power_on(active)?;
    scene.lab.start(active)?;
    scene.wait_for_all()?;
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    let rate = strength.per_second();
    played.notes.push(format!("{rate} datagrams per second came at {}", others.join(" and ")));
    Ok(played)
}

/// Datagrams of noise at these nodes.
fn noise(scene: &Scene, targets: &[String]) -> Ammunition {
    let mut chance = Chance(clock::now().as_nanos() as u64 | 1);
    storm::noise(&scene.lab, UDP, targets, &mut chance)
}

/// Frames of all kinds, mixed.
fn stock(network: u8, captured: &[Captured], chance: &mut Chance) -> Vec<Frame> {
    let kinds = Kind::STORM.into_iter().cycle();
    (0..STOCK)
        .zip(kinds)
        .map(|(_, kind)| {
            let one = &captured[chance.below(captured.len() as u64) as usize];
            one.made_into(network, kind, chance)
        })
        .collect()
}

/// Sends a node so many of each kind and sees that they are counted as what they are, and that
/// nothing else is.
fn count_volleys(
    scene: &Scene,
    network: u8,
    node: u8,
    captured: &[Captured],
    chance: &mut Chance,
) -> Result<()> {
    let name = spec::node_name(node);
    let to_node: Vec<&Captured> = captured.iter().filter(|one| one.target() == node).collect();
    let is_raw = network == ETHERNET;
    for (kind, counter) in [
        (Kind::Replayed, Some("replay")),
        (Kind::Stub, Some("malformed")),
        (Kind::Truncated, Some("wrong_key")),
        (Kind::Forged, Some("wrong_key")),
        (Kind::ForeignVersion, Some("version")),
        // On a raw wire the kernel keeps the clusters apart, unseen.
        (Kind::ForeignCluster, (!is_raw).then_some("wrong_cluster")),
    ] {
        // A raw frame says for which cluster and node it is where a stub may end.
        if is_raw && kind == Kind::Stub {
            continue;
        }
        let before = scene.status(&name).with_context(|| format!("{name} gives no status"))?;
        let frames = to_node.iter().map(|one| one.made_into(network, kind, chance)).collect();
        volley(&scene.lab, Ammunition { network, frames }, VOLLEY)?;
        let expected = |name: &str| if Some(name) == counter { VOLLEY as u64 } else { 0 };
        let mut found = Vec::new();
        let counted = wait::until("the daemon to count", COUNTING, || {
            let now = scene.status(&name).with_context(|| format!("{name} gives no status"))?;
            let difference = |name: &str| now.count(name) - before.count(name);
            found =
                COUNTERS.into_iter().filter(|name| difference(name) != expected(name)).collect();
            let difference: Vec<String> =
                COUNTERS.iter().map(|name| format!("{name} {}", difference(name))).collect();
            ensure!(
                COUNTERS.iter().all(|name| now.count(name) - before.count(name) <= expected(name)),
                "{}",
                difference.join(", ")
            );
            Ok(found.is_empty().then_some(()))
        });
        let counted = counted.with_context(|| {
            format!("{name} counts {VOLLEY} frames ({kind:?}, net{network}) wrong: {found:?}")
        });
        scene.explain(counted)?;
    }
    Ok(())
}

/// What a storm did.
struct Blown {
    strength: Strength,
    nodes: Vec<Weathered>,
    is_every_kind: bool,
}

/// What it did to one node.
struct Weathered {
    name: String,
    /// By counter, what was counted.
    counted: Vec<(&'static str, u64)>,
    /// Frames that reached its interface, and datagrams for which the kernel had no room.
    reached: u64,
    dropped: u64,
    /// Resident memory of guard and daemon at a tenth and at the end, kilobytes.
    memory: [(u64, u64); 2],
}

impl Weathered {
    fn total(&self) -> u64 {
        self.counted.iter().map(|(_, count)| count).sum()
    }
}

fn blow(scene: &mut Scene, ammunition: Ammunition) -> Result<Blown> {
    let length = scene.length(BLOWING);
    let network = ammunition.network;
    let names = scene.lab.node_names();
    let is_every_kind = ammunition.frames.len() >= STOCK;
    let before = names.iter().map(|name| look(scene, name, network)).collect::<Result<Vec<_>>>()?;
    let storm = Storm::start(&scene.lab, vec![ammunition], Force::Full)?;
    clock::pause(length / 10);
    let early = names.iter().map(|name| memory(scene, name)).collect::<Result<Vec<_>>>()?;
    clock::pause(length - length / 10);
    let late = names.iter().map(|name| memory(scene, name)).collect::<Result<Vec<_>>>()?;
    let strength = storm.end()?;
    // What waits in the kernel is taken and counted first.
    let mut after = Vec::new();
    for name in &names {
        after.push(wait::until("the daemons to have counted all", COUNTING, || {
            let one = look(scene, name, network)?;
            clock::pause(Duration::from_millis(200));
            let other = look(scene, name, network)?;
            let is_same = COUNTERS.iter().all(|c| one.0.count(c) == other.0.count(c));
            Ok(is_same.then_some(other))
        })?);
    }
    let nodes = names.into_iter().enumerate().map(|(at, name)| {
        let (before, after) = (&before[at], &after[at]);
        let counted = COUNTERS.map(|name| (name, after.0.count(name) - before.0.count(name)));
        Weathered {
            name,
            counted: counted.into_iter().filter(|(_, count)| *count > 0).collect(),
            reached: after.1 - before.1,
            dropped: after.2 - before.2,
            memory: [early[at], late[at]],
        }
    });
    Ok(Blown { strength, nodes: nodes.collect(), is_every_kind })
}

/// Status, frames that reached the interface, datagrams that the kernel dropped.
fn look(scene: &mut Scene, name: &str, network: u8) -> Result<(Status, u64, u64)> {
    let status = scene.status(name).with_context(|| format!("{name} gives no status"))?;
    let traffic = scene.lab.traffic(name, &spec::network_name(network))?;
    Ok((status, traffic.received_packets, scene.lab.datagrams_dropped(name)?))
}

/// Resident memory of guard and daemon, kilobytes.
fn memory(scene: &mut Scene, name: &str) -> Result<(u64, u64)> {
    let (guard, daemon) = scene.lab.daemon_pids(name)?;
    let of = |pid: Option<i32>, what: &str| {
        crate::processes::resident(pid.with_context(|| format!("no {what} runs on {name}"))?)
    };
    Ok((of(guard, "guard")?, of(daemon, "daemon")?))
}

impl Blown {
    fn complaints(&self, network: &str, targets: &[String], adds_up: bool) -> Vec<String> {
        let mut list = Vec::new();
        for node in &self.nodes {
            let (name, total) = (&node.name, node.total());
            let [(guard, daemon), (guard_late, daemon_late)] = node.memory;
            for (what, early, late) in
                [("guard", guard, guard_late), ("daemon", daemon, daemon_late)]
            {
                if late > early + GROWTH_MAX {
                    list.push(format!("the {what} of {name} grew from {early} to {late} kB"));
                }
            }
            if total > node.reached {
                list.push(format!("{name} counts {total} of {} frames on {network}", node.reached));
            }
            let missing = node.reached.saturating_sub(total + node.dropped);
            if adds_up && missing * 1000 > node.reached * UNACCOUNTED_MAX + 1_000_000 {
                list.push(format!(
                    "{name} counts {total} of {} frames on {network}, and the kernel dropped {}",
                    node.reached, node.dropped
                ));
            }
            let wanted: &[&str] =
                if self.is_every_kind { &["replay", "wrong_key"] } else { &["malformed"] };
            for counter in wanted.iter().filter(|_| targets.contains(name)) {
                if !node.counted.iter().any(|(found, _)| found == counter) {
                    list.push(format!("{name} counts nothing as {counter} on {network}"));
                }
            }
        }
        list
    }

    fn sentence(&self, network: &str) -> String {
        let seconds = self.strength.length.as_secs_f64();
        let rate = self.strength.per_second();
        let nodes = self.nodes.iter().map(|node| {
            let counted: Vec<String> =
                node.counted.iter().map(|(name, count)| format!("{name} {count}")).collect();
            let [(guard, daemon), (guard_late, daemon_late)] = node.memory;
            format!(
                "{}: {} frames came, {} dropped by the kernel, counted {} ({}), daemon {daemon} -> \
                 {daemon_late} kB, guard {guard} -> {guard_late} kB",
                node.name,
                node.reached,
                node.dropped,
                node.total(),
                counted.join(", ")
            )
        });
        let nodes: Vec<String> = nodes.collect();
        let slow = if self.strength.hurried { "" } else { " (as much as the daemons leave)" };
        format!(
            "{network}: {} frames in {seconds:.1} s, {rate} per second{slow}\n    {}",
            self.strength.sent,
            nodes.join("\n    ")
        )
    }
}
