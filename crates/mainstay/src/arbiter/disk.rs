//! A shared disk as an arbiter: plays the acceptor on the device, after the rules of
//! `group::disk`, in the blocks of [`block`].
//!
//! The order of one question is the whole of its safety: read the own copies, write the newer state
//! over the older copy and force it out, and only then read all other slots, also those of nodes
//! that are configured no more. Any error is no answer, and the next question begins with opening
//! the device: it may be another one under the same name. What the disk then holds of this node must
//! not be older than what was written in this life; a disk that has forgotten is not asked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use base::NodeId;
use group::disk::{self, Memory};
use group::{Reply, Request};
use os::block::{Aligned, Device};
use transport::disk::{HeaderError, Layout};

use super::block::{self, COPIES, COPY_BLOCKS, FIRST_BLOCK, Run};
use super::{Arbiter, Asker, Turns};

/// A disk, as one node asks it.
pub(super) struct Disk {
    path: Option<PathBuf>,
    cluster: u32,
    local: NodeId,
    device: Option<(Device, Layout)>,
    /// Of the newest write that this life knows to have landed.
    written: u64,
    /// Counts tests of writing.
    tests: u64,
    turns: Turns,
}

impl Disk {
    pub(super) fn new(device: Option<String>, asker: &Asker, turns: Turns) -> Disk {
        let path = device.map(PathBuf::from);
        let (cluster, local) = (asker.cluster, asker.local);
        Disk { path, cluster, local, device: None, written: 0, tests: 0, turns }
    }

    /// Does something with the device, which is opened if it is not open.
    fn with<T>(
        &mut self,
        act: impl FnOnce(&mut Disk, &Device, Layout) -> io::Result<T>,
    ) -> io::Result<T> {
        let path = self.path.clone().ok_or_else(|| {
            io::Error::other("the configuration names no device of this node for it")
        })?;
        let (device, layout) = match self.device.take() {
            Some((device, layout)) if header(&device, &path, self.cluster)? == layout => {
                (device, layout)
            }
            _ => open(&path, self.cluster, self.local)?,
        };
        let turn = self.turns.of(device.identity());
        let turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(self, &device, layout)?;
        drop(turn);
        self.device = Some((device, layout));
        Ok(done)
    }

    fn read(&self, device: &Device, layout: Layout, node: NodeId) -> io::Result<Run> {
        let mut copies = Aligned::new((COPIES * COPY_BLOCKS) as usize);
        device.read(layout.run(node, node) + FIRST_BLOCK, &mut copies)?;
        block::decode(self.cluster, node, &copies).map_err(|block::Damaged| {
            let path = device.path().display();
            invalid(format!("both copies of node {} on {path} are damaged", node.0))
        })
    }

    fn read_own(&self, device: &Device, layout: Layout) -> io::Result<Run> {
        let own = self.read(device, layout, self.local)?;
        if own.sequence < self.written {
            let path = device.path().display();
            return Err(invalid(format!("{path} has forgotten what this node wrote to it")));
        }
        Ok(own)
    }

    fn answer(&mut self, device: &Device, layout: Layout, request: &Request) -> io::Result<Reply> {
        let Run { sequence, mut memory, older } = self.read_own(device, layout)?;
        if let Err(answer) = memory.take(request) {
            return Ok(Reply {
                arbiters: request.arbiters,
                scope: request.scope,
                ballot: request.ballot,
                answer,
            });
        }
        let sequence = sequence + 1;
        let mut copy = Aligned::new(COPY_BLOCKS as usize);
        copy.copy_from_slice(&block::encode(self.cluster, self.local, sequence, &memory));
        let first = layout.run(self.local, self.local) + FIRST_BLOCK + older * COPY_BLOCKS;
        device.write(first, &copy)?;
        device.sync()?;
        self.written = sequence;
        let others = (0..layout.slots()).map(NodeId).filter(|node| *node != self.local);
        let others: Vec<Memory> = others
            .map(|node| Ok(self.read(device, layout, node)?.memory))
            .collect::<io::Result<_>>()?;
        Ok(disk::judge(&memory, others.iter(), request))
    }
}

impl Arbiter for Disk {
    fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        self.with(|disk, device, layout| disk.answer(device, layout, request))
    }

    fn probe(&mut self) -> io::Result<()> {
        self.with(|disk, device, layout| {
            disk.tests += 1;
            disk.read_own(device, layout)?;
            let mut test = Aligned::new(1);
            test.copy_from_slice(&layout.test_block(disk.local, disk.tests));
            device.write(layout.run(disk.local, disk.local), &test)?;
            device.sync()?;
            for node in (0..layout.slots()).map(NodeId) {
                disk.read(device, layout, node)?;
            }
            Ok(())
        })
    }
}

fn open(path: &Path, cluster: u32, local: NodeId) -> io::Result<(Device, Layout)> {
    let device = Device::open(path)?;
    let layout = header(&device, path, cluster)?;
    let shown = path.display();
    if !layout.has(local) {
        let slots = layout.slots();
        return Err(invalid(format!("{shown} has {slots} slots and none for node {}", local.0)));
    }
    if device.size_blocks() < layout.size() {
        return Err(invalid(format!("{shown} is smaller than its header says")));
    }
    Ok((device, layout))
}

fn header(device: &Device, path: &Path, cluster: u32) -> io::Result<Layout> {
    let mut first = Aligned::new(1);
    device.read(0, &mut first)?;
    Layout::of_cluster(&first, cluster).map_err(|error| {
        let path = path.display();
        let help = match error {
            HeaderError::Blank => format!("`mainstay disk init {path}` prepares it"),
            _ => format!("`mainstay disk show {path}` says what is on it"),
        };
        invalid(format!("{path}: {error}; {help}"))
    })
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;
