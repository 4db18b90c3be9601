//! Cases with two cards per node: each fails by itself, in each direction, and a stream goes on when
//! an address changes its card.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::spec::node_address;
use lab::{Card, Lab, Mode, Signal, Silence, Spec, Which, clock, wait};

use crate::cases::{PORT, SERVICE, SERVICE_V4, answers, eventually_answers, responder, v4};

/// Until something has come through that is not held up.
const SOON: Duration = Duration::from_secs(10);

/// With nodes that answer for an address on the card that has it: left to itself Linux answers on all
/// cards of a machine for all its addresses (`arp_ignore` in ip-sysctl).
fn build(nodes: u8) -> Result<Lab> {
    let mut lab = Lab::new(Spec { standbys: true, ..Spec::new(nodes, 1)? })?;
    for node in lab.node_names() {
        let words = ["/bin/sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore"];
        let output = lab.run_in(&node, &words)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(lab)
}

pub(crate) fn each_card_fails_by_itself() -> Result<()> {
    let mut lab = build(2)?;
    responder(&mut lab, "n1")?;
    eventually_answers(&lab, v4(0, 1))?;
    ensure!(lab.has_carrier("n1", "net0")? && lab.has_carrier("n1", "net0s")?, "at the start");
    lab.cut("n1", "net0")?;
    ensure!(!lab.has_carrier("n1", "net0")?, "the card whose cable was pulled");
    ensure!(lab.has_carrier("n1", "net0s")? && lab.has_carrier("n2", "net0")?, "the others");
    lab.cut("n1", "net0s")?;
    lab.heal("n1", "net0")?;
    ensure!(lab.has_carrier("n1", "net0")? && !lab.has_carrier("n1", "net0s")?, "one is back");
    eventually_answers(&lab, v4(0, 1))?;
    lab.power_off("n1")?;
    lab.power_on("n1")?;
    ensure!(!lab.has_carrier("n1", "net0s")?, "a cut outlasts the power");
    lab.heal_all()?;
    ensure!(lab.has_carrier("n1", "net0s")?, "all is repaired");
    ensure!(lab.cut("client", "net0s").is_err(), "only nodes have two cards");
    ensure!(lab.cut("n1", "net0t").is_err(), "there is no third one");
    Ok(())
}

/// Frames that a card received and sent while the client asked for a moment, and whether it got an
/// answer.
fn frames(lab: &mut Lab, card: &str) -> Result<(u64, u64, bool)> {
    let before = lab.traffic("n1", card)?;
    let answered = answers(lab, v4(0, 1))?;
    let now = lab.traffic("n1", card)?.since(before);
    Ok((now.received_packets, now.sent_packets, answered))
}

pub(crate) fn a_silent_card_keeps_its_carrier() -> Result<()> {
    let mut lab = build(1)?;
    responder(&mut lab, "n1")?;
    eventually_answers(&lab, v4(0, 1))?;
    lab.silence("n1", "net0", Silence::Out)?;
    let (received, sent, answered) = frames(&mut lab, "net0")?;
    ensure!(received > 10 && sent > 10 && !answered, "out: {received} in, {sent} out");
    lab.silence("n1", "net0", Silence::In)?;
    // What was on its way is there before the counters are read.
    clock::pause(Duration::from_millis(50));
    let (received, _, answered) = frames(&mut lab, "net0")?;
    ensure!(received == 0 && !answered, "in: {received} came");
    lab.silence("n1", "net0", Silence::Both)?;
    let (received, _, answered) = frames(&mut lab, "net0")?;
    ensure!(received == 0 && !answered, "both: {received} came");
    ensure!(lab.has_carrier("n1", "net0")?, "none of that takes the carrier");
    let before = lab.traffic("n1", "net0s")?;
    let probe = lab.client().probe(v4(0, 1), Mode::Arp, Duration::from_millis(5))?;
    clock::pause(Duration::from_millis(200));
    let asked = probe.stop()?;
    let heard = lab.traffic("n1", "net0s")?.since(before).received_packets;
    ensure!(asked.answers.is_empty() && heard > 0, "the other card hears it: {heard} frames");
    lab.heal("n1", "net0")?;
    eventually_answers(&lab, v4(0, 1))
}

/// The client's kernel knows the address at that card.
fn leads_to(lab: &Lab, card: Card) -> Result<()> {
    let what = format!("the client's neighbour table to name {card}");
    wait::until(&what, SOON, || {
        Ok((lab.client().neighbour(SERVICE)? == Some(card.hardware(1))).then_some(()))
    })
}

pub(crate) fn a_stream_follows_an_address() -> Result<()> {
    let mut lab = build(1)?;
    responder(&mut lab, "n1")?;
    lab.add_address("n1", "net0", SERVICE, 24)?;
    ensure!(lab.client().neighbour(SERVICE)?.is_none(), "nobody has spoken yet");
    eventually_answers(&lab, SERVICE)?;
    leads_to(&lab, Card::primary(0))?;
    let port = lab::responder::stream_port(PORT);
    let stream = lab.client().stream(SERVICE, port)?;
    let other = lab.client().stream(node_address(0, 1).into(), port)?;
    let flows = |after: u64| {
        wait::until("the stream to go on", Duration::from_secs(30), || {
            let carried = stream.carried();
            ensure!(carried.broken.is_none(), "{carried:?}");
            Ok((carried.right > after + 20_000).then_some(carried.right))
        })
    };
    let before = flows(0)?;
    let mut owners = lab.observer().probe(SERVICE, Mode::Card, Duration::from_millis(5))?;
    let cut = clock::now();
    lab.cut("n1", "net0")?;
    // Longer than the kernel waits before it sends something again.
    clock::pause(Duration::from_millis(300));
    // The route to the network goes with the last address, else answers would still leave by net0.
    for address in [SERVICE_V4, node_address(0, 1)] {
        lab.remove_address("n1", "net0", address.into(), 24)?;
        lab.add_address("n1", "net0s", address.into(), 24)?;
        lab.announce("n1", "net0s", address)?;
    }
    leads_to(&lab, Card::standby(0))?;
    flows(before)?;
    let flowing = clock::now();
    wait::until("the observer to see the other card", SOON, || {
        Ok(owners.last()?.is_some_and(|(name, _)| name == "n1 net0s").then_some(()))
    })?;
    for stream in [stream, other] {
        let carried = stream.finish()?;
        ensure!(carried.is_exact() && carried.sent > 20_000, "{carried:?}");
        let gap = carried.longest_between(cut, flowing);
        ensure!(gap >= 290.0, "nothing came for 300 ms, but the longest gap is {gap} ms");
    }
    lab.kill("n1", Signal::KILL, Which::Everything)?;
    wait::until("no process on n1", SOON, || {
        Ok(lab.processes("n1")?.iter().all(|process| process.state == 'Z').then_some(()))
    })?;
    lab.client().stream(SERVICE, port).err().context("nobody is there to accept it")?;
    Ok(())
}
