//! Many nodes on one network: what it costs each of them that all watch each other.
//!
//! A lab of so many real daemons forms one view, without services, and is left alone for a while.
//! Frames and bytes are those that the kernels count at the nodes' interfaces; processor time and
//! memory are those of guard and daemon. A preset *holds* when the view forms in time and is the same
//! one, with all members, at the end: on one machine the nodes share its processors, so a large lab
//! says first what that machine can do.
//!
//! Corosync is measured in the same way in the same run, at the largest of the sizes at which it
//! forms here.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::clock::{self, milliseconds};
use crate::cluster::Cluster;
use crate::corosync;
use crate::lab::Lab;
use crate::processes;
use crate::spec::{self, Spec};
use crate::traffic::Traffic;
use crate::wait;

/// How long a view of all may take.
const FORMING: Duration = Duration::from_secs(180);
/// After it has formed, before it is measured.
const SETTLING: Duration = Duration::from_secs(5);
/// Between two questions: asking costs the machine that is measured.
const LOOK: Duration = Duration::from_millis(250);
/// Of the log of a node that has ended.
const LOG_LINES: usize = 12;
/// Sizes that are tried with Corosync below those that were asked for.
const SMALLER: [u8; 6] = [40, 32, 24, 16, 8, 4];

/// What to measure.
#[derive(Debug, Clone)]
pub struct Order {
    /// Numbers of nodes.
    pub sizes: Vec<u8>,
    /// Presets to try with their heartbeat intervals, the fastest first: the first that holds counts.
    pub presets: Vec<(String, Duration)>,
    /// `mesh` and `ring`: who watches whom.
    pub monitors: Vec<String>,
    /// How long each is left alone.
    pub length: Duration,
    /// Whether Corosync is measured as well.
    pub corosync: bool,
}

/// What one size cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// `mainstay` or `corosync`.
    pub product: String,
    /// How many nodes.
    pub nodes: u8,
    /// The preset and who watches whom.
    pub setting: String,
    /// From the start of the first daemon until all were members of one view, milliseconds.
    pub formed_milliseconds: f64,
    /// The heartbeat interval; none for Corosync, whose token goes round as fast as it can.
    pub interval_milliseconds: Option<f64>,
    /// Frames that a node sent in one interval; of a second without one.
    pub frames_per_interval: f64,
    /// Frames and bytes that a node sent in a second.
    pub frames_per_second: f64,
    /// Bytes of those, with their Ethernet headers.
    pub bytes_per_second: f64,
    /// Processor time of a node in a second, milliseconds.
    pub processor_milliseconds: f64,
    /// Resident memory of a node's processes, kilobytes: shared pages count in each.
    pub memory: u64,
    /// Why it did not hold; nothing was measured then.
    pub failure: Option<String>,
}

/// Measures and tells; rows that failed are among them.
///
/// # Errors
/// When a lab cannot be built or `out` cannot be written to.
pub fn measure(order: &Order, out: &mut dyn Write) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    writeln!(out, "{}", head())?;
    let kinds = order.monitors.iter();
    for (monitor, size) in kinds.flat_map(|kind| order.sizes.iter().map(move |size| (kind, *size)))
    {
        for (preset, interval) in &order.presets {
            let setting = format!("{preset}, {monitor}");
            let mut row = Row::new("mainstay", size, &setting, Some(*interval));
            let held = mainstay(order, monitor, &mut row, (preset, *interval));
            row.failure = held.err().map(|error| format!("{error:#}"));
            writeln!(out, "{}", row.sentence())?;
            out.flush()?;
            let is_good = row.failure.is_none();
            rows.push(row);
            if is_good {
                break;
            }
        }
    }
    if !order.corosync {
        return Ok(rows);
    }
    if corosync::program().is_none() {
        writeln!(out, "Corosync is not installed (apt-get install corosync): not measured")?;
        return Ok(rows);
    }
    let mut sizes: Vec<u8> = order.sizes.iter().copied().chain(SMALLER).collect();
    let largest = order.sizes.iter().copied().max().unwrap_or_default();
    sizes.retain(|size| *size <= largest);
    sizes.sort_unstable_by(|one, other| other.cmp(one));
    sizes.dedup();
    for size in sizes {
        let mut row = Row::new("corosync", size, "as Debian ships it", None);
        row.failure = peer(order, &mut row).err().map(|error| format!("{error:#}"));
        writeln!(out, "{}", row.sentence())?;
        out.flush()?;
        let is_good = row.failure.is_none();
        rows.push(row);
        if is_good {
            break;
        }
    }
    Ok(rows)
}

fn mainstay(
    order: &Order,
    monitor: &str,
    row: &mut Row,
    (preset, interval): (&str, Duration),
) -> Result<()> {
    let spec = Spec { client_networks: Vec::new(), ..Spec::new(row.nodes, 1)? };
    let mut lab = Lab::new(spec)?;
    let mut cluster = Cluster::new(preset);
    cluster.network = format!("monitor = \"{monitor}\"\n");
    lab.write_cluster(&cluster)?;
    let start = clock::now();
    lab.start_all()?;
    let generation = wait::until("one view of all", FORMING, || {
        clock::pause(LOOK);
        for name in lab.node_names() {
            let is_there = lab.daemon_pids(&name)?.0.is_some();
            ensure!(is_there, "{name} has ended: {}", lab.log_tail(&name, LOG_LINES)?);
        }
        one_view(&lab)
    });
    let generation = generation.with_context(|| report(&lab))?;
    row.formed_milliseconds = milliseconds(clock::now() - start);
    let used = used(&mut lab, order.length, |lab, node| {
        let (guard, daemon) = lab.daemon_pids(node)?;
        Ok([guard, daemon].into_iter().flatten().collect())
    })?;
    row.fill(&used, Some(interval));
    let now = one_view(&lab)?;
    ensure!(now == Some(generation), "the view changed meanwhile\n{}", report(&lab));
    Ok(())
}

