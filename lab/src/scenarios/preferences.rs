//! The distribution preferences: two cards of each node share the addresses of a service out in one network.
//!
//! One preference after the other is configured, and the service moved to the other node, which puts its
//! addresses anew. Then a card fails, returns, and the addresses are shared out anew. After each step the
//! client's own neighbour table has to name the right card for each address, persistent ones too, and each
//! has to answer the client: no card carries what it should not, and none is down for a preference's sake.
//!
//! What is expected is written down by hand, from docs/reference/configuration.md. Two cards are enough to
//! tell all preferences apart, because a persistent address that had to leave its card does not go back:
//! with it on the second card, `least-load` and `anti-collocation` differ.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Played;
use super::cards::{RETURNED, RUNNING, SWITCHED, condition, polled};
use super::media::{changed_views, configure, views, wait_for_paths};
use crate::api;
use crate::card::{self, Card};
use crate::client::{Mode, Probe};
use crate::clock::{self, milliseconds};
use crate::cluster::{Cluster, Service, Sharing};
use crate::lab::Lab;
use crate::netlink::Hardware;
use crate::scene::{INTERVAL, PATIENCE, Scene};
use crate::spec;
use crate::wait;

/// The network whose cards share addresses out: beside the one of the service that stays.
const NETWORK: u8 = 1;
/// Its cards.
const FIRST: Card = Card { network: NETWORK, is_standby: false };
const SECOND: Card = Card { network: NETWORK, is_standby: true };
/// The service that has them, and its port.
const SHARED: &str = "shared";
const PORT: u16 = 7710;
/// Their subnet, which is none of the nodes' own.
const PREFIX: u8 = 24;
/// The addresses are the first ones from here.
const ADDRESSES_FROM: u8 = 101;
const NAMES: [&str; 3] = ["one", "two", "three"];
/// How often the client sends something to persistent addresses, so that it has them in its table.
const KNOCKING: Duration = Duration::from_millis(50);

/// In the subnet of service addresses.
fn address(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 88, NETWORK, host)
}

/// The service's addresses, in the order of its resources.
fn addresses() -> [Ipv4Addr; 3] {
    [0, 1, 2].map(|place| address(ADDRESSES_FROM + place))
}

/// One preference, and where it puts the three addresses of a service that comes to a node.
struct Step {
    distribution: &'static str,
    /// The service's own, about its addresses among themselves.
    of_service: Option<&'static str>,
    put: [Card; 3],
    failure: Option<Failure>,
}

/// Then a card fails, which leaves the other one for everything, and returns.
struct Failure {
    card: Card,
    /// The status says of an address that its preference was dropped.
    is_dropped: bool,
    /// The network has `rebalance`; else somebody asks for it.
    by_itself: bool,
    /// Where they are after they were shared out anew.
    anew: [Card; 3],
}

const fn fails(card: Card, is_dropped: bool, anew: [Card; 3]) -> Option<Failure> {
    Some(Failure { card, is_dropped, by_itself: false, anew })
}

/// All of them. The nodes take turns; a node's persistent address is on the first card until that fails there.
const STEPS: [Step; 10] = {
    const F: Card = FIRST;
    const S: Card = SECOND;
    const fn step(distribution: &'static str, put: [Card; 3], failure: Option<Failure>) -> Step {
        Step { distribution, of_service: None, put, failure }
    }
    [
        step(
            "least-load",
            [S, F, S],
            Some(Failure { card: S, is_dropped: false, by_itself: true, anew: [S, S, F] }),
        ),
        step("collocation", [S, S, S], fails(S, false, [F, F, F])),
        step("anti-collocation", [S, F, S], fails(S, false, [S, S, F])),
        step("anti-collocation-with-persistent", [S, S, S], fails(S, true, [S, S, S])),
        step("collocation-with-source", [S, S, S], fails(S, false, [F, F, F])),
        // The source address goes to the empty card, and the others stay where it is not.
        step("anti-collocation-with-source", [S, F, F], fails(F, true, [F, S, S])),
        // The persistent address goes along, and stays.
        step("collocation-with-persistent", [F, F, F], fails(F, false, [S, S, S])),
        // From here on the persistent addresses of both nodes are on the second card.
        step("least-load", [F, F, S], None),
        step("anti-collocation", [F, S, F], None),
        Step {
            distribution: "collocation-with-persistent",
            of_service: Some("anti-collocation"),
            put: [F, S, F],
            failure: None,
        },
    ]
};

