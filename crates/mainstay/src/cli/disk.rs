//! `mainstay disk`: make the area of this cluster on a shared device, look at it, and check
//! whether it is good enough. Works on the device itself; no daemon is asked.
//!
//! `init` overwrites nothing that it was not told of: a device that is not blank is refused with
//! the name of what is on it, and only `--force` with the id of that very content, which `show`
//! prints, goes on. It claims a block device exclusively meanwhile, so what is mounted can not be
//! overwritten at all. The header is written last: an area that is half made is no area.

mod measure;
mod recognise;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use base::NodeId;
use os::block::{Aligned, Device};
use serde::Serialize;
use transport::disk::{BLOCK_SIZE, LAYOUT_VERSION, Layout, Mark, RUN_SIZE, RunSeen};

use super::arguments::DiskCommand;
use super::{Context, Done, EXIT_DEGRADED, Failure};
use crate::config::{self, Cluster, files};
use crate::render::{self, DiskArea, DiskDevice, DiskMark, DiskPair, DiskShow, DiskSlot};

use recognise::{Content, LOOKED_AT, recognise};

/// After so long somebody who waits wants to know for what.
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries the command out, and says so when the device lets it wait: the kernel may not let the
/// program end before the device answers.
pub(super) fn disk(context: &Context, command: &DiskCommand) -> Done {
    let (DiskCommand::Init { device, .. }
    | DiskCommand::Show { device }
    | DiskCommand::Check { device }) = command;
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                context.output.note(&format!(
                    "{} has not done all that was asked of it within {} s: it is slow, or hangs\n",
                    device.display(),
                    PATIENCE.as_secs()
                ));
            }
        });
        let outcome = carry_out(context, command);
        drop(done);
        outcome
    })
}

fn carry_out(context: &Context, command: &DiskCommand) -> Done {
    match command {
        DiskCommand::Init { device, force } => init(context, device, force.as_deref()),
        DiskCommand::Show { device } => show(context, device),
        DiskCommand::Check { device } => {
            let cluster = read_cluster(context)?;
            let local = files::local_node(context.root()?, &cluster)?;
            let report = measure::check(device, &cluster, local)?;
            context.output.show(&report, render::disk_check)?;
            Ok(if report.usable { 0 } else { EXIT_DEGRADED })
        }
    }
}

fn read_cluster(context: &Context) -> Result<Cluster, Failure> {
    let root = context.root()?;
    let text = files::read_cluster(root)?;
    let parsed = config::parse(&text, &root.cluster().display().to_string(), 0);
    let (cluster, _) = parsed.map_err(|found| {
        context.output.note(&found.render(context.output.has_error_colour()));
        Failure::other("the configuration is not usable")
    })?;
    Ok(cluster)
}

/// Errors of `os::block` say what to do themselves.
fn failed(error: std::io::Error) -> Failure {
    Failure::other(error.to_string())
}

/// The area that the configured cluster needs.
fn layout(cluster: &Cluster) -> Layout {
    let highest = cluster.nodes.iter().map(|node| node.id).max();
    Layout::for_nodes(cluster.id, highest.unwrap_or(NodeId(0)))
}

fn described(device: &Device) -> DiskDevice {
    DiskDevice {
        path: device.path().display().to_string(),
        kind: device.identity().to_string(),
        size: device.size_blocks() * BLOCK_SIZE as u64,
    }
}

