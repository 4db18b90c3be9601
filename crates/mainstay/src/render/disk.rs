//! Shared disks: what is on them, and whether they are good enough.
//!
//! These commands work on a device without a daemon, so their types are not the API's; as JSON
//! they keep the same rules (a `schema`, names that only grow).

use serde::Serialize;

use super::style::{Colour, Style, fine};
use super::table::{Cell, Table};

/// `mainstay disk show`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskShow {
    /// Version of this form.
    pub schema: u32,
    /// Which device.
    pub device: DiskDevice,
    /// What it holds, in words.
    pub holds: String,
    /// Names what it holds, for `--force`; null for a blank device.
    pub id: Option<String>,
    /// The area of a cluster, if it has one.
    pub area: Option<DiskArea>,
    /// What is amiss.
    pub warnings: Vec<String>,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskDevice {
    /// As it was given.
    pub path: String,
    /// Block device with its numbers, or plain file.
    pub kind: String,
    /// Bytes on it.
    pub size: u64,
}

/// The area of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskArea {
    /// The id of the cluster.
    pub cluster: u32,
    /// The name of the cluster, if it is the configured one.
    pub cluster_name: Option<String>,
    /// Version of the layout.
    pub layout: u16,
    /// Number of slots.
    pub slots: u8,
    /// Bytes from the start of the device.
    pub size: u64,
    /// The slots that have a node or were written to.
    pub nodes: Vec<DiskSlot>,
    /// The pairs of those.
    pub pairs: Vec<DiskPair>,
}

/// A slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskSlot {
    /// Its number, which is the id of its node.
    pub slot: u8,
    /// The name of the node; null when none is configured.
    pub node: Option<String>,
}

/// What one node wrote for another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskPair {
    /// The writer's slot.
    pub from: u8,
    /// The reader's slot.
    pub to: u8,
    /// The heartbeat.
    pub heartbeat: Option<DiskMark>,
    /// The newest data block.
    pub data: Option<DiskMark>,
    /// Blocks that are not whole.
    pub torn: u8,
    /// Blocks that do not belong there.
    pub foreign: u8,
}

/// Which block of a writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskMark {
    /// The life of the writer.
    pub epoch: u64,
    /// Counts the blocks of that life.
    pub sequence: u64,
}

/// `mainstay disk check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskCheck {
    /// Version of this form.
    pub schema: u32,
    /// Which device.
    pub device: DiskDevice,
    /// Whether all is good.
    pub usable: bool,
    /// The preset of the configuration.
    pub detection: String,
    /// The presets that the device is quick enough for.
    pub fit_for: Vec<String>,
    /// What was looked at.
    pub findings: Vec<DiskFinding>,
    /// How long reads took; null when they failed.
    pub read: Option<DiskLatency>,
    /// How long writes took; null when they failed.
    pub write: Option<DiskLatency>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskFinding {
    /// What.
    pub check: String,
    /// Whether it is good.
    pub good: bool,
    /// What was seen.
    pub text: String,
}

/// How long operations took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskLatency {
    /// How many.
    pub operations: u64,
    /// The quickest.
    pub min_us: u64,
    /// Half of them were quicker.
    pub median_us: u64,
    /// The slowest.
    pub max_us: u64,
}

