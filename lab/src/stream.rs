//! A long connection whose every byte is checked: what a user of a service has open while an address
//! changes its card.
//!
//! Probes tell when an address answers again. A TCP connection tells more: that the kernel behind the
//! address is the same one, that nothing refused or reset the connection meanwhile, and that not a
//! byte was lost, repeated or changed. So the client sends a stream whose content is a function of the
//! place (`content`), a little at a time; the server compares, and answers as many bytes of another such
//! stream as it found right. What comes back right at the client therefore went right both ways.
//!
//! The figure is the longest time in which nothing came back. It is longer than the fault: what was
//! lost is sent again after a timeout of 200 ms at least, twice that the next time (RFC 6298, section
//! 5; the least one is Linux's, tcp(7) does not name it), so the kernel may sleep through the repair.
//!
//! A connection begins with `MLs1` and the seed (8 bytes, big-endian); both streams follow from it.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::clock::{self, milliseconds};
use crate::sys;
use crate::trace::Gap;
use crate::worker;

mod content;
mod server;

use content::Content;
pub(crate) use server::Server;

const MAGIC: &[u8; 4] = b"MLs1";
const HEAD: usize = MAGIC.len() + size_of::<u64>();
/// So much is sent each time, and so often: 200 kB/s each way.
const CHUNK: usize = 1000;
const INTERVAL: Duration = Duration::from_millis(5);
/// A connection is there in this time, or the stream cannot begin.
const CONNECTING: Duration = Duration::from_secs(5);
/// What was sent is back in this time after the last byte, or it is missing: an outage of some
/// seconds may just have doubled the kernel's patience several times.
const FINISHING: Duration = Duration::from_secs(30);
/// Shorter pauses are everyday life of a busy machine.
const GAP_MIN: Duration = Duration::from_millis(25);
/// So many pauses are kept, the longest ones.
const GAPS_MAX: usize = 4096;
/// Read at once.
const BUFFER: usize = 16 * 1024;

/// What a stream has carried so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Carried {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes that came back, each of them the right one; as many as the server found right.
    pub right: u64,
    /// Pauses in what came back.
    pub gaps: Vec<Gap>,
    /// Why it is over, when it is over before its time.
    pub broken: Option<String>,
}

impl Carried {
    /// True when everything that was sent has come back right and nothing ended the connection: to
    /// be asked after [`Stream::finish`].
    pub fn is_exact(&self) -> bool {
        self.broken.is_none() && self.right == self.sent
    }

    /// The longest pause that touches a span (times since boot), milliseconds; zero if none did.
    pub fn longest_between(&self, from: Duration, to: Duration) -> f64 {
        let touches = |gap: &&Gap| {
            let begin = Duration::from_nanos(gap.from);
            begin <= to && begin + Duration::from_secs_f64(gap.milliseconds / 1000.0) >= from
        };
        self.gaps.iter().filter(touches).map(|gap| gap.milliseconds).fold(0.0, f64::max)
    }

    fn note_pause(&mut self, from: Duration, to: Duration) {
        let length = to.saturating_sub(from);
        if length < GAP_MIN {
            return;
        }
        self.gaps.push(Gap { from: from.as_nanos() as u64, milliseconds: milliseconds(length) });
        if self.gaps.len() > GAPS_MAX {
            let shortest = self.gaps.iter().enumerate();
            let shortest =
                shortest.min_by(|(_, a), (_, b)| a.milliseconds.total_cmp(&b.milliseconds));
            let (at, _) = shortest.expect("there are many");
            self.gaps.remove(at);
        }
    }
}

/// A running stream of a client; it goes on until it is finished or dropped.
pub struct Stream {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<Result<()>>>,
}

struct Shared {
    carried: Mutex<Carried>,
    stop: AtomicBool,
}

impl Client {
    /// Connects to a responder's stream port ([`crate::responder::stream_port`]) and begins.
    ///
    /// # Errors
    /// When nobody accepts the connection.
    pub fn stream(&self, address: IpAddr, port: u16) -> Result<Stream> {
        let target = SocketAddr::new(address, port);
        let seed = clock::now().as_nanos() as u64;
        let connection = self.namespace().run(|| {
            let connection = TcpStream::connect_timeout(&target, CONNECTING)?;
            connection.set_nodelay(true)?;
            let mut head = MAGIC.to_vec();
            head.extend(seed.to_be_bytes());
            (&connection).write_all(&head)?;
            connection.set_nonblocking(true)?;
            Ok(connection)
        });
        let connection = connection.with_context(|| format!("connecting to {target}"))?;
        let (carried, stop) = (Mutex::new(Carried::default()), AtomicBool::new(false));
        let shared = Arc::new(Shared { carried, stop });
        let ours = Arc::clone(&shared);
        let worker = std::thread::Builder::new()
            .name("stream".to_owned())
            .spawn(move || Ends::new(connection, seed).work(&ours))
            .context("starting a stream")?;
        Ok(Stream { shared, worker: Some(worker) })
    }
}

