//! Commands that only look.

use std::ops::ControlFlow;

use api::client::{ClientError, escape};
use api::v1;

use super::arguments::{EventsOptions, HistoryOptions, PathTestOptions, WhyOptions};
use super::{Context, Done, EXIT_DEGRADED, EXIT_DOWN, EXIT_UNREACHABLE, Failure};
use crate::config::{self, files};
use crate::{bound as bounds, render};

/// Events that `mainstay events` begins with.
const EVENTS_SHOWN: usize = 20;

/// What the verdict means for a script.
fn exit_code(verdict: v1::Verdict) -> u8 {
    match verdict {
        v1::Verdict::Ok => 0,
        v1::Verdict::Degraded | v1::Verdict::Unknown => EXIT_DEGRADED,
        v1::Verdict::Down | v1::Verdict::NoView => EXIT_DOWN,
    }
}

fn primary(is_primary: bool) -> u8 {
    if is_primary { 0 } else { EXIT_DOWN }
}

pub(super) fn status(context: &Context) -> Done {
    let status: v1::Status = context.client()?.get("/v1/status")?;
    context.output.show(&status, render::status)?;
    Ok(exit_code(status.verdict))
}

/// The lease gate of this node. Degraded where there is none, an interface is without it, or others are
/// asked before it.
pub(super) fn gate(context: &Context) -> Done {
    let gate: v1::Gate = context.client()?.get("/v1/gate")?;
    context.output.show(&gate, render::gate)?;
    let is_missing = |one: &v1::GateInterface| {
        !matches!(one.state, v1::GateAttachment::Both | v1::GateAttachment::Port)
            || !one.before.is_empty()
    };
    let is_open = gate.interfaces.iter().any(is_missing) && !gate.addresses.is_empty();
    let is_weak = gate.kind == v1::GateKind::None || is_open;
    Ok(if is_weak { EXIT_DEGRADED } else { 0 })
}

pub(super) fn membership(context: &Context) -> Done {
    let membership: v1::Membership = context.client()?.get("/v1/membership")?;
    context.output.show(&membership, render::membership)?;
    Ok(primary(membership.view.primary))
}

pub(super) fn services(context: &Context) -> Done {
    let services: v1::Services = context.client()?.get("/v1/services")?;
    context.output.show(&services, render::services)?;
    Ok(primary(services.primary))
}

pub(super) fn service(context: &Context, name: &str) -> Done {
    let services: v1::Services = context.client()?.get("/v1/services")?;
    let found = services.services.iter().find(|service| service.name == name);
    let Some(service) = found else {
        let known = services.services.iter().map(|service| service.name.as_str());
        return Err(unknown("service", name, known));
    };
    let primary_view = services.primary;
    context.output.show(service, |service, style| render::service(service, primary_view, style))?;
    Ok(primary(primary_view))
}

pub(super) fn nodes(context: &Context) -> Done {
    let nodes: v1::Nodes = context.client()?.get("/v1/nodes")?;
    context.output.show(&nodes, render::nodes)?;
    Ok(primary(nodes.primary))
}

pub(super) fn node(context: &Context, name: &str) -> Done {
    let nodes: v1::Nodes = context.client()?.get("/v1/nodes")?;
    let Some(node) = nodes.nodes.iter().find(|node| node.name == name) else {
        return Err(unknown("node", name, nodes.nodes.iter().map(|node| node.name.as_str())));
    };
    let primary_view = nodes.primary;
    context.output.show(node, |node, style| render::node(node, primary_view, style))?;
    Ok(primary(primary_view))
}

/// All paths from this node, or those to one peer.
pub(super) fn paths(context: &Context, peer: Option<&str>) -> Done {
    let status: v1::Status = context.client()?.get("/v1/status")?;
    if let Some(peer) = peer
        && (peer == status.node.name || !status.nodes.iter().any(|node| node.name == peer))
    {
        let others = status.nodes.iter().filter(|node| node.name != status.node.name);
        return Err(unknown("other node", peer, others.map(|node| node.name.as_str())));
    }
    let is_asked = |path: &v1::Path| peer.is_none_or(|peer| path.peer == peer);
    let paths: Vec<v1::Path> = status.paths.into_iter().filter(is_asked).collect();
    let is_fine =
        |path: &v1::Path| matches!(path.state, v1::PathState::Alive | v1::PathState::Resting);
    let all_fine = paths.iter().all(is_fine);
    let report = render::Paths { schema: v1::SCHEMA, node: status.node.name, paths };
    match peer {
        None => context.output.show(&report, render::paths)?,
        Some(_) => context.output.show(&report, render::paths_in_full)?,
    }
    Ok(if all_fine { 0 } else { EXIT_DEGRADED })
}