/// `mainstay disk show`.
#[must_use]
pub fn disk_show(show: &DiskShow, style: Style) -> String {
    let device = &show.device;
    let mut text =
        format!("{}: {}, {}\nholds {}\n", device.path, device.kind, size(device.size), show.holds);
    if let Some(id) = &show.id {
        text.push_str(&format!("id {id}\n"));
    }
    for warning in &show.warnings {
        text.push_str(&format!("{} {warning}\n", style.paint(Colour::Odd, "warning:")));
    }
    let Some(area) = &show.area else { return text };
    let whose = match &area.cluster_name {
        Some(name) => format!("{name} (id {})", area.cluster),
        None => format!("with id {}", area.cluster),
    };
    text.push_str(&format!(
        "cluster {whose}, layout {}, {} slots, the first {} of the device\n",
        area.layout,
        area.slots,
        size(area.size)
    ));
    if area.nodes.is_empty() {
        text.push_str("no slot was written to\n");
        return text;
    }
    let mut slots = Table::new(["SLOT", "NODE"]);
    for slot in &area.nodes {
        let node = slot.node.as_deref().unwrap_or("not configured");
        slots.row([Cell::from(slot.slot.to_string()), Cell::from(node)]);
    }
    text.push_str(&format!("\n{}", slots.render(style)));
    let name = |number: u8| {
        let slot = area.nodes.iter().find(|slot| slot.slot == number);
        slot.and_then(|slot| slot.node.clone()).unwrap_or_else(|| format!("#{number}"))
    };
    let mut pairs = Table::new(["FROM", "TO", "EPOCH", "HEARTBEAT", "DATA", "NOTE"]);
    for pair in &area.pairs {
        let epoch = pair.heartbeat.or(pair.data).map(|mark| mark.epoch);
        let sequence = |mark: Option<DiskMark>| match mark {
            None => "-".to_owned(),
            Some(mark) if Some(mark.epoch) == epoch => mark.sequence.to_string(),
            Some(mark) => format!("{} of epoch {}", mark.sequence, mark.epoch),
        };
        let (note, colour) = match (pair.torn, pair.foreign) {
            (0, 0) if epoch.is_none() => ("never written".to_owned(), Colour::Faint),
            (0, 0) => (String::new(), Colour::Plain),
            (torn, 0) => (format!("{torn} torn"), Colour::Odd),
            (0, foreign) => (format!("{foreign} foreign"), Colour::Bad),
            (torn, foreign) => (format!("{torn} torn, {foreign} foreign"), Colour::Bad),
        };
        pairs.row([
            Cell::from(name(pair.from)),
            Cell::from(name(pair.to)),
            Cell::from(epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string())),
            Cell::from(sequence(pair.heartbeat)),
            Cell::from(sequence(pair.data)),
            Cell::new(colour, note),
        ]);
    }
    if !area.pairs.is_empty() {
        text.push_str(&format!("\n{}", pairs.render(style)));
    }
    text
}

/// `mainstay disk check`.
#[must_use]
pub fn disk_check(check: &DiskCheck, style: Style) -> String {
    let device = &check.device;
    let mut text = format!("{}: {}, {}\n\n", device.path, device.kind, size(device.size));
    let mut table = Table::new(["CHECK", "RESULT", "SEEN"]);
    for finding in &check.findings {
        let (colour, word) =
            if finding.good { (Colour::Good, "good") } else { (Colour::Bad, "bad") };
        table.row([
            Cell::from(finding.check.as_str()),
            Cell::new(colour, word),
            Cell::from(finding.text.as_str()),
        ]);
    }
    text.push_str(&table.render(style));
    if check.read.is_some() || check.write.is_some() {
        let mut table = Table::new(["OPERATION", "TIMES", "QUICKEST", "MEDIAN", "SLOWEST"]);
        for (name, latency) in [("read", check.read), ("write", check.write)] {
            let Some(latency) = latency else { continue };
            table.row([
                Cell::from(name),
                Cell::from(latency.operations.to_string()),
                Cell::from(micros(latency.min_us)),
                Cell::from(micros(latency.median_us)),
                Cell::from(micros(latency.max_us)),
            ]);
        }
        text.push_str(&format!("\n{}", table.render(style)));
    }
    let verdict = match check.usable {
        true => style.paint(Colour::Good, "usable"),
        false => style.paint(Colour::Bad, "not usable"),
    };
    text.push_str(&format!("\n{} is {verdict} with detection {}\n", device.path, check.detection));
    text
}

fn micros(micros: u64) -> String {
    if micros < 1_000 { format!("{micros} µs") } else { fine(micros) }
}

/// Bytes for people.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let (mut unit, mut divisor) = (0, 1);
    while unit + 1 < UNITS.len() && bytes / divisor >= 1_024 {
        unit += 1;
        divisor *= 1_024;
    }
    match bytes / divisor {
        whole if whole < 10 && unit > 0 => {
            format!("{whole}.{} {}", bytes % divisor * 10 / divisor, UNITS[unit])
        }
        whole => format!("{whole} {}", UNITS[unit]),
    }
}
