//! `mainstay network`: whether this node's interfaces work, and failures of them that are only said.

use api::client::escape;
use api::v1;
use clap::{Args, Subcommand};

use super::{Context, Done, EXIT_DEGRADED, act};
use crate::render;

#[derive(Debug, Subcommand)]
pub(super) enum NetworkCommand {
    /// Show this node's interfaces in each network, and whether they work
    List,
    /// Have this node's own addresses go back to the primary interface of a network
    Return(NetworkOptions),
    /// Share the service addresses of a network out anew over this node's interfaces
    Rebalance(NetworkOptions),
    /// Have an interface count as failed, and take that back
    Interface {
        #[command(subcommand)]
        command: InterfaceCommand,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum InterfaceCommand {
    /// Have it count as failed, without touching it; ends with the daemon
    Disable(InterfaceOptions),
    /// Have it count as what it is again
    Enable(InterfaceOptions),
}

#[derive(Debug, Args)]
pub(super) struct NetworkOptions {
    /// The network
    #[arg(value_name = "NETWORK")]
    name: String,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct InterfaceOptions {
    /// The interface
    name: String,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub(super) fn network(context: &Context, command: NetworkCommand) -> Done {
    match command {
        NetworkCommand::List => list(context),
        NetworkCommand::Return(options) => act_on(context, options, "return"),
        NetworkCommand::Rebalance(options) => act_on(context, options, "rebalance"),
        NetworkCommand::Interface { command } => match command {
            InterfaceCommand::Disable(options) => say(context, options, "disable"),
            InterfaceCommand::Enable(options) => say(context, options, "enable"),
        },
    }
}

/// Degraded when an interface does not work, or nobody looks.
fn list(context: &Context) -> Done {
    let report: v1::Networks = context.client()?.get("/v1/networks")?;
    context.output.show(&report, render::networks)?;
    let mut interfaces = report.networks.iter().flat_map(|network| &network.interfaces);
    let is_down = interfaces.any(|one| one.state == v1::InterfaceState::Down);
    Ok(if is_down || report.trouble.is_some() { EXIT_DEGRADED } else { 0 })
}

fn act_on(context: &Context, options: NetworkOptions, verb: &str) -> Done {
    let NetworkOptions { name, reason } = options;
    let path = format!("/v1/networks/{}/{verb}", escape(&name));
    let request = v1::CommandRequest { reason, ..v1::CommandRequest::default() };
    act::command_sent(context, &path, &request)
}

fn say(context: &Context, options: InterfaceOptions, verb: &str) -> Done {
    let InterfaceOptions { name, reason } = options;
    let path = format!("/v1/networks/interfaces/{}/{verb}", escape(&name));
    let request = v1::CommandRequest { reason, ..v1::CommandRequest::default() };
    act::command_sent(context, &path, &request)
}
