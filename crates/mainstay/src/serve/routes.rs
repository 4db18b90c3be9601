//! What is behind each path. The table of all paths is `api::openapi::ENDPOINTS`; a test asks
//! every one of them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::v1;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast::{self, error::RecvError};

use super::access::Role;
use super::queue::{Caller, EVENTS_MAX, Handle, NetworkAct, NodeAct, Reply, Request};
use crate::config::{self, edit};
use crate::join::server::Joins;

/// Bytes of the body of a request: a configuration in JSON.
const BODY_SIZE_MAX: usize = 2 * config::TEXT_SIZE_MAX;
/// How long a client may take to send it.
const TIMEOUT_BODY: Duration = Duration::from_secs(10);
/// Events that `/v1/history` gives unless asked for another number, and at most.
const HISTORY_DEFAULT: usize = 200;
const HISTORY_MAX: usize = 10_000;
/// How long a command waits for a view change to end, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_STEP: Duration = Duration::from_millis(100);
/// How often a silent event stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Who is at the other end of a connection.
#[derive(Clone)]
pub(super) struct Peer {
    caller: Caller,
    role: Role,
    streaming: Arc<AtomicBool>,
}

impl Peer {
    pub(super) fn new(caller: Caller, role: Role) -> Peer {
        Peer { caller, role, streaming: Arc::default() }
    }

    /// Whether its connection has become an event stream, which has no end.
    pub(super) fn is_streaming(&self) -> bool {
        self.streaming.load(Ordering::Relaxed)
    }

    fn may_change(&self) -> Result<(), v1::Error> {
        if self.role == Role::Change {
            return Ok(());
        }
        Err(v1::Error::new(
            v1::ErrorCode::NotPermitted,
            format!("user {} may look, and may not change anything", self.caller.user),
        )
        .help(format!("run this as root or as a member of the group {}", super::access::GROUP)))
    }
}

#[derive(Clone)]
struct Core {
    handle: Handle,
    joins: Joins,
}

/// All paths.
pub(super) fn router(handle: Handle, joins: Joins) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/membership", get(membership))
        .route("/v1/services", get(services))
        .route("/v1/nodes", get(nodes))
        .route("/v1/bound", get(bound))
        .route("/v1/fence", get(fencing))
        .route("/v1/fence/history", get(fence_history))
        .route("/v1/fence/verify", post(fence_verify))
        .route("/v1/fence/{name}/{verb}", post(fence))
        .route("/v1/gate", get(gate))
        .route("/v1/networks", get(networks))
        .route("/v1/networks/interfaces/{name}/{verb}", post(interface))
        .route("/v1/networks/{name}/{verb}", post(network))
        .route("/v1/watchdog", get(watchdog))
        .route("/v1/why", get(why))
        .route("/v1/history", get(history))
        .route("/v1/events", get(events))
        .route("/v1/config", get(configuration).post(configure))
        .route("/v1/config/check", post(check))
        .route("/v1/openapi.json", get(document))
        .route("/v1/services/{name}/{verb}", post(service))
        .route("/v1/nodes/{name}/{verb}", post(node))
        .route("/v1/seed", post(seed))
        .route("/v1/paths/create", post(path_create))
        .route("/v1/paths/delete", post(path_delete))
        .route("/v1/paths/test", post(path_test))
        .route("/v1/leave", post(leave))
        .route("/v1/token", post(token))
        .fallback(async || Refusal(not_found("there is no such page")))
        .method_not_allowed_fallback(async || {
            Refusal(v1::Error::new(v1::ErrorCode::BadRequest, "this page has no such method"))
        })
        .with_state(Core { handle, joins })
}

/// An error as an HTTP answer.
struct Refusal(v1::Error);

impl From<v1::Error> for Refusal {
    fn from(error: v1::Error) -> Refusal {
        Refusal(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.http_status()).expect("codes are valid");
        (status, json(&self.0)).into_response()
    }
}

type Answer = Result<Response, Refusal>;

