//! Somebody who only listens on a wire: when each address was announced, and how long a machine was silent.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::client::frames;
use crate::clock;
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::spec;
use crate::worker;

/// Between two looks at whether to go on.
const LOOK: Duration = Duration::from_millis(20);

/// What to listen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    /// Gratuitous ARP: sender = target (RFC 5227, section 3).
    Announcements,
    /// Anything in IPv4.
    Packets,
}

/// A frame that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The machine whose card sent it.
    pub from: String,
    /// The address that it announces.
    pub address: Option<Ipv4Addr>,
    /// When it came (time since boot).
    pub at: Duration,
}

/// A running listener; it goes on until it is dropped.
pub struct Listener {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<Result<()>>>,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Vec<Heard>>,
    stop: AtomicBool,
}

impl Lab {
    /// Listens with the observer's card in a network.
    ///
    /// # Errors
    /// When the kernel refuses a socket.
    pub fn listen_outside(&self, network: u8, sound: Sound) -> Result<Listener> {
        Listener::start(self.observer().namespace(), network, sound)
    }

    /// Listens with a node's card in a network.
    ///
    /// # Errors
    /// When the node has no power, or the kernel refuses a socket.
    pub fn listen_on(&mut self, node: &str, network: u8, sound: Sound) -> Result<Listener> {
        Listener::start(&self.machine(node)?.namespace, network, sound)
    }
}

impl Listener {
    fn start(namespace: &Namespace, network: u8, sound: Sound) -> Result<Self> {
        let protocol = match sound {
            Sound::Announcements => frames::ETHERTYPE_ARP,
            Sound::Packets => frames::ETHERTYPE_IPV4,
        };
        let card = spec::network_name(network);
        let (socket, _) = namespace.run(|| frames::open(&card, protocol))?;
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        let worker = std::thread::Builder::new()
            .name("listener".to_owned())
            .spawn(move || listen(&ours, &socket, sound))
            .context("starting to listen")?;
        Ok(Self { shared, worker: Some(worker) })
    }

    /// Everything that was heard so far, in its order.
    ///
    /// # Errors
    /// When it has ended by itself, why.
    pub fn heard(&mut self) -> Result<Vec<Heard>> {
        if self.worker.as_ref().is_some_and(JoinHandle::is_finished) {
            worker::joined(&mut self.worker)?;
        }
        Ok(lock(&self.shared).clone())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // `heard` reports; nobody asks any more.
        let _ = worker::joined(&mut self.worker);
    }
}

fn listen(shared: &Shared, socket: &OwnedFd, sound: Sound) -> Result<()> {
    while !shared.stop.load(Ordering::Acquire) {
        let mut waits = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
        match poll(&mut waits, Some(&clock::timespec(LOOK))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for frames"),
        }
        let mut heard = lock(shared);
        frames::receive_all(socket, |bytes, hardware, at| {
            let (from, address) = match sound {
                Sound::Packets => (hardware, None),
                Sound::Announcements => match frames::announced(bytes) {
                    Some((from, address)) => (from, Some(address)),
                    None => return,
                },
            };
            heard.push(Heard { from: spec::hardware_owner(from), address, at });
        })
        .context("receiving frames")?;
    }
    Ok(())
}

fn lock(shared: &Shared) -> MutexGuard<'_, Vec<Heard>> {
    // Whoever panicked with the lock in hand has left a list of whole frames.
    shared.heard.lock().unwrap_or_else(PoisonError::into_inner)
}
