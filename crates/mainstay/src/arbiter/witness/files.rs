//! The directory of a witness.
//!
//! ```text
//!  lock                 held by the one process that serves
//!  clusters/NAME.key    "10 BASE64": number and key of a cluster, mode 0600
//!  memory/NAME          its acceptor (os::persist: checksummed, forced to the disk)
//!  seen/NAME            who asked last, for people; not forced
//! ```
//!
//! A memory is made, empty, by `witness add` and by nothing else.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use group::Acceptor;
use os::lock::Lock;
use os::persist::Store;
use serde::{Deserialize, Serialize};

use super::wire::Key;

/// Clusters of one witness.
pub const CLUSTERS_MAX: usize = 1_000;

/// A directory of a witness.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

/// A cluster that the witness knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What people called it when they added it.
    pub name: String,
    /// Its number.
    pub cluster: u32,
    /// Its key here.
    pub key: Key,
}

/// Who asked last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Name of the node.
    pub node: String,
    /// Where it asked from.
    pub address: String,
    /// When, in milliseconds since 1970 by the clock of the witness.
    pub at_ms: u64,
    /// Whether it was about an election, and not only whether the witness is there.
    pub election: bool,
}

impl Directory {
    /// Uses this directory.
    #[must_use]
    pub fn new(path: &Path) -> Directory {
        Directory(path.to_owned())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes what is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn prepare(&self) -> Result<()> {
        for part in ["clusters", "memory", "seen"] {
            let path = self.0.join(part);
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
            made.with_context(|| format!("create {}", path.display()))?;
        }
        Ok(())
    }

    /// The right to serve from here.
    ///
    /// # Errors
    /// When another process serves.
    pub fn lock(&self) -> Result<Lock> {
        let holder = format!("mainstay witness, process {}", std::process::id());
        Ok(Lock::take(&self.0.join("lock"), &holder)?)
    }

    /// The memories.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn memories(&self) -> Result<Store> {
        Ok(Store::open(&self.0.join("memory"))?)
    }

    /// All clusters, in order of name.
    ///
    /// # Errors
    /// When a file cannot be read or understood.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let directory = self.0.join("clusters");
        let mut entries = Vec::new();
        for file in fs::read_dir(&directory).with_context(|| format!("{}", directory.display()))? {
            let path = file?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(name) = name.strip_suffix(".key").map(str::to_owned) else { continue };
            ensure!(entries.len() < CLUSTERS_MAX, "more than {CLUSTERS_MAX} clusters");
            let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            let read = text.trim().split_once(' ').and_then(|(number, key)| {
                Some((number.parse().ok().filter(|number| *number != 0)?, Key::parse(key)?))
            });
            let (cluster, key) =
                read.with_context(|| format!("{} holds no number and key", path.display()))?;
            entries.push(Entry { name, cluster, key });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Adds a cluster, with an empty memory.
    ///
    /// # Errors
    /// When its name or number is taken, or the files cannot be written.
    pub fn add(&self, entry: &Entry) -> Result<()> {
        self.prepare()?;
        let name = &entry.name;
        if let Some(why) = crate::config::name_error(name) {
            bail!("\"{name}\" is no name: {why}");
        }
        for other in self.entries()? {
            ensure!(other.name != *name, "there is a cluster {name} already");
            ensure!(
                other.cluster != entry.cluster,
                "number {} is taken by cluster {}",
                entry.cluster,
                other.name
            );
        }
        let store = self.memories()?;
        ensure!(
            store.read(name)?.is_none(),
            "there is a memory of a cluster {name}, and no key: put its key back, or remove \
             memory/{name} if that cluster is no more"
        );
        store.write(name, &base::codec::encode(&Acceptor::default()))?;
        let path = self.0.join("clusters").join(format!("{name}.key"));
        let text = format!("{} {}\n", entry.cluster, entry.key.text());
        write_new(&path, &text).with_context(|| format!("write {}", path.display()))
    }

    /// Notes who asked last.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note(&self, name: &str, seen: &Seen) -> io::Result<()> {
        let path = self.0.join("seen").join(name);
        let new = self.0.join("seen").join(format!("{name}.new"));
        fs::write(&new, serde_json::to_vec(seen)?)?;
        fs::rename(new, path)
    }

    /// Who asked last, if that is known.
    #[must_use]
    pub fn seen(&self, name: &str) -> Option<Seen> {
        let bytes = fs::read(self.0.join("seen").join(name)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::File::open(path.parent().expect("a file is in a directory"))?.sync_all()
}
