//! One cluster in its round: formed, beaten, healed, whole again, left alone, judged.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::blow::{Dealt, Mute};
use super::chance::Chance;
use super::deaths;
use super::draw::pause_after;
use super::judge::written::Written;
use super::judge::{self, Breach, Evidence};
use super::looks::Looks;
use super::settings::{SERVICES, Settings, number_in, service_address, service_name, service_port};
use super::{HOLD, Order, Report, START_WAIT};
use crate::api;
use crate::arbiters::{Arbiters, Tie};
use crate::census::{Census, Guarded};
use crate::client::{Mode, Probe};
use crate::clock::{self, milliseconds};
use crate::lab::{Lab, Which};
use crate::spec::Spec;
use crate::stamps::Book;
use crate::storm::Storm;
use crate::trace::Trace;
use crate::wait;

/// How often a client asks a service.
const INTERVAL: Duration = Duration::from_millis(5);
/// How often kernels are asked for an address.
const WATCH_INTERVAL: Duration = Duration::from_millis(10);
/// Until a cluster has formed, or is whole again: longer is never waited, however long is allowed.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often what has ended is started again.
const RESTART: Duration = Duration::from_secs(1);
/// How long the product may take to end what a life without a guard has left (`LEFTOVERS_BUDGET`), and to try a
/// daemon again that keeps dying (`PAUSE_MAX` of the guard).
const LEFTOVERS: Duration = Duration::from_secs(10);
const DAEMON_PAUSE: Duration = Duration::from_secs(5);
/// How long a cluster that is whole is watched doing nothing.
const QUIET: Duration = Duration::from_secs(3);
/// Of each node's log what tells why it does not do what it should; what was said when a service ran twice may be
/// long ago, so then all of it is told.
const LOG_LINES: usize = 16;
/// How long the observers go on after the last of it.
const LINGER: Duration = Duration::from_millis(300);

/// One cluster in its round.
pub(super) struct Round<'a> {
    pub(super) order: &'a Order,
    pub(super) lab: Lab,
    pub(super) arbiters: Arbiters,
    book: Book,
    looks: Looks,
    /// The arbiter that is down, stopped or slow.
    pub(super) mute: Option<(Tie, Mute)>,
    /// Processes that are stopped.
    pub(super) frozen: Vec<(String, Which)>,
    /// Nodes without power.
    pub(super) dark: Vec<String>,
    /// Floods that were let loose since the last heal.
    pub(super) floods: Vec<Storm>,
    /// When nodes got power again.
    pub(super) power: BTreeMap<String, Vec<u64>>,
    /// What the configuration would say, had the cluster taken all that was drawn.
    pub(super) settings: Settings,
    /// What each number stood for.
    pub(super) tried: BTreeMap<u64, Settings>,
    /// Of the newest configuration that was tried, and of the newest that was acknowledged.
    pub(super) number: u64,
    pub(super) acknowledged: u64,
    pub(super) acknowledgements: u64,
}

/// The observers of one service.
struct Watch {
    service: String,
    client: Probe,
    owners: Probe,
}

/// How a round ended for a cluster that went on.
struct Healed {
    /// Until it was whole, in milliseconds.
    took: f64,
    /// When it was to do nothing, nanoseconds since boot.
    quiet: (u64, u64),
}

/// What a service does, as all nodes say.
type Place = (String, Option<String>);