/// The generation of the view that all nodes are members of, if there is one.
fn one_view(lab: &Lab) -> Result<Option<u64>> {
    let mut generation = None;
    for name in lab.node_names() {
        let Ok(status) = crate::api::status(lab.root(&name)?) else { return Ok(None) };
        let is_whole = status.view.members.len() == usize::from(lab.spec().nodes);
        let first = *generation.get_or_insert(status.view.generation);
        if !(status.node.state == "member" && is_whole && first == status.view.generation) {
            return Ok(None);
        }
    }
    Ok(generation)
}

/// What the nodes say, in few words: there may be many.
fn report(lab: &Lab) -> String {
    let mut text = String::new();
    for name in lab.node_names() {
        let said = match lab.root(&name).and_then(crate::api::status) {
            Ok(status) => format!(
                "{}, generation {} of {} members, waiting: {}",
                status.node.state,
                status.view.generation,
                status.view.members.len(),
                status.view.waiting.as_deref().unwrap_or("no")
            ),
            Err(error) => format!("{error:#}"),
        };
        text += &format!("  {name}: {said}\n");
    }
    text
}

fn peer(order: &Order, row: &mut Row) -> Result<()> {
    let spec = Spec { client_networks: Vec::new(), ..Spec::new(row.nodes, 1)? };
    let mut lab = Lab::new(spec)?;
    let start = clock::now();
    corosync::start(&mut lab)?;
    wait::until("all votes on all nodes", FORMING, || {
        clock::pause(LOOK);
        Ok(corosync::is_settled(&mut lab)?.then_some(()))
    })?;
    row.formed_milliseconds = milliseconds(clock::now() - start);
    let used = used(&mut lab, order.length, |lab, node| {
        Ok(lab.processes(node)?.iter().map(|process| process.pid).collect())
    })?;
    row.fill(&used, None);
    ensure!(corosync::is_settled(&mut lab)?, "it fell apart meanwhile");
    Ok(())
}

/// What all nodes together used.
struct Used {
    nodes: u8,
    length: Duration,
    traffic: Traffic,
    processor: Duration,
    memory: u64,
}

/// Leaves a lab alone, and says what its nodes used meanwhile.
fn used(
    lab: &mut Lab,
    length: Duration,
    pids: impl Fn(&mut Lab, &str) -> Result<Vec<i32>>,
) -> Result<Used> {
    clock::pause(SETTLING);
    let names = lab.node_names();
    let network = spec::network_name(0);
    let look = |lab: &mut Lab| -> Result<_> {
        let (mut traffic, mut processor, mut memory) = (Traffic::default(), Duration::ZERO, 0);
        for name in &names {
            traffic = traffic.plus(lab.traffic(name, &network)?);
            for pid in pids(lab, name)? {
                processor += processes::processor(pid)?;
                memory += processes::resident(pid)?;
            }
        }
        Ok((clock::now(), traffic, processor, memory))
    };
    let before = look(lab)?;
    clock::pause(length);
    let after = look(lab)?;
    Ok(Used {
        nodes: lab.spec().nodes,
        length: after.0 - before.0,
        traffic: after.1.since(before.1),
        processor: after.2.saturating_sub(before.2),
        memory: after.3,
    })
}

impl Row {
    fn new(product: &str, nodes: u8, setting: &str, interval: Option<Duration>) -> Self {
        Self {
            product: product.to_owned(),
            nodes,
            setting: setting.to_owned(),
            formed_milliseconds: 0.0,
            interval_milliseconds: interval.map(milliseconds),
            frames_per_interval: 0.0,
            frames_per_second: 0.0,
            bytes_per_second: 0.0,
            processor_milliseconds: 0.0,
            memory: 0,
            failure: None,
        }
    }

    fn fill(&mut self, used: &Used, interval: Option<Duration>) {
        let node_seconds = used.length.as_secs_f64() * f64::from(used.nodes);
        let interval = interval.unwrap_or(Duration::from_secs(1)).as_secs_f64();
        self.frames_per_second = used.traffic.sent_packets as f64 / node_seconds;
        self.frames_per_interval = self.frames_per_second * interval;
        self.bytes_per_second = used.traffic.sent_bytes as f64 / node_seconds;
        self.processor_milliseconds = milliseconds(used.processor) / node_seconds;
        self.memory = used.memory / u64::from(used.nodes);
    }

    /// A line of a table, under [`head`].
    pub fn sentence(&self) -> String {
        let start = format!("{:<9} {:>5}  {:<18}", self.product, self.nodes, self.setting);
        if let Some(failure) = &self.failure {
            return format!("{start}  did not hold: {failure}");
        }
        let frames = self.interval_milliseconds.map(|_| format!("{:.1}", self.frames_per_interval));
        format!(
            "{start} {:>8.1} s {:>12} {:>10.1} {:>10.0} {:>8.2} ms {:>7.1} MiB",
            self.formed_milliseconds / 1000.0,
            frames.unwrap_or_default(),
            self.frames_per_second,
            self.bytes_per_second,
            self.processor_milliseconds,
            self.memory as f64 / 1024.0
        )
    }
}

/// The head of the table: all figures but the first are of one node.
fn head() -> String {
    format!(
        "{:<9} {:>5}  {:<18} {:>10} {:>12} {:>10} {:>10} {:>11} {:>11}",
        "", "nodes", "", "formed", "frames/beat", "frames/s", "bytes/s", "processor/s", "memory"
    )
}