fn json(value: &impl Serialize) -> Response {
    let text = serde_json::to_vec(value).expect("types of the API can be written as JSON");
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn not_found(message: impl Into<String>) -> v1::Error {
    v1::Error::new(v1::ErrorCode::NotFound, message).help("all pages stand in /v1/openapi.json")
}

fn bad_request(message: impl Into<String>) -> v1::Error {
    v1::Error::new(v1::ErrorCode::BadRequest, message)
}

/// The loop answers each request with its own kind of reply; anything else is our own bug.
macro_rules! expect_reply {
    ($reply:expr, $kind:ident) => {
        match $reply {
            Reply::$kind(answer) => answer,
            other => unreachable!("the loop answered with another reply: {other:?}"),
        }
    };
}

impl Core {
    async fn status(&self, peer: &Peer) -> Result<Box<v1::Status>, v1::Error> {
        let reply = self.handle.request(Request::Status, peer.caller).await?;
        Ok(expect_reply!(reply, Status))
    }

    async fn config(&self, peer: &Peer) -> Result<v1::ConfigShow, v1::Error> {
        let reply = self.handle.request(Request::Config, peer.caller).await?;
        Ok(expect_reply!(reply, Config))
    }

    /// What the nodes of a configuration say to it.
    async fn check(
        &self,
        peer: &Peer,
        cluster: Box<config::Cluster>,
    ) -> Result<v1::ConfigCheck, v1::Error> {
        let reply = self.handle.request(Request::Check { cluster }, peer.caller).await?;
        Ok(expect_reply!(reply, Checked))
    }

    /// A command that only a primary view can carry out. A view change is waited for; a node that
    /// is cut off says so at once instead of keeping its user waiting.
    async fn command_of_the_view(&self, peer: &Peer, request: Request) -> Answer {
        Ok(json(&self.done_in_the_view(peer, request).await?))
    }

    /// The same, with the answer for whoever has something to add.
    async fn done_in_the_view(
        &self,
        peer: &Peer,
        request: Request,
    ) -> Result<v1::CommandReply, Refusal> {
        peer.may_change()?;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let view = self.status(peer).await?.view;
            if view.primary {
                let reply = self.handle.request(request, peer.caller).await?;
                return Ok(expect_reply!(reply, Done));
            }
            if tokio::time::Instant::now() >= deadline {
                let waiting =
                    view.waiting.map_or_else(String::new, |waiting| format!(": {waiting}"));
                return Err(v1::Error::new(
                    v1::ErrorCode::NotPrimary,
                    format!("this node is in no primary view, so nothing was changed{waiting}"),
                )
                .help("say it to a node that is in the view")
                .into());
            }
            tokio::time::sleep(PATIENCE_STEP).await;
        }
    }

    /// A command that is allowed, with its answer.
    async fn command(&self, peer: &Peer, request: Request) -> Answer {
        peer.may_change()?;
        let reply = self.handle.request(request, peer.caller).await?;
        Ok(json(&expect_reply!(reply, Done)))
    }
}

/// Reads the body; an empty one stands for the default.
async fn body<T: DeserializeOwned + Default>(body: Body) -> Result<T, v1::Error> {
    let bytes = tokio::time::timeout(TIMEOUT_BODY, axum::body::to_bytes(body, BODY_SIZE_MAX))
        .await
        .map_err(|_| v1::Error::new(v1::ErrorCode::TimedOut, "the request did not come in time"))?
        .map_err(|_| {
            let message = format!("a request has at most {BODY_SIZE_MAX} bytes");
            v1::Error::new(v1::ErrorCode::TooLarge, message)
        })?;
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| bad_request(format!("the request makes no sense: {error}")))
}

async fn status(State(core): State<Core>, Extension(peer): Extension<Peer>) -> Answer {
    Ok(json(&core.status(&peer).await?))
}

async fn membership(State(core): State<Core>, Extension(peer): Extension<Peer>) -> Answer {
    Ok(json(&core.status(&peer).await?.membership()))
}

async fn services(State(core): State<Core>, Extension(peer): Extension<Peer>) -> Answer {
    Ok(json(&core.status(&peer).await?.services()))
}

async fn nodes(State(core): State<Core>, Extension(peer): Extension<Peer>) -> Answer {
    Ok(json(&core.status(&peer).await?.nodes()))
}

async fn gate(State(core): State<Core>, Extension(peer): Extension<Peer>) -> Answer {
    let reply = core.handle.request(Request::Gate, peer.caller).await?;
    Ok(json(&expect_reply!(reply, Gate)))
}