pub(super) fn play(
    order: &Order,
    mut chance: Chance,
    blows: u64,
    report: &mut Report,
    out: &mut dyn Write,
) -> Result<()> {
    // With a disk the nodes hardly ever lose each other.
    let disk = chance.below(3) == 0 || order.tie.parts().contains(&Tie::Disk);
    let spec = Spec { disk, stranger_networks: vec![0, 1], ..Spec::new(order.nodes, 2)? };
    writeln!(out, "  {} nodes{}", spec.nodes, if spec.disk { " with a shared disk" } else { "" })?;
    let mut lab = Lab::new(spec)?;
    let book = Book::create()?;
    (0..SERVICES).try_for_each(|index| book.open(&service_name(index)))?;
    let settings = Settings::first();
    lab.write_cluster(&settings.cluster(&lab, order, &book)?)?;
    lab.prepare_disk()?;
    let arbiters = Arbiters::start_all(&mut lab, order.tie)?;
    lab.start_all()?;
    let census = Census::start()?;
    let names = lab.node_names();
    let roots = names.iter().map(|name| lab.root(name).map(std::path::Path::to_owned));
    let looks = Looks::start(roots.collect::<Result<_>>()?)?;
    let mut round = Round {
        order,
        lab,
        arbiters,
        book,
        looks,
        mute: None,
        frozen: Vec::new(),
        dark: Vec::new(),
        floods: Vec::new(),
        power: BTreeMap::new(),
        tried: BTreeMap::from([(0, settings.clone())]),
        settings,
        number: 0,
        acknowledged: 0,
        acknowledgements: 0,
    };
    round.wait_until_whole().context("forming the cluster")?;
    let fence_wait = api::fence_wait(round.lab.root(&names[0])?)?;
    let breaches = report.breaches.len();
    let mut watches = (0..SERVICES).map(|index| round.watch(index)).collect::<Result<Vec<_>>>()?;
    let suffered = round.suffer((blows, fence_wait), &mut chance, &mut watches, (report, out));
    // What was seen is judged in any case.
    clock::pause(LINGER);
    let quiet = suffered.as_ref().ok().map(|healed| healed.quiet);
    for name in &names {
        match round.lab.log(name) {
            Ok(log) => report.failures.extend(deaths::in_log(name, &log)),
            Err(error) => report.failures.push(format!("{error:#}")),
        }
    }
    let guarded = match census.stop() {
        Ok(count) => {
            if count.looks == 0 {
                report.failures.extend(count.complaints());
            }
            for double in &count.doubles {
                let breach = judge::ran_twice(double, |index| service_port(index).to_string());
                tell(breach, report, out)?;
            }
            count.guarded
        }
        Err(error) => {
            report.failures.push(format!("processes were not counted: {error:#}"));
            // Without it nothing is known to be guarded, and no stamp could be held against anybody.
            Guarded::default()
        }
    };
    for watch in watches {
        round.judge(watch, (&guarded, quiet), (report, out))?;
    }
    if report.breaches.len() > breaches {
        writeln!(out, "{}", round.words(usize::MAX))?;
    }
    report.configurations += round.acknowledgements;
    let healed =
        suffered.map_err(|error| error.context(round.words(LOG_LINES))).and_then(|healed| {
            report.healed_ms.push(healed.took);
            round.check_configuration()
        });
    let said = round.looks.stop()?;
    report.failures.extend(said.complaints);
    if said.members == 0 {
        report.failures.push("no node ever said that it is a member".to_owned());
    }
    healed
}

fn tell(breach: Breach, report: &mut Report, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "  BREACH: {}: {}", breach.service, breach.what)?;
    report.breaches.push(breach);
    Ok(())
}

