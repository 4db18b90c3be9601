//! A cluster that works, with a client that never stops asking: where every scenario starts.
//!
//! All waits are bounded, and a wait that fails tells what every node says and the ends of their
//! logs: the next question would be that anyway.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::api::{self, Status};
use crate::client::{Mode, Probe};
use crate::clock;
use crate::cluster::{Cluster, SERVICE, SERVICE_ADDRESS};
use crate::lab::Lab;
use crate::responder;
use crate::scenarios::Limits;
use crate::trace::Trace;
use crate::wait;

/// How often the client asks: the interval of the acceptance tests.
pub const INTERVAL: Duration = Duration::from_millis(5);
/// How often the observer asks who has the address.
const WATCH_INTERVAL: Duration = Duration::from_millis(10);
/// Until a cluster has formed, a node has joined again, a service runs. `classic` may need longer.
pub const PATIENCE: Duration = Duration::from_secs(40);
/// For how long nothing may change before the next scenario starts.
const SETTLE: Duration = Duration::from_millis(500);
/// An answer older than this does not tell who is active.
const FRESH: Duration = Duration::from_millis(200);
/// How long the last answers of a part may take before the part is judged.
const ANSWERS: Duration = Duration::from_millis(250);
/// A part begins so much before the fault: the outage counts from the last answer before it.
const LEAD: Duration = Duration::from_millis(100);
const LEAD_MAX: Duration = Duration::from_secs(1);
/// Lines of each log in a failure.
const LOG_LINES: usize = 60;

/// A formed cluster with the running service of [`Cluster::demo`] and a client's probe on it.
pub struct Scene {
    /// The lab.
    pub lab: Lab,
    /// What scenarios hold the cluster to; from the preset.
    pub limits: Limits,
    /// How long scenarios go on that can go on for longer; `None`: as long as each one says.
    pub seconds: Option<u32>,
    probe: Probe,
    watch: Probe,
}

/// What was seen from outside.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Who answered the client at the service address.
    pub answers: Trace,
    /// Who answered for the address itself, by ARP: a second owner shows here even when the
    /// client's packets no longer go there.
    pub owners: Trace,
}

/// How long it took to get there.
#[derive(Debug, Clone, Copy)]
pub struct Formation {
    /// From the start of the daemons until all are members of one view.
    pub formed: Duration,
    /// From then until the service answered the client.
    pub served: Duration,
}

impl Scene {
    /// Writes the files of a demo cluster, starts all daemons, waits for one view of all and for
    /// the service.
    ///
    /// # Errors
    /// When that does not happen in [`PATIENCE`]; with the nodes' words and logs.
    pub fn form(lab: Lab, detection: &str) -> Result<(Self, Formation)> {
        Self::form_with(lab, detection, |_| Ok(()))
    }

    /// The same with another configuration than the demo's.
    pub(crate) fn form_with(
        mut lab: Lab,
        detection: &str,
        adapt: impl FnOnce(&mut Cluster) -> Result<()>,
    ) -> Result<(Self, Formation)> {
        let mut cluster = Cluster::demo(&lab, detection)?;
        adapt(&mut cluster)?;
        lab.write_cluster(&cluster)?;
        lab.prepare_disk()?;
        Self::start(lab, detection)
    }

    /// Starts all daemons of a lab whose files are written, and waits for one view of all and for the
    /// service.
    pub(crate) fn start(lab: Lab, detection: &str) -> Result<(Self, Formation)> {
        let mode = Mode::Udp(responder::PORT);
        let probe = lab.client().probe(SERVICE_ADDRESS.into(), mode, INTERVAL)?;
        let watch = lab.observer().probe(SERVICE_ADDRESS.into(), Mode::Arp, WATCH_INTERVAL)?;
        let mut scene = Self { lab, limits: Limits::of(detection), seconds: None, probe, watch };
        let start = clock::now();
        scene.lab.start_all()?;
        scene.wait_for_all()?;
        let formed = clock::now();
        scene.bring_up_service()?;
        let served = clock::now();
        scene.wait_until_quiet()?;
        let formation = Formation { formed: formed - start, served: served - formed };
        Ok((scene, formation))
    }

    /// How long a scenario goes on that would go on for `usual`.
    pub(crate) fn length(&self, usual: Duration) -> Duration {
        self.seconds.map_or(usual, |seconds| Duration::from_secs(seconds.into()))
    }

