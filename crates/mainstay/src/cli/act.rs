//! Commands that change something.

use std::time::Duration;

use api::client::{ClientError, escape};
use api::v1;
use serde::Serialize;

use super::arguments::{
    CommandOptions, ConfigCommand, ConfirmOptions, LeaveOptions, NodeCommand, NodeOptions,
    PathCommand, SeedOptions, ServiceCommand, ServiceOptions, TokenOptions,
};
use super::{Context, Done, EXIT_DEGRADED, EXIT_DOWN, Failure, ask, look, setup};
use crate::config::{duration, files};
use crate::render;

/// How often a waiting command looks.
const WAIT_STEP: Duration = Duration::from_millis(100);
/// How often one that waits for a node to leave looks.
const LEAVE_STEP: Duration = Duration::from_millis(500);
/// What the node may take beyond its own budget, and what it may take before it says one.
const LEAVE_GRACE: Duration = Duration::from_secs(30);
const LEAVE_WAIT: Duration = Duration::from_secs(3_600);

pub(super) fn service(context: &Context, command: ServiceCommand) -> Done {
    use v1::ServiceVerb;
    let (verb, ServiceOptions { service, on, options }) = match command {
        ServiceCommand::List => return look::services(context),
        ServiceCommand::Show { service } => return look::service(context, &service),
        ServiceCommand::Start(options) => (ServiceVerb::Start, options),
        ServiceCommand::Stop { service, options } => {
            (ServiceVerb::Stop, ServiceOptions { service, on: None, options })
        }
        ServiceCommand::Move(options) => (ServiceVerb::Move, options),
        ServiceCommand::Auto(options) => (ServiceVerb::Auto, options),
        ServiceCommand::Manual(options) => (ServiceVerb::Manual, options),
        ServiceCommand::Clear(options) => (ServiceVerb::Clear, options),
    };
    let CommandOptions { reason, wait } = options;
    let limit = wait.map(|wait| {
        duration::parse(&wait)
            .map_err(|sentence| Failure::usage(sentence, "for instance --wait 60s"))
    });
    let limit = limit.transpose()?;
    let before = match limit {
        Some(_) => Some(find(context, &service)?),
        None => None,
    };
    let request = v1::CommandRequest { node: on.clone(), reason };
    let path = format!("/v1/services/{}/{}", escape(&service), verb.name());
    command_sent(context, &path, &request)?;
    let (Some(limit), Some(before)) = (limit, before) else { return Ok(0) };
    let goal = Goal::of(verb, on, &before);
    wait_for(context, &service, &goal, limit)
}

/// When a command is done.
enum Goal {
    /// It runs on this node, or on any.
    Running(Option<String>),
    /// It runs on another node than this one.
    Moved(String),
    /// It is stopped.
    Stopped,
    /// As soon as it was ordered.
    Ordered,
}

impl Goal {
    fn of(verb: v1::ServiceVerb, on: Option<String>, before: &v1::Service) -> Goal {
        match (verb, on, &before.node) {
            (v1::ServiceVerb::Move, None, Some(node)) => Goal::Moved(node.clone()),
            (v1::ServiceVerb::Start | v1::ServiceVerb::Move, on, _) => Goal::Running(on),
            (v1::ServiceVerb::Stop, ..) => Goal::Stopped,
            _ => Goal::Ordered,
        }
    }

    fn is_reached(&self, service: &v1::Service) -> bool {
        use v1::ServiceState::{Running, Stopped};
        match self {
            Goal::Running(None) => service.state == Running,
            Goal::Running(node) => service.state == Running && service.node == *node,
            Goal::Moved(old) => service.state == Running && service.node.as_ref() != Some(old),
            Goal::Stopped => service.state == Stopped,
            Goal::Ordered => true,
        }
    }
}

fn find(context: &Context, name: &str) -> Result<v1::Service, Failure> {
    let services: v1::Services = context.client()?.get("/v1/services")?;
    let found = services.services.into_iter().find(|service| service.name == name);
    found.ok_or_else(|| Failure::other(format!("there is no service {name}")))
}

