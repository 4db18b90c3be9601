//! Talking to a daemon as any client would: HTTP/1.1 over its unix socket, with the least of both.
//!
//! The lab knows of the answer only what every version must have (schema 1), so that it can be run
//! against a newer or older program.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How long a daemon may take for a look: a stopped one accepts and never answers.
const LOOK: Duration = Duration::from_secs(2);
/// How long it may take for a command, which the cluster must order first.
const COMMAND: Duration = Duration::from_secs(30);
/// Longest answer.
const ANSWER_MAX: u64 = 16 << 20;

/// What a node says of the cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// `ok`, `degraded`, `down` or `no-view`.
    pub verdict: String,
    /// The node that says it.
    pub node: StatusNode,
    /// The agreed membership.
    pub view: View,
    /// The configured nodes.
    #[serde(default)]
    pub nodes: Vec<NodeStatus>,
    /// Ways to the others.
    #[serde(default)]
    pub paths: Vec<PathStatus>,
    /// The services.
    #[serde(default)]
    pub services: Vec<ServiceStatus>,
    /// What an operator should know.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// What was counted since the daemon began; only what is not zero.
    #[serde(default)]
    pub counters: Vec<Counter>,
}

/// Something that an operator should know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Warning {
    /// `tie-breaker`, `gateway`, …
    pub code: String,
}

/// Something that was counted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Counter {
    /// `wrong_key`, …
    pub name: String,
    /// How often.
    pub value: u64,
    /// What it means.
    #[serde(default)]
    pub text: String,
}

impl Status {
    /// A counter; zero when it is not named.
    pub fn count(&self, name: &str) -> u64 {
        self.counters.iter().find(|counter| counter.name == name).map_or(0, |found| found.value)
    }
}

/// The node that answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusNode {
    /// Its name.
    pub name: String,
    /// `member`, `joining`, `unseeded`, …
    pub state: String,
    /// Which start of the daemon this is.
    pub incarnation: u64,
    /// What closes its service addresses when nothing of it can: `kernel`, `nftables` or `none`.
    #[serde(default)]
    pub gate: String,
}

impl StatusNode {
    /// Whether the kernel closes its service addresses by itself; a program that says nothing of it has no
    /// gate.
    pub(crate) fn is_gated(&self) -> bool {
        !matches!(self.gate.as_str(), "" | "none")
    }
}

/// An agreed membership.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct View {
    /// Grows with every view.
    pub generation: u64,
    /// Who orders messages.
    pub hub: Option<String>,
    /// Names of the members.
    pub members: Vec<String>,
    /// For what the node waits.
    pub waiting: Option<String>,
}

/// One of the configured nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// False on standby.
    #[serde(default)]
    pub online: bool,
}

/// One way to a peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PathStatus {
    /// To whom.
    pub peer: String,
    /// Over which network.
    pub network: String,
    /// `udp`, `ethernet`, `disk` or `serial`.
    #[serde(default)]
    pub kind: String,
    /// `alive`, `trouble` or `dead`.
    pub state: String,
    /// `not heard` or `not hearing us`, when one direction fails.
    #[serde(default)]
    pub direction: Option<String>,
}

/// One service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// `running`, `stopped`, …
    pub state: String,
    /// Where it runs.
    pub node: Option<String>,
    /// Nodes that it may not run on, and why.
    #[serde(default)]
    pub blocked: BTreeMap<String, String>,
}

/// `GET /v1/status` of the daemon below a root directory.
///
/// # Errors
/// When there is no daemon, it does not answer in time, or its answer makes no sense.
pub fn status(root: &Path) -> Result<Status> {
    let body = exchange(root, "GET", "/v1/status", "", LOOK)?;
    serde_json::from_slice(&body).context("the status is not of schema 1")
}

/// Version and text of the configuration in force, as a node knows it.
///
/// # Errors
/// As [`status`].
pub fn configuration(root: &Path) -> Result<(u64, String)> {
    #[derive(Deserialize)]
    struct Configuration {
        version: u64,
        text: String,
    }
    let body = exchange(root, "GET", "/v1/config", "", LOOK)?;
    let found: Configuration =
        serde_json::from_slice(&body).context("the configuration is not of schema 1")?;
    Ok((found.version, found.text))
}

