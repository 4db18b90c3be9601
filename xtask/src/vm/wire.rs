//! The networks between the machines: switches in a thread of ours, and an outsider at one of them.
//!
//! QEMU hands over each frame of a card through a socket, with its length in front (`-netdev
//! stream`). So no bridge, no tap and no privilege is needed, and the harness sees every frame. A
//! port of a switch is a listening socket; a machine that is switched on connects to it. A switch
//! learns who is behind which port, as any does (IEEE 802.1D, 7.8), and drops what a port does not
//! take, so a machine that stands still stops nobody else.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Hardware, clock};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::outsider::{Outsider, Seen};

/// The longest frame: what virtio-net hands over without offloads is below it.
const FRAME_MAX: usize = 70_000;
/// What waits for a machine that does not take it.
const QUEUE_MAX: usize = 1 << 20;
/// A turn without frames.
const TURN: Duration = Duration::from_millis(10);
const EVERYBODY: u8 = 1;

/// The switches, while the thread runs.
pub(crate) struct Wires {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<Result<()>>>,
}

struct Shared {
    outsider: Mutex<Outsider>,
    stop: AtomicBool,
}

/// Where a machine's card is plugged in.
struct Port {
    network: u8,
    listener: UnixListener,
    cable: Option<Cable>,
}

/// A connected card.
struct Cable {
    stream: UnixStream,
    come: Vec<u8>,
    queue: VecDeque<u8>,
}

/// The socket that a machine's card is plugged into.
#[must_use]
pub(crate) fn socket(directory: &Path, machine: &str, card: usize) -> PathBuf {
    directory.join(format!("{machine}.wire{card}"))
}

impl Wires {
    /// Makes a port for each card of each machine, in the network that `cards` names; the outsider
    /// is in network 0.
    ///
    /// # Errors
    /// When a socket cannot be made.
    pub(crate) fn lay(
        directory: &Path,
        machines: &[String],
        cards: &[u8],
        outsider: Outsider,
    ) -> Result<Self> {
        let mut ports = Vec::new();
        for (card, network) in cards.iter().copied().enumerate() {
            for machine in machines {
                let path = socket(directory, machine, card);
                let listener = UnixListener::bind(&path)
                    .with_context(|| format!("listen at {}", path.display()))?;
                listener.set_nonblocking(true)?;
                ports.push(Port { network, listener, cable: None });
            }
        }
        let stop = AtomicBool::new(false);
        let shared = Arc::new(Shared { outsider: Mutex::new(outsider), stop });
        let ours = Arc::clone(&shared);
        let worker = std::thread::Builder::new().name("wires".to_owned());
        let worker = worker.spawn(move || Switches { ports, stations: BTreeMap::new() }.run(&ours));
        Ok(Self { shared, worker: Some(worker.context("start the switches")?) })
    }

    /// What the outsider has seen so far.
    ///
    /// # Errors
    /// When the switches have ended, why.
    pub(crate) fn seen(&mut self) -> Result<Seen> {
        if self.worker.as_ref().is_none_or(JoinHandle::is_finished) {
            self.join()?;
        }
        Ok(lock(&self.shared).seen().clone())
    }

