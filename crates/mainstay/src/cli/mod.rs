//! The command line: reads arguments, asks the daemon, prints, and says with its exit code how
//! things are.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | all is well; the command was carried out |
//! | 1 | degraded; the command was refused; `config check` and `config apply` found an error |
//! | 2 | a service is down, or this node is in no primary view |
//! | 3 | the daemon is not reachable |
//! | 64 | the command line makes no sense; `run` has no usable configuration |
//!
//! Whoever reads our output may stop reading: a closed pipe ends the program quietly.

mod act;
mod arguments;
mod ask;
mod discover;
mod disk;
mod documents;
mod fence;
mod lab;
mod look;
mod network;
mod output;
mod reservation;
mod run;
mod setup;
mod watchdog;
mod witness;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use api::client::{Client, ClientError};
use api::v1;
use clap::Parser;
use clap::error::ErrorKind;
use serde::Serialize;

pub use arguments::Arguments;
use arguments::Command;
use output::{Closed, Output};

use crate::config::files::{FileError, Root};
use crate::faces;

/// Degraded, refused, not usable.
pub const EXIT_DEGRADED: u8 = 1;
/// A service is down, or there is no primary view.
pub const EXIT_DOWN: u8 = 2;
/// The daemon is not reachable.
pub const EXIT_UNREACHABLE: u8 = 3;
/// The command line makes no sense, or there is no usable configuration to run with (EX_USAGE of
/// sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// The environment that the command line looks at, read once.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `MAINSTAY_ROOT`: stands for `--root`.
    pub root: Option<OsString>,
    /// `MAINSTAY_LAB`: directory with a root for each node of a lab; `--node` says which.
    pub lab: Option<OsString>,
    /// `NO_COLOR`: no colour, whatever its value (no-color.org).
    pub no_colour: bool,
}

impl Environment {
    /// This process's.
    #[must_use]
    pub fn of_this_process() -> Environment {
        Environment {
            root: std::env::var_os("MAINSTAY_ROOT").filter(|root| !root.is_empty()),
            lab: std::env::var_os("MAINSTAY_LAB").filter(|lab| !lab.is_empty()),
            no_colour: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
        }
    }
}

/// Why a command was not carried out.
#[derive(Debug)]
enum Failure {
    /// The daemon was not reached, or refused.
    Client(ClientError),
    /// Anything else, with what to do about it.
    Other { message: String, help: Option<String>, exit: u8 },
    /// The reader of our output is gone.
    Closed,
}

impl Failure {
    fn other(message: impl Into<String>) -> Failure {
        Failure::Other { message: message.into(), help: None, exit: EXIT_DEGRADED }
    }

    fn usage(message: impl Into<String>, help: impl Into<String>) -> Failure {
        Failure::Other { message: message.into(), help: Some(help.into()), exit: EXIT_USAGE }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Client(error)
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        Failure::Other { message: error.message, help: Some(error.help), exit: EXIT_DEGRADED }
    }
}

impl From<Closed> for Failure {
    fn from(_: Closed) -> Failure {
        Failure::Closed
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::other(format!("{error:#}"))
    }
}

type Done = Result<u8, Failure>;

/// What all commands work with.
struct Context {
    /// Where this node's files are; None until it is known which node of a lab is meant.
    root: Result<Root, String>,
    output: Output,
}

impl Context {
    fn root(&self) -> Result<&Root, Failure> {
        self.root.as_ref().map_err(|message| {
            Failure::usage(message.clone(), "name one of them: mainstay --node NAME …")
        })
    }

    fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.root()?.socket()))
    }
}

/// The whole program: carries out the command line and gives its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let environment = Environment::of_this_process();
    if let Some((face, words)) = faces::called() {
        let root = environment.root.clone().unwrap_or_else(|| "/".into());
        return face.run(&Root::new(root), &words);
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let context = Context {
        root: root(&arguments, &environment),
        output: Output::of_this_process(arguments.json, environment.no_colour),
    };
    match dispatch(&context, arguments.command) {
        Ok(code) => code,
        Err(failure) => report(&context.output, failure),
    }
}

/// Help and version are answers, not mistakes; clap would end with 2 for the rest.
fn usage(error: &clap::Error) -> ExitCode {
    // When nobody reads it there is nobody to tell.
    let _closed = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(EXIT_USAGE),
    }
}

/// Which root is meant: `--root`, else `--node` in the lab, else `MAINSTAY_ROOT`, else `/`.
fn root(arguments: &Arguments, environment: &Environment) -> Result<Root, String> {
    if let Some(root) = &arguments.root {
        return Ok(Root::new(root));
    }
    match (&environment.lab, &arguments.node) {
        (Some(lab), Some(node)) => {
            let root = PathBuf::from(lab).join(node);
            if root.is_dir() {
                return Ok(Root::new(root));
            }
            Err(format!("the lab has no node {node}: there are {}", lab_nodes(lab)))
        }
        (Some(lab), None) if environment.root.is_none() => {
            Err(format!("this is a lab with several nodes: {}", lab_nodes(lab)))
        }
        (None, Some(node)) => Err(format!(
            "--node {node} works in the shell of `mainstay lab shell`, where MAINSTAY_LAB is set"
        )),
        _ => Ok(Root::new(environment.root.clone().unwrap_or_else(|| "/".into()))),
    }
}

