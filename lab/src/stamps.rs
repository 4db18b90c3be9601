//! Stamps: what a service's process writes all the time to something that all nodes share.
//!
//! A client sees who answers, and no more. A process whose address is closed may go on writing, and where two
//! nodes share what it writes to, that is what destroys data. So a service of the lab can write stamps: every few
//! milliseconds it appends a record to a file outside of all nodes' roots, which every node sees, because all of them
//! are namespaces of one machine. **The order in the file is the order of the writes**, by the kernel's lock on
//! the file: it needs no clocks. The time in a stamp only tells when that was.
//!
//! Every record has the same length, a part of a page: so none is ever cut short by the end of its writer,
//! which the kernel heeds between two pages.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::clock;
use crate::enter;

/// How often a process writes.
const INTERVAL: Duration = Duration::from_millis(3);
/// Of a record: what is left of it is blank.
const LENGTH: usize = 64;

/// One stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When it was made, nanoseconds since boot.
    pub(crate) at: u64,
    /// Whose it is.
    pub(crate) life: Life,
    /// How many this life had made before.
    pub(crate) sequence: u64,
}

/// One run of a process. Pids begin anew with the power of a node, times do not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Life {
    /// The node on which it runs.
    pub(crate) node: String,
    /// Its number there.
    pub(crate) pid: u32,
    /// When it began to write, nanoseconds since boot.
    pub(crate) began: u64,
}

impl Stamp {
    fn encode(&self) -> Result<[u8; LENGTH]> {
        let Self { at, life: Life { node, pid, began }, sequence } = self;
        let text = format!("{at} {began} {sequence} {pid} {node}");
        ensure!(
            text.len() < LENGTH && node.split_whitespace().count() == 1,
            "a node of the name \"{node}\" cannot write stamps: \"{text}\" must be one record of {LENGTH} bytes"
        );
        let mut record = [b' '; LENGTH];
        record[..text.len()].copy_from_slice(text.as_bytes());
        record[LENGTH - 1] = b'\n';
        Ok(record)
    }

    fn decode(record: &[u8]) -> Option<Self> {
        let text = str::from_utf8(record).ok()?.strip_suffix('\n')?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let [at, began, sequence, pid, node] = words[..] else { return None };
        let life =
            Life { node: node.to_owned(), pid: pid.parse().ok()?, began: began.parse().ok()? };
        Some(Self { at: at.parse().ok()?, life, sequence: sequence.parse().ok()? })
    }
}

/// What a process writes with.
pub(crate) struct Pen {
    file: File,
    path: PathBuf,
    life: Life,
    sequence: u64,
    next: Duration,
}

impl Pen {
    /// For a process on that node.
    ///
    /// # Errors
    /// When the file cannot be opened: whoever wants stamps makes it first.
    pub(crate) fn open(path: &Path, node: &str) -> Result<Self> {
        let file = OpenOptions::new().append(true).open(path);
        let file = file.with_context(|| format!("opening {} for stamps", path.display()))?;
        let now = clock::now();
        let life =
            Life { node: node.to_owned(), pid: std::process::id(), began: now.as_nanos() as u64 };
        Ok(Self { file, path: path.to_owned(), life, sequence: 0, next: now })
    }

    /// Writes the next stamp when it is time for it; how long until the one after it.
    ///
    /// # Errors
    /// When it cannot be written: a witness that has gone silent must not look like one who saw nothing.
    pub(crate) fn write_when_due(&mut self) -> Result<Duration> {
        let now = clock::now();
        if now >= self.next {
            let at = now.as_nanos() as u64;
            let record = Stamp { at, life: self.life.clone(), sequence: self.sequence }.encode()?;
            let written = self.file.write_all(&record);
            written.with_context(|| format!("writing a stamp to {}", self.path.display()))?;
            self.sequence += 1;
            self.next = now + INTERVAL;
        }
        Ok(self.next.saturating_sub(clock::now()))
    }
}

/// The files of stamps of a lab, one for each service.
pub(crate) struct Book(PathBuf);

impl Book {
    /// An empty one. What a former lab in this process wrote is gone.
    pub(crate) fn create() -> Result<Self> {
        let directory = Path::new(enter::DIRECTORY).join("stamps");
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).context("removing the stamps of a former lab");
            }
            _ => {}
        }
        fs::create_dir(&directory).context("making a directory for stamps")?;
        Ok(Self(directory))
    }

    /// The file of a service.
    pub(crate) fn path(&self, service: &str) -> PathBuf {
        self.0.join(service)
    }

    /// Makes the file of a service, with nothing in it.
    pub(crate) fn open(&self, service: &str) -> Result<()> {
        let path = self.path(service);
        let made = File::create_new(&path).map(drop);
        made.with_context(|| format!("making {} for stamps", path.display()))
    }

    /// The stamps of a service, in the order in which they were written.
    ///
    /// # Errors
    /// When something else is in its file.
    pub(crate) fn read(&self, service: &str) -> Result<Vec<Stamp>> {
        let path = self.path(service);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        decode(&bytes).with_context(|| format!("reading {}", path.display()))
    }
}

fn decode(bytes: &[u8]) -> Result<Vec<Stamp>> {
    let records = bytes.chunks(LENGTH).enumerate();
    let stamp = |(number, record): (usize, &[u8])| {
        let shown = String::from_utf8_lossy(record);
        Stamp::decode(record).with_context(|| format!("record {number} is no stamp: {shown:?}"))
    };
    records.map(stamp).collect()
}

#[cfg(test)]
mod tests;