#[expect(clippy::disallowed_methods, reason = "a command at a terminal, which Ctrl-C ends")]
fn wait_for(context: &Context, name: &str, goal: &Goal, limit: Duration) -> Done {
    use v1::ServiceState::{BrokenSafe, BrokenUnsafe, Failed};
    let start = os::clock::boottime();
    loop {
        let service = find(context, name)?;
        if goal.is_reached(&service) {
            if !context.output.is_json() {
                let node = service.node.map_or_else(String::new, |node| format!(" on {node}"));
                context.output.print(&format!("{name} is {}{node}\n", service.state))?;
            }
            return Ok(0);
        }
        let waited = os::clock::boottime().since(start);
        let broken = matches!(service.state, Failed | BrokenSafe | BrokenUnsafe);
        if broken || waited >= limit {
            let after =
                if broken { String::new() } else { format!(" after {}", duration::format(limit)) };
            return Err(Failure::Other {
                message: format!("{name} is {}{after}", service.state),
                help: Some(
                    service.reason.unwrap_or_else(|| format!("look at `mainstay why {name}`")),
                ),
                exit: EXIT_DOWN,
            });
        }
        std::thread::sleep(WAIT_STEP);
    }
}

/// Sends a command and prints what the daemon says to it.
pub(super) fn command_sent(context: &Context, path: &str, request: &impl Serialize) -> Done {
    let reply: v1::CommandReply = context.client()?.post(path, request)?;
    context.output.show(&reply, |reply, _| {
        let mut text = format!("{}\n", reply.text);
        for warning in &reply.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        text
    })?;
    Ok(0)
}

pub(super) fn path(context: &Context, command: PathCommand) -> Done {
    let (verb, options) = match command {
        PathCommand::List => return look::paths(context, None),
        PathCommand::Show { peer } => return look::paths(context, Some(&peer)),
        PathCommand::Test(options) => return look::path_test(context, &options),
        PathCommand::Create(options) => ("create", options),
        PathCommand::Delete(options) => ("delete", options),
    };
    let kind = match (options.serial, options.ethernet, options.disk) {
        (true, _, _) => "serial",
        (_, true, _) => "ethernet",
        (_, _, true) => "disk",
        _ => "udp",
    };
    if kind != "udp" && options.remote.is_some() && !options.pair {
        return Err(Failure::usage(
            "the other node's end belongs to the other node",
            "leave it out, or have both halves made with --pair",
        ));
    }
    let ethertype = options.ethertype.as_deref().map(|written| {
        let digits = written.trim_start_matches("0x").trim_start_matches("0X");
        u16::from_str_radix(digits, 16).map_err(|_| {
            Failure::usage(format!("\"{written}\" is no EtherType"), "for instance 0x88b5")
        })
    });
    let request = v1::PathRequest {
        peer: options.peer,
        kind: kind.to_owned(),
        local: options.local,
        remote: options.remote.unwrap_or_default(),
        port: options.port,
        baud: options.baud,
        rank: options.rank,
        name: options.name.unwrap_or_default(),
        ethertype: ethertype.transpose()?,
        low: options.low,
        pair: options.pair,
    };
    command_sent(context, &format!("/v1/paths/{verb}"), &request)
}

pub(super) fn node(context: &Context, command: NodeCommand) -> Done {
    use v1::NodeVerb;
    let (verb, NodeOptions { name, reason }) = match command {
        NodeCommand::List => return look::nodes(context),
        NodeCommand::Show { name } => return look::node(context, &name),
        NodeCommand::Standby(options) => (NodeVerb::Standby, options),
        NodeCommand::Online(options) => (NodeVerb::Online, options),
        NodeCommand::ConfirmDown(ConfirmOptions { node, confirm }) => {
            let name = &node.name;
            ask::name_again(
                name,
                confirm.as_deref(),
                &format!(
                    "if {name} still runs something, that then runs twice; a storage service loses its data"
                ),
                &format!("mainstay node confirm-down {name}"),
            )?;
            (NodeVerb::ConfirmDown, node)
        }
        NodeCommand::Remove(options) => (NodeVerb::Remove, options),
    };
    let path = format!("/v1/nodes/{}/{}", escape(&name), verb.name());
    command_sent(context, &path, &v1::CommandRequest { node: None, reason })
}

