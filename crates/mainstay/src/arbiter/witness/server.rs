//! The witness itself: takes questions, remembers, answers.
//!
//! A thread for each connection, a bounded number of them and of those from one address, each for a
//! bounded time: whoever can reach the port can keep it busy for seconds, and no longer. What cannot
//! be opened is counted and dropped without a word.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use base::Instant;
use group::{Acceptor, Answer, Request};
use os::clock;
use os::lock::Lock;
use os::persist::Store;

use super::files::{Directory, Entry, Seen};
use super::stream;
use super::wire::{self, Mark, Question, Response};

/// Connections at a time.
const CONNECTIONS_MAX: usize = 256;
/// Connections at a time from one address.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 32;
/// How long one connection may take.
const CONNECTION_TIME: Duration = Duration::from_secs(5);
/// Between two looks for clusters that were added.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two words about what was dropped.
const SAY_INTERVAL: Duration = Duration::from_secs(60);

/// What was dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Frames that are none.
    pub malformed: u64,
    /// Frames of clusters that are not known here.
    pub unknown: u64,
    /// Frames that were not sealed with the key of the cluster that they name.
    pub forged: u64,
    /// Connections beyond the limits, or that ended early.
    pub connections: u64,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dropped { malformed, unknown, forged, connections } = self;
        write!(
            f,
            "{unknown} of unknown clusters, {forged} with a wrong key, {malformed} malformed, \
             {connections} connections"
        )
    }
}

/// A witness with its memory.
pub struct Witness {
    directory: Directory,
    store: Store,
    clusters: Mutex<Clusters>,
    dropped: Mutex<Dropped>,
    _lock: Lock,
}

#[derive(Default)]
struct Clusters {
    by_number: BTreeMap<u32, Arc<Cluster>>,
    looked_at: Option<Instant>,
    /// Why the directory could not be read, so that it is said once.
    trouble: Option<String>,
}

struct Cluster {
    entry: Entry,
    /// Its memory, or why there is none that may be used.
    memory: Mutex<Result<Acceptor, String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Witness {
    /// Takes a directory, which nobody else may serve.
    ///
    /// # Errors
    /// When somebody does, or it cannot be read.
    pub fn open(directory: &Directory) -> Result<Witness> {
        directory.prepare()?;
        let witness = Witness {
            _lock: directory.lock()?,
            directory: directory.clone(),
            store: directory.memories()?,
            clusters: Mutex::default(),
            dropped: Mutex::default(),
        };
        witness.look(&mut locked(&witness.clusters))?;
        Ok(witness)
    }

    /// How many clusters are known.
    #[must_use]
    pub fn clusters(&self) -> usize {
        locked(&self.clusters).by_number.len()
    }

    /// What was dropped.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        *locked(&self.dropped)
    }

    /// Takes in clusters that were added, and forgets those whose key is gone.
    fn look(&self, clusters: &mut Clusters) -> Result<()> {
        clusters.looked_at = Some(clock::boottime());
        let entries = self.directory.entries()?;
        let mut former = std::mem::take(&mut clusters.by_number);
        for entry in entries {
            let known = former.remove(&entry.cluster).filter(|known| known.entry == entry);
            let cluster = known.unwrap_or_else(|| {
                let memory = Mutex::new(self.load(&entry.name));
                Arc::new(Cluster { entry: entry.clone(), memory })
            });
            clusters.by_number.insert(entry.cluster, cluster);
        }
        Ok(())
    }

    /// The newest generation of a memory or none: what was promised after the one before is not
    /// known.
    fn load(&self, name: &str) -> Result<Acceptor, String> {
        let loaded = self.store.read(name).map_err(|error| error.to_string())?;
        let loaded = loaded.ok_or("the memory of this cluster is missing")?;
        match loaded.fallback {
            Some(why) => Err(format!("the memory of this cluster is damaged: {why}")),
            None => base::codec::decode(&loaded.bytes)
                .map_err(|_| "the memory of this cluster is of another release".into()),
        }
    }

    fn cluster(&self, number: u32) -> Option<Arc<Cluster>> {
        let mut clusters = locked(&self.clusters);
        let now = clock::boottime();
        let is_recent = clusters.looked_at.is_some_and(|at| now.since(at) < LOOK_INTERVAL);
        if !clusters.by_number.contains_key(&number) && !is_recent {
            let trouble = self.look(&mut clusters).err().map(|error| format!("{error:#}"));
            if let Some(why) = trouble.as_ref().filter(|_| trouble != clusters.trouble) {
                eprintln!("mainstay witness: clusters that were added are not seen: {why}");
            }
            clusters.trouble = trouble;
        }
        clusters.by_number.get(&number).cloned()
    }