/// The client has a way to service addresses.
pub(super) fn furnish(lab: &mut Lab) -> Result<()> {
    let own = address(spec::CLIENT_HOST).into();
    let network = spec::network_name(NETWORK);
    lab.client_mut().namespace_mut().route().add_address(&network, own, PREFIX)
}

/// The service with three addresses.
pub(super) fn service(lab: &Lab) -> Result<Service> {
    let addresses = addresses().map(|address| format!("{address}/{PREFIX}"));
    Service::answering(lab, SHARED, PORT, NAMES.into_iter().zip(addresses))
}

/// Has the cards of the network share addresses out by the first preference.
pub(super) fn adapt(cluster: &mut Cluster, service: Service) {
    let persistent = |node: &String| format!("{node} = \"{}/{PREFIX}\"", persistent_of(node));
    let persistent = Vec::from_iter(service.nodes.iter().map(persistent)).join(", ");
    let [source, ..] = addresses();
    let lines = format!(
        "persistent = {{ {persistent} }}\nsource = \"{source}\"\n{}",
        Wish::of(&STEPS[0]).of_network
    );
    cluster.sharing = Some(Sharing { network: NETWORK, lines });
    cluster.services.push(service);
    polled(cluster, "inout");
}

/// The persistent address of a node, by its name: the number in it.
fn persistent_of(node: &str) -> Ipv4Addr {
    let id = node.strip_prefix('n').and_then(|id| id.parse().ok());
    address(id.expect("nodes of a lab are n1, n2, …"))
}

/// What the configuration says of a preference, as it stands in the file.
struct Wish {
    of_network: String,
    of_service: String,
}

impl Wish {
    fn of(step: &Step) -> Self {
        let rebalance = step.failure.as_ref().is_some_and(|failure| failure.by_itself);
        let of_network =
            format!("distribution = \"{}\"\nrebalance = {rebalance}\n", step.distribution);
        let of_service = step.of_service.map(|own| format!("distribution = \"{own}\"\n"));
        Self { of_network, of_service: of_service.unwrap_or_default() }
    }

    /// The configuration with this instead of what it has.
    fn written_into(&self, text: &str) -> Result<String> {
        let is_other = |line: &&str| {
            !["distribution = ", "rebalance = "].iter().any(|key| line.starts_with(key))
        };
        let kept: Vec<&str> = text.lines().filter(is_other).collect();
        let text = kept.join("\n") + "\n";
        let put = |text: &str, before: &str, lines: &str| -> Result<String> {
            let at = text.find(before).with_context(|| format!("{before:?} is not configured"))?;
            Ok(format!("{}{lines}{}", &text[..at], &text[at..]))
        };
        let text = put(&text, "also = ", &self.of_network)?;
        put(&text, &format!("name = \"{SHARED}\"\n"), &self.of_service)
    }
}

/// The client's probes of all addresses, and where persistent ones are.
struct Watch {
    answers: Vec<Probe>,
    /// Nobody counts their answers: they have the client know persistent addresses.
    _knocking: Vec<Probe>,
    persistent: BTreeMap<String, Card>,
}

impl Watch {
    fn start(scene: &Scene) -> Result<Self> {
        let nodes = scene.lab.node_names();
        let probe = |address: Ipv4Addr, interval| {
            scene.lab.client().probe(address.into(), Mode::Udp(PORT), interval)
        };
        Ok(Self {
            answers: addresses()
                .into_iter()
                .map(|one| probe(one, INTERVAL))
                .collect::<Result<_>>()?,
            _knocking: nodes
                .iter()
                .map(|node| probe(persistent_of(node), KNOCKING))
                .collect::<Result<_>>()?,
            persistent: nodes.into_iter().map(|node| (node, FIRST)).collect(),
        })
    }

