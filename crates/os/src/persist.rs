//! Small files that must be right after a power cut: replaced whole, with checksum and the one before.
//!
//! A write makes a new file, forces it to the device, exchanges it with the current one and keeps
//! that one as `NAME.old`; then the directory is forced too (fsync(2) of a file says nothing about
//! its name). So at every instant there is a whole file under a known name, and when
//! [`Store::write`] has returned `Ok` a power cut cannot take the content back.
//!
//! A read verifies magic, length, name and CRC-32 and falls back to the generation before, saying
//! why. **That is the caller's decision to accept**: a promise that was made durable and is lost to a
//! bad sector is lost, and only the caller knows whether acting on the older one is safe.
//!
//! One process writes a directory at a time (module `lock`). Reading and writing block on the
//! device: not for the loop's thread.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Bytes of content in one file.
pub const CONTENT_SIZE_MAX: usize = 64 << 20;

const MAGIC: [u8; 8] = *b"MNSTAY\x00\x01";
/// Magic, number of the write, length, checksum.
const HEADER: usize = 8 + 8 + 4 + 4;

/// A directory of such files.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
}

/// What a file held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The content.
    pub bytes: Vec<u8>,
    /// Grows by one with each write of this name.
    pub number: u64,
    /// Why this is not the newest generation, if it is not.
    pub fallback: Option<String>,
}

/// What went wrong, with what and why.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    /// The kernel refused a step.
    #[error("cannot {operation} {path}", path = path.display())]
    Io {
        /// The step.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Both generations are there and neither can be used.
    #[error("{path} is damaged ({newest}), and so is the one before ({older})", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with the newest.
        newest: String,
        /// What is wrong with the one before.
        older: String,
    },
    /// More than [`CONTENT_SIZE_MAX`].
    #[error("{size} bytes for {path} are more than a file may hold", path = path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes.
        size: usize,
    },
}

/// One generation, as it was found.
enum Found {
    Whole { number: u64, bytes: Vec<u8> },
    Missing,
    Damaged(String),
}

