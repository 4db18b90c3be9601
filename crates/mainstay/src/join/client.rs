//! The new node's half: connects, proves, asks.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::seal::{
    ANSWER_SIZE_MAX, Channel, Initiator, LENGTH_SIZE, REPLY_UNKNOWN_SIZE, SealError, reply_size,
};
use super::token::Token;
use super::wire::{Ask, AskAnswer};

/// How long to wait for a connection to one address.
const TIMEOUT_CONNECT: Duration = Duration::from_secs(5);
/// How long to wait for an answer: the member has the change delivered meanwhile.
const TIMEOUT_ANSWER: Duration = Duration::from_secs(60);

/// What the member hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The member that answered.
    pub member: SocketAddr,
    /// The id that the node was given.
    pub node_id: u8,
    /// The cluster key.
    pub key: crate::config::files::Key,
    /// The configuration.
    pub text: String,
}

/// Why this machine is not a node now, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JoinError {
    /// Why.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// Joins through the first address of the token that a connection can be made to.
///
/// # Errors
/// Why not; nothing was written on this machine.
pub fn join(token: &Token, ask: &Ask) -> Result<Joined, JoinError> {
    let mut tried = Vec::new();
    for address in &token.addresses {
        match TcpStream::connect_timeout(address, TIMEOUT_CONNECT) {
            Ok(stream) => return talk(stream, *address, token, ask),
            Err(error) => tried.push(format!("{address}: {error}")),
        }
    }
    Err(JoinError {
        message: format!("no connection to the member: {}", tried.join("; ")),
        help: Some(
            "check that this machine is in a network of the cluster, that no firewall closes the \
             TCP port, and that the token has not expired (the member listens only so long)"
                .into(),
        ),
    })
}

fn talk(
    mut stream: TcpStream,
    member: SocketAddr,
    token: &Token,
    ask: &Ask,
) -> Result<Joined, JoinError> {
    let answer = exchange(&mut stream, token, ask).map_err(|error| match error {
        Failure::Io(error) => JoinError {
            message: format!("the connection to {member} broke: {error}"),
            help: Some(
                "look at `mainstay config show` on the member: when the node is there, the same \
                 join with a new token finishes it"
                    .into(),
            ),
        },
        Failure::Seal(error) => JoinError {
            message: error.to_string(),
            help: Some("make a new token with `mainstay token` on a member".into()),
        },
    })?;
    match answer {
        AskAnswer::Refuse { message, help } => Err(JoinError { message, help }),
        AskAnswer::Accept { node_id, key, text } => match crate::config::files::Key::parse(&key) {
            Some(key) => Ok(Joined { member, node_id, key, text }),
            None => Err(JoinError {
                message: "the member sent a key that is not one".into(),
                help: None,
            }),
        },
    }
}

enum Failure {
    Io(io::Error),
    Seal(SealError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl From<SealError> for Failure {
    fn from(error: SealError) -> Failure {
        Failure::Seal(error)
    }
}

fn exchange(stream: &mut TcpStream, token: &Token, ask: &Ask) -> Result<AskAnswer, Failure> {
    stream.set_read_timeout(Some(TIMEOUT_ANSWER))?;
    stream.set_write_timeout(Some(TIMEOUT_ANSWER))?;
    let initiator = Initiator::new(token.secret, token.cluster)?;
    stream.write_all(initiator.hello())?;
    let mut start = [0; REPLY_UNKNOWN_SIZE];
    stream.read_exact(&mut start)?;
    let mut reply = vec![0; reply_size(&start)];
    reply[..start.len()].copy_from_slice(&start);
    stream.read_exact(&mut reply[start.len()..])?;
    let mut channel = initiator.finish(&reply)?;
    let ask = serde_json::to_vec(ask).expect("it is made of texts");
    stream.write_all(&channel.seal(&ask))?;
    let mut length = [0; LENGTH_SIZE];
    stream.read_exact(&mut length)?;
    let mut sealed = vec![0; Channel::length(length, ANSWER_SIZE_MAX)?];
    stream.read_exact(&mut sealed)?;
    let answer = channel.open(sealed)?;
    serde_json::from_slice(&answer).map_err(|_| Failure::Seal(SealError::Protocol))
}
