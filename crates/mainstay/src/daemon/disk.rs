//! What must survive a restart, written away from the loop.
//!
//! Writes are done in order, and each is reported only when it is durable. A disk that refuses is
//! asked again and again, and said so meanwhile: a node that cannot remember must not promise.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use base::codec::{self, Malformed};
use base::{Incarnation, View};
use minicbor::{Decode, Encode};
use os::block::Running;
use os::event;
use os::persist::Store;

use super::Done;

/// Writes that may wait. The node asks for the next record and the next entry when it was told that
/// the one before is durable; only a formation that is called off, and a new life, overtake a record
/// that is on its way. That makes a handful.
pub(super) const WRITES_MAX: usize = 64;
/// Between two attempts at a disk that refuses.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The node's own memory.
pub(super) const STATE: &str = "state";
/// A configuration that is about to be agreed on.
pub(super) const PENDING: &str = "configuration.pending";
/// Version and checksum of the configuration that was agreed on last.
pub(super) const AGREED: &str = "configuration";

/// The content of [`STATE`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(super) struct State {
    #[n(0)]
    pub(super) incarnation: Incarnation,
    #[n(1)]
    pub(super) record: Option<View>,
}

/// The content of [`AGREED`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Agreed {
    #[n(0)]
    pub(super) version: u64,
    #[n(1)]
    pub(super) checksum: u64,
    #[n(2)]
    pub(super) text: String,
}

/// The content of [`PENDING`] for a configuration entry.
pub(super) fn pending(entry: &[u8]) -> Vec<u8> {
    use engine::{Command, Entry};
    match codec::decode(entry) {
        Ok(Entry::Command { command: Command::Configure { intent, text, .. }, .. }) => {
            codec::encode(&Agreed { version: intent.version, checksum: intent.checksum, text })
        }
        // Only configurations are submitted as durable.
        _ => entry.to_vec(),
    }
}

/// Something to write.
#[derive(Debug)]
pub(super) enum Write {
    /// Part of the node's memory: tried until it succeeds.
    Memory {
        /// The node's name for it; none when nobody waits.
        token: Option<u64>,
        /// Which file.
        name: &'static str,
        /// Its whole content.
        bytes: Vec<u8>,
        /// A file for people that must be replaced first, and its text.
        before: Option<(PathBuf, String)>,
    },
    /// The paths that this node alone defines: tried once, and whoever asked is told.
    Paths {
        /// The file.
        file: PathBuf,
        /// Its whole text.
        text: String,
    },
}

/// Starts the thread.
///
/// # Errors
/// When the machine has no thread left.
pub(super) fn start(
    store: Store,
    done: event::Sender<Done>,
) -> std::io::Result<(SyncSender<Write>, Running)> {
    let (sender, writes) = sync_channel(WRITES_MAX);
    let running = Running::new();
    let seen = running.clone();
    std::thread::Builder::new()
        .name("disk".into())
        .spawn(move || run(&store, &writes, &done, &running))?;
    Ok((sender, seen))
}

fn run(store: &Store, writes: &Receiver<Write>, done: &event::Sender<Done>, running: &Running) {
    let timed = |act: &dyn Fn() -> Result<(), String>| {
        running.begin(os::clock::boottime());
        let outcome = act();
        running.end();
        outcome
    };
    while let Ok(write) = writes.recv() {
        let (token, name, bytes, before) = match write {
            Write::Memory { token, name, bytes, before } => (token, name, bytes, before),
            Write::Paths { file, text } => {
                let refused = timed(&|| replace(&file, &text)).err();
                if done.send_waiting(Done::Paths(refused)).is_err() {
                    return;
                }
                continue;
            }
        };
        let attempt = || {
            if let Some((path, text)) = &before {
                replace(path, text)?;
            }
            store.write(name, &bytes).map_err(|error| error.to_string())
        };
        let mut refused = false;
        while let Err(error) = timed(&attempt) {
            refused = true;
            if done.send_waiting(Done::Disk(Some(error))).is_err() {
                return;
            }
            std::thread::park_timeout(RETRY_INTERVAL);
        }
        if refused && done.send_waiting(Done::Disk(None)).is_err() {
            return;
        }
        if let Some(token) = token
            && done.send_waiting(Done::Persisted(token)).is_err()
        {
            return;
        }
    }
}

fn replace(path: &Path, text: &str) -> Result<(), String> {
    replace_file(path, text).map_err(|error| format!("replace {}: {error}", path.display()))
}

/// Replaces a file that people read and write, keeping the one before as `….before`.
fn replace_file(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let with = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let new = with(".new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    match std::fs::copy(path, with(".before")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::rename(&new, path)?;
    let directory = path.parent().expect("a file is in a directory");
    std::fs::File::open(directory)?.sync_all()
}

/// The node's memory. When the newest generation of it is damaged, the one before says only which
/// lives there were: its view may be older than one that others have gone on from, so it counts as
/// forgotten.
///
/// # Errors
/// When it is there and cannot be used.
pub(super) fn load_state(store: &Store) -> anyhow::Result<State> {
    let state: State = load(store, STATE)?.unwrap_or_default();
    let is_older = store.read(STATE)?.is_some_and(|loaded| loaded.fallback.is_some());
    Ok(if is_older {
        State { incarnation: Incarnation(state.incarnation.0 + 1), record: None }
    } else {
        state
    })
}

/// Reads one file of the node's memory.
///
/// # Errors
/// When it is there and cannot be used; the text says what to do.
pub(super) fn load<T: for<'b> Decode<'b, ()>>(
    store: &Store,
    name: &str,
) -> anyhow::Result<Option<T>> {
    use anyhow::Context;
    let Some(loaded) = store.read(name)? else { return Ok(None) };
    if let Some(reason) = &loaded.fallback {
        eprintln!("mainstay: {name}: took the generation before: {reason}");
    }
    let value = codec::decode(&loaded.bytes).map_err(|Malformed| Malformed).with_context(|| {
        let path = store.directory().join(name);
        format!("{} is whole but of another release; move it away to start afresh", path.display())
    })?;
    Ok(Some(value))
}