pub(super) fn seed(context: &Context, options: &SeedOptions) -> Done {
    let request =
        v1::SeedRequest { force: options.force, believed_dead: options.believed_dead.clone() };
    command_sent(context, "/v1/seed", &request)
}

pub(super) fn leave(context: &Context, options: &LeaveOptions) -> Done {
    let request = v1::LeaveRequest { reason: options.reason.clone() };
    let code = command_sent(context, "/v1/leave", &request)?;
    if !options.wait || code != 0 {
        return Ok(code);
    }
    await_end(context)
}

/// Says how far the node is that leaves, until it is gone.
#[expect(clippy::disallowed_methods, reason = "a command at a terminal, which Ctrl-C ends")]
fn await_end(context: &Context) -> Done {
    let client = context.client()?;
    let mut said = String::new();
    let mut left = LEAVE_WAIT;
    while !left.is_zero() {
        let status: v1::Status = match client.get("/v1/status") {
            Ok(status) => status,
            // It has left, and its daemon has ended.
            Err(ClientError::Unreachable { .. } | ClientError::Silent(_)) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        if let Some(leaving) = &status.leaving {
            let budget =
                Duration::from_millis(leaving.budget_ms.saturating_sub(leaving.elapsed_ms));
            left = left.min(budget + LEAVE_GRACE);
            let sentence = render::leaving(leaving);
            if sentence != said {
                context.output.note(&format!("{sentence}\n"));
                said = sentence;
            }
        }
        std::thread::sleep(LEAVE_STEP);
        left = left.saturating_sub(LEAVE_STEP);
    }
    Err(Failure::other("this node has not left within its budget: see `mainstay status`"))
}

pub(super) fn token(context: &Context, options: &TokenOptions) -> Done {
    let lifetime = duration::parse(&options.lifetime)
        .map_err(|sentence| Failure::usage(sentence, "for instance --lifetime 10m"))?;
    let request = v1::TokenRequest { lifetime_s: Some(lifetime.as_secs()) };
    let reply: v1::TokenReply = context.client()?.post("/v1/token", &request)?;
    context.output.show(&reply, |reply, style| {
        format!(
            "{}\n\nIt lets one machine join within {}, and is a secret. On that machine:\n\n  \
             mainstay join TOKEN --node-name NAME --address CIDR\n\n\
             It will connect to {}.\n",
            style.paint(crate::render::Colour::Head, &reply.token),
            crate::render::duration(reply.lifetime_s * 1000),
            reply.addresses.join(" or ")
        )
    })?;
    Ok(0)
}

pub(super) fn config(context: &Context, command: ConfigCommand) -> Done {
    match command {
        ConfigCommand::Show => show_config(context),
        ConfigCommand::Check { file } => setup::check(context, file.as_deref()),
        ConfigCommand::Apply { file, expect } => {
            let text = files::read_configuration(&file)?;
            let name = file.display().to_string();
            let parsed = crate::config::parse(&text, &name, 0);
            let found = match &parsed {
                Ok((_, found)) => found,
                Err(found) => found,
            };
            context.output.note(&found.render(context.output.has_error_colour()));
            let Ok((cluster, _)) = &parsed else { return Ok(EXIT_DEGRADED) };
            let mut is_refused = false;
            for why in setup::names_without_address(context, cluster)? {
                is_refused = true;
                context.output.complain(&why.message, Some(&why.help));
            }
            if is_refused {
                return Ok(EXIT_DEGRADED);
            }
            let request = v1::ConfigureRequest { text, expected_version: expect };
            command_sent(context, "/v1/config", &request)
        }
    }
}

fn show_config(context: &Context) -> Done {
    let shown: v1::ConfigShow = context.client()?.get("/v1/config")?;
    context.output.show(&shown, |shown, _| {
        format!("# version {}, checksum {}\n{}", shown.version, shown.checksum, shown.text)
    })?;
    Ok(0)
}
