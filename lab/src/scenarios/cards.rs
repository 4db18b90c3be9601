//! Two cards per node: what happens to addresses, connections and services when cards fail.
//!
//! The client has connections open to the service and to the node's own address, over both versions of
//! IP, and every byte is checked; the observer asks all the time at which card the addresses are; the
//! client's own neighbour table says to which card it sends.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Played;
use super::media::{changed_views, recovered, views, wait_for_paths};
use crate::api;
use crate::card::{self, Card};
use crate::client::{Mode, Probe};
use crate::clock::{self, milliseconds};
use crate::cluster::{Cluster, SERVICE_ADDRESS, SERVICE_ADDRESS_V6, Service};
use crate::lab::Lab;
use crate::responder;
use crate::scene::{INTERVAL, PATIENCE, Scene};
use crate::spec;
use crate::stream::Stream;
use crate::switch::Silence;
use crate::trace::Trace;
use crate::wait;

/// The network whose cards fail: the client's.
const NETWORK: u8 = 0;
/// The network of the service that stays.
const OTHER_NETWORK: u8 = 1;
/// The service that needs the other network only, its address there, and its port.
const OTHER: &str = "other";
const OTHER_ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 77, OTHER_NETWORK, 110);
const OTHER_PORT: u16 = 7710;
/// How often the observer asks at which card an address is.
const ASKING: Duration = Duration::from_millis(10);
/// For how long a stream runs before something is broken.
pub(super) const RUNNING: Duration = Duration::from_secs(1);
/// How long a cable is out when nobody says.
const OUT: Duration = Duration::from_secs(3);
/// How long nothing may move after all has gone back.
const WATCH: Duration = Duration::from_secs(3);
/// For how long nobody answers at most when addresses change their card: carriers are looked at every
/// 50 ms, a switch waits for a second look, and one machine plays all of them here.
pub(super) const SWITCHED: Duration = Duration::from_secs(1);
/// How often cards are polled where they fail silently, and how many polls decide.
const POLL: Duration = Duration::from_millis(500);
const POLLS: u32 = 3;
/// Until a card is found: those, the one into which the failure fell and which may still look good, and half an
/// interval, because one machine plays all of them here and polls come too late. One that comes
/// later than that does not count; how many did not is asked, and each of them is excused.
const FOUND_AFTER: Duration = Duration::from_millis(500 * (3 + 1) + 250);
/// Polls that may be late, and so not count, because others use the machine.
const VOID_MAX: u32 = 6;
/// What the span after a fault is called.
const CUT: &str = "cut";
/// How long a takeover may take when the network has to be found silent (polls, and the round that the
/// fault fell into), the members' reports have stood for a second, and the inability has lasted for another.
pub(super) const FOUND: Duration = Duration::from_millis(500 * (3 + 2) + 1_000 + 1_000);
/// Addresses go back when the card has worked for a while.
pub(super) const RETURNED: Duration = Duration::from_secs(60);

/// An address, with what is known of it from outside.
struct Watched {
    name: String,
    address: IpAddr,
    stream: Stream,
    cards: Probe,
}

/// The addresses of the service and of the node itself in the network.
fn watch(scene: &Scene, active: &str) -> Result<Vec<Watched>> {
    let id = scene.lab.node(active)?.id;
    let mut list = vec![("service", IpAddr::from(SERVICE_ADDRESS))];
    list.push((active, spec::node_address(NETWORK, id).into()));
    if scene.lab.spec().ipv6 {
        list.push(("service", SERVICE_ADDRESS_V6.into()));
        list.push((active, spec::node_address_v6(NETWORK, id).into()));
    }
    let port = responder::stream_port(responder::PORT);
    let one = |(name, address): (&str, IpAddr)| {
        let stream = scene.lab.client().stream(address, port)?;
        let cards = scene.lab.observer().probe(address, Mode::Card, ASKING)?;
        Ok(Watched { name: format!("{name} {address}"), address, stream, cards })
    };
    list.into_iter().map(one).collect()
}

