//! Two nodes that lose each other, again and again: who goes on, with each kind of tie-breaker.
//!
//! All cables between the nodes are cut at a random moment; machines outside, the tie-breaker among
//! them, reach both. With a disk, a witness or an etcd **exactly one node goes on each time**, and it
//! should be the one that carries the service: that one asks first. Without one neither goes on, and
//! says why, until a person has said that the other one is down.
//!
//! With a **gateway** the node that carries the service is cut off from it first, and has to be the one that
//! does *not* go on: nobody could reach what it carries.
//!
//! The tie-breaker can also be killed (a disk: frozen) in the middle of the change ([`Kill`]), at a random
//! moment or at one after the other: then there may be no survivor, who says why, and never two; when it
//! is back, one of them goes on. Of three arbiters one is killed, and one node goes on without it.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::api;
use crate::arbiters::{self, Arbiters, Tie};
use crate::clock::{self, milliseconds};
use crate::cluster::Cluster;
use crate::lab::Lab;
use crate::scene::{PATIENCE, Scene};
use crate::spec::{self, Spec};
use crate::wait;

/// What to play.
#[derive(Debug, Clone)]
pub struct Order {
    /// Who breaks the ties.
    pub tie: Tie,
    /// How often.
    pub times: u32,
    /// The preset.
    pub detection: String,
    /// When the tie-breaker is killed.
    pub kill: Kill,
    /// The nodes ask a gateway, which the one that carries the service loses before each cut.
    pub gateway: bool,
}

/// When the tie-breaker, or one of three, is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// It is not.
    Never,
    /// At a random moment of each change; a single one is back after a second.
    Random,
    /// At moments in even steps from the cut to the end of a change, each of three in turn. At every
    /// moment once with a return after a second, and once without any until all was looked at.
    Sweep,
}

/// What happened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// How often the nodes lost each other.
    pub cuts: u32,
    /// Exactly one node went on.
    pub one: u32,
    /// It was the one that carried the service.
    pub loaded: u32,
    /// It was the one that reached the gateway, which the other one did not.
    pub reaching: u32,
    /// Nobody went on before the tie-breaker was back.
    pub nobody: u32,
    /// At how many different moments after the cut the tie-breaker was killed.
    pub moments: u32,
    /// From the cut until the survivor was in a view of its own, milliseconds: the median.
    pub median_milliseconds: f64,
    /// And the longest.
    pub worst_milliseconds: f64,
    /// What was not good enough.
    pub failures: Vec<String>,
}

/// The least share of ties that the loaded node wins, in percent.
const LOADED_PERCENT: u32 = 99;
/// The least share that the node wins which alone reaches the gateway, in percent.
const REACHING_PERCENT: u32 = 95;
/// A cut comes at a random moment of this time.
const PHASES: Duration = Duration::from_millis(250);
/// How long is looked for a second survivor.
const WATCH: Duration = Duration::from_secs(1);
/// How often is looked meanwhile.
const LOOK: Duration = Duration::from_millis(20);
/// How long nobody may take over where nobody should.
const NOBODY: Duration = Duration::from_secs(4);
/// What a node says that waits for a tie-breaker.
const REASON: &str = "the tie-breaker has not decided";
/// The machine that is asked as a gateway, and the last octet of its address.
const GATEWAY: (&str, u8) = (spec::STRANGER, spec::STRANGER_HOST);

/// The lab that it is played in.
///
/// # Errors
/// As [`Spec::new`].
pub fn spec(order: &Order) -> Result<Spec> {
    // The gateway is in the network that the machines outside are in. It is a machine of its own: the
    // observer, which sees who has the address, is never cut off from anybody.
    let (networks, stranger_networks) = if order.gateway { (1, vec![0]) } else { (2, Vec::new()) };
    let disk = order.tie.parts().contains(&Tie::Disk);
    Ok(Spec { disk, stranger_networks, ..Spec::new(2, networks)? })
}

