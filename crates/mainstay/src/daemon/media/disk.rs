//! Frames over a shared disk, on a thread of its own: an operation on a disk may take for ever.
//!
//! The thread opens the device, checks that it was made for this cluster, and then writes what the
//! loop gives it and looks at its own column of runs from time to time; more often while messages
//! come and go. An operation that hangs shows in the status by its age; the loop never waits.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

use base::{Incarnation, Instant, Medium, NetworkId, NodeId};
use os::block::{Aligned, Device, Health, Operation, Running, State};
use os::{clock, event};
use transport::disk::{HeaderError, Layout, PAIR_BLOCKS, Reader, Writer};

use super::{RETRY_INTERVAL, Spec};
use crate::daemon::Done;

/// Frames on their way to the thread.
const ORDERS_MAX: usize = 256;
/// Between two looks while messages come and go.
const BUSY_LOOK: Duration = Duration::from_millis(10);
/// So many looks without news until the pace is the usual one again.
const BUSY_LOOKS: u32 = 8;

/// The loop's end.
pub(super) struct Disk {
    orders: SyncSender<Order>,
    seen: Arc<Seen>,
}

struct Order {
    to: NodeId,
    frame: Vec<u8>,
}

/// How the device is doing, for the status.
struct Seen {
    running: Running,
    health: Mutex<Health>,
    /// Why it cannot be used at all.
    unusable: Mutex<Option<String>>,
}

/// Frames that came over a shared disk.
pub(in crate::daemon) struct DiskFrames {
    pub(in crate::daemon) network: NetworkId,
    pub(in crate::daemon) frames: Vec<Vec<u8>>,
}

/// The thread's end.
struct Worker {
    network: NetworkId,
    name: String,
    path: PathBuf,
    cluster: u32,
    local: NodeId,
    epoch: Incarnation,
    /// Both ends of the runs, kept when the device is opened again: peers have seen their numbers.
    ends: Option<(Layout, Writer, Reader)>,
    peers: Vec<NodeId>,
    look: Duration,
    orders: Receiver<Order>,
    seen: Arc<Seen>,
    frames: event::Sender<DiskFrames>,
    done: event::Sender<Done>,
}

impl Disk {
    pub(super) fn start(
        network: NetworkId,
        device: &str,
        spec: &Spec,
        (local, epoch): (NodeId, Incarnation),
        peers: Vec<NodeId>,
        (frames, done): (event::Sender<DiskFrames>, event::Sender<Done>),
    ) -> io::Result<Disk> {
        let (orders, receiver) = sync_channel(ORDERS_MAX);
        let interval = spec.timing.interval(Medium::Disk, false);
        let seen = Arc::new(Seen {
            running: Running::new(),
            health: Mutex::new(Health::new(interval)),
            unusable: Mutex::new(None),
        });
        let worker = Worker {
            network,
            name: spec.name.clone(),
            path: Path::new(device).to_owned(),
            cluster: spec.cluster,
            local,
            epoch,
            ends: None,
            peers,
            look: spec.timing.heartbeat_high.min(interval / 2),
            orders: receiver,
            seen: Arc::clone(&seen),
            frames,
            done,
        };
        thread::Builder::new().name("shared-disk".into()).spawn(move || worker.run())?;
        Ok(Disk { orders, seen })
    }

    pub(super) fn send(&mut self, to: NodeId, bytes: &[u8]) {
        // When the disk is that far behind, the frame is lost like any other.
        let _lost = self.orders.try_send(Order { to, frame: bytes.to_vec() });
    }

    /// What is wrong with the device, as a sentence.
    pub(super) fn trouble(&self, now: Instant) -> Option<String> {
        let unusable = self.seen.unusable.lock().unwrap_or_else(PoisonError::into_inner);
        if unusable.is_some() {
            return unusable.clone();
        }
        let health = self.seen.health.lock().unwrap_or_else(PoisonError::into_inner);
        match health.state(self.seen.running.since(now)) {
            State::Good => None,
            state => {
                let why = health.error().map_or(String::new(), |error| format!(": {error}"));
                Some(format!("the disk is {}{why}", state.name()))
            }
        }
    }
}

