//! `mainstay disk check`: all that a disk path will do to the device, done once by hand.
//!
//! Writes go to the run of this node's slot to itself, which no peer reads, so a cluster that is
//! running on the device is not disturbed.

use std::io;
use std::path::Path;
use std::time::Duration;

use base::{Medium, NodeId, Preset};
use os::block::{Aligned, Device};
use transport::disk::{BLOCK_SIZE, Layout};

use super::{Failure, described, failed, scan};
use crate::config::Cluster;
use crate::render::{DiskCheck, DiskFinding, DiskLatency, duration, size};

/// Writes, and reads, that are measured.
const OPERATIONS: u64 = 64;

/// Looks at everything; what is bad is a finding, not an error.
pub(super) fn check(path: &Path, cluster: &Cluster, local: NodeId) -> Result<DiskCheck, Failure> {
    let opened = Device::open(path);
    let (device, refused) = match opened {
        Ok(device) => (device, None),
        // Perhaps it can at least be read.
        Err(error) => (Device::open_to_read(path).map_err(failed)?, Some(error)),
    };
    let mut report = DiskCheck {
        schema: api::v1::SCHEMA,
        device: described(&device),
        detection: cluster.preset.name().to_owned(),
        ..DiskCheck::default()
    };
    look(&mut report, &device, refused, cluster, local);
    report.usable = report.findings.iter().all(|finding| finding.good);
    Ok(report)
}

fn look(
    report: &mut DiskCheck,
    device: &Device,
    refused: Option<io::Error>,
    cluster: &Cluster,
    local: NodeId,
) {
    let mut header = Aligned::new(1);
    if let Err(error) = device.read(0, &mut header) {
        return report.add("header", false, error.to_string());
    }
    let layout = match Layout::of_cluster(&header, cluster.id) {
        Ok(layout) => layout,
        Err(error) => {
            let path = device.path().display();
            return report.add(
                "header",
                false,
                format!("{error}; see `mainstay disk show {path}` and `mainstay disk init`"),
            );
        }
    };
    report.add("header", true, format!("cluster {} (id {})", cluster.name, cluster.id));
    let needed = layout.size() * BLOCK_SIZE as u64;
    let is_large = device.size_blocks() >= layout.size();
    let (area, all) = (size(needed), size(report.device.size));
    report.add("size", is_large, format!("the area has {area}, the device {all}"));
    if !is_large {
        return;
    }
    slots(report, layout, cluster);
    blocks(report, device, layout);
    if let Some(error) = refused {
        report.add("write", false, error.to_string());
        return;
    }
    if layout.has(local) {
        match measure(device, layout, local) {
            Ok((read, write)) => {
                let text = format!("{OPERATIONS} of each with direct I/O, and all came back");
                report.add("read and write", true, text);
                (report.read, report.write) = (Some(read), Some(write));
                fit(report, cluster.preset, read.max_us + write.max_us);
            }
            Err(error) => report.add("read and write", false, error.to_string()),
        }
    }
}

impl DiskCheck {
    fn add(&mut self, check: &str, good: bool, text: String) {
        self.findings.push(DiskFinding { check: check.to_owned(), good, text });
    }
}

fn slots(report: &mut DiskCheck, layout: Layout, cluster: &Cluster) {
    let nodes = cluster.nodes.iter().filter(|node| !layout.has(node.id));
    let without: Vec<&str> = nodes.map(|node| node.name.as_str()).collect();
    let text = match without.is_empty() {
        true => format!("{} of {} in use", cluster.nodes.len(), layout.slots()),
        false => format!(
            "none for {} of {}: make the area anew with `mainstay disk init`",
            without.join(", "),
            layout.slots()
        ),
    };
    report.add("slots", without.is_empty(), text);
}

fn blocks(report: &mut DiskCheck, device: &Device, layout: Layout) {
    let (mut used, mut torn, mut foreign) = (0, 0, 0);
    let scanned = scan(device, layout, |_, _, seen| {
        used += transport::disk::PAIR_BLOCKS - u64::from(seen.blank);
        torn += u64::from(seen.torn);
        foreign += u64::from(seen.foreign);
    });
    match scanned {
        Ok(()) => report.add(
            "blocks",
            torn + foreign == 0,
            format!("{used} in use, {torn} torn, {foreign} foreign"),
        ),
        Err(error) => report.add("blocks", false, error.to_string()),
    }
}

/// Writes a block and reads it back, again and again.
fn measure(
    device: &Device,
    layout: Layout,
    local: NodeId,
) -> io::Result<(DiskLatency, DiskLatency)> {
    let place = layout.run(local, local);
    let mut block = Aligned::new(1);
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    // A block that was left by the last check must not pass for the one of this.
    let first = os::clock::wall_millis();
    for number in first..first + OPERATIONS {
        let written = layout.test_block(local, number);
        block.copy_from_slice(&written);
        let start = os::clock::boottime();
        device.write(place, &block)?;
        let middle = os::clock::boottime();
        block.fill(0);
        device.read(place, &mut block)?;
        let end = os::clock::boottime();
        if block[..] != written[..] {
            return Err(io::Error::other(format!(
                "{} gives back something else than was written",
                device.path().display()
            )));
        }
        writes.push(middle.since(start));
        reads.push(end.since(middle));
    }
    Ok((latency(reads), latency(writes)))
}

pub(super) fn latency(mut durations: Vec<Duration>) -> DiskLatency {
    durations.sort();
    let micros = |at: usize| durations.get(at).map_or(0, Duration::as_micros) as u64;
    DiskLatency {
        operations: durations.len() as u64,
        min_us: micros(0),
        median_us: micros(durations.len() / 2),
        max_us: micros(durations.len().saturating_sub(1)),
    }
}

/// A heartbeat must be written and read before the next one is due, even in the worst case seen.
pub(super) fn fit(report: &mut DiskCheck, preset: Preset, worst_us: u64) {
    let worst = Duration::from_micros(worst_us);
    let fits = |preset: &Preset| heartbeat(*preset).is_some_and(|heartbeat| worst < heartbeat);
    let good = Preset::ALL.into_iter().filter(fits);
    report.fit_for = good.map(|preset| preset.name().to_owned()).collect();
    let name = preset.name();
    let others = match report.fit_for.as_slice() {
        [] => "for no preset".to_owned(),
        names => format!("for {}", names.join(", ")),
    };
    let text = match heartbeat(preset) {
        None => format!("{name} is too fast for any disk; quick enough {others}"),
        Some(heartbeat) => format!(
            "{name} needs less than {}, the slowest write and read took {} ms; quick enough \
             {others}",
            duration(heartbeat.as_millis() as u64),
            worst_us.div_ceil(1_000)
        ),
    };
    report.add("latency", fits(&preset), text);
}

/// Between two heartbeats over a disk; none where disks are too slow.
fn heartbeat(preset: Preset) -> Option<Duration> {
    (preset != Preset::Ultra).then(|| preset.timing().interval(Medium::Disk, false))
}
