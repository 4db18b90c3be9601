//! Torture: real daemons under blows by lot, and a verdict from outside.
//!
//! A torture is a number of *rounds*, each in a lab of its own: a cluster forms, takes a few blows
//! (cables, partitions, one-way cuts, loss, stopped and killed processes, power, a frozen disk, busy
//! loops, moves and new configurations at the same time), is healed, and must be whole again by itself.
//! All the time clients outside ask each service who serves it, and kernels who has its address.
//! [`judge`] says whether there were two owners at any time; besides, no configuration that was
//! acknowledged may be lost.
//!
//! A round follows from its number and the seed alone, so one that went wrong can be had again:
//! the lots do not look at what the cluster does (when things happen still differs).

mod blow;
mod chance;
pub mod judge;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde::Serialize;

use crate::api;
use crate::arbiters::{self, Arbiters, Tie};
use crate::census::Census;
use crate::client::{Mode, Probe};
use crate::clock::{self, milliseconds};
use crate::cluster::{Cluster, Service};
use crate::lab::{Lab, Which};
use crate::spec::Spec;
use crate::trace::Trace;
use crate::wait;
use blow::{Dealt, number_in, pause_after};
use chance::Chance;
use judge::{Breach, Evidence};

/// Services of the cluster.
const SERVICES: usize = 3;
/// The first service's port.
const PORT: u16 = 7710;
/// How often a client asks a service.
const INTERVAL: Duration = Duration::from_millis(5);
/// How often kernels are asked for an address.
const WATCH_INTERVAL: Duration = Duration::from_millis(10);
/// Until a cluster has formed, or is whole again.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often what has ended is started again.
const RESTART: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Debug, Clone)]
pub struct Order {
    /// Everything is drawn from it.
    pub seed: u64,
    /// The first round.
    pub first: u64,
    /// Blows in all.
    pub steps: u64,
    /// Blows of a round.
    pub blows: u64,
    /// Nodes of the cluster.
    pub nodes: u8,
    /// A preset.
    pub detection: String,
    /// Who breaks the ties; it takes blows as well.
    pub tie: Tie,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Rounds played.
    pub rounds: u64,
    /// Blows drawn.
    pub steps: u64,
    /// Those that hit something.
    pub landed: u64,
    /// Those that did not: what they were for was not there, or the cluster refused.
    pub void: u64,
    /// Probes of clients.
    pub probes: u64,
    /// Services that came up on another machine.
    pub failovers: usize,
    /// Configurations that were acknowledged.
    pub configurations: u64,
    /// Until a cluster was whole after it was healed, in milliseconds, in order.
    pub healed_ms: Vec<f64>,
    /// Two owners.
    pub breaches: Vec<Breach>,
    /// What else went wrong, with the round.
    pub failures: Vec<String>,
}

impl Report {
    /// Whether all was as it must be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.breaches.is_empty() && self.failures.is_empty()
    }

    /// For people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let mut times = self.healed_ms.clone();
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let worst = times.last().copied().unwrap_or_default();
        format!(
            "{} steps ({} landed, {} void) in {} rounds: {} failovers, {} configurations acknowledged, {} probes; whole \
             again after {median:.0} ms (median), {worst:.0} ms (worst); {} breaches, {} failures",
            self.steps,
            self.landed,
            self.void,
            self.rounds,
            self.failovers,
            self.configurations,
            self.probes,
            self.breaches.len(),
            self.failures.len()
        )
    }
}

/// Plays it, with a line for each blow.
///
/// # Errors
/// When a lab cannot be built, or the output cannot be written. What goes wrong in a cluster is in
/// the report.
pub fn play(order: &Order, out: &mut dyn Write) -> Result<Report> {
    ensure!(order.nodes >= 2 && order.blows > 0, "a torture has two nodes and a blow at least");
    let mut report = Report::default();
    let mut number = order.first;
    while report.steps < order.steps {
        writeln!(out, "round {number} of seed {}", order.seed)?;
        let blows = order.blows.min(order.steps - report.steps);
        let seed = Chance::new(order.seed ^ number.rotate_left(32)).next();
        let outcome = play_round(order, Chance::new(seed), blows, &mut report, out)
            .with_context(|| format!("round {number} of seed {}", order.seed));
        report.rounds += 1;
        report.steps += blows;
        if let Err(error) = outcome {
            writeln!(out, "  FAILED: {error:#}")?;
            report.failures.push(format!("{error:#}"));
        }
        number += 1;
        out.flush()?;
    }
    if report.steps > 0 && report.landed == 0 {
        report.failures.push("no blow landed".to_owned());
    }
    Ok(report)
}

/// One cluster in its round.
struct Round<'a> {
    order: &'a Order,
    lab: Lab,
    arbiters: Arbiters,
    /// The arbiter that is down or stopped.
    mute: Option<Tie>,
    /// Processes that are stopped.
    frozen: Vec<(String, Which)>,
    /// Nodes without power.
    dark: Vec<String>,
    /// When nodes got power again.
    power: BTreeMap<String, Vec<u64>>,
    /// Of the newest configuration that was tried, and of the newest that was acknowledged.
    number: u64,
    acknowledged: u64,
    acknowledgements: u64,
}