/// Plays it, in a lab of [`spec()`].
///
/// # Errors
/// When it cannot be played to its end.
pub fn play(lab: Lab, order: &Order, out: &mut dyn Write) -> Result<Outcome> {
    let (mut scene, mut arbiters) = form(lab, order)?;
    let mut outcome = Outcome::default();
    if !order.tie.decides() {
        nobody_goes_on(&mut scene, order.tie, &mut outcome)?;
        return Ok(outcome);
    }
    let mut times = Vec::new();
    let deaths = deaths(&scene, order)?;
    let moments: BTreeSet<Duration> = deaths.iter().flatten().map(|death| death.at).collect();
    outcome.moments = u32::try_from(moments.len())?;
    for (number, death) in (1..).zip(deaths) {
        let failures = outcome.failures.len();
        let took = cut(&mut scene, &mut arbiters, order, death, &mut outcome);
        let took = took.with_context(|| format!("cut number {number}"))?;
        times.extend(took);
        for failure in &mut outcome.failures[failures..] {
            *failure = match death {
                None => format!("cut {number}: {failure}"),
                Some(death) => format!("cut {number}, {death}: {failure}"),
            };
        }
        if number % 20 == 0 {
            let Outcome { one, loaded, reaching, nobody, .. } = outcome;
            writeln!(
                out,
                "{number} cuts: {one} with one survivor, {loaded} of them with the service, \
                 {reaching} with the gateway, {nobody} with nobody until the tie-breaker was back"
            )?;
            out.flush()?;
        }
    }
    times.sort_unstable();
    outcome.median_milliseconds = times.get(times.len() / 2).copied().map_or(0.0, milliseconds);
    outcome.worst_milliseconds = times.last().copied().map_or(0.0, milliseconds);
    let Outcome { cuts, one, reaching, .. } = outcome;
    if one != cuts {
        outcome.failures.push(format!("{one} of {cuts} cuts had exactly one survivor"));
    }
    // A tie-breaker that is killed between the two questions leaves it to chance.
    if order.gateway && reaching * 100 < one * REACHING_PERCENT {
        outcome.failures.push(format!("the node with the gateway won {reaching} of {one} ties"));
    }
    if order.kill == Kill::Never
        && !order.gateway
        && outcome.loaded * 100 < outcome.one * LOADED_PERCENT
    {
        let Outcome { one, loaded, .. } = outcome;
        outcome.failures.push(format!("the loaded node won {loaded} of {one} ties"));
    }
    Ok(outcome)
}

/// A quiet cluster of two with this tie-breaker. Whoever was away comes back at once: otherwise the
/// hold-down, which doubles with each return, would be what is measured.
fn form(mut lab: Lab, order: &Order) -> Result<(Scene, Arbiters)> {
    let tail = arbiters::tables(&lab, order.tie);
    let gateways = format!("gateways = [\"{}\"]", spec::node_address(0, GATEWAY.1));
    let cluster = Cluster {
        times: ", hold = \"1ms\"".to_owned(),
        tail,
        network: if order.gateway { gateways } else { String::new() },
        ..Cluster::demo(&lab, &order.detection)?
    };
    // The disk is the tie-breaker alone: as a path it would keep the nodes in touch.
    lab.write_cluster(&Cluster { disk: false, ..cluster })?;
    lab.prepare_disk()?;
    let arbiters = Arbiters::start_all(&mut lab, order.tie)?;
    let (scene, _) = Scene::start(lab, &order.detection)?;
    Ok((scene, arbiters))
}

/// The nodes that are in a primary view of their own.
fn survivors(scene: &Scene) -> Vec<String> {
    let alone = |name: &String| {
        scene.status(name).is_some_and(|status| {
            status.verdict != "no-view"
                && status.node.state == "member"
                && status.view.members == [name.clone()]
        })
    };
    scene.lab.node_names().into_iter().filter(alone).collect()
}

/// Who was seen to go on after a cut. Nobody gives that up before the cut is healed, so two that were seen
/// one after the other are as wrong as two at once.
#[derive(Debug, Default)]
struct Looks {
    survivors: BTreeSet<String>,
    is_told: bool,
}

impl Looks {
    /// Looks once.
    fn look(&mut self, scene: &Scene, outcome: &mut Outcome) {
        self.note(survivors(scene), outcome, || scene.report());
    }

    fn note(&mut self, found: Vec<String>, outcome: &mut Outcome, report: impl Fn() -> String) {
        self.survivors.extend(found);
        if self.survivors.len() > 1 && !self.is_told {
            self.is_told = true;
            outcome.failures.push(format!("two survivors\n{}", report()));
        }
    }