async fn networks(State(core): State<Core>, Extension(peer): Extension<Peer>) -> Answer {
    let reply = core.handle.request(Request::Networks, peer.caller).await?;
    Ok(json(&expect_reply!(reply, Networks)))
}

/// Interfaces of this node alone, so no view is needed.
async fn interface(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    Path((name, verb)): Path<(String, String)>,
    sent: Body,
) -> Answer {
    let disabled = match verb.as_str() {
        "disable" => true,
        "enable" => false,
        _ => return Err(not_found(format!("nobody can {verb} an interface")).into()),
    };
    let v1::CommandRequest { reason, .. } = body(sent).await?;
    core.command(&peer, Request::Interface { name, disabled, reason }).await
}

/// Addresses of this node alone, so no view is needed.
async fn network(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    Path((name, verb)): Path<(String, String)>,
    sent: Body,
) -> Answer {
    let Some(act) = NetworkAct::ALL.into_iter().find(|act| act.verb() == verb) else {
        return Err(not_found(format!("nobody can {verb} a network")).into());
    };
    let v1::CommandRequest { reason, .. } = body(sent).await?;
    core.command(&peer, Request::Network { name, act, reason }).await
}

async fn watchdog(State(core): State<Core>, Extension(peer): Extension<Peer>) -> Answer {
    let reply = core.handle.request(Request::Watchdog, peer.caller).await?;
    Ok(json(&expect_reply!(reply, Watchdog)))
}

async fn fencing(State(core): State<Core>, Extension(peer): Extension<Peer>) -> Answer {
    let reply = core.handle.request(Request::Fencing, peer.caller).await?;
    Ok(json(&expect_reply!(reply, Fencing)))
}

async fn fence_history(State(core): State<Core>, Extension(peer): Extension<Peer>) -> Answer {
    let reply = core.handle.request(Request::FenceHistory, peer.caller).await?;
    Ok(json(&expect_reply!(reply, FenceHistory)))
}

async fn fence_verify(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    sent: Body,
) -> Answer {
    peer.may_change()?;
    let request = Request::FenceVerify(body(sent).await?);
    let reply = core.handle.request(request, peer.caller).await?;
    Ok(json(&expect_reply!(reply, FenceVerification)))
}

/// A machine can be turned off from outside the view as well: that is when it may be needed.
async fn fence(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    Path((name, verb)): Path<(String, String)>,
    sent: Body,
) -> Answer {
    let known = v1::FenceVerb::ALL.into_iter().find(|known| known.name() == verb);
    let Some(verb) = known else {
        return Err(not_found(format!("nobody can {verb} a machine")).into());
    };
    let v1::CommandRequest { reason, .. } = body(sent).await?;
    core.command(&peer, Request::Fence { name, verb, reason }).await
}

async fn bound(State(core): State<Core>, Extension(peer): Extension<Peer>) -> Answer {
    let reply = core.handle.request(Request::Bound, peer.caller).await?;
    Ok(json(&expect_reply!(reply, Bound)))
}

#[derive(Deserialize)]
struct WhyQuery {
    service: Option<String>,
}

async fn why(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    Query(query): Query<WhyQuery>,
) -> Answer {
    let request = Request::Why { service: query.service };
    let reply = core.handle.request(request, peer.caller).await?;
    Ok(json(&expect_reply!(reply, Notes)))
}

#[derive(Deserialize)]
struct HistoryQuery {
    limit: Option<String>,
}

async fn history(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    Query(query): Query<HistoryQuery>,
) -> Answer {
    let limit = match query.limit {
        Some(limit) => number(&limit, "limit")?.min(HISTORY_MAX as u64) as usize,
        None => HISTORY_DEFAULT,
    };
    let reply = core.handle.request(Request::History { limit }, peer.caller).await?;
    Ok(json(&expect_reply!(reply, Events)))
}

fn number(text: &str, name: &str) -> Result<u64, v1::Error> {
    text.parse().map_err(|_| bad_request(format!("`{name}` must be a number and is \"{text}\"")))
}

#[derive(Deserialize)]
struct EventsQuery {
    after: Option<String>,
}

