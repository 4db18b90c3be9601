//! The OpenAPI document: made from one table of all requests and from the types themselves.
//!
//! It stands in the tree as `docs/reference/openapi.json`, where a test compares it, so that a
//! change of the API is a change that a reviewer sees; and the daemon answers it at
//! `/v1/openapi.json`.

use utoipa::OpenApi;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, Required, ResponseBuilder};

use crate::v1;

/// Which HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A question: anybody who can open the socket may ask.
    Get,
    /// A command: root, the daemon's own user and the group `mainstay`.
    Post,
}

/// One request that the daemon answers.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// Which HTTP method.
    pub method: Method,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// What it is for: one sentence.
    pub summary: &'static str,
    /// Parameters in the query: name and meaning.
    pub query: &'static [(&'static str, &'static str)],
    /// Type of the body, for commands.
    pub body: Option<&'static str>,
    /// Type of the answer.
    pub answer: Answer,
}

/// What an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// JSON of the named type.
    Json(&'static str),
    /// Server-sent events, each with one JSON object of the named type.
    Stream(&'static str),
    /// The OpenAPI document itself.
    Document,
}

const fn get(path: &'static str, answer: &'static str, summary: &'static str) -> Endpoint {
    let answer = Answer::Json(answer);
    Endpoint { method: Method::Get, path, summary, query: &[], body: None, answer }
}

const fn post(
    path: &'static str,
    body: &'static str,
    answer: &'static str,
    summary: &'static str,
) -> Endpoint {
    let (body, answer) = (Some(body), Answer::Json(answer));
    Endpoint { method: Method::Post, path, summary, query: &[], body, answer }
}

/// All requests that the daemon answers.
pub const ENDPOINTS: &[Endpoint] = &[
    get("/v1/status", "Status", "Everything that the node knows about the cluster now."),
    get("/v1/membership", "Membership", "The agreed membership."),
    get("/v1/services", "Services", "All services."),
    get("/v1/nodes", "Nodes", "All nodes."),
    get("/v1/gate", "Gate", "What the kernel lets pass for each service address on this node."),
    get("/v1/networks", "Networks", "Whether the interfaces of this node work, and why not."),
    get("/v1/watchdog", "Watchdog", "What resets this node's machine when nothing else can."),
    get("/v1/fence", "Fencing", "How machines are turned off, and whether that would work."),
    get("/v1/fence/history", "FenceHistory", "What this node has turned off and on."),
    get("/v1/bound", "Bound", "How long a failure can keep each service away, and why."),
    Endpoint {
        query: &[("service", "Only notes about this service.")],
        ..get("/v1/why", "Notes", "Why things are as they are: decisions with their reasons.")
    },
    Endpoint {
        query: &[("limit", "At most so many of the newest events.")],
        ..get("/v1/history", "Events", "What happened, as far back as the daemon remembers.")
    },
    Endpoint {
        query: &[("after", "Only events with a higher id; without it, those from now on.")],
        answer: Answer::Stream("Event"),
        ..get("/v1/events", "Event", "What happens, as it happens.")
    },
    get("/v1/config", "ConfigShow", "The configuration in force."),
    Endpoint { answer: Answer::Document, ..get("/v1/openapi.json", "", "This document.") },
    post(
        "/v1/services/{name}/{verb}",
        "CommandRequest",
        "CommandReply",
        "start, stop, move, auto, manual or clear a service.",
    ),
    post(
        "/v1/nodes/{name}/{verb}",
        "CommandRequest",
        "CommandReply",
        "standby, online, confirm-down or remove a node; a member of the view is not removed.",
    ),
    post(
        "/v1/fence/{name}/{verb}",
        "CommandRequest",
        "CommandReply",
        "Turn the machine of a node off or on, or reset that of an idle member in standby.",
    ),
    post(
        "/v1/fence/verify",
        "FenceVerifyRequest",
        "FenceVerification",
        "Have all fence agents of a node say whether its machine is on.",
    ),
    post(
        "/v1/networks/interfaces/{name}/{verb}",
        "CommandRequest",
        "CommandReply",
        "disable an interface of this node, so that it counts as failed, or enable it again.",
    ),
    post(
        "/v1/networks/{name}/{verb}",
        "CommandRequest",
        "CommandReply",
        "return the own addresses of this node to the primary interface of a network, or rebalance its \
         service addresses over the interfaces of this node.",
    ),
    post("/v1/seed", "SeedRequest", "CommandReply", "Form a view now."),
    post("/v1/paths/create", "PathRequest", "CommandReply", "Define this node's half of a path."),
    post(
        "/v1/paths/delete",
        "PathRequest",
        "CommandReply",
        "Take back this node's half of a path.",
    ),
    post(
        "/v1/paths/test",
        "PathTestRequest",
        "PathTests",
        "Send probes over paths of this node and say what gets through.",
    ),
    post("/v1/leave", "LeaveRequest", "CommandReply", "Leave the view cleanly."),
    post("/v1/config", "ConfigureRequest", "CommandReply", "Replace the configuration."),
    post(
        "/v1/config/check",
        "ConfigureRequest",
        "ConfigCheck",
        "Have all nodes look at what a configuration would bring them; nothing is changed.",
    ),
    post("/v1/token", "TokenRequest", "TokenReply", "Make a token that lets one new node join."),
];

#[derive(OpenApi)]
#[openapi(components(schemas(
    v1::Bound,
    v1::CommandReply,
    v1::CommandRequest,
    v1::ConfigCheck,
    v1::ConfigCheckNode,
    v1::ConfigShow,
    v1::ConfigureRequest,
    v1::DiagnosticReport,
    v1::Error,
    v1::Event,
    v1::Events,
    v1::FenceHistory,
    v1::FenceVerb,
    v1::FenceVerification,
    v1::FenceVerifyRequest,
    v1::Fencing,
    v1::Gate,
    v1::LeaveRequest,
    v1::Membership,
    v1::Networks,
    v1::Nodes,
    v1::NodeVerb,
    v1::Notes,
    v1::PathRequest,
    v1::PathTestRequest,
    v1::PathTests,
    v1::SeedRequest,
    v1::Services,
    v1::ServiceVerb,
    v1::Status,
    v1::TokenReply,
    v1::TokenRequest,
    v1::Watchdog,
)))]
struct Types;