    fn join(&mut self) -> Result<()> {
        let worker = self.worker.take().context("the switches have ended")?;
        worker.join().map_err(|_| anyhow::anyhow!("the switches' thread panicked"))?
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if self.worker.is_some() {
            // What it failed with was said by `seen`.
            let _ = self.join();
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Outsider> {
    shared.outsider.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Switches {
    ports: Vec<Port>,
    /// Network and station, and the port that it was last heard at.
    stations: BTreeMap<(u8, Hardware), usize>,
}

impl Switches {
    fn run(mut self, shared: &Shared) -> Result<()> {
        while !shared.stop.load(Ordering::Acquire) {
            self.wait()?;
            self.plug_in()?;
            let mut outsider = lock(shared);
            for port in 0..self.ports.len() {
                for frame in self.ports[port].receive()? {
                    let network = self.ports[port].network;
                    if network == 0
                        && let Some(reply) = outsider.hear(&frame, clock::now())
                    {
                        self.forward(network, None, &reply);
                    }
                    self.forward(network, Some(port), &frame);
                }
            }
            for frame in outsider.ask(clock::now()) {
                self.forward(0, None, &frame);
            }
            drop(outsider);
            for port in &mut self.ports {
                port.flush();
            }
        }
        Ok(())
    }

    /// Until there is something to do, or the outsider's turn.
    fn wait(&self) -> Result<()> {
        let mut entries = Vec::new();
        for port in &self.ports {
            match &port.cable {
                Some(cable) => {
                    let blocked = !cable.queue.is_empty();
                    let flags =
                        if blocked { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
                    entries.push(PollFd::from_borrowed_fd(cable.stream.as_fd(), flags));
                }
                None => {
                    entries.push(PollFd::from_borrowed_fd(port.listener.as_fd(), PollFlags::IN))
                }
            }
        }
        let turn = Timespec { tv_sec: 0, tv_nsec: i64::from(TURN.subsec_nanos()) };
        match poll(&mut entries, Some(&turn)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("wait for frames"),
        }
    }

    fn plug_in(&mut self) -> Result<()> {
        for port in self.ports.iter_mut().filter(|port| port.cable.is_none()) {
            match port.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    let queue = VecDeque::new();
                    port.cable = Some(Cable { stream, come: Vec::new(), queue });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("take a cable"),
            }
        }
        Ok(())
    }

    /// To the port of its station, or to all but the one that it came from.
    fn forward(&mut self, network: u8, from: Option<usize>, frame: &[u8]) {
        let Some((to, sender)) = stations(frame) else { return };
        if let Some(from) = from {
            self.stations.insert((network, sender), from);
        }
        let known = match to[0] & EVERYBODY {
            0 => self.stations.get(&(network, to)).copied(),
            _ => None,
        };
        for (at, port) in self.ports.iter_mut().enumerate() {
            let is_meant = known.is_none_or(|known| known == at);
            if port.network == network && is_meant && from != Some(at) {
                port.send(frame);
            }
        }
    }
}

/// Receiver and sender of a frame.
fn stations(frame: &[u8]) -> Option<(Hardware, Hardware)> {
    let to = frame.first_chunk()?;
    let from = frame.get(6..)?.first_chunk()?;
    Some((*to, *from))
}

impl Port {
    /// All whole frames that have come.
    fn receive(&mut self) -> Result<Vec<Vec<u8>>> {
        let Some(cable) = &mut self.cable else { return Ok(Vec::new()) };
        let mut buffer = [0; 65_536];
        let mut is_out = false;
        match cable.stream.read(&mut buffer) {
            Ok(0) => is_out = true,
            Ok(length) => cable.come.extend(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The machine's power was cut.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => is_out = true,
            Err(error) => return Err(error).context("receive a frame"),
        }
        let frames = frames(&mut cable.come)?;
        if is_out {
            self.cable = None;
        }
        Ok(frames)
    }

    fn send(&mut self, frame: &[u8]) {
        let Some(cable) = &mut self.cable else { return };
        if cable.queue.len() + frame.len() <= QUEUE_MAX {
            let length = u32::try_from(frame.len()).expect("a frame is short");
            cable.queue.extend(length.to_be_bytes());
            cable.queue.extend(frame);
        }
    }

    fn flush(&mut self) {
        let Some(cable) = &mut self.cable else { return };
        while !cable.queue.is_empty() {
            match cable.stream.write(cable.queue.as_slices().0) {
                Ok(length) => drop(cable.queue.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Its power was cut: what was for it is lost.
                Err(_) => {
                    self.cable = None;
                    return;
                }
            }
        }
    }
}

/// Takes the whole frames out of what came.
fn frames(come: &mut Vec<u8>) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    let mut used = 0;
    while let Some((length, rest)) = come[used..].split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        ensure!(length <= FRAME_MAX, "QEMU sends a frame of {length} bytes");
        let Some(frame) = rest.get(..length) else { break };
        found.push(frame.to_vec());
        used += 4 + length;
    }
    come.drain(..used);
    Ok(found)
}

#[cfg(test)]
mod tests;