/// The observers of one service.
struct Watch {
    service: String,
    client: Probe,
    owners: Probe,
}

fn service_name(index: usize) -> String {
    format!("s{index}")
}

/// Each has two: see [`crate::responder::stream_port`].
fn service_port(index: usize) -> u16 {
    PORT + 2 * index as u16
}

fn service_address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 100 + index as u8)
}

fn cluster(lab: &Lab, order: &Order) -> Result<Cluster> {
    let names = lab.node_names();
    let service = |index: usize| {
        let address = [("ip", format!("{}/24", service_address(index)))];
        let service = Service::answering(lab, &service_name(index), service_port(index), address)?;
        // Each begins its list at another node.
        let nodes = (0..names.len()).map(|at| names[(at + index) % names.len()].clone());
        Ok(Service { nodes: nodes.collect(), ..service })
    };
    let services = (0..SERVICES).map(service).collect::<Result<_>>()?;
    let tail = arbiters::tables(lab, order.tie);
    // A disk that breaks ties is no path: the nodes would hardly ever lose each other.
    let disk = lab.spec().disk && !order.tie.parts().contains(&Tie::Disk);
    Ok(Cluster { services, tail, disk, ..Cluster::new(&order.detection) })
}

fn play_round(
    order: &Order,
    mut chance: Chance,
    blows: u64,
    report: &mut Report,
    out: &mut dyn Write,
) -> Result<()> {
    // With a disk the nodes hardly ever lose each other.
    let disk = chance.below(3) == 0 || order.tie.parts().contains(&Tie::Disk);
    let spec = Spec { disk, ..Spec::new(order.nodes, 2)? };
    writeln!(out, "  {} nodes{}", spec.nodes, if spec.disk { " with a shared disk" } else { "" })?;
    let mut lab = Lab::new(spec)?;
    lab.write_cluster(&cluster(&lab, order)?)?;
    lab.prepare_disk()?;
    let arbiters = Arbiters::start_all(&mut lab, order.tie)?;
    lab.start_all()?;
    let mut round = Round {
        order,
        lab,
        arbiters,
        mute: None,
        frozen: Vec::new(),
        dark: Vec::new(),
        power: BTreeMap::new(),
        number: 0,
        acknowledged: 0,
        acknowledgements: 0,
    };
    round.wait_until_whole().context("forming the cluster")?;
    let first = round.lab.node_names()[0].clone();
    let fence_wait = api::fence_wait(round.lab.root(&first)?)?;
    let mut watches = (0..SERVICES).map(|index| round.watch(index)).collect::<Result<Vec<_>>>()?;
    let census = Census::start()?;
    let healed = round.suffer((blows, fence_wait), &mut chance, &mut watches, (report, out));
    // What was seen is judged in any case.
    clock::pause(Duration::from_millis(300));
    match census.stop() {
        Ok(count) if count.looks == 0 => report.failures.extend(count.complaints()),
        Ok(count) => {
            for double in &count.doubles {
                let breach = judge::ran_twice(double, |index| service_port(index).to_string());
                writeln!(out, "  BREACH: {}: {}", breach.service, breach.what)?;
                report.breaches.push(breach);
            }
        }
        Err(error) => report.failures.push(format!("processes were not counted: {error:#}")),
    }
    for watch in watches {
        let service = watch.service.as_str();
        let (client, owners) = (watch.client.stop(), watch.owners.stop());
        let (answers, owners): (Trace, Trace) = match (client, owners) {
            (Ok(answers), Ok(owners)) => (answers, owners),
            (Err(error), _) | (_, Err(error)) => {
                report.failures.push(format!("{service} was not seen: {error:#}"));
                continue;
            }
        };
        let evidence =
            Evidence { service, answers: &answers, owners: &owners, power: &round.power };
        report.probes += answers.sent.len() as u64;
        report.failovers += evidence.failovers();
        for breach in evidence.breaches() {
            writeln!(out, "  BREACH: {}: {}", breach.service, breach.what)?;
            report.breaches.push(breach);
        }
    }
    report.configurations += round.acknowledgements;
    report.healed_ms.push(healed.map_err(|error| error.context(round.words()))?);
    round.check_configuration()
}

/// Waits until the client has an answer of each service that comes from now on.
fn wait_for_answers(watches: &mut [Watch]) -> Result<()> {
    let start = clock::now();
    for watch in watches {
        wait::until(&format!("an answer of {}", watch.service), PATIENCE, || {
            Ok(watch.client.last()?.filter(|(_, at)| *at > start).map(drop))
        })?;
    }
    Ok(())
}