/// Waits until the client's neighbour table has all addresses at this card; how long that took.
fn wait_for_card(
    scene: &Scene,
    watched: &[Watched],
    (node, card): (&str, Card),
    limit: Duration,
) -> Result<Duration> {
    let start = clock::now();
    let wanted = card.hardware(scene.lab.node(node)?.id);
    for one in watched {
        let mut told = None;
        let what = format!("the client to send to {card} of {node} for {}", one.name);
        let outcome = wait::until(&what, limit, || {
            told = scene.lab.client().neighbour(one.address)?;
            Ok((told == Some(wanted)).then_some(()))
        });
        let told = told.map_or("nothing".to_owned(), card::told);
        let outcome = outcome.with_context(|| format!("its neighbour table says {told}"));
        scene.explain(outcome)?;
    }
    Ok(clock::now() - start)
}

/// At which cards an address was, one after the other.
fn way(trace: &Trace) -> Vec<String> {
    trace.runs().into_iter().map(|run| run.responder).collect()
}

/// Ends all streams and probes; what they carried, and what is not as it must be: the cards that
/// answered for each address are these, in this order.
fn end(
    watched: Vec<Watched>,
    expected: &[String],
    spans: &[Span],
) -> Result<(Vec<String>, Vec<String>)> {
    let (mut notes, mut complaints) = (Vec::new(), Vec::new());
    for Watched { name, stream, cards, .. } in watched {
        let carried = stream.finish()?;
        if !carried.is_exact() {
            let why = carried.broken.as_deref().unwrap_or("not all of it came back");
            complaints.push(format!("the stream to {name}: {why} after {} bytes", carried.right));
        }
        let pause = |(what, from, to): &Span| {
            format!("{what} {:.0} ms", carried.longest_between(*from, *to))
        };
        let pauses = Vec::from_iter(spans.iter().map(pause)).join(", ");
        let size = carried.right as f64 / 1e6;
        notes.push(format!("stream to {name}: {size:.1} MB right, pause at the {pauses}"));
        let way = way(&cards.stop()?);
        if way != expected {
            complaints.push(format!("{name} was at {}", way.join(", then at ")));
        }
    }
    Ok((notes, complaints))
}

/// A time in which nothing may have come, with its name: from a change until all was seen to be well
/// again, since boot.
type Span = (&'static str, Duration, Duration);

/// The first answer of the service that comes from now on.
fn answered(scene: &mut Scene) -> Result<Duration> {
    let answer = scene.wait_for_answer(PATIENCE).map(|_| clock::now());
    scene.explain(answer)
}

/// How the active node's primary card fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Its cable is pulled.
    Cable,
    /// It keeps its carrier, and these of its frames are lost.
    Silent(Silence),
}

impl How {
    /// For how long nobody answers at most.
    fn limit(self) -> Duration {
        match self {
            How::Cable => SWITCHED,
            How::Silent(_) => SWITCHED + FOUND_AFTER,
        }
    }
}

/// Has cards polled often enough for a short scenario.
pub(super) fn polled(cluster: &mut Cluster, detection: &str) {
    let millis = POLL.as_millis();
    cluster.network = format!(
        "poll_interval = \"{millis}ms\"\npolls = {POLLS}\nfailure_detection = \"{detection}\"\n"
    );
}

/// A card among the networks that a node lists.
fn shown(said: &serde_json::Value, card: Card) -> Result<&serde_json::Value> {
    let networks = said["networks"].as_array().context("no networks are listed")?;
    let mut cards =
        networks.iter().filter_map(|network| network["interfaces"].as_array()).flatten();
    let name = card.to_string();
    cards.find(|one| one["name"] == *name).with_context(|| format!("no {name}"))
}

/// What the active node says of its card in the network: state, and why.
pub(super) fn condition(scene: &Scene, active: &str, card: Card) -> Result<(String, String)> {
    let said = api::get(scene.lab.root(active)?, "/v1/networks")?;
    let card = shown(&said, card)?;
    let word = |key: &str| card[key].as_str().unwrap_or_default().to_owned();
    Ok((word("state"), word("reason")))
}