impl Worker {
    /// Until the loop's end is gone.
    fn run(mut self) {
        loop {
            let why = match self.open() {
                Ok((device, layout)) => {
                    self.note(None);
                    match self.work(&device, layout) {
                        Ok(()) => return,
                        Err(error) => error.to_string(),
                    }
                }
                Err(error) => error.to_string(),
            };
            self.note(Some(why));
            // Orders that come meanwhile are for a disk that is not there.
            let until = clock::boottime() + RETRY_INTERVAL;
            loop {
                let left = until.since(clock::boottime());
                match self.orders.recv_timeout(left) {
                    Ok(_lost) => {}
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        }
    }

    /// Says what changed.
    fn note(&mut self, why: Option<String>) {
        let mut unusable = self.seen.unusable.lock().unwrap_or_else(PoisonError::into_inner);
        if *unusable != why {
            let name = &self.name;
            let said = why.as_ref().map_or_else(
                || format!("network {name} works again"),
                |why| format!("network {name}: {why}"),
            );
            // When the loop is that busy it is said by the status alone.
            let _unsaid = self.done.send(Done::Trouble(said));
            *unusable = why;
        }
    }

    fn open(&self) -> io::Result<(Device, Layout)> {
        let device = self.timed(Operation::Read, || Device::open(&self.path))?;
        let mut block = Aligned::new(1);
        self.timed(Operation::Read, || device.read(0, &mut block))?;
        let refused = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let path = self.path.display();
        let layout = Layout::of_cluster(&block, self.cluster).map_err(|error| {
            let help = match error {
                HeaderError::Blank => format!("`mainstay disk init {path}` prepares it"),
                _ => format!("`mainstay disk show {path}` says what is on it"),
            };
            refused(format!("{path}: {error}; {help}"))
        })?;
        let nodes = self.peers.iter().copied().chain([self.local]);
        if let Some(node) = nodes.filter(|node| !layout.has(*node)).min() {
            return Err(refused(format!(
                "{path} has {} slots and none for node {}: prepare it again with more",
                layout.slots(),
                node.0
            )));
        }
        if device.size_blocks() < layout.size() {
            return Err(refused(format!("{path} is smaller than its header says")));
        }
        Ok((device, layout))
    }

    /// Ends without an error when the loop's end is gone.
    fn work(&mut self, device: &Device, layout: Layout) -> io::Result<()> {
        let (mut writer, mut reader) = match self.ends.take() {
            Some((before, writer, reader)) if before == layout => (writer, reader),
            _ => {
                // Another area: blocks of an earlier writer of ours may be there.
                self.epoch.0 += 1;
                (Writer::new(layout, self.local, self.epoch), Reader::new(layout, self.local))
            }
        };
        let outcome = self.carry(device, layout, &mut writer, &mut reader);
        self.ends = Some((layout, writer, reader));
        outcome
    }

    fn carry(
        &self,
        device: &Device,
        layout: Layout,
        writer: &mut Writer,
        reader: &mut Reader,
    ) -> io::Result<()> {
        let mut block = Aligned::new(1);
        let mut run = Aligned::new(PAIR_BLOCKS as usize);
        let mut frames = Vec::new();
        let mut next_look = clock::boottime();
        let mut quiet_looks = BUSY_LOOKS;
        // Rounds one after the other in which the device took, or gave, nothing.
        let mut failures = [0; 2];
        loop {
            match self.orders.recv_timeout(next_look.since(clock::boottime())) {
                Ok(order) => {
                    for Order { to, frame } in core::iter::once(order).chain(self.orders.try_iter())
                    {
                        let pressing = transport::is_pressing(&frame);
                        if !pressing {
                            quiet_looks = 0;
                        }
                        let _counted = writer.push(to, &frame, pressing);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            let mut written = None;
            while let Some(place) = writer.next_write(&mut block) {
                let one = self.timed(Operation::Write, || device.write(place, &block));
                written = Some(written.unwrap_or(Ok(())).and(one));
            }
            let mut seen = None;
            if clock::boottime() >= next_look {
                for peer in &self.peers {
                    let first = layout.run(*peer, self.local);
                    let read = self.timed(Operation::Read, || device.read(first, &mut run));
                    if read.is_ok() {
                        reader.take(*peer, &run, &mut frames);
                    }
                    seen = Some(seen.unwrap_or(Ok(())).and(read));
                }
                writer.learn(reader);
                let has_data = frames.iter().any(|frame| !transport::is_pressing(frame));
                quiet_looks = if has_data { 0 } else { quiet_looks.saturating_add(1) };
                if !frames.is_empty() {
                    let frames = core::mem::take(&mut frames);
                    // A loop that is that busy loses them; they are sent again.
                    let _lost = self.frames.send(DiskFrames { network: self.network, frames });
                }
                let pace =
                    if quiet_looks < BUSY_LOOKS { BUSY_LOOK.min(self.look) } else { self.look };
                next_look = clock::boottime() + pace;
            }
            for (failures, outcome) in failures.iter_mut().zip([written, seen]) {
                match outcome {
                    None => {}
                    Some(Ok(())) => *failures = 0,
                    Some(Err(error)) => {
                        *failures += 1;
                        if *failures == FAILURES_MAX {
                            // The device may have been replaced under its name.
                            return Err(error);
                        }
                    }
                }
            }
        }
    }

    fn timed<T>(&self, operation: Operation, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let start = clock::boottime();
        self.seen.running.begin(start);
        let result = act();
        self.seen.running.end();
        let took = clock::boottime().since(start);
        let mut health = self.seen.health.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = match &result {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        health.ended(operation, took, &outcome);
        result
    }
}

/// Rounds that fail one after the other until the device is opened anew.
const FAILURES_MAX: u32 = 10;
