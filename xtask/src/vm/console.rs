//! What a machine says on its serial console, which QEMU writes into a file.
//!
//! The file is appended to over all boots of a machine. Lines end in CR LF, may have the kernel's
//! stamp in front (`[   12.345678] `), and escape sequences of a terminal (ECMA-48) among them.
//! Only whole lines count: the end of the file may be the middle of one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::arrivals::{Arrivals, Span};

/// A machine's console.
#[derive(Clone)]
pub(crate) struct Console {
    path: PathBuf,
    arrivals: Arc<Arrivals>,
}

/// A whole line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// As it was, without the end and without escape sequences.
    pub(crate) whole: String,
    /// The kernel's stamp in microseconds since the boot, if it has one.
    pub(crate) stamp: Option<u64>,
    /// What follows the stamp.
    pub(crate) text: String,
    /// When it came, by the clock of this machine.
    pub(crate) came: Span,
}

impl Console {
    /// The console that is written to this file, which is watched from now on.
    ///
    /// # Errors
    /// When there can be no thread for that.
    pub(crate) fn new(path: PathBuf) -> Result<Self> {
        let arrivals = Arc::new(Arrivals::watch(&path)?);
        Ok(Self { path, arrivals })
    }

    /// Where it is written to.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All lines so far; none before the first boot.
    ///
    /// # Errors
    /// When the file cannot be read or watched.
    pub(crate) fn lines(&self) -> Result<Vec<Line>> {
        match fs::read(&self.path) {
            Ok(bytes) => lines(&bytes, |length| self.arrivals.of(length)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => {
                Err(error).with_context(|| format!("read the console {}", self.path.display()))
            }
        }
    }

    /// The first line with these words from line number `from` on.
    ///
    /// # Errors
    /// As [`Self::lines`].
    pub(crate) fn find(&self, words: &str, from: usize) -> Result<Option<Line>> {
        Ok(self.lines()?.into_iter().skip(from).find(|line| line.text.contains(words)))
    }

    /// How many lines have these words.
    ///
    /// # Errors
    /// As [`Self::lines`].
    pub(crate) fn count(&self, words: &str) -> Result<usize> {
        Ok(self.lines()?.iter().filter(|line| line.text.contains(words)).count())
    }

    /// The last lines, for a failure.
    #[must_use]
    pub(crate) fn tail(&self, count: usize) -> String {
        let lines = self.lines().unwrap_or_default();
        let from = lines.len().saturating_sub(count);
        lines[from..].iter().map(|line| format!("    | {}\n", line.whole)).collect()
    }
}

/// The whole lines of a console; `came` says when so many bytes were complete.
fn lines(bytes: &[u8], came: impl Fn(u64) -> Result<Span>) -> Result<Vec<Line>> {
    let mut length = 0;
    let pieces =
        bytes.split_inclusive(|byte| *byte == b'\n').filter(|piece| piece.ends_with(b"\n"));
    let line = |piece: &[u8]| {
        length += piece.len() as u64;
        Ok(line(&String::from_utf8_lossy(piece), came(length)?))
    };
    pieces.map(line).collect()
}

fn line(raw: &str, came: Span) -> Line {
    let whole = plain(raw);
    let (stamp, text) = match stamp(&whole) {
        Some((stamp, text)) => (Some(stamp), text.to_owned()),
        None => (None, whole.clone()),
    };
    Line { whole, stamp, text, came }
}

/// Without control characters and escape sequences.
fn plain(raw: &str) -> String {
    let mut text = String::new();
    let mut rest = raw.chars();
    while let Some(character) = rest.next() {
        match character {
            '\u{1b}' => {
                // ESC [ parameters, then one byte from @ to ~; other sequences have one byte.
                if rest.next() == Some('[') {
                    let _ = rest.by_ref().find(|c| ('@'..='~').contains(c));
                }
            }
            '\t' => text.push('\t'),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    text
}

/// `[   12.345678] text` as microseconds and text.
fn stamp(line: &str) -> Option<(u64, &str)> {
    let (number, text) = line.strip_prefix('[')?.split_once("] ")?;
    let (seconds, micros) = number.trim_start().split_once('.')?;
    if micros.len() != 6 {
        return None;
    }
    let micros: u64 = micros.parse().ok()?;
    Some((seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)?, text))
}

#[cfg(test)]
mod tests;
