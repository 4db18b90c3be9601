//! Networks as they are in a rack: two cards in one bond (active-backup) are one network, of which
//! one cable is pulled; then a network that loses and delays.
//!
//! Nothing may happen in either case: no view change, and the outsider gets its answers.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{clock, spec};

use crate::vm::Bench;
use crate::vm::scene::{Scene, Wish};

/// How long each fault is watched.
const WATCH: Duration = Duration::from_secs(20);
/// How long a bond, which looks at its carriers ten times a second, may take to change its card.
const CARRIER: Duration = Duration::from_secs(15);
/// The longest time without an answer while a bond changes its card: far below the path timeout.
const BLINK: Duration = Duration::from_secs(2);
/// The same while the other network loses and delays, which costs the outsider nothing: what is left is
/// that an emulated machine may stand still.
const STALL: Duration = Duration::from_secs(3);

/// By its path: the shell of busybox takes its own one otherwise, which knows nothing of netem.
const TC: &str = "/sbin/tc";
/// What is done to a network (tc-netem(8)).
const NETEM: &str = "loss 20% delay 50ms 30ms";

/// Two cards of network 0 in a bond, one in network 1.
fn bonded(id: u8) -> String {
    let (first, second) = (spec::node_address(0, id), spec::node_address(1, id));
    format!(
        "modprobe bonding max_bonds=0\n\
         echo +bond0 >/sys/class/net/bonding_masters\n\
         echo active-backup >/sys/class/net/bond0/bonding/mode\n\
         echo 100 >/sys/class/net/bond0/bonding/miimon\n\
         for card in eth0 eth2; do echo +$card >/sys/class/net/bond0/bonding/slaves; done\n\
         ip addr add {first}/24 dev bond0; ip link set bond0 up\n\
         ip addr add {second}/24 dev eth1; ip link set eth1 up\n"
    )
}

pub(super) fn play(bench: &Bench) -> Result<Vec<String>> {
    let wish = Wish { interfaces: bonded, cards: &[0, 1, 0], ..Wish::new(3) };
    let mut scene = Scene::start(bench, &wish)?;
    let owner = scene.settle()?;
    let generation = scene.status(&owner)?.view.generation;
    let mut said = pull_active_card(&mut scene, &owner)?;
    said.extend(lose_and_delay(&mut scene, &owner)?);
    let after = scene.status(&owner)?.view.generation;
    ensure!(after == generation, "the view changed: generation {generation}, then {after}");
    said.push(format!("generation {generation} before and after"));
    Ok(said)
}

fn pull_active_card(scene: &mut Scene, owner: &str) -> Result<Vec<String>> {
    let asked = "cat /sys/class/net/bond0/bonding/active_slave";
    let active = scene.machine(owner).run(asked)?;
    let card = if active == "eth0" { 0 } else { 2 };
    let start = clock::now();
    scene.patience.say(&format!("no carrier for {active}, the active card of {owner}'s bond"));
    scene.machine(owner).set_carrier(card, false)?;
    let patience = scene.patience.clone();
    let other = patience.wait("the bond to take its other card", CARRIER, || {
        let now = scene.machine(owner).run(asked)?;
        Ok((now != active && !now.is_empty()).then_some(now))
    })?;
    clock::pause(WATCH);
    let gap = scene.demand_quiet(start, BLINK)?;
    scene.machine(owner).set_carrier(card, true)?;
    let words = scene.machine(owner).run("dmesg | grep 'bond0.*making interface' | tail -n 1")?;
    Ok(vec![
        format!("{owner}: {words}"),
        format!("bond: {active} to {other}; longest time without an answer {gap:.0} ms"),
    ])
}

/// Of what every machine sends in network 1 a fifth is lost, and the rest is late.
fn lose_and_delay(scene: &mut Scene, owner: &str) -> Result<Vec<String>> {
    let start = clock::now();
    scene.patience.say(&format!("on network 1, at all machines: {NETEM}"));
    for machine in &mut scene.machines {
        machine.run(&format!("{TC} qdisc add dev eth1 root netem {NETEM}"))?;
    }
    clock::pause(WATCH);
    let counted = scene.machine(owner).run(&format!("{TC} -s qdisc show dev eth1"))?;
    let gap = scene.demand_quiet(start, STALL)?;
    for machine in &mut scene.machines {
        machine.run(&format!("{TC} qdisc del dev eth1 root"))?;
    }
    ensure!(dropped(&counted) > 0, "nothing was lost: {counted}");
    // Netem's own figures come first, those of the gate's clsact after them.
    let words: Vec<&str> =
        counted.split(',').next().unwrap_or(&counted).split_whitespace().collect();
    let counted = words.join(" ");
    Ok(vec![format!("{owner}: {counted}); longest time without an answer {gap:.0} ms")])
}

/// The number in `(dropped 12, overlimits …`.
fn dropped(words: &str) -> u64 {
    let number = words.split_once("(dropped ").and_then(|(_, rest)| rest.split_once(','));
    number.and_then(|(number, _)| number.parse().ok()).unwrap_or(0)
}