fn lab_nodes(lab: &OsString) -> String {
    let entries = std::fs::read_dir(lab).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| Root::new(entry.path()).configuration().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    if names.is_empty() { "none yet".into() } else { names.join(", ") }
}

fn dispatch(context: &Context, command: Command) -> Result<ExitCode, Failure> {
    let code = match command {
        Command::Run => return run::run(context),
        Command::Daemon(options) => return run::daemon(context, &options),
        Command::AskStorage { word, path, numbers } => {
            let code = crate::daemon::writers::question::main(&word, &path, &numbers);
            return Ok(ExitCode::from(u8::try_from(code).expect("a small number")));
        }
        Command::Init(options) => setup::init(context, &options),
        Command::Discover(options) => discover::discover(context, &options),
        Command::Join(options) => setup::join(context, &options),
        Command::Token(options) => act::token(context, &options),
        Command::Status => look::status(context),
        Command::Membership => look::membership(context),
        Command::Seed(options) => act::seed(context, &options),
        Command::Leave(options) => act::leave(context, &options),
        Command::Service { command } => act::service(context, command),
        Command::Node { command } => act::node(context, command),
        Command::Config { command } => act::config(context, command),
        Command::Path { command } => act::path(context, command),
        Command::Network { command } => network::network(context, command),
        Command::Disk { command } => disk::disk(context, &command),
        Command::Witness { command } => witness::witness(context, &command),
        Command::Fence { command } => fence::fence(context, command),
        Command::Watchdog { command } => watchdog::watchdog(context, command),
        Command::Reservation { command } => reservation::reservation(context, command),
        Command::Risks => look::risks(context),
        Command::Gate => look::gate(context),
        Command::Bound => look::bound(context),
        Command::Why(options) => look::why(context, &options),
        Command::Events(options) => look::events(context, &options),
        Command::History(options) => look::history(context, &options),
        Command::Lab { command } => lab::lab(context, command),
        Command::Face { name, words } => {
            let Some(face) = faces::Face::named(&name) else {
                return Err(Failure::usage(
                    format!("there is no face {name}"),
                    format!("there are: {}", faces::names().join(", ")),
                ));
            };
            return Ok(face.run(context.root()?, &words));
        }
        Command::Faces { link } => documents::faces(context, link.as_deref()),
        Command::Completions { shell } => documents::completions(context, shell),
        Command::Man { directory } => documents::man(context, directory.as_deref()),
    };
    code.map(ExitCode::from)
}

/// A failure as `--json` shows it.
#[derive(Serialize)]
struct FailureReport<'a> {
    schema: u32,
    error: FailureText<'a>,
}

#[derive(Serialize)]
struct FailureText<'a> {
    code: &'a str,
    message: &'a str,
    help: Option<&'a str>,
}

fn report(output: &Output, failure: Failure) -> ExitCode {
    let (code, message, help, exit) = match failure {
        Failure::Closed => return ExitCode::SUCCESS,
        Failure::Other { message, help, exit } => ("failed".to_owned(), message, help, exit),
        Failure::Client(error) => {
            let message = error.to_string();
            match error {
                ClientError::Unreachable { help, .. } => {
                    ("unreachable".to_owned(), message, Some(help), EXIT_UNREACHABLE)
                }
                ClientError::Silent(_) => (
                    "silent".to_owned(),
                    message,
                    Some("whether it was done is not known: look at `mainstay status`".into()),
                    EXIT_UNREACHABLE,
                ),
                ClientError::Broken { .. } => (
                    "broken".to_owned(),
                    message,
                    Some("program and daemon may be of different versions".into()),
                    EXIT_UNREACHABLE,
                ),
                ClientError::Refused(error) => {
                    let exit = match error.code {
                        v1::ErrorCode::NotPrimary => EXIT_DOWN,
                        _ => EXIT_DEGRADED,
                    };
                    (code_name(error.code), error.message, error.help, exit)
                }
            }
        }
    };
    if output.is_json() {
        let error = FailureText { code: &code, message: &message, help: help.as_deref() };
        // A reader who is gone misses this, too.
        let _closed = output.json(&FailureReport { schema: v1::SCHEMA, error });
    } else {
        output.complain(&message, help.as_deref());
    }
    ExitCode::from(exit)
}

/// The name that the JSON has.
fn code_name(code: v1::ErrorCode) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("error codes are words: {other:?}"),
    }
}

#[cfg(test)]
mod tests;