    /// Waits until the client sends to these cards of that node, and to the persistent addresses at theirs, and
    /// each address answers from there.
    fn wait_for(
        &mut self,
        scene: &Scene,
        node: &str,
        cards: [Card; 3],
        limit: Duration,
    ) -> Result<()> {
        let id = |node: &str| scene.lab.node(node).map(|node| node.id);
        let mut wanted: Vec<(Ipv4Addr, Hardware)> = Vec::new();
        for (address, card) in addresses().into_iter().zip(cards) {
            wanted.push((address, card.hardware(id(node)?)));
        }
        for (owner, card) in &self.persistent {
            wanted.push((persistent_of(owner), card.hardware(id(owner)?)));
        }
        let mut wrong = String::new();
        let what = format!("the client to send to {} of {node}", names(cards));
        let outcome = wait::until(&what, limit, || {
            for (address, hardware) in &wanted {
                let told = scene.lab.client().neighbour(IpAddr::from(*address))?;
                if told != Some(*hardware) {
                    let (told, wanted) = (told.map(card::told), card::told(*hardware));
                    let told = told.as_deref().unwrap_or("nothing");
                    wrong = format!("its neighbour table says {told} for {address}, not {wanted}");
                    return Ok(None);
                }
            }
            Ok(Some(()))
        });
        scene.explain(outcome.with_context(|| wrong))?;
        let start = clock::now();
        for (address, probe) in addresses().iter().zip(&mut self.answers) {
            let outcome = wait::until(&format!("{node} to answer at {address}"), limit, || {
                Ok(probe.last()?.filter(|(who, at)| who == node && *at > start).map(drop))
            });
            scene.explain(outcome)?;
        }
        Ok(())
    }

    /// The longest time since then for which one of the addresses did not answer, milliseconds.
    fn longest_gap(&mut self, from: Duration) -> Result<f64> {
        let now = clock::now();
        let mut longest: f64 = 0.0;
        for probe in &mut self.answers {
            let gap = probe.trace()?.between(from, now).longest_gap();
            longest = longest.max(gap.map_or(0.0, |gap| gap.milliseconds));
        }
        Ok(longest)
    }
}

fn names(cards: [Card; 3]) -> String {
    cards.map(|card| card.to_string()).join(" ")
}

/// What a node says of the service's addresses under that key; only of those where it says something.
fn said(scene: &Scene, node: &str, key: &str) -> Result<Vec<String>> {
    let status = api::get(scene.lab.root(node)?, "/v1/status")?;
    let all = status["addresses"].as_array().context("no addresses are listed")?;
    let ours = all.iter().filter(|one| one["service"] == SHARED);
    Ok(ours.filter_map(|one| one[key].as_str()).map(str::to_owned).collect())
}

/// One preference after the other. Meanwhile nothing happens to the service on the other network.
pub(super) fn shown(scene: &mut Scene) -> Result<Played> {
    wait_for_paths(scene)?;
    let views = views(scene)?;
    let mut watch = Watch::start(scene)?;
    let mut node = running(scene, None)?;
    let start = clock::now();
    let (mut notes, mut complaints) = (Vec::new(), Vec::new());
    for step in &STEPS {
        node = scene.another_than(&node)?;
        let (note, wrong) = take(scene, &mut watch, step, &node)
            .with_context(|| format!("{} on {node}", step.distribution))?;
        notes.push(note);
        complaints.extend(wrong);
    }
    complaints.extend(changed_views(scene, &views)?);
    wait_for_paths(scene)?;
    scene.wait_until_quiet()?;
    let mut played = Played::from(scene.seen_since(start)?);
    played.complaints = complaints;
    played.notes = notes;
    Ok(played)
}

/// Waits until the service runs, there if a node is given.
fn running(scene: &Scene, wanted: Option<&str>) -> Result<String> {
    let outcome = wait::until(&format!("the service {SHARED} to run"), PATIENCE, || {
        let names = scene.lab.node_names();
        let on = |name: &String| -> Option<String> {
            let services = scene.status(name)?.services;
            let shared = services.into_iter().find(|service| service.name == SHARED)?;
            shared.node.filter(|_| shared.state == "running")
        };
        let first = names.first().and_then(on);
        let same = names.iter().all(|name| on(name) == first);
        Ok(first.filter(|first| same && wanted.is_none_or(|wanted| wanted == first)))
    });
    scene.explain(outcome)
}

