//! LLT's `lltconfig` and `lltstat` (VERITAS Cluster Server): links over raw Ethernet that both ends
//! describe in a file of their own, `/etc/llttab`.
//!
//! Sources: the manual pages of lltconfig and llthosts, the installation guides' listings of
//! `lltstat`, and a guide whose files are tests (`tab/tests.rs`, `tests/llt.rs`). Files are looked for
//! below the root, so several nodes can be tried on one machine.
//!
//! A link of LLT's is a link here ([`crate::config::own`]): its place in llttab is its number on the
//! wire. `lltconfig -c` makes the configuration from llttab and llthosts where there is none, and
//! starts the node. Times belong to the cluster and not to a node, so they are read once.

mod config;
mod hosts;
mod listen;
mod picture;
mod start;
mod stat;
mod tab;

use std::process::ExitCode;

use api::client::{Client, ClientError};

use crate::config::files::{FileError, Root};

/// It does not run, or something was refused.
const EXIT_FAILED: u8 = 1;
/// Wrong usage.
const EXIT_USAGE: u8 = 2;

/// Why a command was not carried out.
#[derive(Debug)]
enum Failure {
    /// The daemon does not run.
    NotRunning,
    /// The command makes no sense.
    Usage(String),
    /// Anything else: lines for people.
    Refused(String),
}

type Done<T = ()> = Result<T, Failure>;

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Unreachable { .. } => Failure::NotRunning,
            ClientError::Refused(v1) => Failure::refused(v1.message, v1.help.as_deref()),
            other => Failure::Refused(other.to_string()),
        }
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        Failure::refused(error.message, Some(&error.help))
    }
}

impl Failure {
    fn refused(message: impl Into<String>, help: Option<&str>) -> Failure {
        let help = help.map_or(String::new(), |help| format!("\n  {help}"));
        Failure::Refused(message.into() + &help)
    }
}

/// `lltconfig`
pub(super) fn lltconfig(root: &Root, words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    end("lltconfig", config::main(root, &words))
}

/// `lltstat`
pub(super) fn lltstat(root: &Root, words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    end("lltstat", stat::main(root, &Client::new(root.socket()), &words))
}

fn end(name: &str, done: Done) -> ExitCode {
    let code = match done {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::NotRunning) => {
            println!("LLT is not running");
            EXIT_FAILED
        }
        Err(Failure::Usage(said)) => {
            eprintln!("{name}: {said}");
            EXIT_USAGE
        }
        Err(Failure::Refused(said)) => {
            eprintln!("{name}: {said}");
            EXIT_FAILED
        }
    };
    ExitCode::from(code)
}