async fn events(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    Query(query): Query<EventsQuery>,
) -> Answer {
    let after = query.after.map(|after| number(&after, "after")).transpose()?;
    // Subscribed before the past is asked for, so that nothing falls between the two.
    let live = core.handle.events();
    let mut past = Vec::new();
    if let Some(after) = after {
        let request = Request::History { limit: HISTORY_MAX };
        let reply = core.handle.request(request, peer.caller).await?;
        past = expect_reply!(reply, Events).events;
        past.retain(|event| event.id > after);
        past.reverse();
    }
    peer.streaming.store(true, Ordering::Relaxed);
    let stream = follow(past, live);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// First what is past (newest last to be popped first), then what comes, each event once.
fn follow(
    past: Vec<v1::Event>,
    live: broadcast::Receiver<v1::Event>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let start = (past, live, 0_u64);
    stream::unfold(start, |(mut past, mut live, mut last)| async move {
        let event = loop {
            if let Some(event) = past.pop() {
                break event;
            }
            match live.recv().await {
                Ok(event) if event.id > last => break event,
                Ok(_seen) => continue,
                Err(RecvError::Lagged(lost)) => break lost_events(lost, last),
                Err(RecvError::Closed) => return None,
            }
        };
        last = last.max(event.id);
        let text = serde_json::to_string(&event).expect("types of the API can be written as JSON");
        let sent = Event::default().id(event.id.to_string()).data(text);
        Some((Ok(sent), (past, live, last)))
    })
}

/// Stands for events that a slow reader did not get.
fn lost_events(lost: u64, last: u64) -> v1::Event {
    v1::Event {
        id: last,
        code: "events-lost".into(),
        level: v1::EventLevel::Warning,
        text: format!(
            "{lost} events were lost: this reader was more than {EVENTS_MAX} behind; \
             /v1/history has them"
        ),
        ..v1::Event::default()
    }
}

async fn configuration(State(core): State<Core>, Extension(peer): Extension<Peer>) -> Answer {
    Ok(json(&core.config(&peer).await?))
}

async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], api::openapi::document()).into_response()
}

async fn service(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    Path((name, verb)): Path<(String, String)>,
    request: Body,
) -> Answer {
    let Some(verb) = v1::ServiceVerb::named(&verb) else {
        return Err(not_found(format!("a service has no command \"{verb}\"")).into());
    };
    let request: v1::CommandRequest = body(request).await?;
    let v1::CommandRequest { node, reason } = request;
    core.command_of_the_view(&peer, Request::Service { name, verb, node, reason }).await
}

async fn node(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    Path((name, verb)): Path<(String, String)>,
    request: Body,
) -> Answer {
    let Some(verb) = v1::NodeVerb::named(&verb) else {
        return Err(not_found(format!("a node has no command \"{verb}\"")).into());
    };
    let request: v1::CommandRequest = body(request).await?;
    let reason = request.reason;
    let act = match verb {
        v1::NodeVerb::Standby => NodeAct::Standby,
        v1::NodeVerb::Online => NodeAct::Online,
        // It is what exactly half of a view waits for, so it is said to a node outside a primary view.
        v1::NodeVerb::ConfirmDown => {
            let act = NodeAct::ConfirmDown;
            return core.command(&peer, Request::Node { name, act, reason }).await;
        }
        v1::NodeVerb::Remove => return remove(&core, &peer, &name, reason).await,
    };
    core.command_of_the_view(&peer, Request::Node { name, act, reason }).await
}

/// Takes a node out of the configuration, when it is no member. Whether it may still run something
/// is judged where the change is delivered.
async fn remove(core: &Core, peer: &Peer, name: &str, reason: Option<String>) -> Answer {
    peer.may_change()?;
    let status = core.status(peer).await?;
    if status.view.members.iter().any(|member| member == name) {
        return Err(v1::Error::new(
            v1::ErrorCode::Refused,
            format!("{name} is a member of the view"),
        )
        .help(format!("run `mainstay leave` on {name} first"))
        .into());
    }
    let current = core.config(peer).await?;
    if let Ok((cluster, _)) = config::parse(&current.text, "the configuration", current.version)
        && cluster.node(name).is_none()
    {
        let names: Vec<&str> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
        let error = v1::Error::new(v1::ErrorCode::NotFound, format!("there is no node {name}"))
            .help(format!("the nodes are {}", names.join(", ")));
        return Err(error.into());
    }
    let text = edit::remove_node(&current.text, name)
        .map_err(|error| v1::Error::new(v1::ErrorCode::Refused, error.to_string()))?;
    let what = format!("node remove {name}");
    replace(core, peer, &text, Some(current.version), what, reason).await
}

