//! A register in etcd as an arbiter: the memory of an acceptor under one key, compared and swapped.
//!
//! etcd's v3 interface as JSON over HTTP or HTTPS (its gRPC gateway: `/v3/kv/range`, `/v3/kv/txn`,
//! `/v3/auth/authenticate`; bytes are base64). One question is a read that etcd confirms with its
//! majority (reads are linearizable unless asked otherwise), then `group::Acceptor`, then a
//! transaction that writes only if the key still has the revision that was read:
//!
//! ```text
//!  range key ─► value, mod_revision ─► Acceptor::handle ─► txn: mod_revision equal ? put : nothing
//!       ▲                                                        │
//!       └──────────────── somebody else was faster ◄─────────────┘
//! ```
//!
//! What etcd acknowledged is on the disks of its majority, so it is durable before the answer. A
//! transaction whose acknowledgement is lost may have taken place; asking again is the same request
//! again. A key that was there and is gone is an arbiter that has forgotten: it is not asked.

pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use group::{Acceptor, Reply, Request};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::{Arbiter, Asker};
use crate::config::tie;
use crate::join::base64;

/// Swaps that somebody else was faster at, in one question.
const SWAPS_MAX: usize = 16;
/// Bytes of an answer: one memory in base64, and what etcd adds.
const ANSWER_SIZE_MAX: usize = 256 << 10;
/// Bytes of a password.
const PASSWORD_SIZE_MAX: usize = 4 << 10;
/// The least time for a connection: a lost SYN is sent again after a second.
const CONNECT_MIN: Duration = Duration::from_secs(1);

/// A register, as one node asks it.
pub(super) struct Etcd {
    spec: tie::Etcd,
    /// In base64.
    key: String,
    budget: Duration,
    runtime: Runtime,
    token: Option<String>,
    /// The endpoint that answered last.
    endpoint: usize,
    /// The key was there.
    was_there: bool,
}

/// What is under the key.
struct Register {
    memory: Acceptor,
    /// 0 when there is none.
    revision: u64,
}

impl Etcd {
    pub(super) fn new(spec: tie::Etcd, asker: &Asker) -> io::Result<Etcd> {
        let key = format!("/mainstay/{}/tie-breaker", asker.cluster);
        Ok(Etcd {
            spec,
            key: base64::encode_standard(key.as_bytes()),
            budget: asker.budget,
            runtime: Builder::new_current_thread().enable_all().build()?,
            token: None,
            endpoint: 0,
            was_there: false,
        })
    }

    fn read(&mut self) -> io::Result<Register> {
        let answer = self.call("/v3/kv/range", &json!({ "key": self.key }))?;
        let Some(found) = answer["kvs"].get(0) else {
            if self.was_there {
                return Err(wrong("its register was there and is gone: it has forgotten"));
            }
            return Ok(Register { memory: Acceptor::default(), revision: 0 });
        };
        let value = found["value"].as_str().and_then(base64::decode);
        let memory = value.and_then(|value| base::codec::decode(&value).ok());
        // Protocol buffers write numbers of 64 bits as text in JSON.
        let revision = found["mod_revision"].as_str().and_then(|text| text.parse().ok());
        match (memory, revision) {
            (Some(memory), Some(revision)) => {
                self.was_there = true;
                Ok(Register { memory, revision })
            }
            _ => Err(wrong("what stands in its register is not of this program")),
        }
    }

    /// Writes if the revision is still this one; false when it is not.
    fn swap(&mut self, register: &Register) -> io::Result<bool> {
        let value = base64::encode_standard(&base::codec::encode(&register.memory));
        let swap = json!({
            "compare": [{
                "key": self.key,
                "target": "MOD",
                "result": "EQUAL",
                "mod_revision": register.revision.to_string(),
            }],
            "success": [{ "request_put": { "key": self.key, "value": value } }],
        });
        let answer = self.call("/v3/kv/txn", &swap)?;
        let swapped = answer["succeeded"].as_bool().unwrap_or(false);
        self.was_there |= swapped;
        Ok(swapped)
    }

    /// One call, with a fresh token if the one at hand counts no more.
    fn call(&mut self, path: &str, body: &Value) -> io::Result<Value> {
        if self.spec.login.is_some() && self.token.is_none() {
            self.authenticate()?;
        }
        match self.post(path, body) {
            Err(Refusal::Token) if self.spec.login.is_some() => {
                self.authenticate()?;
                self.post(path, body).map_err(io::Error::from)
            }
            other => other.map_err(io::Error::from),
        }
    }

    fn authenticate(&mut self) -> io::Result<()> {
        let Some((user, file)) = self.spec.login.clone() else { return Ok(()) };
        self.token = None;
        let password = read_password(&file)?;
        let login = json!({ "name": user, "password": password });
        let answer = self.post("/v3/auth/authenticate", &login)?;
        self.token = answer["token"].as_str().map(str::to_owned);
        self.token.as_ref().map(drop).ok_or_else(|| wrong("it gives no token for this user"))
    }