    /// The answer to one frame, if it gets one.
    #[must_use]
    pub fn answer(&self, frame: &[u8], from: IpAddr) -> Option<Vec<u8>> {
        let drop_as = |count: fn(&mut Dropped) -> &mut u64| *count(&mut locked(&self.dropped)) += 1;
        let Ok(number) = wire::cluster_of(frame) else {
            drop_as(|dropped| &mut dropped.malformed);
            return None;
        };
        let Some(cluster) = self.cluster(number) else {
            drop_as(|dropped| &mut dropped.unknown);
            return None;
        };
        let Ok((question, mark)) = cluster.entry.key.open_question(frame) else {
            drop_as(|dropped| &mut dropped.forged);
            return None;
        };
        let response = self.respond(&cluster, &question);
        self.note(&cluster.entry.name, &question, from);
        let mut nonce: Mark = [0; 12];
        clock::random(&mut nonce);
        Some(cluster.entry.key.seal_response(number, &response, mark, nonce))
    }

    fn respond(&self, cluster: &Cluster, question: &Question) -> Response {
        let mut memory = locked(&cluster.memory);
        let acceptor = match &mut *memory {
            Ok(acceptor) => acceptor,
            Err(why) => return Response::Unable(why.clone()),
        };
        let outcome = match &question.request {
            Some(request) => self.handle(&cluster.entry.name, acceptor, request),
            // Written as it is: a disk that takes no writes is found out before it is needed.
            None => self.write(&cluster.entry.name, acceptor).map(|()| Response::Ready),
        };
        outcome.unwrap_or_else(|why| {
            // Which of the two generations a failed write left is not known before a start.
            let after = self.load(&cluster.entry.name);
            eprintln!("mainstay witness: cluster {}: {why}", cluster.entry.name);
            *memory = after;
            Response::Unable(why)
        })
    }

    fn handle(
        &self,
        name: &str,
        acceptor: &mut Acceptor,
        request: &Request,
    ) -> Result<Response, String> {
        let mut after = acceptor.clone();
        let reply = after.handle(request);
        // Written also when nothing changes: it may be the second try after a write that failed.
        if matches!(reply.answer, Answer::Promised(_) | Answer::Accepted) {
            self.write(name, &after)?;
            *acceptor = after;
        }
        Ok(Response::Reply(reply))
    }

    fn write(&self, name: &str, acceptor: &Acceptor) -> Result<(), String> {
        let bytes = base::codec::encode(acceptor);
        self.store.write(name, &bytes).map_err(|error| {
            let source = std::error::Error::source(&error);
            source.map_or(error.to_string(), |source| format!("{error}: {source}"))
        })
    }

    fn note(&self, name: &str, question: &Question, from: IpAddr) {
        let seen = Seen {
            node: question.name.clone(),
            address: from.to_string(),
            at_ms: clock::wall_millis(),
            election: question.request.is_some(),
        };
        if let Err(error) = self.directory.note(name, &seen) {
            eprintln!("mainstay witness: cannot note who asked last: {error}");
        }
    }
}

/// Serves until the process is ended. `listening` is told the address once it is open.
///
/// # Errors
/// When the address cannot be listened on.
pub fn serve(
    witness: Arc<Witness>,
    listen: SocketAddr,
    listening: impl FnOnce(SocketAddr),
) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("listen on {listen}"))?;
    listening(listener.local_addr()?);
    let open: Arc<Mutex<BTreeMap<IpAddr, usize>>> = Arc::default();
    let mut said = (Dropped::default(), clock::boottime());
    loop {
        let taken = listener.accept();
        let now = clock::boottime();
        let dropped = witness.dropped();
        if dropped != said.0 && now.since(said.1) >= SAY_INTERVAL {
            eprintln!("mainstay witness: dropped so far: {dropped}");
            said = (dropped, now);
        }
        match taken {
            Ok((stream, from)) => admit(&witness, &open, stream, from.ip()),
            // The peer was faster; or there are no descriptors, and connections end by themselves.
            Err(error) => {
                locked(&witness.dropped).connections += 1;
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    thread::park_timeout(Duration::from_millis(100));
                }
            }
        }
    }
}

fn admit(
    witness: &Arc<Witness>,
    open: &Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    stream: TcpStream,
    from: IpAddr,
) {
    let mut counts = locked(open);
    let all: usize = counts.values().sum();
    let own = counts.get(&from).copied().unwrap_or(0);
    if all >= CONNECTIONS_MAX || own >= CONNECTIONS_PER_ADDRESS_MAX {
        locked(&witness.dropped).connections += 1;
        return;
    }
    counts.insert(from, own + 1);
    drop(counts);
    let admitted = Admitted { open: Arc::clone(open), from };
    let server = Arc::clone(witness);
    let started = thread::Builder::new().name("question".into()).spawn(move || {
        let admitted = admitted;
        if converse(&server, stream, admitted.from).is_err() {
            locked(&server.dropped).connections += 1;
        }
    });
    if started.is_err() {
        locked(&witness.dropped).connections += 1;
    }
}

/// Counts as open while it lives.
struct Admitted {
    open: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
    from: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = locked(&self.open);
        if let Some(count) = counts.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.from);
            }
        }
    }
}

fn converse(witness: &Witness, mut stream: TcpStream, from: IpAddr) -> io::Result<()> {
    let until = clock::boottime() + CONNECTION_TIME;
    stream.set_nodelay(true)?;
    let frame = stream::read(&mut stream, until)?;
    match witness.answer(&frame, from) {
        Some(answer) => stream::write(&mut stream, &answer, until),
        None => Ok(()),
    }
}