impl Round<'_> {
    fn watch(&self, index: usize) -> Result<Watch> {
        let address = IpAddr::V4(service_address(index));
        let mode = Mode::Udp(service_port(index));
        Ok(Watch {
            service: service_name(index),
            client: self.lab.client().probe(address, mode, INTERVAL)?,
            owners: self.lab.observer().probe(address, Mode::Arp, WATCH_INTERVAL)?,
        })
    }

    /// Takes its blows and is healed; how long it then took to be whole again, in milliseconds. Every
    /// service answers before the first blow and after the last: else there would be nothing to judge.
    fn suffer(
        &mut self,
        (blows, fence_wait): (u64, Duration),
        chance: &mut Chance,
        watches: &mut [Watch],
        (report, out): (&mut Report, &mut dyn Write),
    ) -> Result<f64> {
        wait_for_answers(watches).context("before the first blow")?;
        for _ in 0..blows {
            let blow = self.draw(chance);
            writeln!(out, "  {blow}")?;
            match self.deal(&blow).with_context(|| format!("{blow}"))? {
                Dealt::Landed => report.landed += 1,
                Dealt::Void(why) => {
                    report.void += 1;
                    writeln!(out, "    void: {why}")?;
                }
            }
            clock::pause(pause_after(chance, fence_wait));
        }
        self.heal()?;
        let start = clock::now();
        self.wait_until_whole().context("after all was healed")?;
        let took = milliseconds(clock::now() - start);
        wait_for_answers(watches).context("after all was healed")?;
        Ok(took)
    }

    /// Ends all faults: networks, disk, stopped processes, power, daemons that are not there.
    fn heal(&mut self) -> Result<()> {
        for (node, which) in std::mem::take(&mut self.frozen) {
            let _gone = self.lab.kill(&node, Signal::CONT, which);
        }
        self.lab.heal_all()?;
        self.unmute()?;
        for node in std::mem::take(&mut self.dark) {
            self.lab.power_on(&node)?;
            self.power.entry(node.clone()).or_default().push(clock::now().as_nanos() as u64);
            self.lab.start(&node)?;
        }
        Ok(())
    }

    /// Starts what has ended, as a service manager does: the daemon of a guard that was killed is
    /// still leaving, and a start is refused until it has.
    fn start_what_ended(&mut self) -> Result<()> {
        for node in self.lab.node_names() {
            if self.lab.daemon_pids(&node)?.0.is_none() {
                self.lab.start(&node)?;
            }
        }
        Ok(())
    }

    /// One view of all, and every service running on one node of which all say so.
    fn wait_until_whole(&mut self) -> Result<()> {
        let names = self.lab.node_names();
        let what = format!("one view of {} with all services", names.join(", "));
        let mut looked = clock::now();
        wait::until(&what, PATIENCE, || {
            if clock::now() - looked >= RESTART {
                looked = clock::now();
                self.start_what_ended()?;
            }
            Ok(self.is_whole(&names).then_some(()))
        })
    }

    fn is_whole(&self, names: &[String]) -> bool {
        let mut first: Option<(u64, Vec<Option<String>>)> = None;
        names.iter().all(|name| {
            let Some(status) = self.lab.root(name).ok().and_then(|root| api::status(root).ok())
            else {
                return false;
            };
            let mut members = status.view.members.clone();
            members.sort_unstable();
            let services = &status.services;
            let runs =
                services.len() == SERVICES && services.iter().all(|it| it.state == "running");
            let places = services.iter().map(|it| it.node.clone()).collect();
            let seen = (status.view.generation, places);
            let agrees = *first.get_or_insert_with(|| seen.clone()) == seen;
            status.node.state == "member" && members.iter().eq(names) && runs && agrees
        })
    }

    /// The newest configuration that was acknowledged, or a newer one, is everywhere: also on a node
    /// whose daemon has just ended, because its guard was killed.
    fn check_configuration(&mut self) -> Result<()> {
        for name in self.lab.node_names() {
            let (version, text) = wait::until(&format!("{name} to answer"), PATIENCE, || {
                self.start_what_ended()?;
                Ok(api::configuration(self.lab.root(&name)?).ok())
            })?;
            ensure!(
                number_in(&text) >= self.acknowledged,
                "{name} has lost configuration {}: it has number {} in version {version}",
                self.acknowledged,
                number_in(&text)
            );
        }
        Ok(())
    }

    /// What every node says, and the ends of the logs.
    fn words(&self) -> String {
        let node = |name: &String| {
            let said = match self.lab.root(name).map(api::status) {
                Ok(Ok(status)) => {
                    let services = status.services.iter().map(|it| {
                        format!("{} {} on {}", it.name, it.state, it.node.as_deref().unwrap_or("-"))
                    });
                    let services: Vec<String> = services.collect();
                    let waiting = status.view.waiting.unwrap_or_default();
                    format!(
                        "{} in generation {} of {}; {}; {waiting}",
                        status.node.state,
                        status.view.generation,
                        status.view.members.join(" "),
                        services.join(", ")
                    )
                }
                Ok(Err(error)) | Err(error) => format!("{error:#}"),
            };
            let log = self.lab.log_tail(name, 8).unwrap_or_default().replace('\n', "\n    | ");
            format!("  {name}: {said}\n    | {log}")
        };
        let names = self.lab.node_names();
        let text: Vec<String> = names.iter().map(node).collect();
        format!("{} nodes, {}:\n{}", names.len(), self.order.detection, text.join("\n"))
    }
}