    /// What a node says, if it says anything.
    pub fn status(&self, node: &str) -> Option<Status> {
        self.lab.root(node).ok().and_then(|root| api::status(root).ok())
    }

    /// Has the cluster do something with its service, by way of any node that answers.
    ///
    /// # Errors
    /// When no node is in a view, or the cluster refuses.
    pub fn command(&self, verb: &str, node: Option<&str>) -> Result<()> {
        self.command_of(SERVICE, verb, node)
    }

    /// The same with any of its services.
    pub(crate) fn command_of(&self, service: &str, verb: &str, node: Option<&str>) -> Result<()> {
        let path = format!("/v1/services/{service}/{verb}");
        let body = json!({ "node": node, "reason": "lab" });
        let speaker = self
            .lab
            .node_names()
            .into_iter()
            .find(|name| self.status(name).is_some_and(|status| status.node.state == "member"))
            .context("no node is a member of a view")?;
        let done = api::command(self.lab.root(&speaker)?, &path, &body);
        done.map(drop).with_context(|| format!("{verb} of the service {service}"))
    }

    fn powered(&self) -> Vec<String> {
        let names = self.lab.node_names().into_iter();
        names.filter(|name| self.lab.is_on(name).unwrap_or(false)).collect()
    }

    /// Waits until all nodes with power are members of one and the same view.
    ///
    /// # Errors
    /// After [`PATIENCE`], with what the nodes say.
    pub fn wait_for_all(&self) -> Result<()> {
        self.wait_for_view_of(&self.powered())
    }

    /// Waits until these and no other nodes are members of one and the same view.
    pub(crate) fn wait_for_view_of(&self, names: &[String]) -> Result<()> {
        let what = format!("one view of {}", names.join(", "));
        let outcome = wait::until(&what, PATIENCE, || Ok(self.agree(names).then_some(())));
        self.explain(outcome)
    }

    /// True when these and no other nodes say that they are in the same view.
    fn agree(&self, names: &[String]) -> bool {
        let mut generation = None;
        names.iter().all(|name| {
            let Some(status) = self.status(name) else { return false };
            let mut members = status.view.members.clone();
            members.sort_unstable();
            let first = *generation.get_or_insert(status.view.generation);
            status.node.state == "member"
                && first == status.view.generation
                && members.iter().eq(names)
        })
    }

    /// Waits until everyone agrees, the service runs on the node that answers the client, and that
    /// stays so for a moment. Gives that node.
    ///
    /// # Errors
    /// After [`PATIENCE`], with what the nodes say.
    pub fn wait_until_quiet(&mut self) -> Result<String> {
        let names = self.powered();
        let mut since: Option<(Duration, String)> = None;
        let outcome = wait::until("a quiet cluster", PATIENCE, || {
            let seen = self.responder()?;
            let runs = seen.filter(|node| self.agree(&names) && self.everyone_sees(&names, node));
            since = match (since.take(), runs) {
                (Some((at, old)), Some(node)) if old == node => Some((at, old)),
                (_, Some(node)) => Some((clock::now(), node)),
                (_, None) => None,
            };
            let settled = since.as_ref().filter(|(at, _)| clock::now() - *at >= SETTLE);
            Ok(settled.map(|(_, node)| node.clone()))
        });
        self.explain(outcome)
    }

    fn everyone_sees(&self, names: &[String], node: &str) -> bool {
        names.iter().all(|name| {
            self.status(name).is_some_and(|status| {
                status.services.iter().any(|service| {
                    service.name == SERVICE
                        && service.state == "running"
                        && service.node.as_deref() == Some(node)
                })
            })
        })
    }

    /// Waits until the service answers the client; starts it if the cluster says that it is
    /// stopped and stays so.
    fn bring_up_service(&mut self) -> Result<()> {
        let by_itself = Duration::from_secs(5);
        let answered = self.wait_for_answer(by_itself);
        if answered.is_err() {
            self.command("start", None).context("starting the service")?;
            let answered = self.wait_for_answer(PATIENCE);
            return self.explain(answered.map(drop));
        }
        Ok(())
    }

    /// Waits for an answer of any node that comes from now on.
    pub(crate) fn wait_for_answer(&mut self, limit: Duration) -> Result<String> {
        let start = clock::now();
        wait::until("an answer of the service", limit, || {
            Ok(self.probe.last()?.filter(|(_, at)| *at > start).map(|(node, _)| node))
        })
    }

