//! The demonstration: what a newcomer sees first. A cluster forms, its service is attacked step by
//! step, and every step says what it measured and whether that is good enough.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::clock::{self, milliseconds};
use crate::lab::Lab;
use crate::scenarios::{Figure, Limits, Scenario};
use crate::scene::{Scene, Seen};
use crate::spec::Spec;

/// One step and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Step {
    /// What was done.
    pub title: String,
    /// How long the whole step took, milliseconds.
    pub milliseconds: f64,
    /// What was measured.
    pub text: String,
    /// Why it failed; empty if it passed.
    pub failures: Vec<String>,
    /// The figures of a scenario.
    pub figure: Option<Figure>,
}

impl Step {
    /// True when nothing went wrong.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// The whole story.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Story {
    /// Version of this shape: 1.
    pub schema: u32,
    /// The steps that were played: a failed one ends the story.
    pub steps: Vec<Step>,
    /// True when all steps were played and passed.
    pub passed: bool,
}

/// The scenarios of the story, as a person would say them.
const CHAPTERS: [(&str, Scenario); 5] = [
    ("cut one network of the active node: nothing moves", Scenario::CutOneNetwork),
    (
        "cut all its networks: the service answers elsewhere; heal: it rejoins, nothing moves",
        Scenario::CutAllNetworks,
    ),
    ("kill -9 the daemon: the service does not notice", Scenario::KillDaemon),
    ("move the service by command", Scenario::Move),
    ("take the power of the active node, give it back", Scenario::PowerOff),
];

struct Teller<'a> {
    out: &'a mut dyn Write,
    steps: Vec<Step>,
    total: usize,
}

impl Teller<'_> {
    /// Announces a step, plays it, says how it went. `None`: the story ends here.
    fn step<T>(
        &mut self,
        title: &str,
        play: impl FnOnce() -> Result<(T, String, Option<Figure>)>,
    ) -> Result<Option<T>> {
        let number = self.steps.len() + 1;
        writeln!(self.out, "[{number}/{}] {title}", self.total)?;
        self.out.flush()?;
        let start = clock::now();
        let outcome = play();
        let length = milliseconds(clock::now() - start);
        let (value, text, figure, failures) = match outcome {
            Ok((value, text, figure)) => {
                let failures = figure.as_ref().map_or(Vec::new(), |f| f.failures.clone());
                (Some(value), text, figure, failures)
            }
            Err(error) => (None, String::new(), None, vec![format!("{error:#}")]),
        };
        let verdict = if failures.is_empty() { "PASS" } else { "FAIL" };
        writeln!(self.out, "      {verdict}  {text}")?;
        for failure in &failures {
            writeln!(self.out, "      {failure}")?;
        }
        self.out.flush()?;
        let go_on = failures.is_empty();
        let title = title.to_owned();
        self.steps.push(Step { title, milliseconds: length, text, failures, figure });
        Ok(value.filter(|_| go_on))
    }
}

/// Tells the story with three nodes and two networks, as it happens, with the limits of the preset.
///
/// # Errors
/// As [`tell_within`].
pub fn tell(out: &mut dyn Write, detection: &str) -> Result<Story> {
    tell_within(out, detection, Limits::of(detection))
}

/// The same with other limits.
///
/// # Errors
/// When the lab cannot be built or `out` cannot be written to. A step that fails is no error here:
/// it is in the result.
pub fn tell_within(out: &mut dyn Write, detection: &str, limits: Limits) -> Result<Story> {
    let start = clock::now();
    let lab = Lab::new(Spec::new(3, 2)?).context("building the lab")?;
    writeln!(
        out,
        "lab: 3 nodes, 2 networks and a client in {:.0} ms; the client asks {} every {} ms\n",
        milliseconds(clock::now() - start),
        crate::cluster::SERVICE_ADDRESS,
        crate::scene::INTERVAL.as_millis()
    )?;
    let mut teller = Teller { out, steps: Vec::new(), total: CHAPTERS.len() + 2 };
    let complete = play(&mut teller, lab, detection, limits)?;
    let passed = complete && teller.steps.iter().all(Step::passed);
    let took = (clock::now() - start).as_secs_f64();
    let verdict = if passed { "all steps passed" } else { "FAILED" };
    writeln!(teller.out, "\n{verdict} in {took:.1} s")?;
    Ok(Story { schema: 1, steps: teller.steps, passed })
}

fn play(teller: &mut Teller<'_>, lab: Lab, detection: &str, limits: Limits) -> Result<bool> {
    let formed = teller.step("form a cluster of 3 over 2 networks, start its service", || {
        let (scene, formation) = Scene::form(lab, detection)?;
        let text = format!(
            "all members after {:.0} ms, the service answered {:.0} ms later",
            milliseconds(formation.formed),
            milliseconds(formation.served)
        );
        Ok((scene, text, None))
    })?;
    let Some(mut scene) = formed else { return Ok(false) };
    scene.limits = limits;
    let mut owners = vec![scene.wait_until_quiet()?];
    for (title, scenario) in CHAPTERS {
        let played = teller.step(title, || {
            let figure = scenario.run(&mut scene)?;
            Ok((figure.to.clone(), figure.sentence(), Some(figure)))
        })?;
        let Some(to) = played else {
            writeln!(teller.out, "{}", scene.report())?;
            return Ok(false);
        };
        let to = to.context("a good figure names the node that answers at the end")?;
        if owners.last() != Some(&to) {
            owners.push(to);
        }
    }
    let evidence = teller.step("no two nodes ever answered at the same time", || {
        let seen = scene.end()?;
        let text = evidence(&seen, &owners)?;
        Ok(((), text, None))
    })?;
    Ok(evidence.is_some())
}

/// The nodes answered one after the other, in the order in which the service moved: the client's
/// probes and the observer's ARP requests; and no probe was answered twice.
fn evidence(seen: &Seen, owners: &[String]) -> Result<String> {
    for (what, trace) in [("answers", &seen.answers), ("ARP replies", &seen.owners)] {
        let runs = trace.runs();
        let order: Vec<&str> = runs.iter().map(|run| run.responder.as_str()).collect();
        ensure!(
            order == owners,
            "the service was on {}, but the {what} came from {}",
            owners.join(", "),
            order.join(", ")
        );
        let twice = trace.verdict().answered_twice;
        ensure!(twice == 0, "{twice} probes got several {what}");
    }
    let seen = &seen.answers;
    let time = match (seen.sent.first(), seen.sent.last()) {
        (Some(first), Some(last)) => Duration::from_nanos(last - first),
        _ => Duration::ZERO,
    };
    Ok(format!(
        "{} answers to {} probes in {:.0} s, in this order of nodes: {}",
        seen.answers.len(),
        seen.sent.len(),
        time.as_secs_f64(),
        owners.join(" -> ")
    ))
}

#[cfg(test)]
mod tests;