/// How many polls of the active node did not count.
fn void_polls(scene: &Scene, active: &str) -> Result<u32> {
    let said = api::get(scene.lab.root(active)?, "/v1/networks")?;
    let counters = said["counters"].as_array().context("no counters are listed")?;
    let void = counters.iter().find(|one| one["name"] == "health_void");
    // What is zero is not listed.
    let count = void.map_or(Some(0), |one| one["value"].as_u64()).context("no number")?;
    u32::try_from(count).context("more polls than there can be")
}

/// When the active node found its card dead, since boot.
fn found_at(scene: &Scene, active: &str, card: Card) -> Result<Duration> {
    let said = api::get(scene.lab.root(active)?, "/v1/networks")?;
    let now = clock::now();
    let card = shown(&said, card)?;
    ensure!(card["state"] == "down", "{} is {}", card["name"], card["state"]);
    let since = card["since_ms"].as_u64().context("it is not said since when")?;
    Ok(now.saturating_sub(Duration::from_millis(since)))
}

/// What is wrong with when a silent failure was found: it takes as many bad polls as promised, and no more than
/// the one besides into which it fell.
fn wrong_polls(found: Duration, void: u32) -> Option<String> {
    if void > VOID_MAX {
        return Some(format!("{void} polls did not count; on a busy machine {VOID_MAX} may not"));
    }
    let earliest = POLL * (POLLS - 1);
    let latest = FOUND_AFTER + POLL * void;
    let is_right = (earliest..=latest).contains(&found);
    let said = |time: Duration| format!("{:.0} ms", milliseconds(time));
    (!is_right).then(|| {
        format!(
            "found after {}, and not between {} and {}: {POLLS} polls, {void} did not count",
            said(found),
            said(earliest),
            said(latest)
        )
    })
}

/// Waits until the active node says that both its cards are proven to work.
fn wait_for_proof(scene: &Scene, active: &str) -> Result<()> {
    let cards = [Card::primary(NETWORK), Card::standby(NETWORK)];
    let outcome = wait::until("both cards to be proven", PATIENCE, || {
        for card in cards {
            if condition(scene, active, card)?.0 != "up" {
                return Ok(None);
            }
        }
        Ok(Some(()))
    });
    scene.explain(outcome)
}

/// The active node's primary card fails and is repaired: its addresses go to the standby, and once back.
pub(super) fn local_switch(scene: &mut Scene, active: &str, how: How) -> Result<Played> {
    let (primary, standby) = (Card::primary(NETWORK), Card::standby(NETWORK));
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let start = clock::now();
    let watched = watch(scene, active)?;
    wait_for_card(scene, &watched, (active, primary), PATIENCE)?;
    clock::pause(RUNNING);

    if how != How::Cable {
        wait_for_proof(scene, active)?;
    }
    let void = void_polls(scene, active)?;
    let cut = clock::now();
    match how {
        How::Cable => scene.lab.cut(active, &primary.to_string())?,
        How::Silent(what) => scene.lab.silence(active, &primary.to_string(), what)?,
    }
    let told = wait_for_card(scene, &watched, (active, standby), PATIENCE)?;
    let switched = answered(scene)?;
    let why = condition(scene, active, primary)?.1;
    let void = void_polls(scene, active)?.saturating_sub(void);
    let found = match how {
        How::Cable => None,
        How::Silent(_) => Some(found_at(scene, active, primary)?.saturating_sub(cut)),
    };
    clock::pause(scene.length(OUT));
    let mut complaints = changed_views(scene, &views)?;
    complaints.extend(found.and_then(|found| wrong_polls(found, void)));

    let healed = clock::now();
    scene.lab.heal(active, &primary.to_string())?;
    let returned = wait_for_card(scene, &watched, (active, primary), RETURNED)?;
    let went_back = answered(scene)?;
    clock::pause(WATCH);
    complaints.extend(changed_views(scene, &views)?);
    complaints.dedup();
    wait_for_paths(scene)?;
    scene.wait_until_quiet()?;

    let leaves = (healed + returned).saturating_sub(SWITCHED);
    let spans = [(CUT, cut, switched), ("return", leaves.max(healed), went_back)];
    let order = [primary, standby, primary].map(|card| format!("{active} {card}"));
    let (streams, wrong) = end(watched, &order, &spans)?;
    complaints.extend(wrong);
    let seen = scene.seen_since(start)?;
    let mut notes = Vec::new();
    for (what, from, to) in spans {
        // Until the last probe that is excused has had its answer.
        let gap = seen.answers.between(from, to + INTERVAL * 2).longest_gap();
        let gap = gap.map_or(0.0, |gap| gap.milliseconds);
        notes.push(format!("gap at the {what} {gap:.0} ms"));
        let limit = if what == CUT { how.limit() + POLL * void.min(VOID_MAX) } else { SWITCHED };
        if gap > milliseconds(limit) {
            let limit = limit.as_millis();
            complaints.push(format!("gap at the {what} {gap:.0} ms, the limit is {limit} ms"));
        }
    }
    notes.push(format!("the client sends to {standby} after {:.0} ms", milliseconds(told)));
    notes.push(format!("{primary} {why}"));
    notes.extend(found.map(|found| {
        format!("found after {:.0} ms, {void} polls did not count", milliseconds(found))
    }));
    notes.push(format!("back on {primary} {:.1} s after its repair", returned.as_secs_f64()));
    notes.extend(streams);
    let excused = spans.map(|(_, from, to)| (from, to)).to_vec();
    Ok(Played { excused, complaints, notes, ..Played::from(seen) })
}

