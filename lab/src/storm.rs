//! Frames that mean no good, at line rate: what somebody on the same wire can send who has no key.
//!
//! First real frames are captured at a switch, as a mirror port would show them. From these are made
//! ([`frames`]): frames sent again as they were, frames cut short, frames with a bit flipped, and
//! frames whose header is right and whose body is noise. All leave from the stranger's own hardware
//! address: a stranger with another one's would fight with the switch, and not with the daemons.
//!
//! Three ways to send: a *volley* is a counted number of frames, slowly enough that none is lost, for
//! counters that must be exact; a [`Storm`] is as many as this machine can send until it is stopped, or, for a
//! while, as many as a volley and no more.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use crate::client::Client;
use crate::clock;
use crate::lab::Lab;
use crate::line::Chance;
use crate::netlink::RouteSocket;
use crate::spec;
use crate::sys;
use crate::worker;

pub(crate) mod frames;

use frames::Frame;

/// Frames handed to the kernel at once.
const BATCH: usize = 64;
/// Above the daemons' loops: on a real machine frames come by interrupts, which wait for nobody.
/// Without this a small machine would send only as fast as the daemons take.
const PRIORITY: i32 = 60;
/// Of a volley; with the pause behind each some 8,000 frames per second.
const VOLLEY_BATCH: usize = 16;
const VOLLEY_PAUSE: Duration = Duration::from_millis(2);

/// What is sent on one network.
pub(crate) struct Ammunition {
    pub(crate) network: u8,
    pub(crate) frames: Vec<Frame>,
}

/// How hard a storm blows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    /// As much as the machine can send, until it is stopped.
    Full,
    /// As a volley, and for so long: the daemons of a small machine have time for other things.
    Gentle(Duration),
}

/// A storm that blows until it is stopped or dropped.
pub(crate) struct Storm {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    /// Whether it comes before the daemons' loops.
    hurried: Arc<AtomicBool>,
    started: Duration,
    worker: Option<JoinHandle<Result<()>>>,
}

/// What a storm was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strength {
    pub(crate) sent: u64,
    pub(crate) length: Duration,
    /// Whether it came before the daemons' loops.
    pub(crate) hurried: bool,
}

impl Strength {
    pub(crate) fn per_second(&self) -> u64 {
        let milliseconds = (self.length.as_millis() as u64).max(1);
        self.sent * 1000 / milliseconds
    }
}

struct Gun {
    socket: OwnedFd,
    frames: Vec<Frame>,
    next: usize,
}

impl Storm {
    /// Starts one from the stranger, on all these networks in turn.
    pub(crate) fn start(lab: &Lab, ammunition: Vec<Ammunition>, force: Force) -> Result<Self> {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut guns = guns(lab, ammunition)?;
        let (is_over, counter) = (Arc::clone(&stop), Arc::clone(&sent));
        let hurried = Arc::new(AtomicBool::new(false));
        let is_first = Arc::clone(&hurried);
        let mut chance = Chance(seed()?);
        let namespace = lab.stranger().namespace_handle()?;
        let started = clock::now();
        let worker = std::thread::Builder::new()
            .name("storm".to_owned())
            .spawn(move || {
                Client::enter_namespace(&namespace)?;
                let mut volley = |batch: usize| {
                    guns.iter_mut().try_for_each(|gun| {
                        let count = gun.fire(batch, &mut chance)?;
                        counter.fetch_add(count as u64, Ordering::Relaxed);
                        anyhow::Ok(())
                    })
                };
                if let Force::Gentle(length) = force {
                    let is_blowing = || clock::now() - started < length;
                    // Once at least, however soon it is ended.
                    loop {
                        volley(VOLLEY_BATCH)?;
                        clock::pause(VOLLEY_PAUSE);
                        if !is_blowing() || is_over.load(Ordering::Relaxed) {
                            return Ok(());
                        }
                    }
                }
                is_first.store(sys::hurry(PRIORITY).is_ok(), Ordering::Relaxed);
                while !is_over.load(Ordering::Relaxed) {
                    volley(BATCH)?;
                }
                Ok(())
            })
            .context("starting the storm")?;
        Ok(Self { stop, sent, hurried, started, worker: Some(worker) })
    }

    /// Ends it; how strong it was.
    pub(crate) fn end(mut self) -> Result<Strength> {
        let length = clock::now() - self.started;
        self.join()?;
        let sent = self.sent.load(Ordering::Relaxed);
        Ok(Strength { sent, length, hurried: self.hurried.load(Ordering::Relaxed) })
    }

    fn join(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        worker::joined(&mut self.worker)
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        // `end` reports; one that is merely dropped has nobody to report to.
        let _ = self.join();
    }
}

/// Datagrams of noise for the daemons' port of these nodes, short and long.
pub(crate) fn noise(lab: &Lab, network: u8, targets: &[String], chance: &mut Chance) -> Ammunition {
    let all = lab.node_names();
    let numbers = (1..).zip(&all).filter(|(_, name)| targets.contains(name));
    let frames = numbers.flat_map(|(node, _)| [18, 200, 1_400].map(|length| (node, length)));
    let frames = frames.map(|(node, length)| frames::noise(network, node, length, chance));
    Ammunition { network, frames: frames.collect() }
}

/// Sends so many frames from the stranger, in turn, slowly enough that nobody loses one.
pub(crate) fn volley(lab: &Lab, ammunition: Ammunition, count: usize) -> Result<()> {
    let mut guns = guns(lab, vec![ammunition])?;
    let mut chance = Chance(seed()?);
    let gun = &mut guns[0];
    let mut left = count;
    while left > 0 {
        left -= gun.fire(VOLLEY_BATCH.min(left), &mut chance)?;
        clock::pause(VOLLEY_PAUSE);
    }
    Ok(())
}

fn guns(lab: &Lab, ammunition: Vec<Ammunition>) -> Result<Vec<Gun>> {
    let stranger = lab.stranger().namespace();
    let open = |Ammunition { network, frames }: Ammunition| {
        let name = spec::network_name(network);
        let socket = stranger.run(|| {
            let (index, _) = RouteSocket::open()?.interface(&name)?;
            sys::bind_raw(index, false).context("opening a socket for whole frames")
        })?;
        anyhow::ensure!(!frames.is_empty(), "nothing to send on {name}");
        Ok(Gun { socket, frames, next: 0 })
    };
    ammunition.into_iter().map(open).collect()
}

fn seed() -> Result<u64> {
    let mut seed = [0; 8];
    rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(seed) | 1)
}

impl Gun {
    /// Sends some frames; how many the kernel took.
    fn fire(&mut self, count: usize, chance: &mut Chance) -> Result<usize> {
        let (first, length) = (self.next, self.frames.len());
        for at in first..first + count {
            self.frames[at % length].freshen(chance);
        }
        let parts: Vec<[IoSlice<'_>; 1]> = (first..first + count)
            .map(|at| [IoSlice::new(self.frames[at % length].bytes())])
            .collect();
        let mut nothing: Vec<SendAncillaryBuffer<'_, '_, '_>> =
            parts.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let mut messages: Vec<MMsgHdr<'_>> =
            parts.iter().zip(&mut nothing).map(|(part, none)| MMsgHdr::new(part, none)).collect();
        let sent = match sendmmsg(&self.socket, &mut messages, SendFlags::empty()) {
            Ok(sent) => sent,
            // The wire is full: that is line rate.
            Err(Errno::NOBUFS | Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => bail!("sending a storm: {error}"),
        };
        self.next = (first + sent) % length;
        Ok(sent)
    }
}
