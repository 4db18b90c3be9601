//! A client for the daemon on this machine: one request, one answer, over its unix socket.
//!
//! It looks synchronous; a small runtime on the caller's thread does the waiting. Each request has
//! a connection of its own, so that nothing of a broken one is left for the next.
//!
//! **What can go wrong is three different things for a person**, and [`ClientError`] keeps them
//! apart: the daemon was not reached (and what to do about it), it refused (its own words), or it
//! answered something that is not this API.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::v1;

/// How long to wait for the answer to a question.
pub const TIMEOUT_QUESTION: Duration = Duration::from_secs(10);
/// How long to wait for a command to be ordered: longer than any view change of preset `classic`.
pub const TIMEOUT_COMMAND: Duration = Duration::from_secs(60);
/// The largest answer that is accepted.
pub const ANSWER_SIZE_MAX: usize = 16 << 20;
/// Bytes of a path that the kernel takes as a socket's address (`sun_path` without its zero).
const ADDRESS_SIZE_MAX: usize = 107;
/// The longest line of an event stream that is accepted.
const EVENT_SIZE_MAX: usize = 64 << 10;

/// Talks to one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The daemon was not reached: nothing was done.
    #[error("the daemon is not reachable: {why}")]
    Unreachable {
        /// The socket that was tried.
        socket: PathBuf,
        /// Why, in words.
        why: String,
        /// What to do.
        help: String,
    },
    /// The daemon was reached and did not answer in time. Whether a command was done is not known.
    #[error("the daemon took the request and gave no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The daemon refused.
    #[error("{0}")]
    Refused(v1::Error),
    /// What answered does not speak this API.
    #[error("the answer on {socket} makes no sense: {why}")]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with the answer.
        why: String,
    },
}

impl Client {
    /// A client of the daemon that listens on `socket`; nothing is opened yet.
    #[must_use]
    pub fn new(socket: impl Into<PathBuf>) -> Client {
        Client { socket: socket.into() }
    }

    /// The socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// `GET /v1/status`
    ///
    /// # Errors
    /// See [`ClientError`]; the same for all other requests.
    pub fn status(&self) -> Result<v1::Status, ClientError> {
        self.get("/v1/status")
    }

    /// Asks for `path` (with its query) and reads the answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let answer = self.exchange(Method::GET, path, Bytes::new(), TIMEOUT_QUESTION)?;
        self.parse(&answer)
    }

    /// Sends a command and reads the answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).expect("types of this API can be written as JSON");
        let answer = self.exchange(Method::POST, path, body.into(), TIMEOUT_COMMAND)?;
        self.parse(&answer)
    }

    /// Hands each event after number `after` to `on_event`, as they come, until that breaks off or
    /// the daemon ends the stream.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn follow(
        &self,
        after: Option<u64>,
        mut on_event: impl FnMut(v1::Event) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let path = match after {
            Some(after) => format!("/v1/events?after={after}"),
            None => "/v1/events".to_owned(),
        };
        self.runtime().block_on(async {
            let request = self.request(Method::GET, &path, Bytes::new());
            let response = tokio::time::timeout(TIMEOUT_QUESTION, self.send(request))
                .await
                .map_err(|_| ClientError::Silent(TIMEOUT_QUESTION))??;
            let (status, mut body) = (response.status(), response.into_body());
            if status != StatusCode::OK {
                return Err(self.refusal(status, &self.collect(body).await?));
            }
            let mut lines = Lines::default();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.broken(&error))?;
                let Some(bytes) = frame.data_ref() else { continue };
                lines.push(bytes);
                while let Some(line) = lines.next() {
                    let Some(data) = line.strip_prefix("data:") else { continue };
                    let event =
                        serde_json::from_str(data.trim()).map_err(|error| self.broken(&error))?;
                    if on_event(event).is_break() {
                        return Ok(());
                    }
                }
                if lines.pending.len() > EVENT_SIZE_MAX {
                    return Err(self.broken(&"a line without end"));
                }
            }
            Ok(())
        })
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<Bytes, ClientError> {
        self.runtime().block_on(async {
            let answer = async {
                let response = self.send(self.request(method, path, body)).await?;
                let status = response.status();
                let answer = self.collect(response.into_body()).await?;
                if status == StatusCode::OK {
                    Ok(answer)
                } else {
                    Err(self.refusal(status, &answer))
                }
            };
            tokio::time::timeout(limit, answer).await.unwrap_or(Err(ClientError::Silent(limit)))
        })
    }

    fn runtime(&self) -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a process that may open no file can do nothing for its user")
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "mainstay")
            .header("content-type", "application/json")
            .header("connection", "close")
            .body(Full::new(body))
            .expect("paths are built by this program and escaped")
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        let stream = self.connect().await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(&error))?;
        // Ends with the runtime, which lives for this one exchange.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(|error| self.broken(&error))
    }

    /// A path that is too long for a socket's address is reached through its directory's
    /// descriptor.
    async fn connect(&self) -> io::Result<UnixStream> {
        if self.socket.as_os_str().len() <= ADDRESS_SIZE_MAX {
            return UnixStream::connect(&self.socket).await;
        }
        let (Some(directory), Some(name)) = (self.socket.parent(), self.socket.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let directory = std::fs::File::open(directory)?;
        let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        UnixStream::connect(short).await
    }

    async fn collect(&self, body: Incoming) -> Result<Bytes, ClientError> {
        let body = Limited::new(body, ANSWER_SIZE_MAX).collect().await;
        Ok(body.map_err(|error| self.broken(&error))?.to_bytes())
    }

    fn parse<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(answer).map_err(|error| self.broken(&error))
    }

    fn refusal(&self, status: StatusCode, answer: &[u8]) -> ClientError {
        match serde_json::from_slice(answer) {
            Ok(error) => ClientError::Refused(error),
            Err(_) => self.broken(&format!("HTTP status {status} without a reason")),
        }
    }

    fn broken(&self, why: &dyn std::fmt::Display) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), why: why.to_string() }
    }

    fn unreachable(&self, error: &io::Error) -> ClientError {
        let socket = self.socket.display();
        let (why, help) = match error.kind() {
            io::ErrorKind::NotFound => (
                format!("there is no {socket}"),
                "no daemon runs under this root: start it with `mainstay run`, or name another \
                 root with --root"
                    .to_owned(),
            ),
            io::ErrorKind::PermissionDenied => (
                format!("this user may not open {socket}"),
                "run as root or as a member of the group mainstay, or have the directory opened \
                 for others"
                    .to_owned(),
            ),
            io::ErrorKind::ConnectionRefused => (
                format!("nobody listens on {socket}"),
                "the daemon that made the socket is gone: look at its last messages and start it \
                 again with `mainstay run`"
                    .to_owned(),
            ),
            io::ErrorKind::WouldBlock => (
                format!("too many wait for {socket}"),
                "the daemon is overloaded or stopped: look whether its process is in state T or D"
                    .to_owned(),
            ),
            _ => (format!("{socket}: {error}"), "check the path given with --root".to_owned()),
        };
        ClientError::Unreachable { socket: self.socket.clone(), why, help }
    }
}

/// Cuts a stream of bytes into lines.
#[derive(Default)]
struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<String> {
        let end = self.pending.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.pending.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }
}

/// Writes a name so that it can stand in a path or query: all but letters, digits and `-_.~` as
/// `%XX` (RFC 3986, section 2.1).
#[must_use]
pub fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
