//! The member's half: makes tokens, and listens while one is outstanding.
//!
//! Runs on the API's thread. What strangers can make it do is bounded: a few connections at a
//! time, each for a limited time, and before the secret is proven nothing but a small message is
//! read and one key agreement computed.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use api::v1;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::plan::{Plan, plan};
use super::seal::{
    ASK_SIZE_MAX, Channel, HELLO_SIZE, LENGTH_SIZE, SealError, TOKEN_ID_SIZE, hello_token,
    reply_unknown, respond, token_id,
};
use super::token::{ADDRESSES_MAX, SECRET_SIZE, Token};
use super::wire::{Ask, AskAnswer};
use crate::config::files::Key;
use crate::config::{self, Cluster};
use crate::serve::{Caller, Handle, Reply, Request};

/// Tokens that are outstanding at one time.
pub const TOKENS_MAX: usize = 32;
/// For how long a token is good unless its maker says otherwise.
pub const LIFETIME_DEFAULT: Duration = Duration::from_secs(600);
/// For how long at most.
pub const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);
const LIFETIME_MIN: Duration = Duration::from_secs(10);

/// Machines that are joining at one time.
const CONNECTIONS_MAX: usize = 8;
/// How long a connection may take until the secret is proven.
const TIMEOUT_PROOF: Duration = Duration::from_secs(10);
/// How long it may take to send the answer.
const TIMEOUT_ANSWER: Duration = Duration::from_secs(10);
/// How often a change is made again because another one came first.
const ATTEMPTS_MAX: usize = 3;

/// Makes tokens and honours them.
#[derive(Clone)]
pub struct Joins {
    shared: Arc<Shared>,
}

struct Shared {
    core: Handle,
    /// Name of this node.
    node: String,
    key: Key,
    tokens: Mutex<BTreeMap<[u8; TOKEN_ID_SIZE], Issued>>,
    /// A token was made or used up: the listeners look whether they are still needed.
    changed: Notify,
    connections: Semaphore,
    /// Held while ports are opened or closed.
    listening: tokio::sync::Mutex<bool>,
}

struct Issued {
    secret: [u8; SECRET_SIZE],
    cluster: u32,
    until: Instant,
    /// Somebody who proved the secret is at work with it.
    busy: bool,
}

impl Joins {
    /// Nothing listens until the first token is made.
    #[must_use]
    pub fn new(core: Handle, node: String, key: Key) -> Joins {
        let shared = Shared {
            core,
            node,
            key,
            tokens: Mutex::new(BTreeMap::new()),
            changed: Notify::new(),
            connections: Semaphore::new(CONNECTIONS_MAX),
            listening: tokio::sync::Mutex::new(false),
        };
        Joins { shared: Arc::new(shared) }
    }

    /// The secrets of the tokens that are outstanding.
    #[must_use]
    pub fn secrets(&self) -> Vec<[u8; SECRET_SIZE]> {
        let tokens = self.shared.tokens();
        let good = tokens.values().filter(|issued| issued.until > now());
        good.map(|issued| issued.secret).collect()
    }