/// Sends probes over this node's paths and shows what got through.
pub(super) fn path_test(context: &Context, options: &PathTestOptions) -> Done {
    let request = v1::PathTestRequest {
        peer: options.peer.clone(),
        network: options.network.clone(),
        count: options.count,
    };
    if !context.output.is_json() {
        context.output.note("probing, for some seconds …\n");
    }
    let tests: v1::PathTests = context.client()?.post("/v1/paths/test", &request)?;
    context.output.show(&tests, render::path_tests)?;
    let is_well = tests.tests.iter().all(|test| test.works && test.findings.is_empty());
    Ok(if is_well { 0 } else { EXIT_DEGRADED })
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Failure {
    let known: Vec<&str> = known.collect();
    Failure::Other {
        message: format!("there is no {what} {name}"),
        help: Some(format!("there are: {}", known.join(", "))),
        exit: EXIT_DEGRADED,
    }
}

/// Degraded when something could be stronger.
pub(super) fn risks(context: &Context) -> Done {
    let client = context.client()?;
    let shown: v1::ConfigShow = client.get("/v1/config")?;
    let parsed = config::parse(&shown.text, "cluster.toml", shown.version);
    let (cluster, _) = parsed.map_err(|found| {
        context.output.note(&found.render(context.output.has_error_colour()));
        Failure::other("the configuration is not usable")
    })?;
    let status: v1::Status = client.get("/v1/status")?;
    let weak = status.warnings.iter().filter(|warning| warning.code == "weak-guard");
    let weaknesses: Vec<String> = weak.map(|warning| warning.text.clone()).collect();
    let said = crate::risks::Said {
        tie_trouble: status.health.tie_breaker.as_deref(),
        fencing: &client.get("/v1/fence")?,
        gate: &client.get("/v1/gate")?,
        watchdog: &client.get("/v1/watchdog")?,
        weaknesses: &weaknesses,
        is_virtual: crate::risks::is_virtual(),
    };
    let risks = crate::risks::risks(&cluster, said);
    context.output.show(&risks, render::risks)?;
    let is_weak = risks.rests.iter().any(|rest| rest.remedy.is_some());
    Ok(if is_weak { EXIT_DEGRADED } else { 0 })
}

/// From the daemon; when that is not reachable, from the file, since nothing but the
/// configuration goes into it.
pub(super) fn bound(context: &Context) -> Done {
    let bound = match context.client()?.get::<v1::Bound>("/v1/bound") {
        Ok(bound) => bound,
        Err(ClientError::Unreachable { why, .. }) => {
            let root = context.root()?;
            let text = files::read_cluster(root)?;
            let file = root.cluster();
            let parsed = config::parse(&text, &file.display().to_string(), 0);
            let (cluster, _) = parsed.map_err(|found| {
                context.output.note(&found.render(context.output.has_error_colour()));
                Failure::other("the configuration is not usable")
            })?;
            let note = format!("from {}, since {why}\n", file.display());
            context.output.note(&note);
            bounds::bound(&cluster)
        }
        Err(other) => return Err(other.into()),
    };
    context.output.show(&bound, render::bound)?;
    Ok(0)
}

pub(super) fn why(context: &Context, options: &WhyOptions) -> Done {
    let path = match &options.service {
        Some(service) => format!("/v1/why?service={}", escape(service)),
        None => "/v1/why".to_owned(),
    };
    let notes: v1::Notes = context.client()?.get(&path)?;
    context.output.show(&notes, render::notes)?;
    Ok(0)
}

pub(super) fn history(context: &Context, options: &HistoryOptions) -> Done {
    let path = format!("/v1/history?limit={}", options.limit);
    let events: v1::Events = context.client()?.get(&path)?;
    context.output.show(&events, render::events)?;
    Ok(0)
}

pub(super) fn events(context: &Context, options: &EventsOptions) -> Done {
    let client = context.client()?;
    let limit = if options.after.is_some() { usize::MAX } else { EVENTS_SHOWN };
    let mut events: v1::Events = client.get(&format!("/v1/history?limit={limit}"))?;
    events.events.retain(|event| options.after.is_none_or(|after| event.id > after));
    if !options.follow {
        // What was left out was not asked for.
        events.forgotten = 0;
        context.output.show(&events, render::events)?;
        return Ok(0);
    }
    for event in &events.events {
        line(context, event)?;
    }
    let last = events.events.last().map(|event| event.id);
    let mut closed = false;
    client.follow(last.or(options.after).or(Some(0)), |event| match line(context, &event) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => {
            closed = true;
            ControlFlow::Break(())
        }
    })?;
    if closed {
        return Err(Failure::Closed);
    }
    context.output.complain("the daemon ended the stream", None);
    Ok(EXIT_UNREACHABLE)
}

/// One event: a line of text, or of JSON.
fn line(context: &Context, event: &v1::Event) -> Result<(), Failure> {
    let text = if context.output.is_json() {
        let text = serde_json::to_string(event).expect("types of the API can be written as JSON");
        format!("{text}\n")
    } else {
        render::event(event, context.output.style())
    };
    Ok(context.output.print(&text)?)
}
