//! Everything of the owner stands still at once, and then it is cut off.
//!
//! Daemon, guard and the service's processes are stopped by SIGSTOP, so no process of the old owner
//! can end anything: only its kernel goes on, and a kernel answers for its addresses by itself. It is
//! cut off from its peers, but not from the machines outside, which ask it all the time: one as a
//! client does, by way of its caches, the other one with the old owner's hardware address written down
//! for ever, so that its questions reach the old owner whoever announces what. **From the stop and the
//! printed F on nothing of the old owner may be heard, nothing after the first word of another node either, and nothing
//! ever after it goes on.**

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{LAST_PROBES, Played};
use crate::api;
use crate::client::{Mode, Probe};
use crate::clock::{self, milliseconds};
use crate::cluster::{SERVICE_ADDRESS, SERVICE_ADDRESS_V6};
use crate::lab::Which;
use crate::responder;
use crate::scene::{PATIENCE, Scene};
use crate::spec;
use crate::trace::Trace;
use crate::wait;

/// How often each probe asks.
const INTERVAL: Duration = Duration::from_millis(1);
/// How long the old owner is watched after F, stopped, and after it goes on.
const WATCH: Duration = Duration::from_secs(1);
/// The last answers of the client's probes that are looked at for what its caches say.
const LAST: usize = 20;
const NETWORK: u8 = 0;

/// A probe, and whether the client's own caches decide whom it reaches.
struct Watched {
    name: String,
    by_cache: bool,
    probe: Probe,
}

/// `must_close`: the owner's kernel can close its addresses, so it must.
pub(super) fn frozen_owner(scene: &mut Scene, active: &str, must_close: bool) -> Result<Played> {
    let names = scene.lab.node_names();
    let others: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| *name != active).collect();
    let bound = api::fence_wait(scene.lab.root(active)?)?;
    point_at(scene, active)?;
    let mut watched = watch(scene)?;
    let answers = |one: &mut Watched| -> Result<bool> {
        Ok(one.probe.last()?.is_some_and(|(node, _)| node == active))
    };
    let all = wait::until("the owner to answer every probe", PATIENCE, || {
        let all: Vec<bool> = watched.iter_mut().map(answers).collect::<Result<_>>()?;
        Ok(all.iter().all(|answers| *answers).then_some(()))
    });
    scene.explain(all)?;

    let start = clock::now();
    scene.lab.stop(active, Which::Everything)?;
    let stopped = clock::now();
    scene.lab.partition(&[active], &others)?;
    let free = stopped + bound;
    let taken = scene.wait_for_another(active, PATIENCE);
    clock::pause((free + WATCH).saturating_sub(clock::now()));
    let resumed = clock::now();
    scene.lab.cont(active, Which::Everything)?;
    clock::pause(WATCH);
    scene.lab.heal_all()?;
    taken?;
    scene.wait_for_all()?;
    clock::pause(WATCH);
    let new = scene.wait_until_quiet()?;
    let seen = wait::until("one of the newest probes to be answered", PATIENCE, || {
        let seen = scene.seen_since(start)?;
        Ok(seen.answers.is_answered_of(LAST_PROBES).then_some(seen))
    });
    let seen = scene.explain(seen)?;

    let traces = watched.iter_mut().map(|one| one.probe.trace()).collect::<Result<Vec<Trace>>>()?;
    let all = traces.iter().chain([&seen.answers, &seen.owners]);
    let next = all.filter_map(|trace| first_of_others(trace, active)).min();
    let (next, successor) = next.context("no other node answered anything")?;
    let mut complaints = Vec::new();
    let mut last = Duration::ZERO;
    let (mut probes, mut late_in_all) = (0, 0);
    for (one, trace) in watched.iter().zip(&traces) {
        probes += trace.sent.len();
        let (latest, late) = of(trace, active, free);
        last = last.max(latest.unwrap_or_default());
        late_in_all += late;
        if late > 0 && must_close {
            complaints.push(format!("{}: {late} answers of the old owner after F", one.name));
        }
        let after = latest.and_then(|latest| latest.checked_sub(next)).unwrap_or_default();
        if must_close && !after.is_zero() {
            let after = milliseconds(after);
            complaints.push(format!(
                "{}: the old owner answered {after:.1} ms after {successor} had",
                one.name
            ));
        }
        let mut end = trace.answers.iter().rev().take(LAST);
        let by = |answer: &crate::trace::Answer| &trace.responders[usize::from(answer.responder)];
        if one.by_cache && !end.all(|answer| *by(answer) == new) {
            complaints.push(format!("{}: the client's cache does not lead to {new}", one.name));
        }
    }
    drop(watched);
    if !complaints.is_empty() {
        complaints.push(scene.report());
    }
    let note = format!(
        "F {:.0} ms; {probes} probes beside it; the last answer of {active} {:.0} ms after it was \
         stopped, the first of {successor} {:.0} ms after it; {late_in_all} after F (it went on \
         {:.1} s after F)",
        milliseconds(bound),
        milliseconds(last.saturating_sub(stopped)),
        milliseconds(next.saturating_sub(stopped)),
        (resumed.saturating_sub(free)).as_secs_f64(),
    );
    let mut played = Played::from(seen);
    played.complaints = complaints;
    played.notes.push(note);
    Ok(played)
}

/// When a node answered last, and how many of its answers came after `from`.
fn of(trace: &Trace, node: &str, from: Duration) -> (Option<Duration>, usize) {
    let index = trace.responders.iter().position(|name| name == node);
    let answers =
        trace.answers.iter().filter(|answer| Some(usize::from(answer.responder)) == index);
    let received: Vec<Duration> =
        answers.map(|answer| Duration::from_nanos(answer.received)).collect();
    (received.iter().max().copied(), received.iter().filter(|at| **at > from).count())
}

/// The first answer of anybody else, and who that was.
fn first_of_others<'a>(trace: &'a Trace, node: &str) -> Option<(Duration, &'a str)> {
    let answers = trace.answers.iter().map(|answer| {
        let by = trace.responders[usize::from(answer.responder)].as_str();
        (Duration::from_nanos(answer.received), by)
    });
    answers.filter(|(_, by)| *by != node).min()
}

fn addresses() -> [IpAddr; 2] {
    [SERVICE_ADDRESS.into(), SERVICE_ADDRESS_V6.into()]
}

/// The observer sends to this node whatever it asks of the service's addresses.
fn point_at(scene: &mut Scene, node: &str) -> Result<()> {
    let id = scene.lab.node(node)?.id;
    let observer = scene.lab.observer_mut().namespace_mut();
    let (index, _) = observer.route().interface(&spec::network_name(NETWORK))?;
    for address in addresses() {
        let hardware = spec::hardware(NETWORK, id);
        observer.route().add_permanent_neighbour(index, address, hardware)?;
    }
    Ok(())
}

fn watch(scene: &Scene) -> Result<Vec<Watched>> {
    let mut watched = Vec::new();
    let ways =
        [("datagrams", Mode::Udp(responder::PORT)), ("echo", Mode::Echo), ("neighbour", Mode::Arp)];
    for (who, client) in [("client", scene.lab.client()), ("observer", scene.lab.observer())] {
        for (way, mode) in ways {
            for address in addresses() {
                let probe = client.probe(address, mode, INTERVAL);
                let name = format!("{who}'s {way} to {address}");
                let probe = probe.with_context(|| name.clone())?;
                watched.push(Watched { name, by_cache: who == "client", probe });
            }
        }
    }
    Ok(watched)
}

#[cfg(test)]
mod tests;