/// The document as indented JSON with a line feed at its end.
#[must_use]
pub fn document() -> String {
    let mut document = Types::openapi();
    document.info = utoipa::openapi::InfoBuilder::new()
        .title("Mainstay management API")
        .version("1")
        .description(Some(
            "HTTP/1.1 over the unix socket run/mainstay/api.sock below the root directory.",
        ))
        .license(Some(utoipa::openapi::License::new("Apache-2.0 OR MIT")))
        .build();
    let mut paths = PathsBuilder::new();
    for endpoint in ENDPOINTS {
        paths = paths.path(endpoint.path, item(endpoint));
    }
    document.paths = paths.build();
    let mut text = document.to_pretty_json().expect("the document is made of strings and maps");
    text.push('\n');
    text
}

fn item(endpoint: &Endpoint) -> PathItem {
    let text = || ObjectBuilder::new().schema_type(Type::String).build();
    let json = |name| ContentBuilder::new().schema(Some(Ref::from_schema_name(name))).build();
    let success = ResponseBuilder::new().description("Done.");
    let success = match endpoint.answer {
        Answer::Json(name) => success.content("application/json", json(name)),
        Answer::Stream(name) => success.content("text/event-stream", json(name)),
        Answer::Document => {
            let object = ObjectBuilder::new().schema_type(Type::Object).build();
            success.content("application/json", ContentBuilder::new().schema(Some(object)).build())
        }
    };
    let refusal = ResponseBuilder::new()
        .description("Refused, with the reason.")
        .content("application/json", json("Error"));
    let mut operation = OperationBuilder::new()
        .summary(Some(endpoint.summary))
        .response("200", success.build())
        .response("default", refusal.build());
    for part in endpoint.path.split('/') {
        let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) else {
            continue;
        };
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(text())),
        );
    }
    for (name, meaning) in endpoint.query {
        operation = operation.parameter(
            ParameterBuilder::new()
                .name(*name)
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(Some(*meaning))
                .schema(Some(text())),
        );
    }
    if let Some(body) = endpoint.body {
        operation = operation.request_body(Some(
            RequestBodyBuilder::new()
                .description(Some("May be left out: stands for the default."))
                .content("application/json", json(body))
                .build(),
        ));
    }
    let method = match endpoint.method {
        Method::Get => HttpMethod::Get,
        Method::Post => HttpMethod::Post,
    };
    PathItem::new(method, operation.build())
}

#[cfg(test)]
mod tests;
