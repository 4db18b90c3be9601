//! Serviceguard's `cmviewcl` and `cmmodnet` (MC/LockManager before it): a cluster at a glance, and network
//! interfaces that are taken for failed.
//!
//! Sources: listings of `cmviewcl` in public files, to the column (`view/tests.rs`), cmviewcl(1m) and (5),
//! cmmodnet(1m), and "Managing Serviceguard" for what `-v` adds. A package is a service here, a LAN an
//! interface. Each node knows its own interfaces only, so `-v` shows those of the answering one.

mod net;
mod view;

use std::process::ExitCode;

use api::client::{Client, ClientError};
use clap::Parser;
use clap::error::ErrorKind;

use crate::config::files::Root;

/// Something was refused, or nobody answers.
const EXIT_FAILED: u8 = 1;

/// Why a command was not carried out.
#[derive(Debug)]
enum Failure {
    /// The daemon says so, or does not answer.
    Client(ClientError),
    /// A sentence.
    Refused(String),
}

type Done = Result<(), Failure>;

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::Client(error)
    }
}

pub(super) fn cmviewcl(root: &Root, words: &[String]) -> ExitCode {
    run("cmviewcl", root, words, view::view)
}

pub(super) fn cmmodnet(root: &Root, words: &[String]) -> ExitCode {
    run("cmmodnet", root, words, net::modify)
}

/// Reads the words, and says what went wrong as these commands do.
fn run<A: Parser>(
    name: &str,
    root: &Root,
    words: &[String],
    act: fn(&Client, &A) -> Done,
) -> ExitCode {
    let words = core::iter::once(name.to_owned()).chain(words.iter().cloned());
    let arguments = match A::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _closed = error.print();
            let is_help = matches!(error.kind(), ErrorKind::DisplayHelp);
            return ExitCode::from(if is_help { 0 } else { EXIT_FAILED });
        }
    };
    let failure = match act(&Client::new(root.socket()), &arguments) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    match failure {
        Failure::Client(ClientError::Refused(error)) => {
            eprintln!("{name}: {}", error.message);
            if let Some(help) = error.help {
                eprintln!("{name}: {help}");
            }
        }
        Failure::Client(error) => eprintln!("{name}: {error}"),
        Failure::Refused(text) => eprintln!("{name}: {text}"),
    }
    ExitCode::from(EXIT_FAILED)
}
