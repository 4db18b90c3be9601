//! LifeKeeper's `lkcli`: `status`, `status -q`, `commpath create` and `commpath delete`.
//!
//! Sources: SIOS, "LKCLI communication path creation and deletion" (9.9.0), whose transcript
//! is a test (`tests/lkcli.rs`), and "Short status display" (9.6.0) for the layout. As there, a path is
//! defined once on each end, and a lone half is DEAD. LifeKeeper's TCP port 7365 is the path's UDP port
//! here.

use std::process::ExitCode;

use api::client::{Client, ClientError};
use api::v1::{self, PathState, ServiceState, Status};
use clap::{Args, Parser, Subcommand};

use crate::config::files::Root;

/// Where LifeKeeper's communication manager listens.
const PORT: u16 = 7365;
/// A system or library call failed; `lcdrunning` and friends end so without a daemon.
const EXIT_FAILED: u8 = 1;
/// Wrong usage.
const EXIT_USAGE: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "lkcli", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show resources and communication paths
    Status {
        /// In short
        #[arg(short)]
        q: bool,
    },
    /// Define and take back this node's half of a communication path
    Commpath {
        #[command(subcommand)]
        command: CommpathCommand,
    },
}

#[derive(Debug, Subcommand)]
enum CommpathCommand {
    /// Define it
    Create(Commpath),
    /// Take it back
    Delete(Commpath),
}

#[derive(Debug, Args)]
struct Commpath {
    /// IP address on the local node
    #[arg(long)]
    laddr: String,
    /// IP address on the remote node
    #[arg(long)]
    raddr: String,
    /// Host name of the remote node
    #[arg(long)]
    dest: String,
    /// Priority, 1 to 99
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=99))]
    priority: Option<u8>,
}

pub(super) fn main(root: &Root, words: &[String]) -> ExitCode {
    let client = &Client::new(root.socket());
    let words = core::iter::once("lkcli".to_owned()).chain(words.iter().cloned());
    let arguments = match Arguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _closed = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    let outcome = match arguments.command {
        Command::Status { q } => status(client, q),
        Command::Commpath { command } => commpath(client, &command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lkcli: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

type Done = Result<(), ClientError>;

fn commpath(client: &Client, command: &CommpathCommand) -> Done {
    let (CommpathCommand::Create(path) | CommpathCommand::Delete(path)) = command;
    let request = v1::PathRequest {
        peer: path.dest.clone(),
        kind: "udp".to_owned(),
        local: path.laddr.clone(),
        remote: path.raddr.clone(),
        port: Some(PORT),
        baud: None,
        rank: path.priority,
        ..v1::PathRequest::default()
    };
    let name = format!("{}:{}/{}", path.dest, path.laddr, path.raddr);
    match command {
        CommpathCommand::Create(_) => {
            println!("Performing commpath '{name}' create...");
            client.post::<v1::CommandReply>("/v1/paths/create", &request)?;
            println!("Commpath '{name}' created successful.");
        }
        CommpathCommand::Delete(_) => {
            client.post::<v1::CommandReply>("/v1/paths/delete", &request)?;
        }
    }
    Ok(())
}

fn status(client: &Client, short: bool) -> Done {
    let status: Status = client.get("/v1/status")?;
    print!("{}", if short { short_display(&status) } else { long_display(&status) });
    Ok(())
}

/// A path as LifeKeeper has it.
struct Row {
    machine: String,
    network: &'static str,
    addresses: String,
    state: &'static str,
    priority: String,
}

fn rows(status: &Status) -> Vec<Row> {
    let without_port = |end: &str| match end.parse::<std::net::SocketAddr>() {
        Ok(address) => address.ip().to_string(),
        Err(_) => end.to_owned(),
    };
    let mut paths: Vec<&v1::Path> = status.paths.iter().collect();
    paths.sort_by_key(|path| (path.peer.clone(), path.rank));
    let mut places = std::collections::BTreeMap::<&str, u8>::new();
    paths
        .into_iter()
        .map(|path| {
            let place = places.entry(&path.peer).or_default();
            *place = path.rank.unwrap_or(*place + 1);
            let is_line = path.kind == "serial";
            Row {
                machine: path.peer.clone(),
                network: if is_line { "TTY" } else { "TCP" },
                addresses: match path.kind.as_str() {
                    "udp" => {
                        format!("{}/{}", without_port(&path.local), without_port(&path.remote))
                    }
                    _ => path.local.clone(),
                },
                // A path in trouble still carries heartbeats; they have no third word.
                state: if path.state == PathState::Dead { "DEAD" } else { "ALIVE" },
                priority: if is_line { "--".to_owned() } else { place.to_string() },
            }
        })
        .collect()
}

fn short_display(status: &Status) -> String {
    let here = &status.node.name;
    let mut resources = vec![["LOCAL", "TAG", "ID", "STATE", "PRIO", "PRIMARY"].map(str::to_owned)];
    for service in &status.services {
        let Some(place) = service.nodes.iter().position(|node| node == here) else { continue };
        let state = match service.state {
            ServiceState::Running if service.node.as_ref() == Some(here) => "ISP",
            ServiceState::Failed | ServiceState::BrokenSafe | ServiceState::BrokenUnsafe => "OSF",
            _ => "OSU",
        };
        let primary = service.nodes.first().cloned().unwrap_or_default();
        let name = &service.name;
        let cells = [here, name, name, state, &(place + 1).to_string(), &primary];
        resources.push(cells.map(str::to_owned));
    }
    let mut text = table(&resources);
    let rows = rows(status);
    if !rows.is_empty() {
        let head = ["MACHINE", "NETWORK", "ADDRESSES/DEVICE", "STATE", "PRIO"].map(str::to_owned);
        let lines = rows.into_iter().map(|row| {
            [row.machine, row.network.into(), row.addresses, row.state.into(), row.priority]
        });
        let lines: Vec<[String; 5]> = core::iter::once(head).chain(lines).collect();
        text.push('\n');
        text.push_str(&table(&lines));
    }
    text
}

/// Columns as wide as their longest cell and two blanks; PRIO stands to the right.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            if rows[0][column] == "PRIO" {
                line += &format!("{cell:>width$}  ");
            } else {
                line += &format!("{cell:<width$}  ");
            }
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn long_display(status: &Status) -> String {
    let mut text = String::new();
    for row in rows(status) {
        let (machine, network, addresses) = (row.machine, row.network, row.addresses);
        let kind = if network == "TTY" { "device" } else { "addresses" };
        text += &format!("to machine={machine} type={network} {kind}={addresses}\n");
        text += &format!("    state=\"{}\" priority={}\n", row.state, row.priority);
    }
    text
}