impl Stream {
    /// What it has carried so far.
    pub fn carried(&self) -> Carried {
        lock(&self.shared).clone()
    }

    /// Sends nothing more, waits for the rest, and says what was carried.
    ///
    /// # Errors
    /// When the kernel has no polling for us.
    pub fn finish(mut self) -> Result<Carried> {
        self.join()?;
        Ok(self.carried())
    }

    fn join(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Release);
        worker::joined(&mut self.worker)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // `finish` reports; a stream that is merely dropped has nobody to report to.
        let _ = self.join();
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Carried> {
    shared.carried.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The connection with what goes out and what must come in.
struct Ends {
    connection: TcpStream,
    out: Content,
    back: Content,
    heard: Duration,
    finishing: Option<Duration>,
}

impl Ends {
    fn new(connection: TcpStream, seed: u64) -> Self {
        let (out, back) = content::pair(seed);
        Self { connection, out, back, heard: clock::now(), finishing: None }
    }

    /// Sends on time, compares what comes, until told to stop and all is back.
    fn work(&mut self, shared: &Shared) -> Result<()> {
        sys::wake_slack();
        self.heard = clock::now();
        let mut next = self.heard;
        let outcome = loop {
            match self.turn(shared, &mut next) {
                Ok(false) => {}
                outcome => break outcome,
            }
            let limit = if self.finishing.is_some() { INTERVAL } else { INTERVAL / 2 };
            let limit = clock::timespec(limit);
            let mut entries = [PollFd::new(&self.connection, PollFlags::IN)];
            match poll(&mut entries, Some(&limit)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for a stream"),
            }
        };
        let mut carried = lock(shared);
        // The silence at the end counts, too.
        carried.note_pause(self.heard, clock::now());
        carried.broken = outcome.err();
        Ok(())
    }

    /// All that can be done now; true when all is done, or why it is broken.
    fn turn(&mut self, shared: &Shared, next: &mut Duration) -> Result<bool, String> {
        let now = clock::now();
        match self.finishing {
            Some(limit) if now >= limit => {
                return Err(format!("the rest did not come in {} s", FINISHING.as_secs()));
            }
            Some(_) => {}
            None if shared.stop.load(Ordering::Acquire) => {
                self.finishing = Some(now + FINISHING);
                // The server sees the end of the stream after its last byte.
                let ended = self.connection.shutdown(std::net::Shutdown::Write);
                ended.map_err(|error| format!("ending it: {error}"))?;
            }
            None if now >= *next => {
                self.send(shared).map_err(|error| format!("sending: {error}"))?;
                *next = (*next + INTERVAL).max(now.saturating_sub(INTERVAL));
            }
            None => {}
        }
        let at_end = self.receive(shared).map_err(|error| format!("receiving: {error}"))?;
        if at_end && (self.finishing.is_none() || self.back.place() < self.out.place()) {
            return Err("it was closed".to_owned());
        }
        Ok(at_end)
    }

    /// A chunk, or as much of it as the kernel has room for.
    fn send(&mut self, shared: &Shared) -> io::Result<()> {
        let mut bytes = [0; CHUNK];
        self.out.fill(&mut bytes);
        match self.connection.write(&bytes) {
            Ok(length) => {
                self.out.advance(length);
                lock(shared).sent = self.out.place();
                Ok(())
            }
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes all that is there; true at the end of the stream.
    fn receive(&mut self, shared: &Shared) -> io::Result<bool> {
        let mut bytes = [0; BUFFER];
        loop {
            let length = match self.connection.read(&mut bytes) {
                Ok(0) => return Ok(true),
                Ok(length) => length,
                Err(error) if is_passing(&error) => return Ok(false),
                Err(error) => return Err(error),
            };
            let now = clock::now();
            self.back.compare(&bytes[..length])?;
            let mut carried = lock(shared);
            carried.right = self.back.place();
            carried.note_pause(self.heard, now);
            self.heard = now;
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests;