/// What the lease gate of a node lets through and until when, as the node prints it, in one line.
///
/// # Errors
/// As [`status`].
pub fn gate(root: &Path) -> Result<String> {
    let body = exchange(root, "GET", "/v1/gate", "", LOOK)?;
    let gate: Value = serde_json::from_slice(&body).context("the gate is not of schema 1")?;
    Ok(gate.to_string())
}

/// F as a node prints it: when a lost node's services may start elsewhere.
///
/// # Errors
/// As [`status`].
pub fn fence_wait(root: &Path) -> Result<Duration> {
    let body = exchange(root, "GET", "/v1/bound", "", LOOK)?;
    let bound: Value = serde_json::from_slice(&body).context("the bounds are not of schema 1")?;
    let millis = bound["timing"]["fence_wait_ms"].as_u64();
    millis
        .map(Duration::from_millis)
        .context("the bounds do not say when a node's services are free")
}

/// How long a change of view with a tie-breaker may take, as a node prints it.
///
/// # Errors
/// As [`status`].
pub fn tie_change(root: &Path) -> Result<Duration> {
    let body = exchange(root, "GET", "/v1/bound", "", LOOK)?;
    let bound: Value = serde_json::from_slice(&body).context("the bounds are not of schema 1")?;
    let millis = |name: &str| bound["timing"][name].as_u64();
    let parts = [millis("path_timeout_ms"), millis("collect_ms"), millis("tie_budget_ms")];
    let [Some(noticed), Some(promises), Some(budget)] = parts else {
        bail!("the bounds do not say how long a change takes")
    };
    Ok(Duration::from_millis(noticed + promises + 2 * budget))
}

/// `GET` of anything.
///
/// # Errors
/// As [`status`].
pub(crate) fn get(root: &Path, path: &str) -> Result<Value> {
    let body = exchange(root, "GET", path, "", LOOK)?;
    serde_json::from_slice(&body).with_context(|| format!("the answer to {path} is not JSON"))
}

/// `POST` with a JSON body.
///
/// # Errors
/// As [`status`]; or what the daemon says when it refuses.
pub fn command(root: &Path, path: &str, body: &Value) -> Result<Value> {
    let answer = exchange(root, "POST", path, &body.to_string(), COMMAND)?;
    serde_json::from_slice(&answer).context("the daemon's answer is not JSON")
}

fn exchange(
    root: &Path,
    method: &str,
    path: &str,
    body: &str,
    patience: Duration,
) -> Result<Vec<u8>> {
    let socket = root.join("run/mainstay/api.sock");
    let shown = socket.display();
    let mut stream =
        UnixStream::connect(&socket).with_context(|| format!("no daemon listens at {shown}"))?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: mainstay\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).context("asking the daemon")?;
    let mut answer = Vec::new();
    stream
        .take(ANSWER_MAX)
        .read_to_end(&mut answer)
        .with_context(|| format!("the daemon at {shown} did not answer {method} {path}"))?;
    let (code, body) = split(&answer)?;
    if code == 200 {
        return Ok(body.to_vec());
    }
    bail!("{method} {path}: {code} {}", String::from_utf8_lossy(body).trim())
}

/// Status code and body of an answer whose end is the end of the connection (RFC 9112, section 6.3).
fn split(answer: &[u8]) -> Result<(u16, &[u8])> {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
    let end = end.context("the daemon's answer is cut short")?;
    let head = str::from_utf8(&answer[..end]).context("the daemon's answer is no HTTP")?;
    let body = &answer[end + 4..];
    let mut lines = head.split("\r\n");
    let code = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if name.eq_ignore_ascii_case("content-length") {
            let length: usize = value.trim().parse().context("a length that is no number")?;
            ensure!(length == body.len(), "{} of {length} bytes came", body.len());
        }
        ensure!(
            !name.eq_ignore_ascii_case("transfer-encoding"),
            "the daemon answers in chunks, which this reader does not know"
        );
    }
    Ok((code.context("the daemon's answer is no HTTP/1.1")?, body))
}

#[cfg(test)]
mod tests;