    /// Looks again and again for so long.
    fn watch(&mut self, scene: &Scene, length: Duration, outcome: &mut Outcome) {
        let start = clock::now();
        loop {
            self.look(scene, outcome);
            let rest = length.saturating_sub(clock::now() - start);
            if rest.is_zero() {
                return;
            }
            clock::pause(rest.min(LOOK));
        }
    }

    fn only(&self) -> Option<&String> {
        self.survivors.first().filter(|_| self.survivors.len() == 1)
    }
}

/// The end of an arbiter, counted from the cut.
#[derive(Debug, Clone, Copy)]
struct Death {
    part: Tie,
    at: Duration,
    /// It stays dead for so long; none: until all was looked at.
    lasts: Option<Duration>,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, at) = (self.part.name(), milliseconds(self.at));
        write!(f, "{name} killed {at:.0} ms after it")?;
        self.lasts.map_or(Ok(()), |lasts| write!(f, " for {:.0} ms", milliseconds(lasts)))
    }
}

/// What dies in each cut.
fn deaths(scene: &Scene, order: &Order) -> Result<Vec<Option<Death>>> {
    let change = api::tie_change(scene.lab.root("n1")?)?;
    let parts = order.tie.parts();
    let single = parts.len() == 1;
    // At each moment each of them, once for a while and once for longer.
    let of_a_moment = u32::try_from(2 * parts.len())?;
    let moments = order.times.div_ceil(of_a_moment);
    (0..order.times)
        .map(|number| {
            Ok(match order.kill {
                Kill::Never => None,
                Kill::Random => {
                    let place = random(Duration::from_nanos(parts.len() as u64))?.subsec_nanos();
                    let lasts = single.then_some(WATCH);
                    Some(Death { part: parts[place as usize], at: random(change)?, lasts })
                }
                Kill::Sweep => {
                    let moment = number / of_a_moment;
                    let at = change * moment / (moments - 1).max(1);
                    let part = parts[(number % of_a_moment / 2) as usize];
                    let lasts = number.is_multiple_of(2).then_some(WATCH);
                    Some(Death { part, at, lasts })
                }
            })
        })
        .collect()
}

/// One cut and its end; the time until there was a survivor, counted from the return of a tie-breaker
/// without which there was none.
fn cut(
    scene: &mut Scene,
    arbiters: &mut Arbiters,
    order: &Order,
    death: Option<Death>,
    outcome: &mut Outcome,
) -> Result<Option<Duration>> {
    let active = scene.wait_until_quiet()?;
    if order.gateway {
        scene.lab.partition(&[&active], &[GATEWAY.0])?;
        wait_for_gateway(scene, false)?;
    }
    clock::pause(random(PHASES)?);
    let start = clock::now();
    scene.lab.partition(&["n1"], &["n2"])?;
    outcome.cuts += 1;
    let mut counted_from = start;
    let mut dead = None;
    let mut looks = Looks::default();
    if let Some(death) = death {
        clock::pause(death.at.saturating_sub(clock::now() - start));
        arbiters.kill(&scene.lab, death.part)?;
        let is_needed = order.tie.parts().len() == 1;
        if death.lasts.is_some() || is_needed {
            looks.watch(scene, death.lasts.unwrap_or(NOBODY), outcome);
            let nobody = looks.survivors.is_empty();
            outcome.nobody += u32::from(nobody);
            if nobody && death.lasts.is_none() {
                say_why(scene, outcome)?;
            }
            if nobody {
                counted_from = clock::now();
            }
            arbiters.start(&scene.lab, death.part)?;
        } else {
            dead = Some(death.part);
        }
    }
    let found = wait::until("one of two to go on", PATIENCE, || {
        looks.look(scene, outcome);
        Ok((!looks.survivors.is_empty()).then_some(()))
    });
    if let Err(error) = found {
        outcome.failures.push(format!("{error:#}\n{}", scene.report()));
    }
    // Somebody who went on at once was not looked for before the tie-breaker was back.
    let was_watched = death.is_none() || dead.is_some() || counted_from != start;
    let took = was_watched.then(|| clock::now() - counted_from);
    looks.watch(scene, WATCH, outcome);
    if let Some(survivor) = looks.only() {
        outcome.one += 1;
        outcome.loaded += u32::from(*survivor == active);
        outcome.reaching += u32::from(order.gateway && *survivor != active);
    }
    if let Some(part) = dead {
        arbiters.start(&scene.lab, part)?;
    }
    scene.lab.heal_all()?;
    scene.wait_for_all()?;
    if order.gateway {
        wait_for_gateway(scene, true)?;
    }
    scene.wait_until_quiet()?;
    let seen = scene.seen_since(start)?;
    let (answers, owners) = (seen.answers.verdict(), seen.owners.verdict());
    let late =
        answers.late_answers + answers.answered_twice + owners.late_answers + owners.contested;
    if late > 0 {
        outcome.failures.push(format!("{late} answers of a second owner"));
    }
    Ok(took)
}