impl Store {
    /// Uses `directory`, and makes it (mode 0700) if it is missing.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(directory: &Path) -> Result<Store, PersistError> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(failed("create", directory))?;
        Ok(Store { directory: directory.to_owned() })
    }

    /// Where the files are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Replaces the content of `name`; durable when it returns `Ok`. After an error the former
    /// content is still there (or, if only the last step failed, either may be found).
    ///
    /// # Errors
    /// When a step fails: no space, read-only, a broken device.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), PersistError> {
        let current = self.path(name, "");
        if bytes.len() > CONTENT_SIZE_MAX {
            return Err(PersistError::TooLarge { path: current, size: bytes.len() });
        }
        let former = self.path(name, ".old");
        let new = self.path(name, ".new");
        let (number, current_is_whole) = self.state(name);
        let content = encode(name, number, bytes);

        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(failed("create", &new))?;
        file.write_all(&content).map_err(failed("write", &new))?;
        file.sync_all().map_err(failed("force to the device", &new))?;
        drop(file);

        if current_is_whole {
            match renameat_with(CWD, &new, CWD, &current, RenameFlags::EXCHANGE) {
                // What was current is `.new` now, and becomes the one before.
                Ok(()) => fs::rename(&new, &former).map_err(failed("rename", &new))?,
                // A file system that cannot exchange: for an instant there is only the one before.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                    fs::rename(&current, &former).map_err(failed("rename", &current))?;
                    fs::rename(&new, &current).map_err(failed("rename", &new))?;
                }
                Err(error) => return Err(failed("exchange", &new)(error.into())),
            }
        } else {
            // Missing or damaged: the one before, if there is one, stays the one before.
            fs::rename(&new, &current).map_err(failed("rename", &new))?;
        }
        let directory = File::open(&self.directory).map_err(failed("open", &self.directory))?;
        directory.sync_all().map_err(failed("force to the device", &self.directory))
    }

    /// The newest whole content of `name`; `None` when it was never written.
    ///
    /// # Errors
    /// When a file is there and cannot be read, or no generation is whole.
    pub fn read(&self, name: &str) -> Result<Option<Loaded>, PersistError> {
        let newest = self.find(name, "")?;
        let reason = match newest {
            Found::Whole { number, bytes } => {
                return Ok(Some(Loaded { bytes, number, fallback: None }));
            }
            Found::Missing => "missing".to_owned(),
            Found::Damaged(reason) => reason,
        };
        let path = self.path(name, "");
        match self.find(name, ".old")? {
            Found::Whole { number, bytes } => {
                let fallback = Some(format!("{} is {reason}", path.display()));
                Ok(Some(Loaded { bytes, number, fallback }))
            }
            Found::Missing if reason == "missing" => Ok(None),
            Found::Missing => {
                Err(PersistError::Damaged { path, newest: reason, older: "missing".to_owned() })
            }
            Found::Damaged(older) => Err(PersistError::Damaged { path, newest: reason, older }),
        }
    }

    /// Removes all generations of `name`.
    ///
    /// # Errors
    /// When a file is there and cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), PersistError> {
        for suffix in ["", ".old", ".new"] {
            let path = self.path(name, suffix);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed("remove", &path)(error)),
            }
        }
        let directory = File::open(&self.directory).map_err(failed("open", &self.directory))?;
        directory.sync_all().map_err(failed("force to the device", &self.directory))
    }

    fn path(&self, name: &str, suffix: &str) -> PathBuf {
        assert!(!name.is_empty() && !name.contains('/'), "a name within the directory");
        self.directory.join(format!("{name}{suffix}"))
    }

    /// The number of the next write, and whether the current file is worth keeping. Damage is no
    /// obstacle to writing.
    fn state(&self, name: &str) -> (u64, bool) {
        let number = |suffix| match self.find(name, suffix) {
            Ok(Found::Whole { number, .. }) => Some(number),
            _ => None,
        };
        let (current, former) = (number(""), number(".old"));
        (current.max(former).map_or(1, |number| number.saturating_add(1)), current.is_some())
    }

    fn find(&self, name: &str, suffix: &str) -> Result<Found, PersistError> {
        let path = self.path(name, suffix);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
            Err(error) => return Err(failed("open", &path)(error)),
        };
        let mut content = Vec::new();
        let limit = (HEADER + CONTENT_SIZE_MAX + 1) as u64;
        match file.take(limit).read_to_end(&mut content) {
            Ok(_) => Ok(decode(name, &content)),
            // A bad sector is damage of this generation; the other may be whole.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => {
                Ok(Found::Damaged(format!("unreadable: {error}")))
            }
            Err(error) => Err(failed("read", &path)(error)),
        }
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PersistError {
    let path = path.to_owned();
    move |source| PersistError::Io { operation, path, source }
}

/// Over the name too, so that one file renamed to another is noticed.
fn checksum(name: &str, number: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(name.as_bytes());
    hasher.update(&[0]);
    hasher.update(&number.to_be_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn encode(name: &str, number: u64, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("bounded by CONTENT_SIZE_MAX");
    let mut content = Vec::with_capacity(HEADER + bytes.len());
    content.extend_from_slice(&MAGIC);
    content.extend_from_slice(&number.to_be_bytes());
    content.extend_from_slice(&length.to_be_bytes());
    content.extend_from_slice(&checksum(name, number, bytes).to_be_bytes());
    content.extend_from_slice(bytes);
    content
}

fn decode(name: &str, content: &[u8]) -> Found {
    let Some((header, bytes)) = content.split_at_checked(HEADER) else {
        return Found::Damaged(format!("cut short at {} bytes", content.len()));
    };
    if header[..8] != MAGIC {
        return Found::Damaged("not a file of ours, or of another version".to_owned());
    }
    let number = u64::from_be_bytes(header[8..16].try_into().expect("eight bytes"));
    let length = u32::from_be_bytes(header[16..20].try_into().expect("four bytes"));
    let expected = u32::from_be_bytes(header[20..24].try_into().expect("four bytes"));
    if bytes.len() as u64 != u64::from(length) {
        return Found::Damaged(format!("of {} instead of {length} bytes", bytes.len()));
    }
    if checksum(name, number, bytes) != expected {
        return Found::Damaged("of a wrong checksum".to_owned());
    }
    Found::Whole { number, bytes: bytes.to_vec() }
}