/// The service comes to the node with that preference in force; then a card fails and returns there.
fn take(
    scene: &mut Scene,
    watch: &mut Watch,
    step: &Step,
    node: &str,
) -> Result<(String, Vec<String>)> {
    let root = scene.lab.root(node)?.to_owned();
    let (version, text) = api::configuration(&root)?;
    let wished = Wish::of(step).written_into(&text)?;
    if wished != text {
        configure(scene, &root, version, &wished)?;
    }
    scene.command_of(SHARED, "move", Some(node))?;
    running(scene, Some(node))?;
    watch.wait_for(scene, node, step.put, PATIENCE)?;
    let own = step.of_service.map(|own| format!(" ({own} in the service)")).unwrap_or_default();
    let mut note = format!("{}{own} on {node}: {}", step.distribution, names(step.put));
    let mut complaints = Vec::new();
    let dropped = said(scene, node, "dropped")?;
    complaints.extend(
        dropped.into_iter().map(|why| format!("{}: at the start {why}", step.distribution)),
    );
    if let Some(failure) = &step.failure {
        note += &fail(scene, watch, (step, failure), node, &mut complaints)?;
    }
    Ok((note, complaints))
}

/// The card fails and returns, and the addresses are shared out anew.
fn fail(
    scene: &mut Scene,
    watch: &mut Watch,
    (step, failure): (&Step, &Failure),
    node: &str,
    complaints: &mut Vec<String>,
) -> Result<String> {
    let mut complain = |what: String| complaints.push(format!("{}: {what}", step.distribution));
    let (card, left) = (failure.card, if failure.card == FIRST { SECOND } else { FIRST });
    wait_until_proven(scene, node)?;
    let cut = clock::now();
    scene.lab.cut(node, &card.to_string())?;
    watch.persistent.insert(node.to_owned(), left);
    watch.wait_for(scene, node, [left; 3], PATIENCE)?;
    let taken = milliseconds(clock::now() - cut);
    let gap = watch.longest_gap(cut)?;
    if gap > milliseconds(SWITCHED) {
        let limit = SWITCHED.as_millis();
        complain(format!("gap without {card} {gap:.0} ms, the limit is {limit} ms"));
    }
    let dropped = said(scene, node, "dropped")?;
    if dropped.is_empty() == failure.is_dropped {
        complain(match dropped.first() {
            Some(why) => format!("with {left} alone {why}"),
            None => format!("with {left} alone nothing says that the preference is dropped"),
        });
    }
    let returned = clock::now();
    scene.lab.heal(node, &card.to_string())?;
    wait_until_proven(scene, node)?;
    let mut how = String::new();
    if failure.by_itself {
        watch.wait_for(scene, node, failure.anew, RETURNED)?;
        let seconds = (clock::now() - returned).as_secs_f64();
        how = format!(" by itself after {seconds:.1} s");
    } else {
        clock::pause(RUNNING);
        watch.wait_for(scene, node, [left; 3], RUNNING).context("nothing has to move")?;
        let later = said(scene, node, "later")?;
        if later.is_empty() != (failure.anew == [left; 3]) {
            let later = later.first().map_or("nothing is said of a better place", String::as_str);
            complain(format!("with {card} back {later}"));
        }
        let path = format!("/v1/networks/{}/rebalance", spec::network_name(NETWORK));
        let body: Value = json!({ "reason": "lab" });
        api::command(scene.lab.root(node)?, &path, &body).context("rebalancing")?;
        watch.wait_for(scene, node, failure.anew, PATIENCE)?;
    }
    let (alone, anew) = (names([left; 3]), names(failure.anew));
    Ok(format!(
        ", without {card} {alone} (known and answering after {taken:.0} ms, gap {gap:.0} ms), anew{how} {anew}"
    ))
}

/// Waits until the node says that both its cards are proven to work.
fn wait_until_proven(scene: &Scene, node: &str) -> Result<()> {
    let outcome = wait::until(&format!("both cards of {node} to be proven"), PATIENCE, || {
        let both = [FIRST, SECOND].map(|card| Ok(condition(scene, node, card)?.0 == "up"));
        let both: Vec<bool> = both.into_iter().collect::<Result<_>>()?;
        Ok(both.into_iter().all(|is_up| is_up).then_some(()))
    });
    scene.explain(outcome)
}

#[cfg(test)]
mod tests;
