//! `mainstay fence`: look at fencing, check it, and use it by hand.

use std::time::Duration;

use api::client::escape;
use api::v1;
use clap::{Args, Subcommand};

use super::{Context, Done, EXIT_DEGRADED, Failure, ask};
use crate::render;

/// How often a waiting command looks.
const WAIT_STEP: Duration = Duration::from_millis(200);

#[derive(Debug, Subcommand)]
pub(super) enum FenceCommand {
    /// Show all nodes with their agents, and when these were checked last
    List,
    /// Show the fencing of one node in full
    Show {
        /// The node
        node: String,
    },
    /// Have all agents of a node say whether its machine is on: are they there, do they reach it, do
    /// they have the right password
    Verify {
        /// The node
        node: String,
        /// Then really turn it off and on again; it must be in standby and run nothing
        #[arg(long)]
        reset_standby: bool,
    },
    /// Turn the machine of a node off, and see that it is off
    Off(HandOptions),
    /// Turn the machine of a node on
    On(HandOptions),
    /// Show what this node has turned off and on
    History,
}

#[derive(Debug, Args)]
pub(super) struct HandOptions {
    /// The node
    name: String,
    /// The name once more, instead of being asked for it
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) fn fence(context: &Context, command: FenceCommand) -> Done {
    match command {
        FenceCommand::List => {
            let fencing: v1::Fencing = context.client()?.get("/v1/fence")?;
            context.output.show(&fencing, render::fencing)?;
            let is_bad = |node: &v1::FenceNode| node.verified.as_ref().is_some_and(|seen| !seen.ok);
            Ok(if fencing.nodes.iter().any(is_bad) { EXIT_DEGRADED } else { 0 })
        }
        FenceCommand::Show { node } => {
            let node = find(context, &node)?;
            context.output.show(&node, render::fence_node)?;
            Ok(0)
        }
        FenceCommand::Verify { node, reset_standby } => verify(context, &node, reset_standby),
        FenceCommand::Off(options) => {
            let name = &options.name;
            ask::name_again(
                name,
                options.confirm.as_deref(),
                &format!("this cuts the power of {name}"),
                &format!("mainstay fence off {name}"),
            )?;
            by_hand(context, &options.name, v1::FenceVerb::Off, options.reason)
        }
        FenceCommand::On(options) => {
            by_hand(context, &options.name, v1::FenceVerb::On, options.reason)
        }
        FenceCommand::History => {
            let history: v1::FenceHistory = context.client()?.get("/v1/fence/history")?;
            context.output.show(&history, render::fence_history)?;
            Ok(0)
        }
    }
}

fn find(context: &Context, name: &str) -> Result<v1::FenceNode, Failure> {
    let fencing: v1::Fencing = context.client()?.get("/v1/fence")?;
    let names: Vec<String> = fencing.nodes.iter().map(|node| node.node.clone()).collect();
    let found = fencing.nodes.into_iter().find(|node| node.node == name);
    found.ok_or_else(|| Failure::Other {
        message: format!("there is no node {name}"),
        help: Some(format!("there are: {}", names.join(", "))),
        exit: EXIT_DEGRADED,
    })
}

fn verify(context: &Context, node: &str, reset: bool) -> Done {
    let request = v1::FenceVerifyRequest { node: node.to_owned() };
    let found: v1::FenceVerification = context.client()?.post("/v1/fence/verify", &request)?;
    context.output.show(&found, render::fence_verification)?;
    if !found.verified.ok {
        return Ok(EXIT_DEGRADED);
    }
    match reset {
        true => by_hand(context, node, v1::FenceVerb::Reset, Some("fence verify".to_owned())),
        false => Ok(0),
    }
}

/// Sends the wish and waits for what comes of it, as long as agents are at work.
#[expect(clippy::disallowed_methods, reason = "a command at a terminal, which Ctrl-C ends")]
fn by_hand(context: &Context, name: &str, verb: v1::FenceVerb, reason: Option<String>) -> Done {
    let client = context.client()?;
    let history: v1::FenceHistory = client.get("/v1/fence/history")?;
    let before = history.records.last().map_or(0, |record| record.id);
    let request = v1::CommandRequest { node: None, reason };
    let path = format!("/v1/fence/{}/{}", escape(name), verb.name());
    let reply: v1::CommandReply = client.post(&path, &request)?;
    if !context.output.is_json() {
        context.output.note(&format!("{} …\n", reply.text));
    }
    while find(context, name)?.running.is_some_and(|running| running.by_hand) {
        std::thread::sleep(WAIT_STEP);
    }
    let mut history: v1::FenceHistory = client.get("/v1/fence/history")?;
    history.records.retain(|record| record.id > before && record.node == name && record.by_hand);
    context.output.show(&history, render::fence_history)?;
    let wanted = if verb == v1::FenceVerb::Off { "off" } else { "on" };
    let done = history.records.iter().any(|record| record.ok && record.verb == wanted);
    Ok(if done { 0 } else { EXIT_DEGRADED })
}