/// The first MiB, or all of a smaller device.
fn beginning(device: &Device) -> Result<Aligned, Failure> {
    let blocks = device.size_blocks().min((LOOKED_AT / BLOCK_SIZE) as u64);
    if blocks == 0 {
        return Err(Failure::other(format!("{} is empty", device.path().display())));
    }
    let mut bytes = Aligned::new(blocks as usize);
    device.read(0, &mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// What `init` made, for `--json`.
#[derive(Serialize)]
struct Made {
    schema: u32,
    device: DiskDevice,
    cluster: u32,
    cluster_name: String,
    slots: u8,
    size: u64,
    /// False when it was there already.
    written: bool,
}

fn init(context: &Context, path: &Path, force: Option<&str>) -> Done {
    let cluster = read_cluster(context)?;
    let layout = layout(&cluster);
    let device = Device::open_exclusive(path).map_err(failed)?;
    let shown = path.display();
    let size = layout.size() * BLOCK_SIZE as u64;
    if device.size_blocks() < layout.size() {
        return Err(Failure::Other {
            message: format!(
                "{shown} has {}, and an area of {} slots needs {}",
                render::size(device.size_blocks() * BLOCK_SIZE as u64),
                layout.slots(),
                render::size(size)
            ),
            help: Some(format!("{size} bytes; for a plain file: truncate -s {size} {shown}")),
            exit: EXIT_DEGRADED,
        });
    }
    let begins = beginning(&device)?;
    let is_there = Layout::of_cluster(&begins[..BLOCK_SIZE], cluster.id) == Ok(layout);
    let written = !(is_there && force.is_none());
    if written {
        let content = match recognise(&begins) {
            Some(content) => Some(content),
            None => behind(&device, layout)?,
        };
        permitted(path, content.as_ref(), force)?;
        write(&device, layout).map_err(failed)?;
    }
    let made = Made {
        schema: api::v1::SCHEMA,
        device: described(&device),
        cluster: cluster.id,
        cluster_name: cluster.name,
        slots: layout.slots(),
        size,
        written,
    };
    context.output.show(&made, |made, _| {
        let Made { cluster_name: name, cluster: id, slots, .. } = made;
        if !made.written {
            return format!(
                "{shown} has the area of cluster {name} (id {id}) with {slots} slots already; \
                 nothing was changed\n"
            );
        }
        format!(
            "{shown} has an area of {} for cluster {name} (id {id}) now, with {slots} slots\n\n\
             Next, on each node:\n  mainstay disk check {shown}\n",
            render::size(made.size)
        )
    })?;
    Ok(0)
}

/// What stands in the area behind the first MiB, when that is blank.
fn behind(device: &Device, layout: Layout) -> Result<Option<Content>, Failure> {
    let mut column = Aligned::new(layout.column() as usize);
    for to in 0..layout.slots() {
        let first = layout.first(NodeId(to));
        device.read(first, &mut column).map_err(failed)?;
        if let Some(at) = column.iter().position(|byte| *byte != 0) {
            let offset = first * BLOCK_SIZE as u64 + at as u64;
            let what = format!("data that are not recognised, from byte {offset} on");
            return Ok(Some(Content { what, id: format!("offset:{offset}") }));
        }
    }
    Ok(None)
}

/// Refuses to overwrite what was not named.
fn permitted(path: &Path, content: Option<&Content>, force: Option<&str>) -> Result<(), Failure> {
    let shown = path.display();
    let (message, help) = match (content, force) {
        (None, None) => return Ok(()),
        (Some(content), Some(id)) if content.id == id => return Ok(()),
        (None, Some(id)) => (
            format!("{shown} is blank, and does not hold {id}"),
            "is it the right device? If so, leave --force out".to_owned(),
        ),
        (Some(Content { what, id }), given) => {
            let not = given.map_or_else(String::new, |given| format!(", not {given}"));
            (
                format!("{shown} holds {what} (id {id}){not}; nothing was changed"),
                format!("if it may be overwritten: mainstay disk init {shown} --force {id}"),
            )
        }
    };
    Err(Failure::Other { message, help: Some(help), exit: EXIT_DEGRADED })
}

/// Makes the area; nothing behind it is touched.
fn write(device: &Device, layout: Layout) -> std::io::Result<()> {
    let mut header = Aligned::new(1);
    device.write(0, &header)?;
    let blank = Aligned::new(layout.column() as usize);
    for to in 0..layout.slots() {
        device.write(layout.first(NodeId(to)), &blank)?;
    }
    device.sync()?;
    header.copy_from_slice(&layout.encode_header());
    device.write(0, &header)?;
    device.sync()
}

fn show(context: &Context, path: &Path) -> Done {
    let device = Device::open_to_read(path).map_err(failed)?;
    // Whoever looks at a device may be no node.
    let cluster = match context.root() {
        Ok(root) if root.cluster().exists() => Some(read_cluster(context)?),
        _ => None,
    };
    let begins = beginning(&device)?;
    let content = recognise(&begins);
    let mut report = DiskShow {
        schema: api::v1::SCHEMA,
        device: described(&device),
        holds: content.as_ref().map_or_else(|| "nothing".to_owned(), |found| found.what.clone()),
        id: content.map(|content| content.id),
        area: None,
        warnings: Vec::new(),
    };
    if let Ok(found) = Layout::decode_header(&begins[..BLOCK_SIZE]) {
        let ours = cluster.as_ref().filter(|cluster| cluster.id == found.cluster());
        if let (Some(cluster), None) = (&cluster, ours) {
            report.warnings.push(format!(
                "it is not the area of this cluster, {} (id {})",
                cluster.name, cluster.id
            ));
        }
        if let Some(cluster) = ours {
            for node in cluster.nodes.iter().filter(|node| !found.has(node.id)) {
                report.warnings.push(format!(
                    "node {} (id {}) has no slot: make the area anew with `mainstay disk init`",
                    node.name, node.id.0
                ));
            }
        }
        match device.size_blocks() >= found.size() {
            true => report.area = Some(area(&device, found, ours)?),
            false => report.warnings.push("the device ends within the area".into()),
        }
    }
    context.output.show(&report, render::disk_show)?;
    Ok(if report.area.is_some() && report.warnings.is_empty() { 0 } else { EXIT_DEGRADED })
}

fn area(device: &Device, layout: Layout, ours: Option<&Cluster>) -> Result<DiskArea, Failure> {
    let mut runs: Vec<(u8, u8, RunSeen)> = Vec::new();
    scan(device, layout, |from, to, seen| runs.push((from.0, to.0, seen))).map_err(failed)?;
    let is_blank = |seen: &RunSeen| u64::from(seen.blank) == transport::disk::PAIR_BLOCKS;
    let name = |number: u8| {
        let mut nodes = ours.iter().flat_map(|cluster| &cluster.nodes);
        nodes.find(|node| node.id.0 == number).map(|node| node.name.clone())
    };
    let written = |number: u8| {
        let is_of = |(from, to, _): &&(u8, u8, RunSeen)| *from == number || *to == number;
        runs.iter().filter(is_of).any(|(.., seen)| !is_blank(seen))
    };
    let slots: Vec<DiskSlot> = (0..layout.slots())
        .map(|slot| DiskSlot { slot, node: name(slot) })
        .filter(|slot| slot.node.is_some() || written(slot.slot))
        .collect();
    let is_known = |number: u8| name(number).is_some();
    let mark = |mark: Mark| DiskMark { epoch: mark.epoch.0, sequence: mark.sequence };
    let mut pairs: Vec<DiskPair> = runs
        .iter()
        .filter(|(from, to, seen)| (is_known(*from) && is_known(*to)) || !is_blank(seen))
        .map(|(from, to, seen)| DiskPair {
            from: *from,
            to: *to,
            heartbeat: seen.heartbeat.map(mark),
            data: seen.data.map(mark),
            torn: seen.torn,
            foreign: seen.foreign,
        })
        .collect();
    pairs.sort_by_key(|pair| (pair.from, pair.to));
    Ok(DiskArea {
        cluster: layout.cluster(),
        cluster_name: ours.map(|cluster| cluster.name.clone()),
        layout: LAYOUT_VERSION,
        slots: layout.slots(),
        size: layout.size() * BLOCK_SIZE as u64,
        nodes: slots,
        pairs,
    })
}

/// Reads all runs between two nodes. One that looks torn is read once more: it may have been
/// written at that moment.
fn scan(
    device: &Device,
    layout: Layout,
    mut take: impl FnMut(NodeId, NodeId, RunSeen),
) -> std::io::Result<()> {
    let mut column = Aligned::new(layout.column() as usize);
    let mut again = Aligned::new(RUN_SIZE / BLOCK_SIZE);
    for to in (0..layout.slots()).map(NodeId) {
        device.read(layout.first(to), &mut column)?;
        for (from, run) in (0..).map(NodeId).zip(column.chunks_exact(RUN_SIZE)) {
            if from == to {
                continue;
            }
            let mut seen = layout.examine(from, to, run);
            if seen.torn > 0 {
                device.read(layout.run(from, to), &mut again)?;
                seen = layout.examine(from, to, &again);
            }
            take(from, to, seen);
        }
    }
    Ok(())
}
