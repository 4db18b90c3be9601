//! What was done to machines, and when their agents were checked: kept across restarts.
//!
//! One small file, replaced as a whole by a thread of its own, since a disk that hangs must not hold
//! up anybody. The thread takes the newest content, so nothing queues up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use api::v1::{FenceRecord, FenceVerified};
use serde::{Deserialize, Serialize};

/// Records kept.
const RECORDS_MAX: usize = 200;
/// The verb of a record that is about a check.
pub const VERIFY: &str = "verify";
/// Bytes of the file that are read.
const FILE_SIZE_MAX: u64 = 4 << 20;

/// The content of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    records: Vec<FenceRecord>,
    /// The last check of each node, by name.
    verified: BTreeMap<String, FenceVerified>,
}

/// The memory of one node.
pub struct Memory {
    content: Content,
    /// What the disk has not taken yet.
    newest: Arc<Mutex<Option<Content>>>,
    bell: SyncSender<()>,
}

impl Memory {
    /// Reads the file, if there is one; what cannot be read is begun anew, with a sentence about it.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub fn open(file: PathBuf) -> std::io::Result<(Memory, Option<String>)> {
        let (content, trouble) = match load(&file) {
            Ok(content) => (content, None),
            Err(reason) => (Content::default(), Some(format!("{}: {reason}", file.display()))),
        };
        let newest = Arc::new(Mutex::new(None));
        let (bell, rings) = sync_channel(1);
        let waiting = Arc::clone(&newest);
        std::thread::Builder::new().name("fence-memory".into()).spawn(move || {
            while let Ok(()) = rings.recv() {
                let content = waiting.lock().expect("nobody panics with it").take();
                if let Some(content) = content
                    && let Err(error) = replace(&file, &content)
                {
                    eprintln!("mainstay: cannot write {}: {error}", file.display());
                }
            }
        })?;
        Ok((Memory { content, newest, bell }, trouble))
    }

    /// All records, oldest first.
    #[must_use]
    pub fn records(&self) -> &[FenceRecord] {
        &self.content.records
    }

    /// The last check of a node's agents, with its age at this time (milliseconds since 1970).
    #[must_use]
    pub fn verified(&self, node: &str, now_ms: u64) -> Option<FenceVerified> {
        let verified = self.content.verified.get(node)?;
        let age_ms = now_ms.saturating_sub(verified.at_ms);
        Some(FenceVerified { age_ms, ..verified.clone() })
    }

    /// How often a level has succeeded and failed, as far as records are kept.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let acts = || self.content.records.iter().filter(|record| record.verb != VERIFY);
        let good = acts().filter(|record| record.ok).count();
        (good as u64, (acts().count() - good) as u64)
    }

    /// The last attempt to turn a node's machine off or on.
    #[must_use]
    pub fn last_act(&self, node: &str) -> Option<&FenceRecord> {
        let is_act = |record: &&FenceRecord| record.node == node && record.verb != VERIFY;
        self.content.records.iter().rfind(is_act)
    }

    /// Adds a record; it gets its number.
    pub fn record(&mut self, record: FenceRecord) {
        let id = self.content.records.last().map_or(1, |last| last.id + 1);
        self.content.records.push(FenceRecord { id, ..record });
        let surplus = self.content.records.len().saturating_sub(RECORDS_MAX);
        self.content.records.drain(..surplus);
        self.write();
    }

    /// Notes a check of a node's agents; gives it as it is kept, and whether it found what the one before
    /// had not: another agent answers, or does not.
    pub fn verify(&mut self, node: &str, found: FenceVerified) -> (FenceVerified, bool) {
        let before = self.content.verified.get(node);
        let good_before = before.and_then(|before| before.good_at_ms);
        let good_at_ms = if found.ok { Some(found.at_ms) } else { good_before };
        let is_news = before.is_none_or(|before| answers(before) != answers(&found));
        let kept = FenceVerified { good_at_ms, ..found };
        self.content.verified.insert(node.to_owned(), kept.clone());
        self.write();
        (kept, is_news)
    }

    /// Forgets the checks of nodes that are configured no more, or otherwise.
    pub fn keep(&mut self, is_kept: impl Fn(&str) -> bool) {
        let before = self.content.verified.len();
        self.content.verified.retain(|node, _| is_kept(node));
        if self.content.verified.len() != before {
            self.write();
        }
    }

    fn write(&self) {
        *self.newest.lock().expect("nobody panics with it") = Some(self.content.clone());
        // One that has rung already is enough.
        let _rings = self.bell.try_send(());
    }
}

/// Which agent answered and which did not.
fn answers(verified: &FenceVerified) -> Vec<(u8, &str, bool)> {
    verified.checks.iter().map(|check| (check.level, check.agent.as_str(), check.ok)).collect()
}

fn load(file: &std::path::Path) -> Result<Content, String> {
    use std::io::Read;
    let open = match std::fs::File::open(file) {
        Ok(open) => open,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Content::default()),
        Err(error) => return Err(error.to_string()),
    };
    let mut bytes = Vec::new();
    open.take(FILE_SIZE_MAX).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

fn replace(file: &std::path::Path, content: &Content) -> std::io::Result<()> {
    use std::io::Write;
    let bytes = serde_json::to_vec(content).expect("types of the API can be written as JSON");
    let new = file.with_extension("new");
    let mut open = std::fs::File::create(&new)?;
    open.write_all(&bytes)?;
    open.sync_all()?;
    std::fs::rename(&new, file)
}

#[cfg(test)]
mod tests;