/// The active node's primary card is deaf, which `inout` does not find: nothing moves, and it is heard to
/// be so.
pub(super) fn deaf_in_peace(scene: &mut Scene, active: &str) -> Result<Played> {
    let primary = Card::primary(NETWORK);
    wait_for_paths(scene)?;
    wait_for_proof(scene, active)?;
    let views = views(scene)?;
    let start = clock::now();
    scene.lab.silence(active, &primary.to_string(), Silence::In)?;
    clock::pause(POLL * (POLLS + 1) * 3);
    let (state, _) = condition(scene, active, primary)?;
    let healed = clock::now();
    scene.lab.heal_all()?;
    let back = answered(scene)?;
    let mut complaints = changed_views(scene, &views)?;
    if state != "up" {
        complaints.push(format!("{primary} is said to be {state}"));
    }
    wait_for_paths(scene)?;
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    played.excused.push((start, back));
    played.complaints = complaints;
    played.notes.push(format!("{primary} was said to be {state} all the time"));
    played.notes.push(recovered(back - healed));
    Ok(played)
}

/// The switch is dead: both cards of all nodes lose their carriers for a while, and get them back.
pub(super) fn switch_dead(scene: &mut Scene, active: &str) -> Result<Played> {
    let primary = Card::primary(NETWORK);
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let start = clock::now();
    let watched = watch(scene, active)?;
    wait_for_card(scene, &watched, (active, primary), PATIENCE)?;
    clock::pause(RUNNING);
    let cut = clock::now();
    for node in scene.lab.node_names() {
        for card in [primary, Card::standby(NETWORK)] {
            scene.lab.cut(&node, &card.to_string())?;
        }
    }
    clock::pause(scene.length(OUT));
    let healed = clock::now();
    scene.lab.heal_all()?;
    let back = answered(scene)?;
    // Whoever is the first to have a carrier again must not get everything.
    clock::pause(WATCH);
    let mut complaints = changed_views(scene, &views)?;
    wait_for_card(scene, &watched, (active, primary), RETURNED)?;
    wait_for_paths(scene)?;
    scene.wait_until_quiet()?;
    let (streams, wrong) = end(watched, &[format!("{active} {primary}")], &[("cut", cut, back)])?;
    complaints.extend(wrong);
    let mut played = Played::from(scene.seen_since(start)?);
    played.excused.push((cut, back));
    played.complaints = complaints;
    played.notes.push(recovered(back - healed));
    played.notes.extend(streams);
    Ok(played)
}

