//! The outside client: it asks the service address every few milliseconds and writes down who
//! answers. It knows nothing of the cluster.
//!
//! Four ways to ask: UDP (the service process answers with its name), TCP (connects and reads the
//! name), ARP or neighbour discovery (whose hardware address answers for the address) and ICMP echo
//! (the kernel answers; the frame's hardware address tells whose).

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::card;
use crate::clock;
use crate::namespace::Namespace;
use crate::netlink::{Hardware, RouteSocket};
use crate::spec;
use crate::sys;
use crate::trace::Trace;
use crate::worker;

pub(crate) mod frames;
mod tcp;
mod udp;
mod version6;

pub(crate) use frames::announce;
pub use frames::checksum;
pub use udp::{Question, Reply};

/// How a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Datagrams to this port; see [`crate::responder`].
    Udp(u16),
    /// Connections to this port.
    Tcp(u16),
    /// ARP requests, or neighbour solicitations, on the network whose subnet has the address: which
    /// machine answers.
    Arp,
    /// The same: on which of its cards.
    Card,
    /// Echo requests of ICMP or ICMPv6.
    Echo,
}

/// A machine outside the cluster.
pub struct Client {
    namespace: Namespace,
    /// Last octet of its addresses.
    host: u8,
}

/// A running probe; it goes on until it is stopped or dropped.
pub struct Probe {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<Result<()>>>,
}

struct Shared {
    trace: Mutex<Trace>,
    stop: AtomicBool,
}

/// One way to ask: what differs between the modes.
trait Asker: Send {
    /// Sends the probe of that number.
    fn send(&mut self, number: u64, now: Duration) -> std::io::Result<()>;
    /// What to wait for.
    fn waits(&self) -> Vec<(BorrowedFd<'_>, PollFlags)>;
    /// Takes all answers that are there; `each` gets number, name, pid and time of receipt.
    fn receive(&mut self, each: &mut dyn FnMut(u64, &str, u32, Duration)) -> std::io::Result<()>;
}

impl Client {
    pub(crate) fn new(namespace: Namespace, host: u8) -> Self {
        Self { namespace, host }
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(crate) fn namespace_mut(&mut self) -> &mut Namespace {
        &mut self.namespace
    }

    /// The namespace, for a thread of its own that enters it.
    pub(crate) fn namespace_handle(&self) -> Result<OwnedFd> {
        self.namespace.as_fd().try_clone_to_owned().context("holding the client's namespace")
    }

    /// Moves the calling thread into it, for good.
    pub(crate) fn enter_namespace(handle: &OwnedFd) -> Result<()> {
        move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))
            .context("entering the client's namespace")
    }

    /// What this machine's kernel has in its neighbour table for an address: the hardware address
    /// to which it sends, if it knows one.
    ///
    /// # Errors
    /// When the machine is not in the network of the address.
    pub fn neighbour(&self, address: IpAddr) -> Result<Option<Hardware>> {
        let interface = spec::network_name(spec::network_of(address));
        self.namespace.run(|| RouteSocket::open()?.neighbour(&interface, address))
    }

    /// For a thread in the client's namespace.
    fn neighbour_asker(&self, address: IpAddr, naming: frames::Naming) -> Result<Box<dyn Asker>> {
        Ok(match address {
            IpAddr::V4(v4) => Box::new(frames::Arp::open(v4, self.host, naming)?),
            IpAddr::V6(v6) => Box::new(version6::Solicit::open(v6, self.host, naming)?),
        })
    }

