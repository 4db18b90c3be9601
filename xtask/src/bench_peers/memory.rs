//! Memory of several processes that share pages, as `/proc/PID/smaps` shows it (proc_pid_smaps(5)).
//!
//! The kernel's own answer to sharing, the proportional size (PSS), divides a page by all who map
//! it. In a lab three nodes run the same programs and libraries on one kernel, so it would give each
//! node a third of what a machine of its own needs. Here a page of a file counts once per node: of
//! all processes that map the same part of a file, the one that has most of it in memory counts.
//! What belongs to no file is shared within the node at most, so there the proportional size is
//! right.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// The memory of some processes.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Kilobytes of pages that belong to no file.
    anonymous: u64,
    /// Kilobytes in memory by part of a file: device, inode, offset.
    files: BTreeMap<(String, String, String), u64>,
    resident: u64,
}

impl Memory {
    /// Adds a process.
    ///
    /// # Errors
    /// When the text is not what the kernel writes.
    pub(crate) fn add(&mut self, smaps: &str) -> Result<()> {
        let mut file = None;
        let mut resident = 0;
        for line in smaps.lines() {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            let Some(name) = first.strip_suffix(':') else {
                file = key(line);
                continue;
            };
            let mut kilobytes = || -> Result<u64> {
                words.next().and_then(|word| word.parse().ok()).with_context(|| line.to_owned())
            };
            match name {
                "Rss" => {
                    resident = kilobytes()?;
                    self.resident += resident;
                }
                // Only in mappings without a file, whose sharers are all on this node.
                "Pss" if file.is_none() => self.anonymous += kilobytes()?,
                "Anonymous" => {
                    if let Some(file) = file.take() {
                        // A private mapping's changed pages belong to the process.
                        let own = kilobytes()?;
                        self.anonymous += own;
                        let most = self.files.entry(file).or_default();
                        *most = (*most).max(resident.saturating_sub(own));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Kilobytes with every page once.
    pub(crate) fn once(&self) -> u64 {
        self.anonymous + self.files.values().sum::<u64>()
    }

    /// Kilobytes with every page as often as there are processes that have it.
    pub(crate) fn resident(&self) -> u64 {
        self.resident
    }
}

/// The part of a file that a mapping shows; `address permissions offset device inode path`.
fn key(line: &str) -> Option<(String, String, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, _, offset, device, inode, ..] = words[..] else { return None };
    (inode != "0").then(|| (device.to_owned(), inode.to_owned(), offset.to_owned()))
}

#[cfg(test)]
mod tests;