    /// Asks the endpoints one after the other, beginning with the one that answered last.
    fn post(&mut self, path: &str, body: &Value) -> Result<Value, Refusal> {
        let count = self.spec.endpoints.len();
        let mut failed = None;
        for step in 0..count {
            let place = (self.endpoint + step) % count;
            let endpoint = &self.spec.endpoints[place];
            let limit = self.budget.max(CONNECT_MIN);
            let one = exchange(endpoint, limit, &self.spec.tls, path, body, self.token.as_deref());
            let answer = self.runtime.block_on(async {
                timeout(limit, one).await.unwrap_or_else(|_| {
                    let why = format!("no answer within {} ms", limit.as_millis());
                    Err(Refusal::Failed(io::Error::new(io::ErrorKind::TimedOut, why)))
                })
            });
            match answer {
                Err(Refusal::Failed(error)) => failed = Some(error),
                answered => {
                    self.endpoint = place;
                    return answered;
                }
            }
        }
        Err(Refusal::Failed(failed.expect("there is an endpoint")))
    }
}

impl Arbiter for Etcd {
    fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        for _ in 0..SWAPS_MAX {
            let mut register = self.read()?;
            let before = register.memory.clone();
            let reply = register.memory.handle(request);
            if register.memory == before || self.swap(&register)? {
                return Ok(reply);
            }
        }
        Err(wrong("others change its register all the time"))
    }

    /// Writes what is there: reading alone would not show that it takes no writes.
    fn probe(&mut self) -> io::Result<()> {
        let register = self.read()?;
        // Somebody who was faster has shown it as well.
        self.swap(&register).map(drop)
    }
}

enum Refusal {
    /// The token counts no more.
    Token,
    Failed(io::Error),
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> io::Error {
        match refusal {
            Refusal::Token => wrong("it wants a user and a password"),
            Refusal::Failed(error) => error,
        }
    }
}

/// To the first of these addresses that takes a connection; each has its share of the time, so that one
/// that does not answer does not use up that of the next.
async fn connect(addresses: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let share = limit / addresses.len().max(1) as u32;
    let mut failed = wrong("it has no address");
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => {
                let why = format!("{address} takes no connection within {} ms", share.as_millis());
                failed = io::Error::new(io::ErrorKind::TimedOut, why);
            }
        }
    }
    Err(failed)
}

async fn exchange(
    endpoint: &str,
    limit: Duration,
    tls: &tls::Files,
    path: &str,
    body: &Value,
    token: Option<&str>,
) -> Result<Value, Refusal> {
    let (scheme, authority) = endpoint.split_once("://").expect("the configuration was checked");
    let addresses = lookup_host(authority).await.map_err(Refusal::Failed)?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    let stream = connect(&addresses, limit).await.map_err(Refusal::Failed)?;
    if scheme == "https" {
        let stream = tls.wrap(stream, authority).await.map_err(Refusal::Failed)?;
        return converse(stream, authority, path, body, token).await;
    }
    converse(stream, authority, path, body, token).await
}

async fn converse<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    authority: &str,
    path: &str,
    body: &Value,
    token: Option<&str>,
) -> Result<Value, Refusal> {
    let other = |error: &dyn std::error::Error| Refusal::Failed(io::Error::other(words(error)));
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| other(&error))?;
    let driver = tokio::spawn(connection);
    let mut request = hyper::Request::post(path)
        .header("host", authority)
        .header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let request = request.body(body.to_string()).map_err(|error| other(&error))?;
    let answer = sender.send_request(request).await.map_err(|error| other(&error))?;
    let status = answer.status();
    let bytes = to_bytes(Body::new(answer.into_body()), ANSWER_SIZE_MAX).await;
    driver.abort();
    let bytes = bytes.map_err(|error| other(&error))?;
    let answer: Value = serde_json::from_slice(&bytes).map_err(|error| other(&error))?;
    if status.is_success() {
        return Ok(answer);
    }
    let said = answer["message"].as_str().or(answer["error"].as_str()).unwrap_or("no reason given");
    let said: String = said.chars().take(200).collect();
    // Code 16 of gRPC is "unauthenticated"; before etcd 3.5 a token that has expired has no more
    // than its sentence.
    if answer["code"] == 16 || said.contains("invalid auth token") {
        return Err(Refusal::Token);
    }
    Err(Refusal::Failed(io::Error::other(format!("it refuses ({status}): {said}"))))
}

/// An error with what is behind it: the outer ones of a connection say little.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn read_password(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let say = |error: io::Error| {
        io::Error::new(error.kind(), format!("can not read {}: {error}", path.display()))
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(say)?;
    file.take(PASSWORD_SIZE_MAX as u64).read_to_string(&mut text).map_err(say)?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;