    /// Starts to probe an address.
    ///
    /// # Errors
    /// When a socket cannot be had, or the mode does not fit the address.
    pub fn probe(&self, address: IpAddr, mode: Mode, interval: Duration) -> Result<Probe> {
        ensure!(interval >= Duration::from_micros(100), "at most 10,000 probes a second");
        let mut asker: Box<dyn Asker> = self.namespace.run(|| {
            Ok(match (mode, address) {
                (Mode::Udp(port), _) => Box::new(udp::Udp::open(address, port)?) as Box<dyn Asker>,
                (Mode::Tcp(port), _) => Box::new(tcp::Tcp::new(address, port)) as Box<dyn Asker>,
                (Mode::Arp, _) => self.neighbour_asker(address, spec::hardware_owner)?,
                (Mode::Card, _) => self.neighbour_asker(address, card::told)?,
                (Mode::Echo, IpAddr::V4(v4)) => Box::new(frames::Echo::open(v4)?) as Box<dyn Asker>,
                (Mode::Echo, IpAddr::V6(v6)) => Box::new(version6::Echo::open(v6)?),
            })
        })?;
        let shared =
            Arc::new(Shared { trace: Mutex::new(Trace::default()), stop: AtomicBool::new(false) });
        let ours = Arc::clone(&shared);
        let namespace = self.namespace_handle()?;
        let worker = std::thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || {
                // TCP opens a socket per probe, so this thread lives in the client.
                Self::enter_namespace(&namespace)?;
                work(&ours, asker.as_mut(), interval)
            })
            .context("starting the probe")?;
        Ok(Probe { shared, worker: Some(worker) })
    }
}

/// Sends on time, receives in between.
fn work(shared: &Shared, asker: &mut dyn Asker, interval: Duration) -> Result<()> {
    sys::wake_slack();
    let mut number = 0;
    let mut next = clock::now();
    while !shared.stop.load(Ordering::Acquire) {
        let now = clock::now();
        if now >= next {
            // The probe is in the trace before it is on the wire: an answer finds it there.
            lock(shared).note_sent(now, true);
            if let Err(error) = asker.send(number, now) {
                note_failure(shared, &error)?;
            }
            number += 1;
            // After a pause of this thread there is no burst: the gap is visible in `sent`.
            next = (next + interval).max(now.saturating_sub(interval));
        }
        let waits = asker.waits();
        let mut entries: Vec<PollFd<'_>> =
            waits.iter().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
        let limit = next.saturating_sub(clock::now()).min(Duration::from_millis(20));
        let limit = clock::timespec(limit);
        match poll(&mut entries, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for answers"),
        }
        drop(entries);
        drop(waits);
        let mut trace = lock(shared);
        asker
            .receive(&mut |number, name, pid, at| {
                trace.note_answer(number, name, pid, at);
            })
            .context("receiving answers")?;
    }
    Ok(())
}

/// What a network does to a client is part of the picture; anything else is our mistake.
fn note_failure(shared: &Shared, error: &std::io::Error) -> Result<()> {
    use std::io::ErrorKind::*;
    let usual = matches!(
        error.kind(),
        NetworkUnreachable | HostUnreachable | NetworkDown | WouldBlock | ConnectionRefused
    ) || error.raw_os_error() == Some(libc::ENOBUFS)
        || error.raw_os_error() == Some(libc::ENXIO);
    ensure!(usual, "sending a probe: {error}");
    lock(shared).unsendable += 1;
    Ok(())
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Trace> {
    shared.trace.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Probe {
    /// What was seen so far.
    ///
    /// # Errors
    /// When the probe has ended by itself, why.
    pub fn trace(&mut self) -> Result<Trace> {
        if self.worker.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join()?;
        }
        Ok(lock(&self.shared).clone())
    }

    /// Who answered last, and when that was received (time since boot).
    ///
    /// # Errors
    /// When the probe has ended by itself, why.
    pub fn last(&mut self) -> Result<Option<(String, Duration)>> {
        if self.worker.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join()?;
        }
        let trace = lock(&self.shared);
        let last = trace.answers.last().map(|answer| answer.received);
        Ok(trace.last_responder().map(str::to_owned).zip(last.map(Duration::from_nanos)))
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it had ended by itself, why.
    pub fn stop(mut self) -> Result<Trace> {
        self.join()?;
        Ok(std::mem::take(&mut *lock(&self.shared)))
    }

    fn join(&mut self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Release);
        worker::joined(&mut self.worker)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // `stop` reports; a probe that is merely dropped has nobody to report to.
        let _ = self.join();
    }
}

/// The kernel's receive stamp on our clock; without one, when we look.
fn received_at(stamp: Option<Duration>) -> Duration {
    stamp.map_or_else(clock::now, clock::of_wall)
}
