//! The HTTP server: a thread, a runtime, bounded connections.
//!
//! A connection carries one request. Those who may only look and those who may change things have
//! connections of their own, so that no unprivileged user can keep the administrator out.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Extension;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};

use super::access::{Access, Role};
use super::queue::{Caller, Handle};
use super::routes::{self, Peer};
use super::socket::{self, SocketError};
use crate::config::files::{Key, Root};
use crate::join::server::Joins;

/// Connections at one time, of each role.
const CONNECTIONS_MAX: usize = 32;
/// How long a client may take to send the head of its request.
const TIMEOUT_HEAD: Duration = Duration::from_secs(10);
/// How long a connection that is no event stream may last.
const TIMEOUT_CONNECTION: Duration = Duration::from_secs(120);
/// Bytes of the head of a request.
const HEAD_SIZE_MAX: usize = 16 << 10;

/// What the server needs to know.
pub struct ServerConfig {
    /// Where to listen: `run/mainstay/api.sock`.
    pub socket: PathBuf,
    /// Name of this node.
    pub node: String,
    /// The cluster key, which new nodes get.
    pub key: Key,
    /// Who may change things.
    pub access: Access,
}

impl ServerConfig {
    /// The server of the node below `root`, with the machine's group [`super::access::GROUP`].
    #[must_use]
    pub fn new(root: &Root, node: String, key: Key) -> ServerConfig {
        ServerConfig { socket: root.socket(), node, key, access: Access::of_this_process() }
    }
}

/// A running server; ends when dropped.
#[must_use = "the server ends when this is dropped"]
pub struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    joins: Joins,
    _socket: socket::Bound,
}

/// Starts to listen, and to answer on a thread of its own.
///
/// # Errors
/// When another daemon listens there, or the socket or thread can not be made.
pub fn start(config: ServerConfig, core: Handle) -> Result<Server, SocketError> {
    let (listener, bound) = socket::bind(&config.socket)?;
    let failed = |doing| {
        let path = config.socket.clone();
        move |source| SocketError::Io { doing, path, source }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed("make a runtime for"))?;
    let listener = {
        let _entered = runtime.enter();
        UnixListener::from_std(listener).map_err(failed("wait for"))?
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let joins = Joins::new(core.clone(), config.node, config.key);
    let service = routes::router(core, joins.clone());
    let serving = async move {
        tokio::select! {
            () = accept(listener, config.access, service) => {}
            // Dropped without a word is a stop as well.
            _ = stopped => {}
        }
    };
    let thread = std::thread::Builder::new()
        .name("api".into())
        .spawn(move || runtime.block_on(serving))
        .map_err(|source| SocketError::Io {
            doing: "start a thread for",
            path: config.socket,
            source,
        })?;
    Ok(Server { stop: Some(stop), thread: Some(thread), joins, _socket: bound })
}

impl Server {
    /// The tokens that it has given out.
    #[must_use]
    pub fn joins(&self) -> Joins {
        self.joins.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a panic ends the process");
        }
    }
}

async fn accept(listener: UnixListener, access: Access, router: axum::Router) {
    let lookers = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let changers = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // Out of descriptors, mostly: wait for some to be free instead of spinning.
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        // A client that is gone before we looked needs no answer.
        let Ok((credentials, role)) = access.caller(stream.as_fd()) else { continue };
        let permits = if role == Role::Change { &changers } else { &lookers };
        let Ok(permit) = permits.clone().try_acquire_owned() else {
            turn_away(&stream);
            continue;
        };
        let caller = Caller { user: credentials.user, process: credentials.pid };
        let peer = Peer::new(caller, role);
        let router = router.clone();
        tokio::spawn(async move {
            // Whatever broke between a client and us, the client sees it.
            let _broken = serve(stream, peer, router).await;
            drop(permit);
        });
    }
}

async fn serve(stream: UnixStream, peer: Peer, router: axum::Router) -> io::Result<()> {
    let service = TowerToHyperService::new(router.layer(Extension(peer.clone())));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT_HEAD)
        .max_buf_size(HEAD_SIZE_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    loop {
        match tokio::time::timeout(TIMEOUT_CONNECTION, &mut connection).await {
            Ok(done) => return done.map_err(io::Error::other),
            Err(_elapsed) if peer.is_streaming() => continue,
            Err(_elapsed) => return Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Says that there are too many, without waiting for anything.
fn turn_away(stream: &UnixStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
        content-type: application/json\r\nconnection: close\r\n\r\n\
        {\"code\":\"busy\",\"message\":\"too many clients are connected to the daemon\",\
        \"help\":\"try again in a moment\"}";
    // When not even this can be sent, the closed connection says it.
    let _not_sent = stream.try_write(ANSWER);
}