/// How long a cluster may take to be whole after all is healed.
///
/// What was lost last must be over (F), and a change that this delays may be followed by one that it delays as well;
/// a cluster that starts anew waits for absent nodes; a guard ends what was left before its daemon starts, and a
/// daemon that kept dying starts late. The longest time is that of a node that has returned often: it is held
/// down twice as long with each life.
fn limit(fence_wait: Duration, lives: usize) -> Duration {
    let returns = u32::try_from(lives.saturating_sub(1)).unwrap_or(u32::MAX);
    let held = HOLD.saturating_mul(2u32.saturating_pow(returns));
    (2 * fence_wait + START_WAIT + LEFTOVERS + DAEMON_PAUSE).saturating_add(held).min(PATIENCE)
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

    /// Waits until the client has an answer that comes from now on of each service that there should be.
    fn wait_for_answers(&self, watches: &mut [Watch]) -> Result<()> {
        let start = clock::now();
        let names = self.expected()?.names();
        for watch in watches.iter_mut().filter(|watch| names.contains(&watch.service)) {
            wait::until(&format!("an answer of {}", watch.service), PATIENCE, || {
                Ok(watch.client.last()?.filter(|(_, at)| *at > start).map(drop))
            })?;
        }
        Ok(())
    }

    /// Takes its blows and is healed. Every service answers before the first blow and after the last: else there
    /// would be nothing to judge.
    fn suffer(
        &mut self,
        (blows, fence_wait): (u64, Duration),
        chance: &mut Chance,
        watches: &mut [Watch],
        (report, out): (&mut Report, &mut dyn Write),
    ) -> Result<Healed> {
        self.wait_for_answers(watches).context("before the first blow")?;
        // Whether a service manager starts guards again while blows fall, or nobody does.
        let is_tended = chance.below(2) == 0;
        writeln!(
            out,
            "  guards that end {}",
            if is_tended { "are started again" } else { "stay away" }
        )?;
        for _ in 0..blows {
            let blow = self.draw(chance);
            writeln!(out, "  {blow}")?;
            match self.deal(&blow).with_context(|| format!("{blow}"))? {
                Dealt::Landed => {
                    report.landed += 1;
                    *report.kinds.entry(blow.kind()).or_default() += 1;
                }
                Dealt::Void(why) => {
                    report.void += 1;
                    *report.voids.entry(blow.kind()).or_default() += 1;
                    writeln!(out, "    void: {why}")?;
                }
            }
            clock::pause(pause_after(chance, fence_wait));
            if is_tended {
                self.start_what_ended()?;
            }
        }
        // What comes after the heal must not lengthen the time that it may take.
        let lives = 1 + self.looks.said().lives();
        self.heal()?;
        let start = clock::now();
        let whole = self.wait_until_it_lasts(fence_wait).context("after all was healed")?;
        let took = whole - start;
        let limit = limit(fence_wait, lives);
        ensure!(
            took <= limit,
            "after all was healed the cluster was whole in {took:.1?}; allowed are {limit:.1?}, as no node had \
             more than {lives} lives"
        );
        // First: what is put in force now would hide what was lost.
        self.check_configuration()?;
        self.settle().context("the last configuration, after all was healed")?;
        self.wait_for_answers(watches).context("after all was healed")?;
        let quiet = self.stay_quiet()?;
        Ok(Healed { took: milliseconds(took), quiet })
    }

    /// A cluster that is whole takes what was drawn last, unless it has already: whether it refuses now has nothing
    /// to do with blows.
    fn settle(&mut self) -> Result<()> {
        let names = self.lab.node_names();
        let root = self.lab.root(&names[0])?;
        let (version, text) = api::configuration(root)?;
        if number_in(&text) == self.number {
            return Ok(());
        }
        self.number += 1;
        self.tried.insert(self.number, self.settings.clone());
        let body = json!({ "text": self.text(self.number)?, "expected_version": version });
        api::command(root, "/v1/config", &body)?;
        self.acknowledged = self.number;
        self.acknowledgements += 1;
        self.wait_until_whole()
    }

    /// Nothing moves, restarts or changes the view for a while; when that was.
    fn stay_quiet(&mut self) -> Result<(u64, u64)> {
        let names = self.lab.node_names();
        let before = self.agreed(&names).context("the nodes disagree again")?;
        let from = clock::now();
        clock::pause(QUIET);
        let to = clock::now();
        let after =
            self.agreed(&names).context("the nodes disagree after a while without blows")?;
        ensure!(before == after, "without any blow {before:?} became {after:?}");
        Ok((from.as_nanos() as u64, to.as_nanos() as u64))
    }

    /// Judges what was seen and written of one service.
    fn judge(
        &self,
        watch: Watch,
        (guarded, quiet): (&Guarded, Option<(u64, u64)>),
        (report, out): (&mut Report, &mut dyn Write),
    ) -> Result<()> {
        let service = watch.service.as_str();
        let (client, owners) = (watch.client.stop(), watch.owners.stop());
        let (answers, owners): (Trace, Trace) = match (client, owners) {
            (Ok(answers), Ok(owners)) => (answers, owners),
            (Err(error), _) | (_, Err(error)) => {
                report.failures.push(format!("{service} was not seen: {error:#}"));
                return Ok(());
            }
        };
        let evidence = Evidence { service, answers: &answers, owners: &owners, power: &self.power };
        report.probes += answers.sent.len() as u64;
        report.outages_ms.extend(evidence.outages());
        for breach in evidence.breaches() {
            tell(breach, report, out)?;
        }
        let stamps = match self.book.read(service) {
            Ok(stamps) => stamps,
            Err(error) => {
                report.failures.push(format!("{error:#}"));
                return Ok(());
            }
        };
        let written = Written { service, stamps: &stamps, guarded };
        report.stamps += stamps.len() as u64;
        let (breaches, excused) = written.breaches();
        report.excused += excused;
        for breach in breaches {
            tell(breach, report, out)?;
        }
        // One that comes and goes may never have come.
        if !stamps.is_empty() || Settings::first().names().iter().any(|name| name == service) {
            report.failures.extend(written.complaints());
        }
        if let Some(quiet) = quiet {
            let runs = match self.expected() {
                Ok(expected) => usize::from(expected.names().iter().any(|name| name == service)),
                Err(error) => {
                    report.failures.push(format!("{service}: {error:#}"));
                    return Ok(());
                }
            };
            for (what, seen) in [
                ("of its processes answered", evidence.lives_between(quiet)),
                ("of its processes wrote", written.lives_between(quiet)),
                ("kernels said that they have its address", evidence.owners_between(quiet)),
            ] {
                if seen.len() != runs {
                    report.failures.push(format!(
                        "{service}: while nothing was done, {} {what} instead of {runs}: {}\n{}",
                        seen.len(),
                        seen.join(", "),
                        self.words(LOG_LINES)
                    ));
                }
            }
        }
        Ok(())
    }

    /// Starts what has ended, as a service manager does: the daemon of a guard that was killed is
    /// still leaving, and a start is refused until it has.
    fn start_what_ended(&mut self) -> Result<()> {
        for node in self.lab.node_names() {
            if !self.dark.contains(&node) && self.lab.daemon_pids(&node)?.0.is_none() {
                self.lab.start(&node)?;
            }
        }
        Ok(())
    }

    /// One view of all, and every service of the configuration running on one node, of which all say so.
    fn wait_until_whole(&mut self) -> Result<()> {
        let names = self.lab.node_names();
        let what = format!("one view of {} with all services", names.join(", "));
        let mut looked = clock::now();
        wait::until(&what, PATIENCE, || {
            if clock::now() - looked >= RESTART {
                looked = clock::now();
                self.start_what_ended()?;
            }
            Ok(self.agreed(&names).map(drop))
        })
    }

    /// The same, and it stays so for `rest`: the last blow may just have fallen, and nobody has noticed it yet. What it
    /// ends is ended by then. When it began to be so.
    fn wait_until_it_lasts(&mut self, rest: Duration) -> Result<Duration> {
        let names = self.lab.node_names();
        let until = clock::now() + PATIENCE;
        loop {
            self.wait_until_whole()?;
            let (since, seen) = (clock::now(), self.agreed(&names));
            clock::pause(rest);
            if seen.is_some() && self.agreed(&names) == seen {
                return Ok(since);
            }
            ensure!(
                clock::now() < until,
                "the cluster is whole now and then, and never for {rest:.1?}"
            );
        }
    }

    /// The generation and where each service runs, when all nodes are in one view and say the same of it.
    fn agreed(&self, names: &[String]) -> Option<(u64, Vec<Place>)> {
        let expected = self.expected().ok()?.names();
        let mut first: Option<(u64, Vec<Place>)> = None;
        for name in names {
            let status = self.lab.root(name).ok().and_then(|root| api::status(root).ok())?;
            let mut members = status.view.members.clone();
            members.sort_unstable();
            let services = &status.services;
            let runs = services.len() == expected.len()
                && services.iter().all(|it| it.state == "running" && expected.contains(&it.name));
            let places = services.iter().map(|it| (it.name.clone(), it.node.clone())).collect();
            let seen = (status.view.generation, places);
            let agrees = *first.get_or_insert_with(|| seen.clone()) == seen;
            if status.node.state != "member" || !members.iter().eq(names) || !runs || !agrees {
                return None;
            }
        }
        first
    }

    /// What the configuration says that the first node has in force.
    fn expected(&self) -> Result<&Settings> {
        let names = self.lab.node_names();
        let (_, text) = api::configuration(self.lab.root(&names[0])?)?;
        let number = number_in(&text);
        self.tried.get(&number).with_context(|| format!("nobody has tried configuration {number}"))
    }

    /// The configuration of that number.
    pub(super) fn text(&self, number: u64) -> Result<String> {
        self.tried[&number].text(number, &self.lab, self.order, &self.book)
    }

    /// The newest configuration that was acknowledged, or a newer one, is everywhere, to the letter: also on a node
    /// whose daemon has just ended, because its guard was killed.
    fn check_configuration(&mut self) -> Result<()> {
        let mut first: Option<u64> = None;
        for name in self.lab.node_names() {
            let (version, text) = wait::until(&format!("{name} to answer"), PATIENCE, || {
                self.start_what_ended()?;
                Ok(api::configuration(self.lab.root(&name)?).ok())
            })?;
            let number = number_in(&text);
            ensure!(
                number >= self.acknowledged,
                "{name} has lost configuration {}: it has number {number} in version {version}",
                self.acknowledged,
            );
            ensure!(
                self.tried.contains_key(&number),
                "{name} has configuration {number} of nobody"
            );
            let asked = self.text(number)?;
            ensure!(
                text == asked,
                "{name} has another configuration {number} than was asked for:\n{text}"
            );
            let same = *first.get_or_insert(version);
            ensure!(version == same, "{name} has version {version}, and another node {same}");
        }
        Ok(())
    }

    /// What every node says, and the ends of the logs.
    fn words(&self, lines: usize) -> String {
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
            let log = self.lab.log_tail(name, lines).unwrap_or_default().replace('\n', "\n    | ");
            format!("  {name}: {said}\n    | {log}")
        };
        let names = self.lab.node_names();
        let text: Vec<String> = names.iter().map(node).collect();
        format!("{} nodes, {}:\n{}", names.len(), self.order.detection, text.join("\n"))
    }
}

#[cfg(test)]
mod tests;