/// Both nodes know that the gateway answers both of them, or not.
fn wait_for_gateway(scene: &Scene, answers: bool) -> Result<()> {
    let what = if answers { "an answer of the gateway" } else { "the gateway to be missed" };
    let warned = |name: &String| {
        let status = scene.status(name)?;
        Some(status.warnings.iter().any(|warning| warning.code == "gateway"))
    };
    wait::until(what, PATIENCE, || {
        let all = scene.lab.node_names().iter().all(|name| warned(name) == Some(!answers));
        Ok(all.then_some(()))
    })
}

/// Nobody goes on: both say why.
fn say_why(scene: &Scene, outcome: &mut Outcome) -> Result<()> {
    for name in scene.lab.node_names() {
        let status = scene.status(&name).with_context(|| format!("{name} says nothing"))?;
        let waiting = status.view.waiting.unwrap_or_default();
        if status.verdict != "no-view" || !waiting.contains(REASON) {
            outcome.failures.push(format!("{name} is {}: \"{waiting}\"", status.verdict));
        }
    }
    Ok(())
}

/// Neither goes on; then one has no power, and a person says so.
fn nobody_goes_on(scene: &mut Scene, tie: Tie, outcome: &mut Outcome) -> Result<()> {
    let active = scene.wait_until_quiet()?;
    let other = scene.another_than(&active)?;
    scene.lab.partition(&["n1"], &["n2"])?;
    outcome.cuts = 1;
    let mut looks = Looks::default();
    looks.watch(scene, NOBODY, outcome);
    for name in [&active, &other] {
        let status = scene.status(name).with_context(|| format!("{name} says nothing"))?;
        let waiting = status.view.waiting.unwrap_or_default();
        let reason = if tie == Tie::None { "no tie-breaker" } else { "a person must decide" };
        if status.verdict != "no-view" || !waiting.contains(reason) {
            outcome.failures.push(format!("{name} is {}: \"{waiting}\"", status.verdict));
        }
    }
    if !looks.survivors.is_empty() {
        outcome.failures.push("somebody went on".to_owned());
    }
    outcome.nobody = 1;
    scene.lab.power_off(&active)?;
    scene.lab.heal_all()?;
    let unasked = scene.lab.run_program(&other, &["node", "confirm-down", &active])?;
    if unasked.status.success() {
        outcome.failures.push("confirm-down did not ask for the name".to_owned());
    }
    let words = ["node", "confirm-down", &active, "--confirm", &active];
    let confirmed = scene.lab.run_program(&other, &words)?;
    if !confirmed.status.success() {
        bail!("confirm-down: {}", String::from_utf8_lossy(&confirmed.stderr));
    }
    scene.wait_for_another(&active, PATIENCE)?;
    let alone = survivors(scene);
    if alone != [other] {
        outcome.failures.push(format!("after confirm-down these go on: {}", alone.join(", ")));
    }
    scene.lab.power_on(&active)?;
    scene.lab.start(&active)?;
    scene.wait_for_all()
}

/// A random part of this time.
fn random(most: Duration) -> Result<Duration> {
    let mut bytes = [0; 8];
    getrandom(&mut bytes, GetRandomFlags::empty()).context("a random number")?;
    let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).max(1);
    Ok(Duration::from_nanos(u64::from_be_bytes(bytes) % nanos))
}

#[cfg(test)]
mod tests;