async fn configure(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    request: Body,
) -> Answer {
    let request: v1::ConfigureRequest = body(request).await?;
    replace(&core, &peer, &request.text, request.expected_version, "configure".into(), None).await
}

async fn replace(
    core: &Core,
    peer: &Peer,
    text: &str,
    expected: Option<u64>,
    what: String,
    reason: Option<String>,
) -> Answer {
    peer.may_change()?;
    let (cluster, _) = parsed(text, 0)?;
    // Before the version is read: nodes may take their time.
    let warnings = match core.check(peer, Box::new(cluster)).await {
        Ok(check) => warnings(&check),
        Err(error) => vec![format!("the nodes were not asked about it: {}", error.message)],
    };
    let shown = core.config(peer).await?;
    let current = expected.unwrap_or(shown.version);
    let (cluster, _) = parsed(text, current + 1)?;
    // What is in force was parsed before; where it is of another version's making there is nothing to compare.
    let before = config::parse(&shown.text, "the configuration", shown.version).ok();
    let later = before.map_or_else(Vec::new, |(before, _)| config::later(&before, &cluster));
    let (cluster, expected_version) = (Box::new(cluster), Some(current));
    let request = Request::Configure { cluster, expected_version, what, reason };
    let mut done = core.done_in_the_view(peer, request).await?;
    later.iter().for_each(|sentence| done.text.push_str(&format!("\n{sentence}")));
    done.warnings.extend(warnings);
    Ok(json(&done))
}

fn parsed(text: &str, version: u64) -> Result<(config::Cluster, config::Diagnostics), v1::Error> {
    config::parse(text, "the new configuration", version).map_err(|found| {
        v1::Error::new(v1::ErrorCode::Conflict, found.render(false).trim_end().to_owned())
            .help("nothing was changed; `mainstay config check FILE` shows the same")
    })
}

/// What nodes have to say to a configuration, a sentence each.
fn warnings(check: &v1::ConfigCheck) -> Vec<String> {
    let found = check.diagnostics.iter().map(|one| match one.help.first() {
        Some(help) => format!("{} (line {}); {help}", one.message, one.line),
        None => one.message.clone(),
    });
    let unseen = check.nodes.iter().filter_map(|one| {
        let trouble = one.trouble.as_ref()?;
        Some(format!("{} did not check it: {trouble}", one.node))
    });
    found.chain(unseen).collect()
}

/// Nothing is changed by it, and questions are sent on the wire.
async fn check(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    request: Body,
) -> Answer {
    peer.may_change()?;
    let request: v1::ConfigureRequest = body(request).await?;
    let (cluster, _) = parsed(&request.text, 0)?;
    Ok(json(&core.check(&peer, Box::new(cluster)).await?))
}

async fn seed(State(core): State<Core>, Extension(peer): Extension<Peer>, request: Body) -> Answer {
    core.command(&peer, Request::Seed(body(request).await?)).await
}

async fn leave(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    request: Body,
) -> Answer {
    core.command(&peer, Request::Leave(body(request).await?)).await
}

async fn path_create(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    request: Body,
) -> Answer {
    core.command(&peer, Request::PathCreate(body(request).await?)).await
}

async fn path_delete(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    request: Body,
) -> Answer {
    core.command(&peer, Request::PathDelete(body(request).await?)).await
}

async fn path_test(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    request: Body,
) -> Answer {
    peer.may_change()?;
    let request = Request::PathTest(body(request).await?);
    let reply = core.handle.request(request, peer.caller).await?;
    Ok(json(&expect_reply!(reply, PathTests)))
}

async fn token(
    State(core): State<Core>,
    Extension(peer): Extension<Peer>,
    request: Body,
) -> Answer {
    peer.may_change()?;
    let request: v1::TokenRequest = body(request).await?;
    Ok(json(&core.joins.issue(&request, peer.caller).await?))
}