    /// Waits until another node than `old` answers.
    ///
    /// # Errors
    /// After `limit`, with what the nodes say.
    pub fn wait_for_another(&mut self, old: &str, limit: Duration) -> Result<String> {
        let outcome = wait::until(&format!("another node than {old} to answer"), limit, || {
            Ok(self.probe.last()?.map(|(node, _)| node).filter(|node| node != old))
        });
        self.explain(outcome)
    }

    /// The node that answers the client now, if one does.
    fn responder(&mut self) -> Result<Option<String>> {
        let now = clock::now();
        let last = self.probe.last()?;
        Ok(last.filter(|(_, at)| now.saturating_sub(*at) < FRESH).map(|(node, _)| node))
    }

    /// A node with power that is not active: the first one.
    ///
    /// # Errors
    /// When there is none.
    pub fn another_than(&self, active: &str) -> Result<String> {
        let other = self.powered().into_iter().find(|name| name != active);
        other.context("there is no other node with power")
    }

    /// What was seen of the probes sent since shortly before `start` (when something was
    /// broken), with the answers that were on the way.
    ///
    /// # Errors
    /// When the probe had ended by itself.
    pub fn seen_since(&mut self, start: Duration) -> Result<Seen> {
        let end = clock::now();
        clock::pause(ANSWERS);
        let answers = self.probe.trace()?;
        // A busy machine may have had no time for an answer in the lead.
        let lead = answers.answered_before(start).map_or(LEAD, |at| start - at);
        let start = start.saturating_sub(lead.clamp(LEAD, LEAD_MAX));
        let owners = self.watch.trace()?.between(start, end);
        Ok(Seen { answers: answers.between(start, end), owners })
    }

    /// Everything that was seen; ends the scene.
    ///
    /// # Errors
    /// When a probe had ended by itself.
    pub fn end(self) -> Result<Seen> {
        Ok(Seen { answers: self.probe.stop()?, owners: self.watch.stop()? })
    }

    /// Adds what every node says and the ends of the logs to an error.
    ///
    /// # Errors
    /// The one given.
    pub fn explain<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.map_err(|error| error.context(self.report()))
    }

    /// What every node says, and the ends of the logs.
    pub fn report(&self) -> String {
        let mut text = "the state of the lab:\n".to_owned();
        for name in self.lab.node_names() {
            let said = match self.lab.root(&name).map(api::status) {
                _ if !self.powered().contains(&name) => "has no power".to_owned(),
                Ok(Ok(status)) => one_line(&status),
                Ok(Err(error)) | Err(error) => format!("{error:#}"),
            };
            let gate = self.lab.root(&name).and_then(api::gate);
            let gate = gate.unwrap_or_else(|error| format!("{error:#}"));
            let log = self.lab.log_tail(&name, LOG_LINES).unwrap_or_default();
            let log = log.replace('\n', "\n    | ");
            writeln!(text, "  {name}: {said}\n    gate: {gate}\n    | {log}")
                .expect("writing to a string");
        }
        text
    }

    /// Checks a condition and reports the state of the lab if it does not hold.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn demand(&self, holds: bool, what: &str) -> Result<()> {
        let outcome = (|| {
            ensure!(holds, "{what}");
            Ok(())
        })();
        self.explain(outcome)
    }
}

fn one_line(status: &Status) -> String {
    // Hundreds of services are few sentences.
    let mut alike: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for service in &status.services {
        let node = service.node.as_deref().unwrap_or("nowhere");
        alike.entry((&service.state, node)).or_default().push(&service.name);
    }
    let services: Vec<String> = alike
        .into_iter()
        .map(|((state, node), names)| match names[..] {
            [first, _, _, .., last] => {
                format!("{} from {first} to {last} {state} on {node}", names.len())
            }
            _ => format!("{} {state} on {node}", names.join(" and ")),
        })
        .collect();
    let waiting = status.view.waiting.as_deref().map(|text| format!(", waiting: {text}"));
    format!(
        "{}, {}, generation {} of {}{}; {}",
        status.verdict,
        status.node.state,
        status.view.generation,
        status.view.members.join(" "),
        waiting.unwrap_or_default(),
        services.join(", ")
    )
}