/// A service that needs the other network only.
pub(super) fn service(lab: &Lab) -> Result<Service> {
    Service::answering(lab, OTHER, OTHER_PORT, [("ip", format!("{OTHER_ADDRESS}/24"))])
}

/// Has the other service run on the active node, too, and answer there.
fn join(scene: &Scene, active: &str, probe: &mut Probe) -> Result<()> {
    let answers = |probe: &mut Probe, from: Option<&str>| {
        let what = format!("an answer of the service {OTHER}");
        wait::until(&what, PATIENCE, || {
            let last = probe.last()?.map(|(node, _)| node);
            Ok(last.filter(|node| from.is_none_or(|from| from == node)))
        })
    };
    let first = answers(probe, None);
    if scene.explain(first)? != active {
        scene.command_of(OTHER, "move", Some(active))?;
        let moved = answers(probe, Some(active));
        scene.explain(moved)?;
    }
    Ok(())
}

/// Both cards of the active node fail, one after the other: what needs their network moves, when the
/// second one does, and what does not need it stays. Without the carrier's help other nodes have to say
/// that there is something to hear.
pub(super) fn both_cards(scene: &mut Scene, active: &str, how: How) -> Result<Played> {
    let (primary, standby) = (Card::primary(NETWORK), Card::standby(NETWORK));
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let other = Mode::Udp(OTHER_PORT);
    let mut settling = scene.lab.client().probe(OTHER_ADDRESS.into(), other, INTERVAL)?;
    join(scene, active, &mut settling)?;
    settling.stop()?;
    scene.wait_until_quiet()?;
    let probe = scene.lab.client().probe(OTHER_ADDRESS.into(), other, INTERVAL)?;
    let port = responder::stream_port(OTHER_PORT);
    let stream = scene.lab.client().stream(OTHER_ADDRESS.into(), port)?;
    let watched = watch(scene, active)?;
    wait_for_card(scene, &watched, (active, primary), PATIENCE)?;
    clock::pause(RUNNING);
    if how != How::Cable {
        wait_for_proof(scene, active)?;
    }
    let fail = |scene: &mut Scene, card: Card| match how {
        How::Cable => scene.lab.cut(active, &card.to_string()),
        How::Silent(what) => scene.lab.silence(active, &card.to_string(), what),
    };
    let first = clock::now();
    fail(scene, primary)?;
    wait_for_card(scene, &watched, (active, standby), PATIENCE)?;
    // The connections of what moves end with its process.
    drop(watched);
    answered(scene)?;
    clock::pause(RUNNING);
    let second = clock::now();
    fail(scene, standby)?;
    scene.wait_for_another(active, PATIENCE)?;
    clock::pause(WATCH);
    let mut complaints = changed_views(scene, &views)?;
    scene.lab.heal_all()?;
    wait_for_paths(scene)?;
    scene.wait_until_quiet()?;
    let ended = clock::now();
    let carried = stream.finish()?;
    let trace = probe.stop()?;
    let stayed = trace.verdict();
    if !carried.is_exact() {
        let why = carried.broken.as_deref().unwrap_or("not all of it came back");
        complaints.push(format!("the stream of the service that stays: {why}"));
    }
    let pids = stayed.pids.get(active).map_or(0, |pids| pids.len());
    let is_elsewhere = stayed.responders.iter().any(|name| name != active);
    let lost = trace.lost_outside(&[(ended, clock::now())]).len();
    if is_elsewhere || pids != 1 || lost > 0 {
        let who = Vec::from_iter(stayed.responders).join(", ");
        complaints.push(format!(
            "the service on the other network: {who} answered, {pids} processes, {lost} probes lost"
        ));
    }
    // Only the second failure is a takeover; the first one has a scenario of its own.
    let mut played = Played::from(scene.seen_since(second)?);
    played.complaints = complaints;
    let size = carried.right as f64 / 1e6;
    let pause = carried.longest_between(first, ended);
    played.notes.push(format!(
        "{OTHER} stays: {} probes, {lost} lost, stream of {size:.1} MB right, longest pause {pause:.0} ms",
        stayed.sent
    ));
    Ok(played)
}