    /// Makes a token. Must run on the API's runtime, since it starts to listen there.
    ///
    /// # Errors
    /// When this node is no member, too many are outstanding, or the port can not be opened.
    pub async fn issue(
        &self,
        request: &v1::TokenRequest,
        caller: Caller,
    ) -> Result<v1::TokenReply, v1::Error> {
        let refused = |message: String| v1::Error::new(v1::ErrorCode::Refused, message);
        let lifetime = request.lifetime_s.map_or(LIFETIME_DEFAULT, Duration::from_secs);
        if !(LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime) {
            let message = format!(
                "a token is good for {} to {} seconds",
                LIFETIME_MIN.as_secs(),
                LIFETIME_MAX.as_secs()
            );
            return Err(v1::Error::new(v1::ErrorCode::BadRequest, message));
        }
        let shared = &self.shared;
        let cluster = shared.cluster(caller).await?;
        let status = match shared.core.request(Request::Status, caller).await? {
            Reply::Status(status) => status,
            other => return Err(unexpected(&other)),
        };
        if !status.view.primary {
            return Err(v1::Error::new(
                v1::ErrorCode::NotPrimary,
                "this node is in no primary view, so it can not add nodes",
            )
            .help("make the token on a member; `mainstay status` says what this node waits for"));
        }
        let id = cluster.node(&shared.node);
        let mut addresses: Vec<SocketAddr> = cluster
            .networks
            .iter()
            .filter_map(|network| network.endpoints.get(&id?))
            // Such an address means nothing without the name of an interface there.
            .filter(|endpoint| !is_link_local(endpoint.address))
            .map(|endpoint| SocketAddr::new(endpoint.address, cluster.port))
            .collect();
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() {
            return Err(refused("this node has no address that a new node could reach".into())
                .help("give it one under [[network]] and apply the configuration"));
        }
        let mut secret = [0; SECRET_SIZE];
        SystemRandom::new()
            .fill(&mut secret)
            .map_err(|_| refused("the kernel gives no random numbers".into()))?;
        self.listen(&addresses).await.map_err(|error| {
            refused(format!("can not listen for the new node: {error}"))
                .help("another program has the TCP port of the cluster: look with `ss -tlnp`")
        })?;
        // Nothing is waited for between this and the token's place among the others: a port is closed only
        // where there is none.
        let token = Token { cluster: cluster.id, addresses: addresses.clone(), secret };
        {
            let mut tokens = shared.tokens();
            tokens.retain(|_, issued| issued.until > now());
            if tokens.len() >= TOKENS_MAX {
                return Err(refused(format!("{TOKENS_MAX} tokens are outstanding"))
                    .help("wait until one has expired"));
            }
            let until = now() + lifetime;
            let issued = Issued { secret, cluster: cluster.id, until, busy: false };
            tokens.insert(token_id(&secret), issued);
        }
        shared.changed.notify_one();
        Ok(v1::TokenReply {
            schema: v1::SCHEMA,
            token: token.text(),
            lifetime_s: lifetime.as_secs(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
        })
    }

    /// Opens the port on all addresses, unless it is open.
    async fn listen(&self, addresses: &[SocketAddr]) -> io::Result<()> {
        let mut listening = self.shared.listening.lock().await;
        if *listening {
            return Ok(());
        }
        let mut listeners = Vec::new();
        let mut failure = None;
        for address in addresses {
            match TcpListener::bind(address).await {
                Ok(listener) => listeners.push(listener),
                Err(error) => {
                    failure = Some(io::Error::new(error.kind(), format!("{address}: {error}")))
                }
            }
        }
        // One address that works is enough: the others may be down just now.
        if listeners.is_empty() {
            return Err(failure.expect("there is at least one address"));
        }
        *listening = true;
        let mut accepting = JoinSet::new();
        for listener in listeners {
            accepting.spawn(accept(Listener(listener), self.shared.clone()));
        }
        let shared = self.shared.clone();
        tokio::spawn(async move {
            loop {
                shared.wait_until_unneeded().await;
                // A token that is asked for now waits until the ports are free.
                let mut listening = shared.listening.lock().await;
                if shared.tokens().is_empty() {
                    accepting.shutdown().await;
                    *listening = false;
                    return;
                }
            }
        });
        Ok(())
    }
}

/// Nobody listens any more when this is dropped, though a child that was just forked has the socket until its
/// own execve(2).
struct Listener(TcpListener);

impl Drop for Listener {
    fn drop(&mut self) {
        // A socket that does not listen is what is wanted.
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

async fn accept(listener: Listener, shared: Arc<Shared>) {
    loop {
        match listener.0.accept().await {
            Ok((stream, peer)) => {
                // One that waits here waits for a place; those behind it wait in the kernel.
                shared.connections.acquire().await.expect("it is never closed").forget();
                let shared = shared.clone();
                tokio::spawn(async move {
                    // A stranger's broken connection is nobody's error here; the new node tells
                    // its user what it saw.
                    let _broken = shared.serve(stream, peer).await;
                    shared.connections.add_permits(1);
                });
            }
            // Out of descriptors, mostly: wait for some to be free instead of spinning.
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

impl Shared {
    fn tokens(&self) -> MutexGuard<'_, BTreeMap<[u8; TOKEN_ID_SIZE], Issued>> {
        self.tokens.lock().expect("no holder panics")
    }

    /// Ends when no token is outstanding and none was made for a while.
    async fn wait_until_unneeded(&self) {
        // The first token is made right after the port was opened.
        tokio::time::sleep(Duration::from_secs(1)).await;
        loop {
            let next = {
                let mut tokens = self.tokens();
                tokens.retain(|_, issued| issued.until > now());
                tokens.values().map(|issued| issued.until).min()
            };
            let Some(next) = next else { return };
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Marks the token as in use by one who proved its secret. False when it is used up, expired
    /// or in use.
    fn begin(&self, id: &[u8; TOKEN_ID_SIZE]) -> bool {
        match self.tokens().get_mut(id) {
            Some(issued) if issued.until > now() && !issued.busy => {
                issued.busy = true;
                true
            }
            _ => false,
        }
    }

    /// After [`Shared::begin`]: the token is used up, or may be tried again.
    fn end(&self, id: &[u8; TOKEN_ID_SIZE], used: bool) {
        let mut tokens = self.tokens();
        if used {
            tokens.remove(id);
        } else if let Some(issued) = tokens.get_mut(id) {
            issued.busy = false;
        }
        drop(tokens);
        self.changed.notify_one();
    }

    async fn serve(&self, mut stream: TcpStream, peer: SocketAddr) -> io::Result<()> {
        let proven = tokio::time::timeout(TIMEOUT_PROOF, self.prove(&mut stream)).await;
        let (id, mut channel, ask) = match proven {
            Ok(Ok(Some(proven))) => proven,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_elapsed) => return Err(io::ErrorKind::TimedOut.into()),
        };
        let answer = if self.begin(&id) {
            let answer = self.answer(&ask, peer).await;
            self.end(&id, matches!(answer, AskAnswer::Accept { .. }));
            answer
        } else {
            AskAnswer::Refuse {
                message: "the token is in use or used up".into(),
                help: Some("make a new one with `mainstay token`".into()),
            }
        };
        let answer = serde_json::to_vec(&answer).expect("it is made of texts");
        let sealed = channel.seal(&answer);
        let sent = async {
            stream.write_all(&sealed).await?;
            stream.shutdown().await
        };
        tokio::time::timeout(TIMEOUT_ANSWER, sent)
            .await
            .unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The handshake up to the first frame that opens. None when it was answered and is over.
    async fn prove(
        &self,
        stream: &mut TcpStream,
    ) -> io::Result<Option<([u8; TOKEN_ID_SIZE], Channel, Ask)>> {
        let broken = |error: SealError| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut hello = [0; HELLO_SIZE];
        stream.read_exact(&mut hello).await?;
        let id = hello_token(&hello).map_err(broken)?;
        let known = {
            let tokens = self.tokens();
            let issued = tokens.get(&id).filter(|issued| issued.until > now());
            issued.map(|issued| (issued.secret, issued.cluster))
        };
        let Some((secret, cluster)) = known else {
            stream.write_all(&reply_unknown()).await?;
            stream.shutdown().await?;
            return Ok(None);
        };
        let (reply, mut channel) = respond(&hello, &secret, cluster).map_err(broken)?;
        stream.write_all(&reply).await?;
        let mut length = [0; LENGTH_SIZE];
        stream.read_exact(&mut length).await?;
        let mut sealed = vec![0; Channel::length(length, ASK_SIZE_MAX).map_err(broken)?];
        stream.read_exact(&mut sealed).await?;
        let ask = channel.open(sealed).map_err(broken)?;
        let ask = serde_json::from_slice(&ask).map_err(|_| broken(SealError::Protocol))?;
        Ok(Some((id, channel, ask)))
    }

    /// Adds the node. The one who asks has proven the secret.
    async fn answer(&self, ask: &Ask, peer: SocketAddr) -> AskAnswer {
        // On behalf of whoever made the token, who was allowed to.
        let caller = Caller { user: 0, process: std::process::id() };
        let refuse = |message: String, help| AskAnswer::Refuse { message, help };
        let mut last = None;
        for _ in 0..ATTEMPTS_MAX {
            let cluster = match self.cluster(caller).await {
                Ok(cluster) => cluster,
                Err(error) => return refuse(error.message, error.help),
            };
            let version = cluster.version;
            let (changed, id) = match plan(&cluster, ask) {
                Ok(Plan::AlreadyThere { id }) => return self.accept(id.0, &cluster),
                Ok(Plan::Change { cluster, id }) => (cluster, id),
                Err(refused) => return refuse(refused.message, refused.help),
            };
            let request = Request::Configure {
                cluster: changed.clone(),
                expected_version: Some(version),
                what: format!("join of {}, from {peer}", ask.node),
                reason: None,
            };
            match self.core.request(request, caller).await {
                Ok(_) => return self.accept(id.0, &changed),
                Err(error) if error.code == v1::ErrorCode::Conflict => last = Some(error),
                Err(error) => return refuse(error.message, error.help),
            }
        }
        let why = last.map_or_else(String::new, |error| format!(": {}", error.message));
        refuse(format!("{peer} could not be added, others change the configuration{why}"), None)
    }

    fn accept(&self, node_id: u8, cluster: &Cluster) -> AskAnswer {
        AskAnswer::Accept {
            node_id,
            key: self.key.text().trim().to_owned(),
            text: cluster.text.clone(),
        }
    }

    /// The configuration in force.
    async fn cluster(&self, caller: Caller) -> Result<Cluster, v1::Error> {
        match self.core.request(Request::Config, caller).await? {
            Reply::Config(shown) => {
                let parsed = config::parse(&shown.text, "cluster.toml", shown.version);
                parsed.map(|(cluster, _)| cluster).map_err(|_| {
                    v1::Error::new(
                        v1::ErrorCode::Conflict,
                        "the configuration in force is not one that this version understands",
                    )
                })
            }
            other => Err(unexpected(&other)),
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(six) if six.is_unicast_link_local())
}

fn unexpected(reply: &Reply) -> v1::Error {
    unreachable!("the loop answers a request with its own reply: {reply:?}")
}

fn now() -> Instant {
    Instant::now()
}
